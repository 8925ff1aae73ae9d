//! Queries: what a device tells of itself.

use super::state::{CARD_CAPACITY, State};
use super::{Device, Purpose};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, DeviceInfo, Edition, Root, write};
use crate::gb::time::{Now, UnixMillis, gb_seconds};
use crate::gb::xml::{Element, Writer};
use crate::simulator::population::serial;
use crate::simulator::quirks::Quirk;
use crate::simulator::settings::ZONE;

/// How slow a clock with [`Quirk::ClockWrong`] is, in milliseconds.
const SLOW: i64 = 3_600_000;
/// Where a camera sees to, in metres.
const VIEW_DISTANCE: u32 = 300;
/// Degrees that it sees without zoom.
const FIELD: (f64, f64) = (58.3, 33.2);

impl Device {
    /// A.2.4. One of an edition that the device does not speak is not answered.
    pub(super) fn query(&mut self, now: Now, body: &manscdp::Message, target: Id) {
        let since_2022 = self.settings.edition == Edition::E2022;
        match body.cmd.as_str() {
            "Catalog" => self.catalog(now, body.sn),
            "RecordInfo" => self.records(now, body, target),
            "DeviceInfo" => {
                let info = DeviceInfo {
                    name: Some(self.name()),
                    manufacturer: Some("gbgate".to_owned()),
                    model: Some("Simulator".to_owned()),
                    firmware: Some(self.firmware.clone()),
                    channels: Some(u32::try_from(self.population.channels).unwrap_or(u32::MAX)),
                };
                self.answer(now, body, target, |sn, id| write::response_device_info(sn, id, &info));
            }
            "DeviceStatus" => self.status(now, body, target),
            "ConfigDownload" => self.tell_config(now, body, target),
            "PresetQuery" => {
                let presets = self.states.entry(target).or_default().presets.clone();
                self.tell(now, body, target, |w| {
                    if since_2022 {
                        w.value("SumNum", presets.len());
                    }
                    w.element("PresetList", &[("Num", &presets.len().to_string())], |w| {
                        for (number, (name, _)) in &presets {
                            w.element("Item", &[], |w| {
                                w.value("PresetID", number);
                                w.field("PresetName", name);
                            });
                        }
                    });
                });
            }
            _ if since_2022 => self.query_2022(now, body, target),
            _ => {}
        }
    }

    fn query_2022(&mut self, now: Now, body: &manscdp::Message, target: Id) {
        let state = self.states.entry(target).or_default().clone();
        match body.cmd.as_str() {
            "HomePositionQuery" => self.tell(now, body, target, |w| {
                w.element("HomePosition", &[], |w| {
                    w.value("Enabled", u8::from(state.home.enabled));
                    w.optional_value("ResetTime", state.home.reset_seconds);
                    w.optional_value("PresetIndex", state.home.preset);
                });
            }),
            "CruiseTrackListQuery" => self.tell(now, body, target, |w| {
                w.value("SumNum", state.cruises.len());
                w.element("CruiseTrackList", &[("Num", &state.cruises.len().to_string())], |w| {
                    for (number, track) in &state.cruises {
                        w.element("CruiseTrack", &[], |w| {
                            w.value("Number", number);
                            w.optional("Name", track.name.as_deref());
                        });
                    }
                });
            }),
            "CruiseTrackQuery" => {
                let number: u8 = super::commands::number(&body.body, "Number").unwrap_or(0);
                let track = state.cruises.get(&number).cloned().unwrap_or_default();
                self.tell(now, body, target, |w| {
                    w.value("Number", number);
                    w.optional("Name", track.name.as_deref());
                    w.value("SumNum", track.presets.len());
                    w.element("CruisePointList", &[("Num", &track.presets.len().to_string())], |w| {
                        for preset in &track.presets {
                            w.element("CruisePoint", &[], |w| {
                                w.value("PresetIndex", preset);
                                w.value("StayTime", track.dwell);
                                w.value("Speed", track.speed.clamp(1, 15));
                            });
                        }
                    });
                });
            }
            "PTZPosition" => self.tell(now, body, target, |w| write_position(w, &state, now)),
            "SDCardStatus" => {
                let card = self.card;
                let progress = card.progress(now.instant);
                self.tell(now, body, target, |w| {
                    w.value("SumNum", 1);
                    w.element("SDCardStatusInfo", &[("Num", "1")], |w| {
                        w.element("Item", &[], |w| {
                            w.value("ID", 1);
                            w.field("HddName", "card1");
                            w.field("Status", if progress.is_some() { "formatting" } else { "ok" });
                            w.optional_value("FormatProgress", progress);
                            w.value("Capacity", CARD_CAPACITY);
                            w.value("FreeSpace", card.free());
                        });
                    });
                });
            }
            _ => {}
        }
    }

    fn status(&mut self, now: Now, body: &manscdp::Message, target: Id) {
        let recording = self.states.entry(target).or_default().recording;
        let time = gb_seconds(self.clock(now), ZONE);
        let input = self.population.alarm_input();
        let guarded = self.states.entry(input).or_default().guarded;
        let duty = match (self.alarms.is_open(), guarded) {
            (true, _) => "ALARM",
            (false, true) => "ONDUTY",
            (false, false) => "OFFDUTY",
        };
        self.tell(now, body, target, |w| {
            w.field("Result", "OK");
            w.field("Online", "ONLINE");
            w.field("Status", "OK");
            w.field("Encode", "ON");
            w.field("Record", if recording { "ON" } else { "OFF" });
            w.field("DeviceTime", &time);
            w.element("Alarmstatus", &[("Num", "1")], |w| {
                w.element("Item", &[], |w| {
                    w.field("DeviceID", input.as_str());
                    w.field("DutyStatus", duty);
                });
            });
        });
    }

    /// One answer for each section asked for, as the standard allows.
    fn tell_config(&mut self, now: Now, body: &manscdp::Message, target: Id) {
        let kinds = body.body.text_of("ConfigType").unwrap_or_default().to_owned();
        for kind in kinds.split('/').map(str::trim).filter(|kind| !kind.is_empty()) {
            let known = self.configs.get(&target).cloned().unwrap_or_default();
            let section = known.get(kind, self.settings.edition).map(|section| self.current(section));
            self.tell(now, body, target, |w| {
                w.field("Result", if section.is_some() { "OK" } else { "ERROR" });
                if let Some(section) = &section {
                    w.tree(section);
                }
            });
        }
    }

    /// BasicParam tells what is in force.
    fn current(&self, mut section: Element) -> Element {
        if section.is("BasicParam") {
            for child in &mut section.children {
                if child.is("Expiration") {
                    child.text = self.registration.expires.to_string();
                } else if child.is("HeartBeatInterval") {
                    child.text = self.registration.keepalive.as_secs().to_string();
                }
            }
        }
        section
    }

    fn tell(&mut self, now: Now, body: &manscdp::Message, target: Id, inside: impl FnOnce(&mut Writer)) {
        self.answer(now, body, target, |sn, id| write::body(Root::Response, &body.cmd, sn, id, inside));
    }

    /// What people would call it.
    fn name(&self) -> String {
        let kind = if self.population.channels > 1 { "录像机" } else { "摄像机" };
        format!("{kind} {}", serial(&self.id))
    }

    /// What the device takes for the time.
    pub(super) fn clock(&self, now: Now) -> UnixMillis {
        UnixMillis(now.unix.0 - if self.settings.has(Quirk::ClockWrong) { SLOW } else { 0 })
    }

    /// The notify of where a camera looks, for those who subscribed to it.
    pub(super) fn moved(&mut self, now: Now, target: Id) {
        let text = self.view_notify(now, target);
        if self.subscriptions.is_empty() {
            return;
        }
        self.notify(now, "PTZPosition", &text);
    }

    pub(super) fn view_notify(&mut self, now: Now, target: Id) -> String {
        let state = self.states.entry(target).or_default().clone();
        let sn = self.next_sn();
        write::body(Root::Notify, "PTZPosition", sn, &target, |w| write_position(w, &state, now))
    }

    /// Sends a body that nobody waits for an answer to.
    pub(super) fn announce(&mut self, now: Now, text: &str) {
        self.message(now, text, Purpose::Other);
    }
}

fn write_position(w: &mut Writer, state: &State, now: Now) {
    let view = state.view(now.instant);
    w.field("Pan", &format!("{:.2}", view.pan));
    w.field("Tilt", &format!("{:.2}", view.tilt));
    w.field("Zoom", &format!("{:.2}", view.zoom));
    w.field("HorizontalFieldAngle", &format!("{:.1}", FIELD.0 / view.zoom));
    w.field("VerticalFieldAngle", &format!("{:.1}", FIELD.1 / view.zoom));
    w.value("MaxViewDistance", VIEW_DISTANCE);
}
