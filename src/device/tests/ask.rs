//! Questions, commands and configuration.

use serde_json::json;

use super::*;
use crate::gb::manscdp::answer::{Config, Preset, Presets, Record, Records};
use crate::gb::manscdp::{Answer, ConfigKind, DeviceStatus, Edition, Query, RecordQuery, Style};
use crate::gb::ptz;

const HOME: &str = "192.0.2.20:5060";
const CAMERA: &str = "34020000001310000001";

fn settled() -> Bench {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    bench
}

fn sn(sent: &Sent) -> u32 {
    body_of(sent).sn
}

fn tell(bench: &mut Bench, body: &str) -> Out {
    bench.message(id(DEVICE), udp(HOME), body)
}

fn presets(sn: u32, about: &str, indices: &[u32], sum: u32) -> String {
    let items = indices.iter().map(|index| Preset { index: *index, name: format!("p{index}") }).collect();
    let presets = Presets { total: sum, ..Presets::new(items) };
    write::response("PresetQuery", &Answer::Presets(presets), sn, &id(about), &Style::default())
}

fn one(mut out: Out) -> (u64, Result<Outcome, Failure>) {
    assert_eq!(out.answered.len(), 1, "{:?}", out.answered);
    out.answered.remove(0)
}

fn preset_count(out: Out) -> usize {
    match one(out).1 {
        Ok(Outcome::Answer(Answer::Presets(list))) => list.items.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_answered_by_a_message_of_its_own() {
    let mut bench = settled();
    let out = bench.ask(7, id(CAMERA), Request::Query(Query::Presets));
    let sent = &out.requests[0];
    assert_eq!(sent.2.uri(), Some("sip:34020000001310000001@192.0.2.20:5060"));
    assert!(body_of(sent).is(manscdp::Root::Query, "PresetQuery"));
    assert!(bench.answer_sip(sent, 200).answered.is_empty());
    let out = tell(&mut bench, &presets(sn(sent), CAMERA, &[1, 2], 2));
    assert_eq!((out.codes(), out.answered[0].0), (vec![200], 7));
    assert_eq!(preset_count(out), 2);
    // Once more, and the answer is nobody's.
    let out = tell(&mut bench, &presets(sn(sent), CAMERA, &[1, 2], 2));
    assert!(out.answered.is_empty() && out.departures.is_empty());
}

#[test]
fn an_answer_may_come_before_the_acknowledgement_or_without_it() {
    let mut bench = settled();
    let out = bench.ask(1, id(CAMERA), Request::Query(Query::Presets));
    let sent = &out.requests[0];
    assert_eq!(preset_count(tell(&mut bench, &presets(sn(sent), CAMERA, &[1], 1))), 1);
    assert!(bench.answer_sip(sent, 200).departures.is_empty());

    let out = bench.ask(2, id(CAMERA), Request::Query(Query::Presets));
    let sent = &out.requests[0];
    tell(&mut bench, &presets(sn(sent), CAMERA, &[1], 1));
    assert_eq!(bench.lose(sent).departures, [Rule::MessageWithout200]);
    assert!(bench.lose(sent).departures.is_empty());
}

#[test]
fn several_at_once_are_told_apart() {
    let mut bench = settled();
    let cameras: Vec<Id> = (0..8).map(|n| id(CAMERA).nth(n)).collect();
    let asked: Vec<Sent> = cameras
        .iter()
        .enumerate()
        .map(|(n, camera)| bench.ask(n as u64, *camera, Request::Query(Query::Presets)).requests.remove(0))
        .collect();
    for (n, sent) in asked.iter().enumerate().rev() {
        // The recorder names itself where a camera was asked.
        let about = if n % 2 == 0 { cameras[n].as_str() } else { DEVICE };
        let indices: Vec<u32> = (0..n as u32).collect();
        let out = tell(&mut bench, &presets(sn(sent), about, &indices, n as u32));
        assert_eq!((out.answered[0].0, preset_count(out)), (n as u64, n));
    }
    assert_eq!(bench.devices.asking, 0);
}

#[test]
fn a_wrong_sn_is_forgiven_where_one_question_alone_can_be_meant() {
    let mut bench = settled();
    let first = bench.ask(1, id(CAMERA), Request::Query(Query::Presets)).requests.remove(0);
    let out = tell(&mut bench, &presets(0, CAMERA, &[1], 1));
    assert!(out.departures.contains(&Rule::AnswerSnWrong));
    assert_eq!(preset_count(out), 1);

    // The SN of one that is over is no wrong SN: its answer comes late or again.
    let second = bench.ask(2, id(CAMERA), Request::Query(Query::Presets)).requests.remove(0);
    assert!(tell(&mut bench, &presets(sn(&first), CAMERA, &[1], 1)).answered.is_empty());
    // It is another camera's, or another command's.
    assert!(tell(&mut bench, &presets(99_999, "34020000001310000009", &[1], 1)).answered.is_empty());
    let status = DeviceStatus::default();
    let status = write::response_device_status(sn(&second), &id(CAMERA), &status, Offset::BEIJING);
    assert!(tell(&mut bench, &status).answered.is_empty());
    // Two could be meant.
    bench.ask(3, id(CAMERA), Request::Query(Query::Presets));
    assert!(tell(&mut bench, &presets(99_999, CAMERA, &[1], 1)).answered.is_empty());
    let out = bench.later(5.0);
    assert_eq!(out.answered.len(), 2);
    let out = tell(&mut bench, &presets(sn(&second), CAMERA, &[1], 1));
    assert_eq!((out.departures, out.answered.len()), (vec![Rule::AnswerLate], 0));
}

#[test]
fn the_gateways_own_question_is_nobody_elses() {
    let mut bench = bench();
    let out = bench.register(id(DEVICE), udp(HOME));
    let own = body_of(&out.requests[0]);
    assert_eq!(own.cmd, "DeviceInfo");
    bench.ask(1, id(DEVICE), Request::Query(Query::DeviceInfo));
    let info = write::response_device_info(own.sn, &id(DEVICE), &Default::default());
    let out = tell(&mut bench, &info);
    assert!(out.answered.is_empty() && !out.departures.contains(&Rule::AnswerSnWrong));
}

#[test]
fn each_failure_names_its_step() {
    let mut bench = settled();
    let presets = || Request::Query(Query::Presets);
    bench.ask(1, id(CAMERA), presets());
    let acknowledged = bench.ask(2, id(CAMERA), presets()).requests.remove(0);
    bench.answer_sip(&acknowledged, 200);
    let refused = bench.ask(3, id(CAMERA), presets()).requests.remove(0);
    assert_eq!(one(bench.answer_sip(&refused, 404)), (3, Err(Failure::Refused(404))));
    let record = Request::Control(Control::Record { on: true, stream: None });
    let failed = bench.ask(4, id(CAMERA), record).requests.remove(0);
    let error = write::response_ok("DeviceControl", sn(&failed), &id(CAMERA), false);
    let error = error.replace("</Result>", "</Result><Reason>no disk</Reason>");
    assert_eq!(one(tell(&mut bench, &error)), (4, Err(Failure::Failed(Some("no disk".to_owned())))));
    assert!(bench.later(4.9).answered.is_empty());
    let out = bench.later(0.1);
    assert!(out.departures.contains(&Rule::AnswerMissing));
    let mut answered = out.answered;
    answered.sort_by_key(|(waiter, _)| *waiter);
    assert_eq!(answered, [(1, Err(Failure::NotAcknowledged)), (2, Err(Failure::NoAnswer))]);

    bench.devices.ask(bench.now, Waiter(5), nth(9), nth(9), presets());
    assert_eq!(one(bench.out()), (5, Err(Failure::NotFound)));
    let catalog = bench.ask(6, id(DEVICE), Request::Query(Query::Catalog));
    assert!(matches!(one(catalog).1, Err(Failure::Invalid(_))));
}

#[test]
fn a_device_that_goes_ends_its_questions() {
    let mut bench = bench();
    bench.register(id(DEVICE), tcp(1));
    bench.ask(1, id(CAMERA), Request::Query(Query::Presets));
    bench.ask(2, id(DEVICE), Request::Configure(vec![(ConfigKind::BasicParam, json!({"expiration": 3600}))]));
    bench.devices.connection_closed(bench.now, 1);
    let answered = bench.out().answered;
    assert_eq!(answered, [(1, Err(Failure::Offline)), (2, Err(Failure::Offline))]);
    assert_eq!(one(bench.ask(3, id(CAMERA), Request::Query(Query::Presets))), (3, Err(Failure::Offline)));

    let mut bench = settled();
    bench.ask(4, id(CAMERA), Request::Query(Query::Presets));
    bench.ask(5, id(DEVICE), Request::SelfTest);
    bench.devices.remove(bench.now, id(DEVICE));
    let answered = bench.out().answered;
    assert_eq!(answered, [(4, Err(Failure::NotFound)), (5, Err(Failure::NotFound))]);
    assert!(bench.devices.is_idle());
}

#[test]
fn there_is_an_end_to_what_one_device_is_asked() {
    let mut bench = settled();
    for n in 0..70 {
        let out = bench.ask(n, id(CAMERA), Request::Query(Query::Presets));
        let busy = out.answered == [(n, Err(Failure::Busy))];
        assert_eq!((out.requests.len(), busy), (usize::from(n < 64), n >= 64));
    }
    assert_eq!(bench.later(5.0).answered.len(), 64);
    assert_eq!(bench.ask(99, id(CAMERA), Request::Query(Query::Presets)).requests.len(), 1);
}

fn records(sn: u32, numbers: std::ops::Range<i64>, sum: u32) -> String {
    let record = |n: i64| Record {
        device: Some(id(CAMERA)),
        name: "gate".to_owned(),
        start: Some(UnixMillis(1_714_500_000_000 + n * 60_000)),
        end: Some(UnixMillis(1_714_500_060_000 + n * 60_000)),
        ..Record::default()
    };
    let page: Vec<Record> = numbers.map(record).collect();
    write::response_records(sn, &id(CAMERA), "gate", sum, &page, &Style::default())
}

fn record_query() -> Request {
    Request::Query(Query::Records(RecordQuery::new(
        UnixMillis(1_714_500_000_000),
        UnixMillis(1_714_600_000_000),
    )))
}

fn found(out: Out) -> (usize, u32, bool) {
    match one(out).1 {
        Ok(Outcome::Answer(Answer::Records(Records { items, total, complete, .. }))) => {
            (items.len(), total, complete)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn recordings_come_in_pages() {
    let mut bench = settled();
    let sent = bench.ask(1, id(CAMERA), record_query()).requests.remove(0);
    bench.answer_sip(&sent, 200);
    assert!(bench.later(9.0).answered.is_empty(), "recorders search for a while");
    for (page, sum) in [(4..6, 6), (0..2, 6), (0..2, 6), (2..4, 6)] {
        assert!(tell(&mut bench, &records(sn(&sent), page, sum)).answered.is_empty());
        bench.later(0.2);
    }
    assert_eq!(found(bench.later(0.2)), (6, 6, true));

    // Too few are announced.
    let sent = bench.ask(2, id(CAMERA), record_query()).requests.remove(0);
    tell(&mut bench, &records(sn(&sent), 0..2, 2));
    bench.later(0.2);
    tell(&mut bench, &records(sn(&sent), 2..4, 2));
    assert_eq!(found(bench.later(0.3)).0, 4);

    // A page is lost: what came is told as a part.
    let sent = bench.ask(3, id(CAMERA), record_query()).requests.remove(0);
    tell(&mut bench, &records(sn(&sent), 0..2, 6));
    assert!(bench.later(2.9).answered.is_empty());
    assert_eq!(found(bench.later(0.1)), (2, 6, false));

    // None at all.
    let sent = bench.ask(4, id(CAMERA), record_query()).requests.remove(0);
    tell(&mut bench, &records(sn(&sent), 0..0, 0));
    assert_eq!(found(bench.later(0.3)), (0, 0, true));

    // A recorder that dribbles for ever comes to an end.
    let sent = bench.ask(5, id(CAMERA), record_query()).requests.remove(0);
    for n in 0..100 {
        tell(&mut bench, &records(sn(&sent), n..n + 1, 10_000));
        let out = bench.later(2.0);
        if !out.answered.is_empty() {
            assert_eq!((n, found(out).2), (29, false), "60 seconds");
            return;
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn commands_end_as_the_standard_has_it() {
    let mut bench = settled();
    // Motion has no answer but the 200.
    let stop = Control::Ptz { command: ptz::Command::Move { pan: 0, tilt: 0, zoom: 0 }, name: None };
    let sent = bench.ask(1, id(CAMERA), Request::Control(stop.clone())).requests.remove(0);
    assert!(body_of(&sent).is(manscdp::Root::Control, "DeviceControl"));
    assert!(bench.answer_sip(&sent, 100).answered.is_empty());
    assert_eq!(one(bench.answer_sip(&sent, 200)), (1, Ok(Outcome::Sent)));
    bench.ask(2, id(CAMERA), Request::Control(stop));
    assert_eq!(one(bench.later(5.0)), (2, Err(Failure::NotAcknowledged)));

    // Recording has one.
    let record = || Request::Control(Control::Record { on: true, stream: None });
    let sent = bench.ask(3, id(CAMERA), record()).requests.remove(0);
    assert!(bench.answer_sip(&sent, 200).answered.is_empty());
    let ok = write::response_ok("DeviceControl", sn(&sent), &id(CAMERA), true);
    assert_eq!(one(tell(&mut bench, &ok)), (3, Ok(Outcome::Answer(Answer::Done { ok: true }))));
    let sent = bench.ask(4, id(CAMERA), record()).requests.remove(0);
    let error = write::response_ok("DeviceControl", sn(&sent), &id(CAMERA), false);
    assert_eq!(one(tell(&mut bench, &error)), (4, Err(Failure::Failed(None))));

    // What is not valid is not sent.
    let out = bench.ask(5, id(CAMERA), Request::Control(Control::FormatSd { card: 99 }));
    assert!(out.requests.is_empty() && matches!(one(out).1, Err(Failure::Invalid(_))));
}

#[test]
fn an_edition_that_was_told_refuses_and_one_that_is_assumed_tries() {
    let mut bench = settled();
    assert_eq!(bench.ask(1, id(CAMERA), Request::Query(Query::SdCards)).requests.len(), 1);
    let mut device = bench.devices.device(&id(DEVICE)).unwrap().clone();
    device.edition_told = true;
    bench.devices.put(bench.now, device.clone());
    let unsupported = Failure::Unsupported { needs: Edition::E2022, has: Edition::E2016 };
    let out = bench.ask(2, id(CAMERA), Request::Query(Query::SdCards));
    assert_eq!(one(out), (2, Err(unsupported.clone())));
    let out = bench.ask(3, id(CAMERA), Request::Control(Control::FormatSd { card: 1 }));
    assert_eq!(one(out), (3, Err(unsupported)));
    device.edition = Edition::E2022;
    bench.devices.put(bench.now, device);
    assert_eq!(bench.ask(4, id(CAMERA), Request::Query(Query::SdCards)).requests.len(), 1);
}

fn basic(interval: u32) -> Vec<(ConfigKind, serde_json::Value)> {
    vec![(ConfigKind::BasicParam, json!({ "name": "gate", "heart_beat_interval": interval }))]
}

fn config(sn: u32, interval: u32) -> String {
    let sections = Config::new(basic(interval));
    write::response("ConfigDownload", &Answer::Config(sections), sn, &id(DEVICE), &Style::default())
}

fn configured(out: Out) -> (bool, Vec<String>) {
    match one(out).1 {
        Ok(Outcome::Configured(Configured { verified, ignored })) => (
            verified,
            ignored.into_iter().map(|one| format!("{} {} {}", one.field, one.wanted, one.has)).collect(),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_configuration_is_read_back() {
    let mut bench = settled();
    for (has, ignored) in [(30, vec![]), (60, vec!["heart_beat_interval 30 60".to_owned()])] {
        let sent = bench.ask(1, id(DEVICE), Request::Configure(basic(30))).requests.remove(0);
        assert!(body_of(&sent).is(manscdp::Root::Control, "DeviceConfig"));
        let ok = write::response_ok("DeviceConfig", sn(&sent), &id(DEVICE), true);
        let out = tell(&mut bench, &ok);
        assert!(out.answered.is_empty());
        let back = &out.requests[0];
        assert!(body_of(back).is(manscdp::Root::Query, "ConfigDownload"));
        let out = tell(&mut bench, &config(sn(back), has));
        assert_eq!(out.departures.contains(&Rule::ConfigIgnored), !ignored.is_empty());
        assert_eq!(configured(out), (true, ignored));
    }
    // It says OK to what it does not know.
    let mask = vec![(ConfigKind::FrameMirror, json!(1))];
    let sent = bench.ask(2, id(DEVICE), Request::Configure(mask)).requests.remove(0);
    let out = tell(&mut bench, &write::response_ok("DeviceConfig", sn(&sent), &id(DEVICE), true));
    let back = sn(&out.requests[0]);
    let nothing = write::response_ok("ConfigDownload", back, &id(DEVICE), true);
    assert_eq!(configured(tell(&mut bench, &nothing)), (true, vec![" 1 null".to_owned()]));
}

#[test]
fn a_device_that_takes_a_configuration_in_silence_is_read_all_the_same() {
    let mut bench = settled();
    let sent = bench.ask(1, id(DEVICE), Request::Configure(basic(30))).requests.remove(0);
    bench.answer_sip(&sent, 200);
    let out = bench.later(5.0);
    let back = sn(&out.requests[0]);
    assert_eq!(configured(tell(&mut bench, &config(back, 30))), (true, vec![]));
    // Nothing can be read.
    let sent = bench.ask(2, id(DEVICE), Request::Configure(basic(30))).requests.remove(0);
    bench.answer_sip(&sent, 200);
    let out = bench.later(5.0);
    bench.answer_sip(&out.requests[0], 200);
    assert_eq!(one(bench.later(5.0)), (2, Err(Failure::NoAnswer)));
    let sent = bench.ask(3, id(DEVICE), Request::Configure(basic(30))).requests.remove(0);
    tell(&mut bench, &write::response_ok("DeviceConfig", sn(&sent), &id(DEVICE), true));
    assert_eq!(configured(bench.later(5.0)), (false, vec![]));
}

#[test]
fn what_is_not_valid_is_not_configured() {
    let mut bench = settled();
    let bad = [
        vec![],
        vec![(ConfigKind::VideoParamOpt, json!({}))],
        vec![(ConfigKind::BasicParam, json!({ "heart_beat_count": "many" }))],
    ];
    for values in bad {
        let out = bench.ask(1, id(DEVICE), Request::Configure(values));
        assert!(out.requests.is_empty() && matches!(one(out).1, Err(Failure::Invalid(_))));
    }
}

#[test]
fn a_broadcast_is_answered_by_the_loudspeaker() {
    let mut bench = settled();
    let speaker = id("34020000001370000001");
    let sent = bench.ask(1, speaker, Request::Broadcast).requests.remove(0);
    let notify = body_of(&sent);
    assert!(notify.is(manscdp::Root::Notify, "Broadcast"));
    assert_eq!(notify.body.text_of("SourceID"), Some(PLATFORM));
    bench.answer_sip(&sent, 200);
    let ok = write::response_ok("Broadcast", notify.sn, &speaker, true);
    assert_eq!(one(tell(&mut bench, &ok)), (1, Ok(Outcome::Answer(Answer::Done { ok: true }))));
    bench.ask(2, speaker, Request::Broadcast);
    let error = write::response_ok("Broadcast", notify.sn + 1, &speaker, false);
    assert_eq!(one(tell(&mut bench, &error)), (2, Err(Failure::Failed(None))));
}

#[test]
fn hostile_answers_end_nothing_and_break_nothing() {
    let mut bench = settled();
    let sent = bench.ask(1, id(CAMERA), Request::Query(Query::Presets)).requests.remove(0);
    let envelope = |inside: &str| {
        format!("<Response><CmdType>PresetQuery</CmdType><SN>{}</SN>{inside}</Response>", sn(&sent))
    };
    for body in [
        "<Response><CmdType>PresetQuery</CmdType><SN>-1</SN><DeviceID>34020000001310000009</DeviceID></Response>".to_owned(),
        "<Response><CmdType>DeviceControl</CmdType><SN>99999999999999</SN><DeviceID>;;</DeviceID></Response>".to_owned(),
        "<Query><CmdType>PresetQuery</CmdType><SN>1</SN></Query>".to_owned(),
        "<Response><CmdType>Query</CmdType></Response>".to_owned(),
        "<Response><CmdType>查询Query</CmdType></Response>".to_owned(),
    ] {
        let out = tell(&mut bench, &body);
        assert_eq!((out.codes(), out.answered.len()), (vec![200], 0), "{body}");
    }
    let many = "<Item><PresetID>4294967295</PresetID><PresetName>&lt;</PresetName></Item>".repeat(2_000);
    tell(&mut bench, &envelope(&format!("<SumNum>4294967295</SumNum><PresetList>{many}</PresetList>")));
    // Far fewer came than were announced.
    assert!(preset_count(bench.later(3.0)) <= 512);
    assert_eq!(bench.devices.asking, 0);
}
