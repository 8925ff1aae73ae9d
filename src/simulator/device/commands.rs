//! Controls and configuration: what the platform has a device do.
//!
//! Commands are read here from their elements, independently of the gateway's own readers and writers: a mistake that
//! both shared would not show.

use super::{Device, Output, Purpose};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, Edition, Root, write};
use crate::gb::ptz::Frame;
use crate::gb::time::Now;
use crate::gb::xml::Element;
use crate::simulator::quirks::Quirk;

/// Children of a DeviceConfig that are no sections.
const ENVELOPE: [&str; 5] = ["CmdType", "SN", "DeviceID", "Info", "ExtraInfo"];
/// The shortest keepalive interval that a device lets itself be told, in seconds.
const SHORTEST_KEEPALIVE: u64 = 1;

impl Device {
    /// Takes in the body of a MESSAGE.
    pub(super) fn command(&mut self, now: Now, bytes: &[u8]) {
        let Ok(body) = manscdp::parse(bytes, &mut self.history) else { return };
        let target = body.device_id.unwrap_or(self.id);
        // A folder of the tree can be asked for its catalog; nothing else is known to it.
        if !self.is_own(&target) && body.cmd != "Catalog" {
            return;
        }
        match (body.root, body.cmd.as_str()) {
            (Root::Query, _) if self.settings.has(Quirk::IgnoreQueries) => {}
            (Root::Query, _) => self.query(now, &body, target),
            (Root::Control, "DeviceControl") => self.control(now, &body, target),
            (Root::Control, "DeviceConfig") => self.configure(now, &body, target),
            (Root::Notify, "Broadcast") => self.broadcast(now, &body),
            // The answer to an alarm, and what is not known.
            _ => {}
        }
    }

    fn is_own(&self, target: &Id) -> bool {
        let parts = [self.id, self.population.alarm_input(), self.population.speaker()];
        parts.contains(target) || self.population.position(target).is_some()
    }

    /// A.2.3.1. Some have a business answer, the others the 200 alone.
    fn control(&mut self, now: Now, body: &manscdp::Message, target: Id) {
        let control = &body.body;
        let since_2022 = self.settings.edition == Edition::E2022;
        let state = self.states.entry(target).or_default();
        if let Some(command) = control.text_of("PTZCmd") {
            if let Ok(frame) = command.parse::<Frame>() {
                let params = control.child("PTZCmdParams");
                let named = |name| params.and_then(|params| params.text_of(name));
                let name = named("PresetName").or_else(|| named("CruiseTrackName"));
                state.obey(now.instant, frame.command, name.filter(|_| since_2022));
                self.moved(now, target);
            }
        } else if ["IFameCmd", "IFrameCmd"].iter().any(|name| control.child(name).is_some()) {
            let channel = self.population.position(&target).unwrap_or(0);
            self.outputs.push_back(Output::KeyFrame { channel });
        } else if control.text_of("TeleBoot").is_some() {
            self.reboot(now);
        } else if let Some(command) = control.text_of("RecordCmd") {
            state.recording = command == "Record";
            self.done(now, body, target);
        } else if let Some(command) = control.text_of("GuardCmd") {
            state.guarded = command == "SetGuard";
            self.done(now, body, target);
        } else if control.text_of("AlarmCmd").is_some() {
            self.alarms.reset();
            self.done(now, body, target);
        } else if let Some(home) = control.child("HomePosition") {
            state.home.enabled = home.text_of("Enabled") == Some("1");
            state.home.reset_seconds = number(home, "ResetTime");
            state.home.preset = number(home, "PresetIndex");
            self.done(now, body, target);
        } else if let Some(precise) = control.child("PTZPreciseCtrl").filter(|_| since_2022) {
            let value = |name| number(precise, name);
            state.look(now.instant, value("Pan"), value("Tilt"), value("Zoom"));
            self.moved(now, target);
        } else if let Some(zoom) = control.child("DragZoomIn") {
            state.drag(now.instant, zoom, true);
            self.moved(now, target);
        } else if let Some(zoom) = control.child("DragZoomOut") {
            state.drag(now.instant, zoom, false);
            self.moved(now, target);
        } else if let Some(upgrade) = control.child("DeviceUpgrade").filter(|_| since_2022) {
            self.done(now, body, target);
            self.upgrade(now, target, upgrade);
        } else if control.child("FormatSDCard").is_some_and(|_| since_2022) {
            self.card.format(now.instant);
        }
    }

    /// A.2.3.2.
    fn configure(&mut self, now: Now, body: &manscdp::Message, target: Id) {
        let edition = self.settings.edition;
        let sections: Vec<&Element> =
            body.body.children.iter().filter(|child| !ENVELOPE.iter().any(|name| child.is(name))).collect();
        if self.settings.has(Quirk::ConfigIgnored) {
            return self.done(now, body, target);
        }
        let mut ok = !sections.is_empty();
        for section in &sections {
            let config = self.configs.entry(target).or_default();
            ok &= config.set(section, edition);
        }
        if let Some(basic) = sections.iter().find(|section| section.is("BasicParam")) {
            self.take_basic(basic);
        }
        if self.settings.has(Quirk::ConfigSilent) {
            return self.register_soon(now);
        }
        let ok = ok && !self.settings.has(Quirk::ControlError);
        self.answer(now, body, target, |sn, id| write::response_ok("DeviceConfig", sn, id, ok));
        let shot = sections.iter().find(|section| section.is("SnapShotConfig"));
        if let Some(shot) = shot.filter(|_| ok) {
            self.take_snapshots(now, target, shot);
        }
    }

    /// What BasicParam says of registration is done from the next one on.
    fn take_basic(&mut self, basic: &Element) {
        if let Some(seconds) = number::<u64>(basic, "HeartBeatInterval") {
            self.registration.keepalive = std::time::Duration::from_secs(seconds.max(SHORTEST_KEEPALIVE));
        }
        if let Some(seconds) = number(basic, "Expiration") {
            self.registration.expires = seconds;
        }
    }

    /// The business answer of a control.
    pub(super) fn done(&mut self, now: Now, body: &manscdp::Message, target: Id) {
        let ok = !self.settings.has(Quirk::ControlError);
        self.answer(now, body, target, |sn, id| write::response_ok(&body.cmd, sn, id, ok));
    }

    /// Sends an answer, with the SN and the id that the quirks leave it.
    pub(super) fn answer(
        &mut self,
        now: Now,
        body: &manscdp::Message,
        target: Id,
        text: impl FnOnce(u32, &Id) -> String,
    ) {
        let (sn, id) = self.addressed(body.sn, target);
        let text = text(sn, &id);
        self.message(now, &text, Purpose::Other);
    }

    /// What an answer names: the SN and the id of the question, unless a quirk has it otherwise.
    pub(super) fn addressed(&self, sn: u32, target: Id) -> (u32, Id) {
        let sn = if self.settings.has(Quirk::SnMismatch) { sn.wrapping_add(1) } else { sn };
        (sn, if self.settings.has(Quirk::DeviceIdAnswers) { self.id } else { target })
    }
}

/// The number in a child.
pub(super) fn number<T: std::str::FromStr>(element: &Element, name: &str) -> Option<T> {
    element.text_of(name)?.parse().ok()
}
