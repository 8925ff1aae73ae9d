//! What a simulated camera remembers: where it looks, its presets and cruises, whether it records and guards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::commands::number;
use crate::gb::ptz::Command;
use crate::gb::xml::Element;

/// Presets and cruises kept; there are no more numbers.
const MAX_NUMBER: usize = 255;
/// Points of a cruise kept.
const MAX_POINTS: usize = 32;
/// Degrees a second at full speed.
const PAN_SPEED: f64 = 90.0;
const TILT_SPEED: f64 = 45.0;
/// Times of magnification a second at full speed.
const ZOOM_SPEED: f64 = 4.0;
/// The limits of tilt, in degrees (down is positive), and of zoom.
const TILT: (f64, f64) = (-30.0, 90.0);
const ZOOM: (f64, f64) = (1.0, 32.0);
/// Degrees from the left of the picture to its right, without zoom.
const FIELD: f64 = 58.3;
/// How long a card takes to be formatted.
const FORMATTING: Duration = Duration::from_secs(5);
/// Megabytes of the card.
pub(super) const CARD_CAPACITY: u32 = 61_000;

/// Where a camera looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct View {
    /// Degrees, clockwise, 0 to 360.
    pub(super) pan: f64,
    /// Degrees, down is positive.
    pub(super) tilt: f64,
    pub(super) zoom: f64,
}

impl View {
    const START: View = View { pan: 0.0, tilt: 0.0, zoom: 1.0 };

    fn limited(self) -> View {
        View {
            pan: self.pan.rem_euclid(360.0),
            tilt: self.tilt.clamp(TILT.0, TILT.1),
            zoom: self.zoom.clamp(ZOOM.0, ZOOM.1),
        }
    }
}

/// A cruise: its presets in turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Cruise {
    pub(super) name: Option<String>,
    pub(super) presets: Vec<u8>,
    /// Seconds at each preset.
    pub(super) dwell: u16,
    pub(super) speed: u16,
}

/// The home position (A.2.3.1.10).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Home {
    pub(super) enabled: bool,
    pub(super) reset_seconds: Option<u32>,
    pub(super) preset: Option<u8>,
}

/// What a catalog says of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    #[default]
    On,
    Off,
    /// It was taken out of the catalog.
    Gone,
}

/// What one camera remembers.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) presets: BTreeMap<u8, (String, View)>,
    pub(super) cruises: BTreeMap<u8, Cruise>,
    pub(super) home: Home,
    pub(super) guarded: bool,
    pub(super) recording: bool,
    pub(super) condition: Condition,
    /// What the catalog calls it, once that has changed.
    pub(super) name: Option<String>,
    view: View,
    /// The speeds of a motion, a second, and since when it goes on.
    motion: Option<(View, Instant)>,
}

impl Default for State {
    fn default() -> State {
        State {
            presets: BTreeMap::new(),
            cruises: BTreeMap::new(),
            home: Home::default(),
            guarded: true,
            recording: true,
            condition: Condition::On,
            name: None,
            view: View::START,
            motion: None,
        }
    }
}

impl State {
    /// Where it looks now.
    pub(super) fn view(&self, now: Instant) -> View {
        let Some((speed, since)) = self.motion else { return self.view };
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        let moved = View {
            pan: self.view.pan + speed.pan * seconds,
            tilt: self.view.tilt + speed.tilt * seconds,
            zoom: self.view.zoom + speed.zoom * seconds,
        };
        moved.limited()
    }

    /// Looks there at once.
    pub(super) fn look(&mut self, now: Instant, pan: Option<f64>, tilt: Option<f64>, zoom: Option<f64>) {
        let view = self.view(now);
        let view = View {
            pan: pan.unwrap_or(view.pan),
            tilt: tilt.unwrap_or(view.tilt),
            zoom: zoom.unwrap_or(view.zoom),
        };
        (self.view, self.motion) = (view.limited(), None);
    }

    /// Zooms to or from a rectangle of the picture (A.2.3.1.6), whose middle becomes the picture's.
    pub(super) fn drag(&mut self, now: Instant, zoom: &Element, inwards: bool) {
        let value = |name| number::<f64>(zoom, name).filter(|value| *value > 0.0);
        let (Some(width), Some(part)) = (value("Length"), value("LengthX")) else { return };
        let times = (width / part).clamp(1.0, ZOOM.1);
        let view = self.view(now);
        let middle = value("MidPointX").map_or(0.0, |x| x / width - 0.5);
        let turned = view.pan + middle * FIELD / view.zoom;
        let times = if inwards { times } else { 1.0 / times };
        self.look(now, Some(turned), None, Some(view.zoom * times));
    }

    /// Does what a PTZ command says. `name` is that of a preset or cruise (2022).
    pub(super) fn obey(&mut self, now: Instant, command: Command, name: Option<&str>) {
        let part = |speed: i16| f64::from(speed) / 255.0;
        match command {
            Command::Move { pan, tilt, zoom } => {
                self.look(now, None, None, None);
                let speed = View {
                    pan: part(pan) * PAN_SPEED,
                    // The command counts up as positive, the position down.
                    tilt: -part(tilt) * TILT_SPEED,
                    zoom: f64::from(zoom) / 15.0 * ZOOM_SPEED,
                };
                self.motion = ((pan, tilt, zoom) != (0, 0, 0)).then_some((speed, now));
            }
            Command::PresetSet(preset) if self.presets.len() < MAX_NUMBER => {
                let view = self.view(now);
                let name = name.map_or_else(|| format!("预置位{preset}"), str::to_owned);
                self.presets.insert(preset, (name, view));
            }
            Command::PresetCall(preset) => {
                if let Some((_, view)) = self.presets.get(&preset).cloned() {
                    (self.view, self.motion) = (view, None);
                }
            }
            Command::PresetDelete(preset) => {
                self.presets.remove(&preset);
            }
            Command::CruiseAdd { cruise, preset } => {
                let track = self.cruise(cruise);
                if track.presets.len() < MAX_POINTS {
                    track.presets.push(preset);
                }
                if let Some(name) = name {
                    track.name = Some(name.to_owned());
                }
            }
            Command::CruiseRemove { cruise, preset: 0 } => {
                self.cruises.remove(&cruise);
            }
            Command::CruiseRemove { cruise, preset } => {
                self.cruise(cruise).presets.retain(|own| *own != preset);
            }
            Command::CruiseSpeed { cruise, speed } => self.cruise(cruise).speed = speed,
            Command::CruiseDwell { cruise, seconds } => self.cruise(cruise).dwell = seconds,
            // Going round a track is to look at its first preset; lens, scan and switches leave no trace.
            Command::CruiseStart(cruise) => {
                if let Some(first) = self.cruises.get(&cruise).and_then(|track| track.presets.first()) {
                    self.obey(now, Command::PresetCall(*first), None);
                }
            }
            _ => {}
        }
    }

    fn cruise(&mut self, number: u8) -> &mut Cruise {
        self.cruises.entry(number).or_insert(Cruise { dwell: 15, speed: 5, ..Cruise::default() })
    }
}

/// The memory card of a device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Card {
    formatting_since: Option<Instant>,
    formatted: bool,
}

impl Card {
    pub(super) fn format(&mut self, now: Instant) {
        (self.formatting_since, self.formatted) = (Some(now), true);
    }

    /// How far formatting is, in percent; `None` if it is not under way.
    pub(super) fn progress(&self, now: Instant) -> Option<u32> {
        let done = now.saturating_duration_since(self.formatting_since?).as_secs_f64();
        let percent = done / FORMATTING.as_secs_f64() * 100.0;
        (percent < 100.0).then_some(percent as u32)
    }

    /// Megabytes free.
    pub(super) fn free(&self) -> u32 {
        if self.formatted { CARD_CAPACITY } else { CARD_CAPACITY / 5 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    #[test]
    fn a_motion_goes_on_until_it_is_stopped() {
        let now = clock::now();
        let mut state = State::default();
        state.obey(now, Command::Move { pan: 255, tilt: -255, zoom: 15 }, None);
        let later = now + Duration::from_secs(1);
        assert_eq!(state.view(later), View { pan: 90.0, tilt: 45.0, zoom: 5.0 });
        state.obey(later, Command::STOP, None);
        let view = state.view(later + Duration::from_secs(60));
        assert_eq!(view, View { pan: 90.0, tilt: 45.0, zoom: 5.0 });
        state.obey(later, Command::PresetSet(3), Some("门"));
        state.look(later, Some(-10.0), Some(200.0), Some(0.1));
        assert_eq!(state.view(later), View { pan: 350.0, tilt: 90.0, zoom: 1.0 }, "limited");
        state.obey(later, Command::PresetCall(3), None);
        assert_eq!(state.view(later), view);
        assert_eq!(state.presets[&3].0, "门");
    }

    #[test]
    fn cruises_are_built_point_by_point() {
        let now = clock::now();
        let mut state = State::default();
        for preset in [1, 2, 3] {
            state.obey(now, Command::CruiseAdd { cruise: 7, preset }, None);
        }
        state.obey(now, Command::CruiseRemove { cruise: 7, preset: 2 }, None);
        state.obey(now, Command::CruiseDwell { cruise: 7, seconds: 20 }, None);
        assert_eq!((&state.cruises[&7].presets[..], state.cruises[&7].dwell), (&[1, 3][..], 20));
        state.obey(now, Command::CruiseRemove { cruise: 7, preset: 0 }, None);
        assert!(state.cruises.is_empty());
    }

    #[test]
    fn formatting_takes_its_time() {
        let now = clock::now();
        let mut card = Card::default();
        assert_eq!(card.progress(now), None);
        card.format(now);
        assert_eq!(card.progress(now + FORMATTING / 2), Some(50));
        assert_eq!((card.progress(now + FORMATTING), card.free()), (None, CARD_CAPACITY));
    }
}
