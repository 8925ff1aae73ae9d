//! One simulated device with its socket, its media and its clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Counts;
use super::clip::{Clips, SNAPSHOT};
use super::device::{Content, Device, Output, Plan, Ready, Snapshot};
use super::line::Line;
use super::media::{self, Opened, Source, Tell, Told};
use super::options::SipTransport;
use super::population::Population;
use super::quirks::Quirk;
use super::settings::Settings;
use super::sound::{self, Heard};
use super::{upload, wire};
use crate::net::clock;
use crate::sip::Flow;

/// How long devices have for taking their leave.
const LEAVE: Duration = Duration::from_secs(2);
/// How long to wait before connecting again.
const RECONNECT: Duration = Duration::from_secs(1);
/// What media and uploads may have to tell before they wait.
const EVENTS: usize = 64;
/// Commands that a sender may be behind.
const TELLS: usize = 32;

/// What happened beside the device.
enum Event {
    Media { call: String, told: Told },
    Uploaded { snapshot: Snapshot, ok: bool },
}

/// What the devices of a simulation are run with.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) clips: Clips,
    pub(super) counts: Arc<Counts>,
    pub(super) stop: CancellationToken,
    pub(super) server: SocketAddr,
    pub(super) transport: SipTransport,
    pub(super) keep_talk: Option<PathBuf>,
}

/// One device with its socket and its calls.
pub(super) struct Runner {
    shared: Arc<Shared>,
    /// Whom it speaks to, and how many connections there were.
    server: SocketAddr,
    connections: u64,
    calls: HashMap<String, Running>,
    ears: HashMap<String, Opened>,
    events: mpsc::Sender<Event>,
    registered: bool,
}

/// The media of a call.
struct Running {
    channel: u64,
    tells: mpsc::Sender<Tell>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether the way to the platform is still the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Same,
    Lost,
}

/// Runs a device until it has taken its leave, after `stop`.
pub(super) async fn run(shared: Arc<Shared>, population: Population, delay: Duration) {
    let (events, inbox) = mpsc::channel(EVENTS);
    let runner = Runner {
        server: shared.server,
        shared,
        connections: 0,
        calls: HashMap::new(),
        ears: HashMap::new(),
        events,
        registered: false,
    };
    // `None`: the simulation ended in the middle of something.
    let _ = runner.run(population, delay, inbox).await;
}

impl Runner {
    async fn run(
        mut self,
        population: Population,
        delay: Duration,
        mut inbox: mpsc::Receiver<Event>,
    ) -> Option<()> {
        let stop = self.shared.stop.clone();
        tokio::select! {
            () = sleep(delay) => {}
            () = stop.cancelled() => return None,
        }
        let (mut line, flow) = self.connect().await?;
        let settings = Arc::clone(&self.shared.settings);
        let mut device = Device::new(settings, population, flow, rand::random(), clock::now());
        let mut buffer = BytesMut::new();
        let mut leave_at: Option<Instant> = None;
        loop {
            if self.carry_out(&mut device, &mut line, flow).await == Way::Lost {
                line = self.reconnect(&mut device).await?;
                continue;
            }
            if leave_at.is_some() && !self.registered {
                return None;
            }
            let due = device.next_timeout();
            tokio::select! {
                received = line.receive(&mut buffer) => match received {
                    Ok(Some(message)) => device.receive(clock::both(), message),
                    Ok(None) => {}
                    Err(_) => line = self.reconnect(&mut device).await?,
                },
                Some(event) = inbox.recv() => self.happened(&mut device, event),
                () = clock::until(due) => device.handle_timeout(clock::both()),
                () = stop.cancelled(), if leave_at.is_none() => {
                    self.calls.clear();
                    self.ears.clear();
                    leave_at = Some(clock::now() + LEAVE);
                    device.leave(clock::both());
                }
                () = clock::until(leave_at) => return None,
            }
        }
    }

    /// Connects, trying for as long as it takes; `None` once the simulation is to end.
    async fn connect(&mut self) -> Option<(Line, Flow)> {
        loop {
            self.connections += 1;
            match Line::open(self.shared.transport, self.server, self.connections).await {
                Ok(open) => return Some(open),
                Err(error) => debug!(%error, "cannot reach the platform yet"),
            }
            tokio::select! {
                () = sleep(RECONNECT) => {}
                () = self.shared.stop.cancelled() => return None,
            }
        }
    }

    async fn reconnect(&mut self, device: &mut Device) -> Option<Line> {
        self.set_registered(false);
        let (line, flow) = self.connect().await?;
        device.reconnected(clock::both(), flow);
        Some(line)
    }

    fn happened(&mut self, device: &mut Device, event: Event) {
        match event {
            Event::Media { call, told: Told::Steered(position) } => {
                device.steered(clock::both(), &call, Some(position));
            }
            Event::Media { call, told: Told::Ended } => device.media_ended(clock::both(), &call),
            Event::Uploaded { snapshot, ok } => device.uploaded(clock::both(), &snapshot, ok),
        }
    }

    async fn carry_out(&mut self, device: &mut Device, line: &mut Line, flow: Flow) -> Way {
        let dribble = self.shared.settings.has(Quirk::TcpDribble);
        while let Some(output) = device.poll_output() {
            match output {
                Output::Send { flow, bytes } => {
                    let Some(bytes) = wire::spoil(&self.shared.settings, flow.transport, bytes) else {
                        continue;
                    };
                    if line.send(&bytes, dribble).await.is_err() {
                        return Way::Lost;
                    }
                }
                Output::Open { call, plan } => self.open(device, call, plan, flow).await,
                Output::Start { call } => {
                    self.tell(|id, _| *id == call, Tell::Start);
                }
                Output::Steer { call, steering } => {
                    if !self.tell(|id, _| *id == call, Tell::Steer(steering)) {
                        device.steered(clock::both(), &call, None);
                    }
                }
                Output::KeyFrame { channel } => {
                    self.tell(|_, running| running.channel == channel, Tell::KeyFrame);
                }
                Output::Stop { call } => {
                    self.calls.remove(&call);
                    self.ears.remove(&call);
                }
                Output::Listen { call, way } => {
                    let opened = Opened::ear(way, flow.local.ip()).await;
                    let local = opened.as_ref().ok().map(|(_, local)| *local);
                    if let Ok((opened, _)) = opened {
                        self.ears.insert(call.clone(), opened);
                    }
                    device.listening(clock::both(), &call, local);
                }
                Output::Hear { call, to } => self.hear(device, call, to),
                Output::Upload(snapshot) => self.upload(snapshot),
                Output::Move { to } => {
                    self.server = to.unwrap_or(self.shared.server);
                    info!(device = %device.id(), server = %self.server, "goes to another platform");
                    return Way::Lost;
                }
                Output::HangUp if flow.transport.is_reliable() => return Way::Lost,
                Output::HangUp => {}
                Output::Registered(registered) => self.set_registered(registered),
                Output::Refused(code) => {
                    self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                    debug!(device = %device.id(), code, "registration refused");
                }
            }
        }
        Way::Same
    }

    async fn open(&mut self, device: &mut Device, call: String, plan: Plan, flow: Flow) {
        let Shared { settings, clips, counts, .. } = &*self.shared;
        let clip = Arc::clone(clips.stream(plan.stream));
        let player = media::player(settings, &clip, &plan);
        let (opened, local) = match Opened::new(plan.way, flow.local.ip()).await {
            Ok(open) => open,
            Err(error) => {
                warn!(device = %device.id(), %error, "cannot open media");
                return device.media_opened(clock::both(), &call, None);
            }
        };
        let ready = Ready { local, file_size: player.file_size() };
        device.media_opened(clock::both(), &call, Some(ready));
        let (tells, mut inbox) = mpsc::channel(TELLS);
        let events = self.events.clone();
        let name = call.clone();
        let told = move |told| {
            let (events, call) = (events.clone(), name.clone());
            async move {
                // Nobody listens once the device is gone, and then this ends, too.
                let _ = events.send(Event::Media { call, told }).await;
            }
        };
        let packets = Arc::clone(counts);
        let sent = move |count| {
            packets.packets.fetch_add(count, Ordering::Relaxed);
        };
        let in_call = InCall::new(Arc::clone(counts));
        let settings = Arc::clone(settings);
        let keep = self.shared.keep_talk.clone();
        let (id, counts) = (*device.id(), Arc::clone(counts));
        let task = tokio::spawn(async move {
            let ended = if plan.content == Content::Talk {
                let mut heard = Heard::new(id, counts, keep.as_deref());
                match media::started(&mut inbox).await {
                    true => match opened.ready().await {
                        Ok(line) => sound::converse(line, plan.ssrc, &clip, &mut heard).await,
                        Err(error) => Err(error),
                    },
                    false => Ok(()),
                }
            } else {
                let source = Source { settings, clip, player, ssrc: plan.ssrc, opened };
                media::send(source, inbox, sent, told).await
            };
            if let Err(error) = ended {
                debug!(%error, "media ended");
            }
            drop(in_call);
        });
        self.calls.insert(call, Running { channel: plan.channel, tells, task: task.abort_handle() });
    }

    /// The sound of a broadcast comes.
    fn hear(&mut self, device: &Device, call: String, to: Option<SocketAddr>) {
        let Some(opened) = self.ears.remove(&call) else { return };
        let opened = match (opened, to) {
            (Opened::Connect(_), Some(to)) => Opened::Connect(to),
            (opened, _) => opened,
        };
        let counts = Arc::clone(&self.shared.counts);
        let mut heard = Heard::new(*device.id(), counts, self.shared.keep_talk.as_deref());
        let (tells, _) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let ended = match opened.ready().await {
                Ok(line) => sound::listen(line, &mut heard).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                debug!(%error, "sound ended");
            }
        });
        self.calls.insert(call, Running { channel: u64::MAX, tells, task: task.abort_handle() });
    }

    fn upload(&self, snapshot: Snapshot) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let uploaded = upload::post(&snapshot.url, &snapshot.file, SNAPSHOT).await;
            if let Err(error) = &uploaded {
                warn!(url = snapshot.url, %error, "cannot upload a snapshot");
            }
            let _ = events.send(Event::Uploaded { ok: uploaded.is_ok(), snapshot }).await;
        });
    }

    /// `false`: there was nobody to be told.
    fn tell(&self, which: impl Fn(&String, &Running) -> bool, tell: Tell) -> bool {
        let mut told = false;
        for (_, running) in self.calls.iter().filter(|(id, running)| which(id, running)) {
            // A sender that is behind has a key frame to come anyway.
            told |= running.tells.try_send(tell).is_ok();
        }
        told
    }

    fn set_registered(&mut self, registered: bool) {
        if std::mem::replace(&mut self.registered, registered) != registered {
            if registered {
                self.shared.counts.registered.fetch_add(1, Ordering::Relaxed);
            } else {
                self.shared.counts.registered.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Counts a call while it lives, however its task ends.
struct InCall(Arc<Counts>);

impl InCall {
    fn new(counts: Arc<Counts>) -> InCall {
        counts.calls.fetch_add(1, Ordering::Relaxed);
        counts.calls_ever.fetch_add(1, Ordering::Relaxed);
        InCall(counts)
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
