//! H.264 in RTP (RFC 6184), packetization mode 1: single NAL unit, STAP-A and FU-A packets; and H.265 (RFC 7798)
//! with the same three.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use super::{h264, h265};
use crate::media::unit::{AccessUnit, Codec};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// Of RFC 7798; above them is PACI, and what is not specified.
const AGGREGATE: u8 = 48;
const FRAGMENT: u8 = 49;

/// One RTP payload: the bytes of `head`, then those of `body`, which is shared with the access unit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RtpPayload {
    /// Set on the last packet of the access unit.
    pub marker: bool,
    /// What a fragment begins with; of an aggregate all but the last NAL unit; empty for a single NAL unit.
    pub head: SmallVec<[u8; 8]>,
    pub body: Bytes,
}

impl RtpPayload {
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn write(&self, out: &mut BytesMut) {
        out.put_slice(&self.head);
        out.put_slice(&self.body);
    }
}

/// Cuts a unit into payloads of at most `max_payload` bytes, added to `out`. Parameter sets in a row share one
/// STAP-A. Delimiters and filler are left out, and so are NAL unit types that mean something else in RTP.
/// Adds nothing for another codec, or if nothing is left.
pub fn packetise_h264(unit: &AccessUnit, max_payload: usize, out: &mut Vec<RtpPayload>) {
    if unit.codec == Codec::H264 {
        packetise::<H264>(unit, max_payload, out);
    }
}

/// As [`packetise_h264`], for H.265: aggregation packets (RFC 7798 section 4.4.2) and fragmentation units (4.4.3),
/// without decoding order numbers.
pub fn packetise_h265(unit: &AccessUnit, max_payload: usize, out: &mut Vec<RtpPayload>) {
    if unit.codec == Codec::H265 {
        packetise::<H265>(unit, max_payload, out);
    }
}

type Head = SmallVec<[u8; 8]>;

/// What the payload formats of the two codecs do not have in common.
trait Format {
    /// Bytes of the header of a NAL unit, which fragments do not repeat.
    const NAL_HEADER: usize;
    /// Bytes that a fragment begins with.
    const FRAGMENT_HEAD: usize;
    /// Bytes of the header of an aggregate.
    const AGGREGATE_HEAD: usize;

    fn kind(nal: &[u8]) -> Kind;
    /// What a fragment of this NAL unit begins with; `position` has the bits that mark the first and the last.
    fn fragment(nal: &[u8], position: u8) -> Head;
    fn aggregate(sets: &[Bytes]) -> Head;
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Kind {
    Set,
    Other,
    /// Of no use, or with another meaning in RTP.
    LeftOut,
}

struct H264;

impl Format for H264 {
    const NAL_HEADER: usize = 1;
    const FRAGMENT_HEAD: usize = 2;
    const AGGREGATE_HEAD: usize = 1;

    fn kind(nal: &[u8]) -> Kind {
        match h264::nal_type(nal) {
            h264::SPS | h264::PPS => Kind::Set,
            0 | h264::AUD | h264::FILLER | STAP_A..=u8::MAX => Kind::LeftOut,
            _ => Kind::Other,
        }
    }

    fn fragment(nal: &[u8], position: u8) -> Head {
        let header = nal.first().copied().unwrap_or_default();
        Head::from_slice(&[header & 0xE0 | FU_A, position | header & 0x1F])
    }

    fn aggregate(sets: &[Bytes]) -> Head {
        let priority = sets.iter().filter_map(|set| set.first()).map(|byte| byte & 0x60).max();
        Head::from_slice(&[STAP_A | priority.unwrap_or_default()])
    }
}

struct H265;

impl Format for H265 {
    const NAL_HEADER: usize = 2;
    const FRAGMENT_HEAD: usize = 3;
    const AGGREGATE_HEAD: usize = 2;

    fn kind(nal: &[u8]) -> Kind {
        match h265::nal_type(nal) {
            h265::VPS | h265::SPS | h265::PPS => Kind::Set,
            h265::AUD | h265::FILLER | AGGREGATE..=u8::MAX => Kind::LeftOut,
            _ if nal.len() <= Self::NAL_HEADER => Kind::LeftOut,
            _ => Kind::Other,
        }
    }

    fn fragment(nal: &[u8], position: u8) -> Head {
        let [first, second] = h265_header(nal);
        Head::from_slice(&[first & 0x81 | FRAGMENT << 1, second, position | h265::nal_type(nal)])
    }

    fn aggregate(sets: &[Bytes]) -> Head {
        // Of the lowest layers among them: parameter sets are all of the same.
        let [first, second] = sets.first().map_or([0, 1], |set| h265_header(set));
        Head::from_slice(&[first & 0x81 | AGGREGATE << 1, second])
    }
}

fn h265_header(nal: &[u8]) -> [u8; 2] {
    nal.first_chunk().copied().unwrap_or([0, 1])
}

fn packetise<F: Format>(unit: &AccessUnit, max_payload: usize, out: &mut Vec<RtpPayload>) {
    if max_payload <= F::FRAGMENT_HEAD {
        return;
    }
    let max_payload = max_payload.min(u16::MAX.into());
    let before = out.len();
    let mut sets: SmallVec<[Bytes; 4]> = SmallVec::new();
    for index in 0..unit.nals.len() {
        let nal = unit.nal(index);
        match F::kind(&nal) {
            Kind::LeftOut => continue,
            Kind::Set => {
                if aggregate_len::<F>(&sets) + 2 + nal.len() > max_payload {
                    flush_sets::<F>(&mut sets, out);
                }
                if nal.len() <= max_payload {
                    sets.push(nal);
                    continue;
                }
            }
            Kind::Other => {}
        }
        flush_sets::<F>(&mut sets, out);
        if nal.len() <= max_payload {
            out.push(RtpPayload { marker: false, head: Head::new(), body: nal });
            continue;
        }
        let mut at = F::NAL_HEADER;
        while at < nal.len() {
            let end = at.saturating_add(max_payload - F::FRAGMENT_HEAD).min(nal.len());
            let first = if at == F::NAL_HEADER { 0x80 } else { 0 };
            let last = if end == nal.len() { 0x40 } else { 0 };
            let head = F::fragment(&nal, first | last);
            out.push(RtpPayload { marker: false, head, body: nal.slice(at..end) });
            at = end;
        }
    }
    flush_sets::<F>(&mut sets, out);
    if let Some(last) = out.get_mut(before..).and_then(|added| added.last_mut()) {
        last.marker = true;
    }
}

fn aggregate_len<F: Format>(sets: &[Bytes]) -> usize {
    F::AGGREGATE_HEAD + sets.iter().map(|set| 2 + set.len()).sum::<usize>()
}

/// The sets as one payload: an aggregate, or the only one as it is. All but the last are copied into the head:
/// some hundred bytes once a GOP.
fn flush_sets<F: Format>(sets: &mut SmallVec<[Bytes; 4]>, out: &mut Vec<RtpPayload>) {
    let aggregate = (sets.len() > 1).then(|| F::aggregate(sets));
    let Some(body) = sets.pop() else { return };
    let mut head = aggregate.unwrap_or_default();
    if !head.is_empty() {
        for set in sets.drain(..) {
            head.extend_from_slice(&set_len(&set));
            head.extend_from_slice(&set);
        }
        head.extend_from_slice(&set_len(&body));
    }
    out.push(RtpPayload { marker: false, head, body });
}

fn set_len(set: &[u8]) -> [u8; 2] {
    // Never more: payloads are at most 65,535 bytes.
    u16::try_from(set.len()).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests;
