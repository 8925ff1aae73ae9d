//! The options of `gbgate simulate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::population::Population;
use super::quirks::{self, Quirk};
use super::settings::{Settings, TalkWay};
use crate::gb::id::Id;
use crate::gb::manscdp::Edition;

/// The password that devices have if nobody says another.
const PASSWORD: &str = "12345678";

/// The command's options.
#[derive(Args, Clone, Debug)]
#[command(after_help = quirks::help())]
pub struct Options {
    /// The platform's SIP address.
    #[arg(long, value_name = "HOST:PORT")]
    pub server: String,
    /// The platform's id, 20 digits.
    #[arg(long, value_name = "ID")]
    pub server_id: Id,
    /// The platform's SIP domain, also the digest realm.
    #[arg(long)]
    pub domain: String,
    /// How many devices.
    #[arg(long, default_value_t = 1)]
    pub devices: u64,
    /// How many channels each device has.
    #[arg(long, default_value_t = 1)]
    pub channels: u64,
    /// SIP over UDP, TCP or TLS.
    #[arg(long, value_enum, default_value_t = SipTransport::Udp)]
    pub transport: SipTransport,
    /// The id of the first device; the others follow it. Default: a recorder (118) in the platform's domain, with
    /// --tree a platform (200).
    #[arg(long, value_name = "ID")]
    pub first_id: Option<Id>,
    /// The id of the first channel of the first device. Default: cameras (131) in the platform's domain.
    #[arg(long, value_name = "ID")]
    pub first_channel: Option<Id>,
    /// The password of all devices.
    #[arg(long, default_value = PASSWORD)]
    pub password: String,
    /// The edition of the standard that the devices speak. One of 2022 says so (X-GB-Ver) and knows what that edition
    /// brought: home position, cruise tracks, precise PTZ, cards, upgrades, snapshots, redirection.
    #[arg(long, value_enum, default_value_t = EditionName::E2016)]
    pub edition: EditionName,
    /// What the cameras show: Annex B, a file that ends in .h264 or .h265. Default: a clip of the program's own.
    #[arg(long, value_name = "FILE")]
    pub clip: Option<PathBuf>,
    /// How the devices misbehave, separated by commas; see below.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub quirks: Vec<Quirk>,
    /// Let the channels stand in a tree of regions, business groups and virtual organisations, as in a lower platform.
    #[arg(long)]
    pub tree: bool,
    /// List a loudspeaker (137) and an alarm input (134) in each catalog.
    #[arg(long)]
    pub extras: bool,
    /// Items of a catalog or a list of recordings in one message.
    #[arg(long, default_value_t = 4, value_name = "ITEMS")]
    pub page: usize,
    /// Seconds between keepalives.
    #[arg(long, default_value_t = 60)]
    pub keepalive: u64,
    /// Seconds for which the devices register.
    #[arg(long, default_value_t = 3600)]
    pub expires: u32,
    /// Seconds between alarms of each device; 0: none. By NOTIFY to who subscribed, else by MESSAGE.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub alarm_every: u64,
    /// Seconds between positions that each device tells unasked; 0: none.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub position_every: u64,
    /// Seconds between changes of each catalog: OFF, ON, VLOST, DEFECT, UPDATE, DEL and ADD in turn; 0: none.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub catalog_every: u64,
    /// How the sound of a broadcast reaches the devices.
    #[arg(long, value_enum, default_value_t = TalkWay::Udp)]
    pub talk_transport: TalkWay,
    /// Append the sound that is broadcast to a file: G.711A without a header.
    #[arg(long, value_name = "FILE")]
    pub keep_talk: Option<PathBuf>,
    /// Milliseconds between the first registrations of two devices.
    #[arg(long, default_value_t = 5)]
    pub stagger: u64,
    /// End after so many seconds; 0: not before Ctrl-C.
    #[arg(long, default_value_t = 0)]
    pub duration: u64,
}

/// How SIP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SipTransport {
    /// One socket for each device.
    Udp,
    /// One connection for each device.
    Tcp,
    /// One encrypted connection for each device; any certificate is taken.
    Tls,
}

/// An edition by its year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EditionName {
    /// GB/T 28181-2011.
    #[value(name = "2011")]
    E2011,
    /// GB/T 28181-2016.
    #[value(name = "2016")]
    E2016,
    /// GB/T 28181-2022.
    #[value(name = "2022")]
    E2022,
}

impl From<EditionName> for Edition {
    fn from(name: EditionName) -> Edition {
        match name {
            EditionName::E2011 => Edition::E2011,
            EditionName::E2016 => Edition::E2016,
            EditionName::E2022 => Edition::E2022,
        }
    }
}

impl Options {
    /// One device with one channel and no quirks, against this platform.
    pub fn new(server: String, server_id: Id, domain: String) -> Options {
        Options {
            server,
            server_id,
            domain,
            devices: 1,
            channels: 1,
            transport: SipTransport::Udp,
            first_id: None,
            first_channel: None,
            password: PASSWORD.to_owned(),
            edition: EditionName::E2016,
            clip: None,
            quirks: Vec::new(),
            tree: false,
            extras: false,
            page: 4,
            keepalive: 60,
            expires: 3600,
            alarm_every: 0,
            position_every: 0,
            catalog_every: 0,
            talk_transport: TalkWay::Udp,
            keep_talk: None,
            stagger: 5,
            duration: 0,
        }
    }

    pub(super) fn settings(&self) -> Settings {
        let every = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        Settings {
            server_id: self.server_id,
            domain: self.domain.clone(),
            password: self.password.clone(),
            expires: self.expires,
            keepalive: Duration::from_secs(self.keepalive.max(1)),
            quirks: self.quirks.clone(),
            edition: self.edition.into(),
            page: self.page.max(1),
            talk: self.talk_transport,
            alarm_every: every(self.alarm_every),
            position_every: every(self.position_every),
            catalog_every: every(self.catalog_every),
        }
    }

    /// The devices, each with what is below it.
    pub(super) fn populations(&self) -> anyhow::Result<impl Iterator<Item = Population> + use<>> {
        let prefix = self.server_id.as_str().get(..8).unwrap_or("34020000");
        let default = |kind: &str, serial: u64| Id::parse(&format!("{prefix}00{kind}{serial:07}"));
        let device = match (self.first_id, self.tree) {
            (Some(id), _) => id,
            // The platform itself is often the first of its domain.
            (None, true) => default("200", 2)?,
            (None, false) => default("118", 1)?,
        };
        let first = match self.first_channel {
            Some(id) => id,
            None => default("131", 1)?,
        };
        let (channels, tree, extras) = (self.channels, self.tree, self.extras);
        Ok((0..self.devices).map(move |index| Population {
            device: device.nth(index),
            first: first.nth(index * channels),
            channels,
            tree,
            extras,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn defaults_are_the_same_on_the_command_line_and_in_the_program() {
        let server_id: Id = "34020000002000000001".parse().unwrap();
        let domain = "3402000000";
        let arguments = ["x", "--server", "h:1", "--server-id", server_id.as_str(), "--domain", domain];
        let parsed = Cli::try_parse_from(arguments).unwrap().options;
        let made = Options::new("h:1".to_owned(), server_id, domain.to_owned());
        assert_eq!(format!("{parsed:?}"), format!("{made:?}"));
    }

    #[test]
    fn devices_have_channels_of_their_own() {
        let server_id: Id = "34020000002000000001".parse().unwrap();
        let mut options = Options::new("h:1".to_owned(), server_id, "3402000000".to_owned());
        (options.devices, options.channels) = (3, 4);
        let all: Vec<Population> = options.populations().unwrap().collect();
        assert_eq!(all[2].device.as_str(), "34020000001180000003");
        assert_eq!(all[2].first.as_str(), "34020000001310000009");
    }
}
