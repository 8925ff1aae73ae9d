//! Control of a playback: INFO with MANSRTSP inside the dialog (annex B of 2016 and 2022).
//!
//! Commands go out one after the other: a device that gets two at once may take them in either order. The playback
//! counts as changed when the device said so; a command that it refuses changes nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::types::Purpose;
use super::{
    Action, CallId, Calls, Failure, MAX_SECONDS, Playback, PlaybackState, Reason, State, Timer, Waiter,
};
use crate::gb::mansrtsp::{self, Answer, Dialect, Range, Request};
use crate::gb::time::Now;
use crate::registry::profile::PlayDialect;
use crate::sip::transaction::Failure as Unanswered;
use crate::sip::{Message, Method};

/// Commands of one playback that wait for those before them.
const MAX_QUEUE: usize = 8;

/// How long the answer to a command may take: over UDP it is sent four times until then.
const PATIENCE: Duration = Duration::from_secs(5);

/// The greatest speed that is asked for.
pub const MAX_SCALE: f64 = 64.0;

/// A playback and what is asked of it.
pub(super) struct Player {
    paused: bool,
    scale: f64,
    /// Where it stood at a time, in seconds.
    position: f64,
    since: Instant,
    /// The length of what is played, in seconds.
    length: f64,
    /// The command that was sent.
    pending: Option<Pending>,
    /// A command whose answer is late: it may still turn out to have been obeyed.
    overdue: Option<(u32, Playback)>,
    queue: VecDeque<(Option<Waiter>, Playback)>,
    /// The number of the last command, as its CSeq.
    number: u32,
}

struct Pending {
    number: u32,
    command: Playback,
    waiter: Option<Waiter>,
}

impl Player {
    /// A playback whose first picture came now.
    pub(super) fn new(now: Instant, length: f64) -> Player {
        Player {
            paused: false,
            scale: 1.0,
            position: 0.0,
            since: now,
            length: length.min(MAX_SECONDS),
            pending: None,
            overdue: None,
            queue: VecDeque::new(),
            number: 0,
        }
    }

    fn state(&self, now: Instant) -> PlaybackState {
        let moved = now.saturating_duration_since(self.since).as_secs_f64() * self.scale;
        let position = self.position + if self.paused { 0.0 } else { moved };
        PlaybackState {
            paused: self.paused,
            scale: self.scale,
            position: position.clamp(0.0, self.length.max(0.0)),
        }
    }

    /// Whether all was played, by the clock.
    pub(super) fn is_at_end(&self, now: Instant) -> bool {
        !self.paused && self.scale > 0.0 && self.state(now).position >= self.length
    }

    /// A command was obeyed. Returns whether the playback jumped.
    fn obeyed(&mut self, now: Instant, command: Playback, answer: &Answer) -> bool {
        self.position = self.state(now).position;
        self.since = now;
        self.paused = command == Playback::Pause;
        match command {
            Playback::Pause | Playback::Resume => false,
            Playback::Seek { seconds } => {
                let told = match answer.range {
                    Some(Range::From(start) | Range::Between(start, _)) => Some(start),
                    Some(Range::Now) | None => None,
                };
                self.position = told.unwrap_or(seconds).clamp(0.0, self.length);
                true
            }
            Playback::Speed { scale } => {
                // The device answers the speed that it really uses (B.2.8 of 2022).
                let told = answer.scale.filter(|scale| scale.is_finite() && *scale != 0.0);
                self.scale = told.unwrap_or(scale).clamp(-MAX_SCALE, MAX_SCALE);
                false
            }
        }
    }

    /// Somebody does not wait any longer; the command goes on.
    pub(super) fn unwant(&mut self, waiter: Waiter) {
        let pending = self.pending.iter_mut().map(|pending| &mut pending.waiter);
        for one in pending.chain(self.queue.iter_mut().map(|(waiter, _)| waiter)) {
            one.take_if(|one| *one == waiter);
        }
    }

    /// Those who wait for commands.
    #[cfg(test)]
    pub(super) fn waiters(&self) -> impl Iterator<Item = Waiter> {
        let pending = self.pending.iter().filter_map(|pending| pending.waiter);
        pending.chain(self.queue.iter().filter_map(|(waiter, _)| *waiter))
    }

    /// Those who wait for commands of a playback that has ended.
    pub(super) fn give_up(&mut self) -> Vec<Waiter> {
        let pending = self.pending.take().and_then(|pending| pending.waiter);
        pending.into_iter().chain(self.queue.drain(..).filter_map(|(waiter, _)| waiter)).collect()
    }
}

impl Playback {
    /// What is wrong with a command, if anything.
    fn fault(self) -> Option<&'static str> {
        match self {
            Playback::Seek { seconds } if !(0.0..=MAX_SECONDS).contains(&seconds) => {
                Some("the place must be a number of seconds from the begin, 0 or more")
            }
            Playback::Speed { scale } if !(-MAX_SCALE..=MAX_SCALE).contains(&scale) || scale == 0.0 => {
                Some("the speed must be a number from -64 to 64 and not 0")
            }
            _ => None,
        }
    }

    /// As the standard writes it: a new place without a speed, a new speed without a place.
    fn request(self, number: u32) -> Request {
        match self {
            Playback::Pause => Request::pause(number),
            Playback::Resume => Request::resume(number),
            Playback::Seek { seconds } => Request::seek(number, seconds),
            Playback::Speed { scale } => Request::speed(number, scale),
        }
    }
}

impl Calls {
    /// Somebody pauses a playback, lets it go on, elsewhere or at another speed. The outcome comes as
    /// [`Action::Controlled`], and what changes as [`Action::Pace`].
    pub fn control(&mut self, now: Now, waiter: Waiter, id: CallId, command: Playback) {
        let call = self.calls.get_mut(&id).filter(|call| !call.state.is_ending());
        let refused = match call {
            None => Failure::not_found("there is no such playback"),
            Some(call) => match &mut call.player {
                _ if call.record.is_none() => Failure::not_found("the playback does not run yet"),
                None => Failure::not_found("this is no playback that runs"),
                Some(player) => match command.fault() {
                    Some(why) => Failure::new(Reason::ControlRefused(0), why),
                    None if player.queue.len() >= MAX_QUEUE => {
                        let why = format!("{MAX_QUEUE} commands already wait for the device's answers");
                        Failure::new(Reason::NoCapacity, why)
                    }
                    None => {
                        player.queue.push_back((Some(waiter), command));
                        self.waiting.insert(waiter, id);
                        return self.next_command(now, id);
                    }
                },
            },
        };
        self.tell_control(waiter, Err(refused));
    }

    /// Where a playback stands; `None` if it does not run.
    pub fn playback(&self, now: Now, id: CallId) -> Option<PlaybackState> {
        self.calls.get(&id)?.player.as_ref().map(|player| player.state(now.instant))
    }

    /// Sends the next command, if none is under way.
    fn next_command(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (Some(player), Some(record)) = (&mut call.player, &mut call.record) else { return };
        if player.pending.is_some() || call.state != State::Running {
            return;
        }
        let Some((waiter, command)) = player.queue.pop_front() else { return };
        player.number = player.number.wrapping_add(1);
        let number = player.number;
        player.pending = Some(Pending { number, command, waiter });
        player.overdue = None;
        let dialect = match call.target.manners.mansrtsp {
            PlayDialect::Rtsp => Dialect::Rtsp,
            PlayDialect::Mansrtsp => Dialect::Mansrtsp,
        };
        let body = command.request(number).to_bytes(dialect);
        let message = record.dialog.request(Method::Info).with_body(mansrtsp::CONTENT_TYPE, body);
        let flow = call.target.flow;
        // A BYE after a restart must not repeat a number.
        self.actions.push_back(Action::Keep(record.clone()));
        let purpose = Purpose::Control(number);
        self.actions.push_back(Action::Request { call: id, purpose, flow, message });
        self.set_timer(id, Timer::Control, Some(now.instant + PATIENCE));
    }

    /// An answer to a command, or that there will be none.
    pub(super) fn control_answered(
        &mut self,
        now: Now,
        id: CallId,
        number: u32,
        answer: Result<&Message, Unanswered>,
    ) {
        let code = match answer {
            Ok(message) => message.code().unwrap_or_default(),
            Err(_) => 0,
        };
        if (100..200).contains(&code) {
            return;
        }
        let Some(player) = self.calls.get_mut(&id).and_then(|call| call.player.as_mut()) else { return };
        let (command, waiter) = match player.pending.take_if(|pending| pending.number == number) {
            Some(pending) => (pending.command, pending.waiter),
            None => match player.overdue.take_if(|(overdue, _)| *overdue == number) {
                Some((_, command)) => (command, None),
                None => return,
            },
        };
        if player.pending.is_none() {
            self.set_timer(id, Timer::Control, None);
        }
        let outcome = match answer {
            Ok(message) if code < 300 => self.obeyed(now, id, command, message),
            Ok(_) => Err(refusal(code)),
            Err(Unanswered::Timeout) => Err(no_answer()),
            Err(Unanswered::Transport) => Err(Failure::offline("the connection to the device was lost")),
            Err(Unanswered::Full) => {
                Err(Failure::new(Reason::NoCapacity, "too many SIP requests are under way at this node"))
            }
        };
        if let Some(waiter) = waiter {
            self.tell_control(waiter, outcome);
        }
        // The device does not know the dialog: there is nothing to end by BYE.
        if code == 481 {
            self.drop_dialog(id);
            self.finish(id, Failure::ended("the device does not know this session any more (481)"));
            return;
        }
        self.next_command(now, id);
    }

    /// A 2xx to an INFO: what is in it may still be a refusal.
    fn obeyed(
        &mut self,
        now: Now,
        id: CallId,
        command: Playback,
        message: &Message,
    ) -> Result<PlaybackState, Failure> {
        // Many devices say no more than 200.
        let answer = Answer::parse(&message.body).unwrap_or(Answer { code: 200, ..Answer::default() });
        if !answer.is_ok() {
            return Err(refusal(answer.code));
        }
        let player = self.calls.get_mut(&id).and_then(|call| call.player.as_mut());
        let Some(player) = player else { return Err(Failure::ended("the playback ended")) };
        let seek = player.obeyed(now.instant, command, &answer);
        let state = player.state(now.instant);
        self.actions.push_back(Action::Pace { call: id, state, seek });
        Ok(state)
    }

    /// The answer to a command did not come in time: the playback goes on as it was.
    pub(super) fn control_is_late(&mut self, now: Now, id: CallId) {
        let Some(player) = self.calls.get_mut(&id).and_then(|call| call.player.as_mut()) else { return };
        let Some(pending) = player.pending.take() else { return };
        player.overdue = Some((pending.number, pending.command));
        if let Some(waiter) = pending.waiter {
            self.tell_control(waiter, Err(no_answer()));
        }
        self.next_command(now, id);
    }

    pub(super) fn tell_control(&mut self, waiter: Waiter, outcome: Result<PlaybackState, Failure>) {
        self.waiting.remove(&waiter);
        self.actions.push_back(Action::Controlled { waiter, outcome });
    }
}

fn no_answer() -> Failure {
    let why = format!("the device did not answer INFO within {} s", PATIENCE.as_secs());
    Failure::new(Reason::ControlTimeout, why)
}

fn refusal(code: u16) -> Failure {
    Failure::new(Reason::ControlRefused(code), format!("the device refused the command with {code}"))
}
