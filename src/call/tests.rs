//! Calls driven in virtual time against a device that is played by the test.

use std::time::Duration;

use bytes::Bytes;

mod chaos;
mod control;
mod history;
mod talk;

use super::*;
use crate::gb::sdp::{self, MediaMode};
use crate::gb::time::UnixMillis;
use crate::registry::profile::{InviteHost, Manners, StreamAttribute};
use crate::sip::transaction::Failure as Unanswered;
use crate::sip::{Flow, Method, ServerKey, Transport};

const DEVICE: &str = "34020000001180000001";
const CHANNEL: &str = "34020000001310000001";

impl Calls {
    /// What must hold between any two inputs.
    pub(crate) fn check(&self) {
        for (key, id) in &self.live {
            let call = &self.calls[id];
            assert_eq!(call.key, *key);
            assert!(!call.state.is_ending(), "it takes no viewers any more");
            assert!(call.deadline.is_some() || call.readers > 0, "it would wait for ever");
        }
        for (call_id, id) in &self.by_call_id {
            assert_eq!(self.calls[id].invite.as_ref().and_then(Message::call_id), Some(call_id.as_str()));
        }
        for (key, id) in &self.by_server {
            assert_eq!(self.calls[id].talk.as_ref().and_then(|talk| talk.server), Some(*key));
        }
        let devices: BTreeSet<_> = self.calls.iter().map(|(id, call)| (call.key.device, *id)).collect();
        assert_eq!(devices, self.by_device, "each call is its device's");
        let mut deadlines = BTreeSet::new();
        let mut waiting = HashMap::new();
        for (id, call) in &self.calls {
            deadlines.extend(call.deadline.map(|at| (at, *id, Timer::Life)));
            deadlines.extend(call.control_deadline.map(|at| (at, *id, Timer::Control)));
            waiting.extend(call.waiters.iter().map(|waiter| (*waiter, *id)));
            let player = call.player.iter().flat_map(|player| player.waiters());
            waiting.extend(player.map(|waiter| (waiter, *id)));
            if self.live.get(&call.key) != Some(id) {
                assert!(call.state.is_ending() && call.waiters.is_empty());
                assert!(call.deadline.is_some() || call.state != State::Owing);
            }
        }
        assert_eq!(deadlines, self.deadlines, "each deadline is its call's");
        assert_eq!(waiting, self.waiting, "who waits, waits for something");
    }

    /// Whether nothing is left.
    pub(crate) fn is_idle(&self) -> bool {
        let calls = self.calls.len() + self.live.len() + self.by_call_id.len() + self.by_device.len();
        let rest = self.by_server.len() + self.waiting.len() + self.deadlines.len() + self.actions.len();
        calls + rest == 0
    }
}

struct Bench {
    calls: Calls,
    now: Now,
    target: Target,
    key: Key,
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn bench() -> Bench {
    let settings = Settings {
        platform: id("34020000002000000001"),
        domain: "3402000000".to_owned(),
        play_timeout: Duration::from_secs(10),
        no_reader_timeout: Duration::from_secs(15),
    };
    let pool = SsrcPool::new(settings.platform, 0, 1);
    let flow = Flow {
        transport: Transport::Udp,
        local: "192.0.2.10:5060".parse().unwrap(),
        remote: "192.0.2.20:5060".parse().unwrap(),
        connection: 0,
    };
    Bench {
        calls: Calls::new(settings, pool, 3, Tokens::new([7; 32], 3)),
        now: Now { instant: origin(), unix: UnixMillis(1_714_521_600_000) },
        target: Target { flow, transport: MediaMode::Udp, manners: Manners::default(), history: None },
        key: Key::live(id(DEVICE), id(CHANNEL), Profile::Main),
    }
}

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn origin() -> Instant {
    Instant::now()
}

impl Bench {
    fn later(&mut self, seconds: f64) {
        self.now.instant += Duration::from_secs_f64(seconds);
        self.calls.handle_timeout(self.now);
    }

    fn actions(&mut self) -> Vec<Action> {
        self.calls.check();
        std::iter::from_fn(|| self.calls.poll_action()).collect()
    }

    fn want(&mut self, waiter: u64) {
        self.calls.want(self.now, Waiter(waiter), self.key, self.target);
    }

    fn answered(&mut self, call: CallId, answer: Result<&Message, Unanswered>) {
        self.calls.answered(self.now, call, Purpose::Invite, answer);
    }

    fn bye_answered(&mut self, call: CallId, answer: Result<&Message, Unanswered>) {
        self.calls.answered(self.now, call, Purpose::Bye, answer);
    }

    /// A request of the device in the dialog of our INVITE.
    fn in_dialog(&mut self, invite: &Message, method: Method, body: &str) -> bool {
        let numbered = format!("20 {method}");
        let request = Message::request(method, "sip:34020000002000000001@192.0.2.10:5060")
            .with("From", format!("{};tag=d1", invite.header("To").unwrap()))
            .with("To", invite.header("From").unwrap())
            .with("Call-ID", invite.call_id().unwrap())
            .with("CSeq", numbered)
            .with_body("Application/MANSCDP+xml", Bytes::from(body.to_owned()));
        self.calls.request(self.now, server_key(), &request)
    }

    /// Wants the stream and opens its port; returns the call and its INVITE.
    fn invite(&mut self) -> (CallId, Message) {
        self.want(1);
        let [Action::OpenMedia { call, ssrc, .. }] = self.actions()[..] else { panic!("no port asked for") };
        assert_eq!(ssrc, if self.key.is_history() { 1_200_000_001 } else { 200_000_001 });
        self.calls.media(self.now, call, Media::Opened("192.0.2.10:30000".parse().unwrap()));
        let mut actions = self.actions();
        let Some(Action::Request { message, .. }) = actions.pop() else { panic!("no INVITE") };
        assert!(actions.is_empty());
        (call, message)
    }

    /// The device's 200 to an INVITE, with SDP lines changed by `edit`.
    fn ok(&self, invite: &Message, edit: impl Fn(String) -> String) -> Message {
        let offer = sdp::parse(&invite.body).unwrap();
        let local = "192.0.2.20:15060".parse().unwrap();
        let answer = Sdp::answer_to(&offer, &id(CHANNEL), local).unwrap().to_bytes();
        let body = edit(String::from_utf8(answer.to_vec()).unwrap());
        invite
            .response(200)
            .with_to_tag("d1")
            .with("Contact", format!("<sip:{CHANNEL}@192.0.2.20:5060>"))
            .with_body(sdp::CONTENT_TYPE, Bytes::from(body))
    }

    /// As far as a running stream.
    fn running(&mut self) -> (CallId, Message) {
        let (call, invite) = self.invite();
        let ok = self.ok(&invite, |body| body);
        self.answered(call, Ok(&ok));
        self.calls.media(self.now, call, Media::Flowing);
        self.calls.media(self.now, call, Media::Ready);
        (call, invite)
    }
}

fn told(actions: &[Action]) -> Vec<(u64, Result<CallId, &'static str>)> {
    let outcome = |outcome: &Result<CallId, Failure>| outcome.as_ref().copied().map_err(Failure::code);
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Tell { waiter, outcome: what } => Some((waiter.0, outcome(what))),
            _ => None,
        })
        .collect()
}

fn method(action: &Action) -> Option<&Method> {
    match action {
        Action::Request { message, .. } | Action::Send { message, .. } => message.method(),
        _ => None,
    }
}

fn sent(actions: &[Action], wanted: &Method) -> usize {
    actions.iter().filter(|action| method(action) == Some(wanted)).count()
}

#[test]
fn the_invite_is_as_the_standard_has_it() {
    let mut bench = bench();
    let (_, invite) = bench.invite();
    assert_eq!(invite.uri(), Some("sip:34020000001310000001@192.0.2.20:5060"));
    assert_eq!(invite.header("Subject"), Some("34020000001310000001:0200000001,34020000002000000001:0"));
    assert_eq!(invite.contact().unwrap().uri, "sip:34020000002000000001@192.0.2.10:5060");
    let body = String::from_utf8(invite.body.to_vec()).unwrap();
    assert!(body.contains("m=video 30000 RTP/AVP 96"), "{body}");
    assert!(body.contains("y=0200000001\r\n"), "{body}");
    let shard = crate::sip::shard_of(invite.call_id().unwrap());
    assert_eq!(shard, Some(3), "answers and BYE find the shard by the Call-ID");
}

#[test]
fn one_invite_serves_all_who_wait_and_all_who_come_later() {
    let mut bench = bench();
    let (call, invite) = bench.invite();
    bench.want(2);
    let ok = bench.ok(&invite, |body| body);
    bench.answered(call, Ok(&ok));
    let actions = bench.actions();
    assert_eq!(sent(&actions, &Method::Ack), 1);
    let kept = actions
        .iter()
        .any(|action| matches!(action, Action::Keep(record) if record.ssrc == Some(200_000_001)));
    assert!(kept, "a dialog is kept from the moment it exists");
    bench.calls.media(bench.now, call, Media::Ready);
    bench.want(3);
    let actions = bench.actions();
    assert_eq!(told(&actions), [(1, Ok(call)), (2, Ok(call)), (3, Ok(call))]);
    assert_eq!(sent(&actions, &Method::Invite), 0);
}

#[test]
fn a_repeated_200_is_acknowledged_again() {
    let mut bench = bench();
    let (call, invite) = bench.running();
    bench.actions();
    let ok = bench.ok(&invite, |body| body);
    bench.answered(call, Ok(&ok));
    let actions = bench.actions();
    assert_eq!((actions.len(), sent(&actions, &Method::Ack)), (1, 1));
}

#[test]
fn the_ssrc_of_the_answer_counts() {
    for (y, expected) in
        [("y=0200009999\r\n", 200_009_999), ("y=200009999\r\n", 200_009_999), ("", 200_000_001)]
    {
        let mut bench = bench();
        let (call, invite) = bench.invite();
        let ok = bench.ok(&invite, |body| body.replace("y=0200000001\r\n", y));
        bench.answered(call, Ok(&ok));
        let actions = bench.actions();
        let ssrc = actions.iter().find_map(|action| match action {
            Action::ConnectMedia { ssrc, .. } => Some(*ssrc),
            _ => None,
        });
        assert_eq!(ssrc, Some(expected), "{y}");
    }
}

#[test]
fn each_step_that_fails_has_its_own_code() {
    // No answer at all.
    let mut bench = bench();
    let (call, invite) = bench.invite();
    bench.later(10.0);
    let actions = bench.actions();
    assert_eq!(told(&actions), [(1, Err("invite_timeout"))]);
    assert!(actions.iter().any(|action| matches!(action, Action::Cancel { .. })));
    // The 200 crosses the CANCEL: the device must not be left streaming.
    let ok = bench.ok(&invite, |body| body);
    bench.answered(call, Ok(&ok));
    let actions = bench.actions();
    assert_eq!((sent(&actions, &Method::Ack), sent(&actions, &Method::Bye)), (1, 1));
    bench.bye_answered(call, Err(Unanswered::Timeout));
    assert_eq!(bench.calls.count(), 0);

    // Refused.
    let mut bench = self::bench();
    let (call, invite) = bench.invite();
    bench.answered(call, Ok(&invite.response(486)));
    let actions = bench.actions();
    assert_eq!(told(&actions), [(1, Err("invite_refused"))]);
    assert_eq!((sent(&actions, &Method::Bye), bench.calls.count()), (0, 0));

    // Answered, but no RTP; then RTP, but no picture.
    for (flowing, code) in [(false, "no_rtp"), (true, "no_key_frame")] {
        let mut bench = self::bench();
        let (call, invite) = bench.invite();
        let ok = bench.ok(&invite, |body| body);
        bench.answered(call, Ok(&ok));
        if flowing {
            bench.calls.media(bench.now, call, Media::Flowing);
        }
        bench.later(9.9);
        assert_eq!(told(&bench.actions()), []);
        bench.later(0.2);
        let actions = bench.actions();
        assert_eq!(told(&actions), [(1, Err(code))]);
        assert_eq!(sent(&actions, &Method::Bye), 1);
        assert!(actions.iter().any(|action| matches!(action, Action::CloseMedia { .. })));
    }

    // The media port is 0.
    let mut bench = self::bench();
    let (call, invite) = bench.invite();
    bench.target.transport = MediaMode::TcpActive;
    let ok = bench.ok(&invite, |body| body.replace("m=video 15060", "m=video 0"));
    bench.answered(call, Ok(&ok));
    // Over UDP the device's port says nothing that we need, so the stream is waited for.
    assert_eq!(told(&bench.actions()), []);
}

#[test]
fn bye_follows_the_last_reader_after_a_while() {
    let mut bench = bench();
    let (call, _) = bench.running();
    bench.calls.media(bench.now, call, Media::Readers(2));
    bench.later(100.0);
    bench.calls.media(bench.now, call, Media::Readers(0));
    bench.actions();
    bench.later(14.9);
    assert_eq!(sent(&bench.actions(), &Method::Bye), 0);
    bench.later(0.2);
    let actions = bench.actions();
    assert_eq!(sent(&actions, &Method::Bye), 1);
    assert!(actions.iter().any(|action| matches!(action, Action::Ended { ran: true, .. })));
    // A new viewer does not wait for the answer to that BYE.
    bench.want(9);
    assert!(matches!(bench.actions()[..], [Action::OpenMedia { .. }]));
}

#[test]
fn a_reader_who_comes_back_keeps_the_stream() {
    let mut bench = bench();
    let (call, _) = bench.running();
    bench.calls.media(bench.now, call, Media::Readers(1));
    bench.calls.media(bench.now, call, Media::Readers(0));
    bench.later(10.0);
    bench.calls.media(bench.now, call, Media::Readers(1));
    bench.actions();
    bench.later(60.0);
    assert_eq!(sent(&bench.actions(), &Method::Bye), 0);
}

#[test]
fn a_bye_of_the_device_ends_the_stream_without_one_of_ours() {
    let mut bench = bench();
    let (call, invite) = bench.running();
    bench.actions();
    let from = format!("<sip:{CHANNEL}@3402000000>;tag=d1");
    let own_tag = invite.from().unwrap().tag.unwrap().to_owned();
    let bye = |tag: &str| {
        Message::request(Method::Bye, "sip:34020000002000000001@192.0.2.10:5060")
            .with("From", from.clone())
            .with("To", format!("<sip:34020000002000000001@3402000000>;tag={tag}"))
            .with("Call-ID", invite.call_id().unwrap())
            .with("CSeq", "2 BYE")
    };
    assert!(
        !bench.calls.request(bench.now, server_key(), &bye("forged")),
        "a dialog is more than its Call-ID"
    );
    assert!(bench.calls.request(bench.now, server_key(), &bye(&own_tag)));
    let actions = bench.actions();
    assert!(matches!(&actions[0], Action::Respond { message, .. } if message.code() == Some(200)));
    assert_eq!(sent(&actions, &Method::Bye), 0);
    assert!(actions.iter().any(|action| matches!(action, Action::Forget { .. })));
    assert!(!bench.calls.stop(call, "again"));
    assert_eq!(bench.calls.count(), 0);
}

fn server_key() -> ServerKey {
    // The only way to a key is a transaction.
    let mut transactions = crate::sip::Transactions::new(Default::default(), Tokens::new([1; 32], 0));
    let flow = bench().target.flow;
    let request = Message::request(Method::Options, "sip:a@b")
        .with("Via", "SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK1")
        .with("From", "<sip:a@b>;tag=1")
        .with("To", "<sip:b@b>")
        .with("Call-ID", "1")
        .with("CSeq", "1 OPTIONS");
    transactions.receive(origin(), flow, request);
    std::iter::from_fn(|| transactions.poll_output())
        .find_map(|output| match output {
            crate::sip::Output::Request { key, .. } => key,
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_lost_device_fails_those_who_wait() {
    let mut bench = bench();
    let (_, _) = bench.invite();
    bench.calls.device_lost(&id(DEVICE), "keepalives missed");
    let actions = bench.actions();
    assert_eq!(told(&actions), [(1, Err("device_offline"))]);
    assert!(actions.iter().any(|action| matches!(action, Action::Cancel { .. })));
}

#[test]
fn an_invite_that_cannot_be_sent_leaves_nothing_behind() {
    for failure in [Unanswered::Timeout, Unanswered::Transport, Unanswered::Full] {
        let mut bench = bench();
        let (call, _) = bench.invite();
        bench.answered(call, Err(failure));
        assert_eq!(told(&bench.actions()), [(1, Err("invite_timeout"))]);
        assert!(bench.calls.is_idle());
    }
}

#[test]
fn a_picture_may_come_before_the_answer() {
    // The answer comes late; it is a refusal; nobody stays until it comes.
    let mut bench = bench();
    let (call, invite) = bench.invite();
    bench.calls.media(bench.now, call, Media::Ready);
    assert_eq!(told(&bench.actions()), [(1, Ok(call))]);
    let ok = bench.ok(&invite, |body| body);
    bench.answered(call, Ok(&ok));
    assert_eq!(sent(&bench.actions(), &Method::Ack), 1);

    let mut bench = self::bench();
    let (call, invite) = bench.invite();
    bench.calls.media(bench.now, call, Media::Ready);
    bench.answered(call, Ok(&invite.response(500)));
    bench.actions();
    assert!(bench.calls.is_idle());

    let mut bench = self::bench();
    let (call, invite) = bench.invite();
    bench.calls.media(bench.now, call, Media::Ready);
    bench.actions();
    bench.later(15.0);
    assert!(bench.actions().iter().any(|action| matches!(action, Action::Cancel { .. })));
    let ok = bench.ok(&invite, |body| body);
    bench.answered(call, Ok(&ok));
    let actions = bench.actions();
    assert_eq!((sent(&actions, &Method::Ack), sent(&actions, &Method::Bye)), (1, 1), "the device must stop");
}

#[test]
fn a_bye_that_nobody_answers_leaves_the_dialog_on_record() {
    let mut bench = bench();
    let (call, _) = bench.running();
    assert!(bench.calls.stop(call, "enough"));
    bench.actions();
    bench.bye_answered(call, Err(Unanswered::Timeout));
    let mut actions = bench.actions();
    assert!(!actions.iter().any(|action| matches!(action, Action::Forget { .. })));
    let Action::LeftOver(record) = actions.remove(0) else { panic!("{actions:?}") };
    assert!(bench.calls.is_idle());
    bench.calls.end_left_over(*record, bench.target.flow);
    let actions = bench.actions();
    assert!(matches!(actions[0], Action::Forget { .. }));
    assert_eq!(sent(&actions, &Method::Bye), 1);
}

#[test]
fn ssrcs_come_back_when_calls_end() {
    let mut bench = bench();
    for round in 0..20_000u32 {
        let (call, invite) = {
            bench.want(1);
            let actions = bench.actions();
            let Some(Action::OpenMedia { call, .. }) = actions.first() else {
                panic!("round {round}: no SSRC left")
            };
            let call = *call;
            bench.calls.media(bench.now, call, Media::Opened("192.0.2.10:30000".parse().unwrap()));
            let mut actions = bench.actions();
            let Some(Action::Request { message, .. }) = actions.pop() else { panic!() };
            (call, message)
        };
        bench.answered(call, Ok(&invite.response(486)));
        bench.actions();
    }
    assert_eq!(bench.calls.count(), 0);
}

#[test]
fn the_sub_stream_is_asked_for_as_the_vendor_has_it() {
    for (attribute, line) in [
        (StreamAttribute::StreamNumber, "a=streamnumber:1"),
        (StreamAttribute::StreamMode, "a=streamMode:sub"),
    ] {
        let mut bench = bench();
        bench.invite();
        bench.key = Key::live(id(DEVICE), id(CHANNEL), Profile::Sub);
        bench.target.manners.stream_attribute = attribute;
        bench.target.manners.invite_host = InviteHost::Domain;
        bench.want(2);
        let [Action::OpenMedia { call, .. }] = bench.actions()[..] else { panic!("it is a call of its own") };
        bench.calls.media(bench.now, call, Media::Opened("192.0.2.10:30002".parse().unwrap()));
        let Some(Action::Request { message, .. }) = bench.actions().pop() else { panic!("no INVITE") };
        let body = String::from_utf8(message.body.to_vec()).unwrap();
        assert!(body.contains(&format!("{line}\r\n")), "{body}");
        assert_eq!(message.uri(), Some("sip:34020000001310000001@3402000000"));
    }
}

#[test]
fn a_lost_200_comes_again() {
    // The transaction sends the INVITE again, and the device its 200; to us it is the first.
    let mut bench = bench();
    let (call, invite) = bench.invite();
    bench.answered(call, Ok(&invite.response(100)));
    bench.later(4.0);
    let ok = bench.ok(&invite, |body| body);
    bench.answered(call, Ok(&ok));
    let actions = bench.actions();
    assert_eq!(sent(&actions, &Method::Ack), 1);
    assert!(actions.iter().any(|action| matches!(action, Action::ConnectMedia { .. })));
}

#[test]
fn a_re_invite_leaves_the_session_as_it_was() {
    let mut bench = bench();
    let (call, invite) = bench.running();
    bench.actions();
    assert!(bench.in_dialog(&invite, Method::Invite, ""));
    let actions = bench.actions();
    assert!(matches!(&actions[..], [Action::Respond { message, .. }] if message.code() == Some(488)));
    assert!(bench.calls.stop(call, "enough"));
}

#[test]
fn a_reader_who_attached_before_the_picture_counts() {
    let mut bench = bench();
    let (call, invite) = bench.invite();
    let ok = bench.ok(&invite, |body| body);
    bench.answered(call, Ok(&ok));
    bench.calls.media(bench.now, call, Media::Readers(1));
    bench.calls.media(bench.now, call, Media::Ready);
    bench.actions();
    bench.later(600.0);
    assert!(bench.actions().is_empty());
}

#[test]
fn a_lost_device_leaves_the_calls_of_others_alone() {
    let mut bench = bench();
    bench.running();
    bench.actions();
    bench.key.device = id("34020000001180000002");
    bench.want(2);
    bench.actions();
    bench.calls.device_lost(&id("34020000001180000002"), "gone");
    assert_eq!(told(&bench.actions()), [(2, Err("device_offline"))]);
    assert_eq!(bench.calls.count(), 1);
}
