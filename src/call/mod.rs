//! Media sessions: from "channel X is wanted" over INVITE, answer and first picture to BYE (clauses 9.2, 9.8, 9.9 and
//! 9.12): live streams, recordings played back or downloaded, and voices to a device's loudspeaker.
//!
//! [`Calls`] is a pure state machine. One call serves everybody who wants the same content of the same channel
//! (single flight); it lives as long as somebody reads and a while longer. After each change the caller drains
//! [`Calls::poll_action`] until it returns `None`.
//!
//! ```text
//! want -> Opening -> Inviting -> Waiting -> Running -> Closing -> gone
//!         (port)     (INVITE)    (picture)             (BYE)
//! talk -> Asking -> Opening -> Connecting -> Running -> Closing -> gone      by Broadcast: the device says INVITE
//! talk -> Opening -> Inviting -> Connecting -> Running -> Closing -> gone    by Talk: we do
//! ```

mod control;
mod dialog;
mod ending;
mod failure;
mod invite;
mod ssrc;
mod talk;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::sdp::Sdp;
use crate::gb::time::Now;
use crate::registry::Call as Record;
use crate::sip::{Message, ServerKey, Tokens};

pub use control::MAX_SCALE;
use control::Player;
use ending::End;
pub use failure::{Failure, Reason};
pub use ssrc::SsrcPool;
use talk::Talk;
pub use types::{
    Action, CallId, Content, Finish, Flowing, History, Key, Media, Playback, PlaybackState, Profile, Purpose,
    Settings, Target, Waiter,
};

/// Waiters per call; the next is refused. A viewer waits for `play_timeout` at most.
const MAX_WAITERS: usize = 256;

/// A download takes no longer than this many times its recording, at whatever speed, and [`DOWNLOAD_MARGIN`]: it has
/// no viewers whose leaving would end it.
const DOWNLOAD_PATIENCE: f64 = 2.0;
/// See [`DOWNLOAD_PATIENCE`].
const DOWNLOAD_MARGIN: Duration = Duration::from_secs(600);

/// Where a call stands; the names are those of the public contract where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A voice was announced by Broadcast; waits for the device's INVITE.
    Asking,
    /// Waits for a port.
    Opening,
    /// INVITE sent.
    Inviting,
    /// Answered with 200, waits for a picture; whether RTP arrives is known.
    Waiting { rtp: bool },
    /// A voice is agreed; waits for the ACK and the connection that it needs.
    Connecting,
    /// Has a picture, or can be spoken to.
    Running,
    /// CANCEL sent; a late 200 still has to be acknowledged and ended.
    Cancelling,
    /// The device's INVITE was answered with 200 and is over for us; BYE is owed once the ACK came.
    Owing,
    /// BYE sent.
    Closing,
}

impl State {
    /// Whether the call is being ended.
    fn is_ending(self) -> bool {
        matches!(self, State::Cancelling | State::Owing | State::Closing)
    }
}

struct Call {
    key: Key,
    target: Target,
    /// Of our pool; another one may have been agreed on.
    ssrc: u32,
    state: State,
    waiters: Vec<Waiter>,
    wanted_at: Now,
    media: Option<SocketAddr>,
    /// Ours or, for a voice by Broadcast, the device's.
    offer: Option<Sdp>,
    /// Ours or, for a voice by Broadcast, the device's.
    invite: Option<Message>,
    /// When our INVITE was sent, until something comes in answer.
    unanswered_since: Option<Instant>,
    /// The dialog, once there is one, as it is kept.
    record: Option<Box<Record>>,
    ack: Option<Message>,
    readers: usize,
    /// What is known of the end of the recording.
    end: End,
    player: Option<Box<Player>>,
    talk: Option<Box<Talk>>,
    deadline: Option<Instant>,
    control_deadline: Option<Instant>,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The next state of the call.
    Life,
    /// The answer to a control.
    Control,
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
    by_device: BTreeSet<(Id, CallId)>,
    /// INVITEs of devices that are not over.
    by_server: HashMap<ServerKey, CallId>,
    /// Who waits for what, controls included.
    waiting: HashMap<Waiter, CallId>,
    deadlines: BTreeSet<(Instant, CallId, Timer)>,
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
            by_device: BTreeSet::new(),
            by_server: HashMap::new(),
            waiting: HashMap::new(),
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

    /// Somebody wants a stream: live, playback or download. The answer comes as [`Action::Tell`].
    ///
    /// A playback or download needs `target.history`.
    pub fn want(&mut self, now: Now, waiter: Waiter, key: Key, target: Target) {
        if let Some((id, call)) =
            self.live.get(&key).and_then(|id| self.calls.get_mut(id).map(|call| (*id, call)))
        {
            if call.state == State::Running {
                // The reader is about to attach: give it the full time to do so.
                if call.readers == 0 {
                    self.await_readers(now, id);
                }
                self.tell(waiter, Ok(id));
            } else if call.waiters.len() < MAX_WAITERS {
                call.waiters.push(waiter);
                self.waiting.insert(waiter, id);
            } else {
                let why = format!("{MAX_WAITERS} others already wait for this stream");
                self.tell(waiter, Err(Failure::new(Reason::NoCapacity, why)));
            }
            return;
        }
        if key.is_history() != target.history.is_some() || key.content == Content::Talk {
            let why = "a recording is wanted by a part of it, other streams without, and a voice by a talk";
            return self.tell(waiter, Err(Failure::not_found(why)));
        }
        let Some(id) = self.begin(now, waiter, key, target, State::Opening) else { return };
        self.open_media(id, Flowing::In);
    }

    /// Makes a call with one who waits for it; `None` if there is no SSRC for it, which the waiter is told.
    fn begin(&mut self, now: Now, waiter: Waiter, key: Key, target: Target, state: State) -> Option<CallId> {
        let ssrc = if key.is_history() { self.pool.take_history() } else { self.pool.take() };
        let Some(ssrc) = ssrc else {
            let why = "all SSRC serials of this domain are in use";
            self.tell(waiter, Err(Failure::new(Reason::NoCapacity, why)));
            return None;
        };
        let id = self.new_id();
        let call = Call {
            key,
            target,
            ssrc,
            state,
            waiters: vec![waiter],
            wanted_at: now,
            media: None,
            offer: None,
            invite: None,
            unanswered_since: None,
            record: None,
            ack: None,
            readers: 0,
            end: End::Unknown,
            player: None,
            talk: None,
            deadline: None,
            control_deadline: None,
        };
        self.calls.insert(id, call);
        self.live.insert(key, id);
        self.by_device.insert((key.device, id));
        self.waiting.insert(waiter, id);
        self.set_timer(id, Timer::Life, Some(now.instant + self.settings.play_timeout));
        Some(id)
    }

    fn open_media(&mut self, id: CallId, flowing: Flowing) {
        let Some(call) = self.calls.get(&id) else { return };
        // A device that fetches a voice may name the SSRC to be used.
        let ssrc = call.offer.as_ref().and_then(|offer| offer.ssrc).unwrap_or(call.ssrc);
        let (key, target) = (call.key, call.target);
        self.actions.push_back(Action::OpenMedia { call: id, key, target, ssrc, flowing });
    }

    /// Somebody no longer waits. A live stream goes on until its time is over, since the next viewer is often the
    /// same person; a recording or a voice that nobody else waits for ends.
    pub fn unwant(&mut self, waiter: Waiter) {
        let Some(id) = self.waiting.remove(&waiter) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.waiters.retain(|other| *other != waiter);
        if let Some(player) = &mut call.player {
            player.unwant(waiter);
        }
        let alone = call.waiters.is_empty() && !matches!(call.key.content, Content::Live(_));
        if alone && call.state != State::Running {
            self.finish(id, Failure::stopped("nobody waits for it any more"));
        }
    }

    /// The media plane has news of a call.
    pub fn media(&mut self, now: Now, id: CallId, news: Media) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match (news, call.state) {
            (Media::Opened(address), State::Opening) => {
                call.media = Some(address);
                if call.talk.as_ref().is_some_and(|talk| talk.is_called()) {
                    self.accept_voice(now, id);
                } else {
                    self.invite(now, id);
                }
            }
            (Media::OpenFailed(why), State::Opening) => {
                self.finish(id, Failure::new(Reason::NoCapacity, why))
            }
            (Media::Connected, _) => {
                if let Some(talk) = &mut call.talk {
                    talk.connected = true;
                }
                self.voice_progress(now, id);
            }
            (Media::Flowing, State::Waiting { .. }) => call.state = State::Waiting { rtp: true },
            // A fast camera's picture may overtake its own 200.
            (Media::Ready, State::Inviting | State::Waiting { .. }) if call.talk.is_none() => {
                self.run(now, id)
            }
            (Media::Readers(count), state) => {
                call.readers = count;
                if state == State::Running {
                    self.await_readers(now, id);
                }
            }
            (Media::Ended(why), state) if !state.is_ending() => {
                let failure = call.end.failure().unwrap_or_else(|| Failure::ended(why));
                self.note_silent_end(now, id);
                self.finish(id, failure);
            }
            _ => {}
        }
    }

    /// A device went away, or came back as if new: its dialogs mean nothing to it any more.
    pub fn device_lost(&mut self, device: &Id, why: &str) {
        for id in self.calls_of(device) {
            self.finish(id, Failure::offline(why));
        }
    }

    fn calls_of(&self, device: &Id) -> Vec<CallId> {
        let all = (*device, CallId(0))..=(*device, CallId(u64::MAX));
        self.by_device.range(all).map(|(_, id)| *id).collect()
    }

    /// Somebody ends a stream. Returns false if there is none with that id.
    pub fn stop(&mut self, id: CallId, why: &str) -> bool {
        let known = self.calls.get(&id).is_some_and(|call| !call.state.is_ending());
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

    /// Moves time forward.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((deadline, id, timer)) = self.deadlines.first().copied() {
            if deadline > now.instant {
                break;
            }
            self.set_timer(id, timer, None);
            match timer {
                Timer::Life => self.life_is_over(id),
                Timer::Control => self.control_is_late(now, id),
            }
        }
    }

    fn life_is_over(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let seconds = self.settings.play_timeout.as_secs_f32();
        let failure = match call.state {
            _ if call.end == End::Told && !call.state.is_ending() => Failure::end_of_file(),
            State::Asking => Failure::new(Reason::TalkTimeout, talk::NO_INVITE),
            State::Opening => Failure::new(Reason::NoCapacity, "no media port was opened in time"),
            State::Inviting => {
                Failure::new(Reason::InviteTimeout, format!("no final answer to INVITE within {seconds} s"))
            }
            State::Waiting { rtp: false } => Failure::new(Reason::NoRtp, no_rtp(call, seconds)),
            State::Waiting { rtp: true } => Failure::new(
                Reason::NoKeyFrame,
                format!("RTP arrives, but no picture that can be decoded came within {seconds} s"),
            ),
            State::Connecting => Failure::new(Reason::TalkTimeout, talk::not_connected(call, seconds)),
            State::Running => {
                let why = match call.key.content {
                    Content::Live(_) | Content::Playback(_) => "nobody watches",
                    Content::Download(_) => "the download takes much longer than its recording",
                    Content::Talk => "nobody speaks",
                };
                return self.finish_as(id, Failure::ended(why), Finish::ByUs);
            }
            // The device never acknowledged, and nothing told us that it never will.
            State::Owing => return self.hang_up(id),
            State::Cancelling | State::Closing => return,
        };
        match call.state {
            State::Asking if call.talk.as_ref().is_some_and(|talk| talk.consented) => {
                self.observe(id, Rule::BroadcastNoInvite, "OK to Broadcast, and no INVITE");
            }
            State::Waiting { rtp: false } if call.end != End::Told => {
                self.observe(id, Rule::MediaMissing, failure.detail.as_str());
            }
            _ => {}
        }
        self.finish(id, failure);
    }

    /// When [`Calls::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, ..)| *deadline)
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

    /// The picture is there, or the way for a voice.
    fn run(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.state = State::Running;
        let seconds = call.target.history.map_or(0.0, |history| history.seconds());
        let mut patience = None;
        match call.key.content {
            Content::Playback(_) => call.player = Some(Box::new(Player::new(now.instant, seconds))),
            Content::Download(_) if call.end != End::Told => {
                let most = Duration::from_secs_f64((seconds * DOWNLOAD_PATIENCE).clamp(0.0, MAX_SECONDS));
                patience = Some(now.instant + most + DOWNLOAD_MARGIN);
            }
            _ => {}
        }
        let (key, took) = (call.key, now.instant.saturating_duration_since(call.wanted_at.instant));
        let waiters = std::mem::take(&mut call.waiters);
        self.actions.push_back(Action::Started { call: id, key, took });
        for waiter in waiters {
            self.tell(waiter, Ok(id));
        }
        match patience {
            Some(_) => self.set_timer(id, Timer::Life, patience),
            None => self.await_readers(now, id),
        }
    }

    /// Sets the time of a running call by who reads it: without readers it ends after a while. A download has its
    /// own time, and a recording that was sent to its end, too.
    fn await_readers(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.end == End::Told || matches!(call.key.content, Content::Download(_)) {
            return;
        }
        let deadline = (call.readers == 0).then(|| now.instant + self.settings.no_reader_timeout);
        self.set_timer(id, Timer::Life, deadline);
    }

    /// Notes that the device's way of doing things departs from the standard.
    fn observe(&mut self, id: CallId, rule: Rule, sample: impl Into<String>) {
        if let Some(call) = self.calls.get(&id) {
            let device = call.key.device;
            self.actions.push_back(Action::Observe { device, rule, sample: sample.into() });
        }
    }

    fn tell(&mut self, waiter: Waiter, outcome: Result<CallId, Failure>) {
        self.waiting.remove(&waiter);
        self.actions.push_back(Action::Tell { waiter, outcome });
    }

    fn set_timer(&mut self, id: CallId, timer: Timer, deadline: Option<Instant>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let slot = match timer {
            Timer::Life => &mut call.deadline,
            Timer::Control => &mut call.control_deadline,
        };
        if let Some(old) = std::mem::replace(slot, deadline) {
            self.deadlines.remove(&(old, id, timer));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id, timer));
        }
    }
}

/// The longest time that is reckoned with, in seconds: a year.
const MAX_SECONDS: f64 = 31_536_000.0;

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
