//! What is fuzzed: a function for each parser that meets bytes from outside, and for the roads behind them. `cargo fuzz`
//! drives them for long, `tests/fuzz.rs` for some seconds in every test run. Each panics where a promise is broken.

mod roads;

pub use roads::{offer, rtp, signalling};

use bytes::{Bytes, BytesMut};
use gbgate::call::CallId;
use gbgate::config::Config;
use gbgate::gb::charset::History;
use gbgate::gb::conformance::{MAX_SAMPLE, Rule};
use gbgate::gb::manscdp::config::ConfigKind;
use gbgate::gb::manscdp::event::MobilePosition;
use gbgate::gb::manscdp::{
    self, Alarm, Answer, CatalogPage, Control, DeviceInfo, DeviceStatus, Edition, Keepalive, MediaStatus,
    Query, RecordQuery, config,
};
use gbgate::gb::mansrtsp::{self, Dialect};
use gbgate::gb::sdp::MediaMode;
use gbgate::gb::subject::Subject;
use gbgate::gb::time::{Offset, UnixMillis, parse_gb};
use gbgate::gb::{Id, ptz, sdp, xml};
use gbgate::inspect;
use gbgate::media::codec;
use gbgate::media::ps::{Demuxer, Event, MAX_UNIT};
use gbgate::media::rtp::{Deframer, rtcp as rtcp_packets};
use gbgate::media::unit::{AccessUnit, Codec};
use gbgate::sip::digest::{Challenge, Credentials};
use gbgate::sip::framer::{Framer, Limits};
use gbgate::sip::{Frame, Message, Method};

/// A datagram: what is read can be written and read again with the same meaning.
pub fn sip_datagram(data: &[u8]) {
    if let Ok(message) = Message::parse(&Bytes::copy_from_slice(data)) {
        look_at(&message);
        let again = Message::parse(&message.to_bytes()).expect("what was written can be read");
        assert_eq!(again.body, message.body);
        assert_eq!(again.code(), message.code());
        assert_eq!(again.method(), message.method());
        assert_eq!(again.call_id(), message.call_id());
        assert_eq!(again.cseq(), message.cseq());
        assert_eq!(again.from_tag(), message.from_tag());
    }
}

/// What writers keep of a text that has control characters in it.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}'))
        .collect::<String>()
        .trim()
        .to_owned()
}

fn look_at(message: &Message) {
    let _ = (message.via(), message.from(), message.to(), message.contact(), message.cseq());
    let _ = (message.expires(), message.max_forwards(), message.content_type());
    if message.is_request() {
        let answer = message.response(400).with_to_tag("tag").to_bytes();
        let answer = Message::parse(&answer).expect("an answer to what was read can be read");
        assert_eq!(answer.call_id(), message.call_id());
        assert_eq!(answer.cseq(), message.cseq());
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
    let limits = Limits { head: 2_048, body: 4_096 };
    let mut framer = Framer::new(limits);
    let mut found = Vec::new();
    for piece in data.chunks(piece) {
        framer.push(piece).expect("frames were taken out in between");
        for frame in framer.by_ref() {
            if let Ok(Frame::Message(message)) = frame {
                look_at(&message);
                assert!(message.body.len() <= limits.body);
                found.push(message.to_bytes());
            }
        }
        assert!(framer.buffered() <= limits.head + limits.body + 2);
    }
    found
}

/// A body: whatever can be read of it.
pub fn manscdp(data: &[u8]) {
    let mut history = History::default();
    if let Ok(message) = manscdp::parse(data, &mut history) {
        let page = CatalogPage::read(&message);
        assert!(page.items.iter().all(|item| !item.id.as_str().contains(['/', '\r', '\n', '<', '"'])));
        let _ = (DeviceInfo::read(&message), Keepalive::read(&message), MediaStatus::read(&message));
        let _ = (Alarm::read(&message, Offset::BEIJING), DeviceStatus::read(&message, Offset::UTC));
        // What was read leniently is strict when written: it reads again without a fault, to the same tree.
        let mut writer = xml::Writer::new();
        writer.tree(&message.body);
        let (again, faults) = xml::read(&writer.finish()).expect("what was written can be read");
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(again.children.len(), message.body.children.len());
        let command = |body: &xml::Element| body.text_of("CmdType").map(plain).unwrap_or_default();
        assert_eq!(command(&again), command(&message.body));
    }
}

/// What devices answer, ask and command: every reader of a body's inside.
pub fn answers(data: &[u8]) {
    let Ok(message) = manscdp::parse(data, &mut History::default()) else { return };
    let departures = message.departures();
    assert!(departures.len() <= Rule::ALL.len());
    assert!(departures.iter().all(|departure| departure.sample.len() <= MAX_SAMPLE));
    let zone = Offset::BEIJING;
    let at = UnixMillis(1_714_521_600_000);
    let queries = [
        Query::Catalog,
        Query::DeviceInfo,
        Query::DeviceStatus,
        Query::Records(RecordQuery::new(at, at)),
        Query::Config(ConfigKind::ALL.to_vec()),
        Query::Presets,
        Query::HomePosition,
        Query::CruiseTracks,
        Query::CruiseTrack { number: 1 },
        Query::PtzPosition,
        Query::SdCards,
    ];
    for query in queries {
        if let Some(mut answer) = Answer::read(&query, &message, zone) {
            assert!(serde_json::to_string(&answer).is_ok(), "every answer can be shown");
            answer.merge(answer.clone());
        }
    }
    let _ = (Query::read(&message, zone), MobilePosition::read(&message, zone));
    if let Some(control) = Control::read(&message) {
        let _ = (control.check(), control.name());
    }
    for (kind, value) in config::sections(&ConfigKind::ALL, &message.body) {
        let _ = (config::check(kind, &value), config::differences(kind, &value, &value));
    }
}

/// Commands about recordings that play, and their answers: what is read can be written and read again.
pub fn mansrtsp(data: &[u8]) {
    for dialect in [Dialect::Rtsp, Dialect::Mansrtsp] {
        if let Ok(request) = mansrtsp::Request::parse(data) {
            assert!(mansrtsp::Request::parse(&request.to_bytes(dialect)).is_ok());
        }
        if let Ok(answer) = mansrtsp::Answer::parse(data) {
            assert!(mansrtsp::Answer::parse(&answer.to_bytes(dialect)).is_ok());
        }
    }
}

/// A file of media or captured packets, as `gbgate inspect` reads it.
pub fn capture(data: &[u8]) {
    for ending in ["pcap", "ps", "h264", "h265", ""] {
        if let Some(report) = inspect::look(&Bytes::copy_from_slice(data), ending) {
            assert!(!report.to_string().is_empty());
        }
    }
}

/// A session description: what is read can be written and read again.
pub fn sdp(data: &[u8]) {
    if let Ok(read) = sdp::parse(data) {
        let again = sdp::parse(&read.to_bytes()).expect("what was written can be read");
        assert_eq!(again.ssrc, read.ssrc);
        assert_eq!(again.media.len(), read.media.len());
        let _ = (read.source_path(), read.path(&again), read.agreed_ssrc(&again));
        let _ = (read.voice_path(), read.voice_payload(), read.history(), read.recording(), read.file_size());
        let _ = read.departures(data);
    }
}

/// The standard's small texts: what is read is the same after being written.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for text in text.lines().take(16) {
        if let Ok(frame) = text.parse::<ptz::Frame>() {
            assert_eq!(frame.to_string().parse(), Ok(frame));
        }
        if let Ok(id) = Id::parse(text) {
            assert_eq!(Id::parse(id.as_str()), Ok(id));
            let _ = (id.kind(), id.domain(), id.nth(u64::from(data[0])));
        }
        if let Ok(subject) = text.parse::<Subject>() {
            let written = subject.to_string();
            assert!(!written.contains(char::is_control));
            assert_eq!(written.parse(), Ok(subject));
        }
        for offset in text.parse::<Offset>().ok().into_iter().chain([Offset::BEIJING]) {
            if let Some(at) = parse_gb(text, offset) {
                assert_eq!(parse_gb(&at.to_rfc3339(offset), offset), Some(at));
            }
        }
        let _ = (text.parse::<MediaMode>(), Edition::from_header(text), CallId::parse(text));
    }
}

/// A configuration file: it is good, or each problem says where.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data.get(..4_096).unwrap_or(data));
    match Config::parse("config.yaml", &text, std::iter::empty()) {
        Ok((config, _)) => assert!(config.platform.id.is_standard()),
        Err(errors) => assert!(!errors.0.is_empty() && !errors.to_string().is_empty()),
    }
}

/// A compound of RTCP.
pub fn rtcp(data: &[u8]) {
    assert!(rtcp_packets::parse(data).count() <= data.len() / 4 + 1);
}

/// RTP over TCP in pieces: no byte comes out twice, and little is held back.
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
    assert!(total as u64 + deframer.skipped() <= data.len() as u64);
}

/// A program stream in packets: what comes out is no more than what went in, and is cut well.
pub fn ps(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let mut demuxer = Demuxer::new();
    let mut timestamp = 0u32;
    let mut total = 0;
    for (index, piece) in data.chunks(usize::from(cut).max(8)).enumerate() {
        timestamp = timestamp.wrapping_add(u32::from(piece[0] & 1) * 3_600);
        let marker = piece.len() % 5 == 0;
        demuxer.push(&Bytes::copy_from_slice(piece), timestamp, marker, index % 17 == 13);
        total += units(&mut demuxer);
    }
    demuxer.flush();
    total += units(&mut demuxer);
    assert!(total <= data.len());
}

fn units(demuxer: &mut Demuxer) -> usize {
    let mut total = 0;
    while let Some(event) = demuxer.poll() {
        if let Event::Unit(unit) = event {
            assert!(!unit.payload.is_empty() && unit.payload.len() <= MAX_UNIT);
            assert!(unit.nals().all(|nal| !nal.is_empty()));
            total += unit.payload.len();
        }
    }
    total
}

/// H.264 and H.265: headers, parameter sets, payloads.
pub fn h264(data: &[u8]) {
    for codec in [Codec::H264, Codec::H265] {
        let unit = AccessUnit::new(codec, 0, 0, Bytes::copy_from_slice(data));
        let _ = codec::is_key(codec, unit.nals());
        let mut parameters = codec::ParameterSets::default();
        parameters.learn(&unit);
        let _ = parameters.size();
        let mut completed = unit.clone();
        parameters.complete(&mut completed);
        let mut packets = Vec::new();
        codec::payload::packetise_h264(&completed, 1_200, &mut packets);
        let mut bytes = BytesMut::new();
        for packet in &packets {
            bytes.clear();
            packet.write(&mut bytes);
            assert!(!bytes.is_empty() && bytes.len() <= 1_200);
        }
        assert_eq!(packets.iter().filter(|packet| packet.marker).count(), usize::from(!packets.is_empty()));
    }
    let _ = codec::h264::Sps::parse(data).map(|sps| sps.profile_level_id());
    let _ = codec::h265::Sps::parse(data);
}

/// Both sides of digest.
pub fn digest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(credentials) = Credentials::parse(&text) {
        let written = credentials.to_string();
        let again = Credentials::parse(&written).expect("what was written can be read");
        assert_eq!(plain(&again.response), plain(&credentials.response));
        let request = Message::request(Method::Register, "sip:a@b").with("Authorization", written);
        let lines = request
            .to_bytes()
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .filter(|line| !line.is_empty())
            .count();
        assert_eq!(lines, 3, "no value begins a line of its own");
    }
    if let Ok(challenge) = Challenge::parse(&text) {
        let again = Challenge::parse(&challenge.to_string()).expect("what was written can be read");
        assert_eq!((again.qop, again.stale), (challenge.qop, challenge.stale));
    }
}
