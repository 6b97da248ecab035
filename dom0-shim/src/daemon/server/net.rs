//! `luthier net`: what the networks' side must know of this host, and of the client.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handoff::{CHANNEL_BULK, GroupOrder, ToStub};
use privcmd::xenstore;
use rustix::net::sockopt::socket_peercred;
use serde_json::{Value, json};

use super::{Server, Teller, on_hang_up};
use crate::api::NetRequest;
use crate::daemon::net::{Host, Wish};
use crate::error::{Context, Error, Result};
use crate::{paths, xl};

impl Server {
    /// Answers a request about networks.
    pub(super) fn net_request(&self, net: NetRequest, client: &UnixStream, teller: &Teller) -> Result<Value> {
        let (name, snaplen, count) = match net {
            NetRequest::Capture { name, snaplen, count } => (name, snaplen, count),
            NetRequest::Inject { name, count, octets } => {
                check_owner(client)?;
                return self.inject(&name, count, &octets);
            }
            other => return self.net.answer(other, self),
        };
        check_owner(client)?;
        let gone = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&gone);
        on_hang_up(client, move || flag.store(true, Ordering::Relaxed))?;
        tracing::info!(network = name, snaplen, "capture begins");
        let result =
            self.net.capture(Wish { name: &name, snaplen, count }, &gone, &mut |event| teller.tell(event));
        tracing::info!(network = name, "capture has ended");
        result
    }

    /// Hands the stub frames for guests that are being restored.
    fn inject(&self, name: &str, count: u16, octets: &str) -> Result<Value> {
        let network = self.net.find(name)?.id;
        let bulk = octets_of(octets)
            .filter(|bulk| bulk.len() <= CHANNEL_BULK)
            .ok_or_else(|| Error::new("these are no frames of a cut, or too many at once"))?;
        let order = GroupOrder::Inject { network, count };
        self.link.connection()?.send(&ToStub::Group(order), &bulk)?;
        Ok(json!({"frames": count}))
    }
}

/// What hexadecimal digits stand for.
fn octets_of(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |c: u8| (c as char).to_digit(16);
    let octet = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    pairs.iter().map(octet).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

/// Who sees guests' frames must be the owner of the host. The socket's mode says the same; here it
/// holds even if somebody has opened the socket to others.
fn check_owner(client: &UnixStream) -> Result<()> {
    let who = socket_peercred(client).context("asking who the client is")?;
    if who.uid.is_root() {
        return Ok(());
    }
    Err(Error::new(format!(
        "only root of this host may capture guests' frames, not uid {}",
        who.uid.as_raw()
    ))
    .hint("Use sudo"))
}

impl Host for Server {
    fn vifs(&self) -> Result<Vec<(String, xl::Vif)>> {
        let stub = self.xen.find_domain(paths::STUB_NAME)?.map(|d| d.domid);
        let mut store = xenstore::Client::open().context("opening xenstore")?;
        let mut all = Vec::new();
        for guest in xl::list()? {
            for mut vif in xl::vifs(&guest.config).into_iter().filter(|vif| vif.is_ours(stub)) {
                // The configuration says a name; this says which domain had it then.
                let path = format!("/local/domain/{}/device/vif/{}/backend-id", guest.domid, vif.devid);
                let id = store.read(&path).context("reading a vif's back end")?;
                vif.backend_domid = id.and_then(|id| id.parse().ok()).unwrap_or(0);
                all.push((guest.name().to_owned(), vif));
            }
        }
        Ok(all)
    }

    fn name(&self, domid: u16) -> Option<String> {
        let path = format!("/local/domain/{domid}/name");
        xenstore::Client::open().ok()?.read(&path).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_hexadecimal_or_not_at_all() {
        assert_eq!(octets_of("00ffA0"), Some(vec![0, 255, 160]));
        assert_eq!(octets_of(""), Some(vec![]));
        assert_eq!(octets_of("0"), None);
        assert_eq!(octets_of("+1"), None);
    }
}
