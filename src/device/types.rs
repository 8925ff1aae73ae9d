//! The words of this room: settings, what it asks of its surroundings, and what it reports.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::answer::PtzPosition;
use crate::gb::manscdp::{Position, SnapshotFinished, UpgradeResult, VideoUpload};
use crate::gb::time::Offset;
use crate::registry::{Alarm, Cause, Profiles, Write};
use crate::sip::{Flow, Message, ServerKey};

use super::request::{Outcome, Topic};
use super::{Failure, Synced};

/// How the final 200 of a registration tells the time (clause 9.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DateHeader {
    /// `2024-05-01T08:00:00.000`, local time, as the standard has it.
    #[default]
    Gb,
    /// `Wed, 01 May 2024 00:00:00 GMT`.
    Rfc1123,
    /// No Date at all, for devices that set their clock wrong by it.
    Off,
}

/// What all devices of a shard share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The platform's own id.
    pub platform: Id,
    /// The platform's SIP domain, also the digest realm.
    pub domain: String,
    /// The password of devices that have none of their own; `None`: only devices added beforehand may register.
    pub password: Option<String>,
    /// The keepalive interval that is expected.
    pub keepalive: Duration,
    /// Keepalives missed in a row after which a device is offline.
    pub misses: u32,
    /// Registrations are granted no shorter than this.
    pub expires_min: Duration,
    /// Registrations are granted no longer than this.
    pub expires_max: Duration,
    /// The form of the Date header.
    pub date_header: DateHeader,
    /// The platform's time zone, for the Date header and the times in bodies.
    pub offset: Offset,
    /// What is known of vendors.
    pub profiles: Arc<Profiles>,
    /// Where devices of 2022 are sent to register instead, as `sip:ID@HOST:PORT`.
    pub redirect: Option<String>,
}

/// Somebody who waits for a device operation, as numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiter(pub u64);

/// A write whose fate the machine wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriteToken(pub u64);

/// What a request to a device was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A catalog query.
    Catalog,
    /// A DeviceInfo query.
    Info,
    /// What somebody asked for, with its SN.
    Ask(u32),
    /// A subscription, with the SN in the SUBSCRIBE.
    Subscribe(Topic, u32),
    /// A command to send a key frame, or the answer to an alarm: nothing depends on it.
    Notice,
}

/// What the machine asks of its surroundings.
#[derive(Debug)]
pub enum Action {
    /// Answer a request.
    Respond {
        /// The server transaction.
        key: ServerKey,
        /// The answer.
        message: Message,
    },
    /// Send a request to a device; what comes of it comes back by [`super::Devices::answered`].
    Request {
        /// The device.
        device: Id,
        /// What for.
        purpose: Purpose,
        /// The way to it.
        flow: Flow,
        /// The request.
        message: Message,
    },
    /// Change the registry. With a token, the outcome comes back by [`super::Devices::committed`].
    Write {
        /// Whom to tell of the outcome.
        token: Option<WriteToken>,
        /// All or nothing.
        writes: Vec<Write>,
    },
    /// A sign of life: the registry's memory takes note, its disk does not.
    Seen {
        /// The device.
        device: Id,
    },
    /// Tell whoever waits for a catalog sync.
    Synced {
        /// Who waits.
        waiter: Waiter,
        /// What the sync brought.
        outcome: Result<Synced, Failure>,
    },
    /// Tell whoever asked something of a device.
    Answered {
        /// Who waits.
        waiter: Waiter,
        /// What came of it.
        outcome: Result<Outcome, Failure>,
    },
    /// Something that others may want to know.
    Event(Event),
}

/// What happened to devices.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A device went offline: its calls are over.
    Offline {
        /// The device.
        device: Id,
        /// Why.
        cause: Cause,
    },
    /// A catalog sync ended.
    CatalogSynced {
        /// The device.
        device: Id,
        /// What it brought.
        synced: Synced,
        /// How long it took.
        took: Duration,
    },
    /// A registration was refused; the reason is a metric label.
    AuthFailed {
        /// The device that it claimed to be, if that could be read.
        device: Option<Id>,
        /// `unknown_device`, `no_password`, `wrong_password`, `unsupported`, `not_registered`, `other_address`.
        reason: &'static str,
    },
    /// A body could not be read; the reason is a metric label.
    BadBody {
        /// The device.
        device: Id,
        /// Why.
        reason: &'static str,
    },
    /// An alarm was told by a device or raised by a person, and is kept.
    Alarm {
        /// As it is kept.
        alarm: Box<Alarm>,
        /// Whether it is a repetition, merged into the first one.
        repeated: bool,
    },
    /// Something is at another place.
    Position {
        /// The device that told.
        device: Id,
        /// What is there: a channel, or the device itself.
        channel: Id,
        /// Where.
        position: Position,
    },
    /// A camera looks elsewhere.
    PtzPosition {
        /// The device that told.
        device: Id,
        /// The camera.
        channel: Id,
        /// Where to.
        position: PtzPosition,
    },
    /// Snapshots were taken and uploaded, or not all of them.
    SnapshotFinished {
        /// The device.
        device: Id,
        /// The camera.
        channel: Id,
        /// The session that asked for them, and the files.
        finished: SnapshotFinished,
    },
    /// A firmware upgrade ended.
    UpgradeResult {
        /// The device.
        device: Id,
        /// The session that asked for it, and how it went.
        result: UpgradeResult,
    },
    /// A device wants to push video (clause A.2.5 of 2022).
    VideoUpload {
        /// The device.
        device: Id,
        /// The camera.
        channel: Id,
        /// When and where.
        upload: VideoUpload,
    },
    /// A recording was sent to its end, told outside of its dialog.
    FileEnd {
        /// The device.
        device: Id,
        /// The channel.
        channel: Id,
    },
    /// A device departs from the standard in a way that was not seen of it before.
    Departure {
        /// The device.
        device: Id,
        /// The rule that it breaks.
        rule: Rule,
        /// What was seen.
        sample: String,
    },
}
