//! Devices tell what they know, and what they were told shows in it: presets, cruises, positions, cards, pictures,
//! firmware.

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
use support::facing::{Events, camera, channel_path, device_path, post, reply};
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway, answer};
use support::until;
use support::wild::{finding, has_channels, sent, simulate};

const OF_2022: [&str; 2] = ["--edition", "2022"];

/// Waits until what is at a path is as wanted; gives it.
async fn becomes(gateway: &Gateway, path: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let seen = gateway.ask(Method::GET, path).await;
        let json = seen.json();
        if seen.status == 200 && fits(&json) { Ok(json) } else { Err(seen.text) }
    })
    .await
}

#[tokio::test]
async fn what_a_device_is_and_how_it_is() {
    let gateway = Gateway::start(&[]).await;
    let fleet = ["--first-id", CAMERA, "--first-channel", CHANNEL, "--extras"];
    let _fleet = simulate(&gateway, "udp", &fleet);
    // A loudspeaker and an alarm input besides.
    has_channels(&gateway, CAMERA, 3).await;
    let info = gateway.get(&device_path("info")).await;
    let told = [&info["manufacturer"], &info["model"], &info["channels"]];
    assert_eq!(told, [&json!("gbgate"), &json!("Simulator"), &json!(1)], "{info}");
    assert!(info["name"].as_str().is_some_and(|name| name.starts_with("摄像机")), "{info}");

    let path = device_path("status");
    let status = gateway.get(&path).await;
    for member in ["online", "ok", "encoding", "recording"] {
        assert_eq!(status[member], true, "{status}");
    }
    assert_eq!(status["alarms"][0]["duty"], "onduty", "{status}");
    let time = status["time"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z'), "{status}");

    // Of the alarm input and of the camera, as they were told.
    let input = status["alarms"][0]["id"].clone();
    let off = post(&gateway, &device_path("control/guard"), json!({ "on": false, "channel": input })).await;
    assert_eq!(off, json!({ "result": "done" }));
    post(&gateway, &device_path("control/record"), json!({ "on": false, "channel": CHANNEL })).await;
    let channel = gateway.get(&format!("{path}?channel={CHANNEL}")).await;
    assert_eq!((&channel["recording"], &channel["alarms"][0]["duty"]), (&json!(false), &json!("offduty")));
    assert_eq!(gateway.get(&path).await["recording"], true, "the device itself records still");
    post(&gateway, &device_path("control/record"), json!({ "on": true, "channel": CHANNEL })).await;
    assert_eq!(gateway.get(&format!("{path}?channel={CHANNEL}")).await["recording"], true);
}

#[tokio::test]
async fn presets_are_set_told_called_and_deleted() {
    let gateway = Gateway::start(&[]).await;
    let _fleet = Fleet { more: &OF_2022, ..Fleet::default() }.start(&gateway).await;
    let (presets, position) = (channel_path("preset"), channel_path("position"));
    assert_eq!(gateway.get(&presets).await, json!({ "items": [], "total": 0 }));
    post(&gateway, &position, json!({ "pan": 120, "tilt": 10.5, "zoom": 4 })).await;
    post(&gateway, &presets, json!({ "action": "set", "index": 255, "name": "大门 A" })).await;
    post(&gateway, &position, json!({ "pan": 20 })).await;
    post(&gateway, &presets, json!({ "action": "set", "index": 2 })).await;
    let wanted = json!([{ "index": 2, "name": "预置位2" }, { "index": 255, "name": "大门 A" }]);
    assert_eq!(gateway.get(&presets).await, json!({ "items": wanted, "total": 2 }));

    let seen = gateway.get(&position).await;
    let at = [&seen["pan"], &seen["tilt"], &seen["zoom"]];
    assert_eq!(at, [&json!(20.0), &json!(10.5), &json!(4.0)], "what is left out stays: {seen}");
    assert_eq!(seen["max_view_distance"], 300.0);
    post(&gateway, &presets, json!({ "action": "call", "index": 255 })).await;
    assert_eq!(gateway.get(&position).await["pan"], 120.0);
    post(&gateway, &presets, json!({ "action": "delete", "index": 255 })).await;
    assert_eq!(gateway.get(&presets).await["total"], 1);

    // A motion moves it until it is stopped.
    post(&gateway, &channel_path("ptz"), json!({ "pan": 1, "tilt": 1 })).await;
    let moved = becomes(&gateway, &position, "a camera that has turned right", |seen| {
        seen["pan"].as_f64().is_some_and(|pan| pan > 125.0)
    });
    assert!(moved.await["tilt"].as_f64().unwrap() < 10.5, "up counts down in degrees");
    post(&gateway, &channel_path("ptz"), json!({ "stop": true })).await;
    let first = gateway.get(&position).await;
    assert_eq!(gateway.get(&position).await, first, "it stands still");

    // A tenth of the picture's width in the middle fills it then.
    post(&gateway, &position, json!({ "pan": 0, "zoom": 1 })).await;
    let drag = |direction: &str| {
        json!({ "direction": direction, "length": 1000, "width": 500, "mid_x": 500, "mid_y": 250,
                "length_x": 100, "length_y": 50 })
    };
    post(&gateway, &channel_path("drag-zoom"), drag("in")).await;
    assert_eq!(gateway.get(&position).await["zoom"], 10.0);
    post(&gateway, &channel_path("drag-zoom"), drag("out")).await;
    assert_eq!(gateway.get(&position).await["zoom"], 1.0);
}

#[tokio::test]
async fn cruises_and_the_home_position_are_kept_by_the_device() {
    let gateway = Gateway::start(&[]).await;
    let _fleet = Fleet { more: &OF_2022, ..Fleet::default() }.start(&gateway).await;
    let cruise = channel_path("cruise");
    assert_eq!(gateway.get(&cruise).await, json!({ "items": [], "total": 0 }));
    for body in [
        json!({ "action": "add", "cruise": 3, "preset": 9, "name": "夜间" }),
        json!({ "action": "add", "cruise": 3, "preset": 4 }),
        json!({ "action": "add", "cruise": 3, "preset": 5 }),
        json!({ "action": "remove", "cruise": 3, "preset": 4 }),
        json!({ "action": "dwell", "cruise": 3, "seconds": 300 }),
        json!({ "action": "speed", "cruise": 3, "speed": 12 }),
        json!({ "action": "add", "cruise": 0, "preset": 1 }),
    ] {
        post(&gateway, &cruise, body).await;
    }
    let list = gateway.get(&cruise).await;
    let wanted = json!([{ "number": 0, "name": null }, { "number": 3, "name": "夜间" }]);
    assert_eq!((&list["items"], &list["total"]), (&wanted, &json!(2)));
    let track = gateway.get(&channel_path("cruise/3")).await;
    let point = |preset: u8| json!({ "preset": preset, "stay": 300, "speed": 12 });
    let wanted = json!({ "number": 3, "name": "夜间", "points": [point(9), point(5)], "total": 2 });
    assert_eq!(track, wanted);
    post(&gateway, &cruise, json!({ "action": "delete", "cruise": 3 })).await;
    assert_eq!(gateway.get(&cruise).await["total"], 1);

    let home = channel_path("home");
    let wanted = json!({ "enabled": true, "reset_seconds": 120, "preset": 9 });
    assert_eq!(post(&gateway, &home, wanted.clone()).await, json!({ "result": "done" }));
    assert_eq!(gateway.get(&home).await, wanted);
    post(&gateway, &home, json!({ "enabled": false })).await;
    assert_eq!(gateway.get(&home).await["enabled"], false);
}

#[tokio::test]
async fn a_card_is_formatted_as_it_says() {
    let gateway = Gateway::start(&[]).await;
    let _fleet = Fleet { more: &OF_2022, ..Fleet::default() }.start(&gateway).await;
    let path = device_path("sd-cards");
    let card = gateway.get(&path).await["items"][0].clone();
    assert_eq!((&card["id"], &card["status"], &card["name"]), (&json!(1), &json!("ok"), &json!("card1")));
    assert_eq!((&card["capacity"], &card["format_progress"]), (&json!(61_000), &Value::Null));
    let told = post(&gateway, &device_path("control/format-sd"), json!({ "card": 1 })).await;
    assert_eq!(told, json!({ "result": "sent" }));
    becomes(&gateway, &path, "a card that is being formatted", |list| {
        let card = &list["items"][0];
        card["status"] == "formatting" && card["format_progress"].as_u64().is_some_and(|part| part < 100)
    })
    .await;
    let done = |list: &Value| list["items"][0]["status"] == "ok" && list["items"][0]["free"] == 61_000;
    becomes(&gateway, &path, "a card that is formatted", done).await;
}

#[tokio::test]
async fn lists_that_come_in_parts_are_put_together() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "3.0").await;
    let page = |sum: u32, numbers: &[u32]| {
        let items: String = numbers
            .iter()
            .map(|number| {
                format!("<Item><PresetID>{number}</PresetID><PresetName>n{number}</PresetName></Item>")
            })
            .collect();
        format!("<SumNum>{sum}</SumNum><PresetList Num=\"{}\">{items}</PresetList>", numbers.len())
    };
    let pages = async {
        let query = device.asked_for("PresetQuery").await;
        for numbers in [&[30, 4][..], &[4], &[1]] {
            assert_eq!(reply(&mut device, &query, &page(3, numbers)).await.code(), 200);
        }
    };
    let path = channel_path("preset");
    let (answer, ()) = tokio::join!(gateway.ask(Method::GET, &path), pages);
    let name = |index: u32| json!({ "index": index, "name": format!("n{index}") });
    assert_eq!(
        answer.json(),
        json!({ "items": [name(1), name(4), name(30)], "total": 3 }),
        "{}",
        answer.text
    );

    // What does not come is not waited for for ever: what is there is told.
    let pages = async {
        let query = device.asked_for("PresetQuery").await;
        assert_eq!(reply(&mut device, &query, &page(9, &[2])).await.code(), 200);
    };
    let (answer, ()) = tokio::join!(gateway.ask(Method::GET, &path), pages);
    assert_eq!(answer.json(), json!({ "items": [name(2)], "total": 9 }), "{}", answer.text);
}

#[tokio::test]
async fn a_query_of_a_newer_edition_is_not_put_to_an_older_device() {
    let gateway = Gateway::start(&[]).await;
    // It tells no edition: what it can is tried.
    let mut device = camera(&gateway, "").await;
    let answering = async {
        let query = device.asked_for("HomePositionQuery").await;
        // As some answer.
        let inside = "<HomePosition><Enabled>1</Enabled><PresetIndex>3</PresetIndex></HomePosition>";
        let body = support::facing::response_of("HomePosition", &query.element("SN"), CHANNEL, inside);
        assert_eq!(device.message(body.as_bytes()).await.code(), 200);
    };
    let path = channel_path("home");
    let (answer, ()) = tokio::join!(gateway.ask(Method::GET, &path), answering);
    assert_eq!(
        answer.json(),
        json!({ "enabled": true, "reset_seconds": null, "preset": 3 }),
        "{}",
        answer.text
    );

    // A person says that it is of 2016: so it is not asked any more.
    let edit =
        gateway.tell(Method::PATCH, &format!("/api/v1/devices/{CAMERA}"), &json!({ "edition": 2016 })).await;
    assert_eq!(edit.status, 200, "{}", edit.text);
    device.extra = "X-GB-Ver: 2.0\r\n".to_owned();
    assert_eq!(device.register(3600).await.code(), 200);
    gateway.device(CAMERA, "of 2016", |state| state["edition"] == 2016).await;
    let before = sent(&gateway, "MESSAGE").await;
    for path in [path.clone(), channel_path("position"), channel_path("cruise"), device_path("sd-cards")] {
        gateway.ask(Method::GET, &path).await.is_problem(422, "unsupported", "validation");
    }
    assert_eq!(sent(&gateway, "MESSAGE").await, before);
}

#[tokio::test]
async fn pictures_are_taken_brought_and_told_of() {
    let gateway = Gateway::start(&[]).await;
    let _fleet = Fleet { more: &OF_2022, ..Fleet::default() }.start(&gateway).await;
    let events = Events::follow(&gateway).await;
    let order = json!({ "channel": CHANNEL, "count": 2, "interval": 1 });
    let told = post(&gateway, &device_path("control/snapshot"), order).await;
    assert_eq!(told["result"], "done");
    let session = told["session"].as_str().unwrap();
    let place = format!("/api/v1/snapshots/{session}");
    assert_eq!(told["snapshots"], place);
    let finished = events.next("snapshot.finished", |event| event["session"] == session).await;
    assert_eq!((&finished["device"], &finished["channel"]), (&json!(CAMERA), &json!(CHANNEL)));
    let names: Vec<&str> = finished["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(names.len(), 2, "{finished}");

    let list = gateway.get(&place).await;
    assert_eq!((&list["complete"], &list["wanted"]), (&json!(true), &json!(2)), "{list}");
    let files = list["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    for file in files {
        let name = file["name"].as_str().unwrap();
        assert!(names.iter().any(|told| name.starts_with(told)), "{list} {finished}");
        let picture = answer(gateway.request(Method::GET, file["url"].as_str().unwrap())).await;
        assert_eq!(picture.header("content-type"), "image/jpeg");
        assert_eq!(file["size"], picture.header("content-length").parse::<u64>().unwrap());
    }
    // Nobody else can bring pictures.
    let request = gateway.request(Method::POST, "/upload/snapshots/00000000000000000000000000000000");
    let stranger = answer(request.body(vec![0xFF, 0xD8, 0xFF, 0xD9])).await;
    assert_eq!(stranger.status, 404, "{}", stranger.text);
    // And no more than were asked for.
    let request = gateway.request(Method::POST, &format!("/upload/snapshots/{session}/more.jpg"));
    let more = answer(request.body(vec![0xFF, 0xD8, 0xFF, 0xD9])).await;
    assert!(more.status.is_client_error(), "{}", more.status);
    assert_eq!(gateway.get(&place).await["files"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_upgrade_tells_its_end() {
    let gateway = Gateway::start(&[]).await;
    let upgrade = json!({ "firmware": "V9.9", "url": "http://127.0.0.1:9/fw.bin", "manufacturer": "gbgate" });
    for (quirks, ok, reason) in [("", true, Value::Null), ("upgrade-fails", false, json!("01"))] {
        let fleet = Fleet { more: &OF_2022, quirks, ..Fleet::default() }.start(&gateway).await;
        gateway.device_online(CAMERA, true).await;
        let events = Events::follow(&gateway).await;
        let told = post(&gateway, &device_path("control/upgrade"), upgrade.clone()).await;
        assert_eq!(told["result"], "done");
        let result = events.next("upgrade.result", |event| event["device"] == CAMERA).await;
        let seen = [&result["session"], &result["ok"], &result["reason"]];
        assert_eq!(seen, [&told["session"], &json!(ok), &reason], "{result}");
        // It has been started anew, and says what it runs.
        gateway.device_online(CAMERA, true).await;
        let info = gateway.get(&device_path("info")).await;
        assert_eq!(info["firmware"] == "V9.9", ok, "{info}");
        drop(fleet);
        gateway.device_online(CAMERA, false).await;
    }
}

#[tokio::test]
async fn a_reboot_is_seen() {
    let gateway = Gateway::start(&[]).await;
    let _fleet = Fleet::default().start(&gateway).await;
    let count = gateway.metric("gbgate_sip_messages_total", "method=\"REGISTER\"").await;
    let told = post(&gateway, &device_path("control/reboot"), json!({})).await;
    assert_eq!(told, json!({ "result": "sent" }));
    until("registrations after the reboot", async || {
        let now = gateway.metric("gbgate_sip_messages_total", "method=\"REGISTER\"").await;
        if now >= count + 2.0 { Ok(()) } else { Err(format!("{now} after {count}")) }
    })
    .await;
    gateway.device_online(CAMERA, true).await;
    assert_eq!(gateway.get(&device_path("info")).await["manufacturer"], "gbgate");
}

#[tokio::test]
async fn devices_with_habits_are_understood() {
    let gateway = Gateway::start(&[]).await;
    let (error, sn, own) = ("34020000001320000011", "34020000001320000012", "34020000001320000013");
    let mut fleets = Vec::new();
    for (id, channel, quirks) in [
        (error, "34020000001310000011", "control-error"),
        (sn, "34020000001310000012", "sn-mismatch"),
        (own, "34020000001310000013", "device-id-answers"),
    ] {
        let fleet = Fleet { first_id: id, first_channel: channel, quirks, ..Fleet::default() };
        fleets.push(fleet.start(&gateway).await);
    }
    let record = |id: &str| format!("/api/v1/devices/{id}/control/record");
    let on = json!({ "on": true });
    gateway.tell(Method::POST, &record(error), &on).await.is_problem(502, "failed", "device");
    for (id, channel) in [(sn, "34020000001310000012"), (own, "34020000001310000013")] {
        let told = post(&gateway, &record(id), json!({ "on": false, "channel": channel })).await;
        assert_eq!(told, json!({ "result": "done" }), "{id}");
        assert_eq!(
            gateway.get(&format!("/api/v1/devices/{id}/status?channel={channel}")).await["recording"],
            false
        );
    }
    finding(&gateway, sn, "answer-sn-wrong").await;
}
