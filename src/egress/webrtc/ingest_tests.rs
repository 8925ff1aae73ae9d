use super::*;
use crate::egress::webrtc::testing::{Player, USER, at, start};
use crate::egress::webrtc::transport::SILENCE;
use crate::media::rtp::Header;
use bytes::BytesMut;
use proptest::prelude::*;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use std::net::SocketAddr;

const SERVER: (&str, &str) = ("server", "the password of the server");
const OURS: u32 = 7;
const THEIRS: u32 = 99;

fn path(port: u16) -> Path {
    Path { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None, connection: 0 }
}

/// A session with a browser that has done its handshake.
fn connected(profile: Profile) -> (Ingest, Player) {
    let mut player = Player::new(vec![profile]);
    let ends =
        Ends { user: SERVER.0, password: SERVER.1, peer_user: USER, peer_fingerprint: player.fingerprint };
    let agreed = Agreed { codec: Codec::Pcma, payload_type: 8 };
    let identity = Identity::generate().unwrap();
    let mut ingest = Ingest::new(start(), &identity, &ends, agreed, OURS, "test").unwrap();
    ingest.handle_datagram(at(0), path(1), &player.check(SERVER, true)).unwrap();
    while !(player.connected() && ingest.transport.established()) {
        while let Some(data) = player.poll() {
            ingest.handle_datagram(at(0), path(1), &data).unwrap();
        }
        drain(at(0), &mut ingest, &mut player);
    }
    (ingest, player)
}

fn drain(now: Instant, ingest: &mut Ingest, player: &mut Player) -> Vec<Output> {
    let mut others = Vec::new();
    while let Some(output) = ingest.poll_output() {
        match output {
            Output::Send(_, packet) => player.receive(now, &packet),
            other => others.push(other),
        }
    }
    others
}

fn packet(player: &mut Player, sequence: u16, payload_type: u8, payload: &[u8]) -> BytesMut {
    let timestamp = u32::from(sequence) * 160;
    let mut plain = Vec::new();
    Header { payload_type, marker: false, sequence, timestamp, ssrc: THEIRS }.write(&mut plain);
    plain.extend_from_slice(payload);
    player.outbound.as_mut().unwrap().encrypt_rtp(&plain).unwrap()
}

fn heard(ingest: &mut Ingest) -> Vec<(u32, Bytes)> {
    std::iter::from_fn(|| ingest.poll_sound()).map(|sound| (sound.timestamp, sound.payload)).collect()
}

#[test]
fn what_a_browser_says_is_heard_in_order_and_once() {
    for profile in [Profile::Srtp_Aead_Aes_128_Gcm, Profile::Srtp_Aes128_Cm_Hmac_Sha1_80] {
        let (mut ingest, mut player) = connected(profile);
        let packets: Vec<_> = (0..5u16).map(|n| packet(&mut player, n, 8, &[n as u8; 160])).collect();
        for n in [0, 2, 1, 3] {
            ingest.handle_datagram(at(20), path(1), &packets[n]).unwrap();
        }
        let sounds = heard(&mut ingest);
        assert_eq!(sounds.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 160, 320, 480]);
        assert!(sounds.iter().enumerate().all(|(n, s)| s.1 == vec![n as u8; 160]));
        assert_eq!(ingest.handle_datagram(at(30), path(1), &packets[1]), Err(Dropped::Rtp), "a replay");
        let mut forged = packets[4].clone();
        forged[20] ^= 1;
        assert_eq!(ingest.handle_datagram(at(30), path(1), &forged), Err(Dropped::Rtp));
        assert_eq!(ingest.handle_datagram(at(30), path(2), &packets[4]), Err(Dropped::Stranger));
        let comfort = packet(&mut player, 5, 13, &[1]);
        assert_eq!(ingest.handle_datagram(at(30), path(1), &comfort), Err(Dropped::Rtp), "not agreed");
        assert!(heard(&mut ingest).is_empty());
    }
}

#[test]
fn a_lost_packet_is_not_waited_for_long() {
    let (mut ingest, mut player) = connected(Profile::Srtp_Aead_Aes_128_Gcm);
    for n in [0, 2] {
        let packet = packet(&mut player, n, 8, &[1; 160]);
        ingest.handle_datagram(at(40), path(1), &packet).unwrap();
    }
    assert_eq!(heard(&mut ingest).len(), 1);
    let due = ingest.next_timeout().unwrap();
    assert!(due <= at(240));
    ingest.handle_timeout(due);
    assert_eq!(heard(&mut ingest).len(), 1);
}

#[test]
fn reports_go_back() {
    let (mut ingest, mut player) = connected(Profile::Srtp_Aead_Aes_128_Gcm);
    for n in [0u16, 1, 2, 4] {
        let packet = packet(&mut player, n, 8, &[1; 160]);
        ingest.handle_datagram(at(u64::from(n) * 20), path(1), &packet).unwrap();
    }
    ingest.handle_timeout(at(2_000));
    drain(at(2_000), &mut ingest, &mut player);
    let block = player.rtcp.iter().find_map(|rtcp| match rtcp {
        rtcp::Rtcp::ReceiverReport { ssrc: OURS, blocks } => blocks.first().copied(),
        _ => None,
    });
    let block = block.unwrap();
    assert_eq!((block.ssrc, block.highest, block.lost), (THEIRS, 4, 1));
    assert!(ingest.next_timeout().unwrap() <= at(4_000));
}

#[test]
fn a_session_ends_with_a_word_from_either_side_or_with_silence() {
    let ended = |others: Vec<Output>| match others.last() {
        Some(Output::Closed(reason)) => Some(*reason),
        _ => None,
    };
    let (mut ingest, mut player) = connected(Profile::Srtp_Aead_Aes_128_Gcm);
    ingest.close(at(1));
    assert_eq!(ended(drain(at(1), &mut ingest, &mut player)), Some(Reason::Closed));
    assert!(player.closed && ingest.next_timeout().is_none());

    let (mut ingest, mut player) = connected(Profile::Srtp_Aead_Aes_128_Gcm);
    player.say_goodbye(at(1));
    while let Some(data) = player.poll() {
        let _ = ingest.handle_datagram(at(1), path(1), &data);
    }
    let others = std::iter::from_fn(|| ingest.poll_output()).collect();
    assert_eq!(ended(others), Some(Reason::Closed));

    let (mut ingest, mut player) = connected(Profile::Srtp_Aead_Aes_128_Gcm);
    ingest.handle_timeout(start() + SILENCE - Duration::from_millis(1));
    assert_eq!(ended(drain(at(1), &mut ingest, &mut player)), None);
    ingest.handle_timeout(start() + SILENCE);
    assert_eq!(ended(drain(at(1), &mut ingest, &mut player)), Some(Reason::Silent));
}

proptest! {
    #[test]
    fn any_datagram_is_survived(datagrams in proptest::collection::vec(any::<Vec<u8>>(), 0..20), sealed: bool) {
        let (mut ingest, mut player) = connected(Profile::Srtp_Aead_Aes_128_Gcm);
        for (n, data) in datagrams.into_iter().enumerate() {
            let data = if sealed { packet(&mut player, n as u16, 8, &data) } else { data[..].into() };
            let _ = ingest.handle_datagram(at(n as u64), path(1), &data);
        }
    }
}
