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

/// PCMA for a sample of PCMU, and for none other than these two codecs.
pub fn to_pcma(codec: Codec, sample: u8) -> u8 {
    match codec {
        Codec::Pcmu => TO_PCMA.get(usize::from(sample)).copied().unwrap_or(sample),
        _ => sample,
    }
}

const TO_PCMA: [u8; 256] = {
    let mut table = [0; 256];
    let mut sample = 0;
    while sample < table.len() {
        table[sample] = pcma_of(linear_of_pcmu(sample as u8));
        sample += 1;
    }
    table
};

/// The value of a sample of PCMU in 16 bits.
const fn linear_of_pcmu(sample: u8) -> i32 {
    let sample = !sample;
    let (segment, step) = ((sample >> 4 & 7) as i32, (sample & 0xF) as i32);
    let size = (((step << 3) + 0x84) << segment) - 0x84;
    if sample & 0x80 == 0 { size } else { -size }
}

/// The sample of PCMA that is nearest to a value in 16 bits.
const fn pcma_of(linear: i32) -> u8 {
    let (sign, size) = if linear >= 0 { (0xD5, linear >> 3) } else { (0x55, (-linear - 1) >> 3) };
    let size = if size > 0xFFF { 0xFFF } else { size };
    // Segments 0 and 1 have steps of the same size.
    let segment = if size < 0x20 { 0 } else { 27 - (size as u32).leading_zeros() };
    let step = if segment < 2 { size >> 1 } else { size >> segment };
    sign ^ ((segment << 4) as u8 | (step & 0xF) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a sample of PCMA in 16 bits, as ITU-T G.191 reckons it.
    fn linear_of_pcma(sample: u8) -> i32 {
        let sample = sample ^ 0x55;
        let (segment, step) = (i32::from(sample >> 4 & 7), i32::from(sample & 0xF) << 4);
        let size = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
        if sample & 0x80 == 0 { -size } else { size }
    }

    #[test]
    fn samples_keep_their_value_from_one_law_to_the_other() {
        assert_eq!(to_pcma(Codec::Pcmu, silence(Codec::Pcmu)), silence(Codec::Pcma));
        assert_eq!(to_pcma(Codec::Pcma, 0x17), 0x17);
        for sample in 0..=255 {
            let (before, after) = (linear_of_pcmu(sample), linear_of_pcma(to_pcma(Codec::Pcmu, sample)));
            let slack = before.abs() / 32 + 16;
            assert!((before - after).abs() <= slack, "{sample}: {before} {after}");
        }
    }
}
