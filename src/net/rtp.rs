//! The sockets of one stream of RTP: a UDP socket, a TCP listener, or a TCP connection that we make. Each is on a
//! port out of [`Ports`] and gives it back when dropped.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Protocol as SocketProtocol, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::bind::{self, BindError, Protocol};
use super::ports::{Lease, Ports};
use super::udp::{Datagram, Options, Socket};

/// The key of the configuration that these ports come from.
const KEY: &str = "media.ports";
/// Room for what arrives while a worker is busy: two seconds of a stream of 8 Mbit/s.
const RECV_BUFFER: usize = 2 << 20;
/// Room for what waits to leave.
const SEND_BUFFER: usize = 512 << 10;
/// How often the system is asked for a port of its own before an odd one is taken.
const TRIES_FOR_EVEN: usize = 8;

/// Why there is no socket for a stream.
#[derive(Debug, Error)]
pub enum NoSocket {
    /// Every port is in use by a stream or rests.
    #[error("all ports of media.ports are in use")]
    AllInUse,
    /// No port could be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// RTP over UDP.
pub struct RtpSocket {
    socket: Socket,
    _lease: Lease,
}

impl RtpSocket {
    /// Binds the next port on `ip`; packets that we send carry `dscp`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// That no port is left, or none can be bound.
    pub fn bind(ports: &Ports, ip: IpAddr, dscp: u8) -> Result<RtpSocket, NoSocket> {
        let options =
            Options { key: KEY, recv_buffer: RECV_BUFFER, send_buffer: SEND_BUFFER, dscp, merge: true };
        let bind = |address| Socket::bind(address, &options);
        let (socket, lease) = on_next_port(ports, ip, bind, |socket| socket.local_addr().port())?;
        Ok(RtpSocket { socket, _lease: lease })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    /// Waits for packets and appends those that are there. Packets may share memory with others of their batch.
    ///
    /// # Errors
    /// Those of the system; the socket remains usable.
    pub async fn recv_many(&self, into: &mut Vec<Datagram>) -> io::Result<()> {
        self.socket.recv_many(into).await
    }

    /// As [`RtpSocket::recv_many`], without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there.
    pub fn try_recv_many(&self, into: &mut Vec<Datagram>) -> io::Result<()> {
        self.socket.try_recv_many(into)
    }

    /// Sends one packet without waiting, such as a receiver report.
    ///
    /// # Errors
    /// `WouldBlock` where the system's buffer is full, and those of the system.
    pub fn try_send(&self, remote: SocketAddr, packet: &[u8]) -> io::Result<()> {
        self.socket.try_send(remote, None, packet)
    }
}

/// RTP over TCP where the device connects to us (passive).
pub struct RtpListener {
    listener: TcpListener,
    local: SocketAddr,
    _lease: Lease,
}

impl RtpListener {
    /// Listens on the next port of `ip`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// That no port is left, or none can be bound.
    pub fn bind(ports: &Ports, ip: IpAddr) -> Result<RtpListener, NoSocket> {
        let bind = |address| bind::tcp(address, KEY);
        let ((listener, local), lease) = on_next_port(ports, ip, bind, |(_, local)| local.port())?;
        Ok(RtpListener { listener, local, _lease: lease })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits for a connection. Keep the listener for as long as the stream lasts: it holds the port.
    ///
    /// # Errors
    /// Those of the system; the listener remains usable.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, remote) = self.listener.accept().await?;
        bind::tune(&stream);
        Ok((stream, remote))
    }
}

/// RTP over TCP where we connect to the device (active). The port is known before the connection is made, since the
/// SDP that we send has it.
pub struct RtpConnector {
    socket: TcpSocket,
    local: SocketAddr,
    lease: Lease,
}

impl RtpConnector {
    /// Binds the next port on `ip`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// That no port is left, or none can be bound.
    pub fn bind(ports: &Ports, ip: IpAddr) -> Result<RtpConnector, NoSocket> {
        let bind = |address: SocketAddr| {
            let bind = || {
                let socket = bind::socket(address, Type::STREAM, SocketProtocol::TCP)?;
                socket.set_reuse_address(true)?;
                socket.bind(&address.into())?;
                let socket = TcpSocket::from_std_stream(socket.into());
                Ok((socket.local_addr()?, socket))
            };
            bind().map_err(|source| BindError { address, protocol: Protocol::Tcp, key: KEY, source })
        };
        let ((local, socket), lease) = on_next_port(ports, ip, bind, |(local, _)| local.port())?;
        Ok(RtpConnector { socket, local, lease })
    }

    /// The address in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Connects to the device. The lease holds the port: keep it for as long as the stream lasts.
    ///
    /// # Errors
    /// `TimedOut` after `within`, and those of the system.
    pub async fn connect(self, remote: SocketAddr, within: Duration) -> io::Result<(TcpStream, Lease)> {
        let stream = timeout(within, self.socket.connect(remote)).await.map_err(io::Error::from)??;
        bind::tune(&stream);
        Ok((stream, self.lease))
    }
}

/// Binds the next free port of which the system says yes. One that another program has rests before it is tried
/// again. Where the system chooses, an even port is preferred: some devices insist on it.
fn on_next_port<T>(
    ports: &Ports,
    ip: IpAddr,
    bind: impl Fn(SocketAddr) -> Result<T, BindError>,
    port_of: impl Fn(&T) -> u16,
) -> Result<(T, Lease), NoSocket> {
    let mut failure = NoSocket::AllInUse;
    for _ in 0..ports.size() {
        let Some(lease) = ports.take() else { break };
        match bind(SocketAddr::new(ip, lease.port())) {
            Ok(first) if lease.port() == 0 => {
                // The odd ones are held meanwhile, so that the system gives others.
                let mut odd = vec![first];
                while odd.len() < TRIES_FOR_EVEN && odd.last().is_some_and(|socket| port_of(socket) % 2 == 1)
                {
                    odd.push(bind(SocketAddr::new(ip, 0))?);
                }
                return odd.pop().map(|socket| (socket, lease)).ok_or(NoSocket::AllInUse);
            }
            Ok(socket) => return Ok((socket, lease)),
            Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => failure = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ports::PortRange;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn system() -> Ports {
        Ports::new(PortRange::System, Duration::from_secs(30))
    }

    /// A range of two even ports that were free a moment ago.
    fn two_ports() -> (u16, Ports) {
        loop {
            let probe = RtpSocket::bind(&system(), LOCALHOST, 0).unwrap().local_addr().port();
            let next = SocketAddr::new(LOCALHOST, probe.saturating_add(2));
            if probe.is_multiple_of(2) && probe < 65_000 && std::net::UdpSocket::bind(next).is_ok() {
                let range = PortRange::Range { first: probe, last: probe + 3 };
                return (probe, Ports::new(range, Duration::from_secs(30)));
            }
        }
    }

    #[tokio::test]
    async fn packets_arrive_on_an_even_port() {
        let ports = system();
        let receiver = RtpSocket::bind(&ports, LOCALHOST, 0).unwrap();
        let sender = RtpSocket::bind(&ports, LOCALHOST, 34).unwrap();
        assert_eq!(receiver.local_addr().port() % 2, 0);
        sender.try_send(receiver.local_addr(), b"one").unwrap();
        sender.try_send(receiver.local_addr(), b"two").unwrap();
        let mut got = Vec::new();
        while got.len() < 2 {
            receiver.recv_many(&mut got).await.unwrap();
        }
        assert_eq!(got[1].bytes, "two");
        assert_eq!(got[0].remote, sender.local_addr());
        assert_eq!(ports.in_use(), 2);
        drop((receiver, sender));
        assert_eq!(ports.in_use(), 0);
    }

    #[tokio::test]
    async fn a_port_that_another_program_has_is_passed_over() {
        let (first, ports) = two_ports();
        let _other = std::net::UdpSocket::bind((LOCALHOST, first)).unwrap();
        let ours = RtpSocket::bind(&ports, LOCALHOST, 0).unwrap();
        assert_eq!(ours.local_addr().port(), first + 2);
        assert!(matches!(RtpSocket::bind(&ports, LOCALHOST, 0), Err(NoSocket::AllInUse)));
    }

    #[tokio::test]
    async fn a_used_port_rests() {
        let (_, ports) = two_ports();
        drop(RtpSocket::bind(&ports, LOCALHOST, 0).unwrap());
        let _second = RtpSocket::bind(&ports, LOCALHOST, 0).unwrap();
        assert!(matches!(RtpSocket::bind(&ports, LOCALHOST, 0), Err(NoSocket::AllInUse)));
    }

    #[tokio::test]
    async fn active_and_passive_meet() {
        let ports = system();
        let passive = RtpListener::bind(&ports, LOCALHOST).unwrap();
        let active = RtpConnector::bind(&ports, LOCALHOST).unwrap();
        let from = active.local_addr();
        let (connected, accepted) =
            tokio::join!(active.connect(passive.local_addr(), Duration::from_secs(5)), passive.accept());
        let ((mut ours, _lease), (mut theirs, remote)) = (connected.unwrap(), accepted.unwrap());
        assert_eq!(remote, from);
        ours.write_all(b"rtp").await.unwrap();
        let mut got = [0; 3];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"rtp");
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        let ports = system();
        let gone = RtpListener::bind(&ports, LOCALHOST).unwrap().local_addr();
        let active = RtpConnector::bind(&ports, LOCALHOST).unwrap();
        let error = active.connect(gone, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
