//! Simulated devices: for the demonstration, for tests, for load, and to try any GB/T 28181 platform with.
//!
//! [`Device`] is the pure part: it takes messages, times and what its shell reports, and returns what it wants done.
//! This module gives each a socket ([`runner`]), sends its pictures ([`media`], of what [`playback`] says) and takes
//! in its sound ([`sound`]).

mod clip;
mod device;
mod line;
mod media;
mod options;
mod playback;
mod population;
mod quirks;
mod runner;
mod settings;
mod sound;
mod spoil;
mod upload;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use clip::Clip;
pub use device::{Content, Device, Output, Plan, Position, Ready, Snapshot, Steering, Way};
pub use options::{EditionName, Options, SipTransport};
pub use population::Population;
pub use quirks::Quirk;
pub use settings::{Settings, TalkWay};

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(5);

/// What is counted over all devices of a simulation.
#[derive(Debug, Default)]
pub struct Counts {
    registered: AtomicU64,
    refused: AtomicU64,
    calls: AtomicU64,
    calls_ever: AtomicU64,
    packets: AtomicU64,
    talks: AtomicU64,
    talk_packets: AtomicU64,
}

impl Counts {
    /// Devices whose registration is in force.
    pub fn registered(&self) -> u64 {
        self.registered.load(Ordering::Relaxed)
    }

    /// RTP packets of sound that were taken in.
    pub fn talk_packets(&self) -> u64 {
        self.talk_packets.load(Ordering::Relaxed)
    }
}

/// Runs the command until Ctrl-C, SIGTERM or the end of `--duration`.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let counts = Arc::new(Counts::default());
    let (devices, channels) = (options.devices, options.channels);
    let duration = options.duration;
    let fleet = start(options, stop.clone(), Arc::clone(&counts)).await?;
    info!(devices, channels, "simulated devices started; Ctrl-C unregisters and ends them");
    let end = async {
        match duration {
            0 => std::future::pending().await,
            seconds => sleep(Duration::from_secs(seconds)).await,
        }
    };
    let progress = async {
        loop {
            sleep(PROGRESS).await;
            report(&counts, devices);
        }
    };
    tokio::select! {
        () = crate::app::signals::stop() => {}
        () = end => {}
        () = progress => {}
    }
    report(&counts, devices);
    stop.cancel();
    fleet.await;
    info!("ended");
    Ok(())
}

fn report(counts: &Counts, devices: u64) {
    let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
    info!(
        registered = counts.registered(),
        devices,
        refused = get(&counts.refused),
        calls = get(&counts.calls),
        calls_ever = get(&counts.calls_ever),
        rtp_packets = get(&counts.packets),
        talks = get(&counts.talks),
        talk_packets = counts.talk_packets(),
        "simulation"
    );
}

/// Starts the devices. The future ends when all have taken their leave, after `stop`.
pub async fn start(
    options: Options,
    stop: CancellationToken,
    counts: Arc<Counts>,
) -> anyhow::Result<impl Future<Output = ()>> {
    let server = tokio::net::lookup_host(&options.server)
        .await
        .with_context(|| format!("cannot resolve {}", options.server))?
        .next()
        .with_context(|| format!("{} has no address", options.server))?;
    let shared = Arc::new(runner::Shared {
        settings: Arc::new(options.settings()),
        clips: clip::Clips::new(options.clip.as_deref())?,
        counts,
        stop,
        server,
        transport: options.transport,
        keep_talk: options.keep_talk.clone(),
    });
    let tasks = tokio_util::task::TaskTracker::new();
    for (index, population) in (0..).zip(options.populations()?) {
        let delay = Duration::from_millis(options.stagger * index);
        tasks.spawn(runner::run(Arc::clone(&shared), population, delay));
    }
    tasks.close();
    Ok(async move { tasks.wait().await })
}
