//! Which SSRCs are in use: serials of the `y=` line (annex C.2.4 of 2016, F of 2022), 0001 to 9999 for each domain.

use std::ops::RangeInclusive;

use crate::gb::id::Id;
use crate::gb::ssrc;

/// Serials for the live streams of one shard. A serial comes back only after all others have been used,
/// so that late packets of an old stream do not meet a new one.
pub struct SsrcPool {
    platform: Id,
    free: std::collections::VecDeque<u16>,
}

impl SsrcPool {
    /// The share of shard `shard` out of `shards` in the serials of `platform`'s domain.
    pub fn new(platform: Id, shard: u16, shards: u16) -> SsrcPool {
        SsrcPool { platform, free: share(shard, shards).collect() }
    }

    /// Takes an SSRC for a live stream; `None` when all are in use.
    pub fn take(&mut self) -> Option<u32> {
        self.free.pop_front().map(|serial| ssrc::live(&self.platform, serial))
    }

    /// Gives an SSRC back.
    pub fn give_back(&mut self, value: u32) {
        // The serial is the last four of the ten decimal digits.
        self.free.push_back((value % 10_000) as u16);
    }
}

fn share(shard: u16, shards: u16) -> RangeInclusive<u16> {
    let size = 9_999 / shards.max(1);
    let first = 1 + shard * size;
    first..=first + size - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_the_serials_without_overlap() {
        let mut all: Vec<u16> = (0..4).flat_map(|shard| share(shard, 4)).collect();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|serial| (1..=9_999).contains(serial)));
    }

    #[test]
    fn a_serial_comes_back_last() {
        let mut pool = SsrcPool::new(Id::parse("34020000002000000001").unwrap(), 0, 1);
        let first = pool.take().unwrap();
        assert_eq!(first, 200_000_001);
        pool.give_back(first);
        let second = pool.take().unwrap();
        assert_eq!(second, 200_000_002);
        let rest = std::iter::from_fn(|| pool.take()).last();
        assert_eq!(rest, Some(first));
    }
}
