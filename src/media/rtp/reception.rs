//! What a receiver reports of one source (RFC 3550 appendices A.1, A.3 and A.8).

use super::rtcp::ReportBlock;
use std::time::Instant;

/// The largest change of transit time that is let into the jitter, in clock units: a jump of the time stamps
/// is not jitter, and must not overflow it.
const MAX_TRANSIT_STEP: u32 = 1 << 24;

/// Counts of one source since its sequence numbers began.
#[derive(Clone, Debug)]
pub struct Reception {
    ssrc: u32,
    clock: u32,
    epoch: Instant,
    /// The first sequence number, and the highest; the upper half of the latter counts the wraps.
    base: u32,
    highest: u32,
    received: u32,
    /// Sixteen times the jitter, as A.8 keeps it.
    jitter: u32,
    transit: u32,
    reported: (u32, u32),
    /// The middle 32 bits of the NTP time of the last sender report, and when it came.
    sender_report: Option<(u32, Instant)>,
}

impl Reception {
    /// Begins with the first packet of a source. `clock` is in Hz.
    pub(crate) fn new(now: Instant, clock: u32, ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        let base = u32::from(sequence);
        Self {
            ssrc,
            clock,
            epoch: now,
            base,
            highest: base,
            received: 1,
            jitter: 0,
            transit: 0u32.wrapping_sub(timestamp),
            reported: (0, 0),
            sender_report: None,
        }
    }

    pub(crate) fn note(&mut self, now: Instant, sequence: u16, timestamp: u32) {
        self.received = self.received.wrapping_add(1);
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead < 1 << 15 {
            self.highest = self.highest.wrapping_add(u32::from(ahead));
        }
        let elapsed = now.saturating_duration_since(self.epoch).as_micros() as u64;
        let arrival = elapsed.wrapping_mul(u64::from(self.clock)) / 1_000_000;
        let transit = (arrival as u32).wrapping_sub(timestamp);
        let step = (transit.wrapping_sub(self.transit) as i32).unsigned_abs().min(MAX_TRANSIT_STEP);
        self.transit = transit;
        self.jitter = (self.jitter + step) - ((self.jitter + 8) >> 4);
    }

    pub(crate) fn sender_report(&mut self, now: Instant, ntp: u64) {
        self.sender_report = Some(((ntp >> 16) as u32, now));
    }

    /// Packets that the sequence numbers say were sent.
    pub fn expected(&self) -> u32 {
        self.highest.wrapping_sub(self.base).wrapping_add(1)
    }

    /// Packets that came, duplicates among them.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Expected less received; negative where packets came twice.
    pub fn lost(&self) -> i32 {
        self.expected().wrapping_sub(self.received) as i32
    }

    /// Interarrival jitter in clock units.
    pub fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// The block for a receiver report; the fraction is of the packets since the block before.
    pub(crate) fn report(&mut self, now: Instant) -> ReportBlock {
        let expected = self.expected().wrapping_sub(self.reported.0);
        let received = self.received.wrapping_sub(self.reported.1);
        self.reported = (self.expected(), self.received);
        let lost = expected.saturating_sub(received);
        let fraction = (u64::from(lost) << 8).checked_div(u64::from(expected)).unwrap_or(0);
        let (last_sender_report, delay) = self.sender_report.map_or((0, 0), |(ntp, at)| {
            let delay = now.saturating_duration_since(at).as_micros() as u64;
            (ntp, (delay.saturating_mul(1 << 16) / 1_000_000) as u32)
        });
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: self.lost().clamp(-0x80_0000, 0x7f_ffff),
            highest: self.highest,
            jitter: self.jitter(),
            last_sender_report,
            delay_since_sender_report: delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn start() -> Instant {
        Instant::now()
    }

    /// A packet every 20 ms, sent as steadily as it comes.
    fn steady(start: Instant, count: u16) -> Reception {
        let mut reception = Reception::new(start, 90_000, 7, 65_530, 0);
        for i in 1..count {
            let at = start + Duration::from_millis(20) * u32::from(i);
            reception.note(at, 65_530u16.wrapping_add(i), 1800 * u32::from(i));
        }
        reception
    }

    #[test]
    fn counts_over_the_wrap() {
        let reception = steady(start(), 20);
        assert_eq!((reception.expected(), reception.received(), reception.lost()), (20, 20, 0));
        assert_eq!(reception.jitter(), 0);
    }

    #[test]
    fn reports_the_fraction_of_the_interval() {
        let start = start();
        let mut reception = steady(start, 20);
        assert_eq!(reception.report(start).fraction_lost, 0);
        let last = 65_530u16.wrapping_add(19);
        // Of the next four, one is missing.
        for ahead in [1, 2, 4] {
            reception.note(start, last.wrapping_add(ahead), 0);
        }
        let block = reception.report(start);
        assert_eq!((block.fraction_lost, block.lost), (64, 1));
        assert_eq!(block.highest, 65_530 + 23);
        assert_eq!(reception.report(start).fraction_lost, 0, "nothing was sent since");
    }

    #[test]
    fn jitter_follows_the_text_of_a_8() {
        let start = start();
        let mut reception = Reception::new(start, 8_000, 7, 0, 0);
        reception.note(start + Duration::from_millis(30), 1, 160);
        // Ten milliseconds late is 80 units, of which a sixteenth counts.
        assert_eq!(reception.jitter(), 5);
        reception.note(start, 2, u32::MAX / 2);
        assert!(reception.jitter() <= MAX_TRANSIT_STEP);
    }

    #[test]
    fn a_sender_report_is_echoed_with_its_age() {
        let start = start();
        let mut reception = steady(start, 2);
        reception.sender_report(start, 0x1122_3344_5566_7788);
        let block = reception.report(start + Duration::from_millis(500));
        assert_eq!(block.last_sender_report, 0x3344_5566);
        assert_eq!(block.delay_since_sender_report, 1 << 15);
    }
}
