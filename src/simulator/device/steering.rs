//! Playback control, annex B: the text inside INFO.

use bytes::Bytes;

/// The media type of INFO's body.
pub(super) const CONTENT_TYPE: &str = "Application/MANSRTSP";
/// Longest body read.
const MAX_BODY: usize = 4_096;

/// What a playback is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Steering {
    /// Stand still.
    Pause,
    /// Go on; what is `None` stays as it is.
    Play {
        /// Times as fast; below zero backwards.
        scale: Option<f64>,
        /// Seconds from the beginning to go to.
        from: Option<f64>,
        /// Seconds from the beginning to end at.
        until: Option<f64>,
    },
    /// Stop sending; BYE follows.
    Teardown,
}

impl Steering {
    pub(super) fn changes_speed(self) -> bool {
        matches!(self, Steering::Play { scale: Some(scale), .. } if scale != 1.0)
    }
}

/// Where a playback stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Seconds from the beginning of the span.
    pub seconds: f64,
    /// The speed that is really played at.
    pub scale: f64,
    /// The next RTP packet.
    pub sequence: u16,
    /// Its time stamp.
    pub timestamp: u32,
}

/// Reads a command: RTSP/1.0 with npt, or MANSRTSP/1.0 with smpte as of 2011.
pub(super) fn parse(body: &[u8]) -> Option<Steering> {
    let text = std::str::from_utf8(body.get(..body.len().min(MAX_BODY))?).ok()?;
    let mut lines = text.lines();
    let method = lines.next()?.split_whitespace().next()?;
    if method.eq_ignore_ascii_case("PAUSE") {
        return Some(Steering::Pause);
    }
    if method.eq_ignore_ascii_case("TEARDOWN") {
        return Some(Steering::Teardown);
    }
    if !method.eq_ignore_ascii_case("PLAY") {
        return None;
    }
    let scale = match header(text, "Scale") {
        Some(scale) => Some(scale.parse().ok().filter(|scale: &f64| scale.is_finite() && *scale != 0.0)?),
        None => None,
    };
    let (from, until) = match header(text, "Range") {
        Some(range) => span(range)?,
        None => (None, None),
    };
    Some(Steering::Play { scale, from, until })
}

/// The answer to a command that was carried out.
pub(super) fn answer(command: &[u8], at: Position) -> Bytes {
    let Position { seconds, scale, sequence, timestamp } = at;
    let cseq = cseq(command);
    format!(
        "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nScale: {scale:?}\r\nRange: npt={seconds:.3}-\r\n\
         RTP-Info: seq={sequence};rtptime={timestamp}\r\n\r\n"
    )
    .into()
}

/// The answer to a command that the device does not know how to carry out.
pub(super) fn refusal(command: &[u8]) -> Bytes {
    format!("RTSP/1.0 451 Invalid Parameter\r\nCSeq: {}\r\n\r\n", cseq(command)).into()
}

fn cseq(command: &[u8]) -> u32 {
    let text = std::str::from_utf8(command).unwrap_or_default();
    header(text, "CSeq").and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    Some(fields.find(|(own, _)| own.trim().eq_ignore_ascii_case(name))?.1.trim())
}

/// `npt=100-200`, `npt=now-`, `smpte=00:01:40-`.
fn span(range: &str) -> Option<(Option<f64>, Option<f64>)> {
    let (unit, span) = range.split_once('=')?;
    let (from, until) = span.split_once('-')?;
    let time = |text: &str| -> Option<f64> {
        if unit.trim().eq_ignore_ascii_case("smpte") {
            text.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.trim().parse::<f64>().ok()?))
        } else {
            text.parse().ok()
        }
    };
    let one = |text: &str| match text.trim() {
        "" | "now" => Some(None),
        text => Some(Some(time(text).filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?)),
    };
    Some((one(from)?, one(until)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(scale: Option<f64>, from: Option<f64>, until: Option<f64>) -> Option<Steering> {
        Some(Steering::Play { scale, from, until })
    }

    #[test]
    fn the_samples_of_the_standard_are_read() {
        assert_eq!(parse(b"PAUSE RTSP/1.0\r\nCSeq: 1\r\nPauseTime: now\r\n\r\n"), Some(Steering::Pause));
        let resume = b"PLAY RTSP/1.0\r\nCSeq: 2\r\nRange: npt=now-\r\n\r\n";
        assert_eq!(parse(resume), play(None, None, None));
        assert_eq!(parse(b"PLAY RTSP/1.0\r\nCSeq: 3\r\nScale: 2.0\r\n\r\n"), play(Some(2.0), None, None));
        let seek = b"PLAY RTSP/1.0\r\nCSeq: 4\r\nRange: npt=100-\r\n\r\n";
        assert_eq!(parse(seek), play(None, Some(100.0), None));
        let back = b"PLAY RTSP/1.0\r\nCSeq: 5\r\nScale: -1.0\r\nRange: npt=600-120\r\n\r\n";
        assert_eq!(parse(back), play(Some(-1.0), Some(600.0), Some(120.0)));
        let old = b"PLAY MANSRTSP/1.0\nCSeq:6\nScale:4\nRange: smpte=00:01:40-\n\n";
        assert_eq!(parse(old), play(Some(4.0), Some(100.0), None));
        assert_eq!(parse(b"TEARDOWN RTSP/1.0\r\nCSeq: 7\r\n\r\n"), Some(Steering::Teardown));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for body in [
            &b""[..],
            b"HALT RTSP/1.0",
            b"PLAY RTSP/1.0\r\nScale: 0\r\n",
            b"PLAY RTSP/1.0\r\nScale: fast\r\n",
            b"PLAY RTSP/1.0\r\nRange: npt=-5\r\n\xFF",
            b"PLAY RTSP/1.0\r\nRange: npt=x-\r\n",
        ] {
            assert_eq!(parse(body), None, "{body:?}");
        }
    }

    #[test]
    fn the_answer_says_where_it_stands() {
        let at = Position { seconds: 100.0, scale: 2.0, sequence: 7, timestamp: 9 };
        let text = answer(b"PLAY RTSP/1.0\r\nCSeq: 4\r\n\r\n", at);
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.starts_with("RTSP/1.0 200 OK\r\nCSeq: 4\r\nScale: 2.0\r\nRange: npt=100.000-\r\n"));
        assert!(text.contains("seq=7;rtptime=9"));
    }
}
