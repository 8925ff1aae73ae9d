use super::*;
use proptest::prelude::*;

/// A baseline SPS of 352 by 288, another one of level 2.1, and a PPS.
const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x01, 0x60, 0x96, 0x9b, 0x80];
const OTHER_SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x15, 0xd9, 0x01, 0x60, 0x96, 0x9b, 0x80];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
const IDR: &[u8] = &[0x65, 0x88, 0x84];
const SLICE: &[u8] = &[0x41, 0x9a, 0x24];
/// Of x265, 160 by 120, with a picture that is a key.
const HEVC: [&[u8]; 4] = [
    &[0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00],
    &[
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00,
        0x1e, 0xa0, 0x14, 0x20, 0x7c, 0xb9, 0x65, 0x95, 0x9a, 0x49, 0x32, 0xbc, 0x05, 0xa8, 0x08, 0x08, 0x08,
        0x20, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00, 0x03, 0x03, 0x21,
    ],
    &[0x44, 0x01, 0xc1, 0x72, 0xb4, 0x22, 0x40],
    &[0x26, 0x01, 0xaf, 0x09],
];
const ALL: Tracks = Tracks { video: true, audio: Some(Codec::Pcma) };

fn of(codec: Codec, pts: i64, dts: i64, nals: &[&[u8]]) -> AccessUnit {
    let payload: Vec<u8> = nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
    AccessUnit::new(codec, pts, dts, payload.into())
}

fn video(pts: i64, dts: i64, nals: &[&[u8]]) -> AccessUnit {
    of(Codec::H264, pts, dts, nals)
}

fn sound(time: i64) -> AccessUnit {
    AccessUnit::new(Codec::Pcma, time, time, vec![0xD5; 320].into())
}

/// Type, time and body of a tag.
type Tag = (u8, u32, Vec<u8>);

/// Header and tags; each tag has to say its length twice.
fn tags(bytes: &[u8]) -> (Vec<u8>, Vec<Tag>) {
    let (head, mut rest) = bytes.split_at(13.min(bytes.len()));
    let mut found = Vec::new();
    while !rest.is_empty() {
        let size = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
        let time = u32::from_be_bytes([rest[7], rest[4], rest[5], rest[6]]);
        let (tag, more) = rest.split_at(11 + size);
        assert_eq!(more[..4], (11 + size as u32).to_be_bytes());
        found.push((tag[0], time, tag[11..].to_vec()));
        rest = &more[4..];
    }
    (head.to_vec(), found)
}

fn mux(muxer: &mut Muxer, units: &[AccessUnit]) -> Vec<u8> {
    units.iter().for_each(|unit| muxer.push(unit));
    std::iter::from_fn(|| muxer.poll()).flatten().collect()
}

fn muxed(tracks: Tracks, units: &[AccessUnit]) -> (Vec<u8>, Vec<Tag>) {
    tags(&mux(&mut Muxer::new(Sound::All, tracks), units))
}

#[test]
fn a_stream_is_a_header_a_description_and_tags_from_0_on() {
    let early = [video(80_000, 80_000, &[SLICE]), sound(80_000)];
    let units = [video(90_000, 90_000, &[SPS, PPS, IDR]), sound(91_800), video(93_600, 93_600, &[SLICE])];
    let (head, tags) = muxed(ALL, &[early.as_slice(), &units].concat());
    assert_eq!(head, [b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0]);
    let kinds: Vec<_> = tags.iter().map(|(kind, time, _)| (*kind, *time)).collect();
    assert_eq!(kinds, [(SCRIPT, 0), (VIDEO, 0), (VIDEO, 0), (AUDIO, 20), (VIDEO, 40)]);
    assert_eq!(tags[1].2[..5], [0x17, 0, 0, 0, 0]);
    assert_eq!(tags[1].2[5..9], [1, 0x42, 0xc0, 0x1e]);
    assert_eq!(tags[2].2, [&[0x17, 1, 0, 0, 0, 0, 0, 0, 3], IDR].concat(), "the sets are left out");
    assert_eq!(tags[3].2[..3], [0x72, 0xD5, 0xD5]);
    assert_eq!(tags[4].2, [&[0x27, 1, 0, 0, 0, 0, 0, 0, 3], SLICE].concat());
}

#[test]
fn the_description_tells_size_and_codecs() {
    let (_, tags) = muxed(ALL, &[video(0, 0, &[SPS, PPS, IDR])]);
    let script = &tags[0].2;
    assert!(script.starts_with(b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x05"), "{script:x?}");
    let told = |name: &str, value: f64| {
        let wanted = [name.as_bytes(), &[0], &value.to_be_bytes()].concat();
        script.windows(wanted.len()).any(|bytes| bytes == wanted)
    };
    assert!(told("width", 352.0) && told("height", 288.0) && told("videocodecid", 7.0));
    assert!(told("audiocodecid", 7.0) && told("audiosamplerate", 8000.0));
    assert!(script.ends_with(&[0, 0, 9]));
}

#[test]
fn pictures_out_of_order_say_when_they_are_shown() {
    let units = [
        video(7200, 0, &[SPS, PPS, IDR]),
        video(18_000, 3600, &[SLICE]),
        video(10_800, 7200, &[SLICE]),
        video(9000, 10_800, &[SLICE]),
    ];
    let (_, tags) = muxed(ALL, &units);
    let shown: Vec<_> = tags[2..]
        .iter()
        .map(|(_, time, body)| {
            let delay = i32::from_be_bytes([body[2], body[3], body[4], 0]) >> 8;
            (*time, *time as i32 + delay)
        })
        .collect();
    assert_eq!(shown, [(0, 80), (40, 200), (80, 120), (120, 100)]);
}

#[test]
fn other_parameter_sets_are_told_anew() {
    let key = |time, sps| video(time, time, &[sps, PPS, IDR]);
    let (_, tags) = muxed(ALL, &[key(0, SPS), key(3600, SPS), key(7200, OTHER_SPS)]);
    let configurations: Vec<_> =
        tags.iter().filter(|tag| tag.2.starts_with(&[0x17, 0])).map(|tag| (tag.1, tag.2[8])).collect();
    assert_eq!(configurations, [(0, 0x1e), (80, 0x15)]);
    assert_eq!(tags.iter().filter(|tag| tag.0 == SCRIPT).count(), 2);
}

#[test]
fn h265_goes_under_its_four_letters() {
    let units = [of(Codec::H265, 3600, 0, &HEVC), of(Codec::H265, 7200, 3600, &[&[0x02, 0x01, 0xd0, 0x09]])];
    let (head, tags) = muxed(Tracks { video: true, audio: None }, &units);
    assert_eq!(head[4], 1);
    assert_eq!(tags[1].2[..6], *b"\x90hvc1\x01");
    assert_eq!(tags[2].2, *b"\x91hvc1\x00\x00\x28\x00\x00\x00\x04\x26\x01\xaf\x09");
    assert_eq!(tags[3].2[..8], *b"\xa1hvc1\x00\x00\x28");
}

#[test]
fn aac_is_described_and_each_frame_has_its_time() {
    // LC, 16 kHz, mono: 64 ms a frame.
    let frame = [0xFF, 0xF1, 0x60, 0x40, 1, 0x1F, 0xFC, 9];
    let unit = AccessUnit::new(Codec::Aac, 0, 0, [frame, frame].concat().into());
    let (head, found) = muxed(Tracks { video: false, audio: Some(Codec::Aac) }, std::slice::from_ref(&unit));
    assert_eq!(head[4], 4);
    assert_eq!(
        found[1..],
        [(AUDIO, 0, vec![0xAF, 0, 0x14, 8]), (AUDIO, 0, vec![0xAF, 1, 9]), (AUDIO, 64, vec![0xAF, 1, 9])]
    );
    let mut muxer = Muxer::new(Sound::None, Tracks { video: false, audio: Some(Codec::Aac) });
    assert!(mux(&mut muxer, &[unit]).is_empty());
}

#[test]
fn g711_goes_when_it_is_wanted() {
    let units = [video(0, 0, &[SPS, PPS, IDR]), sound(0)];
    for (wanted, flags, count) in [(Sound::All, 5, 1), (Sound::Aac, 1, 0), (Sound::None, 1, 0)] {
        let (head, tags) = tags(&mux(&mut Muxer::new(wanted, ALL), &units));
        assert_eq!((head[4], tags.iter().filter(|tag| tag.0 == AUDIO).count()), (flags, count));
    }
    let (_, tags) = muxed(
        Tracks { video: false, audio: Some(Codec::Pcmu) },
        &[AccessUnit::new(Codec::Pcmu, 0, 0, vec![1, 2].into())],
    );
    assert_eq!(tags[1].2, [0x82, 1, 2]);
}

#[test]
fn sound_that_does_not_come_is_not_announced() {
    let pictures = |count: i64| (0..count).map(|n| Arc::new(video(n * 3600, n * 3600, &[SLICE])));
    assert_eq!(ALL.sure_of(&[]), ALL);
    assert_eq!(ALL.sure_of(&pictures(25).collect::<Vec<_>>()), ALL);
    assert_eq!(ALL.sure_of(&pictures(26).collect::<Vec<_>>()).audio, None);
    let with_sound: Vec<_> = pictures(50).chain([Arc::new(sound(0))]).collect();
    assert_eq!(ALL.sure_of(&with_sound), ALL);
}

#[test]
fn times_wrap_and_do_not_go_back() {
    let long = (1 << 32) * MILLISECOND;
    let units = [
        video(9000, 9000, &[SPS, PPS, IDR]),
        video(9000 + long - 90, 9000 + long - 90, &[SLICE]),
        video(9000 + long + 3600, 9000 + long + 3600, &[SLICE]),
        video(9000 + long, 9000 + long, &[SLICE]),
    ];
    let (_, tags) = muxed(ALL, &units);
    assert_eq!(tags[2..].iter().map(|tag| tag.1).collect::<Vec<_>>(), [0, u32::MAX, 40, 40]);
}

#[test]
fn what_is_large_is_shared() {
    let large = [SLICE, &[7; SHARED]].concat();
    let units = [video(0, 0, &[SPS, PPS, IDR]), video(3600, 3600, &[SLICE, &large])];
    let mut muxer = Muxer::new(Sound::All, ALL);
    units.iter().for_each(|unit| muxer.push(unit));
    let pieces: Vec<_> = std::iter::from_fn(|| muxer.poll()).collect();
    let shared = units[1].nal(1);
    assert!(pieces.iter().any(|piece| piece.as_ptr() == shared.as_ptr() && piece.len() == shared.len()));
    tags(&pieces.concat());
}

proptest! {
    /// Whatever comes, tags are whole, and no track goes back.
    #[test]
    fn tags_follow_each_other(
        kinds in proptest::collection::vec((0u8..6, -200_000i64..200_000, -9000i64..9000), 0..120),
        with_video: bool,
    ) {
        let mut muxer = Muxer::new(Sound::All, Tracks { video: with_video, audio: Some(Codec::Pcma) });
        let units: Vec<_> = kinds.into_iter().map(|(kind, time, delay)| match kind {
            0 => video(time + delay, time, &[SPS, PPS, IDR]),
            1 => video(time, time, &[OTHER_SPS, PPS, IDR]),
            2 => sound(time),
            3 => AccessUnit::new(Codec::Aac, time, time, Bytes::from_static(&[0xFF, 0xF1, 0x60, 0x40, 1, 0x1F, 0xFC, 9])),
            4 => of(Codec::H265, time + delay, time, &HEVC),
            _ => video(time + delay, time, &[SLICE]),
        }).collect();
        let mut last = [0; 2];
        for (kind, time, _) in tags(&mux(&mut muxer, &units)).1 {
            if kind != SCRIPT {
                let last = &mut last[usize::from(kind == VIDEO)];
                prop_assert!(time >= *last);
                *last = time;
            }
        }
    }
}
