//! Vendor profiles: what is done for some devices otherwise than the standard has it, as data.
//!
//! A profile is a YAML file. It says which devices it is for, and each knob it turns with the quirk that it
//! works round:
//!
//! ```yaml
//! name: dahua
//! about: Cameras and recorders of Dahua
//! match:
//!   - manufacturer: [dahua]
//!   - user_agent: [dahua]
//! knobs:
//!   - set: record_type_always
//!     to: true
//!     why: Recorders answer a RecordInfo query only with <Type>all</Type>
//! ```
//!
//! The files under `conf/profiles/` are part of the program ([`Profiles::built_in`]); others add to them, or
//! take the place of those of the same name. A device uses the profile that its record names, else the first
//! that matches, else `standard`; its own overrides come on top.

mod knobs;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use knobs::{
    CatalogSubscription, ConfigTarget, DateHeader, DigestName, InviteHost, Knobs, Manners, PlayDialect,
    SsrcRule, StreamAttribute, TalkStart, TalkTransport, TalkWay,
};

use super::journal::Finding;
use super::model::Device;
use crate::gb::conformance::Rule;

/// The longest text of a profile, in bytes.
const MAX_FILE: usize = 64 << 10;
/// Profiles that one program knows.
const MAX_PROFILES: usize = 256;

/// The profile of devices that no other matches.
pub const STANDARD: &str = "standard";

/// The files under `conf/profiles/`, in the order in which they are tried.
const BUILT_IN: [(&str, &str); 7] = [
    ("dahua.yaml", include_str!("../../../conf/profiles/dahua.yaml")),
    ("hikvision.yaml", include_str!("../../../conf/profiles/hikvision.yaml")),
    ("tp-link.yaml", include_str!("../../../conf/profiles/tp-link.yaml")),
    ("uniview.yaml", include_str!("../../../conf/profiles/uniview.yaml")),
    ("lower-platform.yaml", include_str!("../../../conf/profiles/lower-platform.yaml")),
    ("edition-2011.yaml", include_str!("../../../conf/profiles/edition-2011.yaml")),
    ("standard.yaml", include_str!("../../../conf/profiles/standard.yaml")),
];

/// A profile that cannot be used, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("profile {profile}: {why}")]
pub struct BadProfile {
    /// The file or the name of the profile.
    pub profile: String,
    /// What is wrong, and with which knob.
    pub why: String,
}

/// A vendor profile, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub name: String,
    /// Which devices it is for, for a person to read.
    #[serde(default)]
    pub about: String,
    /// It is for the devices that any of these fits; with none, for those that name it.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    #[serde(default)]
    pub knobs: Vec<Knob>,
}

/// Tells devices: each list that is given has to have one entry that fits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Parts of the name; ASCII letters in either case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manufacturer: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user_agent: Vec<String>,
    /// Kinds of devices by their id, as the API names them: `platform`, `recorder`, ...
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind: Vec<String>,
    /// Departures from the standard that were seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behaviour: Vec<Rule>,
}

/// A knob that a profile turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knob {
    /// Its name: a field of [`Knobs`].
    pub set: String,
    pub to: Value,
    /// The quirk that it works round.
    pub why: String,
}

impl Profile {
    /// Reads a profile. `file` is named in the error.
    ///
    /// # Errors
    /// [`BadProfile`] if the text is no YAML of this form, or longer than 64 KiB. Knobs are checked by
    /// [`Profiles::new`].
    pub fn from_yaml(file: &str, text: &str) -> Result<Profile, BadProfile> {
        let bad = |why: String| BadProfile { profile: file.to_owned(), why };
        if text.len() > MAX_FILE {
            return Err(bad(format!("it is longer than {MAX_FILE} bytes")));
        }
        serde_yaml::from_str(text).map_err(|error| bad(error.to_string()))
    }

    fn knobs(&self) -> Result<Knobs, BadProfile> {
        let bad = |why: String| BadProfile { profile: self.name.clone(), why };
        if self.name.trim().is_empty() {
            return Err(bad("it has no name".into()));
        }
        let mut knobs = Knobs::default();
        for Knob { set, to, why } in &self.knobs {
            if why.trim().is_empty() {
                return Err(bad(format!("{set}: it does not say why")));
            }
            let one = Map::from_iter([(set.clone(), to.clone())]);
            knobs.lay(&Knobs::read(&Value::Object(one)).map_err(bad)?);
        }
        if let Some(matches) = self.matches.iter().find(|matches| **matches == Match::default()) {
            return Err(bad(format!("match: {matches:?} fits every device; leave it out")));
        }
        Ok(knobs)
    }
}

impl Match {
    fn fits(&self, device: &Device, findings: &[Finding]) -> bool {
        let has = |parts: &[String], text: Option<&str>| {
            let text = text.unwrap_or("");
            parts.is_empty() || parts.iter().any(|part| contains(text, part))
        };
        has(&self.manufacturer, device.manufacturer.as_deref())
            && has(&self.model, device.model.as_deref())
            && has(&self.user_agent, device.user_agent.as_deref())
            && (self.kind.is_empty() || self.kind.iter().any(|kind| kind == device.id.kind().as_str()))
            && (self.behaviour.is_empty()
                || findings.iter().any(|finding| self.behaviour.contains(&finding.rule)))
    }
}

fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.trim().as_bytes());
    !part.is_empty() && text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// All profiles, checked and ready.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    known: Vec<(Profile, Knobs)>,
}

impl Profiles {
    /// Checks profiles. They are tried in the order given.
    ///
    /// # Errors
    /// [`BadProfile`] names the profile and the knob: an unknown one, a value that it cannot have, one without
    /// a reason, a `match` that fits every device, or two profiles of one name.
    pub fn new(profiles: Vec<Profile>) -> Result<Profiles, BadProfile> {
        let mut known: Vec<(Profile, Knobs)> = Vec::with_capacity(profiles.len());
        for profile in profiles {
            let knobs = profile.knobs()?;
            let bad = |why: &str| BadProfile { profile: profile.name.clone(), why: why.into() };
            if known.iter().any(|(other, _)| other.name == profile.name) {
                return Err(bad("there are two of this name"));
            }
            if known.len() >= MAX_PROFILES {
                return Err(bad("there are too many profiles"));
            }
            known.push((profile, knobs));
        }
        Ok(Profiles { known })
    }

    /// The profiles of `conf/profiles/`, as they were when the program was built.
    pub fn built_in() -> Result<Profiles, BadProfile> {
        Profiles::with(&[])
    }

    /// The built-in ones, with further files (name, text): tried first, and in place of a built-in one of the
    /// same name.
    pub fn with(files: &[(String, String)]) -> Result<Profiles, BadProfile> {
        let mut profiles = Vec::new();
        for (file, text) in files {
            profiles.push(Profile::from_yaml(file, text)?);
        }
        for (file, text) in BUILT_IN {
            let profile = Profile::from_yaml(file, text)?;
            if !profiles.iter().any(|own| own.name == profile.name) {
                profiles.push(profile);
            }
        }
        Profiles::new(profiles)
    }

    /// How a device is dealt with.
    pub fn manners(&self, device: &Device, findings: &[Finding]) -> Manners {
        let mut knobs = self.named(STANDARD).map_or_else(Knobs::default, |(_, knobs)| knobs.clone());
        if let Some((_, own)) = self.of(device, findings) {
            knobs.lay(own);
        }
        if let Some(overrides) = &device.overrides {
            knobs.lay(overrides);
        }
        Manners::of(&knobs).for_device(device)
    }

    /// The name of the profile that a device uses.
    pub fn name_for(&self, device: &Device, findings: &[Finding]) -> &str {
        self.of(device, findings).map_or(STANDARD, |(profile, _)| profile.name.as_str())
    }

    /// The names of all profiles, in the order in which they are tried.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|(profile, _)| profile.name.as_str())
    }

    /// All profiles as they are written.
    pub fn all(&self) -> impl Iterator<Item = &Profile> {
        self.known.iter().map(|(profile, _)| profile)
    }

    /// The one that the device's record names, if it is known, else the first that fits.
    fn of(&self, device: &Device, findings: &[Finding]) -> Option<&(Profile, Knobs)> {
        let named = device.profile.as_deref().and_then(|name| self.named(name));
        named.or_else(|| {
            let fits = |profile: &Profile| profile.matches.iter().any(|one| one.fits(device, findings));
            self.known.iter().find(|(profile, _)| fits(profile))
        })
    }

    fn named(&self, name: &str) -> Option<&(Profile, Knobs)> {
        self.known.iter().find(|(profile, _)| profile.name == name)
    }
}
