//! What simulated cameras show: ten seconds of H.264 (640x360, and 320x180 for sub-streams; 25 pictures and one key
//! frame a second) with G.711A, made for this purpose from a generated test picture and tone.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};

use crate::media::codec::{self, g711};
use crate::media::ps::Muxer;
use crate::media::unit::{AccessUnit, CLOCK, Codec};

/// Pictures a second.
pub(super) const FPS: i64 = 25;
/// Ticks of 90 kHz from one picture to the next.
pub(super) const FRAME: i64 = CLOCK / FPS;

static VIDEO: &[u8] = include_bytes!("clip/village.h264");
static SUB_VIDEO: &[u8] = include_bytes!("clip/village-sub.h264");
static AUDIO: &[u8] = include_bytes!("clip/village.alaw");

/// The first picture as a JPEG, for snapshots.
pub(super) static SNAPSHOT: &[u8] = include_bytes!("clip/village.jpg");

/// Pictures and sound, to be played in a loop.
#[derive(Debug)]
pub struct Clip {
    pictures: Vec<AccessUnit>,
    audio: Bytes,
    /// The bytes of the program stream up to each picture, and with the last one.
    sizes: Vec<u64>,
}

/// What the streams of a camera show.
#[derive(Clone, Debug)]
pub(super) struct Clips {
    main: Arc<Clip>,
    sub: Arc<Clip>,
}

impl Clips {
    /// The main stream is the clip in the file, or the built-in one.
    pub(super) fn new(path: Option<&Path>) -> anyhow::Result<Clips> {
        let main = match path {
            Some(path) => Clip::load(path)?,
            None => Clip::built_in()?,
        };
        let sub = Clip::new(Codec::H264, Bytes::from_static(SUB_VIDEO), Bytes::from_static(AUDIO))?;
        Ok(Clips { main, sub: Arc::new(sub) })
    }

    /// What stream number `stream` shows: 0 is the main one.
    pub(super) fn stream(&self, stream: u8) -> &Arc<Clip> {
        if stream == 0 { &self.main } else { &self.sub }
    }
}

impl Clip {
    /// The clip that comes with the program.
    pub fn built_in() -> anyhow::Result<Arc<Clip>> {
        Clip::new(Codec::H264, Bytes::from_static(VIDEO), Bytes::from_static(AUDIO)).map(Arc::new)
    }

    /// A clip of the user's: Annex B in a file that ends in `.h264` or `.h265`, played at 25 pictures a second.
    pub fn load(path: &Path) -> anyhow::Result<Arc<Clip>> {
        let codec = match path.extension().and_then(|ending| ending.to_str()) {
            Some("h264" | "264") => Codec::H264,
            Some("h265" | "265" | "hevc") => Codec::H265,
            _ => bail!("{}: the clip has to end in .h264 or .h265", path.display()),
        };
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let clip = Clip::new(codec, bytes.into(), Bytes::from_static(AUDIO));
        Ok(Arc::new(clip.with_context(|| format!("{}: not a clip that can be played", path.display()))?))
    }

    fn new(codec: Codec, video: Bytes, audio: Bytes) -> anyhow::Result<Clip> {
        let pictures = cut(codec, &video);
        if !pictures.iter().any(|picture| picture.key) {
            bail!("there is no key frame in it");
        }
        let mut clip = Clip { pictures, audio, sizes: Vec::new() };
        clip.sizes = clip.measure();
        Ok(clip)
    }

    fn measure(&self) -> Vec<u64> {
        let mut muxer = Muxer::new(self.codec(), Some(Codec::Pcma));
        let mut out = BytesMut::new();
        let mut sizes = vec![0];
        let mut size = 0;
        for (index, picture) in (0..).zip(&self.pictures) {
            muxer.mux(picture, &mut out);
            muxer.mux(&self.sound(index, picture.pts), &mut out);
            size += out.len() as u64;
            out.clear();
            sizes.push(size);
        }
        sizes
    }

    /// The bytes of a program stream of `count` pictures, with their sound, from picture number `first` on.
    pub fn size(&self, first: u64, count: u64) -> u64 {
        let up_to = |index: u64| {
            let length = self.pictures.len() as u64;
            let loops = index / length * self.sizes.last().copied().unwrap_or(0);
            loops + self.sizes.get((index % length) as usize).copied().unwrap_or(0)
        };
        up_to(first + count) - up_to(first)
    }

    /// The codec of the pictures.
    pub fn codec(&self) -> Codec {
        self.pictures.first().map_or(Codec::H264, |picture| picture.codec)
    }

    /// Picture number `index` of the endless loop.
    pub fn picture(&self, index: u64) -> &AccessUnit {
        &self.pictures[(index % self.pictures.len() as u64) as usize]
    }

    /// How many pictures it has.
    pub fn length(&self) -> u64 {
        self.pictures.len() as u64
    }

    /// The first key frame at `index` or behind it.
    pub fn next_key(&self, index: u64) -> u64 {
        // There is one, or `new` had refused the clip.
        (index..).find(|index| self.picture(*index).key).unwrap_or(index)
    }

    /// The last key frame at `index` or before it.
    pub fn previous_key(&self, index: u64) -> u64 {
        (0..=index).rev().find(|index| self.picture(*index).key).unwrap_or(0)
    }

    /// The sound that goes with picture number `index`.
    pub fn sound(&self, index: u64, pts: i64) -> AccessUnit {
        let size = (g711::SAMPLE_RATE as i64 / FPS) as usize;
        let pieces = (self.audio.len() / size).max(1) as u64;
        let start = (index % pieces) as usize * size;
        let end = (start + size).min(self.audio.len());
        AccessUnit::new(Codec::Pcma, pts, pts, self.audio.slice(start.min(end)..end))
    }
}

/// Cuts an Annex B stream into pictures: parameter sets and the slices that follow them belong together.
fn cut(codec: Codec, stream: &Bytes) -> Vec<AccessUnit> {
    let mut pictures: Vec<AccessUnit> = Vec::new();
    let mut unit = BytesMut::new();
    let mut has_picture = false;
    for range in codec::split_annex_b(stream) {
        let nal = &stream[range.start as usize..range.end as usize];
        let is_picture = codec::is_picture(codec, nal);
        // first_mb_in_slice or first_slice_segment_in_pic_flag: the first slice of a picture begins with a 1 bit.
        let header = if codec == Codec::H265 { 2 } else { 1 };
        let first_slice = is_picture && nal.get(header).is_some_and(|byte| byte & 0x80 != 0);
        if has_picture && (first_slice || !is_picture) {
            push(codec, &mut pictures, unit.split().freeze());
            has_picture = false;
        }
        unit.extend_from_slice(&codec::START_CODE);
        unit.extend_from_slice(nal);
        has_picture |= is_picture;
    }
    if has_picture {
        push(codec, &mut pictures, unit.freeze());
    }
    pictures
}

fn push(codec: Codec, pictures: &mut Vec<AccessUnit>, payload: Bytes) {
    let pts = pictures.len() as i64 * FRAME;
    pictures.push(AccessUnit::new(codec, pts, pts, payload));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_clip_has_ten_seconds_with_a_key_frame_each() {
        let clip = Clip::built_in().unwrap();
        assert_eq!(clip.pictures.len(), 250);
        let keys: Vec<usize> = (0..250).filter(|index| clip.pictures[*index].key).collect();
        assert_eq!(keys, (0..250).step_by(25).collect::<Vec<_>>());
        assert_eq!(clip.next_key(1), 25);
        assert_eq!(clip.next_key(240), 250);
        assert_eq!((clip.previous_key(24), clip.previous_key(25), clip.previous_key(260)), (0, 25, 250));
        assert_eq!(clip.size(100, 500), 2 * clip.size(0, 250));
        assert!(clip.size(0, 1) > clip.picture(0).payload.len() as u64);
        assert_eq!(clip.sound(0, 0).payload.len(), 320);
    }

    #[test]
    fn the_sub_stream_is_smaller_and_as_long() {
        let clips = Clips::new(None).unwrap();
        let (main, sub) = (clips.stream(0), clips.stream(1));
        assert_eq!((sub.pictures.len(), sub.picture(25).key), (250, true));
        assert!(sub.size(0, 250) < main.size(0, 250));
    }
}
