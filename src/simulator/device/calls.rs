//! Calls of the platform: live, playback, download and talk.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::steering::{self, Position};
use super::{Device, Output, Purpose};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, MediaStatus, write};
use crate::gb::sdp::{self, Direction, Media, Payload, Sdp, SourcePath};
use crate::gb::time::Now;
use crate::simulator::quirks::Quirk;
use crate::sip::message::Uri;
use crate::sip::{Dialog, Message, Method, ServerKey};

/// Calls at once; a real recorder has a limit, too.
const MAX_CALLS: usize = 256;
/// Playback commands of a call that wait for their answer.
const MAX_STEERING: usize = 16;
/// How long those with [`Quirk::SlowInvite`] take, and when those with [`Quirk::ByeAfter`] hang up.
const SLOW: Duration = Duration::from_secs(3);
/// What is told apart from an SSRC that was agreed on.
const OTHER_SSRC: u32 = 0x5A5A;
/// Payload type of G.711A.
pub(super) const PCMA: u8 = 8;
/// Fastest download.
const MAX_SPEED: u8 = 64;

/// Where the media of a call goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// UDP, or TCP as client or server.
    pub way: Way,
    /// The SSRC to send.
    pub ssrc: u32,
    /// Which channel is shown: each begins elsewhere in the clip.
    pub channel: u64,
    /// 0 for the main stream, else a lesser one.
    pub stream: u8,
    /// What is sent.
    pub content: Content,
}

/// How media goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// RTP over UDP.
    Udp { to: SocketAddr },
    /// RTP over TCP, the device connects.
    TcpConnect { to: SocketAddr },
    /// RTP over TCP, the device listens.
    TcpListen,
}

/// What is sent in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The camera's picture.
    Live,
    /// A recording from and to a time, in seconds since 1970.
    Playback { start: u64, end: u64 },
    /// The same, so many times as fast.
    Download { start: u64, end: u64, speed: u8 },
    /// Sound, both ways.
    Talk,
}

/// What is ready for a call.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Where its media comes from.
    pub local: SocketAddr,
    /// The bytes of a download.
    pub file_size: Option<u64>,
}

/// A call of the platform.
pub(super) struct Call {
    invite: ServerKey,
    request: Message,
    offer: Sdp,
    plan: Plan,
    dialog: Option<Dialog>,
    steering: VecDeque<(ServerKey, Message)>,
    /// The answer of a slow device.
    answer_at: Option<(Instant, Ready)>,
    bye_at: Option<Instant>,
}

impl Device {
    pub(super) fn invite(&mut self, now: Now, key: ServerKey, request: &Message) {
        let code = if self.settings.has(Quirk::InviteSilent) {
            return;
        } else if self.settings.has(Quirk::InviteBusy) || self.calls.len() >= MAX_CALLS {
            486
        } else if self.settings.has(Quirk::InviteRefused) {
            403
        } else {
            match self.accept(now, key, request) {
                Ok(()) => return,
                Err(code) => code,
            }
        };
        self.transactions.respond(now.instant, key, request.response(code));
    }

    fn accept(&mut self, now: Now, key: ServerKey, request: &Message) -> Result<(), u16> {
        let user = request.uri().and_then(Uri::parse).and_then(|uri| uri.user);
        let wanted = user.and_then(|user| Id::parse(user).ok()).ok_or(400u16)?;
        let channel = self.population.position(&wanted);
        let channel = channel.or((wanted == self.id).then_some(0)).ok_or(404u16)?;
        let offer = sdp::parse(&request.body).map_err(|_| 488u16)?;
        let way = match offer.source_path().map_err(|_| 488u16)? {
            SourcePath::Send { to } => Way::Udp { to },
            SourcePath::Connect { to } => Way::TcpConnect { to },
            SourcePath::Accept => Way::TcpListen,
        };
        let content = content(&offer, now)?;
        let call = request.call_id().ok_or(400u16)?.to_owned();
        if self.calls.contains_key(&call) {
            return Err(488);
        }
        let plan = Plan { way, ssrc: self.ssrc(&offer), channel, stream: stream(&offer), content };
        let call_state = Call {
            invite: key,
            request: request.clone(),
            offer,
            plan,
            dialog: None,
            steering: VecDeque::new(),
            answer_at: None,
            bye_at: None,
        };
        self.calls.insert(call.clone(), call_state);
        self.outputs.push_back(Output::Open { call, plan });
        Ok(())
    }

    /// The SSRC that is sent.
    fn ssrc(&self, offer: &Sdp) -> u32 {
        let offered = offer.ssrc.unwrap_or(0);
        let own = [Quirk::OtherSsrc, Quirk::SsrcAnswer, Quirk::SsrcMismatch];
        if self.settings.has(Quirk::SsrcZero) {
            0
        } else if own.iter().any(|quirk| self.settings.has(*quirk)) {
            offered ^ OTHER_SSRC
        } else {
            offered
        }
    }

    /// The media of a call can be sent; `None`: it can't be sent at all.
    pub fn media_opened(&mut self, now: Now, call: &str, ready: Option<Ready>) {
        let slow = self.settings.has(Quirk::SlowInvite);
        match (self.calls.get_mut(call), ready) {
            (Some(open), Some(ready)) if slow => open.answer_at = Some((now.instant + SLOW, ready)),
            (Some(_), ready) => self.answer_call(now, call, ready),
            (None, _) => {}
        }
        self.settle(now);
    }

    fn answer_call(&mut self, now: Now, call: &str, ready: Option<Ready>) {
        let tag = self.tokens.tag();
        let contact = self.contact();
        let Some(open) = self.calls.get(call) else { return };
        let (key, request) = (open.invite, &open.request);
        let response = match ready.and_then(|ready| self.session(open, ready)) {
            Some(answer) => request
                .response(200)
                .with_to_tag(&tag)
                .with("Contact", contact)
                .with_body(sdp::CONTENT_TYPE, answer),
            None => request.response(500),
        };
        let dialog = Dialog::uas(request, &response).filter(|_| response.code() == Some(200));
        self.transactions.respond(now.instant, key, response);
        if dialog.is_none() {
            self.calls.remove(call);
        } else if let Some(open) = self.calls.get_mut(call) {
            open.dialog = dialog;
            if self.settings.has(Quirk::EarlyMedia) {
                self.outputs.push_back(Output::Start { call: call.to_owned() });
            }
        }
    }

    /// The answer's session description.
    fn session(&self, call: &Call, ready: Ready) -> Option<bytes::Bytes> {
        let channel = self.population.channel(call.plan.channel);
        let mut answer = match call.plan.content {
            Content::Talk => talk_answer(&call.offer, &channel, ready.local)?,
            _ => Sdp::answer_to(&call.offer, &channel, ready.local).ok()?,
        };
        if self.settings.has(Quirk::OtherSsrc) || self.settings.has(Quirk::NoY) {
            answer.ssrc = None;
        } else if self.settings.has(Quirk::SsrcAnswer) {
            answer.ssrc = Some(call.plan.ssrc);
        }
        if let Some(media) = answer.media.first_mut() {
            if self.settings.has(Quirk::SetupNotReversed) {
                media.setup = call.offer.media.first().and_then(|offered| offered.setup);
            }
            if let Some(size) = ready.file_size {
                media.attributes.push(("filesize".to_owned(), Some(size.to_string())));
            }
        }
        Some(self.spoilt_session(answer.to_bytes()))
    }

    fn spoilt_session(&self, bytes: bytes::Bytes) -> bytes::Bytes {
        let (order, lines) = (self.settings.has(Quirk::SdpLineOrder), self.settings.has(Quirk::LfOnly));
        if !order && !lines {
            return bytes;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut all: Vec<&str> = text.split_terminator("\r\n").collect();
        let at = |all: &[&str], start: &str| all.iter().position(|line| line.starts_with(start));
        if let (true, Some(y), Some(m)) = (order, at(&all, "y="), at(&all, "m=")) {
            let line = all.remove(y);
            all.insert(m, line);
        }
        let end = if lines { "\n" } else { "\r\n" };
        all.iter().map(|line| format!("{line}{end}")).collect::<String>().into()
    }

    /// ACK: the platform has the answer, media may flow.
    pub(super) fn acknowledged(&mut self, now: Now, call: &str) {
        let Some(open) = self.calls.get_mut(call) else { return };
        if self.settings.has(Quirk::ByeAfter) {
            open.bye_at = Some(now.instant + SLOW);
        }
        if !self.settings.has(Quirk::NoMedia) {
            self.outputs.push_back(Output::Start { call: call.to_owned() });
        }
    }

    /// The platform hangs up.
    pub(super) fn bye(&mut self, now: Now, key: ServerKey, request: &Message) {
        let call = request.call_id().unwrap_or_default().to_owned();
        let known = self.calls.remove(&call).is_some() | self.talks.remove(&call).is_some();
        if !self.settings.has(Quirk::NoByeReply) {
            self.transactions.respond(now.instant, key, request.response(if known { 200 } else { 481 }));
        }
        if !self.settings.has(Quirk::ByeIgnored) {
            self.outputs.push_back(Output::Stop { call });
        }
    }

    /// The platform took its INVITE back.
    pub(super) fn cancelled(&mut self, now: Now, key: ServerKey) {
        let found = self.calls.iter().find(|(_, call)| call.invite == key).map(|(id, _)| id.clone());
        if let Some((id, call)) = found.and_then(|id| self.calls.remove_entry(&id)) {
            self.transactions.respond(now.instant, key, call.request.response(487));
            self.outputs.push_back(Output::Stop { call: id });
        }
    }

    /// Nobody acknowledged the answer.
    pub(super) fn unacknowledged(&mut self, now: Now, key: ServerKey) {
        let found = self.calls.iter().find(|(_, call)| call.invite == key).map(|(id, _)| id.clone());
        if let Some(call) = found {
            self.hang_up(now, &call);
        }
    }

    /// Annex B.
    pub(super) fn info(&mut self, now: Now, key: ServerKey, request: &Message) {
        let call = request.call_id().unwrap_or_default().to_owned();
        let Some(open) = self.calls.get_mut(&call) else {
            self.transactions.respond(now.instant, key, request.response(481));
            return;
        };
        let Some(steering) = steering::parse(&request.body) else {
            // An INFO that says nothing is a sign of life.
            let code = if request.body.is_empty() { 200 } else { 400 };
            self.transactions.respond(now.instant, key, request.response(code));
            return;
        };
        if self.settings.has(Quirk::NoSpeed) && steering.changes_speed() {
            let refusal = steering::refusal(&request.body);
            let response = request.response(200).with_body(steering::CONTENT_TYPE, refusal);
            self.transactions.respond(now.instant, key, response);
            return;
        }
        if open.steering.len() >= MAX_STEERING {
            self.transactions.respond(now.instant, key, request.response(503));
            return;
        }
        open.steering.push_back((key, request.clone()));
        self.outputs.push_back(Output::Steer { call, steering });
    }

    /// A playback does what it was told and stands here now; `None`: it is over.
    pub fn steered(&mut self, now: Now, call: &str, position: Option<Position>) {
        let bare = self.settings.has(Quirk::InfoBare);
        let Some((key, request)) = self.calls.get_mut(call).and_then(|open| open.steering.pop_front()) else {
            return;
        };
        let response = match position {
            Some(_) if bare => request.response(200),
            Some(position) => request
                .response(200)
                .with_body(steering::CONTENT_TYPE, steering::answer(&request.body, position)),
            None => request.response(481),
        };
        self.transactions.respond(now.instant, key, response);
        self.settle(now);
    }

    /// A recording was sent to its end: MediaStatus 121. The platform hangs up then.
    pub fn media_ended(&mut self, now: Now, call: &str) {
        if self.settings.has(Quirk::NoFileEnd) {
            return;
        }
        let Some(channel) = self.calls.get(call).map(|open| self.population.channel(open.plan.channel))
        else {
            return;
        };
        let sn = self.next_sn();
        let text = write::media_status(sn, &channel, MediaStatus::FILE_END);
        if self.settings.has(Quirk::EndOutside) {
            self.announce(now, &text);
        } else {
            let body = self.document(&text);
            let dialog = self.calls.get_mut(call).and_then(|open| open.dialog.as_mut());
            if let Some(dialog) = dialog {
                let request = dialog.request(Method::Message).with_body(manscdp::CONTENT_TYPE, body);
                self.request_out(now, request, Purpose::Other);
            }
        }
        self.settle(now);
    }

    pub(super) fn call_due(&self) -> Option<Instant> {
        let answers = self.calls.values().filter_map(|call| call.answer_at.map(|(at, _)| at));
        answers.chain(self.calls.values().filter_map(|call| call.bye_at)).min()
    }

    pub(super) fn call_timeout(&mut self, now: Now) {
        let due = |at: Instant| at <= now.instant;
        let answers: Vec<(String, Ready)> = self
            .calls
            .iter_mut()
            .filter(|(_, call)| call.answer_at.is_some_and(|(at, _)| due(at)))
            .filter_map(|(id, call)| Some((id.clone(), call.answer_at.take()?.1)))
            .collect();
        for (call, ready) in answers {
            self.answer_call(now, &call, Some(ready));
        }
        let over: Vec<String> = self
            .calls
            .iter()
            .filter(|(_, call)| call.bye_at.is_some_and(due))
            .map(|(id, _)| id.clone())
            .collect();
        for call in over {
            self.hang_up(now, &call);
        }
    }

    fn hang_up(&mut self, now: Now, call: &str) {
        let Some(mut open) = self.calls.remove(call) else { return };
        if let Some(dialog) = open.dialog.as_mut() {
            let bye = dialog.request(Method::Bye);
            self.request_out(now, bye, Purpose::Other);
        }
        self.outputs.push_back(Output::Stop { call: call.to_owned() });
    }

    /// Ends all media without a word.
    pub(super) fn drop_calls(&mut self) {
        let calls = self.calls.drain().map(|(call, _)| call).chain(self.talks.drain().map(|(call, _)| call));
        self.outputs.extend(calls.map(|call| Output::Stop { call }));
    }
}

/// What an offer asks for.
fn content(offer: &Sdp, now: Now) -> Result<Content, u16> {
    let (start, end) = offer.time;
    let is = |name: &str| offer.session.eq_ignore_ascii_case(name);
    if is("Talk") {
        return Ok(Content::Talk);
    }
    if !is("Playback") && !is("Download") {
        return Ok(Content::Live);
    }
    if start >= end {
        return Err(488);
    }
    // What has not happened was not recorded.
    let end = end.min(now.unix.seconds().unsigned_abs());
    if start >= end {
        return Err(404);
    }
    if is("Playback") {
        return Ok(Content::Playback { start, end });
    }
    let speed = offer.media.iter().find_map(|media| media.attribute("downloadspeed"));
    let speed = speed.and_then(|speed| speed.trim().parse().ok()).unwrap_or(1);
    Ok(Content::Download { start, end, speed: speed.clamp(1, MAX_SPEED) })
}

/// The stream asked for, by whichever of the vendors' attributes.
fn stream(offer: &Sdp) -> u8 {
    let attributes = offer.media.iter().flat_map(|media| &media.attributes);
    let mut told = attributes.filter(|(name, _)| name.to_ascii_lowercase().starts_with("stream"));
    let Some((_, Some(value))) = told.next() else { return 0 };
    match value.trim().to_ascii_lowercase().as_str() {
        "main" => 0,
        "sub" => 1,
        "third" => 2,
        number => number.parse().unwrap_or(0).min(2),
    }
}

/// Sound both ways, G.711A.
fn talk_answer(offer: &Sdp, owner: &Id, local: SocketAddr) -> Option<Sdp> {
    let offered = offer.media.iter().find(|media| media.kind == "audio" && media.port != 0)?;
    let media = Media {
        kind: "audio".to_owned(),
        port: local.port(),
        transport: offered.transport,
        payloads: vec![Payload::new(PCMA, "PCMA", 8_000)],
        direction: Some(offered.direction.unwrap_or(Direction::SendRecv).reversed()),
        setup: offered.setup.map(sdp::Setup::reversed),
        address: None,
        attributes: Vec::new(),
    };
    Some(Sdp {
        owner: owner.to_string(),
        session: offer.session.clone(),
        address: Some(local.ip()),
        time: (0, 0),
        uri: None,
        media: vec![media],
        ssrc: offer.ssrc,
        format: Some("v/////a/1/8/1".to_owned()),
    })
}
