//! What of a received message departs from RFC 3261, though it was read. Looked for on demand, so that a message that
//! nobody asks about costs nothing.

use super::index::Name;
use super::{Message, typed};
use memchr::memchr_iter;
use smallvec::SmallVec;

/// A departure from the RFCs that reading tolerates.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Departure {
    /// A Content-Length that is no number, differs from another one, or does not fit the datagram (18.3).
    ContentLength,
    /// A line that is no field, a line without CR, a value that is no UTF-8, an address without its closing bracket
    /// (7.3, 20).
    Header,
    /// A request over UDP whose Via does not ask for the port that it came from (RFC 3581 3), which a device behind NAT
    /// depends on.
    NoRport,
    /// A request without Max-Forwards (8.1.1.6).
    NoMaxForwards,
    /// A From without a tag (8.1.1.3).
    NoTag,
    /// A request whose branch does not begin with `z9hG4bK` (8.1.1.7).
    Branch,
}

impl Departure {
    /// What it is, in a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Departure::ContentLength => "the Content-Length does not fit",
            Departure::Header => "a header field that is malformed",
            Departure::NoRport => "no rport in the Via",
            Departure::NoMaxForwards => "no Max-Forwards",
            Departure::NoTag => "no tag in From",
            Departure::Branch => "no branch that begins with z9hG4bK",
        }
    }
}

impl Message {
    /// What of this message, as it was received, departs from the RFCs; each kind once.
    pub fn departures(&self) -> SmallVec<[Departure; 6]> {
        let wrong_length = match self.content_length() {
            Err(()) => true,
            Ok(sent) => self.surplus || sent.is_some_and(|length| length != self.body.len()),
        };
        let via = self.via();
        let request = self.is_request();
        let datagram = via.is_some_and(|via| via.transport.eq_ignore_ascii_case("UDP"));
        let cookie = |branch: &str| branch.starts_with("z9hG4bK");
        let all = [
            (wrong_length, Departure::ContentLength),
            (self.has_malformed_field(), Departure::Header),
            (request && datagram && via.is_some_and(|via| via.rport.is_none()), Departure::NoRport),
            (request && self.max_forwards().is_none(), Departure::NoMaxForwards),
            (self.from_tag().is_none(), Departure::NoTag),
            (request && !via.and_then(|via| via.branch).is_some_and(cookie), Departure::Branch),
        ];
        all.into_iter().filter_map(|(departs, kind)| departs.then_some(kind)).collect()
    }

    fn has_malformed_field(&self) -> bool {
        if !self.foreign.is_empty() {
            return true;
        }
        let unclosed = |name| {
            self.all(name).flat_map(typed::elements).any(|value| value.contains('<') && !value.contains('>'))
        };
        if [Name::From, Name::To, Name::Contact].into_iter().any(unclosed) {
            return true;
        }
        // The head is there as it came. What was appended to it since ends no line.
        let mut from = 0;
        memchr_iter(b'\n', self.text.as_bytes()).any(|end| {
            let line = self.text.get(from..end).unwrap_or_default();
            let start_line = from == 0;
            from = end + 1;
            let folded = line.starts_with([' ', '\t']);
            !line.ends_with('\r') || !(start_line || folded || line.contains(':'))
        })
    }
}
