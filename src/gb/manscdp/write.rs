//! Bodies, written strictly: in the order of the schema, escaped, a field a line. Each function returns the body
//! without a declaration; [`document`](super::document) adds one and encodes.

use super::{CatalogItem, DeviceInfo, DeviceStatus, Edition, Root};
use crate::gb::id::Id;
use crate::gb::ptz;
use crate::gb::time::{Offset, gb_seconds};
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

/// A query that has no more to say than its command: Catalog, DeviceInfo, DeviceStatus, PresetQuery and the like.
pub fn query(cmd: &str, sn: u32, id: &Id) -> String {
    body(Root::Query, cmd, sn, id, |_| {})
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
        w.optional("Encode", status.encoding.map(switch));
        w.optional("Record", status.recording.map(switch));
        w.optional("DeviceTime", status.time.map(|time| gb_seconds(time, offset)).as_deref());
    })
}

/// A PTZ command. Older devices want the priority, newer ones ignore it.
pub fn control_ptz(sn: u32, id: &Id, frame: &ptz::Frame) -> String {
    body(Root::Control, "DeviceControl", sn, id, |w| {
        w.field("PTZCmd", &frame.to_string());
        w.element("Info", &[], |w| w.value("ControlPriority", 5));
    })
}

/// Asks for a key frame now. The schema of 2016 misspells the element, and its devices know it so.
pub fn control_iframe(sn: u32, id: &Id, edition: Edition) -> String {
    let name = if edition == Edition::E2022 { "IFrameCmd" } else { "IFameCmd" };
    body(Root::Control, "DeviceControl", sn, id, |w| w.field(name, "Send"))
}

fn result(ok: bool) -> &'static str {
    if ok { "OK" } else { "ERROR" }
}
