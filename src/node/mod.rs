//! The loops: signalling shards, streams, the keeper of the registry. Only here does what a pure room wants done
//! become a system call.
//!
//! [`Node`] is the handle by which the API uses all of it. A device belongs to one shard, chosen by its id; a stream
//! to one task; the registry's index is changed by one task, the keeper, and read by everybody.

mod event;
mod intake;
mod keeper;
mod router;
pub mod shard;
mod signalling;
mod source;
mod streams;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::{error, warn};

use crate::call::{self, CallId, Key};
use crate::device;
use crate::egress::webrtc::{Answer, Hub, OfferError, Tracks};
use crate::gb::id::Id;
use crate::net::clock;
use crate::net::ports::Ports;
use crate::net::sip::{Inbox, Outlet};
use crate::registry::{Cause, Device, Index, Write};
use crate::store::{Store, StoreError};

pub use event::Event;
pub use streams::{Report, Settings as StreamSettings};

use keeper::Keeper;
use shard::{Input, Shard};
use signalling::{Command, INBOX, Load, Runner};
use streams::Streams;

/// Events that a slow watcher may fall behind before it loses some.
const EVENTS: usize = 1_024;
/// How long a shutdown waits for the answers to BYE.
const DRAIN: Duration = Duration::from_secs(4);

/// What a node is made of.
pub struct Parts {
    /// Settings of the signalling shards.
    pub shard: shard::Settings,
    /// Settings of the streams.
    pub stream: StreamSettings,
    /// How many shards.
    pub shards: u16,
    /// Where what must survive is kept.
    pub store: Arc<dyn Store>,
    /// The registry as the store had it.
    pub index: Index,
    /// SIP in.
    pub inbound: Inbox,
    /// SIP out.
    pub outlet: Outlet,
    /// Where media ports come from.
    pub ports: Ports,
    /// WebRTC.
    pub hub: Hub,
}

/// Why a viewer got no answer.
#[derive(Debug)]
pub enum WatchError {
    /// There is no stream.
    Play(call::Failure),
    /// There is one, but the viewer's offer does not fit it.
    Offer(OfferError),
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    index: Arc<RwLock<Index>>,
    keeper: Keeper,
    shards: Vec<mpsc::Sender<Command>>,
    streams: Arc<Streams>,
    events: broadcast::Sender<Event>,
    hub: Hub,
}

impl Node {
    /// Starts the loops.
    pub fn start(parts: Parts) -> Node {
        let Parts { shard: settings, stream, shards: count, store, index, inbound, outlet, ports, hub } =
            parts;
        let mut restored = Restored::from(&index, count);
        let index = Arc::new(RwLock::new(index));
        let (events, _) = broadcast::channel(EVENTS);
        let keeper = Keeper::start(store, Arc::clone(&index), events.clone());
        let streams = Arc::new(Streams::new(stream, ports));
        let mut shards = Vec::with_capacity(count.into());
        for number in 0..count {
            let (own, inbox) = mpsc::channel(INBOX);
            let mut shard = Shard::new(settings.clone(), number, count, rand::random());
            let now = clock::both();
            for (device, registration, calls) in restored.take(number) {
                shard.restore(now, device, registration, calls);
            }
            let runner = Runner {
                shard,
                inbox,
                own: own.clone(),
                outlet: outlet.clone(),
                keeper: keeper.clone(),
                streams: Arc::clone(&streams),
                events: events.clone(),
                plays: HashMap::new(),
                syncs: HashMap::new(),
                next_waiter: 0,
            };
            tokio::spawn(runner.run());
            shards.push(own);
        }
        tokio::spawn(router::run(inbound, shards.clone()));
        Node { inner: Arc::new(Inner { index, keeper, shards, streams, events, hub }) }
    }

    /// The registry's index, to read from. Hold it shortly.
    pub fn index(&self) -> parking_lot::RwLockReadGuard<'_, Index> {
        self.inner.index.read()
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// The streams that run or are being set up.
    pub fn streams(&self) -> Vec<Report> {
        self.inner.streams.reports()
    }

    /// One of these streams.
    pub fn stream(&self, call: CallId) -> Option<Report> {
        self.inner.streams.report(call)
    }

    /// The WebRTC side, for what concerns a viewer alone.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// Starts a stream unless it runs, and returns its number when there is a picture.
    pub async fn play(&self, key: Key) -> Result<CallId, call::Failure> {
        if self.index().device(&key.device).is_none() {
            return Err(call::Failure::not_found(format!("no device {}", key.device)));
        }
        // A device may be its own channel: an IPC that reports itself, or no catalog at all.
        if key.channel != key.device && self.index().channel(&key.device, &key.channel).is_none() {
            let why = format!("device {} has no channel {}", key.device, key.channel);
            return Err(call::Failure::not_found(why));
        }
        let (reply, outcome) = oneshot::channel();
        let gone = || call::Failure::ended("the gateway is shutting down");
        self.shard(&key.device).send(Command::Play { key, reply }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Answers a viewer's offer with a stream, started if need be.
    pub async fn watch(&self, key: Key, offer: &str) -> Result<Answer, WatchError> {
        let call = self.play(key).await.map_err(WatchError::Play)?;
        let ended =
            || WatchError::Play(call::Failure::ended("the stream ended while the viewer was being attached"));
        let (feed, info) = self.inner.streams.feed(call).await.ok_or_else(ended)?;
        let tracks = Tracks { video: info.video.map(|video| video.codec), audio: info.audio };
        self.inner.hub.offer(offer, tracks, feed).map_err(WatchError::Offer)
    }

    /// Ends a stream for everybody. Returns false if there is none.
    pub async fn stop(&self, call: CallId, why: &'static str) -> bool {
        let known = self.stream(call).is_some();
        if let (true, Some(shard)) = (known, self.inner.shards.get(usize::from(call.shard()))) {
            let _ = shard.send(Command::Input(Input::Stop { call, why })).await;
        }
        known
    }

    /// Fetches a device's catalog.
    pub async fn sync(&self, device: Id) -> Result<device::Synced, device::Failure> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.shard(&device).send(Command::Sync { device, reply }).await;
        match sent {
            Ok(()) => outcome.await.unwrap_or(Err(device::Failure::Offline)),
            Err(_) => Err(device::Failure::Offline),
        }
    }

    /// Adds a device or changes its settings; returns once that is kept.
    pub async fn put_device(&self, device: Device) -> Result<(), StoreError> {
        self.inner.keeper.ask(vec![Write::PutDevice(device.clone())]).await?;
        let input = Input::PutDevice { device: Box::new(device.clone()) };
        let _ = self.shard(&device.id).send(Command::Input(input)).await;
        Ok(())
    }

    /// Removes a device with its channels and streams. It comes back if it may register anew.
    pub async fn remove_device(&self, device: Id) -> Result<(), StoreError> {
        let end = Write::EndRegistration { device, cause: Cause::Removed };
        self.inner.keeper.ask(vec![end, Write::DeleteDevice { device }]).await?;
        let _ = self.shard(&device).send(Command::Input(Input::RemoveDevice { device })).await;
        Ok(())
    }

    /// Registrations in force and calls in any state.
    pub async fn load(&self) -> (usize, usize) {
        let mut sum = (0, 0);
        for shard in &self.inner.shards {
            let (reply, load) = oneshot::channel();
            if shard.send(Command::Load { reply }).await.is_ok() {
                let Load { calls, registrations } = load.await.unwrap_or_default();
                sum = (sum.0 + registrations, sum.1 + calls);
            }
        }
        sum
    }

    /// Ends all calls with BYE and waits for the devices' answers, though not for long. New ones are refused.
    pub async fn drain(&self) {
        for shard in &self.inner.shards {
            let _ = shard.send(Command::Input(Input::Drain)).await;
        }
        let ended = async {
            while self.load().await.1 > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            warn!("some devices did not answer BYE in time");
        }
    }

    /// Ends viewers, keeps what is to be kept, and closes the registry. To be called after [`Node::drain`].
    pub async fn close(&self) {
        self.inner.hub.shutdown().await;
        if let Err(error) = self.inner.keeper.close().await {
            error!(%error, "the registry was not closed properly");
        }
    }

    fn shard(&self, device: &Id) -> &mpsc::Sender<Command> {
        let number = router::shard_of_device(device, self.inner.shards.len());
        &self.inner.shards[number]
    }
}

/// What the registry knows of devices, by shard.
struct Restored(Vec<Vec<RestoredDevice>>);

type RestoredDevice = (Device, Option<crate::registry::Registration>, Vec<crate::registry::Call>);

impl Restored {
    fn from(index: &Index, shards: u16) -> Restored {
        let mut calls: HashMap<Id, Vec<crate::registry::Call>> = HashMap::new();
        for call in index.calls() {
            calls.entry(call.device).or_default().push(call.clone());
        }
        let mut all: Vec<Vec<RestoredDevice>> = (0..shards).map(|_| Vec::new()).collect();
        for state in index.all_devices() {
            let id = state.device.id;
            let shard = router::shard_of_device(&id, shards.into());
            let calls = calls.remove(&id).unwrap_or_default();
            all[shard].push((state.device.clone(), state.registration.cloned(), calls));
        }
        Restored(all)
    }

    fn take(&mut self, shard: u16) -> Vec<RestoredDevice> {
        self.0.get_mut(usize::from(shard)).map(std::mem::take).unwrap_or_default()
    }
}
