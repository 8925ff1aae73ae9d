//! What happens at a device by itself: alarms, changes of its catalog, being driven about.

use std::time::{Duration, Instant};

use super::state::Condition;
use super::{Device, Purpose};
use crate::gb::id::Id;
use crate::gb::manscdp::{CatalogEvent, CatalogItem, Edition, Root, write};
use crate::gb::time::{Now, gb_seconds};
use crate::gb::xml::Writer;
use crate::simulator::quirks::Quirk;
use crate::simulator::settings::{Settings, ZONE};

/// An alarm of the round: method, type, event, description.
type Kind = (u8, Option<u16>, Option<u8>, &'static str);

/// The alarms that a device raises in turn.
const ROUND: [Kind; 4] = [
    (5, Some(2), None, "移动侦测"),
    (2, None, None, "报警输入"),
    (5, Some(6), Some(1), "区域入侵"),
    (6, Some(1), None, "存储设备磁盘故障"),
];
/// Alarms of one that repeats itself.
const REPETITIONS: u32 = 3;
/// Seconds of a round trip, and its size in degrees.
const ROUND_TRIP: i64 = 600;
const DISTANCE: f64 = 0.01;
/// Channels told of in the first NOTIFY of a catalog subscription.
const MAX_ABNORMAL: usize = 100;

/// Which alarms come next.
pub(super) struct Alarms {
    next_at: Option<Instant>,
    position_at: Option<Instant>,
    catalog_at: Option<Instant>,
    raised: u64,
    changes: u64,
    /// A device alarm (method 2) was raised and not reset: the next one waits.
    open: bool,
}

impl Alarms {
    pub(super) fn new(settings: &Settings, begin: Instant) -> Alarms {
        let first = |every: Option<Duration>| every.map(|every| begin + every);
        Alarms {
            next_at: first(settings.alarm_every),
            position_at: first(settings.position_every),
            catalog_at: first(settings.catalog_every),
            raised: 0,
            changes: 0,
            open: false,
        }
    }

    /// The platform has taken note.
    pub(super) fn reset(&mut self) {
        self.open = false;
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.next_at, self.position_at, self.catalog_at].into_iter().flatten().min()
    }
}

impl Device {
    pub(super) fn happenings(&mut self, now: Now) {
        let due = |at: &mut Option<Instant>, every: Option<Duration>| {
            let due = at.is_some_and(|at| at <= now.instant);
            if due {
                *at = every.map(|every| now.instant + every);
            }
            due
        };
        let every = (self.settings.alarm_every, self.settings.position_every, self.settings.catalog_every);
        let alarm = due(&mut self.alarms.next_at, every.0);
        let position = due(&mut self.alarms.position_at, every.1);
        let change = due(&mut self.alarms.catalog_at, every.2);
        if !self.registration.registered {
            return;
        }
        if alarm {
            self.raise(now);
        }
        if position {
            let text = self.position(now, self.id);
            self.announce(now, &text);
        }
        if change {
            self.change(now);
        }
    }

    /// Raises the next alarm, where the device is on guard: by NOTIFY to those who subscribed, else by MESSAGE.
    fn raise(&mut self, now: Now) {
        let kind = ROUND[(self.alarms.raised % ROUND.len() as u64) as usize];
        let channel = self.population.channel(self.alarms.raised % self.population.channels.max(1));
        self.alarms.raised += 1;
        let (method, ..) = kind;
        let source = match method {
            2 => self.population.alarm_input(),
            6 => self.id,
            _ => channel,
        };
        let guarded = self.states.entry(source).or_default().guarded;
        // 9.4: after an alarm of method 2, no other before it is reset.
        if (method == 2 && self.alarms.open) || (!guarded && method != 6) {
            return;
        }
        self.alarms.open |= method == 2;
        let times = if self.settings.has(Quirk::RepeatedAlarms) { REPETITIONS } else { 1 };
        for _ in 0..times {
            let sn = self.next_sn();
            let time = gb_seconds(self.clock(now), ZONE);
            let text = write::body(Root::Notify, "Alarm", sn, &source, |w| write_alarm(w, &time, kind));
            if !self.notify(now, "Alarm", &text) {
                self.message(now, &text, Purpose::Other);
            }
        }
    }

    /// Where the device is: on a round trip.
    pub(super) fn position(&mut self, now: Now, target: Id) -> String {
        let part = now.unix.seconds().rem_euclid(ROUND_TRIP) as f64 / ROUND_TRIP as f64;
        let angle = part * std::f64::consts::TAU;
        let (longitude, latitude) = (117.0 + DISTANCE * angle.cos(), 31.8 + DISTANCE * angle.sin());
        let time = gb_seconds(self.clock(now), ZONE);
        let is_2022 = self.settings.edition == Edition::E2022;
        let sn = self.next_sn();
        let place = |w: &mut Writer| {
            w.field("Longitude", &format!("{longitude:.6}"));
            w.field("Latitude", &format!("{latitude:.6}"));
            w.field("Speed", "36.0");
            w.field("Direction", &format!("{:.1}", (360.0 - part * 360.0).rem_euclid(360.0)));
            w.field("Altitude", "20.0");
        };
        write::body(Root::Notify, "MobilePosition", sn, &target, |w| {
            w.field("Time", &time);
            if !is_2022 {
                return place(w);
            }
            w.value("SumNum", 1);
            w.element("DeviceList", &[("Num", "1")], |w| {
                w.element("Item", &[], |w| {
                    w.field("DeviceID", target.as_str());
                    w.field("CaptureTime", &time);
                    place(w);
                    w.field("Height", "2.0");
                });
            });
        })
    }

    /// The next change of the catalog: the first channel goes off and comes back in each of the ways, is renamed; the
    /// last one is taken out and added again.
    fn change(&mut self, now: Now) {
        use CatalogEvent::{Add, Defect, Delete, Off, On, Update, VideoLost};
        let round = [Off, On, VideoLost, On, Defect, On, Update, Delete, Add];
        let event = round[(self.alarms.changes % round.len() as u64) as usize];
        self.alarms.changes += 1;
        let last = self.population.channels.saturating_sub(1);
        let channel = if matches!(event, Delete | Add) { last } else { 0 };
        let mut item = self.population.camera(channel);
        let renamed = format!("{} 改名 {}", item.name, self.alarms.changes);
        let state = self.states.entry(item.id).or_default();
        match event {
            Off | VideoLost | Defect => state.condition = Condition::Off,
            On | Add => state.condition = Condition::On,
            Delete => state.condition = Condition::Gone,
            Update => state.name = Some(renamed),
        }
        if let Some(name) = &state.name {
            item.name.clone_from(name);
        }
        item.event = Some(event);
        let text = self.catalog_notify(&[item]);
        self.notify(now, "Catalog", &text);
    }

    fn catalog_notify(&mut self, items: &[CatalogItem]) -> String {
        let sn = self.next_sn();
        let edition = self.settings.edition;
        if !self.settings.has(Quirk::ResponseNotify) {
            return write::notify_catalog(sn, &self.id, items, edition);
        }
        // The form of 2011: whole items without an event, whose Status says it.
        let items: Vec<CatalogItem> = items
            .iter()
            .map(|item| {
                let on =
                    matches!(item.event, Some(CatalogEvent::On | CatalogEvent::Add | CatalogEvent::Update));
                CatalogItem { event: None, status: Some(on), ..item.clone() }
            })
            .collect();
        write::response_catalog(sn, &self.id, items.len(), &items, edition)
    }

    /// What a new subscriber to the catalog is told: all that is not as it should be.
    pub(super) fn abnormal(&mut self) -> String {
        let off = |(_, state): &(&Id, &super::state::State)| state.condition == Condition::Off;
        let ids: Vec<Id> = self.states.iter().filter(off).map(|(id, _)| *id).take(MAX_ABNORMAL).collect();
        let items: Vec<CatalogItem> = ids
            .iter()
            .filter_map(|id| Some(self.population.camera(self.population.position(id)?)))
            .map(|item| CatalogItem { event: Some(CatalogEvent::Off), ..item })
            .collect();
        self.catalog_notify(&items)
    }
}

fn write_alarm(w: &mut Writer, time: &str, (method, kind, event, description): Kind) {
    w.value("AlarmPriority", if method == 5 { 3 } else { 1 });
    w.value("AlarmMethod", method);
    w.field("AlarmTime", time);
    w.field("AlarmDescription", description);
    w.field("Longitude", "117.0");
    w.field("Latitude", "31.8");
    if let Some(kind) = kind {
        w.element("Info", &[], |w| {
            w.value("AlarmType", kind);
            if let Some(event) = event {
                w.element("AlarmTypeParam", &[], |w| w.value("EventType", event));
            }
        });
    }
}
