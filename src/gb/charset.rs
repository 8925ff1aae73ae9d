//! GB 18030 and UTF-8, told apart by what arrives.
//!
//! The 2016 edition recommends GB 2312, the 2022 edition demands GB 18030, and devices send UTF-8 all the same,
//! declared as any of them. So the declaration is only a hint. Nor is validity enough: 学校 ("school") in GB 2312
//! is also valid UTF-8, two Cyrillic letters. All bytes of a message are judged together, along with what the
//! same peer sent before.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use encoding_rs::GB18030;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How far into a body the encoding of an XML declaration is looked for.
const DECLARATION: usize = 128;

/// UTF-8 sequences that must be whole for each broken one, for a body still to count as UTF-8. A cut name breaks
/// one sequence; GB 18030 read as UTF-8 is broken at almost every character.
const WHOLE_PER_BROKEN: usize = 3;

/// An encoding of text on the wire. GB 2312 and GBK are subsets of GB 18030 and are read as it.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub enum Charset {
    #[default]
    #[serde(rename = "gb18030")]
    Gb18030,
    #[serde(rename = "utf-8")]
    Utf8,
}

impl Charset {
    /// The stable name: `gb18030` or `utf-8`.
    pub fn as_str(self) -> &'static str {
        match self {
            Charset::Gb18030 => "gb18030",
            Charset::Utf8 => "utf-8",
        }
    }

    /// From the label of an XML declaration or a configuration.
    fn from_label(label: &[u8]) -> Option<Charset> {
        let is = |name: &str| label.eq_ignore_ascii_case(name.as_bytes());
        if ["utf-8", "utf8"].into_iter().any(is) {
            return Some(Charset::Utf8);
        }
        [
            "gb2312",
            "gbk",
            "gb18030",
            "gb-2312",
            "gb_2312",
            "gb2312-80",
            "gb18030-2000",
            "gb18030-2005",
            "cp936",
        ]
        .into_iter()
        .any(is)
        .then_some(Charset::Gb18030)
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Neither `gb18030` nor `utf-8`, nor one of their usual names.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("the charset is neither gb18030 nor utf-8")]
pub struct UnknownCharset;

impl FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(text: &str) -> Result<Charset, UnknownCharset> {
        Charset::from_label(text.trim().as_bytes()).ok_or(UnknownCharset)
    }
}

/// What is remembered of one peer: the encoding of the last message that left no doubt.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct History(Option<Charset>);

impl History {
    /// A peer whose encoding is known already, from a store or a setting. What it sends may still prove otherwise.
    pub fn known(charset: Charset) -> History {
        History(Some(charset))
    }

    /// The encoding that the peer is known to use.
    pub fn charset(self) -> Option<Charset> {
        self.0
    }
}

/// A body as text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded<'a> {
    /// Without byte order mark and NULs; an XML declaration is kept.
    pub text: Cow<'a, str>,
    /// The encoding to answer in. For a body of ASCII alone: the peer's known one, else the declared one, else
    /// the default.
    pub charset: Charset,
    /// Whether bytes were in neither encoding and became U+FFFD; the text around them is whole.
    pub lossy: bool,
}

/// Decodes a body. `history` is asked where the body is ambiguous and told where it is not.
pub fn decode<'a>(body: &'a [u8], history: &mut History) -> Decoded<'a> {
    let (body, marked) = match body.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => (rest, true),
        None => (body, false),
    };
    let (decoded, certain) = match without_nuls(body) {
        Cow::Borrowed(body) => judge(body, marked, *history),
        Cow::Owned(body) => {
            let (decoded, certain) = judge(&body, marked, *history);
            (Decoded { text: Cow::Owned(decoded.text.into_owned()), ..decoded }, certain)
        }
    };
    if certain {
        history.0 = Some(decoded.charset);
    }
    decoded
}

/// Encodes text. A character that the encoding lacks (there are none of note) becomes a character reference.
pub fn encode(text: &str, charset: Charset) -> Bytes {
    match charset {
        Charset::Utf8 => Bytes::copy_from_slice(text.as_bytes()),
        Charset::Gb18030 => Bytes::from(GB18030.encode(text).0.into_owned()),
    }
}

/// Drops the NULs of those who send the terminator, or the whole buffer, of a C string.
fn without_nuls(body: &[u8]) -> Cow<'_, [u8]> {
    let end = body.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let body = body.get(..end).unwrap_or_default();
    if body.contains(&0) {
        return Cow::Owned(body.iter().copied().filter(|b| *b != 0).collect());
    }
    Cow::Borrowed(body)
}

/// The encoding that the XML declaration names, if there is one and we know it.
pub(super) fn declared(body: &[u8]) -> Option<Charset> {
    let head = body.get(..DECLARATION.min(body.len()))?.trim_ascii_start();
    let head = head.strip_prefix(b"<?xml")?;
    let head = head.get(..head.iter().position(|b| *b == b'>')?)?;
    let name = b"encoding";
    let at = head.windows(name.len()).position(|w| w.eq_ignore_ascii_case(name))?;
    let value = head.get(at + name.len()..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let quote = |b: &u8| matches!(b, b'"' | b'\'');
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'"))?;
    Charset::from_label(value.get(..value.iter().position(quote)?)?.trim_ascii())
}

/// The body as text, and whether its encoding is beyond doubt.
fn judge(body: &[u8], marked: bool, history: History) -> (Decoded<'_>, bool) {
    let utf8 = |text| Decoded { text: Cow::Borrowed(text), charset: Charset::Utf8, lossy: false };
    let gb18030 = || {
        let (text, lossy) = GB18030.decode_without_bom_handling(body);
        Decoded { text, charset: Charset::Gb18030, lossy }
    };
    let declared = if marked { Some(Charset::Utf8) } else { declared(body) };
    let hint = history.0.or(declared);

    match std::str::from_utf8(body) {
        Ok(text) if text.is_ascii() => (Decoded { charset: hint.unwrap_or_default(), ..utf8(text) }, false),
        // No text of GB 18030 that makes sense is valid UTF-8 with CJK in it.
        Ok(text) if marked || text.chars().any(is_cjk) => (utf8(text), true),
        Ok(text) if hint == Some(Charset::Utf8) => (utf8(text), false),
        // Known or declared as GB, or not declared at all: the standard's encoding, if it can be.
        Ok(text) => match gb18030() {
            decoded if decoded.lossy => (utf8(text), true),
            decoded => (decoded, false),
        },
        Err(_) if is_mostly_utf8(body) => {
            let text = String::from_utf8_lossy(body);
            (Decoded { text, charset: Charset::Utf8, lossy: true }, true)
        }
        Err(_) => {
            let decoded = gb18030();
            let certain = !decoded.lossy;
            (decoded, certain)
        }
    }
}

/// Ideographs and the punctuation and full-width forms that come with them.
fn is_cjk(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}

fn is_mostly_utf8(body: &[u8]) -> bool {
    let (mut whole, mut broken) = (0, 0);
    for chunk in body.utf8_chunks() {
        whole += chunk.valid().chars().filter(|c| is_cjk(*c)).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    whole >= broken * WHOLE_PER_BROKEN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GB: Charset = Charset::Gb18030;
    const UTF8: Charset = Charset::Utf8;

    /// A body as a device sends it: what it declares, what it means, how it encodes.
    fn body(declares: &str, name: &str, charset: Charset) -> Vec<u8> {
        let declaration = match declares {
            "" => String::new(),
            label => format!("<?xml version=\"1.0\" encoding=\"{label}\"?>\r\n"),
        };
        encode(&format!("{declaration}<Notify><Name>{name}</Name></Notify>"), charset).to_vec()
    }

    fn fresh(body: &[u8]) -> (String, Charset, bool) {
        let decoded = decode(body, &mut History::default());
        (decoded.text.into_owned(), decoded.charset, decoded.lossy)
    }

    #[test]
    fn any_declaration_with_any_encoding() {
        for declares in ["", "GB2312", "gbk", "GB18030", "UTF-8", "utf8", "latin-1"] {
            for charset in [GB, UTF8] {
                let (text, told, lossy) = fresh(&body(declares, "大厅摄像机1号", charset));
                assert!(text.contains("<Name>大厅摄像机1号</Name>"), "{declares} {charset}");
                assert_eq!((told, lossy), (charset, false), "{declares}");
            }
        }
    }

    #[test]
    fn school_is_not_cyrillic() {
        let school = body("GB2312", "学校", GB);
        assert!(std::str::from_utf8(&school).is_ok());
        for body in [school, body("", "学校", GB)] {
            assert_eq!((fresh(&body).0.contains("学校"), fresh(&body).1), (true, GB));
        }
        // Declared UTF-8 it can only be told from what came before.
        let lie = body("UTF-8", "学校", GB);
        assert!(fresh(&lie).0.contains("ѧУ"));
        let mut history = History::default();
        decode(&body("UTF-8", "大厅", GB), &mut history);
        assert_eq!(history.charset(), Some(GB));
        assert!(decode(&lie, &mut history).text.contains("学校"));
    }

    #[test]
    fn latin_and_cyrillic_follow_history_and_declaration() {
        assert!(fresh(&body("UTF-8", "Größe", UTF8)).0.contains("Größe"));
        let mut history = History::known(UTF8);
        assert!(decode(&body("GB2312", "Größe", UTF8), &mut history).text.contains("Größe"));
        // The euro sign and the bracket after it are no GB 18030, whatever is declared.
        assert!(fresh(&body("GB2312", "5€", UTF8)).0.contains("<Name>5€</Name>"));
    }

    #[test]
    fn a_peer_may_change() {
        let mut history = History::default();
        for (charset, name) in [(GB, "东门"), (UTF8, "东门"), (GB, "西门仓库")] {
            let sent = body("GB2312", name, charset);
            let decoded = decode(&sent, &mut history);
            assert_eq!(decoded.charset, charset);
            assert!(decoded.text.contains(name));
            assert_eq!(history.charset(), Some(charset));
        }
    }

    #[test]
    fn ascii_is_answered_as_before() {
        assert_eq!(fresh(&body("UTF-8", "gate", UTF8)).1, UTF8);
        assert_eq!(fresh(&body("GB2312", "gate", UTF8)).1, GB);
        assert_eq!(fresh(b"").1, GB);
        let mut history = History::known(GB);
        assert_eq!(decode(&body("UTF-8", "gate", UTF8), &mut history).charset, GB);
        assert_eq!(history, History::known(GB));
    }

    #[test]
    fn only_the_bad_field_is_lost() {
        // A name cut in the middle of a character, in both encodings.
        for charset in [GB, UTF8] {
            let mut cut = encode("<Name>大厅东侧摄像机", charset).to_vec();
            cut.pop();
            cut.extend_from_slice(&encode("</Name><Address>北京市海淀区</Address>", charset));
            let (text, told, lossy) = fresh(&cut);
            assert_eq!((told, lossy), (charset, true), "{text}");
            assert!(text.starts_with("<Name>大厅东侧摄像\u{FFFD}</Name>"), "{text}");
            assert!(text.ends_with("<Address>北京市海淀区</Address>"), "{text}");
        }
    }

    #[test]
    fn marks_and_nuls_go() {
        let mut marked = b"\xEF\xBB\xBF".to_vec();
        marked.extend_from_slice(&body("GB2312", "Größe", UTF8));
        marked.extend_from_slice(&[0; 100]);
        let (text, charset, _) = fresh(&marked);
        assert!(text.starts_with("<?xml") && text.ends_with("</Notify>") && text.contains("Größe"));
        assert_eq!(charset, UTF8);
        assert_eq!(fresh(b"a\0b\0\0").0, "ab");
        assert_eq!(fresh(&[0; 64]).0, "");
    }

    #[test]
    fn all_of_unicode_goes_through_gb18030() {
        for text in ["𠀀𪚥", "é ñ Ω я", "😀", "ᠮᠣᠩᠭᠣᠯ", "བོད་སྐད"] {
            let encoded = encode(text, GB);
            assert_eq!(GB18030.decode_without_bom_handling(&encoded), (Cow::Borrowed(text), false));
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let mut history = History::default();
            let decoded = decode(&bytes, &mut history);
            prop_assert!(!decoded.text.contains('\0'));
            decode(&bytes, &mut history);
        }

        #[test]
        fn names_survive(name in "[\u{4e00}-\u{9fa5}]{2,16}", utf8: bool, declares in 0usize..3) {
            let charset = if utf8 { UTF8 } else { GB };
            // Declared as UTF-8, a GB text that is also valid UTF-8 cannot be told.
            let declares = ["", "GB2312", "UTF-8"][declares];
            let sent = body(declares, &name, charset);
            prop_assume!(utf8 || std::str::from_utf8(&sent).is_err());
            let (text, told, lossy) = fresh(&sent);
            prop_assert!(text.contains(&name));
            prop_assert_eq!((told, lossy), (charset, false));
        }
    }
}
