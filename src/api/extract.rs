//! Extractors whose refusals are problem documents.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};

use serde::de::DeserializeOwned;

use super::problem::{Problem, named_in};

/// The query string.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(super) struct Params<T>(pub(super) T);

/// The variable segments of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(super) struct Segments<T>(pub(super) T);

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub(super) struct Body<T>(pub(super) T);

/// Any body, as it is.
pub(super) struct Raw(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Raw, Problem> {
        Ok(Raw(Bytes::from_request(request, state).await?))
    }
}

/// A JSON body that may be left out: then it is the default.
pub(super) struct Optional<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for Optional<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Optional<T>, Problem> {
        let bytes = Bytes::from_request(request, state).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Optional(T::default()));
        }
        let Json(value) = Json::from_bytes(&bytes)?;
        Ok(Optional(value))
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Problem {
        let hint = "Send a smaller body: an SDP offer has some 10 kB.";
        Problem::new(rejection.status(), "bad_body", "request", rejection.body_text(), hint)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::bad_request(
            "bad_query",
            rejection.body_text(),
            "Check the parameters behind the question mark.",
        )
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::bad_request(
            "bad_path",
            rejection.body_text(),
            "Ids are up to 32 letters, digits, '_', '.' and '-'.",
        )
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        let hint = "Send a JSON object with Content-Type: application/json, as /api/openapi.json has it.";
        let why = rejection.body_text();
        let field = field_of(&why);
        Problem::new(rejection.status(), "bad_body", "request", why, hint).of_field(field)
    }
}

/// The member that a refusal of a body is about: its path stands before the reason, or its name in it.
fn field_of(why: &str) -> String {
    let reason = why.split_once("target type: ").map_or("", |(_, reason)| reason);
    match reason.split_once(": ") {
        Some((path, _)) if !path.contains(' ') && path != "." => path.to_owned(),
        _ => named_in(reason),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is only read into")]
    struct Probe {
        pan: f64,
    }

    #[test]
    fn a_refusal_names_the_member_that_is_wrong() {
        let field =
            |body: &str| field_of(&Json::<Probe>::from_bytes(body.as_bytes()).unwrap_err().body_text());
        assert_eq!(field("{\"pan\": \"left\"}"), "pan");
        assert_eq!(field("{\"pan\": 1, \"tild\": 1}"), "tild");
        assert_eq!(field("{}"), "pan");
        assert_eq!(field("{"), "");
    }
}
