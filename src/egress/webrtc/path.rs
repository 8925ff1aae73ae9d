//! The ways between a viewer and us that its checks have proven, and the one in use (RFC 8445, lite).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

/// Paths of a viewer: its interfaces times our candidates.
pub(super) const MAX_PATHS: usize = 32;
/// A nominated path without a nominating check for this long gives way to any other.
const STALE: Duration = Duration::from_secs(5);

/// The way a datagram came and others go back.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub(super) struct Path {
    pub remote: SocketAddr,
    /// The address that received, where the system says it.
    pub local: Option<IpAddr>,
    /// The number of the TCP connection; 0 for UDP.
    pub connection: u64,
}

/// A path that a valid check came from.
#[derive(Copy, Clone, Debug)]
struct Proven {
    path: Path,
    priority: u32,
    nominated: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Paths {
    proven: SmallVec<[Proven; 4]>,
    selected: Option<Path>,
}

impl Paths {
    pub(super) fn knows(&self, path: Path) -> bool {
        self.proven.iter().any(|proven| proven.path == path)
    }

    /// The path to send on; before one is nominated, the first that was proven.
    pub(super) fn current(&self) -> Option<Path> {
        self.selected.or_else(|| self.proven.first().map(|proven| proven.path))
    }

    /// Uses this path until one is nominated.
    pub(super) fn settle(&mut self, path: Path) {
        self.selected = self.selected.or(Some(path));
    }

    /// A valid check came this way. Gives the address that nothing is expected from any more, to make room.
    pub(super) fn heard(
        &mut self,
        now: Instant,
        path: Path,
        priority: u32,
        nominates: bool,
    ) -> Option<SocketAddr> {
        let mut forgotten = None;
        let nominated = nominates.then_some(now);
        match self.proven.iter_mut().find(|proven| proven.path == path) {
            Some(proven) => {
                proven.priority = priority;
                proven.nominated = nominated.or(proven.nominated);
            }
            None => {
                forgotten = self.make_room().filter(|remote| *remote != path.remote);
                self.proven.push(Proven { path, priority, nominated });
            }
        }
        if nominates {
            self.select(now, path, priority);
        }
        forgotten
    }

    /// Peers nominate one path, or several at once and expect the best to be used (RFC 5245 section 8.1.1.2).
    fn select(&mut self, now: Instant, path: Path, priority: u32) {
        let current = self.proven.iter().find(|proven| Some(proven.path) == self.selected);
        let stays = current.is_some_and(|current| {
            let fresh = current.nominated.is_some_and(|at| now.saturating_duration_since(at) < STALE);
            fresh && current.priority > priority
        });
        if !stays {
            self.selected = Some(path);
        }
    }

    /// The oldest path that is not in use goes; gives its address if no other path has it.
    fn make_room(&mut self) -> Option<SocketAddr> {
        if self.proven.len() < MAX_PATHS {
            return None;
        }
        let at = self.proven.iter().position(|proven| Some(proven.path) != self.selected)?;
        let remote = self.proven.remove(at).path.remote;
        (!self.proven.iter().any(|proven| proven.path.remote == remote)).then_some(remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::webrtc::testing::at;

    fn path(port: u16) -> Path {
        Path { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None, connection: 0 }
    }

    #[test]
    fn the_best_nominated_path_is_used_and_a_silent_one_given_up() {
        let mut paths = Paths::default();
        let mut hear = |seconds: u64, port, priority, nominates| {
            paths.heard(at(seconds * 1000), path(port), priority, nominates);
            paths.current().unwrap().remote.port()
        };
        assert_eq!(hear(0, 1, 10, false), 1, "the first will do");
        assert_eq!(hear(0, 2, 10, true), 2, "but what is nominated is wanted");
        assert_eq!(hear(1, 3, 20, true), 3, "a better one is taken");
        assert_eq!(hear(2, 2, 10, true), 3, "a worse one is not");
        assert_eq!(hear(5, 2, 10, true), 3);
        assert_eq!(hear(6, 2, 10, true), 2, "unless the better is not nominated any more");
    }

    #[test]
    fn paths_are_bounded_and_the_one_in_use_is_kept() {
        let mut paths = Paths::default();
        let count = MAX_PATHS as u16 + 10;
        let gone: Vec<_> =
            (1..=count).filter_map(|port| paths.heard(at(0), path(port), 1, port == 1)).collect();
        assert_eq!(gone, (2..=11).map(|port| path(port).remote).collect::<Vec<_>>());
        assert!(paths.knows(path(1)) && !paths.knows(path(2)) && paths.knows(path(count)));
        assert_eq!(paths.current(), Some(path(1)));
    }

    #[test]
    fn an_address_with_another_path_is_still_expected() {
        let mut paths = Paths::default();
        let from = |n: u8| Path { local: Some([10, 0, 0, n].into()), ..path(1) };
        let gone = (0..40).filter_map(|n| paths.heard(at(0), from(n), 1, false)).count();
        assert_eq!(gone, 0);
    }
}
