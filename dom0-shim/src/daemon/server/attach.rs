//! `luthier attach`: puts a guest on the allow-list.

use serde_json::{Value, json};

use super::stub::cut_off;
use super::{Attached, Server, lock};
use crate::daemon::net::{Host, Network};
use crate::error::{Error, Result};
use crate::xl::Vif;
use crate::{paths, xl};

impl Server {
    pub(super) fn attach(&self, guest: &str, net: Option<&str>, mac: Option<&str>) -> Result<Value> {
        let listed = self.look_up(guest)?;
        let name = listed.name().to_owned();
        if name == paths::STUB_NAME {
            return Err(Error::new("the stub domain can't be attached to itself")
                .hint("Attach the guests that it is to snapshot: luthier attach GUEST"));
        }
        let info = self.xen.guest(listed.domid)?;
        check_kind(&listed)?;
        self.xen.check_window(listed.domid)?;
        let network = net.map(|net| self.plug(&listed, net, mac)).transpose()?;
        let entry = Attached { domid: listed.domid, uuid: info.uuid, name };
        lock(&self.allowed).insert(entry.clone())?;
        tracing::info!(guest = entry.name, domid = entry.domid, "attached");
        Ok(json!({
            "guest": entry.name, "domid": entry.domid, "memory_mib": info.tot_pages / 256, "network": network,
        }))
    }

    /// What xl says of a guest, by name or id. It is kept for the snapshots to come, if it can be.
    fn look_up(&self, guest: &str) -> Result<xl::Listed> {
        let info = match guest.parse() {
            Ok(domid) => self.xen.guest(domid).ok(),
            Err(_) => self.xen.find_domain(guest)?,
        };
        match info {
            Some(info) => self.configs.of(&self.xen, info.domid, &info.uuid),
            // xl says why.
            None => xl::find(guest),
        }
    }

    /// Gives a guest a vif on a network, unless it has one.
    fn plug(&self, guest: &xl::Listed, net: &str, mac: Option<&str>) -> Result<Value> {
        let network = self.net.find(net)?;
        let others = self.vifs()?;
        let vif = fit(guest.name(), &others, &network, mac)?;
        // xl would wait for a back end that is not there.
        let stub = self.link.connection()?.stub;
        if let Some(vif) = vif {
            if vif.backend_domid != stub {
                return Err(cut_off(guest.name(), vif));
            }
            return Ok(json!({"name": network.name, "mac": vif.mac, "plugged": false}));
        }
        xl::plug(guest.domid, &network.name, network.mtu, mac)?;
        let vif = self
            .vifs()?
            .into_iter()
            .find(|(name, vif)| name == guest.name() && vif.says(&network.name, network.id));
        tracing::info!(guest = guest.name(), network = network.name, "vif attached");
        Ok(json!({"name": network.name, "mac": vif.and_then(|(_, v)| v.mac), "plugged": true}))
    }
}

/// The vif that a guest has on this network already, if any.
///
/// # Errors
/// It has one on another network, or its MAC address is another guest's there.
fn fit<'a>(
    guest: &str,
    vifs: &'a [(String, Vif)],
    network: &Network,
    mac: Option<&str>,
) -> Result<Option<&'a Vif>> {
    let on_it = |vif: &Vif| vif.says(&network.name, network.id);
    let own = || vifs.iter().filter(|(name, _)| name == guest).map(|(_, vif)| vif);
    let present = own().find(|vif| on_it(vif));
    let wanted = present.map_or(mac, |vif| vif.mac.as_deref()).map(str::to_lowercase);
    let same = |vif: &Vif| vif.mac.is_some() && vif.mac == wanted && on_it(vif);
    if let Some((other, _)) = vifs.iter().find(|(name, vif)| name != guest && same(vif)) {
        return Err(Error::new(format!(
            "MAC address {} is used by `{other}` on network {} already",
            wanted.unwrap_or_default(),
            network.name
        ))
        .hint("Give each guest of a network one of its own: mac= of its vif, or --mac"));
    }
    match (present, own().next()) {
        (Some(vif), _) if mac.is_some_and(|mac| vif.mac.as_deref() != Some(&mac.to_lowercase())) => {
            Err(Error::new(format!(
                "`{guest}` is on network {} already, with MAC address {}",
                network.name,
                vif.mac.as_deref().unwrap_or("unknown")
            ))
            .hint("Leave --mac out"))
        }
        (Some(vif), _) => Ok(Some(vif)),
        (None, Some(vif)) => Err(Error::new(format!(
            "`{guest}` is on network {} already",
            vif.bridge.as_deref().unwrap_or("unknown")
        ))
        .hint(format!("Take it off first: xl network-detach {guest} {}", vif.devid))),
        (None, None) => Ok(None),
    }
}

/// Refuses guests whose writes Xen can't log, or whose state is not all ours to record.
pub(super) fn check_kind(listed: &xl::Listed) -> Result<()> {
    let name = listed.name();
    match listed.kind() {
        "pvh" => {}
        "pv" => {
            return Err(Error::new(format!("`{name}` is a PV guest: Xen can't log its writes"))
                .hint("Use type=\"pvh\" in its configuration; most Linux guests boot unchanged"));
        }
        kind => {
            return Err(Error::new(format!(
                "`{name}` is of type {kind}: its device model's state can't be saved yet"
            ))
            .hint("Use type=\"pvh\" in its configuration"));
        }
    }
    if listed.has_pci() {
        return Err(Error::new(format!(
            "`{name}` has a PCI device passed through: Xen can't log its writes"
        ))
        .hint(format!("Detach it first: xl pci-detach {name} BDF")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(kind: &str, pci: Value) -> xl::Listed {
        xl::Listed { domid: 3, config: json!({"c_info": {"name": "web", "type": kind}, "pcidevs": pci}) }
    }

    #[test]
    fn guests_that_cannot_be_tracked_are_refused_with_the_way_out() {
        check_kind(&listed("pvh", json!([]))).unwrap();
        check_kind(&listed("pvh", Value::Null)).unwrap();
        let refused = |listed| check_kind(&listed).unwrap_err();
        let pci = refused(listed("pvh", json!([{"func": 0, "dev": 2, "bus": 1, "domain": 0}])));
        assert!(pci.message.contains("`web` has a PCI device"), "{pci}");
        assert!(pci.hint.unwrap().contains("xl pci-detach web"));
        for kind in ["pv", "hvm", "unknown"] {
            let error = refused(listed(kind, json!([])));
            assert!(error.message.contains("`web`") && error.hint.unwrap().contains("pvh"));
        }
    }

    #[test]
    fn a_guest_gets_a_vif_once_and_on_one_network() {
        let blue = Network { name: "blue".into(), id: 7, mtu: 1400, pin: true };
        let vif = |guest: &str, bridge: &str, mac: &str| {
            let vif = Vif {
                devid: 2,
                mac: Some(mac.into()),
                bridge: Some(bridge.into()),
                backend: Some(paths::STUB_NAME.into()),
                backend_domid: 0,
            };
            (guest.to_owned(), vif)
        };
        let (one, two, two_upper) = ("00:16:3e:00:00:01", "00:16:3e:00:00:0a", "00:16:3E:00:00:0A");
        let fit = |vifs: &[(String, Vif)], mac| fit("web", vifs, &blue, mac).map(|v| v.cloned());
        assert_eq!(fit(&[], Some(one)), Ok(None));
        assert!(fit(&[vif("web", "7", one)], None).unwrap().is_some());
        assert!(fit(&[vif("web", "red", two), vif("web", "blue", one)], None).unwrap().is_some());
        let error = fit(&[vif("web", "red", one)], None).unwrap_err();
        assert!(error.message.contains("network red"), "{error}");
        assert!(error.hint.unwrap().contains("xl network-detach web 2"));
        // A MAC address of another network is no duplicate.
        assert_eq!(fit(&[vif("db", "red", two)], Some(two)), Ok(None));
        let error = fit(&[vif("db", "blue", two)], Some(two_upper)).unwrap_err();
        assert!(error.message.contains("used by `db` on network blue"), "{error}");
        let error = fit(&[vif("web", "blue", one), vif("db", "7", one)], None).unwrap_err();
        assert!(error.message.contains("used by `db`"), "{error}");
        assert!(fit(&[vif("web", "blue", one)], Some(two)).is_err());
        assert!(fit(&[vif("web", "blue", two)], Some(two_upper)).unwrap().is_some());
    }
}
