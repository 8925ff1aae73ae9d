use super::*;

const BROADCAST: &str = "v=0\r\no=34020000001370000001 0 0 IN IP4 192.0.2.20\r\ns=Play\r\nc=IN IP4 192.0.2.20\r\n\
    t=0 0\r\nm=audio 40000 RTP/AVP 8\r\na=recvonly\r\na=rtpmap:8 PCMA/8000\r\ny=0200001234\r\nf=v/////a/1/8/1\r\n";

fn speaker() -> Id {
    Id::parse("34020000001370000001").unwrap()
}

fn platform() -> Id {
    Id::parse("34020000002000000001").unwrap()
}

#[test]
fn a_broadcast_as_in_the_standard() {
    let offer = Sdp::broadcast_offer(&speaker(), socket("192.0.2.20:40000"), MediaMode::Udp, 200_001_234);
    assert_eq!(text(&offer), BROADCAST);
    let offer = read(BROADCAST);
    let answer = Sdp::broadcast_answer(&offer, &platform(), socket("192.0.2.10:30002"), 7).unwrap();
    let expected = BROADCAST
        .replace("34020000001370000001", "34020000002000000001")
        .replace("192.0.2.20", "192.0.2.10")
        .replace("40000", "30002")
        .replace("recvonly", "sendonly");
    assert_eq!(text(&answer), expected);
    assert_eq!(offer.voice_path(), Ok(SourcePath::Send { to: socket("192.0.2.20:40000") }));
    assert_eq!(offer.voice_payload(), Ok(8));
}

#[test]
fn the_offer_decides_who_connects() {
    let tcp = |setup: &str, port: u16| {
        let medium = format!("m=audio {port} TCP/RTP/AVP 8\r\na=setup:{setup}\r\na=connection:new");
        read(&BROADCAST.replace("m=audio 40000 RTP/AVP 8", &medium))
    };
    for (offer, path, setup) in [
        (tcp("active", 9), SourcePath::Accept, Setup::Passive),
        (tcp("active", 0), SourcePath::Accept, Setup::Passive),
        (tcp("passive", 40_000), SourcePath::Connect { to: socket("192.0.2.20:40000") }, Setup::Active),
    ] {
        assert_eq!(offer.voice_path(), Ok(path));
        let answer = Sdp::broadcast_answer(&offer, &platform(), socket("192.0.2.10:30002"), 7).unwrap();
        let medium = answer.medium("audio").unwrap();
        assert_eq!((medium.setup, medium.transport), (Some(setup), MediaTransport::Tcp));
    }
    assert_eq!(tcp("passive", 0).voice_path(), Err(NoPath::Rejected));
}

#[test]
fn offers_that_have_no_answer() {
    let answer = |text: &str| Sdp::broadcast_answer(&read(text), &platform(), socket("192.0.2.10:1"), 7);
    for text in [
        BROADCAST.replace("RTP/AVP 8", "RTP/AVP 0").replace("rtpmap:8 PCMA", "rtpmap:0 PCMU"),
        BROADCAST.replace("m=audio", "m=video"),
        BROADCAST.replace("audio 40000", "audio 0"),
    ] {
        assert_eq!(answer(&text), Err(NoPath::Rejected), "{text}");
    }
    // A type of its own, a missing direction and a missing SSRC do no harm.
    let odd = BROADCAST.replace("AVP 8", "AVP 0 104").replace(":8 PCMA", ":104 pcma");
    let odd = odd.replace("a=recvonly\r\n", "").replace("y=0200001234\r\n", "");
    let answer = answer(&odd).unwrap();
    let medium = answer.medium("audio").unwrap();
    assert_eq!(medium.payloads, [Payload::new(104, "PCMA", 8000)]);
    assert_eq!((medium.direction, answer.ssrc), (Some(Direction::SendOnly), Some(7)));
}

#[test]
fn a_talk() {
    let offer = Sdp::talk_offer(&camera(), socket("192.0.2.10:30002"), MediaMode::TcpPassive, 200_001_234);
    let sent = text(&offer);
    assert!(
        sent.contains(
            "s=Talk\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 30002 TCP/RTP/AVP 8\r\na=sendrecv\r\n\
             a=rtpmap:8 PCMA/8000\r\na=setup:passive\r\na=connection:new\r\ny=0200001234\r\nf=v/////a/1/8/1\r\n"
        ),
        "{sent}"
    );
    let answer = read(&sent.replace("192.0.2.10", "192.0.2.20").replace("passive", "active"));
    assert_eq!(offer.path(&answer), Ok(Path::Accept { from: Some(socket("192.0.2.20:30002")) }));
    assert_eq!(answer.voice_payload(), Ok(8));
}
