//! Questions to the index: look-ups, lists by page, the tree by level, totals.
//!
//! Lists are in the order of ids, device first. A cursor names the last item of a page, so that a list that
//! changes meanwhile neither repeats an item nor skips one that stays.

use std::collections::HashMap;
use std::collections::btree_map::Range;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::MAX_PAGE;
use super::index::{Entry, Index};
use super::journal::Position;
use super::model::{Call, Channel, Device, Registration};
use super::slot::{Common, Slot};
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;

/// How many there are. A channel is online when its device is and says so of the channel.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    pub devices: u64,
    pub devices_online: u64,
    pub channels: u64,
    pub channels_online: u64,
}

impl Totals {
    pub(super) fn add(&mut self, more: Totals) {
        self.devices += more.devices;
        self.devices_online += more.devices_online;
        self.channels += more.channels;
        self.channels_online += more.channels_online;
    }

    pub(super) fn subtract(&mut self, less: Totals) {
        self.devices -= less.devices;
        self.devices_online -= less.devices_online;
        self.channels -= less.channels;
        self.channels_online -= less.channels_online;
    }
}

/// A piece of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
    /// How many items the whole list has.
    pub total: u64,
}

/// A cursor that this registry did not give out.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct BadCursor;

/// Which devices to list; the default is all.
#[derive(Copy, Clone, Debug, Default)]
pub struct DeviceFilter<'a> {
    /// A part of the id or the name; ASCII letters in either case.
    pub q: Option<&'a str>,
    pub online: Option<bool>,
}

/// Which channels to list; the default is all.
#[derive(Copy, Clone, Debug, Default)]
pub struct ChannelFilter<'a> {
    pub device: Option<Id>,
    /// The civil code or its beginning: `3402` has all of the city.
    pub region: Option<&'a str>,
    /// A part of the id or the name; ASCII letters in either case.
    pub q: Option<&'a str>,
    pub online: Option<bool>,
}

/// A device and its live state.
#[derive(Copy, Clone, Debug)]
pub struct DeviceState<'a> {
    pub device: &'a Device,
    /// Kept while the device is silent, too.
    pub registration: Option<&'a Registration>,
    pub online: bool,
    /// Its last registration or sign of life; `None` if it was never heard of.
    pub last_seen: Option<UnixMillis>,
    pub channels: u32,
    pub channels_online: u32,
    /// Where it last said that it is itself.
    pub position: Option<Position>,
}

/// A channel and its live state.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelState {
    pub device: Id,
    pub channel: Channel,
    pub online: bool,
    /// Where it last said that it is; what the catalog says of its place is in `channel`.
    pub position: Option<Position>,
}

/// An item of a device's tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    pub state: ChannelState,
    /// Items directly below it.
    pub children: u32,
}

impl Index {
    pub fn totals(&self) -> Totals {
        self.totals
    }

    pub fn device(&self, device: &Id) -> Option<DeviceState<'_>> {
        self.devices.get(device).map(|entry| entry.state())
    }

    /// A channel, unless it is a tombstone.
    pub fn channel(&self, device: &Id, channel: &Id) -> Option<ChannelState> {
        let entry = self.devices.get(device)?;
        let slot = entry.channels.get(channel).filter(|slot| slot.gone().is_none())?;
        Some(entry.channel_state(*channel, slot))
    }

    /// All channels of a device with their tombstones, as they are kept.
    pub fn catalog(&self, device: &Id) -> impl Iterator<Item = Channel> {
        self.devices
            .get(device)
            .into_iter()
            .flat_map(|entry| entry.channels.iter().map(|(id, slot)| entry.unpack(*id, slot)))
    }

    /// All devices, those that are offline too: what a restarted registrar begins with.
    pub fn all_devices(&self) -> impl Iterator<Item = DeviceState<'_>> {
        self.devices.values().map(|entry| entry.state())
    }

    /// All running calls: what a restarted node takes up again or ends.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.devices.values().flat_map(|entry| entry.calls.values())
    }

    /// A page of devices. `limit` is kept between 1 and [`MAX_PAGE`].
    pub fn devices(
        &self,
        filter: DeviceFilter<'_>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<DeviceState<'_>>, BadCursor> {
        let after = cursor.map(Cursor::parse).transpose()?.map(|cursor| cursor.device);
        let mut page = Collector::new(limit);
        match (filter.q.map(Needle::new), filter.online) {
            // The totals are known: no look at what comes before the page or after it.
            (None, None) => {
                for (id, entry) in self.devices.range(beyond(after)) {
                    if !page.offer(Cursor { device: *id, channel: None }, || entry.state()) {
                        break;
                    }
                }
                page.total = self.totals.devices;
            }
            (needle, online) => {
                for (id, entry) in &self.devices {
                    let found = online.is_none_or(|online| online == entry.online())
                        && needle.as_ref().is_none_or(|needle| needle.is_in(id.as_str(), &entry.device.name));
                    if found {
                        page.total += 1;
                        if after.is_none_or(|after| *id > after) {
                            page.offer(Cursor { device: *id, channel: None }, || entry.state());
                        }
                    }
                }
            }
        }
        Ok(page.finish())
    }

    /// A page of channels, without folders: those are in [`Index::level`]. `limit` is kept between 1 and [`MAX_PAGE`].
    ///
    /// Without `q` and `region` it takes the time of the page alone; with them, of a pass over all channels of
    /// the device, or of all devices.
    pub fn channels(
        &self,
        filter: ChannelFilter<'_>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<ChannelState>, BadCursor> {
        let after = cursor.map(Cursor::parse).transpose()?;
        let needle = filter.q.map(Needle::new);
        let counted = needle.is_none() && filter.region.is_none();
        let mut page = Collector::new(limit);
        if counted {
            page.total = self.count(filter);
        }
        // A pass that counts begins at the beginning; one that does not, at the cursor.
        let first = after.filter(|_| counted).map(|cursor| cursor.device);
        'devices: for (id, entry) in self.entries(filter.device, first) {
            if entry.matching(filter.online) == 0 {
                continue;
            }
            let first =
                after.filter(|cursor| counted && cursor.device == *id).and_then(|cursor| cursor.channel);
            for (channel, slot) in entry.channels.range(beyond(first)) {
                let found = slot.is_channel()
                    && filter.online.is_none_or(|online| online == (entry.online() && slot.status))
                    && filter.region.is_none_or(|region| slot.in_region(region))
                    && needle.as_ref().is_none_or(|needle| needle.is_in(channel.as_str(), slot.name()));
                if !found {
                    continue;
                }
                page.total += u64::from(!counted);
                if after.is_some_and(|after| (*id, Some(*channel)) <= (after.device, after.channel)) {
                    continue;
                }
                let here = Cursor { device: *id, channel: Some(*channel) };
                if !page.offer(here, || entry.channel_state(*channel, slot)) && counted {
                    break 'devices;
                }
            }
        }
        Ok(page.finish())
    }

    /// A level of a device's tree: the items right below `parent`, or the topmost ones.
    ///
    /// An item's parent is the last of its `ParentID`s, else its business group, else its region, whichever of
    /// these the device's catalog lists first; an item for which it lists none is at the top, so that every
    /// item has a place. Takes one pass over the device's channels.
    pub fn level(
        &self,
        device: &Id,
        parent: Option<&Id>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Leaf>, BadCursor> {
        let after = cursor.map(Cursor::parse).transpose()?.and_then(|cursor| cursor.channel);
        let mut page = Collector::new(limit);
        let Some(entry) = self.devices.get(device) else { return Ok(page.finish()) };
        let mut children: HashMap<Id, u32> = HashMap::new();
        let mut parents = Parents::new(entry);
        for (id, slot) in entry.channels.iter().filter(|(_, slot)| slot.gone().is_none()) {
            let above = parents.of(*id, slot);
            if let Some(above) = above {
                *children.entry(above).or_default() += 1;
            }
            if above.as_ref() == parent {
                page.total += 1;
                if after.is_none_or(|after| *id > after) {
                    let here = Cursor { device: *device, channel: Some(*id) };
                    page.offer(here, || Leaf { state: entry.channel_state(*id, slot), children: 0 });
                }
            }
        }
        for leaf in &mut page.items {
            leaf.children = children.get(&leaf.state.channel.id).copied().unwrap_or(0);
        }
        Ok(page.finish())
    }

    fn count(&self, filter: ChannelFilter<'_>) -> u64 {
        match (filter.device, filter.online) {
            (Some(device), online) => {
                self.devices.get(&device).map_or(0, |entry| u64::from(entry.matching(online)))
            }
            (None, None) => self.totals.channels,
            (None, Some(true)) => self.totals.channels_online,
            (None, Some(false)) => self.totals.channels - self.totals.channels_online,
        }
    }

    /// One device, or all from `first` on.
    pub(super) fn entries(&self, only: Option<Id>, first: Option<Id>) -> Range<'_, Id, Box<Entry>> {
        let (from, to) = match (only, first) {
            (Some(only), _) => (Bound::Included(only), Bound::Included(only)),
            (None, Some(first)) => (Bound::Included(first), Bound::Unbounded),
            (None, None) => (Bound::Unbounded, Bound::Unbounded),
        };
        self.devices.range((from, to))
    }
}

impl Entry {
    pub(super) fn state(&self) -> DeviceState<'_> {
        DeviceState {
            device: &self.device,
            registration: self.registration.as_ref(),
            online: self.online(),
            last_seen: self.last_seen,
            channels: self.listed,
            channels_online: self.channels_online(),
            position: self.positions.get(&self.device.id).copied(),
        }
    }

    pub(super) fn channel_state(&self, id: Id, slot: &Slot) -> ChannelState {
        ChannelState {
            device: self.device.id,
            channel: self.unpack(id, slot),
            online: self.online() && slot.status,
            position: self.positions.get(&id).copied(),
        }
    }

    /// The record as it is kept.
    pub(super) fn unpack(&self, id: Id, slot: &Slot) -> Channel {
        let mut channel = slot.unpack(id);
        channel.bad_since = self.bad.get(&id).copied().flatten();
        channel
    }

    fn matching(&self, online: Option<bool>) -> u32 {
        match online {
            None => self.listed,
            Some(true) => self.channels_online(),
            Some(false) => self.listed - self.channels_online(),
        }
    }
}

impl Slot {
    fn in_region(&self, region: &str) -> bool {
        self.common.region.is_some_and(|own| own.as_str().starts_with(region))
    }
}

/// Finds the parents of a device's items. Neighbours mostly share theirs, so the last answer is remembered.
struct Parents<'a> {
    entry: &'a Entry,
    last: Option<(&'a Arc<Common>, Option<Id>)>,
}

impl<'a> Parents<'a> {
    fn new(entry: &'a Entry) -> Parents<'a> {
        Parents { entry, last: None }
    }

    fn of(&mut self, id: Id, slot: &'a Slot) -> Option<Id> {
        let found = match self.last {
            Some((common, found)) if Arc::ptr_eq(common, &slot.common) => found,
            _ => self.look_up(&slot.common),
        };
        self.last = Some((&slot.common, found));
        found.filter(|parent| *parent != id)
    }

    fn look_up(&self, common: &Common) -> Option<Id> {
        let listed = |id: &Id| self.entry.channels.get(id).is_some_and(|slot| slot.gone().is_none());
        common
            .parents
            .last()
            .copied()
            .filter(listed)
            .or_else(|| common.business_group.filter(listed))
            .or_else(|| common.region.filter(listed))
    }
}

/// Gathers one page and notices whether there is more.
pub(super) struct Collector<T, C = Cursor> {
    items: Vec<T>,
    limit: usize,
    last: Option<C>,
    more: bool,
    pub(super) total: u64,
}

impl<T, C: std::fmt::Display> Collector<T, C> {
    pub(super) fn new(limit: usize) -> Collector<T, C> {
        Collector { items: Vec::new(), limit: limit.clamp(1, MAX_PAGE), last: None, more: false, total: 0 }
    }

    /// Takes the item if there is room; false when the page is full.
    pub(super) fn offer(&mut self, here: C, item: impl FnOnce() -> T) -> bool {
        if self.items.len() >= self.limit {
            self.more = true;
            return false;
        }
        self.items.push(item());
        self.last = Some(here);
        true
    }

    pub(super) fn finish(self) -> Page<T> {
        let next = self.last.filter(|_| self.more).map(|cursor| cursor.to_string());
        Page { items: self.items, next, total: self.total }
    }
}

/// The place after an item. Opaque to callers: base64url of `device` or `device/channel`.
#[derive(Copy, Clone, Debug)]
pub(super) struct Cursor {
    pub(super) device: Id,
    pub(super) channel: Option<Id>,
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Result<Cursor, BadCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| BadCursor)?;
        let id = |text: &str| Id::parse(text).map_err(|_| BadCursor);
        match text.split_once('/') {
            Some((device, channel)) => Ok(Cursor { device: id(device)?, channel: Some(id(channel)?) }),
            None => Ok(Cursor { device: id(text)?, channel: None }),
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self.channel {
            Some(channel) => format!("{}/{channel}", self.device),
            None => self.device.to_string(),
        };
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

/// All keys beyond `after`.
pub(super) fn beyond(after: Option<Id>) -> (Bound<Id>, Bound<Id>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// A text to search for, ASCII letters in either case.
struct Needle {
    lower: Vec<u8>,
}

impl Needle {
    fn new(text: &str) -> Needle {
        Needle { lower: text.trim().to_ascii_lowercase().into_bytes() }
    }

    fn is_in(&self, id: &str, name: &str) -> bool {
        self.found(id.as_bytes()) || self.found(name.as_bytes())
    }

    fn found(&self, text: &[u8]) -> bool {
        let Some((&first, rest)) = self.lower.split_first() else { return true };
        text.iter().enumerate().any(|(at, byte)| {
            byte.to_ascii_lowercase() == first
                && text.get(at + 1..at + 1 + rest.len()).is_some_and(|text| text.eq_ignore_ascii_case(rest))
        })
    }
}
