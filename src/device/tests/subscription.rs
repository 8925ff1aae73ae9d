//! Subscriptions: SUBSCRIBE, refresh, loss, end, and NOTIFY.

use super::*;
use crate::gb::manscdp::{CatalogEvent, CatalogItem, Edition};

const HOME: &str = "192.0.2.20:5060";

fn subscribing(subscribe: &str) -> Bench {
    bench_with(Settings { profiles: Arc::new(profiles(subscribe)), ..settings() })
}

/// A device that is subscribed to for its catalog, and the SUBSCRIBE.
fn subscribed() -> (Bench, Sent) {
    let mut bench = subscribing("{catalog: true}");
    bench.settled(id(DEVICE), udp(HOME));
    let sent = bench.later(2.0).subscribes.remove(0);
    bench.grant(&sent, 600);
    assert_eq!(bench.state(Topic::Catalog), Some(SubscriptionState::Active));
    (bench, sent)
}

impl Bench {
    /// The device grants a subscription for so many seconds.
    fn grant(&mut self, sent: &Sent, expires: u32) -> Out {
        let answer = sent.2.response(200).with_to_tag("d").with("Expires", expires.to_string());
        let answer = answer.with("Contact", format!("<sip:{DEVICE}@10.1.1.1:5060>"));
        self.devices.answered(self.now, id(DEVICE), sent.0, Ok(&answer));
        self.out()
    }

    fn state(&self, topic: Topic) -> Option<SubscriptionState> {
        let all = self.devices.subscriptions(&id(DEVICE)).unwrap();
        all.iter().find(|one| one.topic == topic).map(|one| one.state)
    }

    /// A NOTIFY in the dialog of a SUBSCRIBE.
    fn notify(&mut self, sent: &Sent, number: u32, state: &str, body: &str) -> Out {
        self.sent += 1;
        let message = Message::request(Method::Notify, &format!("sip:{PLATFORM}@192.0.2.10:5060"))
            .with("Via", format!("SIP/2.0/UDP 10.1.1.1:5060;rport;branch=z9hG4bK{}n", self.sent))
            .with("From", format!("<sip:{DEVICE}@{DOMAIN}>;tag=d"))
            .with("To", sent.2.header("From").unwrap())
            .with("Call-ID", sent.2.call_id().unwrap())
            .with("CSeq", format!("{number} NOTIFY"))
            .with("Max-Forwards", "70")
            .with("Event", sent.2.header("Event").unwrap_or("presence"))
            .with("Subscription-State", state);
        let message = match body {
            "" => message,
            body => message.with_body(manscdp::CONTENT_TYPE, Bytes::from(body.to_owned())),
        };
        self.deliver(udp(HOME), message)
    }
}

/// A notify of one change of the channel with this last digit.
fn change(event: CatalogEvent, digit: u64) -> String {
    let item = CatalogItem {
        event: Some(event),
        ..CatalogItem::new(id("34020000001310000000").nth(digit), "camera")
    };
    write::notify_catalog(1, &id(DEVICE), &[item], Edition::default())
}

fn off(digit: u64) -> String {
    change(CatalogEvent::Off, digit)
}

/// The channels whose status was set.
fn set(out: &Out) -> Vec<(u64, bool)> {
    let status = |write: &Write| match write {
        Write::SetChannelStatus { channel, status, .. } => Some((last_digit(channel), *status)),
        _ => None,
    };
    out.writes.iter().filter_map(status).collect()
}

#[test]
fn what_is_wanted_is_subscribed_to() {
    let mut bench = subscribing("{catalog: true, alarm: true, position: 10, ptz_position: true}");
    let out = bench.register(id(DEVICE), udp(HOME));
    assert!(out.subscribes.is_empty(), "after the first questions");
    let out = bench.later(2.0);
    let asked: Vec<_> = out
        .subscribes
        .iter()
        .map(|sent| (body_of(sent).cmd, sent.2.header("Event").unwrap().to_owned()))
        .collect();
    let events: Vec<&str> = asked.iter().map(|(_, event)| event.split('=').next().unwrap()).collect();
    assert_eq!(events, ["Catalog;id", "presence", "presence", "presence"]);
    let commands: Vec<&str> = asked.iter().map(|(cmd, _)| cmd.as_str()).collect();
    assert_eq!(commands, ["Catalog", "Alarm", "MobilePosition", "PTZPosition"]);
    let position = &out.subscribes[2];
    assert_eq!(body_of(position).body.text_of("Interval"), Some("10"));
    assert_eq!(position.2.header("Contact"), Some("<sip:34020000002000000001@192.0.2.10:5060>"));
    assert_eq!(position.2.expires(), Some(3_600));
    for sent in &out.subscribes {
        bench.grant(sent, 3_600);
    }
    // Refreshed within the dialog when two thirds of the time are over.
    bench.keep_alive(2_390.0);
    let out = bench.later(20.0);
    assert_eq!(out.subscribes.len(), 4);
    for refresh in &out.subscribes {
        assert_eq!((refresh.2.to_tag(), refresh.2.cseq().unwrap().0), (Some("d"), 2));
        assert_eq!(refresh.2.uri(), Some("sip:34020000001180000001@10.1.1.1:5060"));
        bench.grant(refresh, 3_600);
    }
    assert_eq!(bench.ask(1, id(DEVICE), Request::Subscriptions).answered.len(), 1);
}

impl Bench {
    /// Time passes, with keepalives.
    fn keep_alive(&mut self, seconds: f64) -> Out {
        let (mut left, mut all) = (seconds, Out::default());
        while left > 0.0 {
            let out = self.later(left.min(50.0));
            all.subscribes.extend(out.subscribes);
            left -= 50.0;
            self.keepalive(id(DEVICE), udp(HOME));
        }
        all
    }
}

#[test]
fn a_refresh_that_finds_nothing_begins_anew() {
    let (mut bench, first) = subscribed();
    let refresh = bench.keep_alive(420.0).subscribes.remove(0);
    assert_eq!(refresh.2.call_id(), first.2.call_id());
    let out = bench.answer_sip(&refresh, 481);
    assert!(out.subscribes.is_empty());
    let again = bench.later(0.0).subscribes.remove(0);
    assert_ne!(again.2.call_id(), first.2.call_id());
    assert_eq!(again.2.to_tag(), None);
    // And if even that is answered so, with a pause that grows.
    let mut pauses = Vec::new();
    let mut sent = again;
    for _ in 0..7 {
        bench.answer_sip(&sent, 481);
        let before = bench.now.instant;
        while bench.now.instant < before + Duration::from_secs(700) {
            let mut out = bench.later(10.0);
            bench.keepalive(id(DEVICE), udp(HOME));
            bench.register_if_needed();
            if !out.subscribes.is_empty() {
                sent = out.subscribes.remove(0);
                break;
            }
        }
        pauses.push((bench.now.instant - before).as_secs());
    }
    assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600]);
    bench.grant(&sent, 600);
    assert_eq!(bench.state(Topic::Catalog), Some(SubscriptionState::Active));
}

impl Bench {
    fn register_if_needed(&mut self) {
        let session = self.devices.entries[&id(DEVICE)].session.as_ref().unwrap();
        if session.expires_at < self.now.instant + Duration::from_secs(600) {
            self.register(id(DEVICE), udp(HOME));
        }
    }
}

#[test]
fn silence_leaves_a_subscription_until_it_runs_out() {
    let (mut bench, first) = subscribed();
    let refresh = bench.keep_alive(420.0).subscribes.remove(0);
    bench.lose(&refresh);
    assert_eq!(bench.state(Topic::Catalog), Some(SubscriptionState::Active));
    assert_eq!(set(&bench.notify(&first, 1, "active", &off(1))), [(1, false)], "it is still heard");
    let later = bench.keep_alive(300.0).subscribes;
    assert!(later.iter().any(|sent| sent.2.call_id() != first.2.call_id()), "then anew");
}

#[test]
fn a_device_that_cannot_is_not_asked_again_until_it_comes_anew() {
    for code in [489, 405, 501, 403, 400] {
        let mut bench = subscribing("{catalog: true}");
        bench.settled(id(DEVICE), udp(HOME));
        let sent = bench.later(2.0).subscribes.remove(0);
        assert_eq!(bench.answer_sip(&sent, code).departures, [Rule::SubscribeRefused]);
        assert_eq!(bench.state(Topic::Catalog), Some(SubscriptionState::Refused));
        assert!(bench.keep_alive(1_500.0).subscribes.is_empty());
        assert!(bench.register(id(DEVICE), udp(HOME)).subscribes.is_empty(), "a refresh is no coming anew");
        assert!(bench.keep_alive(100.0).subscribes.is_empty());
        bench.later(400.0);
        assert!(!bench.is_online(id(DEVICE)));
        bench.keepalive(id(DEVICE), udp(HOME));
        assert_eq!(bench.later(2.0).subscribes.len(), 1);
    }
}

#[test]
fn a_device_that_comes_back_is_subscribed_to_anew() {
    let (mut bench, first) = subscribed();
    bench.later(400.0);
    assert_eq!(bench.state(Topic::Catalog), Some(SubscriptionState::Waiting));
    assert!(bench.later(100.0).subscribes.is_empty(), "nobody would hear it");
    bench.keepalive(id(DEVICE), udp(HOME));
    let again = bench.later(2.0).subscribes.remove(0);
    assert_ne!(again.2.call_id(), first.2.call_id());
    // What still comes of the old one counts, and the device is told to forget it.
    let out = bench.notify(&first, 1, "active", &off(1));
    assert_eq!((out.codes(), set(&out)), (vec![481], vec![(1, false)]));
    bench.grant(&again, 600);
    assert_eq!(bench.state(Topic::Catalog), Some(SubscriptionState::Active));
}

#[test]
fn a_device_that_was_started_anew_is_asked_whether_it_remembers() {
    let (mut bench, first) = subscribed();
    // A new Call-ID so soon says nothing.
    bench.register(id(DEVICE), udp(HOME));
    assert!(bench.later(5.0).subscribes.is_empty());
    bench.keep_alive(300.0);
    bench.register(id(DEVICE), udp(HOME));
    let refresh = bench.later(5.0).subscribes.remove(0);
    assert_eq!(refresh.2.call_id(), first.2.call_id());
}

#[test]
fn a_notify_may_come_before_the_answer() {
    let mut bench = subscribing("{catalog: true}");
    bench.settled(id(DEVICE), udp(HOME));
    let sent = bench.later(2.0).subscribes.remove(0);
    let out = bench.notify(&sent, 5, "active;expires=600", &off(1));
    assert_eq!((out.codes(), set(&out)), (vec![200], vec![(1, false)]));
    bench.grant(&sent, 600);
    assert_eq!(bench.notify(&sent, 4, "active", &off(2)).codes(), [500], "older than the first");
    assert_eq!(bench.notify(&sent, 6, "active", &off(2)).codes(), [200]);
    // A refresh is in the dialog that both have.
    let refresh = bench.keep_alive(420.0).subscribes.remove(0);
    assert_eq!(refresh.2.to_tag(), Some("d"));
}

#[test]
fn notifies_are_taken_in_order_and_once() {
    let (mut bench, sent) = subscribed();
    assert_eq!(set(&bench.notify(&sent, 1, "active", &off(1))), [(1, false)]);
    // The same once more.
    let out = bench.notify(&sent, 1, "active", &off(1));
    assert_eq!((out.codes(), set(&out)), (vec![200], vec![]));
    // A device that counts nothing.
    let on = change(CatalogEvent::On, 1);
    assert_eq!(set(&bench.notify(&sent, 1, "active", &on)), [(1, true)]);
    // One that was overtaken.
    bench.notify(&sent, 3, "active", &on);
    let out = bench.notify(&sent, 2, "active", &off(1));
    assert_eq!((out.codes(), set(&out)), (vec![500], vec![]));
    // One that counts anew is found out.
    bench.notify(&sent, 1, "active", &off(1));
    bench.notify(&sent, 2, "active", &off(1));
    let again = bench.later(1.0).subscribes.remove(0);
    assert_ne!(again.2.call_id(), sent.2.call_id());
}

#[test]
fn a_subscription_that_the_device_ends_is_begun_anew() {
    let cases = [
        ("terminated;reason=deactivated", 1.0),
        ("terminated", 1.0),
        ("TERMINATED; reason=timeout", 1.0),
        ("terminated;reason=probation;retry-after=20", 20.0),
        ("terminated;reason=rejected", 30.0),
        ("terminated;reason=giveup;retry-after=99999999999", 30.0),
    ];
    for (state, after) in cases {
        let (mut bench, sent) = subscribed();
        let out = bench.notify(&sent, 1, state, &off(1));
        assert_eq!((out.codes(), set(&out)), (vec![200], vec![(1, false)]), "{state}");
        assert!(bench.later(after - 0.1).subscribes.is_empty(), "{state}");
        assert_eq!(bench.later(0.1).subscribes.len(), 1, "{state}");
        assert_eq!(bench.notify(&sent, 2, "terminated", "").codes(), [481]);
    }
}

#[test]
fn a_shorter_time_in_a_notify_counts() {
    let (mut bench, sent) = subscribed();
    bench.notify(&sent, 1, "active;expires=90", "");
    assert_eq!(bench.later(60.0).subscribes.len(), 1);
    let (mut bench, sent) = subscribed();
    bench.notify(&sent, 1, "active;expires=90000", "");
    assert!(bench.keep_alive(390.0).subscribes.is_empty());
    assert_eq!(bench.keep_alive(30.0).subscribes.len(), 1);
}

#[test]
fn what_is_not_wanted_any_more_is_ended() {
    let (mut bench, sent) = subscribed();
    let mut device = bench.devices.device(&id(DEVICE)).unwrap().clone();
    device.subscribe = Some(crate::registry::Subscribe { alarm: true, ..Default::default() });
    bench.devices.put(bench.now, device.clone());
    let out = bench.later(0.0);
    let [end, alarm] = &out.subscribes[..] else { panic!("{:?}", out.subscribes) };
    assert_eq!((end.2.expires(), end.2.call_id()), (Some(0), sent.2.call_id()));
    assert_eq!(body_of(alarm).cmd, "Alarm");
    bench.grant(alarm, 600);
    assert_eq!(bench.notify(&sent, 1, "terminated;reason=timeout", "").codes(), [200]);
    bench.answer_sip(end, 200);
    assert_eq!(bench.state(Topic::Catalog), None);
    // And wanted again.
    device.subscribe = None;
    bench.devices.put(bench.now, device);
    let out = bench.later(0.0);
    assert_eq!(out.subscribes.len(), 2);
    for sent in &out.subscribes {
        bench.answer_sip(sent, 481);
    }
}

#[test]
fn a_device_that_is_removed_is_told() {
    let (mut bench, sent) = subscribed();
    bench.devices.remove(bench.now, id(DEVICE));
    let end = bench.out().subscribes.remove(0);
    assert_eq!((end.2.expires(), end.2.call_id()), (Some(0), sent.2.call_id()));
    bench.answer_sip(&end, 200);
    assert_eq!(bench.notify(&sent, 1, "terminated", "").codes(), [481]);
    assert!(bench.devices.is_idle());
}

#[test]
fn after_a_restart_subscriptions_are_taken_up_within_a_minute() {
    let mut bench = subscribing("{catalog: true, alarm: true}");
    let record = Registration {
        device: id(DEVICE),
        route: Route {
            transport: Transport::Udp,
            local: "192.0.2.10:5060".parse().unwrap(),
            remote: HOME.parse().unwrap(),
        },
        contact: String::new(),
        registered_at: UnixMillis(0),
        expires_at: UnixMillis(bench.now.unix.0 + 3_600_000),
        keepalive: None,
    };
    let device = Device::new(id(DEVICE), AddedBy::Registration, UnixMillis(0));
    bench.devices.restore(bench.now, device, Some(record), &[]);
    assert!(bench.out().subscribes.is_empty());
    assert_eq!(bench.later(60.0).subscribes.len(), 2);
    // The device still knows one of before.
    let old = (Purpose::Notice, udp(HOME), bench.request(Method::Subscribe, PLATFORM, udp(HOME)));
    let out = bench.notify(&old, 7, "active", &off(1));
    assert_eq!((out.codes(), set(&out)), (vec![481], vec![(1, false)]));
    assert!(out.departures.contains(&Rule::NotifyUnasked));
}

#[test]
fn strangers_notify_nothing() {
    let (mut bench, sent) = subscribed();
    let forged = |bench: &mut Bench, from: Id, flow: Flow| {
        let notify = bench.request(Method::Notify, from.as_str(), flow);
        let body = Bytes::from(off(1));
        bench.deliver(flow, notify.with_body(manscdp::CONTENT_TYPE, body))
    };
    assert_eq!(forged(&mut bench, nth(7), udp(HOME)).codes(), [481]);
    let out = forged(&mut bench, id(DEVICE), udp("203.0.113.9:5060"));
    assert_eq!((out.codes(), out.refusals(), set(&out)), (vec![403], vec!["other_address"], vec![]));
    // One that learnt the Call-ID, from another address.
    let mut notify = bench.request(Method::Notify, DEVICE, udp(HOME));
    notify.set("Call-ID", sent.2.call_id().unwrap());
    let out = bench.deliver(udp("203.0.113.9:5060"), notify);
    assert_eq!(out.codes(), [403]);
}

#[test]
fn bodies_that_are_none_change_nothing() {
    let (mut bench, sent) = subscribed();
    let bodies = [
        "<Notify/>".to_owned(),
        "no xml".to_owned(),
        "<Notify><CmdType>Catalog</CmdType><DeviceList><Item><Event>DEL</Event></Item></DeviceList></Notify>"
            .to_owned(),
        "<Notify><CmdType>MobilePosition</CmdType><Longitude>1e999</Longitude></Notify>".to_owned(),
        "<Control><CmdType>DeviceControl</CmdType><TeleBoot>Boot</TeleBoot></Control>".to_owned(),
    ];
    for (number, body) in (1..).zip(bodies) {
        let out = bench.notify(&sent, number, "active;expires=-5;;=;retry-after", &body);
        assert!(out.writes.is_empty(), "{body}");
    }
    assert_eq!(bench.state(Topic::Catalog), Some(SubscriptionState::Active));
}

#[test]
fn a_grant_of_no_time_is_none() {
    let mut bench = subscribing("{catalog: true}");
    bench.settled(id(DEVICE), udp(HOME));
    let sent = bench.later(2.0).subscribes.remove(0);
    bench.grant(&sent, 0);
    assert_eq!(bench.state(Topic::Catalog), Some(SubscriptionState::Waiting));
    let sent = bench.later(30.0).subscribes.remove(0);
    // One second is not worth a message each.
    bench.grant(&sent, 1);
    assert!(bench.later(9.0).subscribes.is_empty());
}
