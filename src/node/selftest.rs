//! The part of a self-test that needs media: whether a picture comes.

use std::time::Duration;

use super::Node;
use crate::call::{Key, Profile};
use crate::device::{Failure, Outcome, Request, Step};
use crate::gb::id::{Id, Kind};
use crate::net::clock;
use crate::registry::ChannelFilter;

/// Channels among which a camera is looked for.
const LOOKED_AT: usize = 1_000;

impl Node {
    /// Asks a device for all that it should be able to tell, and for a picture. Of the device itself, the first
    /// camera of its catalog is looked at.
    pub async fn self_test(&self, device: Id, target: Id) -> Result<Outcome, Failure> {
        let outcome = self.ask(device, target, Request::SelfTest).await?;
        let Outcome::SelfTest(mut steps) = outcome else { return Ok(outcome) };
        let camera = if target == device { self.first_camera(device) } else { Some(target) };
        if let Some(camera) = camera {
            steps.push(self.look(device, camera).await);
        }
        Ok(Outcome::SelfTest(steps))
    }

    fn first_camera(&self, device: Id) -> Option<Id> {
        let index = self.index();
        let filter = ChannelFilter { device: Some(device), ..ChannelFilter::default() };
        let channels = index.channels(filter, None, LOOKED_AT).ok()?.items;
        let is_camera = |id: &Id| id.kind() == Kind::Camera;
        let found = channels.iter().map(|state| state.channel.id).find(is_camera);
        // A camera without a catalog is its own channel.
        found.or_else(|| is_camera(&device).then_some(device))
    }

    /// Whether a picture comes, and what it is. A stream that somebody watches already is looked at as it runs.
    async fn look(&self, device: Id, camera: Id) -> Step {
        let began = clock::now();
        let outcome = self.play(Key::live(device, camera, Profile::Main)).await;
        let took: Duration = clock::now().saturating_duration_since(began);
        let (ok, detail) = match outcome {
            Ok(call) => {
                let info = self.stream(call).map(|report| report.info).unwrap_or_default();
                let video = info.video.map_or_else(
                    || "no picture, sound alone".to_owned(),
                    |video| format!("{} {}x{}", video.codec, video.width, video.height),
                );
                let audio = info.audio.map_or_else(String::new, |audio| format!(", {audio}"));
                (info.video.is_some(), format!("{video}{audio}"))
            }
            Err(failure) => (false, failure.detail),
        };
        Step { name: "media", ok, detail, took }
    }
}
