use super::*;
use bytes::Bytes;
use proptest::prelude::*;

const SSRC: u32 = 200_001_234;

fn packet(sequence: u16) -> Packet {
    packet_of(SSRC, sequence)
}

fn packet_of(ssrc: u32, sequence: u16) -> Packet {
    let timestamp = u32::from(sequence);
    Packet { payload_type: 96, marker: false, sequence, timestamp, ssrc, payload: Bytes::new() }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What comes out at once: sequence number and packets lost before.
fn drain(reorder: &mut Reorder, now: Instant) -> Vec<(u16, u16)> {
    std::iter::from_fn(|| reorder.pop(now)).map(|out| (out.packet.sequence, out.lost_before)).collect()
}

fn feed(reorder: &mut Reorder, now: Instant, sequences: &[u16]) -> Vec<(u16, u16)> {
    sequences
        .iter()
        .flat_map(|&sequence| {
            reorder.push(now, packet(sequence));
            drain(reorder, now)
        })
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "a test may begin at any time")]
fn start() -> Instant {
    Instant::now()
}

fn adaptive() -> Reorder {
    Reorder::new(Wait::Adaptive, 90_000)
}

#[test]
fn in_order_nothing_waits() {
    let (now, mut reorder) = (start(), adaptive());
    assert_eq!(feed(&mut reorder, now, &[65534, 65535, 0, 1]), [(65534, 0), (65535, 0), (0, 0), (1, 0)]);
    assert_eq!(reorder.next_timeout(), None);
    assert_eq!(reorder.held.capacity(), 4, "the first allocation was the last");
}

#[test]
fn a_gap_that_closes_loses_nothing() {
    let (now, mut reorder) = (start(), adaptive());
    assert_eq!(feed(&mut reorder, now, &[65535, 2, 1]), [(65535, 0)]);
    assert_eq!(reorder.next_timeout(), Some(now + MIN_DELAY));
    assert_eq!(feed(&mut reorder, now + ms(5), &[0]), [(0, 0), (1, 0), (2, 0)]);
    let stats = reorder.stats();
    assert_eq!((stats.reordered, stats.lost, stats.received), (2, 0, 4));
}

#[test]
fn a_gap_that_stays_is_given_up_when_its_time_is_over() {
    let (now, mut reorder) = (start(), adaptive());
    feed(&mut reorder, now, &[10, 13]);
    // Another that comes later does not put the end off.
    assert_eq!(feed(&mut reorder, now + ms(15), &[12]), []);
    assert_eq!(drain(&mut reorder, now + ms(19)), []);
    assert_eq!(reorder.next_timeout(), Some(now + reorder.delay()));
    let end = reorder.next_timeout().unwrap();
    assert_eq!(drain(&mut reorder, end), [(12, 1), (13, 0)]);
    assert_eq!(reorder.stats().lost, 1);
    assert_eq!(reorder.next_timeout(), None);
}

#[test]
fn on_a_connection_a_gap_is_not_waited_for() {
    let (now, mut reorder) = (start(), Reorder::new(Wait::Never, 90_000));
    assert_eq!(feed(&mut reorder, now, &[1, 5, 6]), [(1, 0), (5, 3), (6, 0)]);
}

#[test]
fn the_wait_follows_the_disorder() {
    let (mut now, mut reorder) = (start(), adaptive());
    feed(&mut reorder, now, &[0, 2]);
    // Far too late: next time the wait is longer.
    assert_eq!(drain(&mut reorder, now + ms(20)), [(2, 1)]);
    feed(&mut reorder, now + ms(60), &[1]);
    assert_eq!((reorder.stats().late, reorder.delay()), (1, ms(40)));
    // Late by 38 ms, and in time now.
    feed(&mut reorder, now + ms(100), &[4]);
    assert_eq!(feed(&mut reorder, now + ms(138), &[3]), [(3, 0), (4, 0)]);
    assert_eq!(reorder.delay(), ms(57));
    for sequence in [5, 7, 6, 8, 10, 9] {
        now += ms(300);
        feed(&mut reorder, now, &[sequence]);
        drain(&mut reorder, now + ms(200));
    }
    assert_eq!(reorder.delay(), MAX_DELAY);
    // Gaps that nothing closes make it short again, in time.
    for sequence in 6..20 {
        now += CALM;
        feed(&mut reorder, now, &[sequence * 2]);
        drain(&mut reorder, now + MAX_DELAY);
    }
    assert_eq!(reorder.delay(), MIN_DELAY);
}

#[test]
fn duplicates_are_dropped_wherever_they_come() {
    let (now, mut reorder) = (start(), adaptive());
    assert_eq!(feed(&mut reorder, now, &[1, 1, 3, 3, 2, 2, 1]), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!((reorder.stats().duplicates, reorder.stats().late), (4, 0));
}

#[test]
fn a_full_buffer_gives_the_gap_up() {
    let (now, mut reorder) = (start(), adaptive());
    feed(&mut reorder, now, &[0]);
    let held: Vec<u16> = (2..MAX_HELD as u16 + 1).collect();
    assert_eq!(feed(&mut reorder, now, &held), []);
    let out = feed(&mut reorder, now, &[MAX_HELD as u16 + 1]);
    assert_eq!((out.len(), out[0]), (MAX_HELD, (2, 1)));
}

#[test]
fn memory_is_bounded_when_nothing_is_taken() {
    let (now, mut reorder) = (start(), adaptive());
    for sequence in 0..2000 {
        reorder.push(now, packet(sequence));
    }
    assert_eq!(reorder.held.len(), MAX_HELD);
    assert_eq!(reorder.stats().discarded, 2000 - MAX_HELD as u64);
}

#[test]
fn a_jump_begins_anew_once_it_is_confirmed() {
    let (now, mut reorder) = (start(), adaptive());
    feed(&mut reorder, now, &[100, 101]);
    assert_eq!(feed(&mut reorder, now, &[40_000, 102]), [(102, 0)], "a stray packet changes nothing");
    reorder.push(now, packet(40_000));
    assert_eq!(reorder.pop(now), None);
    reorder.push(now, packet(40_001));
    let first = reorder.pop(now).unwrap();
    assert_eq!((first.packet.sequence, first.lost_before, first.restarted), (40_000, 1, true));
    let second = reorder.pop(now).unwrap();
    assert_eq!((second.packet.sequence, second.lost_before, second.restarted), (40_001, 0, false));
    let stats = reorder.stats();
    assert_eq!((stats.restarts, stats.discarded, stats.lost), (1, 1, 0));
    assert_eq!(reorder.reception().unwrap().expected(), 2);
}

#[test]
fn a_new_run_forgets_what_the_old_one_held() {
    let (now, mut reorder) = (start(), adaptive());
    feed(&mut reorder, now, &[100, 102, 103]);
    assert_eq!(feed(&mut reorder, now, &[40_000, 40_001]), [(40_000, 1), (40_001, 0)]);
    assert_eq!((reorder.next_timeout(), reorder.stats().discarded), (None, 2));
}

#[test]
fn another_source_waits_until_the_present_one_is_silent() {
    let (now, mut reorder) = (start(), adaptive());
    feed(&mut reorder, now, &[1]);
    for sequence in 0..10 {
        reorder.push(now + ms(100), packet_of(7, sequence));
    }
    assert_eq!(drain(&mut reorder, now + ms(100)), []);
    assert_eq!(feed(&mut reorder, now + ms(200), &[2]), [(2, 0)]);
    let later = now + ms(200) + SOURCE_SILENCE;
    for sequence in 10..12 {
        reorder.push(later, packet_of(7, sequence));
    }
    assert_eq!(reorder.ssrc(), Some(7));
    assert_eq!(drain(&mut reorder, later), [(10, 1), (11, 0)]);
}

#[test]
fn the_agreed_source_is_followed_at_once() {
    let (now, mut reorder) = (start(), adaptive());
    reorder.prefer(SSRC);
    reorder.push(now, packet_of(7, 500));
    assert_eq!(drain(&mut reorder, now), [(500, 0)], "a device that picks its own is heard");
    assert_eq!(feed(&mut reorder, now, &[1]), [(1, 1)]);
    reorder.push(now, packet_of(7, 501));
    assert_eq!(drain(&mut reorder, now), []);
}

#[test]
fn sender_reports_of_others_are_not_echoed() {
    let (now, mut reorder) = (start(), adaptive());
    feed(&mut reorder, now, &[1, 2]);
    let report = |ssrc| rtcp::SenderReport { ssrc, ntp: 5 << 16, ..rtcp::SenderReport::default() };
    reorder.sender_report(now, &report(7));
    assert_eq!(reorder.report(now).unwrap().last_sender_report, 0);
    reorder.sender_report(now, &report(SSRC));
    assert_eq!(reorder.report(now).unwrap().last_sender_report, 5);
}

/// A run of sequence numbers, each moved at most `reach` places from its own.
fn shuffled(reach: u16) -> impl Strategy<Value = (u16, Vec<u16>)> {
    (any::<u16>(), proptest::collection::vec(0..reach, 2..300)).prop_map(|(first, moves)| {
        // Sorting by place plus a move of less than `reach` moves nobody further than that.
        let mut order: Vec<(u16, u16)> = (0..).zip(moves).map(|(n, moved)| (n + moved, n)).collect();
        order[0] = (0, 0);
        order.sort_unstable();
        (first, order.into_iter().map(|(_, n)| first.wrapping_add(n)).collect())
    })
}

proptest! {
    #[test]
    fn disorder_within_the_window_comes_out_in_order((first, sent) in shuffled(100)) {
        let (now, mut reorder) = (start(), adaptive());
        let out = feed(&mut reorder, now, &sent);
        let expected: Vec<(u16, u16)> = (0..sent.len()).map(|n| (first.wrapping_add(n as u16), 0)).collect();
        prop_assert_eq!(out, expected);
        prop_assert_eq!(reorder.next_timeout(), None);
        prop_assert_eq!(reorder.reception().unwrap().lost(), 0);
    }

    #[test]
    fn with_loss_the_order_and_the_counts_are_right(
        (first, sent) in shuffled(50), lost in proptest::collection::vec(any::<bool>(), 300)
    ) {
        let (now, mut reorder) = (start(), adaptive());
        let index = |sequence: u16| usize::from(sequence.wrapping_sub(first));
        let kept: Vec<u16> = sent.into_iter().filter(|&n| n == first || !lost[index(n)]).collect();
        let mut out = feed(&mut reorder, now, &kept);
        while let Some(at) = reorder.next_timeout() {
            out.extend(drain(&mut reorder, at));
        }
        let mut expected = kept;
        expected.sort_unstable_by_key(|&n| index(n));
        let order: Vec<u16> = out.iter().map(|&(sequence, _)| sequence).collect();
        prop_assert_eq!(&order, &expected);
        let missing: usize = out.iter().map(|&(_, lost)| usize::from(lost)).sum();
        prop_assert_eq!(missing + expected.len(), index(expected[expected.len() - 1]) + 1);
        prop_assert_eq!(reorder.stats().lost, missing as u64);
    }

    #[test]
    fn never_panics_and_counts_every_packet(
        sent in proptest::collection::vec((any::<u16>(), 0u32..3, 0u64..100, any::<bool>()), 0..400)
    ) {
        let (mut now, mut reorder) = (start(), adaptive());
        let mut out = 0;
        for &(sequence, ssrc, wait, near) in &sent {
            now += ms(wait);
            let sequence = if near { sequence % 64 } else { sequence };
            reorder.push(now, packet_of(ssrc, sequence));
            out += drain(&mut reorder, now).len() as u64;
        }
        let stats = reorder.stats();
        let kept = reorder.held.len() as u64 + u64::from(reorder.stray.is_some());
        prop_assert_eq!(stats.received, sent.len() as u64);
        prop_assert_eq!(out + kept + stats.duplicates + stats.late + stats.discarded, stats.received);
    }
}
