//! Downloads: recordings that a device sends faster than they play, written to MP4 files and kept for a while.
//!
//! A download is a call of its own. Its stream's task hands the access units to a thread that writes them, and the
//! shard says how the call ended. Beside each file lies its report, so that a restart loses none.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::taps::Tap;
use crate::call::CallId;
use crate::egress::mp4;
use crate::gb::id::Id;
use crate::gb::time::{Offset, UnixMillis, gb_seconds};
use crate::net::clock;

/// Downloads on record, those that are over included.
const MAX_DOWNLOADS: usize = 512;
/// How often files that are too old are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long the shard may take to say why a stream ended, once it has.
const WHY: Duration = Duration::from_secs(3);
/// Of a recording whose sender ends without saying so, this much counts as all.
const NEARLY_ALL: f64 = 0.97;

/// Where downloads are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory.
    pub directory: PathBuf,
    /// For how long.
    pub keep: Duration,
    /// Bytes of all files together, beyond which no download begins.
    pub max_bytes: u64,
    /// The zone of times in file names.
    pub offset: Offset,
}

/// How a download stands.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownloadState {
    /// The device was asked.
    Waiting,
    /// It sends.
    Running,
    /// The file is there, and whole.
    Finished,
    /// It ended before its time; what came is in the file.
    Failed,
}

impl std::fmt::Display for DownloadState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DownloadState::Waiting => "waiting",
            DownloadState::Running => "running",
            DownloadState::Finished => "finished",
            DownloadState::Failed => "failed",
        })
    }
}

/// A download as others see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DownloadReport {
    /// Names it; not to be guessed.
    pub id: String,
    pub device: Id,
    pub channel: Id,
    /// What of the recording was asked for.
    pub start: UnixMillis,
    pub end: UnixMillis,
    pub state: DownloadState,
    /// 0 to 1, by the time of the pictures.
    pub progress: f64,
    /// Bytes written.
    pub bytes: u64,
    /// On the average since it began.
    pub bytes_per_second: u64,
    /// Seconds of pictures for each second, on the average.
    pub speed: f64,
    /// The stable code and a sentence, where it failed.
    pub error: Option<(String, String)>,
    /// What to call the file.
    pub file_name: String,
    /// When it was asked for.
    pub created_at: UnixMillis,
}

/// Why no download can begin.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum NoRoom {
    #[error("{MAX_DOWNLOADS} downloads are on record: delete some, or wait until they are too old")]
    Count,
    #[error("the files of files.directory take all of files.max_gb: delete some, or raise it")]
    Bytes,
}

/// All downloads of this node.
pub(super) struct Downloads {
    settings: Settings,
    table: Mutex<BTreeMap<u64, Arc<Entry>>>,
}

/// One of them.
pub(super) struct Entry {
    session: u64,
    report: Mutex<DownloadReport>,
    call: Mutex<Option<CallId>>,
    began: Instant,
    /// How the call ended: `Ok` if the device says that all was sent.
    ended: Mutex<Option<Result<(), (String, String)>>>,
    told: Notify,
    removed: CancellationToken,
}

impl Downloads {
    /// Takes up the files that an earlier run left, and looks after them until `stop`.
    pub(super) fn start(settings: Settings, stop: CancellationToken) -> Arc<Downloads> {
        let table = match restore(&settings.directory) {
            Ok(entries) => entries.into_iter().map(|entry| (entry.session, Arc::new(entry))).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                warn!(%error, directory = %settings.directory.display(), "cannot read the downloads");
                BTreeMap::new()
            }
        };
        let downloads = Arc::new(Downloads { settings, table: Mutex::new(table) });
        let sweeper = Arc::clone(&downloads);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(SWEEP_EVERY);
            loop {
                tokio::select! {
                    _ = tick.tick() => sweeper.sweep(),
                    () = stop.cancelled() => return,
                }
            }
        });
        downloads
    }

    /// Puts a new download on record.
    pub(super) fn add(
        &self,
        device: Id,
        channel: Id,
        start: UnixMillis,
        end: UnixMillis,
    ) -> Result<Arc<Entry>, NoRoom> {
        let mut table = self.table.lock();
        if table.len() >= MAX_DOWNLOADS {
            return Err(NoRoom::Count);
        }
        let bytes: u64 = table.values().map(|entry| entry.report.lock().bytes).sum();
        if bytes >= self.settings.max_bytes {
            return Err(NoRoom::Bytes);
        }
        let mut session: u64 = rand::random();
        while session == 0 || table.contains_key(&session) {
            session = rand::random();
        }
        let plain = |at| gb_seconds(at, self.settings.offset).replace([':', '-'], "").replace('T', "-");
        let report = DownloadReport {
            id: format!("{session:016x}"),
            device,
            channel,
            start,
            end,
            state: DownloadState::Waiting,
            progress: 0.0,
            bytes: 0,
            bytes_per_second: 0,
            speed: 0.0,
            error: None,
            file_name: format!("{channel}_{}_{}.mp4", plain(start), plain(end)),
            created_at: clock::unix(),
        };
        let entry = Arc::new(Entry::new(session, report));
        table.insert(session, Arc::clone(&entry));
        Ok(entry)
    }

    /// All of them, the newest first.
    pub(super) fn reports(&self) -> Vec<DownloadReport> {
        let mut reports: Vec<_> = self.table.lock().values().map(|entry| entry.report()).collect();
        reports.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        reports
    }

    /// One of them.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Entry>> {
        let session = u64::from_str_radix(id, 16).ok().filter(|_| id.len() == 16)?;
        self.table.lock().get(&session).cloned()
    }

    /// Its file, once it is finished or has failed.
    pub(super) fn file(&self, entry: &Entry) -> Option<PathBuf> {
        let report = entry.report.lock();
        let over = matches!(report.state, DownloadState::Finished | DownloadState::Failed);
        (over && report.bytes > 0).then(|| self.path(&report.id, "mp4"))
    }

    /// Forgets a download and deletes its file; the call that still runs for it, if there is one.
    pub(super) fn remove(&self, entry: &Entry) -> Option<CallId> {
        self.table.lock().remove(&entry.session);
        entry.removed.cancel();
        let id = entry.report.lock().id.clone();
        for kind in ["mp4", "part", "json"] {
            let _ = std::fs::remove_file(self.path(&id, kind));
        }
        entry.call.lock().take()
    }

    /// The shard says how a download's call ended.
    pub(super) fn ended(&self, session: u64, outcome: Result<(), (String, String)>) {
        if let Some(entry) = self.table.lock().get(&session) {
            entry.ended.lock().get_or_insert(outcome);
            entry.told.notify_one();
        }
    }

    /// Writes what comes until it ends, then judges whether it is whole.
    pub(super) async fn write(&self, entry: &Arc<Entry>, call: CallId, tap: Tap) {
        *entry.call.lock() = Some(call);
        let (part, done) = {
            let id = entry.report.lock().id.clone();
            (self.path(&id, "part"), self.path(&id, "mp4"))
        };
        let writer = Arc::clone(entry);
        let written = tokio::task::spawn_blocking(move || writer.write(&part, &done, tap)).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        *entry.call.lock() = None;
        if entry.removed.is_cancelled() {
            // Whoever removed it could not delete what was being written.
            self.remove(entry);
            return;
        }
        let outcome = match written {
            Ok(()) => entry.outcome().await,
            Err(error) => Err(("not_written".to_owned(), format!("the file could not be written: {error}"))),
        };
        self.settle(entry, outcome);
    }

    /// It never began.
    pub(super) fn failed(&self, entry: &Entry, code: &str, detail: String) {
        self.settle(entry, Err((code.to_owned(), detail)));
    }

    fn settle(&self, entry: &Entry, outcome: Result<(), (String, String)>) {
        let report = {
            let mut report = entry.report.lock();
            match outcome {
                Ok(()) => {
                    report.state = DownloadState::Finished;
                    report.progress = 1.0;
                }
                Err(error) => {
                    report.state = DownloadState::Failed;
                    report.error = Some(error);
                }
            }
            report.clone()
        };
        info!(id = %report.id, device = %report.device, channel = %report.channel, state = ?report.state,
            bytes = report.bytes, error = ?report.error, "download over");
        let kept = serde_json::to_vec(&report).map_err(io::Error::other);
        let kept = kept.and_then(|json| std::fs::write(self.path(&report.id, "json"), json));
        if let Err(error) = kept {
            warn!(%error, "the report of a download could not be kept");
        }
    }

    fn sweep(&self) {
        let oldest = clock::unix().0.saturating_sub(self.settings.keep.as_millis() as i64);
        let old: Vec<_> = {
            let table = self.table.lock();
            table
                .values()
                .filter(|entry| {
                    let report = entry.report.lock();
                    let over = matches!(report.state, DownloadState::Finished | DownloadState::Failed);
                    over && report.created_at.0 < oldest
                })
                .cloned()
                .collect()
        };
        for entry in old {
            self.remove(&entry);
        }
    }

    fn path(&self, id: &str, kind: &str) -> PathBuf {
        self.settings.directory.join(format!("{id}.{kind}"))
    }
}

impl Entry {
    fn new(session: u64, report: DownloadReport) -> Entry {
        Entry {
            session,
            report: Mutex::new(report),
            call: Mutex::new(None),
            began: clock::now(),
            ended: Mutex::new(None),
            told: Notify::new(),
            removed: CancellationToken::new(),
        }
    }

    /// The number of the session, which is that of its call's content.
    pub(super) fn session(&self) -> u64 {
        self.session
    }

    pub(super) fn report(&self) -> DownloadReport {
        self.report.lock().clone()
    }

    /// Writes the file. Blocks until the stream ends.
    fn write(&self, part: &Path, done: &Path, mut tap: Tap) -> io::Result<()> {
        if let Some(directory) = part.parent() {
            // What was recorded is not for every user of this machine.
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        self.report.lock().state = DownloadState::Running;
        // All that was recorded: players that can't play G.711 out of MP4 show the picture.
        let options = mp4::Options { sound: mp4::Sound::All, ..mp4::Options::default() };
        let mut file = mp4::File::create(part, options)?;
        for unit in std::mem::take(&mut tap.backlog) {
            file.push(&unit)?;
        }
        while let Some(unit) = tap.live.blocking_recv() {
            if self.removed.is_cancelled() {
                return Ok(());
            }
            file.push(&unit)?;
            self.note(file.progress());
        }
        let (_, progress) = file.finish()?;
        self.note(progress);
        std::fs::rename(part, done)
    }

    fn note(&self, progress: mp4::Progress) {
        let mut report = self.report.lock();
        let whole = report.end.0.saturating_sub(report.start.0).max(1) as f64 / 1000.0;
        let took = clock::now().saturating_duration_since(self.began).as_secs_f64().max(0.001);
        report.bytes = progress.bytes;
        report.bytes_per_second = (progress.bytes as f64 / took) as u64;
        report.speed = progress.media.as_secs_f64() / took;
        // 1 is for a file that is complete.
        report.progress = (progress.media.as_secs_f64() / whole).min(0.999);
    }

    /// Whether all came: the device said so, or nearly all of the time asked for is there.
    async fn outcome(&self) -> Result<(), (String, String)> {
        let told = async {
            while self.ended.lock().is_none() {
                self.told.notified().await;
            }
        };
        let _ = tokio::time::timeout(WHY, told).await;
        let (progress, bytes) = {
            let report = self.report.lock();
            (report.progress, report.bytes)
        };
        match self.ended.lock().take() {
            _ if bytes == 0 => {
                Err(("empty".to_owned(), "the device sent no picture that can be kept".to_owned()))
            }
            Some(Ok(())) => Ok(()),
            _ if progress >= NEARLY_ALL => Ok(()),
            Some(Err(error)) => Err(error),
            None => Err(("stream_ended".to_owned(), "the stream ended before all had come".to_owned())),
        }
    }
}

/// The downloads that were over when an earlier run ended. Files without a report are deleted.
fn restore(directory: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("json") => {
                let report = std::fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
                let report: Option<DownloadReport> = report;
                let session = report.as_ref().and_then(|report| u64::from_str_radix(&report.id, 16).ok());
                if let (Some(report), Some(session)) = (report, session) {
                    entries.push(Entry::new(session, report));
                }
            }
            Some("part") if is_ours(&path) => {
                let _ = std::fs::remove_file(&path);
            }
            // A crash came before the report was kept.
            Some("mp4") if is_ours(&path) && !path.with_extension("json").exists() => {
                let _ = std::fs::remove_file(&path);
            }
            _ => {}
        }
    }
    Ok(entries)
}

/// Whether a file has the name of a download: the directory may hold other things, too.
fn is_ours(path: &Path) -> bool {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    name.len() == 16 && u64::from_str_radix(name, 16).is_ok()
}
