//! Questions and commands (clauses 9.3 and 9.5): sent, acknowledged by a 200, answered by a MESSAGE of the device's own,
//! each with a timer and a failure that names the step.
//!
//! An answer belongs to the question with its CmdType and SN. Some devices answer with an SN of their own making: such
//! an answer is taken where one question alone can be meant, unless its SN is that of a question that is over.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::configure::ReadBack;
use super::{Action, Devices, Failure, Outcome, Purpose, Request, Unanswered, Waiter};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::{self, Answer, Broadcast, ConfigKind, Control, Edition, Query, Style};
use crate::gb::time::{Now, Offset};
use crate::registry::{Alarm, clip};
use crate::sip::Message;

/// Questions that one device is asked at once.
pub(super) const MAX_ASKS: usize = 64;
/// Questions that all devices of a shard are asked at once.
const MAX_ALL_ASKS: usize = 4_096;
/// How long a device may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Recorders search their disks first.
const RECORDS: Duration = Duration::from_secs(10);
/// Silence between two pages after which the rest counts as lost.
const NEXT_PAGE: Duration = Duration::from_secs(3);
/// Silence after all announced recordings came, for recorders that announce too few.
const SETTLE: Duration = Duration::from_millis(300);
/// A whole answer, however slowly a device dribbles its pages.
const WHOLE: Duration = Duration::from_secs(60);
/// Questions that are over, whose late answers are known by their SN.
const PAST: usize = 16;

/// What a device is asked.
#[derive(Debug)]
pub(super) enum What {
    Query(Query),
    /// Whether the standard has an answer to it.
    Control {
        answered: bool,
    },
    Configure(Vec<(ConfigKind, Value)>),
    Broadcast,
}

impl What {
    /// The CmdType of the answer.
    fn command(&self) -> &'static str {
        match self {
            What::Query(query) => query.command(),
            What::Control { .. } => "DeviceControl",
            What::Configure(_) => "DeviceConfig",
            What::Broadcast => "Broadcast",
        }
    }

    /// Whether a CmdType is that of its answer. Some answer `HomePosition` to `HomePositionQuery`.
    fn is_answered_by(&self, command: &str) -> bool {
        let bare = |name: &str| name.len() - if name.ends_with("Query") { 5 } else { 0 };
        let own = self.command();
        own.get(..bare(own)) == command.get(..bare(command))
    }

    fn expects_answer(&self) -> bool {
        !matches!(self, What::Control { answered: false })
    }

    /// The edition that introduced it, as far as silence is to be judged by it.
    fn since(&self) -> Edition {
        match self {
            What::Query(query) => query.since(),
            What::Configure(kinds) => kinds.iter().map(|(kind, _)| kind.since()).max().unwrap_or_default(),
            What::Control { .. } | What::Broadcast => Edition::default(),
        }
    }
}

/// Who is told of the outcome.
#[derive(Debug)]
pub(super) enum Owner {
    Waiter(Waiter),
    /// A configuration that is read back.
    ReadBack(Box<ReadBack>),
    SelfTest,
    /// An alarm that is reset.
    Reset {
        waiter: Waiter,
        alarm: Box<Alarm>,
    },
}

/// A question under way.
#[derive(Debug)]
struct Ask {
    sn: u32,
    target: Id,
    what: What,
    owner: Owner,
    acknowledged: bool,
    /// What came of the answer so far.
    answer: Option<Answer>,
    started: Instant,
    deadline: Instant,
}

/// The questions of one device.
#[derive(Debug, Default)]
pub(super) struct Asks {
    list: Vec<Ask>,
    past: [Past; PAST],
    next_past: usize,
}

/// A question that is over.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    sn: u32,
    answered: bool,
    acknowledged: bool,
}

/// What a response is to the questions of its device.
enum Match {
    /// The answer to this one; whether its SN is wrong.
    Answer(usize, bool),
    /// It comes too late.
    Late,
    Nothing,
}

impl Asks {
    /// When the first of them is given up, or its answer is taken as it is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.list.iter().map(|ask| ask.deadline).min()
    }

    fn position(&self, sn: u32) -> Option<usize> {
        self.list.iter().position(|ask| ask.sn == sn)
    }

    /// Which question a response answers. `foreign` is the SN of a query that is none of them.
    fn answered_by(&self, device: Id, foreign: u32, body: &manscdp::Message) -> Match {
        let fits = |ask: &Ask| ask.what.is_answered_by(&body.cmd);
        if let Some(exact) = self.list.iter().position(|ask| ask.sn == body.sn && fits(ask)) {
            return Match::Answer(exact, false);
        }
        if body.sn != 0 && body.sn == foreign {
            return Match::Nothing;
        }
        if let Some(past) = self.past.iter().find(|past| past.sn == body.sn && past.sn != 0) {
            return if past.answered { Match::Nothing } else { Match::Late };
        }
        // A device of many channels may name itself where a channel was asked.
        let about = |ask: &Ask| body.device_id.is_none_or(|about| about == ask.target || about == device);
        let mut likely = self
            .list
            .iter()
            .enumerate()
            .filter(|(_, ask)| fits(ask) && about(ask) && ask.what.expects_answer());
        match (likely.next(), likely.next()) {
            (Some((index, _)), None) => Match::Answer(index, true),
            _ => Match::Nothing,
        }
    }

    fn take(&mut self, index: usize, answered: bool) -> Option<Ask> {
        if index >= self.list.len() {
            return None;
        }
        let ask = self.list.swap_remove(index);
        if let Some(past) = self.past.get_mut(self.next_past) {
            *past = Past { sn: ask.sn, answered, acknowledged: ask.acknowledged };
        }
        self.next_past = (self.next_past + 1) % PAST;
        Some(ask)
    }
}

impl Devices {
    /// Asks something of a device, or of a channel `target` of it. Whoever waits is told by [`Action::Answered`],
    /// always and once.
    pub fn ask(&mut self, now: Now, waiter: Waiter, device: Id, target: Id, request: Request) {
        let owner = Owner::Waiter(waiter);
        let begun = match request {
            Request::Query(query) => self.ask_query(now, device, target, query, owner),
            Request::Control(control) => self.ask_control(now, device, target, &control, owner),
            Request::Configure(values) => self.configure(now, waiter, device, target, values),
            Request::SelfTest => self.begin_test(now, waiter, device, target),
            Request::Broadcast => self.ask_broadcast(now, device, target, owner),
            Request::Subscriptions => match self.subscriptions(&device) {
                Ok(list) => {
                    self.tell(waiter, Ok(Outcome::Subscriptions(list)));
                    Ok(())
                }
                Err(failure) => Err(failure),
            },
            Request::Raise(raise) => self.raise(now, waiter, device, target, *raise),
            Request::Acknowledge { alarm, by } => {
                self.acknowledge(now, waiter, *alarm, &by);
                Ok(())
            }
            Request::Reset { alarm } => self.reset(now, waiter, device, alarm),
        };
        if let Err(failure) = begun {
            self.tell(waiter, Err(failure));
        }
    }

    pub(super) fn tell(&mut self, waiter: Waiter, outcome: Result<Outcome, Failure>) {
        self.actions.push_back(Action::Answered { waiter, outcome });
    }

    pub(super) fn ask_query(
        &mut self,
        now: Now,
        device: Id,
        target: Id,
        query: Query,
        owner: Owner,
    ) -> Result<(), Failure> {
        let not_asked = match &query {
            Query::Catalog => Some("a catalog is fetched by a sync"),
            Query::MobilePosition { .. } | Query::Alarm(_) => Some("this is subscribed to, not asked"),
            Query::Config(kinds) if kinds.is_empty() => Some("no kind of configuration is named"),
            Query::Records(records) if records.start >= records.end => Some("end has to be after start"),
            _ => None,
        };
        if let Some(why) = not_asked {
            return Err(Failure::Invalid(why.to_owned()));
        }
        self.has_edition(&device, query.since())?;
        let body = |sn, style: &Style| query.body(sn, &target, style);
        self.begin_ask(now, device, target, What::Query(query.clone()), owner, body)
    }

    pub(super) fn ask_control(
        &mut self,
        now: Now,
        device: Id,
        target: Id,
        control: &Control,
        owner: Owner,
    ) -> Result<(), Failure> {
        control.check().map_err(|bad| Failure::Invalid(bad.to_string()))?;
        self.has_edition(&device, control.since())?;
        let what = What::Control { answered: control.answered() };
        self.begin_ask(now, device, target, what, owner, |sn, style| control.body(sn, &target, style))
    }

    fn ask_broadcast(&mut self, now: Now, device: Id, target: Id, owner: Owner) -> Result<(), Failure> {
        let broadcast = Broadcast { source: self.settings.platform, target };
        self.begin_ask(now, device, target, What::Broadcast, owner, |sn, _| broadcast.body(sn))
    }

    /// Refuses what the edition that a device told of does not have. One that is only assumed refuses nothing.
    pub(super) fn has_edition(&self, device: &Id, needs: Edition) -> Result<(), Failure> {
        let Some(entry) = self.entries.get(device) else { return Err(Failure::NotFound) };
        let told = entry.device.edition_told.then_some(entry.device.edition);
        match self.manners(device).edition.or(told) {
            Some(has) if has < needs => Err(Failure::Unsupported { needs, has }),
            _ => Ok(()),
        }
    }

    /// Whether the edition that a device has, or is taken to have, knows this: what is newer it need not answer.
    fn is_owed(&self, device: &Id, since: Edition) -> bool {
        let assumed = self.entries.get(device).map(|entry| entry.device.edition).unwrap_or_default();
        since <= self.manners(device).edition.unwrap_or(assumed)
    }

    pub(super) fn begin_ask(
        &mut self,
        now: Now,
        device: Id,
        target: Id,
        what: What,
        owner: Owner,
        body: impl FnOnce(u32, &Style) -> String,
    ) -> Result<(), Failure> {
        self.reach(&device)?;
        let (style, sn) = (self.style(&device), self.sn());
        let Some(entry) = self.entries.get_mut(&device) else { return Err(Failure::NotFound) };
        let asks = entry.asks.get_or_insert_default();
        if asks.list.len() >= MAX_ASKS || self.asking >= MAX_ALL_ASKS {
            return Err(Failure::Busy);
        }
        let wait = if matches!(what, What::Query(Query::Records(_))) { RECORDS } else { ANSWER };
        asks.list.push(Ask {
            sn,
            target,
            what,
            owner,
            acknowledged: false,
            answer: None,
            started: now.instant,
            deadline: now.instant + wait,
        });
        self.asking += 1;
        self.send(&device, &target, Purpose::Ask(sn), &body(sn, &style));
        self.set_timer(device);
        Ok(())
    }

    /// What came of the MESSAGE that carries a question.
    pub(super) fn ask_answered(
        &mut self,
        now: Now,
        device: Id,
        sn: u32,
        answer: Result<&Message, Unanswered>,
    ) {
        let Some(asks) = self.entries.get_mut(&device).and_then(|entry| entry.asks.as_mut()) else { return };
        let Some(index) = asks.position(sn) else {
            let past = asks.past.iter_mut().find(|past| past.sn == sn);
            // Told once: what acknowledges nothing is not asked of again here.
            let unacknowledged =
                past.is_some_and(|past| past.answered && !std::mem::replace(&mut past.acknowledged, true));
            if unacknowledged && answer.is_err_and(|failure| failure == Unanswered::Timeout) {
                self.observe(now, &device, Rule::MessageWithout200, "");
            }
            return;
        };
        let what = asks.list.get(index).map(|ask| (ask.what.command(), ask.what.since()));
        let (command, since) = what.unwrap_or_default();
        let outcome = match answer {
            Ok(message) => match message.code().unwrap_or(0) {
                ..200 => return,
                200..300 => {
                    let Some(ask) = asks.list.get_mut(index) else { return };
                    ask.acknowledged = true;
                    if ask.what.expects_answer() {
                        return;
                    }
                    Ok(Outcome::Sent)
                }
                code => Err(Failure::Refused(code)),
            },
            Err(Unanswered::Full) => Err(Failure::Busy),
            Err(_) => Err(Failure::NotAcknowledged),
        };
        if let Err(Failure::Refused(code)) = outcome
            && self.is_owed(&device, since)
        {
            self.observe(now, &device, Rule::QueryRefused, &format!("{command}: {code}"));
        }
        self.end_ask(now, device, index, outcome);
    }

    /// A response of a device: the answer to a question, or a part of it.
    pub(super) fn response(&mut self, now: Now, device: Id, body: &manscdp::Message) {
        let offset = self.settings.offset;
        let Some(entry) = self.entries.get_mut(&device) else { return };
        let foreign = entry.info_sn;
        let Some(asks) = entry.asks.as_mut() else { return };
        let (index, wrong_sn) = match asks.answered_by(device, foreign, body) {
            Match::Answer(index, wrong_sn) => (index, wrong_sn),
            Match::Late => return self.observe(now, &device, Rule::AnswerLate, clip(&body.cmd)),
            Match::Nothing => return,
        };
        let Some(ask) = asks.list.get_mut(index) else { return };
        let (wanted, target) = (ask.sn, ask.target);
        let outcome = ask.take_in(now, body, offset);
        if let Some(about) = body.device_id.filter(|about| *about != target && *about != device) {
            let sample = format!("{}: {about} where {target} was asked", clip(&body.cmd));
            self.observe(now, &device, Rule::AnswerDeviceIdWrong, &sample);
        }
        if wrong_sn {
            let sample = format!("{}: SN {} to a request of SN {wanted}", clip(&body.cmd), body.sn);
            self.observe(now, &device, Rule::AnswerSnWrong, &sample);
        }
        match outcome {
            Some(outcome) => self.end_ask(now, device, index, outcome),
            None => self.set_timer(device),
        }
    }

    pub(super) fn ask_timeout(&mut self, now: Now, device: Id) {
        loop {
            let Some(asks) = self.entries.get_mut(&device).and_then(|entry| entry.asks.as_mut()) else {
                return;
            };
            let Some(index) = asks.list.iter().position(|ask| ask.deadline <= now.instant) else { return };
            let Some(ask) = asks.list.get_mut(index) else { return };
            let silent = ask.answer.is_none() && ask.acknowledged && ask.what.expects_answer();
            let (command, since) = (ask.what.command(), ask.what.since());
            let outcome = match ask.answer.take() {
                Some(answer) => Ok(Outcome::Answer(answer)),
                None if ask.acknowledged => Err(Failure::NoAnswer),
                None => Err(Failure::NotAcknowledged),
            };
            if silent && self.is_owed(&device, since) {
                self.observe(now, &device, Rule::AnswerMissing, command);
            }
            self.end_ask(now, device, index, outcome);
        }
    }

    /// Ends all questions of a device that cannot be answered any more.
    pub(super) fn end_asks(&mut self, now: Now, device: Id, failure: &Failure) {
        // What follows of an end, such as reading back, finds no way to the device either, so this comes to an end.
        while self
            .entries
            .get(&device)
            .and_then(|entry| entry.asks.as_ref())
            .is_some_and(|a| !a.list.is_empty())
        {
            self.end_ask(now, device, 0, Err(failure.clone()));
        }
    }

    fn end_ask(&mut self, now: Now, device: Id, index: usize, outcome: Result<Outcome, Failure>) {
        let asks = self.entries.get_mut(&device).and_then(|entry| entry.asks.as_mut());
        let Some(ask) = asks.and_then(|asks| asks.take(index, outcome.is_ok())) else { return };
        self.asking = self.asking.saturating_sub(1);
        match ask.owner {
            Owner::SelfTest => self.test_answered(now, device, outcome),
            Owner::ReadBack(read_back) => self.read_back(now, device, *read_back, outcome),
            Owner::Reset { waiter, alarm } => match outcome {
                Ok(_) => self.was_reset(now, waiter, *alarm),
                Err(failure) => self.tell(waiter, Err(failure)),
            },
            Owner::Waiter(waiter) => match (ask.what, outcome) {
                (What::Configure(values), Ok(_)) => {
                    self.verify(now, device, ask.target, values, waiter, true);
                }
                // Some take a configuration and never say so.
                (What::Configure(values), Err(Failure::NoAnswer)) => {
                    self.verify(now, device, ask.target, values, waiter, false);
                }
                (_, outcome) => self.tell(waiter, outcome),
            },
        }
        self.set_timer(device);
    }
}

impl Ask {
    /// Takes in a response; gives the outcome once it is whole.
    fn take_in(
        &mut self,
        now: Now,
        body: &manscdp::Message,
        offset: Offset,
    ) -> Option<Result<Outcome, Failure>> {
        let reason = || body.body.value_of("Reason").map(|reason| clip(reason).to_owned());
        let What::Query(query) = &self.what else {
            let done = match Answer::result(body) {
                Some(Answer::Done { ok: false }) => Err(Failure::Failed(reason())),
                Some(done) => Ok(Outcome::Answer(done)),
                // A response that says nothing else is none of ERROR.
                None => Ok(Outcome::Answer(Answer::Done { ok: true })),
            };
            return Some(done);
        };
        let page = Answer::read(query, body, offset)?;
        if page.ok() == Some(false) {
            return Some(Err(Failure::Failed(reason())));
        }
        match &mut self.answer {
            Some(answer) => answer.merge(page),
            None => self.answer = Some(page),
        }
        let complete = self.answer.as_ref().is_some_and(Answer::is_complete);
        let records = matches!(query, Query::Records(_));
        if complete && !records {
            return self.answer.take().map(|answer| Ok(Outcome::Answer(answer)));
        }
        let wait = if complete { SETTLE } else { NEXT_PAGE };
        self.deadline = (now.instant + wait).min(self.started + WHOLE);
        None
    }
}

#[cfg(test)]
impl super::Entry {
    /// Questions under way.
    pub(super) fn asked(&self) -> usize {
        self.asks.as_ref().map_or(0, |asks| asks.list.len())
    }
}
