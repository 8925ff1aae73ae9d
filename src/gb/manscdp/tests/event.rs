use super::*;

const SESSION: &str = "0123456789abcdef0123456789abcdef";

fn notify(cmd: &str, sn: u32, target: &str, inside: &str) -> String {
    format!("<Notify><CmdType>{cmd}</CmdType><SN>{sn}</SN><DeviceID>{target}</DeviceID>{inside}</Notify>")
}

#[test]
fn an_alarm_as_in_the_standard() {
    let sample = notify(
        "Alarm",
        9,
        CAMERA,
        "<AlarmPriority>4</AlarmPriority><AlarmMethod>5</AlarmMethod><AlarmTime>2024-05-01T08:00:00</AlarmTime>\
         <AlarmDescription>intrusion</AlarmDescription><Longitude>117.1</Longitude><Latitude>31.8</Latitude>\
         <Info><AlarmType>6</AlarmType><AlarmTypeParam><EventType>1</EventType></AlarmTypeParam></Info>",
    );
    let alarm = Alarm {
        priority: Some(4),
        method: Some(5),
        time: Some(MAY),
        description: Some("intrusion".into()),
        longitude: Some(117.1),
        latitude: Some(31.8),
        kind: Some(6),
        event_type: Some(1),
    };
    assert_eq!(Alarm::read(&read(&sample), Offset::BEIJING), alarm);
    assert_eq!(squashed(&alarm.body(9, &id(CAMERA), &Style::default())), sample);
    assert_eq!(
        squashed(&Alarm::default().body(9, &id(CAMERA), &Style::default())),
        notify("Alarm", 9, CAMERA, "")
    );
}

#[test]
fn a_filter_wants_some_alarms() {
    let alarm =
        Alarm { priority: Some(2), method: Some(5), kind: Some(6), time: Some(MAY), ..Alarm::default() };
    let all = AlarmFilter::default();
    let later = Some(UnixMillis(MAY.0 + 1));
    assert!(all.wants(&alarm) && all.wants(&Alarm::default()));
    for (filter, wants) in [
        (AlarmFilter { start_priority: 1, end_priority: 2, ..all.clone() }, true),
        (AlarmFilter { start_priority: 3, end_priority: 4, ..all.clone() }, false),
        (AlarmFilter { methods: vec![2, 5], ..all.clone() }, true),
        (AlarmFilter { methods: vec![2], ..all.clone() }, false),
        (AlarmFilter { kind: Some(2), ..all.clone() }, false),
        (AlarmFilter { start: later, ..all.clone() }, false),
        (AlarmFilter { end: later, ..all.clone() }, true),
    ] {
        assert_eq!(filter.wants(&alarm), wants, "{filter:?}");
    }
    // The names of the sample of 2016.
    let text = "<Query><CmdType>Alarm</CmdType><SN>1</SN><DeviceID>1</DeviceID><StartTime>2024-05-01T08:00:00</StartTime></Query>";
    let Some(Query::Alarm(filter)) = Query::read(&read(text), Offset::BEIJING) else { panic!("no filter") };
    assert_eq!(filter, AlarmFilter { start: Some(MAY), ..all });
}

#[test]
fn positions_of_two_editions() {
    let inside = "<Longitude>117.1</Longitude><Latitude>31.8</Latitude><Speed>36</Speed><Direction>90</Direction>\
                  <Altitude>20</Altitude>";
    let flat = notify("MobilePosition", 5, CAMERA, &format!("<Time>2024-05-01T08:00:00</Time>{inside}"));
    let position = Position {
        id: Some(id(CAMERA)),
        at: Some(MAY),
        longitude: 117.1,
        latitude: 31.8,
        speed: Some(36.0),
        direction: Some(90.0),
        altitude: Some(20.0),
        height: None,
    };
    assert_eq!(MobilePosition::read(&read(&flat), Offset::BEIJING), vec![position]);
    assert_eq!(squashed(&MobilePosition::body(5, &id(CAMERA), &[position], &Style::default())), flat);

    let list = notify(
        "MobilePosition",
        5,
        RECORDER,
        &format!(
            "<Time>2024-05-01T08:00:00</Time><SumNum>1</SumNum><DeviceList Num=\"1\"><Item><DeviceID>{CAMERA}</DeviceID>\
             <CaptureTime>2024-05-01T08:00:00</CaptureTime>{inside}<Height>2</Height></Item></DeviceList>"
        ),
    );
    let high = Position { height: Some(2.0), ..position };
    assert_eq!(MobilePosition::read(&read(&list), Offset::BEIJING), vec![high]);
    assert_eq!(squashed(&MobilePosition::body(5, &id(RECORDER), &[high], &new_style())), list);
    // Coordinates beside a list mean nothing; an item without any is left out.
    let empty = notify("MobilePosition", 5, RECORDER, &format!("{inside}<DeviceList><Item/></DeviceList>"));
    assert_eq!(MobilePosition::read(&read(&empty), Offset::BEIJING), vec![]);
    let nowhere = notify("MobilePosition", 5, RECORDER, "<Longitude>999</Longitude><Latitude>1</Latitude>");
    assert_eq!(MobilePosition::read(&read(&nowhere), Offset::BEIJING), vec![]);
}

#[test]
fn other_notifies_as_in_the_standard() {
    let sample = notify(
        "UploadSnapShotFinished",
        82,
        CAMERA,
        &format!(
            "<SessionID>{SESSION}</SessionID><SnapShotList>\
             <SnapShotFileID>34020000001310000001022024050108000012301</SnapShotFileID></SnapShotList>"
        ),
    );
    let finished = SnapshotFinished {
        session: SESSION.into(),
        files: vec!["34020000001310000001022024050108000012301".into()],
    };
    assert_eq!(SnapshotFinished::read(&read(&sample)), finished);
    assert_eq!(squashed(&finished.body(82, &id(CAMERA))), sample);

    let sample = notify(
        "DeviceUpgradeResult",
        83,
        CAMERA,
        &format!(
            "<SessionID>{SESSION}</SessionID><UpgradeResult>ERROR</UpgradeResult><Firmware>V1.2.3</Firmware>\
             <UpgradeFailedReason>02</UpgradeFailedReason>"
        ),
    );
    let result = UpgradeResult {
        session: SESSION.into(),
        ok: false,
        firmware: Some("V1.2.3".into()),
        reason: Some("02".into()),
    };
    assert_eq!(UpgradeResult::read(&read(&sample)), result);
    assert_eq!(squashed(&result.body(83, &id(CAMERA))), sample);

    let sample = notify(
        "VideoUploadNotify",
        84,
        CAMERA,
        "<Time>2024-05-01T08:00:00</Time><Longitude>117.1</Longitude><Latitude>31.8</Latitude>",
    );
    let upload = VideoUpload { at: Some(MAY), longitude: Some(117.1), latitude: Some(31.8) };
    assert_eq!(VideoUpload::read(&read(&sample), Offset::BEIJING), upload);
    assert_eq!(squashed(&upload.body(84, &id(CAMERA), &Style::default())), sample);

    let sample = "<Notify><CmdType>Broadcast</CmdType><SN>81</SN><SourceID>34020000002000000001</SourceID>\
                  <TargetID>34020000001370000001</TargetID></Notify>";
    let broadcast = Broadcast { source: id("34020000002000000001"), target: id("34020000001370000001") };
    assert_eq!(Broadcast::read(&read(sample)), Some(broadcast));
    assert_eq!(squashed(&broadcast.body(81)), sample);
    assert_eq!(Broadcast::read(&read(&notify("Broadcast", 1, CAMERA, ""))), None);
}

proptest! {
    #[test]
    fn any_position_is_read_again(
        longitude in -180.0f64..=180.0, latitude in -90.0f64..=90.0, speed in proptest::option::of(0.0f64..300.0),
    ) {
        let position = Position {
            id: Some(id(CAMERA)), at: Some(MAY), longitude, latitude, speed, direction: None, altitude: None, height: None,
        };
        for style in [Style::default(), new_style()] {
            let body = MobilePosition::body(1, &id(CAMERA), &[position], &style);
            prop_assert_eq!(MobilePosition::read(&read(&body), Offset::BEIJING), vec![position]);
        }
    }
}
