//! The UDP socket of all viewers: many datagrams for each system call, answers from the address that received.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::path::Path;

/// Buffers asked of the system: key frames to many viewers at once, and their checks.
const SOCKET_BUFFER: usize = 4 << 20;
/// Bytes handed to the system in one call at most: what fits the length field of UDP.
const MAX_GATHER: usize = 60_000;
/// Datagrams in a run that the system may have joined.
const MAX_DATAGRAM: usize = 2048;

#[derive(Debug)]
pub(super) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Udp {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // Smaller buffers than asked for are no failure.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, state })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(super) fn receiver(&self) -> Receiver {
        let size = MAX_DATAGRAM * self.state.gro_segments();
        Receiver { buffers: vec![vec![0; size.min(1 << 16)]; RECEIVE_RUNS] }
    }

    /// Waits for datagrams and gives each to `take`.
    pub(super) async fn receive(
        &self,
        receiver: &mut Receiver,
        mut take: impl FnMut(Path, &[u8]),
    ) -> io::Result<()> {
        let mut metas = [RecvMeta::default(); RECEIVE_RUNS];
        let mut slices: Vec<_> = receiver.buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        let receive = || self.state.recv((&self.socket).into(), &mut slices, &mut metas);
        let count = self.socket.async_io(Interest::READABLE, receive).await?;
        for (meta, buffer) in metas.iter().zip(&receiver.buffers).take(count) {
            let path = Path { remote: meta.addr, local: meta.dst_ip, connection: 0 };
            let data = buffer.get(..meta.len).unwrap_or_default();
            for datagram in data.chunks(meta.stride.max(1)) {
                take(path, datagram);
            }
        }
        Ok(())
    }

    async fn send(&self, path: Path, contents: &[u8], segment: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: path.remote,
            ecn: None,
            contents,
            segment_size: (segment < contents.len()).then_some(segment),
            src_ip: path.local,
        };
        self.socket
            .async_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &transmit))
            .await
    }
}

/// Runs of datagrams taken in one call.
const RECEIVE_RUNS: usize = if BATCH_SIZE < 16 { BATCH_SIZE } else { 16 };

#[derive(Debug)]
pub(super) struct Receiver {
    buffers: Vec<Vec<u8>>,
}

/// Datagrams to one peer, gathered while they have the same size, and handed over in one call.
#[derive(Debug, Default)]
pub(super) struct Gather {
    path: Option<Path>,
    bytes: Vec<u8>,
    /// The size of each datagram but the last, which may be shorter.
    segment: usize,
    count: usize,
}

impl Gather {
    /// Sends what is gathered if this datagram cannot join it; then takes the datagram.
    pub(super) async fn push(&mut self, udp: &Udp, path: Path, datagram: &[u8]) -> io::Result<()> {
        let fits = self.path == Some(path)
            && datagram.len() <= self.segment
            && self.bytes.len() == self.count * self.segment
            && self.bytes.len() + datagram.len() <= MAX_GATHER
            && self.count < udp.state.max_gso_segments();
        let result = if fits { Ok(()) } else { self.flush(udp).await };
        if self.count == 0 {
            (self.path, self.segment) = (Some(path), datagram.len());
        }
        self.bytes.extend_from_slice(datagram);
        self.count += 1;
        result
    }

    pub(super) async fn flush(&mut self, udp: &Udp) -> io::Result<()> {
        let result = match self.path.take() {
            Some(path) if self.count > 0 => udp.send(path, &self.bytes, self.segment).await,
            _ => Ok(()),
        };
        self.bytes.clear();
        self.count = 0;
        result
    }
}
