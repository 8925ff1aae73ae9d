//! How devices come in and stay: hashes of the digest, passwords, redirection, nonces, keepalives, NAT, connections,
//! restarts, and requests that are too long for a datagram.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, CHANNEL, Gateway, PASSWORD, PLATFORM};
use support::player::Player;
use support::sip::{Credentials, Device, ELSEWHERE, LOOPBACK, Line, Sip};
use support::until;
use support::wild::{Hash, authorization, has_channels, nonce, register_as, simulate, udp_and_tcp};
use tokio::net::TcpListener;
use tokio::time::timeout;

const SECOND: &str = "34020000001320000002";
const THIRD: &str = "34020000001320000003";
/// Another platform.
const OTHER: &str = "34020000002000000002";

/// The path of a device in the API.
fn path(id: &str) -> String {
    format!("/api/v1/devices/{id}")
}

async fn edit(gateway: &Gateway, id: &str, change: Value) -> Value {
    let edited = gateway.tell(Method::PATCH, &path(id), &change).await;
    assert_eq!(edited.status.as_u16(), 200, "{change}: {}", edited.text);
    edited.json()
}

async fn add(gateway: &Gateway, device: Value) {
    let added = gateway.tell(Method::POST, "/api/v1/devices", &device).await;
    assert_eq!(added.status.as_u16(), 201, "{}", added.text);
}

async fn failures(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric("gbgate_auth_failures_total", reason).await
}

fn is_stale(answer: &Sip) -> bool {
    answer.code() == 401 && answer.parameter("www-authenticate", "stale").as_deref() == Some("true")
}

#[test]
fn the_hashes_of_these_tests_are_right() {
    // "abc", as in RFC 1321, FIPS 180 and GB/T 32905.
    assert_eq!(Hash::Md5.of("abc"), "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(Hash::Sha256.of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(Hash::Sm3.of("abc"), "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");
}

#[tokio::test]
async fn the_hash_of_a_challenge_is_set_for_each_device() {
    let gateway = Gateway::start(&[]).await;
    for (id, hash, name) in [(SECOND, Hash::Sha256, "sha-256"), (THIRD, Hash::Sm3, "sm3")] {
        add(&gateway, json!({ "id": id, "password": "its own", "overrides": { "digest": name } })).await;
        let mut device = Device::udp(&gateway, id).await;
        let challenge = device.try_register(3600, None).await;
        assert_eq!(challenge.parameter("www-authenticate", "algorithm").as_deref(), Some(hash.name()));
        // The right password by a hash that was not asked for proves nothing, and is asked for once more.
        let before = failures(&gateway, "reason=\"unsupported\"").await;
        let md5 = authorization(id, &nonce(&challenge), "its own", Hash::Md5, Some(1));
        let refused = device.request("REGISTER", &format!("Expires: 3600\r\n{md5}"), b"").await;
        assert_eq!(refused.code(), 401, "{refused:?}");
        assert!(!is_stale(&refused), "{refused:?}");
        assert_eq!(failures(&gateway, "reason=\"unsupported\"").await, before + 1.0);
        assert_eq!(gateway.get(&path(id)).await["online"], false);
        // The right hash of a wrong password.
        assert_eq!(register_as(&mut device, "another", hash).await.code(), 403);
        assert_eq!(register_as(&mut device, "its own", hash).await.code(), 200);
        gateway.device_online(id, true).await;
        // Without qop, as clients of RFC 2069 do.
        let fresh = nonce(&device.try_register(3600, None).await);
        let old = authorization(id, &fresh, "its own", hash, None);
        assert_eq!(device.request("REGISTER", &format!("Expires: 3600\r\n{old}"), b"").await.code(), 200);
    }

    // A device that is here already: what is set holds from its next challenge on, and takes nothing away.
    let mut device = Device::registered(&gateway, CAMERA).await;
    let edited = edit(&gateway, CAMERA, json!({ "overrides": { "digest": "sha-256" } })).await;
    assert_eq!(edited["overrides"], json!({ "digest": "sha-256" }));
    assert_eq!(device.keepalive().await.code(), 200);
    assert_eq!(register_as(&mut device, PASSWORD, Hash::Md5).await.code(), 401);
    assert_eq!(register_as(&mut device, PASSWORD, Hash::Sha256).await.code(), 200);
    // And back.
    edit(&gateway, CAMERA, json!({ "overrides": null })).await;
    assert_eq!(register_as(&mut device, PASSWORD, Hash::Sha256).await.code(), 401);
    assert_eq!(register_as(&mut device, PASSWORD, Hash::Md5).await.code(), 200);

    let unknown = json!({ "overrides": { "digest": "sha-1" } });
    let refused = gateway.tell(Method::PATCH, &path(CAMERA), &unknown).await;
    assert_eq!(refused.status.as_u16(), 422, "{}", refused.text);
}

#[tokio::test]
async fn simulated_devices_know_all_three_hashes() {
    let gateway = Gateway::start(&[]).await;
    let ids = [(CAMERA, "md5"), (SECOND, "sha-256"), (THIRD, "sm3")];
    for (id, name) in ids {
        add(&gateway, json!({ "id": id, "overrides": { "digest": name } })).await;
    }
    let fleet = simulate(&gateway, "udp", &["--first-id", CAMERA, "--devices", "3"]);
    for (id, _) in ids {
        gateway.device_online(id, true).await;
    }
    assert_eq!(failures(&gateway, "").await, 0.0);
    drop(fleet);
    // One that knows nothing but MD5 stays out.
    let old = simulate(&gateway, "udp", &["--first-id", SECOND, "--quirks", "md5-only"]);
    until("its refusal", async || {
        let challenges =
            gateway.metric("gbgate_sip_messages_total", "method=\"REGISTER\",code=\"401\"").await;
        // Three of the fleet, three as it took its leave.
        if challenges >= 7.0 { Ok(()) } else { Err(challenges.to_string()) }
    })
    .await;
    assert_eq!(gateway.get(&path(SECOND)).await["online"], false);
    drop(old);
}

#[tokio::test]
async fn each_device_may_have_a_password_of_its_own() {
    let gateway = Gateway::start(&[]).await;
    add(&gateway, json!({ "id": CAMERA, "password": "first secret" })).await;
    add(&gateway, json!({ "id": SECOND, "password": "second secret" })).await;
    let mut first = Device::udp(&gateway, CAMERA).await;
    let mut second = Device::udp(&gateway, SECOND).await;
    // Neither the common one nor another's.
    assert_eq!(register_as(&mut first, PASSWORD, Hash::Md5).await.code(), 403);
    assert_eq!(register_as(&mut first, "second secret", Hash::Md5).await.code(), 403);
    assert_eq!(failures(&gateway, "reason=\"wrong_password\"").await, 2.0);
    assert_eq!(gateway.get(&path(CAMERA)).await["online"], false);
    assert_eq!(register_as(&mut first, "first secret", Hash::Md5).await.code(), 200);
    assert_eq!(register_as(&mut second, "second secret", Hash::Md5).await.code(), 200);
    // A device without one has the common one.
    let mut third = Device::udp(&gateway, THIRD).await;
    assert_eq!(third.register(3600).await.code(), 200);

    // Changed, it counts from the next REGISTER on; nobody is thrown out, and it is shown nowhere.
    let edited = edit(&gateway, CAMERA, json!({ "password": "a new one" })).await;
    assert!(!edited.to_string().contains("a new one"), "{edited}");
    assert_eq!(first.keepalive().await.code(), 200);
    assert_eq!(register_as(&mut first, "first secret", Hash::Md5).await.code(), 403);
    assert_eq!(register_as(&mut first, "a new one", Hash::Md5).await.code(), 200);
    edit(&gateway, CAMERA, json!({ "password": null })).await;
    assert_eq!(register_as(&mut first, PASSWORD, Hash::Md5).await.code(), 200);
}

#[tokio::test]
async fn without_a_common_password_strangers_leave_no_trace() {
    let gateway = Gateway::start(&[("sip.password", "")]).await;
    add(&gateway, json!({ "id": CAMERA, "password": "its own" })).await;
    add(&gateway, json!({ "id": SECOND })).await;
    let mut known = Device::udp(&gateway, CAMERA).await;
    assert_eq!(register_as(&mut known, "its own", Hash::Md5).await.code(), 200);
    // Known, yet nobody gave it a password: an empty one is none.
    let mut poor = Device::udp(&gateway, SECOND).await;
    assert_eq!(poor.try_register(3600, None).await.code(), 403);
    let empty = authorization(SECOND, "0123456789abcdef", "", Hash::Md5, Some(1));
    assert_eq!(poor.request("REGISTER", &format!("Expires: 3600\r\n{empty}"), b"").await.code(), 403);
    assert_eq!(failures(&gateway, "reason=\"no_password\"").await, 2.0);
    // They stay, so that each has its own port.
    let mut strangers = Vec::new();
    for number in 0..50 {
        let mut stranger = Device::udp(&gateway, &format!("340200000013200009{number:02}")).await;
        assert_eq!(stranger.try_register(3600, None).await.code(), 403);
        strangers.push(stranger);
    }
    assert_eq!(failures(&gateway, "reason=\"unknown_device\"").await, 50.0);
    assert_eq!(gateway.get("/api/v1/devices").await["total"], 2);
    assert_eq!(gateway.metric("gbgate_registrations", "").await, 1.0);
    // With a password it is let in at once, without a restart.
    edit(&gateway, SECOND, json!({ "password": "given" })).await;
    assert_eq!(register_as(&mut poor, "given", Hash::Md5).await.code(), 200);
}

/// The address that a 302 names, without its brackets.
fn redirected(answer: &Sip) -> String {
    assert_eq!(answer.code(), 302, "{answer:?}");
    answer.header("contact").trim_start_matches('<').split('>').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_device_of_2022_is_sent_elsewhere_and_an_older_one_stays() {
    let there = Gateway::start(&[("platform.id", OTHER)]).await;
    let here = Gateway::start(&[]).await;
    let to = format!("sip:{OTHER}@{}", there.listen().sip_udp);
    for id in [CAMERA, SECOND, THIRD] {
        add(&here, json!({ "id": id })).await;
        edit(&here, id, json!({ "redirect": to })).await;
    }
    let mut new = Device::udp(&here, CAMERA).await;
    new.extra = "X-GB-Ver: 3.0\r\n".to_owned();
    // Who has not proven who it is learns of nothing.
    let challenge = new.try_register(3600, None).await;
    assert_eq!((challenge.code(), challenge.header("contact")), (401, ""), "{challenge:?}");
    assert_eq!(register_as(&mut new, "wrong", Hash::Md5).await.code(), 403);
    let sent = new.register(3600).await;
    assert_eq!(redirected(&sent), to);
    assert_eq!(sent.header("expires"), "3600", "{sent:?}");
    assert_eq!(sent.header("x-gb-ver"), "3.0", "{sent:?}");
    let state = here.get(&path(CAMERA)).await;
    assert_eq!((&state["online"], &state["registered_at"]), (&json!(false), &Value::Null), "{state}");
    // It follows.
    new.line.follow(&there);
    assert_eq!(new.register(3600).await.code(), 200);
    there.device_online(CAMERA, true).await;

    // 2016 does not know of it, and neither does who says nothing.
    for (id, extra) in [(SECOND, "X-GB-Ver: 2.0\r\n"), (THIRD, "")] {
        let mut old = Device::udp(&here, id).await;
        old.extra = extra.to_owned();
        assert_eq!(old.register(3600).await.code(), 200, "{extra}");
        here.device_online(id, true).await;
    }
    assert_eq!(there.get("/api/v1/devices").await["total"], 1);

    // Taken back, it may stay.
    edit(&here, CAMERA, json!({ "redirect": null })).await;
    new.line.follow(&here);
    assert_eq!(new.register(3600).await.code(), 200);
    // A place that is none.
    for nonsense in ["127.0.0.1:5060", "sip:no id@127.0.0.1:5060", "sip:34020000002000000002@127.0.0.1"] {
        let refused = here.tell(Method::PATCH, &path(CAMERA), &json!({ "redirect": nonsense })).await;
        assert_eq!(refused.status.as_u16(), 422, "{nonsense}: {}", refused.text);
    }
}

#[tokio::test]
async fn a_whole_platform_sends_its_devices_elsewhere() {
    let there = Gateway::start(&[("platform.id", OTHER)]).await;
    let to = format!("sip:{OTHER}@{}", there.listen().sip_udp);
    let here = Gateway::start(&[("sip.redirect", &to)]).await;
    let new = simulate(&here, "udp", &["--edition", "2022", "--first-id", CAMERA]);
    let old = simulate(&here, "udp", &["--edition", "2016", "--first-id", SECOND]);
    has_channels(&there, CAMERA, 1).await;
    has_channels(&here, SECOND, 1).await;
    assert_eq!(here.get("/api/v1/node").await["load"]["registrations"], 1);
    assert_eq!(there.get("/api/v1/node").await["load"]["registrations"], 1);
    drop((new, old));
    // Where the target is the platform itself, nobody goes round in circles.
    edit(&here, SECOND, json!({ "redirect": format!("sip:{PLATFORM}@{}", here.listen().sip_udp) })).await;
    let mut round = Device::udp(&here, SECOND).await;
    round.extra = "X-GB-Ver: 3.0\r\n".to_owned();
    assert_eq!(round.register(3600).await.code(), 200);
}

#[tokio::test]
async fn a_repeated_count_is_stale_and_no_failed_sign_in() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    let mut used = Credentials::answering(&device.try_register(3600, None).await);
    assert_eq!(device.try_register(3600, Some(&used)).await.code(), 200);
    // As often as it likes; the registration stays as it is.
    for _ in 0..20 {
        assert!(is_stale(&device.try_register(3600, Some(&used)).await));
    }
    // A count that was passed over is no better than a repeated one, and a greater one is new.
    used.count = Some(9);
    assert_eq!(device.try_register(3600, Some(&used)).await.code(), 200);
    assert!(is_stale(&device.try_register(3600, Some(&used)).await));
    // With a wrong password the same nonce is a failed sign-in indeed.
    let wrong = Credentials { password: "wrong".to_owned(), count: Some(10), ..used.clone() };
    assert_eq!(failures(&gateway, "").await, 0.0);
    assert_eq!(device.try_register(3600, Some(&wrong)).await.code(), 403);
    assert_eq!(failures(&gateway, "").await, 1.0);
    // Nor does a wrong guess use a count up: the device goes on.
    used.count = Some(10);
    assert_eq!(device.try_register(3600, Some(&used)).await.code(), 200);
    gateway.device_online(CAMERA, true).await;

    // A simulated device that does so at every refresh is never away.
    let odd = simulate(
        &gateway,
        "udp",
        &["--first-id", SECOND, "--quirks", "old-nonce,register-often", "--keepalive", "1"],
    );
    until("some refreshes with an old nonce", async || {
        let stale = gateway.metric("gbgate_sip_messages_total", "method=\"REGISTER\",code=\"401\"").await;
        if stale >= 30.0 { Ok(()) } else { Err(stale.to_string()) }
    })
    .await;
    gateway.device_online(SECOND, true).await;
    assert_eq!(failures(&gateway, "").await, 1.0);
    drop(odd);
}

#[tokio::test]
async fn keepalives_are_expected_as_each_device_has_it() {
    let settings = [("sip.keepalive.interval", "5s"), ("sip.keepalive.misses", "1")];
    let gateway = Gateway::start(&settings).await;
    let began = Instant::now();
    let devices = [CAMERA, SECOND, THIRD];
    let mut lines = Vec::new();
    for id in devices {
        lines.push(Device::registered(&gateway, id).await);
    }
    edit(&gateway, SECOND, json!({ "keepalive": { "interval": 5, "misses": 2 } })).await;
    let edited = edit(&gateway, THIRD, json!({ "keepalive": { "interval": 3600, "misses": 3 } })).await;
    assert_eq!(edited["keepalive"], json!({ "interval": 3600, "misses": 3 }));
    for (keepalive, why) in [
        (json!({ "interval": 0, "misses": 3 }), "interval"),
        (json!({ "interval": 60, "misses": 0 }), "misses"),
    ] {
        let refused = gateway.tell(Method::PATCH, &path(THIRD), &json!({ "keepalive": keepalive })).await;
        assert_eq!(refused.status.as_u16(), 422, "{}", refused.text);
        assert!(refused.text.contains(why), "{}", refused.text);
    }
    // The first by the common settings, the second after twice that, the third not at all.
    gateway.device_online(CAMERA, false).await;
    assert!(began.elapsed() >= Duration::from_secs(5), "after {:?}", began.elapsed());
    assert_eq!(gateway.get(&path(SECOND)).await["online"], true);
    gateway.device_online(SECOND, false).await;
    assert!(began.elapsed() >= Duration::from_secs(10), "after {:?}", began.elapsed());
    assert_eq!(gateway.get(&path(THIRD)).await["online"], true);
    // Their registrations go on: a keepalive is enough.
    for device in &mut lines {
        assert_eq!(device.keepalive().await.code(), 200);
        gateway.device_online(&device.id, true).await;
    }
}

/// Asks the device to move by the API; the request that the device gets. Its first questions are left behind.
async fn asked_by_people(gateway: &Gateway, device: &mut Device) -> Sip {
    let ptz = format!("/api/v1/devices/{}/channels/{}/ptz", device.id, device.id);
    let motion = json!({ "pan": 1 });
    let (answer, request) =
        tokio::join!(gateway.tell(Method::POST, &ptz, &motion), device.asked_for("<PTZCmd>"));
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    request
}

#[tokio::test]
async fn the_way_back_follows_the_last_message() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    // What a device behind a NAT says of itself is of no use; the gateway does not go by it.
    let private = |bytes: Vec<u8>, local: &str| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace(&format!("/UDP {local}"), "/UDP 192.168.1.64:5060")
            .replace(&format!("@{local}>"), "@192.168.1.64:5060>")
            .into_bytes()
    };
    let local = device.line.local().to_string();
    let first = private(device.compose("REGISTER", "Expires: 3600\r\n", b""), &local);
    let challenge = device.exchange(&first).await;
    assert_eq!(challenge.parameter("via", "received").as_deref(), Some("127.0.0.1"), "{challenge:?}");
    let proof = authorization(CAMERA, &nonce(&challenge), PASSWORD, Hash::Md5, Some(1));
    let second = private(device.compose("REGISTER", &format!("Expires: 3600\r\n{proof}"), b""), &local);
    assert_eq!(device.exchange(&second).await.code(), 200);
    let request = asked_by_people(&gateway, &mut device).await;
    assert!(request.start.contains(&format!("@{local} ")), "{request:?}");

    // The NAT gives it another port: the next sign of life is enough, and the old port hears nothing more.
    let mut moved = Device::udp(&gateway, CAMERA).await;
    assert_eq!(moved.keepalive().await.code(), 200);
    gateway.device(CAMERA, "moved", |state| state["address"] == moved.line.local().to_string()).await;
    asked_by_people(&gateway, &mut moved).await;
    let at_the_old_port = async {
        loop {
            let message = device.line.receive().await.unwrap();
            if message.text().contains("<PTZCmd>") {
                return message;
            }
        }
    };
    assert!(
        timeout(Duration::from_millis(700), at_the_old_port).await.is_err(),
        "the old port was asked, too"
    );

    // Another address could be anybody: a keepalive from there changes nothing, and a proof does.
    let mut elsewhere = Device::new(CAMERA, Line::udp(&gateway, ELSEWHERE).await);
    assert_eq!(elsewhere.keepalive().await.code(), 403);
    assert_eq!(gateway.get(&path(CAMERA)).await["address"], moved.line.local().to_string());
    assert_eq!(elsewhere.register(3600).await.code(), 200);
    gateway.device(CAMERA, "elsewhere", |state| state["address"] == elsewhere.line.local().to_string()).await;
    asked_by_people(&gateway, &mut elsewhere).await;
    assert_eq!(moved.keepalive().await.code(), 403, "the place that it left");

    // After a crash it is asked where it was last.
    gateway.kill().await;
    let gateway = Gateway::start_in(data.path(), &[]).await;
    elsewhere.line.follow(&gateway);
    asked_by_people(&gateway, &mut elsewhere).await;
}

#[tokio::test]
async fn a_device_on_tcp_is_asked_on_its_own_connection() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::tcp(&gateway, CAMERA).await;
    // Its Contact is a port where it listens: nobody is to knock there.
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let (local, listens) = (device.line.local().to_string(), listener.local_addr().unwrap().to_string());
    let told = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace(&format!("@{local}>"), &format!("@{listens}>")).into_bytes()
    };
    let first = told(device.compose("REGISTER", "Expires: 3600\r\n", b""));
    let challenge = device.exchange(&first).await;
    let proof = authorization(CAMERA, &nonce(&challenge), PASSWORD, Hash::Md5, Some(1));
    let second = told(device.compose("REGISTER", &format!("Expires: 3600\r\n{proof}"), b""));
    assert_eq!(device.exchange(&second).await.code(), 200);
    let query = device.asked_for("<CmdType>Catalog").await;
    device.page(&query, 1, &[(CHANNEL, "one")]).await;
    has_channels(&gateway, CAMERA, 1).await;
    let request = asked_by_people(&gateway, &mut device).await;
    assert!(request.header("via").starts_with("SIP/2.0/TCP "), "{request:?}");
    // A call, too: INVITE, ACK and BYE.
    let offer = Player::offer();
    let watch = gateway.whep(CAMERA, CHANNEL, &offer);
    let serve = async {
        let invite = device.invited().await;
        assert!(invite.header("via").starts_with("SIP/2.0/TCP "), "{invite:?}");
        device.answer(&invite, "486 Busy Here", "", b"").await;
        device.asked_for("ACK ").await;
    };
    let (refused, ()) = tokio::join!(watch, serve);
    refused.is_problem(502, "invite_refused", "invite");
    // Two devices may share a connection, as behind a concentrator.
    device.id = SECOND.to_owned();
    assert_eq!(device.register(3600).await.code(), 200);
    let query = device.asked_for(&format!("<DeviceID>{SECOND}")).await;
    assert!(query.start.contains(SECOND), "{query:?}");
    assert!(timeout(Duration::from_millis(300), listener.accept()).await.is_err(), "it was knocked at");

    // A new connection takes the place of the old one, whose late end then means nothing.
    let mut again = Device::tcp(&gateway, CAMERA).await;
    assert_eq!(again.register(3600).await.code(), 200);
    drop(device);
    gateway.device_online(SECOND, false).await;
    assert_eq!(gateway.get(&path(CAMERA)).await["online"], true);
    asked_by_people(&gateway, &mut again).await;
}

#[tokio::test]
async fn a_restart_asks_nobody_to_register_again() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut udp = Device::registered(&gateway, CAMERA).await;
    let query = udp.asked_for("<CmdType>Catalog").await;
    udp.page(&query, 1, &[(CHANNEL, "one")]).await;
    has_channels(&gateway, CAMERA, 1).await;
    let mut tcp = Device::tcp(&gateway, SECOND).await;
    assert_eq!(tcp.register(3600).await.code(), 200);
    let mut gone = Device::registered(&gateway, THIRD).await;
    assert_eq!(gone.register(0).await.code(), 200);
    let before = gateway.device_online(CAMERA, true).await;
    gateway.device_online(SECOND, true).await;
    gateway.kill().await;

    let gateway = Gateway::start_in(data.path(), &[]).await;
    // At once: nothing has been heard of anybody yet.
    let after = gateway.get(&path(CAMERA)).await;
    for member in ["online", "registered_at", "expires_at", "address", "channel_count"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    // What was on a connection is away until it connects, yet registered.
    let state = gateway.device_online(SECOND, false).await;
    assert!(!state["expires_at"].is_null(), "{state}");
    assert_eq!(gateway.get("/api/v1/node").await["load"]["registrations"], 2);
    udp.line.follow(&gateway);
    asked_by_people(&gateway, &mut udp).await;
    assert_eq!(udp.keepalive().await.code(), 200);
    let mut tcp = Device::tcp(&gateway, SECOND).await;
    assert_eq!(tcp.keepalive().await.code(), 200);
    gateway.device_online(SECOND, true).await;
    asked_by_people(&gateway, &mut tcp).await;
    // Who took its leave has to register.
    gone.line.follow(&gateway);
    assert_eq!(gone.keepalive().await.code(), 403);
    // Nobody was challenged, and nobody failed.
    assert_eq!(gateway.metric("gbgate_sip_messages_total", "method=\"REGISTER\"").await, 0.0);
    assert_eq!(failures(&gateway, "reason=\"wrong_password\"").await, 0.0);
}

/// A configuration whose MESSAGE does not go into 1300 bytes.
fn long_configuration() -> Value {
    let item = |number: usize| json!({ "text": "村口的摄像机".repeat(5), "x": 20, "y": 40 * number });
    let items: Vec<Value> = (1..=8).map(item).collect();
    json!({ "length": 1920, "width": 1080, "text_enable": 1, "item": items })
}

/// The device's part of a configuration: it takes it, and says what it has when it is asked again.
async fn keeps(device: &mut Device, told: &Sip) {
    let confirm = |sn: String, id: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Response>\r\n<CmdType>DeviceConfig</CmdType>\r\n<SN>{sn}</SN>\r\n\
             <DeviceID>{id}</DeviceID>\r\n<Result>OK</Result>\r\n</Response>\r\n"
        )
    };
    let body = confirm(told.element("SN"), &device.id);
    assert_eq!(device.message(body.as_bytes()).await.code(), 200);
    let asked = device.asked_for("<CmdType>ConfigDownload").await;
    let (before, after) = (b"<OSDConfig".as_slice(), b"</OSDConfig>".as_slice());
    let find = |needle: &[u8]| told.body.windows(needle.len()).position(|window| window == needle).unwrap();
    let section = &told.body[find(before)..find(after) + after.len()];
    let head = format!(
        "<?xml version=\"1.0\" encoding=\"GB18030\"?>\r\n<Response>\r\n<CmdType>ConfigDownload</CmdType>\r\n<SN>{}</SN>\r\n\
         <DeviceID>{}</DeviceID>\r\n<Result>OK</Result>\r\n",
        asked.element("SN"),
        device.id
    );
    let body = [head.as_bytes(), section, b"\r\n</Response>\r\n"].concat();
    assert_eq!(device.message(&body).await.code(), 200);
}

async fn configure(gateway: &Gateway, id: &str) {
    let set =
        gateway.tell(Method::PUT, &format!("{}/config/OSDConfig", path(id)), &long_configuration()).await;
    assert_eq!(set.status.as_u16(), 200, "{}", set.text);
    assert_eq!((&set.json()["verified"], &set.json()["ignored"]), (&json!(true), &json!([])), "{}", set.text);
}

#[tokio::test]
async fn a_long_message_goes_over_tcp_where_the_device_has_it() {
    let gateway = Gateway::start(&[]).await;
    let (mut device, listener) = udp_and_tcp(&gateway, CAMERA, LOOPBACK).await;
    device.extra = "X-GB-Ver: 3.0\r\n".to_owned();
    assert_eq!(device.register(3600).await.code(), 200);
    // What is short comes as it always did.
    device.asked_for("<CmdType>Catalog").await;
    let serve = async {
        let (stream, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip(), LOOPBACK);
        let line = Line::stream("TCP", device.line.local(), stream);
        let mut over_tcp = Device::new(CAMERA, line);
        let told = over_tcp.asked().await;
        assert!(told.start.starts_with("MESSAGE "), "{told:?}");
        assert!(told.header("via").starts_with("SIP/2.0/TCP "), "{told:?}");
        assert!(told.body.len() > 1_000, "{} bytes", told.body.len());
        over_tcp.answer(&told, "200 OK", "", b"").await;
        // The rest is between device and platform as before, by datagram.
        keeps(&mut device, &told).await;
        (device, over_tcp)
    };
    let ((), (mut device, mut over_tcp)) = tokio::join!(configure(&gateway, CAMERA), serve);
    assert_eq!(gateway.get(&path(CAMERA)).await["transport"], "udp");
    // The next one takes the connection that is there.
    let serve = async {
        let told = over_tcp.asked().await;
        over_tcp.answer(&told, "200 OK", "", b"").await;
        keeps(&mut device, &told).await;
    };
    tokio::join!(configure(&gateway, CAMERA), serve);
    assert!(timeout(Duration::from_millis(100), listener.accept()).await.is_err(), "a second connection");
}

#[tokio::test]
async fn a_long_message_goes_by_datagram_where_there_is_no_tcp() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    device.extra = "X-GB-Ver: 3.0\r\n".to_owned();
    assert_eq!(device.register(3600).await.code(), 200);
    let began = Instant::now();
    let serve = async {
        let told = device.asked_for("<CmdType>DeviceConfig").await;
        assert!(told.header("via").starts_with("SIP/2.0/UDP "), "{told:?}");
        assert!(told.body.len() > 1_000, "{} bytes", told.body.len());
        keeps(&mut device, &told).await;
    };
    tokio::join!(configure(&gateway, CAMERA), serve);
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());

    // Something listens there and does not speak SIP: the repetition goes by datagram, and so does what follows.
    let (mut device, listener) = udp_and_tcp(&gateway, SECOND, LOOPBACK).await;
    device.extra = "X-GB-Ver: 3.0\r\n".to_owned();
    assert_eq!(device.register(3600).await.code(), 200);
    for _ in 0..2 {
        let serve = async {
            let told = device.asked_for("<CmdType>DeviceConfig").await;
            assert!(told.header("via").starts_with("SIP/2.0/UDP "), "{told:?}");
            keeps(&mut device, &told).await;
        };
        tokio::join!(configure(&gateway, SECOND), serve);
    }
    drop(listener);
}
