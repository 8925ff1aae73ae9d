//! A simulated device without I/O: it registers, keeps alive, answers queries and calls.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::quirks::Quirk;
use crate::gb::charset::{Charset, History};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, CatalogItem, DeviceInfo, DeviceStatus, Edition, Root, write};
use crate::gb::sdp::{self, Sdp, SourcePath};
use crate::gb::time::{Now, Offset};
use crate::gb::xml::Element;
use crate::sip::digest::{self, Challenge};
use crate::sip::message::Uri;
use crate::sip::transaction::Config;
use crate::sip::{
    ClientKey, Flow, Message, Method, Output as TransactionOutput, ServerKey, Tokens, Transactions,
};

/// The edition that the devices speak.
const EDITION: Edition = Edition::E2016;
/// Catalog items in one MESSAGE.
const PAGE: usize = 4;
/// Calls at once; a real recorder has a limit, too.
const MAX_CALLS: usize = 256;
/// How long to wait after a registration that failed.
const RETRY: Duration = Duration::from_secs(3);
/// Keepalives without an answer after which the platform counts as gone.
const MISSES: u32 = 3;

/// What all devices of a simulation share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The platform's id.
    pub server_id: Id,
    /// Its domain.
    pub domain: String,
    /// The password of the devices.
    pub password: String,
    /// Seconds for which they register.
    pub expires: u32,
    /// How often they say that they are there.
    pub keepalive: Duration,
    /// How they misbehave.
    pub quirks: Vec<Quirk>,
}

impl Settings {
    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }
}

/// Where the media of a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// UDP, or TCP as client or server.
    pub way: Way,
    /// The SSRC to send.
    pub ssrc: u32,
    /// Which channel is shown: each begins elsewhere in the clip.
    pub channel: usize,
}

/// How media goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// RTP over UDP.
    Udp { to: SocketAddr },
    /// RTP over TCP, the device connects.
    TcpConnect { to: SocketAddr },
    /// RTP over TCP, the device listens.
    TcpListen,
}

/// What a device wants done.
#[derive(Debug)]
pub enum Output {
    /// Send bytes to the platform.
    Send { flow: Flow, bytes: Bytes },
    /// Open what sends the media of a call; answered by [`Device::media_opened`].
    Open { call: String, plan: Plan },
    /// The other side is ready: send.
    Start { call: String },
    /// Send a key frame now.
    KeyFrame { channel: usize },
    /// End the media of a call.
    Stop { call: String },
    /// The registration came into force or ended.
    Registered(bool),
    /// The platform refused the registration with this code, or did not answer (`None`).
    Refused(Option<u16>),
}

enum Purpose {
    Register { authorised: bool, expires: u32 },
    Keepalive,
    CatalogPage,
    Other,
}

struct Call {
    invite: ServerKey,
    request: Message,
    offer: Sdp,
    plan: Plan,
}

/// A simulated camera or recorder.
pub struct Device {
    settings: Arc<Settings>,
    id: Id,
    channels: Vec<Id>,
    flow: Flow,
    transactions: Transactions,
    tokens: Tokens,
    purposes: HashMap<ClientKey, Purpose>,
    call_id: String,
    cseq: u32,
    sn: u32,
    registered: bool,
    misses: u32,
    register_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    pages: VecDeque<Bytes>,
    calls: HashMap<String, Call>,
    history: History,
    leaving: bool,
    outputs: VecDeque<Output>,
}

impl Device {
    /// A device that registers at `begin`.
    pub fn new(
        settings: Arc<Settings>,
        id: Id,
        channels: Vec<Id>,
        flow: Flow,
        seed: [u8; 32],
        begin: Instant,
    ) -> Device {
        let mut tokens = Tokens::new(seed, 0);
        let mut branches = seed;
        branches[0] ^= 1;
        let call_id = tokens.call_id(&flow.local.ip().to_string());
        Device {
            settings,
            id,
            channels,
            flow,
            transactions: Transactions::new(Config::default(), Tokens::new(branches, 0)),
            tokens,
            purposes: HashMap::new(),
            call_id,
            cseq: 0,
            sn: 0,
            registered: false,
            misses: 0,
            register_at: Some(begin),
            keepalive_at: None,
            pages: VecDeque::new(),
            calls: HashMap::new(),
            history: History::default(),
            leaving: false,
            outputs: VecDeque::new(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The way to the platform is another: a new connection.
    pub fn reconnected(&mut self, now: Now, flow: Flow) {
        self.flow = flow;
        self.registered = false;
        self.register_at = Some(now.instant);
        self.settle(now);
    }

    /// A message came from the platform.
    pub fn receive(&mut self, now: Now, message: Message) {
        self.transactions.receive(now.instant, self.flow, message);
        self.settle(now);
    }

    /// Moves time forward.
    pub fn handle_timeout(&mut self, now: Now) {
        self.transactions.handle_timeout(now.instant);
        if self.register_at.is_some_and(|at| at <= now.instant) {
            self.register_at = None;
            self.register(now, None, self.settings.expires);
        }
        if self.keepalive_at.is_some_and(|at| at <= now.instant) {
            self.keepalive_at = Some(now.instant + self.settings.keepalive);
            if self.registered && !self.settings.has(Quirk::Silent) {
                let sn = self.next_sn();
                let body = write::keepalive(sn, &self.id, &[]);
                self.message(now, &body, Purpose::Keepalive);
            }
        }
        self.settle(now);
    }

    /// When [`Device::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.transactions.next_timeout(), self.register_at, self.keepalive_at].into_iter().flatten().min()
    }

    /// What it wants done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The media of a call can be sent from this address; `None`: it can't be sent at all.
    pub fn media_opened(&mut self, now: Now, call: &str, local: Option<SocketAddr>) {
        let Some(open) = self.calls.get(call) else { return };
        let (key, request) = (open.invite, open.request.clone());
        let response = match local.and_then(|local| self.answer(open, local)) {
            Some(answer) => request
                .response(200)
                .with("Contact", format!("<sip:{}@{}>", self.id, self.flow.local))
                .with_body(sdp::CONTENT_TYPE, answer.to_bytes()),
            None => {
                self.calls.remove(call);
                request.response(500)
            }
        };
        self.transactions.respond(now.instant, key, response);
        self.settle(now);
    }

    /// Takes leave: unregisters.
    pub fn leave(&mut self, now: Now) {
        self.leaving = true;
        self.keepalive_at = None;
        self.register_at = None;
        self.register(now, None, 0);
        self.settle(now);
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
                TransactionOutput::Cancelled { key } => {
                    if let Some(call) = self.calls.extract_if(|_, call| call.invite == key).next() {
                        let (id, call) = call;
                        self.transactions.respond(now.instant, key, call.request.response(487));
                        self.outputs.push_back(Output::Stop { call: id });
                    }
                }
                // A platform that never acknowledges is not sent anything.
                TransactionOutput::Unacknowledged { .. } => {}
            }
        }
    }

    fn request(&mut self, now: Now, key: Option<ServerKey>, request: &Message) {
        let Some(key) = key else {
            // ACK: the platform has the answer, media may flow.
            let call = request.call_id().filter(|call| self.calls.contains_key(*call));
            if let Some(call) = call.filter(|_| !self.settings.has(Quirk::NoMedia)) {
                self.outputs.push_back(Output::Start { call: call.to_owned() });
            }
            return;
        };
        match request.method() {
            Some(Method::Message) => {
                self.transactions.respond(now.instant, key, request.response(200));
                self.command(now, request);
            }
            Some(Method::Invite) => self.invite(now, key, request),
            Some(Method::Bye) => {
                let call = request.call_id().unwrap_or_default().to_owned();
                let known = self.calls.remove(&call).is_some();
                self.transactions.respond(now.instant, key, request.response(if known { 200 } else { 481 }));
                self.outputs.push_back(Output::Stop { call });
            }
            Some(Method::Options | Method::Info) => {
                self.transactions.respond(now.instant, key, request.response(200));
            }
            _ => {
                self.transactions.respond(now.instant, key, request.response(405));
            }
        }
    }

    fn command(&mut self, now: Now, request: &Message) {
        let Ok(body) = manscdp::parse(&request.body, &mut self.history) else { return };
        let target = body.device_id.unwrap_or(self.id);
        match (body.root, body.cmd.as_str()) {
            (Root::Query, "Catalog") => self.catalog(now, body.sn),
            (Root::Query, "DeviceInfo") => {
                let info = DeviceInfo {
                    name: Some(self.name()),
                    manufacturer: Some("gbgate".to_owned()),
                    model: Some("Simulator".to_owned()),
                    firmware: Some(env!("CARGO_PKG_VERSION").to_owned()),
                    channels: Some(self.channels.len() as u32),
                };
                let body = write::response_device_info(body.sn, &target, &info);
                self.message(now, &body, Purpose::Other);
            }
            (Root::Query, "DeviceStatus") => {
                let status = DeviceStatus { online: Some(true), ok: Some(true), ..DeviceStatus::default() };
                let body = write::response_device_status(body.sn, &target, &status, Offset::BEIJING);
                self.message(now, &body, Purpose::Other);
            }
            (Root::Control, _) if is_key_frame_command(&body.body) => {
                let channel = self.channels.iter().position(|channel| *channel == target).unwrap_or(0);
                self.outputs.push_back(Output::KeyFrame { channel });
            }
            _ => {}
        }
    }

    /// Answers a catalog query page by page; each page waits for the 200 to the one before.
    fn catalog(&mut self, now: Now, sn: u32) {
        let announced = self.channels.len() + if self.settings.has(Quirk::WrongSumNum) { 2 } else { 0 };
        let items: Vec<CatalogItem> =
            self.channels.iter().enumerate().map(|(index, channel)| self.item(index, channel)).collect();
        let mut pages: VecDeque<Bytes> = items
            .chunks(PAGE)
            .map(|page| self.document(&write::response_catalog(sn, &self.id, announced, page, EDITION)))
            .collect();
        if pages.is_empty() {
            pages.push_back(self.document(&write::response_catalog(sn, &self.id, 0, &[], EDITION)));
        }
        if self.settings.has(Quirk::ReversedPages) {
            pages.make_contiguous().reverse();
        }
        self.pages = pages;
        self.next_page(now);
    }

    /// What people would call it.
    fn name(&self) -> String {
        let kind = if self.channels.len() > 1 { "录像机" } else { "摄像机" };
        format!("{kind} {}", serial(&self.id))
    }

    fn item(&self, index: usize, channel: &Id) -> CatalogItem {
        CatalogItem {
            manufacturer: Some("gbgate".to_owned()),
            model: Some("Simulator".to_owned()),
            owner: Some("gbgate".to_owned()),
            civil_code: channel.as_str().get(..6).and_then(|code| Id::parse(code).ok()),
            address: Some(format!("村口 {}", index + 1)),
            parent_ids: vec![self.id],
            status: Some(true),
            longitude: Some(117.0 + index as f64 / 1_000.0),
            latitude: Some(31.8),
            ptz_type: Some(1),
            ..CatalogItem::new(*channel, &format!("摄像机 {}", serial(channel)))
        }
    }

    fn next_page(&mut self, now: Now) {
        if let Some(page) = self.pages.pop_front() {
            self.send(now, page, Purpose::CatalogPage);
        }
    }

    fn invite(&mut self, now: Now, key: ServerKey, request: &Message) {
        if self.settings.has(Quirk::InviteSilent) {
            return;
        }
        let code = match self.accept(key, request) {
            _ if self.settings.has(Quirk::InviteBusy) => 486,
            Ok(()) => return,
            Err(code) => code,
        };
        self.transactions.respond(now.instant, key, request.response(code));
    }

    fn accept(&mut self, key: ServerKey, request: &Message) -> Result<(), u16> {
        if self.settings.has(Quirk::InviteBusy) || self.calls.len() >= MAX_CALLS {
            return Err(486);
        }
        let user = request.uri().and_then(Uri::parse).and_then(|uri| uri.user);
        let wanted = user.and_then(|user| Id::parse(user).ok()).ok_or(400u16)?;
        let channel = self.channels.iter().position(|channel| *channel == wanted);
        let channel = channel.or((wanted == self.id).then_some(0)).ok_or(404u16)?;
        let offer = sdp::parse(&request.body).map_err(|_| 488u16)?;
        let way = match offer.source_path().map_err(|_| 488u16)? {
            SourcePath::Send { to } => Way::Udp { to },
            SourcePath::Connect { to } => Way::TcpConnect { to },
            SourcePath::Accept => Way::TcpListen,
        };
        let offered = offer.ssrc.unwrap_or(0);
        let ssrc = if self.settings.has(Quirk::OtherSsrc) { offered ^ 0x5A5A } else { offered };
        let plan = Plan { way, ssrc, channel };
        let call = request.call_id().ok_or(400u16)?.to_owned();
        self.calls.insert(call.clone(), Call { invite: key, request: request.clone(), offer, plan });
        self.outputs.push_back(Output::Open { call, plan });
        Ok(())
    }

    fn answer(&self, call: &Call, local: SocketAddr) -> Option<Sdp> {
        let channel = self.channels.get(call.plan.channel).unwrap_or(&self.id);
        let mut answer = Sdp::answer_to(&call.offer, channel, local).ok()?;
        if self.settings.has(Quirk::OtherSsrc) {
            answer.ssrc = None;
        }
        Some(answer)
    }

    fn response(&mut self, now: Now, key: ClientKey, response: &Message) {
        let Some(code) = response.code().filter(|code| *code >= 200) else { return };
        match self.purposes.remove(&key) {
            Some(Purpose::Register { authorised: false, expires }) if code == 401 => {
                match response.header("WWW-Authenticate").and_then(|value| Challenge::parse(value).ok()) {
                    Some(challenge) => self.register(now, Some(challenge), expires),
                    None => self.refused(now, Some(code)),
                }
            }
            Some(Purpose::Register { expires: 0, .. }) => self.set_registered(false),
            Some(Purpose::Register { .. }) if code == 200 => {
                self.misses = 0;
                let granted = Duration::from_secs(response.expires().unwrap_or(self.settings.expires).into());
                self.register_at = Some(now.instant + granted * 4 / 5);
                self.keepalive_at = Some(now.instant + self.settings.keepalive);
                self.set_registered(true);
            }
            Some(Purpose::Register { .. }) => self.refused(now, Some(code)),
            Some(Purpose::Keepalive) if code == 200 => self.misses = 0,
            // The platform does not know us any more.
            Some(Purpose::Keepalive) => self.register_at = Some(now.instant),
            Some(Purpose::CatalogPage) => self.next_page(now),
            Some(Purpose::Other) | None => {}
        }
    }

    fn failed(&mut self, now: Now, key: ClientKey) {
        match self.purposes.remove(&key) {
            Some(Purpose::Register { .. }) => self.refused(now, None),
            Some(Purpose::Keepalive) => {
                self.misses += 1;
                if self.misses >= MISSES {
                    self.register_at = Some(now.instant);
                }
            }
            // A lost page is not waited for: the platform has to cope.
            Some(Purpose::CatalogPage) => self.next_page(now),
            Some(Purpose::Other) | None => {}
        }
    }

    fn refused(&mut self, now: Now, code: Option<u16>) {
        self.set_registered(false);
        if !self.leaving {
            self.register_at = Some(now.instant + RETRY);
        }
        self.outputs.push_back(Output::Refused(code));
    }

    fn set_registered(&mut self, registered: bool) {
        if self.registered != registered || self.leaving {
            self.registered = registered;
            self.outputs.push_back(Output::Registered(registered));
        }
    }

    fn register(&mut self, now: Now, challenge: Option<Challenge>, expires: u32) {
        self.cseq += 1;
        let uri = format!("sip:{}@{}", self.settings.server_id, self.settings.domain);
        let own = format!("<sip:{}@{}>", self.id, self.settings.domain);
        let mut request = Message::request(Method::Register, &uri)
            .with("From", format!("{own};tag={}", self.tokens.tag()))
            .with("To", own)
            .with("Call-ID", self.call_id.clone())
            .with("CSeq", format!("{} REGISTER", self.cseq))
            .with("Contact", format!("<sip:{}@{}>", self.id, self.flow.local))
            .with("Max-Forwards", "70")
            .with("User-Agent", concat!("gbgate-simulator/", env!("CARGO_PKG_VERSION")))
            .with("Expires", expires.to_string());
        let authorised = challenge.is_some();
        if let Some(challenge) = challenge {
            let (user, password) = (self.id.as_str(), &self.settings.password);
            let cnonce = self.tokens.tag();
            let method = Method::Register.as_str();
            if let Some(credentials) = digest::answer(&challenge, method, &uri, user, password, 1, &cnonce) {
                request = request.with("Authorization", credentials);
            }
        }
        let key = self.transactions.request(now.instant, self.flow, request);
        self.purposes.insert(key, Purpose::Register { authorised, expires });
    }

    fn message(&mut self, now: Now, body: &str, purpose: Purpose) {
        let body = self.document(body);
        self.send(now, body, purpose);
    }

    fn send(&mut self, now: Now, body: Bytes, purpose: Purpose) {
        let Settings { server_id, domain, .. } = &*self.settings;
        let request = Message::request(Method::Message, &format!("sip:{server_id}@{domain}"))
            .with("From", format!("<sip:{}@{domain}>;tag={}", self.id, self.tokens.tag()))
            .with("To", format!("<sip:{server_id}@{domain}>"))
            .with("Call-ID", self.tokens.call_id(&self.flow.local.ip().to_string()))
            .with("CSeq", "1 MESSAGE")
            .with("Max-Forwards", "70")
            .with_body(manscdp::CONTENT_TYPE, body);
        let key = self.transactions.request(now.instant, self.flow, request);
        self.purposes.insert(key, purpose);
    }

    fn document(&self, body: &str) -> Bytes {
        if self.settings.has(Quirk::Utf8AsGb) {
            let declared = manscdp::document("", Charset::Gb18030, EDITION);
            return [&declared[..], body.as_bytes()].concat().into();
        }
        let charset = if self.settings.has(Quirk::Utf8) { Charset::Utf8 } else { Charset::Gb18030 };
        manscdp::document(body, charset, EDITION)
    }

    fn next_sn(&mut self) -> u32 {
        self.sn = self.sn.wrapping_add(1).max(1);
        self.sn
    }
}

/// IFameCmd to 2016, IFrameCmd from 2022.
fn is_key_frame_command(command: &Element) -> bool {
    ["IFameCmd", "IFrameCmd"].iter().any(|name| command.child(name).is_some())
}

/// The serial number in an id, without leading zeros.
fn serial(id: &Id) -> &str {
    id.as_str().get(14..).unwrap_or_default().trim_start_matches('0')
}
