//! `luthier net`: the networks of guests.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Cli, client, print};
use crate::api::{NetRequest, Request};
use crate::error::Result;
use print::{number, text};

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
    /// Give guests the same, as mtu= of their vifs: `luthier attach` does.
    #[arg(long, value_name = "OCTETS")]
    pub mtu: Option<u16>,
    /// Let the MAC address of a guest's vif move to other ports and hosts while the guest runs
    ///
    /// For guests that hand addresses to each other (VRRP and the like). Without it, a frame that
    /// claims the address of another running guest's vif is dropped.
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
}

fn listed(r: &Value) {
    let networks = r.as_array().map(Vec::as_slice).unwrap_or_default();
    if networks.is_empty() {
        println!("no networks: luthier net create NAME");
        return;
    }
    println!("{:15} {:>10} {:>5}  MAC ADDRESSES", "NETWORK", "NUMBER", "MTU");
    for n in networks {
        let pin = n.get("pin").and_then(Value::as_bool).unwrap_or(false);
        println!(
            "{:15} {:>10} {:>5}  {}",
            text(n, "name"),
            number(n, "id"),
            number(n, "mtu"),
            if pin { "pinned" } else { "free" }
        );
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
    match r.get("join").and_then(Value::as_str) {
        Some(join) => {
            println!("address  {}", text(r, "address"));
            println!("on other hosts:");
            println!("  {join}");
        }
        None => println!("no address yet: write /etc/luthier/net.toml, with address = \"10.0.0.11/24\""),
    }
}
