//! The start line (RFC 3261 7.1, 7.2).

use std::borrow::Cow;
use std::fmt;

/// A request's method. Names are case-sensitive (RFC 3261 7.1).
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum Method {
    Register,
    Message,
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Info,
    Subscribe,
    Notify,
    Other(String),
}

/// The methods that have a name here, in the order of how often a gateway sees them.
const KNOWN: [Method; 10] = [
    Method::Message,
    Method::Register,
    Method::Invite,
    Method::Ack,
    Method::Bye,
    Method::Cancel,
    Method::Options,
    Method::Info,
    Method::Subscribe,
    Method::Notify,
];

impl Method {
    /// The method of that name.
    pub fn new(name: &str) -> Method {
        KNOWN
            .iter()
            .find(|known| known.as_str() == name)
            .map_or_else(|| Method::Other(name.to_owned()), Method::clone)
    }

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Register => "REGISTER",
            Method::Message => "MESSAGE",
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Info => "INFO",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Other(name) => name,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a message is: a question or an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    Request { method: Method, uri: String },
    Response { code: u16, reason: Cow<'static, str> },
}

/// The pieces of a start line, still in the wire's bytes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Line<'a> {
    Request { method: &'a [u8], uri: &'a [u8] },
    Response { code: u16, reason: &'a [u8] },
}

impl<'a> Line<'a> {
    /// Reads a line without its terminator. Runs of blanks count as one, the version's letters may be of
    /// either case, a status line may lack its reason; anything else is not SIP.
    pub(crate) fn read(line: &'a [u8]) -> Option<Line<'a>> {
        let line = line.trim_ascii();
        let (first, rest) = cut(line, |b| b == b' ' || b == b'\t')?;
        if is_version(first) {
            let rest = rest.trim_ascii_start();
            let (code, reason) = cut(rest, |b| b == b' ' || b == b'\t').unwrap_or((rest, &[]));
            return match code {
                [a @ b'1'..=b'6', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                    let digit = |d: &u8| u16::from(*d - b'0');
                    let code = digit(a) * 100 + digit(b) * 10 + digit(c);
                    Some(Line::Response { code, reason: reason.trim_ascii() })
                }
                _ => None,
            };
        }
        let split = rest.iter().rposition(|b| *b == b' ' || *b == b'\t')?;
        let (uri, version) = rest.split_at(split);
        let uri = uri.trim_ascii();
        let one_word = !uri.is_empty() && !uri.iter().any(u8::is_ascii_whitespace);
        let sound = is_version(version.trim_ascii()) && one_word && first.iter().all(|b| is_token(*b));
        sound.then_some(Line::Request { method: first, uri })
    }

    /// Whether the line can hardly be anything but the beginning of a message: an answer, or a request whose
    /// method is one of ours.
    pub(crate) fn is_certain(&self) -> bool {
        match self {
            Line::Response { .. } => true,
            Line::Request { method, .. } => KNOWN.iter().any(|known| known.as_str().as_bytes() == *method),
        }
    }

    pub(crate) fn to_start(self) -> Start {
        match self {
            Line::Request { method, uri } => Start::Request {
                method: Method::new(&String::from_utf8_lossy(method)),
                uri: String::from_utf8_lossy(uri).into_owned(),
            },
            Line::Response { code, reason } => {
                let usual = reason_of(code);
                let reason = match reason == usual.as_bytes() {
                    true => Cow::Borrowed(usual),
                    false => Cow::Owned(String::from_utf8_lossy(reason).into_owned()),
                };
                Start::Response { code, reason }
            }
        }
    }
}

/// Where a message begins inside a line that may start with the rest of something else, as after a body whose
/// Content-Length was wrong. Only certain start lines are found this way.
pub(crate) fn find_in(line: &[u8]) -> Option<usize> {
    let begins = |at: usize| line.get(at..).and_then(Line::read).is_some_and(|found| found.is_certain());
    // One pass: a start line needs its method, then " sip", or the version, then " ".
    let heads = |at: usize| {
        let rest = line.get(at..).unwrap_or_default();
        KNOWN.iter().any(|known| {
            rest.strip_prefix(known.as_str().as_bytes())
                .is_some_and(|after| after.get(..4).is_some_and(|s| s.eq_ignore_ascii_case(b" sip")))
        }) || rest.starts_with(b"SIP/2.0 ")
    };
    // A line that holds many heads would be read once for each: the first few are enough.
    const TRIES: usize = 4;
    (0..line.len()).filter(|at| heads(*at)).take(TRIES).find(|at| begins(*at))
}

/// The usual reason of a status code (RFC 3261 21).
pub(crate) fn reason_of(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        603 => "Decline",
        _ => match code / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Global Failure",
        },
    }
}

fn is_version(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"SIP/2.0")
}

/// RFC 3261 25.1, `token`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

fn cut(text: &[u8], at: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|b| at(*b))?;
    let (before, after) = text.split_at(place);
    Some((before, after.get(1..).unwrap_or_default()))
}
