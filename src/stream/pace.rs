//! Time stamps for recordings: whatever a device does to them at other speeds, backwards and after seeks, what
//! comes out plays in real time.
//!
//! At four times the speed one device sends four seconds of time stamps each second, another sends one; backwards
//! the time stamps fall, stand still or are made up; a pause leaves a hole in the arrival that the time stamps do
//! not have. Players of a live stream expect time stamps that go with the clock. So the ratio of the two is
//! measured, and the steps between pictures are divided by it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::media::unit::{AccessUnit, CLOCK, Track};

/// The ratio is measured over this time.
const WINDOW: Duration = Duration::from_secs(3);
/// Pictures in the window at most, and how much of it is needed to believe it: where nothing else is known, and
/// where the normal speed is expected, at which devices may begin with a burst.
const MAX_SEEN: usize = 512;
const ENOUGH: Duration = Duration::from_millis(700);
const SURE: Duration = Duration::from_millis(2500);
const ENOUGH_PICTURES: usize = 4;
/// Measured ratios this close to what is expected are taken for it.
const NEAR: f64 = 0.2;
/// What a measured ratio can be.
const RATIOS: (f64, f64) = (1.0 / 64.0, 64.0);
/// A picture that would be shown this long before it came is late: time went on while nothing came.
const MAX_LAG: i64 = CLOCK * 2 / 5;
/// How far ahead of the clock the time stamps may run, where a device sends in bursts.
const MAX_LEAD: i64 = 2 * CLOCK;
/// Within this the time stamps are left as they are; beyond it they are drawn towards the clock, by this part of
/// the difference with each picture.
const DEAD_ZONE: i64 = CLOCK / 5;
const PULL: i64 = 32;
/// Between two pictures at least, in ticks of 90 kHz.
const MIN_STEP: i64 = 90;
/// A pause in the arrival that says nothing of the position: it waited for the device.
const MAX_PLAYED: Duration = Duration::from_secs(2);
/// A step of the time stamps beyond this is a jump of the device's clock.
const MAX_STEP: i64 = 60 * CLOCK;

/// Rewrites the time stamps of one stream.
#[derive(Debug)]
pub struct Pace {
    scale: f64,
    paused: bool,
    seen: VecDeque<(Instant, i64)>,
    last: Option<Last>,
    /// Ties what comes out to the clock.
    anchor: Option<(Instant, i64)>,
    /// The last time of sound that was given out.
    sound: Option<i64>,
    played: f64,
}

/// The picture before: what it came with and what it was given.
#[derive(Copy, Clone, Debug)]
struct Last {
    at: Instant,
    came: i64,
    given: i64,
}

impl Pace {
    /// A recording that plays at this scale: 1 as it was, 0.5 slow, -1 backwards.
    pub fn new(scale: f64) -> Self {
        Self {
            scale: usable(scale),
            paused: false,
            seen: VecDeque::new(),
            last: None,
            anchor: None,
            sound: None,
            played: 0.0,
        }
    }

    /// The device was told to go on at this scale, to pause, or to go elsewhere.
    pub fn change(&mut self, paused: bool, scale: f64) {
        self.scale = usable(scale);
        self.paused = paused;
        self.seen.clear();
    }

    /// Seconds of the recording that were played since the start or since [`seek`](Self::seek), falling
    /// backwards.
    pub fn position(&self) -> f64 {
        self.played
    }

    /// The device was told to go to this second of the recording.
    pub fn seek(&mut self, seconds: f64) {
        self.played = seconds;
        self.seen.clear();
    }

    /// Takes a unit that came now, and gives it the times to send it with. `None` for sound that cannot be heard:
    /// faster, slower or backwards.
    pub fn push(&mut self, now: Instant, mut unit: AccessUnit) -> Option<AccessUnit> {
        let given = match unit.track() {
            Track::Video => self.picture(now, unit.dts),
            Track::Audio => self.sound(unit.dts)?,
        };
        let delay = unit.pts.saturating_sub(unit.dts).clamp(0, MAX_LEAD);
        let delay = (delay as f64 / self.ratio().unwrap_or(1.0)) as i64;
        unit.dts = given;
        unit.pts = given.saturating_add(delay.min(MAX_LEAD));
        Some(unit)
    }

    fn natural(&self) -> bool {
        self.scale == 1.0
    }

    fn picture(&mut self, now: Instant, came: i64) -> i64 {
        let Some(last) = self.last else {
            self.anchor = Some((now, came));
            self.last = Some(Last { at: now, came, given: came });
            self.seen.push_back((now, came));
            return came;
        };
        let since = now.saturating_duration_since(last.at);
        if !self.paused {
            self.played += since.min(MAX_PLAYED).as_secs_f64() * self.scale;
        }
        let step = came.saturating_sub(last.came);
        // Across a jump of the device's clock, or a hole in the arrival, nothing can be measured, nor by steps that are
        // made up: times that go back are given out a tick apart. Faster and
        // backwards devices send few pictures: there, holes are their rhythm.
        let hole = self.natural() && ticks(since).saturating_sub(step) > MAX_LAG;
        if !(MIN_STEP..=MAX_STEP).contains(&step) || hole {
            self.seen.clear();
        }
        self.see(now, came);
        let step = match self.ratio() {
            Some(ratio) if (MIN_STEP..=MAX_STEP).contains(&step) => (step as f64 / ratio) as i64,
            // Not known yet: by the clock.
            _ => ticks(since),
        };
        let clock = self.clock(now).unwrap_or(came);
        let wanted = last.given.saturating_add(step.max(MIN_STEP));
        let lag = clock.saturating_sub(wanted);
        let given = if lag > MAX_LAG {
            clock
        } else if lag < -MAX_LEAD {
            last.given.saturating_add(MIN_STEP)
        } else if lag.abs() > DEAD_ZONE {
            wanted.saturating_add(lag / PULL).max(last.given.saturating_add(MIN_STEP))
        } else {
            wanted
        };
        self.last = Some(Last { at: now, came, given });
        given
    }

    /// Sound goes with the pictures, as long as these are as they were recorded.
    fn sound(&mut self, came: i64) -> Option<i64> {
        if !self.natural() {
            return None;
        }
        // Without pictures there is one time line, which only needs to go on.
        let offset = self.last.map_or(0, |last| last.given.saturating_sub(last.came));
        let given = came.saturating_add(offset).max(self.sound.unwrap_or(i64::MIN));
        self.sound = Some(given);
        Some(given)
    }

    fn see(&mut self, now: Instant, came: i64) {
        self.seen.push_back((now, came));
        let old = |seen: &(Instant, i64)| now.saturating_duration_since(seen.0) > WINDOW;
        while self.seen.len() > MAX_SEEN || self.seen.len() > 2 && self.seen.front().is_some_and(old) {
            self.seen.pop_front();
        }
    }

    /// Ticks of time stamps for each tick of the clock; `None` while it is not known.
    fn ratio(&self) -> Option<f64> {
        // Nothing is waited for at the normal speed; but not every device goes back to it when it is told.
        if self.natural() { Some(self.measured(SURE).unwrap_or(1.0)) } else { self.measured(ENOUGH) }
    }

    fn measured(&self, enough: Duration) -> Option<f64> {
        let (&(first, from), &(last, to)) = (self.seen.front()?, self.seen.back()?);
        let arrival = last.saturating_duration_since(first);
        if arrival < enough || self.seen.len() < ENOUGH_PICTURES {
            return None;
        }
        let ratio = to.saturating_sub(from) as f64 / ticks(arrival).max(1) as f64;
        let near = |expected: f64| (ratio / expected - 1.0).abs() < NEAR;
        let expected = [1.0, self.scale.abs()].into_iter().find(|expected| near(*expected));
        Some(expected.unwrap_or(ratio).clamp(RATIOS.0, RATIOS.1))
    }

    /// Where the clock is on the time line that is given out.
    fn clock(&self, now: Instant) -> Option<i64> {
        let (at, anchored) = self.anchor?;
        Some(anchored.saturating_add(ticks(now.saturating_duration_since(at))))
    }
}

/// A scale that can be reckoned with.
fn usable(scale: f64) -> f64 {
    let size = if scale.is_finite() { scale.abs().clamp(RATIOS.0, RATIOS.1) } else { 1.0 };
    if scale < 0.0 { -size } else { size }
}

fn ticks(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).saturating_mul(9) / 100
}

#[cfg(test)]
mod tests;
