//! Devices as they are met: other hashes than MD5, catalogs of any form, TCP beside UDP, and media of their own making.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use encoding_rs::GB18030;
use md5::Digest as _;
use md5::digest::DynDigest;
use reqwest::Method;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use super::gateway::{CHANNEL, DOMAIN, Gateway, PASSWORD, PLATFORM};
use super::sip::{Device, Line, Sip};
use super::{Leashed, until};

/// A hash of the digest, by its name in a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Md5,
    Sha256,
    Sm3,
}

impl Hash {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Hash::Md5 => "MD5",
            Hash::Sha256 => "SHA-256",
            Hash::Sm3 => "SM3",
        }
    }

    /// The digest of a text in hexadecimal.
    pub(crate) fn of(self, text: &str) -> String {
        let mut hash: Box<dyn DynDigest> = match self {
            Hash::Md5 => Box::new(md5::Md5::new()),
            Hash::Sha256 => Box::new(sha2::Sha256::new()),
            Hash::Sm3 => Box::new(sm3::Sm3::new()),
        };
        hash.update(text.as_bytes());
        hash.finalize().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }
}

/// The nonce of a challenge.
pub(crate) fn nonce(challenge: &Sip) -> String {
    challenge.parameter("www-authenticate", "nonce").unwrap_or_else(|| panic!("no nonce: {challenge:?}"))
}

/// An `Authorization` line for a REGISTER, with or without `qop` and its count.
pub(crate) fn authorization(id: &str, nonce: &str, password: &str, hash: Hash, count: Option<u32>) -> String {
    let uri = format!("sip:{PLATFORM}@{DOMAIN}");
    let secret = hash.of(&format!("{id}:{DOMAIN}:{password}"));
    let question = hash.of(&format!("REGISTER:{uri}"));
    let (response, qop) = match count {
        None => (hash.of(&format!("{secret}:{nonce}:{question}")), String::new()),
        Some(count) => (
            hash.of(&format!("{secret}:{nonce}:{count:08x}:beef:auth:{question}")),
            format!(", qop=auth, nc={count:08x}, cnonce=\"beef\""),
        ),
    };
    format!(
        "Authorization: Digest username=\"{id}\", realm=\"{DOMAIN}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm={}{qop}\r\n",
        hash.name()
    )
}

/// REGISTER with a challenge that is answered with a password and a hash; the final answer.
pub(crate) async fn register_as(device: &mut Device, password: &str, hash: Hash) -> Sip {
    let challenge = device.try_register(3600, None).await;
    assert_eq!(challenge.code(), 401, "{challenge:?}");
    let line = authorization(&device.id, &nonce(&challenge), password, hash, Some(1));
    device.request("REGISTER", &format!("Expires: 3600\r\n{line}"), b"").await
}

/// `gbgate simulate` against the gateway, with these arguments.
pub(crate) fn simulate(gateway: &Gateway, transport: &str, arguments: &[&str]) -> Leashed {
    let listen = gateway.listen();
    let server = if transport == "tcp" { listen.sip_tcp } else { listen.sip_udp }.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gbgate"));
    command.args(["simulate", "--server", &server, "--server-id", PLATFORM, "--domain", DOMAIN]);
    command.args(["--password", PASSWORD, "--transport", transport]);
    command.args(arguments);
    Leashed::start(&command)
}

/// A UDP device that also listens on TCP at the same port.
pub(crate) async fn udp_and_tcp(gateway: &Gateway, id: &str, ip: IpAddr) -> (Device, TcpListener) {
    loop {
        let line = Line::udp(gateway, ip).await;
        // The port may be taken over TCP: another one then.
        if let Ok(listener) = TcpListener::bind(line.local()).await {
            return (Device::new(id, line), listener);
        }
    }
}

/// An item of a catalog: what stands in `<Item>`, each on its line.
pub(crate) fn item(fields: &[(&str, &str)]) -> String {
    let lines: String = fields.iter().map(|(name, value)| format!("<{name}>{value}</{name}>\r\n")).collect();
    format!("<Item>\r\n{lines}</Item>\r\n")
}

/// A page of a catalog with these items, and the encoding that it declares.
pub(crate) fn catalog(device: &str, sn: &str, announced: usize, items: &[String], encoding: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"{encoding}\"?>\r\n<Response>\r\n<CmdType>Catalog</CmdType>\r\n<SN>{sn}</SN>\r\n\
         <DeviceID>{device}</DeviceID>\r\n<SumNum>{announced}</SumNum>\r\n<DeviceList Num=\"{}\">\r\n{}</DeviceList>\r\n\
         </Response>\r\n",
        items.len(),
        items.concat()
    )
}

/// Waits until a device has so many channels.
pub(crate) async fn has_channels(gateway: &Gateway, device: &str, count: usize) -> Value {
    gateway.device(device, &format!("with {count} channels"), |state| state["channel_count"] == count).await
}

/// The names of the channels of a device, by id, of one page.
pub(crate) async fn names(gateway: &Gateway, device: &str) -> Vec<(String, String)> {
    let page = gateway.get(&format!("/api/v1/devices/{device}/channels?limit=1000")).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    page["items"].as_array().unwrap().iter().map(|item| (text(&item["id"]), text(&item["name"]))).collect()
}

/// Waits until a departure of the device from the standard is known; gives it.
pub(crate) async fn finding(gateway: &Gateway, device: &str, rule: &str) -> Value {
    let path = format!("/api/v1/devices/{device}/conformance");
    until(&format!("the finding {rule} of {device}"), async || {
        let page = gateway.get(&path).await;
        let found = page["items"].as_array().unwrap().iter().find(|finding| finding["rule"] == rule);
        found.cloned().ok_or_else(|| page.to_string())
    })
    .await
}

/// Waits until a metric is at least so much; gives it.
pub(crate) async fn counts(gateway: &Gateway, name: &str, labels: &str, least: f64) -> f64 {
    until(&format!("{least} of {name}{{{labels}}}"), async || {
        let count = gateway.metric(name, labels).await;
        if count >= least { Ok(count) } else { Err(count.to_string()) }
    })
    .await
}

/// Requests with this method that the gateway sent.
pub(crate) async fn sent(gateway: &Gateway, method: &str) -> f64 {
    let text = gateway.ask(Method::GET, "/metrics").await.text;
    let wanted =
        ["gbgate_sip_messages_total{", "direction=\"out\"", "code=\"\"", &format!("method=\"{method}\"")];
    let lines = text.lines().filter(|line| wanted.iter().all(|part| line.contains(part)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until no stream is left.
pub(crate) async fn no_streams(gateway: &Gateway) {
    until("the end of the streams", async || {
        let streams = gateway.streams().await;
        if streams.is_empty() { Ok(()) } else { Err(format!("{streams:?}")) }
    })
    .await;
}

/// The id of channel number so.
pub(crate) fn channel(number: usize) -> String {
    format!("3402000000131{number:07}")
}

/// An item with the fields that every device sends.
pub(crate) fn plain(id: &str, name: &str, parent: &str) -> String {
    let fields =
        [("DeviceID", id), ("Name", name), ("Manufacturer", "Maker"), ("ParentID", parent), ("Status", "ON")];
    item(&fields)
}

/// Text in GB 18030.
pub(crate) fn gb(text: &str) -> Vec<u8> {
    GB18030.encode(text).0.into_owned()
}

/// The name of a channel.
pub(crate) async fn name_of(gateway: &Gateway, device: &str, channel: &str) -> String {
    let path = format!("/api/v1/devices/{device}/channels/{channel}");
    gateway.get(&path).await["name"].as_str().unwrap().to_owned()
}

/// Fetches a device's catalog by the API while the device serves it.
pub(crate) async fn sync<T>(gateway: &Gateway, device: &str, serve: impl Future<Output = T>) -> (Value, T) {
    let path = format!("/api/v1/devices/{device}/catalog");
    let (answer, served) = tokio::join!(gateway.ask(Method::POST, &path), serve);
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    (answer.json(), served)
}

/// The SN of the query for the catalog that comes next; a subscription to the catalog asks in the same words.
pub(crate) async fn query(device: &mut Device) -> String {
    loop {
        let request = device.asked_for("<CmdType>Catalog</CmdType>").await;
        if request.start.starts_with("MESSAGE ") {
            return request.element("SN");
        }
    }
}

/// Replaces the Content-Length of a message.
pub(crate) fn with_length(request: &[u8], length: &str) -> Vec<u8> {
    let text = String::from_utf8(request.to_vec()).unwrap();
    let (before, rest) = text.split_once("Content-Length: ").unwrap();
    let (_, after) = rest.split_once("\r\n").unwrap();
    format!("{before}{length}{after}").into_bytes()
}

/// The header of a MESSAGE.
pub(crate) const MANSCDP: &str = "Content-Type: Application/MANSCDP+xml\r\n";

/// A registered device with so many channels.
pub(crate) async fn device_with(gateway: &Gateway, id: &str, channels: usize) -> Device {
    let mut device = Device::registered(gateway, id).await;
    let sn = query(&mut device).await;
    let items: Vec<String> = (1..=channels).map(|n| plain(&channel(n), &format!("n{n}"), id)).collect();
    device.message(catalog(id, &sn, channels, &items, "GB2312").as_bytes()).await;
    has_channels(gateway, id, channels).await;
    device
}

/// A camera of the simulator's that misbehaves in one way.
pub(crate) async fn camera(gateway: &Gateway, id: &str, transport: &str, quirks: &str) -> Leashed {
    let mut arguments = vec!["--first-id", id, "--first-channel", CHANNEL];
    if !quirks.is_empty() {
        arguments.extend(["--quirks", quirks]);
    }
    let process = simulate(gateway, transport, &arguments);
    has_channels(gateway, id, 1).await;
    process
}

/// The NAL units of a file in Annex B.
fn units(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> =
        bytes.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let unit = |(start, end): (&usize, usize)| &bytes[start + 3..end];
    starts.iter().zip(ends).map(unit).map(trimmed).collect()
}

/// Without the zeros that belong to the next start code.
fn trimmed(unit: &[u8]) -> &[u8] {
    &unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]
}

/// Pictures of H.264, each in Annex B with whether it is a key frame.
fn pictures() -> Vec<(bool, Vec<u8>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulator/clip/village-sub.h264");
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut pictures = Vec::new();
    let mut now = Vec::new();
    for unit in units(&bytes) {
        now.extend_from_slice(&[0, 0, 0, 1]);
        now.extend_from_slice(unit);
        // The clip has a slice for each picture.
        if let kind @ (1 | 5) = unit[0] & 31 {
            pictures.push((kind == 5, std::mem::take(&mut now)));
        }
    }
    pictures
}

/// A time stamp as PES packets have it (ISO/IEC 13818-1, 2.4.3.7), marked as PTS alone.
fn time_stamp(at: u64) -> [u8; 5] {
    [
        0x21 | (at >> 29) as u8 & 0x0E,
        (at >> 22) as u8,
        (at >> 14) as u8 | 1,
        (at >> 7) as u8,
        (at << 1) as u8 | 1,
    ]
}

/// A picture in a program stream, written after the standard and not after the gateway's own multiplexer: pack header,
/// for key frames system header and map without a checksum worth the name, PES packets.
fn program_stream(at: u64, key: bool, picture: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 1, 0xBA];
    out.extend([
        0x44 | (at >> 27) as u8 & 0x38 | (at >> 28) as u8 & 3,
        (at >> 20) as u8,
        (at >> 12) as u8 & 0xF8 | 4 | (at >> 13) as u8 & 3,
        (at >> 5) as u8,
        (at << 3) as u8 | 4,
        1,
        0x01,
        0x86,
        0xA3,
        0xF8,
    ]);
    if key {
        out.extend([0, 0, 1, 0xBB, 0, 9, 0x80, 0xC3, 0x51, 0x00, 0xE1, 0x7F, 0xE0, 0xE0, 0x80]);
        // H.264, and G.711A that never comes.
        let map = [0xE0, 0xFF, 0, 0, 0, 8, 0x1B, 0xE0, 0, 0, 0x90, 0xC0, 0, 0, 0, 0, 0, 0];
        out.extend([0, 0, 1, 0xBC, 0, map.len() as u8]);
        out.extend(map);
    }
    for (index, piece) in picture.chunks(65_000).enumerate() {
        let stamp = if index == 0 { time_stamp(at).to_vec() } else { Vec::new() };
        let length = (3 + stamp.len() + piece.len()) as u16;
        out.extend([0, 0, 1, 0xE0]);
        out.extend(length.to_be_bytes());
        out.extend([0x8C, if index == 0 { 0x80 } else { 0 }, stamp.len() as u8]);
        out.extend(stamp);
        out.extend(piece);
    }
    out
}

/// A camera's RTP, packet by packet, for ever: 25 pictures a second.
pub(crate) struct Footage {
    pictures: Vec<(bool, Vec<u8>)>,
    next: usize,
    sequence: u16,
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
}

impl Footage {
    pub(crate) fn new(ssrc: u32) -> Footage {
        Footage { pictures: pictures(), next: 0, sequence: 0, ssrc, payload_type: 96 }
    }

    /// The packets of the next picture.
    pub(crate) fn picture(&mut self) -> Vec<Vec<u8>> {
        let at = self.next as u64 * 3_600;
        let (key, picture) = &self.pictures[self.next % self.pictures.len()];
        let stream = program_stream(at, *key, picture);
        self.next += 1;
        let last = stream.len().div_ceil(1_400) - 1;
        let mut packets = Vec::new();
        for (index, piece) in stream.chunks(1_400).enumerate() {
            let marker = if index == last { 0x80 } else { 0 };
            let mut packet = vec![0x80, marker | self.payload_type];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend((at as u32).to_be_bytes());
            packet.extend(self.ssrc.to_be_bytes());
            packet.extend(piece);
            packets.push(packet);
            self.sequence = self.sequence.wrapping_add(1);
        }
        packets
    }
}

/// Between two pictures.
pub(crate) const PICTURE: Duration = Duration::from_millis(40);

/// Something that sends until it is dropped.
pub(crate) struct Sending {
    task: JoinHandle<()>,
    packets: Arc<AtomicU64>,
}

impl Sending {
    pub(crate) fn of(task: JoinHandle<()>) -> Sending {
        Sending { task, packets: Arc::default() }
    }

    /// Stops it; how many packets of RTP it has sent over UDP.
    pub(crate) async fn stop(mut self) -> u64 {
        self.task.abort();
        // What was under way is over then.
        let _ = (&mut self.task).await;
        self.packets.load(Ordering::SeqCst)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends pictures over UDP, with whatever `more` adds after each one.
pub(crate) fn send_pictures(
    socket: UdpSocket,
    to: SocketAddr,
    mut footage: Footage,
    more: impl Fn(u32) -> Vec<Vec<u8>> + Send + 'static,
) -> Sending {
    let packets = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&packets);
    let task = tokio::spawn(async move {
        loop {
            for packet in footage.picture() {
                // Nobody may be there any more. Nothing else waits between the packet and its count.
                let _ = socket.send_to(&packet, to).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
            for packet in more(footage.ssrc) {
                let _ = socket.send_to(&packet, to).await;
            }
            tokio::time::sleep(PICTURE).await;
        }
    });
    Sending { task, packets }
}

/// Where an INVITE wants its media.
pub(crate) fn media_address(invite: &Sip) -> SocketAddr {
    let ip = invite.sdp("c=IN IP4 ");
    let media = invite.sdp("m=video ");
    let port = media.split(' ').next().unwrap_or_default();
    format!("{ip}:{port}").parse().unwrap_or_else(|error| panic!("{error}: {}", invite.text()))
}

/// What comes of a stream in MP4 within a while, as a file.
pub(crate) async fn mp4(gateway: &Gateway, path: &str, within: Duration) -> NamedTempFile {
    let mut response = gateway.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200, "{path}");
    let mut bytes = Vec::new();
    let read = async {
        while let Some(piece) = response.chunk().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
    };
    // A live stream has no end.
    let _ = tokio::time::timeout(within, read).await;
    assert!(!bytes.is_empty(), "nothing of {path} within {within:?}");
    let file = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

/// What ffprobe says of the streams and packets of a file, all of them decoded. It has to find nothing wrong but its
/// end, where it was cut.
pub(crate) fn probe(file: &Path) -> Value {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-count_frames", "-show_streams", "-show_packets", "-of", "json"]).arg(file);
    let output = command.output().unwrap_or_else(|error| panic!("ffprobe: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", file.display());
    serde_json::from_slice(&output.stdout).unwrap()
}
