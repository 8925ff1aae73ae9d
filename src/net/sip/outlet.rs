//! What we send. Nothing here waits: what cannot leave at once is queued, within bounds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::datagrams::{self, Waiting};
use super::inbox::Entry;
use super::large::{Decision, LONGEST_DATAGRAM, Large};
use super::{Limits, dropped, streams};
use crate::net::bind::plain;
use crate::net::clock;
use crate::net::gate::Gate;
use crate::net::route::{Advertise, as_known_to, local_address_towards};
use crate::net::udp::Socket;
use crate::sip::{Flow, Transport};

/// Datagrams that wait for room in the system's buffer, for each socket.
const UDP_QUEUE: usize = 1024;
/// Messages that wait to be written to one stream; their bytes are bounded apart.
const STREAM_QUEUE: usize = 1024;

/// Why a message was not sent. Each has been counted.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum NotSent {
    /// The stream is gone.
    #[error("the connection is closed")]
    NoConnection,
    /// We have no UDP socket of the family of the peer.
    #[error("no UDP socket to send from")]
    NoSocket,
    /// The peer takes nothing; its stream has been closed. Or the system takes no datagrams.
    #[error("too much waits to be sent")]
    QueueFull,
    /// The system refused.
    #[error("the system refused to send")]
    Refused,
}

impl NotSent {
    fn reason(self) -> &'static str {
        match self {
            NotSent::NoConnection => "no_connection",
            NotSent::NoSocket => "no_socket",
            NotSent::QueueFull => "write_queue_full",
            NotSent::Refused => "send_failed",
        }
    }
}

/// Sends messages. Cheap to clone.
#[derive(Clone)]
pub struct Outlet {
    shared: Arc<Shared>,
}

struct Shared {
    udp: Vec<UdpOut>,
    streams: Mutex<Streams>,
    large: Mutex<Large>,
    next: AtomicU64,
    /// Where we listen for streams, to tell peers of connections that we make.
    tcp: Vec<SocketAddr>,
    advertise: Arc<[Advertise]>,
    entry: Entry,
    limits: Limits,
    gate: Gate,
    stop: CancellationToken,
}

struct UdpOut {
    socket: Arc<Socket>,
    queue: mpsc::Sender<Waiting>,
}

#[derive(Default)]
struct Streams {
    by_number: HashMap<u64, Handle>,
    /// TCP connections by the peer's address, so that there is one to each.
    by_remote: HashMap<SocketAddr, u64>,
}

/// What is known of a stream that is open.
#[derive(Clone)]
struct Handle {
    flow: Flow,
    queue: mpsc::Sender<Bytes>,
    /// Bytes in the queue.
    queued: Arc<AtomicUsize>,
    stop: CancellationToken,
}

/// What the task of a stream has of its queue.
pub(super) struct Queue {
    pub(super) messages: mpsc::Receiver<Bytes>,
    pub(super) queued: Arc<AtomicUsize>,
    /// Ends the stream.
    pub(super) stop: CancellationToken,
}

impl Outlet {
    pub(super) fn new(
        sockets: Vec<Arc<Socket>>,
        tcp: Vec<SocketAddr>,
        advertise: Arc<[Advertise]>,
        entry: Entry,
        limits: Limits,
        stop: CancellationToken,
    ) -> Outlet {
        let udp = sockets
            .into_iter()
            .map(|socket| {
                let (queue, waiting) = mpsc::channel(UDP_QUEUE);
                tokio::spawn(datagrams::write(socket.clone(), waiting, stop.clone()));
                UdpOut { socket, queue }
            })
            .collect();
        let gate = Gate::new(limits.connections, limits.connections_per_address);
        let (streams, large) = (Mutex::default(), Mutex::default());
        Outlet {
            shared: Arc::new(Shared {
                udp,
                streams,
                large,
                next: AtomicU64::new(1),
                tcp,
                advertise,
                entry,
                limits,
                gate,
                stop,
            }),
        }
    }

    /// Sends over `flow` without waiting. UDP leaves from the address of `flow.local`, as long as it is ours.
    ///
    /// # Errors
    /// Why it was not sent. That it was sent does not mean that it arrives.
    pub fn send(&self, flow: &Flow, bytes: Bytes) -> Result<(), NotSent> {
        let sent = match flow.transport {
            Transport::Udp if bytes.len() > LONGEST_DATAGRAM => self.send_long(flow, bytes),
            Transport::Udp => self.send_datagram(flow, bytes),
            Transport::Tcp | Transport::Tls => self.send_on_stream(flow.connection, bytes),
        };
        sent.inspect_err(|not_sent| dropped(not_sent.reason()))
    }

    /// Sends over TCP, where the peer has it, what is too long for a datagram.
    fn send_long(&self, flow: &Flow, bytes: Bytes) -> Result<(), NotSent> {
        let open = self.shared.streams.lock().by_remote.get(&flow.remote).copied();
        let decision = self.shared.large.lock().decide(clock::now(), *flow, &bytes, open.is_some());
        match (decision, open) {
            (Decision::Stream(rewritten), Some(connection)) => {
                self.send_on_stream(connection, rewritten).or_else(|_| self.send_datagram(flow, bytes))
            }
            (Decision::Held, _) => Ok(()),
            (Decision::Try, _) => {
                tokio::spawn(streams::try_connect(self.clone(), flow.remote));
                Ok(())
            }
            (Decision::Datagram | Decision::Stream(_), _) => self.send_datagram(flow, bytes),
        }
    }

    /// What came of trying a connection for what is too long: it leaves, by whichever way.
    pub(super) fn tried(&self, remote: SocketAddr, connected: bool) {
        let held = self.shared.large.lock().tried(clock::now(), remote, connected);
        for (flow, bytes) in held {
            // Counted where it fails; whoever sent it repeats it.
            let _ = self.send(&flow, bytes);
        }
    }

    /// Makes a TCP connection known that was made to a peer.
    pub(super) fn connected(&self, remote: SocketAddr) -> (Flow, Queue) {
        self.open(Transport::Tcp, self.local_towards(remote), remote)
    }

    fn send_datagram(&self, flow: &Flow, bytes: Bytes) -> Result<(), NotSent> {
        let out = self.socket_for(flow).ok_or(NotSent::NoSocket)?;
        // An address that only peers know is on no interface of ours: the system chooses by the route then.
        let only_told = |ip: &IpAddr| self.shared.advertise.iter().any(|rule| rule.address == *ip);
        let source = Some(flow.local.ip()).filter(|ip| !ip.is_unspecified() && !only_told(ip));
        // What waits goes first.
        if out.queue.capacity() == out.queue.max_capacity() {
            match out.socket.try_send(flow.remote, source, &bytes) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    debug!(remote = %flow.remote, error = %plain(&error), "a datagram was not sent");
                    return Err(NotSent::Refused);
                }
            }
        }
        out.queue.try_send(Waiting { remote: flow.remote, source, bytes }).map_err(|_| NotSent::QueueFull)
    }

    /// The socket bound to the flow's local address, else to its port, else any of the family.
    fn socket_for(&self, flow: &Flow) -> Option<&UdpOut> {
        let of_family = |out: &&UdpOut| out.socket.local_addr().is_ipv4() == flow.remote.is_ipv4();
        let rank = |out: &&UdpOut| {
            let bound = out.socket.local_addr();
            (bound.port() == flow.local.port(), bound.ip() == flow.local.ip(), bound.ip().is_unspecified())
        };
        self.shared.udp.iter().filter(of_family).max_by_key(rank)
    }

    fn send_on_stream(&self, connection: u64, bytes: Bytes) -> Result<(), NotSent> {
        let handle =
            self.shared.streams.lock().by_number.get(&connection).cloned().ok_or(NotSent::NoConnection)?;
        let length = bytes.len();
        let waiting = handle.queued.fetch_add(length, Ordering::Relaxed) + length;
        let full = waiting > self.shared.limits.write_queue || handle.queue.try_send(bytes).is_err();
        if full {
            // A stream with a hole in it is of no use; the peer reads nothing anyway.
            handle.stop.cancel();
            return Err(NotSent::QueueFull);
        }
        Ok(())
    }

    /// The flow of the TCP connection to `remote`: the one that is open, or a new one, which is made in the
    /// background. Messages can be sent over it at once; they wait. If the connection fails, [`Inbound::Closed`]
    /// comes. The flow's local address is where the peer can reach us in turn (our listener), not the port that the
    /// connection happens to have.
    ///
    /// [`Inbound::Closed`]: super::Inbound::Closed
    pub fn connect_tcp(&self, remote: SocketAddr) -> Flow {
        let local = self.local_towards(remote);
        let mut streams = self.shared.streams.lock();
        let open = streams.by_remote.get(&remote).and_then(|number| streams.by_number.get(number));
        if let Some(handle) = open {
            return handle.flow;
        }
        let (flow, queue) = self.add(&mut streams, Transport::Tcp, local, remote);
        drop(streams);
        tokio::spawn(streams::connect(self.clone(), flow, queue));
        flow
    }

    /// How many streams are open.
    pub fn connections(&self) -> usize {
        self.shared.streams.lock().by_number.len()
    }

    fn local_towards(&self, remote: SocketAddr) -> SocketAddr {
        let same_family = |address: &&SocketAddr| address.is_ipv4() == remote.is_ipv4();
        let listener = self.shared.tcp.iter().find(same_family).copied();
        let unspecified: IpAddr = if remote.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        match listener {
            Some(address) if !address.ip().is_unspecified() => address,
            _ => SocketAddr::new(
                local_address_towards(remote).unwrap_or(unspecified),
                listener.map_or(0, |address| address.port()),
            ),
        }
    }

    /// Makes a stream known.
    pub(super) fn open(&self, transport: Transport, local: SocketAddr, remote: SocketAddr) -> (Flow, Queue) {
        let mut streams = self.shared.streams.lock();
        self.add(&mut streams, transport, local, remote)
    }

    fn add(
        &self,
        streams: &mut Streams,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> (Flow, Queue) {
        let connection = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let local = as_known_to(&self.shared.advertise, local, remote);
        let flow = Flow { transport, local, remote, connection };
        let (queue, messages) = mpsc::channel(STREAM_QUEUE);
        let (queued, stop) = (Arc::new(AtomicUsize::new(0)), self.shared.stop.child_token());
        if transport == Transport::Tcp {
            streams.by_remote.insert(remote, connection);
        }
        let handle = Handle { flow, queue, queued: queued.clone(), stop: stop.clone() };
        streams.by_number.insert(connection, handle);
        (flow, Queue { messages, queued, stop })
    }

    /// Forgets a stream: nothing can be sent over it any more.
    pub(super) fn close(&self, flow: &Flow) {
        let mut streams = self.shared.streams.lock();
        streams.by_number.remove(&flow.connection);
        if streams.by_remote.get(&flow.remote) == Some(&flow.connection) {
            streams.by_remote.remove(&flow.remote);
        }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.shared.entry
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.shared.gate
    }
}
