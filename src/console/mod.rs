//! The operations console: a page, a style sheet and plain ES modules, embedded in the binary.
//!
//! `GET /` answers the page, `GET /assets/{path}` all else under `web/`. There is no build step: what is
//! in `web/` is what the browser runs. Debug builds read the files at run time, so that an edit shows on
//! reload; release builds carry them.
//!
//! The assets hold no secret and need no sign-in: the page asks for it when the API answers 401.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/src/console/web"]
struct Web;

/// All that the page may do: its own scripts, styles and images, and requests to the address that served
/// it. `blob:` lets it keep a snapshot; no script from a string, no frame around it, no form sent anywhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Names carry no digest of the content, so the browser keeps a copy but asks each time whether it is the
/// current one (the answer is 304 by ETag): after an upgrade nobody runs yesterday's console.
const CACHE_CONTROL: &str = "no-cache";

/// The console's routes, to be merged at the root of any router.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(page)).route("/assets/{*path}", get(asset))
}

async fn page(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    serve(&path, &headers)
}

fn serve(path: &str, request: &HeaderMap) -> Response {
    // Only names that a file of ours can have reach the disk in a debug build.
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    let found = if plain { Web::get(path).zip(content_type(path)) } else { None };
    let Some((file, content_type)) = found else {
        return (StatusCode::NOT_FOUND, fixed_headers(), "not found\n").into_response();
    };
    let etag = etag(&file);
    let current = request
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| names_tag(known, &etag));
    let mut response =
        if current { StatusCode::NOT_MODIFIED.into_response() } else { file.data.into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL));
    if let Ok(value) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, value);
    }
    headers.extend(fixed_headers());
    response
}

fn fixed_headers() -> HeaderMap {
    let pairs: [(HeaderName, &'static str); 3] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    pairs.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// The types that the console is made of; a file of another type is not served.
fn content_type(path: &str) -> Option<&'static str> {
    match path.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

/// A strong tag: half of the SHA-256 of the content.
fn etag(file: &EmbeddedFile) -> String {
    let digest = file.metadata.sha256_hash();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// If-None-Match compares weakly (RFC 9110 13.1.2), so `W/` is left aside.
fn names_tag(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests;
