//! What happens at a device: Alarm, MediaStatus.

use super::{Message, degrees_of, field, number_of};
use crate::gb::time::{Offset, UnixMillis, parse_gb};

/// An alarm notify, clause 9.4. The source is the message's DeviceID: an alarm input, a camera or the device
/// itself, as vendors have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alarm {
    /// 1 (highest) to 4.
    pub priority: Option<u8>,
    /// 1 telephone, 2 device, 3 SMS, 4 GPS, 5 video, 6 device failure, 7 other.
    pub method: Option<u8>,
    /// When, by the device's clock.
    pub time: Option<UnixMillis>,
    pub description: Option<String>,
    pub longitude: Option<f64>,
    pub latitude: Option<f64>,
    /// AlarmType, whose meaning depends on the method.
    pub kind: Option<u16>,
    /// Of an intrusion: 1 entering, 2 leaving.
    pub event_type: Option<u8>,
}

impl Alarm {
    /// `offset` is the zone of times that name none.
    pub fn read(message: &Message, offset: Offset) -> Alarm {
        let body = &message.body;
        let info = body.child("Info");
        Alarm {
            priority: number_of(body, "AlarmPriority"),
            method: number_of(body, "AlarmMethod"),
            time: body.value_of("AlarmTime").and_then(|time| parse_gb(time, offset)),
            description: field(body, "AlarmDescription"),
            longitude: degrees_of(body, "Longitude", 180.0),
            latitude: degrees_of(body, "Latitude", 90.0),
            kind: info.and_then(|info| number_of(info, "AlarmType")).or_else(|| number_of(body, "AlarmType")),
            event_type: info
                .and_then(|info| info.child("AlarmTypeParam"))
                .and_then(|param| number_of(param, "EventType")),
        }
    }
}

/// The notify of a media source, sent inside the INVITE's dialog.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MediaStatus {
    /// 121: the recording was sent to its end.
    pub notify_type: Option<u16>,
}

impl MediaStatus {
    /// NotifyType of a recording that was sent to its end.
    pub const FILE_END: u16 = 121;

    pub fn read(message: &Message) -> MediaStatus {
        MediaStatus { notify_type: number_of(&message.body, "NotifyType") }
    }
}
