//! What every session stands on, whichever way its media go: ICE-lite, DTLS, and the keys that come of it.
//! Without input and output, as the sessions are.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::crypto::Mac;

use super::path::{Path, Paths};
use super::secure::{Identity, Progress, Secure, SecureError};
use super::stun::{Request, StunError};
use crate::media::rtp::is_rtcp;

/// A peer without a valid check for this long has left. Browsers check every 2.5 s.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// A peer that checks but does not finish the handshake in this time is let go.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// What comes out. Drain until `None` after each call.
#[derive(Debug)]
pub(super) enum Output {
    Send(Path, BytesMut),
    /// The peer proved that it is reached here: what comes from this path is for this session.
    Proven(Path),
    /// Nothing is expected from this address any more.
    Forgotten(SocketAddr),
    KeyFrame,
    Established,
    /// The last output.
    Closed(Reason),
}

/// Why a peer left.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    /// The player closed, or it was told to.
    Closed,
    /// No valid check for [`SILENCE`].
    Silent,
    /// The handshake failed.
    Handshake,
}

/// Why a datagram was dropped; the text is the label of the metric.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Dropped {
    Stun,
    /// The password or the user name of a check is wrong.
    Unproven,
    /// From an address that no valid check came from.
    Stranger,
    Dtls,
    Rtcp,
    /// RTP where nothing is received, or that cannot be decrypted, or of a codec that was not agreed.
    Rtp,
    Unknown,
    Closed,
}

impl Dropped {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Dropped::Stun => "stun_malformed",
            Dropped::Unproven => "stun_unproven",
            Dropped::Stranger => "unproven_address",
            Dropped::Dtls => "dtls",
            Dropped::Rtcp => "rtcp",
            Dropped::Rtp => "rtp",
            Dropped::Unknown => "unknown_protocol",
            Dropped::Closed => "closed",
        }
    }
}

impl From<StunError> for Dropped {
    fn from(_: StunError) -> Self {
        Dropped::Stun
    }
}

/// What the answer says of the transport, for the session to act on.
#[derive(Debug)]
pub(super) struct Ends<'a> {
    /// `a=ice-ufrag` and `a=ice-pwd` of this side.
    pub user: &'a str,
    pub password: &'a str,
    pub peer_user: &'a str,
    pub peer_fingerprint: [u8; 32],
}

/// What a datagram was, for the session to go on with.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// It concerned the transport alone.
    Done,
    /// It ended the handshake.
    Established,
    /// The peer said goodbye.
    Closed,
    Rtp,
    Rtcp,
}

pub(super) struct Transport {
    /// USERNAME of the peer's checks.
    user: String,
    mac: Box<dyn Mac>,
    pub secure: Secure,
    started: Instant,
    paths: Paths,
    last_check: Instant,
    closed: bool,
    outputs: VecDeque<Output>,
}

impl Transport {
    pub(super) fn new(now: Instant, identity: &Identity, ends: &Ends<'_>) -> Result<Self, SecureError> {
        Ok(Self {
            user: format!("{}:{}", ends.user, ends.peer_user),
            mac: identity.mac(ends.password)?,
            secure: Secure::new(identity, ends.peer_fingerprint)?,
            started: now,
            paths: Paths::default(),
            last_check: now,
            closed: false,
            outputs: VecDeque::new(),
        })
    }

    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    pub(super) fn established(&self) -> bool {
        self.secure.established()
    }

    /// The way to the peer.
    pub(super) fn path(&self) -> Option<Path> {
        self.paths.current()
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Sends a packet of media, if it could be encrypted.
    pub(super) fn send(&mut self, path: Path, packet: Option<BytesMut>) {
        self.outputs.extend(packet.map(|packet| Output::Send(path, packet)));
    }

    /// Encrypts RTCP and sends it to the peer.
    pub(super) fn send_rtcp(&mut self, plain: &[u8]) {
        if let (Some(path), Some(packet)) = (self.paths.current(), self.secure.protect_rtcp(plain)) {
            self.outputs.push_back(Output::Send(path, packet));
        }
    }

    /// Takes a datagram, or a frame of a TCP connection. Media are left to the session.
    ///
    /// # Errors
    /// Says why it was dropped; the session goes on.
    pub(super) fn take(&mut self, now: Instant, path: Path, data: &[u8]) -> Result<Taken, Dropped> {
        if self.closed {
            return Err(Dropped::Closed);
        }
        // RFC 7983 tells the protocols apart by the first byte.
        match data.first() {
            Some(0..=3) => self.handle_check(now, path, data).map(|()| Taken::Done),
            _ if !self.paths.knows(path) => Err(Dropped::Stranger),
            Some(20..=63) => self.handle_dtls(now, path, data),
            Some(128..=191) if is_rtcp(data) => Ok(Taken::Rtcp),
            Some(128..=191) => Ok(Taken::Rtp),
            _ => Err(Dropped::Unknown),
        }
    }

    /// Gives why the session is over, if it is.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Reason> {
        if now.saturating_duration_since(self.last_check) >= SILENCE {
            return Some(Reason::Silent);
        }
        let overdue = !self.established() && now.saturating_duration_since(self.started) >= HANDSHAKE;
        if overdue || self.secure.handle_timeout(now).is_err() {
            return Some(Reason::Handshake);
        }
        self.flush_dtls();
        None
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let silent = Some(self.last_check + SILENCE);
        let overdue = (!self.established()).then(|| self.started + HANDSHAKE);
        [silent, overdue, self.secure.next_timeout()].into_iter().flatten().min()
    }

    /// The session is over; who is told to leave gets a close_notify.
    pub(super) fn end(&mut self, now: Instant, reason: Reason) {
        if self.established() && reason == Reason::Closed {
            self.secure.close(now);
            self.flush_dtls();
        }
        self.closed = true;
        self.outputs.push_back(Output::Closed(reason));
    }

    // ICE (RFC 8445), lite

    fn handle_check(&mut self, now: Instant, path: Path, data: &[u8]) -> Result<(), Dropped> {
        let request = match Request::parse(data) {
            Ok(request) => request,
            // Answers to checks that we never send, and indications: harmless.
            Err(StunError::NotARequest) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if request.user != self.user || !request.verify(self.mac.as_mut()) {
            return Err(Dropped::Unproven);
        }
        if request.controlled {
            let answer = request.role_conflict(self.mac.as_mut());
            self.outputs.extend(answer.map(|a| Output::Send(path, BytesMut::from(a.as_slice()))));
            return Ok(());
        }
        self.last_check = now;
        self.outputs.push_back(Output::Proven(path));
        let answer = request.success(self.mac.as_mut(), path.remote);
        self.outputs.extend(answer.map(|a| Output::Send(path, BytesMut::from(a.as_slice()))));
        let forgotten = self.paths.heard(now, path, request.priority, request.use_candidate);
        self.outputs.extend(forgotten.map(Output::Forgotten));
        Ok(())
    }

    // DTLS

    fn handle_dtls(&mut self, now: Instant, path: Path, data: &[u8]) -> Result<Taken, Dropped> {
        let result = self.secure.handle_dtls(now, data);
        self.flush_dtls();
        match result {
            Ok(Progress::Established) => {
                self.paths.settle(path);
                self.outputs.push_back(Output::Established);
                Ok(Taken::Established)
            }
            Ok(Progress::Closed) => Ok(Taken::Closed),
            Ok(Progress::Pending) => Ok(Taken::Done),
            Err(_) => Err(Dropped::Dtls),
        }
    }

    fn flush_dtls(&mut self) {
        let path = self.paths.current();
        while let Some(message) = self.secure.poll_transmit() {
            self.outputs.extend(path.map(|path| Output::Send(path, message)));
        }
    }
}
