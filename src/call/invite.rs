//! The INVITE of a live stream and the reading of its answer (clauses 9.2 and annex F of 2022, C.2.4 of 2016).

use std::net::SocketAddr;

use super::{Key, Profile, Settings, Target};
use crate::gb::sdp::{self, NoPath, Path, Sdp, Setup};
use crate::gb::subject::Subject;
use crate::sip::{Message, Method, Tokens};

/// The offer of a live stream, whose media shall come to `media`.
pub(super) fn offer(key: &Key, target: &Target, media: SocketAddr, ssrc: u32) -> Sdp {
    let mut offer = Sdp::live_offer(&key.channel, media, target.transport, ssrc);
    if key.profile != Profile::Main {
        let number = key.profile.number().to_string();
        offer.media =
            offer.media.into_iter().map(|media| media.with_attribute("streamnumber", &number)).collect();
    }
    offer
}

/// The INVITE that carries an offer.
pub(super) fn request(
    settings: &Settings,
    tokens: &mut Tokens,
    key: &Key,
    target: &Target,
    offer: &Sdp,
    ssrc: u32,
) -> Message {
    let (platform, domain) = (settings.platform, &settings.domain);
    let (local, remote) = (target.flow.local, target.flow.remote);
    Message::request(Method::Invite, &format!("sip:{}@{remote}", key.channel))
        .with("From", format!("<sip:{platform}@{domain}>;tag={}", tokens.tag()))
        .with("To", format!("<sip:{}@{domain}>", key.channel))
        .with("Call-ID", tokens.call_id(&local.ip().to_string()))
        .with("CSeq", "1 INVITE")
        .with("Contact", format!("<sip:{platform}@{local}>"))
        .with("Max-Forwards", "70")
        .with("Allow", ALLOW)
        .with("Subject", Subject::new(key.channel, ssrc, platform).to_string())
        .with_body(sdp::CONTENT_TYPE, offer.to_bytes())
}

/// The methods that a GB/T 28181 platform must list at least, and those it takes besides.
const ALLOW: &str = "INVITE, ACK, INFO, CANCEL, BYE, OPTIONS, MESSAGE";

/// What the device's answer says of the media.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// Where media comes from, or for `tcp-active` where to connect to.
    pub(super) remote: Option<SocketAddr>,
    /// The SSRC that both agreed on.
    pub(super) ssrc: Option<u32>,
}

/// Reads the 200. An answer without SDP, or with a broken one, leaves all to what arrives, except where we have to
/// know whom to connect to.
pub(super) fn read_answer(offer: &Sdp, answer: &Message) -> Result<Answered, &'static str> {
    let sdp = sdp::parse(&answer.body).ok();
    let ssrc = sdp.as_ref().and_then(|sdp| offer.agreed_ssrc(sdp)).or(offer.ssrc);
    let path = match &sdp {
        Some(sdp) => offer.path(sdp),
        None if offer.media.iter().any(|media| media.setup == Some(Setup::Active)) => Err(NoPath::NoAddress),
        None => Ok(Path::Receive { from: None }),
    };
    match path {
        Ok(Path::Receive { from } | Path::Accept { from }) => Ok(Answered { remote: from, ssrc }),
        Ok(Path::Connect { to }) => Ok(Answered { remote: Some(to), ssrc }),
        Err(NoPath::Rejected) => Err("the answer to INVITE sets the media port to 0"),
        Err(NoPath::NoAddress) => Err("the answer to INVITE has no address to connect to"),
    }
}
