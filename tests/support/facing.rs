//! What is done to devices and what comes of it: commands with the device's answer to them, events as they happen, and
//! the record of who did what.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::gateway::{Answer, CAMERA, CHANNEL, Gateway};
use super::sip::{Device, Sip};
use super::until;

/// Longer than any test: events are followed until the test ends.
const FOLLOWING: Duration = Duration::from_secs(600);

/// What happens at a gateway, from when this was made.
pub(crate) struct Events {
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    task: JoinHandle<()>,
}

impl Events {
    pub(crate) async fn follow(gateway: &Gateway) -> Events {
        let request = gateway.request(Method::GET, "/api/v1/events").timeout(FOLLOWING);
        let mut response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut text = Vec::new();
            while let Ok(Some(chunk)) = response.chunk().await {
                text.extend_from_slice(&chunk);
                while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                    let event: Vec<u8> = text.drain(..end + 2).collect();
                    let event = String::from_utf8(event).unwrap();
                    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                    if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                        let data = serde_json::from_str(data).unwrap();
                        kept.lock().unwrap().push((name.to_owned(), data));
                    }
                }
            }
        });
        Events { seen, task }
    }

    /// Waits for an event; gives its data. It is not given again.
    pub(crate) async fn next(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(&format!("the event {name}"), async || {
            let mut seen = self.seen.lock().unwrap();
            let found = seen.iter().position(|(own, data)| own == name && fits(data));
            found.map(|at| seen.remove(at).1).ok_or_else(|| format!("{seen:?}"))
        })
        .await
    }

    /// How many events of that name came that were not given yet.
    pub(crate) fn left(&self, name: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(own, _)| own == name).count()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A device of this edition (as in X-GB-Ver; empty: it tells none) that is registered and has one channel. What the
/// gateway asks a new device is answered.
pub(crate) async fn camera(gateway: &Gateway, edition: &str) -> Device {
    camera_of(gateway, CAMERA, edition, "Maker").await
}

/// The same with an id and a manufacturer.
pub(crate) async fn camera_of(gateway: &Gateway, id: &str, edition: &str, maker: &str) -> Device {
    let mut device = Device::udp(gateway, id).await;
    if !edition.is_empty() {
        device.extra = format!("X-GB-Ver: {edition}\r\n");
    }
    assert_eq!(device.register(3600).await.code(), 200);
    settle(gateway, &mut device, maker).await;
    device
}

/// Answers what the gateway asks a new device.
pub(crate) async fn settle(gateway: &Gateway, device: &mut Device, maker: &str) {
    let query = device.asked_for("DeviceInfo").await;
    let inside = format!(
        "<Result>OK</Result><DeviceName>Gate</DeviceName><Manufacturer>{maker}</Manufacturer><Model>M1</Model>\
         <Firmware>V1</Firmware><Channel>1</Channel>"
    );
    assert_eq!(reply(device, &query, &inside).await.code(), 200);
    let query = device.asked_for("<CmdType>Catalog<").await;
    device.page(&query, 1, &[(CHANNEL, "gate")]).await;
    let known = |state: &Value| state["channel_count"] == 1 && state["manufacturer"] == maker;
    gateway.device(&device.id, "with its channel and maker", known).await;
}

/// A response to a question of the gateway.
pub(crate) fn response(request: &Sip, inside: &str) -> String {
    let [cmd, sn, id] = ["CmdType", "SN", "DeviceID"].map(|name| request.element(name));
    response_of(&cmd, &sn, &id, inside)
}

/// A response as a device writes it.
pub(crate) fn response_of(cmd: &str, sn: &str, id: &str, inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Response>\r\n<CmdType>{cmd}</CmdType>\r\n<SN>{sn}</SN>\r\n\
         <DeviceID>{id}</DeviceID>\r\n{inside}\r\n</Response>\r\n"
    )
}

/// A notify as a device writes it.
pub(crate) fn notify(cmd: &str, sn: u32, id: &str, inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Notify>\r\n<CmdType>{cmd}</CmdType>\r\n<SN>{sn}</SN>\r\n\
         <DeviceID>{id}</DeviceID>\r\n{inside}\r\n</Notify>\r\n"
    )
}

/// Answers a question of the gateway by a MESSAGE; gives the gateway's answer to that.
pub(crate) async fn reply(device: &mut Device, request: &Sip, inside: &str) -> Sip {
    device.message(response(request, inside).as_bytes()).await
}

/// Asks something of the gateway while the device takes the request with `what` in it, and answers it so if there is
/// something to answer. Gives what the gateway said and what the device was asked.
pub(crate) async fn exchange(
    gateway: &Gateway,
    device: &mut Device,
    (method, path, body): (Method, &str, &Value),
    what: &str,
    inside: Option<&str>,
) -> (Answer, Sip) {
    let device_side = async {
        let request = device.asked_for(what).await;
        if let Some(inside) = inside {
            assert_eq!(reply(device, &request, inside).await.code(), 200);
        }
        request
    };
    let asking = async {
        match body {
            Value::Null => gateway.ask(method, path).await,
            body => gateway.tell(method, path, body).await,
        }
    };
    tokio::join!(asking, device_side)
}

/// The path of something that is done to the camera's channel.
pub(crate) fn channel_path(what: &str) -> String {
    format!("/api/v1/devices/{CAMERA}/channels/{CHANNEL}/{what}")
}

/// The path of something that is done to the camera.
pub(crate) fn device_path(what: &str) -> String {
    format!("/api/v1/devices/{CAMERA}/{what}")
}

/// `POST` that has to go well; gives the answer.
pub(crate) async fn post(gateway: &Gateway, path: &str, body: Value) -> Value {
    let answer = gateway.tell(Method::POST, path, &body).await;
    assert!(answer.status.is_success(), "POST {path} {body}: {}: {}", answer.status, answer.text);
    answer.json()
}

/// Asserts a problem of validation that names the field.
pub(crate) fn names_field(answer: &Answer, field: &str) {
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["field"]), (422, &json!(field)), "{}", answer.text);
}

/// The newest record of an action; waits for it.
pub(crate) async fn audit(gateway: &Gateway, action: &str) -> Value {
    let path = format!("/api/v1/audit?action={action}");
    until(&format!("the record of {action}"), async || {
        let page = gateway.get(&path).await;
        let newest = page["items"].as_array().unwrap().iter().max_by_key(|item| item["id"].to_string());
        newest.cloned().ok_or_else(|| page.to_string())
    })
    .await
}

/// A subscription of the gateway, as the device has it.
pub(crate) struct Subscription {
    /// The SUBSCRIBE that began it.
    pub(crate) request: Sip,
}

impl Subscription {
    /// Waits for the SUBSCRIBE of this CmdType, and leaves it open. All else is answered with 200.
    pub(crate) async fn asked(device: &mut Device, cmd: &str) -> Sip {
        loop {
            let request = device.asked().await;
            if request.start.starts_with("SUBSCRIBE ") && request.element("CmdType") == cmd {
                return request;
            }
            device.answer(&request, "200 OK", "Expires: 3600\r\n", b"").await;
        }
    }

    /// The same, granted for so many seconds.
    pub(crate) async fn granted(device: &mut Device, cmd: &str, seconds: u32) -> Subscription {
        let request = Subscription::asked(device, cmd).await;
        device.answer(&request, "200 OK", &format!("Expires: {seconds}\r\n"), b"").await;
        Subscription { request }
    }

    /// A NOTIFY within its dialog, which counts on with each.
    pub(crate) fn notify(&self, device: &mut Device, state: &str, body: &str) -> Vec<u8> {
        let event = self.request.header("event");
        let content = if body.is_empty() { "" } else { "Content-Type: Application/MANSCDP+xml\r\n" };
        let headers = format!("Event: {event}\r\nSubscription-State: {state}\r\n{content}");
        let request = device.compose("NOTIFY", &headers, body.as_bytes());
        let request = String::from_utf8(request).unwrap();
        let (from, to) = (self.request.header("to"), self.request.header("from"));
        let lines = request.split("\r\n").map(|line| match line.split_once(": ") {
            Some(("From", _)) if from.contains(";tag=") => format!("From: {from}"),
            Some(("From", _)) => format!("From: {from};tag=answered"),
            Some(("To", _)) => format!("To: {to}"),
            Some(("Call-ID", _)) => format!("Call-ID: {}", self.request.header("call-id")),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\r\n").into_bytes()
    }

    /// Sends a NOTIFY; gives the code that it is answered with.
    pub(crate) async fn tell(&self, device: &mut Device, state: &str, body: &str) -> u16 {
        let request = self.notify(device, state, body);
        device.exchange(&request).await.code()
    }
}

/// The number in a request's CSeq.
pub(crate) fn number(request: &Sip) -> u32 {
    request.header("cseq").split(' ').next().unwrap().parse().unwrap()
}

/// How the subscription to a topic stands, once it stands so.
pub(crate) async fn subscription(gateway: &Gateway, topic: &str, state: &str) -> Value {
    let path = device_path("subscriptions");
    until(&format!("the subscription to {topic} {state}"), async || {
        let seen = gateway.get(&path).await;
        let items = seen["items"].as_array().unwrap();
        let found = items.iter().find(|item| item["topic"] == topic && item["state"] == state);
        found.cloned().ok_or_else(|| seen.to_string())
    })
    .await
}
