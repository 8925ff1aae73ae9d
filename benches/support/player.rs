//! A WebRTC player that connects and counts: checks of ICE, DTLS as client. It decrypts nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use gbgate::media::rtp::is_rtcp;
use rtc::crypto::{HashAlgorithm, HmacAlgorithm, RTCCryptoProvider, default_provider};
use rtc::dtls::config::{ConfigBuilder, ExtendedMasterSecretType};
use rtc::dtls::crypto::Certificate;
use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::shared::TransportProtocol;
use rtc::stun::fingerprint::fingerprint_value;
use tokio::net::UdpSocket;

const USER: &str = "player";

/// What all players count together.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connected: AtomicUsize,
    pub(crate) packets: AtomicU64,
}

pub(crate) struct Player {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
}

impl Player {
    pub(crate) fn new() -> Player {
        let provider = default_provider().unwrap();
        let certificate =
            Certificate::generate_self_signed(vec!["player".to_owned()], provider.crypto()).unwrap();
        Player { provider, certificate }
    }

    pub(crate) fn offer(&self) -> String {
        let hash =
            self.provider.crypto().hash(HashAlgorithm::Sha256, &self.certificate.certificate[0]).unwrap();
        let hex: Vec<_> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:{USER}\r\na=ice-pwd:{:24}\r\n\
             a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n\
             a=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\n\
             a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
             a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n",
            "x".repeat(24),
            hex.join(":")
        )
    }

    /// Connects, and counts packets of RTP until the gateway's socket is gone.
    pub(crate) async fn play(self, server: SocketAddr, answer: String, counts: Arc<Counts>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&self.provider))
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(true, None)
            .unwrap();
        let mut dtls = Endpoint::new(server, TransportProtocol::UDP, None);
        let check = self.check(&answer);
        socket.send(&check).await.unwrap();
        let mut checks = tokio::time::interval(Duration::from_secs(4));
        let mut timers = tokio::time::interval(Duration::from_millis(50));
        let mut begun = false;
        let mut buffer = vec![0; 2048];
        loop {
            while let Some(out) = dtls.poll_transmit() {
                socket.send(&out.message).await.unwrap();
            }
            let size = tokio::select! {
                received = socket.recv(&mut buffer) => match received {
                    Ok(size) => size,
                    Err(_) => return,
                },
                _ = checks.tick() => match socket.send(&check).await {
                    Ok(_) => 0,
                    Err(_) => return,
                },
                _ = timers.tick(), if begun => {
                    let _ = dtls.handle_timeout(server, Instant::now());
                    0
                }
            };
            match buffer.first() {
                _ if size == 0 => {}
                Some(0..=3) if !begun => {
                    begun = true;
                    dtls.connect(Instant::now(), server, Arc::new(config.clone()), None).unwrap();
                }
                Some(20..=63) => {
                    let datagram = BytesMut::from(&buffer[..size]);
                    let events = dtls.read(Instant::now(), server, None, datagram).unwrap();
                    let done = events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
                    counts.connected.fetch_add(usize::from(done), Ordering::Relaxed);
                }
                Some(128..=191) if !is_rtcp(&buffer[..size]) => {
                    counts.packets.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }

    /// A connectivity check that nominates (RFC 8445), for the session of this answer.
    fn check(&self, answer: &str) -> Vec<u8> {
        let value = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let user = format!("{}:{USER}", value("a=ice-ufrag:"));
        let mut out = b"\x00\x01\x00\x00\x21\x12\xA4\x42transaction1".to_vec();
        attribute(&mut out, 0x0006, user.as_bytes());
        attribute(&mut out, 0x0024, &[0x6E, 0, 1, 0xFF]);
        attribute(&mut out, 0x802A, &[0; 8]);
        attribute(&mut out, 0x0025, &[]);
        let mut tag = [0; 20];
        length(&mut out, 24);
        let password = value("a=ice-pwd:");
        let mut mac = self.provider.crypto().new_hmac(HmacAlgorithm::Sha1, password.as_bytes()).unwrap();
        mac.sign(&[&out], &mut tag).unwrap();
        attribute(&mut out, 0x0008, &tag);
        length(&mut out, 8);
        let fingerprint = fingerprint_value(&out);
        attribute(&mut out, 0x8028, &fingerprint.to_be_bytes());
        out
    }
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The length in the header, as if `more` bytes followed.
fn length(out: &mut [u8], more: usize) {
    let length = (out.len() + more - 20) as u16;
    out[2..4].copy_from_slice(&length.to_be_bytes());
}
