//! Broadcast (9.12): the platform announces sound, the device calls for it.

use std::net::SocketAddr;

use super::calls::PCMA;
use super::{Device, Output, Purpose};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, write};
use crate::gb::sdp::{self, Direction, Media, MediaTransport, Payload, Sdp, Setup};
use crate::gb::ssrc;
use crate::gb::subject::Subject;
use crate::gb::time::Now;
use crate::simulator::quirks::Quirk;
use crate::simulator::settings::TalkWay;
use crate::sip::{Dialog, Message, Method};

/// Broadcasts at once.
const MAX_TALKS: usize = 16;

/// A broadcast that the device calls for.
pub(super) struct Talk {
    /// Who speaks, and which loudspeaker is spoken to.
    source: Id,
    target: Id,
    invite: Option<Message>,
    dialog: Option<Dialog>,
}

impl Device {
    pub(super) fn broadcast(&mut self, now: Now, body: &manscdp::Message) {
        let id = |name| body.body.text_of(name).and_then(|text| Id::parse(text).ok());
        let target = id("TargetID").unwrap_or(self.id);
        let source = id("SourceID").unwrap_or(self.registration.server_id);
        let ok = !self.settings.has(Quirk::TalkRefused) && self.talks.len() < MAX_TALKS;
        self.answer(now, body, target, |sn, id| write::response_ok("Broadcast", sn, id, ok));
        if ok && !self.settings.has(Quirk::TalkSilent) {
            let call = self.tokens.call_id(&self.flow.local.ip().to_string());
            self.talks.insert(call.clone(), Talk { source, target, invite: None, dialog: None });
            self.outputs.push_back(Output::Listen { call, way: self.settings.talk });
        }
    }

    /// Sound can be taken in at this address; `None`: it can't at all.
    pub fn listening(&mut self, now: Now, call: &str, local: Option<SocketAddr>) {
        let tag = self.tokens.tag();
        let contact = self.contact();
        let Some(talk) = self.talks.get_mut(call) else { return };
        let Some(local) = local else {
            self.talks.remove(call);
            return;
        };
        let domain = &self.settings.domain;
        // As for a live stream of the platform's domain; the serial tells devices apart.
        let serial: u16 = self.id.as_str().get(16..).and_then(|serial| serial.parse().ok()).unwrap_or(1);
        let ssrc = ssrc::live(&self.registration.server_id, serial);
        let offer = offer(&talk.target, local, self.settings.talk, ssrc);
        let request = Message::request(Method::Invite, &format!("sip:{}@{domain}", talk.source))
            .with("From", format!("<sip:{}@{domain}>;tag={tag}", self.id))
            .with("To", format!("<sip:{}@{domain}>", talk.source))
            .with("Call-ID", call)
            .with("CSeq", "1 INVITE")
            .with("Contact", contact)
            .with("Max-Forwards", "70")
            .with("Subject", Subject::new(talk.source, ssrc, talk.target).to_string())
            .with_body(sdp::CONTENT_TYPE, offer.to_bytes());
        talk.invite = Some(request.clone());
        self.request_out(now, request, Purpose::Talk);
        self.settle(now);
    }

    /// The platform answered the device's INVITE. Each 2xx is acknowledged.
    pub(super) fn talk_answered(&mut self, now: Now, response: &Message) {
        let call = response.call_id().unwrap_or_default();
        let code = response.code().unwrap_or(0);
        let Some(talk) = self.talks.get_mut(call).filter(|_| code >= 200) else { return };
        let dialog = talk.invite.as_ref().and_then(|invite| Dialog::uac(invite, response));
        let Some(mut dialog) = dialog.filter(|_| code < 300) else {
            return self.talk_over(call);
        };
        self.transactions.acknowledge(self.flow, dialog.ack(1));
        if talk.dialog.is_some() {
            return;
        }
        let answer = sdp::parse(&response.body).ok();
        let media = answer.as_ref().and_then(|answer| Some((answer, answer.medium("audio")?)));
        match media.filter(|(_, media)| media.port != 0) {
            Some((answer, media)) => {
                talk.dialog = Some(dialog);
                let to = answer.address_of(media);
                self.outputs.push_back(Output::Hear { call: call.to_owned(), to });
            }
            None => {
                let bye = dialog.request(Method::Bye);
                self.talk_over(call);
                self.request_out(now, bye, Purpose::Other);
            }
        }
    }

    fn talk_over(&mut self, call: &str) {
        self.talks.remove(call);
        self.outputs.push_back(Output::Stop { call: call.to_owned() });
    }

    /// No answer at all: those that have no dialog are over.
    pub(super) fn talk_failed(&mut self) {
        let open: Vec<String> = self
            .talks
            .iter()
            .filter(|(_, talk)| talk.dialog.is_none())
            .map(|(call, _)| call.clone())
            .collect();
        for call in open {
            self.talk_over(&call);
        }
    }
}

/// The description of the sound that is called for: G.711A, one way.
fn offer(target: &Id, local: SocketAddr, way: TalkWay, ssrc: u32) -> Sdp {
    let media = Media {
        kind: "audio".to_owned(),
        port: local.port(),
        transport: if way == TalkWay::Udp { MediaTransport::Udp } else { MediaTransport::Tcp },
        payloads: vec![Payload::new(PCMA, "PCMA", 8_000)],
        direction: Some(Direction::RecvOnly),
        setup: match way {
            TalkWay::Udp => None,
            TalkWay::TcpActive => Some(Setup::Active),
            TalkWay::TcpPassive => Some(Setup::Passive),
        },
        address: None,
        attributes: Vec::new(),
    };
    Sdp {
        owner: target.to_string(),
        session: "Play".to_owned(),
        address: Some(local.ip()),
        time: (0, 0),
        uri: None,
        media: vec![media],
        ssrc: Some(ssrc),
        format: Some("v/////a/1/8/1".to_owned()),
    }
}
