//! The edge between the sockets and all else: bytes with their addresses in, bytes out.
//!
//! Thin shells over tokio, socket2 and quinn-udp. Nothing here knows what a message means; what it owns is that
//! bytes arrive whole and in bounded memory, that peers which do harm are cut off, that answers leave from the
//! address that was asked, and that every drop is counted.
//!
//! | module | does |
//! |---|---|
//! | [`sip`] | messages over UDP, TCP and TLS, into one bounded queue and out again |
//! | [`rtp`] | the sockets of one stream, on ports out of [`ports`] |
//! | [`http`] | an accept loop for an axum router |
//! | [`udp`] | datagrams in batches, with the address each was sent to |
//! | [`gate`] | how many connections, overall and from one address |
//! | [`tls`] | certificates and keys |
//! | [`route`] | which of our addresses a peer is told |
//! | [`bind`] | listening, and why it failed, in words |
//! | [`clock`] | the time |

pub mod bind;
pub mod clock;
pub mod gate;
pub mod http;
pub mod ports;
pub mod route;
pub mod rtp;
pub mod sip;
pub mod tls;
pub mod udp;

pub use bind::BindError;
