use proptest::prelude::*;
use quick_xml::events::Event;

use super::*;

fn root(text: &str) -> (Element, Vec<Fault>) {
    read(text).unwrap()
}

fn written(element: &Element) -> String {
    let mut writer = Writer::new();
    writer.tree(element);
    writer.finish()
}

#[test]
fn a_body_of_the_standard() {
    let (notify, faults) = root(
        "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Notify>\r\n<CmdType>Keepalive</CmdType>\r\n<SN>43</SN>\r\n\
         <DeviceID>34020000001180000001</DeviceID>\r\n<Status> OK </Status>\r\n<Info Num=\"1\">\
         <DeviceID>34020000001310000005</DeviceID></Info><Owner/><Block>null</Block>\r\n</Notify>\r\n",
    );
    assert_eq!(faults, []);
    assert_eq!((notify.name.as_str(), notify.text.as_str(), notify.children.len()), ("Notify", "", 7));
    assert_eq!(notify.text_of("cmdtype"), Some("Keepalive"));
    assert_eq!(notify.text_of("Status"), Some("OK"));
    assert_eq!(
        (notify.text_of("Owner"), notify.text_of("Block"), notify.text_of("None")),
        (None, None, None)
    );
    let info = notify.child("Info").unwrap();
    assert_eq!((info.attribute("num"), info.value_of("DeviceID")), (Some("1"), Some("34020000001310000005")));
}

#[test]
fn references_and_sections() {
    let (e, faults) =
        root("<a b='&quot;x&#34;'>&lt;&#x4E2d;&#25991;&gt;&apos;<!-- <c> & --><![CDATA[<&]]>&#0;</a>");
    assert_eq!(faults, []);
    assert_eq!((e.text.as_str(), e.attribute("b")), ("<中文>'<&", Some("\"x\"")));
}

#[test]
fn bare_ampersands() {
    for (text, meaning) in [
        ("A&B", "A&B"),
        ("&", "&"),
        ("a && b;", "a && b;"),
        ("&nbsp;x", "&nbsp;x"),
        ("R&D &amp; X&#xZ;", "R&D & X&#xZ;"),
    ] {
        let (e, faults) = root(&format!("<r><Name>{text}</Name><b>1</b></r>"));
        assert_eq!(e.text_of("Name"), Some(meaning));
        assert_eq!((faults, e.text_of("b")), (vec![Fault::BareAmpersand], Some("1")));
    }
}

#[test]
fn stray_less() {
    for address in
        ["a<b", "5 < 6", "<", "a<", "<<", "东<西门>北", "<3>", "1<A>2", "1<A>2<B>3", "a<b c", "x</", "a<=\"b"]
    {
        let (e, faults) = root(&format!("<r><Item><Address>{address}</Address><b>1</b></Item></r>"));
        let item = e.child("Item").unwrap();
        assert_eq!(item.text_of("b"), Some("1"), "{address}: {e:?}");
        if address != "x</" {
            assert_eq!(item.text_of("Address"), Some(address), "{e:?}");
            assert!(
                faults.iter().all(|f| *f == Fault::StrayLess) && !faults.is_empty(),
                "{address}: {faults:?}"
            );
        }
    }
}

#[test]
fn unclosed_and_unmatched() {
    let (e, faults) = root("<r><L><Item><a>1<b>2</b></Item><Item><a>3</a></L><c>4</c></x></r>");
    assert_eq!(e.text_of("c"), Some("4"));
    assert_eq!(e.child("L").unwrap().children("Item").count(), 2);
    assert_eq!(faults, [Fault::Unclosed, Fault::Unclosed, Fault::UnmatchedEnd]);

    let (e, faults) = root("<L><Item><a>1</a><Item><a>2</a></Item></L>");
    let values: Vec<_> = e.children("Item").filter_map(|i| i.text_of("a")).collect();
    assert_eq!((values, faults), (vec!["1", "2"], vec![Fault::Unclosed]));
}

#[test]
fn cut_short() {
    let whole =
        "<r><SN>17</SN><L Num=\"2\"><Item><a>1</a></Item><Item><a>12</a><Info><p>1</p></Info></Item></L></r>";
    for end in whole.find("<Item").unwrap()..whole.len() - 1 {
        let (e, faults) = root(&whole[..end]);
        assert_eq!(e.text_of("SN"), Some("17"), "{end}");
        assert!(!faults.is_empty(), "{end}");
        // An item is there whole or not at all.
        for item in e.child("L").into_iter().flat_map(|l| l.children("Item")) {
            assert!(matches!(item.text_of("a"), Some("1" | "12")), "{end}: {e:?}");
            assert_eq!(item.text_of("a") == Some("12"), item.child("Info").is_some(), "{end}: {e:?}");
        }
    }
    assert_eq!(root("<r><SN>17").0, Element { name: "r".into(), ..Element::default() });
}

#[test]
fn odd_tags() {
    let (e, faults) = root(
        "<?xml version=\"1.0\"\r\n<Query CmdType=Catalog SN='9' x y=\"a>b\" ><z a=\"1></z ></Query>\0\0 ",
    );
    assert_eq!(
        (e.attribute("cmdtype"), e.attribute("SN"), e.attribute("y")),
        (Some("Catalog"), Some("9"), Some("a>b"))
    );
    assert_eq!(e.child("z").unwrap().attribute("a"), Some("1"));
    assert_eq!(faults, [Fault::BadAttribute, Fault::BadAttribute]);
}

#[test]
fn outside_the_root() {
    let (e, faults) = root("junk<a>1</a><a>2</a>");
    assert_eq!((e.text.as_str(), faults), ("1", vec![Fault::OutsideRoot, Fault::OutsideRoot]));
    for text in ["", "  ", "text", "<?xml version=\"1.0\"?>", "<!-- ", "</a>", "<"] {
        assert_eq!(read(text), Err(XmlError::NoElement), "{text}");
    }
}

#[test]
fn entities_are_not_expanded() {
    let laughs = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\"><!ENTITY x SYSTEM \"file:///etc/passwd\">]><l>&b;&x;</l>";
    assert_eq!(root(laughs).0.text, "&b;&x;");
}

#[test]
fn bounds() {
    let nested = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
    assert!(read(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(XmlError::TooDeep));
    assert!(read(&format!("<r>{}</r>", "<a/>".repeat(MAX_NODES - 1))).is_ok());
    assert_eq!(read(&format!("<r>{}</r>", "<a/>".repeat(MAX_NODES))), Err(XmlError::TooMany));
    assert_eq!(read(&format!("<r {}/>", "a='1' ".repeat(MAX_NODES))), Err(XmlError::TooMany));
    assert_eq!(read(&" ".repeat(MAX_SIZE + 1)), Err(XmlError::TooLarge));
    assert_eq!(root(&format!("<r>{}</r>", "&".repeat(100) + &"</x>".repeat(100))).1.len(), MAX_FAULTS);
}

/// What quick-xml reads of a document without complaint.
fn oracle(text: &str) -> Option<Element> {
    fn element(start: &quick_xml::events::BytesStart<'_>) -> Option<Element> {
        let mut element = Element { name: start.name().as_ref().to_owned(), ..Element::default() };
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let value = quick_xml::escape::unescape(&attribute.value).ok()?;
            element.attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
        }
        Some(element)
    }
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Element> = vec![];
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => open.push(element(&start)?),
            Event::End(_) => {
                let done = open.pop()?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => return Some(done),
                }
            }
            Event::Text(text) => {
                if let Some(top) = open.last_mut() {
                    top.text.push_str(&text);
                }
            }
            Event::GeneralRef(name) => {
                let reference = format!("&{};", &*name);
                open.last_mut()?.text.push_str(&quick_xml::escape::unescape(&reference).ok()?);
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// Trees without mixed content, with any text that XML can carry.
fn any_tree() -> impl Strategy<Value = Element> {
    let name = "[A-HJ-Za-z_][A-Za-z0-9_.-]{0,6}";
    let text = "[^\u{0}-\u{8}\u{B}\u{C}\u{E}-\u{1F}\u{FFFE}\u{FFFF}]{0,12}";
    let attributes = move || proptest::collection::vec((name, text), 0..3);
    let leaf = (name, attributes(), text).prop_map(|(name, attributes, text)| Element {
        name,
        attributes,
        text,
        children: vec![],
    });
    leaf.prop_recursive(4, 32, 5, move |inner| {
        (name, attributes(), proptest::collection::vec(inner, 1..5)).prop_map(
            |(name, attributes, children)| Element { name, attributes, text: String::new(), children },
        )
    })
}

/// Layout is content to quick-xml; leave it out where there are children.
fn without_layout(mut element: Element) -> Element {
    if !element.children.is_empty() {
        element.text.clear();
    }
    element.children = element.children.into_iter().map(without_layout).collect();
    element
}

proptest! {
    #[test]
    fn written_and_read_again(tree in any_tree()) {
        prop_assert_eq!(read(&written(&tree)), Ok((tree, vec![])));
    }

    #[test]
    fn what_we_write_others_read(tree in any_tree()) {
        let mut tree = tree;
        // quick-xml refuses an attribute that comes twice.
        fn distinct(e: &mut Element) {
            for (i, (name, _)) in e.attributes.iter_mut().enumerate() {
                name.push_str(&i.to_string());
            }
            e.children.iter_mut().for_each(distinct);
        }
        distinct(&mut tree);
        prop_assert_eq!(oracle(&written(&tree)).map(without_layout), Some(tree));
    }

    #[test]
    fn any_text_is_carried(text: String) {
        let mut writer = Writer::new();
        writer.field("Name", &text);
        let carried: String = text.chars().filter(|c| super::writer::is_allowed(*c)).collect();
        prop_assert_eq!(read(&writer.finish()).unwrap().0.text, carried);
    }

    #[test]
    fn never_panics(text in "(<|>|/|&|;|a|Item|=|\"|'| |!--|-->|\\?|!\\[CDATA\\[|\\]\\]>|&#x4e;|中|\u{0}){0,60}") {
        if let Ok((element, _)) = read(&text) {
            // Whatever was salvaged is well formed once written.
            let again = written(&element);
            prop_assert!(read(&again).unwrap().1.is_empty(), "{} -> {}", text, again);
        }
    }

    #[test]
    fn agrees_with_quick_xml(text in "<a>(<b>|</b>|<b/>|<b c=\"1\">|x|y&amp;|&#20013;|<!--z-->){0,12}</a>") {
        if let Some(expected) = oracle(&text) {
            let (element, _) = read(&text).unwrap();
            prop_assert_eq!(element, expected);
        }
    }
}
