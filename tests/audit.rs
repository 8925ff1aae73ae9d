//! Every view and every control leaves a record: who, from where, what, of which channel, and what came of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::facing::{audit, camera, channel_path, device_path, names_field};
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway, answer};
use support::peer::Peer;
use support::until;

/// Something that is done at a path, what the record of it is called, and what it says of it.
type Deed = (Method, String, Value, &'static str, &'static str);

/// What can be done with a camera of 2022, but for what needs something else to be there first.
fn deeds() -> Vec<Deed> {
    let post = |path: String, body: Value, action, detail| (Method::POST, path, body, action, detail);
    let get = |path: String, action| (Method::GET, path, Value::Null, action, "");
    let on = json!({ "on": true, "channel": CHANNEL });
    let span = "records?start=2026-05-01T00:00:00Z&end=2026-05-01T02:00:00Z";
    let drag = json!({ "direction": "in", "length": 100, "width": 100, "mid_x": 50, "mid_y": 50, "length_x": 10,
                       "length_y": 10 });
    vec![
        post(channel_path("ptz"), json!({ "pan": 0.5 }), "ptz", "pan 0.5"),
        post(channel_path("focus"), json!({ "speed": 1 }), "ptz.lens", "focus 1"),
        post(channel_path("iris"), json!({ "speed": -1 }), "ptz.lens", "iris -1"),
        post(channel_path("preset"), json!({ "action": "set", "index": 7 }), "ptz.preset.set", "7"),
        post(channel_path("preset"), json!({ "action": "call", "index": 7 }), "ptz.preset.call", "7"),
        post(channel_path("preset"), json!({ "action": "delete", "index": 7 }), "ptz.preset.delete", "7"),
        get(channel_path("preset"), "ptz.preset.list"),
        post(channel_path("cruise"), json!({ "action": "start", "cruise": 3 }), "ptz.cruise.start", "3"),
        get(channel_path("cruise"), "ptz.cruise.list"),
        get(channel_path("cruise/3"), "ptz.cruise.list"),
        post(channel_path("scan"), json!({ "action": "start", "scan": 3 }), "ptz.scan", "3"),
        post(channel_path("aux"), json!({ "switch": 1, "on": true }), "ptz.aux", "1 on"),
        post(channel_path("home"), json!({ "enabled": true }), "ptz.home", "on"),
        get(channel_path("home"), "ptz.home.read"),
        post(channel_path("position"), json!({ "pan": 90 }), "ptz.position", "pan 90"),
        get(channel_path("position"), "ptz.position.read"),
        post(channel_path("drag-zoom"), drag, "ptz.drag-zoom", "In"),
        post(device_path("control/record"), on.clone(), "control.record", "on"),
        post(device_path("control/guard"), on, "control.guard", "on"),
        post(device_path("control/alarm-reset"), json!({ "channel": CHANNEL }), "control.alarm-reset", ""),
        post(device_path("control/keyframe"), json!({ "channel": CHANNEL }), "control.keyframe", ""),
        post(device_path("control/format-sd"), json!({ "card": 1 }), "control.format-sd", "card 1"),
        get(device_path("info"), "device.info"),
        get(device_path("status"), "device.status"),
        get(device_path("sd-cards"), "device.sd-cards"),
        get(device_path("config/BasicParam"), "config.read"),
        (
            Method::PUT,
            device_path("config/basic-param"),
            json!({ "heart_beat_count": 4 }),
            "config.write",
            "BasicParam",
        ),
        get(channel_path(span), "records"),
        (Method::PUT, device_path("subscriptions"), json!({ "position": 9 }), "subscribe", "9"),
        post(device_path("catalog"), Value::Null, "catalog.sync", ""),
        post(device_path("selftest"), Value::Null, "selftest", ""),
        get(device_path("conformance.csv"), "conformance.export"),
        (Method::PATCH, format!("/api/v1/devices/{CAMERA}"), json!({ "name": "n" }), "device.edit", "name"),
        post("/api/v1/alarms".to_owned(), json!({ "device": CAMERA }), "alarm.raise", ""),
    ]
}

/// What was done so far: method and path.
static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What changes something and is not done by [`done`]: players and cameras do it, or it is part of what they do.
const BY_OTHERS: [&str; 6] = ["/api/v1/login", "/api/v1/logout", "/whep/", "/whip/", "/upload/", "/live/"];

/// Whether a path is one of a template such as `/api/v1/devices/{device}`.
fn is_of(path: &str, template: &str) -> bool {
    let (path, template) = (path.split('/'), template.split('/'));
    path.clone().count() == template.clone().count()
        && path.zip(template).all(|(part, wanted)| part == wanted || wanted.starts_with('{'))
}

/// Asserts that all that the API can change has been done, so that a new command is not forgotten here.
async fn nothing_is_left(gateway: &Gateway) {
    let document = gateway.get("/api/openapi.json").await;
    let done = DONE.lock().unwrap().clone();
    let mut left = Vec::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        for method in
            ["post", "put", "patch", "delete"].into_iter().filter(|method| methods[method].is_object())
        {
            let method = method.to_uppercase();
            let fits = |one: &String| {
                let (own, path) = one.split_once(' ').unwrap();
                own == method && is_of(path, template)
            };
            if !BY_OTHERS.iter().any(|other| template.starts_with(other)) && !done.iter().any(fits) {
                left.push(format!("{method} {template}"));
            }
        }
    }
    assert!(left.is_empty(), "nobody knows whether these leave a record: {left:#?}");
}

/// Does something that has to go well; gives what came of it.
async fn done(gateway: &Gateway, method: Method, path: &str, body: &Value) -> Value {
    DONE.lock().unwrap().push(format!("{method} {}", path.split('?').next().unwrap()));
    let mut request = gateway.request(method.clone(), path).timeout(Duration::from_secs(60));
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = answer(request).await;
    assert!(answer.status.is_success(), "{method} {path}: {}: {}", answer.status, answer.text);
    answer.json()
}

/// Waits until the newest record of an action is of the camera, says this and went well.
async fn recorded(gateway: &Gateway, action: &str, detail: &str) -> Value {
    let path = format!("/api/v1/audit?limit=1&action={action}");
    until(&format!("the record of {action} {detail}"), async || {
        let record = gateway.get(&path).await["items"][0].clone();
        let seen = [&record["action"], &record["device"], &record["outcome"], &record["from"]];
        let fits = seen == [action, CAMERA, "ok", "127.0.0.1"];
        let says = record["detail"].as_str().is_some_and(|said| said.contains(detail));
        if fits && says { Ok(record) } else { Err(record.to_string()) }
    })
    .await
}

/// Waits until there are so many records, and no more.
async fn records(gateway: &Gateway, count: u64) {
    until(&format!("{count} records"), async || {
        let total = gateway.get("/api/v1/audit?limit=1").await["total"].clone();
        if total == count { Ok(()) } else { Err(total.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn every_view_and_every_control_leaves_a_record() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let fleet = Fleet { more: &["--edition", "2022"], ..Fleet::default() }.start(&gateway).await;
    let mut actions = BTreeSet::new();
    let mut count = gateway.get("/api/v1/audit").await["total"].as_u64().unwrap();
    for (method, path, body, action, detail) in deeds() {
        done(&gateway, method, &path, &body).await;
        let record = recorded(&gateway, action, detail).await;
        let of_channel = path.contains("/channels/") || body["channel"].is_string();
        if of_channel {
            assert_eq!(record["channel"], CHANNEL, "{record}");
        }
        actions.insert(action);
        // One, and no more than one.
        count += 1;
        records(&gateway, count).await;
    }

    // Views: live and recorded, in each way.
    let viewer = Peer::watch(&gateway, &format!("/whep/{CAMERA}/{CHANNEL}")).await;
    assert_eq!(recorded(&gateway, "watch", "main").await["channel"], CHANNEL);
    let streams = gateway.streams().await;
    let mut live =
        gateway.request(Method::GET, &format!("/live/{CAMERA}/{CHANNEL}.mp4")).send().await.unwrap();
    assert!(live.chunk().await.unwrap().is_some());
    recorded(&gateway, "watch", "mp4 main").await;
    drop((live, viewer));
    let stream = streams[0]["id"].as_str().unwrap();
    done(&gateway, Method::DELETE, &format!("/api/v1/streams/{stream}"), &Value::Null).await;
    recorded(&gateway, "stream.stop", "main").await;

    let span = json!({ "device": CAMERA, "channel": CHANNEL, "start": "2026-05-01T08:00:00+08:00",
                       "end": "2026-05-01T08:20:00+08:00" });
    let playback = done(&gateway, Method::POST, "/api/v1/playbacks", &span).await;
    recorded(&gateway, "playback", "2026-05-01T08:00:00+08:00 to ").await;
    let place = format!("/api/v1/playbacks/{}", playback["id"].as_str().unwrap());
    for (verb, body, detail) in [
        ("pause", Value::Null, ""),
        ("resume", Value::Null, ""),
        ("seek", json!({ "seconds": 60 }), "60 s"),
        ("speed", json!({ "speed": 2 }), "2"),
    ] {
        done(&gateway, Method::POST, &format!("{place}/{verb}"), &body).await;
        recorded(&gateway, &format!("playback.{verb}"), detail).await;
    }
    let path = format!("/live/playbacks/{}.mp4", playback["id"].as_str().unwrap());
    let mut recording = gateway.request(Method::GET, &path).send().await.unwrap();
    assert!(recording.chunk().await.unwrap().is_some());
    recorded(&gateway, "watch", "mp4 playback").await;
    drop(recording);
    done(&gateway, Method::DELETE, &place, &Value::Null).await;
    recorded(&gateway, "playback.stop", "").await;

    let short = json!({ "device": CAMERA, "channel": CHANNEL, "start": "2026-05-01T08:00:00+08:00",
                        "end": "2026-05-01T08:00:04+08:00", "speed": 4 });
    let download = done(&gateway, Method::POST, "/api/v1/downloads", &short).await;
    recorded(&gateway, "download", "2026-05-01T08:00:00+08:00 to ").await;
    let place = format!("/api/v1/downloads/{}", download["id"].as_str().unwrap());
    until("the end of the download", async || {
        let report = gateway.get(&place).await;
        if report["state"] == "finished" { Ok(()) } else { Err(report.to_string()) }
    })
    .await;
    done(&gateway, Method::GET, &format!("{place}/file"), &Value::Null).await;
    recorded(&gateway, "download.file", ".mp4").await;
    done(&gateway, Method::DELETE, &place, &Value::Null).await;
    recorded(&gateway, "download.remove", "").await;

    // Pictures: asked for, brought by the device, looked at.
    let shot = json!({ "channel": CHANNEL });
    let told = done(&gateway, Method::POST, &device_path("control/snapshot"), &shot).await;
    recorded(&gateway, "control.snapshot", "1 pictures").await;
    let brought = audit(&gateway, "snapshot.upload").await;
    assert_eq!((&brought["user"], &brought["role"]), (&json!(CAMERA), &json!("device")));
    let list = gateway.get(told["snapshots"].as_str().unwrap()).await;
    let picture = list["files"][0]["url"].as_str().unwrap();
    assert_eq!(gateway.ask(Method::GET, picture).await.status, 200);
    assert_eq!(recorded(&gateway, "snapshot.view", "").await["channel"], CHANNEL);

    // Alarms: seen to and reset.
    let alarms = gateway.get("/api/v1/alarms").await;
    let place = format!("/api/v1/alarms/{}", alarms["items"][0]["id"].as_str().unwrap());
    done(&gateway, Method::PATCH, &place, &json!({ "acknowledged": true })).await;
    recorded(&gateway, "alarm.acknowledge", "").await;
    done(&gateway, Method::POST, &format!("{place}/reset"), &json!({})).await;
    recorded(&gateway, "alarm.reset", "").await;

    let upgrade = json!({ "firmware": "V7", "url": "http://127.0.0.1:9/f", "manufacturer": "gbgate" });
    done(&gateway, Method::POST, &device_path("control/upgrade"), &upgrade).await;
    recorded(&gateway, "control.upgrade", "V7").await;
    done(&gateway, Method::POST, &device_path("control/reboot"), &Value::Null).await;
    recorded(&gateway, "control.reboot", "").await;
    let new = json!({ "id": "34020000001320000055", "password": "quite secret" });
    done(&gateway, Method::POST, "/api/v1/devices", &new).await;
    let added = audit(&gateway, "device.add").await;
    assert_eq!((&added["device"], &added["detail"]), (&new["id"], &json!("password")), "no secret is in it");
    done(&gateway, Method::DELETE, "/api/v1/devices/34020000001320000055", &Value::Null).await;
    assert_eq!(audit(&gateway, "device.remove").await["device"], new["id"]);
    drop(fleet);
    nothing_is_left(&gateway).await;

    // What is there outlives a power failure, and is found again.
    let all = gateway.get("/api/v1/audit?limit=1000").await;
    assert!(!all.to_string().contains("quite secret"));
    gateway.kill().await;
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let again = gateway.get("/api/v1/audit?limit=1000").await;
    assert_eq!(again["items"].as_array().unwrap().len() as u64, all["total"].as_u64().unwrap());
    assert_eq!(again["items"], all["items"]);
    for action in actions {
        assert!(
            gateway.get(&format!("/api/v1/audit?action={action}")).await["total"].as_u64() > Some(0),
            "{action}"
        );
    }
    let family = gateway.get("/api/v1/audit?action=ptz.preset").await;
    assert_eq!(family["total"], 4, "{family}");
    let channel = gateway.get(&format!("/api/v1/audit?channel={CHANNEL}&limit=1000")).await;
    assert!(channel["items"].as_array().unwrap().iter().all(|record| record["channel"] == CHANNEL));
    assert_eq!(gateway.get("/api/v1/audit?since=2100-01-01T00:00:00Z").await["total"], 0);
    names_field(&gateway.ask(Method::GET, "/api/v1/audit?since=then").await, "since");

    // Page by page, the newest first, each once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.get(&format!("/api/v1/audit?limit=7{cursor}")).await;
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(json!(seen), again["items"]);
}

#[tokio::test]
async fn what_fails_or_is_abandoned_is_recorded_as_such() {
    let gateway = Gateway::start(&[]).await;
    let record = device_path("control/record");
    let on = json!({ "on": true });
    let outcome = async |wanted: &str| {
        until(&format!("a record with {wanted}"), async || {
            let page = gateway.get("/api/v1/audit?action=control.record&limit=1").await;
            let newest = page["items"][0].clone();
            if newest["outcome"] == wanted { Ok(()) } else { Err(newest.to_string()) }
        })
        .await;
    };
    gateway.tell(Method::POST, &record, &on).await.is_problem(404, "not_found", "lookup");
    outcome("not_found").await;
    let mut device = camera(&gateway, "2.0").await;
    let refuse = async {
        loop {
            let request = device.asked().await;
            if request.text().contains("RecordCmd") {
                return device.answer(&request, "486 Busy Here", "", b"").await;
            }
            device.answer(&request, "200 OK", "", b"").await;
        }
    };
    let (refused, ()) = tokio::join!(gateway.tell(Method::POST, &record, &on), refuse);
    refused.is_problem(502, "refused", "request");
    outcome("refused").await;

    // Who goes away before the answer has done it all the same.
    let request = gateway.request(Method::POST, &record).json(&on).timeout(Duration::from_millis(300));
    let (gone, ()) = tokio::join!(request.send(), async {
        device.asked_for("RecordCmd").await;
    });
    assert!(gone.unwrap_err().is_timeout());
    outcome("abandoned").await;
    assert_eq!(device.register(0).await.code(), 200);
    gateway.device_online(CAMERA, false).await;
    gateway.tell(Method::POST, &record, &on).await.is_problem(409, "device_offline", "registration");
    outcome("device_offline").await;
}

#[tokio::test]
async fn it_says_who_it_was() {
    let gateway = Gateway::start(&[("access.bootstrap_admin_password", "correct horse")]).await;
    let login = async |password: &str| {
        let body = json!({ "username": "admin", "password": password });
        answer(gateway.request(Method::POST, "/api/v1/login").json(&body)).await
    };
    assert_eq!(login("guess").await.status, 401);
    let token = login("correct horse").await.json()["token"].as_str().unwrap().to_owned();
    let ask = async |method: Method, path: &str, body: &Value| {
        let request = gateway.request(method, path).bearer_auth(&token);
        answer(if body.is_null() { request } else { request.json(body) }).await
    };
    let new = json!({ "id": CAMERA });
    assert_eq!(ask(Method::POST, "/api/v1/devices", &new).await.status, 201);
    let raised = ask(Method::POST, "/api/v1/alarms", &json!({ "device": CAMERA })).await;
    assert_eq!(
        (raised.status.as_u16(), &raised.json()["raised_by"]),
        (201, &json!("admin")),
        "{}",
        raised.text
    );
    let path = format!("/api/v1/alarms/{}", raised.json()["id"].as_str().unwrap());
    let seen = ask(Method::PATCH, &path, &json!({ "acknowledged": true })).await;
    assert_eq!(seen.json()["acknowledged"]["by"], "admin", "{}", seen.text);

    until("all of it in the record", async || {
        let page = ask(Method::GET, "/api/v1/audit?user=admin", &Value::Null).await;
        let items = page.json()["items"].as_array().cloned().unwrap_or_default();
        let wanted = [
            ("alarm.acknowledge", "admin", "ok"),
            ("alarm.raise", "admin", "ok"),
            ("device.add", "admin", "ok"),
            ("login", "", "ok"),
            ("login", "", "wrong_password"),
        ];
        let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
        let seen: Vec<_> = items
            .iter()
            .map(|record| (text(record, "action"), text(record, "role"), text(record, "outcome")))
            .collect();
        let same = |(seen, wanted): (&(String, String, String), &(&str, &str, &str))| {
            (&*seen.0, &*seen.1, &*seen.2) == *wanted
        };
        let fits = seen.len() == wanted.len() && seen.iter().zip(&wanted).all(same);
        if fits && items.iter().all(|record| record["from"] == "127.0.0.1") { Ok(()) } else { Err(page.text) }
    })
    .await;
    assert_eq!(ask(Method::GET, "/api/v1/audit?user=nobody", &Value::Null).await.json()["total"], 0);
    gateway.ask(Method::GET, "/api/v1/audit").await.is_problem(401, "sign_in_required", "sign_in");
}
