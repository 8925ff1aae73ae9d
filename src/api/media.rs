//! Streams for players that speak plain HTTP: fragmented MP4, live and of playbacks.

use std::sync::Arc;

use axum::body::{Body as Content, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::extract::{Params, Segments};
use super::playback;
use super::problem::Problem;
use super::record::{Deed, Who};
use super::whep::Which;
use super::{Api, Result};
use crate::call::{CallId, Failure, Key};
use crate::egress::mp4::{Muxer, Options, Sound, takes};
use crate::gb::id::Id;
use crate::media::unit::AccessUnit;
use crate::node::Tap;

/// Which sound goes along.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// `false`: none; `all`: G.711 too, which browsers do not play out of MP4.
    audio: Option<String>,
    stream: Option<String>,
    /// Read by the sign-in.
    #[serde(rename = "token")]
    _token: Option<String>,
}

impl Wanted {
    fn options(&self) -> Result<Options> {
        let sound = match self.audio.as_deref() {
            None | Some("true" | "aac") => Sound::Aac,
            Some("false" | "none") => Sound::None,
            Some("all") => Sound::All,
            Some(_) => return Err(Problem::bad_value("audio", "audio is none of true, false and all")),
        };
        Ok(Options { sound, ..Options::default() })
    }
}

pub(super) async fn live(
    State(api): State<Api>,
    who: Who,
    Segments((device, file)): Segments<(Id, String)>,
    Params(wanted): Params<Wanted>,
) -> Result<Response> {
    let channel = named(&file)?;
    let channel = Id::parse(channel).map_err(|_| Problem::not_found(format!("no channel {channel:?}")))?;
    let options = wanted.options()?;
    let profile = Which { stream: wanted.stream }.profile()?;
    let deed = Deed::new("watch").at(device, channel).saying(format!("mp4 {}", profile.as_str()));
    let tap = who
        .does(&api, deed, async {
            let call = api.node.play(Key::live(device, channel, profile)).await?;
            tap(&api, call).await
        })
        .await?;
    Ok(mp4(api, tap, options))
}

pub(super) async fn recorded(
    State(api): State<Api>,
    who: Who,
    Segments(file): Segments<String>,
    Params(wanted): Params<Wanted>,
) -> Result<Response> {
    let (call, report) = playback::find(&api, named(&file)?)?;
    let options = wanted.options()?;
    let deed = Deed::new("watch").at(report.device, report.channel).saying("mp4 playback");
    let tap = who.does(&api, deed, tap(&api, call)).await?;
    Ok(mp4(api, tap, options))
}

/// The name before the ending that says what is wanted.
fn named(file: &str) -> Result<&str> {
    file.strip_suffix(".mp4").ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "lookup",
            format!("no format for {file:?}"),
            "Streams over HTTP end in .mp4.",
        )
    })
}

async fn tap(api: &Api, call: CallId) -> Result<Tap> {
    let video = api.node.stream(call).and_then(|report| report.info.video);
    if let Some(codec) = video.map(|video| video.codec).filter(|codec| !takes(*codec)) {
        return Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "no_common_codec",
            "offer",
            format!("{} does not go into MP4", codec.as_str()),
            "Set the camera to H.264 or H.265.",
        ));
    }
    let ended = || Failure::ended("the stream ended while the player was being attached");
    Ok(api.node.tap(call).await.ok_or_else(ended)?)
}

/// One stream on its way into MP4.
struct Road {
    backlog: std::vec::IntoIter<Arc<AccessUnit>>,
    live: mpsc::Receiver<Arc<AccessUnit>>,
    muxer: Muxer,
    ended: bool,
}

impl Road {
    /// The next piece; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(segment) = self.muxer.poll() {
                return Some(segment.bytes().clone());
            }
            if self.ended {
                return None;
            }
            let unit = match self.backlog.next() {
                Some(unit) => Some(unit),
                None => self.live.recv().await,
            };
            match unit {
                Some(unit) => self.muxer.push(&unit),
                None => {
                    self.ended = true;
                    self.muxer.finish();
                }
            }
        }
    }
}

fn mp4(api: Api, tap: Tap, options: Options) -> Response {
    let Tap { backlog, live } = tap;
    let road = Road { backlog: backlog.into_iter(), live, muxer: Muxer::new(options), ended: false };
    let stop = api.stop;
    let pieces = stream::unfold((road, stop), |(mut road, stop)| async move {
        let piece = tokio::select! {
            piece = road.next() => piece?,
            () = stop.cancelled() => return None,
        };
        Some((Ok::<Bytes, std::io::Error>(piece), (road, stop)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("video/mp4")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Content::from_stream(pieces)).into_response()
}
