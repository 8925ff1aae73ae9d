//! Access units into a program stream, one pack each.

use bytes::{BufMut, BytesMut};

use super::codecs::stream_type;
use super::headers::{self, crc32};
use crate::media::unit::{AccessUnit, CLOCK, Codec, Track};

const VIDEO_ID: u8 = 0xE0;
const AUDIO_ID: u8 = 0xC0;

/// Payload of one PES packet, in bytes. The length field holds 65,535; peers are known that mind the last few.
const MAX_PES_PAYLOAD: usize = 65_000;

/// The rate that is announced, in units of 50 bytes a second: 20 Mbit/s.
const MUX_RATE: u32 = 50_000;

/// How long before its decoding time the bytes of a unit are said to arrive, in ticks of 90 kHz. It is also how
/// far sound and picture may be apart without the system clock going back.
const LEAD: i64 = CLOCK / 10;

/// The system clock is set back if units are this far behind it, in ticks of 90 kHz.
const MAX_BACK: i64 = 10 * CLOCK;

const MASK_33: u64 = (1 << 33) - 1;

/// Puts access units into a program stream as GB/T 28181 wants it (annex C.1): one pack for each, system header
/// and program stream map before each key frame.
#[derive(Debug)]
pub struct Muxer {
    /// System header and program stream map, ready to be copied.
    tables: Vec<u8>,
    video: Codec,
    audio: Option<Codec>,
    /// The system clock of the last pack.
    scr: Option<i64>,
}

impl Muxer {
    pub fn new(video: Codec, audio: Option<Codec>) -> Muxer {
        let mut tables = Vec::with_capacity(64);
        write_system_header(&mut tables, audio.is_some());
        write_map(&mut tables, video, audio);
        Muxer { tables, video, audio, scr: None }
    }

    /// Appends the pack of one unit to `out`. A unit of a codec that was not announced adds nothing.
    pub fn mux(&mut self, unit: &AccessUnit, out: &mut BytesMut) {
        let announced = match unit.track() {
            Track::Video => unit.codec == self.video,
            Track::Audio => Some(unit.codec) == self.audio,
        };
        if !announced || unit.payload.is_empty() {
            return;
        }
        let packets = unit.payload.len().div_ceil(MAX_PES_PAYLOAD);
        out.reserve(14 + self.tables.len() + packets * 19 + unit.payload.len());
        let begins = self.scr.is_none();
        self.write_pack_header(unit.dts, out);
        let id = match unit.track() {
            Track::Video => VIDEO_ID,
            Track::Audio => AUDIO_ID,
        };
        if begins || id == VIDEO_ID && unit.key {
            out.put_slice(&self.tables);
        }
        for (index, piece) in unit.payload.chunks(MAX_PES_PAYLOAD).enumerate() {
            let times = (index == 0).then_some((unit.pts, unit.dts));
            write_pes_header(id, piece.len(), times, out);
            out.put_slice(piece);
        }
    }

    fn write_pack_header(&mut self, dts: i64, out: &mut BytesMut) {
        let due = dts.saturating_sub(LEAD).max(0);
        let scr = match self.scr {
            Some(last) if due <= last && last - due < MAX_BACK => last + 1,
            _ => due,
        };
        self.scr = Some(scr);
        let base = wire_time(scr);
        // 01, base in 3 + 15 + 15 bits with a marker after each, nine bits of extension (zero), a marker.
        let clock = 1 << 46
            | (base >> 30 & 7) << 43
            | 1 << 42
            | (base >> 15 & 0x7FFF) << 27
            | 1 << 26
            | (base & 0x7FFF) << 11
            | 1 << 10
            | 1;
        out.put_slice(&[0, 0, 1, headers::PACK]);
        out.put_uint(clock, 6);
        out.put_uint(u64::from(MUX_RATE << 2 | 0b11), 3);
        out.put_u8(0xF8);
    }
}

fn wire_time(ticks: i64) -> u64 {
    ticks.cast_unsigned() & MASK_33
}

/// 2.5.3.5. Buffer sizes: 232 KiB for the picture, 4 KiB for sound.
fn write_system_header(out: &mut Vec<u8>, audio: bool) {
    out.put_slice(&[0, 0, 1, headers::SYSTEM]);
    out.put_u16(if audio { 12 } else { 9 });
    out.put_uint(u64::from(1 << 23 | MUX_RATE << 1 | 1), 3);
    out.put_u8(u8::from(audio) << 2);
    // No locks, marker, one video stream; no packet rate restriction.
    out.put_slice(&[0x21, 0x7F]);
    out.put_slice(&[VIDEO_ID, 0xE0, 0xE8]);
    if audio {
        out.put_slice(&[AUDIO_ID, 0xC0, 0x20]);
    }
}

/// 2.5.4.1.
fn write_map(out: &mut Vec<u8>, video: Codec, audio: Option<Codec>) {
    let start = out.len();
    let entries = if audio.is_some() { 8 } else { 4 };
    out.put_slice(&[0, 0, 1, headers::MAP]);
    out.put_u16(2 + 2 + 2 + entries + 4);
    // Current, version 1; no descriptors of the program.
    out.put_slice(&[0xE1, 0xFF, 0, 0]);
    out.put_u16(entries);
    out.put_slice(&[stream_type(video), VIDEO_ID, 0, 0]);
    if let Some(audio) = audio {
        out.put_slice(&[stream_type(audio), AUDIO_ID, 0, 0]);
    }
    let crc = crc32(out.get(start..).unwrap_or_default());
    out.put_u32(crc);
}

/// 2.4.3.6: the first packet of a unit has its times, the others have none.
fn write_pes_header(id: u8, len: usize, times: Option<(i64, i64)>, out: &mut BytesMut) {
    let times = times.map(|(pts, dts)| (wire_time(pts), wire_time(dts)));
    // Flags: '10', and data alignment where a unit begins.
    let (alignment, present, header) = match times {
        None => (0x80, 0x00, 0),
        Some((pts, dts)) if pts == dts => (0x84, 0x80, 5),
        Some(_) => (0x84, 0xC0, 10),
    };
    out.put_slice(&[0, 0, 1, id]);
    out.put_u16(u16::try_from(3 + usize::from(header) + len).unwrap_or(0));
    out.put_slice(&[alignment, present, header]);
    match times {
        None => {}
        Some((pts, dts)) if pts == dts => write_time(0b0010, pts, out),
        Some((pts, dts)) => {
            write_time(0b0011, pts, out);
            write_time(0b0001, dts, out);
        }
    }
}

fn write_time(prefix: u64, time: u64, out: &mut BytesMut) {
    let field = prefix << 36
        | (time >> 30 & 7) << 33
        | 1 << 32
        | (time >> 15 & 0x7FFF) << 17
        | 1 << 16
        | (time & 0x7FFF) << 1
        | 1;
    out.put_uint(field, 5);
}
