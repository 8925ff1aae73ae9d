//! Who did what: the record of every view and every control.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::moment;
use super::devices::page;
use super::extract::Params;
use super::{Api, Result};
use crate::gb::id::Id;
use crate::registry::{Audit, AuditFilter};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    limit: Option<usize>,
    cursor: Option<String>,
    user: Option<String>,
    device: Option<Id>,
    channel: Option<Id>,
    /// An action, or all of a family: `control` has `control.reboot`.
    action: Option<String>,
    since: Option<String>,
}

pub(super) async fn list(State(api): State<Api>, Params(list): Params<List>) -> Result<Json<Value>> {
    let since = list.since.as_deref().map(|since| moment(&api, "since", since)).transpose()?;
    let filter = AuditFilter {
        user: list.user.as_deref(),
        device: list.device,
        channel: list.channel,
        action: list.action.as_deref(),
        since,
    };
    let found = api.node.index().audit(filter, list.cursor.as_deref(), list.limit.unwrap_or(100))?;
    let items = found.items.iter().map(|audit| audit_json(&api, audit)).collect();
    Ok(page(items, found.next, found.total))
}

fn audit_json(api: &Api, audit: &Audit) -> Value {
    json!({
        "id": audit.id,
        "at": audit.at.to_rfc3339(api.info.offset),
        "user": audit.user,
        "role": audit.role,
        "from": audit.from,
        "action": audit.action,
        "device": audit.device,
        "channel": audit.channel,
        "detail": audit.detail,
        "outcome": audit.outcome,
    })
}
