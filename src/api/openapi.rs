//! `GET /api/openapi.json`: all paths of this gateway, in OpenAPI 3.1.
//!
//! The document is kept by hand, in YAML beside this file; the schemas of the devices' configuration come from the
//! same table that reads and writes them.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::gb::manscdp::config::{self, ConfigKind};

/// The frame, and the paths by subject.
const PARTS: [&str; 6] = [
    include_str!("openapi/frame.yaml"),
    include_str!("openapi/devices.yaml"),
    include_str!("openapi/channels.yaml"),
    include_str!("openapi/recordings.yaml"),
    include_str!("openapi/operations.yaml"),
    include_str!("openapi/media.yaml"),
];

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(put_together().to_string()));

pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// Lays the parts over each other. A test reads them all, so that none fails here.
fn put_together() -> Value {
    let mut document = json!({});
    for part in PARTS {
        let part: Value = serde_yaml::from_str(part).unwrap_or_default();
        lay(&mut document, part);
    }
    let schemas: Map<String, Value> =
        ConfigKind::ALL.into_iter().map(|kind| (format!("Config.{kind}"), config::schema(kind))).collect();
    lay(
        &mut document,
        json!({
            "info": { "version": env!("CARGO_PKG_VERSION") },
            "components": { "schemas": schemas },
        }),
    );
    complete(&mut document);
    document
}

/// What all paths have alike: parameters by the names in the path, and problem documents.
fn complete(document: &mut Value) {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    for (path, item) in paths {
        let names = path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        let parameters: Vec<Value> =
            names.map(|(name, _)| json!({ "$ref": format!("#/components/parameters/{name}") })).collect();
        let Some(item) = item.as_object_mut() else { continue };
        for operation in item.values_mut() {
            lay(
                operation,
                json!({ "responses": { "default": { "$ref": "#/components/responses/Problem" } } }),
            );
        }
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), Value::Array(parameters));
        }
    }
}

/// Puts the members of `over` into `under`, at every depth.
fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                lay(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests;
