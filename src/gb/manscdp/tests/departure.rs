use super::*;
use crate::gb::conformance::Rule;

fn rules(message: &Message) -> Vec<Rule> {
    message.departures().into_iter().map(|departure| departure.rule).collect()
}

#[test]
fn right_bodies_depart_from_nothing() {
    let mut camera = CatalogItem::new(id(CAMERA), "Gate");
    camera.manufacturer = Some("Example".into());
    camera.model = Some("X1".into());
    camera.civil_code = Some(id("340200"));
    camera.parent_ids = vec![id(RECORDER)];
    let group = {
        let mut group = CatalogItem::new(id("34020000002150000001"), "Tunnels");
        group.parent_ids = vec![id("34020000002000000001")];
        group
    };
    let organisation = {
        let mut organisation = CatalogItem::new(id("34020000002160000001"), "Tunnel A");
        organisation.business_group = Some(group.id);
        organisation
    };
    let region = CatalogItem::new(id("340200"), "Example City");
    let alarm = Alarm { priority: Some(1), method: Some(2), time: Some(MAY), ..Alarm::default() };
    let items = [camera, group, organisation, region];
    for body in [
        write::response_catalog(1, &id(RECORDER), 4, &items, Edition::E2016),
        write::response_catalog(1, &id(RECORDER), 4, &items, Edition::E2022),
        write::keepalive(1, &id(RECORDER), &[]),
        write::response_ok("DeviceControl", 1, &id(RECORDER), false),
        alarm.body(1, &id(RECORDER), &Style::default()),
        Broadcast { source: id(RECORDER), target: id(CAMERA) }.body(1),
        write::response_device_status(
            1,
            &id(RECORDER),
            &DeviceStatus { time: Some(MAY), ..DeviceStatus::default() },
            Offset::BEIJING,
        ),
    ] {
        assert_eq!(rules(&read(&body)), [], "{body}");
    }
}

#[test]
fn each_departure_is_told() {
    let response = |cmd: &str, inside: &str| {
        format!(
            "<Response><CmdType>{cmd}</CmdType><SN>1</SN><DeviceID>{RECORDER}</DeviceID>{inside}</Response>"
        )
    };
    let notify = |cmd: &str, inside: &str| {
        format!("<Notify><CmdType>{cmd}</CmdType><SN>1</SN><DeviceID>{RECORDER}</DeviceID>{inside}</Notify>")
    };
    let item = |inside: &str| {
        let all = format!(
            "<DeviceID>{CAMERA}</DeviceID><Name>a</Name><Manufacturer>m</Manufacturer><Model>m</Model>\
             <CivilCode>34</CivilCode><ParentID>{RECORDER}</ParentID><Status>ON</Status>"
        );
        let element = inside.split('|').next().unwrap_or_default();
        let kept = all.split_inclusive('>').collect::<String>();
        let kept = match (kept.find(&format!("<{element}>")), kept.find(&format!("</{element}>"))) {
            (Some(from), Some(to)) => format!("{}{}", &kept[..from], &kept[to + element.len() + 3..]),
            _ => kept,
        };
        let instead = inside.split_once('|').map(|(_, instead)| instead).unwrap_or_default();
        response(
            "Catalog",
            &format!("<SumNum>1</SumNum><DeviceList Num=\"1\"><Item>{kept}{instead}</Item></DeviceList>"),
        )
    };
    for (body, expected) in [
        (
            "<Notify><CmdType>Keepalive</CmdType><SN>1</SN></Notify>".to_owned(),
            vec![Rule::XmlMissingDeviceId],
        ),
        (
            format!("<Notify><CmdType>Keepalive</CmdType><DeviceID>{RECORDER}</DeviceID></Notify>"),
            vec![Rule::SnMissing],
        ),
        (notify("Keepalive", "<Status>ERROR</Status>"), vec![Rule::KeepaliveStatusError]),
        (notify("Keepalive", "<Name>a & b</Name>"), vec![Rule::XmlNotWellFormed]),
        (notify("TimeSync", ""), vec![Rule::CommandUnknown]),
        (notify("Keepalive", "").replace(RECORDER, "camera-1"), vec![Rule::IdNot20Digits]),
        (notify("Keepalive", "").replace(RECORDER, "34020000000010000001"), vec![Rule::IdUnknownType]),
        (notify("Alarm", "<AlarmMethod>2</AlarmMethod>"), vec![Rule::AlarmFieldMissing]),
        (
            notify(
                "Alarm",
                "<AlarmPriority>1</AlarmPriority><AlarmMethod>2</AlarmMethod><AlarmTime>2024-05-01 8:00</AlarmTime>",
            ),
            vec![Rule::TimeFormatWrong],
        ),
        (
            notify("MobilePosition", "<Time>2024-05-01T08:00:00</Time><Longitude>1</Longitude>"),
            vec![Rule::PositionFieldMissing],
        ),
        (response("DeviceControl", ""), vec![Rule::ResultMissing]),
        (response("DeviceInfo", "<Result>OK</Result><Model>x</Model>"), vec![Rule::DeviceInfoIncomplete]),
        (
            response("DeviceStatus", "<Result>OK</Result><Status>OK</Status>"),
            vec![Rule::DeviceStatusIncomplete],
        ),
        (
            response(
                "RecordInfo",
                "<RecordList Num=\"1\"><Item><DeviceID>1</DeviceID><Name>a</Name></Item></RecordList>",
            ),
            vec![Rule::RecordFieldMissing],
        ),
        (item(""), vec![]),
        (item("DeviceID"), vec![Rule::CatalogItemWithoutId]),
        (item("DeviceID|<DeviceID>a b</DeviceID>"), vec![Rule::CatalogItemWithoutId]),
        (item("Name"), vec![Rule::CatalogItemWithoutName]),
        (item("Model"), vec![Rule::CatalogItemWithoutManufacturer]),
        (item("CivilCode"), vec![Rule::CatalogItemWithoutCivilCode]),
        (item("CivilCode|<CivilCode>CivilCode</CivilCode>"), vec![Rule::CivilCodeWrong]),
        (item("ParentID"), vec![Rule::CatalogItemWithoutParent]),
        (item("Status"), vec![Rule::CatalogItemWithoutStatus]),
        (item("Parental|<Parental>65535</Parental>"), vec![Rule::CatalogParentalWrong]),
        (item("").replace("Num=\"1\"", "Num=\"2\""), vec![Rule::CatalogNumWrong]),
        (item("").replace(CAMERA, "34020000002160000001"), vec![Rule::CatalogOrganisationWithoutGroup]),
        (
            response(
                "Catalog",
                &format!(
                    "<DeviceList><Item><DeviceID>{CAMERA}</DeviceID><Event>GONE</Event></Item></DeviceList>"
                ),
            ),
            vec![
                Rule::CatalogItemWithoutName,
                Rule::CatalogItemWithoutManufacturer,
                Rule::CatalogItemWithoutCivilCode,
                Rule::CatalogItemWithoutParent,
                Rule::CatalogItemWithoutStatus,
                Rule::CatalogEventUnknown,
            ],
        ),
        (
            notify(
                "Catalog",
                &format!(
                    "<DeviceList><Item><DeviceID>{CAMERA}</DeviceID><Event>OFF</Event></Item></DeviceList>"
                ),
            ),
            vec![],
        ),
    ] {
        assert_eq!(rules(&read(&body)), expected, "{body}");
    }
}

#[test]
fn a_page_tells_each_rule_once() {
    let inside = page(2, &[item(1, "", "a"), item(1, "", "b"), item(2, "", "c")]);
    let body = sent(None, "Response", "Catalog", &inside, Charset::Gb18030);
    let departures = parse(&body, &mut History::default()).unwrap().departures();
    let told: Vec<_> = departures.iter().map(|d| (d.rule, d.count, d.sample.as_str())).collect();
    assert_eq!(
        told,
        [
            (Rule::CatalogDuplicateIds, 1, "34020000001310000001"),
            (Rule::CatalogItemWithoutName, 3, "34020000001310000001 has no Name"),
        ]
    );
}

#[test]
fn a_lying_declaration_is_told() {
    let inside = page(1, &[item(1, "大厅", "东门")]);
    for (declares, charset, lies) in [
        (Some("GB2312"), Charset::Utf8, true),
        (Some("UTF-8"), Charset::Gb18030, true),
        (Some("GB18030"), Charset::Gb18030, false),
        (None, Charset::Utf8, false),
    ] {
        let body = sent(declares, "Response", "Catalog", &inside, charset);
        let message = parse(&body, &mut History::default()).unwrap();
        assert_eq!(rules(&message).contains(&Rule::CharsetDeclaredWrong), lies, "{declares:?} {charset}");
    }
    // ASCII is right in both.
    let ascii = sent(Some("UTF-8"), "Notify", "Keepalive", "", Charset::Gb18030);
    assert_eq!(parse(&ascii, &mut History::default()).unwrap().departures(), []);
}

#[test]
fn an_unreadable_body_is_one() {
    let bad = parse(b"<Hello/>", &mut History::default()).unwrap_err();
    assert_eq!(bad.departure().rule, Rule::XmlUnreadable);
}
