//! How it starts, who may come in, and how it ends: the real binary, its output and its exit status.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway, answer, command, ready_at};
use support::player::Player;
use support::sip::Device;
use support::{Leashed, tls, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What `gbgate check` says of a file with this text, and its exit status.
async fn check(text: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gbgate.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gbgate"));
    ended(command.arg("check").arg(&file).current_dir(folder.path())).await
}

/// Runs a command to its end.
async fn ended(command: &Command) -> (i32, String) {
    let mut process = Leashed::start(command);
    (process.ended().await, process.log())
}

#[tokio::test]
async fn the_files_that_come_along_are_good() {
    for (file, password) in [("gbgate.yaml", ""), ("village.yaml", "long enough")] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gbgate"));
        command.arg("check").arg(&file).env("GBGATE_ACCESS__BOOTSTRAP_ADMIN_PASSWORD", password);
        let (code, said) = ended(&command).await;
        assert_eq!((code, said.trim()), (0, &*format!("{}: good", file.display())));
    }
    assert_eq!(check("").await.0, 0, "every key has a default");
}

#[tokio::test]
async fn every_mistake_is_told_with_its_line_and_what_to_do() {
    let (code, said) = check(
        "platform: { id: \"3402\" }\n\
         sip:\n  \
           pasword: secret-enough\n  \
           tls: { listen: 127.0.0.1:0, cert: /no/such/cert.pem, key: /no/such/key.pem }\n\
         http: { listen: 0.0.0.0:8080 }\n\
         media: { play_timeout: 10 }\n",
    )
    .await;
    assert_eq!(code, 1, "{said}");
    let found = |line: usize, parts: &[&str]| {
        let place = format!("gbgate.yaml:{line}: ");
        let told =
            said.lines().any(|said| said.contains(&place) && parts.iter().all(|part| said.contains(part)));
        assert!(told, "no {parts:?} at line {line} in:\n{said}");
    };
    found(1, &["platform.id: ", "`3402` is not 20 digits"]);
    found(3, &["sip.pasword: unknown key", "did you mean `sip.password`?"]);
    found(4, &["sip.tls.cert: ", "/no/such/cert.pem"]);
    found(4, &["sip.tls.key: ", "/no/such/key.pem"]);
    found(5, &["http.listen: 0.0.0.0:8080", "no password is set", "access.bootstrap_admin_password"]);
    found(6, &["media.play_timeout: "]);
    assert_eq!(said.lines().count(), 6, "{said}");

    let (code, said) = check("sip: [\n").await;
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    let missing =
        ended(Command::new(env!("CARGO_BIN_EXE_gbgate")).args(["check", "/no/such/file.yaml"])).await;
    assert!(missing.0 == 1 && missing.1.contains("/no/such/file.yaml"), "{missing:?}");
}

/// `gbgate serve` with these settings does not start; what it says.
async fn refuses(settings: &[(&str, &str)]) -> String {
    let data = tempfile::tempdir().unwrap();
    let (code, said) = ended(command(data.path(), settings).arg("serve")).await;
    assert_eq!(code, 1, "{said}");
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("gbgate: "), "{said}");
    last
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp_address, tcp_address) =
        (udp.local_addr().unwrap().to_string(), tcp.local_addr().unwrap().to_string());
    for (key, address) in [
        ("sip.udp", &udp_address),
        ("sip.tcp", &tcp_address),
        ("http.listen", &tcp_address),
        ("webrtc.udp", &udp_address),
        ("webrtc.tcp", &tcp_address),
    ] {
        let said = refuses(&[(key, address)]).await;
        assert!(said.contains(address.as_str()), "{key}: {said}");
        assert_eq!(said.matches("already in use").count(), 1, "{key}: {said}");
        assert!(said.contains(key) && said.contains("choose another port"), "{key}: {said}");
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_at_the_start() {
    let said = refuses(&[("platform.id", "34020000002000000001x")]).await;
    assert!(said.contains("GBGATE_PLATFORM__ID") && said.contains("20 digits"), "{said}");
    let said = refuses(&[("http.listen", "0.0.0.0:0")]).await;
    assert!(said.contains("GBGATE_HTTP__LISTEN") && said.contains("no password is set"), "{said}");
    let said = refuses(&[("registry.url", "embedded:/proc/nowhere")]).await;
    assert!(said.contains("/proc/nowhere") && said.contains("not writable"), "{said}");
}

#[tokio::test]
async fn two_do_not_share_a_registry() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let (code, said) = ended(command(data.path(), &[]).arg("serve")).await;
    assert!(code == 1 && said.contains("in use by another gbgate"), "{code}: {said}");
    drop(gateway);
}

#[tokio::test]
async fn with_a_password_one_has_to_sign_in() {
    let gateway = Gateway::start(&[("access.bootstrap_admin_password", "correct horse")]).await;
    let node = "/api/v1/node";
    let none = gateway.ask(Method::GET, node).await;
    none.is_problem(401, "sign_in_required", "sign_in");
    for scheme in ["Basic realm=", "Bearer realm="] {
        assert!(none.header("www-authenticate").contains(scheme), "{none:?}");
    }
    for path in ["/metrics", "/api/v1/devices", "/api/v1/events", "/api/v1/me", "/api/v1/no-such-path"] {
        gateway.ask(Method::GET, path).await.is_problem(401, "sign_in_required", "sign_in");
    }
    gateway.whep(CAMERA, CHANNEL, &Player::offer()).await.is_problem(401, "sign_in_required", "sign_in");
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(gateway.ask(Method::GET, path).await.status.as_u16(), 200, "{path} needs no sign-in");
    }

    let basic = |user: &str, password: &str| {
        answer(gateway.request(Method::GET, "/api/v1/me").basic_auth(user, Some(password)))
    };
    assert_eq!(basic("admin", "correct horse").await.json(), json!({ "user": "admin", "role": "admin" }));
    basic("admin", "wrong").await.is_problem(401, "wrong_password", "sign_in");
    basic("root", "correct horse").await.is_problem(401, "wrong_password", "sign_in");

    let login = |password: &str| {
        let body = json!({ "username": "admin", "password": password });
        answer(gateway.request(Method::POST, "/api/v1/login").json(&body))
    };
    let session = login("correct horse").await.json();
    assert!(session["expires_in"].as_u64() > Some(0), "{session}");
    let token = session["token"].as_str().unwrap().to_owned();
    let bearer = |method, path: &str, token: &str| answer(gateway.request(method, path).bearer_auth(token));
    assert_eq!(bearer(Method::GET, node, &token).await.status.as_u16(), 200);
    bearer(Method::GET, node, "made-up").await.is_problem(401, "unknown_token", "sign_in");
    // Only players may put it into the address.
    let query = format!("{node}?token={token}");
    gateway.ask(Method::GET, &query).await.is_problem(401, "sign_in_required", "sign_in");
    let query = format!("/whep/{CAMERA}/{CHANNEL}?token={token}");
    let request = gateway.request(Method::POST, &query).header("content-type", "application/sdp");
    answer(request.body(Player::offer())).await.is_problem(404, "not_found", "lookup");
    assert_eq!(bearer(Method::POST, "/api/v1/logout", &token).await.status.as_u16(), 204);
    bearer(Method::GET, node, &token).await.is_problem(401, "unknown_token", "sign_in");

    // Guessing is slowed down, for a while, and for whoever guesses.
    let mut denied = login("guess").await;
    for _ in 0..20 {
        if denied.status == 429 {
            break;
        }
        denied.is_problem(401, "wrong_password", "sign_in");
        denied = login("guess").await;
    }
    denied.is_problem(429, "too_many_attempts", "sign_in");
    assert!(denied.header("retry-after").parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn without_a_password_pages_of_others_are_kept_out() {
    let gateway = Gateway::start(&[("http.cors_origins", "[https://portal.example.org]")]).await;
    let from =
        |origin: &str| answer(gateway.request(Method::GET, "/api/v1/devices").header("origin", origin));
    from("https://evil.example").await.is_problem(403, "foreign_origin", "sign_in");
    let own = gateway.console().trim_end_matches('/').to_owned();
    assert_eq!(from(&own).await.status.as_u16(), 200);
    let portal = from("https://portal.example.org").await;
    assert_eq!(portal.status.as_u16(), 200, "{portal:?}");
    assert_eq!(portal.header("access-control-allow-origin"), "https://portal.example.org");
    // A name that resolves to loopback (DNS rebinding) is not us.
    let rebound = gateway.request(Method::GET, "/api/v1/devices").header("host", "evil.example");
    assert_eq!(answer(rebound).await.status.as_u16(), 403);
}

#[tokio::test]
async fn it_tells_of_itself() {
    let gateway = Gateway::start(&[]).await;
    let node = gateway.get("/api/v1/node").await;
    assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        node["platform"],
        json!({ "id": support::gateway::PLATFORM, "domain": support::gateway::DOMAIN })
    );
    assert_eq!(gateway.ask(Method::GET, "/healthz").await.text, "ok\n");
    assert_eq!(gateway.get("/readyz").await["ready"], true);
    gateway.ask(Method::GET, "/api/v1/nothing").await.is_problem(404, "not_found", "lookup");
    gateway.ask(Method::PUT, "/api/v1/devices").await.is_problem(405, "method_not_allowed", "request");
    gateway.ask(Method::GET, "/api/v1/devices?limit=many").await.is_problem(400, "bad_query", "request");
    gateway.ask(Method::GET, "/api/v1/devices?cursor=!").await.is_problem(400, "bad_cursor", "request");
    gateway.ask(Method::GET, "/api/v1/devices/no%20id").await.is_problem(400, "bad_path", "request");

    let metrics = gateway.ask(Method::GET, "/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"), "{metrics:?}");
    let mut names: Vec<&str> = metrics.text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a metric is told twice:\n{}", metrics.text);
    assert!(count > 20, "{names:?}");
    let mut samples: Vec<&str> = metrics
        .text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name)
        .collect();
    let count = samples.len();
    samples.sort_unstable();
    samples.dedup();
    assert_eq!(samples.len(), count, "a sample is told twice:\n{}", metrics.text);
}

#[tokio::test]
async fn the_console_is_served_under_tls() {
    let mut gateway = Gateway::start(&[("http.tls", &tls::setting(""))]).await;
    // The plain address stays beside it; the ports of both are in the log.
    let log = gateway.process().log();
    let (_, rest) = log.split_once("https://").unwrap_or_else(|| panic!("no https in {log}"));
    let address = rest.split('"').next().unwrap();
    let mut stream = tls::connect(address.parse().unwrap(), false).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[tokio::test]
async fn sigterm_says_goodbye_on_all_sides() {
    let mut gateway = Gateway::start(&[]).await;
    // A call that runs, and one that waits for its picture with somebody waiting for it.
    let fleet = Fleet { first_id: "34020000001320000009", ..Fleet::default() }.start(&gateway).await;
    let player = Player::watch(&gateway, "34020000001320000009", CHANNEL).await;
    player.sees_pictures(1).await;
    let mut device = with_channel(&gateway).await;
    let offer = Player::offer();
    let wait = answer(
        gateway
            .request(Method::POST, &format!("/whep/{CAMERA}/{CHANNEL}"))
            .header("content-type", "application/sdp")
            .body(offer),
    );
    let wait = tokio::spawn(wait);
    let invite = device.invited().await;
    device.take_call(&invite, "127.0.0.1:6000".parse().unwrap()).await;

    let began = Instant::now();
    gateway.process().signal("TERM");
    let bye = device.asked_for("BYE").await;
    assert_eq!(bye.header("call-id"), invite.header("call-id"));
    wait.await.unwrap().is_problem(503, "stream_stopped", "stream");
    player.sees("the end", |seen| seen.closed).await;
    assert_eq!(gateway.process().ended().await, 0, "{}", gateway.process().log());
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?}", began.elapsed());
    drop(fleet);
}

#[tokio::test]
async fn a_log_that_nobody_reads_is_no_reason_to_end() {
    // `gbgate serve 2>&1 | head`, or a collector of logs that was restarted: this one goes when it has read enough.
    const READER: &str =
        r#"while read -r line; do echo "$line"; case "$line" in *"is ready"*) exit;; esac; done"#;
    let data = tempfile::tempdir().unwrap();
    let mut shell = Command::new("/bin/sh");
    let script = format!("mkfifo log; {{ {READER}; }} <log & exec \"$0\" serve 2>log");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_gbgate")]).current_dir(data.path());
    for (key, value) in command(data.path(), &[]).get_envs() {
        shell.env(key, value.unwrap());
    }
    let mut process = Leashed::start(&shell);
    let console = process.line("that it is ready", ready_at).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..10 {
        // Answered by a line in the log.
        process.signal("HUP");
        let healthy = http.get(format!("{console}healthz")).send().await;
        assert!(healthy.is_ok_and(|answer| answer.status() == 200), "{}", process.log());
    }
    process.signal("TERM");
    assert_eq!(process.ended().await, 0, "{}", process.log());
}

#[tokio::test]
async fn sigterm_does_not_wait_for_ever() {
    let mut gateway = Gateway::start(&[]).await;
    let mut device = with_channel(&gateway).await;
    let path = format!("/whep/{CAMERA}/{CHANNEL}");
    let wait =
        gateway.request(Method::POST, &path).header("content-type", "application/sdp").body(Player::offer());
    let wait = tokio::spawn(answer(wait));
    let invite = device.invited().await;
    device.take_call(&invite, "127.0.0.1:6000".parse().unwrap()).await;
    // A feed of events that would never end by itself, and a device that answers no BYE.
    let events = gateway.request(Method::GET, "/api/v1/events").send().await.unwrap();
    let began = Instant::now();
    assert_eq!(gateway.terminate().await, 0);
    assert!(began.elapsed() < Duration::from_secs(10), "took {:?}", began.elapsed());
    drop(events);
    wait.await.unwrap().is_problem(503, "stream_stopped", "stream");
}

/// A device that is registered and has told of its channel.
async fn with_channel(gateway: &Gateway) -> Device {
    let mut device = Device::registered(gateway, CAMERA).await;
    let query = device.asked_for("Catalog").await;
    device.page(&query, 1, &[(CHANNEL, "one")]).await;
    gateway.device(CAMERA, "with a channel", |device| device["channel_count"] == 1).await;
    device
}

#[tokio::test]
async fn a_power_failure_takes_no_registration() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = with_channel(&gateway).await;
    let path = format!("/api/v1/devices/{CAMERA}");
    let edited =
        gateway.tell(Method::PATCH, &path, &json!({ "name": "东门", "media_transport": "tcp-active" })).await;
    assert_eq!(edited.status.as_u16(), 200, "{edited:?}");
    let own = json!({ "id": "34020000001320000002", "password": "of its own" });
    assert_eq!(gateway.tell(Method::POST, "/api/v1/devices", &own).await.status.as_u16(), 201);
    let mut tcp = Device::tcp(&gateway, "34020000001180000001").await;
    assert_eq!(tcp.register(3600).await.code(), 200);
    gateway.device_online(&tcp.id, true).await;
    // One that has left stays away.
    let mut left = Device::registered(&gateway, "34020000001320000003").await;
    assert_eq!(left.register(0).await.code(), 200);
    let before = gateway.device(CAMERA, "that is known", |_| true).await;
    gateway.kill().await;

    let gateway = Gateway::start_in(data.path(), &[]).await;
    assert_eq!(gateway.get("/api/v1/devices").await["total"], 4);
    let after = gateway.get(&path).await;
    for member in
        ["name", "online", "address", "registered_at", "expires_at", "media_transport", "channel_count"]
    {
        assert_eq!(after[member], before[member], "{member}");
    }
    assert_eq!(after["name"], "东门");
    let channel = gateway.get(&format!("{path}/channels/{CHANNEL}")).await;
    assert_eq!((&channel["name"], &channel["online"]), (&json!("one"), &json!(true)));
    // Who was on a connection is known, and has to come back; a keepalive is enough for all.
    gateway.device_online(&tcp.id, false).await;
    let mut tcp = Device::tcp(&gateway, &tcp.id).await;
    assert_eq!(tcp.keepalive().await.code(), 200);
    gateway.device_online(&tcp.id, true).await;
    device.line.follow(&gateway);
    assert_eq!(device.keepalive().await.code(), 200);
    left.line.follow(&gateway);
    assert_eq!(left.keepalive().await.code(), 403);
    let one = gateway.get("/api/v1/devices/34020000001320000002").await;
    assert_eq!((&one["added_by"], &one["online"]), (&json!("admin"), &Value::Bool(false)));
    assert_eq!(gateway.get("/api/v1/node").await["load"]["registrations"], 2);
}

#[tokio::test]
async fn a_call_that_a_power_failure_cut_off_is_ended() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(data.path(), &[]).await;
    let mut device = with_channel(&gateway).await;
    let commits = async || gateway.metric("gbgate_registry_seconds_count", "op=\"commit\"").await;
    let before = commits().await;
    assert!(before > 0.0);
    let path = format!("/whep/{CAMERA}/{CHANNEL}");
    let wait =
        gateway.request(Method::POST, &path).header("content-type", "application/sdp").body(Player::offer());
    let wait = tokio::spawn(async move { wait.send().await.is_err() });
    let invite = device.invited().await;
    device.take_call(&invite, "127.0.0.1:6000".parse().unwrap()).await;
    // The dialog is kept, since a camera that sends to nobody would never stop.
    until("the dialog on disk", async || {
        let now = commits().await;
        if now > before { Ok(()) } else { Err(format!("{now} commits")) }
    })
    .await;
    gateway.kill().await;
    assert!(wait.await.unwrap());

    let gateway = Gateway::start_in(data.path(), &[]).await;
    device.line.follow(&gateway);
    let bye = device.asked_for("BYE").await;
    assert_eq!(bye.header("call-id"), invite.header("call-id"));
    assert_eq!(bye.header("from"), invite.header("from"));
    assert!(bye.header("to").ends_with(";tag=answered"), "{bye:?}");
    assert_eq!(gateway.streams().await.len(), 0);
    assert_eq!(device.keepalive().await.code(), 200);
}
