//! One track on its way to one viewer: numbers, retransmissions (RFC 4588) and sender reports.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::packetiser::Batch;
use crate::media::codec::payload::RtpPayload;
use crate::media::rtp::{HEADER_LEN, Header};

/// Packets that can be sent again, one to two seconds of a camera. They are shared with the stream.
const HISTORY: usize = 1024;

/// The numbers that a track was given in the answer.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ids {
    pub ssrc: u32,
    pub payload_type: u8,
    /// SSRC and payload type of retransmissions; without, a lost packet is sent again as it was.
    pub rtx: Option<(u32, u8)>,
}

/// A packet, not encrypted.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    pub header: Header,
    /// Header and payload.
    pub bytes: &'a [u8],
}

#[derive(Debug)]
struct Sent {
    batch: Arc<Batch>,
    index: u32,
    timestamp: u32,
    /// Asked for again and not sent yet.
    due: bool,
}

#[derive(Debug)]
pub(super) struct Sender {
    ids: Ids,
    /// The sequence number of the next packet.
    sequence: u16,
    rtx_sequence: u16,
    /// Added to the stream's time stamps (RFC 3550 section 5.1 wants them to begin anywhere).
    offset: u32,
    history: VecDeque<Sent>,
    packets: u32,
    octets: u32,
    scratch: Vec<u8>,
}

impl Sender {
    /// `random` chooses where the numbers begin.
    pub(super) fn new(ids: Ids, random: u64) -> Self {
        let [s0, s1, r0, r1, o @ ..] = random.to_be_bytes();
        Self {
            ids,
            // Below 2^15, so that losses at the start cannot confuse the peer's rollover counter (RFC 3711).
            sequence: u16::from_be_bytes([s0, s1]) >> 1,
            rtx_sequence: u16::from_be_bytes([r0, r1]) >> 1,
            offset: u32::from_be_bytes(o),
            history: VecDeque::new(),
            packets: 0,
            octets: 0,
            scratch: Vec::new(),
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ids.ssrc
    }

    /// Packets and octets of payload sent, as sender reports have them.
    pub(super) fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// The RTP timestamp of a moment of the stream.
    pub(super) fn timestamp(&self, moment: i64) -> u32 {
        (moment as u32).wrapping_add(self.offset)
    }

    /// Numbers the packet with this index in the batch, to be shown at `moment` in units of the track's clock.
    pub(super) fn packet(
        &mut self,
        batch: &Arc<Batch>,
        index: usize,
        moment: i64,
        keep: bool,
    ) -> Option<Plain<'_>> {
        let payload = batch.packets.get(index)?;
        let header = Header {
            payload_type: self.ids.payload_type,
            marker: payload.marker,
            sequence: self.sequence,
            timestamp: self.timestamp(moment),
            ssrc: self.ids.ssrc,
        };
        write(&mut self.scratch, &header, &[], payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add((self.scratch.len() - HEADER_LEN) as u32);
        if keep {
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            let sent = Sent {
                batch: Arc::clone(batch),
                index: index as u32,
                timestamp: header.timestamp,
                due: false,
            };
            self.history.push_back(sent);
        }
        Some(Plain { header, bytes: &self.scratch })
    }

    /// Marks a packet as asked for. False if it is not there any more or is due already.
    pub(super) fn mark_lost(&mut self, sequence: u16) -> bool {
        match self.find(sequence).and_then(|at| self.history.get_mut(at)) {
            Some(sent) if !sent.due => {
                sent.due = true;
                true
            }
            _ => false,
        }
    }

    /// A marked packet again.
    pub(super) fn again(&mut self, sequence: u16) -> Option<Plain<'_>> {
        let at = self.find(sequence)?;
        let sent = self.history.get_mut(at)?;
        sent.due = false;
        let payload = sent.batch.packets.get(sent.index as usize)?;
        let mut header = Header {
            payload_type: self.ids.payload_type,
            marker: payload.marker,
            sequence,
            timestamp: sent.timestamp,
            ssrc: self.ids.ssrc,
        };
        let mut original: SmallVec<[u8; 2]> = SmallVec::new();
        if let Some((ssrc, payload_type)) = self.ids.rtx {
            header = Header { payload_type, ssrc, sequence: self.rtx_sequence, ..header };
            self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
            original.extend(sequence.to_be_bytes());
        }
        write(&mut self.scratch, &header, &original, payload);
        Some(Plain { header, bytes: &self.scratch })
    }

    /// Where a sequence number lies in the history, which is without gaps and ends before the next number.
    fn find(&self, sequence: u16) -> Option<usize> {
        let age = usize::from(self.sequence.wrapping_sub(sequence));
        self.history.len().checked_sub(age).filter(|_| age > 0)
    }
}

fn write(out: &mut Vec<u8>, header: &Header, original: &[u8], payload: &RtpPayload) {
    out.clear();
    header.write(out);
    out.extend_from_slice(original);
    out.extend_from_slice(&payload.head);
    out.extend_from_slice(&payload.body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::Packet;
    use crate::media::unit::Track;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn batch(count: usize) -> Arc<Batch> {
        let payload = |index: usize| RtpPayload {
            marker: index + 1 == count,
            head: [0x7C, 0x85].into_iter().collect(),
            body: Bytes::from(vec![index as u8; 4]),
        };
        let packets = (0..count).map(payload).collect();
        Arc::new(Batch { track: Track::Video, timestamp: 0, key: true, packets })
    }

    fn read(plain: Option<Plain<'_>>) -> Packet {
        Packet::parse(Bytes::copy_from_slice(plain.unwrap().bytes)).unwrap()
    }

    fn sender(rtx: Option<(u32, u8)>) -> Sender {
        Sender::new(Ids { ssrc: 7, payload_type: 102, rtx }, u64::MAX)
    }

    #[test]
    fn packets_are_numbered_and_counted() {
        let mut sender = sender(None);
        let batch = batch(3);
        let packets: Vec<_> = (0..3).map(|i| read(sender.packet(&batch, i, 9000, true))).collect();
        assert!(packets.windows(2).all(|w| w[1].sequence == w[0].sequence.wrapping_add(1)));
        assert!(packets[0].sequence < 0x8000);
        assert_eq!(packets.iter().map(|p| p.marker).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(packets[1].payload[..], [0x7C, 0x85, 1, 1, 1, 1]);
        assert_eq!(packets[0].timestamp, 8999, "the offset wraps");
        assert_eq!(sender.sent(), (3, 18));
        assert!(sender.packet(&batch, 3, 0, true).is_none());
    }

    #[test]
    fn a_lost_packet_comes_again_as_retransmission() {
        let mut sender = sender(Some((8, 103)));
        let batch = batch(5);
        let sent: Vec<_> = (0..5).map(|i| read(sender.packet(&batch, i, 0, true))).collect();
        assert!(sender.mark_lost(sent[3].sequence));
        assert!(!sender.mark_lost(sent[3].sequence), "it is due once");
        let again = read(sender.again(sent[3].sequence));
        assert_eq!((again.ssrc, again.payload_type, again.timestamp), (8, 103, sent[3].timestamp));
        assert_eq!(again.payload[..2], sent[3].sequence.to_be_bytes());
        assert_eq!(again.payload[2..], sent[3].payload);
        assert!(sender.mark_lost(sent[3].sequence), "it may be lost again");
    }

    #[test]
    fn without_a_retransmission_format_it_comes_as_it_was() {
        let mut sender = sender(None);
        let batch = batch(2);
        let first = read(sender.packet(&batch, 0, 0, true));
        let second = read(sender.packet(&batch, 1, 0, true));
        assert!(sender.mark_lost(first.sequence));
        assert_eq!(read(sender.again(first.sequence)), first);
        assert!(sender.mark_lost(second.sequence));
    }

    proptest! {
        #[test]
        fn only_what_was_sent_lately_comes_again(count in 0usize..3000, asked: u16) {
            let mut sender = sender(Some((8, 103)));
            let batch = batch(1);
            let first = sender.sequence;
            for _ in 0..count {
                sender.packet(&batch, 0, 0, true);
            }
            let age = first.wrapping_add(count as u16).wrapping_sub(asked);
            let kept = age > 0 && usize::from(age) <= count.min(HISTORY);
            prop_assert_eq!(sender.mark_lost(asked), kept);
            prop_assert_eq!(sender.again(asked).is_some(), kept);
        }
    }
}
