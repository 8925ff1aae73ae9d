//! What every store must do, told as tests that any of them is run against.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Commit, Loaded, Store, StoreError};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;
use crate::registry::testing::*;
use crate::registry::{Alarm, AlarmId, Cause, Finding, Index, Secret, Touch, Write};

/// A place where a store keeps its registry. Opening it again finds what was kept.
pub(crate) trait Place {
    fn open(&self) -> Arc<dyn Store>;
}

/// Runs all of them; `place` gives a new, empty place each time. `cases` is how many random histories are tried.
pub(crate) fn run<P: Place>(place: impl Fn() -> P, cases: u32) {
    a_new_store_is_empty(&place());
    what_is_kept_comes_back(&place());
    a_commit_is_kept_in_order(&place());
    nothing_is_taken_after_closing(&place());
    random_histories_come_back(&place, cases);
}

pub(crate) fn wait(commit: Commit) -> Result<(), StoreError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(commit)
}

/// The index that a store's contents make.
pub(crate) fn loaded(store: &dyn Store) -> (Index, Loaded) {
    let mut index = Index::new();
    let loaded = store
        .load(&mut |write| {
            index.apply(&write);
        })
        .unwrap();
    (index, loaded)
}

fn a_new_store_is_empty(place: &impl Place) {
    let store = place.open();
    let (index, loaded) = loaded(&*store);
    assert_eq!(loaded, Loaded::default());
    assert_eq!(lines(&index), lines(&Index::new()));
    assert_eq!(wait(store.commit(Vec::new())), Ok(()), "nothing is soon kept");
}

/// One of each record, by hand, so that a failure is easily read.
fn what_is_kept_comes_back(place: &impl Place) {
    let mut ours = device(1);
    ours.password = Some(Secret::new("hunter2"));
    let writes = vec![
        Write::PutDevice(device(0)),
        Write::PutDevice(ours),
        Write::PutRegistration(registration(0, 10)),
        Write::PutRegistration(registration(1, 10)),
        Write::MergeCatalog {
            device: device_id(0),
            channels: (0..5).map(channel).collect(),
            complete: true,
            at: UnixMillis(11),
        },
        Write::MergeCatalog {
            device: device_id(0),
            channels: (1..4).map(channel).collect(),
            complete: true,
            at: UnixMillis(12),
        },
        Write::SetChannelStatus {
            device: device_id(0),
            channel: channel_id(2),
            status: false,
            at: UnixMillis(13),
        },
        Write::PutCall(call(0, 1, 0)),
        Write::Offline { device: device_id(1), cause: Cause::Silent },
        Write::Touch { touches: vec![Touch { device: device_id(0), at: UnixMillis(60_010) }] },
        Write::PutAlarm(alarm(1, 0, 2)),
        Write::PutAlarm(alarm(2, 7, 7)),
        Write::PutAlarm(Alarm { count: 3, ..alarm(1, 0, 2) }),
        Write::PutAudit(audit(1, "ann", "ptz", 0)),
        Write::PutFindings { device: device_id(0), findings: vec![finding(1), finding(0)] },
        Write::PutFindings { device: device_id(0), findings: vec![finding(2)] },
        position(0, channel_id(2)),
        position(0, device_id(0)),
        position(0, channel_id(99)),
    ];
    let mut index = Index::new();
    let store = place.open();
    for write in &writes {
        assert_eq!(index.admit(write), Ok(()));
        index.apply(write);
    }
    assert_eq!(wait(store.commit(writes)), Ok(()));
    assert_eq!(wait(store.close()), Ok(()));
    drop(store);

    let store = place.open();
    let (mut again, found) = loaded(&*store);
    assert_eq!(lines(&again), lines(&index));
    assert_eq!(found, Loaded { records: 18, unreadable: 0 });
    let state = again.device(&device_id(0)).unwrap();
    assert_eq!((state.online, state.channels, state.channels_online), (true, 3, 2));
    assert_eq!(state.last_seen, Some(UnixMillis(60_010)));
    assert_eq!(again.device(&device_id(1)).unwrap().device.password, Some(Secret::new("hunter2")));
    assert!(!again.device(&device_id(1)).unwrap().online);
    let bad = again.channel(&device_id(0), &channel_id(2)).unwrap();
    assert_eq!(bad.channel.bad_since, Some(UnixMillis(13)));
    assert_eq!(bad.position.map(|position| position.at), Some(UnixMillis(14)));
    assert_eq!(again.alarm(AlarmId(1)).unwrap().count, 3);
    assert_eq!(again.findings(&device_id(0)), [finding(2)]);
    assert_eq!(again.audit(Default::default(), None, 9).unwrap().items, [audit(1, "ann", "ptz", 0)]);

    let last = [
        Write::DeleteDevice { device: device_id(0) },
        Write::EndRegistration { device: device_id(1), cause: Cause::Unregistered },
    ];
    last.iter().for_each(|write| drop(again.apply(write)));
    assert_eq!(wait(store.commit(last.to_vec())), Ok(()));
    assert_eq!(lines(&loaded(&*store).0), lines(&again));
    assert_eq!(again.totals().devices, 1);
    assert!(again.alarm(AlarmId(1)).is_some(), "what happened outlives the device");
}

fn finding(n: usize) -> Finding {
    Finding::new(Rule::ALL[n], UnixMillis(12), "seen")
}

fn position(n: u64, channel: Id) -> Write {
    let at = UnixMillis(14);
    Write::SetPosition { device: device_id(n), channel, longitude: 117.1, latitude: 31.8, at }
}

/// Commits that nobody waits for between, all about the same row.
fn a_commit_is_kept_in_order(place: &impl Place) {
    let store = place.open();
    let put = |n: i64| Write::PutRegistration(registration(0, n));
    let first = store.commit(vec![Write::PutDevice(device(0))]);
    let commits: Vec<_> = (1..500).map(|n| store.commit(vec![put(n)])).collect();
    assert_eq!(wait(first), Ok(()));
    for commit in commits {
        assert_eq!(wait(commit), Ok(()));
    }
    let (index, _) = loaded(&*store);
    let kept = index.device(&device_id(0)).unwrap().registration.unwrap().registered_at;
    assert_eq!(kept, UnixMillis(499));
}

fn nothing_is_taken_after_closing(place: &impl Place) {
    let store = place.open();
    let before = store.commit(vec![Write::PutDevice(device(0))]);
    let closed = store.close();
    assert_eq!(wait(store.commit(vec![Write::PutDevice(device(1))])), Err(StoreError::Closed));
    assert_eq!(wait(before), Ok(()), "what was queued before is kept");
    assert_eq!(wait(closed), Ok(()));
    assert_eq!(store.load(&mut |_| {}), Err(StoreError::Closed));
    // The old one is closed but not gone, and the place is free.
    let again = place.open();
    assert_eq!(loaded(&*again).0.totals().devices, 1);
}

/// Whatever was written, the index that comes back is the one that was lost.
fn random_histories_come_back<P: Place>(place: impl Fn() -> P, cases: u32) {
    let history = proptest::collection::vec(proptest::collection::vec(any_write(), 0..6), 0..10);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let outcome = runner.run(&history, |history| {
        let place = place();
        let mut index = Index::new();
        for half in history.chunks(history.len().div_ceil(2).max(1)) {
            let store = place.open();
            prop_assert_eq!(lines(&loaded(&*store).0), lines(&index));
            let mut commits = Vec::new();
            for writes in half {
                writes.iter().for_each(|write| drop(index.apply(write)));
                commits.push(store.commit(writes.clone()));
            }
            for commit in commits {
                prop_assert_eq!(wait(commit), Ok(()));
            }
            prop_assert_eq!(wait(store.close()), Ok(()));
        }
        prop_assert_eq!(lines(&loaded(&*place.open()).0), lines(&index));
        Ok(())
    });
    outcome.unwrap();
}
