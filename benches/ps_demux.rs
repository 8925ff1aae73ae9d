//! The PS demultiplexer on packets of 1,400 bytes, beside a memcpy of the same pieces: bytes a second of one core.
//!
//! Other demultiplexers on a two-core machine, for orientation: ireader's libmpeg (inside ZLMediaKit) 1.5 GB/s, ffmpeg
//! with its parser 0.5 GB/s, where memcpy makes 9.3 GB/s. What can be compared is the ratio.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark looks at the clock and tells"
)]

mod support;

use std::alloc::System;
use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gbgate::media::codec::START_CODE;
use gbgate::media::ps::{Demuxer, Event, MAX_PAYLOAD, Muxer, Packetiser, Payload};
use gbgate::media::unit::{AccessUnit, Codec};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::{allocations, figure, medians};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes of picture in each stream: more than caches hold, as it is where packets come from a network.
const SIZE: usize = 64 << 20;

/// 1080p25 of `kilobits` a second, a key frame every two seconds, and G.711A, in RTP payloads with their time stamps.
fn stream(kilobits: usize) -> Vec<(Payload, u32)> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut muxer = Muxer::new(Codec::H264, Some(Codec::Pcma));
    let picture = kilobits * 1_000 / 8 / 25;
    let pictures = (SIZE / picture) as i64;
    let mut payloads = Vec::new();
    for index in 0..pictures {
        let pts = index * 3_600;
        let key = index % 50 == 0;
        let mut unit = BytesMut::new();
        let mut nal = |header: u8, size: usize| {
            unit.extend_from_slice(&START_CODE);
            unit.extend_from_slice(&[header]);
            // What an encoder puts out looks random, and has no three zeros in a row.
            unit.extend((0..size).map(|_| rng.random_range(1..=255u8)));
        };
        if key {
            nal(0x67, 20);
            nal(0x68, 4);
            nal(0x65, picture * 8);
        } else {
            nal(0x41, picture * 42 / 49);
        }
        let mut pack = BytesMut::new();
        muxer.mux(&AccessUnit::new(Codec::H264, pts, pts, unit.freeze()), &mut pack);
        muxer.mux(&AccessUnit::new(Codec::Pcma, pts, pts, Bytes::from_static(&[0xD5; 320])), &mut pack);
        payloads.extend(Packetiser::default().packetise(pack.freeze()).map(|payload| (payload, pts as u32)));
    }
    // In life each packet lies in a buffer of its own.
    for (payload, _) in &mut payloads {
        payload.bytes = Bytes::copy_from_slice(&payload.bytes);
    }
    payloads
}

/// Returns how many access units came out.
fn demux(demuxer: &mut Demuxer, stream: &[(Payload, u32)]) -> usize {
    let mut units = 0;
    for (Payload { marker, bytes }, timestamp) in stream {
        demuxer.push(bytes, *timestamp, *marker, false);
        while let Some(event) = demuxer.poll() {
            assert!(matches!(black_box(event), Event::Unit(_)), "the stream is good");
            units += 1;
        }
    }
    units
}

fn main() {
    println!("ps_demux: program stream in packets of {MAX_PAYLOAD} bytes, CPU time of one core");
    for kilobits in [2_000, 8_000] {
        let stream = stream(kilobits);
        let bytes: usize = stream.iter().map(|(payload, _)| payload.bytes.len()).sum();
        let mut units = 0;
        let mut pieces = Vec::with_capacity(4 << 20);
        let [demuxed, copied] = medians([&mut || units = demux(&mut Demuxer::new(), &stream), &mut || {
            for (payload, _) in &stream {
                pieces.extend_from_slice(&payload.bytes);
                if payload.marker {
                    black_box(&pieces);
                    pieces.clear();
                }
            }
        }]);
        // As the bench goes over the same stream again its time jumps back: hence a demultiplexer of its own, warm.
        let mut demuxer = Demuxer::new();
        let (warm, rest) = stream.split_at(stream.len() / 2);
        let warm_units = demux(&mut demuxer, warm);
        let mut rest_units = 0;
        let (count, size) = allocations(ALLOCATOR, || rest_units = demux(&mut demuxer, rest));
        let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e9;
        println!(
            " {} Mbit/s H.264 + G.711A, {} packets, {units} access units",
            kilobits / 1_000,
            stream.len()
        );
        figure("PS demux", rate(demuxed), "GB/s");
        figure("peer: memcpy of the same pieces", rate(copied), "GB/s");
        figure("ratio, PS demux : memcpy", demuxed.as_secs_f64() / copied.as_secs_f64(), "x the time");
        let seconds = (SIZE * 8) as f64 / (kilobits * 1_000) as f64;
        figure("CPU for one stream", demuxed.as_secs_f64() * 1e3 / seconds, "ms/s");
        figure("allocations for each packet", count / rest.len() as f64, "");
        figure("allocations for each access unit", count / rest_units as f64, "");
        figure("bytes allocated for each byte of stream", size * 2.0 / bytes as f64, "");
        assert!(warm_units + rest_units >= units - 1);
    }
}
