//! Figures over all devices: what is online, what does not work, how the standard is kept.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::conformance::rule_json;
use super::devices::page;
use super::extract::Params;
use super::problem::Problem;
use super::{Api, Result};
use crate::gb::time::UnixMillis;
use crate::registry::{Fault, MakerTotals, RuleTotals};

/// How online figures are grouped.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grouped {
    by: Option<String>,
    /// The beginning of a civil code.
    region: Option<String>,
    /// How many digits of the civil code make a group: 2, 4, 6 or 8.
    digits: Option<usize>,
}

pub(super) async fn online(State(api): State<Api>, Params(grouped): Params<Grouped>) -> Result<Json<Value>> {
    let Grouped { by, region, digits } = grouped;
    let index = api.node.index();
    let totals = index.totals();
    let mut told = json!({
        "devices": totals.devices,
        "devices_online": totals.devices_online,
        "channels": totals.channels,
        "channels_online": totals.channels_online,
    });
    match by.as_deref() {
        None => return Ok(Json(told)),
        Some("region") => {}
        Some(_) => return Err(Problem::bad_value("by", "by can be region only")),
    }
    let under = region.unwrap_or_default();
    let digits = digits.unwrap_or_else(|| (under.len() / 2 * 2 + 2).min(8));
    if ![2, 4, 6, 8].contains(&digits) {
        return Err(Problem::bad_value("digits", "digits is none of 2, 4, 6 and 8"));
    }
    let regions: Vec<Value> = index
        .online_by_region(&under, digits)
        .into_iter()
        .map(|one| {
            json!({ "region": one.region, "channels": one.channels, "channels_online": one.channels_online })
        })
        .collect();
    if let Some(members) = told.as_object_mut() {
        members.insert("items".to_owned(), Value::Array(regions));
    }
    Ok(Json(told))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn faults(State(api): State<Api>, Params(list): Params<List>) -> Result<Json<Value>> {
    let index = api.node.index();
    let found = index.faults(list.cursor.as_deref(), list.limit.unwrap_or(100))?;
    let items = found.items.iter().map(|fault| fault_json(&api, fault)).collect();
    Ok(page(items, found.next, found.total))
}

fn fault_json(api: &Api, fault: &Fault<'_>) -> Value {
    let time = |at: Option<UnixMillis>| at.map(|at| at.to_rfc3339(api.info.offset));
    match fault {
        Fault::Device { device, since } => json!({
            "kind": "device_offline",
            "device": device.device.id,
            "channel": null,
            "name": device.device.name,
            "channels": device.channels,
            "since": time(*since),
        }),
        Fault::Channel { channel, since } => json!({
            "kind": "channel_off",
            "device": channel.device,
            "channel": channel.channel.id,
            "name": channel.channel.name,
            "channels": 1,
            "since": time(*since),
        }),
    }
}

pub(super) async fn conformance(State(api): State<Api>) -> Json<Value> {
    let found = api.node.index().conformance();
    let rule = |totals: &RuleTotals| {
        let mut told = rule_json(totals.rule);
        if let Some(members) = told.as_object_mut() {
            members.insert("devices".to_owned(), json!(totals.devices));
            members.insert("count".to_owned(), json!(totals.count));
            members.insert("last".to_owned(), json!(totals.last.to_rfc3339(api.info.offset)));
        }
        told
    };
    let maker = |totals: &MakerTotals| {
        json!({
            "manufacturer": totals.manufacturer,
            "devices": totals.devices,
            "departing": totals.departing,
            "rules": totals.rules.iter().map(rule).collect::<Vec<Value>>(),
        })
    };
    let makers: Vec<Value> = found.manufacturers.iter().map(maker).collect();
    Json(json!({ "total": maker(&found.total), "manufacturers": makers }))
}
