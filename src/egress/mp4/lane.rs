//! One track on its way into fragments: the samples whose length is known, and the one that waits for the next.

use bytes::Bytes;
use smallvec::SmallVec;

use super::entry::Entry;
use super::segment::{Run, Sample};
use crate::media::unit::CLOCK;

/// Sample entries of a track in a file. Beyond it the last is replaced; a camera changes its settings seldom.
const MAX_ENTRIES: usize = 16;
/// What a sample costs beside its bytes: with it, a bound of bytes also bounds the number of samples.
const SAMPLE_COST: usize = size_of::<Sample>();
/// How far the times of sound may be off before they are believed over the count of samples, in ticks of 90 kHz:
/// devices stamp sound coarsely, and a listener hears each gap or overlap.
const SLACK: i64 = CLOCK / 10;
/// How long the last picture is shown if none tells, in ticks of 90 kHz.
const LAST_PICTURE: u32 = CLOCK as u32 / 25;

#[derive(Debug)]
pub(super) struct Lane {
    id: u32,
    pub entries: Vec<Entry>,
    ready: Vec<Sample>,
    bytes: usize,
    pending: Option<Sample>,
    /// Where the last sample that is ready ends, in units of the track.
    end: u64,
    last_duration: u32,
    begun: bool,
}

impl Lane {
    pub(super) fn new(id: u32, entry: Entry) -> Self {
        Self {
            id,
            entries: vec![entry],
            ready: Vec::new(),
            bytes: 0,
            pending: None,
            end: 0,
            last_duration: LAST_PICTURE,
            begun: false,
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn timescale(&self) -> u32 {
        self.entries.first().map_or(1, Entry::timescale).max(1)
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn ready(&self) -> &[Sample] {
        &self.ready
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long the samples last that are ready, in ticks of 90 kHz.
    pub(super) fn span(&self) -> i64 {
        let span = self.ready.first().map_or(0, |first| self.end.saturating_sub(first.time));
        i64::try_from(span).unwrap_or(i64::MAX).saturating_mul(CLOCK) / i64::from(self.timescale())
    }

    pub(super) fn run(&self) -> Run<'_> {
        let video = self.entries.first().is_some_and(Entry::is_video);
        Run { id: self.id, video, entry: self.entries.len() as u32, samples: &self.ready }
    }

    /// What was ready has gone.
    pub(super) fn clear(&mut self) {
        self.ready = Vec::new();
        self.bytes = 0;
    }

    /// From the next sample on this entry holds. Only what is described once more at the end keeps the others.
    pub(super) fn change(&mut self, entry: Entry, keep: bool) {
        if !keep || self.entries.len() == MAX_ENTRIES {
            self.entries.pop();
        }
        self.entries.push(entry);
    }

    /// Takes a picture, with its times in ticks of 90 kHz, which are the units of the track.
    pub(super) fn picture(&mut self, time: i64, delay: i64, key: bool, parts: SmallVec<[Bytes; 2]>) {
        let time = self.end_at(time);
        let size = parts.iter().map(|part| part.len() + 4).sum::<usize>();
        let delay = delay.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.pending = Some(Sample { time, delay, duration: 0, key, parts, size });
    }

    /// The picture that waits lasts until this time, and at least one tick; gives the time.
    pub(super) fn end_at(&mut self, time: i64) -> u64 {
        let time = u64::try_from(time).unwrap_or(0);
        let Some(mut pending) = self.pending.take() else { return time.max(self.end) };
        let time = time.max(pending.time + 1);
        pending.duration = u32::try_from(time - pending.time).unwrap_or(u32::MAX);
        self.last_duration = pending.duration;
        self.keep(pending);
        self.end
    }

    /// The picture that waits is the last.
    pub(super) fn close(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.keep(Sample { duration: self.last_duration, ..pending });
        }
    }

    /// Takes a piece of sound that was stamped with this time, in ticks of 90 kHz, and lasts so many samples.
    pub(super) fn sound(&mut self, stamped: i64, samples: u32, frame: Bytes) {
        let rate = i64::from(self.timescale());
        let stamped = stamped.saturating_mul(rate) / CLOCK;
        let end = i64::try_from(self.end).unwrap_or(i64::MAX);
        let ahead = stamped.saturating_sub(end);
        let slack = SLACK * rate / CLOCK;
        if ahead < -slack {
            return; // It would be heard after what belongs before it.
        }
        if ahead > slack || !self.begun {
            // Silence lasts as the piece before it.
            let gap = u32::try_from(ahead.max(0)).unwrap_or(u32::MAX);
            if let Some(last) = self.ready.last_mut() {
                last.duration = last.duration.saturating_add(gap);
            }
            self.end = self.end.saturating_add(gap.into());
        }
        let size = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let parts = SmallVec::from_iter([frame]);
        self.keep(Sample { time: self.end, delay: 0, duration: samples, key: true, parts, size });
    }

    fn keep(&mut self, sample: Sample) {
        self.begun = true;
        self.end = sample.time.saturating_add(sample.duration.into());
        self.bytes += SAMPLE_COST + sample.size as usize;
        self.ready.push(sample);
    }
}
