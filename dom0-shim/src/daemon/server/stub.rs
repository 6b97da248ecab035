//! `luthier up` and `luthier down`: the stub domain's life.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Server, lock};
use crate::daemon::net::Host;
use crate::error::{Error, Result};
use crate::xl::Vif;
use crate::{paths, xl};

/// How long a launched stub may take to say hello. Generous: the lab's hosts are emulated.
const UP_TIMEOUT: Duration = Duration::from_secs(60);

impl Server {
    pub(super) fn up(&self, pool: Option<u32>) -> Result<Value> {
        let _launching = lock(&self.launching);
        let mut found = self.xen.find_domain(paths::STUB_NAME)?;
        if let Some(dead) = found.take_if(|stub| !stub.alive()) {
            tracing::warn!(stub = dead.domid, why = ?dead.shutdown, "removing a stub domain that has crashed");
            xl::destroy(dead.domid)?;
        }
        if found.is_none() {
            if !self.options.stub_config.exists() {
                return Err(Error::new(format!("{} is missing", self.options.stub_config.display()))
                    .hint("It comes with the project: boot/host/stub.cfg"));
            }
            // The stub itself serves in 32 MiB; what is above is pool.
            let extra: Vec<String> =
                pool.map(|mib| format!("memory={}", mib.saturating_add(32))).into_iter().collect();
            xl::create(&self.options.stub_config, &extra)?;
        }
        let connection = self.link.wait(UP_TIMEOUT)?;
        // Told here too, so that networks are there when this returns.
        let mut warnings: Vec<Error> = self.net.sync().unwrap_or_else(|e| vec![e]);
        let vifs = self.vifs()?;
        let cut = vifs.iter().filter(|(_, vif)| vif.backend_domid != connection.stub);
        warnings.extend(cut.map(|(guest, vif)| cut_off(guest, vif)));
        Ok(json!({"domid": connection.stub, "pool_mib": connection.pool_pages / 256, "warnings": warnings}))
    }

    pub(super) fn down(&self, force: bool) -> Result<Value> {
        let _launching = lock(&self.launching);
        let busy = self.desk.snapshots().len();
        if busy > 0 && !force {
            return Err(Error::new(format!("{busy} snapshots are in progress"))
                .hint("Wait for them, or use --force: they are then given up"));
        }
        let found = self.xen.find_domain(paths::STUB_NAME)?;
        if let Some(stub) = &found
            && !force
        {
            let mut guests: Vec<String> = self
                .vifs()?
                .into_iter()
                .filter(|(_, v)| v.backend_domid == stub.domid)
                .map(|(g, _)| g)
                .collect();
            guests.dedup();
            if !guests.is_empty() {
                return Err(Error::new(format!("the stub domain is the network of {}", guests.join(", ")))
                    .hint(
                        "With --force they lose it, until their vifs are plugged again after `luthier up`",
                    ));
            }
        }
        match found {
            Some(stub) => xl::destroy(stub.domid).map(|()| json!({"domid": stub.domid})),
            None => Ok(json!({"domid": null})),
        }
    }
}

/// What to do about a vif whose back end was an earlier stub. Guests don't look for a new one.
pub(super) fn cut_off(guest: &str, vif: &Vif) -> Error {
    let mac = vif.mac.as_ref().map(|mac| format!(" --mac {mac}")).unwrap_or_default();
    let network = vif.bridge.as_deref().unwrap_or("NETWORK");
    Error::new(format!("`{guest}` lost network {network} with the former stub domain")).hint(format!(
        "Plug it again: xl network-detach {guest} {}; luthier attach {guest} --net {network}{mac}",
        vif.devid
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_was_cut_off_is_told_of_with_the_commands_that_help() {
        let vif = Vif {
            devid: 1,
            mac: Some("00:16:3e:00:00:01".into()),
            bridge: Some("blue".into()),
            backend: Some(paths::STUB_NAME.into()),
            backend_domid: 3,
        };
        let hint = cut_off("web", &vif).hint.unwrap();
        assert!(
            hint.contains("xl network-detach web 1; luthier attach web --net blue --mac 00:16:3e:00:00:01")
        );
    }
}
