//! `luthier up` and `luthier down`: the stub domain's life.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Server, lock};
use crate::error::{Error, Result};
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
        let warnings: Vec<Error> = self.net.sync().unwrap_or_else(|e| vec![e]);
        Ok(json!({"domid": connection.stub, "pool_mib": connection.pool_pages / 256, "warnings": warnings}))
    }

    pub(super) fn down(&self, force: bool) -> Result<Value> {
        let _launching = lock(&self.launching);
        let busy = self.desk.snapshots().len();
        if busy > 0 && !force {
            return Err(Error::new(format!("{busy} snapshots are in progress"))
                .hint("Wait for them, or use --force: they are then given up"));
        }
        match self.xen.find_domain(paths::STUB_NAME)? {
            Some(stub) => xl::destroy(stub.domid).map(|()| json!({"domid": stub.domid})),
            None => Ok(json!({"domid": null})),
        }
    }
}
