//! Whether this host is fit for networks: findings for `luthier check`.

use serde_json::{Value, json};

use super::config::Underlay;
use super::{Net, key, mtu, sync};
use crate::error::Result;

impl Net {
    /// A list of `{what, mark, found, todo}`; marks are those of `luthier check`.
    pub(super) fn fitness(&self) -> Value {
        let underlay = Underlay::load(&self.files.config);
        let config = self.files.config.display();
        let mut findings = vec![match &underlay {
            Ok(None) => finding(
                "underlay",
                "note",
                "none: networks don't reach other hosts",
                &format!("If they shall: give {config} a line address = \"10.0.0.11/24\""),
            ),
            Ok(Some(u)) => {
                let found = format!("{} in a network of /{}, MTU {}", u.address, u.prefix, u.mtu);
                finding("underlay", "ok", &found, "")
            }
            Err(e) => finding("underlay", "fail", &e.message, e.hint.as_deref().unwrap_or_default()),
        }];
        findings.push(match key::load(&self.files.key) {
            Ok(Some(_)) => finding("switch key", "ok", "is there, for root only", ""),
            Ok(None) => finding("switch key", "note", "none yet", "`luthier net key` makes it"),
            Err(e) => finding("switch key", "fail", &e.message, e.hint.as_deref().unwrap_or_default()),
        });
        findings.push(self.networks_fit(underlay).unwrap_or_else(|e| {
            finding("networks", "fail", &e.message, e.hint.as_deref().unwrap_or_default())
        }));
        findings.into()
    }

    fn networks_fit(&self, underlay: Result<Option<Underlay>>) -> Result<Value> {
        let networks = self.keeper.load()?.networks;
        // An underlay that can't be read has a finding of its own.
        if let Ok(Some(underlay)) = underlay
            && let Some(n) = sync::too_large(&networks, &underlay).next()
        {
            let largest = mtu::largest_inside(underlay.mtu).unwrap_or_default();
            let found =
                format!("the MTU of {}, {}, does not fit the underlay's {}", n.name, n.mtu, underlay.mtu);
            return Ok(finding(
                "networks",
                "fail",
                &found,
                &format!("The largest that fits is {largest}: delete it and create it with --mtu {largest}"),
            ));
        }
        Ok(finding("networks", "ok", &format!("{} on this host", networks.len()), ""))
    }
}

fn finding(what: &str, mark: &str, found: &str, todo: &str) -> Value {
    json!({"what": what, "mark": mark, "found": found, "todo": todo})
}
