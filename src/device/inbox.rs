//! What devices tell: MESSAGE, and the bodies of NOTIFY (clauses 9.3 to 9.6, 9.11, annex A).

use super::{Action, Devices, Event};
use crate::gb::charset::Charset;
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::{self, DeviceInfo, MediaStatus, Root, SnapshotFinished, UpgradeResult, VideoUpload};
use crate::gb::time::Now;
use crate::registry::Write;
use crate::sip::{Departure, Flow, Message, Method, ServerKey};

/// The answer to a request, to be given once what it says is taken in.
pub(super) struct Reply<'a> {
    pub(super) key: ServerKey,
    pub(super) request: &'a Message,
    /// 200, or 481 to a NOTIFY that nobody asked for.
    pub(super) code: u16,
}

impl Devices {
    pub(super) fn message(&mut self, now: Now, key: ServerKey, flow: Flow, request: &Message) {
        let Some(id) = request.from().and_then(|from| from.user).and_then(|user| Id::parse(user).ok()) else {
            return self.respond(key, request.response(400));
        };
        // 403 and 404 make a device register anew, which proves who it is and where.
        let Some(entry) = self.entries.get_mut(&id) else {
            self.auth_failed(Some(id), "unknown_device");
            return self.respond(key, request.response(404));
        };
        let Some(session) = &entry.session else {
            self.auth_failed(Some(id), "not_registered");
            return self.respond(key, request.response(403));
        };
        // A NAT gives a device another port at any time. Another address could be anybody.
        if session.flow.remote.ip() != flow.remote.ip() {
            self.auth_failed(Some(id), "other_address");
            return self.respond(key, request.response(403));
        }
        let silent = now.instant.saturating_duration_since(session.last_seen);
        self.seen(now, id, flow);
        let Some(body) = self.read_body(now, id, key, request) else { return };
        if body.is(Root::Notify, "Keepalive") {
            self.respond(key, request.response(200));
            return self.keepalive(now, id, &body, silent);
        }
        self.take(now, id, &body, Reply { key, request, code: 200 });
    }

    /// The body of a request, with what departs from the standard in it noted. One that cannot be read is refused.
    pub(super) fn read_body(
        &mut self,
        now: Now,
        id: Id,
        key: ServerKey,
        request: &Message,
    ) -> Option<manscdp::Message> {
        let entry = self.entries.get_mut(&id)?;
        let body = match manscdp::parse(&request.body, &mut entry.history) {
            Ok(body) => body,
            Err(bad) => {
                self.observe(now, &id, Rule::XmlUnreadable, &bad.to_string());
                self.actions.push_back(Action::Event(Event::BadBody { device: id, reason: bad.reason() }));
                self.respond(key, request.response(400));
                return None;
            }
        };
        for departure in body.departures() {
            self.observe_counted(now, id, departure.rule, departure.count, &departure.sample);
        }
        let media = request.content_type().unwrap_or_default();
        if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(manscdp::CONTENT_TYPE) {
            self.observe(now, &id, Rule::SipContentTypeWrong, media);
        }
        self.learn_charset(id, body.charset);
        Some(body)
    }

    /// Takes in what a body says, and answers the request that carries it.
    pub(super) fn take(&mut self, now: Now, id: Id, body: &manscdp::Message, reply: Reply<'_>) {
        // Its answer waits until it is kept.
        if body.is(Root::Notify, "Alarm") {
            return self.alarm(now, id, body, reply);
        }
        let Reply { key, request, code } = reply;
        self.respond(key, request.response(code));
        for departure in request.departures() {
            let rule = match departure {
                Departure::ContentLength => Rule::SipContentLengthWrong,
                Departure::Header => Rule::SipHeaderMalformed,
                // Told once, of the registration.
                _ => continue,
            };
            self.observe(now, &id, rule, departure.as_str());
        }
        let notify = request.method() == Some(&Method::Notify);
        let channel = body.device_id.unwrap_or(id);
        match (body.root, body.cmd.as_str()) {
            // Before 2016 changes came as a response, in a NOTIFY.
            (Root::Response, "Catalog") if !notify => self.catalog_page(now, id, body),
            (Root::Notify | Root::Response, "Catalog") => self.catalog_changed(now, id, body),
            (Root::Notify, "MobilePosition") => self.moved(now, id, body),
            (Root::Notify, "PTZPosition") => self.turned(id, body),
            (Root::Response, "PTZPosition") if notify => self.turned(id, body),
            (Root::Response, cmd) => {
                if cmd == "DeviceInfo" && channel == id {
                    self.device_info(now, id, &DeviceInfo::read(body));
                }
                self.response(now, id, body);
            }
            (Root::Notify, "UploadSnapShotFinished") => {
                let finished = SnapshotFinished::read(body);
                self.event(Event::SnapshotFinished { device: id, channel, finished });
            }
            (Root::Notify, "DeviceUpgradeResult") => {
                let result = UpgradeResult::read(body);
                self.event(Event::UpgradeResult { device: id, result });
            }
            (Root::Notify, "VideoUploadNotify") => {
                let upload = VideoUpload::read(body, self.settings.offset);
                self.event(Event::VideoUpload { device: id, channel, upload });
            }
            // Within its dialog it is told to the call itself.
            (Root::Notify, "MediaStatus")
                if MediaStatus::read(body).notify_type == Some(MediaStatus::FILE_END) =>
            {
                self.event(Event::FileEnd { device: id, channel });
            }
            // Commands that we do not know, and those that are none of a device's, are acknowledged.
            _ => {}
        }
    }

    fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(event));
    }

    /// A device is spoken to in the charset that it speaks. Where all is ASCII there is only the declaration, which
    /// may differ from message to message: it leads away from the default once, and back only by proof.
    fn learn_charset(&mut self, id: Id, spoken: Charset) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let likely = entry.history.charset().is_some() || spoken != Charset::default();
        if entry.device.charset != spoken && likely {
            entry.device.charset = spoken;
            let device = entry.device.clone();
            self.write(Write::PutDevice(device));
        }
    }
}
