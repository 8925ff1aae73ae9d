//! What a hand-written device sends: the pictures of a clip as a program stream over RTP, made here without the
//! gateway's own muxer (ISO/IEC 13818-1).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::interval;

/// From one picture to the next, and the same in ticks of 90 kHz.
const PICTURE: Duration = Duration::from_millis(40);
const TICKS: u32 = 3_600;
/// Bytes of the program stream in a packet.
const PAYLOAD: usize = 1_400;
/// The stream type of H.264, and the stream id of video.
const H264: u8 = 0x1B;
const VIDEO: u8 = 0xE0;

/// Pictures that go out until this is dropped.
pub(crate) struct Film {
    task: JoinHandle<()>,
}

impl Film {
    /// Sends 25 pictures a second from a socket, with this SSRC.
    pub(crate) fn start(socket: UdpSocket, to: SocketAddr, ssrc: u32) -> Film {
        let task = tokio::spawn(async move {
            let pictures = pictures();
            let (mut sequence, mut tick) = (0_u16, interval(PICTURE));
            for (number, picture) in (0_u32..).zip(pictures.iter().cycle()) {
                tick.tick().await;
                let time = number.wrapping_mul(TICKS);
                let stream = program_stream(picture, time);
                let last = stream.len().div_ceil(PAYLOAD) - 1;
                for (index, payload) in stream.chunks(PAYLOAD).enumerate() {
                    let mut packet = vec![0x80, 96 | if index == last { 0x80 } else { 0 }];
                    packet.extend(sequence.to_be_bytes());
                    packet.extend(time.to_be_bytes());
                    packet.extend(ssrc.to_be_bytes());
                    packet.extend(payload);
                    sequence = sequence.wrapping_add(1);
                    // Who does not listen any more answers by ICMP.
                    let _ = socket.send_to(&packet, to).await;
                }
            }
        });
        Film { task }
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The pictures of the clip, Annex B: ten seconds with a key frame each second.
fn pictures() -> Vec<Vec<u8>> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/simulator/clip/village.h264");
    let clip = std::fs::read(file).unwrap();
    let starts: Vec<usize> = (0..clip.len() - 4).filter(|at| clip[*at..].starts_with(&[0, 0, 1])).collect();
    let mut pictures = vec![Vec::new()];
    let mut sliced = false;
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(clip.len());
        let unit = &clip[*start + 3..end];
        let slice = matches!(unit[0] & 31, 1 | 5);
        // A picture ends before what is no slice of it, and before its next first slice.
        if sliced && (!slice || unit[1] & 0x80 != 0) {
            pictures.push(Vec::new());
            sliced = false;
        }
        sliced |= slice;
        let picture = pictures.last_mut().unwrap();
        picture.extend([0, 0, 0, 1]);
        // The zero of the next start code of four bytes, if there is one.
        picture.extend(unit.strip_suffix(&[0]).unwrap_or(unit));
    }
    pictures
}

/// A picture with pack header, a program stream map where it is a key frame, and PES packets.
fn program_stream(picture: &[u8], time: u32) -> Vec<u8> {
    let mut out = vec![0, 0, 1, 0xBA];
    let clock = u64::from(time);
    // '01', 33 bits of SCR with marker bits, 9 bits of extension, 22 bits of rate, no stuffing.
    let scr = 0b01 << 46
        | (clock >> 30 & 7) << 43
        | 1 << 42
        | (clock >> 15 & 0x7FFF) << 27
        | 1 << 26
        | (clock & 0x7FFF) << 11
        | 1 << 10
        | 1;
    out.extend(&scr.to_be_bytes()[2..]);
    out.extend([0, 0x61, 0xAB, 0xF8]);
    if picture.windows(5).any(|window| window[..4] == [0, 0, 0, 1] && window[4] & 31 == 5) {
        // The map: one stream, no descriptors, a checksum that says nothing.
        out.extend([0, 0, 1, 0xBC, 0, 14, 0xE1, 0xFF, 0, 0, 0, 4, H264, VIDEO, 0, 0]);
        let map = out[out.len() - 16..].to_vec();
        out.extend(checksum(&map).to_be_bytes());
    }
    for (index, part) in picture.chunks(60_000).enumerate() {
        out.extend([0, 0, 1, VIDEO]);
        let stamp: &[u8] = &[
            0x21 | (clock >> 29) as u8 & 0x0E,
            (clock >> 22) as u8,
            (clock >> 14) as u8 | 1,
            (clock >> 7) as u8,
            (clock << 1) as u8 | 1,
        ];
        let stamp = if index == 0 { stamp } else { &[] };
        out.extend(((3 + stamp.len() + part.len()) as u16).to_be_bytes());
        out.extend([0x80, if stamp.is_empty() { 0 } else { 0x80 }, stamp.len() as u8]);
        out.extend(stamp);
        out.extend(part);
    }
    out
}

/// CRC-32 of MPEG-2 systems (annex A): not reflected.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04C1_1DB7 }
        })
    })
}
