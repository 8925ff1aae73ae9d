//! Bits and pictures a second.

use crate::media::unit::CLOCK;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time is counted in slots; a rate is of the last whole ones.
const SLOT: Duration = Duration::from_millis(250);
const SLOTS: u64 = 8;

/// What the rate of pictures is measured over, in ticks of 90 kHz.
const WINDOW: i64 = 2 * CLOCK;
/// Pictures remembered at most, whatever their time stamps say: two seconds at 120 a second.
const MAX_PICTURES: usize = 240;
/// Time stamps that jump further than this begin anew.
const MAX_STEP: i64 = 10 * CLOCK;

/// Bits a second by the time of arrival, over the last two seconds.
#[derive(Debug)]
pub(super) struct BitRate {
    epoch: Instant,
    /// The number of the last slot.
    slot: u64,
    /// Bytes in each of the last slots, the present one at the end.
    bytes: VecDeque<u64>,
}

impl BitRate {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, slot: 0, bytes: VecDeque::from([0]) }
    }

    fn slot_at(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.epoch).as_millis() / SLOT.as_millis()) as u64
    }

    pub(super) fn add(&mut self, now: Instant, count: usize) {
        let slot = self.slot_at(now).max(self.slot);
        for _ in 0..(slot - self.slot).min(SLOTS + 1) {
            self.bytes.push_back(0);
        }
        let excess = self.bytes.len().saturating_sub(SLOTS as usize + 1);
        self.bytes.drain(..excess);
        self.slot = slot;
        if let Some(bytes) = self.bytes.back_mut() {
            *bytes += count as u64;
        }
    }

    pub(super) fn get(&self, now: Instant) -> u64 {
        let slot = self.slot_at(now).max(self.slot);
        // The present slot is not over; only where it is the first there is no other to look at.
        let first = u64::from(slot > 0);
        let ages = slot - self.slot..;
        let bytes: u64 = ages
            .zip(self.bytes.iter().rev())
            .filter(|(age, _)| (first..first + SLOTS).contains(age))
            .map(|(_, bytes)| bytes)
            .sum();
        bytes * 8 * 1000 / (slot.clamp(1, SLOTS) * SLOT.as_millis() as u64)
    }
}

/// Pictures a second by their decoding times, over the last two seconds. By the time of arrival it would be wrong
/// where a sender begins with a burst.
#[derive(Debug, Default)]
pub(super) struct FrameRate {
    times: VecDeque<i64>,
}

impl FrameRate {
    pub(super) fn add(&mut self, time: i64) {
        if let Some(&last) = self.times.back() {
            let step = time.saturating_sub(last);
            if step == 0 {
                return;
            }
            if !(0..=MAX_STEP).contains(&step) {
                self.times.clear();
            }
        }
        self.times.push_back(time);
        // Two remain, however far apart they are: at one picture in three seconds, they are all there is.
        while self.times.len() > 2 && (self.span() > WINDOW || self.times.len() > MAX_PICTURES) {
            self.times.pop_front();
        }
    }

    fn span(&self) -> i64 {
        match (self.times.front(), self.times.back()) {
            (Some(first), Some(last)) => last - first,
            _ => 0,
        }
    }

    pub(super) fn get(&self) -> Option<f64> {
        let steps = self.times.len().checked_sub(1).filter(|&steps| steps > 0)?;
        Some(steps as f64 * CLOCK as f64 / self.span() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn bits_are_of_the_last_two_seconds() {
        let start = start();
        let at = |millis| start + Duration::from_millis(millis);
        let mut rate = BitRate::new(start);
        assert_eq!(rate.get(start), 0);
        for millis in (0..10_000).step_by(40) {
            rate.add(at(millis), 1000);
        }
        assert_eq!(rate.get(at(9_999)), 200_000);
        // Silence: the rate falls, and is nothing after two seconds.
        assert_eq!(rate.get(at(11_000)), 100_000);
        assert_eq!(rate.get(at(12_300)), 0);
        rate.add(at(3_600_000), 1000);
        assert_eq!(rate.get(at(3_600_250)), 4_000);
    }

    #[test]
    fn bits_are_known_from_the_start() {
        let start = start();
        let mut rate = BitRate::new(start);
        rate.add(start, 1000);
        assert_eq!(rate.get(start), 32_000);
        rate.add(start + SLOT, 5000);
        assert_eq!(rate.get(start + SLOT), 32_000, "the second slot is not over");
    }

    #[test]
    fn pictures_are_counted_by_their_times() {
        let rate = |step: i64, count| {
            let mut rate = FrameRate::default();
            (0..count).for_each(|n| rate.add(n * step));
            rate.get()
        };
        assert_eq!(rate(3600, 1), None);
        assert_eq!(rate(3600, 2), Some(25.0));
        assert_eq!(rate(3600, 1000), Some(25.0));
        assert_eq!(rate(3 * CLOCK, 5), Some(1.0 / 3.0));
        assert_eq!(rate(1, 1000), Some(90_000.0));
    }

    #[test]
    fn a_jump_of_the_times_begins_anew() {
        let mut rate = FrameRate::default();
        for time in [0, 3600, 7200, 100 * CLOCK, 100 * CLOCK + 9000] {
            rate.add(time);
        }
        assert_eq!(rate.get(), Some(10.0));
        rate.add(0);
        assert_eq!(rate.get(), None);
    }

    proptest! {
        #[test]
        fn any_times_are_survived(times: Vec<i64>) {
            let mut rate = FrameRate::default();
            for time in times {
                rate.add(time);
                prop_assert!(rate.get().is_none_or(|fps| fps.is_finite() && fps > 0.0));
                prop_assert!(rate.times.len() <= MAX_PICTURES);
            }
        }
    }
}
