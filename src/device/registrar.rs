//! REGISTER: challenge, verification, grant, refresh and unregistration (clause 9.1, RFC 3261 sections 10 and 22).

use std::time::Duration;

use super::{Devices, Entry, Event, Grant, Pending, Session};
use crate::device::types::{Action, DateHeader};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::Edition;
use crate::gb::time::{self, Now, UnixMillis};
use crate::registry::{AddedBy, Cause, Device, Registration, Write, clip, profile};
use crate::sip::digest::{self, Challenge, Credentials, Demand, Verdict};
use crate::sip::message::Uri;
use crate::sip::{Departure, Flow, Message, Method, ServerKey, Transport};

/// What a device that names no expiry gets (clause 9.1.1 has 86,400 s as its default; an hour notices more).
const DEFAULT_EXPIRES: u32 = 3_600;
/// A registration must not be asked for a shorter time than this (clause 9.1.1), in seconds.
const SHORTEST_EXPIRES: u32 = 3_600;

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
        let own = known.and_then(|device| device.password.as_ref()).map(|own| own.reveal());
        let Some(password) = own.or(self.settings.password.as_deref()) else {
            let reason = if known.is_some() { "no_password" } else { "unknown_device" };
            self.auth_failed(Some(id), reason);
            return self.respond(key, request.response(403));
        };
        // A nonce is good for this device at this address only.
        let bind = format!("{id}@{}", flow.remote.ip());
        let Some(header) = request.header("Authorization") else {
            return self.challenge(now, key, request, id, &bind, false);
        };
        let Ok(credentials) = Credentials::parse(header) else {
            self.auth_failed(Some(id), "unsupported");
            return self.challenge(now, key, request, id, &bind, false);
        };
        let demand = Demand {
            algorithm: self.manners(&id).digest,
            method: Method::Register.as_str(),
            realm: &self.settings.domain,
            bind: &bind,
            password,
        };
        match digest::verify(&mut self.nonces, now.instant, &demand, &credentials) {
            Verdict::Accepted => self.accept(now, key, flow, request, id),
            Verdict::Stale => {
                // With a count, a nonce may be used again until it is too old.
                if credentials.qop.is_none() {
                    // Not its answer: from that the password could be guessed.
                    self.observe(now, &id, Rule::NonceReused, &format!("nonce {}", credentials.nonce));
                }
                self.challenge(now, key, request, id, &bind, true);
            }
            Verdict::Wrong => {
                self.auth_failed(Some(id), "wrong_password");
                self.respond(key, request.response(403));
            }
            Verdict::Unsupported => {
                self.auth_failed(Some(id), "unsupported");
                self.challenge(now, key, request, id, &bind, false);
            }
        }
    }

    fn challenge(&mut self, now: Now, key: ServerKey, request: &Message, id: Id, bind: &str, stale: bool) {
        let realm = &self.settings.domain;
        let nonce = self.nonces.issue(now.instant, realm, bind);
        let algorithm = Some(self.manners(&id).digest);
        let challenge = Challenge { algorithm, ..Challenge::new(realm, nonce, stale) };
        let response = version(request, request.response(401)).with_display("WWW-Authenticate", &challenge);
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
        if let Some(response) = self.redirection(id, request, lifetime) {
            return self.respond(key, response);
        }
        let known = self.entries.get(&id);
        let told = Told::by(flow, request);
        let device = match known.map(|entry| &entry.device) {
            Some(device) if told.is_known(device) => None,
            device => {
                let new = || Device::new(id, AddedBy::Registration, now.unix);
                let mut device = device.cloned().unwrap_or_else(new);
                told.note(&mut device);
                Some(device)
            }
        };
        let first = known.and_then(|entry| entry.session.as_ref()).map(|old| old.record.registered_at);
        let record = Registration {
            device: id,
            route: flow.into(),
            contact: request.contact().map(|contact| clip(contact.uri)).unwrap_or_default().to_owned(),
            registered_at: first.unwrap_or(now.unix),
            expires_at: UnixMillis(now.unix.0.saturating_add(lifetime.as_millis() as i64)),
            keepalive: None,
        };
        let new = device.clone().filter(|_| known.is_none());
        let mut writes = Vec::with_capacity(1 + usize::from(device.is_some()));
        writes.extend(device.map(Write::PutDevice));
        writes.push(Write::PutRegistration(record.clone()));
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
            self.entries.entry(id).or_insert_with(|| Box::new(Entry::new(device)));
        }
        // It may have been removed meanwhile; it registers anew as the stranger that it is then.
        let Some(entry) = self.entries.get_mut(&id) else { return self.unavailable(key, &request) };
        // What was learnt meanwhile stays.
        Told::by(flow, &request).note(&mut entry.device);
        let old = entry.session.replace(Session { online: true, ..session });
        if let Some(old) = &old {
            self.leave_connection(old.flow.connection, &id);
        }
        self.join_connection(flow.connection, id);
        self.set_timer(id);
        if old.is_none() {
            // Once, when it comes: what refreshes a registration looks the same.
            self.examine(now, &id, &request);
        }
        self.respond(key, self.welcome(now, id, &request, lifetime));
        if connected {
            self.actions.push_back(Action::Seen { device: id });
            self.greet(now, id, old.is_some_and(|old| old.online));
        } else {
            self.leave_connection(flow.connection, &id);
            self.unreachable(now, id, Cause::Disconnected);
        }
    }

    /// The 302 that sends a device to another platform (clause 9.1.2.3 of 2022). `None` where it is to stay, and for
    /// one that does not say that it follows that edition: others ignore a 302 and would stay away for good.
    fn redirection(&self, id: Id, request: &Message, lifetime: Duration) -> Option<Message> {
        let own = self.entries.get(&id).and_then(|entry| entry.device.redirect.as_deref());
        let to = own.or(self.settings.redirect.as_deref())?;
        let edition = request.header("X-GB-Ver").and_then(Edition::from_header)?;
        // To send it to ourselves would send it round in circles.
        let here = Uri::parse(to)?.user == Some(self.settings.platform.as_str());
        (edition >= Edition::E2022 && !here).then(|| {
            version(request, request.response(302))
                .with_display("Contact", format_args!("<{to}>"))
                .with_display("Expires", lifetime.as_secs())
        })
    }

    /// Takes note of what departs from the standard in a REGISTER whose sender is known for sure.
    fn examine(&mut self, now: Now, id: &Id, request: &Message) {
        for departure in request.departures() {
            let rule = match departure {
                Departure::ContentLength => Rule::SipContentLengthWrong,
                Departure::Header => Rule::SipHeaderMalformed,
                Departure::NoRport => Rule::NoRport,
                Departure::NoMaxForwards | Departure::NoTag | Departure::Branch => Rule::SipHeaderMissing,
            };
            self.observe(now, id, rule, departure.as_str());
        }
        let to = request.to().and_then(|to| to.user).unwrap_or_default();
        if to.trim() != id.as_str() {
            self.observe(now, id, Rule::RegisterFromToDiffer, &format!("To: {to}"));
        }
        let asked = request.expires().unwrap_or(DEFAULT_EXPIRES);
        if asked < SHORTEST_EXPIRES {
            self.observe(now, id, Rule::RegisterExpiresTooShort, &format!("Expires: {asked}"));
        }
        if let Some(told) = request.header("X-GB-Ver").filter(|told| Edition::from_header(told).is_none()) {
            self.observe(now, id, Rule::EditionUnknown, told);
        }
    }

    /// The 200 of a registration.
    fn welcome(&self, now: Now, id: Id, request: &Message, lifetime: Duration) -> Message {
        let seconds = lifetime.as_secs();
        let mut response = version(request, request.response(200)).with_display("Expires", seconds);
        if let Some(contact) = request.contact() {
            response = response.with_display("Contact", format_args!("<{}>;expires={seconds}", contact.uri));
        }
        let form = match self.manners(&id).date_header {
            Some(profile::DateHeader::Gb) => DateHeader::Gb,
            Some(profile::DateHeader::Rfc1123) => DateHeader::Rfc1123,
            Some(profile::DateHeader::Off) => DateHeader::Off,
            None => self.settings.date_header,
        };
        let date = match form {
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

/// What a REGISTER tells of its device.
struct Told<'a> {
    transport: Transport,
    edition: Option<Edition>,
    user_agent: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn by(flow: Flow, request: &'a Message) -> Told<'a> {
        Told {
            transport: flow.transport,
            edition: request.header("X-GB-Ver").and_then(Edition::from_header),
            user_agent: request.header("User-Agent").map(clip).filter(|agent| !agent.is_empty()),
        }
    }

    /// Whether all of it is known. What it does not tell stays as it was.
    fn is_known(&self, device: &Device) -> bool {
        device.transport == self.transport
            && self.edition.is_none_or(|edition| device.edition_told && device.edition == edition)
            && self.user_agent.is_none_or(|agent| device.user_agent.as_deref() == Some(agent))
    }

    fn note(&self, device: &mut Device) {
        if self.is_known(device) {
            return;
        }
        device.transport = self.transport;
        if let Some(edition) = self.edition {
            (device.edition, device.edition_told) = (edition, true);
        }
        if let Some(agent) = self.user_agent {
            device.user_agent = Some(agent.to_owned());
        }
    }
}

/// A peer that says which edition it speaks is told ours (annex I of 2022); others never see the header.
fn version(request: &Message, response: Message) -> Message {
    match request.header("X-GB-Ver") {
        Some(_) => response.with("X-GB-Ver", Edition::E2022.header()),
        None => response,
    }
}
