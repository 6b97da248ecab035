//! What the command line takes, and what it refuses.

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;
use crate::api::SnapshotOptions;

fn parse(line: &str) -> std::result::Result<Cli, ErrorKind> {
    Cli::try_parse_from(line.split(' ')).map_err(|e| e.kind())
}

#[test]
fn the_command_line_holds_together() {
    <Cli>::command().debug_assert();
}

#[test]
fn networks_are_made_with_a_name_and_bounds() {
    let Command::Net { command: net::NetCommand::Create(create) } =
        parse("luthier net create blue --id 7 --mtu 1300").unwrap().command
    else {
        panic!()
    };
    assert_eq!(
        (create.name.as_str(), create.id, create.mtu, create.no_pin),
        ("blue", Some(7), Some(1300), false)
    );
    for bad in [
        "net create",
        "net create blue --id 0",
        "net create blue --id 4294967296",
        "net create blue --mtu 70000",
    ] {
        assert!(parse(&format!("luthier {bad}")).is_err(), "{bad}");
    }
}

#[test]
fn every_command_of_networks_is_there() {
    for good in [
        "net list --json",
        "net delete blue",
        "net show blue",
        "net peers",
        "net join 10.0.0.12 --key ab",
        "net leave",
        "net key",
        "net stats",
        "net stats blue --json",
        "net capture blue -o - --snaplen 96 --count 3",
        "attach web --net blue --mac 00:16:3E:00:00:01",
    ] {
        assert!(parse(&format!("luthier {good}")).is_ok(), "{good}");
    }
    for bad in [
        "net",
        "net join 10.0.0.12",
        "net capture blue",
        "net capture blue -o x --snaplen 4",
        "attach web --mac 00:16:3e:00:00:01",
    ] {
        assert!(parse(&format!("luthier {bad}")).is_err(), "{bad}");
    }
}

#[test]
fn mac_addresses_are_checked() {
    assert_eq!(mac("00:16:3E:00:00:0A").unwrap(), "00:16:3e:00:00:0a");
    for bad in [
        "",
        "00:16:3e:00:00",
        "00:16:3e:00:00:00:00",
        "01:16:3e:00:00:00",
        "0:16:3e:00:00:00",
        "00:16:3e:00:00:zz",
        "+1:16:3e:00:00:00",
        "00:00:00:00:00:00",
    ] {
        assert!(mac(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_snapshot_without_options_is_what_the_defaults_of_requests_say() {
    let Command::Snapshot(snapshot::SnapshotArgs { guest: Some(guest), options, .. }) =
        parse("luthier snapshot web").unwrap().command
    else {
        panic!()
    };
    assert_eq!((guest.as_str(), options), ("web", SnapshotOptions::default()));
    // What an older client leaves out is a default, too.
    let request: Request = serde_json::from_str(r#"{"request":"snapshot","guest":"web"}"#).unwrap();
    assert!(matches!(request, Request::Snapshot { options, .. } if options == SnapshotOptions::default()));
}

#[test]
fn options_of_a_snapshot_are_checked() {
    for good in [
        "--policy downtime --downtime 5ms --strict --throttle",
        "--policy improved-live-save --skip always --defer-hot",
        "--policy xen-migrate-4.5 --codec lz4,delta --prepare 2048 --pool 64 --copy-batch 1",
        "--parent web@20261121T202439Z --keep-log --codec none --prepare auto",
    ] {
        assert!(parse(&format!("luthier snapshot web {good}")).is_ok(), "{good}");
    }
    for bad in [
        "--policy fastest",
        "--downtime 30",
        "--downtime 0s",
        "--skip sometimes",
        "--codec zip",
        "--prepare some",
        "--pool 0",
        "--copy-batch 0",
        "--copy-batch 513",
        "--suspend-timeout 0",
    ] {
        assert!(parse(&format!("luthier snapshot web {bad}")).is_err(), "{bad}");
    }
}

#[test]
fn what_is_asked_for_most_often_is_parsed_alone_with_the_same_result() {
    let often = |line: &str| {
        let args: Vec<_> = line.split(' ').map(std::ffi::OsString::from).collect();
        Cli::often(&args).map(|cli| format!("{cli:?}"))
    };
    for good in [
        "luthier snapshot web",
        "luthier --json snapshot web --pool 64 --codec none",
        "luthier snapshot --json web --no-disk xvdb --run /tmp/run --images /tmp/images",
        "luthier snapshot --net blue --classic",
        "luthier snapshot snapshot",
    ] {
        assert_eq!(often(good), Some(format!("{:?}", parse(good).unwrap())), "{good}");
    }
    // The whole parser has these, and the words for what is wrong.
    for other in ["list", "snapshot --help", "help snapshot", "snapshot", "snapshot a b", "attach snapshot"] {
        assert_eq!(often(&format!("luthier {other}")), None, "{other}");
    }
}
