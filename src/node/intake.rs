//! From datagrams to viewers: one stream's RTP is checked, put in order, demultiplexed and handed to the readers.
//!
//! [`Intake`] has no socket and no clock; the task in [`super::streams`] owns those.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use metrics::counter;
use smallvec::SmallVec;

use crate::egress::webrtc::{Feed, KeyFrames, Publisher};
use crate::media::ps::{Demuxer, Event};
use crate::media::rtp::{self, Packet, Reorder, Wait};
use crate::media::unit::CLOCK;
use crate::stream::{Info, Limits, Stream};
use crate::telemetry::metrics as names;

/// How often counts are handed to the metrics, in packets: a counter's atomic is not for every packet.
const COUNT_EVERY: u64 = 64;

/// One stream's way in.
pub(super) struct Intake {
    /// Who may send. Over UDP anybody can write to the port, so packets from elsewhere are dropped and counted.
    allowed: SmallVec<[IpAddr; 2]>,
    /// The one source that was taken; others at the same address wait until it is silent.
    reorder: Reorder,
    demuxer: Demuxer,
    stream: Stream,
    publisher: Publisher,
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

impl Intake {
    pub(super) fn new(now: Instant, allowed: IpAddr, ssrc: u32, wait: Wait) -> Intake {
        let mut reorder = Reorder::new(wait, CLOCK as u32);
        reorder.prefer(ssrc);
        Intake {
            allowed: SmallVec::from_iter([allowed]),
            reorder,
            demuxer: Demuxer::new(),
            stream: Stream::new(now, Limits::default()),
            publisher: Publisher::new(),
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
            return;
        }
        let size = bytes.len() as u64;
        match Packet::parse(bytes) {
            Ok(packet) => {
                self.last_packet = Some(now);
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
                        if let Some(unit) = self.stream.push(now, unit) {
                            self.publisher.push(&unit);
                        } else if self.stream.wants_key_frame() {
                            // The picture is broken until the next key frame: better now than at the end of the GOP.
                            self.publisher.key_frames().ask(now);
                        }
                    }
                    Event::Fault(fault) => {
                        counter!(names::PS_ERRORS, "kind" => fault.label()).increment(1);
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

    /// A new viewer's share.
    pub(super) fn feed(&self) -> Feed {
        self.publisher.feed()
    }

    pub(super) fn readers(&self) -> usize {
        self.publisher.viewers()
    }

    pub(super) fn key_frames(&self) -> KeyFrames {
        self.publisher.key_frames()
    }
}
