//! Media sessions: from "channel X is wanted" over INVITE, answer and first picture to BYE (clause 9.2).
//!
//! [`Calls`] is a pure state machine. One call serves everybody who wants the same stream of the same channel
//! (single flight); it lives as long as somebody reads and a while longer. After each change the caller drains
//! [`Calls::poll_action`] until it returns `None`.
//!
//! ```text
//! want -> Opening -> Inviting -> Waiting -> Running -> Closing -> gone
//!         (port)     (INVITE)    (picture)             (BYE)
//! ```

mod failure;
mod invite;
mod ssrc;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::gb::id::Id;
use crate::gb::sdp::Sdp;
use crate::gb::time::Now;
use crate::registry::{Call as Record, StreamKind};
use crate::sip::transaction::Failure as Unanswered;
use crate::sip::{Dialog, Flow, Message, Method, ServerKey, Start, Tokens};

pub use failure::{Failure, Reason};
pub use ssrc::SsrcPool;
pub use types::{Action, CallId, Key, Media, Profile, Settings, Target, Waiter};

/// Waiters per call; the next is refused. A viewer waits for `play_timeout` at most.
const MAX_WAITERS: usize = 256;

/// Where a call stands; the names are those of the public contract where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for a port.
    Opening,
    /// INVITE sent.
    Inviting,
    /// Answered with 200, waits for a picture; whether RTP arrives is known.
    Waiting { rtp: bool },
    /// Has a picture.
    Running,
    /// CANCEL sent; a late 200 still has to be acknowledged and ended.
    Cancelling,
    /// BYE sent.
    Closing,
}

struct Call {
    key: Key,
    target: Target,
    ssrc: u32,
    state: State,
    waiters: Vec<Waiter>,
    wanted_at: Now,
    media: Option<SocketAddr>,
    offer: Option<Sdp>,
    invite: Option<Message>,
    /// The dialog, once there is one, as it is kept.
    record: Option<Box<Record>>,
    ack: Option<Message>,
    readers: usize,
    deadline: Option<Instant>,
}

/// The media sessions of one shard.
pub struct Calls {
    settings: Settings,
    pool: SsrcPool,
    next_id: u64,
    tokens: Tokens,
    calls: HashMap<CallId, Call>,
    /// The call that new waiters join; calls that are being ended are not here.
    live: HashMap<Key, CallId>,
    by_call_id: HashMap<String, CallId>,
    deadlines: BTreeSet<(Instant, CallId)>,
    actions: VecDeque<Action>,
}

impl Calls {
    /// No calls yet. `tokens` makes the tags and Call-IDs and carries the shard in them.
    pub fn new(settings: Settings, pool: SsrcPool, shard: u16, tokens: Tokens) -> Calls {
        Calls {
            settings,
            pool,
            next_id: u64::from(shard) << 48,
            tokens,
            calls: HashMap::new(),
            live: HashMap::new(),
            by_call_id: HashMap::new(),
            deadlines: BTreeSet::new(),
            actions: VecDeque::new(),
        }
    }

    /// How many calls there are, in whatever state.
    pub fn count(&self) -> usize {
        self.calls.len()
    }

    /// The device of a call.
    pub fn device_of(&self, id: CallId) -> Option<Id> {
        self.calls.get(&id).map(|call| call.key.device)
    }

    /// Somebody wants a stream. The answer comes as [`Action::Tell`].
    pub fn want(&mut self, now: Now, waiter: Waiter, key: Key, target: Target) {
        if let Some(call) = self.live.get(&key).and_then(|id| self.calls.get_mut(id).map(|call| (*id, call)))
        {
            let (id, call) = call;
            if call.state == State::Running {
                // The reader is about to attach: give it the full time to do so.
                if call.readers == 0 {
                    let deadline = now.instant + self.settings.no_reader_timeout;
                    self.set_deadline(id, Some(deadline));
                }
                self.tell(waiter, Ok(id));
            } else if call.waiters.len() < MAX_WAITERS {
                call.waiters.push(waiter);
            } else {
                let why = format!("{MAX_WAITERS} others already wait for this stream");
                self.tell(waiter, Err(Failure::new(Reason::NoCapacity, why)));
            }
            return;
        }
        let Some(ssrc) = self.pool.take() else {
            self.tell(
                waiter,
                Err(Failure::new(Reason::NoCapacity, "all SSRC serials of this domain are in use")),
            );
            return;
        };
        let id = self.new_id();
        self.calls.insert(
            id,
            Call {
                key,
                target,
                ssrc,
                state: State::Opening,
                waiters: vec![waiter],
                wanted_at: now,
                media: None,
                offer: None,
                invite: None,
                record: None,
                ack: None,
                readers: 0,
                deadline: None,
            },
        );
        self.live.insert(key, id);
        self.set_deadline(id, Some(now.instant + self.settings.play_timeout));
        self.actions.push_back(Action::OpenMedia { call: id, key, target, ssrc });
    }

    /// Somebody no longer waits.
    pub fn unwant(&mut self, waiter: Waiter) {
        for call in self.calls.values_mut() {
            call.waiters.retain(|other| *other != waiter);
        }
    }

    /// The media plane has news of a call.
    pub fn media(&mut self, now: Now, id: CallId, news: Media) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match (news, call.state) {
            (Media::Opened(address), State::Opening) => {
                call.media = Some(address);
                call.state = State::Inviting;
                self.invite(id);
            }
            (Media::OpenFailed(why), State::Opening) => {
                self.finish(id, Failure::new(Reason::NoCapacity, why))
            }
            (Media::Flowing, State::Waiting { .. }) => call.state = State::Waiting { rtp: true },
            // A fast camera's picture may overtake its own 200.
            (Media::Ready, State::Inviting | State::Waiting { .. }) => self.run(now, id),
            (Media::Readers(count), state) => {
                call.readers = count;
                if state == State::Running {
                    let deadline = (count == 0).then(|| now.instant + self.settings.no_reader_timeout);
                    self.set_deadline(id, deadline);
                }
            }
            (Media::Ended(why), State::Inviting | State::Waiting { .. } | State::Running) => {
                self.finish(id, Failure::ended(why));
            }
            _ => {}
        }
    }

    /// An answer to the INVITE or the BYE of a call, or that there will be none.
    pub fn answered(&mut self, now: Now, id: CallId, answer: Result<&Message, Unanswered>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match (call.state, answer) {
            // Whatever a device says to a BYE (200, 481), the dialog is over.
            (State::Closing, Ok(message)) => {
                if message.code().is_some_and(|code| code >= 200) {
                    self.forget(id);
                }
            }
            // If it says nothing, it may be sending still: the dialog stays on record.
            (State::Closing, Err(_)) => {
                self.actions.extend(call.record.take().map(Action::LeftOver));
                self.forget(id);
            }
            (_, Ok(message)) => match message.code() {
                Some(200..=299) => self.accepted(now, id, message),
                Some(code @ 300..) => self.refused(id, code, message),
                _ => {}
            },
            (State::Cancelling, Err(_)) => self.forget(id),
            (_, Err(failure)) => {
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

    /// A request inside a dialog of ours (BYE and the like). Returns false if it belongs to no call.
    pub fn request(&mut self, key: ServerKey, request: &Message) -> bool {
        let Some(id) = request.call_id().and_then(|call_id| self.by_call_id.get(call_id)).copied() else {
            return false;
        };
        let Some(call) = self.calls.get(&id) else { return false };
        if !call.record.as_ref().is_some_and(|record| record.dialog.matches(request)) {
            return false;
        }
        let code = match request.method() {
            Some(Method::Bye | Method::Info | Method::Message | Method::Options) => 200,
            // We can't follow an offer that changes the session: the session goes on as it was.
            Some(Method::Invite) => 488,
            _ => 405,
        };
        self.actions.push_back(Action::Respond { key, message: request.response(code) });
        if request.method() == Some(&Method::Bye) {
            self.drop_dialog(id);
            self.finish(id, Failure::ended("the device ended the stream with BYE"));
        }
        true
    }

    /// A device went away, or came back as if new: its dialogs mean nothing to it any more.
    pub fn device_lost(&mut self, device: &Id, why: &str) {
        let lost: Vec<CallId> =
            self.live.iter().filter(|(key, _)| key.device == *device).map(|(_, id)| *id).collect();
        for id in lost {
            self.finish(id, Failure::offline(why));
        }
    }

    /// Somebody ends a stream. Returns false if there is none with that id.
    pub fn stop(&mut self, id: CallId, why: &str) -> bool {
        let known = self.calls.get(&id).is_some_and(|call| self.live.get(&call.key) == Some(&id));
        if known {
            self.finish(id, Failure::stopped(why));
        }
        known
    }

    /// Ends every call, as for a shutdown.
    pub fn stop_all(&mut self, why: &str) {
        let all: Vec<CallId> = self.live.values().copied().collect();
        for id in all {
            self.finish(id, Failure::stopped(why));
        }
    }

    /// Ends a dialog that was left behind, by an earlier run of this gateway or for want of a way to its device.
    pub fn end_left_over(&mut self, mut record: Record, flow: Flow) {
        let message = record.dialog.request(Method::Bye);
        // Nothing waits for the answer, so the number is used up for nothing else.
        let call = self.new_id();
        self.actions.push_back(forget(record));
        self.actions.push_back(Action::Request { call, flow, message });
    }

    /// Moves time forward.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((deadline, id)) = self.deadlines.first().copied() {
            if deadline > now.instant {
                break;
            }
            self.set_deadline(id, None);
            let Some(call) = self.calls.get(&id) else { continue };
            let seconds = self.settings.play_timeout.as_secs_f32();
            let failure = match call.state {
                State::Opening => Failure::new(Reason::NoCapacity, "no media port was opened in time"),
                State::Inviting => Failure::new(
                    Reason::InviteTimeout,
                    format!("no final answer to INVITE within {seconds} s"),
                ),
                State::Waiting { rtp: false } => Failure::new(Reason::NoRtp, no_rtp(call, seconds)),
                State::Waiting { rtp: true } => Failure::new(
                    Reason::NoKeyFrame,
                    format!("RTP arrives, but no picture that can be decoded came within {seconds} s"),
                ),
                State::Running => Failure::ended("nobody watches"),
                State::Cancelling | State::Closing => continue,
            };
            self.finish(id, failure);
        }
    }

    /// When [`Calls::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The next thing to do for the surroundings.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn new_id(&mut self) -> CallId {
        let id = CallId(self.next_id);
        self.next_id += 1;
        id
    }

    fn invite(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(media) = call.media else { return };
        let offer = invite::offer(&call.key, &call.target, media, call.ssrc);
        let message =
            invite::request(&self.settings, &mut self.tokens, &call.key, &call.target, &offer, call.ssrc);
        call.offer = Some(offer);
        if let Some(call_id) = message.call_id() {
            self.by_call_id.insert(call_id.to_owned(), id);
        }
        call.invite = Some(message.clone());
        self.actions.push_back(Action::Request { call: id, flow: call.target.flow, message });
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
            self.finish(
                id,
                Failure::new(Reason::InviteRefused(200), "the 200 to INVITE has no usable To tag or Call-ID"),
            );
            return;
        };
        call.ack = Some(ack.clone());
        let record = call.record.insert(Box::new(Record {
            device: call.key.device,
            channel: call.key.channel,
            call_id: dialog.call_id.clone(),
            kind: StreamKind::Live,
            stream: id.to_string(),
            dialog,
            route: flow.into(),
            ssrc: Some(call.ssrc),
            media_transport: call.target.transport,
            started_at: now.unix,
        }));
        self.actions.push_back(Action::Send { flow, message: ack });
        self.actions.push_back(Action::Keep(record.clone()));
        if call.state == State::Cancelling {
            self.hang_up(id);
            return;
        }
        let answered = match call.offer.as_ref().map(|offer| invite::read_answer(offer, answer)) {
            Some(Ok(answered)) => answered,
            Some(Err(why)) => return self.finish(id, Failure::new(Reason::InviteRefused(488), why)),
            None => return,
        };
        if call.state == State::Inviting {
            call.state = State::Waiting { rtp: false };
        }
        let ssrc = answered.ssrc.unwrap_or(call.ssrc);
        self.actions.push_back(Action::ConnectMedia { call: id, remote: answered.remote, ssrc });
    }

    /// A final answer of 300 or more to the INVITE.
    fn refused(&mut self, id: CallId, code: u16, answer: &Message) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.state == State::Cancelling {
            self.forget(id);
            return;
        }
        let Start::Response { reason, .. } = &answer.start else { return };
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(80).collect();
        let why = format!("the device answered INVITE with {code} {reason}");
        self.finish(id, Failure::new(Reason::InviteRefused(code), why.trim_end()));
    }

    /// The picture is there.
    fn run(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.state = State::Running;
        let (key, took) = (call.key, now.instant.saturating_duration_since(call.wanted_at.instant));
        let waiters = std::mem::take(&mut call.waiters);
        self.actions.push_back(Action::Started { call: id, key, took });
        for waiter in waiters {
            self.tell(waiter, Ok(id));
        }
        self.set_deadline(id, Some(now.instant + self.settings.no_reader_timeout));
    }

    /// Ends a call in whatever state it is: waiters are told, the port is closed, the device hears CANCEL or BYE.
    fn finish(&mut self, id: CallId, why: Failure) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (key, state) = (call.key, call.state);
        if matches!(state, State::Cancelling | State::Closing) {
            return;
        }
        let waiters = std::mem::take(&mut call.waiters);
        if self.live.get(&key) == Some(&id) {
            self.live.remove(&key);
        }
        self.set_deadline(id, None);
        for waiter in waiters {
            self.tell(waiter, Err(why.clone()));
        }
        self.actions.push_back(Action::CloseMedia { call: id, why: why.detail.clone() });
        let ran = state == State::Running;
        let refused = matches!(why.reason, Reason::InviteRefused(_));
        self.actions.push_back(Action::Ended { call: id, key, why, ran });
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.record.is_some() {
            self.hang_up(id);
        } else if call.invite.is_some() && call.ack.is_none() && !refused {
            // No final answer yet, though a picture may be there.
            call.state = State::Cancelling;
            self.actions.push_back(Action::Cancel { call: id });
        } else {
            self.forget(id);
        }
    }

    /// Sends BYE in the call's dialog.
    fn hang_up(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(record) = &mut call.record else { return self.forget(id) };
        call.state = State::Closing;
        let message = record.dialog.request(Method::Bye);
        self.actions.push_back(Action::Request { call: id, flow: call.target.flow, message });
    }

    /// The dialog is over on the other side: no BYE is owed.
    fn drop_dialog(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        self.actions.extend(call.record.take().map(|record| forget(*record)));
    }

    /// Nothing of the call is left to do.
    fn forget(&mut self, id: CallId) {
        self.drop_dialog(id);
        self.set_deadline(id, None);
        let Some(call) = self.calls.remove(&id) else { return };
        if let Some(call_id) = call.invite.as_ref().and_then(Message::call_id) {
            self.by_call_id.remove(call_id);
        }
        self.pool.give_back(call.ssrc);
        self.actions.push_back(Action::Gone { call: id });
    }

    fn tell(&mut self, waiter: Waiter, outcome: Result<CallId, Failure>) {
        self.actions.push_back(Action::Tell { waiter, outcome });
    }

    fn set_deadline(&mut self, id: CallId, deadline: Option<Instant>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut call.deadline, deadline) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id));
        }
    }
}

fn forget(record: Record) -> Action {
    Action::Forget { device: record.device, channel: record.channel, call_id: record.call_id }
}

/// Names the road that the media should have taken.
fn no_rtp(call: &Call, seconds: f32) -> String {
    let way = call.target.transport.as_str();
    match call.media {
        Some(address) => {
            format!("the device answered 200, but no RTP reached {address} ({way}) within {seconds} s")
        }
        None => format!("no RTP arrived ({way}) within {seconds} s"),
    }
}
