//! What a message on its way out is, for a metric: read off its bytes without parsing the rest.

use super::index::Name;
use super::start::{Line, Method, Start};
use super::{Message, typed};
use memchr::memchr;

/// What a message is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// Of an answer, that of its request.
    pub method: Method,
    /// Of an answer.
    pub code: Option<u16>,
}

impl Message {
    /// What this message is; `None` for an answer without a CSeq that can be read.
    pub fn summary(&self) -> Option<Summary> {
        match &self.start {
            Start::Request { method, .. } => Some(Summary { method: method.clone(), code: None }),
            Start::Response { code, .. } => Some(Summary { method: self.cseq()?.1, code: Some(*code) }),
        }
    }
}

impl Summary {
    /// Of a message as [`to_bytes`] writes it. `None` for what is no message.
    ///
    /// [`to_bytes`]: super::Message::to_bytes
    pub fn of(bytes: &[u8]) -> Option<Summary> {
        let (line, mut rest) = cut(bytes)?;
        let code = match Line::read(line)? {
            Line::Request { method, .. } => {
                return Some(Summary { method: Method::new(std::str::from_utf8(method).ok()?), code: None });
            }
            Line::Response { code, .. } => Some(code),
        };
        while let Some((line, next)) = cut(rest).filter(|(line, _)| !line.is_empty()) {
            let colon = memchr(b':', line)?;
            let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
            if Name::of(name) == Name::CSeq {
                let (_, method) = typed::cseq(std::str::from_utf8(value).ok()?)?;
                return Some(Summary { method, code });
            }
            rest = next;
        }
        None
    }
}

/// A line without its end, and what follows it.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    let line = bytes.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..)?))
}
