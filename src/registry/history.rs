//! Alarms and the audit in memory: lists with an end, from the newest back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::Index;
use super::journal::{Alarm, Audit};
use super::model::clip;
use super::query::{BadCursor, Collector, Page};
use super::slot::Interner;
use super::stamp::{AlarmId, AuditId};
use super::{MAX_ALARMS, MAX_AUDIT};
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;

/// Which alarms to list; the default is all.
#[derive(Copy, Clone, Debug, Default)]
pub struct AlarmFilter {
    pub device: Option<Id>,
    pub channel: Option<Id>,
    pub acknowledged: Option<bool>,
    /// Received then or later.
    pub since: Option<UnixMillis>,
}

/// Which records of the audit to list; the default is all.
#[derive(Copy, Clone, Debug, Default)]
pub struct AuditFilter<'a> {
    pub user: Option<&'a str>,
    pub device: Option<Id>,
    pub channel: Option<Id>,
    /// An action, or all of a family: `control` has `control.reboot`.
    pub action: Option<&'a str>,
    pub since: Option<UnixMillis>,
}

#[derive(Debug, Default)]
pub(super) struct History {
    alarms: BTreeMap<AlarmId, Alarm>,
    /// Those of them that nobody has acknowledged.
    open: u64,
    audit: BTreeMap<AuditId, Packed>,
    interner: Interner<Act>,
}

/// A record of the audit, with its repeating part shared.
#[derive(Debug)]
struct Packed {
    act: Arc<Act>,
    at: UnixMillis,
    device: Option<Id>,
    channel: Option<Id>,
    detail: Box<str>,
}

/// What many records share: one person does the same thing many times.
#[derive(Debug, Eq, PartialEq, Hash)]
struct Act {
    user: Box<str>,
    role: Box<str>,
    from: Box<str>,
    action: Box<str>,
    outcome: Box<str>,
}

impl History {
    pub(super) fn put_alarm(&mut self, alarm: &Alarm) {
        self.open += u64::from(alarm.acknowledged.is_none());
        let old = self.alarms.insert(alarm.id, alarm.clone().clipped());
        let forgotten = if self.alarms.len() > MAX_ALARMS { self.alarms.pop_first() } else { None };
        for lost in old.into_iter().chain(forgotten.map(|(_, alarm)| alarm)) {
            self.open -= u64::from(lost.acknowledged.is_none());
        }
    }

    pub(super) fn put_audit(&mut self, record: &Audit) {
        let text = |text: &str| Box::from(clip(text));
        let act = self.interner.intern(Act {
            user: text(&record.user),
            role: text(&record.role),
            from: text(&record.from),
            action: text(&record.action),
            outcome: text(&record.outcome),
        });
        let packed = Packed {
            act,
            at: record.at,
            device: record.device,
            channel: record.channel,
            detail: text(&record.detail),
        };
        self.audit.insert(record.id, packed);
        if self.audit.len() > MAX_AUDIT {
            self.audit.pop_first();
        }
    }
}

impl Packed {
    fn unpack(&self, id: AuditId) -> Audit {
        let act = &*self.act;
        Audit {
            id,
            at: self.at,
            user: act.user.as_ref().into(),
            role: act.role.as_ref().into(),
            from: act.from.as_ref().into(),
            action: act.action.as_ref().into(),
            device: self.device,
            channel: self.channel,
            detail: self.detail.as_ref().into(),
            outcome: act.outcome.as_ref().into(),
        }
    }

    fn fits(&self, filter: &AuditFilter<'_>) -> bool {
        filter.device.is_none_or(|device| self.device == Some(device))
            && filter.channel.is_none_or(|channel| self.channel == Some(channel))
            && filter.user.is_none_or(|user| *self.act.user == *user)
            && filter.action.is_none_or(|action| {
                let rest = self.act.action.strip_prefix(action);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
    }
}

impl AlarmFilter {
    fn fits(&self, alarm: &Alarm) -> bool {
        self.device.is_none_or(|device| alarm.device == device)
            && self.channel.is_none_or(|channel| alarm.channel == channel)
            && self.acknowledged.is_none_or(|wanted| alarm.acknowledged.is_some() == wanted)
    }

    /// How many alarms fit, where that is known without a look at them.
    fn known(&self, history: &History) -> Option<u64> {
        let all = history.alarms.len() as u64;
        match (self.device, self.channel, self.since, self.acknowledged) {
            (None, None, None, None) => Some(all),
            (None, None, None, Some(true)) => Some(all - history.open),
            (None, None, None, Some(false)) => Some(history.open),
            _ => None,
        }
    }
}

impl Index {
    pub fn alarm(&self, id: AlarmId) -> Option<&Alarm> {
        self.history.alarms.get(&id)
    }

    /// Alarms that nobody has acknowledged.
    pub fn open_alarms(&self) -> u64 {
        self.history.open
    }

    /// A page of alarms, the newest first. `limit` is kept between 1 and [`super::MAX_PAGE`].
    ///
    /// Takes one pass over the alarms since `since`; without a filter, the time of the page alone.
    pub fn alarms(
        &self,
        filter: AlarmFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<&Alarm>, BadCursor> {
        let known = filter.known(&self.history);
        let first = AlarmId::first_at(filter.since.unwrap_or_default());
        let fits = |alarm: &Alarm| filter.fits(alarm);
        newest_first(
            &self.history.alarms,
            (first, AlarmId(u64::MAX)),
            known,
            fits,
            cursor,
            limit,
            |_, alarm| alarm,
        )
    }

    /// A page of the audit, the newest first. `limit` is kept between 1 and [`super::MAX_PAGE`].
    ///
    /// Takes one pass over the records since `since`; without a filter, the time of the page alone.
    pub fn audit(
        &self,
        filter: AuditFilter<'_>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Audit>, BadCursor> {
        let AuditFilter { user, device, channel, action, since } = filter;
        let all =
            user.is_none() && device.is_none() && channel.is_none() && action.is_none() && since.is_none();
        let known = all.then_some(self.history.audit.len() as u64);
        let first = AuditId::first_at(since.unwrap_or_default());
        let fits = |packed: &Packed| packed.fits(&filter);
        newest_first(
            &self.history.audit,
            (first, AuditId(u64::MAX)),
            known,
            fits,
            cursor,
            limit,
            |id, packed| packed.unpack(id),
        )
    }

    /// Every alarm and every record of the audit, from the oldest on: what a store hands over to another.
    pub fn histories(&self) -> (impl Iterator<Item = &Alarm>, impl Iterator<Item = Audit>) {
        let audit = self.history.audit.iter().map(|(id, packed)| packed.unpack(*id));
        (self.history.alarms.values(), audit)
    }
}

/// A page of what fits, from the end back. The cursor is the identifier of the last item of a page. Where the
/// total is `known`, no look is taken at what comes after the page.
fn newest_first<'a, K, V, T>(
    kept: &'a BTreeMap<K, V>,
    (first, last): (K, K),
    known: Option<u64>,
    fits: impl Fn(&V) -> bool,
    cursor: Option<&str>,
    limit: usize,
    item: impl Fn(K, &'a V) -> T,
) -> Result<Page<T>, BadCursor>
where
    K: Copy + Ord + std::fmt::Display + std::str::FromStr,
{
    let before = cursor.map(str::parse::<K>).transpose().map_err(|_| BadCursor)?;
    let mut page = Collector::new(limit);
    page.total = known.unwrap_or(0);
    let last = before.filter(|_| known.is_some()).unwrap_or(last);
    if first > last {
        return Ok(page.finish());
    }
    for (id, value) in kept.range(first..=last).rev().filter(|(_, value)| fits(value)) {
        page.total += u64::from(known.is_none());
        if before.is_some_and(|before| *id >= before) {
            continue;
        }
        if !page.offer(*id, || item(*id, value)) && known.is_some() {
            break;
        }
    }
    Ok(page.finish())
}
