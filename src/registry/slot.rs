//! A channel as the index holds it: small, since there may be a million.
//!
//! What is its own (name, address, position) is packed into one allocation and a few words; what it shares with
//! its neighbours (make, region, parents, ...) is interned whole, since the channels of one recorder differ in
//! little else.

use std::collections::HashSet;
use std::hash::Hash;
use std::num::NonZeroI64;
use std::sync::Arc;

use super::model::Channel;
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;

/// The part of a channel that many share.
#[derive(Debug, Eq, PartialEq, Hash)]
pub(super) struct Common {
    manufacturer: Option<Box<str>>,
    model: Option<Box<str>>,
    owner: Option<Box<str>>,
    pub(super) region: Option<Id>,
    block: Option<Box<str>>,
    pub(super) parents: Box<[Id]>,
    pub(super) business_group: Option<Id>,
    parental: bool,
    secrecy: bool,
    ptz_type: Option<u8>,
}

/// A channel without its id, which is its key.
#[derive(Debug)]
pub(super) struct Slot {
    /// Name, address and IP address, one after the other.
    text: Box<str>,
    pub(super) common: Arc<Common>,
    /// NaN: not known.
    longitude: f64,
    latitude: f64,
    gone: Option<NonZeroI64>,
    name_end: u16,
    address_end: u16,
    /// 0: not known.
    port: u16,
    pub(super) status: bool,
    /// Only there to hold others, as its id says.
    folder: bool,
}

impl Slot {
    pub(super) fn pack(channel: &Channel, interner: &mut Interner) -> Slot {
        let channel = channel.clone().clipped();
        let common = interner.intern(Common {
            manufacturer: channel.manufacturer.map(Into::into),
            model: channel.model.map(Into::into),
            owner: channel.owner.map(Into::into),
            region: channel.region,
            block: channel.block.map(Into::into),
            parents: channel.parents.into(),
            business_group: channel.business_group,
            parental: channel.parental,
            secrecy: channel.secrecy,
            ptz_type: channel.ptz_type,
        });
        let mut text = channel.name;
        let name_end = end_of(&text);
        text.push_str(channel.address.as_deref().unwrap_or(""));
        let address_end = end_of(&text);
        text.push_str(channel.ip_address.as_deref().unwrap_or(""));
        Slot {
            text: text.into(),
            common,
            longitude: channel.longitude.unwrap_or(f64::NAN),
            latitude: channel.latitude.unwrap_or(f64::NAN),
            gone: channel.gone.and_then(tombstone),
            name_end,
            address_end,
            port: channel.port.unwrap_or(0),
            status: channel.status,
            folder: channel.id.kind().is_folder(),
        }
    }

    /// Whether it counts as a channel: it is no tombstone, and not only there to hold others.
    pub(super) fn is_channel(&self) -> bool {
        self.gone.is_none() && !self.folder
    }

    pub(super) fn unpack(&self, id: Id) -> Channel {
        let common = &*self.common;
        Channel {
            id,
            name: self.name().to_owned(),
            status: self.status,
            manufacturer: common.manufacturer.as_deref().map(Into::into),
            model: common.model.as_deref().map(Into::into),
            owner: common.owner.as_deref().map(Into::into),
            region: common.region,
            block: common.block.as_deref().map(Into::into),
            address: known(self.piece(self.name_end, self.address_end)),
            parents: common.parents.to_vec(),
            business_group: common.business_group,
            parental: common.parental,
            secrecy: common.secrecy,
            ptz_type: common.ptz_type,
            longitude: Some(self.longitude).filter(|degrees| !degrees.is_nan()),
            latitude: Some(self.latitude).filter(|degrees| !degrees.is_nan()),
            ip_address: known(self.text.get(usize::from(self.address_end)..).unwrap_or("")),
            port: Some(self.port).filter(|&port| port != 0),
            // Known to the entry alone.
            bad_since: None,
            gone: self.gone(),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.piece(0, self.name_end)
    }

    pub(super) fn gone(&self) -> Option<UnixMillis> {
        self.gone.map(|at| UnixMillis(at.get()))
    }

    pub(super) fn retire(&mut self, at: UnixMillis) {
        self.gone = tombstone(at);
    }

    pub(super) fn same(&self, other: &Slot) -> bool {
        self.text == other.text
            && (Arc::ptr_eq(&self.common, &other.common) || self.common == other.common)
            && self.longitude.to_bits() == other.longitude.to_bits()
            && self.latitude.to_bits() == other.latitude.to_bits()
            && (self.gone, self.name_end, self.address_end, self.port, self.status)
                == (other.gone, other.name_end, other.address_end, other.port, other.status)
    }

    fn piece(&self, from: u16, to: u16) -> &str {
        self.text.get(usize::from(from)..usize::from(to)).unwrap_or("")
    }
}

/// The pieces are of [`super::MAX_TEXT`] bytes at most, so that their ends always fit.
fn end_of(text: &str) -> u16 {
    u16::try_from(text.len()).unwrap_or(u16::MAX)
}

/// A tombstone of the first millisecond of 1970 is dated to the next one, to save the word of an `Option`.
fn tombstone(at: UnixMillis) -> Option<NonZeroI64> {
    NonZeroI64::new(at.0).or(NonZeroI64::new(1))
}

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// One copy of each part that many share. It holds no more of them than there are who do (twice, before a sweep).
#[derive(Debug)]
pub(super) struct Interner<T = Common> {
    known: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T> Default for Interner<T> {
    fn default() -> Interner<T> {
        Interner { known: HashSet::new(), sweep_at: 0 }
    }
}

impl<T: Eq + Hash> Interner<T> {
    /// Below this many a sweep is not worth its while.
    const MIN_SWEEP: usize = 1_024;

    pub(super) fn intern(&mut self, common: T) -> Arc<T> {
        if let Some(known) = self.known.get(&common) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at.max(Self::MIN_SWEEP) {
            self.known.retain(|common| Arc::strong_count(common) > 1);
            self.known.shrink_to_fit();
            self.sweep_at = self.known.len().saturating_mul(2);
        }
        let common = Arc::new(common);
        self.known.insert(Arc::clone(&common));
        common
    }
}
