use proptest::prelude::*;
use serde_json::json;

use super::value::snake;
use super::*;
use crate::gb::charset::History;
use crate::gb::manscdp::parse;

const CAMERA: &str = "34020000001310000001";
const SESSION: &str = "0123456789abcdef0123456789abcdef";

fn id() -> Id {
    Id::parse(CAMERA).unwrap()
}

fn body(text: &str) -> Element {
    parse(text.as_bytes(), &mut History::default()).unwrap().body
}

fn configured(kind: ConfigKind, value: &Value) -> Result<String, BadConfig> {
    configure(70, &id(), &[(kind, value.clone())], &Style::default()).map(|text| text.replace("\r\n", ""))
}

/// The samples of the standard as JSON and as XML.
fn samples() -> Vec<(ConfigKind, Value, String)> {
    vec![
        (
            ConfigKind::BasicParam,
            json!({"name": "Gate", "expiration": 86400, "heart_beat_interval": 60, "heart_beat_count": 3}),
            "<BasicParam><Name>Gate</Name><Expiration>86400</Expiration><HeartBeatInterval>60</HeartBeatInterval>\
             <HeartBeatCount>3</HeartBeatCount></BasicParam>"
                .into(),
        ),
        (
            ConfigKind::VideoParamAttribute,
            json!([{
                "stream_number": 0, "video_format": "5", "resolution": "6", "frame_rate": 25, "bit_rate_type": 1,
                "video_bit_rate": 4096,
            }]),
            "<VideoParamAttribute Num=\"1\"><Item><StreamNumber>0</StreamNumber><VideoFormat>5</VideoFormat>\
             <Resolution>6</Resolution><FrameRate>25</FrameRate><BitRateType>1</BitRateType>\
             <VideoBitRate>4096</VideoBitRate></Item></VideoParamAttribute>"
                .into(),
        ),
        (
            ConfigKind::VideoRecordPlan,
            json!({
                "record_enable": 1,
                "record_schedule": [{"week_day_num": 1, "time_segment": [{
                    "start_hour": 8, "start_min": 0, "start_sec": 0, "stop_hour": 18, "stop_min": 0, "stop_sec": 0,
                }]}],
                "stream_number": 0,
            }),
            "<VideoRecordPlan><RecordEnable>1</RecordEnable><RecordScheduleSumNum>1</RecordScheduleSumNum>\
             <RecordSchedule><WeekDayNum>1</WeekDayNum><TimeSegmentSumNum>1</TimeSegmentSumNum><TimeSegment>\
             <StartHour>8</StartHour><StartMin>0</StartMin><StartSec>0</StartSec><StopHour>18</StopHour>\
             <StopMin>0</StopMin><StopSec>0</StopSec></TimeSegment></RecordSchedule><StreamNumber>0</StreamNumber>\
             </VideoRecordPlan>"
                .into(),
        ),
        (
            ConfigKind::PictureMask,
            json!({"on": 1, "region_list": [{"seq": 1, "point": "20,30,50,60"}]}),
            "<PictureMask><On>1</On><SumNum>1</SumNum><RegionList Num=\"1\"><Item><Seq>1</Seq>\
             <Point>20,30,50,60</Point></Item></RegionList></PictureMask>"
                .into(),
        ),
        (ConfigKind::FrameMirror, json!(3), "<FrameMirror>3</FrameMirror>".into()),
        (
            ConfigKind::OsdConfig,
            json!({
                "length": 1920, "width": 1080, "time_x": 20, "time_y": 20, "time_enable": 1, "time_type": 0,
                "text_enable": 1, "item": [{"text": "Gate 1", "x": 20, "y": 1000}],
            }),
            "<OSDConfig><Length>1920</Length><Width>1080</Width><TimeX>20</TimeX><TimeY>20</TimeY>\
             <TimeEnable>1</TimeEnable><TimeType>0</TimeType><TextEnable>1</TextEnable><SumNum>1</SumNum>\
             <Item><Text>Gate 1</Text><X>20</X><Y>1000</Y></Item></OSDConfig>"
                .into(),
        ),
        (
            ConfigKind::SnapShotConfig,
            json!({"snap_num": 1, "interval": 1, "upload_url": "http://192.0.2.50/snap", "session_id": SESSION}),
            format!(
                "<SnapShotConfig><SnapNum>1</SnapNum><Interval>1</Interval><UploadURL>http://192.0.2.50/snap</UploadURL>\
                 <SessionID>{SESSION}</SessionID></SnapShotConfig>"
            ),
        ),
        (
            ConfigKind::VideoAlarmRecord,
            json!({"record_enable": 1, "record_time": 30, "pre_record_time": 5, "stream_number": 0}),
            "<VideoAlarmRecord><RecordEnable>1</RecordEnable><RecordTime>30</RecordTime>\
             <PreRecordTime>5</PreRecordTime><StreamNumber>0</StreamNumber></VideoAlarmRecord>"
                .into(),
        ),
        (
            ConfigKind::AlarmReport,
            json!({"motion_detection": 1, "field_detection": 0}),
            "<AlarmReport><MotionDetection>1</MotionDetection><FieldDetection>0</FieldDetection></AlarmReport>".into(),
        ),
        (
            ConfigKind::SvacEncodeConfig,
            json!({
                "roi_param": {"roi_flag": 1, "item": [{"roi_seq": 1, "top_left": 2, "bottom_right": 3, "roiqp": 1}]},
                "svc_param": {"svc_space_domain_mode": 1, "svc_time_domain_mode": 2},
                "surveillance_param": {"time_flag": 1, "osd_flag": 0},
                "audio_param": {"audio_recognition_flag": 1},
            }),
            "<SVACEncodeConfig><ROIParam><ROIFlag>1</ROIFlag><ROINumber>1</ROINumber><Item><ROISeq>1</ROISeq>\
             <TopLeft>2</TopLeft><BottomRight>3</BottomRight><ROIQP>1</ROIQP></Item></ROIParam><SVCParam>\
             <SVCSpaceDomainMode>1</SVCSpaceDomainMode><SVCTimeDomainMode>2</SVCTimeDomainMode></SVCParam>\
             <SurveillanceParam><TimeFlag>1</TimeFlag><OSDFlag>0</OSDFlag></SurveillanceParam><AudioParam>\
             <AudioRecognitionFlag>1</AudioRecognitionFlag></AudioParam></SVACEncodeConfig>"
                .into(),
        ),
        (
            ConfigKind::SvacDecodeConfig,
            json!({"svc_param": {"svcstm_mode": 1}, "surveillance_param": {"aler_showt_flag": 1}}),
            "<SVACDecodeConfig><SVCParam><SVCSTMMode>1</SVCSTMMode></SVCParam><SurveillanceParam>\
             <AlerShowtFlag>1</AlerShowtFlag></SurveillanceParam></SVACDecodeConfig>"
                .into(),
        ),
        (
            ConfigKind::AudioParamConfig,
            json!([{"stream_name": "main", "audio_format": "1", "audio_bit_rate": "8", "sampling_rate": "1"}]),
            "<AudioParamConfig Num=\"1\"><Item><StreamName>main</StreamName><AudioFormat>1</AudioFormat>\
             <AudioBitRate>8</AudioBitRate><SamplingRate>1</SamplingRate></Item></AudioParamConfig>"
                .into(),
        ),
        (
            ConfigKind::VideoParamConfig,
            json!([{"stream_name": "main", "video_format": "2", "frame_rate": 25}]),
            "<VideoParamConfig Num=\"1\"><Item><StreamName>main</StreamName><VideoFormat>2</VideoFormat>\
             <FrameRate>25</FrameRate></Item></VideoParamConfig>"
                .into(),
        ),
    ]
}

#[test]
fn as_in_the_standard() {
    let samples = samples();
    // All that can be set has a sample.
    for kind in ConfigKind::ALL {
        assert_eq!(samples.iter().any(|(sampled, ..)| *sampled == kind), kind.writable(), "{kind}");
    }
    for (kind, value, xml) in samples {
        let sample = format!(
            "<Control><CmdType>DeviceConfig</CmdType><SN>70</SN><DeviceID>{CAMERA}</DeviceID>{xml}</Control>"
        );
        assert_eq!(configured(kind, &value), Ok(sample.clone()));
        assert_eq!(
            sections(&ConfigKind::ALL, &body(&sample)).into_iter().collect::<Vec<_>>(),
            [(kind, value.clone())]
        );
        assert_eq!(differences(kind, &value, &value), Vec::<String>::new());
    }
}

#[test]
fn refuses_what_is_out_of_range() {
    let segment = json!({
        "start_hour": 24, "start_min": 0, "start_sec": 0, "stop_hour": 24, "stop_min": 0, "stop_sec": 0,
    });
    for (kind, value, path, why) in [
        (
            ConfigKind::BasicParam,
            json!({"heart_beat_count": 256}),
            "heart_beat_count",
            "has to be a whole number from 1 to 255",
        ),
        (
            ConfigKind::BasicParam,
            json!({"heart_beat_count": "3"}),
            "heart_beat_count",
            "has to be a whole number from 1 to 255",
        ),
        (ConfigKind::BasicParam, json!({"name": "a\r\nb"}), "name", "has a control character"),
        (ConfigKind::BasicParam, json!({"name": ""}), "name", "has to have 1 to 256 characters"),
        (ConfigKind::BasicParam, json!({"nme": "a"}), "nme", "is not known"),
        (ConfigKind::BasicParam, json!({"longitude": 1}), "BasicParam", "has nothing to set"),
        (ConfigKind::BasicParam, json!([]), "BasicParam", "has to be an object"),
        (ConfigKind::VideoParamOpt, json!({"download_speed": "1"}), "VideoParamOpt", "cannot be set"),
        (ConfigKind::FrameMirror, json!(4), "FrameMirror", "has to be a whole number from 0 to 3"),
        (ConfigKind::VideoParamAttribute, json!([{"frame_rate": 25}]), "[0].stream_number", "is missing"),
        (ConfigKind::VideoParamAttribute, json!({}), "VideoParamAttribute", "has to be a list"),
        (
            ConfigKind::PictureMask,
            json!({"on": 1, "region_list": [{"seq": 1, "point": "1,2,3"}]}),
            "region_list[0].point",
            "has to be four numbers joined with commas: left, top, right, bottom",
        ),
        (
            ConfigKind::VideoRecordPlan,
            json!({"record_enable": 1, "record_schedule": [{"week_day_num": 1, "time_segment": [segment]}]}),
            "record_schedule[0].time_segment[0].start_hour",
            "has to be a whole number from 0 to 23",
        ),
        (
            ConfigKind::OsdConfig,
            json!({"length": 1, "width": 1, "item": vec![json!({"text": "a", "x": 0, "y": 0}); 9]}),
            "item",
            "has more than 8 items",
        ),
        (
            ConfigKind::SnapShotConfig,
            json!({"snap_num": 1, "interval": 1, "upload_url": "ftp://a", "session_id": SESSION}),
            "upload_url",
            "has to be an address of http or https",
        ),
        (ConfigKind::AlarmReport, json!({"other": {"a b": "x"}}), "other.a b", "is no name of an element"),
        (
            ConfigKind::AlarmReport,
            json!({"other": {"MotionDetection": "1"}}),
            "other.MotionDetection",
            "is an element of the standard, which has a member of its own",
        ),
    ] {
        let bad = BadConfig { path: path.into(), why: why.into() };
        assert_eq!(configured(kind, &value), Err(bad), "{kind} {value}");
    }
}

#[test]
fn what_was_read_can_be_sent_again() {
    let read = "<Response><CmdType>ConfigDownload</CmdType><SN>1</SN><Result>OK</Result><BasicParam><Name>a</Name>\
                <HeartBeatCount>3</HeartBeatCount><Password>secret</Password><PositionCapability>1</PositionCapability>\
                <Longitude>117.5</Longitude><VendorMode>x&amp;y</VendorMode></BasicParam></Response>";
    let value = sections(&[ConfigKind::BasicParam], &body(read)).remove(&ConfigKind::BasicParam).unwrap();
    assert_eq!(
        value,
        json!({
            "name": "a", "heart_beat_count": 3, "position_capability": 1, "longitude": 117.5,
            "other": {"VendorMode": "x&y"},
        })
    );
    let sent = configured(ConfigKind::BasicParam, &value).unwrap();
    assert!(
        sent.contains("<BasicParam><Name>a</Name><HeartBeatCount>3</HeartBeatCount><VendorMode>x&amp;y</VendorMode></BasicParam>"),
        "{sent}"
    );
}

#[test]
fn sections_by_other_names() {
    let snap = "<Response><CmdType>ConfigDownload</CmdType><SN>1</SN><SnapShot><SnapNum>2</SnapNum></SnapShot></Response>";
    let found = sections(&[ConfigKind::SnapShotConfig, ConfigKind::FrameMirror], &body(snap));
    assert_eq!(found[&ConfigKind::SnapShotConfig], json!({"snap_num": 2}));
    let loose = "<Response><CmdType>ConfigDownload</CmdType><SN>1</SN><BasicParamCfg><Name>a</Name></BasicParamCfg></Response>";
    assert_eq!(
        sections(&[ConfigKind::BasicParam], &body(loose))[&ConfigKind::BasicParam],
        json!({"name": "a"})
    );
    assert!(sections(&[ConfigKind::BasicParam, ConfigKind::AlarmReport], &body(loose)).is_empty());
}

#[test]
fn what_did_not_take_is_named() {
    let wanted = json!({"name": "a", "heart_beat_count": 3, "password": "p", "longitude": 1});
    let found = json!({"name": "b", "heart_beat_count": "3"});
    assert_eq!(differences(ConfigKind::BasicParam, &wanted, &found), ["name"]);
    let wanted = json!([{"stream_number": 1, "frame_rate": 25}, {"stream_number": 0, "frame_rate": 15}]);
    let found = json!([{"stream_number": 0, "frame_rate": 25}, {"stream_number": 1, "frame_rate": 25}]);
    assert_eq!(differences(ConfigKind::VideoParamAttribute, &wanted, &found), ["[1]"]);
    assert_eq!(differences(ConfigKind::FrameMirror, &json!(1), &json!(0)), ["FrameMirror"]);
    assert_eq!(
        differences(ConfigKind::SnapShotConfig, &json!({"snap_num": 1}), &json!({})),
        Vec::<String>::new()
    );
}

#[test]
fn names() {
    for (xml, json) in [
        ("SIPServerID", "sip_server_id"),
        ("HeartBeatInterval", "heart_beat_interval"),
        ("ROIParam", "roi_param"),
        ("UploadURL", "upload_url"),
        ("On", "on"),
        ("X", "x"),
        ("TimeX", "time_x"),
        ("OSDFlag", "osd_flag"),
    ] {
        assert_eq!(snake(xml), json);
    }
    for kind in ConfigKind::ALL {
        let dashed = snake(kind.as_str()).replace('_', "-");
        assert_eq!((kind.as_str().parse(), dashed.parse()), (Ok(kind), Ok(kind)));
        let title = schema(kind)["title"].clone();
        assert_eq!(serde_json::from_value::<ConfigKind>(title).unwrap(), kind);
    }
    assert_eq!("osdconfig".parse(), Ok(ConfigKind::OsdConfig));
    assert_eq!("snap-shot".parse(), Ok(ConfigKind::SnapShotConfig));
    assert_eq!("Basic".parse::<ConfigKind>(), Err(UnknownKind));
}

#[test]
fn schemas_say_what_is_checked() {
    let basic = schema(ConfigKind::BasicParam);
    assert_eq!(basic["properties"]["heart_beat_count"]["maximum"], 255);
    assert_eq!(basic["properties"]["longitude"]["readOnly"], true);
    assert_eq!(basic["properties"]["password"]["writeOnly"], true);
    let plan = schema(ConfigKind::VideoRecordPlan);
    assert_eq!(plan["required"], json!(["record_enable"]));
    assert_eq!(plan["properties"]["record_schedule"]["items"]["properties"]["time_segment"]["maxItems"], 8);
    assert_eq!(schema(ConfigKind::FrameMirror)["type"], "integer");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z<&\\r\\n大]{0,12}".prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("name".to_owned()),
        Just("other".to_owned()),
        Just("on".to_owned()),
        Just("item".to_owned()),
        Just("region_list".to_owned()),
        "[A-Za-z_<]{1,8}",
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(names.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_refused_or_becomes_xml(value in any_json(), kind in 0usize..14) {
        let kind = ConfigKind::ALL[kind];
        if let Ok(text) = configured(kind, &value) {
            let element = body(&text);
            prop_assert_eq!(parse(text.as_bytes(), &mut History::default()).unwrap().faults, vec![]);
            prop_assert!(element.child(kind.as_str()).is_some());
        }
    }

    #[test]
    fn any_body_is_read_and_written(inside in "[<>/A-Za-z0-9,.\"= -]{0,200}", kind in 0usize..14) {
        let kind = ConfigKind::ALL[kind];
        let text = format!(
            "<Response><CmdType>ConfigDownload</CmdType><SN>1</SN><{kind}><Name>a</Name>{inside}</{kind}></Response>"
        );
        if let Ok(message) = parse(text.as_bytes(), &mut History::default()) {
            for (kind, value) in sections(&[kind], &message.body) {
                let _ = check(kind, &value);
                prop_assert_eq!(differences(kind, &value, &value), Vec::<String>::new());
            }
        }
    }
}
