//! Taking in a device's catalog (clause 9.5): pages in any order, doubled, lost, unasked, with a wrong `SumNum`.
//!
//! A sync ends by silence, not by count alone: `SumNum` may be smaller than the truth. Only a sync in which at
//! least `SumNum` items arrived may remove channels, and a `SumNum` of 0 beside items counts as unknown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::changes::Change;
use crate::gb::conformance::Rule;
use crate::gb::id::{Id, Kind};
use crate::gb::manscdp::CatalogPage;
use crate::registry::Channel;

/// The first page may take long: large platforms build the whole answer first.
pub(super) const FIRST_PAGE: Duration = Duration::from_secs(10);
/// Silence between two pages after which the rest counts as lost.
const NEXT_PAGE: Duration = Duration::from_secs(3);
/// Silence after as many items as were announced, for devices that announce too few.
const SETTLE: Duration = Duration::from_millis(500);
/// A whole sync, however slowly a device dribbles its pages.
const WHOLE: Duration = Duration::from_secs(600);
/// Channels of one device. Items beyond are dropped, and such a sync never counts as complete.
pub(super) const MAX_CHANNELS: usize = 200_000;

/// Changes notified during a sync. With more of them it never counts as complete.
const MAX_CHANGES: usize = 10_000;

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
    /// Items without an id.
    bad: u32,
    /// What was notified meanwhile: the pages may be older.
    changes: BTreeMap<Id, Change>,
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
            bad: 0,
            changes: BTreeMap::new(),
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
            self.bad = self.bad.saturating_add(page.bad_items);
        }
        // A SumNum that is too small says nothing of how many are to come.
        let wait = if self.items == self.announced { SETTLE } else { NEXT_PAGE };
        self.deadline = (now + wait).min(self.started + WHOLE);
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

    /// Takes note of a change that was notified while the catalog comes in.
    pub(super) fn changed(&mut self, change: &Change) {
        let (Change::Status(id, _) | Change::Gone(id)) = change else {
            if let Change::Put(channel) = change {
                self.note(channel.id, change.clone());
            }
            return;
        };
        match (self.changes.get_mut(id), change) {
            (Some(Change::Put(channel)), Change::Status(_, status)) => channel.status = *status,
            (Some(Change::Gone(_)), Change::Status(..)) => {}
            _ => self.note(*id, change.clone()),
        }
    }

    fn note(&mut self, id: Id, change: Change) {
        if self.changes.len() < MAX_CHANGES || self.changes.contains_key(&id) {
            self.changes.insert(id, change);
        } else {
            self.overflowed = true;
        }
    }

    /// What in the catalog as a whole departs from the standard, how often, and an example. Whether too few came for a
    /// `SumNum` that is wrong or for a page that was lost is known once it was tried again: `last`.
    pub(super) fn departures(&self, device: &Id, last: bool) -> Vec<(Rule, u32, String)> {
        let mut found = Vec::new();
        let (items, announced) = (self.items, self.announced);
        if self.answered && (items > announced || last && items < announced) {
            found.push((Rule::CatalogSumnumWrong, 1, format!("SumNum {announced}, and {items} items")));
        }
        let repeated = items.saturating_sub(self.bad).saturating_sub(self.channels.len() as u32);
        if repeated > 0 {
            found.push((Rule::CatalogDuplicateIds, repeated, format!("{repeated} of {items} items")));
        }
        if self.all_came() {
            let known = |id: &Id| id == device || id.kind() == Kind::Region || self.channels.contains_key(id);
            let stray = |channel: &&Channel| channel.parents.iter().any(|parent| !known(parent));
            let mut strays = self.channels.values().filter(stray);
            if let Some(first) = strays.next() {
                let parents: Vec<&str> = first.parents.iter().map(Id::as_str).collect();
                let sample = format!("{}: ParentID {}", first.id, parents.join("/"));
                found.push((Rule::CatalogParentUnknown, 1 + strays.count() as u32, sample));
            }
        }
        found
    }

    /// A camera of the catalog, to ask about.
    pub(super) fn camera(&self) -> Option<Id> {
        let cameras = self.channels.values().filter(|channel| channel.id.kind() == Kind::Camera);
        cameras.max_by_key(|channel| channel.status).map(|channel| channel.id)
    }

    /// The result, and the channels as they are now.
    pub(super) fn finish(mut self) -> (Synced, Vec<Channel>) {
        let received = self.channels.len() as u32;
        let complete = self.all_came() && !self.overflowed;
        let total = if complete { received } else { self.announced.max(received) };
        for (id, change) in std::mem::take(&mut self.changes) {
            match change {
                Change::Put(channel) => {
                    self.channels.insert(id, *channel);
                }
                Change::Status(_, status) => {
                    if let Some(channel) = self.channels.get_mut(&id) {
                        channel.status = status;
                    }
                }
                Change::Gone(_) => {
                    self.channels.remove(&id);
                }
                Change::Untold(..) | Change::Nothing => {}
            }
        }
        (Synced { received, total, complete }, self.channels.into_values().collect())
    }
}
