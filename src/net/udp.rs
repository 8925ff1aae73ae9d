//! Datagrams: many per system call, each with the address of ours that it was sent to.
//!
//! quinn-udp does the system calls. On construction it also sets a socket up for QUIC: never fragment, and merge what
//! arrives (GRO). SIP wants the opposite, since a message may be larger than the path takes; so quinn-udp's state is
//! made on a socket that is thrown away, and the real one is given only the options that receiving needs.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Protocol as SocketProtocol, SockRef, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::bind::{self, BindError, Protocol};

/// No datagram is larger, nor is what the kernel merges.
const LARGEST: usize = 65_536;

thread_local! {
    /// What datagrams are received into, before each is copied to memory of its own size. One for each thread, since
    /// no call waits with it: 2 MiB, of which only the pages that are written to take memory.
    static MEMORY: RefCell<Vec<u8>> = RefCell::new(vec![0; BATCH_SIZE * LARGEST]);
}

/// How a socket is set up.
#[derive(Copy, Clone, Debug)]
pub struct Options {
    /// The key of the configuration, for the message when listening fails.
    pub key: &'static str,
    /// Bytes wanted for what arrives while we are busy (SO_RCVBUF); the system may grant less.
    pub recv_buffer: usize,
    /// Bytes wanted for what waits to leave (SO_SNDBUF).
    pub send_buffer: usize,
    /// The DSCP of packets sent with [`Socket::try_send`] without a source address.
    pub dscp: u8,
    /// Let the kernel merge packets of equal size that arrive together: for media.
    pub merge: bool,
}

/// What arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Datagram {
    /// Who sent it.
    pub remote: SocketAddr,
    /// The address of ours that it was sent to, where the system tells.
    pub local_ip: Option<IpAddr>,
    /// The datagram, whole.
    pub bytes: Bytes,
}

/// A UDP socket that receives in batches.
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl Socket {
    /// Binds to `address`. IPv6 addresses take no IPv4. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Why the address cannot be had.
    pub fn bind(address: SocketAddr, options: &Options) -> Result<Socket, BindError> {
        Socket::try_bind(address, options).map_err(|source| BindError {
            address,
            protocol: Protocol::Udp,
            key: options.key,
            source,
        })
    }

    fn try_bind(address: SocketAddr, options: &Options) -> io::Result<Socket> {
        let open = || bind::socket(address, Type::DGRAM, SocketProtocol::UDP);
        let state = UdpSocketState::new((&open()?).into())?;
        let socket = open()?;
        if address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        if options.merge {
            #[cfg(target_os = "linux")] // An older kernel gives packets one by one instead.
            let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
        }
        enlarge(&socket, options)?;
        mark(&socket, address, options.dscp)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let local = io.local_addr()?;
        Ok(Socket { io, state, local })
    }

    /// The address in use; its port is the real one where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The bytes that the system granted for what arrives. Linux counts its own overhead, so half of it is payload.
    pub fn recv_buffer(&self) -> usize {
        SockRef::from(&self.io).recv_buffer_size().unwrap_or_default()
    }

    /// Waits for datagrams and appends those that are there, up to a batch.
    ///
    /// # Errors
    /// Those of the system; the socket remains usable.
    pub async fn recv_many(&self, into: &mut Vec<Datagram>) -> io::Result<()> {
        loop {
            self.io.readable().await?;
            match self.try_recv_many(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// As [`Socket::recv_many`], without waiting.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there.
    pub fn try_recv_many(&self, into: &mut Vec<Datagram>) -> io::Result<()> {
        MEMORY.with_borrow_mut(|memory| {
            let mut chunks = memory.chunks_exact_mut(LARGEST);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let count = self
                .io
                .try_io(Interest::READABLE, || self.state.recv((&self.io).into(), &mut slices, &mut metas))?;
            for (slice, meta) in slices.iter().zip(&metas).take(count) {
                split(slice, meta, into);
            }
            Ok(())
        })
    }

    /// Sends one datagram without waiting, from `source` where given and still ours, else from the address of the
    /// route.
    ///
    /// # Errors
    /// `WouldBlock` where the system's buffer is full ([`Socket::send`] waits for room), and those of the system.
    pub fn try_send(&self, remote: SocketAddr, source: Option<IpAddr>, contents: &[u8]) -> io::Result<()> {
        // Asks the system rather than tokio, which knows nothing of a new socket until it has polled it.
        let by_route = || SockRef::from(&self.io).send_to(contents, &remote.into()).map(drop);
        // quinn-udp sets the traffic class of what it sends to 0: only what needs a source goes that way.
        let Some(source) = source else { return by_route() };
        let transmit =
            Transmit { destination: remote, ecn: None, contents, segment_size: None, src_ip: Some(source) };
        match self.state.try_send((&self.io).into(), &transmit) {
            // EINVAL, EADDRNOTAVAIL, ENETUNREACH: the address is no longer ours.
            Err(error) if matches!(error.raw_os_error(), Some(22 | 99 | 101)) => by_route(),
            sent => sent,
        }
    }

    /// As [`Socket::try_send`], waiting for room.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn send(&self, remote: SocketAddr, source: Option<IpAddr>, contents: &[u8]) -> io::Result<()> {
        self.io.async_io(Interest::WRITABLE, || self.try_send(remote, source, contents)).await
    }
}

/// Asks for the buffers: beyond the limit of the system where we may (CAP_NET_ADMIN), else up to it.
fn enlarge(socket: &RawSocket, options: &Options) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    let forced = setsockopt(socket, sockopt::RcvBufForce, &options.recv_buffer).is_ok();
    #[cfg(not(target_os = "linux"))]
    let forced = false;
    if !forced {
        socket.set_recv_buffer_size(options.recv_buffer)?;
    }
    socket.set_send_buffer_size(options.send_buffer)
}

fn mark(socket: &RawSocket, address: SocketAddr, dscp: u8) -> io::Result<()> {
    // The two bits below the DSCP are those of ECN.
    let class = u32::from(dscp.min(63)) << 2;
    match class {
        0 => Ok(()),
        _ if address.is_ipv4() => socket.set_tos_v4(class),
        _ => socket.set_tclass_v6(class),
    }
}

/// Copies out what one buffer holds: one datagram, or several of `stride` bytes (the last may be shorter).
fn split(buffer: &[u8], meta: &RecvMeta, into: &mut Vec<Datagram>) {
    let filled = buffer.get(..meta.len).unwrap_or_default();
    let bytes = Bytes::copy_from_slice(filled);
    let stride = meta.stride.max(1);
    for start in (0..bytes.len()).step_by(stride) {
        let end = bytes.len().min(start + stride);
        into.push(Datagram { remote: meta.addr, local_ip: meta.dst_ip, bytes: bytes.slice(start..end) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options =
        Options { key: "sip.udp", recv_buffer: 1 << 20, send_buffer: 1 << 20, dscp: 0, merge: false };

    async fn received(socket: &Socket, count: usize) -> Vec<Datagram> {
        let mut all = Vec::new();
        while all.len() < count {
            socket.recv_many(&mut all).await.unwrap();
        }
        all
    }

    #[tokio::test]
    async fn the_largest_datagram_arrives_whole() {
        let a = Socket::bind("127.0.0.1:0".parse().unwrap(), &OPTIONS).unwrap();
        let b = Socket::bind("127.0.0.1:0".parse().unwrap(), &OPTIONS).unwrap();
        let large: Vec<u8> = (0..65_507_u32).map(|n| n as u8).collect();
        a.send(b.local_addr(), None, &large).await.unwrap();
        a.send(b.local_addr(), None, b"small").await.unwrap();
        let got = received(&b, 2).await;
        assert_eq!(got[0].bytes, large);
        assert_eq!(got[1].bytes, "small");
        assert_eq!(got[0].remote, a.local_addr());
    }

    /// A client asks `server` at one of its addresses: it is told which, and answers from there.
    async fn answers_from(server: Socket, client: &str, asked: &str) {
        let client = Socket::bind(client.parse().unwrap(), &OPTIONS).unwrap();
        let asked = SocketAddr::new(asked.parse().unwrap(), server.local_addr().port());
        client.send(asked, None, b"ask").await.unwrap();
        let got = received(&server, 1).await.remove(0);
        assert_eq!(got.local_ip, Some(asked.ip()));
        server.send(got.remote, got.local_ip, b"answer").await.unwrap();
        assert_eq!(received(&client, 1).await[0].remote, asked);
    }

    #[tokio::test]
    async fn the_answer_leaves_from_the_address_that_was_asked() {
        let server = Socket::bind("0.0.0.0:0".parse().unwrap(), &OPTIONS).unwrap();
        answers_from(server, "127.0.0.1:0", "127.0.0.5").await;
    }

    #[tokio::test]
    async fn ipv6_tells_the_address_too() {
        let Ok(server) = Socket::bind("[::]:0".parse().unwrap(), &OPTIONS) else { return };
        answers_from(server, "[::1]:0", "::1").await;
    }

    #[tokio::test]
    async fn a_source_that_is_not_ours_falls_back_to_the_route() {
        let a = Socket::bind("0.0.0.0:0".parse().unwrap(), &OPTIONS).unwrap();
        let b = Socket::bind("127.0.0.1:0".parse().unwrap(), &OPTIONS).unwrap();
        a.send(b.local_addr(), Some("203.0.113.77".parse().unwrap()), b"x").await.unwrap();
        assert_eq!(received(&b, 1).await[0].bytes, "x");
    }

    #[tokio::test]
    async fn a_burst_arrives_in_order_with_its_boundaries() {
        let options = Options { merge: true, dscp: 34, ..OPTIONS };
        let a = Socket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let b = Socket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        for n in 0..100_usize {
            a.send(b.local_addr(), None, &vec![n as u8; 1000 + n % 3]).await.unwrap();
        }
        for (n, datagram) in received(&b, 100).await.iter().enumerate() {
            assert_eq!(datagram.bytes, vec![n as u8; 1000 + n % 3]);
        }
    }

    #[test]
    fn what_the_kernel_merged_is_split_by_its_stride() {
        let mut meta = RecvMeta::default();
        (meta.len, meta.stride) = (7, 3);
        let mut into = Vec::new();
        split(b"aaabbbc-----", &meta, &mut into);
        assert_eq!(into.iter().map(|d| d.bytes.as_ref()).collect::<Vec<_>>(), [&b"aaa"[..], b"bbb", b"c"]);
        (meta.len, meta.stride) = (0, 0);
        into.clear();
        split(b"", &meta, &mut into);
        assert_eq!(into, []);
    }

    #[tokio::test]
    async fn a_port_in_use_is_told() {
        let taken = Socket::bind("127.0.0.1:0".parse().unwrap(), &OPTIONS).unwrap();
        let told = Socket::bind(taken.local_addr(), &OPTIONS).err().unwrap().to_string();
        assert!(
            told.contains("/udp (sip.udp): address already in use. Another gbgate or SIP server"),
            "{told}"
        );
    }
}
