//! Recordings: what is asked for, and how they end.

use super::*;

const NOT_TOLD: &str = "stream_ended";

pub(super) fn history(session: u64) -> Bench {
    let mut bench = bench();
    bench.key = Key::playback(id(DEVICE), id(CHANNEL), session);
    let (start, end) = (UnixMillis(1_714_521_600_000), UnixMillis(1_714_525_199_001));
    bench.target.history = Some(History { start, end, speed: 4, kind: 0 });
    bench
}

fn file_end(kind: u16) -> String {
    format!(
        "<?xml version=\"1.0\"?><Notify><CmdType>MediaStatus</CmdType><SN>8</SN><DeviceID>{CHANNEL}</DeviceID>\
         <NotifyType>{kind}</NotifyType></Notify>"
    )
}

fn body(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

fn ended(actions: &[Action]) -> Vec<(&'static str, Finish, bool)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Ended { why, finish, ran, .. } => Some((why.code(), *finish, *ran)),
            _ => None,
        })
        .collect()
}

fn observed(actions: &[Action]) -> Vec<Rule> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Observe { rule, .. } => Some(*rule),
            _ => None,
        })
        .collect()
}

#[test]
fn a_playback_is_asked_for_by_its_span() {
    let mut bench = history(1);
    let (call, invite) = bench.invite();
    let text = body(&invite);
    for line in ["s=Playback", "u=34020000001310000001:0", "t=1714521600 1714525200", "y=1200000001"] {
        assert!(text.contains(&format!("{line}\r\n")), "{text}");
    }
    assert!(!text.contains("downloadspeed"), "{text}");
    assert_eq!(invite.header("Subject"), Some("34020000001310000001:1200000001,34020000002000000001:0"));
    let ok = bench.ok(&invite, |body| body);
    bench.answered(call, Ok(&ok));
    let kept = bench.actions().into_iter().find_map(|action| match action {
        Action::Keep(record) => Some(record.kind),
        _ => None,
    });
    assert_eq!(kept, Some(crate::registry::StreamKind::Playback), "it is ended after a restart");
}

#[test]
fn a_download_tells_its_speed_and_learns_its_size() {
    let mut bench = history(1);
    bench.key = Key::download(id(DEVICE), id(CHANNEL), 1);
    let (call, invite) = bench.invite();
    let text = body(&invite);
    assert!(text.contains("s=Download\r\n") && text.contains("a=downloadspeed:4\r\n"), "{text}");
    let ok = bench.ok(&invite, |body| body.replace("y=", "a=filesize:7340032\r\ny="));
    bench.answered(call, Ok(&ok));
    let size = bench.actions().into_iter().find_map(|action| match action {
        Action::ConnectMedia { file_size, .. } => file_size,
        _ => None,
    });
    assert_eq!(size, Some(7_340_032));
    // Nobody reads it, and it goes on; yet not for ever.
    bench.calls.media(bench.now, call, Media::Ready);
    bench.calls.media(bench.now, call, Media::Readers(1));
    bench.calls.media(bench.now, call, Media::Readers(0));
    bench.later(7_000.0);
    assert_eq!(ended(&bench.actions()), []);
    bench.later(1_000.0);
    assert_eq!(ended(&bench.actions()), [(NOT_TOLD, Finish::ByUs, true)]);
}

#[test]
fn two_playbacks_of_one_channel_do_not_disturb_each_other() {
    let mut bench = history(1);
    let (first, one) = bench.running();
    bench.actions();
    bench.key = Key::playback(id(DEVICE), id(CHANNEL), 2);
    bench.want(2);
    let [Action::OpenMedia { call: second, ssrc, .. }] = bench.actions()[..] else {
        panic!("no second port")
    };
    assert_ne!((first, 1_200_000_001), (second, ssrc));
    bench.calls.media(bench.now, second, Media::Opened("192.0.2.10:30002".parse().unwrap()));
    let Some(Action::Request { message: two, .. }) = bench.actions().pop() else { panic!("no INVITE") };
    assert_ne!(one.call_id(), two.call_id());
    assert_ne!(one.header("Subject"), two.header("Subject"));
    // The end of one is not the other's.
    assert!(bench.in_dialog(&one, Method::Message, &file_end(121)));
    bench.later(1.0);
    let actions = bench.actions();
    assert_eq!(ended(&actions), [("end_of_file", Finish::Complete, true)]);
    assert!(actions.iter().any(|action| matches!(action, Action::Ended { call, .. } if *call == first)));
    assert_eq!(sent(&actions, &Method::Bye), 1);
    let ok = bench.ok(&two, |body| body);
    bench.answered(second, Ok(&ok));
    bench.calls.media(bench.now, second, Media::Ready);
    assert_eq!(told(&bench.actions()), [(2, Ok(second))]);
}

#[test]
fn what_is_on_its_way_at_the_end_of_the_file_may_arrive() {
    let mut bench = history(1);
    let (call, invite) = bench.running();
    bench.calls.media(bench.now, call, Media::Readers(1));
    bench.actions();
    assert!(bench.in_dialog(&invite, Method::Message, &file_end(122)), "no end, but a word of the session");
    assert_eq!(bench.actions().len(), 1);
    bench.in_dialog(&invite, Method::Message, &file_end(121));
    bench.calls.media(bench.now, call, Media::Readers(2));
    bench.later(0.9);
    assert_eq!(ended(&bench.actions()), []);
    bench.later(0.2);
    let actions = bench.actions();
    assert_eq!(ended(&actions), [("end_of_file", Finish::Complete, true)]);
    assert_eq!(sent(&actions, &Method::Bye), 1);
}

#[test]
fn a_bye_or_a_closed_connection_after_the_end_is_no_fault() {
    for by_media in [true, false] {
        let mut bench = history(1);
        let (call, invite) = bench.running();
        bench.in_dialog(&invite, Method::Message, &file_end(121));
        bench.actions();
        if by_media {
            bench.calls.media(bench.now, call, Media::Ended("closed".to_owned()));
        } else {
            bench.in_dialog(&invite, Method::Bye, "");
        }
        assert_eq!(ended(&bench.actions()), [("end_of_file", Finish::Complete, true)]);
    }
}

#[test]
fn other_messages_inside_the_dialog_are_for_the_device_side() {
    let mut bench = history(1);
    let (_, invite) = bench.running();
    bench.actions();
    let keepalive = "<Notify><CmdType>Keepalive</CmdType><SN>1</SN><DeviceID>1</DeviceID></Notify>";
    assert!(!bench.in_dialog(&invite, Method::Message, keepalive));
    assert!(!bench.in_dialog(&invite, Method::Message, "nonsense"));
    assert!(bench.actions().is_empty());
}

#[test]
fn the_end_of_a_file_is_understood_outside_the_dialog() {
    for channel in [CHANNEL, DEVICE] {
        let mut bench = history(1);
        let (_, _) = bench.running();
        bench.actions();
        let (device, other) = (id(DEVICE), id("34020000001310000009"));
        assert!(!bench.calls.file_end(bench.now, &device, &other), "another channel's");
        assert!(!bench.calls.file_end(bench.now, &other, &other), "another device's");
        assert!(bench.calls.file_end(bench.now, &device, &id(channel)));
        bench.later(1.0);
        assert_eq!(ended(&bench.actions()), [("end_of_file", Finish::Complete, true)]);
    }
    // A live stream has no end.
    let mut bench = bench();
    bench.running();
    assert!(!bench.calls.file_end(bench.now, &id(DEVICE), &id(CHANNEL)));
}

#[test]
fn of_two_recordings_the_one_that_falls_silent_has_ended() {
    let mut bench = history(1);
    let (first, _) = bench.running();
    bench.key = Key::playback(id(DEVICE), id(CHANNEL), 2);
    bench.actions();
    bench.want(2);
    let [Action::OpenMedia { call: second, .. }] = bench.actions()[..] else { panic!() };
    assert!(bench.calls.file_end(bench.now, &id(DEVICE), &id(CHANNEL)));
    bench.later(5.0);
    assert_eq!(ended(&bench.actions()), []);
    bench.calls.media(bench.now, first, Media::Ended("no RTP for 10 s".to_owned()));
    let actions = bench.actions();
    assert_eq!(ended(&actions), [("end_of_file", Finish::Complete, true)]);
    assert!(bench.calls.stop(second, "enough"));
}

#[test]
fn how_a_recording_ended_is_told() {
    // A playback over its whole length, ended without a word.
    let mut bench = history(1);
    let (call, invite) = bench.running();
    bench.calls.media(bench.now, call, Media::Readers(1));
    bench.actions();
    bench.later(3_600.0);
    bench.in_dialog(&invite, Method::Bye, "");
    let actions = bench.actions();
    assert_eq!(ended(&actions), [(NOT_TOLD, Finish::ByDevice, true)]);
    assert_eq!(observed(&actions), [Rule::FileEndMissing]);

    let mut bench = history(1);
    let (call, _) = bench.running();
    bench.actions();
    bench.calls.media(bench.now, call, Media::Ended("no RTP for 10 s".to_owned()));
    let actions = bench.actions();
    assert_eq!((ended(&actions), observed(&actions)), (vec![(NOT_TOLD, Finish::Broken, true)], vec![]));

    let mut bench = history(1);
    let (call, _) = bench.running();
    bench.actions();
    bench.calls.stop(call, "enough");
    assert_eq!(ended(&bench.actions()), [("stream_stopped", Finish::ByUs, true)]);
}

#[test]
fn a_recording_that_is_refused_names_the_code() {
    let mut bench = history(1);
    let (call, invite) = bench.invite();
    bench.answered(call, Ok(&invite.response(404)));
    let actions = bench.actions();
    let Some(Action::Tell { outcome: Err(failure), .. }) =
        actions.iter().find(|action| matches!(action, Action::Tell { .. }))
    else {
        panic!("{actions:?}")
    };
    assert_eq!(failure.reason, Reason::InviteRefused(404));
    assert_eq!(failure.detail, "the device answered the INVITE of a playback with 404 Not Found");
    assert!(bench.calls.is_idle() || bench.calls.count() == 0);
}

#[test]
fn a_playback_that_nobody_waits_for_any_more_is_not_begun() {
    let mut bench = history(1);
    let (_, _) = bench.invite();
    bench.calls.unwant(Waiter(1));
    let actions = bench.actions();
    assert!(actions.iter().any(|action| matches!(action, Action::Cancel { .. })));
    assert_eq!(told(&actions), []);
    // Others may still want a live stream: it goes on.
    let mut bench = super::bench();
    bench.invite();
    bench.calls.unwant(Waiter(1));
    assert!(bench.actions().is_empty());
    bench.later(10.0);
    assert_eq!(told(&bench.actions()), []);
}

#[test]
fn a_playback_without_a_span_is_refused() {
    let mut bench = history(1);
    bench.target.history = None;
    bench.want(1);
    assert_eq!(told(&bench.actions()), [(1, Err("not_found"))]);
    assert!(bench.calls.is_idle());
}

#[test]
fn departures_of_an_answer_are_observed() {
    type Edit = fn(String) -> String;
    let cases: [(Edit, &[Rule]); 5] = [
        (|body| body, &[]),
        (|body| body.replace("y=1200000001\r\n", ""), &[Rule::SdpNoY]),
        (|body| body.replace("y=1200000001", "y=1200000009"), &[Rule::SdpOtherSsrc]),
        (|body| body.replace("s=Playback\r\n", "").replace("y=", "s=x\r\ny="), &[Rule::SdpLineOrder]),
        (|_| "nonsense".to_owned(), &[Rule::SdpUnreadable]),
    ];
    for (edit, rules) in cases {
        let mut bench = history(1);
        let (call, invite) = bench.invite();
        let ok = bench.ok(&invite, edit);
        bench.answered(call, Ok(&ok));
        assert_eq!(observed(&bench.actions()), rules);
    }
    let mut bench = history(1);
    bench.target.transport = MediaMode::TcpPassive;
    let (call, invite) = bench.invite();
    let mut ok = bench.ok(&invite, |body| body.replace("a=setup:active", "a=setup:passive"));
    ok.remove("Contact");
    bench.later(3.0);
    bench.answered(call, Ok(&ok));
    let rules = [Rule::InviteNoTrying, Rule::InviteNoContact, Rule::SdpSetupNotReversed];
    assert_eq!(observed(&bench.actions()), rules);
    // With a 100 before, the device may take its time.
    let mut bench = history(1);
    let (call, invite) = bench.invite();
    bench.answered(call, Ok(&invite.response(100)));
    bench.later(3.0);
    let ok = bench.ok(&invite, |body| body.replace("RTP/AVP", "TCP/RTP/AVP"));
    bench.answered(call, Ok(&ok));
    assert_eq!(observed(&bench.actions()), [Rule::SdpOtherTransport]);
}
