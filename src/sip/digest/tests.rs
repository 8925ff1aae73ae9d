use super::*;
use proptest::prelude::*;
use std::time::Duration;

// A sample registration with its known digests.
const USER: &str = "34020000001320000001";
const REALM: &str = "3402000000";
const PASSWORD: &str = "Example-Pass-1";
const URI: &str = "sip:34020000002000000001@3402000000";
const PLAIN: &str = "91cf716bc695ffb791c2bc71c2856031";
const WITH_QOP: &str = "655a6982b709a7e401468f9c716772d8";

const LIFETIME: Duration = Duration::from_secs(300);

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn now() -> Instant {
    Instant::now()
}

fn challenge(qop: bool) -> Challenge {
    Challenge { qop, ..Challenge::new(REALM, "5f3c9a1be7d24460".into(), false) }
}

fn credentials(challenge: &Challenge, password: &str, nc: u32) -> Credentials<'static> {
    let value = answer(challenge, "REGISTER", URI, USER, password, nc, "0a4f113b").unwrap();
    Credentials::parse(value.leak()).unwrap()
}

fn judge(nonces: &mut Nonces, at: Instant, credentials: &Credentials<'_>) -> Verdict {
    verify(nonces, at, &DEMAND, credentials)
}

const DEMAND: Demand<'_> = Demand {
    algorithm: Algorithm::Md5,
    method: "REGISTER",
    realm: REALM,
    bind: "device",
    password: PASSWORD,
};

#[test]
fn the_vectors_come_out() {
    assert_eq!(Algorithm::Md5.hash(&[USER, REALM, PASSWORD]), "7b29a86efc13c0afc389ff36c5a15f48");
    assert_eq!(Algorithm::Md5.hash(&["REGISTER", URI]), "95fced343cf76247d3e2102931f17507");
    assert_eq!(credentials(&challenge(false), PASSWORD, 1).response, PLAIN);
    assert_eq!(credentials(&challenge(true), PASSWORD, 1).response, WITH_QOP);
    let sm3 = Challenge { algorithm: Some(Algorithm::Sm3), ..challenge(false) };
    assert_eq!(
        credentials(&sm3, PASSWORD, 1).response,
        "8539db11d172ac6ec9f71551d1875600ab0157ea0cdae2cef4d9c33abf01b675"
    );
    assert!(credentials(&sm3, PASSWORD, 1).to_string().ends_with(",algorithm=SM3"));
}

#[test]
fn the_example_of_rfc_7616_comes_out() {
    let challenge = Challenge::parse(
        "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
         nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
    )
    .unwrap();
    assert_eq!((challenge.algorithm, challenge.qop), (Some(Algorithm::Sha256), true));
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let value = answer(&challenge, "GET", "/dir/index.html", "Mufasa", "Circle of Life", 1, cnonce).unwrap();
    let read = Credentials::parse(&value).unwrap();
    assert_eq!(read.response, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    assert!(value.contains("opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""));
}

#[test]
fn credentials_are_read_as_devices_write_them() {
    let sample = format!(
        "digest  Username=\"{USER}\" , realm={REALM},nonce=\"5f3c9a1be7d24460\",\r\n uri=\"{URI}\",response=\"{PLAIN}\",\
         algorithm=\"md5\",opaque=\"\",qop="
    );
    let read = Credentials::parse(&sample).unwrap();
    assert_eq!((&*read.username, &*read.realm, &*read.uri), (USER, REALM, URI));
    assert_eq!((read.algorithm, read.qop.clone()), (Some(Algorithm::Md5), None));
    assert_eq!(read.expected(Algorithm::Md5, "REGISTER", PASSWORD).unwrap(), PLAIN);
    let escaped =
        Credentials::parse(r#"Digest username="a\"b,c",realm="",nonce="n",uri="u",response="r"#).unwrap();
    assert_eq!((&*escaped.username, &*escaped.response), ("a\"b,c", "r"));
    assert_eq!(Credentials::parse("Capability algorithm=\"A:RSA\""), Err(BadDigest::Scheme));
    assert_eq!(Credentials::parse(""), Err(BadDigest::Scheme));
    assert_eq!(Credentials::parse("Digest realm=\"r\""), Err(BadDigest::Missing("username")));
}

#[test]
fn a_challenge_is_written_and_read() {
    let asked = Challenge { stale: true, ..Challenge::new("34\"02", "n".into(), false) };
    assert_eq!(asked.to_string(), r#"Digest realm="34\"02",nonce="n",stale=true,algorithm=MD5,qop="auth""#);
    assert_eq!(Challenge::parse(&asked.to_string()), Ok(asked));
    let sample = Challenge::parse(r#"Digest realm="3402000000",nonce="5f3c9a1be7d24460""#).unwrap();
    assert_eq!((sample.algorithm, sample.qop, sample.stale), (Some(Algorithm::Md5), false, false));
    let unknown = Challenge::parse(r#"Digest realm="r",nonce="n",algorithm=SHA-512-256"#).unwrap();
    assert_eq!(answer(&unknown, "REGISTER", URI, USER, PASSWORD, 1, "c"), None);
}

#[test]
fn a_count_must_grow() {
    let mut nonces = Nonces::new([1; 32], LIFETIME, 10);
    let asked = Challenge::new(REALM, nonces.issue(now(), REALM, "device"), false);
    let at = now();
    assert_eq!(judge(&mut nonces, at, &credentials(&asked, PASSWORD, 1)), Verdict::Accepted);
    assert_eq!(judge(&mut nonces, at, &credentials(&asked, PASSWORD, 1)), Verdict::Stale);
    assert_eq!(judge(&mut nonces, at, &credentials(&asked, PASSWORD, 16)), Verdict::Accepted);
    assert_eq!(judge(&mut nonces, at, &credentials(&asked, PASSWORD, 9)), Verdict::Stale);
    assert_eq!(judge(&mut nonces, at, &credentials(&asked, "guess", 17)), Verdict::Wrong);
    let late = at + LIFETIME + Duration::from_secs(2);
    assert_eq!(judge(&mut nonces, late, &credentials(&asked, PASSWORD, 18)), Verdict::Stale);
}

#[test]
fn without_qop_a_nonce_is_good_once() {
    let mut nonces = Nonces::new([1; 32], LIFETIME, 10);
    let at = now();
    let asked = Challenge { qop: false, ..Challenge::new(REALM, nonces.issue(at, REALM, "device"), false) };
    let sent = credentials(&asked, PASSWORD, 1);
    assert_eq!(judge(&mut nonces, at, &sent), Verdict::Accepted);
    assert_eq!(judge(&mut nonces, at, &sent), Verdict::Stale);
    // Nor does a count revive it.
    let counted = credentials(&Challenge { qop: true, ..asked }, PASSWORD, 2);
    assert_eq!(judge(&mut nonces, at, &counted), Verdict::Stale);
    let next = nonces.issue(at, REALM, "device");
    assert_ne!(next, sent.nonce);
    let next = Challenge { qop: false, ..Challenge::new(REALM, next, true) };
    assert_eq!(judge(&mut nonces, at, &credentials(&next, PASSWORD, 1)), Verdict::Accepted);
}

#[test]
fn a_nonce_serves_only_whom_it_was_issued_for() {
    let mut nonces = Nonces::new([1; 32], LIFETIME, 10);
    let at = now();
    let foreign = [
        nonces.issue(at, REALM, "other device"),
        nonces.issue(at, "other realm", "device"),
        Nonces::new([2; 32], LIFETIME, 10).issue(at, REALM, "device"),
        "5f3c9a1be7d24460".to_owned(),
        "0".repeat(40),
        "é".repeat(20),
        String::new(),
    ];
    for nonce in foreign {
        let sent = credentials(&Challenge::new(REALM, nonce, false), PASSWORD, 1);
        assert_eq!(judge(&mut nonces, at, &sent), Verdict::Stale, "{}", sent.nonce);
    }
    assert_eq!(nonces.remembered(), 0, "nothing is kept for nonces that were not used");
}

#[test]
fn odd_counts_do_not_lock_a_device_out() {
    let mut nonces = Nonces::new([1; 32], LIFETIME, 10);
    let at = now();
    for nc in ["0", "00000000", "one", ""] {
        let asked = Challenge::new(REALM, nonces.issue(at, REALM, "device"), false);
        let mut sent = credentials(&asked, PASSWORD, 1);
        sent.nc = Some(nc.into());
        sent.response = sent.expected(Algorithm::Md5, "REGISTER", PASSWORD).unwrap().into();
        assert_eq!(judge(&mut nonces, at, &sent), Verdict::Accepted, "{nc}");
        assert_eq!(judge(&mut nonces, at, &sent), Verdict::Stale, "{nc}");
    }
}

#[test]
fn another_algorithm_than_asked_for_is_not_taken() {
    let mut nonces = Nonces::new([1; 32], LIFETIME, 10);
    let asked = Challenge::new(REALM, nonces.issue(now(), REALM, "device"), false);
    let sha = Challenge { algorithm: Some(Algorithm::Sha256), ..asked.clone() };
    let demand = Demand { algorithm: Algorithm::Sha256, ..DEMAND };
    let weaker = credentials(&asked, PASSWORD, 1);
    assert_eq!(verify(&mut nonces, now(), &demand, &weaker), Verdict::Unsupported);
    let right = credentials(&sha, PASSWORD, 1);
    assert_eq!(judge(&mut nonces, now(), &right), Verdict::Unsupported);
    assert_eq!(verify(&mut nonces, now(), &demand, &right), Verdict::Accepted);
}

#[test]
fn what_cannot_be_computed_is_unsupported() {
    let mut nonces = Nonces::new([1; 32], LIFETIME, 10);
    let mut sent = credentials(&challenge(true), PASSWORD, 1);
    sent.qop = Some("auth-int".into());
    assert_eq!(judge(&mut nonces, now(), &sent), Verdict::Unsupported);
    sent.qop = Some("auth".into());
    sent.cnonce = None;
    assert_eq!(judge(&mut nonces, now(), &sent), Verdict::Unsupported);
    sent.algorithm = None;
    assert_eq!(judge(&mut nonces, now(), &sent), Verdict::Unsupported);
}

#[test]
fn a_full_table_forgets_nothing_in_the_peers_favour() {
    let mut nonces = Nonces::new([1; 32], LIFETIME, 2);
    let at = now();
    let asked: Vec<_> =
        (0..4).map(|_| Challenge::new(REALM, nonces.issue(at, REALM, "device"), false)).collect();
    for challenge in &asked[1..] {
        assert_eq!(judge(&mut nonces, at, &credentials(challenge, PASSWORD, 1)), Verdict::Accepted);
    }
    assert_eq!(nonces.remembered(), 2);
    for challenge in &asked {
        assert_eq!(judge(&mut nonces, at, &credentials(challenge, PASSWORD, 1)), Verdict::Stale);
    }
    let later = at + LIFETIME + Duration::from_secs(5);
    let fresh = Challenge::new(REALM, nonces.issue(later, REALM, "device"), false);
    assert_eq!(judge(&mut nonces, later, &credentials(&fresh, PASSWORD, 1)), Verdict::Accepted);
    assert_eq!(nonces.remembered(), 1, "what is too old is not remembered");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,120}") {
        let _ = Credentials::parse(&text);
        let _ = Credentials::parse(&format!("Digest {text}"));
        let _ = Challenge::parse(&format!("Digest realm=\"a\",nonce={text}"));
    }

    #[test]
    fn both_sides_agree(
        user in "\\PC{1,20}", password in "\\PC{0,20}", realm in "\\PC{0,20}", uri in "\\PC{0,20}",
        qop in any::<bool>(), kind in 0..3_usize,
    ) {
        let mut nonces = Nonces::new([3; 32], LIFETIME, 4);
        let at = now();
        let algorithm = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sm3][kind];
        let asked = Challenge {
            qop,
            algorithm: Some(algorithm),
            ..Challenge::new(&realm, nonces.issue(at, &realm, "b"), false)
        };
        let read = Challenge::parse(&asked.to_string()).unwrap();
        let value = answer(&read, "MESSAGE", &uri, &user, &password, 1, "c").unwrap();
        let sent = Credentials::parse(&value).unwrap();
        let demand = Demand { algorithm, method: "MESSAGE", realm: &realm, bind: "b", password: &password };
        prop_assert_eq!(verify(&mut nonces, at, &demand, &sent), Verdict::Accepted);
    }
}
