//! The self-test.

use super::*;
use crate::gb::manscdp::answer::{Config, Presets, PtzPosition};
use crate::gb::manscdp::{Answer, ConfigKind, DeviceInfo, DeviceStatus, Edition, Style};

const HOME: &str = "192.0.2.20:5060";
const CAMERA: &str = "34020000001310000001";

/// What a device answers that has everything, but whose clock is `slow` seconds slow.
fn answer(sent: &Sent, now: Now, slow: i64) -> Option<String> {
    let query = body_of(sent);
    let (sn, about, style) = (query.sn, query.device_id.unwrap(), Style::default());
    let answer = match query.cmd.as_str() {
        "DeviceInfo" => {
            let text = |text: &str| Some(text.to_owned());
            let info =
                DeviceInfo { manufacturer: text("Example"), model: text("N16"), ..DeviceInfo::default() };
            return Some(write::response_device_info(sn, &about, &info));
        }
        "DeviceStatus" => {
            let time = Some(UnixMillis(now.unix.0 - slow * 1_000));
            let status = DeviceStatus { time, ok: Some(true), ..DeviceStatus::default() };
            return Some(write::response_device_status(sn, &about, &status, Offset::BEIJING));
        }
        "Catalog" => return Some(page(id(DEVICE), 1, &[1])),
        "RecordInfo" => return Some(write::response_records(sn, &about, "gate", 0, &[], &style)),
        "ConfigDownload" => {
            let values = [(ConfigKind::BasicParam, serde_json::json!({ "name": "gate" }))];
            Answer::Config(Config::new(values))
        }
        "PresetQuery" => Answer::Presets(Presets::new(Vec::new())),
        "PTZPosition" => Answer::PtzPosition(PtzPosition { pan: Some(1.0), ..PtzPosition::default() }),
        _ => return None,
    };
    Some(write::response(&query.cmd, &answer, sn, &about, &style))
}

/// Plays the device until the test is over.
fn run(bench: &mut Bench, mut out: Out, slow: i64) -> (Vec<Step>, Vec<(String, Id)>, Vec<Rule>) {
    let (mut asked, mut departures) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        departures.append(&mut out.departures);
        if let Some((waiter, outcome)) = out.answered.pop() {
            assert_eq!(waiter, 1);
            let Ok(Outcome::SelfTest(steps)) = outcome else { panic!("{outcome:?}") };
            return (steps, asked, departures);
        }
        let mut next = Out::default();
        for sent in &out.requests {
            asked.push((body_of(sent).cmd, body_of(sent).device_id.unwrap()));
            bench.answer_sip(sent, 200);
            if let Some(body) = answer(sent, bench.now, slow) {
                next = bench.message(id(DEVICE), udp(HOME), &body);
            }
        }
        if next.requests.is_empty() && next.answered.is_empty() {
            let told = next.departures;
            next = bench.later(0.5);
            next.departures.extend(told);
        }
        out = next;
    }
    panic!("it goes on for ever");
}

#[test]
fn a_device_is_asked_for_all_that_it_should_know() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let mut device = bench.devices.device(&id(DEVICE)).unwrap().clone();
    device.edition = Edition::E2022;
    bench.devices.put(bench.now, device);
    let out = bench.ask(1, id(DEVICE), Request::SelfTest);
    assert_eq!(bench.ask(2, id(DEVICE), Request::SelfTest).answered, [(2, Err(Failure::Busy))]);
    let (steps, asked, departures) = run(&mut bench, out, 3_600);
    let results: Vec<_> = steps.iter().map(|step| (step.name, step.ok)).collect();
    assert_eq!(
        results,
        [
            ("device_info", true),
            ("device_status", false),
            ("catalog", true),
            ("records", true),
            ("config", true),
            ("presets", true),
            ("home_position", false),
            ("ptz_position", true),
            ("sd_cards", false),
        ]
    );
    assert!(steps[1].detail.contains("3600 s slow"), "{}", steps[1].detail);
    assert!(departures.contains(&Rule::ClockWrong) && departures.contains(&Rule::AnswerMissing));
    let about = |cmd: &str| asked.iter().find(|(asked, _)| asked == cmd).unwrap().1;
    assert_eq!(about("RecordInfo"), id(CAMERA), "a camera of the catalog");
    assert_eq!(about("ConfigDownload"), id(DEVICE));
    assert!(steps[6].took >= Duration::from_secs(5));
    // Again, about a channel that is named.
    let camera = id("34020000001310000009");
    let out = bench.ask(1, camera, Request::SelfTest);
    let (steps, asked, _) = run(&mut bench, out, 0);
    assert!(steps[1].ok);
    assert!(asked.contains(&("PresetQuery".to_owned(), camera)));
}

#[test]
fn a_device_of_2016_is_not_asked_for_what_is_of_2022() {
    // Whether it says that it is of 2016, or that is only assumed.
    for told in [false, true] {
        let mut bench = bench();
        bench.settled(id(DEVICE), udp(HOME));
        let mut device = bench.devices.device(&id(DEVICE)).unwrap().clone();
        device.edition_told = told;
        bench.devices.put(bench.now, device);
        let out = bench.ask(1, id(DEVICE), Request::SelfTest);
        let (steps, ..) = run(&mut bench, out, 0);
        assert!(steps.iter().all(|step| step.ok), "{steps:?}");
        assert_eq!(steps.len(), 6);
    }
}

#[test]
fn a_test_ends_with_its_device() {
    let mut bench = bench();
    bench.register(id(DEVICE), tcp(1));
    assert!(bench.ask(1, id(DEVICE), Request::SelfTest).answered.is_empty());
    bench.devices.connection_closed(bench.now, 1);
    assert_eq!(bench.out().answered, [(1, Err(Failure::Offline))]);
    assert_eq!(bench.ask(2, id(DEVICE), Request::SelfTest).answered, [(2, Err(Failure::Offline))]);
}
