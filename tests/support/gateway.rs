//! The gateway, started from the binary that was just built, and what people and programs ask it over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use super::{Leashed, PATIENCE, until};

/// The password of all devices.
pub(crate) const PASSWORD: &str = "12345678";
/// The gateway's id and domain.
pub(crate) const PLATFORM: &str = "34020000002000000001";
pub(crate) const DOMAIN: &str = "3402000000";

/// `gbgate` with every listener on a port that the system picks, and `settings` such as `("sip.password", "x")`.
pub(crate) fn command(data: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gbgate"));
    command.current_dir(data);
    let registry = format!("embedded:{}", data.join("registry").display());
    let usual =
        ["http.listen", "sip.udp", "sip.tcp", "webrtc.udp", "webrtc.tcp"].map(|key| (key, "127.0.0.1:0"));
    let more = [("media.ports", "0"), ("sip.password", PASSWORD), ("registry.url", &registry)];
    for (key, value) in usual.iter().chain(&more).chain(settings) {
        command.env(variable(key), value);
    }
    command
}

/// The variable of the environment for a key of the configuration.
pub(crate) fn variable(key: &str) -> String {
    format!("GBGATE_{}", key.to_uppercase().replace('.', "__"))
}

pub(crate) struct Gateway {
    console: String,
    http: reqwest::Client,
    process: Leashed,
    /// Where it keeps its registry; goes with the gateway unless it was given.
    _data: Option<TempDir>,
    /// Where it listens, as `/api/v1/node` says; `None` if a sign-in is asked for.
    listen: Option<Listen>,
}

/// The addresses that were bound.
#[derive(Clone, Copy)]
pub(crate) struct Listen {
    pub(crate) sip_udp: SocketAddr,
    pub(crate) sip_tcp: SocketAddr,
    pub(crate) webrtc_udp: SocketAddr,
    pub(crate) webrtc_tcp: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON; `Null` if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is a problem document with this status, code and step, and a hint.
    pub(crate) fn is_problem(&self, status: u16, code: &str, step: &str) {
        let body = self.json();
        let seen = (self.status.as_u16(), body["code"].as_str(), body["step"].as_str());
        assert_eq!(seen, (status, Some(code), Some(step)), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(body["status"], status);
        for member in ["type", "title", "detail", "hint"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {body}");
        }
    }
}

impl Gateway {
    /// `gbgate demo`: simulated devices and all, in a directory that goes.
    pub(crate) async fn demo() -> Gateway {
        let data = tempfile::tempdir().unwrap();
        let mut process = Leashed::start(command(data.path(), &[]).arg("demo"));
        let console = process.line("address of the console", console_address).await;
        Gateway { console, http: client(), process, _data: Some(data), listen: None }
    }

    /// `gbgate serve` with these settings and a registry of its own.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Gateway {
        let data = tempfile::tempdir().unwrap();
        let gateway = Gateway::start_in(data.path(), settings).await;
        Gateway { _data: Some(data), ..gateway }
    }

    /// `gbgate serve` with these settings and the registry in `data`.
    pub(crate) async fn start_in(data: &Path, settings: &[(&str, &str)]) -> Gateway {
        let mut process = Leashed::start(command(data, settings).arg("serve"));
        let console = process.line("that it is ready", ready_at).await;
        let mut gateway = Gateway { console, http: client(), process, _data: None, listen: None };
        let node = gateway.ask(Method::GET, "/api/v1/node").await;
        if node.status == StatusCode::OK {
            let listen = &node.json()["listen"];
            let at = |key: &str| listen[key].as_str().unwrap_or_default().parse().unwrap();
            gateway.listen = Some(Listen {
                sip_udp: at("sip_udp"),
                sip_tcp: at("sip_tcp"),
                webrtc_udp: at("webrtc_udp"),
                webrtc_tcp: at("webrtc_tcp"),
                http: at("http"),
            });
        }
        gateway
    }

    pub(crate) fn listen(&self) -> Listen {
        self.listen.unwrap_or_else(|| panic!("its addresses were not asked for"))
    }

    /// The address of the console, ending in a slash.
    pub(crate) fn console(&self) -> &str {
        &self.console
    }

    pub(crate) fn process(&mut self) -> &mut Leashed {
        &mut self.process
    }

    /// A request that can be given headers and a body; `path` begins with a slash.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.console.trim_end_matches('/')))
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        answer(self.request(method, path)).await
    }

    /// Sends a request with a JSON body.
    pub(crate) async fn tell(&self, method: Method, path: &str, body: &Value) -> Answer {
        answer(self.request(method, path).json(body)).await
    }

    /// `GET` of a JSON document; `path` begins with a slash.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path).await;
        assert!(answer.status.is_success(), "GET {path}: {}: {}", answer.status, answer.text);
        serde_json::from_str(&answer.text)
            .unwrap_or_else(|error| panic!("GET {path}: {error}: {}", answer.text))
    }

    /// What comes of a stream of this kind in this time, or until its end.
    pub(crate) async fn fetch(&self, path: &str, kind: &str, time: Duration) -> Vec<u8> {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &kind.parse().unwrap())
        );
        let mut pieces = response.bytes_stream();
        let mut bytes = Vec::new();
        // A live stream has no end of its own: the clock ends it.
        let all = async {
            while let Some(piece) = pieces.next().await {
                bytes.extend_from_slice(&piece.unwrap());
            }
        };
        let _ = tokio::time::timeout(time, all).await;
        bytes
    }

    /// A player's offer for the main stream of a channel.
    pub(crate) async fn whep(&self, device: &str, channel: &str, offer: &str) -> Answer {
        let request = self.request(Method::POST, &format!("/whep/{device}/{channel}"));
        answer(request.header("content-type", "application/sdp").body(offer.to_owned())).await
    }

    /// The sum of the metric's samples whose labels contain `labels`, such as `reason="uninvited"`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.ask(Method::GET, "/metrics").await.text;
        let fits = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels))
        };
        let values =
            text.lines().filter(fits).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Waits until a device is as wanted; gives it.
    pub(crate) async fn device(&self, id: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(&format!("device {id} {what}"), async || {
            let device = self.ask(Method::GET, &format!("/api/v1/devices/{id}")).await;
            let json = device.json();
            if device.status == StatusCode::OK && fits(&json) { Ok(json) } else { Err(device.text) }
        })
        .await
    }

    /// Waits until a device is online, or offline.
    pub(crate) async fn device_online(&self, id: &str, online: bool) -> Value {
        self.device(id, if online { "online" } else { "offline" }, |device| device["online"] == online).await
    }

    /// The streams that there are.
    pub(crate) async fn streams(&self) -> Vec<Value> {
        self.get("/api/v1/streams").await["items"].as_array().unwrap().clone()
    }

    /// Waits until there is one stream, and it is as wanted; gives it.
    pub(crate) async fn stream(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(&format!("one stream {what}"), async || {
            let streams = self.streams().await;
            match streams.as_slice() {
                [stream] if fits(stream) => Ok(stream.clone()),
                _ => Err(format!("{streams:?}")),
            }
        })
        .await
    }

    /// The UDP ports on which it waits for media.
    pub(crate) fn media_ports(&self) -> Vec<u16> {
        let known = [self.listen().sip_udp.port(), self.listen().webrtc_udp.port()];
        let own: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", self.process.pid()))
            .unwrap()
            .filter_map(|entry| {
                std::fs::read_link(entry.unwrap().path()).ok()?.into_os_string().into_string().ok()
            })
            .filter_map(|target| Some(target.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
            .collect();
        // Columns: number, local address and port in hexadecimal, remote, ..., inode.
        let table = std::fs::read_to_string("/proc/net/udp").unwrap();
        let port = |line: &str| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let port = u16::from_str_radix(columns[1].split_once(':').unwrap().1, 16).unwrap();
            (own.iter().any(|inode| inode == columns[9]) && !known.contains(&port)).then_some(port)
        };
        table.lines().skip(1).filter_map(port).collect()
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// SIGTERM, then its end; gives how it ended.
    pub(crate) async fn terminate(&mut self) -> i32 {
        self.process.signal("TERM");
        self.process.ended().await
    }

    /// The end that a power failure makes of it.
    pub(crate) async fn kill(mut self) {
        self.process.signal("KILL");
        self.process.ended().await;
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap_or_else(|error| panic!("{error:?}"));
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

/// The address in a line `console: http://127.0.0.1:8080/`, wherever in the line it stands.
fn console_address(line: &str) -> Option<String> {
    let address = line.split_once("console: ")?.1.split_whitespace().next()?;
    address.starts_with("http://").then(|| address.to_owned())
}

/// The same in the line of the log that says that it is ready.
pub(crate) fn ready_at(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("is ready")?;
    Some(rest.split_once("console=")?.1.split_whitespace().next()?.to_owned())
}

/// What `gbgate simulate` is to play.
pub(crate) struct Fleet<'a> {
    pub(crate) first_id: &'a str,
    pub(crate) first_channel: &'a str,
    pub(crate) channels: u32,
    pub(crate) transport: &'a str,
    pub(crate) quirks: &'a str,
    pub(crate) clip: Option<PathBuf>,
    /// More options, as on the command line.
    pub(crate) more: &'a [&'a str],
}

/// A device with a channel.
pub(crate) const CAMERA: &str = "34020000001320000001";
pub(crate) const CHANNEL: &str = "34020000001310000001";

impl Default for Fleet<'_> {
    fn default() -> Self {
        Fleet {
            first_id: CAMERA,
            first_channel: CHANNEL,
            channels: 1,
            transport: "udp",
            quirks: "",
            clip: None,
            more: &[],
        }
    }
}

impl Fleet<'_> {
    /// Starts it against the gateway and waits for its channels. It takes its leave when the guard is dropped.
    pub(crate) async fn start(self, gateway: &Gateway) -> Leashed {
        let listen = gateway.listen();
        let server = if self.transport == "tcp" { listen.sip_tcp } else { listen.sip_udp };
        let mut command = Command::new(env!("CARGO_BIN_EXE_gbgate"));
        command.args(["simulate", "--server-id", PLATFORM, "--domain", DOMAIN, "--password", PASSWORD]);
        command.args(["--server", &server.to_string(), "--transport", self.transport]);
        command.args([
            "--first-id",
            self.first_id,
            "--first-channel",
            self.first_channel,
            "--keepalive",
            "2",
        ]);
        command.args(["--channels", &self.channels.to_string()]);
        if !self.quirks.is_empty() {
            command.args(["--quirks", self.quirks]);
        }
        if let Some(clip) = self.clip {
            command.arg("--clip").arg(clip);
        }
        command.args(self.more);
        let process = Leashed::start(&command);
        let channels = self.channels;
        gateway
            .device(self.first_id, "with its channels", |device| device["channel_count"] == channels)
            .await;
        process
    }
}
