//! One shard of the signalling plane: transactions, devices and calls put together, still without any I/O.
//!
//! A shard owns the devices whose ids fall to it. Everything that happens to them goes in as an [`Input`], and all
//! that the shard wants done comes out as an [`Effect`]; after each input the caller drains
//! [`Shard::poll_effect`] until it returns `None`. So a whole province can be simulated in one thread.

mod actions;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::call::{
    self, CallId, Calls, Finish, Flowing, History, Key, Media, PlaybackState, SsrcPool, Target,
};
use crate::device::{self, Devices, WriteToken};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::gb::time::Now;
use crate::registry::{self, Finding, Registration, Write};
use crate::sip::digest::Nonces;
use crate::sip::transaction::{Config, Failure as Unanswered};
use crate::sip::{ClientKey, Flow, Message, Output, Tokens, Transactions};

/// What a shard is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The device side.
    pub device: device::Settings,
    /// The media sessions.
    pub call: call::Settings,
    /// How devices send media that have no setting of their own.
    pub media_transport: MediaMode,
}

/// The lifetime of a nonce: long enough for a device on a bad line, short enough to be worth little to a thief.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Nonces whose use is remembered.
const NONCE_CAPACITY: usize = 65_536;

/// Calls of one device that wait to be ended when it is back; of more the oldest are given up.
const MAX_LEFT_OVER: usize = 64;

/// What happens to a shard.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are messages; a box would cost each of them")]
pub enum Input {
    /// A SIP message came.
    Message { flow: Flow, message: Message },
    /// A connection ended.
    ConnectionClosed { connection: u64 },
    /// What became of a write.
    Committed { token: WriteToken, kept: bool },
    /// Somebody wants a stream; of a recording, which part of it.
    Want { waiter: call::Waiter, key: Key, history: Option<History> },
    /// Somebody wants to speak to a device.
    Talk { waiter: call::Waiter, key: Key },
    /// Somebody pauses a playback, or lets it go on otherwise.
    Control { waiter: call::Waiter, call: CallId, command: call::Playback },
    /// Somebody does not wait any longer.
    Unwant { waiter: call::Waiter },
    /// Somebody wants a device's catalog fetched.
    Sync { waiter: device::Waiter, device: Id },
    /// Somebody asks something of a device, or of one of its channels.
    Ask { waiter: device::Waiter, device: Id, target: Id, request: Box<device::Request> },
    /// The media of a device departs from the standard.
    Observe { device: Id, rule: Rule, sample: String },
    /// An administrator added or changed a device.
    PutDevice { device: Box<registry::Device> },
    /// An administrator removed a device.
    RemoveDevice { device: Id },
    /// Somebody ends a stream.
    Stop { call: CallId, why: &'static str },
    /// The media plane has news of a call.
    Media { call: CallId, news: Media },
    /// A viewer needs a key frame.
    KeyFrame { key: Key },
    /// The gateway shuts down: all calls end.
    Drain,
}

/// What a shard wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send bytes to a peer.
    Send { flow: Flow, bytes: Bytes },
    /// Change the registry; with a token, tell of the outcome.
    Write { token: Option<WriteToken>, writes: Vec<Write> },
    /// A device gave a sign of life.
    Seen { device: Id },
    /// Open a port for a call.
    OpenMedia { call: CallId, key: Key, target: Target, ssrc: u32, flowing: Flowing },
    /// The device answered: this is where media comes from, or goes to.
    ConnectMedia { call: CallId, remote: Option<SocketAddr>, ssrc: u32, payload_type: Option<u8> },
    /// Sound may be sent to the device.
    TalkReady { call: CallId },
    /// A playback goes on otherwise.
    Pace { call: CallId, state: PlaybackState, seek: bool },
    /// Close the port of a call.
    CloseMedia { call: CallId, why: String },
    /// Tell who waits for a stream.
    Play { waiter: call::Waiter, outcome: Result<CallId, call::Failure> },
    /// Tell who waits for a catalog.
    Synced { waiter: device::Waiter, outcome: Result<device::Synced, device::Failure> },
    /// Tell who asked something of a device.
    Answered { waiter: device::Waiter, outcome: Result<device::Outcome, device::Failure> },
    /// Tell who controlled a playback.
    Controlled { waiter: call::Waiter, outcome: Result<PlaybackState, call::Failure> },
    /// A stream began to run.
    Started { call: CallId, key: Key, took: Duration },
    /// A stream ended.
    Ended { call: CallId, key: Key, why: call::Failure, ran: bool, finish: Finish },
    /// Something happened to a device.
    Device(device::Event),
}

/// Who is to be told of an answer.
#[derive(Clone, Copy)]
enum Asker {
    Device { device: Id, purpose: device::Purpose },
    Call { call: CallId, purpose: call::Purpose },
}

/// Waiters of the shard itself, who wait for the answer to a broadcast, are told apart from those outside by this bit.
const OWN_WAITER: u64 = 1 << 63;

/// One shard.
pub struct Shard {
    transactions: Transactions,
    devices: Devices,
    calls: Calls,
    media_transport: MediaMode,
    askers: HashMap<ClientKey, Asker>,
    invites: HashMap<CallId, ClientKey>,
    left_over: HashMap<Id, Vec<registry::Call>>,
    effects: VecDeque<Effect>,
    draining: bool,
}

impl Shard {
    /// Shard `number` of `count`; `seed` is fresh randomness for its nonces, tags and branches.
    pub fn new(settings: Settings, number: u16, count: u16, seed: [u8; 32]) -> Shard {
        let pool = SsrcPool::new(settings.device.platform, number, count);
        // Independent sources, so that a tag tells nothing of a nonce.
        let source = |purpose: u8| {
            let mut own = seed;
            own[31] ^= purpose;
            own
        };
        let config = Config::default();
        Shard {
            transactions: Transactions::new(config, Tokens::new(source(1), number)),
            devices: Devices::new(
                settings.device,
                Nonces::new(source(2), NONCE_LIFETIME, NONCE_CAPACITY),
                Tokens::new(source(3), number),
            ),
            calls: Calls::new(settings.call, pool, number, Tokens::new(source(4), number)),
            media_transport: settings.media_transport,
            askers: HashMap::new(),
            invites: HashMap::new(),
            left_over: HashMap::new(),
            effects: VecDeque::new(),
            draining: false,
        }
    }

    /// Takes up what the registry knows of a device, and ends the calls that an earlier run left behind as soon as
    /// the device can be reached.
    pub fn restore(
        &mut self,
        now: Now,
        device: registry::Device,
        registration: Option<Registration>,
        calls: Vec<registry::Call>,
        findings: &[Finding],
    ) {
        let id = device.id;
        self.devices.restore(now, device, registration, findings);
        if !calls.is_empty() {
            self.left_over.insert(id, calls);
            self.end_left_over(id);
        }
        self.settle(now);
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Message { flow, message } => self.transactions.receive(now.instant, flow, message),
            Input::ConnectionClosed { connection } => {
                self.transactions.connection_closed(now.instant, connection);
                self.devices.connection_closed(now, connection);
            }
            Input::Committed { token, kept } => self.devices.committed(now, token, kept),
            Input::Want { waiter, key, history } => self.want(now, waiter, key, history),
            Input::Talk { waiter, key } => self.talk(now, waiter, key),
            Input::Control { waiter, call, command } => self.calls.control(now, waiter, call, command),
            Input::Unwant { waiter } => self.calls.unwant(waiter),
            Input::Sync { waiter, device } => self.devices.sync(now, waiter, device),
            Input::Ask { waiter, device, target, request } => {
                self.devices.ask(now, waiter, device, target, *request);
            }
            Input::Observe { device, rule, sample } => self.devices.observe(now, &device, rule, &sample),
            Input::PutDevice { device } => self.devices.put(now, *device),
            Input::RemoveDevice { device } => {
                self.calls.device_lost(&device, "the device was removed");
                self.devices.remove(now, device);
                self.left_over.remove(&device);
            }
            Input::Stop { call, why } => {
                self.calls.stop(call, why);
            }
            Input::Media { call, news } => self.calls.media(now, call, news),
            Input::KeyFrame { key } => self.devices.key_frame(&key.device, &key.channel),
            Input::Drain => {
                self.draining = true;
                self.calls.stop_all("the gateway shuts down");
            }
        }
        self.settle(now);
    }

    /// Moves time forward.
    pub fn handle_timeout(&mut self, now: Now) {
        self.transactions.handle_timeout(now.instant);
        self.devices.handle_timeout(now);
        self.calls.handle_timeout(now);
        self.settle(now);
    }

    /// When [`Shard::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.transactions.next_timeout(), self.devices.next_timeout(), self.calls.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Calls in any state, those that are being ended included.
    pub fn calls(&self) -> usize {
        self.calls.count()
    }

    /// Registrations in force.
    pub fn registrations(&self) -> usize {
        self.devices.registrations()
    }

    fn want(&mut self, now: Now, waiter: call::Waiter, key: Key, history: Option<History>) {
        match self.target(&key, history) {
            Ok(target) => self.calls.want(now, waiter, key, target),
            Err(failure) => self.effects.push_back(Effect::Play { waiter, outcome: Err(failure) }),
        }
    }

    fn talk(&mut self, now: Now, waiter: call::Waiter, key: Key) {
        match self.target(&key, None) {
            Ok(target) => {
                let way = target.manners.talk;
                self.calls.talk(now, waiter, key, target, way);
            }
            Err(failure) => self.effects.push_back(Effect::Play { waiter, outcome: Err(failure) }),
        }
    }

    /// How the device of a call is reached, and what it speaks.
    fn target(&self, key: &Key, history: Option<History>) -> Result<Target, call::Failure> {
        if self.draining {
            return Err(call::Failure::offline("this gateway is shutting down"));
        }
        match self.devices.reach(&key.device) {
            Err(device::Failure::NotFound) => Err(call::Failure::not_found("no such device")),
            Err(_) => {
                Err(call::Failure::offline("the device is not registered, or its keepalives are missing"))
            }
            Ok((device, flow)) => {
                let manners = self.devices.manners(&key.device);
                let transport =
                    device.media_transport.or(manners.media_transport).unwrap_or(self.media_transport);
                Ok(Target { flow, transport, manners, history })
            }
        }
    }

    /// Lets the three machines talk to each other until none has anything left to say.
    fn settle(&mut self, now: Now) {
        loop {
            if let Some(output) = self.transactions.poll_output() {
                self.transaction_output(now, output);
            } else if let Some(action) = self.devices.poll_action() {
                self.device_action(now, action);
            } else if let Some(action) = self.calls.poll_action() {
                self.call_action(now, action);
            } else {
                break;
            }
        }
    }
}
