//! All of it at once, in an order that nobody planned: whoever waits is told once, and nothing is left behind.

use serde_json::json;

use super::*;
use crate::gb::manscdp::{CatalogEvent, CatalogItem, ConfigKind, Edition, Query, RecordQuery};

/// A small generator, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let index = self.roll(list.len().max(1) as u64);
        list.get(index as usize)
    }
}

fn request(dice: &mut Dice) -> Request {
    let records = RecordQuery::new(UnixMillis(0), UnixMillis(1_000));
    match dice.roll(10) {
        0 => Request::Query(Query::Presets),
        1 => Request::Query(Query::Records(records)),
        2 => Request::Query(Query::DeviceInfo),
        3 => Request::Control(Control::Record { on: true, stream: None }),
        4 => Request::Control(Control::Reboot),
        5 => Request::Configure(vec![(ConfigKind::BasicParam, json!({ "expiration": 3_600 }))]),
        6 => Request::SelfTest,
        7 => Request::Broadcast,
        8 => Request::Subscriptions,
        _ => Request::Raise(Box::new(Raise { priority: 1, method: 5, ..Raise::default() })),
    }
}

/// Something that a device might send, right or wrong.
fn body(dice: &mut Dice, asked: &[Sent]) -> String {
    let (cmd, sn) = match dice.of(asked) {
        Some(sent) => (body_of(sent).cmd, body_of(sent).sn),
        None => ("PresetQuery".to_owned(), 1),
    };
    let sn = if dice.roll(4) == 0 { dice.roll(50) as u32 } else { sn };
    let digit = dice.roll(5);
    match dice.roll(8) {
        0 => write::response_ok(&cmd, sn, &id(DEVICE), dice.roll(2) == 0),
        1 => write::keepalive(1, &id(DEVICE), &[nth(dice.roll(3))]),
        2 => page(id(DEVICE), 3, &[digit]),
        3 => {
            let event = [CatalogEvent::On, CatalogEvent::Delete, CatalogEvent::Add][dice.roll(3) as usize];
            let item = CatalogItem { event: Some(event), ..CatalogItem::new(nth(digit), "c") };
            write::notify_catalog(1, &id(DEVICE), &[item], Edition::default())
        }
        4 => format!(
            "<Notify><CmdType>Alarm</CmdType><SN>{sn}</SN><AlarmMethod>{digit}</AlarmMethod></Notify>"
        ),
        5 => {
            format!("<Response><CmdType>{cmd}</CmdType><SN>{sn}</SN><SumNum>9</SumNum><A><B/></A></Response>")
        }
        6 => {
            "<Notify><CmdType>MobilePosition</CmdType><Longitude>1</Longitude><Latitude>1</Latitude></Notify>"
                .to_owned()
        }
        _ => "<Response>".to_owned(),
    }
}

struct Storm {
    bench: Bench,
    dice: Dice,
    asked: Vec<Sent>,
    waiting: std::collections::BTreeSet<u64>,
    waiters: u64,
}

impl Storm {
    fn take(&mut self, out: Out) {
        self.asked.extend(out.requests);
        self.asked.extend(out.subscribes);
        let excess = self.asked.len().saturating_sub(40);
        self.asked.drain(..excess);
        for (waiter, _) in out.answered {
            assert!(self.waiting.remove(&waiter), "waiter {waiter} was told twice");
        }
    }

    fn step(&mut self) {
        let flow = if self.dice.roll(2) == 0 { udp("192.0.2.20:5060") } else { tcp(1 + self.dice.roll(2)) };
        let bench = &mut self.bench;
        let out = match self.dice.roll(16) {
            0 => {
                let expires = if self.dice.roll(4) == 0 { "0" } else { "3600" };
                let request = bench.proven(id(DEVICE), flow, expires);
                bench.deliver(flow, request)
            }
            1 => {
                bench.devices.connection_closed(bench.now, 1 + self.dice.roll(2));
                bench.out()
            }
            2 if self.dice.roll(8) == 0 => {
                bench.devices.remove(bench.now, id(DEVICE));
                bench.out()
            }
            2 => {
                let mut device = Device::new(id(DEVICE), AddedBy::Admin, UnixMillis(0));
                device.edition_told = self.dice.roll(2) == 0;
                let (catalog, alarm) = (self.dice.roll(2) == 0, self.dice.roll(2) == 0);
                let position = (self.dice.roll(2) == 0).then_some(5);
                let ptz_position = self.dice.roll(2) == 0;
                device.subscribe =
                    Some(crate::registry::Subscribe { catalog, alarm, position, ptz_position });
                bench.devices.put(bench.now, device);
                bench.out()
            }
            3..6 => {
                self.waiters += 1;
                self.waiting.insert(self.waiters);
                let request = request(&mut self.dice);
                bench.ask(self.waiters, nth(self.dice.roll(3)), request)
            }
            6..9 => match self.dice.of(&self.asked).cloned() {
                Some(sent) if self.dice.roll(5) == 0 => bench.lose(&sent),
                Some(sent) => {
                    bench.answer_sip(&sent, [100, 200, 200, 200, 400, 481][self.dice.roll(6) as usize])
                }
                None => Out::default(),
            },
            9..12 => {
                let body = body(&mut self.dice, &self.asked);
                bench.message(id(DEVICE), flow, &body)
            }
            12 | 13 => {
                let body = Bytes::from(body(&mut self.dice, &[]));
                let mut notify = bench.request(Method::Notify, DEVICE, flow);
                if let Some((_, _, sent)) = self.dice.of(&self.asked) {
                    notify.set("Call-ID", sent.call_id().unwrap());
                    notify.set("To", sent.header("From").unwrap());
                    notify.set("CSeq", format!("{} NOTIFY", self.dice.roll(5)));
                }
                let state = ["active;expires=60", "terminated", "active"][self.dice.roll(3) as usize];
                let notify = notify.with("Subscription-State", state);
                bench.deliver(flow, notify.with_body(manscdp::CONTENT_TYPE, body))
            }
            _ => {
                let seconds = [0.1, 1.0, 6.0, 70.0][self.dice.roll(4) as usize];
                bench.later(seconds)
            }
        };
        self.take(out);
    }
}

#[test]
fn whoever_waits_is_told_once_and_nothing_is_left_behind() {
    let mut answered = 0;
    for seed in 0..40 {
        let profiles = Arc::new(profiles("{catalog: true, alarm: true, position: 5, ptz_position: true}"));
        let bench = bench_with(Settings { profiles, ..settings() });
        let mut storm =
            Storm { bench, dice: Dice(seed), asked: Vec::new(), waiting: Default::default(), waiters: 0 };
        for _ in 0..600 {
            storm.step();
        }
        let out = storm.bench.later(700.0);
        storm.take(out);
        assert!(storm.waiting.is_empty(), "seed {seed}: {:?} wait for ever", storm.waiting);
        answered += storm.waiters;
        let devices = &mut storm.bench.devices;
        devices.remove(storm.bench.now, id(DEVICE));
        storm.bench.out();
        assert!(storm.bench.devices.is_idle(), "seed {seed}");
    }
    assert!(answered > 1_000);
}

#[test]
fn a_device_of_which_nothing_rare_is_known_is_small() {
    assert!(size_of::<Entry>() <= 1_200, "{}", size_of::<Entry>());
    assert!(size_of::<Subscription>() <= 320, "{}", size_of::<Subscription>());
}
