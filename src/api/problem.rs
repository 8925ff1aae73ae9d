//! Errors as problem documents (RFC 9457) with the house's members `code`, `step` and `hint`.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::call::{self, Reason};
use crate::device;
use crate::egress::webrtc::OfferError;
use crate::node::WatchError;
use crate::store::StoreError;

/// A failed request. Serialised it is the body; `status` is also the HTTP status.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    r#type: &'static str,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    detail: String,
    code: &'static str,
    step: &'static str,
    hint: &'static str,
    #[serde(skip)]
    header: Option<Box<(HeaderName, HeaderValue)>>,
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
            r#type: "about:blank",
            title,
            status,
            detail: detail.into(),
            code,
            step,
            hint,
            header: None,
        }
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Problem {
        self.header = HeaderValue::from_maybe_shared(value.into()).ok().map(|value| Box::new((name, value)));
        self
    }

    pub(super) fn not_found(what: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", "lookup", what, "Check the path and the ids in it.")
    }

    pub(super) fn bad_request(code: &'static str, detail: impl Into<String>, hint: &'static str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, "request", detail, hint)
    }
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
            Reason::InviteRefused(_) => StatusCode::BAD_GATEWAY,
            Reason::InviteTimeout | Reason::NoRtp | Reason::NoKeyFrame => StatusCode::GATEWAY_TIMEOUT,
            Reason::NoCapacity | Reason::Ended | Reason::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem =
            Problem::new(status, failure.code(), failure.step(), failure.detail.clone(), failure.hint());
        if failure.is_transient() { problem.with_header(header::RETRY_AFTER, "10") } else { problem }
    }
}

impl From<device::Failure> for Problem {
    fn from(failure: device::Failure) -> Problem {
        let status = match failure {
            device::Failure::NotFound => StatusCode::NOT_FOUND,
            device::Failure::Offline => StatusCode::CONFLICT,
            device::Failure::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
            device::Failure::Refused(_) => StatusCode::BAD_GATEWAY,
            device::Failure::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Problem::new(status, failure.code(), failure.step(), failure.detail(), failure.hint());
        match failure {
            device::Failure::Offline | device::Failure::Busy => {
                problem.with_header(header::RETRY_AFTER, "10")
            }
            _ => problem,
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
