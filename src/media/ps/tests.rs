//! The demuxer against the muxer, against hand-made streams with the faults of real senders, and against noise.

use bytes::{BufMut, Bytes, BytesMut};

use super::*;
use crate::media::codec::START_CODE;
use crate::media::unit::{AccessUnit, Codec, Track};

mod faults;
mod round_trip;

/// One RTP packet's worth.
#[derive(Clone, Debug)]
struct Packet {
    bytes: Bytes,
    timestamp: u32,
    marker: bool,
    lost_before: bool,
}

fn packet(bytes: impl Into<Bytes>, timestamp: u32, marker: bool) -> Packet {
    Packet { bytes: bytes.into(), timestamp, marker, lost_before: false }
}

#[derive(Default)]
struct Run {
    units: Vec<AccessUnit>,
    faults: Vec<PsFault>,
    /// What the sender leaves out. Streams made by hand leave out much.
    habits: Vec<PsFault>,
}

impl Run {
    fn of(&self, track: Track) -> Vec<&AccessUnit> {
        self.units.iter().filter(|unit| unit.track() == track).collect()
    }

    fn payloads(&self) -> Vec<Bytes> {
        self.of(Track::Video).iter().map(|unit| unit.payload.clone()).collect()
    }

    fn drain(&mut self, demuxer: &mut Demuxer) {
        while let Some(event) = demuxer.poll() {
            match event {
                Event::Unit(unit) => self.units.push(unit),
                Event::Fault(habit @ (PsFault::NoMap | PsFault::NoSystemHeader | PsFault::LengthZero)) => {
                    self.habits.push(habit)
                }
                Event::Fault(fault) => self.faults.push(fault),
            }
        }
    }

    fn push(&mut self, demuxer: &mut Demuxer, packet: &Packet) {
        demuxer.push(&packet.bytes, packet.timestamp, packet.marker, packet.lost_before);
        self.drain(demuxer);
    }
}

fn demux<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Run {
    let (mut demuxer, mut run) = (Demuxer::new(), Run::default());
    for packet in packets {
        run.push(&mut demuxer, packet);
    }
    demuxer.flush();
    run.drain(&mut demuxer);
    run
}

#[test]
fn what_a_sender_leaves_out_is_told_once() {
    let whole = demux(&packetise(&packs(&pictures(40), None), true));
    assert_eq!((whole.faults, whole.habits), (vec![], vec![]), "our own muxer leaves out nothing");
    let bare: Vec<Packet> = packs(&pictures(40), None)
        .into_iter()
        .map(|(pack, timestamp)| {
            // A pack header of 14 bytes, then what begins with the first video PES, its length set to 0.
            let video = pack.windows(4).position(|code| code == [0, 0, 1, 0xE0]).unwrap();
            let mut bytes = [&pack[..14], &pack[video..]].concat();
            bytes[14 + 4..14 + 6].fill(0);
            packet(bytes, timestamp, true)
        })
        .collect();
    let run = demux(&bare);
    assert_eq!(run.habits, [PsFault::LengthZero, PsFault::NoMap, PsFault::NoSystemHeader]);
    assert_eq!(run.of(Track::Video).len(), 40);
}

fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&START_CODE[..], nal].concat()).collect()
}

/// A picture of H.264 whose bytes tell its number, with parameter sets if it is a key frame.
fn h264(number: u32, key: bool, len: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_add(number as u8) | 1).collect();
    if key {
        annex_b(&[&[0x67, 0x42, 0xC0, 0x1E], &[0x68, 0xCE], &[&[0x65, 0x88], &body[..]].concat()])
    } else {
        annex_b(&[&[&[0x41, 0x9A], &body[..]].concat()])
    }
}

fn h265(number: u32, key: bool, len: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_add(number as u8) | 1).collect();
    if key {
        annex_b(&[&[0x40, 1, 7], &[0x42, 1, 7], &[0x44, 1, 7], &[&[0x26, 1], &body[..]].concat()])
    } else {
        annex_b(&[&[&[0x02, 1], &body[..]].concat()])
    }
}

/// `count` pictures, 25 a second, a key frame every ten.
fn pictures(count: u32) -> Vec<AccessUnit> {
    (0..count)
        .map(|n| {
            let time = i64::from(n) * 3600;
            AccessUnit::new(Codec::H264, time, time, h264(n, n.is_multiple_of(10), 3000).into())
        })
        .collect()
}

/// The pack of each unit with its RTP time stamp.
fn packs(units: &[AccessUnit], audio: Option<Codec>) -> Vec<(Bytes, u32)> {
    let video = units.iter().find(|unit| unit.track() == Track::Video).map_or(Codec::H264, |unit| unit.codec);
    let mut muxer = Muxer::new(video, audio);
    let pack = |unit: &AccessUnit| {
        let mut out = BytesMut::new();
        muxer.mux(unit, &mut out);
        (out.freeze(), (unit.dts as u32).wrapping_add(12_345))
    };
    units.iter().map(pack).collect()
}

fn packetise(packs: &[(Bytes, u32)], markers: bool) -> Vec<Packet> {
    let cut = |(pack, timestamp): &(Bytes, u32)| {
        let timestamp = *timestamp;
        Packetiser::default()
            .packetise(pack.clone())
            .map(move |payload| packet(payload.bytes, timestamp, payload.marker && markers))
    };
    packs.iter().flat_map(cut).collect()
}

// Hand-made parts of a program stream, independent of the muxer.

const PACK: [u8; 14] = [0, 0, 1, 0xBA, 0x44, 0, 0x16, 0xFC, 0x84, 1, 3, 0x0D, 0x43, 0xF8];

fn part(id: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 1, id];
    out.put_u16(body.len() as u16);
    out.extend_from_slice(body);
    out
}

fn map(entries: &[(u8, u8)]) -> Vec<u8> {
    let mut body = vec![0xE1, 0xFF, 0, 0];
    body.put_u16(4 * entries.len() as u16);
    for (stream_type, id) in entries {
        body.extend_from_slice(&[*stream_type, *id, 0, 0]);
    }
    body.extend_from_slice(&[0; 4]);
    let mut out = part(0xBC, &body);
    let end = out.len() - 4;
    let crc = super::headers::crc32(&out[..end]);
    out.truncate(end);
    out.put_u32(crc);
    out
}

fn pts_field(pts: u64) -> [u8; 5] {
    let (high, middle, low) = (pts >> 30 & 7, pts >> 15 & 0x7FFF, pts & 0x7FFF);
    let (middle, low) = ((middle << 1 | 1) as u16, (low << 1 | 1) as u16);
    let ([b, c], [d, e]) = (middle.to_be_bytes(), low.to_be_bytes());
    [0x21 | (high << 1) as u8, b, c, d, e]
}

fn pes(id: u8, pts: Option<u64>, payload: &[u8]) -> Vec<u8> {
    let header = match pts {
        Some(pts) => [&[0x80, 0x80, 5][..], &pts_field(pts)].concat(),
        None => vec![0x80, 0, 0],
    };
    part(id, &[&header[..], payload].concat())
}

/// A PES packet with length zero.
fn open_pes(id: u8, pts: Option<u64>, payload: &[u8]) -> Vec<u8> {
    let mut out = pes(id, pts, payload);
    out[4] = 0;
    out[5] = 0;
    out
}
