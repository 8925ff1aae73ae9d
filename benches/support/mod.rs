//! What the benchmarks share. They need figures of several subjects in one run, and ratios between them, so they measure
//! by themselves: subjects take turns, what disturbs the machine disturbs all alike, and the median counts. Time is
//! that of the CPU, where the system tells it.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::alloc::System;
use std::time::{Duration, Instant};

use stats_alloc::{Region, StatsAlloc};

/// Turns of each subject.
const TURNS: usize = 9;
/// A turn takes at least this long: the system counts CPU time in steps of some milliseconds.
const TURN: Duration = Duration::from_millis(250);

/// The CPU time of this thread so far.
pub(crate) struct Cpu(Option<Duration>, Instant);

impl Cpu {
    pub(crate) fn now() -> Cpu {
        Cpu(of_thread("/proc/thread-self/schedstat"), Instant::now())
    }

    /// What was used since then; the time that passed, where the system does not tell.
    pub(crate) fn used(&self) -> Duration {
        match (self.0, of_thread("/proc/thread-self/schedstat")) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.1.elapsed(),
        }
    }
}

/// The CPU time of the thread that this file of Linux describes.
pub(crate) fn of_thread(schedstat: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(schedstat).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The median time of one run of each subject.
pub(crate) fn medians<const N: usize>(mut subjects: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let runs = subjects.each_mut().map(|subject| {
        subject();
        let begin = Instant::now();
        let mut runs = 0u32;
        while begin.elapsed() < TURN {
            subject();
            runs += 1;
        }
        runs
    });
    let mut times = [const { Vec::new() }; N];
    for _ in 0..TURNS {
        for ((subject, runs), times) in subjects.iter_mut().zip(runs).zip(&mut times) {
            let cpu = Cpu::now();
            (0..runs).for_each(|_| subject());
            times.push(cpu.used() / runs);
        }
    }
    times.map(median)
}

/// The middle one.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Allocations and bytes of them during `work`, in all threads.
pub(crate) fn allocations(allocator: &StatsAlloc<System>, work: impl FnOnce()) -> (f64, f64) {
    let region = Region::new(allocator);
    work();
    let change = region.change();
    ((change.allocations + change.reallocations) as f64, change.bytes_allocated as f64)
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}

/// A figure, a line each.
pub(crate) fn figure(what: &str, value: f64, unit: &str) {
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    println!("  {what:<64} {value:>10.digits$} {unit}");
}
