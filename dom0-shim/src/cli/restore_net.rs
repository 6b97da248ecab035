//! Before a guest is restored: its networks must be there, and its MAC addresses free, or it would
//! come back cut off, or cut another off.

use serde_json::Value;
use store::{Image, StateKind};

use super::print::{number, text};
use super::{Cli, client};
use crate::api::{NetRequest, Request};
use crate::error::{Context, Error, Result};
use crate::xl::{self, Vif};

/// Checks an image's vifs against this host.
pub(super) fn check(cli: &Cli, image: &Image) -> Result<()> {
    let state = image.state()?;
    let config: Value = serde_json::from_slice(state.get(StateKind::DomainConfig).unwrap_or_default())
        .context("the image's configuration")?;
    let vifs: Vec<Vif> = xl::vifs(&config).into_iter().filter(|vif| vif.is_ours(None)).collect();
    if vifs.is_empty() {
        return Ok(());
    }
    let status = client::ask(&cli.run, &Request::Status)?;
    let stub = status.pointer("/stub/domid").and_then(Value::as_u64).and_then(|id| u16::try_from(id).ok());
    if stub.is_none() {
        return Err(Error::new("the guest's network needs the stub domain, which does not run")
            .hint("Start it: luthier up"));
    }
    let here = client::ask(&cli.run, &Request::Net { net: NetRequest::List })?;
    let there = image.manifest().report.get("networks").cloned().unwrap_or_default();
    for vif in &vifs {
        network_fits(vif, list(&here), list(&there))?;
    }
    let guests = xl::list()?.into_iter().flat_map(|guest| {
        let name = guest.name().to_owned();
        xl::vifs(&guest.config).into_iter().map(move |vif| (name.clone(), vif))
    });
    let running: Vec<(String, Vif)> = guests.filter(|(_, vif)| vif.is_ours(stub)).collect();
    vifs.iter().try_for_each(|vif| mac_is_free(vif, &running, list(&here)))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn of<'a>(vif: &Vif, networks: &'a [Value]) -> Option<&'a Value> {
    networks.iter().find(|n| vif.says(text(n, "name"), u32::try_from(number(n, "id")).unwrap_or(0)))
}

/// Whether the vif's network is the same here as `there`, where the image was taken.
fn network_fits(vif: &Vif, here: &[Value], there: &[Value]) -> Result<()> {
    let name = vif.bridge.as_deref().unwrap_or_default();
    let (here, there) = (of(vif, here), of(vif, there));
    let options =
        there.map(|n| format!(" --id {} --mtu {}", number(n, "id"), number(n, "mtu"))).unwrap_or_default();
    let name = there.map_or(name, |n| text(n, "name"));
    match (here, there) {
        (None, _) => Err(Error::new(format!("network {name} does not exist here"))
            .hint(format!("Make it first: luthier net create {name}{options}"))),
        (Some(h), Some(t)) if number(h, "id") != number(t, "id") => Err(Error::new(format!(
            "network {name} has number {} here, but {} where the image was taken",
            number(h, "id"),
            number(t, "id")
        ))
        .hint(format!("Give it the same number on all hosts: luthier net delete {name}, luthier net create {name}{options}"))),
        _ => Ok(()),
    }
}

/// Whether no guest that runs has the vif's address on the same network.
fn mac_is_free(vif: &Vif, running: &[(String, Vif)], networks: &[Value]) -> Result<()> {
    let name = of(vif, networks).map_or("", |n| text(n, "name"));
    let same =
        |other: &Vif| vif.mac.is_some() && other.mac == vif.mac && of(other, networks) == of(vif, networks);
    match running.iter().find(|(_, other)| same(other)) {
        None => Ok(()),
        Some((guest, _)) => Err(Error::new(format!(
            "the restored guest would have the MAC address {} of `{guest}` on network {name}",
            vif.mac.as_deref().unwrap_or_default()
        ))
        .hint(format!("Two can't share it. Take `{guest}` away first: xl destroy {guest}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vif(bridge: &str) -> Vif {
        Vif {
            devid: 0,
            mac: Some("00:16:3e:00:00:01".into()),
            bridge: Some(bridge.into()),
            backend: Some("luthier-stub".into()),
            backend_domid: 0,
        }
    }

    #[test]
    fn a_network_that_is_missing_is_named_with_the_command_that_makes_it() {
        let there = [json!({"name": "blue", "id": 7, "mtu": 1398})];
        for bridge in ["blue", "7"] {
            let error = network_fits(&vif(bridge), &[], &there).unwrap_err();
            assert_eq!(error.message, "network blue does not exist here");
            assert!(error.hint.unwrap().ends_with("luthier net create blue --id 7 --mtu 1398"));
        }
        assert!(network_fits(&vif("blue"), &there, &there).is_ok());
        // An image of which we don't know more than the name.
        assert!(network_fits(&vif("blue"), &there, &[]).is_ok());
        let error = network_fits(&vif("blue"), &[], &[]).unwrap_err();
        assert!(error.hint.unwrap().ends_with("luthier net create blue"));
        let error =
            network_fits(&vif("blue"), &[json!({"name": "blue", "id": 9, "mtu": 1398})], &there).unwrap_err();
        assert!(error.message.contains("number 9 here, but 7"), "{error}");
    }

    #[test]
    fn a_copy_beside_its_original_is_refused_on_the_same_network() {
        let networks = [json!({"name": "blue", "id": 7}), json!({"name": "red", "id": 8})];
        let running = [("web".to_owned(), vif("7"))];
        let error = mac_is_free(&vif("blue"), &running, &networks).unwrap_err();
        assert!(error.message.contains("`web` on network blue"), "{error}");
        assert!(mac_is_free(&vif("red"), &running, &networks).is_ok());
        assert!(mac_is_free(&Vif { mac: None, ..vif("blue") }, &running, &networks).is_ok());
    }
}
