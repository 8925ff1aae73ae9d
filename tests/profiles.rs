//! Vendor profiles: picked by what a device says and does, in force on the wire, overridden for one device, added to by a
//! directory of one's own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::facing::{
    Subscription, camera, camera_of, channel_path, device_path, exchange, names_field, notify, reply, settle,
};
use support::gateway::{CAMERA, CHANNEL, Gateway, command};
use support::sip::Device;
use support::wild::finding;
use support::{Leashed, until};

/// Sets something of the camera.
async fn edit(gateway: &Gateway, settings: Value) {
    let answer = gateway.tell(Method::PATCH, &format!("/api/v1/devices/{CAMERA}"), &settings).await;
    assert_eq!(answer.status, 200, "{settings}: {}", answer.text);
}

/// The DeviceID that a configuration of the channel is sent to.
async fn config_target(gateway: &Gateway, device: &mut Device) -> String {
    let path = device_path(&format!("config/BasicParam?channel={CHANNEL}"));
    let value = json!({ "heart_beat_count": 5 });
    let taking = async {
        let request = device.asked_for("<CmdType>DeviceConfig<").await;
        reply(device, &request, "<Result>OK</Result>").await;
        let query = device.asked_for("<CmdType>ConfigDownload<").await;
        let inside = "<Result>OK</Result><BasicParam><HeartBeatCount>5</HeartBeatCount></BasicParam>";
        reply(device, &query, inside).await;
        request
    };
    let (answer, request) = tokio::join!(gateway.tell(Method::PUT, &path, &value), taking);
    assert_eq!(answer.json(), json!({ "verified": true, "ignored": [] }), "{}", answer.text);
    request.element("DeviceID")
}

/// The Type of a query of recordings.
async fn record_type(gateway: &Gateway, device: &mut Device) -> String {
    let path = channel_path("records?start=2026-05-01T00:00:00Z&end=2026-05-01T01:00:00Z");
    let asked = (Method::GET, &*path, &Value::Null);
    let inside = Some("<Name>n</Name><SumNum>0</SumNum><RecordList Num=\"0\"></RecordList>");
    let (answer, query) = exchange(gateway, device, asked, "<CmdType>RecordInfo<", inside).await;
    assert_eq!(answer.json()["total"], 0, "{}", answer.text);
    query.element("Type")
}

/// The text of a command for a key frame.
async fn key_frame(gateway: &Gateway, device: &mut Device) -> String {
    let path = device_path("control/keyframe");
    let asked = (Method::POST, &*path, &Value::Null);
    exchange(gateway, device, asked, "<CmdType>DeviceControl<", None).await.1.text()
}

#[tokio::test]
async fn a_profile_is_picked_by_what_a_device_says() {
    let gateway = Gateway::start(&[]).await;
    for (index, (maker, agent, profile)) in [
        ("Dahua", "", "dahua"),
        ("HIKVISION", "", "hikvision"),
        ("TP-LINK", "", "tp-link"),
        ("uniview", "", "uniview"),
        ("Somebody", "", "standard"),
        ("Somebody", "Hikvision/V5", "hikvision"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("3402000000132000000{}", index + 1);
        let mut device = Device::udp(&gateway, &id).await;
        if !agent.is_empty() {
            device.extra = format!("User-Agent: {agent}\r\n");
        }
        assert_eq!(device.register(3600).await.code(), 200);
        settle(&gateway, &mut device, maker).await;
        let state = gateway.device(&id, "with its profile", |state| state["profile"] == profile).await;
        assert_eq!((&state["profile_set"], &state["overrides"]), (&Value::Null, &Value::Null));
    }
    let mut platform = Device::udp(&gateway, "34020000002000000007").await;
    assert_eq!(platform.register(3600).await.code(), 200);
    gateway.device(&platform.id, "as a platform", |state| state["profile"] == "lower-platform").await;

    // Each says which quirk it works round.
    let profiles = gateway.get("/api/v1/profiles").await;
    let items = profiles["items"].as_array().unwrap();
    assert!(items.len() >= 6, "{profiles}");
    for profile in items {
        assert!(!profile["about"].as_str().unwrap().is_empty(), "{profile}");
        for knob in profile["knobs"].as_array().unwrap() {
            assert!(knob["why"].as_str().is_some_and(|why| why.len() > 10), "{knob}");
        }
    }
}

#[tokio::test]
async fn a_profile_is_in_force_and_overridden_for_one_device() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera_of(&gateway, CAMERA, "2.0", "Dahua").await;
    let device = &mut device;
    gateway.device(CAMERA, "of Dahua", |state| state["profile"] == "dahua").await;
    assert_eq!(config_target(&gateway, device).await, CAMERA);
    assert_eq!(record_type(&gateway, device).await, "all");
    assert!(key_frame(&gateway, device).await.contains("<IFameCmd>"));

    // One knob turned back, and another turned; the rest stays.
    edit(&gateway, json!({ "overrides": { "config_target": "channel", "key_frame": "both" } })).await;
    assert_eq!(config_target(&gateway, device).await, CHANNEL);
    assert_eq!(record_type(&gateway, device).await, "all");
    let text = key_frame(&gateway, device).await;
    assert!(text.contains("<IFameCmd>") && text.contains("<IFrameCmd>"), "{text}");

    // Another profile by name, without the overrides.
    edit(&gateway, json!({ "profile": "standard", "overrides": null })).await;
    let state = gateway.get(&format!("/api/v1/devices/{CAMERA}")).await;
    assert_eq!((&state["profile"], &state["profile_set"]), (&json!("standard"), &json!("standard")));
    assert_eq!(config_target(&gateway, device).await, CHANNEL);
    assert_eq!(record_type(&gateway, device).await, "");
    edit(&gateway, json!({ "profile": null })).await;
    assert_eq!(record_type(&gateway, device).await, "all");

    for (settings, field) in [
        (json!({ "profile": "acme" }), "profile"),
        (json!({ "overrides": { "config_target": "sideways" } }), ""),
        (json!({ "overrides": { "config_targt": "channel" } }), ""),
    ] {
        let answer = gateway.tell(Method::PATCH, &format!("/api/v1/devices/{CAMERA}"), &settings).await;
        assert_eq!(answer.status, 422, "{settings}: {}", answer.text);
        if !field.is_empty() {
            names_field(&answer, field);
        }
    }
    gateway.device(CAMERA, "as it was", |state| state["overrides"].is_null()).await;
}

#[tokio::test]
async fn knobs_turn_what_they_name() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    // Edition: what 2022 has is asked of it now, as 2022 has it.
    let position = (channel_path("position"), json!({ "pan": 1 }));
    gateway.tell(Method::POST, &position.0, &position.1).await.is_problem(422, "unsupported", "validation");
    edit(&gateway, json!({ "overrides": { "edition": 2022 } })).await;
    let asked = (Method::POST, &*position.0, &position.1);
    let (answer, _) = exchange(&gateway, &mut device, asked, "PTZPreciseCtrl", None).await;
    assert_eq!(answer.json(), json!({ "result": "sent" }));
    let text = key_frame(&gateway, &mut device).await;
    assert!(text.contains("<IFrameCmd>") && !text.contains("<IFameCmd>"), "{text}");

    // Charset: of what is sent to it, whatever it sends itself.
    for (charset, declared) in [("utf-8", "UTF-8"), ("gb18030", "GB")] {
        edit(&gateway, json!({ "overrides": { "charset": charset } })).await;
        let text = key_frame(&gateway, &mut device).await;
        assert!(text.starts_with(&format!("<?xml version=\"1.0\" encoding=\"{declared}")), "{text}");
    }

    // Event of a subscription to the catalog, and what is subscribed to at all.
    let subscribe = json!({ "catalog": true, "alarm": false, "position": 3, "ptz_position": false });
    edit(&gateway, json!({ "overrides": { "catalog_event": "presence", "subscribe": subscribe } })).await;
    assert_eq!(device.register(0).await.code(), 200);
    gateway.device_online(CAMERA, false).await;
    assert_eq!(device.register(3600).await.code(), 200);
    let catalog = Subscription::granted(&mut device, "Catalog", 3600).await;
    assert_eq!(catalog.request.header("event"), "presence");
    let position = Subscription::granted(&mut device, "MobilePosition", 3600).await;
    assert_eq!(position.request.element("Interval"), "3");

    // The hash that it is challenged with.
    for (digest, algorithm) in [("sha-256", "SHA-256"), ("sm3", "SM3"), ("md5", "MD5")] {
        edit(&gateway, json!({ "overrides": { "digest": digest } })).await;
        let challenge = device.try_register(3600, None).await;
        assert_eq!(challenge.parameter("www-authenticate", "algorithm").as_deref(), Some(algorithm));
    }
}

#[tokio::test]
async fn a_directory_adds_profiles_and_replaces_them() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "acme.yaml",
        "name: acme\nabout: Cameras of Acme\nmatch:\n  - manufacturer: [acme]\n    model: [m1]\n  - behaviour: [sn-missing]\n\
         knobs:\n  - set: record_type_always\n    to: true\n    why: The town's recorders want it\n",
    );
    write("dahua.yaml", "name: dahua\nabout: Dahua as this town has it\nmatch:\n  - manufacturer: [dahua]\n");
    let path = directory.path().to_str().unwrap();
    let gateway = Gateway::start(&[("profiles", path)]).await;
    let mut device = camera_of(&gateway, CAMERA, "2.0", "ACME Ltd").await;
    gateway.device(CAMERA, "of Acme", |state| state["profile"] == "acme").await;
    assert_eq!(record_type(&gateway, &mut device).await, "all");
    settle_as(&gateway, &mut device, "Dahua").await;
    gateway.device(CAMERA, "of Dahua", |state| state["profile"] == "dahua").await;
    assert_eq!(record_type(&gateway, &mut device).await, "", "the built-in one has been replaced");

    // One that is known by what it does.
    settle_as(&gateway, &mut device, "Nobody").await;
    gateway.device(CAMERA, "of nobody", |state| state["profile"] == "standard").await;
    let body = notify("Keepalive", 7, CAMERA, "<Status>OK</Status>").replace("<SN>7</SN>", "");
    assert_eq!(device.message(body.as_bytes()).await.code(), 200);
    finding(&gateway, CAMERA, "sn-missing").await;
    gateway.device(CAMERA, "known by what it does", |state| state["profile"] == "acme").await;
    assert_eq!(record_type(&gateway, &mut device).await, "all");
    drop(gateway);

    // What is wrong in a file is said before anything begins.
    write("bad.yaml", "name: bad\nabout: x\nknobs:\n  - set: talk\n    to: loudly\n    why: it is a test\n");
    let data = tempfile::tempdir().unwrap();
    let mut refused = Leashed::start(command(data.path(), &[("profiles", path)]).arg("serve"));
    assert_ne!(refused.ended().await, 0);
    let said = refused.log();
    assert!(said.contains("bad") && said.contains("talk"), "{said}");
}

/// The device says that it is of another maker.
async fn settle_as(gateway: &Gateway, device: &mut Device, maker: &str) {
    let inside = format!("<Result>OK</Result><Manufacturer>{maker}</Manufacturer><Model>M1</Model>");
    let path = device_path("info");
    let asked = (Method::GET, &*path, &Value::Null);
    let (answer, _) = exchange(gateway, device, asked, "<CmdType>DeviceInfo<", Some(&inside)).await;
    assert_eq!(answer.json()["manufacturer"], maker, "{}", answer.text);
    until("its maker", async || {
        let state = gateway.get(&format!("/api/v1/devices/{CAMERA}")).await;
        if state["manufacturer"] == maker { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
}
