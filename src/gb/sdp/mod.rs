//! Session descriptions, clause 9.2 and annex F (2016) or G (2022): SDP with two private lines, `y=` for the SSRC
//! and `f=` for the format. Parsers of plain SDP reject them; this one also takes what devices send: lines in any
//! order, LF alone, `y=` in the middle or missing, attributes before the first medium.
//!
//! [`Sdp::live_offer`], [`Sdp::answer_to`] and [`Sdp::path`] are the two roles of a live stream: the platform
//! offers, the device answers, and both know who connects to whom. [`Sdp::history_offer`] asks for a recording;
//! [`Sdp::broadcast_answer`] and [`Sdp::talk_offer`] send sound. [`Sdp::departures`] judges an answer.

mod departure;
mod history;
mod read;
mod roles;
#[cfg(test)]
mod tests;
mod voice;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
pub use history::{History, Span};
pub use read::parse;
pub use roles::{MediaMode, NoPath, Path, SourcePath, UnknownMode};
use thiserror::Error;
pub use voice::PCMA;

use super::ssrc;

/// The media type of the standard's samples is in capitals; compare it without case.
pub const CONTENT_TYPE: &str = "application/sdp";
/// Payload type of a program stream.
pub const PS: u8 = 96;

/// Longest description read.
pub const MAX_SIZE: usize = 16 << 10;
/// Most media of a description, payloads of a medium, and further attributes of a medium.
pub const MAX_MEDIA: usize = 8;
pub const MAX_PAYLOADS: usize = 32;
pub const MAX_ATTRIBUTES: usize = 64;

/// Why a body is no session description.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum BadSdp {
    #[error("the session description is longer than {MAX_SIZE} bytes")]
    TooLarge,
    #[error("the session description has too many media, payloads or attributes")]
    TooMany,
    #[error("the session description has no m= line")]
    NoMedia,
    #[error("the m= line has no port")]
    BadMedia,
}

/// A session description.
#[derive(Clone, Debug, PartialEq)]
pub struct Sdp {
    /// The user of `o=`: the code of the author or of the channel.
    pub owner: String,
    /// `s=`: Play, Playback, Download or Talk. Devices answer with any text.
    pub session: String,
    /// `c=` of the session. See [`Sdp::address_of`].
    pub address: Option<IpAddr>,
    /// `t=`, in seconds since 1970: 0 and 0 for live, else the span of a recording.
    pub time: (u64, u64),
    /// `u=`, as in `34020000001310000001:0`: the channel of a recording.
    pub uri: Option<String>,
    pub media: Vec<Media>,
    /// `y=`, as a number.
    pub ssrc: Option<u32>,
    /// `f=`, as in `v/2/6/25/1/4096a///`: informational.
    pub format: Option<String>,
}

/// A medium: an `m=` line and what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// `video` or `audio`.
    pub kind: String,
    pub port: u16,
    pub transport: MediaTransport,
    /// In the order of the `m=` line, names and clocks from `a=rtpmap`.
    pub payloads: Vec<Payload>,
    pub direction: Option<Direction>,
    /// `a=setup`: the author's part in making a TCP connection.
    pub setup: Option<Setup>,
    /// `c=` of this medium, if it has its own.
    pub address: Option<IpAddr>,
    /// The other attributes, such as `streamnumber`, `downloadspeed` and `filesize`, in order.
    pub attributes: Vec<(String, Option<String>)>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum MediaTransport {
    /// `RTP/AVP`.
    Udp,
    /// `TCP/RTP/AVP`, framed after RFC 4571.
    Tcp,
}

/// A payload type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    pub pt: u8,
    /// `PS`, `H264`, `PCMA`, or a vendor's name. Empty where it is not told and the type has no fixed meaning.
    pub name: String,
    /// Hz.
    pub clock: u32,
}

impl Payload {
    pub fn new(pt: u8, name: &str, clock: u32) -> Payload {
        Payload { pt, name: name.to_owned(), clock }
    }
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Direction {
    SendOnly,
    RecvOnly,
    SendRecv,
    Inactive,
}

impl Direction {
    const ALL: [Direction; 4] =
        [Direction::SendOnly, Direction::RecvOnly, Direction::SendRecv, Direction::Inactive];

    fn as_str(self) -> &'static str {
        match self {
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::SendRecv => "sendrecv",
            Direction::Inactive => "inactive",
        }
    }

    /// The direction of the other side.
    #[must_use]
    pub fn reversed(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            both => both,
        }
    }
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Setup {
    /// Connects.
    Active,
    /// Listens.
    Passive,
}

impl Setup {
    fn as_str(self) -> &'static str {
        match self {
            Setup::Active => "active",
            Setup::Passive => "passive",
        }
    }

    /// The part of the other side.
    #[must_use]
    pub fn reversed(self) -> Setup {
        match self {
            Setup::Active => Setup::Passive,
            Setup::Passive => Setup::Active,
        }
    }
}

impl Sdp {
    /// Where the author of this description takes or sends a medium: its port, at its own address or else the
    /// session's.
    pub fn address_of(&self, media: &Media) -> Option<SocketAddr> {
        media.address.or(self.address).map(|ip| SocketAddr::new(ip, media.port))
    }

    /// The first medium of a kind.
    pub fn medium(&self, kind: &str) -> Option<&Media> {
        self.media.iter().find(|m| m.kind == kind)
    }

    /// Writes the lines in the order v o s u c t m b a y f, which some devices insist on, each with CRLF.
    ///
    /// Whatever texts it holds, they end in their own line: control characters are dropped.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = String::with_capacity(512);
        // Writing into a String does not fail.
        let _ = self.write(&mut out);
        Bytes::from(out)
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let address = self.address.or_else(|| self.media.iter().find_map(|m| m.address));
        let origin = connection(address.unwrap_or(IpAddr::from([0, 0, 0, 0])));
        write!(out, "v=0\r\no={} 0 0 {origin}\r\ns={}\r\n", word(&self.owner), line(&self.session, "-"))?;
        if let Some(uri) = &self.uri {
            write!(out, "u={}\r\n", line(uri, "-"))?;
        }
        if let Some(address) = self.address {
            write!(out, "c={}\r\n", connection(address))?;
        }
        write!(out, "t={} {}\r\n", self.time.0, self.time.1)?;
        for media in &self.media {
            media.write(out)?;
        }
        if let Some(ssrc) = self.ssrc {
            write!(out, "y={}\r\n", ssrc::to_text(ssrc))?;
        }
        if let Some(format) = &self.format {
            write!(out, "f={}\r\n", line(format, ""))?;
        }
        Ok(())
    }
}

impl Media {
    /// The value of a further attribute; empty where it has none.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(found.1.as_deref().unwrap_or_default())
    }

    /// Adds an attribute, such as `streamnumber:1`.
    #[must_use]
    pub fn with_attribute(mut self, name: &str, value: &str) -> Media {
        self.attributes.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let transport = match self.transport {
            MediaTransport::Udp => "RTP/AVP",
            MediaTransport::Tcp => "TCP/RTP/AVP",
        };
        write!(out, "m={} {} {transport}", word(&self.kind), self.port)?;
        for payload in &self.payloads {
            write!(out, " {}", payload.pt)?;
        }
        out.push_str("\r\n");
        if let Some(address) = self.address {
            write!(out, "c={}\r\n", connection(address))?;
        }
        if let Some(direction) = self.direction {
            write!(out, "a={}\r\n", direction.as_str())?;
        }
        for Payload { pt, name, clock } in self.payloads.iter().filter(|p| !p.name.is_empty()) {
            write!(out, "a=rtpmap:{pt} {}/{clock}\r\n", word(name))?;
        }
        if let Some(setup) = self.setup {
            write!(out, "a=setup:{}\r\na=connection:new\r\n", setup.as_str())?;
        }
        for (name, value) in &self.attributes {
            match value {
                Some(value) => write!(out, "a={}:{}\r\n", word(name), line(value, ""))?,
                None => write!(out, "a={}\r\n", word(name))?,
            }
        }
        Ok(())
    }
}

fn connection(address: IpAddr) -> String {
    let version = if address.is_ipv4() { 4 } else { 6 };
    format!("IN IP{version} {address}")
}

/// Text for the rest of a line.
fn line(text: &str, empty: &'static str) -> String {
    let line: String = text.chars().filter(|c| !c.is_control()).collect();
    if line.is_empty() { empty.to_owned() } else { line }
}

/// Text for one word of a line.
fn word(text: &str) -> String {
    let word: String = text.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}
