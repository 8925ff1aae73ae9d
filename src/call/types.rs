//! The words of this room: what a call is for, what it is told and what it asks.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::Failure;
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::registry;
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

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The registered device.
    pub device: Id,
    /// The channel of that device.
    pub channel: Id,
    /// Main stream or sub-stream.
    pub profile: Profile,
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

/// Somebody who waits for a stream, as numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiter(pub u64);

/// How a device is reached, and what it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The way back to the device.
    pub flow: Flow,
    /// How it shall send media.
    pub transport: MediaMode,
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
    /// RTP arrives.
    Flowing,
    /// There is a picture that can be decoded, and a stream to attach to.
    Ready,
    /// So many readers are attached.
    Readers(usize),
    /// The media ended: no RTP for too long, the device closed its connection, and so on.
    Ended(String),
}

/// What the machine asks of its surroundings.
#[derive(Debug)]
pub enum Action {
    /// Open a port for a call; answered by [`Media::Opened`] or [`Media::OpenFailed`].
    OpenMedia {
        /// The call.
        call: CallId,
        /// What it is for.
        key: Key,
        /// Transport, and the address that may send before the answer is known.
        target: Target,
        /// The SSRC that the device is asked to use.
        ssrc: u32,
    },
    /// The device's answer: where media comes from, and with which SSRC.
    ConnectMedia {
        /// The call.
        call: CallId,
        /// The address in the answer: the source for UDP, the address to connect to for `tcp-active`.
        remote: Option<SocketAddr>,
        /// The SSRC of the answer, or else the one that was offered.
        ssrc: u32,
    },
    /// Close the port and end the stream.
    CloseMedia {
        /// The call.
        call: CallId,
        /// Why, for those who still read.
        why: String,
    },
    /// Send a request in a client transaction; its answers come back by [`Calls::answered`].
    Request {
        /// The call.
        call: CallId,
        /// The way to the device.
        flow: Flow,
        /// INVITE or BYE.
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
    /// Keep the dialog, so that it can be ended after a restart.
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
    },
}
