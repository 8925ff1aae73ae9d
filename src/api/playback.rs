//! Recordings that are played: begun, paused, moved about in, ended.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{self, span};
use super::devices::page;
use super::extract::{Body, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::call::{CallId, MAX_SCALE, Playback};
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;
use crate::node::PlaybackReport;

/// A recording that is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    pub(super) device: Id,
    pub(super) channel: Id,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) speed: Option<f64>,
}

/// The span and the speed of one, checked.
pub(super) struct Asked {
    pub(super) start: UnixMillis,
    pub(super) end: UnixMillis,
    pub(super) speed: Option<f64>,
}

impl Wanted {
    /// What is asked for, and the deed of this name that it is.
    pub(super) fn check(&self, api: &Api, deed: &'static str) -> Result<(Asked, Deed)> {
        let (start, end) = span(api, &self.start, &self.end)?;
        let speed = self.speed.map(speed).transpose()?;
        let saying = format!("{} to {}", self.start, self.end);
        let deed = Deed::new(deed).at(self.device, self.channel).saying(saying);
        Ok((Asked { start, end, speed }, deed))
    }
}

/// A speed that could be one: what a device accepts is its own affair. Backwards is negative.
fn speed(speed: f64) -> Result<f64> {
    if speed.is_finite() && speed != 0.0 && speed.abs() <= MAX_SCALE {
        Ok(speed)
    } else {
        Err(Problem::bad_value(
            "speed",
            format!("speed is {speed}, and not -{MAX_SCALE} to {MAX_SCALE}, without 0"),
        ))
    }
}

/// A playback in the contract's form.
fn playback_json(api: &Api, report: &PlaybackReport) -> Value {
    let id = report.id;
    json!({
        "id": id.to_string(),
        "device": report.device,
        "channel": report.channel,
        "start": report.start.to_rfc3339(api.info.offset),
        "end": report.end.to_rfc3339(api.info.offset),
        "state": report.state,
        "paused": report.paused,
        "scale": report.scale,
        "position": report.position,
        "whep": format!("/whep/playbacks/{id}"),
        "mp4": format!("/live/playbacks/{id}.mp4"),
        "flv": format!("/live/playbacks/{id}.flv"),
    })
}

pub(super) async fn start(
    State(api): State<Api>,
    who: Who,
    Body(wanted): Body<Wanted>,
) -> Result<impl IntoResponse> {
    let (Asked { start, end, speed }, deed) = wanted.check(&api, "playback")?;
    let Wanted { device, channel, .. } = wanted;
    let report = who
        .does(&api, deed, async {
            ask::known(&api, &device, &channel)?;
            Ok(api.node.playback(device, channel, start, end, speed).await?)
        })
        .await?;
    let location = format!("/api/v1/playbacks/{}", report.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(playback_json(&api, &report))))
}

pub(super) async fn list(State(api): State<Api>) -> Json<Value> {
    let reports = api.node.playbacks();
    let items: Vec<Value> = reports.iter().map(|report| playback_json(&api, report)).collect();
    let total = items.len() as u64;
    page(items, None, total)
}

pub(super) async fn show(State(api): State<Api>, Segments(id): Segments<String>) -> Result<Json<Value>> {
    let (_, report) = find(&api, &id)?;
    Ok(Json(playback_json(&api, &report)))
}

pub(super) async fn stop(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
) -> Result<StatusCode> {
    let (call, report) = find(&api, &id)?;
    let deed = Deed::new("playback.stop").at(report.device, report.channel);
    who.does(&api, deed, async {
        if api.node.stop(call, "ended over the API").await {
            Ok(StatusCode::NO_CONTENT)
        } else {
            Err(unknown(&id))
        }
    })
    .await
}

pub(super) async fn pause(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
) -> Result<Json<Value>> {
    control(&api, &who, &id, "pause", String::new(), Playback::Pause).await
}

pub(super) async fn resume(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
) -> Result<Json<Value>> {
    control(&api, &who, &id, "resume", String::new(), Playback::Resume).await
}

/// Seconds from the start of the playback.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seek {
    seconds: f64,
}

pub(super) async fn seek(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
    Body(Seek { seconds }): Body<Seek>,
) -> Result<Json<Value>> {
    let (_, report) = find(&api, &id)?;
    let length = (report.end.0 - report.start.0) as f64 / 1000.0;
    ask::within("seconds", seconds, (0.0, length))?;
    control(&api, &who, &id, "seek", format!("{seconds} s"), Playback::Seek { seconds }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Speed {
    speed: f64,
}

pub(super) async fn set_speed(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
    Body(wanted): Body<Speed>,
) -> Result<Json<Value>> {
    let scale = speed(wanted.speed)?;
    control(&api, &who, &id, "speed", scale.to_string(), Playback::Speed { scale }).await
}

async fn control(
    api: &Api,
    who: &Who,
    id: &str,
    verb: &str,
    detail: String,
    command: Playback,
) -> Result<Json<Value>> {
    let (call, report) = find(api, id)?;
    let deed = Deed::new(format!("playback.{verb}")).at(report.device, report.channel).saying(detail);
    let report = who.does(api, deed, async { Ok(api.node.control_playback(call, command).await?) }).await?;
    Ok(Json(playback_json(api, &report)))
}

/// A playback that runs.
pub(super) fn find(api: &Api, id: &str) -> Result<(CallId, PlaybackReport)> {
    let found = CallId::parse(id).and_then(|call| Some((call, api.node.playback_report(call)?)));
    found.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("no playback {id}"))
}
