//! Recordings on their way to a file: sent by simulated recorders, written by the real binary, judged by ffprobe and
//! ffmpeg.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::film::Film;
use support::gateway::{Answer, CAMERA, CHANNEL, Fleet, Gateway};
use support::sip::Device;
use support::{probe, until};
use tokio::net::UdpSocket;

/// Twenty seconds, which are 500 pictures, and an hour.
const SPAN: (&str, &str) = ("2026-05-01T08:00:00+08:00", "2026-05-01T08:00:20+08:00");
const HOUR: (&str, &str) = ("2026-05-01T08:00:00+08:00", "2026-05-01T09:00:00+08:00");

/// Begins a download.
async fn begin(gateway: &Gateway, (start, end): (&str, &str), speed: u8) -> Value {
    let wish = json!({ "device": CAMERA, "channel": CHANNEL, "start": start, "end": end, "speed": speed });
    let answer = gateway.tell(Method::POST, "/api/v1/downloads", &wish).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
    let report = answer.json();
    assert_eq!(answer.header("location"), path(&report));
    report
}

fn path(report: &Value) -> String {
    format!("/api/v1/downloads/{}", report["id"].as_str().unwrap())
}

/// Waits until a download is in this state; gives it, and all that was seen of it before.
async fn becomes(gateway: &Gateway, report: &Value, state: &str) -> (Value, Vec<Value>) {
    let mut seen: Vec<Value> = Vec::new();
    until(&format!("a download that is {state}"), async || {
        let now = gateway.get(&path(report)).await;
        seen.push(now.clone());
        if now["state"] == state { Ok((now, seen.clone())) } else { Err(now.to_string()) }
    })
    .await
}

async fn file(gateway: &Gateway, report: &Value, range: Option<&str>) -> (Answer, Vec<u8>) {
    let mut request = gateway.request(Method::GET, &format!("{}/file", path(report)));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await.unwrap().to_vec();
    (Answer { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }, bytes)
}

/// Asserts that it is a file of so many seconds of H.264 with its sound, and that it decodes without a word.
fn valid(path: &Path, seconds: f64) {
    let found = probe::probe(path);
    let video = probe::stream(&found, "video");
    assert_eq!(
        (&video["codec_name"], &video["width"], &video["height"]),
        (&json!("h264"), &json!(640), &json!(360))
    );
    let duration: f64 = found["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((duration - seconds).abs() <= 0.03 * seconds, "{duration} s and not {seconds} s: {found}");
    let audio = probe::stream(&found, "audio");
    let heard: f64 = audio["duration"].as_str().unwrap().parse().unwrap();
    assert_eq!(audio["codec_name"], "pcm_alaw");
    assert!((heard - seconds).abs() <= 0.03 * seconds, "{heard} s of sound and not {seconds} s: {found}");
    let frames = probe::decode(path);
    assert!(
        (frames as f64 - seconds * 25.0).abs() <= 0.03 * seconds * 25.0,
        "{frames} pictures for {seconds} s"
    );
}

/// Whether anything of a download lies in the gateway's directory.
fn left_over(data: &Path, report: &Value) -> bool {
    let id = report["id"].as_str().unwrap().to_owned();
    let files = std::fs::read_dir(data.join("files")).map(|files| files.flatten().collect::<Vec<_>>());
    files.unwrap_or_default().iter().any(|file| file.file_name().to_string_lossy().starts_with(&id))
}

#[tokio::test]
async fn a_recording_comes_whole_and_stays_over_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start_in(data.path(), &[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let report = begin(&gateway, SPAN, 8).await;
    assert_eq!(
        (&report["state"], &report["progress"], &report["bytes"]),
        (&json!("waiting"), &json!(0.0), &json!(0))
    );
    assert_eq!(report["file_name"], format!("{CHANNEL}_20260501-080000_20260501-080020.mp4"));
    // Not yet.
    let (early, _) = file(&gateway, &report, None).await;
    early.is_problem(409, "not_finished", "download");

    let (done, seen) = becomes(&gateway, &report, "finished").await;
    let progress: Vec<f64> = seen.iter().map(|report| report["progress"].as_f64().unwrap()).collect();
    assert!(
        progress.is_sorted() && progress.iter().filter(|part| (0.05..0.95).contains(*part)).count() >= 3,
        "{progress:?}"
    );
    let running =
        seen.iter().filter(|report| report["state"] == "running" && report["bytes"].as_u64() > Some(0));
    assert!(
        running.clone().count() > 0
            && running.clone().all(|report| report["bytes_per_second"].as_u64() > Some(10_000))
    );
    assert_eq!((&done["progress"], &done["error"]), (&json!(1.0), &Value::Null));

    let (answer, bytes) = file(&gateway, &report, None).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "video/mp4");
    assert_eq!(answer.header("content-length"), bytes.len().to_string());
    assert_eq!(done["bytes"], bytes.len());
    let name = report["file_name"].as_str().unwrap();
    assert_eq!(answer.header("content-disposition"), format!("attachment; filename=\"{name}\""));
    let kept = data.path().join("kept.mp4");
    std::fs::write(&kept, &bytes).unwrap();
    valid(&kept, 20.0);
    ranges(&gateway, &report, &bytes).await;

    // The next run knows it.
    assert_eq!(gateway.terminate().await, 0);
    drop((gateway, fleet));
    let gateway = Gateway::start_in(data.path(), &[]).await;
    assert_eq!(gateway.get(&path(&report)).await, done);
    assert_eq!(gateway.get("/api/v1/downloads").await["total"], 1);
    assert!(file(&gateway, &report, None).await.1 == bytes, "the file is another one");
    assert_eq!(gateway.ask(Method::DELETE, &path(&report)).await.status.as_u16(), 204);
    gateway.ask(Method::DELETE, &path(&report)).await.is_problem(404, "not_found", "lookup");
    file(&gateway, &report, None).await.0.is_problem(404, "not_found", "lookup");
    assert!(!left_over(data.path(), &report));
}

/// Parts of the file, as players ask for them (RFC 9110 section 14).
async fn ranges(gateway: &Gateway, report: &Value, bytes: &[u8]) {
    let size = bytes.len();
    for (range, from, to) in [
        ("bytes=0-99".to_owned(), 0, 100),
        ("bytes=1000-".to_owned(), 1000, size),
        ("bytes=-500".to_owned(), size - 500, size),
        (format!("bytes=100-{}", size * 2), 100, size),
    ] {
        let (answer, part) = file(gateway, report, Some(&range)).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/{size}", to - 1));
        assert!(part == bytes[from..to], "{range}: {} bytes that are not those", part.len());
    }
    let (answer, _) = file(gateway, report, Some(&format!("bytes={size}-"))).await;
    answer.is_problem(416, "bad_range", "request");
    assert_eq!(answer.header("content-range"), format!("bytes */{size}"));
    let (answer, whole) = file(gateway, report, Some("pages=1-2")).await;
    assert!(answer.status == StatusCode::OK && whole == bytes, "another unit is passed over");
}

#[tokio::test]
async fn downloads_come_by_each_transport_and_beside_each_other() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[("media.no_rtp_timeout", "2s")]).await;
    let fleet = Fleet { transport: "tcp", quirks: "end-outside", ..Fleet::default() }.start(&gateway).await;
    let mut reports = Vec::new();
    for transport in ["tcp-passive", "tcp-active", "udp"] {
        let device = format!("/api/v1/devices/{CAMERA}");
        let edited = gateway.tell(Method::PATCH, &device, &json!({ "media_transport": transport })).await;
        assert_eq!(edited.json()["media_transport"], transport, "{}", edited.text);
        let report = begin(&gateway, SPAN, 16).await;
        // The next one shall not change how this one comes.
        until("the stream", async || {
            let streams = gateway.streams().await;
            let found = streams.iter().find(|stream| stream["transport"] == transport);
            found.map(|stream| assert_eq!(stream["kind"], "download")).ok_or_else(|| format!("{streams:?}"))
        })
        .await;
        reports.push(report);
    }
    for report in &reports {
        becomes(&gateway, report, "finished").await;
        let path = data.path().join("files").join(format!("{}.mp4", report["id"].as_str().unwrap()));
        valid(&path, 20.0);
    }
    assert!(gateway.streams().await.is_empty());
    drop(fleet);
}

#[tokio::test]
async fn a_download_that_breaks_off_says_why() {
    let gateway = Gateway::start(&[("media.no_rtp_timeout", "1s")]).await;
    // The device hangs up after three seconds; it falls silent; it is gone.
    for (quirks, code) in [("bye-after", "stream_ended"), ("stall", "stream_ended"), ("", "stream_ended")] {
        let fleet = Fleet { quirks, ..Fleet::default() }.start(&gateway).await;
        gateway.device_online(CAMERA, true).await;
        let report = begin(&gateway, HOUR, 4).await;
        until("some of it", async || {
            let now = gateway.get(&path(&report)).await;
            if now["bytes"].as_u64() > Some(0) { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        if quirks.is_empty() {
            fleet.signal("KILL");
        }
        let (failed, _) = becomes(&gateway, &report, "failed").await;
        assert_eq!(failed["error"]["code"], code, "{quirks}: {failed}");
        assert!(failed["error"]["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{failed}");
        assert!(failed["progress"].as_f64() < Some(0.1), "{failed}");
        assert!(gateway.streams().await.is_empty());
        drop(fleet);
        gateway.ask(Method::DELETE, &path(&report)).await;
    }
}

#[tokio::test]
async fn a_download_that_never_begins_says_why() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[("media.play_timeout", "1s")]).await;
    for (quirks, code) in [("invite-busy", "invite_refused"), ("no-media", "no_rtp")] {
        let fleet = Fleet { quirks, ..Fleet::default() }.start(&gateway).await;
        gateway.device_online(CAMERA, true).await;
        let report = begin(&gateway, SPAN, 4).await;
        let (failed, _) = becomes(&gateway, &report, "failed").await;
        assert_eq!((&failed["error"]["code"], &failed["bytes"]), (&json!(code), &json!(0)), "{failed}");
        file(&gateway, &report, None).await.0.is_problem(409, "not_finished", "download");
        drop(fleet);
        gateway.device_online(CAMERA, false).await;
    }
    let wish =
        json!({ "device": "34020000001320000099", "channel": CHANNEL, "start": SPAN.0, "end": SPAN.1 });
    gateway.tell(Method::POST, "/api/v1/downloads", &wish).await.is_problem(404, "not_found", "lookup");
    let wish = json!({ "device": CAMERA, "channel": CHANNEL, "start": SPAN.1, "end": SPAN.0 });
    gateway.tell(Method::POST, "/api/v1/downloads", &wish).await.is_problem(422, "bad_value", "request");
    // The device is away.
    let report = begin(&gateway, SPAN, 4).await;
    let (failed, _) = becomes(&gateway, &report, "failed").await;
    assert_eq!(failed["error"]["code"], "device_offline", "{failed}");
}

/// The words on the wire, and DELETE of what runs.
#[tokio::test]
async fn a_download_is_asked_for_as_the_standard_has_it_and_ended_by_bye() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = Device::registered(&gateway, CAMERA).await;
    let query = device.asked_for("Catalog").await;
    device.page(&query, 1, &[(CHANNEL, "one")]).await;
    gateway.device(CAMERA, "with a channel", |device| device["channel_count"] == 1).await;
    let report = begin(&gateway, HOUR, 4).await;
    let invite = device.invited().await;
    let line = |start: &str| invite.sdp(start);
    assert_eq!(
        [line("s="), line("u=")],
        ["Download".to_owned(), format!("{CHANNEL}:0")],
        "{}",
        invite.text()
    );
    assert_eq!((line("t="), line("a=downloadspeed:")), ("1777593600 1777597200".to_owned(), "4".to_owned()));
    assert!(line("y=").starts_with('1'), "{}", invite.text());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    device.take_call(&invite, socket.local_addr().unwrap()).await;
    let port: u16 = invite.sdp("m=video ").split(' ').next().unwrap().parse().unwrap();
    let film = Film::start(socket, ([127, 0, 0, 1], port).into(), line("y=").parse().unwrap());
    becomes(&gateway, &report, "running").await;
    until("some of it", async || {
        let now = gateway.get(&path(&report)).await;
        if now["bytes"].as_u64() > Some(0) { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let place = path(&report);
    let (removed, bye) = tokio::join!(gateway.ask(Method::DELETE, &place), device.asked_for("BYE"));
    assert_eq!(removed.status.as_u16(), 204);
    assert_eq!(bye.header("call-id"), invite.header("call-id"));
    gateway.ask(Method::GET, &path(&report)).await.is_problem(404, "not_found", "lookup");
    until(
        "nothing of it",
        async || if left_over(data.path(), &report) { Err("files".to_owned()) } else { Ok(()) },
    )
    .await;
    drop(film);
}

/// What runs when the gateway ends, by SIGTERM or by a power failure, is over when it comes back.
#[tokio::test]
async fn a_download_does_not_survive_the_end_of_the_gateway() {
    for killed in [false, true] {
        let data = tempfile::tempdir().unwrap();
        let mut gateway = Gateway::start_in(data.path(), &[]).await;
        let fleet = Fleet::default().start(&gateway).await;
        let report = begin(&gateway, HOUR, 4).await;
        until("some of it", async || {
            let now = gateway.get(&path(&report)).await;
            if now["bytes"].as_u64() > Some(0) { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        assert!(left_over(data.path(), &report));
        if killed {
            gateway.kill().await;
        } else {
            assert_eq!(gateway.terminate().await, 0);
        }
        drop(fleet);
        gateway = Gateway::start_in(data.path(), &[]).await;
        let found = gateway.ask(Method::GET, &path(&report)).await;
        if killed {
            found.is_problem(404, "not_found", "lookup");
        } else {
            let found = found.json();
            assert_eq!(
                (&found["state"], &found["error"]["code"]),
                (&json!("failed"), &json!("stream_stopped"))
            );
            assert_eq!(gateway.ask(Method::DELETE, &path(&report)).await.status.as_u16(), 204);
        }
        assert!(!left_over(data.path(), &report), "killed {killed}: files without a download");
    }
}
