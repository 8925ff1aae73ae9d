//! What a device does otherwise than the standard has it: noted when it is seen, kept now and then.

use std::time::{Duration, Instant};

use super::{Action, Devices, Event};
use crate::gb::conformance::{self, Rule};
use crate::gb::id::Id;
use crate::gb::time::Now;
use crate::registry::{Finding, Write};

/// How soon the count of what is seen again is written, at first and at last: the wait doubles as long as nothing new is
/// seen, since most devices break the same rules with every message.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LAST_WAIT: Duration = Duration::from_secs(3_600);
/// First sights that are written at once each second; the others within [`FIRST_WAIT`].
const SIGHTS_A_SECOND: u32 = 200;
/// Bytes of a sample that are kept here: it is in the memory of every device.
const SAMPLE: usize = 120;

/// The departures of one device: one for each rule at most, so it is bounded.
#[derive(Debug)]
pub(super) struct Findings {
    list: Vec<Finding>,
    write_at: Option<Instant>,
    wait: Duration,
}

impl Default for Findings {
    fn default() -> Findings {
        Findings { list: Vec::new(), write_at: None, wait: FIRST_WAIT }
    }
}

impl Findings {
    pub(super) fn all(&self) -> &[Finding] {
        &self.list
    }

    /// When they are written.
    pub(super) fn due(&self) -> Option<Instant> {
        self.write_at
    }

    /// Notes a departure; true if it is the first of its kind.
    fn note(&mut self, now: Now, rule: Rule, count: u32, sample: &str) -> bool {
        let sample = sample.get(..sample.floor_char_boundary(SAMPLE)).unwrap_or_default();
        match self.list.iter_mut().find(|finding| finding.rule == rule) {
            Some(finding) => {
                finding.last = now.unix;
                finding.count = finding.count.saturating_add(count.into());
                if finding.sample != sample {
                    sample.clone_into(&mut finding.sample);
                }
                false
            }
            None => {
                self.list.push(Finding { count: count.into(), ..Finding::new(rule, now.unix, sample) });
                true
            }
        }
    }
}

/// What the registry knew of a device.
pub(super) fn restored(findings: &[Finding]) -> Option<Box<Findings>> {
    let list = findings.to_vec();
    (!list.is_empty()).then(|| Box::new(Findings { list, ..Findings::default() }))
}

impl Devices {
    /// Takes note of a departure that somebody saw: calls, media, the registrar, or this room itself.
    pub fn observe(&mut self, now: Now, device: &Id, rule: Rule, sample: &str) {
        self.observe_counted(now, *device, rule, 1, sample);
    }

    pub(super) fn observe_counted(&mut self, now: Now, device: Id, rule: Rule, count: u32, sample: &str) {
        let Some(entry) = self.entries.get_mut(&device) else { return };
        let findings = entry.findings.get_or_insert_default();
        let first = findings.note(now, rule, count, sample);
        if first {
            findings.wait = FIRST_WAIT;
        } else if findings.write_at.is_some() {
            return;
        }
        let at_once = first && self.may_write_at_once(now);
        let Some(findings) = self.entries.get_mut(&device).and_then(|entry| entry.findings.as_mut()) else {
            return;
        };
        if at_once {
            findings.write_at = None;
            let findings = findings.list.clone();
            self.write(Write::PutFindings { device, findings });
        } else {
            let soon = now.instant + findings.wait;
            findings.write_at = Some(findings.write_at.map_or(soon, |at| at.min(soon)));
        }
        if first {
            let sample = conformance::clip(sample);
            self.actions.push_back(Action::Event(Event::Departure { device, rule, sample }));
            // A profile may know devices by what they do.
            self.learn_manners(device);
        }
        self.set_timer(device);
    }

    pub(super) fn findings_timeout(&mut self, now: Now, device: Id) {
        let Some(findings) = self.entries.get_mut(&device).and_then(|entry| entry.findings.as_mut()) else {
            return;
        };
        if findings.write_at.is_some_and(|at| at <= now.instant) {
            findings.write_at = None;
            findings.wait = (findings.wait * 2).min(LAST_WAIT);
            let findings = findings.list.clone();
            self.write(Write::PutFindings { device, findings });
        }
    }

    fn may_write_at_once(&mut self, now: Now) -> bool {
        let (since, count) = match self.sights {
            (Some(since), count) if now.instant < since + Duration::from_secs(1) => (since, count),
            _ => (now.instant, 0),
        };
        self.sights = (Some(since), count.saturating_add(1));
        count < SIGHTS_A_SECOND
    }
}
