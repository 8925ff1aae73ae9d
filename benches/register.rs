//! A registration through the whole signalling shard, without sockets and disk: REGISTER, 401, REGISTER with digest, 200;
//! what is to be kept counts as kept at once.
//!
//! With sockets and disk, and beside Kamailio: `scripts/bench-register.sh`.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark looks at the clock and tells"
)]
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gbgate::call;
use gbgate::device::{self, DateHeader};
use gbgate::gb::Id;
use gbgate::gb::sdp::MediaMode;
use gbgate::gb::time::{Now, Offset, UnixMillis};
use gbgate::node::shard::{Effect, Input, Settings, Shard};
use gbgate::registry::Profiles;
use gbgate::sip::digest::{self, Challenge};
use gbgate::sip::{Flow, Message, Method, Transport};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::{Cpu, allocations, figure, median, medians, micros};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEVICES: u64 = 10_000;
const ROUNDS: u64 = 7;
const PLATFORM: &str = "34020000002000000001";
const DOMAIN: &str = "3402000000";
const PASSWORD: &str = "12345678";

struct Bench {
    shard: Shard,
    now: Now,
    /// What was sent in the last step.
    sent: Vec<Bytes>,
}

impl Bench {
    fn new() -> Bench {
        let platform = Id::parse(PLATFORM).unwrap();
        let settings = Settings {
            device: device::Settings {
                platform,
                domain: DOMAIN.to_owned(),
                password: Some(PASSWORD.to_owned()),
                keepalive: Duration::from_secs(60),
                misses: 1_000,
                expires_min: Duration::from_secs(60),
                expires_max: Duration::from_secs(7 * 86_400),
                date_header: DateHeader::Gb,
                offset: Offset::BEIJING,
                profiles: Arc::new(Profiles::built_in().unwrap()),
                redirect: None,
            },
            call: call::Settings {
                platform,
                domain: DOMAIN.to_owned(),
                play_timeout: Duration::from_secs(10),
                no_reader_timeout: Duration::from_secs(15),
            },
            media_transport: MediaMode::Udp,
        };
        let now = Now { instant: Instant::now(), unix: UnixMillis(1_714_521_600_000) };
        Bench { shard: Shard::new(settings, 0, 1, [7; 32]), now, sent: Vec::new() }
    }

    /// Takes datagrams, each from its own device, with all that follows.
    fn take(&mut self, datagrams: &[(Flow, Bytes)]) {
        for (flow, datagram) in datagrams {
            let message = Message::parse(datagram).unwrap();
            self.shard.handle(self.now, Input::Message { flow: *flow, message });
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Send { bytes, .. } => self.sent.push(bytes),
                Effect::Write { token: Some(token), writes } => {
                    black_box(writes);
                    self.shard.handle(self.now, Input::Committed { token, kept: true });
                }
                other => {
                    black_box(other);
                }
            }
        }
    }

    /// Lets `time` pass: transactions end, and what is pending times out.
    fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(at) = self.shard.next_timeout().filter(|at| *at <= end) {
            self.now.instant = self.now.instant.max(at);
            self.shard.handle_timeout(self.now);
            self.carry_out();
        }
        self.now.instant = end;
        self.now.unix.0 += time.as_millis() as i64;
        self.sent.clear();
    }

    /// All devices register once.
    fn round(&mut self, number: u64) -> Round {
        let mut round = Round::default();
        let plain: Vec<_> = (0..DEVICES).map(|device| register(device, 2 * number + 1, None)).collect();
        round.first = self.measure(&plain, &mut round);
        let challenges: Vec<_> = self.sent.drain(..).map(|answer| challenge(&answer)).collect();
        assert_eq!(challenges.len() as u64, DEVICES);
        let with_digest: Vec<_> = (0..DEVICES)
            .zip(&challenges)
            .map(|(device, challenge)| register(device, 2 * number + 2, Some(challenge)))
            .collect();
        round.second = self.measure(&with_digest, &mut round);
        let granted = self.sent.iter().filter(|sent| sent.starts_with(b"SIP/2.0 200 ")).count();
        assert_eq!(granted as u64, DEVICES);
        round.queries = self.sent.len() - granted;
        self.pass(Duration::from_secs(60));
        round
    }

    fn measure(&mut self, datagrams: &[(Flow, Bytes)], round: &mut Round) -> Duration {
        let cpu = Cpu::now();
        let (count, _) = allocations(ALLOCATOR, || self.take(datagrams));
        round.allocations += count;
        cpu.used()
    }
}

/// What a registration of all devices took.
#[derive(Default)]
struct Round {
    /// For REGISTER and 401.
    first: Duration,
    /// For REGISTER and 200.
    second: Duration,
    allocations: f64,
    /// Datagrams that went out besides the answers.
    queries: usize,
}

fn challenge(answer: &Bytes) -> Challenge {
    let answer = Message::parse(answer).unwrap();
    assert_eq!(answer.code(), Some(401));
    Challenge::parse(answer.header("WWW-Authenticate").unwrap()).unwrap()
}

fn register(device: u64, number: u64, challenge: Option<&Challenge>) -> (Flow, Bytes) {
    let id = Id::parse("34020000001320000001").unwrap().nth(device);
    let remote = format!("10.{}.{}.{}:5060", device >> 16, device >> 8 & 255, device & 255);
    let uri = format!("sip:{PLATFORM}@{DOMAIN}");
    let own = format!("<sip:{id}@{DOMAIN}>");
    let mut request = Message::request(Method::Register, &uri)
        .with("Via", format!("SIP/2.0/UDP {remote};rport;branch=z9hG4bK{device}x{number}"))
        .with("From", format!("{own};tag={device}7"))
        .with("To", own)
        .with("Call-ID", format!("{device}@10.0.0.1"))
        .with("CSeq", format!("{number} REGISTER"))
        .with("Contact", format!("<sip:{id}@{remote}>"))
        .with("Max-Forwards", "70")
        .with("User-Agent", "IP Camera")
        .with("Expires", "3600");
    if let Some(challenge) = challenge {
        let answer = digest::answer(challenge, "REGISTER", &uri, id.as_str(), PASSWORD, 1, "0a4f113b");
        request = request.with("Authorization", answer.unwrap());
    }
    let local = "192.0.2.1:5060".parse().unwrap();
    let flow = Flow { transport: Transport::Udp, local, remote: remote.parse().unwrap(), connection: 0 };
    (flow, request.to_bytes())
}

fn main() {
    println!("register: REGISTER, 401, REGISTER, 200 in one signalling shard, CPU time of one core");
    let mut bench = Bench::new();
    let each = |time: Duration| micros(time) / DEVICES as f64;
    let new = bench.round(0);
    let known: Vec<Round> = (1..=ROUNDS).map(|round| bench.round(round)).collect();
    let first = each(median(known.iter().map(|round| round.first).collect()));
    let second = each(median(known.iter().map(|round| round.second).collect()));
    let whole = first + second;
    println!(" {DEVICES} devices");
    figure("a registration of a known device", whole, "us");
    figure("of it: REGISTER, 401", first, "us");
    figure("of it: REGISTER, 200", second, "us");
    figure("registrations", 1e6 / whole, "/s");
    figure("allocations", known[0].allocations / DEVICES as f64, "");
    let what = format!("a new device, with {:.1} queries sent to it", new.queries as f64 / DEVICES as f64);
    figure(&what, each(new.first + new.second), "us");

    let (_, plain) = register(1, 1, None);
    let (_, datagram) = register(1, 2, Some(&challenge_of_the_bench()));
    const TIMES: u32 = 1_000;
    let [ours, theirs, hash] = medians([
        &mut || {
            for _ in 0..TIMES {
                black_box(Message::parse(&plain).unwrap());
                black_box(Message::parse(&datagram).unwrap());
            }
        },
        &mut || {
            for _ in 0..TIMES {
                black_box(rsip::SipMessage::try_from(plain.as_ref()).unwrap());
                black_box(rsip::SipMessage::try_from(datagram.as_ref()).unwrap());
            }
        },
        &mut || {
            let challenge = challenge_of_the_bench();
            for _ in 0..TIMES {
                black_box(digest::answer(&challenge, "REGISTER", "sip:a@b", "user", PASSWORD, 1, "0a4f113b"));
            }
        },
    ]);
    let [ours, theirs, hash] = [ours, theirs, hash].map(|time| micros(time / TIMES));
    figure("of it: both REGISTERs parsed", ours, "us");
    figure("of it: the digest computed, about", hash, "us");
    figure("peer: both REGISTERs parsed by rsip", theirs, "us");
    figure("ratio, registration : parse by rsip", whole / theirs, "x the time");
    figure("ratio, our parse : parse by rsip", ours / theirs, "x the time");
}

fn challenge_of_the_bench() -> Challenge {
    Challenge::new(DOMAIN, "6a1f0b5e0c9d4b7f8e2a6a1f0b5e0c9d4b7f8e2a".to_owned(), false)
}
