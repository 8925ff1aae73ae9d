//! What the task of a session needs to meet the network: what comes in, the ways out, a timer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::{Counter, counter};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::hub::{Membership, count_dropped};
use super::path::Path;
use super::transport::Dropped;
use super::udp::Gather;
use crate::net::clock;

/// Datagrams that wait for a session's task; above, they are dropped. A browser sends a few a second.
pub(super) const INBOX: usize = 64;
/// Datagrams or batches handled before packets go out.
pub(super) const MAX_ROUND: usize = 32;
/// Far away, for a timer without a deadline.
pub(super) const NEVER: Duration = Duration::from_secs(3600);

/// A datagram for a session, with the way back if it came by TCP.
#[derive(Debug)]
pub(super) struct Input {
    pub path: Path,
    pub data: Bytes,
    pub reply: Option<mpsc::Sender<Bytes>>,
}

/// The ways out of one session.
pub(super) struct Out {
    gather: Gather,
    /// Connections of TCP by number, with the queue of what is to be written.
    connections: Vec<(u64, mpsc::Sender<Bytes>)>,
    sent: Counter,
}

impl Out {
    pub(super) fn new() -> Self {
        let sent = counter!("gbgate_media_bytes_total", "direction" => "out");
        Self { gather: Gather::default(), connections: Vec::new(), sent }
    }

    /// Hands over a datagram that came in and those that wait behind it.
    pub(super) fn take(
        &mut self,
        first: Input,
        inbox: &mut mpsc::Receiver<Input>,
        mut handle: impl FnMut(Path, &[u8]) -> Result<(), Dropped>,
    ) {
        let mut next = Some(first);
        for _ in 0..MAX_ROUND {
            let Some(Input { path, data, reply }) = next else { return };
            if let Some(reply) = reply {
                self.connect(path.connection, reply);
            }
            if let Err(dropped) = handle(path, &data) {
                count_dropped(dropped.as_str());
            }
            next = inbox.try_recv().ok();
        }
    }

    fn connect(&mut self, number: u64, reply: mpsc::Sender<Bytes>) {
        if self.connections.iter().any(|(known, _)| *known == number) {
            return;
        }
        // The hub bounds how many are open.
        self.connections.retain(|(_, sender)| !sender.is_closed());
        self.connections.push((number, reply));
    }

    /// False if the peer's connection cannot take more.
    pub(super) async fn send(&mut self, member: &Membership, path: Path, packet: Bytes) -> bool {
        self.sent.increment(packet.len() as u64);
        if path.connection == 0 {
            if let Some(udp) = member.udp()
                && self.gather.push(udp, path, &packet).await.is_err()
            {
                count_dropped("send");
            }
            return true;
        }
        let connection = self.connections.iter().find(|(number, _)| *number == path.connection);
        let Some((_, connection)) = connection else { return true };
        !matches!(connection.try_send(packet), Err(mpsc::error::TrySendError::Full(_)))
    }

    pub(super) async fn flush(&mut self, member: &Membership) {
        if let Some(udp) = member.udp()
            && self.gather.flush(udp).await.is_err()
        {
            count_dropped("send");
        }
    }
}

/// Sets a timer.
pub(super) fn set(alarm: std::pin::Pin<&mut Sleep>, at: Option<Instant>) {
    let at = tokio::time::Instant::from_std(at.unwrap_or_else(|| clock::now() + NEVER));
    if alarm.deadline() != at {
        alarm.reset(at);
    }
}
