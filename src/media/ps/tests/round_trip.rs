use proptest::prelude::*;

use super::*;

const VIDEO: [Codec; 2] = [Codec::H264, Codec::H265];
const AUDIO: [Codec; 4] = [Codec::Pcma, Codec::Pcmu, Codec::G7221, Codec::G729];

/// A NAL unit of any bytes that a coder may write: with emulation prevention, not ending in zero.
fn escape(head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = head.to_vec();
    let mut zeros = 0;
    for &byte in body {
        if zeros >= 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        out.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    out.push(0x80);
    out
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => prop::collection::vec(prop_oneof![2 => Just(0u8), 1 => Just(1), 3 => any::<u8>()], 0..600),
        1 => (60_000usize..140_000, any::<u8>()).prop_map(|(len, seed)| {
            (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed)).to_be_bytes()[0]).collect()
        }),
    ]
}

fn picture(codec: Codec) -> impl Strategy<Value = (bool, Vec<u8>)> {
    (any::<bool>(), prop::collection::vec(body(), 1..4)).prop_map(move |(key, bodies)| {
        let (sets, slice): (&[&[u8]], &[u8]) = match (codec, key) {
            (Codec::H264, true) => (&[&[0x67], &[0x68], &[0x06]], &[0x65]),
            (Codec::H264, false) => (&[], &[0x41]),
            (_, true) => (&[&[0x40, 1], &[0x42, 1], &[0x44, 1], &[0x4E, 1]], &[0x26, 1]),
            (_, false) => (&[], &[0x02, 1]),
        };
        let sets = sets.iter().map(|head| escape(head, &[0x42, 0xC0, 0x1E]));
        let slices = bodies.iter().map(|body| escape(slice, body));
        let nals: Vec<Vec<u8>> = sets.chain(slices).collect();
        (key, annex_b(&nals.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    })
}

/// Units of one video and one audio stream, in sending order, from time zero.
fn units() -> impl Strategy<Value = (Codec, Codec, Vec<AccessUnit>)> {
    (prop::sample::select(&VIDEO[..]), prop::sample::select(&AUDIO[..])).prop_flat_map(|(video, audio)| {
        let sound = prop::collection::vec(prop_oneof![Just(0xD5u8), any::<u8>()], 1..800);
        let item = (any::<bool>(), picture(video), sound, 1i64..90_000, 0i64..90_000);
        prop::collection::vec(item, 1..12).prop_map(move |items| {
            let mut time = 0;
            let mut units = Vec::new();
            for (is_sound, (_, picture), sound, step, delay) in items {
                units.push(match is_sound {
                    true => AccessUnit::new(audio, time, time, sound.into()),
                    false => AccessUnit::new(video, time + delay, time, picture.into()),
                });
                time += step;
            }
            (video, audio, units)
        })
    })
}

/// Cuts bytes at the given distances, over and over.
fn cut(packs: &[(Bytes, u32)], sizes: &[usize], markers: bool) -> Vec<Packet> {
    let mut sizes = sizes.iter().cycle();
    let mut packets = Vec::new();
    for (pack, timestamp) in packs {
        let mut rest = pack.clone();
        while !rest.is_empty() {
            let size = (*sizes.next().unwrap()).min(rest.len());
            let piece = rest.split_to(size);
            packets.push(packet(piece, *timestamp, markers && rest.is_empty()));
        }
    }
    packets
}

/// What must come back, but for the times: they count from the first unit of all.
fn bare(unit: &AccessUnit) -> (Codec, bool, bool, Bytes, Vec<std::ops::Range<u32>>) {
    (unit.codec, unit.key, unit.damaged, unit.payload.clone(), unit.nals.to_vec())
}

/// The steps between decoding times, and the delays.
fn steps(units: &[&AccessUnit]) -> Vec<(i64, i64)> {
    let first = units.first().map_or(0, |unit| unit.dts);
    units.iter().map(|unit| (unit.dts - first, unit.pts - unit.dts)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_muxed_is_demuxed(
        (video, audio, units) in units(), sizes in prop::collection::vec(1usize..1500, 1..20), markers in any::<bool>()
    ) {
        let mut muxer = Muxer::new(video, Some(audio));
        let packs: Vec<(Bytes, u32)> = units.iter().map(|unit| {
            let mut out = BytesMut::new();
            muxer.mux(unit, &mut out);
            (out.freeze(), unit.dts as u32)
        }).collect();
        let run = demux(&cut(&packs, &sizes, markers));
        prop_assert_eq!(run.faults, []);
        for track in [Track::Video, Track::Audio] {
            let sent: Vec<_> = units.iter().filter(|unit| unit.track() == track).collect();
            let got: Vec<_> = run.units.iter().filter(|unit| unit.track() == track).collect();
            prop_assert_eq!(got.iter().map(|unit| bare(unit)).collect::<Vec<_>>(), sent.iter().map(|unit| bare(unit)).collect::<Vec<_>>());
            prop_assert_eq!(steps(&got), steps(&sent));
        }
    }

    /// Stuffing, private data, PES of length zero and several PES a frame, cut anywhere.
    #[test]
    fn where_packets_are_cut_does_not_matter(
        frames in prop::collection::vec((picture(Codec::H264), 0u8..6, 0usize..5, prop::collection::vec(any::<u8>(), 0..40)), 1..10),
        sizes in prop::collection::vec(prop_oneof![3 => 1usize..8, 1 => 1usize..2000], 1..30),
    ) {
        let mut packs = Vec::new();
        for (index, ((_, picture), shape, zeros, noise)) in frames.iter().enumerate() {
            let pts = 900_000 + index as u64 * 3600;
            let mut pack = PACK.to_vec();
            pack.extend(part(0xBD, noise));
            pack.resize(pack.len() + zeros, 0);
            match shape {
                // The last byte of a picture is never zero here, so a start code's zeros are its own.
                0 => pack.extend(open_pes(0xE0, Some(pts), picture)),
                1 => {
                    pack.extend(open_pes(0xE0, Some(pts), picture));
                    pack.extend(pes(0xC0, Some(pts), noise));
                }
                _ => {
                    for (n, piece) in picture.chunks(1 + picture.len() / usize::from(*shape)).enumerate() {
                        for piece in piece.chunks(60_000) {
                            pack.extend(pes(0xE0, (n == 0).then_some(pts), piece));
                        }
                        pack.resize(pack.len() + zeros, 0);
                    }
                    pack.extend(part(0xBF, noise));
                }
            }
            packs.push((Bytes::from(pack), index as u32 * 3600));
        }
        // A unit is bounded in pieces, too: large ones are cut less finely.
        let large = packs.iter().any(|(pack, _)| pack.len() > 16_000);
        let sizes: Vec<usize> = sizes.iter().map(|size| if large { size + 40 } else { *size }).collect();
        let expected: Vec<Bytes> = frames.iter().map(|((_, picture), ..)| Bytes::from(picture.clone())).collect();
        let whole = demux(packs.iter().map(|(pack, timestamp)| packet(pack.clone(), *timestamp, false)).collect::<Vec<_>>().iter());
        prop_assert_eq!(whole.payloads(), expected);
        let cut = demux(&cut(&packs, &sizes, false));
        prop_assert_eq!(cut.units, whole.units);
        prop_assert_eq!(cut.faults, whole.faults);
    }
}

#[test]
fn a_pack_is_built_as_the_standard_says() {
    let units = [
        AccessUnit::new(Codec::H264, 90_000 + 3600, 90_000, h264(0, true, 70_000).into()),
        AccessUnit::new(Codec::Pcma, 90_000, 90_000, vec![0xD5; 160].into()),
        AccessUnit::new(Codec::H264, 97_200, 97_200, h264(1, false, 10).into()),
    ];
    let packs = packs(&units, Some(Codec::Pcma));
    let (key, sound, picture) = (&packs[0].0, &packs[1].0, &packs[2].0);

    // SCR 81000, a tenth of a second before the decoding time; 20 Mbit/s.
    assert_eq!(key[..14], [0, 0, 1, 0xBA, 0x44, 0, 0x15, 0xE3, 0x44, 0x01, 0x03, 0x0D, 0x43, 0xF8]);
    assert_eq!(key[14..20], [0, 0, 1, 0xBB, 0, 12]);
    assert_eq!(key[20..32], [0x81, 0x86, 0xA1, 0x04, 0x21, 0x7F, 0xE0, 0xE0, 0xE8, 0xC0, 0xC0, 0x20]);
    assert_eq!(
        key[32..52],
        [0, 0, 1, 0xBC, 0, 18, 0xE1, 0xFF, 0, 0, 0, 8, 0x1B, 0xE0, 0, 0, 0x90, 0xC0, 0, 0]
    );
    assert_eq!(headers::crc32(&key[32..56]), 0);
    assert_eq!(key[56..65], [0, 0, 1, 0xE0, 0xFD, 0xF5, 0x84, 0xC0, 10], "3 + 10 + 65,000");
    assert_eq!(key[65..75], [0x31, 0, 0x05, 0xDB, 0x41, 0x11, 0, 0x05, 0xBF, 0x21], "93,600 and 90,000");
    assert_eq!(key[75..][..65_000], units[0].payload[..65_000]);
    let rest = units[0].payload.len() - 65_000;
    let len = (3 + rest as u16).to_be_bytes();
    assert_eq!(key[65_075..][..9], [0, 0, 1, 0xE0, len[0], len[1], 0x80, 0, 0]);
    assert_eq!(key[65_084..], units[0].payload[65_000..]);

    assert_eq!(sound[14..28], [0, 0, 1, 0xC0, 0, 168, 0x84, 0x80, 5, 0x21, 0, 0x05, 0xBF, 0x21]);
    assert_eq!(picture[14..18], [0, 0, 1, 0xE0], "no tables before other frames");
    assert!(packs.windows(2).all(|pair| pair[0].0[4..10] < pair[1].0[4..10]), "SCR rises");
}

#[test]
fn what_was_not_announced_is_not_muxed() {
    let mut muxer = Muxer::new(Codec::H264, None);
    let mut out = BytesMut::new();
    muxer.mux(&AccessUnit::new(Codec::Pcma, 0, 0, vec![0xD5; 160].into()), &mut out);
    muxer.mux(&AccessUnit::new(Codec::H265, 0, 0, h265(0, true, 10).into()), &mut out);
    assert!(out.is_empty());
}

#[test]
fn packetiser_marks_the_last() {
    let pack = Bytes::from(vec![7; 3000]);
    let cut: Vec<_> = Packetiser::default().packetise(pack.clone()).collect();
    assert_eq!(cut.iter().map(|payload| payload.bytes.len()).collect::<Vec<_>>(), [1400, 1400, 200]);
    assert_eq!(cut.iter().map(|payload| payload.marker).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(cut[1].bytes.as_ptr(), pack[1400..].as_ptr());
    assert_eq!(Packetiser::new(1400).packetise(Bytes::new()).count(), 0);
}
