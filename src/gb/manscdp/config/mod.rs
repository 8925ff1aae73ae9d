//! Configuration: DeviceConfig sets, ConfigDownload gets; clauses 9.3.1 and 9.5.1, A.2.3.2 and A.2.4.7.
//!
//! One table, [`ConfigKind::shape`], says what each kind is made of. Checking a value, writing and reading it and its
//! [`schema`] for the documentation all come from there.
//!
//! A value is JSON: an object whose members are the elements of the standard in snake case, numbers as numbers and
//! lists as arrays. Counts, such as SumNum, are not in it: they are written as they have to be. What a device sends
//! beyond the table is kept in the member `other` by the name of its element, and sent back as it is.

mod schema;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::str::FromStr;

pub use schema::schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use thiserror::Error;
pub use value::{check, differences};

use super::{Edition, Root, Style, write};
use crate::gb::id::Id;
use crate::gb::xml::Element;

/// A section of a configuration.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum ConfigKind {
    BasicParam,
    VideoParamOpt,
    SvacEncodeConfig,
    SvacDecodeConfig,
    VideoParamAttribute,
    VideoRecordPlan,
    VideoAlarmRecord,
    PictureMask,
    FrameMirror,
    AlarmReport,
    OsdConfig,
    SnapShotConfig,
    /// Of the amendment of 2014 only.
    VideoParamConfig,
    /// Of the amendment of 2014 only.
    AudioParamConfig,
}

/// None of the kinds.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("no kind of configuration of the standard has that name")]
pub struct UnknownKind;

impl ConfigKind {
    pub const ALL: [ConfigKind; 14] = [
        ConfigKind::BasicParam,
        ConfigKind::VideoParamOpt,
        ConfigKind::SvacEncodeConfig,
        ConfigKind::SvacDecodeConfig,
        ConfigKind::VideoParamAttribute,
        ConfigKind::VideoRecordPlan,
        ConfigKind::VideoAlarmRecord,
        ConfigKind::PictureMask,
        ConfigKind::FrameMirror,
        ConfigKind::AlarmReport,
        ConfigKind::OsdConfig,
        ConfigKind::SnapShotConfig,
        ConfigKind::VideoParamConfig,
        ConfigKind::AudioParamConfig,
    ];

    /// The standard's name: the ConfigType and the element.
    pub fn as_str(self) -> &'static str {
        match self {
            ConfigKind::BasicParam => "BasicParam",
            ConfigKind::VideoParamOpt => "VideoParamOpt",
            ConfigKind::SvacEncodeConfig => "SVACEncodeConfig",
            ConfigKind::SvacDecodeConfig => "SVACDecodeConfig",
            ConfigKind::VideoParamAttribute => "VideoParamAttribute",
            ConfigKind::VideoRecordPlan => "VideoRecordPlan",
            ConfigKind::VideoAlarmRecord => "VideoAlarmRecord",
            ConfigKind::PictureMask => "PictureMask",
            ConfigKind::FrameMirror => "FrameMirror",
            ConfigKind::AlarmReport => "AlarmReport",
            ConfigKind::OsdConfig => "OSDConfig",
            ConfigKind::SnapShotConfig => "SnapShotConfig",
            ConfigKind::VideoParamConfig => "VideoParamConfig",
            ConfigKind::AudioParamConfig => "AudioParamConfig",
        }
    }

    /// The edition that introduced it.
    pub fn since(self) -> Edition {
        match self {
            ConfigKind::BasicParam
            | ConfigKind::SvacEncodeConfig
            | ConfigKind::SvacDecodeConfig
            | ConfigKind::VideoParamConfig
            | ConfigKind::AudioParamConfig => Edition::E2014,
            ConfigKind::VideoParamOpt => Edition::E2016,
            _ => Edition::E2022,
        }
    }

    /// The edition that has it last, where a later one dropped it.
    pub fn until(self) -> Option<Edition> {
        matches!(self, ConfigKind::VideoParamConfig | ConfigKind::AudioParamConfig).then_some(Edition::E2014)
    }

    pub fn writable(self) -> bool {
        self != ConfigKind::VideoParamOpt
    }

    /// Whether a device keeps what is set, so that it can be read again and compared. Snapshots are taken instead.
    pub fn kept(self) -> bool {
        self.writable() && self != ConfigKind::SnapShotConfig
    }

    /// The name of its element in an answer, where that is printed otherwise.
    fn alias(self) -> Option<&'static str> {
        (self == ConfigKind::SnapShotConfig).then_some("SnapShot")
    }
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ConfigKind {
    type Err = UnknownKind;

    /// Takes the standard's name in any case, and with dashes or underscores: `basic-param`, `osd_config`.
    fn from_str(text: &str) -> Result<ConfigKind, UnknownKind> {
        let is_letter = |c: &char| !matches!(c, '-' | '_');
        let same = |name: &str| {
            let given = text.trim().chars().filter(is_letter).map(|c| c.to_ascii_lowercase());
            given.eq(name.chars().map(|c| c.to_ascii_lowercase()))
        };
        ConfigKind::ALL
            .into_iter()
            .find(|kind| same(kind.as_str()) || kind.alias().is_some_and(same))
            .ok_or(UnknownKind)
    }
}

impl Serialize for ConfigKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ConfigKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ConfigKind, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a configuration cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("{path} {why}")]
pub struct BadConfig {
    /// The member, as in `heart_beat_count` or `region_list[0].point`; the kind's name for the whole value.
    pub path: String,
    pub why: String,
}

/// The body that sets sections of a configuration, once all of them are found good.
pub fn configure(
    sn: u32,
    id: &Id,
    sections: &[(ConfigKind, Value)],
    _style: &Style,
) -> Result<String, BadConfig> {
    for (kind, value) in sections {
        check(*kind, value)?;
    }
    Ok(write::body(Root::Control, "DeviceConfig", sn, id, |w| {
        for (kind, value) in sections {
            value::write(kind.as_str(), kind.shape(), value, true, w);
        }
    }))
}

/// The sections in a body: in a DeviceConfig, as a device reads it, or in an answer to a ConfigDownload. Where one
/// kind alone is looked for, any element with others inside is taken for it, since some devices name it otherwise.
pub fn sections(kinds: &[ConfigKind], body: &Element) -> std::collections::BTreeMap<ConfigKind, Value> {
    let element = |kind: ConfigKind| {
        let alias = || kind.alias().and_then(|alias| body.child(alias));
        let loose = || body.children.iter().find(|child| !child.children.is_empty() && !child.is("Info"));
        let only = kinds.len() == 1;
        body.child(kind.as_str()).or_else(alias).or_else(|| if only { loose() } else { None })
    };
    kinds.iter().filter_map(|kind| Some((*kind, value::read(kind.shape(), element(*kind)?)?))).collect()
}

/// Writes sections into an answer to a ConfigDownload; what they hold is not checked.
pub(super) fn write_sections<'a>(
    sections: impl IntoIterator<Item = (&'a ConfigKind, &'a Value)>,
    w: &mut crate::gb::xml::Writer,
) {
    for (kind, value) in sections {
        value::write(kind.alias().unwrap_or(kind.as_str()), kind.shape(), value, false, w);
    }
}
