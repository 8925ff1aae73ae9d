//! A voice from a browser to a device's loudspeaker: by Broadcast, where the device calls for it, and by Talk. What
//! reaches the device is looked at packet by packet.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, CHANNEL, DOMAIN, Fleet, Gateway, PLATFORM};
use support::happenings::Happenings;
use support::peer::{Peer, SAMPLES, said};
use support::sip::{Device, Sip};
use support::until;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// The device's loudspeaker (137).
const LOUDSPEAKER: &str = "34020000001370000001";
const PCMA: u8 = 8;
/// The SSRC that the device asks for.
const SSRC: u32 = 200_001_234;

fn place() -> String {
    format!("/whip/{CAMERA}/{CHANNEL}")
}

/// Changes how the device is spoken to.
async fn with_manners(gateway: &Gateway, overrides: Value) {
    let path = format!("/api/v1/devices/{CAMERA}");
    let edited = gateway.tell(Method::PATCH, &path, &json!({ "overrides": overrides })).await;
    assert_eq!(edited.json()["overrides"], overrides, "{}", edited.text);
}

async fn nobody_calls(gateway: &Gateway) {
    until("the end of the calls", async || {
        let load = gateway.get("/api/v1/node").await["load"].clone();
        if load["calls"] == 0 && load["viewers"] == 0 { Ok(()) } else { Err(load.to_string()) }
    })
    .await;
    assert!(gateway.streams().await.is_empty());
}

/// What was kept of a voice, once there are so many packets more.
async fn kept(path: &Path, packets: usize) -> Vec<u8> {
    let size = || std::fs::metadata(path).map_or(0, |file| file.len() as usize);
    let before = size();
    until("sound in the file", async || {
        if size() >= before + packets * SAMPLES { Ok(()) } else { Err(format!("{} bytes", size())) }
    })
    .await;
    std::fs::read(path).unwrap()
}

/// Asserts that samples are those that were said, in their order and without a hole.
fn are_as_said(samples: &[u8]) {
    let packets: Vec<u8> = samples
        .chunks_exact(SAMPLES)
        .map(|packet| {
            assert!(packet.iter().all(|sample| *sample == packet[0]), "a packet of several: {packet:02x?}");
            packet[0]
        })
        .collect();
    let first = (0..64).find(|number| said(*number) == packets[0]);
    let first = first.unwrap_or_else(|| panic!("nobody said {:02x}", packets[0]));
    let expected: Vec<u8> = (first..).take(packets.len()).map(said).collect();
    assert_eq!(packets, expected);
}

/// A simulated device hears what is said, by the way that it, or we, have chosen; and DELETE ends it.
async fn is_heard(options: &[&str], overrides: Value, transport: &str) {
    let gateway = Gateway::start(&[]).await;
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("voice.alaw");
    let options = [&["--keep-talk", file.to_str().unwrap()], options].concat();
    let fleet = Fleet { more: &options, ..Fleet::default() }.start(&gateway).await;
    with_manners(&gateway, overrides.clone()).await;
    let peer = Peer::talk(&gateway, &place()).await;
    assert!(peer.sdp.contains("a=recvonly") && peer.sdp.contains("a=rtpmap:8 PCMA/8000"), "{}", peer.sdp);
    are_as_said(&kept(&file, 50).await);
    let stream = gateway.stream("of a voice", |stream| stream["packets"].as_u64() > Some(0)).await;
    assert_eq!(
        [&stream["stream"], &stream["kind"], &stream["state"], &stream["transport"]],
        ["talk", "talk", "running", transport],
        "{stream}"
    );
    // Somebody else has to wait.
    let second = Peer::try_talk(&gateway, &place(), "PCMA").await.err().unwrap();
    second.is_problem(409, "talk_busy", "talk");

    peer.leave(&gateway).await;
    nobody_calls(&gateway).await;
    assert_eq!(gateway.metric("gbgate_sip_messages_total", "direction=\"out\",method=\"BYE\"").await, 1.0);
    // And again, as the other law, which the device does not know.
    let before = std::fs::metadata(&file).unwrap().len() as usize;
    let peer = Peer::try_talk(&gateway, &place(), "PCMU").await.unwrap_or_else(|answer| panic!("{answer:?}"));
    let heard = kept(&file, 20).await[before..].to_vec();
    let louder = |sample: u8| f64::from(a_law(sample));
    let expected: Vec<f64> = (0..64).map(|number| f64::from(mu_law(said(number)))).collect();
    let mut at = None;
    for packet in heard.chunks_exact(SAMPLES) {
        let near = |number: &usize| (louder(packet[0]) / expected[*number] - 1.0).abs() < 0.04;
        // Both laws have steps of 3 percent and more: neighbours may be alike.
        let next = at.map_or_else(|| (0..64).find(near), |last: usize| Some((last + 1) % 64).filter(near));
        assert!(
            next.is_some() && packet.iter().all(|sample| *sample == packet[0]),
            "{at:?}, then {packet:02x?}"
        );
        at = next;
    }
    peer.leave(&gateway).await;
    nobody_calls(&gateway).await;
    drop(fleet);
}

/// The loudness of a sample (ITU-T G.711), as 16 bits.
fn a_law(sample: u8) -> i32 {
    let bits = sample ^ 0x55;
    let (segment, step) = (i32::from(bits >> 4 & 7), i32::from(bits & 15) << 4);
    let size = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if bits & 0x80 == 0 { -size } else { size }
}

fn mu_law(sample: u8) -> i32 {
    let bits = !sample;
    let size = (((i32::from(bits & 15) << 3) + 0x84) << (bits >> 4 & 7)) - 0x84;
    if bits & 0x80 == 0 { size } else { -size }
}

#[tokio::test]
async fn a_broadcast_is_heard_over_udp() {
    is_heard(&["--talk-transport", "udp"], json!({}), "udp").await;
}

#[tokio::test]
async fn a_broadcast_is_heard_where_the_device_connects() {
    is_heard(&["--talk-transport", "tcp-active"], json!({}), "tcp-passive").await;
}

#[tokio::test]
async fn a_broadcast_is_heard_where_the_device_listens() {
    is_heard(&["--talk-transport", "tcp-passive"], json!({}), "tcp-active").await;
}

#[tokio::test]
async fn a_talk_is_heard_over_udp() {
    is_heard(&[], json!({ "talk": "talk", "talk_transport": "udp" }), "udp").await;
}

#[tokio::test]
async fn a_talk_is_heard_over_tcp() {
    is_heard(&[], json!({ "talk": "talk", "talk_transport": "tcp" }), "tcp-passive").await;
}

/// A device of the test's own, with a camera and a loudspeaker.
async fn intercom(gateway: &Gateway) -> Device {
    let mut device = Device::registered(gateway, CAMERA).await;
    let query = device.asked_for("Catalog").await;
    device.page(&query, 2, &[(CHANNEL, "camera"), (LOUDSPEAKER, "loudspeaker")]).await;
    gateway.device(CAMERA, "with its channels", |device| device["channel_count"] == 2).await;
    device
}

/// Waits for the announcement and answers it.
async fn announced(device: &mut Device, result: &str) {
    let notify = device.asked_for("<CmdType>Broadcast").await;
    let elements = ["SourceID", "TargetID"].map(|name| notify.element(name));
    assert_eq!(elements, [PLATFORM, LOUDSPEAKER], "{}", notify.text());
    assert!(notify.text().contains("<Notify>"), "{}", notify.text());
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Response>\r\n<CmdType>Broadcast</CmdType>\r\n<SN>{}</SN>\r\n\
         <DeviceID>{LOUDSPEAKER}</DeviceID>\r\n<Result>{result}</Result>\r\n</Response>\r\n",
        notify.element("SN")
    );
    assert_eq!(device.message(body.as_bytes()).await.code(), 200);
}

/// The device's offer for sound: the transport and what follows the m= line.
fn offer(media: &str, more: &str) -> String {
    format!(
        "v=0\r\no={LOUDSPEAKER} 0 0 IN IP4 127.0.0.1\r\ns=Play\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {media}\r\n\
         a=recvonly\r\n{more}y={SSRC:010}\r\nf=v/////a/1/8/1\r\n"
    )
}

/// The device's INVITE and its final answer.
struct Call {
    invite: String,
    answer: Sip,
}

impl Call {
    /// Calls for the sound, as `from`.
    async fn make(device: &mut Device, from: &str, offer: &str) -> Call {
        let headers =
            format!("Subject: {PLATFORM}:{SSRC:010},{LOUDSPEAKER}:0\r\nContent-Type: Application/SDP\r\n");
        let invite = device.compose("INVITE", &headers, offer.as_bytes());
        let own = format!("<sip:{CAMERA}@{DOMAIN}>");
        let text = String::from_utf8(invite).unwrap();
        let text = text.replacen(&format!("From: {own}"), &format!("From: <sip:{from}@{DOMAIN}>"), 1);
        let text = text.replacen(&format!("To: {own}"), &format!("To: <sip:{PLATFORM}@{DOMAIN}>"), 1);
        let answer = device.exchange(text.as_bytes()).await;
        Call { invite: text, answer }
    }

    fn header(&self, name: &str) -> String {
        let lines = self.invite.lines();
        lines.filter_map(|line| line.strip_prefix(&format!("{name}: "))).next().unwrap().to_owned()
    }

    /// A request in this dialog; ACK has the number of the INVITE.
    async fn say(&self, device: &mut Device, method: &str) {
        let number: u32 = self.header("CSeq").split(' ').next().unwrap().parse().unwrap();
        let number = if method == "ACK" { number } else { number + 100 };
        let request = format!(
            "{method} sip:{PLATFORM}@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {};rport;branch=z9hG4bK{method}{number}\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            device.line.local(),
            self.header("From"),
            self.answer.header("to"),
            self.header("Call-ID"),
        );
        device.line.send(request.as_bytes()).await;
    }

    /// Where the gateway sends from, or listens.
    fn remote(&self) -> SocketAddr {
        let port = self.answer.sdp("m=audio ").split(' ').next().unwrap().parse().unwrap();
        SocketAddr::new(self.answer.sdp("c=IN IP4 ").parse().unwrap(), port)
    }
}

/// Asserts that packets are PCMA of 20 ms each, numbered without gaps, with the SSRC that was agreed; gives the sound.
fn sound(packets: &[Vec<u8>], ssrc: u32) -> Vec<u8> {
    let field = |packet: &[u8], from: usize, to: usize| {
        packet[from..to].iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte))
    };
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!((packet.len(), packet[0]), (12 + SAMPLES, 0x80), "{packet:02x?}");
        assert_eq!((packet[1] & 0x7F, packet[1] & 0x80 != 0), (PCMA, index == 0), "{packet:02x?}");
        assert_eq!(field(packet, 8, 12), ssrc, "{packet:02x?}");
    }
    for two in packets.windows(2) {
        let step = |from, to| field(&two[1], from, to).wrapping_sub(field(&two[0], from, to));
        assert_eq!((step(2, 4) & 0xFFFF, step(4, 8)), (1, SAMPLES as u32));
    }
    packets.iter().flat_map(|packet| packet[12..].to_vec()).collect()
}

async fn datagrams(socket: &UdpSocket, count: usize, from: SocketAddr) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while packets.len() < count {
        let mut buffer = [0; 2_000];
        let received = timeout(support::PATIENCE, socket.recv_from(&mut buffer)).await;
        let (size, source) = received.unwrap_or_else(|_| panic!("{} packets", packets.len())).unwrap();
        assert_eq!(source, from, "sound comes from where the SDP says");
        packets.push(buffer[..size].to_vec());
    }
    packets
}

/// Packets behind their lengths (RFC 4571).
async fn framed(stream: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while packets.len() < count {
        let length = timeout(support::PATIENCE, stream.read_u16()).await;
        let length = length.unwrap_or_else(|_| panic!("{} packets", packets.len())).unwrap();
        let mut packet = vec![0; length.into()];
        stream.read_exact(&mut packet).await.unwrap();
        packets.push(packet);
    }
    packets
}

/// From may be the camera, its loudspeaker or the device itself.
#[tokio::test]
async fn a_broadcast_is_as_the_standard_has_it_whoever_calls() {
    let gateway = Gateway::start(&[]).await;
    let mut device = intercom(&gateway).await;
    for from in [CHANNEL, LOUDSPEAKER, CAMERA] {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let media = format!("{} RTP/AVP 8", socket.local_addr().unwrap().port());
        let answers = async {
            announced(&mut device, "OK").await;
            let call = Call::make(&mut device, from, &offer(&media, "a=rtpmap:8 PCMA/8000\r\n")).await;
            assert_eq!(call.answer.code(), 200, "{from}: {:?}", call.answer);
            let sdp = call.answer.text();
            assert_eq!(call.answer.header("content-type").to_lowercase(), "application/sdp");
            assert!(call.answer.header("contact").starts_with(&format!("<sip:{PLATFORM}@")));
            assert!(sdp.contains("a=sendonly") && sdp.contains("a=rtpmap:8 PCMA/8000"), "{sdp}");
            assert!(call.answer.sdp("m=audio ").ends_with(" RTP/AVP 8"), "{sdp}");
            assert_eq!(
                (call.answer.sdp("y="), call.answer.sdp("s=")),
                (format!("{SSRC:010}"), "Play".to_owned())
            );
            call.say(&mut device, "ACK").await;
            call
        };
        let place = place();
        let (peer, call) = tokio::join!(Peer::talk(&gateway, &place), answers);
        are_as_said(&sound(&datagrams(&socket, 50, call.remote()).await, SSRC));

        let ((), bye) = tokio::join!(peer.leave(&gateway), device.asked_for("BYE"));
        assert_eq!(bye.header("call-id"), call.header("Call-ID"), "{from}");
        assert_eq!((bye.header("from"), bye.header("to")), (call.answer.header("to"), &*call.header("From")));
        assert!(bye.start.starts_with(&format!("BYE sip:{CAMERA}@{}", device.line.local())), "{}", bye.start);
        nobody_calls(&gateway).await;
    }
}

#[tokio::test]
async fn a_broadcast_over_tcp_is_framed_either_way() {
    let gateway = Gateway::start(&[]).await;
    let mut device = intercom(&gateway).await;
    let place = place();
    // The device connects: RFC 4145 lets it name port 9.
    let answers = async {
        announced(&mut device, "OK").await;
        let call = Call::make(
            &mut device,
            CAMERA,
            &offer("9 TCP/RTP/AVP 8", "a=setup:active\r\na=connection:new\r\n"),
        )
        .await;
        assert_eq!(
            (call.answer.code(), &*call.answer.sdp("a=setup:")),
            (200, "passive"),
            "{}",
            call.answer.text()
        );
        assert!(call.answer.sdp("m=audio ").contains(" TCP/RTP/AVP 8"), "{}", call.answer.text());
        call.say(&mut device, "ACK").await;
        let stream = TcpStream::connect(call.remote()).await.unwrap();
        (call, stream)
    };
    let (peer, (_, mut stream)) = tokio::join!(Peer::talk(&gateway, &place), answers);
    are_as_said(&sound(&framed(&mut stream, 50).await, SSRC));
    let ((), _) = tokio::join!(peer.leave(&gateway), device.asked_for("BYE"));
    nobody_calls(&gateway).await;

    // The device listens.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let media = format!("{} TCP/RTP/AVP 8", listener.local_addr().unwrap().port());
    let answers = async {
        announced(&mut device, "OK").await;
        let call =
            Call::make(&mut device, CAMERA, &offer(&media, "a=setup:passive\r\na=connection:new\r\n")).await;
        assert_eq!(
            (call.answer.code(), &*call.answer.sdp("a=setup:")),
            (200, "active"),
            "{}",
            call.answer.text()
        );
        call.say(&mut device, "ACK").await;
        timeout(support::PATIENCE, listener.accept()).await.unwrap().unwrap().0
    };
    let (peer, mut stream) = tokio::join!(Peer::talk(&gateway, &place), answers);
    are_as_said(&sound(&framed(&mut stream, 50).await, SSRC));
    // A device that closes its connection hears nothing more: the session ends.
    drop(stream);
    device.asked_for("BYE").await;
    peer.sees("the end", |seen| seen.closed).await;
    nobody_calls(&gateway).await;
}

#[tokio::test]
async fn a_talk_is_as_the_standard_has_it() {
    let gateway = Gateway::start(&[]).await;
    let mut device = intercom(&gateway).await;
    with_manners(&gateway, json!({ "talk": "talk", "talk_transport": "udp" })).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let answers = async {
        let invite = device.invited().await;
        let line = |start: &str| invite.sdp(start);
        assert!(invite.start.starts_with(&format!("INVITE sip:{LOUDSPEAKER}@")), "{}", invite.start);
        assert_eq!((line("s="), line("t=")), ("Talk".to_owned(), "0 0".to_owned()), "{}", invite.text());
        assert!(line("m=audio ").ends_with(" RTP/AVP 8"), "{}", invite.text());
        assert!(invite.text().contains("a=sendrecv") && invite.text().contains("a=rtpmap:8 PCMA/8000"));
        let body = format!(
            "v=0\r\no={LOUDSPEAKER} 0 0 IN IP4 127.0.0.1\r\ns=Talk\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 8\r\na=sendrecv\r\na=rtpmap:8 PCMA/8000\r\ny={}\r\n",
            socket.local_addr().unwrap().port(),
            line("y="),
        );
        device.answer(&invite, "200 OK", "Content-Type: Application/SDP\r\n", body.as_bytes()).await;
        device.asked_for("ACK ").await;
        invite
    };
    let place = place();
    let (peer, invite) = tokio::join!(Peer::talk(&gateway, &place), answers);
    let port = invite.sdp("m=audio ").split(' ').next().unwrap().parse().unwrap();
    let packets = datagrams(&socket, 50, SocketAddr::new([127, 0, 0, 1].into(), port)).await;
    are_as_said(&sound(&packets, invite.sdp("y=").parse().unwrap()));
    let ((), bye) = tokio::join!(peer.leave(&gateway), device.asked_for("BYE"));
    assert_eq!(bye.header("call-id"), invite.header("call-id"));
    nobody_calls(&gateway).await;
}

#[tokio::test]
async fn a_device_that_hangs_up_ends_the_voice() {
    let gateway = Gateway::start(&[]).await;
    let happenings = Happenings::follow(&gateway).await;
    let mut device = intercom(&gateway).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let media = format!("{} RTP/AVP 8", socket.local_addr().unwrap().port());
    let answers = async {
        announced(&mut device, "OK").await;
        let call = Call::make(&mut device, LOUDSPEAKER, &offer(&media, "")).await;
        call.say(&mut device, "ACK").await;
        call
    };
    let place = place();
    let (peer, call) = tokio::join!(Peer::talk(&gateway, &place), answers);
    datagrams(&socket, 5, call.remote()).await;
    call.say(&mut device, "BYE").await;
    peer.sees("the end", |seen| seen.closed).await;
    nobody_calls(&gateway).await;
    let ended = happenings.find("stream.ended", |event| event["stream"] == "talk").await;
    assert_eq!(ended["code"], "stream_ended", "{ended}");
    assert!(ended["detail"].as_str().unwrap().contains("BYE"), "{ended}");
}

#[tokio::test]
async fn a_device_may_refuse_or_stay_silent() {
    let gateway = Gateway::start(&[("media.play_timeout", "2s")]).await;
    for (quirks, status, code) in
        [("talk-refused", 502, "talk_refused"), ("talk-silent", 504, "talk_timeout")]
    {
        let fleet = Fleet { quirks, ..Fleet::default() }.start(&gateway).await;
        gateway.device_online(CAMERA, true).await;
        let refused = Peer::try_talk(&gateway, &place(), "PCMA").await.err().unwrap();
        refused.is_problem(status, code, "talk");
        nobody_calls(&gateway).await;
        drop(fleet);
        gateway.device_online(CAMERA, false).await;
    }
    let refused = Peer::try_talk(&gateway, &place(), "PCMA").await.err().unwrap();
    refused.is_problem(409, "device_offline", "registration");
    let nowhere = format!("/whip/{CAMERA}/34020000001310000099");
    let refused = Peer::try_talk(&gateway, &nowhere, "PCMA").await.err().unwrap();
    refused.is_problem(404, "not_found", "lookup");
}

#[tokio::test]
async fn an_invite_that_is_of_no_use_is_refused() {
    let gateway = Gateway::start(&[("media.play_timeout", "2s")]).await;
    let mut device = intercom(&gateway).await;
    // Nobody speaks.
    let uninvited = Call::make(&mut device, CAMERA, &offer("6000 RTP/AVP 8", "")).await;
    assert!((400..500).contains(&uninvited.answer.code()), "{:?}", uninvited.answer);
    // No A-law in it.
    let place = place();
    let answers = async {
        announced(&mut device, "OK").await;
        let call =
            Call::make(&mut device, CAMERA, &offer("6000 RTP/AVP 97", "a=rtpmap:97 G7221/16000\r\n")).await;
        assert_eq!(call.answer.code(), 488, "{:?}", call.answer);
        call.say(&mut device, "ACK").await;
    };
    let (refused, ()) = tokio::join!(Peer::try_talk(&gateway, &place, "PCMA"), answers);
    refused.err().unwrap().is_problem(502, "talk_refused", "talk");
    nobody_calls(&gateway).await;
    // No answer to the announcement at all.
    let unanswered = device.asked_for("<CmdType>Broadcast");
    let (refused, _) = tokio::join!(Peer::try_talk(&gateway, &place, "PCMA"), unanswered);
    refused.err().unwrap().is_problem(504, "talk_timeout", "talk");
    // No ACK: no sound, and an end.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let media = format!("{} RTP/AVP 8", socket.local_addr().unwrap().port());
    let answers = async {
        announced(&mut device, "OK").await;
        let call = Call::make(&mut device, CAMERA, &offer(&media, "")).await;
        assert_eq!(call.answer.code(), 200, "{:?}", call.answer);
    };
    let (refused, ()) = tokio::join!(Peer::try_talk(&gateway, &place, "PCMA"), answers);
    refused.err().unwrap().is_problem(504, "talk_timeout", "talk");
    assert!(
        timeout(Duration::from_millis(1), socket.recv(&mut [0; 2_000])).await.is_err(),
        "sound without ACK"
    );
}

/// A browser's request to speak, with an offer as it is.
async fn asks(gateway: &Gateway, offer: &str) -> support::gateway::Answer {
    let request = gateway.request(Method::POST, &place()).header("content-type", "application/sdp");
    support::gateway::answer(request.body(offer.to_owned())).await
}

#[tokio::test]
async fn an_offer_of_no_use_does_not_bother_the_device() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let offer = Peer::offer_of_sound();
    asks(&gateway, "v=0\r\n").await.is_problem(400, "bad_offer", "request");
    let other = offer.replace(" PCMA/8000", " G726/8000").replace(" PCMU/8000", " G728/8000");
    asks(&gateway, &other).await.is_problem(406, "no_common_codec", "offer");
    asks(&gateway, &offer.replace("a=sendrecv", "a=recvonly")).await.is_problem(
        406,
        "no_common_codec",
        "offer",
    );
    nobody_calls(&gateway).await;
    let messages = gateway.metric("gbgate_sip_messages_total", "direction=\"in\",method=\"INVITE\"").await;
    assert_eq!(messages, 0.0, "the device called for a voice that was not there");
    drop(fleet);
}

/// A page that is left while the device is being asked.
#[tokio::test]
async fn a_speaker_who_gives_up_leaves_nothing_behind() {
    let gateway = Gateway::start(&[("media.no_reader_timeout", "1s")]).await;
    let mut device = intercom(&gateway).await;
    let request = gateway.request(Method::POST, &place()).header("content-type", "application/sdp");
    let request = request.body(Peer::offer_of_sound()).timeout(Duration::from_millis(500));
    assert!(request.send().await.is_err(), "nobody has answered yet");
    announced(&mut device, "OK").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let media = format!("{} RTP/AVP 8", socket.local_addr().unwrap().port());
    let call = Call::make(&mut device, CAMERA, &offer(&media, "")).await;
    call.say(&mut device, "ACK").await;
    if call.answer.code() == 200 {
        device.asked_for("BYE").await;
    }
    nobody_calls(&gateway).await;
    // The loudspeaker is free.
    let answers = async {
        announced(&mut device, "OK").await;
        let call = Call::make(&mut device, CAMERA, &offer(&media, "")).await;
        call.say(&mut device, "ACK").await;
        call
    };
    let place = place();
    let (_peer, call) = tokio::join!(Peer::talk(&gateway, &place), answers);
    datagrams(&socket, 5, call.remote()).await;
    // Nobody is left to answer its BYE.
    gateway.kill().await;
}

/// Some devices want to hear right after the 200, and never acknowledge it.
#[tokio::test]
async fn sound_may_begin_without_an_ack() {
    let gateway = Gateway::start(&[]).await;
    let mut device = intercom(&gateway).await;
    with_manners(&gateway, json!({ "talk_start": "after-ok" })).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let media = format!("{} RTP/AVP 0 8 97", socket.local_addr().unwrap().port());
    let answers = async {
        announced(&mut device, "OK").await;
        let call = Call::make(&mut device, CAMERA, &offer(&media, "a=rtpmap:97 G7221/16000\r\n")).await;
        assert_eq!((call.answer.code(), call.answer.sdp("m=audio ").ends_with(" RTP/AVP 8")), (200, true));
        call
    };
    let place = place();
    let (_peer, call) = tokio::join!(Peer::talk(&gateway, &place), answers);
    are_as_said(&sound(&datagrams(&socket, 25, call.remote()).await, SSRC));
    // Nobody is left to answer its BYE.
    gateway.kill().await;
}

#[tokio::test]
async fn a_speaker_who_vanishes_is_noticed() {
    let gateway = Gateway::start(&[]).await;
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("voice.alaw");
    let options = ["--keep-talk", file.to_str().unwrap()];
    let fleet = Fleet { more: &options, ..Fleet::default() }.start(&gateway).await;
    let peer = Peer::talk(&gateway, &place()).await;
    kept(&file, 10).await;
    // No goodbye, as of a computer that was switched off.
    drop(peer);
    nobody_calls(&gateway).await;
    assert_eq!(gateway.metric("gbgate_sip_messages_total", "direction=\"out\",method=\"BYE\"").await, 1.0);
    // The loudspeaker is free again.
    Peer::talk(&gateway, &place()).await;
    drop(fleet);
}
