//! ICE over TCP, passive (RFC 6544): connections of viewers whose networks let no UDP through. Each datagram
//! stands behind its length (RFC 4571).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::hub::{Route, Shared, count_dropped};
use super::path::Path;
use crate::media::rtp::frame;

/// Frames that wait to be written to a viewer. Above, it loses pictures up to a key frame.
const QUEUE: usize = 1024;
/// Bytes of a frame at most: checks, DTLS and RTCP are no longer.
const MAX_FRAME: usize = 4096;
/// Connections at once that have not shown a check for a session.
const MAX_STRANGERS: usize = 256;
/// The first check has to come in this time.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// A connection without a frame for this long is closed. Browsers check every 2.5 s.
const IDLE: Duration = Duration::from_secs(30);
/// A peer that takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(10);
/// Frames written in one call.
const MAX_WRITE: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Takes connections, for ever.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => match Arc::clone(&strangers).try_acquire_owned() {
                Ok(stranger) => {
                    tokio::spawn(serve(stream, remote, Arc::clone(&shared), stranger));
                }
                Err(_) => count_dropped("tcp_full"),
            },
            Err(error) => {
                // Most often the process is out of file descriptors: others end, then it goes on.
                tracing::debug!(%error, "accepting a viewer's connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, remote: SocketAddr, shared: Arc<Shared>, stranger: OwnedSemaphorePermit) {
    // Pictures should not wait for more to come.
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().ok().map(|address| address.ip());
    let path = Path { remote, local, connection: shared.next_number() };
    let (mut reader, writer) = stream.into_split();
    let mut buffer = BytesMut::new();
    let Ok(Ok(first)) = timeout(FIRST_FRAME, read_frame(&mut reader, &mut buffer)).await else {
        return count_dropped("tcp_unproven");
    };
    let Some(route) = shared.route_check(&first) else { return };
    drop(shared);
    let Ok(_place) = Arc::clone(&route.connections).try_acquire_owned() else {
        return count_dropped("tcp_full");
    };
    drop(stranger);
    let (reply, queue) = mpsc::channel(QUEUE);
    route.deliver(path, &first, Some(reply.clone()));
    let mut writing = std::pin::pin!(write(writer, queue));
    let viewer_left = tokio::select! {
        () = read(&mut reader, buffer, &route, path, reply) => false,
        _ = &mut writing => false,
        () = route.inbox.closed() => true,
    };
    if viewer_left {
        // Its last words still go out; no one can add to them.
        let _ = writing.await;
    }
}

async fn read(
    reader: &mut OwnedReadHalf,
    mut buffer: BytesMut,
    route: &Route,
    path: Path,
    reply: mpsc::Sender<Bytes>,
) {
    while let Ok(Ok(frame)) = timeout(IDLE, read_frame(reader, &mut buffer)).await {
        route.deliver(path, &frame, Some(reply.clone()));
    }
}

/// The next frame; `buffer` keeps what follows it.
async fn read_frame(reader: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<BytesMut> {
    loop {
        if let Some((length, rest)) = buffer.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length > MAX_FRAME {
                count_dropped("tcp_frame");
                return Err(io::ErrorKind::InvalidData.into());
            }
            if rest.len() >= length {
                let _header = buffer.split_to(2);
                return Ok(buffer.split_to(length));
            }
        }
        buffer.reserve(MAX_FRAME);
        if reader.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut frames = Vec::with_capacity(MAX_WRITE);
    let mut bytes = BytesMut::new();
    while queue.recv_many(&mut frames, MAX_WRITE).await > 0 {
        bytes.clear();
        for packet in frames.drain(..) {
            // Packets are shorter than the 64 KiB that a frame can hold.
            let _ = frame(&packet, &mut bytes);
        }
        timeout(STALLED, writer.write_all(&bytes)).await??;
    }
    Ok(())
}
