//! What can be done for one vendor's devices otherwise than for another's.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::gb::charset::Charset;
use crate::gb::manscdp::{Edition, KeyFrameName, Style};
use crate::gb::sdp::MediaMode;
use crate::gb::time::Offset;
use crate::registry::model::{Device, Subscribe};
use crate::sip::digest::Algorithm;

/// How an INVITE asks for the sub or the third stream. The main stream comes unasked.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamAttribute {
    /// [`StreamAttribute::StreamNumber`] for 2022, [`StreamAttribute::StreamProfile`] before. [`Profiles::manners`]
    /// has put one of them in its place.
    ///
    /// [`Profiles::manners`]: super::Profiles::manners
    #[default]
    ByEdition,
    /// `a=streamnumber:1`, of 2022.
    StreamNumber,
    /// `a=streamprofile:1`.
    StreamProfile,
    /// `a=streamMode:sub`; there is no word for a third stream.
    StreamMode,
    /// `a=stream:1`.
    Stream,
    /// It has one stream, or stumbles over attributes.
    None,
}

impl StreamAttribute {
    /// The attribute for a stream: 0 main, 1 sub, 2 third. `None`: nothing is said, which is the main stream.
    pub fn attribute(self, stream: u8) -> Option<(&'static str, &'static str)> {
        let number = match stream {
            1 => "1",
            2 => "2",
            _ => return None,
        };
        match self {
            StreamAttribute::StreamNumber | StreamAttribute::ByEdition => Some(("streamnumber", number)),
            StreamAttribute::StreamProfile => Some(("streamprofile", number)),
            StreamAttribute::Stream => Some(("stream", number)),
            StreamAttribute::StreamMode => Some(("streamMode", "sub")).filter(|_| stream == 1),
            StreamAttribute::None => None,
        }
    }

    fn by_edition(self, edition: Edition) -> StreamAttribute {
        match self {
            StreamAttribute::ByEdition if edition >= Edition::E2022 => StreamAttribute::StreamNumber,
            StreamAttribute::ByEdition => StreamAttribute::StreamProfile,
            named => named,
        }
    }
}

/// The host in the Request-URI and To of an INVITE.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InviteHost {
    /// The device's address and port.
    #[default]
    Address,
    /// The domain: the first ten digits of the platform's id.
    Domain,
}

/// How a voice is brought to a device.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TalkWay {
    /// By the Broadcast notify, upon which the device sends an INVITE (clause 9.12).
    #[default]
    Broadcast,
    /// By an INVITE of ours with `s=Talk`.
    Talk,
}

/// When the first packet of a voice is sent.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TalkStart {
    /// After the device's ACK.
    #[default]
    AfterAck,
    /// Right after our 200.
    AfterOk,
}

/// What carries a voice, where we choose: in an INVITE with `s=Talk`.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TalkTransport {
    #[default]
    Udp,
    /// The device connects.
    Tcp,
}

/// The DeviceID of configuration commands about a channel.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigTarget {
    #[default]
    Channel,
    Device,
}

/// What is done with RTP whose SSRC is not the agreed one, on a port that waits for one stream alone.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SsrcRule {
    /// It is dropped.
    Strict,
    /// It is taken, when it comes from the device, and noted.
    #[default]
    Loose,
}

/// The Event of a subscription to the catalog.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatalogSubscription {
    /// `Catalog;id=...`, of 2016 and 2022.
    #[default]
    Catalog,
    /// `presence`, as in 2011.
    Presence,
}

/// The protocol in the start line of a command about a recording that plays.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlayDialect {
    /// `RTSP/1.0` and `npt=`, of 2016 and 2022.
    #[default]
    Rtsp,
    /// `MANSRTSP/1.0` and `smpte=`, of 2011.
    Mansrtsp,
}

/// The Date header in the 200 to a REGISTER, from which devices set their clock (clause 9.10).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DateHeader {
    /// Local time without a zone, as the standard has it.
    Gb,
    Rfc1123,
    Off,
}

/// The hash of a challenge, as profiles name it.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct DigestName(pub Algorithm);

impl DigestName {
    const ALL: [(&'static str, Algorithm); 3] =
        [("md5", Algorithm::Md5), ("sha-256", Algorithm::Sha256), ("sm3", Algorithm::Sm3)];
}

impl Serialize for DigestName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name =
            Self::ALL.iter().find(|(_, algorithm)| *algorithm == self.0).map_or("md5", |(name, _)| name);
        serializer.serialize_str(name)
    }
}

impl<'de> Deserialize<'de> for DigestName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DigestName, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
        let unknown = || de::Error::custom("not a digest algorithm; known are md5, sha-256 and sm3");
        found.map(|(_, algorithm)| DigestName(*algorithm)).ok_or_else(unknown)
    }
}

macro_rules! knobs {
    ($($(#[$about:meta])* $name:ident: $kind:ty,)*) => {
        /// The knobs of a profile, or those set for one device. What is `None` is as it is without.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Knobs {
            $($(#[$about])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$kind>,)*
        }

        impl Knobs {
            /// The names of all knobs.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Sets all that `other` sets.
            pub fn lay(&mut self, other: &Knobs) {
                $(if other.$name.is_some() {
                    self.$name = other.$name;
                })*
            }
        }
    };
}

knobs! {
    /// How the sub and the third stream are asked for.
    stream_attribute: StreamAttribute,
    /// The host in the Request-URI and To of an INVITE.
    invite_host: InviteHost,
    /// How a voice is brought to it.
    talk: TalkWay,
    /// When the first packet of a voice is sent.
    talk_start: TalkStart,
    /// What carries a voice where we choose.
    talk_transport: TalkTransport,
    /// The DeviceID of configuration commands about a channel.
    config_target: ConfigTarget,
    /// Whether a RecordInfo query has its Type even where it says `all`.
    record_type_always: bool,
    /// The name of the element that asks for a key frame.
    key_frame: KeyFrameName,
    /// What is done with RTP of another SSRC than agreed.
    ssrc: SsrcRule,
    /// The Event of a subscription to the catalog.
    catalog_event: CatalogSubscription,
    /// The protocol of commands about a recording that plays.
    mansrtsp: PlayDialect,
    /// The Date header in the 200 to a REGISTER.
    date_header: DateHeader,
    /// The hash that it is challenged with.
    digest: DigestName,
    /// What carries its media.
    media_transport: MediaMode,
    /// The charset of what is sent to it, whatever it sends itself.
    charset: Charset,
    /// The edition that it follows, whatever it says.
    edition: Edition,
    /// What is subscribed to, where the device's own settings do not say.
    subscribe: Subscribe,
}

impl Knobs {
    /// Reads knobs that a person wrote, strictly: `{"talk": "talk"}`. A record of the registry is read by serde
    /// instead, which passes over what it does not know.
    ///
    /// # Errors
    /// A sentence that begins with the name of the knob that is not known, or has a value that it cannot have.
    pub fn read(value: &Value) -> Result<Knobs, String> {
        let object = value.as_object().ok_or("knobs are an object")?;
        let mut knobs = Knobs::default();
        for (name, value) in object {
            if !Knobs::NAMES.contains(&name.as_str()) {
                return Err(format!("{name}: there is no such knob; known are {}", Knobs::NAMES.join(", ")));
            }
            let stray = value.as_object().and_then(|inner| {
                inner.keys().find(|key| name == "subscribe" && !Subscribe::NAMES.contains(&key.as_str()))
            });
            if let Some(stray) = stray {
                return Err(format!("{name}: {stray} is none of {}", Subscribe::NAMES.join(", ")));
            }
            let one = Map::from_iter([(name.clone(), value.clone())]);
            let one: Knobs =
                serde_json::from_value(Value::Object(one)).map_err(|error| format!("{name}: {error}"))?;
            knobs.lay(&one);
        }
        Ok(knobs)
    }
}

/// How a device is dealt with: every knob resolved. An `Option` that is `None` is "as configured for the
/// platform", or "as the device itself has it".
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Manners {
    pub stream_attribute: StreamAttribute,
    pub invite_host: InviteHost,
    pub talk: TalkWay,
    pub talk_start: TalkStart,
    pub talk_transport: TalkTransport,
    pub config_target: ConfigTarget,
    pub record_type_always: bool,
    pub key_frame: KeyFrameName,
    pub ssrc: SsrcRule,
    pub catalog_event: CatalogSubscription,
    pub mansrtsp: PlayDialect,
    /// `None`: as configured for the platform.
    pub date_header: Option<DateHeader>,
    pub digest: Algorithm,
    /// The device's own setting first, then its profile's; `None`: as configured for the platform.
    pub media_transport: Option<MediaMode>,
    /// `None`: [`Device::charset`].
    pub charset: Option<Charset>,
    /// `None`: [`Device::edition`].
    pub edition: Option<Edition>,
    /// The device's own setting first, then its profile's.
    pub subscribe: Subscribe,
}

impl Default for Manners {
    /// For a device that keeps to the standard.
    fn default() -> Manners {
        Manners::of(&Knobs::default())
    }
}

impl Manners {
    /// What is subscribed to where nothing says otherwise: what keeps the registry true, and alarms.
    pub const SUBSCRIBE: Subscribe =
        Subscribe { catalog: true, alarm: true, position: None, ptz_position: false };

    /// Knobs, and the standard for those that are not set.
    pub fn of(knobs: &Knobs) -> Manners {
        Manners {
            stream_attribute: knobs.stream_attribute.unwrap_or_default(),
            invite_host: knobs.invite_host.unwrap_or_default(),
            talk: knobs.talk.unwrap_or_default(),
            talk_start: knobs.talk_start.unwrap_or_default(),
            talk_transport: knobs.talk_transport.unwrap_or_default(),
            config_target: knobs.config_target.unwrap_or_default(),
            record_type_always: knobs.record_type_always.unwrap_or_default(),
            key_frame: knobs.key_frame.unwrap_or_default(),
            ssrc: knobs.ssrc.unwrap_or_default(),
            catalog_event: knobs.catalog_event.unwrap_or_default(),
            mansrtsp: knobs.mansrtsp.unwrap_or_default(),
            date_header: knobs.date_header,
            digest: knobs.digest.unwrap_or_default().0,
            media_transport: knobs.media_transport,
            charset: knobs.charset,
            edition: knobs.edition,
            subscribe: knobs.subscribe.unwrap_or(Manners::SUBSCRIBE),
        }
    }

    /// For one device: its own settings come before its profile's, and what depends on its edition is resolved.
    pub(super) fn for_device(mut self, device: &Device) -> Manners {
        let edition = self.edition.unwrap_or(device.edition);
        self.stream_attribute = self.stream_attribute.by_edition(edition);
        self.media_transport = device.media_transport.or(self.media_transport);
        self.subscribe = device.subscribe.unwrap_or(self.subscribe);
        self
    }

    /// How a body for this device is written. `offset` is the zone of its times.
    pub fn style(&self, device: &Device, offset: Offset) -> Style {
        Style {
            edition: self.edition.unwrap_or(device.edition),
            offset,
            record_type_always: self.record_type_always,
            key_frame: self.key_frame,
        }
    }
}
