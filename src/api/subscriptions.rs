//! What is subscribed to at a device.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::ask::{self, within};
use super::extract::{Body, Segments};
use super::record::{Deed, Who};
use super::{Api, Result, devices};
use crate::device::{Outcome, Request};
use crate::gb::id::Id;
use crate::registry::Subscribe;

/// Seconds between two positions.
const INTERVAL: (u32, u32) = (1, 86_400);

pub(super) async fn show(State(api): State<Api>, Segments(device): Segments<Id>) -> Result<Json<Value>> {
    ask::known(&api, &device, &device)?;
    Ok(Json(told(&api, device).await?))
}

/// Sets what is wanted; the shard subscribes, or ends subscriptions, at once.
pub(super) async fn set(
    State(api): State<Api>,
    who: Who,
    Segments(device): Segments<Id>,
    Body(wanted): Body<Subscribe>,
) -> Result<Json<Value>> {
    check(wanted)?;
    let deed = Deed::new("subscribe").on(device).saying(format!("{wanted:?}"));
    who.does(&api, deed, async {
        let mut record = devices::record(&api, &device)?;
        record.subscribe = Some(wanted);
        Ok(api.node.put_device(record).await?)
    })
    .await?;
    Ok(Json(told(&api, device).await?))
}

pub(super) fn check(wanted: Subscribe) -> Result<()> {
    wanted.position.map(|seconds| within("position", seconds, INTERVAL)).transpose().map(|_| ())
}

async fn told(api: &Api, device: Id) -> Result<Value> {
    let outcome = api.node.ask(device, device, Request::Subscriptions).await?;
    let items = match outcome {
        Outcome::Subscriptions(items) => items,
        _ => Vec::new(),
    };
    let wanted = devices::manners(api, &device)?.subscribe;
    Ok(json!({ "device": device, "wanted": wanted, "items": items }))
}
