mod client;
mod server;

use super::*;
use crate::sip::token::shard_of;
use proptest::prelude::*;

const SHARD: u16 = 7;

/// One shard and a clock that only moves when told.
struct Bench {
    transactions: Transactions,
    start: Instant,
    now: Instant,
    flow: Flow,
}

impl Bench {
    fn new(transport: Transport) -> Bench {
        Bench::with(transport, Config::default())
    }

    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn with(transport: Transport, config: Config) -> Bench {
        let start = Instant::now();
        let flow = Flow {
            transport,
            local: "192.0.2.10:5060".parse().unwrap(),
            remote: "192.0.2.20:40000".parse().unwrap(),
            connection: u64::from(transport.is_reliable()),
        };
        Bench {
            transactions: Transactions::new(config, Tokens::new([1; 32], SHARD)),
            start,
            now: start,
            flow,
        }
    }

    fn drain(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.transactions.poll_output()).collect()
    }

    /// What leaves, in words.
    fn words(&mut self) -> Vec<String> {
        self.drain().iter().map(word).collect()
    }

    fn receive(&mut self, text: &str) -> Vec<Output> {
        let message = Message::parse(&Bytes::from(text.to_owned())).unwrap();
        self.transactions.receive(self.now, self.flow, message);
        self.drain()
    }

    /// Lets time pass, and notes at which millisecond since the start what happened.
    fn pass(&mut self, time: Duration) -> Vec<(u128, String)> {
        let end = self.now + time;
        let mut happened = Vec::new();
        while let Some(at) = self.transactions.next_timeout().filter(|at| *at <= end) {
            assert!(at > self.now || happened.len() < 100, "time stands still");
            self.now = at.max(self.now);
            self.transactions.handle_timeout(self.now);
            let at = self.now.duration_since(self.start).as_millis();
            happened.extend(self.words().into_iter().map(|word| (at, word)));
        }
        self.now = end;
        happened
    }

    fn request(&mut self, method: Method) -> (ClientKey, Message) {
        let tag = self.transactions.tokens().tag();
        let number = format!("1 {method}");
        let request = Message::request(method, "sip:34020000001320000001@192.0.2.20")
            .with("From", format!("<sip:34020000002000000001@3402000000>;tag={tag}"))
            .with("To", "<sip:34020000001320000001@3402000000>")
            .with("Call-ID", "call@192.0.2.10")
            .with("CSeq", number)
            .with("Route", "<sip:proxy;lr>");
        let key = self.transactions.request(self.now, self.flow, request);
        let sent = self.drain();
        let [Output::Send { bytes, .. }] = sent.as_slice() else { panic!("{sent:?}") };
        (key, Message::parse(bytes).unwrap())
    }

    /// An answer from the peer.
    fn answer(&mut self, request: &Message, code: u16) -> Vec<String> {
        let bytes = request.response(code).with_to_tag("peer").to_bytes();
        self.transactions.receive(self.now, self.flow, Message::parse(&bytes).unwrap());
        self.words()
    }

    /// The key of a request that arrives and is new.
    fn arrive(&mut self, text: &str) -> (ServerKey, Message) {
        let out = self.receive(text);
        let [Output::Request { key: Some(key), request, .. }] = out.as_slice() else { panic!("{out:?}") };
        (*key, request.clone())
    }

    fn respond(&mut self, key: ServerKey, request: &Message, code: u16) -> Vec<String> {
        assert!(self.transactions.respond(self.now, key, request.response(code)));
        self.words()
    }

    fn is_empty(&self) -> bool {
        let t = &self.transactions;
        t.counts() == (0, 0)
            && t.branches.is_empty()
            && t.marks.is_empty()
            && t.accepted.is_empty()
            && t.alarms.is_empty()
            && t.connections.is_empty()
    }
}

fn word(output: &Output) -> String {
    match output {
        Output::Send { bytes, .. } => {
            let message = Message::parse(bytes).unwrap();
            match message.code() {
                Some(code) => format!("send {code}"),
                None => format!("send {}", message.method().unwrap()),
            }
        }
        Output::Request { key, request, .. } => {
            format!("{} {}", if key.is_some() { "request" } else { "bare" }, request.method().unwrap())
        }
        Output::Response { response, .. } => format!("response {}", response.code().unwrap()),
        Output::Failed { reason, .. } => format!("failed {reason:?}"),
        Output::Cancelled { .. } => "cancelled".into(),
        Output::Unacknowledged { .. } => "unacknowledged".into(),
    }
}

fn times(happened: &[(u128, String)]) -> Vec<u128> {
    happened.iter().map(|(at, _)| *at).collect()
}

fn request(method: &str, branch: &str, number: u32) -> String {
    let cseq = if method == "ACK" || method == "CANCEL" { "INVITE" } else { method };
    let body = "v=0\r\n";
    let text = format!(
        "{cseq} sip:34020000002000000001@3402000000 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;rport;branch={branch}\r\n\
         From: <sip:1@a>;tag=dev\r\nTo: <sip:2@a>\r\nCall-ID: c1\r\nCSeq: {number} {cseq}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    text.replace(cseq, method)
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

// Bounds and failures.

#[test]
fn a_full_table_refuses_what_is_new_and_serves_what_is_old() {
    let config = Config { max_transactions: 2, ..Config::default() };
    let mut bench = Bench::with(Transport::Udp, config);
    let (key, arrived) = bench.arrive(&request("MESSAGE", "z9hG4bK1", 1));
    bench.arrive(&request("MESSAGE", "z9hG4bK2", 2));
    let out = bench.receive(&request("MESSAGE", "z9hG4bK3", 3));
    let [Output::Send { bytes, .. }] = out.as_slice() else { panic!("{out:?}") };
    let refusal = Message::parse(bytes).unwrap();
    assert_eq!((refusal.code(), refusal.header("Retry-After")), (Some(503), Some("10")));
    assert!(refusal.to().unwrap().tag.is_some());
    assert_eq!(bench.transactions.stats().dropped, 1);
    assert_eq!(bench.respond(key, &arrived, 200), ["send 200"]);
    let again = bench.receive(&request("MESSAGE", "z9hG4bK1", 1));
    assert_eq!(again.iter().map(word).collect::<Vec<_>>(), ["send 200"]);
    // What we ask ourselves has a table of its own.
    bench.request(Method::Info);
    bench.request(Method::Info);
    let info = Message::request(Method::Info, "sip:a");
    bench.transactions.request(bench.now, bench.flow, info);
    assert_eq!(bench.words(), ["failed Full"]);
    bench.pass(HOUR);
    assert!(bench.is_empty());
}

#[test]
fn what_was_answered_makes_room_for_what_is_new() {
    let config = Config { max_transactions: 2, ..Config::default() };
    let mut bench = Bench::with(Transport::Udp, config);
    for number in 1..=5 {
        let (key, arrived) = bench.arrive(&request("MESSAGE", &format!("z9hG4bK{number}"), number));
        assert_eq!(bench.respond(key, &arrived, 200), ["send 200"]);
    }
    assert_eq!((bench.transactions.counts(), bench.transactions.stats().dropped), ((0, 2), 0));
    // The latest is still known, the first is not.
    let again = bench.receive(&request("MESSAGE", "z9hG4bK5", 5));
    assert_eq!(again.iter().map(word).collect::<Vec<_>>(), ["send 200"]);
    bench.arrive(&request("MESSAGE", "z9hG4bK1", 1));
    bench.pass(HOUR);
    assert!(bench.is_empty());
}

#[test]
fn a_closed_connection_ends_what_it_carried() {
    let mut bench = Bench::new(Transport::Tcp);
    let (waiting, _) = bench.request(Method::Message);
    let (_, answered) = bench.request(Method::Invite);
    bench.answer(&answered, 200);
    bench.arrive(&request("INVITE", "z9hG4bK1", 1));
    bench.arrive(&request("INFO", "z9hG4bK1", 2));
    let (key, invite) = bench.arrive(&request("INVITE", "z9hG4bK3", 3));
    bench.respond(key, &invite, 200);
    bench.flow.connection = 2;
    let (_, other) = bench.request(Method::Message);
    bench.transactions.connection_closed(bench.now, 1);
    let out = bench.drain();
    let failed =
        |o: &Output| matches!(o, Output::Failed { key, reason: Failure::Transport } if *key == waiting);
    assert!(out.iter().any(failed));
    assert_eq!(out.iter().map(word).collect::<Vec<_>>(), ["failed Transport", "cancelled", "unacknowledged"]);
    assert_eq!(bench.transactions.counts(), (1, 0), "other connections are not concerned");
    assert_eq!(bench.answer(&other, 200), ["response 200"]);
    assert!(bench.is_empty());
}

#[test]
fn a_late_clock_fires_each_timer_once() {
    let mut bench = Bench::new(Transport::Udp);
    bench.request(Method::Message);
    bench.now += Duration::from_secs(10);
    bench.transactions.handle_timeout(bench.now);
    assert_eq!(bench.words(), ["send MESSAGE"], "waits that were slept through are not made up for");
    bench.now += HOUR;
    bench.transactions.handle_timeout(bench.now);
    assert_eq!(bench.words(), ["failed Timeout"]);
    assert!(bench.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Receive(usize),
    Answer(usize, u16),
    Request(usize),
    Hear(usize, u16),
    Cancel(usize),
    Close,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let code = prop_oneof![Just(100u16), Just(180), Just(200), Just(486)];
    prop_oneof![
        4 => (0..12usize).prop_map(Step::Receive),
        3 => (any::<usize>(), code.clone()).prop_map(|(at, code)| Step::Answer(at, code)),
        2 => (0..3usize).prop_map(Step::Request),
        3 => (any::<usize>(), code).prop_map(|(at, code)| Step::Hear(at, code)),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => Just(Step::Close),
        2 => (0..40_000u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens in whatever order: nothing panics, every request that was sent ends with one final
    /// answer or one failure, and nothing is left behind.
    #[test]
    fn all_that_begins_ends(tcp in any::<bool>(), steps in proptest::collection::vec(step(), 0..60)) {
        let mut bench = Bench::new(if tcp { Transport::Tcp } else { Transport::Udp });
        let (mut arrived, mut sent) = (Vec::new(), Vec::new());
        let mut ended: HashMap<ClientKey, u32> = HashMap::new();
        let mut outputs = Vec::new();
        for step in steps {
            match step {
                Step::Receive(kind) => {
                    let method = ["INVITE", "ACK", "CANCEL", "MESSAGE"][kind % 4];
                    outputs.extend(bench.receive(&request(method, &format!("z9hG4bK{}", kind / 4), 1)));
                }
                Step::Answer(at, code) if !arrived.is_empty() => {
                    let (key, request): &(ServerKey, Message) = &arrived[at % arrived.len()];
                    bench.transactions.respond(bench.now, *key, request.response(code));
                }
                Step::Request(kind) => {
                    let method = [Method::Invite, Method::Message, Method::Bye][kind].clone();
                    sent.push(bench.request(method));
                }
                Step::Hear(at, code) if !sent.is_empty() => {
                    let (_, request): &(ClientKey, Message) = &sent[at % sent.len()];
                    let answer = Message::parse(&request.response(code).to_bytes()).unwrap();
                    bench.transactions.receive(bench.now, bench.flow, answer);
                }
                Step::Cancel(at) if !sent.is_empty() => {
                    bench.transactions.cancel(bench.now, sent[at % sent.len()].0);
                }
                Step::Close => bench.transactions.connection_closed(bench.now, 1),
                Step::Wait(milliseconds) => {
                    bench.now += Duration::from_millis(milliseconds);
                    bench.transactions.handle_timeout(bench.now);
                }
                _ => {}
            }
            outputs.extend(bench.drain());
            for output in outputs.drain(..) {
                match output {
                    Output::Request { key: Some(key), request, .. } => arrived.push((key, request)),
                    Output::Failed { key, .. } => *ended.entry(key).or_default() += 1,
                    // A 2xx of an INVITE may come up more than once.
                    Output::Response { key, response, .. } if response.code() >= Some(200) => {
                        let invite = response.cseq().unwrap().1 == Method::Invite;
                        let count = ended.entry(key).or_default();
                        *count = if invite && response.code() < Some(300) { 1 } else { *count + 1 };
                    }
                    _ => {}
                }
            }
        }
        bench.now += HOUR;
        bench.transactions.handle_timeout(bench.now);
        for output in bench.drain() {
            if let Output::Failed { key, .. } = output {
                *ended.entry(key).or_default() += 1;
            }
        }
        for (key, request) in &sent {
            prop_assert_eq!(ended.get(key), Some(&1), "{:?}", request);
        }
        prop_assert!(bench.is_empty());
    }
}
