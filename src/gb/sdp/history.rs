//! Offers for a recording: playback and download, clauses 9.8 and 9.9.

use std::net::SocketAddr;

use super::{MediaMode, Sdp};
use crate::gb::id::Id;

/// What is done with a recording.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum History {
    Playback,
    Download {
        /// Times the recording's own pace.
        speed: u8,
    },
}

/// The part of a recording that is asked for.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Span {
    /// Seconds since 1970.
    pub start: u64,
    pub end: u64,
    /// As 2022 has it: 0 all, 1 manual, 2 alarm, 3 time.
    pub kind: u8,
}

impl Sdp {
    /// The offer for a recording of a channel, to be received at `local`.
    pub fn history_offer(
        channel: &Id,
        local: SocketAddr,
        mode: MediaMode,
        ssrc: u32,
        history: History,
        span: Span,
    ) -> Sdp {
        let mut offer = Sdp::live_offer(channel, local, mode, ssrc);
        offer.time = (span.start, span.end);
        offer.uri = Some(format!("{channel}:{}", span.kind));
        match history {
            History::Playback => offer.session = "Playback".to_owned(),
            History::Download { speed } => {
                offer.session = "Download".to_owned();
                let media = std::mem::take(&mut offer.media);
                let speed = speed.max(1).to_string();
                offer.media =
                    media.into_iter().map(|media| media.with_attribute("downloadspeed", &speed)).collect();
            }
        }
        offer
    }

    /// What an offer asks for, where it asks for a recording.
    pub fn history(&self) -> Option<History> {
        if self.session.eq_ignore_ascii_case("Playback") {
            return Some(History::Playback);
        }
        let speed = || self.attribute("downloadspeed").and_then(|speed| speed.parse().ok()).unwrap_or(1);
        self.session.eq_ignore_ascii_case("Download").then(|| History::Download { speed: speed() })
    }

    /// The channel and the kind of recording in the `u=` line; none where it is of another form, such as the path
    /// of a file.
    pub fn recording(&self) -> Option<(Id, u8)> {
        let (channel, kind) = self.uri.as_deref()?.split_once(':')?;
        Some((Id::parse(channel).ok()?, kind.trim().parse().ok()?))
    }

    /// Bytes of the file, as the answer to a download tells.
    pub fn file_size(&self) -> Option<u64> {
        self.attribute("filesize")?.parse().ok()
    }

    /// An attribute of any medium.
    fn attribute(&self, name: &str) -> Option<&str> {
        self.media.iter().find_map(|media| media.attribute(name))
    }
}
