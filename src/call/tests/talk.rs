//! Voices to devices, by Broadcast and by Talk.

use super::*;
use crate::gb::sdp::PCMA;
use crate::registry::profile::{TalkStart, TalkTransport, TalkWay};

const OUTPUT: &str = "34020000001370000001";

fn talk() -> Bench {
    let mut bench = bench();
    bench.key = Key::talk(id(DEVICE), id(OUTPUT));
    bench
}

impl Bench {
    fn speak(&mut self, waiter: u64, way: TalkWay) {
        self.calls.talk(self.now, Waiter(waiter), self.key, self.target, way);
    }

    /// Announces a voice, as far as the device's consent.
    fn announce(&mut self) -> CallId {
        self.speak(1, TalkWay::Broadcast);
        let [Action::Broadcast { call, device, channel }] = self.actions()[..] else {
            panic!("not announced")
        };
        assert_eq!((device, channel), (id(DEVICE), id(OUTPUT)));
        self.calls.broadcast_answered(self.now, call, Ok(()));
        call
    }

    /// The device's INVITE.
    fn calls_us(&mut self, mode: MediaMode, edit: impl Fn(String) -> String) -> (ServerKey, Message, bool) {
        let offer = Sdp::broadcast_offer(&id(DEVICE), "192.0.2.20:40000".parse().unwrap(), mode, 200_007_777);
        let body = edit(String::from_utf8(offer.to_bytes().to_vec()).unwrap());
        let invite = Message::request(Method::Invite, "sip:34020000002000000001@192.0.2.10:5060")
            .with("Via", "SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK77")
            .with("From", format!("<sip:{DEVICE}@3402000000>;tag=dev"))
            .with("To", "<sip:34020000002000000001@3402000000>")
            .with("Call-ID", "4711")
            .with("CSeq", "1 INVITE")
            .with("Contact", format!("<sip:{DEVICE}@192.0.2.20:5060>"))
            .with_body(sdp::CONTENT_TYPE, Bytes::from(body));
        let key = server_key();
        let taken = self.calls.incoming(self.now, key, self.target.flow, id(DEVICE), &invite);
        (key, invite, taken)
    }

    /// As far as our 200, with the sound's way there.
    fn answered_voice(&mut self, call: CallId, mode: MediaMode) -> (ServerKey, Message, Option<SocketAddr>) {
        let (key, _, taken) = self.calls_us(mode, |body| body);
        assert!(taken);
        let [Action::OpenMedia { flowing: Flowing::OutAudio, target, ssrc: 200_007_777, .. }] =
            self.actions()[..]
        else {
            panic!("no port asked for")
        };
        let expected = match mode {
            MediaMode::Udp => MediaMode::Udp,
            MediaMode::TcpPassive => MediaMode::TcpActive,
            MediaMode::TcpActive => MediaMode::TcpPassive,
        };
        assert_eq!(target.transport, expected, "as seen from this side");
        self.calls.media(self.now, call, Media::Opened("192.0.2.10:30000".parse().unwrap()));
        let actions = self.actions();
        let [
            Action::Respond { message, .. },
            Action::Keep(kept),
            Action::ConnectMedia { remote, payload_type, .. },
            ..,
        ] = &actions[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!((message.code(), *payload_type), (Some(200), Some(PCMA)));
        assert_eq!(kept.kind, crate::registry::StreamKind::Talk);
        (key, message.clone(), *remote)
    }

    fn acknowledge(&mut self, ok: &Message) -> bool {
        let ack = Message::request(Method::Ack, "sip:34020000002000000001@192.0.2.10:5060")
            .with("From", ok.header("From").unwrap())
            .with("To", ok.header("To").unwrap())
            .with("Call-ID", "4711")
            .with("CSeq", "1 ACK");
        self.calls.acknowledged(self.now, &ack)
    }

    fn device_says(&mut self, ok: &Message, method: Method) -> bool {
        let numbered = format!("2 {method}");
        let request = Message::request(method, "sip:34020000002000000001@192.0.2.10:5060")
            .with("From", ok.header("From").unwrap())
            .with("To", ok.header("To").unwrap())
            .with("Call-ID", "4711")
            .with("CSeq", numbered);
        self.calls.request(self.now, server_key(), &request)
    }
}

fn is_ready(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::TalkReady { .. }))
}

fn responses(actions: &[Action]) -> Vec<u16> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Respond { message, .. } => message.code(),
            _ => None,
        })
        .collect()
}

#[test]
fn a_broadcast_over_udp_begins_with_the_ack() {
    let mut bench = talk();
    let call = bench.announce();
    let (_, ok, remote) = bench.answered_voice(call, MediaMode::Udp);
    assert_eq!(remote, Some("192.0.2.20:40000".parse().unwrap()));
    let text = String::from_utf8(ok.body.to_vec()).unwrap();
    for line in ["m=audio 30000 RTP/AVP 8", "a=sendonly", "y=0200007777"] {
        assert!(text.contains(&format!("{line}\r\n")), "{text}");
    }
    assert_eq!(crate::sip::shard_of(ok.to_tag().unwrap()), Some(3), "the device's BYE finds the shard");
    assert!(bench.acknowledge(&ok));
    let actions = bench.actions();
    assert!(is_ready(&actions));
    assert_eq!(told(&actions), [(1, Ok(call))]);
    assert!(bench.acknowledge(&ok), "again, and nothing comes of it");
    bench.calls.media(bench.now, call, Media::Readers(1));
    assert!(bench.actions().is_empty());
    bench.later(3_600.0);
    assert!(bench.actions().is_empty(), "as long as somebody speaks");
    bench.calls.media(bench.now, call, Media::Readers(0));
    bench.later(15.0);
    let actions = bench.actions();
    assert_eq!(sent(&actions, &Method::Bye), 1);
    let bye = actions.iter().find_map(|action| match action {
        Action::Request { message, purpose: Purpose::Bye, .. } => Some(message.clone()),
        _ => None,
    });
    let bye = bye.unwrap();
    assert_eq!(bye.uri(), Some("sip:34020000001180000001@192.0.2.20:5060"));
    assert_eq!((bye.to_tag(), bye.cseq()), (Some("dev"), Some((1, Method::Bye))));
    bench.bye_answered(call, Ok(&bye.response(200)));
    bench.actions();
    assert!(bench.calls.is_idle());
}

#[test]
fn a_broadcast_over_tcp_begins_with_the_connection() {
    for (mode, remote) in
        [(MediaMode::TcpPassive, Some("192.0.2.20:40000".parse().unwrap())), (MediaMode::TcpActive, None)]
    {
        for ack_first in [true, false] {
            let mut bench = talk();
            let call = bench.announce();
            let (_, ok, to) = bench.answered_voice(call, mode);
            assert_eq!(to, remote);
            if ack_first {
                bench.acknowledge(&ok);
                assert!(!is_ready(&bench.actions()));
                bench.calls.media(bench.now, call, Media::Connected);
            } else {
                bench.calls.media(bench.now, call, Media::Connected);
                assert!(!is_ready(&bench.actions()));
                bench.acknowledge(&ok);
            }
            assert!(is_ready(&bench.actions()));
        }
        // Without a connection it comes to nothing.
        let mut bench = talk();
        let call = bench.announce();
        let (_, ok, _) = bench.answered_voice(call, mode);
        bench.acknowledge(&ok);
        bench.actions();
        bench.later(10.0);
        let actions = bench.actions();
        assert_eq!(told(&actions), [(1, Err("talk_timeout"))]);
        assert_eq!(sent(&actions, &Method::Bye), 1);
    }
}

#[test]
fn some_devices_want_sound_right_after_the_200() {
    let mut bench = talk();
    bench.target.manners.talk_start = TalkStart::AfterOk;
    let call = bench.announce();
    let (key, ..) = bench.calls_us(MediaMode::Udp, |body| body);
    bench.calls.media(bench.now, call, Media::Opened("192.0.2.10:30000".parse().unwrap()));
    assert!(is_ready(&bench.actions()));
    // It never acknowledges, and is spoken to all the same; a BYE waits for the end of its 200.
    assert!(bench.calls.unacknowledged(key));
    assert!(bench.actions().is_empty());
    bench.calls.stop(call, "enough");
    assert_eq!(sent(&bench.actions(), &Method::Bye), 1);
}

#[test]
fn bye_waits_for_the_ack() {
    // The one who wanted to speak has gone before the device's ACK came.
    for (acknowledges, over) in [(true, false), (false, true), (false, false)] {
        let mut bench = talk();
        let call = bench.announce();
        let (key, ok, _) = bench.answered_voice(call, MediaMode::Udp);
        bench.calls.unwant(Waiter(1));
        let actions = bench.actions();
        assert_eq!(sent(&actions, &Method::Bye), 0);
        assert!(actions.iter().any(|action| matches!(action, Action::CloseMedia { .. })));
        if acknowledges {
            assert!(bench.acknowledge(&ok));
        } else if over {
            assert!(bench.calls.unacknowledged(key));
        } else {
            bench.later(40.0);
        }
        assert_eq!(sent(&bench.actions(), &Method::Bye), 1);
        // A BYE of the device's own crosses it.
        bench.device_says(&ok, Method::Bye);
        bench.bye_answered(call, Ok(&ok));
        bench.actions();
        assert!(bench.calls.is_idle());
    }
    // The device says BYE while its ACK is waited for.
    let mut bench = talk();
    let call = bench.announce();
    let (_, ok, _) = bench.answered_voice(call, MediaMode::Udp);
    bench.calls.stop(call, "enough");
    assert!(bench.device_says(&ok, Method::Bye));
    let actions = bench.actions();
    assert_eq!((responses(&actions), sent(&actions, &Method::Bye)), (vec![200], 0));
    assert!(bench.calls.is_idle());
}

#[test]
fn an_ack_that_never_comes_ends_the_voice() {
    let mut bench = talk();
    let call = bench.announce();
    let (key, ..) = bench.answered_voice(call, MediaMode::Udp);
    bench.later(9.9);
    assert!(bench.actions().is_empty());
    bench.later(0.1);
    let actions = bench.actions();
    assert_eq!((told(&actions), sent(&actions, &Method::Bye)), (vec![(1, Err("talk_timeout"))], 0));
    assert!(bench.calls.unacknowledged(key));
    assert_eq!(sent(&bench.actions(), &Method::Bye), 1);
    bench.bye_answered(call, Err(Unanswered::Timeout));
    let actions = bench.actions();
    assert!(matches!(actions[0], Action::LeftOver(_)));
    assert!(bench.calls.is_idle());
    // Its connection is gone at once: nothing is waited for.
    let mut bench = talk();
    let call = bench.announce();
    let (key, ..) = bench.answered_voice(call, MediaMode::Udp);
    assert!(bench.calls.unacknowledged(key));
    let actions = bench.actions();
    assert_eq!((told(&actions), sent(&actions, &Method::Bye)), (vec![(1, Err("talk_timeout"))], 1));
}

#[test]
fn a_device_that_refuses_or_does_not_call_is_named() {
    let mut bench = talk();
    bench.speak(1, TalkWay::Broadcast);
    let [Action::Broadcast { call, .. }] = bench.actions()[..] else { panic!() };
    bench.calls.broadcast_answered(bench.now, call, Err("the device answered ERROR".to_owned()));
    assert_eq!(told(&bench.actions()), [(1, Err("talk_refused"))]);
    assert!(bench.calls.is_idle());

    let mut bench = talk();
    bench.announce();
    bench.later(4.9);
    assert!(bench.actions().is_empty());
    bench.later(0.1);
    let actions = bench.actions();
    assert_eq!(told(&actions), [(1, Err("talk_timeout"))]);
    assert!(matches!(actions[0], Action::Observe { rule: Rule::BroadcastNoInvite, .. }));
    assert!(bench.calls.is_idle());
    // Its INVITE comes after all.
    assert!(!bench.calls_us(MediaMode::Udp, |body| body).2);

    // No answer to the announcement at all.
    let mut bench = talk();
    bench.speak(1, TalkWay::Broadcast);
    bench.later(10.0);
    assert_eq!(told(&bench.actions()), [(1, Err("talk_timeout"))]);
}

#[test]
fn an_invite_that_overtakes_the_consent_is_taken() {
    let mut bench = talk();
    bench.speak(1, TalkWay::Broadcast);
    let [Action::Broadcast { call, .. }] = bench.actions()[..] else { panic!() };
    assert!(bench.calls_us(MediaMode::Udp, |body| body).2);
    assert_eq!(bench.calls.awaited().count(), 0, "it came");
    bench.calls.broadcast_answered(bench.now, call, Err("late".to_owned()));
    let actions = bench.actions();
    assert!(matches!(actions[..], [Action::OpenMedia { .. }]));
}

#[test]
fn an_unexpected_invite_is_not_ours() {
    let mut bench = talk();
    assert!(!bench.calls_us(MediaMode::Udp, |body| body).2, "nothing was announced");
    assert_eq!(bench.calls.awaited().count(), 0);
    bench.speak(1, TalkWay::Talk);
    assert!(!bench.calls_us(MediaMode::Udp, |body| body).2, "we call ourselves");
    let mut bench = talk();
    bench.announce();
    assert!(bench.calls.awaited().eq([id(DEVICE)]));
    bench.key = Key::talk(id("34020000001180000009"), id(OUTPUT));
    let stranger = id("34020000001180000009");
    let request = bench.calls_us(MediaMode::Udp, |body| body).1;
    assert!(!bench.calls.incoming(bench.now, server_key(), bench.target.flow, stranger, &request));
}

#[test]
fn an_offer_without_a_way_is_refused() {
    for edit in [
        |body: String| {
            body.replace("RTP/AVP 8", "RTP/AVP 104").replace("rtpmap:8 PCMA/8000", "rtpmap:104 AAC/8000")
        },
        |body: String| body.replace("m=audio 40000", "m=audio 0"),
        |_| "nonsense".to_owned(),
    ] {
        let mut bench = talk();
        bench.announce();
        assert!(bench.calls_us(MediaMode::Udp, edit).2);
        let actions = bench.actions();
        assert_eq!((responses(&actions), told(&actions)), (vec![488], vec![(1, Err("talk_refused"))]));
        assert!(bench.calls.is_idle());
    }
    // One that does not know its address takes sound where it speaks SIP.
    let mut bench = talk();
    let call = bench.announce();
    bench.calls_us(MediaMode::Udp, |body| body.replace("c=IN IP4 192.0.2.20", "c=IN IP4 0.0.0.0"));
    bench.calls.media(bench.now, call, Media::Opened("192.0.2.10:30000".parse().unwrap()));
    let remote = bench.actions().into_iter().find_map(|action| match action {
        Action::ConnectMedia { remote, .. } => remote,
        _ => None,
    });
    assert_eq!(remote, Some("192.0.2.20:40000".parse().unwrap()));
}

#[test]
fn a_device_may_cancel_its_invite() {
    let mut bench = talk();
    bench.announce();
    let (key, ..) = bench.calls_us(MediaMode::Udp, |body| body);
    bench.actions();
    assert!(bench.calls.cancelled(key));
    let actions = bench.actions();
    assert_eq!((responses(&actions), told(&actions)), (vec![487], vec![(1, Err("talk_refused"))]));
    assert!(bench.calls.is_idle());
    assert!(!bench.calls.cancelled(key));
    // No port: it is told so.
    let mut bench = talk();
    let call = bench.announce();
    bench.calls_us(MediaMode::Udp, |body| body);
    bench.calls.media(bench.now, call, Media::OpenFailed("no port".to_owned()));
    let actions = bench.actions();
    assert_eq!((responses(&actions), told(&actions)), (vec![480], vec![(1, Err("no_capacity"))]));
}

#[test]
fn a_bye_of_the_device_ends_the_voice() {
    for ready in [true, false] {
        let mut bench = talk();
        let call = bench.announce();
        let (_, ok, _) = bench.answered_voice(call, MediaMode::Udp);
        if ready {
            bench.acknowledge(&ok);
            bench.actions();
        }
        assert!(bench.device_says(&ok, Method::Invite));
        assert_eq!(responses(&bench.actions()), [488], "the session goes on as it was");
        assert!(bench.device_says(&ok, Method::Bye));
        let actions = bench.actions();
        assert_eq!(told(&actions), if ready { vec![] } else { vec![(1, Err("talk_refused"))] });
        assert_eq!((responses(&actions), sent(&actions, &Method::Bye)), (vec![200], 0));
        assert!(bench.calls.is_idle());
    }
}

#[test]
fn one_speaks_at_a_time() {
    let mut bench = talk();
    bench.announce();
    bench.speak(2, TalkWay::Broadcast);
    assert_eq!(told(&bench.actions()), [(2, Err("talk_busy"))]);
    // To another output of the device somebody else may; each INVITE finds its own.
    bench.key = Key::talk(id(DEVICE), id("34020000001370000002"));
    bench.speak(3, TalkWay::Broadcast);
    let [Action::Broadcast { call: second, .. }] = bench.actions()[..] else { panic!() };
    let (_, mut invite, _) = bench.calls_us(MediaMode::Udp, |body| body.replace("40000", "0"));
    bench.actions();
    invite.set("Call-ID", "4712");
    invite.set("From", "<sip:34020000001370000002@3402000000>;tag=dev");
    assert!(bench.calls.incoming(bench.now, server_key(), bench.target.flow, id(DEVICE), &invite));
    let actions = bench.actions();
    assert!(actions.iter().any(|action| matches!(action, Action::Ended { call, .. } if *call == second)));
}

#[test]
fn a_lost_device_ends_an_announced_voice() {
    let mut bench = talk();
    bench.announce();
    bench.calls.device_lost(&id("34020000001180000009"), "another");
    assert!(bench.actions().is_empty());
    bench.calls.device_lost(&id(DEVICE), "keepalives missed");
    assert_eq!(told(&bench.actions()), [(1, Err("device_offline"))]);
    assert!(bench.calls.is_idle());
}

/// As far as our INVITE with `s=Talk`.
fn called(transport: TalkTransport) -> (Bench, CallId, Message) {
    let mut bench = talk();
    bench.target.manners.talk_transport = transport;
    bench.speak(1, TalkWay::Talk);
    let [Action::OpenMedia { call, flowing: Flowing::BothAudio, target, .. }] = bench.actions()[..] else {
        panic!("no port asked for")
    };
    let tcp = transport == TalkTransport::Tcp;
    assert_eq!(target.transport, if tcp { MediaMode::TcpPassive } else { MediaMode::Udp });
    bench.calls.media(bench.now, call, Media::Opened("192.0.2.10:30000".parse().unwrap()));
    let Some(Action::Request { message, purpose: Purpose::Invite, .. }) = bench.actions().pop() else {
        panic!()
    };
    (bench, call, message)
}

/// The device's 200 to it.
fn taken(invite: &Message, edit: impl Fn(String) -> String) -> Message {
    let body = String::from_utf8(invite.body.to_vec()).unwrap();
    let body = body.replace("192.0.2.10", "192.0.2.20").replace("audio 30000", "audio 15060");
    let ok =
        invite.response(200).with_to_tag("d1").with("Contact", format!("<sip:{OUTPUT}@192.0.2.20:5060>"));
    ok.with_body(sdp::CONTENT_TYPE, Bytes::from(edit(body)))
}

#[test]
fn a_talk_over_udp() {
    let (mut bench, call, invite) = called(TalkTransport::Udp);
    let text = String::from_utf8(invite.body.to_vec()).unwrap();
    for line in ["s=Talk", "m=audio 30000 RTP/AVP 8", "a=sendrecv", "y=0200000001"] {
        assert!(text.contains(&format!("{line}\r\n")), "{text}");
    }
    bench.answered(call, Ok(&taken(&invite, |body| body)));
    let actions = bench.actions();
    assert!(is_ready(&actions));
    assert_eq!((told(&actions), sent(&actions, &Method::Ack)), (vec![(1, Ok(call))], 1));
    let to = actions.iter().find_map(|action| match action {
        Action::ConnectMedia { remote, payload_type, .. } => Some((*remote, *payload_type)),
        _ => None,
    });
    assert_eq!(to, Some((Some("192.0.2.20:15060".parse().unwrap()), Some(PCMA))));
    bench.later(15.0);
    assert_eq!(sent(&bench.actions(), &Method::Bye), 1, "nobody speaks");
}

#[test]
fn a_talk_over_tcp_waits_for_the_device() {
    let (mut bench, call, invite) = called(TalkTransport::Tcp);
    let text = String::from_utf8(invite.body.to_vec()).unwrap();
    assert!(
        text.contains("m=audio 30000 TCP/RTP/AVP 8\r\n") && text.contains("a=setup:passive\r\n"),
        "{text}"
    );
    // The connection may be there before the 200.
    bench.calls.media(bench.now, call, Media::Connected);
    assert!(bench.actions().is_empty());
    bench.answered(call, Ok(&taken(&invite, |body| body.replace("passive", "active"))));
    assert!(is_ready(&bench.actions()));

    let (mut bench, call, invite) = called(TalkTransport::Tcp);
    bench.answered(call, Ok(&taken(&invite, |body| body.replace("passive", "active"))));
    assert!(!is_ready(&bench.actions()));
    bench.calls.media(bench.now, call, Media::Connected);
    assert!(is_ready(&bench.actions()));
}

#[test]
fn a_talk_that_comes_to_nothing() {
    let (mut bench, call, invite) = called(TalkTransport::Udp);
    bench.answered(call, Ok(&invite.response(488)));
    assert_eq!(told(&bench.actions()), [(1, Err("invite_refused"))]);
    // No port to send to.
    let (mut bench, call, invite) = called(TalkTransport::Udp);
    bench.answered(call, Ok(&taken(&invite, |body| body.replace("audio 15060", "audio 0"))));
    let actions = bench.actions();
    assert_eq!((told(&actions), sent(&actions, &Method::Bye)), (vec![(1, Err("invite_refused"))], 1));
    // Nobody waits any more; the 200 crosses the CANCEL.
    let (mut bench, call, invite) = called(TalkTransport::Udp);
    bench.calls.unwant(Waiter(1));
    assert!(bench.actions().iter().any(|action| matches!(action, Action::Cancel { .. })));
    bench.answered(call, Ok(&taken(&invite, |body| body)));
    let actions = bench.actions();
    assert_eq!((sent(&actions, &Method::Ack), sent(&actions, &Method::Bye)), (1, 1));
    assert!(!is_ready(&actions));
}
