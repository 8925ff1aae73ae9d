//! Single header values, typed.
//!
//! rsip reads first. What it refuses, or would read only in part, goes to a small lenient reader: firmware
//! leaves out angle brackets, puts blanks around `;` and `=`, and writes IPv6 and odd hosts. This is the one
//! file that knows rsip.

use super::start::Method;
use rsip::typed::Tokenize;
use rsip::typed::tokenizers::{CseqTokenizer, DisplayUriParamsTokenizer, ViaTokenizer};
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
        strict_uri(text).or_else(|| lenient_uri(text))
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
        strict_address(value).or_else(|| lenient_address(value))
    }
}

impl<'a> Via<'a> {
    /// Reads a single element, not a list.
    pub fn parse(value: &'a str) -> Option<Via<'a>> {
        strict_via(value).or_else(|| lenient_via(value))
    }
}

/// Whether [`Address::parse`] will read it. The lenient reader understands all that rsip does, at a tenth of
/// the cost.
pub(crate) fn is_address(value: &str) -> bool {
    lenient_address(value).is_some()
}

/// The tag of a From or To value.
pub(crate) fn tag(value: &str) -> Option<&str> {
    lenient_address(value)?.tag
}

/// Whether [`Via::parse`] will read it.
pub(crate) fn is_via(value: &str) -> bool {
    lenient_via(value).is_some()
}

/// The number and method of a CSeq value.
pub(crate) fn cseq(value: &str) -> Option<(u32, Method)> {
    let strict = CseqTokenizer::tokenize(value).ok().map(|token| (token.seq, token.method));
    let (number, method) = strict.or_else(|| value.trim().split_once(char::is_whitespace))?;
    let method = method.trim();
    let token = !method.is_empty() && !method.contains(char::is_whitespace);
    token.then_some((number.trim().parse().ok()?, Method::new(method)))
}

/// Cuts a value at the commas that separate elements: not those in quotes or angle brackets.
pub(crate) fn elements(value: &str) -> impl Iterator<Item = &str> {
    split_outside(value, b',').map(str::trim).filter(|element| !element.is_empty())
}

/// The value of a parameter in `;name=value;name`: `Some("")` if it has none.
pub(crate) fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    split_outside(parameters, b';').find_map(|one| {
        let (key, value) = one.split_once('=').unwrap_or((one, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// A number of seconds; what exceeds 32 bits is as long as 32 bits can say (RFC 3261 20.19).
pub(crate) fn seconds(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

// rsip's readings. A reading counts only if nothing of the value was left over.

pub(super) fn strict_uri(text: &str) -> Option<Uri<'_>> {
    let (rest, token) = rsip::common::uri::Tokenizer::tokenize(text).ok()?;
    rest.is_empty().then_some(())?;
    token.scheme.as_ref()?;
    let port = match token.host_with_port.port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    let host = token.host_with_port.host;
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    plain.then_some(Uri { user: token.auth.map(|auth| auth.user), host, port })
}

pub(super) fn strict_address(value: &str) -> Option<Address<'_>> {
    // A quoted display name may hold brackets, which rsip does not see; without brackets it drops what it
    // cannot read.
    if value.contains('"') {
        return None;
    }
    let (_, bracketed) = value.split_once('<')?;
    let (text, _) = bracketed.split_once('>')?;
    let token = DisplayUriParamsTokenizer::tokenize(value).ok()?;
    let uri = strict_uri(text)?;
    let find =
        |name: &str| token.params.iter().find(|p| p.name.eq_ignore_ascii_case(name)).and_then(|p| p.value);
    let tag = find("tag").filter(|tag| !tag.is_empty());
    let expires = find("expires").and_then(seconds);
    Some(Address { uri: text, user: uri.user, host: uri.host, port: uri.port, tag, expires })
}

pub(super) fn strict_via(value: &str) -> Option<Via<'_>> {
    let token = ViaTokenizer::tokenize(value).ok()?;
    let head = value.split(';').next()?;
    // rsip ends in silence at the first parameter that it cannot read: count what it took.
    let read: usize =
        token.params.iter().map(|p| 1 + p.name.len() + p.value.map_or(0, |v| 1 + v.len())).sum();
    (head.len() + read == value.len()).then_some(())?;
    let mut words = head.split_whitespace();
    let (protocol, sent_by) = (words.next()?, words.next()?);
    let find = |name: &str| token.params.iter().find(|p| p.name.eq_ignore_ascii_case(name)).map(|p| p.value);
    Some(Via {
        transport: protocol.rsplit('/').next()?,
        sent_by,
        branch: find("branch").flatten().filter(|branch| !branch.is_empty()),
        received: find("received").flatten(),
        rport: find("rport").map(|port| port.and_then(|port| port.parse().ok())),
    })
}

// The lenient readings.

pub(super) fn lenient_uri(text: &str) -> Option<Uri<'_>> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let text = text.split('?').next().unwrap_or(text);
    let bare = ["sips:", "sip:", "tel:"].iter().find_map(|scheme| {
        let (head, rest) = text.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let bare = bare.unwrap_or(text).trim();
    let (user, place) = match bare.split_once('@') {
        Some((user, place)) => (user.split(':').next().map(str::trim).filter(|u| !u.is_empty()), place),
        None => (None, bare),
    };
    let place = place.split([';', ' ', '\t', ',']).next().unwrap_or(place).trim();
    let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        // More than one colon without brackets is an address of version 6 without a port.
        None if place.matches(':').count() > 1 => (place, None),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.and_then(|port| port.trim().parse().ok());
    (user.is_some() || !host.is_empty()).then_some(Uri { user, host, port })
}

pub(super) fn lenient_address(value: &str) -> Option<Address<'_>> {
    // A display name in quotes may hold anything; one without quotes ends at the bracket.
    let rest = match value.trim().strip_prefix('"') {
        Some(quoted) => after_quote(quoted),
        None => value.trim(),
    };
    let (text, parameters) = match rest.split_once('<') {
        Some((_, inner)) => match inner.split_once('>') {
            Some((uri, parameters)) => (uri, parameters),
            // The closing bracket is missing: parameters can only be the field's own.
            None => inner.split_once(';').unwrap_or((inner, "")),
        },
        None => rest.split_once(';').unwrap_or((rest, "")),
    };
    let text = text.trim();
    let uri = lenient_uri(text)?;
    let tag = parameter(parameters, "tag").filter(|tag| !tag.is_empty());
    let expires = parameter(parameters, "expires").and_then(seconds);
    Some(Address { uri: text, user: uri.user, host: uri.host, port: uri.port, tag, expires })
}

pub(super) fn lenient_via(value: &str) -> Option<Via<'_>> {
    let (protocol, parameters) = value.split_once(';').unwrap_or((value, ""));
    // "SIP / 2.0 / UDP host:port" is legal (RFC 3261 25.1): the transport follows the second slash.
    let after_version = protocol.splitn(3, '/').nth(2)?.trim_start();
    let (transport, sent_by) = after_version.split_once(char::is_whitespace)?;
    let sent_by = sent_by.trim();
    (!sent_by.is_empty() && !transport.is_empty()).then_some(Via {
        transport,
        sent_by,
        branch: parameter(parameters, "branch").filter(|branch| !branch.is_empty()),
        received: parameter(parameters, "received").filter(|received| !received.is_empty()),
        rport: parameter(parameters, "rport").map(|port| port.parse().ok()),
    })
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
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped, mut bracket) = (false, false, false);
        let end = text.bytes().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'<' if !quoted => bracket = true,
                b'>' if !quoted => bracket = false,
                _ => return byte == separator && !quoted && !bracket,
            }
            false
        });
        rest = end.and_then(|end| text.get(end + 1..));
        Some(end.map_or(text, |end| text.get(..end).unwrap_or_default()))
    })
}
