//! Puts the packets of one source back in order, and says what is missing between them.

use super::{Packet, Reception, rtcp};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets held behind a gap at most. A gap is given up when as many wait, even before its time is over:
/// at 1400 bytes they are 700 kB, half a second of a camera of 12 Mbit/s.
pub const MAX_HELD: usize = 512;

/// A packet further ahead than this begins anew (RFC 3550 A.1, MAX_DROPOUT): a gap so wide cannot be reordering.
const MAX_AHEAD: u16 = 3000;

/// A packet at most this far behind is late or a duplicate; one further behind begins anew. Wider than A.1's
/// 100, since a burst of a key frame may overtake more.
const MAX_BEHIND: u16 = 512;

/// How long a gap is waited for at first, and when disorder has shown that more is needed.
const MIN_DELAY: Duration = Duration::from_millis(20);
const MAX_DELAY: Duration = Duration::from_millis(200);

/// Without disorder for so long, the wait is halved.
const CALM: Duration = Duration::from_secs(10);

/// Another source is listened to when the present one has been silent for so long. Less would let a second
/// sender on the same port, such as a camera whose BYE was lost, cut into the stream.
const SOURCE_SILENCE: Duration = Duration::from_millis(250);

/// Whether a gap may still close.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Datagrams may overtake each other: wait 20 to 200 ms, as the disorder seen asks for.
    Adaptive,
    /// A connection keeps the order: what is missing was never sent, so never wait.
    Never,
}

/// A packet in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Popped {
    pub packet: Packet,
    /// Packets missing between this one and the one before. At least 1 after a restart, where the number is
    /// not known: the data does not continue what came before.
    pub lost_before: u16,
    /// The first packet after the sequence numbers jumped or the source changed: time stamps start anew too.
    pub restarted: bool,
}

/// Totals since the buffer was made.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Packets pushed, of whatever kind.
    pub received: u64,
    /// Packets that were given up.
    pub lost: u64,
    pub duplicates: u64,
    /// Packets that came after they had been given up.
    pub late: u64,
    /// Packets that were overtaken and put back in their place.
    pub reordered: u64,
    /// Packets of other sources, packets of a jump that was not confirmed, and those held when a new run began.
    pub discarded: u64,
    /// Jumps of the sequence numbers and changes of the source that were followed.
    pub restarts: u64,
}

/// A reorder buffer for one RTP stream. After each [`push`](Self::push), and at
/// [`next_timeout`](Self::next_timeout), call [`pop`](Self::pop) until it gives nothing.
///
/// It follows one source (SSRC). A packet of another source, or one whose sequence number jumps, is kept aside
/// until the next packet continues it, and then begins a new run; a single stray packet changes nothing.
#[derive(Debug)]
pub struct Reorder {
    clock: u32,
    wait: Wait,
    preferred: Option<u32>,
    run: Option<Run>,
    /// Sorted by sequence number, all at or ahead of the run's `next`.
    held: VecDeque<Held>,
    /// The last packet that did not fit the run.
    stray: Option<Packet>,
    delay: Duration,
    disorder: Option<Instant>,
    restarted: bool,
    stats: Stats,
}

/// The sequence numbers that are being followed.
#[derive(Debug)]
struct Run {
    ssrc: u32,
    next: u16,
    /// Bit n: the packet `next - 1 - n` was handed out.
    history: u128,
    heard: Instant,
    reception: Reception,
}

#[derive(Debug)]
struct Held {
    packet: Packet,
    /// When this packet or one after it came: since then, what is missing before it is overdue.
    since: Instant,
}

impl Reorder {
    /// A buffer for a stream whose time stamps count at `clock` Hz (90,000 for PS and video).
    pub fn new(wait: Wait, clock: u32) -> Self {
        Self {
            clock,
            wait,
            preferred: None,
            run: None,
            held: VecDeque::new(),
            stray: None,
            delay: MIN_DELAY,
            disorder: None,
            restarted: false,
            stats: Stats::default(),
        }
    }

    /// Names the source that was agreed on (`y=`). It is followed as soon as it is heard; until then, and where
    /// a device takes another SSRC than agreed, what arrives is followed.
    pub fn prefer(&mut self, ssrc: u32) {
        self.preferred = Some(ssrc);
    }

    pub fn push(&mut self, now: Instant, packet: Packet) {
        self.stats.received += 1;
        let Some(run) = &mut self.run else {
            return self.start(now, packet);
        };
        let ahead = packet.sequence.wrapping_sub(run.next);
        let behind = run.next.wrapping_sub(packet.sequence);
        if packet.ssrc != run.ssrc || (ahead >= MAX_AHEAD && behind > MAX_BEHIND) {
            return self.stray(now, packet);
        }
        run.heard = now;
        run.reception.note(now, packet.sequence, packet.timestamp);
        if self.stray.take().is_some() {
            self.stats.discarded += 1;
        }
        if ahead < MAX_AHEAD {
            self.hold(now, packet, ahead);
        } else if run.history.checked_shr(u32::from(behind) - 1).unwrap_or(0) & 1 == 1 {
            self.stats.duplicates += 1;
        } else {
            self.stats.late += 1;
            self.widen(now, self.delay * 2);
        }
    }

    /// Puts a packet into its place among those held; that is the end, unless it was overtaken.
    fn hold(&mut self, now: Instant, packet: Packet, ahead: u16) {
        let next = packet.sequence.wrapping_sub(ahead);
        let in_order = self.held.back().is_none_or(|last| last.packet.sequence.wrapping_sub(next) < ahead);
        let place = if in_order {
            self.held.len()
        } else {
            match self.held.binary_search_by_key(&ahead, |held| held.packet.sequence.wrapping_sub(next)) {
                Ok(_) => {
                    self.stats.duplicates += 1;
                    return;
                }
                Err(place) => place,
            }
        };
        if self.held.len() >= MAX_HELD {
            self.stats.discarded += 1;
            return;
        }
        let since = match self.held.get(place) {
            None => now,
            Some(overtaker) => {
                let since = overtaker.since;
                self.stats.reordered += 1;
                self.widen(now, now.saturating_duration_since(since) * 3 / 2);
                since
            }
        };
        self.held.insert(place, Held { packet, since });
    }

    /// Takes note of disorder that a wait of `needed` would have mended.
    fn widen(&mut self, now: Instant, needed: Duration) {
        self.disorder = Some(now);
        self.delay = self.delay.max(needed).min(MAX_DELAY);
    }

    /// A packet that does not fit the run: two that follow each other begin a new one.
    fn stray(&mut self, now: Instant, packet: Packet) {
        let Some(run) = &self.run else { return };
        let agreed = self.preferred == Some(packet.ssrc);
        if packet.ssrc != run.ssrc && agreed {
            return self.restart(now, packet);
        }
        let silent = now.saturating_duration_since(run.heard) >= SOURCE_SILENCE;
        let heard = packet.ssrc == run.ssrc || silent;
        match self.stray.take() {
            Some(first)
                if heard
                    && first.ssrc == packet.ssrc
                    && first.sequence.wrapping_add(1) == packet.sequence =>
            {
                self.restart(now, first);
                // Not through push, which has counted it already.
                if let Some(run) = &mut self.run {
                    run.reception.note(now, packet.sequence, packet.timestamp);
                }
                self.hold(now, packet, 1);
            }
            before => {
                self.stats.discarded += u64::from(before.is_some());
                self.stray = Some(packet);
            }
        }
    }

    fn restart(&mut self, now: Instant, packet: Packet) {
        self.stats.restarts += 1;
        self.stats.discarded += self.held.len() as u64 + u64::from(self.stray.take().is_some());
        self.held.clear();
        self.restarted = true;
        self.start(now, packet);
    }

    fn start(&mut self, now: Instant, packet: Packet) {
        let Packet { ssrc, sequence, timestamp, .. } = packet;
        let reception = Reception::new(now, self.clock, ssrc, sequence, timestamp);
        self.run = Some(Run { ssrc, next: sequence, history: 0, heard: now, reception });
        self.hold(now, packet, 0);
    }

    /// The next packet in order: at once where none is missing before it, else when the wait is over.
    pub fn pop(&mut self, now: Instant) -> Option<Popped> {
        let run = self.run.as_mut()?;
        let front = self.held.front()?;
        let gap = front.packet.sequence.wrapping_sub(run.next);
        if gap > 0 && self.held.len() < MAX_HELD && now < front.since + self.delay() {
            return None;
        }
        let Held { packet, .. } = self.held.pop_front()?;
        let run = self.run.as_mut()?;
        run.next = packet.sequence.wrapping_add(1);
        run.history = run.history.checked_shl(u32::from(gap) + 1).unwrap_or(0) | 1;
        if gap > 0 {
            self.stats.lost += u64::from(gap);
            self.calm(now);
        }
        let restarted = std::mem::take(&mut self.restarted);
        Some(Popped { packet, lost_before: gap.max(u16::from(restarted)), restarted })
    }

    /// A wait that was in vain is where a shorter one pays.
    fn calm(&mut self, now: Instant) {
        if self.disorder.is_some_and(|at| now.saturating_duration_since(at) >= CALM) {
            self.delay = (self.delay / 2).max(MIN_DELAY);
            self.disorder = Some(now);
        }
    }

    /// When [`pop`](Self::pop) gives up the gap that is waited for now, if any.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.held.front().map(|front| front.since + self.delay())
    }

    /// How long a gap is waited for at present.
    pub fn delay(&self) -> Duration {
        match self.wait {
            Wait::Adaptive => self.delay,
            Wait::Never => Duration::ZERO,
        }
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The source that is being followed.
    pub fn ssrc(&self) -> Option<u32> {
        self.run.as_ref().map(|run| run.ssrc)
    }

    /// The counts of RFC 3550 for the present run.
    pub fn reception(&self) -> Option<&Reception> {
        self.run.as_ref().map(|run| &run.reception)
    }

    /// Takes note of a sender report, if it is of the source being followed, to echo it in the next report.
    pub fn sender_report(&mut self, now: Instant, report: &rtcp::SenderReport) {
        if let Some(run) = self.run.as_mut().filter(|run| run.ssrc == report.ssrc) {
            run.reception.sender_report(now, report.ntp);
        }
    }

    /// The block of a receiver report about the source being followed, since the block before.
    pub fn report(&mut self, now: Instant) -> Option<rtcp::ReportBlock> {
        self.run.as_mut().map(|run| run.reception.report(now))
    }
}

#[cfg(test)]
#[path = "reorder_tests.rs"]
mod tests;
