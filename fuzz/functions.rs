//! What is fuzzed: a function for each parser that meets bytes from the network. `cargo fuzz` drives them for long,
//! `tests/fuzz.rs` for some seconds in every test run. Each panics where a promise is broken.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gbgate::gb::charset::History;
use gbgate::gb::manscdp::{self, CatalogPage, DeviceInfo, Keepalive};
use gbgate::gb::{ptz, sdp};
use gbgate::media::ps::Demuxer;
use gbgate::media::rtp::{Deframer, Packet, Reorder, Wait, rtcp as rtcp_packets};
use gbgate::media::{codec, unit::Codec};
use gbgate::sip::digest::{Challenge, Credentials};
use gbgate::sip::framer::{Framer, Limits};
use gbgate::sip::{Frame, Message};

/// A datagram: what is read can be written and read again with the same meaning.
pub fn sip_datagram(data: &[u8]) {
    if let Ok(message) = Message::parse(&Bytes::copy_from_slice(data)) {
        look_at(&message);
        let again = Message::parse(&message.to_bytes()).expect("what was written can be read");
        assert_eq!(again.body, message.body);
        assert_eq!(again.code(), message.code());
        assert_eq!(again.method(), message.method());
        assert_eq!(again.call_id(), message.call_id());
    }
}

fn look_at(message: &Message) {
    let _ = (message.via(), message.from(), message.to(), message.contact(), message.cseq());
    let _ = (message.expires(), message.max_forwards(), message.content_type());
    if message.is_request() {
        let _ = message.response(400).to_bytes();
    }
}

/// A stream in pieces: the same messages come out however it is cut.
pub fn sip_stream(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let whole = frames(data, data.len().max(1));
    let pieces = frames(data, usize::from(cut).max(1));
    assert_eq!(whole, pieces);
}

fn frames(data: &[u8], piece: usize) -> Vec<Bytes> {
    let mut framer = Framer::new(Limits::default());
    let mut found = Vec::new();
    for piece in data.chunks(piece) {
        if framer.push(piece).is_err() {
            break;
        }
        while let Some(frame) = framer.next() {
            if let Ok(Frame::Message(message)) = frame {
                look_at(&message);
                found.push(message.to_bytes());
            }
        }
    }
    found
}

/// A body: whatever can be read of it.
pub fn manscdp(data: &[u8]) {
    let mut history = History::default();
    if let Ok(message) = manscdp::parse(data, &mut history) {
        let page = CatalogPage::read(&message);
        assert!(page.items.iter().all(|item| !item.id.as_str().contains(['/', '\r', '\n', '<', '"'])));
        let _ = (DeviceInfo::read(&message), Keepalive::read(&message));
    }
}

/// A session description: what is read can be written and read again.
pub fn sdp(data: &[u8]) {
    if let Ok(read) = sdp::parse(data) {
        let again = sdp::parse(&read.to_bytes()).expect("what was written can be read");
        assert_eq!(again.ssrc, read.ssrc);
        assert_eq!(again.media.len(), read.media.len());
        let _ = (read.source_path(), read.path(&again), read.agreed_ssrc(&again));
    }
}

/// A PTZ command.
pub fn ptz(data: &[u8]) {
    if let Ok(frame) = String::from_utf8_lossy(data).parse::<ptz::Frame>() {
        assert_eq!(frame.to_string().parse::<ptz::Frame>().ok(), Some(frame));
    }
}

/// Packets of RTP, put in order: never more come out than went in.
pub fn rtp(data: &[u8]) {
    let mut now = start();
    let mut reorder = Reorder::new(Wait::Adaptive, 90_000);
    let (mut pushed, mut popped) = (0u32, 0u32);
    for piece in data.chunks(24) {
        now += Duration::from_millis(u64::from(piece[0] % 50));
        if let Ok(packet) = Packet::parse(Bytes::copy_from_slice(piece)) {
            pushed += 1;
            reorder.push(now, packet);
        }
        while reorder.pop(now).is_some() {
            popped += 1;
        }
    }
    assert!(popped <= pushed);
}

/// A compound of RTCP.
pub fn rtcp(data: &[u8]) {
    assert!(rtcp_packets::parse(data).count() <= data.len() / 4 + 1);
}

/// RTP over TCP in pieces: the same packets come out however it is cut.
pub fn deframer(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let mut deframer = Deframer::new();
    let mut total = 0;
    for piece in data.chunks(usize::from(cut).max(1)) {
        deframer.push(piece);
        while let Some(frame) = deframer.next() {
            total += frame.map_or(0, |packet| packet.len());
        }
    }
    assert!(total <= data.len());
}

/// A program stream in packets.
pub fn ps(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let mut demuxer = Demuxer::new();
    let mut timestamp = 0u32;
    for (index, piece) in data.chunks(usize::from(cut).max(8)).enumerate() {
        timestamp = timestamp.wrapping_add(u32::from(piece[0] & 1) * 3_600);
        let marker = piece.len() % 5 == 0;
        demuxer.push(&Bytes::copy_from_slice(piece), timestamp, marker, index % 17 == 13);
        while demuxer.poll().is_some() {}
    }
    demuxer.flush();
    while demuxer.poll().is_some() {}
}

/// H.264 and H.265: headers, parameter sets, payloads.
pub fn h264(data: &[u8]) {
    for codec in [Codec::H264, Codec::H265] {
        let unit = gbgate::media::unit::AccessUnit::new(codec, 0, 0, Bytes::copy_from_slice(data));
        let _ = codec::is_key(codec, unit.nals());
        let mut parameters = codec::ParameterSets::default();
        parameters.learn(&unit);
        let _ = parameters.size();
        let mut packets = Vec::new();
        codec::payload::packetise_h264(&unit, 1_200, &mut packets);
        let mut bytes = BytesMut::new();
        for packet in &packets {
            bytes.clear();
            packet.write(&mut bytes);
            assert!(bytes.len() <= 1_200);
        }
    }
    let _ = codec::h264::Sps::parse(data);
    let _ = codec::h265::Sps::parse(data);
}

/// Both sides of digest.
pub fn digest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(credentials) = Credentials::parse(&text) {
        assert!(!credentials.to_string().contains(['\r', '\n']));
    }
    let _ = Challenge::parse(&text);
}

#[allow(clippy::disallowed_methods)] // An origin for virtual time.
fn start() -> Instant {
    Instant::now()
}

