//! Sends the media of one simulated call: the clip as PS over RTP, at the pace of a camera.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::clip::{Clip, FPS, FRAME};
use super::device::{Plan, Settings, Way};
use super::quirks::Quirk;
use crate::media::ps::{MAX_PAYLOAD, Muxer, Packetiser, Payload};
use crate::media::rtp::{self, Header};
use crate::media::unit::Codec;

/// The payload type of PS (annex C.1).
const PAYLOAD_TYPE: u8 = 96;
/// How long the platform has for connecting, or to be connected to.
const CONNECT: Duration = Duration::from_secs(10);

/// What a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Start,
    KeyFrame,
}

/// What was opened for a call.
pub(super) enum Opened {
    Udp(UdpSocket),
    Connect(SocketAddr),
    Listen(TcpListener),
}

impl Opened {
    /// Opens what a plan needs; the address is for the answer.
    pub(super) async fn new(plan: &Plan, local: IpAddr) -> io::Result<(Opened, SocketAddr)> {
        let any = SocketAddr::new(local, 0);
        match plan.way {
            Way::Udp { to } => {
                let socket = UdpSocket::bind(any).await?;
                socket.connect(to).await?;
                let address = socket.local_addr()?;
                Ok((Opened::Udp(socket), address))
            }
            // An active party listens nowhere: the port of RFC 4145 is 9, discard.
            Way::TcpConnect { to } => Ok((Opened::Connect(to), SocketAddr::new(local, 9))),
            Way::TcpListen => {
                let listener = TcpListener::bind(any).await?;
                let address = listener.local_addr()?;
                Ok((Opened::Listen(listener), address))
            }
        }
    }

    async fn ready(self) -> io::Result<Line> {
        Ok(match self {
            Opened::Udp(socket) => Line::Udp(socket),
            Opened::Connect(remote) => Line::Tcp(TcpStream::connect(remote).await?),
            Opened::Listen(listener) => Line::Tcp(listener.accept().await?.0),
        })
    }
}

enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Sends until it is aborted or the other side is gone; tells how many packets went out with each picture.
pub(super) async fn send(
    settings: Arc<Settings>,
    clip: Arc<Clip>,
    plan: Plan,
    opened: Opened,
    mut tells: mpsc::Receiver<Tell>,
    sent: impl Fn(u64),
) -> io::Result<()> {
    while tells.recv().await != Some(Tell::Start) {
        if tells.is_closed() {
            return Ok(());
        }
    }
    let line = tokio::time::timeout(CONNECT, opened.ready()).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let mut sender = Sender::new(&settings, &clip, plan, line);
    let mut tick = interval(Duration::from_millis(1_000 / FPS as u64));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                sender.picture().await?;
                sent(std::mem::take(&mut sender.sent));
            }
            tell = tells.recv() => match tell {
                Some(Tell::KeyFrame) => sender.index = clip.next_key(sender.index),
                Some(Tell::Start) => {}
                None => return Ok(()),
            },
        }
    }
}

struct Sender<'a> {
    clip: &'a Clip,
    line: Line,
    muxer: Muxer,
    ssrc: u32,
    sequence: u16,
    /// Where in the endless loop of the clip.
    index: u64,
    pts: i64,
    sent: u64,
    skip_keys: bool,
    loss: bool,
    disorder: bool,
    held: Option<BytesMut>,
    ps: BytesMut,
    frames: BytesMut,
}

impl<'a> Sender<'a> {
    fn new(settings: &Settings, clip: &'a Clip, plan: Plan, line: Line) -> Sender<'a> {
        let mut rng = rand::rng();
        Sender {
            clip,
            line,
            muxer: Muxer::new(clip.codec(), Some(Codec::Pcma)),
            ssrc: plan.ssrc,
            sequence: rng.random(),
            // Channels show different parts of the clip, each from a key frame on.
            index: clip.next_key(plan.channel as u64 * 37),
            pts: i64::from(rng.random::<u16>()) * FRAME,
            sent: 0,
            skip_keys: settings.has(Quirk::NoKeyFrame),
            loss: settings.has(Quirk::Loss),
            disorder: settings.has(Quirk::Disorder),
            held: None,
            ps: BytesMut::new(),
            frames: BytesMut::new(),
        }
    }

    /// Sends the next picture with its sound.
    async fn picture(&mut self) -> io::Result<()> {
        let (index, pts) = (self.index, self.pts);
        self.index += 1;
        self.pts += FRAME;
        let picture = self.clip.picture(index);
        if self.skip_keys && picture.key {
            return Ok(());
        }
        let mut picture = picture.clone();
        (picture.pts, picture.dts) = (pts, pts);
        self.ps.clear();
        self.muxer.mux(&picture, &mut self.ps);
        self.muxer.mux(&self.clip.sound(index, pts), &mut self.ps);
        let ps: Bytes = self.ps.split().freeze();
        self.frames.clear();
        for Payload { bytes, marker } in Packetiser::new(MAX_PAYLOAD).packetise(ps) {
            self.packet(&bytes, marker, pts as u32).await?;
        }
        if let Line::Tcp(stream) = &mut self.line {
            stream.write_all(&self.frames).await?;
        }
        Ok(())
    }

    async fn packet(&mut self, payload: &[u8], marker: bool, timestamp: u32) -> io::Result<()> {
        let header = Header {
            payload_type: PAYLOAD_TYPE,
            marker,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = BytesMut::with_capacity(12 + payload.len());
        header.write(&mut packet);
        packet.extend_from_slice(payload);
        self.sent += 1;
        match &self.line {
            Line::Tcp(_) => rtp::frame(&packet, &mut self.frames).map_err(io::Error::other),
            Line::Udp(socket) => {
                if self.loss && rand::rng().random_ratio(1, 100) {
                    return Ok(());
                }
                if self.disorder && self.held.is_none() && rand::rng().random_ratio(1, 20) {
                    self.held = Some(packet);
                    return Ok(());
                }
                // The receiver may be gone already, as its ICMP answer says; BYE is on its way then.
                let _ = socket.send(&packet).await;
                if let Some(held) = self.held.take() {
                    let _ = socket.send(&held).await;
                }
                Ok(())
            }
        }
    }
}
