//! Which codec a stream has: what the program stream map says of it, and what its bits say.

use smallvec::SmallVec;

use super::headers::MapEntry;
use crate::media::codec::{self, Evidence, g711};
use crate::media::unit::{CLOCK, Codec, Track};

/// NAL units in a row, none against, that it takes to believe the bits more than the map.
const ENOUGH: u32 = 3;

/// Streams whose type is remembered.
const MAX_STREAMS: usize = 16;

/// The stream type of a codec (GB/T 28181-2022, annex C.1; H.265 by ISO/IEC 13818-1).
pub(super) fn stream_type(codec: Codec) -> u8 {
    match codec {
        Codec::H264 => 0x1B,
        Codec::H265 => 0x24,
        Codec::Svac => 0x80,
        Codec::Pcma => 0x90,
        Codec::Pcmu => 0x91,
        Codec::G7221 => 0x92,
        Codec::G7231 => 0x93,
        Codec::G729 => 0x99,
        Codec::SvacAudio => 0x9B,
        Codec::Aac => 0x0F,
        Codec::Unknown(stream_type) => stream_type,
    }
}

fn codec_of(stream_type: u8) -> Codec {
    match stream_type {
        0x1B => Codec::H264,
        0x24 => Codec::H265,
        0x80 => Codec::Svac,
        0x90 => Codec::Pcma,
        0x91 => Codec::Pcmu,
        0x92 => Codec::G7221,
        0x93 => Codec::G7231,
        0x99 => Codec::G729,
        0x9B => Codec::SvacAudio,
        0x0F => Codec::Aac,
        other => Codec::Unknown(other),
    }
}

/// What is known of the codecs of a program stream.
#[derive(Debug, Default)]
pub(super) struct Codecs {
    map: SmallVec<[MapEntry; 4]>,
    /// The codec that NAL units spoke for lately, and how many did.
    leaning: Option<(Codec, u32)>,
    /// The codec that enough of them spoke for.
    settled: Option<Codec>,
}

impl Codecs {
    /// Takes a new map. Maps that list only some streams are common, so the others stay as they were.
    pub(super) fn declare(&mut self, entries: &[MapEntry]) {
        for entry in entries {
            let known = self.map.iter_mut().find(|known| known.stream_id == entry.stream_id);
            if let Some(known) = known {
                *known = *entry;
            } else if self.map.len() < MAX_STREAMS {
                self.map.push(*entry);
            }
        }
    }

    fn declared(&self, stream_id: u8) -> Option<Codec> {
        let entry = self.map.iter().find(|entry| entry.stream_id == stream_id)?;
        Some(codec_of(entry.stream_type))
    }

    /// The sound that the map announces, of which none may have come yet.
    pub(super) fn announced_audio(&self) -> Option<Codec> {
        let sound = self.map.iter().find(|entry| (0xC0..=0xDF).contains(&entry.stream_id))?;
        Some(codec_of(sound.stream_type)).filter(|codec| codec.track() == Track::Audio)
    }

    /// The codec of a picture in this stream; None while unknown or if we do not carry it. The flag tells that
    /// the bits have just been found to speak against the map.
    pub(super) fn video(&mut self, stream_id: u8, found: Evidence) -> (Option<Codec>, bool) {
        let declared = self.declared(stream_id);
        if declared == Some(Codec::Svac) {
            // Its NAL headers are too much like those of H.264.
            return (declared, false);
        }
        let voice = match found {
            Evidence { h264: 0, h265: 0 } => None,
            Evidence { h264, h265: 0 } => Some((Codec::H264, h264)),
            Evidence { h264: 0, h265 } => Some((Codec::H265, h265)),
            _ => None,
        };
        if let Some((codec, hits)) = voice {
            let before = self.leaning.filter(|leaning| leaning.0 == codec).map_or(0, |leaning| leaning.1);
            self.leaning = Some((codec, before.saturating_add(hits)));
        }
        let settled = self.leaning.filter(|leaning| leaning.1 >= ENOUGH).map(|leaning| leaning.0);
        let news = settled.is_some() && settled != self.settled;
        self.settled = settled.or(self.settled);
        let declared = declared.filter(|codec| matches!(codec, Codec::H264 | Codec::H265));
        let lied = news && declared.is_some() && declared != self.settled;
        (self.settled.or(declared).or(self.leaning.map(|leaning| leaning.0)), lied)
    }

    /// The codec of a piece of sound in this stream: AAC shows itself, G.711 A-law is what there is without a
    /// map.
    pub(super) fn audio(&self, stream_id: u8, payload: &[u8]) -> Codec {
        if codec::is_adts(payload) {
            return Codec::Aac;
        }
        self.declared(stream_id).filter(|codec| codec.track() == Track::Audio).unwrap_or(Codec::Pcma)
    }
}

/// How long a piece of sound lasts in ticks of 90 kHz, where its size tells.
pub(super) fn duration(codec: Codec, len: usize) -> Option<i64> {
    match codec {
        Codec::Pcma | Codec::Pcmu => Some(g711::ticks(len)),
        // Frames of 10 bytes, 10 ms each.
        Codec::G729 => i64::try_from(len / 10).ok().map(|frames| frames * (CLOCK / 100)),
        _ => None,
    }
}
