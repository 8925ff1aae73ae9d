//! The streams that run at this node: one task for each, which owns its socket, its state and its readers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::gauge;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::intake::{Counts, Intake, Terms};
use super::shard::Input;
use super::signalling::Command;
use super::source::Source;
use super::talker::{Line, Talker};
use super::taps::Tap;
use crate::call::{CallId, Content, Flowing, Key, Media, PlaybackState, Target};
use crate::egress::webrtc::{Feed, Sounds};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::gb::time::UnixMillis;
use crate::media::rtp::{Wait, is_rtcp};
use crate::net::clock;
use crate::net::ports::Ports;
use crate::net::route::{self, Advertise};
use crate::net::rtp::NoSocket;
use crate::registry::profile::SsrcRule;
use crate::sip::Flow;
use crate::stream::Info;
use crate::telemetry::metrics as names;

/// How often a device is told how well its packets arrive (RFC 3550 section 6.2).
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Media that were under way when a stream ended may come for so long.
const BYE_GRACE: Duration = Duration::from_secs(2);
/// How long the port of a stream that has ended is watched.
const BYE_WATCHED: Duration = Duration::from_secs(5);
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
    /// Of a playback: seconds of the recording.
    pub position: Option<f64>,
}

/// All streams of this node.
pub(super) struct Streams {
    settings: Settings,
    ports: Ports,
    running: RwLock<HashMap<CallId, Arc<Handle>>>,
}

/// The way to a stream's task.
pub(super) struct Handle {
    asks: mpsc::Sender<Ask>,
    pub(super) close: CancellationToken,
    pub(super) report: Mutex<Report>,
    /// What a download gets: made before the first packet, so that it misses nothing.
    download: Mutex<Option<Tap>>,
}

pub(super) enum Ask {
    Connect { remote: Option<SocketAddr>, ssrc: u32, payload_type: Option<u8> },
    Feed(oneshot::Sender<(Feed, Info)>),
    Tap(oneshot::Sender<(Tap, Info)>),
    Pace { state: PlaybackState, seek: bool },
    TalkReady,
    Speak(Sounds),
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
        flowing: Flowing,
        shard: mpsc::Sender<Command>,
    ) {
        let (asks, inbox) = mpsc::channel(INBOX);
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
            started_at: clock::unix(),
            position: matches!(key.content, Content::Playback(_)).then_some(0.0),
        };
        let handle = Handle {
            asks,
            close: CancellationToken::new(),
            report: Mutex::new(report),
            download: Mutex::default(),
        };
        let handle = Arc::new(handle);
        self.running.write().insert(call, Arc::clone(&handle));
        gauge!(names::STREAMS).increment(1.0);
        let news = Reporter { shard, call };
        tokio::spawn(async move {
            match flowing {
                Flowing::In => self.receive(key, target, ssrc, inbox, handle, news).await,
                Flowing::OutAudio | Flowing::BothAudio => self.talk(target, ssrc, inbox, handle, news).await,
            }
            self.running.write().remove(&call);
            gauge!(names::STREAMS).decrement(1.0);
        });
    }

    /// A stream that comes in.
    async fn receive(
        &self,
        key: Key,
        target: Target,
        ssrc: u32,
        inbox: mpsc::Receiver<Ask>,
        handle: Arc<Handle>,
        news: Reporter,
    ) {
        let (source, address) = match self.source(&target) {
            Ok(opened) => opened,
            Err(error) => return news.tell(Media::OpenFailed(error.to_string())).await,
        };
        news.tell(Media::Opened(address)).await;
        let now = clock::now();
        let terms = Terms {
            from: target.flow.remote.ip(),
            ssrc,
            strict: target.manners.ssrc == SsrcRule::Strict,
            wait: if source.keeps_order() { Wait::Never } else { Wait::Adaptive },
            paced: matches!(key.content, Content::Playback(_)),
        };
        let mut intake = Intake::new(now, &terms);
        if let Content::Download(_) = key.content {
            *handle.download.lock() = Some(intake.tap_download());
        }
        let settings = &self.settings;
        let (transport, opened) = (target.transport, now);
        let seen = Seen::default();
        let task = Task {
            source,
            intake,
            inbox,
            handle,
            news,
            settings,
            opened,
            seen,
            paused: false,
            report_at: now + REPORT_EVERY,
        };
        let shard = task.news.shard.clone();
        let source = task.run(transport).await;
        // No longer than the port rests anyway.
        if self.ports.quarantine() >= BYE_WATCHED {
            tokio::spawn(watch_the_end(source, key.device, terms.from, shard));
        }
    }

    /// A voice that goes out.
    async fn talk(
        &self,
        target: Target,
        ssrc: u32,
        inbox: mpsc::Receiver<Ask>,
        handle: Arc<Handle>,
        news: Reporter,
    ) {
        let line = Line::open(&self.ports, target.transport, self.bind(&target), self.settings.dscp);
        let (line, port) = match line {
            Ok(opened) => opened,
            Err(error) => return news.tell(Media::OpenFailed(error.to_string())).await,
        };
        news.tell(Media::Opened(self.told(&target, port))).await;
        let device = target.flow.remote.ip();
        Talker { line, device, ssrc, inbox, handle, news }.run(target.transport).await;
    }

    /// What to bind for a device: the wildcard of the address family, since it may be told another address than
    /// that of the SIP socket.
    fn bind(&self, target: &Target) -> IpAddr {
        let local = target.flow.local;
        let any = if local.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        if local.ip().is_loopback() { local.ip() } else { any }
    }

    /// The address that the device is told.
    fn told(&self, target: &Target, port: u16) -> SocketAddr {
        let Flow { local, remote, .. } = target.flow;
        SocketAddr::new(route::address_for(&self.settings.advertise, local.ip(), remote), port)
    }

    /// Opens what receives a stream, with the address that the device is told.
    fn source(&self, target: &Target) -> Result<(Source, SocketAddr), NoSocket> {
        let source = Source::open(&self.ports, target.transport, self.bind(target), self.settings.dscp)?;
        let address = self.told(target, source.port());
        Ok((source, address))
    }

    /// The session with the device is agreed.
    pub(super) fn connect(
        &self,
        call: CallId,
        remote: Option<SocketAddr>,
        ssrc: u32,
        payload_type: Option<u8>,
    ) {
        self.ask(call, Ask::Connect { remote, ssrc, payload_type });
    }

    /// A playback goes on otherwise.
    pub(super) fn pace(&self, call: CallId, state: PlaybackState, seek: bool) {
        self.ask(call, Ask::Pace { state, seek });
    }

    /// Sound may be sent to a device.
    pub(super) fn talk_ready(&self, call: CallId) {
        self.ask(call, Ask::TalkReady);
    }

    /// Who speaks to a device. False if the way to it is gone; the speaker's session ends then.
    pub(super) fn speak(&self, call: CallId, sounds: Sounds) -> bool {
        self.ask(call, Ask::Speak(sounds))
    }

    /// Tells a stream's task something. Its inbox is full only where nobody reads it: the stream is over then.
    fn ask(&self, call: CallId, ask: Ask) -> bool {
        let running = self.running.read();
        running.get(&call).is_some_and(|handle| handle.asks.try_send(ask).is_ok())
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

    /// A share of a stream for somebody who takes access units, and its codecs. `None`: it has just ended.
    pub(super) async fn tap(&self, call: CallId) -> Option<(Tap, Info)> {
        let asks = self.running.read().get(&call)?.asks.clone();
        let (reply, tap) = oneshot::channel();
        asks.send(Ask::Tap(reply)).await.ok()?;
        tap.await.ok()
    }

    /// All of a download, to be taken once.
    pub(super) fn download(&self, call: CallId) -> Option<Tap> {
        self.running.read().get(&call)?.download.lock().take()
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

/// Looks for a while at what still comes to the port of a stream that has ended: a device that goes on sending after
/// BYE takes its network's capacity for nobody.
async fn watch_the_end(mut source: Source, device: Id, from: IpAddr, shard: mpsc::Sender<Command>) {
    let (judged, end) = (clock::now() + BYE_GRACE, clock::now() + BYE_WATCHED);
    let mut packets = Vec::new();
    while matches!(source, Source::Udp { .. }) {
        tokio::select! {
            received = source.receive(&mut packets, |_| false) => {
                let sends_on = packets.drain(..).any(|(at, packet)| at.ip() == from && !is_rtcp(&packet));
                if received.is_err() {
                    return;
                }
                if sends_on && clock::now() >= judged {
                    let sample = format!("RTP from {from} after the end of its stream");
                    let rule = Rule::ByeIgnored;
                    let _ = shard.send(Command::Input(Input::Observe { device, rule, sample })).await;
                    return;
                }
            }
            () = clock::until(Some(end)) => return,
        }
    }
}

/// Tells the shard of a call's media.
pub(super) struct Reporter {
    pub(super) shard: mpsc::Sender<Command>,
    pub(super) call: CallId,
}

impl Reporter {
    pub(super) async fn tell(&self, news: Media) {
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
    /// A playback that stands still: silence is no fault.
    paused: bool,
    report_at: Instant,
}

impl Task<'_> {
    /// Runs until the stream ends; what received it is given back.
    async fn run(mut self, transport: MediaMode) -> Source {
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
                        return self.source;
                    }
                    self.tell_progress(now).await;
                }
                ask = self.inbox.recv() => match ask {
                    Some(Ask::Connect { remote, ssrc, .. }) => {
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
                    Some(Ask::Tap(reply)) => {
                        let _ = reply.send((self.intake.tap(), self.intake.info(clock::now())));
                        self.tell_readers().await;
                    }
                    Some(Ask::Pace { state, seek }) => {
                        self.paused = state.paused;
                        // From now on it has the full time to go on.
                        self.opened = clock::now();
                        self.intake.pace(state, seek);
                        self.update(clock::now());
                    }
                    Some(Ask::TalkReady | Ask::Speak(_)) => {}
                    None => return self.source,
                },
                () = close.cancelled() => return self.source,
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
                    self.tell_departures(now).await;
                    if self.report_at <= now {
                        self.report_at = now + REPORT_EVERY;
                        let report = self.intake.report(now);
                        report.into_iter().for_each(|(to, report)| self.source.report(to, &report));
                    }
                    let silent_since = self.intake.last_packet().unwrap_or(self.opened).max(self.opened);
                    let silence = now.saturating_duration_since(silent_since);
                    if self.seen.ready && !self.paused && silence >= self.settings.no_rtp_timeout {
                        let why = format!("no RTP for {} s", silence.as_secs());
                        self.news.tell(Media::Ended(why)).await;
                        return self.source;
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

    /// The device's list of departures grows by what its media show.
    async fn tell_departures(&mut self, now: Instant) {
        let fault = self.source.take_fault();
        let departures = self.intake.departures(now, fault);
        if departures.is_empty() {
            return;
        }
        let device = self.handle.report.lock().key.device;
        for (rule, sample) in departures {
            let _ = self.news.shard.send(Command::Input(Input::Observe { device, rule, sample })).await;
        }
    }

    fn update(&self, now: Instant) {
        let Counts { packets, lost, ssrc } = self.intake.counts();
        let mut report = self.handle.report.lock();
        report.info = self.intake.info(now);
        report.packets = packets;
        report.lost = lost;
        report.ssrc = ssrc.unwrap_or(report.ssrc);
        report.position = self.intake.position().or(report.position);
    }
}
