//! The registry in a directory of this machine, on redb. What its rows look like is told at the top of `rows.rs`.
//!
//! One thread writes. It gathers what comes within [`GATHER`], as far as [`BATCH`] records of it, into one transaction
//! with immediate durability, and answers all of them once the disk has it: a flood of registrations costs fifty
//! syncs a second and no more.
//!
//! - The queue holds [`MAX_QUEUED`] records; beyond that a commit is refused ([`StoreError::Busy`]) rather than
//!   waited for, so that nobody hangs on a slow disk.
//! - Registrations are appended to a journal, which survives as well; each [`TOUCH_EVERY`] it is folded into their
//!   rows, and with it the signs of life, which are gathered in memory until then.
//! - After a failure of the disk the database is closed and opened again, at most each [`REOPEN_EVERY`]. Commits
//!   fail meanwhile, and work again once the disk does.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redb::{Builder, Database, DatabaseError, Durability, StorageError};
use tokio::sync::oneshot;

use super::journal::{self, Batch, Journal};
use super::rows::{self, Pending};
use super::{Commit, Loaded, Store, StoreError, counted, measured, now};
use crate::registry::Write;

/// How long the first write of a batch waits for others: a small part of the 500 ms after which a device would repeat
/// its request, while a commit costs about as much for twenty writes as for one.
pub const GATHER: Duration = Duration::from_millis(20);
/// Records of a batch. The next one follows at once.
pub const BATCH: usize = 1_000;
/// Records in the queue beyond which commits are refused: some ten seconds of a slow disk.
pub const MAX_QUEUED: usize = 100_000;
/// How long signs of life are put off, and registrations stay in the journal.
pub const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// How often a database that failed is tried again.
pub const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// The times of a writer. They are the constants above, except in tests.
#[derive(Copy, Clone, Debug)]
pub(super) struct Pace {
    pub(super) gather: Duration,
    pub(super) touch_every: Duration,
    pub(super) reopen_every: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { gather: GATHER, touch_every: TOUCH_EVERY, reopen_every: REOPEN_EVERY }
    }
}

/// Signs of life beyond which they are written early.
const MAX_TOUCHES: usize = 100_000;
/// Pages that redb keeps in memory, in bytes. The index answers all questions, so that only writing reads, and most of
/// what is written goes to the end of the journal. The system caches the file as well.
const CACHE: usize = 16 << 20;
/// The file inside the data directory.
const FILE: &str = "registry.redb";

/// The embedded store. Dropping it closes it, which waits for what is queued.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    queue: Sender<Message>,
    writer: Option<JoinHandle<()>>,
}

type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

struct Shared {
    /// `None`: closed, or failed and to be opened again.
    database: RwLock<Option<Database>>,
    opener: Opener,
    /// Records that wait or are being written.
    queued: AtomicUsize,
    closed: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("queued", &self.queued)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

type Done = oneshot::Sender<Result<(), StoreError>>;

enum Message {
    Commit(Job),
    Close(Option<Done>),
}

struct Job {
    writes: Vec<Write>,
    weight: usize,
    done: Done,
}

impl Embedded {
    /// Opens the registry in a directory, and creates both where there are none. Blocks.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Embedded, StoreError> {
        let directory = directory.into();
        Embedded::start(Box::new(move || open_directory(&directory)), Pace::default())
    }

    pub(super) fn start(opener: Opener, pace: Pace) -> Result<Embedded, StoreError> {
        let began = now();
        let database = opener().inspect_err(counted)?;
        measured("open", began);
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(database)),
            opener,
            queued: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        });
        let (queue, inbox) = channel();
        let writer = Writer::new(Arc::clone(&shared), inbox, pace);
        let writer = std::thread::Builder::new()
            .name("registry".into())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Embedded { shared, queue, writer: Some(writer) })
    }
}

impl Store for Embedded {
    fn load(&self, each: &mut dyn FnMut(Write)) -> Result<Loaded, StoreError> {
        let began = now();
        let database = self.shared.database.read();
        let loaded = match database.as_ref() {
            Some(database) => rows::load(database, each).map_err(StoreError::from),
            None => Err(StoreError::Closed),
        };
        measured("load", began);
        loaded.inspect_err(counted)
    }

    fn commit(&self, writes: Vec<Write>) -> Commit {
        let refuse = |error: StoreError| {
            counted(&error);
            Commit::ready(Err(error))
        };
        if self.shared.closed.load(Ordering::Acquire) {
            return refuse(StoreError::Closed);
        }
        let weight = writes.iter().map(Write::weight).sum();
        // A single commit may be larger than the queue (a province's catalog): it is taken when the queue has room.
        if self.shared.queued.fetch_add(weight, Ordering::AcqRel) >= MAX_QUEUED {
            self.shared.queued.fetch_sub(weight, Ordering::AcqRel);
            return refuse(StoreError::Busy);
        }
        let (done, commit) = Commit::pending();
        // If the writer is gone, so is `done`, and the commit resolves to `Closed`.
        let _ = self.queue.send(Message::Commit(Job { writes, weight, done }));
        commit
    }

    fn close(&self) -> Commit {
        self.shared.closed.store(true, Ordering::Release);
        let (done, commit) = Commit::pending();
        match self.queue.send(Message::Close(Some(done))) {
            Ok(()) => commit,
            // Closed already.
            Err(_) => Commit::ready(Ok(())),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        let _ = self.queue.send(Message::Close(None));
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    inbox: Receiver<Message>,
    pace: Pace,
    pending: Pending,
    journal: Journal,
    /// When the pending signs of life and the journal are due.
    flush_at: Option<Instant>,
    /// Not before then is a failed database opened again.
    reopen_at: Option<Instant>,
    closing: Option<Option<Done>>,
}

impl Writer {
    fn new(shared: Arc<Shared>, inbox: Receiver<Message>, pace: Pace) -> Writer {
        Writer {
            shared,
            inbox,
            pace,
            pending: Pending::new(),
            journal: Journal::default(),
            flush_at: None,
            reopen_at: None,
            closing: None,
        }
    }

    fn run(mut self) {
        while self.closing.is_none() {
            let jobs = self.gather();
            self.write(jobs);
        }
        let flushed = if self.has_put_off() { self.transact(&[], true) } else { Ok(()) };
        // Closes the file, so that its lock is free before we say so.
        *self.shared.database.write() = None;
        if let Some(Some(done)) = self.closing.take() {
            let _ = done.send(flushed);
        }
    }

    /// Waits for a first job, or for what was put off to be due, then a moment for others.
    fn gather(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut weight = 0;
        let mut next = self.next();
        if matches!(next, Some(Message::Commit(_))) && self.shared.queued.load(Ordering::Acquire) < BATCH {
            // All at once, rather than be woken by each.
            pause(self.pace.gather);
        }
        while let Some(message) = next {
            match message {
                Message::Commit(job) => {
                    weight += job.weight;
                    jobs.push(job);
                }
                Message::Close(done) => self.closing = Some(done),
            }
            let more = self.closing.is_none() && weight < BATCH;
            next = if more { self.inbox.try_recv().ok() } else { None };
        }
        jobs
    }

    /// Waits for a message; `None` when it is time to write what was put off.
    fn next(&mut self) -> Option<Message> {
        let outcome = match self.flush_at {
            Some(until) => self.inbox.recv_timeout(until.saturating_duration_since(now())),
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match outcome {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::Close(None)),
        }
    }

    /// Writes a batch, and the signs of life with it if they are due, and answers.
    fn write(&mut self, jobs: Vec<Job>) {
        let large = self.pending.len() >= MAX_TOUCHES || self.journal.length() >= journal::MAX_LENGTH;
        let due = large || self.flush_at.is_some_and(|at| at <= now());
        let result = self.transact(&jobs, due).inspect_err(counted);
        self.flush_at = match self.flush_at.filter(|_| !due) {
            _ if !self.has_put_off() => None,
            Some(at) => Some(at),
            None => Some(now() + self.pace.touch_every),
        };
        for job in jobs {
            self.shared.queued.fetch_sub(job.weight, Ordering::AcqRel);
            // Whoever does not wait for the outcome has dropped the receiver.
            let _ = job.done.send(result.clone());
        }
    }

    /// Whether anything is to be folded into the rows.
    fn has_put_off(&self) -> bool {
        !self.pending.is_empty() || self.journal.length() > 0
    }

    /// One transaction.
    fn transact(&mut self, jobs: &[Job], flush: bool) -> Result<(), StoreError> {
        let writes = || jobs.iter().flat_map(|job| &job.writes);
        if !flush && writes().all(|write| matches!(write, Write::Touch { .. })) {
            writes().for_each(|write| rows::put_off(write, &mut self.pending));
            return Ok(());
        }
        self.make_open()?;
        let began = now();
        let guard = self.shared.database.read();
        let database = guard.as_ref().ok_or(StoreError::Closed)?;
        let (pending, journal) = (&mut self.pending, &mut self.journal);
        let mut transact = || -> Result<(), redb::Error> {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let mut batch = Batch::new(&transaction, journal);
            for write in writes() {
                batch.apply(write, pending)?;
            }
            if flush {
                batch.flush(pending)?;
            }
            let done = batch.finish()?;
            transaction.commit()?;
            journal.settle(done);
            if flush {
                pending.clear();
            }
            Ok(())
        };
        let result = transact();
        drop(guard);
        measured("commit", began);
        result.map_err(|error| {
            // After a failed read or write redb wants to be opened anew.
            *self.shared.database.write() = None;
            self.reopen_at = Some(now() + self.pace.reopen_every);
            StoreError::from(error)
        })
    }

    fn make_open(&mut self) -> Result<(), StoreError> {
        if self.shared.database.read().is_some() {
            return Ok(());
        }
        if self.reopen_at.is_some_and(|at| now() < at) {
            return Err(StoreError::Failed(
                "the last write failed, and it is not yet time to try again".into(),
            ));
        }
        self.reopen_at = Some(now() + self.pace.reopen_every);
        let database = (self.shared.opener)()?;
        // Whatever was in it has been folded by opening.
        self.journal = Journal::default();
        *self.shared.database.write() = Some(database);
        tracing::info!("registry opened again");
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "it is the time that counts: more writes for the same commit")]
fn pause(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

fn open_directory(directory: &Path) -> Result<Database, StoreError> {
    let not_writable = |error: std::io::Error| StoreError::NotWritable {
        path: directory.to_owned(),
        reason: error.to_string(),
    };
    // It holds the devices' passwords: for its owner alone.
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(not_writable)?;
    let file = directory.join(FILE);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&file)
        .map_err(not_writable)?;
    let database = Builder::new()
        .set_cache_size(CACHE)
        .set_repair_callback(|session| {
            tracing::info!(done = session.progress(), "the registry was not closed and is being checked");
        })
        .create(&file)
        .map_err(|error| opening_failed(directory, error))?;
    ready(database, directory).and_then(|database| {
        // A new file is there after a power cut only if its directory is on the disk, too.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(not_writable)?;
        Ok(database)
    })
}

/// Creates the tables in a new database, and checks the schema of an old one.
pub(super) fn ready(database: Database, path: &Path) -> Result<Database, StoreError> {
    let prepare = || -> Result<Option<String>, redb::Error> {
        let transaction = database.begin_write()?;
        let other = rows::prepare(&transaction)?;
        match other {
            Some(_) => transaction.abort()?,
            None => transaction.commit()?,
        }
        Ok(other)
    };
    match prepare() {
        Ok(None) => Ok(database),
        Ok(Some(found)) => Err(StoreError::Schema { path: path.to_owned(), found, expected: rows::SCHEMA }),
        Err(error) => Err(StoreError::Damaged { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn opening_failed(directory: &Path, error: DatabaseError) -> StoreError {
    let path = directory.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::InUse(path),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != ErrorKind::InvalidData => {
            StoreError::NotWritable { path, reason: error.to_string() }
        }
        error => StoreError::Damaged { path: path.join(FILE), reason: error.to_string() },
    }
}
