//! What hurts users of other platforms, continued: who is there and by which way (6 to 8), and why no picture comes (15).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, CHANNEL, Gateway, PASSWORD};
use support::player::Player;
use support::sip::{Device, ELSEWHERE, LOOPBACK, Line, Sip};
use support::wild::{
    Footage, Hash, authorization, camera, catalog, channel, gb, has_channels, media_address, mp4, name_of,
    names, no_streams, nonce, plain, probe, query, send_pictures, sent,
};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

const OTHER: &str = "34020000001320000002";

/// Whether a channel is online.
async fn is_on(gateway: &Gateway, device: &str, number: usize) -> Value {
    gateway.get(&format!("/api/v1/devices/{device}/channels/{}", channel(number))).await["online"].clone()
}

/// Pain 6: false offline and stuck online: one timer per device, any sign of life counts, channels follow their device.
#[tokio::test]
async fn pain_06_false_offline_and_stuck_online() {
    let data = tempfile::tempdir().unwrap();
    let settings = [("sip.keepalive.interval", "5s"), ("sip.keepalive.misses", "1")];
    let gateway = Gateway::start_in(data.path(), &settings).await;
    let mut silent = Device::registered(&gateway, CAMERA).await;
    let sn = query(&mut silent).await;
    let items = [plain(&channel(1), "on", CAMERA), plain(&channel(2), "off", CAMERA).replace("ON", "OFF")];
    silent.message(catalog(CAMERA, &sn, 2, &items, "GB2312").as_bytes()).await;
    has_channels(&gateway, CAMERA, 2).await;
    assert_eq!([is_on(&gateway, CAMERA, 1).await, is_on(&gateway, CAMERA, 2).await], [true, false]);
    // It sends no keepalive ever, but talks: an answer nobody asked for, a notification, a registration.
    let mut talks = Device::registered(&gateway, OTHER).await;
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(8) {
        round += 1;
        let code = match round % 3 {
            0 => talks.register(3600).await.code(),
            1 => {
                let info = format!(
                    "<Response><CmdType>DeviceInfo</CmdType><SN>{round}</SN><DeviceID>{OTHER}</DeviceID></Response>"
                );
                talks.message(info.as_bytes()).await.code()
            }
            _ => {
                let status = format!(
                    "<Notify><CmdType>MediaStatus</CmdType><SN>{round}</SN><DeviceID>{OTHER}</DeviceID>\
                     <NotifyType>121</NotifyType></Notify>"
                );
                talks.message(status.as_bytes()).await.code()
            }
        };
        assert_eq!(code, 200);
        assert_eq!(
            gateway.get(&format!("/api/v1/devices/{OTHER}")).await["online"],
            true,
            "{:?}",
            began.elapsed()
        );
        sleep(Duration::from_secs(1)).await;
    }
    // The silent one is away, and its channels with it.
    assert_eq!(gateway.get(&format!("/api/v1/devices/{CAMERA}")).await["online"], false);
    assert_eq!([is_on(&gateway, CAMERA, 1).await, is_on(&gateway, CAMERA, 2).await], [false, false]);
    assert_eq!(gateway.get("/api/v1/stats/online").await["channels_online"], 0);
    // It comes back: each channel is again what it was said to be.
    assert_eq!(silent.keepalive().await.code(), 200);
    gateway.device_online(CAMERA, true).await;
    assert_eq!([is_on(&gateway, CAMERA, 1).await, is_on(&gateway, CAMERA, 2).await], [true, false]);
    // Nor is anybody online for ever because the gateway was started anew.
    gateway.kill().await;
    let gateway = Gateway::start_in(data.path(), &settings).await;
    assert_eq!(gateway.get(&format!("/api/v1/devices/{CAMERA}")).await["online"], true);
    gateway.device_online(CAMERA, false).await;
    assert_eq!(is_on(&gateway, CAMERA, 1).await, false);
}

/// Takes a call as a device behind a NAT does, which tells its private address everywhere.
fn private_answer(invite: &Sip, id: &str) -> (String, String) {
    let body = format!(
        "v=0\r\no={id} 0 0 IN IP4 192.168.1.64\r\ns=Play\r\nc=IN IP4 192.168.1.64\r\nt=0 0\r\n\
         m=video 15060 RTP/AVP 96\r\na=sendonly\r\na=rtpmap:96 PS/90000\r\ny={}\r\n",
        invite.sdp("y=")
    );
    let head = format!(
        "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=natted\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:{id}@192.168.1.64:5060>\r\nContent-Type: Application/SDP\r\nContent-Length: {}\r\n\r\n",
        invite.header("via"),
        invite.header("from"),
        invite.header("to"),
        invite.header("call-id"),
        invite.header("cseq"),
        body.len()
    );
    (head, body)
}

/// Pain 7: NAT and changed addresses: the flow of what came last is the way back, for calls as well.
#[tokio::test]
async fn pain_07_nat_and_changed_addresses() {
    let gateway = Gateway::start(&[("media.no_reader_timeout", "1s")]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    let local = device.line.local().to_string();
    let private = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap().replace(&local, "192.168.1.64:5060");
        text.into_bytes()
    };
    let request = private(device.compose("REGISTER", "Expires: 3600\r\n", b""));
    let challenge = device.exchange(&request).await;
    let proof = authorization(CAMERA, &nonce(&challenge), PASSWORD, Hash::Md5, Some(1));
    let request = private(device.compose("REGISTER", &format!("Expires: 3600\r\n{proof}"), b""));
    assert_eq!(device.exchange(&request).await.code(), 200);
    let sn = query(&mut device).await;
    device.message(catalog(CAMERA, &sn, 1, &[plain(CHANNEL, "one", CAMERA)], "GB2312").as_bytes()).await;
    has_channels(&gateway, CAMERA, 1).await;
    // The call finds the device, its ACK finds it though Contact is private, and its media are taken though they come
    // from another port and address than the answer says.
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let serve = async {
        let invite = device.invited().await;
        let (head, body) = private_answer(&invite, CAMERA);
        device.line.send(format!("{head}{body}").as_bytes()).await;
        let ack = device.asked_for("ACK ").await;
        assert_eq!(ack.header("call-id"), invite.header("call-id"));
        let footage = Footage::new(invite.sdp("y=").parse().unwrap());
        (send_pictures(socket, media_address(&invite), footage, |_| Vec::new()), invite)
    };
    let (player, (sending, invite)) = tokio::join!(Player::watch(&gateway, CAMERA, CHANNEL), serve);
    let seen = player.sees_pictures(10).await;
    assert_eq!(seen.gaps, 0, "{seen:?}");
    // In the middle of the call the NAT moves the device: the BYE goes where it is now.
    let mut moved = Device::udp(&gateway, CAMERA).await;
    assert_eq!(moved.keepalive().await.code(), 200);
    player.sees_pictures(5).await;
    assert_eq!(gateway.ask(Method::DELETE, &player.location).await.status.as_u16(), 200);
    let bye = moved.asked_for("BYE ").await;
    assert_eq!(bye.header("call-id"), invite.header("call-id"));
    no_streams(&gateway).await;
    assert!(
        timeout(Duration::from_millis(300), silence_of(&mut device, "BYE ")).await.is_err(),
        "the old port heard BYE"
    );
    drop(sending);
}

/// Ends when such a request comes.
async fn silence_of(device: &mut Device, start: &str) {
    loop {
        let message = device.line.receive().await.unwrap();
        if message.start.starts_with(start) {
            return;
        }
    }
}

/// Pain 8: after a restart devices go on with keepalives and never register again: all is served from the first second.
#[tokio::test]
async fn pain_08_restart() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let sn = query(&mut device).await;
    let items: Vec<String> = (1..=20).map(|n| plain(&channel(n), "村", CAMERA)).collect();
    device.message(&gb(&catalog(CAMERA, &sn, 20, &items, "GB2312"))).await;
    has_channels(&gateway, CAMERA, 20).await;
    let mut lost = Vec::new();
    let mut sendings = Vec::new();
    let mut players = Vec::new();
    for number in 1..=2 {
        let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
        let from = socket.local_addr().unwrap();
        let serve = async {
            let invite = device.invited().await;
            device.take_call(&invite, from).await;
            let footage = Footage::new(invite.sdp("y=").parse().unwrap());
            (send_pictures(socket, media_address(&invite), footage, |_| Vec::new()), invite)
        };
        let id = channel(number);
        let watch = Player::watch(&gateway, CAMERA, &id);
        let (player, (sending, invite)) = tokio::join!(watch, serve);
        player.sees_pictures(1).await;
        lost.push(invite.header("call-id").to_owned());
        sendings.push(sending);
        players.push(player);
    }
    gateway.kill().await;
    drop(players);

    let began = Instant::now();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    // Before anything was heard of anybody: the lists, and a picture on demand.
    assert_eq!(names(&gateway, CAMERA).await.len(), 20);
    assert_eq!(name_of(&gateway, CAMERA, &channel(7)).await, "村");
    assert_eq!(gateway.get("/api/v1/stats/online").await["channels_online"], 20);
    device.line.follow(&gateway);
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let from = socket.local_addr().unwrap();
    let mut ended = Vec::new();
    let serve = async {
        // Those who sent before the crash and know of no end are told to stop.
        let invite = loop {
            let request = device.asked().await;
            if request.start.starts_with("INVITE ") {
                break request;
            }
            if request.start.starts_with("BYE ") {
                ended.push(request.header("call-id").to_owned());
            }
            device.answer(&request, "200 OK", "", b"").await;
        };
        device.take_call(&invite, from).await;
        let footage = Footage::new(invite.sdp("y=").parse().unwrap());
        send_pictures(socket, media_address(&invite), footage, |_| Vec::new())
    };
    let third = channel(3);
    let (player, sending) = tokio::join!(Player::watch(&gateway, CAMERA, &third), serve);
    player.sees_pictures(3).await;
    println!("a picture {:?} after the start", began.elapsed());
    while ended.len() < 2 {
        ended.push(device.asked_for("BYE ").await.header("call-id").to_owned());
    }
    ended.sort();
    ended.dedup();
    lost.sort();
    assert_eq!(ended, lost);
    assert_eq!(device.keepalive().await.code(), 200);
    assert_eq!(sent(&gateway, "INVITE").await, 1.0);
    assert_eq!(
        gateway.metric("gbgate_sip_messages_total", "method=\"REGISTER\"").await,
        0.0,
        "it had to register"
    );
    drop((sending, sendings));
    gateway.kill().await;
}
/// Pain 15: "play timed out": the address is that of the route, each step has its name and a hint, clocks are set by
/// local time, and pictures at other speeds play in time.
#[tokio::test]
async fn pain_15_play_timed_out() {
    let settings = [
        ("media.play_timeout", "1s"),
        ("platform.time_zone", "+05:30"),
        ("media.advertise", "[{ for: 127.0.0.2/32, address: 10.9.8.7 }]"),
    ];
    let gateway = Gateway::start(&settings).await;
    // Every step by its own name, with what happened and what to look at.
    let faults = [
        ("invite-silent", 504, "invite_timeout", "invite"),
        ("invite-refused", 502, "invite_refused", "invite"),
        ("no-media", 504, "no_rtp", "rtp"),
        ("no-key-frame", 504, "no_key_frame", "key_frame"),
    ];
    let mut hints = BTreeSet::new();
    for (index, (quirk, status, code, step)) in faults.into_iter().enumerate() {
        let id = format!("340200000013200002{index:02}");
        let process = camera(&gateway, &id, "udp", quirk).await;
        let refused = gateway.whep(&id, CHANNEL, &Player::offer()).await;
        refused.is_problem(status, code, step);
        let problem = refused.json();
        let detail = problem["detail"].as_str().unwrap();
        match code {
            "no_rtp" => assert!(detail.contains("127.0.0.1:") && detail.contains("udp"), "{detail}"),
            "invite_refused" => assert!(detail.contains("403"), "{detail}"),
            _ => assert!(detail.contains("1 s"), "{detail}"),
        }
        hints.insert(problem["hint"].as_str().unwrap().to_owned());
        drop(process);
    }
    assert_eq!(hints.len(), faults.len(), "{hints:?}");

    // The address that a device is told is the one by which it reaches us, or the one that is set for its network.
    for (id, ip, told) in [(CAMERA, LOOPBACK, "127.0.0.1"), (OTHER, ELSEWHERE, "10.9.8.7")] {
        let mut device = Device::new(id, Line::udp(&gateway, ip).await);
        let granted = device.register(3600).await;
        // Date in the zone of the platform, as the standard has it and not as SIP does.
        let date = granted.header("date");
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 19_800;
        let minutes = [now - 60, now].map(|at| format!("T{:02}:{:02}:", at / 3600 % 24, at / 60 % 60));
        assert!(minutes.iter().any(|minute| date.contains(minute)), "{date} and not {minutes:?}");
        let sn = query(&mut device).await;
        device.message(catalog(id, &sn, 1, &[plain(CHANNEL, "n", id)], "GB2312").as_bytes()).await;
        has_channels(&gateway, id, 1).await;
        let serve = async {
            let invite = device.invited().await;
            device.answer(&invite, "486 Busy Here", "", b"").await;
            invite
        };
        let offer = Player::offer();
        let (_, invite) = tokio::join!(gateway.whep(id, CHANNEL, &offer), serve);
        assert_eq!(invite.sdp("c="), format!("IN IP4 {told}"), "{}", invite.text());
    }
}

/// Pain 15, second half: time stamps of a recording at other speeds than it was made at.
#[tokio::test]
async fn pain_15_time_stamps_of_playback() {
    let gateway = Gateway::start(&[]).await;
    // One scales its time stamps itself, the other sends those of the recording.
    tokio::join!(plays_in_time(&gateway, CAMERA, ""), plays_in_time(&gateway, OTHER, "recorded-times"));
}

/// Plays a recording of such a camera at several speeds, and looks at the clock.
async fn plays_in_time(gateway: &Gateway, id: &str, quirk: &str) {
    let process = camera(gateway, id, "udp", quirk).await;
    for speed in [1.0, 4.0, 0.5] {
        let wanted = json!({
            "device": id, "channel": CHANNEL, "speed": speed,
            "start": "2026-05-01T08:00:00+08:00", "end": "2026-05-01T09:00:00+08:00",
        });
        let began = gateway.tell(Method::POST, "/api/v1/playbacks", &wanted).await;
        assert_eq!(began.status.as_u16(), 201, "{quirk} {speed}: {}", began.text);
        let time = Instant::now();
        let mp4_path = began.json()["mp4"].as_str().unwrap().to_owned();
        let file = mp4(gateway, &mp4_path, Duration::from_secs(3)).await;
        let took = time.elapsed().as_secs_f64();
        let position = gateway.get(began.header("location")).await["position"].as_f64().unwrap();
        let probed = probe(file.path());
        let packets = probed["packets"].as_array().unwrap().iter();
        let stamps: Vec<f64> = packets
            .filter(|packet| packet["codec_type"] == "video")
            .map(|packet| packet["dts_time"].as_str().unwrap().parse().unwrap())
            .collect();
        assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{quirk} {speed}: {stamps:?}");
        let lasted = stamps.last().unwrap() - stamps.first().unwrap();
        println!("{quirk} at {speed}: {} pictures, {lasted:.2} s, now at {position:.2} s", stamps.len());
        // What is shown lasts as long as it takes, and the recording goes by at its own speed.
        assert!(lasted > 1.0 && lasted < took + 1.0, "{quirk} {speed}: {lasted} s of pictures in {took} s");
        let (least, most) = (0.5 * speed * lasted, 1.5 * speed * (took + 1.0));
        assert!(position > least && position < most, "{quirk} {speed}: at {position} s after {took} s");
        assert_eq!(gateway.ask(Method::DELETE, began.header("location")).await.status.as_u16(), 204);
    }
    drop(process);
}
