//! Failed sign-ins, counted by address, so that passwords cannot be tried in bulk.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Failures that an address may have within [`WINDOW`].
pub(super) const MAX_FAILURES: u32 = 10;
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered. When there are more, the one that failed first is forgotten.
pub(super) const MAX_ADDRESSES: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: HashMap<IpAddr, Failures>,
}

#[derive(Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Failures {
    fn left(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.since))
    }
}

impl Attempts {
    /// How long the address has to wait; `None`: it may try.
    pub(super) fn blocked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failed.get(&site(address)).filter(|failures| failures.count >= MAX_FAILURES)?;
        Some(failures.left(now)).filter(|left| !left.is_zero())
    }

    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) {
        let site = site(address);
        if self.failed.len() >= MAX_ADDRESSES && !self.failed.contains_key(&site) {
            self.make_room(now);
        }
        let failures = self.failed.entry(site).or_insert(Failures { since: now, count: 0 });
        if failures.left(now).is_zero() {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    pub(super) fn succeeded(&mut self, address: IpAddr) {
        self.failed.remove(&site(address));
    }

    fn make_room(&mut self, now: Instant) {
        self.failed.retain(|_, failures| !failures.left(now).is_zero());
        if self.failed.len() >= MAX_ADDRESSES {
            let first =
                self.failed.iter().min_by_key(|(_, failures)| failures.since).map(|(address, _)| *address);
            first.and_then(|address| self.failed.remove(&address));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.failed.len()
    }
}

/// What counts as one address: of IPv6 the first half, since whoever has one of its addresses has them all.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}
