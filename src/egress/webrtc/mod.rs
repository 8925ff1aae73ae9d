//! WebRTC with browsers: the media side of WHEP (draft-ietf-wish-whep), and of WHIP (RFC 9725) for who speaks to a
//! device.
//!
//! A stream's media worker holds a [`Publisher`] and pushes access units; it packetises each once. The [`Hub`]
//! answers offers, owns one UDP socket and one TCP listener for all viewers, and runs a task for each viewer
//! around a `Session`, which does no input or output of its own. A viewer that cannot follow loses whole
//! pictures up to the next key frame; no one waits for it.
//!
//! This side is ICE-lite with all candidates in the answer, and the DTLS server. To viewers it sends only: H.264 in
//! packetisation mode 1 and H.265 with retransmissions, and G.711. From speakers it receives only: G.711. DTLS and
//! SRTP are those of the `rtc` crate.

mod addresses;
mod feed;
mod hub;
mod ice_tcp;
mod ingest;
mod outlet;
mod packetiser;
mod path;
mod queue;
mod sdp;
mod secure;
mod sender;
mod session;
mod speaker;
mod stun;
#[cfg(test)]
mod testing;
mod transport;
mod udp;
mod viewer;

use std::net::{IpAddr, SocketAddr};

use crate::media::unit::Codec;

pub use feed::{Feed, KeyFrames, Live, Publisher};
pub use hub::Hub;
pub use ingest::Sound;
pub use packetiser::{Batch, MAX_PAYLOAD, Packetiser};
pub use sdp::BadOffer;
pub use speaker::Sounds;

/// Where the hub listens and what it says of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port 0 takes one from the system.
    pub udp: Option<SocketAddr>,
    /// Port 0 takes the number that UDP got.
    pub tcp: Option<SocketAddr>,
    /// Addresses that viewers reach this node at; empty: the addresses of its interfaces, or the one it is bound
    /// to.
    pub advertise: Vec<IpAddr>,
    /// Viewers and speakers at once; more are refused.
    pub max_viewers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { udp: None, tcp: None, advertise: Vec::new(), max_viewers: 2000 }
    }
}

/// Codecs of the stream that is asked for.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Tracks {
    pub video: Option<Codec>,
    pub audio: Option<Codec>,
}

/// A session that was begun.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Names the session; 128 random bits, so that who does not know it cannot end it.
    pub id: String,
    pub sdp: String,
    /// The entity tag of the ICE session, with quotes.
    pub etag: String,
}

/// Why an offer got no answer.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    #[error("the offer cannot be read: {0}")]
    BadOffer(#[from] BadOffer),
    #[error("there is no codec that both sides have")]
    NoCommonCodec,
    #[error("as many viewers and speakers as are allowed are here")]
    Full,
    #[error("the gateway is shutting down")]
    Closed,
    #[error("the session cannot be set up: {0}")]
    Internal(String),
}

/// Why a trickle fragment was not taken.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrickleError {
    #[error("there is no such session")]
    NotFound,
    #[error("the entity tag is not that of the session")]
    Precondition,
    #[error("ICE restarts are not offered: begin a new session")]
    Restart,
}

/// The hub could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(transparent)]
    Listen(#[from] crate::net::BindError),
    #[error("neither UDP nor TCP is configured")]
    Nothing,
    #[error("no certificate: {0}")]
    Certificate(String),
}
