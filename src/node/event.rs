//! What happens at this node, for those who watch: the console over server-sent events, metrics, logs.

use serde::Serialize;

use crate::gb::id::Id;

/// An event. Its serialised form is the `data` of a server-sent event, its [`Event::name`] the `event`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// A device came online.
    DeviceOnline { device: Id },
    /// A device went offline.
    DeviceOffline { device: Id, cause: &'static str },
    /// A device's channels changed: added, changed and removed ones.
    CatalogChanged { device: Id, added: u32, changed: u32, removed: u32 },
    /// A device notified an alarm.
    Alarm { device: Id },
    /// A stream began.
    StreamStarted { id: String, device: Id, channel: Id, stream: &'static str },
    /// A stream ended, or did not come to be.
    StreamEnded {
        id: String,
        device: Id,
        channel: Id,
        stream: &'static str,
        code: &'static str,
        detail: String,
    },
}

impl Event {
    /// The name in the public contract.
    pub fn name(&self) -> &'static str {
        match self {
            Event::DeviceOnline { .. } => "device.online",
            Event::DeviceOffline { .. } => "device.offline",
            Event::CatalogChanged { .. } => "catalog.changed",
            Event::Alarm { .. } => "alarm",
            Event::StreamStarted { .. } => "stream.started",
            Event::StreamEnded { .. } => "stream.ended",
        }
    }
}
