//! The MPEG program stream as GB/T 28181 uses it (ISO/IEC 13818-1; GB/T 28181-2022, annex C.1): access units
//! out of RTP payloads ([`Demuxer`]), access units into packs ([`Muxer`]), packs into RTP payloads
//! ([`Packetiser`]).

mod assembly;
mod clock;
mod codecs;
mod demux;
mod fault;
mod habits;
mod headers;
mod mux;
mod packetise;

pub use demux::{Demuxer, Event, MAX_UNIT};
pub use fault::PsFault;
pub use mux::Muxer;
pub use packetise::{MAX_PAYLOAD, Packetiser, Payload};

#[cfg(test)]
mod tests;
