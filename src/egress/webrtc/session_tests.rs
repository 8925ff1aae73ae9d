use super::*;
use crate::egress::webrtc::testing::{Player, USER, at, batch, start};
use crate::media::rtp::rtcp::Rtcp;
use proptest::prelude::*;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use std::net::SocketAddr;

const GCM: Profile = Profile::Srtp_Aead_Aes_128_Gcm;
const CM: Profile = Profile::Srtp_Aes128_Cm_Hmac_Sha1_80;
const SERVER: (&str, &str) = ("server", "the password of the server");
const VIDEO: u32 = 1;
const RTX: u32 = 2;
const AUDIO: u32 = 3;

fn path(port: u16) -> Path {
    Path { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None, connection: 0 }
}

fn session(player: &Player) -> Session {
    let identity = Identity::generate().unwrap();
    let terms = Terms {
        ends: Ends {
            user: SERVER.0,
            password: SERVER.1,
            peer_user: USER,
            peer_fingerprint: player.fingerprint,
        },
        cname: "test",
        video: Some(Ids { ssrc: VIDEO, payload_type: 96, rtx: Some((RTX, 97)) }),
        audio: Some(Ids { ssrc: AUDIO, payload_type: 8, rtx: None }),
        random: [0, 0],
        unix_millis: 0,
    };
    Session::new(start(), &identity, &terms).unwrap()
}

/// Everything but `Send`, which reaches the player.
fn drain(now: Instant, session: &mut Session, player: &mut Player) -> Vec<Output> {
    let mut others = Vec::new();
    while let Some(output) = session.poll_output() {
        match output {
            Output::Send(_, packet) => player.receive(now, &packet),
            other => others.push(other),
        }
    }
    others
}

/// Runs checks and handshake with the datagram of this number dropped; gives the time it took.
fn connect(session: &mut Session, player: &mut Player, dropped: Option<usize>) -> u64 {
    let mut count = 0;
    for step in 0..6_000 {
        let now = at(step);
        if step % 2_500 == 0 {
            session.handle_datagram(now, path(1), &player.check(SERVER, true)).unwrap();
        }
        player.handle_timeout(now);
        session.handle_timeout(now);
        loop {
            let mut quiet = true;
            while let Some(data) = player.poll() {
                (count, quiet) = (count + 1, false);
                if dropped != Some(count) {
                    session.handle_datagram(now, path(1), &data).unwrap();
                }
            }
            while let Some(output) = session.poll_output() {
                if let Output::Send(_, data) = output {
                    (count, quiet) = (count + 1, false);
                    if dropped != Some(count) {
                        player.receive(now, &data);
                    }
                }
            }
            if quiet {
                break;
            }
        }
        if player.connected() && session.transport.secure.established() {
            return step;
        }
    }
    panic!("no connection with datagram {dropped:?} dropped");
}

fn connected() -> (Session, Player) {
    let mut player = Player::new(vec![GCM]);
    let mut session = session(&player);
    connect(&mut session, &mut player, None);
    session.handle_timeout(at(0));
    drain(at(0), &mut session, &mut player);
    (session, player)
}

#[test]
fn a_viewer_connects_and_sees_what_waited_at_once() {
    for profile in [GCM, CM] {
        let mut player = Player::new(vec![profile]);
        let mut session = session(&player);
        for (index, key) in [(0, true), (1, false), (2, true), (3, false), (4, false)] {
            session.handle_batch(at(0), batch(Track::Video, index * 3600, key, 2));
            session.handle_batch(at(0), batch(Track::Audio, index * 320, true, 1));
        }
        assert_eq!(connect(&mut session, &mut player, None), 0, "without losses it takes no time");
        session.handle_batch(at(1), batch(Track::Video, 5 * 3600, false, 1));
        session.handle_batch(at(1), batch(Track::Audio, 5 * 320, true, 1));
        drain(at(1), &mut session, &mut player);
        assert_eq!(player.checks_answered, 1);
        let (video, audio): (Vec<_>, Vec<_>) = player.rtp.iter().partition(|packet| packet.ssrc == VIDEO);
        let timestamps: Vec<_> = video.iter().map(|packet| packet.timestamp).collect();
        let last = 4 * 3600;
        assert_eq!(timestamps, [last - 180, last - 180, last - 90, last - 90, last, last, 5 * 3600]);
        assert_eq!(
            audio.iter().map(|packet| packet.timestamp).collect::<Vec<_>>(),
            [1600],
            "sound is of now"
        );
        assert!(audio.iter().all(|packet| packet.payload_type == 8));
    }
}

#[test]
fn a_handshake_survives_the_loss_of_any_datagram() {
    for dropped in 1..14 {
        let mut player = Player::new(vec![CM]);
        let mut session = session(&player);
        let took = connect(&mut session, &mut player, Some(dropped));
        assert!(took <= 2_600, "datagram {dropped}: {took} ms");
    }
}

#[test]
fn another_certificate_than_offered_is_refused() {
    let mut player = Player::new(vec![CM]);
    let mut session = session(&Player::new(vec![CM]));
    session.handle_datagram(at(0), path(1), &player.check(SERVER, true)).unwrap();
    let mut refused = false;
    for step in 0..20 {
        while let Some(data) = player.poll() {
            refused |= session.handle_datagram(at(step), path(1), &data) == Err(Dropped::Dtls);
        }
        while let Some(output) = session.poll_output() {
            if let Output::Send(_, data) = output
                && data[0] != 21
            {
                player.receive(at(step), &data);
            }
        }
    }
    assert!(refused && !session.transport.secure.established());
    session.handle_datagram(at(29_000), path(1), &player.check(SERVER, true)).unwrap();
    session.handle_timeout(at(30_000));
    let reason = std::iter::from_fn(|| session.poll_output()).last();
    assert!(matches!(reason, Some(Output::Closed(Reason::Handshake))), "{reason:?}");
}

#[test]
fn only_who_proves_itself_is_heard() {
    let player = Player::new(vec![CM]);
    let mut session = session(&player);
    let hello = [22, 254, 253, 0, 0];
    assert_eq!(session.handle_datagram(at(0), path(1), &hello), Err(Dropped::Stranger));
    let forged = player.check((SERVER.0, "a guess"), true);
    assert_eq!(session.handle_datagram(at(0), path(1), &forged), Err(Dropped::Unproven));
    let other = player.check(("another", SERVER.1), true);
    assert_eq!(session.handle_datagram(at(0), path(1), &other), Err(Dropped::Unproven));
    assert_eq!(session.handle_datagram(at(0), path(1), &[0; 30]), Err(Dropped::Stun));
    assert_eq!(session.handle_datagram(at(0), path(1), &[]), Err(Dropped::Stranger));
    assert!(session.poll_output().is_none(), "no answer to whom we do not know");
    session.handle_datagram(at(0), path(1), &player.check(SERVER, false)).unwrap();
    assert!(matches!(session.poll_output(), Some(Output::Proven(proven)) if proven == path(1)));
    assert_eq!(session.handle_datagram(at(0), path(2), &hello), Err(Dropped::Stranger));
    assert_eq!(session.handle_datagram(at(0), path(1), &[0x80; 20]), Err(Dropped::Rtp));
    assert_eq!(session.handle_datagram(at(0), path(1), &[0x80, 200, 0, 0]), Err(Dropped::Rtcp));
}

#[test]
fn silence_ends_it_and_checks_keep_it() {
    let player = Player::new(vec![CM]);
    let mut session = session(&player);
    assert_eq!(session.next_timeout(), Some(at(15_000)));
    session.handle_datagram(at(10_000), path(1), &player.check(SERVER, true)).unwrap();
    session.handle_timeout(at(15_000));
    assert!(!std::iter::from_fn(|| session.poll_output()).any(|output| matches!(output, Output::Closed(_))));
    session.handle_timeout(at(25_000));
    assert!(matches!(session.poll_output(), Some(Output::Closed(Reason::Silent))));
    assert_eq!(session.handle_datagram(at(25_000), path(1), &[1]), Err(Dropped::Closed));
    session.handle_batch(at(25_000), batch(Track::Video, 0, true, 1));
    assert!(session.poll_output().is_none() && session.next_timeout().is_none());
}

#[test]
fn lost_packets_come_again_within_a_budget() {
    let (mut session, mut player) = connected();
    session.handle_batch(at(0), batch(Track::Video, 0, true, 5));
    drain(at(0), &mut session, &mut player);
    let lost = player.rtp[1].sequence.to_be_bytes();
    let nack = [0x81, 205, 0, 3, 0, 0, 0, 9, 0, 0, 0, VIDEO as u8, lost[0], lost[1], 0, 0b10];
    let mut again = 0;
    for step in 0..1_500 {
        let packet = player.feedback(&nack);
        session.handle_datagram(at(100 + step), path(1), &packet).unwrap();
        drain(at(100 + step), &mut session, &mut player);
        let sent = player.rtp.iter().filter(|packet| packet.ssrc == RTX).count();
        if step == 0 {
            assert_eq!(sent, 2, "the packet, and that of the second bit after it");
            let packet = &player.rtp[5];
            assert_eq!((packet.payload_type, &packet.payload[..2]), (97, &lost[..]));
        }
        again = sent;
    }
    assert_eq!(again as u32, MAX_AGAIN, "no more before the next report");
}

#[test]
fn a_key_frame_is_asked_for_once_a_second() {
    let (mut session, mut player) = connected();
    session.handle_batch(at(0), batch(Track::Video, 0, true, 1));
    drain(at(0), &mut session, &mut player);
    let pli = [0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, VIDEO as u8];
    let fir = [0x84, 206, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, VIDEO as u8, 1, 0, 0, 0];
    let mut asked = 0;
    for step in 0..20 {
        let now = at(6_000 + 100 * step);
        let packet = player.feedback(if step % 2 == 0 { &pli } else { &fir });
        session.handle_datagram(now, path(1), &packet).unwrap();
        let others = drain(now, &mut session, &mut player);
        asked += others.iter().filter(|output| matches!(output, Output::KeyFrame)).count();
    }
    assert_eq!(asked, 2);
}

#[test]
fn a_viewer_that_could_not_begin_gets_the_pictures_again() {
    let (mut session, mut player) = connected();
    let pli = [0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, VIDEO as u8];
    let mut sent = Vec::new();
    for (second, key) in [(0, true), (1, false), (3, false), (6, false)] {
        let now = at(second * 1_000);
        session.handle_batch(now, batch(Track::Video, second as i64 * 90_000, key, 1));
        let packet = player.feedback(&pli);
        session.handle_datagram(now, path(1), &packet).unwrap();
        session.handle_timeout(now);
        drain(now, &mut session, &mut player);
        sent.push(player.rtp.drain(..).map(|packet| packet.timestamp).collect::<Vec<_>>());
    }
    // The first wish was sent at the start, for want of a picture.
    let (first, second, last) = (vec![0], vec![90_000, 90_090, 90_180], vec![540_000]);
    let third = vec![270_000, 270_090, 270_180, 270_270];
    assert_eq!(sent, [first, second, third, last], "only in the beginning");
}

#[test]
fn a_big_picture_is_paced() {
    let (mut session, mut player) = connected();
    session.handle_batch(at(1_000), batch(Track::Video, 0, true, 500));
    drain(at(1_000), &mut session, &mut player);
    assert_eq!(player.rtp.len() as u32, BURST);
    let mut now = at(1_000);
    while player.rtp.len() < 500 {
        let next = session.next_timeout().unwrap();
        assert!(next > now && next <= now + TICK, "it asks to be woken");
        now = next;
        let before = player.rtp.len();
        session.handle_timeout(now);
        drain(now, &mut session, &mut player);
        assert!(player.rtp.len() - before <= 2 * PER_MILLISECOND as usize);
    }
    assert!(now <= at(1_000) + Duration::from_millis(42));
    assert!(session.next_timeout().unwrap() > now + TICK, "nothing more to send");
}

#[test]
fn who_cannot_follow_loses_pictures_up_to_a_key_frame() {
    let (mut session, mut player) = connected();
    session.handle_batch(at(2_000), batch(Track::Video, 0, true, 200));
    session.handle_batch(at(2_000), batch(Track::Video, 3_600, false, 10));
    session.handle_overflow(at(2_000));
    session.handle_batch(at(2_000), batch(Track::Video, 7_200, false, 10));
    session.handle_batch(at(2_000), batch(Track::Audio, 640, true, 1));
    session.handle_batch(at(2_000), batch(Track::Video, 10_800, true, 1));
    session.handle_batch(at(2_000), batch(Track::Video, 14_400, false, 1));
    let mut others = drain(at(2_000), &mut session, &mut player);
    session.handle_timeout(at(2_100));
    others.extend(drain(at(2_100), &mut session, &mut player));
    session.handle_timeout(at(2_200));
    drain(at(2_200), &mut session, &mut player);
    assert!(others.iter().any(|output| matches!(output, Output::KeyFrame)));
    let sent =
        |timestamp, ssrc| player.rtp.iter().filter(|p| p.timestamp == timestamp && p.ssrc == ssrc).count();
    assert_eq!(sent(0, VIDEO), 200, "the picture under way is finished");
    assert_eq!((sent(3_600, VIDEO), sent(7_200, VIDEO)), (0, 0));
    assert_eq!((sent(10_800, VIDEO), sent(14_400, VIDEO), sent(640, AUDIO)), (1, 1, 1));
    let sequences: Vec<_> = player.rtp.iter().filter(|p| p.ssrc == VIDEO).map(|p| p.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap to ask for");
}

#[test]
fn both_tracks_are_tied_to_one_clock() {
    let (mut session, mut player) = connected();
    session.handle_batch(at(3_000), batch(Track::Video, 900_000, true, 1));
    // Sound comes late and out of step; the reports must not follow it.
    session.handle_batch(at(3_170), batch(Track::Audio, 80_000, true, 1));
    session.handle_timeout(at(4_000));
    drain(at(4_000), &mut session, &mut player);
    let report = |ssrc| {
        player.rtcp.iter().find_map(|packet| match packet {
            Rtcp::SenderReport(report) if report.ssrc == ssrc => {
                Some((report.ntp, report.timestamp, report.packets))
            }
            _ => None,
        })
    };
    let (video, audio) = (report(VIDEO).unwrap(), report(AUDIO).unwrap());
    assert_eq!(video, (rtcp::ntp(4_000), 990_000, 1));
    assert_eq!(audio, (rtcp::ntp(4_000), 88_000, 1));
}

#[test]
fn the_end_is_told() {
    let (mut session, mut player) = connected();
    session.handle_batch(at(0), batch(Track::Video, 0, true, 1));
    drain(at(0), &mut session, &mut player);
    session.close(at(10));
    let others = drain(at(10), &mut session, &mut player);
    assert!(matches!(others[..], [Output::Closed(Reason::Closed)]));
    assert!(player.closed && player.rtcp.iter().any(|packet| matches!(packet, Rtcp::Bye { .. })));
    session.close(at(11));
    assert!(session.poll_output().is_none());
}

#[test]
fn the_player_that_says_goodbye_has_left() {
    let (mut session, mut player) = connected();
    player.say_goodbye(at(5));
    while let Some(data) = player.poll() {
        session.handle_datagram(at(5), path(1), &data).unwrap();
    }
    let last = std::iter::from_fn(|| session.poll_output()).last();
    assert!(matches!(last, Some(Output::Closed(Reason::Closed))), "{last:?}");
}

#[test]
fn a_controlled_player_is_told_of_the_conflict() {
    let player = Player::new(vec![CM]);
    let mut session = session(&player);
    let check = stun_check(0x8029);
    session.handle_datagram(at(0), path(1), &check).unwrap();
    let Some(Output::Send(to, answer)) = session.poll_output() else { panic!("no answer") };
    assert_eq!((to, &answer[..2]), (path(1), &[1, 0x11][..]));
    assert!(session.poll_output().is_none(), "it has proven nothing");
    drop(player);
}

fn stun_check(role: u16) -> Vec<u8> {
    crate::egress::webrtc::stun::tests::check(&format!("{}:{USER}", SERVER.0), SERVER.1, true, role)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_datagrams_are_survived(datagrams: Vec<(u8, Vec<u8>)>, established: bool) {
        let (mut session, mut player) = if established {
            connected()
        } else {
            let player = Player::new(vec![CM]);
            (session(&player), player)
        };
        session.handle_datagram(at(0), path(1), &player.check(SERVER, true)).unwrap();
        for (first, mut data) in datagrams {
            data.insert(0, first);
            let _ = session.handle_datagram(at(1), path(1), &data);
            // Records of DTLS, whose headers make sense.
            for kind in [20, 21, 22, 23, 24] {
                let mut record = vec![kind, 254, 253, 0, 0, 0, 0, 0, 0, 0, first];
                record.extend((data.len() as u16).to_be_bytes());
                record.extend(&data);
                let _ = session.handle_datagram(at(1), path(1), &record);
            }
            if established {
                let mut plain = vec![0x80 | first & 31, 200 + first % 8];
                data.resize(data.len().next_multiple_of(4) + 8, 0);
                plain.extend(((data.len() / 4) as u16).to_be_bytes());
                plain.extend(&data);
                let packet = player.feedback(&plain);
                let _ = session.handle_datagram(at(1), path(1), &packet);
            }
            session.handle_timeout(at(2));
        }
        while session.poll_output().is_some() {}
    }
}
