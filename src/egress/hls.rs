//! HLS (RFC 8216) with segments of fragmented MP4: what a playlist tells of, made of what the MP4 muxer gives.
//!
//! A [`Window`] is shared by all viewers of a stream. It is pure and bounded.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::mp4;

/// Segments that a playlist lists.
const LISTED: usize = 6;
/// Segments kept beyond them, for players that have read the playlist before.
const GRACE: usize = 2;
/// Bytes of all that is kept: the oldest segments go before their time where a stream is that fat.
const MAX_BYTES: usize = 64 << 20;
/// A segment lasts at least so long, unless it is as large as [`MAX_SEGMENT`]; it ends with a group of pictures.
const LEAST: Duration = Duration::from_secs(2);
/// Bytes of a segment after which it ends in any case.
const MAX_SEGMENT: usize = 16 << 20;

/// The last segments of a stream.
#[derive(Debug)]
pub struct Window {
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The segment that grows.
    open: Option<Open>,
    /// The number of the next segment.
    next: u64,
    init: Option<Init>,
    /// How often the initialization segment changed.
    changes: u64,
    /// Seconds that no segment was longer than.
    target: u64,
}

#[derive(Clone, Debug)]
struct Init {
    /// That of the first segment with it.
    number: u64,
    bytes: Bytes,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: Bytes,
    span: Duration,
    /// Whether it can be decoded without those before it.
    key: bool,
    init: Init,
    changes: u64,
}

#[derive(Debug)]
struct Open {
    fragments: Vec<Bytes>,
    len: usize,
    span: Duration,
    key: bool,
}

impl Window {
    /// `first` is the number of the first segment. One that no earlier window of the stream came to, such as the
    /// seconds of the clock, tells its segments apart from theirs.
    pub fn new(first: u64) -> Self {
        Self { segments: VecDeque::new(), open: None, next: first, init: None, changes: 0, target: 1 }
    }

    /// How the muxer has to be set up for this.
    pub fn options(sound: mp4::Sound, video: bool) -> mp4::Options {
        // Key pictures end the fragments; only where there are none, or hardly any, the clock does.
        let fragment = if video { Duration::from_secs(20) } else { LEAST };
        mp4::Options { sound, fragment }
    }

    /// Takes what the muxer gave. True if there is a new segment.
    pub fn push(&mut self, piece: mp4::Segment) -> bool {
        match piece {
            mp4::Segment::Init(bytes) => {
                let closed = self.close();
                self.changes += u64::from(self.init.is_some());
                self.init = Some(Init { number: self.next, bytes });
                closed
            }
            mp4::Segment::Fragment { bytes, key, span, .. } => {
                let fresh = || Open { fragments: Vec::new(), len: 0, span: Duration::ZERO, key };
                let open = self.open.get_or_insert_with(fresh);
                open.len += bytes.len();
                open.span += span;
                open.fragments.push(bytes);
                let full = open.span >= LEAST || open.len >= MAX_SEGMENT;
                full && self.close()
            }
        }
    }

    fn close(&mut self) -> bool {
        let Some((open, init)) = self.open.take().zip(self.init.clone()) else { return false };
        let Open { fragments, span, key, .. } = open;
        let bytes = match <[Bytes; 1]>::try_from(fragments) {
            Ok([only]) => only,
            Err(several) => several.concat().into(),
        };
        // Rounded up, and never lowered: players may hold a playlist to what it once said.
        self.target = self.target.max(span.as_millis().div_ceil(1000) as u64);
        self.segments.push_back(Segment { number: self.next, bytes, span, key, init, changes: self.changes });
        self.next += 1;
        while self.segments.len() > LISTED + GRACE || self.segments.len() > 1 && self.bytes() > MAX_BYTES {
            self.segments.pop_front();
        }
        true
    }

    fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.bytes.len()).sum()
    }

    /// The playlist, with `query` behind each of its addresses (empty, or from the question mark on). `None` before
    /// the first segment.
    pub fn playlist(&self, query: &str) -> Option<String> {
        let skipped = self.segments.len().saturating_sub(LISTED);
        let listed = || self.segments.iter().skip(skipped);
        let first = listed().next()?;
        let mut out = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n",
            self.target, first.number
        );
        if first.changes > 0 {
            let _ = writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", first.changes);
        }
        if listed().all(|segment| segment.key) {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        let (mut init, mut changes) = (None, first.changes);
        for segment in listed() {
            if std::mem::replace(&mut changes, segment.changes) != segment.changes {
                out.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if init.replace(segment.init.number) != Some(segment.init.number) {
                let _ = writeln!(out, "#EXT-X-MAP:URI=\"init-{}.mp4{query}\"", segment.init.number);
            }
            let seconds = segment.span.as_secs_f64();
            let _ = write!(out, "#EXTINF:{seconds:.3},\n{}.m4s{query}\n", segment.number);
        }
        Some(out)
    }

    /// A file that a playlist names: an initialization segment or a segment.
    pub fn file(&self, name: &str) -> Option<Bytes> {
        if let Some(number) = name.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
            let number: u64 = number.parse().ok()?;
            let mut inits = self.segments.iter().map(|segment| &segment.init);
            return inits.find(|init| init.number == number).map(|init| init.bytes.clone());
        }
        let number: u64 = name.strip_suffix(".m4s")?.parse().ok()?;
        let found = self.segments.iter().find(|segment| segment.number == number)?;
        Some(found.bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(name: &'static str) -> mp4::Segment {
        mp4::Segment::Init(Bytes::from_static(name.as_bytes()))
    }

    fn fragment(bytes: Vec<u8>, key: bool, millis: u64) -> mp4::Segment {
        let span = Duration::from_millis(millis);
        mp4::Segment::Fragment { bytes: bytes.into(), key, time: 0, span }
    }

    #[test]
    fn groups_of_pictures_become_segments_of_two_seconds_and_more() {
        let mut window = Window::new(10);
        assert_eq!(window.playlist(""), None);
        assert!(!window.push(init("one")));
        assert!(!window.push(fragment(vec![1], true, 1500)));
        assert!(window.push(fragment(vec![2], true, 1500)));
        assert!(window.push(fragment(vec![3], true, 2040)));
        let wanted = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:10\n\
            #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"init-10.mp4?token=t\"\n\
            #EXTINF:3.000,\n10.m4s?token=t\n#EXTINF:2.040,\n11.m4s?token=t\n";
        assert_eq!(window.playlist("?token=t").unwrap(), wanted);
        assert_eq!(window.file("10.m4s").unwrap().as_ref(), [1, 2]);
        assert_eq!(window.file("init-10.mp4").unwrap().as_ref(), b"one");
        for name in ["12.m4s", "init-11.mp4", "init-.mp4", ".m4s", "10", "index.m3u8"] {
            assert_eq!(window.file(name), None, "{name}");
        }
    }

    #[test]
    fn six_segments_are_listed_and_two_more_can_be_fetched() {
        let mut window = Window::new(0);
        window.push(init("one"));
        for number in 0..20 {
            window.push(fragment(vec![number], true, 2000));
        }
        let list = window.playlist("").unwrap();
        assert!(list.contains("#EXT-X-MEDIA-SEQUENCE:14\n") && list.ends_with("\n19.m4s\n"), "{list}");
        assert_eq!(list.matches("#EXTINF").count(), LISTED);
        assert_eq!((window.file("11.m4s"), window.file("12.m4s").unwrap()[0]), (None, 12));
    }

    #[test]
    fn other_pictures_are_a_discontinuity_that_is_counted_once_it_is_gone() {
        let mut window = Window::new(0);
        window.push(init("one"));
        window.push(fragment(vec![0], true, 2000));
        window.push(fragment(vec![1], true, 500));
        assert!(window.push(init("two")), "what was begun ends");
        window.push(fragment(vec![2], true, 2000));
        let list = window.playlist("").unwrap();
        let end = "#EXTINF:0.500,\n1.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-2.mp4\"\n\
            #EXTINF:2.000,\n2.m4s\n";
        assert!(list.ends_with(end) && !list.contains("DISCONTINUITY-SEQUENCE"), "{list}");
        (3..8).for_each(|number| _ = window.push(fragment(vec![number], true, 2000)));
        let list = window.playlist("").unwrap();
        assert!(list.contains("#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP"));
        assert!(!list.contains("#EXT-X-DISCONTINUITY\n"), "{list}");
    }

    #[test]
    fn segments_that_begin_without_a_key_are_not_called_independent() {
        let mut window = Window::new(0);
        window.push(init("one"));
        window.push(fragment(vec![0], true, 20_000));
        window.push(fragment(vec![0], false, 5_000));
        let list = window.playlist("").unwrap();
        assert!(!list.contains("INDEPENDENT") && list.contains("TARGETDURATION:20\n"), "{list}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut window = Window::new(0);
        window.push(init("one"));
        for _ in 0..10 {
            assert!(window.push(fragment(vec![0; MAX_SEGMENT], true, 100)), "it is large enough");
            assert!(window.bytes() <= MAX_BYTES);
        }
        assert_eq!(window.segments.len(), MAX_BYTES / MAX_SEGMENT);
    }
}
