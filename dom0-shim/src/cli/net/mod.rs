//! `luthier net`: the networks of guests.

mod capture;
mod pcap;
mod show;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Cli, client, print};
use crate::api::{NetRequest, Request};
use crate::error::Result;
use print::{number, text};

pub(super) use show::networks;

/// What can be done with networks.
#[derive(Debug, Subcommand)]
pub enum NetCommand {
    /// Make a network on this host
    Create(Create),
    /// Delete a network that no guest uses
    ///
    /// Refused while a running guest has a vif on it. Other hosts keep theirs.
    Delete {
        /// The network's name
        name: String,
    },
    /// List the networks of this host
    List,
    /// Show a network: its ports, its peers, and where each MAC address is
    Show {
        /// The network's name
        name: String,
    },
    /// Show the switches of other hosts that this one knows
    Peers,
    /// Show what went through, and what did not, by reason
    ///
    /// For each port and each peer: frames and octets both ways, and drops. A frame that carries
    /// several segments (GSO) counts once.
    Stats {
        /// Only this network
        name: Option<String>,
    },
    /// Write copies of a network's frames to a pcap file
    ///
    /// For debugging, and for root of this host only. Each frame is captured once, where it
    /// enters this host's switch. Traffic is never held up: frames that can't be copied in time
    /// are left out and counted.
    Capture(capture::Capture),
    /// Join the switches of other hosts through one of them
    ///
    /// That one tells of all others; networks of the same number are connected. It is remembered:
    /// this host joins again after a reboot. `luthier net key` on the other host prints the line
    /// to paste here. Each host must know the other's key: do this on both.
    Join {
        /// Address of the other host's switch: 10.0.0.12 or 10.0.0.12:4790
        address: String,
        /// Its public key
        #[arg(long, value_name = "KEY")]
        key: String,
    },
    /// Leave the switches of other hosts
    ///
    /// Networks of this host go on locally. It does not join again by itself, also not those of
    /// net.toml, until `luthier net join`.
    Leave,
    /// Print this host's public key, and the line to paste on other hosts
    Key,
}

/// Options of `luthier net create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name: 1 to 15 of a-z, 0-9, - and _
    pub name: String,
    /// Its number, the same on all hosts [default: made of the name]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub id: Option<u32>,
    /// The longest packet inside, in octets [default: what fits a physical network of 1500]
    ///
    /// Give guests the same, as mtu= of their vifs: `luthier attach` does. Linux does not read it
    /// there: set it in the guest, too, or by DHCP.
    #[arg(long, value_name = "OCTETS")]
    pub mtu: Option<u16>,
    /// Let guests send from other MAC addresses than that of their vif
    ///
    /// For guests that bridge others, or hand addresses to each other (VRRP and the like). Without
    /// it, a guest's frames from another address are dropped, so that no guest can pass for another.
    #[arg(long)]
    pub no_pin: bool,
}

/// Does it.
pub(super) fn run(cli: &Cli, command: &NetCommand) -> Result<()> {
    let ask = |net| client::ask(&cli.run, &Request::Net { net });
    let show = |result: &Value, people: &dyn Fn(&Value)| {
        if cli.json { print::json_line(result) } else { people(result) }
    };
    match command {
        NetCommand::Create(Create { name, id, mtu, no_pin }) => {
            let result = ask(NetRequest::Create { name: name.clone(), id: *id, mtu: *mtu, pin: !no_pin })?;
            show(&result, &created);
        }
        NetCommand::Delete { name } => {
            let result = ask(NetRequest::Delete { name: name.clone() })?;
            show(&result, &|r| println!("deleted {}", text(r, "name")));
        }
        NetCommand::List => show(&ask(NetRequest::List)?, &listed),
        NetCommand::Show { name } => show(&ask(NetRequest::Show { name: name.clone() })?, &show::network),
        NetCommand::Peers => show(&ask(NetRequest::Peers)?, &peers),
        NetCommand::Stats { name } => show(&ask(NetRequest::Stats { name: name.clone() })?, &show::stats),
        NetCommand::Capture(capture) => return capture::run(cli, capture),
        NetCommand::Join { address, key } => {
            let result = ask(NetRequest::Join { address: address.clone(), key: key.clone() })?;
            show(&result, &joined);
        }
        NetCommand::Leave => show(&ask(NetRequest::Leave)?, &left),
        NetCommand::Key => show(&ask(NetRequest::Key)?, &own_key),
    }
    Ok(())
}

fn created(r: &Value) {
    let (name, id, mtu) = (text(r, "name"), number(r, "id"), number(r, "mtu"));
    println!("created {name}, number {id}, MTU {mtu}");
    println!("  on other hosts: luthier net create {name} --id {id} --mtu {mtu}");
    println!("  a guest's vif:  vif = ['backend=luthier-stub,bridge={name},mtu={mtu}']");
    println!("  in a Linux guest, which does not read mtu= there: ip link set eth0 mtu {mtu}");
}

fn listed(r: &Value) {
    match r.as_array().map(Vec::as_slice) {
        None | Some([]) => println!("no networks: luthier net create NAME"),
        Some(all) => networks(all),
    }
}

fn peers(r: &Value) {
    match r.as_array().map(Vec::as_slice) {
        None | Some([]) => println!("no peers: luthier net join ADDRESS --key KEY"),
        Some(all) => show::peers(all),
    }
}

fn joined(r: &Value) {
    println!("joining through {}", text(r, "address"));
    if told(r) {
        println!("  `luthier net peers` shows who was reached; the other host must know this host's key");
    }
}

fn left(r: &Value) {
    println!("left the switches of other hosts; networks are local");
    told(r);
}

/// Whether a stub was told; says so if not.
fn told(r: &Value) -> bool {
    let told = r.get("told").and_then(Value::as_bool).unwrap_or(false);
    if !told {
        println!("  no stub domain runs: it will be told at `luthier up`");
    }
    told
}

fn own_key(r: &Value) {
    println!("key      {}", text(r, "key"));
    println!("switch   {}", text(r, "switch"));
    match r.get("join").and_then(Value::as_str) {
        Some(join) => {
            println!("address  {}", text(r, "address"));
            println!("on other hosts:");
            println!("  {join}");
        }
        None => println!("no address yet: write /etc/luthier/net.toml, with address = \"10.0.0.11/24\""),
    }
}
