//! What all devices of a simulation share.

use std::time::Duration;

use super::quirks::Quirk;
use crate::gb::id::Id;
use crate::gb::manscdp::Edition;
use crate::gb::time::Offset;

/// The zone of the times that devices tell.
pub(super) const ZONE: Offset = Offset::BEIJING;

/// What all devices of a simulation share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The platform's id.
    pub server_id: Id,
    /// Its domain.
    pub domain: String,
    /// The password of the devices.
    pub password: String,
    /// Seconds for which they register.
    pub expires: u32,
    /// How often they say that they are there.
    pub keepalive: Duration,
    /// How they misbehave.
    pub quirks: Vec<Quirk>,
    /// The edition that they speak. One of 2022 says so; the others don't know how.
    pub edition: Edition,
    /// Items of a catalog or a list of recordings in one MESSAGE.
    pub page: usize,
    /// How the sound of a broadcast reaches them.
    pub talk: TalkWay,
    /// How often each raises an alarm.
    pub alarm_every: Option<Duration>,
    /// How often each tells where it is without having been asked.
    pub position_every: Option<Duration>,
    /// How often the state of a channel changes.
    pub catalog_every: Option<Duration>,
}

/// How the sound of a broadcast reaches a device, which calls for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TalkWay {
    /// RTP over UDP.
    #[default]
    Udp,
    /// The device connects.
    TcpActive,
    /// The device listens.
    TcpPassive,
}

impl Settings {
    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    #[cfg(test)]
    pub(super) fn example() -> Settings {
        Settings {
            server_id: "34020000002000000001".parse().unwrap(),
            domain: "3402000000".to_owned(),
            password: "12345678".to_owned(),
            expires: 3600,
            keepalive: Duration::from_secs(60),
            quirks: Vec::new(),
            edition: Edition::E2016,
            page: 4,
            talk: TalkWay::Udp,
            alarm_every: None,
            position_every: None,
            catalog_every: None,
        }
    }
}
