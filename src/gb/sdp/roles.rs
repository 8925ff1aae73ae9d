//! The two roles of a live stream: who offers, who answers, and who connects to whom.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Direction, Media, MediaTransport, PS, Payload, Sdp, Setup};
use crate::gb::id::Id;

/// How the media of a stream travel, as the one who asks for it sees it.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaMode {
    #[default]
    Udp,
    /// The asking side listens; the usual one.
    TcpPassive,
    /// The asking side connects.
    TcpActive,
}

impl MediaMode {
    /// The stable name: `udp`, `tcp-passive` or `tcp-active`.
    pub fn as_str(self) -> &'static str {
        match self {
            MediaMode::Udp => "udp",
            MediaMode::TcpPassive => "tcp-passive",
            MediaMode::TcpActive => "tcp-active",
        }
    }

    pub(super) fn setup(self) -> Option<Setup> {
        match self {
            MediaMode::Udp => None,
            MediaMode::TcpPassive => Some(Setup::Passive),
            MediaMode::TcpActive => Some(Setup::Active),
        }
    }
}

impl fmt::Display for MediaMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// None of the three names.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("the media transport is none of udp, tcp-passive and tcp-active")]
pub struct UnknownMode;

impl FromStr for MediaMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<MediaMode, UnknownMode> {
        let modes = [MediaMode::Udp, MediaMode::TcpPassive, MediaMode::TcpActive];
        modes.into_iter().find(|mode| mode.as_str() == text).ok_or(UnknownMode)
    }
}

/// How the media of an exchange get from one side to the other, for the side that asks.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Path {
    /// Packets come to the address offered. They should come from `from`, and behind a NAT they do not.
    Receive { from: Option<SocketAddr> },
    /// The peer connects to the address offered.
    Accept { from: Option<SocketAddr> },
    /// The peer listens here.
    Connect { to: SocketAddr },
}

/// Why two descriptions make no path, or an offer has no answer.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum NoPath {
    #[error("the description has no medium that fits, or only rejected ones")]
    Rejected,
    #[error("the description gives no address to connect to")]
    NoAddress,
}

impl Sdp {
    /// The offer for a live stream of a channel, to be received at `local`. The caller may add attributes to its
    /// medium, for a sub-stream or a vendor's taste.
    pub fn live_offer(channel: &Id, local: SocketAddr, mode: MediaMode, ssrc: u32) -> Sdp {
        let payloads = vec![
            Payload::new(PS, "PS", 90_000),
            Payload::new(97, "MPEG4", 90_000),
            Payload::new(98, "H264", 90_000),
            Payload::new(99, "H265", 90_000),
        ];
        let setup = mode.setup();
        let media = Media {
            kind: "video".to_owned(),
            port: local.port(),
            transport: if setup.is_some() { MediaTransport::Tcp } else { MediaTransport::Udp },
            payloads,
            direction: Some(Direction::RecvOnly),
            setup,
            address: None,
            attributes: Vec::new(),
        };
        Sdp {
            owner: channel.to_string(),
            session: "Play".to_owned(),
            address: Some(local.ip()),
            time: (0, 0),
            uri: None,
            media: vec![media],
            ssrc: Some(ssrc),
            format: None,
        }
    }

    /// The answer of a source to an offer: the first medium with a program stream, sent from `local` or, where
    /// the other side connects, listened for there.
    pub fn answer_to(offer: &Sdp, owner: &Id, local: SocketAddr) -> Result<Sdp, NoPath> {
        let offers_ps = |m: &&Media| m.port != 0 && m.payloads.iter().any(|p| p.pt == PS || p.name == "PS");
        let offered = offer.media.iter().find(offers_ps).ok_or(NoPath::Rejected)?;
        let ps = offered.payloads.iter().find(|p| p.name == "PS").map_or(PS, |p| p.pt);
        let media = Media {
            kind: offered.kind.clone(),
            port: local.port(),
            transport: offered.transport,
            payloads: vec![Payload::new(ps, "PS", 90_000)],
            direction: Some(offered.direction.unwrap_or(Direction::RecvOnly).reversed()),
            setup: offered.part().map(Setup::reversed),
            address: None,
            attributes: Vec::new(),
        };
        Ok(Sdp {
            owner: owner.to_string(),
            session: offer.session.clone(),
            address: Some(local.ip()),
            time: offer.time,
            uri: None,
            media: vec![media],
            ssrc: offer.ssrc,
            format: None,
        })
    }

    /// The path that the media of our offer take, once answered. Our offer alone says who connects: the answer
    /// should say the opposite, but many devices repeat what was offered.
    pub fn path(&self, answer: &Sdp) -> Result<Path, NoPath> {
        let offered = self.media.first().ok_or(NoPath::Rejected)?;
        let answered = answer.medium(&offered.kind).or(answer.media.first()).ok_or(NoPath::Rejected)?;
        let from = answer.address_of(answered).filter(|a| !a.ip().is_unspecified());
        match offered.part() {
            Some(Setup::Active) if answered.port == 0 => Err(NoPath::Rejected),
            Some(Setup::Active) => Ok(Path::Connect { to: from.ok_or(NoPath::NoAddress)? }),
            Some(Setup::Passive) => Ok(Path::Accept { from }),
            None => Ok(Path::Receive { from }),
        }
    }

    /// How a source reaches the one who made this offer: the same path, seen from the other end.
    pub fn source_path(&self) -> Result<SourcePath, NoPath> {
        self.source_path_of(self.media.iter().find(|m| m.port != 0).ok_or(NoPath::Rejected)?)
    }

    pub(super) fn source_path_of(&self, offered: &Media) -> Result<SourcePath, NoPath> {
        let to = self.address_of(offered).filter(|a| !a.ip().is_unspecified()).ok_or(NoPath::NoAddress);
        Ok(match offered.part() {
            Some(Setup::Active) => SourcePath::Accept,
            Some(Setup::Passive) => SourcePath::Connect { to: to? },
            None => SourcePath::Send { to: to? },
        })
    }

    /// The SSRC that an exchange agreed on: the answer's, since the source's domain assigns it, or else ours. Some
    /// devices answer 0 and mean nothing by it.
    pub fn agreed_ssrc(&self, answer: &Sdp) -> Option<u32> {
        answer.ssrc.filter(|ssrc| *ssrc != 0).or(self.ssrc)
    }
}

/// How the source of a stream gets it to the one who asks.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SourcePath {
    /// Send packets there.
    Send { to: SocketAddr },
    /// Connect there.
    Connect { to: SocketAddr },
    /// Listen; the other side connects.
    Accept,
}

impl Media {
    /// The author's part in making the connection; nothing over UDP. One who asks for TCP and does not say
    /// listens, as is usual.
    pub(super) fn part(&self) -> Option<Setup> {
        match self.transport {
            MediaTransport::Udp => None,
            MediaTransport::Tcp => Some(self.setup.unwrap_or(Setup::Passive)),
        }
    }
}
