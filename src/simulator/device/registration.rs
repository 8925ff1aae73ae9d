//! Registration, keepalives, redirection, reboot.

use std::time::{Duration, Instant};

use super::{Device, Output, Purpose};
use crate::gb::id::Id;
use crate::gb::manscdp::{Edition, write};
use crate::gb::time::Now;
use crate::simulator::quirks::Quirk;
use crate::simulator::settings::Settings;
use crate::sip::digest::{self, Algorithm, Challenge};
use crate::sip::message::Uri;
use crate::sip::{Message, Method};

/// How long to wait after a registration that failed.
const RETRY: Duration = Duration::from_secs(3);
/// Keepalives without an answer after which the platform counts as gone.
const MISSES: u32 = 3;
/// Challenges that one attempt to register answers: the first, and one that calls its nonce stale.
const ANSWERS: u32 = 2;
/// How long a device is gone that was told to boot.
const REBOOT: Duration = Duration::from_secs(2);

/// The standing with the platform.
pub(super) struct Registration {
    pub(super) registered: bool,
    pub(super) leaving: bool,
    pub(super) keepalive: Duration,
    pub(super) expires: u32,
    /// Who is registered with: the platform, or whom it redirected to.
    pub(super) server_id: Id,
    away: bool,
    call_id: String,
    cseq: u32,
    misses: u32,
    register_at: Option<Instant>,
    keepalive_at: Option<Instant>,
    /// When one that boots is back.
    back_at: Option<Instant>,
    challenge: Option<Challenge>,
}

impl Registration {
    pub(super) fn new(settings: &Settings, call_id: String, begin: Instant) -> Registration {
        Registration {
            registered: false,
            leaving: false,
            keepalive: settings.keepalive,
            expires: settings.expires,
            server_id: settings.server_id,
            away: false,
            call_id,
            cseq: 0,
            misses: 0,
            register_at: Some(begin),
            keepalive_at: None,
            back_at: None,
            challenge: None,
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.register_at, self.keepalive_at].into_iter().flatten().min()
    }
}

impl Device {
    /// Takes leave: unregisters.
    pub fn leave(&mut self, now: Now) {
        self.registration.leaving = true;
        self.registration.keepalive_at = None;
        self.registration.register_at = None;
        self.register(now, None, 0, 0);
        self.settle(now);
    }

    /// The way to the platform is another: a new connection, or a new platform.
    pub fn reconnected(&mut self, now: Now, flow: crate::sip::Flow) {
        self.transactions.connection_closed(now.instant, self.flow.connection);
        self.flow = flow;
        self.set_registered(false);
        // One that boots is not back yet.
        let back_at = self.registration.back_at.unwrap_or(now.instant);
        self.registration.register_at = Some(back_at.max(now.instant));
        self.settle(now);
    }

    pub(super) fn registration_timeout(&mut self, now: Now) {
        if self.registration.register_at.is_some_and(|at| at <= now.instant) {
            self.registration.register_at = None;
            let old = self.registration.challenge.clone().filter(|_| self.settings.has(Quirk::OldNonce));
            self.register(now, old, self.registration.expires, 0);
        }
        if self.registration.keepalive_at.is_some_and(|at| at <= now.instant) {
            self.registration.keepalive_at = Some(now.instant + self.registration.keepalive);
            if self.registration.registered && !self.settings.has(Quirk::Silent) {
                self.keepalive(now);
            }
        }
    }

    /// Says that the device is there.
    fn keepalive(&mut self, now: Now) {
        let sn = self.next_sn();
        let faulty: Vec<Id> =
            self.settings.has(Quirk::FaultyChild).then(|| self.population.channel(0)).into_iter().collect();
        let body = write::keepalive(sn, &self.id, &faulty);
        self.message(now, &body, Purpose::Keepalive);
        if self.settings.has(Quirk::Padding) && !self.flow.transport.is_reliable() {
            for padding in [&b"\r\n\r\n"[..], b"\0\0\0\0"] {
                let bytes = bytes::Bytes::from_static(padding);
                self.outputs.push_back(Output::Send { flow: self.flow, bytes });
            }
        }
        if self.settings.has(Quirk::RegisterOften) {
            self.registration.register_at = Some(now.instant);
        }
    }

    /// What the platform answered to REGISTER.
    pub(super) fn register_answered(
        &mut self,
        now: Now,
        answered: u32,
        expires: u32,
        code: u16,
        answer: &Message,
    ) {
        let challenge = || answer.header("WWW-Authenticate").and_then(|value| Challenge::parse(value).ok());
        match code {
            401 if answered < ANSWERS => match challenge().filter(|new| answered == 0 || new.stale) {
                Some(challenge) => {
                    self.registration.challenge = Some(challenge.clone());
                    self.register(now, Some(challenge), expires, answered + 1);
                }
                None => self.refused(now, Some(code)),
            },
            200 if expires == 0 => self.set_registered(false),
            200 => self.accepted(now, answer),
            // Editions before 2022 know no redirection.
            302 if self.settings.edition == Edition::E2022 && !self.registration.away => {
                self.redirected(now, answer);
            }
            _ if expires == 0 => self.set_registered(false),
            _ => self.refused(now, Some(code)),
        }
    }

    fn accepted(&mut self, now: Now, answer: &Message) {
        let registration = &mut self.registration;
        registration.misses = 0;
        let granted = Duration::from_secs(answer.expires().unwrap_or(registration.expires).into());
        registration.register_at = Some(now.instant + granted * 4 / 5);
        registration.keepalive_at = Some(now.instant + registration.keepalive);
        self.set_registered(true);
        self.report_upgrade(now);
    }

    /// 9.1.2.3 of 2022: registers with whom the Contact names, and comes back where that fails.
    fn redirected(&mut self, now: Now, answer: &Message) {
        let contact = answer.contact();
        let to = contact.and_then(|contact| Uri::parse(contact.uri)?.socket_addr());
        let user = contact.and_then(|contact| Id::parse(contact.user?).ok());
        let Some(to) = to else { return self.refused(now, Some(302)) };
        self.registration.away = true;
        if let Some(user) = user {
            self.registration.server_id = user;
        }
        self.outputs.push_back(Output::Move { to: Some(to) });
    }

    pub(super) fn refused(&mut self, now: Now, code: Option<u16>) {
        self.set_registered(false);
        self.outputs.push_back(Output::Refused(code));
        if self.registration.leaving {
            return;
        }
        self.registration.register_at = Some(now.instant + RETRY);
        self.come_home();
    }

    /// Goes back to the platform that redirected.
    fn come_home(&mut self) {
        if std::mem::take(&mut self.registration.away) {
            self.registration.server_id = self.settings.server_id;
            self.outputs.push_back(Output::Move { to: None });
        }
    }

    /// The keepalive was answered, with 200 or another code, or not at all.
    pub(super) fn keepalive_answered(&mut self, now: Now, code: Option<u16>) {
        match code {
            Some(200) => self.registration.misses = 0,
            _ if self.settings.has(Quirk::NoReregister) => {}
            // The platform does not know us any more.
            Some(_) => self.registration.register_at = Some(now.instant),
            None => {
                self.registration.misses += 1;
                if self.registration.misses >= MISSES {
                    self.registration.register_at = Some(now.instant);
                    self.come_home();
                }
            }
        }
    }

    /// Falls silent, forgets its calls and subscriptions, and registers again.
    pub(super) fn reboot(&mut self, now: Now) {
        self.drop_calls();
        self.subscriptions.clear();
        self.purposes.clear();
        self.pages.clear();
        self.set_registered(false);
        let call_id = self.tokens.call_id(&self.flow.local.ip().to_string());
        let registration = &mut self.registration;
        (registration.call_id, registration.cseq, registration.challenge) = (call_id, 0, None);
        registration.keepalive_at = None;
        registration.back_at = Some(now.instant + REBOOT);
        registration.register_at = registration.back_at;
        self.outputs.push_back(Output::HangUp);
    }

    /// Registers anew without having been gone, as after a change of its configuration.
    pub(super) fn register_soon(&mut self, now: Now) {
        self.registration.register_at = Some(now.instant);
    }

    fn set_registered(&mut self, registered: bool) {
        if self.registration.registered != registered || self.registration.leaving {
            self.registration.registered = registered;
            self.outputs.push_back(Output::Registered(registered));
        }
    }

    fn register(&mut self, now: Now, challenge: Option<Challenge>, expires: u32, answered: u32) {
        self.registration.cseq += 1;
        let uri = format!("sip:{}@{}", self.registration.server_id, self.settings.domain);
        let own = format!("<sip:{}@{}>", self.id, self.settings.domain);
        let mut contact = self.contact();
        if self.settings.has(Quirk::ExpiresInContact) {
            contact.push_str(&format!(";expires={expires}"));
        }
        let mut request = Message::request(Method::Register, &uri)
            .with("From", format!("{own};tag={}", self.tokens.tag()))
            .with("To", own)
            .with("Call-ID", self.registration.call_id.clone())
            .with("CSeq", format!("{} REGISTER", self.registration.cseq))
            .with("Contact", contact)
            .with("Max-Forwards", "70")
            .with("User-Agent", concat!("gbgate-simulator/", env!("CARGO_PKG_VERSION")));
        if self.settings.edition == Edition::E2022 {
            request = request.with("X-GB-Ver", Edition::E2022.header());
        }
        if !self.settings.has(Quirk::ExpiresInContact) {
            request = request.with("Expires", expires.to_string());
        }
        if let Some(credentials) = challenge.and_then(|challenge| self.credentials(&challenge, &uri)) {
            request = request.with("Authorization", credentials);
        }
        let key = self.transactions.request(now.instant, self.flow, request);
        self.purposes.insert(key, Purpose::Register { answered, expires });
    }

    fn credentials(&mut self, challenge: &Challenge, uri: &str) -> Option<String> {
        if self.settings.has(Quirk::Md5Only) && challenge.algorithm != Some(Algorithm::Md5) {
            return None;
        }
        let wrong = self.settings.has(Quirk::WrongPassword);
        let password = if wrong { "not the password" } else { &self.settings.password };
        let cnonce = self.tokens.tag();
        let method = Method::Register.as_str();
        digest::answer(challenge, method, uri, self.id.as_str(), password, 1, &cnonce)
    }

    /// The value of a Contact header.
    pub(super) fn contact(&self) -> String {
        let mut local = self.flow.local;
        if self.settings.has(Quirk::NatContact) {
            local.set_ip([10, 255, 255, 254].into());
        }
        format!("<sip:{}@{local}>", self.id)
    }
}
