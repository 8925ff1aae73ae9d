//! A shard in virtual time, beside a device that is played by the test: bytes in, bytes out.

mod chaos;
mod memory;
mod story;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::call::Profile;
use crate::gb::manscdp::{self, write};
use crate::gb::sdp::{self, Sdp};
use crate::gb::time::UnixMillis;
use crate::registry::Index;
use crate::sip::digest::{self, Challenge};
use crate::sip::{Method, Transport};

const PLATFORM: &str = "34020000002000000001";
const DOMAIN: &str = "3402000000";
const PASSWORD: &str = "12345678";
const PLAY_TIMEOUT: f64 = 10.0;
const NO_READER: f64 = 15.0;

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

/// The device `n`, and its only camera.
fn device(n: u64) -> Id {
    id("34020000001180000001").nth(n)
}

fn camera(n: u64) -> Id {
    id("34020000001310000001").nth(n)
}

fn key(n: u64) -> Key {
    Key::live(device(n), camera(n), Profile::Main)
}

fn flow(transport: Transport, remote: &str, connection: u64) -> Flow {
    Flow { transport, local: "192.0.2.10:5060".parse().unwrap(), remote: remote.parse().unwrap(), connection }
}

fn udp(port: u16) -> Flow {
    flow(Transport::Udp, &format!("192.0.2.20:{port}"), 0)
}

fn tcp(connection: u64) -> Flow {
    flow(Transport::Tcp, &format!("192.0.2.20:{}", 40_000 + connection), connection)
}

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn origin() -> Instant {
    Instant::now()
}

fn settings() -> Settings {
    Settings {
        device: device::tests::settings(),
        call: call::Settings {
            platform: id(PLATFORM),
            domain: DOMAIN.to_owned(),
            play_timeout: Duration::from_secs_f64(PLAY_TIMEOUT),
            no_reader_timeout: Duration::from_secs_f64(NO_READER),
        },
        media_transport: MediaMode::Udp,
    }
}

/// A shard and all that surrounds it.
struct World {
    shard: Shard,
    now: Now,
    /// The registry, and what waits for its disk; `None`: it keeps at once.
    index: Index,
    held: Option<VecDeque<(WriteToken, Vec<Write>)>>,
    /// What was sent, oldest first.
    sent: VecDeque<(Flow, Message)>,
    /// The other effects, oldest first.
    effects: VecDeque<Effect>,
    cseq: u32,
    /// Whether all that must hold is checked after each input, which takes its time where devices are many.
    careful: bool,
}

impl World {
    fn new() -> World {
        World {
            shard: Shard::new(settings(), 3, 8, [7; 32]),
            now: Now { instant: origin(), unix: UnixMillis(1_714_521_600_000) },
            index: Index::new(),
            held: None,
            sent: VecDeque::new(),
            effects: VecDeque::new(),
            cseq: 0,
            careful: true,
        }
    }

    /// The same world after the gateway was killed and started again.
    fn restarted(self) -> World {
        let mut world = World::new();
        (world.now, world.index, world.cseq) = (self.now, self.index, self.cseq);
        let states: Vec<_> = world
            .index
            .all_devices()
            .map(|state| (state.device.clone(), state.registration.cloned()))
            .collect();
        for (device, registration) in states {
            let calls = world.index.calls().filter(|call| call.device == device.id).cloned().collect();
            let findings = world.index.findings(&device.id).to_vec();
            world.shard.restore(world.now, device, registration, calls, &findings);
        }
        world.drain();
        world
    }

    fn handle(&mut self, input: Input) {
        self.shard.handle(self.now, input);
        self.drain();
    }

    /// Carries out what the shard wants done.
    fn drain(&mut self) {
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Send { flow, bytes } => {
                    let message = Message::parse(&bytes).expect("what we send can be read");
                    self.sent.push_back((flow, message));
                }
                Effect::Write { token: Some(token), writes } if self.held.is_some() => {
                    self.held.as_mut().unwrap().push_back((token, writes));
                }
                Effect::Write { token, writes } => {
                    self.apply(&writes);
                    if let Some(token) = token {
                        self.shard.handle(self.now, Input::Committed { token, kept: true });
                    }
                }
                other => self.effects.push_back(other),
            }
        }
        if self.careful {
            self.check();
        }
    }

    fn check(&self) {
        let Shard { transactions, devices, calls, askers, invites, .. } = &self.shard;
        devices.check();
        calls.check();
        assert!(askers.len() <= transactions.counts().0 + calls.count(), "answers that will never come");
        assert!(invites.len() <= calls.count());
    }

    fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            self.index.apply(write);
        }
    }

    /// The disk settles the oldest write that it holds.
    fn settle(&mut self, kept: bool) {
        let Some((token, writes)) = self.held.as_mut().and_then(VecDeque::pop_front) else { return };
        if kept {
            self.apply(&writes);
        }
        self.handle(Input::Committed { token, kept });
    }

    fn later(&mut self, seconds: f64) {
        let until = self.now.instant + Duration::from_secs_f64(seconds);
        while let Some(due) = self.shard.next_timeout().filter(|due| *due <= until) {
            self.set_clock(due.max(self.now.instant));
            self.shard.handle_timeout(self.now);
            self.drain();
            assert!(self.shard.next_timeout().is_none_or(|next| next > self.now.instant), "time must go on");
        }
        self.set_clock(until);
    }

    fn set_clock(&mut self, instant: Instant) {
        self.now.unix.0 += (instant - self.now.instant).as_millis() as i64;
        self.now.instant = instant;
    }

    // The device's side.

    /// A message arrives, if it can be read at all.
    fn arrive(&mut self, flow: Flow, bytes: &Bytes) {
        if let Ok(message) = Message::parse(bytes) {
            self.handle(Input::Message { flow, message });
        }
    }

    fn deliver(&mut self, flow: Flow, message: &Message) {
        self.arrive(flow, &message.to_bytes());
    }

    fn request(&mut self, method: Method, device: Id, flow: Flow) -> Message {
        self.cseq += 1;
        let number = self.cseq;
        Message::request(method.clone(), &format!("sip:{PLATFORM}@{DOMAIN}"))
            .with(
                "Via",
                format!("SIP/2.0/{} 10.1.1.1:5060;rport;branch=z9hG4bKd{number}", flow.transport.via()),
            )
            .with("From", format!("<sip:{device}@{DOMAIN}>;tag=d{number}"))
            .with("To", format!("<sip:{PLATFORM}@{DOMAIN}>"))
            .with("Call-ID", format!("d{number}"))
            .with("CSeq", format!("{number} {method}"))
    }

    /// The next message that was sent, of which nothing else is of interest.
    fn next(&mut self) -> (Flow, Message) {
        self.sent.pop_front().expect("something is sent")
    }

    fn next_code(&mut self) -> u16 {
        self.next().1.code().expect("a response")
    }

    /// The next message, which has to be a request of that method; returned as it came.
    fn expect(&mut self, method: Method) -> (Flow, Message) {
        let (flow, message) = self.next();
        assert_eq!(message.method(), Some(&method));
        (flow, message)
    }

    /// REGISTER, with the answer to the challenge.
    fn register(&mut self, n: u64, flow: Flow, expires: u32) -> u16 {
        let register = self.request(Method::Register, device(n), flow);
        let register = register.with("Contact", format!("<sip:{}@10.1.1.1:5060>", device(n)));
        self.deliver(flow, &register.with("Expires", expires.to_string()));
        let (_, refusal) = self.next();
        let Some(challenge) = refusal.header("WWW-Authenticate") else { return refusal.code().unwrap() };
        let challenge = Challenge::parse(challenge).unwrap();
        let register = self.request(Method::Register, device(n), flow);
        let uri = register.uri().unwrap().to_owned();
        let number = self.cseq;
        let answer = digest::answer(&challenge, "REGISTER", &uri, device(n).as_str(), PASSWORD, number, "c");
        let register = register.with("Authorization", answer.unwrap()).with("Expires", expires.to_string());
        self.deliver(flow, &register);
        if self.held.is_some() { 0 } else { self.next_code() }
    }

    fn message(&mut self, n: u64, flow: Flow, body: &str) {
        let message = self.request(Method::Message, device(n), flow);
        let body = Bytes::from(body.to_owned());
        self.deliver(flow, &message.with_body(manscdp::CONTENT_TYPE, body));
    }

    fn keepalive(&mut self, n: u64, flow: Flow) {
        self.message(n, flow, &write::keepalive(1, &device(n), &[]));
    }

    fn catalog(&mut self, n: u64, flow: Flow) {
        let items = [manscdp::CatalogItem::new(camera(n), "camera")];
        let edition = manscdp::Edition::default();
        self.message(n, flow, &write::response_catalog(1, &device(n), 1, &items, edition));
    }

    /// A registered device whose catalog is known.
    fn settled(&mut self, n: u64, flow: Flow) {
        assert_eq!(self.register(n, flow, 3_600), 200);
        for _ in 0..2 {
            let (_, query) = self.expect(Method::Message);
            self.deliver(flow, &query.response(200));
        }
        self.catalog(n, flow);
        assert_eq!(self.next_code(), 200);
        self.later(1.0);
        self.effects.clear();
    }

    fn want(&mut self, waiter: u64, n: u64) {
        self.handle(Input::Want { waiter: call::Waiter(waiter), key: key(n), history: None });
    }

    fn media(&mut self, call: CallId, news: Media) {
        self.handle(Input::Media { call, news });
    }

    /// As far as the INVITE.
    fn invite(&mut self, waiter: u64, n: u64) -> (CallId, Flow, Message) {
        self.want(waiter, n);
        let Some(Effect::OpenMedia { call, .. }) = self.effects.pop_back() else {
            panic!("no port asked for")
        };
        self.media(call, Media::Opened("192.0.2.10:30000".parse().unwrap()));
        let (flow, invite) = self.expect(Method::Invite);
        (call, flow, invite)
    }

    /// As far as a picture.
    fn running(&mut self, waiter: u64, n: u64) -> (CallId, Message) {
        let (call, flow, invite) = self.invite(waiter, n);
        self.deliver(flow, &ok(&invite));
        self.expect(Method::Ack);
        self.media(call, Media::Flowing);
        self.media(call, Media::Ready);
        assert!(self.plays().contains(&(waiter, Ok(call))));
        (call, invite)
    }

    /// Who was told what of the streams that they want.
    fn plays(&mut self) -> Vec<(u64, Result<CallId, &'static str>)> {
        let mut told = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Play { waiter, outcome } => {
                told.push((waiter.0, outcome.as_ref().map(|call| *call).map_err(call::Failure::code)));
                false
            }
            _ => true,
        });
        told
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        let Shard { transactions, calls, askers, invites, effects, .. } = &self.shard;
        let tables = askers.len() + invites.len() + effects.len() + calls.count();
        calls.is_idle() && transactions.counts() == (0, 0) && tables == 0
    }
}

/// The device's 200 to an INVITE.
fn ok(invite: &Message) -> Message {
    let offer = sdp::parse(&invite.body).unwrap();
    let local = "192.0.2.20:15060".parse().unwrap();
    let answer = Sdp::answer_to(&offer, &camera(0), local).unwrap();
    let contact = "<sip:34020000001310000001@192.0.2.20:5060>";
    invite
        .response(200)
        .with_to_tag("d1")
        .with("Contact", contact)
        .with_body(sdp::CONTENT_TYPE, answer.to_bytes())
}
