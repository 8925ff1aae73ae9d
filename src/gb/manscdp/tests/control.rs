use super::*;
use crate::gb::manscdp::answer::HomePosition;

const SESSION: &str = "0123456789abcdef0123456789abcdef";

fn drag() -> Window {
    Window { length: 1920, width: 1080, mid_x: 960, mid_y: 540, length_x: 300, length_y: 200 }
}

fn upgrade() -> Control {
    Control::Upgrade {
        firmware: "V1.2.4".into(),
        url: "http://192.0.2.50/fw.bin".into(),
        manufacturer: "Example".into(),
        session: SESSION.into(),
    }
}

fn home() -> HomePosition {
    HomePosition { enabled: true, reset_seconds: Some(60), preset: Some(1) }
}

#[test]
fn as_in_the_standard() {
    let preset = Control::Ptz { command: Command::PresetSet(5), name: Some("door".into()) };
    let precise = Control::PtzPrecise { pan: Some(120.5), tilt: Some(-10.0), zoom: Some(4.0) };
    let drag = Control::DragZoom { zoom_in: true, window: drag() };
    for (control, inside) in [
        (Control::Reboot, "<TeleBoot>Boot</TeleBoot>".to_owned()),
        (Control::Record { on: true, stream: None }, "<RecordCmd>Record</RecordCmd>".into()),
        (
            Control::Record { on: false, stream: Some(1) },
            "<RecordCmd>StopRecord</RecordCmd><StreamNumber>1</StreamNumber>".into(),
        ),
        (Control::Guard { on: true }, "<GuardCmd>SetGuard</GuardCmd>".into()),
        (Control::Guard { on: false }, "<GuardCmd>ResetGuard</GuardCmd>".into()),
        (Control::KeyFrame, "<IFrameCmd>Send</IFrameCmd>".into()),
        (
            drag,
            "<DragZoomIn><Length>1920</Length><Width>1080</Width><MidPointX>960</MidPointX><MidPointY>540</MidPointY>\
             <LengthX>300</LengthX><LengthY>200</LengthY></DragZoomIn>"
                .into(),
        ),
        (
            Control::HomePosition(home()),
            "<HomePosition><Enabled>1</Enabled><ResetTime>60</ResetTime><PresetIndex>1</PresetIndex></HomePosition>"
                .into(),
        ),
        (
            preset,
            "<PTZCmd>A50F01810005003B</PTZCmd><PTZCmdParams><PresetName>door</PresetName></PTZCmdParams>\
             <Info><ControlPriority>5</ControlPriority></Info>"
                .into(),
        ),
        (
            upgrade(),
            format!(
                "<DeviceUpgrade><Firmware>V1.2.4</Firmware><FileURL>http://192.0.2.50/fw.bin</FileURL>\
                 <Manufacturer>Example</Manufacturer><SessionID>{SESSION}</SessionID></DeviceUpgrade>"
            ),
        ),
        (Control::FormatSd { card: 1 }, "<FormatSDCard>1</FormatSDCard>".into()),
        (
            Control::AlarmReset { method: Some(2), kind: Some(1) },
            "<AlarmCmd>ResetAlarm</AlarmCmd><Info><AlarmMethod>2</AlarmMethod><AlarmType>1</AlarmType></Info>".into(),
        ),
        (
            precise,
            "<PTZPreciseCtrl><Pan>120.50</Pan><Tilt>-10.00</Tilt><Zoom>4.00</Zoom></PTZPreciseCtrl>".into(),
        ),
    ] {
        let body = control.body(60, &id(CAMERA), &new_style());
        let sample = format!(
            "<Control><CmdType>DeviceControl</CmdType><SN>60</SN><DeviceID>{CAMERA}</DeviceID>{inside}</Control>"
        );
        assert_eq!(squashed(&body), sample);
        assert_eq!(control.check(), Ok(()));
        assert_eq!(Control::read(&read(&sample)), Some(control));
    }
}

#[test]
fn the_key_frame_has_two_names() {
    let text = |edition, key_frame| {
        Control::KeyFrame.body(1, &id(CAMERA), &Style { key_frame, ..Style::of(edition) })
    };
    for (edition, name, ifame, iframe) in [
        (Edition::E2016, KeyFrameName::ByEdition, true, false),
        (Edition::E2022, KeyFrameName::ByEdition, false, true),
        (Edition::E2016, KeyFrameName::Iframe, false, true),
        (Edition::E2022, KeyFrameName::Ifame, true, false),
        (Edition::E2016, KeyFrameName::Both, true, true),
    ] {
        let body = text(edition, name);
        assert_eq!((body.contains("<IFameCmd>"), body.contains("<IFrameCmd>")), (ifame, iframe), "{body}");
        assert_eq!(Control::read(&read(&body)), Some(Control::KeyFrame));
    }
}

#[test]
fn older_devices_get_no_new_elements() {
    let text = |control: Control| control.body(1, &id(CAMERA), &Style::default());
    let preset = text(Control::Ptz { command: Command::PresetSet(1), name: Some("door".into()) });
    assert!(!preset.contains("PTZCmdParams") && preset.contains("<ControlPriority>5"), "{preset}");
    assert!(!text(Control::Record { on: true, stream: Some(1) }).contains("StreamNumber"));
}

#[test]
fn refuses_values_out_of_range() {
    let ptz = |command, name: Option<&str>| Control::Ptz { command, name: name.map(str::to_owned) };
    let precise = |pan, tilt, zoom| Control::PtzPrecise { pan, tilt, zoom };
    let session = |session: &str| match upgrade() {
        Control::Upgrade { firmware, url, manufacturer, .. } => {
            Control::Upgrade { firmware, url, manufacturer, session: session.into() }
        }
        other => other,
    };
    let address = |url: &str| match upgrade() {
        Control::Upgrade { firmware, manufacturer, session, .. } => {
            Control::Upgrade { firmware, url: url.into(), manufacturer, session }
        }
        other => other,
    };
    for (control, field) in [
        (ptz(Command::PresetCall(0), None), "preset"),
        (ptz(Command::CruiseSpeed { cruise: 1, speed: 4096 }, None), "speed"),
        (ptz(Command::CruiseDwell { cruise: 1, seconds: 4096 }, None), "seconds"),
        (ptz(Command::STOP, Some("x")), "name"),
        (ptz(Command::PresetSet(1), Some("")), "name"),
        (ptz(Command::PresetSet(1), Some("一二三四五六七八九十一二三四五六七")), "name"),
        (Control::AlarmReset { method: Some(8), kind: None }, "method"),
        (Control::DragZoom { zoom_in: true, window: Window { length: 0, ..drag() } }, "length"),
        (Control::DragZoom { zoom_in: true, window: Window { mid_x: 1921, ..drag() } }, "mid_x"),
        (Control::DragZoom { zoom_in: true, window: Window { length_y: 0, ..drag() } }, "length_y"),
        (Control::HomePosition(HomePosition { reset_seconds: Some(90_000), ..home() }), "reset_seconds"),
        (precise(None, None, None), "pan"),
        (precise(Some(-0.1), None, None), "pan"),
        (precise(None, Some(f64::NAN), None), "tilt"),
        (precise(None, None, Some(f64::INFINITY)), "zoom"),
        (session("short"), "session"),
        (session(&"é".repeat(20)), "session"),
        (address("file:///etc/passwd"), "url"),
        (address("fw.bin"), "url"),
        (Control::FormatSd { card: 9 }, "card"),
    ] {
        assert_eq!(control.check().map_err(|bad| bad.field), Err(field), "{control:?}");
    }
    // Sixteen characters of two bytes each.
    assert_eq!(ptz(Command::PresetSet(1), Some("一二三四五六七八九十一二三四五六")).check(), Ok(()));
}

#[test]
fn answers_and_editions() {
    for (control, since, answered) in [
        (Control::Reboot, Edition::E2011, false),
        (Control::Guard { on: true }, Edition::E2011, true),
        (Control::KeyFrame, Edition::E2016, false),
        (Control::HomePosition(home()), Edition::E2016, true),
        (upgrade(), Edition::E2022, true),
        (Control::FormatSd { card: 0 }, Edition::E2022, false),
    ] {
        assert_eq!((control.since(), control.answered()), (since, answered), "{}", control.name());
    }
    let message = read(&write::response_ok("DeviceControl", 61, &id(CAMERA), true));
    assert_eq!(Answer::result(&message), Some(Answer::Done { ok: true }));
}

#[test]
fn what_is_no_control() {
    for inside in [
        "",
        "<PTZCmd>A5</PTZCmd>",
        "<GuardCmd>Maybe</GuardCmd>",
        "<DragZoomIn><Length>1</Length></DragZoomIn>",
    ] {
        let text = format!("<Control><CmdType>DeviceControl</CmdType><SN>1</SN>{inside}</Control>");
        assert_eq!(Control::read(&read(&text)), None, "{inside}");
    }
}

proptest! {
    #[test]
    fn any_body_is_a_control_or_none(inside in "[<>/A-Za-z0-9. -]{0,200}") {
        let text = format!("<Control><CmdType>DeviceControl</CmdType><SN>1</SN>{inside}</Control>");
        if let Ok(message) = parse(text.as_bytes(), &mut History::default()) {
            let _ = Control::read(&message).map(|control| control.check());
        }
    }

    #[test]
    fn any_precise_position_is_read_again(pan in 0u32..=36_000, tilt in -9_000i32..=9_000, zoom in 0u32..=1000) {
        let hundredths = |value: f64| Some(value / 100.0);
        let control = Control::PtzPrecise {
            pan: hundredths(pan.into()), tilt: hundredths(tilt.into()), zoom: hundredths(zoom.into()),
        };
        prop_assert_eq!(control.check(), Ok(()));
        prop_assert_eq!(Control::read(&read(&control.body(1, &id(CAMERA), &new_style()))), Some(control));
    }
}
