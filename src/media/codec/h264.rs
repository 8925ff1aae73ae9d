//! ITU-T H.264: NAL unit types, where decoding can start, the sequence parameter set.

use super::bits::Bits;

pub const SLICE: u8 = 1;
pub const IDR: u8 = 5;
pub const SEI: u8 = 6;
pub const SPS: u8 = 7;
pub const PPS: u8 = 8;
pub const AUD: u8 = 9;
pub const FILLER: u8 = 12;

/// Pictures wider or higher than this are taken for a misread parameter set.
const MAX_SIDE: u32 = 16_384;

/// `nal_unit_type` (table 7-1); 0, which is unspecified, for an empty NAL unit.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |byte| byte & 0x1F)
}

/// Whether the NAL unit carries a coded slice or a partition of one.
pub fn is_picture(nal: &[u8]) -> bool {
    matches!(nal_type(nal), 1..=5)
}

/// Whether decoding can start here: an IDR picture, or an intra picture behind a sequence parameter set, as sent
/// by cameras that never send an IDR picture after the first.
pub fn is_key<'a>(nals: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut sps = false;
    for nal in nals {
        match nal_type(nal) {
            IDR => return true,
            SPS => sps = true,
            SLICE => return sps && is_intra_slice(nal),
            _ => {}
        }
    }
    false
}

/// Whether the slice header says that all slices of the picture are I slices, or at least this one.
fn is_intra_slice(nal: &[u8]) -> bool {
    let mut bits = Bits::new(nal.get(1..).unwrap_or_default());
    let slice_type = bits.ue().and_then(|_first_macroblock| bits.ue());
    matches!(slice_type, Some(2 | 7))
}

/// What we read of a sequence parameter set (7.3.2.1.1).
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Sps {
    pub id: u32,
    pub profile: u8,
    pub constraints: u8,
    pub level: u8,
    /// `chroma_format_idc`: 0 grey, 1 for 4:2:0, 2 for 4:2:2, 3 for 4:4:4.
    pub chroma_format: u8,
    /// Bits of a sample beyond 8.
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
    /// In pixels, after cropping.
    pub width: u32,
    pub height: u32,
    /// Frames a second, if the VUI has timing.
    pub fps: Option<f64>,
}

impl Sps {
    /// Reads a NAL unit of type 7, without start code. None if it is none or is broken.
    pub fn parse(nal: &[u8]) -> Option<Sps> {
        if nal_type(nal) != SPS {
            return None;
        }
        let mut bits = Bits::new(nal.get(1..)?);
        let profile = u8::try_from(bits.u(8)?).ok()?;
        let constraints = u8::try_from(bits.u(8)?).ok()?;
        let level = u8::try_from(bits.u(8)?).ok()?;
        let id = bits.ue().filter(|&id| id < 32)?;
        let mut chroma_format = 1;
        let mut separate_planes = false;
        let mut bit_depths = (0, 0);
        if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
            chroma_format = bits.ue().filter(|&format| format < 4)?;
            if chroma_format == 3 {
                separate_planes = bits.bit()?;
            }
            let mut bit_depth = || bits.ue().filter(|&beyond| beyond <= 6);
            bit_depths = (bit_depth()?, bit_depth()?);
            bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
            if bits.bit()? {
                for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                    if bits.bit()? {
                        skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        bits.ue()?; // log2_max_frame_num_minus4
        match bits.ue()? {
            0 => {
                bits.ue()?; // log2_max_pic_order_cnt_lsb_minus4
            }
            1 => {
                bits.skip(1)?; // delta_pic_order_always_zero_flag
                bits.se()?; // offset_for_non_ref_pic
                bits.se()?; // offset_for_top_to_bottom_field
                let cycle = bits.ue().filter(|&cycle| cycle < 256)?;
                for _ in 0..cycle {
                    bits.se()?;
                }
            }
            _ => {}
        }
        bits.ue()?; // max_num_ref_frames
        bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let columns = bits.ue()?.checked_add(1)?;
        let rows = bits.ue()?.checked_add(1)?;
        let fields = u32::from(!bits.bit()?) + 1;
        if fields == 2 {
            bits.skip(1)?; // mb_adaptive_frame_field_flag
        }
        bits.skip(1)?; // direct_8x8_inference_flag
        let mut width = columns.checked_mul(16)?;
        let mut height = rows.checked_mul(16)?.checked_mul(fields)?;
        if bits.bit()? {
            let (unit_x, unit_y) = match chroma_format {
                1 if !separate_planes => (2, 2 * fields),
                2 if !separate_planes => (2, fields),
                _ => (1, fields),
            };
            let (left, right) = (bits.ue()?, bits.ue()?);
            let (top, bottom) = (bits.ue()?, bits.ue()?);
            width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
            height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
        }
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return None;
        }
        // Many cameras cut the VUI short: what cannot be read there says nothing of the picture's size.
        let fps = if bits.bit() == Some(true) { vui_fps(&mut bits) } else { None };
        let chroma_format = chroma_format as u8;
        let (bit_depth_luma, bit_depth_chroma) = (bit_depths.0 as u8, bit_depths.1 as u8);
        Some(Sps {
            id,
            profile,
            constraints,
            level,
            chroma_format,
            bit_depth_luma,
            bit_depth_chroma,
            width,
            height,
            fps,
        })
    }

    /// The six lower-case hex digits of `profile-level-id` (RFC 6184, 8.1).
    pub fn profile_level_id(&self) -> String {
        format!("{:02x}{:02x}{:02x}", self.profile, self.constraints, self.level)
    }
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.checked_add(bits.se()?)?.rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// `time_scale / (2 * num_units_in_tick)` of the VUI (E.1.1).
fn vui_fps(bits: &mut Bits<'_>) -> Option<f64> {
    const EXTENDED_SAR: u32 = 255;
    if bits.bit()? && bits.u(8)? == EXTENDED_SAR {
        bits.skip(32)?;
    }
    if bits.bit()? {
        bits.skip(1)?; // overscan_appropriate_flag
    }
    if bits.bit()? {
        bits.skip(4)?; // video_format, video_full_range_flag
        if bits.bit()? {
            bits.skip(24)?; // colour description
        }
    }
    if bits.bit()? {
        bits.ue()?; // chroma_sample_loc_type_top_field
        bits.ue()?; // chroma_sample_loc_type_bottom_field
    }
    if !bits.bit()? {
        return None;
    }
    let units = f64::from(bits.u(32)?);
    let scale = f64::from(bits.u(32)?);
    let fps = scale / (2.0 * units);
    (fps.is_finite() && fps > 0.0 && fps <= 1000.0).then_some(fps)
}

/// The id of a picture parameter set (7.3.2.2).
pub(crate) fn pps_id(nal: &[u8]) -> Option<u32> {
    Bits::new(nal.get(1..)?).ue().filter(|&id| id < 256)
}
