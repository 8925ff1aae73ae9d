//! The registry in memory: applies writes, keeps totals, and says what changed.

use std::collections::{BTreeMap, HashSet};

use super::history::History;
use super::journal::{Finding, Position, settled};
use super::model::{Call, Channel, Device, Registration};
use super::query::Totals;
use super::slot::{Interner, Slot};
use super::write::{Cause, Change, Write, bad_since, retire};
use super::{MAX_CALLS_PER_DEVICE, MAX_CHANNELS, MAX_CHANNELS_PER_DEVICE, MAX_DEVICES};
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;

/// A bound of the registry that a write would go beyond.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Full {
    #[error("the registry holds {MAX_DEVICES} devices, which is the most it can")]
    Devices,
    #[error("the registry holds {MAX_CHANNELS} channels, which is the most it can")]
    Channels,
    #[error("the device has {MAX_CHANNELS_PER_DEVICE} channels, which is the most it may")]
    ChannelsOfDevice,
    #[error("the device has {MAX_CALLS_PER_DEVICE} running calls, which is the most it may")]
    CallsOfDevice,
}

/// All that is known, in memory. Not shared by itself: whoever owns it decides on the lock.
#[derive(Debug, Default)]
pub struct Index {
    /// In boxes: half of a tree's places are empty.
    pub(super) devices: BTreeMap<Id, Box<Entry>>,
    pub(super) totals: Totals,
    /// Channels with tombstones.
    slots: usize,
    /// Devices that are offline, and channels that do not work though their device is online.
    pub(super) faults: u64,
    interner: Interner,
    pub(super) history: History,
}

/// A device and what hangs on it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) device: Device,
    pub(super) registration: Option<Registration>,
    /// `None`: it was never heard of.
    pub(super) last_seen: Option<UnixMillis>,
    pub(super) silent: bool,
    pub(super) channels: BTreeMap<Id, Slot>,
    /// Channels that are no tombstones and no folders, and those of them whose status is good.
    pub(super) listed: u32,
    pub(super) good: u32,
    /// The others of them: since when, where that is known.
    pub(super) bad: BTreeMap<Id, Option<UnixMillis>>,
    /// Where its channels, or itself, last said that they are.
    pub(super) positions: BTreeMap<Id, Position>,
    pub(super) findings: Box<[Finding]>,
    pub(super) calls: BTreeMap<(Id, Box<str>), Call>,
}

/// How many channels a write added, changed and removed.
#[derive(Default)]
struct Tally {
    added: u32,
    changed: u32,
    removed: u32,
}

impl Index {
    pub fn new() -> Index {
        Index::default()
    }

    /// Whether there is room for what a write adds. To be asked before the write is handed to the store;
    /// [`Index::apply`] itself refuses nothing, since the store has kept it already.
    pub fn admit(&self, write: &Write) -> Result<(), Full> {
        match write {
            Write::PutDevice(device) => {
                let new = !self.devices.contains_key(&device.id);
                if new && self.devices.len() >= MAX_DEVICES {
                    return Err(Full::Devices);
                }
            }
            Write::MergeCatalog { device, channels, .. } => {
                let Some(entry) = self.devices.get(device) else { return Ok(()) };
                let fresh =
                    channels.iter().filter(|channel| !entry.channels.contains_key(&channel.id)).count();
                if fresh > 0 && entry.channels.len() + fresh > MAX_CHANNELS_PER_DEVICE {
                    return Err(Full::ChannelsOfDevice);
                }
                if fresh > 0 && self.slots + fresh > MAX_CHANNELS {
                    return Err(Full::Channels);
                }
            }
            Write::PutCall(call) => {
                let Some(entry) = self.devices.get(&call.device) else { return Ok(()) };
                let key = (call.channel, call.call_id.as_str().into());
                if entry.calls.len() >= MAX_CALLS_PER_DEVICE && !entry.calls.contains_key(&key) {
                    return Err(Full::CallsOfDevice);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Applies a write, and says what changed by it.
    pub fn apply(&mut self, write: &Write) -> Vec<Change> {
        match write {
            Write::PutDevice(device) => self.put_device(device),
            Write::DeleteDevice { device } => self.delete_device(*device),
            Write::PutRegistration(registration) => {
                self.update(registration.device, Cause::Removed, |entry, _| {
                    entry.last_seen = entry.last_seen.max(Some(registration.registered_at));
                    entry.silent = false;
                    entry.registration = Some(registration.clone());
                    Tally::default()
                })
            }
            Write::EndRegistration { device, cause } => self.update(*device, *cause, |entry, _| {
                entry.silent = false;
                entry.registration = None;
                Tally::default()
            }),
            Write::Touch { touches } => touches
                .iter()
                .flat_map(|touch| self.update(touch.device, Cause::Silent, |entry, _| entry.touch(touch.at)))
                .collect(),
            Write::Offline { device, cause } => self.update(*device, *cause, |entry, _| {
                entry.silent = entry.registration.is_some();
                Tally::default()
            }),
            Write::MergeCatalog { device, channels, complete, at } => {
                self.update(*device, Cause::Removed, |entry, interner| {
                    let mut tally = entry.merge(channels, *at, interner);
                    if *complete {
                        entry.retire_unlisted(channels, *at, &mut tally);
                    }
                    tally
                })
            }
            Write::RemoveChannels { device, channels } => self.update(*device, Cause::Removed, |entry, _| {
                let mut tally = Tally::default();
                for channel in channels {
                    entry.remove(channel, &mut tally);
                }
                tally
            }),
            Write::SetChannelStatus { device, channel, status, at } => {
                self.update(*device, Cause::Removed, |entry, _| entry.set_status(channel, *status, *at))
            }
            Write::SetPosition { device, channel, longitude, latitude, at } => {
                let position = Position::new(*longitude, *latitude, *at);
                if let Some((entry, position)) = self.devices.get_mut(device).zip(position) {
                    entry.set_position(channel, position);
                }
                Vec::new()
            }
            Write::PutCall(call) => self.update(call.device, Cause::Removed, |entry, _| {
                entry.calls.insert((call.channel, call.call_id.as_str().into()), call.clone());
                Tally::default()
            }),
            Write::DeleteCall { device, channel, call_id } => {
                self.update(*device, Cause::Removed, |entry, _| {
                    entry.calls.remove(&(*channel, call_id.as_str().into()));
                    Tally::default()
                })
            }
            Write::PutAlarm(alarm) => {
                self.history.put_alarm(alarm);
                Vec::new()
            }
            Write::PutAudit(record) => {
                self.history.put_audit(record);
                Vec::new()
            }
            Write::PutFindings { device, findings } => {
                if let Some(entry) = self.devices.get_mut(device) {
                    entry.findings = settled(findings);
                }
                Vec::new()
            }
        }
    }

    fn put_device(&mut self, device: &Device) -> Vec<Change> {
        match self.devices.get_mut(&device.id) {
            Some(entry) => entry.device = device.clone(),
            None => {
                let entry = Entry::new(device.clone());
                self.totals.add(entry.totals());
                self.faults += entry.faults();
                self.devices.insert(device.id, Box::new(entry));
            }
        }
        Vec::new()
    }

    fn delete_device(&mut self, device: Id) -> Vec<Change> {
        let Some(entry) = self.devices.remove(&device) else { return Vec::new() };
        self.totals.subtract(entry.totals());
        self.faults -= entry.faults();
        self.slots -= entry.channels.len();
        let mut changes = Vec::new();
        if entry.online() {
            changes.push(Change::DeviceOffline { device, cause: Cause::Removed });
        }
        // Folders are items of the catalog, too.
        let removed = entry.channels.values().filter(|slot| slot.gone().is_none()).count() as u32;
        if removed > 0 {
            changes.push(Change::CatalogChanged { device, added: 0, changed: 0, removed });
        }
        changes
    }

    /// Lets `alter` work on a known device, then brings the totals up to date and compares.
    fn update(
        &mut self,
        device: Id,
        cause: Cause,
        alter: impl FnOnce(&mut Entry, &mut Interner) -> Tally,
    ) -> Vec<Change> {
        let Some(entry) = self.devices.get_mut(&device) else { return Vec::new() };
        self.totals.subtract(entry.totals());
        self.faults -= entry.faults();
        self.slots -= entry.channels.len();
        let was_online = entry.online();
        let tally = alter(entry, &mut self.interner);
        self.totals.add(entry.totals());
        self.faults += entry.faults();
        self.slots += entry.channels.len();

        let mut changes = Vec::new();
        match (was_online, entry.online()) {
            (false, true) => changes.push(Change::DeviceOnline { device }),
            (true, false) => changes.push(Change::DeviceOffline { device, cause }),
            _ => {}
        }
        let Tally { added, changed, removed } = tally;
        if added + changed + removed > 0 {
            changes.push(Change::CatalogChanged { device, added, changed, removed });
        }
        changes
    }
}

impl Entry {
    fn new(device: Device) -> Entry {
        Entry {
            device,
            registration: None,
            last_seen: None,
            silent: false,
            channels: BTreeMap::new(),
            listed: 0,
            good: 0,
            bad: BTreeMap::new(),
            positions: BTreeMap::new(),
            findings: Box::default(),
            calls: BTreeMap::new(),
        }
    }

    pub(super) fn online(&self) -> bool {
        self.registration.is_some() && !self.silent
    }

    /// Channels that are online: none where the device is not.
    pub(super) fn channels_online(&self) -> u32 {
        if self.online() { self.good } else { 0 }
    }

    fn totals(&self) -> Totals {
        Totals {
            devices: 1,
            devices_online: u64::from(self.online()),
            channels: u64::from(self.listed),
            channels_online: u64::from(self.channels_online()),
        }
    }

    fn faults(&self) -> u64 {
        if self.online() { u64::from(self.listed - self.good) } else { 1 }
    }

    fn touch(&mut self, at: UnixMillis) -> Tally {
        self.last_seen = self.last_seen.max(Some(at));
        self.silent = false;
        Tally::default()
    }

    fn merge(&mut self, channels: &[Channel], at: UnixMillis, interner: &mut Interner) -> Tally {
        let mut tally = Tally::default();
        if self.channels.is_empty() {
            // Built at once, the tree's nodes are full: a third less memory than by single inserts. Where a
            // channel comes twice, the last one counts, with the time of the first.
            for channel in channels {
                if let Some(since) = bad_since(channel, self.bad.get(&channel.id).copied(), at) {
                    self.bad.insert(channel.id, since);
                } else {
                    self.bad.remove(&channel.id);
                }
            }
            self.channels =
                channels.iter().map(|channel| (channel.id, Slot::pack(channel, interner))).collect();
            for slot in self.channels.values().filter(|slot| slot.is_channel()) {
                self.listed += 1;
                self.good += u32::from(slot.status);
            }
            tally.added = self.channels.values().filter(|slot| slot.gone().is_none()).count() as u32;
            return tally;
        }
        for channel in channels {
            let slot = Slot::pack(channel, interner);
            let listed = slot.gone().is_none();
            let old = self.channels.get(&channel.id);
            let same = old.is_some_and(|old| old.same(&slot));
            let was_listed = old.is_some_and(|old| old.gone().is_none());
            let since = bad_since(channel, self.bad.get(&channel.id).copied(), at);
            if same {
                since.map(|since| self.bad.insert(channel.id, since));
                continue;
            }
            self.uncount(&channel.id);
            if slot.is_channel() {
                self.listed += 1;
                self.good += u32::from(slot.status);
            }
            since.map(|since| self.bad.insert(channel.id, since));
            self.channels.insert(channel.id, slot);
            match (was_listed, listed) {
                (false, true) => tally.added += 1,
                (true, true) => tally.changed += 1,
                (true, false) => tally.removed += 1,
                (false, false) => {}
            }
        }
        tally
    }

    fn retire_unlisted(&mut self, catalog: &[Channel], at: UnixMillis, tally: &mut Tally) {
        let named: HashSet<Id> = catalog.iter().map(|channel| channel.id).collect();
        let unlisted = self.channels.iter().filter(|(id, _)| !named.contains(*id));
        let retired = retire(unlisted.map(|(id, slot)| (*id, slot.gone())), at);
        for id in &retired.forgotten {
            self.remove(id, tally);
        }
        for id in &retired.gone {
            self.uncount(id);
            if let Some(slot) = self.channels.get_mut(id) {
                slot.retire(at);
                tally.removed += 1;
            }
        }
    }

    fn remove(&mut self, id: &Id, tally: &mut Tally) {
        self.uncount(id);
        self.positions.remove(id);
        if self.channels.remove(id).is_some_and(|slot| slot.gone().is_none()) {
            tally.removed += 1;
        }
    }

    fn set_status(&mut self, id: &Id, status: bool, at: UnixMillis) -> Tally {
        let mut tally = Tally::default();
        match self.channels.get_mut(id) {
            Some(slot) if slot.gone().is_none() && slot.status != status => {
                slot.status = status;
                match (slot.is_channel(), status) {
                    (true, true) => {
                        self.good += 1;
                        self.bad.remove(id);
                    }
                    (true, false) => {
                        self.good -= 1;
                        self.bad.insert(*id, Some(at));
                    }
                    (false, _) => {}
                }
                tally.changed = 1;
            }
            _ => {}
        }
        tally
    }

    /// Takes a channel out of the counts, before it is changed or removed.
    fn uncount(&mut self, id: &Id) {
        if let Some(slot) = self.channels.get(id).filter(|slot| slot.is_channel()) {
            self.listed -= 1;
            self.good -= u32::from(slot.status);
            self.bad.remove(id);
        }
    }

    fn set_position(&mut self, id: &Id, position: Position) {
        if *id == self.device.id || self.channels.contains_key(id) {
            self.positions.insert(*id, position);
        }
    }
}
