//! Messages out of a byte stream (RFC 3261 18.3, 7.5).
//!
//! Content-Length rules, as long as it can be believed. Where it cannot, the framer looks for the next line
//! that can hardly be anything but a start line and goes on from there, so that one bad message does not cost
//! the connection. What comes out does not depend on how the stream was cut into reads.

use super::message::{Line, Message, ParseError, find_in, head_end};
use bytes::{Buf, Bytes, BytesMut};

/// What a connection may hold of one message.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    /// The largest head, bytes.
    pub head: usize,
    /// The largest body, bytes.
    pub body: usize,
}

impl Default for Limits {
    /// 16 KiB and 1 MiB: a catalogue page of ten thousand items is asked for in smaller parts.
    fn default() -> Limits {
        Limits { head: 16 * 1024, body: 1024 * 1024 }
    }
}

/// How much of one read may lie behind a message that fills the limits.
const SLACK: usize = 64 * 1024;

/// How much of a body's last line is remembered, to find a start line of which a too large Content-Length
/// took the beginning. A start line that is longer than this is not found again.
const TAIL: usize = 256;

/// What the stream held.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every frame is a message; a box would cost each of them"
)]
pub enum Frame {
    Message(Message),
    /// CRLF CRLF between messages (RFC 5626 3.5.1), to be answered with CRLF.
    Ping,
}

/// What had to be passed over.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    #[error("a message was refused: {0}")]
    Message(ParseError),
    #[error("bytes between messages that begin no message")]
    Garbage,
    #[error("a head larger than the limit")]
    HeadTooLarge,
    #[error("a body larger than the limit")]
    BodyTooLarge,
    #[error("a Content-Length that is no number, or did not end where the next message began")]
    Length,
}

impl FrameError {
    /// A label for a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            FrameError::Message(error) => error.reason(),
            FrameError::Garbage => "garbage",
            FrameError::HeadTooLarge => "head_too_large",
            FrameError::BodyTooLarge => "body_too_large",
            FrameError::Length => "content_length",
        }
    }
}

/// More was pushed than a message may measure: take the frames out after each push, or close the connection.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("more bytes than the limits allow")]
pub struct Overflow;

/// Cuts one connection's bytes into frames. Push what was read, then iterate until `None`.
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
    /// How far the buffer was searched for the end of the head.
    searched: usize,
    /// A head that was read and waits for its body of so many bytes.
    waiting: Option<(Message, usize)>,
    /// Bytes of a too large body still to be thrown away.
    skip: usize,
    /// Whether the stream's place is lost: nothing counts but a certain start line.
    lost: bool,
    /// The end of the last body, without a line break.
    tail: Bytes,
}

impl Framer {
    pub fn new(limits: Limits) -> Framer {
        Framer {
            limits,
            buffer: BytesMut::new(),
            searched: 0,
            waiting: None,
            skip: 0,
            lost: false,
            tail: Bytes::new(),
        }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// [`Overflow`] if the frames were not taken out in between; nothing is taken then.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Overflow> {
        let skipped = self.skip.min(bytes.len());
        bytes.advance(skipped);
        self.skip -= skipped;
        if self.buffer.len() + bytes.len() > self.limits.head + self.limits.body + SLACK {
            return Err(Overflow);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes held for a message that is not whole yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn body(&mut self, mut message: Message, length: usize) -> Result<Frame, FrameError> {
        let body = self.buffer.split_to(length).freeze();
        let line = body.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.tail =
            Bytes::copy_from_slice(body.get(line.max(length.saturating_sub(TAIL))..).unwrap_or_default());
        message.body = body;
        message.check().map_err(FrameError::Message)?;
        Ok(Frame::Message(message))
    }

    /// Passes over what may stand between messages. `Err` wants more bytes to decide.
    fn between(&mut self) -> Result<Option<Frame>, More> {
        const PING: &[u8] = b"\r\n\r\n";
        loop {
            match self.buffer.as_ref() {
                [] => return Err(More),
                rest if rest.starts_with(PING) => {
                    self.buffer.advance(PING.len());
                    self.tail.clear();
                    return Ok(Some(Frame::Ping));
                }
                rest if PING.starts_with(rest) => return Err(More),
                [0 | b'\r' | b'\n', ..] => self.buffer.advance(1),
                _ => return Ok(None),
            }
            self.tail.clear();
        }
    }

    /// Judges the line at which a message should begin.
    fn begin(&mut self) -> Result<(), Stop> {
        let window = self.buffer.get(..self.limits.head).unwrap_or(&self.buffer);
        let Some(end) = window.iter().position(|b| *b == b'\n') else {
            if self.buffer.len() < self.limits.head {
                return Err(Stop::More);
            }
            self.buffer.advance(self.limits.head);
            return Err(self.lose(FrameError::HeadTooLarge));
        };
        let line = window.get(..end).unwrap_or_default();
        let read = Line::read(line);
        if read.is_some_and(|line| line.is_certain()) {
            self.lost = false;
            self.tail.clear();
            return Ok(());
        }
        if !self.tail.is_empty() {
            // The last body may have taken the beginning of this line.
            let joined = [&self.tail, line].concat();
            let taken = find_in(&joined).filter(|at| *at < self.tail.len());
            let tail = std::mem::take(&mut self.tail);
            if let Some(at) = taken {
                let mut whole = BytesMut::from(tail.get(at..).unwrap_or_default());
                whole.extend_from_slice(&self.buffer);
                self.buffer = whole;
                return Err(Stop::Error(FrameError::Length));
            }
        }
        if read.is_some() && !self.lost {
            return Ok(());
        }
        match find_in(line) {
            Some(at) => self.buffer.advance(at),
            None => self.buffer.advance(end + 1),
        }
        Err(self.lose(FrameError::Garbage))
    }

    /// The place in the stream is lost: said once, until it is found again.
    fn lose(&mut self, error: FrameError) -> Stop {
        self.tail.clear();
        match std::mem::replace(&mut self.lost, true) {
            true => Stop::Again,
            false => Stop::Error(error),
        }
    }

    /// Reads the head that begins the buffer.
    fn head(&mut self) -> Result<(), Stop> {
        let Some((head, body)) =
            head_end(&self.buffer, self.searched).filter(|(head, _)| *head <= self.limits.head)
        else {
            // Two bytes more than a head of full size: the empty line may be on its way.
            if self.buffer.len() < self.limits.head + 2 {
                self.searched = self.buffer.len().saturating_sub(2);
                return Err(Stop::More);
            }
            self.searched = 0;
            self.buffer.advance(self.limits.head);
            return Err(self.lose(FrameError::HeadTooLarge));
        };
        self.searched = 0;
        let head = self.buffer.split_to(body).split_to(head);
        let message = match Message::from_head(&head) {
            Ok(message) => message,
            Err(error) => return Err(self.lose(FrameError::Message(error))),
        };
        match message.content_length() {
            Err(()) => Err(self.lose(FrameError::Length)),
            Ok(Some(length)) if length > self.limits.body => {
                self.skip = length.saturating_sub(self.buffer.len());
                self.buffer.advance(length.min(self.buffer.len()));
                Err(Stop::Error(FrameError::BodyTooLarge))
            }
            // RFC 3261 20.14 demands it on a stream; without one there is no body.
            Ok(length) => {
                self.waiting = Some((message, length.unwrap_or(0)));
                Ok(())
            }
        }
    }
}

impl Iterator for Framer {
    type Item = Result<Frame, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((message, length)) = self.waiting.take() {
                if self.buffer.len() < length {
                    self.waiting = Some((message, length));
                    return None;
                }
                return Some(self.body(message, length));
            }
            if self.searched == 0 {
                if !self.lost {
                    match self.between() {
                        Ok(Some(frame)) => return Some(Ok(frame)),
                        Ok(None) => {}
                        Err(More) => return None,
                    }
                }
                match self.begin() {
                    Ok(()) => {}
                    Err(Stop::Again) => continue,
                    Err(Stop::More) => return None,
                    Err(Stop::Error(error)) => return Some(Err(error)),
                }
            }
            match self.head() {
                Ok(()) | Err(Stop::Again) => {}
                Err(Stop::More) => return None,
                Err(Stop::Error(error)) => return Some(Err(error)),
            }
        }
    }
}

struct More;

/// Why no frame came out of a step.
enum Stop {
    More,
    Again,
    Error(FrameError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Method;
    use proptest::prelude::*;

    fn message(method: &str, number: u32, body: &str) -> String {
        format!(
            "{method} sip:34020000002000000001@3402000000 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.20;branch=z9hG4bK{number}\r\n\
             From: <sip:1@a>;tag=1\r\nTo: <sip:1@a>\r\nCall-ID: {number}\r\nCSeq: {number} {method}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// What comes out, in words.
    fn drain(framer: &mut Framer) -> Vec<String> {
        framer
            .map(|frame| match frame {
                Ok(Frame::Ping) => "ping".to_owned(),
                Ok(Frame::Message(message)) => {
                    let (number, method) = message.cseq().unwrap();
                    format!("{method} {number} {}", String::from_utf8_lossy(&message.body))
                }
                Err(error) => error.reason().to_owned(),
            })
            .collect()
    }

    fn frames(stream: &[u8]) -> Vec<String> {
        let mut framer = Framer::new(Limits::default());
        framer.push(stream).unwrap();
        drain(&mut framer)
    }

    fn frames_cut(stream: &[u8], limits: Limits, cuts: impl IntoIterator<Item = usize>) -> Vec<String> {
        let mut framer = Framer::new(limits);
        let mut out = Vec::new();
        let mut rest = stream;
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            framer.push(now).unwrap();
            out.extend(drain(&mut framer));
            rest = later;
        }
        framer.push(rest).unwrap();
        out.extend(drain(&mut framer));
        out
    }

    #[test]
    fn messages_and_pings_are_told_apart() {
        let register = message("REGISTER", 1, "");
        let notify = message("MESSAGE", 2, "<Notify/>");
        let stream = format!("\r\n\r\n{register}\r\n{notify}\r\n\r\n\r\n\r\n\0\0{register}\r\n\r\n");
        let expected = ["ping", "REGISTER 1 ", "MESSAGE 2 <Notify/>", "ping", "ping", "REGISTER 1 ", "ping"];
        assert_eq!(frames(stream.as_bytes()), expected);
        let bare = stream.replace("\r\n", "\n");
        let expected = ["REGISTER 1 ", "MESSAGE 2 <Notify/>", "REGISTER 1 "];
        assert_eq!(frames(bare.as_bytes()), expected, "lines that end in LF only");
    }

    #[test]
    fn the_cut_does_not_matter() {
        let (one, two) = (message("MESSAGE", 1, "<a>\r\n\r\n</a>"), message("INVITE", 2, "v=0\r\n"));
        let short = one.replace("Content-Length: 11", "Content-Length: 7");
        let long = one.replace("Content-Length: 11", "Content-Length: 14");
        let headless = one.replace("From", "Form");
        let stream = format!(
            "\r\n\r\n{one}{two}junk\r\n\r\n\r\n{two}{short}{two}{long}{two}\r\n{headless}{one}{two}\r\n\r\n"
        );
        let whole = frames(stream.as_bytes());
        assert_eq!(whole.iter().filter(|frame| frame.starts_with("INVITE 2 v=0")).count(), 5, "{whole:?}");
        for cut in 0..=stream.len() {
            assert_eq!(frames_cut(stream.as_bytes(), Limits::default(), [cut]), whole, "cut at {cut}");
        }
        assert_eq!(frames_cut(stream.as_bytes(), Limits::default(), vec![1; stream.len()]), whole);
    }

    #[test]
    fn a_wrong_length_costs_one_message_at_most() {
        let body = "<Notify>\r\n<a/>\r\n</Notify>\r\n";
        let good = message("MESSAGE", 1, body);
        let next = message("REGISTER", 2, "");
        let with = |length: usize| {
            let bad = good
                .replace(&format!("Content-Length: {}", body.len()), &format!("Content-Length: {length}"));
            frames(format!("{bad}{next}{next}").as_bytes())
        };
        let register = "REGISTER 2 ";
        for too_small in 1..body.len() - 2 {
            let out = with(too_small);
            assert_eq!(out[1..], ["garbage", register, register], "{too_small}");
            assert_eq!(out[0], format!("MESSAGE 1 {}", &body[..too_small]));
        }
        // The first line of the next message is found again although the body took its beginning.
        let line = next.find("\r\n").unwrap();
        for too_large in 1..line {
            let out = with(body.len() + too_large);
            assert_eq!(out[1..], ["content_length", register, register], "{too_large}");
        }
        let out = with(body.len() + line + 10);
        assert_eq!(out[1..], ["garbage", register]);
    }

    #[test]
    fn a_body_that_looks_like_a_message_stays_a_body() {
        let inner = message("BYE", 9, "");
        let stream = format!("{}{}", message("MESSAGE", 1, &inner), message("REGISTER", 2, ""));
        assert_eq!(frames(stream.as_bytes()), [format!("MESSAGE 1 {inner}"), "REGISTER 2 ".into()]);
    }

    #[test]
    fn garbage_is_passed_over_and_said_once() {
        let good = message("OPTIONS", 3, "");
        for garbage in [
            "\u{16}\u{3}\u{1}binary\r\n\r\n\u{0}\u{1}\u{2}\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "</Notify>\r\n\r\n\r\n",
            "tail of a body",
            "SIP/2.0 99\r\n",
        ] {
            let out = frames(format!("{garbage}{good}{good}").as_bytes());
            assert_eq!(out, ["garbage", "OPTIONS 3 ", "OPTIONS 3 "], "{garbage:?}");
        }
        let long = format!("{}\r\n{good}", "x".repeat(100_000));
        assert_eq!(frames(long.as_bytes()), ["head_too_large", "OPTIONS 3 "]);
    }

    #[test]
    fn bad_messages_do_not_hurt_their_neighbours() {
        let good = message("OPTIONS", 3, "x");
        let bad = [
            (good.replace("From", "Form"), "header"),
            (good.replace("CSeq: 3 OPTIONS", "CSeq: 3 INFO"), "method"),
            (good.replace("To:", &"X: y\r\n".repeat(200)), "too_many_headers"),
            (good.replace("Content-Length: 1", "Content-Length: one"), "content_length"),
            (good.replace("Content-Length: 1", "Content-Length: 1\r\nl: 2"), "content_length"),
            (good.replace("Call-ID: 3", &format!("Call-ID: {}", "3".repeat(20_000))), "head_too_large"),
        ];
        for (bad, reason) in bad {
            assert_eq!(frames(format!("{bad}{good}").as_bytes()), [reason, "OPTIONS 3 x"]);
        }
        let bare = good.replace("Content-Length: 1\r\n", "").replace("\r\n\r\nx", "\r\n\r\n");
        assert_eq!(frames(format!("{bare}{good}").as_bytes()), ["OPTIONS 3 ", "OPTIONS 3 x"]);
    }

    #[test]
    fn a_body_that_is_too_large_is_skipped_without_being_held() {
        let limits = Limits { head: 1024, body: 100 };
        let large = message("MESSAGE", 1, &"x".repeat(500_000));
        let stream = format!("{large}{}", message("REGISTER", 2, ""));
        let mut framer = Framer::new(limits);
        let mut out = Vec::new();
        for piece in stream.as_bytes().chunks(1000) {
            framer.push(piece).unwrap();
            out.extend(drain(&mut framer));
            assert!(framer.buffered() <= limits.head + limits.body);
        }
        assert_eq!(out, ["body_too_large", "REGISTER 2 "]);
    }

    #[test]
    fn the_limit_of_a_head_is_exact_however_it_arrives() {
        let good = message("OPTIONS", 3, "x");
        let head = good.find("\r\n\r\n").unwrap() + 2;
        for (limit, expected) in [(head, "OPTIONS 3 x"), (head - 1, "head_too_large")] {
            let limits = Limits { head: limit, body: 100 };
            for cut in 0..=good.len() {
                assert_eq!(frames_cut(good.as_bytes(), limits, [cut])[0], expected, "{limit}, cut at {cut}");
            }
        }
        // A first line of exactly the limit has room for its line break only if that is within.
        let line = good.find('\n').unwrap();
        for limit in [line - 1, line, line + 1] {
            let limits = Limits { head: limit, body: 100 };
            let whole = frames_cut(good.as_bytes(), limits, []);
            for cut in 0..=good.len() {
                assert_eq!(frames_cut(good.as_bytes(), limits, [cut]), whole, "{limit}, cut at {cut}");
            }
        }
    }

    #[test]
    fn the_buffer_has_a_bound() {
        let limits = Limits { head: 1024, body: 100 };
        let mut framer = Framer::new(limits);
        let most = limits.head + limits.body + SLACK;
        framer.push(&vec![b'x'; most]).unwrap();
        assert_eq!(framer.push(b"x"), Err(Overflow));
        assert_eq!(drain(&mut framer), ["head_too_large"]);
        assert!(framer.buffered() < limits.head);
        framer.push(b"x").unwrap();
    }

    #[test]
    fn answers_come_through_a_stream_too() {
        let answer = message("INVITE", 4, "").replacen(
            "INVITE sip:34020000002000000001@3402000000 SIP/2.0",
            "SIP/2.0 200 OK",
            1,
        );
        let mut framer = Framer::new(Limits::default());
        framer.push(answer.as_bytes()).unwrap();
        let Some(Ok(Frame::Message(read))) = framer.next() else { panic!("no message") };
        assert_eq!((read.code(), read.cseq()), (Some(200), Some((4, Method::Invite))));
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let body = "[<>/a-z \r\n]{0,30}";
        prop_oneof![
            4 => (0..9u32, body).prop_map(|(number, body)| message("MESSAGE", number, &body).into_bytes()),
            1 => (0..9u32, body, 0..60usize).prop_map(|(number, body, wrong)| {
                let right = format!("Content-Length: {}", body.len());
                message("INVITE", number, &body).replace(&right, &format!("Content-Length: {wrong}")).into_bytes()
            }),
            1 => Just(b"\r\n\r\n".to_vec()),
            1 => "[\\PC\r\n]{0,40}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..40),
        ]
    }

    proptest! {
        /// However a stream is cut, the same comes out, and nothing panics.
        #[test]
        fn cuts_never_matter(
            pieces in proptest::collection::vec(piece(), 1..8),
            cuts in proptest::collection::vec(1..300usize, 0..12),
        ) {
            let stream = pieces.concat();
            let limits = Limits { head: 400, body: 40 };
            let whole = frames_cut(&stream, limits, []);
            prop_assert_eq!(&frames_cut(&stream, limits, cuts), &whole);
            prop_assert_eq!(&frames_cut(&stream, limits, vec![1; stream.len()]), &whole);
        }
    }
}
