//! `gbgate inspect`: what is in a file of media or of captured packets, and what in it departs from the standard.

mod capture;
mod file;
mod network;
#[cfg(test)]
mod tests;
mod track;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use serde::Serialize;

use crate::gb::conformance::Rule;
use crate::media::codec::evidence;
use crate::media::unit::Codec;
use track::TrackReport;

/// Departures that are told of; of more only the number.
const MAX_DEPARTURES: usize = 10_000;
/// The largest file that is read.
const MAX_FILE: u64 = 4 << 30;

/// What was found in a file. Its `Display` is for people.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    format: &'static str,
    streams: Vec<StreamReport>,
    /// Messages of SIP in a capture, by method or status code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signalling: Vec<(String, u64)>,
    departures: Vec<Departure>,
    /// Departures beyond those that are listed.
    #[serde(skip_serializing_if = "is_zero")]
    more: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// A stream with its tracks.
#[derive(Clone, Debug, Serialize)]
struct StreamReport {
    name: String,
    tracks: Vec<TrackReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network>,
}

/// How a stream came over the network.
#[derive(Clone, Debug, Serialize)]
struct Network {
    packets: u64,
    lost: u64,
    /// In milliseconds.
    jitter: f64,
}

/// A departure from the standard.
#[derive(Clone, Debug, Serialize)]
struct Departure {
    /// In the file, of the packet or pack in which it was seen.
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
    #[serde(skip_serializing_if = "str::is_empty")]
    clause: &'static str,
    what: String,
}

/// Departures as they are found.
#[derive(Debug, Default)]
struct Findings {
    listed: Vec<Departure>,
    more: u64,
}

impl Findings {
    fn add(&mut self, offset: u64, rule: Rule, sample: String) {
        let what =
            if sample.is_empty() { rule.says().to_owned() } else { format!("{} ({sample})", rule.says()) };
        self.push(Departure { offset, rule: Some(rule), clause: rule.clause(), what });
    }

    fn push(&mut self, departure: Departure) {
        if self.listed.len() < MAX_DEPARTURES {
            self.listed.push(departure);
        } else {
            self.more += 1;
        }
    }
}

impl Report {
    fn new(findings: Findings) -> Report {
        let Findings { mut listed, more } = findings;
        listed.sort_by_key(|departure| departure.offset);
        Report {
            format: "",
            streams: Vec::new(),
            signalling: Vec::new(),
            departures: listed,
            more,
            notes: Vec::new(),
        }
    }

    /// Whether nothing in the file departs from the standard.
    pub fn is_clean(&self) -> bool {
        self.departures.is_empty()
    }
}

/// Reads a file and looks into it. The name's ending says what it is where the content does not.
pub fn inspect(path: &Path) -> anyhow::Result<Report> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    anyhow::ensure!(size <= MAX_FILE, "{} is larger than 4 GiB: cut a part out of it", path.display());
    let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    look(&Bytes::from(file), &ending)
        .with_context(|| format!("{} is none of: program stream, H.264, H.265, pcap, pcapng", path.display()))
}

/// As [`inspect`], of what was read already; `ending` is that of the file's name. `None`: it is nothing known.
pub fn look(file: &Bytes, ending: &str) -> Option<Report> {
    if let Ok(capture) = capture::Capture::open(file.clone()) {
        return Some(network::capture(capture));
    }
    let begins_with_pack = file.starts_with(&[0, 0, 1, 0xBA]);
    match ending {
        "h264" | "264" | "avc" => Some(file::elementary_stream(file, Codec::H264)),
        "h265" | "265" | "hevc" => Some(file::elementary_stream(file, Codec::H265)),
        "ps" | "mpg" | "mpeg" | "vob" => Some(file::program_stream(file)),
        _ if begins_with_pack => Some(file::program_stream(file)),
        _ => guess(file).map(|codec| file::elementary_stream(file, codec)),
    }
}

/// The codec that the first NAL units show.
fn guess(file: &Bytes) -> Option<Codec> {
    let head = file.slice(..file.len().min(1 << 20));
    let nals = crate::media::codec::split_annex_b(&head);
    let found = evidence(nals.iter().filter_map(|range| head.get(range.start as usize..range.end as usize)));
    match (found.h264, found.h265) {
        (0, 0) => None,
        (h264, h265) if h264 >= h265 => Some(Codec::H264),
        _ => Some(Codec::H265),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.format)?;
        for (what, count) in &self.signalling {
            writeln!(f, "  SIP {what:<12} {count}")?;
        }
        for stream in &self.streams {
            writeln!(f, "{}", stream.name)?;
            if let Some(Network { packets, lost, jitter }) = &stream.network {
                writeln!(f, "  {packets} RTP packets, {lost} lost, jitter {jitter:.1} ms")?;
            }
            for track in &stream.tracks {
                write_track(f, track)?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        if self.departures.is_empty() {
            return writeln!(f, "no departure from the standard was found");
        }
        writeln!(f, "{} departures from the standard:", self.departures.len() as u64 + self.more)?;
        for Departure { offset, clause, what, .. } in &self.departures {
            writeln!(f, "  {offset:#010x}  {what}{}{clause}", if clause.is_empty() { "" } else { "  " })?;
        }
        if self.more > 0 {
            writeln!(f, "  and {} more", self.more)?;
        }
        Ok(())
    }
}

fn write_track(f: &mut fmt::Formatter<'_>, track: &TrackReport) -> fmt::Result {
    write!(f, "  {}", track.codec)?;
    if let Some((width, height)) = track.size {
        write!(f, " {width}x{height}")?;
    }
    if let Some(fps) = track.fps {
        write!(f, ", {fps:.2} pictures a second")?;
    }
    write!(f, ", {} units", track.units)?;
    if let (Some(keys), Some(gop)) = (track.key_frames, track.longest_gop) {
        write!(f, ", {keys} key frames, longest group {gop}")?;
    }
    if track.seconds > 0.0 {
        write!(f, ", {:.1} s, {} kbit/s", track.seconds, track.bit_rate / 1000)?;
    }
    if track.reordered {
        write!(f, ", with B pictures")?;
    }
    if track.damaged > 0 {
        write!(f, ", {} damaged", track.damaged)?;
    }
    writeln!(f)
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}
