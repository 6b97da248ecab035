//! A guest's own xenstore client, with paths relative to the guest's directory: a guest doesn't
//! know its domain id, which changes when it is restored. (Dom0's client, `privcmd::xenstore`,
//! takes absolute paths only.) Waits without a limit: the guest has nothing better to do.
//!
//! Messages are those of `xen/include/public/io/xs_wire.h`, over `/dev/xen/xenbus`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const WATCH: u32 = 4;
const WRITE: u32 = 11;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;

/// Bytes of a message before its payload: type, request, transaction, length of the payload.
const HEADER: usize = 16;
const PAYLOAD_MAX: u32 = 4096;

/// A connection to xenstored by the guest's kernel.
pub(crate) struct Store {
    file: File,
    /// Watch events that came while a reply was awaited.
    events: VecDeque<Vec<u8>>,
}

impl Store {
    /// Connects.
    pub(crate) fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/xen/xenbus")?;
        Ok(Self { file, events: VecDeque::new() })
    }

    /// A node's value; `None` if there is no such node.
    pub(crate) fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self.call(READ, path, b"") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Writes a node; makes it and its parents if need be.
    pub(crate) fn write(&mut self, path: &str, value: &[u8]) -> io::Result<()> {
        self.call(WRITE, path, value).map(drop)
    }

    /// Names of the nodes directly below; none if there is no such node.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<Vec<String>> {
        match self.call(DIRECTORY, path, b"") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => {
                let names = other?;
                let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
                Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
            }
        }
    }

    /// Watches a node and all below it; the first event comes at once.
    pub(crate) fn watch(&mut self, path: &str) -> io::Result<()> {
        self.call(WATCH, path, b"watch\0").map(drop)
    }

    /// Waits for the next event of any watch.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        while self.events.pop_front().is_none() {
            let (ty, payload) = self.receive()?;
            if ty == WATCH_EVENT {
                self.events.push_back(payload);
            }
        }
        Ok(())
    }

    fn call(&mut self, ty: u32, path: &str, rest: &[u8]) -> io::Result<Vec<u8>> {
        self.file.write_all(&request(ty, path, rest)?)?;
        loop {
            match self.receive()? {
                (WATCH_EVENT, event) => self.events.push_back(event),
                (ERROR, name) => return Err(refusal(&name)),
                (_, payload) => return Ok(payload),
            }
        }
    }

    fn receive(&mut self) -> io::Result<(u32, Vec<u8>)> {
        let mut header = [0; HEADER];
        self.file.read_exact(&mut header)?;
        let (ty, len) = (word(&header, 0), word(&header, 12));
        if len > PAYLOAD_MAX {
            return Err(io::Error::other("xenstored sent something that is not of its protocol"));
        }
        let mut payload = vec![0; len as usize];
        self.file.read_exact(&mut payload)?;
        Ok((ty, payload))
    }
}

fn word(header: &[u8; HEADER], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn request(ty: u32, path: &str, rest: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(path.len() + 1 + rest.len()).unwrap_or(u32::MAX);
    if len > PAYLOAD_MAX {
        return Err(io::Error::other("too long for xenstore"));
    }
    let mut message = Vec::new();
    for word in [ty, 0, 0, len] {
        message.extend(word.to_le_bytes());
    }
    message.extend(path.as_bytes());
    message.push(0);
    message.extend(rest);
    Ok(message)
}

fn refusal(name: &[u8]) -> io::Error {
    match name.strip_suffix(b"\0").unwrap_or(name) {
        b"ENOENT" => io::ErrorKind::NotFound.into(),
        name => io::Error::other(format!("xenstore refused: {}", String::from_utf8_lossy(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_type_and_length_and_a_path_that_ends() {
        let message = request(WRITE, "data/x", b"y").unwrap();
        assert_eq!(message, b"\x0b\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0data/x\0y");
        assert!(request(WRITE, "data/x", &[0; 4096]).is_err());
    }

    #[test]
    fn a_node_that_is_not_there_is_told_from_other_refusals() {
        assert_eq!(refusal(b"ENOENT\0").kind(), io::ErrorKind::NotFound);
        assert_eq!(refusal(b"EACCES\0").to_string(), "xenstore refused: EACCES");
    }
}
