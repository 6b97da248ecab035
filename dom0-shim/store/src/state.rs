//! What an image holds of a guest besides its memory: file `state`.
//!
//! The bodies are those of the records that `xl save` writes, octet for octet, so that an export
//! needs no knowledge of what is in them. Their formats are in Xen's
//! `docs/specs/libxc-migration-stream.pandoc`.
//!
//! The file, all integers little-endian:
//!
//! | octets | field |
//! | --- | --- |
//! | 8 | `LUTHSTAT` |
//! | 4 | format, 1 |
//! | 4 | how many records follow |
//! | each: 4 | kind |
//! | 4 | length of the body |
//! | 8 | xxh3-64 of the body |
//! | length | body |

use std::collections::BTreeMap;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"LUTHSTAT";
const FORMAT: u32 = 1;
const HEADER: usize = 16;
const RECORD_HEADER: usize = 16;

/// Longest body of a record: 16 MiB. The HVM context of 128 vCPUs has less than 2 MiB.
pub const MAX_BODY: usize = 16 << 20;
/// Longest state file: one record of each kind, each as long as can be.
pub(crate) const MAX_FILE: u64 = (HEADER + StateKind::ALL.len() * (RECORD_HEADER + MAX_BODY)) as u64;

/// The records of an image, in the order in which an export writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKind {
    /// `X86_CPUID_POLICY`: array of `xen_cpuid_leaf_t`, 24 octets each.
    CpuidPolicy,
    /// `X86_MSR_POLICY`: array of `xen_msr_entry_t`, 16 octets each.
    MsrPolicy,
    /// `X86_TSC_INFO`, 24 octets; see [`tsc_info`].
    TscInfo,
    /// `HVM_PARAMS`: count and (index, value) pairs; see [`hvm_params`].
    HvmParams,
    /// `HVM_CONTEXT`: what `XEN_DOMCTL_gethvmcontext` returns.
    HvmContext,
    /// xl's configuration of the domain: the value of `config` in what `xl list -l` prints.
    /// A JSON object without a trailing NUL.
    DomainConfig,
}

impl StateKind {
    /// All kinds, in their order.
    pub const ALL: [StateKind; 6] = [
        StateKind::CpuidPolicy,
        StateKind::MsrPolicy,
        StateKind::TscInfo,
        StateKind::HvmParams,
        StateKind::HvmContext,
        StateKind::DomainConfig,
    ];

    /// The kind's number in the file: libxc's type of the record, and `0x1000` for the
    /// configuration, which libxc's stream doesn't have.
    pub fn number(self) -> u32 {
        match self {
            StateKind::CpuidPolicy => 0x11,
            StateKind::MsrPolicy => 0x12,
            StateKind::TscInfo => 0x08,
            StateKind::HvmParams => 0x0a,
            StateKind::HvmContext => 0x09,
            StateKind::DomainConfig => 0x1000,
        }
    }

    /// The kind of a number.
    pub fn from_number(number: u32) -> Option<StateKind> {
        Self::ALL.into_iter().find(|k| k.number() == number)
    }

    /// Whether a guest can't be restored without it. Streams of Xen before 4.14 have no CPU
    /// policies; `xl restore` then derives them from the configuration.
    pub fn required(self) -> bool {
        !matches!(self, StateKind::CpuidPolicy | StateKind::MsrPolicy)
    }

    /// Why a body can't be one of this kind; `None` if it can.
    fn fault(self, body: &[u8]) -> Option<String> {
        let len = body.len();
        if len > MAX_BODY {
            return Some(format!("it has {len} octets, more than {MAX_BODY}"));
        }
        let array_of = |size: usize| {
            (len == 0 || !len.is_multiple_of(size))
                .then(|| format!("it has {len} octets, which is no positive multiple of {size}"))
        };
        match self {
            StateKind::CpuidPolicy => array_of(24),
            StateKind::MsrPolicy => array_of(16),
            StateKind::TscInfo => (len != 24).then(|| format!("it has {len} octets, not 24")),
            StateKind::HvmParams => parse_hvm_params(body)
                .is_none()
                .then(|| format!("its {len} octets don't fit its count of parameters")),
            StateKind::HvmContext => (len == 0).then(|| "it is empty".into()),
            StateKind::DomainConfig => match serde_json::from_slice::<serde_json::Value>(body) {
                Err(e) => Some(format!("it is not JSON: {e}")),
                Ok(v) if v["c_info"].is_object() && v["b_info"].is_object() => None,
                Ok(_) => Some("it is not an object with c_info and b_info".into()),
            },
        }
    }
}

impl StateKind {
    /// The name that Xen's specification gives the record.
    pub fn name(self) -> &'static str {
        match self {
            StateKind::CpuidPolicy => "X86_CPUID_POLICY",
            StateKind::MsrPolicy => "X86_MSR_POLICY",
            StateKind::TscInfo => "X86_TSC_INFO",
            StateKind::HvmParams => "HVM_PARAMS",
            StateKind::HvmContext => "HVM_CONTEXT",
            StateKind::DomainConfig => "xl's domain configuration",
        }
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A guest's state: at most one record of each kind, each checked to have its kind's form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    records: BTreeMap<StateKind, Vec<u8>>,
}

/// Why a state file was not understood.
#[derive(Debug)]
pub(crate) enum StateFault {
    /// The frame of the file is wrong.
    Form(String),
    /// One record is not what was written.
    Record(StateKind),
}

impl State {
    /// No records.
    pub fn new() -> State {
        State::default()
    }

    /// Puts a record; the last of a kind wins. Fails when the body can't be of that kind.
    pub fn insert(&mut self, kind: StateKind, body: Vec<u8>) -> Result<()> {
        if let Some(why) = kind.fault(&body) {
            return Err(Error::BadRecord { kind, why });
        }
        self.records.insert(kind, body);
        Ok(())
    }

    /// The body of a record.
    pub fn get(&self, kind: StateKind) -> Option<&[u8]> {
        self.records.get(&kind).map(Vec::as_slice)
    }

    /// The records that there are, in the order of [`StateKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (StateKind, &[u8])> {
        self.records.iter().map(|(&kind, body)| (kind, &body[..]))
    }

    /// Fails when a record without which nothing can be restored is missing.
    pub fn check_complete(&self) -> Result<()> {
        match StateKind::ALL.into_iter().find(|k| k.required() && !self.records.contains_key(k)) {
            Some(kind) => Err(Error::MissingRecord(kind)),
            None => Ok(()),
        }
    }

    /// The file's contents.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.records.len() as u32).to_le_bytes());
        for (kind, body) in self.iter() {
            out.extend_from_slice(&kind.number().to_le_bytes());
            out.extend_from_slice(&(body.len() as u32).to_le_bytes());
            out.extend_from_slice(&xxh3_64(body).to_le_bytes());
            out.extend_from_slice(body);
        }
        out
    }

    /// Reads a file's contents. Allocates no more than the file's length again.
    pub(crate) fn decode(file: &[u8]) -> std::result::Result<State, StateFault> {
        let form = |why: &str| StateFault::Form(why.to_owned());
        let mut at = Cursor(file);
        if at.take(8) != Some(MAGIC) {
            return Err(form("it does not start with LUTHSTAT"));
        }
        if at.u32() != Some(FORMAT) {
            return Err(form("it is not of format 1"));
        }
        let count = at.u32().ok_or_else(|| form("it is truncated"))?;
        let mut state = State::new();
        for _ in 0..count {
            let cut = || form("it is truncated");
            let header = at.take(RECORD_HEADER).ok_or_else(cut)?;
            let mut header = Cursor(header);
            let number = header.u32().ok_or_else(cut)?;
            let length = header.u32().ok_or_else(cut)?;
            let checksum = header.u64().ok_or_else(cut)?;
            let kind = StateKind::from_number(number)
                .ok_or_else(|| StateFault::Form(format!("it has a record of unknown kind {number:#x}")))?;
            let body = at.take(length as usize).ok_or(StateFault::Record(kind))?;
            if xxh3_64(body) != checksum || kind.fault(body).is_some() {
                return Err(StateFault::Record(kind));
            }
            if state.records.insert(kind, body.to_vec()).is_some() {
                return Err(form("it has two records of one kind"));
            }
        }
        if !at.0.is_empty() {
            return Err(form("something follows its last record"));
        }
        Ok(state)
    }
}

/// The body of an `HVM_PARAMS` record of (index, value) pairs.
pub fn hvm_params(params: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + params.len() * 16);
    out.extend_from_slice(&(params.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for (index, value) in params {
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}

/// Reads the body of an `HVM_PARAMS` record; `None` when its length doesn't fit its count.
pub fn parse_hvm_params(body: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut at = Cursor(body);
    let count = at.u32()?;
    at.u32()?;
    if u64::from(count) * 16 != at.0.len() as u64 {
        return None;
    }
    (0..count).map(|_| Some((at.u64()?, at.u64()?))).collect()
}

/// The body of an `X86_TSC_INFO` record: TSC mode (`TSC_MODE_*`), frequency in kHz, elapsed
/// nanoseconds, and incarnation, all as `XEN_DOMCTL_gettscinfo` returns them.
pub fn tsc_info(mode: u32, khz: u32, nsec: u64, incarnation: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend_from_slice(&mode.to_le_bytes());
    out.extend_from_slice(&khz.to_le_bytes());
    out.extend_from_slice(&nsec.to_le_bytes());
    out.extend_from_slice(&incarnation.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out
}

/// Reads little-endian integers off the front of a slice, and never beyond its end.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
