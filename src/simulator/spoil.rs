//! Program streams as some devices make them: the quirks of headers and tables.

use super::quirks::Quirk;
use super::settings::Settings;

const PACK: u8 = 0xBA;
const SYSTEM: u8 = 0xBB;
const MAP: u8 = 0xBC;
const PRIVATE: u8 = 0xBD;
const VIDEO: u8 = 0xE0;
/// Bytes of a pack header without stuffing, as ours are.
const PACK_LEN: usize = 14;
/// Where in a map the first stream's type stands: the tables have no descriptors.
const STREAM_TYPE: usize = 12;
const H264: u8 = 0x1B;
const H265: u8 = 0x24;
/// What stands in the packets of a private stream.
const PRIVATE_DATA: &[u8] = b"IMKH\x01\x01\x00\x00private data of a vendor";

/// The quirks that this changes something for.
const HERE: [Quirk; 7] = [
    Quirk::NoPsm,
    Quirk::PsmOnce,
    Quirk::PsmCrc,
    Quirk::StreamTypeLies,
    Quirk::NoSystemHeader,
    Quirk::PesLen0,
    Quirk::PrivateStream,
];

/// Spoils what a muxer of ours made.
#[derive(Debug, Default)]
pub(super) struct Spoiler {
    quirks: Vec<Quirk>,
    maps: u64,
}

impl Spoiler {
    pub(super) fn new(settings: &Settings) -> Spoiler {
        let quirks = HERE.iter().filter(|quirk| settings.has(**quirk)).copied().collect();
        Spoiler { quirks, maps: 0 }
    }

    /// Whole packs, as they shall leave. `None`: as they are.
    pub(super) fn spoil(&mut self, packs: &[u8]) -> Option<Vec<u8>> {
        if self.quirks.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(packs.len() + 64);
        let mut rest = packs;
        while let Some((unit, after)) = unit(rest) {
            self.one(unit, &mut out);
            rest = after;
        }
        out.extend_from_slice(rest);
        if self.quirks.contains(&Quirk::PrivateStream) {
            out.extend_from_slice(&[0, 0, 1, PRIVATE, 0, (PRIVATE_DATA.len() + 3) as u8, 0x80, 0, 0]);
            out.extend_from_slice(PRIVATE_DATA);
        }
        Some(out)
    }

    fn one(&mut self, unit: &[u8], out: &mut Vec<u8>) {
        let has = |quirk: Quirk| self.quirks.contains(&quirk);
        let start = out.len();
        match unit.get(3).copied() {
            Some(SYSTEM) if has(Quirk::NoSystemHeader) => return,
            Some(MAP) => {
                self.maps += 1;
                if has(Quirk::NoPsm) || (has(Quirk::PsmOnce) && self.maps > 1) {
                    return;
                }
                out.extend_from_slice(unit);
                let map = out.get_mut(start..).unwrap_or_default();
                if let Some(kind) = map.get_mut(STREAM_TYPE).filter(|_| has(Quirk::StreamTypeLies)) {
                    // The checksum is wrong then, too, as it is with those that lie.
                    *kind = if *kind == H264 { H265 } else { H264 };
                }
                if let Some(last) = map.last_mut().filter(|_| has(Quirk::PsmCrc)) {
                    *last ^= 0xFF;
                }
                return;
            }
            Some(VIDEO) if has(Quirk::PesLen0) => {
                out.extend_from_slice(unit);
                if let Some(length) = out.get_mut(start + 4..start + 6) {
                    length.fill(0);
                }
                return;
            }
            _ => {}
        }
        out.extend_from_slice(unit);
    }
}

/// The first unit and what comes after it.
fn unit(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = match bytes {
        [0, 0, 1, PACK, ..] => PACK_LEN,
        [0, 0, 1, _, high, low, ..] => 6 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => return None,
    };
    bytes.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::ps::Muxer;
    use crate::media::unit::Codec;
    use crate::simulator::Clip;
    use bytes::BytesMut;

    fn spoilt(quirk: Option<Quirk>) -> Vec<u8> {
        let settings = Settings { quirks: quirk.into_iter().collect(), ..Settings::example() };
        let clip = Clip::built_in().unwrap();
        let mut muxer = Muxer::new(Codec::H264, Some(Codec::Pcma));
        let mut packs = BytesMut::new();
        for index in [0, 1, 25] {
            muxer.mux(clip.picture(index), &mut packs);
        }
        Spoiler::new(&settings).spoil(&packs).unwrap_or_else(|| packs.to_vec())
    }

    fn ids(stream: &[u8]) -> Vec<u8> {
        let mut rest = stream;
        std::iter::from_fn(|| {
            let (first, after) = unit(rest)?;
            rest = after;
            Some(first[3])
        })
        .collect()
    }

    #[test]
    fn each_quirk_touches_what_it_names() {
        let whole = [PACK, SYSTEM, MAP, VIDEO, PACK, VIDEO, PACK, SYSTEM, MAP, VIDEO];
        assert_eq!(ids(&spoilt(None)), whole);
        let without = |id: u8| whole.into_iter().filter(|own| *own != id).collect::<Vec<u8>>();
        assert_eq!(ids(&spoilt(Some(Quirk::NoPsm))), without(MAP));
        assert_eq!(ids(&spoilt(Some(Quirk::NoSystemHeader))), without(SYSTEM));
        let once = ids(&spoilt(Some(Quirk::PsmOnce)));
        assert_eq!(once.iter().filter(|id| **id == MAP).count(), 1);
        let private = ids(&spoilt(Some(Quirk::PrivateStream)));
        assert_eq!(private.last(), Some(&PRIVATE));
    }

    #[test]
    fn lengths_types_and_checksums_are_spoilt_in_place() {
        let clean = spoilt(None);
        let map = PACK_LEN + 18;
        assert_eq!((clean[map + 3], clean[map + STREAM_TYPE]), (MAP, H264));
        assert_eq!(spoilt(Some(Quirk::StreamTypeLies))[map + STREAM_TYPE], H265);
        for quirk in [Quirk::PsmCrc, Quirk::PesLen0] {
            let other = spoilt(Some(quirk));
            assert!(other.len() == clean.len() && other != clean, "{quirk:?}");
        }
    }
}
