//! A live stream: access units in, whole pictures out, the last group of pictures kept for whoever comes next.
//!
//! [`Stream::push`] takes what the demultiplexer found and returns what may be sent on. What it returns can be
//! decoded: video begins with a key frame that carries its parameter sets, and after a damaged picture nothing
//! more comes until the next key frame. A new reader starts with [`Stream::gop`] and goes on with what is
//! pushed; where the group is empty it starts at the next key frame.

mod gop;
pub mod pace;
mod rate;
mod readers;

pub use readers::ReaderId;

use crate::media::codec::{ParameterSets, is_picture};
use crate::media::unit::{AccessUnit, Codec, Track};
use gop::Gop;
use rate::{BitRate, FrameRate};
use readers::Readers;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sound for so long without any video is taken for a stream without video.
const SOUND_ALONE: Duration = Duration::from_secs(2);

/// Bounds of a stream's memory.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// How long a group of pictures is kept.
    pub gop_duration: Duration,
    /// Bytes of a group of pictures, bookkeeping included. Beyond it, or beyond the duration, the group is
    /// forgotten: whoever comes then waits for the next key frame.
    pub gop_bytes: usize,
    pub readers: usize,
}

impl Default for Limits {
    /// 20 s and 16 MiB hold a group of 10 s at 12 Mbit/s.
    fn default() -> Self {
        Self { gop_duration: Duration::from_secs(20), gop_bytes: 16 << 20, readers: 10_000 }
    }
}

/// What is known of a stream.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Info {
    pub video: Option<VideoInfo>,
    pub audio: Option<Codec>,
    /// Bits of access units a second, over the last two seconds.
    pub bit_rate: u64,
    pub counts: Counts,
}

#[derive(Copy, Clone, Debug, PartialEq)]
pub struct VideoInfo {
    pub codec: Codec,
    /// In pixels; 0 where it is not known.
    pub width: u32,
    pub height: u32,
    /// Pictures a second by their time stamps, from the second picture on.
    pub fps: Option<f64>,
    /// Pictures of the last whole group.
    pub gop: Option<u32>,
}

/// Totals since the stream began.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Pictures that came.
    pub pictures: u64,
    pub key_frames: u64,
    /// Pieces of sound that came.
    pub sounds: u64,
    /// Pictures and sounds that came incomplete.
    pub damaged: u64,
    /// Whole pictures that were not sent on, since no usable key frame preceded them.
    pub held_back: u64,
}

/// A live stream. See the [module](self).
#[derive(Debug)]
pub struct Stream {
    video: Option<Video>,
    parameters: ParameterSets,
    audio: Option<Codec>,
    sound_since: Option<Instant>,
    heard: Option<Instant>,
    gop: Gop,
    bit_rate: BitRate,
    readers: Readers,
    counts: Counts,
}

/// Video of one codec.
#[derive(Debug)]
struct Video {
    codec: Codec,
    size: (u32, u32),
    fps: FrameRate,
    /// When the first usable key frame came.
    usable: Option<Instant>,
    /// Whether a key frame is needed before anything is sent on.
    waiting: bool,
    since_key: u32,
    gop: Option<u32>,
}

impl Video {
    fn new(codec: Codec) -> Self {
        let fps = FrameRate::default();
        Self { codec, size: (0, 0), fps, usable: None, waiting: true, since_key: 0, gop: None }
    }
}

impl Stream {
    pub fn new(now: Instant, limits: Limits) -> Self {
        Self {
            video: None,
            parameters: ParameterSets::default(),
            audio: None,
            sound_since: None,
            heard: None,
            gop: Gop::new(limits.gop_duration, limits.gop_bytes),
            bit_rate: BitRate::new(now),
            readers: Readers::new(now, limits.readers),
            counts: Counts::default(),
        }
    }

    /// Takes the next unit and returns it if it may be sent on: shared, and completed where it is a key frame
    /// that came without its parameter sets.
    pub fn push(&mut self, now: Instant, unit: AccessUnit) -> Option<Arc<AccessUnit>> {
        self.heard = Some(now);
        self.bit_rate.add(now, unit.payload.len());
        match unit.track() {
            Track::Video => self.picture(now, unit),
            Track::Audio => self.sound(now, unit),
        }
    }

    fn picture(&mut self, now: Instant, mut unit: AccessUnit) -> Option<Arc<AccessUnit>> {
        let codec = unit.codec;
        if self.video.as_ref().is_some_and(|video| video.codec != codec) {
            self.video = None;
            self.gop.clear();
        }
        let video = self.video.get_or_insert_with(|| Video::new(codec));
        if self.parameters.learn(&unit) {
            video.size = self.parameters.size().unwrap_or_default();
        }
        if !unit.nals().any(|nal| is_picture(codec, nal)) {
            // Parameter sets on their own: the next key frame brings them.
            return None;
        }
        self.counts.pictures += 1;
        video.fps.add(unit.dts);
        if unit.key {
            self.counts.key_frames += 1;
            video.gop = Some(video.since_key).filter(|&count| count > 0);
            video.since_key = 0;
        }
        video.since_key = video.since_key.saturating_add(1);

        if unit.damaged {
            self.counts.damaged += 1;
            video.waiting = true;
            return None;
        }
        if unit.key {
            self.parameters.complete(&mut unit);
            video.waiting = !decodable(codec, &self.parameters);
        }
        if video.waiting {
            self.counts.held_back += 1;
            return None;
        }
        let unit = Arc::new(unit);
        if unit.key {
            video.usable.get_or_insert(now);
            self.gop.begin(now);
        }
        self.gop.push(now, &unit);
        Some(unit)
    }

    fn sound(&mut self, now: Instant, unit: AccessUnit) -> Option<Arc<AccessUnit>> {
        if matches!(unit.codec, Codec::Unknown(_)) {
            return None;
        }
        self.counts.sounds += 1;
        if unit.damaged {
            self.counts.damaged += 1;
            return None;
        }
        self.audio = Some(unit.codec);
        self.sound_since.get_or_insert(now);
        let unit = Arc::new(unit);
        self.gop.push(now, &unit);
        Some(unit)
    }

    /// The units from the last key frame on, in order, sound among them. Empty before the first usable key frame
    /// and after a group that outgrew the limits.
    pub fn gop(&self) -> &[Arc<AccessUnit>] {
        self.gop.units()
    }

    /// Whether a key frame should be asked of the sender: pictures come, and the last ones are of no use, or
    /// would be of none to a new reader.
    pub fn wants_key_frame(&self) -> bool {
        self.video.as_ref().is_some_and(|video| video.waiting || self.gop.units().is_empty())
    }

    /// Whether readers can be served: a usable key frame came, or sound alone for two seconds.
    pub fn ready(&self, now: Instant) -> bool {
        self.ready_at().is_some_and(|at| at <= now)
    }

    /// Since when [`ready`](Self::ready) holds, or from when on it will if nothing else comes.
    pub fn ready_at(&self) -> Option<Instant> {
        match &self.video {
            Some(video) => video.usable,
            None => self.sound_since.map(|since| since + SOUND_ALONE),
        }
    }

    /// What comes does not continue what came, as after a seek in a recording: pictures wait for the next key
    /// frame, and nobody begins with the old ones.
    pub fn begin_anew(&mut self) {
        self.gop.clear();
        if let Some(video) = &mut self.video {
            video.waiting = true;
        }
    }

    /// When the last unit came, of whatever use.
    pub fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// The parameter sets last seen.
    pub fn parameters(&self) -> &ParameterSets {
        &self.parameters
    }

    pub fn info(&self, now: Instant) -> Info {
        let video = self.video.as_ref().map(|video| VideoInfo {
            codec: video.codec,
            width: video.size.0,
            height: video.size.1,
            fps: video.fps.get(),
            gop: video.gop,
        });
        Info { video, audio: self.audio, bit_rate: self.bit_rate.get(now), counts: self.counts }
    }

    /// Registers a reader; `None` when the stream has as many as it may.
    pub fn add_reader(&mut self) -> Option<ReaderId> {
        self.readers.add()
    }

    /// Forgets a reader; false if it was not one.
    pub fn remove_reader(&mut self, now: Instant, reader: ReaderId) -> bool {
        self.readers.remove(now, reader)
    }

    pub fn readers(&self) -> usize {
        self.readers.count()
    }

    /// Since when nobody reads; `None` while someone does.
    pub fn idle_since(&self) -> Option<Instant> {
        self.readers.idle_since()
    }
}

/// Whether a key frame can be decoded. SVAC is passed on as it comes: what it needs is not read here.
fn decodable(codec: Codec, parameters: &ParameterSets) -> bool {
    codec == Codec::Svac || parameters.is_complete()
}

#[cfg(test)]
mod tests;
