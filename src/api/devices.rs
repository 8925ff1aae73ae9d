//! Devices and channels: lists, look-ups, adding, editing, removing, catalog sync.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::extract::{Body, Params, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result, ask, subscriptions};
use crate::gb::charset::Charset;
use crate::gb::id::Id;
use crate::gb::manscdp::Edition;
use crate::gb::sdp::MediaMode;
use crate::gb::time::UnixMillis;
use crate::net::clock;
use crate::registry::{
    AddedBy, ChannelFilter, ChannelState, Device, DeviceFilter, DeviceState, Index, Keepalive, Knobs,
    Manners, Position, Secret, Subscribe, clip,
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
fn device_json(api: &Api, index: &Index, state: &DeviceState<'_>) -> Value {
    let device = state.device;
    let findings = index.findings(&device.id);
    let manners = api.profiles.manners(device, findings);
    let media = manners.media_transport.unwrap_or(api.info.media_transport);
    let time = |at: UnixMillis| at.to_rfc3339(api.info.offset);
    json!({
        "id": device.id,
        "name": device.name,
        "manufacturer": device.manufacturer,
        "model": device.model,
        "firmware": device.firmware,
        "online": state.online,
        "user_agent": device.user_agent,
        "edition": manners.edition.unwrap_or(device.edition).year(),
        "charset": manners.charset.unwrap_or(device.charset).as_str(),
        "transport": device.transport.as_str(),
        "media_transport": media.as_str(),
        "profile": api.profiles.name_for(device, findings),
        "profile_set": device.profile,
        "overrides": device.overrides,
        "keepalive": device.keepalive,
        "subscribe": manners.subscribe,
        "redirect": device.redirect,
        "findings": findings.len(),
        "address": state.registration.map(|registration| registration.route.remote.to_string()),
        "channel_count": state.channels,
        "channels_online": state.channels_online,
        "registered_at": state.registration.map(|registration| time(registration.registered_at)),
        "expires_at": state.registration.map(|registration| time(registration.expires_at)),
        "last_seen": state.last_seen.map(time),
        "position": state.position.map(|position| position_json(api, position)),
        "added_by": device.added_by,
    })
}

/// Where something last said that it is.
fn position_json(api: &Api, Position { longitude, latitude, at }: Position) -> Value {
    json!({ "longitude": longitude, "latitude": latitude, "at": at.to_rfc3339(api.info.offset) })
}

/// A channel in the contract's form.
fn channel_json(api: &Api, state: &ChannelState) -> Value {
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
        "position": state.position.map(|position| position_json(api, position)),
    })
}

fn unknown(device: &Id) -> Problem {
    Problem::not_found(format!("no device {device}"))
}

pub(super) async fn list(State(api): State<Api>, Params(list): Params<List>) -> Result<Json<Value>> {
    let index = api.node.index();
    let filter = DeviceFilter { q: list.q.as_deref(), online: list.online };
    let found = index.devices(filter, list.cursor.as_deref(), list.limit())?;
    let items: Vec<Value> = found.items.iter().map(|state| device_json(&api, &index, state)).collect();
    Ok(page(items, found.next, found.total))
}

pub(super) async fn show(State(api): State<Api>, Segments(device): Segments<Id>) -> Result<Json<Value>> {
    let index = api.node.index();
    let state = index.device(&device).ok_or_else(|| unknown(&device))?;
    Ok(Json(device_json(&api, &index, &state)))
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
    #[serde(default, deserialize_with = "present")]
    keepalive: Option<Option<Keepalive>>,
    #[serde(default, deserialize_with = "present")]
    subscribe: Option<Option<Subscribe>>,
    #[serde(default, deserialize_with = "present")]
    redirect: Option<Option<String>>,
    #[serde(default, deserialize_with = "knobs")]
    overrides: Option<Option<Knobs>>,
}

/// Seconds between two keepalives, and how many may be missed.
const INTERVAL: (u32, u32) = (5, 86_400);
const MISSES: (u8, u8) = (1, 100);

/// Tells `null` from absent.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// The same of knobs, as a person writes them: one that is not known is refused, not passed over.
fn knobs<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<Option<Knobs>>, D::Error> {
    let given = Option::<Value>::deserialize(from)?;
    let read = |value: Value| Knobs::read(&value).map_err(serde::de::Error::custom);
    given.map(read).transpose().map(Some)
}

impl Settings {
    /// What the types alone do not tell.
    fn check(&self, api: &Api) -> Result<()> {
        if let Some(Some(keepalive)) = self.keepalive {
            ask::within("keepalive.interval", keepalive.interval, INTERVAL)?;
            ask::within("keepalive.misses", keepalive.misses, MISSES)?;
        }
        if let Some(Some(wanted)) = self.subscribe {
            subscriptions::check(wanted)?;
        }
        if let Some(Some(redirect)) = &self.redirect {
            let target = redirect.strip_prefix("sip:").and_then(|rest| rest.split_once('@'));
            let fits = target.is_some_and(|(id, host)| Id::parse(id).is_ok() && host_and_port(host));
            if !fits {
                return Err(Problem::bad_value("redirect", "redirect is not of the form sip:ID@HOST:PORT"));
            }
        }
        match &self.profile {
            Some(Some(profile)) if !api.profiles.names().any(|name| name == profile) => {
                let names: Vec<&str> = api.profiles.names().collect();
                let why = format!("there is no profile {profile:?}; there are {}", names.join(", "));
                Err(Problem::bad_value("profile", why))
            }
            _ => Ok(()),
        }
    }

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
        device.keepalive = self.keepalive.unwrap_or(device.keepalive);
        device.subscribe = self.subscribe.unwrap_or(device.subscribe);
        if let Some(redirect) = self.redirect {
            device.redirect = redirect.map(|redirect| clip(&redirect).to_owned());
        }
        if let Some(overrides) = self.overrides {
            device.overrides = overrides.map(Box::new);
        }
    }

    /// The names of what is set, for the record: no values, since a password is among them.
    fn names(&self) -> String {
        let set = [
            ("name", self.name.is_some()),
            ("password", self.password.is_some()),
            ("manufacturer", self.manufacturer.is_some()),
            ("model", self.model.is_some()),
            ("firmware", self.firmware.is_some()),
            ("edition", self.edition.is_some()),
            ("charset", self.charset.is_some()),
            ("media_transport", self.media_transport.is_some()),
            ("profile", self.profile.is_some()),
            ("keepalive", self.keepalive.is_some()),
            ("subscribe", self.subscribe.is_some()),
            ("redirect", self.redirect.is_some()),
            ("overrides", self.overrides.is_some()),
        ];
        let names: Vec<&str> = set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        names.join(" ")
    }
}

/// A host or an address, and a port.
fn host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let fits =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
        !host.is_empty() && host.bytes().all(fits) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

pub(super) async fn add(
    State(api): State<Api>,
    who: Who,
    Body(mut new): Body<serde_json::Map<String, Value>>,
) -> Result<impl IntoResponse> {
    let id = new.remove("id").ok_or_else(|| Problem::bad_value("id", "id is missing"))?;
    let id: Id =
        serde_json::from_value(id).map_err(|_| Problem::bad_value("id", "id is no id of a device"))?;
    let settings: Settings = ask::body(new)?;
    settings.check(&api)?;
    if api.node.index().device(&id).is_some() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "device_exists",
            "request",
            format!("device {id} exists"),
            "Change it by PATCH /api/v1/devices/{device}.",
        ));
    }
    let deed = Deed::new("device.add").on(id).saying(settings.names());
    let mut device = Device::new(id, AddedBy::Admin, clock::unix());
    settings.apply(&mut device);
    who.does(&api, deed, async { Ok(api.node.put_device(device).await?) }).await?;
    let location = format!("/api/v1/devices/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], current(&api, &id)?))
}

pub(super) async fn edit(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<Id>,
    Body(settings): Body<Settings>,
) -> Result<Json<Value>> {
    let mut device = record(&api, &id)?;
    settings.check(&api)?;
    let deed = Deed::new("device.edit").on(id).saying(settings.names());
    settings.apply(&mut device);
    who.does(&api, deed, async { Ok(api.node.put_device(device).await?) }).await?;
    current(&api, &id)
}

/// A device's record, to be changed.
pub(super) fn record(api: &Api, id: &Id) -> Result<Device> {
    api.node.index().device(id).map(|state| state.device.clone()).ok_or_else(|| unknown(id))
}

/// How a device is dealt with.
pub(super) fn manners(api: &Api, id: &Id) -> Result<Manners> {
    let index = api.node.index();
    let state = index.device(id).ok_or_else(|| unknown(id))?;
    Ok(api.profiles.manners(state.device, index.findings(id)))
}

fn current(api: &Api, id: &Id) -> Result<Json<Value>> {
    let index = api.node.index();
    let state = index.device(id).ok_or_else(|| unknown(id))?;
    Ok(Json(device_json(api, &index, &state)))
}

pub(super) async fn remove(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<Id>,
) -> Result<StatusCode> {
    record(&api, &id)?;
    who.does(&api, Deed::new("device.remove").on(id), async { Ok(api.node.remove_device(id).await?) })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn sync(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<Id>,
) -> Result<Json<Value>> {
    let deed = Deed::new("catalog.sync").on(id);
    let synced = who.does(&api, deed, async { Ok(api.node.sync(id).await?) }).await?;
    Ok(Json(json!({ "received": synced.received, "total": synced.total, "complete": synced.complete })))
}

/// The vendor profiles, and what they do for which devices.
pub(super) async fn profiles(State(api): State<Api>) -> Json<Value> {
    let items: Vec<Value> =
        api.profiles.all().map(|profile| serde_json::to_value(profile).unwrap_or_default()).collect();
    let total = items.len() as u64;
    page(items, None, total)
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
    Ok(page(found.items.iter().map(|state| channel_json(api, state)).collect(), found.next, found.total))
}

pub(super) async fn channel(
    State(api): State<Api>,
    Segments((device, channel)): Segments<(Id, Id)>,
) -> Result<Json<Value>> {
    let state = api.node.index().channel(&device, &channel);
    let state =
        state.ok_or_else(|| Problem::not_found(format!("device {device} has no channel {channel}")))?;
    Ok(Json(channel_json(&api, &state)))
}
