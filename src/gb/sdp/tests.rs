mod departure;
mod history;
mod voice;

use proptest::prelude::*;

use super::*;
use crate::gb::id::Id;

const OFFER: &str = "v=0\r\no=34020000001310000001 0 0 IN IP4 192.0.2.10\r\ns=Play\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
    m=video 30000 RTP/AVP 96 97 98 99\r\na=recvonly\r\na=rtpmap:96 PS/90000\r\na=rtpmap:97 MPEG4/90000\r\n\
    a=rtpmap:98 H264/90000\r\na=rtpmap:99 H265/90000\r\ny=0200001234\r\n";
const ANSWER: &str = "v=0\r\no=34020000001310000001 0 0 IN IP4 192.0.2.20\r\ns=Play\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    m=video 15060 RTP/AVP 96\r\na=sendonly\r\na=rtpmap:96 PS/90000\r\ny=0200001234\r\n";

fn camera() -> Id {
    Id::parse("34020000001310000001").unwrap()
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn offer(mode: MediaMode) -> Sdp {
    Sdp::live_offer(&camera(), socket("192.0.2.10:30000"), mode, 200_001_234)
}

fn text(sdp: &Sdp) -> String {
    String::from_utf8(sdp.to_bytes().to_vec()).unwrap()
}

fn read(text: &str) -> Sdp {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn offer_and_answer_over_udp() {
    let offer = offer(MediaMode::Udp);
    assert_eq!(text(&offer), OFFER);
    assert_eq!(read(OFFER), offer);
    let answer = Sdp::answer_to(&offer, &camera(), socket("192.0.2.20:15060")).unwrap();
    assert_eq!(text(&answer), ANSWER);
    assert_eq!(read(ANSWER), answer);
    assert_eq!(offer.path(&answer), Ok(Path::Receive { from: Some(socket("192.0.2.20:15060")) }));
    assert_eq!(offer.source_path(), Ok(SourcePath::Send { to: socket("192.0.2.10:30000") }));
    assert_eq!(offer.agreed_ssrc(&answer), Some(200_001_234));
}

#[test]
fn roles_over_tcp() {
    let platform = socket("192.0.2.10:30000");
    let device = socket("192.0.2.20:15060");
    for (mode, ours, theirs, path, source) in [
        (
            MediaMode::TcpPassive,
            "passive",
            "active",
            Path::Accept { from: Some(device) },
            SourcePath::Connect { to: platform },
        ),
        (MediaMode::TcpActive, "active", "passive", Path::Connect { to: device }, SourcePath::Accept),
    ] {
        let offer = offer(mode);
        let answer = Sdp::answer_to(&offer, &camera(), device).unwrap();
        let says = |sdp: &Sdp, part: &str| {
            let text = text(sdp);
            text.contains(" TCP/RTP/AVP 96")
                && text.contains(&format!("a=setup:{part}\r\na=connection:new\r\n"))
        };
        assert!(says(&offer, ours) && says(&answer, theirs));
        assert_eq!((read(&text(&offer)), read(&text(&answer))), (offer.clone(), answer.clone()));
        assert_eq!((offer.path(&answer), offer.source_path()), (Ok(path), Ok(source)));
        // The device that repeats our part, and the one that says UDP, do not change theirs.
        let mut echo = answer.clone();
        echo.media[0].setup = offer.media[0].setup;
        assert_eq!(offer.path(&echo), Ok(path));
        echo.media[0].transport = MediaTransport::Udp;
        assert_eq!(offer.path(&echo), Ok(path));
    }
}

#[test]
fn no_path() {
    let active = offer(MediaMode::TcpActive);
    let mut answer = read(ANSWER);
    answer.address = None;
    assert_eq!(active.path(&answer), Err(NoPath::NoAddress));
    answer.address = Some([0, 0, 0, 0].into());
    assert_eq!(active.path(&answer), Err(NoPath::NoAddress));
    assert_eq!(offer(MediaMode::Udp).path(&answer), Ok(Path::Receive { from: None }));
    answer.media[0].port = 0;
    assert_eq!(active.path(&answer), Err(NoPath::Rejected));
    assert_eq!(answer.source_path(), Err(NoPath::Rejected));
    let audio = read("m=audio 4000 RTP/AVP 8\r\n");
    assert_eq!(Sdp::answer_to(&audio, &camera(), socket("[::1]:9")), Err(NoPath::Rejected));
}

#[test]
fn ssrc_of_the_answer() {
    let offer = offer(MediaMode::Udp);
    let agreed = |y: &str| offer.agreed_ssrc(&read(&format!("m=video 9 RTP/AVP 96\r\n{y}")));
    assert_eq!(agreed("y=100000001\r\n"), Some(100_000_001));
    for y in ["", "y=\r\n", "y=0000000000\r\n", "y=99999999999\r\n"] {
        assert_eq!(agreed(y), Some(200_001_234), "{y}");
    }
}

#[test]
fn what_devices_send() {
    // Bare LF, y= and a= before m=, an address of the medium, rtpmap out of order and of types not offered.
    let sdp = read(
        "v=0\no=- 0 0 IN IP4 10.0.0.9\ns=Embedded Net DVR\ny=0100000001\na=sendonly\na=setup:ACTIVE\nt=0 0\n\
         m=VIDEO 62000/2 tcp/rtp/avp 98 96 x\nc=IN IP4 192.0.2.30/127\na=rtpmap:96 PS/90000\na=rtpmap:98  H264\n\
         a=rtpmap:126 H264/90000\na=filesize:7340032\na=username:x\nf=v/2/6/25/1/4096a///\n\
         m=audio 0 RTP/AVP 8 0\nb=AS:64\njunk\nq=1\0\0",
    );
    let [video, audio] = sdp.media.as_slice() else { panic!("{sdp:?}") };
    assert_eq!((video.kind.as_str(), video.port, video.transport), ("video", 62_000, MediaTransport::Tcp));
    assert_eq!(video.payloads, [Payload::new(98, "H264", 90_000), Payload::new(96, "PS", 90_000)]);
    assert_eq!((video.direction, video.setup), (Some(Direction::SendOnly), Some(Setup::Active)));
    assert_eq!((video.attribute("FileSize"), video.attribute("none")), (Some("7340032"), None));
    assert_eq!(sdp.address_of(video), Some(socket("192.0.2.30:62000")));
    assert_eq!((sdp.ssrc, sdp.format.as_deref()), (Some(100_000_001), Some("v/2/6/25/1/4096a///")));
    assert_eq!(audio.payloads, [Payload::new(8, "PCMA", 8000), Payload::new(0, "PCMU", 8000)]);
    assert_eq!((audio.port, sdp.address_of(audio)), (0, None));

    let gb = parse(b"s=\xC9\xE3\xCF\xF1\r\nc=IN IP6 2001:db8::1\r\nm=video 6000 RTP/AVP 96\r\n").unwrap();
    assert_eq!(gb.address_of(&gb.media[0]), Some(socket("[2001:db8::1]:6000")));
    assert_eq!(gb.media[0].payloads, [Payload::new(96, "PS", 90_000)]);
}

#[test]
fn recordings() {
    let mut sdp = offer(MediaMode::Udp);
    sdp.session = "Download".into();
    sdp.uri = Some("34020000001310000001:0".into());
    sdp.time = (1_714_521_600, 1_714_525_200);
    sdp.media[0] = sdp.media[0].clone().with_attribute("downloadspeed", "4");
    let written = text(&sdp);
    assert!(written.contains("s=Download\r\nu=34020000001310000001:0\r\nc="), "{written}");
    assert!(written.contains("t=1714521600 1714525200\r\n") && written.contains("a=downloadspeed:4\r\n"));
    assert_eq!(read(&written), sdp);
}

#[test]
fn nothing_breaks_out_of_its_line() {
    let mut sdp = offer(MediaMode::Udp);
    sdp.owner = "a b\r\nc=IN IP4 203.0.113.1".into();
    sdp.session = "x\r\nm=video 1 RTP/AVP 96".into();
    sdp.uri = Some("\n".into());
    sdp.media[0].kind = String::new();
    let again = read(&text(&sdp));
    assert_eq!((again.media.len(), again.address), (1, sdp.address));
    assert_eq!((again.owner.as_str(), again.media[0].kind.as_str()), ("abc=INIP4203.0.113.1", "-"));
}

#[test]
fn refuses_and_bounds() {
    assert_eq!(parse(b""), Err(BadSdp::NoMedia));
    assert_eq!(parse(b"v=0\r\ns=Play\r\n"), Err(BadSdp::NoMedia));
    assert_eq!(parse(b"m=video x RTP/AVP 96"), Err(BadSdp::BadMedia));
    assert_eq!(parse(b"m="), Err(BadSdp::BadMedia));
    assert_eq!(parse(b"m=video 70000 RTP/AVP 96"), Err(BadSdp::BadMedia));
    assert_eq!(parse(&vec![b'\n'; MAX_SIZE + 1]), Err(BadSdp::TooLarge));
    let medium = "m=video 1 RTP/AVP 96\n";
    assert_eq!(parse(medium.repeat(MAX_MEDIA).as_bytes()).map(|sdp| sdp.media.len()), Ok(MAX_MEDIA));
    assert_eq!(parse(medium.repeat(MAX_MEDIA + 1).as_bytes()), Err(BadSdp::TooMany));
    let attributes = "a=x\n".repeat(MAX_ATTRIBUTES + 1);
    assert_eq!(parse(format!("{medium}{attributes}").as_bytes()), Err(BadSdp::TooMany));
    assert_eq!(parse(format!("{attributes}{medium}").as_bytes()), Err(BadSdp::TooMany));
    let payloads = " 96".repeat(MAX_PAYLOADS + 1);
    assert_eq!(parse(format!("m=video 1 RTP/AVP{payloads}").as_bytes()), Err(BadSdp::TooMany));
}

#[test]
fn modes_have_names() {
    for mode in [MediaMode::Udp, MediaMode::TcpPassive, MediaMode::TcpActive] {
        assert_eq!(mode.to_string().parse(), Ok(mode));
        assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
    }
    assert_eq!("tcp".parse::<MediaMode>(), Err(UnknownMode));
}

fn any_media() -> impl Strategy<Value = Media> {
    let payload = (any::<u8>(), "[A-Z0-9]{1,8}", 1u32..200_000).prop_map(|(pt, name, clock)| Payload {
        pt,
        name,
        clock,
    });
    let payloads = proptest::collection::vec(payload, 0..6).prop_map(|mut payloads| {
        payloads.sort_by_key(|p| p.pt);
        payloads.dedup_by_key(|p| p.pt);
        payloads
    });
    let attribute = ("x-[a-z]{1,8}", proptest::option::of("[!-~]([ -~]{0,10}[!-~])?"));
    (
        "(video|audio)",
        any::<u16>(),
        any::<bool>(),
        payloads,
        proptest::option::of(proptest::sample::select(Direction::ALL.as_slice())),
        proptest::option::of(proptest::sample::select([Setup::Active, Setup::Passive].as_slice())),
        proptest::option::of(any::<IpAddr>()),
        proptest::collection::vec(attribute, 0..4),
    )
        .prop_map(|(kind, port, tcp, payloads, direction, setup, address, attributes)| {
            let transport = if tcp { MediaTransport::Tcp } else { MediaTransport::Udp };
            Media { kind, port, transport, payloads, direction, setup, address, attributes }
        })
}

proptest! {
    #[test]
    fn written_and_read_again(
        owner in "[0-9A-Za-z]{1,20}",
        session in "[A-Za-z\u{4e00}-\u{9fa5}]([ -~\u{4e00}-\u{9fa5}]{0,10}[a-z])?",
        address in proptest::option::of(any::<IpAddr>()),
        time: (u64, u64),
        uri in proptest::option::of("[0-9]{20}:[0-9]"),
        media in proptest::collection::vec(any_media(), 1..4),
        ssrc: Option<u32>,
        format in proptest::option::of("v/[0-9/]{1,10}a///"),
    ) {
        let sdp = Sdp { owner, session, address, time, uri, media, ssrc, format };
        prop_assert_eq!(parse(&sdp.to_bytes()), Ok(sdp));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "([vosuctmbayf]=|m=video |m=audio 1 RTP/AVP |a=rtpmap:|[0-9]{1,6}|IN IP4 |[ /:\r\n]|\\PC){0,40}") {
        if let Ok(sdp) = parse(text.as_bytes()) {
            // What was read, once written, says the same ever after.
            let written = sdp.to_bytes();
            let again = parse(&written).unwrap();
            prop_assert_eq!(parse(&again.to_bytes()), Ok(again));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}
