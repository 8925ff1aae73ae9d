//! Streams that run, and WHEP: a viewer's offer for a stream and what follows it (draft-ietf-wish-whep).

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::devices::page;
use super::extract::{Params, Raw, Segments};
use super::problem::Problem;
use super::{Api, Result};
use crate::call::{CallId, Key, Profile};
use crate::egress::webrtc::TrickleError;
use crate::gb::id::Id;
use crate::node::Report;

/// A stream in the contract's form.
fn stream_json(api: &Api, report: &Report) -> Value {
    let Key { device, channel, profile } = report.key;
    let video = report.info.video.as_ref().map(|video| {
        json!({ "codec": video.codec.as_str(), "width": video.width, "height": video.height, "fps": video.fps })
    });
    json!({
        "id": report.id.to_string(),
        "device": device,
        "channel": channel,
        "stream": profile.as_str(),
        "kind": "live",
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

pub(super) async fn stop(State(api): State<Api>, Segments(id): Segments<String>) -> Result<StatusCode> {
    match CallId::parse(&id) {
        Some(call) if api.node.stop(call, "ended over the API").await => Ok(StatusCode::NO_CONTENT),
        _ => Err(Problem::not_found(format!("no stream {id}"))),
    }
}

/// Which of the channel's streams.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    stream: Option<String>,
}

pub(super) async fn whep(
    State(api): State<Api>,
    Segments((device, channel)): Segments<(Id, Id)>,
    Params(which): Params<Which>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response> {
    let profile = match which.stream.as_deref() {
        None => Profile::Main,
        Some(text) => Profile::parse(text).ok_or_else(|| {
            Problem::bad_request("bad_stream", format!("no stream {text:?}"), "Use main, sub or third.")
        })?,
    };
    let offer = sdp_body(&headers, &body, "application/sdp")?;
    let answer = api.node.watch(Key { device, channel, profile }, offer).await?;
    let location = format!("/whep/{device}/{channel}/{}", answer.id);
    let sdp = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/sdp")),
        (header::LOCATION, header_value(&location)?),
        (header::ETAG, header_value(&answer.etag)?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((StatusCode::CREATED, sdp, answer.sdp).into_response())
}

/// A preflight, or a player that asks what may be posted. Needs no sign-in.
pub(super) async fn whep_options() -> impl IntoResponse {
    (
        StatusCode::NO_CONTENT,
        [
            (header::ALLOW, "OPTIONS, POST, PATCH, DELETE"),
            (header::HeaderName::from_static("accept-post"), "application/sdp"),
            (header::HeaderName::from_static("accept-patch"), "application/trickle-ice-sdpfrag"),
        ],
    )
}

pub(super) async fn whep_trickle(
    State(api): State<Api>,
    Segments((_, _, id)): Segments<(Id, Id, String)>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<StatusCode> {
    let fragment = sdp_body(&headers, &body, "application/trickle-ice-sdpfrag")?;
    // Every fragment has attributes (RFC 8840 section 9).
    if !fragment.lines().any(|line| line.starts_with("a=")) {
        return Err(Problem::bad_request(
            "bad_fragment",
            "the body is no SDP fragment",
            "See RFC 8840, section 9.",
        ));
    }
    let etag = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    api.node.hub().trickle(&id, etag, fragment).map_err(|error| match error {
        TrickleError::NotFound => Problem::not_found(format!("no viewer {id}")),
        TrickleError::Restart => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "no_restart",
            "ice",
            error.to_string(),
            "End this session and begin a new one.",
        ),
        TrickleError::Precondition => Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "other_session",
            "ice",
            error.to_string(),
            "Use the ETag of the 201.",
        ),
    })?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn whep_end(
    State(api): State<Api>,
    Segments((_, _, id)): Segments<(Id, Id, String)>,
) -> Result<StatusCode> {
    if api.node.hub().close(&id) {
        Ok(StatusCode::OK)
    } else {
        Err(Problem::not_found(format!("no viewer {id}")))
    }
}

fn sdp_body<'a>(headers: &HeaderMap, body: &'a Bytes, wanted: &'static str) -> Result<&'a str> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "bad_content_type",
            "request",
            format!("Content-Type is {given:?}, not {wanted}"),
            "Set the Content-Type that WHEP asks for.",
        ));
    }
    let bad = |_| Problem::bad_request("bad_offer", "the body is not UTF-8", "Send the SDP as it is.");
    std::str::from_utf8(body).map_err(bad)
}

fn header_value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| Problem::not_found("no such resource"))
}
