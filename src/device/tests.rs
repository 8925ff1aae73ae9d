//! Devices in virtual time: the test plays the devices, the registry and the clock.

mod alarm;
mod ask;
mod catalog;
mod changes;
mod findings;
mod presence;
mod redirect;
mod registration;
mod selftest;
mod storm;
mod subscription;

use std::sync::Arc;

use super::*;
use crate::gb::conformance::Rule;
use crate::gb::manscdp::write;
use crate::gb::time::{Offset, UnixMillis};
use crate::registry::{AddedBy, Finding, Profile, Profiles, Route};
use crate::sip::digest::{self, Challenge};
use crate::sip::{Output, Transactions, Transport};

const DEVICE: &str = "34020000001180000001";
const PLATFORM: &str = "34020000002000000001";
const DOMAIN: &str = "3402000000";
const PASSWORD: &str = "12345678";
/// What nonces live in the tests.
const LIFETIME: Duration = Duration::from_secs(300);

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

/// The device `n`.
fn nth(n: u64) -> Id {
    id(DEVICE).nth(n)
}

fn udp(remote: &str) -> Flow {
    flow(Transport::Udp, remote, 0)
}

fn tcp(connection: u64) -> Flow {
    flow(Transport::Tcp, &format!("192.0.2.20:{}", 40_000 + connection), connection)
}

fn flow(transport: Transport, remote: &str, connection: u64) -> Flow {
    Flow { transport, local: "192.0.2.10:5060".parse().unwrap(), remote: remote.parse().unwrap(), connection }
}

/// Where the device `n` is.
fn home(n: u64) -> Flow {
    udp(&format!("10.0.{}.{}:5060", n / 250, n % 250 + 1))
}

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn origin() -> Instant {
    Instant::now()
}

/// What the machine asked for.
#[derive(Default)]
struct Out {
    responses: Vec<Message>,
    requests: Vec<Sent>,
    writes: Vec<Write>,
    seen: usize,
    synced: Vec<(u64, Result<Synced, Failure>)>,
    answered: Vec<(u64, Result<Outcome, Failure>)>,
    events: Vec<Event>,
    /// SUBSCRIBEs, apart from the other requests.
    subscribes: Vec<Sent>,
    /// Rules that the device was seen to break for the first time, apart from the other events.
    departures: Vec<Rule>,
    /// Findings that were written, apart from the other writes.
    findings: Vec<Vec<Finding>>,
}

/// A request to a device.
type Sent = (Purpose, Flow, Message);

impl Out {
    /// The codes of the responses.
    fn codes(&self) -> Vec<u16> {
        self.responses.iter().filter_map(Message::code).collect()
    }

    /// What was asked of devices.
    fn purposes(&self) -> Vec<Purpose> {
        self.requests.iter().map(|(purpose, ..)| *purpose).collect()
    }

    /// The catalog that was merged, by the last digit of its channels, and whether it was complete.
    fn merged(&self) -> Option<(Vec<u64>, bool)> {
        self.writes.iter().find_map(|write| match write {
            Write::MergeCatalog { channels, complete, .. } => {
                Some((channels.iter().map(|channel| last_digit(&channel.id)).collect(), *complete))
            }
            _ => None,
        })
    }

    fn offline(&self) -> Vec<Cause> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Offline { cause, .. } => Some(*cause),
                _ => None,
            })
            .collect()
    }

    fn refusals(&self) -> Vec<&'static str> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::AuthFailed { reason, .. } => Some(*reason),
                _ => None,
            })
            .collect()
    }

    fn device(&self) -> Option<&Device> {
        self.writes.iter().find_map(|write| match write {
            Write::PutDevice(device) => Some(device),
            _ => None,
        })
    }

    fn registration(&self) -> Option<&Registration> {
        self.writes.iter().find_map(|write| match write {
            Write::PutRegistration(registration) => Some(registration),
            _ => None,
        })
    }

    /// Whether it became so, and nothing else.
    fn wrote(&self, write: &Write) -> bool {
        self.writes == [write.clone()]
    }
}

fn last_digit(id: &Id) -> u64 {
    id.as_str()[19..].parse().unwrap()
}

impl Devices {
    /// What must hold between any two inputs.
    pub(crate) fn check(&self) {
        let timers: BTreeSet<_> =
            self.entries.iter().filter_map(|(id, entry)| Some((entry.timer?, *id))).collect();
        assert_eq!(timers, self.timers, "each timer is its device's");
        let syncing = self.entries.values().filter(|entry| entry.sync.is_some()).count();
        assert_eq!(syncing, self.syncing);
        let queued = self.entries.values().filter(|entry| entry.queued).count();
        assert_eq!(queued, self.sync_queue.len(), "a device waits once");
        assert!(self.sync_queue.is_empty() || self.syncing >= MAX_SYNCS, "nobody waits for nothing");
        for (connection, ids) in &self.by_connection {
            assert!(!ids.is_empty());
            for id in ids {
                assert_eq!(self.entries[id].session.as_ref().unwrap().flow.connection, *connection);
            }
        }
        for (id, entry) in &self.entries {
            assert!(entry.waiters.is_empty() || entry.sync.is_some(), "nobody waits for ever");
            if let Some(session) = entry.session.as_ref().filter(|session| session.online) {
                let on = self.by_connection.get(&session.flow.connection);
                let connected = session.flow.connection == 0 || on.is_some_and(|ids| ids.contains(id));
                assert!(connected, "a close would not be noticed");
            } else {
                assert!(entry.sync.is_none() && entry.asked() == 0, "nobody can answer");
                assert!(entry.test.is_none(), "a test would wait for ever");
            }
        }
        let asked: usize = self.entries.values().map(|entry| entry.asked()).sum();
        assert_eq!(asked, self.asking);
        let dialogs: HashMap<String, Id> = self
            .entries
            .iter()
            .flat_map(|(id, entry)| entry.subscriptions.iter().map(move |own| (own, id)))
            .filter_map(|(own, id)| Some((own.call_id()?.to_owned(), *id)))
            .collect();
        assert_eq!(dialogs, self.dialogs, "each dialog is a subscription's");
    }

    /// Whether all that is left is the devices themselves.
    pub(crate) fn is_idle(&self) -> bool {
        let waiting = self.pending.len() + self.sync_queue.len() + self.actions.len();
        waiting + self.timers.len() + self.by_connection.len() + self.asking + self.dialogs.len() == 0
    }

    pub(crate) fn known(&self) -> usize {
        self.entries.len()
    }
}

struct Bench {
    devices: Devices,
    now: Now,
    /// Whether the registry keeps what it is given; `None`: it takes its time.
    disk: Option<bool>,
    waiting: Vec<WriteToken>,
    /// The only way to a key is a transaction.
    transactions: Transactions,
    sent: u32,
    nc: u32,
}

/// Settings that tests of other rooms use, too.
pub(crate) fn settings() -> Settings {
    Settings {
        platform: id(PLATFORM),
        domain: DOMAIN.to_owned(),
        password: Some(PASSWORD.to_owned()),
        keepalive: Duration::from_secs(60),
        misses: 3,
        expires_min: Duration::from_secs(60),
        expires_max: Duration::from_secs(86_400),
        date_header: DateHeader::Gb,
        offset: Offset::BEIJING,
        profiles: Arc::new(profiles("{}")),
        redirect: None,
    }
}

/// A profile for all, with these subscriptions.
fn profiles(subscribe: &str) -> Profiles {
    let text = format!(
        "name: standard\nknobs:\n  - set: subscribe\n    to: {subscribe}\n    why: as the test needs it\n"
    );
    Profiles::new(vec![Profile::from_yaml("standard.yaml", &text).unwrap()]).unwrap()
}

fn bench() -> Bench {
    bench_with(settings())
}

fn bench_with(settings: Settings) -> Bench {
    Bench {
        devices: Devices::new(settings, Nonces::new([1; 32], LIFETIME, 1_000), Tokens::new([2; 32], 0)),
        now: Now { instant: origin(), unix: UnixMillis(1_714_521_600_000) },
        disk: Some(true),
        waiting: Vec::new(),
        transactions: Transactions::new(Default::default(), Tokens::new([3; 32], 0)),
        sent: 0,
        nc: 0,
    }
}

impl Bench {
    /// What came out since the last time; with a quick disk, commits and what follows of them are in it.
    fn out(&mut self) -> Out {
        let mut out = Out::default();
        while let Some(action) = self.devices.poll_action() {
            match action {
                Action::Respond { message, .. } => out.responses.push(message),
                Action::Request { purpose, flow, message, .. } => {
                    let subscribe = matches!(purpose, Purpose::Subscribe(..));
                    let list = if subscribe { &mut out.subscribes } else { &mut out.requests };
                    list.push((purpose, flow, message));
                }
                Action::Write { token, writes } => {
                    for write in writes {
                        match write {
                            Write::PutFindings { findings, .. } => out.findings.push(findings),
                            write => out.writes.push(write),
                        }
                    }
                    match (token, self.disk) {
                        (Some(token), Some(kept)) => self.devices.committed(self.now, token, kept),
                        (Some(token), None) => self.waiting.push(token),
                        (None, _) => {}
                    }
                }
                Action::Seen { .. } => out.seen += 1,
                Action::Synced { waiter, outcome } => out.synced.push((waiter.0, outcome)),
                Action::Answered { waiter, outcome } => out.answered.push((waiter.0, outcome)),
                Action::Event(Event::Departure { rule, .. }) => out.departures.push(rule),
                Action::Event(event) => out.events.push(event),
            }
        }
        self.devices.check();
        out
    }

    fn later(&mut self, seconds: f64) -> Out {
        let until = self.now.instant + Duration::from_secs_f64(seconds);
        while let Some(due) = self.devices.next_timeout().filter(|due| *due <= until) {
            self.set_clock(due.max(self.now.instant));
            self.devices.handle_timeout(self.now);
            assert!(
                self.devices.next_timeout().is_none_or(|next| next > self.now.instant),
                "time must go on"
            );
        }
        self.set_clock(until);
        self.out()
    }

    fn set_clock(&mut self, instant: Instant) {
        self.now.unix.0 += (instant - self.now.instant).as_millis() as i64;
        self.now.instant = instant;
    }

    fn request(&mut self, method: Method, from: &str, flow: Flow) -> Message {
        self.sent += 1;
        let number = self.sent;
        Message::request(method.clone(), &format!("sip:{PLATFORM}@{DOMAIN}"))
            .with("Via", format!("SIP/2.0/{} 10.1.1.1:5060;branch=z9hG4bK{number}", flow.transport.via()))
            .with("From", format!("<sip:{from}@{DOMAIN}>;tag={number}"))
            .with("To", format!("<sip:{from}@{DOMAIN}>"))
            .with("Call-ID", number.to_string())
            .with("CSeq", format!("{number} {method}"))
    }

    fn deliver(&mut self, flow: Flow, request: Message) -> Out {
        self.transactions.receive(self.now.instant, flow, request);
        while let Some(output) = self.transactions.poll_output() {
            if let Output::Request { key: Some(key), flow, request } = output {
                self.devices.request(self.now, key, flow, &request);
            }
        }
        self.out()
    }

    /// A REGISTER of the device, answered with a challenge as a rule.
    fn knock(&mut self, device: Id, flow: Flow) -> Challenge {
        let request = self.request(Method::Register, device.as_str(), flow).with("Expires", "3600");
        let out = self.deliver(flow, request);
        assert_eq!(out.codes(), [401]);
        Challenge::parse(out.responses[0].header("WWW-Authenticate").unwrap()).unwrap()
    }

    /// The answer to a challenge, on top of `request`.
    fn answer(&mut self, challenge: &Challenge, request: Message, user: &str, password: &str) -> Message {
        self.nc += 1;
        let uri = request.uri().unwrap().to_owned();
        let value = digest::answer(challenge, "REGISTER", &uri, user, password, self.nc, "c").unwrap();
        request.with("Authorization", value)
    }

    /// The second REGISTER of a registration.
    fn proven(&mut self, device: Id, flow: Flow, expires: &str) -> Message {
        let challenge = self.knock(device, flow);
        let contact = format!("<sip:{device}@10.1.1.1:5060>");
        let request = self.request(Method::Register, device.as_str(), flow);
        let request = request.with("Contact", contact).with("Expires", expires);
        self.answer(&challenge, request, device.as_str(), PASSWORD)
    }

    fn register(&mut self, device: Id, flow: Flow) -> Out {
        let request = self.proven(device, flow, "3600");
        let out = self.deliver(flow, request);
        assert_eq!(out.codes(), [200]);
        out
    }

    /// A registered device whose catalog of one channel is known.
    fn settled(&mut self, device: Id, flow: Flow) {
        self.register(device, flow);
        let page = page(device, 1, &[1]);
        assert_eq!(self.message(device, flow, &page).codes(), [200]);
        assert_eq!(self.later(1.0).merged(), Some((vec![1], true)));
    }

    fn message(&mut self, device: Id, flow: Flow, body: &str) -> Out {
        self.bytes(device, flow, Bytes::from(body.to_owned()))
    }

    fn bytes(&mut self, device: Id, flow: Flow, body: Bytes) -> Out {
        let request = self.request(Method::Message, device.as_str(), flow);
        self.deliver(flow, request.with_body(manscdp::CONTENT_TYPE, body))
    }

    fn keepalive(&mut self, device: Id, flow: Flow) -> Out {
        self.message(device, flow, &write::keepalive(1, &device, &[]))
    }

    /// What came of a request to the device.
    fn answer_sip(&mut self, sent: &Sent, code: u16) -> Out {
        let answer = sent.2.response(code).with_to_tag("d");
        self.devices.answered(self.now, id(DEVICE), sent.0, Ok(&answer));
        self.out()
    }

    /// A request to the device that nobody answers.
    fn lose(&mut self, sent: &Sent) -> Out {
        self.devices.answered(self.now, id(DEVICE), sent.0, Err(Unanswered::Timeout));
        self.out()
    }

    fn ask(&mut self, waiter: u64, target: Id, request: Request) -> Out {
        self.devices.ask(self.now, Waiter(waiter), id(DEVICE), target, request);
        self.out()
    }

    fn is_online(&self, device: Id) -> bool {
        self.devices.reach(&device).is_ok()
    }
}

/// A page of a catalog of `sum` items with these last digits.
fn page(device: Id, sum: usize, digits: &[u64]) -> String {
    let items: Vec<_> = digits
        .iter()
        .map(|digit| manscdp::CatalogItem::new(id("34020000001310000000").nth(*digit), "camera"))
        .collect();
    write::response_catalog(1, &device, sum, &items, manscdp::Edition::default())
}

/// The body of a request to a device.
fn body_of(sent: &Sent) -> manscdp::Message {
    manscdp::parse(&sent.2.body, &mut History::default()).unwrap()
}
