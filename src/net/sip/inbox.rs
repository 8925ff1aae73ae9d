//! The queue between the sockets and the shards: bounded in messages and in bytes.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::{Inbound, dropped, weight};

/// The weight of what holds no message.
const SMALL: usize = 64;

/// Makes a queue.
pub(super) fn inbox(messages: usize, bytes: usize) -> (Entry, Inbox) {
    let (sender, receiver) = mpsc::channel(messages);
    let room = Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)));
    (Entry { queue: sender, room: room.clone(), most: bytes }, Inbox { queue: receiver, room })
}

struct Weighed {
    inbound: Inbound,
    weight: usize,
}

/// The end that sockets put into.
#[derive(Clone)]
pub(super) struct Entry {
    queue: mpsc::Sender<Weighed>,
    room: Arc<Semaphore>,
    /// All the room there is.
    most: usize,
}

impl Entry {
    fn weigh(&self, inbound: &Inbound) -> usize {
        let weight = match inbound {
            Inbound::Message { message, .. } => weight(message),
            Inbound::Malformed { .. } | Inbound::Closed { .. } => SMALL,
        };
        // What is larger than all the room waits until it has all of it.
        weight.min(self.most)
    }

    /// Puts in if there is room, else drops and counts.
    pub(super) fn offer(&self, inbound: Inbound) {
        let weight = self.weigh(&inbound);
        let Ok(room) = self.room.try_acquire_many(permits(weight)) else { return dropped("queue_full") };
        if self.queue.try_send(Weighed { inbound, weight }).is_ok() {
            room.forget();
        } else {
            dropped("queue_full");
        }
    }

    /// As [`Entry::offer`], for what may be left out: only while half of the queue is free.
    pub(super) fn mention(&self, inbound: Inbound) {
        if self.queue.capacity() > self.queue.max_capacity() / 2 {
            self.offer(inbound);
        }
    }

    /// Puts in, waiting for room. False when nobody takes any more.
    pub(super) async fn put(&self, inbound: Inbound) -> bool {
        let weight = self.weigh(&inbound);
        let Ok(room) = self.room.acquire_many(permits(weight)).await else { return false };
        room.forget();
        self.queue.send(Weighed { inbound, weight }).await.is_ok()
    }
}

fn permits(weight: usize) -> u32 {
    u32::try_from(weight).unwrap_or(u32::MAX)
}

/// The end that is taken from.
pub struct Inbox {
    queue: mpsc::Receiver<Weighed>,
    room: Arc<Semaphore>,
}

impl Inbox {
    /// Waits for the next. `None` when the edge has stopped, every [`Outlet`](super::Outlet) is gone and all is
    /// taken.
    pub async fn recv(&mut self) -> Option<Inbound> {
        let Weighed { inbound, weight } = self.queue.recv().await?;
        self.room.add_permits(weight);
        Some(inbound)
    }

    /// Takes the next if it is there.
    pub fn try_recv(&mut self) -> Option<Inbound> {
        let Weighed { inbound, weight } = self.queue.try_recv().ok()?;
        self.room.add_permits(weight);
        Some(inbound)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // Who waits for room shall not wait for ever.
        self.room.close();
    }
}
