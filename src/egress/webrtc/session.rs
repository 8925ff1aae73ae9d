//! One viewer, without input and output: datagrams, batches and time go in, packets and wishes come out.
//!
//! ```text
//! offer -> answer | checks -> path | DTLS -> keys | batches -> queue -> pace -> number -> encrypt -> Send
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::crypto::Mac;

use super::packetiser::{Batch, clock};
use super::path::{Path, Paths};
use super::queue::{Next, Queue};
use super::secure::{Identity, Progress, Secure, SecureError};
use super::sender::{Ids, Plain, Sender};
use super::stun::{Request, StunError};
use crate::media::rtp::{is_rtcp, rtcp};
use crate::media::unit::Track;

/// A viewer without a valid check for this long has left. Browsers check every 2.5 s.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// A viewer that checks but does not finish the handshake in this time is let go.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Packets sent in one go, and packets for each millisecond after that: some 100 Mbit/s. A run of pictures sent
/// at line speed is lost in the first small buffer on its way.
const BURST: u32 = 96;
const PER_MILLISECOND: u32 = 10;
/// How long the pace waits for more to send.
const TICK: Duration = Duration::from_millis(2);
/// Retransmissions between two reports at most: who asks for everything again and again does not get it.
const MAX_AGAIN: u32 = 2000;
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
const KEY_FRAME_INTERVAL: Duration = Duration::from_secs(1);
/// How long after the start a viewer that cannot begin gets the pictures again; after that they come seldom
/// enough, and a path that is full should not be filled more.
const BEGINNING: Duration = Duration::from_secs(4);
/// A time stamp this far from where the clock expects it begins a new time line (in seconds).
const DISCONTINUITY: i64 = 2;

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

/// Why a viewer left.
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
    /// RTP: nothing is received here.
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

/// What the answer says, for the session to act on.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    /// `a=ice-ufrag` and `a=ice-pwd` of this side.
    pub user: &'a str,
    pub password: &'a str,
    pub peer_user: &'a str,
    pub peer_fingerprint: [u8; 32],
    pub cname: &'static str,
    pub video: Option<Ids>,
    pub audio: Option<Ids>,
    /// Where the numbers begin.
    pub random: [u64; 2],
    /// The wall clock at `now`, in milliseconds since 1970.
    pub unix_millis: i64,
}

/// Ties the time line of the stream to the clock: `moment` is shown at `at`.
#[derive(Copy, Clone, Debug)]
struct Anchor {
    at: Instant,
    /// In ticks of 90 kHz.
    moment: i64,
}

pub(super) struct Session {
    /// USERNAME of the peer's checks.
    user: String,
    mac: Box<dyn Mac>,
    secure: Secure,
    cname: &'static str,
    started: (Instant, i64),
    paths: Paths,
    last_check: Instant,
    closed: bool,
    video: Option<Sender>,
    audio: Option<Sender>,
    queue: Queue,
    established: Option<Instant>,
    /// Pictures are of no use before a key frame.
    waits_for_key: bool,
    again: VecDeque<u16>,
    again_budget: u32,
    tokens: u32,
    refilled: Instant,
    anchor: Option<Anchor>,
    next_report: Option<Instant>,
    last_wish: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Session {
    pub(super) fn new(now: Instant, identity: &Identity, terms: &Terms<'_>) -> Result<Self, SecureError> {
        let [video, audio] = terms.random;
        Ok(Self {
            user: format!("{}:{}", terms.user, terms.peer_user),
            mac: identity.mac(terms.password)?,
            secure: Secure::new(identity, terms.peer_fingerprint)?,
            cname: terms.cname,
            started: (now, terms.unix_millis),
            paths: Paths::default(),
            last_check: now,
            closed: false,
            video: terms.video.map(|ids| Sender::new(ids, video)),
            audio: terms.audio.map(|ids| Sender::new(ids, audio)),
            queue: Queue::new(),
            established: None,
            waits_for_key: terms.video.is_some(),
            again: VecDeque::new(),
            again_budget: MAX_AGAIN,
            tokens: BURST,
            refilled: now,
            anchor: None,
            next_report: None,
            last_wish: None,
            outputs: VecDeque::new(),
        })
    }

    /// Takes a datagram, or a frame of a TCP connection.
    ///
    /// # Errors
    /// Says why it was dropped; the session goes on.
    pub(super) fn handle_datagram(&mut self, now: Instant, path: Path, data: &[u8]) -> Result<(), Dropped> {
        if self.closed {
            return Err(Dropped::Closed);
        }
        // RFC 7983 tells the protocols apart by the first byte.
        let result = match data.first() {
            Some(0..=3) => self.handle_check(now, path, data),
            _ if !self.paths.knows(path) => Err(Dropped::Stranger),
            Some(20..=63) => self.handle_dtls(now, path, data),
            Some(128..=191) if is_rtcp(data) => self.handle_rtcp(now, data),
            Some(128..=191) => Err(Dropped::Rtp),
            _ => Err(Dropped::Unknown),
        };
        self.send_due(now);
        result
    }

    /// Takes a batch of the stream.
    pub(super) fn handle_batch(&mut self, now: Instant, batch: Arc<Batch>) {
        if self.closed {
            return;
        }
        match batch.track {
            Track::Video if self.video.is_none() || self.waits_for_key && !batch.key => return,
            // A viewer begins with the sound of now.
            Track::Audio if self.audio.is_none() || !self.secure.established() => return,
            Track::Video if batch.key => {
                self.waits_for_key = false;
                if !self.secure.established() {
                    self.queue.clear();
                }
            }
            _ => {}
        }
        if !self.queue.push(batch) {
            self.handle_overflow(now);
        }
        self.send_due(now);
    }

    /// Batches of the stream were lost on the way here: pictures before the next key frame are of no use.
    pub(super) fn handle_lag(&mut self, now: Instant) {
        self.waits_for_key = self.video.is_some();
        self.wish(now);
    }

    /// The peer cannot take what is sent: drops what waits, but for the rest of the picture that is under way.
    pub(super) fn handle_overflow(&mut self, now: Instant) {
        self.queue.clear_whole();
        self.handle_lag(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if now.saturating_duration_since(self.last_check) >= SILENCE {
            return self.end(now, Reason::Silent);
        }
        let overdue =
            !self.secure.established() && now.saturating_duration_since(self.started.0) >= HANDSHAKE;
        if overdue || self.secure.handle_timeout(now).is_err() {
            return self.end(now, Reason::Handshake);
        }
        self.flush_dtls();
        if self.secure.established() {
            if self.waits_for_key {
                self.wish(now);
            }
            if self.established.is_some_and(|at| now.saturating_duration_since(at) >= BEGINNING) {
                self.queue.forget_pictures();
            }
            if self.next_report.is_some_and(|at| at <= now) {
                self.report(now, false);
            }
        }
        self.send_due(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let waiting = !self.queue.is_empty() || !self.again.is_empty();
        let pace = (waiting && self.secure.established()).then(|| self.refilled + TICK);
        let silent = Some(self.last_check + SILENCE);
        let overdue = (!self.secure.established()).then(|| self.started.0 + HANDSHAKE);
        [silent, overdue, pace, self.next_report, self.secure.next_timeout()].into_iter().flatten().min()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Says goodbye: BYE of each track and close_notify.
    pub(super) fn close(&mut self, now: Instant) {
        if !self.closed {
            self.end(now, Reason::Closed);
        }
    }

    fn end(&mut self, now: Instant, reason: Reason) {
        if self.secure.established() && reason == Reason::Closed {
            self.report(now, true);
            self.secure.close(now);
            self.flush_dtls();
        }
        self.closed = true;
        self.queue.clear();
        self.again.clear();
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

    fn handle_dtls(&mut self, now: Instant, path: Path, data: &[u8]) -> Result<(), Dropped> {
        let result = self.secure.handle_dtls(now, data);
        self.flush_dtls();
        match result {
            Ok(Progress::Established) => self.establish(now, path),
            Ok(Progress::Closed) => self.end(now, Reason::Closed),
            Ok(Progress::Pending) => {}
            Err(_) => return Err(Dropped::Dtls),
        }
        Ok(())
    }

    fn flush_dtls(&mut self) {
        let path = self.paths.current();
        while let Some(message) = self.secure.poll_transmit() {
            self.outputs.extend(path.map(|path| Output::Send(path, message)));
        }
    }

    /// The viewer can see: what waits is shown at once, up to the present.
    fn establish(&mut self, now: Instant, path: Path) {
        self.paths.settle(path);
        self.outputs.push_back(Output::Established);
        self.established = Some(now);
        self.refilled = now;
        self.queue.catch_up();
        self.next_report = Some(now);
        if self.waits_for_key {
            self.wish(now);
        }
    }

    // RTCP

    fn handle_rtcp(&mut self, now: Instant, data: &[u8]) -> Result<(), Dropped> {
        let plain = self.secure.unprotect_rtcp(data).ok_or(Dropped::Rtcp)?;
        let video = self.video.as_ref().map(Sender::ssrc);
        for packet in rtcp::parse(&plain) {
            match packet.map_err(|_| Dropped::Rtcp)? {
                rtcp::Rtcp::Nack { media, lost } if Some(media) == video => {
                    for sequence in lost.into_iter().flat_map(rtcp::nacked) {
                        let known = self.video.as_mut().is_some_and(|video| video.mark_lost(sequence));
                        if known {
                            self.again.push_back(sequence);
                        }
                    }
                }
                rtcp::Rtcp::PictureLoss { media } if Some(media) == video => self.handle_picture_loss(now),
                rtcp::Rtcp::FullIntra { media } if media.iter().any(|ssrc| Some(*ssrc) == video) => {
                    self.handle_picture_loss(now);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The viewer cannot decode. Many devices give no key frame when asked; a viewer whose first pictures were
    /// lost need not wait for one.
    fn handle_picture_loss(&mut self, now: Instant) {
        let begins = self.established.is_some_and(|at| now.saturating_duration_since(at) < BEGINNING);
        if self.wish(now) && begins && !self.waits_for_key && self.queue.is_empty() {
            self.queue.repeat_pictures();
        }
    }

    /// Asks for a key frame; false if that was lately done.
    fn wish(&mut self, now: Instant) -> bool {
        let soon = |last| now.saturating_duration_since(last) < KEY_FRAME_INTERVAL;
        let due = self.video.is_some() && !self.last_wish.is_some_and(soon);
        if due {
            self.last_wish = Some(now);
            self.outputs.push_back(Output::KeyFrame);
        }
        due
    }

    /// A sender report of each track that has sent, with BYE at the end.
    fn report(&mut self, now: Instant, bye: bool) {
        self.next_report = Some(now + REPORT_INTERVAL);
        self.again_budget = MAX_AGAIN;
        let (Some(path), Some(anchor)) = (self.paths.current(), self.anchor) else { return };
        let elapsed = now.saturating_duration_since(self.started.0).as_millis() as i64;
        let ntp = rtcp::ntp(self.started.1.saturating_add(elapsed));
        let tracks = [(Track::Video, self.video.as_ref()), (Track::Audio, self.audio.as_ref())];
        let mut plain = Vec::with_capacity(64);
        for (track, sender) in tracks.into_iter().filter_map(|(track, sender)| Some((track, sender?))) {
            let (packets, octets) = sender.sent();
            if packets == 0 {
                continue;
            }
            let moment = anchor.moment_at(now).saturating_mul(clock(track)) / clock(Track::Video);
            let report = rtcp::SenderReport {
                ssrc: sender.ssrc(),
                ntp,
                timestamp: sender.timestamp(moment),
                packets,
                octets,
                ..rtcp::SenderReport::default()
            };
            plain.clear();
            rtcp::write_sender_report(&report, self.cname, &mut plain);
            if bye {
                rtcp::write_bye(report.ssrc, &mut plain);
            }
            let packet = self.secure.protect_rtcp(&plain);
            self.outputs.extend(packet.map(|packet| Output::Send(path, packet)));
        }
    }

    // RTP

    /// Sends what the pace allows: what was asked for again, then what is new.
    fn send_due(&mut self, now: Instant) {
        if self.closed || !self.secure.established() {
            return;
        }
        let Some(path) = self.paths.current() else { return };
        let elapsed = now.saturating_duration_since(self.refilled).as_millis().min(u128::from(BURST)) as u32;
        self.tokens += elapsed * PER_MILLISECOND;
        self.refilled += Duration::from_millis(elapsed.into());
        if self.tokens >= BURST {
            (self.tokens, self.refilled) = (BURST, now);
        }
        while self.tokens > 0 && (self.send_again(path) || self.send_next(now, path)) {
            self.tokens -= 1;
        }
    }

    fn send_again(&mut self, path: Path) -> bool {
        while let Some(sequence) = self.again.pop_front() {
            let (Some(video), 1..) = (self.video.as_mut(), self.again_budget) else { continue };
            if let Some(Plain { header, bytes }) = video.again(sequence) {
                self.again_budget -= 1;
                let packet = self.secure.protect_rtp(&header, bytes);
                self.outputs.extend(packet.map(|packet| Output::Send(path, packet)));
                return true;
            }
        }
        false
    }

    fn send_next(&mut self, now: Instant, path: Path) -> bool {
        let Some(Next { batch, index, moment }) = self.queue.pop() else { return false };
        let (sender, keep) = match batch.track {
            Track::Video => (self.video.as_mut(), true),
            // Browsers do not ask for sound again.
            Track::Audio => (self.audio.as_mut(), false),
        };
        if index == 0 {
            self.anchor = Some(Anchor::next(self.anchor, now, moment, batch.clock()));
        }
        let plain = sender.and_then(|sender| sender.packet(&batch, index, moment, keep));
        if let Some(Plain { header, bytes }) = plain {
            let packet = self.secure.protect_rtp(&header, bytes);
            self.outputs.extend(packet.map(|packet| Output::Send(path, packet)));
        }
        true
    }
}

impl Anchor {
    /// The moment of the stream that is shown at `now`, in ticks of 90 kHz.
    fn moment_at(&self, now: Instant) -> i64 {
        let elapsed = now.saturating_duration_since(self.at).as_micros() as i64;
        self.moment.saturating_add(elapsed * 9 / 100)
    }

    /// Keeps the anchor, so that both tracks are tied to the clock in the same way, unless the stream jumped.
    fn next(anchor: Option<Anchor>, now: Instant, moment: i64, clock: i64) -> Anchor {
        let video = self::clock(Track::Video);
        let moment = moment.saturating_mul(video) / clock;
        match anchor {
            Some(anchor) if anchor.moment_at(now).abs_diff(moment) < (DISCONTINUITY * video) as u64 => anchor,
            _ => Anchor { at: now, moment },
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
