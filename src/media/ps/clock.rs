//! From the times that senders write to times that go on.
//!
//! PES carries 33 bits of 90 kHz that wrap after 26.5 hours, jump, stand still, are zero, missing or in
//! milliseconds; RTP carries 32 bits of 90 kHz that may have nothing to do with them. Out come decoding times
//! that rise within each track and keep picture and sound together as far as the sender does.

use crate::media::unit::{CLOCK, Track};

/// A longer step forward than this is a jump of the sender's clock.
const MAX_STEP: i64 = 10 * CLOCK;

/// Steps back of up to this are pictures in display order without decoding times. Longer ones are jumps.
const MIN_STEP: i64 = -CLOCK;

/// The longest time between decoding and presentation that is believed.
const MAX_DELAY: i64 = 2 * CLOCK;

/// The step to the next unit while nothing is known: 25 pictures a second.
const FIRST_STEP: i64 = CLOCK / 25;

/// Steps in a row that look like milliseconds until PES times are taken for such.
const MILLISECOND_STEPS: u8 = 8;

const WRAP: i64 = 1 << 33;

/// What a unit came with: 33 bits each from its PES header, 32 from RTP.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Stamps {
    pub(super) pts: Option<u64>,
    pub(super) dts: Option<u64>,
    pub(super) rtp: u32,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Placed {
    pub(super) pts: i64,
    pub(super) dts: i64,
    /// The sender's clock jumped, and was rebased.
    pub(super) jumped: bool,
}

#[derive(Debug, Default)]
pub(super) struct Clock {
    video: TrackClock,
    audio: TrackClock,
    /// From PES time to our time, as last set by either track; the other follows it over a jump.
    offset: Option<i64>,
    /// The last PES time of either track, unwrapped.
    raw: Option<i64>,
    /// The latest time given out.
    latest: i64,
}

#[derive(Debug, Default)]
struct TrackClock {
    out: Option<i64>,
    offset: Option<i64>,
    raw: Option<i64>,
    rtp: Option<u32>,
    step: Option<i64>,
    milliseconds: u8,
}

impl Clock {
    /// Gives a unit its times. `lasts` is how long it lasts, in ticks of 90 kHz, if that is known.
    pub(super) fn place(&mut self, track: Track, stamps: Stamps, lasts: Option<i64>) -> Placed {
        let own = match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        };
        // Zero may be a start; after it, it is what senders write who have no time.
        let raw = stamps.dts.or(stamps.pts).filter(|&raw| raw != 0 || own.raw.is_none());
        let raw = raw.map(|raw| unwrap(raw, own.raw.or(self.raw)));
        let rtp_step = own.rtp.map(|last| i64::from(stamps.rtp.wrapping_sub(last).cast_signed()));
        own.watch_for_milliseconds(raw, rtp_step);
        let usable = raw.filter(|_| own.milliseconds < MILLISECOND_STEPS);

        let last = own.out;
        let known = [own.offset, self.offset].into_iter().flatten();
        let by_pes = usable.and_then(|raw| {
            known
                .into_iter()
                .find_map(|offset| Some((own.accept(raw.wrapping_add(offset), self.latest)?, offset)))
        });
        let (out, jumped) = match (by_pes, last) {
            (Some((out, offset)), _) => {
                own.offset = Some(offset);
                (out, false)
            }
            (None, None) => (self.latest, false),
            (None, Some(last)) => {
                let step = rtp_step.filter(|step| (1..=MAX_STEP).contains(step));
                let out = last.saturating_add(step.or(own.step).unwrap_or(FIRST_STEP));
                // A clock that stands still, or was not there before, has not jumped.
                (out, usable.is_some() && own.offset.is_some() && own.raw != raw)
            }
        };
        if let (None, Some(raw)) = (by_pes, usable) {
            own.offset = Some(out.wrapping_sub(raw));
            self.offset = own.offset;
        }
        let step = last.map(|last| out.saturating_sub(last)).filter(|step| (2..=MAX_STEP).contains(step));
        own.step = lasts.filter(|&lasts| lasts > 0).or(step).or(own.step);
        own.out = Some(out);
        own.rtp = Some(stamps.rtp);
        own.raw = raw.or(own.raw);
        self.raw = raw.or(self.raw);
        self.latest = self.latest.max(out);

        let delay = match (stamps.pts, stamps.dts) {
            (Some(pts), Some(dts)) => nearest(pts, dts),
            _ => 0,
        };
        let delay = if (0..=MAX_DELAY).contains(&delay) { delay } else { 0 };
        Placed { pts: out.saturating_add(delay), dts: out, jumped }
    }
}

impl TrackClock {
    /// The time to use if the candidate follows plausibly on the last one.
    fn accept(&self, candidate: i64, latest: i64) -> Option<i64> {
        let Some(last) = self.out else {
            let near = candidate.checked_sub(latest).is_some_and(|gap| gap.abs() <= MAX_STEP);
            return near.then_some(candidate.max(0));
        };
        match candidate.checked_sub(last)? {
            1..=MAX_STEP => Some(candidate),
            MIN_STEP..=-1 => last.checked_add(1),
            _ => None,
        }
    }

    /// Some senders count milliseconds where ticks of 90 kHz belong; RTP gives them away.
    fn watch_for_milliseconds(&mut self, raw: Option<i64>, rtp_step: Option<i64>) {
        let (Some(raw), Some(last), Some(rtp_step)) = (raw, self.raw, rtp_step) else { return };
        let step = raw.wrapping_sub(last);
        if !(1..=MAX_STEP).contains(&step) || !(1..=MAX_STEP).contains(&rtp_step) {
            return;
        }
        let alike = (step * 90 - rtp_step).abs() <= rtp_step / 8;
        self.milliseconds = if alike { (self.milliseconds + 1).min(MILLISECOND_STEPS) } else { 0 };
    }
}

/// The distance from one 33-bit time to another, by the shorter way round.
fn nearest(to: u64, from: u64) -> i64 {
    let gap = to.wrapping_sub(from).cast_signed().rem_euclid(WRAP);
    if gap >= WRAP / 2 { gap - WRAP } else { gap }
}

fn unwrap(raw: u64, reference: Option<i64>) -> i64 {
    match reference {
        Some(reference) => reference.wrapping_add(nearest(raw, reference.rem_euclid(WRAP).cast_unsigned())),
        None => raw.cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn video(clock: &mut Clock, pts: u64, rtp: u32) -> Placed {
        clock.place(Track::Video, Stamps { pts: Some(pts), dts: None, rtp }, None)
    }

    fn audio(clock: &mut Clock, pts: u64, rtp: u32) -> Placed {
        clock.place(Track::Audio, Stamps { pts: Some(pts), dts: None, rtp }, Some(3600))
    }

    #[test]
    fn starts_at_zero_and_goes_on_over_the_wrap() {
        let mut clock = Clock::default();
        let start = (1u64 << 33) - 5400;
        let times: Vec<i64> =
            (0..4).map(|i| video(&mut clock, (start + i * 3600) % (1 << 33), 7).dts).collect();
        assert_eq!(times, [0, 3600, 7200, 10_800]);
    }

    #[test]
    fn a_jump_is_rebased_and_sound_follows_the_picture() {
        let mut clock = Clock::default();
        for i in 0..5u64 {
            assert_eq!(video(&mut clock, 900_000 + i * 3600, 0).dts, i as i64 * 3600);
            assert_eq!(audio(&mut clock, 900_900 + i * 3600, 0).dts, 900 + i as i64 * 3600);
        }
        let jumped = video(&mut clock, 90, 0);
        assert!(jumped.jumped);
        assert_eq!(jumped.dts, 5 * 3600);
        assert_eq!(audio(&mut clock, 990, 0), Placed { pts: 18_900, dts: 18_900, jumped: false });
        assert_eq!(video(&mut clock, 3690, 0).dts, 6 * 3600);
    }

    #[test]
    fn zero_missing_and_standing_times_fall_back_to_rtp() {
        let mut clock = Clock::default();
        let place =
            |clock: &mut Clock, pts, rtp| clock.place(Track::Video, Stamps { pts, dts: None, rtp }, None).dts;
        assert_eq!(place(&mut clock, Some(0), u32::MAX - 999), 0);
        assert_eq!(place(&mut clock, None, 2000), 3000);
        assert_eq!(place(&mut clock, Some(5_000_000), 5000), 6000);
        assert_eq!(place(&mut clock, Some(5_000_000), 8000), 9000);
        assert_eq!(place(&mut clock, Some(5_000_000), 8000), 12_000, "nothing moves: by the last step");
    }

    #[test]
    fn milliseconds_are_found_out() {
        let mut clock = Clock::default();
        let mut last = 0;
        for i in 0..30u32 {
            last = video(&mut clock, 1000 + u64::from(i) * 40, i * 3600).dts;
        }
        let next = video(&mut clock, 1000 + 30 * 40, 30 * 3600).dts;
        assert_eq!(next - last, 3600);
    }

    #[test]
    fn decoding_times_give_the_delay() {
        let mut clock = Clock::default();
        let stamps = |pts, dts| Stamps { pts: Some(pts), dts: Some(dts), rtp: 0 };
        assert_eq!(clock.place(Track::Video, stamps(97_200, 90_000), None).pts, 7200);
        let wrapped = clock.place(Track::Video, stamps(93_600, 93_600), None);
        assert_eq!((wrapped.pts, wrapped.dts), (3600, 3600));
        let silly = clock.place(Track::Video, stamps(5_000_000, 97_200), None);
        assert_eq!((silly.pts, silly.dts), (7200, 7200));
    }

    proptest! {
        #[test]
        fn whatever_comes_decoding_times_rise(
            units in prop::collection::vec((any::<bool>(), any::<Option<u64>>(), any::<Option<u64>>(), any::<u32>()), 1..200)
        ) {
            let mut clock = Clock::default();
            let mut last = [None, None];
            for (sound, pts, dts, rtp) in units {
                let mask = |time: Option<u64>| time.map(|time| time % (1 << 33));
                let stamps = Stamps { pts: mask(pts), dts: mask(dts), rtp };
                let track = if sound { Track::Audio } else { Track::Video };
                let placed = clock.place(track, stamps, None);
                prop_assert!(last[usize::from(sound)].is_none_or(|last| placed.dts > last));
                prop_assert!(placed.dts >= 0 && placed.pts >= placed.dts);
                last[usize::from(sound)] = Some(placed.dts);
            }
        }
    }
}
