use super::*;
use crate::media::unit::Codec;
use bytes::Bytes;
use proptest::prelude::*;

#[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
fn start() -> Instant {
    Instant::now()
}

fn unit(codec: Codec, dts: i64) -> AccessUnit {
    AccessUnit::new(codec, dts, dts, Bytes::from_static(&[0, 0, 1, 0x65]))
}

/// Sends a picture each `every` milliseconds whose time stamps go by `step`, from `from` milliseconds on; gives
/// how far each is ahead of the clock, in milliseconds.
fn run(
    pace: &mut Pace,
    start: Instant,
    from: u64,
    every: u64,
    count: u64,
    stamps: &mut i64,
    step: i64,
) -> Vec<i64> {
    let mut ahead = Vec::new();
    let mut last = None;
    for n in 0..count {
        let at = from + n * every;
        *stamps += step;
        let given = pace.push(start + Duration::from_millis(at), unit(Codec::H264, *stamps)).unwrap();
        assert!(last.is_none_or(|last| given.dts > last), "time goes on");
        assert_eq!(given.pts, given.dts);
        last = Some(given.dts);
        ahead.push(given.dts / 90 - at as i64);
    }
    ahead
}

fn settled(ahead: &[i64], count: usize) -> bool {
    let rest = &ahead[ahead.len() - count..];
    rest.iter().all(|ahead| (-400..=450).contains(ahead))
}

#[test]
fn at_normal_speed_the_times_are_left_as_they_are() {
    let (start, mut pace) = (start(), Pace::new(1.0));
    for n in 0..500 {
        let at = start + Duration::from_millis(n * 40 + n % 3 * 15);
        let dts = 1000 + n as i64 * 3600;
        assert_eq!(pace.push(at, unit(Codec::H264, dts)).unwrap().dts, dts);
        assert_eq!(pace.push(at, unit(Codec::Pcma, dts + 7)).unwrap().dts, dts + 7);
    }
    assert!((pace.position() - 20.0).abs() < 0.2);
}

#[test]
fn other_speeds_play_in_real_time_whether_the_device_scales_its_stamps_or_not() {
    for scale in [0.25, 0.5, 2.0, 4.0, 8.0] {
        for scaled in [true, false] {
            let (start, mut pace) = (start(), Pace::new(scale));
            let step = if scaled { 3600 } else { (3600.0 * scale) as i64 };
            let ahead = run(&mut pace, start, 0, 40, 500, &mut -step, step);
            assert!(settled(&ahead, 500), "{scale} {scaled}: {ahead:?}");
            assert!((pace.position() - 20.0 * scale).abs() < 0.1 * scale);
            assert!(pace.push(start, unit(Codec::Pcma, 0)).is_none(), "sound is left out");
        }
    }
}

#[test]
fn backwards_the_clock_decides() {
    // Key pictures alone, four a second, whose stamps the demultiplexer had to make up.
    let (start, mut pace) = (start(), Pace::new(-4.0));
    pace.seek(100.0);
    let ahead = run(&mut pace, start, 0, 250, 80, &mut -3600, 3600);
    assert!(settled(&ahead, 80), "{ahead:?}");
    assert!((pace.position() - 21.0).abs() < 1.1, "{}", pace.position());
}

#[test]
fn changes_and_pauses_leave_no_delay() {
    let (start, mut pace) = (start(), Pace::new(1.0));
    let mut stamps = -3600;
    run(&mut pace, start, 0, 40, 100, &mut stamps, 3600);
    pace.change(true, 1.0);
    // Ten seconds later; the device goes on where it was.
    pace.change(false, 1.0);
    let ahead = run(&mut pace, start, 14_000, 40, 100, &mut stamps, 3600);
    assert!(settled(&ahead, 100), "{ahead:?}");
    pace.change(false, 4.0);
    let ahead = run(&mut pace, start, 18_000, 40, 100, &mut stamps, 14_400);
    assert!(settled(&ahead, 100), "{ahead:?}");
    pace.change(false, 1.0);
    pace.seek(3600.0);
    stamps += 90_000 * 3000;
    let ahead = run(&mut pace, start, 22_000, 40, 100, &mut stamps, 3600);
    assert!(settled(&ahead, 100), "{ahead:?}");
    assert!((pace.position() - 3604.0).abs() < 0.1);
    let sound = pace.push(start + Duration::from_secs(26), unit(Codec::Pcma, stamps)).unwrap();
    assert!((sound.dts / 90 - 26_000).abs() < 450, "sound goes with the pictures");
}

#[test]
fn after_a_hole_the_steps_are_those_of_the_device() {
    let (start, mut pace) = (start(), Pace::new(1.0));
    let mut stamps = -3600;
    run(&mut pace, start, 0, 40, 100, &mut stamps, 3600);
    let ahead = run(&mut pace, start, 5_500, 40, 100, &mut stamps, 3600);
    assert!(ahead.iter().all(|one| *one == ahead[0]), "{ahead:?}");
}

#[test]
fn a_device_that_is_slow_when_it_should_not_be_is_followed() {
    let (start, mut pace) = (start(), Pace::new(1.0));
    let ahead = run(&mut pace, start, 0, 40, 500, &mut -1800, 1800);
    assert!(settled(&ahead, 500), "{ahead:?}");
    assert!(ahead[200..].windows(2).all(|pair| pair[0].abs_diff(pair[1]) < 40), "without jumps: {ahead:?}");
}

#[test]
fn a_burst_at_the_start_is_bounded() {
    let (start, mut pace) = (start(), Pace::new(1.0));
    let mut stamps = -3600;
    let ahead = run(&mut pace, start, 0, 1, 200, &mut stamps, 3600);
    assert!(ahead.iter().all(|ahead| *ahead <= 2100), "{ahead:?}");
    let ahead = run(&mut pace, start, 200, 40, 1000, &mut stamps, 3600);
    assert!(settled(&ahead, 500), "{ahead:?}");
}

#[test]
fn times_that_were_made_up_while_the_device_went_back_say_nothing() {
    let (start, mut pace) = (start(), Pace::new(1.0));
    let mut stamps = 0;
    run(&mut pace, start, 0, 40, 100, &mut stamps, 3600);
    pace.change(false, -1.0);
    // Within a GOP the device turned round: until its times have caught up, they come one tick apart.
    run(&mut pace, start, 4000, 40, 24, &mut stamps, 1);
    let ahead = run(&mut pace, start, 4960, 40, 100, &mut stamps, 3600);
    assert!(settled(&ahead, 100), "{ahead:?}");
}

proptest! {
    #[test]
    fn times_of_pictures_always_go_on(
        steps in proptest::collection::vec((0u64..3000, any::<i64>(), -10i32..10), 0..200),
    ) {
        let mut now = start();
        let mut pace = Pace::new(1.0);
        let mut last = None;
        for (wait, dts, scale) in steps {
            now += Duration::from_millis(wait);
            if wait % 7 == 0 {
                pace.change(wait % 2 == 0, f64::from(scale) / 2.0);
            }
            let given = pace.push(now, unit(Codec::H264, dts >> 2)).unwrap().dts;
            prop_assert!(last.is_none_or(|last| given > last), "{:?} {}", last, given);
            last = Some(given);
            prop_assert!(pace.position().is_finite() && pace.seen.len() <= MAX_SEEN);
        }
    }
}
