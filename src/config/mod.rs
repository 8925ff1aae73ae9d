//! The configuration: a YAML file, overridden by the environment, checked as a whole.
//!
//! Every key has a default, and the defaults run on one machine. A mistake is told with its line, the key, what is
//! wrong and what to do; all mistakes are told at once. Nothing that was written is silently ignored: a key that
//! does not exist is an error that names the nearest one that does, and what this version cannot do yet is refused.
//!
//! The environment overrides single keys: `GBGATE_` and the path in capitals, with `__` between its parts, as in
//! `GBGATE_SIP__KEEPALIVE__INTERVAL=30s`. An empty variable counts as not set; lists are separated by commas or
//! written as YAML.

mod check;
mod document;
mod problem;
mod profiles;
mod reader;
mod schema;
mod setting;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::device::DateHeader;
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::gb::time::Offset;
use crate::net::ports::PortRange;
use crate::net::route::Advertise;
use crate::net::tls::Files;

pub use self::problem::{Errors, Problem, Warning};
pub use self::profiles::profiles;
pub use self::text::Secret;

/// The name under which problems are told when there is no file.
const NO_FILE: &str = "configuration";

/// All that can be set. Serialises with secrets hidden, for showing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Who we are to devices and other platforms.
    pub platform: Platform,
    /// Signalling.
    pub sip: Sip,
    /// RTP from devices.
    pub media: Media,
    /// Pictures to browsers.
    pub webrtc: WebRtc,
    /// API, console and metrics.
    pub http: Http,
    /// Where devices, channels and registrations are kept.
    pub registry: Registry,
    /// More than one node; kept for later versions.
    pub cluster: Cluster,
    /// Sign-in.
    pub access: Access,
    /// A directory of vendor profiles that are added to the built-in ones, or stand in their place by name.
    pub profiles: Option<PathBuf>,
    /// Downloads.
    pub files: Storage,
    /// Events for other programs.
    pub events: Events,
}

/// Who we are to devices and other platforms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Platform {
    /// Our 20-digit code; type code 200 is that of a signalling server.
    pub id: Id,
    /// The SIP domain and digest realm: 10 digits, by default the first ten of the id.
    pub domain: String,
    /// For people.
    pub name: String,
    /// The zone of times in signalling.
    pub time_zone: Offset,
}

/// Signalling.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sip {
    /// Where to listen for datagrams; empty: nowhere.
    pub udp: Vec<SocketAddr>,
    /// Where to listen for streams; empty: nowhere.
    pub tcp: Vec<SocketAddr>,
    /// Streams under TLS.
    pub tls: Option<Tls>,
    /// For devices that have none of their own; `None`: only devices added beforehand may register.
    pub password: Option<Secret>,
    /// Which address peers are told; empty: that of the route.
    #[serde(serialize_with = "rules")]
    pub advertise: Vec<Advertise>,
    /// When a silent device is offline.
    pub keepalive: Keepalive,
    /// How long a registration lasts.
    pub expires: Expires,
    /// The Date header in answers to REGISTER.
    pub date_header: DateHeader,
    /// Where devices of 2022 are sent to register instead, as `sip:ID@HOST:PORT`.
    pub redirect: Option<String>,
}

/// A TLS listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Where to listen. For `http.tls`, empty means that `http.listen` itself speaks TLS.
    pub listen: Vec<SocketAddr>,
    /// Certificate, key and the authority of clients.
    pub files: Files,
}

/// When a silent device is offline: after `interval` times `misses`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Keepalive {
    /// The interval that devices keep.
    #[serde(serialize_with = "text::duration")]
    pub interval: Duration,
    /// How many in a row may be missed.
    pub misses: u32,
}

/// The bounds of how long a registration lasts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expires {
    /// A shorter one is lengthened to this.
    #[serde(serialize_with = "text::duration")]
    pub min: Duration,
    /// A longer one is cut to this.
    #[serde(serialize_with = "text::duration")]
    pub max: Duration,
}

/// RTP from devices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Media {
    /// A port for each stream, or one for all.
    pub mode: PortMode,
    /// The ports for RTP.
    #[serde(serialize_with = "display")]
    pub ports: PortRange,
    /// The port for all streams in the mode of that name.
    pub single_port: u16,
    /// How long a port rests before it is used again.
    #[serde(serialize_with = "text::duration")]
    pub quarantine: Duration,
    /// The DSCP of packets that we send, 0 to 63.
    pub dscp: u8,
    /// Which address devices are told in SDP; empty: that of the route.
    #[serde(serialize_with = "rules")]
    pub advertise: Vec<Advertise>,
    /// How devices send, unless they are set to another.
    #[serde(serialize_with = "display")]
    pub default_transport: MediaMode,
    /// How long a viewer waits for the first picture.
    #[serde(serialize_with = "text::duration")]
    pub play_timeout: Duration,
    /// How long a stream goes on without a viewer.
    #[serde(serialize_with = "text::duration")]
    pub no_reader_timeout: Duration,
    /// How long a stream may be silent.
    #[serde(serialize_with = "text::duration")]
    pub no_rtp_timeout: Duration,
}

/// How streams share ports.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMode {
    /// A port for each stream.
    PortPerStream,
    /// One port for all, told apart by SSRC. Not in this version.
    SinglePort,
}

/// Pictures to browsers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebRtc {
    /// Where to listen for ICE over UDP.
    pub udp: Vec<SocketAddr>,
    /// Where to listen for ICE over TCP.
    pub tcp: Vec<SocketAddr>,
    /// Which addresses browsers are told as candidates; empty: all of this machine.
    #[serde(serialize_with = "rules")]
    pub advertise: Vec<Advertise>,
}

/// API, console and metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Http {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// HTTPS: on `tls.listen`, or on `listen` if that is empty.
    pub tls: Option<Tls>,
    /// Web pages elsewhere that may use the API: `https://example.org`, or `*`.
    pub cors_origins: Vec<String>,
}

/// Where devices, channels and registrations are kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Registry {
    /// The store.
    #[serde(serialize_with = "display")]
    pub url: RegistryUrl,
}

/// A kind of store, and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RegistryUrl {
    /// A file in this directory, relative to where the gateway was started.
    Embedded(PathBuf),
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistryUrl::Embedded(path) => write!(f, "embedded:{}", path.display()),
        }
    }
}

/// More than one node. This version reads it and warns that it has no effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// The name of this node.
    pub node: Option<String>,
    /// Where nodes talk to each other.
    pub internal: SocketAddr,
    /// The address that other nodes are told.
    pub advertise: Option<SocketAddr>,
    /// What nodes prove to each other.
    pub secret: Option<Secret>,
}

/// Sign-in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Access {
    /// The password of `admin`; `None`: only this machine is served, without sign-in.
    pub bootstrap_admin_password: Option<Secret>,
}

/// Where downloads lie until they are fetched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Storage {
    /// The directory; it is made if it is not there.
    pub directory: PathBuf,
    /// How long a file is kept.
    #[serde(serialize_with = "text::duration")]
    pub keep: Duration,
    /// When the files are larger together, in gigabytes, no download begins, and the oldest are deleted.
    pub max_gb: u32,
}

/// Events for other programs, beside those over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Events {
    /// A Redis that gets them, as `redis://host:6379/0`; `None`: none does.
    pub redis: Option<Secret>,
    /// The key of the stream there.
    pub stream: String,
}

fn rules<S: Serializer>(rules: &[Advertise], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Rule {
        r#for: String,
        address: String,
    }
    let rule = |rule: &Advertise| Rule { r#for: rule.peers.to_string(), address: rule.address.to_string() };
    serializer.collect_seq(rules.iter().map(rule))
}

fn display<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Serialize for Tls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            listen: &'a [SocketAddr],
            cert: &'a Path,
            key: &'a Path,
            client_ca: Option<&'a Path>,
        }
        let Files { cert, key, client_ca } = &self.files;
        Shown { listen: &self.listen, cert, key, client_ca: client_ca.as_deref() }.serialize(serializer)
    }
}

impl Default for Config {
    /// What runs on one machine: devices may come from anywhere, people only from this machine.
    fn default() -> Config {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let seconds = Duration::from_secs;
        #[allow(clippy::expect_used)] // A literal, and each test would fail.
        let id = Id::parse("34020000002000000001").expect("20 digits are an id");
        Config {
            platform: Platform {
                id,
                domain: id.domain().to_owned(),
                name: "gbgate".to_owned(),
                time_zone: Offset::default(),
            },
            sip: Sip {
                udp: vec![any(5060)],
                tcp: vec![any(5060)],
                tls: None,
                password: None,
                advertise: Vec::new(),
                keepalive: Keepalive { interval: seconds(60), misses: 3 },
                expires: Expires { min: seconds(60), max: seconds(7 * 24 * 3600) },
                date_header: DateHeader::Gb,
                redirect: None,
            },
            media: Media {
                mode: PortMode::PortPerStream,
                ports: PortRange::Range { first: 30000, last: 30999 },
                single_port: 30000,
                quarantine: seconds(30),
                dscp: 0,
                advertise: Vec::new(),
                default_transport: MediaMode::Udp,
                play_timeout: seconds(10),
                no_reader_timeout: seconds(15),
                no_rtp_timeout: seconds(10),
            },
            webrtc: WebRtc { udp: vec![any(8189)], tcp: vec![any(8189)], advertise: Vec::new() },
            http: Http { listen: vec![here(8080)], tls: None, cors_origins: Vec::new() },
            registry: Registry { url: RegistryUrl::Embedded(PathBuf::from("data")) },
            cluster: Cluster { node: None, internal: here(8090), advertise: None, secret: None },
            access: Access { bootstrap_admin_password: None },
            profiles: None,
            files: Storage { directory: PathBuf::from("files"), keep: seconds(24 * 3600), max_gb: 20 },
            events: Events { redis: None, stream: "gbgate:events".to_owned() },
        }
    }
}

impl Config {
    /// Reads the file (the defaults without one), lays the environment over it, and checks all of it.
    ///
    /// # Errors
    /// All that is wrong, each with its place and what to do.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(Config, Vec<Warning>), Errors> {
        let Some(path) = path else { return Config::parse(NO_FILE, "", env) };
        let file = path.display().to_string();
        match fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => Config::parse(&file, &text, env),
            Ok(Err(_)) => Err(unreadable(file, "is not UTF-8".to_owned(), "save the file as UTF-8")),
            Err(error) => {
                let what = format!("cannot be read: {}", crate::net::bind::plain(&error));
                Err(unreadable(file, what, "check the path after --config and its permissions"))
            }
        }
    }

    /// As [`Config::load`], for text that has been read already. `file` names it in messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        file: &str,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(Config, Vec<Warning>), Errors> {
        let (document, tree) = document::Document::parse(file, text, env, &schema::SECTIONS)
            .map_err(|problem| Errors(vec![problem]))?;
        let mut report = reader::Report::default();
        let config = schema::read(tree, &mut report);
        check::check(&config, &mut report);
        let (errors, warnings) = report.finish(&document);
        if errors.is_empty() { Ok((config, warnings)) } else { Err(Errors(errors)) }
    }
}

fn unreadable(file: String, what: String, advice: &str) -> Errors {
    Errors(vec![Problem { place: file, key: String::new(), what, advice: advice.to_owned() }])
}
