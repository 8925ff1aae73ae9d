//! A download: segments into a file, with durations and an index at the end.
//!
//! While it is written the file can be played as far as it goes. If it is never finished it stays so.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::boxes::free;
use super::{Muxer, Options, Segment, segment};
use crate::media::unit::AccessUnit;

/// Bytes kept for the description, which grows where sound begins late or the pictures change.
const RESERVED: usize = 16 << 10;
/// Entries of the index; beyond it every other is left out.
const MAX_INDEX: usize = 8192;

/// How far a file has come.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Bytes written.
    pub bytes: u64,
    /// What was taken lasts so long; all but the last fragment of it is written.
    pub media: Duration,
}

/// Writes one stream into a file. Its methods block: use it where that may be.
#[derive(Debug)]
pub struct File<W = io::BufWriter<std::fs::File>> {
    out: W,
    muxer: Muxer,
    bytes: u64,
    /// Where the description begins; known once it is written.
    movie: Option<u64>,
    index: Vec<(u64, u64)>,
}

impl File {
    /// Makes the file, or empties one that is there.
    ///
    /// # Errors
    /// As the system says.
    pub fn create(path: &Path, options: Options) -> io::Result<Self> {
        Ok(Self::new(io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?), options))
    }
}

impl<W: Write + Seek> File<W> {
    /// Writes to `out`, which is empty and stands at its beginning.
    pub fn new(out: W, options: Options) -> Self {
        Self { out, muxer: Muxer::for_file(options), bytes: 0, movie: None, index: Vec::new() }
    }

    /// Takes the next unit.
    ///
    /// # Errors
    /// As the system says, for example if the disk is full; the file is then of no more use than as far as it
    /// goes.
    pub fn push(&mut self, unit: &AccessUnit) -> io::Result<()> {
        self.muxer.push(unit);
        self.write_segments()
    }

    pub fn progress(&self) -> Progress {
        Progress { bytes: self.bytes, media: self.muxer.duration() }
    }

    /// Writes the rest, the index and the durations. A stream without a single key picture or sound leaves an
    /// empty file.
    ///
    /// # Errors
    /// As the system says.
    pub fn finish(mut self) -> io::Result<(W, Progress)> {
        self.muxer.finish();
        self.write_segments()?;
        if let Some(movie) = self.movie {
            let mut index = Vec::new();
            segment::index(&mut index, self.muxer.leading_track(), &self.index);
            self.write(&index)?;
            let mut description = Vec::new();
            self.muxer.write_movie(&mut description);
            // It fits unless the pictures changed more often than can be told; then the first one stays.
            if pad(&mut description) {
                self.out.seek(SeekFrom::Start(movie))?;
                self.out.write_all(&description)?;
            }
        }
        self.out.flush()?;
        let progress = self.progress();
        Ok((self.out, progress))
    }

    fn write_segments(&mut self) -> io::Result<()> {
        while let Some(segment) = self.muxer.poll() {
            match segment {
                Segment::Init(_) => {
                    let mut head = Vec::new();
                    segment::file_type(&mut head);
                    self.movie = Some(self.bytes + head.len() as u64);
                    let mut description = Vec::new();
                    self.muxer.write_movie(&mut description);
                    pad(&mut description);
                    self.write(&head)?;
                    self.write(&description)?;
                }
                Segment::Fragment { bytes, key, time, .. } => {
                    if key {
                        self.note(time);
                    }
                    self.write(&bytes)?;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, time: u64) {
        if self.index.len() == MAX_INDEX {
            let mut odd = false;
            self.index.retain(|_| {
                odd = !odd;
                odd
            });
        }
        self.index.push((time, self.bytes));
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Fills the description up to what is kept for it; false if it is longer.
fn pad(description: &mut Vec<u8>) -> bool {
    let room = RESERVED.saturating_sub(description.len());
    if room >= 8 {
        free(description, room);
    }
    description.len() == RESERVED
}
