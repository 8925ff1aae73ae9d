//! Snapshots: a camera is told to take pictures and brings them by HTTP to an address that nobody can guess.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{self, within};
use super::extract::{Raw, Segments};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::device::Request;
use crate::gb::id::Id;
use crate::gb::manscdp::config::ConfigKind;
use crate::gb::time::UnixMillis;
use crate::net::clock;

/// Where cameras bring pictures to.
pub(super) const UPLOAD: &str = "/upload/snapshots/";
/// The largest picture, bytes: a main stream of 8 megapixels has some 4 MB.
pub(super) const MAX_PICTURE: usize = 8 << 20;
/// Pictures of a session, by the standard.
const MAX_PICTURES: u8 = 10;
/// Sessions that are kept; the oldest is forgotten.
const MAX_SESSIONS: usize = 256;
/// Bytes of all pictures together; beyond, the oldest sessions are forgotten.
const MAX_BYTES: usize = 128 << 20;
/// Characters of a picture's name: the standard has 41.
const MAX_NAME: usize = 128;
/// The longest pause between two pictures, in seconds.
const INTERVAL: (u32, u32) = (1, 3_600);

/// Pictures that were asked for, and those that have come. They are kept in memory, until newer ones need the room.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    sessions: Mutex<VecDeque<Session>>,
}

#[derive(Debug)]
struct Session {
    id: String,
    device: Id,
    channel: Id,
    wanted: u8,
    at: UnixMillis,
    pictures: Vec<Picture>,
}

#[derive(Clone, Debug)]
struct Picture {
    name: String,
    at: UnixMillis,
    bytes: Bytes,
}

impl Session {
    fn bytes(&self) -> usize {
        self.pictures.iter().map(|picture| picture.bytes.len()).sum()
    }

    fn to_json(&self, api: &Api) -> Value {
        let time = |at: UnixMillis| at.to_rfc3339(api.info.offset);
        let files: Vec<Value> = self
            .pictures
            .iter()
            .map(|picture| {
                json!({
                    "name": picture.name,
                    "size": picture.bytes.len(),
                    "at": time(picture.at),
                    "url": format!("/api/v1/snapshots/{}/{}", self.id, picture.name),
                })
            })
            .collect();
        json!({
            "session": self.id,
            "device": self.device,
            "channel": self.channel,
            "at": time(self.at),
            "wanted": self.wanted,
            "complete": files.len() >= usize::from(self.wanted),
            "files": files,
        })
    }
}

impl Snapshots {
    fn open(&self, session: Session) {
        let mut sessions = self.sessions.lock();
        sessions.push_back(session);
        if sessions.len() > MAX_SESSIONS {
            sessions.pop_front();
        }
    }

    fn close(&self, id: &str) {
        self.sessions.lock().retain(|session| session.id != id);
    }

    /// Takes a picture in; one of a name that is there already is replaced, since cameras repeat themselves. False
    /// where there is no such session, or it has all its pictures.
    fn put(&self, id: &str, picture: Picture) -> bool {
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.iter_mut().find(|session| session.id == id) else { return false };
        session.pictures.retain(|other| other.name != picture.name);
        if session.pictures.len() >= usize::from(session.wanted) {
            return false;
        }
        session.pictures.push(picture);
        let mut total: usize = sessions.iter().map(Session::bytes).sum();
        while total > MAX_BYTES {
            let Some(oldest) = sessions.pop_front() else { break };
            total -= oldest.bytes();
        }
        true
    }

    fn with<T>(&self, id: &str, read: impl FnOnce(&Session) -> T) -> Option<T> {
        self.sessions.lock().iter().find(|session| session.id == id).map(read)
    }
}

/// 32 characters that nobody can guess, as sessions of snapshots and upgrades have.
pub(super) fn new_session() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// How many pictures, how many seconds between them, and where they go if not here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    count: Option<u8>,
    interval: Option<u32>,
    url: Option<String>,
}

/// Tells a channel to take pictures.
pub(super) async fn take(
    api: &Api,
    who: &Who,
    device: Id,
    channel: Id,
    Order { count, interval, url }: Order,
) -> Result<Json<Value>> {
    let wanted = within("count", count.unwrap_or(1), (1, MAX_PICTURES))?;
    let interval = within("interval", interval.unwrap_or(1), INTERVAL)?;
    ask::known(api, &device, &channel)?;
    let id = new_session();
    let own = url.is_none();
    let url = match url {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => url,
        Some(_) => return Err(Problem::bad_value("url", "url is not of http or https")),
        None => format!("{}{UPLOAD}{id}", base(api, &device)?),
    };
    if own {
        let (at, pictures) = (clock::unix(), Vec::new());
        api.kept.snapshots.open(Session { id: id.clone(), device, channel, wanted, at, pictures });
    }
    let value = json!({ "snap_num": wanted, "interval": interval, "upload_url": url, "session_id": id });
    let deed = Deed::new("control.snapshot").at(device, channel).saying(format!("{wanted} pictures"));
    let request = Request::Configure(vec![(ConfigKind::SnapShotConfig, value)]);
    if let Err(problem) = ask::ask(api, who, deed, (device, channel), request).await {
        api.kept.snapshots.close(&id);
        return Err(problem);
    }
    let place = own.then(|| format!("/api/v1/snapshots/{id}"));
    Ok(Json(json!({ "result": "done", "session": id, "snapshots": place })))
}

/// Our address as the device sees it: where it registered to, with the port of this API.
fn base(api: &Api, device: &Id) -> Result<String> {
    let http = api.info.http;
    let index = api.node.index();
    let route =
        index.device(device).and_then(|state| state.registration.map(|registration| registration.route));
    let Some(route) = route else { return Err(crate::device::Failure::Offline.into()) };
    let address = reachable(http.ip(), route.local.ip()).ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "not_reachable",
            "upload",
            format!("the device cannot bring pictures to {http}"),
            "Set http.listen to an address that devices reach, or give a `url` of your own.",
        )
    })?;
    let scheme = if api.info.http_tls { "https" } else { "http" };
    Ok(format!("{scheme}://{}", SocketAddr::new(address, http.port())))
}

/// The address by which a device that talks to `local` reaches a listener on `listen`.
fn reachable(listen: IpAddr, local: IpAddr) -> Option<IpAddr> {
    let (listen, local) = (listen.to_canonical(), local.to_canonical());
    if listen.is_unspecified() {
        return Some(local);
    }
    (!listen.is_loopback() || local.is_loopback()).then_some(listen)
}

/// A camera brings a picture, under a name of its own.
pub(super) async fn upload_named(
    State(api): State<Api>,
    Segments((session, name)): Segments<(String, String)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<StatusCode> {
    receive(&api, &session, Some(name), peer, &headers, body)
}

/// A camera brings a picture.
pub(super) async fn upload(
    State(api): State<Api>,
    Segments(session): Segments<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<StatusCode> {
    receive(&api, &session, None, peer, &headers, body)
}

fn receive(
    api: &Api,
    session: &str,
    name: Option<String>,
    peer: SocketAddr,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<StatusCode> {
    let unknown = || Problem::not_found("no session that waits for a picture");
    let (device, channel, count) = api
        .kept
        .snapshots
        .with(session, |session| (session.device, session.channel, session.pictures.len()))
        .ok_or_else(unknown)?;
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (told, bytes) = match boundary(content) {
        Some(boundary) => part(&body, boundary).ok_or_else(no_picture)?,
        None => (None, body),
    };
    if !bytes.starts_with(&JPEG) {
        return Err(no_picture());
    }
    let name = plain(name.or(told).as_deref()).unwrap_or_else(|| format!("{}.jpg", count + 1));
    let size = bytes.len();
    // A copy of its own: a part of a body would keep the whole body.
    let picture = Picture { name: name.clone(), at: clock::unix(), bytes: Bytes::copy_from_slice(&bytes) };
    if !api.kept.snapshots.put(session, picture) {
        return Err(unknown());
    }
    let deed = Deed::new("snapshot.upload").at(device, channel).saying(format!("{name}, {size} bytes"));
    Who::device(device, peer).did(api, deed, "ok");
    Ok(StatusCode::CREATED)
}

/// What a JPEG begins with.
const JPEG: [u8; 3] = [0xFF, 0xD8, 0xFF];

fn no_picture() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "bad_picture",
        "upload",
        "the body is no JPEG",
        "Send the picture as the body, or as a file of multipart/form-data.",
    )
}

/// The boundary of a multipart body.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let value = rest.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    value.filter(|boundary| (1..=70).contains(&boundary.len()))
}

/// The first file of a multipart body (RFC 7578), and its name.
fn part(body: &Bytes, boundary: &str) -> Option<(Option<String>, Bytes)> {
    let delimiter = format!("--{boundary}");
    let mut rest = 0;
    while let Some(found) = memchr::memmem::find(body.get(rest..)?, delimiter.as_bytes()) {
        let head = rest + found + delimiter.len();
        let length = memchr::memmem::find(body.get(head..)?, b"\r\n\r\n")?;
        let begin = head + length + 4;
        let end = begin + memchr::memmem::find(body.get(begin..)?, format!("\r\n{delimiter}").as_bytes())?;
        let header = String::from_utf8_lossy(body.get(head..begin)?);
        let name = header.split("filename=\"").nth(1).and_then(|rest| rest.split('"').next());
        if body.get(begin..end)?.starts_with(&JPEG) {
            return Some((name.map(str::to_owned), body.slice(begin..end)));
        }
        rest = end;
    }
    None
}

/// A name that is safe wherever it is shown or kept: its last part, of letters, digits and few signs.
fn plain(name: Option<&str>) -> Option<String> {
    let last = name?.rsplit(['/', '\\']).next()?;
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = last.chars().filter(fits).take(MAX_NAME).collect();
    Some(name).filter(|name| name.bytes().any(|byte| byte.is_ascii_alphanumeric()))
}

pub(super) async fn show(State(api): State<Api>, Segments(id): Segments<String>) -> Result<Json<Value>> {
    let found = api.kept.snapshots.with(&id, |session| session.to_json(&api));
    found.map(Json).ok_or_else(|| Problem::not_found(format!("no snapshots {id}")))
}

pub(super) async fn picture(
    State(api): State<Api>,
    who: Who,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<Response> {
    let found = api.kept.snapshots.with(&id, |session| {
        let picture = session.pictures.iter().find(|picture| picture.name == name).cloned();
        picture.map(|picture| (session.device, session.channel, picture.bytes))
    });
    let (device, channel, bytes) =
        found.flatten().ok_or_else(|| Problem::not_found(format!("no picture {name}")))?;
    who.did(&api, Deed::new("snapshot.view").at(device, channel).saying(name), "ok");
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, wanted: u8) -> Session {
        let device = Id::parse("34020000001110000001").unwrap();
        Session {
            id: id.to_owned(),
            device,
            channel: device,
            wanted,
            at: UnixMillis(0),
            pictures: Vec::new(),
        }
    }

    fn picture(name: &str, size: usize) -> Picture {
        Picture { name: name.to_owned(), at: UnixMillis(0), bytes: Bytes::from(vec![0; size]) }
    }

    #[test]
    fn a_session_takes_as_many_pictures_as_were_asked_for() {
        let all = Snapshots::default();
        all.open(session("a", 2));
        assert!(!all.put("b", picture("1", 1)));
        assert!(
            all.put("a", picture("1", 1)) && all.put("a", picture("1", 2)) && all.put("a", picture("2", 1))
        );
        assert!(!all.put("a", picture("3", 1)));
        assert_eq!(all.with("a", Session::bytes), Some(3));
    }

    #[test]
    fn pictures_never_take_more_than_their_room() {
        let all = Snapshots::default();
        for number in 0..40 {
            all.open(session(&number.to_string(), 10));
            assert!(all.put(&number.to_string(), picture("1", MAX_PICTURE)));
        }
        let total: usize = all.sessions.lock().iter().map(Session::bytes).sum();
        assert_eq!(total, MAX_BYTES);
        assert!(all.with("39", |_| ()).is_some());
    }

    #[test]
    fn a_file_is_found_in_a_form() {
        let body = Bytes::from_static(
            b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ntext\r\n--x\r\nContent-Disposition: form-data; \
              name=\"f\"; filename=\"..\\p/1.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\xFF\xD8\xFF\x01\r\n--x--\r\n",
        );
        let boundary = boundary("multipart/form-data; boundary=x").unwrap();
        let (name, bytes) = part(&body, boundary).unwrap();
        assert_eq!(
            (plain(name.as_deref()).as_deref(), bytes.as_ref()),
            (Some("1.jpg"), &b"\xFF\xD8\xFF\x01"[..])
        );
        assert_eq!(part(&Bytes::from_static(b"--x\r\n\r\n"), "x"), None);
        assert_eq!(plain(Some("../..")), None);
    }

    #[test]
    fn a_device_reaches_us_where_it_registers() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(reachable(ip("0.0.0.0"), ip("10.0.0.1")), Some(ip("10.0.0.1")));
        assert_eq!(reachable(ip("::"), ip("::ffff:10.0.0.1")), Some(ip("10.0.0.1")));
        assert_eq!(reachable(ip("10.0.0.2"), ip("10.0.0.1")), Some(ip("10.0.0.2")));
        assert_eq!(reachable(ip("127.0.0.1"), ip("127.0.0.1")), Some(ip("127.0.0.1")));
        assert_eq!(reachable(ip("127.0.0.1"), ip("10.0.0.1")), None);
    }
}
