//! Snapshots and upgrades of 2022: begun by a command, reported when they are done.

use std::time::{Duration, Instant};

use super::commands::number;
use super::{Device, Output};
use crate::gb::id::Id;
use crate::gb::manscdp::{Root, write};
use crate::gb::time::{Now, gb_date_time};
use crate::gb::xml::Element;
use crate::simulator::quirks::Quirk;
use crate::simulator::settings::ZONE;

/// Snapshot sessions under way at once.
const MAX_SESSIONS: usize = 8;
/// Pictures of a session; the standard's limit.
const MAX_PICTURES: u32 = 10;
/// Longest session id that is taken.
const MAX_SESSION: usize = 128;

/// A picture to be taken and uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Names the session.
    pub session: String,
    /// The picture's name, 41 digits.
    pub file: String,
    /// Where it goes.
    pub url: String,
}

/// A session of snapshots.
#[derive(Debug)]
pub(super) struct Session {
    id: String,
    target: Id,
    url: String,
    interval: Duration,
    left: u32,
    /// Pictures on their way.
    uploading: u32,
    next_at: Option<Instant>,
    done: Vec<String>,
}

/// An upgrade that is reported once the device is back.
#[derive(Debug)]
pub(super) struct Upgrade {
    target: Id,
    session: String,
    ok: bool,
}

impl Device {
    /// A.2.3.2.10: takes pictures and uploads them, one after the other.
    pub(super) fn take_snapshots(&mut self, now: Now, target: Id, shot: &Element) {
        let (Some(id), Some(url)) = (shot.text_of("SessionID"), shot.text_of("UploadURL")) else { return };
        if self.snapshots.len() >= MAX_SESSIONS || id.len() > MAX_SESSION {
            return;
        }
        self.snapshots.push(Session {
            id: id.to_owned(),
            target,
            url: url.to_owned(),
            interval: Duration::from_secs(number(shot, "Interval").unwrap_or(1).max(1)),
            left: number(shot, "SnapNum").unwrap_or(1).clamp(1, MAX_PICTURES),
            uploading: 0,
            next_at: Some(now.instant),
            done: Vec::new(),
        });
        self.snapshot_timeout(now);
    }

    pub(super) fn snapshot_due(&self) -> Option<Instant> {
        self.snapshots.iter().filter_map(|session| session.next_at).min()
    }

    pub(super) fn snapshot_timeout(&mut self, now: Now) {
        for session in self.snapshots.iter_mut() {
            if session.next_at.is_none_or(|at| at > now.instant) {
                continue;
            }
            let digits: String = gb_date_time(now.unix, ZONE).chars().filter(char::is_ascii_digit).collect();
            let number = session.done.len() as u32 + session.uploading + 1;
            let file = format!("{}02{digits}{number:02}", session.target);
            session.left -= 1;
            session.uploading += 1;
            session.next_at = (session.left > 0).then(|| now.instant + session.interval);
            let snapshot = Snapshot { session: session.id.clone(), file, url: session.url.clone() };
            self.outputs.push_back(Output::Upload(snapshot));
        }
    }

    /// A picture was uploaded, or could not be. The last one ends the session.
    pub fn uploaded(&mut self, now: Now, snapshot: &Snapshot, ok: bool) {
        let found = self.snapshots.iter().position(|session| session.id == snapshot.session);
        let Some(session) = found.and_then(|at| self.snapshots.get_mut(at)) else { return };
        session.uploading = session.uploading.saturating_sub(1);
        if ok {
            session.done.push(snapshot.file.clone());
        }
        if session.uploading > 0 || session.next_at.is_some() {
            return;
        }
        let session = self.snapshots.swap_remove(found.unwrap_or_default());
        let sn = self.next_sn();
        let text = write::body(Root::Notify, "UploadSnapShotFinished", sn, &session.target, |w| {
            w.field("SessionID", &session.id);
            w.element("SnapShotList", &[], |w| {
                for file in &session.done {
                    w.field("SnapShotFileID", file);
                }
            });
        });
        self.announce(now, &text);
        self.settle(now);
    }

    /// A.2.3.1.12: reboots into the firmware, or into the old one.
    pub(super) fn upgrade(&mut self, now: Now, target: Id, upgrade: &Element) {
        let ok = !self.settings.has(Quirk::UpgradeFails);
        if let Some(firmware) = upgrade.text_of("Firmware").filter(|_| ok) {
            self.firmware = firmware.chars().take(MAX_SESSION).collect();
        }
        let session = upgrade.text_of("SessionID").unwrap_or_default().chars().take(MAX_SESSION).collect();
        self.upgrading = Some(Upgrade { target, session, ok });
        // The answer is on its way; the transaction is forgotten with all others.
        self.settle(now);
        self.reboot(now);
    }

    /// Tells how an upgrade went, after the registration that followed it.
    pub(super) fn report_upgrade(&mut self, now: Now) {
        let Some(upgrade) = self.upgrading.take() else { return };
        let sn = self.next_sn();
        let text = write::body(Root::Notify, "DeviceUpgradeResult", sn, &upgrade.target, |w| {
            w.field("SessionID", &upgrade.session);
            w.field("UpgradeResult", if upgrade.ok { "OK" } else { "ERROR" });
            w.field("Firmware", &self.firmware);
            if !upgrade.ok {
                w.field("UpgradeFailedReason", "01");
            }
        });
        self.announce(now, &text);
    }
}
