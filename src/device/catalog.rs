//! Taking in a device's catalog (clause 9.5): pages in any order, doubled, lost, unasked, with a wrong `SumNum`.
//!
//! A sync ends by silence, not by count alone: `SumNum` may be smaller than the truth. Only a sync in which at
//! least `SumNum` items arrived may remove channels, and a `SumNum` of 0 beside items counts as unknown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::gb::id::Id;
use crate::gb::manscdp::CatalogPage;
use crate::registry::Channel;

/// The first page may take long: large platforms build the whole answer first.
pub(super) const FIRST_PAGE: Duration = Duration::from_secs(10);
/// Silence between two pages after which the rest counts as lost.
const NEXT_PAGE: Duration = Duration::from_secs(3);
/// Silence after all announced items came, for devices that announce too few.
const SETTLE: Duration = Duration::from_millis(500);
/// A whole sync, however slowly a device dribbles its pages.
const WHOLE: Duration = Duration::from_secs(600);
/// Channels of one device. Items beyond are dropped, and such a sync never counts as complete.
pub(super) const MAX_CHANNELS: usize = 200_000;

/// What a catalog sync brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Distinct items received.
    pub received: u32,
    /// Items announced (`SumNum`), or those received where the device announces fewer.
    pub total: u32,
    /// Whether all that was announced has come.
    pub complete: bool,
}

/// A catalog sync under way.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) started: Instant,
    deadline: Instant,
    channels: BTreeMap<Id, Channel>,
    /// Items with repetitions, as `SumNum` of devices that repeat items counts them so.
    items: u32,
    announced: u32,
    answered: bool,
    overflowed: bool,
}

impl Sync {
    pub(super) fn new(now: Instant) -> Sync {
        Sync {
            started: now,
            deadline: now + FIRST_PAGE,
            channels: BTreeMap::new(),
            items: 0,
            announced: 0,
            answered: false,
            overflowed: false,
        }
    }

    /// Takes in a page. Of an item that comes twice the first counts. A page without anything new is one that comes
    /// again, or of the answer to an earlier query: it must not stand for one that was lost.
    pub(super) fn page(&mut self, now: Instant, page: CatalogPage) {
        self.answered = true;
        self.announced = self.announced.max(page.sum_num.unwrap_or(0));
        let (before, items) = (self.channels.len(), (page.items.len() as u32).saturating_add(page.bad_items));
        for item in page.items {
            if self.channels.len() < MAX_CHANNELS {
                self.channels.entry(item.id).or_insert_with(|| Channel::from(item));
            } else {
                self.overflowed |= !self.channels.contains_key(&item.id);
            }
        }
        if self.channels.len() > before || page.bad_items == items {
            self.items = self.items.saturating_add(items);
        }
        self.deadline = (now + if self.all_came() { SETTLE } else { NEXT_PAGE }).min(self.started + WHOLE);
    }

    /// `SumNum` 0 without items is an empty catalog; beside items it means nothing.
    fn all_came(&self) -> bool {
        self.answered && self.items >= self.announced && (self.announced > 0 || self.items == 0)
    }

    /// When silence ends it.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether any page came.
    pub(super) fn answered(&self) -> bool {
        self.answered
    }

    /// The result, and the channels.
    pub(super) fn finish(self) -> (Synced, Vec<Channel>) {
        let received = self.channels.len() as u32;
        let complete = self.all_came() && !self.overflowed;
        let total = if complete { received } else { self.announced.max(received) };
        (Synced { received, total, complete }, self.channels.into_values().collect())
    }
}
