//! Calls as dialogs: the INVITE that we send, its answers, and what a device asks for inside.

use super::types::Purpose;
use super::{Action, CallId, Calls, Content, Failure, Finish, Reason, Record, State, invite};
use crate::gb::charset;
use crate::gb::conformance::Rule;
use crate::gb::manscdp::{self, MediaStatus};
use crate::gb::time::Now;
use crate::sip::transaction::Failure as Unanswered;
use crate::sip::{Dialog, Message, Method, ServerKey, Start};

/// After which an INVITE without any answer should have got 100 Trying, in seconds.
const TRYING: u64 = 1;

impl Calls {
    /// An answer to a request of a call, or that there will be none. `purpose` is that of the [`Action::Request`].
    pub fn answered(&mut self, now: Now, id: CallId, purpose: Purpose, answer: Result<&Message, Unanswered>) {
        match purpose {
            Purpose::Invite => self.invite_answered(now, id, answer),
            Purpose::Control(number) => self.control_answered(now, id, number, answer),
            Purpose::Bye => self.bye_answered(id, answer),
        }
    }

    fn bye_answered(&mut self, id: CallId, answer: Result<&Message, Unanswered>) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.state == State::Closing) else { return };
        match answer {
            // Whatever a device says to a BYE (200, 481), the dialog is over.
            Ok(message) if message.code().is_some_and(|code| code >= 200) => self.forget(id),
            Ok(_) => {}
            // If it says nothing, it may be sending still: the dialog stays on record.
            Err(_) => {
                self.actions.extend(call.record.take().map(Action::LeftOver));
                self.forget(id);
            }
        }
    }

    fn invite_answered(&mut self, now: Now, id: CallId, answer: Result<&Message, Unanswered>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let since = call.unanswered_since.take();
        match answer {
            Ok(message) => {
                let waited = since.map_or(0, |since| now.instant.saturating_duration_since(since).as_secs());
                let code = message.code().unwrap_or_default();
                if waited >= TRYING && code >= 200 {
                    let seen = format!("{code} after {waited} s, and nothing before");
                    self.observe(id, Rule::InviteNoTrying, seen);
                }
                match code {
                    200..=299 => self.accepted(now, id, message),
                    300.. => self.refused(id, code, message),
                    _ => {}
                }
            }
            Err(_) if call.state == State::Cancelling => self.forget(id),
            Err(_) if call.state.is_ending() => {}
            Err(failure) => {
                let why = match failure {
                    Unanswered::Timeout => "the device did not answer INVITE",
                    Unanswered::Transport => "the connection to the device was lost during INVITE",
                    Unanswered::Full => "too many SIP requests are under way at this node",
                };
                self.finish(id, Failure::new(Reason::InviteTimeout, why));
                // The INVITE is over: there is nothing to cancel.
                self.forget(id);
            }
        }
    }

    /// Sends the INVITE of a call whose port is open.
    pub(super) fn invite(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(media) = call.media else { return };
        let Some(offer) = invite::offer(&call.key, &call.target, media, call.ssrc) else { return };
        let (settings, tokens) = (&self.settings, &mut self.tokens);
        // The shard in the upper bits is left out, so that the number stays short.
        let serial = id.0 & 0xffff_ffff_ffff;
        let message = invite::request(settings, tokens, &call.key, &call.target, &offer, call.ssrc, serial);
        call.state = State::Inviting;
        call.offer = Some(offer);
        call.unanswered_since = Some(now.instant);
        if let Some(call_id) = message.call_id() {
            self.by_call_id.insert(call_id.to_owned(), id);
        }
        call.invite = Some(message.clone());
        let flow = call.target.flow;
        self.actions.push_back(Action::Request { call: id, purpose: Purpose::Invite, flow, message });
    }

    /// A 2xx to the INVITE: the first, a repetition, or one that crossed our CANCEL.
    fn accepted(&mut self, now: Now, id: CallId, answer: &Message) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let flow = call.target.flow;
        if let Some(ack) = &call.ack {
            self.actions.push_back(Action::Send { flow, message: ack.clone() });
            return;
        }
        let Some((dialog, ack)) = call.invite.as_ref().and_then(|invite| {
            let dialog = Dialog::uac(invite, answer)?;
            let ack = dialog.ack(invite.cseq()?.0);
            Some((dialog, ack))
        }) else {
            let why = "the 200 to INVITE has no usable To tag or Call-ID";
            return self.finish(id, Failure::new(Reason::InviteRefused(200), why));
        };
        call.ack = Some(ack.clone());
        self.actions.push_back(Action::Send { flow, message: ack });
        self.keep(now, id, dialog);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state == State::Cancelling {
            return self.hang_up(id);
        }
        let Some(offer) = &call.offer else { return };
        let sends = call.key.content == Content::Talk;
        let departures = invite::departures(offer, answer);
        let answered = match invite::read_answer(offer, answer, flow.remote, sends) {
            Ok(answered) => answered,
            Err(why) => return self.finish(id, Failure::new(Reason::InviteRefused(488), why)),
        };
        let ssrc = answered.ssrc.unwrap_or(call.ssrc);
        let invite::Answered { remote, file_size, payload_type, .. } = answered;
        if call.state == State::Inviting {
            call.state = if sends { State::Connecting } else { State::Waiting { rtp: false } };
        }
        self.actions.push_back(Action::ConnectMedia { call: id, remote, ssrc, file_size, payload_type });
        for (rule, sample) in departures {
            self.observe(id, rule, sample);
        }
        self.voice_progress(now, id);
    }

    /// Keeps a dialog from the moment it exists.
    pub(super) fn keep(&mut self, now: Now, id: CallId, dialog: Dialog) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let record = Record {
            device: call.key.device,
            channel: call.key.channel,
            call_id: dialog.call_id.clone(),
            kind: call.key.kind(),
            stream: id.to_string(),
            dialog,
            route: call.target.flow.into(),
            ssrc: Some(call.ssrc),
            media_transport: call.target.transport,
            started_at: now.unix,
        };
        let record = call.record.insert(Box::new(record));
        self.actions.push_back(Action::Keep(record.clone()));
    }

    /// A final answer of 300 or more to the INVITE.
    fn refused(&mut self, id: CallId, code: u16, answer: &Message) {
        let Some(call) = self.calls.get(&id) else { return };
        match call.state {
            State::Cancelling => return self.forget(id),
            state if state.is_ending() => return,
            _ => {}
        }
        let Start::Response { reason, .. } = &answer.start else { return };
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(80).collect();
        let what = match call.key.content {
            Content::Live(_) => "INVITE",
            Content::Playback(_) => "the INVITE of a playback",
            Content::Download(_) => "the INVITE of a download",
            Content::Talk => "the INVITE of a voice",
        };
        let why = format!("the device answered {what} with {code} {reason}");
        self.finish(id, Failure::new(Reason::InviteRefused(code), why.trim_end()));
    }

    /// A request inside a dialog of ours (BYE and the like). Returns false if it belongs to no call, or is a MESSAGE
    /// that does not concern the call it came in.
    pub fn request(&mut self, now: Now, key: ServerKey, request: &Message) -> bool {
        let Some(id) = self.call_of(request) else { return false };
        let code = match request.method() {
            Some(Method::Message) => {
                if !self.media_status(now, id, request) {
                    return false;
                }
                200
            }
            Some(Method::Bye | Method::Info | Method::Options) => 200,
            // We can't follow an offer that changes the session: the session goes on as it was.
            Some(Method::Invite) => 488,
            _ => 405,
        };
        self.actions.push_back(Action::Respond { key, message: request.response(code) });
        if request.method() == Some(&Method::Bye) {
            self.bye(now, id);
        }
        true
    }

    /// The call whose dialog a request of a device belongs to.
    pub(super) fn call_of(&self, request: &Message) -> Option<CallId> {
        let id = *self.by_call_id.get(request.call_id()?)?;
        let record = self.calls.get(&id)?.record.as_ref()?;
        record.dialog.matches(request).then_some(id)
    }

    /// The device ended the session.
    fn bye(&mut self, now: Now, id: CallId) {
        self.drop_dialog(id);
        self.note_silent_end(now, id);
        let Some(call) = self.calls.get(&id) else { return };
        let why = "the device ended the session with BYE";
        match call.end.failure() {
            _ if call.state == State::Owing => self.forget(id),
            Some(end) => self.finish(id, end),
            None if call.key.content == Content::Talk && call.state != State::Running => {
                self.finish_as(id, Failure::new(Reason::TalkRefused, why), Finish::ByDevice);
            }
            None => self.finish_as(id, Failure::ended(why), Finish::ByDevice),
        }
    }

    /// A MESSAGE inside a dialog: returns whether it is the word that the recording was sent to its end.
    fn media_status(&mut self, now: Now, id: CallId, request: &Message) -> bool {
        let Ok(message) = manscdp::parse(&request.body, &mut charset::History::default()) else {
            return false;
        };
        if message.cmd != "MediaStatus" {
            return false;
        }
        if MediaStatus::read(&message).notify_type == Some(MediaStatus::FILE_END) {
            self.file_ended(now, id);
        }
        true
    }
}
