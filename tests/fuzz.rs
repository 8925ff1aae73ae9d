//! The fuzz functions for some seconds each, from the seeds in `fuzz/seeds` and mutations of them. `make fuzz` runs the
//! same functions for long with libFuzzer, which is guided by coverage; this run keeps them from rotting.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a broken promise is a panic"
)]

#[path = "../fuzz/functions.rs"]
#[allow(unreachable_pub, reason = "the same file is a module of the fuzz targets")]
mod functions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};

const SECONDS: u64 = 5;

/// The seeds; every function is given all of them, since what is no message for one is hostile input for another.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 30, "seeds are missing: {}", files.len());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn mutate(rng: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(0..8) {
        let at = rng.random_range(0..=data.len());
        match rng.random_range(0..6) {
            0 if at < data.len() => data[at] ^= 1 << rng.random_range(0..8),
            1 if at < data.len() => data[at] = rng.random(),
            2 => data.truncate(at),
            3 => data.insert(at, *b"\x00\x01\xBA\xE0\xFF\r\n<&;".choose(rng).unwrap()),
            4 => {
                let other = seeds.choose(rng).unwrap();
                let from = rng.random_range(0..=other.len());
                data.splice(at..at, other[from..].iter().copied().take(512));
            }
            _ => {
                let end = rng.random_range(at..=data.len());
                let copy = data[at..end].to_vec();
                data.splice(at..at, copy.into_iter().take(256));
            }
        }
    }
    data.truncate(16_384);
    data
}

fn run(name: &str, function: fn(&[u8])) {
    let seeds = seeds();
    let mut rng = StdRng::seed_from_u64(rand::random());
    let end = now() + Duration::from_secs(SECONDS);
    let mut next = seeds.clone().into_iter();
    let mut runs = 0u64;
    let mut slowest = Duration::ZERO;
    while now() < end || next.len() > 0 {
        let data = next.next().unwrap_or_else(|| mutate(&mut rng, &seeds));
        let begin = now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| function(&data))) {
            let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{name} failed on this input: {hex}");
            std::panic::resume_unwind(panic);
        }
        slowest = slowest.max(begin.elapsed());
        runs += 1;
    }
    println!("{name}: {runs} runs, the slowest {slowest:?}");
    assert!(runs > 100, "{name} is far too slow: {runs} runs in {SECONDS} s");
}

#[expect(clippy::disallowed_methods, reason = "this test is bounded by real time")]
fn now() -> Instant {
    Instant::now()
}

macro_rules! fuzz {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            run(stringify!($name), functions::$name);
        })+
    };
}

fuzz!(
    sip_datagram,
    sip_stream,
    signalling,
    manscdp,
    answers,
    mansrtsp,
    capture,
    sdp,
    words,
    configuration,
    rtp,
    rtcp,
    deframer,
    ps,
    h264,
    digest,
    offer,
);
