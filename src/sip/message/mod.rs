//! One SIP message (RFC 3261 7).
//!
//! Reading keeps the head as text with an index over its fields, and the body as the bytes that came; nothing
//! is transcoded. Writing gives lines that end in CRLF, full header names, a right Content-Length, and the
//! body untouched. Single values are typed on demand ([`Address`], [`Via`], [`Uri`]).

mod departures;
mod index;
#[cfg(test)]
mod oracle;
mod start;
mod summary;
#[cfg(test)]
mod tests;
mod typed;

pub use departures::Departure;
pub use start::{Method, Start};
pub use summary::Summary;
pub use typed::{Address, Uri, Via};

pub(crate) use index::head_end;
pub(crate) use start::{Line, find_in};

use bytes::Bytes;
use index::{Entry, Head, Index, Name, read_head};
use memchr::{memchr_iter, memchr3};
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::SocketAddr;

/// The largest head that is read or written, bytes: what an offset of the index can name.
pub const MAX_HEAD: usize = u16::MAX as usize;

/// The most fields in one head. Real messages have fewer than thirty; a proxy chain may add Vias.
pub const MAX_HEADERS: usize = 128;

/// Why a message was refused.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    #[error("nothing but blanks, as sent to keep a NAT binding alive")]
    Empty,
    #[error("the first line is no start line of SIP/2.0")]
    StartLine,
    #[error("the head is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    #[error("more than {MAX_HEADERS} header fields")]
    TooManyHeaders,
    #[error("no {0}, or one that cannot be read")]
    Header(&'static str),
    #[error("the CSeq names another method than the start line")]
    Method,
}

impl ParseError {
    /// A label for a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            ParseError::Empty => "empty",
            ParseError::StartLine => "start_line",
            ParseError::HeadTooLarge => "head_too_large",
            ParseError::TooManyHeaders => "too_many_headers",
            ParseError::Header(_) => "header",
            ParseError::Method => "method",
        }
    }
}

/// A request or a response.
#[derive(Clone)]
pub struct Message {
    pub start: Start,
    pub body: Bytes,
    /// The text that the index points into. Values that were replaced stay behind, unreferenced.
    text: String,
    index: Index,
    /// Values that are no UTF-8, by where their readable form begins in `text`.
    foreign: Vec<(usize, Bytes)>,
    /// Whether its datagram held more than blanks behind what Content-Length said.
    surplus: bool,
}

impl Message {
    /// Reads a datagram. It ends the message: a Content-Length that is missing, unreadable or wrong gives what is
    /// there. Devices that count characters in place of bytes make it too small, so bytes beyond it belong to the
    /// body, unless they are blanks and NULs (RFC 3261 18.3 discards all of them).
    ///
    /// # Errors
    /// See [`ParseError`]; a message that is accepted has Via, From, To, Call-ID and a CSeq of its own
    /// method.
    pub fn parse(datagram: &Bytes) -> Result<Message, ParseError> {
        let padding = datagram.iter().take_while(|b| matches!(b, 0 | b' ' | b'\r' | b'\n')).count();
        let rest = datagram.slice(padding..);
        if rest.is_empty() {
            return Err(ParseError::Empty);
        }
        let (head, body) = head_end(&rest, 0).unwrap_or((rest.len(), rest.len()));
        let mut message = Message::from_head(rest.get(..head).unwrap_or_default())?;
        message.check()?;
        let told = message.content_length().ok().flatten();
        let beyond = told.and_then(|told| rest.get(body.saturating_add(told)..)).unwrap_or_default();
        let padding = beyond.iter().all(|b| matches!(b, 0 | b' ' | b'\t' | b'\r' | b'\n'));
        let end = if padding { rest.len() - beyond.len() } else { rest.len() };
        message.body = rest.slice(body..end);
        message.surplus = beyond.iter().any(|b| !b.is_ascii_whitespace());
        Ok(message)
    }

    /// Reads a head only; what it must hold is checked apart, since a stream needs the length even of a
    /// message that will be refused.
    pub(crate) fn from_head(head: &[u8]) -> Result<Message, ParseError> {
        let Head { start, text, index, foreign } = read_head(head)?;
        Ok(Message { start, body: Bytes::new(), text, index, foreign, surplus: false })
    }

    /// Whether all is there without which a message can be neither matched nor answered (RFC 3261 8.1.1).
    pub(crate) fn check(&self) -> Result<(), ParseError> {
        let via = self.first(Name::Via).and_then(|via| typed::elements(via).next());
        via.filter(|via| typed::is_via(via)).ok_or(ParseError::Header("Via"))?;
        for (name, label) in [(Name::From, "From"), (Name::To, "To")] {
            self.first(name).filter(|value| typed::is_address(value)).ok_or(ParseError::Header(label))?;
        }
        self.first(Name::CallId).filter(|id| !id.is_empty()).ok_or(ParseError::Header("Call-ID"))?;
        let (_, method) = self.cseq().ok_or(ParseError::Header("CSeq"))?;
        match self.method() {
            Some(own) if *own != method => Err(ParseError::Method),
            _ => Ok(()),
        }
    }

    /// The Content-Length as sent: `Err` if it is no number or two of them differ.
    pub(crate) fn content_length(&self) -> Result<Option<usize>, ()> {
        let mut found = None;
        for value in self.all(Name::ContentLength) {
            let length = value.trim().parse::<u32>().map_err(|_| ())? as usize;
            if found.is_some_and(|other| other != length) {
                return Err(());
            }
            found = Some(length);
        }
        Ok(found)
    }

    // Making messages.

    /// An empty request.
    pub fn request(method: Method, uri: &str) -> Message {
        Message::empty(Start::Request { method, uri: uri.to_owned() })
    }

    /// An answer to this request (RFC 3261 8.2.6): its Vias, From, To, Call-ID, CSeq and Record-Routes, byte
    /// for byte as they came.
    pub fn response(&self, code: u16) -> Message {
        let reason = Cow::Borrowed(start::reason_of(code));
        let mut response = Message::empty(Start::Response { code, reason });
        // The copied fields are a part of what is here; what an answer adds is shorter than the rest.
        response.text.reserve(self.text.len() + 64);
        let copied = [Name::Via, Name::RecordRoute, Name::From, Name::To, Name::CallId, Name::CSeq];
        for name in copied {
            for entry in self.index.iter().filter(|entry| entry.name == name) {
                response.copy(self, entry);
            }
        }
        response
    }

    /// The ACK of a final answer that is no 2xx (RFC 3261 17.1.1.3), or the CANCEL (9.1), of this INVITE: its
    /// URI, top Via, Routes, From, Call-ID and number, with the To of `to`.
    pub(crate) fn companion(&self, method: Method, to: &Message) -> Option<Message> {
        let (number, _) = self.cseq()?;
        let numbered = format!("{number} {method}");
        let mut companion = Message::request(method, self.uri()?);
        for (source, name) in
            [(self, Name::Via), (self, Name::Route), (self, Name::From), (to, Name::To), (self, Name::CallId)]
        {
            // Our own INVITE has one Via in its first field; below it only a proxy would have others.
            let most = if name == Name::Route { MAX_HEADERS } else { 1 };
            for entry in source.index.iter().filter(|entry| entry.name == name).take(most) {
                companion.copy(source, entry);
            }
        }
        Some(companion.with("CSeq", numbered).with("Max-Forwards", "70"))
    }

    fn empty(start: Start) -> Message {
        let (body, text, index, foreign) = Default::default();
        Message { start, body, text, index, foreign, surplus: false }
    }

    /// Adds a field after the others. Line breaks in a value are taken out, so that no value can add a field
    /// of its own; a field that would make the head larger than [`MAX_HEAD`] is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Message {
        if let Some(entry) = self.append(name, value.as_ref()) {
            self.index.push(entry);
        }
        self
    }

    /// As [`Message::with`], for what can write itself: `format_args!`, a challenge.
    #[must_use]
    pub fn with_display(mut self, name: &str, value: impl fmt::Display) -> Message {
        let written = self.append_with(Name::of(name.as_bytes()), name, |text| {
            let at = text.len();
            // Writing to a String fails only where the value itself does.
            let _ = write!(text, "{value}");
            if text.get(at..).is_some_and(is_foul) {
                let foul = text.split_off(at);
                push_clean(text, &foul);
            }
        });
        self.index.extend(written);
        self
    }

    /// Sets a field: the first of that name gets the value, others of that name go; adds it if there is none.
    pub fn set(&mut self, name: &str, value: impl AsRef<str>) {
        let Some(entry) = self.append(name, value.as_ref()) else { return };
        let at = self.place(name).unwrap_or(self.index.len());
        self.remove(name);
        self.index.insert(at, entry);
    }

    /// Replaces the first field of that name only: the top Via, of several.
    pub(crate) fn replace_first(&mut self, name: &str, value: &str) {
        if let Some(at) = self.place(name)
            && let Some(entry) = self.append(name, value)
            && let Some(place) = self.index.get_mut(at)
        {
            *place = entry;
        }
    }

    /// Puts a field before all others: the Via of a request that leaves.
    pub(crate) fn prepend(&mut self, name: &str, value: &str) {
        if let Some(entry) = self.append(name, value) {
            self.index.insert(0, entry);
        }
    }

    /// Takes away all fields of that name.
    pub fn remove(&mut self, name: &str) {
        let known = Name::of(name.as_bytes());
        let text = std::mem::take(&mut self.text);
        self.index.retain(|entry| !named(&text, entry, known, name));
        self.text = text;
    }

    /// Sets the body and its Content-Type.
    #[must_use]
    pub fn with_body(mut self, content_type: &str, body: Bytes) -> Message {
        self.set("Content-Type", content_type);
        self.body = body;
        self
    }

    /// Gives the To field a tag if it has none (RFC 3261 8.2.6.2).
    #[must_use]
    pub fn with_to_tag(mut self, tag: &str) -> Message {
        let bare = self.to_tag().is_none();
        let old = self.index.iter().position(|entry| bare && entry.name == Name::To);
        if let Some(at) = old
            && let Some(entry) = self.index.get(at).copied()
        {
            // A display name may be GBK and stays as it came: bytes are copied, not their reading.
            let value = [self.bytes_of(&entry), b";tag=", tag.as_bytes()].concat();
            if let Some(entry) = self.append_raw("To", &value)
                && let Some(place) = self.index.get_mut(at)
            {
                *place = entry;
            }
        }
        self
    }

    // Asking messages.

    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI of a request.
    pub fn uri(&self) -> Option<&str> {
        match &self.start {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// The status code of a response.
    pub fn code(&self) -> Option<u16> {
        match &self.start {
            Start::Request { .. } => None,
            Start::Response { code, .. } => Some(*code),
        }
    }

    /// The first value of that name; compact and full names are the same. Bytes that are no UTF-8 read as
    /// `?`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All values of that name, in order, a list in one field as one value.
    pub fn headers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let known = Name::of(name.as_bytes());
        let wanted = move |entry: &&Entry| named(&self.text, entry, known, name);
        self.index.iter().filter(wanted).map(|entry| self.text_of(entry))
    }

    /// All values of a field that is a list, whether in one line or several: `Record-Route`, `Contact`,
    /// `Via`.
    pub fn elements<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers(name).flat_map(typed::elements)
    }

    /// The top Via.
    pub fn via(&self) -> Option<Via<'_>> {
        Via::parse(typed::elements(self.first(Name::Via)?).next()?)
    }

    pub fn from(&self) -> Option<Address<'_>> {
        Address::parse(self.first(Name::From)?)
    }

    pub fn to(&self) -> Option<Address<'_>> {
        Address::parse(self.first(Name::To)?)
    }

    /// The tag of From alone, which costs less than typing the whole.
    pub fn from_tag(&self) -> Option<&str> {
        typed::tag(self.first(Name::From)?)
    }

    /// The tag of To alone.
    pub fn to_tag(&self) -> Option<&str> {
        typed::tag(self.first(Name::To)?)
    }

    /// The first Contact; `None` for `*` too.
    pub fn contact(&self) -> Option<Address<'_>> {
        let value = typed::elements(self.first(Name::Contact)?).next()?;
        if value == "*" { None } else { Address::parse(value) }
    }

    pub fn cseq(&self) -> Option<(u32, Method)> {
        typed::cseq(self.first(Name::CSeq)?)
    }

    pub fn call_id(&self) -> Option<&str> {
        self.first(Name::CallId)
    }

    /// How long a registration or subscription is to last, seconds: the parameter of the Contact, else the
    /// field.
    pub fn expires(&self) -> Option<u32> {
        let of_contact = self.contact().and_then(|contact| contact.expires);
        of_contact.or_else(|| typed::seconds(self.first(Name::Expires)?))
    }

    pub fn max_forwards(&self) -> Option<u32> {
        typed::seconds(self.first(Name::MaxForwards)?)
    }

    pub fn content_type(&self) -> Option<&str> {
        self.first(Name::ContentType)
    }

    /// The message on the wire.
    pub fn to_bytes(&self) -> Bytes {
        // Names may be written in full that came compact, and each line gets its separators.
        let room = self.text.len() + self.body.len() + 16 * self.index.len() + 128;
        let mut out: Vec<u8> = Vec::with_capacity(room);
        // Writing to a Vec cannot fail.
        match &self.start {
            Start::Request { method, uri } => {
                put_clean(&mut out, method.as_str());
                out.push(b' ');
                put_clean(&mut out, uri);
                out.extend_from_slice(b" SIP/2.0\r\n");
            }
            Start::Response { code, reason } => {
                let _ = write!(out, "SIP/2.0 {code} ");
                put_clean(&mut out, reason);
                out.extend_from_slice(b"\r\n");
            }
        }
        for entry in self.index.iter().filter(|entry| entry.name != Name::ContentLength) {
            let name = entry.name.as_str().unwrap_or_else(|| self.slice(entry.name_range()));
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.bytes_of(entry));
            out.extend_from_slice(b"\r\n");
        }
        let _ = write!(out, "Content-Length: {}\r\n\r\n", self.body.len());
        out.extend_from_slice(&self.body);
        out.into()
    }

    // The index.

    fn first(&self, name: Name) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: Name) -> impl Iterator<Item = &str> {
        self.index.iter().filter(move |entry| entry.name == name).map(|entry| self.text_of(entry))
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.index.iter().position(|entry| self.is_named(entry, name))
    }

    fn is_named(&self, entry: &Entry, name: &str) -> bool {
        named(&self.text, entry, Name::of(name.as_bytes()), name)
    }

    fn text_of(&self, entry: &Entry) -> &str {
        self.slice(entry.value_range())
    }

    fn slice(&self, range: std::ops::Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// A value's bytes as they came, or as they were set.
    fn bytes_of(&self, entry: &Entry) -> &[u8] {
        let range = entry.value_range();
        let foreign = self.foreign.iter().find(|(at, _)| *at == range.start);
        foreign.map_or_else(|| self.slice(range).as_bytes(), |(_, bytes)| bytes)
    }

    fn copy(&mut self, from: &Message, entry: &Entry) {
        let name = entry.name.as_str().unwrap_or_else(|| from.slice(entry.name_range()));
        let copied = match from.foreign.is_empty() {
            true => self.append_with(entry.name, name, |text| push_clean(text, from.text_of(entry))),
            false => self.append_raw(name, from.bytes_of(entry)),
        };
        self.index.extend(copied);
    }

    /// Writes a field to the end of the text, without a place in the index yet.
    fn append(&mut self, name: &str, value: &str) -> Option<Entry> {
        self.append_with(Name::of(name.as_bytes()), name, |text| push_clean(text, value))
    }

    fn append_with(&mut self, known: Name, name: &str, value: impl FnOnce(&mut String)) -> Option<Entry> {
        let begin = self.text.len();
        let sound = |c: char| c.is_ascii_graphic() && c != ':';
        match known != Name::Other || name.chars().all(sound) {
            true => self.text.push_str(name),
            false => self.text.extend(name.chars().filter(|c| sound(*c))),
        }
        let middle = self.text.len();
        value(&mut self.text);
        let end = self.text.len();
        let entry = (end <= MAX_HEAD).then(|| Entry::new(known, begin..middle, middle..end)).flatten();
        if entry.is_none() {
            self.text.truncate(begin);
        }
        entry
    }

    /// As [`Message::append`], for bytes that may be no UTF-8: those are kept beside their reading.
    fn append_raw(&mut self, name: &str, value: &[u8]) -> Option<Entry> {
        let entry = self.append(name, &String::from_utf8_lossy(value))?;
        if std::str::from_utf8(value).is_err() {
            let clean = value.iter().copied().filter(|b| is_kept(*b)).collect();
            self.foreign.push((entry.value_range().start, clean));
        }
        Some(entry)
    }
}

/// No value holds a line break, so that none can add a field of its own.
fn is_kept(byte: u8) -> bool {
    !matches!(byte, b'\r' | b'\n' | 0)
}

/// Whether a value holds what no value may.
fn is_foul(value: &str) -> bool {
    memchr3(b'\r', b'\n', 0, value.as_bytes()).is_some()
}

fn push_clean(text: &mut String, value: &str) {
    match is_foul(value) {
        true => text.extend(value.chars().filter(|c| u8::try_from(*c).map_or(true, is_kept))),
        false => text.push_str(value),
    }
}

fn named(text: &str, entry: &Entry, known: Name, name: &str) -> bool {
    entry.name == known
        && (known != Name::Other
            || text.get(entry.name_range()).is_some_and(|own| own.eq_ignore_ascii_case(name)))
}

fn put_clean(out: &mut Vec<u8>, text: &str) {
    match is_foul(text) {
        true => out.extend(text.bytes().filter(|b| is_kept(*b))),
        false => out.extend_from_slice(text.as_bytes()),
    }
}

/// The Via field with `;received=`, `;rport=` in its top element, as its answer must carry them (RFC 3261 18.2.1,
/// RFC 3581 4). `None` if it need not change.
pub(crate) fn completed_via(field: &str, source: SocketAddr) -> Option<String> {
    let top = typed::elements(field).next()?;
    let read = Via::parse(top)?;
    let ip = source.ip().to_canonical();
    if read.rport.is_none() && read.received.is_none() {
        let host = Uri::parse(read.sent_by).map_or(read.sent_by, |sent_by| sent_by.host);
        if host.parse() == Ok(ip) {
            return None;
        }
    }
    let (head, parameters) = typed::cut(top, b';').unwrap_or((top, ""));
    let mut completed = String::with_capacity(field.len() + 64);
    completed.push_str(head.trim_end());
    let mut from = 0;
    for end in memchr_iter(b';', parameters.as_bytes()).chain([parameters.len()]) {
        let parameter = parameters.get(from..end).unwrap_or_default().trim();
        from = end + 1;
        let name = typed::cut(parameter, b'=').map_or(parameter, |(name, _)| name).trim_end();
        let ours = name.eq_ignore_ascii_case("received") || name.eq_ignore_ascii_case("rport");
        if !parameter.is_empty() && !ours {
            completed.push(';');
            completed.push_str(parameter);
        }
    }
    if read.rport.is_some() {
        let _ = write!(completed, ";rport={}", source.port());
    }
    let _ = write!(completed, ";received={ip}");
    // Other elements of the same field follow as they were.
    for other in typed::elements(field).skip(1) {
        completed.push_str(", ");
        completed.push_str(other);
    }
    Some(completed)
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}
