//! What receives the packets of one stream: a UDP socket, or a TCP connection in either direction.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use metrics::counter;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::gb::sdp::MediaMode;
use crate::media::rtp::Deframer;
use crate::net::ports::{Lease, Ports};
use crate::net::rtp::{NoSocket, RtpConnector, RtpListener, RtpSocket};
use crate::net::udp::Datagram;
use crate::telemetry::metrics as names;

/// What is read from a connection at once.
const READ: usize = 64 * 1024;
/// How long a device may take to accept our connection.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// One stream's way in.
pub(super) enum Source {
    /// RTP over UDP.
    Udp { socket: RtpSocket, datagrams: Vec<Datagram> },
    /// The device connects to us, and again if its connection breaks.
    Passive { listener: RtpListener, line: Option<Line> },
    /// We connect to the device, once its answer says where.
    Active { local: SocketAddr, active: Active },
}

/// How far a connection of ours has come.
pub(super) enum Active {
    /// The device has not answered yet.
    Bound(RtpConnector),
    /// Under way.
    Connecting { remote: SocketAddr, attempt: Attempt },
    /// Open; the lease holds the port.
    Open { line: Line, _lease: Lease },
    /// Given up.
    Failed,
}

/// An attempt to connect. It is kept, so that it goes on when whoever waits for it looks elsewhere meanwhile.
pub(super) type Attempt = Pin<Box<dyn Future<Output = io::Result<(TcpStream, Lease)>> + Send>>;

/// An open connection.
pub(super) struct Line {
    stream: TcpStream,
    remote: SocketAddr,
    deframer: Deframer,
    buffer: BytesMut,
    /// The last departure from RFC 4571, until it is taken.
    fault: Option<&'static str>,
}

impl Line {
    fn new(stream: TcpStream, remote: SocketAddr) -> Line {
        Line { stream, remote, deframer: Deframer::new(), buffer: BytesMut::with_capacity(READ), fault: None }
    }

    /// Waits for bytes and appends the packets in them; an error means that the connection is over.
    async fn receive(&mut self, packets: &mut Vec<(SocketAddr, Bytes)>) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.reserve(READ);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.deframer.push(&self.buffer);
        while let Some(frame) = self.deframer.next() {
            match frame {
                Ok(packet) => packets.push((self.remote, packet)),
                Err(fault) => {
                    self.fault = Some(fault.reason());
                    counter!(names::RTP_DROPPED, "reason" => fault.reason()).increment(1);
                }
            }
        }
        Ok(())
    }
}

impl Source {
    /// Opens the next free port for a transport.
    pub(super) fn open(ports: &Ports, mode: MediaMode, local: IpAddr, dscp: u8) -> Result<Source, NoSocket> {
        Ok(match mode {
            MediaMode::Udp => {
                Source::Udp { socket: RtpSocket::bind(ports, local, dscp)?, datagrams: Vec::new() }
            }
            MediaMode::TcpPassive => {
                Source::Passive { listener: RtpListener::bind(ports, local)?, line: None }
            }
            MediaMode::TcpActive => {
                let connector = RtpConnector::bind(ports, local)?;
                Source::Active { local: connector.local_addr(), active: Active::Bound(connector) }
            }
        })
    }

    /// The port that the device is told.
    pub(super) fn port(&self) -> u16 {
        match self {
            Source::Udp { socket, .. } => socket.local_addr().port(),
            Source::Passive { listener, .. } => listener.local_addr().port(),
            Source::Active { local, .. } => local.port(),
        }
    }

    /// Whether packets can't overtake each other.
    pub(super) fn keeps_order(&self) -> bool {
        !matches!(self, Source::Udp { .. })
    }

    /// The device listens there: connect, if we are to.
    pub(super) fn connect(&mut self, to: SocketAddr) {
        if let Source::Active { active, .. } = self {
            *active = match std::mem::replace(active, Active::Failed) {
                Active::Bound(connector) => {
                    Active::Connecting { remote: to, attempt: Box::pin(connector.connect(to, CONNECT)) }
                }
                other => other,
            };
        }
    }

    /// What was wrong with the framing of a connection since this was asked for last.
    pub(super) fn take_fault(&mut self) -> Option<&'static str> {
        match self {
            Source::Passive { line: Some(line), .. }
            | Source::Active { active: Active::Open { line, .. }, .. } => line.fault.take(),
            _ => None,
        }
    }

    /// Sends a report to where a device takes it; over UDP alone, since devices that take media connections do not
    /// read them.
    pub(super) fn report(&self, to: SocketAddr, report: &[u8]) {
        if let Source::Udp { socket, .. } = self {
            // The next one says the same, and more.
            let _ = socket.try_send(to, report);
        }
    }

    /// Waits for packets and appends them. An error ends the stream. Nothing is lost if the future is dropped.
    ///
    /// `allowed` says from where a connection is taken; others are closed and counted.
    pub(super) async fn receive(
        &mut self,
        packets: &mut Vec<(SocketAddr, Bytes)>,
        allowed: impl Fn(IpAddr) -> bool,
    ) -> io::Result<()> {
        match self {
            Source::Udp { socket, datagrams } => {
                socket.recv_many(datagrams).await?;
                packets.extend(datagrams.drain(..).map(|datagram| (datagram.remote, datagram.bytes)));
                Ok(())
            }
            Source::Passive { listener, line } => match line {
                Some(open) => {
                    if open.receive(packets).await.is_err() {
                        // The device may connect again (annex D of 2022); silence ends the stream if it does not.
                        *line = None;
                    }
                    Ok(())
                }
                None => {
                    let (stream, remote) = listener.accept().await?;
                    if allowed(remote.ip()) {
                        *line = Some(Line::new(stream, remote));
                    } else {
                        counter!(names::RTP_DROPPED, "reason" => "uninvited").increment(1);
                    }
                    Ok(())
                }
            },
            Source::Active { active, .. } => match active {
                Active::Bound(_) => std::future::pending().await,
                Active::Connecting { remote, attempt } => {
                    let remote = *remote;
                    let (stream, lease) = attempt.await.map_err(|error| {
                        io::Error::new(error.kind(), format!("cannot connect to {remote}: {error}"))
                    })?;
                    *active = Active::Open { line: Line::new(stream, remote), _lease: lease };
                    Ok(())
                }
                Active::Open { line, .. } => line.receive(packets).await,
                Active::Failed => Err(io::Error::other("the connection to the device was given up")),
            },
        }
    }
}
