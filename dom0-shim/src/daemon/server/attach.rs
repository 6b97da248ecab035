//! `luthier attach`: puts a guest on the allow-list.

use serde_json::{Value, json};

use super::{Attached, Server, lock};
use crate::error::{Error, Result};
use crate::{paths, xl};

impl Server {
    pub(super) fn attach(&self, guest: &str) -> Result<Value> {
        let listed = xl::find(guest)?;
        let name = listed.name().to_owned();
        if name == paths::STUB_NAME {
            return Err(Error::new("the stub domain can't be attached to itself")
                .hint("Attach the guests that it is to snapshot: luthier attach GUEST"));
        }
        let info = self.xen.guest(listed.domid)?;
        check_kind(&listed)?;
        self.xen.check_window(listed.domid)?;
        let entry = Attached { domid: listed.domid, uuid: info.uuid, name };
        lock(&self.allowed).insert(entry.clone())?;
        tracing::info!(guest = entry.name, domid = entry.domid, "attached");
        Ok(json!({"guest": entry.name, "domid": entry.domid, "memory_mib": info.tot_pages / 256}))
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
}
