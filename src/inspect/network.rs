//! Captured packets: SIP with its bodies, RTP over UDP and TCP down to access units.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::capture::{Capture, Captured, Payload};
use super::file::drain;
use super::track::Tracks;
use super::{Findings, Network, Report, StreamReport};
use crate::gb::charset::History;
use crate::gb::conformance::Rule;
use crate::gb::manscdp;
use crate::media::ps::Demuxer;
use crate::media::rtp::{self, Deframer, Packet, Reorder, Wait};
use crate::media::unit::CLOCK;
use crate::net::clock;
use crate::sip::framer::{Framer, Limits};
use crate::sip::{Departure as SipDeparture, Frame, Message, Start};

/// Streams and connections that are followed.
const MAX_FLOWS: usize = 4_096;
/// Segments of a connection that came too early and wait.
const MAX_EARLY: usize = 1_024;
/// RTP packets that a source must send to be taken for one: other things look like RTP, too.
const MIN_PACKETS: u64 = 8;

type Ends = (SocketAddr, SocketAddr);

#[derive(Default)]
struct Looker {
    begin: Option<(Instant, Duration)>,
    findings: Findings,
    signalling: BTreeMap<String, u64>,
    rtp: BTreeMap<(Ends, u32), Rtp>,
    tcp: HashMap<Ends, Connection>,
    histories: HashMap<SocketAddr, History>,
    unknown: u64,
}

/// One source of RTP.
struct Rtp {
    reorder: Reorder,
    demuxer: Demuxer,
    tracks: Tracks,
    packets: u64,
    offset: u64,
    findings: Findings,
}

/// One direction of a TCP connection.
struct Connection {
    /// The first sequence number; all others are counted from it.
    base: u32,
    next: u32,
    early: BTreeMap<u32, (u64, Bytes)>,
    speaks: Speaks,
}

enum Speaks {
    NotYetKnown,
    Sip(Box<Framer>),
    Rtp(Box<Deframer>),
    Other,
}

pub(super) fn capture(mut capture: Capture) -> Report {
    let mut looker = Looker::default();
    while let Some(captured) = capture.next() {
        looker.packet(captured);
    }
    let mut notes = Vec::new();
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    };
    note(capture.passed_over, "packets of other protocols, or cut short, were passed over");
    note(
        capture.fragments,
        "IP fragments were not put together: capture near the gateway, or use TCP for SIP",
    );
    note(looker.unknown, "datagrams and pieces of TCP were neither SIP nor RTP");
    looker.report(notes)
}

impl Looker {
    fn packet(&mut self, captured: Captured) {
        let Captured { offset, at, from, to, payload } = captured;
        let (begin, first) = *self.begin.get_or_insert_with(|| (clock::now(), at));
        let now = begin + at.saturating_sub(first);
        match payload {
            Payload::Udp(bytes) => {
                if is_sip(&bytes) {
                    match Message::parse(&bytes) {
                        Ok(message) => self.message(offset, from, &message),
                        Err(error) => {
                            self.findings.add(offset, Rule::SipHeaderMalformed, error.reason().to_owned());
                        }
                    }
                } else if !self.rtp(now, offset, (from, to), bytes) {
                    self.unknown += 1;
                }
            }
            Payload::Tcp { sequence, syn, bytes } => {
                self.segment(now, offset, (from, to), sequence, syn, bytes)
            }
        }
    }

    fn message(&mut self, offset: u64, from: SocketAddr, message: &Message) {
        let what = match &message.start {
            Start::Request { method, .. } => method.as_str().to_owned(),
            Start::Response { code, .. } => code.to_string(),
        };
        *self.signalling.entry(what).or_default() += 1;
        for departure in message.departures() {
            let rule = match departure {
                SipDeparture::ContentLength => Rule::SipContentLengthWrong,
                SipDeparture::Header => Rule::SipHeaderMalformed,
                SipDeparture::NoRport => Rule::NoRport,
                _ => Rule::SipHeaderMissing,
            };
            self.findings.add(offset, rule, format!("{from}: {}", departure.as_str()));
        }
        let is_manscdp = message.content_type().is_some_and(|kind| {
            kind.get(..manscdp::CONTENT_TYPE.len())
                .is_some_and(|kind| kind.eq_ignore_ascii_case(manscdp::CONTENT_TYPE))
        });
        if is_manscdp && !message.body.is_empty() && self.histories.len() < MAX_FLOWS {
            let history = self.histories.entry(from).or_default();
            match manscdp::parse(&message.body, history) {
                Ok(body) => {
                    for departure in body.departures() {
                        let sample = format!("{} of {from}: {}", body.cmd, departure.sample);
                        self.findings.add(offset, departure.rule, sample);
                    }
                }
                Err(bad) => self.findings.add(offset, Rule::XmlUnreadable, format!("{from}: {bad}")),
            }
        }
    }

    /// False if it is no RTP.
    fn rtp(&mut self, now: Instant, offset: u64, ends: Ends, bytes: Bytes) -> bool {
        if rtp::is_rtcp(&bytes) {
            return true;
        }
        let Ok(packet) = Packet::parse(bytes) else { return false };
        let key = (ends, packet.ssrc);
        if !self.rtp.contains_key(&key) && self.rtp.len() >= MAX_FLOWS {
            return false;
        }
        let stream = self.rtp.entry(key).or_insert_with(|| Rtp {
            reorder: Reorder::new(Wait::Adaptive, CLOCK as u32),
            demuxer: Demuxer::new(),
            tracks: Tracks::new(now),
            packets: 0,
            offset,
            findings: Findings::default(),
        });
        stream.packets += 1;
        stream.offset = offset;
        stream.reorder.push(now, packet);
        stream.pop(now);
        true
    }

    fn segment(&mut self, now: Instant, offset: u64, ends: Ends, sequence: u32, syn: bool, bytes: Bytes) {
        if !self.tcp.contains_key(&ends) && self.tcp.len() >= MAX_FLOWS {
            return;
        }
        let first = sequence.wrapping_add(u32::from(syn));
        let connection = self.tcp.entry(ends).or_insert_with(|| Connection {
            base: first,
            next: 0,
            early: BTreeMap::new(),
            speaks: Speaks::NotYetKnown,
        });
        if syn {
            (connection.base, connection.next) = (first, 0);
            connection.early.clear();
        }
        if bytes.is_empty() {
            return;
        }
        connection.early.insert(first.wrapping_sub(connection.base), (offset, bytes));
        if connection.early.len() > MAX_EARLY {
            // What is missing was not captured: go on without it.
            connection.next = connection.early.keys().next().copied().unwrap_or(connection.next);
        }
        let mut ready = Vec::new();
        while let Some((&at, _)) = connection.early.first_key_value() {
            let ahead = at.wrapping_sub(connection.next) as i32;
            if ahead > 0 {
                break;
            }
            let Some((_, (offset, bytes))) = connection.early.pop_first() else { break };
            // The beginning of a segment that was sent again is known already.
            let known = ahead.unsigned_abs() as usize;
            if known < bytes.len() {
                connection.next = at.wrapping_add(bytes.len() as u32);
                ready.push((offset, bytes.slice(known..)));
            }
        }
        for (offset, bytes) in ready {
            self.stream_bytes(now, offset, ends, &bytes);
        }
    }

    fn stream_bytes(&mut self, now: Instant, offset: u64, ends: Ends, bytes: &Bytes) {
        let Some(connection) = self.tcp.get_mut(&ends) else { return };
        if matches!(connection.speaks, Speaks::NotYetKnown) {
            connection.speaks = match bytes.as_ref() {
                sip if is_sip(sip) => Speaks::Sip(Box::new(Framer::new(Limits::default()))),
                [b'$', ..] | [_, _, 0x80..=0xBF, ..] => Speaks::Rtp(Box::default()),
                _ => Speaks::Other,
            };
        }
        let (mut messages, mut packets) = (Vec::new(), Vec::new());
        match &mut connection.speaks {
            Speaks::Sip(framer) => {
                if framer.push(bytes).is_err() {
                    connection.speaks = Speaks::Other;
                    return;
                }
                for frame in framer.by_ref() {
                    match frame {
                        Ok(Frame::Message(message)) => messages.push(message),
                        Ok(Frame::Ping) => {}
                        Err(_) => self.findings.add(offset, Rule::SipNotSip, ends.0.to_string()),
                    }
                }
            }
            Speaks::Rtp(deframer) => {
                deframer.push(bytes);
                while let Some(frame) = deframer.next() {
                    match frame {
                        Ok(packet) => packets.push(packet),
                        Err(fault) => self.findings.add(offset, Rule::TcpFraming, fault.reason().to_owned()),
                    }
                }
            }
            Speaks::NotYetKnown | Speaks::Other => self.unknown += 1,
        }
        for message in messages {
            self.message(offset, ends.0, &message);
        }
        for packet in packets {
            self.rtp(now, offset, ends, packet);
        }
    }

    fn report(mut self, notes: Vec<String>) -> Report {
        let mut streams = Vec::new();
        for (((from, to), ssrc), mut stream) in self.rtp {
            if stream.packets < MIN_PACKETS {
                continue;
            }
            stream.demuxer.flush();
            drain(&mut stream.demuxer, stream.offset, &mut stream.tracks, &mut stream.findings);
            stream.findings.listed.into_iter().for_each(|departure| self.findings.push(departure));
            let stats = stream.reorder.stats();
            let jitter = stream.reorder.reception().map_or(0, |reception| reception.jitter());
            streams.push(StreamReport {
                name: format!("RTP {from} to {to}, SSRC {ssrc:010}"),
                tracks: stream.tracks.report(),
                network: Some(Network {
                    packets: stats.received,
                    lost: stats.lost,
                    jitter: f64::from(jitter) * 1000.0 / CLOCK as f64,
                }),
            });
        }
        let signalling = self.signalling.into_iter().collect();
        Report { format: "capture of packets", streams, signalling, notes, ..Report::new(self.findings) }
    }
}

impl Rtp {
    fn pop(&mut self, now: Instant) {
        while let Some(popped) = self.reorder.pop(now) {
            let Packet { payload, timestamp, marker, payload_type, .. } = popped.packet;
            if payload_type != 96 && self.packets <= 1 {
                self.findings.add(self.offset, Rule::RtpPayloadType, payload_type.to_string());
            }
            self.demuxer.push(&payload, timestamp, marker, popped.lost_before > 0);
            drain(&mut self.demuxer, self.offset, &mut self.tracks, &mut self.findings);
        }
    }
}

/// Whether bytes begin like a message of SIP.
fn is_sip(bytes: &[u8]) -> bool {
    const STARTS: [&[u8]; 13] = [
        b"SIP/2.0",
        b"REGISTER ",
        b"INVITE ",
        b"MESSAGE ",
        b"ACK ",
        b"BYE ",
        b"CANCEL ",
        b"INFO ",
        b"OPTIONS ",
        b"SUBSCRIBE ",
        b"NOTIFY ",
        b"PRACK ",
        b"UPDATE ",
    ];
    STARTS.iter().any(|start| bytes.starts_with(start))
}
