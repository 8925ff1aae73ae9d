//! Streams for players that speak plain HTTP: fragmented MP4 and FLV, live and of playbacks; HLS, live.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body as Content, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use metrics::gauge;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::extract::{Params, Segments};
use super::playback;
use super::problem::Problem;
use super::record::{Deed, Who};
use super::whep::Which;
use super::{Api, Result};
use crate::call::{CallId, Failure, Key, Profile};
use crate::egress::mp4::{Sound, takes};
use crate::egress::{flv, mp4};
use crate::gb::id::Id;
use crate::media::unit::AccessUnit;
use crate::node::{Show, Tap};
use crate::telemetry::metrics as names;

/// How long a player of HLS waits for the first segment: a group of pictures, which lasts 20 s at most.
const FIRST_SEGMENT: Duration = Duration::from_secs(25);

/// What a stream comes in.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Format {
    Mp4,
    Flv,
}

impl Format {
    /// The name before the ending that says what is wanted, and that.
    fn of(file: &str) -> Result<(&str, Format)> {
        let known = [(".mp4", Format::Mp4), (".flv", Format::Flv)];
        let found = known.into_iter().find_map(|(ending, format)| Some((file.strip_suffix(ending)?, format)));
        found.ok_or_else(|| no_format(file))
    }

    /// As in the metrics.
    fn name(self) -> &'static str {
        match self {
            Format::Mp4 => "mp4",
            Format::Flv => "flv",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Format::Mp4 => "video/mp4",
            Format::Flv => "video/x-flv",
        }
    }

    /// What the players of the format play.
    fn usual_sound(self) -> Sound {
        match self {
            Format::Mp4 => Sound::Aac,
            Format::Flv => Sound::All,
        }
    }
}

fn no_format(file: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "lookup",
        format!("no format for {file:?}"),
        "Streams over HTTP end in .mp4 or .flv; HLS is at /live/{device}/{channel}/index.m3u8.",
    )
}

/// Which stream, with which sound.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// `false`: none; `true`: AAC; `all`: G.711 too, which browsers do not play out of MP4.
    audio: Option<String>,
    stream: Option<String>,
    /// Read by the sign-in.
    token: Option<String>,
}

impl Wanted {
    fn sound(&self, usual: Sound) -> Result<Sound> {
        match self.audio.as_deref() {
            None => Ok(usual),
            Some("true" | "aac") => Ok(Sound::Aac),
            Some("false" | "none") => Ok(Sound::None),
            Some("all") => Ok(Sound::All),
            Some(_) => Err(Problem::bad_value("audio", "audio is none of true, false and all")),
        }
    }

    fn profile(&self) -> Result<Profile> {
        Which { stream: self.stream.clone() }.profile()
    }

    /// The same wishes for the files that a playlist names, which are asked for without headers of ours.
    fn query(&self) -> String {
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        let wishes = [("audio", &self.audio), ("stream", &self.stream), ("token", &self.token)];
        let wishes = wishes.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let mut query = String::new();
        // Others are no tokens of ours, and could be anything.
        for (name, value) in wishes.filter(|(_, value)| plain(value)) {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.extend([name, "=", value]);
        }
        query
    }
}

pub(super) async fn live(
    State(api): State<Api>,
    who: Who,
    Segments((device, file)): Segments<(Id, String)>,
    Params(wanted): Params<Wanted>,
) -> Result<Response> {
    let (channel, format) = Format::of(&file)?;
    let channel = Id::parse(channel).map_err(|_| Problem::not_found(format!("no channel {channel:?}")))?;
    let sound = wanted.sound(format.usual_sound())?;
    let profile = wanted.profile()?;
    let detail = format!("{} {}", format.name(), profile.as_str());
    let deed = Deed::new("watch").at(device, channel).saying(detail);
    let muxed = who.does(&api, deed, async {
        let call = api.node.play(Key::live(device, channel, profile)).await?;
        Road::to(&api, call, format, sound).await
    });
    Ok(muxed.await?.response(&api))
}

pub(super) async fn recorded(
    State(api): State<Api>,
    who: Who,
    Segments(file): Segments<String>,
    Params(wanted): Params<Wanted>,
) -> Result<Response> {
    let (id, format) = Format::of(&file)?;
    let (call, report) = playback::find(&api, id)?;
    let sound = wanted.sound(format.usual_sound())?;
    let detail = format!("{} playback", format.name());
    let deed = Deed::new("watch").at(report.device, report.channel).saying(detail);
    Ok(who.does(&api, deed, Road::to(&api, call, format, sound)).await?.response(&api))
}

/// HLS: the playlist, and the files that it names.
pub(super) async fn hls(
    State(api): State<Api>,
    who: Who,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Segments((device, channel, file)): Segments<(Id, Id, String)>,
    Params(wanted): Params<Wanted>,
) -> Result<Response> {
    // What players of HLS play is what browsers play out of MP4.
    let sound = wanted.sound(Format::Mp4.usual_sound())?;
    let profile = wanted.profile()?;
    let key = Key::live(device, channel, profile);
    let running = api.node.running_hls(key, sound);
    if file != "index.m3u8" {
        if !file.ends_with(".m4s") && !file.ends_with(".mp4") {
            return Err(no_format(&file));
        }
        let found = running.and_then(|show| show.file(&file));
        let found = found.ok_or_else(|| Problem::not_found(format!("no {file:?} any more, or not yet")))?;
        return Ok(answer(Format::Mp4.media_type(), "private, max-age=60", Content::from(found)));
    }
    let viewer = format!("{} {}", who.user, peer.ip().to_canonical());
    let show = match running {
        Some(show) if !show.seen(&viewer) => show,
        _ => {
            let deed = Deed::new("watch").at(device, channel).saying(format!("hls {}", profile.as_str()));
            let begun = who.does(&api, deed, async {
                let call = api.node.play(key).await?;
                playable(&api, call)?;
                Ok(api.node.hls(key, sound).await?)
            });
            let show = begun.await?;
            show.seen(&viewer);
            show
        }
    };
    let list = first_list(&show, &wanted.query()).await?;
    Ok(answer("application/vnd.apple.mpegurl", "no-store", Content::from(list)))
}

async fn first_list(show: &Show, query: &str) -> Result<String> {
    let late = |_| {
        Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "no_key_frame",
            "media",
            format!("no second key frame within {} s", FIRST_SEGMENT.as_secs()),
            "HLS needs a key frame every few seconds: lower the interval of key frames at the camera.",
        )
    };
    let list = tokio::time::timeout(FIRST_SEGMENT, show.playlist(query)).await.map_err(late)?;
    Ok(list.ok_or_else(|| Failure::ended("the stream ended before its first segment"))?)
}

/// Refuses streams whose pictures no player here takes.
fn playable(api: &Api, call: CallId) -> Result<()> {
    let video = api.node.stream(call).and_then(|report| report.info.video);
    match video.map(|video| video.codec).filter(|codec| !takes(*codec)) {
        None => Ok(()),
        Some(codec) => Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "no_common_codec",
            "offer",
            format!("{} goes into neither MP4 nor FLV", codec.as_str()),
            "Set the camera to H.264 or H.265.",
        )),
    }
}

fn answer(media_type: &'static str, caching: &'static str, content: Content) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
    ];
    (headers, content).into_response()
}

/// One stream on its way to one viewer.
struct Road {
    backlog: std::vec::IntoIter<Arc<AccessUnit>>,
    live: mpsc::Receiver<Arc<AccessUnit>>,
    muxer: Muxer,
    format: Format,
    ended: bool,
    _viewer: Viewer,
}

enum Muxer {
    Mp4(Box<mp4::Muxer>),
    Flv(Box<flv::Muxer>),
}

impl Muxer {
    fn push(&mut self, unit: &AccessUnit) {
        match self {
            Muxer::Mp4(muxer) => muxer.push(unit),
            Muxer::Flv(muxer) => muxer.push(unit),
        }
    }

    fn poll(&mut self) -> Option<Bytes> {
        match self {
            Muxer::Mp4(muxer) => muxer.poll().map(|segment| segment.bytes().clone()),
            Muxer::Flv(muxer) => muxer.poll(),
        }
    }

    fn finish(&mut self) {
        if let Muxer::Mp4(muxer) = self {
            muxer.finish();
        }
    }
}

impl Road {
    async fn to(api: &Api, call: CallId, format: Format, sound: Sound) -> Result<Road> {
        playable(api, call)?;
        let ended = || Failure::ended("the stream ended while the player was being attached");
        let info = api.node.stream(call).ok_or_else(ended)?.info;
        let Tap { backlog, live } = api.node.tap(call).await.ok_or_else(ended)?;
        let muxer = match format {
            Format::Mp4 => {
                Muxer::Mp4(Box::new(mp4::Muxer::new(mp4::Options { sound, ..mp4::Options::default() })))
            }
            Format::Flv => {
                let tracks = flv::Tracks { video: info.video.is_some(), audio: info.audio };
                Muxer::Flv(Box::new(flv::Muxer::new(sound, tracks.sure_of(&backlog))))
            }
        };
        let backlog = backlog.into_iter();
        Ok(Road { backlog, live, muxer, format, ended: false, _viewer: Viewer::of(format) })
    }

    /// The next piece; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.muxer.poll() {
                return Some(piece);
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

    fn response(self, api: &Api) -> Response {
        let media_type = self.format.media_type();
        let pieces = stream::unfold((self, api.stop.clone()), |(mut road, stop)| async move {
            let piece = tokio::select! {
                piece = road.next() => piece?,
                () = stop.cancelled() => return None,
            };
            Some((Ok::<Bytes, std::io::Error>(piece), (road, stop)))
        });
        answer(media_type, "no-store", Content::from_stream(pieces))
    }
}

/// A viewer, as long as it lives.
struct Viewer(&'static str);

impl Viewer {
    fn of(format: Format) -> Viewer {
        gauge!(names::VIEWERS, "protocol" => format.name()).increment(1);
        Viewer(format.name())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        gauge!(names::VIEWERS, "protocol" => self.0).decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_what_is_wanted() {
        assert_eq!(Format::of("a.b.flv").unwrap(), ("a.b", Format::Flv));
        assert_eq!(Format::of("1.mp4").unwrap(), ("1", Format::Mp4));
        assert!(Format::of("1.avi").is_err() && Format::of("flv").is_err());
    }

    #[test]
    fn wishes_are_carried_on_but_nothing_that_could_break_a_playlist() {
        let wanted = |audio: Option<&str>, token: &str| Wanted {
            audio: audio.map(str::to_owned),
            stream: Some("sub".to_owned()),
            token: Some(token.to_owned()),
        };
        assert_eq!(wanted(Some("all"), "aZ_-9").query(), "?audio=all&stream=sub&token=aZ_-9");
        assert_eq!(wanted(None, "a\"\n#EXT").query(), "?stream=sub");
        let nothing = Wanted { audio: None, stream: None, token: None };
        assert_eq!(nothing.query(), "");
    }
}
