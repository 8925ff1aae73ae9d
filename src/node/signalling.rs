//! The loop of a signalling shard: it owns a [`Shard`], feeds it and does what it wants done.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::downloads::Downloads;
use super::event::Event;
use super::keeper::{Keeper, Order};
use super::shard::{Effect, Input, Shard};
use super::streams::Streams;
use crate::call::{self, CallId, Content, Finish, History, Key, PlaybackState};
use crate::device::{self, Waiter, WriteToken};
use crate::gb::id::Id;
use crate::net::clock;
use crate::net::sip::{DROPPED, Outlet};
use crate::sip::Summary;
use crate::telemetry::metrics::{self as names, Direction};

/// Commands that may wait for a shard. A full inbox means that the node is overloaded: requests of devices are
/// then dropped and counted (they come again), and commands of people fail.
pub(super) const INBOX: usize = 4_096;
/// How often it is looked whether those who wait are still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Commands taken in one go before effects are carried out.
const BURST: usize = 64;

/// What a shard is told by the rest of the node.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are messages; a box would cost each of them")]
pub(super) enum Command {
    /// Something happened.
    Input(Input),
    /// What became of writes that the shard waits for, in their order.
    Committed(Vec<(WriteToken, bool)>),
    /// Somebody wants a stream; of a recording, which part of it.
    Play { key: Key, history: Option<History>, reply: Reply<CallId, call::Failure> },
    /// Somebody wants to speak to a device.
    Talk { key: Key, reply: Reply<CallId, call::Failure> },
    /// Somebody pauses a playback, or lets it go on otherwise.
    Control { call: CallId, command: call::Playback, reply: Reply<PlaybackState, call::Failure> },
    /// Somebody asks something of a device.
    Ask {
        device: Id,
        target: Id,
        request: Box<device::Request>,
        reply: Reply<device::Outcome, device::Failure>,
    },
    /// Somebody wants a catalog fetched.
    Sync { device: Id, reply: Reply<device::Synced, device::Failure> },
    /// How much is under way.
    Load { reply: oneshot::Sender<Load> },
}

/// The way back to who waits.
pub(super) type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// Who waits for what.
#[derive(Debug)]
pub(super) enum Waiting {
    Call(Reply<CallId, call::Failure>),
    Control(Reply<PlaybackState, call::Failure>),
    Sync(Reply<device::Synced, device::Failure>),
    Answer(Reply<device::Outcome, device::Failure>),
}

/// How much is under way in a shard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) calls: usize,
    pub(super) registrations: usize,
}

/// A shard's loop.
pub(super) struct Runner {
    pub(super) shard: Shard,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) own: mpsc::Sender<Command>,
    pub(super) outlet: Outlet,
    pub(super) keeper: Keeper,
    pub(super) streams: Arc<Streams>,
    pub(super) events: tokio::sync::broadcast::Sender<Event>,
    pub(super) downloads: Arc<Downloads>,
    /// By number; bounded by what may wait in the rooms that they wait for.
    pub(super) waiting: HashMap<u64, Waiting>,
    pub(super) next_waiter: u64,
}

impl Runner {
    /// Runs until the node drops the other end of the inbox.
    pub(super) async fn run(mut self) {
        let mut burst = Vec::with_capacity(BURST);
        let mut look = tokio::time::interval(LOOK_EVERY);
        // One alarm, set anew when the time changes: most messages leave it as it is.
        let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
        let mut set = None;
        loop {
            self.carry_out();
            let due = self.shard.next_timeout();
            if let Some(due) = due.filter(|_| due != set) {
                alarm.as_mut().reset(due.into());
            }
            set = due;
            tokio::select! {
                count = self.inbox.recv_many(&mut burst, BURST) => {
                    if count == 0 {
                        return;
                    }
                    for command in burst.drain(..) {
                        self.command(command);
                    }
                }
                () = alarm.as_mut(), if set.is_some() => {
                    set = None;
                    self.shard.handle_timeout(clock::both());
                }
                _ = look.tick() => self.forget_who_left(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        let now = clock::both();
        match command {
            Command::Input(input) => self.shard.handle(now, input),
            Command::Committed(outcomes) => {
                for (token, kept) in outcomes {
                    self.shard.handle(now, Input::Committed { token, kept });
                }
            }
            Command::Play { key, history, reply } => {
                let waiter = call::Waiter(self.waiter(Waiting::Call(reply)));
                self.shard.handle(now, Input::Want { waiter, key, history });
            }
            Command::Talk { key, reply } => {
                let waiter = call::Waiter(self.waiter(Waiting::Call(reply)));
                self.shard.handle(now, Input::Talk { waiter, key });
            }
            Command::Control { call, command, reply } => {
                let waiter = call::Waiter(self.waiter(Waiting::Control(reply)));
                self.shard.handle(now, Input::Control { waiter, call, command });
            }
            Command::Ask { device, target, request, reply } => {
                let waiter = Waiter(self.waiter(Waiting::Answer(reply)));
                self.shard.handle(now, Input::Ask { waiter, device, target, request });
            }
            Command::Sync { device, reply } => {
                let waiter = Waiter(self.waiter(Waiting::Sync(reply)));
                self.shard.handle(now, Input::Sync { waiter, device });
            }
            Command::Load { reply } => {
                let load = Load { calls: self.shard.calls(), registrations: self.shard.registrations() };
                let _ = reply.send(load);
            }
        }
    }

    fn waiter(&mut self, waiting: Waiting) -> u64 {
        self.next_waiter += 1;
        self.waiting.insert(self.next_waiter, waiting);
        self.next_waiter
    }

    /// Viewers who gave up while they waited for a stream, so that nobody rings at a camera for them.
    fn forget_who_left(&mut self) {
        let left: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| matches!(waiting, Waiting::Call(reply) if reply.is_closed()))
            .map(|(waiter, _)| *waiter)
            .collect();
        for waiter in left {
            self.waiting.remove(&waiter);
            self.shard.handle(clock::both(), Input::Unwant { waiter: call::Waiter(waiter) });
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Send { flow, bytes } => {
                    if let Some(summary) = Summary::of(&bytes) {
                        names::sip_message(Direction::Out, flow.transport, &summary);
                    }
                    // What could not be sent is counted; the transaction sends it again, or fails.
                    let _ = self.outlet.send(&flow, bytes);
                }
                Effect::Write { token, writes } => {
                    let queued = self.keeper.write(Order { writes, token, shard: self.own.clone() });
                    if let Some(token) = token.filter(|_| !queued) {
                        self.shard.handle(clock::both(), Input::Committed { token, kept: false });
                    }
                }
                Effect::Seen { device } => self.keeper.seen(device),
                Effect::OpenMedia { call, key, target, ssrc, flowing } => {
                    Arc::clone(&self.streams).open(call, key, target, ssrc, flowing, self.own.clone());
                }
                Effect::ConnectMedia { call, remote, ssrc, payload_type } => {
                    self.streams.connect(call, remote, ssrc, payload_type);
                }
                Effect::TalkReady { call } => self.streams.talk_ready(call),
                Effect::Pace { call, state, seek } => self.streams.pace(call, state, seek),
                Effect::CloseMedia { call, why } => self.streams.close(call, &why),
                // Whoever does not wait any longer has dropped the other end.
                Effect::Play { waiter, outcome } => {
                    if let Some(Waiting::Call(reply)) = self.waiting.remove(&waiter.0) {
                        let _ = reply.send(outcome);
                    }
                }
                Effect::Controlled { waiter, outcome } => {
                    if let Some(Waiting::Control(reply)) = self.waiting.remove(&waiter.0) {
                        let _ = reply.send(outcome);
                    }
                }
                Effect::Synced { waiter, outcome } => {
                    if let Some(Waiting::Sync(reply)) = self.waiting.remove(&waiter.0) {
                        let _ = reply.send(outcome);
                    }
                }
                Effect::Answered { waiter, outcome } => {
                    if let Some(Waiting::Answer(reply)) = self.waiting.remove(&waiter.0) {
                        let _ = reply.send(outcome);
                    }
                }
                Effect::Started { call, key, took } => {
                    histogram!(names::FIRST_FRAME).record(took.as_secs_f64());
                    let Key { device, channel, .. } = key;
                    let stream = key.stream_name();
                    info!(%device, %channel, stream, took_ms = took.as_millis() as u64, "stream started");
                    self.tell(Event::StreamStarted { id: call.to_string(), device, channel, stream });
                }
                Effect::Ended { call, key, why, ran, finish } => self.ended(call, key, &why, ran, finish),
                Effect::Device(event) => self.device_event(event),
            }
        }
    }

    fn ended(&self, call: CallId, key: Key, why: &call::Failure, ran: bool, finish: Finish) {
        let Key { device, channel, content } = key;
        let stream = key.stream_name();
        if let Content::Download(session) = content {
            let outcome = match finish {
                Finish::Complete => Ok(()),
                _ => Err((why.code().to_owned(), why.detail.clone())),
            };
            self.downloads.ended(session, outcome);
        }
        if ran || finish == Finish::Complete {
            info!(%device, %channel, stream, why = %why.detail, "stream ended");
        } else {
            counter!(names::INVITE_FAILURES, "step" => why.step()).increment(1);
            warn!(%device, %channel, stream, step = why.step(), why = %why.detail, "play failed");
        }
        let (code, detail) = (why.code(), why.detail.clone());
        self.tell(Event::StreamEnded { id: call.to_string(), device, channel, stream, code, detail });
    }

    fn device_event(&self, event: device::Event) {
        match event {
            // The registry tells of it, once the write is applied.
            device::Event::Offline { device, cause } => {
                debug!(%device, cause = cause.as_str(), "device offline")
            }
            device::Event::CatalogSynced { device, synced, took } => {
                histogram!(names::CATALOG_SYNC).record(took.as_secs_f64());
                let device::Synced { received, total, complete } = synced;
                if complete {
                    info!(%device, received, "catalog complete");
                } else {
                    warn!(%device, received, total, "catalog incomplete");
                }
            }
            device::Event::AuthFailed { device, reason } => {
                counter!(names::AUTH_FAILURES, "reason" => reason).increment(1);
                debug!(device = device.map(tracing::field::display), reason, "request refused");
            }
            device::Event::BadBody { device, reason } => {
                counter!(DROPPED, "reason" => reason).increment(1);
                debug!(%device, reason, "body can't be read");
            }
            device::Event::Alarm { alarm, repeated: false } => {
                counter!(names::ALARMS).increment(1);
                self.tell(Event::Alarm { alarm });
            }
            device::Event::Alarm { alarm, repeated: true } => self.tell(Event::AlarmChanged { alarm }),
            device::Event::Position { device, channel, position } => {
                self.tell(Event::Position { device, channel, position });
            }
            device::Event::PtzPosition { device, channel, position } => {
                self.tell(Event::PtzPosition { device, channel, position });
            }
            device::Event::SnapshotFinished { device, channel, finished } => {
                self.tell(Event::SnapshotFinished { device, channel, finished });
            }
            device::Event::UpgradeResult { device, result } => {
                info!(%device, ok = result.ok, firmware = result.firmware, "firmware upgrade ended");
                self.tell(Event::UpgradeResult { device, result });
            }
            device::Event::VideoUpload { device, channel, .. } => {
                self.tell(Event::VideoUpload { device, channel });
            }
            // The shard has told the calls.
            device::Event::FileEnd { .. } => {}
            device::Event::Departure { device, rule, sample } => {
                info!(%device, rule = rule.code(), sample, "the device departs from the standard");
                self.tell(Event::Departure { device, rule, sample });
            }
        }
    }

    fn tell(&self, event: Event) {
        // Without watchers there is nobody to tell.
        let _ = self.events.send(event);
    }
}
