//! A voice to a device's loudspeaker, in the two ways there are: by Broadcast (clause 9.12) the platform announces it
//! and the device fetches it by an INVITE of its own; by Talk the platform says INVITE with `s=Talk`.

use std::time::{Duration, Instant};

use super::{
    Action, Call, CallId, Calls, Content, Failure, Finish, Flowing, Key, Reason, State, Target, Timer,
    Waiter, invite,
};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::sdp::{self, MediaMode, Sdp, SourcePath};
use crate::gb::time::Now;
use crate::registry::profile::{TalkStart, TalkWay};
use crate::sip::{Dialog, Flow, Message, ServerKey};

/// From the device's consent to its INVITE.
const INVITE_PATIENCE: Duration = Duration::from_secs(5);

/// From our 200 until BYE is said even without its ACK: a little longer than the 200 is sent again
/// (RFC 3261 13.3.1.4: 64 T1).
const ACK_PATIENCE: Duration = Duration::from_secs(40);

/// Why a voice came to nothing.
pub(super) const NO_INVITE: &str = "the device sent no INVITE after the broadcast was announced to it";

/// What a call for a voice knows besides.
#[derive(Default)]
pub(super) struct Talk {
    /// The device's INVITE.
    pub(super) server: Option<ServerKey>,
    /// Whether the device said that it will fetch the voice.
    pub(super) consented: bool,
    /// Whether the device's INVITE has a final answer.
    answered: bool,
    /// Whether the device acknowledged our 200.
    pub(super) acknowledged: bool,
    /// When the device will not acknowledge any more.
    pub(super) ack_deadline: Option<Instant>,
    /// Whether the TCP connection stands.
    pub(super) connected: bool,
    /// Where the device takes sound or connections.
    remote: Option<std::net::SocketAddr>,
}

impl Talk {
    /// Whether the device says INVITE, not we.
    pub(super) fn is_called(&self) -> bool {
        self.server.is_some()
    }
}

impl Calls {
    /// Somebody wants to speak to a device. The answer comes as [`Action::Tell`], once sound may be sent. One at a
    /// time: others are told that somebody speaks already.
    pub fn talk(&mut self, now: Now, waiter: Waiter, key: Key, target: Target, way: TalkWay) {
        if self.live.contains_key(&key) {
            let why = "somebody else speaks to this device already";
            return self.tell(waiter, Err(Failure::new(Reason::TalkBusy, why)));
        }
        let state = if way == TalkWay::Broadcast { State::Asking } else { State::Opening };
        let Some(id) = self.begin(now, waiter, key, target, state) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.talk = Some(Box::default());
        match way {
            TalkWay::Broadcast => {
                let Key { device, channel, .. } = key;
                self.actions.push_back(Action::Broadcast { call: id, device, channel });
            }
            TalkWay::Talk => {
                call.target.transport = invite::talk_mode(target.manners.talk_transport);
                self.open_media(id, Flowing::BothAudio);
            }
        }
    }

    /// What the device said to the announcement of a voice: its consent, or why it will not take it.
    pub fn broadcast_answered(&mut self, now: Now, id: CallId, answer: Result<(), String>) {
        // An INVITE that overtook the answer says more than it.
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.state == State::Asking) else { return };
        match answer {
            Ok(()) => {
                call.talk.get_or_insert_default().consented = true;
                self.set_timer(id, Timer::Life, Some(now.instant + INVITE_PATIENCE));
            }
            Err(why) => self.finish(id, Failure::new(Reason::TalkRefused, why)),
        }
    }

    /// An INVITE of a device outside any dialog. Returns false if no voice is announced to that device: answer 488.
    pub fn incoming(&mut self, now: Now, key: ServerKey, flow: Flow, device: Id, request: &Message) -> bool {
        let Some(call_id) = request.call_id().filter(|call_id| !self.by_call_id.contains_key(*call_id))
        else {
            return false;
        };
        let Some(id) = self.announced(&device, request) else { return false };
        let mut offer = sdp::parse(&request.body).ok();
        if let Some(offer) = &mut offer {
            // A device that does not know its own address takes sound where it speaks SIP.
            for media in &mut offer.media {
                media.address.take_if(|ip| ip.is_unspecified());
            }
            offer.address.take_if(|ip| ip.is_unspecified());
            offer.address.get_or_insert(flow.remote.ip());
        }
        let path = offer.as_ref().and_then(|offer| offer.voice_path().ok());
        let sound = offer.filter(|offer| offer.voice_payload().is_ok());
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let talk = call.talk.get_or_insert_default();
        talk.server = Some(key);
        call.invite = Some(request.clone());
        call.target.flow = flow;
        call.state = State::Opening;
        self.by_call_id.insert(call_id.to_owned(), id);
        self.by_server.insert(key, id);
        let (Some(offer), Some(path)) = (sound, path) else {
            self.observe(id, Rule::SdpUnreadable, invite::sample(&String::from_utf8_lossy(&request.body)));
            self.refuse_voice(id, 488);
            let why = "the device's INVITE offers no G.711 A-law sound, or no address for it";
            self.finish(id, Failure::new(Reason::TalkRefused, why));
            return true;
        };
        (call.target.transport, talk.remote) = match path {
            SourcePath::Send { to } => (MediaMode::Udp, Some(to)),
            SourcePath::Connect { to } => (MediaMode::TcpActive, Some(to)),
            SourcePath::Accept => (MediaMode::TcpPassive, None),
        };
        call.offer = Some(offer);
        self.set_timer(id, Timer::Life, Some(now.instant + self.settings.play_timeout));
        self.open_media(id, Flowing::OutAudio);
        true
    }

    /// The devices that a voice is announced to and whose INVITE is waited for.
    pub fn awaited(&self) -> impl Iterator<Item = Id> {
        let voices = self.live.iter().filter(|(key, _)| key.content == Content::Talk);
        let asking =
            voices.filter_map(|(_, id)| self.calls.get(id)).filter(|call| call.state == State::Asking);
        asking.map(|call| call.key.device)
    }

    /// The call that an INVITE of a device answers: a voice announced to it, best for the output that the INVITE
    /// names (From and Subject may be the output, the device, or something else), else the oldest.
    fn announced(&self, device: &Id, request: &Message) -> Option<CallId> {
        let asking: Vec<(CallId, Id)> = self
            .calls_of(device)
            .into_iter()
            .filter_map(|id| {
                let call = self.calls.get(&id).filter(|call| call.state == State::Asking)?;
                Some((id, call.key.channel))
            })
            .collect();
        let from = request.from().and_then(|from| from.user.map(str::to_owned));
        let subject = request.header("Subject").unwrap_or_default();
        let named = asking.iter().find(|(_, channel)| {
            from.as_deref() == Some(channel.as_str()) || subject.contains(channel.as_str())
        });
        named.or(asking.first()).map(|(id, _)| *id)
    }

    /// The device took back an INVITE that has no final answer. Returns false if it is none of ours.
    pub fn cancelled(&mut self, key: ServerKey) -> bool {
        let Some(id) = self.by_server.get(&key).copied() else { return false };
        self.refuse_voice(id, 487);
        let why = Failure::new(Reason::TalkRefused, "the device cancelled its INVITE");
        self.finish_as(id, why, Finish::ByDevice);
        true
    }

    /// An ACK. Returns false if it belongs to no call.
    pub fn acknowledged(&mut self, now: Now, ack: &Message) -> bool {
        let Some(id) = self.call_of(ack) else { return false };
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let Some(talk) = call.talk.as_mut().filter(|talk| talk.is_called()) else { return false };
        talk.acknowledged = true;
        if call.state == State::Owing {
            self.hang_up(id)
        } else {
            self.voice_progress(now, id)
        }
        true
    }

    /// The device never acknowledged our 200. Returns false if it is none of ours.
    pub fn unacknowledged(&mut self, key: ServerKey) -> bool {
        let Some(id) = self.by_server.get(&key).copied() else { return false };
        let Some(call) = self.calls.get_mut(&id) else { return false };
        if let Some(talk) = &mut call.talk {
            // BYE may be said now.
            talk.acknowledged = true;
        }
        match call.state {
            State::Owing => self.hang_up(id),
            State::Connecting => {
                let why = Failure::new(Reason::TalkTimeout, "the device never acknowledged our 200 (no ACK)");
                self.finish(id, why);
            }
            // It is being spoken to, since it wants sound right after the 200: that it says nothing hurts nobody.
            _ => {}
        }
        true
    }

    /// Answers the device's INVITE: the port for the sound is open.
    pub(super) fn accept_voice(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (Some(local), Some(offer), Some(request)) = (call.media, &call.offer, &call.invite) else {
            return;
        };
        let Some(talk) = &mut call.talk else { return };
        let Some(key) = talk.server else { return };
        let platform = self.settings.platform;
        let answer = Sdp::broadcast_answer(offer, &platform, local, call.ssrc).ok().map(|sdp| {
            request
                .response(200)
                .with_to_tag(&self.tokens.tag())
                .with("Contact", invite::contact(&platform, call.target.flow.local))
                .with("Allow", invite::ALLOW)
                .with_body(sdp::CONTENT_TYPE, sdp.to_bytes())
        });
        let Some((message, dialog)) = answer.and_then(|answer| {
            let dialog = Dialog::uas(request, &answer)?;
            Some((answer, dialog))
        }) else {
            self.refuse_voice(id, 400);
            let why = "the device's INVITE has no usable From, Call-ID or CSeq";
            return self.finish(id, Failure::new(Reason::TalkRefused, why));
        };
        let (ssrc, payload_type) = (offer.ssrc.unwrap_or(call.ssrc), offer.voice_payload().ok());
        talk.answered = true;
        talk.ack_deadline = Some(now.instant + ACK_PATIENCE);
        let remote = talk.remote;
        call.state = State::Connecting;
        self.actions.push_back(Action::Respond { key, message });
        self.keep(now, id, dialog);
        self.actions.push_back(Action::ConnectMedia {
            call: id,
            remote,
            ssrc,
            file_size: None,
            payload_type,
        });
        self.voice_progress(now, id);
    }

    /// Refuses the device's INVITE, unless it is answered already.
    pub(super) fn refuse_voice(&mut self, id: CallId, code: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (Some(talk), Some(request)) = (&mut call.talk, &call.invite) else { return };
        if let Some(key) = talk.server.filter(|_| !std::mem::replace(&mut talk.answered, true)) {
            self.actions.push_back(Action::Respond { key, message: request.response(code) });
        }
    }

    /// Lets the voice begin, once all that it needs is there.
    pub(super) fn voice_progress(&mut self, now: Now, id: CallId) {
        let Some(call) = self.calls.get(&id).filter(|call| call.state == State::Connecting) else { return };
        if missing(call).is_none() {
            self.actions.push_back(Action::TalkReady { call: id });
            self.run(now, id);
        }
    }
}

/// What a voice still waits for.
fn missing(call: &Call) -> Option<&'static str> {
    let talk = call.talk.as_ref()?;
    let at_once = call.target.manners.talk_start == TalkStart::AfterOk;
    if talk.is_called() && !talk.acknowledged && !at_once {
        return Some("the device did not acknowledge our 200 (no ACK)");
    }
    match call.target.transport {
        MediaMode::TcpPassive if !talk.connected => {
            Some("the device did not connect to the port it was told")
        }
        MediaMode::TcpActive if !talk.connected => Some("no connection to the device's port came to be"),
        _ => None,
    }
}

/// Why a voice that was agreed did not begin.
pub(super) fn not_connected(call: &Call, seconds: f32) -> String {
    let what = missing(call).unwrap_or("the voice did not begin");
    format!("{what} within {seconds} s")
}
