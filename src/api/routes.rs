//! Which path has which handler. The OpenAPI document has the same paths; a test compares them.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use super::problem::Problem;
use super::{
    Api, alarms, audit, config, conformance, control, devices, downloads, events, media, openapi, playback,
    ptz, records, service, snapshots, stats, streams, subscriptions, tree, whep,
};

/// All routes of the gateway, but for the console.
pub(super) fn all() -> Router<Api> {
    let v1 = v1().merge(channels()).merge(recordings()).merge(operations());
    Router::new()
        .nest("/api/v1", v1.fallback(no_such_path))
        .nest("/whep", whep().fallback(no_such_path))
        .nest("/whip", whip().fallback(no_such_path))
        .nest("/live", live().fallback(no_such_path))
        .nest("/upload/snapshots", upload().fallback(no_such_path))
        .merge(root())
        .method_not_allowed_fallback(wrong_method)
}

fn root() -> Router<Api> {
    Router::new()
        .route("/metrics", get(service::metrics))
        .route("/healthz", get(service::healthz))
        .route("/readyz", get(service::readyz))
        .route("/api/openapi.json", get(openapi::document))
}

fn v1() -> Router<Api> {
    Router::new()
        .route("/login", post(service::login))
        .route("/logout", post(service::logout))
        .route("/me", get(service::me))
        .route("/node", get(service::node))
        .route("/devices", get(devices::list).post(devices::add))
        .route("/devices/{device}", get(devices::show).patch(devices::edit).delete(devices::remove))
        .route("/devices/{device}/catalog", post(devices::sync))
        .route("/devices/{device}/info", get(control::info))
        .route("/devices/{device}/status", get(control::status))
        .route("/devices/{device}/sd-cards", get(control::sd_cards))
        .route("/devices/{device}/control/{command}", post(control::command))
        .route("/devices/{device}/config/{kind}", get(config::read).put(config::write))
        .route("/devices/{device}/subscriptions", get(subscriptions::show).put(subscriptions::set))
        .route("/devices/{device}/selftest", post(control::self_test))
        .route("/devices/{device}/conformance", get(conformance::show))
        .route("/devices/{device}/conformance.csv", get(conformance::csv))
        .route("/devices/{device}/channels", get(devices::channels_of))
        .route("/channels", get(devices::channels))
        .route("/tree", get(tree::level))
        .route("/config-kinds", get(config::kinds))
        .route("/profiles", get(devices::profiles))
}

/// What is done with one channel.
fn channels() -> Router<Api> {
    Router::new()
        .route("/devices/{device}/channels/{channel}", get(devices::channel))
        .route("/devices/{device}/channels/{channel}/ptz", post(ptz::motion))
        .route("/devices/{device}/channels/{channel}/focus", post(ptz::focus))
        .route("/devices/{device}/channels/{channel}/iris", post(ptz::iris))
        .route("/devices/{device}/channels/{channel}/preset", get(ptz::presets).post(ptz::preset))
        .route("/devices/{device}/channels/{channel}/cruise", get(ptz::cruises).post(ptz::cruise))
        .route("/devices/{device}/channels/{channel}/cruise/{number}", get(ptz::cruise_track))
        .route("/devices/{device}/channels/{channel}/scan", post(ptz::scan))
        .route("/devices/{device}/channels/{channel}/aux", post(ptz::auxiliary))
        .route("/devices/{device}/channels/{channel}/home", get(ptz::home).post(ptz::set_home))
        .route("/devices/{device}/channels/{channel}/position", get(ptz::position).post(ptz::look))
        .route("/devices/{device}/channels/{channel}/drag-zoom", post(ptz::drag_zoom))
        .route("/devices/{device}/channels/{channel}/records", get(records::list))
}

fn recordings() -> Router<Api> {
    Router::new()
        .route("/playbacks", get(playback::list).post(playback::start))
        .route("/playbacks/{id}", get(playback::show).delete(playback::stop))
        .route("/playbacks/{id}/pause", post(playback::pause))
        .route("/playbacks/{id}/resume", post(playback::resume))
        .route("/playbacks/{id}/seek", post(playback::seek))
        .route("/playbacks/{id}/speed", post(playback::set_speed))
        .route("/downloads", get(downloads::list).post(downloads::start))
        .route("/downloads/{id}", get(downloads::show).delete(downloads::remove))
        .route("/downloads/{id}/file", get(downloads::file))
        .route("/snapshots/{session}", get(snapshots::show))
        .route("/snapshots/{session}/{name}", get(snapshots::picture))
}

fn operations() -> Router<Api> {
    Router::new()
        .route("/streams", get(streams::list))
        .route("/streams/{id}", get(streams::show).delete(streams::stop))
        .route("/alarms", get(alarms::list).post(alarms::raise))
        .route("/alarms/{id}", get(alarms::show).patch(alarms::change))
        .route("/alarms/{id}/reset", post(alarms::reset))
        .route("/stats/online", get(stats::online))
        .route("/stats/faults", get(stats::faults))
        .route("/stats/conformance", get(stats::conformance))
        .route("/audit", get(audit::list))
        .route("/events", get(events::follow))
}

fn whep() -> Router<Api> {
    Router::new()
        .route("/{device}/{channel}", post(whep::watch).options(whep::options))
        .route(
            "/{device}/{channel}/{id}",
            axum::routing::patch(whep::trickle).delete(whep::end).options(whep::options),
        )
        .route("/playbacks/{id}", post(whep::watch_playback).options(whep::options))
        .route(
            "/playbacks/{id}/{viewer}",
            axum::routing::patch(whep::trickle_playback).delete(whep::end_playback).options(whep::options),
        )
}

fn whip() -> Router<Api> {
    Router::new().route("/{device}/{channel}", post(whep::talk).options(whep::options)).route(
        "/{device}/{channel}/{id}",
        axum::routing::patch(whep::trickle).delete(whep::end).options(whep::options),
    )
}

fn live() -> Router<Api> {
    Router::new()
        .route("/{device}/{file}", get(media::live))
        .route("/{device}/{channel}/{file}", get(media::hls))
        .route("/playbacks/{file}", get(media::recorded))
}

/// Pictures are larger than anything else that is sent here.
fn upload() -> Router<Api> {
    Router::new()
        .route("/{session}", post(snapshots::upload).put(snapshots::upload))
        .route("/{session}/{name}", post(snapshots::upload_named).put(snapshots::upload_named))
        .layer(DefaultBodyLimit::max(snapshots::MAX_PICTURE))
}

pub(super) async fn no_such_path() -> impl IntoResponse {
    Problem::not_found("no such path")
}

async fn wrong_method() -> impl IntoResponse {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "request",
        "this path does not have that method",
        "GET /api/openapi.json has all paths and their methods.",
    )
}

#[cfg(test)]
mod tests {
    /// A router that has two handlers for one path refuses to be built.
    #[test]
    fn no_path_contradicts_another() {
        assert!(super::all().has_routes());
    }
}
