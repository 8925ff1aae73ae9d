//! The parts that the demuxer is built of: pieces on their way to a unit, the stream ids followed, and the trust
//! in markers.

use bytes::{Bytes, BytesMut};

use super::clock::Stamps;

/// Pieces of one unit. Each holds on to the packet that it lies in: this bounds how many.
pub(super) const MAX_PIECES: usize = 16_384;

/// Room for pieces that is kept from unit to unit: a key frame of about 3 MB.
const KEPT_PIECES: usize = 2_048;

/// A unit that is being put together: slices of the packets, gathered once when it is whole.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pieces: Vec<Bytes>,
    len: usize,
    pub(super) stamps: Stamps,
    pub(super) stream_id: u8,
    /// Whether a PES packet of this unit has begun. Before, there may be parameter sets that wait for it.
    pub(super) begun: bool,
    pub(super) damaged: bool,
}

impl Assembly {
    pub(super) fn begin(&mut self, stream_id: u8, stamps: Stamps, damaged: bool) {
        self.stream_id = stream_id;
        self.stamps = stamps;
        self.begun = true;
        self.damaged = damaged;
    }

    /// False if the unit grows beyond all bounds; the piece is then not taken.
    #[must_use]
    pub(super) fn push(&mut self, piece: Bytes, max_len: usize) -> bool {
        if piece.is_empty() {
            return true;
        }
        if piece.len() > max_len.saturating_sub(self.len) || self.pieces.len() >= MAX_PIECES {
            return false;
        }
        self.len += piece.len();
        self.pieces.push(piece);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All pieces in one, in memory of exactly their size: what lives on with the stream keeps no packet alive.
    pub(super) fn gather(&mut self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.len);
        for piece in &self.pieces {
            whole.extend_from_slice(piece);
        }
        self.clear();
        whole.freeze()
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.pieces.shrink_to(KEPT_PIECES);
        self.len = 0;
        self.begun = false;
        self.damaged = false;
    }

    /// Puts parameter sets before the unit that has not begun yet.
    pub(super) fn keep_for_next(&mut self, sets: Bytes) {
        self.len = sets.len();
        self.pieces.push(sets);
    }
}

/// The one stream id of its kind that is followed: the first seen, until it has stayed away for long.
#[derive(Debug, Default)]
pub(super) struct Lane {
    id: Option<u8>,
    strangers: u8,
}

impl Lane {
    /// PES packets of others in a row after which one of them takes over.
    const PATIENCE: u8 = 100;

    pub(super) fn admits(&mut self, id: u8) -> bool {
        if self.id.is_none_or(|own| own == id) || self.strangers >= Self::PATIENCE {
            self.id = Some(id);
            self.strangers = 0;
            return true;
        }
        self.strangers += 1;
        false
    }
}

/// Whether the RTP marker ends a frame. Many senders set it rightly; GB/T 28181 does not ask them to.
#[derive(Debug, Default)]
pub(super) struct Trust {
    agreed: u8,
    /// The last packet of the frame so far had the marker.
    marked: bool,
    /// Packets were lost, perhaps the one with the marker.
    uncertain: bool,
    /// The RTP time stamp and PTS of the frame that was ended by its marker.
    closed: Option<(u32, Option<u64>)>,
}

impl Trust {
    /// Frames in a row whose end agreed with the marker before it is trusted.
    const ENOUGH: u8 = 25;

    pub(super) fn marker(&mut self) {
        self.marked = true;
    }

    pub(super) fn is_earned(&self) -> bool {
        self.agreed >= Self::ENOUGH
    }

    /// Whether the frame ended with a marker, from a sender who has not lied so far.
    pub(super) fn seems_ended(&self) -> bool {
        self.marked && self.agreed > 0
    }

    pub(super) fn loss(&mut self) {
        self.uncertain = true;
    }

    /// More of the frame has come. True if a marker that was trusted has lied.
    pub(super) fn more(&mut self) -> bool {
        let lied = std::mem::take(&mut self.marked);
        let lost = lied && self.is_earned();
        if lied {
            self.agreed = 0;
        }
        lost
    }

    /// The next frame has begun.
    pub(super) fn ended_by_next(&mut self) {
        let marked = std::mem::take(&mut self.marked);
        let uncertain = std::mem::take(&mut self.uncertain);
        self.closed = None;
        if marked {
            self.agreed = self.agreed.saturating_add(1).min(Self::ENOUGH);
        } else if !uncertain {
            self.agreed = 0;
        }
    }

    pub(super) fn ended_by_marker(&mut self, stamps: Stamps) {
        self.marked = false;
        self.uncertain = false;
        self.closed = Some((stamps.rtp, stamps.pts));
    }

    /// A PES packet begins a frame. True if it belongs to the one that was ended by its marker: it lied.
    pub(super) fn begins(&mut self, stamps: Stamps) -> bool {
        let lied = self
            .closed
            .take()
            .is_some_and(|(rtp, pts)| rtp == stamps.rtp && (stamps.pts.is_none() || stamps.pts == pts));
        if lied {
            self.agreed = 0;
        }
        lied
    }
}
