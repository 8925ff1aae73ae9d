//! Branches, tags and Call-IDs of our own making.
//!
//! Each names the shard that made it, so that an answer, or a request inside a dialog, finds the state it
//! belongs to whatever its From says. They cannot be guessed: a token is a counter under a keyed hash.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::hex::push_hex;

/// RFC 3261 8.1.1.7: a branch that is unique begins with it.
pub(crate) const COOKIE: &str = "z9hG4bK";

/// What marks a token as ours; the shard's number follows, four hexadecimal digits.
const MARK: &str = "gg";

/// Bytes of the hash in a token: 80 bits, neither guessed nor met twice.
const HASH: usize = 10;

/// A source of tokens for one shard.
pub struct Tokens {
    /// `None` never occurs: HMAC takes a key of any length.
    keyed: Option<Hmac<Sha256>>,
    shard: u16,
    made: u64,
}

impl Tokens {
    /// `seed` must be random, and fresh at each start: the counter begins anew.
    pub fn new(seed: [u8; 32], shard: u16) -> Tokens {
        Tokens { keyed: Hmac::new_from_slice(&seed).ok(), shard, made: 0 }
    }

    /// A fresh token, fit for a tag.
    pub fn tag(&mut self) -> String {
        self.token("", "")
    }

    /// A fresh branch (RFC 3261 8.1.1.7).
    pub fn branch(&mut self) -> String {
        self.token(COOKIE, "")
    }

    /// A fresh Call-ID; `host` is our address or domain.
    pub fn call_id(&mut self, host: &str) -> String {
        let mut id = self.token("", "@");
        id.push_str(host);
        id
    }

    fn token(&mut self, before: &str, after: &str) -> String {
        self.made = self.made.wrapping_add(1);
        let mut token = String::with_capacity(COOKIE.len() + MARK.len() + 4 + 2 * HASH);
        token.push_str(before);
        token.push_str(MARK);
        push_hex(&mut token, &self.shard.to_be_bytes());
        if let Some(mut mac) = self.keyed.clone() {
            mac.update(&self.shard.to_be_bytes());
            mac.update(&self.made.to_be_bytes());
            push_hex(&mut token, mac.finalize().into_bytes().get(..HASH).unwrap_or_default());
        }
        token.push_str(after);
        token
    }
}

/// The shard that made this branch, tag or Call-ID; `None` if none of ours did.
pub fn shard_of(token: &str) -> Option<u16> {
    let token = token.strip_prefix(COOKIE).unwrap_or(token);
    let token = token.split('@').next().unwrap_or(token).strip_prefix(MARK)?;
    let hexadecimal = token.bytes().all(|b| b.is_ascii_hexdigit());
    (hexadecimal && token.len() == 4 + 2 * HASH).then_some(())?;
    u16::from_str_radix(token.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tokens_name_their_shard_and_never_repeat() {
        let mut tokens = Tokens::new([7; 32], 513);
        let mut seen = HashSet::new();
        for _ in 0..500 {
            let made = [tokens.tag(), tokens.branch(), tokens.call_id("192.0.2.1")];
            for token in made {
                assert_eq!(shard_of(&token), Some(513), "{token}");
                assert!(seen.insert(token));
            }
        }
        let other = Tokens::new([8; 32], 513).tag();
        assert!(!seen.contains(&other));
    }

    #[test]
    fn tokens_of_others_name_no_shard() {
        let foreign =
            ["", "z9hG4bK", "z9hG4bK101", "70f1", "5501@192.0.2.20", "gg", "gg0001", "z9hG4bKgg00ä1"];
        foreign.iter().for_each(|token| assert_eq!(shard_of(token), None, "{token}"));
    }
}
