//! Fetching what must be known of a device that has come: its catalog and its DeviceInfo, a few devices at a time.

use std::time::Duration;

use super::catalog::{Sync, Synced};
use super::{
    Action, Devices, Event, Failure, MAX_SYNCS, MAX_WAITERS, Pending, Purpose, SYNC_RETRIES,
    SYNC_RETRY_AFTER, Waiter,
};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::{self, CatalogPage, DeviceInfo, Query};
use crate::gb::time::Now;
use crate::registry::{Channel, Write, clip};

/// Subscriptions follow a little after the first questions, so that a small device is not asked all at once.
pub(super) const SUBSCRIBE_AFTER: Duration = Duration::from_secs(2);

impl Devices {
    /// Fetches the catalog of a device; whoever waits is told by [`Action::Synced`]. Joins a sync under way.
    pub fn sync(&mut self, now: Now, waiter: Waiter, id: Id) {
        let failure = match self.entries.get_mut(&id) {
            None => Some(Failure::NotFound),
            Some(entry) if entry.reachable().is_none() => Some(Failure::Offline),
            Some(entry) if entry.waiters.len() >= MAX_WAITERS => Some(Failure::Busy),
            Some(entry) => {
                entry.waiters.push(waiter);
                None
            }
        };
        match failure {
            Some(failure) => self.actions.push_back(Action::Synced { waiter, outcome: Err(failure) }),
            None => self.begin_sync(now, id),
        }
    }

    /// Asks a device that has come for what must be known of it.
    pub(super) fn greet(&mut self, now: Now, id: Id, was_online: bool) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if was_online && entry.catalog_known {
            return;
        }
        if !was_online {
            entry.retries = 0;
            entry.ask_info = true;
            self.forgive_subscriptions(id);
        }
        self.queue_sync(now, id);
    }

    /// Begins a sync when its turn comes.
    pub(super) fn queue_sync(&mut self, now: Now, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.sync.is_none() && !std::mem::replace(&mut entry.queued, true) {
            self.sync_queue.push_back(id);
        }
        self.begin_queued(now);
    }

    fn begin_queued(&mut self, now: Now) {
        while self.syncing < MAX_SYNCS {
            let Some(id) = self.sync_queue.pop_front() else { return };
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.queued = false;
            }
            self.begin_sync(now, id);
        }
    }

    pub(super) fn begin_sync(&mut self, now: Now, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.sync.is_some() || entry.reachable().is_none() {
            return;
        }
        entry.sync = Some(Box::new(Sync::new(now.instant)));
        entry.retry_at = None;
        let ask_info = std::mem::take(&mut entry.ask_info);
        self.syncing += 1;
        let style = self.style(&id);
        // Asked in the same turn, so that a city that comes back is not asked all at once.
        if ask_info {
            let sn = self.sn();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.info_sn = sn;
            }
            let body = Query::DeviceInfo.body(sn, &id, &style);
            self.send(&id, &id, Purpose::Info, &body);
        }
        let body = Query::Catalog.body(self.sn(), &id, &style);
        self.send(&id, &id, Purpose::Catalog, &body);
        self.settle_subscriptions(now, id, SUBSCRIBE_AFTER);
        self.set_timer(id);
    }

    pub(super) fn sync_timeout(&mut self, now: Now, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.sync.as_ref().is_some_and(|sync| sync.deadline() <= now.instant) {
            self.end_sync(now, id, Ok(()));
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.retry_at.is_some_and(|at| at <= now.instant) {
            entry.retry_at = None;
            self.queue_sync(now, id);
        }
    }

    pub(super) fn catalog_page(&mut self, now: Now, id: Id, body: &manscdp::Message) {
        let page = CatalogPage::read(body);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // Only one query is under way for a device, so a page with another SN is still its answer. One that comes
        // late or unasked adds, and never removes.
        match &mut entry.sync {
            Some(sync) => {
                sync.page(now.instant, page);
                self.set_timer(id);
            }
            None if page.items.is_empty() => {}
            None => {
                let channels = page.items.into_iter().map(Channel::from).collect();
                self.write(Write::MergeCatalog { device: id, channels, complete: false, at: now.unix });
            }
        }
    }

    /// Ends a sync under way: by silence (`Ok`), or because it can't go on.
    pub(super) fn end_sync(&mut self, now: Now, id: Id, outcome: Result<(), Failure>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(sync) = entry.sync.take() else { return };
        self.syncing -= 1;
        let (started, answered) = (sync.started, sync.answered());
        let departures = match outcome {
            Ok(()) => sync.departures(&id, entry.retries >= SYNC_RETRIES),
            Err(_) => Vec::new(),
        };
        let camera = sync.camera();
        let (synced, channels) = sync.finish();
        let outcome: Result<Synced, Failure> = match outcome {
            Err(failure) => Err(failure),
            Ok(()) if !answered => Err(Failure::NoAnswer),
            Ok(()) => Ok(synced),
        };
        let complete = outcome.as_ref().is_ok_and(|synced| synced.complete);
        if complete {
            entry.catalog_known = true;
            entry.retries = 0;
        } else if entry.retries < SYNC_RETRIES
            && !matches!(outcome, Err(Failure::Offline | Failure::NotFound))
        {
            entry.retries += 1;
            entry.retry_at = Some(now.instant + SYNC_RETRY_AFTER);
        }
        let waiters = std::mem::take(&mut entry.waiters);
        if complete || !channels.is_empty() {
            // Who waits is told once it is kept, so as to find it.
            let token = self.write_token(Pending::Sync { device: id, waiters, outcome: outcome.clone() });
            let writes = vec![Write::MergeCatalog { device: id, channels, complete, at: now.unix }];
            self.actions.push_back(Action::Write { token: Some(token), writes });
        } else {
            self.tell_synced(waiters, &outcome);
        }
        for (rule, count, sample) in departures {
            self.observe_counted(now, id, rule, count, &sample);
        }
        if outcome == Err(Failure::NoAnswer) {
            self.observe(now, &id, Rule::AnswerMissing, "Catalog");
        }
        self.test_synced(now, id, &outcome, camera);
        if let Ok(synced) = outcome {
            let took = now.instant.saturating_duration_since(started);
            self.actions.push_back(Action::Event(Event::CatalogSynced { device: id, synced, took }));
        }
        self.set_timer(id);
        self.begin_queued(now);
    }

    /// A catalog came and was not kept: it is fetched once more, when the registry may work again.
    pub(super) fn catalog_lost(&mut self, now: Now, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.catalog_known = false;
        if entry.sync.is_none() && entry.reachable().is_some() {
            entry.retry_at = Some(now.instant + SYNC_RETRY_AFTER);
            self.set_timer(id);
        }
    }

    /// Tells those who wait for a catalog.
    pub(super) fn tell_synced(&mut self, waiters: Vec<Waiter>, outcome: &Result<Synced, Failure>) {
        let told = waiters.into_iter().map(|waiter| Action::Synced { waiter, outcome: outcome.clone() });
        self.actions.extend(told);
    }

    pub(super) fn device_info(&mut self, now: Now, id: Id, info: &DeviceInfo) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = entry.device.clone();
        let device = &mut entry.device;
        if let Some(name) = info.name.as_deref().map(clip) {
            // A name that an administrator gave stays.
            let old = entry.told_name.replace(name.to_owned());
            if device.name.is_empty() || old.as_ref() == Some(&device.name) {
                device.name = name.to_owned();
            }
        }
        for (kept, told) in [
            (&mut device.manufacturer, &info.manufacturer),
            (&mut device.model, &info.model),
            (&mut device.firmware, &info.firmware),
        ] {
            if let Some(told) = told {
                *kept = Some(clip(told).to_owned());
            }
        }
        if *device != before {
            let device = device.clone();
            self.write(Write::PutDevice(device));
            self.learn_manners(id);
            self.settle_subscriptions(now, id, SUBSCRIBE_AFTER);
        }
    }
}
