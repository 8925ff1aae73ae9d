//! Alarms (clause 9.4), told by devices and raised by people: one for what comes again and again, acknowledged to the
//! device once it is kept, reset on demand.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ask::Owner;
use super::inbox::Reply;
use super::{Action, Devices, Event, Failure, Outcome, Pending, Purpose, Raise, Waiter};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, Control, write};
use crate::gb::time::{Now, UnixMillis};
use crate::registry::{Acknowledged, Alarm, AlarmId, Write, clip};
use crate::sip::{Message, ServerKey};

/// Alarms of one device that are remembered, to know one that comes again.
const MAX_RECENT: usize = 16;
/// Alarms of one source that are no further apart than this by the device's clock are one: told by NOTIFY and by
/// MESSAGE, told again, or each second while it lasts.
const SAME_WITHIN_MS: i64 = 3_000;
/// Alarms that one device may tell within [`WINDOW`]; the rest are refused, so that one that has gone mad does not drive
/// out the alarms of all others.
const MAX_IN_WINDOW: u32 = 6_000;
const WINDOW: Duration = Duration::from_secs(60);

/// What is remembered of a device's alarms.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// The newest last.
    recent: VecDeque<Recent>,
    /// Since when how many came.
    window: Option<(Instant, u32)>,
}

#[derive(Debug)]
struct Recent {
    alarm: Alarm,
    /// The time that it had the last time it came, by the device's clock.
    told: UnixMillis,
}

impl Recent {
    fn is_same(&self, alarm: &Alarm) -> bool {
        let old = &self.alarm;
        let near = self.told.0.abs_diff(alarm.at.0) <= SAME_WITHIN_MS.unsigned_abs();
        near && old.reset_at.is_none()
            && (old.channel, old.method, old.kind, old.event)
                == (alarm.channel, alarm.method, alarm.kind, alarm.event)
            && old.description == alarm.description
            && old.raised_by == alarm.raised_by
    }
}

impl Alarms {
    /// Whether one more may come now.
    fn admits(&mut self, now: Now) -> bool {
        let (since, count) = match self.window {
            Some((since, count)) if now.instant < since + WINDOW => (since, count),
            _ => (now.instant, 0),
        };
        self.window = Some((since, count.saturating_add(1)));
        count < MAX_IN_WINDOW
    }

    /// The alarm as it is to be kept, and whether it is a repetition.
    fn merge(&mut self, now: Now, alarm: Alarm) -> (Alarm, bool) {
        let told = alarm.at;
        if let Some(recent) = self.recent.iter_mut().rev().find(|recent| recent.is_same(&alarm)) {
            recent.told = told.max(recent.told);
            recent.alarm.count = recent.alarm.count.saturating_add(1);
            recent.alarm.last_at = now.unix;
            return (recent.alarm.clone(), true);
        }
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { alarm: alarm.clone(), told });
        (alarm, false)
    }

    fn get_mut(&mut self, id: AlarmId) -> Option<&mut Alarm> {
        self.recent.iter_mut().map(|recent| &mut recent.alarm).find(|alarm| alarm.id == id)
    }
}

/// An alarm that waits to be kept.
pub(super) struct Telling {
    alarm: Alarm,
    /// What others are told of it; `None`: nothing, since it is only acknowledged or reset.
    news: Option<bool>,
    /// The device's request, to be answered then.
    request: Option<(ServerKey, Message)>,
    /// The device's own SN, for the response of our own.
    sn: Option<u32>,
    waiter: Option<Waiter>,
}

impl Devices {
    /// An alarm of a device. It is acknowledged twice: the request by its 200, the alarm by a response of our own
    /// (clause 9.4); both once the registry has it.
    pub(super) fn alarm(&mut self, now: Now, device: Id, body: &manscdp::Message, reply: Reply<'_>) {
        let offset = self.settings.offset;
        let told = manscdp::Alarm::read(body, offset);
        let channel = body.device_id.unwrap_or(device);
        let id = AlarmId(self.stamps.next(now.unix));
        let Some(entry) = self.entries.get_mut(&device) else { return };
        let alarms = entry.alarms.get_or_insert_default();
        if !alarms.admits(now) {
            return self.unavailable(reply.key, reply.request);
        }
        let alarm = Alarm {
            priority: told.priority.unwrap_or(0),
            method: told.method.unwrap_or(0),
            kind: told.kind,
            event: told.event_type,
            description: told.description.as_deref().map(|text| clip(text).to_owned()),
            longitude: told.longitude,
            latitude: told.latitude,
            ..Alarm::new(id, device, channel, told.time.unwrap_or(now.unix), now.unix)
        };
        let (alarm, repeated) = alarms.merge(now, alarm);
        // One that is refused for want of a subscription is refused at once, and kept all the same.
        let request = if reply.code == 200 {
            Some((reply.key, reply.request.clone()))
        } else {
            self.respond(reply.key, reply.request.response(reply.code));
            None
        };
        self.keep_alarm(Telling { alarm, news: Some(repeated), request, sn: Some(body.sn), waiter: None });
    }

    fn keep_alarm(&mut self, telling: Telling) {
        let writes = vec![Write::PutAlarm(telling.alarm.clone())];
        let token = self.write_token(Pending::Alarm(Box::new(telling)));
        self.actions.push_back(Action::Write { token: Some(token), writes });
    }

    /// The fate of an alarm.
    pub(super) fn alarm_kept(&mut self, telling: Telling, kept: bool) {
        let Telling { alarm, news, request, sn, waiter } = telling;
        match request {
            Some((key, request)) if kept => self.respond(key, request.response(200)),
            Some((key, request)) => self.unavailable(key, &request),
            None => {}
        }
        if let Some(waiter) = waiter {
            let outcome =
                if kept { Ok(Outcome::Alarm(Box::new(alarm.clone()))) } else { Err(Failure::NotKept) };
            self.tell(waiter, outcome);
        }
        if !kept {
            return;
        }
        if let Some(sn) = sn {
            let answer = write::response_ok("Alarm", sn, &alarm.channel, true);
            self.send(&alarm.device, &alarm.device, Purpose::Notice, &answer);
        }
        if let Some(repeated) = news {
            self.actions.push_back(Action::Event(Event::Alarm { alarm: Box::new(alarm), repeated }));
        }
    }

    /// An alarm that a person raises.
    pub(super) fn raise(
        &mut self,
        now: Now,
        waiter: Waiter,
        device: Id,
        channel: Id,
        raise: Raise,
    ) -> Result<(), Failure> {
        let within = |name: &str, value: u8, most: u8| match value {
            0 => Err(Failure::Invalid(format!("{name} is 1 to {most}"))),
            value if value > most => Err(Failure::Invalid(format!("{name} is 1 to {most}"))),
            _ => Ok(()),
        };
        within("priority", raise.priority, 4)?;
        within("method", raise.method, 7)?;
        let id = AlarmId(self.stamps.next(now.unix));
        let entry = self.entries.get_mut(&device).ok_or(Failure::NotFound)?;
        let alarms = entry.alarms.get_or_insert_default();
        if !alarms.admits(now) {
            return Err(Failure::Busy);
        }
        let alarm = Alarm {
            priority: raise.priority,
            method: raise.method,
            kind: raise.kind,
            event: raise.event,
            description: raise.description.as_deref().map(|text| clip(text).to_owned()),
            longitude: raise.longitude.filter(|degrees| degrees.is_finite()),
            latitude: raise.latitude.filter(|degrees| degrees.is_finite()),
            raised_by: Some(clip(&raise.by).to_owned()),
            ..Alarm::new(id, device, channel, now.unix, now.unix)
        };
        let (alarm, repeated) = alarms.merge(now, alarm);
        self.keep_alarm(Telling {
            alarm,
            news: Some(repeated),
            request: None,
            sn: None,
            waiter: Some(waiter),
        });
        Ok(())
    }

    /// Somebody has taken notice of an alarm.
    pub(super) fn acknowledge(&mut self, now: Now, waiter: Waiter, alarm: Alarm, by: &str) {
        let by = clip(by).to_owned();
        self.change_alarm(waiter, alarm, |alarm| {
            alarm.acknowledged = Some(Acknowledged { by: by.clone(), at: now.unix });
        });
    }

    /// Resets an alarm at the device. One that a person raised is known to nobody else.
    pub(super) fn reset(
        &mut self,
        now: Now,
        waiter: Waiter,
        device: Id,
        alarm: Box<Alarm>,
    ) -> Result<(), Failure> {
        if alarm.raised_by.is_some() {
            self.was_reset(now, waiter, *alarm);
            return Ok(());
        }
        let control =
            Control::AlarmReset { method: Some(alarm.method).filter(|method| *method > 0), kind: alarm.kind };
        let target = alarm.channel;
        self.ask_control(now, device, target, &control, Owner::Reset { waiter, alarm })
    }

    /// The device has reset an alarm.
    pub(super) fn was_reset(&mut self, now: Now, waiter: Waiter, alarm: Alarm) {
        self.change_alarm(waiter, alarm, |alarm| alarm.reset_at = Some(now.unix));
    }

    /// Changes an alarm. What is remembered here is newer than what was read from the registry a moment ago.
    fn change_alarm(&mut self, waiter: Waiter, mut alarm: Alarm, change: impl Fn(&mut Alarm)) {
        let entry = self.entries.get_mut(&alarm.device);
        let own = entry.and_then(|entry| entry.alarms.as_mut()).and_then(|alarms| alarms.get_mut(alarm.id));
        match own {
            Some(own) => {
                change(own);
                alarm = own.clone();
            }
            None => change(&mut alarm),
        }
        self.keep_alarm(Telling { alarm, news: None, request: None, sn: None, waiter: Some(waiter) });
    }
}
