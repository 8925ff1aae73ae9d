//! The loop of a signalling shard: it owns a [`Shard`], feeds it and does what it wants done.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{counter, histogram};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::event::Event;
use super::keeper::{Keeper, Order};
use super::shard::{Effect, Input, Shard};
use super::streams::Streams;
use crate::call::{self, CallId, Key};
use crate::device;
use crate::gb::id::Id;
use crate::net::clock;
use crate::net::sip::{DROPPED, Outlet};
use crate::sip::Message;
use crate::telemetry::metrics::{self as names, Direction};

/// Commands that may wait for a shard. A full inbox means that the node is overloaded: requests of devices are
/// then dropped and counted (they come again), and commands of people fail.
pub(super) const INBOX: usize = 4_096;
/// Commands taken in one go before effects are carried out.
const BURST: usize = 64;

/// What a shard is told by the rest of the node.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are messages; a box would cost each of them")]
pub(super) enum Command {
    /// Something happened.
    Input(Input),
    /// Somebody wants a stream.
    Play { key: Key, reply: oneshot::Sender<Result<CallId, call::Failure>> },
    /// Somebody wants a catalog fetched.
    Sync { device: Id, reply: oneshot::Sender<Result<device::Synced, device::Failure>> },
    /// How much is under way.
    Load { reply: oneshot::Sender<Load> },
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
    pub(super) plays: HashMap<u64, oneshot::Sender<Result<CallId, call::Failure>>>,
    pub(super) syncs: HashMap<u64, oneshot::Sender<Result<device::Synced, device::Failure>>>,
    pub(super) next_waiter: u64,
}

impl Runner {
    /// Runs until the node drops the other end of the inbox.
    pub(super) async fn run(mut self) {
        let mut burst = Vec::with_capacity(BURST);
        loop {
            self.carry_out();
            let due = self.shard.next_timeout();
            tokio::select! {
                count = self.inbox.recv_many(&mut burst, BURST) => {
                    if count == 0 {
                        return;
                    }
                    for command in burst.drain(..) {
                        self.command(command);
                    }
                }
                () = clock::until(due) => self.shard.handle_timeout(clock::both()),
            }
        }
    }

    fn command(&mut self, command: Command) {
        let now = clock::both();
        match command {
            Command::Input(input) => self.shard.handle(now, input),
            Command::Play { key, reply } => {
                let waiter = self.waiter();
                self.plays.insert(waiter, reply);
                self.shard.handle(now, Input::Want { waiter: call::Waiter(waiter), key });
            }
            Command::Sync { device, reply } => {
                let waiter = self.waiter();
                self.syncs.insert(waiter, reply);
                self.shard.handle(now, Input::Sync { waiter: device::Waiter(waiter), device });
            }
            Command::Load { reply } => {
                let load = Load { calls: self.shard.calls(), registrations: self.shard.registrations() };
                let _ = reply.send(load);
            }
        }
    }

    fn waiter(&mut self) -> u64 {
        self.next_waiter += 1;
        self.next_waiter
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Send { flow, bytes } => {
                    if let Ok(message) = Message::parse(&bytes) {
                        names::sip_message(Direction::Out, flow.transport, &message);
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
                Effect::OpenMedia { call, key, target, ssrc } => {
                    Arc::clone(&self.streams).open(call, key, target, ssrc, self.own.clone());
                }
                Effect::ConnectMedia { call, remote, ssrc } => self.streams.connect(call, remote, ssrc),
                Effect::CloseMedia { call, why } => self.streams.close(call, &why),
                Effect::Play { waiter, outcome } => {
                    if let Some(reply) = self.plays.remove(&waiter.0) {
                        let _ = reply.send(outcome);
                    }
                }
                Effect::Synced { waiter, outcome } => {
                    if let Some(reply) = self.syncs.remove(&waiter.0) {
                        let _ = reply.send(outcome);
                    }
                }
                Effect::Started { call, key, took } => {
                    histogram!(names::FIRST_FRAME).record(took.as_secs_f64());
                    info!(device = %key.device, channel = %key.channel, stream = key.profile.as_str(),
                        took_ms = took.as_millis() as u64, "stream started");
                    let Key { device, channel, profile } = key;
                    self.tell(Event::StreamStarted {
                        id: call.to_string(),
                        device,
                        channel,
                        stream: profile.as_str(),
                    });
                }
                Effect::Ended { call, key, why, ran } => self.ended(call, key, &why, ran),
                Effect::Device(event) => self.device_event(event),
            }
        }
    }

    fn ended(&self, call: CallId, key: Key, why: &call::Failure, ran: bool) {
        let Key { device, channel, profile } = key;
        if ran {
            info!(%device, %channel, stream = profile.as_str(), why = %why.detail, "stream ended");
        } else {
            counter!(names::INVITE_FAILURES, "step" => why.step()).increment(1);
            warn!(%device, %channel, stream = profile.as_str(), step = why.step(), why = %why.detail, "play failed");
        }
        let (stream, code, detail) = (profile.as_str(), why.code(), why.detail.clone());
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
            device::Event::Alarm { device } => {
                counter!(names::ALARMS).increment(1);
                self.tell(Event::Alarm { device });
            }
        }
    }

    fn tell(&self, event: Event) {
        // Without watchers there is nobody to tell.
        let _ = self.events.send(event);
    }
}
