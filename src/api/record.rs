//! Who asks, and the record of what was done: every view and every control leaves one.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

use super::{Api, Result};
use crate::access::Principal;
use crate::gb::id::Id;
use crate::net::clock;
use crate::node::Node;
use crate::registry::{Audit, AuditId};

/// The outcome of what went well.
const OK: &str = "ok";
/// The outcome of what was being done when the person went away.
const ABANDONED: &str = "abandoned";

/// Who a request is from, and from where.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    pub(super) user: String,
    role: String,
    from: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Who, Infallible> {
        let principal = parts.extensions.get::<Principal>();
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Who {
            user: principal.map(|principal| principal.user.clone()).unwrap_or_default(),
            role: principal.map(|principal| principal.role.as_str().to_owned()).unwrap_or_default(),
            from: peer.map(|ConnectInfo(peer)| peer.ip().to_canonical().to_string()).unwrap_or_default(),
        })
    }
}

impl Who {
    /// Somebody who is signing in, so that nothing else is known of them.
    pub(super) fn signing_in(user: &str, peer: SocketAddr) -> Who {
        Who { user: user.to_owned(), role: String::new(), from: peer.ip().to_canonical().to_string() }
    }

    /// A device that brings what it was asked for.
    pub(super) fn device(device: Id, peer: SocketAddr) -> Who {
        let from = peer.ip().to_canonical().to_string();
        Who { user: device.to_string(), role: "device".to_owned(), from }
    }

    /// Does something and keeps a record of it, with its outcome.
    pub(super) async fn does<T>(
        &self,
        api: &Api,
        deed: Deed,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        // Dropped where the request is abandoned half-way: the record is kept all the same.
        let mut open = Open { node: &api.node, audit: Some(self.audit(deed)) };
        let done = work.await;
        open.close(done.as_ref().err().map_or(OK, |problem| problem.code()));
        done
    }

    /// Keeps a record of what is done by now.
    pub(super) fn did(&self, api: &Api, deed: Deed, outcome: &str) {
        Open { node: &api.node, audit: Some(self.audit(deed)) }.close(outcome);
    }

    fn audit(&self, deed: Deed) -> Audit {
        let Deed { action, device, channel, detail } = deed;
        let (user, role, from) = (self.user.clone(), self.role.clone(), self.from.clone());
        let outcome = ABANDONED.to_owned();
        Audit {
            id: AuditId::default(),
            at: clock::unix(),
            user,
            role,
            from,
            action,
            device,
            channel,
            detail,
            outcome,
        }
    }
}

/// What somebody does.
#[derive(Debug)]
pub(super) struct Deed {
    action: String,
    device: Option<Id>,
    channel: Option<Id>,
    detail: String,
}

impl Deed {
    /// `action` is a word, or two with a dot between them: `ptz`, `control.reboot`.
    pub(super) fn new(action: impl Into<String>) -> Deed {
        Deed { action: action.into(), device: None, channel: None, detail: String::new() }
    }

    pub(super) fn on(self, device: Id) -> Deed {
        Deed { device: Some(device), ..self }
    }

    pub(super) fn at(self, device: Id, channel: Id) -> Deed {
        Deed { device: Some(device), channel: Some(channel), ..self }
    }

    /// More of it, for a person to read. No secret belongs here.
    pub(super) fn saying(self, detail: impl Into<String>) -> Deed {
        Deed { detail: detail.into(), ..self }
    }
}

struct Open<'a> {
    node: &'a Node,
    audit: Option<Audit>,
}

impl Open<'_> {
    fn close(&mut self, outcome: &str) {
        if let Some(audit) = self.audit.take() {
            self.node.audit(Audit { outcome: outcome.to_owned(), ..audit });
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.close(ABANDONED);
    }
}
