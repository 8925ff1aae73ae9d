//! Limits of the operating system.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Each stream takes a socket or two; below this many open files a warning is due.
const FEW: u64 = 4_096;

/// Raises the limit of open files as far as this process may: the usual 1,024 are used up by some hundred streams.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) if limit < FEW => {
            warn!(
                limit,
                "few files may be open at once: raise the hard limit (LimitNOFILE) for more streams"
            );
        }
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}
