//! One who speaks to a device, without input and output: datagrams and time go in, sound and reports come out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::path::Path;
use super::secure::{Identity, SecureError};
use super::transport::{Dropped, Ends, Output, Reason, Taken, Transport};
use crate::media::codec::g711;
use crate::media::rtp::{Packet, Reorder, Wait, rtcp};
use crate::media::unit::Codec;

const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// A packet of sound from a browser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sound {
    /// PCMA or PCMU; the same for the whole session.
    pub codec: Codec,
    /// Of the first sample, in samples: 8,000 a second. Begins anywhere and wraps.
    pub timestamp: u32,
    /// A byte for each sample; not empty.
    pub payload: Bytes,
}

/// The codec of the answer.
#[derive(Copy, Clone, Debug)]
pub(super) struct Agreed {
    pub codec: Codec,
    pub payload_type: u8,
}

pub(super) struct Ingest {
    transport: Transport,
    agreed: Agreed,
    /// Of this side, for reports.
    ssrc: u32,
    cname: &'static str,
    reorder: Reorder,
    next_report: Option<Instant>,
    sounds: VecDeque<Sound>,
}

impl Ingest {
    pub(super) fn new(
        now: Instant,
        identity: &Identity,
        ends: &Ends<'_>,
        agreed: Agreed,
        ssrc: u32,
        cname: &'static str,
    ) -> Result<Self, SecureError> {
        Ok(Self {
            transport: Transport::new(now, identity, ends)?,
            agreed,
            ssrc,
            cname,
            reorder: Reorder::new(Wait::Adaptive, g711::SAMPLE_RATE),
            next_report: None,
            sounds: VecDeque::new(),
        })
    }

    /// Takes a datagram, or a frame of a TCP connection.
    ///
    /// # Errors
    /// Says why it was dropped; the session goes on.
    pub(super) fn handle_datagram(&mut self, now: Instant, path: Path, data: &[u8]) -> Result<(), Dropped> {
        match self.transport.take(now, path, data)? {
            Taken::Done => {}
            Taken::Established => self.next_report = Some(now + REPORT_INTERVAL),
            Taken::Closed => self.transport.end(now, Reason::Closed),
            Taken::Rtp => return self.handle_rtp(now, data),
            Taken::Rtcp => return self.handle_rtcp(now, data),
        }
        Ok(())
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.transport.closed() {
            return;
        }
        if let Some(reason) = self.transport.handle_timeout(now) {
            return self.transport.end(now, reason);
        }
        self.hear(now);
        if self.next_report.is_some_and(|at| at <= now) {
            self.report(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.transport.closed() {
            return None;
        }
        let due = [self.transport.next_timeout(), self.reorder.next_timeout(), self.next_report];
        due.into_iter().flatten().min()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.transport.poll_output()
    }

    /// Drain until `None` after each call, as [`poll_output`](Self::poll_output).
    pub(super) fn poll_sound(&mut self) -> Option<Sound> {
        self.sounds.pop_front()
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, now: Instant) {
        if !self.transport.closed() {
            self.transport.end(now, Reason::Closed);
        }
    }

    fn handle_rtp(&mut self, now: Instant, data: &[u8]) -> Result<(), Dropped> {
        let plain = self.transport.secure.unprotect_rtp(data).ok_or(Dropped::Rtp)?;
        let packet = Packet::parse(plain.freeze()).map_err(|_| Dropped::Rtp)?;
        if packet.payload_type != self.agreed.payload_type {
            return Err(Dropped::Rtp);
        }
        self.reorder.push(now, packet);
        self.hear(now);
        Ok(())
    }

    /// Takes what is in order.
    fn hear(&mut self, now: Instant) {
        while let Some(popped) = self.reorder.pop(now) {
            let Packet { timestamp, payload, .. } = popped.packet;
            if !payload.is_empty() {
                self.sounds.push_back(Sound { codec: self.agreed.codec, timestamp, payload });
            }
        }
    }

    fn handle_rtcp(&mut self, now: Instant, data: &[u8]) -> Result<(), Dropped> {
        let plain = self.transport.secure.unprotect_rtcp(data).ok_or(Dropped::Rtcp)?;
        for packet in rtcp::parse(&plain) {
            if let rtcp::Rtcp::SenderReport(report) = packet.map_err(|_| Dropped::Rtcp)? {
                self.reorder.sender_report(now, &report);
            }
        }
        Ok(())
    }

    /// A receiver report of the source that is heard.
    fn report(&mut self, now: Instant) {
        self.next_report = Some(now + REPORT_INTERVAL);
        let Some(block) = self.reorder.report(now) else { return };
        let mut plain = Vec::with_capacity(64);
        rtcp::write_receiver_report(self.ssrc, &[block], self.cname, &mut plain);
        self.transport.send_rtcp(&plain);
    }
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
