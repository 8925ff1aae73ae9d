//! Sound to a device: Broadcast, where the device makes the offer (clause 9.12), and Talk, where the platform does
//! (2016 by name, and as vendors have it).

use std::net::SocketAddr;

use super::{Direction, Media, MediaMode, MediaTransport, NoPath, Payload, Sdp, SourcePath};
use crate::gb::id::Id;

/// Payload type of G.711 A-law.
pub const PCMA: u8 = 8;

/// `f=` of G.711, 64 kbit/s, 8 kHz.
const FORMAT: &str = "v/////a/1/8/1";

fn pcma() -> Vec<Payload> {
    vec![Payload::new(PCMA, "PCMA", 8000)]
}

impl Media {
    /// The payload type of G.711 A-law in this medium.
    fn pcma(&self) -> Option<u8> {
        let is = |payload: &&Payload| payload.pt == PCMA || payload.name.eq_ignore_ascii_case("PCMA");
        self.payloads.iter().find(is).map(|payload| payload.pt)
    }
}

impl Sdp {
    /// The offer of a talk with a channel, sent from and received at `local`.
    pub fn talk_offer(channel: &Id, local: SocketAddr, mode: MediaMode, ssrc: u32) -> Sdp {
        let setup = mode.setup();
        let media = Media {
            kind: "audio".to_owned(),
            port: local.port(),
            transport: if setup.is_some() { MediaTransport::Tcp } else { MediaTransport::Udp },
            payloads: pcma(),
            direction: Some(Direction::SendRecv),
            setup,
            address: None,
            attributes: Vec::new(),
        };
        Sdp {
            owner: channel.to_string(),
            session: "Talk".to_owned(),
            address: Some(local.ip()),
            time: (0, 0),
            uri: None,
            media: vec![media],
            ssrc: Some(ssrc),
            format: Some(FORMAT.to_owned()),
        }
    }

    /// The offer of a device that was asked to fetch sound, as a simulated one makes it.
    pub fn broadcast_offer(device: &Id, local: SocketAddr, mode: MediaMode, ssrc: u32) -> Sdp {
        let mut offer = Sdp::talk_offer(device, local, mode, ssrc);
        offer.session = "Play".to_owned();
        for media in &mut offer.media {
            media.direction = Some(Direction::RecvOnly);
        }
        offer
    }

    /// The answer to the offer of a device that fetches sound: A-law, sent from `local` or, where the device
    /// connects, listened for there. The SSRC is the offer's, else `ssrc`.
    pub fn broadcast_answer(offer: &Sdp, owner: &Id, local: SocketAddr, ssrc: u32) -> Result<Sdp, NoPath> {
        let offered = offer.voice()?;
        let pt = offered.pcma().ok_or(NoPath::Rejected)?;
        let media = Media {
            kind: offered.kind.clone(),
            port: local.port(),
            transport: offered.transport,
            payloads: vec![Payload::new(pt, "PCMA", 8000)],
            direction: Some(offered.direction.unwrap_or(Direction::RecvOnly).reversed()),
            setup: offered.part().map(super::Setup::reversed),
            address: None,
            attributes: Vec::new(),
        };
        Ok(Sdp {
            owner: owner.to_string(),
            session: "Play".to_owned(),
            address: Some(local.ip()),
            time: (0, 0),
            uri: None,
            media: vec![media],
            ssrc: offer.ssrc.or(Some(ssrc)),
            format: Some(FORMAT.to_owned()),
        })
    }

    /// How sound reaches the one who made this description, offer or answer: where to send, where to connect, or
    /// that they connect here.
    pub fn voice_path(&self) -> Result<SourcePath, NoPath> {
        self.source_path_of(self.voice()?)
    }

    /// The payload type of A-law that a description has for sound.
    pub fn voice_payload(&self) -> Result<u8, NoPath> {
        self.voice()?.pcma().ok_or(NoPath::Rejected)
    }

    /// The first medium of sound. One who connects need not name a port.
    fn voice(&self) -> Result<&Media, NoPath> {
        let usable = |media: &&Media| {
            media.kind == "audio" && (media.port != 0 || media.setup == Some(super::Setup::Active))
        };
        self.media.iter().find(usable).ok_or(NoPath::Rejected)
    }
}
