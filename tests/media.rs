//! From a click to a picture, and each step at which the road can end: simulated devices send, a player watches, the
//! real binary is in between.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway};
use support::player::Player;
use support::sip::Device;
use support::until;

/// A second for each step that is to fail.
const IMPATIENT: [(&str, &str); 1] = [("media.play_timeout", "1s")];

#[tokio::test]
async fn a_picture_comes_by_each_transport() {
    let gateway = Gateway::start(&[("media.default_transport", "tcp-passive")]).await;
    let fleet = Fleet { channels: 3, transport: "tcp", ..Fleet::default() }.start(&gateway).await;
    // The gateway's default, then the device's own setting.
    for (index, transport) in ["tcp-passive", "udp", "tcp-active"].into_iter().enumerate() {
        if index > 0 {
            let path = format!("/api/v1/devices/{CAMERA}");
            let edited = gateway.tell(Method::PATCH, &path, &json!({ "media_transport": transport })).await;
            assert_eq!(edited.json()["media_transport"], transport, "{}", edited.text);
        }
        let channel = format!("3402000000131000000{}", index + 1);
        let player = Player::watch(&gateway, CAMERA, &channel).await;
        let seen = player.sees_pictures(30).await;
        assert_eq!(seen.gaps, 0, "{transport}: {seen:?}");
        assert!(seen.audio > 0, "{transport}: {seen:?}");
        let stream = until("the stream's figures", async || {
            let streams = gateway.streams().await;
            let stream = streams.iter().find(|stream| stream["channel"] == channel).unwrap().clone();
            if stream["packets"].as_u64() >= Some(30) { Ok(stream) } else { Err(stream.to_string()) }
        })
        .await;
        assert_eq!((&stream["transport"], &stream["state"]), (&json!(transport), &json!("running")));
        assert_eq!(stream["video"]["codec"], "h264");
        assert_eq!((&stream["video"]["width"], &stream["video"]["height"]), (&json!(640), &json!(360)));
        assert_eq!(stream["audio"]["codec"], "pcma");
        assert_eq!((&stream["readers"], &stream["lost"]), (&json!(1), &json!(0)));
        assert!(stream["bit_rate"].as_u64() > Some(0), "{stream}");
    }
    drop(fleet);
}

#[tokio::test]
async fn one_invite_serves_all_and_the_last_who_leaves_ends_it() {
    let gateway = Gateway::start(&[("media.no_reader_timeout", "1s")]).await;
    let fleet = Fleet::default().start(&gateway).await;
    // Two at once, while nothing runs yet, and one who comes later.
    let (first, second) =
        tokio::join!(Player::watch(&gateway, CAMERA, CHANNEL), Player::watch(&gateway, CAMERA, CHANNEL));
    first.sees_pictures(1).await;
    second.sees_pictures(1).await;
    let third = Player::watch(&gateway, CAMERA, CHANNEL).await;
    third.sees_pictures(1).await;
    let stream = gateway.stream("with three readers", |stream| stream["readers"] == 3).await;
    let invites =
        async || gateway.metric("gbgate_sip_messages_total", "direction=\"out\",method=\"INVITE\"").await;
    assert_eq!(sent(&gateway, "INVITE").await, 1.0, "{}", invites().await);

    // One leaves by DELETE, the others see on.
    let left = gateway.ask(Method::DELETE, &first.location).await;
    assert_eq!(left.status.as_u16(), 200, "{left:?}");
    gateway.ask(Method::DELETE, &first.location).await.is_problem(404, "not_found", "lookup");
    let stream2 = gateway.stream("with two readers", |stream| stream["readers"] == 2).await;
    assert_eq!(stream2["id"], stream["id"]);
    second.sees_pictures(10).await;

    for player in [&second, &third] {
        assert_eq!(gateway.ask(Method::DELETE, &player.location).await.status.as_u16(), 200);
    }
    no_streams(&gateway).await;
    assert_eq!(sent(&gateway, "BYE").await, 1.0);
    assert_eq!(gateway.get("/api/v1/node").await["load"]["calls"], 0);
    // And all over again.
    let fourth = Player::watch(&gateway, CAMERA, CHANNEL).await;
    fourth.sees_pictures(1).await;
    assert_eq!(sent(&gateway, "INVITE").await, 2.0);
    drop(fleet);
}

/// Requests with this method that the gateway sent.
async fn sent(gateway: &Gateway, method: &str) -> f64 {
    let text = gateway.ask(Method::GET, "/metrics").await.text;
    let wanted =
        ["gbgate_sip_messages_total{", "direction=\"out\"", "code=\"\"", &format!("method=\"{method}\"")];
    let lines = text.lines().filter(|line| wanted.iter().all(|part| line.contains(part)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn no_streams(gateway: &Gateway) {
    until("the end of the streams", async || {
        let streams = gateway.streams().await;
        if streams.is_empty() { Ok(()) } else { Err(format!("{streams:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_ended_over_the_api() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let player = Player::watch(&gateway, CAMERA, CHANNEL).await;
    player.sees_pictures(1).await;
    let stream = gateway.stream("that runs", |stream| stream["state"] == "running").await;
    let path = format!("/api/v1/streams/{}", stream["id"].as_str().unwrap());
    assert_eq!(gateway.get(&path).await["ssrc"], stream["ssrc"]);
    assert_eq!(gateway.ask(Method::DELETE, &path).await.status.as_u16(), 204);
    no_streams(&gateway).await;
    player.sees("the end", |seen| seen.closed).await;
    until("the BYE", async || {
        let count = sent(&gateway, "BYE").await;
        if count == 1.0 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    gateway.ask(Method::DELETE, &path).await.is_problem(404, "not_found", "lookup");
    drop(fleet);
}

#[tokio::test]
async fn a_device_that_hangs_up_ends_its_stream() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let player = Player::watch(&gateway, CAMERA, CHANNEL).await;
    player.sees_pictures(1).await;
    // It takes its leave: the registration ends, and its calls with it.
    drop(fleet);
    gateway.device_online(CAMERA, false).await;
    no_streams(&gateway).await;
    player.sees("the end", |seen| seen.closed).await;
    let answer = Player::try_watch(&gateway, CAMERA, CHANNEL).await.err().unwrap();
    answer.is_problem(409, "device_offline", "registration");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn faulty_lines_are_borne() {
    let gateway = Gateway::start(&[]).await;
    let quirks = "disorder,other-ssrc,utf8-as-gb,reversed-pages";
    let fleet = Fleet { quirks, channels: 12, ..Fleet::default() }.start(&gateway).await;
    let player = Player::watch(&gateway, CAMERA, CHANNEL).await;
    player.sees_pictures(50).await;
    let stream = gateway.stream("with figures", |stream| stream["packets"].as_u64() > Some(100)).await;
    assert_eq!(stream["lost"], 0, "what came late was put in order: {stream}");
    drop(fleet);
}

#[tokio::test]
async fn losses_cost_pictures_and_not_the_stream() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet { quirks: "loss", ..Fleet::default() }.start(&gateway).await;
    let player = Player::watch(&gateway, CAMERA, CHANNEL).await;
    player.sees_pictures(25).await;
    gateway.stream("that counts its losses", |stream| stream["lost"].as_u64() > Some(0)).await;
    // It recovers: key frames go on to come.
    let keys = player.seen().key_frames;
    player.sees("more key frames", |seen| seen.key_frames >= keys + 2).await;
    assert!(gateway.metric("gbgate_rtp_lost_total", "").await > 0.0);
    drop(fleet);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let offer = Player::offer();
    gateway.whep("34020000001320000009", CHANNEL, &offer).await.is_problem(404, "not_found", "lookup");
    gateway.whep(CAMERA, "34020000001310000009", &offer).await.is_problem(404, "not_found", "lookup");
    assert_eq!(sent(&gateway, "INVITE").await, 0.0);
    drop(fleet);
}

#[tokio::test]
async fn an_offer_that_does_not_fit_is_refused() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let offer = Player::offer();
    let other = offer.replace("H264/90000", "VP8/90000");
    gateway.whep(CAMERA, CHANNEL, &other).await.is_problem(406, "no_common_codec", "offer");
    for bad in ["", "v=0\r\n", "hello", &offer.replace("a=fingerprint:", "a=x-finger:")] {
        gateway.whep(CAMERA, CHANNEL, bad).await.is_problem(400, "bad_offer", "request");
    }
    let request = gateway.request(Method::POST, &format!("/whep/{CAMERA}/{CHANNEL}")).body(offer.clone());
    support::gateway::answer(request).await.is_problem(415, "bad_content_type", "request");
    let request = gateway.request(Method::POST, &format!("/whep/{CAMERA}/{CHANNEL}?stream=fourth"));
    let request = request.header("content-type", "application/sdp").body(offer);
    support::gateway::answer(request).await.is_problem(400, "bad_stream", "request");
    assert_eq!(gateway.get("/api/v1/node").await["load"]["viewers"], 0);
    drop(fleet);
}

#[tokio::test]
async fn h265_is_told_not_to_fit_a_player_without_it() {
    let gateway = Gateway::start(&[]).await;
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pattern.h265");
    let fleet = Fleet { clip: Some(clip), ..Fleet::default() }.start(&gateway).await;
    let offer = Player::offer().replace("H265/90000", "H266/90000");
    gateway.whep(CAMERA, CHANNEL, &offer).await.is_problem(406, "no_common_codec", "offer");
    // The stream itself is well.
    let stream = gateway.stream("that runs", |stream| stream["state"] == "running").await;
    assert_eq!((&stream["video"]["codec"], &stream["video"]["width"]), (&json!("h265"), &json!(160)));
    drop(fleet);
}

/// A device with this quirk fails at this step, and so does everybody who waits for the same.
async fn fails(quirk: &str, status: u16, code: &str, step: &str) {
    let gateway = Gateway::start(&IMPATIENT).await;
    let fleet = Fleet { quirks: quirk, ..Fleet::default() }.start(&gateway).await;
    let offer = Player::offer();
    let both = [gateway.whep(CAMERA, CHANNEL, &offer), gateway.whep(CAMERA, CHANNEL, &offer)];
    for answer in futures_util::future::join_all(both).await {
        answer.is_problem(status, code, step);
    }
    assert_eq!(gateway.metric("gbgate_invite_failures_total", &format!("step=\"{step}\"")).await, 1.0);
    no_streams(&gateway).await;
    until("the end of the call", async || {
        let load = gateway.get("/api/v1/node").await["load"].clone();
        // A device that answers nothing is waited for as long as SIP has it.
        if load["calls"] == 0 || quirk == "invite-silent" { Ok(()) } else { Err(load.to_string()) }
    })
    .await;
    drop(fleet);
}

#[tokio::test]
async fn a_device_may_refuse() {
    fails("invite-busy", 502, "invite_refused", "invite").await;
}

#[tokio::test]
async fn a_device_may_not_answer() {
    fails("invite-silent", 504, "invite_timeout", "invite").await;
}

#[tokio::test]
async fn a_device_may_send_nothing() {
    fails("no-media", 504, "no_rtp", "rtp").await;
}

#[tokio::test]
async fn a_device_may_send_no_key_frame() {
    fails("no-key-frame", 504, "no_key_frame", "key_frame").await;
}

/// The words on the wire, which the simulator would forgive: a device that the test plays itself.
#[tokio::test]
async fn the_invite_is_as_the_standard_has_it() {
    let gateway = Gateway::start(&IMPATIENT).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let query = device.asked_for("Catalog").await;
    device.page(&query, 1, &[(CHANNEL, "one")]).await;
    gateway.device(CAMERA, "with a channel", |device| device["channel_count"] == 1).await;

    let offer = Player::offer();
    let play = gateway.whep(CAMERA, CHANNEL, &offer);
    let answer = async {
        let invite = device.invited().await;
        let sdp = invite.text();
        let line = |start: &str| invite.sdp(start);
        assert!(invite.start.starts_with(&format!("INVITE sip:{CHANNEL}@")), "{invite:?}");
        assert_eq!(invite.header("content-type").to_lowercase(), "application/sdp");
        let subject = invite.header("subject").split([':', ',']).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!((subject.len(), &*subject[0], &*subject[2]), (4, CHANNEL, support::gateway::PLATFORM));
        assert!(line("o=").starts_with(CHANNEL), "{sdp}");
        assert_eq!([line("s="), line("t="), line("c=")], ["Play", "0 0", "IN IP4 127.0.0.1"], "{sdp}");
        let media = line("m=");
        let media: Vec<&str> = media.split(' ').collect();
        assert_eq!((media[0], media[2]), ("video", "RTP/AVP"), "{sdp}");
        assert!(media[3..].contains(&"96") && sdp.contains("a=rtpmap:96 PS/90000"), "{sdp}");
        assert!(sdp.contains("a=recvonly"), "{sdp}");
        // 0 for a live stream, digits 4 to 8 of the domain, four more.
        let ssrc = line("y=");
        assert!(ssrc.len() == 10 && ssrc.starts_with("020000"), "{sdp}");

        // A ringing device is waited for, and acknowledged when it answers.
        device.answer(&invite, "180 Ringing", "", b"").await;
        let ack = device.take_call(&invite, "127.0.0.1:6000".parse().unwrap()).await;
        assert_eq!(ack.header("call-id"), invite.header("call-id"));
        assert_eq!(ack.header("cseq").split(' ').next(), invite.header("cseq").split(' ').next());
        assert!(ack.header("to").ends_with(";tag=answered"), "{ack:?}");
        // Nothing is sent, so the gateway gives up, and says so.
        let bye = device.asked_for("BYE").await;
        assert_eq!(bye.header("call-id"), invite.header("call-id"));
    };
    let (refused, ()) = tokio::join!(play, answer);
    refused.is_problem(504, "no_rtp", "rtp");
}
