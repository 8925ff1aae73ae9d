//! Alarms: told by devices and raised by people, kept before they are acknowledged, one for what comes again and again,
//! offered to those who watch.

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
    Events, Subscription, camera, device_path, exchange, names_field, notify, post, subscription,
};
use support::gateway::{CAMERA, CHANNEL, Gateway};
use support::sip::{Device, ELSEWHERE, Line, Sip};
use support::until;
use support::wild::{finding, simulate};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Motion at the camera's channel at a second of a minute.
fn motion(sn: u32, second: u32) -> String {
    let inside = format!(
        "<AlarmPriority>2</AlarmPriority><AlarmMethod>5</AlarmMethod>\
         <AlarmTime>2026-05-01T08:00:{second:02}</AlarmTime><AlarmDescription>motion &amp; more</AlarmDescription>\
         <Longitude>117.25</Longitude><Latitude>31.5</Latitude><Info><AlarmType>6</AlarmType><AlarmTypeParam>\
         <EventType>1</EventType></AlarmTypeParam></Info>"
    );
    notify("Alarm", sn, CHANNEL, &inside)
}

/// Sends an alarm by MESSAGE; gives the gateway's own response to it.
async fn tell(device: &mut Device, alarm: &str) -> Sip {
    assert_eq!(device.message(alarm.as_bytes()).await.code(), 200);
    device.asked_for("<CmdType>Alarm</CmdType>").await
}

/// The alarms that there are, oldest first.
async fn alarms(gateway: &Gateway, query: &str) -> Vec<Value> {
    let page = gateway.get(&format!("/api/v1/alarms{query}")).await;
    let mut items = page["items"].as_array().unwrap().clone();
    assert_eq!(page["total"], items.len(), "{page}");
    items.sort_by_key(|item| item["id"].as_str().unwrap().to_owned());
    items
}

#[tokio::test]
async fn an_alarm_is_kept_told_and_answered() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    let own = Subscription::granted(&mut device, "Alarm", 3600).await;
    let events = Events::follow(&gateway).await;

    let response = tell(&mut device, &motion(17, 0)).await;
    let seen = [response.element("SN"), response.element("DeviceID"), response.element("Result")];
    assert_eq!(seen, ["17", CHANNEL, "OK"], "{}", response.text());
    assert!(response.start.starts_with("MESSAGE ") && response.text().contains("<Response>"), "{response:?}");
    let told = events.next("alarm", |_| true).await;
    let kept = alarms(&gateway, "").await;
    assert_eq!(kept, std::slice::from_ref(&told));
    let wanted = json!({
        "device": CAMERA, "channel": CHANNEL, "priority": 2, "method": 5, "kind": 6, "event": 1,
        "description": "motion & more", "longitude": 117.25, "latitude": 31.5,
        "at": "2026-05-01T08:00:00.000+08:00", "count": 1, "acknowledged": null, "reset_at": null,
        "raised_by": null,
    });
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&told[name], value, "{name} of {told}");
    }
    assert_eq!(told["received_at"], told["last_at"]);
    let id = told["id"].as_str().unwrap();
    assert_eq!(gateway.get(&format!("/api/v1/alarms/{id}")).await, told);

    // By NOTIFY, and with no more than nothing in it.
    let bare = notify("Alarm", 18, CAMERA, "<AlarmDescription>bare</AlarmDescription>");
    subscription(&gateway, "alarm", "active").await;
    assert_eq!(own.tell(&mut device, "active;expires=3600", &bare).await, 200);
    let response = device.asked_for("<CmdType>Alarm</CmdType>").await;
    assert_eq!((response.element("SN").as_str(), response.element("DeviceID").as_str()), ("18", CAMERA));
    let told = events.next("alarm", |alarm| alarm["description"] == "bare").await;
    assert_eq!((&told["channel"], &told["priority"]), (&json!(CAMERA), &json!(0)));
    finding(&gateway, CAMERA, "alarm-field-missing").await;

    // From a NOTIFY that nobody asked for, too: an alarm is an alarm.
    let stranger = own.notify(&mut device, "active", &motion(19, 30));
    let stranger = String::from_utf8(stranger).unwrap().replace("Call-ID: ", "Call-ID: other");
    assert_eq!(device.exchange(stranger.as_bytes()).await.code(), 481);
    events.next("alarm", |alarm| alarm["at"] == "2026-05-01T08:00:30.000+08:00").await;
    assert_eq!(alarms(&gateway, "").await.len(), 3);

    // Not from anybody.
    let mut other = Device::new(CAMERA, Line::udp(&gateway, ELSEWHERE).await);
    assert_eq!(other.message(motion(20, 55).as_bytes()).await.code(), 403);
    let mut unknown = Device::udp(&gateway, "34020000001320000009").await;
    assert_eq!(unknown.message(motion(21, 55).as_bytes()).await.code(), 404);
    assert_eq!(alarms(&gateway, "").await.len(), 3);
}

#[tokio::test]
async fn what_comes_again_and_again_is_one() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    let events = Events::follow(&gateway).await;
    // Each no further than three seconds from the one before, by the device's clock.
    for (sn, second) in [(1, 0), (2, 0), (3, 3), (4, 6)] {
        tell(&mut device, &motion(sn, second)).await;
    }
    let first = events.next("alarm", |_| true).await;
    let last = events.next("alarm.changed", |alarm| alarm["count"] == 4).await;
    assert_eq!((&last["id"], &last["at"]), (&first["id"], &first["at"]));
    let kept = alarms(&gateway, "").await;
    assert_eq!((kept.len(), &kept[0]["count"]), (1, &json!(4)));
    assert_eq!(events.left("alarm"), 0);

    // The same request once more, as UDP has it, is no repetition.
    let body = motion(5, 8);
    let request = device.compose("MESSAGE", "Content-Type: Application/MANSCDP+xml\r\n", body.as_bytes());
    for _ in 0..3 {
        assert_eq!(device.exchange(&request).await.code(), 200);
    }
    events.next("alarm.changed", |alarm| alarm["count"] == 5).await;

    // Something else, somewhere else, or much later, is another.
    let others = [
        motion(6, 21).replace("motion", "smoke"),
        motion(7, 21).replace("<AlarmType>6<", "<AlarmType>2<"),
        motion(8, 21).replace(&format!("<DeviceID>{CHANNEL}<"), &format!("<DeviceID>{CAMERA}<")),
        motion(9, 55),
    ];
    for (index, other) in others.iter().enumerate() {
        tell(&mut device, other).await;
        events.next("alarm", |_| true).await;
        assert_eq!(alarms(&gateway, "").await.len(), index + 2);
    }
    assert_eq!(alarms(&gateway, "").await[0]["count"], 5, "nothing was counted twice");
}

#[tokio::test]
async fn an_alarm_is_acknowledged_and_reset() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    let events = Events::follow(&gateway).await;
    tell(&mut device, &motion(1, 0)).await;
    let id = events.next("alarm", |_| true).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/alarms/{id}");

    let back = gateway.tell(Method::PATCH, &path, &json!({ "acknowledged": false })).await;
    names_field(&back, "acknowledged");
    let done = gateway.tell(Method::PATCH, &path, &json!({ "acknowledged": true })).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert!(done.json()["acknowledged"]["at"].is_string(), "{}", done.text);
    events.next("alarm.changed", |alarm| alarm["id"] == *id && !alarm["acknowledged"].is_null()).await;
    assert_eq!(alarms(&gateway, "?acknowledged=true").await.len(), 1);
    assert_eq!(alarms(&gateway, "?acknowledged=false").await.len(), 0);

    let reset = format!("{path}/reset");
    let asked = (Method::POST, &*reset, &Value::Null);
    let (failed, _) =
        exchange(&gateway, &mut device, asked, "ResetAlarm", Some("<Result>ERROR</Result>")).await;
    failed.is_problem(502, "failed", "device");
    assert_eq!(gateway.get(&path).await["reset_at"], Value::Null);
    let asked = (Method::POST, &*reset, &Value::Null);
    let (done, request) =
        exchange(&gateway, &mut device, asked, "ResetAlarm", Some("<Result>OK</Result>")).await;
    assert!(done.json()["reset_at"].is_string(), "{}", done.text);
    assert!(!done.json()["acknowledged"].is_null(), "{}", done.text);
    let seen = [request.element("DeviceID"), request.element("AlarmMethod"), request.element("AlarmType")];
    assert_eq!(seen, [CHANNEL, "5", "6"], "{}", request.text());
    events.next("alarm.changed", |alarm| alarm["reset_at"].is_string()).await;

    // What comes after that is new.
    tell(&mut device, &motion(2, 1)).await;
    let next = events.next("alarm", |_| true).await;
    assert_ne!(next["id"], *id);
    assert_eq!(alarms(&gateway, "").await.len(), 2);

    for (method, path) in [
        (Method::GET, "/api/v1/alarms/0000000000000001".to_owned()),
        (Method::POST, "/api/v1/alarms/0000000000000001/reset".to_owned()),
        (Method::GET, "/api/v1/alarms/nonsense".to_owned()),
    ] {
        gateway.ask(method, &path).await.is_problem(404, "not_found", "lookup");
    }
    assert_eq!(device.register(0).await.code(), 200);
    gateway.device_online(CAMERA, false).await;
    let path = format!("/api/v1/alarms/{}/reset", next["id"].as_str().unwrap());
    gateway.ask(Method::POST, &path).await.is_problem(409, "device_offline", "registration");
}

#[tokio::test]
async fn a_person_raises_an_alarm() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    let events = Events::follow(&gateway).await;
    let new = json!({ "device": CAMERA, "channel": CHANNEL, "priority": 1, "method": 1, "description": "一键报警",
                      "longitude": 117.5, "latitude": 31.25 });
    let raised = gateway.tell(Method::POST, "/api/v1/alarms", &new).await;
    assert_eq!(raised.status, 201, "{}", raised.text);
    let alarm = raised.json();
    for (name, value) in new.as_object().unwrap() {
        assert_eq!(&alarm[name], value, "{name} of {alarm}");
    }
    assert!(alarm["raised_by"].is_string(), "{alarm}");
    assert_eq!(gateway.get(raised.header("location")).await, alarm);
    assert_eq!(events.next("alarm", |_| true).await, alarm);
    // Of a channel it may be the device itself, and the rest has its defaults.
    let bare = post(&gateway, "/api/v1/alarms", json!({ "device": CAMERA })).await;
    let seen = [&bare["channel"], &bare["priority"], &bare["method"]];
    assert_eq!(seen, [&json!(CAMERA), &json!(1), &json!(7)]);

    for (change, field) in [
        (json!({ "priority": 5 }), "priority"),
        (json!({ "method": 0 }), "method"),
        (json!({ "latitude": 91 }), "latitude"),
        (json!({ "description": "x".repeat(10_000) }), "description"),
        (json!({ "sound": "loud" }), "sound"),
    ] {
        let mut body = new.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        names_field(&gateway.tell(Method::POST, "/api/v1/alarms", &body).await, field);
    }
    let nowhere = json!({ "device": CAMERA, "channel": "34020000001310000009" });
    let answer = gateway.tell(Method::POST, "/api/v1/alarms", &nowhere).await;
    answer.is_problem(404, "not_found", "lookup");
    assert_eq!(alarms(&gateway, "").await.len(), 2);

    // The camera knows nothing of it, so there is nothing to reset there.
    let path = format!("/api/v1/alarms/{}/reset", alarm["id"].as_str().unwrap());
    assert!(post(&gateway, &path, Value::Null).await["reset_at"].is_string());
    let guard = device_path("control/guard");
    let body = json!({ "on": true });
    let asked = (Method::POST, &*guard, &body);
    let (_, next) =
        exchange(&gateway, &mut device, asked, "DeviceControl", Some("<Result>OK</Result>")).await;
    assert!(next.text().contains("GuardCmd"), "{}", next.text());
}

#[tokio::test]
async fn lists_of_alarms_are_filtered_and_paged() {
    let gateway = Gateway::start(&[]).await;
    let _device = camera(&gateway, "2.0").await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let channel = if number == 2 { CHANNEL } else { CAMERA };
        let new = json!({ "device": CAMERA, "channel": channel, "description": format!("n{number}") });
        let raised = post(&gateway, "/api/v1/alarms", new).await;
        ids.push(raised["id"].as_str().unwrap().to_owned());
    }
    let one = alarms(&gateway, &format!("?channel={CHANNEL}")).await;
    assert_eq!((one.len(), &one[0]["description"]), (1, &json!("n2")));
    assert_eq!(alarms(&gateway, &format!("?device={CAMERA}")).await.len(), 5);
    assert_eq!(alarms(&gateway, "?device=34020000001320000009").await.len(), 0);
    assert_eq!(alarms(&gateway, "?since=2100-01-01T00:00:00Z").await.len(), 0);
    let bad = gateway.ask(Method::GET, "/api/v1/alarms?since=yesterday").await;
    names_field(&bad, "since");

    // The newest first, and each once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.get(&format!("/api/v1/alarms?limit=2{cursor}")).await;
        assert_eq!(page["total"], 5);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    ids.reverse();
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn what_was_answered_outlives_a_power_failure() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = camera(&gateway, "2.0").await;
    tell(&mut device, &motion(1, 0)).await;
    let id = alarms(&gateway, "").await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/alarms/{id}");
    gateway.tell(Method::PATCH, &path, &json!({ "acknowledged": true })).await;
    // Three times the power fails right after the 200.
    let mut gateway = gateway;
    for round in 1..=3 {
        assert_eq!(device.message(motion(1, 20 * round - 1).as_bytes()).await.code(), 200);
        gateway.kill().await;
        gateway = Gateway::start_in(data.path(), &[]).await;
        device.line.follow(&gateway);
        let kept = alarms(&gateway, "").await;
        assert_eq!(kept.len(), 1 + round as usize, "{kept:?}");
        assert_eq!(kept[round as usize]["at"], format!("2026-05-01T08:00:{:02}.000+08:00", 20 * round - 1));
        assert!(!kept[0]["acknowledged"].is_null(), "{kept:?}");
    }
    // A new one does not take the place of an old one.
    let raised = post(&gateway, "/api/v1/alarms", json!({ "device": CAMERA })).await;
    assert!(raised["id"].as_str().unwrap() > id.as_str(), "{raised}");
    assert_eq!(alarms(&gateway, "").await.len(), 5);
}

#[tokio::test]
async fn a_simulated_device_is_silent_until_its_alarm_is_reset() {
    let gateway = Gateway::start(&[]).await;
    let events = Events::follow(&gateway).await;
    let options = ["--first-id", CAMERA, "--first-channel", CHANNEL, "--extras", "--alarm-every", "1"];
    let quirks = ["--quirks", "repeated-alarms"];
    let _fleet = simulate(&gateway, "udp", &[&options[..], &quirks[..]].concat());
    for (method, kind) in [(5, json!(2)), (5, json!(6)), (6, json!(1))] {
        events.next("alarm", |alarm| alarm["method"] == method && alarm["kind"] == kind).await;
    }
    let input = events.next("alarm", |alarm| alarm["method"] == 2).await;
    assert_eq!(input["description"], "报警输入");
    events.next("alarm.changed", |alarm| alarm["id"] == input["id"] && alarm["count"] == 3).await;
    let path = format!("/api/v1/alarms/{}/reset", input["id"].as_str().unwrap());
    assert!(post(&gateway, &path, Value::Null).await["reset_at"].is_string());
    let again = events.next("alarm", |alarm| alarm["method"] == 2).await;
    assert_ne!(again["id"], input["id"]);
}

/// What programs write to Redis, of one connection after the other: each command as its words.
async fn redis(listener: TcpListener, commands: tokio::sync::mpsc::UnboundedSender<Vec<String>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let commands = commands.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            let number = |line: &str| line.trim()[1..].parse::<usize>().unwrap();
            loop {
                line.clear();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                let mut words = Vec::new();
                for _ in 0..number(&line) {
                    line.clear();
                    stream.read_line(&mut line).await.unwrap();
                    let mut word = vec![0; number(&line) + 2];
                    stream.read_exact(&mut word).await.unwrap();
                    word.truncate(word.len() - 2);
                    words.push(String::from_utf8(word).unwrap());
                }
                let answer = if words[0].eq_ignore_ascii_case("XADD") { "$3\r\n1-0\r\n" } else { "+OK\r\n" };
                stream.write_all(answer.as_bytes()).await.unwrap();
                // The test may be over.
                let _ = commands.send(words);
            }
        });
    }
}

#[tokio::test]
async fn alarms_are_offered_as_a_stream_of_redis() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    let (sender, mut commands) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(redis(listener, sender));
    let gateway = Gateway::start(&[("events.redis", &url), ("events.stream", "town:events")]).await;
    let mut device = camera(&gateway, "2.0").await;
    tell(&mut device, &motion(1, 0)).await;
    let kept = alarms(&gateway, "").await;
    let entry = until("the alarm in Redis", async || {
        while let Ok(words) = commands.try_recv() {
            if words[0].eq_ignore_ascii_case("XADD") && words.iter().any(|word| word == "alarm") {
                return Ok(words);
            }
        }
        Err("other commands".to_owned())
    })
    .await;
    assert_eq!(entry[1], "town:events");
    assert!(entry.iter().any(|word| word.eq_ignore_ascii_case("MAXLEN")), "{entry:?}");
    let data =
        entry.iter().find_map(|word| serde_json::from_str::<Value>(word).ok().filter(Value::is_object));
    assert_eq!(data, Some(kept[0].clone()), "{entry:?}");
    server.abort();
}
