use proptest::prelude::*;

use super::*;
use crate::media::codec::START_CODE;

fn unit(nals: &[Vec<u8>]) -> AccessUnit {
    let bytes: Vec<u8> = nals.iter().flat_map(|nal| [&START_CODE[..], nal].concat()).collect();
    AccessUnit::new(Codec::H264, 0, 0, Bytes::from(bytes))
}

fn packetise(unit: &AccessUnit, max_payload: usize) -> Vec<RtpPayload> {
    let mut out = Vec::new();
    packetise_h264(unit, max_payload, &mut out);
    out
}

/// A depacketiser after RFC 6184, 5.6 to 5.8, that knows nothing of the packetiser.
fn depacketise(payloads: &[RtpPayload]) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for payload in payloads {
        let mut bytes = BytesMut::new();
        payload.write(&mut bytes);
        assert_eq!(bytes.len(), payload.len());
        match bytes[0] & 0x1F {
            24 => {
                let mut rest = &bytes[1..];
                while !rest.is_empty() {
                    let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                    nals.push(rest[2..2 + len].to_vec());
                    rest = &rest[2 + len..];
                }
            }
            28 => {
                let (start, end) = (bytes[1] & 0x80 != 0, bytes[1] & 0x40 != 0);
                assert!(!(start && end), "a fragment must not be the whole NAL unit");
                assert_eq!(start, !open);
                if start {
                    nals.push(vec![bytes[0] & 0xE0 | bytes[1] & 0x1F]);
                }
                nals.last_mut().unwrap().extend_from_slice(&bytes[2..]);
                open = !end;
            }
            1..=23 => {
                assert!(!open);
                nals.push(bytes.to_vec());
            }
            other => panic!("packet of type {other}"),
        }
    }
    assert!(!open);
    nals
}

#[test]
fn a_key_frame_is_one_stap_and_fragments() {
    let (sps, pps, idr) = (vec![0x67, 1, 2], vec![0x68, 3], [vec![0x65], vec![7; 2500]].concat());
    let unit = unit(&[vec![9, 0xF0], sps.clone(), pps.clone(), vec![0x06, 5, 1], idr.clone()]);
    let out = packetise(&unit, 1200);
    assert_eq!(out.iter().map(RtpPayload::len).collect::<Vec<_>>(), [10, 3, 1200, 1200, 106]);
    assert_eq!(out[0].head.as_slice(), [0x78, 0, 3, 0x67, 1, 2, 0, 2]);
    assert_eq!(out[2].head.as_slice(), [0x7C, 0x85]);
    assert_eq!(out[4].head.as_slice(), [0x7C, 0x45]);
    assert_eq!(
        out.iter().map(|payload| payload.marker).collect::<Vec<_>>(),
        [false, false, false, false, true]
    );
    assert_eq!(depacketise(&out), [sps, pps, vec![0x06, 5, 1], idr]);
    let whole = unit.payload.as_ptr_range();
    assert!(out.iter().all(|payload| whole.contains(&payload.body.as_ptr())), "bodies are slices");
}

#[test]
fn types_with_another_meaning_in_rtp_stay_out() {
    let unit = unit(&[vec![0x7C, 0x85, 1], vec![0x78, 0, 1, 9], vec![12, 0xFF], vec![0x41, 0x9A]]);
    let out = packetise(&unit, 1200);
    assert_eq!(depacketise(&out), [vec![0x41, 0x9A]]);
    assert!(out[0].marker);
}

#[test]
fn nothing_for_other_codecs_or_no_room() {
    let mut unit = unit(&[vec![0x41, 0x9A, 1, 2]]);
    assert!(packetise(&unit, 2).is_empty());
    unit.codec = Codec::H265;
    assert!(packetise(&unit, 1200).is_empty());
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        nals in prop::collection::vec(
            (prop::sample::select(vec![0x67u8, 0x68, 0x28, 0x06, 0x65, 0x41, 0x01, 0x09]), prop::collection::vec(1u8.., 0..400)), 1..12),
        max_payload in 3usize..300
    ) {
        let nals: Vec<Vec<u8>> = nals.into_iter().map(|(head, body)| [vec![head], body].concat()).collect();
        let out = packetise(&unit(&nals), max_payload);
        prop_assert!(out.iter().all(|payload| payload.len() <= max_payload && !payload.is_empty()));
        prop_assert_eq!(out.iter().filter(|payload| payload.marker).count(), usize::from(!out.is_empty()));
        prop_assert!(out.last().is_none_or(|payload| payload.marker));
        let expected: Vec<_> = nals.into_iter().filter(|nal| nal[0] != 0x09).collect();
        prop_assert_eq!(depacketise(&out), expected);
    }
}

mod h265 {
    use super::*;

    fn unit(nals: &[Vec<u8>]) -> AccessUnit {
        let bytes: Vec<u8> = nals.iter().flat_map(|nal| [&START_CODE[..], nal].concat()).collect();
        AccessUnit::new(Codec::H265, 0, 0, Bytes::from(bytes))
    }

    fn packetise(unit: &AccessUnit, max_payload: usize) -> Vec<RtpPayload> {
        let mut out = Vec::new();
        packetise_h265(unit, max_payload, &mut out);
        out
    }

    /// A depacketiser after RFC 7798, 4.4.1 to 4.4.3, that knows nothing of the packetiser.
    fn depacketise(payloads: &[RtpPayload]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        let mut open = false;
        for payload in payloads {
            let bytes = [&payload.head[..], &payload.body[..]].concat();
            match bytes[0] >> 1 & 0x3F {
                48 => {
                    let mut rest = &bytes[2..];
                    while !rest.is_empty() {
                        let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                        nals.push(rest[2..2 + len].to_vec());
                        rest = &rest[2 + len..];
                    }
                }
                49 => {
                    let (start, end) = (bytes[2] & 0x80 != 0, bytes[2] & 0x40 != 0);
                    assert!(!(start && end) && start != open);
                    if start {
                        nals.push(vec![bytes[0] & 0x81 | (bytes[2] & 0x3F) << 1, bytes[1]]);
                    }
                    nals.last_mut().unwrap().extend_from_slice(&bytes[3..]);
                    open = !end;
                }
                0..=47 => nals.push(bytes),
                other => panic!("packet of type {other}"),
            }
        }
        assert!(!open);
        nals
    }

    #[test]
    fn a_key_frame_is_one_aggregate_and_fragments() {
        let sets = [vec![0x40, 1, 1], vec![0x42, 1, 2, 2], vec![0x44, 1, 3]];
        let idr = [vec![0x26, 1], vec![7; 2500]].concat();
        let nals = [&[vec![0x46, 1, 0x50]], &sets[..], std::slice::from_ref(&idr)].concat();
        let out = packetise(&unit(&nals), 1200);
        assert_eq!(out.iter().map(RtpPayload::len).collect::<Vec<_>>(), [18, 1200, 1200, 109]);
        assert_eq!(out[0].head.as_slice(), [0x60, 1, 0, 3, 0x40, 1, 1, 0, 4, 0x42, 1, 2, 2, 0, 3]);
        assert_eq!(out[1].head.as_slice(), [0x62, 1, 0x93]);
        assert_eq!(out[3].head.as_slice(), [0x62, 1, 0x53]);
        assert_eq!(depacketise(&out), [&sets[..], &[idr]].concat());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            nals in prop::collection::vec(
                (prop::sample::select(vec![0x40u8, 0x42, 0x44, 0x4E, 0x26, 0x02, 0x2A, 0x46]), prop::collection::vec(1u8.., 1..400)), 1..12),
            max_payload in 4usize..300
        ) {
            let nals: Vec<Vec<u8>> = nals.into_iter().map(|(head, body)| [vec![head, 1], body].concat()).collect();
            let out = packetise(&unit(&nals), max_payload);
            prop_assert!(out.iter().all(|payload| payload.len() <= max_payload && !payload.is_empty()));
            prop_assert!(out.last().is_none_or(|payload| payload.marker));
            let expected: Vec<_> = nals.into_iter().filter(|nal| nal[0] != 0x46).collect();
            prop_assert_eq!(depacketise(&out), expected);
        }
    }
}
