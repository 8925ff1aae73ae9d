//! Control of a playback.

use super::history::history;
use super::*;

/// A playback that runs and is watched.
fn playing() -> (Bench, CallId, Message) {
    let mut bench = history(1);
    let (call, invite) = bench.running();
    bench.calls.media(bench.now, call, Media::Readers(1));
    bench.actions();
    (bench, call, invite)
}

impl Bench {
    fn control(&mut self, waiter: u64, call: CallId, command: Playback) {
        self.calls.control(self.now, Waiter(waiter), call, command);
    }

    /// The INFO that was sent, and its number.
    fn info(&mut self) -> (u32, Message) {
        let actions = self.actions();
        let [Action::Keep(kept), Action::Request { purpose: Purpose::Control(number), message, .. }] =
            &actions[..]
        else {
            panic!("no INFO: {actions:?}")
        };
        assert_eq!(message.cseq(), Some((kept.dialog.local_seq, Method::Info)));
        assert_eq!(message.content_type(), Some("Application/MANSRTSP"));
        (*number, message.clone())
    }

    fn obeys(&mut self, call: CallId, (number, info): (u32, Message), body: &str) {
        let ok = info.response(200).with_body("Application/MANSRTSP", Bytes::from(body.to_owned()));
        self.calls.answered(self.now, call, Purpose::Control(number), Ok(&ok));
    }

    /// A command that the device obeys without a word; what came of it.
    fn done(&mut self, call: CallId, command: Playback) -> PlaybackState {
        self.control(7, call, command);
        let info = self.info();
        self.obeys(call, info, "");
        let actions = self.actions();
        let [Action::Pace { state, seek, .. }, Action::Controlled { outcome: Ok(told), .. }] = &actions[..]
        else {
            panic!("{actions:?}")
        };
        assert_eq!((state, *seek), (told, matches!(command, Playback::Seek { .. })));
        *told
    }
}

fn state(paused: bool, scale: f64, position: f64) -> PlaybackState {
    PlaybackState { paused, scale, position }
}

fn controlled(actions: &[Action]) -> Vec<(u64, Result<PlaybackState, &'static str>)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Controlled { waiter, outcome } => {
                Some((waiter.0, outcome.clone().map_err(|why| why.code())))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_playback_is_paused_moved_and_sped_up() {
    let (mut bench, call, _) = playing();
    bench.later(10.0);
    assert_eq!(bench.done(call, Playback::Pause), state(true, 1.0, 10.0));
    bench.later(600.0);
    assert_eq!(bench.done(call, Playback::Resume), state(false, 1.0, 10.0));
    bench.later(5.0);
    assert_eq!(bench.done(call, Playback::Speed { scale: 2.0 }), state(false, 2.0, 15.0));
    bench.later(10.0);
    assert_eq!(bench.done(call, Playback::Seek { seconds: 100.0 }), state(false, 2.0, 100.0));
    bench.later(10.0);
    assert_eq!(bench.done(call, Playback::Speed { scale: -1.0 }), state(false, -1.0, 120.0));
    bench.later(20.0);
    assert_eq!(bench.calls.playback(bench.now, call), Some(state(false, -1.0, 100.0)));
    bench.later(1_000.0);
    assert_eq!(bench.calls.playback(bench.now, call).unwrap().position, 0.0, "not before the begin");
}

#[test]
fn commands_are_as_the_standard_has_them() {
    let (mut bench, call, _) = playing();
    for (command, text) in [
        (Playback::Pause, "PAUSE RTSP/1.0\r\nCSeq: 1\r\nPauseTime: now\r\n\r\n"),
        (Playback::Resume, "PLAY RTSP/1.0\r\nCSeq: 2\r\nRange: npt=now-\r\n\r\n"),
        (Playback::Speed { scale: 2.0 }, "PLAY RTSP/1.0\r\nCSeq: 3\r\nScale: 2.0\r\n\r\n"),
        (Playback::Seek { seconds: 100.0 }, "PLAY RTSP/1.0\r\nCSeq: 4\r\nRange: npt=100-\r\n\r\n"),
    ] {
        bench.control(1, call, command);
        let info = bench.info();
        assert_eq!(info.1.body, text);
        bench.obeys(call, info, "");
        bench.actions();
    }
    let mut bench = history(1);
    bench.target.manners.mansrtsp = crate::registry::profile::PlayDialect::Mansrtsp;
    let (call, _) = bench.running();
    bench.actions();
    bench.control(1, call, Playback::Seek { seconds: 100.0 });
    assert!(bench.info().1.body.starts_with(b"PLAY MANSRTSP/1.0\r\n"), "as of 2011");
}

#[test]
fn the_device_has_the_last_word_on_speed_and_place() {
    let (mut bench, call, _) = playing();
    bench.control(1, call, Playback::Speed { scale: 8.0 });
    let info = bench.info();
    bench.obeys(call, info, "RTSP/1.0 200 OK\r\nCSeq: 77\r\nScale: 4.0\r\n\r\n");
    assert_eq!(controlled(&bench.actions()), [(1, Ok(state(false, 4.0, 0.0)))]);
    bench.control(1, call, Playback::Seek { seconds: 61.0 });
    let info = bench.info();
    bench.obeys(
        call,
        info,
        "RTSP/1.0 200 OK\r\nCSeq: 2\r\nRange: npt=60-\r\nRTP-Info: seq=1;rtptime=2\r\n\r\n",
    );
    assert_eq!(controlled(&bench.actions()), [(1, Ok(state(false, 4.0, 60.0)))]);
}

#[test]
fn a_refused_command_changes_nothing() {
    let (mut bench, call, _) = playing();
    bench.later(10.0);
    // By SIP, and inside a 200.
    for (code, body) in [(400, ""), (200, "RTSP/1.0 457 Invalid Range\r\nCSeq: 1\r\n\r\n")] {
        bench.control(1, call, Playback::Speed { scale: 16.0 });
        let (number, info) = bench.info();
        let answer = info.response(code).with_body("Application/MANSRTSP", Bytes::from(body));
        bench.calls.answered(bench.now, call, Purpose::Control(number), Ok(&answer));
        let actions = bench.actions();
        assert_eq!(controlled(&actions), [(1, Err("control_refused"))]);
        assert_eq!(actions.len(), 1, "the media plane hears nothing of it");
        assert_eq!(bench.calls.playback(bench.now, call), Some(state(false, 1.0, 10.0)));
    }
    assert_eq!(bench.done(call, Playback::Pause), state(true, 1.0, 10.0), "it goes on to be controlled");
}

#[test]
fn an_info_without_an_answer_times_out() {
    let (mut bench, call, _) = playing();
    bench.control(1, call, Playback::Pause);
    let info = bench.info();
    bench.later(4.9);
    assert!(bench.actions().is_empty());
    bench.later(0.1);
    assert_eq!(controlled(&bench.actions()), [(1, Err("control_timeout"))]);
    // The answer comes at last: the device did stop, and the media plane has to know.
    bench.obeys(call, info, "");
    let actions = bench.actions();
    let [Action::Pace { state: PlaybackState { paused: true, .. }, .. }] = actions[..] else {
        panic!("{actions:?}")
    };
    // The transaction's own end, after the command's.
    bench.control(2, call, Playback::Resume);
    let (number, _) = bench.info();
    bench.calls.answered(bench.now, call, Purpose::Control(number), Err(Unanswered::Timeout));
    assert_eq!(controlled(&bench.actions()), [(2, Err("control_timeout"))]);
    bench.calls.answered(bench.now, call, Purpose::Control(number), Err(Unanswered::Timeout));
    bench.control(3, call, Playback::Resume);
    let (number, _) = bench.info();
    bench.calls.answered(bench.now, call, Purpose::Control(number), Err(Unanswered::Transport));
    assert_eq!(controlled(&bench.actions()), [(3, Err("device_offline"))]);
}

#[test]
fn commands_go_out_one_by_one() {
    let (mut bench, call, _) = playing();
    bench.control(1, call, Playback::Pause);
    let first = bench.info();
    bench.control(2, call, Playback::Seek { seconds: 5.0 });
    for waiter in 3..10 {
        bench.control(waiter, call, Playback::Resume);
    }
    assert!(bench.actions().is_empty());
    bench.control(10, call, Playback::Resume);
    assert_eq!(controlled(&bench.actions()), [(10, Err("no_capacity"))]);
    bench.calls.unwant(Waiter(2));
    bench.obeys(call, first, "");
    let actions = bench.actions();
    assert_eq!(controlled(&actions), [(1, Ok(state(true, 1.0, 0.0)))]);
    let infos: Vec<_> = actions.iter().filter(|action| method(action) == Some(&Method::Info)).collect();
    assert_eq!(infos.len(), 1, "the next goes out, though nobody waits for it any more");
}

#[test]
fn a_bye_of_the_device_while_it_is_paused_ends_the_playback() {
    let (mut bench, call, invite) = playing();
    bench.done(call, Playback::Pause);
    bench.later(86_400.0);
    assert!(bench.actions().is_empty(), "a pause may last, while somebody watches");
    bench.control(1, call, Playback::Resume);
    bench.info();
    bench.control(2, call, Playback::Resume);
    assert!(bench.in_dialog(&invite, Method::Bye, ""));
    let actions = bench.actions();
    assert_eq!(controlled(&actions), [(1, Err("stream_ended")), (2, Err("stream_ended"))]);
    assert_eq!(sent(&actions, &Method::Bye), 0);
    assert!(bench.calls.is_idle());
}

#[test]
fn a_device_that_forgot_the_session_is_not_asked_twice() {
    let (mut bench, call, _) = playing();
    bench.control(1, call, Playback::Pause);
    let (number, info) = bench.info();
    bench.calls.answered(bench.now, call, Purpose::Control(number), Ok(&info.response(481)));
    let actions = bench.actions();
    assert_eq!(controlled(&actions), [(1, Err("control_refused"))]);
    assert!(actions.iter().any(|action| matches!(action, Action::Ended { .. })));
    assert_eq!(sent(&actions, &Method::Bye), 0);
    assert!(bench.calls.is_idle());
}

#[test]
fn what_makes_no_sense_is_refused_at_once() {
    let (mut bench, call, _) = playing();
    for command in [
        Playback::Speed { scale: 0.0 },
        Playback::Speed { scale: f64::NAN },
        Playback::Speed { scale: 1e9 },
        Playback::Seek { seconds: -1.0 },
        Playback::Seek { seconds: f64::INFINITY },
    ] {
        bench.control(1, call, command);
        let actions = bench.actions();
        assert_eq!((controlled(&actions), actions.len()), (vec![(1, Err("control_refused"))], 1));
    }
    // A live stream, a call that is gone, and a playback that does not run yet.
    bench.control(1, CallId(99), Playback::Pause);
    assert_eq!(controlled(&bench.actions()), [(1, Err("not_found"))]);
    let mut bench = super::bench();
    let (call, _) = bench.running();
    bench.actions();
    bench.control(1, call, Playback::Pause);
    assert_eq!(controlled(&bench.actions()), [(1, Err("not_found"))]);
    let mut bench = history(1);
    let (call, _) = bench.invite();
    bench.control(2, call, Playback::Pause);
    assert_eq!(controlled(&bench.actions()), [(2, Err("not_found"))]);
    bench.calls.check();
}

#[test]
fn provisional_and_stray_answers_change_nothing() {
    let (mut bench, call, _) = playing();
    bench.control(1, call, Playback::Pause);
    let (number, info) = bench.info();
    bench.calls.answered(bench.now, call, Purpose::Control(number), Ok(&info.response(100)));
    bench.calls.answered(bench.now, call, Purpose::Control(number + 1), Ok(&info.response(200)));
    assert!(bench.actions().is_empty());
    bench.obeys(call, (number, info), "");
    assert_eq!(controlled(&bench.actions()).len(), 1);
}
