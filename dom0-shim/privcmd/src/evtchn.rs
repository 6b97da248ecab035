//! Event channels of this process, by `/dev/xen/evtchn`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::abi::linux::{EVTCHN_BIND_INTERDOMAIN, EVTCHN_NOTIFY, EVTCHN_UNBIND, EvtchnBindInterdomain};
use crate::{DomId, Error, device};

/// A port bound to another domain's. Closed on drop, which the kernel also does when we die.
#[derive(Debug)]
pub struct EventChannel {
    file: File,
    port: u32,
}

impl EventChannel {
    /// Binds a new port of ours to `remote_port`, which `domid` must have offered to us.
    ///
    /// # Errors
    /// [`Error::Device`]; [`Error::Hypercall`] when the port is not offered (any more).
    pub fn bind_interdomain(domid: DomId, remote_port: u32) -> Result<EventChannel, Error> {
        let file = device::open("/dev/xen/evtchn", libc::O_NONBLOCK)?;
        let mut bind = EvtchnBindInterdomain { remote_domain: u32::from(domid), remote_port };
        // SAFETY: the structure is what the ioctl takes.
        let port = unsafe { device::ioctl(file.as_fd(), EVTCHN_BIND_INTERDOMAIN, &raw mut bind) }
            .map_err(|source| Error::Hypercall { op: "EVTCHNOP_bind_interdomain", source })?;
        Ok(EventChannel { file, port })
    }

    /// Our end's number.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Sends an event to the other end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn notify(&self) -> io::Result<()> {
        let mut port = self.port;
        // SAFETY: `struct ioctl_evtchn_notify` is a port.
        unsafe { device::ioctl(self.file.as_fd(), EVTCHN_NOTIFY, &raw mut port) }.map(drop)
    }

    /// Waits for an event, at most this long, and makes the port ready for the next. `false`: none
    /// came. Events that came in between are one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        if !wait_readable(self.file.as_fd(), timeout)? {
            return Ok(false);
        }
        let mut port = [0; 4];
        match (&self.file).read(&mut port) {
            Ok(4) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        // Writing a port unmasks it. It is the only one that is bound here.
        (&self.file).write_all(&port)?;
        Ok(true)
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        let mut port = self.port;
        // SAFETY: `struct ioctl_evtchn_unbind` is a port. An error leaves it to the close.
        let _ = unsafe { device::ioctl(self.file.as_fd(), EVTCHN_UNBIND, &raw mut port) };
    }
}

/// Polls for input. `false`: none within the time.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // Rounded up, so that a wait never spins on a fraction of a millisecond.
    let millis = timeout.as_micros().div_ceil(1000);
    let millis = i32::try_from(millis).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd.
    let ready = unsafe { libc::poll(&raw mut poll, 1, millis) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        // A signal: as if the time were over; callers loop.
        return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
    }
    Ok(ready > 0)
}
