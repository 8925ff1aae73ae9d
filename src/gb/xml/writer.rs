//! The strict writer.

use std::fmt::Write;

use super::Element;

/// Writes elements one below the other, each field on a line of its own that ends in CRLF: the layout of the
/// standard's samples, which readers that work line by line expect.
///
/// Text is escaped and characters that XML cannot carry are dropped, so that any text may be handed in.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: String,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An element with others inside, which `inside` writes.
    pub fn element(&mut self, name: &str, attributes: &[(&str, &str)], inside: impl FnOnce(&mut Writer)) {
        self.start(name, attributes.iter().copied());
        self.out.push_str("\r\n");
        inside(self);
        self.end(name);
    }

    /// An element with text.
    pub fn field(&mut self, name: &str, text: &str) {
        self.start(name, [].into_iter());
        escape(text, false, &mut self.out);
        self.end(name);
    }

    /// An element with text, where there is any.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.field(name, text);
        }
    }

    /// An element with a number or the like.
    pub fn value(&mut self, name: &str, value: impl std::fmt::Display) {
        self.field(name, &value.to_string());
    }

    /// An element with a number or the like, where there is one.
    pub fn optional_value(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    /// A tree.
    pub fn tree(&mut self, element: &Element) {
        self.start(&element.name, element.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        escape(&element.text, false, &mut self.out);
        if element.text.is_empty() && !element.children.is_empty() {
            self.out.push_str("\r\n");
        }
        for child in &element.children {
            self.tree(child);
        }
        self.end(&element.name);
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.out
    }

    fn start<'a>(&mut self, name: &str, attributes: impl Iterator<Item = (&'a str, &'a str)>) {
        self.out.push('<');
        self.out.push_str(name);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(value, true, &mut self.out);
            self.out.push('"');
        }
        self.out.push('>');
    }

    fn end(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\r\n");
    }
}

/// Whether a character may stand in a document of XML 1.0 at all.
pub(super) fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn escape(text: &str, in_attribute: bool, out: &mut String) {
    out.reserve(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            // Only `]]>` forbids it, but so it is safe everywhere.
            '>' => out.push_str("&gt;"),
            '"' if in_attribute => out.push_str("&quot;"),
            // A reader of XML turns a raw CR into LF, and in an attribute all white space into a blank.
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' if in_attribute => {
                // Writing into a String does not fail.
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if is_allowed(c) => out.push(c),
            _ => {}
        }
    }
}
