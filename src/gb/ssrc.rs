//! The ten digits that name a stream, in the `y=` line and the Subject (annex F of 2016, G of 2022), and as a
//! number in its RTP packets: 0 for live or 1 for history, digits 4 to 8 of the domain's code, and a serial of
//! four digits.

use super::id::Id;

/// Streams of one kind that a domain can tell apart.
pub const SERIALS: u16 = 10_000;

/// The first digit of history, at its place.
const HISTORY: u32 = 1_000_000_000;

/// The SSRC of a live stream. `domain` is the domain of the platform or the platform's own identifier; `serial` is
/// counted modulo [`SERIALS`].
pub fn live(domain: &Id, serial: u16) -> u32 {
    // A character that is no digit, or missing, counts as 0.
    let digits = domain.as_str().bytes().chain([b'0'; 8]).skip(3).take(5);
    let domain = digits.fold(0, |sum, b| sum * 10 + u32::from(b.saturating_sub(b'0').min(9)));
    domain * u32::from(SERIALS) + u32::from(serial % SERIALS)
}

/// The SSRC of a recording that is played back or downloaded.
pub fn history(domain: &Id, serial: u16) -> u32 {
    HISTORY + live(domain, serial)
}

/// Whether it names a recording.
pub fn is_history(ssrc: u32) -> bool {
    ssrc / HISTORY == 1
}

/// Ten digits, with leading zeros.
pub fn to_text(ssrc: u32) -> String {
    format!("{ssrc:010}")
}

/// Reads the digits at the beginning; leading zeros may be missing. `None` where there are none, or the number does
/// not fit an RTP packet.
pub fn parse(text: &str) -> Option<u32> {
    let text = text.trim_start();
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_in_the_standard() {
        for domain in ["34020000002000000001", "3402000000"] {
            let domain = Id::parse(domain).unwrap();
            assert_eq!((live(&domain, 1234), live(&domain, 11_234)), (0x0BEB_C6D2, 0x0BEB_C6D2));
            assert_eq!(history(&domain, 1234), 0x4786_90D2);
        }
        assert_eq!(to_text(200_001_234), "0200001234");
        assert!(is_history(1_200_001_234) && !is_history(200_001_234));
    }

    #[test]
    fn reads() {
        for (text, ssrc) in [
            ("0200001234", Some(200_001_234)),
            ("100000001", Some(100_000_001)),
            (" 0200001234 \r", Some(200_001_234)),
            ("0000000000", Some(0)),
            ("", None),
            ("x1", None),
            ("9999999999", None),
            ("-1", None),
        ] {
            assert_eq!(parse(text), ssrc, "{text:?}");
        }
    }

    #[test]
    fn any_identifier_makes_one() {
        for id in ["1", "camera-gate", "ZZZZZZZZZZ", "99999999"] {
            let id = Id::parse(id).unwrap();
            assert!(live(&id, u16::MAX) < HISTORY && is_history(history(&id, u16::MAX)));
        }
    }

    proptest! {
        #[test]
        fn written_and_read_again(ssrc: u32) {
            prop_assert_eq!(to_text(ssrc).len(), 10);
            prop_assert_eq!(parse(&to_text(ssrc)), Some(ssrc));
        }
    }
}
