//! Digest authentication (RFC 2617 as RFC 3261 22 uses it, RFC 7616 for SHA-256), both sides.
//!
//! GB/T 28181 registers with it: 401 with a challenge, REGISTER again with the answer. The answer is checked
//! over the user name, realm and uri exactly as the device sent them, since devices differ in all three; what
//! ties it to this server is the nonce, which is of our own making and bound to the peer.

mod nonce;
#[cfg(test)]
mod tests;

pub use nonce::Nonces;

use md5::{Digest, Md5};
use nonce::Use;
use sha2::Sha256;
use std::fmt::{self, Write};
use std::time::Instant;
use subtle::ConstantTimeEq;

/// The hash of a digest.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Algorithm {
    #[default]
    Md5,
    Sha256,
}

impl Algorithm {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn named(name: &str) -> Option<Algorithm> {
        [Algorithm::Md5, Algorithm::Sha256]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(name))
    }

    /// The hash of the parts joined by colons, in lower-case hexadecimal.
    fn hash(self, parts: &[&str]) -> String {
        let joined = parts.join(":");
        match self {
            Algorithm::Md5 => hex(&Md5::digest(joined.as_bytes())),
            Algorithm::Sha256 => hex(&Sha256::digest(joined.as_bytes())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
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
    /// A challenge in MD5 with `qop="auth"`, which all known devices answer in one way or the other.
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
        let fields = Fields::read(value)?;
        Ok(Challenge {
            realm: fields.demand("realm")?,
            nonce: fields.demand("nonce")?,
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
pub struct Credentials {
    pub username: String,
    pub realm: String,
    pub nonce: String,
    pub uri: String,
    /// Hexadecimal.
    pub response: String,
    /// `None` if it is not one of ours; without the parameter it is MD5.
    pub algorithm: Option<Algorithm>,
    pub qop: Option<String>,
    /// The count as sent; it goes into the hash as text.
    pub nc: Option<String>,
    pub cnonce: Option<String>,
}

impl Credentials {
    /// Reads the value of an Authorization. Names in any case, values with and without quotes.
    ///
    /// # Errors
    /// [`BadDigest`] for another scheme, or if a part is missing without which nothing can be computed.
    pub fn parse(value: &str) -> Result<Credentials, BadDigest> {
        let fields = Fields::read(value)?;
        let optional = |name| fields.get(name).map(str::to_owned);
        Ok(Credentials {
            username: fields.demand("username")?,
            realm: fields.demand("realm")?,
            nonce: fields.demand("nonce")?,
            uri: fields.demand("uri")?,
            response: fields.demand("response")?,
            algorithm: fields.algorithm(),
            qop: optional("qop").filter(|qop| !qop.is_empty()),
            nc: optional("nc"),
            cnonce: optional("cnonce"),
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

impl fmt::Display for Credentials {
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
    /// Another algorithm than MD5 and SHA-256, or another qop than `auth`.
    Unsupported,
}

/// Judges an answer. `bind` and `realm` must be those that the nonce was issued for; `method` is that of the
/// request that carries the answer.
///
/// The hash is compared first and in constant time, so a wrong password is [`Verdict::Wrong`] whatever the
/// nonce, and nothing is kept for a peer that does not know the password.
pub fn verify(
    nonces: &mut Nonces,
    now: Instant,
    bind: &str,
    method: &str,
    realm: &str,
    password: &str,
    credentials: &Credentials,
) -> Verdict {
    let Some(algorithm) = credentials.algorithm else { return Verdict::Unsupported };
    let Some(expected) = credentials.expected(algorithm, method, password) else {
        return Verdict::Unsupported;
    };
    let response = credentials.response.to_ascii_lowercase();
    if !bool::from(expected.as_bytes().ct_eq(response.as_bytes())) {
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
        username: user.to_owned(),
        realm: challenge.realm.clone(),
        nonce: challenge.nonce.clone(),
        uri: uri.to_owned(),
        response: String::new(),
        algorithm: Some(algorithm),
        qop: challenge.qop.then(|| "auth".to_owned()),
        nc: challenge.qop.then(|| format!("{nc:08x}")),
        cnonce: challenge.qop.then(|| cnonce.to_owned()),
    };
    credentials.response = credentials.expected(algorithm, method, password)?;
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
struct Fields(Vec<(String, String)>);

impl Fields {
    /// More pairs than these are not read: RFC 7616 knows eleven.
    const MAX: usize = 24;

    fn read(value: &str) -> Result<Fields, BadDigest> {
        let value = value.trim_start();
        let (scheme, rest) = value.split_once(char::is_whitespace).ok_or(BadDigest::Scheme)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(BadDigest::Scheme);
        }
        let mut fields = Vec::new();
        let mut rest = rest;
        while fields.len() < Fields::MAX {
            rest = rest.trim_start_matches([',', ' ', '\t']);
            let Some((name, after)) = rest.split_once('=') else { break };
            let (value, after) = one_value(after.trim_start());
            fields.push((name.trim().to_owned(), value));
            rest = after;
        }
        Ok(Fields(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn demand(&self, name: &'static str) -> Result<String, BadDigest> {
        self.get(name).map(str::to_owned).ok_or(BadDigest::Missing(name))
    }

    fn algorithm(&self) -> Option<Algorithm> {
        self.get("algorithm").filter(|name| !name.is_empty()).map_or(Some(Algorithm::Md5), Algorithm::named)
    }
}

/// A token or quoted string, and what follows it.
fn one_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.trim().to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    // The closing quote is missing: all that is left was the value.
    (value, "")
}
