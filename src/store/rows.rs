//! The rows of the embedded registry, and what each write does to them.
//!
//! Six tables of redb. A key of `registry` begins with the device's id and a zero byte (which no id has), so
//! that a device and all that hangs on it are neighbours; the letter says what follows. Values are JSON: the
//! records of [`crate::registry::model`].
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `schema` | the version of this layout, [`SCHEMA`] |
//! | `registry` | device, 0, `D` | [`Device`] |
//! | | device, 0, `R` | [`Registration`]; absent when it ended |
//! | | device, 0, `c`, channel | [`Channel`] |
//! | | device, 0, `g`, channel | [`Channel`] that is a tombstone (`gone` is set) |
//! | | device, 0, `f` | its departures from the standard: a list of [`Finding`] |
//! | | device, 0, `k`, channel, 0, Call-ID | [`Call`] |
//! | | device, 0, `p`, channel | its last [`Position`] |
//! | `seen` | device | `{"last_seen": ms, "silent": bool}`, absent if never heard of since it registered |
//! | `alarms` | number of the alarm | [`Alarm`], at most [`MAX_ALARMS`] |
//! | `audit` | number of the record | [`Audit`], at most [`MAX_AUDIT`] |
//! | `journal` | number of the commit | [`Write`]s that are not yet in `R` and `seen`, see `journal.rs` |
//!
//! `seen` is apart, since it is written for all devices again and again: side by side its rows fill few pages,
//! among the channels each would cost a page of its own.

use std::collections::{HashMap, HashSet};

use redb::{
    AccessGuard, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError, Table,
    TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::journal::{self, JOURNAL};
use super::{Loaded, StoreError};
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;
use crate::registry::{
    Alarm, Audit, Call, Cause, Channel, Device, Finding, MAX_ALARMS, MAX_AUDIT, Position, Registration,
    Touch, Write, bad_since, retire,
};

/// The version of this layout. A field more in a record is no new version; a key that moves is.
pub(super) const SCHEMA: &str = "1";

/// Channels that [`load`] hands over in one write.
const LOAD_CHUNK: usize = 20_000;

pub(super) type Bytes = &'static [u8];
const META: TableDefinition<'static, &str, &str> = TableDefinition::new("meta");
const REGISTRY: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("registry");
const SEEN: TableDefinition<'static, &str, Bytes> = TableDefinition::new("seen");
const ALARMS: TableDefinition<'static, u64, Bytes> = TableDefinition::new("alarms");
const AUDIT: TableDefinition<'static, u64, Bytes> = TableDefinition::new("audit");

const DEVICE: u8 = b'D';
const REGISTRATION: u8 = b'R';
const CHANNEL: u8 = b'c';
const GONE: u8 = b'g';
const FINDINGS: u8 = b'f';
const CALL: u8 = b'k';
const POSITION: u8 = b'p';

/// Signs of life that are not written yet.
pub(super) type Pending = HashMap<Id, UnixMillis>;

#[derive(Copy, Clone, Serialize, Deserialize)]
struct Seen {
    last_seen: UnixMillis,
    #[serde(default)]
    silent: bool,
}

/// The only field of a registration that matters for `seen`.
#[derive(Deserialize)]
struct Registered {
    registered_at: UnixMillis,
}

/// The only field of a tombstone that retiring looks at.
#[derive(Deserialize)]
struct Tombstone {
    gone: Option<UnixMillis>,
}

/// Creates the tables where there are none. The schema that is kept, if it is another than ours.
pub(super) fn prepare(transaction: &WriteTransaction) -> Result<Option<String>, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let found = meta.get("schema")?.map(|schema| schema.value().to_owned());
    match found {
        Some(found) if found != SCHEMA => return Ok(Some(found)),
        Some(_) => {}
        None => drop(meta.insert("schema", SCHEMA)?),
    }
    transaction.open_table(REGISTRY)?;
    transaction.open_table(SEEN)?;
    transaction.open_table(ALARMS)?;
    transaction.open_table(AUDIT)?;
    journal::recover(transaction)?;
    Ok(None)
}

/// The tables inside one transaction.
pub(super) struct Rows<'t> {
    registry: Table<'t, Bytes, Bytes>,
    seen: Table<'t, &'static str, Bytes>,
    alarms: Table<'t, u64, Bytes>,
    audit: Table<'t, u64, Bytes>,
}

impl<'t> Rows<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Rows<'t>, redb::Error> {
        Ok(Rows {
            registry: transaction.open_table(REGISTRY)?,
            seen: transaction.open_table(SEEN)?,
            alarms: transaction.open_table(ALARMS)?,
            audit: transaction.open_table(AUDIT)?,
        })
    }

    /// Does to the rows what [`crate::registry::Index::apply`] does to the index.
    pub(super) fn apply(&mut self, write: &Write, pending: &mut Pending) -> Result<(), redb::Error> {
        match write {
            Write::PutDevice(device) => {
                if !self.knows(&device.id)? {
                    pending.remove(&device.id);
                }
                self.put(&key(&device.id, DEVICE, ""), device)?;
            }
            Write::DeleteDevice { device } => {
                let (first, end) = (boundary(device, 0), boundary(device, 1));
                self.registry.retain_in(first.as_slice()..end.as_slice(), |_, _| false)?;
                self.seen.remove(device.as_str())?;
                pending.remove(device);
            }
            Write::PutRegistration(registration) => {
                let device = &registration.device;
                let row_key = key(device, REGISTRATION, "");
                // On the road of every REGISTER: one row is written, and `seen` only where it says that the
                // device is silent. The registration tells by itself when the device was there.
                let known =
                    self.registry.insert(row_key.as_slice(), json(registration)?.as_slice())?.is_some();
                if !known && !self.knows(device)? {
                    self.registry.remove(row_key.as_slice())?;
                    return Ok(());
                }
                note(pending, *device, registration.registered_at);
                let silent = self.kept_seen(device)?.is_some_and(|seen| seen.silent);
                if silent && let Some(seen) = self.seen(device, pending)? {
                    self.put_seen(device, seen)?;
                }
            }
            Write::EndRegistration { device, .. } => {
                let row_key = key(device, REGISTRATION, "");
                let ended = self.registry.remove(row_key.as_slice())?.and_then(|row| read(&row_key, &row));
                self.settle(device, ended, false, pending)?;
            }
            Write::Touch { .. } => put_off(write, pending),
            Write::Offline { device, .. } => {
                let row_key = key(device, REGISTRATION, "");
                let row = self.registry.get(row_key.as_slice())?;
                let silent = row.is_some();
                let registered = row.and_then(|row| read(&row_key, &row));
                self.settle(device, registered, silent, pending)?;
            }
            Write::MergeCatalog { device, channels, complete, at } => {
                if self.knows(device)? {
                    for channel in channels {
                        self.put_channel(device, channel, *at)?;
                    }
                    if *complete {
                        self.retire_unlisted(device, channels, *at)?;
                    }
                }
            }
            Write::RemoveChannels { device, channels } => {
                for channel in channels {
                    self.remove_channel(device, channel)?;
                }
            }
            Write::SetChannelStatus { device, channel, status, at } => {
                let key = key(device, CHANNEL, channel.as_str());
                let kept = self.registry.get(key.as_slice())?.and_then(|row| read::<Channel>(&key, &row));
                if let Some(mut channel) = kept.filter(|kept| kept.status != *status) {
                    channel.status = *status;
                    channel.bad_since = None;
                    channel.bad_since = bad_since(&channel, None, *at).flatten();
                    self.put(&key, &channel)?;
                }
            }
            Write::SetPosition { device, channel, longitude, latitude, at } => {
                let position = Position::new(*longitude, *latitude, *at);
                if let Some(position) = position
                    && self.has_place(device, channel)?
                {
                    self.put(&key(device, POSITION, channel.as_str()), &position)?;
                }
            }
            Write::PutCall(call) => {
                if self.knows(&call.device)? {
                    self.put(&call_key(&call.device, &call.channel, &call.call_id), call)?;
                }
            }
            Write::DeleteCall { device, channel, call_id } => {
                self.registry.remove(call_key(device, channel, call_id).as_slice())?;
            }
            Write::PutAlarm(alarm) => put_bounded(&mut self.alarms, alarm.id.0, alarm, MAX_ALARMS)?,
            Write::PutAudit(record) => put_bounded(&mut self.audit, record.id.0, record, MAX_AUDIT)?,
            Write::PutFindings { device, findings } => {
                if self.knows(device)? {
                    self.put(&key(device, FINDINGS, ""), findings)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a position may hang on this: the device itself, or an item of its catalog.
    fn has_place(&self, device: &Id, channel: &Id) -> Result<bool, StorageError> {
        if device == channel {
            return self.knows(device);
        }
        for kind in [CHANNEL, GONE] {
            if self.registry.get(key(device, kind, channel.as_str()).as_slice())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the signs of life that were put off. The caller forgets them once they are committed.
    pub(super) fn flush(&mut self, pending: &Pending) -> Result<(), redb::Error> {
        let mut in_order: Vec<_> = pending.iter().collect();
        in_order.sort_unstable();
        for (device, at) in in_order {
            let last_seen = match self.kept_seen(device)? {
                Some(seen) => seen.last_seen.max(*at),
                None if self.knows(device)? => *at,
                None => continue,
            };
            self.put_seen(device, Seen { last_seen, silent: false })?;
        }
        Ok(())
    }

    pub(super) fn knows(&self, device: &Id) -> Result<bool, StorageError> {
        Ok(self.registry.get(key(device, DEVICE, "").as_slice())?.is_some())
    }

    /// When the device was last heard of, what is still pending included (and no longer pending).
    fn seen(&mut self, device: &Id, pending: &mut Pending) -> Result<Option<Seen>, StorageError> {
        let kept = self.kept_seen(device)?;
        let Some(at) = pending.remove(device) else { return Ok(kept) };
        match kept {
            Some(seen) => Ok(Some(Seen { last_seen: seen.last_seen.max(at), silent: false })),
            None if self.knows(device)? => Ok(Some(Seen { last_seen: at, silent: false })),
            None => Ok(None),
        }
    }

    fn kept_seen(&self, device: &Id) -> Result<Option<Seen>, StorageError> {
        Ok(self.seen.get(device.as_str())?.and_then(|row| read::<Seen>(b"seen", &row)))
    }

    /// Writes when the device was last heard of, its registration included.
    fn settle(
        &mut self,
        device: &Id,
        registered: Option<Registered>,
        silent: bool,
        pending: &mut Pending,
    ) -> Result<(), redb::Error> {
        if let Some(Registered { registered_at }) = registered {
            note(pending, *device, registered_at);
        }
        match self.seen(device, pending)? {
            Some(seen) => self.put_seen(device, Seen { silent, ..seen }),
            None => Ok(()),
        }
    }

    fn put_seen(&mut self, device: &Id, seen: Seen) -> Result<(), redb::Error> {
        self.seen.insert(device.as_str(), json(&seen)?.as_slice())?;
        Ok(())
    }

    /// Writes a row, unless it is there as it is: most of a catalog is the same each time. False if it is new.
    fn put(&mut self, key: &[u8], record: &impl Serialize) -> Result<bool, redb::Error> {
        let value = json(record)?;
        let kept = self.registry.get(key)?.map(|kept| kept.value() == value.as_slice());
        if kept != Some(true) {
            self.registry.insert(key, value.as_slice())?;
        }
        Ok(kept.is_some())
    }

    fn put_channel(&mut self, device: &Id, channel: &Channel, at: UnixMillis) -> Result<(), redb::Error> {
        let (kind, other) = if channel.gone.is_some() { (GONE, CHANNEL) } else { (CHANNEL, GONE) };
        let key_of = |kind| key(device, kind, channel.id.as_str());
        // Few are bad, so that few old rows are read for the time since when.
        let with_time = match bad_since(channel, None, at) {
            None if channel.bad_since.is_none() => None,
            None => Some(Channel { bad_since: None, ..channel.clone() }),
            Some(_) => {
                let row_key = key_of(CHANNEL);
                let old =
                    self.registry.get(row_key.as_slice())?.and_then(|row| read::<Channel>(&row_key, &row));
                // Its own time is what was kept; an old row without one is of a channel that was bad before.
                let old = old.filter(|old| !old.status).map(|old| old.bad_since);
                Some(Channel { bad_since: bad_since(channel, old, at).flatten(), ..channel.clone() })
            }
        };
        if !self.put(&key_of(kind), with_time.as_ref().unwrap_or(channel))? {
            // It may have been of the other kind; never of both.
            self.registry.remove(key_of(other).as_slice())?;
        }
        Ok(())
    }

    fn remove_channel(&mut self, device: &Id, channel: &Id) -> Result<(), redb::Error> {
        for kind in [CHANNEL, GONE, POSITION] {
            self.registry.remove(key(device, kind, channel.as_str()).as_slice())?;
        }
        Ok(())
    }

    fn retire_unlisted(
        &mut self,
        device: &Id,
        catalog: &[Channel],
        at: UnixMillis,
    ) -> Result<(), redb::Error> {
        let named: HashSet<Id> = catalog.iter().map(|channel| channel.id).collect();
        let mut unlisted = Vec::new();
        let (first, end) = (key(device, CHANNEL, ""), key(device, GONE + 1, ""));
        for row in self.registry.range(first.as_slice()..end.as_slice())? {
            let (row_key, value) = row?;
            let Some((_, kind, Some(id))) = parse(row_key.value()) else { continue };
            if !named.contains(&id) {
                let tombstone = (kind == GONE).then(|| read::<Tombstone>(row_key.value(), &value)).flatten();
                unlisted.push((id, tombstone.and_then(|tombstone| tombstone.gone)));
            }
        }
        let retired = retire(unlisted.into_iter(), at);
        for id in &retired.forgotten {
            self.remove_channel(device, id)?;
        }
        for id in &retired.gone {
            let listed = key(device, CHANNEL, id.as_str());
            let channel =
                self.registry.remove(listed.as_slice())?.and_then(|row| read::<Channel>(&listed, &row));
            if let Some(mut channel) = channel {
                channel.gone = Some(at);
                channel.bad_since = None;
                self.put(&key(device, GONE, id.as_str()), &channel)?;
            }
        }
        Ok(())
    }
}

/// Writes a row of a table that has an end: beyond it the oldest is forgotten.
fn put_bounded(
    table: &mut Table<'_, u64, Bytes>,
    id: u64,
    record: &impl Serialize,
    most: usize,
) -> Result<(), redb::Error> {
    table.insert(id, json(record)?.as_slice())?;
    if table.len()? > most as u64 {
        table.pop_first()?;
    }
    Ok(())
}

/// Remembers signs of life, to be written later.
pub(super) fn put_off(write: &Write, pending: &mut Pending) {
    if let Write::Touch { touches } = write {
        touches.iter().for_each(|Touch { device, at }| note(pending, *device, *at));
    }
}

pub(super) fn note(pending: &mut Pending, device: Id, at: UnixMillis) {
    let kept = pending.entry(device).or_insert(at);
    *kept = (*kept).max(at);
}

/// Reads everything, device by device, as writes that fill an empty index.
pub(super) fn load(database: &redb::Database, each: &mut dyn FnMut(Write)) -> Result<Loaded, redb::Error> {
    let transaction = database.begin_read()?;
    let mut loaded = Loaded::default();
    let mut catalog: Option<(Id, Vec<Channel>)> = None;
    for row in transaction.open_table(REGISTRY)?.range::<&[u8]>(..)? {
        let (row_key, value) = row?;
        let (key, bytes) = (row_key.value(), value.value());
        let device = parse(key).map(|(device, ..)| device);
        // What hangs on channels comes after them.
        let more = matches!(parse(key), Some((_, CHANNEL | GONE | FINDINGS, _)));
        let ended =
            catalog.take_if(|(of, channels)| Some(*of) != device || !more || channels.len() >= LOAD_CHUNK);
        ended.into_iter().for_each(|whole| each(merged(whole)));

        let write = match parse(key) {
            Some((device, CHANNEL | GONE, _)) => {
                let channel = decode::<Channel>(key, bytes);
                if let Some(channel) = channel {
                    catalog.get_or_insert_with(|| (device, Vec::new())).1.push(channel);
                    loaded.records += 1;
                } else {
                    loaded.unreadable += 1;
                }
                continue;
            }
            Some((_, DEVICE, _)) => decode::<Device>(key, bytes).map(Write::PutDevice),
            Some((_, REGISTRATION, _)) => decode::<Registration>(key, bytes).map(Write::PutRegistration),
            Some((_, CALL, _)) => decode::<Call>(key, bytes).map(Write::PutCall),
            Some((device, FINDINGS, _)) => {
                findings(key, bytes).map(|findings| Write::PutFindings { device, findings })
            }
            Some((device, POSITION, Some(channel))) => {
                decode::<Position>(key, bytes).map(|Position { longitude, latitude, at }| {
                    Write::SetPosition { device, channel, longitude, latitude, at }
                })
            }
            _ => unknown(key),
        };
        match write {
            Some(write) => {
                loaded.records += 1;
                each(write);
            }
            None => loaded.unreadable += 1,
        }
    }
    catalog.into_iter().for_each(|whole| each(merged(whole)));

    for row in transaction.open_table(SEEN)?.range::<&str>(..)? {
        let (row_key, value) = row?;
        let device = Id::parse(row_key.value()).ok();
        match device.zip(read::<Seen>(row_key.value().as_bytes(), &value)) {
            Some((device, seen)) => {
                loaded.records += 1;
                each(Write::Touch { touches: vec![Touch { device, at: seen.last_seen }] });
                if seen.silent {
                    each(Write::Offline { device, cause: Cause::Silent });
                }
            }
            None => loaded.unreadable += 1,
        }
    }
    let mut take = |write: Option<Write>| match write {
        Some(write) => {
            loaded.records += 1;
            each(write);
        }
        None => loaded.unreadable += 1,
    };
    for record in transaction.open_table(JOURNAL)?.range::<u64>(..)? {
        match journal::read(record?.1.value()) {
            Some(writes) => writes.into_iter().for_each(|write| take(Some(write))),
            None => take(None),
        }
    }
    for row in transaction.open_table(ALARMS)?.range::<u64>(..)? {
        take(read::<Alarm>(b"alarms", &row?.1).map(Write::PutAlarm));
    }
    for row in transaction.open_table(AUDIT)?.range::<u64>(..)? {
        take(read::<Audit>(b"audit", &row?.1).map(Write::PutAudit));
    }
    Ok(loaded)
}

/// Findings of rules that this program does not know are passed over.
fn findings(key: &[u8], bytes: &[u8]) -> Option<Vec<Finding>> {
    let kept = decode::<Vec<serde_json::Value>>(key, bytes)?;
    Some(kept.into_iter().filter_map(|finding| serde_json::from_value(finding).ok()).collect())
}

fn merged((device, channels): (Id, Vec<Channel>)) -> Write {
    Write::MergeCatalog { device, channels, complete: false, at: UnixMillis::default() }
}

/// The key of what hangs on a device.
fn key(device: &Id, kind: u8, rest: &str) -> Vec<u8> {
    let mut key = boundary(device, 0);
    key.push(kind);
    key.extend_from_slice(rest.as_bytes());
    key
}

fn call_key(device: &Id, channel: &Id, call_id: &str) -> Vec<u8> {
    let mut key = key(device, CALL, channel.as_str());
    key.push(0);
    key.extend_from_slice(call_id.as_bytes());
    key
}

/// All keys of a device lie between its boundaries 0 and 1.
fn boundary(device: &Id, byte: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 * device.as_str().len() + 2);
    key.extend_from_slice(device.as_str().as_bytes());
    key.push(byte);
    key
}

/// The device, the letter, and the channel of a row that has one.
fn parse(key: &[u8]) -> Option<(Id, u8, Option<Id>)> {
    let id = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| Id::parse(text).ok());
    let mut parts = key.splitn(3, |&byte| byte == 0);
    let device = id(parts.next()?)?;
    let (kind, channel) = parts.next()?.split_first()?;
    Some((device, *kind, id(channel)))
}

pub(super) fn json(record: &impl Serialize) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(record)
        .map_err(|error| redb::Error::Corrupted(format!("not to be written as JSON: {error}")))
}

fn read<T: DeserializeOwned>(key: &[u8], row: &AccessGuard<'_, Bytes>) -> Option<T> {
    decode(key, row.value())
}

/// A row that cannot be read is left where it is: a newer program may know it, and a person may mend it.
pub(super) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .inspect_err(
            |error| tracing::warn!(key = %key.escape_ascii(), %error, "unreadable row in the registry"),
        )
        .ok()
}

fn unknown(key: &[u8]) -> Option<Write> {
    tracing::warn!(key = %key.escape_ascii(), "unknown row in the registry");
    None
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> StoreError {
        StoreError::Failed(error.to_string())
    }
}
