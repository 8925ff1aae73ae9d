//! What players have in common that are not browsers: `rtc` does ICE, DTLS and SRTP over one UDP socket.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp::Packet;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tokio::net::UdpSocket;
use tokio::time::sleep_until;

/// How long nothing may be due.
const LONG: Duration = Duration::from_secs(60);
/// The type of a DTLS record with an alert: nothing else than close_notify is sent on a connection that works.
const ALERT: u8 = 21;

/// A peer that offers nothing yet. Boxed: it is large, and moves through futures.
pub(crate) fn built() -> Box<RTCPeerConnection> {
    let mut media = MediaEngine::default();
    media.register_default_codecs().unwrap();
    Box::new(RTCPeerConnectionBuilder::new().with_media_engine(media).build(Instant::now()).unwrap())
}

/// A peer with its socket.
pub(crate) struct Wire {
    pub(crate) peer: Box<RTCPeerConnection>,
    pub(crate) connected: bool,
    /// Whether the gateway said goodbye.
    pub(crate) closed: bool,
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl Wire {
    /// Takes the gateway's answer to the offer that the peer has set.
    pub(crate) async fn join(mut peer: Box<RTCPeerConnection>, answer: &str) -> Wire {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = socket.local_addr().unwrap();
        let base_config = CandidateConfig {
            network: "udp".to_owned(),
            address: local.ip().to_string(),
            port: local.port(),
            component: 1,
            ..Default::default()
        };
        let candidate =
            CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host().unwrap();
        peer.add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap()).unwrap();
        let answer = RTCSessionDescription::answer(answer.to_owned()).unwrap();
        peer.set_remote_description(Instant::now(), answer).unwrap();
        Wire { peer, connected: false, closed: false, socket, buffer: vec![0; 2000] }
    }

    /// Sends what is to be sent, and gives the packets that have arrived.
    pub(crate) async fn carry(&mut self) -> Vec<Packet> {
        while let Some(out) = self.peer.poll_write() {
            // A gateway that was killed answers by ICMP.
            let _ = self.socket.send_to(&out.message, out.transport.peer_addr).await;
        }
        while let Some(event) = self.peer.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.connected |= state == RTCPeerConnectionState::Connected;
            }
        }
        let mut packets = Vec::new();
        while let Some(TaggedRTCMessage { message, .. }) = self.peer.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = message {
                packets.push(packet);
            }
        }
        packets
    }

    /// Waits until something has arrived or is due. May be given up at any time.
    pub(crate) async fn wait(&mut self) {
        let due = self.peer.poll_timeout().unwrap_or_else(|| Instant::now() + LONG);
        tokio::select! {
            received = self.socket.recv_from(&mut self.buffer) => {
                let Ok((size, peer_addr)) = received else { return };
                self.closed |= self.buffer[0] == ALERT;
                let local_addr = self.socket.local_addr().unwrap();
                let transport =
                    TransportContext { local_addr, peer_addr, ecn: None, transport_protocol: TransportProtocol::UDP };
                let message = BytesMut::from(&self.buffer[..size]);
                let _ = self.peer.handle_read(TaggedBytesMut { now: Instant::now(), transport, message });
            }
            () = sleep_until(due.into()) => {
                let _ = self.peer.handle_timeout(Instant::now());
            }
        }
    }
}
