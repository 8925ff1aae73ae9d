//! ITU-T G.711: one byte a sample, 8,000 samples a second.

use bytes::Bytes;

use crate::media::unit::{AccessUnit, CLOCK, Codec};

pub const SAMPLE_RATE: u32 = 8_000;

/// Ticks of 90 kHz that this many bytes last.
pub fn ticks(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(CLOCK) / i64::from(SAMPLE_RATE)
}

/// The static RTP payload type (RFC 3551, table 4).
pub fn payload_type(codec: Codec) -> Option<u8> {
    match codec {
        Codec::Pcmu => Some(0),
        Codec::Pcma => Some(8),
        _ => None,
    }
}

/// The byte for silence.
pub fn silence(codec: Codec) -> u8 {
    if codec == Codec::Pcmu { 0xFF } else { 0xD5 }
}

/// Cuts sound into RTP payloads of up to `millis` each, with the 90 kHz time of each, without copying.
pub fn cut(unit: &AccessUnit, millis: u32) -> impl Iterator<Item = (i64, Bytes)> {
    let size = (SAMPLE_RATE as usize / 1000).saturating_mul(millis as usize).max(1);
    let len = unit.payload.len();
    (0..len).step_by(size).map(move |at| {
        let end = at.saturating_add(size).min(len);
        (unit.pts.saturating_add(ticks(at)), unit.payload.slice(at..end))
    })
}
