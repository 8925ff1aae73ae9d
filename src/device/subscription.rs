//! Subscriptions (clause 9.11) as the subscriber of RFC 6665: asked for, refreshed before they run out, taken up anew when
//! the device lost them or comes back, ended when nobody wants them any more.

use std::time::{Duration, Instant};

use super::{
    Action, Devices, Entry, Failure, Purpose, Subscribed, SubscriptionState as State, Topic, Unanswered,
};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::{self, AlarmFilter, Edition, Query};
use crate::gb::time::{Now, UnixMillis};
use crate::registry::profile::CatalogSubscription;
use crate::sip::{Dialog, Message, Method};

/// How long a subscription is asked for, in seconds.
const EXPIRES: u32 = 3_600;
/// However short a subscription is granted, it is not refreshed more often than this.
const MIN_REFRESH: Duration = Duration::from_secs(10);
/// After how long a subscription that failed is tried again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// The longest wait before a try.
const LAST_RETRY: Duration = Duration::from_secs(600);
/// A SUBSCRIBE without any answer is over by then, whatever its transaction says.
const PATIENCE: Duration = Duration::from_secs(40);
/// A device that registers with a new Call-ID may have been started anew, and lost its subscriptions: they are refreshed
/// then, but not where that was done within this time, since some change the Call-ID with each REGISTER.
const VERIFY_AFTER: Duration = Duration::from_secs(300);

/// A subscription to one topic at one device.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) topic: Topic,
    pub(super) state: State,
    /// Seconds between two positions, of [`Topic::Position`].
    interval: u32,
    /// The number in the Event header, the same for as long as the dialog lives.
    event: u32,
    /// The SUBSCRIBE that began it, until it is answered: the dialog is made of both.
    first: Option<Box<Message>>,
    dialog: Option<Box<Dialog>>,
    /// The SN of the SUBSCRIBE under way.
    asking: Option<u32>,
    /// When the next thing is done about it.
    due: Option<Instant>,
    expires_at: Option<(Instant, UnixMillis)>,
    confirmed_at: Option<Instant>,
    retry: Duration,
    code: Option<u16>,
    pub(super) notifies: u32,
    pub(super) last_notify: Option<UnixMillis>,
    /// A digest of the last body, to know one that comes again.
    pub(super) last_body: u64,
    /// Notifies in a row that were older than one before.
    pub(super) late: u8,
}

impl Subscription {
    fn new(topic: Topic) -> Subscription {
        Subscription {
            topic,
            state: State::Waiting,
            interval: Query::DEFAULT_INTERVAL,
            event: 0,
            first: None,
            dialog: None,
            asking: None,
            due: None,
            expires_at: None,
            confirmed_at: None,
            retry: FIRST_RETRY,
            code: None,
            notifies: 0,
            last_notify: None,
            last_body: 0,
            late: 0,
        }
    }

    /// When something is to be done about it.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn call_id(&self) -> Option<&str> {
        match &self.dialog {
            Some(dialog) => Some(&dialog.call_id),
            None => self.first.as_ref()?.call_id(),
        }
    }

    /// Whether a NOTIFY is of this subscription.
    pub(super) fn owns(&self, notify: &Message) -> bool {
        match (&self.dialog, &self.first) {
            (Some(dialog), _) => dialog.matches(notify),
            // It may come before the answer to our SUBSCRIBE (RFC 6665 4.1.2.4).
            (None, Some(first)) => {
                let lost = notify.to_tag().is_none();
                first.call_id() == notify.call_id() && (lost || notify.to_tag() == first.from_tag())
            }
            (None, None) => false,
        }
    }

    /// Takes note of the order of a NOTIFY of this subscription; false if it is older than one before.
    pub(super) fn in_order(&mut self, notify: &Message) -> bool {
        if self.dialog.is_none()
            && let Some(first) = &self.first
        {
            self.dialog = early(first, notify).map(Box::new);
        }
        self.dialog.as_mut().is_none_or(|dialog| dialog.receive(notify))
    }

    /// The number of the last NOTIFY.
    pub(super) fn last_number(&self) -> Option<u32> {
        self.dialog.as_ref()?.remote_seq
    }

    /// Granted for so long from now.
    fn granted(&mut self, now: Now, seconds: u32) {
        let lifetime = Duration::from_secs(seconds.into());
        self.expires_at =
            Some((now.instant + lifetime, UnixMillis(now.unix.0.saturating_add(i64::from(seconds) * 1_000))));
        self.due = Some(now.instant + (lifetime * 2 / 3).max(MIN_REFRESH));
    }

    /// A NOTIFY says how long the subscription still lasts: shorter counts, longer is for the refresh to ask.
    pub(super) fn lasts(&mut self, now: Now, seconds: u32) {
        let until = now.instant + Duration::from_secs(seconds.into());
        if self.state == State::Active && self.expires_at.is_some_and(|(at, _)| until < at) {
            self.granted(now, seconds);
        }
    }

    /// Back to the start, to be tried at `due`; gives the Call-ID that is of no use any more.
    pub(super) fn restart(&mut self, due: Option<Instant>) -> Option<String> {
        let call_id = self.call_id().map(str::to_owned);
        self.state = State::Waiting;
        self.first = None;
        self.dialog = None;
        self.asking = None;
        self.expires_at = None;
        self.confirmed_at = None;
        self.last_body = 0;
        self.late = 0;
        self.due = due;
        call_id
    }

    /// The wait before the next try.
    fn next_retry(&mut self) -> Duration {
        let wait = self.retry;
        self.retry = (self.retry * 2).min(LAST_RETRY);
        wait
    }

    fn report(&self) -> Subscribed {
        Subscribed {
            topic: self.topic,
            state: self.state,
            code: self.code,
            expires_at: self.expires_at.map(|(_, at)| at),
            notifies: self.notifies,
            last_notify: self.last_notify,
        }
    }
}

/// The dialog that a NOTIFY makes before the 200 to SUBSCRIBE is here, or where it is lost.
fn early(subscribe: &Message, notify: &Message) -> Option<Dialog> {
    // To our side the NOTIFY names the peer as an answer would: From and To the other way round.
    let answer = subscribe.response(200).with_to_tag(notify.from_tag().unwrap_or_default());
    let answer = match notify.contact() {
        Some(contact) => answer.with("Contact", format!("<{}>", contact.uri)),
        None => answer,
    };
    Dialog::uac(subscribe, &answer)
}

impl Devices {
    /// The subscriptions at a device.
    pub(super) fn subscriptions(&self, id: &Id) -> Result<Vec<Subscribed>, Failure> {
        let entry = self.entries.get(id).ok_or(Failure::NotFound)?;
        Ok(entry.subscriptions.iter().map(Subscription::report).collect())
    }

    /// Brings the subscriptions of a device into line with what is wanted; new ones are begun after `delay`.
    pub(super) fn settle_subscriptions(&mut self, now: Now, id: Id, delay: Duration) {
        let wanted = self.manners(&id).subscribe;
        let no_ptz = self.has_edition(&id, Edition::E2022).is_err();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let reachable = entry.reachable().is_some();
        let due = Some(now.instant + delay);
        for topic in Topic::ALL {
            let wants = match topic {
                Topic::Catalog => wanted.catalog,
                Topic::Alarm => wanted.alarm,
                Topic::Position => wanted.position.is_some(),
                Topic::PtzPosition => wanted.ptz_position,
            };
            let interval = wanted.position.unwrap_or(Query::DEFAULT_INTERVAL);
            let found = entry.subscriptions.iter_mut().find(|own| own.topic == topic);
            match found {
                None if wants => {
                    let mut own = Subscription { interval, ..Subscription::new(topic) };
                    if topic == Topic::PtzPosition && no_ptz {
                        own.state = State::Unsupported;
                    } else if reachable {
                        own.due = due;
                    }
                    // Of each device for good, so to the point.
                    entry.subscriptions.reserve_exact(1);
                    entry.subscriptions.push(own);
                }
                None => {}
                Some(own) if wants => {
                    let changed = topic == Topic::Position && own.interval != interval;
                    own.interval = interval;
                    match own.state {
                        State::Unsupported if topic == Topic::PtzPosition && no_ptz => {}
                        State::Waiting | State::Unsupported if own.due.is_none() => {
                            own.state = State::Waiting;
                            own.due = due.filter(|_| reachable);
                        }
                        // Wanted again before it was over.
                        State::Ending => own.due = due,
                        State::Active if changed => own.due = due,
                        _ => {}
                    }
                    if own.state == State::Ending {
                        let gone = own.restart(due);
                        forget(&mut self.dialogs, gone);
                    }
                }
                Some(own) if own.state != State::Ending => {
                    own.state = State::Ending;
                    own.due = Some(now.instant);
                }
                Some(_) => {}
            }
        }
        self.set_timer(id);
    }

    /// The device has come anew: what it refused before it may grant now.
    pub(super) fn renew_subscriptions(&mut self, now: Now, id: Id) {
        self.forgive_subscriptions(id);
        self.settle_subscriptions(now, id, super::sync::SUBSCRIBE_AFTER);
    }

    /// What it refused before, the device is asked for anew when its turn comes.
    pub(super) fn forgive_subscriptions(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        for own in &mut entry.subscriptions {
            own.retry = FIRST_RETRY;
            if own.state == State::Refused {
                own.state = State::Waiting;
                own.due = None;
            }
        }
    }

    /// The device may have been started anew: asks whether it still knows its subscriptions.
    pub(super) fn verify_subscriptions(&mut self, now: Now, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        for own in &mut entry.subscriptions {
            let old = own.confirmed_at.is_some_and(|at| at + VERIFY_AFTER <= now.instant);
            if own.state == State::Active && old {
                own.due = Some(now.instant + super::sync::SUBSCRIBE_AFTER);
            }
        }
    }

    /// The device is offline: its subscriptions wait for it.
    pub(super) fn suspend_subscriptions(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        for own in &mut entry.subscriptions {
            let state = own.state;
            let gone = own.restart(None);
            if matches!(state, State::Refused | State::Unsupported | State::Ending) {
                own.state = state;
            }
            forget(&mut self.dialogs, gone);
        }
        entry.subscriptions.retain(|own| own.state != State::Ending);
    }

    /// Ends the subscriptions of a device that is removed; whatever it answers.
    pub(super) fn end_subscriptions(&mut self, now: Now, id: Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let topics: Vec<Topic> = entry.subscriptions.iter().map(|own| own.topic).collect();
        for topic in topics {
            if let Some(own) = entry_of(&mut self.entries, id, topic)
                && own.state == State::Active
            {
                self.subscribe(now, id, topic, 0);
            }
            if let Some(own) = entry_of(&mut self.entries, id, topic) {
                let gone = own.restart(None);
                forget(&mut self.dialogs, gone);
            }
        }
    }

    pub(super) fn subscription_timeout(&mut self, now: Now, id: Id) {
        let Some(entry) = self.entries.get(&id) else { return };
        let due = entry.subscriptions.iter().filter(|own| own.due.is_some_and(|due| due <= now.instant));
        let topics: Vec<Topic> = due.map(|own| own.topic).collect();
        for topic in topics {
            let Some(own) = entry_of(&mut self.entries, id, topic) else { continue };
            own.due = None;
            match own.state {
                State::Waiting => self.subscribe(now, id, topic, EXPIRES),
                // Nothing came of a refresh in time.
                State::Active if own.expires_at.is_some_and(|(at, _)| at <= now.instant) => {
                    self.try_again(now, id, topic);
                }
                State::Active => self.subscribe(now, id, topic, EXPIRES),
                State::Asking => self.try_again(now, id, topic),
                State::Ending if own.dialog.is_some() && own.asking.is_none() => {
                    self.subscribe(now, id, topic, 0);
                }
                State::Ending => self.drop_subscription(id, topic),
                State::Refused | State::Unsupported => {}
            }
        }
    }

    /// Sends SUBSCRIBE: the first of a dialog, or one within it; `expires` 0 ends it.
    fn subscribe(&mut self, now: Now, id: Id, topic: Topic, expires: u32) {
        let Some(flow) = self.entries.get(&id).and_then(|entry| entry.reachable()) else { return };
        let sn = self.sn();
        let (style, event) = (self.style(&id), self.manners(&id).catalog_event);
        let Some(own) = entry_of(&mut self.entries, id, topic) else { return };
        let query = match topic {
            Topic::Catalog => Query::Catalog,
            Topic::Alarm => Query::Alarm(AlarmFilter::default()),
            Topic::Position => Query::MobilePosition { interval: own.interval },
            Topic::PtzPosition => Query::PtzPosition,
        };
        let body = query.body(sn, &id, &style);
        let within = own.dialog.as_mut().map(|dialog| dialog.request(Method::Subscribe));
        if within.is_none() {
            own.event = sn;
        }
        let event = match topic {
            Topic::Catalog if event == CatalogSubscription::Catalog => format!("Catalog;id={}", own.event),
            _ => "presence".to_owned(),
        };
        if own.state == State::Waiting {
            own.state = State::Asking;
        }
        own.due = Some(now.instant + PATIENCE);
        let message = match within {
            Some(message) => message.with_body(manscdp::CONTENT_TYPE, self.document(&id, &body)),
            None => self.request_to(Method::Subscribe, &id, &id, flow, &body),
        };
        let message = message
            .with("Contact", format!("<sip:{}@{}>", self.settings.platform, flow.local))
            .with("Event", event)
            .with("Expires", expires.to_string());
        let Some(own) = entry_of(&mut self.entries, id, topic) else { return };
        own.asking = Some(sn);
        if own.dialog.is_none() {
            if let Some(call_id) = message.call_id() {
                self.dialogs.insert(call_id.to_owned(), id);
            }
            own.first = Some(Box::new(message.clone()));
        }
        let purpose = Purpose::Subscribe(topic, sn);
        self.actions.push_back(Action::Request { device: id, purpose, flow, message });
    }

    /// What came of a SUBSCRIBE.
    pub(super) fn subscribe_answered(
        &mut self,
        now: Now,
        id: Id,
        topic: Topic,
        sn: u32,
        answer: Result<&Message, Unanswered>,
    ) {
        let Some(own) = entry_of(&mut self.entries, id, topic) else { return };
        if own.asking != Some(sn) {
            return;
        }
        let code = answer.ok().and_then(Message::code);
        if code.is_some_and(|code| code < 200) {
            return;
        }
        own.asking = None;
        match (own.state, code) {
            (State::Ending, _) => self.drop_subscription(id, topic),
            (_, Some(200..300)) => self.granted(now, id, topic, answer),
            // The dialog is gone; there is no reason to wait, unless that was the very first.
            (State::Active, Some(481)) => {
                let gone = own.restart(Some(now.instant));
                forget(&mut self.dialogs, gone);
            }
            (_, None | Some(408 | 480 | 481 | 500 | 502..=599)) => {
                own.code = code;
                // A refresh that failed leaves the subscription as it is until it runs out (RFC 6665 4.1.2.2).
                let left = own.expires_at.map(|(at, _)| at).filter(|at| *at > now.instant);
                match left {
                    Some(at) if own.state == State::Active => {
                        let wait = own.next_retry();
                        own.due = Some((now.instant + wait).min(at));
                    }
                    _ => self.try_again(now, id, topic),
                }
            }
            (_, Some(code)) => {
                let gone = own.restart(None);
                own.state = State::Refused;
                own.code = Some(code);
                forget(&mut self.dialogs, gone);
                let sample = format!("{}: {code}", topic.as_str());
                self.observe(now, &id, Rule::SubscribeRefused, &sample);
            }
        }
        self.set_timer(id);
    }

    fn granted(&mut self, now: Now, id: Id, topic: Topic, answer: Result<&Message, Unanswered>) {
        let (Some(own), Ok(answer)) = (entry_of(&mut self.entries, id, topic), answer) else { return };
        if let Some(first) = own.first.take() {
            let made = Dialog::uac(&first, answer);
            // A NOTIFY that was quicker has made the dialog; its number counts.
            let heard = own.dialog.as_ref().and_then(|dialog| dialog.remote_seq);
            own.dialog =
                made.map(|dialog| Box::new(Dialog { remote_seq: heard, ..dialog })).or(own.dialog.take());
        }
        if own.dialog.is_none() {
            return self.try_again(now, id, topic);
        }
        let seconds = answer.expires().unwrap_or(EXPIRES).min(EXPIRES);
        if seconds == 0 {
            return self.try_again(now, id, topic);
        }
        own.state = State::Active;
        own.code = None;
        own.retry = FIRST_RETRY;
        own.confirmed_at = Some(now.instant);
        own.granted(now, seconds);
    }

    /// Begins a subscription anew, after a wait that grows.
    pub(super) fn try_again(&mut self, now: Now, id: Id, topic: Topic) {
        let Some(own) = entry_of(&mut self.entries, id, topic) else { return };
        let wait = own.next_retry();
        self.restart_subscription(now, id, topic, wait);
    }

    /// Begins a subscription anew.
    pub(super) fn restart_subscription(&mut self, now: Now, id: Id, topic: Topic, wait: Duration) {
        let Some(own) = entry_of(&mut self.entries, id, topic) else { return };
        let gone = own.restart(Some(now.instant + wait));
        forget(&mut self.dialogs, gone);
        self.set_timer(id);
    }

    pub(super) fn drop_subscription(&mut self, id: Id, topic: Topic) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(index) = entry.subscriptions.iter().position(|own| own.topic == topic) {
            let gone = entry.subscriptions.swap_remove(index).restart(None);
            forget(&mut self.dialogs, gone);
        }
    }
}

/// The subscription of a device to a topic.
pub(super) fn entry_of(
    entries: &mut std::collections::HashMap<Id, Box<Entry>>,
    id: Id,
    topic: Topic,
) -> Option<&mut Subscription> {
    entries.get_mut(&id)?.subscriptions.iter_mut().find(|own| own.topic == topic)
}

fn forget(dialogs: &mut std::collections::HashMap<String, Id>, call_id: Option<String>) {
    if let Some(call_id) = call_id {
        dialogs.remove(&call_id);
    }
}
