//! Fragmented MP4 (ISO/IEC 14496-12): live to a player over HTTP, and downloads into a file.
//!
//! A [`Muxer`] takes access units and gives segments: first an initialization segment, then fragments that begin
//! with a key picture or last as long as they may. It is pure; [`File`] writes what it gives and completes the
//! durations at the end.
//!
//! Pictures are H.264 or H.265, sound is AAC, PCMA or PCMU. Times begin at 0 with the first picture that is
//! shown; sound from before it is left out. The length of a picture is known when the next one comes, so that a
//! segment comes one picture late.

mod boxes;
mod entry;
mod file;
mod lane;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

pub use file::{File, Progress};

use crate::media::codec::{ParameterSets, aac, h264, h265};
use crate::media::unit::{AccessUnit, CLOCK, Codec};
pub(super) use entry::Entry;
use lane::Lane;
use segment::{Description, Run};

/// Bytes of a fragment, bookkeeping included: it ends with the picture that goes beyond.
const MAX_FRAGMENT: usize = 16 << 20;
/// What the first fragment lasts at least, so that the initialization segment tells of sound that begins a
/// little later than the pictures, in ticks of 90 kHz.
const FIRST_FRAGMENT: i64 = CLOCK;
/// Sound for so long before any picture is taken for a stream without pictures, in ticks of 90 kHz.
const SOUND_ALONE: i64 = 2 * CLOCK;
/// Pieces of sound kept until then, and bytes of one: a second of it has some 20,000.
const MAX_EARLY: usize = 1024;
const MAX_SOUND: usize = 64 << 10;

const VIDEO: u32 = 1;
const AUDIO: u32 = 2;

/// Which sound is taken.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Sound {
    None,
    /// What browsers play out of MP4.
    Aac,
    /// AAC and G.711.
    #[default]
    All,
}

#[derive(Copy, Clone, Debug)]
pub struct Options {
    pub sound: Sound,
    /// A fragment ends with the first picture that reaches this, if no key picture ends it before.
    pub fragment: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { sound: Sound::All, fragment: Duration::from_secs(2) }
    }
}

/// What comes out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Segment {
    /// Comes first, and again before the fragments that need another one.
    Init(Bytes),
    Fragment {
        bytes: Bytes,
        /// Whether a player can begin here.
        key: bool,
        /// When its first picture, or its first sound where there are no pictures, is decoded, in units of its
        /// track.
        time: u64,
        /// How long its track goes on in it.
        span: Duration,
    },
}

impl Segment {
    pub fn bytes(&self) -> &Bytes {
        match self {
            Segment::Init(bytes) | Segment::Fragment { bytes, .. } => bytes,
        }
    }
}

/// Whether streams of this codec can be put into MP4 here.
pub fn takes(codec: Codec) -> bool {
    matches!(codec, Codec::H264 | Codec::H265 | Codec::Aac | Codec::Pcma | Codec::Pcmu)
}

/// Puts the access units of one stream into segments. See the [module](self).
#[derive(Debug)]
pub struct Muxer {
    options: Options,
    /// Whether the description is written once more at the end: tracks and entries may then still be added.
    open: bool,
    parameters: ParameterSets,
    video: Option<Lane>,
    audio: Option<Lane>,
    /// Sound before the first picture.
    early: VecDeque<AccessUnit>,
    /// When the first picture is shown, in ticks of 90 kHz.
    origin: Option<i64>,
    /// The decoding time of the first picture.
    first: i64,
    /// Whether the pictures ever changed: their parameter sets then stay in the samples too, since most players
    /// look at the first sample entry alone.
    changed: bool,
    /// Whether an initialization segment has to come before the next fragment, and whether one ever came.
    init_due: bool,
    begun: bool,
    sequence: u32,
    segments: VecDeque<Segment>,
}

impl Muxer {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            open: false,
            parameters: ParameterSets::default(),
            video: None,
            audio: None,
            early: VecDeque::new(),
            origin: None,
            first: 0,
            changed: false,
            init_due: true,
            begun: false,
            sequence: 0,
            segments: VecDeque::new(),
        }
    }

    /// A muxer for a file, whose description is completed at the end.
    fn for_file(options: Options) -> Self {
        Self { open: true, ..Self::new(options) }
    }

    /// Takes the next unit. What comes before the first key picture, and codecs that are not taken, are left out.
    pub fn push(&mut self, unit: &AccessUnit) {
        match unit.codec {
            Codec::H264 | Codec::H265 => self.picture(unit),
            Codec::Aac if self.options.sound != Sound::None => self.sound(unit),
            Codec::Pcma | Codec::Pcmu if self.options.sound == Sound::All => self.sound(unit),
            _ => {}
        }
    }

    /// The next segment that is finished.
    pub fn poll(&mut self) -> Option<Segment> {
        self.segments.pop_front()
    }

    /// Ends the stream: the rest becomes the last fragment.
    pub fn finish(&mut self) {
        self.begin_with_sound();
        [self.video.as_mut(), self.audio.as_mut()].into_iter().flatten().for_each(Lane::close);
        self.cut();
    }

    /// The media type of what comes out, for a player that asks before it begins (RFC 6381). `None` before the
    /// first segment.
    pub fn media_type(&self) -> Option<String> {
        if !self.begun {
            return None;
        }
        let kind = if self.video.is_some() { "video" } else { "audio" };
        let names: Vec<_> = self.lanes().filter_map(|lane| Some(lane.entries.last()?.name())).collect();
        Some(format!("{kind}/mp4; codecs=\"{}\"", names.join(", ")))
    }

    /// How long that lasts which was taken.
    pub fn duration(&self) -> Duration {
        let seconds = |lane: &Lane| lane.end() as f64 / f64::from(lane.timescale());
        Duration::try_from_secs_f64(self.lanes().map(seconds).fold(0.0, f64::max)).unwrap_or_default()
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.video.iter().chain(&self.audio)
    }

    fn picture(&mut self, unit: &AccessUnit) {
        self.parameters.learn(unit);
        if unit.key {
            let Some(entry) = Entry::video(&self.parameters) else { return };
            self.describe(entry, unit);
        }
        let Some((lane, origin)) = self.video.as_mut().zip(self.origin) else { return };
        let codec = lane.entries.last().map(Entry::codec);
        let parts = parts(unit, !unit.key || self.changed);
        // Pictures of another codec wait for a key picture of theirs.
        if parts.is_empty() || codec != Some(unit.codec) {
            return;
        }
        let delay = (unit.pts.saturating_sub(origin)).saturating_sub(unit.dts.saturating_sub(self.first));
        lane.picture(unit.dts.saturating_sub(self.first), delay, unit.key, parts);
        let least = if self.begun || self.open || self.audio.is_some() || self.options.sound == Sound::None {
            0
        } else {
            FIRST_FRAGMENT
        };
        let span = lane.span();
        let full = lane.bytes() >= MAX_FRAGMENT;
        let long = span >= ticks(self.options.fragment);
        if (unit.key || long) && span >= least || full {
            self.cut();
        }
    }

    /// Takes the sample entry of a key picture into account.
    fn describe(&mut self, entry: Entry, unit: &AccessUnit) {
        if self.video.is_none() {
            if self.begun && !self.open {
                return; // Players cannot add a track.
            }
            self.video = Some(Lane::new(VIDEO, entry));
            if self.origin.is_none() {
                (self.origin, self.first) = (Some(unit.pts), unit.dts);
            } else {
                self.first = self.first.min(unit.dts);
            }
            for sound in std::mem::take(&mut self.early) {
                self.place_sound(&sound);
            }
            return;
        }
        let Some(lane) = self.video.as_mut().filter(|lane| lane.entries.last() != Some(&entry)) else {
            return;
        };
        lane.end_at(unit.dts.saturating_sub(self.first));
        self.cut();
        if let Some(lane) = self.video.as_mut() {
            lane.change(entry, self.open);
            self.changed = true;
            self.init_due |= !self.open;
        }
    }

    fn sound(&mut self, unit: &AccessUnit) {
        if unit.payload.len() > MAX_SOUND {
            return;
        }
        if self.origin.is_some() {
            return self.place_sound(unit);
        }
        if self.early.len() == MAX_EARLY {
            self.early.pop_front();
        }
        self.early.push_back(unit.clone());
        let first = self.early.front().map_or(unit.pts, |first| first.pts);
        if unit.pts.saturating_sub(first) >= SOUND_ALONE {
            self.begin_with_sound();
        }
    }

    fn begin_with_sound(&mut self) {
        if self.origin.is_none()
            && let Some(first) = self.early.front()
        {
            (self.origin, self.first) = (Some(first.pts), first.pts);
        }
        if self.origin.is_some() {
            for sound in std::mem::take(&mut self.early) {
                self.place_sound(&sound);
            }
        }
    }

    fn place_sound(&mut self, unit: &AccessUnit) {
        let Some(origin) = self.origin else { return };
        let since = unit.pts.saturating_sub(origin);
        if since < 0 || self.begun && !self.open && self.audio.is_none() {
            return;
        }
        match unit.codec {
            Codec::Aac => {
                for (later, (config, raw)) in (0..).zip(aac::raw_frames(unit)) {
                    let samples = later * i64::from(aac::FRAME_SAMPLES);
                    let at = since.saturating_add(samples * CLOCK / i64::from(config.sample_rate()).max(1));
                    self.place_frame(Entry::Aac(config), at, aac::FRAME_SAMPLES, raw);
                }
            }
            codec => {
                // A byte is a sample.
                let samples = u32::try_from(unit.payload.len()).unwrap_or(u32::MAX);
                self.place_frame(Entry::G711(codec), since, samples, unit.payload.clone());
            }
        }
        // Where pictures come, they end the fragments; but they may stop.
        let patience = if self.video.is_some() { SOUND_ALONE } else { 0 };
        let patience = ticks(self.options.fragment).saturating_add(patience);
        if self.audio.as_ref().is_some_and(|lane| lane.span() >= patience || lane.bytes() >= MAX_FRAGMENT) {
            self.cut();
        }
    }

    fn place_frame(&mut self, entry: Entry, since: i64, samples: u32, frame: Bytes) {
        let lane = self.audio.get_or_insert_with(|| Lane::new(AUDIO, entry.clone()));
        // A track has one clock, so that it cannot take another kind of sound.
        if lane.entries.first() == Some(&entry) && !frame.is_empty() {
            lane.sound(since, samples, frame);
        }
    }

    /// Makes a fragment of what is ready.
    fn cut(&mut self) {
        let Some(fragment) = self.fragment(self.sequence.wrapping_add(1)) else { return };
        self.sequence = self.sequence.wrapping_add(1);
        if std::mem::take(&mut self.init_due) {
            self.begun = true;
            let mut init = Vec::with_capacity(2048);
            segment::file_type(&mut init);
            self.write_movie(&mut init);
            self.segments.push_back(Segment::Init(init.into()));
        }
        self.segments.push_back(fragment);
        [self.video.as_mut(), self.audio.as_mut()].into_iter().flatten().for_each(Lane::clear);
    }

    fn fragment(&self, sequence: u32) -> Option<Segment> {
        let lanes = || self.lanes().filter(|lane| !lane.ready().is_empty());
        let leader = lanes().next()?;
        let first = leader.ready().first()?;
        let runs: SmallVec<[Run<'_>; 2]> = lanes().map(Lane::run).collect();
        let bytes = segment::fragment(sequence, &runs).into();
        let key = first.key && leader.id() == self.leading_track();
        let span = u64::try_from(leader.span()).unwrap_or(0).saturating_mul(1_000_000) / CLOCK as u64;
        Some(Segment::Fragment { bytes, key, time: first.time, span: Duration::from_micros(span) })
    }

    /// The description of all tracks; for a file that is finished, with the durations.
    fn write_movie(&self, out: &mut Vec<u8>) {
        let whole = |lane: &Lane| if self.open { lane.end() } else { 0 };
        let tracks: SmallVec<[Description<'_>; 2]> = self
            .lanes()
            .map(|lane| Description { id: lane.id(), entries: &lane.entries, duration: whole(lane) })
            .collect();
        segment::movie(out, &tracks);
    }

    /// The track that says where a player can begin.
    fn leading_track(&self) -> u32 {
        if self.video.is_some() { VIDEO } else { AUDIO }
    }
}

/// The NAL units of a picture that belong into its sample; parameter sets if they are wanted there.
pub(super) fn parts(unit: &AccessUnit, with_sets: bool) -> SmallVec<[Bytes; 2]> {
    let belongs = |nal: &[u8]| match unit.codec {
        Codec::H264 => match h264::nal_type(nal) {
            h264::SPS | h264::PPS => with_sets,
            kind => !matches!(kind, h264::AUD | h264::FILLER),
        },
        _ => match h265::nal_type(nal) {
            h265::VPS | h265::SPS | h265::PPS => with_sets,
            kind => !matches!(kind, h265::AUD | h265::FILLER),
        },
    };
    (0..unit.nals.len()).map(|index| unit.nal(index)).filter(|nal| belongs(nal)).collect()
}

fn ticks(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).saturating_mul(CLOCK / 1000)
}
