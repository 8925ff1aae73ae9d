//! SIP over TCP and TLS: one task for each stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::inbox::Entry;
use super::outlet::{Outlet, Queue};
use super::{Inbound, Limits, dropped, large, transport};
use crate::net::bind::{plain, tune};
use crate::net::clock;
use crate::sip::framer::Limits as FrameLimits;
use crate::sip::{Flow, Frame, Framer};

/// Bytes read at once.
const READ: usize = 16 << 10;
/// Fewer bytes than this may be the beginning of a keep-alive (CRLF CRLF), which some devices send by halves.
const LESS_THAN_PING: usize = 4;
/// The answer to a keep-alive (RFC 5626 3.5.1).
const PONG: Bytes = Bytes::from_static(b"\r\n");
/// A pause after a failed accept: mostly no file descriptor is left, and trying at once would only burn a core.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the writing of what waits may take once a stream is to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Accepts streams until `stop`.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    outlet: Outlet,
    stop: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(error = %plain(&error), "cannot accept a SIP connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let pass = match outlet.gate().admit(remote.ip()) {
            Ok(pass) => pass,
            Err(full) => {
                dropped(full.reason());
                debug!(%remote, reason = full.reason(), "a SIP connection was refused");
                continue;
            }
        };
        let (outlet, acceptor) = (outlet.clone(), acceptor.clone());
        tokio::spawn(async move {
            welcome(stream, remote, acceptor, outlet).await;
            drop(pass);
        });
    }
}

async fn welcome(stream: TcpStream, remote: SocketAddr, acceptor: Option<TlsAcceptor>, outlet: Outlet) {
    tune(&stream);
    let Ok(local) = stream.local_addr() else { return };
    let transport = transport(acceptor.is_some());
    match acceptor {
        None => {
            let (flow, queue) = outlet.open(transport, local, remote);
            run(stream, flow, queue, outlet).await;
        }
        Some(acceptor) => match timeout(outlet.limits().message, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let (flow, queue) = outlet.open(transport, local, remote);
                run(stream, flow, queue, outlet).await;
            }
            Ok(Err(error)) => {
                dropped("tls_handshake");
                debug!(%remote, %error, "the TLS handshake failed");
            }
            Err(_) => dropped("tls_handshake"),
        },
    }
}

/// Makes a connection, then serves it.
pub(super) async fn connect(outlet: Outlet, flow: Flow, queue: Queue) {
    let connected = tokio::select! {
        connected = timeout(outlet.limits().write, TcpStream::connect(flow.remote)) => connected,
        () = queue.stop.cancelled() => return finish(&outlet, &flow).await,
    };
    match connected {
        Ok(Ok(stream)) => {
            tune(&stream);
            run(stream, flow, queue, outlet).await;
        }
        failed => {
            let error = match failed {
                Ok(Err(error)) => plain(&error),
                _ => "no answer".to_owned(),
            };
            dropped("connect_failed");
            debug!(remote = %flow.remote, error, "cannot connect for SIP");
            finish(&outlet, &flow).await;
        }
    }
}

/// Tries a connection to a peer of which only its UDP is known, then serves it.
pub(super) async fn try_connect(outlet: Outlet, remote: SocketAddr) {
    match timeout(large::CONNECT, TcpStream::connect(remote)).await {
        Ok(Ok(stream)) => {
            tune(&stream);
            let (flow, queue) = outlet.connected(remote);
            outlet.tried(remote, true);
            run(stream, flow, queue, outlet).await;
        }
        _ => {
            debug!(%remote, "no TCP for long requests");
            outlet.tried(remote, false);
        }
    }
}

/// Serves a stream to its end.
async fn run(stream: impl AsyncRead + AsyncWrite, flow: Flow, queue: Queue, outlet: Outlet) {
    let (reader, writer) = tokio::io::split(stream);
    let stop = queue.stop.clone();
    let limits = *outlet.limits();
    let reading = async {
        let mut reading = Reading::new(flow, &limits, outlet.entry());
        let end = tokio::select! {
            end = reading.read(reader, &outlet) => Some(end),
            () = stop.cancelled() => None,
        };
        stop.cancel();
        end
    };
    let (end, ()) = tokio::join!(reading, write(writer, queue, limits.write));
    if let Some(reason) = end.and_then(End::reason) {
        dropped(reason);
        debug!(remote = %flow.remote, reason, "a SIP connection was cut");
    }
    finish(&outlet, &flow).await;
}

async fn finish(outlet: &Outlet, flow: &Flow) {
    outlet.close(flow);
    outlet.entry().put(Inbound::Closed { connection: flow.connection }).await;
}

/// Writes what is queued. After a stop it writes what still waits, if the peer takes it soon, and closes.
async fn write(mut writer: impl AsyncWrite + Unpin, queue: Queue, within: Duration) {
    let Queue { mut messages, queued, stop } = queue;
    loop {
        let message = tokio::select! {
            message = messages.recv() => message,
            () = stop.cancelled() => break,
        };
        let Some(message) = message else { break };
        queued.fetch_sub(message.len(), Ordering::Relaxed);
        let written = timeout(within, write_one(&mut writer, &message)).await;
        if !matches!(written, Ok(Ok(()))) {
            if written.is_err() {
                dropped("write_timeout");
            }
            return stop.cancel();
        }
    }
    let rest = async {
        while let Ok(message) = messages.try_recv() {
            write_one(&mut writer, &message).await?;
        }
        writer.shutdown().await
    };
    let _ = timeout(FAREWELL, rest).await;
}

async fn write_one(writer: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> std::io::Result<()> {
    writer.write_all(message).await?;
    writer.flush().await
}

/// Why reading ended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum End {
    /// The peer closed, or the network failed.
    Closed,
    /// Nothing came for too long.
    Idle,
    /// A message did not become whole in time.
    Slow,
    /// It does not speak SIP.
    Faults,
    /// It sent more than a message may measure.
    Overflow,
}

impl End {
    /// The label of the metric, if we cut the stream.
    fn reason(self) -> Option<&'static str> {
        match self {
            End::Closed => None,
            End::Idle => Some("idle"),
            End::Slow => Some("slow_message"),
            End::Faults => Some("not_sip"),
            End::Overflow => Some("overflow"),
        }
    }
}

/// What is remembered of a stream while it is read.
struct Reading<'a> {
    flow: Flow,
    limits: &'a Limits,
    entry: &'a Entry,
    framer: Framer,
    /// The last message or keep-alive.
    alive: Instant,
    /// Since when a message is on its way.
    partial: Option<Instant>,
    /// Faults since the last message.
    faults: usize,
    /// Whether a message ever came. A stream that begins with something else speaks no SIP.
    speaks_sip: bool,
}

impl<'a> Reading<'a> {
    fn new(flow: Flow, limits: &'a Limits, entry: &'a Entry) -> Reading<'a> {
        let framer = Framer::new(FrameLimits::default());
        Reading {
            flow,
            limits,
            entry,
            framer,
            alive: clock::now(),
            partial: None,
            faults: 0,
            speaks_sip: false,
        }
    }

    async fn read(&mut self, mut reader: impl AsyncRead + Unpin, outlet: &Outlet) -> End {
        let mut buffer = vec![0; READ];
        loop {
            let idle = self.alive + self.limits.idle;
            let deadline = self.partial.map_or(idle, |since| since + self.limits.message);
            let count = match timeout_at(deadline.into(), reader.read(&mut buffer)).await {
                Err(_) if self.partial.is_some() => return End::Slow,
                Err(_) => return End::Idle,
                Ok(Err(_) | Ok(0)) => return End::Closed,
                Ok(Ok(count)) => count,
            };
            if self.framer.push(buffer.get(..count).unwrap_or_default()).is_err() {
                return End::Overflow;
            }
            if let Some(end) = self.take(outlet).await {
                return end;
            }
        }
    }

    /// Takes out what is whole.
    async fn take(&mut self, outlet: &Outlet) -> Option<End> {
        let mut progress = false;
        for frame in self.framer.by_ref() {
            match frame {
                Ok(Frame::Message(message)) => {
                    (progress, self.faults, self.speaks_sip) = (true, 0, true);
                    // Waiting here is what slows a sender down.
                    if !self.entry.put(Inbound::Message { flow: self.flow, message }).await {
                        return Some(End::Closed);
                    }
                }
                Ok(Frame::Ping) => {
                    progress = true;
                    let _ = outlet.send(&self.flow, PONG);
                }
                Err(error) => {
                    self.faults += 1;
                    dropped(error.reason());
                    self.entry.mention(Inbound::Malformed { flow: self.flow, reason: error.reason() });
                    if !self.speaks_sip || self.faults > self.limits.faults {
                        return Some(End::Faults);
                    }
                }
            }
        }
        let now = clock::now();
        if progress {
            (self.alive, self.partial) = (now, None);
        }
        self.partial = match self.framer.buffered() < LESS_THAN_PING {
            true => None,
            false => self.partial.or(Some(now)),
        };
        None
    }
}
