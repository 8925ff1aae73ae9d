//! Who is there, and by which way: restarts, signs of life, silence, connections, keepalives (clause 9.6).

use std::time::Duration;

use super::{Action, Devices, Entry, Event, Failure, Pending, Session};
use crate::gb::charset::History;
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::{self, Keepalive};
use crate::gb::time::Now;
use crate::registry::{Cause, Device, Finding, Registration, Route, Write};
use crate::sip::{Flow, Transport};

/// The shortest keepalive interval that is believed of a device's own parameters.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Subscriptions of an earlier run of the gateway are taken up anew within this time, each device at its own moment.
const RESUME_WITHIN_MS: u64 = 60_000;

impl Devices {
    /// Takes up a device that the registry knows, with the registration that it had and what is known of its
    /// departures from the standard.
    ///
    /// A device on UDP is served at once and has a full keepalive time to show itself. One on TCP or TLS is known,
    /// but can't be reached before it connects again.
    pub fn restore(
        &mut self,
        now: Now,
        device: Device,
        registration: Option<Registration>,
        findings: &[Finding],
    ) {
        let id = device.id;
        let mut entry = Entry::new(device);
        entry.history = History::known(entry.device.charset);
        entry.findings = super::findings::restored(findings);
        let mut served = false;
        if let Some(record) = registration {
            let left = u64::try_from(record.expires_at.0.saturating_sub(now.unix.0)).unwrap_or(0);
            // The wall clock may have been set meanwhile.
            let left = Duration::from_millis(left).min(self.settings.expires_max);
            let Route { transport, local, remote } = record.route;
            let online = transport == Transport::Udp;
            if left.is_zero() {
                self.write(Write::EndRegistration { device: id, cause: Cause::Expired });
            } else {
                let flow = Flow { transport, local, remote, connection: 0 };
                let (expires_at, last_seen) = (now.instant + left, now.instant);
                entry.session = Some(Session { record, flow, expires_at, last_seen, online });
                served = online;
                if !online {
                    self.write(Write::Offline { device: id, cause: Cause::Disconnected });
                }
            }
        }
        self.entries.insert(id, Box::new(entry));
        self.learn_manners(id);
        if served {
            let spread = Duration::from_millis(super::digest_of(id.as_str()) % RESUME_WITHIN_MS);
            self.settle_subscriptions(now, id, spread);
        }
        self.set_timer(id);
    }

    /// A registration is in force. `call` is the digest of its Call-ID.
    pub(super) fn came(&mut self, now: Now, id: Id, call: u64) {
        // What it says of itself may be new.
        self.learn_manners(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if std::mem::replace(&mut entry.registering, call) != call {
            self.verify_subscriptions(now, id);
        }
        self.set_timer(id);
    }

    /// A connection ended: the devices on it can't be reached until they come back.
    pub fn connection_closed(&mut self, now: Now, connection: u64) {
        for id in self.by_connection.remove(&connection).unwrap_or_default() {
            self.unreachable(now, id, Cause::Disconnected);
        }
        for pending in self.pending.values_mut() {
            if let Pending::Register(grant) = pending {
                grant.session.online &= grant.session.flow.connection != connection;
            }
        }
    }

    /// How often a device is expected to show itself.
    fn interval(&self, id: &Id) -> Duration {
        let own = self.entries.get(id).and_then(|entry| entry.device.keepalive);
        own.map_or(self.settings.keepalive, |own| Duration::from_secs(own.interval.into()).max(MIN_INTERVAL))
    }

    /// After how much silence a device is offline.
    pub(super) fn silence(&self, id: &Id) -> Duration {
        let own = self.entries.get(id).and_then(|entry| entry.device.keepalive);
        let misses = own.map_or(self.settings.misses, |own| own.misses.max(1).into());
        self.interval(id).saturating_mul(misses)
    }

    pub(super) fn session_timeout(&mut self, now: Now, id: Id) {
        let silence = self.silence(&id);
        let Some(session) = self.entries.get(&id).and_then(|entry| entry.session.as_ref()) else { return };
        if session.expires_at <= now.instant {
            self.write(Write::EndRegistration { device: id, cause: Cause::Expired });
            self.end_session(now, id, Cause::Expired);
        } else if session.online && session.last_seen + silence <= now.instant {
            self.observe(now, &id, Rule::KeepaliveMissed, "");
            self.unreachable(now, id, Cause::Silent);
        }
    }

    /// A sign of life of a registered device: it is online, and this is the way to it.
    pub(super) fn seen(&mut self, now: Now, id: Id, flow: Flow) {
        let Some(session) = self.entries.get_mut(&id).and_then(|entry| entry.session.as_mut()) else {
            return;
        };
        session.last_seen = now.instant;
        self.actions.push_back(Action::Seen { device: id });
        let came_back = !session.online;
        // A device on UDP may send what is long over TCP (RFC 3261 18.1.1): that is no way back to it.
        let moved = flow != session.flow && flow.transport == session.flow.transport;
        if !(came_back || moved) {
            return;
        }
        session.online = true;
        session.record.route = flow.into();
        let old = std::mem::replace(&mut session.flow, flow);
        // Kept, for a restart; and in order with what was written of its absence.
        let record = session.record.clone();
        self.write(Write::PutRegistration(record));
        self.leave_connection(old.connection, &id);
        self.join_connection(flow.connection, id);
        if came_back {
            self.set_timer(id);
            self.greet(now, id, true);
            self.renew_subscriptions(now, id);
        }
    }

    /// A keepalive: which channels are faulty, and whether it came in time. `silent` is for how long nothing was
    /// heard of the device before.
    pub(super) fn keepalive(&mut self, now: Now, id: Id, body: &manscdp::Message, silent: Duration) {
        let interval = self.interval(&id);
        if silent > interval + interval / 2 {
            let (after, each) = (silent.as_secs(), interval.as_secs());
            self.observe(
                now,
                &id,
                Rule::KeepaliveTooLate,
                &format!("after {after} s, each {each} s expected"),
            );
        }
        if body.device_id.is_some_and(|about| about != id) {
            return;
        }
        // What it says of its own status was noted with the body.
        let keepalive = Keepalive::read(body);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.faulty == keepalive.faulty {
            return;
        }
        let before = std::mem::replace(&mut entry.faulty, keepalive.faulty);
        let status = |channel: &Id, status| Write::SetChannelStatus {
            device: id,
            channel: *channel,
            status,
            at: now.unix,
        };
        let mended = before.iter().filter(|channel| !entry.faulty.contains(channel));
        let broken = entry.faulty.iter().filter(|channel| !before.contains(channel));
        let writes: Vec<Write> = mended
            .map(|channel| status(channel, true))
            .chain(broken.map(|channel| status(channel, false)))
            .collect();
        if !writes.is_empty() {
            self.actions.push_back(Action::Write { token: None, writes });
        }
    }

    /// The device can't be reached any more, though its registration goes on.
    pub(super) fn unreachable(&mut self, now: Now, id: Id, cause: Cause) {
        if self.offline(now, id, cause) {
            self.write(Write::Offline { device: id, cause });
        }
    }

    /// Marks a device as offline; false if it was so already.
    fn offline(&mut self, now: Now, id: Id, cause: Cause) -> bool {
        let Some(session) = self.entries.get_mut(&id).and_then(|entry| entry.session.as_mut()) else {
            return false;
        };
        let was_online = std::mem::replace(&mut session.online, false);
        if was_online {
            self.actions.push_back(Action::Event(Event::Offline { device: id, cause }));
            self.end_sync(now, id, Err(Failure::Offline));
            self.end_asks(now, id, &Failure::Offline);
            self.suspend_subscriptions(id);
        }
        was_online
    }

    pub(super) fn end_session(&mut self, now: Now, id: Id, cause: Cause) {
        self.offline(now, id, cause);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.retry_at = None;
        if let Some(session) = entry.session.take() {
            self.leave_connection(session.flow.connection, &id);
        }
        self.set_timer(id);
    }

    pub(super) fn join_connection(&mut self, connection: u64, id: Id) {
        if connection != 0 {
            self.by_connection.entry(connection).or_default().insert(id);
        }
    }

    pub(super) fn leave_connection(&mut self, connection: u64, id: &Id) {
        if let Some(ids) = self.by_connection.get_mut(&connection) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }
}
