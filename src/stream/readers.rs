//! Who reads a stream.

use std::collections::BTreeSet;
use std::time::Instant;

/// A reader of one stream; ids are not used again.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ReaderId(u64);

#[derive(Debug)]
pub(super) struct Readers {
    limit: usize,
    ids: BTreeSet<ReaderId>,
    next: u64,
    /// When the last reader left, or the stream began.
    left: Instant,
}

impl Readers {
    pub(super) fn new(now: Instant, limit: usize) -> Self {
        Self { limit, ids: BTreeSet::new(), next: 0, left: now }
    }

    pub(super) fn add(&mut self) -> Option<ReaderId> {
        if self.ids.len() >= self.limit {
            return None;
        }
        let id = ReaderId(self.next);
        self.next += 1;
        self.ids.insert(id);
        Some(id)
    }

    pub(super) fn remove(&mut self, now: Instant, id: ReaderId) -> bool {
        let known = self.ids.remove(&id);
        if known {
            self.left = now;
        }
        known
    }

    pub(super) fn count(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.ids.is_empty().then_some(self.left)
    }
}
