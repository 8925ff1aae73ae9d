//! RTCP (RFC 3550 section 6, RFC 4585, RFC 5104): read leniently, written as compound packets.

use bytes::BufMut;
use smallvec::SmallVec;
use thiserror::Error;

/// Bytes of a CNAME at most: its length is one byte.
const MAX_CNAME: usize = 255;
/// Blocks in one report at most: their count has five bits.
const MAX_BLOCKS: usize = 31;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_EPOCH: i64 = 2_208_988_800;

/// Why the rest of a compound packet was not read.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum RtcpError {
    #[error("not RTCP version 2")]
    Version,
    #[error("a packet of the compound runs past its end")]
    Truncated,
}

/// What was received of one source (RFC 3550 section 6.4.1).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// In 256ths, of the packets since the report before.
    pub fraction_lost: u8,
    /// 24 bits, signed.
    pub lost: i32,
    /// The highest sequence number, wraps in the upper half.
    pub highest: u32,
    /// In units of the payload's clock.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the last sender report; 0 if there was none.
    pub last_sender_report: u32,
    /// In 65536ths of a second.
    pub delay_since_sender_report: u32,
}

pub type Blocks = SmallVec<[ReportBlock; 1]>;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SenderReport {
    pub ssrc: u32,
    /// Seconds since 1900 in the upper half, their fraction in the lower; see [`ntp`].
    pub ntp: u64,
    /// The same moment in units of the payload's clock.
    pub timestamp: u32,
    pub packets: u32,
    pub octets: u32,
    pub blocks: Blocks,
}

/// One packet of a compound.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rtcp {
    SenderReport(SenderReport),
    ReceiverReport {
        ssrc: u32,
        blocks: Blocks,
    },
    SourceDescription,
    Bye {
        sources: SmallVec<[u32; 1]>,
    },
    /// Packets to be sent again (RFC 4585 section 6.2.1): a sequence number and a mask of the 16 after it.
    /// [`nacked`] lists them.
    Nack {
        media: u32,
        lost: SmallVec<[(u16, u16); 4]>,
    },
    /// The receiver needs a key frame: PLI (RFC 4585 section 6.3.1).
    PictureLoss {
        media: u32,
    },
    /// The receiver needs a key frame: FIR (RFC 5104 section 4.3.1). The media's SSRC stands in the entries.
    FullIntra {
        media: SmallVec<[u32; 1]>,
    },
    /// A kind that is not used here, by its packet type and count or format field.
    Other {
        packet_type: u8,
        format: u8,
    },
}

/// The sequence numbers that a pair of a [`Rtcp::Nack`] asks for.
pub fn nacked((first, mask): (u16, u16)) -> impl Iterator<Item = u16> {
    let rest = (0u16..16).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| first.wrapping_add(bit + 1));
    std::iter::once(first).chain(rest)
}

/// NTP time of a moment in milliseconds since 1970.
pub fn ntp(unix_millis: i64) -> u64 {
    let seconds = unix_millis.div_euclid(1000) + NTP_EPOCH;
    let fraction = (unix_millis.rem_euclid(1000) as u64) << 32;
    ((seconds as u64) << 32) | (fraction / 1000)
}

/// The packets of a compound, one after the other. A body that is shorter than its kind demands is read as
/// [`Rtcp::Other`]; after an error nothing more comes.
pub fn parse(bytes: &[u8]) -> Packets<'_> {
    Packets { rest: bytes }
}

/// See [`parse`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl Iterator for Packets<'_> {
    type Item = Result<Rtcp, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((&[first, packet_type, l0, l1], after)) = rest.split_first_chunk() else {
            return Some(Err(RtcpError::Truncated));
        };
        if first >> 6 != 2 {
            return Some(Err(RtcpError::Version));
        }
        let length = 4 * usize::from(u16::from_be_bytes([l0, l1]));
        let Some((body, after)) = after.split_at_checked(length) else {
            return Some(Err(RtcpError::Truncated));
        };
        self.rest = after;
        let format = first & 0x1f;
        Some(Ok(read(packet_type, format, body).unwrap_or(Rtcp::Other { packet_type, format })))
    }
}

fn read(packet_type: u8, format: u8, mut body: &[u8]) -> Option<Rtcp> {
    let body = &mut body;
    match (packet_type, format) {
        (SENDER_REPORT, _) => Some(Rtcp::SenderReport(SenderReport {
            ssrc: word(body)?,
            ntp: u64::from(word(body)?) << 32 | u64::from(word(body)?),
            timestamp: word(body)?,
            packets: word(body)?,
            octets: word(body)?,
            blocks: blocks(body, format),
        })),
        (RECEIVER_REPORT, _) => {
            Some(Rtcp::ReceiverReport { ssrc: word(body)?, blocks: blocks(body, format) })
        }
        (SOURCE_DESCRIPTION, _) => Some(Rtcp::SourceDescription),
        (BYE, _) => Some(Rtcp::Bye { sources: (0..format).map_while(|_| word(body)).collect() }),
        (TRANSPORT_FEEDBACK, 1) => {
            let _sender = word(body)?;
            let media = word(body)?;
            let lost = std::iter::from_fn(|| word(body)).map(|pair| ((pair >> 16) as u16, pair as u16));
            Some(Rtcp::Nack { media, lost: lost.collect() })
        }
        (PAYLOAD_FEEDBACK, 1) => {
            let _sender = word(body)?;
            Some(Rtcp::PictureLoss { media: word(body)? })
        }
        (PAYLOAD_FEEDBACK, 4) => {
            let (_sender, _unused) = (word(body)?, word(body)?);
            let entry = || {
                let media = word(body)?;
                word(body).map(|_sequence| media)
            };
            Some(Rtcp::FullIntra { media: std::iter::from_fn(entry).collect() })
        }
        _ => None,
    }
}

fn word(body: &mut &[u8]) -> Option<u32> {
    let (first, rest) = body.split_first_chunk()?;
    *body = rest;
    Some(u32::from_be_bytes(*first))
}

fn blocks(body: &mut &[u8], count: u8) -> Blocks {
    (0..count).map_while(|_| block(body)).collect()
}

fn block(body: &mut &[u8]) -> Option<ReportBlock> {
    let ssrc = word(body)?;
    let loss = word(body)?;
    Some(ReportBlock {
        ssrc,
        fraction_lost: (loss >> 24) as u8,
        // The shift up and back spreads the sign of the 24 bits.
        lost: ((loss << 8) as i32) >> 8,
        highest: word(body)?,
        jitter: word(body)?,
        last_sender_report: word(body)?,
        delay_since_sender_report: word(body)?,
    })
}

/// Appends a compound of a sender report and the CNAME. Blocks after the 31st are left out.
pub fn write_sender_report(report: &SenderReport, cname: &str, out: &mut impl BufMut) {
    let blocks = report.blocks.get(..MAX_BLOCKS).unwrap_or(&report.blocks);
    put_header(out, blocks.len() as u8, SENDER_REPORT, 6 + 6 * blocks.len());
    out.put_u32(report.ssrc);
    out.put_u64(report.ntp);
    out.put_u32(report.timestamp);
    out.put_u32(report.packets);
    out.put_u32(report.octets);
    blocks.iter().for_each(|block| put_block(out, block));
    put_cname(out, report.ssrc, cname);
}

/// Appends a compound of a receiver report and the CNAME. Blocks after the 31st are left out.
pub fn write_receiver_report(ssrc: u32, blocks: &[ReportBlock], cname: &str, out: &mut impl BufMut) {
    let blocks = blocks.get(..MAX_BLOCKS).unwrap_or(blocks);
    put_header(out, blocks.len() as u8, RECEIVER_REPORT, 1 + 6 * blocks.len());
    out.put_u32(ssrc);
    blocks.iter().for_each(|block| put_block(out, block));
    put_cname(out, ssrc, cname);
}

/// Appends a BYE of one source, to follow a report in the same compound.
pub fn write_bye(ssrc: u32, out: &mut impl BufMut) {
    put_header(out, 1, BYE, 1);
    out.put_u32(ssrc);
}

fn put_header(out: &mut impl BufMut, count: u8, packet_type: u8, words: usize) {
    out.put_u8(0x80 | count);
    out.put_u8(packet_type);
    out.put_u16(words as u16);
}

fn put_block(out: &mut impl BufMut, block: &ReportBlock) {
    out.put_u32(block.ssrc);
    out.put_u32(u32::from(block.fraction_lost) << 24 | block.lost as u32 & 0xff_ffff);
    out.put_u32(block.highest);
    out.put_u32(block.jitter);
    out.put_u32(block.last_sender_report);
    out.put_u32(block.delay_since_sender_report);
}

/// A source description with one chunk of one item, ended by one to four zeros (RFC 3550 section 6.5).
fn put_cname(out: &mut impl BufMut, ssrc: u32, cname: &str) {
    let cname = cname.as_bytes();
    let cname = cname.get(..MAX_CNAME).unwrap_or(cname);
    let words = (2 + cname.len()) / 4 + 1;
    put_header(out, 1, SOURCE_DESCRIPTION, 1 + words);
    out.put_u32(ssrc);
    out.put_u8(1);
    out.put_u8(cname.len() as u8);
    out.put_slice(cname);
    out.put_bytes(0, 4 * words - 2 - cname.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smallvec::smallvec;

    fn read_all(bytes: &[u8]) -> Vec<Rtcp> {
        parse(bytes).map(Result::unwrap).collect()
    }

    #[test]
    fn reads_feedback() {
        let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0, 0b101];
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let fir = [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9, 0, 0, 0];
        let packets = read_all(&[&nack[..], &pli, &fir].concat());
        let [Rtcp::Nack { media: 2, lost }, Rtcp::PictureLoss { media: 2 }, Rtcp::FullIntra { media }] =
            &packets[..]
        else {
            panic!("{packets:?}")
        };
        assert_eq!(nacked(lost[0]).collect::<Vec<_>>(), [65535, 0, 2]);
        assert_eq!(media[..], [2]);
    }

    #[test]
    fn reads_what_is_whole_before_an_error() {
        let bye = [0x81, 203, 0, 1, 0, 0, 0, 7];
        let mut bytes = bye.to_vec();
        bytes.extend([0x81, 203, 0, 9, 0]);
        let read: Vec<_> = parse(&bytes).collect();
        assert_eq!(read, [Ok(Rtcp::Bye { sources: smallvec![7] }), Err(RtcpError::Truncated)]);
        assert_eq!(parse(&[0, 203, 0, 0]).collect::<Vec<_>>(), [Err(RtcpError::Version)]);
    }

    #[test]
    fn a_count_that_lies_is_survived() {
        // Thirty-one blocks promised, none there.
        let read = read_all(&[0x9f, 201, 0, 1, 0, 0, 0, 7]);
        assert_eq!(read, [Rtcp::ReceiverReport { ssrc: 7, blocks: smallvec![] }]);
        assert_eq!(read_all(&[0x80, 200, 0, 0]), [Rtcp::Other { packet_type: 200, format: 0 }]);
    }

    #[test]
    fn writes_a_compound_of_whole_words() {
        for cname in ["", "a", "ab", "abc", "gbgate", &"x".repeat(300)] {
            let mut out = Vec::new();
            write_receiver_report(1, &[], cname, &mut out);
            write_bye(1, &mut out);
            assert_eq!(out.len() % 4, 0);
            let expected = [
                Rtcp::ReceiverReport { ssrc: 1, blocks: smallvec![] },
                Rtcp::SourceDescription,
                Rtcp::Bye { sources: smallvec![1] },
            ];
            assert_eq!(read_all(&out), expected);
            let text = &out[8 + 8..];
            assert_eq!(usize::from(text[1]), cname.len().min(255));
            assert_eq!(text[2 + usize::from(text[1])], 0, "the item is ended");
        }
    }

    #[test]
    fn ntp_begins_in_1900() {
        assert_eq!(ntp(0), 2_208_988_800 << 32);
        assert_eq!(ntp(1_500), (2_208_988_801 << 32) + (1 << 31));
    }

    prop_compose! {
        fn any_block()(
            ssrc: u32, fraction_lost: u8, lost in -0x80_0000..0x80_0000, highest: u32, jitter: u32,
            last_sender_report: u32, delay_since_sender_report: u32,
        ) -> ReportBlock {
            ReportBlock { ssrc, fraction_lost, lost, highest, jitter, last_sender_report, delay_since_sender_report }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ssrc: u32, ntp: u64, timestamp: u32, packets: u32, octets: u32,
            blocks in proptest::collection::vec(any_block(), 0..40), cname: String,
        ) {
            let blocks = Blocks::from_vec(blocks);
            let read_blocks: Blocks = blocks.iter().take(31).copied().collect();
            let report = SenderReport { ssrc, ntp, timestamp, packets, octets, blocks };
            let mut out = Vec::new();
            write_sender_report(&report, &cname, &mut out);
            let report = SenderReport { blocks: read_blocks, ..report };
            prop_assert_eq!(read_all(&out), [Rtcp::SenderReport(report), Rtcp::SourceDescription]);
        }

        #[test]
        fn never_panics(mut bytes: Vec<u8>, kind in 199u8..208, count in 0u8..32) {
            parse(&bytes).for_each(drop);
            let words = (bytes.len() / 4) as u16;
            bytes.splice(0..0, [0x80 | count, kind].into_iter().chain(words.to_be_bytes()));
            prop_assert!(parse(&bytes).count() > 0);
        }
    }
}
