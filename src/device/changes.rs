//! Changes of a catalog between two syncs (clause 9.11.4): by NOTIFY, by a notify in a MESSAGE, and in the older form of a
//! response that nobody asked for.

use super::{Action, Devices, SYNC_RETRY_AFTER};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, CatalogEvent, CatalogItem, CatalogPage};
use crate::gb::time::Now;
use crate::registry::{Channel, Write};

impl Devices {
    /// Applies the changes in their order.
    pub(super) fn catalog_changed(&mut self, now: Now, device: Id, body: &manscdp::Message) {
        let (mut writes, mut untold) = (Vec::new(), false);
        for item in CatalogPage::read(body).items {
            let mut change = Change::of(item);
            if let Change::Untold(id, status) = change {
                untold = true;
                change = status.map_or(Change::Nothing, |status| Change::Status(id, status));
            }
            // A catalog that is coming in may be of before the change.
            let sync = self.entries.get_mut(&device).and_then(|entry| entry.sync.as_mut());
            if let Some(sync) = sync {
                sync.changed(&change);
            }
            change.append(now, device, &mut writes);
        }
        if !writes.is_empty() {
            self.actions.push_back(Action::Write { token: None, writes });
        }
        if untold && let Some(entry) = self.entries.get_mut(&device) {
            // After a while, so that many changes are one question.
            entry.retry_at.get_or_insert(now.instant + SYNC_RETRY_AFTER);
            self.set_timer(device);
        }
    }
}

/// A change of one item.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Status(Id, bool),
    Put(Box<Channel>),
    Gone(Id),
    /// It changed, and all that is told is its status, perhaps.
    Untold(Id, Option<bool>),
    Nothing,
}

impl Change {
    fn of(item: CatalogItem) -> Change {
        match item.event {
            Some(CatalogEvent::On) => Change::Status(item.id, true),
            Some(CatalogEvent::Off | CatalogEvent::VideoLost | CatalogEvent::Defect) => {
                Change::Status(item.id, false)
            }
            Some(CatalogEvent::Delete) => Change::Gone(item.id),
            // One that leaves out the name leaves out what else there is: the old stays, and the whole is asked for.
            Some(CatalogEvent::Update) if item.name.is_empty() => Change::Untold(item.id, item.status),
            Some(CatalogEvent::Add | CatalogEvent::Update) => Change::Put(Box::new(Channel::from(item))),
            // Before 2016 a change was the whole item.
            None if !item.name.is_empty() => Change::Put(Box::new(Channel::from(item))),
            None => match item.status {
                Some(status) => Change::Status(item.id, status),
                None => Change::Nothing,
            },
        }
    }

    /// As a write; neighbours of a kind become one.
    fn append(self, now: Now, device: Id, writes: &mut Vec<Write>) {
        match (self, writes.last_mut()) {
            (Change::Status(channel, status), _) => {
                writes.push(Write::SetChannelStatus { device, channel, status, at: now.unix });
            }
            (Change::Put(channel), Some(Write::MergeCatalog { channels, .. })) => channels.push(*channel),
            (Change::Put(channel), _) => {
                let channels = vec![*channel];
                writes.push(Write::MergeCatalog { device, channels, complete: false, at: now.unix });
            }
            (Change::Gone(channel), Some(Write::RemoveChannels { channels, .. })) => channels.push(channel),
            (Change::Gone(channel), _) => {
                writes.push(Write::RemoveChannels { device, channels: vec![channel] });
            }
            (Change::Untold(..) | Change::Nothing, _) => {}
        }
    }
}
