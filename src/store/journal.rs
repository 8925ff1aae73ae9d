//! What is kept of registrations before it reaches their rows.
//!
//! A city that registers again changes rows all over `registry`, and redb copies a page for each. So these writes are
//! first appended to a table of their own, a record for each commit, where they survive as well; now and then, and
//! when the store is closed, they are folded into the rows in the order of their keys, all in one transaction.
//!
//! What is in the journal is about the rows `R` and `seen` of devices alone, so that no other write minds, except for
//! those that make a device known or unknown: they fold first. [`super::rows::load`] hands over the journal after the
//! rows.

use std::collections::{BTreeMap, HashSet};

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use smallvec::SmallVec;

use super::rows::{self, Bytes, Pending, Rows};
use crate::gb::id::Id;
use crate::registry::{Touch, Write};

pub(super) const JOURNAL: TableDefinition<'static, u64, Bytes> = TableDefinition::new("journal");

/// Writes after which it is folded early: some 30 MB on the disk, and as much in memory while it is folded.
pub(super) const MAX_LENGTH: usize = 50_000;

/// What the writer knows of the journal.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The key of the next record.
    next: u64,
    /// Writes in it.
    length: usize,
    /// The devices that they are about.
    devices: HashSet<Id>,
}

impl Journal {
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Takes note of a transaction that was committed.
    pub(super) fn settle(&mut self, done: Done) {
        let Done { folded, noted, devices } = done;
        if folded {
            *self = Journal { next: self.next, ..Journal::default() };
        }
        if noted > 0 {
            self.next += 1;
            self.length += noted;
            self.devices.extend(devices);
        }
    }
}

/// What a transaction did to the journal.
pub(super) struct Done {
    folded: bool,
    noted: usize,
    devices: HashSet<Id>,
}

/// The writes of one transaction.
pub(super) struct Batch<'t> {
    transaction: &'t WriteTransaction,
    journal: &'t Journal,
    /// Opened when they are needed: most batches are for the journal alone.
    rows: Option<Rows<'t>>,
    noted: Vec<Write>,
    /// The devices that `noted` is about.
    devices: HashSet<Id>,
    folded: bool,
}

impl<'t> Batch<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction, journal: &'t Journal) -> Batch<'t> {
        Batch { transaction, journal, rows: None, noted: Vec::new(), devices: HashSet::new(), folded: false }
    }

    /// Takes a write to the journal or to the rows.
    pub(super) fn apply(&mut self, write: &Write, pending: &mut Pending) -> Result<(), redb::Error> {
        match write {
            Write::PutRegistration(registration) => self.note(registration.device, write.clone()),
            Write::EndRegistration { device, .. } | Write::Offline { device, .. } => {
                // Signs of life from before it must not bring the device back when they are written.
                if let Some(at) = pending.remove(device) {
                    self.note(*device, Write::Touch { touches: vec![Touch { device: *device, at }] });
                }
                self.note(*device, write.clone());
            }
            Write::Touch { .. } => rows::put_off(write, pending),
            Write::PutDevice(device) => {
                if self.holds(&device.id) && !self.rows()?.knows(&device.id)? {
                    self.fold(pending)?;
                }
                self.rows()?.apply(write, pending)?;
            }
            Write::DeleteDevice { device } => {
                if self.holds(device) {
                    self.fold(pending)?;
                }
                self.rows()?.apply(write, pending)?;
            }
            _ => self.rows()?.apply(write, pending)?,
        }
        Ok(())
    }

    /// Writes all that was put off to the rows. The caller forgets `pending` once that is committed.
    pub(super) fn flush(&mut self, pending: &mut Pending) -> Result<(), redb::Error> {
        self.fold(pending)?;
        self.rows()?.flush(pending)
    }

    /// Ends the batch; the transaction is to be committed.
    pub(super) fn finish(self) -> Result<Done, redb::Error> {
        if !self.noted.is_empty() {
            let mut table = self.transaction.open_table(JOURNAL)?;
            table.insert(self.journal.next, rows::json(&self.noted)?.as_slice())?;
        }
        Ok(Done { folded: self.folded, noted: self.noted.len(), devices: self.devices })
    }

    fn note(&mut self, device: Id, write: Write) {
        self.devices.insert(device);
        self.noted.push(write);
    }

    /// Does to the rows what the journal has, and empties it.
    fn fold(&mut self, pending: &mut Pending) -> Result<(), redb::Error> {
        let mut by_device = BTreeMap::new();
        let table = self.transaction.open_table(JOURNAL)?;
        let kept = !self.folded && !table.is_empty()?;
        if kept {
            for record in table.range::<u64>(..)? {
                let writes = read(record?.1.value()).unwrap_or_default();
                writes.into_iter().for_each(|write| gather(&mut by_device, write));
            }
        }
        drop(table);
        self.devices.clear();
        std::mem::take(&mut self.noted).into_iter().for_each(|write| gather(&mut by_device, write));
        if kept {
            self.transaction.delete_table(JOURNAL)?;
            self.transaction.open_table(JOURNAL)?;
            self.folded = true;
        }
        // Signs of life of the journal come before those that are pending.
        let mut earlier = Pending::new();
        let rows = self.rows()?;
        for write in by_device.values().flatten() {
            rows.apply(write, &mut earlier)?;
        }
        earlier.into_iter().for_each(|(device, at)| rows::note(pending, device, at));
        Ok(())
    }

    fn holds(&self, device: &Id) -> bool {
        let kept = !self.folded && self.journal.devices.contains(device);
        kept || self.devices.contains(device)
    }

    fn rows(&mut self) -> Result<&mut Rows<'t>, redb::Error> {
        match &mut self.rows {
            Some(rows) => Ok(rows),
            none => Ok(none.insert(Rows::open(self.transaction)?)),
        }
    }
}

/// Folds what an earlier run left behind that did not close the store.
pub(super) fn recover(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    if transaction.open_table(JOURNAL)?.is_empty()? {
        return Ok(());
    }
    let journal = Journal::default();
    let mut batch = Batch::new(transaction, &journal);
    batch.flush(&mut Pending::new())?;
    batch.finish()?;
    Ok(())
}

/// The writes of a record. One that cannot be read is lost when the journal is folded: its devices register again.
pub(super) fn read(record: &[u8]) -> Option<Vec<Write>> {
    rows::decode(b"journal", record)
}

/// Adds a write to those of its device. Of registrations without anything between them the last is enough.
fn gather(by_device: &mut BTreeMap<Id, SmallVec<[Write; 1]>>, write: Write) {
    let Some(device) = about(&write) else { return };
    let writes = by_device.entry(device).or_default();
    match (writes.last_mut(), &write) {
        (Some(Write::PutRegistration(last)), Write::PutRegistration(new))
            // Else the earlier one has the last sign of life.
            if last.registered_at <= new.registered_at =>
        {
            last.clone_from(new);
        }
        _ => writes.push(write),
    }
}

/// The device that a write in the journal is about.
fn about(write: &Write) -> Option<Id> {
    match write {
        Write::PutRegistration(registration) => Some(registration.device),
        Write::EndRegistration { device, .. } | Write::Offline { device, .. } => Some(*device),
        Write::Touch { touches } => touches.first().map(|touch| touch.device),
        _ => None,
    }
}
