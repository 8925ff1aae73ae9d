//! Alarms: listed, raised by a person, acknowledged, reset at the device.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::Value;

use super::ask::{self, moment, within};
use super::devices::page;
use super::extract::{Body, Params, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::device::{Outcome, Raise, Request};
use crate::gb::id::Id;
use crate::node::alarm_json;
use crate::registry::{Alarm, AlarmFilter, AlarmId, MAX_TEXT};

/// The method of an alarm that a person raises without naming one: 7, other.
const BY_A_PERSON: u8 = 7;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    limit: Option<usize>,
    cursor: Option<String>,
    device: Option<Id>,
    channel: Option<Id>,
    acknowledged: Option<bool>,
    since: Option<String>,
}

pub(super) async fn list(State(api): State<Api>, Params(list): Params<List>) -> Result<Json<Value>> {
    let List { limit, cursor, device, channel, acknowledged, since } = list;
    let since = since.map(|since| moment(&api, "since", &since)).transpose()?;
    let filter = AlarmFilter { device, channel, acknowledged, since };
    let index = api.node.index();
    let found = index.alarms(filter, cursor.as_deref(), limit.unwrap_or(100))?;
    let items = found.items.into_iter().map(|alarm| alarm_json(alarm, api.info.offset)).collect();
    Ok(page(items, found.next, found.total))
}

pub(super) async fn show(State(api): State<Api>, Segments(id): Segments<String>) -> Result<Json<Value>> {
    Ok(Json(alarm_json(&find(&api, &id)?, api.info.offset)))
}

/// An alarm that a person raises.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    device: Id,
    channel: Option<Id>,
    priority: Option<u8>,
    method: Option<u8>,
    kind: Option<u16>,
    event: Option<u8>,
    description: Option<String>,
    longitude: Option<f64>,
    latitude: Option<f64>,
}

pub(super) async fn raise(
    State(api): State<Api>,
    who: Who,
    Body(new): Body<New>,
) -> Result<impl IntoResponse> {
    let raise = Raise {
        by: who.user.clone(),
        priority: within("priority", new.priority.unwrap_or(1), (1, 4))?,
        method: within("method", new.method.unwrap_or(BY_A_PERSON), (1, 7))?,
        kind: new.kind,
        event: new.event,
        description: new.description,
        longitude: new.longitude.map(|degrees| within("longitude", degrees, (-180.0, 180.0))).transpose()?,
        latitude: new.latitude.map(|degrees| within("latitude", degrees, (-90.0, 90.0))).transpose()?,
    };
    let length = raise.description.as_ref().map_or(0, String::len);
    within("description", length, (0, MAX_TEXT)).map_err(|_| {
        Problem::bad_value("description", format!("description has more than {MAX_TEXT} bytes"))
    })?;
    let place = (new.device, new.channel.unwrap_or(new.device));
    let deed =
        Deed::new("alarm.raise").at(place.0, place.1).saying(raise.description.clone().unwrap_or_default());
    let outcome = ask::ask(&api, &who, deed, place, Request::Raise(Box::new(raise))).await?;
    let alarm = of(outcome)?;
    let location = format!("/api/v1/alarms/{}", alarm.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(alarm_json(&alarm, api.info.offset))))
}

/// What may be changed of an alarm: that somebody has taken notice. There is no way back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    acknowledged: bool,
}

pub(super) async fn change(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
    Body(Change { acknowledged }): Body<Change>,
) -> Result<Json<Value>> {
    if !acknowledged {
        return Err(Problem::bad_value(
            "acknowledged",
            "an alarm can be acknowledged, and not the other way round",
        ));
    }
    let alarm = Box::new(find(&api, &id)?);
    let deed = Deed::new("alarm.acknowledge").at(alarm.device, alarm.channel).saying(id);
    let (device, channel) = (alarm.device, alarm.channel);
    let request = Request::Acknowledge { alarm, by: who.user.clone() };
    let outcome = who.does(&api, deed, async { Ok(api.node.ask(device, channel, request).await?) }).await?;
    Ok(Json(alarm_json(&of(outcome)?, api.info.offset)))
}

pub(super) async fn reset(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
) -> Result<Json<Value>> {
    let alarm = Box::new(find(&api, &id)?);
    let deed = Deed::new("alarm.reset").at(alarm.device, alarm.channel).saying(id);
    let (device, channel) = (alarm.device, alarm.channel);
    let request = Request::Reset { alarm };
    let outcome = who.does(&api, deed, async { Ok(api.node.ask(device, channel, request).await?) }).await?;
    Ok(Json(alarm_json(&of(outcome)?, api.info.offset)))
}

fn find(api: &Api, id: &str) -> Result<Alarm> {
    let alarm = id.parse::<AlarmId>().ok().and_then(|id| api.node.index().alarm(id).cloned());
    alarm.ok_or_else(|| Problem::not_found(format!("no alarm {id}")))
}

/// The alarm of an outcome, which requests about alarms always have.
fn of(outcome: Outcome) -> Result<Alarm> {
    match outcome {
        Outcome::Alarm(alarm) => Ok(*alarm),
        _ => Err(Problem::internal("an alarm was asked for, and something else came")),
    }
}
