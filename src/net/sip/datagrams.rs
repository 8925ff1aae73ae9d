//! SIP over UDP: one socket and one reader for each listening address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::inbox::Entry;
use super::{Inbound, dropped};
use crate::net::BindError;
use crate::net::bind::plain;
use crate::net::route::{Advertise, as_known_to};
use crate::net::udp::{Datagram, Options, Socket};
use crate::sip::{Flow, Message, Transport};

/// Room for what arrives while the reader is busy: a city that registers again at once is some ten thousand messages.
const RECV_BUFFER: usize = 16 << 20;
const SEND_BUFFER: usize = 4 << 20;
/// Less than this is worth a hint.
const SMALL_BUFFER: usize = 2 << 20;
/// A pause after a failed receive, so that a lasting failure does not burn a core.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn bind(address: SocketAddr) -> Result<Socket, BindError> {
    let options =
        Options { key: "sip.udp", recv_buffer: RECV_BUFFER, send_buffer: SEND_BUFFER, dscp: 0, merge: false };
    let socket = Socket::bind(address, &options)?;
    let (address, granted) = (socket.local_addr(), socket.recv_buffer() / 1024);
    if socket.recv_buffer() < SMALL_BUFFER {
        info!(%address, granted_kib = granted, "the receive buffer is small for many devices: raise net.core.rmem_max");
    } else {
        info!(%address, granted_kib = granted, "receive buffer");
    }
    Ok(socket)
}

/// Reads datagrams until `stop`.
pub(super) async fn read(
    socket: Arc<Socket>,
    advertise: Arc<[Advertise]>,
    entry: Entry,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        let received = tokio::select! {
            received = socket.recv_many(&mut batch) => received,
            () = stop.cancelled() => return,
        };
        if let Err(error) = received {
            warn!(address = %socket.local_addr(), error = %plain(&error), "cannot receive SIP over UDP");
            sleep(PAUSE).await;
        }
        for datagram in batch.drain(..) {
            take(&socket, datagram, &advertise, &entry);
        }
    }
}

fn take(socket: &Socket, datagram: Datagram, advertise: &[Advertise], entry: &Entry) {
    let Datagram { remote, local_ip, bytes } = datagram;
    // Blank datagrams keep a NAT open (RFC 5626 3.5.1 has CRLF CRLF; some devices send zeros).
    if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | 0)) {
        return;
    }
    let bound = socket.local_addr();
    let local = SocketAddr::new(local_ip.unwrap_or(bound.ip()), bound.port());
    let local = as_known_to(advertise, local, remote);
    let flow = Flow { transport: Transport::Udp, local, remote, connection: 0 };
    match Message::parse(&bytes) {
        Ok(message) => entry.offer(Inbound::Message { flow, message }),
        Err(error) => {
            dropped(error.reason());
            entry.mention(Inbound::Malformed { flow, reason: error.reason() });
        }
    }
}

/// A datagram that waits for room in the system's buffer.
pub(super) struct Waiting {
    pub(super) remote: SocketAddr,
    pub(super) source: Option<IpAddr>,
    pub(super) bytes: Bytes,
}

/// Sends what waits, until `stop`.
pub(super) async fn write(socket: Arc<Socket>, mut queue: mpsc::Receiver<Waiting>, stop: CancellationToken) {
    loop {
        let waiting = tokio::select! {
            waiting = queue.recv() => waiting,
            () = stop.cancelled() => return,
        };
        let Some(Waiting { remote, source, bytes }) = waiting else { return };
        if socket.send(remote, source, &bytes).await.is_err() {
            dropped("send_failed");
        }
    }
}
