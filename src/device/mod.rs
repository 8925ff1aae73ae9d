//! The side that faces down: registrar, keepalive, catalog, questions and commands, subscriptions, alarms and
//! positions of the devices of one shard, and what of all that departs from the standard.
//!
//! [`Devices`] is a pure state machine: requests, answers, commits and time go in, [`Action`]s come out. After each
//! change the caller drains [`Devices::poll_action`] until it returns `None`. A device's state lives here and
//! nowhere else; the registry is told of what others need to see and of what must survive a restart.
//!
//! State is kept for devices that have authenticated and those that an administrator added, never for a stranger.

mod alarm;
mod ask;
mod catalog;
mod changes;
mod configure;
mod failure;
mod findings;
mod inbox;
mod notify;
mod position;
mod presence;
mod registrar;
mod request;
mod selftest;
mod subscription;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod types;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::gb::charset::History;
use crate::gb::id::Id;
use crate::gb::manscdp::{self, Control, Style};
use crate::gb::time::Now;
use crate::registry::{Cause, Device, Manners, Registration, Stamps, Write};
use crate::sip::digest::Nonces;
use crate::sip::transaction::Failure as Unanswered;
use crate::sip::{self, Flow, Message, Method, ServerKey, Tokens};

use alarm::{Alarms, Telling};
use ask::Asks;
use catalog::Sync;
pub use catalog::Synced;
pub use failure::Failure;
use findings::Findings;
use position::Positions;
pub use request::{Configured, Ignored, Outcome, Raise, Request, Step, Subscribed, SubscriptionState, Topic};
use selftest::SelfTest;
use subscription::Subscription;
pub use types::{Action, DateHeader, Event, Purpose, Settings, Waiter, WriteToken};

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
    sync: Option<Box<Sync>>,
    /// Whether it waits in `sync_queue`.
    queued: bool,
    /// Its DeviceInfo is to be asked for when its turn comes.
    ask_info: bool,
    waiters: Vec<Waiter>,
    timer: Option<Instant>,
    /// How it is dealt with; `None`: not looked up yet.
    manners: Option<Manners>,
    /// The SN of the last DeviceInfo query that nobody but the gateway itself asked for.
    info_sn: u32,
    /// A digest of the Call-ID of its last REGISTER. Another one may be that of a device that was started anew.
    registering: u64,
    // What most devices do not need at most times is kept apart.
    asks: Option<Box<Asks>>,
    subscriptions: Vec<Subscription>,
    alarms: Option<Box<Alarms>>,
    /// Channels that its keepalives report as faulty.
    faulty: Vec<Id>,
    findings: Option<Box<Findings>>,
    test: Option<Box<SelfTest>>,
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
            manners: None,
            info_sn: 0,
            registering: 0,
            asks: None,
            subscriptions: Vec::new(),
            alarms: None,
            faulty: Vec::new(),
            findings: None,
            test: None,
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
    Alarm(Box<Telling>),
    /// A catalog, and those who wait for it.
    Sync {
        device: Id,
        waiters: Vec<Waiter>,
        outcome: Result<Synced, Failure>,
    },
}

/// The devices of one shard.
pub struct Devices {
    settings: Settings,
    nonces: Nonces,
    tokens: Tokens,
    /// In boxes: up to half of a table's places are empty.
    entries: HashMap<Id, Box<Entry>>,
    by_connection: HashMap<u64, HashSet<Id>>,
    timers: BTreeSet<(Instant, Id)>,
    sync_queue: VecDeque<Id>,
    syncing: usize,
    pending: HashMap<WriteToken, Pending>,
    next_token: u64,
    next_sn: u32,
    actions: VecDeque<Action>,
    /// What is asked of all devices together.
    asking: usize,
    /// Whose subscription has this Call-ID.
    dialogs: HashMap<String, Id>,
    positions: Positions,
    stamps: Stamps,
    /// Findings that may still be written at once, by the second.
    sights: (Option<Instant>, u32),
}

impl Devices {
    /// No devices yet. `nonces` and `tokens` carry the shard's own randomness.
    pub fn new(settings: Settings, nonces: Nonces, mut tokens: Tokens) -> Devices {
        let shard = sip::shard_of(&tokens.tag()).unwrap_or(0);
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
            asking: 0,
            dialogs: HashMap::new(),
            positions: Positions::default(),
            stamps: Stamps::new(shard as u8),
            sights: (None, 0),
        }
    }

    /// A request outside any dialog, or in one that no call owns.
    pub fn request(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message) {
        match request.method() {
            Some(Method::Register) => self.register(now, key, flow, request),
            Some(Method::Message) => self.message(now, key, flow, request),
            Some(Method::Options) => {
                self.respond(key, request.response(200).with("Allow", ALLOW));
            }
            Some(Method::Notify) => self.notified(now, key, flow, request),
            Some(Method::Bye | Method::Info) => self.respond(key, request.response(481)),
            // A device that calls (clause 9.12) offers media that nobody here wants.
            Some(Method::Invite) => self.respond(key, request.response(488)),
            _ => self.respond(key, request.response(405).with("Allow", ALLOW)),
        }
    }

    /// What came of a request to a device.
    pub fn answered(&mut self, now: Now, device: Id, purpose: Purpose, answer: Result<&Message, Unanswered>) {
        match (purpose, answer) {
            (Purpose::Ask(sn), _) => self.ask_answered(now, device, sn, answer),
            (Purpose::Subscribe(topic, sn), _) => self.subscribe_answered(now, device, topic, sn, answer),
            // Some devices never acknowledge a MESSAGE yet answer the query in it, so only a refusal ends a query.
            (Purpose::Catalog, Ok(message)) => {
                let code = message.code().unwrap_or(0);
                if code >= 300 {
                    self.end_sync(now, device, Err(Failure::Refused(code)));
                }
            }
            (Purpose::Catalog | Purpose::Info | Purpose::Notice, _) => {}
        }
    }

    /// The fate of a write with a token.
    pub fn committed(&mut self, now: Now, token: WriteToken, kept: bool) {
        match self.pending.remove(&token) {
            Some(Pending::Register(grant)) if kept => {
                let device = grant.session.record.device;
                let call = grant.request.call_id().map_or(0, digest_of);
                self.registered(now, *grant);
                self.came(now, device, call);
            }
            Some(Pending::Register(grant)) => self.unavailable(grant.key, &grant.request),
            Some(Pending::Unregister { device, key, request }) if kept => {
                self.unregistered(now, device, key, &request);
            }
            Some(Pending::Unregister { key, request, .. }) => self.unavailable(key, &request),
            Some(Pending::Alarm(telling)) => self.alarm_kept(*telling, kept),
            Some(Pending::Sync { waiters, outcome, .. }) if kept => self.tell_synced(waiters, &outcome),
            Some(Pending::Sync { device, waiters, .. }) => {
                self.tell_synced(waiters, &Err(Failure::NotKept));
                self.catalog_lost(now, device);
            }
            None => {}
        }
    }

    /// Adds a device, or changes the settings of one; the registry has it already.
    pub fn put(&mut self, now: Now, device: Device) {
        let id = device.id;
        match self.entries.get_mut(&id) {
            Some(entry) => entry.device = device,
            None => {
                self.entries.insert(id, Box::new(Entry::new(device)));
            }
        }
        self.learn_manners(id);
        self.settle_subscriptions(now, id, Duration::ZERO);
        self.set_timer(id);
    }

    /// Removes a device; the registry has done so already.
    pub fn remove(&mut self, now: Now, id: Id) {
        self.end_sync(now, id, Err(Failure::NotFound));
        self.end_asks(now, id, &Failure::NotFound);
        self.end_subscriptions(now, id);
        self.end_session(now, id, Cause::Removed);
        if let Some(timer) = self.entries.remove(&id).and_then(|entry| entry.timer) {
            self.timers.remove(&(timer, id));
        }
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

    /// How a device is dealt with; one that is not known, as the standard has it.
    pub fn manners(&self, id: &Id) -> Manners {
        let Some(entry) = self.entries.get(id) else { return Manners::default() };
        entry.manners.unwrap_or_else(|| self.look_up_manners(entry))
    }

    fn look_up_manners(&self, entry: &Entry) -> Manners {
        let findings = entry.findings.as_ref().map_or(&[][..], |findings| findings.all());
        self.settings.profiles.manners(&entry.device, findings)
    }

    /// Looks up anew how a device is dealt with, after something was learnt of it.
    fn learn_manners(&mut self, id: Id) {
        let manners = self.entries.get(&id).map(|entry| self.look_up_manners(entry));
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.manners = manners;
        }
    }

    /// How bodies for a device are written.
    fn style(&self, id: &Id) -> Style {
        match self.entries.get(id) {
            Some(entry) => self.manners(id).style(&entry.device, self.settings.offset),
            None => Style { offset: self.settings.offset, ..Style::default() },
        }
    }

    /// Asks a channel for a key frame now; nothing depends on whether it comes.
    pub fn key_frame(&mut self, device: &Id, channel: &Id) {
        let body = Control::KeyFrame.body(self.sn(), channel, &self.style(device));
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
        self.sync_timeout(now, id);
        self.ask_timeout(now, id);
        self.subscription_timeout(now, id);
        self.findings_timeout(now, id);
        self.session_timeout(now, id);
    }

    /// Keeps one timer for each device. It may fire early, since a sign of life does not move it: a city sends
    /// 900 of those each second, and moving the timer each time would cost more than the rare early look.
    fn set_timer(&mut self, id: Id) {
        let silence = self.silence(&id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let session = entry.session.as_ref();
        let due = [
            session.map(|session| session.expires_at),
            session.filter(|session| session.online).map(|session| session.last_seen + silence),
            entry.sync.as_deref().map(Sync::deadline),
            entry.retry_at,
            entry.asks.as_deref().and_then(Asks::deadline),
            entry.subscriptions.iter().filter_map(Subscription::due).min(),
            entry.findings.as_deref().and_then(Findings::due),
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

    /// The number of the next body: 1 to 2^31 - 1, since devices read it into an int.
    fn sn(&mut self) -> u32 {
        let sn = self.next_sn;
        self.next_sn = if sn >= i32::MAX as u32 { 1 } else { sn + 1 };
        sn
    }

    /// Sends a MESSAGE to a device that can be reached; `target` is whom the command in it is for.
    fn send(&mut self, device: &Id, target: &Id, purpose: Purpose, body: &str) {
        let Some(flow) = self.entries.get(device).and_then(|entry| entry.reachable()) else { return };
        let message = self.request_to(Method::Message, device, target, flow, body);
        self.actions.push_back(Action::Request { device: *device, purpose, flow, message });
    }

    /// A request outside of any dialog, from the platform to the device or its channel `target`.
    fn request_to(&mut self, method: Method, device: &Id, target: &Id, flow: Flow, body: &str) -> Message {
        let body = self.document(device, body);
        let Settings { platform, domain, .. } = &self.settings;
        let sequence = format!("1 {method}");
        Message::request(method, &format!("sip:{target}@{}", flow.remote))
            .with("From", format!("<sip:{platform}@{domain}>;tag={}", self.tokens.tag()))
            .with("To", format!("<sip:{target}@{domain}>"))
            .with("Call-ID", self.tokens.call_id(&flow.local.ip().to_string()))
            .with("CSeq", sequence)
            .with("Max-Forwards", "70")
            .with_body(manscdp::CONTENT_TYPE, body)
    }

    /// A body as the device reads it.
    fn document(&self, device: &Id, body: &str) -> Bytes {
        let style = self.style(device);
        let own = self.entries.get(device).map(|entry| entry.device.charset);
        let charset = self.manners(device).charset.or(own).unwrap_or_default();
        manscdp::document(body, charset, style.edition)
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

/// The methods that a platform must list at least, and NOTIFY.
const ALLOW: &str = "REGISTER, MESSAGE, INVITE, ACK, BYE, CANCEL, INFO, OPTIONS, NOTIFY";

/// A short digest, to tell a text from others of the same sender.
fn digest_of(text: impl AsRef<[u8]>) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_ref());
    hasher.finish()
}
