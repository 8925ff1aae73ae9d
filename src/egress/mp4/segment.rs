//! The two kinds of segment: the initialization segment (`ftyp`, `moov`) and the fragment (`moof`, `mdat`).

use bytes::Bytes;
use smallvec::SmallVec;

use super::boxes::{atom, full, u16, u32, u64, zeros};
use super::entry::Entry;

/// Units a second of the times of the whole.
const MOVIE_TIMESCALE: u32 = 1000;
/// The identity, as 16.16 and 2.30 numbers.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// "und" in packed ISO 639-2.
const UNDETERMINED: u16 = 0x55C4;
/// Sample flags (ISO/IEC 14496-12, 8.8.3.1): depends on no other; depends on others and is no sync sample.
const KEY: u32 = 0x0200_0000;
const DELTA: u32 = 0x0101_0000;

/// What the `moov` says of a track.
#[derive(Debug)]
pub(super) struct Description<'a> {
    pub id: u32,
    pub entries: &'a [Entry],
    /// In units of the track; 0 while it goes on.
    pub duration: u64,
}

/// One picture or one piece of sound, with times in units of its track.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub time: u64,
    /// From decoding to presentation. Below 0 for pictures that are shown before the first was decoded and held.
    pub delay: i32,
    pub duration: u32,
    pub key: bool,
    /// Of a picture: its NAL units, each to be written behind its length. Of sound: one frame.
    pub parts: SmallVec<[Bytes; 2]>,
    pub size: u32,
}

/// The samples of one track in a fragment; not empty.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub id: u32,
    pub video: bool,
    /// Which of the track's entries, from 1.
    pub entry: u32,
    pub samples: &'a [Sample],
}

pub(super) fn file_type(out: &mut Vec<u8>) {
    atom(out, b"ftyp", |out| {
        out.extend(b"iso6");
        u32(out, 0x200);
        for brand in [b"iso6", b"iso5", b"mp41", b"cmfc"] {
            out.extend(brand);
        }
    });
}

pub(super) fn movie(out: &mut Vec<u8>, tracks: &[Description<'_>]) {
    let whole = tracks.iter().map(|track| track.in_movie_time()).max().unwrap_or(0);
    let next_id = tracks.iter().map(|track| track.id + 1).max().unwrap_or(1);
    atom(out, b"moov", |out| {
        full(out, b"mvhd", 1, 0, |out| {
            zeros(out, 16);
            u32(out, MOVIE_TIMESCALE);
            u64(out, whole);
            u32(out, 0x1_0000); // rate
            u16(out, 0x100); // volume
            zeros(out, 10);
            MATRIX.iter().for_each(|number| u32(out, *number));
            zeros(out, 24);
            u32(out, next_id);
        });
        tracks.iter().for_each(|track| track.write(out));
        atom(out, b"mvex", |out| {
            if whole > 0 {
                full(out, b"mehd", 1, 0, |out| u64(out, whole));
            }
            for track in tracks {
                full(out, b"trex", 0, 0, |out| {
                    u32(out, track.id);
                    u32(out, 1); // default_sample_description_index
                    zeros(out, 12);
                });
            }
        });
    });
}

impl Description<'_> {
    fn timescale(&self) -> u32 {
        self.entries.first().map_or(1, Entry::timescale).max(1)
    }

    fn is_video(&self) -> bool {
        self.entries.first().is_some_and(Entry::is_video)
    }

    fn in_movie_time(&self) -> u64 {
        let duration = u128::from(self.duration) * u128::from(MOVIE_TIMESCALE);
        u64::try_from(duration / u128::from(self.timescale())).unwrap_or(u64::MAX)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (width, height) = self.entries.last().map_or((0, 0), Entry::size);
        atom(out, b"trak", |out| {
            full(out, b"tkhd", 1, 3, |out| {
                zeros(out, 16);
                u32(out, self.id);
                zeros(out, 4);
                u64(out, self.in_movie_time());
                zeros(out, 12);
                u16(out, if self.is_video() { 0 } else { 0x100 }); // volume
                zeros(out, 2);
                MATRIX.iter().for_each(|number| u32(out, *number));
                u32(out, width << 16);
                u32(out, height << 16);
            });
            atom(out, b"mdia", |out| {
                full(out, b"mdhd", 1, 0, |out| {
                    zeros(out, 16);
                    u32(out, self.timescale());
                    u64(out, self.duration);
                    u16(out, UNDETERMINED);
                    zeros(out, 2);
                });
                full(out, b"hdlr", 0, 0, |out| {
                    zeros(out, 4);
                    out.extend(if self.is_video() { b"vide" } else { b"soun" });
                    zeros(out, 13);
                });
                self.media(out);
            });
        });
    }

    fn media(&self, out: &mut Vec<u8>) {
        atom(out, b"minf", |out| {
            if self.is_video() {
                full(out, b"vmhd", 0, 1, |out| zeros(out, 8));
            } else {
                full(out, b"smhd", 0, 0, |out| zeros(out, 4));
            }
            atom(out, b"dinf", |out| {
                full(out, b"dref", 0, 0, |out| {
                    u32(out, 1);
                    full(out, b"url ", 0, 1, |_| {});
                });
            });
            atom(out, b"stbl", |out| {
                full(out, b"stsd", 0, 0, |out| {
                    u32(out, self.entries.len() as u32);
                    self.entries.iter().for_each(|entry| entry.write(out));
                });
                // The samples are in the fragments.
                full(out, b"stts", 0, 0, |out| zeros(out, 4));
                full(out, b"stsc", 0, 0, |out| zeros(out, 4));
                full(out, b"stsz", 0, 0, |out| zeros(out, 8));
                full(out, b"stco", 0, 0, |out| zeros(out, 4));
            });
        });
    }
}

pub(super) fn fragment(sequence: u32, runs: &[Run<'_>]) -> Vec<u8> {
    let media: usize = runs.iter().flat_map(|run| run.samples).map(|sample| sample.size as usize).sum();
    let count: usize = runs.iter().map(|run| run.samples.len()).sum();
    let mut out = Vec::with_capacity(media + 16 * count + 256);
    // The offsets in `moof` count from its own start over its own length.
    moof(&mut out, sequence, runs, 0);
    let first = out.len() as u32 + 8;
    out.clear();
    moof(&mut out, sequence, runs, first);
    atom(&mut out, b"mdat", |out| {
        for run in runs {
            for part in run.samples.iter().flat_map(|sample| &sample.parts) {
                if run.video {
                    u32(out, part.len() as u32);
                }
                out.extend_from_slice(part);
            }
        }
    });
    out
}

fn moof(out: &mut Vec<u8>, sequence: u32, runs: &[Run<'_>], first: u32) {
    const TFHD: u32 = 0x02_0000 | 0x20 | 0x02; // offsets count from moof; sample flags; sample entry
    const TRUN_VIDEO: u32 = 0x01 | 0x100 | 0x200 | 0x400 | 0x800; // offset, duration, size, flags, delay
    const TRUN_AUDIO: u32 = 0x01 | 0x100 | 0x200;
    atom(out, b"moof", |out| {
        full(out, b"mfhd", 0, 0, |out| u32(out, sequence));
        let mut offset = first;
        for run in runs {
            atom(out, b"traf", |out| {
                full(out, b"tfhd", 0, TFHD, |out| {
                    u32(out, run.id);
                    u32(out, run.entry);
                    u32(out, if run.video { DELTA } else { KEY });
                });
                let start = run.samples.first().map_or(0, |sample| sample.time);
                full(out, b"tfdt", 1, 0, |out| u64(out, start));
                full(out, b"trun", 1, if run.video { TRUN_VIDEO } else { TRUN_AUDIO }, |out| {
                    u32(out, run.samples.len() as u32);
                    u32(out, offset);
                    for sample in run.samples {
                        u32(out, sample.duration);
                        u32(out, sample.size);
                        if run.video {
                            u32(out, if sample.key { KEY } else { DELTA });
                            u32(out, sample.delay.cast_unsigned());
                        }
                    }
                });
            });
            offset = run.samples.iter().fold(offset, |offset, sample| offset.wrapping_add(sample.size));
        }
    });
}

/// The index at the end of a file: where fragments with key pictures begin, by time (8.8.9 to 8.8.11).
pub(super) fn index(out: &mut Vec<u8>, track: u32, entries: &[(u64, u64)]) {
    let start = out.len();
    atom(out, b"mfra", |out| {
        full(out, b"tfra", 1, 0, |out| {
            u32(out, track);
            u32(out, 0); // numbers of traf, trun and sample in one byte each
            u32(out, entries.len() as u32);
            for (time, offset) in entries {
                u64(out, *time);
                u64(out, *offset);
                out.extend([1, 1, 1]);
            }
        });
        full(out, b"mfro", 0, 0, |out| u32(out, 0));
    });
    // The last number is the length of it all.
    let length = (out.len() - start) as u32;
    let at = out.len() - 4;
    if let Some(place) = out.get_mut(at..) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}
