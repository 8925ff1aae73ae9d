//! Which SSRCs are in use: serials of the `y=` line (annex C.2.4 of 2016, F of 2022), 0001 to 9999 for each domain
//! and each of live and history.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::gb::id::Id;
use crate::gb::ssrc;

/// Serials for the streams of one shard. A serial comes back only after all others have been used,
/// so that late packets of an old stream do not meet a new one.
pub struct SsrcPool {
    platform: Id,
    live: VecDeque<u16>,
    history: VecDeque<u16>,
}

impl SsrcPool {
    /// The share of shard `shard` out of `shards` in the serials of `platform`'s domain.
    pub fn new(platform: Id, shard: u16, shards: u16) -> SsrcPool {
        let all = || share(shard, shards).collect();
        SsrcPool { platform, live: all(), history: all() }
    }

    /// Takes an SSRC for a live stream or a voice; `None` when all are in use.
    pub fn take(&mut self) -> Option<u32> {
        self.live.pop_front().map(|serial| ssrc::live(&self.platform, serial))
    }

    /// Takes an SSRC for a recording; `None` when all are in use.
    pub fn take_history(&mut self) -> Option<u32> {
        self.history.pop_front().map(|serial| ssrc::history(&self.platform, serial))
    }

    /// Gives an SSRC back.
    pub fn give_back(&mut self, value: u32) {
        // The serial is the last four of the ten decimal digits.
        let serial = (value % 10_000) as u16;
        if ssrc::is_history(value) { &mut self.history } else { &mut self.live }.push_back(serial);
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

    fn pool() -> SsrcPool {
        SsrcPool::new(Id::parse("34020000002000000001").unwrap(), 0, 1)
    }

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
        let mut pool = pool();
        let first = pool.take().unwrap();
        assert_eq!(first, 200_000_001);
        pool.give_back(first);
        let second = pool.take().unwrap();
        assert_eq!(second, 200_000_002);
        let rest = std::iter::from_fn(|| pool.take()).last();
        assert_eq!(rest, Some(first));
    }

    #[test]
    fn history_has_serials_of_its_own() {
        let mut pool = pool();
        assert_eq!(std::iter::from_fn(|| pool.take()).count(), 9_999);
        let taken: Vec<u32> = std::iter::from_fn(|| pool.take_history()).collect();
        assert_eq!((taken.len(), taken[0]), (9_999, 1_200_000_001));
        pool.give_back(taken[5]);
        assert_eq!((pool.take(), pool.take_history()), (None, Some(taken[5])));
    }
}
