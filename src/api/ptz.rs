//! Moving cameras: pan, tilt and zoom, the lens, presets, cruises, scans, switches, where they look.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use super::ask::{self, within};
use super::extract::{Body, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::device::Request;
use crate::gb::id::Id;
use crate::gb::manscdp::answer::HomePosition;
use crate::gb::manscdp::control::{Control, Window};
use crate::gb::manscdp::query::Query;
use crate::gb::ptz::Command;

/// How long a motion may be asked for that ends by itself, in seconds.
const SECONDS: (f64, f64) = (0.1, 60.0);
/// Motions at a time that end by themselves: each is a timer and some 100 bytes.
const MAX_TIMED: usize = 4_096;

/// Motions that end by themselves. A later command for the same part of the same camera takes the place of the one
/// before, so that its end does not stop what was asked for since.
#[derive(Debug, Default)]
pub(super) struct Motions {
    turns: Mutex<(u64, HashMap<Part, u64>)>,
}

/// A camera's head or its lens.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
struct Part {
    device: Id,
    channel: Id,
    lens: bool,
}

impl Motions {
    /// A motion begins that ends by itself; `None`: there are too many.
    fn begin(&self, part: Part) -> Option<u64> {
        let (turn, running) = &mut *self.turns.lock();
        if running.len() >= MAX_TIMED && !running.contains_key(&part) {
            return None;
        }
        *turn += 1;
        running.insert(part, *turn);
        Some(*turn)
    }

    /// Something else begins: the end of what went before has no meaning any more.
    fn forget(&self, part: Part) {
        self.turns.lock().1.remove(&part);
    }

    /// The time of a motion is over: whether it is still the last one.
    fn end(&self, part: Part, turn: u64) -> bool {
        let running = &mut self.turns.lock().1;
        let last = running.get(&part) == Some(&turn);
        if last {
            running.remove(&part);
        }
        last
    }
}

/// A motion of the head: parts of full speed, right, up and in are positive.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Motion {
    pan: f64,
    tilt: f64,
    zoom: f64,
    stop: bool,
    seconds: Option<f64>,
}

pub(super) async fn motion(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Body(motion): Body<Motion>,
) -> Result<Json<Value>> {
    let Motion { pan, tilt, zoom, stop, seconds } = motion;
    for (field, part) in [("pan", pan), ("tilt", tilt), ("zoom", zoom)] {
        within(field, part, (-1.0, 1.0))?;
    }
    let command = if stop { Command::STOP } else { Command::motion(pan, tilt, zoom) };
    let deed = Deed::new("ptz").at(device, channel).saying(match stop {
        true => "stop".to_owned(),
        false => format!("pan {pan} tilt {tilt} zoom {zoom}"),
    });
    drive(api, who, deed, Part { device, channel, lens: false }, command, seconds.filter(|_| !stop)).await
}

/// A motion of the lens: part of full speed, far and open are positive.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Lens {
    speed: f64,
    stop: bool,
    seconds: Option<f64>,
}

pub(super) async fn focus(
    State(api): State<Api>,
    who: Who,
    Segments(place): Segments<(Id, Id)>,
    Body(lens): Body<Lens>,
) -> Result<Json<Value>> {
    lens_motion(api, who, place, lens, "focus", |speed| Command::lens(speed, 0.0)).await
}

pub(super) async fn iris(
    State(api): State<Api>,
    who: Who,
    Segments(place): Segments<(Id, Id)>,
    Body(lens): Body<Lens>,
) -> Result<Json<Value>> {
    lens_motion(api, who, place, lens, "iris", |speed| Command::lens(0.0, speed)).await
}

async fn lens_motion(
    api: Api,
    who: Who,
    (device, channel): (Id, Id),
    lens: Lens,
    what: &'static str,
    command: fn(f64) -> Command,
) -> Result<Json<Value>> {
    let speed = if lens.stop { 0.0 } else { within("speed", lens.speed, (-1.0, 1.0))? };
    let deed = Deed::new("ptz.lens").at(device, channel).saying(format!("{what} {speed}"));
    let seconds = lens.seconds.filter(|_| speed != 0.0);
    drive(api, who, deed, Part { device, channel, lens: true }, command(speed), seconds).await
}

/// Sends a motion, and its end after so many seconds.
async fn drive(
    api: Api,
    who: Who,
    deed: Deed,
    part: Part,
    command: Command,
    seconds: Option<f64>,
) -> Result<Json<Value>> {
    let seconds = seconds.map(|seconds| within("seconds", seconds, SECONDS)).transpose()?;
    let turn = match seconds {
        Some(_) => Some(api.kept.motions.begin(part).ok_or_else(too_many)?),
        None => {
            api.kept.motions.forget(part);
            None
        }
    };
    let place = (part.device, part.channel);
    let told = ask::control(&api, &who, deed, place, Control::Ptz { command, name: None }).await;
    if let (Some(turn), Some(seconds)) = (turn, seconds) {
        // Even if nobody knows whether the camera moves: then it has to be stopped all the more.
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            if api.kept.motions.end(part, turn) {
                let command = if part.lens { Command::lens(0.0, 0.0) } else { Command::STOP };
                let stop = Request::Control(Control::Ptz { command, name: None });
                let outcome = api.node.ask(part.device, part.channel, stop).await;
                let outcome = outcome.as_ref().err().map_or("ok", |failure| failure.code());
                who.did(&api, Deed::new("ptz").at(part.device, part.channel).saying("stop in time"), outcome);
            }
        });
    }
    told
}

fn too_many() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "busy",
        "queue",
        "too many motions wait for their end",
        "Send the motion without `seconds`, and a stop later.",
    )
    .with_header(header::RETRY_AFTER, "10")
}

pub(super) async fn presets(
    State(api): State<Api>,
    who: Who,
    Segments(place): Segments<(Id, Id)>,
) -> Result<Json<Value>> {
    ask::query(&api, &who, "ptz.preset.list", place, Query::Presets).await
}

/// What is done with a preset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preset {
    action: PresetAction,
    index: u8,
    name: Option<String>,
}

#[derive(Copy, Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PresetAction {
    Set,
    Call,
    Delete,
}

pub(super) async fn preset(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Body(Preset { action, index, name }): Body<Preset>,
) -> Result<Json<Value>> {
    within("index", index, (1, 255))?;
    let (verb, command) = match action {
        PresetAction::Set => ("set", Command::PresetSet(index)),
        PresetAction::Call => ("call", Command::PresetCall(index)),
        PresetAction::Delete => ("delete", Command::PresetDelete(index)),
    };
    let deed = Deed::new(format!("ptz.preset.{verb}")).at(device, channel).saying(index.to_string());
    ask::control(&api, &who, deed, (device, channel), Control::Ptz { command, name }).await
}

pub(super) async fn cruises(
    State(api): State<Api>,
    who: Who,
    Segments(place): Segments<(Id, Id)>,
) -> Result<Json<Value>> {
    ask::query(&api, &who, "ptz.cruise.list", place, Query::CruiseTracks).await
}

pub(super) async fn cruise_track(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel, number)): Segments<(Id, Id, u32)>,
) -> Result<Json<Value>> {
    ask::query(&api, &who, "ptz.cruise.list", (device, channel), Query::CruiseTrack { number }).await
}

/// What is done with a cruise, and with the preset in it where that matters.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Cruise {
    Start { cruise: u8 },
    Stop {},
    Add { cruise: u8, preset: u8, name: Option<String> },
    Remove { cruise: u8, preset: u8 },
    Delete { cruise: u8 },
    Speed { cruise: u8, speed: u16 },
    Dwell { cruise: u8, seconds: u16 },
}

pub(super) async fn cruise(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Body(cruise): Body<Cruise>,
) -> Result<Json<Value>> {
    let detail = format!("{cruise:?}");
    let (verb, command, name) = match cruise {
        Cruise::Start { cruise } => ("start", Command::CruiseStart(cruise), None),
        Cruise::Stop {} => ("stop", Command::STOP, None),
        Cruise::Add { cruise, preset, name } => {
            within("preset", preset, (1, 255))?;
            ("add", Command::CruiseAdd { cruise, preset }, name)
        }
        Cruise::Remove { cruise, preset } => {
            within("preset", preset, (1, 255))?;
            ("remove", Command::CruiseRemove { cruise, preset }, None)
        }
        Cruise::Delete { cruise } => ("delete", Command::CruiseRemove { cruise, preset: 0 }, None),
        Cruise::Speed { cruise, speed } => {
            within("speed", speed, (0, MAX_12_BITS))?;
            ("speed", Command::CruiseSpeed { cruise, speed }, None)
        }
        Cruise::Dwell { cruise, seconds } => {
            within("seconds", seconds, (0, MAX_12_BITS))?;
            ("dwell", Command::CruiseDwell { cruise, seconds }, None)
        }
    };
    let deed = Deed::new(format!("ptz.cruise.{verb}")).at(device, channel).saying(detail);
    ask::control(&api, &who, deed, (device, channel), Control::Ptz { command, name }).await
}

/// What some commands carry has twelve bits, annex A.3.
const MAX_12_BITS: u16 = 0xFFF;

/// What is done with a scan between two edges.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Scan {
    Start { scan: u8 },
    Stop {},
    Left { scan: u8 },
    Right { scan: u8 },
    Speed { scan: u8, speed: u16 },
}

pub(super) async fn scan(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Body(scan): Body<Scan>,
) -> Result<Json<Value>> {
    let deed = Deed::new("ptz.scan").at(device, channel).saying(format!("{scan:?}"));
    let command = match scan {
        Scan::Start { scan } => Command::ScanStart(scan),
        Scan::Stop {} => Command::STOP,
        Scan::Left { scan } => Command::ScanLeft(scan),
        Scan::Right { scan } => Command::ScanRight(scan),
        Scan::Speed { scan, speed } => {
            within("speed", speed, (0, MAX_12_BITS))?;
            Command::ScanSpeed { scan, speed }
        }
    };
    ask::control(&api, &who, deed, (device, channel), Control::Ptz { command, name: None }).await
}

/// A switch: 1 is the wiper, the others are the vendor's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auxiliary {
    switch: u8,
    on: bool,
}

pub(super) async fn auxiliary(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Body(Auxiliary { switch, on }): Body<Auxiliary>,
) -> Result<Json<Value>> {
    let state = if on { "on" } else { "off" };
    let deed = Deed::new("ptz.aux").at(device, channel).saying(format!("{switch} {state}"));
    let command = Command::Auxiliary { switch, on };
    ask::control(&api, &who, deed, (device, channel), Control::Ptz { command, name: None }).await
}

pub(super) async fn home(
    State(api): State<Api>,
    who: Who,
    Segments(place): Segments<(Id, Id)>,
) -> Result<Json<Value>> {
    ask::query(&api, &who, "ptz.home.read", place, Query::HomePosition).await
}

/// The home position: whether the camera goes there, after how many idle seconds, and which preset it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Home {
    enabled: bool,
    reset_seconds: Option<u32>,
    preset: Option<u8>,
}

pub(super) async fn set_home(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Body(Home { enabled, reset_seconds, preset }): Body<Home>,
) -> Result<Json<Value>> {
    let deed = Deed::new("ptz.home").at(device, channel).saying(if enabled { "on" } else { "off" });
    let home = HomePosition { enabled, reset_seconds, preset };
    ask::control(&api, &who, deed, (device, channel), Control::HomePosition(home)).await
}

pub(super) async fn position(
    State(api): State<Api>,
    who: Who,
    Segments(place): Segments<(Id, Id)>,
) -> Result<Json<Value>> {
    ask::query(&api, &who, "ptz.position.read", place, Query::PtzPosition).await
}

/// Where to look: degrees, and times of magnification. What is left out stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Look {
    pan: Option<f64>,
    tilt: Option<f64>,
    zoom: Option<f64>,
}

pub(super) async fn look(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Body(Look { pan, tilt, zoom }): Body<Look>,
) -> Result<Json<Value>> {
    let part = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
    let detail = format!("pan {} tilt {} zoom {}", part(pan), part(tilt), part(zoom));
    let deed = Deed::new("ptz.position").at(device, channel).saying(detail);
    ask::control(&api, &who, deed, (device, channel), Control::PtzPrecise { pan, tilt, zoom }).await
}

/// A box that is drawn on a player's window, in its pixels from the top left.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drag {
    direction: Direction,
    length: u32,
    width: u32,
    mid_x: u32,
    mid_y: u32,
    length_x: u32,
    length_y: u32,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    In,
    Out,
}

pub(super) async fn drag_zoom(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Body(drag): Body<Drag>,
) -> Result<Json<Value>> {
    let Drag { direction, length, width, mid_x, mid_y, length_x, length_y } = drag;
    let deed = Deed::new("ptz.drag-zoom").at(device, channel).saying(format!("{direction:?}"));
    let window = Window { length, width, mid_x, mid_y, length_x, length_y };
    let zoom_in = direction == Direction::In;
    ask::control(&api, &who, deed, (device, channel), Control::DragZoom { zoom_in, window }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(lens: bool) -> Part {
        let id = |text| Id::parse(text).unwrap();
        Part { device: id("34020000001110000001"), channel: id("34020000001320000001"), lens }
    }

    #[test]
    fn a_motion_is_stopped_only_by_its_own_end() {
        let motions = Motions::default();
        let first = motions.begin(part(false)).unwrap();
        let lens = motions.begin(part(true)).unwrap();
        let second = motions.begin(part(false)).unwrap();
        assert!(!motions.end(part(false), first));
        assert!(motions.end(part(false), second));
        assert!(!motions.end(part(false), second));
        motions.forget(part(true));
        assert!(!motions.end(part(true), lens));
        assert!(motions.turns.lock().1.is_empty());
    }
}
