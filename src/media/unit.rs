//! The access unit: one picture with all its NAL units, or one run of sound.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// Ticks in a second of [`AccessUnit::pts`] and [`AccessUnit::dts`].
pub const CLOCK: i64 = 90_000;

/// How an elementary stream is coded.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Codec {
    H264,
    H265,
    /// SVAC video (GB/T 25724).
    Svac,
    /// G.711 A-law.
    Pcma,
    /// G.711 mu-law.
    Pcmu,
    Aac,
    /// G.722.1.
    G7221,
    /// G.723.1.
    G7231,
    G729,
    /// SVAC audio (GB/T 25724).
    SvacAudio,
    /// Sound or data with a PS stream type that we do not know.
    Unknown(u8),
}

impl Codec {
    /// The stable lower-case name used in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::H264 => "h264",
            Codec::H265 => "h265",
            Codec::Svac => "svac",
            Codec::Pcma => "pcma",
            Codec::Pcmu => "pcmu",
            Codec::Aac => "aac",
            Codec::G7221 => "g7221",
            Codec::G7231 => "g7231",
            Codec::G729 => "g729",
            Codec::SvacAudio => "svac-audio",
            Codec::Unknown(_) => "unknown",
        }
    }

    pub fn track(self) -> Track {
        match self {
            Codec::H264 | Codec::H265 | Codec::Svac => Track::Video,
            _ => Track::Audio,
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Track {
    Video,
    Audio,
}

/// One picture (all NAL units of one time) or one piece of sound, with its time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessUnit {
    pub codec: Codec,
    /// Presentation time in ticks of 90 kHz, unwrapped; a stream starts near 0.
    pub pts: i64,
    /// Decoding time in ticks of 90 kHz; never goes back within a track.
    pub dts: i64,
    /// Whether decoding can start here (IDR, IRAP). Sound is always a key.
    pub key: bool,
    /// Whether bytes of it are known to be lost.
    pub damaged: bool,
    /// Video: Annex B. Sound: raw frames.
    pub payload: Bytes,
    /// Where the NAL units lie in `payload`, without start codes, in order. Empty for sound.
    pub nals: SmallVec<[Range<u32>; 8]>,
}

impl AccessUnit {
    pub fn track(&self) -> Track {
        self.codec.track()
    }

    /// The bytes of the NAL unit with this index, shared with `payload`; empty if there is none.
    pub fn nal(&self, index: usize) -> Bytes {
        match self.nals.get(index).and_then(|range| self.checked(range)) {
            Some(range) => self.payload.slice(range),
            None => Bytes::new(),
        }
    }

    /// The NAL units in order, borrowed.
    pub fn nals(&self) -> impl Iterator<Item = &[u8]> {
        self.nals.iter().filter_map(|range| self.payload.get(self.checked(range)?))
    }

    /// The range, if it lies in the payload: the fields are public, so it may be wrong.
    fn checked(&self, range: &Range<u32>) -> Option<Range<usize>> {
        let (start, end) = (range.start as usize, range.end as usize);
        (start <= end && end <= self.payload.len()).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_is_a_slice_of_the_payload() {
        let unit = AccessUnit {
            codec: Codec::H264,
            pts: 0,
            dts: 0,
            key: true,
            damaged: false,
            payload: Bytes::from_static(&[0, 0, 1, 0x65, 0xAA]),
            nals: SmallVec::from_iter([3..5, 4..9]),
        };
        assert_eq!(unit.nal(0), Bytes::from_static(&[0x65, 0xAA]));
        assert_eq!(unit.nal(0).as_ptr(), unit.payload[3..].as_ptr());
        assert!(unit.nal(1).is_empty(), "a range beyond the payload is no NAL unit");
        assert!(unit.nal(2).is_empty());
        assert_eq!(unit.nals().count(), 1);
        assert_eq!(unit.track(), Track::Video);
    }
}
