//! Devices are told what to do and asked what they know: the bytes on the wire, what is answered and what is only
//! acknowledged, and where each failure says that it was.

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

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::facing::{camera, channel_path, device_path, exchange, names_field, reply, response_of};
use support::gateway::{CAMERA, CHANNEL, Gateway};
use support::sip::{Device, Sip};
use support::wild::{finding, sent};

/// Every command of annex A.3: the path, the body, the eight bytes. They were added up by hand.
fn commands() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("ptz", json!({ "pan": 1 }), "A50F0101FF0000B5"),
        ("ptz", json!({ "pan": -1 }), "A50F0102FF0000B6"),
        ("ptz", json!({ "tilt": 0.5 }), "A50F01080080003D"),
        ("ptz", json!({ "tilt": -0.5 }), "A50F010400800039"),
        ("ptz", json!({ "zoom": 1 }), "A50F01100000F0B5"),
        ("ptz", json!({ "zoom": -0.2 }), "A50F012000003005"),
        ("ptz", json!({ "pan": -0.5, "tilt": 0.25, "zoom": 0.4 }), "A50F011A804060EF"),
        // A gentle push moves it.
        ("ptz", json!({ "pan": 0.001 }), "A50F0101010000B7"),
        ("ptz", json!({ "stop": true }), "A50F0100000000B5"),
        ("focus", json!({ "speed": 1 }), "A50F0141FF0000F5"),
        ("focus", json!({ "speed": -0.5 }), "A50F014280000077"),
        ("focus", json!({ "stop": true }), "A50F0140000000F5"),
        ("iris", json!({ "speed": 0.25 }), "A50F014400400039"),
        ("iris", json!({ "speed": -1 }), "A50F014800FF00FC"),
        ("preset", json!({ "action": "set", "index": 5 }), "A50F01810005003B"),
        ("preset", json!({ "action": "call", "index": 5 }), "A50F01820005003C"),
        ("preset", json!({ "action": "delete", "index": 255 }), "A50F018300FF0037"),
        ("cruise", json!({ "action": "add", "cruise": 2, "preset": 7 }), "A50F018402070042"),
        ("cruise", json!({ "action": "remove", "cruise": 2, "preset": 7 }), "A50F018502070043"),
        ("cruise", json!({ "action": "delete", "cruise": 2 }), "A50F01850200003C"),
        ("cruise", json!({ "action": "speed", "cruise": 2, "speed": 300 }), "A50F0186022C1079"),
        ("cruise", json!({ "action": "dwell", "cruise": 2, "seconds": 4095 }), "A50F018702FFF02D"),
        ("cruise", json!({ "action": "start", "cruise": 2 }), "A50F01880200003F"),
        ("cruise", json!({ "action": "stop" }), "A50F0100000000B5"),
        ("scan", json!({ "action": "start", "scan": 3 }), "A50F018903000041"),
        ("scan", json!({ "action": "left", "scan": 3 }), "A50F018903010042"),
        ("scan", json!({ "action": "right", "scan": 3 }), "A50F018903020043"),
        ("scan", json!({ "action": "speed", "scan": 3, "speed": 1024 }), "A50F018A03004082"),
        ("scan", json!({ "action": "stop" }), "A50F0100000000B5"),
        ("aux", json!({ "switch": 1, "on": true }), "A50F018C01000042"),
        ("aux", json!({ "switch": 2, "on": false }), "A50F018D02000044"),
    ]
}

#[tokio::test]
async fn every_ptz_command_has_its_bytes() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    for (path, body, bytes) in commands() {
        let asked = (Method::POST, &*channel_path(path), &body);
        let (answer, request) = exchange(&gateway, &mut device, asked, "<PTZCmd>", None).await;
        // The standard has no answer to these but the 200.
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "result": "sent" })), "{body}");
        assert_eq!(request.element("PTZCmd"), bytes, "{path} {body}");
        assert_eq!(request.element("DeviceID"), CHANNEL);
        assert_eq!(request.element("CmdType"), "DeviceControl");
        assert!(request.text().contains("<Control>"), "{}", request.text());
        assert!(request.start.starts_with(&format!("MESSAGE sip:{CHANNEL}@")), "{}", request.start);
    }
}

#[tokio::test]
async fn a_motion_for_some_seconds_ends_by_itself() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    for (path, body, first, last) in [
        ("ptz", json!({ "pan": 0.5, "seconds": 0.3 }), "A50F010180000036", "A50F0100000000B5"),
        ("focus", json!({ "speed": 1, "seconds": 0.3 }), "A50F0141FF0000F5", "A50F0140000000F5"),
    ] {
        let asked = (Method::POST, &*channel_path(path), &body);
        let begun = Instant::now();
        let (_, motion) = exchange(&gateway, &mut device, asked, "<PTZCmd>", None).await;
        assert_eq!(motion.element("PTZCmd"), first);
        let stop = device.asked_for("<PTZCmd>").await;
        assert_eq!(stop.element("PTZCmd"), last);
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    }
}

/// The other commands: where, with what, what stands in the body, and whether the standard has an answer to it.
fn orders() -> Vec<(String, Value, Vec<&'static str>, bool)> {
    let session = "https://files.example/firmware.bin";
    let home = json!({ "enabled": true, "reset_seconds": 60, "preset": 5 });
    let drag = json!({ "direction": "out", "length": 1920, "width": 1080, "mid_x": 960, "mid_y": 540,
                       "length_x": 200, "length_y": 100 });
    let upgrade = json!({ "firmware": "V2.1", "url": session, "manufacturer": "Maker" });
    let on = |on: bool| json!({ "on": on, "channel": CHANNEL });
    let window = [
        "<DragZoomOut>",
        "<Length>1920</Length>",
        "<Width>1080</Width>",
        "<MidPointX>960</MidPointX>",
        "<MidPointY>540</MidPointY>",
        "<LengthX>200</LengthX>",
        "<LengthY>100</LengthY>",
    ];
    vec![
        (device_path("control/reboot"), Value::Null, vec!["<TeleBoot>Boot</TeleBoot>"], false),
        (device_path("control/record"), on(true), vec!["<RecordCmd>Record</RecordCmd>"], true),
        (device_path("control/record"), on(false), vec!["<RecordCmd>StopRecord</RecordCmd>"], true),
        (
            device_path("control/record"),
            json!({ "on": true, "stream": 1 }),
            vec!["<StreamNumber>1</StreamNumber>"],
            true,
        ),
        (device_path("control/guard"), on(true), vec!["<GuardCmd>SetGuard</GuardCmd>"], true),
        (device_path("control/guard"), on(false), vec!["<GuardCmd>ResetGuard</GuardCmd>"], true),
        (device_path("control/alarm-reset"), json!({}), vec!["<AlarmCmd>ResetAlarm</AlarmCmd>"], true),
        (
            device_path("control/alarm-reset"),
            json!({ "method": 5, "kind": 2 }),
            vec!["<AlarmMethod>5</AlarmMethod>", "<AlarmType>2</AlarmType>"],
            true,
        ),
        (
            device_path("control/keyframe"),
            json!({ "channel": CHANNEL }),
            vec!["<IFrameCmd>Send</IFrameCmd>"],
            false,
        ),
        (
            device_path("control/format-sd"),
            json!({ "card": 1 }),
            vec!["<FormatSDCard>1</FormatSDCard>"],
            false,
        ),
        (
            device_path("control/upgrade"),
            upgrade,
            vec![
                "<DeviceUpgrade>",
                "<Firmware>V2.1</Firmware>",
                "<FileURL>https://files.example/firmware.bin</FileURL>",
                "<Manufacturer>Maker</Manufacturer>",
                "<SessionID>",
            ],
            true,
        ),
        (
            channel_path("home"),
            home,
            vec!["<Enabled>1</Enabled>", "<ResetTime>60</ResetTime>", "<PresetIndex>5</PresetIndex>"],
            true,
        ),
        (
            channel_path("position"),
            json!({ "pan": 12.5, "tilt": -30, "zoom": 2 }),
            vec!["<PTZPreciseCtrl>", "<Pan>12.50</Pan>", "<Tilt>-30.00</Tilt>", "<Zoom>2.00</Zoom>"],
            false,
        ),
        (channel_path("drag-zoom"), drag, window.to_vec(), false),
        (
            channel_path("preset"),
            json!({ "action": "set", "index": 1, "name": "大门" }),
            vec!["<PresetName>"],
            false,
        ),
        (
            channel_path("cruise"),
            json!({ "action": "add", "cruise": 1, "preset": 1, "name": "Round" }),
            vec!["<CruiseTrackName>Round</CruiseTrackName>"],
            false,
        ),
    ]
}

#[tokio::test]
async fn commands_are_confirmed_where_the_standard_has_an_answer() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "3.0").await;
    for (path, body, parts, answered) in orders() {
        let inside = answered.then_some("<Result>OK</Result>");
        let asked = (Method::POST, &*path, &body);
        let (answer, request) =
            exchange(&gateway, &mut device, asked, "<CmdType>DeviceControl<", inside).await;
        let result = if answered { "done" } else { "sent" };
        assert_eq!(
            (answer.status, &answer.json()["result"]),
            (StatusCode::OK, &json!(result)),
            "{path} {body}"
        );
        for part in parts {
            assert!(request.text().contains(part), "{path}: no {part} in {}", request.text());
        }
        let target =
            if body["channel"].is_string() || path.contains("/channels/") { CHANNEL } else { CAMERA };
        assert_eq!(request.element("DeviceID"), target, "{path}");
        if path.ends_with("upgrade") {
            assert_eq!(answer.json()["session"], request.element("SessionID"));
        }
    }
}

#[tokio::test]
async fn an_older_device_is_told_what_its_edition_has() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    for (path, body, has, has_not) in [
        (device_path("control/keyframe"), json!({}), "<IFameCmd>Send</IFameCmd>", "IFrameCmd"),
        (
            channel_path("preset"),
            json!({ "action": "set", "index": 1, "name": "Gate" }),
            "<PTZCmd>A50F018100010037</PTZCmd>",
            "PTZCmdParams",
        ),
        (
            device_path("control/record"),
            json!({ "on": true, "stream": 1 }),
            "<RecordCmd>Record</RecordCmd>",
            "StreamNumber",
        ),
    ] {
        let inside = path.ends_with("record").then_some("<Result>OK</Result>");
        let asked = (Method::POST, &*path, &body);
        let (_, request) = exchange(&gateway, &mut device, asked, "<CmdType>DeviceControl<", inside).await;
        assert!(request.text().contains(has), "{}", request.text());
        assert!(!request.text().contains(has_not), "{}", request.text());
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_it_is_sent() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "3.0").await;
    // The subscriptions that follow a registration are not what is counted.
    device.asked_for("SUBSCRIBE").await;
    let before = sent(&gateway, "MESSAGE").await;
    let wrong = [
        (channel_path("ptz"), json!({ "pan": 1.01 }), "pan"),
        (channel_path("ptz"), json!({ "zoom": -2 }), "zoom"),
        (channel_path("ptz"), json!({ "pan": 1, "seconds": 61 }), "seconds"),
        (channel_path("ptz"), json!({ "pann": 1 }), "pann"),
        (channel_path("focus"), json!({ "speed": 1.5 }), "speed"),
        (channel_path("preset"), json!({ "action": "set", "index": 0 }), "index"),
        (channel_path("preset"), json!({ "action": "set", "index": 1, "name": "x".repeat(33) }), "name"),
        (channel_path("cruise"), json!({ "action": "add", "cruise": 1, "preset": 0 }), "preset"),
        (channel_path("cruise"), json!({ "action": "dwell", "cruise": 1, "seconds": 4096 }), "seconds"),
        (channel_path("scan"), json!({ "action": "speed", "scan": 1, "speed": 4096 }), "speed"),
        (channel_path("position"), json!({}), "pan"),
        (channel_path("position"), json!({ "tilt": 91 }), "tilt"),
        (channel_path("home"), json!({ "enabled": true, "reset_seconds": 86_401 }), "reset_seconds"),
        (
            channel_path("drag-zoom"),
            json!({ "direction": "in", "length": 100, "width": 100, "mid_x": 101, "mid_y": 1, "length_x": 1,
                    "length_y": 1 }),
            "mid_x",
        ),
        (device_path("control/record"), json!({}), "on"),
        (device_path("control/guard"), json!({ "on": true, "channel": "?" }), "channel"),
        (device_path("control/alarm-reset"), json!({ "method": 8 }), "method"),
        (device_path("control/format-sd"), json!({ "card": 9 }), "card"),
        (
            device_path("control/upgrade"),
            json!({ "firmware": "V2", "url": "gopher://x/y", "manufacturer": "m" }),
            "url",
        ),
        (device_path("control/snapshot"), json!({ "count": 11 }), "count"),
        (device_path("control/snapshot"), json!({ "url": "ftp://x/y" }), "url"),
    ];
    for (path, body, field) in wrong {
        let answer = gateway.tell(Method::POST, &path, &body).await;
        names_field(&answer, field);
        assert_eq!(answer.json()["step"], "request", "{}", answer.text);
    }
    let unknown = gateway.ask(Method::POST, &device_path("control/dance")).await;
    unknown.is_problem(404, "not_found", "lookup");
    assert_eq!(sent(&gateway, "MESSAGE").await, before, "nothing of it went to the device");
}

/// The request with this in it, unanswered; all others are answered with 200.
async fn unanswered(device: &mut Device, what: &str) -> Sip {
    loop {
        let request = device.asked().await;
        if request.text().contains(what) {
            return request;
        }
        device.answer(&request, "200 OK", "", b"").await;
    }
}

#[tokio::test]
async fn a_failure_names_its_step() {
    let gateway = Gateway::start(&[]).await;
    let record = (device_path("control/record"), json!({ "on": true }));
    let tell = async |(path, body): &(String, Value)| gateway.tell(Method::POST, path, body).await;
    tell(&record).await.is_problem(404, "not_found", "lookup");

    let mut device = camera(&gateway, "2.0").await;
    let nobody = "/api/v1/devices/34020000001320000001/channels/34020000001310000009/ptz";
    gateway.tell(Method::POST, nobody, &json!({ "stop": true })).await.is_problem(404, "not_found", "lookup");

    // What its edition does not have is not asked of it.
    let before = sent(&gateway, "MESSAGE").await;
    for (path, body) in [
        (channel_path("position"), json!({ "pan": 1 })),
        (device_path("control/format-sd"), json!({ "card": 1 })),
        (
            device_path("control/upgrade"),
            json!({ "firmware": "V2", "url": "http://x/y", "manufacturer": "m" }),
        ),
    ] {
        let refused = gateway.tell(Method::POST, &path, &body).await;
        refused.is_problem(422, "unsupported", "validation");
        assert!(refused.text.contains("2022") && refused.text.contains("2016"), "{}", refused.text);
    }
    for path in [channel_path("home"), channel_path("position"), device_path("sd-cards")] {
        gateway.ask(Method::GET, &path).await.is_problem(422, "unsupported", "validation");
    }
    assert_eq!(sent(&gateway, "MESSAGE").await, before);

    // Refused by SIP.
    let refuse = async {
        let request = unanswered(&mut device, "<RecordCmd>").await;
        device.answer(&request, "488 Not Acceptable Here", "", b"").await;
    };
    let (refused, ()) = tokio::join!(tell(&record), refuse);
    refused.is_problem(502, "refused", "request");
    assert!(refused.text.contains("488"), "{}", refused.text);
    finding(&gateway, CAMERA, "query-refused").await;

    // Understood, and not done.
    let asked = (Method::POST, &*record.0, &record.1);
    let inside = Some("<Result>ERROR</Result><Reason>disk full</Reason>");
    let (failed, _) = exchange(&gateway, &mut device, asked, "<RecordCmd>", inside).await;
    failed.is_problem(502, "failed", "device");
    assert!(failed.text.contains("disk full"), "{}", failed.text);

    // Acknowledged and never answered, beside one that is not even acknowledged.
    let guard = (device_path("control/guard"), json!({ "on": true }));
    let listen = async {
        let mut late = None;
        while late.is_none() {
            let request = device.asked().await;
            if !request.text().contains("<GuardCmd>") {
                device.answer(&request, "200 OK", "", b"").await;
                late = request.text().contains("<RecordCmd>").then_some(request);
            }
        }
        late.unwrap()
    };
    let (silent, lost, request) = tokio::join!(tell(&record), tell(&guard), listen);
    silent.is_problem(504, "no_answer", "answer");
    lost.is_problem(504, "not_acknowledged", "request");
    finding(&gateway, CAMERA, "answer-missing").await;
    // An answer that comes after its time is noted, and answers nothing else.
    assert_eq!(reply(&mut device, &request, "<Result>OK</Result>").await.code(), 200);
    finding(&gateway, CAMERA, "answer-late").await;

    assert_eq!(device.register(0).await.code(), 200);
    gateway.device_online(CAMERA, false).await;
    let offline = tell(&record).await;
    offline.is_problem(409, "device_offline", "registration");
    assert_ne!(offline.header("retry-after"), "");
}

#[tokio::test]
async fn several_at_once_are_told_apart() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    let (record, guard) = (device_path("control/record"), device_path("control/guard"));
    let (own, channels) = (json!({ "on": true }), json!({ "on": true, "channel": CHANNEL }));
    let status = device_path("status");
    let presets = channel_path("preset");

    // Five at once, answered the last one first.
    let answering = async {
        let mut requests = Vec::new();
        while requests.len() < 5 {
            let request = device.asked().await;
            device.answer(&request, "200 OK", "", b"").await;
            let wanted = ["RecordCmd", "GuardCmd", "<CmdType>DeviceStatus<", "PresetQuery"];
            let known = |other: &Sip| other.element("SN") == request.element("SN");
            if wanted.iter().any(|part| request.text().contains(part)) && !requests.iter().any(known) {
                requests.push(request);
            }
        }
        for request in requests.iter().rev() {
            let text = request.text();
            let inside = if text.contains("RecordCmd") {
                "<Result>ERROR</Result>"
            } else if text.contains("GuardCmd") {
                "<Result>OK</Result>"
            } else if text.contains("PresetQuery") {
                "<PresetList Num=\"1\"><Item><PresetID>7</PresetID><PresetName>seven</PresetName></Item></PresetList>"
            } else {
                "<Result>OK</Result><Online>ONLINE</Online><Status>OK</Status><Record>ON</Record>"
            };
            assert_eq!(reply(&mut device, request, inside).await.code(), 200);
        }
    };
    let (one, two, three, four, five, ()) = tokio::join!(
        gateway.tell(Method::POST, &record, &own),
        gateway.tell(Method::POST, &guard, &own),
        gateway.tell(Method::POST, &guard, &channels),
        gateway.ask(Method::GET, &status),
        gateway.ask(Method::GET, &presets),
        answering
    );
    one.is_problem(502, "failed", "device");
    assert_eq!((two.json(), three.json()), (json!({ "result": "done" }), json!({ "result": "done" })));
    assert_eq!((&four.json()["recording"], &four.json()["online"]), (&json!(true), &json!(true)));
    let items = json!([{ "index": 7, "name": "seven" }]);
    assert_eq!((&five.json()["items"], &five.json()["total"]), (&items, &json!(1)), "{}", five.text);

    // With an SN of the device's own making an answer is taken where one question alone can be meant.
    let answering = async {
        let request = device.asked_for("<RecordCmd>").await;
        let wrong =
            response_of("DeviceControl", "900001", &request.element("DeviceID"), "<Result>OK</Result>");
        assert_eq!(device.message(wrong.as_bytes()).await.code(), 200);
    };
    let (one, ()) = tokio::join!(gateway.tell(Method::POST, &record, &own), answering);
    assert_eq!(one.json(), json!({ "result": "done" }), "{}", one.text);
    let seen = finding(&gateway, CAMERA, "answer-sn-wrong").await;
    assert!(seen["sample"].as_str().unwrap().contains("900001"), "{seen}");

    // Where two can be meant it answers neither; what has its own number is not mistaken.
    let answering = async {
        let first = device.asked_for("<GuardCmd>").await;
        let second = device.asked_for("<GuardCmd>").await;
        let wrong = response_of("DeviceControl", "900002", CAMERA, "<Result>ERROR</Result>");
        assert_eq!(device.message(wrong.as_bytes()).await.code(), 200);
        for request in [second, first] {
            assert_eq!(reply(&mut device, &request, "<Result>OK</Result>").await.code(), 200);
        }
    };
    let (one, two, ()) = tokio::join!(
        gateway.tell(Method::POST, &guard, &own),
        gateway.tell(Method::POST, &guard, &own),
        answering
    );
    assert_eq!((one.json(), two.json()), (json!({ "result": "done" }), json!({ "result": "done" })));

    // One that names the device where its channel was asked is an answer, too.
    let answering = async {
        let request = device.asked_for("<GuardCmd>").await;
        let body = response_of("DeviceControl", &request.element("SN"), CAMERA, "<Result>OK</Result>");
        assert_eq!(device.message(body.as_bytes()).await.code(), 200);
    };
    let (one, ()) = tokio::join!(gateway.tell(Method::POST, &guard, &channels), answering);
    assert_eq!(one.json(), json!({ "result": "done" }));
}
