//! One stream to many WebRTC viewers, by the road that they take in life: access units are packetised once, each viewer's
//! task numbers and encrypts its packets and hands them to the system. The viewers here are clients over loopback, with
//! ICE and DTLS, which count what they get. What is told is the CPU time of the gateway's only thread.
//!
//! For orientation: ZLMediaKit takes 11 us for each RTP packet of a WebRTC viewer on a two-core machine.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark looks at the clock and tells"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]

#[path = "support/player.rs"]
mod player;
mod support;

use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use gbgate::egress::webrtc::{Answer, Config, Hub, MAX_PAYLOAD, Publisher, Tracks};
use gbgate::media::codec::START_CODE;
use gbgate::media::unit::{AccessUnit, Codec};
use player::{Counts, Player};
use rtc::crypto::default_provider;
use rtc::rtp::Header;
use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;
use support::{figure, medians, micros, of_thread};
use tokio::runtime::{Builder, Runtime};

/// 1080p25 with a key frame every two seconds.
const KILOBITS: usize = 2_000;
const FRAMES: i64 = 25;
/// Seconds that are measured, in real time, after one that is not.
const SECONDS: i64 = 6;

fn picture(index: i64) -> AccessUnit {
    let size = KILOBITS * 1_000 / 8 / FRAMES as usize;
    let (header, size) = if index % 50 == 0 { (0x65, size * 8) } else { (0x41, size * 42 / 49) };
    let mut bytes = BytesMut::from(&START_CODE[..]);
    bytes.extend_from_slice(&[header]);
    bytes.resize(size, 0x5A);
    let pts = index * 90_000 / FRAMES;
    AccessUnit::new(Codec::H264, pts, pts, bytes.freeze())
}

/// A runtime with one worker, and where the system tells its CPU time.
fn gateway() -> (Runtime, String) {
    let thread = Arc::new(OnceLock::new());
    let name = Arc::clone(&thread);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(move || {
            // Threads for blocking work come later, if at all.
            let _ = name.set(std::fs::read_link("/proc/thread-self").expect("Linux names the thread"));
        })
        .build()
        .unwrap();
    runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
    let path = format!("/proc/{}/schedstat", thread.get().unwrap().display());
    (runtime, path)
}

/// Starts a thread in which each player plays.
fn play(players: Vec<(Player, Answer)>, server: SocketAddr, counts: &Arc<Counts>) {
    let counts = Arc::clone(counts);
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let players = players.into_iter();
        let players = players.map(|(player, answer)| player.play(server, answer.sdp, Arc::clone(&counts)));
        runtime.block_on(futures_util::future::join_all(players));
    });
}

async fn push(mut publisher: Publisher, pictures: Range<i64>) -> Publisher {
    let mut tick = tokio::time::interval(Duration::from_millis(1_000 / FRAMES as u64));
    for index in pictures {
        tick.tick().await;
        publisher.push(&picture(index));
    }
    tick.tick().await;
    publisher
}

/// Returns the CPU time of the gateway's thread, and the packets that came out at the other end.
fn fan_out(viewers: usize) -> (Duration, u64) {
    let (gateway, schedstat) = gateway();
    let cpu = || of_thread(&schedstat).expect("Linux tells the CPU time of a thread");
    let config = Config { udp: Some(([127, 0, 0, 1], 0).into()), ..Config::default() };
    let hub = gateway.block_on(Hub::bind(config)).unwrap();
    let publisher = Publisher::new();
    let tracks = Tracks { video: Some(Codec::H264), audio: None };
    let inside = gateway.enter();
    let players = (0..viewers).map(|_| {
        let player = Player::new();
        let answer = hub.offer(&player.offer(), tracks, publisher.feed()).unwrap();
        (player, answer)
    });
    let counts = Arc::new(Counts::default());
    play(players.collect(), hub.udp_addr().unwrap(), &counts);
    for _ in 0..600 {
        if counts.connected.load(Ordering::Relaxed) == viewers {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(counts.connected.load(Ordering::Relaxed), viewers, "all connect");
    drop(inside);
    let run = |publisher, pictures| gateway.block_on(gateway.spawn(push(publisher, pictures))).unwrap();
    let publisher = run(publisher, 0..2 * FRAMES);
    let (before, begin) = (counts.packets.load(Ordering::Relaxed), cpu());
    let _publisher = run(publisher, 2 * FRAMES..(SECONDS + 2) * FRAMES);
    let used = cpu() - begin;
    let packets = counts.packets.load(Ordering::Relaxed) - before;
    (used, packets)
}

/// Packets that a viewer gets in the measured time.
fn expected() -> u64 {
    let pictures = (2 * FRAMES..(SECONDS + 2) * FRAMES).map(picture);
    // One byte of each picture's NAL unit is in the FU headers, two of which are in each payload.
    pictures.map(|unit| (unit.payload.len() - START_CODE.len() - 1).div_ceil(MAX_PAYLOAD - 2) as u64).sum()
}

/// The CPU time of the work that nobody can do without, for one packet: cipher, memcpy, a system call.
fn limits() -> [Duration; 3] {
    const TIMES: u16 = 1_000;
    let provider = default_provider().unwrap();
    let profile = ProtectionProfile::AeadAes128Gcm;
    let mut context = Context::new(&[1; 16], &[2; 12], profile, None, None, provider.crypto()).unwrap();
    let packet = vec![0x80; 12 + MAX_PAYLOAD];
    let mut sequence = 0u16;
    let mut copy = Vec::with_capacity(usize::from(TIMES) * packet.len());
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(sink.local_addr().unwrap()).unwrap();
    let times = medians([
        &mut || {
            for _ in 0..TIMES {
                sequence = sequence.wrapping_add(1);
                let header = Header { version: 2, sequence_number: sequence, ssrc: 7, ..Header::default() };
                black_box(context.encrypt_rtp_with_header(&packet, &header).unwrap());
            }
        },
        &mut || {
            copy.clear();
            for _ in 0..TIMES {
                copy.extend_from_slice(black_box(&packet));
            }
            black_box(&copy);
        },
        &mut || {
            for _ in 0..TIMES {
                black_box(socket.send(&packet).unwrap());
            }
        },
    ]);
    times.map(|time| time / u32::from(TIMES))
}

fn main() {
    println!(
        "fan_out: {KILOBITS} kbit/s of H.264 to WebRTC viewers over loopback, CPU time of the gateway's thread"
    );
    let [cipher, copied, sent] = limits().map(micros);
    figure("limit: SRTP of one packet alone (AES-128-GCM)", cipher, "us");
    figure("limit: memcpy of one packet", copied, "us");
    figure("limit: send(2) of one packet alone, to nobody who reads", sent, "us");
    for viewers in [1, 10, 100, 200] {
        let (cpu, packets) = fan_out(viewers);
        let each = micros(cpu) / packets as f64;
        let lost = (expected() * viewers as u64) as i64 - packets as i64;
        println!(" {viewers} viewers, {packets} packets arrived, {lost} did not");
        figure("for each packet", each, "us");
        figure("for each viewer", cpu.as_secs_f64() * 1e3 / SECONDS as f64 / viewers as f64, "ms/s");
        figure("ratio to the cipher alone", each / cipher, "x the time");
        figure("ratio to cipher and send(2)", each / (cipher + sent), "x the time");
        figure("ratio to memcpy", each / copied, "x the time");
    }
}
