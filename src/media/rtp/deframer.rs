//! RTP and RTCP on a TCP connection: RFC 4571 (a length of two bytes before each packet, what the standard
//! demands) and the `$ channel length length` of RTSP (RFC 2326 section 10.12), which some senders use.
//!
//! Which of the two it is, is found out by looking, at every packet: the length of RFC 4571 is followed by a byte
//! whose upper bits are `10`, the RTP version; where the length is that of `$`, that byte comes two later.

use super::packet::{HEADER_LEN, is_rtcp};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// The longest packet that a length of 16 bits can announce.
const MAX_PACKET: usize = 65_535;

/// Bytes kept at most; what is older is dropped. More than one packet is never needed, so only a caller who
/// pushes without calling `next` gets there.
const MAX_BUFFER: usize = 4 * MAX_PACKET;

/// Bytes searched for the known source before it is forgotten: by then it has changed, or it was never right.
const MAX_SEARCH: usize = MAX_PACKET;

/// How many packets the sequence number may have moved on where a packet is found again amid broken bytes.
const MAX_SKIPPED: u16 = 1000;

/// What is wrong with the bytes of a connection. Bytes are lost where it appears: the packet that follows does
/// not continue the one before.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum FrameFault {
    #[error("no packet begins where the length before says that one does")]
    OutOfStep,
    #[error("a packet is shorter than its length says")]
    HalfPacket,
    #[error("more bytes arrived than were taken")]
    Overflow,
    #[error("a packet is longer than its length can say")]
    TooLong,
}

impl FrameFault {
    /// A stable label for counting.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OutOfStep => "frame_out_of_step",
            Self::HalfPacket => "frame_half_packet",
            Self::Overflow => "frame_overflow",
            Self::TooLong => "frame_too_long",
        }
    }
}

/// Appends a packet with the length of RFC 4571 before it.
///
/// # Errors
/// [`FrameFault::TooLong`], with nothing written, where the packet is longer than 65,535 bytes.
pub fn frame(packet: &[u8], out: &mut impl BufMut) -> Result<(), FrameFault> {
    let length = u16::try_from(packet.len()).map_err(|_| FrameFault::TooLong)?;
    out.put_u16(length);
    out.put_slice(packet);
    Ok(())
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Framing {
    Rfc4571,
    Interleaved,
}

use Framing::{Interleaved, Rfc4571};

/// What is known of the packets of this connection, from the last one: enough to find the next amid garbage.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Source {
    payload_type: u8,
    sequence: u16,
    ssrc: [u8; 4],
}

impl Source {
    fn read(rtp: &[u8]) -> Option<Self> {
        let &[_, second, s0, s1, _, _, _, _, c0, c1, c2, c3] = rtp.first_chunk()?;
        Some(Self {
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            ssrc: [c0, c1, c2, c3],
        })
    }
}

/// A look at a place where a packet may begin.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Look {
    /// Not to be said before more bytes are there.
    Short,
    No,
    /// Bytes before the packet, and of the packet.
    Packet(Framing, usize, usize),
}

/// Cuts the bytes of a connection into packets. Where they do not make sense it searches for the next packet of
/// the source that was known, and goes on from there.
#[derive(Debug)]
pub struct Deframer {
    buffer: BytesMut,
    framing: Framing,
    source: Option<Source>,
    searching: bool,
    /// Bytes searched in vain since the last packet.
    searched: usize,
    overflow: bool,
    faults: u64,
    skipped: u64,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    pub fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            framing: Rfc4571,
            source: None,
            searching: false,
            searched: 0,
            overflow: false,
            faults: 0,
            skipped: 0,
        }
    }

    /// Takes bytes as they arrive. Call [`next`](Self::next) until it gives nothing; then less than 64 KiB wait
    /// here for the rest of their packet.
    pub fn push(&mut self, bytes: &[u8]) {
        let excess = (self.buffer.len() + bytes.len()).saturating_sub(MAX_BUFFER);
        if excess > 0 {
            self.overflow = true;
            self.skip(excess.min(self.buffer.len()));
        }
        let kept = bytes.len().min(MAX_BUFFER);
        self.buffer.extend_from_slice(bytes.get(bytes.len() - kept..).unwrap_or(bytes));
    }

    /// The next packet, RTP or RTCP, as a slice of what was received; or a fault, after which the search goes on
    /// with the next call.
    #[expect(clippy::should_implement_trait, reason = "an end here is not the end: more bytes follow")]
    pub fn next(&mut self) -> Option<Result<Bytes, FrameFault>> {
        if std::mem::take(&mut self.overflow) {
            return Some(Err(self.fault(FrameFault::Overflow)));
        }
        if self.searching {
            self.search()?;
        }
        while self.buffer.starts_with(&[0, 0]) {
            // A packet without bytes, which RFC 4571 allows: keeps a connection open, means nothing.
            self.buffer.advance(2);
        }
        let (framing, prefix, length) = match self.look(0) {
            Look::Short => return None,
            Look::No => return Some(Err(self.fault(FrameFault::OutOfStep))),
            Look::Packet(framing, prefix, length) => (framing, prefix, length),
        };
        let end = prefix + length;
        if self.buffer.len() < end {
            return None;
        }
        if self.look(end) == Look::No && self.holds_another(prefix, end) {
            return Some(Err(self.fault(FrameFault::HalfPacket)));
        }
        self.framing = framing;
        self.searched = 0;
        self.buffer.advance(prefix);
        let packet = self.buffer.split_to(length).freeze();
        if !is_rtcp(&packet) {
            self.source = Source::read(&packet);
        }
        Some(Ok(packet))
    }

    /// Faults since the connection began.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// Bytes that were passed over because they made no sense.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn fault(&mut self, fault: FrameFault) -> FrameFault {
        self.faults += 1;
        self.searching = true;
        self.skip(1);
        fault
    }

    fn skip(&mut self, count: usize) {
        let count = count.min(self.buffer.len());
        self.buffer.advance(count);
        self.skipped += count as u64;
        self.searched = self.searched.saturating_add(count);
    }

    /// Passes over bytes up to the next place where a packet surely begins; `None` if that is not there yet.
    fn search(&mut self) -> Option<()> {
        let mut at = 0;
        let found = loop {
            if self.searched + at > MAX_SEARCH {
                self.source = None;
            }
            let sure = match self.source {
                Some(known) => self.continues(known, at),
                None => self.begins_pair(at),
            };
            match sure {
                Some(false) => at += 1,
                Some(true) => break true,
                None => break false,
            }
        };
        self.skip(at);
        self.searching = !found;
        found.then_some(())
    }

    /// Whether a packet begins at `at` that comes from the known source, not far on from its last; `None` where
    /// that takes more bytes.
    fn continues(&self, known: Source, at: usize) -> Option<bool> {
        let prefix = match self.look(at) {
            Look::Short => return None,
            Look::No => return Some(false),
            Look::Packet(_, prefix, _) => prefix,
        };
        let found = self.source_at(at + prefix)?;
        let same = found.payload_type == known.payload_type && found.ssrc == known.ssrc;
        Some(same && found.sequence.wrapping_sub(known.sequence) <= MAX_SKIPPED)
    }

    /// Whether a packet begins at `at`, and where it ends, the next one of its source: the proof where nothing
    /// is known. `None` where that takes more bytes.
    fn begins_pair(&self, at: usize) -> Option<bool> {
        let (prefix, length) = match self.look(at) {
            Look::Short => return None,
            Look::No => return Some(false),
            Look::Packet(_, prefix, length) => (prefix, length),
        };
        let first = self.source_at(at + prefix)?;
        let second = Source { sequence: first.sequence.wrapping_add(1), ..first };
        self.continues(second, at + prefix + length)
    }

    /// Whether the next packet of the same source begins inside the one that lies at `start..end`: its sender
    /// gave it up halfway.
    fn holds_another(&self, start: usize, end: usize) -> bool {
        self.source_at(start)
            .is_some_and(|source| (start + 1..end).any(|at| self.continues(source, at) == Some(true)))
    }

    fn source_at(&self, at: usize) -> Option<Source> {
        Source::read(self.buffer.get(at..)?)
    }

    /// Whether a packet may begin at `at`, in either framing; the one in use is tried first.
    fn look(&self, at: usize) -> Look {
        let bytes = self.buffer.get(at..).unwrap_or(&[]);
        let (first, second) = match self.framing {
            Rfc4571 => (Rfc4571, Interleaved),
            Interleaved => (Interleaved, Rfc4571),
        };
        match self.look_as(first, bytes) {
            Look::No => self.look_as(second, bytes),
            look => look,
        }
    }

    fn look_as(&self, framing: Framing, bytes: &[u8]) -> Look {
        let (prefix, after) = match framing {
            Rfc4571 => (2, Some(bytes)),
            Interleaved => (4, bytes.strip_prefix(b"$").map(|after| after.get(1..).unwrap_or(&[]))),
        };
        let Some(after) = after else {
            return if bytes.is_empty() { Look::Short } else { Look::No };
        };
        let Some((length, packet)) = after.split_first_chunk() else { return Look::Short };
        let length = usize::from(u16::from_be_bytes(*length));
        match packet {
            [] => Look::Short,
            [first, ..] if first >> 6 != 2 => Look::No,
            [_] => Look::Short,
            _ if is_rtcp(packet) => {
                let Some(&[_, kind, w0, w1]) = packet.first_chunk() else { return Look::Short };
                let body = 4 * usize::from(u16::from_be_bytes([w0, w1]));
                let fits = matches!(kind, 200..=207) && 4 + body <= length;
                if fits { Look::Packet(framing, prefix, length) } else { Look::No }
            }
            _ if length < HEADER_LEN => Look::No,
            _ => match (self.source, Source::read(packet)) {
                (_, None) => Look::Short,
                // A sender changes its payload type or its source, hardly both in one packet.
                (Some(known), Some(found))
                    if found.ssrc != known.ssrc && found.payload_type != known.payload_type =>
                {
                    Look::No
                }
                _ => Look::Packet(framing, prefix, length),
            },
        }
    }
}

#[cfg(test)]
#[path = "deframer_tests.rs"]
mod tests;
