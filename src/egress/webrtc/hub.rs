//! The one place where all viewers and speakers meet the network: sockets, the table of who is where, offers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use metrics::{counter, gauge};
use parking_lot::RwLock;
use rand::Rng as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::ingest::{Agreed, Ingest};
use super::outlet::{INBOX, Input};
use super::path::{MAX_PATHS, Path};
use super::sdp::{Local, Negotiated, Peer, fragment_user};
use super::secure::Identity;
use super::sender::Ids;
use super::session::{Session, Terms};
use super::speaker::{Sounds, Speaker, sounds};
use super::stun::{Request, StunError, is_stun};
use super::transport::Ends;
use super::udp::Udp;
use super::viewer::Viewer;
use super::{Answer, BindError, Config, Feed, OfferError, Tracks, TrickleError, addresses, ice_tcp};
use crate::media::unit::Codec;
use crate::net::{self, bind::Protocol, clock};

/// TCP connections that a viewer may hold: one for each candidate pair that its browser tries.
const MAX_CONNECTIONS: usize = MAX_PATHS / 2;
/// Candidates of each protocol.
const MAX_CANDIDATES: usize = 8;
/// Ports tried to get the same number for UDP and TCP.
const PORT_TRIES: usize = 16;
/// How long a shutdown waits for the goodbyes.
const GOODBYE: Duration = Duration::from_secs(2);
/// Names the streams of an answer.
const CNAME: &str = "gbgate";

/// All viewers of a node. Dropping it ends them without a word; [`shutdown`](Hub::shutdown) says goodbye.
pub struct Hub {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

pub(super) struct Shared {
    udp: Option<Udp>,
    udp_candidates: Vec<SocketAddr>,
    tcp_candidates: Vec<SocketAddr>,
    addresses: (Option<SocketAddr>, Option<SocketAddr>),
    identity: Identity,
    max_viewers: usize,
    next_number: AtomicU64,
    table: RwLock<Table>,
    /// Told when the last viewer has left.
    empty: Notify,
}

#[derive(Default)]
struct Table {
    closed: bool,
    by_id: HashMap<String, Member>,
    /// By our user name fragment: where checks go before their sender is proven.
    by_user: HashMap<String, Route>,
    /// By the address of the peer, once proven. Each session has a bounded number of them.
    by_address: HashMap<SocketAddr, Route>,
}

struct Member {
    etag: String,
    peer_user: String,
    leave: Arc<Notify>,
}

/// The way to a viewer's task.
#[derive(Clone)]
pub(super) struct Route {
    viewer: u64,
    pub inbox: mpsc::Sender<Input>,
    pub connections: Arc<Semaphore>,
}

pub(super) fn count_dropped(reason: &'static str) {
    counter!("gbgate_webrtc_dropped_total", "reason" => reason).increment(1);
}

impl Hub {
    /// Opens the sockets and makes the certificate.
    ///
    /// # Errors
    /// If an address cannot be listened on, or none is given.
    pub async fn bind(config: Config) -> Result<Hub, BindError> {
        let identity = Identity::generate().map_err(|error| BindError::Certificate(error.to_string()))?;
        let (udp, tcp) = listen(config.udp, config.tcp)?;
        let udp_addr = udp.as_ref().and_then(|udp| udp.local_addr().ok());
        let tcp_addr = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
        let candidates = |bound: Option<SocketAddr>| match bound {
            Some(bound) => candidates(bound, &config.advertise),
            None => Vec::new(),
        };
        let shared = Arc::new(Shared {
            udp,
            udp_candidates: candidates(udp_addr),
            tcp_candidates: candidates(tcp_addr),
            addresses: (udp_addr, tcp_addr),
            identity,
            max_viewers: config.max_viewers,
            next_number: AtomicU64::new(1),
            table: RwLock::default(),
            empty: Notify::new(),
        });
        let mut tasks = Vec::new();
        if shared.udp.is_some() {
            tasks.push(tokio::spawn(receive(Arc::clone(&shared))));
        }
        if let Some(tcp) = tcp {
            tasks.push(tokio::spawn(ice_tcp::accept(tcp, Arc::clone(&shared))));
        }
        Ok(Hub { shared, tasks })
    }

    /// The UDP address that is listened on.
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        self.shared.addresses.0
    }

    /// The TCP address that is listened on.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.shared.addresses.1
    }

    /// Answers the offer of a player for a stream with these tracks, and begins to serve it. A stream with video
    /// is answered only with video; sound that the player does not take is left out.
    ///
    /// # Errors
    /// See [`OfferError`]; the feed is dropped then.
    pub fn offer(&self, offer: &str, tracks: Tracks, feed: Feed) -> Result<Answer, OfferError> {
        let negotiated = Negotiated::read(offer, tracks.video, tracks.audio)?;
        let chosen = if tracks.video.is_some() { &negotiated.video } else { &negotiated.audio };
        if chosen.is_none() {
            return Err(OfferError::NoCommonCodec);
        }
        let names = Names::random();
        let local = self.local(&names);
        let mut rng = rand::rng();
        let terms = Terms {
            ends: names.ends(&negotiated.peer),
            cname: CNAME,
            video: negotiated.video.as_ref().map(|chosen| Ids {
                ssrc: local.video_ssrc,
                payload_type: chosen.payload_type,
                rtx: chosen.rtx.map(|rtx| (local.rtx_ssrc, rtx)),
            }),
            audio: negotiated.audio.as_ref().map(|chosen| Ids {
                ssrc: local.audio_ssrc,
                payload_type: chosen.payload_type,
                rtx: None,
            }),
            random: [rng.random(), rng.random()],
            unix_millis: clock::unix().0,
        };
        let session = Session::new(clock::now(), &self.shared.identity, &terms);
        let session = session.map_err(|error| OfferError::Internal(error.to_string()))?;
        let answer = names.answer(negotiated.answer(&local));
        let (member, inbox, leave) = self.shared.join("webrtc", &answer, &names, &negotiated.peer.user)?;
        let delay = metrics::histogram!("gbgate_relay_delay_seconds");
        tokio::spawn(Viewer { session, feed, inbox, leave, member, arrived: None, delay }.run());
        Ok(answer)
    }

    /// Whether the offer of who wants to be heard fits, so that no device is bothered for one that does not.
    ///
    /// # Errors
    /// As [`Hub::ingest`].
    pub fn hears(&self, offer: &str) -> Result<(), OfferError> {
        match Negotiated::read_sound(offer, &[Codec::Pcma, Codec::Pcmu])? {
            (negotiated, Some(_)) if negotiated.audio.is_some() => Ok(()),
            _ => Err(OfferError::NoCommonCodec),
        }
    }

    /// Answers the offer of who wants to be heard (WHIP), and begins to receive. PCMA is preferred, PCMU taken
    /// too; other sections of the offer are declined. The session ends when the [`Sounds`] are dropped, and the
    /// other way round.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn ingest(&self, offer: &str) -> Result<(Answer, Sounds), OfferError> {
        let (negotiated, codec) = Negotiated::read_sound(offer, &[Codec::Pcma, Codec::Pcmu])?;
        let (Some(codec), Some(chosen)) = (codec, negotiated.audio.as_ref()) else {
            return Err(OfferError::NoCommonCodec);
        };
        let names = Names::random();
        let local = self.local(&names);
        let agreed = Agreed { codec, payload_type: chosen.payload_type };
        let ends = names.ends(&negotiated.peer);
        let ingest = Ingest::new(clock::now(), &self.shared.identity, &ends, agreed, local.audio_ssrc, CNAME);
        let session = ingest.map_err(|error| OfferError::Internal(error.to_string()))?;
        let answer = names.answer(negotiated.answer(&local));
        let (member, inbox, leave) = self.shared.join("whip", &answer, &names, &negotiated.peer.user)?;
        let (sender, sounds) = sounds(Arc::clone(&leave));
        tokio::spawn(Speaker { session, sounds: sender, inbox, leave, member }.run());
        Ok((answer, sounds))
    }

    /// What this side says of itself in an answer.
    fn local<'a>(&'a self, names: &'a Names) -> Local<'a> {
        Local {
            session: names.session,
            user: &names.user,
            password: &names.password,
            fingerprint: self.shared.identity.fingerprint,
            udp: &self.shared.udp_candidates,
            tcp: &self.shared.tcp_candidates,
            cname: CNAME,
            // SSRCs of one session have to differ.
            video_ssrc: names.ssrc | 1,
            rtx_ssrc: names.ssrc | 2,
            audio_ssrc: names.ssrc | 3,
        }
    }

    /// Takes a trickle fragment (RFC 8840). Candidates of the peer are not needed: its checks come here.
    ///
    /// # Errors
    /// [`TrickleError::Restart`] if the fragment begins a new ICE session.
    pub fn trickle(&self, id: &str, etag: Option<&str>, fragment: &str) -> Result<(), TrickleError> {
        let table = self.shared.table.read();
        let member = table.by_id.get(id).ok_or(TrickleError::NotFound)?;
        if fragment_user(fragment).is_some_and(|user| user != member.peer_user) {
            return Err(TrickleError::Restart);
        }
        if etag.is_some_and(|etag| etag != member.etag && etag != "*") {
            return Err(TrickleError::Precondition);
        }
        Ok(())
    }

    /// Ends a session. False if there is none with this id.
    pub fn close(&self, id: &str) -> bool {
        let member = self.shared.table.write().by_id.remove(id);
        member.map(|member| member.leave.notify_one()).is_some()
    }

    /// Sessions that have not left.
    pub fn viewers(&self) -> usize {
        self.shared.table.read().by_user.len()
    }

    /// Says goodbye to all viewers, and takes no new ones.
    pub async fn shutdown(&self) {
        let members: Vec<Member> = {
            let mut table = self.shared.table.write();
            table.closed = true;
            table.by_id.drain().map(|(_, member)| member).collect()
        };
        members.iter().for_each(|member| member.leave.notify_one());
        let gone = async {
            while self.viewers() > 0 {
                self.shared.empty.notified().await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, gone).await;
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // The inboxes close with their routes, and the viewers' tasks end.
        let mut table = self.shared.table.write();
        table.closed = true;
        table.by_id.clear();
        table.by_user.clear();
        table.by_address.clear();
    }
}

impl Shared {
    /// Takes a place in the tables, for the session that this answer begins.
    fn join(
        self: &Arc<Self>,
        protocol: &'static str,
        answer: &Answer,
        names: &Names,
        peer_user: &str,
    ) -> Result<(Membership, mpsc::Receiver<Input>, Arc<Notify>), OfferError> {
        let mut table = self.table.write();
        if table.closed {
            return Err(OfferError::Closed);
        }
        if table.by_user.len() >= self.max_viewers {
            return Err(OfferError::Full);
        }
        let (inbox, receiver) = mpsc::channel(INBOX);
        let viewer = self.next_number();
        let route = Route { viewer, inbox, connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)) };
        let leave = Arc::new(Notify::new());
        let member =
            Member { etag: answer.etag.clone(), peer_user: peer_user.to_owned(), leave: Arc::clone(&leave) };
        table.by_id.insert(answer.id.clone(), member);
        table.by_user.insert(names.user.clone(), route);
        gauge!("gbgate_viewers", "protocol" => protocol).increment(1);
        let membership = Membership {
            shared: Arc::clone(self),
            protocol,
            viewer,
            id: answer.id.clone(),
            user: names.user.clone(),
            addresses: Vec::new(),
        };
        Ok((membership, receiver, leave))
    }

    /// Numbers viewers and connections; never 0.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// The viewer that a check is for, by its user name; counts what is none.
    pub(super) fn route_check(&self, data: &[u8]) -> Option<Route> {
        let reason = match Request::parse(data) {
            Ok(request) => match self.table.read().by_user.get(request.local_user()) {
                Some(route) => return Some(route.clone()),
                None => "stun_unknown_user",
            },
            Err(StunError::NotARequest) => "stun_not_request",
            Err(_) => "stun_malformed",
        };
        count_dropped(reason);
        None
    }

    fn route(&self, remote: SocketAddr, data: &[u8]) -> Option<Route> {
        if is_stun(data) {
            return self.route_check(data);
        }
        let route = self.table.read().by_address.get(&remote).cloned();
        if route.is_none() {
            count_dropped("unknown_address");
        }
        route
    }
}

impl Route {
    /// Hands a datagram to the viewer's task; dropped and counted if that is behind.
    pub(super) fn deliver(&self, path: Path, data: &[u8], reply: Option<mpsc::Sender<Bytes>>) {
        let input = Input { path, data: Bytes::copy_from_slice(data), reply };
        if self.inbox.try_send(input).is_err() {
            count_dropped("viewer_behind");
        }
    }
}

/// Takes what comes on the UDP socket to the viewers, for ever.
async fn receive(shared: Arc<Shared>) {
    let Some(udp) = shared.udp.as_ref() else { return };
    let mut receiver = udp.receiver();
    loop {
        let take = |path: Path, data: &[u8]| {
            if let Some(route) = shared.route(path.remote, data) {
                route.deliver(path, data, None);
            }
        };
        if let Err(error) = udp.receive(&mut receiver, take).await {
            // An ICMP error of some peer; the socket lives on. The pause keeps a broken one from spinning.
            tracing::debug!(%error, "receiving from viewers failed");
            count_dropped("receive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What names a session: secrets and numbers that nobody can guess.
struct Names {
    session: u64,
    id: String,
    /// `a=ice-ufrag` and `a=ice-pwd`.
    user: String,
    password: String,
    /// The last two bits tell its sources apart.
    ssrc: u32,
}

impl Names {
    fn random() -> Self {
        let mut rng = rand::rng();
        let [session, user, p0, p1] = [rng.random::<u64>(), rng.random(), rng.random(), rng.random()];
        Self {
            session,
            id: session_id(rng.random()),
            user: format!("{user:016x}"),
            password: format!("{p0:016x}{p1:016x}"),
            ssrc: rng.random::<u32>() & !3,
        }
    }

    fn ends<'a>(&'a self, peer: &'a Peer) -> Ends<'a> {
        Ends {
            user: &self.user,
            password: &self.password,
            peer_user: &peer.user,
            peer_fingerprint: peer.fingerprint,
        }
    }

    fn answer(&self, sdp: String) -> Answer {
        Answer { id: self.id.clone(), sdp, etag: format!("\"{}\"", self.user) }
    }
}

/// The place of one viewer in the tables; given back when dropped.
pub(super) struct Membership {
    shared: Arc<Shared>,
    /// The label of the gauge.
    protocol: &'static str,
    viewer: u64,
    id: String,
    user: String,
    addresses: Vec<SocketAddr>,
}

impl Membership {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn udp(&self) -> Option<&Udp> {
        self.shared.udp.as_ref()
    }

    /// What comes from this address is for this viewer: it has proven so. An address that was another's goes
    /// over, as when a browser begins anew from the same port.
    pub(super) fn prove(&mut self, path: Path) {
        if path.connection != 0 {
            return;
        }
        let mut table = self.shared.table.write();
        let Some(route) = table.by_user.get(&self.user).cloned() else { return };
        table.by_address.insert(path.remote, route);
        if !self.addresses.contains(&path.remote) {
            self.addresses.push(path.remote);
        }
    }

    pub(super) fn forget(&mut self, remote: SocketAddr) {
        self.addresses.retain(|address| *address != remote);
        self.shared.table.write().remove_address(remote, self.viewer);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut table = self.shared.table.write();
        table.by_id.remove(&self.id);
        table.by_user.remove(&self.user);
        for address in &self.addresses {
            table.remove_address(*address, self.viewer);
        }
        gauge!("gbgate_viewers", "protocol" => self.protocol).decrement(1);
        if table.by_user.is_empty() {
            self.shared.empty.notify_one();
        }
    }
}

impl Table {
    fn remove_address(&mut self, address: SocketAddr, viewer: u64) {
        if let Entry::Occupied(entry) = self.by_address.entry(address)
            && entry.get().viewer == viewer
        {
            entry.remove();
        }
    }
}

/// Binds both sockets, with the same port number where the system chooses it.
fn listen(
    udp: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
) -> Result<(Option<Udp>, Option<TcpListener>), BindError> {
    let bind_udp = |address| {
        let failed = |source| net::BindError { address, protocol: Protocol::Udp, key: "webrtc.udp", source };
        Udp::bind(address).map_err(failed)
    };
    let bind_tcp = |address| {
        let failed = |source| net::BindError { address, protocol: Protocol::Tcp, key: "webrtc.tcp", source };
        ice_tcp::bind(address).map_err(failed)
    };
    match (udp, tcp) {
        (None, None) => Err(BindError::Nothing),
        (Some(udp), None) => Ok((Some(bind_udp(udp)?), None)),
        (None, Some(tcp)) => Ok((None, Some(bind_tcp(tcp)?))),
        (Some(udp_address), Some(mut tcp_address)) => {
            let follow = tcp_address.port() == 0;
            let mut tries = if follow && udp_address.port() == 0 { PORT_TRIES } else { 1 };
            loop {
                let udp = bind_udp(udp_address)?;
                if follow {
                    tcp_address.set_port(udp.local_addr().map_or(0, |address| address.port()));
                }
                tries -= 1;
                match bind_tcp(tcp_address) {
                    Ok(tcp) => return Ok((Some(udp), Some(tcp))),
                    Err(error) if tries == 0 => return Err(error.into()),
                    Err(_) => {}
                }
            }
        }
    }
}

fn candidates(bound: SocketAddr, advertise: &[IpAddr]) -> Vec<SocketAddr> {
    let addresses = if !advertise.is_empty() {
        advertise.to_vec()
    } else if bound.ip().is_unspecified() {
        addresses::of_interfaces(bound.is_ipv6())
    } else {
        vec![bound.ip()]
    };
    addresses.into_iter().take(MAX_CANDIDATES).map(|ip| SocketAddr::new(ip, bound.port())).collect()
}

/// Sixteen bytes written as a UUID of version 4.
fn session_id(random: u128) -> String {
    let random = random & !(0xF << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let (a, b, c) = ((random >> 96) as u32, (random >> 80) as u16, (random >> 64) as u16);
    let (d, e) = ((random >> 48) as u16, random as u64 & 0xFFFF_FFFF_FFFF);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
