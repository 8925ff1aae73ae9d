//! NOTIFY (RFC 6665): which subscription it is of, whether it comes in order, and what it says of the subscription.
//! What its body says is the inbox's business.

use std::time::Duration;

use super::inbox::Reply;
use super::subscription::entry_of;
use super::{Devices, SubscriptionState as State, Topic};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::time::Now;
use crate::sip::{Flow, Message, ServerKey};

/// Notifies in a row that are older than one before, after which the device must have begun to count anew.
const MAX_LATE: u8 = 3;
/// A device that ends a subscription is asked again after this at the earliest.
const RENEW_AFTER: Duration = Duration::from_secs(1);
/// The longest `retry-after` that is heeded, in seconds.
const MAX_RETRY_AFTER: u32 = 3_600;

/// What the header Subscription-State says (RFC 6665 8.2.3).
struct Told {
    terminated: bool,
    expires: Option<u32>,
    retry_after: Option<u32>,
    reason: String,
}

impl Told {
    fn read(notify: &Message) -> Told {
        let text = notify.header("Subscription-State").unwrap_or_default();
        let mut parts = text.split(';').map(str::trim);
        let terminated = parts.next().is_some_and(|state| state.eq_ignore_ascii_case("terminated"));
        let mut told = Told { terminated, expires: None, retry_after: None, reason: String::new() };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let number = || value.trim().parse().ok();
            match name.trim().to_ascii_lowercase().as_str() {
                "expires" => told.expires = number(),
                "retry-after" => told.retry_after = number(),
                "reason" => told.reason = value.trim().to_ascii_lowercase(),
                _ => {}
            }
        }
        told
    }

    /// When to subscribe anew; `None`: by the growing wait of failures (RFC 6665 4.1.3).
    fn again_after(&self) -> Option<Duration> {
        match (self.retry_after, self.reason.as_str()) {
            (Some(after), _) if after > 0 => Some(Duration::from_secs(after.min(MAX_RETRY_AFTER).into())),
            (_, "rejected" | "noresource" | "giveup" | "probation") => None,
            _ => Some(RENEW_AFTER),
        }
    }
}

impl Devices {
    pub(super) fn notified(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message) {
        // Our Call-ID tells whose subscription it is, whatever id the device writes into From.
        let mine = request.call_id().and_then(|call_id| self.dialogs.get(call_id)).copied();
        let from = request.from().and_then(|from| from.user).and_then(|user| Id::parse(user).ok());
        let Some(id) = mine.or(from) else { return self.respond(key, request.response(400)) };
        let session = self.entries.get(&id).and_then(|entry| entry.session.as_ref());
        let Some(session) = session else {
            // Of an earlier run of the gateway, perhaps: the device shall forget its subscription.
            return self.respond(key, request.response(481));
        };
        if session.flow.remote.ip() != flow.remote.ip() {
            self.auth_failed(Some(id), "other_address");
            return self.respond(key, request.response(403));
        }
        self.seen(now, id, flow);
        let topic = mine.and_then(|_| self.topic_of(id, request));
        let Some(topic) = topic else { return self.notified_unasked(now, id, key, request) };
        let Some(own) = entry_of(&mut self.entries, id, topic) else { return };
        own.notifies = own.notifies.saturating_add(1);
        own.last_notify = Some(now.unix);
        let before = own.last_number();
        let in_order = own.in_order(request);
        own.late = if in_order { 0 } else { own.late.saturating_add(1) };
        if own.late >= MAX_LATE {
            self.restart_subscription(now, id, topic, RENEW_AFTER);
        }
        if !in_order {
            // A state that another has overtaken must not come back. Alarms and positions stand for themselves.
            return match topic {
                Topic::Catalog => self.respond(key, request.response(500)),
                _ => self.take_notify(now, id, key, request, 200),
            };
        }
        // The same number with the same body is the same notify once more. Some devices count nothing, and send
        // the same number with everything.
        let repeated = before.is_some() && before == own_number(request);
        let digest = super::digest_of(&request.body);
        let Some(own) = entry_of(&mut self.entries, id, topic) else { return };
        let same = std::mem::replace(&mut own.last_body, digest) == digest;
        let told = Told::read(request);
        if told.terminated {
            self.terminated(now, id, topic, &told);
        } else if let Some(seconds) = told.expires {
            own.lasts(now, seconds);
        }
        self.set_timer(id);
        if repeated && same || request.body.is_empty() {
            return self.respond(key, request.response(200));
        }
        self.take_notify(now, id, key, request, 200);
    }

    /// A NOTIFY of no subscription of ours, from a device that is registered: what it says counts, and the answer
    /// ends the subscription that it is of.
    fn notified_unasked(&mut self, now: Now, id: Id, key: ServerKey, request: &Message) {
        let event = request.header("Event").unwrap_or_default().to_owned();
        self.observe(now, &id, Rule::NotifyUnasked, &event);
        if request.body.is_empty() {
            return self.respond(key, request.response(481));
        }
        self.take_notify(now, id, key, request, 481);
    }

    fn take_notify(&mut self, now: Now, id: Id, key: ServerKey, request: &Message, code: u16) {
        let Some(body) = self.read_body(now, id, key, request) else { return };
        self.take(now, id, &body, Reply { key, request, code });
    }

    fn topic_of(&self, id: Id, notify: &Message) -> Option<Topic> {
        let entry = self.entries.get(&id)?;
        entry.subscriptions.iter().find(|own| own.owns(notify)).map(|own| own.topic)
    }

    fn terminated(&mut self, now: Now, id: Id, topic: Topic, told: &Told) {
        let Some(own) = entry_of(&mut self.entries, id, topic) else { return };
        match (own.state, told.again_after()) {
            (State::Ending, _) => self.drop_subscription(id, topic),
            (_, Some(after)) => self.restart_subscription(now, id, topic, after),
            (_, None) => self.try_again(now, id, topic),
        }
    }
}

fn own_number(notify: &Message) -> Option<u32> {
    notify.cseq().map(|(number, _)| number)
}
