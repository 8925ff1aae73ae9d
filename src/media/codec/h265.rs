//! ITU-T H.265: NAL unit types, where decoding can start, the size in the sequence parameter set.

use super::bits::Bits;

pub const VPS: u8 = 32;
pub const SPS: u8 = 33;
pub const PPS: u8 = 34;
pub const AUD: u8 = 35;
pub const FILLER: u8 = 38;

/// Pictures wider or higher than this are taken for a misread parameter set.
const MAX_SIDE: u32 = 16_384;

/// `nal_unit_type` (table 7-1); 63, which is unspecified, for an empty NAL unit.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(63, |byte| byte >> 1 & 0x3F)
}

/// Whether the NAL unit carries a coded slice segment.
pub fn is_picture(nal: &[u8]) -> bool {
    nal_type(nal) < 32
}

/// Whether decoding can start here: an IRAP picture (types 16 to 23).
pub fn is_key<'a>(mut nals: impl Iterator<Item = &'a [u8]>) -> bool {
    nals.any(|nal| matches!(nal_type(nal), 16..=23))
}

/// What we read of a sequence parameter set (7.3.2.2.1).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Sps {
    pub id: u32,
    pub profile: u8,
    /// `general_level_idc`: 30 times the level.
    pub level: u8,
    /// `general_profile_space` to `general_level_idc` as they are coded, without emulation prevention.
    pub general: [u8; 12],
    /// Temporal sub-layers, 1 to 7, and whether each may be left from any picture.
    pub sub_layers: u8,
    pub nested: bool,
    /// `chroma_format_idc`: 0 grey, 1 for 4:2:0, 2 for 4:2:2, 3 for 4:4:4.
    pub chroma_format: u8,
    /// Bits of a sample beyond 8.
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
    /// In pixels, after the conformance window.
    pub width: u32,
    pub height: u32,
}

impl Sps {
    /// Reads a NAL unit of type 33, without start code. None if it is none or is broken.
    pub fn parse(nal: &[u8]) -> Option<Sps> {
        if nal_type(nal) != SPS {
            return None;
        }
        let mut bits = Bits::new(nal.get(2..)?);
        bits.skip(4)?; // sps_video_parameter_set_id
        let sub_layers = bits.u(3)?;
        let nested = bits.bit()?;
        let mut general = [0; 12];
        for byte in &mut general {
            *byte = u8::try_from(bits.u(8)?).ok()?;
        }
        let [spaces, .., level] = general;
        let profile = spaces & 0x1F;
        let mut present = [(false, false); 8];
        for layer in present.iter_mut().take(sub_layers as usize) {
            *layer = (bits.bit()?, bits.bit()?);
        }
        if sub_layers > 0 {
            bits.skip(2 * (8 - sub_layers))?;
        }
        for (has_profile, has_level) in present {
            bits.skip(if has_profile { 88 } else { 0 } + if has_level { 8 } else { 0 })?;
        }
        let id = bits.ue().filter(|&id| id < 16)?;
        let chroma_format = bits.ue().filter(|&format| format < 4)?;
        let separate_planes = chroma_format == 3 && bits.bit()?;
        let (mut width, mut height) = (bits.ue()?, bits.ue()?);
        if bits.bit()? {
            let (unit_x, unit_y) = match chroma_format {
                1 if !separate_planes => (2, 2),
                2 if !separate_planes => (2, 1),
                _ => (1, 1),
            };
            let (left, right) = (bits.ue()?, bits.ue()?);
            let (top, bottom) = (bits.ue()?, bits.ue()?);
            width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
            height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
        }
        let mut bit_depth = || bits.ue().filter(|&beyond| beyond <= 8).map(|beyond| beyond as u8);
        let (bit_depth_luma, bit_depth_chroma) = (bit_depth()?, bit_depth()?);
        let fits = (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height);
        fits.then_some(Sps {
            id,
            profile,
            level,
            general,
            sub_layers: sub_layers as u8 + 1,
            nested,
            chroma_format: chroma_format as u8,
            bit_depth_luma,
            bit_depth_chroma,
            width,
            height,
        })
    }
}

/// The id of a picture parameter set (7.3.2.3).
pub(crate) fn pps_id(nal: &[u8]) -> Option<u32> {
    Bits::new(nal.get(2..)?).ue().filter(|&id| id < 64)
}

/// The id of a video parameter set (7.3.2.1).
pub(crate) fn vps_id(nal: &[u8]) -> Option<u32> {
    nal.get(2).map(|byte| u32::from(byte >> 4))
}
