//! WHEP and WHIP: a viewer's offer for a stream, a speaker's offer for a loudspeaker, and what follows them
//! (draft-ietf-wish-whep, RFC 9725).

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::extract::{Params, Raw, Segments};
use super::playback;
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::call::{Key, Profile};
use crate::egress::webrtc::{Answer, TrickleError};
use crate::gb::id::Id;

/// The body of an offer, and of its answer.
const SDP: &str = "application/sdp";
/// The body of candidates that come later (RFC 8840).
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Which of the channel's streams.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    pub(super) stream: Option<String>,
}

impl Which {
    /// The main stream where nothing is said.
    pub(super) fn profile(&self) -> Result<Profile> {
        match self.stream.as_deref() {
            None => Ok(Profile::Main),
            Some(text) => Profile::parse(text).ok_or_else(|| {
                Problem::bad_request("bad_stream", format!("no stream {text:?}"), "Use main, sub or third.")
                    .of_field("stream")
            }),
        }
    }
}

pub(super) async fn watch(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    Params(which): Params<Which>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response> {
    let profile = which.profile()?;
    let offer = sdp_body(&headers, &body, SDP)?;
    let deed = Deed::new("watch").at(device, channel).saying(profile.as_str());
    let key = Key::live(device, channel, profile);
    let answer = who.does(&api, deed, async { Ok(api.node.watch(key, offer).await?) }).await?;
    created(&format!("/whep/{device}/{channel}"), answer)
}

/// Watches a playback that runs.
pub(super) async fn watch_playback(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response> {
    let (call, report) = playback::find(&api, &id)?;
    let offer = sdp_body(&headers, &body, SDP)?;
    let deed = Deed::new("watch").at(report.device, report.channel).saying("playback");
    let answer = who.does(&api, deed, async { Ok(api.node.watch_call(call, offer).await?) }).await?;
    created(&format!("/whep/playbacks/{id}"), answer)
}

/// Talks to a channel.
pub(super) async fn talk(
    State(api): State<Api>,
    who: Who,
    Segments((device, channel)): Segments<(Id, Id)>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response> {
    let offer = sdp_body(&headers, &body, SDP)?;
    let deed = Deed::new("talk").at(device, channel);
    let answer = who.does(&api, deed, async { Ok(api.node.talk(device, channel, offer).await?) }).await?;
    created(&format!("/whip/{device}/{channel}"), answer)
}

fn created(place: &str, answer: Answer) -> Result<Response> {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(SDP)),
        (header::LOCATION, header_value(&format!("{place}/{}", answer.id))?),
        (header::ETAG, header_value(&answer.etag)?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((StatusCode::CREATED, headers, answer.sdp).into_response())
}

/// A preflight, or a player that asks what may be posted. Needs no sign-in.
pub(super) async fn options() -> impl IntoResponse {
    (
        StatusCode::NO_CONTENT,
        [
            (header::ALLOW, "OPTIONS, POST, PATCH, DELETE"),
            (header::HeaderName::from_static("accept-post"), SDP),
            (header::HeaderName::from_static("accept-patch"), FRAGMENT),
        ],
    )
}

pub(super) async fn trickle(
    State(api): State<Api>,
    Segments((_, _, id)): Segments<(String, String, String)>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<StatusCode> {
    candidates(&api, &id, &headers, &body)
}

pub(super) async fn trickle_playback(
    State(api): State<Api>,
    Segments((_, id)): Segments<(String, String)>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<StatusCode> {
    candidates(&api, &id, &headers, &body)
}

/// Takes candidates that come after the offer.
fn candidates(api: &Api, id: &str, headers: &HeaderMap, body: &Bytes) -> Result<StatusCode> {
    let fragment = sdp_body(headers, body, FRAGMENT)?;
    // Every fragment has attributes (RFC 8840 section 9).
    if !fragment.lines().any(|line| line.starts_with("a=")) {
        return Err(Problem::bad_request(
            "bad_fragment",
            "the body is no SDP fragment",
            "See RFC 8840, section 9.",
        ));
    }
    let etag = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    api.node.hub().trickle(id, etag, fragment).map_err(|error| match error {
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

pub(super) async fn end(
    State(api): State<Api>,
    Segments((_, _, id)): Segments<(String, String, String)>,
) -> Result<StatusCode> {
    leave(&api, &id)
}

pub(super) async fn end_playback(
    State(api): State<Api>,
    Segments((_, id)): Segments<(String, String)>,
) -> Result<StatusCode> {
    leave(&api, &id)
}

fn leave(api: &Api, id: &str) -> Result<StatusCode> {
    if api.node.hub().close(id) {
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
