//! XML of the MANSCDP kind: no namespaces, no mixed content, names in ASCII.
//!
//! The reader salvages what devices get wrong: a bare `&` in a name, a stray `<` in an address, a missing end
//! tag, a body cut short by a datagram, NULs behind it. It is one pass over the text, in linear time, and each
//! look ahead ends at the next `<`. A reader that first insists on well-formedness would lose the page for one
//! field; a document that is well formed reads here as it does in any XML reader. Entities other than the five of
//! XML and character references are never expanded.
//!
//! The writer writes well-formed XML only.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::read;
use thiserror::Error;
pub use writer::Writer;

/// Longest document read, in bytes of UTF-8.
pub const MAX_SIZE: usize = 4 << 20;
/// Most elements open at once; the deepest document of the standard has seven.
pub const MAX_DEPTH: usize = 16;
/// Most elements and attributes of a document together: 10,000 catalog items of twenty fields.
pub const MAX_NODES: usize = 200_000;
/// Most faults told of one document.
pub const MAX_FAULTS: usize = 32;

/// An element: its own text and its children.
///
/// Names and attribute names are written as they are: they have to be names of XML. Those that were read are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    /// Character data, unescaped. White space between children is left out.
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The first child of that name. Names are compared without case: copies of the standard circulate that
    /// lost it.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.is(name))
    }

    /// All children of that name.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |c| c.is(name))
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).and_then(|(_, v)| meaning(v))
    }

    /// The trimmed text of the child of that name; nothing where it is missing, empty or the word `null`.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        meaning(&self.child(name)?.text)
    }

    /// As [`Element::text_of`], or the attribute of that name: minimal firmwares write fields so.
    pub fn value_of(&self, name: &str) -> Option<&str> {
        self.text_of(name).or_else(|| self.attribute(name))
    }

    /// Whether the element has that name, compared without case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A field's value, unless it says that there is none.
fn meaning(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && !text.eq_ignore_ascii_case("null")).then_some(text)
}

/// Why nothing of a document could be read.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum XmlError {
    #[error("the document is longer than {MAX_SIZE} bytes")]
    TooLarge,
    #[error("elements are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("the document has more than {MAX_NODES} elements and attributes")]
    TooMany,
    #[error("there is no element in the document")]
    NoElement,
}

/// What was mended in a document.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Fault {
    /// A `&` that begins no reference we expand.
    BareAmpersand,
    /// A `<` that begins no markup.
    StrayLess,
    /// An element that its parent ended, or the end of the document.
    Unclosed,
    /// An end tag without its start.
    UnmatchedEnd,
    /// An attribute without a value or quotes, or with quotes that do not close.
    BadAttribute,
    /// The document ends in the middle. The field that it cuts is left out, and so is the list item around it.
    Truncated,
    /// Something other than white space before or after the document's one element.
    OutsideRoot,
}

impl Fault {
    /// The stable name, for counting.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::BareAmpersand => "bare-ampersand",
            Fault::StrayLess => "stray-less",
            Fault::Unclosed => "unclosed",
            Fault::UnmatchedEnd => "unmatched-end",
            Fault::BadAttribute => "bad-attribute",
            Fault::Truncated => "truncated",
            Fault::OutsideRoot => "outside-root",
        }
    }
}
