//! The lenient reader: one pass, a stack of open elements, and a rule for each way in which devices err.

use super::writer::is_allowed;
use super::{Element, Fault, MAX_DEPTH, MAX_FAULTS, MAX_NODES, MAX_SIZE, XmlError};

/// Longest reference between `&` and `;`: `&#x10FFFF;` and leading zeros.
const MAX_REFERENCE: usize = 12;

/// Reads a document: its element, and what had to be mended, in order, at most [`MAX_FAULTS`].
pub fn read(text: &str) -> Result<(Element, Vec<Fault>), XmlError> {
    if text.len() > MAX_SIZE {
        return Err(XmlError::TooLarge);
    }
    let mut reader = Reader { rest: text, ..Reader::default() };
    reader.run()?;
    let root = reader.root.ok_or(XmlError::NoElement)?;
    Ok((root, reader.faults))
}

#[derive(Default)]
struct Reader<'a> {
    /// What is still to be read.
    rest: &'a str,
    /// The elements that are open, outermost first.
    open: Vec<Open>,
    root: Option<Element>,
    nodes: usize,
    faults: Vec<Fault>,
}

#[derive(Default)]
struct Open {
    element: Element,
    /// The parent had text before this element: no document of ours mixes text and elements, so that the
    /// start tag may be a stray `<` after all. Told for certain when the element is never closed.
    doubtful: bool,
}

/// What a `<` begins, and how many bytes of it there are.
enum Markup<'a> {
    Start {
        name: &'a str,
        attributes: &'a str,
        empty: bool,
    },
    End {
        name: &'a str,
    },
    Data(&'a str),
    Skip,
    Text,
    /// A comment or the like that does not end.
    Cut,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<(), XmlError> {
        while self.root.is_none() && !self.rest.is_empty() {
            let less = self.rest.find('<').unwrap_or(self.rest.len());
            let (text, rest) = self.rest.split_at(less);
            let (markup, length) = markup(rest);
            self.rest = rest.get(length..).unwrap_or_default();
            self.text(text, &markup);
            match markup {
                Markup::Start { name, attributes, empty } => self.start(name, attributes, empty)?,
                Markup::End { name } => self.end(name),
                Markup::Data(data) => self.raw(data),
                Markup::Skip => {}
                Markup::Text if rest.is_empty() => {}
                Markup::Text => {
                    self.fault(Fault::StrayLess);
                    self.raw("<");
                }
                Markup::Cut => break,
            }
        }
        self.finish();
        Ok(())
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Character data up to the markup that follows it.
    fn text(&mut self, text: &str, next: &Markup<'_>) {
        if text.is_empty() {
            return;
        }
        let blank = text.trim_ascii().is_empty();
        let Some(top) = self.open.last_mut() else {
            if !blank {
                self.fault(Fault::OutsideRoot);
            }
            return;
        };
        // White space is layout where elements stand beside it, and content where it is all there is.
        let layout = matches!(next, Markup::Start { .. }) || !top.element.children.is_empty();
        if blank && layout {
            return;
        }
        if unescape(text, &mut top.element.text) {
            self.fault(Fault::BareAmpersand);
        }
    }

    fn raw(&mut self, text: &str) {
        match self.open.last_mut() {
            Some(top) => top.element.text.push_str(text),
            None if text.trim_ascii().is_empty() => {}
            None => self.fault(Fault::OutsideRoot),
        }
    }

    fn start(&mut self, name: &str, attributes: &str, empty: bool) -> Result<(), XmlError> {
        // No list nests Item in Item: the last one was not closed.
        if name.eq_ignore_ascii_case("Item") && self.open.last().is_some_and(|top| top.element.is("Item")) {
            self.close_unclosed();
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(XmlError::TooDeep);
        }
        let mut element = Element { name: name.to_owned(), ..Element::default() };
        if self.attributes(attributes, &mut element.attributes)? {
            self.fault(Fault::BadAttribute);
        }
        self.count()?;
        let doubtful = self.open.last().is_some_and(|top| !top.element.text.trim_ascii().is_empty());
        self.open.push(Open { element, doubtful });
        if empty {
            self.close();
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), XmlError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES { Err(XmlError::TooMany) } else { Ok(()) }
    }

    /// Reads the inside of a start tag behind its name; says whether anything was amiss.
    fn attributes(&mut self, mut rest: &str, out: &mut Vec<(String, String)>) -> Result<bool, XmlError> {
        let mut amiss = false;
        loop {
            rest = rest.trim_ascii_start();
            let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            if name.is_empty() && behind.is_empty() {
                return Ok(amiss);
            }
            let Some(value) = behind.trim_ascii_start().strip_prefix('=') else {
                // A name without a value.
                amiss = true;
                rest = behind;
                continue;
            };
            let value = value.trim_ascii_start();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (value, behind) = match quote.and_then(|q| value.get(1..)?.split_once(q)) {
                Some(quoted) => quoted,
                None => {
                    amiss = true;
                    let end = value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len());
                    let (bare, behind) = value.split_at(end);
                    (bare.trim_matches(['"', '\'']), behind)
                }
            };
            rest = behind;
            if is_name(name) {
                self.count()?;
                let mut text = String::new();
                amiss |= unescape(value, &mut text);
                out.push((name.to_owned(), text));
            } else {
                amiss = true;
            }
        }
    }

    fn end(&mut self, name: &str) {
        if !self.open.iter().any(|open| open.element.is(name)) {
            self.fault(Fault::UnmatchedEnd);
            return;
        }
        while self.open.last().is_some_and(|top| !top.element.is(name)) {
            self.close_unclosed();
        }
        self.close();
    }

    /// Closes the innermost element.
    fn close(&mut self) {
        let Some(Open { element, .. }) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.element.children.push(element),
            None => self.root = Some(element),
        }
    }

    /// Closes the innermost element, which has no end tag.
    fn close_unclosed(&mut self) {
        let tag = self.open.pop_if(|top| {
            top.doubtful && top.element.attributes.is_empty() && top.element.children.is_empty()
        });
        match (tag, self.open.last_mut()) {
            (Some(Open { element, .. }), Some(parent)) => {
                // It was text, as in "east<b>west".
                let text = &mut parent.element.text;
                text.extend(["<", &element.name, ">", &element.text]);
                self.fault(Fault::StrayLess);
            }
            _ => {
                self.fault(Fault::Unclosed);
                self.close();
            }
        }
    }

    fn finish(&mut self) {
        if !self.rest.trim_matches(|c: char| c.is_whitespace() || c == '\0').is_empty() && self.root.is_some()
        {
            self.fault(Fault::OutsideRoot);
        }
        if self.open.is_empty() {
            return;
        }
        // A field that was cut has half a value, which is worse than none; so has the list item around it.
        let cut = match self.open.iter().position(|open| open.element.is("Item")) {
            Some(item) => item,
            None => {
                self.open.len() - usize::from(self.open.last().is_some_and(|o| o.element.children.is_empty()))
            }
        };
        let cut = cut.max(1);
        if cut < self.open.len() {
            self.open.truncate(cut);
            self.fault(Fault::Truncated);
        }
        while !self.open.is_empty() {
            self.close_unclosed();
        }
    }
}

/// What the `<` that `text` begins with is, and its length. Looks no farther than the next `<`, except in a
/// comment or CDATA section, where it either finds the end or the document ends: linear over a document.
fn markup(text: &str) -> (Markup<'_>, usize) {
    let Some(inside) = text.strip_prefix('<') else { return (Markup::Text, 0) };
    let bounded = |open: &str, close: &str| {
        let (data, _) = inside.strip_prefix(open)?.split_once(close)?;
        Some((data, 1 + open.len() + data.len() + close.len()))
    };
    if inside.starts_with("!--") {
        return bounded("!--", "-->").map_or((Markup::Cut, text.len()), |(_, length)| (Markup::Skip, length));
    }
    if inside.starts_with("![CDATA[") {
        return bounded("![CDATA[", "]]>")
            .map_or((Markup::Cut, text.len()), |(data, length)| (Markup::Data(data), length));
    }
    // The rest is over at the next '<' at the latest.
    let reach = inside.find('<').unwrap_or(inside.len());
    let within = inside.get(..reach).unwrap_or_default();
    let to_greater = within.find('>');
    match within.as_bytes().first() {
        // A declaration whose `?>` lost its question mark ends all the same. Entities are not declared here.
        Some(b'?' | b'!') => match to_greater {
            Some(end) => (Markup::Skip, 1 + end + 1),
            None => (Markup::Skip, 1 + reach),
        },
        Some(b'/') => {
            let name = within.get(1..to_greater.unwrap_or(reach)).unwrap_or_default().trim_ascii();
            // Without a '>' the tag ends where its name does, at the next markup.
            (Markup::End { name }, 1 + to_greater.map_or(reach, |end| end + 1))
        }
        _ => match start_tag(within) {
            Some((tag, length)) => (tag, 1 + length),
            None => (Markup::Text, 1),
        },
    }
}

/// A start tag behind its `<`, if this is one.
fn start_tag(within: &str) -> Option<(Markup<'_>, usize)> {
    let name_end = within.find(|c: char| !is_name_char(c))?;
    let (name, rest) = within.split_at(name_end);
    if !is_name(name) || !rest.starts_with(|c: char| matches!(c, '>' | '/') || c.is_ascii_whitespace()) {
        return None;
    }
    // A '>' between quotes does not end a tag, unless the quotes never close.
    let end = unquoted_greater(rest).or_else(|| rest.find('>'))?;
    let inside = rest.get(..end)?;
    let (attributes, empty) = match inside.strip_suffix('/') {
        Some(attributes) => (attributes, true),
        None => (inside, false),
    };
    Some((Markup::Start { name, attributes, empty }, name_end + end + 1))
}

fn unquoted_greater(text: &str) -> Option<usize> {
    let mut quote = None;
    text.bytes().position(|b| match (quote, b) {
        (None, b'>') => true,
        (None, b'"' | b'\'') => {
            quote = Some(b);
            false
        }
        (Some(q), b) if q == b => {
            quote = None;
            false
        }
        _ => false,
    })
}

/// Names of MANSCDP are ASCII: `<西门>` in an address is text.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_name_char)
}

/// Appends `text` with its references expanded; says whether there was a `&` that begins none.
fn unescape(text: &str, out: &mut String) -> bool {
    let mut bare = false;
    let mut pieces = text.split('&');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        match piece.split_once(';').and_then(|(name, rest)| Some((reference(name)?, rest))) {
            Some((c, rest)) => {
                out.extend(c);
                out.push_str(rest);
            }
            None => {
                bare = true;
                out.push('&');
                out.push_str(piece);
            }
        }
    }
    bare
}

/// The character of a reference: `Some(None)` is a reference to one that XML forbids, which is dropped.
fn reference(name: &str) -> Option<Option<char>> {
    let named = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#').filter(|_| name.len() <= MAX_REFERENCE)?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            return Some(char::from_u32(code.ok()?).filter(|c| is_allowed(*c)));
        }
    };
    Some(Some(named))
}
