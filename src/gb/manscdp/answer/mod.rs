//! Answers, A.2.6: what a device says to a query or a control. They are serialised as the API shows them.

mod parts;
#[cfg(test)]
mod tests;

pub use parts::{
    Config, CruisePoint, CruiseTrack, CruiseTrackName, CruiseTracks, HomePosition, List, MAX_LIST,
    MAX_RECORDS, Numbered, Preset, Presets, PtzPosition, Record, Records, SdCard, SdCards,
};
use serde::Serialize;

pub(super) use self::parts::rfc3339;
use super::config::{self, ConfigKind};
use super::{
    DeviceInfo, DeviceStatus, Message, Query, Root, degrees_of, field, flag, id_of, number_of, time_of,
};
use crate::gb::time::Offset;
use crate::gb::xml::Element;

/// What a device answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Info(DeviceInfo),
    Status(DeviceStatus),
    Presets(Presets),
    HomePosition(HomePosition),
    CruiseTracks(CruiseTracks),
    CruiseTrack(CruiseTrack),
    PtzPosition(PtzPosition),
    SdCards(SdCards),
    Config(Config),
    Records(Records),
    /// No more than OK or ERROR: to a control, or in place of anything else.
    Done {
        ok: bool,
    },
}

impl Answer {
    /// Reads a response to a query; times without a zone are in `offset`. None: it is no answer to this query. A
    /// catalog has its own reader, [`CatalogPage`](super::CatalogPage); of one, only ERROR is read here.
    pub fn read(query: &Query, message: &Message, offset: Offset) -> Option<Answer> {
        if message.root != Root::Response || !same_command(&message.cmd, query.command()) {
            return None;
        }
        let body = &message.body;
        // Some say ERROR and tell all the same; what was told is worth more.
        let told = body.children.iter().any(|child| {
            !["CmdType", "SN", "DeviceID", "Result", "SumNum"].iter().any(|name| child.is(name))
        });
        if message.result() == Some(false) && !told {
            return Some(match query {
                // One kind that the device does not have, among several.
                Query::Config(kinds) if kinds.len() > 1 => Answer::Config(config(kinds, body)),
                _ => Answer::Done { ok: false },
            });
        }
        Some(match query {
            Query::DeviceInfo => Answer::Info(DeviceInfo::read(message)),
            Query::DeviceStatus => Answer::Status(DeviceStatus::read(message, offset)),
            Query::Records(_) => Answer::Records(records(body, offset)),
            Query::Config(kinds) => Answer::Config(config(kinds, body)),
            Query::Presets => Answer::Presets(list(body, "PresetList", "Item", |item| {
                Some(Preset {
                    index: number_of(item, "PresetID")?,
                    name: field(item, "PresetName").unwrap_or_default(),
                })
            })),
            Query::HomePosition => Answer::HomePosition(home_position(body)),
            Query::CruiseTracks => {
                Answer::CruiseTracks(list(body, "CruiseTrackList", "CruiseTrack", |item| {
                    Some(CruiseTrackName { number: number_of(item, "Number")?, name: field(item, "Name") })
                }))
            }
            Query::CruiseTrack { number } => Answer::CruiseTrack(cruise_track(body, *number)),
            Query::PtzPosition => Answer::PtzPosition(PtzPosition::read(message)),
            Query::SdCards => Answer::SdCards(list(body, "SDCardStatusInfo", "Item", |item| {
                Some(SdCard {
                    id: number_of(item, "ID")?,
                    name: field(item, "HddName").unwrap_or_default(),
                    status: field(item, "Status").map(|status| status.to_ascii_lowercase()),
                    format_progress: number_of(item, "FormatProgress"),
                    capacity: number_of(item, "Capacity"),
                    free: number_of(item, "FreeSpace"),
                })
            })),
            Query::Catalog | Query::MobilePosition { .. } | Query::Alarm(_) => {
                Answer::Done { ok: message.result()? }
            }
        })
    }

    /// Reads the response to a control or a configuration. None: it is no response, or says neither OK nor ERROR.
    pub fn result(message: &Message) -> Option<Answer> {
        let ok = (message.root == Root::Response).then(|| message.result())??;
        Some(Answer::Done { ok })
    }

    /// Takes in a further page of the same answer. Pages may come in any order and more than once.
    pub fn merge(&mut self, page: Answer) {
        match (self, page) {
            (Answer::Records(all), Answer::Records(page)) => all.merge(page),
            (Answer::Presets(all), Answer::Presets(page)) => all.merge(page),
            (Answer::CruiseTracks(all), Answer::CruiseTracks(page)) => all.merge(page),
            (Answer::SdCards(all), Answer::SdCards(page)) => all.merge(page),
            (Answer::CruiseTrack(all), Answer::CruiseTrack(page)) => {
                let room = MAX_LIST.saturating_sub(all.points.len());
                all.points.extend(page.points.into_iter().take(room));
                all.total = all.total.max(page.total);
                all.name = all.name.take().or(page.name);
            }
            (Answer::Config(all), Answer::Config(page)) => {
                let answered = page.sections.len().max(1);
                all.merge(page, answered);
            }
            _ => {}
        }
    }

    /// Whether no more is to be waited for: all that was announced or asked for has come, or no more is kept.
    pub fn is_complete(&self) -> bool {
        match self {
            Answer::Records(records) => records.complete || records.items.len() >= MAX_RECORDS,
            Answer::Presets(list) => list.is_complete(),
            Answer::CruiseTracks(list) => list.is_complete(),
            Answer::SdCards(list) => list.is_complete(),
            Answer::CruiseTrack(track) => track.points.len() >= (track.total as usize).min(MAX_LIST),
            Answer::Config(config) => config.left == 0,
            _ => true,
        }
    }

    /// Of [`Answer::Done`]: whether it says OK.
    pub fn ok(&self) -> Option<bool> {
        match self {
            Answer::Done { ok } => Some(*ok),
            _ => None,
        }
    }
}

/// Compares CmdTypes; some answer `HomePosition` to `HomePositionQuery`.
fn same_command(one: &str, other: &str) -> bool {
    let bare = |name: &str| name.to_ascii_lowercase().trim_end_matches("query").to_owned();
    one == other || bare(one) == bare(other)
}

/// The items of a list; those without a number are left out. Where the total is missing or less than what is there,
/// it is what is there.
fn list<T: Numbered>(
    body: &Element,
    list: &str,
    item: &str,
    read: impl Fn(&Element) -> Option<T>,
) -> List<T> {
    let within = body.child(list).unwrap_or(body);
    // One more than is kept, to be cut later: then the list is known to be full.
    let items = within.children(item).filter_map(read).take(MAX_LIST + 1).collect();
    let mut list = List::new(items);
    list.total = number_of(body, "SumNum").unwrap_or(0).max(list.total);
    list
}

fn records(body: &Element, offset: Offset) -> Records {
    let name = field(body, "Name");
    let within = body.child("RecordList").unwrap_or(body);
    let items: Vec<Record> = within
        .children("Item")
        .take(MAX_RECORDS)
        .map(|item| Record {
            device: id_of(item, "DeviceID"),
            name: field(item, "Name").or_else(|| name.clone()).unwrap_or_default(),
            start: time_of(item, "StartTime", offset),
            end: time_of(item, "EndTime", offset),
            size: number_of(item, "FileSize"),
            kind: field(item, "Type").map(|kind| kind.to_ascii_lowercase()),
            file_path: field(item, "FilePath"),
            address: field(item, "Address"),
            recorder_id: field(item, "RecorderID"),
            location: field(item, "RecordLocation"),
            secrecy: item.value_of("Secrecy").and_then(flag) == Some(true),
            stream: number_of(item, "StreamNumber"),
        })
        .collect();
    let total = number_of(body, "SumNum").unwrap_or_else(|| u32::try_from(items.len()).unwrap_or(u32::MAX));
    Records::new(items, total)
}

fn config(kinds: &[ConfigKind], body: &Element) -> Config {
    let sections = config::sections(kinds, body);
    let answered = sections.len().max(1);
    let left = kinds.len().saturating_sub(answered);
    Config { sections, left }
}

fn home_position(body: &Element) -> HomePosition {
    let home = body.child("HomePosition").unwrap_or(body);
    HomePosition {
        enabled: home.value_of("Enabled").and_then(flag) == Some(true),
        reset_seconds: number_of(home, "ResetTime"),
        preset: number_of(home, "PresetIndex"),
    }
}

fn cruise_track(body: &Element, asked: u32) -> CruiseTrack {
    let within = body.child("CruisePointList").unwrap_or(body);
    let points: Vec<CruisePoint> = within
        .children("CruisePoint")
        .take(MAX_LIST)
        .filter_map(|point| {
            Some(CruisePoint {
                preset: number_of(point, "PresetIndex")?,
                stay: number_of(point, "StayTime").unwrap_or(0),
                speed: number_of(point, "Speed").unwrap_or(0),
            })
        })
        .collect();
    let here = u32::try_from(points.len()).unwrap_or(u32::MAX);
    CruiseTrack {
        number: number_of(body, "Number").unwrap_or(asked),
        name: field(body, "Name"),
        points,
        total: number_of(body, "SumNum").unwrap_or(0).max(here),
    }
}

impl PtzPosition {
    /// From a response or a notify.
    pub fn read(message: &Message) -> PtzPosition {
        let body = &message.body;
        PtzPosition {
            pan: degrees_of(body, "Pan", 360.0),
            tilt: degrees_of(body, "Tilt", 360.0),
            zoom: degrees_of(body, "Zoom", 10_000.0),
            horizontal_field_angle: degrees_of(body, "HorizontalFieldAngle", 360.0),
            vertical_field_angle: degrees_of(body, "VerticalFieldAngle", 360.0),
            max_view_distance: degrees_of(body, "MaxViewDistance", 1e6),
        }
    }
}
