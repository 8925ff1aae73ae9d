use std::io::Cursor;

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

/// A baseline SPS of 352 by 288, another one of level 2.1, and a PPS.
const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x01, 0x60, 0x96, 0x9b, 0x80];
const OTHER_SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x15, 0xd9, 0x01, 0x60, 0x96, 0x9b, 0x80];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
const AUD: &[u8] = &[0x09, 0xf0];
const IDR: &[u8] = &[0x65, 0x88, 0x84];
const SLICE: &[u8] = &[0x41, 0x9a, 0x24];
const STEP: i64 = 3600;

fn video(pts: i64, dts: i64, nals: &[&[u8]]) -> AccessUnit {
    let payload: Vec<u8> = nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
    AccessUnit::new(Codec::H264, pts, dts, payload.into())
}

fn key(time: i64) -> AccessUnit {
    video(time, time, &[AUD, SPS, PPS, IDR])
}

fn delta(time: i64) -> AccessUnit {
    video(time, time, &[AUD, SLICE])
}

fn sound(time: i64, samples: usize) -> AccessUnit {
    AccessUnit::new(Codec::Pcma, time, time, vec![0xD5; samples].into())
}

/// The boxes of a run, each with its content.
fn boxes(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        found.push((String::from_utf8(bytes[4..8].to_vec()).unwrap(), bytes[8..len].to_vec()));
        bytes = &bytes[len..];
    }
    found
}

/// The contents of all boxes at the end of a path.
fn find(bytes: &[u8], path: &str) -> Vec<Vec<u8>> {
    let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let here = boxes(bytes).into_iter().filter(|(kind, _)| kind == name).map(|(_, body)| body);
    match rest {
        Some(rest) => here.flat_map(|body| find(&body, rest)).collect(),
        None => here.collect(),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Duration, size and delay of each sample of a run of pictures.
fn samples(trun: &[u8]) -> Vec<(u32, u32, i32)> {
    trun[12..].chunks(16).map(|s| (number(s, 0), number(s, 4), number(s, 12) as i32)).collect()
}

fn segments(units: &[AccessUnit], options: Options) -> Vec<Segment> {
    let mut muxer = Muxer::new(options);
    units.iter().for_each(|unit| muxer.push(unit));
    muxer.finish();
    std::iter::from_fn(|| muxer.poll()).collect()
}

#[test]
fn a_stream_becomes_an_init_and_fragments_that_begin_with_keys() {
    let mut units = vec![delta(0), sound(0, 320)];
    for n in 0..100 {
        let time = 90_000 + n * STEP;
        units.push(if n % 50 == 0 { key(time) } else { delta(time) });
        units.push(sound(time, 320));
    }
    let segments = segments(&units, Options { fragment: Duration::from_secs(10), ..Options::default() });
    let [Segment::Init(init), first, second] = &segments[..] else { panic!("{}", segments.len()) };
    assert_eq!(boxes(init).iter().map(|b| b.0.as_str()).collect::<Vec<_>>(), ["ftyp", "moov"]);
    assert_eq!(find(init, "moov/trak").len(), 2);
    let entry = &find(init, "moov/trak/mdia/minf/stbl/stsd")[0];
    assert!(entry.windows(SPS.len()).any(|bytes| bytes == SPS));
    assert!(entry.windows(PPS.len()).any(|bytes| bytes == PPS));
    for (segment, begins) in [(first, 0u64), (second, 180_000)] {
        assert!(matches!(segment, Segment::Fragment { key: true, time, .. } if *time == begins));
        let trun = find(segment.bytes(), "moof/traf/trun");
        let pictures = samples(&trun[0]);
        assert_eq!(pictures.len(), 50);
        assert_eq!(pictures[0], (3600, 7, 0), "delimiter and parameter sets are left out");
        let offset = number(&trun[0], 8) as usize;
        assert_eq!(&segment.bytes()[offset..offset + 7], [&[0, 0, 0, 3], IDR].concat());
        let sounds = number(&trun[1], 8) as usize;
        assert_eq!(sounds, offset + 50 * 7);
        assert!(segment.bytes()[sounds..].iter().all(|byte| *byte == 0xD5));
    }
    let starts = find(second.bytes(), "moof/traf/tfdt");
    assert_eq!((number(&starts[0], 8), number(&starts[1], 8)), (180_000, 16_000));
}

#[test]
fn pictures_out_of_order_keep_their_times() {
    let units = [
        video(7200, 0, &[SPS, PPS, IDR]),
        video(18_000, 3600, &[SLICE]),
        video(10_800, 7200, &[SLICE]),
        video(14_400, 10_800, &[SLICE]),
    ];
    let segments = segments(&units, Options::default());
    let trun = &find(segments[1].bytes(), "moof/traf/trun")[0];
    let shown: Vec<_> = samples(trun).iter().zip([0, 3600, 7200, 10_800]).map(|(s, dts)| dts + s.2).collect();
    assert_eq!(shown, [0, 10_800, 3600, 7200], "the first is shown at 0");
    assert_eq!(samples(trun).iter().map(|s| s.0).sum::<u32>(), 4 * 3600);
}

#[test]
fn a_gap_in_the_sound_is_silence_and_an_overlap_is_left_out() {
    let mut units = vec![key(0)];
    units.extend([0, 40, 400, 410, 200].map(|ms| sound(ms * 90, 320)));
    let segments = segments(&units, Options::default());
    let trun = &find(segments[1].bytes(), "moof/traf/trun")[1];
    let durations: Vec<_> = trun[12..].chunks(8).map(|s| number(s, 0)).collect();
    assert_eq!(durations, [320, 320 + 2560, 320, 320]);
}

#[test]
fn other_parameter_sets_begin_a_new_init() {
    let units = [key(0), delta(STEP), video(2 * STEP, 2 * STEP, &[OTHER_SPS, PPS, IDR]), delta(3 * STEP)];
    let mut muxer = Muxer::new(Options { sound: Sound::None, ..Options::default() });
    assert_eq!(muxer.media_type(), None);
    units.iter().for_each(|unit| muxer.push(unit));
    muxer.finish();
    let kinds: Vec<_> = std::iter::from_fn(|| muxer.poll()).map(|s| matches!(s, Segment::Init(_))).collect();
    assert_eq!(kinds, [true, false, true, false]);
    assert_eq!(muxer.media_type().unwrap(), "video/mp4; codecs=\"avc1.42c015\"");
}

#[test]
fn sound_alone_is_a_stream() {
    let units: Vec<_> = (0..100).map(|n| sound(n * STEP, 320)).collect();
    let found = segments(&units, Options::default());
    assert_eq!(found.iter().filter(|s| matches!(s, Segment::Init(_))).count(), 1);
    let sizes: usize = found.iter().flat_map(|s| find(s.bytes(), "mdat")).map(|mdat| mdat.len()).sum();
    assert_eq!(sizes, 32_000);
    assert!(segments(&units, Options { sound: Sound::Aac, ..Options::default() }).is_empty());
}

#[test]
fn a_file_has_durations_and_an_index_and_all_tracks() {
    let mut file = File::new(Cursor::new(Vec::new()), Options::default());
    for n in 0..250 {
        file.push(&if n % 50 == 0 { key(n * STEP) } else { delta(n * STEP) }).unwrap();
        if n >= 100 {
            file.push(&sound(n * STEP, 320)).unwrap();
        }
    }
    assert_eq!(file.progress().media, Duration::from_secs(10));
    let (out, progress) = file.finish().unwrap();
    let bytes = out.into_inner();
    assert_eq!(progress, Progress { bytes: bytes.len() as u64, media: Duration::from_secs(10) });
    assert_eq!(find(&bytes, "moov/trak").len(), 2, "sound that began late is told too");
    assert_eq!(number(&find(&bytes, "moov/mvhd")[0], 28), 10_000);
    assert_eq!(number(&find(&bytes, "moov/mvex/mehd")[0], 8), 10_000);
    let index = &find(&bytes, "mfra/tfra")[0];
    assert_eq!(number(index, 12), 5);
    for n in 0..5 {
        let entry = &index[16 + 19 * n..];
        let offset = number(entry, 12) as usize;
        assert_eq!(number(entry, 4), n as u32 * 180_000);
        assert_eq!(&bytes[offset + 4..offset + 8], b"moof");
    }
    let length = number(&bytes, bytes.len() - 4) as usize;
    assert_eq!(&bytes[bytes.len() - length + 4..][..4], b"mfra");
}

#[test]
fn nothing_leaves_an_empty_file() {
    let mut file = File::new(Cursor::new(Vec::new()), Options::default());
    file.push(&delta(0)).unwrap();
    assert_eq!(file.finish().unwrap().1, Progress::default());
}

proptest! {
    /// Whatever comes, the boxes are whole, and the times of a track go on without overlap.
    #[test]
    fn segments_follow_each_other(
        kinds in proptest::collection::vec((0u8..6, -200_000i64..200_000, -9000i64..9000), 0..120),
        fragment in 0u64..3000,
    ) {
        let mut muxer = Muxer::new(Options { fragment: Duration::from_millis(fragment), ..Options::default() });
        for (kind, time, delay) in kinds {
            let adts = Bytes::from_static(&[0xFF, 0xF1, 0x60, 0x40, 1, 0x1F, 0xFC, 9]);
            muxer.push(&match kind {
                0 => video(time + delay, time, &[SPS, PPS, IDR]),
                1 => video(time, time, &[OTHER_SPS, PPS, IDR]),
                2 => sound(time, (delay.unsigned_abs() / 10) as usize),
                3 => AccessUnit::new(Codec::Aac, time, time, adts),
                _ => video(time + delay, time, &[SLICE]),
            });
        }
        muxer.finish();
        let mut ends = [0u64; 2];
        while let Some(segment) = muxer.poll() {
            prop_assert!(!boxes(segment.bytes()).is_empty());
            for traf in find(segment.bytes(), "moof/traf") {
                let track = number(&find(&traf, "tfhd")[0], 4) as usize - 1;
                let tfdt = &find(&traf, "tfdt")[0];
                let start = u64::from(number(tfdt, 4)) << 32 | u64::from(number(tfdt, 8));
                prop_assert!(start >= ends[track]);
                let trun = &find(&traf, "trun")[0];
                let size = if track == 0 { 16 } else { 8 };
                ends[track] = trun[12..].chunks(size).fold(start, |at, s| at + u64::from(number(s, 0)));
            }
        }
    }
}
