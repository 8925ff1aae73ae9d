//! What must be known of the elementary streams: where NAL units lie, which picture a decoder can start at,
//! how large it is, which codec the bits really are; and how to cut a picture for RFC 6184.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use smallvec::SmallVec;

use super::unit::{AccessUnit, Codec, Track};

pub mod aac;
mod bits;
pub mod g711;
pub mod h264;
pub mod h265;
pub mod parameters;
pub mod payload;

pub use aac::is_adts;
pub use parameters::ParameterSets;

/// Where NAL units lie in an Annex B byte stream, without their start codes.
pub type Nals = SmallVec<[Range<u32>; 8]>;

/// NAL units looked for in one access unit. More than the slices of any picture that a camera sends; without
/// a bound, an access unit of nothing but start codes would make a table larger than itself.
pub const MAX_NALS: usize = 4096;

/// The start code written before each NAL unit that we add ourselves.
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Finds the NAL units of an Annex B byte stream (ITU-T H.264 annex B, H.265 annex B), in order. Bytes before
/// the first start code, zeros before a start code and empty NAL units are left out; at most [`MAX_NALS`].
pub fn split_annex_b(bytes: &[u8]) -> Nals {
    let mut nals = Nals::new();
    let mut codes = memmem::find_iter(bytes, &[0, 0, 1]);
    let mut next = codes.next();
    while let Some(code) = next {
        let start = code + 3;
        next = codes.next();
        let body = bytes.get(start..next.unwrap_or(bytes.len())).unwrap_or_default();
        let len = body.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if len > 0 && nals.len() < MAX_NALS {
            let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + len)) else { break };
            nals.push(start..end);
        }
    }
    nals
}

/// Whether the NAL unit carries a coded slice.
pub fn is_picture(codec: Codec, nal: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::is_picture(nal),
        Codec::H265 => h265::is_picture(nal),
        _ => !nal.is_empty(),
    }
}

/// Whether decoding can start at a picture with these NAL units. Of codecs that we do not read, every one.
pub fn is_key<'a>(codec: Codec, nals: impl Iterator<Item = &'a [u8]>) -> bool {
    match codec {
        Codec::H264 => h264::is_key(nals),
        Codec::H265 => h265::is_key(nals),
        _ => true,
    }
}

impl AccessUnit {
    /// An undamaged unit with `key` and `nals` found in the payload (video: Annex B).
    pub fn new(codec: Codec, pts: i64, dts: i64, payload: Bytes) -> AccessUnit {
        let nals = match codec.track() {
            Track::Video => split_annex_b(&payload),
            Track::Audio => Nals::new(),
        };
        AccessUnit::with_nals(codec, pts, dts, payload, nals)
    }

    /// As [`AccessUnit::new`], with the NAL units already found.
    pub fn with_nals(codec: Codec, pts: i64, dts: i64, payload: Bytes, nals: Nals) -> AccessUnit {
        let mut unit = AccessUnit { codec, pts, dts, key: false, damaged: false, payload, nals };
        unit.key = is_key(codec, unit.nals.iter().filter_map(|range| nal_in(&unit.payload, range)));
        unit
    }

    /// Puts NAL units before the first one that is no access unit delimiter. Copies the payload.
    pub(crate) fn insert_nals(&mut self, sets: &[Bytes]) {
        let delimiter = match (self.codec, self.nals().next()) {
            (Codec::H264, Some(nal)) => h264::nal_type(nal) == h264::AUD,
            (Codec::H265, Some(nal)) => h265::nal_type(nal) == h265::AUD,
            _ => false,
        };
        let at = if delimiter { self.nals.first().map_or(0, |range| range.end as usize) } else { 0 };
        let (Some(before), Some(after)) = (self.payload.get(..at), self.payload.get(at..)) else { return };
        let added: usize = sets.iter().map(|set| START_CODE.len() + set.len()).sum();
        let mut payload = BytesMut::with_capacity(self.payload.len() + added);
        payload.extend_from_slice(before);
        for set in sets {
            payload.extend_from_slice(&START_CODE);
            payload.extend_from_slice(set);
        }
        payload.extend_from_slice(after);
        self.payload = payload.freeze();
        self.nals = split_annex_b(&self.payload);
    }
}

pub(crate) fn nal_in<'a>(payload: &'a [u8], range: &Range<u32>) -> Option<&'a [u8]> {
    payload.get(range.start as usize..range.end as usize)
}

/// How many NAL units are surely of one codec, and surely not of the other.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Evidence {
    pub h264: u32,
    pub h265: u32,
}

/// Looks for NAL headers that only one of H.264 and H.265 can have.
///
/// An H.265 header of the base layer is an even byte, then 1; read as H.264 the usual ones have a reserved type
/// or a forbidden priority. The usual H.264 headers are odd, which in H.265 would be a layer above 31.
pub fn evidence<'a>(nals: impl Iterator<Item = &'a [u8]>) -> Evidence {
    let mut found = Evidence::default();
    for nal in nals {
        match nal {
            // VPS, SPS, PPS, IDR_W_RADL, IDR_N_LP, CRA, TRAIL_R; temporal layer 0.
            [0x40 | 0x42 | 0x44 | 0x26 | 0x28 | 0x2A | 0x02, 0x01, ..] => found.h265 += 1,
            // SPS, IDR and other slices, of any priority.
            [0x67 | 0x47 | 0x27 | 0x65 | 0x45 | 0x25 | 0x61 | 0x41 | 0x21 | 0x01, _, ..] => found.h264 += 1,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests;
