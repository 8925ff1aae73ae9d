//! Commands to a device or one of its channels, and questions about its state.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ask::{self, body};
use super::extract::{Optional, Params, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::snapshots;
use super::{Api, Result};
use crate::device::Outcome;
use crate::gb::id::Id;
use crate::gb::manscdp::control::Control;
use crate::gb::manscdp::query::Query;

/// `on`, and which stream where the edition tells them apart.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    on: bool,
    stream: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Guard {
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlarmReset {
    method: Option<u8>,
    kind: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upgrade {
    firmware: String,
    url: String,
    manufacturer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatSd {
    card: u8,
}

/// Commands without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn command(
    State(api): State<Api>,
    who: Who,
    Segments((device, command)): Segments<(Id, String)>,
    Optional(mut members): Optional<Map<String, Value>>,
) -> Result<Json<Value>> {
    let target = channel_of(&mut members)?.unwrap_or(device);
    if command == "snapshot" {
        return snapshots::take(&api, &who, device, target, body(members)?).await;
    }
    let mut session = None;
    let control = match command.as_str() {
        "reboot" => body::<Nothing>(members).map(|_| Control::Reboot)?,
        "keyframe" => body::<Nothing>(members).map(|_| Control::KeyFrame)?,
        "record" => body::<Record>(members).map(|Record { on, stream }| Control::Record { on, stream })?,
        "guard" => body::<Guard>(members).map(|Guard { on }| Control::Guard { on })?,
        "alarm-reset" => {
            let AlarmReset { method, kind } = body(members)?;
            Control::AlarmReset { method, kind }
        }
        "upgrade" => {
            let Upgrade { firmware, url, manufacturer } = body(members)?;
            let own = session.insert(snapshots::new_session()).clone();
            Control::Upgrade { firmware, url, manufacturer, session: own }
        }
        "format-sd" => body::<FormatSd>(members).map(|FormatSd { card }| Control::FormatSd { card })?,
        _ => return Err(Problem::not_found(format!("no command {command:?}"))),
    };
    let deed = Deed::new(format!("control.{command}")).at(device, target).saying(details(&control));
    let Json(mut told) = ask::control(&api, &who, deed, (device, target), control).await?;
    if let (Some(session), Some(members)) = (session, told.as_object_mut()) {
        members.insert("session".to_owned(), json!(session));
    }
    Ok(Json(told))
}

/// What of a command belongs into the record.
fn details(control: &Control) -> String {
    match control {
        Control::Record { on, .. } | Control::Guard { on } => if *on { "on" } else { "off" }.to_owned(),
        Control::Upgrade { firmware, .. } => firmware.clone(),
        Control::FormatSd { card } => format!("card {card}"),
        _ => String::new(),
    }
}

/// Takes `channel` out of a body: what is commanded, if not the device itself.
fn channel_of(members: &mut Map<String, Value>) -> Result<Option<Id>> {
    let channel = members.remove("channel").filter(|channel| !channel.is_null());
    let read = |channel| serde_json::from_value(channel);
    channel.map(read).transpose().map_err(|_| Problem::bad_value("channel", "channel is no id"))
}

/// Which channel a question is about; the device itself without.
#[derive(Debug, Deserialize)]
pub(super) struct About {
    channel: Option<Id>,
}

impl About {
    pub(super) fn of(&self, device: Id) -> (Id, Id) {
        (device, self.channel.unwrap_or(device))
    }
}

pub(super) async fn info(
    State(api): State<Api>,
    who: Who,
    Segments(device): Segments<Id>,
    Params(about): Params<About>,
) -> Result<Json<Value>> {
    ask::query(&api, &who, "device.info", about.of(device), Query::DeviceInfo).await
}

pub(super) async fn status(
    State(api): State<Api>,
    who: Who,
    Segments(device): Segments<Id>,
    Params(about): Params<About>,
) -> Result<Json<Value>> {
    ask::query(&api, &who, "device.status", about.of(device), Query::DeviceStatus).await
}

pub(super) async fn sd_cards(
    State(api): State<Api>,
    who: Who,
    Segments(device): Segments<Id>,
    Params(about): Params<About>,
) -> Result<Json<Value>> {
    ask::query(&api, &who, "device.sd-cards", about.of(device), Query::SdCards).await
}

/// Asks the device for all that it should be able to tell, and says what it found.
pub(super) async fn self_test(
    State(api): State<Api>,
    who: Who,
    Segments(device): Segments<Id>,
    Optional(mut members): Optional<Map<String, Value>>,
) -> Result<Json<Value>> {
    let target = channel_of(&mut members)?.unwrap_or(device);
    body::<Nothing>(members)?;
    let deed = Deed::new("selftest").at(device, target);
    let outcome = who
        .does(&api, deed, async {
            ask::known(&api, &device, &target)?;
            Ok(api.node.self_test(device, target).await?)
        })
        .await?;
    let steps = match outcome {
        Outcome::SelfTest(steps) => steps,
        _ => Vec::new(),
    };
    let ok = steps.iter().all(|step| step.ok);
    Ok(Json(json!({ "device": device, "ok": ok, "steps": steps })))
}
