//! What is found of one track: its codec, size, rate and groups of pictures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::media::unit::{AccessUnit, CLOCK, Codec, Track};
use crate::stream::{Limits, Stream};

/// A track, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TrackReport {
    pub(super) codec: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<(u32, u32)>,
    /// Pictures a second by their time stamps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fps: Option<f64>,
    /// Pictures, or pieces of sound.
    pub(super) units: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_frames: Option<u64>,
    /// Pictures of the longest group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) longest_gop: Option<u32>,
    /// Whether pictures are shown in another order than they are decoded.
    pub(super) reordered: bool,
    pub(super) damaged: u64,
    pub(super) seconds: f64,
    pub(super) bit_rate: u64,
}

/// Follows the tracks of one stream.
pub(super) struct Tracks {
    stream: Stream,
    begin: Instant,
    video: Totals,
    audio: Totals,
    key_frames: u64,
    since_key: u32,
    longest_gop: u32,
}

#[derive(Default)]
struct Totals {
    codec: Option<Codec>,
    units: u64,
    bytes: u64,
    damaged: u64,
    reordered: bool,
    first: Option<i64>,
    last: i64,
}

impl Totals {
    fn add(&mut self, unit: &AccessUnit) {
        self.codec = Some(unit.codec);
        self.units += 1;
        self.bytes += unit.payload.len() as u64;
        self.damaged += u64::from(unit.damaged);
        self.reordered |= unit.pts != unit.dts;
        self.first.get_or_insert(unit.dts);
        self.last = unit.dts;
    }

    fn seconds(&self) -> f64 {
        self.last.saturating_sub(self.first.unwrap_or(self.last)) as f64 / CLOCK as f64
    }
}

impl Tracks {
    /// `begin` is any moment: time is that of the stream.
    pub(super) fn new(begin: Instant) -> Tracks {
        Tracks {
            stream: Stream::new(begin, Limits::default()),
            begin,
            video: Totals::default(),
            audio: Totals::default(),
            key_frames: 0,
            since_key: 0,
            longest_gop: 0,
        }
    }

    /// Takes in the next unit; what the stream passes on of it.
    pub(super) fn add(&mut self, unit: AccessUnit) -> Option<Arc<AccessUnit>> {
        let totals = if unit.track() == Track::Video { &mut self.video } else { &mut self.audio };
        totals.add(&unit);
        if unit.track() == Track::Video {
            if unit.key {
                self.key_frames += 1;
                self.longest_gop = self.longest_gop.max(self.since_key);
                self.since_key = 0;
            }
            self.since_key += 1;
        }
        let ticks = u64::try_from(unit.dts).unwrap_or(0);
        let now = self.begin + Duration::from_micros(ticks.saturating_mul(100) / 9);
        self.stream.push(now, unit)
    }

    /// The tracks that there are, pictures first.
    pub(super) fn report(&self) -> Vec<TrackReport> {
        let info = self.stream.info(self.begin);
        let report = |totals: &Totals| {
            let codec = totals.codec?;
            let video = info.video.filter(|_| codec.track() == Track::Video);
            let seconds = totals.seconds();
            Some(TrackReport {
                codec: codec.as_str().to_owned(),
                size: video.map(|video| (video.width, video.height)).filter(|size| size.0 > 0),
                fps: video.and_then(|video| video.fps),
                units: totals.units,
                key_frames: video.map(|_| self.key_frames),
                longest_gop: video.map(|_| self.longest_gop.max(self.since_key)),
                reordered: totals.reordered,
                damaged: totals.damaged,
                seconds,
                bit_rate: if seconds > 0.0 { (totals.bytes as f64 * 8.0 / seconds) as u64 } else { 0 },
            })
        };
        [&self.video, &self.audio].into_iter().filter_map(report).collect()
    }
}
