//! What can be asked of a device, and what comes of it.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::gb::manscdp::{Answer, ConfigKind, Control, Query};
use crate::gb::time::{Offset, UnixMillis};
use crate::registry::Alarm;

/// What is asked of a device. The outcome comes by [`super::Action::Answered`].
#[derive(Clone, Debug)]
pub enum Request {
    /// Anything but a catalog, which is fetched by [`super::Devices::sync`].
    Query(Query),
    /// Done when the device says so, or when it acknowledged where the standard has no answer.
    Control(Control),
    /// Sets, then reads back what can be read.
    Configure(Vec<(ConfigKind, Value)>),
    /// Asks the device for all that it should be able to tell. Questions about a channel go to the target, or to
    /// the first camera of the catalog where the target is the device itself.
    SelfTest,
    /// Tells the target, a voice output or its device, to call for sound (clause 9.12).
    Broadcast,
    /// What is subscribed to at the device, and how it stands.
    Subscriptions,
    /// A person's alarm about the target: it goes the same road as a device's.
    Raise(Box<Raise>),
    /// Somebody has taken notice of an alarm.
    Acknowledge {
        /// As the registry has it.
        alarm: Box<Alarm>,
        /// Who.
        by: String,
    },
    /// Resets an alarm at the device (`AlarmCmd`), which otherwise tells no further one of its kind.
    Reset {
        /// As the registry has it.
        alarm: Box<Alarm>,
    },
}

/// An alarm that a person raises.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raise {
    /// Who.
    pub by: String,
    /// 1 (highest) to 4.
    pub priority: u8,
    /// As in an alarm of a device: 1 to 7.
    pub method: u8,
    /// `AlarmType`.
    pub kind: Option<u16>,
    /// `EventType`.
    pub event: Option<u8>,
    /// What happened.
    pub description: Option<String>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// Degrees.
    pub latitude: Option<f64>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// What the device answered. Of an answer in pages that did not all come, those that came.
    Answer(Answer),
    /// The device took a configuration; it says what it did not take.
    Configured(Configured),
    /// What the self-test found.
    SelfTest(Vec<Step>),
    /// The subscriptions at the device.
    Subscriptions(Vec<Subscribed>),
    /// The alarm as it is now.
    Alarm(Box<Alarm>),
    /// The standard has no answer to this; the device acknowledged it.
    Sent,
}

/// What became of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Configured {
    /// Whether the device could be asked for what it has now.
    pub verified: bool,
    /// Values that the device said to have taken, and has not.
    pub ignored: Vec<Ignored>,
}

/// A value that a device did not take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ignored {
    /// The kind of configuration.
    pub kind: ConfigKind,
    /// The field in it, such as `time_segment[1].start_hour`; empty: the whole.
    pub field: String,
    /// What it was told.
    pub wanted: Value,
    /// What it has; null if it did not say.
    pub has: Value,
}

/// A step of a self-test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// `device_info`, `device_status`, `catalog`, `records`, `config`, `presets`, `home_position`, `ptz_position`,
    /// `sd_cards`.
    pub name: &'static str,
    /// Whether the device did as the standard says.
    pub ok: bool,
    /// What was found, in a sentence.
    pub detail: String,
    /// How long it took, in milliseconds outside.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
}

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Changes of the catalog.
    Catalog,
    /// Alarms.
    Alarm,
    /// Positions of what moves.
    Position,
    /// Where cameras look; since 2022.
    PtzPosition,
}

impl Topic {
    pub(super) const ALL: [Topic; 4] = [Topic::Catalog, Topic::Alarm, Topic::Position, Topic::PtzPosition];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Catalog => "catalog",
            Topic::Alarm => "alarm",
            Topic::Position => "position",
            Topic::PtzPosition => "ptz_position",
        }
    }
}

/// A subscription, as others see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subscribed {
    /// To what.
    pub topic: Topic,
    /// How it stands.
    pub state: SubscriptionState,
    /// The SIP status code of the last refusal.
    pub code: Option<u16>,
    /// Until when it was granted.
    #[serde(serialize_with = "rfc3339")]
    pub expires_at: Option<UnixMillis>,
    /// Notifies received.
    pub notifies: u32,
    /// When the last one came.
    #[serde(serialize_with = "rfc3339")]
    pub last_notify: Option<UnixMillis>,
}

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// Its turn has not come yet, the device is offline, or it is tried again after a while.
    Waiting,
    /// SUBSCRIBE was sent.
    Asking,
    /// Granted.
    Active,
    /// The device does not do this; it is asked again when it comes anew.
    Refused,
    /// The device's edition does not have it.
    Unsupported,
    /// It is being ended.
    Ending,
}

fn millis<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

fn rfc3339<S: Serializer>(at: &Option<UnixMillis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_str(&at.to_rfc3339(Offset::UTC)),
        None => serializer.serialize_none(),
    }
}
