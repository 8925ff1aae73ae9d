//! Devices and channels: lists, look-ups, adding, editing, removing, catalog sync.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::extract::{Body, Params, Segments};
use super::problem::Problem;
use super::{Api, Result};
use crate::gb::charset::Charset;
use crate::gb::id::Id;
use crate::gb::manscdp::Edition;
use crate::gb::sdp::MediaMode;
use crate::gb::time::UnixMillis;
use crate::net::clock;
use crate::registry::{
    AddedBy, ChannelFilter, ChannelState, Device, DeviceFilter, DeviceState, Secret, clip,
};

/// Items on a page when the request does not say.
const DEFAULT_LIMIT: usize = 100;

/// The query of a list.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    limit: Option<usize>,
    cursor: Option<String>,
    q: Option<String>,
    online: Option<bool>,
    region: Option<String>,
}

impl List {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }
}

/// A page of a list in the contract's form.
pub(super) fn page<T: Serialize>(items: Vec<T>, next: Option<String>, total: u64) -> Json<Value> {
    Json(json!({ "items": items, "next": next, "total": total }))
}

/// A device in the contract's form.
fn device_json(api: &Api, state: &DeviceState<'_>) -> Value {
    let device = state.device;
    let time = |at: UnixMillis| at.to_rfc3339(api.info.offset);
    json!({
        "id": device.id,
        "name": device.name,
        "manufacturer": device.manufacturer,
        "model": device.model,
        "firmware": device.firmware,
        "online": state.online,
        "edition": device.edition.year(),
        "charset": device.charset.as_str(),
        "transport": device.transport.as_str(),
        "media_transport": device.media_transport.unwrap_or(api.info.media_transport).as_str(),
        "profile": device.profile,
        "address": state.registration.map(|registration| registration.route.remote.to_string()),
        "channel_count": state.channels,
        "channels_online": state.channels_online,
        "registered_at": state.registration.map(|registration| time(registration.registered_at)),
        "expires_at": state.registration.map(|registration| time(registration.expires_at)),
        "last_seen": state.last_seen.map(time),
        "added_by": device.added_by,
    })
}

/// A channel in the contract's form.
fn channel_json(state: &ChannelState) -> Value {
    let channel = &state.channel;
    json!({
        "device": state.device,
        "id": channel.id,
        "name": channel.name,
        "kind": channel.id.kind().as_str(),
        "online": state.online,
        "parent": channel.parent(),
        "region": channel.region,
        "manufacturer": channel.manufacturer,
        "model": channel.model,
        "address": channel.address,
        "ptz_type": channel.ptz_type,
        "longitude": channel.longitude,
        "latitude": channel.latitude,
    })
}

fn unknown(device: &Id) -> Problem {
    Problem::not_found(format!("no device {device}"))
}

pub(super) async fn list(State(api): State<Api>, Params(list): Params<List>) -> Result<Json<Value>> {
    let index = api.node.index();
    let filter = DeviceFilter { q: list.q.as_deref(), online: list.online };
    let found = index.devices(filter, list.cursor.as_deref(), list.limit())?;
    let items: Vec<Value> = found.items.iter().map(|state| device_json(&api, state)).collect();
    Ok(page(items, found.next, found.total))
}

pub(super) async fn show(State(api): State<Api>, Segments(device): Segments<Id>) -> Result<Json<Value>> {
    let index = api.node.index();
    let state = index.device(&device).ok_or_else(|| unknown(&device))?;
    Ok(Json(device_json(&api, &state)))
}

/// What can be set of a device; an absent member is left as it is, `null` goes back to the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    password: Option<Option<String>>,
    manufacturer: Option<String>,
    model: Option<String>,
    firmware: Option<String>,
    edition: Option<Edition>,
    charset: Option<Charset>,
    #[serde(default, deserialize_with = "present")]
    media_transport: Option<Option<MediaMode>>,
    #[serde(default, deserialize_with = "present")]
    profile: Option<Option<String>>,
}

/// Tells `null` from absent.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Settings {
    fn apply(self, device: &mut Device) {
        if let Some(name) = self.name {
            device.name = clip(&name).to_owned();
        }
        if let Some(password) = self.password {
            device.password = password.map(Secret::new);
        }
        for (kept, given) in [
            (&mut device.manufacturer, self.manufacturer),
            (&mut device.model, self.model),
            (&mut device.firmware, self.firmware),
        ] {
            if let Some(given) = given {
                *kept = Some(clip(&given).to_owned());
            }
        }
        device.edition = self.edition.unwrap_or(device.edition);
        device.charset = self.charset.unwrap_or(device.charset);
        if let Some(transport) = self.media_transport {
            device.media_transport = transport;
        }
        if let Some(profile) = self.profile {
            device.profile = profile.map(|profile| clip(&profile).to_owned());
        }
    }
}

pub(super) async fn add(
    State(api): State<Api>,
    Body(mut new): Body<serde_json::Map<String, Value>>,
) -> Result<impl IntoResponse> {
    let bad = |error: serde_json::Error| {
        let hint = "Send {\"id\": ..., \"name\": ..., \"password\": ...} and settings of the device.";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", "request", error.to_string(), hint)
    };
    let id: Id = serde_json::from_value(new.remove("id").unwrap_or_default()).map_err(bad)?;
    let settings: Settings = serde_json::from_value(Value::Object(new)).map_err(bad)?;
    if api.node.index().device(&id).is_some() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "device_exists",
            "request",
            format!("device {id} exists"),
            "Change it by PATCH /api/v1/devices/{device}.",
        ));
    }
    let mut device = Device::new(id, AddedBy::Admin, clock::unix());
    settings.apply(&mut device);
    api.node.put_device(device).await?;
    let location = format!("/api/v1/devices/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], current(&api, &id)?))
}

pub(super) async fn edit(
    State(api): State<Api>,
    Segments(id): Segments<Id>,
    Body(settings): Body<Settings>,
) -> Result<Json<Value>> {
    let mut device =
        api.node.index().device(&id).map(|state| state.device.clone()).ok_or_else(|| unknown(&id))?;
    settings.apply(&mut device);
    api.node.put_device(device).await?;
    current(&api, &id)
}

fn current(api: &Api, id: &Id) -> Result<Json<Value>> {
    let index = api.node.index();
    let state = index.device(id).ok_or_else(|| unknown(id))?;
    Ok(Json(device_json(api, &state)))
}

pub(super) async fn remove(State(api): State<Api>, Segments(id): Segments<Id>) -> Result<StatusCode> {
    if api.node.index().device(&id).is_none() {
        return Err(unknown(&id));
    }
    api.node.remove_device(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn sync(State(api): State<Api>, Segments(id): Segments<Id>) -> Result<Json<Value>> {
    let synced = api.node.sync(id).await?;
    Ok(Json(json!({ "received": synced.received, "total": synced.total, "complete": synced.complete })))
}

pub(super) async fn channels_of(
    State(api): State<Api>,
    Segments(device): Segments<Id>,
    Params(list): Params<List>,
) -> Result<Json<Value>> {
    if api.node.index().device(&device).is_none() {
        return Err(unknown(&device));
    }
    channel_page(&api, Some(device), &list)
}

pub(super) async fn channels(State(api): State<Api>, Params(list): Params<List>) -> Result<Json<Value>> {
    channel_page(&api, None, &list)
}

fn channel_page(api: &Api, device: Option<Id>, list: &List) -> Result<Json<Value>> {
    let index = api.node.index();
    let filter =
        ChannelFilter { device, region: list.region.as_deref(), q: list.q.as_deref(), online: list.online };
    let found = index.channels(filter, list.cursor.as_deref(), list.limit())?;
    Ok(page(found.items.iter().map(channel_json).collect(), found.next, found.total))
}

pub(super) async fn channel(
    State(api): State<Api>,
    Segments((device, channel)): Segments<(Id, Id)>,
) -> Result<Json<Value>> {
    let state = api.node.index().channel(&device, &channel);
    let state =
        state.ok_or_else(|| Problem::not_found(format!("device {device} has no channel {channel}")))?;
    Ok(Json(channel_json(&state)))
}
