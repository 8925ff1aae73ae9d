//! Program streams and elementary streams in files: what is in them, and where they depart from the standard.

use bytes::Bytes;
use memchr::memmem;

use super::track::Tracks;
use super::{Departure, Findings, Report, StreamReport};
use crate::gb::conformance::Rule;
use crate::media::codec::{self, h264, h265};
use crate::media::ps::{Demuxer, Event};
use crate::media::unit::{AccessUnit, CLOCK, Codec};
use crate::net::clock;
use crate::node::rule_of;

/// The step between pictures where nothing tells it: 25 a second.
const STEP: i64 = CLOCK / 25;

/// A program stream as it lies in a file, or was put together from RTP.
pub(super) fn program_stream(file: &Bytes) -> Report {
    let mut findings = Findings::default();
    let mut tracks = Tracks::new(clock::now());
    let mut demuxer = Demuxer::new();
    let begins: Vec<usize> = memmem::find_iter(file, &[0, 0, 1, 0xBA]).collect();
    if begins.first() != Some(&0) {
        let end = begins.first().copied().unwrap_or(file.len());
        findings.add(0, Rule::PsSyncLost, format!("{end} bytes before the first pack"));
    }
    for (number, &begin) in begins.iter().enumerate() {
        let end = begins.get(number + 1).copied().unwrap_or(file.len());
        // Each pack is given a time of its own, as each frame has one in RTP.
        demuxer.push(&file.slice(begin..end), (number as u32).wrapping_mul(STEP as u32), false, false);
        drain(&mut demuxer, begin as u64, &mut tracks, &mut findings);
    }
    demuxer.flush();
    drain(&mut demuxer, file.len() as u64, &mut tracks, &mut findings);
    let stream = StreamReport { name: "program stream".to_owned(), tracks: tracks.report(), network: None };
    Report { format: "MPEG program stream", streams: vec![stream], ..Report::new(findings) }
}

/// Takes out what the demuxer has found; `offset` is where it has come to.
pub(super) fn drain(demuxer: &mut Demuxer, offset: u64, tracks: &mut Tracks, findings: &mut Findings) {
    while let Some(event) = demuxer.poll() {
        match event {
            Event::Unit(unit) => {
                tracks.add(unit);
            }
            Event::Fault(fault) => match rule_of(fault) {
                Some(rule) => findings.add(offset, rule, fault.to_string()),
                None => findings.push(Departure { offset, rule: None, clause: "", what: fault.to_string() }),
            },
        }
    }
}

/// An elementary stream of H.264 or H.265 in Annex B.
pub(super) fn elementary_stream(file: &Bytes, codec: Codec) -> Report {
    let mut findings = Findings::default();
    let mut tracks = Tracks::new(clock::now());
    let (mut begin, mut picture, mut sets, mut number) = (0, false, false, 0);
    let mut close = |begin: usize, end: usize, sets: bool, findings: &mut Findings| {
        let time = number * STEP;
        let unit = AccessUnit::new(codec, time, time, file.slice(begin..end));
        if unit.key && !sets {
            let what = "a key frame without its parameter sets before it";
            findings.add(begin as u64, Rule::NoParameterSets, what.to_owned());
        }
        tracks.add(unit);
        number += 1;
    };
    let codes: Vec<usize> = memmem::find_iter(file, &[0, 0, 1]).collect();
    for (index, &code) in codes.iter().enumerate() {
        let end = codes.get(index + 1).copied().unwrap_or(file.len());
        let nal = file.get(code + 3..end).unwrap_or_default();
        let is_picture = codec::is_picture(codec, nal);
        // A unit ends before the first NAL unit that cannot be of the same picture.
        if picture && (!is_picture || is_first_slice(codec, nal)) {
            close(begin, code, sets, &mut findings);
            (begin, picture, sets) = (code, false, false);
        }
        picture |= is_picture;
        sets |= is_sequence(codec, nal);
    }
    if picture {
        close(begin, file.len(), sets, &mut findings);
    }
    if codes.is_empty() {
        findings.add(0, Rule::CodecUnknown, "no start code of Annex B".to_owned());
    }
    let mut tracks = tracks.report();
    for track in &mut tracks {
        // An elementary stream has no times: what was made up is not told.
        (track.fps, track.seconds, track.bit_rate) = (None, 0.0, 0);
    }
    let stream = StreamReport { name: "elementary stream".to_owned(), tracks, network: None };
    Report { format: "elementary stream", streams: vec![stream], ..Report::new(findings) }
}

/// Whether a slice is the first of its picture: its first number is 0, which is a single bit.
fn is_first_slice(codec: Codec, nal: &[u8]) -> bool {
    let at = if codec == Codec::H264 { 1 } else { 2 };
    nal.get(at).is_some_and(|byte| byte & 0x80 != 0)
}

fn is_sequence(codec: Codec, nal: &[u8]) -> bool {
    match codec {
        Codec::H264 => h264::nal_type(nal) == h264::SPS,
        _ => h265::nal_type(nal) == h265::SPS,
    }
}
