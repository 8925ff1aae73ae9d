//! Why a picture did not come, in words that a person can act on.
//!
//! Every failure has a stable `code` for programs, the `step` of the road at which it stopped,
//! a `detail` with the figures of this one case, and a `hint` that says what to check.

use std::fmt;

/// The kinds of failure of a media session. The codes are part of the public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No such device or channel.
    NotFound,
    /// The device is known but not reachable now.
    DeviceOffline,
    /// The device answered the INVITE with this final status code of 300 or more.
    InviteRefused(u16),
    /// No final answer to the INVITE in time.
    InviteTimeout,
    /// The INVITE was answered with 200, yet no RTP arrived.
    NoRtp,
    /// RTP arrived, yet no picture that can be decoded came out of it.
    NoKeyFrame,
    /// This node had no port or no memory for one more stream.
    NoCapacity,
    /// The session ended while it was being waited for.
    Ended,
    /// Somebody of this platform ended it on purpose.
    Stopped,
    /// The recording was sent to its end: no fault.
    EndOfFile,
    /// The device refused a control of the playback with this code, or it makes no sense (0).
    ControlRefused(u16),
    /// No answer to a control of the playback in time.
    ControlTimeout,
    /// The device does not take a voice, or took it back.
    TalkRefused,
    /// The device did not fetch the voice that it was offered, or did not complete the session.
    TalkTimeout,
    /// Somebody else speaks to this device already.
    TalkBusy,
}

/// A failed request for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub reason: Reason,
    /// The figures of this case, in one sentence.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Failure {
        Failure { reason, detail: detail.into() }
    }

    /// No such device or channel.
    pub fn not_found(detail: impl Into<String>) -> Failure {
        Failure::new(Reason::NotFound, detail)
    }

    /// The device cannot be reached now.
    pub fn offline(detail: impl Into<String>) -> Failure {
        Failure::new(Reason::DeviceOffline, detail)
    }

    /// This node has no room for one more.
    pub fn no_capacity(detail: impl Into<String>) -> Failure {
        Failure::new(Reason::NoCapacity, detail)
    }

    /// Somebody of this platform ended the session.
    pub(crate) fn stopped(detail: impl Into<String>) -> Failure {
        Failure::new(Reason::Stopped, detail)
    }

    /// The recording was sent to its end.
    pub(crate) fn end_of_file() -> Failure {
        Failure::new(Reason::EndOfFile, "the device sent the recording to its end")
    }

    /// The session ended while somebody waited for it.
    pub fn ended(detail: impl Into<String>) -> Failure {
        Failure::new(Reason::Ended, detail)
    }

    /// The stable code, as in problem documents and in the label of `invite_failures_total`.
    pub fn code(&self) -> &'static str {
        match self.reason {
            Reason::NotFound => "not_found",
            Reason::DeviceOffline => "device_offline",
            Reason::InviteRefused(_) => "invite_refused",
            Reason::InviteTimeout => "invite_timeout",
            Reason::NoRtp => "no_rtp",
            Reason::NoKeyFrame => "no_key_frame",
            Reason::NoCapacity => "no_capacity",
            Reason::Ended => "stream_ended",
            Reason::Stopped => "stream_stopped",
            Reason::EndOfFile => "end_of_file",
            Reason::ControlRefused(_) => "control_refused",
            Reason::ControlTimeout => "control_timeout",
            Reason::TalkRefused => "talk_refused",
            Reason::TalkTimeout => "talk_timeout",
            Reason::TalkBusy => "talk_busy",
        }
    }

    /// The step of the road at which it stopped.
    pub fn step(&self) -> &'static str {
        match self.reason {
            Reason::NotFound => "lookup",
            Reason::DeviceOffline => "registration",
            Reason::InviteRefused(_) | Reason::InviteTimeout => "invite",
            Reason::NoRtp => "rtp",
            Reason::NoKeyFrame => "key_frame",
            Reason::NoCapacity => "media",
            Reason::Ended | Reason::Stopped | Reason::EndOfFile => "stream",
            Reason::ControlRefused(_) | Reason::ControlTimeout => "control",
            Reason::TalkRefused | Reason::TalkTimeout | Reason::TalkBusy => "talk",
        }
    }

    /// What to check.
    pub fn hint(&self) -> &'static str {
        match self.reason {
            Reason::NotFound => "Check the ids; synchronise the device's catalog if the channel is new.",
            Reason::DeviceOffline => {
                "Check power and network of the device, and that its keepalives reach this gateway."
            }
            Reason::InviteRefused(404) => {
                "The device does not know this channel: synchronise its catalog and check the channel id in it."
            }
            Reason::InviteRefused(486) => {
                "The device has no stream left: close other viewers of it or raise its limit of streams."
            }
            Reason::InviteRefused(488 | 415) => {
                "The device does not accept the media offered: try another media_transport for it."
            }
            Reason::InviteRefused(401 | 403) => {
                "The device does not accept calls from this platform: check the platform id set in the device."
            }
            Reason::InviteRefused(_) => "Look up the status code in the device's log.",
            Reason::InviteTimeout => {
                "The device keeps registering but does not answer: over UDP its NAT binding may have expired \
                 (shorten its keepalive or use TCP), or its address in the SIP answer is wrong."
            }
            Reason::NoRtp => {
                "Check that the address in the SDP can be reached from the device (media.advertise), that the \
                 firewall lets media.ports in, or try another media_transport for the device."
            }
            Reason::NoKeyFrame => {
                "Check the codec that the device sends, and its key frame interval; look at loss and faults of \
                 the stream."
            }
            Reason::NoCapacity => "Widen media.ports or end streams that nobody needs.",
            Reason::Ended => "Ask again; the device ended the stream, or its media stopped.",
            Reason::Stopped => "Ask again if you still need it: somebody ended it on purpose.",
            Reason::EndOfFile => {
                "The recording was played to its end; if nothing came, ask which recordings there are."
            }
            Reason::ControlRefused(0) => "Check the value: it must be a finite number, and a speed not 0.",
            Reason::ControlRefused(_) => {
                "The device does not offer this: try a speed of 0.25, 0.5, 1, 2 or 4, or a place inside the recording."
            }
            Reason::ControlTimeout => {
                "The playback goes on as before; ask again. If it happens often, look at the loss of SIP messages."
            }
            Reason::TalkRefused => {
                "Check that the device has a loudspeaker (a channel of type 137 in its catalog) and that nobody \
                 speaks to it from elsewhere; try the other talk mode in its profile."
            }
            Reason::TalkTimeout => {
                "Check that the device can reach the address in the SDP (media.advertise); try the other talk mode \
                 or transport in its profile."
            }
            Reason::TalkBusy => "Ask again when the other has finished.",
        }
    }

    /// Whether asking again later may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.reason,
            Reason::DeviceOffline
                | Reason::NoCapacity
                | Reason::Ended
                | Reason::ControlTimeout
                | Reason::TalkTimeout
                | Reason::TalkBusy
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.detail)
    }
}

impl std::error::Error for Failure {}
