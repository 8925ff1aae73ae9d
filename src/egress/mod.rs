//! What leaves the gateway for people to watch: one module for each way out.
//!
//! A stream is packetised once for each way out, whoever many watch; what differs from viewer to viewer
//! (keys, numbers, pace) is added where it is sent.

pub mod flv;
pub mod hls;
pub mod mp4;
pub mod talk;
pub mod webrtc;
