//! What happened, as it is kept and exported: alarms, the audit, and what departs from the standard.

use serde::{Deserialize, Serialize};

use super::model::clip_to;
use super::stamp::{AlarmId, AuditId};
use super::{MAX_SAMPLE, MAX_TEXT};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;

/// An alarm, clause 9.4: told by a device, or raised by a person. Repetitions are merged into the first one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub id: AlarmId,
    pub device: Id,
    /// The message's DeviceID: an alarm input, a camera, or the device itself.
    pub channel: Id,
    /// 1 (highest) to 4; 0 if it was not told.
    #[serde(default)]
    pub priority: u8,
    /// 1 telephone, 2 device, 3 SMS, 4 GPS, 5 video, 6 device failure, 7 other; 0 if it was not told.
    #[serde(default)]
    pub method: u8,
    /// AlarmType, whose meaning depends on the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<u16>,
    /// EventType of an intrusion: 1 entering, 2 leaving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// When, by the device's clock.
    pub at: UnixMillis,
    pub received_at: UnixMillis,
    /// How often it came: 1, and one more for each repetition.
    #[serde(default = "once")]
    pub count: u32,
    /// When the last of them came.
    pub last_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// When the device took the command to reset it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<UnixMillis>,
    /// The person who raised it; `None`: a device did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_by: Option<String>,
}

/// Who has taken notice of an alarm, and when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Acknowledged {
    pub by: String,
    pub at: UnixMillis,
}

impl Alarm {
    /// An alarm of which only the place and the time are known.
    pub fn new(id: AlarmId, device: Id, channel: Id, at: UnixMillis, received_at: UnixMillis) -> Alarm {
        Alarm {
            id,
            device,
            channel,
            priority: 0,
            method: 0,
            kind: None,
            event: None,
            description: None,
            longitude: None,
            latitude: None,
            at,
            received_at,
            count: 1,
            last_at: received_at,
            acknowledged: None,
            reset_at: None,
            raised_by: None,
        }
    }

    /// The same within the bounds of what is kept: texts cut, positions finite.
    pub(super) fn clipped(mut self) -> Alarm {
        let by = self.acknowledged.as_mut().map(|acknowledged| &mut acknowledged.by);
        let texts = [self.description.as_mut(), by, self.raised_by.as_mut()];
        texts.into_iter().flatten().for_each(|text| clip_to(text, MAX_TEXT));
        self.longitude.take_if(|degrees| !degrees.is_finite());
        self.latitude.take_if(|degrees| !degrees.is_finite());
        self
    }
}

/// What a person or a program did, or was refused. It holds no secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    pub id: AuditId,
    pub at: UnixMillis,
    /// Who; empty if it was not known.
    #[serde(default)]
    pub user: String,
    #[serde(default)]
    pub role: String,
    /// From where: an address.
    #[serde(default)]
    pub from: String,
    /// What: `watch`, `ptz`, `playback`, `control.reboot`, `alarm.acknowledge`, `device.add`, ...
    pub action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Id>,
    /// More of it, for a person to read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// `ok`, or the stable code of the refusal or failure.
    pub outcome: String,
}

/// A rule of the standard that a device breaks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub rule: Rule,
    pub first: UnixMillis,
    pub last: UnixMillis,
    /// How often it was seen.
    pub count: u64,
    /// What was seen the last time; at most [`MAX_SAMPLE`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sample: String,
}

impl Finding {
    /// Seen for the first time.
    pub fn new(rule: Rule, at: UnixMillis, sample: &str) -> Finding {
        let mut sample = sample.to_owned();
        clip_to(&mut sample, MAX_SAMPLE);
        Finding { rule, first: at, last: at, count: 1, sample }
    }
}

/// As they are kept: one for each rule (the last one given), in the order of the rules, samples cut.
pub(super) fn settled(findings: &[Finding]) -> Box<[Finding]> {
    let mut by_rule = std::collections::BTreeMap::new();
    for finding in findings {
        let mut finding = finding.clone();
        clip_to(&mut finding.sample, MAX_SAMPLE);
        by_rule.insert(finding.rule, finding);
    }
    by_rule.into_values().collect()
}

/// Where a channel last was, as told by MobilePosition.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Degrees.
    pub longitude: f64,
    pub latitude: f64,
    pub at: UnixMillis,
}

impl Position {
    /// `None` if there is no such place.
    pub fn new(longitude: f64, latitude: f64, at: UnixMillis) -> Option<Position> {
        // Not-a-number is in no range.
        let there = (-180.0..=180.0).contains(&longitude) && (-90.0..=90.0).contains(&latitude);
        there.then_some(Position { longitude, latitude, at })
    }
}

fn once() -> u32 {
    1
}
