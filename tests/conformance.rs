//! What departs from the standard is seen and told: each quirk of the simulator by the rule that it breaks, bodies as they
//! are met, the lists for people, the self-test, and the vendor profiles that work round it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::json;
use support::facing::{Events, camera, device_path, notify, response_of};
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway, answer};
use support::sip::{Credentials, Device};
use support::wild::{finding, simulate};

/// What is done with a simulated device so that its quirk shows.
#[derive(Clone, Copy)]
enum Deed {
    /// Nothing: it shows by itself.
    Nothing,
    /// It is asked for its status.
    Ask,
    Configure,
    SelfTest,
    Watch,
    /// A minute of a recording is played to its end, fast.
    Play,
}

use Deed::{Ask, Configure, Nothing, Play, SelfTest, Watch};

/// Options of the simulator, what is done, and the rule that is broken then.
const QUIRKS: &[(&[&str], Deed, &str)] = &[
    (&["--quirks", "utf8-as-gb"], Nothing, "charset-declared-wrong"),
    (&["--quirks", "gb-as-utf8"], Nothing, "charset-declared-wrong"),
    (&["--quirks", "bare-ampersand"], Nothing, "xml-not-well-formed"),
    (&["--quirks", "stray-less"], Nothing, "xml-not-well-formed"),
    (&["--quirks", "no-rport"], Nothing, "no-rport"),
    (&["--quirks", "wrong-length"], Nothing, "sip-content-length-wrong"),
    (&["--expires", "60"], Nothing, "register-expires-too-short"),
    (&["--quirks", "small-sumnum"], Nothing, "catalog-sumnum-wrong"),
    (&["--quirks", "zero-sumnum"], Nothing, "catalog-sumnum-wrong"),
    (&["--quirks", "dup-channels"], Nothing, "catalog-duplicate-ids"),
    (&["--quirks", "no-subscriptions"], Nothing, "subscribe-refused"),
    (&["--quirks", "sn-mismatch"], Ask, "answer-sn-wrong"),
    (&["--quirks", "ignore-queries"], Ask, "answer-missing"),
    (&["--quirks", "clock-wrong"], SelfTest, "clock-wrong"),
    (&["--quirks", "config-ignored"], Configure, "config-ignored"),
    (&["--quirks", "slow-invite,no-trying"], Watch, "invite-no-trying"),
    (&["--quirks", "no-y"], Watch, "sdp-no-y"),
    (&["--quirks", "ssrc-answer"], Watch, "sdp-other-ssrc"),
    (&["--quirks", "sdp-line-order"], Watch, "sdp-line-order"),
    (&["--quirks", "ssrc-mismatch"], Watch, "rtp-ssrc-not-agreed"),
    (&["--quirks", "other-pt"], Watch, "rtp-payload-type"),
    (&["--quirks", "loss"], Watch, "rtp-loss"),
    (&["--quirks", "no-psm"], Watch, "ps-no-psm"),
    (&["--quirks", "psm-crc"], Watch, "ps-psm-crc"),
    (&["--quirks", "stream-type-lies"], Watch, "ps-stream-type-lies"),
    (&["--quirks", "no-system-header"], Watch, "ps-no-system-header"),
    (&["--quirks", "pes-len0"], Watch, "ps-pes-length-zero"),
    (&["--quirks", "no-media"], Watch, "media-missing"),
    (&["--quirks", "no-file-end"], Play, "file-end-missing"),
    // None of these is the device's fault, or any fault at all.
    (&["--quirks", "lower-headers,compact-headers,no-space"], SelfTest, ""),
    (&["--quirks", "reversed-pages,burst,nat-contact"], Watch, ""),
    (&["--edition", "2022"], SelfTest, ""),
    (&["--tree"], Nothing, ""),
];

/// Reads a live stream for as long as there is one; nobody minds its end.
async fn read(gateway: &Gateway, path: &str) {
    let request = gateway.request(Method::GET, path).timeout(Duration::from_secs(60));
    if let Ok(mut response) = request.send().await {
        while let Ok(Some(_)) = response.chunk().await {}
    }
}

async fn act(gateway: &Gateway, deed: Deed, id: &str, channel: &str) {
    let own = |what: &str| format!("/api/v1/devices/{id}/{what}");
    match deed {
        Nothing => {}
        Ask => drop(gateway.ask(Method::GET, &own("status")).await),
        Configure => {
            let value = json!({ "heart_beat_count": 99 });
            let told = gateway.tell(Method::PUT, &own("config/BasicParam"), &value).await;
            assert_eq!(told.json()["ignored"][0]["field"], "heart_beat_count", "{}", told.text);
        }
        SelfTest => {
            let request = gateway.request(Method::POST, &own("selftest")).timeout(Duration::from_secs(120));
            assert_eq!(answer(request).await.status, 200);
        }
        Watch => read(gateway, &format!("/live/{id}/{channel}.mp4")).await,
        Play => {
            let body = json!({ "device": id, "channel": channel, "start": "2026-05-01T08:00:00+08:00",
                               "end": "2026-05-01T08:00:04+08:00" });
            let begun = gateway.tell(Method::POST, "/api/v1/playbacks", &body).await;
            assert_eq!(begun.status, 201, "{}", begun.text);
            let session = begun.json()["id"].as_str().unwrap().to_owned();
            read(gateway, &format!("/live/playbacks/{session}.mp4")).await;
        }
    }
}

/// The rules that a device has broken.
async fn broken(gateway: &Gateway, id: &str) -> Vec<String> {
    let page = gateway.get(&format!("/api/v1/devices/{id}/conformance")).await;
    let items = page["items"].as_array().unwrap();
    assert_eq!(page["total"], items.len());
    items.iter().map(|item| item["rule"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a device has broken a rule; `false` if it does not come to that.
async fn breaks(gateway: &Gateway, id: &str, rule: &str) -> bool {
    let seen = async {
        while !broken(gateway, id).await.iter().any(|seen| seen == rule) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, seen).await.is_ok()
}

/// Plays a device with these options and has it do something; gives what it broke in the end, for `rule` or without.
async fn tried(gateway: &Gateway, index: usize, (options, deed, rule): (&[&str], Deed, &str)) -> Vec<String> {
    let (id, channel) = (format!("3402000000132000{index:04}"), format!("3402000000131000{index:04}"));
    let fleet = [&["--first-id", &id, "--first-channel", &channel][..], options].concat();
    let _fleet = simulate(gateway, "udp", &fleet);
    gateway.device_online(&id, true).await;
    if !options.contains(&"ignore-queries") {
        gateway.device(&id, "with its catalog", |state| state["channel_count"] != 0).await;
    }
    let acting = act(gateway, deed, &id, &channel);
    if rule.is_empty() {
        // Live video is watched for a while.
        let _ = tokio::time::timeout(Duration::from_secs(3), acting).await;
    } else {
        // It goes on until the rule is seen to be broken.
        let acting = async {
            acting.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = breaks(gateway, &id, rule) => {}
            () = acting => {}
        }
    }
    broken(gateway, &id).await
}

#[tokio::test]
async fn each_quirk_breaks_its_rule() {
    let gateway = &Gateway::start(&[("sip.expires.min", "1s")]).await;
    let tries =
        QUIRKS.iter().enumerate().map(async |(index, case)| (case, tried(gateway, index, *case).await));
    let all: Vec<_> = futures_util::stream::iter(tries).buffer_unordered(6).collect().await;
    let wrong: Vec<_> = all
        .iter()
        .filter(|((_, _, rule), seen)| {
            !(seen.is_empty() && rule.is_empty() || seen.iter().any(|seen| seen == rule))
        })
        .map(|((options, _, rule), seen)| format!("{options:?}: {seen:?} in place of {rule:?}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The totals agree with the lists.
    let totals = gateway.get("/api/v1/stats/conformance").await;
    for rule in totals["total"]["rules"].as_array().unwrap() {
        let devices = all.iter().filter(|(_, seen)| seen.iter().any(|seen| rule["rule"] == **seen)).count();
        assert!(devices > 0 && rule["devices"].as_u64() >= Some(devices as u64), "{rule}");
    }
    assert_eq!(totals["total"]["devices"], QUIRKS.len(), "{totals}");
}

/// An item of a catalog that is notified of, with what it needs but for what is named, and these fields in their place.
fn item(without: &str, with: &str) -> String {
    let fields = [
        ("DeviceID", CHANNEL),
        ("Event", "ADD"),
        ("Name", "one"),
        ("Manufacturer", "M"),
        ("Model", "M1"),
        ("CivilCode", "340200"),
        ("ParentID", CAMERA),
        ("Status", "ON"),
    ];
    let kept = fields.iter().filter(|(name, _)| *name != without);
    let lines: String = kept.map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
    let inside = format!("<SumNum>1</SumNum><DeviceList Num=\"1\"><Item>{lines}{with}</Item></DeviceList>");
    notify("Catalog", 7, CAMERA, &inside)
}

/// Bodies, the code that they are answered with, the rule that each breaks, and what the sample has to say.
fn bodies() -> Vec<(String, u16, &'static str, &'static str)> {
    let notify = |cmd: &str, inside: &str| notify(cmd, 7, CAMERA, inside);
    let response = |cmd: &str, inside: &str| response_of(cmd, "7", CAMERA, inside);
    let ok = "<Result>OK</Result>";
    let id_line = format!("<DeviceID>{CAMERA}</DeviceID>\r\n");
    let alarm = "<AlarmPriority>1</AlarmPriority><AlarmMethod>5</AlarmMethod>";
    let record = "<SumNum>1</SumNum><RecordList Num=\"1\"><Item><DeviceID>34020000001310000001</DeviceID>\
                  <Name>n</Name><StartTime>2026-05-01T08:00:00</StartTime></Item></RecordList>";
    vec![
        ("hello".to_owned(), 400, "xml-unreadable", ""),
        (
            notify("MediaStatus", "<NotifyType>121</NotifyType>").replace(&id_line, ""),
            200,
            "xml-missing-device-id",
            "MediaStatus",
        ),
        (notify("Dance", ""), 200, "command-unknown", "Dance"),
        (
            notify("Keepalive", "<Status>OK</Status>").replace("<SN>7</SN>\r\n", ""),
            200,
            "sn-missing",
            "Keepalive",
        ),
        (notify("Keepalive", "<Status>ERROR</Status>"), 200, "keepalive-status-error", "ERROR"),
        (response("DeviceControl", ""), 200, "result-missing", "DeviceControl"),
        (response("DeviceInfo", ok), 200, "device-info-incomplete", "Manufacturer"),
        (response("DeviceStatus", ok), 200, "device-status-incomplete", "Online"),
        (
            notify("Alarm", &format!("{alarm}<AlarmTime>2026/05/01 08:00</AlarmTime>")),
            200,
            "time-format-wrong",
            "2026/05/01 08:00",
        ),
        (notify("Alarm", alarm), 200, "alarm-field-missing", "AlarmTime"),
        (
            notify(
                "MobilePosition",
                "<Time>2026-05-01T08:00:00</Time><Longitude>200</Longitude><Latitude>1</Latitude>",
            ),
            200,
            "position-field-missing",
            "Longitude 200",
        ),
        (response("RecordInfo", record), 200, "record-field-missing", "EndTime"),
        (
            response("RecordInfo", &record.replace("Num=\"1\"", "Num=\"4\"")),
            200,
            "catalog-num-wrong",
            "Num 4 has 1 items",
        ),
        (item("DeviceID", "<DeviceID></DeviceID>"), 200, "catalog-item-without-id", "none"),
        (item("DeviceID", "<DeviceID>camera7</DeviceID>"), 200, "id-not-20-digits", "camera7"),
        (
            item("DeviceID", "<DeviceID>34020000000500000001</DeviceID>"),
            200,
            "id-unknown-type",
            "34020000000500000001",
        ),
        (item("Name", ""), 200, "catalog-item-without-name", CHANNEL),
        (item("ParentID", ""), 200, "catalog-item-without-parent", CHANNEL),
        (item("Status", ""), 200, "catalog-item-without-status", CHANNEL),
        (item("", "<Parental>2</Parental>"), 200, "catalog-parental-wrong", "Parental 2"),
        (item("CivilCode", "<CivilCode>34020</CivilCode>"), 200, "civil-code-wrong", "34020"),
        (item("Event", "<Event>GONE</Event>"), 200, "catalog-event-unknown", "GONE"),
        (
            item("DeviceID", "<DeviceID>34020000002160000001</DeviceID>"),
            200,
            "catalog-organisation-without-group",
            "34020000002160000001",
        ),
    ]
}

#[tokio::test]
async fn bodies_as_they_are_met_are_judged() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    let events = Events::follow(&gateway).await;
    // The items of the tests' own catalogs leave these out.
    let mut before = broken(&gateway, CAMERA).await;
    before.sort_unstable();
    assert_eq!(before, ["catalog-item-without-civil-code", "catalog-item-without-manufacturer"]);
    let judged = async |rule: &str, sample: &str| {
        let seen = finding(&gateway, CAMERA, rule).await;
        assert!(seen["sample"].as_str().unwrap().contains(sample), "{seen}");
        let fields = if rule.ends_with("-incomplete") { 2 } else { 1 };
        assert_eq!(seen["count"], fields, "{seen}");
        let told = events.next("device.departure", |event| event["rule"] == rule).await;
        assert_eq!((&told["device"], &told["sample"]), (&json!(CAMERA), &seen["sample"]));
    };
    let mut known = before.len();
    for (body, code, rule, sample) in bodies() {
        assert_eq!(device.message(body.as_bytes()).await.code(), code, "{body}");
        judged(rule, sample).await;
        known += 1;
        let seen = broken(&gateway, CAMERA).await;
        assert_eq!(seen.len(), known, "{rule} alone, and not {seen:?}");
    }

    // The envelope of SIP.
    let body = notify("Keepalive", 7, CAMERA, "<Status>OK</Status>");
    let answer = device.request("MESSAGE", "Content-Type: text/plain\r\n", body.as_bytes()).await;
    assert_eq!(answer.code(), 200);
    judged("sip-content-type-wrong", "text/plain").await;
    let headers = "Content-Type: Application/MANSCDP+xml\r\nthis is no field\r\n";
    let body = notify("MediaStatus", 7, CAMERA, "<NotifyType>121</NotifyType>");
    let answer = device.request("MESSAGE", headers, body.as_bytes()).await;
    assert_eq!(answer.code(), 200);
    judged("sip-header-malformed", "").await;

    // Registration, looked at when the device comes: an edition that there is not, a minute, a nonce that was used up.
    assert_eq!(device.register(0).await.code(), 200);
    gateway.device_online(CAMERA, false).await;
    device.extra = "X-GB-Ver: two\r\n".to_owned();
    let challenge = device.try_register(60, None).await;
    let once = Credentials { count: None, ..Credentials::answering(&challenge) };
    assert_eq!(device.try_register(60, Some(&once)).await.code(), 200);
    judged("edition-unknown", "two").await;
    judged("register-expires-too-short", "60").await;
    assert_eq!(device.try_register(60, Some(&once)).await.code(), 401);
    judged("nonce-reused", &once.nonce).await;

    // An answer about somebody else.
    let path = device_path("status");
    let answering = async {
        let query = device.asked_for("<CmdType>DeviceStatus<").await;
        let inside = "<Result>OK</Result><Online>ONLINE</Online><Status>OK</Status>";
        let body = response_of("DeviceStatus", &query.element("SN"), "34020000001310000077", inside);
        device.message(body.as_bytes()).await
    };
    let (answer, _) = tokio::join!(gateway.ask(Method::GET, &path), answering);
    assert_eq!(answer.status, 200, "{}", answer.text);
    judged("answer-device-id-wrong", "34020000001310000077").await;
}

#[tokio::test]
async fn a_device_that_falls_silent_has_missed_its_keepalives() {
    let gateway = Gateway::start(&[]).await;
    let _device = Device::registered(&gateway, CAMERA).await;
    let edit = json!({ "keepalive": { "interval": 5, "misses": 1 } });
    let path = format!("/api/v1/devices/{CAMERA}");
    assert_eq!(gateway.tell(Method::PATCH, &path, &edit).await.status, 200);
    gateway.device_online(CAMERA, false).await;
    finding(&gateway, CAMERA, "keepalive-missed").await;
}

/// The fields of a line of CSV.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().unwrap();
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    assert!(!quoted, "{line}");
    fields
}

#[tokio::test]
async fn the_list_is_for_people_and_programs_and_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = camera(&gateway, "2.0").await;
    // What a spreadsheet could take for a formula, and what would break a line.
    let body = item("Event", "<Event>=1+\"2\",3</Event>");
    assert_eq!(device.message(body.as_bytes()).await.code(), 200);
    let seen = finding(&gateway, CAMERA, "catalog-event-unknown").await;
    let texts = ["severity", "clause", "says", "says_zh", "first", "last", "sample"];
    assert!(texts.iter().all(|name| seen[name].as_str().is_some_and(|text| !text.is_empty())), "{seen}");
    assert_eq!((&seen["severity"], &seen["count"]), (&json!("fault"), &json!(1)));
    assert!(seen["says_zh"].as_str().unwrap().chars().any(|c| c >= '一'), "{seen}");
    let path = device_path("conformance");
    let list = gateway.get(&path).await;
    assert_eq!(gateway.get(&format!("/api/v1/devices/{CAMERA}")).await["findings"], list["total"]);

    let csv = gateway.ask(Method::GET, &format!("{path}.csv")).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let name = format!("attachment; filename=\"conformance_{CAMERA}.csv\"");
    assert_eq!(csv.header("content-disposition"), name);
    let accepts = answer(gateway.request(Method::GET, &path).header("accept", "text/csv")).await;
    assert_eq!(accepts.text, csv.text);
    let text = csv.text.strip_prefix('\u{feff}').unwrap_or_else(|| panic!("no mark: {}", csv.text));
    let lines: Vec<Vec<String>> = text.strip_suffix("\r\n").unwrap().split("\r\n").map(fields).collect();
    let head = ["device", "rule", "severity", "clause", "what", "问题", "count", "first", "last", "sample"];
    assert_eq!(lines[0], head);
    for (line, item) in lines[1..].iter().zip(list["items"].as_array().unwrap()) {
        // A number of twenty digits would be rounded.
        assert_eq!(line[0], format!("'{CAMERA}"));
        for (field, name) in line[1..].iter().zip(["rule", "severity", "clause", "says", "says_zh"]) {
            assert_eq!(item[name], **field);
        }
        assert_eq!((item["count"].to_string(), &item["sample"]), (line[6].clone(), &json!(line[9])));
    }
    assert_eq!(lines.len() - 1, list["items"].as_array().unwrap().len());

    // By maker, over all devices.
    let totals = gateway.get("/api/v1/stats/conformance").await;
    let maker = &totals["manufacturers"][0];
    let seen = [&maker["manufacturer"], &maker["devices"], &maker["departing"]];
    assert_eq!(seen, [&json!("Maker"), &json!(1), &json!(1)], "{totals}");
    assert_eq!(maker["rules"].as_array().unwrap().len(), lines.len() - 1);

    gateway.kill().await;
    let gateway = Gateway::start_in(data.path(), &[]).await;
    assert_eq!(gateway.get(&path).await["items"], list["items"]);
    let missing = gateway.ask(Method::GET, "/api/v1/devices/34020000001320000009/conformance").await;
    missing.is_problem(404, "not_found", "lookup");
}

#[tokio::test]
async fn a_self_test_says_what_each_answer_was_worth() {
    let gateway = Gateway::start(&[]).await;
    let nobody = gateway.ask(Method::POST, "/api/v1/devices/34020000001320000009/selftest").await;
    nobody.is_problem(404, "not_found", "lookup");
    let first = ["device_info", "device_status", "catalog", "records", "config", "presets"];
    let more = ["home_position", "ptz_position", "sd_cards"];
    for (index, (edition, quirks, wrong)) in [
        ("2022", "", &[][..]),
        ("2016", "", &[]),
        ("2016", "clock-wrong,no-media", &["device_status", "media"]),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, channel) = (format!("3402000000132000001{index}"), format!("3402000000131000001{index}"));
        let more_options = ["--edition", edition];
        let fleet =
            Fleet { first_id: &id, first_channel: &channel, quirks, more: &more_options, ..Fleet::default() };
        let fleet = fleet.start(&gateway).await;
        let path = format!("/api/v1/devices/{id}/selftest");
        let request = gateway.request(Method::POST, &path).timeout(Duration::from_secs(120));
        let told = answer(request).await.json();
        let steps = told["steps"].as_array().unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
        // What is of 2022 is asked of no older device.
        let asked = first.iter().chain(more.iter().filter(|_| edition == "2022")).chain(&["media"]);
        assert_eq!(names, asked.copied().collect::<Vec<_>>(), "{told}");
        let failed = steps.iter().filter(|step| step["ok"] != true);
        let failed: Vec<&str> = failed.map(|step| step["name"].as_str().unwrap()).collect();
        assert_eq!(failed, wrong, "{told}");
        assert_eq!(told["ok"], wrong.is_empty());
        let media = steps.iter().find(|step| step["name"] == "media").unwrap();
        assert_eq!(media["detail"].as_str().unwrap().contains("h264"), wrong.is_empty(), "{media}");
        if wrong.is_empty() {
            assert_eq!(broken(&gateway, &id).await, Vec::<String>::new(), "it does all as it should");
        } else {
            assert!(steps[1]["detail"].as_str().unwrap().contains("slow"), "{told}");
            finding(&gateway, &id, "clock-wrong").await;
        }
        drop(fleet);
        gateway.device_online(&id, false).await;
        gateway.ask(Method::POST, &path).await.is_problem(409, "device_offline", "registration");
    }
}
