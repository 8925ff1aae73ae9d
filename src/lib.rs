//! gbgate: a GB/T 28181 video gateway in one binary.
//!
//! # Rooms
//! A module imports those of lower floors only. Floors 0 to 3 are pure: bytes and time in, bytes and events out, no
//! sockets, no clock, no tokio. ARCHITECTURE.md says more; `tests/rooms.rs` checks it.
//!
//! | floor | module | owns |
//! |---|---|---|
//! | 0 | [`gb`] | the standard's vocabulary: ids, MANSCDP, SDP, PTZ, time, charset |
//! | 0 | [`sip`] | messages, framing, digest, transactions, dialogs |
//! | 0 | [`media`] | RTP, PS, codecs, the access unit |
//! | 1 | [`registry`] | devices, channels, registrations, calls, and their index |
//! | 1 | [`stream`] | a live stream: its access units, its last GOP |
//! | 1 | [`access`] | who may come in |
//! | 2 | [`device`] | the side that faces down: registrar, keepalive, catalog, control, subscriptions, alarms, conformance |
//! | 2 | [`call`] | media sessions from "wanted" to BYE |
//! | 4 | [`net`] | sockets: SIP, RTP, HTTP |
//! | 4 | [`store`] | the registry kept |
//! | 5 | [`egress`] | WebRTC, MP4, talk |
//! | 5 | [`telemetry`] | metrics, health, logs |
//! | 6 | [`node`] | the loops: signalling shards, streams |
//! | 7 | [`api`], [`console`] | HTTP, WHEP, the web console |
//! | 8 | [`app`], [`config`], [`cli`], [`simulator`], [`inspect`] | wiring, and the binary's commands |
//!
//! # Panics
//! A panic is a bug and never follows from input. `unwrap` and `expect` are refused by clippy outside tests.

pub mod access;
pub mod api;
pub mod app;
pub mod call;
pub mod cli;
pub mod config;
pub mod console;
pub mod device;
pub mod egress;
pub mod gb;
pub mod inspect;
pub mod media;
pub mod net;
pub mod node;
pub mod registry;
pub mod simulator;
pub mod sip;
pub mod store;
pub mod stream;
pub mod telemetry;
