//! How calls end: by CANCEL, BYE or the end of a recording, and what is left behind.

use std::time::Duration;

use super::{Action, CallId, Calls, Failure, Finish, Reason, Record, State, Timer};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::time::Now;
use crate::sip::{Flow, Message, Method};

use super::types::Purpose;

/// From the word that a recording was sent to its end until the session ends: what is still on its way may arrive.
const LINGER: Duration = Duration::from_secs(1);

/// What is known of the end of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing, or there is none.
    Unknown,
    /// One of the recordings of this device came to its end, and nobody knows which: the next to fall silent.
    Hinted,
    /// The device said so.
    Told,
}

impl End {
    /// How to call an end that comes now, if it is that of the recording.
    pub(super) fn failure(self) -> Option<Failure> {
        (self != End::Unknown).then(Failure::end_of_file)
    }
}

impl Calls {
    /// A device says outside any dialog that a recording was sent to its end (MediaStatus 121). `channel` is the
    /// DeviceID of the message. Returns false if no recording of that device is under way.
    ///
    /// Where several could be meant, none is ended: the next of them that falls silent has ended well.
    pub fn file_end(&mut self, now: Now, device: &Id, channel: &Id) -> bool {
        let mut open: Vec<(CallId, Id)> = Vec::new();
        for id in self.calls_of(device) {
            let history = self.calls.get(&id).filter(|call| call.key.is_history() && !call.state.is_ending());
            open.extend(history.filter(|call| call.end != End::Told).map(|call| (id, call.key.channel)));
        }
        if open.iter().any(|(_, own)| own == channel) {
            open.retain(|(_, own)| own == channel);
        } else if channel != device {
            return false;
        }
        match open[..] {
            [(id, _)] => self.file_ended(now, id),
            _ => {
                for (id, _) in &open {
                    if let Some(call) = self.calls.get_mut(id) {
                        call.end = End::Hinted;
                    }
                }
            }
        }
        !open.is_empty()
    }

    /// The recording of a call was sent to its end.
    pub(super) fn file_ended(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.key.is_history()) else { return };
        if !call.state.is_ending() && call.end != End::Told {
            call.end = End::Told;
            self.set_timer(id, Timer::Life, Some(now.instant + LINGER));
        }
    }

    /// A playback ends without the word that it came to its end: is it there?
    pub(super) fn note_silent_end(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get(&id).filter(|call| call.end == End::Unknown) else { return };
        if call.player.as_ref().is_some_and(|player| player.is_at_end(now.instant)) {
            self.observe(id, Rule::FileEndMissing, "the recording was over, and no MediaStatus came");
        }
    }

    /// Ends a call in whatever state it is: waiters are told, the port is closed, the device hears CANCEL or BYE.
    pub(super) fn finish(&mut self, id: CallId, why: Failure) {
        let finish = match why.reason {
            Reason::EndOfFile => Finish::Complete,
            Reason::Stopped => Finish::ByUs,
            _ => Finish::Broken,
        };
        self.finish_as(id, why, finish);
    }

    pub(super) fn finish_as(&mut self, id: CallId, why: Failure, finish: Finish) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (key, state) = (call.key, call.state);
        if state.is_ending() {
            return;
        }
        let waiters = std::mem::take(&mut call.waiters);
        let controls = call.player.as_mut().map(|player| player.give_up()).unwrap_or_default();
        if self.live.get(&key) == Some(&id) {
            self.live.remove(&key);
        }
        self.set_timer(id, Timer::Life, None);
        self.set_timer(id, Timer::Control, None);
        for waiter in waiters {
            self.tell(waiter, Err(why.clone()));
        }
        for waiter in controls {
            self.tell_control(waiter, Err(why.clone()));
        }
        self.actions.push_back(Action::CloseMedia { call: id, why: why.detail.clone() });
        let ran = state == State::Running;
        let refused = matches!(why.reason, Reason::InviteRefused(_));
        self.actions.push_back(Action::Ended { call: id, key, why, ran, finish });
        let Some(call) = self.calls.get_mut(&id) else { return };
        let voice = call.talk.as_ref().filter(|talk| talk.is_called());
        // BYE has to wait for the ACK of our 200 (RFC 3261 15).
        let owing = voice.filter(|talk| !talk.acknowledged).and_then(|talk| talk.ack_deadline);
        match (&call.record, voice.is_some()) {
            (Some(_), true) if owing.is_some() => {
                call.state = State::Owing;
                self.set_timer(id, Timer::Life, owing);
            }
            (Some(_), _) => self.hang_up(id),
            (None, true) => {
                self.refuse_voice(id, 480);
                self.forget(id);
            }
            // No final answer yet, though a picture may be there.
            (None, false) if call.invite.is_some() && call.ack.is_none() && !refused => {
                call.state = State::Cancelling;
                self.actions.push_back(Action::Cancel { call: id });
            }
            (None, false) => self.forget(id),
        }
    }

    /// Sends BYE in the call's dialog.
    pub(super) fn hang_up(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(record) = &mut call.record else { return self.forget(id) };
        call.state = State::Closing;
        let message = record.dialog.request(Method::Bye);
        let flow = call.target.flow;
        self.set_timer(id, Timer::Life, None);
        self.actions.push_back(Action::Request { call: id, purpose: Purpose::Bye, flow, message });
    }

    /// The dialog is over on the other side: no BYE is owed.
    pub(super) fn drop_dialog(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        self.actions.extend(call.record.take().map(|record| forget(*record)));
    }

    /// Nothing of the call is left to do.
    pub(super) fn forget(&mut self, id: CallId) {
        self.drop_dialog(id);
        self.set_timer(id, Timer::Life, None);
        self.set_timer(id, Timer::Control, None);
        let Some(call) = self.calls.remove(&id) else { return };
        if let Some(call_id) = call.invite.as_ref().and_then(Message::call_id) {
            self.by_call_id.remove(call_id);
        }
        if let Some(key) = call.talk.and_then(|talk| talk.server) {
            self.by_server.remove(&key);
        }
        self.by_device.remove(&(call.key.device, id));
        self.pool.give_back(call.ssrc);
        self.actions.push_back(Action::Gone { call: id });
    }

    /// Ends a dialog that was left behind, by an earlier run of this gateway or for want of a way to its device.
    pub fn end_left_over(&mut self, mut record: Record, flow: Flow) {
        let message = record.dialog.request(Method::Bye);
        // Nothing waits for the answer, so the number is used up for nothing else.
        let call = self.new_id();
        self.actions.push_back(forget(record));
        self.actions.push_back(Action::Request { call, purpose: Purpose::Bye, flow, message });
    }
}

fn forget(record: Record) -> Action {
    Action::Forget { device: record.device, channel: record.channel, call_id: record.call_id }
}
