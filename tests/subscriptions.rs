//! Subscriptions: asked for, refreshed, taken up anew when they are lost, and what is told by them.

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

use reqwest::Method;
use serde_json::{Value, json};
use support::facing::{Events, Subscription, camera, device_path, notify, number, post, subscription};
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway};
use support::sip::Device;
use support::until;
use support::wild::{finding, sent};

const SECOND: &str = "34020000001310000002";
const THIRD: &str = "34020000001310000003";
/// After a restart each device is subscribed to at a moment of its own within a minute, which its id settles: here it is
/// the second one.
const EARLY: &str = "34020000001320000018";

/// What is subscribed to.
fn wanted(catalog: bool, alarm: bool, position: Option<u32>, ptz: bool) -> Value {
    json!({ "catalog": catalog, "alarm": alarm, "position": position, "ptz_position": ptz })
}

async fn want(gateway: &Gateway, wanted: Value) {
    let answer = gateway.tell(Method::PUT, &device_path("subscriptions"), &wanted).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn every_topic_is_subscribed_to_refreshed_and_ended() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "3.0").await;
    want(&gateway, wanted(true, true, Some(7), true)).await;
    let mut begun = Vec::new();
    while begun.len() < 4 {
        let request = device.asked_for("SUBSCRIBE").await;
        let cmd = request.element("CmdType");
        if begun.iter().any(|(_, other): &(_, support::sip::Sip)| other.element("CmdType") == cmd) {
            continue;
        }
        assert_eq!(
            (request.header("expires"), request.header("cseq")),
            ("3600", "1 SUBSCRIBE"),
            "{request:?}"
        );
        assert_eq!(request.header("content-type").to_lowercase(), "application/manscdp+xml");
        assert!(request.header("contact").contains(&gateway.listen().sip_udp.to_string()), "{request:?}");
        assert!(!request.header("to").contains("tag="), "{request:?}");
        assert_eq!(request.element("DeviceID"), CAMERA);
        let body = request.text();
        let topic = match cmd.as_str() {
            "Catalog" => {
                assert!(request.header("event").starts_with("Catalog;id="), "{request:?}");
                "catalog"
            }
            "Alarm" => {
                for all in ["<StartAlarmPriority>0<", "<EndAlarmPriority>0<", "<AlarmMethod>0<"] {
                    assert!(body.contains(all), "{body}");
                }
                "alarm"
            }
            "MobilePosition" => {
                assert_eq!(request.element("Interval"), "7");
                "position"
            }
            _ => "ptz_position",
        };
        assert!(cmd == "Catalog" || request.header("event") == "presence", "{request:?}");
        begun.push((topic, request));
    }
    for (topic, _) in &begun {
        let state = subscription(&gateway, topic, "active").await;
        assert!(state["expires_at"].is_string(), "{state}");
    }
    assert_eq!(gateway.get(&device_path("subscriptions")).await["wanted"], wanted(true, true, Some(7), true));

    // Another interval is told within the dialog.
    want(&gateway, wanted(true, true, Some(9), true)).await;
    let again = Subscription::granted(&mut device, "MobilePosition", 3600).await.request;
    let first = &begun.iter().find(|(topic, _)| *topic == "position").unwrap().1;
    assert_eq!((again.element("Interval").as_str(), number(&again)), ("9", 2));
    assert_eq!(again.header("call-id"), first.header("call-id"));
    assert!(again.header("to").ends_with(";tag=answered"), "{again:?}");

    // Nobody wants them any more: each is ended within its dialog.
    want(&gateway, wanted(false, false, None, false)).await;
    let mut ended = Vec::new();
    while ended.len() < 4 {
        let request = device.asked_for("SUBSCRIBE").await;
        let call_id = request.header("call-id").to_owned();
        if !ended.contains(&call_id) {
            assert_eq!(request.header("expires"), "0", "{request:?}");
            assert!(begun.iter().any(|(_, begun)| begun.header("call-id") == call_id));
            ended.push(call_id);
        }
    }
    until("no subscriptions", async || {
        let items = gateway.get(&device_path("subscriptions")).await["items"].clone();
        if items == json!([]) { Ok(()) } else { Err(items.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_subscription_is_refreshed_before_it_ends() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    want(&gateway, wanted(true, false, None, false)).await;
    let first = Subscription::granted(&mut device, "Catalog", 14).await;
    let begun = Instant::now();
    let again = Subscription::asked(&mut device, "Catalog").await;
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(again.header("call-id"), first.request.header("call-id"));
    assert_eq!((number(&again), again.header("event")), (2, first.request.header("event")));
    assert!(again.header("to").ends_with(";tag=answered"), "{again:?}");
}

/// A device of two channels whose catalog is subscribed to.
async fn subscribed(gateway: &Gateway, id: &str) -> (Device, Subscription) {
    let mut device = Device::registered(gateway, id).await;
    let query = device.asked_for("<CmdType>Catalog<").await;
    device.page(&query, 2, &[(CHANNEL, "one"), (SECOND, "two")]).await;
    let subscription = Subscription::granted(&mut device, "Catalog", 3600).await;
    gateway.device(id, "with two channels", |state| state["channel_count"] == 2).await;
    (device, subscription)
}

/// A notify of the catalog with these items: id, event, more.
fn changes(sn: u32, items: &[(&str, &str, &str)]) -> String {
    let list: String = items
        .iter()
        .map(|(id, event, more)| {
            format!("<Item>\r\n<DeviceID>{id}</DeviceID>\r\n<Event>{event}</Event>\r\n{more}\r\n</Item>\r\n")
        })
        .collect();
    let count = items.len();
    let inside = format!("<SumNum>{count}</SumNum>\r\n<DeviceList Num=\"{count}\">\r\n{list}</DeviceList>");
    notify("Catalog", sn, CAMERA, &inside)
}

/// Waits until the channels are these: id, name, whether online.
async fn channels(gateway: &Gateway, wanted: &[(&str, &str, bool)]) {
    until(&format!("{wanted:?}"), async || {
        let page = gateway.get(&device_path("channels")).await;
        let items = page["items"].as_array().unwrap();
        let mut seen: Vec<_> = items
            .iter()
            .map(|item| {
                (item["id"].as_str().unwrap(), item["name"].as_str().unwrap(), item["online"] == true)
            })
            .collect();
        seen.sort_unstable();
        if seen == wanted { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn changes_of_a_catalog_are_applied_exactly() {
    let gateway = Gateway::start(&[]).await;
    let (mut device, own) = subscribed(&gateway, CAMERA).await;
    let events = Events::follow(&gateway).await;
    channels(&gateway, &[(CHANNEL, "one", true), (SECOND, "two", true)]).await;
    for (sn, event, online) in
        [(1, "OFF", false), (2, "ON", true), (3, "VLOST", false), (4, "ON", true), (5, "DEFECT", false)]
    {
        let body = changes(sn, &[(CHANNEL, event, "")]);
        assert_eq!(own.tell(&mut device, "active;expires=3600", &body).await, 200);
        channels(&gateway, &[(CHANNEL, "one", online), (SECOND, "two", true)]).await;
        events.next("catalog.changed", |event| event["device"] == CAMERA).await;
    }
    // In their order: all of one message.
    let third = "<Name>three</Name><Manufacturer>M</Manufacturer><ParentID>34020000001320000001</ParentID>\
                 <Status>ON</Status>";
    let renamed = "<Name>uno</Name><Manufacturer>M</Manufacturer><Status>ON</Status>";
    let body = changes(6, &[(THIRD, "ADD", third), (CHANNEL, "UPDATE", renamed), (SECOND, "DEL", "")]);
    assert_eq!(own.tell(&mut device, "active;expires=3600", &body).await, 200);
    channels(&gateway, &[(CHANNEL, "uno", true), (THIRD, "three", true)]).await;
    let body = changes(7, &[(THIRD, "DEL", ""), (THIRD, "ADD", third), (THIRD, "OFF", "")]);
    assert_eq!(own.tell(&mut device, "active;expires=3600", &body).await, 200);
    channels(&gateway, &[(CHANNEL, "uno", true), (THIRD, "three", false)]).await;

    // One that leaves the name out leaves the name as it is; of a channel that nobody knows there is no state.
    let body = changes(8, &[(CHANNEL, "UPDATE", "<Status>OFF</Status>"), (SECOND, "ON", "")]);
    assert_eq!(own.tell(&mut device, "active;expires=3600", &body).await, 200);
    channels(&gateway, &[(CHANNEL, "uno", false), (THIRD, "three", false)]).await;

    // The form of 2011: whole items under the root Response, without an event.
    let item = "<Name>uno</Name><Manufacturer>M</Manufacturer><Status>ON</Status>";
    let body =
        changes(9, &[(CHANNEL, "", item)]).replace("<Event></Event>\r\n", "").replace("Notify", "Response");
    assert_eq!(own.tell(&mut device, "active;expires=3600", &body).await, 200);
    channels(&gateway, &[(CHANNEL, "uno", true), (THIRD, "three", false)]).await;

    // By MESSAGE, as some do.
    let answer = device.message(changes(10, &[(THIRD, "ON", "")]).as_bytes()).await;
    assert_eq!(answer.code(), 200);
    channels(&gateway, &[(CHANNEL, "uno", true), (THIRD, "three", true)]).await;
    let state = subscription(&gateway, "catalog", "active").await;
    assert_eq!((&state["notifies"], state["last_notify"].is_string()), (&json!(9), true), "{state}");

    // An event that there is not.
    assert_eq!(own.tell(&mut device, "active", &changes(11, &[(THIRD, "GONE", "")])).await, 200);
    finding(&gateway, CAMERA, "catalog-event-unknown").await;
}

#[tokio::test]
async fn a_notify_that_was_overtaken_changes_nothing() {
    let gateway = Gateway::start(&[]).await;
    let (mut device, own) = subscribed(&gateway, CAMERA).await;
    let early = own.notify(&mut device, "active", &changes(1, &[(CHANNEL, "OFF", "")]));
    let late = own.notify(&mut device, "active", &changes(2, &[(CHANNEL, "ON", ""), (SECOND, "OFF", "")]));
    assert_eq!(device.exchange(&late).await.code(), 200);
    channels(&gateway, &[(CHANNEL, "one", true), (SECOND, "two", false)]).await;
    device.line.send(&early).await;
    let refused = async {
        loop {
            let message = device.line.receive().await.unwrap();
            if message.code() > 0 {
                return message.code();
            }
        }
    };
    assert_eq!(tokio::time::timeout(support::PATIENCE, refused).await.unwrap(), 500);
    // The next one shows that what was refused was not applied.
    assert_eq!(own.tell(&mut device, "active", &changes(3, &[(SECOND, "ON", "")])).await, 200);
    channels(&gateway, &[(CHANNEL, "one", true), (SECOND, "two", true)]).await;
}

#[tokio::test]
async fn a_subscription_that_is_lost_is_begun_anew() {
    let gateway = Gateway::start(&[]).await;
    let (mut device, first) = subscribed(&gateway, CAMERA).await;
    let fresh = |request: &support::sip::Sip, old: &Subscription| {
        assert_ne!(request.header("call-id"), old.request.header("call-id"));
        assert!(!request.header("to").contains("tag="), "{request:?}");
    };
    // The device ends it.
    assert_eq!(first.tell(&mut device, "terminated;reason=timeout", "").await, 200);
    let second = Subscription::granted(&mut device, "Catalog", 3600).await;
    fresh(&second.request, &first);
    // What the old dialog tells counts still, and ends there.
    assert_eq!(first.tell(&mut device, "active", &changes(1, &[(CHANNEL, "OFF", "")])).await, 481);
    channels(&gateway, &[(CHANNEL, "one", false), (SECOND, "two", true)]).await;
    finding(&gateway, CAMERA, "notify-unasked").await;
    assert_eq!(second.tell(&mut device, "active", &changes(2, &[(CHANNEL, "ON", "")])).await, 200);
    channels(&gateway, &[(CHANNEL, "one", true), (SECOND, "two", true)]).await;

    // It has forgotten it: 481 to a refresh.
    want(&gateway, wanted(false, false, Some(5), false)).await;
    let old = Subscription::granted(&mut device, "MobilePosition", 3600).await;
    subscription(&gateway, "position", "active").await;
    want(&gateway, wanted(false, false, Some(6), false)).await;
    let refresh = Subscription::asked(&mut device, "MobilePosition").await;
    assert_eq!(refresh.header("call-id"), old.request.header("call-id"));
    device.answer(&refresh, "481 Subscription Does Not Exist", "", b"").await;
    let again = Subscription::granted(&mut device, "MobilePosition", 3600).await;
    fresh(&again.request, &old);
    assert_eq!(again.request.element("Interval"), "6");
    // For good: it is not asked again at once.
    assert_eq!(again.tell(&mut device, "terminated;reason=noresource", "").await, 200);
    subscription(&gateway, "position", "waiting").await;
}

#[tokio::test]
async fn a_device_or_a_gateway_that_starts_anew_is_subscribed_to_anew() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let (mut device, first) = subscribed(&gateway, EARLY).await;
    assert_eq!(device.register(0).await.code(), 200);
    gateway.device_online(EARLY, false).await;
    assert_eq!(device.register(3600).await.code(), 200);
    let second = Subscription::granted(&mut device, "Catalog", 3600).await;
    assert_ne!(second.request.header("call-id"), first.request.header("call-id"));

    gateway.kill().await;
    let gateway = Gateway::start_in(data.path(), &[]).await;
    device.line.follow(&gateway);
    let online = async |wanted: bool| {
        let path = format!("/api/v1/devices/{EARLY}/channels/{CHANNEL}");
        until(&format!("the channel with online {wanted}"), async || {
            let channel = gateway.get(&path).await;
            if channel["online"] == wanted { Ok(()) } else { Err(channel.to_string()) }
        })
        .await;
    };
    // Nobody knows that dialog any more; what it says counts all the same.
    assert_eq!(second.tell(&mut device, "active", &changes(1, &[(CHANNEL, "OFF", "")])).await, 481);
    online(false).await;
    let third = Subscription::granted(&mut device, "Catalog", 3600).await;
    assert!(!third.request.header("to").contains("tag="), "{:?}", third.request);
    assert_ne!(third.request.header("call-id"), second.request.header("call-id"));
    assert_eq!(third.tell(&mut device, "active", &changes(2, &[(CHANNEL, "ON", "")])).await, 200);
    online(true).await;
}

#[tokio::test]
async fn what_is_refused_is_not_asked_for_again_until_the_device_comes_anew() {
    let gateway = Gateway::start(&[]).await;
    let mut device = camera(&gateway, "2.0").await;
    want(&gateway, wanted(true, true, None, true)).await;
    let request = Subscription::asked(&mut device, "Catalog").await;
    device.answer(&request, "489 Bad Event", "", b"").await;
    let state = subscription(&gateway, "catalog", "refused").await;
    assert_eq!(state["code"], 489);
    finding(&gateway, CAMERA, "subscribe-refused").await;
    Subscription::granted(&mut device, "Alarm", 3600).await;
    subscription(&gateway, "alarm", "active").await;
    // Nor is what its edition does not have.
    subscription(&gateway, "ptz_position", "unsupported").await;

    let before = sent(&gateway, "SUBSCRIBE").await;
    assert_eq!(device.keepalive().await.code(), 200);
    assert_eq!(device.register(3600).await.code(), 200, "a refresh");
    let path = format!("/api/v1/devices/{CAMERA}/catalog");
    let pages = async {
        let query = device.asked_for("<CmdType>Catalog<").await;
        device.page(&query, 1, &[(CHANNEL, "gate")]).await;
    };
    let (synced, ()) = tokio::join!(gateway.ask(Method::POST, &path), pages);
    assert_eq!(synced.status, 200);
    // A MESSAGE goes to and fro after anything that could have been begun by it.
    let record = async {
        let request = device.asked_for("RecordCmd").await;
        support::facing::reply(&mut device, &request, "<Result>OK</Result>").await
    };
    let path = device_path("control/record");
    let (told, _) = tokio::join!(post(&gateway, &path, json!({ "on": true })), record);
    assert_eq!(told["result"], "done");
    subscription(&gateway, "catalog", "refused").await;
    assert_eq!(sent(&gateway, "SUBSCRIBE").await, before);

    // Registered anew, it may have learnt it.
    assert_eq!(device.register(0).await.code(), 200);
    gateway.device_online(CAMERA, false).await;
    assert_eq!(device.register(3600).await.code(), 200);
    Subscription::granted(&mut device, "Catalog", 3600).await;
    subscription(&gateway, "catalog", "active").await;
}

#[tokio::test]
async fn positions_are_told_and_the_last_one_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = camera(&gateway, "3.0").await;
    want(&gateway, wanted(false, false, Some(5), true)).await;
    let own = Subscription::granted(&mut device, "MobilePosition", 3600).await;
    let ptz = Subscription::granted(&mut device, "PTZPosition", 3600).await;
    let events = Events::follow(&gateway).await;
    let place = "<Longitude>117.125</Longitude><Latitude>31.5</Latitude><Speed>36.5</Speed>\
                 <Direction>90.0</Direction><Altitude>20.5</Altitude>";
    // Flat as in 2016, a list as in 2022.
    let flat = notify("MobilePosition", 1, CAMERA, &format!("<Time>2026-05-01T08:00:00</Time>{place}"));
    assert_eq!(own.tell(&mut device, "active", &flat).await, 200);
    let told = events.next("position", |event| event["channel"] == CAMERA).await;
    let wanted = json!({ "device": CAMERA, "channel": CAMERA, "at": "2026-05-01T08:00:00.000+08:00",
                         "longitude": 117.125, "latitude": 31.5, "speed": 36.5, "direction": 90.0,
                         "altitude": 20.5, "height": null });
    assert_eq!(told, wanted);
    let item = |id: &str| {
        format!(
            "<Item><DeviceID>{id}</DeviceID><CaptureTime>2026-05-01T08:00:05</CaptureTime>{place}<Height>2</Height></Item>"
        )
    };
    let list = format!(
        "<Time>2026-05-01T08:00:06</Time><SumNum>2</SumNum><DeviceList Num=\"2\">{}{}</DeviceList>",
        item(CHANNEL),
        item(SECOND)
    );
    assert_eq!(own.tell(&mut device, "active", &notify("MobilePosition", 2, CAMERA, &list)).await, 200);
    for channel in [CHANNEL, SECOND] {
        let told = events.next("position", |event| event["channel"] == channel).await;
        assert_eq!(
            (&told["at"], &told["height"]),
            (&json!("2026-05-01T08:00:05.000+08:00"), &json!(2.0)),
            "{told}"
        );
    }
    // Unasked, by MESSAGE.
    let message = notify("MobilePosition", 3, CAMERA, &format!("<Time>2026-05-01T08:00:09</Time>{place}"));
    assert_eq!(device.message(message.as_bytes()).await.code(), 200);
    events.next("position", |event| event["at"] == "2026-05-01T08:00:09.000+08:00").await;

    let view = "<Pan>12.5</Pan><Tilt>-3</Tilt><Zoom>2</Zoom>";
    assert_eq!(ptz.tell(&mut device, "active", &notify("PTZPosition", 4, CHANNEL, view)).await, 200);
    let told = events.next("ptz.position", |event| event["channel"] == CHANNEL).await;
    let seen = [&told["position"]["pan"], &told["position"]["tilt"], &told["position"]["zoom"]];
    assert_eq!(seen, [&json!(12.5), &json!(-3.0), &json!(2.0)], "{told}");

    // The last one of each is there after the power has failed.
    let kept = json!({ "longitude": 117.125, "latitude": 31.5, "at": "2026-05-01T08:00:05.000+08:00" });
    let path = device_path(&format!("channels/{CHANNEL}"));
    assert_eq!(gateway.get(&path).await["position"], kept);
    assert!(gateway.get(&format!("/api/v1/devices/{CAMERA}")).await["position"].is_object());
    gateway.kill().await;
    let gateway = Gateway::start_in(data.path(), &[]).await;
    assert_eq!(gateway.get(&path).await["position"], kept);
}

#[tokio::test]
async fn simulated_devices_tell_of_their_changes() {
    let gateway = Gateway::start(&[]).await;
    let events = Events::follow(&gateway).await;
    let mut fleets = Vec::new();
    // As of 2016, by MESSAGE, and in the form of 2011.
    let quirks = ["", "message-notify", "response-notify"];
    let ids: Vec<String> = (0..quirks.len()).map(|index| format!("3402000000132000010{index}")).collect();
    for (index, (quirks, id)) in quirks.into_iter().zip(&ids).enumerate() {
        let fleet = Fleet {
            first_id: id,
            first_channel: &format!("340200000013100001{index}0"),
            channels: 2,
            quirks,
            more: &["--catalog-every", "1"],
            ..Fleet::default()
        };
        fleets.push(fleet.start(&gateway).await);
    }
    for id in &ids {
        events.next("catalog.changed", |event| event["device"] == **id && event["changed"] != 0).await;
        let path = format!("/api/v1/devices/{id}/channels");
        until("a channel that was renamed", async || {
            let page = gateway.get(&path).await;
            let renamed = |item: &Value| item["name"].as_str().is_some_and(|name| name.contains("改名"));
            if page["items"].as_array().unwrap().iter().any(renamed) { Ok(()) } else { Err(page.to_string()) }
        })
        .await;
    }
}
