//! Ports for RTP: even ones out of a range, each resting for a while before it is used again, so that late packets
//! of an old stream do not land in a new one.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;

use super::clock;

/// Where ports come from: `30000-30999`, or `0` for the system's choice.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum PortRange {
    /// The system chooses.
    System,
    /// From `first` to `last`, both included; `1 <= first <= last`.
    Range {
        /// The lowest.
        first: u16,
        /// The highest.
        last: u16,
    },
}

/// The text is not a range of ports.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("not a range of ports such as 30000-30999")]
pub struct BadRange;

impl PortRange {
    /// Whether `port` is in the range.
    pub fn contains(self, port: u16) -> bool {
        match self {
            PortRange::System => false,
            PortRange::Range { first, last } => (first..=last).contains(&port),
        }
    }

    /// The even ports of the range, each good for one stream (RTP is on the even port, RFC 3550 11).
    pub fn even(self) -> impl Iterator<Item = u16> {
        let (first, last) = match self {
            PortRange::System => (1, 0),
            PortRange::Range { first, last } => (first, last),
        };
        (first..=last).filter(|port| port % 2 == 0)
    }
}

impl FromStr for PortRange {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<PortRange, BadRange> {
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| BadRange);
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None if number(text)? == 0 => return Ok(PortRange::System),
            None => (number(text)?, number(text)?),
        };
        if first == 0 || first > last { Err(BadRange) } else { Ok(PortRange::Range { first, last }) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortRange::System => f.write_str("0"),
            PortRange::Range { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// The ports of one node. Cheap to clone; clones share the ports.
#[derive(Clone, Debug)]
pub struct Ports {
    pool: Arc<Mutex<Pool>>,
}

#[derive(Debug)]
struct Pool {
    range: PortRange,
    quarantine: Duration,
    /// The port that rested longest is in front.
    free: VecDeque<u16>,
    /// With the time at which each is free again, soonest in front.
    resting: VecDeque<(Instant, u16)>,
    in_use: usize,
}

impl Pool {
    fn wake(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(free_at, _)| *free_at <= now) {
            self.free.extend(self.resting.pop_front().map(|(_, port)| port));
        }
    }

    fn give_back(&mut self, now: Instant, port: u16) {
        self.in_use = self.in_use.saturating_sub(1);
        if self.range != PortRange::System {
            self.resting.push_back((now + self.quarantine, port));
        }
    }
}

impl Ports {
    /// The ports of `range`; each rests for `quarantine` after use.
    pub fn new(range: PortRange, quarantine: Duration) -> Ports {
        let free: VecDeque<u16> = range.even().collect();
        let resting = VecDeque::new();
        Ports { pool: Arc::new(Mutex::new(Pool { range, quarantine, free, resting, in_use: 0 })) }
    }

    /// How long a port rests.
    pub fn quarantine(&self) -> Duration {
        self.pool.lock().quarantine
    }

    /// The next port, or `None` when all are in use or resting. Port 0 stands for the system's choice.
    pub fn take(&self) -> Option<Lease> {
        self.take_at(clock::now())
    }

    fn take_at(&self, now: Instant) -> Option<Lease> {
        let mut pool = self.pool.lock();
        pool.wake(now);
        let port = match pool.range {
            PortRange::System => 0,
            PortRange::Range { .. } => pool.free.pop_front()?,
        };
        pool.in_use += 1;
        Some(Lease { port, pool: self.pool.clone() })
    }

    /// How many ports are in use now.
    pub fn in_use(&self) -> usize {
        self.pool.lock().in_use
    }

    /// How many attempts to bind are worth making: each port that may be free, once.
    pub(super) fn size(&self) -> usize {
        let pool = self.pool.lock();
        if pool.range == PortRange::System { 1 } else { pool.free.len() + pool.resting.len() }
    }
}

/// One port taken. Dropping it gives the port back, to rest.
#[derive(Debug)]
pub struct Lease {
    port: u16,
    pool: Arc<Mutex<Pool>>,
}

impl Lease {
    /// The port, or 0 for the system's choice.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.lock().give_back(clock::now(), self.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        assert_eq!("0".parse(), Ok(PortRange::System));
        assert_eq!("30000-30999".parse(), Ok(PortRange::Range { first: 30000, last: 30999 }));
        assert_eq!("30000".parse(), Ok(PortRange::Range { first: 30000, last: 30000 }));
        for text in ["", "-", "1-", "9-8", "0-9", "1-65536", "a-b", "-1"] {
            assert_eq!(text.parse::<PortRange>(), Err(BadRange), "{text}");
        }
        assert_eq!("30000-30999".parse::<PortRange>().unwrap().to_string(), "30000-30999");
        assert_eq!("65535-65535".parse::<PortRange>().unwrap().even().count(), 0);
    }

    #[test]
    fn ports_are_even_and_rest_before_they_return() {
        let range = PortRange::Range { first: 30001, last: 30005 };
        let ports = Ports::new(range, Duration::from_secs(30));
        let now = clock::now();
        let first = ports.take_at(now).unwrap();
        let second = ports.take_at(now).unwrap();
        assert_eq!((first.port(), second.port()), (30002, 30004));
        assert!(ports.take_at(now).is_none());
        assert_eq!(ports.in_use(), 2);
        drop(first);
        assert_eq!(ports.in_use(), 1);
        assert!(ports.take_at(now + Duration::from_secs(29)).is_none());
        // The drop read the clock a moment after `now`.
        let again = ports.take_at(now + Duration::from_secs(40)).unwrap();
        assert_eq!(again.port(), 30002);
    }

    #[test]
    fn the_system_never_runs_out() {
        let ports = Ports::new(PortRange::System, Duration::from_secs(30));
        let all: Vec<Lease> = (0..100).filter_map(|_| ports.take()).collect();
        assert_eq!(all.len(), 100);
        drop(all);
        assert_eq!(ports.in_use(), 0);
    }
}
