//! The tree, a level at a time: devices at the top, below each its groups, regions and channels.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::devices::page;
use super::extract::Params;
use super::problem::Problem;
use super::{Api, Result};
use crate::gb::id::Id;
use crate::registry::DeviceFilter;

/// `parent` is empty for the devices, `DEVICE` for the top of a device's catalog, and `DEVICE/ITEM` below an item.
#[derive(Debug, Deserialize)]
pub(super) struct Level {
    #[serde(default)]
    parent: String,
    cursor: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn level(State(api): State<Api>, Params(level): Params<Level>) -> Result<Json<Value>> {
    let limit = level.limit.unwrap_or(100);
    let index = api.node.index();
    if level.parent.is_empty() {
        let found = index.devices(DeviceFilter::default(), level.cursor.as_deref(), limit)?;
        let items = found.items.iter().map(|state| {
            json!({
                "node": state.device.id, "kind": "device", "device": state.device.id, "id": state.device.id,
                "name": state.device.name, "online": state.online,
                "children": state.channels, "children_online": state.channels_online,
            })
        });
        return Ok(page(items.collect(), found.next, found.total));
    }
    let (device, item) = match level.parent.split_once('/') {
        Some((device, item)) => (device, Some(parse(item)?)),
        None => (level.parent.as_str(), None),
    };
    let device = parse(device)?;
    if index.device(&device).is_none() {
        return Err(Problem::not_found(format!("no device {device}")));
    }
    let found = index.level(&device, item.as_ref(), level.cursor.as_deref(), limit)?;
    let items = found.items.iter().map(|leaf| {
        let channel = &leaf.state.channel;
        json!({
            "node": format!("{device}/{}", channel.id), "kind": channel.id.kind().as_str(), "device": device,
            "id": channel.id, "name": channel.name, "online": leaf.state.online, "children": leaf.children,
            "manufacturer": channel.manufacturer, "ptz_type": channel.ptz_type,
        })
    });
    Ok(page(items.collect(), found.next, found.total))
}

fn parse(text: &str) -> Result<Id> {
    Id::parse(text).map_err(|_| {
        Problem::bad_request(
            "bad_parent",
            format!("no node {text:?}"),
            "Use the `node` of an item of the level above.",
        )
    })
}
