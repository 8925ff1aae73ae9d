//! Sends the media of one simulated call: the clip as PS over RTP, at the pace of a camera or of a recording.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

use super::clip::{Clip, FRAME};
use super::device::{Content, Plan, Position, Steering, Way};
use super::playback::{Frame, Player};
use super::quirks::Quirk;
use super::settings::{Settings, TalkWay};
use super::spoil::Spoiler;
use crate::media::ps::{MAX_PAYLOAD, Muxer, Packetiser, Payload};
use crate::media::rtp::{self, Header};
use crate::media::unit::Codec;
use crate::net::clock;

/// The payload type of PS (annex C.1), and the one of [`Quirk::OtherPt`].
const PAYLOAD_TYPE: u8 = 96;
const OTHER_PAYLOAD_TYPE: u8 = 100;
/// How long the platform has for connecting, or to be connected to.
const CONNECT: Duration = Duration::from_secs(10);
/// Pictures after which those with [`Quirk::Stall`] send nothing.
const STALL: u64 = 75;
/// Packets from one piece of garbage to the next, and the garbage.
const GARBAGE_EVERY: u64 = 50;
const GARBAGE: &[u8] = b"\x00\x03garbage that is no packet";
/// How far behind a sender may be before it gives up catching up.
const LATE: Duration = Duration::from_secs(2);

/// What a sender is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tell {
    Start,
    KeyFrame,
    Steer(Steering),
}

/// What a sender tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Told {
    /// A command was carried out; it stands here now.
    Steered(Position),
    /// The recording was sent to its end.
    Ended,
}

/// What was opened for a call.
pub(super) enum Opened {
    Udp(UdpSocket),
    Connect(SocketAddr),
    Listen(TcpListener),
}

impl Opened {
    /// Opens what a plan needs; the address is for the answer.
    pub(super) async fn new(way: Way, local: IpAddr) -> io::Result<(Opened, SocketAddr)> {
        let any = SocketAddr::new(local, 0);
        match way {
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

    /// Opens what takes in the sound of a broadcast, whose sender is not known yet.
    pub(super) async fn ear(way: TalkWay, local: IpAddr) -> io::Result<(Opened, SocketAddr)> {
        let any = SocketAddr::new(local, 0);
        match way {
            TalkWay::Udp => {
                let socket = UdpSocket::bind(any).await?;
                let address = socket.local_addr()?;
                Ok((Opened::Udp(socket), address))
            }
            TalkWay::TcpPassive => Opened::new(Way::TcpListen, local).await,
            TalkWay::TcpActive => Opened::new(Way::TcpConnect { to: any }, local).await,
        }
    }

    pub(super) async fn ready(self) -> io::Result<Line> {
        let ready = async {
            Ok(match self {
                Opened::Udp(socket) => Line::Udp(socket),
                Opened::Connect(remote) => Line::Tcp(TcpStream::connect(remote).await?),
                Opened::Listen(listener) => Line::Tcp(listener.accept().await?.0),
            })
        };
        tokio::time::timeout(CONNECT, ready).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

pub(super) enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// What plays in a call.
pub(super) fn player(settings: &Settings, clip: &Arc<Clip>, plan: &Plan) -> Player {
    let origin = i64::from(rand::rng().random::<u16>()) * FRAME;
    let recorded = settings.has(Quirk::RecordedTimes) && matches!(plan.content, Content::Playback { .. });
    Player::new(Arc::clone(clip), plan.content, plan.channel, origin, recorded)
}

/// Waits until media may flow. `false`: the call is over before.
pub(super) async fn started(tells: &mut mpsc::Receiver<Tell>) -> bool {
    loop {
        match tells.recv().await {
            Some(Tell::Start) => return true,
            Some(_) => {}
            None => return false,
        }
    }
}

/// What a call sends, and over what.
pub(super) struct Source {
    pub(super) settings: Arc<Settings>,
    pub(super) clip: Arc<Clip>,
    pub(super) player: Player,
    pub(super) ssrc: u32,
    pub(super) opened: Opened,
}

/// Sends until it is aborted or the other side is gone; `sent` counts packets.
pub(super) async fn send<F: Future<Output = ()>>(
    source: Source,
    mut tells: mpsc::Receiver<Tell>,
    sent: impl Fn(u64),
    told: impl Fn(Told) -> F,
) -> io::Result<()> {
    let Source { settings, clip, player, ssrc, opened } = source;
    if !started(&mut tells).await {
        return Ok(());
    }
    let line = opened.ready().await?;
    let mut sender = Sender::new(&settings, &clip, ssrc, player, line);
    let mut due = Some(clock::now());
    loop {
        tokio::select! {
            () = clock::until(due) => {
                let more = sender.picture().await?;
                sent(std::mem::take(&mut sender.sent));
                due = if more { sender.next_due(due) } else { None };
                if !more {
                    told(Told::Ended).await;
                }
            }
            tell = tells.recv() => match tell {
                Some(Tell::KeyFrame) => sender.player.key_frame(),
                // An early start, and the ACK after it.
                Some(Tell::Start) => {}
                Some(Tell::Steer(steering)) => {
                    sender.player.steer(steering);
                    told(Told::Steered(sender.player.position(sender.sequence))).await;
                    due = sender.player.pace().map(|_| clock::now());
                }
                None => return Ok(()),
            },
        }
    }
}

struct Sender<'a> {
    clip: &'a Clip,
    player: Player,
    line: Line,
    muxer: Muxer,
    spoiler: Spoiler,
    ssrc: u32,
    sequence: u16,
    sent: u64,
    pictures: u64,
    packets: u64,
    settings: &'a Settings,
    held: Option<BytesMut>,
    ps: BytesMut,
    frames: BytesMut,
}

impl<'a> Sender<'a> {
    fn new(settings: &'a Settings, clip: &'a Clip, ssrc: u32, player: Player, line: Line) -> Sender<'a> {
        Sender {
            clip,
            player,
            line,
            muxer: Muxer::new(clip.codec(), Some(Codec::Pcma)),
            spoiler: Spoiler::new(settings),
            ssrc,
            sequence: rand::rng().random(),
            sent: 0,
            pictures: 0,
            packets: 0,
            settings,
            held: None,
            ps: BytesMut::new(),
            frames: BytesMut::new(),
        }
    }

    /// When the next picture is due; one that is far too late does not wish to catch up.
    fn next_due(&self, due: Option<Instant>) -> Option<Instant> {
        let now = clock::now();
        let next = due? + self.player.pace()?;
        Some(if now.saturating_duration_since(next) > LATE { now } else { next })
    }

    /// Sends the next picture with its sound. `false`: there is none.
    async fn picture(&mut self) -> io::Result<bool> {
        let Some(Frame { index, pts, sound }) = self.player.next() else { return Ok(false) };
        self.pictures += 1;
        let picture = self.clip.picture(index);
        let skipped = self.settings.has(Quirk::NoKeyFrame) && picture.key;
        if skipped || (self.settings.has(Quirk::Stall) && self.pictures > STALL) {
            return Ok(true);
        }
        let mut picture = picture.clone();
        (picture.pts, picture.dts) = (pts, pts);
        self.ps.clear();
        self.muxer.mux(&picture, &mut self.ps);
        if sound {
            self.muxer.mux(&self.clip.sound(index, pts), &mut self.ps);
        }
        let ps: Bytes = self.ps.split().freeze();
        let ps = self.spoiler.spoil(&ps).map_or(ps, Bytes::from);
        self.frames.clear();
        for (number, Payload { bytes, marker }) in (0..).zip(Packetiser::new(MAX_PAYLOAD).packetise(ps)) {
            let shift = if self.settings.has(Quirk::PacketTimes) { number } else { 0 };
            self.packet(&bytes, marker, (pts as u32).wrapping_add(shift)).await?;
        }
        if let Line::Tcp(stream) = &mut self.line {
            stream.write_all(&self.frames).await?;
        }
        Ok(true)
    }

    async fn packet(&mut self, payload: &[u8], marker: bool, timestamp: u32) -> io::Result<()> {
        let other = self.settings.has(Quirk::OtherPt);
        let header = Header {
            payload_type: if other { OTHER_PAYLOAD_TYPE } else { PAYLOAD_TYPE },
            marker: marker && !self.settings.has(Quirk::NoMarker),
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = BytesMut::with_capacity(12 + payload.len());
        header.write(&mut packet);
        packet.extend_from_slice(payload);
        self.sent += 1;
        self.packets += 1;
        match &self.line {
            Line::Tcp(_) => self.framed(&packet),
            Line::Udp(socket) => {
                let one_in = |count| rand::rng().random_ratio(1, count);
                if self.settings.has(Quirk::Loss) && one_in(100) {
                    return Ok(());
                }
                if self.settings.has(Quirk::Disorder) && self.held.is_none() && one_in(20) {
                    self.held = Some(packet);
                    return Ok(());
                }
                let times = if self.settings.has(Quirk::Dup) && one_in(20) { 2 } else { 1 };
                // The receiver may be gone already, as its ICMP answer says; BYE is on its way then.
                for _ in 0..times {
                    let _ = socket.send(&packet).await;
                }
                if let Some(held) = self.held.take() {
                    let _ = socket.send(&held).await;
                }
                Ok(())
            }
        }
    }

    fn framed(&mut self, packet: &[u8]) -> io::Result<()> {
        if self.settings.has(Quirk::TcpGarbage) && self.packets.is_multiple_of(GARBAGE_EVERY) {
            self.frames.extend_from_slice(GARBAGE);
        }
        if self.settings.has(Quirk::DollarFraming) {
            self.frames.extend_from_slice(b"$\0");
        }
        rtp::frame(packet, &mut self.frames).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::Packet;
    use crate::simulator::Clip;

    struct Sent {
        bytes: u64,
        frames: usize,
        told: Vec<Told>,
        last: Option<u32>,
    }

    /// Sends a recording of so many seconds over loopback, at full speed, until it tells its end.
    async fn sent(content: Content, steering: &[Steering]) -> (Sent, Option<u64>) {
        let settings = Arc::new(Settings::example());
        let clip = Clip::built_in().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let way = Way::Udp { to: socket.local_addr().unwrap() };
        let plan = Plan { way, ssrc: 7, channel: 0, stream: 0, content };
        let player = player(&settings, &clip, &plan);
        let size = player.file_size();
        let (opened, _) = Opened::new(way, [127, 0, 0, 1].into()).await.unwrap();
        let source = Source { settings, clip, player, ssrc: 7, opened };
        let (tells, inbox) = mpsc::channel(8);
        let (out, mut told) = mpsc::channel(8);
        let tell = move |what| {
            let out = out.clone();
            async move { out.send(what).await.unwrap() }
        };
        let task = tokio::spawn(send(source, inbox, |_| {}, tell));
        tells.send(Tell::Start).await.unwrap();
        for command in steering {
            tells.send(Tell::Steer(*command)).await.unwrap();
        }
        let mut sent = Sent { bytes: 0, frames: 0, told: Vec::new(), last: None };
        let mut buffer = BytesMut::new();
        while sent.told.last() != Some(&Told::Ended) || sent.frames == 0 {
            buffer.clear();
            buffer.reserve(2_048);
            tokio::select! {
                biased;
                _ = socket.recv_buf(&mut buffer) => {
                    let packet = Packet::parse(buffer.split().freeze()).unwrap();
                    assert_eq!((packet.ssrc, packet.payload_type), (7, 96));
                    sent.bytes += packet.payload.len() as u64;
                    sent.frames += usize::from(packet.marker);
                    sent.last = Some(packet.timestamp);
                }
                Some(what) = told.recv() => sent.told.push(what),
            }
        }
        task.abort();
        (sent, size)
    }

    #[tokio::test]
    async fn a_download_has_as_many_bytes_as_it_said() {
        let content = Content::Download { start: 1_714_521_600, end: 1_714_521_602, speed: 64 };
        let (sent, size) = sent(content, &[]).await;
        assert_eq!((Some(sent.bytes), sent.told), (size, vec![Told::Ended]));
    }

    #[tokio::test]
    async fn a_playback_tells_where_it_stands_after_each_command() {
        let content = Content::Playback { start: 1_714_521_600, end: 1_714_521_700 };
        let jump = Steering::Play { scale: Some(4.0), from: Some(99.0), until: None };
        let (sent, _) = sent(content, &[Steering::Pause, jump]).await;
        let [Told::Steered(_), Told::Steered(at), Told::Ended] = sent.told[..] else {
            panic!("{:?}", sent.told)
        };
        assert_eq!((at.seconds, at.scale), (99.0, 4.0));
        // The last second at most, and what was sent before the pause.
        assert!((25..=27).contains(&sent.frames), "{}", sent.frames);
        let ticks = sent.last.unwrap().wrapping_sub(at.timestamp);
        assert_eq!(i64::from(ticks), 24 * FRAME / 4);
    }
}
