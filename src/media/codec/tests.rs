use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn annex_b(nals: &[&[u8]]) -> Bytes {
    nals.iter().flat_map(|nal| [&START_CODE[..], nal].concat()).collect()
}

// 640x360 at 25 fps, constrained baseline, as x264 writes it.
const SPS_640: &str = "67 42 C0 1E DA 02 80 BF E5 C0 44 00 00 03 00 04 00 00 03 00 CA 3C 58 BA 80";
// 1920x1080 (cropped from 1088) at 25 fps, high profile, as x264 writes it.
const SPS_1080: &str = "67 64 00 28 AC B4 03 C0 11 3F 2E 02 20 00 00 03 00 20 00 00 06 51 E3 06 54";
// 640x360, Main, as x265 writes it.
const SPS_H265: &str = "42 01 01 01 60 00 00 03 00 90 00 00 03 00 00 03 00 3F A0 05 02 01 71 F2 E5 BA 4A 4C 2F 01 68 08 \
                        00 00 03 00 08 00 00 03 00 C8 40";

#[test]
fn splits_start_codes_of_three_and_four_bytes_and_drops_zeros() {
    let bytes = hex("55 00 00 00 01 67 01 00 00 00 00 01 68 00 00 01 00 00 01 65 00 00 03 00 00");
    let found: Vec<_> = split_annex_b(&bytes)
        .iter()
        .map(|range| bytes[range.start as usize..range.end as usize].to_vec())
        .collect();
    assert_eq!(found, [hex("67 01"), hex("68"), hex("65 00 00 03")]);
    assert!(split_annex_b(&[0; 1000]).is_empty());
    assert_eq!(split_annex_b(&[0, 0, 1, 9].repeat(10_000)).len(), MAX_NALS);
}

#[test]
fn reads_parameter_sets_of_h264() {
    let sps = h264::Sps::parse(&hex(SPS_640)).unwrap();
    assert_eq!((sps.width, sps.height, sps.fps), (640, 360, Some(25.0)));
    assert_eq!(sps.profile_level_id(), "42c01e");
    let sps = h264::Sps::parse(&hex(SPS_1080)).unwrap();
    assert_eq!((sps.width, sps.height, sps.fps), (1920, 1080, Some(25.0)));
    assert_eq!(sps.profile_level_id(), "640028");
    for cut in 0..8 {
        assert_eq!(h264::Sps::parse(&hex(SPS_640)[..cut]), None);
    }
}

#[test]
fn reads_parameter_sets_of_h265() {
    let sps = h265::Sps::parse(&hex(SPS_H265)).unwrap();
    assert_eq!((sps.width, sps.height, sps.profile, sps.level), (640, 360, 1, 63));
}

#[test]
fn keys_are_pictures_that_decoding_can_start_at() {
    let key = |codec, nals: &[&[u8]]| is_key(codec, nals.iter().copied());
    assert!(key(Codec::H264, &[&[0x67, 1], &[0x65, 0x88]]));
    assert!(!key(Codec::H264, &[&[0x41, 0x9A]]));
    // first_mb 0, slice_type 7: an I slice.
    assert!(key(Codec::H264, &[&[0x67, 1], &[0x68, 1], &[0x61, 0b1000_1000]]));
    assert!(!key(Codec::H264, &[&[0x61, 0b1000_1000]]), "no parameter set before it");
    assert!(!key(Codec::H264, &[&[0x67, 1], &[0x61, 0b1001_1010]]), "a P slice");
    assert!(key(Codec::H265, &[&[0x40, 1], &[0x26, 1]]));
    assert!(key(Codec::H265, &[&[0x2A, 1]]), "CRA");
    assert!(!key(Codec::H265, &[&[0x02, 1]]));
}

#[test]
fn evidence_tells_the_codecs_apart() {
    let of = |nals: &[&[u8]]| evidence(nals.iter().copied());
    assert_eq!(of(&[&[0x67, 0x42], &[0x68, 0xCE], &[0x06, 5], &[0x65, 0x88]]), Evidence { h264: 2, h265: 0 });
    assert_eq!(
        of(&[&[0x40, 1], &[0x42, 1], &[0x44, 1], &[0x4E, 1], &[0x26, 1]]),
        Evidence { h264: 0, h265: 4 }
    );
    assert_eq!(of(&[&[0x41, 0x9A]]), Evidence { h264: 1, h265: 0 });
    assert_eq!(of(&[&[0x02, 1]]), Evidence { h264: 0, h265: 1 });
}

#[test]
fn adts_must_chain_to_the_end() {
    let frame = [0xFF, 0xF1, 0x50, 0x80, 0x01, 0x3F, 0xFC, 1, 2];
    assert!(is_adts(&frame));
    assert!(is_adts(&[frame, frame].concat()));
    assert!(!is_adts(&frame[..8]));
    assert!(!is_adts(&[0xD5; 160]) && !is_adts(&[0xFF; 160]) && !is_adts(&[]));
}

#[test]
fn parameter_sets_complete_a_key_frame() {
    let (sps, pps) = (hex(SPS_640), hex("68 CB 83 CB 20"));
    let mut store = ParameterSets::default();
    let first = AccessUnit::new(Codec::H264, 0, 0, annex_b(&[&[9, 0xF0], &sps, &pps, &[0x65, 0x88, 1]]));
    assert!(store.learn(&first) && !store.learn(&first));
    assert!(store.is_complete());
    assert_eq!(store.size(), Some((640, 360)));

    let mut whole = first.clone();
    assert!(!store.complete(&mut whole) && whole == first);

    let mut bare = AccessUnit::new(Codec::H264, 1, 1, annex_b(&[&[9, 0xF0], &[0x65, 0x88, 2]]));
    assert!(store.complete(&mut bare));
    let kinds: Vec<u8> = bare.nals().map(h264::nal_type).collect();
    assert_eq!(kinds, [h264::AUD, h264::SPS, h264::PPS, h264::IDR]);
    assert_eq!(bare.nal(3), Bytes::from_static(&[0x65, 0x88, 2]));

    let mut picture = AccessUnit::new(Codec::H264, 2, 2, annex_b(&[&[0x41, 0x9A]]));
    assert!(!store.complete(&mut picture), "no key");
    let other = AccessUnit::new(Codec::H265, 3, 3, annex_b(&[&hex(SPS_H265), &[0x26, 1, 1]]));
    assert!(store.learn(&other));
    assert!(!store.is_complete() && store.first(h264::SPS).is_none(), "a change of codec forgets");
}

#[test]
fn g711_is_cut_with_its_times() {
    let unit = AccessUnit::new(Codec::Pcma, 9000, 9000, Bytes::from(vec![0xD5; 400]));
    let cut: Vec<_> = g711::cut(&unit, 20).map(|(pts, bytes)| (pts, bytes.len())).collect();
    assert_eq!(cut, [(9000, 160), (10_800, 160), (12_600, 80)]);
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), head in any::<bool>()) {
        let mut nal = bytes;
        if let (true, Some(first)) = (head, nal.first_mut()) {
            *first = 0x67;
        }
        let _ = h264::Sps::parse(&nal);
        if let (true, Some(first)) = (head, nal.first_mut()) {
            *first = 0x42;
        }
        let _ = h265::Sps::parse(&nal);
        let _ = is_adts(&nal);
        for codec in [Codec::H264, Codec::H265] {
            let unit = AccessUnit::new(codec, 0, 0, Bytes::from(nal.clone()));
            let mut store = ParameterSets::default();
            store.learn(&unit);
        }
    }

    #[test]
    fn nal_units_come_back(
        nals in prop::collection::vec(prop::collection::vec(1u8.., 1..50), 0..20),
        long in any::<bool>(), zeros in 0usize..4
    ) {
        let mut bytes = vec![0; zeros];
        for nal in &nals {
            bytes.extend_from_slice(&START_CODE[usize::from(!long)..]);
            bytes.extend_from_slice(nal);
            bytes.resize(bytes.len() + zeros, 0);
        }
        let found: Vec<_> = split_annex_b(&bytes).iter().map(|range| nal_in(&bytes, range).unwrap().to_vec()).collect();
        prop_assert_eq!(found, nals);
    }
}
