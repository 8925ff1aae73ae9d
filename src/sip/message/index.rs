//! The header index: where each field's name and value lie in the head (RFC 3261 7.3).

use super::start::{Line, Start};
use super::{MAX_HEAD, MAX_HEADERS, ParseError};
use bytes::Bytes;
use memchr::memchr;
use smallvec::SmallVec;
use std::ops::Range;

/// Field names that are looked up often. Comparing one byte is cheaper than comparing text.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    MaxForwards,
    ContentType,
    ContentLength,
    Expires,
    Authorization,
    WwwAuthenticate,
    UserAgent,
    Subject,
    Event,
    SubscriptionState,
    Date,
    Route,
    RecordRoute,
    Allow,
    Supported,
    Other,
}

/// Known names with their compact forms (RFC 3261 7.3.3, RFC 6665 8.2.1); 0 for none. In the order of [`Name`].
const NAMES: [(Name, &str, u8); 21] = [
    (Name::Via, "Via", b'v'),
    (Name::From, "From", b'f'),
    (Name::To, "To", b't'),
    (Name::CallId, "Call-ID", b'i'),
    (Name::CSeq, "CSeq", 0),
    (Name::Contact, "Contact", b'm'),
    (Name::MaxForwards, "Max-Forwards", 0),
    (Name::ContentType, "Content-Type", b'c'),
    (Name::ContentLength, "Content-Length", b'l'),
    (Name::Expires, "Expires", 0),
    (Name::Authorization, "Authorization", 0),
    (Name::WwwAuthenticate, "WWW-Authenticate", 0),
    (Name::UserAgent, "User-Agent", 0),
    (Name::Subject, "Subject", b's'),
    (Name::Event, "Event", b'o'),
    (Name::SubscriptionState, "Subscription-State", 0),
    (Name::Date, "Date", 0),
    (Name::Route, "Route", 0),
    (Name::RecordRoute, "Record-Route", 0),
    (Name::Allow, "Allow", 0),
    (Name::Supported, "Supported", b'k'),
];

impl Name {
    pub(crate) fn of(text: &[u8]) -> Name {
        let Some(first) = text.first().map(u8::to_ascii_lowercase) else { return Name::Other };
        if text.len() == 1 {
            let found = NAMES.iter().find(|(_, _, compact)| *compact == first && first != 0);
            return found.map_or(Name::Other, |(name, _, _)| *name);
        }
        // Length and first letter leave one name, or two: every field of every message comes by here.
        let likely = match (text.len(), first) {
            (3, b'v') => Name::Via,
            (4, b'f') => Name::From,
            (2, b't') => Name::To,
            (7, b'c') if matches!(text, [_, b'a' | b'A', ..]) => Name::CallId,
            (7, b'c') => Name::Contact,
            (4, b'c') => Name::CSeq,
            (12, b'm') => Name::MaxForwards,
            (12, b'c') => Name::ContentType,
            (14, b'c') => Name::ContentLength,
            (7, b'e') => Name::Expires,
            (13, b'a') => Name::Authorization,
            (16, b'w') => Name::WwwAuthenticate,
            (10, b'u') => Name::UserAgent,
            (7, b's') => Name::Subject,
            (5, b'e') => Name::Event,
            (18, b's') => Name::SubscriptionState,
            (4, b'd') => Name::Date,
            (5, b'r') => Name::Route,
            (12, b'r') => Name::RecordRoute,
            (5, b'a') => Name::Allow,
            (9, b's') => Name::Supported,
            _ => return Name::Other,
        };
        let full = likely.as_str().unwrap_or_default();
        if full.as_bytes().eq_ignore_ascii_case(text) { likely } else { Name::Other }
    }

    /// The full name as it is written; `None` for a name that only its own text knows.
    pub(crate) fn as_str(self) -> Option<&'static str> {
        NAMES.get(self as usize).map(|(_, full, _)| *full)
    }
}

/// One field. Offsets are of the head, which is why a head stays below 64 KiB.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    name_at: u16,
    name_len: u16,
    value_at: u16,
    value_len: u16,
}

impl Entry {
    /// `None` if a place is beyond what an index can hold.
    pub(crate) fn new(name: Name, text: Range<usize>, value: Range<usize>) -> Option<Entry> {
        Some(Entry {
            name,
            name_at: u16::try_from(text.start).ok()?,
            name_len: u16::try_from(text.len()).ok()?,
            value_at: u16::try_from(value.start).ok()?,
            value_len: u16::try_from(value.len()).ok()?,
        })
    }

    pub(crate) fn name_range(&self) -> Range<usize> {
        let at = usize::from(self.name_at);
        at..at + usize::from(self.name_len)
    }

    pub(crate) fn value_range(&self) -> Range<usize> {
        let at = usize::from(self.value_at);
        at..at + usize::from(self.value_len)
    }
}

/// Most devices send ten to fourteen fields, so the index needs no allocation.
pub(crate) type Index = SmallVec<[Entry; 16]>;

#[cfg(test)]
#[test]
fn every_name_is_found() {
    for (at, (name, full, compact)) in NAMES.into_iter().enumerate() {
        assert_eq!(name as usize, at);
        assert_eq!((name.as_str(), Name::of(full.as_bytes())), (Some(full), name));
        assert_eq!(Name::of(full.to_ascii_uppercase().as_bytes()), name);
        let expected = if compact == 0 { Name::Other } else { name };
        assert_eq!(Name::of(&[compact]), expected);
    }
    for other in ["", "x", "Callers", "Dote", "X-GB-Ver"] {
        assert_eq!(Name::of(other.as_bytes()), Name::Other, "{other}");
    }
}

/// A head taken apart.
pub(crate) struct Head {
    pub(crate) start: Start,
    pub(crate) text: String,
    pub(crate) index: Index,
    /// Values that are no UTF-8, by where their readable form begins in `text`.
    pub(crate) foreign: Vec<(usize, Bytes)>,
}

/// Where the head ends and where the body begins: an empty line, whether lines end in CRLF or LF. `from` is a
/// place before which there is none.
pub(crate) fn head_end(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let line_feed = at + memchr(b'\n', bytes.get(at..)?)?;
        match bytes.get(line_feed + 1..)? {
            [b'\n', ..] => return Some((line_feed + 1, line_feed + 2)),
            [b'\r', b'\n', ..] => return Some((line_feed + 1, line_feed + 3)),
            _ => at = line_feed + 1,
        }
    }
}

/// Reads the start line and indexes the fields. Lines that are no field are passed over: the fields that
/// matter are demanded later, by name.
pub(crate) fn read_head(bytes: &[u8]) -> Result<Head, ParseError> {
    if bytes.len() > MAX_HEAD {
        return Err(ParseError::HeadTooLarge);
    }
    let (first, _) = line_at(bytes, 0);
    let start = bytes.get(first).and_then(Line::read).ok_or(ParseError::StartLine)?.to_start();
    let mut head = without_strays(bytes);
    let mut index = Index::new();
    let (_, mut at) = line_at(&head, 0);
    while at < head.len() {
        let (line, next) = line_at(&head, at);
        if matches!(head.get(at), Some(b' ' | b'\t')) {
            unfold(&mut head, &mut index, &line);
        } else if let Some(entry) = entry_at(&head, &line) {
            if index.len() == MAX_HEADERS {
                return Err(ParseError::TooManyHeaders);
            }
            index.push(entry);
        }
        at = next;
    }
    let (text, foreign) = into_text(head, &index);
    Ok(Head { start, text, index, foreign })
}

/// The bytes without NUL, and without CR that is not followed by LF. Neither is ever written, so a field that is
/// readable must be so without them.
fn without_strays(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for at in memchr::memchr2_iter(0, b'\r', bytes) {
        if bytes.get(at..).is_some_and(|rest| rest.starts_with(b"\r\n") || rest == b"\r") {
            continue;
        }
        kept.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        from = at + 1;
    }
    kept.extend_from_slice(bytes.get(from..).unwrap_or_default());
    kept
}

/// The line that begins at `at`, without its terminator, and where the next begins.
fn line_at(bytes: &[u8], at: usize) -> (Range<usize>, usize) {
    let rest = bytes.get(at..).unwrap_or_default();
    let (line, next) = match memchr(b'\n', rest) {
        Some(end) => (rest.get(..end).unwrap_or_default(), at + end + 1),
        None => (rest, bytes.len()),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (at..at + line.len(), next)
}

fn entry_at(head: &[u8], line: &Range<usize>) -> Option<Entry> {
    let text = head.get(line.clone())?;
    let colon = memchr(b':', text)?;
    let name = text.get(..colon)?.trim_ascii_end();
    if name.is_empty() {
        return None;
    }
    let value = trimmed(head, line.start + colon + 1..line.end);
    Entry::new(Name::of(name), line.start..line.start + name.len(), value)
}

/// A continuation line (RFC 3261 7.3.1) belongs to the field before it: the line break becomes blanks, in
/// place, so that no offset moves. A blank line adds nothing; passing it over keeps the work linear.
fn unfold(head: &mut [u8], index: &mut Index, line: &Range<usize>) {
    let Some(last) = index.last_mut() else { return };
    if head.get(line.clone()).is_none_or(|text| text.trim_ascii().is_empty()) {
        return;
    }
    let value = last.value_range();
    // A value that began empty lies where its line ended.
    if let Some(gap) = head.get_mut(value.end..line.start) {
        gap.iter_mut().filter(|b| matches!(b, b'\r' | b'\n')).for_each(|b| *b = b' ');
    }
    let joined = trimmed(head, value.start..line.end);
    if let Some(entry) = Entry::new(last.name, last.name_range(), joined) {
        *last = entry;
    }
}

fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let text = bytes.get(range.clone()).unwrap_or_default();
    let begin = range.start + (text.len() - text.trim_ascii_start().len());
    begin..begin + text.trim_ascii().len()
}

/// Header text is UTF-8 by RFC 3261, GBK by some cameras. What is no UTF-8 reads as question marks, one for
/// each byte so that no offset moves, and such values are kept as they came, to be written back.
fn into_text(head: Vec<u8>, index: &Index) -> (String, Vec<(usize, Bytes)>) {
    let raw = match String::from_utf8(head) {
        Ok(text) => return (text, Vec::new()),
        Err(error) => error.into_bytes(),
    };
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    let values = index.iter().map(Entry::value_range);
    let foreign = values.filter_map(|range| {
        let value = raw.get(range.clone())?;
        std::str::from_utf8(value).is_err().then(|| (range.start, Bytes::copy_from_slice(value)))
    });
    let foreign = foreign.collect();
    (text, foreign)
}
