//! The parameter sets last seen, for pictures that come without them.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{h264, h265};
use crate::media::unit::{AccessUnit, Codec};

/// Parameter sets kept: more than any camera uses at a time. Beyond it the oldest is forgotten.
const MAX_SETS: usize = 16;

/// A parameter set longer than this is none.
const MAX_SET_LEN: usize = 1024;

/// The parameter sets of a stream by kind and id, newest of each.
#[derive(Clone, Debug, Default)]
pub struct ParameterSets {
    codec: Option<Codec>,
    sets: Vec<Set>,
}

#[derive(Clone, Debug)]
struct Set {
    kind: u8,
    id: u32,
    nal: Bytes,
}

impl ParameterSets {
    /// Takes note of the sets in a unit. A change of codec forgets the old ones. True if any set is new or
    /// differs from the one kept.
    pub fn learn(&mut self, unit: &AccessUnit) -> bool {
        if unit.damaged || required(unit.codec).is_empty() {
            return false;
        }
        if self.codec != Some(unit.codec) {
            self.codec = Some(unit.codec);
            self.sets.clear();
        }
        let mut changed = false;
        for nal in unit.nals() {
            if let Some((kind, id)) = identify(unit.codec, nal) {
                changed |= self.keep(kind, id, nal);
            }
        }
        changed
    }

    fn keep(&mut self, kind: u8, id: u32, nal: &[u8]) -> bool {
        match self.sets.iter_mut().find(|set| set.kind == kind && set.id == id) {
            Some(set) if set.nal == nal => return false,
            // A copy: a slice would keep the whole picture alive.
            Some(set) => set.nal = Bytes::copy_from_slice(nal),
            None => {
                if self.sets.len() == MAX_SETS {
                    self.sets.remove(0);
                }
                self.sets.push(Set { kind, id, nal: Bytes::copy_from_slice(nal) });
                self.sets.sort_by_key(|set| set.kind);
            }
        }
        true
    }

    /// Whether a decoder can be set up: one set of each kind that the codec needs.
    pub fn is_complete(&self) -> bool {
        let kinds = self.codec.map_or(&[][..], required);
        !kinds.is_empty() && kinds.iter().all(|&kind| self.first(kind).is_some())
    }

    /// Puts the sets of each kind that a key picture lacks in front of it. True if the unit was changed; its
    /// payload is then a new copy.
    pub fn complete(&self, unit: &mut AccessUnit) -> bool {
        if !unit.key || self.codec != Some(unit.codec) {
            return false;
        }
        let own: SmallVec<[u8; 8]> =
            unit.nals().filter_map(|nal| identify(unit.codec, nal)).map(|(kind, _)| kind).collect();
        let lacking = self.sets.iter().filter(|set| !own.contains(&set.kind));
        let sets: SmallVec<[Bytes; 4]> = lacking.map(|set| set.nal.clone()).collect();
        if !sets.is_empty() {
            unit.insert_nals(&sets);
        }
        !sets.is_empty()
    }

    pub fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// The first set with this NAL unit type, for example [`h264::SPS`], without start code.
    pub fn first(&self, kind: u8) -> Option<&Bytes> {
        self.sets.iter().find(|set| set.kind == kind).map(|set| &set.nal)
    }

    /// All sets in the order in which a decoder wants them.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.sets.iter().map(|set| &set.nal)
    }

    /// The picture's width and height in pixels.
    pub fn size(&self) -> Option<(u32, u32)> {
        match self.codec? {
            Codec::H264 => h264::Sps::parse(self.first(h264::SPS)?).map(|sps| (sps.width, sps.height)),
            Codec::H265 => h265::Sps::parse(self.first(h265::SPS)?).map(|sps| (sps.width, sps.height)),
            _ => None,
        }
    }
}

/// The NAL unit types of the sets that decoding needs, in order.
fn required(codec: Codec) -> &'static [u8] {
    match codec {
        Codec::H264 => &[h264::SPS, h264::PPS],
        Codec::H265 => &[h265::VPS, h265::SPS, h265::PPS],
        _ => &[],
    }
}

fn identify(codec: Codec, nal: &[u8]) -> Option<(u8, u32)> {
    if nal.len() > MAX_SET_LEN {
        return None;
    }
    match codec {
        Codec::H264 => match h264::nal_type(nal) {
            h264::SPS => h264::Sps::parse(nal).map(|sps| (h264::SPS, sps.id)),
            h264::PPS => h264::pps_id(nal).map(|id| (h264::PPS, id)),
            _ => None,
        },
        Codec::H265 => match h265::nal_type(nal) {
            h265::VPS => h265::vps_id(nal).map(|id| (h265::VPS, id)),
            h265::SPS => h265::Sps::parse(nal).map(|sps| (h265::SPS, sps.id)),
            h265::PPS => h265::pps_id(nal).map(|id| (h265::PPS, id)),
            _ => None,
        },
        _ => None,
    }
}
