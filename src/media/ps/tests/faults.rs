//! What real senders do, and what networks do to it.

use proptest::prelude::*;

use super::*;

fn frame(parts: &[Vec<u8>]) -> Vec<u8> {
    [&PACK[..], &parts.concat()].concat()
}

/// Hand-made packs, one packet each, 25 a second.
fn stream(packs: Vec<Vec<u8>>) -> Vec<Packet> {
    (0u32..).zip(packs).map(|(n, pack)| packet(pack, n * 3600, true)).collect()
}

fn expect_pictures(run: &Run, count: u32) {
    let expected: Vec<Bytes> = (0..count).map(|n| h264(n, n.is_multiple_of(10), 3000).into()).collect();
    assert_eq!(run.payloads(), expected);
}

#[test]
fn a_picture_comes_at_its_marker_once_markers_are_trusted() {
    let packs = packs(&pictures(40), None);
    let (mut demuxer, mut run) = (Demuxer::new(), Run::default());
    let mut pending = Vec::new();
    for (n, pack) in packs.iter().enumerate() {
        for packet in packetise(std::slice::from_ref(pack), true) {
            run.push(&mut demuxer, &packet);
        }
        pending.push(n + 1 - run.units.len());
    }
    assert_eq!(pending[..25], [1; 25]);
    assert_eq!(pending[25..], [0; 15]);
    expect_pictures(&run, 40);
    assert_eq!(run.faults, []);
}

#[test]
fn a_marker_that_lies_loses_trust_and_one_picture() {
    let packs = packs(&pictures(80), None);
    let mut packets = packetise(&packs, true);
    let last_of = |packets: &[Packet], frame: u32| {
        packets.iter().rposition(|p| p.timestamp == frame * 3600 + 12_345).unwrap()
    };
    // A marker in the middle of a PES packet costs nothing but the trust.
    let at = last_of(&packets, 30);
    packets[at - 1].marker = true;
    let run = demux(&packets);
    expect_pictures(&run, 80);
    assert_eq!(run.faults, [PsFault::MarkerLied]);

    // Between two PES packets of a frame it costs the frame.
    let mut packets = packetise(&packs[..30], true);
    let picture = h264(30, true, 3000);
    let (front, back) = picture.split_at(1000);
    packets.push(packet(frame(&[pes(0xE0, Some(120_000), front)]), 99, true));
    packets.push(packet(pes(0xE0, None, back), 99, true));
    let run = demux(&packets);
    assert_eq!(run.faults.iter().filter(|&&fault| fault == PsFault::MarkerLied).count(), 1);
    assert_eq!(run.units[30].payload, front);
    assert_eq!(run.units.len(), 31, "the rest shows no NAL unit of a picture");
}

#[test]
fn senders_without_markers_or_with_wrong_ones_lose_no_picture() {
    let packs = packs(&pictures(60), None);
    let run = demux(&packetise(&packs, false));
    expect_pictures(&run, 60);
    let mut packets = packetise(&packs, false);
    packets.iter_mut().for_each(|packet| packet.marker = true);
    let run = demux(&packets);
    expect_pictures(&run, 60);
    assert_eq!(run.faults, []);
}

#[test]
fn a_lost_packet_damages_its_frame_and_no_other() {
    let sent = pictures(45);
    let packets = packetise(&packs(&sent, None), true);
    for lost in 0..packets.len() {
        let frame = (packets[lost].timestamp - 12_345) / 3600;
        let mut packets = packets.clone();
        packets.remove(lost);
        if let Some(next) = packets.get_mut(lost) {
            next.lost_before = true;
        }
        let run = demux(&packets);
        let whole: Vec<_> = run.units.iter().filter(|unit| !unit.damaged).map(|unit| &unit.payload).collect();
        let kept = |n: u32| whole.iter().any(|payload| **payload == sent[n as usize].payload);
        for n in (0..45).filter(|&n| n != frame) {
            // The frame before may not be known to be whole: the first has earned its marker no belief.
            let doubtful = n + 1 == frame && n == 0;
            assert!(kept(n) || doubtful, "packet {lost} of frame {frame} lost: frame {n} is missing");
        }
        let next_is_there = lost < packets.len();
        assert_eq!(run.faults.contains(&PsFault::Loss), next_is_there);
        assert!(whole.len() >= 43 && run.units.len() <= 45);
        assert!(!next_is_there || !kept(frame), "packet {lost}: a cut frame {frame} is told whole");
    }
}

#[test]
fn raw_h264_is_a_fault() {
    let run = demux(&stream((0..10).map(|n| h264(n, n == 0, 3000)).collect()));
    assert!(run.units.is_empty());
    assert_eq!(run.faults, [PsFault::NotPs]);
}

#[test]
fn codecs_are_found_without_a_map_and_against_it() {
    for (declared, faults) in [(None, &[][..]), (Some(0x1B), &[PsFault::MapLied][..]), (Some(0x24), &[][..])]
    {
        let pack = |n: u32| {
            let map = declared.map(|stream_type| map(&[(stream_type, 0xE0)])).unwrap_or_default();
            frame(&[map, pes(0xE0, Some(90_000 + u64::from(n) * 3600), &h265(n, n.is_multiple_of(10), 500))])
        };
        let run = demux(&stream((0..30).map(pack).collect()));
        assert_eq!(run.units.len(), 30);
        assert!(run.units.iter().all(|unit| unit.codec == Codec::H265), "declared as {declared:?}");
        assert!(run.units.iter().zip(0u32..).all(|(unit, n)| unit.key == n.is_multiple_of(10)));
        assert_eq!(run.faults, faults);
    }
}

#[test]
fn a_lying_map_is_found_out_in_the_middle_of_a_gop() {
    let pack = |n: u32| {
        frame(&[map(&[(0x1B, 0xE0)]), pes(0xE0, Some(90_000 + u64::from(n) * 3600), &h265(n, false, 500))])
    };
    let run = demux(&stream((0..5).map(pack).collect()));
    let codecs: Vec<_> = run.units.iter().map(|unit| unit.codec).collect();
    assert_eq!(codecs[codecs.len() - 3..], [Codec::H265; 3]);
}

#[test]
fn video_that_we_do_not_carry_is_told() {
    let pack =
        |n: u64| frame(&[map(&[(0x10, 0xE0)]), pes(0xE0, Some(90_000 + n), &[0, 0, 1, 0xB6, 9, 9, 9])]);
    let run = demux(&stream(vec![pack(0), pack(3600)]));
    assert!(run.units.is_empty());
    assert_eq!(run.faults, [PsFault::UnknownCodec; 2]);
}

#[test]
fn a_wrong_crc_is_told_and_the_map_used() {
    let mut table = map(&[(0x1B, 0xE0), (0x91, 0xC0)]);
    *table.last_mut().unwrap() ^= 1;
    let packs =
        vec![frame(&[table, pes(0xE0, Some(1), &h264(0, true, 50)), pes(0xC0, Some(1), &[0xFF; 160])])];
    let run = demux(&stream(packs));
    assert_eq!(run.faults, [PsFault::MapCrc]);
    assert_eq!(run.of(Track::Audio)[0].codec, Codec::Pcmu);
}

#[test]
fn sound_without_a_map_is_pcma_or_shows_itself() {
    let adts = [0xFF, 0xF1, 0x50, 0x80, 0x01, 0x3F, 0xFC, 1, 2];
    let packs = vec![frame(&[pes(0xC0, Some(1), &[0xD5; 160])]), frame(&[pes(0xC0, Some(2), &adts)])];
    let run = demux(&stream(packs));
    assert_eq!(run.units.iter().map(|unit| unit.codec).collect::<Vec<_>>(), [Codec::Pcma, Codec::Aac]);
    assert!(run.units.iter().all(|unit| unit.key && unit.nals.is_empty()));
}

#[test]
fn a_map_that_lists_only_sound_leaves_the_picture() {
    let packs = vec![
        frame(&[
            map(&[(0x91, 0xC0)]),
            pes(0xE0, Some(1), &h264(0, true, 50)),
            pes(0xC0, Some(1), &[0xFF; 160]),
        ]),
        frame(&[pes(0xE0, Some(3601), &h264(1, false, 50))]),
    ];
    let run = demux(&stream(packs));
    assert_eq!(run.of(Track::Video).len(), 2);
    assert_eq!(run.of(Track::Audio)[0].codec, Codec::Pcmu);
}

#[test]
fn sound_with_its_own_packs_and_time_stamps() {
    let mut packets = Vec::new();
    for n in 0..60u32 {
        let (pts, timestamp) = (900_000 + u64::from(n) * 3600, n * 3600);
        let pack = frame(&[
            map(&[(0x1B, 0xE0), (0x90, 0xC0)]),
            pes(0xE0, Some(pts), &h264(n, n.is_multiple_of(10), 3000)),
        ]);
        packets.extend(packetise(&[(pack.into(), timestamp)], true));
        let sound = frame(&[pes(0xC0, Some(pts - 500), &[0xD5; 320])]);
        packets.push(packet(sound, 77_777 + timestamp, true));
    }
    let run = demux(&packets);
    expect_pictures(&run, 60);
    assert_eq!(run.faults, []);
    let sound = run.of(Track::Audio);
    assert_eq!(sound.len(), 60);
    assert!(sound[1..].windows(2).all(|pair| pair[1].pts - pair[0].pts == 3600));
    let picture = run.of(Track::Video);
    assert_eq!(picture[40].pts - sound[40].pts, 500);
}

#[test]
fn pes_of_length_zero_end_where_the_next_part_begins() {
    let pack = |n: u32| {
        let pts = Some(90_000 + u64::from(n) * 3600);
        let picture = open_pes(0xE0, pts, &h264(n, n.is_multiple_of(10), 3000));
        frame(&[picture, pes(0xC0, pts, &[0xD5; 320]), part(0xBD, &[1, 2, 3])])
    };
    let packs: Vec<(Bytes, u32)> = (0..60).map(|n| (pack(n).into(), n * 3600)).collect();
    for markers in [false, true] {
        let run = demux(&packetise(&packs, markers));
        expect_pictures(&run, 60);
        assert_eq!(run.of(Track::Audio).len(), 60);
        assert_eq!(run.faults, []);
    }
}

#[test]
fn parts_of_no_interest_are_passed_over() {
    let mpeg1_pack = [0, 0, 1, 0xBA, 0x21, 0, 0x05, 0xBF, 0x21, 0x81, 0x86, 0xA1].to_vec();
    // Private data may hold anything, start codes too.
    let trap = [&PACK[..], &pes(0xE0, Some(5), &h264(9, true, 20))].concat();
    let stuffed = [&PACK[..13], &[0xFE, 0xFF, 0xFF, 0, 0, 0, 9]].concat();
    let picture =
        |n: u32| pes(0xE0, Some(90_000 + u64::from(n) * 3600), &h264(n, n.is_multiple_of(10), 3000));
    let packs = vec![
        [mpeg1_pack, part(0xBB, &[0x80; 12]), part(0xBD, &trap), picture(0)].concat(),
        [
            stuffed,
            part(0xBE, &[0xFF; 9]),
            picture(1),
            part(0xBF, &trap),
            part(0xF2, &trap),
            vec![0, 0, 1, 0xB9],
        ]
        .concat(),
        frame(&[vec![0; 7], picture(2), vec![0; 3]]),
    ];
    let run = demux(&stream(packs));
    expect_pictures(&run, 3);
    assert_eq!(run.faults, []);
}

#[test]
fn a_length_field_that_is_too_small_or_too_large_costs_nothing() {
    let wrong = |n: u32, by: i32| {
        let mut pes = pes(0xE0, Some(90_000 + u64::from(n) * 3600), &h264(n, n.is_multiple_of(10), 3000));
        let len = i32::from(u16::from_be_bytes([pes[4], pes[5]])) + by;
        [pes[4], pes[5]] = (len as u16).to_be_bytes();
        frame(&[pes])
    };
    for by in [-1, -2000, 1, 700] {
        let packs: Vec<(Bytes, u32)> = (0..40).map(|n| (wrong(n, by).into(), n * 3600)).collect();
        let run = demux(&packetise(&packs, false));
        expect_pictures(&run, 40);
        assert!(run.units.iter().take(39).all(|unit| !unit.damaged));
        assert!(run.faults.iter().all(|&fault| fault == PsFault::PesLength) && run.faults.len() >= 39);
    }
}

#[test]
fn parameter_sets_in_packs_of_their_own_join_their_picture() {
    let sets = annex_b(&[&[0x67, 0x42, 0xC0, 0x1E], &[0x68, 0xCE]]);
    let idr = annex_b(&[&[0x65, 0x88, 1, 2, 3]]);
    let other = annex_b(&[&[0x41, 0x9A, 1, 2, 3]]);
    let mut packets = Vec::new();
    for n in 0..100u32 {
        let (pts, timestamp) = (Some(90_000 + u64::from(n) * 3600), n * 3600);
        if n.is_multiple_of(20) {
            packets.push(packet(frame(&[pes(0xE0, pts, &sets)]), timestamp, true));
            packets.push(packet(frame(&[pes(0xE0, pts, &idr)]), timestamp, true));
        } else {
            packets.push(packet(frame(&[pes(0xE0, pts, &other)]), timestamp, true));
        }
    }
    let run = demux(&packets);
    assert_eq!(run.units.len(), 100);
    assert_eq!(run.units[80].payload, [sets, idr].concat());
    assert!(run.units[80].key && run.units.iter().all(|unit| !unit.damaged));
    assert_eq!(run.faults, []);
}

#[test]
fn frames_that_share_an_rtp_time_stamp_are_told_apart_by_pts() {
    let pack = |n: u32| {
        frame(&[pes(0xE0, Some(90_000 + u64::from(n) * 3600), &h264(n, n.is_multiple_of(10), 3000))])
    };
    let packets: Vec<_> = (0..20).map(|n| packet(pack(n), 7, false)).collect();
    let run = demux(&packets);
    expect_pictures(&run, 20);
    assert!(run.units.windows(2).all(|pair| pair[1].dts - pair[0].dts == 3600));
}

#[test]
fn zero_and_missing_pts_fall_back_to_rtp() {
    for pts in [None, Some(0)] {
        let pack = |n: u32| frame(&[pes(0xE0, pts, &h264(n, n.is_multiple_of(10), 3000))]);
        let packets: Vec<_> =
            (0..20).map(|n| packet(pack(n), (n * 3000).wrapping_sub(7000), false)).collect();
        let run = demux(&packets);
        expect_pictures(&run, 20);
        assert!(run.units.windows(2).all(|pair| pair[1].pts - pair[0].pts == 3000));
        assert_eq!(run.faults, []);
    }
}

#[test]
fn a_unit_beyond_all_bounds_is_dropped_and_the_next_one_kept() {
    let mut packets = Vec::new();
    let start = frame(&[open_pes(0xE0, Some(90_000), &h264(0, true, 1000))]);
    packets.push(packet(start, 1, false));
    let filling = Bytes::from(vec![0x55; 60_000]);
    packets.extend((0..150).map(|_| packet(filling.clone(), 1, false)));
    packets.push(packet(frame(&[pes(0xE0, Some(93_600), &h264(0, true, 3000))]), 2, false));
    let run = demux(&packets);
    assert_eq!(run.faults, [PsFault::TooLarge]);
    expect_pictures(&run, 1);
}

/// A GOP of good frames, one of bad bytes, one of good frames.
fn with_a_bad_gop(spoil: impl FnOnce(&mut Vec<Packet>)) -> Run {
    let packs = packs(&pictures(30), None);
    let mut packets = packetise(&packs, true);
    let mut last = packets.split_off(packets.iter().position(|p| p.timestamp >= 20 * 3600 + 12_345).unwrap());
    let mut bad = packets.split_off(packets.iter().position(|p| p.timestamp >= 10 * 3600 + 12_345).unwrap());
    spoil(&mut bad);
    packets.append(&mut bad);
    packets.append(&mut last);
    demux(&packets)
}

fn good_gops_are_there(run: &Run) {
    let good = |n: u32| Bytes::from(h264(n, n.is_multiple_of(10), 3000));
    // The last frame before still waits for the next pack, and may take in a part of the noise.
    for n in (0..9).chain(20..30) {
        // What looks like parameter sets in the noise may come before the next picture.
        let found =
            run.units.iter().any(|unit| unit.payload.ends_with(&good(n)) && unit.codec == Codec::H264);
        assert!(found, "frame {n} is missing after {:?}", run.faults);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_costs_at_most_its_gop(
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 1usize..30), 1..30)
    ) {
        let run = with_a_bad_gop(|packets| {
            for (which, at, byte, len) in spoilt {
                let packet = which.get(packets);
                let mut bytes = packet.bytes.to_vec();
                let at = at.index(bytes.len());
                bytes.iter_mut().skip(at).take(len).for_each(|b| *b = byte);
                let which = which.index(packets.len());
                packets[which].bytes = bytes.into();
            }
        });
        good_gops_are_there(&run);
    }

    #[test]
    fn headers_that_lie_cost_at_most_their_gop(
        heads in prop::collection::vec((any::<prop::sample::Index>(), 0xB9u8.., any::<u16>(), prop::collection::vec(any::<u8>(), 0..20)), 1..10)
    ) {
        let run = with_a_bad_gop(|packets| {
            for (which, id, len, noise) in heads {
                let which = which.index(packets.len());
                let [high, low] = len.to_be_bytes();
                let bytes = [&[0, 0, 1, id, high, low][..], &noise, &packets[which].bytes].concat();
                packets[which].bytes = bytes.into();
            }
        });
        good_gops_are_there(&run);
    }

    #[test]
    fn nothing_panics_and_memory_is_bounded(
        packets in prop::collection::vec(
            (prop::collection::vec(prop_oneof![4 => Just(0u8), 2 => Just(1), 2 => 0xB9u8..=0xFF, 3 => any::<u8>()], 0..200),
             0u32..3, any::<bool>(), prop::bool::weighted(0.05)), 0..100)
    ) {
        let (mut demuxer, mut run) = (Demuxer::new(), Run::default());
        // Well begun is half done: most garbage would be skipped otherwise.
        run.push(&mut demuxer, &packet(frame(&[pes(0xE0, Some(1), &h264(0, true, 9))]), 0, false));
        let mut total = 200;
        for (bytes, timestamp, marker, lost_before) in packets {
            total += bytes.len();
            run.push(&mut demuxer, &Packet { bytes: bytes.into(), timestamp, marker, lost_before });
        }
        demuxer.flush();
        run.drain(&mut demuxer);
        prop_assert!(run.units.iter().map(|unit| unit.payload.len()).sum::<usize>() <= total);
        for unit in &run.units {
            for index in 0..unit.nals.len() {
                prop_assert!(!unit.nal(index).is_empty());
            }
        }
        for track in [Track::Video, Track::Audio] {
            prop_assert!(run.of(track).windows(2).all(|pair| pair[0].dts < pair[1].dts));
        }
    }
}
