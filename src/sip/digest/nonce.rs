//! Nonces that need no memory until they are answered rightly.
//!
//! A nonce is the time and number of its issue with a MAC over both, the realm and the peer. So a flood of
//! unauthenticated requests costs a hash each and keeps nothing. Only after a correct answer is a nonce
//! remembered, with the highest count that was used, in a table that is bounded and never forgets in the
//! peer's favour.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::sip::hex::push_hex;

/// Bytes of the MAC in a nonce: 96 bits cannot be guessed within a nonce's lifetime, and the whole stays
/// short enough for the fixed buffers of old firmware.
const MAC: usize = 12;

/// Hexadecimal digits of a nonce: the time (4 bytes), the number (4 bytes), the MAC.
const DIGITS: usize = 2 * (4 + 4 + MAC);

/// When a nonce was issued, in seconds, and its running number: unique, and in the order of issue.
type Serial = u64;

/// How an answer uses its nonce.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Use {
    /// Without qop: once.
    Once,
    /// With qop: any number of times, each count greater than those before.
    Count(u32),
}

/// Issues nonces and says whether one may be used.
pub struct Nonces {
    /// `None` never occurs: HMAC takes a key of any length.
    keyed: Option<Hmac<Sha256>>,
    lifetime: Duration,
    capacity: usize,
    /// Where time began: the first instant that was seen.
    epoch: Option<Instant>,
    issued: u32,
    /// Nonces answered rightly, with the highest count used.
    used: BTreeMap<Serial, u32>,
    /// Nonces up to this one are used up: an entry was given up to make room.
    floor: Option<Serial>,
}

impl Nonces {
    /// `key` must be random, secret and of this table alone; `lifetime` some minutes; `capacity` the most
    /// nonces that are remembered after a correct answer, about 50 bytes each. A full table gives up its
    /// oldest nonce, whose owner then answers anew.
    pub fn new(key: [u8; 32], lifetime: Duration, capacity: usize) -> Nonces {
        let capacity = capacity.max(1);
        let keyed = Hmac::new_from_slice(&key).ok();
        Nonces { keyed, lifetime, capacity, epoch: None, issued: 0, used: BTreeMap::new(), floor: None }
    }

    /// A nonce that only this peer can use, in this realm. `bind` is what the answer will be checked with:
    /// the device's id, its address, or both.
    pub fn issue(&mut self, now: Instant, realm: &str, bind: &str) -> String {
        self.issued = self.issued.wrapping_add(1);
        let serial = (u64::from(self.seconds(now)) << 32) | u64::from(self.issued);
        let mac = self.mac(serial, realm, bind);
        let mut nonce = String::with_capacity(DIGITS);
        push_hex(&mut nonce, &serial.to_be_bytes());
        push_hex(&mut nonce, &mac);
        nonce
    }

    /// How many nonces are remembered.
    pub fn remembered(&self) -> usize {
        self.used.len()
    }

    /// Uses a nonce, after a correct answer only. `false` if it is not ours, another peer's, too old or used
    /// up.
    pub(crate) fn spend(&mut self, now: Instant, realm: &str, bind: &str, nonce: &str, how: Use) -> bool {
        let Some(serial) = self.genuine(nonce, realm, bind) else { return false };
        let age = u64::from(self.seconds(now)).saturating_sub(serial >> 32);
        if age > self.lifetime.as_secs() || self.floor.is_some_and(|floor| serial <= floor) {
            return false;
        }
        let last = self.used.get(&serial).copied();
        let count = match (how, last) {
            (Use::Once, None) => u32::MAX,
            // The first count may be anything: some firmware begins at 0.
            (Use::Count(count), None) => count,
            (Use::Count(count), Some(last)) if count > last => count,
            _ => return false,
        };
        self.forget(now);
        self.used.insert(serial, count);
        true
    }

    /// Makes room: what is too old to be accepted need not be remembered; of a full table the oldest goes,
    /// and with it the use of every nonce that is as old.
    fn forget(&mut self, now: Instant) {
        let oldest = u64::from(self.seconds(now)).saturating_sub(self.lifetime.as_secs());
        while self.used.first_key_value().is_some_and(|(serial, _)| serial >> 32 < oldest) {
            self.used.pop_first();
        }
        if self.used.len() >= self.capacity
            && let Some((serial, _)) = self.used.pop_first()
        {
            self.floor = Some(serial);
        }
    }

    fn genuine(&self, nonce: &str, realm: &str, bind: &str) -> Option<Serial> {
        if nonce.len() != DIGITS {
            return None;
        }
        let (serial, sent) = nonce.split_at_checked(16)?;
        let serial = Serial::from_str_radix(serial, 16).ok()?;
        let mut mac = String::with_capacity(2 * MAC);
        push_hex(&mut mac, &self.mac(serial, realm, bind));
        super::same_hex(&mac, sent).then_some(serial)
    }

    fn mac(&self, serial: Serial, realm: &str, bind: &str) -> [u8; MAC] {
        let mut short = [0; MAC];
        if let Some(mut mac) = self.keyed.clone() {
            mac.update(&serial.to_be_bytes());
            // The length keeps realm and bind apart.
            mac.update(&(realm.len() as u64).to_be_bytes());
            mac.update(realm.as_bytes());
            mac.update(bind.as_bytes());
            short.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
        }
        short
    }

    fn seconds(&mut self, now: Instant) -> u32 {
        let epoch = *self.epoch.get_or_insert(now);
        u32::try_from(now.saturating_duration_since(epoch).as_secs()).unwrap_or(u32::MAX)
    }
}
