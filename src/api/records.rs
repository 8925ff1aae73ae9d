//! What a channel has recorded.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{self, span};
use super::extract::{Params, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::device::{Outcome, Request};
use crate::gb::id::Id;
use crate::gb::manscdp::answer::{Answer, Record};
use crate::gb::manscdp::query::{Query, RecordKind, RecordQuery};
use crate::gb::time::UnixMillis;

/// Which recordings: a span, and what caused them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    start: String,
    end: String,
    kind: Option<String>,
    stream: Option<u8>,
    secrecy: Option<bool>,
    path: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Value>> {
    let (start, end) = span(&api, &wanted.start, &wanted.end)?;
    let kind = match wanted.kind.as_deref() {
        None => RecordKind::All,
        Some(text) => RecordKind::parse(text)
            .ok_or_else(|| Problem::bad_value("kind", "kind is none of all, time, alarm and manual"))?,
    };
    let query = RecordQuery {
        kind,
        stream: wanted.stream,
        secrecy: wanted.secrecy.unwrap_or(false),
        file_path: wanted.path,
        ..RecordQuery::new(start, end)
    };
    let deed = Deed::new("records").at(device, channel).saying(format!("{} to {}", wanted.start, wanted.end));
    let request = Request::Query(Query::Records(query));
    let outcome = ask::ask(&api, &who, deed, (device, channel), request).await?;
    let records = match outcome {
        Outcome::Answer(Answer::Records(records)) => records,
        // A device that answers OK and no list has none.
        _ => Default::default(),
    };
    let items: Vec<Value> =
        records.items.iter().map(|record| record_json(&api, device, channel, record)).collect();
    Ok(Json(json!({ "items": items, "total": records.total, "complete": records.complete })))
}

/// A recording in the contract's form.
fn record_json(api: &Api, device: Id, channel: Id, record: &Record) -> Value {
    let time = |at: Option<UnixMillis>| at.map(|at| at.to_rfc3339(api.info.offset));
    json!({
        "device": device,
        "channel": channel,
        "name": record.name,
        "start": time(record.start),
        "end": time(record.end),
        "size": record.size,
        "kind": record.kind,
        "file_path": record.file_path,
        "address": record.address,
        "recorder_id": record.recorder_id,
        "location": record.location,
        "secrecy": record.secrecy,
        "stream": record.stream,
    })
}
