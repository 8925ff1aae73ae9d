//! Anything in any order: nothing panics, nothing grows without bound, nobody waits for ever.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::*;

/// Where media shall come to.
const PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 30_000);
/// Devices that take part.
const DEVICES: u64 = 2;

#[derive(Clone, Debug)]
enum Step {
    Register {
        device: u64,
        way: usize,
        expires: u32,
        kept: Option<bool>,
    },
    Message {
        device: u64,
        way: usize,
        body: usize,
    },
    /// An answer to one of the latest requests of that method.
    Answer {
        method: Method,
        which: usize,
        code: u16,
    },
    /// A request in the dialog of one of the latest INVITEs.
    InDialog {
        which: usize,
        method: usize,
    },
    /// One of the latest messages once more, from anywhere, with bytes changed.
    Again {
        which: usize,
        way: usize,
        changes: Vec<(usize, u8)>,
        cut: Option<usize>,
    },
    Close {
        connection: u64,
    },
    Commit {
        kept: bool,
    },
    Later {
        seconds: f64,
    },
    Want {
        device: u64,
        open: bool,
    },
    Unwant {
        which: usize,
    },
    Sync {
        device: u64,
    },
    Media {
        which: usize,
        news: Media,
    },
    Stop {
        which: usize,
    },
    KeyFrame {
        device: u64,
    },
    Put {
        device: u64,
    },
    Remove {
        device: u64,
    },
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let device = || 0..DEVICES;
    let way = || 0..WAYS.len();
    let news = prop_oneof![
        5 => Just(Media::Opened(PORT)),
        1 => Just(Media::OpenFailed("no port".to_owned())),
        2 => Just(Media::Flowing),
        3 => Just(Media::Ready),
        2 => (0..3_usize).prop_map(Media::Readers),
        1 => Just(Media::Ended("over".to_owned())),
    ];
    let code = prop_oneof![Just(100), Just(200), Just(200), Just(200), Just(404), Just(487), 100..700_u16];
    let seconds = prop_oneof![8 => 0.0..1.0, 4 => 0.0..12.0, 1 => 0.0..300.0];
    let expires = prop_oneof![1 => Just(0), 8 => Just(3_600), 1 => 0..200_u32];
    let kept = prop_oneof![6 => Just(Some(true)), 1 => Just(Some(false)), 2 => Just(None)];
    let method = prop_oneof![3 => Just(Method::Invite), 2 => Just(Method::Bye), 1 => Just(Method::Message)];
    prop_oneof![
        12 => (device(), way(), expires, kept)
            .prop_map(|(device, way, expires, kept)| Step::Register { device, way, expires, kept }),
        8 => (device(), way(), 0..BODIES.len()).prop_map(|(device, way, body)| Step::Message { device, way, body }),
        16 => (method, 0..2_usize, code).prop_map(|(method, which, code)| Step::Answer { method, which, code }),
        2 => (0..2_usize, 0..5_usize).prop_map(|(which, method)| Step::InDialog { which, method }),
        4 => (0..16_usize, way(), prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
              prop::option::of(any::<usize>()))
            .prop_map(|(which, way, changes, cut)| Step::Again { which, way, changes, cut }),
        2 => (1..4_u64).prop_map(|connection| Step::Close { connection }),
        8 => prop::bool::weighted(0.9).prop_map(|kept| Step::Commit { kept }),
        10 => seconds.prop_map(|seconds| Step::Later { seconds }),
        12 => (device(), prop::bool::weighted(0.8)).prop_map(|(device, open)| Step::Want { device, open }),
        1 => (0..4_usize).prop_map(|which| Step::Unwant { which }),
        2 => device().prop_map(|device| Step::Sync { device }),
        16 => (0..2_usize, news).prop_map(|(which, news)| Step::Media { which, news }),
        1 => (0..3_usize).prop_map(|which| Step::Stop { which }),
        1 => device().prop_map(|device| Step::KeyFrame { device }),
        1 => device().prop_map(|device| Step::Put { device }),
        1 => device().prop_map(|device| Step::Remove { device }),
        1 => prop::bool::weighted(0.05).prop_map(|drain| if drain { Step::Drain } else { Step::KeyFrame { device: 0 } }),
    ]
}

/// Ways to the gateway: two ports behind a NAT, another address, connections.
const WAYS: [fn() -> Flow; 6] = [
    || udp(5060),
    || udp(6_001),
    || flow(Transport::Udp, "192.0.2.66:5060", 0),
    || tcp(1),
    || tcp(2),
    || tcp(3),
];

const BODIES: [fn(u64) -> String; 7] = [
    |n| write::keepalive(1, &device(n), &[]),
    |n| catalog(n, 1),
    |n| catalog(n, 5),
    |n| write::response_ok("DeviceControl", 1, &device(n), false),
    |n| format!("<Notify><CmdType>Alarm</CmdType><SN>1</SN><DeviceID>{}</DeviceID></Notify>", device(n)),
    |n| {
        format!(
            "<Response><CmdType>DeviceInfo</CmdType><SN>1</SN><DeviceName>name {n}</DeviceName></Response>"
        )
    },
    |_| "<Notify".to_owned(),
];

fn catalog(n: u64, sum: usize) -> String {
    let items = [manscdp::CatalogItem::new(camera(n), "camera")];
    write::response_catalog(1, &device(n), sum, &items, manscdp::Edition::default())
}

/// A world in which anything happens, and what it is owed.
struct Chaos {
    world: World,
    /// Requests of the shard, and all that a device sent; the latest last.
    requests: Vec<(Flow, Message)>,
    traffic: Vec<Bytes>,
    media: Vec<CallId>,
    waiters: u64,
    /// How many answers each who asked has got.
    plays: BTreeMap<u64, usize>,
    syncs: BTreeMap<u64, usize>,
    unwanted: Vec<u64>,
}

fn latest<T>(all: &[T], which: usize) -> Option<&T> {
    all.iter().rev().nth(which)
}

impl Chaos {
    fn new() -> Chaos {
        let mut world = World::new();
        world.held = Some(VecDeque::new());
        Chaos {
            world,
            requests: Vec::new(),
            traffic: Vec::new(),
            media: Vec::new(),
            waiters: 0,
            plays: BTreeMap::new(),
            syncs: BTreeMap::new(),
            unwanted: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Register { device, way, expires, kept } => {
                // What was sent before is for the others to read.
                let before = std::mem::take(&mut world.sent);
                world.register(device, WAYS[way](), expires);
                let after = std::mem::replace(&mut world.sent, before);
                world.sent.extend(after);
                if let Some(kept) = kept {
                    world.settle(kept);
                }
            }
            Step::Message { device, way, body } => {
                let message = world.request(Method::Message, super::device(device), WAYS[way]());
                let message = message.with_body(manscdp::CONTENT_TYPE, Bytes::from(BODIES[body](device)));
                self.traffic.push(message.to_bytes());
                world.deliver(WAYS[way](), &message);
            }
            Step::Answer { method, which, code } => {
                let requests = self.requests.iter().filter(|(_, one)| one.method() == Some(&method));
                let Some((flow, request)) = requests.rev().nth(which) else { return };
                let accepted = method == Method::Invite && code == 200;
                let answer = if accepted { ok(request) } else { request.response(code).with_to_tag("d1") };
                self.traffic.push(answer.to_bytes());
                world.deliver(*flow, &answer);
            }
            Step::InDialog { which, method } => {
                let invites = self.requests.iter().filter(|(_, one)| one.method() == Some(&Method::Invite));
                let Some((flow, invite)) = invites.rev().nth(which) else { return };
                let methods = [Method::Bye, Method::Info, Method::Message, Method::Invite, Method::Cancel];
                let mut request = world.request(methods[method].clone(), camera(0), *flow);
                request.set("Call-ID", invite.call_id().unwrap());
                request.set("From", format!("{};tag=d1", invite.header("To").unwrap()));
                request.set("To", invite.header("From").unwrap());
                self.traffic.push(request.to_bytes());
                world.deliver(*flow, &request);
            }
            Step::Again { which, way, changes, cut } => {
                let Some(bytes) = latest(&self.traffic, which) else { return };
                let mut bytes = bytes.to_vec();
                for (at, byte) in changes {
                    let at = at % bytes.len();
                    bytes[at] = byte;
                }
                bytes.truncate(cut.map_or(bytes.len(), |cut| cut % bytes.len()));
                world.arrive(WAYS[way](), &Bytes::from(bytes));
            }
            Step::Close { connection } => world.handle(Input::ConnectionClosed { connection }),
            Step::Commit { kept } => world.settle(kept),
            Step::Later { seconds } => world.later(seconds),
            Step::Want { device, open } => {
                self.waiters += 1;
                self.plays.insert(self.waiters, 0);
                world.want(self.waiters, device);
                if let (true, Some(Effect::OpenMedia { call, .. })) = (open, world.effects.back()) {
                    let call = *call;
                    world.media(call, Media::Opened(PORT));
                }
            }
            Step::Unwant { which } => {
                let Some(waiter) = self.waiters.checked_sub(which as u64) else { return };
                self.unwanted.push(waiter);
                world.handle(Input::Unwant { waiter: call::Waiter(waiter) });
            }
            Step::Sync { device } => {
                self.waiters += 1;
                self.syncs.insert(self.waiters, 0);
                let (waiter, device) = (device::Waiter(self.waiters), super::device(device));
                world.handle(Input::Sync { waiter, device });
            }
            Step::Media { which, news } => {
                let Some(call) = latest(&self.media, which) else { return };
                world.media(*call, news);
            }
            Step::Stop { which } => {
                let Some(call) = latest(&self.media, which) else { return };
                world.handle(Input::Stop { call: *call, why: "enough" });
            }
            Step::KeyFrame { device } => world.handle(Input::KeyFrame { key: key(device) }),
            Step::Put { device } => {
                let device =
                    registry::Device::new(super::device(device), registry::AddedBy::Admin, world.now.unix);
                world.index.apply(&Write::PutDevice(device.clone()));
                world.handle(Input::PutDevice { device: Box::new(device) });
            }
            Step::Remove { device } => {
                let device = super::device(device);
                world.index.apply(&Write::DeleteDevice { device });
                world.handle(Input::RemoveDevice { device });
            }
            Step::Drain => world.handle(Input::Drain),
        }
        self.collect();
    }

    fn collect(&mut self) {
        for (flow, message) in self.world.sent.drain(..) {
            // What is sent again is not the latest.
            let known = |(_, one): &(Flow, Message)| one.header("Via") == message.header("Via");
            if message.is_request() && !self.requests.iter().rev().take(8).any(known) {
                self.requests.push((flow, message));
            }
        }
        for effect in self.world.effects.drain(..) {
            match effect {
                Effect::OpenMedia { call, .. } => self.media.push(call),
                Effect::Play { waiter, .. } => *self.plays.get_mut(&waiter.0).expect("it asked") += 1,
                Effect::Synced { waiter, .. } => *self.syncs.get_mut(&waiter.0).expect("it asked") += 1,
                _ => {}
            }
        }
        let shard = &self.world.shard;
        assert!(shard.devices.known() as u64 <= DEVICES + 8, "strangers do not count");
        assert!(shard.left_over.iter().all(|(id, calls)| {
            shard.devices.device(id).is_some() && (1..=MAX_LEFT_OVER).contains(&calls.len())
        }));
    }

    /// Nothing comes any more.
    fn end(mut self) {
        while self.world.held.as_ref().is_some_and(|held| !held.is_empty()) {
            self.world.settle(true);
        }
        // What is still written is kept at once.
        self.world.held = None;
        // What still is to be read has readers no more.
        for call in self.media.clone() {
            self.world.media(call, Media::Readers(0));
        }
        self.world.later(90_000.0);
        self.collect();
        let shard = &self.world.shard;
        assert!(self.world.is_idle() && shard.devices.is_idle(), "{:?}", shard.transactions.counts());
        assert_eq!(shard.registrations(), 0);
        for (waiter, answers) in &self.plays {
            assert!(*answers == 1 || self.unwanted.contains(waiter) && *answers == 0, "{waiter}: {answers}");
        }
        assert!(self.syncs.values().all(|answers| *answers == 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn anything_in_any_order(steps in prop::collection::vec(step(), 1..200)) {
        let mut chaos = Chaos::new();
        for step in steps {
            chaos.step(step);
        }
        chaos.end();
    }
}
