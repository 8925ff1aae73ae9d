//! Voices to devices: from a browser's offer to sound at the loudspeaker.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Node;
use super::router;
use super::signalling::Command;
use crate::call::{self, Failure, Key};
use crate::egress::webrtc::{Answer, OfferError};
use crate::gb::id::{Id, Kind};
use crate::registry::ChannelFilter;

/// Channels of a device among which its voice outputs are looked for.
const LOOKED_AT: usize = 1_000;

/// Why somebody can't speak to a device.
#[derive(Debug)]
pub enum TalkError {
    /// The device does not take it.
    Play(call::Failure),
    /// It would, but the browser's offer does not fit.
    Offer(OfferError),
}

/// The devices that were told to call, by which the router finds the shard that waits for an INVITE: its From may be
/// the device, its camera or its loudspeaker. As many as people who begin to speak at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Callers(Arc<Mutex<Vec<Caller>>>);

#[derive(Clone, Debug)]
struct Caller {
    device: Id,
    channel: Id,
    address: Option<IpAddr>,
}

impl Callers {
    /// The device that an INVITE from there belongs to.
    pub(super) fn device(&self, from: Option<&Id>, address: IpAddr) -> Option<Id> {
        let callers = self.0.lock();
        let named =
            callers.iter().find(|caller| from == Some(&caller.device) || from == Some(&caller.channel));
        let found = named.or_else(|| callers.iter().find(|caller| caller.address == Some(address)));
        found.map(|caller| caller.device)
    }

    fn announce(&self, caller: Caller) -> Announced {
        self.0.lock().push(caller.clone());
        Announced { callers: self.clone(), caller }
    }
}

/// Takes itself back when it is dropped.
struct Announced {
    callers: Callers,
    caller: Caller,
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut callers = self.callers.0.lock();
        let own = |other: &Caller| other.device == self.caller.device && other.channel == self.caller.channel;
        if let Some(at) = callers.iter().position(own) {
            callers.swap_remove(at);
        }
    }
}

impl Node {
    /// Lets somebody speak to a channel; returns once the device takes the sound.
    pub async fn talk(&self, device: Id, channel: Id, offer: &str) -> Result<Answer, TalkError> {
        self.check(&device, &channel).map_err(TalkError::Play)?;
        self.inner.hub.hears(offer).map_err(TalkError::Offer)?;
        let output = self.voice_output(device, channel);
        let address =
            self.index().device(&device).and_then(|state| state.registration.map(|r| r.route.remote.ip()));
        let announced = self.inner.callers.announce(Caller { device, channel: output, address });
        let (reply, outcome) = oneshot::channel();
        let gone = || TalkError::Play(Failure::ended("the gateway is shutting down"));
        let command = Command::Talk { key: Key::talk(device, output), reply };
        self.shard(&device).send(command).await.map_err(|_| gone())?;
        let call = outcome.await.map_err(|_| gone())?.map_err(TalkError::Play)?;
        drop(announced);
        let heard = self.inner.hub.ingest(offer);
        let (answer, sounds) = match heard {
            Ok(heard) => heard,
            Err(error) => {
                self.stop(call, "the browser's offer does not fit").await;
                return Err(TalkError::Offer(error));
            }
        };
        if self.inner.streams.speak(call, sounds) {
            Ok(answer)
        } else {
            Err(TalkError::Play(Failure::ended("the device ended the session at once")))
        }
    }

    /// The loudspeaker that belongs to a channel (annex D, type 137): one below it, else one of the device, else the
    /// channel itself, which many devices take.
    fn voice_output(&self, device: Id, channel: Id) -> Id {
        if channel.kind() == Kind::VoiceOutput {
            return channel;
        }
        let index = self.index();
        let filter = ChannelFilter { device: Some(device), ..ChannelFilter::default() };
        let Ok(channels) = index.channels(filter, None, LOOKED_AT) else { return channel };
        let mut outputs = channels
            .items
            .iter()
            .map(|state| &state.channel)
            .filter(|output| output.id.kind() == Kind::VoiceOutput)
            .map(|output| (output.id, output.parent()))
            .collect::<Vec<_>>();
        outputs.sort_by_key(|(_, parent)| *parent != Some(channel));
        match outputs.first() {
            Some((output, parent)) if *parent == Some(channel) || *parent == Some(device) => *output,
            _ => channel,
        }
    }
}

/// The shard of an INVITE that is outside any dialog.
pub(super) fn shard_of_caller(
    callers: &Callers,
    from: Option<&Id>,
    address: IpAddr,
    shards: usize,
) -> Option<usize> {
    callers.device(from, address).map(|device| router::shard_of_device(&device, shards))
}
