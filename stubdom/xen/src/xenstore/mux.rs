//! Requests, answers and watch events, without the ring: bytes in, bytes out.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use xen_sys::errno::Errno;
use xen_sys::xs_wire::{XENSTORE_PAYLOAD_MAX, XS_ERROR, XS_WATCH_EVENT, XsdSockmsg};

use super::{MAX_EVENTS, MAX_REQUESTS, MAX_WATCHES, XsError};

/// Requests may wait for room in the ring up to this many bytes; more wait in their tasks.
const MAX_OUTPUT: usize = 4 * (XsdSockmsg::SIZE + XENSTORE_PAYLOAD_MAX);

/// An identifier of requests whose answer nobody waits for. The others are never 0.
const NOBODY: u32 = 0;

struct Request {
    id: u32,
    typ: u32,
    reply: Option<Result<Vec<u8>, XsError>>,
    waker: Option<Waker>,
    abandoned: bool,
}

struct WatchState {
    token: u32,
    events: VecDeque<String>,
    waker: Option<Waker>,
}

/// The state of the connection.
pub(crate) struct Mux {
    output: Vec<u8>,
    header: Vec<u8>,
    /// The header of the message that is arriving, once it is whole.
    arriving: Option<XsdSockmsg>,
    payload: Vec<u8>,
    requests: [Option<Request>; MAX_REQUESTS],
    watches: [Option<WatchState>; MAX_WATCHES],
    /// Tasks that wait for a free request or for room.
    waiting: Vec<Waker>,
    next: u32,
    dead: Option<XsError>,
}

/// A watch's token as it goes over the ring.
pub(super) fn token_name(token: u32) -> String {
    format!("{token}")
}

impl Mux {
    pub(crate) fn new() -> Mux {
        Mux {
            output: Vec::new(),
            header: Vec::with_capacity(XsdSockmsg::SIZE),
            arriving: None,
            payload: Vec::new(),
            requests: [const { None }; MAX_REQUESTS],
            watches: [const { None }; MAX_WATCHES],
            waiting: Vec::new(),
            next: NOBODY,
            dead: None,
        }
    }

    fn fresh_id(&mut self) -> u32 {
        self.next = match self.next.wrapping_add(1) {
            NOBODY => 1,
            id => id,
        };
        self.next
    }

    /// Bytes that wait to be sent.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// The first `count` of them were sent.
    pub(crate) fn consume_output(&mut self, count: usize) {
        self.output.drain(..count.min(self.output.len()));
        self.wake_waiting();
    }

    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Puts a request in line and returns its identifier, once there is room for it.
    pub(crate) fn poll_submit(
        &mut self,
        cx: &mut Context<'_>,
        typ: u32,
        tx: u32,
        parts: &[&[u8]],
    ) -> Poll<Result<u32, XsError>> {
        if let Some(error) = self.dead {
            return Poll::Ready(Err(error));
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > XENSTORE_PAYLOAD_MAX {
            return Poll::Ready(Err(XsError::Unsendable));
        }
        let free = self.requests.iter().position(Option::is_none);
        let (Some(slot), true) = (free, self.output.len() + len <= MAX_OUTPUT) else {
            // Bounded by the number of tasks.
            if !self.waiting.iter().any(|known| known.will_wake(cx.waker())) {
                self.waiting.push(cx.waker().clone());
            }
            return Poll::Pending;
        };
        let id = self.fresh_id();
        self.requests[slot] = Some(Request { id, typ, reply: None, waker: None, abandoned: false });
        self.append(typ, id, tx, parts);
        Poll::Ready(Ok(id))
    }

    /// Puts a request in line whose answer is of no interest.
    pub(crate) fn submit_and_forget(&mut self, typ: u32, parts: &[&[u8]]) {
        self.append(typ, NOBODY, 0, parts);
    }

    /// The same within a transaction.
    pub(crate) fn submit_and_forget_in(&mut self, typ: u32, tx: u32, parts: &[&[u8]]) {
        self.append(typ, NOBODY, tx, parts);
    }

    fn append(&mut self, typ: u32, req_id: u32, tx_id: u32, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len() as u32).sum();
        let header = XsdSockmsg { typ, req_id, tx_id, len };
        self.output.extend_from_slice(&header.to_bytes());
        parts.iter().for_each(|part| self.output.extend_from_slice(part));
    }

    /// The answer to request `id`.
    pub(crate) fn poll_reply(&mut self, cx: &mut Context<'_>, id: u32) -> Poll<Result<Vec<u8>, XsError>> {
        let slot = self.requests.iter_mut().find(|slot| is(slot, id));
        let Some(slot) = slot else {
            return Poll::Ready(Err(XsError::Protocol("an answer was taken twice")));
        };
        match slot.take_if(|request| request.reply.is_some()) {
            Some(request) => {
                self.wake_waiting();
                let missing = Err(XsError::Protocol("no answer"));
                Poll::Ready(request.reply.unwrap_or(missing))
            }
            None => match (self.dead, slot) {
                (Some(error), slot) => {
                    *slot = None;
                    Poll::Ready(Err(error))
                }
                (None, slot) => {
                    if let Some(request) = slot {
                        request.waker = Some(cx.waker().clone());
                    }
                    Poll::Pending
                }
            },
        }
    }

    /// Nobody waits for the answer to `id` any more. Its slot stays taken until that has come.
    pub(crate) fn abandon(&mut self, id: u32) {
        let Some(slot) = self.requests.iter_mut().find(|slot| is(slot, id)) else {
            return;
        };
        if self.dead.is_some() || slot.take_if(|request| request.reply.is_some()).is_some() {
            *slot = None;
            self.wake_waiting();
        } else if let Some(request) = slot {
            request.abandoned = true;
        }
    }

    /// Makes place for a watch and returns its token.
    pub(crate) fn add_watch(&mut self) -> Result<u32, XsError> {
        let token = self.fresh_id();
        let slot = self.watches.iter_mut().find(|slot| slot.is_none());
        *slot.ok_or(XsError::TooManyWatches)? =
            Some(WatchState { token, events: VecDeque::new(), waker: None });
        Ok(token)
    }

    /// Forgets a watch. Events of it that still come are dropped.
    pub(crate) fn remove_watch(&mut self, token: u32) {
        for slot in &mut self.watches {
            let _ = slot.take_if(|watch| watch.token == token);
        }
    }

    /// The next event of a watch.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>, token: u32) -> Poll<Result<String, XsError>> {
        let mut watches = self.watches.iter_mut().flatten();
        let Some(watch) = watches.find(|watch| watch.token == token) else {
            return Poll::Ready(Err(XsError::Protocol("no such watch")));
        };
        if let Some(path) = watch.events.pop_front() {
            return Poll::Ready(Ok(path));
        }
        if let Some(error) = self.dead {
            return Poll::Ready(Err(error));
        }
        watch.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes bytes that came from the daemon.
    pub(crate) fn input(&mut self, mut bytes: &[u8]) {
        while self.dead.is_none() {
            let Some(header) = self.arriving else {
                let missing = XsdSockmsg::SIZE - self.header.len();
                let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header.extend_from_slice(part);
                bytes = rest;
                let Ok(whole) = <&[u8; XsdSockmsg::SIZE]>::try_from(&self.header[..]) else {
                    return;
                };
                let header = XsdSockmsg::from_bytes(whole);
                self.header.clear();
                if header.len as usize > XENSTORE_PAYLOAD_MAX {
                    self.fail("an answer longer than 4096 bytes");
                    return;
                }
                self.arriving = Some(header);
                continue;
            };
            let missing = header.len as usize - self.payload.len();
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            self.payload.extend_from_slice(part);
            bytes = rest;
            if self.payload.len() < header.len as usize {
                return;
            }
            self.arriving = None;
            let payload = core::mem::take(&mut self.payload);
            self.dispatch(header, payload);
        }
    }

    fn dispatch(&mut self, header: XsdSockmsg, payload: Vec<u8>) {
        if header.typ == XS_WATCH_EVENT {
            self.event(&payload);
            return;
        }
        // An answer that nobody asked for, or waits for, is dropped.
        let Some(slot) = (self.requests.iter_mut()).find(|slot| is(slot, header.req_id)) else {
            return;
        };
        if slot.take_if(|request| request.abandoned).is_some() {
            self.wake_waiting();
        } else if let Some(request) = slot {
            request.reply = Some(if header.typ == request.typ {
                Ok(payload)
            } else if header.typ == XS_ERROR {
                Err(XsError::Refused(errno(&payload)))
            } else {
                Err(XsError::Protocol("an answer of another type"))
            });
            request.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    fn event(&mut self, payload: &[u8]) {
        let mut parts = payload.split(|&byte| byte == 0);
        let (Some(path), Some(token)) = (parts.next(), parts.next()) else {
            return;
        };
        let (Ok(path), Ok(token)) = (core::str::from_utf8(path), core::str::from_utf8(token)) else {
            return;
        };
        let mut watches = self.watches.iter_mut().flatten();
        let Some(watch) = watches.find(|watch| token.parse() == Ok(watch.token)) else {
            return;
        };
        if watch.events.len() < MAX_EVENTS && !watch.events.iter().any(|known| known == path) {
            watch.events.push_back(String::from(path));
        }
        watch.waker.take().into_iter().for_each(Waker::wake);
    }

    /// The daemon cannot be understood any more: everyone is told, now and later.
    pub(crate) fn fail(&mut self, what: &'static str) {
        self.dead = Some(XsError::Protocol(what));
        self.output.clear();
        let requests = self.requests.iter_mut().flatten();
        let watches = self.watches.iter_mut().flatten();
        let wakers = requests.map(|request| &mut request.waker);
        wakers.chain(watches.map(|watch| &mut watch.waker)).filter_map(Option::take).for_each(Waker::wake);
        self.wake_waiting();
    }
}

fn is(slot: &Option<Request>, id: u32) -> bool {
    slot.as_ref().is_some_and(|request| request.id == id)
}

/// The error that the daemon names.
fn errno(payload: &[u8]) -> Errno {
    let name = payload.split(|&byte| byte == 0).next().unwrap_or_default();
    let name = core::str::from_utf8(name).unwrap_or_default();
    Errno::from_name(name).unwrap_or(Errno::EIO)
}

#[cfg(test)]
mod tests;
