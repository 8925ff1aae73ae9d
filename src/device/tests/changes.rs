//! Changes of the catalog that devices notify.

use super::*;
use crate::gb::manscdp::{CatalogEvent, CatalogItem, Edition};

const HOME: &str = "192.0.2.20:5060";
const CAMERA: &str = "34020000001310000000";

fn item(event: Option<CatalogEvent>, digit: u64) -> CatalogItem {
    CatalogItem { event, ..CatalogItem::new(id(CAMERA).nth(digit), "camera") }
}

fn notify(items: &[CatalogItem]) -> String {
    write::notify_catalog(1, &id(DEVICE), items, Edition::default())
}

/// Writes in short.
fn short(out: &Out) -> Vec<String> {
    let digits = |ids: Vec<&Id>| ids.into_iter().map(|id| last_digit(id).to_string()).collect::<String>();
    let one = |write: &Write| match write {
        Write::SetChannelStatus { channel, status, .. } => {
            format!("{}{}", last_digit(channel), if *status { '+' } else { '-' })
        }
        Write::MergeCatalog { channels, complete: false, .. } => {
            format!("put {}", digits(channels.iter().map(|channel| &channel.id).collect()))
        }
        Write::RemoveChannels { channels, .. } => format!("gone {}", digits(channels.iter().collect())),
        other => format!("{other:?}"),
    };
    out.writes.iter().map(one).collect()
}

#[test]
fn each_event_is_applied_as_it_is_and_in_order() {
    use CatalogEvent::*;
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let events = [On, Off, VideoLost, Defect, Add, Update, Delete, Delete, Add, Off];
    let items: Vec<CatalogItem> = (0..).zip(events).map(|(digit, event)| item(Some(event), digit)).collect();
    let out = bench.message(id(DEVICE), udp(HOME), &notify(&items));
    assert_eq!(out.codes(), [200]);
    assert_eq!(short(&out), ["0+", "1-", "2-", "3-", "put 45", "gone 67", "put 8", "9-"]);
}

#[test]
fn an_update_without_a_name_keeps_the_old_and_asks_for_the_whole() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let update = CatalogItem { name: String::new(), ..item(Some(CatalogEvent::Update), 1) };
    let untold = CatalogItem { name: String::new(), status: None, ..item(Some(CatalogEvent::Update), 2) };
    let body = notify(&[update, untold]).replace("<Name></Name>", "");
    for _ in 0..3 {
        let writes = short(&bench.message(id(DEVICE), udp(HOME), &body));
        assert!(writes.iter().all(|write| !write.starts_with("put")), "{writes:?}");
        assert!(bench.later(5.0).requests.is_empty());
    }
    assert_eq!(bench.later(15.0).purposes(), [Purpose::Catalog]);
}

#[test]
fn the_form_of_2011_is_understood() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let whole = notify(&[item(None, 3)]);
    let out = bench.message(id(DEVICE), udp(HOME), &whole);
    assert_eq!(short(&out), ["put 3"]);
    let bare = "<Notify><CmdType>Catalog</CmdType><SN>1</SN><DeviceList>\
        <Item><DeviceID>34020000001310000004</DeviceID><Status>OFF</Status></Item>\
        <Item><DeviceID>34020000001310000005</DeviceID></Item></DeviceList></Notify>";
    assert_eq!(short(&bench.message(id(DEVICE), udp(HOME), bare)), ["4-"]);
}

#[test]
fn what_changes_while_a_catalog_comes_in_stays_changed() {
    use CatalogEvent::*;
    let mut bench = bench();
    bench.register(id(DEVICE), udp(HOME));
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 4, &[1, 2]));
    let changes = [
        item(Some(Delete), 1),
        item(Some(Off), 2),
        item(Some(Add), 9),
        item(Some(Off), 9),
        item(Some(Off), 3),
    ];
    bench.message(id(DEVICE), udp(HOME), &notify(&changes));
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 4, &[3, 4]));
    let out = bench.later(1.0);
    let Some(Write::MergeCatalog { channels, complete: true, .. }) = out.writes.first() else {
        panic!("{:?}", out.writes)
    };
    let states: Vec<_> = channels.iter().map(|channel| (last_digit(&channel.id), channel.status)).collect();
    assert_eq!(states, [(2, false), (3, false), (4, true), (9, false)]);
}

#[test]
fn faulty_channels_of_a_keepalive_are_offline_until_they_are_no_longer_named() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let mut keepalive = |faulty: &[u64]| {
        let faulty: Vec<Id> = faulty.iter().map(|digit| id(CAMERA).nth(*digit)).collect();
        let body = write::keepalive(1, &id(DEVICE), &faulty);
        short(&bench.message(id(DEVICE), udp(HOME), &body))
    };
    assert_eq!(keepalive(&[]), [""; 0]);
    assert_eq!(keepalive(&[1, 2]), ["1-", "2-"]);
    assert_eq!(keepalive(&[1, 2]), [""; 0]);
    assert_eq!(keepalive(&[2, 3]), ["1+", "3-"]);
    assert_eq!(keepalive(&[]), ["2+", "3+"]);
}

#[test]
fn a_device_has_its_own_keepalive() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let mut device = bench.devices.device(&id(DEVICE)).unwrap().clone();
    device.keepalive = Some(crate::registry::Keepalive { interval: 10, misses: 2 });
    bench.devices.put(bench.now, device.clone());
    assert!(bench.later(18.0).offline().is_empty());
    assert_eq!(bench.later(2.0).offline(), [Cause::Silent]);
    // Values that make no sense do no harm.
    device.keepalive = Some(crate::registry::Keepalive { interval: 0, misses: 0 });
    bench.devices.put(bench.now, device.clone());
    bench.keepalive(id(DEVICE), udp(HOME));
    assert!(bench.later(4.0).offline().is_empty());
    device.keepalive = Some(crate::registry::Keepalive { interval: u32::MAX, misses: u8::MAX });
    bench.devices.put(bench.now, device);
    assert!(bench.later(600.0).offline().is_empty());
}
