//! MESSAGE from devices: keepalives, answers to queries, notifications (clauses 9.3 to 9.6, annex A).

use super::{Action, Devices, Event, Failure, Purpose};
use crate::device::catalog::{Sync, Synced};
use crate::device::{MAX_SYNCS, SYNC_RETRIES, SYNC_RETRY_AFTER};
use crate::gb::charset::Charset;
use crate::gb::id::Id;
use crate::gb::manscdp::{self, CatalogPage, DeviceInfo, Root, write};
use crate::gb::time::Now;
use crate::registry::{Channel, Write, clip};
use crate::sip::{Flow, Message, ServerKey};

impl Devices {
    pub(super) fn message(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message) {
        let Some(id) = request.from().and_then(|from| from.user).and_then(|user| Id::parse(user).ok()) else {
            return self.respond(key, request.response(400));
        };
        // 403 and 404 make a device register anew, which proves who it is and where.
        let Some(entry) = self.entries.get_mut(&id) else {
            self.auth_failed(Some(id), "unknown_device");
            return self.respond(key, request.response(404));
        };
        let Some(session) = &entry.session else {
            self.auth_failed(Some(id), "not_registered");
            return self.respond(key, request.response(403));
        };
        // A NAT gives a device another port at any time. Another address could be anybody.
        if session.flow.remote.ip() != flow.remote.ip() {
            self.auth_failed(Some(id), "other_address");
            return self.respond(key, request.response(403));
        }
        let body = manscdp::parse(&request.body, &mut entry.history);
        self.seen(now, id, flow);
        let body = match body {
            Ok(body) => body,
            Err(bad) => {
                self.actions.push_back(Action::Event(Event::BadBody { device: id, reason: bad.reason() }));
                return self.respond(key, request.response(400));
            }
        };
        self.respond(key, request.response(200));
        self.learn_charset(id, body.charset);
        match (body.root, body.cmd.as_str()) {
            (Root::Response, "Catalog") => self.catalog_page(now, id, &body),
            (Root::Response, "DeviceInfo") => self.device_info(id, &DeviceInfo::read(&body)),
            (Root::Notify, "Alarm") => self.alarm(id, &body),
            // Keepalives need no more than the sign of life; commands that we do not know are acknowledged.
            _ => {}
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
        entry.sync = Some(Sync::new(now.instant));
        entry.retry_at = None;
        self.syncing += 1;
        // Asked in the same turn, so that a city that comes back is not asked all at once.
        if std::mem::take(&mut entry.ask_info) {
            let body = write::query("DeviceInfo", self.next_sn, &id);
            self.send(&id, &id, Purpose::Info, &body);
        }
        let sn = self.next_sn;
        let body = write::query("Catalog", sn, &id);
        self.send(&id, &id, Purpose::Catalog, &body);
        self.set_timer(id);
    }

    fn catalog_page(&mut self, now: Now, id: Id, body: &manscdp::Message) {
        let page = CatalogPage::read(body);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        // Only one query is under way for a device, so a page with another SN is still its answer. One that comes
        // late or unasked adds, and never removes.
        match &mut entry.sync {
            Some(sync) => {
                sync.page(now.instant, page);
                self.set_timer(id);
            }
            None => self.merge(now, id, page.items.into_iter().map(Channel::from).collect(), false),
        }
    }

    /// Ends a sync under way: by silence (`Ok`), or because it can't go on.
    pub(super) fn end_sync(&mut self, now: Now, id: Id, outcome: Result<(), Failure>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(sync) = entry.sync.take() else { return };
        self.syncing -= 1;
        let (started, answered) = (sync.started, sync.answered());
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
        for waiter in std::mem::take(&mut entry.waiters) {
            self.actions.push_back(Action::Synced { waiter, outcome: outcome.clone() });
        }
        self.merge(now, id, channels, complete);
        if let Ok(synced) = outcome {
            let took = now.instant.saturating_duration_since(started);
            self.actions.push_back(Action::Event(Event::CatalogSynced { device: id, synced, took }));
        }
        self.set_timer(id);
        self.begin_queued(now);
    }

    fn merge(&mut self, now: Now, device: Id, channels: Vec<Channel>, complete: bool) {
        if complete || !channels.is_empty() {
            self.write(Write::MergeCatalog { device, channels, complete, at: now.unix });
        }
    }

    fn device_info(&mut self, id: Id, info: &DeviceInfo) {
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
        }
    }

    /// A device is spoken to in the charset that it speaks. Where all is ASCII there is only the declaration, which
    /// may differ from message to message: it leads away from the default once, and back only by proof.
    fn learn_charset(&mut self, id: Id, spoken: Charset) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let likely = entry.history.charset().is_some() || spoken != Charset::default();
        if entry.device.charset != spoken && likely {
            entry.device.charset = spoken;
            let device = entry.device.clone();
            self.write(Write::PutDevice(device));
        }
    }

    /// An alarm is acknowledged twice: the MESSAGE by its 200, the alarm by a response of its own (clause 9.4).
    fn alarm(&mut self, id: Id, body: &manscdp::Message) {
        let about = body.device_id.unwrap_or(id);
        let answer = write::response_ok("Alarm", body.sn, &about, true);
        self.send(&id, &id, Purpose::Notice, &answer);
        self.actions.push_back(Action::Event(Event::Alarm { device: id }));
    }
}
