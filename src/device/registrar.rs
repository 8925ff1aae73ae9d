//! REGISTER: challenge, verification, grant, refresh and unregistration (clause 9.1, RFC 3261 sections 10 and 22).

use std::time::Duration;

use super::{Devices, Entry, Event, Failure, Pending, Session};
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
        let user = request.from().and_then(|from| from.user).or_else(|| request.to().and_then(|to| to.user));
        let Some(id) = user.and_then(|user| Id::parse(user).ok()) else {
            return self.respond(key, request.response(400));
        };
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
        let response = version(request, request.response(401)).with("WWW-Authenticate", challenge.to_string());
        self.respond(key, response);
    }

    /// The credentials are right: grant, keep, and answer once it is kept.
    fn accept(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message, id: Id) {
        let asked = request.expires().unwrap_or(DEFAULT_EXPIRES);
        if asked == 0 {
            let token = self.write_token(Pending::Unregister { device: id, key, request: request.clone() });
            let writes = vec![Write::EndRegistration { device: id, cause: Cause::Unregistered }];
            self.actions.push_back(Action::Write { token: Some(token), writes });
            return;
        }
        let granted = Duration::from_secs(asked.into()).clamp(self.settings.expires_min, self.settings.expires_max);
        let mut device = match self.entries.get(&id) {
            Some(entry) => entry.device.clone(),
            None => Device::new(id, AddedBy::Registration, now.unix),
        };
        let known = self.entries.contains_key(&id);
        let before = device.clone();
        device.transport = flow.transport;
        if let Some(edition) = request.header("X-GB-Ver").and_then(Edition::from_header) {
            device.edition = edition;
        }
        let expires_at_unix = UnixMillis(now.unix.0.saturating_add(granted.as_millis() as i64));
        let first = self.entries.get(&id).and_then(|entry| entry.session.as_ref()).map(|old| old.registered_at);
        let session = Session {
            flow,
            registered_at: first.unwrap_or(now.unix),
            expires_at: now.instant + granted,
            last_seen: now.instant,
            online: true,
        };
        let mut writes = Vec::with_capacity(2);
        if !known || device != before {
            writes.push(Write::PutDevice(device.clone()));
        }
        writes.push(Write::PutRegistration(Registration {
            device: id,
            route: flow.into(),
            contact: request.header("Contact").map(clip).unwrap_or_default().to_owned(),
            registered_at: session.registered_at,
            expires_at: expires_at_unix,
            keepalive: None,
        }));
        let request = request.clone();
        let token = self.write_token(Pending::Register { device, session: Box::new(session), key, request, granted });
        self.actions.push_back(Action::Write { token: Some(token), writes });
    }

    /// The registration is kept: it is in force, and the device may know.
    pub(super) fn registered(
        &mut self,
        now: Now,
        device: Device,
        session: Session,
        key: ServerKey,
        request: &Message,
        granted: Duration,
    ) {
        let (id, flow) = (device.id, session.flow);
        let entry = self.entries.entry(id).or_insert_with(|| Entry::new(device.clone()));
        entry.device = device;
        let old = entry.session.replace(session);
        if let Some(old) = &old {
            self.leave_connection(old.flow.connection, &id);
        }
        self.join_connection(flow.connection, id);
        self.set_timer(id);

        let mut response = version(request, request.response(200)).with("Expires", granted.as_secs().to_string());
        if let Some(contact) = request.header("Contact") {
            response = response.with("Contact", contact);
        }
        let date = match self.settings.date_header {
            DateHeader::Gb => Some(time::gb_date_time(now.unix, self.settings.offset)),
            DateHeader::Rfc1123 => Some(time::rfc1123(now.unix)),
            DateHeader::Off => None,
        };
        if let Some(date) = date {
            response = response.with("Date", date);
        }
        self.respond(key, response);

        let was_online = old.is_some_and(|old| old.online);
        self.greet(now, id, was_online);
    }

    pub(super) fn unregistered(&mut self, now: Now, id: Id, key: ServerKey, request: &Message) {
        let response = version(request, request.response(200)).with("Expires", "0");
        self.respond(key, response);
        self.end_sync(now, id, Err(Failure::Offline));
        self.end_session(id, Cause::Unregistered);
    }

    pub(super) fn auth_failed(&mut self, device: Option<Id>, reason: &'static str) {
        self.actions.push_back(Action::Event(Event::AuthFailed { device, reason }));
    }
}

/// A peer that says which edition it speaks is told ours (annex I of 2022); others never see the header.
fn version(request: &Message, response: Message) -> Message {
    match request.header("X-GB-Ver") {
        Some(_) => response.with("X-GB-Ver", Edition::E2022.header()),
        None => response,
    }
}
