//! AAC in frames with ADTS headers (ISO/IEC 13818-7, 6.2), as program streams carry it.

use bytes::Bytes;

use crate::media::unit::AccessUnit;

/// Samples of a frame. The variant with 960 has no mark in ADTS, and no camera sends it.
pub const FRAME_SAMPLES: u32 = 1024;

const HEADER_LEN: usize = 7;
/// Bytes of the check that follows the header where it says so.
const CHECK_LEN: usize = 2;

/// Samples a second by `sampling_frequency_index` (ISO/IEC 14496-3, table 1.18).
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// What a decoder has to know before it can begin; the same in each frame of a stream.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The audio object type of ISO/IEC 14496-3: 1 Main, 2 LC, 3 SSR, 4 LTP.
    pub object_type: u8,
    rate_index: u8,
    /// 1 to 7; 0 where the frames themselves say it.
    pub channels: u8,
}

impl Config {
    /// Samples a second.
    pub fn sample_rate(&self) -> u32 {
        RATES.get(usize::from(self.rate_index)).copied().unwrap_or_default()
    }

    /// `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1).
    pub fn to_bytes(self) -> [u8; 2] {
        let bits = u16::from(self.object_type) << 11
            | u16::from(self.rate_index) << 7
            | u16::from(self.channels) << 3;
        bits.to_be_bytes()
    }
}

/// One frame of a run of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    pub config: Config,
    /// Where the raw data lie in the run, behind the header.
    pub body: std::ops::Range<usize>,
}

/// The frames that a run of bytes begins with; ends at the first that is none or is cut short.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (config, head, len) = read_header(bytes.get(at..)?)?;
        let end = at + len;
        bytes.get(at..end)?;
        let body = at + head..end;
        at = end;
        Some(Frame { config, body })
    })
}

/// The raw frames of a unit, shared with its payload.
pub fn raw_frames(unit: &AccessUnit) -> impl Iterator<Item = (Config, Bytes)> + '_ {
    frames(&unit.payload).map(|frame| (frame.config, unit.payload.slice(frame.body)))
}

/// Whether the bytes are one or more whole frames, and no more.
pub fn is_adts(bytes: &[u8]) -> bool {
    frames(bytes).last().is_some_and(|last| last.body.end == bytes.len())
}

/// Configuration, bytes of the header and bytes of the frame.
fn read_header(bytes: &[u8]) -> Option<(Config, usize, usize)> {
    let [0xFF, b1, b2, b3, b4, b5, _, ..] = *bytes else { return None };
    let head = if b1 & 1 == 1 { HEADER_LEN } else { HEADER_LEN + CHECK_LEN };
    let len = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5) >> 5;
    let config =
        Config { object_type: (b2 >> 6) + 1, rate_index: b2 >> 2 & 0xF, channels: (b2 & 1) << 2 | b3 >> 6 };
    let sound = b1 & 0xF6 == 0xF0 && config.sample_rate() > 0 && len >= head;
    sound.then_some((config, head, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::unit::Codec;
    use proptest::prelude::*;

    /// LC, 16 kHz, mono, with this many bytes behind the header.
    fn frame(body: usize) -> Vec<u8> {
        let len = HEADER_LEN + body;
        let mut frame =
            vec![0xFF, 0xF1, 0x60, 0x40 | (len >> 11) as u8, (len >> 3) as u8, (len << 5) as u8 | 0x1F, 0xFC];
        frame.resize(len, 0x21);
        frame
    }

    #[test]
    fn frames_are_cut_out_of_a_run() {
        let run = [frame(10), frame(0), frame(300)].concat();
        let found: Vec<_> = frames(&run).collect();
        assert_eq!(found.iter().map(|f| f.body.len()).collect::<Vec<_>>(), [10, 0, 300]);
        let config = found[0].config;
        assert_eq!((config.object_type, config.sample_rate(), config.channels), (2, 16_000, 1));
        assert_eq!(config.to_bytes(), [0x14, 0x08]);
        assert!(is_adts(&run) && !is_adts(&run[..run.len() - 1]));
        let unit = AccessUnit::new(Codec::Aac, 0, 0, run.into());
        assert_eq!(raw_frames(&unit).map(|(_, raw)| raw.len()).sum::<usize>(), 310);
    }

    #[test]
    fn a_check_is_part_of_the_header() {
        let mut checked = frame(12);
        checked[1] = 0xF0;
        assert_eq!(frames(&checked).next().unwrap().body, 9..19);
    }

    proptest! {
        #[test]
        fn anything_can_be_looked_at(bytes: Vec<u8>, sync: bool) {
            let bytes = if sync { [&[0xFF, 0xF1][..], &bytes].concat() } else { bytes };
            let mut end = 0;
            for frame in frames(&bytes) {
                prop_assert!(frame.body.start >= end + HEADER_LEN && frame.body.end <= bytes.len());
                end = frame.body.end;
            }
        }
    }
}
