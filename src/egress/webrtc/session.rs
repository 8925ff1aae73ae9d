//! One viewer, without input and output: datagrams, batches and time go in, packets and wishes come out.
//!
//! ```text
//! offer -> answer | checks -> path | DTLS -> keys | batches -> queue -> pace -> number -> encrypt -> Send
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packetiser::{Batch, clock};
use super::path::Path;
use super::queue::{Next, Queue};
use super::secure::{Identity, SecureError};
use super::sender::{Ids, Plain, Sender};
use super::transport::{Dropped, Ends, Output, Reason, Taken, Transport};
use crate::media::rtp::rtcp;
use crate::media::unit::Track;

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

/// What the answer says, for the session to act on.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub ends: Ends<'a>,
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
    transport: Transport,
    cname: &'static str,
    started: (Instant, i64),
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
}

impl Session {
    pub(super) fn new(now: Instant, identity: &Identity, terms: &Terms<'_>) -> Result<Self, SecureError> {
        let [video, audio] = terms.random;
        Ok(Self {
            transport: Transport::new(now, identity, &terms.ends)?,
            cname: terms.cname,
            started: (now, terms.unix_millis),
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
        })
    }

    /// Takes a datagram, or a frame of a TCP connection.
    ///
    /// # Errors
    /// Says why it was dropped; the session goes on.
    pub(super) fn handle_datagram(&mut self, now: Instant, path: Path, data: &[u8]) -> Result<(), Dropped> {
        let result = self.take(now, path, data);
        self.send_due(now);
        result
    }

    fn take(&mut self, now: Instant, path: Path, data: &[u8]) -> Result<(), Dropped> {
        match self.transport.take(now, path, data)? {
            Taken::Done => {}
            Taken::Established => self.establish(now),
            Taken::Closed => self.end(now, Reason::Closed),
            Taken::Rtcp => return self.handle_rtcp(now, data),
            // Nothing is received here.
            Taken::Rtp => return Err(Dropped::Rtp),
        }
        Ok(())
    }

    /// Takes a batch of the stream.
    pub(super) fn handle_batch(&mut self, now: Instant, batch: Arc<Batch>) {
        if self.transport.closed() {
            return;
        }
        match batch.track {
            Track::Video if self.video.is_none() || self.waits_for_key && !batch.key => return,
            // A viewer begins with the sound of now.
            Track::Audio if self.audio.is_none() || !self.transport.established() => return,
            Track::Video if batch.key => {
                self.waits_for_key = false;
                if !self.transport.established() {
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
        if self.transport.closed() {
            return;
        }
        if let Some(reason) = self.transport.handle_timeout(now) {
            return self.end(now, reason);
        }
        if self.transport.established() {
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
        if self.transport.closed() {
            return None;
        }
        let waiting = !self.queue.is_empty() || !self.again.is_empty();
        let pace = (waiting && self.transport.established()).then(|| self.refilled + TICK);
        [pace, self.next_report, self.transport.next_timeout()].into_iter().flatten().min()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.transport.poll_output()
    }

    /// Says goodbye: BYE of each track and close_notify.
    pub(super) fn close(&mut self, now: Instant) {
        if !self.transport.closed() {
            self.end(now, Reason::Closed);
        }
    }

    fn end(&mut self, now: Instant, reason: Reason) {
        if self.transport.established() && reason == Reason::Closed {
            self.report(now, true);
        }
        self.queue.clear();
        self.again.clear();
        self.transport.end(now, reason);
    }

    /// The viewer can see: what waits is shown at once, up to the present.
    fn establish(&mut self, now: Instant) {
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
        let plain = self.transport.secure.unprotect_rtcp(data).ok_or(Dropped::Rtcp)?;
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
            self.transport.output(Output::KeyFrame);
        }
        due
    }

    /// A sender report of each track that has sent, with BYE at the end.
    fn report(&mut self, now: Instant, bye: bool) {
        self.next_report = Some(now + REPORT_INTERVAL);
        self.again_budget = MAX_AGAIN;
        let Some(anchor) = self.anchor else { return };
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
            self.transport.send_rtcp(&plain);
        }
    }

    // RTP

    /// Sends what the pace allows: what was asked for again, then what is new.
    fn send_due(&mut self, now: Instant) {
        if self.transport.closed() || !self.transport.established() {
            return;
        }
        let Some(path) = self.transport.path() else { return };
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
                let packet = self.transport.secure.protect_rtp(&header, bytes);
                self.transport.send(path, packet);
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
            let packet = self.transport.secure.protect_rtp(&header, bytes);
            self.transport.send(path, packet);
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
