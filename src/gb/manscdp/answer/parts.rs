//! What is in answers.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::super::config::ConfigKind;
use crate::gb::id::Id;
use crate::gb::time::{Offset, UnixMillis};

/// Most recordings kept of one answer: some two weeks of a recording a minute. About 6 MiB.
pub const MAX_RECORDS: usize = 20_000;
/// Most presets, cruise tracks, points of a track and memory cards kept of one answer.
pub const MAX_LIST: usize = 512;

/// Recordings, A.2.6.7: one page of them, or all pages so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Records {
    /// By the time they begin, without repetitions.
    pub items: Vec<Record>,
    /// How many the device announced.
    pub total: u32,
    /// Whether all announced have come.
    pub complete: bool,
    #[serde(skip)]
    pub(super) seen: Seen,
}

/// Digests of what has come already. It says nothing of its own: the items do.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(HashSet<u64>);

impl PartialEq for Seen {
    fn eq(&self, _: &Seen) -> bool {
        true
    }
}

impl Records {
    /// One page, of `total` recordings in all.
    pub fn new(items: Vec<Record>, total: u32) -> Records {
        let mut records = Records { total, ..Records::default() };
        records.add(items);
        records
    }

    pub(super) fn add(&mut self, items: Vec<Record>) {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let is_sorted = |items: &[Record]| items.is_sorted_by_key(|record| record.start);
        let from = self.items.len();
        for item in items {
            if self.items.len() < MAX_RECORDS && self.seen.0.insert(hasher.hash_one(&item)) {
                self.items.push(item);
            }
        }
        // What was there is sorted, so that pages that come in order cost no more than themselves.
        if !is_sorted(self.items.get(from.saturating_sub(1)..).unwrap_or_default()) {
            self.items.sort_by_key(|record| record.start);
        }
        // Some announce less than they send.
        self.total = self.total.max(u32::try_from(self.items.len()).unwrap_or(u32::MAX));
        self.complete = self.items.len() >= self.total as usize;
    }

    pub(super) fn merge(&mut self, page: Records) {
        self.total = self.total.max(page.total);
        self.add(page.items);
    }
}

/// A recording.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash, Serialize)]
pub struct Record {
    /// The channel, as the device has it.
    pub device: Option<Id>,
    pub name: String,
    #[serde(serialize_with = "rfc3339")]
    pub start: Option<UnixMillis>,
    #[serde(serialize_with = "rfc3339")]
    pub end: Option<UnixMillis>,
    /// Bytes.
    pub size: Option<u64>,
    /// `time`, `alarm` or `manual`.
    pub kind: Option<String>,
    pub file_path: Option<String>,
    pub address: Option<String>,
    pub recorder_id: Option<String>,
    /// The device or system that stores it; since 2022.
    pub location: Option<String>,
    pub secrecy: bool,
    /// 0 main, 1 sub and so on; since 2022.
    pub stream: Option<u8>,
}

/// RFC 3339 in UTC.
pub(in super::super) fn rfc3339<S: Serializer>(
    at: &Option<UnixMillis>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_str(&at.to_rfc3339(Offset::UTC)),
        None => serializer.serialize_none(),
    }
}

/// A list that comes with the number of its items, perhaps in several messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct List<T> {
    /// By number, without repetitions.
    pub items: Vec<T>,
    /// How many the device announced.
    pub total: u32,
}

/// An item of a [`List`].
pub trait Numbered {
    fn number(&self) -> u32;
}

impl<T: Numbered> List<T> {
    pub fn new(items: Vec<T>) -> List<T> {
        let total = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let mut list = List { items: Vec::new(), total };
        list.add(items);
        list
    }

    fn add(&mut self, items: Vec<T>) {
        self.items.extend(items);
        // A later page corrects an earlier one: sorting is stable, and the first of equals stays.
        self.items.reverse();
        self.items.sort_by_key(Numbered::number);
        self.items.dedup_by_key(|item| item.number());
        self.items.truncate(MAX_LIST);
    }

    pub(super) fn merge(&mut self, page: List<T>) {
        self.total = self.total.max(page.total);
        self.add(page.items);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.items.len() >= (self.total as usize).min(MAX_LIST)
    }
}

/// PresetQuery.
pub type Presets = List<Preset>;
/// CruiseTrackListQuery; since 2022.
pub type CruiseTracks = List<CruiseTrackName>;
/// SDCardStatus; since 2022.
pub type SdCards = List<SdCard>;

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Preset {
    /// 1 to 255 by the standard.
    pub index: u32,
    pub name: String,
}

impl Numbered for Preset {
    fn number(&self) -> u32 {
        self.index
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct CruiseTrackName {
    /// 0 is the first.
    pub number: u32,
    pub name: Option<String>,
}

impl Numbered for CruiseTrackName {
    fn number(&self) -> u32 {
        self.number
    }
}

/// CruiseTrackQuery; since 2022. Its points are in the order of the track.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CruiseTrack {
    pub number: u32,
    pub name: Option<String>,
    pub points: Vec<CruisePoint>,
    /// How many points the device announced.
    pub total: u32,
}

#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct CruisePoint {
    pub preset: u32,
    /// Seconds that the camera stays.
    pub stay: u32,
    /// 1 to 15.
    pub speed: u32,
}

/// Where a camera goes when it is left alone. HomePositionQuery since 2022; the control since 2016.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct HomePosition {
    pub enabled: bool,
    /// Seconds until it goes.
    pub reset_seconds: Option<u32>,
    pub preset: Option<u8>,
}

/// PTZPosition, as an answer or a notify; since 2022. Degrees, and times of magnification.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize)]
pub struct PtzPosition {
    /// Clockwise as seen from above.
    pub pan: Option<f64>,
    /// Downwards.
    pub tilt: Option<f64>,
    pub zoom: Option<f64>,
    pub horizontal_field_angle: Option<f64>,
    pub vertical_field_angle: Option<f64>,
    /// Metres.
    pub max_view_distance: Option<f64>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct SdCard {
    /// From 1.
    pub id: u32,
    pub name: String,
    /// `ok`, `formatting`, `unformatted`, `idle` or `error`, unless the device has its own words.
    pub status: Option<String>,
    /// Per cent.
    pub format_progress: Option<u32>,
    /// MB.
    pub capacity: Option<u64>,
    /// MB.
    pub free: Option<u64>,
}

impl Numbered for SdCard {
    fn number(&self) -> u32 {
        self.id
    }
}

/// What ConfigDownload brought, by kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Config {
    pub sections: BTreeMap<ConfigKind, Value>,
    /// Kinds that were asked for and have not been answered.
    #[serde(skip)]
    pub(super) left: usize,
}

impl Config {
    /// All that was asked for.
    pub fn new(sections: impl IntoIterator<Item = (ConfigKind, Value)>) -> Config {
        Config { sections: sections.into_iter().collect(), left: 0 }
    }

    pub(super) fn merge(&mut self, page: Config, answered: usize) {
        self.sections.extend(page.sections);
        self.left = self.left.saturating_sub(answered);
    }
}
