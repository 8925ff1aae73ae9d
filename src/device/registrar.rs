//! REGISTER: challenge, verification, grant, refresh and unregistration (clause 9.1, RFC 3261 sections 10 and 22).

use std::time::Duration;

use super::{Devices, Entry, Event, Grant, Pending, Session};
use crate::device::types::{Action, DateHeader};
use crate::gb::id::Id;
use crate::gb::manscdp::Edition;
use crate::gb::time::{self, Now, UnixMillis};
use crate::registry::{AddedBy, Cause, Device, Registration, Write, clip};
use crate::sip::digest::{self, Challenge, Credentials, Verdict};
use crate::sip::{Flow, Message, Method, ServerKey};

/// What a device that names no expiry gets (clause 9.1.1 has 86,400 s as its default; an hour notices more).
const DEFAULT_EXPIRES: u32 = 3_600;

impl Devices {
    pub(super) fn register(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message) {
        let Some(id) = request.from().and_then(|from| from.user).and_then(|user| Id::parse(user).ok()) else {
            return self.respond(key, request.response(400));
        };
        if id == self.settings.platform {
            // Most likely a platform that was given our id by mistake; it would answer for us.
            self.auth_failed(Some(id), "own_id");
            return self.respond(key, request.response(403));
        }
        let known = self.entries.get(&id).map(|entry| &entry.device);
        let own = known.and_then(|device| device.password.as_ref()).map(|own| own.reveal().to_owned());
        let Some(password) = own.or_else(|| self.settings.password.clone()) else {
            self.auth_failed(Some(id), if known.is_some() { "no_password" } else { "unknown_device" });
            return self.respond(key, request.response(403));
        };
        // A nonce is good for this device at this address only.
        let bind = format!("{id}@{}", flow.remote.ip());
        let Some(header) = request.header("Authorization") else {
            return self.challenge(now, key, request, &bind, false);
        };
        let verdict = match Credentials::parse(header) {
            Ok(credentials) => {
                let (method, realm) = (Method::Register.as_str(), self.settings.domain.as_str());
                digest::verify(&mut self.nonces, now.instant, &bind, method, realm, &password, &credentials)
            }
            Err(_) => Verdict::Unsupported,
        };
        match verdict {
            Verdict::Accepted => self.accept(now, key, flow, request, id),
            Verdict::Stale => self.challenge(now, key, request, &bind, true),
            Verdict::Wrong => {
                self.auth_failed(Some(id), "wrong_password");
                self.respond(key, request.response(403));
            }
            Verdict::Unsupported => {
                self.auth_failed(Some(id), "unsupported");
                self.challenge(now, key, request, &bind, false);
            }
        }
    }

    fn challenge(&mut self, now: Now, key: ServerKey, request: &Message, bind: &str, stale: bool) {
        let realm = &self.settings.domain;
        let nonce = self.nonces.issue(now.instant, realm, bind);
        let challenge = Challenge::new(realm, nonce, stale);
        let response =
            version(request, request.response(401)).with("WWW-Authenticate", challenge.to_string());
        self.respond(key, response);
    }

    /// The credentials are right: grant, keep, and answer once it is kept.
    fn accept(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message, id: Id) {
        let asked = request.expires().unwrap_or(DEFAULT_EXPIRES);
        if asked == 0 {
            let token =
                self.write_token(Pending::Unregister { device: id, key, request: Box::new(request.clone()) });
            let writes = vec![Write::EndRegistration { device: id, cause: Cause::Unregistered }];
            self.actions.push_back(Action::Write { token: Some(token), writes });
            return;
        }
        if request.header("Contact").is_some_and(|contact| contact.trim() == "*") {
            // Everything is ended by Expires 0 alone (RFC 3261 10.2.2).
            return self.respond(key, request.response(400));
        }
        // RFC 3261 has 423 for what is too short (10.3). Devices do not understand it and would stay away for good;
        // told a longer time than they asked for, they refresh as they would have.
        let asked = Duration::from_secs(asked.into());
        let lifetime = asked.clamp(self.settings.expires_min, self.settings.expires_max);
        let known = self.entries.get(&id);
        let before = known.map(|entry| &entry.device);
        let mut device = before.cloned().unwrap_or_else(|| Device::new(id, AddedBy::Registration, now.unix));
        learn(&mut device, flow, request);
        let first = known.and_then(|entry| entry.session.as_ref()).map(|old| old.record.registered_at);
        let record = Registration {
            device: id,
            route: flow.into(),
            contact: request.contact().map(|contact| clip(contact.uri)).unwrap_or_default().to_owned(),
            registered_at: first.unwrap_or(now.unix),
            expires_at: UnixMillis(now.unix.0.saturating_add(lifetime.as_millis() as i64)),
            keepalive: None,
        };
        let mut writes = Vec::with_capacity(2);
        if before != Some(&device) {
            writes.push(Write::PutDevice(device.clone()));
        }
        writes.push(Write::PutRegistration(record.clone()));
        let new = known.is_none().then_some(device);
        let session = Session {
            record,
            flow,
            expires_at: now.instant + lifetime,
            last_seen: now.instant,
            online: true,
        };
        let grant = Grant { new, session, key, request: request.clone(), lifetime };
        let token = self.write_token(Pending::Register(Box::new(grant)));
        self.actions.push_back(Action::Write { token: Some(token), writes });
    }

    /// The registration is kept: it is in force, and the device may know.
    pub(super) fn registered(&mut self, now: Now, grant: Grant) {
        let Grant { new, session, key, request, lifetime } = grant;
        let (id, flow, connected) = (session.record.device, session.flow, session.online);
        if let Some(device) = new {
            self.entries.entry(id).or_insert_with(|| Entry::new(device));
        }
        // It may have been removed meanwhile; it registers anew as the stranger that it is then.
        let Some(entry) = self.entries.get_mut(&id) else { return self.unavailable(key, &request) };
        // What was learnt meanwhile stays.
        learn(&mut entry.device, flow, &request);
        let old = entry.session.replace(Session { online: true, ..session });
        if let Some(old) = &old {
            self.leave_connection(old.flow.connection, &id);
        }
        self.join_connection(flow.connection, id);
        self.set_timer(id);
        self.respond(key, self.welcome(now, &request, lifetime));
        if connected {
            self.actions.push_back(Action::Seen { device: id });
            self.greet(now, id, old.is_some_and(|old| old.online));
        } else {
            self.leave_connection(flow.connection, &id);
            self.unreachable(now, id, Cause::Disconnected);
        }
    }

    /// The 200 of a registration.
    fn welcome(&self, now: Now, request: &Message, lifetime: Duration) -> Message {
        let seconds = lifetime.as_secs();
        let mut response = version(request, request.response(200)).with("Expires", seconds.to_string());
        if let Some(contact) = request.contact() {
            response = response.with("Contact", format!("<{}>;expires={seconds}", contact.uri));
        }
        let date = match self.settings.date_header {
            DateHeader::Gb => Some(time::gb_date_time(now.unix, self.settings.offset)),
            DateHeader::Rfc1123 => Some(time::rfc1123(now.unix)),
            DateHeader::Off => None,
        };
        match date {
            Some(date) => response.with("Date", date),
            None => response,
        }
    }

    pub(super) fn unregistered(&mut self, now: Now, id: Id, key: ServerKey, request: &Message) {
        let response = version(request, request.response(200)).with("Expires", "0");
        self.respond(key, response);
        self.end_session(now, id, Cause::Unregistered);
    }

    pub(super) fn auth_failed(&mut self, device: Option<Id>, reason: &'static str) {
        self.actions.push_back(Action::Event(Event::AuthFailed { device, reason }));
    }
}

/// Takes note of what a REGISTER tells of its device.
fn learn(device: &mut Device, flow: Flow, request: &Message) {
    device.transport = flow.transport;
    if let Some(edition) = request.header("X-GB-Ver").and_then(Edition::from_header) {
        device.edition = edition;
    }
}

/// A peer that says which edition it speaks is told ours (annex I of 2022); others never see the header.
fn version(request: &Message, response: Message) -> Message {
    match request.header("X-GB-Ver") {
        Some(_) => response.with("X-GB-Ver", Edition::E2022.header()),
        None => response,
    }
}
