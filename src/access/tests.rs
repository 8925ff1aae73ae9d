use std::net::IpAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::attempts::{MAX_ADDRESSES, MAX_FAILURES, WINDOW};
use super::guard::{MAX_SESSIONS, SESSION};
use super::*;

/// Any moment; the guard only compares them.
#[expect(clippy::disallowed_methods, reason = "an Instant can be had in no other way")]
fn start() -> Instant {
    Instant::now()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn from(peer: &str) -> Caller {
    Caller::new(address(peer), Some("gw.example:8080"), None, &[])
}

fn basic(password: &str) -> Credentials {
    Credentials::Basic { user: "admin".into(), password: password.into() }
}

fn reason(outcome: Result<Principal, Denied>) -> Reason {
    outcome.unwrap_err().reason
}

#[test]
fn without_a_password_only_this_machine_is_served_by_its_own_name() {
    for mut guard in [Guard::new(None), Guard::new(Some(""))] {
        for (peer, host, origin, expected) in [
            ("127.0.0.1", Some("localhost:8080"), None, None),
            ("127.0.0.1", Some("127.0.0.1:8080"), Some("http://127.0.0.1:8080"), None),
            ("::1", Some("[::1]:8080"), None, None),
            ("::ffff:127.0.0.1", Some("LocalHost"), None, None),
            ("127.0.0.1", Some("127.0.0.1:8080"), Some("https://trusted.example"), None),
            ("192.0.2.1", Some("localhost"), None, Some(Reason::NotLoopback)),
            ("127.0.0.1", Some("evil.example"), None, Some(Reason::NotLoopback)),
            ("127.0.0.1", None, None, Some(Reason::NotLoopback)),
            ("127.0.0.1", Some("127.0.0.1:8080"), Some("http://evil.example"), Some(Reason::ForeignOrigin)),
            ("127.0.0.1", Some("127.0.0.1:8080"), Some("http://127.0.0.1:9"), Some(Reason::ForeignOrigin)),
            ("127.0.0.1", Some("127.0.0.1:8080"), Some("null"), Some(Reason::ForeignOrigin)),
        ] {
            let caller = Caller::new(address(peer), host, origin, &["https://trusted.example".into()]);
            let outcome = guard.authorise(&Credentials::None, &caller, start());
            assert_eq!(outcome.err().map(|denied| denied.reason), expected, "{peer} {host:?} {origin:?}");
        }
        assert_eq!(guard.may_listen(address("127.0.0.1")), Ok(()));
        assert_eq!(guard.may_listen(address("::1")), Ok(()));
        assert!(
            guard
                .may_listen(address("0.0.0.0"))
                .unwrap_err()
                .to_string()
                .contains("bootstrap_admin_password")
        );
        let login = guard.login("admin", "", &from("127.0.0.1"), [0; 32], start());
        assert_eq!(login.err().map(|denied| denied.reason), Some(Reason::NoPassword));
    }
}

#[test]
fn hosts_that_name_this_machine() {
    for host in ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:80"] {
        assert!(host_is_loopback(host), "{host}");
    }
    for host in [
        "",
        ":",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "evil",
        "10.0.0.1",
        "[::2]",
        "[",
        "[]",
        "localhost:x",
        "127.0.0.1:80:80",
        "::1",
    ] {
        assert!(!host_is_loopback(host), "{host}");
    }
}

#[test]
fn with_a_password_everybody_signs_in() {
    let mut guard = Guard::new(Some("correct horse"));
    let now = start();
    let local = Caller::new(address("127.0.0.1"), Some("localhost"), None, &[]);
    assert_eq!(guard.may_listen(address("0.0.0.0")), Ok(()));
    assert_eq!(reason(guard.authorise(&Credentials::None, &local, now)), Reason::SignInRequired);
    assert_eq!(reason(guard.authorise(&basic("wrong"), &local, now)), Reason::WrongPassword);
    assert_eq!(reason(guard.authorise(&basic(""), &local, now)), Reason::WrongPassword);
    let root = Credentials::Basic { user: "root".into(), password: "correct horse".into() };
    assert_eq!(reason(guard.authorise(&root, &local, now)), Reason::WrongPassword);

    let principal = guard.authorise(&basic("correct horse"), &from("192.0.2.1"), now).unwrap();
    assert_eq!(principal, Principal { user: "admin".into(), role: Role::Admin });
    let foreign = Caller { foreign_origin: true, ..local };
    assert_eq!(reason(guard.authorise(&basic("correct horse"), &foreign, now)), Reason::ForeignOrigin);
}

#[test]
fn a_session_lasts_until_it_expires_or_is_ended() {
    let mut guard = Guard::new(Some("secret"));
    let (caller, now) = (from("192.0.2.1"), start());
    let login = guard.login("admin", "secret", &caller, [7; 32], now).unwrap();
    assert_eq!((login.token.len(), login.expires_in), (43, SESSION));
    let bearer = Credentials::Bearer(login.token.clone());
    let query = Credentials::QueryToken(login.token.clone());
    let foreign = Caller { foreign_origin: true, ..caller };
    for credentials in [&bearer, &query] {
        assert_eq!(guard.authorise(credentials, &caller, now + SESSION / 2), Ok(login.principal.clone()));
        assert!(guard.authorise(credentials, &foreign, now).is_ok(), "a token is not sent unasked");
        assert_eq!(reason(guard.authorise(credentials, &caller, now + SESSION)), Reason::UnknownToken);
    }
    let guess = Credentials::Bearer("guess".into());
    assert_eq!(reason(guard.authorise(&guess, &caller, now)), Reason::UnknownToken);
    assert!(guard.logout(&login.token));
    assert!(!guard.logout(&login.token));
    assert_eq!(reason(guard.authorise(&bearer, &caller, now)), Reason::UnknownToken);
}

#[test]
fn sessions_are_bounded_and_the_oldest_goes() {
    let mut guard = Guard::new(Some("secret"));
    let (caller, now) = (from("192.0.2.1"), start());
    let mut tokens = Vec::new();
    for n in 0..=MAX_SESSIONS {
        let mut random = [0; 32];
        random[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let at = now + Duration::from_secs(n as u64);
        tokens.push(guard.login("admin", "secret", &caller, random, at).unwrap().token);
    }
    assert_eq!(guard.sessions(), MAX_SESSIONS);
    let known = |guard: &mut Guard, token: &str| {
        guard.authorise(&Credentials::Bearer(token.into()), &caller, now).is_ok()
    };
    assert!(!known(&mut guard, &tokens[0]));
    assert!(known(&mut guard, &tokens[1]) && known(&mut guard, &tokens[MAX_SESSIONS]));
    let later = now + SESSION * 2;
    guard.login("admin", "secret", &caller, [255; 32], later).unwrap();
    assert_eq!(guard.sessions(), 1, "those that ended make room first");
}

#[test]
fn guessing_is_slowed_down_by_address() {
    let mut guard = Guard::new(Some("secret"));
    let (caller, now) = (from("192.0.2.1"), start());
    let token = guard.login("admin", "secret", &caller, [7; 32], now).unwrap().token;
    for _ in 0..MAX_FAILURES {
        assert_eq!(reason(guard.authorise(&basic("guess"), &caller, now)), Reason::WrongPassword);
    }
    let later = now + WINDOW / 4;
    let denied = guard.login("admin", "secret", &caller, [8; 32], later).err().unwrap();
    assert_eq!(denied, Denied { reason: Reason::TooManyAttempts, retry_after: Some(WINDOW - WINDOW / 4) });
    assert_eq!(reason(guard.authorise(&basic("secret"), &caller, later)), Reason::TooManyAttempts);
    assert!(guard.authorise(&Credentials::Bearer(token), &caller, later).is_ok(), "sessions go on");
    assert!(guard.authorise(&basic("secret"), &from("192.0.2.2"), later).is_ok(), "others are not concerned");
    assert!(guard.authorise(&basic("secret"), &caller, now + WINDOW).is_ok());

    for _ in 0..3 {
        for _ in 1..MAX_FAILURES {
            assert_eq!(reason(guard.authorise(&basic("guess"), &caller, later)), Reason::WrongPassword);
        }
        assert!(guard.authorise(&basic("secret"), &caller, later).is_ok(), "success clears the count");
    }
}

#[test]
fn failures_of_many_addresses_are_remembered_within_bounds() {
    let mut guard = Guard::new(Some("secret"));
    let now = start();
    for n in 0..MAX_ADDRESSES as u32 + 10 {
        let caller = from(&std::net::Ipv4Addr::from_bits(n).to_string());
        let _ = guard.authorise(&basic("guess"), &caller, now + Duration::from_millis(n.into()));
    }
    assert_eq!(guard.attempts.len(), MAX_ADDRESSES);

    // All of an IPv6 network are one; a mapped IPv4 address is itself.
    let mut guard = Guard::new(Some("secret"));
    for n in 0..MAX_FAILURES {
        let _ = guard.authorise(&basic("guess"), &from(&format!("2001:db8::{n:x}")), now);
        let _ = guard.authorise(&basic("guess"), &from("::ffff:192.0.2.1"), now);
    }
    assert_eq!(guard.attempts.len(), 2);
    assert_eq!(
        reason(guard.authorise(&basic("guess"), &from("2001:db8::ffff"), now)),
        Reason::TooManyAttempts
    );
    assert_eq!(reason(guard.authorise(&basic("guess"), &from("192.0.2.1"), now)), Reason::TooManyAttempts);
}

#[test]
fn headers_are_read_leniently_and_refused_clearly() {
    let header = |text: &str| Credentials::parse(Some(text), Some("query"));
    let pair = |user: &str, password: &str| {
        Ok(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
    };
    assert_eq!(header("Basic YWRtaW46c2VjcmV0"), pair("admin", "secret"));
    assert_eq!(header("  bAsIc   YTpi "), pair("a", "b"));
    assert_eq!(header("Basic YTpiOmM="), pair("a", "b:c"));
    assert_eq!(header("Basic YTpiOmM"), pair("a", "b:c"), "without padding");
    assert_eq!(header("Basic Og=="), pair("", ""));
    assert_eq!(header("Bearer abc"), Ok(Credentials::Bearer("abc".into())));
    let long = format!("Bearer {}", "a".repeat(5_000));
    for text in
        ["", "Basic", "Basic ", "Basic !", "Basic YQ==", "Basic /w==", "Basic YTpiCg==", "Digest a=b", &long]
    {
        assert_eq!(header(text), Err(Reason::Malformed), "{text}");
    }
    assert_eq!(Credentials::parse(None, Some("t")), Ok(Credentials::QueryToken("t".into())));
    assert_eq!(Credentials::parse(None, Some("")), Ok(Credentials::None));
    assert_eq!(Credentials::parse(None, None), Ok(Credentials::None));
    assert_eq!(Credentials::parse(None, Some(&long)), Err(Reason::Malformed));
    for credentials in
        [header("Basic YWRtaW46c2VjcmV0"), header("Bearer secret"), Credentials::parse(None, Some("secret"))]
    {
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}

proptest! {
    #[test]
    fn what_a_client_encodes_is_what_is_read(user in "[^:\\p{C}]{0,20}", password in "[^\\p{C}]{0,20}") {
        let header = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        prop_assert_eq!(Credentials::parse(Some(&header), None), Ok(Credentials::Basic { user, password }));
    }

    #[test]
    fn nothing_makes_it_panic(header in ".{0,60}", host in ".{0,30}", origin in ".{0,30}") {
        let _ = Credentials::parse(Some(&header), None);
        let _ = Credentials::parse(Some(&format!("Basic {header}")), None);
        let _ = Caller::new(address("127.0.0.1"), Some(&host), Some(&origin), &[]);
    }
}
