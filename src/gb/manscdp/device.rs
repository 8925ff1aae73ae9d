//! What a device says of itself: DeviceInfo, DeviceStatus, Keepalive.

use serde::Serialize;

use super::answer::rfc3339;
use super::{Message, field, flag, id_of, number_of, time_of};
use crate::gb::id::Id;
use crate::gb::time::{Offset, UnixMillis};
use crate::gb::xml::Element;

/// Faulty children kept of one keepalive.
const MAX_FAULTY: usize = 256;
/// Alarm inputs kept of one device status.
const MAX_ALARMS: usize = 256;

/// The response to a DeviceInfo query.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
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
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct DeviceStatus {
    pub online: Option<bool>,
    /// Whether it works as it should.
    pub ok: Option<bool>,
    /// Why it does not.
    pub reason: Option<String>,
    pub encoding: Option<bool>,
    pub recording: Option<bool>,
    /// The device's clock.
    #[serde(serialize_with = "rfc3339")]
    pub time: Option<UnixMillis>,
    /// Its alarm inputs.
    pub alarms: Vec<AlarmInput>,
}

/// An alarm input of a device status.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AlarmInput {
    pub id: Id,
    /// `onduty`, `offduty` or `alarm`, unless the device has its own words.
    pub duty: Option<String>,
}

impl AlarmInput {
    fn read(item: &Element) -> Option<AlarmInput> {
        // The names of three editions.
        let duty =
            ["DutyStatus", "StatusDutyStatus", "Status"].into_iter().find_map(|name| field(item, name));
        Some(AlarmInput { id: id_of(item, "DeviceID")?, duty: duty.map(|duty| duty.to_ascii_lowercase()) })
    }
}

impl DeviceStatus {
    /// `offset` is the zone of times that name none.
    pub fn read(message: &Message, offset: Offset) -> DeviceStatus {
        let body = &message.body;
        let switch = |name| body.value_of(name).and_then(flag);
        let alarms = body.child("Alarmstatus").into_iter().flat_map(|list| list.children("Item"));
        DeviceStatus {
            online: switch("Online"),
            ok: switch("Status"),
            reason: field(body, "Reason"),
            encoding: switch("Encode"),
            recording: switch("Record"),
            time: time_of(body, "DeviceTime", offset),
            alarms: alarms.filter_map(AlarmInput::read).take(MAX_ALARMS).collect(),
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
