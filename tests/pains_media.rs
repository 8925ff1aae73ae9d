//! What hurts users of other platforms in media and in cascades, each pain with a test of its name; those of signalling
//! are in `pains.rs`.

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
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, CHANNEL, Gateway, PLATFORM};
use support::player::Player;
use support::sip::{Device, ELSEWHERE, LOOPBACK, Line, Sip};
use support::wild::{
    Footage, PICTURE, Sending, catalog, channel, counts, finding, has_channels, item, media_address, mp4,
    no_streams, plain, probe, query, send_pictures, sent, simulate,
};
use support::{Leashed, until};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

const OTHER: &str = "34020000001320000002";

/// A registered device with so many channels.
async fn device_with(gateway: &Gateway, id: &str, channels: usize) -> Device {
    let mut device = Device::registered(gateway, id).await;
    let sn = query(&mut device).await;
    let items: Vec<String> = (1..=channels).map(|n| plain(&channel(n), &format!("n{n}"), id)).collect();
    device.message(catalog(id, &sn, channels, &items, "GB2312").as_bytes()).await;
    has_channels(gateway, id, channels).await;
    device
}

/// A camera of the simulator's that misbehaves in one way.
async fn camera(gateway: &Gateway, id: &str, transport: &str, quirks: &str) -> Leashed {
    let mut arguments = vec!["--first-id", id, "--first-channel", CHANNEL];
    if !quirks.is_empty() {
        arguments.extend(["--quirks", quirks]);
    }
    let process = simulate(gateway, transport, &arguments);
    has_channels(gateway, id, 1).await;
    process
}

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
        device.asked_for("CANCEL ").await;
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
        tokio::spawn(async move {
            // The connection breaks once; the device comes back and goes on.
            for pictures in [75, 2_000] {
                pour(TcpStream::connect(to).await.unwrap(), Footage::new(ssrc), pictures).await;
            }
        })
    };
    let (player, sending) = tokio::join!(Player::watch(&gateway, CAMERA, CHANNEL), serve);
    let sending = Sending::of(sending);
    player.sees("pictures after every fault", |seen| seen.key_frames >= 2 && seen.pictures >= 100).await;
    counts(&gateway, "gbgate_rtp_dropped_total", "reason=\"frame_out_of_step\"", 1.0).await;
    counts(&gateway, "gbgate_rtp_dropped_total", "reason=\"frame_", 3.0).await;
    assert!(!player.seen().closed);
    for (id, _, player) in &running {
        let seen = player.sees_pictures(25).await;
        println!("{id}: {seen:?}");
    }
    drop((sending, running));
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
    let offer = Player::offer();
    let refused = gateway.whep(OTHER, CHANNEL, &offer).await;
    refused.is_problem(406, "no_common_codec", "offer");
    // One that has it gets it.
    let able: String = offer.replace("H264/90000", "H265/90000");
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
    for (query, sound) in [("", false), ("?audio=all", true)] {
        let file =
            mp4(&gateway, &format!("/live/{CAMERA}/{CHANNEL}.mp4{query}"), Duration::from_secs(2)).await;
        let probed = probe(file.path());
        let codecs: Vec<&str> =
            probed["streams"].as_array().unwrap().iter().map(|s| s["codec_name"].as_str().unwrap()).collect();
        assert_eq!(codecs, if sound { vec!["h264", "pcm_alaw"] } else { vec!["h264"] }, "{query}");
    }
    drop(h264);
}

/// The whole tree below a node: each item with the names of those above it, and what it is said to have below.
async fn walk(gateway: &Gateway, device: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![(device.to_owned(), Vec::new())];
    while let Some((parent, above)) = open.pop() {
        let level = gateway.get(&format!("/api/v1/tree?limit=1000&parent={parent}")).await;
        for item in level["items"].as_array().unwrap() {
            let id = item["id"].as_str().unwrap().to_owned();
            assert!(found.insert(id.clone(), above.clone()).is_none(), "{id} is there twice");
            if item["children"].as_u64().unwrap() > 0 {
                let above = above.iter().cloned().chain([id]).collect();
                open.push((item["node"].as_str().unwrap().to_owned(), above));
            }
        }
    }
    found
}

/// Pain 14, facing down: a lower platform's tree of three levels comes through whole, in whatever order, and ids that
/// mean something on both sides do not confuse. (What is told to upper platforms is to come.)
#[tokio::test]
async fn pain_14_cascade() {
    let gateway = Gateway::start(&[]).await;
    let lower = "34020000002000000099";
    let (group, top, middle, bottom) =
        ("34020000002150000001", "34020000002160000001", "34020000002160000002", "34020000002160000003");
    // A camera that is registered here directly, too; its own channel has the id of one of the lower platform's.
    let mut direct = device_with(&gateway, CAMERA, 1).await;
    let folder = |id: &str, parent: &str, group: &str| {
        item(&[("DeviceID", id), ("Name", id), ("ParentID", parent), ("BusinessGroupID", group)])
    };
    let leaf = |number: usize, more: &[(&str, &str)]| {
        let id = channel(number);
        let mut fields =
            vec![("DeviceID", id.as_str()), ("Name", "n"), ("Manufacturer", "Maker"), ("Status", "ON")];
        fields.extend(more);
        item(&fields)
    };
    let items = [
        item(&[("DeviceID", "3402"), ("Name", "city")]),
        item(&[("DeviceID", "340200"), ("Name", "district"), ("CivilCode", "3402")]),
        item(&[("DeviceID", "34020001"), ("Name", "village"), ("CivilCode", "340200")]),
        folder(group, lower, ""),
        folder(top, group, group),
        folder(middle, top, group),
        folder(bottom, middle, group),
        // By organisation, with the device before it, by organisation alone, by group, by region, by nothing.
        leaf(
            1,
            &[
                ("ParentID", &format!("{lower}/{bottom}")),
                ("BusinessGroupID", group),
                ("CivilCode", "34020001"),
            ],
        ),
        leaf(2, &[("ParentID", middle), ("CivilCode", "34020001")]),
        leaf(3, &[("BusinessGroupID", group)]),
        leaf(4, &[("ParentID", lower), ("CivilCode", "34020001")]),
        leaf(5, &[]),
        // Itself, us, and a camera that is a device of ours.
        item(&[("DeviceID", lower), ("Name", "itself"), ("ParentID", lower)]),
        item(&[("DeviceID", PLATFORM), ("Name", "us"), ("ParentID", lower), ("Status", "ON")]),
        item(&[("DeviceID", CAMERA), ("Name", "theirs"), ("ParentID", bottom), ("Status", "ON")]),
    ];
    let under = |above: &[&str]| above.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let wanted: BTreeMap<String, Vec<String>> = [
        ("3402", under(&[])),
        ("340200", under(&["3402"])),
        ("34020001", under(&["3402", "340200"])),
        (group, under(&[])),
        (top, under(&[group])),
        (middle, under(&[group, top])),
        (bottom, under(&[group, top, middle])),
        (&channel(1), under(&[group, top, middle, bottom])),
        (&channel(2), under(&[group, top, middle])),
        (&channel(3), under(&[group])),
        (&channel(4), under(&["3402", "340200", "34020001"])),
        (&channel(5), under(&[])),
        (lower, under(&[])),
        (PLATFORM, under(&[])),
        (CAMERA, under(&[group, top, middle, bottom])),
    ]
    .map(|(id, above)| (id.to_owned(), above))
    .into();
    let mut device = Device::registered(&gateway, lower).await;
    // Children first, then parents first.
    for reversed in [true, false] {
        let path = format!("/api/v1/devices/{lower}/catalog");
        let pages = async {
            let sn = query(&mut device).await;
            let mut pages: Vec<&[String]> = items.chunks(2).collect();
            if reversed {
                pages.reverse();
            }
            for (number, page) in pages.into_iter().enumerate() {
                device.message(catalog(lower, &sn, items.len(), page, "GB2312").as_bytes()).await;
                if number == 3 {
                    // It takes us for one of its own and asks for our catalog, with the same SN: that is no page.
                    let asks = format!(
                        "<Query><CmdType>Catalog</CmdType><SN>{sn}</SN><DeviceID>{PLATFORM}</DeviceID></Query>"
                    );
                    assert_eq!(device.message(asks.as_bytes()).await.code(), 200);
                }
            }
        };
        let (answer, ()) = tokio::join!(gateway.ask(Method::POST, &path), pages);
        assert_eq!(answer.json(), json!({ "received": 15, "total": 15, "complete": true }));
        until("the whole tree", async || {
            let found = walk(&gateway, lower).await;
            if found == wanted { Ok(()) } else { Err(format!("{found:#?}")) }
        })
        .await;
    }
    // The camera of the same id, here and there: each call finds its own way.
    let offer = Player::offer();
    for (id, target) in [(CAMERA, CHANNEL), (lower, CAMERA)] {
        let holder = if id == CAMERA { &mut direct } else { &mut device };
        let serve = async {
            let invite = holder.invited().await;
            holder.answer(&invite, "486 Busy Here", "", b"").await;
            invite
        };
        let (refused, invite) = tokio::join!(gateway.whep(id, target, &offer), serve);
        refused.is_problem(502, "invite_refused", "invite");
        assert!(invite.start.starts_with(&format!("INVITE sip:{target}@")), "{invite:?}");
    }
    // What the lower platform says of that camera is not said of our device.
    let off = format!(
        "<Notify><CmdType>Catalog</CmdType><SN>9</SN><DeviceID>{lower}</DeviceID><SumNum>1</SumNum><DeviceList Num=\"1\">\
         <Item><DeviceID>{CAMERA}</DeviceID><Event>OFF</Event></Item></DeviceList></Notify>"
    );
    assert_eq!(device.message(off.as_bytes()).await.code(), 200);
    until("the channel to be off", async || {
        let theirs = gateway.get(&format!("/api/v1/devices/{lower}/channels/{CAMERA}")).await;
        if theirs["online"] == false { Ok(()) } else { Err(theirs.to_string()) }
    })
    .await;
    assert_eq!(gateway.get(&format!("/api/v1/devices/{CAMERA}")).await["online"], true);
    // Nobody may be us.
    assert_eq!(Device::udp(&gateway, PLATFORM).await.try_register(3600, None).await.code(), 403);

    // A simulated platform with every mixture of a tree: nothing lost, nothing twice.
    let other = "34020000002000000055";
    let fleet =
        simulate(&gateway, "udp", &["--tree", "--channels", "600", "--first-id", other, "--page", "40"]);
    has_channels(&gateway, other, 600).await;
    let found = walk(&gateway, other).await;
    let cameras = found.iter().filter(|(id, _)| id.get(10..13) == Some("131")).collect::<Vec<_>>();
    assert_eq!(cameras.len(), 600);
    assert!(cameras.iter().any(|(_, above)| above.len() >= 3), "no camera at the third level");
    drop(fleet);
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
    for (id, quirk) in [(CAMERA, ""), (OTHER, "recorded-times")] {
        let process = camera(&gateway, id, "udp", quirk).await;
        for speed in [1.0, 4.0, 0.5] {
            let wanted = json!({
                "device": id, "channel": CHANNEL, "speed": speed,
                "start": "2026-05-01T08:00:00+08:00", "end": "2026-05-01T09:00:00+08:00",
            });
            let began = gateway.tell(Method::POST, "/api/v1/playbacks", &wanted).await;
            assert_eq!(began.status.as_u16(), 201, "{quirk} {speed}: {}", began.text);
            let playback = began.json();
            let time = Instant::now();
            let file = mp4(&gateway, playback["mp4"].as_str().unwrap(), Duration::from_secs(3)).await;
            let took = time.elapsed().as_secs_f64();
            let probed = probe(file.path());
            let stamps: Vec<f64> = probed["packets"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|packet| packet["codec_type"] == "video")
                .map(|packet| packet["dts_time"].as_str().unwrap().parse().unwrap())
                .collect();
            assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{quirk} {speed}: {stamps:?}");
            let lasted = stamps.last().unwrap() - stamps.first().unwrap();
            assert!(
                lasted > 1.0 && lasted < took + 1.0,
                "{quirk} {speed}: {lasted} s of pictures in {took} s"
            );
            let position = gateway.get(began.header("location")).await["position"].as_f64().unwrap();
            println!("{quirk} at {speed}: {} pictures, {lasted:.2} s, now at {position:.2} s", stamps.len());
            assert_eq!(gateway.ask(Method::DELETE, began.header("location")).await.status.as_u16(), 204);
        }
        drop(process);
    }
}
