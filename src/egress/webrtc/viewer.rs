//! The task of one viewer: carries datagrams and batches to its session and packets from it.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Histogram, counter};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, mpsc};

use super::feed::{Feed, Live};
use super::hub::Membership;
use super::outlet::{Input, MAX_ROUND, NEVER, Out, set};
use super::session::Session;
use super::transport::Output;
use crate::media::unit::Track;
use crate::net::clock;

pub(super) struct Viewer {
    pub session: Session,
    pub feed: Feed,
    pub inbox: mpsc::Receiver<Input>,
    /// Told when the session is to be closed.
    pub leave: Arc<Notify>,
    /// Taken back when the task ends, however it ends.
    pub member: Membership,
    /// When the picture that is being sent had come in.
    pub arrived: Option<Instant>,
    /// From the last packet in to the last packet out.
    pub delay: Histogram,
}

impl Viewer {
    pub(super) async fn run(mut self) {
        let mut out = Out::new();
        let backlog = std::mem::take(&mut self.feed.backlog);
        backlog.into_iter().for_each(|batch| self.session.handle_batch(clock::now(), batch));
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
                batch = self.feed.live.recv() => match batch {
                    Ok(live) => {
                        self.take_batch(live);
                        self.take_batches();
                    }
                    Err(RecvError::Lagged(_)) => self.lag(),
                    Err(RecvError::Closed) => self.session.close(clock::now()),
                },
                () = alarm.as_mut() => self.session.handle_timeout(clock::now()),
            }
        }
    }

    fn take_batch(&mut self, Live { arrived, batch }: Live) {
        // Sound comes in small pieces that say little of the way: pictures are what is timed.
        if batch.track == Track::Video {
            self.arrived = Some(arrived);
        }
        self.session.handle_batch(clock::now(), batch);
    }

    fn take_batches(&mut self) {
        for _ in 0..MAX_ROUND {
            match self.feed.live.try_recv() {
                Ok(live) => self.take_batch(live),
                Err(TryRecvError::Lagged(_)) => self.lag(),
                // The end is seen by the next wait.
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn lag(&mut self) {
        counter!("gbgate_webrtc_lagged_total").increment(1);
        self.session.handle_lag(clock::now());
    }

    /// Carries out what the session asks for. False once it has ended.
    async fn deliver(&mut self, out: &mut Out) -> bool {
        let mut alive = true;
        let mut overflow = false;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(path, packet) => {
                    overflow |= !out.send(&self.member, path, packet.freeze()).await
                }
                Output::Proven(path) => self.member.prove(path),
                Output::Forgotten(remote) => self.member.forget(remote),
                Output::KeyFrame => self.feed.key_frames.ask(clock::now()),
                Output::Established => tracing::debug!(viewer = self.member.id(), "viewer connected"),
                Output::Closed(reason) => {
                    tracing::debug!(viewer = self.member.id(), ?reason, "viewer left");
                    alive = false;
                }
            }
        }
        out.flush(&self.member).await;
        if let Some(arrived) = self.arrived.take() {
            self.delay.record(clock::now().saturating_duration_since(arrived).as_secs_f64());
        }
        if overflow {
            counter!("gbgate_webrtc_lagged_total").increment(1);
            self.session.handle_overflow(clock::now());
        }
        alive
    }
}
