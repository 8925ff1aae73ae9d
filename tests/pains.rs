//! What hurts users of other platforms in signalling, each pain with a test of its name; those of media are in
//! `pains_media.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, CHANNEL, Gateway, PASSWORD};
use support::player::Player;
use support::sip::{Device, LOOPBACK, Sip};
use support::until;
use support::wild::{
    Footage, Hash, MANSCDP, authorization, catalog, channel, counts, finding, gb, has_channels, item,
    media_address, name_of, names, no_streams, nonce, plain, query, send_pictures, sent, sync, with_length,
};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

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
    let wrong = device.compose("MESSAGE", MANSCDP, page(4).as_bytes());
    let wrong = with_length(&wrong, &format!("Content-Length: {}\r\n", page(4).len() + 60));
    device.line.send(&wrong).await;
    assert_eq!(device.keepalive().await.code(), 200);
    counts(&gateway, "gbgate_sip_dropped_total", "reason=\"content_length\"", 1.0).await;
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
    has_channels(&gateway, CAMERA, 200).await;
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

/// Whether a channel is online.
async fn is_on(gateway: &Gateway, device: &str, number: usize) -> Value {
    gateway.get(&format!("/api/v1/devices/{device}/channels/{}", channel(number))).await["online"].clone()
}

/// Pain 6: false offline and stuck online: one timer per device, any sign of life counts, channels follow their device.
#[tokio::test]
async fn pain_06_false_offline_and_stuck_online() {
    let data = tempfile::tempdir().unwrap();
    let settings = [("sip.keepalive.interval", "5s"), ("sip.keepalive.misses", "1")];
    let gateway = Gateway::start_in(data.path(), &settings).await;
    let mut silent = Device::registered(&gateway, CAMERA).await;
    let sn = query(&mut silent).await;
    let items = [plain(&channel(1), "on", CAMERA), plain(&channel(2), "off", CAMERA).replace("ON", "OFF")];
    silent.message(catalog(CAMERA, &sn, 2, &items, "GB2312").as_bytes()).await;
    has_channels(&gateway, CAMERA, 2).await;
    assert_eq!([is_on(&gateway, CAMERA, 1).await, is_on(&gateway, CAMERA, 2).await], [true, false]);
    // It sends no keepalive ever, but talks: an answer nobody asked for, a notification, a registration.
    let mut talks = Device::registered(&gateway, OTHER).await;
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(8) {
        round += 1;
        let code = match round % 3 {
            0 => talks.register(3600).await.code(),
            1 => {
                let info = format!(
                    "<Response><CmdType>DeviceInfo</CmdType><SN>{round}</SN><DeviceID>{OTHER}</DeviceID></Response>"
                );
                talks.message(info.as_bytes()).await.code()
            }
            _ => {
                let status = format!(
                    "<Notify><CmdType>MediaStatus</CmdType><SN>{round}</SN><DeviceID>{OTHER}</DeviceID>\
                     <NotifyType>121</NotifyType></Notify>"
                );
                talks.message(status.as_bytes()).await.code()
            }
        };
        assert_eq!(code, 200);
        assert_eq!(
            gateway.get(&format!("/api/v1/devices/{OTHER}")).await["online"],
            true,
            "{:?}",
            began.elapsed()
        );
        sleep(Duration::from_secs(1)).await;
    }
    // The silent one is away, and its channels with it.
    assert_eq!(gateway.get(&format!("/api/v1/devices/{CAMERA}")).await["online"], false);
    assert_eq!([is_on(&gateway, CAMERA, 1).await, is_on(&gateway, CAMERA, 2).await], [false, false]);
    assert_eq!(gateway.get("/api/v1/stats/online").await["channels_online"], 0);
    // It comes back: each channel is again what it was said to be.
    assert_eq!(silent.keepalive().await.code(), 200);
    gateway.device_online(CAMERA, true).await;
    assert_eq!([is_on(&gateway, CAMERA, 1).await, is_on(&gateway, CAMERA, 2).await], [true, false]);
    // Nor is anybody online for ever because the gateway was started anew.
    gateway.kill().await;
    let gateway = Gateway::start_in(data.path(), &settings).await;
    assert_eq!(gateway.get(&format!("/api/v1/devices/{CAMERA}")).await["online"], true);
    gateway.device_online(CAMERA, false).await;
    assert_eq!(is_on(&gateway, CAMERA, 1).await, false);
}

/// Takes a call as a device behind a NAT does, which tells its private address everywhere.
fn private_answer(invite: &Sip, id: &str) -> (String, String) {
    let body = format!(
        "v=0\r\no={id} 0 0 IN IP4 192.168.1.64\r\ns=Play\r\nc=IN IP4 192.168.1.64\r\nt=0 0\r\n\
         m=video 15060 RTP/AVP 96\r\na=sendonly\r\na=rtpmap:96 PS/90000\r\ny={}\r\n",
        invite.sdp("y=")
    );
    let head = format!(
        "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=natted\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:{id}@192.168.1.64:5060>\r\nContent-Type: Application/SDP\r\nContent-Length: {}\r\n\r\n",
        invite.header("via"),
        invite.header("from"),
        invite.header("to"),
        invite.header("call-id"),
        invite.header("cseq"),
        body.len()
    );
    (head, body)
}

/// Pain 7: NAT and changed addresses: the flow of what came last is the way back, for calls as well.
#[tokio::test]
async fn pain_07_nat_and_changed_addresses() {
    let gateway = Gateway::start(&[("media.no_reader_timeout", "1s")]).await;
    let mut device = Device::udp(&gateway, CAMERA).await;
    let local = device.line.local().to_string();
    let private = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap().replace(&local, "192.168.1.64:5060");
        text.into_bytes()
    };
    let request = private(device.compose("REGISTER", "Expires: 3600\r\n", b""));
    let challenge = device.exchange(&request).await;
    let proof = authorization(CAMERA, &nonce(&challenge), PASSWORD, Hash::Md5, Some(1));
    let request = private(device.compose("REGISTER", &format!("Expires: 3600\r\n{proof}"), b""));
    assert_eq!(device.exchange(&request).await.code(), 200);
    let sn = query(&mut device).await;
    device.message(catalog(CAMERA, &sn, 1, &[plain(CHANNEL, "one", CAMERA)], "GB2312").as_bytes()).await;
    has_channels(&gateway, CAMERA, 1).await;
    // The call finds the device, its ACK finds it though Contact is private, and its media are taken though they come
    // from another port and address than the answer says.
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let serve = async {
        let invite = device.invited().await;
        let (head, body) = private_answer(&invite, CAMERA);
        device.line.send(format!("{head}{body}").as_bytes()).await;
        let ack = device.asked_for("ACK ").await;
        assert_eq!(ack.header("call-id"), invite.header("call-id"));
        let footage = Footage::new(invite.sdp("y=").parse().unwrap());
        (send_pictures(socket, media_address(&invite), footage, |_| Vec::new()), invite)
    };
    let (player, (sending, invite)) = tokio::join!(Player::watch(&gateway, CAMERA, CHANNEL), serve);
    let seen = player.sees_pictures(10).await;
    assert_eq!(seen.gaps, 0, "{seen:?}");
    // In the middle of the call the NAT moves the device: the BYE goes where it is now.
    let mut moved = Device::udp(&gateway, CAMERA).await;
    assert_eq!(moved.keepalive().await.code(), 200);
    player.sees_pictures(5).await;
    assert_eq!(gateway.ask(Method::DELETE, &player.location).await.status.as_u16(), 200);
    let bye = moved.asked_for("BYE ").await;
    assert_eq!(bye.header("call-id"), invite.header("call-id"));
    no_streams(&gateway).await;
    assert!(
        timeout(Duration::from_millis(300), silence_of(&mut device, "BYE ")).await.is_err(),
        "the old port heard BYE"
    );
    drop(sending);
}

/// Ends when such a request comes.
async fn silence_of(device: &mut Device, start: &str) {
    loop {
        let message = device.line.receive().await.unwrap();
        if message.start.starts_with(start) {
            return;
        }
    }
}

/// Pain 8: after a restart devices go on with keepalives and never register again: all is served from the first second.
#[tokio::test]
async fn pain_08_restart() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let sn = query(&mut device).await;
    let items: Vec<String> = (1..=20).map(|n| plain(&channel(n), "村", CAMERA)).collect();
    device.message(&gb(&catalog(CAMERA, &sn, 20, &items, "GB2312"))).await;
    has_channels(&gateway, CAMERA, 20).await;
    let mut lost = Vec::new();
    let mut sendings = Vec::new();
    let mut players = Vec::new();
    for number in 1..=2 {
        let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
        let from = socket.local_addr().unwrap();
        let serve = async {
            let invite = device.invited().await;
            device.take_call(&invite, from).await;
            let footage = Footage::new(invite.sdp("y=").parse().unwrap());
            (send_pictures(socket, media_address(&invite), footage, |_| Vec::new()), invite)
        };
        let id = channel(number);
        let watch = Player::watch(&gateway, CAMERA, &id);
        let (player, (sending, invite)) = tokio::join!(watch, serve);
        player.sees_pictures(1).await;
        lost.push(invite.header("call-id").to_owned());
        sendings.push(sending);
        players.push(player);
    }
    gateway.kill().await;
    drop(players);

    let began = Instant::now();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    // Before anything was heard of anybody: the lists, and a picture on demand.
    assert_eq!(names(&gateway, CAMERA).await.len(), 20);
    assert_eq!(name_of(&gateway, CAMERA, &channel(7)).await, "村");
    assert_eq!(gateway.get("/api/v1/stats/online").await["channels_online"], 20);
    device.line.follow(&gateway);
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let from = socket.local_addr().unwrap();
    let mut ended = Vec::new();
    let serve = async {
        // Those who sent before the crash and know of no end are told to stop.
        let invite = loop {
            let request = device.asked().await;
            if request.start.starts_with("INVITE ") {
                break request;
            }
            if request.start.starts_with("BYE ") {
                ended.push(request.header("call-id").to_owned());
            }
            device.answer(&request, "200 OK", "", b"").await;
        };
        device.take_call(&invite, from).await;
        let footage = Footage::new(invite.sdp("y=").parse().unwrap());
        send_pictures(socket, media_address(&invite), footage, |_| Vec::new())
    };
    let third = channel(3);
    let (player, sending) = tokio::join!(Player::watch(&gateway, CAMERA, &third), serve);
    player.sees_pictures(3).await;
    println!("a picture {:?} after the start", began.elapsed());
    while ended.len() < 2 {
        ended.push(device.asked_for("BYE ").await.header("call-id").to_owned());
    }
    ended.sort();
    ended.dedup();
    lost.sort();
    assert_eq!(ended, lost);
    assert_eq!(device.keepalive().await.code(), 200);
    assert_eq!(sent(&gateway, "INVITE").await, 1.0);
    assert_eq!(
        gateway.metric("gbgate_sip_messages_total", "method=\"REGISTER\"").await,
        0.0,
        "it had to register"
    );
    drop((sending, sendings));
}
