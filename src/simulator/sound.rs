//! The sound of a broadcast or a talk: G.711A over RTP, taken in, counted and kept where asked for; and in a talk, sent.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::net::tcp::WriteHalf;
use tracing::{info, warn};

use super::Counts;
use super::clip::{Clip, FPS};
use super::media::Line;
use crate::gb::id::Id;
use crate::media::rtp::{self, Deframer, Header, Packet};
use crate::net::clock;

const PCMA: u8 = 8;
/// Samples of a packet: those of one picture.
const SAMPLES: u32 = 8_000 / FPS as u32;
/// Largest datagram.
const MAX_DATAGRAM: usize = 65_536;
/// What silence is in G.711A; what is near it is not loud.
const SILENCE: u8 = 0xD5;
const NEAR: u8 = 0x10;

/// What was heard; told when it is over.
pub(super) struct Heard {
    device: Id,
    counts: Arc<Counts>,
    file: Option<File>,
    packets: u64,
    loud: u64,
    lost: u64,
    next: Option<u16>,
}

impl Heard {
    /// Sound is appended to the file, G.711A without a header.
    pub(super) fn new(device: Id, counts: Arc<Counts>, path: Option<&Path>) -> Heard {
        let open = |path: &Path| match File::options().create(true).append(true).open(path) {
            Ok(file) => Some(file),
            Err(error) => {
                warn!(path = %path.display(), %error, "cannot keep the sound");
                None
            }
        };
        counts.talks.fetch_add(1, Ordering::Relaxed);
        Heard { device, counts, file: path.and_then(open), packets: 0, loud: 0, lost: 0, next: None }
    }

    fn take(&mut self, bytes: Bytes) {
        let Some(packet) = Packet::parse(bytes).ok().filter(|packet| packet.payload_type == PCMA) else {
            return;
        };
        if let Some(next) = self.next {
            let gap = packet.sequence.wrapping_sub(next);
            self.lost += if gap < 1_000 { u64::from(gap) } else { 0 };
        }
        self.next = Some(packet.sequence.wrapping_add(1));
        self.packets += 1;
        self.counts.talk_packets.fetch_add(1, Ordering::Relaxed);
        // A-law inverts every other bit; undone, the low seven bits grow with loudness.
        let loud = packet.payload.iter().any(|sample| (sample ^ SILENCE) & 0x7F > NEAR);
        self.loud += u64::from(loud);
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(&packet.payload)
        {
            warn!(%error, "cannot keep the sound");
            self.file = None;
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let Heard { device, packets, loud, lost, .. } = self;
        info!(%device, packets, loud, lost, "sound ended");
    }
}

/// Takes in what comes.
pub(super) async fn listen(line: Line, heard: &mut Heard) -> io::Result<()> {
    match line {
        Line::Udp(socket) => datagrams(&socket, heard).await,
        Line::Tcp(mut stream) => {
            let (mut input, _) = stream.split();
            packets(&mut input, heard).await
        }
    }
}

/// Takes in what comes, and sends the clip's sound.
pub(super) async fn converse(line: Line, ssrc: u32, clip: &Clip, heard: &mut Heard) -> io::Result<()> {
    match line {
        Line::Udp(socket) => tokio::select! {
            ended = datagrams(&socket, heard) => ended,
            ended = speak(ssrc, clip, Mouth::Udp(&socket)) => ended,
        },
        Line::Tcp(mut stream) => {
            let (mut input, output) = stream.split();
            tokio::select! {
                ended = packets(&mut input, heard) => ended,
                ended = speak(ssrc, clip, Mouth::Tcp(output)) => ended,
            }
        }
    }
}

/// Where sound goes out.
enum Mouth<'a> {
    Udp(&'a UdpSocket),
    Tcp(WriteHalf<'a>),
}

impl Mouth<'_> {
    async fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            // As with pictures: who is gone says BYE.
            Mouth::Udp(socket) => socket.send(packet).await.map(|_| ()).or(Ok(())),
            Mouth::Tcp(stream) => {
                let mut frame = BytesMut::new();
                rtp::frame(packet, &mut frame).map_err(io::Error::other)?;
                stream.write_all(&frame).await
            }
        }
    }
}

async fn datagrams(socket: &UdpSocket, heard: &mut Heard) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(MAX_DATAGRAM);
    loop {
        buffer.clear();
        buffer.reserve(MAX_DATAGRAM);
        // An error is an ICMP answer to what was sent.
        if socket.recv_buf(&mut buffer).await.is_ok() {
            heard.take(Bytes::copy_from_slice(&buffer));
        }
    }
}

async fn packets(stream: &mut (impl AsyncReadExt + Unpin), heard: &mut Heard) -> io::Result<()> {
    let mut deframer = Deframer::new();
    let mut buffer = BytesMut::with_capacity(4_096);
    while stream.read_buf(&mut buffer).await? > 0 {
        deframer.push(&buffer);
        buffer.clear();
        while let Some(packet) = deframer.next() {
            if let Ok(packet) = packet {
                heard.take(packet);
            }
        }
    }
    Ok(())
}

async fn speak(ssrc: u32, clip: &Clip, mut mouth: Mouth<'_>) -> io::Result<()> {
    let mut due = clock::now();
    for index in 0_u64.. {
        clock::until(Some(due)).await;
        due += Duration::from_millis(1_000 / FPS.unsigned_abs());
        let header = Header {
            payload_type: PCMA,
            marker: index == 0,
            sequence: index as u16,
            timestamp: (index as u32).wrapping_mul(SAMPLES),
            ssrc,
        };
        let sound = clip.sound(index, 0).payload;
        let mut packet = BytesMut::with_capacity(12 + sound.len());
        header.write(&mut packet);
        packet.extend_from_slice(&sound);
        mouth.send(&packet).await?;
    }
    Ok(())
}
