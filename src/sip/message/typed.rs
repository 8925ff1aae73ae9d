//! Single header values, typed.
//!
//! The readers are lenient: firmware leaves out angle brackets, puts blanks around `;` and `=`, and writes IPv6 and
//! odd hosts. What rsip reads, they read alike (a test compares them), at a tenth of its cost.

use super::start::Method;
use memchr::{memchr, memchr2};
use std::net::IpAddr;

/// A From, To or Contact value (RFC 3261 20.10), borrowed from its message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Address<'a> {
    /// The URI as it stands in the value, with its parameters.
    pub uri: &'a str,
    /// The user part without a password. In GB/T 28181 the 20-digit id.
    pub user: Option<&'a str>,
    /// The host without brackets; empty if there is none.
    pub host: &'a str,
    pub port: Option<u16>,
    pub tag: Option<&'a str>,
    /// The `expires` parameter of a Contact, seconds.
    pub expires: Option<u32>,
}

/// The pieces of a URI.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Uri<'a> {
    pub user: Option<&'a str>,
    /// Without brackets.
    pub host: &'a str,
    pub port: Option<u16>,
}

impl<'a> Uri<'a> {
    /// Reads a SIP URI; the scheme may be missing. `None` if nothing names a user or a host.
    pub fn parse(text: &'a str) -> Option<Uri<'a>> {
        uri(text)
    }

    /// The host and port as a socket address, if the host is an IP address; the port is 5060 if not given.
    pub fn socket_addr(&self) -> Option<std::net::SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some((ip, self.port.unwrap_or(5060)).into())
    }
}

/// One Via element (RFC 3261 20.42), borrowed from its message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`, as sent.
    pub transport: &'a str,
    /// The host and port as sent.
    pub sent_by: &'a str,
    pub branch: Option<&'a str>,
    pub received: Option<&'a str>,
    /// RFC 3581: present without a value in a request, with one in an answer.
    pub rport: Option<Option<u16>>,
}

impl<'a> Address<'a> {
    /// Reads a single value, not a list.
    pub fn parse(value: &'a str) -> Option<Address<'a>> {
        address(value)
    }
}

impl<'a> Via<'a> {
    /// Reads a single element, not a list.
    pub fn parse(value: &'a str) -> Option<Via<'a>> {
        via(value)
    }
}

/// Whether [`Address::parse`] will read it.
pub(crate) fn is_address(value: &str) -> bool {
    address(value).is_some()
}

/// The tag of a From or To value.
pub(crate) fn tag(value: &str) -> Option<&str> {
    address(value)?.tag
}

/// Whether [`Via::parse`] will read it.
pub(crate) fn is_via(value: &str) -> bool {
    via(value).is_some()
}

/// The number and method of a CSeq value.
pub(crate) fn cseq(value: &str) -> Option<(u32, Method)> {
    let (number, method) = trim(value).split_once(char::is_whitespace)?;
    let method = method.trim_start();
    let token = !method.is_empty() && !method.contains(char::is_whitespace);
    token.then_some((number.parse().ok()?, Method::new(method)))
}

/// Cuts a value at the commas that separate elements: not those in quotes or angle brackets.
pub(crate) fn elements(value: &str) -> impl Iterator<Item = &str> {
    split_outside(value, b',').map(trim).filter(|element| !element.is_empty())
}

/// The value of a parameter in `;name=value;name`: `Some("")` if it has none.
pub(crate) fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters_of(parameters).find_map(|(own, value)| own.eq_ignore_ascii_case(name).then_some(value))
}

/// Names and values of `;name=value;name`.
fn parameters_of(parameters: &str) -> impl Iterator<Item = (&str, &str)> {
    split_outside(parameters, b';').map(|one| {
        let (name, value) = cut(one, b'=').unwrap_or((one, ""));
        let value = trim(value);
        (
            trim(name),
            if value.starts_with('"') { value.trim_matches('"') } else { value.trim_end_matches('"') },
        )
    })
}

/// A number of seconds; what exceeds 32 bits is as long as 32 bits can say (RFC 3261 20.19).
pub(crate) fn seconds(text: &str) -> Option<u32> {
    let text = trim(text);
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

// The readers.

fn uri(text: &str) -> Option<Uri<'_>> {
    let text = trim(text).trim_start_matches('<').trim_end_matches('>');
    let text = cut(text, b'?').map_or(text, |(before, _)| before);
    let bare = ["sip:", "sips:", "tel:"].iter().find_map(|scheme| {
        let (head, rest) = text.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let bare = trim(bare.unwrap_or(text));
    let (user, place) = match cut(bare, b'@') {
        Some((user, place)) => {
            let user = cut(user, b':').map_or(user, |(name, _)| name);
            (Some(trim(user)).filter(|user| !user.is_empty()), place)
        }
        None => (None, bare),
    };
    let end = place.bytes().position(|b| matches!(b, b';' | b' ' | b'\t' | b','));
    let place = trim(end.and_then(|end| place.get(..end)).unwrap_or(place));
    let (host, port) = match place.strip_prefix('[').and_then(|v6| cut(v6, b']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match cut(place, b':') {
            // More than one colon without brackets is an address of version 6 without a port.
            Some((_, rest)) if memchr(b':', rest.as_bytes()).is_some() => (place, None),
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.and_then(|port| trim(port).parse().ok());
    (user.is_some() || !host.is_empty()).then_some(Uri { user, host, port })
}

fn address(value: &str) -> Option<Address<'_>> {
    // A display name in quotes may hold anything; one without quotes ends at the bracket.
    let value = trim(value);
    let rest = value.strip_prefix('"').map_or(value, after_quote);
    let (text, parameters) = match cut(rest, b'<') {
        Some((_, inner)) => match cut(inner, b'>') {
            Some((uri, parameters)) => (uri, parameters),
            // The closing bracket is missing: parameters can only be the field's own.
            None => cut(inner, b';').unwrap_or((inner, "")),
        },
        None => cut(rest, b';').unwrap_or((rest, "")),
    };
    let text = trim(text);
    let uri = uri(text)?;
    let tag = parameter(parameters, "tag").filter(|tag| !tag.is_empty());
    let expires = parameter(parameters, "expires").and_then(seconds);
    Some(Address { uri: text, user: uri.user, host: uri.host, port: uri.port, tag, expires })
}

fn via(value: &str) -> Option<Via<'_>> {
    let (protocol, parameters) = cut(value, b';').unwrap_or((value, ""));
    // "SIP / 2.0 / UDP host:port" is legal (RFC 3261 25.1): the transport follows the second slash.
    let (_, version) = cut(protocol, b'/')?;
    let (_, transport) = cut(version, b'/')?;
    let (transport, sent_by) = transport.trim_start().split_once(char::is_whitespace)?;
    let sent_by = trim(sent_by);
    if sent_by.is_empty() || transport.is_empty() {
        return None;
    }
    let mut read = Via { transport, sent_by, branch: None, received: None, rport: None };
    // One pass for all; the first of each name counts.
    let (mut branch, mut received) = (None, None);
    for (name, value) in parameters_of(parameters) {
        if branch.is_none() && name.eq_ignore_ascii_case("branch") {
            branch = Some(value);
        } else if received.is_none() && name.eq_ignore_ascii_case("received") {
            received = Some(value);
        } else if read.rport.is_none() && name.eq_ignore_ascii_case("rport") {
            read.rport = Some(value.parse().ok());
        }
    }
    read.branch = branch.filter(|branch| !branch.is_empty());
    read.received = received.filter(|received| !received.is_empty());
    Some(read)
}

/// Without white space at both ends. Mostly there is none, which two bytes tell.
pub(super) fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

/// What stands before and after the first such byte, which is one of ASCII.
pub(super) fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = memchr(at, text.as_bytes())?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// What follows a quoted string whose opening quote is gone.
fn after_quote(text: &str) -> &str {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    text
}

/// Splits at a separator that stands outside quotes and angle brackets.
fn split_outside(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let plain = memchr2(b'"', b'<', text.as_bytes()).is_none();
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = if plain { memchr(separator, text.as_bytes()) } else { outside(text, separator) };
        rest = end.and_then(|end| text.get(end + 1..));
        Some(end.map_or(text, |end| text.get(..end).unwrap_or_default()))
    })
}

/// The first separator outside quotes and angle brackets.
fn outside(text: &str, separator: u8) -> Option<usize> {
    let (mut quoted, mut escaped, mut bracket) = (false, false, false);
    text.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => bracket = true,
            b'>' if !quoted => bracket = false,
            _ => return byte == separator && !quoted && !bracket,
        }
        false
    })
}
