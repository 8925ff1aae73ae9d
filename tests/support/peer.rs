//! Browsers for tests that look at time or that speak: `rtc` does ICE, DTLS and SRTP; of what arrives each picture is
//! kept with its time, and what is said is sent as G.711 every 20 ms.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::RTCPeerConnection;
use rtc::rtp::Header;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::gateway::{Answer, Gateway, answer};
use super::until;
use super::wire::{Wire, built};

/// Samples of a packet of sound, and its time.
pub(crate) const SAMPLES: usize = 160;
const PACKET: Duration = Duration::from_millis(20);
/// The SSRC of what is said in WebRTC; devices are told another.
const VOICE: u32 = 0x5EED;
/// A picture's last packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    pub(crate) at: Instant,
    pub(crate) timestamp: u32,
    /// The first byte of the last packet's payload, for the type of its NAL unit.
    pub(crate) head: u8,
}

/// What has arrived so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connected: bool,
    /// Whether the gateway said goodbye.
    pub(crate) closed: bool,
    pub(crate) audio: u64,
    pub(crate) pictures: Vec<Picture>,
}

/// A peer of the gateway. It stops without a word when it is dropped.
pub(crate) struct Peer {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
    /// Where the session can be ended.
    pub(crate) location: String,
    /// The gateway's answer.
    pub(crate) sdp: String,
}

impl Peer {
    /// Watches what is at a path such as `/whep/...`, and has to be let in.
    pub(crate) async fn watch(gateway: &Gateway, path: &str) -> Peer {
        Peer::receive(gateway, path, &[RtpCodecKind::Video, RtpCodecKind::Audio]).await
    }

    /// The same without sound: of a stream that has none, `rtc` does not read the answer that declines it.
    pub(crate) async fn watch_silently(gateway: &Gateway, path: &str) -> Peer {
        Peer::receive(gateway, path, &[RtpCodecKind::Video]).await
    }

    async fn receive(gateway: &Gateway, path: &str, kinds: &[RtpCodecKind]) -> Peer {
        let watching = Peer::begin(gateway, path, &mut |peer| {
            for kind in kinds.iter().copied() {
                peer.add_transceiver_from_kind(kind, None).unwrap();
            }
            None
        })
        .await;
        watching.unwrap_or_else(|answer| panic!("not let in: {answer:?}"))
    }

    /// Speaks at a path such as `/whip/...`: A-law where `codec` is `PCMA`, else `PCMU`. Packet `n` has the samples
    /// of [`said`]. What the gateway says instead, if it refuses.
    pub(crate) async fn try_talk(gateway: &Gateway, path: &str, codec: &str) -> Result<Peer, Answer> {
        Peer::begin(gateway, path, &mut |peer| {
            Some((peer.add_track(voice(codec)).unwrap(), sound(codec).payload_type))
        })
        .await
    }

    /// An offer to speak that nobody stands behind.
    pub(crate) fn offer_of_sound() -> String {
        let mut peer = built();
        peer.add_track(voice("PCMA")).unwrap();
        peer.create_offer(None).unwrap().sdp
    }

    /// Speaks A-law, and has to be let in.
    pub(crate) async fn talk(gateway: &Gateway, path: &str) -> Peer {
        let speaking = Peer::try_talk(gateway, path, "PCMA").await;
        speaking.unwrap_or_else(|answer| panic!("not let in: {answer:?}"))
    }

    async fn begin(
        gateway: &Gateway,
        path: &str,
        prepare: &mut (dyn FnMut(&mut RTCPeerConnection) -> Option<Voice> + Send),
    ) -> Result<Peer, Answer> {
        let mut peer = built();
        let voice = prepare(&mut peer);
        let mut offer = peer.create_offer(None).unwrap();
        if let Some((_, payload_type)) = voice {
            offer.sdp = only(&offer.sdp, payload_type);
        }
        peer.set_local_description(Instant::now(), offer.clone()).unwrap();
        let request = gateway.request(Method::POST, path).header("content-type", "application/sdp");
        let answer = answer(request.body(offer.sdp)).await;
        if answer.status != 201 {
            return Err(answer);
        }
        let wire = Wire::join(peer, &answer.text).await;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(run(wire, voice, Arc::clone(&seen)));
        Ok(Peer { seen, task, location: answer.header("location").to_owned(), sdp: answer.text })
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until what arrived is as wanted; gives it.
    pub(crate) async fn sees(&self, what: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        until(&format!("a peer that sees {what}"), async || {
            let seen = self.seen();
            if fits(&seen) {
                return Ok(seen);
            }
            Err(format!(
                "connected {}, closed {}, {} pictures, {} packets of sound",
                seen.connected,
                seen.closed,
                seen.pictures.len(),
                seen.audio
            ))
        })
        .await
    }

    /// Waits for so many pictures more than there are now; gives them.
    pub(crate) async fn next_pictures(&self, more: usize) -> Vec<Picture> {
        let before = self.seen().pictures.len();
        let seen = self.sees("pictures", |seen| seen.pictures.len() >= before + more).await;
        seen.pictures[before..].to_vec()
    }

    /// Ends the session, as a page that is left does.
    pub(crate) async fn leave(&self, gateway: &Gateway) {
        let left = gateway.ask(Method::DELETE, &self.location).await;
        assert_eq!(left.status.as_u16(), 200, "{left:?}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The samples of packet `number`: no two that follow each other are alike, and none is silence.
pub(crate) fn said(number: u64) -> u8 {
    0x20 + (number % 64) as u8
}

/// Which sender, and the payload type that it sends with.
type Voice = (rtc::rtp_transceiver::RTCRtpSenderId, u8);

fn voice(codec: &str) -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(VOICE), ..Default::default() },
        codec: sound(codec).rtp_codec,
        ..Default::default()
    };
    let name = || "voice".to_owned();
    MediaStreamTrack::new(name(), name(), name(), RtpCodecKind::Audio, vec![encoding])
}

fn sound(codec: &str) -> RTCRtpCodecParameters {
    let rtp_codec = RTCRtpCodec {
        mime_type: format!("audio/{codec}"),
        clock_rate: 8000,
        channels: 0,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: Vec::new(),
    };
    RTCRtpCodecParameters { rtp_codec, payload_type: if codec == "PCMA" { 8 } else { 0 } }
}

/// An offer of sound without all payload types but one.
fn only(offer: &str, payload_type: u8) -> String {
    let other = |line: &str| {
        let of = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().find_map(|start| line.strip_prefix(start));
        of.is_some_and(|rest| rest.split(' ').next() != Some(&payload_type.to_string()))
    };
    let lines = offer.lines().filter(|line| !other(line)).map(|line| match line.strip_prefix("m=audio ") {
        Some(rest) => {
            let words: Vec<&str> = rest.split(' ').collect();
            format!("m=audio {} {} {payload_type}\r\n", words[0], words[1])
        }
        None => format!("{line}\r\n"),
    });
    lines.collect()
}

/// Takes what arrives, and says what is to be said, until it is aborted.
async fn run(mut wire: Wire, voice: Option<Voice>, seen: Arc<Mutex<Seen>>) {
    let mut tick = interval(PACKET);
    // What was not said in time is said later: a burst is no speech.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut spoken = 0_u64;
    loop {
        let packets = wire.carry().await;
        {
            let mut seen = seen.lock().unwrap();
            (seen.connected, seen.closed) = (wire.connected, wire.closed);
            for packet in packets {
                match packet.header.payload_type {
                    0 | 8 => seen.audio += 1,
                    _ if packet.header.marker => seen.pictures.push(Picture {
                        at: Instant::now(),
                        timestamp: packet.header.timestamp,
                        head: packet.payload.first().copied().unwrap_or_default(),
                    }),
                    _ => {}
                }
            }
        }
        let speaks = voice.is_some() && wire.connected;
        tokio::select! {
            () = wire.wait() => {}
            _ = tick.tick(), if speaks => {
                let Some((sender, payload_type)) = voice else { continue };
                let header = Header {
                    version: 2,
                    payload_type,
                    marker: spoken == 0,
                    sequence_number: spoken as u16,
                    timestamp: (spoken as u32).wrapping_mul(SAMPLES as u32),
                    ssrc: VOICE,
                    ..Default::default()
                };
                let packet = rtc::rtp::Packet { header, payload: Bytes::from(vec![said(spoken); SAMPLES]) };
                if let Some(mut sender) = wire.peer.rtp_sender(sender) {
                    sender.write_rtp(Instant::now(), packet).unwrap();
                    spoken += 1;
                }
            }
        }
    }
}
