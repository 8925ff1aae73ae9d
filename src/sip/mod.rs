//! SIP (RFC 3261) as GB/T 28181 uses it: messages, framing, digest, transactions, dialogs.
//!
//! The room is pure: bytes and instants come in, bytes and events come out. It reads what the field really
//! sends (wrong lengths, folded headers, GBK in display names, absent brackets) and writes what the RFCs
//! demand.
//!
//! - [`message`]: one message, read over an index of its fields and written with a right Content-Length
//! - [`framer`]: messages out of a byte stream (RFC 3261 18.3), resynchronising after garbage
//! - [`digest`]: the challenge, its nonces, and both sides of the answer (RFC 2617, RFC 7616)
//! - [`transaction`]: RFC 3261 section 17 with RFC 6026, and the return path of RFC 3581
//! - [`dialog`]: RFC 3261 section 12
//! - [`token`]: branches, tags and Call-IDs that name the shard which made them

pub mod dialog;
pub mod digest;
pub mod framer;
mod hex;
pub mod message;
pub mod token;
pub mod transaction;

pub use dialog::Dialog;
pub use framer::{Frame, FrameError, Framer};
pub use message::{Address, Departure, Message, Method, ParseError, Start, Summary, Via};
pub use token::{Tokens, shard_of};
pub use transaction::{ClientKey, Output, ServerKey, Transactions};

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How a message travels.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// The name in lower case, for interfaces and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// The name as a Via header writes it.
    pub fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// Whether the transport itself delivers or fails, so that nothing need be sent twice.
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }
}

/// Where a message came from, and the way back.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Flow {
    pub transport: Transport,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// 0 for UDP, else the number that the shell gave to the stream.
    pub connection: u64,
}
