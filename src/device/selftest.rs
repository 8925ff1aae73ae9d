//! The self-test: asks a device for all that it should be able to tell, one after the other, and says what each answer
//! was worth. What departs from the standard in the answers is noted as with any other.

use std::time::Instant;

use super::ask::Owner;
use super::{Devices, Failure, Outcome, Step, Synced, Waiter};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::{Answer, ConfigKind, DeviceStatus, Query, RecordQuery};
use crate::gb::time::{Now, UnixMillis};

/// How far a device's clock may be off (clause 9.10 has a device set it at each registration).
const CLOCK_OFF_MS: i64 = 5_000;
/// The span in which recordings are looked for.
const RECORDS_MS: i64 = 3_600_000;

/// What is asked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Info,
    Status,
    Catalog,
    Records,
    Config,
    Presets,
    HomePosition,
    PtzPosition,
    SdCards,
}

impl Question {
    const ALL: [Question; 9] = [
        Question::Info,
        Question::Status,
        Question::Catalog,
        Question::Records,
        Question::Config,
        Question::Presets,
        Question::HomePosition,
        Question::PtzPosition,
        Question::SdCards,
    ];

    fn name(self) -> &'static str {
        match self {
            Question::Info => "device_info",
            Question::Status => "device_status",
            Question::Catalog => "catalog",
            Question::Records => "records",
            Question::Config => "config",
            Question::Presets => "presets",
            Question::HomePosition => "home_position",
            Question::PtzPosition => "ptz_position",
            Question::SdCards => "sd_cards",
        }
    }

    /// `None`: it is not asked by a query of its own.
    fn query(self, now: Now) -> Option<Query> {
        Some(match self {
            Question::Info => Query::DeviceInfo,
            Question::Status => Query::DeviceStatus,
            Question::Catalog => return None,
            Question::Records => {
                let start = UnixMillis(now.unix.0.saturating_sub(RECORDS_MS));
                Query::Records(RecordQuery::new(start, now.unix))
            }
            Question::Config => Query::Config(vec![ConfigKind::BasicParam]),
            Question::Presets => Query::Presets,
            Question::HomePosition => Query::HomePosition,
            Question::PtzPosition => Query::PtzPosition,
            Question::SdCards => Query::SdCards,
        })
    }

    /// Whether it is about a channel rather than the whole device.
    fn of_channel(self) -> bool {
        matches!(self, Question::Records | Question::Presets | Question::HomePosition | Question::PtzPosition)
    }
}

/// A test under way.
#[derive(Debug)]
pub(super) struct SelfTest {
    waiter: Waiter,
    /// The channel that was named, or one of the catalog.
    channel: Option<Id>,
    next: usize,
    /// What waits for its answer, and since when.
    asking: Option<(Question, Instant)>,
    steps: Vec<Step>,
}

impl Devices {
    pub(super) fn begin_test(
        &mut self,
        now: Now,
        waiter: Waiter,
        device: Id,
        target: Id,
    ) -> Result<(), Failure> {
        self.reach(&device)?;
        let Some(entry) = self.entries.get_mut(&device) else { return Err(Failure::NotFound) };
        if entry.test.is_some() {
            return Err(Failure::Busy);
        }
        let channel = (target != device).then_some(target);
        entry.test = Some(Box::new(SelfTest { waiter, channel, next: 0, asking: None, steps: Vec::new() }));
        self.next_question(now, device);
        Ok(())
    }

    /// Asks the next question. Those that the device's edition does not have are left out, though it be only assumed: to
    /// answer them is not asked of such a device.
    fn next_question(&mut self, now: Now, device: Id) {
        let edition = self.entries.get(&device).map(|entry| entry.device.edition).unwrap_or_default();
        let edition = self.manners(&device).edition.unwrap_or(edition);
        while let Some(test) = self.entries.get_mut(&device).and_then(|entry| entry.test.as_mut()) {
            let Some(question) = Question::ALL.get(test.next).copied() else {
                return self.end_test(device, None);
            };
            test.next += 1;
            test.asking = Some((question, now.instant));
            let target = test.channel.filter(|_| question.of_channel()).unwrap_or(device);
            let begun = match question.query(now) {
                Some(query) if query.since() > edition => continue,
                Some(query) => self.ask_query(now, device, target, query, Owner::SelfTest),
                None => match self.reach(&device).map(|_| ()) {
                    Ok(()) => {
                        self.begin_sync(now, device);
                        Ok(())
                    }
                    Err(failure) => Err(failure),
                },
            };
            match begun {
                Ok(()) => return,
                Err(failure @ (Failure::Offline | Failure::NotFound)) => {
                    return self.end_test(device, Some(failure));
                }
                Err(failure) => self.test_step(now, device, false, failure.detail()),
            }
        }
    }

    /// A question of the test is over.
    pub(super) fn test_answered(&mut self, now: Now, device: Id, outcome: Result<Outcome, Failure>) {
        let (ok, detail) = match outcome {
            Err(failure @ (Failure::Offline | Failure::NotFound)) => {
                return self.end_test(device, Some(failure));
            }
            Err(failure) => (false, failure.detail()),
            Ok(Outcome::Answer(Answer::Status(status))) => self.judge_status(now, device, &status),
            Ok(Outcome::Answer(answer)) => judge(&answer),
            Ok(_) => (true, String::new()),
        };
        self.test_step(now, device, ok, detail);
        self.next_question(now, device);
    }

    /// A sync ended: that of a test, where one waits for it.
    pub(super) fn test_synced(
        &mut self,
        now: Now,
        device: Id,
        outcome: &Result<Synced, Failure>,
        camera: Option<Id>,
    ) {
        let Some(test) = self.entries.get_mut(&device).and_then(|entry| entry.test.as_mut()) else { return };
        test.channel = test.channel.or(camera);
        if test.asking.is_none_or(|(question, _)| question != Question::Catalog) {
            return;
        }
        let (ok, detail) = match outcome {
            Err(failure @ (Failure::Offline | Failure::NotFound)) => {
                let failure = failure.clone();
                return self.end_test(device, Some(failure));
            }
            Err(failure) => (false, failure.detail()),
            Ok(Synced { received, total, complete }) => {
                (*complete, format!("{received} of {total} items came"))
            }
        };
        self.test_step(now, device, ok, detail);
        self.next_question(now, device);
    }

    fn test_step(&mut self, now: Now, device: Id, ok: bool, detail: String) {
        let Some(test) = self.entries.get_mut(&device).and_then(|entry| entry.test.as_mut()) else { return };
        if let Some((question, since)) = test.asking.take() {
            let took = now.instant.saturating_duration_since(since);
            test.steps.push(Step { name: question.name(), ok, detail, took });
        }
    }

    fn end_test(&mut self, device: Id, failure: Option<Failure>) {
        let test = self.entries.get_mut(&device).and_then(|entry| entry.test.take());
        if let Some(test) = test {
            self.tell(test.waiter, failure.map_or(Ok(Outcome::SelfTest(test.steps)), Err));
        }
    }

    fn judge_status(&mut self, now: Now, device: Id, status: &DeviceStatus) -> (bool, String) {
        let Some(time) = status.time else {
            return (status.ok != Some(false), "the device does not tell its time".to_owned());
        };
        let off = time.0.saturating_sub(now.unix.0);
        let clock = match off.abs() {
            ..=CLOCK_OFF_MS => "its clock is right".to_owned(),
            by => {
                let way = if off > 0 { "fast" } else { "slow" };
                format!("its clock is {} s {way}", by / 1_000)
            }
        };
        let right = off.abs() <= CLOCK_OFF_MS;
        if !right {
            self.observe(now, &device, Rule::ClockWrong, &clock);
        }
        let works = status.ok != Some(false);
        let works_words =
            if works { "the device works" } else { "the device says that it does not work well" };
        (right && works, format!("{works_words}; {clock}"))
    }
}

/// Whether an answer tells what it should, and what that is.
fn judge(answer: &Answer) -> (bool, String) {
    match answer {
        Answer::Info(info) => {
            let texts = [&info.name, &info.manufacturer, &info.model, &info.firmware];
            let told: Vec<&str> = texts.into_iter().flatten().map(String::as_str).collect();
            (info.manufacturer.is_some() && info.model.is_some(), told.join(", "))
        }
        Answer::Records(records) => {
            (records.complete, format!("{} of {} recordings came", records.items.len(), records.total))
        }
        Answer::Presets(list) => (answer.is_complete(), format!("{} presets", list.items.len())),
        Answer::SdCards(list) => (answer.is_complete(), format!("{} memory cards", list.items.len())),
        Answer::Config(config) => match config.sections.get(&ConfigKind::BasicParam) {
            Some(_) => (true, "BasicParam came".to_owned()),
            None => (false, "the answer has no BasicParam".to_owned()),
        },
        Answer::HomePosition(home) => {
            (true, if home.enabled { "switched on" } else { "switched off" }.to_owned())
        }
        Answer::PtzPosition(position) => {
            let told = position.pan.is_some() || position.tilt.is_some() || position.zoom.is_some();
            (told, if told { "position told" } else { "the answer has no position" }.to_owned())
        }
        Answer::Done { ok } => (*ok, String::new()),
        _ => (true, String::new()),
    }
}
