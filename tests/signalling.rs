//! Devices register, live and tell of their channels: the real binary over real sockets, spoken to in text that the
//! tests make themselves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::collections::BTreeMap;

use encoding_rs::GB18030;
use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, DOMAIN, Gateway};
use support::sip::{Credentials, Device, ELSEWHERE, LOOPBACK, Line, Sip, page};
use support::{tls, until};

const FIRST: &str = "34020000001310000001";
const SECOND: &str = "34020000001310000002";
const THIRD: &str = "34020000001310000003";

#[tokio::test]
async fn registers_over_udp_and_tcp() {
    let gateway = Gateway::start(&[]).await;
    let udp = Device::udp(&gateway, CAMERA).await;
    let tcp = Device::tcp(&gateway, "34020000001180000001").await;
    for mut device in [udp, tcp] {
        let challenge = device.try_register(3600, None).await;
        assert_eq!(challenge.code(), 401, "{challenge:?}");
        assert!(challenge.header("www-authenticate").starts_with("Digest "), "{challenge:?}");
        for (name, value) in [("realm", DOMAIN), ("qop", "auth"), ("algorithm", "MD5")] {
            assert_eq!(
                challenge.parameter("www-authenticate", name).as_deref(),
                Some(value),
                "{challenge:?}"
            );
        }
        assert_eq!(challenge.parameter("www-authenticate", "stale"), None);
        assert!(challenge.parameter("to", "tag").is_some(), "{challenge:?}");
        // RFC 3581: the answer says where the request came from.
        let port = device.line.local().port().to_string();
        assert_eq!(challenge.parameter("via", "rport"), Some(port), "{challenge:?}");
        assert_eq!(challenge.parameter("via", "received").as_deref(), Some("127.0.0.1"), "{challenge:?}");

        let granted = device.try_register(3600, Some(&Credentials::answering(&challenge))).await;
        assert_eq!(granted.code(), 200, "{granted:?}");
        assert_eq!(granted.header("expires"), "3600");
        assert!(is_gb_time(granted.header("date")), "{granted:?}");
        assert_eq!(granted.header("x-gb-ver"), "", "who does not name an edition is told none");

        let state = gateway.device_online(&device.id, true).await;
        assert_eq!(state["transport"], device.line.name().to_lowercase());
        assert_eq!(state["address"], device.line.local().to_string());
        assert_eq!(state["added_by"], "registration");
        // The 200 comes after the registration was kept, and what is known of the device is asked for.
        device.asked_for("DeviceInfo").await;
        let query = device.asked_for("Catalog").await;
        assert!(query.start.starts_with(&format!("MESSAGE sip:{}@", device.id)), "{query:?}");
        assert_eq!(query.element("DeviceID"), device.id);
    }
    assert_eq!(gateway.metric("gbgate_registrations", "").await, 2.0);
}

#[tokio::test]
async fn registers_over_tls() {
    let setting = tls::setting(&format!(", client_ca: {}", tls::file("ca.pem").display()));
    let gateway = Gateway::start(&[("sip.tls", &setting)]).await;
    let node = gateway.get("/api/v1/node").await;
    let to = node["listen"]["sip_tls"].as_str().unwrap().parse().unwrap();
    let stream = tls::connect(to, true).await.unwrap();
    let local = stream.get_ref().0.local_addr().unwrap();
    let mut device = Device::new(CAMERA, Line::stream("TLS", local, stream));
    assert_eq!(device.register(3600).await.code(), 200);
    device.asked_for("Catalog").await;
    assert_eq!(device.keepalive().await.code(), 200);
    assert_eq!(gateway.device_online(CAMERA, true).await["transport"], "tls");
    drop(device);
    gateway.device_online(CAMERA, false).await;

    // With client_ca nobody gets through without a certificate. In TLS 1.3 a client hears of that after its handshake.
    if let Ok(stream) = tls::connect(to, false).await {
        let mut stranger = Line::stream("TLS", local, stream);
        assert!(stranger.receive().await.is_none());
    }
    until("the refused handshake to be counted", async || {
        let count = gateway.metric("gbgate_sip_dropped_total", "reason=\"tls_handshake\"").await;
        if count == 1.0 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
}

/// `2024-05-01T08:00:00.000`, and of now in the zone of the platform.
fn is_gb_time(text: &str) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    // Whole days and the hour tell a wrong zone; the minute in between does not matter.
    let beijing = now.as_secs() + 8 * 3600;
    let hours = [beijing - 30, beijing + 30].map(|at| format!("T{:02}:", at / 3600 % 24));
    let digits = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    digits == "0000-00-00T00:00:00.000" && hours.iter().any(|hour| text.contains(hour))
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    let challenge = device.try_register(3600, None).await;
    let wrong = Credentials { password: "87654321".to_owned(), ..Credentials::answering(&challenge) };
    assert_eq!(device.try_register(3600, Some(&wrong)).await.code(), 403);
    assert_eq!(gateway.get("/api/v1/devices").await["total"], 0, "nothing is kept of a stranger");
    assert_eq!(gateway.metric("gbgate_auth_failures_total", "reason=\"wrong_password\"").await, 1.0);
    // The same device with the right password is let in.
    assert_eq!(device.register(3600).await.code(), 200);
}

#[tokio::test]
async fn a_nonce_is_good_for_one_use_of_one_device_at_one_address() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    let mut credentials = Credentials::answering(&device.try_register(3600, None).await);
    assert_eq!(device.try_register(3600, Some(&credentials)).await.code(), 200);
    let new = stale(&device.try_register(3600, Some(&credentials)).await);
    assert_ne!(new.nonce, credentials.nonce, "a stale nonce is answered with a new one");
    // A greater count is a new use.
    credentials.count = Some(2);
    assert_eq!(device.try_register(3600, Some(&credentials)).await.code(), 200);
    // The new one of the 401 is good, too.
    assert_eq!(device.try_register(3600, Some(&new)).await.code(), 200);

    // A nonce that nobody issued.
    credentials.nonce = "0123456789abcdef0123456789abcdef01234567".to_owned();
    stale(&device.try_register(3600, Some(&credentials)).await);
    // That of another device, and that of another address.
    let fresh = Credentials::answering(&device.try_register(3600, None).await);
    let mut other = Device::udp(&gateway, "34020000001320000002").await;
    stale(&other.try_register(3600, Some(&fresh)).await);
    let mut moved = Device::new(CAMERA, Line::udp(&gateway, ELSEWHERE).await);
    stale(&moved.try_register(3600, Some(&fresh)).await);
    assert_eq!(gateway.metric("gbgate_auth_failures_total", "").await, 0.0, "none of it is a failed sign-in");
}

/// Asserts a 401 with `stale=true`; gives the credentials for its nonce.
fn stale(answer: &Sip) -> Credentials {
    assert_eq!(answer.code(), 401, "{answer:?}");
    assert_eq!(answer.parameter("www-authenticate", "stale").as_deref(), Some("true"), "{answer:?}");
    Credentials::answering(answer)
}

#[tokio::test]
async fn a_device_without_qop_registers() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    let challenge = device.try_register(3600, None).await;
    let old = Credentials { count: None, ..Credentials::answering(&challenge) };
    assert_eq!(device.try_register(3600, Some(&old)).await.code(), 200);
    stale(&device.try_register(3600, Some(&old)).await);
}

#[tokio::test]
async fn a_registration_is_refreshed_and_ended() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let first = gateway.device_online(CAMERA, true).await;
    assert_eq!(device.register(7200).await.header("expires"), "7200");
    let second =
        gateway.device(CAMERA, "refreshed", |device| device["expires_at"] != first["expires_at"]).await;
    assert_eq!(second["registered_at"], first["registered_at"], "a refresh is no new registration");
    // More than is granted is cut.
    assert_eq!(device.register(4_000_000).await.header("expires"), (7 * 86_400).to_string());

    let ended = device.register(0).await;
    assert_eq!((ended.code(), ended.header("expires")), (200, "0"));
    let gone = gateway.device_online(CAMERA, false).await;
    assert_eq!(gone["expires_at"], Value::Null);
    assert_eq!(device.keepalive().await.code(), 403, "it has to register anew");
    assert_eq!(device.register(3600).await.code(), 200);
    gateway.device_online(CAMERA, true).await;
}

#[tokio::test]
async fn a_registration_that_is_too_short_is_lengthened() {
    let gateway = Gateway::start(&[("sip.expires.min", "90s")]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    for (asked, granted) in [(89, "90"), (91, "91")] {
        let answer = device.register(asked).await;
        assert_eq!((answer.code(), answer.header("expires")), (200, granted), "{answer:?}");
    }
}

#[tokio::test]
async fn a_registration_expires() {
    let gateway = Gateway::start(&[("sip.expires.min", "1s")]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    assert_eq!(device.register(1).await.code(), 200);
    gateway.device_online(CAMERA, false).await;
    assert_eq!(device.keepalive().await.code(), 403);
}

#[tokio::test]
async fn without_a_common_password_only_known_devices_register() {
    // An empty variable counts as not set.
    let gateway = Gateway::start(&[("sip.password", "")]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    assert_eq!(device.try_register(3600, None).await.code(), 403);
    assert_eq!(gateway.metric("gbgate_auth_failures_total", "reason=\"unknown_device\"").await, 1.0);

    let new = json!({ "id": CAMERA, "name": "Gate", "password": "12345678" });
    let added = gateway.tell(Method::POST, "/api/v1/devices", &new).await;
    assert_eq!(
        (added.status.as_u16(), added.header("location")),
        (201, &*format!("/api/v1/devices/{CAMERA}"))
    );
    assert!(!added.text.contains("12345678"), "a password is never shown: {}", added.text);
    gateway.tell(Method::POST, "/api/v1/devices", &new).await.is_problem(409, "device_exists", "request");

    assert_eq!(device.register(3600).await.code(), 200);
    let state = gateway.device_online(CAMERA, true).await;
    assert_eq!((&state["name"], &state["added_by"]), (&json!("Gate"), &json!("admin")));

    // Removed, it is a stranger again.
    let removed = gateway.ask(Method::DELETE, &format!("/api/v1/devices/{CAMERA}")).await;
    assert_eq!(removed.status.as_u16(), 204);
    let missing = gateway.ask(Method::GET, &format!("/api/v1/devices/{CAMERA}")).await;
    missing.is_problem(404, "not_found", "lookup");
    assert_eq!(device.keepalive().await.code(), 404);
    assert_eq!(device.try_register(3600, None).await.code(), 403);
}

#[tokio::test]
async fn a_keepalive_counts_from_the_registered_address_alone() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    assert_eq!(device.keepalive().await.code(), 404, "nobody knows it");
    assert_eq!(device.register(3600).await.code(), 200);
    let query = device.asked_for("Catalog").await;
    device.page(&query, 1, &[(FIRST, "one")]).await;
    channels(&gateway, 1).await;
    assert_eq!(device.keepalive().await.code(), 200);
    let address = gateway.device_online(CAMERA, true).await["address"].clone();

    let mut stranger = Device::new(CAMERA, Line::udp(&gateway, ELSEWHERE).await);
    assert_eq!(stranger.keepalive().await.code(), 403);
    assert_eq!(gateway.metric("gbgate_auth_failures_total", "reason=\"other_address\"").await, 1.0);
    assert_eq!(gateway.device_online(CAMERA, true).await["address"], address);

    // A NAT that gives it another port is followed: what the gateway asks next goes there.
    let mut moved = Device::udp(&gateway, CAMERA).await;
    assert_eq!(moved.keepalive().await.code(), 200);
    let sync = async {
        let query = moved.asked_for("Catalog").await;
        moved.page(&query, 2, &[(FIRST, "one"), (SECOND, "two")]).await;
        moved
    };
    let path = format!("/api/v1/devices/{CAMERA}/catalog");
    let (answer, _) = tokio::join!(gateway.ask(Method::POST, &path), sync);
    assert_eq!(answer.json()["received"], 2, "{}", answer.text);
}

#[tokio::test]
async fn a_silent_device_is_offline_until_it_speaks() {
    let gateway = Gateway::start(&[("sip.keepalive.interval", "5s"), ("sip.keepalive.misses", "1")]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    gateway.device_online(CAMERA, true).await;
    gateway.device_online(CAMERA, false).await;
    // Its registration goes on, so a keepalive is enough.
    assert_eq!(device.keepalive().await.code(), 200);
    gateway.device_online(CAMERA, true).await;
}

#[tokio::test]
async fn a_connection_that_closes_takes_its_device_offline() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::tcp(&gateway, CAMERA).await;
    assert_eq!(device.register(3600).await.code(), 200);
    gateway.device_online(CAMERA, true).await;
    drop(device);
    gateway.device_online(CAMERA, false).await;
    let mut again = Device::tcp(&gateway, CAMERA).await;
    assert_eq!(again.keepalive().await.code(), 200);
    gateway.device_online(CAMERA, true).await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_from_memory() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    let request = device.compose("REGISTER", "Expires: 3600\r\n", b"");
    let first = device.exchange(&request).await;
    let second = device.exchange(&request).await;
    assert_eq!(first.code(), 401);
    // A new challenge would have another nonce and another tag.
    assert_eq!(first.headers, second.headers);
}

#[tokio::test]
async fn the_edition_is_told_and_learnt() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    device.extra = "X-GB-Ver: 3.0\r\n".to_owned();
    assert_eq!(device.try_register(3600, None).await.header("x-gb-ver"), "3.0");
    assert_eq!(device.register(3600).await.header("x-gb-ver"), "3.0");
    gateway.device(CAMERA, "of 2022", |device| device["edition"] == 2022).await;

    let mut old = Device::udp(&gateway, "34020000001320000002").await;
    old.extra = "X-GB-Ver: 2.0\r\n".to_owned();
    assert_eq!(old.register(3600).await.code(), 200);
    gateway.device(&old.id, "of 2016", |device| device["edition"] == 2016).await;
}

#[tokio::test]
async fn odd_spellings_of_sip_are_understood() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    // Compact names, any case, blanks before the colon, folded lines, line feeds alone.
    let request = device.compose("REGISTER", "Expires: 3600\r\n", b"");
    let request = String::from_utf8(request)
        .unwrap()
        .replace("Via: ", "v: ")
        .replace("From: ", "f : ")
        .replace("To: ", "TO:\r\n ")
        .replace("Call-ID: ", "I: ")
        .replace("Content-Length: ", "l: ")
        .replace("\r\n", "\n");
    assert_eq!(device.exchange(request.as_bytes()).await.code(), 401);
    let options = device.request("OPTIONS", "", b"").await;
    assert_eq!(options.code(), 200);
    assert!(options.header("allow").contains("REGISTER"), "{options:?}");
    assert_eq!(device.request("PUBLISH", "", b"").await.code(), 405);
}

#[tokio::test]
async fn device_information_is_taken_in() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let query = device.asked_for("DeviceInfo").await;
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Response>\r\n<CmdType>DeviceInfo</CmdType>\r\n<SN>{}</SN>\r\n\
         <DeviceID>{CAMERA}</DeviceID>\r\n<Result>OK</Result>\r\n<DeviceName>东门 & 车棚</DeviceName>\r\n\
         <Manufacturer>某厂</Manufacturer>\r\n<Model>IPC-1</Model>\r\n<Firmware>V1.2</Firmware>\r\n</Response>\r\n",
        query.element("SN")
    );
    let (body, ..) = GB18030.encode(&body);
    assert_eq!(device.message(&body).await.code(), 200);
    let state = gateway.device(CAMERA, "with a name", |device| device["name"] != "").await;
    // A bare ampersand is no XML, and is what devices send.
    assert_eq!(state["name"], "东门 & 车棚");
    assert_eq!(state["manufacturer"], "某厂");
    assert_eq!((&state["model"], &state["firmware"]), (&json!("IPC-1"), &json!("V1.2")));
}

#[tokio::test]
async fn a_catalog_comes_in_pages_of_any_order() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    // The first sync, which the gateway begins itself.
    let query = device.asked_for("Catalog").await;
    device.page(&query, 3, &[(THIRD, "three")]).await;
    device.page(&query, 3, &[(FIRST, "one"), (THIRD, "three again")]).await;
    device.page(&query, 3, &[(SECOND, "two")]).await;
    let names = channels(&gateway, 3).await;
    assert_eq!(names, named(&[(FIRST, "one"), (SECOND, "two"), (THIRD, "three")]));

    // One that is asked for: a channel that is no longer in a whole catalog goes.
    let path = format!("/api/v1/devices/{CAMERA}/catalog");
    let pages = async {
        let query = device.asked_for("Catalog").await;
        device.page(&query, 2, &[(SECOND, "two")]).await;
        device.page(&query, 2, &[(FIRST, "ein")]).await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(Method::POST, &path), pages);
    assert_eq!(answer.json(), json!({ "received": 2, "total": 2, "complete": true }));
    assert_eq!(channels(&gateway, 2).await, named(&[(FIRST, "ein"), (SECOND, "two")]));

    // One that is announced larger than it is takes nothing away.
    let pages = async {
        let query = device.asked_for("Catalog").await;
        device.page(&query, 5, &[(THIRD, "three")]).await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(Method::POST, &path), pages);
    assert_eq!(answer.json(), json!({ "received": 1, "total": 5, "complete": false }));
    assert_eq!(channels(&gateway, 3).await.len(), 3);

    // One that is announced smaller than it is.
    let pages = async {
        let query = device.asked_for("Catalog").await;
        device.page(&query, 1, &[(FIRST, "one")]).await;
        device.page(&query, 1, &[(SECOND, "two")]).await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(Method::POST, &path), pages);
    assert_eq!(answer.json(), json!({ "received": 2, "total": 2, "complete": true }));
    assert_eq!(channels(&gateway, 2).await.len(), 2);

    // None at all.
    let refuse = async {
        let query = device.asked().await;
        device.answer(&query, "488 Not Acceptable Here", "", b"").await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(Method::POST, &path), refuse);
    answer.is_problem(502, "refused", "request");
    assert_eq!(channels(&gateway, 2).await.len(), 2);
    assert_eq!(device.register(0).await.code(), 200);
    gateway.device_online(CAMERA, false).await;
    let offline = gateway.ask(Method::POST, &path).await;
    offline.is_problem(409, "device_offline", "registration");
    assert_ne!(offline.header("retry-after"), "");
    let unknown = gateway.ask(Method::POST, "/api/v1/devices/34020000001320000009/catalog").await;
    unknown.is_problem(404, "not_found", "lookup");
}

#[tokio::test]
async fn whatever_the_declaration_says_names_are_read() {
    let gateway = Gateway::start(&[]).await;
    let gb = |text: &str| GB18030.encode(text).0.into_owned();
    let utf8 = |text: &str| text.as_bytes().to_vec();
    type Case<'a> = (&'a str, &'a str, &'a dyn Fn(&str) -> Vec<u8>, &'a str);
    // 𠮷 is in GB18030 alone, by four bytes.
    let cases: [Case<'_>; 5] = [
        ("34020000001320000001", "GB2312", &gb, "村口 𠮷"),
        ("34020000001320000002", "GB2312", &utf8, "村口 𠮷"),
        ("34020000001320000003", "UTF-8", &gb, "晒谷场"),
        ("34020000001320000004", "UTF-8", &utf8, "晒谷场"),
        ("34020000001320000005", "GB18030", &gb, "水库 é"),
    ];
    for (index, (id, declared, encode, name)) in cases.into_iter().enumerate() {
        let mut device = Device::registered(&gateway, id).await;
        let query = device.asked_for("Catalog").await;
        let channel = format!("3402000000131000000{index}");
        let body = page(id, &query.element("SN"), 1, &[(&channel, name)]).replace("GB2312", declared);
        assert_eq!(device.message(&encode(&body)).await.code(), 200);
        let path = format!("/api/v1/devices/{id}/channels/{channel}");
        until("the channel", async || {
            let answer = gateway.ask(Method::GET, &path).await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
        let seen = gateway.get(&path).await;
        assert_eq!(seen["name"], name, "device {index}");
        let spoken = if encode(name) == utf8(name) { "utf-8" } else { "gb18030" };
        gateway.device(id, "with its charset", |device| device["charset"] == spoken).await;
    }
}

/// Waits for so many channels of the camera; gives their names.
async fn channels(gateway: &Gateway, count: usize) -> BTreeMap<String, String> {
    let path = format!("/api/v1/devices/{CAMERA}/channels");
    until(&format!("{count} channels"), async || {
        let page = gateway.get(&path).await;
        let items = page["items"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names: BTreeMap<_, _> =
            items.iter().map(|item| (text(&item["id"]), text(&item["name"]))).collect();
        if names.len() == count { Ok(names) } else { Err(page.to_string()) }
    })
    .await
}

fn named(channels: &[(&str, &str)]) -> BTreeMap<String, String> {
    channels.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect()
}

#[tokio::test]
async fn devices_of_many_lines_do_not_mix() {
    let gateway = Gateway::start(&[]).await;
    // Both shards, both transports, all at once.
    let one = async |index: usize| {
        let id = format!("340200000013200001{index:02}");
        let line = if index.is_multiple_of(2) {
            Line::udp(&gateway, LOOPBACK).await
        } else {
            Line::tcp(&gateway, LOOPBACK).await
        };
        let mut device = Device::new(&id, line);
        assert_eq!(device.register(3600).await.code(), 200);
        let query = device.asked_for("Catalog").await;
        assert_eq!(query.element("DeviceID"), id);
        let channel = format!("340200000013100001{index:02}");
        device.page(&query, 1, &[(&channel, &format!("of {index}"))]).await;
        assert_eq!(device.keepalive().await.code(), 200);
        device
    };
    let devices = futures_util::future::join_all((0..40).map(one)).await;
    until("forty devices with a channel each", async || {
        let load = gateway.get("/api/v1/node").await["load"].clone();
        let wanted = [&load["devices_online"], &load["channels"], &load["registrations"]];
        if wanted == [40, 40, 40] { Ok(()) } else { Err(load.to_string()) }
    })
    .await;
    drop(devices);
}
