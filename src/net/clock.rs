//! The only place of the shells below `node` where the clock is read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::gb::time::{Now, UnixMillis};

/// The monotonic clock.
#[allow(clippy::disallowed_methods)] // This is the shell that hands the time to all others.
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock.
#[allow(clippy::disallowed_methods)] // As above.
pub fn unix() -> UnixMillis {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

/// Both clocks, as state machines want them.
pub fn both() -> Now {
    Now { instant: now(), unix: unix() }
}

/// Waits for a time of [`now`]'s clock; for ever where there is none.
pub async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
