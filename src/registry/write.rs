//! Writes, and what changes by them.

use serde::{Deserialize, Serialize};

use super::MAX_GONE_PER_DEVICE;
use super::journal::{Alarm, Audit, Finding};
use super::model::{Call, Channel, Device, Registration};
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;

/// A change that is asked for. Writes are kept in the order given, each whole or not at all.
///
/// A write about a device that is not known changes nothing (it may have been deleted a moment ago);
/// [`Write::PutDevice`] alone makes one known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "write", rename_all = "snake_case")]
pub enum Write {
    /// Adds a device, or replaces its settings.
    PutDevice(Device),
    /// Removes a device with all that hangs on it: registration, channels, calls.
    DeleteDevice {
        device: Id,
    },
    /// A registration, new or refreshed, or with a new route. The device is online.
    PutRegistration(Registration),
    /// The registration is over, and the device offline.
    EndRegistration {
        device: Id,
        cause: Cause,
    },
    /// Signs of life. They bring a silent device back online. Kept lazily: the last ones may be lost in a crash.
    Touch {
        touches: Vec<Touch>,
    },
    /// The device can't be reached: it missed its keepalives, or its connection is gone. It is offline, its
    /// registration is kept, and its next sign of life brings it back.
    Offline {
        device: Id,
        cause: Cause,
    },
    /// Adds or replaces channels. Where they are a `complete` catalog, channels not among them become
    /// tombstones at `at`; a partial or unasked answer never removes.
    MergeCatalog {
        device: Id,
        channels: Vec<Channel>,
        complete: bool,
        at: UnixMillis,
    },
    /// Forgets channels that the device itself reports as deleted.
    RemoveChannels {
        device: Id,
        channels: Vec<Id>,
    },
    /// What the device says of a channel's state between catalogs.
    SetChannelStatus {
        device: Id,
        channel: Id,
        status: bool,
        at: UnixMillis,
    },
    /// Where a channel, or the device itself, is now. Kept apart from what the catalog says of its place.
    SetPosition {
        device: Id,
        channel: Id,
        longitude: f64,
        latitude: f64,
        at: UnixMillis,
    },
    PutCall(Call),
    DeleteCall {
        device: Id,
        channel: Id,
        call_id: String,
    },
    /// Adds an alarm, or replaces it. Alarms outlive their device; the oldest are forgotten beyond
    /// [`super::MAX_ALARMS`].
    PutAlarm(Alarm),
    /// Adds a record to the audit; the oldest are forgotten beyond [`super::MAX_AUDIT`].
    PutAudit(Audit),
    /// Replaces what is known of a device's departures from the standard.
    PutFindings {
        device: Id,
        findings: Vec<Finding>,
    },
}

impl Write {
    /// How many records it may change: the weight of a write in queues and batches.
    pub fn weight(&self) -> usize {
        match self {
            Write::MergeCatalog { channels, .. } => channels.len().max(1),
            Write::RemoveChannels { channels, .. } => channels.len().max(1),
            Write::Touch { touches } => touches.len().max(1),
            _ => 1,
        }
    }
}

/// A sign of life.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Touch {
    pub device: Id,
    pub at: UnixMillis,
}

/// Why a device is offline.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It said so: REGISTER with Expires 0.
    Unregistered,
    /// Its registration ran out.
    Expired,
    /// It missed its keepalives.
    Silent,
    /// Its connection was closed.
    Disconnected,
    /// It was deleted, or its registration was revoked by an administrator.
    Removed,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Unregistered => "unregistered",
            Cause::Expired => "expired",
            Cause::Silent => "silent",
            Cause::Disconnected => "disconnected",
            Cause::Removed => "removed",
        }
    }
}

/// What an applied write changed, for those who watch.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Change {
    DeviceOnline {
        device: Id,
    },
    DeviceOffline {
        device: Id,
        cause: Cause,
    },
    /// Channels added, changed and removed (tombstones and state included).
    CatalogChanged {
        device: Id,
        added: u32,
        changed: u32,
        removed: u32,
    },
}

impl Change {
    /// The name of the event, as the API has it.
    pub fn name(&self) -> &'static str {
        match self {
            Change::DeviceOnline { .. } => "device.online",
            Change::DeviceOffline { .. } => "device.offline",
            Change::CatalogChanged { .. } => "catalog.changed",
        }
    }

    pub fn device(&self) -> Id {
        match self {
            Change::DeviceOnline { device }
            | Change::DeviceOffline { device, .. }
            | Change::CatalogChanged { device, .. } => *device,
        }
    }
}

/// What a complete catalog does to the channels that it does not list.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Retired {
    /// To become tombstones.
    pub gone: Vec<Id>,
    /// Tombstones to forget, since there are too many.
    pub forgotten: Vec<Id>,
}

/// Decides what becomes of the channels that a complete catalog does not list. `unlisted` has these channels,
/// each with the time of its tombstone if it is one already; `at` is the time of new tombstones.
///
/// Every store and the index retire channels by this function, hence alike.
pub fn retire(unlisted: impl Iterator<Item = (Id, Option<UnixMillis>)>, at: UnixMillis) -> Retired {
    let mut retired = Retired::default();
    let mut tombstones = Vec::new();
    for (id, gone) in unlisted {
        if gone.is_none() {
            retired.gone.push(id);
        }
        tombstones.push((gone.unwrap_or(at), id));
    }
    let excess = tombstones.len().saturating_sub(MAX_GONE_PER_DEVICE);
    if excess > 0 {
        tombstones.sort_unstable();
        retired.forgotten = tombstones.iter().take(excess).map(|&(_, id)| id).collect();
        retired.forgotten.sort_unstable();
        retired.gone.retain(|id| retired.forgotten.binary_search(id).is_err());
    }
    retired
}

/// Whether a channel counts as one that does not work, and since when, where that is known. `old` is the same of
/// the record that it takes the place of; `at` is when it was told.
///
/// Every store and the index decide by this function, hence alike.
pub fn bad_since(
    channel: &Channel,
    old: Option<Option<UnixMillis>>,
    at: UnixMillis,
) -> Option<Option<UnixMillis>> {
    if channel.status || channel.gone.is_some() || channel.id.kind().is_folder() {
        return None;
    }
    let told = channel.bad_since.map(Some);
    // What is read back from a store has no time of its own.
    told.or(old).or(Some(Some(at).filter(|at| at.0 != 0)))
}
