//! Anything in any order: nothing panics, nothing is left behind, and who asks is answered once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::registry::profile::{TalkStart, TalkWay};
use crate::sip::{Output, Transactions};

/// One thing that happens. Numbers choose among what there is, the latest first.
#[derive(Clone, Debug)]
enum Step {
    Want {
        kind: usize,
        open: bool,
    },
    Talk {
        way: TalkWay,
        output: usize,
    },
    Unwant(usize),
    Control {
        call: usize,
        command: Playback,
    },
    Media {
        call: usize,
        news: Media,
    },
    Consent {
        call: usize,
        ok: bool,
    },
    /// An answer to one of the latest requests; 0 is none at all.
    Answer {
        which: usize,
        code: u16,
        body: usize,
    },
    /// The device's INVITE, ACK, CANCEL, or that there was no ACK.
    Incoming {
        output: usize,
        fresh: bool,
    },
    Acknowledge(usize),
    Cancelled(usize),
    Unacknowledged(usize),
    /// A request of the device in the dialog of one of the latest INVITEs.
    InDialog {
        which: usize,
        method: usize,
    },
    FileEnd,
    Lost,
    Stop(usize),
    Later(f64),
}

fn step() -> impl Strategy<Value = Step> {
    let one = || 0..3_usize;
    let news = prop_oneof![
        4 => Just(Media::Opened("192.0.2.10:30000".parse().unwrap())),
        1 => Just(Media::OpenFailed("no port".to_owned())),
        2 => Just(Media::Connected),
        2 => Just(Media::Flowing),
        4 => Just(Media::Ready),
        2 => (0..2_usize).prop_map(Media::Readers),
        1 => Just(Media::Ended("over".to_owned())),
    ];
    let command = prop_oneof![
        Just(Playback::Pause),
        Just(Playback::Resume),
        (-1.0..4_000.0).prop_map(|seconds| Playback::Seek { seconds }),
        (-2.0..8.0).prop_map(|scale| Playback::Speed { scale }),
    ];
    let code = prop_oneof![1 => Just(0), 1 => Just(100), 6 => Just(200), 1 => Just(481), 1 => Just(487), 1 => 300..700_u16];
    let seconds = prop_oneof![6 => 0.0..2.0, 3 => 0.0..15.0, 1 => 0.0..100.0];
    prop_oneof![
        6 => (0..4_usize, prop::bool::weighted(0.8)).prop_map(|(kind, open)| Step::Want { kind, open }),
        4 => (prop_oneof![2 => Just(TalkWay::Broadcast), 1 => Just(TalkWay::Talk)], 0..2_usize)
            .prop_map(|(way, output)| Step::Talk { way, output }),
        1 => one().prop_map(Step::Unwant),
        6 => (one(), command).prop_map(|(call, command)| Step::Control { call, command }),
        14 => (one(), news).prop_map(|(call, news)| Step::Media { call, news }),
        3 => (one(), prop::bool::weighted(0.8)).prop_map(|(call, ok)| Step::Consent { call, ok }),
        16 => (one(), code, 0..4_usize).prop_map(|(which, code, body)| Step::Answer { which, code, body }),
        6 => (0..3_usize, any::<bool>()).prop_map(|(output, fresh)| Step::Incoming { output, fresh }),
        4 => one().prop_map(Step::Acknowledge),
        1 => one().prop_map(Step::Cancelled),
        1 => one().prop_map(Step::Unacknowledged),
        3 => (one(), 0..5_usize).prop_map(|(which, method)| Step::InDialog { which, method }),
        1 => Just(Step::FileEnd),
        1 => Just(Step::Lost),
        1 => one().prop_map(Step::Stop),
        8 => seconds.prop_map(Step::Later),
    ]
}

struct Chaos {
    bench: Bench,
    transactions: Transactions,
    made: u64,
    waiters: u64,
    /// How many answers each who asked has got.
    answers: BTreeMap<u64, usize>,
    unwanted: Vec<u64>,
    calls: Vec<CallId>,
    requests: Vec<(CallId, Purpose, Message)>,
    incoming: Vec<(ServerKey, Message)>,
    /// Our answers to INVITEs of the device.
    accepted: Vec<Message>,
}

fn latest<T>(all: &[T], which: usize) -> Option<&T> {
    all.iter().rev().nth(which)
}

fn output(n: usize) -> Id {
    id(DEVICE).nth(19_000_000 + n as u64)
}

impl Chaos {
    fn new(after_ok: bool) -> Chaos {
        let mut bench = bench();
        if after_ok {
            bench.target.manners.talk_start = TalkStart::AfterOk;
        }
        Chaos {
            bench,
            transactions: Transactions::new(Default::default(), Tokens::new([1; 32], 0)),
            made: 0,
            waiters: 0,
            answers: BTreeMap::new(),
            unwanted: Vec::new(),
            calls: Vec::new(),
            requests: Vec::new(),
            incoming: Vec::new(),
            accepted: Vec::new(),
        }
    }

    fn waiter(&mut self) -> Waiter {
        self.waiters += 1;
        self.answers.insert(self.waiters, 0);
        Waiter(self.waiters)
    }

    fn key(&mut self, request: Message) -> (ServerKey, Message) {
        self.made += 1;
        let request = request.with("Via", format!("SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK{}", self.made));
        self.transactions.receive(origin(), self.bench.target.flow, request);
        std::iter::from_fn(|| self.transactions.poll_output())
            .find_map(|output| match output {
                Output::Request { key: Some(key), request, .. } => Some((key, request)),
                _ => None,
            })
            .unwrap()
    }

    fn step(&mut self, step: Step) {
        let now = self.bench.now;
        match step {
            Step::Want { kind, open } => {
                let (device, channel) = (id(DEVICE), id(CHANNEL));
                let key = match kind {
                    0 => Key::live(device, channel, Profile::Main),
                    1 => Key::live(device, channel, Profile::Sub),
                    2 => Key::playback(device, channel, self.waiters),
                    _ => Key::download(device, channel, self.waiters),
                };
                let mut target = self.bench.target;
                let span = History { start: UnixMillis(0), end: UnixMillis(3_600_000), speed: 4, kind: 0 };
                target.history = key.is_history().then_some(span);
                let waiter = self.waiter();
                self.bench.calls.want(now, waiter, key, target);
                let before = self.calls.len();
                self.collect();
                if let Some(call) = self.calls.get(before).copied().filter(|_| open) {
                    let opened = Media::Opened("192.0.2.10:30000".parse().unwrap());
                    self.bench.calls.media(now, call, opened);
                }
            }
            Step::Talk { way, output: n } => {
                let waiter = self.waiter();
                let key = Key::talk(id(DEVICE), output(n));
                self.bench.calls.talk(now, waiter, key, self.bench.target, way);
            }
            Step::Unwant(which) => {
                let Some(waiter) = self.waiters.checked_sub(which as u64) else { return };
                self.unwanted.push(waiter);
                self.bench.calls.unwant(Waiter(waiter));
            }
            Step::Control { call, command } => {
                let Some(call) = latest(&self.calls, call).copied() else { return };
                let waiter = self.waiter();
                self.bench.calls.control(now, waiter, call, command);
            }
            Step::Media { call, news } => {
                let Some(call) = latest(&self.calls, call) else { return };
                self.bench.calls.media(now, *call, news);
            }
            Step::Consent { call, ok } => {
                let Some(call) = latest(&self.calls, call) else { return };
                let answer = if ok { Ok(()) } else { Err("no".to_owned()) };
                self.bench.calls.broadcast_answered(now, *call, answer);
            }
            Step::Answer { which, code, body } => {
                let Some((call, purpose, request)) = latest(&self.requests, which).cloned() else { return };
                if code == 0 {
                    return self.bench.calls.answered(now, call, purpose, Err(Unanswered::Timeout));
                }
                let bodies =
                    ["", "RTSP/1.0 457 No\r\n\r\n", "RTSP/1.0 200 OK\r\nScale: 0.5\r\n\r\n", "nonsense"];
                let answer = if purpose == Purpose::Invite && code == 200 && body > 0 {
                    request.response(code).with_to_tag("d1").with_body(sdp::CONTENT_TYPE, request.body)
                } else {
                    request.response(code).with_to_tag("d1").with_body("x", Bytes::from(bodies[body]))
                };
                self.bench.calls.answered(now, call, purpose, Ok(&answer));
            }
            Step::Incoming { output: n, fresh } => {
                let local = "192.0.2.20:40000".parse().unwrap();
                let mode = [MediaMode::Udp, MediaMode::TcpPassive, MediaMode::TcpActive][n];
                let offer = Sdp::broadcast_offer(&id(DEVICE), local, mode, 7);
                let call_id = if fresh { self.made } else { 0 };
                let (key, invite) = self.key(
                    Message::request(Method::Invite, "sip:a@b")
                        .with("From", format!("<sip:{}@b>;tag=dev", output(n)))
                        .with("To", "<sip:a@b>")
                        .with("Call-ID", format!("dev{call_id}"))
                        .with("CSeq", "1 INVITE")
                        .with_body(sdp::CONTENT_TYPE, offer.to_bytes()),
                );
                if self.bench.calls.incoming(now, key, self.bench.target.flow, id(DEVICE), &invite) {
                    self.incoming.push((key, invite));
                }
            }
            Step::Acknowledge(which) => {
                let Some(ok) = latest(&self.accepted, which) else { return };
                let ack = Message::request(Method::Ack, "sip:a@b")
                    .with("From", ok.header("From").unwrap())
                    .with("To", ok.header("To").unwrap())
                    .with("Call-ID", ok.call_id().unwrap())
                    .with("CSeq", "1 ACK");
                self.bench.calls.acknowledged(now, &ack);
            }
            Step::Cancelled(which) => {
                if let Some((key, _)) = latest(&self.incoming, which) {
                    self.bench.calls.cancelled(*key);
                }
            }
            Step::Unacknowledged(which) => {
                if let Some((key, _)) = latest(&self.incoming, which) {
                    self.bench.calls.unacknowledged(*key);
                }
            }
            Step::InDialog { which, method } => {
                let ours = self.requests.iter().filter(|(_, purpose, _)| *purpose == Purpose::Invite);
                let own = ours.map(|(_, _, invite)| {
                    (invite.header("To").unwrap(), invite.header("From").unwrap(), invite.call_id().unwrap())
                });
                let theirs = self
                    .accepted
                    .iter()
                    .map(|ok| (ok.header("From").unwrap(), ok.header("To").unwrap(), ok.call_id().unwrap()));
                let all: Vec<_> = own.chain(theirs).collect();
                let Some((from, to, call_id)) = latest(&all, which) else { return };
                let methods = [Method::Bye, Method::Info, Method::Message, Method::Invite, Method::Subscribe];
                let end =
                    "<Notify><CmdType>MediaStatus</CmdType><SN>1</SN><NotifyType>121</NotifyType></Notify>";
                let request = Message::request(methods[method].clone(), "sip:a@b")
                    .with("From", *from)
                    .with("To", *to)
                    .with("Call-ID", *call_id)
                    .with("CSeq", format!("{} {}", self.made + 2, methods[method]))
                    .with_body("x", Bytes::from(end));
                let (key, request) = self.key(request);
                self.bench.calls.request(now, key, &request);
            }
            Step::FileEnd => {
                self.bench.calls.file_end(now, &id(DEVICE), &id(CHANNEL));
            }
            Step::Lost => self.bench.calls.device_lost(&id(DEVICE), "gone"),
            Step::Stop(which) => {
                if let Some(call) = latest(&self.calls, which) {
                    self.bench.calls.stop(*call, "enough");
                }
            }
            Step::Later(seconds) => self.bench.later(seconds),
        }
        self.collect();
    }

    fn collect(&mut self) {
        for action in self.bench.actions() {
            match action {
                Action::OpenMedia { call, .. } | Action::Broadcast { call, .. } => self.calls.push(call),
                Action::Request { call, purpose, message, .. } => {
                    self.requests.push((call, purpose, message))
                }
                Action::Respond { key, message } => {
                    let invite = self.incoming.iter().any(|(known, _)| *known == key);
                    if invite && message.code() == Some(200) {
                        self.accepted.push(message);
                    }
                }
                Action::Tell { waiter, .. } | Action::Controlled { waiter, .. } => {
                    *self.answers.get_mut(&waiter.0).expect("it asked") += 1;
                }
                _ => {}
            }
        }
        self.bench.calls.check();
    }

    /// Nothing comes any more, but that nothing comes.
    fn end(mut self) {
        for call in self.calls.clone() {
            self.bench.calls.media(self.bench.now, call, Media::Readers(0));
        }
        for _ in 0..4 {
            self.bench.later(10_000.0);
            self.collect();
            for (call, purpose, _) in std::mem::take(&mut self.requests) {
                self.bench.calls.answered(self.bench.now, call, purpose, Err(Unanswered::Timeout));
            }
            self.collect();
        }
        assert!(self.bench.calls.is_idle());
        for (waiter, answers) in &self.answers {
            let unwanted = self.unwanted.contains(waiter);
            assert!(*answers == 1 || unwanted && *answers == 0, "{waiter}: {answers}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn anything_in_any_order(after_ok: bool, steps in prop::collection::vec(step(), 1..120)) {
        let mut chaos = Chaos::new(after_ok);
        for step in steps {
            chaos.step(step);
        }
        chaos.end();
    }
}
