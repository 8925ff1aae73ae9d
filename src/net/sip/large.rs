//! Requests that are too long for a datagram (RFC 3261 18.1.1, annex M of 2022).
//!
//! One to a device that registered over UDP goes over TCP where the device has it: over the connection that is there,
//! else over one that is tried once. The transaction above knows nothing of it: the branch is the same, so an answer is
//! found whichever way it comes. Nor does it wait: what it repeats, after 500 ms, goes as a datagram, and the device is
//! left alone with TCP for a while.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memmem;

use crate::sip::Flow;

/// What is longer is not sent in a datagram if it can be helped: RFC 3261 18.1.1, where the path's MTU is unknown.
pub(super) const LONGEST_DATAGRAM: usize = 1300;
/// How long a device may take to accept a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// How long it is remembered that a device takes nothing over TCP.
const FORGET: Duration = Duration::from_secs(600);
/// Connections that are tried at once; beyond, requests go as datagrams.
const MAX_TRIES: usize = 64;
/// Devices about which something is remembered.
const MAX_KNOWN: usize = 4096;
/// Requests to one device that wait for its connection.
const MAX_HELD: usize = 8;

/// What is known of a device's TCP.
enum Way {
    /// It is being tried; these wait.
    Trying(Vec<(Flow, Bytes)>),
    /// It was open when something was last sent; what that was.
    Open { last: u64 },
    /// It takes nothing, until then.
    Closed(Instant),
}

/// How a long request leaves.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Decision {
    Datagram,
    /// It waits for a connection.
    Held,
    /// It waits for a connection, which has to be made.
    Try,
    /// Over the open connection, in these bytes.
    Stream(Bytes),
}

/// What is known of the TCP of devices that registered over UDP.
#[derive(Default)]
pub(super) struct Large {
    ways: HashMap<SocketAddr, Way>,
    tries: usize,
    hashes: RandomState,
}

impl Large {
    /// How a request leaves; `open` says whether there is a connection to its destination.
    pub(super) fn decide(&mut self, now: Instant, flow: Flow, bytes: &Bytes, open: bool) -> Decision {
        let Some(rewritten) = over_tcp(bytes) else { return Decision::Datagram };
        let this = self.hashes.hash_one(bytes);
        match self.ways.get_mut(&flow.remote) {
            Some(Way::Closed(until)) if now < *until => return Decision::Datagram,
            Some(Way::Trying(held)) => {
                let before = held.len();
                held.retain(|(_, bytes)| self.hashes.hash_one(bytes) != this);
                // A repetition: the sender waited long enough.
                if held.len() < before || before >= MAX_HELD {
                    return Decision::Datagram;
                }
                held.push((flow, bytes.clone()));
                return Decision::Held;
            }
            Some(Way::Open { last }) if open && *last == this => {
                // It was sent there and not answered.
                self.close(now, flow.remote);
                return Decision::Datagram;
            }
            _ => {}
        }
        let known = self.ways.contains_key(&flow.remote);
        if !known && self.ways.len() >= MAX_KNOWN {
            self.ways.retain(|_, way| !matches!(way, Way::Closed(until) if *until <= now));
        }
        if !known && self.ways.len() >= MAX_KNOWN {
            return Decision::Datagram;
        }
        if open {
            self.ways.insert(flow.remote, Way::Open { last: this });
            return Decision::Stream(rewritten);
        }
        if self.tries >= MAX_TRIES {
            return Decision::Datagram;
        }
        self.tries += 1;
        self.ways.insert(flow.remote, Way::Trying(vec![(flow, bytes.clone())]));
        Decision::Try
    }

    /// A connection that was tried is there, or failed; what waited for it, for [`Large::decide`] once more.
    pub(super) fn tried(&mut self, now: Instant, remote: SocketAddr, connected: bool) -> Vec<(Flow, Bytes)> {
        self.tries = self.tries.saturating_sub(1);
        let held = match self.ways.remove(&remote) {
            Some(Way::Trying(held)) => held,
            _ => Vec::new(),
        };
        if !connected {
            self.close(now, remote);
        }
        held
    }

    fn close(&mut self, now: Instant, remote: SocketAddr) {
        self.ways.insert(remote, Way::Closed(now + FORGET));
    }
}

/// A request whose own Via says TCP in place of UDP. `None` for what is no request of ours.
fn over_tcp(bytes: &Bytes) -> Option<Bytes> {
    const OURS: &[u8] = b"\r\nVia: SIP/2.0/UDP ";
    const NAME: std::ops::Range<usize> = OURS.len() - 4..OURS.len() - 1;
    let line = memmem::find(bytes, b"\r\n")?;
    let own = bytes.get(line..)?.starts_with(OURS) && !bytes.starts_with(b"SIP/");
    let mut rewritten = own.then(|| bytes.to_vec())?;
    rewritten.get_mut(line + NAME.start..line + NAME.end)?.copy_from_slice(b"TCP");
    Some(rewritten.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;

    fn request(number: u32) -> Bytes {
        format!("MESSAGE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{number}\r\n\r\n").into()
    }

    fn flow(port: u16) -> Flow {
        let [local, remote] = [5060, port].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        Flow { transport: Transport::Udp, local, remote, connection: 0 }
    }

    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_via_of_our_requests_is_rewritten_and_nothing_else() {
        let expected = "MESSAGE sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n\r\n";
        assert_eq!(over_tcp(&request(1)).unwrap(), expected);
        for other in
            ["", "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\n\r\n", "BYE sip:a SIP/2.0\r\nTo: <sip:b>\r\n\r\n"]
        {
            assert_eq!(over_tcp(&Bytes::from_static(other.as_bytes())), None);
        }
    }

    #[test]
    fn what_is_repeated_goes_as_a_datagram() {
        let (mut large, now, flow) = (Large::default(), now(), flow(5060));
        assert_eq!(large.decide(now, flow, &request(1), false), Decision::Try);
        assert_eq!(large.decide(now, flow, &request(2), false), Decision::Held);
        assert_eq!(large.decide(now, flow, &request(1), false), Decision::Datagram);
        assert_eq!(large.tried(now, flow.remote, true), [(flow, request(2))]);
        assert!(matches!(large.decide(now, flow, &request(2), true), Decision::Stream(_)));
        assert!(matches!(large.decide(now, flow, &request(3), true), Decision::Stream(_)));
        assert_eq!(large.decide(now, flow, &request(3), true), Decision::Datagram);
        assert_eq!(
            large.decide(now, flow, &request(4), true),
            Decision::Datagram,
            "it does not answer there"
        );
        let later = now + FORGET;
        assert!(matches!(large.decide(later, flow, &request(5), true), Decision::Stream(_)));
        assert_eq!(large.decide(later, flow, &request(6), false), Decision::Try, "the connection is gone");
    }

    #[test]
    fn a_failure_is_remembered_and_tries_are_bounded() {
        let (mut large, now) = (Large::default(), now());
        assert_eq!(large.decide(now, flow(1), &request(1), false), Decision::Try);
        assert_eq!(large.tried(now, flow(1).remote, false).len(), 1);
        assert_eq!(large.decide(now, flow(1), &request(1), false), Decision::Datagram);
        for port in 1..=MAX_TRIES as u16 {
            assert_eq!(large.decide(now + FORGET, flow(port), &request(1), false), Decision::Try);
        }
        assert_eq!(large.decide(now + FORGET, flow(99), &request(1), false), Decision::Datagram);
        for port in 1..=MAX_TRIES as u16 {
            large.tried(now, flow(port).remote, false);
        }
        for port in 0..2 * MAX_KNOWN as u16 {
            if large.decide(now, flow(port), &request(1), false) == Decision::Try {
                large.tried(now, flow(port).remote, false);
            }
        }
        assert_eq!(large.ways.len(), MAX_KNOWN);
        assert_eq!(large.decide(now + FORGET, flow(60_000), &request(1), false), Decision::Try);
        assert_eq!(large.ways.len(), 1, "what is over is forgotten");
    }
}
