//! Identifiers: the 20-digit codes of annex D (2016) or annex E (2022), and all that is used in their place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Longest identifier kept. The standard's have 20 digits; some vendors add a suffix.
pub const MAX_LEN: usize = 32;

/// Digits of the serial that [`Id::nth`] counts: digits 14 to 20, as the 2016 edition describes them.
const SERIAL_DIGITS: usize = 7;

/// Why a text is not an identifier.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum BadId {
    #[error("the identifier is empty")]
    Empty,
    #[error("the identifier is longer than {MAX_LEN} characters")]
    TooLong,
    #[error(
        "the identifier has a character outside 0-9 A-Z a-z _ . - or does not begin with a letter, a digit or _"
    )]
    Character,
}

/// An identifier of a device, channel, group, region, platform or user.
///
/// Mostly 20 digits, yet devices in the field carry others, so that any text of 1 to [`MAX_LEN`] characters
/// of `[0-9A-Za-z_.-]` is taken. It begins with a letter, a digit or `_`, which rules out `..` and options of a
/// command line: an `Id` may be put into a header, a path, a query or a file name as it is.
///
/// Ordered as text. 33 bytes, no heap.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Id {
    // Padded with zeros, which no identifier contains: comparing the arrays compares the texts.
    bytes: [u8; MAX_LEN],
    len: u8,
}

impl Id {
    /// Reads an identifier; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Id, BadId> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let first = *text.as_bytes().first().ok_or(BadId::Empty)?;
        let mut bytes = [0; MAX_LEN];
        bytes.get_mut(..text.len()).ok_or(BadId::TooLong)?.copy_from_slice(text.as_bytes());
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if !text.bytes().all(fits) || matches!(first, b'.' | b'-') {
            return Err(BadId::Character);
        }
        Ok(Id { bytes, len: text.len() as u8 })
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII was let in, so that neither default is ever used.
        self.bytes.get(..usize::from(self.len)).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default()
    }

    fn is_numeric(&self) -> bool {
        self.as_str().bytes().all(|b| b.is_ascii_digit())
    }

    /// Whether this is a code of the standard's form: 20 digits.
    pub fn is_standard(&self) -> bool {
        self.len == 20 && self.is_numeric()
    }

    /// Digits 11 to 13 of a standard code: what it is a code of.
    pub fn type_code(&self) -> Option<u16> {
        if !self.is_standard() {
            return None;
        }
        self.as_str().get(10..13)?.parse().ok()
    }

    /// What the code says its owner is. Devices in the field carry arbitrary codes: a hint, never a reason to
    /// refuse.
    pub fn kind(&self) -> Kind {
        if self.is_numeric() && matches!(self.len, 2 | 4 | 6 | 8) {
            return Kind::Region;
        }
        self.type_code().map_or(Kind::Other, Kind::of_type_code)
    }

    /// The domain of the code, its first ten characters: the usual host part of a SIP URI and digest realm.
    pub fn domain(&self) -> &str {
        let text = self.as_str();
        text.get(..10).unwrap_or(text)
    }

    /// The identifier `n` after this one, for simulated populations: the last seven digits (or the last run of
    /// fewer) are counted up and wrap around. An identifier that does not end in a digit stays as it is.
    #[must_use]
    pub fn nth(&self, n: u64) -> Id {
        let mut next = *self;
        let mut carry = n;
        for digit in next.bytes.iter_mut().take(usize::from(self.len)).rev().take(SERIAL_DIGITS) {
            if !digit.is_ascii_digit() || carry == 0 {
                break;
            }
            let sum = u64::from(*digit - b'0').saturating_add(carry);
            *digit = b'0' + (sum % 10) as u8;
            carry = sum / 10;
        }
        next
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Id, BadId> {
        Id::parse(text)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an identifier such as \"34020000001320000001\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Id::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// What an identifier is a code of: digits 11 to 13, or its length for a region.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Kind {
    /// DVR, NVR or hybrid recorder: 111, 118, 130.
    Recorder,
    /// Video server or encoder: 112, 113.
    Encoder,
    /// 114.
    Decoder,
    /// Video or audio switching matrix: 115, 116.
    Matrix,
    /// 117.
    AlarmController,
    /// Any other main device of the front end: 119 to 129.
    Device,
    /// Camera or network camera: 131, 132.
    Camera,
    /// 133.
    Display,
    /// 134.
    AlarmInput,
    /// 135, and 140 of the 2022 edition.
    AlarmOutput,
    /// 136.
    VoiceInput,
    /// 137: the target of a broadcast.
    VoiceOutput,
    /// 138: mobile transport device.
    Mobile,
    /// Any other peripheral of the front end: 139, 141 to 199.
    Peripheral,
    /// A system: the signalling server 200, and platforms of others, 500 to 599.
    Platform,
    /// Any other server of a platform: 201 to 299.
    Server,
    /// 215: the root of a grouping.
    BusinessGroup,
    /// 216: a branch of a grouping.
    VirtualOrganisation,
    /// Administrative division: 2, 4, 6 or 8 digits.
    Region,
    /// Users of the centre and of terminals: 300 to 499.
    User,
    /// A code the standard leaves open, or not one of its form.
    Other,
}

impl Kind {
    fn of_type_code(code: u16) -> Kind {
        match code {
            111 | 118 | 130 => Kind::Recorder,
            112 | 113 => Kind::Encoder,
            114 => Kind::Decoder,
            115 | 116 => Kind::Matrix,
            117 => Kind::AlarmController,
            119..=129 => Kind::Device,
            131 | 132 => Kind::Camera,
            133 => Kind::Display,
            134 => Kind::AlarmInput,
            135 | 140 => Kind::AlarmOutput,
            136 => Kind::VoiceInput,
            137 => Kind::VoiceOutput,
            138 => Kind::Mobile,
            139 | 141..=199 => Kind::Peripheral,
            200 | 500..=599 => Kind::Platform,
            215 => Kind::BusinessGroup,
            216 => Kind::VirtualOrganisation,
            201..=299 => Kind::Server,
            300..=499 => Kind::User,
            _ => Kind::Other,
        }
    }

    /// Whether a catalog item of this kind is a channel, to be played or controlled: the peripherals 131 to 199,
    /// and codes that say nothing, since a device that lists one means something by it.
    pub fn is_channel(self) -> bool {
        matches!(
            self,
            Kind::Camera
                | Kind::Display
                | Kind::AlarmInput
                | Kind::AlarmOutput
                | Kind::VoiceInput
                | Kind::VoiceOutput
                | Kind::Mobile
                | Kind::Peripheral
                | Kind::Other
        )
    }

    /// Whether a catalog item of this kind only holds others: systems, groups and regions.
    pub fn is_folder(self) -> bool {
        matches!(self, Kind::Platform | Kind::BusinessGroup | Kind::VirtualOrganisation | Kind::Region)
    }

    /// The stable name for the outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Recorder => "recorder",
            Kind::Encoder => "encoder",
            Kind::Decoder => "decoder",
            Kind::Matrix => "matrix",
            Kind::AlarmController => "alarm-controller",
            Kind::Device => "device",
            Kind::Camera => "camera",
            Kind::Display => "display",
            Kind::AlarmInput => "alarm-input",
            Kind::AlarmOutput => "alarm-output",
            Kind::VoiceInput => "voice-input",
            Kind::VoiceOutput => "voice-output",
            Kind::Mobile => "mobile",
            Kind::Peripheral => "peripheral",
            Kind::Platform => "platform",
            Kind::Server => "server",
            Kind::BusinessGroup => "business-group",
            Kind::VirtualOrganisation => "virtual-organisation",
            Kind::Region => "region",
            Kind::User => "user",
            Kind::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    #[test]
    fn reads_a_standard_code() {
        let camera = id(" 34020000001310000001\r\n");
        assert_eq!(camera.as_str(), "34020000001310000001");
        assert_eq!(
            (camera.type_code(), camera.kind(), camera.domain()),
            (Some(131), Kind::Camera, "3402000000")
        );
        assert!(camera.is_standard() && camera.kind().is_channel() && !camera.kind().is_folder());
    }

    #[test]
    fn knows_the_kinds() {
        let of = |code: u16| id(&format!("3402000000{code}0000001")).kind();
        assert_eq!(of(118), Kind::Recorder);
        assert_eq!(of(200), Kind::Platform);
        assert_eq!(of(202), Kind::Server);
        assert_eq!(of(215), Kind::BusinessGroup);
        assert_eq!(of(216), Kind::VirtualOrganisation);
        assert_eq!(of(403), Kind::User);
        assert_eq!(of(777), Kind::Other);
        assert!((131..=199).all(|code| of(code).is_channel()));
        assert!(!(111..=130).any(|code| of(code).is_channel()));
        for region in ["34", "3402", "340200", "34020000"] {
            assert_eq!(id(region).kind(), Kind::Region);
        }
        assert_eq!(id("3402000000").kind(), Kind::Other);
        assert_eq!(id("camera-1").type_code(), None);
    }

    #[test]
    fn refuses_what_could_do_harm() {
        assert_eq!(Id::parse(" \0"), Err(BadId::Empty));
        assert_eq!(Id::parse(&"1".repeat(33)), Err(BadId::TooLong));
        for bad in
            ["..", ".", "-rf", "a/b", "a b", "a\r\nVia: x", "a%2e", "摄像机", "a@b", "a;b", "\"", "<a>"]
        {
            assert_eq!(Id::parse(bad), Err(BadId::Character), "{bad:?}");
        }
    }

    #[test]
    fn counts_on() {
        let first = id("34020000001310000001");
        assert_eq!(first.nth(0), first);
        assert_eq!(first.nth(41).as_str(), "34020000001310000042");
        assert_eq!(first.nth(1_000_000).as_str(), "34020000001311000001");
        assert_eq!(first.nth(9_999_999).as_str(), "34020000001310000000");
        assert_eq!(id("cam9").nth(1).as_str(), "cam0");
        assert_eq!(id("gate").nth(7).as_str(), "gate");
        assert_eq!(id("99").nth(u64::MAX).as_str().len(), 2);
    }

    #[test]
    fn is_a_string_to_serde() {
        let json = serde_json::to_string(&id("340200")).unwrap();
        assert_eq!(json, "\"340200\"");
        assert_eq!(serde_json::from_str::<Id>(&json).unwrap(), id("340200"));
        assert!(serde_json::from_str::<Id>("\"a b\"").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            if let Ok(id) = Id::parse(&text) {
                prop_assert_eq!(id.as_str(), text.trim());
                let _ = (id.kind(), id.domain(), id.nth(3), id.type_code());
            }
        }

        #[test]
        fn written_and_read_again(text in "[0-9A-Za-z_][0-9A-Za-z_.-]{0,31}", other in "[0-9A-Za-z_][0-9A-Za-z_.-]{0,31}") {
            let a: Id = text.parse().unwrap();
            let b: Id = other.parse().unwrap();
            prop_assert_eq!(a.to_string(), text.as_str());
            prop_assert_eq!(a.cmp(&b), text.cmp(&other));
        }
    }
}
