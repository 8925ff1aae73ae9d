//! What hurts users of other platforms, each of the fifteen pains with a test of its name. Here: messages, catalogs and
//! trees (1 to 5, and 14); see also `pains_presence.rs` (6 to 8, and 15) and `pains_media.rs` (9 to 13).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use reqwest::Method;
use serde_json::json;
use support::gateway::{CAMERA, CHANNEL, Gateway, PLATFORM};
use support::player::Player;
use support::sip::Device;
use support::until;
use support::wild::{
    MANSCDP, catalog, channel, counts, device_with, finding, gb, has_channels, item, name_of, names, plain,
    query, simulate, sync, with_length,
};

const OTHER: &str = "34020000001320000002";
const THIRD: &str = "34020000001320000003";

/// Pain 1: declared encodings lie, and validity alone tells nothing.
#[tokio::test]
async fn pain_01_charset() {
    let gateway = Gateway::start(&[]).await;
    // "School" in GB2312 is two Cyrillic letters in UTF-8, and nothing else in the message tells.
    assert_eq!(String::from_utf8(gb("学校")).unwrap().chars().count(), 2);
    let mut first = Device::registered(&gateway, CAMERA).await;
    let sn = query(&mut first).await;
    let school = catalog(CAMERA, &sn, 1, &[plain(&channel(1), "学校", CAMERA)], "GB2312");
    assert_eq!(first.message(&gb(&school)).await.code(), 200);
    has_channels(&gateway, CAMERA, 1).await;
    assert_eq!(name_of(&gateway, CAMERA, &channel(1)).await, "学校");

    // Known as a speaker of GB 18030 by what it sent before, though it calls all of it UTF-8.
    let mut second = Device::registered(&gateway, OTHER).await;
    let sn = query(&mut second).await;
    let pages = [("村口 𠮷", 1), ("学校", 2)];
    for (name, number) in pages {
        let page = catalog(OTHER, &sn, 2, &[plain(&channel(number), name, OTHER)], "UTF-8");
        assert_eq!(second.message(&gb(&page)).await.code(), 200);
    }
    has_channels(&gateway, OTHER, 2).await;
    for (name, number) in pages {
        assert_eq!(name_of(&gateway, OTHER, &channel(number)).await, name);
    }
    finding(&gateway, OTHER, "charset-declared-wrong").await;

    // Judged as a whole: one name that leaves no doubt settles it for the others. And what is cut short in the middle
    // of a character costs that character alone.
    let mut third = Device::udp(&gateway, THIRD).await;
    third.extra = "X-GB-Ver: 3.0\r\n".to_owned();
    assert_eq!(third.register(3600).await.code(), 200);
    let sn = query(&mut third).await;
    let items = [("学校", 1), ("晒谷场", 2), ("水库X东", 3), ("é", 4)]
        .map(|(name, number)| plain(&channel(number), name, THIRD));
    let page = catalog(THIRD, &sn, 4, &items, "GB2312").into_bytes();
    let cut = "东".as_bytes();
    let at = page.windows(3).position(|window| window == cut).unwrap();
    let page = [&page[..at + 2], &page[at + 3..]].concat();
    assert_eq!(third.message(&page).await.code(), 200);
    has_channels(&gateway, THIRD, 4).await;
    for (number, name) in [(1, "学校"), (2, "晒谷场"), (4, "é")] {
        assert_eq!(name_of(&gateway, THIRD, &channel(number)).await, name);
    }
    let damaged = name_of(&gateway, THIRD, &channel(3)).await;
    assert!(damaged.starts_with("水库X") && damaged.contains('\u{FFFD}'), "{damaged:?}");

    // Each is spoken to as it speaks itself: the same words, in other bytes.
    let name = "东门 preset";
    let mut fourth = Device::udp(&gateway, "34020000001320000004").await;
    fourth.extra = "X-GB-Ver: 3.0\r\n".to_owned();
    assert_eq!(fourth.register(3600).await.code(), 200);
    let sn = query(&mut fourth).await;
    let page = catalog(&fourth.id, &sn, 1, &[plain(&channel(1), "晒谷场", &fourth.id)], "GB2312");
    assert_eq!(fourth.message(&gb(&page)).await.code(), 200);
    for (device, bytes, label) in
        [(&mut third, name.as_bytes().to_vec(), "UTF-8"), (&mut fourth, gb(name), "GB")]
    {
        has_channels(&gateway, &device.id, if label == "GB" { 1 } else { 4 }).await;
        let path = format!("/api/v1/devices/{}/channels/{}/preset", device.id, channel(1));
        let preset = json!({ "action": "set", "index": 1, "name": name });
        let (answer, told) =
            tokio::join!(gateway.tell(Method::POST, &path, &preset), device.asked_for("<PTZCmd>"));
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        assert!(told.body.windows(bytes.len()).any(|window| window == bytes), "{}", told.text());
        assert!(told.text().contains(&format!("encoding=\"{label}")), "{}", told.text());
    }
}

/// Pain 2: bare `&`, stray `<`, trailing NULs: what can be read is salvaged, field by field and item by item.
#[tokio::test]
async fn pain_02_broken_xml() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let sn = query(&mut device).await;
    let fields = |id: &'static str, name: &'static str, address: &'static str| {
        item(&[
            ("DeviceID", id),
            ("Name", name),
            ("Address", address),
            ("ParentID", CAMERA),
            ("Status", "ON"),
        ])
    };
    let items = [
        fields("34020000001310000001", "A & B 仓库", "3<5号楼"),
        fields("34020000001310000002", "R&D &lab; &#19996;门", "<>"),
        // No id, and one that could not be: they cost themselves alone.
        item(&[("Name", "无名"), ("Status", "ON")]),
        fields("3402 0000/../<x>", "坏", ""),
        // The last field never ends.
        fields("34020000001310000003", "末", "x").replace("</Address>", ""),
        fields("34020000001310000004", "null", "null"),
    ];
    let mut page = gb(&catalog(CAMERA, &sn, items.len(), &items, "GB2312"));
    page.extend([0; 40]);
    assert_eq!(device.message(&page).await.code(), 200);
    has_channels(&gateway, CAMERA, 4).await;
    let found = names(&gateway, CAMERA).await;
    let found: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(found[..3], ["A & B 仓库", "R&D &lab; 东门", "末"], "{found:?}");
    assert_ne!(found[3], "null", "a word for nothing is no name");
    let first = gateway.get(&format!("/api/v1/devices/{CAMERA}/channels/{}", channel(1))).await;
    assert_eq!(first["address"], "3<5号楼", "{first}");
    // Counted, with an example of each, for whoever has to tell the vendor.
    let broken = finding(&gateway, CAMERA, "xml-not-well-formed").await;
    assert_ne!(broken["sample"], "", "{broken}");
    let nameless = finding(&gateway, CAMERA, "catalog-item-without-id").await;
    assert_eq!(nameless["count"], 2, "{nameless}");

    // Attributes in place of elements, and no declaration at all.
    let odd = format!(
        "<Notify CmdType=\"Keepalive\" SN=\"7\"><DeviceID>{CAMERA}</DeviceID><Status>OK</Status></Notify>"
    );
    assert_eq!(device.message(odd.as_bytes()).await.code(), 200);
    // Bytes that are nothing are refused, and the device is still the device that it was.
    assert_eq!(device.message(&[0xFF; 64]).await.code(), 400);
    finding(&gateway, CAMERA, "xml-unreadable").await;
    assert_eq!(device.keepalive().await.code(), 200);
    assert_eq!(names(&gateway, CAMERA).await.len(), 4);
}

/// Pain 3: a Content-Length that is wrong, catalogs in pieces: a datagram ends its message, and a stream is taken up
/// again.
#[tokio::test]
async fn pain_03_sip_framing() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let sn = query(&mut device).await;
    // Larger than any MTU, and with the length in characters in place of bytes, which is less.
    let items: Vec<String> =
        (1..=150).map(|n| plain(&channel(n), "一个很长的名字在晒谷场旁边", CAMERA)).collect();
    let page = catalog(CAMERA, &sn, 151, &items, "UTF-8");
    assert!(page.len() > 30_000, "{}", page.len());
    let short = device.compose("MESSAGE", MANSCDP, page.as_bytes());
    let short = with_length(&short, &format!("Content-Length: {}\r\n", page.chars().count()));
    assert_eq!(device.exchange(&short).await.code(), 200);
    // The last one says more than there is, and a keepalive nothing at all.
    let last = catalog(CAMERA, &sn, 151, &[plain(&channel(151), "末", CAMERA)], "UTF-8");
    let long = device.compose("MESSAGE", MANSCDP, last.as_bytes());
    let long = with_length(&long, "Content-Length: 99999\r\n");
    assert_eq!(device.exchange(&long).await.code(), 200);
    has_channels(&gateway, CAMERA, 151).await;
    for (_, name) in &names(&gateway, CAMERA).await[..150] {
        assert_eq!(name, "一个很长的名字在晒谷场旁边");
    }
    finding(&gateway, CAMERA, "sip-content-length-wrong").await;
    let none = device.compose("MESSAGE", MANSCDP, b"<Notify><CmdType>Keepalive</CmdType><SN>1</SN></Notify>");
    assert_eq!(device.exchange(&with_length(&none, "")).await.code(), 200);

    // TCP: in pieces of seven bytes, and two in one.
    let mut device = Device::tcp(&gateway, OTHER).await;
    let local = device.line.local();
    assert_eq!(device.register(3600).await.code(), 200);
    let sn = query(&mut device).await;
    let page = |number: usize| catalog(OTHER, &sn, 4, &[plain(&channel(number), "片", OTHER)], "UTF-8");
    let first = device.compose("MESSAGE", MANSCDP, page(1).as_bytes());
    for piece in first.chunks(7) {
        device.line.send(piece).await;
    }
    let second = device.compose("MESSAGE", MANSCDP, page(2).as_bytes());
    let third = device.compose("MESSAGE", MANSCDP, page(3).as_bytes());
    assert_eq!(device.exchange(&[second, third].concat()).await.code(), 200);
    has_channels(&gateway, OTHER, 0).await;
    // Garbage in between, then a length that takes the beginning of the next message: each is counted, the connection
    // stays, and what comes after it is read.
    device.line.send(b"\0\0garbage that is no message\r\n").await;
    let keepalive = device.keepalive().await;
    assert_eq!(keepalive.code(), 200);
    counts(&gateway, "gbgate_sip_dropped_total", "reason=\"garbage\"", 1.0).await;
    let wrong = |device: &mut Device, more: usize| {
        let message = device.compose("MESSAGE", MANSCDP, page(4).as_bytes());
        with_length(&message, &format!("Content-Length: {}\r\n", page(4).len() + more))
    };
    let message = wrong(&mut device, 20);
    device.line.send(&message).await;
    assert_eq!(device.keepalive().await.code(), 200);
    counts(&gateway, "gbgate_sip_dropped_total", "reason=\"content_length\"", 1.0).await;
    // One that takes the next message's whole start line costs that message, and no other.
    let message = wrong(&mut device, 60);
    device.line.send(&message).await;
    let lost = device.compose("MESSAGE", MANSCDP, b"<Notify><CmdType>Keepalive</CmdType><SN>1</SN></Notify>");
    device.line.send(&lost).await;
    assert_eq!(device.keepalive().await.code(), 200);
    has_channels(&gateway, OTHER, 4).await;
    assert_eq!(gateway.device_online(OTHER, true).await["address"], local.to_string());
    assert_eq!(names(&gateway, OTHER).await.len(), 4);
}

/// Pain 4: pages come at once, out of order, with a wrong SumNum or unasked; a partial or unasked one never deletes.
#[tokio::test]
async fn pain_04_catalog_assembly() {
    let gateway = Gateway::start(&[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let mut random = StdRng::seed_from_u64(4);
    let page = |sn: &str, announced: usize, numbers: &[usize]| {
        let items: Vec<String> =
            numbers.iter().map(|n| plain(&channel(*n), &format!("n{n}"), CAMERA)).collect();
        catalog(CAMERA, sn, announced, &items, "GB2312").into_bytes()
    };
    // A recorder of 256: 64 pages in any order, each of them twice, all at once.
    let all: Vec<usize> = (1..=256).collect();
    let sn = query(&mut device).await;
    let mut pages: Vec<&[usize]> = all.chunks(4).chain(all.chunks(4)).collect();
    pages.shuffle(&mut random);
    for numbers in pages {
        let message = device.compose("MESSAGE", MANSCDP, &page(&sn, 256, numbers));
        device.line.send(&message).await;
    }
    has_channels(&gateway, CAMERA, 256).await;
    let found = names(&gateway, CAMERA).await;
    for (index, (id, name)) in found.iter().enumerate() {
        assert_eq!((id, name), (&channel(index + 1), &format!("n{}", index + 1)));
    }

    // One page is lost: known as partial, and nothing goes.
    let (outcome, ()) = sync(&gateway, CAMERA, async {
        let sn = query(&mut device).await;
        for numbers in all.chunks(64).skip(1) {
            device.message(&page(&sn, 256, numbers)).await;
        }
    })
    .await;
    assert_eq!(outcome, json!({ "received": 192, "total": 256, "complete": false }));
    assert_eq!(names(&gateway, CAMERA).await.len(), 256);
    // Unasked, and announced as all that there is: it adds, and takes nothing away.
    assert_eq!(device.message(&page("987654", 1, &[300])).await.code(), 200);
    has_channels(&gateway, CAMERA, 257).await;
    // Nor does an unasked empty one.
    assert_eq!(device.message(&page("987655", 0, &[])).await.code(), 200);
    assert_eq!(device.keepalive().await.code(), 200);
    assert_eq!(names(&gateway, CAMERA).await.len(), 257);

    // Whole, though announced too small: what it no longer lists is gone.
    let (outcome, ()) = sync(&gateway, CAMERA, async {
        let sn = query(&mut device).await;
        for numbers in all[..200].chunks(50).rev() {
            device.message(&page(&sn, 10, numbers)).await;
        }
    })
    .await;
    assert_eq!(outcome, json!({ "received": 200, "total": 200, "complete": true }));
    // Who is told that it is there finds it.
    assert_eq!(names(&gateway, CAMERA).await.len(), 200);
    let gone = format!("/api/v1/devices/{CAMERA}/channels/{}", channel(256));
    gateway.ask(Method::GET, &gone).await.is_problem(404, "not_found", "lookup");
    // A new SN does not let a late page of the old query stand for what is missing.
    let (outcome, ()) = sync(&gateway, CAMERA, async {
        let sn = query(&mut device).await;
        device.message(&page(&sn, 201, &all[..100])).await;
        device.message(&page(&sn, 201, &all[..100])).await;
        device.message(&page(&sn, 201, &all[100..201])).await;
    })
    .await;
    assert_eq!(outcome, json!({ "received": 201, "total": 201, "complete": true }));
    has_channels(&gateway, CAMERA, 201).await;
    finding(&gateway, CAMERA, "catalog-sumnum-wrong").await;
}

/// Pain 5: channel ids repeat from device to device: the key is (device, channel).
#[tokio::test]
async fn pain_05_duplicate_channel_ids() {
    let gateway = Gateway::start(&[]).await;
    let mut devices = Vec::new();
    for id in [CAMERA, OTHER] {
        let mut device = Device::registered(&gateway, id).await;
        let sn = query(&mut device).await;
        device
            .message(catalog(id, &sn, 1, &[plain(CHANNEL, &format!("of {id}"), id)], "GB2312").as_bytes())
            .await;
        has_channels(&gateway, id, 1).await;
        devices.push(device);
    }
    let found = gateway.get(&format!("/api/v1/channels?q={CHANNEL}")).await;
    assert_eq!(found["total"], 2, "{found}");
    for id in [CAMERA, OTHER] {
        assert_eq!(name_of(&gateway, id, CHANNEL).await, format!("of {id}"));
        // A command goes to the device that was meant, and to it alone.
        let path = format!("/api/v1/devices/{id}/channels/{CHANNEL}/ptz");
        let device = devices.iter_mut().find(|device| device.id == id).unwrap();
        let motion = json!({ "tilt": 0.5 });
        let (answer, told) =
            tokio::join!(gateway.tell(Method::POST, &path, &motion), device.asked_for("<PTZCmd>"));
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        assert_eq!(told.element("DeviceID"), CHANNEL);
    }
    // Both change the same id at the same time, over and over.
    let mut names_told = Vec::new();
    for device in &mut devices {
        let id = device.id.clone();
        names_told.push(format!("last of {id}"));
        for round in 0..20 {
            let name = if round == 19 { format!("last of {id}") } else { format!("{round} of {id}") };
            let body = catalog(&id, "55", 1, &[plain(CHANNEL, &name, &id)], "GB2312");
            let message = device.compose("MESSAGE", MANSCDP, body.as_bytes());
            device.line.send(&message).await;
        }
    }
    for device in &devices {
        until("the last name", async || {
            let name = name_of(&gateway, &device.id, CHANNEL).await;
            if names_told.contains(&name) { Ok(()) } else { Err(name) }
        })
        .await;
        assert_eq!(name_of(&gateway, &device.id, CHANNEL).await, format!("last of {}", device.id));
    }
    // Two pictures of the same id are two calls.
    let offer = Player::offer();
    let mut calls = Vec::new();
    for device in &mut devices {
        let id = device.id.clone();
        let watch = gateway.whep(&id, CHANNEL, &offer);
        let serve = async {
            let invite = device.invited().await;
            device.answer(&invite, "486 Busy Here", "", b"").await;
            invite
        };
        let (refused, invite) = tokio::join!(watch, serve);
        refused.is_problem(502, "invite_refused", "invite");
        calls.push(invite.header("call-id").to_owned());
    }
    assert_ne!(calls[0], calls[1]);
    // The removal of one leaves the other's.
    assert_eq!(gateway.ask(Method::DELETE, &format!("/api/v1/devices/{CAMERA}")).await.status.as_u16(), 204);
    assert_eq!(gateway.get(&format!("/api/v1/channels?q={CHANNEL}")).await["total"], 1);
    assert_eq!(name_of(&gateway, OTHER, CHANNEL).await, format!("last of {OTHER}"));
}

/// The whole tree below a node: each item with the names of those above it, and what it is said to have below.
async fn walk(gateway: &Gateway, device: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![(device.to_owned(), Vec::new())];
    while let Some((parent, above)) = open.pop() {
        let level = gateway.get(&format!("/api/v1/tree?limit=1000&parent={parent}")).await;
        for item in level["items"].as_array().unwrap() {
            let id = item["id"].as_str().unwrap().to_owned();
            assert!(found.insert(id.clone(), above.clone()).is_none(), "{id} is there twice");
            if item["children"].as_u64().unwrap() > 0 {
                let above = above.iter().cloned().chain([id]).collect();
                open.push((item["node"].as_str().unwrap().to_owned(), above));
            }
        }
    }
    found
}

/// Pain 14, facing down: a lower platform's tree of three levels comes through whole, in whatever order, and ids that
/// mean something on both sides do not confuse. (What is told to upper platforms is to come.)
#[tokio::test]
async fn pain_14_cascade() {
    let gateway = Gateway::start(&[]).await;
    let lower = "34020000002000000099";
    let (group, top, middle, bottom) =
        ("34020000002150000001", "34020000002160000001", "34020000002160000002", "34020000002160000003");
    // A camera that is registered here directly, too; its own channel has the id of one of the lower platform's.
    let mut direct = device_with(&gateway, CAMERA, 1).await;
    let folder = |id: &str, parent: &str, group: &str| {
        item(&[("DeviceID", id), ("Name", id), ("ParentID", parent), ("BusinessGroupID", group)])
    };
    let leaf = |number: usize, more: &[(&str, &str)]| {
        let id = channel(number);
        let mut fields =
            vec![("DeviceID", id.as_str()), ("Name", "n"), ("Manufacturer", "Maker"), ("Status", "ON")];
        fields.extend(more);
        item(&fields)
    };
    let items = [
        item(&[("DeviceID", "3402"), ("Name", "city")]),
        item(&[("DeviceID", "340200"), ("Name", "district"), ("CivilCode", "3402")]),
        item(&[("DeviceID", "34020001"), ("Name", "village"), ("CivilCode", "340200")]),
        folder(group, lower, ""),
        folder(top, group, group),
        folder(middle, top, group),
        folder(bottom, middle, group),
        // By organisation, with the device before it, by organisation alone, by group, by region, by nothing.
        leaf(
            1,
            &[
                ("ParentID", &format!("{lower}/{bottom}")),
                ("BusinessGroupID", group),
                ("CivilCode", "34020001"),
            ],
        ),
        leaf(2, &[("ParentID", middle), ("CivilCode", "34020001")]),
        leaf(3, &[("BusinessGroupID", group)]),
        leaf(4, &[("ParentID", lower), ("CivilCode", "34020001")]),
        leaf(5, &[]),
        // Itself, us, and a camera that is a device of ours.
        item(&[("DeviceID", lower), ("Name", "itself"), ("ParentID", lower)]),
        item(&[("DeviceID", PLATFORM), ("Name", "us"), ("ParentID", lower), ("Status", "ON")]),
        item(&[("DeviceID", CAMERA), ("Name", "theirs"), ("ParentID", bottom), ("Status", "ON")]),
    ];
    let under = |above: &[&str]| above.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let wanted: BTreeMap<String, Vec<String>> = [
        ("3402", under(&[])),
        ("340200", under(&["3402"])),
        ("34020001", under(&["3402", "340200"])),
        (lower, under(&[])),
        (group, under(&[lower])),
        (top, under(&[lower, group])),
        (middle, under(&[lower, group, top])),
        (bottom, under(&[lower, group, top, middle])),
        (&channel(1), under(&[lower, group, top, middle, bottom])),
        (&channel(2), under(&[lower, group, top, middle])),
        (&channel(3), under(&[lower, group])),
        (&channel(4), under(&[lower])),
        (&channel(5), under(&[])),
        (PLATFORM, under(&[lower])),
        (CAMERA, under(&[lower, group, top, middle, bottom])),
    ]
    .map(|(id, above)| (id.to_owned(), above))
    .into();
    let mut device = Device::registered(&gateway, lower).await;
    // Children first, then parents first.
    for reversed in [true, false] {
        let path = format!("/api/v1/devices/{lower}/catalog");
        let pages = async {
            let sn = query(&mut device).await;
            let mut pages: Vec<&[String]> = items.chunks(2).collect();
            if reversed {
                pages.reverse();
            }
            for (number, page) in pages.into_iter().enumerate() {
                device.message(catalog(lower, &sn, items.len(), page, "GB2312").as_bytes()).await;
                if number == 3 {
                    // It takes us for one of its own and asks for our catalog, with the same SN: that is no page.
                    let asks = format!(
                        "<Query><CmdType>Catalog</CmdType><SN>{sn}</SN><DeviceID>{PLATFORM}</DeviceID></Query>"
                    );
                    assert_eq!(device.message(asks.as_bytes()).await.code(), 200);
                }
            }
        };
        let (answer, ()) = tokio::join!(gateway.ask(Method::POST, &path), pages);
        assert_eq!(answer.json(), json!({ "received": 15, "total": 15, "complete": true }));
        until("the whole tree", async || {
            let found = walk(&gateway, lower).await;
            if found == wanted { Ok(()) } else { Err(format!("{found:#?}")) }
        })
        .await;
    }
    // The camera of the same id, here and there: each call finds its own way.
    let offer = Player::offer();
    for (id, target) in [(CAMERA, CHANNEL), (lower, CAMERA)] {
        let holder = if id == CAMERA { &mut direct } else { &mut device };
        let serve = async {
            let invite = holder.invited().await;
            holder.answer(&invite, "486 Busy Here", "", b"").await;
            invite
        };
        let (refused, invite) = tokio::join!(gateway.whep(id, target, &offer), serve);
        refused.is_problem(502, "invite_refused", "invite");
        assert!(invite.start.starts_with(&format!("INVITE sip:{target}@")), "{invite:?}");
    }
    // What the lower platform says of that camera is not said of our device.
    let off = format!(
        "<Notify><CmdType>Catalog</CmdType><SN>9</SN><DeviceID>{lower}</DeviceID><SumNum>1</SumNum><DeviceList Num=\"1\">\
         <Item><DeviceID>{CAMERA}</DeviceID><Event>OFF</Event></Item></DeviceList></Notify>"
    );
    assert_eq!(device.message(off.as_bytes()).await.code(), 200);
    until("the channel to be off", async || {
        let theirs = gateway.get(&format!("/api/v1/devices/{lower}/channels/{CAMERA}")).await;
        if theirs["online"] == false { Ok(()) } else { Err(theirs.to_string()) }
    })
    .await;
    assert_eq!(gateway.get(&format!("/api/v1/devices/{CAMERA}")).await["online"], true);
    // Nobody may be us.
    assert_eq!(Device::udp(&gateway, PLATFORM).await.try_register(3600, None).await.code(), 403);

    // A simulated platform with every mixture of a tree: nothing lost, nothing twice.
    let other = "34020000002000000055";
    let fleet =
        simulate(&gateway, "udp", &["--tree", "--channels", "600", "--first-id", other, "--page", "40"]);
    has_channels(&gateway, other, 600).await;
    let found = walk(&gateway, other).await;
    let cameras = found.iter().filter(|(id, _)| id.get(10..13) == Some("131")).collect::<Vec<_>>();
    assert_eq!(cameras.len(), 600);
    assert!(cameras.iter().any(|(_, above)| above.len() >= 3), "no camera at the third level");
    drop(fleet);
}
