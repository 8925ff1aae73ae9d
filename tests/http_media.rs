//! Streams for players that speak plain HTTP, judged by ffprobe and ffmpeg: FLV, live and of playbacks, and HLS.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, CHANNEL, DOMAIN, Fleet, Gateway, PASSWORD, PLATFORM};
use support::{Leashed, probe, until};

/// Where the channel is as FLV and as HLS.
fn flv() -> String {
    format!("/live/{CAMERA}/{CHANNEL}.flv")
}

fn hls(query: &str) -> String {
    format!("/live/{CAMERA}/{CHANNEL}/index.m3u8{query}")
}

/// Takes so much of an FLV stream as comes in this time.
async fn fetched(gateway: &Gateway, path: &str, time: Duration) -> Vec<u8> {
    gateway.fetch(path, "video/x-flv", time).await
}

/// A tag of FLV.
struct Tag<'a> {
    kind: u8,
    /// Milliseconds.
    time: u32,
    body: &'a [u8],
    /// Where it ends in the stream.
    end: usize,
}

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;

/// The tags that came whole; each has to repeat its length.
fn tags(bytes: &[u8]) -> Vec<Tag<'_>> {
    assert_eq!(&bytes[..4], b"FLV\x01");
    let (mut tags, mut at) = (Vec::new(), 13);
    while let Some(head) = bytes.get(at..at + 11) {
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let time = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        let Some(body) = bytes.get(at + 11..at + 11 + size) else { break };
        let Some(length) = bytes.get(at + 11 + size..at + 15 + size) else { break };
        assert_eq!(length, (11 + size as u32).to_be_bytes());
        at += 15 + size;
        tags.push(Tag { kind: head[0], time, body, end: at });
    }
    tags
}

/// The whole tags as a file.
fn kept(bytes: &[u8], file: PathBuf) -> PathBuf {
    let end = tags(bytes).last().unwrap().end;
    std::fs::write(&file, &bytes[..end]).unwrap();
    file
}

async fn no_streams(gateway: &Gateway) {
    until("the end of the stream", async || {
        let streams = gateway.streams().await;
        if streams.is_empty() { Ok(()) } else { Err(format!("{streams:?}")) }
    })
    .await;
}

/// Waits until so many are counted who watch by a protocol.
async fn viewers(gateway: &Gateway, protocol: &str, count: f64) {
    until(&format!("{count} viewers of {protocol}"), async || {
        let seen = gateway.metric("gbgate_viewers", &format!("protocol=\"{protocol}\"")).await;
        if seen == count { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn h264_and_g711_play_as_flv() {
    let gateway = Gateway::start(&[("media.no_reader_timeout", "1s")]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let (path, time) = (flv(), Duration::from_secs(4));
    let silent = format!("{path}?audio=false");
    let ((all, plain), ()) = tokio::join!(
        async { tokio::join!(fetched(&gateway, &path, time), fetched(&gateway, &silent, time)) },
        viewers(&gateway, "flv", 2.0),
    );
    assert_eq!((all[4], plain[4]), (5, 1), "players wait for what the header announces");
    let data = tempfile::tempdir().unwrap();
    let (all, plain) = (kept(&all, data.path().join("all.flv")), kept(&plain, data.path().join("plain.flv")));
    for file in [&all, &plain] {
        let found = probe::probe(file);
        let video = probe::stream(&found, "video");
        assert_eq!(
            [&video["codec_name"], &video["width"], &video["height"]],
            [&json!("h264"), &json!(640), &json!(360)]
        );
        let start: f64 = found["format"]["start_time"].as_str().unwrap().parse().unwrap();
        assert!((0.0..0.2).contains(&start), "{found}");
        let frames = probe::decode(file);
        assert!(frames >= 50, "{frames} pictures in {time:?}: {found}");
    }
    let found = probe::probe(&all);
    let sound = probe::stream(&found, "audio");
    assert_eq!([&sound["codec_name"], &sound["sample_rate"]], [&json!("pcm_alaw"), &json!("8000")]);
    assert_eq!(probe::probe(&plain)["streams"].as_array().unwrap().len(), 1);
    // Both were readers of one stream, and have left it.
    viewers(&gateway, "flv", 0.0).await;
    no_streams(&gateway).await;
    assert_eq!(gateway.metric("gbgate_sip_messages_total", "direction=\"out\",method=\"INVITE\"").await, 1.0);
    drop(fleet);
}

#[tokio::test]
async fn pictures_in_flv_keep_their_distances() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let bytes = fetched(&gateway, &flv(), Duration::from_secs(3)).await;
    let tags = tags(&bytes);
    assert_eq!((tags[0].kind, tags[1].kind), (SCRIPT, VIDEO));
    assert!(tags[0].body.windows(10).any(|name| name == b"onMetaData"));
    assert_eq!(tags[1].body[..2], [0x17, 0], "how to decode comes first");
    let times: Vec<u32> =
        tags.iter().filter(|tag| tag.kind == VIDEO && tag.body[1] == 1).map(|tag| tag.time).collect();
    assert_eq!(times[0], 0);
    // 25 pictures a second.
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 40), "{times:?}");
    assert!(tags.iter().filter(|tag| tag.kind == AUDIO).all(|tag| tag.body[0] == 0x72));
    drop(fleet);
}

/// Enhanced RTMP: newer than the ffmpeg of most machines, so that the pictures are taken out here.
#[tokio::test]
async fn h265_goes_as_enhanced_flv() {
    let gateway = Gateway::start(&[]).await;
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pattern.h265");
    let fleet = Fleet { clip: Some(clip), ..Fleet::default() }.start(&gateway).await;
    let bytes = fetched(&gateway, &flv(), Duration::from_secs(4)).await;
    let mut pictures = 0;
    let mut stream = Vec::new();
    for tag in tags(&bytes).iter().filter(|tag| tag.kind == VIDEO) {
        assert_eq!((tag.body[0] & 0x80, &tag.body[1..5]), (0x80, b"hvc1".as_slice()));
        match tag.body[0] & 0xF {
            0 => parameter_sets(&tag.body[5..], &mut stream),
            1 => {
                pictures += 1;
                let mut rest = &tag.body[8..];
                while !rest.is_empty() {
                    let (length, more) = rest.split_at(4);
                    let (unit, more) = more.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
                    stream.extend([&[0, 0, 0, 1], unit].concat());
                    rest = more;
                }
            }
            other => panic!("packet type {other}"),
        }
    }
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("pictures.hevc");
    std::fs::write(&file, stream).unwrap();
    assert!(pictures >= 50, "{pictures}");
    assert_eq!(probe::decode(&file), pictures);
    drop(fleet);
}

/// What an HEVCDecoderConfigurationRecord has, as a byte stream (ISO/IEC 14496-15, 8.3.3.1).
fn parameter_sets(record: &[u8], stream: &mut Vec<u8>) {
    let mut rest = &record[23..];
    for _ in 0..record[22] {
        let count = u16::from_be_bytes([rest[1], rest[2]]);
        rest = &rest[3..];
        for _ in 0..count {
            let (set, more) = rest[2..].split_at(usize::from(u16::from_be_bytes([rest[0], rest[1]])));
            stream.extend([&[0, 0, 0, 1], set].concat());
            rest = more;
        }
    }
}

#[tokio::test]
async fn a_playback_plays_as_flv_to_its_end() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let (start, end) = ("2026-05-01T08:00:00+08:00", "2026-05-01T08:00:05+08:00");
    let wish = json!({ "device": CAMERA, "channel": CHANNEL, "start": start, "end": end });
    let report = gateway.tell(Method::POST, "/api/v1/playbacks", &wish).await.json();
    let bytes = fetched(&gateway, report["flv"].as_str().unwrap(), support::PATIENCE).await;
    assert_eq!(tags(&bytes).last().unwrap().end, bytes.len(), "it ends by itself, with a whole tag");
    let data = tempfile::tempdir().unwrap();
    let file = kept(&bytes, data.path().join("recorded.flv"));
    let frames = probe::decode(&file);
    assert!((115..=125).contains(&frames), "{frames} pictures of 125");
    drop(fleet);
}

/// The lines of a playlist that name files.
fn names(list: &str) -> Vec<&str> {
    list.lines().filter(|line| !line.starts_with('#')).collect()
}

fn tag<'a>(list: &'a str, name: &str) -> &'a str {
    let found = list.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[tokio::test]
async fn hls_plays_and_is_shared() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let (path, again) = (hls(""), hls(""));
    let ask = async |path: &str| gateway.ask(Method::GET, path).await;
    let (first, second) = tokio::join!(ask(&path), ask(&again));
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200), "{}", first.text);
    assert_eq!(first.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(first.header("cache-control"), "no-store");
    let map = |list: &str| tag(list, "#EXT-X-MAP").to_owned();
    assert_eq!(map(&first.text), map(&second.text), "both are shown the same");
    assert!(first.text.contains("\n#EXT-X-INDEPENDENT-SEGMENTS\n"), "{}", first.text);
    // The simulated camera has a key frame each second.
    assert_eq!(tag(&first.text, "#EXT-X-TARGETDURATION"), "2");
    let later = until("a playlist of three segments", async || {
        let list = ask(&path).await.text;
        if names(&list).len() >= 3 { Ok(list) } else { Err(list) }
    })
    .await;
    assert!(later.contains("#EXTINF:2.000,"), "{later}");
    let segment = ask(&format!("/live/{CAMERA}/{CHANNEL}/{}", names(&later)[0])).await;
    assert_eq!((segment.status.as_u16(), segment.header("content-type")), (200, "video/mp4"));
    let frames = played(&format!("{}{}", gateway.console().trim_end_matches('/'), path)).await;
    assert!(frames >= 100, "{frames} pictures");
    // All of them come from one address and without a name.
    viewers(&gateway, "hls", 1.0).await;
    assert_eq!(gateway.metric("gbgate_sip_messages_total", "direction=\"out\",method=\"INVITE\"").await, 1.0);
    assert_eq!(gateway.streams().await[0]["readers"], 1, "one muxer is one reader");
    drop(fleet);
}

/// Pictures that ffprobe decodes in four seconds of HLS; it may not complain of anything.
async fn played(url: &str) -> u64 {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "warning", "-of", "json", "-count_frames", "-show_streams"]);
    command.args(["-select_streams", "v:0", "-read_intervals", "%+#110", url]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.trim().is_empty(), "{errors}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    found["streams"][0]["nb_read_frames"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_token_of_a_playlist_opens_what_it_names() {
    // Where the gateway listens is told to nobody who has not signed in, so that its port is picked here.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = port.to_string();
    let settings = [("access.bootstrap_admin_password", "correct horse"), ("sip.udp", port.as_str())];
    let gateway = Gateway::start(&settings).await;
    let mut camera = Command::new(env!("CARGO_BIN_EXE_gbgate"));
    camera.args(["simulate", "--server-id", PLATFORM, "--domain", DOMAIN, "--password", PASSWORD]);
    camera.args(["--server", &port, "--first-id", CAMERA, "--first-channel", CHANNEL]);
    let camera = Leashed::start(&camera);

    let login = json!({ "username": "admin", "password": "correct horse" });
    let session = gateway.tell(Method::POST, "/api/v1/login", &login).await.json();
    let token = session["token"].as_str().unwrap();
    let ask = async |path: &str| gateway.ask(Method::GET, path).await;
    ask(&hls("")).await.is_problem(401, "sign_in_required", "sign_in");
    let list = until("a playlist", async || {
        let answer = ask(&hls(&format!("?stream=main&token={token}"))).await;
        if answer.status.as_u16() == 200 { Ok(answer.text) } else { Err(answer.text) }
    })
    .await;
    let map = tag(&list, "#EXT-X-MAP").trim_start_matches("URI=\"").trim_end_matches('"');
    for name in names(&list).into_iter().chain([map]) {
        let bare = name.strip_suffix(&format!("?stream=main&token={token}")).unwrap();
        let path = |name: &str| format!("/live/{CAMERA}/{CHANNEL}/{name}");
        assert_eq!(ask(&path(name)).await.status.as_u16(), 200, "{name}");
        ask(&path(bare)).await.is_problem(401, "sign_in_required", "sign_in");
    }
    drop(camera);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let ask = async |path: &str| gateway.ask(Method::GET, path).await;
    let channel = format!("/live/{CAMERA}/{CHANNEL}");
    ask(&format!("{channel}.f4v")).await.is_problem(404, "not_found", "lookup");
    ask(&format!("{channel}/1.m4s")).await.is_problem(404, "not_found", "lookup");
    ask(&format!("{channel}/other.m3u8")).await.is_problem(404, "not_found", "lookup");
    ask("/live/playbacks/123.flv").await.is_problem(404, "not_found", "lookup");
    ask(&format!("{channel}.flv?stream=tenth")).await.is_problem(400, "bad_stream", "request");
    ask(&hls("?audio=loud")).await.is_problem(422, "bad_value", "request");
    ask(&format!("/live/{CAMERA}/34020000001310000099/index.m3u8")).await.is_problem(
        404,
        "not_found",
        "lookup",
    );
    assert!(gateway.streams().await.is_empty());
    drop(fleet);
}
