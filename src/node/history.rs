//! Recordings at the node: playbacks that people watch, and downloads.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::downloads::{DownloadReport, Entry};
use super::signalling::Command;
use super::taps::Tap;
use super::{Node, WatchError};
use crate::call::{self, CallId, Failure, History, Key, Playback, PlaybackState};
use crate::egress::webrtc::Answer;
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;

/// Playbacks at once; each takes a port and a stream of its device.
const MAX_PLAYBACKS: usize = 4_096;
/// What a download asks a device for that was not told otherwise: as most devices can.
const DOWNLOAD_SPEED: u8 = 4;

/// A playback as others see it.
#[derive(Clone, Debug)]
pub struct PlaybackReport {
    /// That of its stream.
    pub id: CallId,
    pub device: Id,
    pub channel: Id,
    /// What of the recording is played.
    pub start: UnixMillis,
    pub end: UnixMillis,
    pub paused: bool,
    /// The multiple of the speed of life; negative backwards.
    pub scale: f64,
    /// Seconds since `start`.
    pub position: Option<f64>,
    /// As of any stream: `inviting`, `waiting`, `running`.
    pub state: &'static str,
}

/// What the node remembers of a playback that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Played {
    history: History,
    paused: bool,
    scale: f64,
}

impl Node {
    /// Begins to play a recording, and returns when there is a picture.
    pub async fn playback(
        &self,
        device: Id,
        channel: Id,
        start: UnixMillis,
        end: UnixMillis,
        speed: Option<f64>,
    ) -> Result<PlaybackReport, Failure> {
        self.sweep_playbacks();
        if self.inner.playbacks.lock().len() >= MAX_PLAYBACKS {
            return Err(Failure::no_capacity(format!("{MAX_PLAYBACKS} playbacks run already")));
        }
        let history = History { start, end, speed: 1, kind: 0 };
        let key = Key::playback(device, channel, rand::random());
        let call = self.begin(key, Some(history)).await?;
        self.inner.playbacks.lock().insert(call, Played { history, paused: false, scale: 1.0 });
        match speed.filter(|speed| *speed != 1.0) {
            Some(scale) => self.control_playback(call, Playback::Speed { scale }).await,
            None => self.playback_report(call).ok_or_else(gone),
        }
    }

    /// The playbacks that run.
    pub fn playbacks(&self) -> Vec<PlaybackReport> {
        self.sweep_playbacks();
        let calls: Vec<CallId> = self.inner.playbacks.lock().keys().copied().collect();
        calls.into_iter().filter_map(|call| self.playback_report(call)).collect()
    }

    /// One of them.
    pub fn playback_report(&self, id: CallId) -> Option<PlaybackReport> {
        let Played { history, paused, scale } = *self.inner.playbacks.lock().get(&id)?;
        let report = self.stream(id)?;
        let length = history.seconds();
        Some(PlaybackReport {
            id,
            device: report.key.device,
            channel: report.key.channel,
            start: history.start,
            end: history.end,
            paused,
            scale,
            position: report.position.map(|position| position.clamp(0.0, length)),
            state: report.state,
        })
    }

    /// Pauses a playback, or lets it go on otherwise.
    pub async fn control_playback(&self, id: CallId, command: Playback) -> Result<PlaybackReport, Failure> {
        let unknown = || Failure::not_found(format!("no playback {id}"));
        let shard = self.inner.shards.get(usize::from(id.shard())).ok_or_else(unknown)?;
        let (reply, outcome) = oneshot::channel();
        shard.send(Command::Control { call: id, command, reply }).await.map_err(|_| gone())?;
        let PlaybackState { paused, scale, position } = outcome.await.map_err(|_| gone())??;
        if let Some(played) = self.inner.playbacks.lock().get_mut(&id) {
            (played.paused, played.scale) = (paused, scale);
        }
        let report = self.playback_report(id).ok_or_else(gone)?;
        // What the stream says of it is a moment old.
        Ok(PlaybackReport { position: Some(position), ..report })
    }

    /// Answers a viewer's offer with a stream that runs.
    pub async fn watch_call(&self, call: CallId, offer: &str) -> Result<Answer, WatchError> {
        self.attach(call, offer).await
    }

    /// The access units of a stream that runs. `None`: it has just ended.
    pub async fn tap(&self, call: CallId) -> Option<Tap> {
        self.inner.streams.tap(call).await.map(|(tap, _)| tap)
    }

    /// Begins to fetch a recording into a file. What comes of it is in the report.
    pub async fn download(
        &self,
        device: Id,
        channel: Id,
        start: UnixMillis,
        end: UnixMillis,
        speed: Option<f64>,
    ) -> Result<DownloadReport, Failure> {
        self.check(&device, &channel)?;
        let entry = self.inner.downloads.add(device, channel, start, end);
        let entry = entry.map_err(|full| Failure::no_capacity(full.to_string()))?;
        let speed = speed.map_or(DOWNLOAD_SPEED, |speed| speed.clamp(1.0, 255.0) as u8);
        let key = Key::download(device, channel, entry.session());
        let history = History { start, end, speed, kind: 0 };
        tokio::spawn(self.clone().fetch(Arc::clone(&entry), key, history));
        Ok(entry.report())
    }

    async fn fetch(self, entry: Arc<Entry>, key: Key, history: History) {
        let downloads = &self.inner.downloads;
        match self.begin(key, Some(history)).await {
            Ok(call) => match self.inner.streams.download(call) {
                Some(tap) => downloads.write(&entry, call, tap).await,
                None => downloads.failed(&entry, "stream_ended", "the stream ended at once".to_owned()),
            },
            Err(failure) => downloads.failed(&entry, failure.code(), failure.detail),
        }
    }

    /// Downloads, the newest first.
    pub fn downloads(&self) -> Vec<DownloadReport> {
        self.inner.downloads.reports()
    }

    /// One of them.
    pub fn download_report(&self, id: &str) -> Option<DownloadReport> {
        self.inner.downloads.find(id).map(|entry| entry.report())
    }

    /// Its file, once there is nothing more to come.
    pub fn download_file(&self, id: &str) -> Option<PathBuf> {
        let entry = self.inner.downloads.find(id)?;
        self.inner.downloads.file(&entry)
    }

    /// Forgets a download, deletes its file and ends what still runs of it. False if there is none.
    pub async fn remove_download(&self, id: &str) -> bool {
        let Some(entry) = self.inner.downloads.find(id) else { return false };
        if let Some(call) = self.inner.downloads.remove(&entry) {
            self.stop(call, "the download was deleted").await;
        }
        true
    }

    /// Forgets playbacks whose streams have ended.
    fn sweep_playbacks(&self) {
        let mut playbacks = self.inner.playbacks.lock();
        playbacks.retain(|call, _| self.inner.streams.report(*call).is_some());
    }
}

fn gone() -> call::Failure {
    call::Failure::ended("the playback has ended")
}
