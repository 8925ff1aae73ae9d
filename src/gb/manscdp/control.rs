//! Controls, clause 9.3 and A.2.3.1 (DeviceControl): what a device is told to do.

use thiserror::Error;

use super::answer::HomePosition;
use super::{Edition, KeyFrameName, Message, Root, Style, field, flag, number_of, write};
use crate::gb::charset::{self, Charset};
use crate::gb::id::Id;
use crate::gb::ptz;
use crate::gb::xml::{Element, Writer};

/// Longest name of a preset or a cruise track, in bytes of GB 18030.
const MAX_NAME: usize = 32;
/// Longest of the texts of an upgrade.
const MAX_TEXT: usize = 512;
/// A session of an upgrade or of snapshots is named by so many characters of `[A-Za-z0-9-]`.
const SESSION: std::ops::RangeInclusive<usize> = 32..=128;
/// Most memory cards of a device.
const MAX_CARDS: u8 = 8;
/// Most pixels of a side of a player's window.
const MAX_SIDE: u32 = 65_535;
/// Most seconds until a camera goes home: a day.
const MAX_RESET: u32 = 86_400;

/// A control.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    Ptz {
        command: ptz::Command,
        /// Of the preset or the cruise that the command sets; since 2022.
        name: Option<String>,
    },
    Reboot,
    Record {
        on: bool,
        /// 0 main, 1 sub and so on; since 2022.
        stream: Option<u8>,
    },
    Guard {
        on: bool,
    },
    AlarmReset {
        /// AlarmMethod and AlarmType of the alarm that ends; none: all.
        method: Option<u8>,
        kind: Option<u16>,
    },
    /// A key frame, now.
    KeyFrame,
    DragZoom {
        zoom_in: bool,
        window: Window,
    },
    HomePosition(HomePosition),
    /// Where to look; since 2022. What is left out stays.
    PtzPrecise {
        /// 0 to 360 degrees, clockwise.
        pan: Option<f64>,
        /// -90 to 90 degrees, downwards.
        tilt: Option<f64>,
        /// Times of magnification.
        zoom: Option<f64>,
    },
    /// Since 2022; the device tells later what came of it, as [`UpgradeResult`](super::UpgradeResult).
    Upgrade {
        firmware: String,
        url: String,
        manufacturer: String,
        session: String,
    },
    /// Since 2022.
    FormatSd {
        /// From 1; 0 is all of them.
        card: u8,
    },
}

/// What is dragged on a player's window, in its pixels from the top left.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Window {
    /// Of the window: its width, as the standard names it.
    pub length: u32,
    /// Of the window: its height.
    pub width: u32,
    pub mid_x: u32,
    pub mid_y: u32,
    pub length_x: u32,
    pub length_y: u32,
}

/// Why a control cannot be sent.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("{field} {why}")]
pub struct BadValue {
    /// The field of the control, in snake case.
    pub field: &'static str,
    pub why: &'static str,
}

impl Control {
    /// The stable name, for paths and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Control::Ptz { .. } => "ptz",
            Control::Reboot => "reboot",
            Control::Record { .. } => "record",
            Control::Guard { .. } => "guard",
            Control::AlarmReset { .. } => "alarm-reset",
            Control::KeyFrame => "keyframe",
            Control::DragZoom { .. } => "drag-zoom",
            Control::HomePosition(_) => "home-position",
            Control::PtzPrecise { .. } => "ptz-precise",
            Control::Upgrade { .. } => "upgrade",
            Control::FormatSd { .. } => "format-sd",
        }
    }

    /// The edition that introduced it.
    pub fn since(&self) -> Edition {
        match self {
            Control::Ptz { .. }
            | Control::Reboot
            | Control::Record { .. }
            | Control::Guard { .. }
            | Control::AlarmReset { .. } => Edition::E2011,
            Control::DragZoom { .. } => Edition::E2014,
            Control::KeyFrame | Control::HomePosition(_) => Edition::E2016,
            Control::PtzPrecise { .. } | Control::Upgrade { .. } | Control::FormatSd { .. } => Edition::E2022,
        }
    }

    /// Whether the standard has the device answer it, A.2.3.1 with A.2.6.1: the others have the 200 alone.
    pub fn answered(&self) -> bool {
        match self {
            Control::Record { .. }
            | Control::Guard { .. }
            | Control::AlarmReset { .. }
            | Control::HomePosition(_)
            | Control::Upgrade { .. } => true,
            Control::Ptz { .. }
            | Control::Reboot
            | Control::KeyFrame
            | Control::DragZoom { .. }
            | Control::PtzPrecise { .. }
            | Control::FormatSd { .. } => false,
        }
    }

    /// Whether its values are within what the standard allows. Speeds of a motion are limited when written.
    pub fn check(&self) -> Result<(), BadValue> {
        match self {
            Control::Ptz { command, name } => check_ptz(*command, name.as_deref()),
            Control::AlarmReset { method, .. } => {
                within("method", method.is_none_or(|method| method <= 7), "is 0 to 7")
            }
            Control::DragZoom { window, .. } => window.check(),
            Control::HomePosition(home) => within(
                "reset_seconds",
                home.reset_seconds.is_none_or(|seconds| seconds <= MAX_RESET),
                "is 0 to 86400",
            ),
            Control::PtzPrecise { pan, tilt, zoom } => {
                let fits = |value: Option<f64>, least: f64, most: f64| {
                    value.is_none_or(|value| (least..=most).contains(&value))
                };
                within("pan", pan.or(*tilt).or(*zoom).is_some(), "or tilt or zoom has to be there")?;
                within("pan", fits(*pan, 0.0, 360.0), "is 0 to 360 degrees")?;
                within("tilt", fits(*tilt, -90.0, 90.0), "is -90 to 90 degrees")?;
                within("zoom", fits(*zoom, 0.0, 1000.0), "is 0 to 1000")
            }
            Control::Upgrade { firmware, url, manufacturer, session } => {
                let fits = |text: &str| (1..=MAX_TEXT).contains(&text.len());
                within("firmware", fits(firmware), "has 1 to 512 bytes")?;
                let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
                let known = matches!(scheme.as_deref(), Some("http" | "https" | "ftp"));
                within("url", fits(url) && known, "is an address of http, https or ftp")?;
                within("manufacturer", fits(manufacturer), "has 1 to 512 bytes")?;
                within("session", is_session(session), "has 32 to 128 letters, digits and dashes")
            }
            Control::FormatSd { card } => within("card", *card <= MAX_CARDS, "is 0 to 8"),
            Control::Reboot | Control::Record { .. } | Control::Guard { .. } | Control::KeyFrame => Ok(()),
        }
    }

    /// The body, for the device or channel `id`.
    pub fn body(&self, sn: u32, id: &Id, style: &Style) -> String {
        write::body(Root::Control, "DeviceControl", sn, id, |w| self.write(w, style))
    }

    fn write(&self, w: &mut Writer, style: &Style) {
        match self {
            Control::Ptz { command, name } => {
                w.field("PTZCmd", &ptz::Frame::new(*command).to_string());
                if let (Some(name), true) = (name, style.is_2022()) {
                    let element = name_of(*command).unwrap_or("PresetName");
                    w.element("PTZCmdParams", &[], |w| w.field(element, name));
                }
                // Older devices want the priority, newer ones ignore it.
                w.element("Info", &[], |w| w.value("ControlPriority", 5));
            }
            Control::Reboot => w.field("TeleBoot", "Boot"),
            Control::Record { on, stream } => {
                w.field("RecordCmd", if *on { "Record" } else { "StopRecord" });
                w.optional_value("StreamNumber", stream.filter(|_| style.is_2022()));
            }
            Control::Guard { on } => w.field("GuardCmd", if *on { "SetGuard" } else { "ResetGuard" }),
            Control::AlarmReset { method, kind } => {
                w.field("AlarmCmd", "ResetAlarm");
                if method.is_some() || kind.is_some() {
                    w.element("Info", &[], |w| {
                        w.optional_value("AlarmMethod", *method);
                        w.optional_value("AlarmType", *kind);
                    });
                }
            }
            Control::KeyFrame => {
                let (ifame, iframe) = match style.key_frame {
                    KeyFrameName::ByEdition => (!style.is_2022(), style.is_2022()),
                    KeyFrameName::Ifame => (true, false),
                    KeyFrameName::Iframe => (false, true),
                    KeyFrameName::Both => (true, true),
                };
                w.optional("IFameCmd", ifame.then_some("Send"));
                w.optional("IFrameCmd", iframe.then_some("Send"));
            }
            Control::DragZoom { zoom_in, window } => {
                w.element(if *zoom_in { "DragZoomIn" } else { "DragZoomOut" }, &[], |w| window.write(w));
            }
            Control::HomePosition(home) => w.element("HomePosition", &[], |w| home.write(w)),
            Control::PtzPrecise { pan, tilt, zoom } => w.element("PTZPreciseCtrl", &[], |w| {
                let two = |value: &Option<f64>| value.map(|value| format!("{value:.2}"));
                w.optional("Pan", two(pan).as_deref());
                w.optional("Tilt", two(tilt).as_deref());
                w.optional("Zoom", two(zoom).as_deref());
            }),
            Control::Upgrade { firmware, url, manufacturer, session } => {
                w.element("DeviceUpgrade", &[], |w| {
                    w.field("Firmware", firmware);
                    w.field("FileURL", url);
                    w.field("Manufacturer", manufacturer);
                    w.field("SessionID", session);
                });
            }
            Control::FormatSd { card } => w.value("FormatSDCard", card),
        }
    }

    /// Reads a control, as a device does: its first sub-command that is known. None: it is no control, or has none
    /// that is known and complete.
    pub fn read(message: &Message) -> Option<Control> {
        if !message.is(Root::Control, "DeviceControl") {
            return None;
        }
        message.body.children.iter().find_map(|child| Control::of(child, &message.body))
    }

    fn of(child: &Element, body: &Element) -> Option<Control> {
        const NAMES: [&str; 13] = [
            "PTZCmd",
            "TeleBoot",
            "RecordCmd",
            "GuardCmd",
            "AlarmCmd",
            "IFameCmd",
            "IFrameCmd",
            "DragZoomIn",
            "DragZoomOut",
            "HomePosition",
            "PTZPreciseCtrl",
            "DeviceUpgrade",
            "FormatSDCard",
        ];
        let word = child.text.trim();
        let says = |on: &str, off: &str| {
            let is = |wanted: &str| word.eq_ignore_ascii_case(wanted);
            if is(on) { Some(true) } else { is(off).then_some(false) }
        };
        Some(match NAMES.into_iter().find(|name| child.is(name))? {
            "PTZCmd" => {
                let params = body.child("PTZCmdParams");
                let command = word.parse::<ptz::Frame>().ok()?.command;
                let name = params.and_then(|params| {
                    field(params, "PresetName").or_else(|| field(params, "CruiseTrackName"))
                });
                Control::Ptz { command, name }
            }
            "TeleBoot" => Control::Reboot,
            "RecordCmd" => {
                let on = says("Record", "StopRecord")?;
                Control::Record { on, stream: number_of(body, "StreamNumber") }
            }
            "GuardCmd" => Control::Guard { on: says("SetGuard", "ResetGuard")? },
            "AlarmCmd" => {
                let info = body.child("Info").unwrap_or(body);
                Control::AlarmReset {
                    method: number_of(info, "AlarmMethod"),
                    kind: number_of(info, "AlarmType"),
                }
            }
            "IFameCmd" | "IFrameCmd" => Control::KeyFrame,
            "DragZoomIn" => Control::DragZoom { zoom_in: true, window: Window::read(child)? },
            "DragZoomOut" => Control::DragZoom { zoom_in: false, window: Window::read(child)? },
            "HomePosition" => Control::HomePosition(HomePosition {
                enabled: child.value_of("Enabled").and_then(flag)?,
                reset_seconds: number_of(child, "ResetTime"),
                preset: number_of(child, "PresetIndex"),
            }),
            "PTZPreciseCtrl" => Control::PtzPrecise {
                pan: number_of(child, "Pan"),
                tilt: number_of(child, "Tilt"),
                zoom: number_of(child, "Zoom"),
            },
            "DeviceUpgrade" => Control::Upgrade {
                firmware: field(child, "Firmware")?,
                url: field(child, "FileURL")?,
                manufacturer: field(child, "Manufacturer").unwrap_or_default(),
                session: field(child, "SessionID").unwrap_or_default(),
            },
            _ => Control::FormatSd { card: word.parse().ok()? },
        })
    }
}

/// Whether a text may name a session of an upgrade or of snapshots.
pub fn is_session(text: &str) -> bool {
    SESSION.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn within(field: &'static str, fits: bool, why: &'static str) -> Result<(), BadValue> {
    if fits { Ok(()) } else { Err(BadValue { field, why }) }
}

fn check_ptz(command: ptz::Command, name: Option<&str>) -> Result<(), BadValue> {
    use ptz::Command::{CruiseAdd, CruiseDwell, CruiseSpeed, PresetCall, PresetDelete, PresetSet, ScanSpeed};
    const TWELVE_BITS: &str = "is 0 to 4095";
    match command {
        PresetSet(preset) | PresetCall(preset) | PresetDelete(preset) | CruiseAdd { preset, .. } => {
            within("preset", preset != 0, "is 1 to 255")?;
        }
        CruiseSpeed { speed, .. } | ScanSpeed { speed, .. } => within("speed", speed <= 0xFFF, TWELVE_BITS)?,
        CruiseDwell { seconds, .. } => within("seconds", seconds <= 0xFFF, TWELVE_BITS)?,
        _ => {}
    }
    let Some(name) = name else { return Ok(()) };
    within("name", name_of(command).is_some(), "is only for presets and cruises")?;
    let len = charset::encode(name, Charset::Gb18030).len();
    within("name", (1..=MAX_NAME).contains(&len), "has 1 to 32 bytes of GB 18030")
}

/// The element for the name of what a command sets.
fn name_of(command: ptz::Command) -> Option<&'static str> {
    use ptz::Command::{CruiseAdd, CruiseDwell, CruiseRemove, CruiseSpeed, CruiseStart, PresetSet};
    match command {
        PresetSet(_) => Some("PresetName"),
        CruiseAdd { .. } | CruiseRemove { .. } | CruiseSpeed { .. } | CruiseDwell { .. } | CruiseStart(_) => {
            Some("CruiseTrackName")
        }
        _ => None,
    }
}

impl Window {
    fn check(&self) -> Result<(), BadValue> {
        let side = |value: u32| (1..=MAX_SIDE).contains(&value);
        within("length", side(self.length), "is 1 to 65535 pixels")?;
        within("width", side(self.width), "is 1 to 65535 pixels")?;
        within("mid_x", self.mid_x <= self.length, "is at most length")?;
        within("mid_y", self.mid_y <= self.width, "is at most width")?;
        within("length_x", (1..=self.length).contains(&self.length_x), "is 1 to length")?;
        within("length_y", (1..=self.width).contains(&self.length_y), "is 1 to width")
    }

    fn write(&self, w: &mut Writer) {
        w.value("Length", self.length);
        w.value("Width", self.width);
        w.value("MidPointX", self.mid_x);
        w.value("MidPointY", self.mid_y);
        w.value("LengthX", self.length_x);
        w.value("LengthY", self.length_y);
    }

    fn read(element: &Element) -> Option<Window> {
        Some(Window {
            length: number_of(element, "Length")?,
            width: number_of(element, "Width")?,
            mid_x: number_of(element, "MidPointX")?,
            mid_y: number_of(element, "MidPointY")?,
            length_x: number_of(element, "LengthX")?,
            length_y: number_of(element, "LengthY")?,
        })
    }
}

impl HomePosition {
    pub(super) fn write(&self, w: &mut Writer) {
        w.value("Enabled", u8::from(self.enabled));
        w.optional_value("ResetTime", self.reset_seconds);
        w.optional_value("PresetIndex", self.preset);
    }
}
