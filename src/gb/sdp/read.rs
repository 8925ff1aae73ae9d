//! The lenient reader.

use std::net::IpAddr;

use super::{
    BadSdp, Direction, MAX_ATTRIBUTES, MAX_MEDIA, MAX_PAYLOADS, MAX_SIZE, Media, MediaTransport, PS, Payload,
    Sdp, Setup,
};
use crate::gb::ssrc;

/// Clock of video, and of what does not say.
const VIDEO_CLOCK: u32 = 90_000;

/// Reads a session description. Lines that mean nothing to us, or nothing at all, are passed over; only a
/// description without a medium is refused.
pub fn parse(body: &[u8]) -> Result<Sdp, BadSdp> {
    if body.len() > MAX_SIZE {
        return Err(BadSdp::TooLarge);
    }
    // The session's name may be a product's, in any encoding.
    let text = String::from_utf8_lossy(body);
    let mut sdp = Sdp {
        owner: String::new(),
        session: String::new(),
        address: None,
        time: (0, 0),
        uri: None,
        media: Vec::new(),
        ssrc: None,
        format: None,
    };
    // Attributes before the first medium are taken for all of them.
    let mut common: Vec<&str> = Vec::new();
    for line in text.split(['\r', '\n']) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        match key.trim() {
            "o" => sdp.owner = value.split_ascii_whitespace().next().unwrap_or_default().to_owned(),
            "s" => sdp.session = value.to_owned(),
            "u" => sdp.uri = Some(value.to_owned()),
            "t" => sdp.time = time(value),
            "c" => match sdp.media.last_mut() {
                Some(media) => media.address = address(value).or(media.address),
                None => sdp.address = address(value),
            },
            "m" if sdp.media.len() >= MAX_MEDIA => return Err(BadSdp::TooMany),
            "m" => {
                let mut media = medium(value)?;
                for attribute in &common {
                    media.take(attribute)?;
                }
                sdp.media.push(media);
            }
            "a" => match sdp.media.last_mut() {
                Some(media) => media.take(value)?,
                None if common.len() >= MAX_ATTRIBUTES => return Err(BadSdp::TooMany),
                None => common.push(value),
            },
            "y" => sdp.ssrc = sdp.ssrc.or_else(|| ssrc::parse(value)),
            "f" => sdp.format = Some(value.to_owned()),
            _ => {}
        }
    }
    if sdp.media.is_empty() {
        return Err(BadSdp::NoMedia);
    }
    Ok(sdp)
}

fn time(value: &str) -> (u64, u64) {
    let mut numbers = value.split_ascii_whitespace().map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// `IN IP4 192.0.2.1`, perhaps with a time to live behind it.
fn address(value: &str) -> Option<IpAddr> {
    let last = value.split_ascii_whitespace().last()?;
    last.split('/').next()?.parse().ok()
}

/// `video 30000 RTP/AVP 96 97`.
fn medium(value: &str) -> Result<Media, BadSdp> {
    let mut words = value.split_ascii_whitespace();
    let kind = words.next().ok_or(BadSdp::BadMedia)?.to_ascii_lowercase();
    let port = words.next().and_then(|port| port.split('/').next()?.parse().ok()).ok_or(BadSdp::BadMedia)?;
    let protocol = words.next().unwrap_or_default().to_ascii_uppercase();
    let transport = if protocol.contains("TCP") { MediaTransport::Tcp } else { MediaTransport::Udp };
    let payloads: Vec<Payload> =
        words.filter_map(|pt| pt.parse().ok()).take(MAX_PAYLOADS + 1).map(well_known).collect();
    if payloads.len() > MAX_PAYLOADS {
        return Err(BadSdp::TooMany);
    }
    let attributes = Vec::new();
    Ok(Media { kind, port, transport, payloads, direction: None, setup: None, address: None, attributes })
}

/// What a payload type means where no rtpmap tells: the static types of RFC 3551, and 96 as the standard has it.
fn well_known(pt: u8) -> Payload {
    match pt {
        0 => Payload::new(pt, "PCMU", 8000),
        8 => Payload::new(pt, "PCMA", 8000),
        PS => Payload::new(pt, "PS", VIDEO_CLOCK),
        _ => Payload::new(pt, "", VIDEO_CLOCK),
    }
}

impl Media {
    /// Takes the value of an `a=` line.
    fn take(&mut self, text: &str) -> Result<(), BadSdp> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text, None),
        };
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match value {
            None => {
                if let Some(direction) = Direction::ALL.into_iter().find(|d| is(d.as_str())) {
                    self.direction = Some(direction);
                    return Ok(());
                }
            }
            Some(value) if is("rtpmap") => {
                self.map(value);
                return Ok(());
            }
            Some(value) if is("setup") => {
                let parts = [Setup::Active, Setup::Passive];
                self.setup = parts.into_iter().find(|s| value.eq_ignore_ascii_case(s.as_str()));
                return Ok(());
            }
            // Always new; the writer adds it.
            Some(_) if is("connection") => return Ok(()),
            Some(_) => {}
        }
        if self.attributes.len() >= MAX_ATTRIBUTES {
            return Err(BadSdp::TooMany);
        }
        self.attributes.push((name.to_owned(), value.map(str::to_owned)));
        Ok(())
    }

    /// `96 PS/90000`.
    fn map(&mut self, value: &str) {
        let Some((pt, encoding)) = value.split_once(|c: char| c.is_ascii_whitespace()) else { return };
        let mut parts = encoding.trim().split('/');
        let name = parts.next().unwrap_or_default();
        let clock = parts.next().and_then(|clock| clock.trim().parse().ok()).unwrap_or(VIDEO_CLOCK);
        if let Some(payload) = self.payloads.iter_mut().find(|p| pt.parse() == Ok(p.pt)) {
            *payload = Payload::new(payload.pt, name, clock);
        }
    }
}
