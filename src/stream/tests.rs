use super::*;
use bytes::Bytes;
use proptest::prelude::*;

/// A baseline SPS of 352 by 288, and a PPS.
const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x01, 0x60, 0x96, 0x9b, 0x80];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
const IDR: &[u8] = &[0x65, 0x88, 0x84];
const SLICE: &[u8] = &[0x41, 0x9a, 0x24];

#[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
fn start() -> Instant {
    Instant::now()
}

fn video_of(codec: Codec, dts: i64, nals: &[&[u8]]) -> AccessUnit {
    let payload: Vec<u8> = nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
    AccessUnit::new(codec, dts, dts, payload.into())
}

fn video(dts: i64, nals: &[&[u8]]) -> AccessUnit {
    video_of(Codec::H264, dts, nals)
}

fn damaged(unit: AccessUnit) -> AccessUnit {
    AccessUnit { damaged: true, ..unit }
}

fn sound(dts: i64) -> AccessUnit {
    let payload = Bytes::from_static(&[0xd5; 320]);
    AccessUnit { key: true, ..AccessUnit::new(Codec::Pcma, dts, dts, payload) }
}

fn key(dts: i64) -> AccessUnit {
    video(dts, &[SPS, PPS, IDR])
}

fn delta(dts: i64) -> AccessUnit {
    video(dts, &[SLICE])
}

fn stream(now: Instant) -> Stream {
    Stream::new(now, Limits::default())
}

fn times(units: &[Arc<AccessUnit>]) -> Vec<i64> {
    units.iter().map(|unit| unit.dts).collect()
}

#[test]
fn video_begins_with_a_key_frame() {
    let now = start();
    let mut stream = stream(now);
    assert!(stream.push(now, delta(0)).is_none());
    assert!(stream.wants_key_frame() && !stream.ready(now));
    assert!(stream.push(now, key(3600)).is_some());
    assert!(stream.push(now, delta(7200)).is_some());
    assert!(stream.ready(now) && !stream.wants_key_frame());
    assert_eq!(times(stream.gop()), [3600, 7200]);
    let counts = Counts { pictures: 3, key_frames: 1, held_back: 1, ..Counts::default() };
    assert_eq!(stream.info(now).counts, counts);
}

#[test]
fn the_group_is_of_the_last_key_frame_with_sound() {
    let now = start();
    let mut stream = stream(now);
    assert!(stream.push(now, sound(0)).is_some(), "sound needs no key frame");
    for unit in [key(1), sound(2), delta(3), key(4), sound(5), delta(6)] {
        let sent = stream.push(now, unit).unwrap();
        assert!(Arc::ptr_eq(stream.gop().last().unwrap(), &sent), "shared, not copied");
    }
    assert_eq!(times(stream.gop()), [4, 5, 6]);
}

#[test]
fn after_damage_nothing_comes_until_the_next_key_frame() {
    let now = start();
    let mut stream = stream(now);
    stream.push(now, key(0));
    assert!(stream.push(now, damaged(delta(1))).is_none());
    assert!(stream.push(now, delta(2)).is_none());
    assert!(stream.wants_key_frame());
    assert!(stream.push(now, sound(3)).is_some());
    assert!(stream.push(now, damaged(sound(4))).is_none());
    assert!(stream.push(now, damaged(key(5))).is_none());
    assert!(stream.push(now, delta(6)).is_none());
    assert!(stream.push(now, key(7)).is_some());
    assert!(stream.push(now, delta(8)).is_some());
    let counts = stream.info(now).counts;
    assert_eq!((counts.damaged, counts.held_back, counts.pictures, counts.sounds), (3, 2, 7, 2));
}

#[test]
fn a_key_frame_without_parameter_sets_is_given_the_last_ones() {
    let now = start();
    let mut stream = stream(now);
    assert!(stream.push(now, video(0, &[IDR])).is_none(), "nothing could decode it");
    assert!(!stream.ready(now));
    assert!(stream.push(now, video(1, &[SPS, PPS])).is_none(), "no picture");
    assert!(stream.push(now, delta(1)).is_none());
    let sent = stream.push(now, video(2, &[IDR])).unwrap();
    assert_eq!(sent.nals().collect::<Vec<_>>(), [SPS, PPS, IDR]);
    assert!(sent.key && sent.dts == 2);
    let whole = stream.push(now, key(3)).unwrap();
    assert_eq!(whole.nals().collect::<Vec<_>>(), [SPS, PPS, IDR]);
}

#[test]
fn a_group_that_grows_too_long_is_forgotten_and_still_sent() {
    let now = start();
    let mut stream = stream(now);
    stream.push(now, key(0));
    let late = now + Duration::from_secs(21);
    assert!(stream.push(late, delta(1)).is_some(), "who reads already goes on");
    assert!(stream.push(late, sound(2)).is_some());
    assert!(stream.gop().is_empty());
    assert!(stream.wants_key_frame() && stream.ready(late));
    stream.push(late, key(3));
    assert_eq!(times(stream.gop()), [3]);
}

#[test]
fn a_group_is_bounded_in_bytes_and_number() {
    let now = start();
    let limits = Limits { gop_bytes: 100_000, ..Limits::default() };
    let mut stream = Stream::new(now, limits);
    stream.push(now, key(0));
    let mut longest = 0;
    for n in 1..5_000 {
        stream.push(now, delta(n));
        longest = longest.max(stream.gop().len());
    }
    assert!((100..1_000).contains(&longest), "{longest}");
    assert!(stream.gop().is_empty());
    stream.push(now, key(5_000));
    let large = [SLICE, &[0xff; 100_000]].concat();
    stream.push(now, video(5_001, &[&large]));
    assert!(stream.gop().is_empty());
}

#[test]
fn says_what_it_carries() {
    let now = start();
    let mut stream = stream(now);
    assert_eq!(stream.info(now), Info::default());
    for n in 0..101u32 {
        let at = now + Duration::from_millis(40) * n;
        let dts = 3600 * i64::from(n);
        stream.push(at, if n % 25 == 0 { key(dts) } else { delta(dts) });
        stream.push(at, sound(dts));
    }
    let info = stream.info(now + Duration::from_secs(4));
    let video = info.video.unwrap();
    assert_eq!((video.codec, video.width, video.height), (Codec::H264, 352, 288));
    assert_eq!((video.fps, video.gop), (Some(25.0), Some(25)));
    assert_eq!(info.audio, Some(Codec::Pcma));
    // Two groups of 29 + 24 * 7 bytes and 50 sounds of 320, in two seconds.
    assert_eq!(info.bit_rate, (2 * (29 + 24 * 7) + 50 * 320) * 4);
    assert_eq!(stream.info(now + Duration::from_secs(60)).bit_rate, 0);
    assert_eq!(stream.heard(), Some(now + Duration::from_secs(4)));
}

#[test]
fn another_codec_begins_anew() {
    let now = start();
    let mut stream = stream(now);
    stream.push(now, key(0));
    let trail: &[u8] = &[0x02, 0x01, 0xd0];
    assert!(stream.push(now, video_of(Codec::H265, 1, &[trail])).is_none());
    assert!(stream.gop().is_empty() && !stream.ready(now));
    assert_eq!(stream.info(now).video.unwrap().codec, Codec::H265);
    assert!(stream.push(now, delta(2)).is_none(), "the old codec has to begin anew too");
    assert!(stream.push(now, video(3, &[IDR])).is_none());
    assert!(stream.push(now, key(4)).is_some());
}

#[test]
fn after_a_seek_it_waits_for_a_key_frame() {
    let now = start();
    let mut stream = stream(now);
    stream.begin_anew();
    stream.push(now, key(0));
    stream.begin_anew();
    assert!(stream.gop().is_empty() && stream.wants_key_frame());
    assert!(stream.push(now, delta(1)).is_none());
    assert!(stream.push(now, sound(1)).is_some());
    assert!(stream.push(now, key(2)).is_some());
    assert_eq!(times(stream.gop()), [2]);
}

#[test]
fn video_that_is_not_read_passes() {
    let now = start();
    let mut stream = stream(now);
    let unit = video_of(Codec::Svac, 0, &[&[1, 2, 3]]);
    assert!(unit.key);
    assert!(stream.push(now, unit).is_some());
    assert_eq!(stream.info(now).video.unwrap().width, 0);
}

#[test]
fn sound_alone_is_ready_after_a_while() {
    let now = start();
    let mut stream = stream(now);
    assert_eq!(stream.ready_at(), None);
    stream.push(now, sound(0));
    assert!(!stream.ready(now));
    assert_eq!(stream.ready_at(), Some(now + SOUND_ALONE));
    assert!(stream.ready(now + SOUND_ALONE));
    stream.push(now, delta(1));
    assert!(!stream.ready(now + SOUND_ALONE), "there is video: its key frame is waited for");
    assert!(stream.push(now, AccessUnit { codec: Codec::Unknown(0xf0), ..sound(2) }).is_none());
    assert_eq!(stream.info(now).audio, Some(Codec::Pcma));
}

#[test]
fn knows_since_when_nobody_reads() {
    let now = start();
    let mut stream = Stream::new(now, Limits { readers: 2, ..Limits::default() });
    assert_eq!(stream.idle_since(), Some(now));
    let (first, second) = (stream.add_reader().unwrap(), stream.add_reader().unwrap());
    assert_eq!((stream.add_reader(), stream.readers(), stream.idle_since()), (None, 2, None));
    let later = now + Duration::from_secs(5);
    assert!(stream.remove_reader(now, first) && !stream.remove_reader(later, first));
    assert_eq!(stream.idle_since(), None);
    assert!(stream.remove_reader(later, second));
    assert!(!stream.remove_reader(later + Duration::from_secs(1), second));
    assert_eq!(stream.idle_since(), Some(later), "leaving twice changes nothing");
    assert_ne!(stream.add_reader(), Some(first));
}

proptest! {
    /// Whatever comes, what is sent on can be decoded: after each loss the first picture is a key frame with its
    /// sets, and the group is such a beginning and what was sent since.
    #[test]
    fn what_is_sent_can_be_decoded(kinds in proptest::collection::vec((0u8..6, any::<bool>()), 0..200)) {
        let now = start();
        let mut stream = stream(now);
        let mut whole = false;
        let mut since_key = Vec::new();
        for (n, (kind, lost)) in kinds.into_iter().enumerate() {
            let dts = n as i64;
            let unit = match kind {
                0 => key(dts),
                1 => video(dts, &[IDR]),
                2 => video(dts, &[SPS, PPS]),
                3 => sound(dts),
                _ => delta(dts),
            };
            let lost = lost && kind != 2;
            let unit = if lost { damaged(unit) } else { unit };
            let picture = !matches!(kind, 2 | 3);
            whole &= !(picture && lost);
            if let Some(sent) = stream.push(now, unit) {
                if sent.key && sent.track() == Track::Video {
                    prop_assert_eq!(sent.nals().collect::<Vec<_>>(), [SPS, PPS, IDR]);
                    whole = true;
                    since_key.clear();
                }
                prop_assert!(!sent.damaged && (whole || sent.track() == Track::Audio));
                since_key.push(sent);
            }
            let begun = stream.ready(now);
            prop_assert_eq!(stream.gop(), if begun { &since_key[..] } else { &[] });
        }
    }
}
