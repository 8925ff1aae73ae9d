//! The RTP packet (RFC 3550 section 5.1).

use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

/// Bytes of a header without contributing sources and extension.
pub const HEADER_LEN: usize = 12;

const VERSION: u8 = 2;

/// Why bytes are not an RTP packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum RtpError {
    #[error("shorter than an RTP header")]
    Short,
    #[error("not RTP version 2")]
    Version,
    #[error("the list of contributing sources runs past the end")]
    Csrc,
    #[error("the header extension runs past the end")]
    Extension,
    #[error("the padding is empty or longer than the payload")]
    Padding,
}

impl RtpError {
    /// A stable label for counting.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Short => "rtp_short",
            Self::Version => "rtp_version",
            Self::Csrc => "rtp_csrc",
            Self::Extension => "rtp_extension",
            Self::Padding => "rtp_padding",
        }
    }
}

/// The fields of a header that a sender chooses; written without contributing sources, extension or padding.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// 7 bits.
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    /// In units of the payload's clock: 90 kHz for PS and video.
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Header {
    /// Appends the 12 bytes of the header.
    pub fn write(&self, out: &mut impl BufMut) {
        out.put_slice(&self.to_bytes());
    }

    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.to_be_bytes();
        let second = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        [VERSION << 6, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]
    }
}

/// A packet as received; the payload is a slice of the received bytes, without padding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Bytes,
}

impl Packet {
    /// Reads a packet of RTP. The payload may be empty.
    ///
    /// # Errors
    /// Where a length inside the header does not fit the bytes, or the version is not 2.
    pub fn parse(mut bytes: Bytes) -> Result<Self, RtpError> {
        let Some(&[first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]) = bytes.first_chunk() else {
            return Err(RtpError::Short);
        };
        if first >> 6 != VERSION {
            return Err(RtpError::Version);
        }
        skip(&mut bytes, HEADER_LEN + 4 * usize::from(first & 0x0f)).ok_or(RtpError::Csrc)?;
        if first & 0x10 != 0 {
            let &[_, _, l0, l1] = bytes.first_chunk().ok_or(RtpError::Extension)?;
            let words = usize::from(u16::from_be_bytes([l0, l1]));
            skip(&mut bytes, 4 + 4 * words).ok_or(RtpError::Extension)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(bytes.last().copied().unwrap_or(0));
            let kept = bytes.len().checked_sub(padding).filter(|_| padding > 0).ok_or(RtpError::Padding)?;
            bytes.truncate(kept);
        }
        Ok(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload: bytes,
        })
    }

    pub fn header(&self) -> Header {
        Header {
            payload_type: self.payload_type,
            marker: self.marker,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
    }

    /// Appends header and payload.
    pub fn write(&self, out: &mut impl BufMut) {
        self.header().write(out);
        out.put_slice(&self.payload);
    }
}

fn skip(bytes: &mut Bytes, count: usize) -> Option<()> {
    (count <= bytes.len()).then(|| bytes.advance(count))
}

/// Whether a datagram or frame is RTCP rather than RTP (RFC 5761 section 4: packet types 192 to 223, which an
/// RTP packet would reach only with the payload types 64 to 95, reserved for this reason).
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 192..=223, ..] if first >> 6 == VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: [u8; 14] = [0x80, 0xe0, 0xff, 0xfe, 0, 0, 0x0e, 0x10, 0x0b, 0xeb, 0xc6, 0xd2, 1, 2];

    fn parse(bytes: &[u8]) -> Result<Packet, RtpError> {
        Packet::parse(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn reads_a_plain_packet() {
        let packet = parse(&PLAIN).unwrap();
        let header =
            Header { payload_type: 96, marker: true, sequence: 65534, timestamp: 3600, ssrc: 200_001_234 };
        assert_eq!(packet.header(), header);
        assert_eq!(&packet.payload[..], [1, 2]);
    }

    #[test]
    fn skips_sources_extension_and_padding() {
        let mut bytes = PLAIN[..12].to_vec();
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        bytes.extend([0; 8]); // two contributing sources
        bytes.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]); // an extension of one word
        bytes.extend([7, 8, 0, 0, 3]); // two bytes of payload, three of padding
        assert_eq!(&parse(&bytes).unwrap().payload[..], [7, 8]);
    }

    #[test]
    fn says_what_is_wrong() {
        let with = |first: u8, tail: &[u8]| {
            let mut bytes = PLAIN[..12].to_vec();
            bytes[0] = first;
            bytes.extend_from_slice(tail);
            parse(&bytes).unwrap_err()
        };
        assert_eq!(parse(&PLAIN[..11]), Err(RtpError::Short));
        assert_eq!(with(0x40, &[]), RtpError::Version);
        assert_eq!(with(0x81, &[0; 3]), RtpError::Csrc);
        assert_eq!(with(0x90, &[0; 3]), RtpError::Extension);
        assert_eq!(with(0x90, &[0, 0, 0xff, 0xff, 1, 2, 3, 4]), RtpError::Extension);
        assert_eq!(with(0xa0, &[]), RtpError::Padding);
        assert_eq!(with(0xa0, &[1, 0]), RtpError::Padding);
        assert_eq!(with(0xa0, &[1, 3]), RtpError::Padding);
    }

    #[test]
    fn padding_may_be_all_there_is() {
        let mut bytes = PLAIN.to_vec();
        bytes[0] = 0xa0;
        bytes[13] = 2;
        assert!(parse(&bytes).unwrap().payload.is_empty());
    }

    #[test]
    fn tells_rtcp_from_rtp() {
        assert!(is_rtcp(&[0x81, 200, 0, 1]));
        assert!(is_rtcp(&[0x81, 206]));
        assert!(!is_rtcp(&PLAIN));
        assert!(!is_rtcp(&[0x80, 8]));
        assert!(!is_rtcp(&[0x01, 200]));
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            payload_type in 0u8..128, marker: bool, sequence: u16, timestamp: u32, ssrc: u32, payload: Vec<u8>
        ) {
            let payload = Bytes::from(payload);
            let packet = Packet { payload_type, marker, sequence, timestamp, ssrc, payload };
            let mut out = Vec::new();
            packet.write(&mut out);
            prop_assert_eq!(Packet::parse(out.into()), Ok(packet));
        }

        #[test]
        fn never_panics(mut bytes: Vec<u8>, first in 0x80u8..0xc0) {
            let _ = parse(&bytes);
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            if let Ok(packet) = parse(&bytes) {
                prop_assert!(packet.payload.len() + HEADER_LEN <= bytes.len());
            }
        }
    }
}
