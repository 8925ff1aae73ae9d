//! Access units cut into RTP payloads, once for each stream: viewers share the result.

use std::sync::Arc;

use crate::media::codec::payload::{RtpPayload, packetise_h264, packetise_h265};
use crate::media::unit::{AccessUnit, CLOCK, Codec, Track};

/// Bytes of an RTP payload at most. With RTP header, retransmission header, SRTP tag, UDP and IPv6 this stays
/// below 1,280 bytes, which every path carries.
pub const MAX_PAYLOAD: usize = 1200;

/// Samples a second of G.711; also the clock of its RTP timestamps.
const AUDIO_CLOCK: i64 = 8_000;

/// Samples that the time stamps of sound may be off before they are believed over the count of samples: devices
/// stamp sound coarsely, and a receiver hears each gap or overlap.
const AUDIO_SLACK: i64 = 480;

/// One access unit, ready to be numbered, encrypted and sent.
#[derive(Clone, Debug)]
pub struct Batch {
    pub track: Track,
    /// When it is shown or heard, in units of [`Batch::clock`], unwrapped; both tracks count from one moment.
    pub timestamp: i64,
    /// Whether a decoder can begin here.
    pub key: bool,
    pub packets: Vec<RtpPayload>,
}

impl Batch {
    /// Units a second of `timestamp`: 90,000 for video, 8,000 for audio.
    pub fn clock(&self) -> i64 {
        clock(self.track)
    }
}

/// Units a second of the RTP timestamps of a track.
pub(super) fn clock(track: Track) -> i64 {
    match track {
        Track::Video => CLOCK,
        Track::Audio => AUDIO_CLOCK,
    }
}

/// Cuts the access units of one stream.
#[derive(Debug, Default)]
pub struct Packetiser {
    /// The sample that follows what was cut last.
    next_sample: Option<i64>,
}

impl Packetiser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the batches of an access unit: one for a picture; one for each [`MAX_PAYLOAD`] bytes of sound. None
    /// for codecs that browsers are not offered here (H.264, H.265, PCMA and PCMU are), and for empty units.
    pub fn push(&mut self, unit: &AccessUnit) -> Vec<Arc<Batch>> {
        match unit.codec {
            Codec::H264 | Codec::H265 => picture(unit).map(Arc::new).into_iter().collect(),
            Codec::Pcma | Codec::Pcmu => self.sound(unit),
            _ => Vec::new(),
        }
    }

    fn sound(&mut self, unit: &AccessUnit) -> Vec<Arc<Batch>> {
        let stamped = unit.pts.saturating_mul(AUDIO_CLOCK) / CLOCK;
        let mut timestamp = match self.next_sample {
            Some(next) if next.abs_diff(stamped) <= AUDIO_SLACK.unsigned_abs() => next,
            _ => stamped,
        };
        let mut batches = Vec::new();
        let mut rest = unit.payload.clone();
        while !rest.is_empty() {
            let body = rest.split_to(rest.len().min(MAX_PAYLOAD));
            let samples = body.len() as i64; // G.711 has a byte for each sample.
            let payload = RtpPayload { marker: false, head: Default::default(), body };
            batches.push(Arc::new(Batch {
                track: Track::Audio,
                timestamp,
                key: true,
                packets: vec![payload],
            }));
            timestamp = timestamp.saturating_add(samples);
        }
        self.next_sample = Some(timestamp);
        batches
    }
}

fn picture(unit: &AccessUnit) -> Option<Batch> {
    let mut packets = Vec::new();
    match unit.codec {
        Codec::H264 => packetise_h264(unit, MAX_PAYLOAD, &mut packets),
        _ => packetise_h265(unit, MAX_PAYLOAD, &mut packets),
    }
    let batch = Batch { track: Track::Video, timestamp: unit.pts, key: unit.key, packets };
    (!batch.packets.is_empty()).then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn unit(codec: Codec, pts: i64, payload: Vec<u8>) -> AccessUnit {
        let nals = std::iter::once(0..payload.len() as u32).collect();
        AccessUnit { codec, pts, dts: pts, key: true, damaged: false, payload: Bytes::from(payload), nals }
    }

    #[test]
    fn a_picture_is_one_batch_that_shares_its_bytes() {
        let unit = unit(Codec::H264, 3600, [&[0x65][..], &[7; 3000]].concat());
        let batches = Packetiser::new().push(&unit);
        assert_eq!(batches.len(), 1);
        let batch = &batches[0];
        assert_eq!(
            (batch.track, batch.timestamp, batch.clock(), batch.key),
            (Track::Video, 3600, 90_000, true)
        );
        assert!(batch.packets.len() >= 3);
        assert!(batch.packets.iter().all(|p| p.head.len() + p.body.len() <= MAX_PAYLOAD));
        assert!(batch.packets.iter().rev().skip(1).all(|p| !p.marker));
        assert!(batch.packets.last().unwrap().marker);
        let range = unit.payload.as_ptr_range();
        assert!(batch.packets.iter().all(|p| range.contains(&p.body.as_ptr())));
    }

    #[test]
    fn sound_is_counted_by_samples_and_jumps_with_its_time_stamps() {
        let mut packetiser = Packetiser::new();
        let mut stamp = |pts, bytes| {
            let batches = packetiser.push(&unit(Codec::Pcma, pts, vec![0xD5; bytes]));
            batches.iter().map(|b| b.timestamp).collect::<Vec<_>>()
        };
        assert_eq!(stamp(0, 160), [0]);
        assert_eq!(stamp(1890, 160), [160], "off by one millisecond");
        assert_eq!(stamp(3600, 2500), [320, 1520, 2720]);
        assert_eq!(stamp(900_000, 160), [80_000], "a gap");
    }

    #[test]
    fn codecs_that_browsers_do_not_take_are_left_out() {
        let mut packetiser = Packetiser::new();
        assert!(packetiser.push(&unit(Codec::Svac, 0, vec![1; 10])).is_empty());
        assert!(packetiser.push(&unit(Codec::Pcmu, 0, vec![])).is_empty());
    }
}
