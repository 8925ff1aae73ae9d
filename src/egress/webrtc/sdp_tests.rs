use super::*;
use crate::egress::webrtc::testing::Player;
use proptest::prelude::*;

/// As Chromium sends it, with the lines that matter here.
const CHROMIUM: &str = "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 107 108 109 114 115\r\nc=IN IP4 0.0.0.0\r\n\
    a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Ufr1\r\na=ice-pwd:pwd0123456789012345678901\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:toffset\r\na=recvonly\r\n\
    a=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:103 H264/90000\r\na=rtcp-fb:103 nack\r\na=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
    a=rtpmap:104 rtx/90000\r\na=fmtp:104 apt=103\r\n\
    a=rtpmap:107 H264/90000\r\na=rtcp-fb:107 goog-remb\r\na=rtcp-fb:107 transport-cc\r\na=rtcp-fb:107 ccm fir\r\na=rtcp-fb:107 nack\r\na=rtcp-fb:107 nack pli\r\n\
    a=fmtp:107 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
    a=rtpmap:108 rtx/90000\r\na=fmtp:108 apt=107\r\n\
    a=rtpmap:109 H264/90000\r\na=rtcp-fb:109 goog-remb\r\na=rtcp-fb:109 ccm fir\r\na=rtcp-fb:109 nack\r\na=rtcp-fb:109 nack pli\r\n\
    a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
    a=rtpmap:114 rtx/90000\r\na=fmtp:114 apt=109\r\na=rtpmap:115 red/90000\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111 9 0 8\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:Ufr1\r\na=ice-pwd:pwd0123456789012345678901\r\n\
    a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF\r\n\
    a=setup:actpass\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:9 G722/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n";

fn local() -> Local<'static> {
    Local {
        session: 7,
        user: "ours",
        password: "our password",
        fingerprint: [0xAB; 32],
        udp: Box::leak(Box::new(["192.0.2.7:8189".parse().unwrap(), "[2001:db8::7]:8189".parse().unwrap()])),
        tcp: Box::leak(Box::new(["192.0.2.7:8189".parse().unwrap()])),
        cname: "gbgate",
        video_ssrc: 1,
        rtx_ssrc: 2,
        audio_ssrc: 3,
    }
}

fn read(offer: &str) -> Negotiated<'_> {
    Negotiated::read(offer, Some(Codec::H264), Some(Codec::Pcma)).unwrap()
}

fn payload_types(offer: &str) -> (Option<(u8, Option<u8>)>, Option<u8>) {
    let negotiated = read(offer);
    (negotiated.video.map(|v| (v.payload_type, v.rtx)), negotiated.audio.map(|a| a.payload_type))
}

#[test]
fn the_offer_of_a_browser_is_answered() {
    let negotiated = read(CHROMIUM);
    assert_eq!(negotiated.peer.user, "Ufr1");
    assert_eq!((negotiated.peer.fingerprint[0], negotiated.peer.fingerprint[31]), (0, 0xFF));
    let expected = "v=0\no=- 7 1 IN IP4 0.0.0.0\ns=-\nt=0 0\na=group:BUNDLE 0 1\na=ice-lite\n\
        m=video 8189 UDP/TLS/RTP/SAVPF 109 114\nc=IN IP4 192.0.2.7\na=mid:0\na=ice-ufrag:ours\na=ice-pwd:our password\n\
        a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB\n\
        a=setup:passive\na=sendonly\na=rtcp-mux\na=rtcp-rsize\na=rtpmap:109 H264/90000\n\
        a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\n\
        a=rtcp-fb:109 nack\na=rtcp-fb:109 nack pli\na=rtcp-fb:109 ccm fir\na=rtpmap:114 rtx/90000\na=fmtp:114 apt=109\n\
        a=ssrc-group:FID 1 2\na=msid:gbgate video\na=ssrc:1 cname:gbgate\na=ssrc:2 cname:gbgate\n\
        a=candidate:u0 1 udp 2130706431 192.0.2.7 8189 typ host\na=candidate:u1 1 udp 2130706175 2001:db8::7 8189 typ host\n\
        a=candidate:t0 1 tcp 1520435199 192.0.2.7 8189 typ host tcptype passive\na=end-of-candidates\n\
        m=audio 8189 UDP/TLS/RTP/SAVPF 8\nc=IN IP4 192.0.2.7\na=mid:1\na=ice-ufrag:ours\na=ice-pwd:our password\n\
        a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB\n\
        a=setup:passive\na=sendonly\na=rtcp-mux\na=rtpmap:8 PCMA/8000\na=msid:gbgate audio\na=ssrc:3 cname:gbgate\n";
    assert_eq!(negotiated.answer(&local()).replace("\r\n", "\n"), expected);
}

#[test]
fn the_answer_is_read_by_another_stack() {
    let answer = read(CHROMIUM).answer(&local());
    let parsed =
        rtc::sdp::SessionDescription::unmarshal(&mut std::io::Cursor::new(answer.as_bytes())).unwrap();
    assert_eq!(parsed.media_descriptions.len(), 2);
}

#[test]
fn who_speaks_is_answered_with_what_is_heard() {
    let offer = CHROMIUM.replace("a=recvonly", "a=sendonly");
    let codecs = [Codec::Pcma, Codec::Pcmu];
    let (negotiated, codec) = Negotiated::read_sound(&offer, &codecs).unwrap();
    assert_eq!(codec, Some(Codec::Pcma));
    let expected = "v=0\no=- 7 1 IN IP4 0.0.0.0\ns=-\nt=0 0\na=group:BUNDLE 1\na=ice-lite\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\nc=IN IP4 0.0.0.0\na=mid:0\na=inactive\n\
        m=audio 8189 UDP/TLS/RTP/SAVPF 8\nc=IN IP4 192.0.2.7\na=mid:1\na=ice-ufrag:ours\na=ice-pwd:our password\n\
        a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB\n\
        a=setup:passive\na=recvonly\na=rtcp-mux\na=rtpmap:8 PCMA/8000\n\
        a=candidate:u0 1 udp 2130706431 192.0.2.7 8189 typ host\na=candidate:u1 1 udp 2130706175 2001:db8::7 8189 typ host\n\
        a=candidate:t0 1 tcp 1520435199 192.0.2.7 8189 typ host tcptype passive\na=end-of-candidates\n";
    assert_eq!(negotiated.answer(&local()).replace("\r\n", "\n"), expected);
    let pcmu = offer.replace("111 9 0 8", "111 9 0");
    assert_eq!(Negotiated::read_sound(&pcmu, &codecs).unwrap().1, Some(Codec::Pcmu));
    let both = offer.replace("a=sendonly", "a=sendrecv");
    assert_eq!(Negotiated::read_sound(&both, &codecs).unwrap().1, Some(Codec::Pcma));
    assert_eq!(Negotiated::read_sound(CHROMIUM, &codecs).unwrap().1, None, "it only listens");
}

#[test]
fn h265_is_sent_to_who_offers_it() {
    let h265 = CHROMIUM
        .replace("109 H264/90000", "109 H265/90000")
        .replace("103 H264/90000", "103 H265/90000")
        .replace("profile-level-id=42001f", "profile-id=2;tier-flag=0;level-id=93;tx-mode=SRST")
        .replace(
            "packetization-mode=1;profile-level-id=42e01f",
            "profile-id=1;tier-flag=0;level-id=93;tx-mode=SRST",
        );
    let video = |offer: &str| {
        let chosen = Negotiated::read(offer, Some(Codec::H265), None).unwrap().video;
        chosen.map(|video| (video.payload_type, video.rtx))
    };
    assert_eq!(video(&h265), Some((109, Some(114))));
    assert_eq!(video(&h265.replace("93;tx-mode=SRST", "93;tx-mode=MRST")), None);
    assert_eq!(video(CHROMIUM), None);
}

#[test]
fn sections_without_a_use_are_declined() {
    let offer = format!(
        "{CHROMIUM}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n"
    )
    .replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    let negotiated = Negotiated::read(&offer, Some(Codec::H264), None).unwrap();
    let answer = negotiated.answer(&local());
    assert!(answer.contains("a=group:BUNDLE 0\r\n"));
    assert!(
        answer.contains("m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=inactive\r\n")
    );
    assert!(answer.ends_with(
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=inactive\r\n"
    ));
}

#[test]
fn the_transport_is_described_where_the_first_media_is() {
    let negotiated = Negotiated::read(CHROMIUM, None, Some(Codec::Pcmu)).unwrap();
    assert_eq!(negotiated.audio.as_ref().map(|audio| audio.payload_type), Some(0));
    let answer = negotiated.answer(&local());
    let (declined, audio) = answer.split_once("m=audio").unwrap();
    assert!(!declined.contains("a=candidate") && audio.contains("a=candidate:u0"));
}

#[test]
fn the_profile_that_all_decode_is_preferred() {
    assert_eq!(payload_types(CHROMIUM), (Some((109, Some(114))), Some(8)));
    let without = CHROMIUM.replace("packetization-mode=1;profile-level-id=42e01f", "profile-level-id=42e01f");
    assert_eq!(payload_types(&without).0, Some((103, Some(104))), "mode 0 cannot carry big pictures");
    let high = without.replace("42001f", "640c1f").replace("a=fmtp:104 apt=103\r\n", "");
    assert_eq!(payload_types(&high).0, Some((103, None)));
    assert_eq!(payload_types(&CHROMIUM.replace("H264", "H265")).0, None);
}

#[test]
fn what_does_not_fit_is_not_chosen() {
    assert_eq!(payload_types(&CHROMIUM.replace("a=recvonly", "a=sendonly")), (None, None));
    assert_eq!(payload_types(&CHROMIUM.replace("a=rtcp-mux\r\n", "")), (None, None));
    assert_eq!(payload_types(&CHROMIUM.replace("m=audio 9", "m=audio 0")).1, None);
    assert_eq!(
        payload_types(&CHROMIUM.replace("m=audio 9", "m=audio 0").replace("mid:1", "mid:1\r\na=bundle-only"))
            .1,
        Some(8)
    );
    assert_eq!(payload_types(&CHROMIUM.replace("a=rtpmap:8 PCMA/8000\r\n", "")).1, Some(8), "a static type");
    assert_eq!(payload_types(&CHROMIUM.replace("8 PCMA/8000", "8 X/8000")).1, None);
    let unbundled = CHROMIUM.replace("a=group:BUNDLE 0 1\r\n", "");
    assert_eq!(payload_types(&unbundled), (Some((109, Some(114))), None), "one transport is all there is");
    let codecs = Negotiated::read(CHROMIUM, Some(Codec::H265), Some(Codec::Aac)).unwrap();
    assert_eq!((codecs.video, codecs.audio), (None, None));
}

#[test]
fn bad_offers_are_told_apart() {
    let fault = |offer: String| Negotiated::read(&offer, Some(Codec::H264), None).unwrap_err();
    assert_eq!(fault(String::new()), BadOffer::NotSdp);
    assert_eq!(fault("v=0\r\n".to_owned()), BadOffer::NotSdp);
    assert_eq!(fault(CHROMIUM.replace("m=video 9 ", "m=video\r\nx=")), BadOffer::NotSdp);
    assert_eq!(fault(CHROMIUM.replace("level-a", "leve\rl-a")), BadOffer::NotSdp, "it would be echoed");
    assert_eq!(fault(CHROMIUM.replace("level-a", "leve\0l-a")), BadOffer::NotSdp);
    assert_eq!(fault(CHROMIUM.replace("ice-ufrag", "x")), BadOffer::NoIce);
    assert_eq!(fault(CHROMIUM.replace("sha-256", "sha-1")), BadOffer::NoFingerprint);
    assert_eq!(fault(CHROMIUM.replace("1E:FF", "1E")), BadOffer::NoFingerprint);
    assert_eq!(fault(CHROMIUM.replace("actpass", "passive")), BadOffer::Setup);
    assert_eq!(fault(CHROMIUM.replace("a=extmap-allow-mixed", "a=ice-lite")), BadOffer::IceLite);
    assert_eq!(fault(format!("{CHROMIUM}{}", " ".repeat(MAX_OFFER))), BadOffer::TooLong);
    assert_eq!(fault(format!("{CHROMIUM}{}", "m=video 9 X 1\r\n".repeat(20))), BadOffer::TooLong);
}

#[test]
fn a_restart_is_seen_in_a_fragment() {
    assert_eq!(fragment_user("a=ice-ufrag:new\r\na=ice-pwd:x\r\nm=audio 9 RTP/AVP 0\r\n"), Some("new"));
    assert_eq!(
        fragment_user("m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n"),
        None
    );
}

proptest! {
    #[test]
    fn any_text_is_survived(text: String, lines in proptest::collection::vec(0usize..60, 0..80), cut: usize) {
        let _ = Negotiated::read(&text, Some(Codec::H264), Some(Codec::Pcma));
        // Lines of real offers in any order, cut anywhere.
        let offer = format!("{CHROMIUM}{}", Player::new(vec![]).offer());
        let known: Vec<_> = offer.lines().collect();
        let mixed: Vec<_> = lines.iter().filter_map(|line| known.get(*line).copied()).collect();
        let mixed = format!("v=0\r\n{}", mixed.join("\r\n"));
        let cut = mixed.get(..cut % (mixed.len() + 1)).unwrap_or(&mixed);
        for offer in [cut, mixed.as_str()] {
            let _ = Negotiated::read_sound(offer, &[Codec::Pcma, Codec::Pcmu]);
            if let Ok(negotiated) = Negotiated::read(offer, Some(Codec::H264), Some(Codec::Pcma)) {
                let answer = negotiated.answer(&local());
                prop_assert_eq!(answer.matches("\r\nm=").count(), negotiated.sections.len());
            }
        }
    }
}
