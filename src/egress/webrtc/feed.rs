//! Between a stream and its viewers: one [`Publisher`] holds the stream's end, each viewer a [`Feed`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use super::packetiser::{Batch, Packetiser};
use crate::media::unit::{AccessUnit, Track};
use crate::net::clock;

/// Batches that wait for a slow viewer, some three seconds of picture and sound. A viewer that is further behind
/// loses what it missed up to the next key frame; no one waits for it.
const LIVE_BATCHES: usize = 256;

/// Packets since the last key frame that are kept for new viewers, about 20 MB shared with the stream. A longer
/// run is dropped: a new viewer then waits for the next key frame.
pub(super) const MAX_BACKLOG: usize = 16_384;

/// Key frames are asked of a stream this often at most, however many viewers want one.
const KEY_FRAME_INTERVAL: Duration = Duration::from_secs(1);

/// What one viewer gets of a stream. Dropping it is how the stream sees the viewer leave.
#[derive(Debug)]
pub struct Feed {
    /// What to show at once: the batches from the last key frame on.
    pub backlog: Vec<Arc<Batch>>,
    /// What follows the backlog. Its end is the end of the stream.
    pub live: broadcast::Receiver<Live>,
    pub key_frames: KeyFrames,
}

/// A batch on its way to the viewers.
#[derive(Clone, Debug)]
pub struct Live {
    /// When the last packet of its access unit had come in.
    pub arrived: Instant,
    pub batch: Arc<Batch>,
}

/// The wish for a key frame, shared by a stream and its viewers.
#[derive(Clone, Debug, Default)]
pub struct KeyFrames(Arc<Wish>);

#[derive(Debug, Default)]
struct Wish {
    last: Mutex<Option<Instant>>,
    notify: Notify,
}

impl KeyFrames {
    /// A viewer cannot decode until a key frame comes. At most one wish a second reaches the stream.
    pub fn ask(&self, now: Instant) {
        let mut last = self.0.last.lock();
        if last.is_none_or(|last| now.saturating_duration_since(last) >= KEY_FRAME_INTERVAL) {
            *last = Some(now);
            self.0.notify.notify_one();
        }
    }

    /// Returns when a key frame was asked for since the last call. For one waiting task.
    pub async fn asked(&self) {
        self.0.notify.notified().await;
    }
}

/// The stream's end: packetises each access unit once and hands it to all viewers. Dropping it ends the stream
/// for them.
#[derive(Debug)]
pub struct Publisher {
    packetiser: Packetiser,
    backlog: Vec<Arc<Batch>>,
    backlog_packets: usize,
    live: broadcast::Sender<Live>,
    key_frames: KeyFrames,
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

impl Publisher {
    pub fn new() -> Self {
        Self {
            packetiser: Packetiser::new(),
            backlog: Vec::new(),
            backlog_packets: 0,
            live: broadcast::Sender::new(LIVE_BATCHES),
            key_frames: KeyFrames::default(),
        }
    }

    /// Sends an access unit to all viewers; never waits.
    pub fn push(&mut self, unit: &AccessUnit) {
        let arrived = clock::now();
        for batch in self.packetiser.push(unit) {
            self.keep(&batch);
            // Without viewers there is no one to tell.
            let _ = self.live.send(Live { arrived, batch });
        }
    }

    /// A new viewer, from the last key frame on.
    pub fn feed(&self) -> Feed {
        Feed {
            backlog: self.backlog.clone(),
            live: self.live.subscribe(),
            key_frames: self.key_frames.clone(),
        }
    }

    /// Viewers that have not left.
    pub fn viewers(&self) -> usize {
        self.live.receiver_count()
    }

    /// Where viewers ask for key frames.
    pub fn key_frames(&self) -> KeyFrames {
        self.key_frames.clone()
    }

    fn keep(&mut self, batch: &Arc<Batch>) {
        if batch.track == Track::Audio {
            // A viewer begins with the sound of now; old sound cannot be played faster.
            return;
        }
        if batch.key {
            self.backlog.clear();
            self.backlog_packets = 0;
        } else if self.backlog.is_empty() {
            return;
        }
        self.backlog_packets += batch.packets.len();
        if self.backlog_packets > MAX_BACKLOG {
            self.backlog = Vec::new();
        } else {
            self.backlog.push(Arc::clone(batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::unit::Codec;
    use bytes::Bytes;

    fn unit(codec: Codec, pts: i64, key: bool, size: usize) -> AccessUnit {
        let payload = Bytes::from(vec![0x41; size]);
        let nals = std::iter::once(0..size as u32).collect();
        AccessUnit { codec, pts, dts: pts, key, damaged: false, payload, nals }
    }

    #[test]
    fn a_feed_begins_with_the_last_key_frame_and_goes_on_live() {
        let mut publisher = Publisher::new();
        publisher.push(&unit(Codec::H264, 0, false, 50));
        assert!(publisher.feed().backlog.is_empty(), "nothing can be shown before a key frame");
        for (pts, key) in [(1, true), (2, false), (3, true), (4, false)] {
            publisher.push(&unit(Codec::H264, pts, key, 50));
            publisher.push(&unit(Codec::Pcma, pts, true, 160));
        }
        let mut feed = publisher.feed();
        assert_eq!(feed.backlog.iter().map(|b| b.timestamp).collect::<Vec<_>>(), [3, 4]);
        publisher.push(&unit(Codec::H264, 5, false, 50));
        assert_eq!(feed.live.try_recv().unwrap().batch.timestamp, 5);
        assert_eq!(publisher.viewers(), 1);
        drop(feed);
        assert_eq!(publisher.viewers(), 0);
    }

    #[test]
    fn a_backlog_without_end_is_dropped() {
        let mut publisher = Publisher::new();
        publisher.push(&unit(Codec::H264, 0, true, 4_000_000));
        publisher.push(&unit(Codec::H264, 1, false, 20_000_000));
        assert!(publisher.feed().backlog.is_empty());
        publisher.push(&unit(Codec::H264, 2, false, 10));
        assert!(publisher.feed().backlog.is_empty());
        publisher.push(&unit(Codec::H264, 3, true, 10));
        assert_eq!(publisher.feed().backlog.len(), 1);
    }

    #[test]
    fn a_slow_viewer_lags_and_the_end_is_seen() {
        let mut publisher = Publisher::new();
        let mut feed = publisher.feed();
        for pts in 0..LIVE_BATCHES as i64 + 10 {
            publisher.push(&unit(Codec::H264, pts, true, 10));
        }
        assert!(matches!(feed.live.try_recv(), Err(broadcast::error::TryRecvError::Lagged(10))));
        drop(publisher);
        let rest = std::iter::from_fn(|| feed.live.try_recv().ok()).count();
        assert_eq!(rest, LIVE_BATCHES);
        assert!(matches!(feed.live.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
    }

    #[tokio::test]
    #[allow(clippy::disallowed_methods)] // any moment will do
    async fn key_frames_are_asked_once_a_second() {
        let wish = KeyFrames::default();
        let start = Instant::now();
        let mut asked = 0;
        for tenth in 0..25 {
            wish.ask(start + Duration::from_millis(100 * tenth));
            asked += usize::from(tokio::time::timeout(Duration::ZERO, wish.asked()).await.is_ok());
        }
        assert_eq!(asked, 3);
    }
}
