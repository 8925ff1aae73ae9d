//! The configuration that a device keeps itself: read, checked, written, and compared with what it has then.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::control::About;
use super::extract::{Body, Params, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result, ask};
use crate::device::{Outcome, Request};
use crate::gb::id::Id;
use crate::gb::manscdp::answer::Answer;
use crate::gb::manscdp::config::{self, ConfigKind};
use crate::gb::manscdp::query::Query;

/// The kinds that there are, each with the JSON Schema of its value.
pub(super) async fn kinds() -> Json<Value> {
    let kinds = ConfigKind::ALL.map(|kind| {
        json!({
            "kind": kind.as_str(),
            "since": kind.since().year(),
            "until": kind.until().map(|edition| edition.year()),
            "readable": kind.kept(),
            "writable": kind.writable(),
            "schema": config::schema(kind),
        })
    });
    Json(json!({ "items": kinds, "next": null, "total": kinds.len() }))
}

pub(super) async fn read(
    State(api): State<Api>,
    who: Who,
    Segments((device, kind)): Segments<(Id, String)>,
    Params(about): Params<About>,
) -> Result<Json<Value>> {
    let (kind, place) = (parse(&kind)?, about.of(device));
    let deed = Deed::new("config.read").at(device, place.1).saying(kind.as_str());
    let request = Request::Query(Query::Config(vec![kind]));
    let value = match ask::ask(&api, &who, deed, place, request).await? {
        Outcome::Answer(Answer::Config(mut config)) => config.sections.remove(&kind),
        _ => None,
    };
    let value = value.ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_GATEWAY,
            "not_told",
            "device",
            format!("the device answered without {kind}"),
            "The device does not have this kind of configuration.",
        )
    })?;
    Ok(Json(json!({ "device": device, "channel": place.1, "kind": kind, "value": value })))
}

pub(super) async fn write(
    State(api): State<Api>,
    who: Who,
    Segments((device, kind)): Segments<(Id, String)>,
    Params(about): Params<About>,
    Body(value): Body<Value>,
) -> Result<Json<Value>> {
    let (kind, place) = (parse(&kind)?, about.of(device));
    if !kind.writable() {
        return Err(Problem::bad_value("kind", format!("{kind} can be read only")));
    }
    config::check(kind, &value)?;
    let deed = Deed::new("config.write").at(device, place.1).saying(kind.as_str());
    let outcome = ask::ask(&api, &who, deed, place, Request::Configure(vec![(kind, value)])).await?;
    Ok(Json(ask::told(outcome)))
}

fn parse(kind: &str) -> Result<ConfigKind> {
    kind.parse().map_err(|_| {
        let names = ConfigKind::ALL.map(ConfigKind::as_str).join(", ");
        Problem::not_found(format!("no kind of configuration {kind:?}; there are {names}"))
    })
}
