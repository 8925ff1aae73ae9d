//! Files made by our own muxer and by hand, whole and with faults.

use bytes::{BufMut, Bytes, BytesMut};

use super::*;
use crate::media::ps::Muxer;
use crate::media::rtp::Header;
use crate::media::unit::AccessUnit;

/// Pictures of 320x180 with parameter sets, 25 a second, a key frame every ten.
fn pictures(count: i64) -> Vec<AccessUnit> {
    let sps = [0x67, 0x42, 0xC0, 0x0D, 0xDA, 0x05, 0x07, 0xE8, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00];
    let picture = |n: i64| {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        if n % 10 == 0 {
            nals.extend([sps.to_vec(), vec![0x68, 0xCE, 0x3C, 0x80]]);
        }
        nals.push([&[if n % 10 == 0 { 0x65 } else { 0x41 }, 0x88][..], &[0xAB; 900]].concat());
        let bytes: Vec<u8> = nals.iter().flat_map(|nal| [&[0, 0, 0, 1][..], nal].concat()).collect();
        AccessUnit::new(Codec::H264, n * 3600, n * 3600, bytes.into())
    };
    (0..count).map(picture).collect()
}

fn packs(count: i64) -> Vec<Bytes> {
    let mut muxer = Muxer::new(Codec::H264, None);
    let mux = |unit: &AccessUnit| {
        let mut out = BytesMut::new();
        muxer.mux(unit, &mut out);
        out.freeze()
    };
    pictures(count).iter().map(mux).collect()
}

fn rules(report: &Report) -> Vec<Rule> {
    report.departures.iter().filter_map(|departure| departure.rule).collect()
}

#[test]
fn a_program_stream_to_the_standard_is_clean() {
    let report = look(&packs(50).concat().into(), "ps").unwrap();
    assert!(report.is_clean(), "{report}");
    let track = &report.streams[0].tracks[0];
    assert_eq!(
        (track.codec.as_str(), track.units, track.key_frames, track.longest_gop),
        ("h264", 50, Some(5), Some(10))
    );
    assert!((track.seconds - 49.0 / 25.0).abs() < 0.01, "{track:?}");
    assert!(report.to_string().contains("no departure"));
}

#[test]
fn a_wrong_crc_is_told_with_its_place() {
    let mut packs: Vec<Vec<u8>> = packs(30).iter().map(|pack| pack.to_vec()).collect();
    let map = packs[20].windows(4).position(|code| code == [0, 0, 1, 0xBC]).unwrap();
    packs[20][map + 12] ^= 1;
    let offset: usize = packs[..20].iter().map(Vec::len).sum();
    let report = look(&packs.concat().into(), "").unwrap();
    assert_eq!(report.departures[0].offset, offset as u64, "{report}");
    assert_eq!(rules(&report)[0], Rule::PsPsmCrc);
}

#[test]
fn an_elementary_stream_without_parameter_sets_is_told() {
    let whole: Vec<u8> = pictures(20).iter().flat_map(|unit| unit.payload.to_vec()).collect();
    let report = look(&whole.clone().into(), "h264").unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.streams[0].tracks[0].units, 20);
    let bare = pictures(20)[10].nal(2);
    let report = look(&[&whole[..], &[0, 0, 0, 1], &bare].concat().into(), "").unwrap();
    assert_eq!(rules(&report), [Rule::NoParameterSets]);
    assert_eq!(
        report.departures[0].offset as usize,
        whole.len() + 1,
        "the start code is its last three bytes"
    );
}

/// A pcap of UDP datagrams over raw IPv4, 40 ms apart.
fn pcap(datagrams: &[Bytes]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(&[0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    out.put_u32_le(101);
    for (number, datagram) in datagrams.iter().enumerate() {
        let micros = number as u32 * 40_000;
        out.put_u32_le(1_700_000_000 + micros / 1_000_000);
        out.put_u32_le(micros % 1_000_000);
        let length = datagram.len() as u32 + 28;
        out.put_u32_le(length);
        out.put_u32_le(length);
        out.put_slice(&[0x45, 0]);
        out.put_u16(length as u16);
        out.put_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 20, 192, 0, 2, 10]);
        out.put_u16(15060);
        out.put_u16(30000);
        out.put_u16(datagram.len() as u16 + 8);
        out.put_u16(0);
        out.put_slice(datagram);
    }
    out.freeze()
}

#[test]
fn a_capture_shows_signalling_and_media_with_their_faults() {
    let rtp = |sequence: u16, pack: &Bytes| {
        let header = Header {
            payload_type: 96,
            marker: true,
            sequence,
            timestamp: u32::from(sequence) * 3600,
            ssrc: 200_001_234,
        };
        let mut out = BytesMut::new();
        header.write(&mut out);
        out.put_slice(pack);
        out.freeze()
    };
    let mut datagrams = vec![Bytes::from_static(
        b"MESSAGE sip:34020000002000000001@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK1\r\n\
          From: <sip:34020000001320000001@3402000000>;tag=1\r\nTo: <sip:34020000002000000001@3402000000>\r\n\
          Call-ID: 1\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nContent-Type: Application/MANSCDP+xml\r\n\
          Content-Length: 0\r\n\r\n",
    )];
    // The eleventh is lost.
    let packs = packs(60);
    datagrams.extend(packs.iter().enumerate().filter(|(n, _)| *n != 10).map(|(n, pack)| rtp(n as u16, pack)));
    let report = look(&pcap(&datagrams), "pcap").unwrap();
    assert_eq!(report.signalling, [("MESSAGE".to_owned(), 1)]);
    let stream = &report.streams[0];
    let network = stream.network.as_ref().unwrap();
    assert_eq!((network.packets, network.lost), (59, 1));
    assert!(stream.name.contains("0200001234"), "{}", stream.name);
    assert_eq!(stream.tracks[0].codec, "h264");
    assert!(rules(&report).contains(&Rule::NoRport), "{report}");
}

#[test]
fn what_is_no_media_is_refused_and_no_byte_panics() {
    assert!(look(&Bytes::from_static(b"hello"), "txt").is_none());
    let good = pcap(&packs(3));
    for end in 0..good.len() {
        let _ = look(&good.slice(..end), "pcap");
    }
    for at in 0..good.len().min(400) {
        let mut bad = good.to_vec();
        bad[at] ^= 0xFF;
        let _ = look(&bad.into(), "pcap");
    }
}
