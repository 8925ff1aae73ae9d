//! HTTP: the API under `/api/v1`, WHEP, health and metrics. Every error is a problem document.

mod auth;
mod devices;
mod events;
mod extract;
mod problem;
mod service;
mod streams;
mod tree;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::access::Guard;
use crate::gb::sdp::MediaMode;
use crate::gb::time::Offset;
use crate::node::Node;
use crate::registry::BadCursor;
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
    /// Who may come in.
    pub guard: Arc<Mutex<Guard>>,
    /// The metrics, to be rendered.
    pub metrics: Metrics,
    /// The node's health.
    pub health: Health,
    /// Fires when the gateway shuts down: what never ends by itself ends then.
    pub stop: CancellationToken,
}

/// The routes of the API and of WHEP; and those of the console.
pub fn router(api: Api, console: Router) -> Router {
    let cors = cors(&api.info.cors_origins);
    let v1 = Router::new()
        .route("/login", post(service::login))
        .route("/logout", post(service::logout))
        .route("/me", get(service::me))
        .route("/node", get(service::node))
        .route("/devices", get(devices::list).post(devices::add))
        .route("/devices/{device}", get(devices::show).patch(devices::edit).delete(devices::remove))
        .route("/devices/{device}/catalog", post(devices::sync))
        .route("/devices/{device}/channels", get(devices::channels_of))
        .route("/devices/{device}/channels/{channel}", get(devices::channel))
        .route("/channels", get(devices::channels))
        .route("/tree", get(tree::level))
        .route("/streams", get(streams::list))
        .route("/streams/{id}", get(streams::show).delete(streams::stop))
        .route("/events", get(events::follow))
        .fallback(no_such_path);
    let whep = Router::new()
        .route("/{device}/{channel}", post(streams::whep).options(streams::whep_options))
        .route(
            "/{device}/{channel}/{id}",
            axum::routing::patch(streams::whep_trickle)
                .delete(streams::whep_end)
                .options(streams::whep_options),
        )
        .fallback(no_such_path);
    Router::new()
        .nest("/api/v1", v1)
        .nest("/whep", whep)
        .route("/metrics", get(service::metrics))
        .route("/healthz", get(service::healthz))
        .route("/readyz", get(service::readyz))
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(api.clone(), auth::require))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(cors)
        .with_state(api)
        // The console's files hold nothing secret, and it has to load before anybody can sign in.
        .merge(console)
        .fallback(no_such_path)
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

async fn no_such_path() -> impl IntoResponse {
    Problem::not_found("no such path")
}

async fn wrong_method() -> impl IntoResponse {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "request",
        "this path does not have that method",
        "See the list of paths in the README.",
    )
}

impl From<BadCursor> for Problem {
    fn from(bad: BadCursor) -> Problem {
        Problem::bad_request("bad_cursor", bad.to_string(), "Use the value of `next` of the page before.")
    }
}
