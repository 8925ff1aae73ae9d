//! The offer of a player (WHEP) or of a speaker (WHIP) read, and the answer written (RFC 8866, RFC 8829, RFC 8843,
//! RFC 8839).
//!
//! The answer has one video and one audio section at most, bundled, over one transport on which this side is
//! ICE-lite and the DTLS server. Whatever else is offered is declined section by section.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::media::unit::{Codec, Track};

/// Bytes of an offer at most. Browsers send some 8 KB.
pub(super) const MAX_OFFER: usize = 64 * 1024;
/// Sections of an offer at most.
const MAX_SECTIONS: usize = 16;
/// Payload types of a section at most: there are 128 of them.
const MAX_FORMATS: usize = 128;
/// Bytes of one attribute value that is echoed in the answer.
const MAX_ECHO: usize = 256;

/// Why an offer cannot be answered.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadOffer {
    #[error("the offer is longer than 64 KiB or has more than 16 sections")]
    TooLong,
    #[error("this is not a session description")]
    NotSdp,
    #[error("a=ice-ufrag is missing")]
    NoIce,
    #[error("the offer is ice-lite, as we are: one side has to send checks")]
    IceLite,
    #[error("a=fingerprint with sha-256 is missing")]
    NoFingerprint,
    #[error("a=setup is passive: the player has to be the DTLS client")]
    Setup,
}

/// What of the offer concerns the transport.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Peer {
    /// The peer's password is of no use: we send it no checks.
    pub user: String,
    /// SHA-256 of the peer's certificate.
    pub fingerprint: [u8; 32],
}

/// A section of the offer that will be answered with media.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Chosen {
    section: usize,
    pub payload_type: u8,
    /// The payload type of retransmissions (RFC 4588), if the peer takes them.
    pub rtx: Option<u8>,
}

/// Which way the media go, seen from here.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Direction {
    Send,
    Receive,
}

/// An offer with what was chosen of it.
#[derive(Debug)]
pub(super) struct Negotiated<'a> {
    direction: Direction,
    /// The lines before the first section.
    session: Section<'a>,
    /// The mids of the first bundle; `None` where nothing is bundled.
    bundle: Option<Vec<&'a str>>,
    sections: Vec<Section<'a>>,
    pub peer: Peer,
    pub video: Option<Chosen>,
    pub audio: Option<Chosen>,
}

/// What our side puts into the answer.
#[derive(Debug)]
pub(super) struct Local<'a> {
    pub session: u64,
    pub user: &'a str,
    pub password: &'a str,
    pub fingerprint: [u8; 32],
    pub udp: &'a [SocketAddr],
    pub tcp: &'a [SocketAddr],
    pub cname: &'a str,
    /// SSRCs of the tracks and of the video's retransmissions.
    pub video_ssrc: u32,
    pub rtx_ssrc: u32,
    pub audio_ssrc: u32,
}

/// The lines of a section, or of the session, that matter here; values borrow from the offer.
#[derive(Debug, Default)]
struct Section<'a> {
    kind: &'a str,
    port: &'a str,
    protocol: &'a str,
    formats: Vec<&'a str>,
    mid: &'a str,
    bundle_only: bool,
    /// What the peer does with media; both where nothing is said.
    receives: Option<bool>,
    sends: Option<bool>,
    mux: bool,
    reduced: bool,
    user: Option<&'a str>,
    fingerprint: Option<[u8; 32]>,
    setup: Option<&'a str>,
    lite: bool,
    groups: Vec<&'a str>,
    /// `rtpmap`, `fmtp` and `rtcp-fb`, each with its payload type and the rest of the line.
    maps: Vec<(&'a str, &'a str)>,
    parameters: Vec<(&'a str, &'a str)>,
    feedback: Vec<(&'a str, &'a str)>,
}

impl<'a> Negotiated<'a> {
    /// Reads an offer and chooses a section for each wanted track; a track without a fitting section is `None`.
    pub(super) fn read(offer: &'a str, video: Option<Codec>, audio: Option<Codec>) -> Result<Self, BadOffer> {
        let mut negotiated = Self::read_all(offer, Direction::Send)?;
        negotiated.video = video.and_then(|codec| negotiated.find(Track::Video, codec));
        negotiated.audio = audio.and_then(|codec| negotiated.find(Track::Audio, codec));
        negotiated.peer = negotiated.read_peer()?;
        Ok(negotiated)
    }

    /// Reads the offer of who wants to be heard, and takes the first of these codecs that it sends.
    pub(super) fn read_sound(offer: &'a str, codecs: &[Codec]) -> Result<(Self, Option<Codec>), BadOffer> {
        let mut negotiated = Self::read_all(offer, Direction::Receive)?;
        let found = |codec: &Codec| Some((negotiated.find(Track::Audio, *codec)?, *codec));
        let (chosen, codec) = codecs.iter().find_map(found).unzip();
        negotiated.audio = chosen;
        negotiated.peer = negotiated.read_peer()?;
        Ok((negotiated, codec))
    }

    /// An offer of which nothing is chosen yet.
    fn read_all(offer: &'a str, direction: Direction) -> Result<Self, BadOffer> {
        let mut sections = read_sections(offer)?;
        let session = sections.remove(0);
        let bundle = bundle(&session);
        Ok(Self { direction, session, bundle, sections, peer: Peer::default(), video: None, audio: None })
    }

    fn find(&self, track: Track, codec: Codec) -> Option<Chosen> {
        // Without a bundle each section would need a transport of its own; one is all a peer gets.
        let fits = |index: usize, section: &Section<'_>| match &self.bundle {
            Some(mids) => mids.contains(&section.mid),
            None => index == 0,
        };
        let mut sections = self.sections.iter().enumerate().filter(|(index, section)| fits(*index, section));
        sections.find_map(|(index, section)| section.choose(index, self.direction, track, codec))
    }

    /// The transport is that of the first section of the answer's bundle; what is not said there holds for the
    /// session, or is said in the section that the offer's bundle begins with.
    fn read_peer(&self) -> Result<Peer, BadOffer> {
        let session = &self.session;
        let first = self.chosen().map(|(chosen, _)| chosen.section).min().unwrap_or(0);
        let places = || self.sections.get(first).into_iter().chain([session]).chain(&self.sections);
        if session.lite {
            return Err(BadOffer::IceLite);
        }
        if matches!(places().find_map(|place| place.setup), Some("passive" | "holdconn")) {
            return Err(BadOffer::Setup);
        }
        let user = places().find_map(|place| place.user).filter(|user| !user.is_empty());
        let user = user.ok_or(BadOffer::NoIce)?.to_owned();
        let fingerprint = places().find_map(|place| place.fingerprint).ok_or(BadOffer::NoFingerprint)?;
        Ok(Peer { user, fingerprint })
    }

    fn chosen(&self) -> impl Iterator<Item = (&Chosen, Track)> {
        let video = self.video.iter().map(|chosen| (chosen, Track::Video));
        video.chain(self.audio.iter().map(|chosen| (chosen, Track::Audio)))
    }

    /// The answer, with all candidates in it.
    pub(super) fn answer(&self, local: &Local<'_>) -> String {
        let mut out = String::with_capacity(4096);
        let mids: Vec<&str> = self
            .sections
            .iter()
            .enumerate()
            .filter(|(index, _)| self.chosen().any(|(chosen, _)| chosen.section == *index))
            .map(|(_, section)| section.mid)
            .collect();
        line(&mut out, "v=0");
        line(&mut out, &format!("o=- {} 1 IN IP4 0.0.0.0", local.session & (i64::MAX as u64)));
        line(&mut out, "s=-");
        line(&mut out, "t=0 0");
        if mids.iter().all(|mid| !mid.is_empty()) {
            line(&mut out, &format!("a=group:BUNDLE {}", mids.join(" ")));
        }
        line(&mut out, "a=ice-lite");
        let mut candidates_due = true;
        for (index, section) in self.sections.iter().enumerate() {
            match self.chosen().find(|(chosen, _)| chosen.section == index) {
                Some((chosen, track)) => {
                    section.accept(&mut out, chosen, track, local, self.direction);
                    if std::mem::take(&mut candidates_due) {
                        candidates(&mut out, local);
                    }
                }
                None => section.decline(&mut out),
            }
        }
        out
    }
}

impl<'a> Section<'a> {
    fn choose(&self, index: usize, direction: Direction, track: Track, codec: Codec) -> Option<Chosen> {
        let kind = match track {
            Track::Video => "video",
            Track::Audio => "audio",
        };
        let declined = self.port == "0" && !self.bundle_only;
        let secure = self.protocol.ends_with("TLS/RTP/SAVPF") || self.protocol.ends_with("TLS/RTP/SAVP");
        let does = match direction {
            Direction::Send => self.receives,
            Direction::Receive => self.sends,
        };
        if self.kind != kind || declined || !secure || !self.mux || does == Some(false) {
            return None;
        }
        let format = match codec {
            Codec::H264 => self.h264()?,
            Codec::H265 => self.h265()?,
            Codec::Pcma => self.named("PCMA/8000").next().or_else(|| self.fixed("8"))?,
            Codec::Pcmu => self.named("PCMU/8000").next().or_else(|| self.fixed("0"))?,
            _ => return None,
        };
        let rtx = self.named("rtx/90000").find(|rtx| {
            let parameters = self.parameters_of(rtx);
            track == Track::Video && parameter(parameters, "apt") == Some(format)
        });
        Some(Chosen {
            section: index,
            payload_type: format.parse().ok()?,
            rtx: rtx.and_then(|f| f.parse().ok()),
        })
    }

    /// Payload types with this encoding name, in the order of preference.
    fn named(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.formats.iter().copied().filter(move |format| {
            let map = self.maps.iter().find(|(payload_type, _)| payload_type == format);
            let map = map.map_or("", |(_, map)| map.trim().trim_end_matches("/1"));
            map.eq_ignore_ascii_case(name)
        })
    }

    /// A static payload type (RFC 3551), which needs no map.
    fn fixed(&self, payload_type: &str) -> Option<&'a str> {
        let mapped = self.maps.iter().any(|(format, _)| *format == payload_type);
        self.formats.iter().copied().find(|format| *format == payload_type && !mapped)
    }

    /// H.264 that takes fragmented NAL units (packetisation mode 1), best with the profile that all browsers
    /// decode; what is sent may be of a higher one, and is decoded all the same.
    fn h264(&self) -> Option<&'a str> {
        let rank = |format: &str| {
            let parameters = self.parameters_of(format);
            let profile = parameter(parameters, "profile-level-id").unwrap_or("42000a");
            match profile.get(..4).unwrap_or_default().to_ascii_lowercase().as_str() {
                "42e0" => 0,
                "4200" => 1,
                _ => 2,
            }
        };
        self.named("H264/90000")
            .filter(|format| parameter(self.parameters_of(format), "packetization-mode") == Some("1"))
            .min_by_key(|format| rank(format))
    }

    /// H.265 in a single stream (RFC 7798 section 7.1), best with the main profile.
    fn h265(&self) -> Option<&'a str> {
        let says = |format: &str, name| parameter(self.parameters_of(format), name);
        self.named("H265/90000")
            .filter(|format| says(format, "tx-mode").is_none_or(|mode| mode.eq_ignore_ascii_case("SRST")))
            .min_by_key(|format| says(format, "profile-id").is_some_and(|profile| profile != "1"))
    }

    fn parameters_of(&self, format: &str) -> &'a str {
        self.parameters.iter().find(|(payload_type, _)| *payload_type == format).map_or("", |(_, p)| p)
    }

    fn accept(
        &self,
        out: &mut String,
        chosen: &Chosen,
        track: Track,
        local: &Local<'_>,
        direction: Direction,
    ) {
        let payload_type = chosen.payload_type;
        let default = local.udp.first().or(local.tcp.first());
        let port = default.map_or(9, SocketAddr::port);
        let rtx = chosen.rtx.map(|rtx| format!(" {rtx}")).unwrap_or_default();
        line(out, &format!("m={} {port} {} {payload_type}{rtx}", self.kind, self.protocol));
        line(out, &connection(default.map(SocketAddr::ip)));
        self.write_mid(out);
        line(out, &format!("a=ice-ufrag:{}", local.user));
        line(out, &format!("a=ice-pwd:{}", local.password));
        line(out, &format!("a=fingerprint:sha-256 {}", colons(&local.fingerprint)));
        line(out, "a=setup:passive");
        line(out, if direction == Direction::Send { "a=sendonly" } else { "a=recvonly" });
        line(out, "a=rtcp-mux");
        if self.reduced {
            line(out, "a=rtcp-rsize");
        }
        let format = payload_type.to_string();
        match self.maps.iter().find(|(payload_type, _)| **payload_type == format) {
            Some((_, map)) => line(out, &format!("a=rtpmap:{format} {map}")),
            None => line(
                out,
                &format!("a=rtpmap:{format} {}", if format == "8" { "PCMA/8000" } else { "PCMU/8000" }),
            ),
        }
        let parameters = self.parameters_of(&format);
        if !parameters.is_empty() {
            line(out, &format!("a=fmtp:{format} {parameters}"));
        }
        if track == Track::Video {
            for feedback in ["nack", "nack pli", "ccm fir"] {
                let offered = |(f, value): &(&str, &str)| (*f == format || *f == "*") && *value == feedback;
                if self.feedback.iter().any(offered) {
                    line(out, &format!("a=rtcp-fb:{format} {feedback}"));
                }
            }
            if let Some(rtx) = chosen.rtx {
                line(out, &format!("a=rtpmap:{rtx} rtx/90000"));
                line(out, &format!("a=fmtp:{rtx} apt={format}"));
                line(out, &format!("a=ssrc-group:FID {} {}", local.video_ssrc, local.rtx_ssrc));
            }
        }
        if direction == Direction::Receive {
            return;
        }
        line(out, &format!("a=msid:{} {}", local.cname, self.kind));
        let (ssrc, rtx) = match track {
            Track::Video => (local.video_ssrc, chosen.rtx.map(|_| local.rtx_ssrc)),
            Track::Audio => (local.audio_ssrc, None),
        };
        for ssrc in std::iter::once(ssrc).chain(rtx) {
            line(out, &format!("a=ssrc:{ssrc} cname:{}", local.cname));
        }
    }

    fn decline(&self, out: &mut String) {
        let format = self.formats.first().copied().unwrap_or("0");
        line(out, &format!("m={} 0 {} {format}", self.kind, self.protocol));
        line(out, "c=IN IP4 0.0.0.0");
        self.write_mid(out);
        line(out, "a=inactive");
    }

    fn write_mid(&self, out: &mut String) {
        if !self.mid.is_empty() {
            line(out, &format!("a=mid:{}", self.mid));
        }
    }
}

/// Host candidates of component 1, UDP before TCP, in the order given (RFC 8445 section 5.1.2.1, RFC 6544).
fn candidates(out: &mut String, local: &Local<'_>) {
    for (index, address) in local.udp.iter().enumerate() {
        let priority = 126 << 24 | (0xFFFF - index as u32) << 8 | 0xFF;
        line(
            out,
            &format!("a=candidate:u{index} 1 udp {priority} {} {} typ host", address.ip(), address.port()),
        );
    }
    for (index, address) in local.tcp.iter().enumerate() {
        let priority = 90 << 24 | (0x9FFF - index as u32) << 8 | 0xFF;
        let (ip, port) = (address.ip(), address.port());
        line(out, &format!("a=candidate:t{index} 1 tcp {priority} {ip} {port} typ host tcptype passive"));
    }
    line(out, "a=end-of-candidates");
}

fn connection(address: Option<IpAddr>) -> String {
    match address {
        Some(IpAddr::V6(ip)) => format!("c=IN IP6 {ip}"),
        Some(IpAddr::V4(ip)) => format!("c=IN IP4 {ip}"),
        None => "c=IN IP4 0.0.0.0".to_owned(),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push_str("\r\n");
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().enumerate().fold(String::new(), |mut out, (index, byte)| {
        let _ = write!(out, "{}{byte:02X}", if index == 0 { "" } else { ":" });
        out
    })
}

/// The mids of the first bundle; `None` where nothing is bundled.
fn bundle<'a>(session: &Section<'a>) -> Option<Vec<&'a str>> {
    session.groups.iter().find_map(|group| {
        let mut words = group.split_ascii_whitespace();
        (words.next() == Some("BUNDLE")).then(|| words.collect())
    })
}

/// A parameter of `fmtp`, which is a list with semicolons.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The session's lines first, then each section.
fn read_sections(offer: &str) -> Result<Vec<Section<'_>>, BadOffer> {
    if offer.len() > MAX_OFFER {
        return Err(BadOffer::TooLong);
    }
    if !offer.trim_start().starts_with("v=0") {
        return Err(BadOffer::NotSdp);
    }
    let mut sections = vec![Section::default()];
    for text in offer.lines().map(str::trim_end) {
        // RFC 8866 section 9 allows neither in a line, and parts of lines are echoed in the answer.
        if text.contains(['\0', '\r']) {
            return Err(BadOffer::NotSdp);
        }
        let Some((kind, value)) = text.split_once('=') else { continue };
        if kind == "m" {
            if sections.len() > MAX_SECTIONS {
                return Err(BadOffer::TooLong);
            }
            sections.push(read_media(value)?);
        } else if let (Some(section), "a") = (sections.last_mut(), kind) {
            section.read_attribute(value);
        }
    }
    if sections.len() < 2 { Err(BadOffer::NotSdp) } else { Ok(sections) }
}

fn read_media(value: &str) -> Result<Section<'_>, BadOffer> {
    let mut words = value.split_ascii_whitespace();
    let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
        return Err(BadOffer::NotSdp);
    };
    let formats = words.take(MAX_FORMATS).collect();
    Ok(Section { kind, port, protocol, formats, ..Section::default() })
}

impl<'a> Section<'a> {
    fn read_attribute(&mut self, attribute: &'a str) {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        if value.len() > MAX_ECHO && name != "candidate" {
            return;
        }
        let pair = || value.split_once(' ').map(|(first, rest)| (first, rest.trim()));
        match name {
            "mid" => self.mid = value,
            "bundle-only" => self.bundle_only = true,
            "group" => self.groups.push(value),
            "sendrecv" | "recvonly" | "sendonly" | "inactive" => {
                self.receives = Some(matches!(name, "sendrecv" | "recvonly"));
                self.sends = Some(matches!(name, "sendrecv" | "sendonly"));
            }
            "rtcp-mux" => self.mux = true,
            "rtcp-rsize" => self.reduced = true,
            "ice-lite" => self.lite = true,
            "ice-ufrag" => self.user = Some(value),
            "setup" => self.setup = Some(value),
            "fingerprint" => self.fingerprint = self.fingerprint.or_else(|| fingerprint(value)),
            "rtpmap" if self.maps.len() < MAX_FORMATS => self.maps.extend(pair()),
            "fmtp" if self.parameters.len() < MAX_FORMATS => self.parameters.extend(pair()),
            "rtcp-fb" if self.feedback.len() < 8 * MAX_FORMATS => self.feedback.extend(pair()),
            _ => {}
        }
    }
}

fn fingerprint(value: &str) -> Option<[u8; 32]> {
    let (algorithm, hex) = value.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        hex.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

/// The peer's user name fragment in a trickle-ice fragment (RFC 8840), where it has one.
pub(super) fn fragment_user(fragment: &str) -> Option<&str> {
    fragment.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::trim)
}

#[cfg(test)]
#[path = "sdp_tests.rs"]
mod tests;
