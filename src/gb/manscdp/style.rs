//! How a peer is spoken to.

use serde::{Deserialize, Serialize};

use super::Edition;
use crate::gb::time::Offset;

/// What of a body depends on the peer that it is for.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Style {
    pub edition: Edition,
    /// The zone of the times that are written.
    pub offset: Offset,
    /// Write the Type of a RecordInfo query even where it says `all`: some recorders answer nothing without it.
    pub record_type_always: bool,
    pub key_frame: KeyFrameName,
}

impl Style {
    /// For a peer of an edition that keeps to the standard.
    pub fn of(edition: Edition) -> Style {
        Style { edition, ..Style::default() }
    }

    pub(super) fn is_2022(&self) -> bool {
        self.edition >= Edition::E2022
    }
}

/// The name of the element that asks for a key frame, which the schema of 2016 misspells.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyFrameName {
    /// `IFrameCmd` for 2022, `IFameCmd` before.
    #[default]
    ByEdition,
    /// `IFameCmd`.
    Ifame,
    /// `IFrameCmd`.
    Iframe,
    /// Both elements.
    Both,
}
