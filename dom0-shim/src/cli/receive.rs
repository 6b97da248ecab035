//! `luthier receive`: another host's share of a group arrives on the standard input, by a remote shell.

use std::time::{Duration, Instant};

use serde_json::json;
use store::GroupName;
use store::group::{GroupError, keep};

use super::{Cli, print};
use crate::error::{Error, Result};

/// How long after the other host's this host's part of the group may begin.
const BEGIN: Duration = Duration::from_secs(20);

/// How long after the other host's it may be sealed.
const SEAL: Duration = Duration::from_secs(300);

/// Whether the group has begun here; or receives what is to be kept of it.
pub(super) fn run(cli: &Cli, check: Option<&GroupName>) -> Result<()> {
    let answer = match check {
        Some(group) => json!({"switch": await_begin(cli, group)?}),
        None => {
            let mut input = std::io::stdin().lock();
            json!(keep::receive(&cli.images, &mut input, SEAL).map_err(Error::from)?)
        }
    };
    print::json_line(&answer);
    Ok(())
}

fn await_begin(cli: &Cli, group: &GroupName) -> Result<String> {
    let until = Instant::now() + BEGIN;
    loop {
        if let Some(switch) = keep::begun(&cli.images, group)? {
            return Ok(switch);
        }
        if Instant::now() > until {
            let network = group.network();
            let why: store::Error = GroupError::NotPending { group: group.to_string() }.into();
            return Err(Error::new(why.to_string()).hint(format!(
                "Does it run luthierd and the stub, has it network {network} by the same number (luthier net list), and does it know the other hosts (luthier net peers)?"
            )));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
