//! HLS at the node: one muxer for each stream and kind of sound, shared by all who watch. It begins with the first
//! who asks and ends when nobody has asked for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::gauge;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Node;
use super::taps::Tap;
use crate::call::{Failure, Key};
use crate::egress::hls::Window;
use crate::egress::mp4::{Muxer, Sound};
use crate::net::clock;
use crate::telemetry::metrics as names;

/// A show that nobody has asked for so long ends; a viewer that has not is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Shows at once; each may keep 64 MiB and what grows.
const MAX_SHOWS: usize = 256;
/// Viewers of a show that are told apart; more are served, but not counted.
const MAX_VIEWERS: usize = 4_096;

/// The shows of a node.
pub(super) type Shows = Mutex<HashMap<(Key, Sound), Arc<Show>>>;

/// A stream on its way to players of HLS.
#[derive(Debug)]
pub struct Show {
    state: Mutex<State>,
    /// Something has come, or the end.
    news: Notify,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// Who asked, and when last.
    viewers: HashMap<String, Instant>,
    asked: Instant,
    ended: bool,
}

impl Show {
    fn new() -> Show {
        let first = u64::try_from(clock::unix().0 / 1000).unwrap_or(0);
        let (window, asked) = (Window::new(first), clock::now());
        let state = State { window, viewers: HashMap::new(), asked, ended: false };
        Show { state: Mutex::new(state), news: Notify::new() }
    }

    /// Takes note of somebody who asks; `viewer` tells people apart. True if they have not asked before.
    pub fn seen(&self, viewer: &str) -> bool {
        let now = clock::now();
        let mut state = self.state.lock();
        state.asked = now;
        if let Some(asked) = state.viewers.get_mut(viewer) {
            *asked = now;
            return false;
        }
        if !state.ended && state.viewers.len() < MAX_VIEWERS {
            state.viewers.insert(viewer.to_owned(), now);
            count(1.0);
        }
        true
    }

    /// The playlist, as soon as there is one, with `query` behind its addresses. `None`: the stream ended before.
    pub async fn playlist(&self, query: &str) -> Option<String> {
        loop {
            let news = self.news.notified();
            {
                let state = self.state.lock();
                let list = state.window.playlist(query);
                if list.is_some() || state.ended {
                    return list;
                }
            }
            news.await;
        }
    }

    /// A file that the playlist names.
    pub fn file(&self, name: &str) -> Option<Bytes> {
        let mut state = self.state.lock();
        state.asked = clock::now();
        state.window.file(name)
    }

    fn take(&self, muxer: &mut Muxer) {
        while let Some(piece) = muxer.poll() {
            if self.state.lock().window.push(piece) {
                self.news.notify_waiters();
            }
        }
    }

    /// Forgets viewers that have gone. True if nobody has asked for a while.
    fn idle(&self) -> bool {
        let now = clock::now();
        let here = |asked: &Instant| now.saturating_duration_since(*asked) < PATIENCE;
        let mut state = self.state.lock();
        let before = state.viewers.len();
        state.viewers.retain(|_, asked| here(asked));
        count(state.viewers.len() as f64 - before as f64);
        !here(&state.asked)
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        count(-(state.viewers.len() as f64));
        state.viewers.clear();
        drop(state);
        self.news.notify_waiters();
    }
}

fn count(change: f64) {
    gauge!(names::VIEWERS, "protocol" => "hls").increment(change);
}

impl Node {
    /// The show of a stream, if there is one.
    pub fn running_hls(&self, key: Key, sound: Sound) -> Option<Arc<Show>> {
        self.inner.shows.lock().get(&(key, sound)).map(Arc::clone)
    }

    /// The show of a stream; stream and show are started if need be.
    pub async fn hls(&self, key: Key, sound: Sound) -> Result<Arc<Show>, Failure> {
        if let Some(show) = self.running_hls(key, sound) {
            return Ok(show);
        }
        let call = self.play(key).await?;
        let ended = || Failure::ended("the stream ended while the player was being attached");
        let (tap, info) = self.inner.streams.tap(call).await.ok_or_else(ended)?;
        let mut shows = self.inner.shows.lock();
        if let Some(show) = shows.get(&(key, sound)) {
            return Ok(Arc::clone(show));
        }
        if shows.len() >= MAX_SHOWS {
            return Err(Failure::no_capacity(format!("{MAX_SHOWS} streams go out by HLS already")));
        }
        let show = Arc::new(Show::new());
        shows.insert((key, sound), Arc::clone(&show));
        let muxer = Muxer::new(Window::options(sound, info.video.is_some()));
        tokio::spawn(self.clone().perform((key, sound), Arc::clone(&show), tap, muxer));
        Ok(show)
    }

    async fn perform(self, name: (Key, Sound), show: Arc<Show>, tap: Tap, mut muxer: Muxer) {
        let Tap { backlog, mut live } = tap;
        backlog.iter().for_each(|unit| muxer.push(unit));
        drop(backlog);
        let mut look = tokio::time::interval(LOOK);
        loop {
            show.take(&mut muxer);
            tokio::select! {
                unit = live.recv() => match unit {
                    Some(unit) => muxer.push(&unit),
                    None => break,
                },
                _ = look.tick() => if show.idle() {
                    break;
                },
                () = self.inner.stop.cancelled() => break,
            }
        }
        self.inner.shows.lock().remove(&name);
        muxer.finish();
        show.take(&mut muxer);
        show.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::unit::{AccessUnit, Codec};

    #[tokio::test]
    async fn who_asks_first_waits_for_the_first_segment() {
        let show = Arc::new(Show::new());
        assert!(show.seen("anna") && show.seen("ben") && !show.seen("anna"));
        let waiting = tokio::spawn({
            let show = Arc::clone(&show);
            async move { show.playlist("?token=t").await }
        });
        tokio::task::yield_now().await;
        let mut muxer = Muxer::new(Window::options(Sound::All, false));
        for n in 0..100 {
            muxer.push(&AccessUnit::new(Codec::Pcma, n * 3600, n * 3600, vec![0xD5; 320].into()));
        }
        show.take(&mut muxer);
        let list = waiting.await.unwrap().unwrap();
        let file = list.lines().last().unwrap().strip_suffix("?token=t").unwrap();
        assert!(show.file(file).is_some() && show.file("1.m4s").is_none());
        assert!(!show.idle());
    }

    #[tokio::test]
    async fn the_end_is_told_to_those_who_wait() {
        let show = Arc::new(Show::new());
        let waiting = tokio::spawn({
            let show = Arc::clone(&show);
            async move { show.playlist("").await }
        });
        tokio::task::yield_now().await;
        show.end();
        assert_eq!(waiting.await.unwrap(), None);
    }
}
