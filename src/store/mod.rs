//! The store: where the registry outlives the process.
//!
//! A [`Store`] keeps [`Write`]s. What it has kept is read back by [`Store::load`] as writes again, which fill an
//! empty [`crate::registry::Index`]. A caller that promises something to the outside (the 200 to a REGISTER, the
//! 2xx to an API write) awaits its [`Commit`] first.
//!
//! | URL | store |
//! |---|---|
//! | `embedded:PATH` | [`embedded::Embedded`]: a directory on this machine, nothing to install |
//!
//! Metrics: `gbgate_registry_seconds{op}` (`open`, `load`, `commit`), `gbgate_registry_errors_total`.

#[cfg(test)]
pub(crate) mod conformance;
pub mod embedded;
pub mod events;
mod journal;
mod rows;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::registry::Write;

/// Why a store could not do what it was asked. Each sentence names what to look at.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    #[error("registry.url: {0}")]
    BadUrl(String),
    #[error("data directory {} is in use by another gbgate", .0.display())]
    InUse(PathBuf),
    #[error("data directory {} is not writable: {reason}", .path.display())]
    NotWritable { path: PathBuf, reason: String },
    #[error("{} is not a registry of gbgate, or is damaged: {reason}", .path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "data directory {} has schema {found} and this program knows {expected}: use the version of gbgate \
         that wrote it, or a newer one", .path.display()
    )]
    Schema { path: PathBuf, found: String, expected: &'static str },
    /// More is queued than the disk takes. Nothing of this commit was kept; it may be tried again.
    #[error("the registry's queue is full: the disk does not keep up")]
    Busy,
    #[error("the registry is closed")]
    Closed,
    /// Nothing of this commit was kept, or it is not known whether it was.
    #[error("the registry could not be read or written: {0}")]
    Failed(String),
}

/// What [`Store::load`] found.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Loaded {
    pub records: u64,
    /// Records that could not be understood; they were left where they are and logged.
    pub unreadable: u64,
}

/// Keeps the registry.
pub trait Store: Send + Sync {
    /// Hands over everything that is kept, as writes that fill an empty index. Blocks; for start-up.
    fn load(&self, each: &mut dyn FnMut(Write)) -> Result<Loaded, StoreError>;

    /// Keeps the writes, in order: all of them or none. Returns at once; the writes are queued in the order of
    /// the calls, whether or not the [`Commit`] is awaited. When the queue is full the commit fails with
    /// [`StoreError::Busy`].
    fn commit(&self, writes: Vec<Write>) -> Commit;

    /// Keeps what was put off, and lets go of the files. Commits from now on fail with [`StoreError::Closed`].
    fn close(&self) -> Commit;
}

/// The outcome of a commit, to be awaited. Once it is `Ok`, the writes survive a crash of the process and of the
/// machine (except [`Write::Touch`], which is kept lazily).
#[derive(Debug)]
#[must_use = "a write is acknowledged once its commit is done"]
pub struct Commit(oneshot::Receiver<Result<(), StoreError>>);

impl Commit {
    fn pending() -> (oneshot::Sender<Result<(), StoreError>>, Commit) {
        let (done, outcome) = oneshot::channel();
        (done, Commit(outcome))
    }

    fn ready(result: Result<(), StoreError>) -> Commit {
        let (done, commit) = Commit::pending();
        // The receiver is alive: it is what we return.
        let _ = done.send(result);
        commit
    }
}

impl Future for Commit {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(Err(StoreError::Closed)))
    }
}

/// Opens the store that a `registry.url` names, and creates it where there is none. Blocks; after a crash an
/// embedded store is checked first, which takes seconds where it holds millions of channels.
pub fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    // Only the scheme is ever repeated in an error, since a URL may hold a password.
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    match scheme {
        "embedded" if rest.is_empty() => {
            Err(StoreError::BadUrl("embedded: needs a directory, as in embedded:data".into()))
        }
        "embedded" => Ok(Arc::new(embedded::Embedded::open(rest)?)),
        "redis" | "rediss" | "redis+cluster" | "rediss+cluster" | "redis+sentinel" | "rediss+sentinel" => {
            Err(StoreError::BadUrl(format!(
                "this build keeps its registry embedded only, not at {scheme}:; use embedded:PATH"
            )))
        }
        "" => Err(StoreError::BadUrl("not a URL; use embedded:PATH, as in embedded:data".into())),
        _ => Err(StoreError::BadUrl(format!("unknown kind of registry {scheme}:; use embedded:PATH"))),
    }
}

/// The one clock of this room.
#[expect(
    clippy::disallowed_methods,
    reason = "a shell: its batches and figures are timed by the machine's clock"
)]
fn now() -> Instant {
    Instant::now()
}

fn measured(op: &'static str, began: Instant) {
    let took: Duration = now().saturating_duration_since(began);
    metrics::histogram!("gbgate_registry_seconds", "op" => op).record(took.as_secs_f64());
}

fn counted(error: &StoreError) {
    metrics::counter!("gbgate_registry_errors_total").increment(1);
    tracing::warn!(%error, "registry");
}
