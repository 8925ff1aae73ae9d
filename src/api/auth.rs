//! The one place where requests are let in: HTTP Basic, Bearer, and `?token=` for players that can't send a header.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;

use super::Api;
use super::problem::Problem;
use super::snapshots;
use crate::access::{Caller, Credentials, Denied, Principal, Reason};
use crate::net::clock;
use crate::telemetry::metrics as names;

/// Paths that need no sign-in: whether this node lives is no secret, and one has to be able to sign in. Cameras that
/// bring a snapshot do not sign in either: they know the session.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/api/v1/login"];

/// The console asks without credentials of the browser's own, so that no window of the browser comes before its own.
const CHALLENGE: &str = "Basic realm=\"gbgate\", Bearer realm=\"gbgate\"";

/// Lets a request through, with its [`Principal`] attached, or denies it.
pub(super) async fn require(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if request.method() == Method::OPTIONS || OPEN.contains(&path) || path.starts_with(snapshots::UPLOAD) {
        return next.run(request).await;
    }
    let authorised = {
        let caller = caller(&api, peer, request.headers(), request.uri().host());
        let credentials = credentials(&request);
        credentials
            .map_err(Denied::from)
            .and_then(|credentials| api.guard.lock().authorise(&credentials, &caller, clock::now()))
    };
    match authorised {
        Ok(principal) => {
            request.extensions_mut().insert::<Principal>(principal);
            next.run(request).await
        }
        Err(denied) => deny(denied).into_response(),
    }
}

/// Where a request comes from.
pub(super) fn caller(api: &Api, peer: SocketAddr, headers: &HeaderMap, authority: Option<&str>) -> Caller {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let host = text(header::HOST).or(authority);
    Caller::new(peer.ip(), host, text(header::ORIGIN), &api.info.cors_origins)
}

fn credentials(request: &Request) -> Result<Credentials, Reason> {
    let authorization = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str());
    let authorization = authorization.transpose().map_err(|_| Reason::Malformed)?;
    // Only media addresses take the token in the query, where it ends up in logs and histories.
    let media = is_media(request.uri().path());
    let query = request.uri().query().filter(|_| media).unwrap_or_default();
    let token = query.split('&').find_map(|pair| pair.strip_prefix("token="));
    Credentials::parse(authorization, token)
}

/// What is opened by players, and fetched by a browser on its own.
fn is_media(path: &str) -> bool {
    let file = path.starts_with("/api/v1/downloads/") && path.ends_with("/file");
    file || ["/whep/", "/whip/", "/live/", "/api/v1/snapshots/"].iter().any(|media| path.starts_with(media))
}

/// The answer to a request that is denied.
pub(super) fn deny(denied: Denied) -> Problem {
    counter!(names::AUTH_FAILURES, "reason" => denied.reason.code()).increment(1);
    let status = match denied.reason {
        reason if reason.asks_for_sign_in() => StatusCode::UNAUTHORIZED,
        Reason::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
        Reason::NoPassword => StatusCode::CONFLICT,
        _ => StatusCode::FORBIDDEN,
    };
    let hint = match denied.reason {
        Reason::TooManyAttempts => "Wait as long as Retry-After says.",
        Reason::NotLoopback | Reason::NoPassword => "Set access.bootstrap_admin_password and restart.",
        Reason::ForeignOrigin => "Add the origin to http.cors_origins.",
        _ => "POST /api/v1/login gives a token for Authorization: Bearer; HTTP Basic works, too.",
    };
    let problem = Problem::new(status, denied.reason.code(), "sign_in", denied.to_string(), hint);
    match denied.retry_after {
        Some(wait) => problem.with_header(header::RETRY_AFTER, seconds(wait)),
        None if status == StatusCode::UNAUTHORIZED => {
            problem.with_header(header::WWW_AUTHENTICATE, CHALLENGE)
        }
        None => problem,
    }
}

fn seconds(wait: Duration) -> String {
    wait.as_secs().max(1).to_string()
}
