//! The roads of live streams beside the usual one: lesser streams as each vendor wants them asked for, several
//! networks, H.265, and MP4 over plain HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::film::Film;
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway, PLATFORM};
use support::peer::Peer;
use support::player::Player;
use support::sip::{Device, ELSEWHERE, LOOPBACK, Line};
use support::{probe, until};
use tokio::net::UdpSocket;

/// A device of the test's own with one channel.
async fn camera(gateway: &Gateway, mut device: Device) -> Device {
    assert_eq!(device.register(3600).await.code(), 200);
    let query = device.asked_for("Catalog").await;
    let channel = channel_of(&device.id);
    device.page(&query, 1, &[(&channel, "one")]).await;
    gateway.device(&device.id, "with a channel", |device| device["channel_count"] == 1).await;
    device
}

fn channel_of(device: &str) -> String {
    device.replace("00132", "00131")
}

/// What the INVITE for a stream has besides, where `overrides` say how: the lines `a=` that other INVITEs don't have.
async fn asked_with(gateway: &Gateway, device: &mut Device, overrides: &Value, stream: &str) -> Vec<String> {
    let path = format!("/api/v1/devices/{CAMERA}");
    let edited = gateway.tell(Method::PATCH, &path, overrides).await;
    assert_eq!(edited.status.as_u16(), 200, "{}", edited.text);
    let offer = Player::offer();
    let request = gateway.request(Method::POST, &format!("/whep/{CAMERA}/{CHANNEL}?stream={stream}"));
    let request = request.header("content-type", "application/sdp").body(offer);
    let answers = async {
        let invite = device.invited().await;
        device.answer(&invite, "486 Busy Here", "", b"").await;
        device.asked_for("ACK ").await;
        invite
    };
    let (refused, invite) = tokio::join!(support::gateway::answer(request), answers);
    refused.is_problem(502, "invite_refused", "invite");
    let usual = ["a=recvonly", "a=rtpmap:"];
    let text = invite.text();
    let lines = text.lines().filter(|line| line.starts_with("a="));
    lines.filter(|line| !usual.iter().any(|start| line.starts_with(start))).map(str::to_owned).collect()
}

#[tokio::test]
async fn lesser_streams_are_asked_for_as_each_vendor_wants_it() {
    let gateway = Gateway::start(&[]).await;
    let device = Device::udp(&gateway, CAMERA).await;
    let mut device = camera(&gateway, device).await;
    for (attribute, sub, third) in [
        ("stream-number", "a=streamnumber:1", "a=streamnumber:2"),
        ("stream-profile", "a=streamprofile:1", "a=streamprofile:2"),
        ("stream-mode", "a=streamMode:sub", ""),
        ("stream", "a=stream:1", "a=stream:2"),
        ("none", "", ""),
    ] {
        let overrides = json!({ "overrides": { "stream_attribute": attribute } });
        for (stream, expected) in [("main", ""), ("sub", sub), ("third", third)] {
            let found = asked_with(&gateway, &mut device, &overrides, stream).await;
            let expected: Vec<&str> = Some(expected).into_iter().filter(|line| !line.is_empty()).collect();
            assert_eq!(found, expected, "{attribute}, {stream}");
        }
    }
    // The vendor's profile says it, and what is set for the device goes before.
    for (profile, expected) in [("tp-link", "a=streamMode:sub"), ("standard", "a=streamprofile:1")] {
        let setting = json!({ "profile": profile, "overrides": null });
        let found = asked_with(&gateway, &mut device, &setting, "sub").await;
        assert_eq!(found, [expected], "{profile}");
    }
}

#[tokio::test]
async fn each_stream_of_a_channel_is_its_own() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet { more: &["--edition", "2022"], ..Fleet::default() }.start(&gateway).await;
    let watch = |stream: &str| {
        let path = format!("/whep/{CAMERA}/{CHANNEL}?stream={stream}");
        let gateway = &gateway;
        async move { Peer::watch(gateway, &path).await }
    };
    let (main, sub, again) = tokio::join!(watch("main"), watch("sub"), watch("sub"));
    for peer in [&main, &sub, &again] {
        peer.next_pictures(10).await;
    }
    let found = until("two streams with their sizes", async || {
        let streams = gateway.streams().await;
        let mut found: Vec<Value> = streams
            .iter()
            .map(|stream| json!([stream["stream"], stream["video"]["width"], stream["readers"]]))
            .collect();
        found.sort_by_key(Value::to_string);
        if found.iter().all(|stream| stream[1].is_u64()) { Ok(found) } else { Err(format!("{streams:?}")) }
    })
    .await;
    assert_eq!(found, [json!(["main", 640, 1]), json!(["sub", 320, 2])]);
    drop(fleet);
}

/// Devices of several networks are each told the address that they reach, for SIP and for media.
#[tokio::test]
async fn each_network_is_told_its_own_address() {
    let rules = "[{ for: 127.0.0.2/32, address: 192.0.2.5 }, { for: 127.0.0.3/32, address: 203.0.113.7 }]";
    let media = "[{ for: 127.0.0.2/32, address: 127.0.0.6 }, { for: 127.0.0.3/32, address: 203.0.113.8 }]";
    let settings = [
        ("sip.udp", "0.0.0.0:0"),
        ("sip.advertise", rules),
        ("media.advertise", media),
        ("media.play_timeout", "5s"),
    ];
    let gateway = Gateway::start(&settings).await;
    let third: IpAddr = "127.0.0.3".parse().unwrap();
    let networks = [
        ("34020000001320000001", LOOPBACK, "127.0.0.1", "127.0.0.1"),
        ("34020000001320000002", ELSEWHERE, "192.0.2.5", "127.0.0.6"),
        ("34020000001320000003", third, "203.0.113.7", "203.0.113.8"),
    ];
    for (id, from, sip, media) in networks {
        let socket = UdpSocket::bind((from, 0)).await.unwrap();
        let to = (LOOPBACK, gateway.listen().sip_udp.port()).into();
        let line = Line::Udp { socket, gateway: to };
        let mut device = camera(&gateway, Device::new(id, line)).await;
        let path = format!("/whep/{id}/{}", channel_of(id));
        let answers = async {
            let invite = device.invited().await;
            let contact = format!("<sip:{PLATFORM}@{sip}:{}>", to.port());
            assert_eq!(invite.header("contact"), contact, "{from}");
            assert!(
                invite.header("via").contains(&format!(" {sip}:{}", to.port())),
                "{}",
                invite.header("via")
            );
            assert_eq!(invite.sdp("c="), format!("IN IP4 {media}"), "{}", invite.text());
            assert!(invite.sdp("o=").ends_with(&format!(" IN IP4 {media}")), "{}", invite.text());
            let socket = UdpSocket::bind((from, 0)).await.unwrap();
            device.take_call(&invite, socket.local_addr().unwrap()).await;
            let port: u16 = invite.sdp("m=video ").split(' ').next().unwrap().parse().unwrap();
            // The NAT of the third network translates its address to ours.
            let reached: IpAddr = if from == third { LOOPBACK } else { media.parse().unwrap() };
            Film::start(socket, (reached, port).into(), invite.sdp("y=").parse().unwrap())
        };
        let (peer, film) = tokio::join!(Peer::watch_silently(&gateway, &path), answers);
        peer.next_pictures(10).await;
        drop(film);
    }
}

/// Takes so much of a stream over HTTP as comes in this time, into a file.
async fn fetched(gateway: &Gateway, path: &str, time: Duration, file: PathBuf) -> PathBuf {
    let bytes = gateway.fetch(path, "video/mp4", time).await;
    std::fs::write(&file, whole_boxes(&bytes)).unwrap();
    file
}

/// The boxes of an MP4 that are there to their end, up to the last fragment with its data.
fn whole_boxes(bytes: &[u8]) -> &[u8] {
    let (mut at, mut end) = (0, 0);
    while let Some(head) = bytes.get(at..at + 8) {
        at += u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        if at > bytes.len() {
            break;
        }
        if &head[4..] == b"mdat" {
            end = at;
        }
    }
    &bytes[..end]
}

/// Three seconds of live MP4 are pictures of this kind that decode without a word.
async fn plays_as_mp4(clip: Option<&str>, codec: &str, (width, height): (u64, u64)) {
    let gateway = Gateway::start(&[("media.no_reader_timeout", "1s")]).await;
    let clip = clip.map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name));
    let fleet = Fleet { clip, ..Fleet::default() }.start(&gateway).await;
    let data = tempfile::tempdir().unwrap();
    let path = format!("/live/{CAMERA}/{CHANNEL}.mp4");
    let time = Duration::from_secs(4);
    let (plain, with_sound) = (data.path().join("plain.mp4"), data.path().join("all.mp4"));
    let all = format!("{path}?audio=all");
    let (plain, with_sound) =
        tokio::join!(fetched(&gateway, &path, time, plain), fetched(&gateway, &all, time, with_sound));
    for file in [&plain, &with_sound] {
        let found = probe::probe(file);
        let video = probe::stream(&found, "video");
        assert_eq!(
            [&video["codec_name"], &video["width"], &video["height"]],
            [&json!(codec), &json!(width), &json!(height)]
        );
        let frames = probe::decode(file);
        assert!(frames >= 50, "{frames} pictures in {time:?}: {found}");
    }
    let sound = probe::probe(&with_sound);
    assert_eq!(probe::stream(&sound, "audio")["codec_name"], "pcm_alaw", "{sound}");
    assert_eq!(
        probe::probe(&plain)["streams"].as_array().unwrap().len(),
        1,
        "no browser plays G.711 out of MP4"
    );
    // Both were readers of one stream, and have left it.
    until("the end of the stream", async || {
        let streams = gateway.streams().await;
        if streams.is_empty() { Ok(()) } else { Err(format!("{streams:?}")) }
    })
    .await;
    assert_eq!(gateway.metric("gbgate_sip_messages_total", "direction=\"out\",method=\"INVITE\"").await, 1.0);
    drop(fleet);
}

#[tokio::test]
async fn h264_plays_as_mp4() {
    plays_as_mp4(None, "h264", (640, 360)).await;
}

#[tokio::test]
async fn h265_plays_as_mp4() {
    plays_as_mp4(Some("pattern.h265"), "hevc", (160, 120)).await;
}

#[tokio::test]
async fn mp4_that_cannot_be_is_refused() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let ask = async |path: &str| gateway.ask(Method::GET, path).await;
    ask(&format!("/live/{CAMERA}/{CHANNEL}.avi")).await.is_problem(404, "not_found", "lookup");
    ask(&format!("/live/{CAMERA}/34020000001310000099.mp4")).await.is_problem(404, "not_found", "lookup");
    ask("/live/playbacks/123.mp4").await.is_problem(404, "not_found", "lookup");
    ask(&format!("/live/{CAMERA}/{CHANNEL}.mp4?stream=tenth")).await.is_problem(400, "bad_stream", "request");
    ask(&format!("/live/{CAMERA}/{CHANNEL}.mp4?audio=loud")).await.is_problem(422, "bad_value", "request");
    assert!(gateway.streams().await.is_empty());
    drop(fleet);
}

#[tokio::test]
async fn a_playback_plays_as_mp4() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let (start, end) = ("2026-05-01T08:00:00+08:00", "2026-05-01T08:00:05+08:00");
    let wish = json!({ "device": CAMERA, "channel": CHANNEL, "start": start, "end": end });
    let report = gateway.tell(Method::POST, "/api/v1/playbacks", &wish).await.json();
    let data = tempfile::tempdir().unwrap();
    let path = report["mp4"].as_str().unwrap();
    // It ends by itself, with the recording.
    let file = fetched(&gateway, path, support::PATIENCE, data.path().join("recorded.mp4")).await;
    let frames = probe::decode(&file);
    assert!((115..=125).contains(&frames), "{frames} pictures of 125");
    drop(fleet);
}

#[tokio::test]
async fn h265_reaches_who_offers_it() {
    let gateway = Gateway::start(&[]).await;
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pattern.h265");
    let fleet = Fleet { clip: Some(clip), ..Fleet::default() }.start(&gateway).await;
    let peer = Peer::watch(&gateway, &format!("/whep/{CAMERA}/{CHANNEL}")).await;
    assert!(peer.sdp.contains(" H265/90000") && !peer.sdp.contains(" H264/90000"), "{}", peer.sdp);
    let pictures = peer.next_pictures(50).await;
    // Types of NAL units (RFC 7798): slices, a fragment, or an aggregate.
    let kinds: Vec<u8> = pictures.iter().map(|picture| picture.head >> 1 & 63).collect();
    assert!(kinds.iter().all(|kind| matches!(kind, 0..=21 | 48 | 49)), "{kinds:?}");
    let stream = gateway.stream("that runs", |stream| stream["state"] == "running").await;
    assert_eq!((&stream["video"]["codec"], &stream["readers"]), (&json!("h265"), &json!(1)));
    drop(fleet);
}
