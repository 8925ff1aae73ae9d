//! Recordings: found, played, steered and watched; simulated recorders send, and where the words on the wire matter, a
//! device that the test plays itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use support::film::Film;
use support::gateway::{Answer, CAMERA, CHANNEL, Fleet, Gateway, PLATFORM};
use support::happenings::Happenings;
use support::peer::{Peer, Picture};
use support::sip::{Device, Sip};
use support::until;
use tokio::net::UdpSocket;
use tokio::time::sleep;

/// An hour of a day long gone, and the same in seconds since 1970.
const HOUR: (&str, &str) = ("2026-05-01T08:00:00.000+08:00", "2026-05-01T09:00:00.000+08:00");
const SECONDS: (u64, u64) = (1_777_593_600, 1_777_597_200);
/// Every speed of the standard, and backwards.
const SPEEDS: [f64; 6] = [0.25, 0.5, 1.0, 2.0, 4.0, -1.0];
/// Ticks of video a second.
const CLOCK: f64 = 90_000.0;

async fn records(gateway: &Gateway, device: &str, channel: &str, (start, end): (&str, &str)) -> Answer {
    let path = format!("/api/v1/devices/{device}/channels/{channel}/records");
    support::gateway::answer(gateway.request(Method::GET, &path).query(&[("start", start), ("end", end)]))
        .await
}

/// Begins to play a recording; what the gateway says to it.
async fn try_play(gateway: &Gateway, (start, end): (&str, &str)) -> Answer {
    let wish = json!({ "device": CAMERA, "channel": CHANNEL, "start": start, "end": end });
    gateway.tell(Method::POST, "/api/v1/playbacks", &wish).await
}

/// A playback that runs.
async fn play(gateway: &Gateway, span: (&str, &str)) -> Value {
    let answer = try_play(gateway, span).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
    let report = answer.json();
    assert_eq!(answer.header("location"), path(&report), "{report}");
    report
}

fn path(report: &Value) -> String {
    format!("/api/v1/playbacks/{}", report["id"].as_str().unwrap())
}

async fn watch(gateway: &Gateway, report: &Value) -> Peer {
    Peer::watch(gateway, report["whep"].as_str().unwrap()).await
}

/// A command to a playback that has to be obeyed; gives the playback as it is then.
async fn steer(gateway: &Gateway, report: &Value, verb: &str, body: Option<Value>) -> Value {
    let answer = try_steer(gateway, report, verb, body).await;
    assert_eq!(answer.status.as_u16(), 200, "{verb}: {}", answer.text);
    answer.json()
}

async fn try_steer(gateway: &Gateway, report: &Value, verb: &str, body: Option<Value>) -> Answer {
    let path = format!("{}/{verb}", path(report));
    match body {
        Some(body) => gateway.tell(Method::POST, &path, &body).await,
        None => gateway.ask(Method::POST, &path).await,
    }
}

async fn gone(gateway: &Gateway, report: &Value) {
    until("the end of the playback", async || {
        let answer = gateway.ask(Method::GET, &path(report)).await;
        if answer.status == 404 { Ok(answer) } else { Err(answer.text) }
    })
    .await
    .is_problem(404, "not_found", "lookup");
}

#[tokio::test]
async fn records_come_whole_across_pages_and_devices() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet { channels: 2, ..Fleet::default() }.start(&gateway).await;
    let (other, camera) = ("34020000001180000007", "34020000001310000071");
    let second = Fleet { first_id: other, first_channel: camera, transport: "tcp", ..Fleet::default() };
    let second = second.start(&gateway).await;
    // 36 hours and a half in pages of four, of three cameras at once, twice: no answer may land with another question.
    let span = ("2026-05-01T00:00:00.000+08:00", "2026-05-02T12:30:00.000+08:00");
    let cameras = [(CAMERA, CHANNEL), (CAMERA, "34020000001310000002"), (other, camera)];
    let questions = cameras.iter().cycle().take(6).map(async |(device, channel)| {
        let answer = records(&gateway, device, channel, span).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        let answer = answer.json();
        assert_eq!((&answer["total"], &answer["complete"]), (&json!(37), &json!(true)), "{answer}");
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items.len(), 37);
        assert!(
            items.iter().all(|item| item["device"] == **device && item["channel"] == **channel),
            "{answer}"
        );
        assert_eq!((&items[0]["start"], &items[36]["end"]), (&json!(span.0), &json!(span.1)));
        assert!(
            items.windows(2).all(|two| two[0]["end"] == two[1]["start"]),
            "in order, without holes: {answer}"
        );
        assert_eq!((&items[3]["kind"], &items[3]["address"]), (&json!("time"), &json!("村口")));
        assert!(items[3]["size"].as_u64() > Some(0) && items[3]["file_path"].as_str().is_some(), "{answer}");
    });
    join_all(questions).await;

    let nothing =
        records(&gateway, CAMERA, CHANNEL, ("2056-05-01T00:00:00Z", "2056-05-02T00:00:00Z")).await.json();
    assert_eq!(nothing, json!({ "items": [], "total": 0, "complete": true }));
    records(&gateway, CAMERA, CHANNEL, (span.1, span.0)).await.is_problem(422, "bad_value", "request");
    records(&gateway, CAMERA, CHANNEL, ("yesterday", span.1)).await.is_problem(422, "bad_value", "request");
    records(&gateway, CAMERA, "34020000001310000099", span).await.is_problem(404, "not_found", "lookup");
    drop((fleet, second));
}

/// A device of the test's own with one channel.
async fn recorder(gateway: &Gateway) -> Device {
    let mut device = Device::registered(gateway, CAMERA).await;
    let query = device.asked_for("Catalog").await;
    device.page(&query, 1, &[(CHANNEL, "one")]).await;
    gateway.device(CAMERA, "with a channel", |device| device["channel_count"] == 1).await;
    device
}

fn record_page(sn: &str, total: usize, items: &[usize]) -> String {
    let list: String = items
        .iter()
        .map(|n| {
            format!(
                "<Item>\r\n<DeviceID>{CHANNEL}</DeviceID>\r\n<Name>one</Name>\r\n<FilePath>/{n}</FilePath>\r\n\
                 <StartTime>2026-05-01T08:{:02}:00</StartTime>\r\n<EndTime>2026-05-01T08:{:02}:59</EndTime>\r\n\
                 <Secrecy>0</Secrecy>\r\n<Type>alarm</Type>\r\n</Item>\r\n",
                n, n
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Response>\r\n<CmdType>RecordInfo</CmdType>\r\n<SN>{sn}</SN>\r\n\
         <DeviceID>{CHANNEL}</DeviceID>\r\n<Name>one</Name>\r\n<SumNum>{total}</SumNum>\r\n\
         <RecordList Num=\"{}\">\r\n{list}</RecordList>\r\n</Response>\r\n",
        items.len()
    )
}

#[tokio::test]
async fn pages_of_records_may_come_in_any_order_and_twice() {
    let gateway = Gateway::start(&[]).await;
    let mut device = recorder(&gateway).await;
    let answers = async {
        let query = device.asked_for("RecordInfo").await;
        assert!(query.start.starts_with(&format!("MESSAGE sip:{CHANNEL}@")), "{query:?}");
        let seen = ["DeviceID", "StartTime", "EndTime", "Type", "Secrecy"].map(|name| query.element(name));
        assert_eq!(
            seen,
            [CHANNEL, "2026-05-01T08:00:00", "2026-05-01T09:00:00", "", "0"],
            "{}",
            query.text()
        );
        let sn = query.element("SN");
        for (pages, total) in [(&[4, 5][..], 6), (&[0, 1][..], 6), (&[0, 1][..], 6), (&[2, 3][..], 6)] {
            assert_eq!(device.message(record_page(&sn, total, pages).as_bytes()).await.code(), 200);
        }
    };
    let (answer, ()) = tokio::join!(records(&gateway, CAMERA, CHANNEL, HOUR), answers);
    let answer = answer.json();
    let paths: Vec<&str> =
        answer["items"].as_array().unwrap().iter().map(|item| item["file_path"].as_str().unwrap()).collect();
    let mut sorted = paths.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["/0", "/1", "/2", "/3", "/4", "/5"], "{paths:?}");
    assert_eq!((&answer["total"], &answer["complete"]), (&json!(6), &json!(true)));
}

/// Takes the call of a playback and begins to send; gives the INVITE, too.
async fn begin(device: &mut Device) -> (Sip, Film) {
    let invite = device.invited().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    device.take_call(&invite, socket.local_addr().unwrap()).await;
    let port = invite.sdp("m=video ").split(' ').next().unwrap().parse().unwrap();
    let to = (invite.sdp("c=IN IP4 ").parse::<std::net::IpAddr>().unwrap(), port).into();
    let film = Film::start(socket, to, invite.sdp("y=").parse().unwrap());
    (invite, film)
}

/// The next INFO that is no repetition of one before, answered so.
async fn informed(device: &mut Device, status: &str, body: &str) -> Sip {
    informed_after(device, 0, status, body).await
}

fn number(request: &Sip) -> u32 {
    request.header("cseq").split(' ').next().unwrap().parse().unwrap()
}

async fn informed_after(device: &mut Device, before: u32, status: &str, body: &str) -> Sip {
    loop {
        let request = device.asked().await;
        if request.start.starts_with("INFO ") {
            if number(&request) <= before {
                continue;
            }
            let content = if body.is_empty() { "" } else { "Content-Type: Application/MANSRTSP\r\n" };
            device.answer(&request, status, content, body.as_bytes()).await;
            assert_eq!(request.header("content-type").to_lowercase(), "application/mansrtsp");
            return request;
        }
        device.answer(&request, "200 OK", "", b"").await;
    }
}

/// The lines of an INFO's body without its CSeq, which has to be there.
fn command(info: &Sip) -> Vec<String> {
    let text = info.text();
    assert!(text.ends_with("\r\n\r\n"), "{text:?}");
    let (number, lines): (Vec<&str>, Vec<&str>) =
        text.trim_end().split("\r\n").partition(|line| line.starts_with("CSeq: "));
    assert_eq!(number.len(), 1, "{text:?}");
    lines.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_playback_is_steered_as_the_standard_has_it() {
    let gateway = Gateway::start(&[]).await;
    let mut device = recorder(&gateway).await;
    let (report, (invite, film)) = tokio::join!(play(&gateway, HOUR), begin(&mut device));
    let line = |start: &str| invite.sdp(start);
    assert_eq!(
        [line("s="), line("u=")],
        ["Playback".to_owned(), format!("{CHANNEL}:0")],
        "{}",
        invite.text()
    );
    assert_eq!(line("t="), format!("{} {}", SECONDS.0, SECONDS.1));
    assert!(line("y=").len() == 10 && line("y=").starts_with("120000"), "1 for history: {}", line("y="));
    let subject = invite.header("subject").split([':', ',']).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((&*subject[0], &*subject[2]), (CHANNEL, PLATFORM));
    assert_eq!((&report["scale"], &report["paused"]), (&json!(1.0), &json!(false)), "{report}");
    assert_eq!([&report["start"], &report["end"]], [HOUR.0, HOUR.1]);

    let (paused, info) =
        tokio::join!(steer(&gateway, &report, "pause", None), informed(&mut device, "200 OK", ""));
    assert_eq!(command(&info), ["PAUSE RTSP/1.0", "PauseTime: now"]);
    assert_eq!(info.header("call-id"), invite.header("call-id"));
    assert_eq!((&paused["paused"], &paused["scale"]), (&json!(true), &json!(1.0)));
    let (resumed, info) =
        tokio::join!(steer(&gateway, &report, "resume", None), informed(&mut device, "200 OK", ""));
    assert_eq!(command(&info), ["PLAY RTSP/1.0", "Range: npt=now-"]);
    assert_eq!(resumed["paused"], false);
    let seek = steer(&gateway, &report, "seek", Some(json!({ "seconds": 1200 })));
    let (moved, info) = tokio::join!(seek, informed(&mut device, "200 OK", ""));
    assert_eq!(command(&info), ["PLAY RTSP/1.0", "Range: npt=1200-"]);
    assert!((1195.0..1205.0).contains(&moved["position"].as_f64().unwrap()), "{moved}");
    for speed in SPEEDS {
        let change = steer(&gateway, &report, "speed", Some(json!({ "speed": speed })));
        let (changed, info) = tokio::join!(change, informed(&mut device, "200 OK", ""));
        assert_eq!(command(&info), ["PLAY RTSP/1.0".to_owned(), format!("Scale: {speed:?}")]);
        assert_eq!(changed["scale"], speed, "{changed}");
    }
    drop(film);
    // Nobody is left to answer its BYE.
    gateway.kill().await;
}

#[tokio::test]
async fn a_device_of_2011_is_steered_in_its_own_words() {
    let gateway = Gateway::start(&[]).await;
    let mut device = recorder(&gateway).await;
    let manners = json!({ "overrides": { "mansrtsp": "mansrtsp" } });
    gateway.tell(Method::PATCH, &format!("/api/v1/devices/{CAMERA}"), &manners).await;
    let (report, (_, film)) = tokio::join!(play(&gateway, HOUR), begin(&mut device));
    let seek = steer(&gateway, &report, "seek", Some(json!({ "seconds": 1205 })));
    let (_, info) = tokio::join!(seek, informed(&mut device, "200 OK", ""));
    assert_eq!(command(&info), ["PLAY MANSRTSP/1.0", "Range: smpte=00:20:05-"]);
    drop(film);
    // Nobody is left to answer its BYE.
    gateway.kill().await;
}

#[tokio::test]
async fn a_command_that_is_refused_changes_nothing() {
    let gateway = Gateway::start(&[]).await;
    let mut device = recorder(&gateway).await;
    let (report, (_, film)) = tokio::join!(play(&gateway, HOUR), begin(&mut device));
    let faster = || try_steer(&gateway, &report, "speed", Some(json!({ "speed": 4 })));
    let unchanged = async || {
        let now = gateway.get(&path(&report)).await;
        assert_eq!(
            (&now["scale"], &now["paused"], &now["state"]),
            (&json!(1.0), &json!(false), &json!("running"))
        );
    };
    // By SIP, by the answer inside, and by silence.
    let (answer, _) = tokio::join!(faster(), informed(&mut device, "488 Not Acceptable Here", ""));
    answer.is_problem(502, "control_refused", "control");
    unchanged().await;
    let refusal = "RTSP/1.0 451 Invalid Parameter\r\nCSeq: 2\r\n\r\n";
    let (answer, _) = tokio::join!(faster(), informed(&mut device, "200 OK", refusal));
    answer.is_problem(502, "control_refused", "control");
    unchanged().await;
    let (answer, ignored) = tokio::join!(faster(), async {
        loop {
            let request = device.asked().await;
            if request.start.starts_with("INFO ") {
                return number(&request);
            }
        }
    });
    answer.is_problem(504, "control_timeout", "control");
    unchanged().await;
    // The device's word counts: it plays at twice the speed, not four times.
    let told = "RTSP/1.0 200 OK\r\nCSeq: 4\r\nScale: 2.0\r\n\r\n";
    let (answer, _) = tokio::join!(faster(), informed_after(&mut device, ignored, "200 OK", told));
    assert_eq!(answer.json()["scale"], 2.0, "{}", answer.text);
    // What makes no sense is not even sent.
    for (verb, body) in [
        ("speed", json!({ "speed": 0 })),
        ("speed", json!({ "speed": 1000 })),
        ("seek", json!({ "seconds": -1 })),
        ("seek", json!({ "seconds": 3601 })),
    ] {
        try_steer(&gateway, &report, verb, Some(body)).await.is_problem(422, "bad_value", "request");
    }
    drop(film);
    // Nobody is left to answer its BYE.
    gateway.kill().await;
}

#[tokio::test]
async fn a_device_that_hangs_up_ends_its_playback() {
    let gateway = Gateway::start(&[]).await;
    let happenings = Happenings::follow(&gateway).await;
    let mut device = recorder(&gateway).await;
    let (report, (invite, _film)) = tokio::join!(play(&gateway, HOUR), begin(&mut device));
    let peer = Peer::watch_silently(&gateway, report["whep"].as_str().unwrap()).await;
    peer.next_pictures(5).await;
    // From the callee's side: From and To change places.
    let bye = format!(
        "BYE sip:{PLATFORM}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKbye\r\nFrom: {own};tag=answered\r\n\
         To: {other}\r\nCall-ID: {call}\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        to = gateway.listen().sip_udp,
        local = device.line.local(),
        own = invite.header("to"),
        other = invite.header("from"),
        call = invite.header("call-id"),
    );
    device.line.send(bye.as_bytes()).await;
    gone(&gateway, &report).await;
    peer.sees("the end", |seen| seen.closed).await;
    let ended = happenings.find("stream.ended", |event| event["id"] == report["id"]).await;
    assert_eq!((&ended["code"], &ended["stream"]), (&json!("stream_ended"), &json!("playback")), "{ended}");
    assert!(gateway.streams().await.is_empty());
}

/// Pictures over this time, each at its time and with its time stamp.
async fn pictures(peer: &Peer, time: Duration) -> Vec<Picture> {
    let begin = peer.next_pictures(1).await[0].at;
    let seen =
        peer.sees("pictures for a while", |seen| seen.pictures.last().unwrap().at >= begin + time).await;
    seen.pictures.into_iter().filter(|picture| picture.at >= begin).collect()
}

/// Waits for a while in which the time stamps of what comes go as fast as the clock; gives its pictures. Before it, the
/// gateway may have had to find out what the device does with its time stamps, or this machine to catch up.
async fn in_real_time(what: &str, peer: &Peer, time: Duration) -> Vec<Picture> {
    until(&format!("{what} in real time"), async || {
        let pictures = pictures(peer, time).await;
        let (first, last) = (pictures.first().unwrap(), pictures.last().unwrap());
        let step = |two: &[Picture]| two[1].timestamp.wrapping_sub(two[0].timestamp).cast_signed();
        let steps: Vec<i32> = pictures.windows(2).map(step).collect();
        assert!(steps.iter().all(|step| *step > 0), "{what}: the time stamps go back: {steps:?}");
        let media = f64::from(last.timestamp.wrapping_sub(first.timestamp)) / CLOCK;
        let clock = last.at.duration_since(first.at).as_secs_f64();
        if (media / clock - 1.0).abs() < 0.15 {
            return Ok(pictures);
        }
        Err(format!("{media} s of pictures in {clock} s: {steps:?}"))
    })
    .await
}

/// At each speed: what comes is what the device sends, plays in real time, and the position goes with the speed.
async fn plays_at_each_speed(quirks: &str) {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet { quirks, ..Fleet::default() }.start(&gateway).await;
    // All at once, so that they could disturb each other.
    join_all(SPEEDS.map(async |speed| {
        let what = format!("speed {speed} {quirks}");
        let report = play(&gateway, HOUR).await;
        let peer = watch(&gateway, &report).await;
        in_real_time("before", &peer, Duration::from_millis(500)).await;
        steer(&gateway, &report, "seek", Some(json!({ "seconds": 1800 }))).await;
        let changed = steer(&gateway, &report, "speed", Some(json!({ "speed": speed }))).await;
        assert_eq!(changed["scale"], speed);
        let position =
            async || (gateway.get(&path(&report)).await["position"].as_f64().unwrap(), Instant::now());
        let (begin, began) = until("the new place", async || match position().await {
            (seconds, at) if seconds > 1700.0 => Ok((seconds, at)),
            (seconds, _) => Err(format!("{seconds} s")),
        })
        .await;
        let seen = in_real_time(&what, &peer, Duration::from_secs(3)).await;
        let (end, ended) = position().await;
        let clock = ended.duration_since(began).as_secs_f64();
        let moved = (end - begin) / clock;
        assert!((moved - speed).abs() < 0.3 * speed.abs(), "{what}: {begin} s, {clock} s later {end} s");
        let rate = (seen.len() - 1) as f64 / seen.last().unwrap().at.duration_since(seen[0].at).as_secs_f64();
        let sent = 25.0 * speed.abs();
        assert!((0.7 * sent..1.3 * sent).contains(&rate), "{what}: {rate} pictures a second");
    }))
    .await;
    drop(fleet);
}

#[tokio::test]
async fn pictures_play_in_real_time_at_each_speed() {
    plays_at_each_speed("").await;
}

#[tokio::test]
async fn pictures_play_in_real_time_where_the_device_sends_recorded_times() {
    plays_at_each_speed("recorded-times").await;
}

#[tokio::test]
async fn a_pause_is_no_silence() {
    let gateway = Gateway::start(&[("media.no_rtp_timeout", "1s")]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let report = play(&gateway, HOUR).await;
    let peer = watch(&gateway, &report).await;
    peer.next_pictures(10).await;
    let paused = steer(&gateway, &report, "pause", None).await;
    assert_eq!(paused["paused"], true);
    let count = until("no more pictures", async || {
        let before = peer.seen().pictures.len();
        sleep(Duration::from_millis(200)).await;
        if peer.seen().pictures.len() == before { Ok(before) } else { Err("they come".to_owned()) }
    })
    .await;
    // Longer than a stream may be silent: time has to pass here, nothing happens that could be waited for.
    let position = gateway.get(&path(&report)).await["position"].clone();
    sleep(Duration::from_millis(2_500)).await;
    let still = gateway.get(&path(&report)).await;
    assert_eq!((&still["position"], &still["paused"]), (&position, &json!(true)), "{still}");
    assert_eq!(peer.seen().pictures.len(), count);
    let resumed = steer(&gateway, &report, "resume", None).await;
    assert_eq!(resumed["paused"], false);
    peer.next_pictures(25).await;
    in_real_time("after a pause", &peer, Duration::from_secs(1)).await;
    let on = gateway.get(&path(&report)).await["position"].as_f64().unwrap();
    assert!(
        (0.5..8.0).contains(&(on - position.as_f64().unwrap())),
        "{position} before, {on} after the pause"
    );
    drop(fleet);
}

/// A recording of four seconds comes to its end, and everybody hears of it.
async fn ends(quirks: &str, code: &str) {
    let gateway = Gateway::start(&[("media.no_rtp_timeout", "2s")]).await;
    let happenings = Happenings::follow(&gateway).await;
    let fleet = Fleet { quirks, ..Fleet::default() }.start(&gateway).await;
    let report = play(&gateway, ("2026-05-01T08:00:00+08:00", "2026-05-01T08:00:04+08:00")).await;
    let peer = watch(&gateway, &report).await;
    gone(&gateway, &report).await;
    let seen = peer.sees("the end", |seen| seen.closed).await;
    // All of it: nothing is cut off by the word of the end.
    assert!((90..=100).contains(&seen.pictures.len()), "{} pictures of 100", seen.pictures.len());
    let ended = happenings.find("stream.ended", |event| event["id"] == report["id"]).await;
    assert_eq!(ended["code"], code, "{ended}");
    assert!(gateway.streams().await.is_empty());
    until("the BYE", async || {
        let load = gateway.get("/api/v1/node").await["load"].clone();
        if load["calls"] == 0 { Ok(()) } else { Err(load.to_string()) }
    })
    .await;
    drop(fleet);
}

#[tokio::test]
async fn the_end_of_a_recording_ends_its_playback() {
    tokio::join!(
        ends("", "end_of_file"),
        ends("end-outside", "end_of_file"),
        ends("no-file-end", "stream_ended")
    );
}

#[tokio::test]
async fn two_people_do_not_disturb_each_other() {
    let gateway = Gateway::start(&[]).await;
    let fleet = Fleet::default().start(&gateway).await;
    let afternoon = ("2026-05-01T15:00:00+08:00", "2026-05-01T16:00:00+08:00");
    let (first, second) = tokio::join!(play(&gateway, HOUR), play(&gateway, afternoon));
    assert_ne!(first["id"], second["id"]);
    let (one, two) = (watch(&gateway, &first).await, watch(&gateway, &second).await);
    one.next_pictures(5).await;
    two.next_pictures(5).await;
    let streams = gateway.streams().await;
    let ssrcs: Vec<&Value> = streams.iter().map(|stream| &stream["ssrc"]).collect();
    assert!(ssrcs.len() == 2 && ssrcs[0] != ssrcs[1], "{streams:?}");
    assert!(
        streams.iter().all(|stream| stream["stream"] == "playback" && stream["readers"] == 1),
        "{streams:?}"
    );
    assert_eq!(gateway.get("/api/v1/playbacks").await["total"], 2);

    steer(&gateway, &first, "pause", None).await;
    steer(&gateway, &second, "seek", Some(json!({ "seconds": 600 }))).await;
    steer(&gateway, &second, "speed", Some(json!({ "speed": 2 }))).await;
    two.next_pictures(50).await;
    let (still, far) = (gateway.get(&path(&first)).await, gateway.get(&path(&second)).await);
    assert_eq!((&still["paused"], &still["scale"]), (&json!(true), &json!(1.0)), "{still}");
    assert!(
        still["position"].as_f64() < Some(30.0) && far["position"].as_f64() > Some(600.0),
        "{still} {far}"
    );
    assert_eq!((&far["paused"], &far["scale"]), (&json!(false), &json!(2.0)), "{far}");

    // One stops; the other goes on.
    assert_eq!(gateway.ask(Method::DELETE, &path(&second)).await.status.as_u16(), 204);
    two.sees("the end", |seen| seen.closed).await;
    gone(&gateway, &second).await;
    steer(&gateway, &first, "resume", None).await;
    one.next_pictures(25).await;
    assert!(!one.seen().closed);
    gateway.ask(Method::DELETE, &path(&second)).await.is_problem(404, "not_found", "lookup");
    drop(fleet);
}

#[tokio::test]
async fn a_playback_that_nobody_watches_ends() {
    let gateway = Gateway::start(&[("media.no_reader_timeout", "1s")]).await;
    let happenings = Happenings::follow(&gateway).await;
    let fleet = Fleet { quirks: "info-bare", ..Fleet::default() }.start(&gateway).await;
    // With a speed from the start, at a device that answers commands with a bare 200.
    let wish = json!({ "device": CAMERA, "channel": CHANNEL, "start": HOUR.0, "end": HOUR.1, "speed": 2 });
    let report = gateway.tell(Method::POST, "/api/v1/playbacks", &wish).await.json();
    assert_eq!((&report["scale"], &report["state"]), (&json!(2.0), &json!("running")), "{report}");
    let peer = watch(&gateway, &report).await;
    peer.next_pictures(25).await;
    peer.leave(&gateway).await;
    gone(&gateway, &report).await;
    happenings.find("stream.ended", |event| event["id"] == report["id"]).await;
    assert_eq!(gateway.get("/api/v1/playbacks").await["total"], 0);
    assert_eq!(gateway.metric("gbgate_sip_messages_total", "direction=\"out\",method=\"BYE\"").await, 1.0);
    drop(fleet);
}

#[tokio::test]
async fn a_playback_that_cannot_be_says_why() {
    let gateway = Gateway::start(&[("media.play_timeout", "1s")]).await;
    for (quirks, status, code, step) in
        [("invite-busy", 502, "invite_refused", "invite"), ("no-media", 504, "no_rtp", "rtp")]
    {
        let fleet = Fleet { quirks, ..Fleet::default() }.start(&gateway).await;
        gateway.device_online(CAMERA, true).await;
        try_play(&gateway, HOUR).await.is_problem(status, code, step);
        drop(fleet);
        gateway.device_online(CAMERA, false).await;
    }
    try_play(&gateway, HOUR).await.is_problem(409, "device_offline", "registration");
    try_play(&gateway, (HOUR.1, HOUR.0)).await.is_problem(422, "bad_value", "request");
    let fleet = Fleet { quirks: "no-speed", transport: "tcp", ..Fleet::default() }.start(&gateway).await;
    gateway.device_online(CAMERA, true).await;
    let report = play(&gateway, HOUR).await;
    let slower = try_steer(&gateway, &report, "speed", Some(json!({ "speed": 0.5 }))).await;
    slower.is_problem(502, "control_refused", "control");
    assert_eq!(gateway.get(&path(&report)).await["scale"], 1.0);
    let unknown = json!({ "id": "00000000000000ff" });
    try_steer(&gateway, &unknown, "pause", None).await.is_problem(404, "not_found", "lookup");
    assert_eq!(gateway.get("/api/v1/playbacks").await["total"], 1);
    drop(fleet);
}
