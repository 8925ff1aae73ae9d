//! Alarms and positions.

use super::*;
use crate::gb::manscdp::{AlarmFilter, Root};
use crate::registry::Alarm;

const HOME: &str = "192.0.2.20:5060";
const CAMERA: &str = "34020000001310000001";

/// An alarm `second` seconds past eight.
fn told(second: u32, text: &str) -> String {
    format!(
        "<Notify><CmdType>Alarm</CmdType><SN>17</SN><DeviceID>{CAMERA}</DeviceID><AlarmPriority>4</AlarmPriority>\
         <AlarmMethod>5</AlarmMethod><AlarmTime>2024-05-01T08:00:{second:02}</AlarmTime>\
         <AlarmDescription>{text}</AlarmDescription><Info><AlarmType>6</AlarmType></Info></Notify>"
    )
}

fn settled() -> Bench {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    bench
}

/// The alarms that others are told of: count, and whether repeated.
fn news(out: &Out) -> Vec<(Alarm, bool)> {
    let one = |event: &Event| match event {
        Event::Alarm { alarm, repeated } => Some(((**alarm).clone(), *repeated)),
        _ => None,
    };
    out.events.iter().filter_map(one).collect()
}

fn kept(out: &Out) -> Vec<Alarm> {
    let one = |write: &Write| match write {
        Write::PutAlarm(alarm) => Some(alarm.clone()),
        _ => None,
    };
    out.writes.iter().filter_map(one).collect()
}

fn tell(bench: &mut Bench, body: &str) -> Out {
    bench.message(id(DEVICE), udp(HOME), body)
}

#[test]
fn an_alarm_is_kept_and_then_answered_twice() {
    let mut bench = settled();
    bench.disk = None;
    let out = tell(&mut bench, &told(1, "intrusion"));
    assert!(out.codes().is_empty() && out.requests.is_empty() && out.events.is_empty(), "not yet kept");
    let alarm = kept(&out).remove(0);
    assert_eq!((alarm.device, alarm.channel), (id(DEVICE), id(CAMERA)));
    assert_eq!((alarm.priority, alarm.method, alarm.kind, alarm.count), (4, 5, Some(6), 1));
    assert_eq!(alarm.at, UnixMillis(1_714_521_601_000));
    let token = bench.waiting.remove(0);
    bench.devices.committed(bench.now, token, true);
    let out = bench.out();
    assert_eq!((out.codes(), out.purposes()), (vec![200], vec![Purpose::Notice]));
    let answer = body_of(&out.requests[0]);
    assert!(answer.is(Root::Response, "Alarm"));
    assert_eq!((answer.sn, answer.device_id, answer.result()), (17, Some(id(CAMERA)), Some(true)));
    assert_eq!(news(&out), [(alarm, false)]);

    // One that the registry does not keep is the device's to tell again.
    tell(&mut bench, &told(30, "intrusion"));
    let token = bench.waiting.remove(0);
    bench.devices.committed(bench.now, token, false);
    let out = bench.out();
    assert_eq!((out.codes(), out.requests.len(), out.events.len()), (vec![503], 0, 0));
}

#[test]
fn repetitions_are_one_alarm() {
    let mut bench = settled();
    let first = news(&tell(&mut bench, &told(1, "door"))).remove(0).0;
    let again = news(&tell(&mut bench, &told(1, "door")));
    assert_eq!((again[0].0.id, again[0].0.count, again[0].1), (first.id, 2, true));
    // Within three seconds of the last, again and again.
    for (second, count) in [(4, 3), (7, 4), (5, 5)] {
        let out = tell(&mut bench, &told(second, "door"));
        assert_eq!((kept(&out)[0].id, kept(&out)[0].count), (first.id, count));
    }
    for other in [told(32, "door"), told(32, "window"), told(32, "door").replace(CAMERA, DEVICE)] {
        assert!(!news(&tell(&mut bench, &other))[0].1, "{other}");
    }
    // What is remembered is bounded.
    for n in 0..100 {
        tell(&mut bench, &told(40, &format!("number {n}")));
    }
    assert!(!news(&tell(&mut bench, &told(32, "window")))[0].1);
}

#[test]
fn an_alarm_in_a_dialog_or_out_of_one_is_an_alarm() {
    let mut bench = settled();
    let notify = bench.request(Method::Notify, DEVICE, udp(HOME));
    let body = Bytes::from(told(1, "door"));
    let out = bench.deliver(udp(HOME), notify.with_body(manscdp::CONTENT_TYPE, body));
    assert_eq!((out.codes(), kept(&out).len(), news(&out).len()), (vec![481], 1, 1));
    assert_eq!(out.purposes(), [Purpose::Notice]);
    assert!(AlarmFilter::default().methods.is_empty());
}

#[test]
fn alarms_are_acknowledged_and_reset() {
    let mut bench = settled();
    let alarm = news(&tell(&mut bench, &told(1, "door"))).remove(0).0;
    let out = bench.ask(
        1,
        id(DEVICE),
        Request::Acknowledge { alarm: Box::new(alarm.clone()), by: "wang".to_owned() },
    );
    assert_eq!(kept(&out)[0].acknowledged.as_ref().unwrap().by, "wang");
    assert!(matches!(&out.answered[0], (1, Ok(Outcome::Alarm(_)))) && out.events.is_empty());
    // A repetition does not forget it.
    let again = kept(&tell(&mut bench, &told(2, "door"))).remove(0);
    assert!(again.acknowledged.is_some() && again.count == 2);
    // What is read from the registry may be older than what is known here.
    let out = bench.ask(2, id(DEVICE), Request::Reset { alarm: Box::new(alarm.clone()) });
    let sent = &out.requests[0];
    let control = body_of(sent);
    assert_eq!(control.body.text_of("AlarmCmd"), Some("ResetAlarm"));
    assert_eq!(control.device_id, Some(id(CAMERA)));
    bench.answer_sip(sent, 200);
    let out = tell(&mut bench, &write::response_ok("DeviceControl", control.sn, &id(CAMERA), true));
    let reset = kept(&out).remove(0);
    assert_eq!((reset.id, reset.count, reset.reset_at.is_some()), (alarm.id, 2, true));
    assert_eq!(out.answered[0].0, 2);
    // What comes after is another alarm.
    assert!(!news(&tell(&mut bench, &told(3, "door")))[0].1);
    // A device that refuses.
    let out = bench.ask(3, id(DEVICE), Request::Reset { alarm: Box::new(alarm) });
    assert_eq!(bench.answer_sip(&out.requests[0], 400).answered, [(3, Err(Failure::Refused(400)))]);
}

#[test]
fn a_person_raises_an_alarm_that_goes_the_same_road() {
    let mut bench = settled();
    let raise = Raise { by: "li".to_owned(), priority: 1, method: 7, ..Raise::default() };
    let out = bench.ask(1, id(CAMERA), Request::Raise(Box::new(raise.clone())));
    let (alarm, repeated) = news(&out).remove(0);
    assert_eq!((alarm.raised_by.as_deref(), alarm.channel, repeated), (Some("li"), id(CAMERA), false));
    assert_eq!(out.answered, [(1, Ok(Outcome::Alarm(Box::new(alarm.clone()))))]);
    assert!(out.requests.is_empty(), "the device has told nothing");
    // It is reset without asking the device.
    let out = bench.ask(2, id(DEVICE), Request::Reset { alarm: Box::new(alarm) });
    assert!(out.requests.is_empty() && kept(&out)[0].reset_at.is_some());
    let wrong = Raise { priority: 5, ..raise.clone() };
    let out = bench.ask(3, id(CAMERA), Request::Raise(Box::new(wrong)));
    assert!(matches!(out.answered[0].1, Err(Failure::Invalid(_))));
    bench.disk = Some(false);
    let out = bench.ask(4, id(CAMERA), Request::Raise(Box::new(raise)));
    assert_eq!(out.answered, [(4, Err(Failure::NotKept))]);
}

#[test]
fn a_device_gone_mad_does_not_drive_out_the_alarms_of_others() {
    let mut bench = settled();
    for n in 0..6_000 {
        assert_eq!(tell(&mut bench, &told(1, &format!("{n}"))).codes(), [200]);
    }
    let out = tell(&mut bench, &told(1, "one more"));
    assert_eq!((out.codes(), out.writes.len()), (vec![503], 0));
    bench.later(60.0);
    assert_eq!(tell(&mut bench, &told(1, "later")).codes(), [200]);
}

fn at(second: u32, longitude: &str) -> String {
    format!(
        "<Notify><CmdType>MobilePosition</CmdType><SN>5</SN><DeviceID>{CAMERA}</DeviceID>\
         <Time>2024-05-01T08:00:{second:02}</Time><Longitude>{longitude}</Longitude><Latitude>31.8</Latitude></Notify>"
    )
}

#[test]
fn every_position_is_told_and_one_a_minute_is_kept() {
    let mut bench = settled();
    let (mut events, mut writes) = (0, 0);
    for n in 0..30 {
        let out = tell(&mut bench, &at(n, "117.1"));
        events += out.events.iter().filter(|event| matches!(event, Event::Position { .. })).count();
        writes += out.writes.iter().filter(|write| matches!(write, Write::SetPosition { .. })).count();
        bench.later(5.0);
    }
    assert_eq!((events, writes), (30, 3));
    let out = tell(&mut bench, &at(1, "nowhere"));
    assert!(out.events.is_empty() && out.writes.is_empty());
}

#[test]
fn other_news_are_passed_on() {
    let mut bench = settled();
    let notify = |cmd: &str, inside: &str| {
        format!("<Notify><CmdType>{cmd}</CmdType><SN>1</SN><DeviceID>{CAMERA}</DeviceID>{inside}</Notify>")
    };
    let mut event = |cmd: &str, inside: &str| tell(&mut bench, &notify(cmd, inside)).events.pop();
    assert!(
        matches!(event("PTZPosition", "<Pan>12.5</Pan>"), Some(Event::PtzPosition { position, .. }) if position.pan == Some(12.5))
    );
    assert!(
        matches!(event("UploadSnapShotFinished", "<SessionID>s</SessionID>"), Some(Event::SnapshotFinished { finished, .. }) if finished.session == "s")
    );
    assert!(
        matches!(event("DeviceUpgradeResult", "<SessionID>s</SessionID><UpgradeResult>OK</UpgradeResult>"), Some(Event::UpgradeResult { result, .. }) if result.ok)
    );
    assert!(matches!(event("VideoUploadNotify", ""), Some(Event::VideoUpload { .. })));
    assert_eq!(
        event("MediaStatus", "<NotifyType>121</NotifyType>"),
        Some(Event::FileEnd { device: id(DEVICE), channel: id(CAMERA) })
    );
    assert_eq!(event("MediaStatus", "<NotifyType>122</NotifyType>"), None);
}
