//! The INVITE of a stream and the reading of its answer (clause 9.2 and annex F of 2022, C.2.4 of 2016).

use std::net::SocketAddr;

use super::{Content, Key, Settings, Target};
use crate::gb::conformance::{MAX_SAMPLE, Rule};
use crate::gb::id::Id;
use crate::gb::sdp::{self, MediaMode, NoPath, Path, Sdp, Setup, Span};
use crate::gb::subject::Subject;
use crate::registry::profile::{InviteHost, TalkTransport};
use crate::sip::{Message, Method, Tokens};

/// The offer for what `key` names, whose media shall come to `media`. `None` if it takes a span of recordings, and
/// the target names none.
pub(super) fn offer(key: &Key, target: &Target, media: SocketAddr, ssrc: u32) -> Option<Sdp> {
    let (channel, mode) = (&key.channel, target.transport);
    let history = |kind: sdp::History| {
        let part = target.history?;
        // The span in whole seconds that holds all of it.
        let (start, end) = (part.start.0.max(0), part.end.0.max(0));
        let (start, end) = ((start / 1000) as u64, end.saturating_add(999) as u64 / 1000);
        Some(Sdp::history_offer(channel, media, mode, ssrc, kind, Span { start, end, kind: part.kind }))
    };
    match key.content {
        Content::Live(profile) => {
            let mut offer = Sdp::live_offer(channel, media, mode, ssrc);
            if let Some((name, value)) = target.manners.stream_attribute.attribute(profile.number()) {
                offer.media =
                    offer.media.into_iter().map(|media| media.with_attribute(name, value)).collect();
            }
            Some(offer)
        }
        Content::Playback(_) => history(sdp::History::Playback),
        Content::Download(_) => {
            history(sdp::History::Download { speed: target.history.map_or(1, |part| part.speed.max(1)) })
        }
        Content::Talk => Some(Sdp::talk_offer(channel, media, mode, ssrc)),
    }
}

/// How a voice travels where we choose it.
pub(super) fn talk_mode(transport: TalkTransport) -> MediaMode {
    match transport {
        TalkTransport::Udp => MediaMode::Udp,
        TalkTransport::Tcp => MediaMode::TcpPassive,
    }
}

/// The INVITE that carries an offer. `serial` is no other call's.
pub(super) fn request(
    settings: &Settings,
    tokens: &mut Tokens,
    key: &Key,
    target: &Target,
    offer: &Sdp,
    ssrc: u32,
    serial: u64,
) -> Message {
    let (platform, domain) = (settings.platform, &settings.domain);
    let (local, remote) = (target.flow.local, target.flow.remote);
    let uri = match target.manners.invite_host {
        InviteHost::Address => format!("sip:{}@{remote}", key.channel),
        InviteHost::Domain => format!("sip:{}@{domain}", key.channel),
    };
    let mut subject = Subject::new(key.channel, ssrc, platform);
    if key.is_history() {
        // Each recording that somebody plays is a stream of its own (annex K of 2016).
        subject.receiver_seq = serial.to_string();
    }
    Message::request(Method::Invite, &uri)
        .with("From", format!("<sip:{platform}@{domain}>;tag={}", tokens.tag()))
        .with("To", format!("<sip:{}@{domain}>", key.channel))
        .with("Call-ID", tokens.call_id(&local.ip().to_string()))
        .with("CSeq", "1 INVITE")
        .with("Contact", contact(&platform, local))
        .with("Max-Forwards", "70")
        .with("Allow", ALLOW)
        .with("Subject", subject.to_string())
        .with_body(sdp::CONTENT_TYPE, offer.to_bytes())
}

/// Where requests inside the dialog shall come to.
pub(super) fn contact(platform: &Id, local: SocketAddr) -> String {
    format!("<sip:{platform}@{local}>")
}

/// The methods that a GB/T 28181 platform must list at least, and those it takes besides.
pub(super) const ALLOW: &str = "INVITE, ACK, INFO, CANCEL, BYE, OPTIONS, MESSAGE";

/// What the device's answer says of the media.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// Where media come from or go to, or for `tcp-active` where to connect to.
    pub(super) remote: Option<SocketAddr>,
    /// The SSRC that both agreed on.
    pub(super) ssrc: Option<u32>,
    /// Bytes of the recording.
    pub(super) file_size: Option<u64>,
    /// The payload type of G.711 A-law, for a voice.
    pub(super) payload_type: Option<u8>,
}

/// Reads the 200 from `device`. An answer without SDP, or with a broken one, leaves all to what arrives, except where
/// we have to know whom to connect or to send to.
pub(super) fn read_answer(
    offer: &Sdp,
    answer: &Message,
    device: SocketAddr,
    sends: bool,
) -> Result<Answered, &'static str> {
    let sdp = sdp::parse(&answer.body).ok();
    let ssrc = sdp.as_ref().and_then(|sdp| offer.agreed_ssrc(sdp)).or(offer.ssrc);
    let file_size = sdp.as_ref().and_then(Sdp::file_size);
    let payload_type =
        sends.then(|| sdp.as_ref().and_then(|sdp| sdp.voice_payload().ok()).unwrap_or(sdp::PCMA));
    let path = match &sdp {
        Some(sdp) => offer.path(sdp),
        None if offer.media.iter().any(|media| media.setup == Some(Setup::Active)) => Err(NoPath::NoAddress),
        None => Ok(Path::Receive { from: None }),
    };
    let remote = match path {
        Ok(Path::Receive { from }) if sends => {
            // A device that does not know its own address takes sound where it speaks SIP.
            let port = sdp.as_ref().and_then(|sdp| sdp.media.first()).map_or(0, |media| media.port);
            let to = from.unwrap_or(SocketAddr::new(device.ip(), port));
            if to.port() == 0 {
                return Err("the answer to INVITE has no port to send sound to");
            }
            Some(to)
        }
        Ok(Path::Receive { from } | Path::Accept { from }) => from,
        Ok(Path::Connect { to }) => Some(to),
        Err(NoPath::Rejected) => return Err("the answer to INVITE sets the media port to 0"),
        Err(NoPath::NoAddress) => return Err("the answer to INVITE has no address to connect to"),
    };
    Ok(Answered { remote, ssrc, file_size, payload_type })
}

/// In what the 200 departs from the standard, with what was seen.
pub(super) fn departures(offer: &Sdp, answer: &Message) -> Vec<(Rule, String)> {
    let mut found = Vec::new();
    if answer.contact().is_none() {
        found.push((Rule::InviteNoContact, "200 without Contact".to_owned()));
    }
    let text = String::from_utf8_lossy(&answer.body);
    let Ok(sdp) = sdp::parse(&answer.body) else {
        found.push((Rule::SdpUnreadable, sample(&text)));
        return found;
    };
    match (sdp.ssrc, offer.ssrc) {
        (None, _) => found.push((Rule::SdpNoY, sample(&text))),
        (Some(theirs), Some(ours)) if theirs != ours => {
            found.push((Rule::SdpOtherSsrc, format!("y={theirs:010} to y={ours:010}")));
        }
        _ => {}
    }
    let line = |start: &str| sample(text.lines().find(|line| line.starts_with(start)).unwrap_or_default());
    if let (Some(ours), Some(theirs)) = (offer.media.first(), sdp.media.first()) {
        if ours.transport != theirs.transport {
            found.push((Rule::SdpOtherTransport, line("m=")));
        } else if ours.setup.is_some() && theirs.setup != ours.setup.map(Setup::reversed) {
            found.push((Rule::SdpSetupNotReversed, line("a=setup")));
        }
    }
    if let Some(line) = out_of_order(&text) {
        found.push((Rule::SdpLineOrder, sample(line)));
    }
    found
}

/// The first line that does not stand where the order v o s u c t m b a y f has it.
fn out_of_order(text: &str) -> Option<&str> {
    let mut last = 0;
    let mut in_media = false;
    for line in text.lines().map(str::trim).filter(|line| line.as_bytes().get(1) == Some(&b'=')) {
        // Of a medium there may be several, each with its own c, b and a.
        let rank = match line.as_bytes().first() {
            Some(b'v') => 0,
            Some(b'o') => 1,
            Some(b's') => 2,
            Some(b'u') => 3,
            Some(b'c') if !in_media => 4,
            Some(b't') => 5,
            Some(b'm') => 6,
            Some(b'c' | b'b' | b'a') if in_media => 6,
            Some(b'y') => 7,
            Some(b'f') => 8,
            // Attributes of the session, and lines that the standard does not name, stand where they like.
            _ => continue,
        };
        in_media |= rank == 6;
        if rank < last {
            return Some(line);
        }
        last = rank;
    }
    None
}

pub(super) fn sample(text: &str) -> String {
    let short = text.get(..text.floor_char_boundary(MAX_SAMPLE)).unwrap_or(text);
    short.trim_end().replace("\r\n", " | ").chars().filter(|c| !c.is_control()).collect()
}
