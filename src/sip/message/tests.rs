use super::oracle::{strict_address, strict_uri, strict_via};
use super::*;
use proptest::prelude::*;

const REGISTER: &str = "REGISTER sip:34020000002000000001@3402000000 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.20:5060;rport;branch=z9hG4bK101\r\n\
    From: <sip:34020000001320000001@3402000000>;tag=70f1\r\n\
    To: <sip:34020000001320000001@3402000000>\r\n\
    Call-ID: 5501@192.0.2.20\r\n\
    CSeq: 1 REGISTER\r\n\
    Contact: <sip:34020000001320000001@192.0.2.20:5060>\r\n\
    Max-Forwards: 70\r\n\
    User-Agent: ExampleCam/1.0\r\n\
    X-GB-Ver: 3.0\r\n\
    Expires: 3600\r\n\
    Content-Length: 0\r\n\r\n";

fn parse(bytes: impl AsRef<[u8]>) -> Result<Message, ParseError> {
    Message::parse(&Bytes::copy_from_slice(bytes.as_ref()))
}

/// The sample REGISTER with one piece of text replaced.
fn altered(from: &str, to: &str) -> Message {
    assert!(REGISTER.contains(from), "{from}");
    parse(REGISTER.replacen(from, to, 1)).unwrap_or_else(|error| panic!("{to:?}: {error}"))
}

fn assert_register(message: &Message) {
    assert_eq!(message.method(), Some(&Method::Register));
    assert_eq!(message.uri(), Some("sip:34020000002000000001@3402000000"));
    let via = message.via().unwrap();
    assert_eq!((via.transport, via.sent_by), ("UDP", "192.0.2.20:5060"));
    assert_eq!((via.branch, via.rport), (Some("z9hG4bK101"), Some(None)));
    let from = message.from().unwrap();
    assert_eq!((from.user, from.host), (Some("34020000001320000001"), "3402000000"));
    assert_eq!(from.tag, Some("70f1"));
    assert_eq!(message.to().unwrap().tag, None);
    assert_eq!(message.call_id(), Some("5501@192.0.2.20"));
    assert_eq!(message.cseq(), Some((1, Method::Register)));
    assert_eq!(message.contact().unwrap().port, Some(5060));
    assert_eq!(message.expires(), Some(3600));
    assert_eq!(message.max_forwards(), Some(70));
    assert_eq!(message.header("x-gb-ver"), Some("3.0"));
    assert!(message.body.is_empty());
}

#[test]
fn a_register_is_read() {
    assert_register(&parse(REGISTER).unwrap());
}

#[test]
fn what_the_field_sends_is_understood() {
    let bare = REGISTER.replace("\r\n", "\n");
    let compact = REGISTER
        .replace("Via:", "v:")
        .replace("From:", "F:")
        .replace("To:", "t:")
        .replace("Call-ID:", "i:")
        .replace("Contact:", "m:")
        .replace("Content-Length:", "l:");
    let variants = [
        bare,
        compact,
        format!("\r\n\r\n{REGISTER}"),
        format!("\0\0 {REGISTER}"),
        REGISTER.replace(": ", " : "),
        REGISTER.replace(": ", ":"),
        REGISTER.replace(": ", "\t:\t"),
        REGISTER.to_owned().replace("Via", "VIA").replace("Call-ID", "call-id"),
        REGISTER.replace(";rport", ";\r\n rport"),
        REGISTER.replace("CSeq: 1 ", "CSeq:\r\n\t1\r\n  "),
        REGISTER.replace(" SIP/2.0\r\n", "  sip/2.0 \r\n"),
        REGISTER.replace("Content-Length: 0", "Content-Length: 500"),
        REGISTER.replace("Content-Length: 0", "Content-Length: -1"),
        REGISTER.replace("Content-Length: 0\r\n", ""),
        REGISTER.replace("Max-Forwards", "a line that is no field\r\nMax-Forwards"),
        REGISTER.trim_end().to_owned(),
    ];
    for text in variants {
        let message = parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_register(&message);
        // Written, it is what the RFC demands, and means the same.
        let written = message.to_bytes();
        assert!(written.ends_with(b"Content-Length: 0\r\n\r\n"));
        assert_register(&Message::parse(&written).unwrap());
    }
}

#[test]
fn a_value_in_gbk_is_kept_and_echoed() {
    // "camera" in GBK as display name; the second byte of the last character is in the range of ASCII.
    let name: &[u8] = b"\xc9\xe3\xcf\xf1\xd2\x40";
    let mut bytes = REGISTER.as_bytes().to_vec();
    let at = REGISTER.find("<sip:34020000001320000001@3402000000>;tag").unwrap();
    bytes.splice(at..at, name.iter().copied());
    let message = parse(&bytes).unwrap();
    assert_register(&message);
    assert!(message.header("From").unwrap().starts_with("?"));
    let holds = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    assert!(holds(&message.to_bytes()));
    assert!(holds(&message.response(200).with_to_tag("x").to_bytes()));

    let mut bytes = REGISTER.as_bytes().to_vec();
    let at = REGISTER.find("<sip:34020000001320000001@3402000000>\r\nCall").unwrap();
    bytes.splice(at..at, name.iter().copied());
    let response = parse(&bytes).unwrap().response(401).with_to_tag("x1");
    assert!(holds(&response.to_bytes()));
    assert_eq!(Message::parse(&response.to_bytes()).unwrap().to().unwrap().tag, Some("x1"));
}

#[test]
fn unknown_methods_and_missing_reasons_are_read() {
    let publish = REGISTER.replace("REGISTER", "PUBLISH");
    assert_eq!(parse(publish).unwrap().method(), Some(&Method::Other("PUBLISH".into())));
    let answer = REGISTER.replace("REGISTER sip:34020000002000000001@3402000000 SIP/2.0", "SIP/2.0 200");
    let answer = parse(answer).unwrap();
    assert_eq!((answer.code(), answer.method()), (Some(200), None));
    assert_eq!(answer.start, Start::Response { code: 200, reason: "".into() });
    let busy =
        REGISTER.replace("REGISTER sip:34020000002000000001@3402000000 SIP/2.0", "SIP/2.0 486 Busy  Here");
    assert_eq!(parse(busy).unwrap().start, Start::Response { code: 486, reason: "Busy  Here".into() });
}

#[test]
fn refusals_name_their_reason() {
    let cases = [
        (String::new(), ParseError::Empty),
        ("\r\n\r\n".into(), ParseError::Empty),
        ("\0\0\0\0".into(), ParseError::Empty),
        ("GET / HTTP/1.1\r\n\r\n".into(), ParseError::StartLine),
        ("SIP/2.0 OK\r\n\r\n".into(), ParseError::StartLine),
        ("SIP/2.0 2000 OK\r\n\r\n".into(), ParseError::StartLine),
        ("SIP/2.0 999 OK\r\n\r\n".into(), ParseError::StartLine),
        ("REGISTER SIP/2.0\r\n\r\n".into(), ParseError::StartLine),
        ("REG(ISTER sip:a SIP/2.0\r\n\r\n".into(), ParseError::StartLine),
        (REGISTER.replace("SIP/2.0\r\n", "SIP/3.0\r\n"), ParseError::StartLine),
        (REGISTER.replace("Via", "Vai"), ParseError::Header("Via")),
        (REGISTER.replace("From", "Form"), ParseError::Header("From")),
        (REGISTER.replace("To:", "Tu:"), ParseError::Header("To")),
        (REGISTER.replace("Call-ID", "Call"), ParseError::Header("Call-ID")),
        (REGISTER.replace("CSeq: 1", "CSeq: x"), ParseError::Header("CSeq")),
        (REGISTER.replace("CSeq: 1", "CSeq: 4294967296"), ParseError::Header("CSeq")),
        (REGISTER.replace("1 REGISTER", "1 INVITE"), ParseError::Method),
        (REGISTER.replace("Max-Forwards", &"X: y\r\n".repeat(MAX_HEADERS)), ParseError::TooManyHeaders),
        (REGISTER.replace("70\r\n", &"7".repeat(MAX_HEAD)), ParseError::HeadTooLarge),
    ];
    for (text, expected) in cases {
        let error = parse(&text).expect_err(text.get(..text.len().min(80)).unwrap());
        assert_eq!(error, expected);
        assert!(!error.reason().is_empty());
    }
}

#[test]
fn the_body_ends_where_it_says_and_never_after_the_datagram() {
    let with = |length: &str, body: &str| {
        let text = REGISTER.replace("Content-Length: 0", length) + body;
        parse(text).unwrap().body
    };
    assert_eq!(with("Content-Length: 4", "body"), "body");
    assert_eq!(with("Content-Length: 4", "body\0\0"), "body");
    assert_eq!(with("Content-Length: 9", "body"), "body");
    assert_eq!(with("Content-Length: 2", "body"), "body");
    assert_eq!(with("Content-Length: 2", "body\r\n"), "body\r\n");
    assert_eq!(with("Content-Length: 4", "body\r\n \0"), "body");
    assert_eq!(with("Content-Length: nine", "body"), "body");
    assert_eq!(with("X: y", "body"), "body");
    assert_eq!(with("Content-Length: 2\r\nContent-Length: 3", "body"), "body");
}

#[test]
fn a_body_passes_untouched() {
    let body: &[u8] = b"<Name>\xb4\xe5\xc3\xc5</Name>\0\xff\r\n\r\n";
    let message = parse(REGISTER).unwrap().with_body("Application/MANSCDP+xml", Bytes::from_static(body));
    let again = Message::parse(&message.to_bytes()).unwrap();
    assert_eq!(again.body, body);
    assert_eq!(again.content_type(), Some("Application/MANSCDP+xml"));
    assert_eq!(again.header("l"), Some(body.len().to_string().as_str()));
}

#[test]
fn an_answer_repeats_what_identifies_the_request() {
    let via = "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nv: SIP/2.0/UDP b;branch=z9hG4bK2\r\nVia: SIP/2.0/UDP 192.0.2.20";
    let request = altered("Via: SIP/2.0/UDP 192.0.2.20", via);
    let text = String::from_utf8(request.response(401).to_bytes().to_vec()).unwrap();
    assert_eq!(
        text,
        "SIP/2.0 401 Unauthorized\r\n\
         Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
         Via: SIP/2.0/UDP b;branch=z9hG4bK2\r\n\
         Via: SIP/2.0/UDP 192.0.2.20:5060;rport;branch=z9hG4bK101\r\n\
         From: <sip:34020000001320000001@3402000000>;tag=70f1\r\n\
         To: <sip:34020000001320000001@3402000000>\r\n\
         Call-ID: 5501@192.0.2.20\r\n\
         CSeq: 1 REGISTER\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let tagged = request.response(200).with_to_tag("a1");
    assert_eq!(tagged.to().unwrap().tag, Some("a1"));
    assert_eq!(tagged.with_to_tag("b2").to().unwrap().tag, Some("a1"), "a tag that is there stays");
}

#[test]
fn no_value_adds_a_field() {
    let mut message = Message::request(Method::Other("X\r\nEvil: 1".into()), "sip:a\r\nEvil: 1")
        .with("Subject", "a\r\nEvil: 1")
        .with("Na\r\nEvil: me", "b")
        .with_to_tag("\r\nEvil: 1");
    message.set("Subject", "c\nEvil: 1\0");
    message.start = Start::Request { method: Method::Info, uri: "sip:a\nEvil: 1".into() };
    let text = String::from_utf8(message.to_bytes().to_vec()).unwrap();
    assert_eq!(
        text,
        "INFO sip:aEvil: 1 SIP/2.0\r\nSubject: cEvil: 1\r\nNaEvilme: b\r\nContent-Length: 0\r\n\r\n"
    );
    let answer = parse(REGISTER.replace("5501@192.0.2.20", "55\r01")).unwrap().response(200);
    assert!(!answer.to_bytes().windows(3).any(|w| w == b"55\r"), "a lone carriage return is not echoed");
    let mut foreign = REGISTER.replace("5501@192.0.2.20", "55\r01").into_bytes();
    let at = foreign.windows(3).position(|w| w == b"55\r").unwrap();
    foreign.insert(at, 0xc9);
    let answer = parse(foreign).unwrap().response(200).to_bytes();
    assert!(answer.windows(5).any(|w| w == b"\xc95501"), "nor is one among bytes that are no UTF-8");
}

#[test]
fn what_is_never_written_is_not_read() {
    assert_register(&altered("Call-ID: 5501", "Call-ID:\0 5\x005\r0\r\r1\0"));
    assert_register(&altered("70f1\r\n", "70f1\r\0\r\n"));
    assert_eq!(altered("ExampleCam/1.0", "Cam\0\0\0\0").header("User-Agent"), Some("Cam"), "padding");
    // Of this To nothing would be left in the answer.
    let to = REGISTER.replace("To: <sip:34020000001320000001@", "To: <\0\0\0\x0c??@");
    assert_eq!(parse(to).unwrap_err(), ParseError::Header("To"));
}

#[test]
fn fields_are_set_and_removed() {
    let mut message = altered("User-Agent:", "X-A: 1\r\nx-a: 2\r\nUser-Agent:");
    assert_eq!(message.headers("X-A").collect::<Vec<_>>(), ["1", "2"]);
    message.set("X-A", "3");
    message.set("X-B", "4");
    message.set("e", "5");
    message.remove("User-Agent");
    let again = Message::parse(&message.to_bytes()).unwrap();
    assert_eq!(again.headers("x-a").collect::<Vec<_>>(), ["3"]);
    assert_eq!((again.header("X-B"), again.header("User-Agent")), (Some("4"), None));
    assert_register(&again);
    let full = message.with("X-Large", "x".repeat(MAX_HEAD));
    assert_eq!(full.header("X-Large"), None, "what cannot be written is left out");
    assert_register(&full);
}

#[test]
fn departures_are_told() {
    assert_eq!(parse(REGISTER).unwrap().departures()[..], []);
    let cases = [
        ("Content-Length: 0", "Content-Length: 7", Departure::ContentLength),
        ("Content-Length: 0", "Content-Length: none", Departure::ContentLength),
        ("Content-Length: 0", "Content-Length: 0\r\nl: 1", Departure::ContentLength),
        ("Content-Length: 0\r\n\r\n", "Content-Length: 0\r\n\r\nx", Departure::ContentLength),
        ("User-Agent:", "Garbage\r\nUser-Agent:", Departure::Header),
        ("ExampleCam/1.0\r\n", "ExampleCam/1.0\n", Departure::Header),
        ("@3402000000>;tag", "@3402000000;tag", Departure::Header),
        (";rport", "", Departure::NoRport),
        ("Max-Forwards: 70\r\n", "", Departure::NoMaxForwards),
        (";tag=70f1", "", Departure::NoTag),
        ("branch=z9hG4bK", "branch=", Departure::Branch),
    ];
    for (from, to, departure) in cases {
        assert!(REGISTER.contains(from), "{from}");
        let message = altered(from, to);
        assert_eq!(message.departures()[..], [departure], "{from} -> {to}");
    }
    // What the transaction layer does to a Via is no fault of the sender.
    let mut message = parse(REGISTER).unwrap();
    let via = completed_via(message.header("Via").unwrap(), "192.0.2.9:99".parse().unwrap()).unwrap();
    message.replace_first("Via", &via);
    assert_eq!(message.departures()[..], []);
    assert_eq!(message.response(200).departures()[..], []);
}

#[test]
fn a_summary_says_what_is_sent() {
    let request = parse(REGISTER).unwrap();
    let asked = Summary { method: Method::Register, code: None };
    assert_eq!(Summary::of(&request.to_bytes()), Some(asked));
    let answered = Summary { method: Method::Register, code: Some(401) };
    assert_eq!(Summary::of(&request.response(401).to_bytes()), Some(answered));
    for no_message in
        [&b""[..], b"\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\nCSeq: 1 BYE\r\n", b"SIP/2.0 200 OK\r\nx\r\n"]
    {
        assert_eq!(Summary::of(no_message), None);
    }
}

#[test]
fn addresses_of_all_kinds_give_their_user_and_tag() {
    type Case = (&'static str, Option<&'static str>, &'static str, Option<u16>, Option<&'static str>);
    let cases: &[Case] = &[
        ("<sip:3402@10.0.0.1:5060>;tag=1", Some("3402"), "10.0.0.1", Some(5060), Some("1")),
        ("\"Gate; <1>\" <sip:3402@dom.example>;tag=2", Some("3402"), "dom.example", None, Some("2")),
        ("\"a\\\" <sip:x@y>\" <sip:3402@h>;tag=2", Some("3402"), "h", None, Some("2")),
        ("sip:3402@3402000000;tag=3", Some("3402"), "3402000000", None, Some("3")),
        ("sip:3402@3402000000 ; tag = 3", Some("3402"), "3402000000", None, Some("3")),
        ("<sip:3402@3402000000> ; tag=4", Some("3402"), "3402000000", None, Some("4")),
        ("<sip:3402@3402000000;tag=5", Some("3402"), "3402000000", None, Some("5")),
        ("3402@3402000000", Some("3402"), "3402000000", None, None),
        ("<3402@3402000000>", Some("3402"), "3402000000", None, None),
        ("<sip:3402@[2001:db8::1]:5070>;tag=6", Some("3402"), "2001:db8::1", Some(5070), Some("6")),
        ("<sip:3402@[2001:db8::1]>", Some("3402"), "2001:db8::1", None, None),
        ("<sip:3402@2001:db8::1>", Some("3402"), "2001:db8::1", None, None),
        ("<sip:3402@a_b:5060>", Some("3402"), "a_b", Some(5060), None),
        ("<sip:3402@h:99999>;tag=7", Some("3402"), "h", None, Some("7")),
        ("<sip:3402@h:>;tag=7", Some("3402"), "h", None, Some("7")),
        ("<sip:3402@>;tag=8", Some("3402"), "", None, Some("8")),
        ("<sip:3402:secret@h>", Some("3402"), "h", None, None),
        ("<SIPS:3402@h;transport=tcp>;tag=a/b=", Some("3402"), "h", None, Some("a/b=")),
        ("<sip:3402000000>;tag=9", None, "3402000000", None, Some("9")),
        ("<sip:a.b@h>;TAG=10", Some("a.b"), "h", None, Some("10")),
        ("<sip:3402@h>;tag=", Some("3402"), "h", None, None),
        ("门口 <sip:3402@h>;tag=11", Some("3402"), "h", None, Some("11")),
    ];
    for (value, user, host, port, tag) in cases {
        let read = Address::parse(value).unwrap_or_else(|| panic!("{value}"));
        assert_eq!((read.user, read.host, read.port, read.tag), (*user, *host, *port, *tag), "{value}");
    }
    for value in ["", "<>", " ", ";tag=1", "<sip:>"] {
        assert_eq!(Address::parse(value), None, "{value:?}");
    }
}

#[test]
fn vias_of_all_kinds_give_their_branch() {
    let cases = [
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport", "10.0.0.1:5060", Some("z9hG4bK1"), Some(None)),
        ("SIP/2.0/TCP h ; rport = 5 ; branch = z9hG4bK2", "h", Some("z9hG4bK2"), Some(Some(5))),
        ("SIP / 2.0 / UDP [2001:db8::1]:5060;branch=z9", "[2001:db8::1]:5060", Some("z9"), None),
        ("SIP/2.0/UDP h;branch=z9hG4bK-a@b=c;rport=x", "h", Some("z9hG4bK-a@b=c"), Some(None)),
        ("SIP/2.0/TLS-SCTP h", "h", None, None),
        ("SIP/2.0/UDP h;branch=", "h", None, None),
        ("SIP/2.0/UDP\th;rport;branch=z9", "h", Some("z9"), Some(None)),
    ];
    for (value, sent_by, branch, rport) in cases {
        let read = Via::parse(value).unwrap_or_else(|| panic!("{value}"));
        assert_eq!((read.sent_by, read.branch, read.rport), (sent_by, branch, rport), "{value}");
    }
    for value in ["", "SIP/2.0/UDP", "SIP/2.0/UDP ", "UDP h", ";branch=1"] {
        assert_eq!(Via::parse(value), None, "{value:?}");
    }
}

#[test]
fn the_top_via_is_completed_from_the_source() {
    let completed = |via: &str, source: &str| completed_via(via, source.parse().unwrap());
    assert_eq!(
        completed("SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9", "192.0.2.1:40000").unwrap(),
        "SIP/2.0/UDP 10.0.0.1:5060;branch=z9;rport=40000;received=192.0.2.1"
    );
    assert_eq!(
        completed(
            "SIP/2.0/UDP 192.0.2.1;branch=z9;rport=1;received=9.9.9.9, SIP/2.0/UDP b",
            "192.0.2.1:5060"
        )
        .unwrap(),
        "SIP/2.0/UDP 192.0.2.1;branch=z9;rport=5060;received=192.0.2.1, SIP/2.0/UDP b"
    );
    assert_eq!(
        completed("SIP/2.0/UDP 10.0.0.1;branch=z9", "[::ffff:192.0.2.1]:5060").unwrap(),
        "SIP/2.0/UDP 10.0.0.1;branch=z9;received=192.0.2.1"
    );
    assert_eq!(completed("SIP/2.0/UDP 192.0.2.1:5060;branch=z9", "192.0.2.1:5060"), None);
    assert_eq!(completed("SIP/2.0/UDP [2001:db8::1]:5060;branch=z9", "[2001:db8::1]:5060"), None);
}

#[test]
fn a_contact_may_say_how_long() {
    let expires =
        |contact: &str| altered("Contact: <sip:34020000001320000001@192.0.2.20:5060>", contact).expires();
    assert_eq!(expires("Contact: <sip:a@b>;expires=60"), Some(60));
    assert_eq!(expires("Contact: <sip:a@b>;q=0.5;Expires=\"60\", <sip:c@d>;expires=70"), Some(60));
    assert_eq!(expires("Contact: <sip:a@b;expires=60>"), Some(3600));
    assert_eq!(expires("Contact: <sip:a@b>;expires=x"), Some(3600));
    assert_eq!(expires("Contact: *"), Some(3600));
    assert_eq!(expires("Contact: <sip:a@b>;expires=99999999999"), Some(u32::MAX));
    assert!(altered("Contact: <sip:34020000001320000001@192.0.2.20:5060>", "m: *").contact().is_none());
}

#[test]
fn lists_are_cut_outside_quotes_and_brackets() {
    let list = r#""a,b" <sip:a,b@c>;x="1,2" ,  , <sip:d@e>"#;
    let message = Message::request(Method::Info, "sip:a").with("Contact", list).with("m", "<sip:f@g>");
    assert_eq!(
        message.elements("Contact").collect::<Vec<_>>(),
        [r#""a,b" <sip:a,b@c>;x="1,2""#, "<sip:d@e>", "<sip:f@g>"]
    );
}

#[test]
fn folding_stays_cheap() {
    // Each of these made a reader that looks back quadratic.
    let blank = format!("Subject: x\r\n{}", " \r\n".repeat(20_000));
    let filled = format!("Subject: x\r\n{}", " y\r\n".repeat(15_000));
    for fold in [blank, filled] {
        let text = REGISTER.replace("Max-Forwards", &format!("{fold}Max-Forwards"));
        let message = parse(text).unwrap();
        assert_register(&message);
        assert!(message.header("s").unwrap().starts_with('x'));
    }
}

prop_compose! {
    fn address_text()(
        display in prop_oneof![Just(""), Just("Gate "), Just("\"x\" ")],
        user in proptest::option::of("[0-9]{1,20}"),
        host in "[a-z0-9][a-z0-9.-]{0,12}",
        port in proptest::option::of(any::<u16>()),
        transport in proptest::option::of(Just(";transport=tcp")),
        tag in proptest::option::of("[a-zA-Z0-9.-]{1,12}"),
    ) -> String {
        let user = user.map(|user| user + "@").unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let tag = tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        format!("{display}<sip:{user}{host}{port}{}>{tag}", transport.unwrap_or_default())
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_change_of_a_message_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = REGISTER.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(message) = parse(&bytes) {
            let written = message.to_bytes();
            let again = Message::parse(&written);
            prop_assert!(again.is_ok(), "{again:?}: {written:?}");
            prop_assert_eq!(again.unwrap().to_bytes(), written);
            let _ = (message.contact(), message.expires(), message.response(200).with_to_tag("a").to_bytes());
        }
    }

    #[test]
    fn what_is_written_is_read(
        fields in proptest::collection::vec(("[A-Za-z-]{2,12}", "[ -~é门]{0,40}"), 0..12),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut message = parse(REGISTER).unwrap();
        for (name, value) in &fields {
            message = message.with(&format!("X-{name}"), value.as_str());
        }
        message = message.with_body("application/octet-stream", Bytes::from(body.clone()));
        let again = Message::parse(&message.to_bytes()).unwrap();
        prop_assert_eq!(&again.body, &body);
        for (name, _) in &fields {
            let name = format!("X-{name}");
            let was: Vec<_> = message.headers(&name).map(str::trim).collect();
            prop_assert_eq!(was, again.headers(&name).collect::<Vec<_>>());
        }
        assert_register(&{ let mut bare = again; bare.body = Bytes::new(); bare });
    }

    /// Where both readers understand a value, they understand the same.
    #[test]
    fn the_readers_agree(address in address_text(), branch in "[a-zA-Z0-9]{1,12}") {
        let lenient = Address::parse(&address);
        prop_assert!(lenient.is_some());
        if let Some(strict) = strict_address(&address) {
            prop_assert_eq!(Some(strict), lenient);
        }
        let uri = address.split_once('<').unwrap().1.split_once('>').unwrap().0;
        prop_assert_eq!(strict_uri(uri), Uri::parse(uri));
        let via = format!("SIP/2.0/UDP {};rport;branch={branch}", uri.trim_start_matches("sip:").replace('@', "."));
        let via = via.replace(";transport=tcp", "");
        prop_assert_eq!(strict_via(&via), Via::parse(&via));
        prop_assert!(strict_via(&via).is_some());
    }
}
