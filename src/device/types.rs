//! The words of this room: settings, what it asks of its surroundings, and what it reports.

use std::time::Duration;

use serde::Serialize;

use crate::gb::id::Id;
use crate::gb::time::Offset;
use crate::registry::{Cause, Write};
use crate::sip::{Flow, Message, ServerKey};

use super::Synced;

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
    /// The platform's time zone, for the Date header.
    pub offset: Offset,
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
    /// Something that others may want to know.
    Event(Event),
}

/// What happened to devices.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// An alarm was notified.
    Alarm {
        /// The device that sent it.
        device: Id,
    },
}

/// Why an operation on a device failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No such device.
    NotFound,
    /// The device cannot be reached now.
    Offline,
    /// The device did not answer in time.
    NoAnswer,
    /// The device refused with a SIP status code.
    Refused(u16),
    /// Too many wait for the same already.
    Busy,
}

impl Failure {
    /// The stable code, as in problem documents.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::NotFound => "not_found",
            Failure::Offline => "device_offline",
            Failure::NoAnswer => "no_answer",
            Failure::Refused(_) => "refused",
            Failure::Busy => "busy",
        }
    }

    /// The step at which it stopped.
    pub fn step(&self) -> &'static str {
        match self {
            Failure::NotFound => "lookup",
            Failure::Offline => "registration",
            Failure::NoAnswer | Failure::Refused(_) => "query",
            Failure::Busy => "queue",
        }
    }

    /// One sentence for a person.
    pub fn detail(&self) -> String {
        match self {
            Failure::NotFound => "no such device".to_owned(),
            Failure::Offline => "the device is offline".to_owned(),
            Failure::NoAnswer => "the device did not answer the query in time".to_owned(),
            Failure::Refused(code) => format!("the device answered the query with {code}"),
            Failure::Busy => "too many wait for this already".to_owned(),
        }
    }

    /// What to check.
    pub fn hint(&self) -> &'static str {
        match self {
            Failure::NotFound => "Check the id; a device appears once it has registered or was added.",
            Failure::Offline => {
                "Check power and network of the device, and that its keepalives reach this gateway."
            }
            Failure::NoAnswer => {
                "The device acknowledges but sends no answer, or its answer is lost: try TCP for SIP, since large \
                 answers over UDP are fragmented."
            }
            Failure::Refused(_) => "Look up the status code in the device's log.",
            Failure::Busy => "Wait for the operation that runs, then ask again.",
        }
    }
}
