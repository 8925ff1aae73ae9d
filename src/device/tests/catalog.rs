//! Catalog syncs.

use super::*;

const HOME: &str = "192.0.2.20:5060";

impl Bench {
    /// Registers, then answers the catalog query with these pages, each after a pause in seconds.
    fn pages(&mut self, pages: &[(f64, usize, &[u64])]) -> Out {
        self.register(id(DEVICE), udp(HOME));
        for (pause, sum, digits) in pages {
            assert!(self.later(*pause).merged().is_none(), "ended too early");
            self.message(id(DEVICE), udp(HOME), &page(id(DEVICE), *sum, digits));
        }
        self.later(20.0)
    }

    fn sync(&mut self, waiter: u64) {
        self.devices.sync(self.now, Waiter(waiter), id(DEVICE));
    }
}

fn synced(out: &Out) -> (u32, u32, bool) {
    let synced = out.events.iter().find_map(|event| match event {
        Event::CatalogSynced { synced, .. } => Some(*synced),
        _ => None,
    });
    let Synced { received, total, complete } = synced.unwrap();
    (received, total, complete)
}

#[test]
fn pages_in_any_order_make_a_catalog() {
    let mut bench = bench();
    let out = bench.pages(&[(0.1, 4, &[4, 3]), (2.0, 4, &[2]), (2.0, 4, &[1])]);
    assert_eq!(out.merged(), Some((vec![1, 2, 3, 4], true)));
    assert_eq!(synced(&out), (4, 4, true));
    assert!(bench.later(100.0).requests.is_empty());
}

#[test]
fn what_devices_announce_is_not_what_they_send() {
    type Case = (&'static [(f64, usize, &'static [u64])], &'static [u64], (u32, u32, bool));
    let cases: [Case; 8] = [
        // A page is lost.
        (&[(0.1, 4, &[1, 2])], &[1, 2], (2, 4, false)),
        // Too many are announced; too few; none.
        (&[(0.1, 10_000, &[1, 2])], &[1, 2], (2, 10_000, false)),
        (&[(0.1, 2, &[1, 2]), (0.4, 2, &[3, 4])], &[1, 2, 3, 4], (4, 4, true)),
        (&[(0.1, 0, &[1, 2]), (2.0, 0, &[3])], &[1, 2, 3], (3, 3, false)),
        // An item comes twice, and is counted twice.
        (&[(0.1, 4, &[1, 2]), (0.1, 4, &[2, 3])], &[1, 2, 3], (3, 3, true)),
        // A page comes twice: it does not stand for the one that was lost.
        (&[(0.1, 4, &[1, 2]), (0.1, 4, &[1, 2])], &[1, 2], (2, 4, false)),
        // An empty catalog.
        (&[(0.1, 0, &[])], &[], (0, 0, true)),
        // Nothing of what was announced.
        (&[(0.1, 3, &[])], &[], (0, 3, false)),
    ];
    for (pages, digits, expected) in cases {
        let out = bench().pages(pages);
        assert_eq!(synced(&out), expected, "{pages:?}");
        let merged = (!digits.is_empty() || expected.2).then(|| (digits.to_vec(), expected.2));
        assert_eq!(out.merged(), merged, "{pages:?}");
    }
}

#[test]
fn a_sum_that_proved_too_small_ends_nothing() {
    let mut bench = bench();
    bench.register(id(DEVICE), udp(HOME));
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 2, &[1, 2, 3]));
    assert_eq!(bench.later(2.0).merged(), None);
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 2, &[4, 5]));
    assert_eq!(bench.later(4.0).merged(), Some((vec![1, 2, 3, 4, 5], true)));
}

#[test]
fn a_catalog_that_is_not_kept_is_fetched_again() {
    let mut bench = bench();
    bench.register(id(DEVICE), udp(HOME));
    bench.sync(7);
    bench.disk = Some(false);
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 1, &[1]));
    assert_eq!(bench.later(1.0).synced, [(7, Err(Failure::NotKept))]);
    bench.disk = Some(true);
    bench.keepalive(id(DEVICE), udp(HOME));
    assert!(bench.later(31.0).purposes().contains(&Purpose::Catalog));
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 1, &[1]));
    assert_eq!(bench.later(1.0).merged(), Some((vec![1], true)));
}

#[test]
fn items_without_an_id_are_counted_and_left_out() {
    let mut bench = bench();
    bench.register(id(DEVICE), udp(HOME));
    let nameless =
        page(id(DEVICE), 2, &[1]).replace("</DeviceList>", "<Item><Name>x</Name></Item></DeviceList>");
    bench.message(id(DEVICE), udp(HOME), &nameless);
    let out = bench.later(1.0);
    assert_eq!((synced(&out), out.merged()), ((1, 1, true), Some((vec![1], true))));
}

#[test]
fn silence_is_tried_again_and_then_accepted() {
    let mut bench = bench();
    bench.register(id(DEVICE), udp(HOME));
    let mut asked = 1;
    for _ in 0..100 {
        asked += bench.later(10.0).requests.len();
        bench.keepalive(id(DEVICE), udp(HOME));
    }
    assert_eq!(asked, 1 + usize::from(SYNC_RETRIES));
    assert!(bench.devices.entries[&id(DEVICE)].retry_at.is_none());
}

#[test]
fn a_partial_answer_is_kept_and_tried_again() {
    let mut bench = bench();
    let out = bench.pages(&[(0.1, 3, &[1])]);
    assert_eq!(out.merged(), Some((vec![1], false)));
    bench.keepalive(id(DEVICE), udp(HOME));
    assert_eq!(bench.later(20.0).purposes(), [Purpose::Catalog]);
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 3, &[1, 2, 3]));
    assert_eq!(bench.later(1.0).merged(), Some((vec![1, 2, 3], true)));
    assert!(bench.later(100.0).requests.is_empty());
}

#[test]
fn a_page_that_nobody_asked_for_adds_and_never_removes() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let out = bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 1, &[5]));
    assert_eq!(out.merged(), Some((vec![5], false)));
    let out = bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 0, &[]));
    assert!(out.writes.is_empty());
}

#[test]
fn a_device_that_dribbles_comes_to_an_end() {
    let mut bench = bench();
    bench.register(id(DEVICE), udp(HOME));
    for n in 0..400 {
        bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 10_000, &[n]));
        if bench.later(2.0).merged().is_some() {
            assert_eq!(n, 299, "600 seconds");
            return;
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn whoever_waits_joins_the_sync_under_way() {
    let mut bench = bench();
    bench.sync(0);
    assert_eq!(bench.out().synced, [(0, Err(Failure::NotFound))]);
    bench.register(id(DEVICE), udp(HOME));
    for waiter in 0..=MAX_WAITERS as u64 {
        bench.sync(waiter);
    }
    let out = bench.out();
    assert_eq!((out.requests.len(), out.synced), (0, vec![(MAX_WAITERS as u64, Err(Failure::Busy))]));
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 1, &[1]));
    let out = bench.later(1.0);
    assert_eq!(out.synced.len(), MAX_WAITERS);
    assert!(out.synced.iter().all(|(_, outcome)| outcome.as_ref().is_ok_and(|synced| synced.complete)));

    bench.sync(7);
    assert_eq!(bench.out().purposes(), [Purpose::Catalog]);
    assert_eq!(bench.later(20.0).synced, [(7, Err(Failure::NoAnswer))]);
}

#[test]
fn a_refusal_ends_a_sync_and_a_lost_acknowledgement_does_not() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    bench.sync(1);
    let query = bench.out().requests.remove(0).2;
    bench.devices.answered(bench.now, id(DEVICE), Purpose::Catalog, Err(Unanswered::Timeout));
    bench.devices.answered(bench.now, id(DEVICE), Purpose::Catalog, Ok(&query.response(200)));
    assert!(bench.out().synced.is_empty());
    bench.devices.answered(bench.now, id(DEVICE), Purpose::Info, Ok(&query.response(400)));
    assert!(bench.out().synced.is_empty());
    bench.devices.answered(bench.now, id(DEVICE), Purpose::Catalog, Ok(&query.response(400)));
    assert_eq!(bench.out().synced, [(1, Err(Failure::Refused(400)))]);
}

#[test]
fn a_sync_ends_with_its_device() {
    let mut bench = bench();
    bench.register(id(DEVICE), tcp(1));
    bench.sync(1);
    bench.devices.connection_closed(bench.now, 1);
    let out = bench.out();
    assert_eq!(out.synced, [(1, Err(Failure::Offline))]);
    assert!(!out.events.iter().any(|event| matches!(event, Event::CatalogSynced { .. })));
    bench.sync(2);
    assert_eq!(bench.out().synced, [(2, Err(Failure::Offline))]);
    // It does not wait for the silence of the old one.
    assert_eq!(bench.register(id(DEVICE), tcp(2)).purposes(), [Purpose::Info, Purpose::Catalog]);
    bench.sync(3);
    bench.devices.remove(bench.now, id(DEVICE));
    assert_eq!(bench.out().synced, [(3, Err(Failure::NotFound))]);
    assert!(bench.devices.timers.is_empty() && bench.devices.syncing == 0);
}

/// Which devices were asked for their catalogs.
fn asked(out: &Out) -> Vec<Id> {
    let catalogs = out.requests.iter().filter(|(purpose, ..)| *purpose == Purpose::Catalog);
    catalogs.map(|(.., query)| id(query.to().unwrap().user.unwrap())).collect()
}

#[test]
fn a_city_comes_back_a_few_catalogs_at_a_time() {
    const FEW: u64 = MAX_SYNCS as u64;
    const CITY: u64 = FEW + 100;
    let mut bench = bench_with(Settings { keepalive: Duration::from_secs(3_600), ..settings() });
    let mut turn = Vec::new();
    for n in 0..CITY {
        turn.extend(asked(&bench.register(nth(n), home(n))));
    }
    assert_eq!((turn.len(), bench.devices.sync_queue.len()), (MAX_SYNCS, 100));
    // While they wait, some are removed, some leave, and some register again.
    for n in FEW + 10..FEW + 40 {
        bench.devices.remove(bench.now, nth(n));
        let request = bench.proven(nth(n + 30), home(n + 30), "0");
        bench.deliver(home(n + 30), request);
        bench.register(nth(n + 60), home(n + 60));
    }
    let mut times = HashMap::new();
    while !turn.is_empty() {
        assert!(turn.len() <= MAX_SYNCS);
        for device in std::mem::take(&mut turn) {
            *times.entry(device).or_insert(0) += 1;
            let flow = bench.devices.entries[&device].session.as_ref().unwrap().flow;
            bench.message(device, flow, &page(device, 1, &[1]));
        }
        turn = asked(&bench.later(1.0));
    }
    assert_eq!(times.len() as u64, CITY - 60, "whoever is there has its turn");
    assert!(times.values().all(|times| *times == 1));
    assert_eq!((bench.devices.sync_queue.len(), bench.devices.syncing), (0, 0));
}
