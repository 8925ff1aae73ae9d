//! STUN binding requests (RFC 8489) as the connectivity checks of ICE (RFC 8445), seen by a lite agent:
//! it sends none, proves the sender of each by the password it was given in the answer, and answers.

use std::net::{IpAddr, SocketAddr};

use rtc::crypto::Mac;
use rtc::stun::fingerprint::fingerprint_value;

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

const INTEGRITY_SIZE: usize = 20;

/// Why a datagram that looks like STUN is no connectivity check.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum StunError {
    #[error("the message is cut short or its lengths disagree")]
    Malformed,
    #[error("not a binding request")]
    NotARequest,
    #[error("USERNAME or MESSAGE-INTEGRITY is missing")]
    Incomplete,
    #[error("FINGERPRINT does not match")]
    Fingerprint,
}

/// Whether a datagram is STUN by RFC 7983 and the magic cookie.
pub(super) fn is_stun(data: &[u8]) -> bool {
    data.len() >= HEADER && data.first().is_some_and(|byte| *byte < 4) && data.get(4..8) == Some(&COOKIE)
}

/// A binding request whose sender is not yet proven.
#[derive(Debug)]
pub(super) struct Request<'a> {
    raw: &'a [u8],
    integrity_at: usize,
    /// USERNAME as sent: our fragment, a colon, the peer's fragment.
    pub user: &'a str,
    pub priority: u32,
    pub use_candidate: bool,
    /// The peer takes itself for the controlled agent, which only we can be.
    pub controlled: bool,
}

impl<'a> Request<'a> {
    /// Reads a binding request; linear in its length, keeps nothing but slices of it.
    pub(super) fn parse(raw: &'a [u8]) -> Result<Self, StunError> {
        let (kind, length) = (u16_at(raw, 0), u16_at(raw, 2));
        let (Some(kind), Some(length)) = (kind, length) else { return Err(StunError::Malformed) };
        if !is_stun(raw) || usize::from(length) + HEADER != raw.len() {
            return Err(StunError::Malformed);
        }
        if kind != BINDING_REQUEST {
            return Err(StunError::NotARequest);
        }
        let mut request =
            Request { raw, integrity_at: 0, user: "", priority: 0, use_candidate: false, controlled: false };
        let mut at = HEADER;
        while at < raw.len() {
            let (Some(kind), Some(length)) = (u16_at(raw, at), u16_at(raw, at + 2)) else {
                return Err(StunError::Malformed);
            };
            let value = raw.get(at + 4..at + 4 + usize::from(length)).ok_or(StunError::Malformed)?;
            // What follows MESSAGE-INTEGRITY is not covered by it and counts for nothing, but FINGERPRINT.
            match kind {
                FINGERPRINT => {
                    let expected = fingerprint_value(raw.get(..at).unwrap_or_default());
                    if value != expected.to_be_bytes() || at + 8 != raw.len() {
                        return Err(StunError::Fingerprint);
                    }
                }
                _ if request.integrity_at != 0 => {}
                USERNAME => request.user = std::str::from_utf8(value).map_err(|_| StunError::Malformed)?,
                MESSAGE_INTEGRITY if value.len() == INTEGRITY_SIZE => request.integrity_at = at,
                PRIORITY => {
                    let bytes = value.try_into().map_err(|_| StunError::Malformed)?;
                    request.priority = u32::from_be_bytes(bytes);
                }
                USE_CANDIDATE => request.use_candidate = true,
                ICE_CONTROLLED => request.controlled = true,
                _ => {}
            }
            at += 4 + usize::from(length).next_multiple_of(4);
        }
        if request.integrity_at == 0 || request.user.is_empty() {
            return Err(StunError::Incomplete);
        }
        Ok(request)
    }

    /// Our own user name fragment in USERNAME: it says which session the check is for.
    pub(super) fn local_user(&self) -> &'a str {
        self.user.split(':').next().unwrap_or_default()
    }

    /// Whether the sender knows the password that keys `mac`.
    pub(super) fn verify(&self, mac: &mut dyn Mac) -> bool {
        let tag_at = self.integrity_at + 4;
        let (Some(kind), Some(covered), Some(tag)) = (
            self.raw.get(..2),
            self.raw.get(4..self.integrity_at),
            self.raw.get(tag_at..tag_at + INTEGRITY_SIZE),
        ) else {
            return false;
        };
        // The length of the header counts to the end of MESSAGE-INTEGRITY, as if nothing followed.
        let length = (tag_at + INTEGRITY_SIZE - HEADER) as u16;
        mac.verify(&[kind, &length.to_be_bytes(), covered], tag).is_ok()
    }

    /// The answer to a valid check: tells the peer the address it was seen from.
    pub(super) fn success(&self, mac: &mut dyn Mac, remote: SocketAddr) -> Option<Vec<u8>> {
        let port = remote.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        let mut value = vec![0];
        let mask = self.raw.get(4..HEADER)?;
        let xor = |bytes: &[u8]| bytes.iter().zip(mask).map(|(a, b)| a ^ b).collect::<Vec<u8>>();
        match remote.ip().to_canonical() {
            IpAddr::V4(ip) => {
                value.push(1);
                value.extend_from_slice(&port.to_be_bytes());
                value.extend(xor(&ip.octets()));
            }
            IpAddr::V6(ip) => {
                value.push(2);
                value.extend_from_slice(&port.to_be_bytes());
                value.extend(xor(&ip.octets()));
            }
        }
        self.answer(BINDING_SUCCESS, XOR_MAPPED_ADDRESS, &value, mac)
    }

    /// The answer to a peer that takes us for the controlling agent: 487, it has to change its role.
    pub(super) fn role_conflict(&self, mac: &mut dyn Mac) -> Option<Vec<u8>> {
        self.answer(BINDING_ERROR, ERROR_CODE, b"\0\0\x04\x57Role Conflict\0\0\0", mac)
    }

    /// `value` is a multiple of four bytes long.
    fn answer(&self, kind: u16, attribute: u16, value: &[u8], mac: &mut dyn Mac) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(HEADER + 4 + value.len() + 4 + INTEGRITY_SIZE + 8);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(self.raw.get(4..HEADER)?);
        put(&mut out, attribute, value);
        set_length(&mut out, 4 + INTEGRITY_SIZE);
        let mut tag = [0; INTEGRITY_SIZE];
        mac.sign(&[&out], &mut tag).ok()?;
        put(&mut out, MESSAGE_INTEGRITY, &tag);
        set_length(&mut out, 8);
        let fingerprint = fingerprint_value(&out);
        put(&mut out, FINGERPRINT, &fingerprint.to_be_bytes());
        Some(out)
    }
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]))
}

fn put(out: &mut Vec<u8>, attribute: u16, value: &[u8]) {
    out.extend_from_slice(&attribute.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// Sets the length of the header as if `more` bytes of attributes followed.
fn set_length(out: &mut [u8], more: usize) {
    let length = (out.len() + more - HEADER) as u16;
    if let Some(field) = out.get_mut(2..4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
pub(in crate::egress::webrtc) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtc::crypto::{HmacAlgorithm, default_provider};

    fn keyed(password: &str) -> Box<dyn Mac> {
        let provider = default_provider().unwrap();
        provider.crypto().new_hmac(HmacAlgorithm::Sha1, password.as_bytes()).unwrap()
    }

    /// A check as a browser sends it.
    pub(in crate::egress::webrtc) fn check(user: &str, password: &str, nominate: bool, role: u16) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&BINDING_REQUEST.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&COOKIE);
        out.extend_from_slice(b"transaction1");
        let mut padded = user.as_bytes().to_vec();
        padded.resize(user.len().next_multiple_of(4), 0);
        out.extend_from_slice(&USERNAME.to_be_bytes());
        out.extend_from_slice(&(user.len() as u16).to_be_bytes());
        out.extend_from_slice(&padded);
        put(&mut out, PRIORITY, &[0x6e, 0, 1, 0xff]);
        put(&mut out, role, &[0; 8]);
        if nominate {
            put(&mut out, USE_CANDIDATE, &[]);
        }
        set_length(&mut out, 24);
        let mut tag = [0; 20];
        keyed(password).sign(&[&out], &mut tag).unwrap();
        put(&mut out, MESSAGE_INTEGRITY, &tag);
        set_length(&mut out, 8);
        let crc = fingerprint_value(&out);
        put(&mut out, FINGERPRINT, &crc.to_be_bytes());
        out
    }

    /// RFC 5769, section 2.1.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\
        \x51\x26\x3b\x36\x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\x00\x08\x00\x14\
        \x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\
        \xe5\x7a\x3b\xcf";

    #[test]
    fn the_sample_of_rfc_5769_is_verified() {
        let request = Request::parse(SAMPLE).unwrap();
        assert_eq!(request.user, "evtj:h6vY");
        assert_eq!(request.local_user(), "evtj");
        assert_eq!(request.priority, 0x6e00_01ff);
        assert!(request.controlled && !request.use_candidate);
        assert!(request.verify(keyed("VOkJxbRl1RmTxUk/WvJxBt").as_mut()));
        assert!(!request.verify(keyed("another password here!").as_mut()));
    }

    #[test]
    fn an_answer_carries_the_mapped_address_and_is_verified_by_another_stack() {
        use rtc::stun::{integrity::MessageIntegrity, message::Message, xoraddr::XorMappedAddress};
        for remote in
            ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853", "[::ffff:10.0.0.1]:9"]
        {
            let remote: SocketAddr = remote.parse().unwrap();
            let raw = check("us:them", "the password", true, 0x802A);
            let request = Request::parse(&raw).unwrap();
            assert!(request.use_candidate && !request.controlled);
            let answer = request.success(keyed("the password").as_mut(), remote).unwrap();
            let mut message = Message { raw: answer, ..Message::default() };
            message.decode().unwrap();
            let provider = default_provider().unwrap();
            MessageIntegrity::check(&mut message, b"the password", provider.crypto()).unwrap();
            rtc::stun::fingerprint::FINGERPRINT.check(&message).unwrap();
            let mut address = XorMappedAddress::default();
            address.get_from_as(&message, rtc::stun::attributes::ATTR_XORMAPPED_ADDRESS).unwrap();
            assert_eq!((address.ip, address.port), (remote.ip().to_canonical(), remote.port()));
        }
    }

    #[test]
    fn a_role_conflict_is_an_error_487() {
        use rtc::stun::{error_code::ErrorCodeAttribute, message::Getter, message::Message};
        let raw = check("us:them", "the password", false, ICE_CONTROLLED);
        let request = Request::parse(&raw).unwrap();
        assert!(request.controlled);
        let answer = request.role_conflict(keyed("the password").as_mut()).unwrap();
        let mut message = Message { raw: answer, ..Message::default() };
        message.decode().unwrap();
        let mut code = ErrorCodeAttribute::default();
        code.get_from(&message).unwrap();
        assert_eq!(code.code.0, 487);
    }

    #[test]
    fn what_lies_after_the_integrity_counts_for_nothing() {
        let mut raw = check("us:them", "the password", false, 0x802A);
        raw.truncate(raw.len() - 8);
        put(&mut raw, USE_CANDIDATE, &[]);
        set_length(&mut raw, 0);
        let request = Request::parse(&raw).unwrap();
        assert!(!request.use_candidate);
        assert!(request.verify(keyed("the password").as_mut()));
    }

    #[test]
    fn faults_are_named() {
        let good = check("us:them", "p", false, 0x802A);
        let mut response = good.clone();
        response[0..2].copy_from_slice(&BINDING_SUCCESS.to_be_bytes());
        assert_eq!(Request::parse(&response).unwrap_err(), StunError::NotARequest);
        let mut torn = good.clone();
        torn.pop();
        assert_eq!(Request::parse(&torn).unwrap_err(), StunError::Malformed);
        let mut wrong = good;
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(Request::parse(&wrong).unwrap_err(), StunError::Fingerprint);
        assert!(!is_stun(b"\x16\xfe\xfd") && !is_stun(&[0; 20]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&data);
        }

        #[test]
        fn a_changed_byte_never_passes(at in 0usize..80, bit in 0u8..8) {
            let mut raw = check("us:them", "the password", true, 0x802A);
            let at = at % (raw.len() - 8); // FINGERPRINT itself proves nothing
            raw[at] ^= 1 << bit;
            if let Ok(request) = Request::parse(&raw) {
                prop_assert!(!request.verify(keyed("the password").as_mut()));
            }
        }
    }
}
