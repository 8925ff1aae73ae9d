//! A simulated device without I/O: it registers, keeps alive, answers queries, commands and calls.

mod calls;
mod commands;
mod config;
mod happenings;
mod maintenance;
mod pages;
mod queries;
mod registration;
mod state;
mod steering;
mod subscriptions;
mod talk;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::population::Population;
use super::quirks::Quirk;
use super::settings::{Settings, TalkWay};
use crate::gb::charset::{self, Charset, History};
use crate::gb::id::Id;
use crate::gb::manscdp;
use crate::gb::time::Now;
use crate::sip::transaction::Config;
use crate::sip::{
    ClientKey, Flow, Message, Method, Output as TransactionOutput, ServerKey, Tokens, Transactions,
};

pub use calls::{Content, Plan, Ready, Way};
pub use maintenance::Snapshot;
pub use steering::{Position, Steering};

/// What a device wants done.
#[derive(Debug)]
pub enum Output {
    /// Send bytes to the platform.
    Send { flow: Flow, bytes: Bytes },
    /// Open what sends the media of a call; answered by [`Device::media_opened`].
    Open { call: String, plan: Plan },
    /// The other side is ready: send.
    Start { call: String },
    /// Steer a playback; answered by [`Device::steered`].
    Steer { call: String, steering: Steering },
    /// Send a key frame now.
    KeyFrame { channel: u64 },
    /// End the media of a call.
    Stop { call: String },
    /// Open what takes in sound; answered by [`Device::listening`].
    Listen { call: String, way: TalkWay },
    /// Sound comes, or is to be fetched from there.
    Hear { call: String, to: Option<SocketAddr> },
    /// Upload a picture; answered by [`Device::uploaded`].
    Upload(Snapshot),
    /// Speak to another platform from now on, or to the first one again; answered by [`Device::reconnected`].
    Move { to: Option<SocketAddr> },
    /// Close the connection, as one that boots does; answered by [`Device::reconnected`] where there was one.
    HangUp,
    /// The registration came into force or ended.
    Registered(bool),
    /// The platform refused the registration with this code, or did not answer (`None`).
    Refused(Option<u16>),
}

enum Purpose {
    /// `answered` counts the challenges of this attempt.
    Register {
        answered: u32,
        expires: u32,
    },
    Keepalive,
    /// Of that list.
    Page(u64),
    /// To that subscriber.
    Notify(u64),
    Talk,
    Other,
}

/// A simulated camera, recorder or platform.
pub struct Device {
    settings: Arc<Settings>,
    id: Id,
    population: Population,
    flow: Flow,
    transactions: Transactions,
    tokens: Tokens,
    purposes: HashMap<ClientKey, Purpose>,
    registration: registration::Registration,
    sn: u32,
    firmware: String,
    card: state::Card,
    /// Of those targets of commands that were given any: at most the device, its channels and what else it lists.
    states: HashMap<Id, state::State>,
    configs: HashMap<Id, config::Config>,
    pages: VecDeque<pages::List>,
    lists: u64,
    calls: HashMap<String, calls::Call>,
    talks: HashMap<String, talk::Talk>,
    subscriptions: Vec<subscriptions::Subscription>,
    subscribers: u64,
    alarms: happenings::Alarms,
    snapshots: Vec<maintenance::Session>,
    upgrading: Option<maintenance::Upgrade>,
    history: History,
    outputs: VecDeque<Output>,
}

impl Device {
    /// A device that registers at `begin`.
    pub fn new(
        settings: Arc<Settings>,
        population: Population,
        flow: Flow,
        seed: [u8; 32],
        begin: Instant,
    ) -> Device {
        let mut tokens = Tokens::new(seed, 0);
        let mut branches = seed;
        branches[0] ^= 1;
        let call_id = tokens.call_id(&flow.local.ip().to_string());
        Device {
            id: population.device,
            population,
            flow,
            transactions: Transactions::new(Config::default(), Tokens::new(branches, 0)),
            tokens,
            purposes: HashMap::new(),
            registration: registration::Registration::new(&settings, call_id, begin),
            sn: 0,
            firmware: env!("CARGO_PKG_VERSION").to_owned(),
            card: state::Card::default(),
            states: HashMap::new(),
            configs: HashMap::new(),
            pages: VecDeque::new(),
            lists: 0,
            calls: HashMap::new(),
            talks: HashMap::new(),
            subscriptions: Vec::new(),
            subscribers: 0,
            alarms: happenings::Alarms::new(&settings, begin),
            snapshots: Vec::new(),
            upgrading: None,
            history: History::default(),
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// Its id.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// A message came from the platform.
    pub fn receive(&mut self, now: Now, message: Message) {
        self.transactions.receive(now.instant, self.flow, message);
        self.settle(now);
    }

    /// Moves time forward.
    pub fn handle_timeout(&mut self, now: Now) {
        self.transactions.handle_timeout(now.instant);
        self.registration_timeout(now);
        self.subscription_timeout(now);
        self.snapshot_timeout(now);
        self.call_timeout(now);
        self.happenings(now);
        self.settle(now);
    }

    /// When [`Device::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        let due = [
            self.transactions.next_timeout(),
            self.registration.next_timeout(),
            self.subscription_due(),
            self.snapshot_due(),
            self.call_due(),
            self.alarms.next_timeout(),
        ];
        due.into_iter().flatten().min()
    }

    /// What it wants done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn settle(&mut self, now: Now) {
        while let Some(output) = self.transactions.poll_output() {
            match output {
                TransactionOutput::Send { flow, bytes } => {
                    self.outputs.push_back(Output::Send { flow, bytes })
                }
                TransactionOutput::Request { key, request, .. } => self.request(now, key, &request),
                TransactionOutput::Response { key, response, .. } => self.response(now, key, &response),
                TransactionOutput::Failed { key, .. } => self.failed(now, key),
                TransactionOutput::Cancelled { key } => self.cancelled(now, key),
                TransactionOutput::Unacknowledged { key } => self.unacknowledged(now, key),
            }
        }
    }

    fn request(&mut self, now: Now, key: Option<ServerKey>, request: &Message) {
        let Some(key) = key else {
            // Only an ACK has no key.
            return self.acknowledged(now, request.call_id().unwrap_or_default());
        };
        match request.method() {
            Some(Method::Message) => {
                if !self.settings.has(Quirk::NoMessageReply) {
                    self.transactions.respond(now.instant, key, request.response(200));
                }
                self.command(now, &request.body);
            }
            Some(Method::Invite) => self.invite(now, key, request),
            Some(Method::Bye) => self.bye(now, key, request),
            Some(Method::Info) => self.info(now, key, request),
            Some(Method::Subscribe) => self.subscribe(now, key, request),
            Some(Method::Options) => {
                self.transactions.respond(now.instant, key, request.response(200));
            }
            _ => {
                self.transactions.respond(now.instant, key, request.response(405));
            }
        }
    }

    fn response(&mut self, now: Now, key: ClientKey, response: &Message) {
        if matches!(response.cseq(), Some((_, Method::Invite))) {
            return self.talk_answered(now, response);
        }
        let Some(code) = response.code().filter(|code| *code >= 200) else { return };
        match self.purposes.remove(&key) {
            Some(Purpose::Register { answered, expires }) => {
                self.register_answered(now, answered, expires, code, response);
            }
            Some(Purpose::Keepalive) => self.keepalive_answered(now, Some(code)),
            Some(Purpose::Page(list)) => self.next_page(now, list),
            Some(Purpose::Notify(number)) => self.notify_answered(number, Some(code)),
            Some(Purpose::Talk | Purpose::Other) | None => {}
        }
    }

    fn failed(&mut self, now: Now, key: ClientKey) {
        match self.purposes.remove(&key) {
            Some(Purpose::Register { .. }) => self.refused(now, None),
            Some(Purpose::Keepalive) => self.keepalive_answered(now, None),
            // A lost page is not waited for: the platform has to cope.
            Some(Purpose::Page(list)) => self.next_page(now, list),
            Some(Purpose::Notify(number)) => self.notify_answered(number, None),
            Some(Purpose::Talk) => self.talk_failed(),
            Some(Purpose::Other) | None => {}
        }
    }

    fn message(&mut self, now: Now, text: &str, purpose: Purpose) {
        let body = self.document(text);
        let (server_id, domain) = (self.registration.server_id, &self.settings.domain);
        let request = Message::request(Method::Message, &format!("sip:{server_id}@{domain}"))
            .with("From", format!("<sip:{}@{domain}>;tag={}", self.id, self.tokens.tag()))
            .with("To", format!("<sip:{server_id}@{domain}>"))
            .with("Call-ID", self.tokens.call_id(&self.flow.local.ip().to_string()))
            .with("CSeq", "1 MESSAGE")
            .with("Max-Forwards", "70")
            .with_body(manscdp::CONTENT_TYPE, body);
        self.request_out(now, request, purpose);
    }

    fn request_out(&mut self, now: Now, request: Message, purpose: Purpose) {
        let key = self.transactions.request(now.instant, self.flow, request);
        self.purposes.insert(key, purpose);
    }

    /// A body as it goes out: declared, encoded, and spoilt as the quirks have it.
    fn document(&self, text: &str) -> Bytes {
        let has = |quirk| self.settings.has(quirk);
        let mut text = text.to_owned();
        if has(Quirk::BareAmpersand) {
            text = text.replace("</Name>", " & 2</Name>");
        }
        if has(Quirk::StrayLess) {
            text = text.replace("</Address>", " <5m</Address>");
        }
        if has(Quirk::AttributeFields) {
            text = with_attributes(&text).unwrap_or(text);
        }
        let edition = self.settings.edition;
        let declared =
            if has(Quirk::Utf8) || has(Quirk::GbAsUtf8) { Charset::Utf8 } else { Charset::Gb18030 };
        let encoded = if has(Quirk::Utf8) || has(Quirk::Utf8AsGb) { Charset::Utf8 } else { Charset::Gb18030 };
        let declaration = if has(Quirk::NoXmlDeclaration) {
            Bytes::new()
        } else {
            manscdp::document("", declared, edition)
        };
        let end: &[u8] = if has(Quirk::TrailingNul) { &[0, 0] } else { &[] };
        [&declaration[..], &charset::encode(&text, encoded)[..], end].concat().into()
    }

    fn next_sn(&mut self) -> u32 {
        self.sn = self.sn.wrapping_add(1).max(1);
        self.sn
    }
}

/// The body with CmdType and SN as attributes of its root.
fn with_attributes(text: &str) -> Option<String> {
    let (root, rest) = text.split_once(">\r\n<CmdType>")?;
    let (command, rest) = rest.split_once("</CmdType>\r\n<SN>")?;
    let (sn, rest) = rest.split_once("</SN>\r\n")?;
    Some(format!("{root} CmdType=\"{command}\" SN=\"{sn}\">\r\n{rest}"))
}
