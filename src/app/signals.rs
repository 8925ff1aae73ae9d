//! Signals of the operating system.

use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

/// Returns when the process is asked to end: SIGINT (Ctrl-C) or SIGTERM. SIGHUP, which would end it by default, is
/// answered by a line in the log: nothing can be reloaded yet.
pub async fn stop() {
    let handlers =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = handlers else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => return,
            _ = terminate.recv() => return,
            _ = hangup.recv() => warn!("SIGHUP: this version reloads nothing; restart it to apply a changed configuration"),
        }
    }
}
