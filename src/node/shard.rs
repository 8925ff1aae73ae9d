//! One shard of the signalling plane: transactions, devices and calls put together, still without any I/O.
//!
//! A shard owns the devices whose ids fall to it. Everything that happens to them goes in as an [`Input`], and all
//! that the shard wants done comes out as an [`Effect`]; after each input the caller drains
//! [`Shard::poll_effect`] until it returns `None`. So a whole province can be simulated in one thread.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::call::{self, CallId, Calls, Key, Media, SsrcPool, Target};
use crate::device::{self, Devices, Purpose, WriteToken};
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::gb::time::Now;
use crate::registry::{self, Registration, Write};
use crate::sip::digest::Nonces;
use crate::sip::transaction::{Config, Failure as Unanswered};
use crate::sip::{self, ClientKey, Flow, Message, Output, Tokens, Transactions};

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
    /// Somebody wants a stream.
    Want { waiter: call::Waiter, key: Key },
    /// Somebody does not wait any longer.
    Unwant { waiter: call::Waiter },
    /// Somebody wants a device's catalog fetched.
    Sync { waiter: device::Waiter, device: Id },
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
    OpenMedia { call: CallId, key: Key, target: Target, ssrc: u32 },
    /// The device answered: this is where media comes from.
    ConnectMedia { call: CallId, remote: Option<std::net::SocketAddr>, ssrc: u32 },
    /// Close the port of a call.
    CloseMedia { call: CallId, why: String },
    /// Tell who waits for a stream.
    Play { waiter: call::Waiter, outcome: Result<CallId, call::Failure> },
    /// Tell who waits for a catalog.
    Synced { waiter: device::Waiter, outcome: Result<device::Synced, device::Failure> },
    /// A stream began to run.
    Started { call: CallId, key: Key, took: Duration },
    /// A stream ended.
    Ended { call: CallId, key: Key, why: call::Failure, ran: bool },
    /// Something happened to a device.
    Device(device::Event),
}

/// Who is to be told of an answer.
enum Asker {
    Device { device: Id, purpose: Purpose },
    Call(CallId),
}

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
    ) {
        let id = device.id;
        self.devices.restore(now, device, registration);
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
            Input::Want { waiter, key } => self.want(now, waiter, key),
            Input::Unwant { waiter } => self.calls.unwant(waiter),
            Input::Sync { waiter, device } => self.devices.sync(now, waiter, device),
            Input::PutDevice { device } => self.devices.put(*device),
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

    fn want(&mut self, now: Now, waiter: call::Waiter, key: Key) {
        let refused = match self.devices.reach(&key.device) {
            _ if self.draining => Some(call::Failure::offline("this gateway is shutting down")),
            Err(device::Failure::NotFound) => Some(call::Failure::not_found("no such device")),
            Err(_) => {
                Some(call::Failure::offline("the device is not registered, or its keepalives are missing"))
            }
            Ok((device, flow)) => {
                let transport = device.media_transport.unwrap_or(self.media_transport);
                let target = Target { flow, transport };
                self.calls.want(now, waiter, key, target);
                None
            }
        };
        if let Some(failure) = refused {
            self.effects.push_back(Effect::Play { waiter, outcome: Err(failure) });
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

    fn transaction_output(&mut self, now: Now, output: Output) {
        match output {
            Output::Send { flow, bytes } => self.effects.push_back(Effect::Send { flow, bytes }),
            Output::Request { key: Some(key), flow, request } => {
                if !self.calls.request(key, &request) {
                    self.devices.request(now, key, flow, &request);
                }
            }
            // An ACK asks for nothing here: we are never the called party of a stream yet.
            Output::Request { key: None, .. } | Output::Cancelled { .. } | Output::Unacknowledged { .. } => {}
            Output::Response { key, response, .. } => self.answered(now, key, Ok(&response)),
            Output::Failed { key, reason } => self.answered(now, key, Err(reason)),
        }
    }

    fn answered(&mut self, now: Now, key: ClientKey, answer: Result<&Message, Unanswered>) {
        match self.askers.get(&key) {
            Some(Asker::Device { device, purpose }) => self.devices.answered(now, *device, *purpose, answer),
            Some(Asker::Call(call)) => self.calls.answered(now, *call, answer),
            None => return,
        }
        // A 2xx to INVITE may come again for as long as the call lives; everything else is answered once.
        let over = match answer {
            Err(_) => true,
            Ok(message) => {
                message.code().is_some_and(|code| code >= 300 || (code >= 200 && !of_invite(message)))
            }
        };
        if over
            && let Some(Asker::Call(call)) = self.askers.remove(&key)
            && self.invites.get(&call) == Some(&key)
        {
            self.invites.remove(&call);
        }
    }

    fn device_action(&mut self, now: Now, action: device::Action) {
        match action {
            device::Action::Respond { key, message } => {
                self.transactions.respond(now.instant, key, message);
            }
            device::Action::Request { device, purpose, flow, message } => {
                let key = self.transactions.request(now.instant, flow, message);
                self.askers.insert(key, Asker::Device { device, purpose });
            }
            device::Action::Write { token, writes } => {
                self.effects.push_back(Effect::Write { token, writes })
            }
            device::Action::Seen { device } => {
                self.effects.push_back(Effect::Seen { device });
                self.end_left_over(device);
            }
            device::Action::Synced { waiter, outcome } => {
                self.effects.push_back(Effect::Synced { waiter, outcome })
            }
            device::Action::Event(event) => {
                if let device::Event::Offline { device, cause } = &event {
                    self.calls.device_lost(device, &format!("the device went offline: {}", cause.as_str()));
                }
                self.effects.push_back(Effect::Device(event));
            }
        }
    }

    fn call_action(&mut self, now: Now, action: call::Action) {
        match action {
            call::Action::OpenMedia { call, key, target, ssrc } => {
                self.effects.push_back(Effect::OpenMedia { call, key, target, ssrc });
            }
            call::Action::ConnectMedia { call, remote, ssrc } => {
                self.effects.push_back(Effect::ConnectMedia { call, remote, ssrc });
            }
            call::Action::CloseMedia { call, why } => {
                self.effects.push_back(Effect::CloseMedia { call, why })
            }
            call::Action::Request { call, flow, message } => {
                // A BYE ends what the INVITE began: a late repetition of its 200 is no answer to the BYE.
                self.forget_call(call);
                let Some(flow) = self.way_to(call, flow) else {
                    return self.calls.answered(now, call, Err(Unanswered::Transport));
                };
                let invite = message.method() == Some(&sip::Method::Invite);
                let key = self.transactions.request(now.instant, flow, message);
                self.askers.insert(key, Asker::Call(call));
                if invite {
                    self.invites.insert(call, key);
                }
            }
            call::Action::Gone { call } => self.forget_call(call),
            call::Action::Cancel { call } => {
                if let Some(key) = self.invites.get(&call) {
                    self.transactions.cancel(now.instant, *key);
                }
            }
            call::Action::Send { flow, message } => {
                self.transactions.acknowledge(flow, message);
            }
            call::Action::Respond { key, message } => {
                self.transactions.respond(now.instant, key, message);
            }
            call::Action::Keep(call) => {
                self.effects.push_back(Effect::Write { token: None, writes: vec![Write::PutCall(*call)] });
            }
            call::Action::LeftOver(record) => {
                let device = record.device;
                if self.devices.device(&device).is_some() {
                    let records = self.left_over.entry(device).or_default();
                    if records.len() >= MAX_LEFT_OVER {
                        records.remove(0);
                    }
                    records.push(*record);
                    self.end_left_over(device);
                }
            }
            call::Action::Forget { device, channel, call_id } => {
                let writes = vec![Write::DeleteCall { device, channel, call_id }];
                self.effects.push_back(Effect::Write { token: None, writes });
            }
            call::Action::Tell { waiter, outcome } => {
                self.effects.push_back(Effect::Play { waiter, outcome })
            }
            call::Action::Started { call, key, took } => {
                self.effects.push_back(Effect::Started { call, key, took });
            }
            call::Action::Ended { call, key, why, ran } => {
                self.effects.push_back(Effect::Ended { call, key, why, ran });
            }
        }
    }

    /// Nothing that still comes for a call's INVITE matters any more.
    fn forget_call(&mut self, call: CallId) {
        if let Some(key) = self.invites.remove(&call) {
            self.askers.remove(&key);
        }
    }

    /// The way to a call's device now: it may have moved since the call began. `None` if there is none.
    fn way_to(&self, call: CallId, flow: Flow) -> Option<Flow> {
        let device = self.calls.device_of(call);
        match device.map(|device| self.devices.reach(&device)) {
            Some(Ok((_, flow))) => Some(flow),
            Some(Err(device::Failure::Offline)) if flow.transport.is_reliable() => None,
            _ => Some(flow),
        }
    }

    /// Ends the calls that were left behind at a device, once there is a way to it.
    fn end_left_over(&mut self, device: Id) {
        if !self.left_over.contains_key(&device) {
            return;
        }
        let Ok((_, flow)) = self.devices.reach(&device) else { return };
        for record in self.left_over.remove(&device).unwrap_or_default() {
            self.calls.end_left_over(record, flow);
        }
    }
}

/// Whether an answer is one to an INVITE.
fn of_invite(answer: &Message) -> bool {
    answer.cseq().is_some_and(|(_, method)| method == sip::Method::Invite)
}
