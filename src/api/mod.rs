//! HTTP: the API under `/api/v1`, WHEP and WHIP, streams, health and metrics. Every error is a problem document.

mod alarms;
mod ask;
mod audit;
mod auth;
mod config;
mod conformance;
mod control;
mod devices;
mod downloads;
mod events;
mod extract;
mod media;
mod openapi;
mod playback;
mod problem;
mod ptz;
mod record;
mod records;
mod routes;
mod service;
mod snapshots;
mod stats;
mod streams;
mod subscriptions;
mod tree;
mod whep;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, header};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::access::Guard;
use crate::gb::sdp::MediaMode;
use crate::gb::time::Offset;
use crate::node::Node;
use crate::registry::{BadCursor, Profiles};
use crate::telemetry::{Health, Metrics};

use problem::Problem;

type Result<T> = std::result::Result<T, Problem>;

/// The largest body of a request. An SDP offer of a browser has some 10 kB.
const MAX_BODY: usize = 64 * 1024;

/// What the API says of this node.
#[derive(Clone, Debug)]
pub struct Info {
    /// The node's name.
    pub node: String,
    /// The platform's id and domain.
    pub platform: (String, String),
    /// The platform's time zone, in which times are written.
    pub offset: Offset,
    /// How devices send media that have no setting of their own.
    pub media_transport: MediaMode,
    /// SIP over UDP.
    pub sip_udp: Vec<SocketAddr>,
    /// SIP over TCP.
    pub sip_tcp: Vec<SocketAddr>,
    /// SIP over TLS.
    pub sip_tls: Vec<SocketAddr>,
    /// This API.
    pub http: SocketAddr,
    /// Whether it is spoken to under TLS.
    pub http_tls: bool,
    /// Origins of other sites that may use the API from a browser; `*` for all.
    pub cors_origins: Vec<String>,
}

/// What every handler may use.
#[derive(Clone)]
pub struct Api {
    /// The node.
    pub node: Node,
    /// What does not change while it runs.
    pub info: Arc<Info>,
    /// How vendors' devices are dealt with.
    pub profiles: Arc<Profiles>,
    /// What the API itself remembers.
    pub kept: Arc<Kept>,
    /// Who may come in.
    pub guard: Arc<Mutex<Guard>>,
    /// The metrics, to be rendered.
    pub metrics: Metrics,
    /// The node's health.
    pub health: Health,
    /// Fires when the gateway shuts down: what never ends by itself ends then.
    pub stop: CancellationToken,
}

/// What the API itself remembers, in memory and within bounds: motions that will end, snapshots that have come.
#[derive(Debug, Default)]
pub struct Kept {
    motions: ptz::Motions,
    snapshots: snapshots::Snapshots,
}

/// The routes of the API and of WHEP; and those of the console.
pub fn router(api: Api, console: Router) -> Router {
    let cors = cors(&api.info.cors_origins);
    routes::all()
        .layer(axum::middleware::from_fn_with_state(api.clone(), auth::require))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(cors)
        .with_state(api)
        // The console's files hold nothing secret, and it has to load before anybody can sign in.
        .merge(console)
        .fallback(routes::no_such_path)
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PATCH,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH])
        .expose_headers([header::LOCATION, header::ETAG, header::LINK, header::RETRY_AFTER])
}

impl From<BadCursor> for Problem {
    fn from(bad: BadCursor) -> Problem {
        Problem::bad_request("bad_cursor", bad.to_string(), "Use the value of `next` of the page before.")
    }
}
