//! The task of one who speaks: carries datagrams to its session, and sound from it.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};

use super::hub::Membership;
use super::ingest::{Ingest, Sound};
use super::outlet::{Input, NEVER, Out, set};
use super::transport::Output;
use crate::net::clock;

/// Packets of sound that wait to be taken, some 600 ms. Above, the oldest are lost: who listens wants to hear what
/// is said now.
const SOUNDS: usize = 32;

/// What one speaker says. Dropping it ends the session.
#[derive(Debug)]
pub struct Sounds {
    receiver: broadcast::Receiver<Sound>,
    leave: Arc<Notify>,
}

impl Sounds {
    /// The next packet, in order; `None` once the speaker has left.
    pub async fn recv(&mut self) -> Option<Sound> {
        loop {
            match self.receiver.recv().await {
                Ok(sound) => return Some(sound),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Sounds {
    fn drop(&mut self) {
        self.leave.notify_one();
    }
}

pub(super) fn sounds(leave: Arc<Notify>) -> (broadcast::Sender<Sound>, Sounds) {
    let (sender, receiver) = broadcast::channel(SOUNDS);
    (sender, Sounds { receiver, leave })
}

pub(super) struct Speaker {
    pub session: Ingest,
    pub sounds: broadcast::Sender<Sound>,
    pub inbox: mpsc::Receiver<Input>,
    /// Told when the session is to be closed.
    pub leave: Arc<Notify>,
    /// Taken back when the task ends, however it ends.
    pub member: Membership,
}

impl Speaker {
    pub(super) async fn run(mut self) {
        let mut out = Out::new();
        let mut alarm = std::pin::pin!(tokio::time::sleep(NEVER));
        while self.deliver(&mut out).await {
            set(alarm.as_mut(), self.session.next_timeout());
            tokio::select! {
                () = self.leave.notified() => self.session.close(clock::now()),
                input = self.inbox.recv() => match input {
                    Some(input) => out.take(input, &mut self.inbox, |path, data| {
                        self.session.handle_datagram(clock::now(), path, data)
                    }),
                    None => self.session.close(clock::now()),
                },
                () = alarm.as_mut() => self.session.handle_timeout(clock::now()),
            }
        }
    }

    /// Carries out what the session asks for. False once it has ended.
    async fn deliver(&mut self, out: &mut Out) -> bool {
        while let Some(sound) = self.session.poll_sound() {
            // Who takes it may have gone; then the session is being closed.
            let _ = self.sounds.send(sound);
        }
        let mut alive = true;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(path, packet) => {
                    // What cannot be sent are reports: they come again.
                    out.send(&self.member, path, packet.freeze()).await;
                }
                Output::Proven(path) => self.member.prove(path),
                Output::Forgotten(remote) => self.member.forget(remote),
                Output::KeyFrame => {}
                Output::Established => tracing::debug!(speaker = self.member.id(), "speaker connected"),
                Output::Closed(reason) => {
                    tracing::debug!(speaker = self.member.id(), ?reason, "speaker left");
                    alive = false;
                }
            }
        }
        out.flush(&self.member).await;
        alive
    }
}
