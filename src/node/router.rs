//! Which shard a SIP message belongs to.
//!
//! Tags, branches and Call-IDs that we made carry the shard, so answers and requests inside a dialog find it even
//! where From lies. Everything else goes by the user of From, the device's id.

use std::hash::{BuildHasher, Hasher};

use tokio::sync::mpsc;
use tracing::debug;

use super::shard::Input;
use super::signalling::Command;
use crate::gb::id::Id;
use crate::net::sip::{DROPPED, Inbound, Inbox};
use crate::sip::{Message, shard_of};
use crate::telemetry::metrics::{self, Direction};

/// Hands everything that comes in over SIP to its shard, until the sockets are closed.
pub(super) async fn run(mut inbound: Inbox, shards: Vec<mpsc::Sender<Command>>) {
    while let Some(event) = inbound.recv().await {
        match event {
            Inbound::Message { flow, message } => {
                metrics::sip_message(Direction::In, flow.transport, &message);
                let shard = &shards[shard_of_message(&message, shards.len())];
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
    shard_of_user(device.as_str(), shards)
}

fn shard_of_user(user: &str, shards: usize) -> usize {
    // Fixed keys: a device must fall to the same shard in every run of this process.
    let mut hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
    hasher.write(user.as_bytes());
    (hasher.finish() % shards.max(1) as u64) as usize
}

fn shard_of_message(message: &Message, shards: usize) -> usize {
    let ours = if message.is_request() {
        // Inside a dialog of ours the To tag, or else the Call-ID, is one that we made.
        message.to().and_then(|to| to.tag).and_then(shard_of).or_else(|| message.call_id().and_then(shard_of))
    } else {
        message.via().and_then(|via| via.branch).and_then(shard_of)
    };
    match ours.map(usize::from).filter(|shard| *shard < shards) {
        Some(shard) => shard,
        None => message.from().and_then(|from| from.user).map_or(0, |user| shard_of_user(user, shards)),
    }
}
