//! A device as the standard describes it, written without the gateway's own SIP: text out, text in.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use md5::{Digest, Md5};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::PATIENCE;
use super::gateway::{DOMAIN, Gateway, PASSWORD, PLATFORM};

/// Where packets of this machine come from unless said otherwise.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of this machine.
pub(crate) const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// How long UDP is waited for before a request is sent again.
const AGAIN: Duration = Duration::from_secs(2);

/// A message, taken apart as far as tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Sip {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Sip {
    fn read(bytes: &[u8]) -> Option<Sip> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let headers = lines.map(|line| line.split_once(':').unwrap());
        let headers =
            headers.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned())).collect();
        Some(Sip { start, headers, body: bytes[end + 4..].to_vec() })
    }

    /// The status code; 0 for a request.
    pub(crate) fn code(&self) -> u16 {
        let code = self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.split(' ').next());
        code.map_or(0, |code| code.parse().unwrap())
    }

    /// The value of a header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// A parameter of a header, quoted or not.
    pub(crate) fn parameter(&self, header: &str, name: &str) -> Option<String> {
        let rest = self.header(header).split(['=', ',', ';', ' ', '?']).collect::<Vec<_>>();
        let at = rest.iter().position(|part| *part == name)?;
        Some(rest.get(at + 1)?.trim_matches('"').to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The rest of the first line of an SDP body that begins so.
    pub(crate) fn sdp(&self, start: &str) -> String {
        let text = self.text();
        text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default().to_owned()
    }

    /// What stands between `<name>` and `</name>` of an XML body.
    pub(crate) fn element(&self, name: &str) -> String {
        let text = self.text();
        let inner = text
            .split_once(&format!("<{name}>"))
            .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
        inner.map(|(inner, _)| inner.to_owned()).unwrap_or_default()
    }
}

pub(crate) enum Line {
    Udp { socket: UdpSocket, gateway: SocketAddr },
    Stream { name: &'static str, local: SocketAddr, stream: Box<dyn Stream>, buffer: Vec<u8> },
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Line {
    /// A UDP socket on this address of ours that talks to the gateway.
    pub(crate) async fn udp(gateway: &Gateway, from: IpAddr) -> Line {
        let socket = UdpSocket::bind(SocketAddr::new(from, 0)).await.unwrap();
        Line::Udp { socket, gateway: gateway.listen().sip_udp }
    }

    /// A TCP connection to the gateway.
    pub(crate) async fn tcp(gateway: &Gateway, from: IpAddr) -> Line {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        let stream = socket.connect(gateway.listen().sip_tcp).await.unwrap();
        Line::stream("TCP", stream.local_addr().unwrap(), stream)
    }

    /// A connection that is open already.
    pub(crate) fn stream(name: &'static str, local: SocketAddr, stream: impl Stream + 'static) -> Line {
        Line::Stream { name, local, stream: Box::new(stream), buffer: Vec::new() }
    }

    /// The gateway is elsewhere now, and the device where it was.
    pub(crate) fn follow(&mut self, to: &Gateway) {
        if let Line::Udp { gateway, .. } = self {
            *gateway = to.listen().sip_udp;
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Line::Udp { .. } => "UDP",
            Line::Stream { name, .. } => name,
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        match self {
            Line::Udp { socket, .. } => socket.local_addr().unwrap(),
            Line::Stream { local, .. } => *local,
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match self {
            Line::Udp { socket, gateway } => drop(socket.send_to(bytes, *gateway).await.unwrap()),
            Line::Stream { stream, .. } => stream.write_all(bytes).await.unwrap(),
        }
    }

    /// The next message; `None` when the gateway closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Sip> {
        match self {
            Line::Udp { socket, .. } => {
                let mut datagram = vec![0; 65_536];
                let size = socket.recv(&mut datagram).await.unwrap();
                Some(Sip::read(&datagram[..size]).unwrap())
            }
            Line::Stream { stream, buffer, .. } => loop {
                if let Some(mut sip) = Sip::read(buffer) {
                    let length: usize = sip.header("content-length").parse().unwrap();
                    if sip.body.len() >= length {
                        let rest = sip.body.split_off(length);
                        *buffer = rest;
                        return Some(sip);
                    }
                }
                if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
                    return None;
                }
            },
        }
    }
}

/// What a device answers a challenge with.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) nonce: String,
    pub(crate) password: String,
    /// The nonce's count; `None`: without qop, as in RFC 2069.
    pub(crate) count: Option<u32>,
}

impl Credentials {
    /// The first use of the nonce in a 401.
    pub(crate) fn answering(challenge: &Sip) -> Credentials {
        let nonce = challenge.parameter("www-authenticate", "nonce").unwrap();
        Credentials { nonce, password: PASSWORD.to_owned(), count: Some(1) }
    }

    fn header(&self, user: &str, uri: &str) -> String {
        let hash = |text: String| {
            Md5::digest(text).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
        };
        let secret = hash(format!("{user}:{DOMAIN}:{}", self.password));
        let question = hash(format!("REGISTER:{uri}"));
        let nonce = &self.nonce;
        let (response, qop) = match self.count {
            None => (hash(format!("{secret}:{nonce}:{question}")), String::new()),
            Some(count) => {
                let count = format!("{count:08x}");
                (
                    hash(format!("{secret}:{nonce}:{count}:cafe:auth:{question}")),
                    format!(", qop=auth, nc={count}, cnonce=\"cafe\""),
                )
            }
        };
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"{DOMAIN}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5{qop}\r\n"
        )
    }
}

/// A device with one line to the gateway.
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) line: Line,
    /// More header lines for every request, each with its line end.
    pub(crate) extra: String,
    sent: u32,
    /// Requests of the gateway that came while something else was waited for.
    waiting: VecDeque<Sip>,
}

impl Device {
    pub(crate) fn new(id: &str, line: Line) -> Device {
        Device { id: id.to_owned(), line, extra: String::new(), sent: 0, waiting: VecDeque::new() }
    }

    pub(crate) async fn udp(gateway: &Gateway, id: &str) -> Device {
        Device::new(id, Line::udp(gateway, LOOPBACK).await)
    }

    pub(crate) async fn tcp(gateway: &Gateway, id: &str) -> Device {
        Device::new(id, Line::tcp(gateway, LOOPBACK).await)
    }

    /// A device that is registered.
    pub(crate) async fn registered(gateway: &Gateway, id: &str) -> Device {
        let mut device = Device::udp(gateway, id).await;
        assert_eq!(device.register(3600).await.code(), 200);
        device
    }

    /// A request as text, new in each call.
    pub(crate) fn compose(&mut self, method: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let (id, number, extra) = (&self.id, self.sent, &self.extra);
        let (transport, local) = (self.line.name(), self.line.local());
        // Branch and Call-ID are not alone in the world: other devices of the same test have their own port.
        let unique = format!("{number}-{}", local.port());
        let head = format!(
            "{method} sip:{PLATFORM}@{DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {local};rport;branch=z9hG4bK{unique}\r\n\
             From: <sip:{id}@{DOMAIN}>;tag=t{unique}\r\n\
             To: <sip:{id}@{DOMAIN}>\r\n\
             Call-ID: {unique}@device\r\n\
             CSeq: {number} {method}\r\n\
             Contact: <sip:{id}@{local}>\r\n\
             Max-Forwards: 70\r\n\
             {extra}{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    /// Sends what was composed last and waits for its final answer. What the gateway asks meanwhile waits.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Sip {
        let number = format!("{} ", self.sent);
        let wait = async {
            loop {
                self.line.send(request).await;
                let answer = async {
                    loop {
                        let message = self.line.receive().await.unwrap();
                        if message.code() == 0 {
                            self.waiting.push_back(message);
                        } else if message.code() >= 200 && message.header("cseq").starts_with(&number) {
                            return message;
                        }
                    }
                };
                if let Ok(answer) = timeout(AGAIN, answer).await {
                    return answer;
                }
                assert_eq!(self.line.name(), "UDP", "no answer over a connection");
            }
        };
        timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("no answer to {}", String::from_utf8_lossy(request)))
    }

    pub(crate) async fn request(&mut self, method: &str, headers: &str, body: &[u8]) -> Sip {
        let request = self.compose(method, headers, body);
        self.exchange(&request).await
    }

    /// REGISTER with these credentials, or none.
    pub(crate) async fn try_register(&mut self, expires: u32, credentials: Option<&Credentials>) -> Sip {
        let uri = format!("sip:{PLATFORM}@{DOMAIN}");
        let authorization = credentials.map(|given| given.header(&self.id, &uri)).unwrap_or_default();
        self.request("REGISTER", &format!("Expires: {expires}\r\n{authorization}"), b"").await
    }

    /// REGISTER, twice: with the challenge answered. Gives the final answer.
    pub(crate) async fn register(&mut self, expires: u32) -> Sip {
        let challenge = self.try_register(expires, None).await;
        assert_eq!(challenge.code(), 401, "{challenge:?}");
        self.try_register(expires, Some(&Credentials::answering(&challenge))).await
    }

    /// MESSAGE with a body as it is.
    pub(crate) async fn message(&mut self, body: &[u8]) -> Sip {
        self.request("MESSAGE", "Content-Type: Application/MANSCDP+xml\r\n", body).await
    }

    pub(crate) async fn keepalive(&mut self) -> Sip {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Notify>\r\n<CmdType>Keepalive</CmdType>\r\n<SN>1</SN>\r\n\
             <DeviceID>{}</DeviceID>\r\n<Status>OK</Status>\r\n</Notify>\r\n",
            self.id
        );
        self.message(body.as_bytes()).await
    }

    /// The next request of the gateway, unanswered.
    pub(crate) async fn asked(&mut self) -> Sip {
        if let Some(request) = self.waiting.pop_front() {
            return request;
        }
        let wait = async {
            loop {
                let message = self.line.receive().await.unwrap();
                if message.code() == 0 {
                    return message;
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("the gateway asks nothing of {}", self.id))
    }

    /// The next request whose start line or body has `what` in it, once; all that come are answered with 200.
    pub(crate) async fn asked_for(&mut self, what: &str) -> Sip {
        loop {
            let request = self.asked().await;
            self.answer(&request, "200 OK", "", b"").await;
            // A subscription to the catalog is no query of it, though it looks like one.
            let subscribes = request.start.starts_with("SUBSCRIBE") && what == "Catalog";
            if !subscribes && (request.start.contains(what) || request.text().contains(what)) {
                // Its repetitions are of no interest.
                let branch = request.parameter("via", "branch");
                self.waiting.retain(|other| other.parameter("via", "branch") != branch);
                return request;
            }
        }
    }

    /// Answers a request of the gateway.
    pub(crate) async fn answer(&mut self, request: &Sip, status: &str, headers: &str, body: &[u8]) {
        let to = request.header("to");
        let tag = if to.contains(";tag=") { "" } else { ";tag=answered" };
        let (id, local) = (&self.id, self.line.local());
        let head = format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:{id}@{local}>\r\n{headers}Content-Length: {}\r\n\r\n",
            request.header("via"),
            request.header("from"),
            request.header("call-id"),
            request.header("cseq"),
            body.len()
        );
        self.line.send(&[head.as_bytes(), body].concat()).await;
    }

    /// The INVITE that the gateway sends next, unanswered; whatever else it asks is answered with 200.
    pub(crate) async fn invited(&mut self) -> Sip {
        loop {
            let request = self.asked().await;
            if request.start.starts_with("INVITE ") {
                return request;
            }
            self.answer(&request, "200 OK", "", b"").await;
        }
    }

    /// Takes the call, with media from this address, and waits for the ACK.
    pub(crate) async fn take_call(&mut self, invite: &Sip, from: SocketAddr) -> Sip {
        let body = format!(
            "v=0\r\no={} 0 0 IN IP4 {ip}\r\ns=Play\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=video {} RTP/AVP 96\r\n\
             a=sendonly\r\na=rtpmap:96 PS/90000\r\ny={}\r\n",
            self.id,
            from.port(),
            invite.sdp("y="),
            ip = from.ip(),
        );
        self.answer(invite, "200 OK", "Content-Type: Application/SDP\r\n", body.as_bytes()).await;
        loop {
            let request = self.asked().await;
            if request.start.starts_with("ACK ") {
                return request;
            }
        }
    }

    /// Answers a catalog query with a page of these channels.
    pub(crate) async fn page(&mut self, query: &Sip, announced: usize, channels: &[(&str, &str)]) -> Sip {
        let page = page(&self.id, &query.element("SN"), announced, channels);
        self.message(page.as_bytes()).await
    }
}

/// The XML of a page of a catalog: ids with names.
pub(crate) fn page(device: &str, sn: &str, announced: usize, channels: &[(&str, &str)]) -> String {
    let items: String = channels
        .iter()
        .map(|(id, name)| {
            format!(
                "<Item>\r\n<DeviceID>{id}</DeviceID>\r\n<Name>{name}</Name>\r\n<Manufacturer>Maker</Manufacturer>\r\n\
                 <ParentID>{device}</ParentID>\r\n<Status>ON</Status>\r\n</Item>\r\n"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Response>\r\n<CmdType>Catalog</CmdType>\r\n<SN>{sn}</SN>\r\n\
         <DeviceID>{device}</DeviceID>\r\n<SumNum>{announced}</SumNum>\r\n<DeviceList Num=\"{}\">\r\n{items}\
         </DeviceList>\r\n</Response>\r\n",
        channels.len()
    )
}
