//! Signals of the operating system.

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the process is asked to end: SIGINT (Ctrl-C) or SIGTERM.
pub async fn stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
