//! The streams that run at this node: one task for each, which owns its socket, its state and its readers.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::gauge;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::intake::{Counts, Intake};
use super::shard::Input;
use super::signalling::Command;
use super::source::Source;
use crate::call::{CallId, Key, Media, Target};
use crate::egress::webrtc::Feed;
use crate::gb::sdp::MediaMode;
use crate::gb::time::UnixMillis;
use crate::media::rtp::Wait;
use crate::net::clock;
use crate::net::ports::Ports;
use crate::net::route::{self, Advertise};
use crate::net::rtp::NoSocket;
use crate::sip::Flow;
use crate::stream::Info;
use crate::telemetry::metrics as names;

/// How often a stream looks at its readers and at the silence of its device.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Requests that may wait for a stream's task.
const INBOX: usize = 64;

/// What the streams of a node share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Silence of RTP after which a stream has ended.
    pub no_rtp_timeout: Duration,
    /// Addresses in SDP that differ from those of the sockets.
    pub advertise: Vec<Advertise>,
    /// The DSCP of packets that we send.
    pub dscp: u8,
}

/// A stream as others see it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its number.
    pub id: CallId,
    /// Device, channel and profile.
    pub key: Key,
    /// `inviting`, `waiting` or `running`.
    pub state: &'static str,
    /// Codecs, size, rate.
    pub info: Info,
    /// RTP packets received.
    pub packets: u64,
    /// RTP packets lost.
    pub lost: u64,
    /// Viewers.
    pub readers: usize,
    /// The SSRC on the wire, or the one asked for.
    pub ssrc: u32,
    /// How media comes.
    pub transport: MediaMode,
    /// When it was asked for.
    pub started_at: UnixMillis,
}

/// All streams of this node.
pub(super) struct Streams {
    settings: Settings,
    ports: Ports,
    running: RwLock<HashMap<CallId, Arc<Handle>>>,
}

/// The way to a stream's task.
struct Handle {
    asks: mpsc::Sender<Ask>,
    close: CancellationToken,
    report: Mutex<Report>,
}

enum Ask {
    Connect { remote: Option<SocketAddr>, ssrc: u32 },
    Feed(oneshot::Sender<(Feed, Info)>),
}

impl Streams {
    pub(super) fn new(settings: Settings, ports: Ports) -> Streams {
        Streams { settings, ports, running: RwLock::default() }
    }

    /// Opens a port for a call and starts its task; the shard hears of both.
    pub(super) fn open(
        self: Arc<Self>,
        call: CallId,
        key: Key,
        target: Target,
        ssrc: u32,
        shard: mpsc::Sender<Command>,
    ) {
        let (asks, inbox) = mpsc::channel(INBOX);
        let now = clock::both();
        let report = Report {
            id: call,
            key,
            state: "inviting",
            info: Info::default(),
            packets: 0,
            lost: 0,
            readers: 0,
            ssrc,
            transport: target.transport,
            started_at: now.unix,
        };
        let handle = Arc::new(Handle { asks, close: CancellationToken::new(), report: Mutex::new(report) });
        self.running.write().insert(call, Arc::clone(&handle));
        gauge!(names::STREAMS).increment(1.0);
        tokio::spawn(async move {
            let news = Reporter { shard, call };
            match self.source(&target) {
                Ok((source, address)) => {
                    news.tell(Media::Opened(address)).await;
                    let wait = if source.keeps_order() { Wait::Never } else { Wait::Adaptive };
                    let intake = Intake::new(now.instant, target.flow.remote.ip(), ssrc, wait);
                    let settings = &self.settings;
                    Task {
                        source,
                        intake,
                        inbox,
                        handle,
                        news,
                        settings,
                        opened: now.instant,
                        seen: Seen::default(),
                    }
                    .run(target.transport)
                    .await;
                }
                Err(error) => news.tell(Media::OpenFailed(error.to_string())).await,
            }
            self.running.write().remove(&call);
            gauge!(names::STREAMS).decrement(1.0);
        });
    }

    /// Opens what receives a stream, with the address that the device is told.
    fn source(&self, target: &Target) -> Result<(Source, SocketAddr), NoSocket> {
        let Flow { local, remote, .. } = target.flow;
        // The wildcard of the address family: the device may be told another address than that of the SIP socket.
        let any = if local.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let bind = if local.ip().is_loopback() { local.ip() } else { any };
        let source = Source::open(&self.ports, target.transport, bind, self.settings.dscp)?;
        let told = route::address_for(&self.settings.advertise, local.ip(), remote);
        let address = SocketAddr::new(told, source.port());
        Ok((source, address))
    }

    /// The device's answer is known.
    pub(super) fn connect(&self, call: CallId, remote: Option<SocketAddr>, ssrc: u32) {
        if let Some(handle) = self.running.read().get(&call) {
            // The inbox is full only where nobody reads it: the stream is over then.
            let _ = handle.asks.try_send(Ask::Connect { remote, ssrc });
        }
    }

    /// Ends a stream for all who read it.
    pub(super) fn close(&self, call: CallId, why: &str) {
        debug!(%call, why, "stream closes");
        if let Some(handle) = self.running.write().remove(&call) {
            handle.close.cancel();
        }
    }

    /// A share of a stream for a new viewer, and its codecs. `None`: it has just ended.
    pub(super) async fn feed(&self, call: CallId) -> Option<(Feed, Info)> {
        let asks = self.running.read().get(&call)?.asks.clone();
        let (reply, feed) = oneshot::channel();
        asks.send(Ask::Feed(reply)).await.ok()?;
        feed.await.ok()
    }

    /// One stream, unless it has ended.
    pub(super) fn report(&self, call: CallId) -> Option<Report> {
        self.running.read().get(&call).map(|handle| handle.report.lock().clone())
    }

    /// All streams, in the order of their numbers.
    pub(super) fn reports(&self) -> Vec<Report> {
        let mut reports: Vec<Report> =
            self.running.read().values().map(|handle| handle.report.lock().clone()).collect();
        reports.sort_by_key(|report| report.id);
        reports
    }
}

/// Tells the shard of a call's media.
struct Reporter {
    shard: mpsc::Sender<Command>,
    call: CallId,
}

impl Reporter {
    async fn tell(&self, news: Media) {
        // A shard that is gone needs no news.
        let _ = self.shard.send(Command::Input(Input::Media { call: self.call, news })).await;
    }
}

/// What the shard was told already.
#[derive(Default)]
struct Seen {
    flowing: bool,
    ready: bool,
    readers: usize,
}

struct Task<'a> {
    source: Source,
    intake: Intake,
    inbox: mpsc::Receiver<Ask>,
    handle: Arc<Handle>,
    news: Reporter,
    settings: &'a Settings,
    opened: Instant,
    seen: Seen,
}

impl Task<'_> {
    async fn run(mut self, transport: MediaMode) {
        let mut packets: Vec<(SocketAddr, Bytes)> = Vec::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let key_frames = self.intake.key_frames();
        let close = self.handle.close.clone();
        loop {
            let due = self.intake.next_timeout();
            tokio::select! {
                received = self.source.receive(&mut packets, |ip| self.intake.is_allowed(ip)) => {
                    let now = clock::now();
                    for (from, bytes) in packets.drain(..) {
                        self.intake.packet(now, from, bytes);
                    }
                    if let Err(error) = received {
                        self.news.tell(Media::Ended(error.to_string())).await;
                        return;
                    }
                    self.tell_progress(now).await;
                }
                ask = self.inbox.recv() => match ask {
                    Some(Ask::Connect { remote, ssrc }) => {
                        self.intake.expect(remote.map(|remote| remote.ip()), ssrc);
                        if let (MediaMode::TcpActive, Some(remote)) = (transport, remote) {
                            self.source.connect(remote);
                        }
                        let mut report = self.handle.report.lock();
                        report.state = "waiting";
                    }
                    Some(Ask::Feed(reply)) => {
                        let _ = reply.send((self.intake.feed(), self.intake.info(clock::now())));
                        self.tell_readers().await;
                    }
                    None => return,
                },
                () = close.cancelled() => return,
                () = key_frames.asked() => {
                    let key = self.handle.report.lock().key;
                    let _ = self.news.shard.send(Command::Input(Input::KeyFrame { key })).await;
                }
                () = clock::until(due) => self.intake.handle_timeout(clock::now()),
                _ = look.tick() => {
                    let now = clock::now();
                    self.tell_readers().await;
                    self.tell_progress(now).await;
                    self.update(now);
                    let silent_since = self.intake.last_packet().unwrap_or(self.opened);
                    let silence = now.saturating_duration_since(silent_since);
                    if self.seen.ready && silence >= self.settings.no_rtp_timeout {
                        let why = format!("no RTP for {} s", silence.as_secs());
                        self.news.tell(Media::Ended(why)).await;
                        return;
                    }
                }
            }
        }
    }

    async fn tell_progress(&mut self, now: Instant) {
        if !self.seen.flowing && self.intake.last_packet().is_some() {
            self.seen.flowing = true;
            self.news.tell(Media::Flowing).await;
        }
        if !self.seen.ready && self.intake.ready(now) {
            self.seen.ready = true;
            self.handle.report.lock().state = "running";
            self.update(now);
            self.news.tell(Media::Ready).await;
        }
    }

    async fn tell_readers(&mut self) {
        let readers = self.intake.readers();
        if readers != self.seen.readers {
            self.seen.readers = readers;
            self.handle.report.lock().readers = readers;
            self.news.tell(Media::Readers(readers)).await;
        }
    }

    fn update(&self, now: Instant) {
        let Counts { packets, lost, ssrc } = self.intake.counts();
        let mut report = self.handle.report.lock();
        report.info = self.intake.info(now);
        report.packets = packets;
        report.lost = lost;
        report.ssrc = ssrc.unwrap_or(report.ssrc);
    }
}
