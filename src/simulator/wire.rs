//! SIP on the wire as some devices write it: the quirks that change bytes and not behaviour.

use bytes::Bytes;

use super::quirks::Quirk;
use super::settings::Settings;
use crate::sip::Transport;

/// Names with a compact form (RFC 3261 7.3.3, RFC 6665).
const COMPACT: [(&str, &str); 9] = [
    ("Via", "v"),
    ("From", "f"),
    ("To", "t"),
    ("Call-ID", "i"),
    ("Contact", "m"),
    ("Content-Type", "c"),
    ("Content-Length", "l"),
    ("Subject", "s"),
    ("Event", "o"),
];

/// The quirks that this changes something for.
const HERE: [Quirk; 6] = [
    Quirk::NoRport,
    Quirk::LowerHeaders,
    Quirk::CompactHeaders,
    Quirk::NoSpace,
    Quirk::WrongLength,
    Quirk::NoTrying,
];

/// A message as it leaves. `None`: it does not leave at all.
pub(super) fn spoil(settings: &Settings, transport: Transport, bytes: Bytes) -> Option<Bytes> {
    if !HERE.iter().any(|quirk| settings.has(*quirk)) {
        return Some(bytes);
    }
    if settings.has(Quirk::NoTrying) && bytes.starts_with(b"SIP/2.0 100 ") {
        return None;
    }
    let Some(split) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Some(bytes) };
    let (head, rest) = bytes.split_at(split);
    // A head of our own making is ASCII.
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push_str("\r\n");
        out.push_str(&header(settings, transport, line));
    }
    Some([out.as_bytes(), rest].concat().into())
}

fn header(settings: &Settings, transport: Transport, line: &str) -> String {
    let Some((name, value)) = line.split_once(':') else { return line.to_owned() };
    let mut value = value.trim_start().to_owned();
    if settings.has(Quirk::NoRport) && name == "Via" {
        value = value.replace(";rport;", ";");
    }
    // Over a stream it would be a fault that nobody can mend: the next message would begin inside this one.
    if settings.has(Quirk::WrongLength) && name == "Content-Length" && transport == Transport::Udp {
        value = value.parse::<u64>().map_or(value, |length| (length + 100).to_string());
    }
    let compact = COMPACT.iter().find(|(long, _)| settings.has(Quirk::CompactHeaders) && *long == name);
    let name = compact.map_or(name, |(_, short)| short);
    let name = if settings.has(Quirk::LowerHeaders) { name.to_lowercase() } else { name.to_owned() };
    let gap = if settings.has(Quirk::NoSpace) { "" } else { " " };
    format!("{name}:{gap}{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.4:5060;rport;branch=z9hG4bK1\r\n\
        Content-Type: x/y\r\nContent-Length: 2\r\n\r\nhi";

    fn spoilt(quirks: &[Quirk], transport: Transport) -> String {
        let settings = Settings { quirks: quirks.to_vec(), ..Settings::example() };
        let bytes = spoil(&settings, transport, Bytes::from_static(MESSAGE)).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn quirks_change_the_head_and_leave_the_body() {
        assert_eq!(spoilt(&[], Transport::Udp).as_bytes(), MESSAGE);
        assert!(spoilt(&[Quirk::NoRport], Transport::Udp).contains("5060;branch"));
        let short = spoilt(&[Quirk::CompactHeaders, Quirk::NoSpace], Transport::Udp);
        assert!(short.ends_with("\r\nc:x/y\r\nl:2\r\n\r\nhi"), "{short}");
        assert!(spoilt(&[Quirk::LowerHeaders], Transport::Udp).contains("\r\ncontent-type: x/y"));
        assert!(spoilt(&[Quirk::WrongLength], Transport::Udp).contains("Content-Length: 102\r\n"));
        assert!(spoilt(&[Quirk::WrongLength], Transport::Tcp).contains("Content-Length: 2\r\n"));
    }

    #[test]
    fn a_device_may_not_say_that_it_is_trying() {
        let settings = Settings { quirks: vec![Quirk::NoTrying], ..Settings::example() };
        let trying = Bytes::from_static(b"SIP/2.0 100 Trying\r\n\r\n");
        assert_eq!(spoil(&settings, Transport::Udp, trying), None);
    }
}
