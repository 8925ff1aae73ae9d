mod control;
mod departure;
mod event;
mod query;

use proptest::prelude::*;

use super::*;
use crate::gb::ptz::Command;
use crate::gb::time::{Offset, UnixMillis};

const RECORDER: &str = "34020000001180000001";
const CAMERA: &str = "34020000001310000001";

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn read(text: &str) -> Message {
    parse(text.as_bytes(), &mut History::default()).unwrap()
}

/// A body without the line ends between its elements, as the samples below are written.
fn squashed(text: &str) -> String {
    text.replace("\r\n", "").replace('\n', "")
}

/// 2024-05-01 08:00 in Beijing.
const MAY: UnixMillis = UnixMillis(1_714_521_600_000);

fn new_style() -> Style {
    Style::of(Edition::E2022)
}

/// A body as a device sends it.
fn sent(declares: Option<&str>, root: &str, cmd: &str, inside: &str, charset: Charset) -> Vec<u8> {
    let declaration =
        declares.map(|d| format!("<?xml version=\"1.0\" encoding=\"{d}\"?>\r\n")).unwrap_or_default();
    let body = format!(
        "{declaration}<{root}>\r\n<CmdType>{cmd}</CmdType>\r\n<SN>17</SN>\r\n<DeviceID>{RECORDER}</DeviceID>\r\n{inside}</{root}>\r\n"
    );
    charset::encode(&body, charset).to_vec()
}

fn item(n: u32, name: &str, address: &str) -> String {
    format!(
        "<Item>\r\n<DeviceID>3402000000131{n:07}</DeviceID>\r\n<Name>{name}</Name>\r\n<Manufacturer>Example</Manufacturer>\r\n\
         <Model>IPC</Model>\r\n<Owner>Owner</Owner>\r\n<CivilCode>340200</CivilCode>\r\n<Address>{address}</Address>\r\n\
         <Parental>0</Parental>\r\n<ParentID>{RECORDER}</ParentID>\r\n<SafetyWay>0</SafetyWay>\r\n<RegisterWay>1</RegisterWay>\r\n\
         <Secrecy>0</Secrecy>\r\n<Status>ON</Status>\r\n<Longitude>116.39</Longitude>\r\n<Latitude>39.90</Latitude>\r\n\
         <Info>\r\n<PTZType>1</PTZType>\r\n</Info>\r\n</Item>\r\n"
    )
}

fn page(sum: u32, items: &[String]) -> String {
    format!(
        "<SumNum>{sum}</SumNum>\r\n<DeviceList Num=\"{}\">\r\n{}</DeviceList>\r\n",
        items.len(),
        items.concat()
    )
}

#[test]
fn a_catalog_in_any_charset() {
    let inside = page(4, &[item(1, "摄像机1号&amp;门", "大厅1"), item(2, "摄像机2号&amp;门", "大厅2")]);
    for (declares, charset) in [
        (Some("GB2312"), Charset::Gb18030),
        (Some("UTF-8"), Charset::Utf8),
        (Some("GB2312"), Charset::Utf8),
        (Some("UTF-8"), Charset::Gb18030),
        (None, Charset::Gb18030),
        (None, Charset::Utf8),
    ] {
        let body = sent(declares, "Response", "Catalog", &inside, charset);
        let message = parse(&body, &mut History::default()).unwrap();
        assert!(message.is(Root::Response, "Catalog"));
        assert_eq!((message.sn, message.device_id, message.charset), (17, Some(id(RECORDER)), charset));
        assert_eq!(message.faults, []);
        let page = CatalogPage::read(&message);
        // The sum is what the sender says, right or wrong.
        assert_eq!((page.sum_num, page.items.len(), page.bad_items), (Some(4), 2, 0));
        let first = &page.items[0];
        assert_eq!((first.id, first.name.as_str()), (id(CAMERA), "摄像机1号&门"));
        assert_eq!(
            (first.address.as_deref(), first.ptz_type, first.status),
            (Some("大厅1"), Some(1), Some(true))
        );
        assert_eq!((first.longitude, first.latitude), (Some(116.39), Some(39.9)));
        assert_eq!((first.parent_ids.as_slice(), first.parental), ([id(RECORDER)].as_slice(), false));
    }
}

#[test]
fn a_catalog_with_broken_xml() {
    let items = [item(1, "A&B 门", "东<西"), item(2, "&", "1楼<大厅>2"), item(3, "好", "北")];
    let body = sent(Some("GB2312"), "Response", "Catalog", &page(3, &items), Charset::Gb18030);
    let message = parse(&body, &mut History::default()).unwrap();
    let page = CatalogPage::read(&message);
    let read: Vec<_> = page.items.iter().map(|i| (i.name.as_str(), i.address.as_deref().unwrap())).collect();
    assert_eq!(read, [("A&B 门", "东<西"), ("&", "1楼<大厅>2"), ("好", "北")]);
    assert!(!message.faults.is_empty());
}

#[test]
fn a_catalog_cut_by_the_datagram() {
    let items: Vec<String> = (1..=9).map(|n| item(n, "摄像机", "大厅")).collect();
    let body = sent(None, "Response", "Catalog", &page(9, &items), Charset::Gb18030);
    let start = page(9, &[]).len() + 80;
    for end in start..body.len() {
        let message = parse(&body[..end], &mut History::default()).unwrap();
        let page = CatalogPage::read(&message);
        assert_eq!((message.sn, page.bad_items), (17, 0));
        assert!(page.items.iter().all(|i| i.ptz_type == Some(1) && i.id.is_standard()), "{end}");
    }
}

#[test]
fn odd_items() {
    let page = CatalogPage::read(&read(
        "<Response><CmdType>catalog</CmdType><SN> 5 </SN><DeviceID>x</DeviceID><SumNum>many</SumNum><DeviceList>\
         <Item><Name>no id</Name></Item><Item><DeviceID>a/../b</DeviceID></Item>\
         <Item><DeviceID>34020000001310000001</DeviceID><Name>null</Name><CivilCode>null</CivilCode>\
         <Parental>65535</Parental><ParentID>34020000001180000001/null/34020000002160000002</ParentID>\
         <Secrecy> 0 </Secrecy><Status>OFFLINE</Status><Longitude>999</Longitude><Latitude>NaN</Latitude><Port>70000</Port>\
         <Info><PTZType> 3 </PTZType><BusinessGroupID>34020000002150000001</BusinessGroupID><Resolution>6</Resolution></Info></Item>\
         <Item DeviceID=\"34020000\" Name=\"区\"/></DeviceList></Response>",
    ));
    assert_eq!((page.sum_num, page.bad_items, page.items.len()), (None, 2, 2));
    let camera = &page.items[0];
    assert_eq!(
        (camera.name.as_str(), camera.civil_code, camera.parental, camera.secrecy),
        ("", None, true, false)
    );
    assert_eq!(camera.parent_ids, [id(RECORDER), id("34020000002160000002")]);
    assert_eq!(
        (camera.status, camera.longitude, camera.latitude, camera.port),
        (Some(false), None, None, None)
    );
    assert_eq!((camera.ptz_type, camera.business_group), (Some(3), Some(id("34020000002150000001"))));
    assert_eq!((camera.info_of("resolution"), camera.info.len()), (Some("6"), 1));
    assert_eq!((page.items[1].id, page.items[1].name.as_str()), (id("34020000"), "区"));
}

#[test]
fn attributes_in_place_of_elements() {
    let message = read(
        "<Notify CmdType='Keepalive' SN=\"9\" DeviceID=34020000001180000001><Status>OK</Status></Notify>",
    );
    assert!(message.is(Root::Notify, "Keepalive"));
    assert_eq!((message.sn, message.device_id), (9, Some(id(RECORDER))));
}

#[test]
fn keepalives() {
    let sick = read(
        "<Notify><CmdType>KeepAlive</CmdType><SN>43</SN><DeviceID>34020000001180000001</DeviceID><Status>ERROR</Status>\
         <Info><DeviceID>34020000001310000005</DeviceID><DeviceID> </DeviceID></Info></Notify>",
    );
    assert!(sick.is(Root::Notify, "Keepalive"));
    assert_eq!(Keepalive::read(&sick), Keepalive { ok: false, faulty: vec![id("34020000001310000005")] });
    let well = read(&write::keepalive(1, &id(RECORDER), &[]));
    assert_eq!(Keepalive::read(&well), Keepalive { ok: true, faulty: vec![] });
    assert_eq!(
        Keepalive::read(&read(&write::keepalive(1, &id(RECORDER), &[id(CAMERA)]))).faulty,
        [id(CAMERA)]
    );
}

#[test]
fn alarms_and_media_status() {
    let alarm = read(
        "<Notify><CmdType>Alarm</CmdType><SN>9</SN><DeviceID>34020000001340000001</DeviceID><AlarmPriority>4</AlarmPriority>\
         <AlarmMethod>5</AlarmMethod><AlarmTime>2024-05-01T08:00:00</AlarmTime><AlarmDescription>intrusion</AlarmDescription>\
         <Longitude>117.1</Longitude><Latitude>31.8</Latitude>\
         <Info><AlarmType>6</AlarmType><AlarmTypeParam><EventType>1</EventType></AlarmTypeParam></Info></Notify>",
    );
    let expected = Alarm {
        priority: Some(4),
        method: Some(5),
        time: Some(UnixMillis(1_714_521_600_000)),
        description: Some("intrusion".into()),
        longitude: Some(117.1),
        latitude: Some(31.8),
        kind: Some(6),
        event_type: Some(1),
    };
    assert_eq!(Alarm::read(&alarm, Offset::BEIJING), expected);
    let end = read(&write::media_status(80, &id(CAMERA), MediaStatus::FILE_END));
    assert_eq!(MediaStatus::read(&end).notify_type, Some(121));
}

#[test]
fn bodies_that_are_no_messages() {
    let error = |body: &str| parse(body.as_bytes(), &mut History::default()).unwrap_err();
    assert_eq!(error(""), BadBody::Xml(XmlError::NoElement));
    assert_eq!(error("<html><CmdType>Catalog</CmdType></html>"), BadBody::UnknownRoot);
    assert_eq!(error("<Notify><SN>1</SN></Notify>"), BadBody::NoCommand);
    let unknown =
        read("<Notify><CmdType>Vendor</CmdType><SN>99999999999</SN><DeviceID>a b</DeviceID></Notify>");
    assert_eq!((unknown.cmd.as_str(), unknown.sn, unknown.device_id), ("Vendor", 0, None));
    let long = read(&format!("<Notify><CmdType>{}</CmdType></Notify>", "长".repeat(1000)));
    assert_eq!(long.cmd.len(), 1023);
}

#[test]
fn queries_and_controls_as_in_the_standard() {
    assert_eq!(
        Query::Catalog.body(17, &id(RECORDER), &Style::default()),
        "<Query>\r\n<CmdType>Catalog</CmdType>\r\n<SN>17</SN>\r\n<DeviceID>34020000001180000001</DeviceID>\r\n</Query>\r\n"
    );
    let response = read(&write::response_ok("DeviceControl", 60, &id(CAMERA), false));
    assert_eq!((response.root, response.result()), (Root::Response, Some(false)));
}

#[test]
fn documents_name_their_encoding() {
    let named = |charset, edition| {
        let bytes = document("<a>门</a>", charset, edition);
        let decoded = charset::decode(&bytes, &mut History::default()).text.into_owned();
        decoded.strip_suffix("\r\n<a>门</a>").unwrap().to_owned()
    };
    assert_eq!(named(Charset::Gb18030, Edition::E2016), "<?xml version=\"1.0\" encoding=\"GB2312\"?>");
    assert_eq!(named(Charset::Gb18030, Edition::E2022), "<?xml version=\"1.0\" encoding=\"GB18030\"?>");
    assert_eq!(named(Charset::Utf8, Edition::E2011), "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
}

#[test]
fn what_a_device_says_of_itself() {
    let info = DeviceInfo {
        name: Some("Lobby <1>".into()),
        manufacturer: Some("Example".into()),
        model: None,
        firmware: Some("V1.2.3".into()),
        channels: Some(16),
    };
    let message = read(&write::response_device_info(50, &id(RECORDER), &info));
    assert_eq!((DeviceInfo::read(&message), message.result()), (info, Some(true)));

    let status = DeviceStatus {
        online: Some(false),
        ok: Some(true),
        encoding: Some(true),
        recording: Some(false),
        time: Some(UnixMillis(1_714_521_600_000)),
        reason: Some("disk".into()),
        alarms: vec![AlarmInput { id: id("34020000001340000001"), duty: Some("onduty".into()) }],
    };
    let message = read(&write::response_device_status(51, &id(RECORDER), &status, Offset::BEIJING));
    assert_eq!(message.body.text_of("DeviceTime"), Some("2024-05-01T08:00:00"));
    assert_eq!(DeviceStatus::read(&message, Offset::BEIJING), status);
}

#[test]
fn empty_catalog_has_no_list() {
    let text = write::response_catalog(1, &id(RECORDER), 0, &[], Edition::E2016);
    assert!(text.contains("<SumNum>0</SumNum>") && !text.contains("DeviceList"));
    assert_eq!(CatalogPage::read(&read(&text)), CatalogPage { sum_num: Some(0), ..CatalogPage::default() });
}

#[test]
fn items_by_edition_and_kind() {
    let mut camera = CatalogItem::new(id(CAMERA), "Gate");
    camera.business_group = Some(id("34020000002150000001"));
    camera.info = vec![("Resolution".into(), "6".into()), ("DownloadSpeed".into(), "1/2".into())];
    let of = |item: &CatalogItem, edition| {
        write::notify_catalog(1, &id(RECORDER), std::slice::from_ref(item), edition)
    };
    let old = of(&camera, Edition::E2016);
    assert!(old.contains("<Owner>") && old.contains("</Resolution>\r\n<BusinessGroupID>"), "{old}");
    let new = of(&camera, Edition::E2022);
    assert!(!new.contains("<Owner>") && new.contains("</BusinessGroupID>\r\n<Info>"), "{new}");

    let region = of(&CatalogItem::new(id("340200"), "City"), Edition::E2016);
    assert!(
        region.contains("<Item>\r\n<DeviceID>340200</DeviceID>\r\n<Name>City</Name>\r\n</Item>"),
        "{region}"
    );
    camera.event = Some(CatalogEvent::VideoLost);
    let lost = of(&camera, Edition::E2016);
    assert!(lost.contains("</DeviceID>\r\n<Event>VLOST</Event>\r\n</Item>"), "{lost}");
    assert_eq!(CatalogPage::read(&read(&lost)).items[0].event, Some(CatalogEvent::VideoLost));
}

#[test]
fn editions() {
    for (header, year, edition) in [
        ("1.0", 2011, Edition::E2011),
        ("1.1", 2014, Edition::E2014),
        ("2.0", 2016, Edition::E2016),
        (" 3.0 ", 2022, Edition::E2022),
    ] {
        assert_eq!(Edition::from_header(header), Some(edition));
        assert_eq!((edition.header(), edition.year()), (header.trim(), year));
        assert_eq!(serde_json::to_string(&edition).unwrap(), year.to_string());
        assert_eq!(serde_json::from_str::<Edition>(&year.to_string()).unwrap(), edition);
    }
    assert_eq!(Edition::from_header("4.0"), None);
    assert!(serde_json::from_str::<Edition>("2020").is_err());
}

proptest! {
    #[test]
    fn items_are_written_and_read_again(
        n in 0u64..10_000_000,
        name in "[^\\p{C}\u{3000}]{1,20}",
        texts in proptest::collection::vec(proptest::option::of("[a-zA-Z0-9<>&\"' \u{4e00}-\u{9fa5}]{0,10}[a-z]"), 6),
        flags: (bool, bool, bool),
        numbers in proptest::option::of((0u8..9, 0u8..9, 0u16..9999, -180.0..=180.0, -90.0..=90.0)),
        utf8: bool,
        new: bool,
    ) {
        let edition = if new { Edition::E2022 } else { Edition::E2016 };
        let charset = if utf8 { Charset::Utf8 } else { Charset::Gb18030 };
        let some = |i: usize| texts[i].clone().filter(|t| !t.trim().eq_ignore_ascii_case("null")).map(|t| t.trim().to_owned());
        let item = CatalogItem {
            name: name.trim().to_owned(),
            manufacturer: some(0),
            model: some(1),
            owner: some(2).filter(|_| !new),
            block: some(3),
            address: some(4),
            parental: flags.0,
            secrecy: flags.1,
            status: Some(flags.2),
            civil_code: flags.0.then(|| id("340200")),
            parent_ids: if flags.1 { vec![id(RECORDER), id("34020000002160000002")] } else { vec![] },
            business_group: flags.2.then(|| id("34020000002150000001")),
            safety_way: numbers.map(|n| n.0).filter(|_| !new),
            register_way: Some(1),
            ptz_type: numbers.map(|n| n.1),
            port: numbers.map(|n| n.2),
            longitude: numbers.map(|n| n.3),
            latitude: numbers.map(|n| n.4),
            info: some(5).map(|t| vec![("Resolution".to_owned(), t)]).unwrap_or_default(),
            ..CatalogItem::new(id("34020000001310000000").nth(n), "")
        };
        prop_assume!(!item.name.eq_ignore_ascii_case("null"));
        let body = write::response_catalog(7, &id(RECORDER), 1, std::slice::from_ref(&item), edition);
        let message = parse(&document(&body, charset, edition), &mut History::known(charset)).unwrap();
        prop_assert_eq!(&message.faults, &[]);
        prop_assert_eq!(CatalogPage::read(&message).items, vec![item]);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, &mut History::default());
        let mut body = b"<Response><CmdType>Catalog</CmdType><DeviceList><Item><DeviceID>1</DeviceID><Name>".to_vec();
        body.extend(bytes);
        if let Ok(message) = parse(&body, &mut History::default()) {
            CatalogPage::read(&message);
        }
    }
}
