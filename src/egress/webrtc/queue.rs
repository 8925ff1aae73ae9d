//! What waits to be sent to one viewer.

use std::collections::VecDeque;
use std::sync::Arc;

use super::feed::MAX_BACKLOG;
use super::packetiser::Batch;
use crate::media::unit::Track;

/// Packets that wait to be sent. Above, the viewer cannot take the stream.
const MAX_PACKETS: usize = 2 * MAX_BACKLOG;
/// Between the time stamps of pictures that are shown late, in ticks of 90 kHz: a viewer decodes them at once.
const LATE_STEP: i64 = 90;
/// Ticks after a picture that are free for others: less than the distance of two pictures at 60 a second.
const FREE_TICKS: i64 = 1_000;

#[derive(Debug)]
struct Queued {
    batch: Arc<Batch>,
    /// The time stamp to send it with.
    moment: i64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    batches: VecDeque<Queued>,
    /// Packets in `batches` that are not sent.
    packets: usize,
    /// Packets of the first batch that are sent.
    cursor: usize,
    /// The pictures from the last key frame on, sent or not, while they are kept.
    pictures: Option<Vec<Arc<Batch>>>,
}

/// The packet to be sent next.
#[derive(Debug)]
pub(super) struct Next {
    pub batch: Arc<Batch>,
    pub index: usize,
    pub moment: i64,
}

impl Queue {
    /// A queue that keeps the pictures it was given, to send them again.
    pub(super) fn new() -> Self {
        Self { pictures: Some(Vec::new()), ..Self::default() }
    }

    /// False if it is too long now.
    pub(super) fn push(&mut self, batch: Arc<Batch>) -> bool {
        if batch.track == Track::Video
            && let Some(pictures) = self.pictures.as_mut()
        {
            if batch.key {
                pictures.clear();
            }
            pictures.push(Arc::clone(&batch));
        }
        self.packets += batch.packets.len();
        self.batches.push_back(Queued { moment: batch.timestamp, batch });
        self.packets <= MAX_PACKETS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.batches.clear();
        (self.packets, self.cursor) = (0, 0);
    }

    /// Drops what waits, but for the rest of the batch that is under way: whole pictures are lost.
    pub(super) fn clear_whole(&mut self) {
        self.batches.truncate(usize::from(self.cursor > 0));
        let left = self.batches.front().map_or(0, |queued| queued.batch.packets.len());
        self.packets = left.saturating_sub(self.cursor);
    }

    /// Moves the time stamps of what waits close to the last: played at their own pace the pictures would keep
    /// the viewer behind for good.
    pub(super) fn catch_up(&mut self) {
        let Some(last) = self.batches.back().map(|queued| queued.moment) else { return };
        for (age, queued) in self.batches.iter_mut().rev().enumerate() {
            queued.moment = queued.moment.max(last - LATE_STEP * age as i64);
        }
    }

    /// Sends the pictures from the last key frame on once more, with time stamps after the last and before the
    /// next. False if they are not kept, or are too many for that.
    pub(super) fn repeat_pictures(&mut self) -> bool {
        let Some(pictures) = self.pictures.as_ref() else { return false };
        let Some(last) = pictures.last().map(|batch| batch.timestamp) else { return false };
        let step = (FREE_TICKS / pictures.len() as i64).min(LATE_STEP);
        if step == 0 {
            return false;
        }
        let late = (1..).zip(pictures);
        let late: Vec<_> =
            late.map(|(n, b)| Queued { batch: Arc::clone(b), moment: last + n * step }).collect();
        self.clear_whole();
        self.packets += late.iter().map(|queued| queued.batch.packets.len()).sum::<usize>();
        self.batches.extend(late);
        true
    }

    /// Keeps no pictures from now on.
    pub(super) fn forget_pictures(&mut self) {
        self.pictures = None;
    }

    pub(super) fn pop(&mut self) -> Option<Next> {
        let Queued { batch, moment } = self.batches.front()?;
        let next = Next { batch: Arc::clone(batch), index: self.cursor, moment: *moment };
        self.cursor += 1;
        self.packets = self.packets.saturating_sub(1);
        if self.cursor >= next.batch.packets.len() {
            self.batches.pop_front();
            self.cursor = 0;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::webrtc::testing::batch;

    fn moments(queue: &mut Queue) -> Vec<i64> {
        std::iter::from_fn(|| queue.pop()).map(|next| next.moment).collect()
    }

    fn filled(timestamps: &[i64]) -> Queue {
        let mut queue = Queue::new();
        for (index, timestamp) in timestamps.iter().enumerate() {
            assert!(queue.push(batch(Track::Video, *timestamp, index == 0, 2)));
        }
        queue
    }

    #[test]
    fn late_pictures_are_shown_at_once() {
        let mut queue = filled(&[0, 3_600, 7_200]);
        queue.catch_up();
        assert_eq!(moments(&mut queue), [7_020, 7_020, 7_110, 7_110, 7_200, 7_200]);
        let mut queue = filled(&[0, 60, 120]);
        queue.catch_up();
        assert_eq!(moments(&mut queue), [0, 0, 60, 60, 120, 120], "they are not moved apart");
    }

    #[test]
    fn pictures_are_repeated_between_the_last_and_the_next() {
        let mut queue = filled(&[0, 3_600, 7_200]);
        queue.pop();
        assert!(queue.repeat_pictures());
        assert_eq!(
            moments(&mut queue),
            [0, 7_290, 7_290, 7_380, 7_380, 7_470, 7_470],
            "the first is finished"
        );
        assert_eq!(queue.packets, 0);
        queue.push(batch(Track::Video, 10_800, true, 1));
        assert!(queue.repeat_pictures());
        assert_eq!(moments(&mut queue), [10_890], "from the last key frame on");
        queue.forget_pictures();
        assert!(!queue.repeat_pictures());
        assert!(!Queue::new().repeat_pictures());
        assert!(!filled(&vec![0; 2_000]).repeat_pictures(), "there is no room for so many");
    }

    #[test]
    fn whole_batches_are_dropped() {
        let mut queue = filled(&[0, 3_600]);
        queue.pop();
        queue.clear_whole();
        assert_eq!((queue.packets, queue.batches.len()), (1, 1));
        queue.pop();
        queue.clear_whole();
        assert!(queue.is_empty() && queue.packets == 0);
    }

    #[test]
    fn its_length_is_bounded() {
        let mut queue = Queue::new();
        assert!(queue.push(batch(Track::Video, 0, true, MAX_PACKETS)));
        assert!(!queue.push(batch(Track::Video, 1, false, 1)));
    }
}
