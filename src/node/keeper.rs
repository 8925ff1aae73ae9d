//! The one place where writes become facts: they go to the store in order, and once it has kept them the index
//! in memory applies them and everybody hears what changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::{error, info};

use super::event::Event;
use super::signalling::Command;
use crate::device::WriteToken;
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;
use crate::net::clock;
use crate::registry::{Change, Index, Touch, Write};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics as names;

/// Orders that may wait for the disk. Beyond that, a write that somebody waits for fails and the others are lost
/// and counted: a dead disk must not fill the memory.
const QUEUE: usize = 16_384;
/// Signs of life reach the registry in batches of this age.
const SEEN_EVERY: Duration = Duration::from_secs(1);

/// Writes of a shard.
pub(super) struct Order {
    pub(super) writes: Vec<Write>,
    pub(super) token: Option<WriteToken>,
    pub(super) shard: mpsc::Sender<Command>,
}

enum Job {
    Order(Order),
    /// Writes that nobody waits for.
    Note {
        writes: Vec<Write>,
    },
    /// A write of an administrator, who waits for it.
    Ask {
        writes: Vec<Write>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// The end: everything before it is kept, nothing after it.
    Close {
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// Gives writes to the keeper's task.
#[derive(Clone)]
pub(super) struct Keeper {
    queue: mpsc::Sender<Job>,
    /// The last sign of life of each device since the last batch; bounded by the number of devices.
    seen: Arc<Mutex<HashMap<Id, UnixMillis>>>,
}

impl Keeper {
    /// Starts the keeper.
    pub(super) fn start(
        store: Arc<dyn Store>,
        index: Arc<RwLock<Index>>,
        events: broadcast::Sender<Event>,
    ) -> Keeper {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let task = Task { store, index, events, seen: Arc::clone(&seen) };
        tokio::spawn(task.run(jobs));
        Keeper { queue, seen }
    }

    /// Queues the writes of a shard; false if they can't be.
    pub(super) fn write(&self, order: Order) -> bool {
        // A sign of life from before it went offline must not be applied after it.
        for write in &order.writes {
            if let Write::Offline { device, .. } | Write::EndRegistration { device, .. } = write {
                self.seen.lock().remove(device);
            }
        }
        let queued = self.queue.try_send(Job::Order(order)).is_ok();
        if !queued {
            counter!(names::REGISTRY_ERRORS).increment(1);
        }
        queued
    }

    /// Queues writes that nobody waits for. Those that find no room are counted and lost.
    pub(super) fn note(&self, writes: Vec<Write>) {
        if self.queue.try_send(Job::Note { writes }).is_err() {
            counter!(names::REGISTRY_ERRORS).increment(1);
        }
    }

    /// Notes a sign of life.
    pub(super) fn seen(&self, device: Id) {
        self.seen.lock().insert(device, clock::unix());
    }

    /// Writes, and waits until it is kept.
    pub(super) async fn ask(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let (reply, kept) = oneshot::channel();
        let closed = || StoreError::Closed;
        self.queue.send(Job::Ask { writes, reply }).await.map_err(|_| closed())?;
        kept.await.map_err(|_| closed())?
    }

    /// Keeps what is queued, then closes the store.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (reply, closed) = oneshot::channel();
        self.queue.send(Job::Close { reply }).await.map_err(|_| StoreError::Closed)?;
        closed.await.map_err(|_| StoreError::Closed)?
    }
}

/// What became of the writes of a batch, for each shard that waits: one message wakes it once.
#[derive(Default)]
struct Outcomes(Vec<(mpsc::Sender<Command>, Kept)>);

/// Which writes were kept, and which were not.
type Kept = Vec<(WriteToken, bool)>;

impl Outcomes {
    fn add(&mut self, shard: mpsc::Sender<Command>, token: WriteToken, kept: bool) {
        match self.0.iter_mut().find(|(known, _)| known.same_channel(&shard)) {
            Some((_, outcomes)) => outcomes.push((token, kept)),
            None => self.0.push((shard, vec![(token, kept)])),
        }
    }

    async fn tell(self) {
        for (shard, outcomes) in self.0 {
            // The shard is alive as long as it has orders; if it is gone, nobody waits.
            let _ = shard.send(Command::Committed(outcomes)).await;
        }
    }
}

struct Task {
    store: Arc<dyn Store>,
    index: Arc<RwLock<Index>>,
    events: broadcast::Sender<Event>,
    seen: Arc<Mutex<HashMap<Id, UnixMillis>>>,
}

impl Task {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::new();
        let mut tick = tokio::time::interval(SEEN_EVERY);
        loop {
            tokio::select! {
                count = jobs.recv_many(&mut batch, 1_000) => {
                    if count == 0 {
                        break;
                    }
                    self.keep(std::mem::take(&mut batch)).await;
                }
                _ = tick.tick() => self.keep_seen().await,
            }
        }
        self.keep_seen().await;
    }

    /// Hands a batch to the store, then settles it in the same order.
    async fn keep(&self, batch: Vec<Job>) {
        // All are handed over before the first is waited for, so that they share one commit of the store.
        let mut handed = Vec::with_capacity(batch.len());
        for job in batch {
            let writes = match &job {
                Job::Order(order) => &order.writes,
                Job::Ask { writes, .. } | Job::Note { writes } => writes,
                Job::Close { .. } => {
                    self.take_seen().map(|writes| self.store.commit(writes));
                    handed.push((job, Ok(self.store.close())));
                    continue;
                }
            };
            let full = writes.iter().find_map(|write| self.index.read().admit(write).err());
            let ack = match full {
                // What the store itself refuses or fails at, it counts.
                Some(full) => {
                    counter!(names::REGISTRY_ERRORS).increment(1);
                    Err(StoreError::Failed(full.to_string()))
                }
                None => Ok(self.store.commit(writes.clone())),
            };
            handed.push((job, ack));
        }
        let mut outcomes = Outcomes::default();
        for (job, ack) in handed {
            let kept = match ack {
                Ok(ack) => ack.await,
                Err(full) => Err(full),
            };
            if let Err(error) = &kept {
                error!(%error, "the registry did not keep a change");
            }
            match job {
                Job::Order(Order { writes, token, shard }) => {
                    // What nobody waits for is still true while this process lives, kept or not.
                    if kept.is_ok() || token.is_none() {
                        self.apply(&writes);
                    }
                    if let Some(token) = token {
                        outcomes.add(shard, token, kept.is_ok());
                    }
                }
                // True while this process lives, kept or not.
                Job::Note { writes } => self.apply(&writes),
                Job::Close { reply } => {
                    let _ = reply.send(kept);
                }
                Job::Ask { writes, reply } => {
                    if kept.is_ok() {
                        self.apply(&writes);
                    }
                    let _ = reply.send(kept);
                }
            }
        }
        outcomes.tell().await;
    }

    async fn keep_seen(&self) {
        let Some(writes) = self.take_seen() else { return };
        // Kept lazily: the store puts them off, and a crash loses the last ones. Failures are counted there.
        let _ = self.store.commit(writes).await;
    }

    /// The signs of life since the last time; the index knows of them then.
    fn take_seen(&self) -> Option<Vec<Write>> {
        let seen = std::mem::take(&mut *self.seen.lock());
        if seen.is_empty() {
            return None;
        }
        let touches: Vec<Touch> = seen.into_iter().map(|(device, at)| Touch { device, at }).collect();
        let writes = vec![Write::Touch { touches }];
        self.apply(&writes);
        Some(writes)
    }

    fn apply(&self, writes: &[Write]) {
        for write in writes {
            let changes = self.index.write().apply(write);
            for change in changes {
                let event = match change {
                    Change::DeviceOnline { device } => {
                        info!(%device, "device online");
                        Event::DeviceOnline { device }
                    }
                    Change::DeviceOffline { device, cause } => {
                        info!(%device, cause = cause.as_str(), "device offline");
                        Event::DeviceOffline { device, cause: cause.as_str() }
                    }
                    Change::CatalogChanged { device, added, changed, removed } => {
                        Event::CatalogChanged { device, added, changed, removed }
                    }
                };
                // Without watchers there is nobody to tell.
                let _ = self.events.send(event);
            }
        }
    }
}
