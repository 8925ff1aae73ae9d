//! Bodies, written strictly: in the order of the schema, escaped, a field a line. Each function returns the body
//! without a declaration; [`document`](super::document) adds one and encodes.

use super::answer::{CruisePoint, PtzPosition, Record, SdCard};
use super::{Answer, CatalogItem, DeviceInfo, DeviceStatus, Edition, Root, Style, config};
use crate::gb::id::Id;
use crate::gb::time::{Offset, UnixMillis, gb_seconds};
use crate::gb::xml::Writer;

/// A body of any command: the envelope, and what `inside` writes after it.
pub fn body(root: Root, cmd: &str, sn: u32, id: &Id, inside: impl FnOnce(&mut Writer)) -> String {
    let mut w = Writer::new();
    w.element(root.as_str(), &[], |w| {
        w.field("CmdType", cmd);
        w.value("SN", sn);
        w.field("DeviceID", id.as_str());
        inside(w);
    });
    w.finish()
}

/// A keepalive of a device that works, or has `faulty` children.
pub fn keepalive(sn: u32, id: &Id, faulty: &[Id]) -> String {
    body(Root::Notify, "Keepalive", sn, id, |w| {
        w.field("Status", "OK");
        if !faulty.is_empty() {
            w.element("Info", &[], |w| {
                for id in faulty {
                    w.field("DeviceID", id.as_str());
                }
            });
        }
    })
}

/// The end of a recording and the like, for the INVITE's dialog.
pub fn media_status(sn: u32, id: &Id, notify_type: u16) -> String {
    body(Root::Notify, "MediaStatus", sn, id, |w| w.value("NotifyType", notify_type))
}

/// The response that says no more than OK or ERROR.
pub fn response_ok(cmd: &str, sn: u32, id: &Id, ok: bool) -> String {
    body(Root::Response, cmd, sn, id, |w| w.field("Result", result(ok)))
}

/// A page of the response to a catalog query. `sum` counts the items of all pages; `id` is the one queried.
pub fn response_catalog(sn: u32, id: &Id, sum: usize, items: &[CatalogItem], edition: Edition) -> String {
    body(Root::Response, "Catalog", sn, id, |w| catalog(w, sum, items, edition))
}

/// A notify of changes to a catalog; each item carries its event.
pub fn notify_catalog(sn: u32, id: &Id, items: &[CatalogItem], edition: Edition) -> String {
    body(Root::Notify, "Catalog", sn, id, |w| catalog(w, items.len(), items, edition))
}

fn catalog(w: &mut Writer, sum: usize, items: &[CatalogItem], edition: Edition) {
    w.value("SumNum", sum);
    // A catalog of nothing has no list.
    if !items.is_empty() {
        w.element("DeviceList", &[("Num", &items.len().to_string())], |w| {
            for item in items {
                item.write(edition, w);
            }
        });
    }
}

/// The response to a DeviceInfo query.
pub fn response_device_info(sn: u32, id: &Id, info: &DeviceInfo) -> String {
    body(Root::Response, "DeviceInfo", sn, id, |w| {
        w.optional("DeviceName", info.name.as_deref());
        w.field("Result", result(true));
        w.optional("Manufacturer", info.manufacturer.as_deref());
        w.optional("Model", info.model.as_deref());
        w.optional("Firmware", info.firmware.as_deref());
        w.optional_value("Channel", info.channels);
    })
}

/// The response to a DeviceStatus query. What the status leaves open is said to be well.
pub fn response_device_status(sn: u32, id: &Id, status: &DeviceStatus, offset: Offset) -> String {
    let switch = |on: bool| if on { "ON" } else { "OFF" };
    body(Root::Response, "DeviceStatus", sn, id, |w| {
        w.field("Result", result(true));
        w.field("Online", if status.online == Some(false) { "OFFLINE" } else { "ONLINE" });
        w.field("Status", result(status.ok != Some(false)));
        w.optional("Reason", status.reason.as_deref());
        w.optional("Encode", status.encoding.map(switch));
        w.optional("Record", status.recording.map(switch));
        w.optional("DeviceTime", status.time.map(|time| gb_seconds(time, offset)).as_deref());
        if !status.alarms.is_empty() {
            w.element("Alarmstatus", &[("Num", &status.alarms.len().to_string())], |w| {
                for input in &status.alarms {
                    w.element("Item", &[], |w| {
                        w.field("DeviceID", input.id.as_str());
                        let duty = input.duty.as_ref().map(|duty| duty.to_ascii_uppercase());
                        w.optional("DutyStatus", duty.as_deref());
                    });
                }
            });
        }
    })
}

/// The response to the query `cmd`, in one message. Many recordings are better sent by [`response_records`].
pub fn response(cmd: &str, answer: &Answer, sn: u32, id: &Id, style: &Style) -> String {
    match answer {
        Answer::Info(info) => return response_device_info(sn, id, info),
        Answer::Status(status) => return response_device_status(sn, id, status, style.offset),
        Answer::Records(records) => {
            let name = records.items.first().map_or("", |record| record.name.as_str());
            return response_records(sn, id, name, records.total, &records.items, style);
        }
        Answer::Done { ok } => return response_ok(cmd, sn, id, *ok),
        _ => {}
    }
    body(Root::Response, cmd, sn, id, |w| match answer {
        Answer::Presets(presets) => {
            if style.is_2022() {
                w.value("SumNum", presets.total);
            }
            w.element("PresetList", &[("Num", &presets.items.len().to_string())], |w| {
                for preset in &presets.items {
                    w.element("Item", &[], |w| {
                        w.value("PresetID", preset.index);
                        w.field("PresetName", &preset.name);
                    });
                }
            });
        }
        Answer::HomePosition(home) => w.element("HomePosition", &[], |w| home.write(w)),
        Answer::CruiseTracks(tracks) => {
            w.value("SumNum", tracks.total);
            w.element("CruiseTrackList", &[("Num", &tracks.items.len().to_string())], |w| {
                for track in &tracks.items {
                    w.element("CruiseTrack", &[], |w| {
                        w.value("Number", track.number);
                        w.optional("Name", track.name.as_deref());
                    });
                }
            });
        }
        Answer::CruiseTrack(track) => {
            w.value("Number", track.number);
            w.optional("Name", track.name.as_deref());
            w.value("SumNum", track.total);
            w.element("CruisePointList", &[("Num", &track.points.len().to_string())], |w| {
                track.points.iter().for_each(|point| cruise_point(w, point));
            });
        }
        Answer::PtzPosition(position) => ptz_position(w, position),
        Answer::SdCards(cards) => {
            w.value("SumNum", cards.total);
            w.element("SDCardStatusInfo", &[("Num", &cards.items.len().to_string())], |w| {
                cards.items.iter().for_each(|card| sd_card(w, card));
            });
        }
        Answer::Config(sections) => {
            w.field("Result", result(true));
            config::write_sections(&sections.sections, w);
        }
        Answer::Info(_) | Answer::Status(_) | Answer::Records(_) | Answer::Done { .. } => {}
    })
}

fn cruise_point(w: &mut Writer, point: &CruisePoint) {
    w.element("CruisePoint", &[], |w| {
        w.value("PresetIndex", point.preset);
        w.value("StayTime", point.stay);
        w.value("Speed", point.speed);
    });
}

fn sd_card(w: &mut Writer, card: &SdCard) {
    w.element("Item", &[], |w| {
        w.value("ID", card.id);
        w.field("HddName", &card.name);
        w.optional("Status", card.status.as_deref());
        w.optional_value("FormatProgress", card.format_progress);
        w.optional_value("Capacity", card.capacity);
        w.optional_value("FreeSpace", card.free);
    });
}

fn ptz_position(w: &mut Writer, position: &PtzPosition) {
    w.optional_value("Pan", position.pan);
    w.optional_value("Tilt", position.tilt);
    w.optional_value("Zoom", position.zoom);
    w.optional_value("HorizontalFieldAngle", position.horizontal_field_angle);
    w.optional_value("VerticalFieldAngle", position.vertical_field_angle);
    w.optional_value("MaxViewDistance", position.max_view_distance);
}

/// The notify of a subscription to the position of a camera; since 2022.
pub fn notify_ptz_position(sn: u32, id: &Id, position: &PtzPosition) -> String {
    body(Root::Notify, "PTZPosition", sn, id, |w| ptz_position(w, position))
}

/// A page of the response to a query for recordings. `sum` counts the recordings of all pages; `id` is the channel.
pub fn response_records(sn: u32, id: &Id, name: &str, sum: u32, page: &[Record], style: &Style) -> String {
    body(Root::Response, "RecordInfo", sn, id, |w| {
        w.field("Name", name);
        w.value("SumNum", sum);
        // No recordings have no list.
        if !page.is_empty() {
            w.element("RecordList", &[("Num", &page.len().to_string())], |w| {
                page.iter().for_each(|item| record(w, id, item, style));
            });
        }
    })
}

fn record(w: &mut Writer, id: &Id, record: &Record, style: &Style) {
    let time = |at: Option<UnixMillis>| at.map(|at| gb_seconds(at, style.offset));
    w.element("Item", &[], |w| {
        w.field("DeviceID", record.device.as_ref().unwrap_or(id).as_str());
        w.field("Name", &record.name);
        w.optional("FilePath", record.file_path.as_deref());
        w.optional("Address", record.address.as_deref());
        w.optional("StartTime", time(record.start).as_deref());
        w.optional("EndTime", time(record.end).as_deref());
        w.value("Secrecy", u8::from(record.secrecy));
        w.optional("Type", record.kind.as_deref());
        w.optional("RecorderID", record.recorder_id.as_deref());
        w.optional_value("FileSize", record.size);
        if style.is_2022() {
            w.optional("RecordLocation", record.location.as_deref());
            w.optional_value("StreamNumber", record.stream);
        }
    });
}

pub(super) fn result(ok: bool) -> &'static str {
    if ok { "OK" } else { "ERROR" }
}
