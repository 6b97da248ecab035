//! Stock `xl`, which builds, restores and destroys domains for us.

use std::path::Path;
use std::process::{ChildStdin, Command, Output, Stdio};

use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::paths;

/// A domain as `xl list -l` describes it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub domid: u16,
    /// libxl's configuration of it, as `xl save` stores it.
    pub config: Value,
}

impl Listed {
    /// The name that libxl knows.
    pub fn name(&self) -> &str {
        self.config.pointer("/c_info/name").and_then(Value::as_str).unwrap_or("")
    }

    /// `pvh`, `hvm` or `pv`.
    pub fn kind(&self) -> &str {
        self.config.pointer("/c_info/type").and_then(Value::as_str).unwrap_or("unknown")
    }

    /// Whether a PCI device is passed through.
    pub fn has_pci(&self) -> bool {
        self.config.get("pcidevs").and_then(Value::as_array).is_some_and(|d| !d.is_empty())
    }
}

/// A vif, as libxl describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vif {
    /// Its number in the guest.
    pub devid: u16,
    /// Its MAC address, in lower case.
    pub mac: Option<String>,
    /// What the configuration's `bridge=` says: for our stub, the network.
    pub bridge: Option<String>,
    /// What the configuration's `backend=` says.
    pub backend: Option<String>,
    /// The back end's domain id; 0 if not known.
    pub backend_domid: u16,
}

impl Vif {
    /// Whether our stub is its back end. `stub` is the stub's domain id, if it runs.
    pub fn is_ours(&self, stub: Option<u16>) -> bool {
        match &self.backend {
            Some(name) if name == paths::STUB_NAME => true,
            Some(id) => stub.is_some_and(|s| s.to_string() == *id),
            None => self.backend_domid != 0 && Some(self.backend_domid) == stub,
        }
    }

    /// Whether its `bridge=` is this network, by name or number.
    pub fn says(&self, network: &str, id: u32) -> bool {
        self.bridge.as_deref().is_some_and(|b| b == network || b.parse() == Ok(id))
    }
}

/// The vifs of a configuration of libxl's.
pub fn vifs(config: &Value) -> Vec<Vif> {
    let nics = config.get("nics").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let number = |nic: &Value, key| nic.get(key).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
    nics.iter()
        .map(|nic| {
            let text = |key| nic.get(key).and_then(Value::as_str).map(str::to_owned);
            Vif {
                devid: number(nic, "devid").unwrap_or(0),
                mac: text("mac").map(|m| m.to_lowercase()),
                bridge: text("bridge"),
                backend: text("backend_domname"),
                backend_domid: number(nic, "backend_domid").unwrap_or(0),
            }
        })
        .collect()
}

/// Has our stub's vifs of a configuration name their back end: its domain id is another on other
/// hosts, and here after `luthier down`.
pub fn name_back_ends(config: &mut Value, stub: u16) {
    let ours: Vec<bool> = vifs(config).iter().map(|vif| vif.is_ours(Some(stub))).collect();
    let nics = config.get_mut("nics").and_then(Value::as_array_mut).into_iter().flatten();
    for (nic, _) in nics.zip(ours).filter(|(_, ours)| *ours) {
        if let Some(nic) = nic.as_object_mut() {
            nic.remove("backend_domid");
            nic.insert("backend_domname".into(), paths::STUB_NAME.into());
        }
    }
}

fn run(args: &[&str]) -> Result<Output> {
    let output = Command::new("xl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("running xl")
        .map_err(|e| e.hint("Is this Dom0, and are the Xen tools (xen-utils) installed?"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(Error::new(format!("`xl {}` failed: {}", args.join(" "), last_words(&output.stderr))))
}

/// All domains but Dom0.
pub fn list() -> Result<Vec<Listed>> {
    let output = run(&["list", "-l"])?;
    let value: Value = serde_json::from_slice(&output.stdout).context("reading `xl list -l`")?;
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(all.iter().filter_map(listed).filter(|l| l.domid != 0).collect())
}

fn listed(entry: &Value) -> Option<Listed> {
    let domid = u16::try_from(entry.get("domid")?.as_u64()?).ok()?;
    Some(Listed { domid, config: entry.get("config")?.clone() })
}

/// Finds a domain by name or id.
pub fn find(guest: &str) -> Result<Listed> {
    let output = run(&["list", "-l", guest]).map_err(|e| match e.hint {
        // xl itself could not be run.
        Some(_) => e,
        None => Error::new(format!("there is no domain `{guest}`")).hint("`xl list` shows those that run"),
    })?;
    let value: Value = serde_json::from_slice(&output.stdout).context("reading `xl list -l`")?;
    // Debian 12's xl prints an array, also for one domain; newer ones may print the object.
    let entry = match &value {
        Value::Array(all) => all.first().cloned(),
        Value::Object(_) => Some(value.clone()),
        _ => None,
    };
    entry
        .as_ref()
        .and_then(listed)
        .ok_or_else(|| Error::new("`xl list -l` printed something else than a domain"))
}

/// Creates a domain from a configuration file; `extra` lines override it.
pub fn create(config: &Path, extra: &[String]) -> Result<()> {
    let config = config.to_string_lossy();
    let mut args = vec!["create", "-q", &*config];
    args.extend(extra.iter().map(String::as_str));
    run(&args).map(drop)
}

/// Plugs a vif of our stub's into a domain, on this network.
pub fn plug(domid: u16, network: &str, mtu: u16, mac: Option<&str>) -> Result<()> {
    let (domid, backend) = (domid.to_string(), format!("backend={}", paths::STUB_NAME));
    let (bridge, mtu) = (format!("bridge={network}"), format!("mtu={mtu}"));
    let mac = mac.map(|mac| format!("mac={mac}"));
    let mut args = vec!["network-attach", &domid, &backend, &bridge, &mtu];
    args.extend(mac.as_deref());
    run(&args).map(drop)
}

/// Destroys a domain.
pub fn destroy(domid: u16) -> Result<()> {
    run(&["destroy", &domid.to_string()]).map(drop)
}

/// Lets a paused domain go on.
pub fn unpause(domid: u16) -> Result<()> {
    run(&["unpause", &domid.to_string()]).map(drop)
}

/// Memory that Xen has free, in MiB. `None` where xl takes memory from Dom0 as it needs it: it does
/// unless Dom0's memory was fixed, as xl's own rule is.
pub fn free_mib() -> Result<Option<u64>> {
    let output = run(&["info"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |name: &str| {
        let is_it = |line: &&str| line.split(':').next().is_some_and(|key| key.trim() == name);
        text.lines().find(is_it).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    };
    let fixed = line("xen_commandline").is_some_and(|options| options.contains("dom0_mem="));
    Ok(line("free_memory").and_then(|mib| mib.parse().ok()).filter(|_| fixed))
}

/// What the pipe to `xl restore` holds, in octets: what anybody may have.
const PIPE: usize = 1 << 20;

/// Restores a domain with the stream of `xl save` that `feed` writes.
pub fn restore(paused: bool, feed: impl FnOnce(ChildStdin) -> Result<()>) -> Result<()> {
    let mut command = Command::new("xl");
    command.arg("restore");
    if paused {
        command.arg("-p");
    }
    // xl opens a path; this one is its own standard input.
    command.arg("/proc/self/fd/0");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("running xl restore")?;
    let fed = match child.stdin.take() {
        Some(pipe) => {
            // 64 KiB at a time, the two would take turns all along. Where it can't be more, they do.
            let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE);
            feed(pipe)
        }
        None => Err(Error::new("xl restore has no input")),
    };
    let output = child.wait_with_output().context("waiting for xl restore")?;
    // If xl gave up, its words say why; that our pipe broke then is no news.
    if !output.status.success() {
        return Err(Error::new(format!("`xl restore` failed: {}", last_words(&output.stderr))));
    }
    fed
}

/// The last lines that a tool printed.
fn last_words(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vifs_are_ours_by_name_or_by_number() {
        let config = json!({"nics": [
            {"devid": 0, "mac": "00:16:3E:00:00:0A", "bridge": "blue", "backend_domname": "luthier-stub"},
            {"devid": 1, "bridge": "7", "backend_domname": "4"},
            {"devid": 2, "bridge": "xenbr0"},
            {"devid": 3, "bridge": "blue", "backend_domid": 4},
            {"devid": 4, "bridge": "blue", "backend_domname": "other"},
        ]});
        let vifs = vifs(&config);
        let ours = |stub| vifs.iter().filter(|v| v.is_ours(stub)).map(|v| v.devid).collect::<Vec<_>>();
        assert_eq!(ours(Some(4)), [0, 1, 3]);
        assert_eq!(ours(Some(5)), [0]);
        assert_eq!(ours(None), [0]);
        assert_eq!(vifs[0].mac.as_deref(), Some("00:16:3e:00:00:0a"));
        assert!(vifs[0].says("blue", 7) && vifs[1].says("blue", 7) && !vifs[2].says("blue", 7));
    }

    #[test]
    fn a_back_end_is_named_so_that_it_is_found_on_another_host() {
        let mut config = json!({"nics": [
            {"devid": 0, "backend_domname": "4"}, {"devid": 1, "backend_domid": 4}, {"devid": 2, "backend_domid": 3},
        ]});
        name_back_ends(&mut config, 4);
        assert_eq!(
            config["nics"],
            json!([
                {"devid": 0, "backend_domname": "luthier-stub"},
                {"devid": 1, "backend_domname": "luthier-stub"},
                {"devid": 2, "backend_domid": 3},
            ])
        );
        let mut none = json!({"c_info": {}});
        name_back_ends(&mut none, 4);
        assert_eq!(none, json!({"c_info": {}}));
    }
}
