//! The standard's vocabulary: what GB/T 28181 peers say to each other, as values.
//!
//! Everything here is pure: bytes and text in, values out, and back. There is no socket, no clock and no
//! state beyond [`charset::History`], the little that is remembered of a peer's habits. The same rules hold
//! for every part:
//!
//! - **Read leniently.** Devices of three editions and many vendors break the standard in known ways; what
//!   can be understood is understood, and the fault is counted where it is worth knowing.
//! - **Write strictly.** What leaves is in the order, the spelling and the line ends of the standard, since
//!   some readers in the field match on them.
//! - **Bounded.** A reader takes linear time, keeps bounded memory and never panics, whatever it is given.
//!
//! | module | speaks of |
//! |---|---|
//! | [`id`] | the 20-digit codes of annex D (2016) or E (2022), and what they are codes of |
//! | [`time`] | instants, Beijing time and the Date header of clause 9.10 |
//! | [`charset`] | GB 18030 and UTF-8, told apart by what arrives rather than by what is declared |
//! | [`xml`] | a small tree of elements, salvaged from bodies that are not well formed |
//! | [`manscdp`] | commands, queries, notifies and responses of annex A |
//! | [`mansrtsp`] | the control of a playback, annex B |
//! | [`conformance`] | the rules that a device can break |
//! | [`ptz`] | the eight bytes of a PTZ command, annex A.3 |
//! | [`sdp`] | session descriptions with the private `y=` and `f=` lines |
//! | [`ssrc`] | the ten digits that name a stream |
//! | [`subject`] | the Subject header of an INVITE |

pub mod charset;
pub mod conformance;
pub mod id;
pub mod manscdp;
pub mod mansrtsp;
pub mod ptz;
pub mod sdp;
pub mod ssrc;
pub mod subject;
pub mod time;
pub mod xml;

pub use id::Id;
