//! How the media of a stream departs from the standard: gathered by its task, told to the device's shard.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::gb::conformance::Rule;
use crate::media::ps::PsFault;

/// Departures since the last time they were taken, one of each rule.
#[derive(Debug, Default)]
pub(super) struct Departures(BTreeMap<Rule, String>);

impl Departures {
    /// Notes a departure; `sample` says what was seen.
    pub(super) fn note(&mut self, rule: Rule, sample: impl Display) {
        self.0.entry(rule).or_insert_with(|| sample.to_string());
    }

    /// Notes a fault of the program stream, if the sender is to blame for it.
    pub(super) fn fault(&mut self, fault: PsFault) {
        if let Some(rule) = rule_of(fault) {
            self.note(rule, fault);
        }
    }

    /// Those that were noted; the count begins anew.
    pub(super) fn take(&mut self) -> BTreeMap<Rule, String> {
        std::mem::take(&mut self.0)
    }
}

/// The rule that a fault of a program stream breaks. What the network does to it breaks none.
pub fn rule_of(fault: PsFault) -> Option<Rule> {
    Some(match fault {
        PsFault::Loss | PsFault::TooLarge => return None,
        PsFault::NotPs | PsFault::Garbage | PsFault::BadHeader => Rule::PsSyncLost,
        PsFault::PesLength => Rule::PsPesLengthWrong,
        PsFault::LengthZero => Rule::PsPesLengthZero,
        PsFault::BadMap => Rule::PsPsmBroken,
        PsFault::MapCrc => Rule::PsPsmCrc,
        PsFault::MapLied => Rule::PsStreamTypeLies,
        PsFault::NoMap => Rule::PsNoPsm,
        PsFault::NoSystemHeader => Rule::PsNoSystemHeader,
        PsFault::UnknownCodec => Rule::CodecUnknown,
        PsFault::MarkerLied => Rule::RtpMarkerMissing,
        PsFault::TimeJump => Rule::PsTimeJump,
    })
}
