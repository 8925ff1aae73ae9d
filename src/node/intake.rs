//! From datagrams to viewers: one stream's RTP is checked, put in order, demultiplexed and handed to the readers.
//!
//! [`Intake`] has no socket and no clock; the task in [`super::streams`] owns those.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use metrics::counter;
use smallvec::SmallVec;

use super::departures::Departures;
use super::taps::{Tap, Taps};
use crate::call::PlaybackState;
use crate::egress::webrtc::{Feed, KeyFrames, Publisher};
use crate::gb::conformance::Rule;
use crate::media::ps::{Demuxer, Event};
use crate::media::rtp::{self, Packet, Reorder, Wait, rtcp};
use crate::media::unit::CLOCK;
use crate::stream::pace::Pace;
use crate::stream::{Info, Limits, Stream};
use crate::telemetry::metrics as names;

/// How often counts are handed to the metrics, in packets: a counter's atomic is not for every packet.
const COUNT_EVERY: u64 = 64;

/// The payload type of PS (annex C of 2022).
const PS_PAYLOAD_TYPE: u8 = 96;
/// Seconds between key frames above which a viewer waits too long.
const LONG_GOP: f64 = 10.0;

/// One stream's way in.
pub(super) struct Intake {
    /// Who may send. Over UDP anybody can write to the port, so packets from elsewhere are dropped and counted.
    allowed: SmallVec<[IpAddr; 2]>,
    /// The one source that was taken; others at the same address wait until it is silent.
    reorder: Reorder,
    demuxer: Demuxer,
    stream: Stream,
    publisher: Publisher,
    taps: Taps,
    /// Of a recording.
    pace: Option<Pace>,
    backwards: bool,
    /// Whether packets with another SSRC than the one agreed on are dropped.
    strict: bool,
    departures: Departures,
    /// The SSRC that the device was asked for, or named in its answer.
    agreed: u32,
    /// Where RTP comes from, and RTCP if any came.
    peers: (Option<SocketAddr>, Option<SocketAddr>),
    /// Packets and bytes since the last time they were counted.
    fresh: (u64, u64),
    counted_lost: u64,
    last_packet: Option<Instant>,
}

/// What a stream shows of its way in.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) ssrc: Option<u32>,
}

/// How a stream is to come.
#[derive(Debug)]
pub(super) struct Terms {
    /// Where the device is.
    pub(super) from: IpAddr,
    /// The SSRC that it was asked to use.
    pub(super) ssrc: u32,
    /// Whether another one is dropped.
    pub(super) strict: bool,
    /// How long to wait for packets that are missing.
    pub(super) wait: Wait,
    /// Whether it is a recording, whose time stamps are made to go with the clock.
    pub(super) paced: bool,
}

impl Intake {
    pub(super) fn new(now: Instant, terms: &Terms) -> Intake {
        let ssrc = terms.ssrc;
        let mut reorder = Reorder::new(terms.wait, CLOCK as u32);
        reorder.prefer(ssrc);
        Intake {
            allowed: SmallVec::from_iter([terms.from]),
            strict: terms.strict,
            pace: terms.paced.then(|| Pace::new(1.0)),
            backwards: false,
            reorder,
            demuxer: Demuxer::new(),
            stream: Stream::new(now, Limits::default()),
            publisher: Publisher::new(),
            taps: Taps::default(),
            departures: Departures::default(),
            agreed: ssrc,
            peers: (None, None),
            fresh: (0, 0),
            counted_lost: 0,
            last_packet: None,
        }
    }

    /// The device's answer names where it sends from, and its SSRC.
    pub(super) fn expect(&mut self, from: Option<IpAddr>, ssrc: u32) {
        if let Some(from) = from.filter(|from| !self.allowed.contains(from) && !from.is_unspecified()) {
            // At most two: the SIP peer and what its answer says.
            self.allowed.truncate(1);
            self.allowed.push(from);
        }
        self.agreed = ssrc;
        self.reorder.prefer(ssrc);
    }

    /// Whether media may come from there.
    pub(super) fn is_allowed(&self, from: IpAddr) -> bool {
        self.allowed.contains(&from)
    }

    /// A packet came. What is no RTP, or comes from where nobody was invited, is dropped and counted.
    pub(super) fn packet(&mut self, now: Instant, from: SocketAddr, bytes: Bytes) {
        if !self.is_allowed(from.ip()) {
            counter!(names::RTP_DROPPED, "reason" => "uninvited").increment(1);
            return;
        }
        if rtp::is_rtcp(&bytes) {
            return self.rtcp(now, from, &bytes);
        }
        let size = bytes.len() as u64;
        match Packet::parse(bytes) {
            Ok(packet) => {
                self.last_packet = Some(now);
                self.peers.0 = Some(from);
                if packet.payload_type != PS_PAYLOAD_TYPE {
                    self.departures.note(Rule::RtpPayloadType, packet.payload_type);
                }
                if packet.ssrc != self.agreed {
                    let sample = format_args!("{:010} in place of {:010}", packet.ssrc, self.agreed);
                    self.departures.note(Rule::RtpSsrcNotAgreed, sample);
                    if self.strict {
                        counter!(names::RTP_DROPPED, "reason" => "other_ssrc").increment(1);
                        return;
                    }
                }
                self.fresh.0 += 1;
                self.fresh.1 += size;
                self.reorder.push(now, packet);
                self.drain(now);
            }
            Err(error) => counter!(names::RTP_DROPPED, "reason" => error.reason()).increment(1),
        }
        if self.fresh.0 >= COUNT_EVERY {
            self.count();
        }
    }

    /// What a sender reports of itself is echoed in our reports.
    fn rtcp(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        self.peers.1 = Some(from);
        for packet in rtcp::parse(bytes).flatten() {
            if let rtcp::Rtcp::SenderReport(report) = packet {
                self.reorder.sender_report(now, &report);
            }
        }
    }

    /// A receiver report and where it goes: to where RTCP comes from, else to the port after that of RTP (RFC 3550
    /// section 11). Some devices end a stream of which they hear nothing.
    pub(super) fn report(&mut self, now: Instant) -> Option<(SocketAddr, Bytes)> {
        let block = self.reorder.report(now)?;
        let (rtp, rtcp) = self.peers;
        let next = || rtp.and_then(|rtp| Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)));
        let to = rtcp.or_else(next)?;
        let mut out = BytesMut::new();
        // Nobody tells receivers apart here: ours is the stream's own number with one bit changed.
        rtcp::write_receiver_report(self.agreed ^ 1, &[block], "gbgate", &mut out);
        Some((to, out.freeze()))
    }

    /// Gives up gaps whose time is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.drain(now);
        self.count();
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.reorder.next_timeout()
    }

    fn drain(&mut self, now: Instant) {
        while let Some(popped) = self.reorder.pop(now) {
            let Packet { payload, timestamp, marker, .. } = popped.packet;
            self.demuxer.push(&payload, timestamp, marker, popped.lost_before > 0);
            while let Some(event) = self.demuxer.poll() {
                match event {
                    Event::Unit(unit) => {
                        let unit = match &mut self.pace {
                            Some(pace) => pace.push(now, unit),
                            None => Some(unit),
                        };
                        let Some(unit) = unit else { continue };
                        if let Some(unit) = self.stream.push(now, unit) {
                            self.publisher.push(&unit);
                            self.taps.push(&unit);
                        } else if self.stream.wants_key_frame() {
                            // The picture is broken until the next key frame: better now than at the end of the GOP.
                            self.publisher.key_frames().ask(now);
                        }
                    }
                    Event::Fault(fault) => {
                        counter!(names::PS_ERRORS, "kind" => fault.label()).increment(1);
                        self.departures.fault(fault);
                    }
                }
            }
        }
    }

    fn count(&mut self) {
        let (packets, bytes) = std::mem::take(&mut self.fresh);
        if packets > 0 {
            counter!(names::RTP_PACKETS).increment(packets);
            counter!(names::MEDIA_BYTES, "direction" => "in").increment(bytes);
        }
        let lost = self.reorder.stats().lost;
        if lost > self.counted_lost {
            counter!(names::RTP_LOST).increment(lost - self.counted_lost);
            self.departures.note(Rule::RtpLoss, format_args!("{} packets", lost - self.counted_lost));
            self.counted_lost = lost;
        }
    }

    /// When the last packet came.
    pub(super) fn last_packet(&self) -> Option<Instant> {
        self.last_packet
    }

    /// Whether there is a picture that can be decoded, with all that a viewer's offer has to be matched with.
    pub(super) fn ready(&self, now: Instant) -> bool {
        self.stream.ready(now)
    }

    /// Codecs, size and rate; sound that is announced counts as being there.
    pub(super) fn info(&self, now: Instant) -> Info {
        let info = self.stream.info(now);
        Info { audio: info.audio.or_else(|| self.demuxer.announced_audio()), ..info }
    }

    pub(super) fn counts(&self) -> Counts {
        let stats = self.reorder.stats();
        Counts { packets: stats.received, lost: stats.lost, ssrc: self.reorder.ssrc() }
    }

    /// A recording goes on at another speed, from another place, or not at all.
    pub(super) fn pace(&mut self, state: PlaybackState, seek: bool) {
        let Some(pace) = &mut self.pace else { return };
        let turned = (state.scale < 0.0) != std::mem::replace(&mut self.backwards, state.scale < 0.0);
        pace.change(state.paused, state.scale);
        if seek {
            pace.seek(state.position);
        }
        if seek || turned {
            // Pictures up to the next key frame do not fit those before.
            self.stream.begin_anew();
        }
    }

    /// Seconds of the recording that were played.
    pub(super) fn position(&self) -> Option<f64> {
        self.pace.as_ref().map(Pace::position)
    }

    /// What departs from the standard since it was asked for last; `framing` is what its connection showed.
    pub(super) fn departures(&mut self, now: Instant, framing: Option<&str>) -> BTreeMap<Rule, String> {
        if let Some(fault) = framing {
            self.departures.note(Rule::TcpFraming, fault);
        }
        if let Some((video, fps)) = self.stream.info(now).video.and_then(|video| Some((video, video.fps?)))
            && let Some(pictures) = video.gop
            && f64::from(pictures) / fps.max(1.0) > LONG_GOP
        {
            let sample = format_args!("{pictures} pictures at {fps:.0} a second");
            self.departures.note(Rule::GopTooLong, sample);
        }
        let parameters = self.stream.parameters();
        if self.stream.info(now).counts.key_frames > 0
            && parameters.codec().is_some()
            && !parameters.is_complete()
        {
            self.departures.note(Rule::NoParameterSets, "none came with any key frame");
        }
        self.departures.take()
    }

    /// A new viewer's share.
    pub(super) fn feed(&self) -> Feed {
        self.publisher.feed()
    }

    /// A share for somebody who takes access units.
    pub(super) fn tap(&mut self) -> Tap {
        self.taps.tap(self.stream.gop())
    }

    /// A share for a download, from the first unit on; to be taken before anything has come.
    pub(super) fn tap_download(&mut self) -> Tap {
        self.taps.tap_download()
    }

    pub(super) fn readers(&self) -> usize {
        self.publisher.viewers() + self.taps.count()
    }

    pub(super) fn key_frames(&self) -> KeyFrames {
        self.publisher.key_frames()
    }
}
