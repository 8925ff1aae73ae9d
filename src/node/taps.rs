//! Readers that take access units as they are: files of downloads, MP4 over HTTP.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::media::unit::{AccessUnit, Track};

/// Units that may wait for a reader: some ten seconds of picture and sound. A reader that is further behind loses
/// what follows, up to the next key frame; nobody waits for it.
const WAITING: usize = 512;
/// The same for a download, whose sender may be four times as fast, and of which nothing shall be lost.
const WAITING_OF_DOWNLOAD: usize = 8_192;

/// What one reader gets of a stream. Dropping it is how the stream sees the reader leave.
#[derive(Debug)]
pub struct Tap {
    /// The units since the last key frame, to begin with.
    pub backlog: Vec<Arc<AccessUnit>>,
    /// What follows. Its end is the end of the stream.
    pub live: mpsc::Receiver<Arc<AccessUnit>>,
}

/// The stream's ends of its taps.
#[derive(Debug, Default)]
pub(super) struct Taps(Vec<End>);

#[derive(Debug)]
struct End {
    live: mpsc::Sender<Arc<AccessUnit>>,
    /// It lost units, and needs a key frame before anything else is of use.
    behind: bool,
}

impl Taps {
    /// A tap for whoever comes to a stream that runs.
    pub(super) fn tap(&mut self, gop: &[Arc<AccessUnit>]) -> Tap {
        self.add(WAITING, gop.to_vec())
    }

    /// A tap from the first unit on.
    pub(super) fn tap_download(&mut self) -> Tap {
        self.add(WAITING_OF_DOWNLOAD, Vec::new())
    }

    fn add(&mut self, waiting: usize, backlog: Vec<Arc<AccessUnit>>) -> Tap {
        let (sender, live) = mpsc::channel(waiting);
        // Without a backlog nothing is of use before the next key frame, which is the next unit of a new stream.
        self.0.push(End { live: sender, behind: backlog.is_empty() });
        Tap { backlog, live }
    }

    /// Hands a unit to all of them.
    pub(super) fn push(&mut self, unit: &Arc<AccessUnit>) {
        self.0.retain_mut(|end| end.push(unit));
    }

    /// How many read.
    pub(super) fn count(&self) -> usize {
        self.0.iter().filter(|end| !end.live.is_closed()).count()
    }
}

impl End {
    /// False once the reader has left.
    fn push(&mut self, unit: &Arc<AccessUnit>) -> bool {
        if self.behind && unit.track() == Track::Video && !unit.key {
            return !self.live.is_closed();
        }
        match self.live.try_send(Arc::clone(unit)) {
            Ok(()) => {
                self.behind &= unit.track() != Track::Video;
                true
            }
            Err(TrySendError::Full(_)) => {
                self.behind = true;
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::unit::Codec;
    use bytes::Bytes;

    fn unit(codec: Codec, pts: i64, key: bool) -> Arc<AccessUnit> {
        let (payload, nals) = (Bytes::from_static(b"e"), std::iter::once(0..1).collect());
        Arc::new(AccessUnit { codec, pts, dts: pts, key, damaged: false, payload, nals })
    }

    #[test]
    fn a_tap_begins_with_the_group_of_pictures_and_goes_on() {
        let mut taps = Taps::default();
        let mut tap = taps.tap(&[unit(Codec::H264, 1, true)]);
        taps.push(&unit(Codec::H264, 2, false));
        assert_eq!((tap.backlog.len(), tap.live.try_recv().unwrap().pts, taps.count()), (1, 2, 1));
        drop(tap);
        assert_eq!(taps.count(), 0);
    }

    #[test]
    fn a_slow_reader_loses_pictures_up_to_the_next_key_frame() {
        let mut taps = Taps::default();
        let mut tap = taps.tap(&[unit(Codec::H264, 0, true)]);
        for pts in 0..=WAITING as i64 {
            taps.push(&unit(Codec::H264, pts, false));
        }
        for _ in 0..WAITING {
            tap.live.try_recv().unwrap();
        }
        taps.push(&unit(Codec::H264, -1, false));
        taps.push(&unit(Codec::Pcma, -2, true));
        taps.push(&unit(Codec::H264, -3, true));
        taps.push(&unit(Codec::H264, -4, false));
        let rest: Vec<i64> = std::iter::from_fn(|| tap.live.try_recv().ok()).map(|unit| unit.pts).collect();
        assert_eq!(rest, [-2, -3, -4]);
    }
}
