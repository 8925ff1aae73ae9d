//! Transactions (RFC 3261 17, corrected by RFC 6026): what is sent again until it is answered, and what
//! arrives again and is answered from memory.
//!
//! Sans-I/O: hand in messages and the time, drain [`Transactions::poll_output`] after each call, and call
//! [`Transactions::handle_timeout`] at [`Transactions::next_timeout`]. Every transaction has one alarm, the
//! nearest of its timers, in an ordered set; nothing scans.
//!
//! Two things go a little beyond section 17, where every user would have to do them: a 2xx to an INVITE is
//! sent again until its ACK arrives (13.3.1.4), and requests are told apart by more than the branch, since
//! some firmware sends the same branch with everything.

mod client;
mod server;
#[cfg(test)]
mod tests;

use super::message::{Message, Method, completed_via};
use super::token::Tokens;
use super::{Flow, Transport};
use bytes::Bytes;
use client::Client;
use server::Server;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an INVITE may stay without a final answer, on either side (RFC 3261 16.6, timer C, is more than
/// three minutes): a bound for what would else be kept for ever.
const PROCEEDING: Duration = Duration::from_secs(200);

/// After which an INVITE that nobody answered yet gets 100 Trying (RFC 3261 17.2.1).
const TRYING: Duration = Duration::from_millis(200);

/// What a peer is told to wait after 503, seconds.
const RETRY_AFTER: &str = "10";

/// Times and bounds.
#[derive(Copy, Clone, Debug)]
pub struct Config {
    /// An estimate of the round trip (RFC 3261 17.1.1.1).
    pub t1: Duration,
    /// The longest wait between two sendings.
    pub t2: Duration,
    /// How long a message stays in the network.
    pub t4: Duration,
    /// The most transactions of each side. One of a request that was answered stays for 64 T1 over UDP, to answer
    /// repetitions; where there is no room for new ones, those answered longest ago make room, and only if all still
    /// wait for their answers a request is refused with 503. A transaction takes about 1 KiB.
    pub max_transactions: usize,
}

impl Default for Config {
    /// The times of RFC 3261, and room for 1,000 requests a second that are remembered to the end.
    fn default() -> Config {
        Config {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            max_transactions: 32_768,
        }
    }
}

impl Config {
    /// 64 T1: timers B, D, F, H, J, L and M.
    fn patience(&self) -> Duration {
        self.t1 * 64
    }
}

/// A request that was received.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ServerKey(u64);

/// A request that was sent.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ClientKey(u64);

/// Why a request has no answer.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    #[error("no answer in time")]
    Timeout,
    #[error("the connection was closed")]
    Transport,
    #[error("too many requests are under way")]
    Full,
}

/// What is to be done, and what happened.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "outputs are taken at once; a box would cost every message")]
pub enum Output {
    Send {
        flow: Flow,
        bytes: Bytes,
    },
    /// A new request, its Via completed. An ACK has no key and is not answered.
    Request {
        key: Option<ServerKey>,
        flow: Flow,
        request: Message,
    },
    /// A provisional or final answer; a 2xx to an INVITE comes up again each time it arrives, to be
    /// acknowledged again.
    Response {
        key: ClientKey,
        flow: Flow,
        response: Message,
    },
    /// The request is over without a final answer.
    Failed {
        key: ClientKey,
        reason: Failure,
    },
    /// Nobody waits for the answer to this INVITE any more: answer 487 (RFC 3261 9.2). The CANCEL is answered
    /// already.
    Cancelled {
        key: ServerKey,
    },
    /// The 2xx to this INVITE was never acknowledged: say BYE (RFC 3261 13.3.1.4).
    Unacknowledged {
        key: ServerKey,
    },
}

/// What went by without an output.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// New requests answered 503 for want of room.
    pub dropped: u64,
    /// Requests that arrived again and were absorbed or answered from memory.
    pub repeated: u64,
    /// Answers to nothing that was asked.
    pub stray: u64,
}

/// Whether a transaction goes on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Fate {
    Live,
    Ended,
}

/// A message that is sent again, with waits that grow.
#[derive(Copy, Clone, Debug)]
struct Again {
    at: Instant,
    wait: Duration,
}

impl Again {
    /// Over UDP only: a stream delivers or fails (timers A, E, G).
    fn first(now: Instant, flow: &Flow, config: &Config) -> Option<Again> {
        (!flow.transport.is_reliable()).then(|| Again { at: now + config.t1, wait: config.t1 })
    }

    fn next(self, now: Instant, most: Duration) -> Again {
        let wait = (self.wait * 2).min(most);
        Again { at: now + wait, wait }
    }
}

struct Slot<T> {
    transaction: T,
    alarm: Instant,
}

/// Gives back the memory that a flood took, once three quarters of it are over.
fn give_back<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    /// Below this many it is not worth its while.
    const FEW: usize = 1_024;
    if table.capacity() > FEW && table.len() < table.capacity() / 4 {
        table.shrink_to(table.len() * 2);
    }
}

/// What identifies a request among all that arrive (RFC 3261 17.2.3), hashed so that its size is ours.
type Mark = [u8; 16];

/// All transactions of one shard.
pub struct Transactions {
    config: Config,
    tokens: Tokens,
    last_key: u64,
    clients: HashMap<u64, Slot<Client>>,
    servers: HashMap<u64, Slot<Server>>,
    /// Our branches, and whether the request is the CANCEL, which shares its INVITE's.
    branches: HashMap<(String, bool), u64>,
    marks: HashMap<Mark, u64>,
    /// INVITEs answered with a 2xx, by what their ACK will show.
    accepted: HashMap<Mark, u64>,
    /// Requests that were answered, but for INVITE: the first may make room when there is none.
    answered: VecDeque<u64>,
    alarms: BTreeSet<(Instant, u64)>,
    connections: BTreeSet<(u64, u64)>,
    outputs: VecDeque<Output>,
    stats: Stats,
}

impl Transactions {
    /// `tokens` makes the branches, and the tags of answers that have none.
    pub fn new(mut config: Config, tokens: Tokens) -> Transactions {
        // A zero would let a timer fire for ever in the same instant.
        config.t1 = config.t1.max(Duration::from_millis(1));
        config.t2 = config.t2.max(config.t1);
        Transactions {
            config,
            tokens,
            last_key: 0,
            clients: HashMap::new(),
            servers: HashMap::new(),
            branches: HashMap::new(),
            marks: HashMap::new(),
            accepted: HashMap::new(),
            answered: VecDeque::new(),
            alarms: BTreeSet::new(),
            connections: BTreeSet::new(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// The source of this shard's tags and Call-IDs.
    pub fn tokens(&mut self) -> &mut Tokens {
        &mut self.tokens
    }

    /// Transactions under way: those of requests sent, and of requests received.
    pub fn counts(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Takes a message from the network.
    pub fn receive(&mut self, now: Instant, flow: Flow, message: Message) {
        match message.method() {
            None => self.receive_response(now, flow, message),
            Some(Method::Ack) => self.receive_ack(now, flow, message),
            Some(_) => self.receive_request(now, flow, message),
        }
    }

    /// Sends a request that wants an answer. Its top Via is made here, with a fresh branch and `rport`; the
    /// sent-by is the flow's local address. What comes of it is told under the key.
    pub fn request(&mut self, now: Instant, flow: Flow, request: Message) -> ClientKey {
        let key = self.next_key();
        if self.clients.len() >= self.config.max_transactions {
            self.outputs.push_back(Output::Failed { key: ClientKey(key), reason: Failure::Full });
            return ClientKey(key);
        }
        let (branch, request) = self.signed(&flow, request);
        self.start(now, key, flow, branch, request, false);
        ClientKey(key)
    }

    /// Sends the ACK of a 2xx, which is nobody's transaction (RFC 3261 13.2.2.4): once, and again for each
    /// 2xx.
    pub fn acknowledge(&mut self, flow: Flow, ack: Message) {
        let (_, ack) = self.signed(&flow, ack);
        self.outputs.push_back(Output::Send { flow, bytes: ack.to_bytes() });
    }

    /// Takes back an INVITE that has no final answer. The CANCEL leaves as soon as a provisional answer
    /// allows it (RFC 3261 9.1); the final answer, 487 as a rule, still comes under the same key. A 2xx may
    /// come instead.
    pub fn cancel(&mut self, now: Instant, key: ClientKey) {
        if let Some(slot) = self.clients.get_mut(&key.0) {
            slot.transaction.want_cancel();
            self.send_cancel(now, key.0);
        }
    }

    /// Answers a request. The To gets a tag if it has none. `false` if the request is not waited for any
    /// more.
    pub fn respond(&mut self, now: Instant, key: ServerKey, response: Message) -> bool {
        let Some(code) = response.code() else { return false };
        let Some(slot) = self.servers.get_mut(&key.0) else { return false };
        let tagged = response.to_tag().is_some();
        let response = if tagged || code == 100 {
            response
        } else {
            response.with_to_tag(slot.transaction.tag.get_or_insert_with(|| self.tokens.tag()))
        };
        let server = &mut slot.transaction;
        let Some(fate) = server.respond(now, &self.config, code, response.to_bytes(), &mut self.outputs)
        else {
            return false;
        };
        if let Some(mark) = server.awaits_ack() {
            self.accepted.insert(mark, key.0);
        }
        let stays = fate == Fate::Live && server.is_only_remembered();
        self.settle_server(key.0, fate);
        if stays {
            // Those whose time is over are at the front, or nearly so.
            while self.answered.front().is_some_and(|first| !self.servers.contains_key(first)) {
                self.answered.pop_front();
            }
            self.answered.push_back(key.0);
        }
        true
    }

    /// A stream is gone, and with it every transaction on it.
    pub fn connection_closed(&mut self, _now: Instant, connection: u64) {
        let range = (connection, 0)..=(connection, u64::MAX);
        let keys: Vec<u64> = self.connections.range(range).map(|(_, key)| *key).collect();
        for key in keys {
            if let Some(slot) = self.clients.get(&key) {
                if slot.transaction.is_waiting() {
                    self.outputs
                        .push_back(Output::Failed { key: ClientKey(key), reason: Failure::Transport });
                }
                self.settle_client(key, Fate::Ended);
            } else if let Some(slot) = self.servers.get(&key) {
                self.outputs.extend(slot.transaction.orphaned(ServerKey(key)));
                self.settle_server(key, Fate::Ended);
            }
        }
    }

    /// When [`Transactions::handle_timeout`] is to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.alarms.first().copied() {
            if at > now {
                break;
            }
            if let Some(slot) = self.clients.get_mut(&key) {
                let fate = slot.transaction.tick(now, &self.config, ClientKey(key), &mut self.outputs);
                self.settle_client(key, fate);
            } else if let Some(slot) = self.servers.get_mut(&key) {
                let fate = slot.transaction.tick(now, &self.config, ServerKey(key), &mut self.outputs);
                self.settle_server(key, fate);
            } else {
                self.alarms.pop_first();
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_key(&mut self) -> u64 {
        self.last_key = self.last_key.wrapping_add(1);
        self.last_key
    }

    // Requests that we send.

    /// The request with our Via on top (RFC 3261 18.1.1, RFC 3581 3), and the branch in it.
    fn signed(&mut self, flow: &Flow, mut request: Message) -> (String, Message) {
        let branch = self.tokens.branch();
        let via = format!("SIP/2.0/{} {};rport;branch={branch}", flow.transport.via(), flow.local);
        request.prepend("Via", &via);
        if request.max_forwards().is_none() {
            request.set("Max-Forwards", "70");
        }
        (branch, request)
    }

    fn start(&mut self, now: Instant, key: u64, flow: Flow, branch: String, request: Message, silent: bool) {
        let cancel = request.method() == Some(&Method::Cancel);
        let client =
            Client::start(now, &self.config, flow, branch.clone(), request, silent, &mut self.outputs);
        let alarm = client.due();
        self.branches.insert((branch, cancel), key);
        self.alarms.insert((alarm, key));
        if flow.connection != 0 {
            self.connections.insert((flow.connection, key));
        }
        self.clients.insert(key, Slot { transaction: client, alarm });
    }

    /// Sends the CANCEL of an INVITE, if it is wanted and may be sent.
    fn send_cancel(&mut self, now: Instant, key: u64) {
        let Some(slot) = self.clients.get_mut(&key) else { return };
        let Some(cancel) = slot.transaction.take_cancel(now, &self.config) else { return };
        let (flow, branch) = (slot.transaction.flow, slot.transaction.branch.clone());
        self.settle_client(key, Fate::Live);
        let own = self.next_key();
        self.start(now, own, flow, branch, cancel, true);
    }

    fn receive_response(&mut self, now: Instant, flow: Flow, response: Message) {
        let found = response.via().and_then(|via| {
            let (_, method) = response.cseq()?;
            let branch = (via.branch?.to_owned(), method == Method::Cancel);
            let key = *self.branches.get(&branch)?;
            let slot = self.clients.get_mut(&key)?;
            (slot.transaction.method == method).then_some((key, slot))
        });
        let Some((key, slot)) = found else {
            self.stats.stray += 1;
            return;
        };
        let fate =
            slot.transaction.receive(now, &self.config, ClientKey(key), flow, response, &mut self.outputs);
        self.settle_client(key, fate);
        self.send_cancel(now, key);
    }

    /// Sets the alarm anew, or removes what ended.
    fn settle_client(&mut self, key: u64, fate: Fate) {
        let Some(slot) = self.clients.get_mut(&key) else { return };
        self.alarms.remove(&(slot.alarm, key));
        if fate == Fate::Live {
            slot.alarm = slot.transaction.due();
            self.alarms.insert((slot.alarm, key));
        } else if let Some(Slot { transaction, .. }) = self.clients.remove(&key) {
            self.connections.remove(&(transaction.flow.connection, key));
            self.branches.remove(&(transaction.branch, transaction.method == Method::Cancel));
            give_back(&mut self.clients);
            give_back(&mut self.branches);
        }
    }

    // Requests that we receive.

    fn receive_request(&mut self, now: Instant, flow: Flow, mut request: Message) {
        // The mark is of the Via as it was sent: a request that is sent again through another NAT binding is
        // the same.
        let Some(method) = request.method().cloned() else { return };
        let Some(mark) = mark_of(&request, &flow, &method) else { return };
        if let Some(slot) = self.marks.get(&mark).and_then(|key| self.servers.get_mut(key)) {
            self.stats.repeated += 1;
            slot.transaction.repeated(flow, &mut self.outputs);
            return;
        }
        if let Some(via) = request.header("Via").and_then(|via| completed_via(via, flow.remote)) {
            request.replace_first("Via", &via);
        }
        if self.servers.len() >= self.config.max_transactions && !self.make_room() {
            self.stats.dropped += 1;
            let refusal =
                request.response(503).with("Retry-After", RETRY_AFTER).with_to_tag(&self.tokens.tag());
            self.outputs.push_back(Output::Send { flow, bytes: refusal.to_bytes() });
            return;
        }
        let key = self.next_key();
        let server = Server::new(now, &self.config, flow, mark, &request);
        let alarm = server.due();
        self.marks.insert(mark, key);
        self.alarms.insert((alarm, key));
        if flow.connection != 0 {
            self.connections.insert((flow.connection, key));
        }
        self.servers.insert(key, Slot { transaction: server, alarm });
        if method == Method::Cancel {
            self.receive_cancel(now, flow, ServerKey(key), &request);
        } else {
            self.outputs.push_back(Output::Request { key: Some(ServerKey(key)), flow, request });
        }
    }

    /// Forgets the request that was answered longest ago; false if there is none.
    fn make_room(&mut self) -> bool {
        while let Some(key) = self.answered.pop_front() {
            if self.servers.contains_key(&key) {
                self.settle_server(key, Fate::Ended);
                return true;
            }
        }
        false
    }

    /// A CANCEL is answered here; its INVITE by the user (RFC 3261 9.2).
    fn receive_cancel(&mut self, now: Instant, flow: Flow, key: ServerKey, cancel: &Message) {
        let mark = mark_of(cancel, &flow, &Method::Invite);
        let invite = mark.and_then(|mark| self.marks.get(&mark)).copied();
        let Some((invite, slot)) = invite.and_then(|key| Some((key, self.servers.get_mut(&key)?))) else {
            self.respond(now, key, cancel.response(481));
            return;
        };
        let tag = slot.transaction.tag.get_or_insert_with(|| self.tokens.tag()).clone();
        if slot.transaction.is_unanswered() {
            self.outputs.push_back(Output::Cancelled { key: ServerKey(invite) });
        }
        self.respond(now, key, cancel.response(200).with_to_tag(&tag));
    }

    /// An ACK ends what it acknowledges. That of a 2xx goes on to the user, as does one that acknowledges
    /// nothing known.
    fn receive_ack(&mut self, now: Instant, flow: Flow, ack: Message) {
        let by_branch = mark_of(&ack, &flow, &Method::Invite).and_then(|mark| self.marks.get(&mark));
        let by_dialog = || ack_mark(&ack).and_then(|mark| self.accepted.get(&mark));
        if let Some(key) = by_branch.or_else(by_dialog).copied()
            && let Some(slot) = self.servers.get_mut(&key)
        {
            let accepted = slot.transaction.awaits_ack().is_some();
            let fate = slot.transaction.acknowledged(now, &self.config);
            self.settle_server(key, fate);
            if !accepted {
                return;
            }
        }
        self.outputs.push_back(Output::Request { key: None, flow, request: ack });
    }

    fn settle_server(&mut self, key: u64, fate: Fate) {
        let Some(slot) = self.servers.get_mut(&key) else { return };
        if fate == Fate::Live && slot.alarm == slot.transaction.due() {
            return;
        }
        self.alarms.remove(&(slot.alarm, key));
        if fate == Fate::Live {
            slot.alarm = slot.transaction.due();
            self.alarms.insert((slot.alarm, key));
        } else if let Some(Slot { transaction, .. }) = self.servers.remove(&key) {
            self.connections.remove(&(transaction.flow().connection, key));
            self.marks.remove(&transaction.mark);
            give_back(&mut self.servers);
            give_back(&mut self.marks);
            if let Some(mark) = transaction.awaits_ack() {
                self.accepted.remove(&mark);
            }
        }
    }
}

/// What a request is known by: RFC 3261 17.2.3 names branch, sent-by and method. Firmware that sends the same
/// branch, or none, with everything makes it wise to add what a repeated request repeats: Call-ID, number,
/// From tag, the source's address and, since they do not concern ACK and CANCEL, Authorization and the length
/// of the body.
fn mark_of(request: &Message, flow: &Flow, method: &Method) -> Option<Mark> {
    let via = request.via()?;
    let mut mark = Marker::new();
    mark.add(via.branch.unwrap_or_default()).add(via.sent_by).add(method.as_str());
    match flow.remote.ip().to_canonical() {
        IpAddr::V4(ip) => mark.bytes(&ip.octets()),
        IpAddr::V6(ip) => mark.bytes(&ip.octets()),
    };
    mark.add(if flow.transport == Transport::Udp { "udp" } else { "stream" });
    mark.dialog(request)?;
    if *method != Method::Invite && *method != Method::Cancel {
        mark.add(request.header("Authorization").unwrap_or_default()).number(request.body.len() as u64);
    }
    Some(mark.done())
}

/// What the ACK of a 2xx and its INVITE have in common (RFC 3261 13.2.2.4).
fn ack_mark(message: &Message) -> Option<Mark> {
    let mut mark = Marker::new();
    mark.dialog(message)?;
    Some(mark.done())
}

struct Marker(Sha256);

impl Marker {
    fn new() -> Marker {
        Marker(Sha256::new())
    }

    /// The length keeps neighbours apart.
    fn add(&mut self, text: &str) -> &mut Marker {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Marker {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
        self
    }

    fn number(&mut self, number: u64) -> &mut Marker {
        self.0.update(number.to_be_bytes());
        self
    }

    fn dialog(&mut self, message: &Message) -> Option<&mut Marker> {
        let (number, _) = message.cseq()?;
        self.add(message.call_id()?).add(message.from_tag().unwrap_or_default());
        Some(self.number(number.into()))
    }

    fn done(self) -> Mark {
        let mut mark = Mark::default();
        mark.iter_mut().zip(self.0.finalize()).for_each(|(to, from)| *to = from);
        mark
    }
}
