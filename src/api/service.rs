//! The node itself: sign-in, version and ports, health, metrics.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use metrics::gauge;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth;
use super::extract::Body;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::access::{Principal, Reason};
use crate::net::clock;
use crate::node::Report;
use crate::registry::StreamKind;
use crate::telemetry::metrics as names;

/// Name and password.
#[derive(Deserialize)]
pub(super) struct SignIn {
    username: String,
    password: String,
}

pub(super) async fn login(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(sign_in): Body<SignIn>,
) -> Result<Json<Value>> {
    let caller = auth::caller(&api, peer, &headers, None);
    let login =
        api.guard.lock().login(&sign_in.username, &sign_in.password, &caller, rand::random(), clock::now());
    let outcome = login.as_ref().err().map_or("ok", |denied| denied.reason.code());
    // Whoever has to wait would fill the record: the failures before say the same.
    if outcome != Reason::TooManyAttempts.code() {
        Who::signing_in(&sign_in.username, peer).did(&api, Deed::new("login"), outcome);
    }
    let login = login.map_err(auth::deny)?;
    Ok(Json(json!({
        "token": login.token,
        "expires_in": login.expires_in.as_secs(),
        "user": login.principal.user,
        "role": login.principal.role,
    })))
}

pub(super) async fn logout(State(api): State<Api>, headers: HeaderMap) -> StatusCode {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.split_once(' ')).map(|(_, token)| token.trim());
    if let Some(token) = token {
        api.guard.lock().logout(token);
    }
    StatusCode::NO_CONTENT
}

pub(super) async fn me(Extension(principal): Extension<Principal>) -> Json<Value> {
    Json(json!({ "user": principal.user, "role": principal.role }))
}

pub(super) async fn node(State(api): State<Api>) -> Json<Value> {
    let info = &api.info;
    let (webrtc_udp, webrtc_tcp) = (api.node.hub().udp_addr(), api.node.hub().tcp_addr());
    let (registrations, calls) = api.node.load().await;
    let totals = api.node.index().totals();
    Json(json!({
        "node": info.node,
        "version": env!("CARGO_PKG_VERSION"),
        "platform": { "id": info.platform.0, "domain": info.platform.1 },
        "listen": {
            "sip_udp": first(&info.sip_udp),
            "sip_tcp": first(&info.sip_tcp),
            "sip_tls": first(&info.sip_tls),
            "http": info.http.to_string(),
            "webrtc_udp": webrtc_udp.map(|address| address.to_string()),
            "webrtc_tcp": webrtc_tcp.map(|address| address.to_string()),
        },
        "load": {
            "devices": totals.devices,
            "devices_online": totals.devices_online,
            "channels": totals.channels,
            "channels_online": totals.channels_online,
            "registrations": registrations,
            "calls": calls,
            "streams": api.node.streams().len(),
            "viewers": api.node.hub().viewers(),
        },
        "now": clock::unix().to_rfc3339(info.offset),
    }))
}

/// Listeners with several addresses show the first; all are in the log.
fn first(addresses: &[SocketAddr]) -> Option<String> {
    addresses.first().map(SocketAddr::to_string)
}

/// The kinds of calls, as the metrics name them.
const KINDS: [(StreamKind, &str); 4] = [
    (StreamKind::Live, "live"),
    (StreamKind::Playback, "playback"),
    (StreamKind::Download, "download"),
    (StreamKind::Talk, "talk"),
];

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let totals = api.node.index().totals();
    let (registrations, _) = api.node.load().await;
    gauge!(names::DEVICES, "state" => "online").set(totals.devices_online as f64);
    gauge!(names::DEVICES, "state" => "offline").set((totals.devices - totals.devices_online) as f64);
    gauge!(names::CHANNELS, "state" => "online").set(totals.channels_online as f64);
    gauge!(names::CHANNELS, "state" => "offline").set((totals.channels - totals.channels_online) as f64);
    gauge!(names::REGISTRATIONS).set(registrations as f64);
    let streams = api.node.streams();
    for (kind, name) in KINDS {
        for state in ["inviting", "waiting", "running"] {
            let counts = |report: &&Report| report.key.kind() == kind && report.state == state;
            let count = streams.iter().filter(counts).count();
            gauge!(names::CALLS, "kind" => name, "state" => state).set(count as f64);
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics.render())
        .into_response()
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let report = api.health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}
