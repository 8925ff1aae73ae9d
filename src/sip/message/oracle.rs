//! What rsip reads of single values: the peer that the readers of `typed` are compared with.

use super::typed::{Address, Uri, Via, seconds};
use rsip::typed::Tokenize;
use rsip::typed::tokenizers::{DisplayUriParamsTokenizer, ViaTokenizer};

// A reading counts only if nothing of the value was left over.

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
