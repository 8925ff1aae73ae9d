use super::*;
use crate::media::rtp::Header;
use proptest::prelude::*;

const SSRC: u32 = 200_001_234;

fn rtp(sequence: u16, size: usize) -> Vec<u8> {
    rtp_of(SSRC, 96, sequence, size)
}

fn rtp_of(ssrc: u32, payload_type: u8, sequence: u16, size: usize) -> Vec<u8> {
    let header = Header { payload_type, marker: false, sequence, timestamp: 3600, ssrc };
    let mut out = header.to_bytes().to_vec();
    // A payload that is not mistaken for a header: no byte has the upper bits 10.
    out.extend((0..size).map(|i| (i % 0x7f) as u8));
    out
}

fn rfc4571(packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(packet, &mut out).unwrap();
    out
}

fn interleaved(packet: &[u8]) -> Vec<u8> {
    [b"$\0".to_vec(), rfc4571(packet)].concat()
}

fn drain(deframer: &mut Deframer) -> Vec<Result<Bytes, FrameFault>> {
    std::iter::from_fn(|| deframer.next()).collect()
}

/// The sequence numbers of the RTP packets that come out, and the faults between.
fn sequences(bytes: &[u8], chunk: usize) -> Vec<Result<u16, FrameFault>> {
    let mut deframer = Deframer::new();
    let mut out = Vec::new();
    for chunk in bytes.chunks(chunk) {
        deframer.push(chunk);
        out.extend(drain(&mut deframer));
    }
    out.retain(|item| !item.as_ref().is_ok_and(|bytes| is_rtcp(bytes)));
    out.into_iter().map(|item| item.map(|bytes| Source::read(&bytes).unwrap().sequence)).collect()
}

/// The sequence numbers of the packets alone.
fn packets(bytes: &[u8], chunk: usize) -> Vec<u16> {
    sequences(bytes, chunk).into_iter().flatten().collect()
}

#[test]
fn finds_out_the_framing() {
    for wrap in [rfc4571, interleaved] {
        let bytes: Vec<u8> = (0..4).flat_map(|n| wrap(&rtp(n, 1400))).collect();
        for chunk in [1, 3, 1000, 6000] {
            assert_eq!(sequences(&bytes, chunk), [Ok(0), Ok(1), Ok(2), Ok(3)]);
        }
    }
}

#[test]
fn a_first_length_that_looks_like_a_dollar_is_a_length() {
    // 0x2400 is 9216: the first byte of the length is '$'.
    let bytes = [rfc4571(&rtp(0, 0x2400 - 12)), rfc4571(&rtp(1, 10))].concat();
    assert_eq!(bytes[0], b'$');
    assert_eq!(sequences(&bytes, 700), [Ok(0), Ok(1)]);
}

#[test]
fn the_framing_may_change() {
    let bytes = [
        rfc4571(&rtp(0, 100)),
        interleaved(&rtp(1, 100)),
        // Longer than 32 KiB: the length itself has the upper bits of a version.
        interleaved(&rtp(2, 40_000)),
        rfc4571(&rtp(3, 100)),
    ];
    assert_eq!(sequences(&bytes.concat(), 900), [Ok(0), Ok(1), Ok(2), Ok(3)]);
}

#[test]
fn the_shortest_and_the_longest_packet_pass() {
    let bytes = [rfc4571(&rtp(0, 0)), rfc4571(&rtp(1, MAX_PACKET - 12)), rfc4571(&rtp(2, 1))].concat();
    assert_eq!(sequences(&bytes, 1500), [Ok(0), Ok(1), Ok(2)]);
    let mut out = Vec::new();
    assert_eq!(frame(&[0; MAX_PACKET + 1], &mut out), Err(FrameFault::TooLong));
    assert!(out.is_empty());
}

#[test]
fn passes_rtcp_and_empty_packets() {
    let bye = [0x81, 203, 0, 1, 0, 0, 0, 7];
    let mut deframer = Deframer::new();
    for part in [rfc4571(&bye), vec![0, 0], rfc4571(&rtp(0, 5)), vec![0, 0, 0, 0], interleaved(&bye)] {
        deframer.push(&part);
    }
    let out: Vec<_> = drain(&mut deframer).into_iter().map(Result::unwrap).collect();
    assert_eq!(out, [&bye[..], &rtp(0, 5), &bye]);
    assert_eq!((deframer.faults(), deframer.skipped()), (0, 0));
}

#[test]
fn resynchronises_after_garbage() {
    let garbage: Vec<u8> = (0..500u32).map(|i| ((i * 7919) >> 3) as u8).collect();
    let bytes = [rfc4571(&rtp(0, 100)), garbage, rfc4571(&rtp(1, 100)), rfc4571(&rtp(2, 100))].concat();
    for chunk in [1, 13, 5000] {
        assert_eq!(sequences(&bytes, chunk), [Ok(0), Err(FrameFault::OutOfStep), Ok(1), Ok(2)]);
    }
}

#[test]
fn what_only_resembles_a_header_is_not_taken() {
    // Payload type and source are right, the sequence number is far off: bytes of chance, or of long ago.
    let chance = &rfc4571(&rtp(30_000, 100))[..40];
    let bytes = [rfc4571(&rtp(0, 100)), vec![0xff; 9], chance.to_vec(), rfc4571(&rtp(1, 100))].concat();
    for chunk in [1, 5000] {
        assert_eq!(packets(&bytes, chunk), [0, 1]);
    }
}

#[test]
fn garbage_at_the_start_ends_with_two_packets_in_a_row() {
    let bytes =
        [vec![0xff; 77], rfc4571(&rtp(5, 100)), rfc4571(&rtp(6, 100)), rfc4571(&rtp(7, 100))].concat();
    for chunk in [1, 13, 5000] {
        assert_eq!(packets(&bytes, chunk), [5, 6, 7]);
    }
}

#[test]
fn a_length_too_short_costs_one_packet() {
    let mut short = rfc4571(&rtp(1, 1000));
    short[..2].copy_from_slice(&900u16.to_be_bytes());
    let bytes = [rfc4571(&rtp(0, 100)), short, rfc4571(&rtp(2, 100)), rfc4571(&rtp(3, 100))].concat();
    for chunk in [1, 500, 5000] {
        assert_eq!(sequences(&bytes, chunk), [Ok(0), Ok(1), Err(FrameFault::OutOfStep), Ok(2), Ok(3)]);
    }
}

#[test]
fn half_a_packet_costs_itself_alone() {
    let half = &rfc4571(&rtp(1, 1000))[..600];
    let whole: Vec<u8> = (2..6).flat_map(|n| rfc4571(&rtp(n, 1000))).collect();
    let bytes = [rfc4571(&rtp(0, 100)), half.to_vec(), whole].concat();
    assert_eq!(sequences(&bytes, 9000), [Ok(0), Err(FrameFault::HalfPacket), Ok(2), Ok(3), Ok(4), Ok(5)]);
    // Byte by byte the end of the half one is seen too late: the next is taken with it.
    assert_eq!(packets(&bytes, 1), [0, 1, 3, 4, 5]);
}

#[test]
fn a_source_that_changed_is_found_again() {
    let garbage = vec![0xff; MAX_SEARCH + 100];
    let news: Vec<u8> = (0..3).flat_map(|n| rfc4571(&rtp_of(99, 100, 700 + n, 1000))).collect();
    let bytes = [rfc4571(&rtp(0, 100)), garbage, news].concat();
    assert_eq!(packets(&bytes, 1500), [0, 700, 701, 702]);
}

#[test]
fn a_private_payload_type_of_the_same_source_passes() {
    let bytes = [rtp(0, 10), rtp_of(SSRC, 40, 1, 10), rtp(2, 10)].map(|packet| rfc4571(&packet)).concat();
    assert_eq!(sequences(&bytes, 5), [Ok(0), Ok(1), Ok(2)]);
}

#[test]
fn memory_is_bounded_when_nothing_is_taken() {
    let mut deframer = Deframer::new();
    for _ in 0..100 {
        deframer.push(&[0x80; 10_000]);
    }
    assert!(deframer.buffer.len() <= MAX_BUFFER);
    assert_eq!(deframer.next(), Some(Err(FrameFault::Overflow)));
    deframer.push(&vec![0x80; 2 * MAX_BUFFER]);
    assert!(deframer.buffer.len() <= MAX_BUFFER);
}

prop_compose! {
    /// Packets of one source in one framing, with RTCP between.
    fn connection()(
        sizes in proptest::collection::vec((0usize..3000, any::<bool>()), 1..20),
        first: u16, dollar: bool,
    ) -> (Vec<Vec<u8>>, Vec<u8>) {
        let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let mut packets = Vec::new();
        for (n, (size, rtcp)) in sizes.into_iter().enumerate() {
            packets.push(rtp(first.wrapping_add(n as u16), size));
            if rtcp {
                packets.push(report.to_vec());
            }
        }
        let wrap = if dollar { interleaved } else { rfc4571 };
        let bytes = packets.iter().flat_map(|packet| wrap(packet)).collect();
        (packets, bytes)
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_packets(
        (packets, bytes) in connection(), splits in proptest::collection::vec(1usize..2000, 1..50)
    ) {
        let mut deframer = Deframer::new();
        let (mut rest, mut out) = (&bytes[..], Vec::new());
        for &split in splits.iter().cycle() {
            let (now, later) = rest.split_at(split.min(rest.len()));
            deframer.push(now);
            out.extend(drain(&mut deframer).into_iter().map(Result::unwrap));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(out, packets);
        prop_assert_eq!(deframer.skipped(), 0);
    }

    #[test]
    fn finds_its_way_after_any_damage(
        (packets_before, before) in connection(), damage: Vec<u8>, chunk in 1usize..3000
    ) {
        let last = packets_before.iter().rev().find_map(|packet| Some(packet).filter(|packet| !is_rtcp(packet)));
        let last = Source::read(last.unwrap()).unwrap().sequence;
        // However much the damage swallows, it is less than this.
        let after = (1..=100).map(|n| last.wrapping_add(n));
        let tail: Vec<u8> = after.clone().flat_map(|n| rfc4571(&rtp(n, 1400))).collect();
        let found = packets(&[before, damage, tail].concat(), chunk);
        prop_assert_eq!(found.last().copied(), after.into_iter().next_back());
    }

    #[test]
    fn never_panics_and_keeps_little(chunks: Vec<Vec<u8>>) {
        let mut deframer = Deframer::new();
        for chunk in &chunks {
            deframer.push(chunk);
            drain(&mut deframer);
            prop_assert!(deframer.buffer.len() <= MAX_PACKET + 4);
        }
    }
}
