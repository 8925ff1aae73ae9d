//! The words of this room: what a call is for, what it is told and what it asks.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::Failure;
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::gb::time::UnixMillis;
use crate::registry::profile::Manners;
use crate::registry::{self, StreamKind};
use crate::sip::{Flow, Message, ServerKey};

/// Which of a channel's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// The main stream, `streamnumber` 0.
    #[default]
    Main,
    /// The first sub-stream, `streamnumber` 1.
    Sub,
    /// The second sub-stream, `streamnumber` 2.
    Third,
}

impl Profile {
    /// `main`, `sub` or `third`.
    pub fn as_str(self) -> &'static str {
        ["main", "sub", "third"][self.number() as usize]
    }

    /// The reverse of [`Profile::as_str`].
    pub fn parse(text: &str) -> Option<Profile> {
        [Profile::Main, Profile::Sub, Profile::Third].into_iter().find(|profile| profile.as_str() == text)
    }

    /// The value of `a=streamnumber`.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// What flows in a call. Who wants the same content shares the call; a recording is watched by each alone, under a
/// session number of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Content {
    /// What the camera sees now.
    Live(Profile),
    /// A recording, at the speed of life or as the viewer sets it.
    Playback(u64),
    /// A recording, as fast as the device sends it.
    Download(u64),
    /// A voice to the device's loudspeaker.
    Talk,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The registered device.
    pub device: Id,
    /// The channel of that device; for a voice, the voice output or the device itself.
    pub channel: Id,
    /// What flows.
    pub content: Content,
}

impl Key {
    /// A live stream.
    pub fn live(device: Id, channel: Id, profile: Profile) -> Key {
        Key { device, channel, content: Content::Live(profile) }
    }

    /// A recording to be watched. `session` is a number that no other session at this gateway has.
    pub fn playback(device: Id, channel: Id, session: u64) -> Key {
        Key { device, channel, content: Content::Playback(session) }
    }

    /// A recording to be kept. `session` is a number that no other session at this gateway has.
    pub fn download(device: Id, channel: Id, session: u64) -> Key {
        Key { device, channel, content: Content::Download(session) }
    }

    /// A voice to the device.
    pub fn talk(device: Id, channel: Id) -> Key {
        Key { device, channel, content: Content::Talk }
    }

    /// The name of the stream for the API: `main`, `sub`, `third`, `playback`, `download` or `talk`.
    pub fn stream_name(&self) -> &'static str {
        match self.content {
            Content::Live(profile) => profile.as_str(),
            Content::Playback(_) => "playback",
            Content::Download(_) => "download",
            Content::Talk => "talk",
        }
    }

    /// The kind under which the dialog is kept.
    pub fn kind(&self) -> StreamKind {
        match self.content {
            Content::Live(_) => StreamKind::Live,
            Content::Playback(_) => StreamKind::Playback,
            Content::Download(_) => StreamKind::Download,
            Content::Talk => StreamKind::Talk,
        }
    }

    /// Whether a recording flows.
    pub fn is_history(&self) -> bool {
        matches!(self.content, Content::Playback(_) | Content::Download(_))
    }
}

/// A call's number; the shard that owns it is in the upper 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

impl CallId {
    /// The shard that owns the call.
    pub fn shard(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The reverse of its `Display`.
    pub fn parse(text: &str) -> Option<CallId> {
        u64::from_str_radix(text, 16).ok().map(CallId)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Somebody who waits for a stream or for the outcome of a control, as numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiter(pub u64);

/// How a device is reached, and what it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The way to it.
    pub flow: Flow,
    /// How it shall send media. For a voice that the device fetches by INVITE, the device says it.
    pub transport: MediaMode,
    /// How it wants to be spoken to.
    pub manners: Manners,
    /// Which part of which recordings, for a playback or download.
    pub history: Option<History>,
}

/// A part of a channel's recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Its begin.
    pub start: UnixMillis,
    /// Its end.
    pub end: UnixMillis,
    /// `a=downloadspeed`; a playback does not say it.
    pub speed: u8,
    /// The type in `u=`: 0 all, 1 manual, 2 alarm, 3 time.
    pub kind: u8,
}

impl History {
    /// The length, in seconds.
    pub fn seconds(&self) -> f64 {
        self.end.0.saturating_sub(self.start.0).max(0) as f64 / 1000.0
    }
}

/// What a viewer of a recording asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Playback {
    /// Stand still.
    Pause,
    /// Go on from there, at the speed of before.
    Resume,
    /// Go on from so many seconds after the begin, at the speed of now.
    Seek {
        /// Seconds from the begin of the part that is played.
        seconds: f64,
    },
    /// Go on at this multiple of the speed of life; backwards where it is negative.
    Speed {
        /// The multiple; the standard has 0.25, 0.5, 1, 2 and 4, and -1 since 2022.
        scale: f64,
    },
}

/// Where a playback stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaybackState {
    /// Whether it stands still.
    pub paused: bool,
    /// The multiple of the speed of life that the device uses.
    pub scale: f64,
    /// Seconds from the begin of the part that is played, by the clock and the speed.
    pub position: f64,
}

/// Which way media flow in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flowing {
    /// Media come in: live, playback and download.
    In,
    /// Sound goes out: G.711 A-law, no PS.
    OutAudio,
    /// Sound goes out, and the device's own comes in on the same way; it may be dropped.
    BothAudio,
}

/// How a session that ran, or might have, came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The device said that it sent the recording to its end.
    Complete,
    /// The device said BYE: a recording may be complete or not, by how much of it came.
    ByDevice,
    /// This side ended it: somebody stopped it, or nobody watched.
    ByUs,
    /// Something broke, or never came to be.
    Broken,
}

/// What a request is for, so that its answer finds its place; the shell gives it back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Sets the session up. Its 2xx may come again for as long as the call lives.
    Invite,
    /// A control of the playback, by its number.
    Control(u32),
    /// Ends the session. After it nothing of the INVITE matters any more.
    Bye,
}

/// What the calls of a shard share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The platform's own id.
    pub platform: Id,
    /// The platform's SIP domain.
    pub domain: String,
    /// From "wanted" to the first picture.
    pub play_timeout: Duration,
    /// From the last reader's leaving to BYE.
    pub no_reader_timeout: Duration,
}

/// What the media plane tells of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// A port is open at this address, as the device shall see it.
    Opened(SocketAddr),
    /// No port could be opened.
    OpenFailed(String),
    /// The TCP connection of a voice stands, whoever made it.
    Connected,
    /// RTP arrives.
    Flowing,
    /// There is a picture that can be decoded, and a stream to attach to.
    Ready,
    /// So many readers are attached; for a voice, so many microphones. A download needs none.
    Readers(usize),
    /// The media ended: no RTP for too long, the device closed its connection, and so on.
    Ended(String),
}

/// What the machine asks of its surroundings.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "actions are taken at once; a box would cost every message")]
pub enum Action {
    /// Open a port for a call; answered by [`Media::Opened`] or [`Media::OpenFailed`].
    OpenMedia {
        /// The call.
        call: CallId,
        /// What it is for.
        key: Key,
        /// Transport as this side sees it (`tcp-active`: we connect, after [`Action::ConnectMedia`]), and the
        /// address that may send before the answer is known.
        target: Target,
        /// The SSRC that the device is asked to use, or that we use to it.
        ssrc: u32,
        /// Which way media flow.
        flowing: Flowing,
    },
    /// The session is agreed: where media come from or go to, and with which SSRC.
    ConnectMedia {
        /// The call.
        call: CallId,
        /// The device's address: the source or the destination for UDP, the address to connect to for
        /// `tcp-active`.
        remote: Option<SocketAddr>,
        /// The SSRC of the answer, or else the one that was offered.
        ssrc: u32,
        /// Bytes of the recording, where the device tells them.
        file_size: Option<u64>,
        /// For a voice, the payload type of G.711 A-law; 8, but for odd devices.
        payload_type: Option<u8>,
    },
    /// Sound may be sent from now on. [`Action::Started`] and the answer to who waits follow.
    TalkReady {
        /// The call.
        call: CallId,
    },
    /// A playback goes on otherwise: at another speed, from another place, or not at all. While it is paused the
    /// silence of RTP is no fault.
    Pace {
        /// The call.
        call: CallId,
        /// How it goes on.
        state: PlaybackState,
        /// Whether it goes on at another place than before.
        seek: bool,
    },
    /// Close the port and end the stream.
    CloseMedia {
        /// The call.
        call: CallId,
        /// Why, for those who still read.
        why: String,
    },
    /// Announce a voice to the device by Notify/Broadcast; answered by [`super::Calls::broadcast_answered`].
    Broadcast {
        /// The call.
        call: CallId,
        /// The device.
        device: Id,
        /// The voice output, or the device.
        channel: Id,
    },
    /// Send a request in a client transaction; its answers come back by [`super::Calls::answered`].
    Request {
        /// The call.
        call: CallId,
        /// What it is for.
        purpose: Purpose,
        /// The way to the device.
        flow: Flow,
        /// INVITE, INFO or BYE.
        message: Message,
    },
    /// Cancel the INVITE of a call.
    Cancel {
        /// The call.
        call: CallId,
    },
    /// Send a message outside any transaction: the ACK of a 2xx.
    Send {
        /// The way to the device.
        flow: Flow,
        /// The ACK.
        message: Message,
    },
    /// Answer a request.
    Respond {
        /// The server transaction.
        key: ServerKey,
        /// The answer.
        message: Message,
    },
    /// Keep the dialog, so that it can be ended after a restart. One that is kept already is replaced.
    Keep(Box<registry::Call>),
    /// A BYE reached nobody, so the device may be sending still: end the dialog when it is back.
    LeftOver(Box<registry::Call>),
    /// Forget a dialog that was kept.
    Forget {
        /// The device that the record lies under.
        device: Id,
        /// The channel that it lies under.
        channel: Id,
        /// The Call-ID of the dialog.
        call_id: String,
    },
    /// Tell a waiter what came of it.
    Tell {
        /// Who waits.
        waiter: Waiter,
        /// The call to attach to, or why there is none.
        outcome: Result<CallId, Failure>,
    },
    /// Tell a waiter what came of a control.
    Controlled {
        /// Who waits.
        waiter: Waiter,
        /// Where the playback stands now, or why it goes on as before.
        outcome: Result<PlaybackState, Failure>,
    },
    /// A message of a device departs from the standard.
    Observe {
        /// The device.
        device: Id,
        /// From which rule.
        rule: Rule,
        /// What was seen.
        sample: String,
    },
    /// Nothing of the call is left: whatever still comes for it can be dropped.
    Gone {
        /// The call.
        call: CallId,
    },
    /// A stream began.
    Started {
        /// The call.
        call: CallId,
        /// What it is for.
        key: Key,
        /// From "wanted" to the first picture.
        took: Duration,
    },
    /// A stream ended, or never came to be.
    Ended {
        /// The call.
        call: CallId,
        /// What it was for.
        key: Key,
        /// Why.
        why: Failure,
        /// Whether it ran before.
        ran: bool,
        /// Whose doing it was, and whether a recording came whole.
        finish: Finish,
    },
}
