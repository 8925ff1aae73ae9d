//! Subscriptions: what the platform wants to be told of, and telling it.

use std::time::{Duration, Instant};

use super::commands::number;
use super::{Device, Purpose};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, Edition};
use crate::gb::time::Now;
use crate::simulator::quirks::Quirk;
use crate::sip::{Dialog, Message, Method, ServerKey};

/// Subscriptions at once.
const MAX_SUBSCRIPTIONS: usize = 32;
/// Seconds granted to one that names none, and at most.
const EXPIRES: u32 = 3_600;
const MAX_EXPIRES: u32 = 604_800;
/// How long those with [`Quirk::ShortSubscriptions`] remember.
const SHORT: Duration = Duration::from_secs(5);
/// Seconds between two positions, where the subscriber does not say.
const INTERVAL: u64 = 5;

/// What one subscriber wants.
pub(super) struct Subscription {
    number: u64,
    dialog: Dialog,
    /// The Event header, to be repeated in each NOTIFY.
    event: String,
    command: String,
    target: Id,
    expires_at: Instant,
    /// Of a position: how often, and when next.
    interval: Duration,
    next_at: Option<Instant>,
}

impl Device {
    pub(super) fn subscribe(&mut self, now: Now, key: ServerKey, request: &Message) {
        let response = match self.subscribed(now, request) {
            Ok(number) => {
                let seconds = self.granted(number, now);
                let contact = self.contact();
                let tag =
                    self.subscription(number).map(|own| own.dialog.local_tag.clone()).unwrap_or_default();
                let response = request.response(200).with_to_tag(&tag);
                let response = response.with("Contact", contact).with("Expires", seconds.to_string());
                self.transactions.respond(now.instant, key, response);
                return self.tell_subscriber(now, number, seconds);
            }
            Err(code) => request.response(code),
        };
        self.transactions.respond(now.instant, key, response);
    }

    /// Makes or renews a subscription.
    fn subscribed(&mut self, now: Now, request: &Message) -> Result<u64, u16> {
        if self.settings.has(Quirk::NoSubscriptions) {
            return Err(489);
        }
        let seconds = request.expires().unwrap_or(EXPIRES).min(MAX_EXPIRES);
        let expires_at = now.instant + Duration::from_secs(seconds.into());
        let old = self.subscriptions.iter_mut().find(|own| own.dialog.matches(request));
        if let Some(old) = old {
            if !old.dialog.receive(request) {
                return Err(500);
            }
            old.expires_at = expires_at;
            return Ok(old.number);
        }
        if request.to_tag().is_some() {
            return Err(481);
        }
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(503);
        }
        let body = manscdp::parse(&request.body, &mut self.history).map_err(|_| 400u16)?;
        let known = match body.cmd.as_str() {
            "Catalog" | "Alarm" => true,
            "MobilePosition" => self.settings.edition >= Edition::E2016,
            "PTZPosition" => self.settings.edition >= Edition::E2022,
            _ => false,
        };
        if !known {
            return Err(489);
        }
        let tag = self.tokens.tag();
        let dialog = Dialog::uas(request, &request.response(200).with_to_tag(&tag)).ok_or(400u16)?;
        let seconds = number(&body.body, "Interval").unwrap_or(INTERVAL).max(1);
        self.subscribers += 1;
        self.subscriptions.push(Subscription {
            number: self.subscribers,
            dialog,
            event: request.header("Event").unwrap_or("presence").to_owned(),
            target: body.device_id.unwrap_or(self.id),
            expires_at,
            interval: Duration::from_secs(seconds),
            next_at: (body.cmd == "MobilePosition").then(|| now.instant + Duration::from_secs(seconds)),
            command: body.cmd,
        });
        Ok(self.subscribers)
    }

    fn subscription(&mut self, number: u64) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|own| own.number == number)
    }

    fn granted(&mut self, number: u64, now: Now) -> u64 {
        let left = |own: &mut Subscription| own.expires_at.saturating_duration_since(now.instant).as_secs();
        self.subscription(number).map(left).unwrap_or(0)
    }

    /// What a subscriber is told at once: how things stand, or that this was the end.
    fn tell_subscriber(&mut self, now: Now, number: u64, seconds: u64) {
        if seconds == 0 {
            self.notify_one(now, number, None, "terminated;reason=deactivated");
            self.subscriptions.retain(|own| own.number != number);
            return;
        }
        if self.settings.has(Quirk::ShortSubscriptions)
            && let Some(own) = self.subscription(number)
        {
            own.expires_at = now.instant + SHORT;
        }
        let Some((command, target)) = self.subscription(number).map(|own| (own.command.clone(), own.target))
        else {
            return;
        };
        let text = match command.as_str() {
            "Catalog" => Some(self.abnormal()),
            "MobilePosition" => Some(self.position(now, target)),
            "PTZPosition" => Some(self.view_notify(now, target)),
            _ => None,
        };
        self.notify_one(now, number, text.as_deref(), "");
    }

    /// Tells all who subscribed to this. `false` if nobody did.
    pub(super) fn notify(&mut self, now: Now, command: &str, text: &str) -> bool {
        if self.settings.has(Quirk::MessageNotify) {
            self.announce(now, text);
            return true;
        }
        let wanting = |own: &&Subscription| own.command == command;
        let numbers: Vec<u64> = self.subscriptions.iter().filter(wanting).map(|own| own.number).collect();
        for number in &numbers {
            self.notify_one(now, *number, Some(text), "");
        }
        !numbers.is_empty()
    }

    fn notify_one(&mut self, now: Now, number: u64, text: Option<&str>, state: &str) {
        let body = text.map(|text| self.document(text));
        let seconds = self.granted(number, now);
        let contact = self.contact();
        let Some(own) = self.subscription(number) else { return };
        let state = match state {
            "" => format!("active;expires={seconds};retry-after=0"),
            state => state.to_owned(),
        };
        let mut request = own
            .dialog
            .request(Method::Notify)
            .with("Event", own.event.as_str())
            .with("Subscription-State", state)
            .with("Contact", contact);
        if let Some(body) = body {
            request = request.with_body(manscdp::CONTENT_TYPE, body);
        }
        self.request_out(now, request, Purpose::Notify(number));
    }

    /// The subscriber did not take a NOTIFY: it knows the subscription no more, or is gone.
    pub(super) fn notify_answered(&mut self, number: u64, code: Option<u16>) {
        if code.is_none_or(|code| code == 481) {
            self.subscriptions.retain(|own| own.number != number);
        }
    }

    pub(super) fn subscription_due(&self) -> Option<Instant> {
        let ends = self.subscriptions.iter().map(|own| own.expires_at);
        ends.chain(self.subscriptions.iter().filter_map(|own| own.next_at)).min()
    }

    pub(super) fn subscription_timeout(&mut self, now: Now) {
        let over = |own: &&Subscription| own.expires_at <= now.instant;
        let ended: Vec<u64> = self.subscriptions.iter().filter(over).map(|own| own.number).collect();
        for number in ended {
            if !self.settings.has(Quirk::ShortSubscriptions) {
                self.notify_one(now, number, None, "terminated;reason=timeout");
            }
            self.subscriptions.retain(|own| own.number != number);
        }
        let mut due = Vec::new();
        for own in &mut self.subscriptions {
            if own.next_at.is_some_and(|at| at <= now.instant) {
                own.next_at = Some(now.instant + own.interval);
                due.push((own.number, own.target));
            }
        }
        for (number, target) in due {
            let text = self.position(now, target);
            self.notify_one(now, number, Some(&text), "");
        }
    }
}
