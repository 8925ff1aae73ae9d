//! How many connections are let in, overall and from one address, so that one peer cannot take the place of all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts connections; clones share the count.
#[derive(Clone, Debug)]
pub struct Gate {
    counts: Arc<Mutex<Counts>>,
    total: usize,
    per_address: usize,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection was not let in.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Full {
    /// There are too many in all.
    Total,
    /// There are too many from its address.
    Address,
}

impl Full {
    /// The label of the metric of drops.
    pub fn reason(self) -> &'static str {
        match self {
            Full::Total => "too_many_connections",
            Full::Address => "too_many_connections_of_address",
        }
    }
}

impl Gate {
    /// Lets in `total` connections, and `per_address` from one address.
    pub fn new(total: usize, per_address: usize) -> Gate {
        Gate { counts: Arc::default(), total, per_address }
    }

    /// Lets a connection from `ip` in until the pass is dropped.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn admit(&self, ip: IpAddr) -> Result<Pass, Full> {
        let address = network_of(ip);
        let mut counts = self.counts.lock();
        if counts.total >= self.total {
            return Err(Full::Total);
        }
        if counts.by_address.get(&address).copied().unwrap_or(0) >= self.per_address {
            return Err(Full::Address);
        }
        counts.total += 1;
        *counts.by_address.entry(address).or_insert(0) += 1;
        Ok(Pass { counts: self.counts.clone(), address })
    }

    /// How many are in.
    pub fn count(&self) -> usize {
        self.counts.lock().total
    }
}

/// A site has a whole /64 of IPv6, so that counts as one address.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        ip => ip,
    }
}

/// One connection that was let in.
#[derive(Debug)]
pub struct Pass {
    counts: Arc<Mutex<Counts>>,
    address: IpAddr,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.total = counts.total.saturating_sub(1);
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let gate = Gate::new(3, 2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = gate.admit(ip("192.0.2.1")).unwrap();
        let _second = gate.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(gate.admit(ip("192.0.2.1")).unwrap_err(), Full::Address);
        let _third = gate.admit(ip("192.0.2.2")).unwrap();
        assert_eq!(gate.admit(ip("192.0.2.3")).unwrap_err(), Full::Total);
        drop(first);
        assert_eq!(gate.count(), 2);
        assert!(gate.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let gate = Gate::new(10, 1);
        let _pass = gate.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert_eq!(gate.admit("2001:db8::2".parse().unwrap()).unwrap_err(), Full::Address);
        assert!(gate.admit("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }
}
