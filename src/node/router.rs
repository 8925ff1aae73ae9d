//! Which shard a SIP message belongs to.
//!
//! Tags, branches and Call-IDs that we made carry the shard, so answers and requests inside a dialog find it even
//! where From lies. Everything else goes by the user of From, the device's id.

use std::hash::{BuildHasher, Hasher};

use tokio::sync::mpsc;
use tracing::debug;

use super::shard::Input;
use super::signalling::Command;
use super::talk::{Callers, shard_of_caller};
use crate::gb::id::Id;
use crate::net::sip::{DROPPED, Inbound, Inbox};
use crate::sip::{Flow, Message, Method, shard_of};
use crate::telemetry::metrics::{self, Direction};

/// Hands everything that comes in over SIP to its shard, until the sockets are closed.
pub(super) async fn run(mut inbound: Inbox, shards: Vec<mpsc::Sender<Command>>, callers: Callers) {
    while let Some(event) = inbound.recv().await {
        match event {
            Inbound::Message { flow, message } => {
                if let Some(summary) = message.summary() {
                    metrics::sip_message(Direction::In, flow.transport, &summary);
                }
                let shard = &shards[shard_of_message(&message, flow, &callers, shards.len())];
                if shard.try_send(Command::Input(Input::Message { flow, message })).is_err() {
                    ::metrics::counter!(DROPPED, "reason" => "overload").increment(1);
                }
            }
            Inbound::Malformed { flow, reason } => {
                // Counted where it came in.
                debug!(remote = %flow.remote, reason, "malformed SIP message");
            }
            Inbound::Closed { connection } => {
                for shard in &shards {
                    let _ = shard.send(Command::Input(Input::ConnectionClosed { connection })).await;
                }
            }
        }
    }
}

/// The shard that owns a device.
pub(super) fn shard_of_device(device: &Id, shards: usize) -> usize {
    // Fixed keys: a device must fall to the same shard for as long as this process runs.
    let mut hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
    hasher.write(device.as_str().as_bytes());
    (hasher.finish() % shards.max(1) as u64) as usize
}

fn shard_of_message(message: &Message, flow: Flow, callers: &Callers, shards: usize) -> usize {
    match shard_named(message).map(usize::from).filter(|shard| *shard < shards) {
        Some(shard) => shard,
        // Read as the shard reads it, so that blanks around an id make no difference.
        None => {
            let device = message.from().and_then(|from| from.user).and_then(|user| Id::parse(user).ok());
            let caller = (message.method() == Some(&Method::Invite))
                .then(|| shard_of_caller(callers, device.as_ref(), flow.remote.ip(), shards))
                .flatten();
            caller.unwrap_or_else(|| device.map_or(0, |device| shard_of_device(&device, shards)))
        }
    }
}

/// The shard that a token of our own making names.
fn shard_named(message: &Message) -> Option<u16> {
    match message.method() {
        None => message.via()?.branch.and_then(shard_of),
        // A registration is outside any dialog, whatever old tag a device puts into it.
        Some(Method::Register) => None,
        // Inside a dialog of ours the To tag, or else the Call-ID, is one that we made.
        Some(_) => message
            .to()
            .and_then(|to| to.tag)
            .and_then(shard_of)
            .or_else(|| message.call_id().and_then(shard_of)),
    }
}
