//! From packets to access units and back.
//!
//! [`rtp`] turns datagrams and TCP bytes into RTP packets in sequence, [`ps`] takes access units out of the
//! program stream that GB/T 28181 carries in them (annex C.1) and puts them back in, [`codec`] reads what it
//! must of the elementary streams and cuts them for RFC 6184. [`unit::AccessUnit`] is the one currency between
//! what comes in and what goes out.
//!
//! Everything here is pure: bytes and times are handed in, events are polled. All input is hostile: nothing in
//! here panics on it, and each buffer has a written bound.

pub mod codec;
pub mod ps;
pub mod rtp;
pub mod unit;
