//! What all questions to a device have in common.

use axum::Json;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::device::{Outcome, Request};
use crate::gb::id::Id;
use crate::gb::manscdp::answer::Answer;
use crate::gb::manscdp::control::Control;
use crate::gb::manscdp::query::Query;
use crate::gb::time::{UnixMillis, parse_gb};

/// Asks a device and keeps a record of it. The target is the device itself or one of its channels.
pub(super) async fn ask(
    api: &Api,
    who: &Who,
    deed: Deed,
    (device, target): (Id, Id),
    request: Request,
) -> Result<Outcome> {
    who.does(api, deed, async {
        known(api, &device, &target)?;
        Ok(api.node.ask(device, target, request).await?)
    })
    .await
}

/// Asks a question and answers what the device said.
pub(super) async fn query(
    api: &Api,
    who: &Who,
    action: &str,
    (device, target): (Id, Id),
    query: Query,
) -> Result<Json<Value>> {
    let deed = Deed::new(action).at(device, target);
    let outcome = ask(api, who, deed, (device, target), Request::Query(query)).await?;
    Ok(Json(told(outcome)))
}

/// Gives a command and answers whether the device confirmed it.
pub(super) async fn control(
    api: &Api,
    who: &Who,
    deed: Deed,
    (device, target): (Id, Id),
    control: Control,
) -> Result<Json<Value>> {
    control.check()?;
    let outcome = ask(api, who, deed, (device, target), Request::Control(control)).await?;
    Ok(Json(told(outcome)))
}

/// What came of it, as JSON: the answer, or `{"result": "done"}` where the device confirmed and
/// `{"result": "sent"}` where it took note, which is all that the standard has for many commands.
pub(super) fn told(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Sent => json!({ "result": "sent" }),
        Outcome::Answer(Answer::Done { .. }) => json!({ "result": "done" }),
        // What we serialise are structures of texts and numbers, which cannot fail.
        other => serde_json::to_value(other).unwrap_or_default(),
    }
}

/// 404 unless there is such a device, and such a channel of it. A device may be its own channel.
pub(super) fn known(api: &Api, device: &Id, channel: &Id) -> Result<()> {
    let index = api.node.index();
    if index.device(device).is_none() {
        return Err(Problem::not_found(format!("no device {device}")));
    }
    if channel != device && index.channel(device, channel).is_none() {
        return Err(Problem::not_found(format!("device {device} has no channel {channel}")));
    }
    Ok(())
}

/// Reads a time of the API: RFC 3339 with its zone.
pub(super) fn moment(api: &Api, field: &'static str, text: &str) -> Result<UnixMillis> {
    parse_gb(text, api.info.offset).ok_or_else(|| {
        Problem::bad_value(field, format!("{field} is no time, such as 2026-05-01T08:00:00+08:00"))
    })
}

/// Reads the start and the end of something that has both.
pub(super) fn span(api: &Api, start: &str, end: &str) -> Result<(UnixMillis, UnixMillis)> {
    let (start, end) = (moment(api, "start", start)?, moment(api, "end", end)?);
    if end <= start {
        return Err(Problem::bad_value("end", "end is not after start"));
    }
    Ok((start, end))
}

/// Reads members of a body by what they belong to.
pub(super) fn body<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(members)).map_err(|error| Problem::bad_body(&error))
}

/// A number of a range, where there is one.
pub(super) fn within<T: PartialOrd + std::fmt::Display>(
    field: &'static str,
    value: T,
    (least, most): (T, T),
) -> Result<T> {
    if (&least..=&most).contains(&&value) {
        Ok(value)
    } else {
        Err(Problem::bad_value(field, format!("{field} is {value}, and not {least} to {most}")))
    }
}
