//! The records of the registry, as they are kept and exported: JSON objects with these field names.
//!
//! A field that is absent is not written, and one that is unknown is ignored on reading, so that an older
//! registry is read by a newer program. Times are milliseconds since 1970 (UTC).

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::profile::Knobs;
use super::{MAX_PARENTS, MAX_TEXT};
use crate::gb::charset::Charset;
use crate::gb::id::Id;
use crate::gb::manscdp::{CatalogItem, Edition};
use crate::gb::sdp::MediaMode;
use crate::gb::time::UnixMillis;
use crate::sip::dialog::Dialog;
use crate::sip::{Flow, Transport};

/// A password that must be kept in clear (digest needs it) and must not be shown: neither by `Debug` nor by
/// the API, which never serialises a record as it is.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(clear: impl Into<String>) -> Secret {
        Secret(clear.into())
    }

    /// The password in clear, for a digest alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a device came to be known.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddedBy {
    /// Added beforehand by an administrator.
    Admin,
    /// It registered with the platform's password.
    #[default]
    Registration,
}

/// A device or a lower platform: what it said of itself, and how it is to be spoken to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub id: Id,
    #[serde(default)]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Its own password; without one it registers with the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    #[serde(default)]
    pub added_by: AddedBy,
    pub added_at: UnixMillis,
    /// The edition of the standard that it follows.
    #[serde(default)]
    pub edition: Edition,
    /// Whether it told its edition (X-GB-Ver); if not, `edition` is assumed, or set by an administrator.
    #[serde(default, skip_serializing_if = "is_false")]
    pub edition_told: bool,
    /// The charset of what is sent to it.
    #[serde(default)]
    pub charset: Charset,
    #[serde(default = "udp")]
    pub transport: Transport,
    /// `None`: as configured for the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_transport: Option<MediaMode>,
    /// The name of the vendor profile in use; `None`: found by the manufacturer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The User-Agent of its last registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Its own parameters; `None`: as configured for the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
    /// `None`: as its vendor profile has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Subscribe>,
    /// Where its registrations are redirected to, as `sip:ID@HOST:PORT` (clause 9.1.2.3 of 2022).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// What is done for this device otherwise than its vendor profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Box<Knobs>>,
}

impl Device {
    /// A device of which only its id is known.
    pub fn new(id: Id, added_by: AddedBy, added_at: UnixMillis) -> Device {
        Device {
            id,
            name: String::new(),
            manufacturer: None,
            model: None,
            firmware: None,
            password: None,
            added_by,
            added_at,
            edition: Edition::default(),
            edition_told: false,
            charset: Charset::default(),
            transport: Transport::Udp,
            media_transport: None,
            profile: None,
            user_agent: None,
            keepalive: None,
            subscribe: None,
            redirect: None,
            overrides: None,
        }
    }
}

/// The way back to a peer: a [`Flow`] without its connection, which does not outlive the process.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Route {
    pub transport: Transport,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl From<Flow> for Route {
    fn from(flow: Flow) -> Route {
        Route { transport: flow.transport, local: flow.local, remote: flow.remote }
    }
}

/// How often a device says that it is there, and how many times it may fail to.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Seconds.
    pub interval: u32,
    pub misses: u8,
}

/// What is subscribed to at a device (clause 9.11).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subscribe {
    pub catalog: bool,
    pub alarm: bool,
    /// MobilePosition: each how many seconds. `None`: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// PTZPosition, of 2022.
    pub ptz_position: bool,
}

impl Subscribe {
    /// The names of its fields.
    pub const NAMES: &'static [&'static str] = &["catalog", "alarm", "position", "ptz_position"];
}

/// A device's registration, kept so that the device is served from the first second after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    pub device: Id,
    pub route: Route,
    /// The URI of its Contact.
    pub contact: String,
    pub registered_at: UnixMillis,
    pub expires_at: UnixMillis,
    /// `None`: as configured for the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
}

/// An item of a device's catalog: a camera, an alarm input, or a folder (region, group, system).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    pub id: Id,
    #[serde(default)]
    pub name: String,
    /// What the device says of it (`Status`). The channel is online when its device is, too.
    #[serde(default = "yes")]
    pub status: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `CivilCode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `ParentID`, split at its slashes; the last one is the most useful.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_group: Option<Id>,
    /// `Parental`: it has items below it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parental: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub secrecy: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ptz_type: Option<u8>,
    /// Degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Since when its status is bad, where that is known. Kept by the registry, no device tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_since: Option<UnixMillis>,
    /// A tombstone: since when a complete catalog no longer lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<UnixMillis>,
}

impl Channel {
    /// A channel of which only its id is known: it is taken to work.
    pub fn new(id: Id) -> Channel {
        Channel {
            id,
            name: String::new(),
            status: true,
            manufacturer: None,
            model: None,
            owner: None,
            region: None,
            block: None,
            address: None,
            parents: Vec::new(),
            business_group: None,
            parental: false,
            secrecy: false,
            ptz_type: None,
            longitude: None,
            latitude: None,
            ip_address: None,
            port: None,
            bad_since: None,
            gone: None,
        }
    }

    /// The kind that its id is a code of, as the API has it.
    pub fn kind(&self) -> &'static str {
        self.id.kind().as_str()
    }

    /// The same within the bounds of what is kept: texts cut, empty ones absent, positions finite.
    pub fn clipped(mut self) -> Channel {
        clip_in_place(&mut self.name);
        for text in [
            &mut self.manufacturer,
            &mut self.model,
            &mut self.owner,
            &mut self.block,
            &mut self.address,
            &mut self.ip_address,
        ] {
            if let Some(text) = text {
                clip_in_place(text);
            }
            text.take_if(|text| text.is_empty());
        }
        self.parents.drain(..self.parents.len().saturating_sub(MAX_PARENTS));
        self.longitude.take_if(|degrees| !degrees.is_finite());
        self.latitude.take_if(|degrees| !degrees.is_finite());
        self
    }

    /// The parent as first named: the last `ParentID`, else the business group.
    pub fn parent(&self) -> Option<Id> {
        self.parents.last().copied().or(self.business_group)
    }
}

impl From<CatalogItem> for Channel {
    /// An item that does not tell its state is taken to work.
    fn from(item: CatalogItem) -> Channel {
        let channel = Channel {
            id: item.id,
            name: item.name,
            status: item.status.unwrap_or(true),
            manufacturer: item.manufacturer,
            model: item.model,
            owner: item.owner,
            region: item.civil_code,
            block: item.block,
            address: item.address,
            parents: item.parent_ids,
            business_group: item.business_group,
            parental: item.parental,
            secrecy: item.secrecy,
            ptz_type: item.ptz_type,
            longitude: item.longitude,
            latitude: item.latitude,
            ip_address: item.ip_address,
            port: item.port,
            bad_since: None,
            gone: None,
        };
        channel.clipped()
    }
}

/// What a call carries.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    Live,
    Playback,
    Download,
    Talk,
}

/// A running call: enough to end it by BYE, or to take it up again, after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub device: Id,
    pub channel: Id,
    /// The key of the call among those of its channel.
    pub call_id: String,
    pub kind: StreamKind,
    /// The name of the stream that it feeds, as the API shows it.
    #[serde(default)]
    pub stream: String,
    pub dialog: Dialog,
    pub route: Route,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssrc: Option<u32>,
    pub media_transport: MediaMode,
    pub started_at: UnixMillis,
}

/// The first [`MAX_TEXT`] bytes of a text, cut between characters.
pub fn clip(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

fn clip_in_place(text: &mut String) {
    clip_to(text, MAX_TEXT);
}

/// Cuts a text to at most so many bytes, between characters.
pub(super) fn clip_to(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}

fn yes() -> bool {
    true
}

fn is_false(value: &bool) -> bool {
    !value
}

fn udp() -> Transport {
    Transport::Udp
}
