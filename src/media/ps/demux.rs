//! Access units out of a program stream that comes in RTP payloads.
//!
//! The parser is incremental: it may be cut anywhere between two packets. Payload is kept as slices of the
//! packets and gathered once when the unit is whole; only headers that straddle packets are copied.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use memchr::memmem;
use smallvec::SmallVec;

use super::assembly::{Assembly, Lane, Trust};
use super::clock::{Clock, Stamps};
use super::codecs::{Codecs, duration};
use super::fault::PsFault;
use super::habits::Habits;
use super::headers::{self, Header, Map, Pes, pack_code_match};
use crate::media::codec::{self, evidence};
use crate::media::unit::{AccessUnit, Codec, Track};

/// The largest access unit, in bytes. A larger one is dropped.
pub const MAX_UNIT: usize = 8 << 20;

/// The largest run of parameter sets that waits for its picture, in bytes.
const MAX_WAITING: usize = 64 << 10;

/// Events that wait to be polled; more are dropped. Between two polls only noise makes that many.
const MAX_EVENTS: usize = 8_192;

/// While no pack is found, the fault is told again each time this many bytes were skipped.
const COMPLAIN_EVERY: usize = 1 << 20;

const PREFIX: [u8; 3] = [0, 0, 1];
const PACK_CODE: [u8; 4] = [0, 0, 1, headers::PACK];

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    Unit(AccessUnit),
    Fault(PsFault),
}

/// Takes access units out of a program stream. Feed it with [`Demuxer::push`], then [`Demuxer::poll`] until None.
///
/// A picture ends at its RTP marker once the sender's markers have agreed with 25 frames in a row; until then,
/// and after a marker lied, at the next pack with another RTP time stamp or the next PES with another PTS. Sound
/// ends with its PES packet.
#[derive(Debug)]
pub struct Demuxer {
    state: State,
    /// `Boundary`: the part of a header that has come. `Open`: the part of a start code.
    carry: SmallVec<[u8; 64]>,
    /// Where bytes go that follow a PES packet although its length says that it has ended.
    overrun: Sink,
    /// Of the packet at hand.
    timestamp: u32,
    /// Bytes skipped since the stream began or was lost, and no pack was found.
    skipped: usize,
    /// The sender gives PTS, so that PES without one go on with a frame.
    gives_pts: bool,
    /// Packets were lost since the last video PES.
    after_loss: bool,
    video: Assembly,
    audio: Assembly,
    video_lane: Lane,
    audio_lane: Lane,
    trust: Trust,
    codecs: Codecs,
    clock: Clock,
    habits: Habits,
    events: VecDeque<Event>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    /// Looking for a pack, with this many bytes of its start code behind.
    Seek(usize),
    /// A start code is due.
    Boundary,
    /// In a packet with this many bytes left.
    Body { left: u16, sink: Sink },
    /// In a packet that goes on to the next start code of the program stream.
    Open(Sink),
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Sink {
    Video,
    Audio,
    Nothing,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum End {
    Marker,
    Next,
    Stream,
}

impl Default for Demuxer {
    fn default() -> Demuxer {
        Demuxer::new()
    }
}

impl Demuxer {
    pub fn new() -> Demuxer {
        Demuxer {
            state: State::Seek(0),
            carry: SmallVec::new(),
            overrun: Sink::Nothing,
            timestamp: 0,
            skipped: 0,
            gives_pts: false,
            after_loss: false,
            video: Assembly::default(),
            audio: Assembly::default(),
            video_lane: Lane::default(),
            audio_lane: Lane::default(),
            trust: Trust::default(),
            codecs: Codecs::default(),
            clock: Clock::default(),
            habits: Habits::default(),
            events: VecDeque::new(),
        }
    }

    /// The sound that the program stream map announces. It tells a first viewer of sound that begins after the
    /// first picture.
    pub fn announced_audio(&self) -> Option<Codec> {
        self.codecs.announced_audio()
    }

    /// Takes the payload of the next RTP packet in sequence; `lost_before` tells that the one before is missing.
    pub fn push(&mut self, payload: &Bytes, timestamp: u32, marker: bool, lost_before: bool) {
        if lost_before {
            self.lose();
        } else if timestamp != self.timestamp {
            self.break_off(payload);
        }
        self.timestamp = timestamp;
        let mut rest = payload.clone();
        while !rest.is_empty() {
            let used = match self.state {
                State::Seek(matched) => self.seek(&rest, matched),
                State::Boundary => self.boundary(&rest),
                State::Body { left, sink } => self.body(&rest, left, sink),
                State::Open(sink) => self.open(&rest, sink),
            };
            rest.advance(used.min(rest.len()));
        }
        if marker {
            self.marker();
        }
    }

    /// The next unit or fault, in order. Sound may come before the picture of the same time.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends the stream: what is pending becomes a unit, damaged if it is known to be cut.
    pub fn flush(&mut self) {
        match self.state {
            State::Body { sink: Sink::Video, .. } => self.video.damaged = true,
            State::Body { sink: Sink::Audio, .. } => self.audio.clear(),
            _ => self.close(),
        }
        self.finish_audio();
        self.finish_video(End::Stream);
        self.video.clear();
        self.carry.clear();
        self.state = State::Seek(0);
    }

    fn fault(&mut self, fault: PsFault) {
        self.emit(Event::Fault(fault));
    }

    fn emit(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    // States: each takes bytes from a packet that is not empty and returns how many; zero only with a change of
    // state or carry that makes the next step take some.

    fn seek(&mut self, bytes: &[u8], mut matched: usize) -> usize {
        let mut used = 0;
        while let (1.., Some(&byte)) = (matched, bytes.get(used)) {
            used += 1;
            matched = pack_code_match(matched, byte);
            if matched == PACK_CODE.len() {
                self.state = State::Boundary;
                self.carry.clear();
                self.carry.extend_from_slice(&PACK_CODE);
                return used;
            }
        }
        let rest = bytes.get(used..).unwrap_or_default();
        if let Some(at) = memmem::find(rest, &PACK_CODE) {
            self.skip(used + at);
            self.skipped = 0;
            self.state = State::Boundary;
            return used + at;
        }
        let tail = rest.get(rest.len().saturating_sub(PREFIX.len())..).unwrap_or_default();
        matched = tail.iter().fold(matched, |matched, &byte| pack_code_match(matched, byte));
        self.state = State::Seek(matched);
        self.skip(bytes.len().saturating_sub(matched));
        bytes.len()
    }

    fn skip(&mut self, bytes: usize) {
        let before = self.skipped;
        self.skipped = before.saturating_add(bytes);
        if bytes > 0 && (before == 0 || before / COMPLAIN_EVERY != self.skipped / COMPLAIN_EVERY) {
            self.fault(PsFault::NotPs);
        }
    }

    fn boundary(&mut self, bytes: &[u8]) -> usize {
        if !self.carry.is_empty() {
            return self.boundary_carried(bytes);
        }
        // Zeros before a start code are stuffing.
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        if zeros > 2 {
            return zeros - 2;
        }
        match headers::header(bytes) {
            Ok((after, header)) => {
                self.on_header(header);
                bytes.len() - after.len()
            }
            Err(nom::Err::Incomplete(_)) => {
                self.carry.extend_from_slice(bytes);
                bytes.len()
            }
            Err(_) => self.no_header(bytes),
        }
    }

    fn boundary_carried(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let want = match headers::header(&self.carry) {
                Ok((_, header)) => {
                    self.carry.clear();
                    self.on_header(header);
                    return used;
                }
                Err(nom::Err::Incomplete(nom::Needed::Size(size))) if self.carry.len() >= PREFIX.len() => {
                    size.get()
                }
                Err(nom::Err::Incomplete(_)) => 1,
                Err(_) => {
                    let carry = std::mem::take(&mut self.carry);
                    let skipped = self.no_header(&carry);
                    if let State::Open(sink) = self.state {
                        self.append(sink, Bytes::copy_from_slice(&carry));
                    } else {
                        let lost = carry.get(skipped..).unwrap_or_default();
                        let matched = lost.iter().fold(0, |matched, &byte| pack_code_match(matched, byte));
                        self.state = State::Seek(matched % PACK_CODE.len());
                    }
                    return used;
                }
            };
            let rest = bytes.get(used..).unwrap_or_default();
            match rest {
                [] => return used,
                [0, ..] if self.carry.as_slice() == [0, 0] => used += 1,
                _ => {
                    let more = rest.get(..want.min(rest.len())).unwrap_or_default();
                    self.carry.extend_from_slice(more);
                    used += more.len();
                }
            }
        }
    }

    /// Where a header was due the bytes are no header. Returns how many to pass over.
    fn no_header(&mut self, bytes: &[u8]) -> usize {
        match bytes {
            [0, 0, 1, id, ..] if headers::is_boundary(*id) => {
                self.fault(PsFault::BadHeader);
                self.video.damaged = self.video.begun;
                self.seek_next();
                1
            }
            _ => {
                // More of a frame comes with its time stamp; anything else would spoil it.
                let short = self.overrun == Sink::Video && self.video.stamps.rtp == self.timestamp;
                self.fault(if short { PsFault::PesLength } else { PsFault::Garbage });
                self.state = State::Open(if short { Sink::Video } else { Sink::Nothing });
                0
            }
        }
    }

    fn body(&mut self, bytes: &Bytes, left: u16, sink: Sink) -> usize {
        let len = bytes.len().min(left.into());
        self.state = match left.saturating_sub(u16::try_from(len).unwrap_or(left)) {
            0 => State::Boundary,
            left => State::Body { left, sink },
        };
        self.append(sink, bytes.slice(..len));
        if self.state == State::Boundary && sink == Sink::Audio {
            self.finish_audio();
        }
        len
    }

    fn open(&mut self, bytes: &Bytes, sink: Sink) -> usize {
        if let Some(&byte) = bytes.first().filter(|_| !self.carry.is_empty()) {
            match (self.carry.len(), byte) {
                (1, 0) | (2, 1) => self.carry.push(byte),
                (2, 0) => {
                    // Of a run of zeros the last two may be the start code's.
                    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
                    self.append(sink, bytes.slice(..zeros));
                    return zeros;
                }
                (3, id) if headers::is_boundary(id) => {
                    self.carry.push(id);
                    self.close_body(sink);
                }
                _ => {
                    self.append_carry(sink);
                    return 0;
                }
            }
            return 1;
        }
        for at in memmem::find_iter(bytes, &PREFIX) {
            match bytes.get(at + PREFIX.len()) {
                Some(&id) if headers::is_boundary(id) => {
                    self.append(sink, bytes.slice(..at));
                    self.close_body(sink);
                    return at;
                }
                _ => {}
            }
        }
        let held = if bytes.ends_with(&PREFIX) {
            PREFIX.len()
        } else {
            bytes.iter().rev().take(2).take_while(|&&byte| byte == 0).count()
        };
        self.append(sink, bytes.slice(..bytes.len() - held));
        if let (State::Open(_), Some(tail)) = (self.state, bytes.get(bytes.len() - held..)) {
            self.carry.extend_from_slice(tail);
        }
        bytes.len()
    }

    fn close_body(&mut self, sink: Sink) {
        if self.state == State::Open(sink) {
            self.state = State::Boundary;
            if sink == Sink::Audio {
                self.finish_audio();
            }
        }
    }

    /// What was held as the beginning of a start code was payload.
    fn append_carry(&mut self, sink: Sink) {
        let held = Bytes::from_static(&PREFIX);
        let len = self.carry.len().min(PREFIX.len());
        self.carry.clear();
        self.append(sink, held.slice(..len));
    }

    /// Ends an open packet where the frame ends.
    fn close(&mut self) {
        if let State::Open(sink) = self.state {
            self.append_carry(sink);
            self.close_body(sink);
        }
    }

    fn seek_next(&mut self) {
        self.state = State::Seek(0);
        self.carry.clear();
        self.overrun = Sink::Nothing;
        // What is skipped now has been told of already.
        self.skipped = self.skipped.max(1);
    }

    fn on_header(&mut self, header: Header) {
        self.skipped = 0;
        self.state = State::Boundary;
        self.overrun = Sink::Nothing;
        match header {
            Header::Pack => {
                if self.video.begun && self.video.stamps.rtp != self.timestamp {
                    self.finish_video(End::Next);
                }
            }
            Header::End | Header::Skip(0) => {}
            Header::System(left) => {
                self.habits.system_header();
                self.on_header(Header::Skip(left));
            }
            Header::Skip(left) => self.state = State::Body { left, sink: Sink::Nothing },
            Header::Map(map) => self.on_map(&map),
            Header::Pes(pes) => self.on_pes(pes),
        }
    }

    fn on_map(&mut self, map: &Map) {
        if !map.whole {
            self.fault(PsFault::BadMap);
        } else if !map.crc_right {
            self.fault(PsFault::MapCrc);
        }
        self.habits.map();
        self.codecs.declare(&map.entries);
    }

    fn on_pes(&mut self, pes: Pes) {
        let stamps = Stamps { pts: pes.pts, dts: pes.dts, rtp: self.timestamp };
        let sink = match pes.stream_id {
            0xE0..=0xEF if self.video_lane.admits(pes.stream_id) => {
                self.begin_video(pes.stream_id, stamps);
                Sink::Video
            }
            0xC0..=0xDF if self.audio_lane.admits(pes.stream_id) => {
                self.audio.begin(pes.stream_id, stamps, false);
                Sink::Audio
            }
            _ => Sink::Nothing,
        };
        self.overrun = if sink == Sink::Video { sink } else { Sink::Nothing };
        if pes.len.is_none() && sink == Sink::Video {
            let told = self.habits.unbounded();
            told.into_iter().for_each(|fault| self.fault(fault));
        }
        self.state = match pes.len {
            None => State::Open(sink),
            Some(0) => State::Boundary,
            Some(left) => State::Body { left, sink },
        };
    }

    /// A video PES packet has begun: of the unit at hand, or of the next.
    fn begin_video(&mut self, stream_id: u8, stamps: Stamps) {
        let old = self.video.stamps;
        let other_pts = old.pts.is_some() && old.pts != stamps.pts;
        if self.video.begun && stamps.pts.is_some() && (old.rtp != stamps.rtp || other_pts) {
            self.finish_video(End::Next);
        }
        let after_loss = std::mem::take(&mut self.after_loss);
        if self.video.begun {
            self.video.stamps.pts = old.pts.or(stamps.pts);
            self.video.stamps.dts = old.dts.or(stamps.dts);
        } else {
            // Parameter sets that came with a marker of their own are no lie.
            let lied = self.video.is_empty() && self.trust.begins(stamps);
            if lied {
                self.fault(PsFault::MarkerLied);
            }
            let goes_on = after_loss && self.gives_pts && stamps.pts.is_none();
            self.video.begin(stream_id, stamps, goes_on || lied);
        }
        self.gives_pts |= stamps.pts.is_some();
    }

    fn append(&mut self, sink: Sink, piece: Bytes) {
        let taken = match sink {
            Sink::Nothing => return,
            Sink::Audio => self.audio.push(piece, MAX_UNIT),
            Sink::Video => {
                if !piece.is_empty() && self.trust.more() {
                    self.fault(PsFault::MarkerLied);
                }
                self.video.push(piece, MAX_UNIT)
            }
        };
        if !taken {
            self.fault(PsFault::TooLarge);
            self.video.clear();
            self.audio.clear();
            self.seek_next();
        }
    }

    // Ends of units.

    fn marker(&mut self) {
        if !self.video.begun || self.video.stamps.rtp != self.timestamp {
            return;
        }
        self.trust.marker();
        let ends = match self.state {
            State::Body { .. } => false,
            State::Boundary => self.carry.iter().all(|&byte| byte == 0),
            State::Seek(_) | State::Open(_) => true,
        };
        if ends && self.trust.is_earned() {
            self.close();
            if self.state == State::Boundary {
                self.carry.clear();
            }
            self.finish_video(End::Marker);
        }
    }

    /// Packets are missing. Where the frame goes on is unknown: to the next pack.
    fn lose(&mut self) {
        self.fault(PsFault::Loss);
        self.audio.clear();
        if self.state == State::Boundary && self.carry.is_empty() && self.trust.seems_ended() {
            self.finish_video(End::Next);
        }
        self.video.damaged = self.video.begun;
        self.trust.loss();
        self.after_loss = true;
        self.seek_next();
    }

    /// A frame begins with a pack where the last packet has not ended: its length was too large.
    fn break_off(&mut self, payload: &[u8]) {
        let unfinished = match self.state {
            State::Body { .. } => true,
            State::Boundary => !self.carry.is_empty(),
            State::Seek(_) | State::Open(_) => false,
        };
        if !unfinished || !headers::begins_with_pack(payload) {
            return;
        }
        self.fault(PsFault::PesLength);
        if matches!(self.state, State::Body { sink: Sink::Audio, .. }) {
            self.finish_audio();
        }
        self.carry.clear();
        self.state = State::Boundary;
    }

    fn finish_video(&mut self, end: End) {
        if !self.video.begun {
            return;
        }
        match end {
            End::Marker => self.trust.ended_by_marker(self.video.stamps),
            End::Next => self.trust.ended_by_next(),
            End::Stream => {}
        }
        let (stream_id, stamps, damaged) = (self.video.stream_id, self.video.stamps, self.video.damaged);
        let payload = self.video.gather();
        let nals = codec::split_annex_b(&payload);
        let found = evidence(nals.iter().filter_map(|range| codec::nal_in(&payload, range)));
        let (codec, lied) = self.codecs.video(stream_id, found);
        if lied {
            self.fault(PsFault::MapLied);
        }
        let Some(codec) = codec else { return self.fault(PsFault::UnknownCodec) };
        let mut pictures = nals.iter().filter_map(|range| codec::nal_in(&payload, range));
        if !pictures.any(|nal| codec::is_picture(codec, nal)) {
            // Parameter sets in a frame of their own belong to the picture that follows.
            if payload.len() > MAX_WAITING {
                self.fault(PsFault::Garbage);
            } else if !damaged && end != End::Stream {
                self.video.keep_for_next(payload);
            }
            return;
        }
        let placed = self.clock.place(Track::Video, stamps, None);
        if placed.jumped {
            self.fault(PsFault::TimeJump);
        }
        let unit = AccessUnit::with_nals(codec, placed.pts, placed.dts, payload, nals);
        // Where something was lost it may have been that.
        if !damaged {
            let told = self.habits.picture(unit.key);
            told.into_iter().flatten().for_each(|fault| self.fault(fault));
        }
        self.emit(Event::Unit(AccessUnit { damaged, ..unit }));
    }

    fn finish_audio(&mut self) {
        if !self.audio.begun {
            return;
        }
        let (stream_id, stamps) = (self.audio.stream_id, self.audio.stamps);
        let payload = self.audio.gather();
        if payload.is_empty() {
            return;
        }
        let codec = self.codecs.audio(stream_id, &payload);
        let placed = self.clock.place(Track::Audio, stamps, duration(codec, payload.len()));
        if placed.jumped {
            self.fault(PsFault::TimeJump);
        }
        self.emit(Event::Unit(AccessUnit::new(codec, placed.pts, placed.dts, payload)));
    }
}
