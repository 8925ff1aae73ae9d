//! Errors as problem documents (RFC 9457) with the house's members `code`, `step` and `hint`.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::call::{self, Reason};
use crate::device;
use crate::egress::webrtc::OfferError;
use crate::gb::manscdp::config::BadConfig;
use crate::gb::manscdp::control::BadValue;
use crate::node::{TalkError, WatchError};
use crate::store::StoreError;

/// A failed request. Serialised it is the body; `status` is also the HTTP status.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    r#type: NoType,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    detail: Box<str>,
    code: &'static str,
    step: &'static str,
    hint: &'static str,
    /// The member of the body or the parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<Box<str>>,
    #[serde(skip)]
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// The `type` of a problem whose `code` says it all (RFC 9457 section 4.2.1).
#[derive(Debug, Serialize)]
enum NoType {
    #[serde(rename = "about:blank")]
    AboutBlank,
}

fn number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        step: &'static str,
        detail: impl Into<String>,
        hint: &'static str,
    ) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error");
        Problem {
            r#type: NoType::AboutBlank,
            title,
            status,
            detail: detail.into().into(),
            code,
            step,
            hint,
            field: None,
            header: None,
        }
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn of_field(mut self, field: impl Into<String>) -> Problem {
        let field: Box<str> = field.into().into();
        self.field = (!field.is_empty()).then_some(field);
        self
    }

    /// A member or parameter whose value cannot be.
    pub(super) fn bad_value(field: impl Into<String>, why: impl Into<String>) -> Problem {
        let hint = "Change the value that `field` names; /api/openapi.json has what is allowed.";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", "request", why, hint).of_field(field)
    }

    /// A body that is JSON, but not of the form asked for.
    pub(super) fn bad_body(error: &serde_json::Error) -> Problem {
        let why = error.to_string();
        let hint = "See /api/openapi.json for the members of this body.";
        let field = named_in(&why);
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", "request", why, hint).of_field(field)
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Problem {
        self.header = HeaderValue::from_maybe_shared(value.into()).ok().map(|value| Box::new((name, value)));
        self
    }

    pub(super) fn not_found(what: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", "lookup", what, "Check the path and the ids in it.")
    }

    /// Something that cannot be, as far as we know.
    pub(super) fn internal(what: impl Into<String>) -> Problem {
        let hint = "This is a fault of gbgate; please report it with the log.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "gateway", what, hint)
    }

    pub(super) fn bad_request(code: &'static str, detail: impl Into<String>, hint: &'static str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, "request", detail, hint)
    }
}

/// The member that a message of serde names: "unknown field `x`", "missing field `x`"; else nothing.
pub(super) fn named_in(message: &str) -> String {
    let rest = message.split_once(" field `").map_or("", |(_, rest)| rest);
    rest.split_once('`').map_or("", |(name, _)| name).to_owned()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let header = self.header.clone();
        let mut response = (self.status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = header.map(|header| *header) {
            headers.insert(name, value);
        }
        response
    }
}

impl From<call::Failure> for Problem {
    fn from(failure: call::Failure) -> Problem {
        let status = match failure.reason {
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::DeviceOffline => StatusCode::CONFLICT,
            Reason::InviteTimeout
            | Reason::NoRtp
            | Reason::NoKeyFrame
            | Reason::ControlTimeout
            | Reason::TalkTimeout => StatusCode::GATEWAY_TIMEOUT,
            // The gateway itself refused, since the playback is not in a state for it.
            Reason::TalkBusy | Reason::ControlRefused(0) => StatusCode::CONFLICT,
            Reason::InviteRefused(_) | Reason::ControlRefused(_) | Reason::TalkRefused => {
                StatusCode::BAD_GATEWAY
            }
            Reason::EndOfFile => StatusCode::GONE,
            Reason::NoCapacity | Reason::Ended | Reason::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem =
            Problem::new(status, failure.code(), failure.step(), failure.detail.clone(), failure.hint());
        if failure.is_transient() { problem.with_header(header::RETRY_AFTER, "10") } else { problem }
    }
}

impl From<device::Failure> for Problem {
    fn from(failure: device::Failure) -> Problem {
        use device::Failure as F;
        let status = match failure {
            F::NotFound => StatusCode::NOT_FOUND,
            F::Offline => StatusCode::CONFLICT,
            F::Unsupported { .. } | F::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            F::Busy => StatusCode::TOO_MANY_REQUESTS,
            F::NotAcknowledged | F::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
            F::Refused(_) | F::Failed(_) => StatusCode::BAD_GATEWAY,
            F::NotKept => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Problem::new(status, failure.code(), failure.step(), failure.detail(), failure.hint());
        match failure {
            F::Offline | F::Busy | F::NotKept => problem.with_header(header::RETRY_AFTER, "10"),
            // "field why": what is wrong comes first.
            F::Invalid(why) => problem.of_field(why.split(' ').next().unwrap_or_default()),
            _ => problem,
        }
    }
}

impl From<BadValue> for Problem {
    fn from(bad: BadValue) -> Problem {
        Problem::bad_value(bad.field, bad.to_string())
    }
}

impl From<BadConfig> for Problem {
    fn from(bad: BadConfig) -> Problem {
        let detail = bad.to_string();
        Problem::bad_value(bad.path, detail)
    }
}

impl From<TalkError> for Problem {
    fn from(error: TalkError) -> Problem {
        match error {
            TalkError::Play(failure) => failure.into(),
            TalkError::Offer(error) => error.into(),
        }
    }
}

impl From<WatchError> for Problem {
    fn from(error: WatchError) -> Problem {
        match error {
            WatchError::Play(failure) => failure.into(),
            WatchError::Offer(error) => error.into(),
        }
    }
}

impl From<OfferError> for Problem {
    fn from(error: OfferError) -> Problem {
        let detail = error.to_string();
        match error {
            OfferError::BadOffer(_) => {
                Problem::bad_request("bad_offer", detail, "Send the SDP offer of a browser, as it is.")
            }
            OfferError::NoCommonCodec => Problem::new(
                StatusCode::NOT_ACCEPTABLE,
                "no_common_codec",
                "offer",
                detail,
                "Browsers receive H.264 by WebRTC; set the camera to H.264, or watch another of its streams.",
            ),
            OfferError::Internal(_) => Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "offer",
                detail,
                "This is a fault of gbgate; please report it with the offer.",
            ),
            OfferError::Full | OfferError::Closed => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_capacity",
                "offer",
                detail,
                "This node has as many viewers as it takes; try again later.",
            )
            .with_header(header::RETRY_AFTER, "10"),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "registry_unavailable",
            "registry",
            error.to_string(),
            "See /readyz and the log; the change was not kept.",
        )
    }
}
