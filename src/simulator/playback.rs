//! What is sent next in a call: the camera's picture without end, or a recording, forwards, backwards, at any speed.
//!
//! Time stamps are those of RTSP: continuous, and as fast as the clock on the wall whatever the speed, also over a
//! jump. A download has the recording's own, since it is no display.

use std::sync::Arc;
use std::time::Duration;

use super::clip::{Clip, FPS, FRAME};
use super::device::{Content, Position, Steering};

/// The speeds that a recording is played at.
const SLOWEST: f64 = 0.25;
const FASTEST: f64 = 4.0;
/// Pictures by which channels differ in what they show.
const CHANNEL_STEP: u64 = 37;

/// A picture to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Which one of the clip.
    pub(super) index: u64,
    /// Its time stamp, 90 kHz.
    pub(super) pts: i64,
    /// Whether its sound goes with it: at other speeds than 1 there is none.
    pub(super) sound: bool,
}

/// What a call has sent and will send.
#[derive(Debug)]
pub(super) struct Player {
    clip: Arc<Clip>,
    /// Which picture of the clip the span begins with.
    base: u64,
    /// Pictures of the span; `None` without end.
    length: Option<u64>,
    /// The next picture, counted from the beginning of the span.
    at: u64,
    /// Where it ends: the end of the span, or what a command asked for.
    until: Option<u64>,
    scale: f64,
    paused: bool,
    /// Of a GOP played backwards: its beginning and end.
    gop: Option<(u64, u64)>,
    /// Times of real time at which it is sent, without a word of it in the time stamps.
    download: Option<u8>,
    /// Time stamps of the recording at any speed, which is a quirk.
    recorded: bool,
    origin: i64,
    /// Ticks since `origin` of the next picture.
    clock: f64,
    over: bool,
}

impl Player {
    pub(super) fn new(
        clip: Arc<Clip>,
        content: Content,
        channel: u64,
        origin: i64,
        recorded: bool,
    ) -> Player {
        let fps = FPS.unsigned_abs();
        let (first, length, download) = match content {
            Content::Live | Content::Talk => (0, None, None),
            Content::Playback { start, end } => (start * fps, Some((end - start) * fps), None),
            Content::Download { start, end, speed } => (start * fps, Some((end - start) * fps), Some(speed)),
        };
        // Channels and hours show different parts of the clip, each from a key frame on.
        let base = clip.next_key((first + channel * CHANNEL_STEP) % clip.length());
        Player {
            clip,
            base,
            length,
            at: 0,
            until: None,
            scale: 1.0,
            paused: false,
            gop: None,
            download,
            recorded,
            origin,
            clock: 0.0,
            over: false,
        }
    }

    /// The bytes of the program stream, of a download.
    pub(super) fn file_size(&self) -> Option<u64> {
        self.download.and(self.length).map(|length| self.clip.size(self.base, length))
    }

    /// The time from one picture to the next; `None` while it stands still.
    pub(super) fn pace(&self) -> Option<Duration> {
        let speed = self.download.map_or(self.scale.abs(), f64::from);
        (!self.paused && !self.over).then(|| Duration::from_secs_f64(1.0 / FPS as f64 / speed))
    }

    /// The next picture; `None` at the end, and behind it.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let at = if self.over || self.paused { None } else { self.advance() };
        let Some(at) = at else {
            self.over |= !self.paused;
            return None;
        };
        let pts = self.origin + if self.recorded { at as i64 * FRAME } else { self.clock as i64 };
        self.clock += FRAME as f64 / self.scale.abs();
        Some(Frame { index: self.base + at, pts, sound: self.scale == 1.0 })
    }

    fn advance(&mut self) -> Option<u64> {
        if self.scale > 0.0 {
            let end = self.until.or(self.length);
            return end.is_none_or(|end| self.at < end).then(|| {
                self.at += 1;
                self.at - 1
            });
        }
        // Backwards GOP by GOP, the pictures in each in their order.
        let (start, end) = match self.gop {
            Some(gop) if self.at < gop.1 => gop,
            gop => {
                let end = gop.map_or(self.at, |(start, _)| start);
                if end <= self.until.unwrap_or(0) {
                    return None;
                }
                let start = self.key_before(end - 1);
                self.at = start;
                (start, end)
            }
        };
        self.gop = Some((start, end));
        self.at += 1;
        Some(self.at - 1)
    }

    /// Does what it is told, where it can.
    pub(super) fn steer(&mut self, steering: Steering) {
        match steering {
            Steering::Pause => self.paused = true,
            Steering::Teardown => self.over = true,
            Steering::Play { scale, from, until } => {
                self.paused = false;
                let old = self.scale;
                if let Some(scale) = scale.filter(|_| self.download.is_none()) {
                    self.scale = scale.abs().clamp(SLOWEST, FASTEST).copysign(scale);
                }
                let frames = |seconds: f64| (seconds * FPS as f64).min(1e12) as u64;
                if let Some(seconds) = from {
                    let at = frames(seconds).min(self.length.unwrap_or(0));
                    // Pictures can be decoded from a key frame on.
                    self.at = if self.scale < 0.0 { at } else { self.key_before(at) };
                    (self.gop, self.until, self.over) = (None, None, false);
                } else if old.is_sign_negative() != self.scale.is_sign_negative() {
                    // It turns round where it stands, at a key frame again.
                    self.at = if self.scale > 0.0 { self.key_before(self.at) } else { self.at };
                    (self.gop, self.until, self.over) = (None, None, false);
                }
                if let Some(seconds) = until {
                    self.until = Some(frames(seconds).min(self.length.unwrap_or(0)));
                }
            }
        }
    }

    /// Goes on from the next key frame, of what is live.
    pub(super) fn key_frame(&mut self) {
        if self.length.is_none() {
            self.at = self.clip.next_key(self.base + self.at) - self.base;
        }
    }

    /// Where it stands.
    pub(super) fn position(&self, sequence: u16) -> Position {
        Position {
            seconds: self.at as f64 / FPS as f64,
            scale: self.scale,
            sequence,
            timestamp: (self.origin + self.clock as i64) as u32,
        }
    }

    /// The key frame at a picture or before it, counted as `at` is.
    fn key_before(&self, at: u64) -> u64 {
        self.clip.previous_key(self.base + at).saturating_sub(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAYBACK: Content = Content::Playback { start: 1_714_521_600, end: 1_714_521_604 };

    fn player(content: Content) -> Player {
        Player::new(Clip::built_in().unwrap(), content, 0, 0, false)
    }

    fn play(scale: Option<f64>, from: Option<f64>) -> Steering {
        Steering::Play { scale, from, until: None }
    }

    fn rest(player: &mut Player) -> Vec<Frame> {
        std::iter::from_fn(|| player.next()).take(10_000).collect()
    }

    #[test]
    fn a_recording_is_played_to_its_end() {
        let mut player = player(PLAYBACK);
        let frames = rest(&mut player);
        assert_eq!(frames.len(), 100);
        assert!(
            frames.windows(2).all(|two| two[1].pts - two[0].pts == FRAME && two[1].index == two[0].index + 1)
        );
        assert_eq!((player.next(), player.pace()), (None, None));
        player.steer(play(None, Some(3.0)));
        assert_eq!(rest(&mut player).len(), 25, "what has ended can be gone back to");
    }

    #[test]
    fn speed_changes_the_pace_and_time_stamps_keep_real_time() {
        for (scale, pace, step) in [(4.0, 10, 900), (0.25, 160, 14_400), (2.0, 20, 1_800)] {
            let mut player = player(PLAYBACK);
            player.steer(play(Some(scale), None));
            assert_eq!(player.pace(), Some(Duration::from_millis(pace)));
            let frames = rest(&mut player);
            assert_eq!(frames.len(), 100);
            assert!(frames.windows(2).all(|two| two[1].pts - two[0].pts == step));
            assert!(frames.iter().all(|frame| !frame.sound));
        }
        let mut player = player(PLAYBACK);
        player.steer(play(Some(100.0), None));
        assert_eq!(player.position(0).scale, 4.0, "it says what it really does");
    }

    #[test]
    fn a_pause_and_a_jump_leave_no_gap_in_the_time_stamps() {
        let mut player = player(PLAYBACK);
        let last = (0..10).filter_map(|_| player.next()).last().unwrap();
        player.steer(Steering::Pause);
        assert_eq!((player.pace(), player.next()), (None, None));
        player.steer(play(None, Some(2.5)));
        let frame = player.next().unwrap();
        assert_eq!(
            (frame.index - player.base, frame.pts),
            (50, last.pts + FRAME),
            "from the key frame before"
        );
        assert!(player.clip.picture(frame.index).key);
    }

    #[test]
    fn backwards_goes_gop_by_gop() {
        let mut player = player(PLAYBACK);
        player.steer(play(Some(-1.0), Some(3.0)));
        let frames = rest(&mut player);
        let order: Vec<u64> = frames.iter().map(|frame| frame.index - player.base).collect();
        let expected: Vec<u64> = (50..75).chain(25..50).chain(0..25).collect();
        assert_eq!(order, expected);
        assert!(frames.windows(2).all(|two| two[1].pts - two[0].pts == FRAME));
        // From the middle of a GOP, and round again.
        player.steer(play(Some(-1.0), Some(1.4)));
        let base = player.base;
        let order: Vec<u64> = (0..12).filter_map(|_| player.next()).map(|frame| frame.index - base).collect();
        assert_eq!(order, (25..35).chain(0..2).collect::<Vec<_>>());
        player.steer(play(Some(1.0), None));
        assert_eq!(player.next().unwrap().index - player.base, 0);
    }

    #[test]
    fn a_span_asked_for_ends_where_it_says() {
        let mut player = player(PLAYBACK);
        player.steer(Steering::Play { scale: Some(-2.0), from: Some(3.0), until: Some(1.0) });
        assert_eq!(rest(&mut player).len(), 50);
        player.steer(Steering::Play { scale: Some(1.0), from: Some(1.0), until: Some(2.0) });
        assert_eq!(rest(&mut player).len(), 25);
    }

    #[test]
    fn a_download_is_faster_and_has_the_times_of_the_recording() {
        let content = Content::Download { start: 1_714_521_600, end: 1_714_521_604, speed: 4 };
        let mut player = player(content);
        assert_eq!(player.pace(), Some(Duration::from_millis(10)));
        assert_eq!(player.file_size(), Some(player.clip.size(player.base, 100)));
        let frames = rest(&mut player);
        assert_eq!(frames.len(), 100);
        assert!(frames.windows(2).all(|two| two[1].pts - two[0].pts == FRAME && two[1].sound));
    }

    #[test]
    fn live_never_ends() {
        let mut player = player(Content::Live);
        assert_eq!(rest(&mut player).len(), 10_000);
        player.key_frame();
        let frame = player.next().unwrap();
        assert!(player.clip.picture(frame.index).key);
    }
}
