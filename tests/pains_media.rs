//! What hurts users of other platforms, continued: media (9 to 13).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, CHANNEL, Gateway};
use support::player::Player;
use support::sip::{LOOPBACK, Sip};
use support::until;
use support::wild::{
    Footage, PICTURE, Sending, camera, channel, counts, device_with, finding, has_channels, media_address,
    mp4, no_streams, probe, send_pictures, sent, simulate,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

const OTHER: &str = "34020000001320000002";

async fn set(gateway: &Gateway, id: &str, change: Value) {
    let edited = gateway.tell(Method::PATCH, &format!("/api/v1/devices/{id}"), &change).await;
    assert_eq!(edited.status.as_u16(), 200, "{change}: {}", edited.text);
}

/// A sender report (RFC 3550 6.4.1).
fn sender_report(ssrc: u32) -> Vec<u8> {
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(ssrc.to_be_bytes());
    report.extend([0xE0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0x40, 0]);
    report
}

/// Pain 9: the device picks its own SSRC: the port tells streams apart, then the answer's `y=`, then what arrives.
#[tokio::test]
async fn pain_09_ssrc_of_the_device() {
    let gateway = Gateway::start(&[]).await;
    let odd = [
        ("ssrc-answer", "sdp-other-ssrc"),
        ("ssrc-mismatch", "rtp-ssrc-not-agreed"),
        ("ssrc-zero", "rtp-ssrc-not-agreed"),
        ("other-ssrc", "sdp-no-y"),
        ("no-y", "sdp-no-y"),
    ];
    // All at the same time, and all of one channel id.
    let mut running = Vec::new();
    for (index, (quirk, rule)) in odd.into_iter().enumerate() {
        let id = format!("340200000013200001{index:02}");
        let process = camera(&gateway, &id, "udp", quirk).await;
        let player = Player::watch(&gateway, &id, CHANNEL).await;
        running.push((quirk, rule, id, process, player));
    }
    for (quirk, rule, id, _, player) in &running {
        let seen = player.sees_pictures(15).await;
        assert_eq!(seen.gaps, 0, "{quirk}: {seen:?}");
        let streams = gateway.streams().await;
        let stream = streams.iter().find(|stream| stream["device"] == *id).unwrap();
        assert_eq!(stream["lost"], 0, "{quirk}: {stream}");
        finding(&gateway, id, rule).await;
    }
    let ssrc = |id: &str| {
        let id = id.to_owned();
        let gateway = &gateway;
        async move {
            gateway.streams().await.iter().find(|stream| stream["device"] == id).unwrap()["ssrc"].clone()
        }
    };
    assert_eq!(ssrc("34020000001320000102").await, 0, "the one that is on the wire");

    // Two cameras agree to the same number, and RTCP comes on the port of RTP: neither disturbs the other, and no
    // report is taken for a picture.
    let mut both = Vec::new();
    for id in [CAMERA, OTHER] {
        let mut device = device_with(&gateway, id, 1).await;
        let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
        let from = socket.local_addr().unwrap();
        let serve = async {
            let invite = device.invited().await;
            let body = format!(
                "v=0\r\no={id} 0 0 IN IP4 127.0.0.1\r\ns=Play\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                 m=video {} RTP/AVP 96\r\na=sendonly\r\na=rtpmap:96 PS/90000\r\ny=0200004711\r\n",
                from.port()
            );
            device.answer(&invite, "200 OK", "Content-Type: Application/SDP\r\n", body.as_bytes()).await;
            let footage = Footage::new(200_004_711);
            send_pictures(socket, media_address(&invite), footage, |ssrc| vec![sender_report(ssrc)])
        };
        let (player, sending) = tokio::join!(Player::watch(&gateway, id, CHANNEL), serve);
        both.push((id, player, sending, device));
    }
    for (id, player, sending, _) in both {
        let seen = player.sees_pictures(15).await;
        assert_eq!(seen.gaps, 0, "{id}: {seen:?}");
        let packets = sending.stop().await;
        until("each packet of RTP and no other", async || {
            let streams = gateway.streams().await;
            let stream = streams.iter().find(|stream| stream["device"] == id).unwrap();
            let told = (stream["packets"].as_u64(), stream["lost"].as_u64());
            if told == (Some(packets), Some(0)) { Ok(()) } else { Err(format!("{told:?}, sent {packets}")) }
        })
        .await;
    }
    // Nobody is left to answer a BYE.
    gateway.kill().await;
}

/// What a device may answer to an INVITE; `IP`, `PORT` and `SSRC` are put in.
const ANSWERS: [(&str, &str); 10] = [
    (
        "y= last, after f=",
        "v=0\r\no=x 0 0 IN IP4 IP\r\ns=Play\r\nc=IN IP4 IP\r\nt=0 0\r\nm=video PORT RTP/AVP 96\r\na=sendonly\r\n\
         a=rtpmap:96 PS/90000\r\nf=v/2/4///a///\r\ny=SSRC\r\n",
    ),
    (
        "y= before m=",
        "v=0\r\no=x 0 0 IN IP4 IP\r\ns=Play\r\ny=SSRC\r\nc=IN IP4 IP\r\nt=0 0\r\nm=video PORT RTP/AVP 96\r\n\
         a=rtpmap:96 PS/90000\r\na=sendonly\r\n",
    ),
    (
        "line feeds alone",
        "v=0\no=x 0 0 IN IP4 IP\ns=Play\nc=IN IP4 IP\nt=0 0\nm=video PORT RTP/AVP 96\na=sendonly\ny=SSRC\n",
    ),
    ("next to nothing", "m=video PORT RTP/AVP 96\r\n"),
    (
        "c= in the medium",
        "v=0\r\no=x 0 0 IN IP4 IP\r\ns=Play\r\nt=0 0\r\nm=video PORT RTP/AVP 96\r\nc=IN IP4 IP\r\ny=SSRC\r\n",
    ),
    (
        "PS as one of several, and not the first",
        "v=0\r\no=x 0 0 IN IP4 IP\r\ns=Play\r\nc=IN IP4 IP\r\nt=0 0\r\nm=video PORT RTP/AVP 98 97 96\r\n\
         a=rtpmap:98 H264/90000\r\na=rtpmap:97 MPEG4/90000\r\na=rtpmap:96 PS/90000\r\na=sendonly\r\ny=SSRC\r\n",
    ),
    (
        "lower case, blanks, a direction that is not ours",
        "v=0\r\no=x 0 0 IN IP4 IP\r\ns= Play \r\nc=IN IP4 IP\r\nt=0 0\r\nm=video PORT  rtp/avp 96\r\n\
         a=rtpmap: 96 ps/90000\r\na=SendRecv\r\ny= SSRC \r\n",
    ),
    (
        "sound beside the picture",
        "v=0\r\no=x 0 0 IN IP4 IP\r\ns=Play\r\nc=IN IP4 IP\r\nt=0 0\r\nm=video PORT RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\n\
         m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\ny=SSRC\r\n",
    ),
    (
        "lines that are none",
        "v=0\r\n\r\nhello\r\n=\r\nz=\r\na=\r\no=x 0 0 IN IP4 IP\r\ns=\r\nc=IN IP4 IP/127\r\nt=0 0\r\nm=video PORT/1 RTP/AVP 96\r\n\
         a=rtpmap:96 PS/90000/1\r\na=x:y:z\r\ny=SSRC\r\n\0\0",
    ),
    (
        "an SSRC of nine digits",
        "v=0\r\no=x 0 0 IN IP4 IP\r\ns=Play\r\nc=IN IP4 IP\r\nt=0 0\r\nm=video PORT RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\n\
         y=200001234\r\n",
    ),
];

/// The lines of an offer's medium that ask for a stream.
fn asked_stream(invite: &Sip) -> Vec<String> {
    let text = invite.text();
    let lines = text.lines().filter(|line| line.to_lowercase().starts_with("a=stream"));
    lines.map(str::to_owned).collect()
}

/// Pain 10: quirks of SDP: a lenient reader, a strict writer, and vendors' ways as data.
#[tokio::test]
async fn pain_10_sdp_quirks() {
    let gateway = Gateway::start(&[]).await;
    let mut device = device_with(&gateway, CAMERA, ANSWERS.len() + 1).await;
    for (index, (what, answer)) in ANSWERS.into_iter().enumerate() {
        let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
        let from = socket.local_addr().unwrap();
        let serve = async {
            let invite = device.invited().await;
            let body = answer
                .replace("IP4 IP", "IP4 127.0.0.1")
                .replace("PORT", &from.port().to_string())
                .replace("SSRC", &invite.sdp("y="));
            device.answer(&invite, "200 OK", "Content-Type: Application/SDP\r\n", body.as_bytes()).await;
            let footage = Footage::new(invite.sdp("y=").parse().unwrap());
            send_pictures(socket, media_address(&invite), footage, |_| Vec::new())
        };
        let id = channel(index + 1);
        let (player, sending) = tokio::join!(Player::try_watch(&gateway, CAMERA, &id), serve);
        let player = player.unwrap_or_else(|answer| panic!("{what}: {answer:?}"));
        player.sees_pictures(3).await;
        drop((player, sending));
    }
    // What we write is in the order of the standard, PS before all else, over TCP too; and the sub-stream is asked for
    // in the words of the vendor.
    let cases = [
        (json!({ "overrides": null, "media_transport": null }), "RTP/AVP", vec!["a=streamprofile:1"]),
        (json!({ "edition": 2022 }), "RTP/AVP", vec!["a=streamnumber:1"]),
        (json!({ "profile": "tp-link" }), "RTP/AVP", vec!["a=streamMode:sub"]),
        (json!({ "overrides": { "stream_attribute": "stream" } }), "RTP/AVP", vec!["a=stream:1"]),
        (json!({ "overrides": { "stream_attribute": "none" } }), "RTP/AVP", vec![]),
        (json!({ "media_transport": "tcp-passive" }), "TCP/RTP/AVP", vec![]),
    ];
    let last = channel(ANSWERS.len() + 1);
    for (change, protocol, wanted) in cases {
        set(&gateway, CAMERA, change.clone()).await;
        for (stream, wanted) in [("main", vec![]), ("sub", wanted)] {
            let request = gateway.request(Method::POST, &format!("/whep/{CAMERA}/{last}?stream={stream}"));
            let request = request.header("content-type", "application/sdp").body(Player::offer());
            let serve = async {
                let invite = device.invited().await;
                device.answer(&invite, "486 Busy Here", "", b"").await;
                invite
            };
            let (refused, invite) = tokio::join!(support::gateway::answer(request), serve);
            refused.is_problem(502, "invite_refused", "invite");
            assert_eq!(asked_stream(&invite), wanted, "{change} {stream}: {}", invite.text());
            let media = invite.sdp("m=video ");
            let words: Vec<&str> = media.split(' ').collect();
            assert_eq!(words[1..3], [protocol, "96"], "{change}: {media}");
            assert!(invite.sdp("a=rtpmap:").starts_with("96 PS/90000"), "{}", invite.text());
            let text = invite.text();
            let order: String = text.lines().filter_map(|line| line.chars().next()).collect();
            let mut kinds: Vec<char> = order.chars().collect();
            kinds.dedup();
            let kinds: String = kinds.into_iter().filter(|kind| *kind != 'f').collect();
            assert_eq!(kinds, "vosctmay", "{text}");
        }
    }
    // Nobody is left to answer a BYE.
    gateway.kill().await;
}

/// Two even ports that were free a moment ago, as a range.
async fn two_ports() -> String {
    loop {
        let first = UdpSocket::bind((LOOPBACK, 0)).await.unwrap().local_addr().unwrap().port();
        let pair = (
            UdpSocket::bind((LOOPBACK, first)).await,
            UdpSocket::bind((LOOPBACK, first.saturating_add(2))).await,
        );
        if first % 2 == 0 && pair.0.is_ok() && pair.1.is_ok() {
            return format!("{first}-{}", first + 3);
        }
    }
}

/// Pain 11: a lost BYE, and the camera sends for ever: one INVITE at a time, every call is ended, and ports come back.
#[tokio::test]
async fn pain_11_orphan_rtp() {
    let ports = two_ports().await;
    let settings = [
        ("media.ports", ports.as_str()),
        ("media.quarantine", "500ms"),
        ("media.no_reader_timeout", "500ms"),
        ("media.play_timeout", "2s"),
    ];
    let gateway = Gateway::start(&settings).await;
    let mut device = device_with(&gateway, CAMERA, 3).await;
    let mut orphans: Vec<Sending> = Vec::new();
    let mut ids = BTreeSet::new();
    for round in 0..3 {
        let mut players = Vec::new();
        for number in 1..=2 {
            let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
            let from = socket.local_addr().unwrap();
            let serve = async {
                let invite = device.invited().await;
                device.take_call(&invite, from).await;
                ids.insert(invite.header("call-id").to_owned());
                let footage = Footage::new(invite.sdp("y=").parse().unwrap());
                send_pictures(socket, media_address(&invite), footage, |_| Vec::new())
            };
            let id = channel(number);
            // Three at once: one INVITE.
            let watch = || Player::watch(&gateway, CAMERA, &id);
            let (first, second, third, sending) = tokio::join!(watch(), watch(), watch(), serve);
            third.sees_pictures(1).await;
            players.extend([first, second, third]);
            orphans.push(sending);
        }
        assert_eq!(sent(&gateway, "INVITE").await, f64::from(2 * (round + 1)));
        let ssrcs: BTreeSet<String> =
            gateway.streams().await.iter().map(|stream| stream["ssrc"].to_string()).collect();
        assert_eq!(ssrcs.len(), 2);
        // There are two ports.
        let full = gateway.whep(CAMERA, &channel(3), &Player::offer()).await;
        full.is_problem(503, "no_capacity", "media");
        for player in &players {
            assert_eq!(gateway.ask(Method::DELETE, &player.location).await.status.as_u16(), 200);
        }
        no_streams(&gateway).await;
        // The BYE is lost twice, and comes again; the camera goes on sending all the same.
        let mut ended = BTreeSet::new();
        let mut heard = BTreeMap::new();
        while ended.len() < 2 {
            let request = device.asked().await;
            if request.start.starts_with("BYE ") {
                let call = request.header("call-id").to_owned();
                let times: &mut u32 = heard.entry(call.clone()).or_default();
                *times += 1;
                if *times == 3 {
                    device.answer(&request, "200 OK", "", b"").await;
                    ended.insert(call);
                }
            } else {
                device.answer(&request, "200 OK", "", b"").await;
            }
        }
        assert!(ended.is_subset(&ids), "{ended:?} of {ids:?}");
        until("the end of the calls", async || {
            let calls = gateway.get("/api/v1/node").await["load"]["calls"].clone();
            if calls == 0 { Ok(()) } else { Err(calls.to_string()) }
        })
        .await;
        // Their ports have rested: the next round gets them, and what orphans send there is no picture of its own.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(gateway.media_ports(), Vec::<u16>::new());
    }
    drop(orphans);
    // A 200 that comes after everybody gave up is acknowledged and ended, or the camera would send for ever.
    let late = async {
        let invite = device.invited().await;
        device.answer(&invite, "100 Trying", "", b"").await;
        let cancel = loop {
            let request = device.asked().await;
            if request.start.starts_with("CANCEL ") {
                break request;
            }
        };
        assert_eq!(cancel.parameter("via", "branch"), invite.parameter("via", "branch"));
        device.answer(&cancel, "200 OK", "", b"").await;
        device.take_call(&invite, "127.0.0.1:9".parse().unwrap()).await;
        let bye = device.asked_for("BYE ").await;
        assert_eq!(bye.header("call-id"), invite.header("call-id"));
    };
    let offer = Player::offer();
    let (refused, ()) = tokio::join!(gateway.whep(CAMERA, CHANNEL, &offer), late);
    refused.is_problem(504, "invite_timeout", "invite");
}

/// How a packet is framed on a connection.
fn framed(packet: &[u8], dollar: bool) -> Vec<u8> {
    let length = (packet.len() as u16).to_be_bytes();
    let head = if dollar { vec![b'$', 0, length[0], length[1]] } else { length.to_vec() };
    [head, packet.to_vec()].concat()
}

/// Sends pictures over a connection, spoilt now and then; in pieces that fit nothing.
async fn pour(mut stream: TcpStream, mut footage: Footage, pictures: usize) {
    stream.set_nodelay(true).unwrap();
    for number in 0..pictures {
        let mut bytes = Vec::new();
        for (index, packet) in footage.picture().into_iter().enumerate() {
            let framing = framed(&packet, number % 30 >= 20);
            match (number % 30, index) {
                // Garbage before a packet, a packet that is shorter than its length, and a length too many.
                (8, 0) => bytes.extend([&[0x5A; 333][..], &framing].concat()),
                (14, 0) => bytes.extend(&framing[..framing.len() / 2]),
                (25, 0) => bytes.extend([&[0x03, 0xE8][..], &framing].concat()),
                _ => bytes.extend(framing),
            }
        }
        for piece in bytes.chunks(701) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(PICTURE).await;
    }
}

/// Pain 12: media over TCP: broken lengths, half packets, `$` framing: seen, taken up again, counted.
#[tokio::test]
async fn pain_12_tcp_media_framing() {
    let gateway = Gateway::start(&[("media.default_transport", "tcp-passive")]).await;
    // Two simulated cameras: one frames as RTSP does, the other puts garbage between packets.
    let mut running = Vec::new();
    for (id, quirk) in [("34020000001320000011", "dollar-framing"), ("34020000001320000012", "tcp-garbage")] {
        let process = camera(&gateway, id, "tcp", quirk).await;
        running.push((id, process, Player::watch(&gateway, id, CHANNEL).await));
    }
    let mut device = device_with(&gateway, CAMERA, 1).await;
    let serve = async {
        let invite = device.invited().await;
        assert!(invite.text().contains("a=setup:passive"), "{}", invite.text());
        let body = format!(
            "v=0\r\no={CAMERA} 0 0 IN IP4 127.0.0.1\r\ns=Play\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=video 9 TCP/RTP/AVP 96\r\na=setup:active\r\na=connection:new\r\na=sendonly\r\na=rtpmap:96 PS/90000\r\n\
             y={}\r\n",
            invite.sdp("y=")
        );
        device.answer(&invite, "200 OK", "Content-Type: Application/SDP\r\n", body.as_bytes()).await;
        let to = media_address(&invite);
        let ssrc = invite.sdp("y=").parse().unwrap();
        Sending::of(tokio::spawn(async move {
            // The connection breaks once; the device comes back and goes on.
            for pictures in [75, 2_000] {
                pour(TcpStream::connect(to).await.unwrap(), Footage::new(ssrc), pictures).await;
            }
        }))
    };
    let (player, sending) = tokio::join!(Player::watch(&gateway, CAMERA, CHANNEL), serve);
    player.sees("pictures after every fault", |seen| seen.key_frames >= 2 && seen.pictures >= 100).await;
    counts(&gateway, "gbgate_rtp_dropped_total", "reason=\"frame_out_of_step\"", 1.0).await;
    counts(&gateway, "gbgate_rtp_dropped_total", "reason=\"frame_", 3.0).await;
    assert!(!player.seen().closed);
    for (id, _, player) in &running {
        let seen = player.sees_pictures(25).await;
        println!("{id}: {seen:?}");
    }
    drop((sending, running));
    // Nobody is left to answer a BYE.
    gateway.kill().await;
}

/// Pain 13: H.265 and sound in browsers: H.265 where the player can, fMP4 where it cannot, G.711 as it is.
#[tokio::test]
async fn pain_13_h265_and_audio_in_browsers() {
    let gateway = Gateway::start(&[]).await;
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pattern.h265");
    let arguments = ["--first-id", OTHER, "--first-channel", CHANNEL, "--clip", clip.to_str().unwrap()];
    let h265 = simulate(&gateway, "udp", &arguments);
    has_channels(&gateway, OTHER, 1).await;
    // A player without H.265 is told at once, and not left with a black picture.
    let able = Player::offer();
    let unable = able.replace("H265/90000", "VP8/90000");
    let refused = gateway.whep(OTHER, CHANNEL, &unable).await;
    refused.is_problem(406, "no_common_codec", "offer");
    // One that has it gets it.
    assert!(able.contains("H265/90000"), "{able}");
    let answer = gateway.whep(OTHER, CHANNEL, &able).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
    assert!(answer.text.contains("H265/90000") && !answer.text.contains("H264"), "{}", answer.text);
    // And everybody else takes MP4.
    let file = mp4(&gateway, &format!("/live/{OTHER}/{CHANNEL}.mp4"), Duration::from_secs(2)).await;
    let video = &probe(file.path())["streams"][0];
    assert_eq!((&video["codec_name"], &video["width"]), (&json!("hevc"), &json!(160)), "{video}");
    assert!(video["nb_read_frames"].as_str().unwrap().parse::<u32>().unwrap() >= 10, "{video}");
    drop(h265);

    // G.711 goes through WebRTC as it is; MP4 has it for those who ask.
    let h264 = camera(&gateway, CAMERA, "udp", "").await;
    let player = Player::watch(&gateway, CAMERA, CHANNEL).await;
    player.sees("sound", |seen| seen.audio >= 25).await;
    let stream = gateway.streams().await.into_iter().find(|stream| stream["device"] == CAMERA).unwrap();
    assert_eq!(stream["audio"]["codec"], "pcma", "{stream}");
    let offered = Player::offer();
    let answer = gateway.whep(CAMERA, CHANNEL, &offered).await;
    assert!(
        answer.text.contains("PCMA/8000") && !answer.text.to_lowercase().contains("opus"),
        "{}",
        answer.text
    );
    let path = format!("/live/{CAMERA}/{CHANNEL}.mp4");
    let with_sound = format!("{path}?audio=all");
    let while_for = Duration::from_secs(2);
    let (silent, sounding) =
        tokio::join!(mp4(&gateway, &path, while_for), mp4(&gateway, &with_sound, while_for));
    for (query, file, sound) in [("", silent, false), ("?audio=all", sounding, true)] {
        let probed = probe(file.path());
        let codecs: Vec<&str> =
            probed["streams"].as_array().unwrap().iter().map(|s| s["codec_name"].as_str().unwrap()).collect();
        assert_eq!(codecs, if sound { vec!["h264", "pcm_alaw"] } else { vec!["h264"] }, "{query}");
    }
    drop(h264);
}
