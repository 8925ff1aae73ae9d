//! A voice to one device: sound from a browser, sent as RTP over UDP or TCP. One task for each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing::debug;

use super::shard::Input;
use super::signalling::Command;
use super::source::{Attempt, CONNECT};
use super::streams::{Ask, Handle, Reporter};
use crate::call::Media;
use crate::egress::talk::{Config, Talk};
use crate::egress::webrtc::{Sound, Sounds};
use crate::gb::sdp::MediaMode;
use crate::net::ports::{Lease, Ports};
use crate::net::rtp::{NoSocket, RtpConnector, RtpListener, RtpSocket};
use crate::net::udp::Datagram;
use crate::telemetry::metrics as names;

/// The payload type of G.711 A-law (RFC 3551).
const PCMA: u8 = 8;
/// A device that takes no bytes for so long hears nothing: its connection is given up.
const MAX_WRITE: Duration = Duration::from_secs(2);

/// One way out.
pub(super) enum Line {
    Udp {
        socket: RtpSocket,
        to: Option<SocketAddr>,
        heard: Vec<Datagram>,
    },
    /// The device connects to us.
    Listening(RtpListener),
    /// We connect to the device, once it is known where it listens.
    Bound(RtpConnector),
    Connecting(Attempt),
    /// Open; what held the port is kept.
    Open {
        stream: TcpStream,
        _held: Held,
    },
    Closed,
}

/// What holds the port of a connection.
pub(super) enum Held {
    Listener { _listener: RtpListener },
    Lease { _lease: Lease },
}

impl Line {
    /// Opens the next free port for a transport, as this side sees it, and returns its number.
    pub(super) fn open(
        ports: &Ports,
        mode: MediaMode,
        local: IpAddr,
        dscp: u8,
    ) -> Result<(Line, u16), NoSocket> {
        Ok(match mode {
            MediaMode::Udp => {
                let socket = RtpSocket::bind(ports, local, dscp)?;
                let port = socket.local_addr().port();
                (Line::Udp { socket, to: None, heard: Vec::new() }, port)
            }
            MediaMode::TcpPassive => {
                let listener = RtpListener::bind(ports, local)?;
                let port = listener.local_addr().port();
                (Line::Listening(listener), port)
            }
            MediaMode::TcpActive => {
                let connector = RtpConnector::bind(ports, local)?;
                let port = connector.local_addr().port();
                (Line::Bound(connector), port)
            }
        })
    }

    /// The device is known: where it takes sound, or connections.
    fn connect(&mut self, remote: Option<SocketAddr>) {
        match (std::mem::replace(self, Line::Closed), remote) {
            (Line::Udp { socket, heard, .. }, to) => *self = Line::Udp { socket, to, heard },
            (Line::Bound(connector), Some(remote)) => {
                *self = Line::Connecting(Box::pin(connector.connect(remote, CONNECT)));
            }
            (other, _) => *self = other,
        }
    }

    /// Waits for something to happen on the line: true when a connection came to stand. What a device says back is
    /// not carried anywhere.
    async fn wait(&mut self, device: IpAddr) -> io::Result<bool> {
        let (stream, held) = match self {
            Line::Udp { socket, heard, .. } => {
                heard.clear();
                socket.recv_many(heard).await?;
                return Ok(false);
            }
            Line::Open { stream, .. } => {
                let mut heard = [0; 4096];
                return match stream.read(&mut heard).await? {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => Ok(false),
                };
            }
            Line::Bound(_) | Line::Closed => return std::future::pending().await,
            Line::Connecting(attempt) => {
                let (stream, lease) = attempt.await?;
                (stream, Held::Lease { _lease: lease })
            }
            Line::Listening(listener) => {
                let (stream, remote) = listener.accept().await?;
                if remote.ip().to_canonical() != device.to_canonical() {
                    counter!(names::RTP_DROPPED, "reason" => "uninvited").increment(1);
                    return Ok(false);
                }
                match std::mem::replace(self, Line::Closed) {
                    Line::Listening(listener) => (stream, Held::Listener { _listener: listener }),
                    other => {
                        *self = other;
                        return Ok(false);
                    }
                }
            }
        };
        *self = Line::Open { stream, _held: held };
        Ok(true)
    }

    async fn send(&mut self, packets: &[Bytes]) -> io::Result<()> {
        match self {
            Line::Udp { socket, to: Some(to), .. } => {
                for packet in packets {
                    // Sound that finds no room is late already.
                    let _ = socket.try_send(*to, packet);
                }
                Ok(())
            }
            Line::Open { stream, .. } => {
                for packet in packets {
                    tokio::time::timeout(MAX_WRITE, stream.write_all(packet)).await??;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The task of one voice.
pub(super) struct Talker {
    pub(super) line: Line,
    /// Where the device is: only from there a connection is taken.
    pub(super) device: IpAddr,
    pub(super) ssrc: u32,
    pub(super) inbox: mpsc::Receiver<Ask>,
    pub(super) handle: Arc<Handle>,
    pub(super) news: Reporter,
}

impl Talker {
    pub(super) async fn run(mut self, mode: MediaMode) {
        let framed = mode != MediaMode::Udp;
        let mut config = Config { ssrc: self.ssrc, payload_type: PCMA, framed };
        let mut talk = Talk::new(config, rand::random());
        let mut ready = false;
        let mut sounds: Option<Sounds> = None;
        let mut packets = Vec::new();
        let close = self.handle.close.clone();
        loop {
            tokio::select! {
                connected = self.line.wait(self.device) => match connected {
                    Ok(true) => self.news.tell(Media::Connected).await,
                    Ok(false) => {}
                    Err(error) => {
                        self.news.tell(Media::Ended(format!("the way to the device is gone: {error}"))).await;
                        return;
                    }
                },
                ask = self.inbox.recv() => match ask {
                    Some(Ask::Connect { remote, ssrc, payload_type }) => {
                        config = Config { ssrc, payload_type: payload_type.unwrap_or(PCMA), framed };
                        talk = Talk::new(config, rand::random());
                        self.line.connect(remote);
                        self.handle.report.lock().ssrc = ssrc;
                    }
                    Some(Ask::TalkReady) => {
                        ready = true;
                        self.handle.report.lock().state = "running";
                    }
                    Some(Ask::Speak(new)) => {
                        sounds = Some(new);
                        self.handle.report.lock().readers = 1;
                        self.news.tell(Media::Readers(1)).await;
                    }
                    // There is nothing to see here.
                    Some(Ask::Feed(_) | Ask::Tap(_) | Ask::Pace { .. }) => {}
                    None => return,
                },
                sound = next(&mut sounds) => match sound {
                    Some(sound) if ready => {
                        talk.push(&sound, &mut packets);
                        let bytes: usize = packets.iter().map(Bytes::len).sum();
                        counter!(names::MEDIA_BYTES, "direction" => "out").increment(bytes as u64);
                        if let Err(error) = self.line.send(&packets).await {
                            self.news.tell(Media::Ended(format!("the device takes no sound: {error}"))).await;
                            return;
                        }
                        packets.clear();
                        self.handle.report.lock().packets = talk.packets();
                    }
                    Some(_) => {}
                    None => {
                        debug!(call = %self.news.call, "the speaker left");
                        sounds = None;
                        let stop = Input::Stop { call: self.news.call, why: "the speaker left" };
                        let _ = self.news.shard.send(Command::Input(stop)).await;
                    }
                },
                () = close.cancelled() => return,
            }
        }
    }
}

/// The next piece of sound; waits for ever where nobody speaks.
async fn next(sounds: &mut Option<Sounds>) -> Option<Sound> {
    match sounds {
        Some(sounds) => sounds.recv().await,
        None => std::future::pending().await,
    }
}
