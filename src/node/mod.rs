//! The loops: signalling shards, streams, the keeper of the registry. Only here does what a pure room wants done
//! become a system call.
//!
//! [`Node`] is the handle by which the API uses all of it. A device belongs to one shard, chosen by its id; a stream
//! to one task; the registry's index is changed by one task, the keeper, and read by everybody.

mod departures;
mod downloads;
mod event;
mod history;
mod hls;
mod intake;
mod keeper;
mod router;
mod selftest;
pub mod shard;
mod signalling;
mod source;
mod streams;
mod talk;
mod talker;
mod taps;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::call::{self, CallId, History, Key};
use crate::device;
use crate::egress::webrtc::{Answer, Hub, OfferError, Tracks};
use crate::gb::id::Id;
use crate::net::clock;
use crate::net::ports::Ports;
use crate::net::sip::{Inbox, Outlet};
use crate::registry::{Audit, AuditId, Cause, Device, Finding, Index, Registration, Stamps, Write};
use crate::store::{Store, StoreError};

pub use departures::rule_of;
pub use downloads::{DownloadReport, DownloadState, Settings as DownloadSettings};
pub use event::{Event, alarm_json};
pub use history::PlaybackReport;
pub use hls::Show;
pub use streams::{Report, Settings as StreamSettings};
pub use talk::TalkError;
pub use taps::Tap;

use downloads::Downloads;
use history::Played;
use hls::Shows;
use keeper::Keeper;
use shard::{Input, Shard};
use signalling::{Command, INBOX, Load, Runner};
use streams::Streams;
use talk::Callers;

/// Events that a slow watcher may fall behind before it loses some.
const EVENTS: usize = 1_024;
/// The number under which stamps of the audit are made; shards have those below it.
const AUDIT_STAMPS: u8 = 63;
/// How long a shutdown waits for the answers to BYE.
const DRAIN: Duration = Duration::from_secs(4);

/// What a node is made of.
pub struct Parts {
    /// Settings of the signalling shards.
    pub shard: shard::Settings,
    /// Settings of the streams.
    pub stream: StreamSettings,
    /// Where downloads are kept.
    pub downloads: DownloadSettings,
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
    downloads: Arc<Downloads>,
    playbacks: Mutex<BTreeMap<CallId, Played>>,
    shows: Shows,
    callers: Callers,
    stamps: Mutex<Stamps>,
    stop: CancellationToken,
}

impl Node {
    /// Starts the loops.
    pub fn start(parts: Parts) -> Node {
        let Parts {
            shard: settings,
            stream,
            downloads,
            shards: count,
            store,
            index,
            inbound,
            outlet,
            ports,
            hub,
        } = parts;
        let mut restored = Restored::from(&index, count);
        let index = Arc::new(RwLock::new(index));
        let (events, _) = broadcast::channel(EVENTS);
        let keeper = Keeper::start(store, Arc::clone(&index), events.clone());
        let streams = Arc::new(Streams::new(stream, ports));
        let stop = CancellationToken::new();
        let downloads = Downloads::start(downloads, stop.clone());
        let callers = Callers::default();
        let mut shards = Vec::with_capacity(count.into());
        for number in 0..count {
            let (own, inbox) = mpsc::channel(INBOX);
            let mut shard = Shard::new(settings.clone(), number, count, rand::random());
            let now = clock::both();
            for Known { device, registration, calls, findings } in restored.take(number) {
                shard.restore(now, device, registration, calls, &findings);
            }
            let runner = Runner {
                shard,
                inbox,
                own: own.clone(),
                outlet: outlet.clone(),
                keeper: keeper.clone(),
                streams: Arc::clone(&streams),
                events: events.clone(),
                downloads: Arc::clone(&downloads),
                waiting: HashMap::new(),
                next_waiter: 0,
            };
            tokio::spawn(runner.run());
            shards.push(own);
        }
        tokio::spawn(router::run(inbound, shards.clone(), callers.clone()));
        let inner = Inner {
            index,
            keeper,
            shards,
            streams,
            events,
            hub,
            downloads,
            playbacks: Mutex::default(),
            shows: Shows::default(),
            callers,
            stamps: Mutex::new(Stamps::new(AUDIT_STAMPS)),
            stop,
        };
        Node { inner: Arc::new(inner) }
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

    /// Whether there is such a channel.
    fn check(&self, device: &Id, channel: &Id) -> Result<(), call::Failure> {
        if self.index().device(device).is_none() {
            return Err(call::Failure::not_found(format!("no device {device}")));
        }
        // A device may be its own channel: an IPC that reports itself, or no catalog at all.
        if channel != device && self.index().channel(device, channel).is_none() {
            return Err(call::Failure::not_found(format!("device {device} has no channel {channel}")));
        }
        Ok(())
    }

    /// Starts a live stream unless it runs, and returns its number when there is a picture.
    pub async fn play(&self, key: Key) -> Result<CallId, call::Failure> {
        self.begin(key, None).await
    }

    async fn begin(&self, key: Key, history: Option<History>) -> Result<CallId, call::Failure> {
        self.check(&key.device, &key.channel)?;
        let (reply, outcome) = oneshot::channel();
        let gone = || call::Failure::ended("the gateway is shutting down");
        let command = Command::Play { key, history, reply };
        self.shard(&key.device).send(command).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Answers a viewer's offer with a stream, started if need be.
    pub async fn watch(&self, key: Key, offer: &str) -> Result<Answer, WatchError> {
        let call = self.play(key).await.map_err(WatchError::Play)?;
        self.attach(call, offer).await
    }

    async fn attach(&self, call: CallId, offer: &str) -> Result<Answer, WatchError> {
        let ended =
            || WatchError::Play(call::Failure::ended("the stream ended while the viewer was being attached"));
        let (feed, info) = self.inner.streams.feed(call).await.ok_or_else(ended)?;
        let tracks = Tracks { video: info.video.map(|video| video.codec), audio: info.audio };
        self.inner.hub.offer(offer, tracks, feed).map_err(WatchError::Offer)
    }

    /// Asks something of a device, or of one of its channels, and waits for what comes of it.
    pub async fn ask(
        &self,
        device: Id,
        target: Id,
        request: device::Request,
    ) -> Result<device::Outcome, device::Failure> {
        // Who watches alarms hears what people do with them, too.
        let told = matches!(request, device::Request::Acknowledge { .. } | device::Request::Reset { .. });
        let (reply, outcome) = oneshot::channel();
        let command = Command::Ask { device, target, request: Box::new(request), reply };
        self.shard(&device).send(command).await.map_err(|_| device::Failure::Offline)?;
        let outcome = outcome.await.unwrap_or(Err(device::Failure::Offline))?;
        if let (true, device::Outcome::Alarm(alarm)) = (told, &outcome) {
            // Without watchers there is nobody to tell.
            let _ = self.inner.events.send(Event::AlarmChanged { alarm: alarm.clone() });
        }
        Ok(outcome)
    }

    /// Keeps a record of what somebody did, under a number of its own. Nobody waits for it.
    pub fn audit(&self, audit: Audit) {
        let id = AuditId(self.inner.stamps.lock().next(audit.at));
        self.inner.keeper.note(vec![Write::PutAudit(Audit { id, ..audit })]);
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
        self.inner.stop.cancel();
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
struct Restored(Vec<Vec<Known>>);

/// What it knows of one.
struct Known {
    device: Device,
    registration: Option<Registration>,
    calls: Vec<crate::registry::Call>,
    findings: Vec<Finding>,
}

impl Restored {
    fn from(index: &Index, shards: u16) -> Restored {
        let mut calls: HashMap<Id, Vec<crate::registry::Call>> = HashMap::new();
        for call in index.calls() {
            calls.entry(call.device).or_default().push(call.clone());
        }
        let mut all: Vec<Vec<Known>> = (0..shards).map(|_| Vec::new()).collect();
        for state in index.all_devices() {
            let id = state.device.id;
            let shard = router::shard_of_device(&id, shards.into());
            all[shard].push(Known {
                device: state.device.clone(),
                registration: state.registration.cloned(),
                calls: calls.remove(&id).unwrap_or_default(),
                findings: index.findings(&id).to_vec(),
            });
        }
        Restored(all)
    }

    fn take(&mut self, shard: u16) -> Vec<Known> {
        self.0.get_mut(usize::from(shard)).map(std::mem::take).unwrap_or_default()
    }
}
