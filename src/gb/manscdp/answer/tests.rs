use proptest::prelude::*;
use serde_json::json;

use super::super::write;
use super::*;
use crate::gb::charset::History;
use crate::gb::id::Id;
use crate::gb::manscdp::{AlarmInput, Edition, RecordQuery, Style, parse};
use crate::gb::time::UnixMillis;

const CAMERA: &str = "34020000001310000001";
/// 2024-05-01 08:00 in Beijing.
const MAY: UnixMillis = UnixMillis(1_714_521_600_000);

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn message(text: &str) -> Message {
    parse(text.as_bytes(), &mut History::default()).unwrap()
}

fn response(cmd: &str, inside: &str) -> Message {
    message(&format!(
        "<Response><CmdType>{cmd}</CmdType><SN>1</SN><DeviceID>{CAMERA}</DeviceID>{inside}</Response>"
    ))
}

fn read(query: &Query, inside: &str) -> Answer {
    Answer::read(query, &response(query.command(), inside), Offset::BEIJING).unwrap()
}

fn config_query(names: &str) -> Query {
    Query::Config(names.split('/').map(|name| name.parse().unwrap()).collect())
}

fn records_query() -> Query {
    Query::Records(RecordQuery::new(MAY, MAY))
}

#[test]
fn as_in_the_standard() {
    for (query, inside, shown) in [
        (
            Query::DeviceInfo,
            "<DeviceName>Lobby NVR</DeviceName><Result>OK</Result><Manufacturer>Example</Manufacturer>\
             <Model>N16</Model><Firmware>V1.2.3</Firmware><Channel>16</Channel>",
            json!({"name": "Lobby NVR", "manufacturer": "Example", "model": "N16", "firmware": "V1.2.3", "channels": 16}),
        ),
        (
            Query::DeviceStatus,
            "<Result>OK</Result><Online>ONLINE</Online><Status>OK</Status><Encode>ON</Encode><Record>OFF</Record>\
             <DeviceTime>2024-05-01T08:00:00</DeviceTime><Alarmstatus Num=\"1\"><Item>\
             <DeviceID>34020000001340000001</DeviceID><DutyStatus>ONDUTY</DutyStatus></Item></Alarmstatus>",
            json!({
                "online": true, "ok": true, "reason": null, "encoding": true, "recording": false,
                "time": "2024-05-01T00:00:00.000Z", "alarms": [{"id": "34020000001340000001", "duty": "onduty"}],
            }),
        ),
        (
            Query::Presets,
            "<SumNum>2</SumNum><PresetList Num=\"2\"><Item><PresetID>1</PresetID><PresetName>door</PresetName></Item>\
             <Item><PresetID>2</PresetID><PresetName>gate</PresetName></Item></PresetList>",
            json!({"items": [{"index": 1, "name": "door"}, {"index": 2, "name": "gate"}], "total": 2}),
        ),
        (
            config_query("BasicParam"),
            "<Result>OK</Result><BasicParam><Name>Gate cam</Name><Expiration>86400</Expiration>\
             <HeartBeatInterval>60</HeartBeatInterval><HeartBeatCount>3</HeartBeatCount></BasicParam>",
            json!({"BasicParam": {
                "name": "Gate cam", "expiration": 86400, "heart_beat_interval": 60, "heart_beat_count": 3,
            }}),
        ),
        (
            Query::HomePosition,
            "<HomePosition><Enabled>1</Enabled><ResetTime>60</ResetTime><PresetIndex>1</PresetIndex></HomePosition>",
            json!({"enabled": true, "reset_seconds": 60, "preset": 1}),
        ),
        (
            Query::CruiseTracks,
            "<SumNum>1</SumNum><CruiseTrackList Num=\"1\"><CruiseTrack><Number>0</Number><Name>night</Name>\
             </CruiseTrack></CruiseTrackList>",
            json!({"items": [{"number": 0, "name": "night"}], "total": 1}),
        ),
        (
            Query::CruiseTrack { number: 0 },
            "<Number>0</Number><Name>night</Name><SumNum>1</SumNum><CruisePointList Num=\"1\"><CruisePoint>\
             <PresetIndex>1</PresetIndex><StayTime>15</StayTime><Speed>5</Speed></CruisePoint></CruisePointList>",
            json!({"number": 0, "name": "night", "points": [{"preset": 1, "stay": 15, "speed": 5}], "total": 1}),
        ),
        (
            Query::PtzPosition,
            "<Pan>120.50</Pan><Tilt>-10.00</Tilt><Zoom>4.00</Zoom><HorizontalFieldAngle>58.3</HorizontalFieldAngle>\
             <VerticalFieldAngle>33.2</VerticalFieldAngle><MaxViewDistance>300</MaxViewDistance>",
            json!({
                "pan": 120.5, "tilt": -10.0, "zoom": 4.0, "horizontal_field_angle": 58.3,
                "vertical_field_angle": 33.2, "max_view_distance": 300.0,
            }),
        ),
        (
            Query::SdCards,
            "<SumNum>1</SumNum><SDCardStatusInfo Num=\"1\"><Item><ID>1</ID><HddName>card1</HddName>\
             <Status>formatting</Status><FormatProgress>40</FormatProgress><Capacity>61000</Capacity>\
             <FreeSpace>12000</FreeSpace></Item></SDCardStatusInfo>",
            json!({
                "items": [{
                    "id": 1, "name": "card1", "status": "formatting", "format_progress": 40, "capacity": 61000,
                    "free": 12000,
                }],
                "total": 1,
            }),
        ),
        (
            records_query(),
            "<Name>Gate cam</Name><SumNum>1</SumNum><RecordList Num=\"1\"><Item><DeviceID>34020000001310000001</DeviceID>\
             <Name>Gate cam</Name><FilePath>rec/1</FilePath><Address>Gate 1</Address>\
             <StartTime>2024-05-01T08:00:00</StartTime><EndTime>2024-05-01T08:30:00</EndTime><Secrecy>0</Secrecy>\
             <Type>time</Type><RecorderID/><FileSize>1048576</FileSize></Item></RecordList>",
            json!({
                "items": [{
                    "device": CAMERA, "name": "Gate cam", "start": "2024-05-01T00:00:00.000Z",
                    "end": "2024-05-01T00:30:00.000Z", "size": 1_048_576, "kind": "time", "file_path": "rec/1",
                    "address": "Gate 1", "recorder_id": null, "location": null, "secrecy": false, "stream": null,
                }],
                "total": 1,
                "complete": true,
            }),
        ),
        (records_query(), "<SumNum>0</SumNum>", json!({"items": [], "total": 0, "complete": true})),
        (records_query(), "<Result>ERROR</Result>", json!({"ok": false})),
    ] {
        let answer = read(&query, inside);
        assert_eq!(serde_json::to_value(&answer).unwrap(), shown, "{inside}");
        assert!(answer.is_complete(), "{inside}");
        // What is written of it says the same.
        for style in [Style::default(), Style::of(Edition::E2022)] {
            let text = write::response(query.command(), &answer, 1, &id(CAMERA), &style);
            assert_eq!(
                Answer::read(&query, &message(&text), Offset::BEIJING),
                Some(answer.clone()),
                "{text}"
            );
        }
    }
}

#[test]
fn answers_of_other_commands() {
    let info = response("DeviceInfo", "<Result>OK</Result>");
    assert_eq!(Answer::read(&Query::DeviceStatus, &info, Offset::BEIJING), None);
    let query = message("<Query><CmdType>DeviceInfo</CmdType><SN>1</SN></Query>");
    assert_eq!(Answer::read(&Query::DeviceInfo, &query, Offset::BEIJING), None);
    assert_eq!(Answer::result(&query), None);
    assert_eq!(Answer::result(&response("DeviceConfig", "")), None);
    let short = response("HomePosition", "<HomePosition><Enabled>1</Enabled></HomePosition>");
    assert!(Answer::read(&Query::HomePosition, &short, Offset::BEIJING).is_some());
    let old =
        "<Alarmstatus num=\"1\"><Item><DeviceID>1</DeviceID><Status>OFFDUTY</Status></Item></Alarmstatus>";
    let Answer::Status(status) = read(&Query::DeviceStatus, old) else { panic!("no status") };
    assert_eq!(status.alarms, [AlarmInput { id: id("1"), duty: Some("offduty".into()) }]);
}

/// A page of recordings that begin at these minutes.
fn records_page(total: u32, minutes: &[i64]) -> Answer {
    let items: Vec<Record> = minutes
        .iter()
        .map(|minute| Record {
            name: "r".into(),
            start: Some(UnixMillis(MAY.0 + minute * 60_000)),
            ..Record::default()
        })
        .collect();
    let text = write::response_records(1, &id(CAMERA), "r", total, &items, &Style::default());
    Answer::read(&records_query(), &message(&text), Offset::BEIJING).unwrap()
}

fn minutes(answer: &Answer) -> Vec<i64> {
    let Answer::Records(records) = answer else { panic!("no records") };
    records.items.iter().filter_map(|record| Some((record.start?.0 - MAY.0) / 60_000)).collect()
}

#[test]
fn pages_in_any_order() {
    let mut all = records_page(5, &[4, 3]);
    assert!(!all.is_complete());
    all.merge(records_page(5, &[0]));
    all.merge(records_page(5, &[4, 3]));
    assert!(!all.is_complete());
    all.merge(records_page(5, &[2, 1]));
    assert!(all.is_complete());
    assert_eq!(minutes(&all), [0, 1, 2, 3, 4]);
}

#[test]
fn a_wrong_total() {
    // Less than came: complete at once, and what comes later is taken in all the same.
    let mut all = records_page(1, &[0, 1]);
    assert!(all.is_complete());
    all.merge(records_page(1, &[2]));
    assert_eq!(minutes(&all), [0, 1, 2]);
    // None at all: what is there is all.
    let list = "<RecordList><Item><Name>a</Name></Item></RecordList>";
    assert!(read(&records_query(), list).is_complete());
}

#[test]
fn lists_over_several_messages() {
    let preset = |n: u32, name: &str| {
        let item = format!("<Item><PresetID>{n}</PresetID><PresetName>{name}</PresetName></Item>");
        read(&Query::Presets, &format!("<SumNum>2</SumNum><PresetList Num=\"1\">{item}</PresetList>"))
    };
    let mut all = preset(2, "b");
    assert!(!all.is_complete());
    all.merge(preset(2, "c"));
    assert!(!all.is_complete());
    all.merge(preset(1, "a"));
    assert!(all.is_complete());
    let shown = serde_json::to_value(&all).unwrap();
    assert_eq!(shown["items"], json!([{"index": 1, "name": "a"}, {"index": 2, "name": "c"}]));
}

#[test]
fn configuration_over_several_messages() {
    let query = config_query("BasicParam/VideoParamOpt/FrameMirror");
    let mut all = read(&query, "<Result>OK</Result><BasicParam><Name>a</Name></BasicParam>");
    assert!(!all.is_complete());
    // A kind that the device does not have.
    all.merge(read(&query, "<Result>ERROR</Result>"));
    assert!(!all.is_complete());
    all.merge(read(&query, "<Result>OK</Result><FrameMirror>3</FrameMirror>"));
    assert!(all.is_complete());
    assert_eq!(serde_json::to_value(&all).unwrap(), json!({"BasicParam": {"name": "a"}, "FrameMirror": 3}));
    let one = read(
        &query,
        "<BasicParam><Name>a</Name></BasicParam><VideoParamOpt><DownloadSpeed>1/2</DownloadSpeed></VideoParamOpt>",
    );
    assert!(!one.is_complete());
    assert!(read(&config_query("OSDConfig"), "<Result>OK</Result>").is_complete());
}

#[test]
fn memory_is_bounded() {
    let mut all = Records::default();
    for page in 0..30 {
        let start = |n: usize| Some(UnixMillis((page * 1000 + n) as i64));
        let items = (0..1000).map(|n| Record { start: start(n), ..Record::default() }).collect();
        all.merge(Records::new(items, u32::MAX));
    }
    assert_eq!(all.items.len(), MAX_RECORDS);
    assert!(!all.complete && Answer::Records(all).is_complete());
    let many: String = (0..2000).map(|n| format!("<Item><PresetID>{n}</PresetID></Item>")).collect();
    let Answer::Presets(list) = read(&Query::Presets, &format!("<PresetList>{many}</PresetList>")) else {
        panic!("no presets")
    };
    assert_eq!(list.items.len(), MAX_LIST);
    assert!(list.is_complete());
}

proptest! {
    #[test]
    fn pages_make_the_same_whole(mut cut in proptest::collection::vec(0usize..20, 0..6), order: prop::sample::Index) {
        cut.extend([0, 20]);
        cut.sort_unstable();
        let minute: Vec<i64> = (0..20).collect();
        let mut pages: Vec<&[i64]> = cut.windows(2).map(|w| &minute[w[0]..w[1]]).filter(|p| !p.is_empty()).collect();
        let at = order.index(pages.len());
        pages.rotate_left(at);
        let mut all = records_page(20, pages[0]);
        for page in &pages[1..] {
            prop_assert!(!all.is_complete());
            all.merge(records_page(20, page));
        }
        prop_assert!(all.is_complete());
        prop_assert_eq!(minutes(&all), minute);
    }

    #[test]
    fn any_answer_is_read(inside in "[<>/A-Za-z0-9:T.\"= -]{0,300}", which in 0usize..11) {
        let query = [
            Query::Catalog, Query::DeviceInfo, Query::DeviceStatus, records_query(), config_query("BasicParam"),
            Query::Presets, Query::HomePosition, Query::CruiseTracks, Query::CruiseTrack { number: 1 },
            Query::PtzPosition, Query::SdCards,
        ][which].clone();
        let text = format!("<Response><CmdType>{}</CmdType><SN>1</SN>{inside}</Response>", query.command());
        let message = parse(text.as_bytes(), &mut History::default()).ok();
        let read = |message: Message| Answer::read(&query, &message, Offset::BEIJING);
        if let Some(mut answer) = message.and_then(read) {
            let complete = answer.is_complete();
            answer.merge(answer.clone());
            prop_assert!(answer.is_complete() >= complete);
            prop_assert!(serde_json::to_value(&answer).is_ok());
        }
    }
}
