//! The configuration that devices keep: every kind of both editions written and read, checked before it is sent, and read
//! back, since many devices say OK to what they do not know.

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
use support::facing::{camera, device_path, exchange, names_field, reply};
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway};
use support::sip::Device;
use support::wild::{finding, sent};

/// A kind, a value of it, and the element that the standard has for that value.
fn sections() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "BasicParam",
            json!({ "name": "Gate", "expiration": 86400, "heart_beat_interval": 60, "heart_beat_count": 3 }),
            "<BasicParam><Name>Gate</Name><Expiration>86400</Expiration><HeartBeatInterval>60</HeartBeatInterval>\
             <HeartBeatCount>3</HeartBeatCount></BasicParam>",
        ),
        (
            "SVACEncodeConfig",
            json!({
                "roi_param": { "roi_flag": 1, "item": [
                    { "roi_seq": 1, "top_left": 2, "bottom_right": 40, "roiqp": 3 },
                ], "back_ground_qp": 0, "back_ground_skip_flag": 1 },
                "svc_param": { "svc_space_domain_mode": 1, "svc_time_domain_mode": 2, "ssvc_ratio_value": "4:3" },
                "surveillance_param": { "time_flag": 1, "event_flag": 0, "alert_flag": 1, "osd_flag": 1,
                                        "ai_flag": 0, "gis_flag": 1 },
                "audio_param": { "audio_recognition_flag": 1 },
            }),
            "<SVACEncodeConfig><ROIParam><ROIFlag>1</ROIFlag><ROINumber>1</ROINumber><Item><ROISeq>1</ROISeq>\
             <TopLeft>2</TopLeft><BottomRight>40</BottomRight><ROIQP>3</ROIQP></Item><BackGroundQP>0</BackGroundQP>\
             <BackGroundSkipFlag>1</BackGroundSkipFlag></ROIParam><SVCParam><SVCSpaceDomainMode>1</SVCSpaceDomainMode>\
             <SVCTimeDomainMode>2</SVCTimeDomainMode><SSVCRatioValue>4:3</SSVCRatioValue></SVCParam>\
             <SurveillanceParam><TimeFlag>1</TimeFlag><EventFlag>0</EventFlag><AlertFlag>1</AlertFlag>\
             <OSDFlag>1</OSDFlag><AIFlag>0</AIFlag><GISFlag>1</GISFlag></SurveillanceParam><AudioParam>\
             <AudioRecognitionFlag>1</AudioRecognitionFlag></AudioParam></SVACEncodeConfig>",
        ),
        (
            "SVACDecodeConfig",
            json!({
                "svc_param": { "svcstm_mode": 2 },
                "surveillance_param": { "time_show_flag": 1, "event_show_flag": 1, "aler_showt_flag": 0,
                                        "osd_show_flag": 1, "ai_show_flag": 1, "gis_show_flag": 0 },
            }),
            "<SVACDecodeConfig><SVCParam><SVCSTMMode>2</SVCSTMMode></SVCParam><SurveillanceParam>\
             <TimeShowFlag>1</TimeShowFlag><EventShowFlag>1</EventShowFlag><AlerShowtFlag>0</AlerShowtFlag>\
             <OSDShowFlag>1</OSDShowFlag><AIShowFlag>1</AIShowFlag><GISShowFlag>0</GISShowFlag></SurveillanceParam>\
             </SVACDecodeConfig>",
        ),
        (
            "VideoParamAttribute",
            json!([{ "stream_number": 0, "video_format": "5", "resolution": "6", "frame_rate": 25,
                     "bit_rate_type": 1, "video_bit_rate": 4096 }]),
            "<VideoParamAttribute Num=\"1\"><Item><StreamNumber>0</StreamNumber><VideoFormat>5</VideoFormat>\
             <Resolution>6</Resolution><FrameRate>25</FrameRate><BitRateType>1</BitRateType>\
             <VideoBitRate>4096</VideoBitRate></Item></VideoParamAttribute>",
        ),
        (
            "VideoRecordPlan",
            json!({ "record_enable": 1, "record_schedule": [{ "week_day_num": 1, "time_segment": [
                        { "start_hour": 8, "start_min": 0, "start_sec": 0, "stop_hour": 18, "stop_min": 0,
                          "stop_sec": 0 }] }],
                    "stream_number": 0 }),
            "<VideoRecordPlan><RecordEnable>1</RecordEnable><RecordScheduleSumNum>1</RecordScheduleSumNum>\
             <RecordSchedule><WeekDayNum>1</WeekDayNum><TimeSegmentSumNum>1</TimeSegmentSumNum><TimeSegment>\
             <StartHour>8</StartHour><StartMin>0</StartMin><StartSec>0</StartSec><StopHour>18</StopHour>\
             <StopMin>0</StopMin><StopSec>0</StopSec></TimeSegment></RecordSchedule><StreamNumber>0</StreamNumber>\
             </VideoRecordPlan>",
        ),
        (
            "VideoAlarmRecord",
            json!({ "record_enable": 1, "record_time": 30, "pre_record_time": 5, "stream_number": 1 }),
            "<VideoAlarmRecord><RecordEnable>1</RecordEnable><RecordTime>30</RecordTime>\
             <PreRecordTime>5</PreRecordTime><StreamNumber>1</StreamNumber></VideoAlarmRecord>",
        ),
        (
            "PictureMask",
            json!({ "on": 1, "region_list": [{ "seq": 1, "point": "20,30,50,60" }] }),
            "<PictureMask><On>1</On><SumNum>1</SumNum><RegionList Num=\"1\"><Item><Seq>1</Seq>\
             <Point>20,30,50,60</Point></Item></RegionList></PictureMask>",
        ),
        ("FrameMirror", json!(3), "<FrameMirror>3</FrameMirror>"),
        (
            "AlarmReport",
            json!({ "motion_detection": 1, "field_detection": 0 }),
            "<AlarmReport><MotionDetection>1</MotionDetection><FieldDetection>0</FieldDetection></AlarmReport>",
        ),
        (
            "OSDConfig",
            json!({ "length": 1920, "width": 1080, "time_x": 20, "time_y": 20, "time_enable": 1, "time_type": 0,
                    "text_enable": 1, "item": [{ "text": "Gate 1", "x": 20, "y": 1000 }] }),
            "<OSDConfig><Length>1920</Length><Width>1080</Width><TimeX>20</TimeX><TimeY>20</TimeY>\
             <TimeEnable>1</TimeEnable><TimeType>0</TimeType><TextEnable>1</TextEnable><SumNum>1</SumNum><Item>\
             <Text>Gate 1</Text><X>20</X><Y>1000</Y></Item></OSDConfig>",
        ),
        (
            "VideoParamConfig",
            json!([{ "stream_name": "Stream1", "video_format": "2", "resolution": "6", "frame_rate": 25,
                     "bit_rate_type": 2, "video_bit_rate": 2048 }]),
            "<VideoParamConfig Num=\"1\"><Item><StreamName>Stream1</StreamName><VideoFormat>2</VideoFormat>\
             <Resolution>6</Resolution><FrameRate>25</FrameRate><BitRateType>2</BitRateType>\
             <VideoBitRate>2048</VideoBitRate></Item></VideoParamConfig>",
        ),
        (
            "AudioParamConfig",
            json!([{ "stream_name": "Stream1", "audio_format": "1", "audio_bit_rate": "5", "sampling_rate": "1" }]),
            "<AudioParamConfig Num=\"1\"><Item><StreamName>Stream1</StreamName><AudioFormat>1</AudioFormat>\
             <AudioBitRate>5</AudioBitRate><SamplingRate>1</SamplingRate></Item></AudioParamConfig>",
        ),
    ]
}

/// The path of a kind of the channel's configuration.
fn path_of(kind: &str) -> String {
    device_path(&format!("config/{kind}?channel={CHANNEL}"))
}

/// Answers a ConfigDownload for a kind with these elements.
async fn tell(device: &mut Device, kind: &str, inside: &str) {
    let query = device.asked_for("<CmdType>ConfigDownload<").await;
    assert_eq!(query.element("ConfigType"), kind);
    assert_eq!(query.element("DeviceID"), CHANNEL);
    let answer = reply(device, &query, &format!("<Result>OK</Result>{inside}")).await;
    assert_eq!(answer.code(), 200);
}

#[tokio::test]
async fn every_kind_is_written_as_the_standard_has_it_and_read_back() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "3.0").await;
    for (kind, value, element) in sections() {
        let path = path_of(kind);
        let taking = async {
            let request = device.asked_for("<CmdType>DeviceConfig<").await;
            assert_eq!(reply(&mut device, &request, "<Result>OK</Result>").await.code(), 200);
            tell(&mut device, kind, element).await;
            request
        };
        let (answer, request) = tokio::join!(gateway.tell(Method::PUT, &path, &value), taking);
        assert_eq!(answer.json(), json!({ "verified": true, "ignored": [] }), "{kind}: {}", answer.text);
        let body = request.text().replace("\r\n", "");
        assert!(body.contains(element), "{kind}: {body}");
        assert!(body.contains("<Control><CmdType>DeviceConfig</CmdType><SN>"), "{body}");

        let (answer, ()) = tokio::join!(gateway.ask(Method::GET, &path), tell(&mut device, kind, element));
        let told = answer.json();
        assert_eq!((&told["value"], &told["kind"]), (&value, &json!(kind)), "{}", answer.text);
        assert_eq!((&told["device"], &told["channel"]), (&json!(CAMERA), &json!(CHANNEL)));
    }
}

#[tokio::test]
async fn what_is_only_told_is_read() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "3.0").await;
    let session = "0123456789abcdef0123456789abcdef";
    let snap = format!(
        "<SnapShot><SnapNum>2</SnapNum><Interval>5</Interval><UploadURL>http://192.0.2.1/p</UploadURL>\
         <SessionID>{session}</SessionID></SnapShot>"
    );
    let basic = "<BasicParam><Name>Gate</Name><Password>secret</Password><PositionCapability>1</PositionCapability>\
                 <Longitude>117.25</Longitude><Latitude>31.5</Latitude><Theme>dark</Theme></BasicParam>";
    for (kind, element, value) in [
        (
            "VideoParamOpt",
            "<VideoParamOpt><DownloadSpeed>1/2/4</DownloadSpeed><Resolution>5/6</Resolution></VideoParamOpt>",
            json!({ "download_speed": "1/2/4", "resolution": "5/6" }),
        ),
        // Printed so in the standard.
        (
            "SnapShotConfig",
            &snap,
            json!({ "snap_num": 2, "interval": 5, "upload_url": "http://192.0.2.1/p", "session_id": session }),
        ),
        // A password is never shown; what the standard does not know is.
        (
            "BasicParam",
            basic,
            json!({ "name": "Gate", "position_capability": 1, "longitude": 117.25, "latitude": 31.5,
                    "other": { "Theme": "dark" } }),
        ),
        // Under another name, as some have it.
        (
            "AlarmReport",
            "<AlarmReportConfig><MotionDetection>1</MotionDetection></AlarmReportConfig>",
            json!({ "motion_detection": 1 }),
        ),
    ] {
        let path = path_of(kind);
        let (answer, ()) = tokio::join!(gateway.ask(Method::GET, &path), tell(&mut device, kind, element));
        assert_eq!(answer.json()["value"], value, "{kind}: {}", answer.text);
    }
    // OK, and nothing with it.
    let path = path_of("FrameMirror");
    let (answer, ()) = tokio::join!(gateway.ask(Method::GET, &path), tell(&mut device, "FrameMirror", ""));
    answer.is_problem(502, "not_told", "device");
    let asked = (Method::GET, &*path, &Value::Null);
    let inside = Some("<Result>ERROR</Result>");
    let (answer, _) = exchange(&gateway, &mut device, asked, "<CmdType>ConfigDownload<", inside).await;
    answer.is_problem(502, "failed", "device");

    // Snapshots are taken and not kept, so there is nothing to compare.
    let value =
        json!({ "snap_num": 1, "interval": 1, "upload_url": "http://192.0.2.1/p", "session_id": session });
    let path = path_of("SnapShotConfig");
    let asked = (Method::PUT, &*path, &value);
    let inside = Some("<Result>OK</Result>");
    let (answer, request) = exchange(&gateway, &mut device, asked, "<CmdType>DeviceConfig<", inside).await;
    assert_eq!(answer.json(), json!({ "verified": false, "ignored": [] }), "{}", answer.text);
    let element = snap.replace("SnapShot>", "SnapShotConfig>").replace(">2<", ">1<").replace(">5<", ">1<");
    assert!(request.text().replace("\r\n", "").contains(&element), "{}", request.text());
}

#[tokio::test]
async fn a_value_is_checked_before_it_is_sent() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "3.0").await;
    device.asked_for("SUBSCRIBE").await;
    let before = sent(&gateway, "MESSAGE").await;
    let segment = json!({ "start_hour": 8, "start_min": 0, "start_sec": 0, "stop_hour": 25, "stop_min": 0,
                          "stop_sec": 0 });
    let region = |point: &str| json!({ "on": 1, "region_list": [{ "seq": 1, "point": point }] });
    for (kind, value, field) in [
        ("BasicParam", json!({ "heart_beat_count": 0 }), "heart_beat_count"),
        ("BasicParam", json!({ "heart_beat_count": "three" }), "heart_beat_count"),
        ("BasicParam", json!({ "name": "" }), "name"),
        ("BasicParam", json!({ "name": "a\nb" }), "name"),
        ("BasicParam", json!({ "nmae": "a" }), "nmae"),
        ("BasicParam", json!({}), "BasicParam"),
        ("BasicParam", json!({ "expiration": 604_801 }), "expiration"),
        ("VideoParamOpt", json!({ "resolution": "6" }), "kind"),
        (
            "SVACEncodeConfig",
            json!({ "svc_param": { "svc_space_domain_mode": 4 } }),
            "svc_param.svc_space_domain_mode",
        ),
        (
            "SVACEncodeConfig",
            json!({ "roi_param": { "item": [{ "roi_seq": 1, "top_left": 1, "bottom_right": 2 }] } }),
            "roi_param.item[0].roiqp",
        ),
        ("SVACDecodeConfig", json!({ "svc_param": { "svcstm_mode": 9 } }), "svc_param.svcstm_mode"),
        ("VideoParamAttribute", json!([{ "frame_rate": 25 }]), "[0].stream_number"),
        ("VideoParamAttribute", json!([{ "stream_number": 0, "bit_rate_type": 3 }]), "[0].bit_rate_type"),
        (
            "VideoRecordPlan",
            json!({ "record_enable": 1, "record_schedule": [{ "week_day_num": 1, "time_segment": [segment] }] }),
            "record_schedule[0].time_segment[0].stop_hour",
        ),
        ("VideoAlarmRecord", json!({ "record_time": 30 }), "record_enable"),
        ("PictureMask", region("1,2,3"), "region_list[0].point"),
        ("PictureMask", region("1,2,3,x"), "region_list[0].point"),
        ("FrameMirror", json!(4), "FrameMirror"),
        ("AlarmReport", json!({ "motion_detection": 2 }), "motion_detection"),
        (
            "OSDConfig",
            json!({ "length": 1, "width": 1, "item": [{ "text": "x".repeat(33), "x": 1, "y": 1 }] }),
            "item[0].text",
        ),
        (
            "SnapShotConfig",
            json!({ "snap_num": 1, "interval": 1, "upload_url": "ftp://x", "session_id": "a".repeat(32) }),
            "upload_url",
        ),
        (
            "SnapShotConfig",
            json!({ "snap_num": 1, "interval": 1, "upload_url": "http://x/", "session_id": "short" }),
            "session_id",
        ),
        ("VideoParamConfig", json!([{ "video_format": "2" }]), "[0].stream_name"),
        ("AudioParamConfig", json!({ "item": [] }), "AudioParamConfig"),
    ] {
        let answer = gateway.tell(Method::PUT, &path_of(kind), &value).await;
        names_field(&answer, field);
        assert_eq!(answer.json()["step"], "request", "{}", answer.text);
    }
    gateway.ask(Method::GET, &path_of("NoSuchConfig")).await.is_problem(404, "not_found", "lookup");
    assert_eq!(sent(&gateway, "MESSAGE").await, before, "nothing of it went to the device");

    // What there is, and of which form, is told.
    let kinds = gateway.get("/api/v1/config-kinds").await;
    let kinds = kinds["items"].as_array().unwrap();
    assert_eq!(kinds.len(), 14);
    for (kind, ..) in sections() {
        let told = kinds.iter().find(|told| told["kind"] == kind).unwrap();
        assert_eq!((&told["writable"], told["schema"].is_object()), (&json!(true), true), "{told}");
    }
}

#[tokio::test]
async fn an_older_device_is_not_told_what_it_does_not_have() {
    let gateway = Gateway::start(&[]).await;
    let _fleet = Fleet::default().start(&gateway).await;
    // The simulator of 2016 says so in no header: what it does not have it refuses itself.
    let refused = gateway.tell(Method::PUT, &path_of("FrameMirror"), &json!(1)).await;
    refused.is_problem(502, "failed", "device");
    drop(_fleet);
    gateway.device_online(CAMERA, false).await;

    let mut device = camera(&gateway, "2.0").await;
    device.asked_for("SUBSCRIBE").await;
    let before = sent(&gateway, "MESSAGE").await;
    let older =
        ["BasicParam", "SVACEncodeConfig", "SVACDecodeConfig", "VideoParamConfig", "AudioParamConfig"];
    for (kind, value, _) in sections().into_iter().filter(|(kind, ..)| !older.contains(kind)) {
        let path = path_of(kind);
        gateway.ask(Method::GET, &path).await.is_problem(422, "unsupported", "validation");
        let refused = gateway.tell(Method::PUT, &path, &value).await;
        refused.is_problem(422, "unsupported", "validation");
    }
    assert_eq!(sent(&gateway, "MESSAGE").await, before);
}

/// Something else than the simulator has at the beginning, for each kind that it knows in 2022.
fn changes() -> Vec<(&'static str, Value)> {
    let new = ["BasicParam", "VideoParamConfig", "AudioParamConfig", "VideoRecordPlan"];
    let mut changes: Vec<_> = sections()
        .into_iter()
        .filter(|(kind, ..)| !new.contains(kind))
        .map(|(kind, value, _)| (kind, value))
        .collect();
    for (kind, value) in &mut changes {
        if *kind == "AlarmReport" {
            *value = json!({ "motion_detection": 0, "field_detection": 1 });
        } else if *kind == "OSDConfig" {
            value["item"][0]["text"] = json!("大门 1");
        }
    }
    changes.push(("BasicParam", json!({ "name": "东门", "heart_beat_interval": 3, "heart_beat_count": 7 })));
    let day = |day: u8| {
        let at = |from: u8, to: u8| json!({ "start_hour": from, "start_min": 5, "start_sec": 6, "stop_hour": to, "stop_min": 0, "stop_sec": 0 });
        json!({ "week_day_num": day, "time_segment": [at(0, 6), at(22, 24)] })
    };
    let week: Vec<Value> = (1..=7).map(day).collect();
    changes.push((
        "VideoRecordPlan",
        json!({ "record_enable": 0, "record_schedule": week, "stream_number": 1 }),
    ));
    changes
}

#[tokio::test]
async fn a_device_keeps_what_it_is_told() {
    let gateway = Gateway::start(&[]).await;
    let _fleet = Fleet { more: &["--edition", "2022"], ..Fleet::default() }.start(&gateway).await;
    for (kind, wanted) in changes() {
        let path = path_of(kind);
        let before = gateway.get(&path).await["value"].clone();
        let told = gateway.tell(Method::PUT, &path, &wanted).await;
        assert_eq!(told.json(), json!({ "verified": true, "ignored": [] }), "{kind}: {}", told.text);
        let after = gateway.get(&path).await["value"].clone();
        assert_ne!(after, before, "{kind}");
        // What was not named stays.
        let mut all = before.clone();
        match (all.as_object_mut(), wanted.as_object()) {
            (Some(all), Some(wanted)) => all.extend(wanted.clone()),
            _ => all = wanted,
        }
        let groups = ["SVACEncodeConfig", "SVACDecodeConfig"].contains(&kind);
        assert!(groups || after == all, "{kind}: {after}, and not {all}");
        // What was read can be sent again as it is.
        let again = gateway.tell(Method::PUT, &path, &after).await;
        assert_eq!(again.json(), json!({ "verified": true, "ignored": [] }), "{kind}: {}", again.text);
    }
}

#[tokio::test]
async fn what_a_device_ignores_is_said() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet { more: &["--edition", "2022"], quirks: "config-ignored", ..Fleet::default() }
        .start(&gateway)
        .await;
    for (kind, wanted) in changes() {
        let path = path_of(kind);
        let has = gateway.get(&path).await["value"].clone();
        let told = gateway.tell(Method::PUT, &path, &wanted).await.json();
        assert_eq!(told["verified"], true, "{kind}: {told}");
        let ignored = told["ignored"].as_array().unwrap();
        assert!(!ignored.is_empty(), "{kind}: {told}");
        for field in ignored {
            assert_eq!(field["kind"], kind);
            assert_ne!(field["wanted"], field["has"], "{kind}: {told}");
        }
        assert_eq!(gateway.get(&path).await["value"], has);
    }
    let partly = json!({ "name": "camera", "heart_beat_count": 9 });
    let told = gateway.tell(Method::PUT, &path_of("BasicParam"), &partly).await.json();
    let wanted = json!([{ "kind": "BasicParam", "field": "heart_beat_count", "wanted": 9, "has": 3 }]);
    assert_eq!(told["ignored"], wanted, "the name is as it was");
    let seen = finding(&gateway, CAMERA, "config-ignored").await;
    assert!(seen["count"].as_u64().unwrap() >= 1 && !seen["sample"].as_str().unwrap().is_empty(), "{seen}");
    drop(fleet);
    gateway.device_online(CAMERA, false).await;

    // One that takes a configuration without ever saying so.
    let _fleet = Fleet { quirks: "config-silent", ..Fleet::default() }.start(&gateway).await;
    gateway.device_online(CAMERA, true).await;
    let told = gateway.tell(Method::PUT, &path_of("BasicParam"), &json!({ "name": "silent" })).await;
    assert_eq!(told.json(), json!({ "verified": true, "ignored": [] }), "{}", told.text);
}
