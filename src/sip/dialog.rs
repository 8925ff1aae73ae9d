//! Dialogs (RFC 3261 12): what two sides remember of each other between INVITE and BYE, or between SUBSCRIBE
//! and the end of a subscription.
//!
//! A dialog is data and can be stored, so that a call survives a restart and can still be ended.

use super::message::{Address, Message, Method};
use serde::{Deserialize, Serialize};

/// The most proxies that may record themselves in a route; more make no dialog.
const MAX_ROUTES: usize = 16;

/// One side's view of a dialog.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Dialog {
    pub call_id: String,
    pub local_tag: String,
    /// Empty if the peer sent none, as old devices do (RFC 3261 12.1.1).
    pub remote_tag: String,
    pub local_uri: String,
    pub remote_uri: String,
    /// Where requests are addressed: the peer's Contact. Where they are sent is the flow's business.
    pub remote_target: String,
    pub route_set: Vec<String>,
    /// The number of the last request sent.
    pub local_seq: u32,
    /// The number of the last request received.
    pub remote_seq: Option<u32>,
}

impl Dialog {
    /// The side that sent the request, from a 1xx with a tag or a 2xx (RFC 3261 12.1.2). `None` if the two do
    /// not belong together.
    pub fn uac(request: &Message, response: &Message) -> Option<Dialog> {
        let (local, remote) = (request.from()?, response.to()?);
        let (local_seq, _) = request.cseq()?;
        let same = response.call_id()? == request.call_id()? && response.from()?.tag == local.tag;
        let mut route_set = routes(response)?;
        route_set.reverse();
        same.then_some(Dialog {
            call_id: request.call_id()?.to_owned(),
            local_tag: tag(&local),
            remote_tag: tag(&remote),
            local_uri: local.uri.to_owned(),
            remote_uri: remote.uri.to_owned(),
            remote_target: match response.contact() {
                Some(contact) => contact.uri.to_owned(),
                None => request.uri()?.to_owned(),
            },
            route_set,
            local_seq,
            remote_seq: None,
        })
    }

    /// The side that answers, from the request and the answer to be sent, whose To has our tag (RFC 3261
    /// 12.1.1).
    pub fn uas(request: &Message, response: &Message) -> Option<Dialog> {
        let (remote, local) = (request.from()?, response.to()?);
        let (remote_seq, _) = request.cseq()?;
        Some(Dialog {
            call_id: request.call_id()?.to_owned(),
            local_tag: local.tag?.to_owned(),
            remote_tag: tag(&remote),
            local_uri: local.uri.to_owned(),
            remote_uri: remote.uri.to_owned(),
            remote_target: request.contact().map_or(remote.uri, |contact| contact.uri).to_owned(),
            route_set: routes(request)?,
            local_seq: 0,
            remote_seq: Some(remote_seq),
        })
    }

    /// The next request inside the dialog: BYE, INFO, MESSAGE, a re-INVITE (RFC 3261 12.2.1.1).
    pub fn request(&mut self, method: Method) -> Message {
        self.local_seq = self.local_seq.wrapping_add(1);
        self.message(method, self.local_seq)
    }

    /// The ACK of a 2xx; `cseq` is the number of the INVITE (RFC 3261 13.2.2.4).
    pub fn ack(&self, cseq: u32) -> Message {
        self.message(Method::Ack, cseq)
    }

    fn message(&self, method: Method, cseq: u32) -> Message {
        let field = |uri: &str, tag: &str| {
            if tag.is_empty() { format!("<{uri}>") } else { format!("<{uri}>;tag={tag}") }
        };
        let numbered = format!("{cseq} {method}");
        let mut message = Message::request(method, &self.remote_target);
        for route in &self.route_set {
            message = message.with("Route", route.as_str());
        }
        message
            .with("From", field(&self.local_uri, &self.local_tag))
            .with("To", field(&self.remote_uri, &self.remote_tag))
            .with("Call-ID", self.call_id.as_str())
            .with("CSeq", numbered)
            .with("Max-Forwards", "70")
    }

    /// Whether a request from the peer, or its answer to a request of ours, belongs to this dialog: the
    /// Call-ID and the tags. A tag that one side left out is not compared, since devices lose theirs; a
    /// Call-ID of our own making cannot be guessed.
    pub fn matches(&self, message: &Message) -> bool {
        let (Some(from), Some(to)) = (message.from(), message.to()) else { return false };
        let (local, remote) = if message.is_request() { (to, from) } else { (from, to) };
        let agree = |own: &str, other: Option<&str>| own.is_empty() || other.is_none_or(|other| other == own);
        message.call_id() == Some(&self.call_id)
            && agree(&self.local_tag, local.tag)
            && agree(&self.remote_tag, remote.tag)
    }

    /// Takes note of a request from the peer. `false` if it is older than one before: answer 500 (RFC 3261
    /// 12.2.2). A new Contact in a re-INVITE, or in a SUBSCRIBE or NOTIFY, becomes the target.
    pub fn receive(&mut self, request: &Message) -> bool {
        let Some((number, method)) = request.cseq() else { return false };
        if method == Method::Ack {
            return true;
        }
        if self.remote_seq.is_some_and(|last| number < last) {
            return false;
        }
        self.remote_seq = Some(number);
        if matches!(method, Method::Invite | Method::Subscribe | Method::Notify)
            && let Some(contact) = request.contact()
        {
            contact.uri.clone_into(&mut self.remote_target);
        }
        true
    }
}

fn tag(address: &Address<'_>) -> String {
    address.tag.unwrap_or_default().to_owned()
}

/// The Record-Routes in their order; `None` if there are too many.
fn routes(message: &Message) -> Option<Vec<String>> {
    let routes: Vec<String> =
        message.elements("Record-Route").take(MAX_ROUTES + 1).map(str::to_owned).collect();
    (routes.len() <= MAX_ROUTES).then_some(routes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn parse(text: &str) -> Message {
        Message::parse(&Bytes::from(text.to_owned())).unwrap()
    }

    fn invite() -> Message {
        parse(
            "INVITE sip:34020000001310000001@192.0.2.20:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bK7001\r\n\
             From: <sip:34020000002000000001@3402000000>;tag=p1\r\n\
             To: <sip:34020000001310000001@3402000000>\r\n\
             Call-ID: live-0001@192.0.2.10\r\n\
             CSeq: 20 INVITE\r\n\
             Contact: <sip:34020000002000000001@192.0.2.10:5060>\r\n\r\n",
        )
    }

    fn answer() -> Message {
        invite().response(200).with_to_tag("d1").with("Contact", "<sip:34020000001310000001@10.0.0.5:5060>")
    }

    #[test]
    fn the_caller_acknowledges_and_hangs_up() {
        let mut dialog = Dialog::uac(&invite(), &answer()).unwrap();
        let ack = dialog.ack(20);
        assert_eq!(ack.uri(), Some("sip:34020000001310000001@10.0.0.5:5060"));
        assert_eq!(ack.cseq(), Some((20, Method::Ack)));
        let bye = dialog.request(Method::Bye);
        assert_eq!(bye.cseq(), Some((21, Method::Bye)));
        assert_eq!(bye.header("From"), Some("<sip:34020000002000000001@3402000000>;tag=p1"));
        assert_eq!(bye.header("To"), Some("<sip:34020000001310000001@3402000000>;tag=d1"));
        assert_eq!(bye.call_id(), Some("live-0001@192.0.2.10"));
        assert_eq!(dialog.request(Method::Info).cseq(), Some((22, Method::Info)));
        assert!(dialog.matches(&bye.response(200)), "the answer to our own request");
        assert!(!dialog.matches(&bye), "our own request is not the peer's");
    }

    #[test]
    fn both_sides_recognise_each_other() {
        let mut caller = Dialog::uac(&invite(), &answer()).unwrap();
        let mut called = Dialog::uas(&invite(), &answer()).unwrap();
        let down = caller.request(Method::Bye);
        let up = called.request(Method::Message);
        assert!(called.matches(&down) && called.receive(&down));
        assert!(caller.matches(&up) && caller.receive(&up));
        assert_eq!(up.uri(), Some("sip:34020000002000000001@192.0.2.10:5060"));
        let mut other = up.clone();
        other.set("To", "<sip:34020000002000000001@3402000000>;tag=else");
        assert!(!caller.matches(&other));
        other.set("To", "<sip:34020000002000000001@3402000000>");
        assert!(caller.matches(&other), "a device that lost our tag");
        other.set("Call-ID", "another");
        assert!(!caller.matches(&other));
    }

    #[test]
    fn requests_out_of_order_are_refused() {
        let mut called = Dialog::uas(&invite(), &answer()).unwrap();
        let mut caller = Dialog::uac(&invite(), &answer()).unwrap();
        let first = caller.request(Method::Info);
        let second = caller.request(Method::Info);
        assert!(called.receive(&second));
        assert!(!called.receive(&first));
        assert!(called.receive(&caller.ack(20)), "an ACK has the number of its INVITE");
    }

    #[test]
    fn routes_are_followed_in_the_order_of_each_side() {
        let mut request = invite();
        request.set("Record-Route", "<sip:b;lr>, <sip:a;lr>");
        let response = request.response(200).with_to_tag("d1");
        let routes =
            |mut dialog: Dialog| dialog.request(Method::Bye).headers("Route").collect::<Vec<_>>().join(" ");
        assert_eq!(routes(Dialog::uac(&request, &response).unwrap()), "<sip:a;lr> <sip:b;lr>");
        assert_eq!(routes(Dialog::uas(&request, &response).unwrap()), "<sip:b;lr> <sip:a;lr>");
        request.set("Record-Route", ["<sip:a;lr>"; 17].join(","));
        assert!(Dialog::uas(&request, &response).is_none(), "too many proxies");
    }

    #[test]
    fn a_dialog_survives_being_stored() {
        let dialog = Dialog::uac(&invite(), &answer()).unwrap();
        let stored = serde_json::to_string(&dialog).unwrap();
        assert_eq!(serde_json::from_str::<Dialog>(&stored).unwrap(), dialog);
    }

    #[test]
    fn an_answer_to_another_request_makes_no_dialog() {
        let mut other = answer();
        other.set("Call-ID", "x");
        assert!(Dialog::uac(&invite(), &other).is_none());
        assert!(Dialog::uas(&invite(), &invite().response(200)).is_none(), "an answer without our tag");
    }
}
