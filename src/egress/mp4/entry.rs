//! How a track is coded: the sample entry, with all that a decoder needs before the first sample (ISO/IEC
//! 14496-15 for H.264 and H.265, 14496-14 for AAC, QuickTime for G.711).

use std::fmt::Write as _;

use bytes::Bytes;

use super::boxes::{atom, full, u16, u32, with_len, zeros};
use crate::media::codec::{ParameterSets, aac, g711, h264, h265};
use crate::media::unit::{CLOCK, Codec};

#[derive(Clone, Debug, PartialEq)]
pub(in crate::egress) enum Entry {
    H264 {
        sps: h264::Sps,
        sets: Vec<Bytes>,
    },
    H265 {
        sps: h265::Sps,
        sets: Vec<Bytes>,
    },
    Aac(aac::Config),
    /// PCMA or PCMU.
    G711(Codec),
}

impl Entry {
    /// The entry for pictures with these parameter sets; `None` if one of them is missing.
    pub(in crate::egress) fn video(parameters: &ParameterSets) -> Option<Entry> {
        if !parameters.is_complete() {
            return None;
        }
        let sets = parameters.iter().cloned().collect();
        match parameters.codec()? {
            Codec::H264 => Some(Entry::H264 { sps: h264::Sps::parse(parameters.first(h264::SPS)?)?, sets }),
            Codec::H265 => Some(Entry::H265 { sps: h265::Sps::parse(parameters.first(h265::SPS)?)?, sets }),
            _ => None,
        }
    }

    pub(super) fn is_video(&self) -> bool {
        matches!(self, Entry::H264 { .. } | Entry::H265 { .. })
    }

    pub(in crate::egress) fn codec(&self) -> Codec {
        match self {
            Entry::H264 { .. } => Codec::H264,
            Entry::H265 { .. } => Codec::H265,
            Entry::Aac(_) => Codec::Aac,
            Entry::G711(codec) => *codec,
        }
    }

    /// Units a second of the track's times.
    pub(super) fn timescale(&self) -> u32 {
        match self {
            Entry::H264 { .. } | Entry::H265 { .. } => CLOCK as u32,
            Entry::Aac(config) => config.sample_rate(),
            Entry::G711(_) => g711::SAMPLE_RATE,
        }
    }

    /// Width and height in pixels; 0 for sound.
    pub(in crate::egress) fn size(&self) -> (u32, u32) {
        match self {
            Entry::H264 { sps, .. } => (sps.width, sps.height),
            Entry::H265 { sps, .. } => (sps.width, sps.height),
            _ => (0, 0),
        }
    }

    /// As in the `codecs` parameter of a media type (RFC 6381).
    pub(super) fn name(&self) -> String {
        match self {
            Entry::H264 { sps, .. } => format!("avc1.{}", sps.profile_level_id()),
            Entry::H265 { sps, .. } => h265_name(sps),
            Entry::Aac(config) => format!("mp4a.40.{}", config.object_type),
            Entry::G711(Codec::Pcmu) => "ulaw".to_owned(),
            Entry::G711(_) => "alaw".to_owned(),
        }
    }

    /// What a decoder has to be told before the first sample, without the box around it: also what comes first in
    /// an FLV stream.
    pub(in crate::egress) fn configuration(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Entry::H264 { sps, sets } => avc_configuration(&mut out, sps, sets),
            Entry::H265 { sps, sets } => hevc_configuration(&mut out, sps, sets),
            Entry::Aac(config) => out.extend(config.to_bytes()),
            Entry::G711(_) => {}
        }
        out
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Entry::H264 { sps, sets } => self.visual(out, b"avc1", |out| {
                atom(out, b"avcC", |out| avc_configuration(out, sps, sets));
            }),
            Entry::H265 { sps, sets } => self.visual(out, b"hvc1", |out| {
                atom(out, b"hvcC", |out| hevc_configuration(out, sps, sets));
            }),
            Entry::Aac(config) => {
                // Zero says that the frames know; players want a number here all the same.
                let channels = if config.channels == 0 { 2 } else { u16::from(config.channels) };
                self.audio(out, b"mp4a", channels, |out| esds(out, config));
            }
            Entry::G711(Codec::Pcmu) => self.audio(out, b"ulaw", 1, |_| {}),
            Entry::G711(_) => self.audio(out, b"alaw", 1, |_| {}),
        }
    }

    fn visual(&self, out: &mut Vec<u8>, kind: &[u8; 4], configuration: impl FnOnce(&mut Vec<u8>)) {
        let (width, height) = self.size();
        atom(out, kind, |out| {
            zeros(out, 6);
            u16(out, 1); // data_reference_index
            zeros(out, 16);
            u16(out, u16::try_from(width).unwrap_or(u16::MAX));
            u16(out, u16::try_from(height).unwrap_or(u16::MAX));
            u32(out, 72 << 16); // dots per inch
            u32(out, 72 << 16);
            zeros(out, 4);
            u16(out, 1); // pictures in a sample
            zeros(out, 32); // compressorname
            u16(out, 24); // depth
            u16(out, u16::MAX);
            configuration(out);
        });
    }

    fn audio(
        &self,
        out: &mut Vec<u8>,
        kind: &[u8; 4],
        channels: u16,
        configuration: impl FnOnce(&mut Vec<u8>),
    ) {
        atom(out, kind, |out| {
            zeros(out, 6);
            u16(out, 1); // data_reference_index
            zeros(out, 8);
            u16(out, channels);
            u16(out, 16); // bits of a decoded sample
            zeros(out, 4);
            // 16.16; rates that do not fit stand in the configuration alone.
            u32(out, u16::try_from(self.timescale()).map_or(0, |rate| u32::from(rate) << 16));
            configuration(out);
        });
    }
}

fn of_kind(sets: &[Bytes], kind: u8, of: fn(&[u8]) -> u8) -> Vec<&Bytes> {
    sets.iter().filter(|set| of(set) == kind).collect()
}

/// ISO/IEC 14496-15, 5.3.3.1.
fn avc_configuration(out: &mut Vec<u8>, sps: &h264::Sps, sets: &[Bytes]) {
    out.extend([1, sps.profile, sps.constraints, sps.level, 0xFF]); // lengths of 4 bytes
    for (kind, reserved) in [(h264::SPS, 0xE0), (h264::PPS, 0)] {
        let of_kind = of_kind(sets, kind, h264::nal_type);
        out.push(reserved | of_kind.len() as u8); // ParameterSets keeps 16 at most
        of_kind.iter().for_each(|set| with_len(out, set));
    }
    if !matches!(sps.profile, 66 | 77 | 88) {
        let depths = [0xF8 | sps.bit_depth_luma, 0xF8 | sps.bit_depth_chroma];
        out.extend([0xFC | sps.chroma_format, depths[0], depths[1], 0]);
    }
}

/// ISO/IEC 14496-15, 8.3.3.1.
fn hevc_configuration(out: &mut Vec<u8>, sps: &h265::Sps, sets: &[Bytes]) {
    out.push(1);
    out.extend(sps.general);
    u16(out, 0xF000); // min_spatial_segmentation_idc: not known
    out.push(0xFC); // parallelismType: not known
    out.extend([0xFC | sps.chroma_format, 0xF8 | sps.bit_depth_luma, 0xF8 | sps.bit_depth_chroma]);
    u16(out, 0); // avgFrameRate: not known
    out.push(sps.sub_layers << 3 | u8::from(sps.nested) << 2 | 3); // lengths of 4 bytes
    out.push(3);
    for kind in [h265::VPS, h265::SPS, h265::PPS] {
        let of_kind = of_kind(sets, kind, h265::nal_type);
        out.push(0x80 | kind); // complete: there are none in the samples
        u16(out, of_kind.len() as u16);
        of_kind.iter().for_each(|set| with_len(out, set));
    }
}

/// ISO/IEC 14496-14, 5.6.1, with the descriptors of 14496-1, 7.2.6.
fn esds(out: &mut Vec<u8>, config: &aac::Config) {
    const DECODER_SPECIFIC: u8 = 2 + 2;
    const DECODER: u8 = 2 + 13 + DECODER_SPECIFIC;
    full(out, b"esds", 0, 0, |out| {
        out.extend([3, 3 + DECODER + 3, 0, 0, 0]); // ES_Descriptor
        out.extend([4, DECODER - 2, 0x40, 0x15]); // DecoderConfigDescriptor: audio of 14496-3
        zeros(out, 11); // buffer and bit rates: not known
        out.extend([5, DECODER_SPECIFIC - 2]);
        out.extend(config.to_bytes());
        out.extend([6, 1, 2]); // SLConfigDescriptor, as MP4 files have it
    });
}

/// ISO/IEC 14496-15, annex E.3.
fn h265_name(sps: &h265::Sps) -> String {
    let [spaces, c0, c1, c2, c3, constraints @ .., level] = sps.general;
    let space = match spaces >> 6 {
        0 => "",
        1 => "A",
        2 => "B",
        _ => "C",
    };
    let tier = if spaces & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
    let mut name = format!("hvc1.{space}{}.{compatibility:X}.{tier}{level}", sps.profile);
    let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in constraints.iter().take(used) {
        let _ = write!(name, ".{byte:X}");
    }
    name
}
