//! The fuzz functions for some seconds each, from the seeds in `fuzz/seeds` and mutations of them. `make fuzz` runs the
//! same functions for long with libFuzzer, which is guided by coverage; this run keeps them from rotting.

#[path = "../fuzz/functions.rs"]
mod functions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SECONDS: u64 = 5;

/// The seeds; every function is given all of them, since what is no message for one is hostile input for another.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "the seeds are missing");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn mutate(rng: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(0..8) {
        let at = rng.random_range(0..=data.len());
        match rng.random_range(0..6) {
            0 if at < data.len() => data[at] ^= 1 << rng.random_range(0..8),
            1 if at < data.len() => data[at] = rng.random(),
            2 => data.truncate(at),
            3 => data.insert(at, *[0u8, 1, 0xBA, 0xE0, 0xFF, b'\r', b'\n', b'<', b'&', b';'].get(rng.random_range(0..10)).unwrap()),
            4 => {
                let other = &seeds[rng.random_range(0..seeds.len())];
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
    // The seed of the day's run is printed with a failure, by its input.
    let mut rng = StdRng::seed_from_u64(rand::random());
    let end = now() + Duration::from_secs(SECONDS);
    for seed in &seeds {
        function(seed);
    }
    let mut runs = 0u64;
    while now() < end {
        let data = mutate(&mut rng, &seeds);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| function(&data))) {
            let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{name} failed on this input: {hex}");
            std::panic::resume_unwind(panic);
        }
        runs += 1;
    }
    println!("{name}: {runs} runs");
    assert!(runs > 100, "{name} is far too slow: {runs} runs in {SECONDS} s");
}

#[expect(clippy::disallowed_methods, reason = "this test is bounded by real time")]
fn now() -> Instant {
    Instant::now()
}

macro_rules! fuzz {
    ($($name:ident),+) => {
        $(#[test]
        fn $name() {
            run(stringify!($name), functions::$name);
        })+
    };
}

fuzz!(sip_datagram, sip_stream, manscdp, sdp, ptz, rtp, rtcp, deframer, ps, h264, digest);
