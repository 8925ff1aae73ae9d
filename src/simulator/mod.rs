//! Simulated devices: for the demonstration, for tests, for load, and to try any GB/T 28181 platform with.
//!
//! [`Device`] is the pure part; this module gives each a socket and sends its media.

mod clip;
mod device;
mod media;
mod quirks;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use clap::{Args, ValueEnum};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::gb::id::Id;
use crate::net::clock;
use crate::sip::framer::Limits;
use crate::sip::{Flow, Frame, Framer, Message, Transport};

pub use clip::Clip;
pub use device::{Device, Output, Plan, Settings, Way};
pub use quirks::Quirk;

use media::{Opened, Tell};

/// How long devices have for taking their leave.
const LEAVE: Duration = Duration::from_secs(2);
/// How long to wait before connecting again.
const RECONNECT: Duration = Duration::from_secs(1);
/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(5);

/// The command's options.
#[derive(Args, Clone, Debug)]
#[command(after_help = quirks::help())]
pub struct Options {
    /// The platform's SIP address.
    #[arg(long, value_name = "HOST:PORT")]
    pub server: String,
    /// The platform's id, 20 digits.
    #[arg(long, value_name = "ID")]
    pub server_id: Id,
    /// The platform's SIP domain, also the digest realm.
    #[arg(long)]
    pub domain: String,
    /// How many devices.
    #[arg(long, default_value_t = 1)]
    pub devices: u64,
    /// How many channels each device has.
    #[arg(long, default_value_t = 1)]
    pub channels: u64,
    /// SIP over UDP or TCP.
    #[arg(long, value_enum, default_value_t = SipTransport::Udp)]
    pub transport: SipTransport,
    /// The id of the first device; the others follow it. Default: a recorder (118) in the platform's domain.
    #[arg(long, value_name = "ID")]
    pub first_id: Option<Id>,
    /// The id of the first channel of the first device. Default: cameras (131) in the platform's domain.
    #[arg(long, value_name = "ID")]
    pub first_channel: Option<Id>,
    /// The password of all devices.
    #[arg(long, default_value = "12345678")]
    pub password: String,
    /// What the cameras show: Annex B, a file that ends in .h264 or .h265. Default: a clip of the program's own.
    #[arg(long, value_name = "FILE")]
    pub clip: Option<PathBuf>,
    /// How the devices misbehave, separated by commas; see below.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub quirks: Vec<Quirk>,
    /// Seconds between keepalives.
    #[arg(long, default_value_t = 60)]
    pub keepalive: u64,
    /// Seconds for which the devices register.
    #[arg(long, default_value_t = 3600)]
    pub expires: u32,
    /// Milliseconds between the first registrations of two devices.
    #[arg(long, default_value_t = 5)]
    pub stagger: u64,
    /// End after so many seconds; 0: not before Ctrl-C.
    #[arg(long, default_value_t = 0)]
    pub duration: u64,
}

/// How SIP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SipTransport {
    /// One socket for each device.
    Udp,
    /// One connection for each device.
    Tcp,
}

/// What is counted over all devices of a simulation.
#[derive(Debug, Default)]
pub struct Counts {
    registered: AtomicU64,
    refused: AtomicU64,
    calls: AtomicU64,
    calls_ever: AtomicU64,
    packets: AtomicU64,
}

impl Counts {
    /// Devices whose registration is in force.
    pub fn registered(&self) -> u64 {
        self.registered.load(Ordering::Relaxed)
    }
}

/// Runs the command until Ctrl-C, SIGTERM or the end of `--duration`.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let counts = Arc::new(Counts::default());
    let (devices, channels) = (options.devices, options.channels);
    let duration = options.duration;
    let fleet = start(options, stop.clone(), Arc::clone(&counts)).await?;
    info!(devices, channels, "simulated devices started; Ctrl-C unregisters and ends them");
    let end = async {
        match duration {
            0 => std::future::pending().await,
            seconds => sleep(Duration::from_secs(seconds)).await,
        }
    };
    let progress = async {
        loop {
            sleep(PROGRESS).await;
            report(&counts, devices);
        }
    };
    tokio::select! {
        () = crate::app::signals::stop() => {}
        () = end => {}
        () = progress => {}
    }
    report(&counts, devices);
    stop.cancel();
    fleet.await;
    info!("ended");
    Ok(())
}

fn report(counts: &Counts, devices: u64) {
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    info!(
        registered = counts.registered(),
        devices,
        refused = get(&counts.refused),
        calls = get(&counts.calls),
        calls_ever = get(&counts.calls_ever),
        rtp_packets = get(&counts.packets),
        "simulation"
    );
}

/// Starts the devices. The future ends when all have taken their leave, after `stop`.
pub async fn start(
    options: Options,
    stop: CancellationToken,
    counts: Arc<Counts>,
) -> anyhow::Result<impl Future<Output = ()>> {
    let server = tokio::net::lookup_host(&options.server)
        .await
        .with_context(|| format!("cannot resolve {}", options.server))?
        .next()
        .with_context(|| format!("{} has no address", options.server))?;
    let clip = match &options.clip {
        Some(path) => Clip::load(path)?,
        None => Clip::built_in()?,
    };
    let prefix = options.server_id.as_str().get(..8).unwrap_or("34020000").to_owned();
    let first_id = match options.first_id {
        Some(id) => id,
        None => Id::parse(&format!("{prefix}001180000001"))?,
    };
    let first_channel = match options.first_channel {
        Some(id) => id,
        None => Id::parse(&format!("{prefix}001310000001"))?,
    };
    let settings = Arc::new(Settings {
        server_id: options.server_id,
        domain: options.domain.clone(),
        password: options.password.clone(),
        expires: options.expires,
        keepalive: Duration::from_secs(options.keepalive.max(1)),
        quirks: options.quirks.clone(),
    });
    let tasks = tokio_util::task::TaskTracker::new();
    for index in 0..options.devices {
        let channels =
            (0..options.channels).map(|n| first_channel.nth(index * options.channels + n)).collect();
        let runner = Runner {
            settings: Arc::clone(&settings),
            clip: Arc::clone(&clip),
            counts: Arc::clone(&counts),
            stop: stop.clone(),
            server,
            calls: HashMap::new(),
            registered: false,
        };
        let delay = Duration::from_millis(options.stagger * index);
        let (id, transport) = (first_id.nth(index), options.transport);
        tasks.spawn(async move {
            runner.run(id, channels, transport, delay).await;
        });
    }
    tasks.close();
    Ok(async move { tasks.wait().await })
}

/// One device with its socket and its calls.
struct Runner {
    settings: Arc<Settings>,
    clip: Arc<Clip>,
    counts: Arc<Counts>,
    stop: CancellationToken,
    server: SocketAddr,
    calls: HashMap<String, Sending>,
    registered: bool,
}

/// The media of a call.
struct Sending {
    channel: usize,
    tells: mpsc::Sender<Tell>,
    task: AbortHandle,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a device speaks SIP over.
enum Line {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, framer: Box<Framer> },
}

impl Line {
    async fn open(transport: SipTransport, server: SocketAddr) -> std::io::Result<(Line, Flow)> {
        match transport {
            SipTransport::Udp => {
                let any: SocketAddr = if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }
                    .parse()
                    .map_err(std::io::Error::other)?;
                let socket = UdpSocket::bind(any).await?;
                socket.connect(server).await?;
                let flow = Flow {
                    transport: Transport::Udp,
                    local: socket.local_addr()?,
                    remote: server,
                    connection: 0,
                };
                Ok((Line::Udp(socket), flow))
            }
            SipTransport::Tcp => {
                let stream = TcpStream::connect(server).await?;
                stream.set_nodelay(true)?;
                let flow = Flow {
                    transport: Transport::Tcp,
                    local: stream.local_addr()?,
                    remote: server,
                    connection: 1,
                };
                Ok((Line::Tcp { stream, framer: Box::new(Framer::new(Limits::default())) }, flow))
            }
        }
    }

    async fn send(&mut self, bytes: &Bytes) -> std::io::Result<()> {
        match self {
            // A platform that does not listen yet answers with ICMP; the transaction sends again.
            Line::Udp(socket) => socket.send(bytes).await.map(|_| ()).or(Ok(())),
            Line::Tcp { stream, .. } => stream.write_all(bytes).await,
        }
    }

    /// Waits for a message. An error means that the connection is gone.
    async fn receive(&mut self, buffer: &mut BytesMut) -> std::io::Result<Option<Message>> {
        match self {
            Line::Udp(socket) => {
                buffer.clear();
                buffer.reserve(65_536);
                match socket.recv_buf(buffer).await {
                    Ok(_) => Ok(Message::parse(&buffer.split().freeze()).ok()),
                    Err(_) => Ok(None),
                }
            }
            Line::Tcp { stream, framer } => loop {
                match framer.next() {
                    Some(Ok(Frame::Message(message))) => return Ok(Some(message)),
                    Some(_) => {}
                    None => {
                        buffer.clear();
                        buffer.reserve(16_384);
                        if stream.read_buf(buffer).await? == 0 {
                            return Err(std::io::ErrorKind::UnexpectedEof.into());
                        }
                        framer.push(buffer).map_err(|_| std::io::ErrorKind::InvalidData)?;
                    }
                }
            },
        }
    }
}

impl Runner {
    async fn run(
        mut self,
        id: Id,
        channels: Vec<Id>,
        transport: SipTransport,
        delay: Duration,
    ) -> Option<()> {
        tokio::select! {
            () = sleep(delay) => {}
            () = self.stop.cancelled() => return None,
        }
        let (mut line, flow) = self.connect(transport).await?;
        let begin = clock::now();
        let mut device = Device::new(Arc::clone(&self.settings), id, channels, flow, rand::random(), begin);
        let mut buffer = BytesMut::new();
        let mut leave_at: Option<Instant> = None;
        loop {
            if self.carry_out(&mut device, &mut line, flow).await.is_err() {
                line = self.reconnect(transport, &mut device).await?;
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
                    Err(_) => line = self.reconnect(transport, &mut device).await?,
                },
                () = clock::until(due) => device.handle_timeout(clock::both()),
                () = self.stop.cancelled(), if leave_at.is_none() => {
                    self.calls.clear();
                    leave_at = Some(clock::now() + LEAVE);
                    device.leave(clock::both());
                }
                () = clock::until(leave_at) => return None,
            }
        }
    }

    /// Connects, trying for as long as it takes; `None` once the simulation is to end.
    async fn connect(&self, transport: SipTransport) -> Option<(Line, Flow)> {
        loop {
            match Line::open(transport, self.server).await {
                Ok(open) => return Some(open),
                Err(error) => debug!(%error, "cannot reach the platform yet"),
            }
            tokio::select! {
                () = sleep(RECONNECT) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    async fn reconnect(&mut self, transport: SipTransport, device: &mut Device) -> Option<Line> {
        self.set_registered(false);
        let (line, flow) = self.connect(transport).await?;
        device.reconnected(clock::both(), flow);
        Some(line)
    }

    async fn carry_out(&mut self, device: &mut Device, line: &mut Line, flow: Flow) -> std::io::Result<()> {
        while let Some(output) = device.poll_output() {
            match output {
                Output::Send { bytes, .. } => line.send(&bytes).await?,
                Output::Open { call, plan } => self.open(device, call, plan, flow).await,
                Output::Start { call } => self.tell(|id, _| *id == call, Tell::Start),
                Output::KeyFrame { channel } => {
                    self.tell(|_, sending| sending.channel == channel, Tell::KeyFrame)
                }
                Output::Stop { call } => {
                    self.calls.remove(&call);
                }
                Output::Registered(registered) => self.set_registered(registered),
                Output::Refused(code) => {
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                    debug!(device = %device.id(), code, "registration refused");
                }
            }
        }
        Ok(())
    }

    async fn open(&mut self, device: &mut Device, call: String, plan: Plan, flow: Flow) {
        let opened = match Opened::new(&plan, flow.local.ip()).await {
            Ok((opened, local)) => {
                device.media_opened(clock::both(), &call, Some(local));
                opened
            }
            Err(error) => {
                warn!(device = %device.id(), %error, "cannot open media");
                return device.media_opened(clock::both(), &call, None);
            }
        };
        let (tells, inbox) = mpsc::channel(8);
        let counts = Arc::clone(&self.counts);
        let packets = Arc::clone(&counts);
        let sent = move |count| {
            packets.packets.fetch_add(count, Ordering::Relaxed);
        };
        let sending =
            media::send(Arc::clone(&self.settings), Arc::clone(&self.clip), plan, opened, inbox, sent);
        let in_call = InCall::new(counts);
        let task = tokio::spawn(async move {
            if let Err(error) = sending.await {
                debug!(%error, "media ended");
            }
            drop(in_call);
        });
        self.calls.insert(call, Sending { channel: plan.channel, tells, task: task.abort_handle() });
    }

    fn tell(&self, which: impl Fn(&String, &Sending) -> bool, tell: Tell) {
        for (_, sending) in self.calls.iter().filter(|(id, sending)| which(id, sending)) {
            // A sender that is behind has a key frame to come anyway.
            let _ = sending.tells.try_send(tell);
        }
    }

    fn set_registered(&mut self, registered: bool) {
        if std::mem::replace(&mut self.registered, registered) != registered {
            if registered {
                self.counts.registered.fetch_add(1, Ordering::Relaxed);
            } else {
                self.counts.registered.fetch_sub(1, Ordering::Relaxed);
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
