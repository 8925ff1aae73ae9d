//! FLV (Adobe Flash Video File Format Specification 10.1) to a player over HTTP, with H.265 as Enhanced RTMP has it.
//!
//! A [`Muxer`] takes access units and gives pieces of the stream as they come, without delay: a header, a script tag
//! with what is known of the stream, then tags. It is pure. What is large in a piece is shared with the access unit.
//!
//! Pictures are H.264 or H.265, sound is AAC, PCMA or PCMU. Times begin at 0 with the first picture that is decoded;
//! sound from before it is left out.

mod script;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::mp4::{Entry, parts};
pub use super::mp4::{Sound, takes};
use crate::media::codec::{ParameterSets, aac};
use crate::media::unit::{AccessUnit, CLOCK, Codec, Track};

/// A NAL unit from this length on is shared with the access unit; a shorter one is copied behind what stands before
/// it, which costs less than a piece of its own.
const SHARED: usize = 2048;
/// What the length of a tag can say (E.4.1).
const MAX_TAG: usize = 0xFF_FFFF;
/// Ticks of 90 kHz in a millisecond.
const MILLISECOND: i64 = CLOCK / 1000;

/// Pictures for so long without sound are those of a stream that has none, in ticks of 90 kHz.
const SILENCE: i64 = CLOCK;

/// Types of tags (E.4.1).
const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

/// The FourCC of H.265.
const HVC1: &[u8; 4] = b"hvc1";

/// What a stream is expected to have: players wait for what the header announces.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Tracks {
    pub video: bool,
    /// Only what the muxer takes, and is to take, is announced.
    pub audio: Option<Codec>,
}

impl Tracks {
    /// Sound that is announced but does not come along with the pictures since the last key picture is not to be
    /// waited for.
    pub fn sure_of(self, backlog: &[Arc<AccessUnit>]) -> Tracks {
        let times = || backlog.iter().map(|unit| unit.dts);
        let span = times().max().unwrap_or(0).saturating_sub(times().min().unwrap_or(0));
        let silent = backlog.iter().all(|unit| unit.track() == Track::Video);
        Tracks { audio: self.audio.filter(|_| !silent || span < SILENCE), ..self }
    }
}

/// Puts the access units of one stream into FLV. See the [module](self).
#[derive(Debug)]
pub struct Muxer {
    sound: Sound,
    tracks: Tracks,
    parameters: ParameterSets,
    /// What was told of the pictures and of the sound.
    video: Option<Entry>,
    audio: Option<Entry>,
    /// What is at 0, in ticks of 90 kHz.
    origin: Option<i64>,
    /// The last times of pictures and of sound, in milliseconds.
    last: [i64; 2],
    begun: bool,
    out: Out,
}

impl Muxer {
    pub fn new(sound: Sound, tracks: Tracks) -> Self {
        let audio = tracks.audio.filter(|codec| wants(sound, *codec));
        Self {
            sound,
            tracks: Tracks { audio, ..tracks },
            parameters: ParameterSets::default(),
            video: None,
            audio: None,
            origin: None,
            last: [0; 2],
            begun: false,
            out: Out::default(),
        }
    }

    /// Takes the next unit. What comes before the first key picture, and codecs that are not taken, are left out.
    pub fn push(&mut self, unit: &AccessUnit) {
        match unit.track() {
            Track::Video if takes(unit.codec) => self.picture(unit),
            Track::Audio if wants(self.sound, unit.codec) => self.hear(unit),
            _ => {}
        }
    }

    /// The next piece of the stream.
    pub fn poll(&mut self) -> Option<Bytes> {
        self.out.pieces.pop_front()
    }

    fn picture(&mut self, unit: &AccessUnit) {
        self.parameters.learn(unit);
        let entry = if unit.key { Entry::video(&self.parameters) } else { None };
        let changed = entry.filter(|entry| self.video.as_ref() != Some(entry));
        // Pictures of another codec wait for a key picture of theirs.
        let told = changed.as_ref().or(self.video.as_ref());
        if told.map(Entry::codec) != Some(unit.codec) {
            return;
        }
        let parts = parts(unit, !unit.key);
        let size: usize = parts.iter().map(|part| part.len() + 4).sum();
        if parts.is_empty() || size + 8 > MAX_TAG {
            return;
        }
        let time = self.time(unit.dts, Track::Video);
        if let Some(entry) = changed {
            self.describe(&entry, time);
            self.video = Some(entry);
        }
        // As coarse as the time itself, so that pictures are shown at even distances.
        let origin = self.origin.unwrap_or(unit.dts);
        let shown = unit.pts.saturating_sub(origin).div_euclid(MILLISECOND);
        let delay = shown.saturating_sub(time).clamp(-0x80_0000, 0x7F_FFFF);
        let head = video_head(unit.codec, unit.key, Packet::Pictures, delay);
        self.out.open(VIDEO, time, head.len() + size);
        self.out.put(&head);
        for part in parts {
            self.out.put(&(part.len() as u32).to_be_bytes());
            self.out.share(part);
        }
        self.out.close();
    }

    /// Tells how the pictures that follow are coded.
    fn describe(&mut self, entry: &Entry, time: i64) {
        self.begin(Some(entry));
        let head = video_head(entry.codec(), true, Packet::Configuration, 0);
        self.out.tag(VIDEO, time, &head, entry.configuration().into());
    }

    fn hear(&mut self, unit: &AccessUnit) {
        // Pictures come first where there are any.
        if self.origin.is_none() && self.tracks.video {
            return;
        }
        let origin = *self.origin.get_or_insert(unit.pts);
        if unit.pts < origin {
            return;
        }
        self.begin(None);
        match unit.codec {
            Codec::Aac => {
                for (later, (config, raw)) in (0..).zip(aac::raw_frames(unit)) {
                    let samples = later * i64::from(aac::FRAME_SAMPLES);
                    let at =
                        unit.pts.saturating_add(samples * CLOCK / i64::from(config.sample_rate()).max(1));
                    let time = self.time(at, Track::Audio);
                    let entry = Entry::Aac(config);
                    if self.audio.as_ref() != Some(&entry) {
                        self.out.tag(AUDIO, time, &[AAC, 0], entry.configuration().into());
                        self.audio = Some(entry);
                    }
                    self.out.tag(AUDIO, time, &[AAC, 1], raw);
                }
            }
            codec => {
                let time = self.time(unit.pts, Track::Audio);
                let head = if codec == Codec::Pcmu { PCMU } else { PCMA };
                self.out.tag(AUDIO, time, &[head], unit.payload.clone());
            }
        }
    }

    /// Milliseconds since the beginning; a track never goes back.
    fn time(&mut self, ticks: i64, track: Track) -> i64 {
        let origin = *self.origin.get_or_insert(ticks);
        let time = ticks.saturating_sub(origin).div_euclid(MILLISECOND);
        let [pictures, sound] = &mut self.last;
        let last = if track == Track::Video { pictures } else { sound };
        *last = time.max(*last);
        *last
    }

    /// The header, once, and what is known of the stream, for each kind of pictures anew.
    fn begin(&mut self, pictures: Option<&Entry>) {
        let begun = std::mem::replace(&mut self.begun, true);
        if begun && pictures.is_none() {
            return;
        }
        if !begun {
            let flags = u8::from(self.tracks.audio.is_some()) << 2 | u8::from(self.tracks.video);
            self.out.put(&[b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]);
        }
        let time = self.last.into_iter().max().unwrap_or_default();
        self.out.tag(SCRIPT, time, &[], script::metadata(pictures, self.tracks.audio).into());
    }
}

fn wants(sound: Sound, codec: Codec) -> bool {
    match codec {
        Codec::Aac => sound != Sound::None,
        Codec::Pcma | Codec::Pcmu => sound == Sound::All,
        _ => false,
    }
}

/// The first byte of sound (E.4.2.1): format, rate, size of samples, channels. AAC always says 44 kHz and stereo; G.711
/// has 8 kHz whatever the rate says.
const AAC: u8 = 0xAF;
const PCMA: u8 = 0x72;
const PCMU: u8 = 0x82;

/// What a tag of pictures holds; the numbers are the same in both forms of the tag.
#[derive(Copy, Clone)]
enum Packet {
    Configuration,
    Pictures,
}

/// What stands before the data of a picture: E.4.3.1 for H.264, "ExVideoTagHeader" of Enhanced RTMP for H.265.
fn video_head(codec: Codec, key: bool, packet: Packet, delay: i64) -> Vec<u8> {
    let kind = if key { 1 } else { 2 };
    let [.., d2, d1, d0] = delay.to_be_bytes();
    let delay = [d2, d1, d0];
    if codec == Codec::H264 {
        return [&[kind << 4 | 7, packet as u8], delay.as_slice()].concat();
    }
    let first = [0x80 | kind << 4 | packet as u8];
    match packet {
        Packet::Configuration => [first.as_slice(), HVC1].concat(),
        Packet::Pictures => [first.as_slice(), HVC1, &delay].concat(),
    }
}

/// What goes out: small things are gathered, large ones are pieces of their own.
#[derive(Debug, Default)]
struct Out {
    pieces: VecDeque<Bytes>,
    small: BytesMut,
    /// Bytes of the tag that is open.
    len: usize,
}

impl Out {
    fn open(&mut self, kind: u8, time: i64, size: usize) {
        // 32 bits wrap after 49 days, as players expect it.
        let [high, t2, t1, t0] = (time as u32).to_be_bytes();
        let [_, s2, s1, s0] = (size as u32).to_be_bytes();
        self.put(&[kind, s2, s1, s0, t2, t1, t0, high, 0, 0, 0]);
        self.len = 11 + size;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.small.put_slice(bytes);
    }

    fn share(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED {
            self.put(&bytes);
        } else {
            self.flush();
            self.pieces.push_back(bytes);
        }
    }

    /// The end of a tag is the length of it.
    fn close(&mut self) {
        let len = self.len as u32;
        self.put(&len.to_be_bytes());
        self.flush();
    }

    fn tag(&mut self, kind: u8, time: i64, head: &[u8], body: Bytes) {
        if head.len() + body.len() > MAX_TAG {
            return;
        }
        self.open(kind, time, head.len() + body.len());
        self.put(head);
        self.share(body);
        self.close();
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }
}
