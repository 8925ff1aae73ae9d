//! Boxes of ISO/IEC 14496-12, written into a buffer.

/// A box: its length, its type and what `body` writes.
pub(super) fn atom(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    body(out);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&len);
    }
}

/// A box with version and flags.
pub(super) fn full(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    body: impl FnOnce(&mut Vec<u8>),
) {
    atom(out, kind, |out| {
        u32(out, u32::from(version) << 24 | flags & 0xFF_FFFF);
        body(out);
    });
}

/// Room for later: a box without meaning, of this length in all, which is at least 8.
pub(super) fn free(out: &mut Vec<u8>, len: usize) {
    atom(out, b"free", |out| out.resize(out.len() + len.saturating_sub(8), 0));
}

pub(super) fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn zeros(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, 0);
}

/// A length of two bytes, then the bytes; what is longer than they can say is cut.
pub(super) fn with_len(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    u16(out, len);
    out.extend(bytes.iter().take(len.into()));
}
