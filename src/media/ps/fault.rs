//! What senders and networks do to a program stream.

/// What was wrong with the stream, and has been dealt with.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, thiserror::Error)]
pub enum PsFault {
    #[error("no pack header found: not a program stream, or joined in the middle of a frame")]
    NotPs,
    #[error("RTP packets lost; skipped to the next pack")]
    Loss,
    #[error("bytes between packets of the program stream that belong to none")]
    Garbage,
    #[error("a start code without a valid header; skipped to the next pack")]
    BadHeader,
    #[error("a PES packet is longer or shorter than its length field says")]
    PesLength,
    #[error("the lengths in the program stream map do not agree")]
    BadMap,
    #[error("the program stream map has a wrong CRC; used all the same")]
    MapCrc,
    #[error("the program stream map names another video codec than the bits show")]
    MapLied,
    #[error("video of a codec that is unknown or not carried; dropped")]
    UnknownCodec,
    #[error("an access unit beyond all bounds; dropped")]
    TooLarge,
    #[error("an RTP marker in the middle of a frame; no longer trusted")]
    MarkerLied,
    #[error("time stamps jumped; rebased")]
    TimeJump,
    #[error("a key frame without a program stream map before it")]
    NoMap,
    #[error("a key frame without a system header before it")]
    NoSystemHeader,
    #[error("a PES packet of video with the length 0: it goes on to the next start code")]
    LengthZero,
}

impl PsFault {
    /// The stable label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            PsFault::NotPs => "not_ps",
            PsFault::Loss => "loss",
            PsFault::Garbage => "garbage",
            PsFault::BadHeader => "bad_header",
            PsFault::PesLength => "pes_length",
            PsFault::BadMap => "bad_map",
            PsFault::MapCrc => "map_crc",
            PsFault::MapLied => "map_lied",
            PsFault::UnknownCodec => "unknown_codec",
            PsFault::TooLarge => "too_large",
            PsFault::MarkerLied => "marker_lied",
            PsFault::TimeJump => "time_jump",
            PsFault::NoMap => "no_map",
            PsFault::NoSystemHeader => "no_system_header",
            PsFault::LengthZero => "length_zero",
        }
    }
}
