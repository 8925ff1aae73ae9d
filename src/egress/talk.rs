//! Sound to devices: what a browser says, as RTP packets of PCMA (GB/T 28181 annex C.2.4: payload type 8).
//!
//! Browsers send packets of their own size, lose some and stop at will. Devices play what comes with little
//! buffering, and many look at nothing but the sequence: out come packets of 20 ms whose numbers have no gaps.
//! Short losses are filled with silence; a longer pause is a jump of the time stamps with the marker set (RFC
//! 3551 section 4.1).

use bytes::{Bytes, BytesMut};

use super::webrtc::Sound;
use crate::media::codec::g711::{self, SAMPLE_RATE};
use crate::media::rtp::{HEADER_LEN, Header, frame};
use crate::media::unit::Codec;

/// Samples of a packet: 20 ms.
const PACKET: usize = SAMPLE_RATE as usize / 50;
/// A gap of up to this many samples is filled with silence.
const MAX_FILL: i32 = SAMPLE_RATE as i32 / 5;
const AFTER_FILL: i32 = MAX_FILL + 1;
/// Time stamps this far back are of packets that come late or twice; further back they begin anew.
const MAX_LATE: i32 = SAMPLE_RATE as i32;
/// A pause longer than an hour is none: the time stamps begin anew.
const MAX_PAUSE: i32 = SAMPLE_RATE as i32 * 3600;

/// How the packets are wanted.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// As agreed in SDP (`y=`).
    pub ssrc: u32,
    /// 8 unless the device named another in its offer.
    pub payload_type: u8,
    /// Whether each packet stands behind its length, for TCP (RFC 4571).
    pub framed: bool,
}

/// Packets for one device. Give it what [`Sounds`](super::webrtc::Sounds) gives.
#[derive(Debug)]
pub struct Talk {
    config: Config,
    sequence: u16,
    /// Of the first sample that waits, as the device sees it.
    timestamp: u32,
    /// The time stamp that the next packet of the browser should have.
    expected: Option<u32>,
    marker: bool,
    /// Less than a packet.
    waiting: Vec<u8>,
    packets: u64,
}

impl Talk {
    /// `random` chooses where the numbers begin.
    pub fn new(config: Config, random: u64) -> Self {
        Self {
            config,
            sequence: random as u16,
            timestamp: (random >> 16) as u32,
            expected: None,
            marker: true,
            waiting: Vec::with_capacity(PACKET),
            packets: 0,
        }
    }

    /// Adds the packets that are full to `out`, ready to be sent.
    pub fn push(&mut self, sound: &Sound, out: &mut Vec<Bytes>) {
        let mut payload = &sound.payload[..];
        let gap = self.expected.map_or(0, |expected| sound.timestamp.wrapping_sub(expected).cast_signed());
        match gap {
            0 => {}
            1..=MAX_FILL => self.fill(gap.unsigned_abs() as usize, out),
            AFTER_FILL..=MAX_PAUSE => {
                let filled = self.flush(out);
                self.timestamp = self.timestamp.wrapping_add(gap.unsigned_abs() - filled);
            }
            // What is new of it, if anything is.
            _ if (-MAX_LATE..0).contains(&gap) => {
                let Some(rest) = payload.get(gap.unsigned_abs() as usize..) else { return };
                payload = rest;
            }
            _ => {
                self.flush(out);
            }
        }
        if payload.is_empty() {
            return;
        }
        let samples = sound.payload.len() as u32;
        self.expected = Some(sound.timestamp.wrapping_add(samples));
        for sample in payload {
            self.add(g711::to_pcma(sound.codec, *sample), out);
        }
    }

    /// Packets given out so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    fn fill(&mut self, samples: usize, out: &mut Vec<Bytes>) {
        for _ in 0..samples {
            self.add(g711::silence(Codec::Pcma), out);
        }
    }

    /// Fills up the packet that waits, and gives by how many samples; the next one begins to speak anew.
    fn flush(&mut self, out: &mut Vec<Bytes>) -> u32 {
        let missing = if self.waiting.is_empty() { 0 } else { PACKET - self.waiting.len() };
        self.fill(missing, out);
        self.marker = true;
        missing as u32
    }

    fn add(&mut self, sample: u8, out: &mut Vec<Bytes>) {
        self.waiting.push(sample);
        if self.waiting.len() < PACKET {
            return;
        }
        let header = Header {
            payload_type: self.config.payload_type,
            marker: std::mem::take(&mut self.marker),
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.config.ssrc,
        };
        let mut packet = BytesMut::with_capacity(2 + HEADER_LEN + PACKET);
        header.write(&mut packet);
        packet.extend_from_slice(&self.waiting);
        if self.config.framed {
            let mut framed = BytesMut::with_capacity(2 + packet.len());
            // It never is too long for its length.
            let _ = frame(&packet, &mut framed);
            packet = framed;
        }
        out.push(packet.freeze());
        self.waiting.clear();
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(PACKET as u32);
        self.packets += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::{Deframer, Packet};
    use proptest::prelude::*;

    const CONFIG: Config = Config { ssrc: 100_000_001, payload_type: 8, framed: false };

    fn sound(timestamp: u32, payload: Vec<u8>) -> Sound {
        Sound { codec: Codec::Pcma, timestamp, payload: payload.into() }
    }

    /// What the device gets of browser packets with these time stamps and lengths.
    fn packets(sounds: &[(u32, usize)]) -> Vec<Packet> {
        let mut talk = Talk::new(CONFIG, 0);
        let mut out = Vec::new();
        sounds.iter().for_each(|(at, len)| talk.push(&sound(*at, vec![1; *len]), &mut out));
        assert_eq!(talk.packets(), out.len() as u64);
        out.into_iter().map(|packet| Packet::parse(packet).unwrap()).collect()
    }

    fn stamps(packets: &[Packet]) -> Vec<(u32, bool)> {
        packets.iter().map(|packet| (packet.timestamp, packet.marker)).collect()
    }

    #[test]
    fn packets_of_any_size_become_packets_of_20_ms() {
        let found = packets(&[(1000, 80), (1080, 240), (1320, 480)]);
        assert_eq!(stamps(&found), [(0, true), (160, false), (320, false), (480, false), (640, false)]);
        assert!(found.iter().all(|p| p.payload.len() == 160 && p.ssrc == CONFIG.ssrc && p.payload_type == 8));
        assert!(found.iter().enumerate().all(|(n, p)| p.sequence == n as u16));
    }

    #[test]
    fn a_short_loss_is_silence_and_a_pause_a_jump() {
        let found = packets(&[(u32::MAX - 159, 160), (160, 160), (8000, 80), (16_000, 160)]);
        assert_eq!(stamps(&found), [(0, true), (160, false), (320, false), (8160, true), (16_160, true)]);
        assert!(found[1].payload.iter().all(|sample| *sample == 0xD5));
        assert_eq!((found[3].payload[79], found[3].payload[80]), (1, 0xD5), "the rest of it is silence");
        assert!(found.iter().enumerate().all(|(n, p)| p.sequence == n as u16), "numbers have no gaps");
    }

    #[test]
    fn what_comes_late_is_left_out_and_another_time_line_goes_on() {
        let found =
            packets(&[(50_000, 160), (50_160, 160), (50_000, 160), (50_240, 160), (9, 80), (1 << 30, 160)]);
        assert_eq!(stamps(&found), [(0, true), (160, false), (320, false), (480, true), (640, true)]);
    }

    #[test]
    fn the_law_is_changed_and_packets_are_framed() {
        let mut talk = Talk::new(Config { framed: true, ..CONFIG }, 7);
        let mut out = Vec::new();
        let pcmu = Sound { codec: Codec::Pcmu, timestamp: 0, payload: vec![0xFF; 320].into() };
        talk.push(&pcmu, &mut out);
        let mut deframer = Deframer::new();
        out.iter().for_each(|bytes| deframer.push(bytes));
        let found: Vec<_> = std::iter::from_fn(|| deframer.next()).map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(Packet::parse(found[0].clone()).unwrap().payload[..], [0xD5; 160]);
    }

    proptest! {
        #[test]
        fn time_goes_on_and_what_waits_is_bounded(sounds in prop::collection::vec((any::<u32>(), 0usize..2000), 0..50)) {
            let found = packets(&sounds);
            for pair in found.windows(2) {
                let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
                prop_assert!(step >= 160 && (step == 160 || pair[1].marker));
                prop_assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            }
        }
    }
}
