//! DTLS and SRTP of one viewer (RFC 5763, RFC 5764): this side is the DTLS server, the peer is known by the
//! fingerprint of its certificate.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::crypto::{HashAlgorithm, HmacAlgorithm, Mac, RTCCryptoProvider, default_provider};
use rtc::dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, VerifyPeerCertificateFn};
use rtc::dtls::crypto::Certificate;
use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use rtc::dtls::state::State;
use rtc::rtp::Header as RtcHeader;
use rtc::shared::TransportProtocol;
use rtc::shared::error::Error as RtcError;
use rtc::srtp::config::{Config as KeyConfig, LABEL_EXTRACTOR_DTLS_SRTP};
use rtc::srtp::context::Context;
use rtc::srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc::srtp::protection_profile::ProtectionProfile;
use smallvec::SmallVec;

use crate::media::rtp::Header;

/// The one peer of a DTLS endpoint. ICE may move it to another address; DTLS need not know.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// Datagrams of a handshake at most; a handshake with losses has less than a hundred. It bounds what the DTLS
/// stack keeps of a peer that is not proven yet.
const MAX_HANDSHAKE: u32 = 256;

/// Times that a flight of the handshake is sent again at most, and the pause between two times.
const MAX_REPEATS: u32 = 32;
const REPEAT_PAUSE: Duration = Duration::from_millis(20);

/// Packets by sources not heard before that are tried at most. The SRTP context keeps a state for each
/// source, also of forged packets.
const MAX_STRANGERS: u32 = 64;

/// Sources that are known, of RTP and of RTCP: a browser has one for each track.
const MAX_SOURCES: usize = 8;

const REPLAY_WINDOW: usize = 64;

/// What proves this gateway to its viewers: a certificate made at start. Cheap to clone.
#[derive(Clone)]
pub(super) struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    /// SHA-256 of the certificate, for the answer.
    pub fingerprint: [u8; 32],
}

/// The DTLS stack said no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SecureError(String);

impl SecureError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl Identity {
    pub(super) fn generate() -> Result<Self, SecureError> {
        let provider = default_provider().map_err(SecureError::new)?;
        let certificate = Certificate::generate_self_signed(vec!["gbgate".to_owned()], provider.crypto())
            .map_err(SecureError::new)?;
        let der = certificate.certificate.first().ok_or_else(|| SecureError::new("no certificate"))?;
        let fingerprint = sha256(provider.as_ref(), der).ok_or_else(|| SecureError::new("no SHA-256"))?;
        Ok(Self { provider, certificate, fingerprint })
    }

    /// The key of STUN's MESSAGE-INTEGRITY.
    pub(super) fn mac(&self, password: &str) -> Result<Box<dyn Mac>, SecureError> {
        self.provider.crypto().new_hmac(HmacAlgorithm::Sha1, password.as_bytes()).map_err(SecureError::new)
    }
}

pub(super) fn sha256(provider: &dyn RTCCryptoProvider, data: &[u8]) -> Option<[u8; 32]> {
    provider.crypto().hash(HashAlgorithm::Sha256, data).ok()?.try_into().ok()
}

/// What a DTLS datagram led to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    Pending,
    /// The handshake is done; media can be sent.
    Established,
    /// The peer said goodbye.
    Closed,
}

/// What was sent last in the handshake. The DTLS stack stops its timer when the client repeats its hello, and
/// never answers it: if our answer was lost the handshake would hang. So the answer is kept and sent again.
#[derive(Default)]
struct Flight {
    datagrams: Vec<BytesMut>,
    sent: Option<Instant>,
    repeats: u32,
    transmits: VecDeque<BytesMut>,
}

impl Flight {
    /// Takes what the stack sends now.
    fn send(&mut self, now: Instant, datagrams: Vec<BytesMut>) {
        if datagrams.is_empty() {
            return;
        }
        self.transmits.extend(datagrams.iter().cloned());
        self.sent = Some(now);
        self.datagrams = datagrams;
    }

    fn repeat(&mut self, now: Instant) {
        let early = self.sent.is_none_or(|sent| now.saturating_duration_since(sent) < REPEAT_PAUSE);
        if !early && self.repeats < MAX_REPEATS {
            self.repeats += 1;
            let again = std::mem::take(&mut self.datagrams);
            self.send(now, again);
        }
    }
}

/// Whether a datagram begins with a ClientHello: a record of the handshake (RFC 6347 section 4.1) whose first
/// message is of type 1.
fn is_client_hello(data: &[u8]) -> bool {
    data.first() == Some(&22) && data.get(13) == Some(&1)
}

/// The secured transport of one viewer.
pub(super) struct Secure {
    provider: Arc<dyn RTCCryptoProvider>,
    dtls: Endpoint,
    outbound: Option<Context>,
    inbound: Option<Context>,
    handshake_datagrams: u32,
    flight: Flight,
    /// Of RTP and of RTCP.
    sources: [SmallVec<[u32; MAX_SOURCES]>; 2],
    strangers: u32,
}

impl Secure {
    pub(super) fn new(identity: &Identity, peer_fingerprint: [u8; 32]) -> Result<Self, SecureError> {
        let provider = Arc::clone(&identity.provider);
        let verify: VerifyPeerCertificateFn = Arc::new(move |certificates, _| {
            let first = certificates.first().ok_or(RtcError::ErrNonCertificate)?;
            match sha256(provider.as_ref(), first) {
                Some(hash) if hash == peer_fingerprint => Ok(()),
                _ => Err(RtcError::ErrNoMatchingCertificateFingerprint),
            }
        });
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&identity.provider))
            .with_certificates(vec![identity.certificate.clone()])
            .with_srtp_protection_profiles(vec![
                Profile::Srtp_Aead_Aes_128_Gcm,
                Profile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // Certificates of browsers are signed by themselves; the fingerprint is what proves them.
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(verify))
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(false, None)
            .map_err(SecureError::new)?;
        Ok(Self {
            provider: Arc::clone(&identity.provider),
            dtls: Endpoint::new(PEER, TransportProtocol::UDP, Some(Arc::new(config))),
            outbound: None,
            inbound: None,
            handshake_datagrams: 0,
            flight: Flight::default(),
            sources: Default::default(),
            strangers: 0,
        })
    }

    pub(super) fn established(&self) -> bool {
        self.outbound.is_some()
    }

    /// Takes a datagram of DTLS. Drain [`poll_transmit`](Self::poll_transmit) afterwards, also after an error.
    pub(super) fn handle_dtls(&mut self, now: Instant, data: &[u8]) -> Result<Progress, SecureError> {
        if !self.established() {
            self.handshake_datagrams += 1;
            if self.handshake_datagrams > MAX_HANDSHAKE {
                return Err(SecureError::new("the handshake does not end"));
            }
        }
        let events = self.dtls.read(now, PEER, None, BytesMut::from(data));
        let answer = self.take_answer();
        if answer.is_empty() && !self.established() && is_client_hello(data) {
            self.flight.repeat(now);
        }
        self.flight.send(now, answer);
        let events = events.map_err(SecureError::new)?;
        let mut progress = Progress::Pending;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    let state = self.dtls.get_connection_state(PEER);
                    let state = state.ok_or_else(|| SecureError::new("no connection"))?;
                    let (outbound, inbound) = contexts(state, self.provider.as_ref())?;
                    (self.outbound, self.inbound) = (Some(outbound), Some(inbound));
                    self.flight.datagrams = Vec::new();
                    progress = Progress::Established;
                }
                EndpointEvent::PeerClosed => return Ok(Progress::Closed),
                // There are no data channels.
                _ => {}
            }
        }
        Ok(progress)
    }

    pub(super) fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.flight.transmits.pop_front()
    }

    fn take_answer(&mut self) -> Vec<BytesMut> {
        std::iter::from_fn(|| self.dtls.poll_transmit().map(|transmit| transmit.message)).collect()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.dtls.poll_timeout(&PEER)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), SecureError> {
        let due = self.dtls.poll_timeout(&PEER).is_some_and(|at| at <= now);
        let result = if due { self.dtls.handle_timeout(PEER, now).map_err(SecureError::new) } else { Ok(()) };
        let answer = self.take_answer();
        self.flight.send(now, answer);
        result
    }

    /// Queues a close_notify.
    pub(super) fn close(&mut self, now: Instant) {
        // It fails only where there is no connection to close.
        let _ = self.dtls.close(now);
        let answer = self.take_answer();
        self.flight.send(now, answer);
    }

    /// Encrypts a packet of RTP, header included; `None` before the handshake is done.
    pub(super) fn protect_rtp(&mut self, header: &Header, packet: &[u8]) -> Option<BytesMut> {
        let header = RtcHeader {
            version: 2,
            marker: header.marker,
            payload_type: header.payload_type,
            sequence_number: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            ..RtcHeader::default()
        };
        self.outbound.as_mut()?.encrypt_rtp_with_header(packet, &header).ok()
    }

    pub(super) fn protect_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        self.outbound.as_mut()?.encrypt_rtcp(packet).ok()
    }

    /// Decrypts RTP of the peer; `None` for what it did not send, and for what came already.
    pub(super) fn unprotect_rtp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        let [sources, _] = &mut self.sources;
        let stranger = Stranger::look(packet.get(8..12)?, sources, &mut self.strangers)?;
        let plain = self.inbound.as_mut()?.decrypt_rtp(packet).ok()?;
        stranger.greet(sources);
        Some(plain)
    }

    /// Decrypts RTCP of the peer; `None` for what it did not send.
    pub(super) fn unprotect_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        let [_, sources] = &mut self.sources;
        let stranger = Stranger::look(packet.get(4..8)?, sources, &mut self.strangers)?;
        let plain = self.inbound.as_mut()?.decrypt_rtcp(packet).ok()?;
        stranger.greet(sources);
        Some(plain)
    }
}

/// A source that may become a known one.
struct Stranger(Option<u32>);

impl Stranger {
    /// `None` if the packet is not worth a try.
    fn look(ssrc: &[u8], known: &[u32], tried: &mut u32) -> Option<Stranger> {
        let ssrc = u32::from_be_bytes(ssrc.try_into().ok()?);
        if known.contains(&ssrc) {
            return Some(Stranger(None));
        }
        if *tried >= MAX_STRANGERS || known.len() >= MAX_SOURCES {
            return None;
        }
        *tried += 1;
        Some(Stranger(Some(ssrc)))
    }

    fn greet(self, known: &mut SmallVec<[u32; MAX_SOURCES]>) {
        known.extend(self.0);
    }
}

/// The SRTP contexts out and in, from the keys that DTLS exports (RFC 5764 section 4.2).
pub(super) fn contexts(
    state: &State,
    provider: &dyn RTCCryptoProvider,
) -> Result<(Context, Context), SecureError> {
    let profile = match state.srtp_protection_profile() {
        Profile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Srtp_Aes128_Cm_Hmac_Sha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        _ => return Err(SecureError::new("no common SRTP profile")),
    };
    let mut config = KeyConfig { profile, ..KeyConfig::default() };
    let length = config.keying_material_len();
    let material =
        state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], length).map_err(SecureError::new)?;
    config
        .set_session_keys_from_keying_material(material.as_ref(), state.is_client())
        .map_err(SecureError::new)?;
    let keys = &config.keys;
    let crypto = provider.crypto();
    let outbound = Context::new(&keys.local_master_key, &keys.local_master_salt, profile, None, None, crypto);
    let (rtp, rtcp) = (srtp_replay_protection(REPLAY_WINDOW), srtcp_replay_protection(REPLAY_WINDOW));
    let (key, salt) = (&keys.remote_master_key, &keys.remote_master_salt);
    let inbound = Context::new(key, salt, profile, Some(rtp), Some(rtcp), crypto);
    Ok((outbound.map_err(SecureError::new)?, inbound.map_err(SecureError::new)?))
}
