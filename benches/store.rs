//! What the embedded store takes to keep things, on the disk of this machine: registrations in commits of several
//! sizes, and a catalog of 100,000 channels, in the store and in the index.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark looks at the clock and tells"
)]
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use gbgate::gb::Id;
use gbgate::gb::time::UnixMillis;
use gbgate::registry::{AddedBy, Channel, Device, Index, Registration, Route, Write};
use gbgate::sip::Transport;
use gbgate::store::{self, Store};
use support::{figure, micros};

const DEVICES: u64 = 10_000;
const REGISTRATIONS: usize = 20_000;
const CHANNELS: u64 = 100_000;
const PAGE: usize = 4_096;
const SYNCS: usize = 200;

/// CPU time of the whole process: the store writes in a thread of its own.
fn cpu() -> Duration {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| support::of_thread(task.unwrap().path().join("schedstat").to_str().unwrap()))
        .sum()
}

fn device(n: u64) -> Id {
    Id::parse("34020000001320000000").unwrap().nth(n)
}

fn registration(n: u64, at: i64) -> Write {
    Write::PutRegistration(Registration {
        device: device(n),
        route: Route {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "10.1.2.3:5060".parse().unwrap(),
        },
        contact: format!("sip:{}@10.1.2.3:5060", device(n)),
        registered_at: UnixMillis(at),
        expires_at: UnixMillis(at + 3_600_000),
        keepalive: None,
    })
}

fn channel(n: u64) -> Channel {
    let mut channel = Channel::new(Id::parse("34020000001310000000").unwrap().nth(n));
    channel.name = format!("\u{4e1c}\u{95e8}\u{8def}\u{53e3} {n:06} IPC");
    channel.manufacturer = Some("Maker".into());
    channel.model = Some("IPC-2022".into());
    channel.owner = Some("Owner".into());
    channel.region = Id::parse("340200").ok();
    channel.address = Some(format!("\u{7ea2}\u{65d7}\u{8857} {n:06}"));
    channel.parents = vec![device(n / 64)];
    channel.longitude = Some(117.0 + n as f64 / 1e6);
    channel.latitude = Some(31.0 + n as f64 / 1e6);
    channel
}

fn main() {
    println!("store: the embedded registry, CPU time of the process");
    let place = tempfile::tempdir().unwrap();
    let store = store::open(&format!("embedded:{}", place.path().display())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let keep = |store: &dyn Store, writes| runtime.block_on(store.commit(writes)).unwrap();
    let mut index = Index::new();
    for n in 0..DEVICES {
        let new = Device::new(device(n), AddedBy::Registration, UnixMillis(1));
        index.apply(&Write::PutDevice(new.clone()));
        // In the way between the rows of devices, as in real life.
        let few = Write::MergeCatalog {
            device: device(n),
            channels: (0..4).map(channel).collect(),
            complete: true,
            at: UnixMillis(2),
        };
        drop(store.commit(vec![Write::PutDevice(new), registration(n, 1), few]));
    }
    keep(&*store, Vec::new());
    let mut random = 7u64;
    for size in [1, 10, 100] {
        let rounds = (REGISTRATIONS / size).min(1_000);
        let (before, begin) = (cpu(), Instant::now());
        for round in 0..rounds {
            let commits: Vec<_> = (0..size)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    store.commit(vec![registration((random >> 33) % DEVICES, round as i64)])
                })
                .collect();
            for commit in commits {
                runtime.block_on(commit).unwrap();
            }
        }
        let each = micros(cpu() - before) / (rounds * size) as f64;
        figure(&format!("a registration, in commits of {size}"), each, "us");
        figure("of the clock, a commit", micros(begin.elapsed()) / rounds as f64, "us");
    }
    // What the system takes to keep anything at all, to compare with.
    let file = std::fs::File::create(place.path().join("plain")).unwrap();
    file.write_all_at(&vec![0; SYNCS * PAGE], 0).unwrap();
    file.sync_all().unwrap();
    let before = cpu();
    for n in 0..SYNCS {
        file.write_all_at(&[1; PAGE], (n * PAGE) as u64).unwrap();
        file.sync_data().unwrap();
    }
    figure("peer: a page written over and synced, by hand", micros(cpu() - before) / SYNCS as f64, "us");
    let before = cpu();
    runtime.block_on(store.close()).unwrap();
    figure("closing, for each device", micros(cpu() - before) / DEVICES as f64, "us");

    let store = store::open(&format!("embedded:{}", place.path().join("large").display())).unwrap();
    let province = Device::new(device(0), AddedBy::Registration, UnixMillis(1));
    index.apply(&Write::PutDevice(province.clone()));
    keep(&*store, vec![Write::PutDevice(province)]);
    for what in ["a catalog of 100,000 channels taken in, new", "the same again"] {
        let catalog = Write::MergeCatalog {
            device: device(0),
            channels: (0..CHANNELS).map(channel).collect(),
            complete: true,
            at: UnixMillis(3),
        };
        let (before, begin) = (cpu(), Instant::now());
        index.apply(&catalog);
        keep(&*store, vec![catalog]);
        figure(what, micros(begin.elapsed()) / 1_000.0, "ms");
        figure("of it CPU, for each channel", micros(cpu() - before) / CHANNELS as f64, "us");
    }
    drop(store);
    let begin = Instant::now();
    let store = store::open(&format!("embedded:{}", place.path().join("large").display())).unwrap();
    let mut again = Index::new();
    let loaded = store.load(&mut |write| drop(again.apply(&write))).unwrap();
    figure(
        &format!("loaded at a start: {} records", loaded.records),
        micros(begin.elapsed()) / 1_000.0,
        "ms",
    );
}
