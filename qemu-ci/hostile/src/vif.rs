//! The vif in xenstore: where its back end is, and the states of both ends.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use xen::DomId;
use xen::time::{self, now};
use xen::xenstore::{Xenstore, XsError};

use crate::Result;
use crate::frame::Mac;
use crate::settings::numbers;

/// `enum xenbus_state` of `io/xenbus.h`.
pub(crate) mod state {
    pub(crate) const INITIALISING: u8 = 1;
    pub(crate) const INIT_WAIT: u8 = 2;
    pub(crate) const CONNECTED: u8 = 4;
    pub(crate) const CLOSING: u8 = 5;
    pub(crate) const CLOSED: u8 = 6;
}

/// `device/vif/0`.
pub(crate) struct Vif {
    pub(crate) store: &'static Xenstore,
    backend: String,
    pub(crate) dom: DomId,
    pub(crate) mac: Mac,
}

pub(crate) fn text(error: XsError) -> String {
    format!("{error}")
}

impl Vif {
    /// Reads what the toolstack wrote.
    pub(crate) async fn find(store: &'static Xenstore) -> Result<Vif> {
        let read = async |name: &str| store.read(&format!("device/vif/0/{name}")).await.map_err(text);
        let backend = read("backend").await?;
        let dom = read("backend-id").await?.parse().map_err(|_| "no backend-id")?;
        let mac = numbers(&read("mac").await?, ':', 16).ok_or("no MAC address")?;
        xen::println!("hostile: backend {backend} of d{dom}");
        Ok(Vif { store, backend, dom, mac })
    }

    /// Writes a node of ours.
    pub(crate) async fn write(&self, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
        self.store.write(&format!("device/vif/0/{name}"), value).await.map_err(text)
    }

    pub(crate) async fn set_state(&self, state: u8) -> Result<()> {
        self.write("state", format!("{state}")).await
    }

    /// Reads a node of the back end; empty if there is none.
    pub(crate) async fn offered(&self, name: &str) -> String {
        self.store.read(&format!("{}/{name}", self.backend)).await.unwrap_or_default()
    }

    pub(crate) async fn backend_state(&self) -> u8 {
        self.offered("state").await.parse().unwrap_or(0)
    }

    /// Waits until the back end is in one of these states; the state in which it is at the end.
    pub(crate) async fn await_backend(&self, states: &[u8], limit: Duration) -> u8 {
        let start = now();
        loop {
            let state = self.backend_state().await;
            if states.contains(&state) || start.elapsed() > limit {
                return state;
            }
            time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Goes through Closed to where connecting begins. Whether the back end came along.
    pub(crate) async fn begin_again(&self) -> Result<bool> {
        self.set_state(state::CLOSED).await?;
        self.await_backend(&[state::CLOSED], Duration::from_secs(1)).await;
        self.set_state(state::INITIALISING).await?;
        Ok(self.await_backend(&[state::INIT_WAIT], Duration::from_secs(5)).await == state::INIT_WAIT)
    }
}
