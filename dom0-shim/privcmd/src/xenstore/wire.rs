//! The wire protocol of xenstore (`io/xs_wire.h`): headers, requests and replies. Sans-I/O.

/// Bytes of `struct xsd_sockmsg`.
pub(super) const HEADER: usize = 16;
/// `XENSTORE_PAYLOAD_MAX`
pub(super) const PAYLOAD_MAX: usize = 4096;
/// `XENSTORE_ABS_PATH_MAX`
pub(super) const PATH_MAX: usize = 3072;

/// `XS_DIRECTORY`
pub(super) const XS_DIRECTORY: u32 = 1;
/// `XS_READ`
pub(super) const XS_READ: u32 = 2;
/// `XS_WATCH`
pub(super) const XS_WATCH: u32 = 4;
/// `XS_UNWATCH`
pub(super) const XS_UNWATCH: u32 = 5;
/// `XS_WRITE`
pub(super) const XS_WRITE: u32 = 11;
/// `XS_MKDIR`
pub(super) const XS_MKDIR: u32 = 12;
/// `XS_RM`
pub(super) const XS_RM: u32 = 13;
/// `XS_SET_PERMS`
pub(super) const XS_SET_PERMS: u32 = 14;
/// `XS_WATCH_EVENT`
pub(super) const XS_WATCH_EVENT: u32 = 15;
/// `XS_ERROR`
pub(super) const XS_ERROR: u32 = 16;
/// `XS_RESUME`
pub(super) const XS_RESUME: u32 = 18;

/// `struct xsd_sockmsg`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// `XS_*`
    pub(super) ty: u32,
    /// Echoed in the reply.
    pub(super) req_id: u32,
    /// Transaction, 0 for none.
    pub(super) tx_id: u32,
    /// Bytes that follow.
    pub(super) len: u32,
}

impl Header {
    /// Native order, which is little-endian here.
    pub(super) fn encode(self) -> [u8; HEADER] {
        let words = [self.ty, self.req_id, self.tx_id, self.len];
        let mut bytes = [0; HEADER];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// `None` if it announces more than the protocol allows.
    pub(super) fn parse(bytes: [u8; HEADER]) -> Option<Header> {
        let word = |at: usize| {
            let mut raw = [0; 4];
            raw.copy_from_slice(bytes.get(at..at + 4)?);
            Some(u32::from_le_bytes(raw))
        };
        let header = Header { ty: word(0)?, req_id: word(4)?, tx_id: word(8)?, len: word(12)? };
        (header.len as usize <= PAYLOAD_MAX).then_some(header)
    }
}

/// A whole request: header, then the parts, each as it is. `None` if it is too long.
pub(super) fn request(ty: u32, req_id: u32, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let payload = parts.concat();
    if payload.len() > PAYLOAD_MAX {
        return None;
    }
    let header = Header { ty, req_id, tx_id: 0, len: payload.len() as u32 };
    let mut message = header.encode().to_vec();
    message.extend(payload);
    Some(message)
}

/// A list of strings, each ended by a zero byte.
pub(super) fn strings(payload: &[u8]) -> Vec<String> {
    let payload = payload.strip_suffix(&[0]).unwrap_or(payload);
    if payload.is_empty() {
        return Vec::new();
    }
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    payload.split(|&byte| byte == 0).map(text).collect()
}

/// The errno of an error's name (`xsd_errors`); unknown names count as `EIO`.
pub(super) fn errno(name: &[u8]) -> i32 {
    match name.strip_suffix(&[0]).unwrap_or(name) {
        b"EINVAL" => libc::EINVAL,
        b"EACCES" => libc::EACCES,
        b"EEXIST" => libc::EEXIST,
        b"EISDIR" => libc::EISDIR,
        b"ENOENT" => libc::ENOENT,
        b"ENOMEM" => libc::ENOMEM,
        b"ENOSPC" => libc::ENOSPC,
        b"ENOTEMPTY" => libc::ENOTEMPTY,
        b"ENOSYS" => libc::ENOSYS,
        b"EROFS" => libc::EROFS,
        b"EBUSY" => libc::EBUSY,
        b"EAGAIN" => libc::EAGAIN,
        b"EISCONN" => libc::EISCONN,
        b"E2BIG" => libc::E2BIG,
        b"EPERM" => libc::EPERM,
        _ => libc::EIO,
    }
}

/// A path that may be sent: absolute or `@special`, of ordinary length and characters.
pub(super) fn valid_path(path: &str) -> bool {
    (path.starts_with('/') || path.starts_with('@'))
        && path.len() < PATH_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_type_id_transaction_and_length() {
        let message = request(XS_READ, 7, &[b"/a", b"\0"]).unwrap();
        assert_eq!(message, b"\x02\0\0\0\x07\0\0\0\0\0\0\0\x03\0\0\0/a\0");
    }

    #[test]
    fn what_is_encoded_is_parsed() {
        let header = Header { ty: XS_WATCH_EVENT, req_id: 1, tx_id: 2, len: 4096 };
        assert_eq!(Header::parse(header.encode()), Some(header));
    }

    #[test]
    fn too_much_is_refused_in_both_directions() {
        assert_eq!(request(XS_WRITE, 1, &[&[0; PAYLOAD_MAX + 1]]), None);
        let header = Header { ty: XS_READ, req_id: 1, tx_id: 0, len: 4097 };
        assert_eq!(Header::parse(header.encode()), None);
    }

    #[test]
    fn lists_end_each_string_with_a_zero_byte() {
        assert_eq!(strings(b"a\0bc\0"), ["a", "bc"]);
        assert_eq!(strings(b""), [""; 0]);
        assert_eq!(strings(b"a\0\0"), ["a", ""]);
    }

    #[test]
    fn errors_come_as_names() {
        assert_eq!(errno(b"ENOENT\0"), libc::ENOENT);
        assert_eq!(errno(b"EWEIRD\0"), libc::EIO);
    }

    #[test]
    fn paths_are_checked_before_they_are_sent() {
        assert!(valid_path("/local/domain/1/control/shutdown"));
        assert!(valid_path("@releaseDomain"));
        assert!(!valid_path("relative") && !valid_path("/a b") && !valid_path("/a\0b"));
    }
}
