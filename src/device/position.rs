//! Where things are (MobilePosition, PTZPosition): every report is told, and the last place of each is kept now and then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Action, Devices, Event};
use crate::gb::id::Id;
use crate::gb::manscdp::answer::PtzPosition;
use crate::gb::manscdp::{self, MobilePosition};
use crate::gb::time::Now;
use crate::registry::Write;

/// The place of one channel is written no more often than this.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Channels whose last write is remembered, of all devices together: beyond that, those that are new wait until others
/// have been silent for a while.
const MAX_REMEMBERED: usize = 65_536;
/// Positions taken from one message.
const MAX_POSITIONS: usize = 1_000;

/// When the place of a channel was last written.
#[derive(Debug, Default)]
pub(super) struct Positions {
    written: HashMap<(Id, Id), Instant>,
    cleared: Option<Instant>,
}

impl Positions {
    /// Whether to write now.
    fn is_due(&mut self, now: Now, of: (Id, Id)) -> bool {
        let fresh = |at: &Instant| now.instant < *at + WRITE_EVERY;
        if self.written.get(&of).is_some_and(fresh) {
            return false;
        }
        // Looking at all of them once a minute at most keeps the cost of a report constant.
        if self.written.len() >= MAX_REMEMBERED && !self.cleared.as_ref().is_some_and(fresh) {
            self.written.retain(|_, at| fresh(at));
            self.cleared = Some(now.instant);
        }
        let room = self.written.len() < MAX_REMEMBERED || self.written.contains_key(&of);
        if room {
            self.written.insert(of, now.instant);
        }
        room
    }
}

impl Devices {
    /// MobilePosition, by NOTIFY or unasked.
    pub(super) fn moved(&mut self, now: Now, device: Id, body: &manscdp::Message) {
        let about = body.device_id.unwrap_or(device);
        let mut writes = Vec::new();
        for position in MobilePosition::read(body, self.settings.offset).into_iter().take(MAX_POSITIONS) {
            let channel = position.id.unwrap_or(about);
            if self.positions.is_due(now, (device, channel)) {
                let (longitude, latitude) = (position.longitude, position.latitude);
                let at = position.at.unwrap_or(now.unix);
                writes.push(Write::SetPosition { device, channel, longitude, latitude, at });
            }
            self.actions.push_back(Action::Event(Event::Position { device, channel, position }));
        }
        if !writes.is_empty() {
            self.actions.push_back(Action::Write { token: None, writes });
        }
    }

    /// PTZPosition, by NOTIFY.
    pub(super) fn turned(&mut self, device: Id, body: &manscdp::Message) {
        let (channel, position) = (body.device_id.unwrap_or(device), PtzPosition::read(body));
        self.actions.push_back(Action::Event(Event::PtzPosition { device, channel, position }));
    }
}
