//! What a device says of itself: DeviceInfo, DeviceStatus, Keepalive.

use super::{Message, field, flag, number_of};
use crate::gb::id::Id;
use crate::gb::time::{Offset, UnixMillis, parse_gb};

/// Faulty children kept of one keepalive.
const MAX_FAULTY: usize = 256;

/// The response to a DeviceInfo query.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeviceInfo {
    pub name: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub firmware: Option<String>,
    /// Video inputs.
    pub channels: Option<u32>,
}

impl DeviceInfo {
    pub fn read(message: &Message) -> DeviceInfo {
        let body = &message.body;
        DeviceInfo {
            name: field(body, "DeviceName"),
            manufacturer: field(body, "Manufacturer"),
            model: field(body, "Model"),
            firmware: field(body, "Firmware"),
            // The latter in older samples.
            channels: number_of(body, "Channel").or_else(|| number_of(body, "MaxCamera")),
        }
    }
}

/// The response to a DeviceStatus query.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct DeviceStatus {
    pub online: Option<bool>,
    /// Whether it works as it should.
    pub ok: Option<bool>,
    pub encoding: Option<bool>,
    pub recording: Option<bool>,
    /// The device's clock.
    pub time: Option<UnixMillis>,
}

impl DeviceStatus {
    /// `offset` is the zone of times that name none.
    pub fn read(message: &Message, offset: Offset) -> DeviceStatus {
        let body = &message.body;
        let switch = |name| body.value_of(name).and_then(flag);
        DeviceStatus {
            online: switch("Online"),
            ok: switch("Status"),
            encoding: switch("Encode"),
            recording: switch("Record"),
            time: body.value_of("DeviceTime").and_then(|time| parse_gb(time, offset)),
        }
    }
}

/// A keepalive notify, clause 9.6.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keepalive {
    /// False only where the device says ERROR.
    pub ok: bool,
    /// Children that the device reports as faulty.
    pub faulty: Vec<Id>,
}

impl Keepalive {
    pub fn read(message: &Message) -> Keepalive {
        let body = &message.body;
        Keepalive {
            ok: body.value_of("Status").and_then(flag) != Some(false),
            faulty: body
                .children("Info")
                .flat_map(|info| info.children("DeviceID"))
                .filter_map(|id| Id::parse(&id.text).ok())
                .take(MAX_FAULTY)
                .collect(),
        }
    }
}
