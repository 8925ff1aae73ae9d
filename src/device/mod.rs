//! The side that faces down: registrar, keepalive, catalog and information of the devices of one shard.
//!
//! [`Devices`] is a pure state machine: requests, answers, commits and time go in, [`Action`]s come out. After each
//! change the caller drains [`Devices::poll_action`] until it returns `None`. A device's state lives here and
//! nowhere else; the registry is told of what others need to see and of what must survive a restart.
//!
//! State is kept for devices that have authenticated and those that an administrator added, never for a stranger.

mod catalog;
mod inbox;
mod registrar;
#[cfg(test)]
pub(crate) mod tests;
mod types;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::gb::charset::History;
use crate::gb::id::Id;
use crate::gb::manscdp::{self, write};
use crate::gb::time::Now;
use crate::registry::{Cause, Device, Registration, Route, Write};
use crate::sip::digest::Nonces;
use crate::sip::transaction::Failure as Unanswered;
use crate::sip::{self, Flow, Message, Method, ServerKey, Tokens};

use catalog::Sync;
pub use catalog::Synced;
pub use types::{Action, DateHeader, Event, Failure, Purpose, Settings, Waiter, WriteToken};

/// Catalog syncs that a shard runs at once by itself; the others queue. A city that comes back after a power
/// failure would otherwise send all its catalogs in the same second.
const MAX_SYNCS: usize = 256;
/// Waiters for one device's sync.
const MAX_WAITERS: usize = 64;
/// How often a sync that the gateway began itself is tried again when its answer was missing or partial.
const SYNC_RETRIES: u8 = 2;
/// How long to wait before trying again.
const SYNC_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A registration that is in force.
#[derive(Debug)]
struct Session {
    /// As the registry keeps it.
    record: Registration,
    flow: Flow,
    expires_at: Instant,
    last_seen: Instant,
    online: bool,
}

/// A device and all that is under way with it.
struct Entry {
    device: Device,
    session: Option<Session>,
    history: History,
    /// The last name that the device gave itself: one that differs from it is an administrator's.
    told_name: Option<String>,
    /// Whether a whole catalog came in this run of the gateway.
    catalog_known: bool,
    retries: u8,
    retry_at: Option<Instant>,
    sync: Option<Sync>,
    /// Whether it waits in `sync_queue`.
    queued: bool,
    /// Its DeviceInfo is to be asked for when its turn comes.
    ask_info: bool,
    waiters: Vec<Waiter>,
    timer: Option<Instant>,
}

impl Entry {
    fn new(device: Device) -> Entry {
        Entry {
            device,
            session: None,
            history: History::default(),
            told_name: None,
            catalog_known: false,
            retries: 0,
            retry_at: None,
            sync: None,
            queued: false,
            ask_info: false,
            waiters: Vec::new(),
            timer: None,
        }
    }

    /// The way to the device, where it can be reached now.
    fn reachable(&self) -> Option<Flow> {
        self.session.as_ref().filter(|session| session.online).map(|session| session.flow)
    }
}

/// A registration whose 200 is held back until it is kept.
struct Grant {
    /// The device, if it was not known before.
    new: Option<Device>,
    session: Session,
    key: ServerKey,
    request: Message,
    lifetime: Duration,
}

/// What waits for the registry. The registry bounds how much may wait for it.
enum Pending {
    Register(Box<Grant>),
    /// An unregistration.
    Unregister {
        device: Id,
        key: ServerKey,
        request: Box<Message>,
    },
}

/// The devices of one shard.
pub struct Devices {
    settings: Settings,
    nonces: Nonces,
    tokens: Tokens,
    entries: HashMap<Id, Entry>,
    by_connection: HashMap<u64, HashSet<Id>>,
    timers: BTreeSet<(Instant, Id)>,
    sync_queue: VecDeque<Id>,
    syncing: usize,
    pending: HashMap<WriteToken, Pending>,
    next_token: u64,
    next_sn: u32,
    actions: VecDeque<Action>,
}

impl Devices {
    /// No devices yet. `nonces` and `tokens` carry the shard's own randomness.
    pub fn new(settings: Settings, nonces: Nonces, tokens: Tokens) -> Devices {
        Devices {
            settings,
            nonces,
            tokens,
            entries: HashMap::new(),
            by_connection: HashMap::new(),
            timers: BTreeSet::new(),
            sync_queue: VecDeque::new(),
            syncing: 0,
            pending: HashMap::new(),
            next_token: 0,
            next_sn: 1,
            actions: VecDeque::new(),
        }
    }

    /// Takes up a device that the registry knows, with the registration that it had.
    ///
    /// A device on UDP is served at once and has a full keepalive time to show itself. One on TCP or TLS is known,
    /// but can't be reached before it connects again.
    pub fn restore(&mut self, now: Now, device: Device, registration: Option<Registration>) {
        let id = device.id;
        let mut entry = Entry::new(device);
        entry.history = History::known(entry.device.charset);
        if let Some(record) = registration {
            let left = u64::try_from(record.expires_at.0.saturating_sub(now.unix.0)).unwrap_or(0);
            // The wall clock may have been set meanwhile.
            let left = Duration::from_millis(left).min(self.settings.expires_max);
            let Route { transport, local, remote } = record.route;
            let online = transport == sip::Transport::Udp;
            if left.is_zero() {
                self.write(Write::EndRegistration { device: id, cause: Cause::Expired });
            } else {
                let flow = Flow { transport, local, remote, connection: 0 };
                let (expires_at, last_seen) = (now.instant + left, now.instant);
                entry.session = Some(Session { record, flow, expires_at, last_seen, online });
                if !online {
                    self.write(Write::Offline { device: id, cause: Cause::Disconnected });
                }
            }
        }
        self.entries.insert(id, entry);
        self.set_timer(id);
    }

    /// A request outside any dialog, or in one that no call owns.
    pub fn request(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message) {
        match request.method() {
            Some(Method::Register) => self.register(now, key, flow, request),
            Some(Method::Message) => self.message(now, key, flow, request),
            Some(Method::Options) => {
                self.respond(key, request.response(200).with("Allow", ALLOW));
            }
            Some(Method::Bye | Method::Info | Method::Notify) => self.respond(key, request.response(481)),
            // A device that calls (clause 9.12) offers media that nobody here wants.
            Some(Method::Invite) => self.respond(key, request.response(488)),
            _ => self.respond(key, request.response(405).with("Allow", ALLOW)),
        }
    }

    /// What came of a request to a device.
    pub fn answered(&mut self, now: Now, device: Id, purpose: Purpose, answer: Result<&Message, Unanswered>) {
        // Some devices never acknowledge a MESSAGE yet answer the query in it, so only a refusal ends a query.
        let Ok(message) = answer else { return };
        let code = message.code().unwrap_or(0);
        if purpose == Purpose::Catalog && code >= 300 {
            self.end_sync(now, device, Err(Failure::Refused(code)));
        }
    }

    /// The fate of a write with a token.
    pub fn committed(&mut self, now: Now, token: WriteToken, kept: bool) {
        match self.pending.remove(&token) {
            Some(Pending::Register(grant)) if kept => self.registered(now, *grant),
            Some(Pending::Register(grant)) => self.unavailable(grant.key, &grant.request),
            Some(Pending::Unregister { device, key, request }) if kept => {
                self.unregistered(now, device, key, &request);
            }
            Some(Pending::Unregister { key, request, .. }) => self.unavailable(key, &request),
            None => {}
        }
    }

    /// A connection ended: the devices on it can't be reached until they come back.
    pub fn connection_closed(&mut self, now: Now, connection: u64) {
        for id in self.by_connection.remove(&connection).unwrap_or_default() {
            self.unreachable(now, id, Cause::Disconnected);
        }
        for pending in self.pending.values_mut() {
            if let Pending::Register(grant) = pending {
                grant.session.online &= grant.session.flow.connection != connection;
            }
        }
    }

    /// Adds a device, or changes the settings of one; the registry has it already.
    pub fn put(&mut self, device: Device) {
        match self.entries.get_mut(&device.id) {
            Some(entry) => entry.device = device,
            None => {
                self.entries.insert(device.id, Entry::new(device));
            }
        }
    }

    /// Removes a device; the registry has done so already.
    pub fn remove(&mut self, now: Now, id: Id) {
        self.end_sync(now, id, Err(Failure::NotFound));
        self.end_session(now, id, Cause::Removed);
        self.entries.remove(&id);
        self.sync_queue.retain(|queued| *queued != id);
    }

    /// The device as it is known here.
    pub fn device(&self, id: &Id) -> Option<&Device> {
        self.entries.get(id).map(|entry| &entry.device)
    }

    /// The device and the way to it; why not, where there is none.
    pub fn reach(&self, id: &Id) -> Result<(&Device, Flow), Failure> {
        let entry = self.entries.get(id).ok_or(Failure::NotFound)?;
        Ok((&entry.device, entry.reachable().ok_or(Failure::Offline)?))
    }

    /// Registrations in force.
    pub fn registrations(&self) -> usize {
        self.entries.values().filter(|entry| entry.session.is_some()).count()
    }

    /// Fetches the catalog of a device; whoever waits is told by [`Action::Synced`]. Joins a sync under way.
    pub fn sync(&mut self, now: Now, waiter: Waiter, id: Id) {
        let failure = match self.entries.get_mut(&id) {
            None => Some(Failure::NotFound),
            Some(entry) if entry.reachable().is_none() => Some(Failure::Offline),
            Some(entry) if entry.waiters.len() >= MAX_WAITERS => Some(Failure::Busy),
            Some(entry) => {
                entry.waiters.push(waiter);
                None
            }
        };
        match failure {
            Some(failure) => self.actions.push_back(Action::Synced { waiter, outcome: Err(failure) }),
            None => self.begin_sync(now, id),
        }
    }

    /// Asks a channel for a key frame now (clause A.2.3 of the annex: IFameCmd to 2016, IFrameCmd from 2022).
    pub fn key_frame(&mut self, device: &Id, channel: &Id) {
        let Some(entry) = self.entries.get(device) else { return };
        let body = write::control_iframe(self.next_sn, channel, entry.device.edition);
        self.send(device, channel, Purpose::Notice, &body);
    }

    /// Moves time forward.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((due, id)) = self.timers.first().copied() {
            if due > now.instant {
                break;
            }
            self.timers.remove(&(due, id));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.timer = None;
            }
            self.device_timeout(now, id);
            self.set_timer(id);
        }
    }

    /// When [`Devices::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// The next thing to do for the surroundings.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn device_timeout(&mut self, now: Now, id: Id) {
        let silence = self.settings.keepalive * self.settings.misses;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.sync.as_ref().is_some_and(|sync| sync.deadline() <= now.instant) {
            self.end_sync(now, id, Ok(()));
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.retry_at.is_some_and(|at| at <= now.instant) {
            entry.retry_at = None;
            self.queue_sync(now, id);
        }
        let Some(session) = self.entries.get(&id).and_then(|entry| entry.session.as_ref()) else { return };
        if session.expires_at <= now.instant {
            self.write(Write::EndRegistration { device: id, cause: Cause::Expired });
            self.end_session(now, id, Cause::Expired);
        } else if session.last_seen + silence <= now.instant {
            self.unreachable(now, id, Cause::Silent);
        }
    }

    /// A sign of life of a registered device: it is online, and this is the way to it.
    fn seen(&mut self, now: Now, id: Id, flow: Flow) {
        let Some(session) = self.entries.get_mut(&id).and_then(|entry| entry.session.as_mut()) else {
            return;
        };
        session.last_seen = now.instant;
        self.actions.push_back(Action::Seen { device: id });
        let came_back = !session.online;
        // A device on UDP may send what is long over TCP (RFC 3261 18.1.1): that is no way back to it.
        let moved = flow != session.flow && flow.transport == session.flow.transport;
        if !(came_back || moved) {
            return;
        }
        session.online = true;
        session.record.route = flow.into();
        let old = std::mem::replace(&mut session.flow, flow);
        // Kept, for a restart; and in order with what was written of its absence.
        let record = session.record.clone();
        self.write(Write::PutRegistration(record));
        self.leave_connection(old.connection, &id);
        self.join_connection(flow.connection, id);
        if came_back {
            self.set_timer(id);
            self.greet(now, id, true);
        }
    }

    /// The device can't be reached any more, though its registration goes on.
    fn unreachable(&mut self, now: Now, id: Id, cause: Cause) {
        if self.offline(now, id, cause) {
            self.write(Write::Offline { device: id, cause });
        }
    }

    /// Marks a device as offline; false if it was so already.
    fn offline(&mut self, now: Now, id: Id, cause: Cause) -> bool {
        let Some(session) = self.entries.get_mut(&id).and_then(|entry| entry.session.as_mut()) else {
            return false;
        };
        let was_online = std::mem::replace(&mut session.online, false);
        if was_online {
            self.actions.push_back(Action::Event(Event::Offline { device: id, cause }));
            self.end_sync(now, id, Err(Failure::Offline));
        }
        was_online
    }

    fn end_session(&mut self, now: Now, id: Id, cause: Cause) {
        self.offline(now, id, cause);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.retry_at = None;
        if let Some(session) = entry.session.take() {
            self.leave_connection(session.flow.connection, &id);
        }
        self.set_timer(id);
    }

    fn join_connection(&mut self, connection: u64, id: Id) {
        if connection != 0 {
            self.by_connection.entry(connection).or_default().insert(id);
        }
    }

    fn leave_connection(&mut self, connection: u64, id: &Id) {
        if let Some(ids) = self.by_connection.get_mut(&connection) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }

    /// Keeps one timer for each device. It may fire early, since a sign of life does not move it: a city sends
    /// 900 of those each second, and moving the timer each time would cost more than the rare early look.
    fn set_timer(&mut self, id: Id) {
        let silence = self.settings.keepalive * self.settings.misses;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let session = entry.session.as_ref();
        let due = [
            session.map(|session| session.expires_at),
            session.filter(|session| session.online).map(|session| session.last_seen + silence),
            entry.sync.as_ref().map(Sync::deadline),
            entry.retry_at,
        ];
        let due = due.into_iter().flatten().min();
        if due != entry.timer {
            if let Some(old) = std::mem::replace(&mut entry.timer, due) {
                self.timers.remove(&(old, id));
            }
            if let Some(new) = due {
                self.timers.insert((new, id));
            }
        }
    }

    /// Sends a MESSAGE to a device that can be reached; `target` is whom the command in it is for.
    fn send(&mut self, device: &Id, target: &Id, purpose: Purpose, body: &str) {
        let Some(entry) = self.entries.get(device) else { return };
        let Some(flow) = entry.reachable() else { return };
        self.next_sn = self.next_sn.wrapping_add(1).max(1);
        let Settings { platform, domain, .. } = &self.settings;
        let (charset, edition) = (entry.device.charset, entry.device.edition);
        let body: Bytes = manscdp::document(body, charset, edition);
        let message = Message::request(Method::Message, &format!("sip:{target}@{}", flow.remote))
            .with("From", format!("<sip:{platform}@{domain}>;tag={}", self.tokens.tag()))
            .with("To", format!("<sip:{target}@{domain}>"))
            .with("Call-ID", self.tokens.call_id(&flow.local.ip().to_string()))
            .with("CSeq", "1 MESSAGE")
            .with("Max-Forwards", "70")
            .with_body(manscdp::CONTENT_TYPE, body);
        self.actions.push_back(Action::Request { device: *device, purpose, flow, message });
    }

    /// The registry did not keep what the answer would have promised.
    fn unavailable(&mut self, key: ServerKey, request: &Message) {
        self.respond(key, request.response(503).with("Retry-After", "10"));
    }

    fn respond(&mut self, key: ServerKey, message: Message) {
        self.actions.push_back(Action::Respond { key, message });
    }

    /// A write whose fate changes nothing here.
    fn write(&mut self, write: Write) {
        self.actions.push_back(Action::Write { token: None, writes: vec![write] });
    }

    fn write_token(&mut self, pending: Pending) -> WriteToken {
        self.next_token += 1;
        let token = WriteToken(self.next_token);
        self.pending.insert(token, pending);
        token
    }
}

/// The methods that a platform must list at least.
const ALLOW: &str = "REGISTER, MESSAGE, INVITE, ACK, BYE, CANCEL, INFO, OPTIONS";
