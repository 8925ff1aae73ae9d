//! Editions of the standard.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An edition of GB/T 28181. A peer of 2022 tells its own in the X-GB-Ver header of REGISTER (annex I); one that
/// tells nothing is taken for one of 2016.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub enum Edition {
    E2011,
    /// The amendment to 2011.
    E2014,
    #[default]
    E2016,
    E2022,
}

impl Edition {
    const ALL: [Edition; 4] = [Edition::E2011, Edition::E2014, Edition::E2016, Edition::E2022];

    /// From the value of an X-GB-Ver header.
    pub fn from_header(value: &str) -> Option<Edition> {
        Edition::ALL.into_iter().find(|edition| edition.header() == value.trim())
    }

    /// The value for an X-GB-Ver header.
    pub fn header(self) -> &'static str {
        match self {
            Edition::E2011 => "1.0",
            Edition::E2014 => "1.1",
            Edition::E2016 => "2.0",
            Edition::E2022 => "3.0",
        }
    }

    /// The year, which names the edition outside.
    pub fn year(self) -> u16 {
        match self {
            Edition::E2011 => 2011,
            Edition::E2014 => 2014,
            Edition::E2016 => 2016,
            Edition::E2022 => 2022,
        }
    }
}

impl From<Edition> for u16 {
    fn from(edition: Edition) -> u16 {
        edition.year()
    }
}

/// A year without an edition.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("the editions are of 2011, 2014, 2016 and 2022")]
pub struct UnknownEdition;

impl TryFrom<u16> for Edition {
    type Error = UnknownEdition;

    fn try_from(year: u16) -> Result<Edition, UnknownEdition> {
        Edition::ALL.into_iter().find(|edition| edition.year() == year).ok_or(UnknownEdition)
    }
}
