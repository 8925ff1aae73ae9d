//! A request that was received (RFC 3261 17.2, RFC 6026 7.1).

use super::{Again, Config, Fate, Mark, Output, PROCEEDING, ServerKey, TRYING, ack_mark};
use crate::sip::message::{Message, Method};
use crate::sip::{Flow, Transport};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    /// No final answer yet.
    Proceeding,
    /// A final answer was sent, to an INVITE none of 2xx.
    Completed,
    /// An INVITE was refused and the refusal acknowledged.
    Confirmed,
    /// An INVITE was answered with a 2xx; `acknowledged` once the ACK came.
    Accepted { acknowledged: bool },
}

pub(super) struct Server {
    flow: Flow,
    pub(super) mark: Mark,
    /// Our tag in the To of its answers.
    pub(super) tag: Option<String>,
    /// What the ACK of a 2xx will show; of an INVITE only.
    ack: Option<Mark>,
    state: State,
    /// A 100 that is sent if the user takes its time.
    trying: Option<(Instant, Bytes)>,
    /// The last answer.
    last: Option<Bytes>,
    again: Option<Again>,
    deadline: Instant,
}

impl Server {
    pub(super) fn new(now: Instant, config: &Config, flow: Flow, mark: Mark, request: &Message) -> Server {
        let invite = request.method() == Some(&Method::Invite);
        Server {
            flow,
            mark,
            tag: None,
            ack: if invite { ack_mark(request) } else { None },
            state: State::Proceeding,
            trying: invite.then(|| (now + TRYING, request.response(100).to_bytes())),
            last: None,
            again: None,
            // A peer does not wait longer than timer F for an answer to anything but an INVITE. The T1 more lets an
            // answer that comes within it keep the alarm where it is.
            deadline: now + if invite { PROCEEDING } else { config.patience() + config.t1 },
        }
    }

    pub(super) fn flow(&self) -> &Flow {
        &self.flow
    }

    pub(super) fn due(&self) -> Instant {
        let again = self.again.map_or(self.deadline, |again| again.at);
        let trying = self.trying.as_ref().map_or(self.deadline, |(at, _)| *at);
        self.deadline.min(again).min(trying)
    }

    pub(super) fn is_unanswered(&self) -> bool {
        self.state == State::Proceeding
    }

    /// Whether it has its answer and is there to answer repetitions alone.
    pub(super) fn is_only_remembered(&self) -> bool {
        self.ack.is_none() && self.state == State::Completed
    }

    /// What the ACK of the 2xx will show, if one was sent.
    pub(super) fn awaits_ack(&self) -> Option<Mark> {
        matches!(self.state, State::Accepted { .. }).then_some(self.ack).flatten()
    }

    /// What the user must know when the stream is gone.
    pub(super) fn orphaned(&self, key: ServerKey) -> Option<Output> {
        match self.state {
            State::Proceeding if self.ack.is_some() => Some(Output::Cancelled { key }),
            State::Accepted { acknowledged: false } => Some(Output::Unacknowledged { key }),
            _ => None,
        }
    }

    /// `None` if there is a final answer already.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        config: &Config,
        code: u16,
        bytes: Bytes,
        outputs: &mut VecDeque<Output>,
    ) -> Option<Fate> {
        if self.state != State::Proceeding {
            return None;
        }
        outputs.push_back(Output::Send { flow: self.flow, bytes: bytes.clone() });
        self.last = Some(bytes);
        self.trying = None;
        if code < 200 {
            return Some(Fate::Live);
        }
        // Timers H, J and L.
        let deadline = now + config.patience();
        if self.ack.is_none() {
            self.deadline = self.deadline.max(deadline);
            self.state = State::Completed;
            let over = self.flow.transport.is_reliable();
            return Some(if over { Fate::Ended } else { Fate::Live });
        }
        self.deadline = deadline;
        self.state = if code < 300 { State::Accepted { acknowledged: false } } else { State::Completed };
        self.again = Again::first(now, &self.flow, config);
        Some(Fate::Live)
    }

    /// The same request once more.
    pub(super) fn repeated(&mut self, flow: Flow, outputs: &mut VecDeque<Output>) {
        if flow.transport == Transport::Udp {
            // The NAT may have changed the port.
            self.flow = flow;
        }
        // A 2xx is on its own clock, and what was acknowledged has arrived.
        if matches!(self.state, State::Proceeding | State::Completed)
            && let Some(bytes) = self.last.clone()
        {
            outputs.push_back(Output::Send { flow: self.flow, bytes });
        }
    }

    pub(super) fn acknowledged(&mut self, now: Instant, config: &Config) -> Fate {
        match self.state {
            State::Completed => {
                self.state = State::Confirmed;
                self.again = None;
                // Timer I.
                self.deadline = now + config.t4;
                if self.flow.transport.is_reliable() { Fate::Ended } else { Fate::Live }
            }
            State::Accepted { .. } => {
                self.state = State::Accepted { acknowledged: true };
                self.again = None;
                Fate::Live
            }
            State::Proceeding | State::Confirmed => Fate::Live,
        }
    }

    pub(super) fn tick(
        &mut self,
        now: Instant,
        config: &Config,
        key: ServerKey,
        outputs: &mut VecDeque<Output>,
    ) -> Fate {
        if now >= self.deadline {
            if self.state == (State::Accepted { acknowledged: false }) {
                outputs.push_back(Output::Unacknowledged { key });
            }
            return Fate::Ended;
        }
        if let Some((_, bytes)) = self.trying.take_if(|(at, _)| now >= *at) {
            outputs.push_back(Output::Send { flow: self.flow, bytes: bytes.clone() });
            self.last = Some(bytes);
        }
        if let Some(again) = self.again.filter(|again| now >= again.at) {
            outputs.extend(self.last.clone().map(|bytes| Output::Send { flow: self.flow, bytes }));
            self.again = Some(again.next(now, config.t2));
        }
        Fate::Live
    }
}
