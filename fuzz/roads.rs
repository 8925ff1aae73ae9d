//! Whole roads: bytes of a hostile peer go in where they would arrive, and all machines behind take part.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gbgate::call::{self, History, Key, Media, Profile};
use gbgate::device::{self, DateHeader, Request};
use gbgate::egress::webrtc::{Config, Hub, Packetiser, Publisher, Tracks};
use gbgate::gb::Id;
use gbgate::gb::manscdp::{Query, RecordQuery};
use gbgate::gb::sdp::MediaMode;
use gbgate::gb::time::{Now, Offset, UnixMillis};
use gbgate::media::ps::{Demuxer, Event};
use gbgate::media::rtp::{Packet, Reorder, Wait};
use gbgate::media::unit::Codec;
use gbgate::node::shard::{Effect, Input, Settings, Shard};
use gbgate::registry::Profiles;
use gbgate::sip::digest::{self, Challenge};
use gbgate::sip::framer::{Framer, Limits};
use gbgate::sip::{Flow, Frame, Message, Method, Transport};
use gbgate::stream::{self, Stream};

/// Datagrams of RTP up to the packets for a browser: each with a byte of time and a byte of length before it.
pub fn rtp(mut data: &[u8]) {
    let mut now = start();
    let mut reorder = Reorder::new(Wait::Adaptive, 90_000);
    let mut demuxer = Demuxer::new();
    let mut stream = Stream::new(now, stream::Limits::default());
    let mut packetiser = Packetiser::new();
    let (mut pushed, mut popped) = (0u32, 0u32);
    while let [millis, length, rest @ ..] = data {
        let (packet, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        now += Duration::from_millis((*millis).into());
        if let Ok(packet) = Packet::parse(Bytes::copy_from_slice(packet)) {
            assert!(packet.payload.len() < 256);
            pushed += 1;
            reorder.push(now, packet);
        }
        if data.len() < 2 {
            // What waits behind a gap comes out in the end.
            now += Duration::from_secs(10);
        }
        while let Some(in_order) = reorder.pop(now) {
            popped += 1;
            let Packet { payload, timestamp, marker, .. } = in_order.packet;
            demuxer.push(&payload, timestamp, marker, in_order.lost_before > 0);
            while let Some(event) = demuxer.poll() {
                let Event::Unit(unit) = event else { continue };
                if let Some(unit) = stream.push(now, unit) {
                    for batch in packetiser.push(&unit) {
                        assert!(!batch.packets.is_empty());
                    }
                }
            }
        }
        let _ = (stream.info(now), stream.ready(now));
    }
    assert!(popped <= pushed);
    assert!(reorder.next_timeout().is_none_or(|at| at > now), "no gap is waited for in vain");
}

/// A player's offer: what is answered is a session description, line by line.
pub fn offer(data: &[u8]) {
    static RUNTIME: LazyLock<(tokio::runtime::Runtime, Hub)> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let config = Config { udp: Some(([127, 0, 0, 1], 0).into()), ..Config::default() };
        let hub = runtime.block_on(Hub::bind(config)).expect("a port on loopback");
        (runtime, hub)
    });
    let (runtime, hub) = &*RUNTIME;
    let text = String::from_utf8_lossy(data);
    let tracks = Tracks { video: Some(Codec::H264), audio: Some(Codec::Pcma) };
    runtime.block_on(async {
        let Ok(answer) = hub.offer(&text, tracks, Publisher::new().feed()) else { return };
        for line in answer.sdp.split_terminator("\r\n") {
            let kind =
                line.strip_prefix(|c: char| c.is_ascii_lowercase()).and_then(|rest| rest.strip_prefix('='));
            assert!(kind.is_some() && !line.contains(['\r', '\n', '\0']), "{line:?}");
        }
        let _ = hub.trickle(&answer.id, Some(&answer.etag), &text);
        assert!(hub.close(&answer.id));
        // The viewer's task ends before the next offer comes.
        while hub.viewers() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

/// All that a registered device sends: requests as they are, answers as if to what it was asked. The signalling of a
/// node goes on, and comes to rest when the device falls silent.
pub fn signalling(data: &[u8]) {
    let mut node = Signalling::with_device();
    let mut framer = Framer::new(Limits::default());
    if framer.push(data).is_err() {
        return;
    }
    for frame in framer.take(64) {
        if let Ok(Frame::Message(message)) = frame {
            node.receive(message);
        }
    }
    node.rest();
}

const DEVICE: &str = "34020000001180000001";
const CHANNEL: &str = "34020000001310000001";
const PLATFORM: &str = "34020000002000000001";
const DOMAIN: &str = "3402000000";
const PASSWORD: &str = "12345678";

/// A signalling shard with all that it asks for done at once.
struct Signalling {
    shard: Shard,
    now: Now,
    flow: Flow,
    /// Requests to the device, the last ones.
    asked: VecDeque<Message>,
    answered: VecDeque<Message>,
    /// What was sent last: it is sent again until an answer comes.
    sent: VecDeque<Bytes>,
}

impl Signalling {
    /// A device is registered, is asked for its catalog, and somebody wants to see a channel of it.
    fn with_device() -> Signalling {
        let platform = Id::parse(PLATFORM).expect("an id");
        let settings = Settings {
            device: device::Settings {
                platform,
                domain: DOMAIN.to_owned(),
                password: Some(PASSWORD.to_owned()),
                keepalive: Duration::from_secs(60),
                misses: 3,
                expires_min: Duration::from_secs(60),
                expires_max: Duration::from_secs(86_400),
                date_header: DateHeader::Gb,
                offset: Offset::BEIJING,
                profiles: Arc::new(Profiles::built_in().expect("they are checked by the tests")),
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
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut node = Signalling {
            shard: Shard::new(settings, 0, 1, [7; 32]),
            now: Now { instant: start(), unix: UnixMillis(1_714_521_600_000) },
            flow: Flow {
                transport: Transport::Udp,
                local: address("192.0.2.1:5060"),
                remote: address("192.0.2.20:5060"),
                connection: 0,
            },
            asked: VecDeque::new(),
            answered: VecDeque::new(),
            sent: VecDeque::new(),
        };
        node.handle(Input::Message { flow: node.flow, message: register(1, None) });
        let challenge = node.answered.pop_back().and_then(|answer| {
            answer.header("WWW-Authenticate").and_then(|value| Challenge::parse(value).ok())
        });
        node.handle(Input::Message { flow: node.flow, message: register(2, challenge) });
        assert_eq!(node.answered.pop_back().and_then(|answer| answer.code()), Some(200));
        let (device, channel) = (Id::parse(DEVICE).expect("an id"), Id::parse(CHANNEL).expect("an id"));
        let key = Key::live(device, channel, Profile::Main);
        node.handle(Input::Want { waiter: call::Waiter(1), key, history: None });
        // A recording that plays, a voice that was announced, and questions that wait for answers.
        let history = History {
            start: UnixMillis(1_714_500_000_000),
            end: UnixMillis(1_714_503_600_000),
            speed: 1,
            kind: 0,
        };
        let key = Key::playback(device, channel, 1);
        node.handle(Input::Want { waiter: call::Waiter(2), key, history: Some(history) });
        node.handle(Input::Talk { waiter: call::Waiter(3), key: Key::talk(device, channel) });
        for (waiter, query) in
            [Query::Presets, Query::SdCards, Query::Records(RecordQuery::new(history.start, history.end))]
                .into_iter()
                .enumerate()
        {
            let request = Box::new(Request::Query(query));
            node.handle(Input::Ask {
                waiter: device::Waiter(waiter as u64),
                device,
                target: channel,
                request,
            });
        }
        node
    }

    fn receive(&mut self, mut message: Message) {
        self.now.instant += Duration::from_millis(200);
        self.now.unix.0 += 200;
        if message.code().is_some() && !self.asked.is_empty() {
            let index = message.body.len() % self.asked.len();
            if let Some(request) = self.asked.get(index) {
                for name in ["Via", "From", "Call-ID", "CSeq"] {
                    message.set(name, request.header(name).unwrap_or_default());
                }
            }
        }
        self.handle(Input::Message { flow: self.flow, message });
    }

    fn handle(&mut self, input: Input) {
        self.shard.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Send { bytes, .. } if !self.sent.contains(&bytes) => {
                    let message = Message::parse(&bytes).expect("what is sent can be read");
                    keep(&mut self.sent, bytes);
                    let kept = if message.is_request() { &mut self.asked } else { &mut self.answered };
                    keep(kept, message);
                }
                Effect::Write { token: Some(token), .. } => {
                    self.shard.handle(self.now, Input::Committed { token, kept: true });
                }
                Effect::OpenMedia { call, .. } => {
                    let news = Media::Opened(self.flow.local);
                    self.shard.handle(self.now, Input::Media { call, news });
                }
                Effect::ConnectMedia { call, .. } => {
                    for news in [Media::Flowing, Media::Ready, Media::Readers(1)] {
                        self.shard.handle(self.now, Input::Media { call, news });
                    }
                }
                _ => {}
            }
        }
    }

    /// Lets an hour pass.
    fn rest(&mut self) {
        let end = self.now.instant + Duration::from_secs(3_600);
        for _ in 0..10_000 {
            let Some(at) = self.shard.next_timeout().filter(|at| *at <= end) else { return };
            let step = at.saturating_duration_since(self.now.instant);
            self.now.instant += step;
            self.now.unix.0 += step.as_millis() as i64;
            self.shard.handle_timeout(self.now);
            self.carry_out();
        }
        panic!("the timers never come to rest");
    }
}

/// Keeps the last eight.
fn keep<T>(kept: &mut VecDeque<T>, item: T) {
    if kept.len() == 8 {
        kept.pop_front();
    }
    kept.push_back(item);
}

/// A registration, with the answer to a challenge.
fn register(number: u32, challenge: Option<Challenge>) -> Message {
    let uri = format!("sip:{PLATFORM}@{DOMAIN}");
    let own = format!("<sip:{DEVICE}@{DOMAIN}>");
    let request = Message::request(Method::Register, &uri)
        .with("Via", format!("SIP/2.0/UDP 192.0.2.20:5060;rport;branch=z9hG4bKr{number}"))
        .with("From", format!("{own};tag=1"))
        .with("To", own)
        .with("Call-ID", "registration@192.0.2.20")
        .with("CSeq", format!("{number} REGISTER"))
        .with("Contact", format!("<sip:{DEVICE}@192.0.2.20:5060>"))
        .with("Expires", "3600");
    match challenge
        .and_then(|challenge| digest::answer(&challenge, "REGISTER", &uri, DEVICE, PASSWORD, 1, "xyz"))
    {
        Some(credentials) => request.with("Authorization", credentials),
        None => request,
    }
}

/// An origin for virtual time.
#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}
