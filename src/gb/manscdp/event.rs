//! What happens at a device and it tells by itself: Alarm, MediaStatus, MobilePosition, and the ends of uploads and
//! upgrades; A.2.5. Also what an alarm subscription asks for, and the platform's Broadcast.

use serde::Serialize;

use super::answer::rfc3339;
use super::{Message, Root, Style, clipped, degrees_of, field, flag, id_of, number_of, time_of, write};
use crate::gb::id::Id;
use crate::gb::time::{Offset, UnixMillis, gb_seconds};
use crate::gb::xml::{Element, Writer};

/// Positions kept of one notify.
const MAX_POSITIONS: usize = 1000;
/// Snapshots kept of one notify; the standard has at most ten.
const MAX_SNAPSHOTS: usize = 64;
/// Methods kept of an alarm filter; there are seven.
const MAX_METHODS: usize = 8;

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
            time: time_of(body, "AlarmTime", offset),
            description: field(body, "AlarmDescription"),
            longitude: degrees_of(body, "Longitude", 180.0),
            latitude: degrees_of(body, "Latitude", 90.0),
            kind: info.and_then(|info| number_of(info, "AlarmType")).or_else(|| number_of(body, "AlarmType")),
            event_type: info
                .and_then(|info| info.child("AlarmTypeParam"))
                .and_then(|param| number_of(param, "EventType")),
        }
    }

    /// The notify, from the source `id`. What the alarm leaves open is left out.
    pub fn body(&self, sn: u32, id: &Id, style: &Style) -> String {
        write::body(Root::Notify, "Alarm", sn, id, |w| {
            w.optional_value("AlarmPriority", self.priority);
            w.optional_value("AlarmMethod", self.method);
            w.optional("AlarmTime", self.time.map(|time| gb_seconds(time, style.offset)).as_deref());
            w.optional("AlarmDescription", self.description.as_deref());
            w.optional_value("Longitude", self.longitude);
            w.optional_value("Latitude", self.latitude);
            if self.kind.is_some() || self.event_type.is_some() {
                w.element("Info", &[], |w| {
                    w.optional_value("AlarmType", self.kind);
                    if let Some(event) = self.event_type {
                        w.element("AlarmTypeParam", &[], |w| w.value("EventType", event));
                    }
                });
            }
        })
    }
}

/// Which alarms a subscription asks for, A.2.4.6. By default all of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AlarmFilter {
    /// 1 to 4; 0 for both is all.
    pub start_priority: u8,
    pub end_priority: u8,
    /// None is all.
    pub methods: Vec<u8>,
    pub kind: Option<u16>,
    pub start: Option<UnixMillis>,
    pub end: Option<UnixMillis>,
}

impl AlarmFilter {
    pub(super) fn write(&self, w: &mut Writer, style: &Style) {
        let time = |at: Option<UnixMillis>| at.map(|at| gb_seconds(at, style.offset));
        w.value("StartAlarmPriority", self.start_priority);
        w.value("EndAlarmPriority", self.end_priority);
        // One after the other in 2016, with a slash between since 2022.
        let methods: Vec<String> = self.methods.iter().map(u8::to_string).collect();
        let methods = methods.join(if style.is_2022() { "/" } else { "" });
        w.field("AlarmMethod", if methods.is_empty() { "0" } else { &methods });
        w.optional_value("AlarmType", self.kind);
        w.optional("StartAlarmTime", time(self.start).as_deref());
        w.optional("EndAlarmTime", time(self.end).as_deref());
    }

    pub(super) fn read(message: &Message, offset: Offset) -> AlarmFilter {
        let body = &message.body;
        let digits = body.value_of("AlarmMethod").unwrap_or_default().bytes().filter(u8::is_ascii_digit);
        let methods: Vec<u8> = digits.map(|digit| digit - b'0').take(MAX_METHODS).collect();
        // The sample of 2016 has the latter names.
        let time = |name, other| time_of(body, name, offset).or_else(|| time_of(body, other, offset));
        AlarmFilter {
            start_priority: number_of(body, "StartAlarmPriority").unwrap_or(0),
            end_priority: number_of(body, "EndAlarmPriority").unwrap_or(0),
            methods: if methods.contains(&0) { Vec::new() } else { methods },
            kind: number_of(body, "AlarmType"),
            start: time("StartAlarmTime", "StartTime"),
            end: time("EndAlarmTime", "EndTime"),
        }
    }

    /// Whether an alarm is one of those asked for.
    pub fn wants(&self, alarm: &Alarm) -> bool {
        let priority = alarm.priority.unwrap_or(4);
        let end = if self.end_priority == 0 { u8::MAX } else { self.end_priority };
        (self.start_priority..=end).contains(&priority)
            && (self.methods.is_empty() || alarm.method.is_some_and(|method| self.methods.contains(&method)))
            && (self.kind.is_none() || self.kind == alarm.kind)
            && self.start.is_none_or(|start| alarm.time.is_none_or(|time| time >= start))
            && self.end.is_none_or(|end| alarm.time.is_none_or(|time| time <= end))
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

/// Where a mobile device is: an item of a MobilePosition notify.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub struct Position {
    /// Whose, where it is told.
    pub id: Option<Id>,
    #[serde(serialize_with = "rfc3339")]
    pub at: Option<UnixMillis>,
    /// Degrees, WGS-84.
    pub longitude: f64,
    pub latitude: f64,
    /// km/h.
    pub speed: Option<f64>,
    /// Degrees from north, clockwise.
    pub direction: Option<f64>,
    /// Metres above the sea.
    pub altitude: Option<f64>,
    /// Metres above ground; since 2022.
    pub height: Option<f64>,
}

/// A MobilePosition notify: of one device up to 2016, a list since 2022.
#[derive(Copy, Clone, Debug)]
pub struct MobilePosition;

impl MobilePosition {
    /// Positions without coordinates are left out. `offset` is the zone of times that name none.
    pub fn read(message: &Message, offset: Offset) -> Vec<Position> {
        let body = &message.body;
        let time = time_of(body, "Time", offset);
        match body.child("DeviceList") {
            // Where there is a list, coordinates beside it mean nothing.
            Some(list) => {
                let read = |item| Position::read(item, offset, time);
                list.children("Item").take(MAX_POSITIONS).filter_map(read).collect()
            }
            None => Position::read(body, offset, time).into_iter().collect(),
        }
    }

    /// The notify of the device `id`. Up to 2016 there is room for the first position alone.
    pub fn body(sn: u32, id: &Id, positions: &[Position], style: &Style) -> String {
        let time = |at: Option<UnixMillis>| at.map(|at| gb_seconds(at, style.offset));
        write::body(Root::Notify, "MobilePosition", sn, id, |w| {
            w.optional("Time", time(positions.iter().find_map(|position| position.at)).as_deref());
            if !style.is_2022() {
                if let Some(position) = positions.first() {
                    position.write(w);
                }
                return;
            }
            w.value("SumNum", positions.len());
            if positions.is_empty() {
                return;
            }
            w.element("DeviceList", &[("Num", &positions.len().to_string())], |w| {
                for position in positions {
                    w.element("Item", &[], |w| {
                        w.field("DeviceID", position.id.unwrap_or(*id).as_str());
                        w.optional("CaptureTime", time(position.at).as_deref());
                        position.write(w);
                        w.optional_value("Height", position.height);
                    });
                }
            });
        })
    }
}

impl Position {
    fn read(element: &Element, offset: Offset, time: Option<UnixMillis>) -> Option<Position> {
        Some(Position {
            id: id_of(element, "DeviceID"),
            at: time_of(element, "CaptureTime", offset).or(time),
            longitude: degrees_of(element, "Longitude", 180.0)?,
            latitude: degrees_of(element, "Latitude", 90.0)?,
            speed: degrees_of(element, "Speed", 10_000.0),
            direction: degrees_of(element, "Direction", 360.0),
            altitude: degrees_of(element, "Altitude", 100_000.0),
            height: degrees_of(element, "Height", 100_000.0),
        })
    }

    fn write(&self, w: &mut Writer) {
        w.value("Longitude", self.longitude);
        w.value("Latitude", self.latitude);
        w.optional_value("Speed", self.speed);
        w.optional_value("Direction", self.direction);
        w.optional_value("Altitude", self.altitude);
    }
}

/// UploadSnapShotFinished: the pictures of a session are uploaded, or as many as could be; since 2022.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct SnapshotFinished {
    pub session: String,
    /// Names of the pictures.
    pub files: Vec<String>,
}

impl SnapshotFinished {
    pub fn read(message: &Message) -> SnapshotFinished {
        let body = &message.body;
        let none = Element::default();
        let files = body.child("SnapShotList").unwrap_or(&none);
        SnapshotFinished {
            session: field(body, "SessionID").unwrap_or_default(),
            files: files
                .children("SnapShotFileID")
                .map(|file| clipped(file.text.trim()))
                .filter(|file| !file.is_empty())
                .take(MAX_SNAPSHOTS)
                .collect(),
        }
    }

    pub fn body(&self, sn: u32, id: &Id) -> String {
        write::body(Root::Notify, "UploadSnapShotFinished", sn, id, |w| {
            w.field("SessionID", &self.session);
            w.element("SnapShotList", &[], |w| {
                self.files.iter().for_each(|file| w.field("SnapShotFileID", file));
            });
        })
    }
}

/// DeviceUpgradeResult: what came of an upgrade, told after the restart; since 2022.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct UpgradeResult {
    pub session: String,
    pub ok: bool,
    /// What runs now.
    pub firmware: Option<String>,
    /// 01 download timed out, 02 damaged package, 03 system error, 99 other.
    pub reason: Option<String>,
}

impl UpgradeResult {
    pub fn read(message: &Message) -> UpgradeResult {
        let body = &message.body;
        UpgradeResult {
            session: field(body, "SessionID").unwrap_or_default(),
            ok: body.value_of("UpgradeResult").and_then(flag) == Some(true),
            firmware: field(body, "Firmware"),
            reason: field(body, "UpgradeFailedReason"),
        }
    }

    pub fn body(&self, sn: u32, id: &Id) -> String {
        write::body(Root::Notify, "DeviceUpgradeResult", sn, id, |w| {
            w.field("SessionID", &self.session);
            w.field("UpgradeResult", write::result(self.ok));
            w.optional("Firmware", self.firmware.as_deref());
            w.optional("UpgradeFailedReason", self.reason.as_deref());
        })
    }
}

/// VideoUploadNotify: a device wants to send live video; since 2022.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize)]
pub struct VideoUpload {
    #[serde(serialize_with = "rfc3339")]
    pub at: Option<UnixMillis>,
    pub longitude: Option<f64>,
    pub latitude: Option<f64>,
}

impl VideoUpload {
    pub fn read(message: &Message, offset: Offset) -> VideoUpload {
        let body = &message.body;
        VideoUpload {
            at: time_of(body, "Time", offset),
            longitude: degrees_of(body, "Longitude", 180.0),
            latitude: degrees_of(body, "Latitude", 90.0),
        }
    }

    pub fn body(&self, sn: u32, id: &Id, style: &Style) -> String {
        write::body(Root::Notify, "VideoUploadNotify", sn, id, |w| {
            w.optional("Time", self.at.map(|at| gb_seconds(at, style.offset)).as_deref());
            w.optional_value("Longitude", self.longitude);
            w.optional_value("Latitude", self.latitude);
        })
    }
}

/// Broadcast, clause 9.12: the platform asks a device to fetch sound from it. It names no DeviceID.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Broadcast {
    /// The voice input, or the platform.
    pub source: Id,
    /// The voice output, or its device.
    pub target: Id,
}

impl Broadcast {
    /// None: it does not say both.
    pub fn read(message: &Message) -> Option<Broadcast> {
        let body = &message.body;
        Some(Broadcast { source: id_of(body, "SourceID")?, target: id_of(body, "TargetID")? })
    }

    /// The notify. The device answers with a response to the same SN, whose DeviceID is the target.
    pub fn body(&self, sn: u32) -> String {
        let mut w = Writer::new();
        w.element(Root::Notify.as_str(), &[], |w| {
            w.field("CmdType", "Broadcast");
            w.value("SN", sn);
            w.field("SourceID", self.source.as_str());
            w.field("TargetID", self.target.as_str());
        });
        w.finish()
    }
}
