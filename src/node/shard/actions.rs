//! What the machines of a shard ask for, and who is to hear what came of it.

use super::{Asker, Effect, MAX_LEFT_OVER, OWN_WAITER, Output, Shard, Unanswered};
use crate::call::{self, CallId};
use crate::device::{self, Waiter};
use crate::gb::id::Id;
use crate::gb::time::Now;
use crate::registry::Write;
use crate::sip::{self, ClientKey, Flow, Message, Method, ServerKey};

impl Shard {
    pub(super) fn transaction_output(&mut self, now: Now, output: Output) {
        match output {
            Output::Send { flow, bytes } => self.effects.push_back(Effect::Send { flow, bytes }),
            Output::Request { key: Some(key), flow, request } => self.request(now, key, flow, &request),
            Output::Request { key: None, request, .. } => {
                self.calls.acknowledged(now, &request);
            }
            Output::Cancelled { key } => {
                self.calls.cancelled(key);
            }
            Output::Unacknowledged { key } => {
                self.calls.unacknowledged(key);
            }
            Output::Response { key, response, .. } => self.answered(now, key, Ok(&response)),
            Output::Failed { key, reason } => self.answered(now, key, Err(reason)),
        }
    }

    fn request(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message) {
        if self.calls.request(now, key, request) {
            return;
        }
        // A device that was told of a voice fetches it (clause 9.12). It may call itself by its own id, by that of
        // the camera or of the loudspeaker: its address is what must be right.
        if request.method() == Some(&Method::Invite)
            && let Some(device) = self.caller(flow, request)
            && self.calls.incoming(now, key, flow, device, request)
        {
            return;
        }
        self.devices.request(now, key, flow, request);
    }

    /// The device that an INVITE comes from: one of those that were told to call.
    fn caller(&self, flow: Flow, request: &Message) -> Option<Id> {
        let is_at = |device: &Id| {
            self.devices.reach(device).is_ok_and(|(_, way)| way.remote.ip() == flow.remote.ip())
        };
        let from = request.from().and_then(|from| from.user).and_then(|user| Id::parse(user).ok());
        from.filter(is_at).or_else(|| self.calls.awaited().find(is_at))
    }

    fn answered(&mut self, now: Now, key: ClientKey, answer: Result<&Message, Unanswered>) {
        let Some(asker) = self.askers.get(&key).copied() else { return };
        match asker {
            Asker::Device { device, purpose } => self.devices.answered(now, device, purpose, answer),
            Asker::Call { call, purpose } => self.calls.answered(now, call, purpose, answer),
        }
        // A 2xx to INVITE may come again for as long as the call lives; everything else is answered once.
        let over = match answer {
            Err(_) => true,
            Ok(message) => {
                message.code().is_some_and(|code| code >= 300 || (code >= 200 && !of_invite(message)))
            }
        };
        if over
            && let Some(Asker::Call { call, .. }) = self.askers.remove(&key)
            && self.invites.get(&call) == Some(&key)
        {
            self.invites.remove(&call);
        }
    }

    pub(super) fn device_action(&mut self, now: Now, action: device::Action) {
        match action {
            device::Action::Respond { key, message } => {
                self.transactions.respond(now.instant, key, message);
            }
            device::Action::Request { device, purpose, flow, message } => {
                let key = self.transactions.request(now.instant, flow, message);
                self.askers.insert(key, Asker::Device { device, purpose });
            }
            device::Action::Write { token, writes } => {
                self.effects.push_back(Effect::Write { token, writes })
            }
            device::Action::Seen { device } => {
                self.effects.push_back(Effect::Seen { device });
                self.end_left_over(device);
            }
            device::Action::Synced { waiter, outcome } => {
                self.effects.push_back(Effect::Synced { waiter, outcome })
            }
            device::Action::Answered { waiter, outcome } if waiter.0 & OWN_WAITER != 0 => {
                let call = CallId(waiter.0 & !OWN_WAITER);
                let outcome = outcome.map(|_| ()).map_err(|failure| failure.detail());
                self.calls.broadcast_answered(now, call, outcome);
            }
            device::Action::Answered { waiter, outcome } => {
                self.effects.push_back(Effect::Answered { waiter, outcome })
            }
            device::Action::Event(event) => self.device_event(now, event),
        }
    }

    fn device_event(&mut self, now: Now, event: device::Event) {
        match &event {
            device::Event::Offline { device, cause } => {
                self.calls.device_lost(device, &format!("the device went offline: {}", cause.as_str()));
            }
            device::Event::FileEnd { device, channel } => {
                self.calls.file_end(now, device, channel);
            }
            _ => {}
        }
        self.effects.push_back(Effect::Device(event));
    }

    pub(super) fn call_action(&mut self, now: Now, action: call::Action) {
        match action {
            call::Action::OpenMedia { call, key, target, ssrc, flowing } => {
                self.effects.push_back(Effect::OpenMedia { call, key, target, ssrc, flowing });
            }
            call::Action::ConnectMedia { call, remote, ssrc, payload_type, .. } => {
                self.effects.push_back(Effect::ConnectMedia { call, remote, ssrc, payload_type });
            }
            call::Action::TalkReady { call } => self.effects.push_back(Effect::TalkReady { call }),
            call::Action::Pace { call, state, seek } => {
                self.effects.push_back(Effect::Pace { call, state, seek });
            }
            call::Action::CloseMedia { call, why } => {
                self.effects.push_back(Effect::CloseMedia { call, why })
            }
            call::Action::Broadcast { call, device, channel } => {
                let waiter = Waiter(OWN_WAITER | call.0);
                self.devices.ask(now, waiter, device, channel, device::Request::Broadcast);
            }
            call::Action::Observe { device, rule, sample } => {
                self.devices.observe(now, &device, rule, &sample);
            }
            call::Action::Request { call, purpose, flow, message } => {
                self.call_request(now, call, purpose, flow, message);
            }
            call::Action::Gone { call } => self.forget_call(call),
            call::Action::Cancel { call } => {
                if let Some(key) = self.invites.get(&call) {
                    self.transactions.cancel(now.instant, *key);
                }
            }
            call::Action::Send { flow, message } => {
                self.transactions.acknowledge(flow, message);
            }
            call::Action::Respond { key, message } => {
                self.transactions.respond(now.instant, key, message);
            }
            call::Action::Keep(call) => {
                self.effects.push_back(Effect::Write { token: None, writes: vec![Write::PutCall(*call)] });
            }
            call::Action::LeftOver(record) => {
                let device = record.device;
                if self.devices.device(&device).is_some() {
                    let records = self.left_over.entry(device).or_default();
                    if records.len() >= MAX_LEFT_OVER {
                        records.remove(0);
                    }
                    records.push(*record);
                    self.end_left_over(device);
                }
            }
            call::Action::Forget { device, channel, call_id } => {
                let writes = vec![Write::DeleteCall { device, channel, call_id }];
                self.effects.push_back(Effect::Write { token: None, writes });
            }
            call::Action::Tell { waiter, outcome } => {
                self.effects.push_back(Effect::Play { waiter, outcome })
            }
            call::Action::Controlled { waiter, outcome } => {
                self.effects.push_back(Effect::Controlled { waiter, outcome });
            }
            call::Action::Started { call, key, took } => {
                self.effects.push_back(Effect::Started { call, key, took });
            }
            call::Action::Ended { call, key, why, ran, finish } => {
                self.effects.push_back(Effect::Ended { call, key, why, ran, finish });
            }
        }
    }

    fn call_request(&mut self, now: Now, call: CallId, purpose: call::Purpose, flow: Flow, message: Message) {
        if purpose == call::Purpose::Bye {
            // It ends what the INVITE began: a late repetition of its 200 is no answer to the BYE.
            self.forget_call(call);
        }
        let Some(flow) = self.way_to(call, flow) else {
            return self.calls.answered(now, call, purpose, Err(Unanswered::Transport));
        };
        let key = self.transactions.request(now.instant, flow, message);
        self.askers.insert(key, Asker::Call { call, purpose });
        if purpose == call::Purpose::Invite {
            self.invites.insert(call, key);
        }
    }

    /// Nothing that still comes for a call's INVITE matters any more.
    fn forget_call(&mut self, call: CallId) {
        if let Some(key) = self.invites.remove(&call) {
            self.askers.remove(&key);
        }
    }

    /// The way to a call's device now: it may have moved since the call began. `None` if there is none.
    fn way_to(&self, call: CallId, flow: Flow) -> Option<Flow> {
        let device = self.calls.device_of(call);
        match device.map(|device| self.devices.reach(&device)) {
            Some(Ok((_, flow))) => Some(flow),
            Some(Err(device::Failure::Offline)) if flow.transport.is_reliable() => None,
            _ => Some(flow),
        }
    }

    /// Ends the calls that were left behind at a device, once there is a way to it.
    pub(super) fn end_left_over(&mut self, device: Id) {
        if !self.left_over.contains_key(&device) {
            return;
        }
        let Ok((_, flow)) = self.devices.reach(&device) else { return };
        for record in self.left_over.remove(&device).unwrap_or_default() {
            self.calls.end_left_over(record, flow);
        }
    }
}

/// Whether an answer is one to an INVITE.
fn of_invite(answer: &Message) -> bool {
    answer.cseq().is_some_and(|(_, method)| method == sip::Method::Invite)
}
