//! The embedded store: the conformance suite, and what only a disk can do wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use redb::{Builder, Database, StorageBackend, TableDefinition};

use super::conformance::{self, Place, loaded, wait};
use super::embedded::{self, Embedded, Pace};
use super::{Store, StoreError, open};
use crate::gb::time::UnixMillis;
use crate::registry::testing::*;
use crate::registry::{AlarmId, Cause, Index, MAX_ALARMS, Touch, Write};

/// A disk in memory that knows which of its bytes would survive a power cut, and that can be made to fail.
#[derive(Clone, Debug, Default)]
struct Disk {
    state: Arc<Mutex<DiskState>>,
    /// While a test holds this, writing stands still.
    gate: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct DiskState {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    full: bool,
}

impl DiskState {
    fn fit(&self) -> io::Result<()> {
        if self.full { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        let range = offset as usize..offset as usize + out.len();
        out.copy_from_slice(state.bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.fit()?;
        state.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.fit()?;
        state.synced = state.bytes.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let _open = self.gate.lock();
        let mut state = self.state.lock();
        state.fit()?;
        let offset = offset as usize;
        state.bytes[offset..offset + data.len()].copy_from_slice(data);
        state.unsynced.push((offset, data.to_vec()));
        Ok(())
    }
}

impl Disk {
    /// The disk after a power cut: all that was synced, and of the rest what `luck` has for each write.
    fn after_power_cut(&self, luck: &[bool]) -> Disk {
        let state = self.state.lock();
        let mut bytes = state.synced.clone();
        bytes.resize(state.bytes.len().max(bytes.len()), 0);
        for ((offset, data), _) in state.unsynced.iter().zip(luck).filter(|(_, lucky)| **lucky) {
            bytes[*offset..offset + data.len()].copy_from_slice(data);
        }
        let state = DiskState { synced: bytes.clone(), bytes, ..DiskState::default() };
        Disk { state: Arc::new(Mutex::new(state)), gate: Arc::default() }
    }

    fn database(&self) -> Result<Database, StoreError> {
        let database = Builder::new()
            .create_with_backend(self.clone())
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        embedded::ready(database, Path::new("memory"))
    }

    fn store(&self) -> Embedded {
        self.store_at(false)
    }

    /// One that puts nothing off for longer than to the next batch, or all until it is closed.
    fn store_at(&self, once: bool) -> Embedded {
        let disk = self.clone();
        let touch_every = if once { Duration::ZERO } else { Duration::from_secs(600) };
        let pace = Pace { gather: Duration::ZERO, touch_every, reopen_every: Duration::ZERO };
        Embedded::start(Box::new(move || disk.database()), pace).unwrap()
    }
}

impl Place for Disk {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store())
    }
}

struct Directory(tempfile::TempDir);

impl Place for Directory {
    fn open(&self) -> Arc<dyn Store> {
        open(&format!("embedded:{}", self.0.path().join("data").display())).unwrap()
    }
}

#[test]
fn it_conforms_in_memory() {
    conformance::run(Disk::default, 60);
}

#[test]
fn it_conforms_in_a_directory() {
    conformance::run(|| Directory(tempfile::tempdir().unwrap()), 3);
}

#[test]
fn alarms_have_an_end_on_the_disk_too() {
    let disk = Disk::default();
    let store = disk.store();
    let alarms = (0..MAX_ALARMS as u64 + 2).map(|id| Write::PutAlarm(alarm(id, 0, 0))).collect();
    assert_eq!(wait(store.commit(alarms)), Ok(()));
    let (index, found) = loaded(&store);
    assert_eq!(found.records, MAX_ALARMS as u64);
    assert!(index.alarm(AlarmId(1)).is_none() && index.alarm(AlarmId(2)).is_some());
}

/// A device that is silent when its registration is renewed is there again, even if the power fails at once.
#[test]
fn a_renewed_registration_outlives_a_power_cut_as_online() {
    let disk = Disk::default();
    let store = disk.store();
    let silent = Write::Offline { device: device_id(0), cause: Cause::Silent };
    let first = vec![Write::PutDevice(device(0)), Write::PutRegistration(registration(0, 1)), silent.clone()];
    wait(store.commit(first)).unwrap();
    let cut = disk.after_power_cut(&[]);
    assert!(!loaded(&cut.store()).0.device(&device_id(0)).unwrap().online);

    wait(store.commit(vec![Write::PutRegistration(registration(0, 2))])).unwrap();
    let cut = disk.after_power_cut(&[]);
    let again = cut.store();
    let state = |store: &Embedded| {
        let index = loaded(store).0;
        let state = index.device(&device_id(0)).unwrap();
        (state.online, state.last_seen)
    };
    assert_eq!(state(&again), (true, Some(UnixMillis(2))));
    // What was put off is lost with the power; that it fell silent is kept all the same.
    wait(again.commit(vec![silent])).unwrap();
    assert_eq!(state(&again), (false, Some(UnixMillis(2))));
    let end = Write::EndRegistration { device: device_id(0), cause: Cause::Expired };
    wait(again.commit(vec![Write::PutRegistration(registration(0, 3)), end])).unwrap();
    assert_eq!(state(&again), (false, Some(UnixMillis(3))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    /// The power fails at some moment, with some of the last writes on the disk and some not. Every commit that
    /// was acknowledged by then is there, and of one that was not, all or nothing.
    #[test]
    fn what_is_acknowledged_survives_a_power_cut(
        history in proptest::collection::vec(proptest::collection::vec(any_write(), 1..4), 1..8),
        unanswered in proptest::collection::vec(any_write(), 1..4),
        luck in proptest::collection::vec(any::<bool>(), 64),
    ) {
        let disk = Disk::default();
        let store = disk.store();
        let mut index = Index::new();
        for writes in &history {
            prop_assert_eq!(wait(store.commit(writes.clone())), Ok(()));
            writes.iter().for_each(|write| drop(index.apply(write)));
        }
        let pending = store.commit(unanswered.clone());
        let after = disk.after_power_cut(&luck);
        drop(pending);

        let without = durable_lines(&index);
        unanswered.iter().for_each(|write| drop(index.apply(write)));
        let with = durable_lines(&index);
        let found = durable_lines(&loaded(&after.store()).0);
        prop_assert!(found == without || found == with, "{:#?} is neither {:#?} nor {:#?}", found, without, with);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    /// The power fails after any commit, with the journal folded or not: the index that comes back is the same, but
    /// for signs of life.
    #[test]
    fn the_journal_survives_a_power_cut_after_any_commit(
        history in proptest::collection::vec((proptest::collection::vec(any_write(), 1..4), any::<bool>()), 1..12),
        fold_at_once: bool,
    ) {
        let disk = Disk::default();
        let mut store = disk.store_at(fold_at_once);
        let mut index = Index::new();
        for (mut writes, restart) in history {
            writes.retain(|write| !matches!(write, Write::Touch { .. }));
            prop_assert_eq!(wait(store.commit(writes.clone())), Ok(()));
            writes.iter().for_each(|write| drop(index.apply(write)));
            let cut = disk.after_power_cut(&[]);
            prop_assert_eq!(lines(&loaded(&store).0), lines(&index));
            prop_assert_eq!(lines(&loaded(&cut.store()).0), lines(&index));
            if restart {
                drop(store);
                store = disk.store_at(fold_at_once);
            }
        }
    }
}

/// A sign of life that came before the device went silent is kept with that, and brings it back neither then nor
/// when the journal is folded; one that came after does.
#[test]
fn signs_of_life_keep_their_place_among_what_the_journal_has() {
    let disk = Disk::default();
    let store = disk.store();
    let touch = |at| {
        let touches = vec![Touch { device: device_id(0), at: UnixMillis(at) }];
        vec![Write::Touch { touches }]
    };
    let silent = || vec![Write::Offline { device: device_id(0), cause: Cause::Silent }];
    let state = |store: &Embedded| {
        let index = loaded(store).0;
        let state = index.device(&device_id(0)).unwrap();
        (state.online, state.last_seen)
    };
    wait(store.commit(vec![Write::PutDevice(device(0)), Write::PutRegistration(registration(0, 1))]))
        .unwrap();
    for writes in [touch(5), silent()] {
        wait(store.commit(writes)).unwrap();
    }
    assert_eq!(state(&disk.after_power_cut(&[]).store()), (false, Some(UnixMillis(5))));
    wait(store.commit(touch(7))).unwrap();
    drop(store);
    let store = disk.store();
    assert_eq!(state(&store), (true, Some(UnixMillis(7))));
    wait(store.commit(silent())).unwrap();
    drop(store);
    assert_eq!(state(&disk.store()), (false, Some(UnixMillis(7))));
}

/// What is in the journal of a device is not for one of the same id that is made known later.
#[test]
fn a_device_made_known_anew_has_nothing_of_the_old_one() {
    let disk = Disk::default();
    let store = disk.store();
    let register = || vec![Write::PutRegistration(registration(0, 1))];
    for writes in [register(), vec![Write::PutDevice(device(0))]] {
        wait(store.commit(writes)).unwrap();
    }
    let registered = |store: &Embedded| {
        let index = loaded(store).0;
        index.device(&device_id(0)).is_some_and(|state| state.registration.is_some())
    };
    assert!(!registered(&store));
    let again = vec![Write::DeleteDevice { device: device_id(0) }, Write::PutDevice(device(0))];
    for writes in [register(), again] {
        wait(store.commit(writes)).unwrap();
    }
    assert!(!registered(&store));
    assert!(!registered(&disk.after_power_cut(&[]).store()));
}

/// All but what signs of life change, which is kept lazily.
fn durable_lines(index: &Index) -> Vec<String> {
    let mut index_without_life = Index::new();
    let mut put = |write| drop(index_without_life.apply(&write));
    for n in 0..5 {
        let Some(state) = index.device(&device_id(n)) else { continue };
        put(Write::PutDevice(state.device.clone()));
        state.registration.into_iter().for_each(|kept| put(Write::PutRegistration(kept.clone())));
        let channels = index.catalog(&device_id(n)).collect();
        put(Write::MergeCatalog { device: device_id(n), channels, complete: false, at: UnixMillis(0) });
    }
    index.calls().for_each(|call| put(Write::PutCall(call.clone())));
    lines(&index_without_life)
}

#[test]
fn signs_of_life_are_put_off_and_kept_on_closing() {
    let disk = Disk::default();
    let store = disk.store();
    wait(store.commit(vec![Write::PutDevice(device(0)), Write::PutRegistration(registration(0, 1))]))
        .unwrap();
    let synced = disk.state.lock().synced.clone();
    for at in 2..50 {
        let touch = Touch { device: device_id(0), at: UnixMillis(at) };
        assert_eq!(wait(store.commit(vec![Write::Touch { touches: vec![touch] }])), Ok(()));
    }
    assert!(disk.state.lock().synced == synced, "keepalives do not reach the disk one by one");
    let last_seen = |store: &Embedded| loaded(store).0.device(&device_id(0)).unwrap().last_seen;
    assert_eq!(last_seen(&store), Some(UnixMillis(1)));
    wait(store.close()).unwrap();
    assert_eq!(last_seen(&disk.store()), Some(UnixMillis(49)));
}

#[test]
fn signs_of_life_are_written_when_due() {
    let disk = Disk::default();
    let pace = Pace { gather: Duration::ZERO, touch_every: Duration::ZERO, reopen_every: Duration::ZERO };
    let store = Embedded::start(Box::new(move || disk.database()), pace).unwrap();
    wait(store.commit(vec![Write::PutDevice(device(0))])).unwrap();
    wait(
        store.commit(vec![Write::Touch { touches: vec![Touch { device: device_id(0), at: UnixMillis(7) }] }]),
    )
    .unwrap();
    // The batch of this commit, or one before it, finds them due.
    wait(store.commit(vec![Write::PutDevice(device(1))])).unwrap();
    assert_eq!(loaded(&store).0.device(&device_id(0)).unwrap().last_seen, Some(UnixMillis(7)));
}

#[test]
fn a_full_disk_fails_commits_until_there_is_room() {
    let disk = Disk::default();
    let store = disk.store();
    wait(store.commit(vec![Write::PutDevice(device(0))])).unwrap();
    disk.state.lock().full = true;
    for n in 1..4 {
        let failed = wait(store.commit(vec![Write::PutDevice(device(n))]));
        assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    }
    disk.state.lock().full = false;
    assert_eq!(wait(store.commit(vec![Write::PutDevice(device(4))])), Ok(()));
    let index = loaded(&store).0;
    assert!(index.device(&device_id(0)).is_some() && index.device(&device_id(4)).is_some());
}

#[test]
fn a_disk_that_stands_still_fills_the_queue_and_no_more() {
    let disk = Disk::default();
    let store = disk.store();
    let still = disk.gate.lock();
    let touches = vec![Touch { device: device_id(0), at: UnixMillis(1) }; embedded::MAX_QUEUED];
    let large = store.commit(vec![Write::PutDevice(device(0)), Write::Touch { touches }]);
    assert_eq!(wait(store.commit(vec![Write::PutDevice(device(1))])), Err(StoreError::Busy));
    drop(still);
    assert_eq!(wait(large), Ok(()));
    assert_eq!(wait(store.commit(vec![Write::PutDevice(device(2))])), Ok(()));
    assert_eq!(loaded(&store).0.totals().devices, 2);
}

#[test]
fn a_row_that_cannot_be_read_stops_nothing() {
    let disk = Disk::default();
    let store = disk.store();
    wait(store.commit(vec![Write::PutDevice(device(0)), Write::PutDevice(device(2))])).unwrap();
    drop(store);
    {
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("registry");
        let database = disk.database().unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut rows = transaction.open_table(table).unwrap();
            rows.insert(b"34020000001100000001\0D".as_slice(), b"{".as_slice()).unwrap();
            rows.insert(b"34020000001100000001\0Z".as_slice(), b"{}".as_slice()).unwrap();
            rows.insert(b"\xff".as_slice(), b"{}".as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }
    let (index, found) = loaded(&disk.store());
    assert_eq!((found.records, found.unreadable), (2, 3));
    assert_eq!(index.totals().devices, 2);
}

#[test]
fn another_schema_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(Embedded::open(directory.path()).unwrap());
    {
        let meta: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
        let database = Database::open(directory.path().join("registry.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(meta).unwrap().insert("schema", "9").unwrap();
        transaction.commit().unwrap();
    }
    let refused = Embedded::open(directory.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Schema { found, .. } if found == "9"), "{refused}");
    assert!(refused.to_string().contains("has schema 9 and this program knows 1"), "{refused}");
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let held = Embedded::open(directory.path()).unwrap();
    let refused = Embedded::open(directory.path()).unwrap_err();
    let sentence = format!("data directory {} is in use by another gbgate", directory.path().display());
    assert_eq!(refused.to_string(), sentence);
    drop(held);
    drop(Embedded::open(directory.path()).unwrap());

    let file = directory.path().join("a file");
    std::fs::write(&file, "x").unwrap();
    let below: PathBuf = file.join("data");
    let refused = Embedded::open(&below).unwrap_err();
    assert!(matches!(refused, StoreError::NotWritable { .. }), "{refused}");

    let other = directory.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("registry.redb"), "not a database".repeat(1_000)).unwrap();
    let refused = Embedded::open(&other).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

#[cfg(unix)]
#[test]
fn what_is_kept_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let _store = Embedded::open(&data).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("registry.redb"))), (0o700, 0o600));
}

#[test]
fn urls_are_refused_with_advice_and_without_their_password() {
    for (url, advice) in [
        ("redis://:hunter2@host:6379/0", "embedded only"),
        ("redis+sentinel://u:hunter2@a,b/0", "embedded only"),
        ("postgres://u:hunter2@host", "unknown kind of registry postgres:"),
        ("embedded:", "needs a directory"),
        ("hunter2", "not a URL"),
    ] {
        let Err(refused) = open(url) else { panic!("{url} was taken") };
        let sentence = refused.to_string();
        assert!(sentence.starts_with("registry.url: ") && sentence.contains(advice), "{sentence}");
        assert!(!sentence.contains("hunter2"), "{sentence}");
    }
}
