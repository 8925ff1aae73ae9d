//! One SIP message (RFC 3261 7).
//!
//! Reading keeps the head as text with an index over its fields, and the body as the bytes that came; nothing
//! is transcoded. Writing gives lines that end in CRLF, full header names, a right Content-Length, and the
//! body untouched. Single values are typed on demand ([`Address`], [`Via`], [`Uri`]).

mod index;
mod start;
#[cfg(test)]
mod tests;
mod typed;

pub use start::{Method, Start};
pub use typed::{Address, Uri, Via};

pub(crate) use index::head_end;
pub(crate) use start::{Line, find_in};

use bytes::{BufMut, Bytes, BytesMut};
use index::{Entry, Head, Index, Name, read_head};
use std::fmt;
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
}

impl Message {
    /// Reads a datagram. It ends the message: a Content-Length that is missing, unreadable or too large gives
    /// what is there, and bytes beyond a smaller one are discarded (RFC 3261 18.3).
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
        let present = rest.len() - body;
        let length = match message.content_length() {
            Ok(Some(length)) => length.min(present),
            Ok(None) | Err(_) => present,
        };
        message.body = rest.slice(body..body + length);
        Ok(message)
    }

    /// Reads a head only; what it must hold is checked apart, since a stream needs the length even of a
    /// message that will be refused.
    pub(crate) fn from_head(head: &[u8]) -> Result<Message, ParseError> {
        let Head { start, text, index, foreign } = read_head(head)?;
        Ok(Message { start, body: Bytes::new(), text, index, foreign })
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
        let mut response =
            Message::empty(Start::Response { code, reason: start::reason_of(code).to_owned() });
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
        Message { start, body: Bytes::new(), text: String::new(), index: Index::new(), foreign: Vec::new() }
    }

    /// Adds a field after the others. Line breaks in a value are taken out, so that no value can add a field
    /// of its own; a field that would make the head larger than [`MAX_HEAD`] is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Message {
        if let Some(entry) = self.append(name, &value.into()) {
            self.index.push(entry);
        }
        self
    }

    /// Sets a field: the first of that name gets the value, others of that name go; adds it if there is none.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let Some(entry) = self.append(name, &value.into()) else { return };
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
        let mut out = BytesMut::with_capacity(self.text.len() + self.body.len() + 128);
        match &self.start {
            Start::Request { method, uri } => {
                put_clean(&mut out, method.as_str());
                out.put_u8(b' ');
                put_clean(&mut out, uri);
                out.put_slice(b" SIP/2.0\r\n");
            }
            Start::Response { code, reason } => {
                out.put_slice(format!("SIP/2.0 {code} ").as_bytes());
                put_clean(&mut out, reason);
                out.put_slice(b"\r\n");
            }
        }
        for entry in self.index.iter().filter(|entry| entry.name != Name::ContentLength) {
            let name = entry.name.as_str().unwrap_or_else(|| self.slice(entry.name_range()));
            out.put_slice(name.as_bytes());
            out.put_slice(b": ");
            out.put_slice(self.bytes_of(entry));
            out.put_slice(b"\r\n");
        }
        out.put_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        out.put_slice(&self.body);
        out.freeze()
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
        if let Some(copied) = self.append_raw(name, from.bytes_of(entry)) {
            self.index.push(copied);
        }
    }

    /// Writes a field to the end of the text, without a place in the index yet.
    fn append(&mut self, name: &str, value: &str) -> Option<Entry> {
        let begin = self.text.len();
        self.text.extend(name.chars().filter(|c| c.is_ascii_graphic() && *c != ':'));
        let middle = self.text.len();
        self.text.extend(value.chars().filter(|c| u8::try_from(*c).map_or(true, is_kept)));
        let end = self.text.len();
        let known = Name::of(name.as_bytes());
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

fn named(text: &str, entry: &Entry, known: Name, name: &str) -> bool {
    entry.name == known
        && (known != Name::Other
            || text.get(entry.name_range()).is_some_and(|own| own.eq_ignore_ascii_case(name)))
}

fn put_clean(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().filter(|b| is_kept(*b)));
}

/// The name and `;received=`, `;rport=` of the top Via as its answer must carry them (RFC 3261 18.2.1,
/// RFC 3581 4). `None` if it need not change.
pub(crate) fn completed_via(via: &str, source: SocketAddr) -> Option<String> {
    let top = typed::elements(via).next()?;
    let read = typed::lenient_via(top)?;
    let host = typed::lenient_uri(read.sent_by).map_or(read.sent_by, |sent_by| sent_by.host);
    let ip = source.ip().to_canonical();
    let same_host = host.parse() == Ok(ip);
    if same_host && read.rport.is_none() && read.received.is_none() {
        return None;
    }
    let (head, parameters) = top.split_once(';').unwrap_or((top, ""));
    let mut completed = head.trim_end().to_owned();
    for parameter in parameters.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let name = parameter.split('=').next().unwrap_or_default().trim();
        if !name.eq_ignore_ascii_case("received") && !name.eq_ignore_ascii_case("rport") {
            completed.push(';');
            completed.push_str(parameter);
        }
    }
    if read.rport.is_some() {
        completed.push_str(&format!(";rport={}", source.port()));
    }
    completed.push_str(&format!(";received={ip}"));
    // Other elements of the same field follow as they were.
    let others = typed::elements(via).skip(1);
    others.for_each(|other| {
        completed.push_str(", ");
        completed.push_str(other);
    });
    Some(completed)
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}
