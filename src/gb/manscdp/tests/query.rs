use super::*;

fn config(names: &str) -> Query {
    Query::Config(names.split('/').map(|name| name.parse().unwrap()).collect())
}

/// What the standard's samples say, and the query that they are of.
fn samples() -> Vec<(&'static str, u32, &'static str, Query)> {
    let hour = RecordQuery::new(MAY, UnixMillis(MAY.0 + 3_600_000));
    vec![
        ("DeviceInfo", 50, RECORDER, Query::DeviceInfo),
        ("DeviceStatus", 51, RECORDER, Query::DeviceStatus),
        ("PresetQuery", 52, CAMERA, Query::Presets),
        ("HomePositionQuery", 54, CAMERA, Query::HomePosition),
        ("CruiseTrackListQuery", 55, CAMERA, Query::CruiseTracks),
        ("PTZPosition", 57, CAMERA, Query::PtzPosition),
        ("SDCardStatus", 58, CAMERA, Query::SdCards),
        ("Catalog", 17, RECORDER, Query::Catalog),
        (
            "ConfigDownload|<ConfigType>BasicParam/VideoParamOpt</ConfigType>",
            53,
            RECORDER,
            config("BasicParam/VideoParamOpt"),
        ),
        ("CruiseTrackQuery|<Number>0</Number>", 56, CAMERA, Query::CruiseTrack { number: 0 }),
        ("MobilePosition|<Interval>5</Interval>", 5, RECORDER, Query::MobilePosition { interval: 5 }),
        (
            "RecordInfo|<StartTime>2024-05-01T08:00:00</StartTime><EndTime>2024-05-01T09:00:00</EndTime>\
             <Secrecy>0</Secrecy><Type>all</Type>",
            21,
            CAMERA,
            Query::Records(hour),
        ),
        (
            "Alarm|<StartAlarmPriority>1</StartAlarmPriority><EndAlarmPriority>4</EndAlarmPriority>\
             <AlarmMethod>0</AlarmMethod>",
            90,
            CAMERA,
            Query::Alarm(AlarmFilter { start_priority: 1, end_priority: 4, ..AlarmFilter::default() }),
        ),
    ]
}

#[test]
fn as_in_the_standard() {
    let style = Style { record_type_always: true, ..Style::default() };
    for (inside, sn, target, query) in samples() {
        let (cmd, inside) = inside.split_once('|').unwrap_or((inside, ""));
        let sample = format!(
            "<Query><CmdType>{cmd}</CmdType><SN>{sn}</SN><DeviceID>{target}</DeviceID>{inside}</Query>"
        );
        let body = query.body(sn, &id(target), &style);
        assert_eq!(squashed(&body), sample);
        let message = read(&sample);
        assert_eq!((message.sn, message.device_id), (sn, Some(id(target))));
        assert_eq!(Query::read(&message, Offset::BEIJING), Some(query.clone()));
        assert_eq!(query.command(), cmd);
    }
}

#[test]
fn records_by_style_and_edition() {
    let mut query = RecordQuery::new(MAY, UnixMillis(MAY.0 + 1));
    query.stream = Some(1);
    query.alarm_method = Some(5);
    query.alarm_kind = Some(6);
    query.file_path = Some("a&b".into());
    query.address = Some("Gate".into());
    query.recorder_id = Some("me".into());
    query.indistinct = true;
    let query = Query::Records(query);
    let old = query.body(1, &id(CAMERA), &Style::default());
    assert!(!old.contains("StreamNumber") && !old.contains("<Type>"), "{old}");
    let new = query.body(1, &id(CAMERA), &new_style());
    assert!(
        squashed(&new).contains(
            "<FilePath>a&amp;b</FilePath><Address>Gate</Address><Secrecy>0</Secrecy><RecorderID>me</RecorderID>\
             <IndistinctQuery>1</IndistinctQuery><StreamNumber>1</StreamNumber><AlarmMethod>5</AlarmMethod>\
             <AlarmType>6</AlarmType></Query>"
        ),
        "{new}"
    );
    for kind in [RecordKind::Time, RecordKind::Alarm, RecordKind::Manual] {
        let query = Query::Records(RecordQuery { kind, ..RecordQuery::new(MAY, MAY) });
        let body = query.body(1, &id(CAMERA), &Style::default());
        assert!(body.contains(&format!("<Type>{}</Type>", kind.as_str())));
        assert_eq!(Query::read(&read(&body), Offset::BEIJING), Some(query));
    }
}

#[test]
fn editions_and_pages() {
    for (query, since, paged) in [
        (Query::DeviceInfo, Edition::E2011, false),
        (Query::Records(RecordQuery::new(MAY, MAY)), Edition::E2011, true),
        (config("BasicParam"), Edition::E2014, false),
        (config("BasicParam/VideoParamOpt"), Edition::E2016, true),
        (config("OSDConfig"), Edition::E2022, false),
        (Query::Presets, Edition::E2014, true),
        (Query::MobilePosition { interval: 5 }, Edition::E2016, false),
        (Query::SdCards, Edition::E2022, true),
    ] {
        assert_eq!((query.since(), query.paged()), (since, paged), "{query:?}");
    }
}

#[test]
fn what_is_no_query() {
    let records = "<Query><CmdType>RecordInfo</CmdType><SN>1</SN><DeviceID>1</DeviceID></Query>";
    let other = "<Query><CmdType>Weather</CmdType><SN>1</SN></Query>";
    let response = "<Response><CmdType>DeviceInfo</CmdType><SN>1</SN></Response>";
    for text in [records, other, response] {
        assert_eq!(Query::read(&read(text), Offset::BEIJING), None, "{text}");
    }
    let kinds = "<Query><CmdType>ConfigDownload</CmdType><SN>1</SN><ConfigType>basicparam/x/BasicParam</ConfigType></Query>";
    assert_eq!(Query::read(&read(kinds), Offset::BEIJING), Some(config("BasicParam")));
}

#[test]
fn alarm_methods_by_edition() {
    let filter = AlarmFilter { methods: vec![1, 2], ..AlarmFilter::default() };
    let query = Query::Alarm(filter);
    for (style, text) in [(Style::default(), "12"), (new_style(), "1/2")] {
        let body = query.body(1, &id(CAMERA), &style);
        assert!(body.contains(&format!("<AlarmMethod>{text}</AlarmMethod>")), "{body}");
        assert_eq!(Query::read(&read(&body), Offset::BEIJING), Some(query.clone()));
    }
}

proptest! {
    #[test]
    fn any_query_is_read_again(
        start in 0i64..4_000_000_000, len in 0i64..100_000, secrecy: bool, indistinct: bool,
        file_path in proptest::option::of("[a-z&<>\"'/大厅]{1,40}"), stream in proptest::option::of(0u8..8),
        kind in 0usize..4,
    ) {
        let kind = [RecordKind::Time, RecordKind::Alarm, RecordKind::Manual, RecordKind::All][kind];
        let query = Query::Records(RecordQuery {
            kind, secrecy, indistinct, file_path, stream,
            ..RecordQuery::new(UnixMillis(start * 1000), UnixMillis((start + len) * 1000))
        });
        let body = query.body(1, &id(CAMERA), &new_style());
        prop_assert_eq!(Query::read(&read(&body), Offset::BEIJING), Some(query));
    }

    #[test]
    fn any_body_is_a_query_or_none(cmd in 0usize..COMMANDS.len(), inside in "[<>/A-Za-z0-9:T -]{0,200}") {
        let text = format!("<Query><CmdType>{}</CmdType><SN>1</SN>{inside}</Query>", COMMANDS[cmd]);
        let message = parse(text.as_bytes(), &mut History::default()).ok();
        if let Some(message) = message && let Some(query) = Query::read(&message, Offset::BEIJING) {
            prop_assert_eq!(query.command(), message.cmd);
        }
    }
}
