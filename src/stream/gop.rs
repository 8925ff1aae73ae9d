//! The group of pictures that a new reader starts with.

use crate::media::unit::AccessUnit;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a unit costs beside its payload, at least: with it, the limit of bytes also bounds the number of units.
const UNIT_COST: usize = size_of::<AccessUnit>() + size_of::<Arc<AccessUnit>>();

/// The units since the last key frame, as long as they keep within bounds.
#[derive(Debug)]
pub(super) struct Gop {
    max_duration: Duration,
    max_bytes: usize,
    units: Vec<Arc<AccessUnit>>,
    bytes: usize,
    /// When its key frame came; `None` while there is none to begin with.
    began: Option<Instant>,
}

impl Gop {
    pub(super) fn new(max_duration: Duration, max_bytes: usize) -> Self {
        Self { max_duration, max_bytes, units: Vec::new(), bytes: 0, began: None }
    }

    /// Begins a new group; its key frame is pushed next.
    pub(super) fn begin(&mut self, now: Instant) {
        self.units.clear();
        self.bytes = 0;
        self.began = Some(now);
    }

    /// Adds a unit if a group has begun; one that would outgrow the bounds ends it.
    pub(super) fn push(&mut self, now: Instant, unit: &Arc<AccessUnit>) {
        let Some(began) = self.began else { return };
        let spilled = if unit.nals.spilled() { size_of_val(unit.nals.as_slice()) } else { 0 };
        self.bytes += UNIT_COST + unit.payload.len() + spilled;
        if self.bytes > self.max_bytes || now.saturating_duration_since(began) > self.max_duration {
            self.clear();
        } else {
            self.units.push(Arc::clone(unit));
        }
    }

    pub(super) fn clear(&mut self) {
        self.units = Vec::new();
        self.bytes = 0;
        self.began = None;
    }

    pub(super) fn units(&self) -> &[Arc<AccessUnit>] {
        &self.units
    }
}
