//! MANSRTSP, annex B: the text that an INFO carries to control a playback, and the answer in its 200.

use std::fmt::Write;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The media type, as the standard spells it. Compare it without case.
pub const CONTENT_TYPE: &str = "Application/MANSRTSP";

/// Longest body read.
const MAX_SIZE: usize = 4096;
/// Farthest position in a recording, in seconds: ten years.
const MAX_SECONDS: f64 = 315_360_000.0;
/// Highest speed either way.
const MAX_SCALE: f64 = 256.0;

/// The words of an edition.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// `RTSP/1.0` and times as `npt`, since 2016.
    #[default]
    Rtsp,
    /// `MANSRTSP/1.0` and times as `smpte`, of 2011.
    Mansrtsp,
}

impl Dialect {
    fn version(self) -> &'static str {
        match self {
            Dialect::Rtsp => "RTSP/1.0",
            Dialect::Mansrtsp => "MANSRTSP/1.0",
        }
    }
}

/// A part of a recording, in seconds from the start of the span that is played.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Range {
    /// From where it is.
    Now,
    From(f64),
    /// Backwards where the second is less.
    Between(f64, f64),
}

#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Command {
    Play {
        /// The speed: 0.25, 0.5, 1, 2, 4 and others where the device has them; less than 0 is backwards. None: as it
        /// is.
        scale: Option<f64>,
        /// None: from where it is.
        range: Option<Range>,
    },
    Pause,
    Teardown,
}

/// A command and the number that its answer repeats.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Request {
    pub command: Command,
    pub cseq: u32,
}

/// Why a body is no request, or no answer.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum BadMansrtsp {
    #[error("the body is longer than {MAX_SIZE} bytes")]
    TooLarge,
    #[error("the first line of the body is none of RTSP")]
    StartLine,
    #[error("the body asks for a method that is none of PLAY, PAUSE and TEARDOWN")]
    Method,
    #[error("the body has a Range or Scale that cannot be read")]
    Value,
}

impl Request {
    /// Resumes at the speed it had.
    pub fn resume(cseq: u32) -> Request {
        Request { command: Command::Play { scale: None, range: Some(Range::Now) }, cseq }
    }

    pub fn pause(cseq: u32) -> Request {
        Request { command: Command::Pause, cseq }
    }

    /// Goes on at another speed.
    pub fn speed(cseq: u32, scale: f64) -> Request {
        Request { command: Command::Play { scale: Some(scale), range: None }, cseq }
    }

    /// Goes on elsewhere.
    pub fn seek(cseq: u32, seconds: f64) -> Request {
        Request { command: Command::Play { scale: None, range: Some(Range::From(seconds)) }, cseq }
    }

    /// Reads a request: either dialect, any order of the lines, LF alone. A missing CSeq is 0.
    pub fn parse(body: &[u8]) -> Result<Request, BadMansrtsp> {
        let text = text(body)?;
        let (start, fields) = start_and_fields(&text);
        let mut words = start.split_ascii_whitespace();
        let method = words.next().unwrap_or_default();
        let version = words.next_back().unwrap_or_default().to_ascii_uppercase();
        if !version.contains("RTSP/") {
            return Err(BadMansrtsp::StartLine);
        }
        let is = |name: &str| method.eq_ignore_ascii_case(name);
        let command = if is("PLAY") {
            Command::Play {
                scale: fields.number("Scale").transpose()?,
                range: fields.get("Range").map(range).transpose()?,
            }
        } else if is("PAUSE") {
            Command::Pause
        } else if is("TEARDOWN") {
            Command::Teardown
        } else {
            return Err(BadMansrtsp::Method);
        };
        Ok(Request { command, cseq: fields.cseq().unwrap_or(0) })
    }

    pub fn to_bytes(self, dialect: Dialect) -> Bytes {
        let mut out = String::with_capacity(96);
        // Writing into a String does not fail.
        let _ = self.write(dialect, &mut out);
        Bytes::from(out)
    }

    fn write(self, dialect: Dialect, out: &mut String) -> std::fmt::Result {
        let method = match self.command {
            Command::Play { .. } => "PLAY",
            Command::Pause => "PAUSE",
            Command::Teardown => "TEARDOWN",
        };
        write!(out, "{method} {}\r\nCSeq: {}\r\n", dialect.version(), self.cseq)?;
        match self.command {
            Command::Play { scale, range } => {
                if let Some(scale) = scale {
                    write!(out, "Scale: {}\r\n", scale_text(scale))?;
                }
                if let Some(range) = range {
                    write!(out, "Range: {}\r\n", range.text(dialect))?;
                }
            }
            Command::Pause => out.push_str("PauseTime: now\r\n"),
            Command::Teardown => {}
        }
        out.push_str("\r\n");
        Ok(())
    }
}

/// The answer, where a device sends one; many send a bare 200. Match it by the SIP transaction: the numbers are
/// often wrong.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// As in RTSP: 200, 4xx or 5xx.
    pub code: u16,
    pub cseq: Option<u32>,
    /// The speed that the device really plays at.
    pub scale: Option<f64>,
    pub range: Option<Range>,
    /// Of the first packet of what is played now: its sequence number and time stamp.
    pub rtp: Option<(u16, u32)>,
}

impl Answer {
    /// What the device says that it does.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Reads an answer. Fields that cannot be read are left out.
    pub fn parse(body: &[u8]) -> Result<Answer, BadMansrtsp> {
        let text = text(body)?;
        let (start, fields) = start_and_fields(&text);
        let mut words = start.split_ascii_whitespace();
        let version = words.next().unwrap_or_default().to_ascii_uppercase();
        if !version.contains("RTSP/") {
            return Err(BadMansrtsp::StartLine);
        }
        let code = words.next().and_then(|code| code.parse().ok()).ok_or(BadMansrtsp::StartLine)?;
        Ok(Answer {
            code,
            cseq: fields.cseq(),
            scale: fields.number("Scale").and_then(Result::ok),
            range: fields.get("Range").and_then(|text| range(text).ok()),
            rtp: fields.get("RTP-Info").and_then(rtp_info),
        })
    }

    pub fn to_bytes(&self, dialect: Dialect) -> Bytes {
        let mut out = String::with_capacity(128);
        // Writing into a String does not fail.
        let _ = self.write(dialect, &mut out);
        Bytes::from(out)
    }

    fn write(&self, dialect: Dialect, out: &mut String) -> std::fmt::Result {
        let reason = if self.is_ok() { "OK" } else { "Error" };
        write!(out, "{} {} {reason}\r\n", dialect.version(), self.code)?;
        if let Some(cseq) = self.cseq {
            write!(out, "CSeq: {cseq}\r\n")?;
        }
        if let Some(scale) = self.scale {
            write!(out, "Scale: {}\r\n", scale_text(scale))?;
        }
        if let Some(range) = self.range {
            write!(out, "Range: {}\r\n", range.text(dialect))?;
        }
        if let Some((sequence, time)) = self.rtp {
            write!(out, "RTP-Info: seq={sequence};rtptime={time}\r\n")?;
        }
        out.push_str("\r\n");
        Ok(())
    }
}

impl Range {
    fn text(self, dialect: Dialect) -> String {
        let time = |seconds: f64| match dialect {
            Dialect::Rtsp => seconds_text(seconds),
            Dialect::Mansrtsp => smpte_text(seconds),
        };
        let unit = match dialect {
            Dialect::Rtsp => "npt",
            Dialect::Mansrtsp => "smpte",
        };
        match self {
            Range::Now => "npt=now-".to_owned(),
            Range::From(start) => format!("{unit}={}-", time(start)),
            Range::Between(start, end) => format!("{unit}={}-{}", time(start), time(end)),
        }
    }
}

/// Whole seconds as such, which all devices read; else to the millisecond.
fn seconds_text(seconds: f64) -> String {
    let millis = (seconds.clamp(0.0, MAX_SECONDS) * 1000.0).round();
    if millis % 1000.0 == 0.0 { format!("{:.0}", millis / 1000.0) } else { format!("{:.3}", millis / 1000.0) }
}

/// Whole seconds as hours, minutes and seconds.
fn smpte_text(seconds: f64) -> String {
    // Within bounds and not negative.
    let seconds = seconds.clamp(0.0, MAX_SECONDS).round() as u64;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// With a fraction, as in the samples of the standard: 2.0, 0.25.
fn scale_text(scale: f64) -> String {
    format!("{:?}", scale.clamp(-MAX_SCALE, MAX_SCALE))
}

fn text(body: &[u8]) -> Result<String, BadMansrtsp> {
    if body.len() > MAX_SIZE {
        Err(BadMansrtsp::TooLarge)
    } else {
        Ok(String::from_utf8_lossy(body).into_owned())
    }
}

/// The fields behind the first line.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

fn start_and_fields(text: &str) -> (&str, Fields<'_>) {
    let mut lines = text.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty());
    let start = lines.next().unwrap_or_default();
    let fields =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()));
    (start, Fields(fields.collect()))
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn cseq(&self) -> Option<u32> {
        self.get("CSeq")?.parse().ok()
    }

    fn number(&self, name: &str) -> Option<Result<f64, BadMansrtsp>> {
        let number = self.get(name)?.parse().ok().filter(|number: &f64| number.abs() <= MAX_SCALE);
        Some(number.ok_or(BadMansrtsp::Value))
    }
}

/// `npt=now-`, `npt=100-`, `npt=600-120`, `smpte=00:01:40-`.
fn range(text: &str) -> Result<Range, BadMansrtsp> {
    let times = text.split_once('=').map_or(text, |(_, times)| times).trim();
    let (start, end) = times.split_once('-').unwrap_or((times, ""));
    let (start, end) = (start.trim(), end.trim());
    if start.is_empty() || start.eq_ignore_ascii_case("now") {
        return Ok(Range::Now);
    }
    let start = seconds(start).ok_or(BadMansrtsp::Value)?;
    if end.is_empty() {
        return Ok(Range::From(start));
    }
    Ok(Range::Between(start, seconds(end).ok_or(BadMansrtsp::Value)?))
}

/// Seconds, or hours, minutes and seconds; frames of SMPTE behind them are passed over.
fn seconds(text: &str) -> Option<f64> {
    let number = |text: &str| text.parse().ok().filter(|number: &f64| (0.0..=MAX_SECONDS).contains(number));
    let mut parts = text.splitn(4, ':');
    let first = number(parts.next()?)?;
    match (parts.next(), parts.next()) {
        (None, _) => Some(first),
        (Some(minutes), Some(seconds)) => {
            number(&(first * 3600.0 + number(minutes)? * 60.0 + number(seconds)?).to_string())
        }
        (Some(_), None) => None,
    }
}

/// `seq=4711;rtptime=9000000`, perhaps with a `url=` before.
fn rtp_info(text: &str) -> Option<(u16, u32)> {
    let part = |name: &str| {
        let parts = text.split([';', ',']).filter_map(|part| part.split_once('='));
        parts
            .map(|(known, value)| (known.trim(), value.trim()))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    Some((part("seq")?.1.parse().ok()?, part("rtptime")?.1.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn play(scale: Option<f64>, range: Option<Range>) -> Command {
        Command::Play { scale, range }
    }

    #[test]
    fn requests_as_in_the_standard() {
        for (request, text) in [
            (Request::pause(1), "PAUSE RTSP/1.0\r\nCSeq: 1\r\nPauseTime: now\r\n\r\n"),
            (Request::resume(2), "PLAY RTSP/1.0\r\nCSeq: 2\r\nRange: npt=now-\r\n\r\n"),
            (Request::speed(3, 2.0), "PLAY RTSP/1.0\r\nCSeq: 3\r\nScale: 2.0\r\n\r\n"),
            (Request::speed(3, 0.25), "PLAY RTSP/1.0\r\nCSeq: 3\r\nScale: 0.25\r\n\r\n"),
            (Request::seek(4, 100.0), "PLAY RTSP/1.0\r\nCSeq: 4\r\nRange: npt=100-\r\n\r\n"),
            (Request::seek(4, 1.5), "PLAY RTSP/1.0\r\nCSeq: 4\r\nRange: npt=1.500-\r\n\r\n"),
            (Request { command: Command::Teardown, cseq: 5 }, "TEARDOWN RTSP/1.0\r\nCSeq: 5\r\n\r\n"),
            (
                Request { command: play(Some(-1.0), Some(Range::Between(600.0, 120.0))), cseq: 6 },
                "PLAY RTSP/1.0\r\nCSeq: 6\r\nScale: -1.0\r\nRange: npt=600-120\r\n\r\n",
            ),
        ] {
            assert_eq!(request.to_bytes(Dialect::Rtsp), text);
            assert_eq!(Request::parse(text.as_bytes()), Ok(request));
        }
        let old = "PLAY MANSRTSP/1.0\r\nCSeq: 7\r\nRange: smpte=00:01:40-\r\n\r\n";
        assert_eq!(Request::seek(7, 100.0).to_bytes(Dialect::Mansrtsp), old);
        assert_eq!(Request::parse(old.as_bytes()), Ok(Request::seek(7, 100.0)));
    }

    #[test]
    fn reads_what_devices_write() {
        for (text, command) in [
            ("PLAY MANSRTSP/1.0\nRange:npt=-\nScale:1\n", play(Some(1.0), Some(Range::Now))),
            (
                "\r\nplay sip:1@2 rtsp/1.0\nCseq:3\nrange: 100 -200",
                play(None, Some(Range::Between(100.0, 200.0))),
            ),
            ("PLAY RTSP/1.0\r\nrange: smpte=0:10:20:15-", play(None, Some(Range::From(620.0)))),
            ("PLAY RTSP/1.0", play(None, None)),
        ] {
            assert_eq!(Request::parse(text.as_bytes()).map(|request| request.command), Ok(command), "{text}");
        }
        for (text, bad) in [
            ("", BadMansrtsp::StartLine),
            ("PLAY", BadMansrtsp::StartLine),
            ("RECORD RTSP/1.0", BadMansrtsp::Method),
            ("PLAY RTSP/1.0\nScale: fast", BadMansrtsp::Value),
            ("PLAY RTSP/1.0\nScale: NaN", BadMansrtsp::Value),
            ("PLAY RTSP/1.0\nScale: 1e9", BadMansrtsp::Value),
            ("PLAY RTSP/1.0\nRange: npt=1:2-", BadMansrtsp::Value),
            ("PLAY RTSP/1.0\nRange: npt=inf-", BadMansrtsp::Value),
        ] {
            assert_eq!(Request::parse(text.as_bytes()), Err(bad), "{text}");
        }
        assert_eq!(Request::parse(&[b'x'; MAX_SIZE + 1]), Err(BadMansrtsp::TooLarge));
    }

    #[test]
    fn answers() {
        let text = "RTSP/1.0 200 OK\r\nCSeq: 2\r\nScale: 2.0\r\nRange: npt=100-\r\nRTP-Info: seq=4711;rtptime=9000000\r\n\r\n";
        let answer = Answer {
            code: 200,
            cseq: Some(2),
            scale: Some(2.0),
            range: Some(Range::From(100.0)),
            rtp: Some((4711, 9_000_000)),
        };
        assert!(answer.is_ok());
        assert_eq!(Answer::parse(text.as_bytes()), Ok(answer));
        assert_eq!(answer.to_bytes(Dialect::Rtsp), text);
        let refused = Answer { code: 457, ..Answer::default() };
        assert_eq!(Answer::parse(b"MANSRTSP/1.0 457\nScale: x\nRTP-Info: url=a;seq=b"), Ok(refused));
        assert!(!refused.is_ok());
        for text in ["", "200 OK", "RTSP/1.0", "RTSP/1.0 OK"] {
            assert_eq!(Answer::parse(text.as_bytes()), Err(BadMansrtsp::StartLine), "{text}");
        }
    }

    fn any_range() -> impl Strategy<Value = Range> {
        // To the millisecond, as they are written.
        let seconds = || (0u32..100_000_000).prop_map(|millis| f64::from(millis) / 1000.0);
        prop_oneof![
            Just(Range::Now),
            seconds().prop_map(Range::From),
            (seconds(), seconds()).prop_map(|(a, b)| Range::Between(a, b)),
        ]
    }

    proptest! {
        #[test]
        fn written_and_read_again(
            cseq: u32,
            scale in proptest::option::of(-16.0f64..16.0),
            range in proptest::option::of(any_range()),
            code in 200u16..600,
        ) {
            let request = Request { command: play(scale, range), cseq };
            prop_assert_eq!(Request::parse(&request.to_bytes(Dialect::Rtsp)), Ok(request));
            let answer = Answer { code, cseq: Some(cseq), scale, range, rtp: None };
            prop_assert_eq!(Answer::parse(&answer.to_bytes(Dialect::Rtsp)), Ok(answer));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "(PLAY )?RTSP/1.0 ?\\n\\PC*") {
            for body in [bytes.as_slice(), text.as_bytes()] {
                if let Ok(request) = Request::parse(body) {
                    prop_assert!(Request::parse(&request.to_bytes(Dialect::Mansrtsp)).is_ok());
                }
                let _ = Answer::parse(body);
            }
        }
    }
}
