//! SIP messages in and out: over UDP, TCP and TLS, into one queue.
//!
//! Each listening address has one socket and one task in front of it; each stream has a task of its own. What they
//! read goes to the [`Inbox`], bounded in messages and in bytes. When it is full, a datagram is dropped and counted
//! (its sender will repeat it), and streams are not read on (TCP slows their senders down). What we send goes through
//! the [`Outlet`], which never waits.

mod datagrams;
mod inbox;
mod large;
mod outlet;
mod streams;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::bind::{self, BindError};
use super::route::Advertise;
use crate::sip::{Flow, Message, Transport};

pub use inbox::Inbox;
pub use outlet::{NotSent, Outlet};

/// The metric of what was dropped, with a label `reason`.
pub const DROPPED: &str = "gbgate_sip_dropped_total";

/// What came in.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are messages; a box would cost each of them")]
pub enum Inbound {
    /// A message.
    Message {
        /// Where from, and the way back.
        flow: Flow,
        /// The message.
        message: Message,
    },
    /// Something that is no message. Counted already; here to be noted against a device that is known. Left out when
    /// the queue fills.
    Malformed {
        /// Where from.
        flow: Flow,
        /// The label of the metric.
        reason: &'static str,
    },
    /// A stream is gone: nothing more comes or goes over this connection. Comes once, after the last message.
    Closed {
        /// Its number in [`Flow::connection`].
        connection: u64,
    },
}

/// Where to listen.
#[derive(Clone, Debug, Default)]
pub struct Listen {
    /// For datagrams (`sip.udp`).
    pub udp: Vec<SocketAddr>,
    /// For streams (`sip.tcp`).
    pub tcp: Vec<SocketAddr>,
    /// For streams under TLS (`sip.tls.listen`).
    pub tls: Vec<SocketAddr>,
    /// What TLS needs; without it, `tls` is not listened on.
    pub tls_config: Option<Arc<ServerConfig>>,
    /// Which address peers are told (`sip.advertise`): it is the local address of their flows, hence in Via and
    /// Contact.
    pub advertise: Arc<[Advertise]>,
}

/// Where we do listen: as [`Listen`], with the real ports where 0 was asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bound {
    /// For datagrams.
    pub udp: Vec<SocketAddr>,
    /// For streams.
    pub tcp: Vec<SocketAddr>,
    /// For streams under TLS.
    pub tls: Vec<SocketAddr>,
}

/// What peers may hold of us.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    /// Messages in the inbox.
    pub messages: usize,
    /// Bytes in the inbox.
    pub bytes: usize,
    /// Streams at once.
    pub connections: usize,
    /// Streams at once from one address; a whole site may be behind one.
    pub connections_per_address: usize,
    /// How long a stream may go without a message or a keep-alive.
    pub idle: Duration,
    /// How long a message may take to arrive on a stream, and the handshake of TLS.
    pub message: Duration,
    /// How long one write may take, and a connection that we make.
    pub write: Duration,
    /// Bytes that wait to be written to one stream.
    pub write_queue: usize,
    /// Faults in a row after which a stream is closed: it does not speak SIP.
    pub faults: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            messages: 8192,
            bytes: 64 << 20,
            connections: 65_536,
            connections_per_address: 4096,
            idle: Duration::from_secs(600),
            message: Duration::from_secs(30),
            write: Duration::from_secs(10),
            write_queue: 4 << 20,
            faults: 64,
        }
    }
}

/// The open edge.
pub struct Edge {
    /// What comes in.
    pub inbox: Inbox,
    /// How to send.
    pub outlet: Outlet,
    /// Where we listen.
    pub bound: Bound,
}

/// Starts listening. `stop` ends all: listeners close, streams write what waits and close. Must be called within a
/// tokio runtime.
///
/// # Errors
/// The first address that cannot be had; nothing is listened on then.
pub fn listen(listen: &Listen, limits: Limits, stop: &CancellationToken) -> Result<Edge, BindError> {
    let mut bound = Bound::default();
    let mut sockets = Vec::new();
    for address in &listen.udp {
        let socket = datagrams::bind(*address)?;
        bound.udp.push(socket.local_addr());
        sockets.push(Arc::new(socket));
    }
    let mut listeners = Vec::new();
    let tls = listen
        .tls_config
        .iter()
        .flat_map(|config| listen.tls.iter().map(move |at| (at, Some(config.clone()))));
    for (address, tls) in listen.tcp.iter().map(|address| (address, None)).chain(tls) {
        let key = if tls.is_some() { "sip.tls.listen" } else { "sip.tcp" };
        let (listener, local) = bind::tcp(*address, key)?;
        if tls.is_some() { &mut bound.tls } else { &mut bound.tcp }.push(local);
        listeners.push((listener, tls));
    }
    // Only now that all is bound does anything start.
    let (entry, inbox) = inbox::inbox(limits.messages, limits.bytes);
    let advertise = Arc::clone(&listen.advertise);
    let outlet =
        Outlet::new(sockets.clone(), bound.tcp.clone(), advertise, entry.clone(), limits, stop.clone());
    for socket in sockets {
        tokio::spawn(datagrams::read(socket, Arc::clone(&listen.advertise), entry.clone(), stop.clone()));
    }
    for (listener, tls) in listeners {
        tokio::spawn(streams::accept(listener, tls, outlet.clone(), stop.clone()));
    }
    Ok(Edge { inbox, outlet, bound })
}

/// Counts something that was dropped.
fn dropped(reason: &'static str) {
    counter!(DROPPED, "reason" => reason).increment(1);
}

/// The bytes that a message takes in the inbox, its text and index guessed.
fn weight(message: &Message) -> usize {
    const HEAD: usize = 2048;
    HEAD + message.body.len()
}

/// The transport of a stream.
fn transport(is_tls: bool) -> Transport {
    if is_tls { Transport::Tls } else { Transport::Tcp }
}
