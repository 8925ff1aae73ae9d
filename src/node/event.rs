//! What happens at this node, for those who watch: the console over server-sent events, other programs over Redis.

use serde_json::{Value, json};

use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::answer::PtzPosition;
use crate::gb::manscdp::event::{Position, SnapshotFinished, UpgradeResult};
use crate::gb::time::{Offset, UnixMillis};
use crate::registry::Alarm;

/// An event. [`Event::name`] is its name and [`Event::to_json`] its data in the public contract.
#[derive(Clone, Debug)]
pub enum Event {
    /// A device came online.
    DeviceOnline { device: Id },
    /// A device went offline.
    DeviceOffline { device: Id, cause: &'static str },
    /// A device's channels changed: added, changed and removed ones.
    CatalogChanged { device: Id, added: u32, changed: u32, removed: u32 },
    /// A device told an alarm, or a person raised one.
    Alarm { alarm: Box<Alarm> },
    /// An alarm came again, was acknowledged or was reset.
    AlarmChanged { alarm: Box<Alarm> },
    /// Something moved.
    Position { device: Id, channel: Id, position: Position },
    /// A camera looks elsewhere.
    PtzPosition { device: Id, channel: Id, position: PtzPosition },
    /// Snapshots were taken.
    SnapshotFinished { device: Id, channel: Id, finished: SnapshotFinished },
    /// A firmware upgrade ended.
    UpgradeResult { device: Id, result: UpgradeResult },
    /// A camera announces that it wants to push video.
    VideoUpload { device: Id, channel: Id },
    /// A device departs from the standard in a way that was not seen of it before.
    Departure { device: Id, rule: Rule, sample: String },
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
            Event::AlarmChanged { .. } => "alarm.changed",
            Event::Position { .. } => "position",
            Event::PtzPosition { .. } => "ptz.position",
            Event::SnapshotFinished { .. } => "snapshot.finished",
            Event::UpgradeResult { .. } => "upgrade.result",
            Event::VideoUpload { .. } => "video.upload",
            Event::Departure { .. } => "device.departure",
            Event::StreamStarted { .. } => "stream.started",
            Event::StreamEnded { .. } => "stream.ended",
        }
    }

    /// The data in the public contract; times are written in the zone of `offset`.
    pub fn to_json(&self, offset: Offset) -> Value {
        match self {
            Event::DeviceOnline { device } => json!({ "device": device }),
            Event::DeviceOffline { device, cause } => json!({ "device": device, "cause": cause }),
            Event::CatalogChanged { device, added, changed, removed } => {
                json!({ "device": device, "added": added, "changed": changed, "removed": removed })
            }
            Event::Alarm { alarm } | Event::AlarmChanged { alarm } => alarm_json(alarm, offset),
            Event::Position { device, channel, position } => json!({
                "device": device,
                "channel": channel,
                "at": position.at.map(|at| at.to_rfc3339(offset)),
                "longitude": position.longitude,
                "latitude": position.latitude,
                "speed": position.speed,
                "direction": position.direction,
                "altitude": position.altitude,
                "height": position.height,
            }),
            Event::PtzPosition { device, channel, position } => {
                json!({ "device": device, "channel": channel, "position": position })
            }
            Event::SnapshotFinished { device, channel, finished } => json!({
                "device": device, "channel": channel, "session": finished.session, "files": finished.files,
            }),
            Event::UpgradeResult { device, result } => json!({
                "device": device,
                "session": result.session,
                "ok": result.ok,
                "firmware": result.firmware,
                "reason": result.reason,
            }),
            Event::VideoUpload { device, channel } => json!({ "device": device, "channel": channel }),
            Event::Departure { device, rule, sample } => json!({
                "device": device, "rule": rule, "clause": rule.clause(), "says": rule.says(), "sample": sample,
            }),
            Event::StreamStarted { id, device, channel, stream } => {
                json!({ "id": id, "device": device, "channel": channel, "stream": stream })
            }
            Event::StreamEnded { id, device, channel, stream, code, detail } => json!({
                "id": id, "device": device, "channel": channel, "stream": stream, "code": code, "detail": detail,
            }),
        }
    }
}

/// An alarm in the form of the public contract.
pub fn alarm_json(alarm: &Alarm, offset: Offset) -> Value {
    let time = |at: UnixMillis| at.to_rfc3339(offset);
    let acknowledged = alarm.acknowledged.as_ref().map(|by| json!({ "by": by.by, "at": time(by.at) }));
    json!({
        "id": alarm.id,
        "device": alarm.device,
        "channel": alarm.channel,
        "priority": alarm.priority,
        "method": alarm.method,
        "kind": alarm.kind,
        "event": alarm.event,
        "description": alarm.description,
        "longitude": alarm.longitude,
        "latitude": alarm.latitude,
        "at": time(alarm.at),
        "received_at": time(alarm.received_at),
        "count": alarm.count,
        "last_at": time(alarm.last_at),
        "acknowledged": acknowledged,
        "reset_at": alarm.reset_at.map(time),
        "raised_by": alarm.raised_by,
    })
}
