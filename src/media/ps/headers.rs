//! The headers of an MPEG program stream (ISO/IEC 13818-1, 2.5.3 and 2.4.3.6; ISO/IEC 11172-1, 2.4.3).
//!
//! The parsers are nom's streaming ones: where bytes are missing they say how many, and the demuxer comes back
//! with them. They never ask for more than belongs to the header.

use nom::bytes::streaming::{tag, take};
use nom::error::{Error, ErrorKind};
use nom::number::streaming::{be_u8, be_u16};
use nom::{IResult, Parser};
use smallvec::SmallVec;

pub(super) const PACK: u8 = 0xBA;
pub(super) const SYSTEM: u8 = 0xBB;
pub(super) const MAP: u8 = 0xBC;
pub(super) const END: u8 = 0xB9;

/// The longest program stream map that the standard allows (2.5.4.2).
const MAX_MAP_LEN: u16 = 1018;

/// Entries of a program stream map that are kept.
const MAX_MAP_ENTRIES: usize = 16;

/// A header that stands at the boundary between packets of a program stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Header {
    Pack,
    End,
    Map(Map),
    Pes(Pes),
    /// A packet of which nothing is wanted, and how many bytes of it follow.
    Skip(u16),
    /// A system header, of which so many bytes follow.
    System(u16),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pes {
    pub(super) stream_id: u8,
    /// Bytes of payload; None where the length field is zero: to the next start code.
    pub(super) len: Option<u16>,
    /// 33 bits of 90 kHz.
    pub(super) pts: Option<u64>,
    pub(super) dts: Option<u64>,
}

/// A program stream map: which stream id carries which stream type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Map {
    pub(super) entries: SmallVec<[MapEntry; 4]>,
    pub(super) crc_right: bool,
    /// Whether the lengths in it agree.
    pub(super) whole: bool,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct MapEntry {
    pub(super) stream_type: u8,
    pub(super) stream_id: u8,
}

/// Whether a start code with this id can stand between the packets of a program stream.
pub(super) fn is_boundary(id: u8) -> bool {
    id >= END
}

type Parsed<'a, T> = IResult<&'a [u8], T, Error<&'a [u8]>>;

/// Parses the header that the input begins with.
pub(super) fn header(input: &[u8]) -> Parsed<'_, Header> {
    let (input_after, id) = start_code(input)?;
    match id {
        END => Ok((input_after, Header::End)),
        PACK => pack(input_after),
        MAP => map(input),
        SYSTEM => be_u16.map(Header::System).parse(input_after),
        0xBD..=0xBF | 0xF0..=0xFF => be_u16.map(Header::Skip).parse(input_after),
        0xC0..=0xEF => pes(id, input_after),
        _ => wrong(input),
    }
}

fn wrong<T>(input: &[u8]) -> Parsed<'_, T> {
    Err(nom::Err::Error(Error::new(input, ErrorKind::Verify)))
}

fn start_code(input: &[u8]) -> Parsed<'_, u8> {
    let (input, _) = tag(&[0u8, 0, 1][..])(input)?;
    be_u8(input)
}

/// Whether the bytes begin with a whole pack header; used where one would be a surprise.
pub(super) fn begins_with_pack(bytes: &[u8]) -> bool {
    matches!(header(bytes), Ok((_, Header::Pack)))
}

/// How many bytes of a pack's start code are matched after one more byte.
pub(super) fn pack_code_match(matched: usize, byte: u8) -> usize {
    match (matched, byte) {
        (0, 0) | (3, 0) => 1,
        (1 | 2, 0) => 2,
        (2, 1) => 3,
        (3, PACK) => 4,
        _ => 0,
    }
}

/// Of the pack header only the prefix bits are looked at: marker bits are often wrong where the rest is right.
fn pack(input: &[u8]) -> Parsed<'_, Header> {
    let (after_first, first) = be_u8(input)?;
    let rest = match first >> 4 {
        // ISO/IEC 11172-1: five bytes of clock, three of rate.
        0b0010 => take(7usize)(after_first)?.0,
        0b0100..=0b0111 => {
            let (rest, (_clock_and_rate, stuffing)) = (take(8usize), be_u8).parse(after_first)?;
            take(stuffing & 7)(rest)?.0
        }
        _ => return wrong(input),
    };
    Ok((rest, Header::Pack))
}

fn map(whole: &[u8]) -> Parsed<'_, Header> {
    let (after_id, _) = take(4usize)(whole)?;
    let (input, len) = be_u16(after_id)?;
    if len > MAX_MAP_LEN {
        return Ok((input, Header::Skip(len)));
    }
    let (rest, body) = take(len)(input)?;
    let all = whole.get(..6 + usize::from(len)).unwrap_or_default();
    let map = match map_entries(body) {
        Ok((_, entries)) => Map { entries, crc_right: crc32(all) == 0, whole: true },
        Err(_) => Map { entries: SmallVec::new(), crc_right: false, whole: false },
    };
    Ok((rest, Header::Map(map)))
}

fn map_entries(body: &[u8]) -> Parsed<'_, SmallVec<[MapEntry; 4]>> {
    let (body, (_flags, info_len)) = (take(2usize), be_u16).parse(body)?;
    let (body, (_info, len)) = (take(info_len), be_u16).parse(body)?;
    let (_crc, mut table) = take(len)(body)?;
    let mut entries = SmallVec::new();
    while !table.is_empty() && entries.len() < MAX_MAP_ENTRIES {
        let (rest, (stream_type, stream_id, info_len)) = (be_u8, be_u8, be_u16).parse(table)?;
        let (rest, _info) = take(info_len)(rest)?;
        table = rest;
        entries.push(MapEntry { stream_type, stream_id });
    }
    Ok((&[], entries))
}

fn pes(stream_id: u8, input: &[u8]) -> Parsed<'_, Header> {
    let (input, len) = be_u16(input)?;
    let (after_flags, flags) = be_u8(input)?;
    if flags & 0xC0 != 0x80 {
        return pes_mpeg1(stream_id, len, input);
    }
    let (body, (present, header_len)) = (be_u8, be_u8).parse(after_flags)?;
    let (rest, fields) = take(header_len)(body)?;
    // A length that ends within the header leaves no payload.
    let len = (len != 0).then(|| len.saturating_sub(3 + u16::from(header_len)));
    let pts = if present & 0x80 != 0 { timestamp(fields) } else { None };
    let dts = if present & 0xC0 == 0xC0 { fields.get(5..).and_then(timestamp) } else { None };
    Ok((rest, Header::Pes(Pes { stream_id, len, pts, dts })))
}

/// The packet header of ISO/IEC 11172-1: stuffing, buffer size, time stamps, without lengths of their own.
fn pes_mpeg1(stream_id: u8, len: u16, input: &[u8]) -> Parsed<'_, Header> {
    const MAX_STUFFING: usize = 16;
    let mut at = input;
    let mut next = be_u8(at)?;
    let mut stuffing = 0;
    while next.1 == 0xFF && stuffing < MAX_STUFFING {
        at = next.0;
        stuffing += 1;
        next = be_u8(at)?;
    }
    if next.1 & 0xC0 == 0x40 {
        at = take(2usize)(at)?.0;
        next = be_u8(at)?;
    }
    let (after, pts, dts) = match next.1 {
        0x0F => (next.0, None, None),
        first if first & 0xF1 == 0x21 => {
            let (after, pts) = take(5usize)(at)?;
            (after, timestamp(pts), None)
        }
        first if first & 0xF1 == 0x31 => {
            let (after, (pts, dts)) = (take(5usize), take(5usize)).parse(at)?;
            (after, timestamp(pts), timestamp(dts))
        }
        _ => return wrong(input),
    };
    let used = u16::try_from(input.len() - after.len()).unwrap_or(u16::MAX);
    let len = (len != 0).then(|| len.saturating_sub(used));
    Ok((after, Header::Pes(Pes { stream_id, len, pts, dts })))
}

/// 33 bits in groups of 3, 15 and 15 (table 2-21). Prefix and marker bits are not looked at: they are often
/// wrong where the time is right.
fn timestamp(field: &[u8]) -> Option<u64> {
    let [a, b, c, d, e, ..] = *field else { return None };
    let high = u64::from(a >> 1 & 7);
    let middle = u64::from(u16::from_be_bytes([b, c]) >> 1);
    let low = u64::from(u16::from_be_bytes([d, e]) >> 1);
    Some(high << 30 | middle << 15 | low)
}

/// CRC-32 of ISO/IEC 13818-1 annex A; zero over bytes that end with their own.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04C1_1DB7;
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { POLYNOMIAL } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    #[test]
    fn pack_headers_of_both_editions_with_stuffing() {
        let plain = hex("00 00 01 BA 44 00 16 FC 84 01 03 0D 43 F8");
        assert_eq!(header(&plain), Ok((&[][..], Header::Pack)));
        let stuffed = hex("00 00 01 BA 44 00 16 FC 84 01 03 0D 43 FE FF FF 00 00 00 07 AA");
        assert_eq!(header(&stuffed), Ok((&[0xAA][..], Header::Pack)));
        let mpeg1 = hex("00 00 01 BA 21 00 05 BF 21 81 86 A1 BB");
        assert_eq!(header(&mpeg1), Ok((&[0xBB][..], Header::Pack)));
        assert!(header(&hex("00 00 01 BA 00 00 16 FC 84 01 03 0D 43 F8")).is_err());
    }

    #[test]
    fn map_of_h264_and_pcma() {
        let bytes = hex("00 00 01 BC 00 12 E0 FF 00 00 00 08 1B E0 00 00 90 C0 00 00 FE DF B1 D7");
        let Ok((&[], Header::Map(map))) = header(&bytes) else { panic!("no map") };
        assert!(map.crc_right && map.whole);
        let entries: Vec<_> = map.entries.iter().map(|entry| (entry.stream_type, entry.stream_id)).collect();
        assert_eq!(entries, [(0x1B, 0xE0), (0x90, 0xC0)]);

        let mut wrong = bytes.clone();
        wrong[23] ^= 1;
        let Ok((_, Header::Map(map))) = header(&wrong) else { panic!("no map") };
        assert!(!map.crc_right && map.entries.len() == 2, "a wrong CRC is told, and nothing else");

        let mut torn = bytes;
        torn[11] = 0x40;
        let Ok((_, Header::Map(map))) = header(&torn) else { panic!("no map") };
        assert!(!map.whole && map.entries.is_empty());
    }

    #[test]
    fn pes_times_and_lengths() {
        let bytes = hex("00 00 01 E0 00 0F 80 C0 0A 31 00 05 BF 21 11 00 05 BF 21 67 68");
        let expected = Pes { stream_id: 0xE0, len: Some(2), pts: Some(90_000), dts: Some(90_000) };
        assert_eq!(header(&bytes), Ok((&[0x67, 0x68][..], Header::Pes(expected))));
        let unbounded = hex("00 00 01 E0 00 00 80 00 00");
        let expected = Pes { stream_id: 0xE0, len: None, pts: None, dts: None };
        assert_eq!(header(&unbounded), Ok((&[][..], Header::Pes(expected))));
        let mpeg1 = hex("00 00 01 C0 00 0A FF FF 40 20 21 00 05 BF 21 55");
        let expected = Pes { stream_id: 0xC0, len: Some(1), pts: Some(90_000), dts: None };
        assert_eq!(header(&mpeg1), Ok((&[0x55][..], Header::Pes(expected))));
    }

    #[test]
    fn a_cut_header_asks_for_no_more_than_its_own_bytes() {
        for text in [
            "00 00 01 BA 44 00 16 FC 84 01 03 0D 43 FA FF FF",
            "00 00 01 BC 00 12 E0 FF 00 00 00 08 1B E0 00 00 90 C0 00 00 FE DF B1 D7",
            "00 00 01 E0 00 0F 80 C0 0A 31 00 05 BF 21 11 00 05 BF 21",
            "00 00 01 C0 00 0A FF FF 40 20 21 00 05 BF 21",
            "00 00 01 BD 00 10",
        ] {
            let bytes = hex(text);
            for cut in 0..bytes.len() {
                match header(&bytes[..cut]) {
                    Err(nom::Err::Incomplete(nom::Needed::Size(more))) => {
                        assert!(cut + more.get() <= bytes.len(), "{text} cut at {cut} asks for {more}");
                    }
                    other => panic!("{text} cut at {cut}: {other:?}"),
                }
            }
        }
    }
}
