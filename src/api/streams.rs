//! Streams that run.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::devices::page;
use super::extract::{Params, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::call::CallId;
use crate::node::Report;

/// A stream in the contract's form.
fn stream_json(api: &Api, report: &Report) -> Value {
    let key = &report.key;
    let video = report.info.video.as_ref().map(|video| {
        json!({ "codec": video.codec.as_str(), "width": video.width, "height": video.height, "fps": video.fps })
    });
    json!({
        "id": report.id.to_string(),
        "device": key.device,
        "channel": key.channel,
        "stream": key.stream_name(),
        "kind": key.kind(),
        "state": report.state,
        "video": video,
        "audio": report.info.audio.map(|codec| json!({ "codec": codec.as_str() })),
        "bit_rate": report.info.bit_rate,
        "packets": report.packets,
        "lost": report.lost,
        "readers": report.readers,
        "ssrc": report.ssrc,
        "transport": report.transport.as_str(),
        "started_at": report.started_at.to_rfc3339(api.info.offset),
    })
}

/// The query of the list of streams: `cursor` is the id of the last stream of the page before.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    limit: Option<usize>,
    cursor: Option<String>,
    q: Option<String>,
}

pub(super) async fn list(State(api): State<Api>, Params(list): Params<List>) -> Result<Json<Value>> {
    let after = match &list.cursor {
        Some(cursor) => Some(CallId::parse(cursor).ok_or(crate::registry::BadCursor)?),
        None => None,
    };
    let matches = |report: &Report| {
        let q = list.q.as_deref().unwrap_or_default();
        report.key.device.as_str().contains(q) || report.key.channel.as_str().contains(q)
    };
    let mut reports = api.node.streams();
    reports.retain(matches);
    let total = reports.len() as u64;
    reports.retain(|report| after.is_none_or(|after| report.id > after));
    let limit = list.limit.unwrap_or(100).clamp(1, crate::registry::MAX_PAGE);
    let next = reports.get(limit).and_then(|_| reports.get(limit - 1)).map(|report| report.id.to_string());
    let items = reports.iter().take(limit).map(|report| stream_json(&api, report)).collect();
    Ok(page(items, next, total))
}

pub(super) async fn show(State(api): State<Api>, Segments(id): Segments<String>) -> Result<Json<Value>> {
    let report = CallId::parse(&id).and_then(|call| api.node.stream(call));
    let report = report.ok_or_else(|| Problem::not_found(format!("no stream {id}")))?;
    Ok(Json(stream_json(&api, &report)))
}

pub(super) async fn stop(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
) -> Result<StatusCode> {
    let unknown = || Problem::not_found(format!("no stream {id}"));
    let report = CallId::parse(&id).and_then(|call| api.node.stream(call)).ok_or_else(unknown)?;
    let deed =
        Deed::new("stream.stop").at(report.key.device, report.key.channel).saying(report.key.stream_name());
    who.does(&api, deed, async {
        if api.node.stop(report.id, "ended over the API").await {
            Ok(StatusCode::NO_CONTENT)
        } else {
            Err(unknown())
        }
    })
    .await
}
