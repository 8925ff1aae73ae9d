//! A player for tests, without input and output as the session is: checks, DTLS as client, SRTP.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::crypto::{RTCCryptoProvider, default_provider};
use rtc::dtls::config::{ConfigBuilder, ExtendedMasterSecretType};
use rtc::dtls::crypto::Certificate;
use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use rtc::shared::TransportProtocol;
use rtc::srtp::context::Context;

use super::packetiser::Batch;
use super::secure::{contexts, sha256};
use super::stun::is_stun;
use super::stun::tests::check;
use crate::media::codec::payload::RtpPayload;
use crate::media::rtp::{Packet, is_rtcp, rtcp};
use crate::media::unit::Track;

pub(super) const USER: &str = "player";
pub(super) const PASSWORD: &str = "the password of the player";
const SERVER: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

#[allow(clippy::disallowed_methods)] // any moment will do
pub(super) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

pub(super) fn at(milliseconds: u64) -> Instant {
    start() + Duration::from_millis(milliseconds)
}

pub(super) fn batch(track: Track, timestamp: i64, key: bool, count: usize) -> Arc<Batch> {
    let payload = |index: usize| RtpPayload {
        marker: index + 1 == count,
        head: Default::default(),
        body: Bytes::from(vec![index as u8; 20]),
    };
    Arc::new(Batch { track, timestamp, key, packets: (0..count).map(payload).collect() })
}

pub(super) struct Player {
    provider: Arc<dyn RTCCryptoProvider>,
    pub fingerprint: [u8; 32],
    dtls: Endpoint,
    pub outbound: Option<Context>,
    inbound: Option<Context>,
    pub checks_answered: usize,
    pub rtp: Vec<Packet>,
    pub rtcp: Vec<rtcp::Rtcp>,
    pub closed: bool,
}

impl Player {
    pub(super) fn new(profiles: Vec<Profile>) -> Self {
        let provider = default_provider().unwrap();
        let certificate =
            Certificate::generate_self_signed(vec!["player".to_owned()], provider.crypto()).unwrap();
        let fingerprint = sha256(provider.as_ref(), &certificate.certificate[0]).unwrap();
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&provider))
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(profiles)
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(true, None)
            .unwrap();
        let mut dtls = Endpoint::new(SERVER, TransportProtocol::UDP, None);
        dtls.connect(start(), SERVER, Arc::new(config), None).unwrap();
        Self {
            provider,
            fingerprint,
            dtls,
            outbound: None,
            inbound: None,
            checks_answered: 0,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn check(&self, server: (&str, &str), nominate: bool) -> Vec<u8> {
        check(&format!("{}:{USER}", server.0), server.1, nominate, 0x802A)
    }

    pub(super) fn connected(&self) -> bool {
        self.inbound.is_some()
    }

    pub(super) fn poll(&mut self) -> Option<BytesMut> {
        self.dtls.poll_transmit().map(|transmit| transmit.message)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let _ = self.dtls.handle_timeout(SERVER, now);
    }

    pub(super) fn receive(&mut self, now: Instant, data: &[u8]) {
        if is_stun(data) {
            self.checks_answered += usize::from(data[..2] == [1, 1]);
        } else if data[0] < 64 {
            for event in self.dtls.read(now, SERVER, None, BytesMut::from(data)).unwrap() {
                match event {
                    EndpointEvent::HandshakeComplete => {
                        let state = self.dtls.get_connection_state(SERVER).unwrap();
                        let (outbound, inbound) = contexts(state, self.provider.as_ref()).unwrap();
                        (self.outbound, self.inbound) = (Some(outbound), Some(inbound));
                    }
                    EndpointEvent::PeerClosed => self.closed = true,
                    _ => {}
                }
            }
        } else if let Some(inbound) = self.inbound.as_mut() {
            // Media that overtakes the end of the handshake is lost, as in a browser.
            if is_rtcp(data) {
                let plain = inbound.decrypt_rtcp(data).unwrap();
                self.rtcp.extend(rtcp::parse(&plain).map(Result::unwrap));
            } else {
                let plain = inbound.decrypt_rtp(data).unwrap();
                self.rtp.push(Packet::parse(plain.freeze()).unwrap());
            }
        }
    }

    pub(super) fn say_goodbye(&mut self, now: Instant) {
        self.dtls.close(now).unwrap();
    }

    pub(super) fn feedback(&mut self, plain: &[u8]) -> BytesMut {
        self.outbound.as_mut().unwrap().encrypt_rtcp(plain).unwrap()
    }

    pub(super) fn offer(&self) -> String {
        let hex: Vec<_> = self.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:{USER}\r\na=ice-pwd:{PASSWORD}\r\n\
             a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n\
             a=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
             a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
             a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 8\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:8 PCMA/8000\r\n",
            hex.join(":")
        )
    }
}
