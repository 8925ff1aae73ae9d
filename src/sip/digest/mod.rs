//! Digest authentication (RFC 2617 as RFC 3261 22 uses it, RFC 8760 for SHA-256), both sides; with SM3 as a hash, an
//! extension that some Chinese devices share.
//!
//! GB/T 28181 registers with it: 401 with a challenge, REGISTER again with the answer. The answer is checked
//! over the user name, realm and uri exactly as the device sent them, since devices differ in all three; what
//! ties it to this server is the nonce, which is of our own making and bound to the peer.

mod nonce;
#[cfg(test)]
mod tests;

pub use nonce::Nonces;

use super::hex::push_hex;
use md5::{Digest, Md5};
use nonce::Use;
use sha2::Sha256;
use sm3::Sm3;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Instant;
use subtle::ConstantTimeEq;

/// The hash of a digest.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Algorithm {
    /// What every device knows.
    #[default]
    Md5,
    /// RFC 8760.
    Sha256,
    /// GB/T 32905; no edition of GB/T 28181 defines it for REGISTER.
    Sm3,
}

impl Algorithm {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sm3 => "SM3",
        }
    }

    /// The algorithm of that name, in any case.
    pub fn named(name: &str) -> Option<Algorithm> {
        [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sm3]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(name))
    }

    /// The hash of the parts joined by colons, in lower-case hexadecimal.
    fn hash(self, parts: &[&str]) -> String {
        match self {
            Algorithm::Md5 => hashed::<Md5>(parts),
            Algorithm::Sha256 => hashed::<Sha256>(parts),
            Algorithm::Sm3 => hashed::<Sm3>(parts),
        }
    }
}

fn hashed<D: Digest>(parts: &[&str]) -> String {
    let mut hash = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    let mut text = String::with_capacity(2 * hash.len());
    push_hex(&mut text, &hash);
    text
}

/// Whether `sent`, in letters of either case, is `ours`; in constant time.
fn same_hex(ours: &str, sent: &str) -> bool {
    if ours.len() != sent.len() {
        return false;
    }
    let same = ours.bytes().zip(sent.bytes()).map(|(ours, sent)| ours.ct_eq(&sent.to_ascii_lowercase()));
    same.fold(subtle::Choice::from(1), |all, one| all & one).into()
}

/// What cannot be read as digest parameters.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadDigest {
    /// `Capability` and `Asymmetric` of the 2016 edition, or none of SIP's.
    #[error("another scheme than Digest")]
    Scheme,
    #[error("no {0}")]
    Missing(&'static str),
}

/// What a server asks: the value of WWW-Authenticate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    /// `None` when read and not one of ours; without the parameter it is MD5.
    pub algorithm: Option<Algorithm>,
    /// Whether `auth` is offered. Devices that do not know it answer without.
    pub qop: bool,
    /// The answer was right for a nonce that no longer counts: answer again, with this one.
    pub stale: bool,
    pub opaque: Option<String>,
}

impl Challenge {
    /// A challenge in MD5 with `qop="auth"`, which all known devices answer in one way or the other. For another
    /// algorithm, set it.
    pub fn new(realm: &str, nonce: String, stale: bool) -> Challenge {
        Challenge {
            realm: realm.to_owned(),
            nonce,
            algorithm: Some(Algorithm::Md5),
            qop: true,
            stale,
            opaque: None,
        }
    }

    /// Reads the value of a WWW-Authenticate.
    ///
    /// # Errors
    /// [`BadDigest`] for another scheme, or without realm or nonce.
    pub fn parse(value: &str) -> Result<Challenge, BadDigest> {
        let mut fields = Fields::read(value)?;
        Ok(Challenge {
            realm: fields.demand("realm")?.into_owned(),
            nonce: fields.demand("nonce")?.into_owned(),
            algorithm: fields.algorithm(),
            // The offer is a list: "auth,auth-int".
            qop: fields
                .get("qop")
                .is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth"))),
            stale: fields.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            opaque: fields.get("opaque").map(str::to_owned),
        })
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={},nonce={}", Quoted(&self.realm), Quoted(&self.nonce))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ",opaque={}", Quoted(opaque))?;
        }
        if self.stale {
            f.write_str(",stale=true")?;
        }
        if let Some(algorithm) = self.algorithm {
            write!(f, ",algorithm={}", algorithm.as_str())?;
        }
        if self.qop { f.write_str(",qop=\"auth\"") } else { Ok(()) }
    }
}

/// What a device answers: the value of Authorization.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials<'a> {
    pub username: Cow<'a, str>,
    pub realm: Cow<'a, str>,
    pub nonce: Cow<'a, str>,
    pub uri: Cow<'a, str>,
    /// Hexadecimal.
    pub response: Cow<'a, str>,
    /// `None` if it is not one of ours; without the parameter it is MD5.
    pub algorithm: Option<Algorithm>,
    pub qop: Option<Cow<'a, str>>,
    /// The count as sent; it goes into the hash as text.
    pub nc: Option<Cow<'a, str>>,
    pub cnonce: Option<Cow<'a, str>>,
}

impl<'a> Credentials<'a> {
    /// Reads the value of an Authorization. Names in any case, values with and without quotes.
    ///
    /// # Errors
    /// [`BadDigest`] for another scheme, or if a part is missing without which nothing can be computed.
    pub fn parse(value: &'a str) -> Result<Credentials<'a>, BadDigest> {
        let mut fields = Fields::read(value)?;
        Ok(Credentials {
            algorithm: fields.algorithm(),
            username: fields.demand("username")?,
            realm: fields.demand("realm")?,
            nonce: fields.demand("nonce")?,
            uri: fields.demand("uri")?,
            response: fields.demand("response")?,
            qop: fields.take("qop").filter(|qop| !qop.is_empty()),
            nc: fields.take("nc"),
            cnonce: fields.take("cnonce"),
        })
    }

    /// The response that this password would give; `None` for an algorithm or qop that is not ours.
    fn expected(&self, algorithm: Algorithm, method: &str, password: &str) -> Option<String> {
        let secret = algorithm.hash(&[&self.username, &self.realm, password]);
        let question = algorithm.hash(&[method, &self.uri]);
        match self.qop.as_deref() {
            None => Some(algorithm.hash(&[&secret, &self.nonce, &question])),
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let (nc, cnonce) = (self.nc.as_deref()?, self.cnonce.as_deref()?);
                Some(algorithm.hash(&[&secret, &self.nonce, nc, cnonce, qop, &question]))
            }
            Some(_) => None,
        }
    }
}

impl fmt::Display for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = [
            ("Digest username", &self.username),
            (",realm", &self.realm),
            (",nonce", &self.nonce),
            (",uri", &self.uri),
            (",response", &self.response),
        ];
        quoted.iter().try_for_each(|(name, value)| write!(f, "{name}={}", Quoted(value)))?;
        if let Some(algorithm) = self.algorithm {
            write!(f, ",algorithm={}", algorithm.as_str())?;
        }
        if let (Some(qop), Some(nc), Some(cnonce)) = (&self.qop, &self.nc, &self.cnonce) {
            write!(f, ",qop={qop},nc={nc},cnonce={}", Quoted(cnonce))?;
        }
        Ok(())
    }
}

/// What came of an answer.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    Accepted,
    /// The password is right; the nonce is old, used up, another's, or its count was repeated. Challenge
    /// again with `stale`; it is no failed login.
    Stale,
    Wrong,
    /// Another algorithm than the one that was asked for, or another qop than `auth`.
    Unsupported,
}

/// What an answer must fit.
#[derive(Copy, Clone, Debug)]
pub struct Demand<'a> {
    /// The one that the challenge named.
    pub algorithm: Algorithm,
    /// The method of the request that carries the answer.
    pub method: &'a str,
    /// The realm that the nonce was issued for.
    pub realm: &'a str,
    /// Whom the nonce was issued for.
    pub bind: &'a str,
    pub password: &'a str,
}

/// Judges an answer.
///
/// The hash is compared first and in constant time, so a wrong password is [`Verdict::Wrong`] whatever the
/// nonce, and nothing is kept for a peer that does not know the password.
pub fn verify(
    nonces: &mut Nonces,
    now: Instant,
    demand: &Demand<'_>,
    credentials: &Credentials<'_>,
) -> Verdict {
    let &Demand { algorithm, method, realm, bind, password } = demand;
    // A weaker one than asked for is not taken: it could be the choice of somebody in between (RFC 8760 5).
    let offered = credentials.algorithm == Some(algorithm);
    let expected = offered.then(|| credentials.expected(algorithm, method, password)).flatten();
    let Some(expected) = expected else { return Verdict::Unsupported };
    if !same_hex(&expected, &credentials.response) {
        return Verdict::Wrong;
    }
    let count = match (&credentials.qop, &credentials.nc) {
        // The count is hexadecimal (RFC 2617 3.2.2); what is no number counts nothing.
        (Some(_), Some(nc)) => u32::from_str_radix(nc.trim(), 16).map_or(Use::Once, Use::Count),
        _ => Use::Once,
    };
    if nonces.spend(now, realm, bind, &credentials.nonce, count) { Verdict::Accepted } else { Verdict::Stale }
}

/// The client's side: the value of Authorization. `None` if the challenge asks for an algorithm that is not
/// ours. `nc` begins at 1 for each nonce; `cnonce` is any fresh text.
pub fn answer(
    challenge: &Challenge,
    method: &str,
    uri: &str,
    user: &str,
    password: &str,
    nc: u32,
    cnonce: &str,
) -> Option<String> {
    let algorithm = challenge.algorithm?;
    let mut credentials = Credentials {
        username: user.into(),
        realm: challenge.realm.as_str().into(),
        nonce: challenge.nonce.as_str().into(),
        uri: uri.into(),
        response: Cow::default(),
        algorithm: Some(algorithm),
        qop: challenge.qop.then_some("auth".into()),
        nc: challenge.qop.then(|| format!("{nc:08x}").into()),
        cnonce: challenge.qop.then_some(cnonce.into()),
    };
    credentials.response = credentials.expected(algorithm, method, password)?.into();
    let mut value = credentials.to_string();
    if let Some(opaque) = &challenge.opaque {
        let _ = write!(value, ",opaque={}", Quoted(opaque));
    }
    Some(value)
}

/// A quoted string (RFC 3261 25.1).
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        if !self.0.bytes().any(|b| matches!(b, b'"' | b'\\') || !(b' '..=b'~').contains(&b)) {
            f.write_str(self.0)?;
            return f.write_char('"');
        }
        for c in self.0.chars().filter(|c| !c.is_control()) {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

/// `name=value` pairs after the scheme.
struct Fields<'a>(SmallVec<[(&'a str, Cow<'a, str>); 12]>);

impl<'a> Fields<'a> {
    /// More pairs than these are not read: RFC 7616 knows eleven.
    const MAX: usize = 24;

    fn read(value: &'a str) -> Result<Fields<'a>, BadDigest> {
        let value = value.trim_start();
        let (scheme, rest) = value.split_once(char::is_whitespace).ok_or(BadDigest::Scheme)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(BadDigest::Scheme);
        }
        let mut fields = SmallVec::new();
        let mut rest = rest;
        while fields.len() < Fields::MAX {
            rest = rest.trim_start_matches([',', ' ', '\t']);
            let Some((name, after)) = rest.split_once('=') else { break };
            let (value, after) = one_value(after.trim_start());
            fields.push((name.trim(), value));
            rest = after;
        }
        Ok(Fields(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }

    /// The first value of that name, which is not there any more afterwards.
    fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let place = self.0.iter().position(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(self.0.remove(place).1)
    }

    fn demand(&mut self, name: &'static str) -> Result<Cow<'a, str>, BadDigest> {
        self.take(name).ok_or(BadDigest::Missing(name))
    }

    fn algorithm(&self) -> Option<Algorithm> {
        self.get("algorithm").filter(|name| !name.is_empty()).map_or(Some(Algorithm::Md5), Algorithm::named)
    }
}

/// A token or quoted string, and what follows it.
fn one_value(text: &str) -> (Cow<'_, str>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.trim().into(), rest);
    };
    // As it stands, up to the first character that needs more than that.
    let plain = quoted.find(['"', '\\']).unwrap_or(quoted.len());
    let (begin, rest) = quoted.split_at(plain);
    // Where the closing quote is missing, all that is left was the value.
    if rest.is_empty() {
        return (begin.into(), rest);
    }
    if let Some(rest) = rest.strip_prefix('"') {
        return (begin.into(), rest);
    }
    let mut value = begin.to_owned();
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value.into(), rest.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    (value.into(), "")
}
