//! A request that was sent (RFC 3261 17.1, RFC 6026 7.2).

use super::{Again, ClientKey, Config, Failure, Fate, Output, PROCEEDING};
use crate::sip::Flow;
use crate::sip::message::{Message, Method};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    /// Calling, of an INVITE; Trying, of others: nothing came yet.
    Trying,
    Proceeding,
    /// A final answer came, of an INVITE none of 2xx; repetitions are absorbed.
    Completed,
    /// A 2xx came for an INVITE; repetitions go to the user.
    Accepted,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Cancel {
    No,
    Wanted,
    Sent,
}

pub(super) struct Client {
    pub(super) flow: Flow,
    pub(super) branch: String,
    pub(super) method: Method,
    /// An INVITE, kept for its ACK and CANCEL.
    invite: Option<Message>,
    /// What is sent again: the request, later the ACK of a refusal.
    bytes: Bytes,
    state: State,
    again: Option<Again>,
    deadline: Instant,
    cancel: Cancel,
    /// A CANCEL of our own, whose fate interests nobody.
    silent: bool,
}

impl Client {
    pub(super) fn start(
        now: Instant,
        config: &Config,
        flow: Flow,
        branch: String,
        request: Message,
        silent: bool,
        outputs: &mut VecDeque<Output>,
    ) -> Client {
        let bytes = request.to_bytes();
        outputs.push_back(Output::Send { flow, bytes: bytes.clone() });
        let method = request.method().cloned().unwrap_or(Method::Options);
        Client {
            flow,
            branch,
            invite: (method == Method::Invite).then_some(request),
            method,
            bytes,
            state: State::Trying,
            again: Again::first(now, &flow, config),
            deadline: now + config.patience(),
            cancel: Cancel::No,
            silent,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.again.map_or(self.deadline, |again| again.at.min(self.deadline))
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.silent && matches!(self.state, State::Trying | State::Proceeding)
    }

    pub(super) fn receive(
        &mut self,
        now: Instant,
        config: &Config,
        key: ClientKey,
        flow: Flow,
        response: Message,
        outputs: &mut VecDeque<Output>,
    ) -> Fate {
        let code = response.code().unwrap_or_default();
        let invite = self.invite.is_some();
        let open = matches!(self.state, State::Trying | State::Proceeding);
        let mut fate = Fate::Live;
        match code {
            100..=199 if open => {
                self.state = State::Proceeding;
                if invite {
                    self.again = None;
                    // The wait after a CANCEL is not prolonged (RFC 3261 9.1).
                    if self.cancel != Cancel::Sent {
                        self.deadline = now + PROCEEDING;
                    }
                } else if let Some(again) = &mut self.again {
                    again.wait = config.t2;
                }
            }
            200..=299 if invite && open => {
                self.state = State::Accepted;
                self.again = None;
                // Timer M.
                self.deadline = now + config.patience();
            }
            // The user acknowledges each 2xx that comes.
            200..=299 if invite && self.state == State::Accepted => {}
            300.. if invite && open => {
                self.acknowledge(&response, outputs);
                // Timer D.
                fate = self.complete(now + config.patience());
            }
            300.. if invite && self.state == State::Completed => {
                outputs.push_back(Output::Send { flow: self.flow, bytes: self.bytes.clone() });
                return Fate::Live;
            }
            // Timer K.
            200.. if !invite && open => fate = self.complete(now + config.t4),
            _ => return Fate::Live,
        }
        if !self.silent {
            outputs.push_back(Output::Response { key, flow, response });
        }
        fate
    }

    /// A final answer came. Only where it may come again is it waited for.
    fn complete(&mut self, until: Instant) -> Fate {
        self.state = State::Completed;
        self.again = None;
        self.deadline = until;
        if self.flow.transport.is_reliable() { Fate::Ended } else { Fate::Live }
    }

    fn acknowledge(&mut self, response: &Message, outputs: &mut VecDeque<Output>) {
        let ack = self.invite.as_ref().and_then(|invite| invite.companion(Method::Ack, response));
        if let Some(ack) = ack {
            self.bytes = ack.to_bytes();
            outputs.push_back(Output::Send { flow: self.flow, bytes: self.bytes.clone() });
        }
    }

    pub(super) fn tick(
        &mut self,
        now: Instant,
        config: &Config,
        key: ClientKey,
        outputs: &mut VecDeque<Output>,
    ) -> Fate {
        if now >= self.deadline {
            if self.is_waiting() {
                outputs.push_back(Output::Failed { key, reason: Failure::Timeout });
            }
            return Fate::Ended;
        }
        if let Some(again) = self.again.filter(|again| now >= again.at) {
            outputs.push_back(Output::Send { flow: self.flow, bytes: self.bytes.clone() });
            // Timer A doubles without end, timer E up to T2.
            let most = if self.invite.is_some() { config.patience() } else { config.t2 };
            self.again = Some(again.next(now, most));
        }
        Fate::Live
    }

    pub(super) fn want_cancel(&mut self) {
        if self.invite.is_some() && self.cancel == Cancel::No {
            self.cancel = Cancel::Wanted;
        }
    }

    /// The CANCEL, once it is wanted and a provisional answer has come.
    pub(super) fn take_cancel(&mut self, now: Instant, config: &Config) -> Option<Message> {
        if self.cancel != Cancel::Wanted || self.state != State::Proceeding {
            return None;
        }
        let invite = self.invite.as_ref()?;
        self.cancel = Cancel::Sent;
        self.deadline = now + config.patience();
        invite.companion(Method::Cancel, invite)
    }
}
