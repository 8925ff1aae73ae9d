//! A WHEP player that is not a browser: `rtc` does ICE, DTLS and SRTP, and what arrives is looked at packet by packet.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rtc::peer_connection::RTCPeerConnection;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::task::JoinHandle;

use super::gateway::{Answer, Gateway};
use super::until;
use super::wire::{Wire, built};

/// Types of NAL units (H.264, table 7-1) and of payloads that hold others (RFC 6184).
const SLICE: u8 = 1;
const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// What has arrived so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connected: bool,
    /// Whether the gateway said goodbye.
    pub(crate) closed: bool,
    /// Packets of sound.
    pub(crate) audio: u64,
    /// Packets of video, the pictures that they end, and those pictures of them that stand for themselves.
    pub(crate) video: u64,
    pub(crate) pictures: u64,
    pub(crate) key_frames: u64,
    /// Types of NAL units up to the first slice that is no key frame.
    pub(crate) first: Vec<u8>,
    /// Gaps in the sequence numbers of the video.
    pub(crate) gaps: u64,
    last: Option<u16>,
}

impl Seen {
    fn video(&mut self, sequence: u16, marker: bool, payload: &[u8]) {
        self.gaps += u64::from(self.last.is_some_and(|last| last.wrapping_add(1) != sequence));
        self.last = Some(sequence);
        self.video += 1;
        self.pictures += u64::from(marker);
        for unit in units(payload) {
            self.key_frames += u64::from(unit == IDR);
            if !self.first.contains(&SLICE) {
                self.first.push(unit);
            }
        }
    }
}

/// The types of the NAL units that begin in a payload.
fn units(payload: &[u8]) -> Vec<u8> {
    match payload.first().map_or(0, |head| head & 31) {
        STAP_A => {
            let mut rest = &payload[1..];
            let mut found = Vec::new();
            while let [high, low, unit, ..] = rest {
                found.push(unit & 31);
                rest = &rest[2 + usize::from(u16::from_be_bytes([*high, *low]))..];
            }
            found
        }
        FU_A if payload[1] & 0x80 == 0 => Vec::new(),
        FU_A => vec![payload[1] & 31],
        other => vec![other],
    }
}

/// A player that watches. It stops without a word when it is dropped.
pub(crate) struct Player {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
    /// Where the session can be ended.
    pub(crate) location: String,
    /// The gateway's user name fragment, by which checks find their way to this session.
    pub(crate) user: String,
}

impl Player {
    /// Watches a channel, and has to be let in.
    pub(crate) async fn watch(gateway: &Gateway, device: &str, channel: &str) -> Player {
        let answer = Player::try_watch(gateway, device, channel).await;
        answer.unwrap_or_else(|answer| panic!("not let in: {answer:?}"))
    }

    /// Watches a channel; what the gateway says instead, if it refuses.
    pub(crate) async fn try_watch(gateway: &Gateway, device: &str, channel: &str) -> Result<Player, Answer> {
        let mut peer = peer();
        let offer = peer.create_offer(None).unwrap();
        peer.set_local_description(Instant::now(), offer.clone()).unwrap();
        let answer = gateway.whep(device, channel, &offer.sdp).await;
        if answer.status != 201 {
            return Err(answer);
        }
        assert_eq!(answer.header("content-type"), "application/sdp");
        assert_ne!(answer.header("etag"), "");
        let wire = Wire::join(peer, &answer.text).await;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(run(wire, Arc::clone(&seen)));
        let user = answer.text.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap().to_owned();
        Ok(Player { seen, task, location: answer.header("location").to_owned(), user })
    }

    /// An offer for picture and sound.
    pub(crate) fn offer() -> String {
        peer().create_offer(None).unwrap().sdp
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until what arrived is as wanted; gives it.
    pub(crate) async fn sees(&self, what: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        until(&format!("a player that sees {what}"), async || {
            let seen = self.seen();
            if fits(&seen) { Ok(seen) } else { Err(format!("{seen:?}")) }
        })
        .await
    }

    /// Waits for so many pictures more than there are now, and asserts that it began as a decoder needs it.
    pub(crate) async fn sees_pictures(&self, more: u64) -> Seen {
        let before = self.seen().pictures;
        let seen = self.sees("pictures", |seen| seen.pictures >= before + more && seen.key_frames > 0).await;
        let at = |wanted: u8| seen.first.iter().position(|unit| *unit == wanted).unwrap_or(usize::MAX);
        assert!(at(SPS) < at(PPS) && at(PPS) < at(IDR) && at(IDR) < at(SLICE), "began with {:?}", seen.first);
        seen
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn peer() -> Box<RTCPeerConnection> {
    let mut peer = built();
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        peer.add_transceiver_from_kind(kind, None).unwrap();
    }
    peer
}

/// Takes what arrives until it is aborted.
async fn run(mut wire: Wire, seen: Arc<Mutex<Seen>>) {
    loop {
        let packets = wire.carry().await;
        {
            let mut seen = seen.lock().unwrap();
            (seen.connected, seen.closed) = (wire.connected, wire.closed);
            for packet in packets {
                match packet.header.payload_type {
                    0 | 8 => seen.audio += 1,
                    _ => seen.video(packet.header.sequence_number, packet.header.marker, &packet.payload),
                }
            }
        }
        wire.wait().await;
    }
}
