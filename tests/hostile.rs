//! Bad input at every port: the process stays up, its memory stays bounded, what is dropped is counted by reason, and
//! a well-behaved camera, its viewer and another device notice nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use reqwest::Method;
use serde_json::json;
use support::gateway::{CAMERA, CHANNEL, DOMAIN, Fleet, Gateway, answer};
use support::player::Player;
use support::sip::{Device, LOOPBACK, Line, page};
use support::{Leashed, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// KiB that the gateway may grow by while it is attacked. A leak of what is sent would be several times that.
const GROWTH: u64 = 32 * 1024;
/// Where nobody was invited to send from.
const UNINVITED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const WELL: &str = "34020000001320000007";
const BAD: &str = "34020000001320000008";

/// A gateway with a camera that somebody watches, and a device that is registered.
struct Village {
    gateway: Gateway,
    player: Player,
    device: Device,
    memory: u64,
    _camera: Leashed,
}

impl Village {
    async fn start() -> Village {
        Village::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Village {
        let gateway = Gateway::start(settings).await;
        let camera = Fleet::default().start(&gateway).await;
        let player = Player::watch(&gateway, CAMERA, CHANNEL).await;
        player.sees_pictures(5).await;
        let device = Device::registered(&gateway, WELL).await;
        let memory = gateway.memory();
        Village { gateway, player, device, memory, _camera: camera }
    }

    /// Asserts that nobody suffered.
    async fn is_well(&mut self) {
        assert!(self.gateway.process().is_running(), "it has ended");
        let began = Instant::now();
        assert_eq!(self.device.keepalive().await.code(), 200);
        assert!(began.elapsed() < Duration::from_secs(5), "a keepalive took {:?}", began.elapsed());
        let seen = self.player.sees_pictures(10).await;
        assert!(!seen.closed && seen.gaps == 0, "{seen:?}");
        let streams = self.gateway.streams().await;
        let stream = streams.iter().find(|stream| stream["device"] == CAMERA);
        let stream = stream.unwrap_or_else(|| panic!("the camera's stream is gone"));
        assert_eq!((&stream["state"], &stream["readers"]), (&json!("running"), &json!(1)), "{stream}");
        assert_eq!(self.gateway.get("/readyz").await["ready"], true);
        let grown = self.gateway.memory().saturating_sub(self.memory);
        println!("grew by {grown} KiB from {} KiB", self.memory);
        assert!(grown < GROWTH, "it grew by {grown} KiB");
    }

    /// Waits until something was counted at least so often.
    async fn counts(&self, name: &str, labels: &str, least: f64) {
        until(&format!("{least} of {name}{{{labels}}}"), async || {
            let count = self.gateway.metric(name, labels).await;
            if count >= least { Ok(()) } else { Err(count.to_string()) }
        })
        .await;
    }

    /// Asserts that a counter has few series, whatever peers sent.
    async fn has_few_series(&self, name: &str) {
        let text = self.gateway.ask(Method::GET, "/metrics").await.text;
        let series = text.lines().filter(|line| line.starts_with(name)).count();
        assert!((1..40).contains(&series), "{series} series of {name}");
    }
}

fn random() -> StdRng {
    StdRng::seed_from_u64(28_181)
}

fn noise(random: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(1..=most)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// A datagram, and now and then a moment for the gateway to read them: what its kernel drops does not test it.
async fn throw(socket: &UdpSocket, to: SocketAddr, bytes: &[u8], index: usize) {
    // Too large ones are refused by the system, and whatever was said by ICMP is of no interest.
    let _ = socket.send_to(bytes, to).await;
    if index % 64 == 63 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn socket(from: IpAddr) -> UdpSocket {
    UdpSocket::bind((from, 0)).await.unwrap()
}

/// Sends on a connection until all is sent or the gateway has had enough; whether it closed within a while.
async fn pour(to: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let _ = timeout(Duration::from_secs(5), stream.write_all(bytes)).await;
    let mut sink = vec![0; 65_536];
    let closed = async { while stream.read(&mut sink).await.is_ok_and(|size| size > 0) {} };
    timeout(Duration::from_millis(500), closed).await.is_ok()
}

/// Starts of messages that are wrong in ways of their own; `{}` is the id.
const MALFORMED: [&str; 16] = [
    "REGISTER",
    "REGISTER sip:a SIP/2.0\r\n\r\n",
    "REGISTER sip:a SIP/3.0\r\nVia: SIP/2.0/UDP a\r\n\r\n",
    "SIP/2.0 200 OK\r\n\r\n",
    "SIP/2.0 999999 What\r\nVia: x\r\n\r\n",
    "MESSAGE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:{}@b>\r\nTo: <sip:{}@b>\r\nCSeq: 1 MESSAGE\r\n\r\n",
    "MESSAGE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:{}@b\r\nTo: \"\r\nCall-ID: 1\r\nCSeq: x\r\n\r\n",
    "MESSAGE sip:a SIP/2.0\r\nVia: ;;;=,\r\nFrom: {}\r\nTo: {}\r\nCall-ID: 2\r\nCSeq: 99999999999 MESSAGE\r\nContent-Length: -5\r\n\r\n",
    "MESSAGE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKy\r\nFrom: <sip:{}@b>;tag=1\r\nTo: <sip:{}@b>\r\nCall-ID: 3\r\nCSeq: 1 MESSAGE\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKz\r\nFrom: <sip:{}@b>;tag=1\r\nTo: <sip:{}@b>\r\nCall-ID: 4\r\nCSeq: 1 INVITE\r\n\r\nv=0",
    "BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKw\r\nFrom: <sip:{}@b>;tag=1\r\nTo: <sip:{}@b>;tag=2\r\nCall-ID: 5\r\nCSeq: 1 BYE\r\n\r\n",
    "ACK sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKv\r\nFrom: <sip:{}@b>;tag=1\r\nTo: <sip:{}@b>;tag=2\r\nCall-ID: 6\r\nCSeq: 1 ACK\r\n\r\n",
    "CANCEL sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKu\r\nFrom: <sip:{}@b>;tag=1\r\nTo: <sip:{}@b>\r\nCall-ID: 7\r\nCSeq: 1 CANCEL\r\n\r\n",
    "REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKt\r\nFrom: <sip:{}@b>;tag=1\r\nTo: <sip:{}@b>\r\nCall-ID: 8\r\nCSeq: 1 REGISTER\r\nAuthorization: Digest ,,,=\"\r\n\r\n",
    "REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKs\r\nFrom: <sip:' or 1=1@b>;tag=1\r\nTo: <sip:{}@b>\r\nCall-ID: 9\r\nCSeq: 1 REGISTER\r\n\r\n",
    "OPTIONS sip:a SIP/2.0\nVia: SIP/2.0/UDP 0.0.0.0:0;branch=z9hG4bKr;rport=x;received=y\nFrom: <sip:{}@b>;tag=1\nTo: <sip:{}@b>\nCall-ID: 10\nCSeq: 1 OPTIONS\n\n",
];

#[tokio::test]
async fn malformed_sip_over_udp() {
    let mut village = Village::start().await;
    let to = village.gateway.listen().sip_udp;
    let socket = socket(UNINVITED).await;
    let mut random = random();
    for index in 0..4_000 {
        let mut bytes = match index % 4 {
            0 => noise(&mut random, 1_400),
            1 => noise(&mut random, 60_000),
            _ => MALFORMED[index / 4 % MALFORMED.len()].replace("{}", WELL).into_bytes(),
        };
        if index % 4 == 3 {
            for _ in 0..random.random_range(1..8) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
        }
        throw(&socket, to, &bytes, index).await;
    }
    village.counts("gbgate_sip_dropped_total", "", 2_000.0).await;
    village.has_few_series("gbgate_sip_dropped_total").await;
    village.is_well().await;
    assert_eq!(village.gateway.get("/api/v1/devices").await["total"], 2, "nobody came to be by it");
}

#[tokio::test]
async fn malformed_sip_over_tcp() {
    let mut village = Village::start().await;
    let to = village.gateway.listen().sip_tcp;
    let mut random = random();
    let long = |line: &str, size: usize| line.repeat(size / line.len()).into_bytes();
    let mut attacks: Vec<Vec<u8>> =
        MALFORMED.iter().map(|text| text.replace("{}", WELL).repeat(50).into_bytes()).collect();
    attacks.extend((0..16).map(|_| noise(&mut random, 200_000)));
    attacks.push(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    // The beginning of a handshake of TLS.
    attacks.push([&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 500]].concat());
    // A head that never ends, in one line and in many, and blank lines only.
    attacks.push([&b"REGISTER sip:a SIP/2.0\r\nVia: "[..], &long("x", 2_000_000)].concat());
    attacks.push([&b"REGISTER sip:a SIP/2.0\r\n"[..], &long("X-Y: z\r\n", 2_000_000)].concat());
    attacks.push(long("\r\n", 1_000_000));
    // Half a message, then the end.
    attacks.push(b"REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a;bra".to_vec());
    for attack in &attacks {
        pour(to, attack).await;
    }
    village.counts("gbgate_sip_dropped_total", "", 30.0).await;
    village.counts("gbgate_sip_dropped_total", "reason=\"head_too_large\"", 1.0).await;
    village.has_few_series("gbgate_sip_dropped_total").await;
    village.is_well().await;

    // What does not speak SIP at all is hung up on, before it has sent for ever.
    let mut line = TcpStream::connect(to).await.unwrap();
    until("the end of a connection full of noise", async || {
        let sent = line.write_all(&noise(&mut random, 65_536)).await;
        if sent.is_err() { Ok(()) } else { Err("it takes more".to_owned()) }
    })
    .await;
    village.is_well().await;
}

#[tokio::test]
async fn bodies_that_are_no_xml() {
    let mut village = Village::start().await;
    let mut bad = Device::registered(&village.gateway, BAD).await;
    let mut random = random();
    let nested = "<a>".repeat(20_000);
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\">\
                <!ENTITY c \"&b;&b;&b;&b;&b;&b;\">]><Notify><CmdType>&c;&c;</CmdType><SN>1</SN></Notify>";
    let outside = "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>\
                   <Response><CmdType>DeviceInfo</CmdType><SN>1</SN><DeviceName>&a;</DeviceName></Response>";
    let attributes = format!("<Notify {}/>", "a=\"1\" ".repeat(5_000));
    let items =
        page(BAD, "1", usize::MAX, &[]).replace("</DeviceList>", &"<Item/><Item><DeviceID>".repeat(1_000));
    let mut bodies: Vec<Vec<u8>> = [
        "", "<", "<?xml", "<Notify>", "</Notify>", "\0\0\0\0", "<Notify><CmdType>", "<Notify></Control>", "<a/><b/>",
        "<Notify><CmdType>Keepalive</CmdType><SN>99999999999999999999</SN><DeviceID>no id</DeviceID></Notify>",
        "<Response><CmdType>Catalog</CmdType><SN>-1</SN><SumNum>-7</SumNum><DeviceList Num=\"x\"><Item></Item></DeviceList></Response>",
        "<Response><CmdType>DeviceInfo</CmdType><DeviceName><b><c/></b></DeviceName></Response>",
        "<Notify><CmdType>Alarm</CmdType><SN>1</SN><AlarmTime>never</AlarmTime></Notify>",
        &nested, bomb, outside, &attributes, &items,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.extend((0..100).map(|_| noise(&mut random, 8_000)));
    for body in &bodies {
        let code = bad.message(body).await.code();
        assert!(code == 200 || code == 400, "{code} to {}", String::from_utf8_lossy(body));
    }
    village.counts("gbgate_sip_dropped_total", "reason=", 50.0).await;
    village.has_few_series("gbgate_sip_dropped_total").await;
    let state = village.gateway.get(&format!("/api/v1/devices/{BAD}")).await;
    assert!(!state["name"].as_str().unwrap().contains("root:"), "{state}");
    // The device itself is not shut out by what it sent.
    assert_eq!(bad.keepalive().await.code(), 200);
    village.is_well().await;
}

#[tokio::test]
async fn bodies_of_ten_megabytes() {
    let mut village = Village::start().await;
    const SIZE: usize = 10 << 20;
    let mut bad = Device::tcp(&village.gateway, BAD).await;
    assert_eq!(bad.register(3600).await.code(), 200);
    let request = bad.compose("MESSAGE", "Content-Type: Application/MANSCDP+xml\r\n", &vec![b'<'; SIZE]);
    // The gateway may hang up in the middle.
    let _ = pour(village.gateway.listen().sip_tcp, &request).await;
    village.counts("gbgate_sip_dropped_total", "reason=\"body_too_large\"", 1.0).await;
    assert_eq!(bad.keepalive().await.code(), 200);

    let body = json!({ "id": BAD, "name": "x".repeat(SIZE) }).to_string();
    let post = |path: &str, kind: &str, body: String| {
        village.gateway.request(Method::POST, path).header("content-type", kind).body(body).send()
    };
    for (path, kind) in [
        ("/api/v1/devices", "application/json"),
        ("/api/v1/login", "application/json"),
        (&format!("/whep/{CAMERA}/{CHANNEL}"), "application/sdp"),
    ] {
        // A server that answers before it has read all may be seen as a broken connection.
        match post(path, kind, body.clone()).await {
            Ok(refused) => {
                assert_eq!(refused.status().as_u16(), 413, "{path}");
                assert_eq!(refused.headers()["content-type"], "application/problem+json", "{path}");
            }
            Err(error) => assert!(error.is_request(), "{path}: {error:?}"),
        }
    }
    // Just above the limit there is no such race.
    let body = json!({ "id": BAD, "name": "x".repeat(70_000) });
    let refused = village.gateway.tell(Method::POST, "/api/v1/devices", &body).await;
    refused.is_problem(413, "bad_body", "request");
    let refused = village.gateway.whep(CAMERA, CHANNEL, &body.to_string()).await;
    assert_eq!(refused.status.as_u16(), 413, "{refused:?}");
    assert_eq!(refused.header("content-type"), "application/problem+json", "{refused:?}");
    village.is_well().await;
}

#[tokio::test]
async fn bytes_that_dribble() {
    let mut village = Village::start().await;
    let listen = village.gateway.listen();
    let dribble = |to: SocketAddr, text: &'static str| async move {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let began = Instant::now();
        // Far slower than a real peer, far faster than the test's limit of time.
        for byte in text.bytes().cycle() {
            if stream.write_all(&[byte]).await.is_err() || began.elapsed() > Duration::from_secs(60) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        began.elapsed()
    };
    let mut dribblers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        dribblers.spawn(dribble(listen.sip_tcp, "REGISTER sip:a SIP/2.0 and so on and so on "));
        dribblers.spawn(dribble(listen.http, "GET /and/so/on/and/so/on"));
        dribblers.spawn(dribble(listen.webrtc_tcp, "\x7f"));
    }
    village.is_well().await;
    while let Some(lasted) = dribblers.join_next().await {
        let lasted = lasted.unwrap();
        assert!(lasted < Duration::from_secs(50), "a dribbler was borne for {lasted:?}");
    }
    village.is_well().await;
}

#[tokio::test]
async fn a_catalog_that_never_comes() {
    let mut village = Village::start().await;
    let mut bad = Device::registered(&village.gateway, BAD).await;
    let names: Vec<String> = (1..=10).map(|n| format!("340200000013100001{n:02}")).collect();
    let channels: Vec<(&str, &str)> = names.iter().map(|id| (id.as_str(), "one of ten thousand")).collect();
    // The gateway asks by itself; who asks besides joins.
    let path = format!("/api/v1/devices/{BAD}/catalog");
    let pages = async {
        let query = bad.asked_for("Catalog").await;
        bad.page(&query, 10_000, &channels).await;
    };
    let (answer, ()) = tokio::join!(village.gateway.ask(Method::POST, &path), pages);
    assert_eq!(
        answer.json(),
        json!({ "received": 10, "total": 10_000, "complete": false }),
        "{}",
        answer.text
    );
    village.gateway.device(BAD, "with ten channels", |device| device["channel_count"] == 10).await;
    // A number that cannot be true takes no memory either.
    let pages = async {
        let query = bad.asked_for("Catalog").await;
        bad.page(&query, u32::MAX as usize, &channels).await;
    };
    let (answer, ()) = tokio::join!(village.gateway.ask(Method::POST, &path), pages);
    assert_eq!(answer.json()["received"], 10, "{}", answer.text);
    village.is_well().await;
}

#[tokio::test]
async fn strangers_that_knock_by_the_thousand() {
    let mut village = Village::start().await;
    let to = village.gateway.listen().sip_udp;
    let socket = socket(UNINVITED).await;
    for index in 0..10_000 {
        let request = format!(
            "REGISTER sip:x@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.3;rport;branch=z9hG4bK{index}\r\n\
             From: <sip:3402000000132{index:07}@{DOMAIN}>;tag={index}\r\nTo: <sip:3402000000132{index:07}@{DOMAIN}>\r\n\
             Call-ID: {index}\r\nCSeq: 1 REGISTER\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
        );
        throw(&socket, to, request.as_bytes(), index).await;
    }
    village.counts("gbgate_sip_messages_total", "code=\"401\"", 5_000.0).await;
    assert_eq!(village.gateway.get("/api/v1/devices").await["total"], 2);
    village.is_well().await;
    let mut new = Device::udp(&village.gateway, BAD).await;
    assert_eq!(new.register(3600).await.code(), 200);
}

/// A packet of RTP with PS in it, or what looks like it.
fn rtp(random: &mut StdRng, ssrc: u32, sequence: u16) -> Vec<u8> {
    let header =
        [&[0x80, 0xE0][..], &sequence.to_be_bytes(), &random.random::<[u8; 4]>(), &ssrc.to_be_bytes()]
            .concat();
    let starts: [&[u8]; 6] = [
        b"\0\0\x01\xba\x44\0\x04\0\x04\x01\0\0\x03\xfe\xff\xff",
        b"\0\0\x01\xbb\xff\xff",
        b"\0\0\x01\xbc\0\x1e\xe1\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\x01\xe0\0\0\x80\xc0\xff\xff\xff\xff\0\0\0\x01\x67",
        b"\0\0\x01\xe0\xff\xff\x80\0\0\0\0\0\x01\x65",
        b"",
    ];
    let start = starts[random.random_range(0..starts.len())];
    [header, start.to_vec(), noise(random, 1_000)].concat()
}

#[tokio::test]
async fn rtp_from_where_nobody_was_invited() {
    let mut village = Village::start().await;
    let stream = village.gateway.streams().await[0].clone();
    let ssrc = stream["ssrc"].as_u64().unwrap() as u32;
    let ports = village.gateway.media_ports();
    let [port] = ports[..] else { panic!("media ports: {ports:?}") };
    let socket = socket(UNINVITED).await;
    let mut random = random();
    for index in 0..3_000 {
        // The right SSRC, so that only the address tells.
        let packet = rtp(&mut random, ssrc, index as u16);
        throw(&socket, (LOOPBACK, port).into(), &packet, index).await;
    }
    village.counts("gbgate_rtp_dropped_total", "reason=\"uninvited\"", 2_000.0).await;
    village.is_well().await;
    let after = village.gateway.streams().await[0].clone();
    assert_eq!((&after["id"], &after["lost"], &after["ssrc"]), (&stream["id"], &json!(0), &stream["ssrc"]));
    assert_eq!(village.gateway.metric("gbgate_ps_errors_total", "").await, 0.0, "none of it was looked at");
}

#[tokio::test]
async fn noise_from_the_address_of_a_camera() {
    // Two cameras behind one address: what one sends to the port of the other is not its picture.
    let mut village = Village::start().await;
    let ports = village.gateway.media_ports();
    let [port] = ports[..] else { panic!("media ports: {ports:?}") };
    let socket = socket(LOOPBACK).await;
    let mut random = random();
    for index in 0..3_000 {
        let other = random.random();
        let packet = match index % 3 {
            0 => noise(&mut random, 1_400),
            // Reports, good and bad.
            1 => [&[0x80, 200 + (index % 8) as u8, 0, 6][..], &noise(&mut random, 24)].concat(),
            _ => rtp(&mut random, other, index as u16),
        };
        throw(&socket, (LOOPBACK, port).into(), &packet, index).await;
    }
    village.counts("gbgate_rtp_dropped_total", "reason=", 100.0).await;
    village.has_few_series("gbgate_rtp_dropped_total").await;
    village.is_well().await;
}

#[tokio::test]
async fn a_camera_that_sends_nonsense() {
    let mut village = Village::with(&[("media.play_timeout", "3s")]).await;
    for transport in ["udp", "tcp-passive"] {
        let mut bad = Device::registered(&village.gateway, BAD).await;
        let path = format!("/api/v1/devices/{BAD}");
        let edited =
            village.gateway.tell(Method::PATCH, &path, &json!({ "media_transport": transport })).await;
        assert_eq!(edited.status.as_u16(), 200, "{edited:?}");
        let offer = Player::offer();
        let play = village.gateway.whep(BAD, BAD, &offer);
        let attack = async {
            let socket = socket(LOOPBACK).await;
            let invite = bad.invited().await;
            let port: u16 = invite.sdp("m=video ").split(' ').next().unwrap().parse().unwrap();
            let ssrc: u32 = invite.sdp("y=").parse().unwrap();
            bad.take_call(&invite, socket.local_addr().unwrap()).await;
            let mut random = random();
            let to = SocketAddr::new(LOOPBACK, port);
            if transport == "udp" {
                for index in 0..3_000 {
                    let packet = rtp(&mut random, ssrc, index as u16);
                    throw(&socket, to, &packet, index).await;
                }
            } else {
                let packets = (0..3_000).flat_map(|index| {
                    let packet = rtp(&mut random, ssrc, index);
                    let size = if index % 50 == 0 { 0xFFFF } else { packet.len() as u16 };
                    [size.to_be_bytes().to_vec(), packet].concat()
                });
                let bytes: Vec<u8> = packets.collect();
                pour(to, &bytes).await;
            }
            bad.asked_for("BYE").await;
        };
        let (answer, ()) = tokio::join!(play, attack);
        answer.is_problem(504, "no_key_frame", "key_frame");
        village.is_well().await;
        assert_eq!(bad.register(0).await.code(), 200);
    }
    village.counts("gbgate_ps_errors_total", "kind=", 100.0).await;
    village.has_few_series("gbgate_ps_errors_total").await;
    village.is_well().await;
}

/// A check of ICE for this user, with a proof that is none.
fn forged_check(user: &str, random: &mut StdRng) -> Vec<u8> {
    let name = format!("{user}:evil");
    let padded = name.len().next_multiple_of(4);
    let mut body = [&[0, 6][..], &(name.len() as u16).to_be_bytes(), name.as_bytes()].concat();
    body.resize(4 + padded, 0);
    // PRIORITY, USE-CANDIDATE, MESSAGE-INTEGRITY.
    body.extend([0, 0x24, 0, 4, 0x7F, 0, 0, 1, 0, 0x25, 0, 0, 0, 8, 0, 20]);
    body.extend(random.random::<[u8; 20]>());
    let length = (body.len() as u16).to_be_bytes();
    [&[0, 1][..], &length, &[0x21, 0x12, 0xA4, 0x42], &random.random::<[u8; 12]>(), &body].concat()
}

#[tokio::test]
async fn noise_at_the_port_of_players() {
    let mut village = Village::start().await;
    let listen = village.gateway.listen();
    let socket = socket(UNINVITED).await;
    let mut random = random();
    for index in 0..4_000 {
        let packet = match index % 5 {
            0 => noise(&mut random, 1_500),
            // STUN that breaks off, then checks for nobody, and for a player that is there.
            1 => [&[0, 1, 0, 255, 0x21, 0x12, 0xA4, 0x42][..], &noise(&mut random, 60)].concat(),
            2 => forged_check("nobody", &mut random),
            3 => forged_check(&village.player.user, &mut random),
            // The beginning of a handshake of DTLS.
            _ => [&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1][..], &noise(&mut random, 200)].concat(),
        };
        throw(&socket, listen.webrtc_udp, &packet, index).await;
    }
    village.counts("gbgate_webrtc_dropped_total", "reason=\"stun_unknown_user\"", 400.0).await;
    village.counts("gbgate_webrtc_dropped_total", "reason=\"unknown_address\"", 400.0).await;
    for _ in 0..20 {
        pour(listen.webrtc_tcp, &noise(&mut random, 20_000)).await;
    }
    let check = forged_check(&village.player.user, &mut random);
    let framed = [&(check.len() as u16).to_be_bytes()[..], &check].concat();
    pour(listen.webrtc_tcp, &framed.repeat(50)).await;
    village.counts("gbgate_webrtc_dropped_total", "reason=", 1_000.0).await;
    village.has_few_series("gbgate_webrtc_dropped_total").await;
    village.is_well().await;
    assert_eq!(village.gateway.get("/api/v1/node").await["load"]["viewers"], 1);
}

#[tokio::test]
async fn viewers_that_never_come() {
    let mut village = Village::start().await;
    let path = format!("/whep/{CAMERA}/{CHANNEL}");
    for _ in 0..100 {
        let watched = village.gateway.whep(CAMERA, CHANNEL, &Player::offer()).await;
        assert_eq!(watched.status.as_u16(), 201, "{watched:?}");
        assert!(watched.header("location").starts_with(&path));
    }
    assert_eq!(village.gateway.get("/api/v1/node").await["load"]["viewers"], 101);
    // They are given up after a while, as browsers give up.
    until("the one viewer that is left", async || {
        let viewers = village.gateway.get("/api/v1/node").await["load"]["viewers"].clone();
        if viewers == 1 { Ok(()) } else { Err(viewers.to_string()) }
    })
    .await;
    village.is_well().await;
}

#[tokio::test]
async fn malformed_http() {
    let mut village = Village::start().await;
    let to = village.gateway.listen().http;
    let mut random = random();
    let long = "x".repeat(200_000);
    for attack in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\0\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /api/v1/devices HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /api/v1/devices HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST /api/v1/devices HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        "GET /../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        &format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {long}\r\n\r\n"),
        &format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(20_000)),
    ] {
        pour(to, attack.as_bytes()).await;
    }
    for _ in 0..20 {
        pour(to, &noise(&mut random, 50_000)).await;
    }
    // Bodies that are JSON, or nearly, and not what is asked for.
    let long_id = json!({ "id": "9".repeat(1_000) }).to_string();
    let nested = "[".repeat(60_000);
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"id\": 5}",
        "{\"id\": \"a b\"}",
        "{\"id\": \"1\", \"nope\": 1}",
        &long_id,
        &nested,
    ] {
        let request = village
            .gateway
            .request(Method::POST, "/api/v1/devices")
            .header("content-type", "application/json");
        let refused = answer(request.body(body.to_owned())).await;
        assert!(matches!(refused.status.as_u16(), 400 | 422), "{body:.80}: {refused:?}");
        let code = refused.json()["code"].as_str().unwrap_or_default().to_owned();
        assert!(["bad_body", "bad_value"].contains(&code.as_str()), "{body:.80}: {refused:?}");
    }
    for path in ["/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/api/v1/devices/..%2f..", "/whep/a/b/c/d"] {
        let refused = village.gateway.ask(Method::GET, path).await;
        assert!(!refused.text.contains("root:"), "{path}: {refused:?}");
    }
    assert_eq!(village.gateway.get("/api/v1/devices").await["total"], 2);
    village.is_well().await;
}

#[tokio::test]
async fn many_connections_that_say_nothing() {
    let mut village = Village::start().await;
    let listen = village.gateway.listen();
    let mut idle = Vec::new();
    for _ in 0..150 {
        for to in [listen.sip_tcp, listen.http, listen.webrtc_tcp] {
            idle.push(TcpStream::connect(to).await.unwrap());
        }
    }
    village.is_well().await;
    let mut late = Device::new(BAD, Line::tcp(&village.gateway, LOOPBACK).await);
    assert_eq!(late.register(3600).await.code(), 200);
    drop(idle);
    village.is_well().await;
}
