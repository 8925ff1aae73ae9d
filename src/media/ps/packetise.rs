//! A pack of the program stream into RTP payloads.

use bytes::Bytes;

/// The largest RTP payload that is sent over UDP, in bytes.
pub const MAX_PAYLOAD: usize = 1_400;

/// Cuts packs into RTP payloads without copying. All of one pack share its RTP time stamp.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Packetiser {
    max_payload: usize,
}

/// One RTP payload of a pack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    /// Set on the last one.
    pub marker: bool,
    pub bytes: Bytes,
}

impl Default for Packetiser {
    fn default() -> Packetiser {
        Packetiser::new(MAX_PAYLOAD)
    }
}

impl Packetiser {
    pub fn new(max_payload: usize) -> Packetiser {
        Packetiser { max_payload: max_payload.max(1) }
    }

    pub fn packetise(&self, pack: Bytes) -> impl Iterator<Item = Payload> + use<> {
        let (max, len) = (self.max_payload, pack.len());
        (0..len).step_by(max).map(move |at| {
            let end = at.saturating_add(max).min(len);
            Payload { marker: end == len, bytes: pack.slice(at..end) }
        })
    }
}
