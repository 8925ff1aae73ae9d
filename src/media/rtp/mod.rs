//! RTP and RTCP (RFC 3550), the framing of both on TCP, and the buffer that puts packets back in order.
//!
//! The road of a packet: a datagram or a [`Deframer`] gives bytes; [`is_rtcp`] tells the two kinds apart;
//! [`Packet::parse`] reads the header; [`Reorder`] hands the packets out in the order they were sent and says
//! what is missing between them.

mod deframer;
mod packet;
mod reception;
mod reorder;
pub mod rtcp;

pub use deframer::{Deframer, FrameFault, frame};
pub use packet::{HEADER_LEN, Header, Packet, RtpError, is_rtcp};
pub use reception::Reception;
pub use reorder::{MAX_HELD, Popped, Reorder, Stats, Wait};
