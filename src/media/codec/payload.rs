//! H.264 in RTP (RFC 6184), packetization mode 1: single NAL unit, STAP-A and FU-A packets.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use super::h264;
use crate::media::unit::{AccessUnit, Codec};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// One RTP payload: the bytes of `head`, then those of `body`, which is shared with the access unit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RtpPayload {
    /// Set on the last packet of the access unit.
    pub marker: bool,
    /// FU indicator and header; for STAP-A all but the last NAL unit; empty for a single NAL unit.
    pub head: SmallVec<[u8; 2]>,
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
    const FU_HEAD: usize = 2;
    if unit.codec != Codec::H264 || max_payload <= FU_HEAD {
        return;
    }
    let max_payload = max_payload.min(u16::MAX.into());
    let before = out.len();
    let mut sets: SmallVec<[Bytes; 4]> = SmallVec::new();
    for index in 0..unit.nals.len() {
        let nal = unit.nal(index);
        let Some(&header) = nal.first() else { continue };
        match h264::nal_type(&nal) {
            h264::SPS | h264::PPS => {
                if stap_len(&sets) + 2 + nal.len() > max_payload {
                    flush_sets(&mut sets, out);
                }
                if nal.len() <= max_payload {
                    sets.push(nal);
                    continue;
                }
            }
            0 | h264::AUD | h264::FILLER | STAP_A..=u8::MAX => continue,
            _ => {}
        }
        flush_sets(&mut sets, out);
        if nal.len() <= max_payload {
            out.push(RtpPayload { marker: false, head: SmallVec::new(), body: nal });
            continue;
        }
        let indicator = header & 0xE0 | FU_A;
        let mut at = 1;
        while at < nal.len() {
            let end = at.saturating_add(max_payload - FU_HEAD).min(nal.len());
            let first = if at == 1 { 0x80 } else { 0 };
            let last = if end == nal.len() { 0x40 } else { 0 };
            let head = SmallVec::from_slice(&[indicator, first | last | header & 0x1F]);
            out.push(RtpPayload { marker: false, head, body: nal.slice(at..end) });
            at = end;
        }
    }
    flush_sets(&mut sets, out);
    if let Some(last) = out.get_mut(before..).and_then(|added| added.last_mut()) {
        last.marker = true;
    }
}

fn stap_len(sets: &[Bytes]) -> usize {
    1 + sets.iter().map(|set| 2 + set.len()).sum::<usize>()
}

/// The sets as one payload: a STAP-A, or the only one as it is. All but the last are copied into the head: some
/// thirty bytes once a GOP.
fn flush_sets(sets: &mut SmallVec<[Bytes; 4]>, out: &mut Vec<RtpPayload>) {
    let Some(body) = sets.pop() else { return };
    let mut head = SmallVec::new();
    if !sets.is_empty() {
        let priority = sets.iter().chain([&body]).filter_map(|set| set.first()).map(|byte| byte & 0x60).max();
        head.push(STAP_A | priority.unwrap_or_default());
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
