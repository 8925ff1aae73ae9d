//! The registry: what the gateway knows of devices, their channels, registrations and running calls.
//!
//! * [`model`] has the records, as they are kept.
//! * [`Write`] is the one way to change them. The store keeps a write, then the [`Index`] applies it; both
//!   give it the same meaning, so that an index filled from the store equals the one that was lost.
//! * [`Index`] answers every question from memory: look-ups, lists by page, search, the tree, totals.
//!
//! Channels are always addressed by device and channel, since channel ids repeat between devices.
//!
//! This room is pure: it knows no clock, no disk and no network. Time is part of the writes.

mod history;
mod index;
mod journal;
pub mod model;
pub mod profile;
mod query;
mod slot;
mod stamp;
mod stats;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod write;

pub use history::{AlarmFilter, AuditFilter};
pub use index::{Full, Index};
pub use journal::{Acknowledged, Alarm, Audit, Finding, Position};
pub use model::{
    AddedBy, Call, Channel, Device, Keepalive, Registration, Route, Secret, StreamKind, Subscribe, clip,
};
pub use profile::{Knobs, Manners, Profile, Profiles};
pub use query::{BadCursor, ChannelFilter, ChannelState, DeviceFilter, DeviceState, Leaf, Page, Totals};
pub use stamp::{AlarmId, AuditId, BadStamp, Stamps};
pub use stats::{Conformance, Fault, MakerTotals, RegionTotals, RuleTotals};
pub use write::{Cause, Change, Retired, Touch, Write, bad_since, retire};

/// The longest text that is kept of any one field (a name, an address, ...), in bytes; longer ones are cut.
pub const MAX_TEXT: usize = 255;
/// Devices that one registry holds. Ids are claimed by whoever knows the password, so there has to be an end.
pub const MAX_DEVICES: usize = 200_000;
/// Channels of all devices together, tombstones included: at most 300 bytes each, so 600 MB.
pub const MAX_CHANNELS: usize = 2_000_000;
/// Channels of one device: a lower platform may stand for a province, and no more.
pub const MAX_CHANNELS_PER_DEVICE: usize = 1_000_000;
/// Tombstones kept for one device; beyond that the oldest are forgotten.
pub const MAX_GONE_PER_DEVICE: usize = 10_000;
/// Running calls kept for one device.
pub const MAX_CALLS_PER_DEVICE: usize = 20_000;
/// Parents kept for one channel (a camera may hang in several groups of a lower platform).
pub const MAX_PARENTS: usize = 8;
/// Alarms kept, of all devices together: some 400 bytes each.
pub const MAX_ALARMS: usize = 100_000;
/// Records of the audit kept: some 200 bytes each.
pub const MAX_AUDIT: usize = 200_000;
/// The longest sample of a departure from the standard, in bytes.
pub const MAX_SAMPLE: usize = 200;
/// The most items on one page, whatever the caller asks for.
pub const MAX_PAGE: usize = 1_000;
