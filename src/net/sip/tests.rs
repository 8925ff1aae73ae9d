use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::net::route::Advertise;
use crate::net::tls;

const HOUR: Duration = Duration::from_secs(3600);

fn localhost() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn limits() -> Limits {
    Limits { idle: HOUR, message: HOUR, ..Limits::default() }
}

/// An edge on loopback; the guard stops it.
fn edge(limits: Limits) -> (Edge, tokio_util::sync::DropGuard) {
    let stop = CancellationToken::new();
    let addresses = Listen { udp: vec![localhost()], tcp: vec![localhost()], ..Listen::default() };
    (listen(&addresses, limits, &stop).unwrap(), stop.drop_guard())
}

fn request(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "MESSAGE sip:34020000002000000001@3402000000 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5061;rport;branch=z9hG4bK1\r\n\
         From: <sip:34020000001320000001@3402000000>;tag=1\r\nTo: <sip:34020000002000000001@3402000000>\r\n\
         Call-ID: 1@127.0.0.1\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn message(edge: &mut Edge) -> (Flow, Message) {
    match edge.inbox.recv().await.unwrap() {
        Inbound::Message { flow, message } => (flow, message),
        other => panic!("{other:?}"),
    }
}

async fn closed(edge: &mut Edge) -> u64 {
    loop {
        match edge.inbox.recv().await.unwrap() {
            Inbound::Closed { connection } => return connection,
            Inbound::Malformed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_datagram_comes_in_and_is_answered_from_where_it_was_sent() {
    let stop = CancellationToken::new();
    let any = Listen { udp: vec!["0.0.0.0:0".parse().unwrap()], ..Listen::default() };
    let mut edge = listen(&any, limits(), &stop).unwrap();
    let device = UdpSocket::bind(localhost()).await.unwrap();
    let asked = SocketAddr::new("127.0.0.7".parse().unwrap(), edge.bound.udp[0].port());
    device.send_to(&request(&vec![b'x'; 60_000]), asked).await.unwrap();
    let (flow, message) = message(&mut edge).await;
    assert_eq!(message.body.len(), 60_000);
    assert_eq!(
        flow,
        Flow { transport: Transport::Udp, local: asked, remote: device.local_addr().unwrap(), connection: 0 }
    );
    edge.outlet.send(&flow, Bytes::from_static(b"answer")).unwrap();
    let mut answer = [0; 16];
    assert_eq!(device.recv_from(&mut answer).await.unwrap(), (6, asked));
}

#[tokio::test]
async fn a_peer_knows_us_by_the_address_that_it_is_told() {
    let stop = CancellationToken::new();
    let told = "192.0.2.99".parse().unwrap();
    let rule = Advertise { peers: "127.0.0.0/8".parse().unwrap(), address: told };
    let (udp, tcp) = (vec![localhost()], vec![localhost()]);
    let behind_nat = Listen { udp, tcp, advertise: [rule].into(), ..Listen::default() };
    let mut edge = listen(&behind_nat, limits(), &stop).unwrap();

    let device = UdpSocket::bind(localhost()).await.unwrap();
    device.send_to(&request(b"1"), edge.bound.udp[0]).await.unwrap();
    let (flow, _) = message(&mut edge).await;
    assert_eq!(flow.local, SocketAddr::new(told, edge.bound.udp[0].port()));
    edge.outlet.send(&flow, Bytes::from_static(b"answer")).unwrap();
    let mut answer = [0; 16];
    assert_eq!(device.recv_from(&mut answer).await.unwrap(), (6, edge.bound.udp[0]));

    let mut device = TcpStream::connect(edge.bound.tcp[0]).await.unwrap();
    device.write_all(&request(b"2")).await.unwrap();
    let (flow, _) = message(&mut edge).await;
    assert_eq!(flow.local, SocketAddr::new(told, edge.bound.tcp[0].port()));
}

#[tokio::test]
async fn what_is_no_message_is_told_and_blank_datagrams_are_not() {
    let (mut edge, _stop) = edge(limits());
    let device = UdpSocket::bind(localhost()).await.unwrap();
    device.connect(edge.bound.udp[0]).await.unwrap();
    for datagram in [&b"\r\n\r\n"[..], b"\0\0\0\0", b"", b"GET / HTTP/1.1\r\n\r\n"] {
        device.send(datagram).await.unwrap();
    }
    let Inbound::Malformed { flow, .. } = edge.inbox.recv().await.unwrap() else { panic!("not malformed") };
    assert_eq!(flow.remote, device.local_addr().unwrap());
}

#[tokio::test]
async fn a_full_inbox_drops_datagrams_and_recovers() {
    let (mut edge, _stop) = edge(Limits { messages: 2, ..limits() });
    let device = UdpSocket::bind(localhost()).await.unwrap();
    device.connect(edge.bound.udp[0]).await.unwrap();
    for _ in 0..50 {
        device.send(&request(b"x")).await.unwrap();
    }
    // The reader has seen all of them once a later one gets in.
    let mut got = 0;
    loop {
        let (_, message) = message(&mut edge).await;
        got += 1;
        if &message.body[..] == b"last" {
            break;
        }
        device.send(&request(b"last")).await.unwrap();
    }
    assert!(got < 50, "{got} came in");
}

#[tokio::test]
async fn the_inbox_is_bounded_in_bytes_too() {
    let (entry, mut inbox) = inbox::inbox(1000, 10_000);
    let parsed = || Message::parse(&Bytes::from(request(&[b'x'; 1000]))).unwrap();
    let flow = Flow { transport: Transport::Udp, local: localhost(), remote: localhost(), connection: 0 };
    for _ in 0..10 {
        entry.offer(Inbound::Message { flow, message: parsed() });
    }
    let mut count = 0;
    while inbox.try_recv().is_some() {
        count += 1;
    }
    assert_eq!(count, 3);
    entry.offer(Inbound::Message { flow, message: parsed() });
    assert!(inbox.try_recv().is_some());
    // What waits for room does not wait for an inbox that is gone.
    for _ in 0..3 {
        assert!(entry.put(Inbound::Message { flow, message: parsed() }).await);
    }
    let (waiting, ()) =
        tokio::join!(entry.put(Inbound::Message { flow, message: parsed() }), async { drop(inbox) });
    assert!(!waiting);
}

#[tokio::test]
async fn a_stream_is_read_in_any_pieces_and_answered() {
    let (mut edge, _stop) = edge(limits());
    let mut device = TcpStream::connect(edge.bound.tcp[0]).await.unwrap();
    device.set_nodelay(true).unwrap();
    let bytes = [request(b"first"), b"\r\n\r\n".to_vec(), request(b"second")].concat();
    for piece in bytes.chunks(100) {
        device.write_all(piece).await.unwrap();
    }
    let (flow, first) = message(&mut edge).await;
    let (_, second) = message(&mut edge).await;
    assert_eq!((&first.body[..], &second.body[..]), (&b"first"[..], &b"second"[..]));
    assert_eq!((flow.transport, flow.local), (Transport::Tcp, edge.bound.tcp[0]));
    assert_eq!(flow.remote, device.local_addr().unwrap());
    edge.outlet.send(&flow, Bytes::from_static(b"answer")).unwrap();
    let mut answer = [0; 8];
    device.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\r\nanswer");
    // A request to that peer takes the connection that is there.
    assert_eq!(edge.outlet.connect_tcp(flow.remote), flow);
    drop(device);
    assert_eq!(closed(&mut edge).await, flow.connection);
    assert_eq!(edge.outlet.send(&flow, Bytes::new()), Err(NotSent::NoConnection));
    assert_eq!(edge.outlet.connections(), 0);
}

#[tokio::test]
async fn a_message_that_does_not_become_whole_is_cut() {
    let (mut edge, _stop) = edge(Limits { message: Duration::from_millis(30), ..limits() });
    let mut device = TcpStream::connect(edge.bound.tcp[0]).await.unwrap();
    device.write_all(b"MESSAGE sip:").await.unwrap();
    closed(&mut edge).await;
    assert_eq!(device.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn half_a_keep_alive_is_no_slow_message_and_silence_ends_a_stream() {
    let (mut edge, _stop) = edge(Limits { idle: Duration::from_millis(60), message: HOUR, ..limits() });
    let mut device = TcpStream::connect(edge.bound.tcp[0]).await.unwrap();
    device.write_all(b"\r\n").await.unwrap();
    closed(&mut edge).await;
    assert_eq!(device.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn who_does_not_speak_sip_is_cut() {
    let (mut edge, _stop) = edge(Limits { faults: 3, ..limits() });
    let mut device = TcpStream::connect(edge.bound.tcp[0]).await.unwrap();
    let bad = "REGISTER sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n".repeat(10);
    device.write_all(bad.as_bytes()).await.unwrap();
    closed(&mut edge).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut() {
    let (mut edge, _stop) = edge(Limits { write_queue: 1 << 20, ..limits() });
    let mut device = TcpStream::connect(edge.bound.tcp[0]).await.unwrap();
    device.write_all(&request(b"x")).await.unwrap();
    let (flow, _) = message(&mut edge).await;
    let mut sent = 0;
    let end = loop {
        match edge.outlet.send(&flow, Bytes::from(vec![0; 64 << 10])) {
            Ok(()) => sent += 1,
            Err(end) => break end,
        }
        assert!(sent < 1000, "nothing bounds what waits");
        tokio::task::yield_now().await;
    };
    assert_eq!(end, NotSent::QueueFull);
    drop(device);
    assert_eq!(closed(&mut edge).await, flow.connection);
}

#[tokio::test]
async fn connections_from_one_address_are_bounded() {
    let (mut edge, _stop) = edge(Limits { connections_per_address: 1, ..limits() });
    let mut first = TcpStream::connect(edge.bound.tcp[0]).await.unwrap();
    first.write_all(&request(b"x")).await.unwrap();
    message(&mut edge).await;
    let mut second = TcpStream::connect(edge.bound.tcp[0]).await.unwrap();
    let _ = second.write_all(&request(b"y")).await;
    assert!(!matches!(second.read(&mut [0; 1]).await, Ok(1)));
    drop(first);
    closed(&mut edge).await;
}

#[tokio::test]
async fn we_connect_where_there_is_no_connection() {
    let (mut edge, _stop) = edge(limits());
    let upper = TcpListener::bind(localhost()).await.unwrap();
    let flow = edge.outlet.connect_tcp(upper.local_addr().unwrap());
    assert_eq!(flow.local, edge.bound.tcp[0], "the peer is told where we listen");
    edge.outlet.send(&flow, Bytes::from_static(b"REGISTER")).unwrap();
    assert_eq!(edge.outlet.connect_tcp(flow.remote), flow);
    let (mut stream, _) = upper.accept().await.unwrap();
    let mut got = [0; 8];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"REGISTER");
    stream.write_all(&request(b"x")).await.unwrap();
    assert_eq!(message(&mut edge).await.0, flow);
    drop((stream, upper));
    assert_eq!(closed(&mut edge).await, flow.connection);
    // Nobody listens there any more.
    let flow = edge.outlet.connect_tcp(flow.remote);
    assert_eq!(closed(&mut edge).await, flow.connection);
}

#[tokio::test]
async fn what_is_too_long_for_a_datagram_goes_over_tcp_where_there_is_one() {
    let (mut edge, _stop) = edge(limits());
    let listener = TcpListener::bind(localhost()).await.unwrap();
    let device = UdpSocket::bind(listener.local_addr().unwrap()).await.unwrap();
    let remote = device.local_addr().unwrap();
    let flow = Flow { transport: Transport::Udp, local: edge.bound.udp[0], remote, connection: 0 };
    let long = |body: u8| Bytes::from(request(&[body; 2000]));
    let mut buffer = vec![0; 8192];

    edge.outlet.send(&flow, Bytes::from(request(b"short"))).unwrap();
    assert_eq!(device.recv(&mut buffer).await.unwrap(), request(b"short").len());
    edge.outlet.send(&flow, long(b'1')).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let length = long(b'1').len();
    stream.read_exact(&mut buffer[..length]).await.unwrap();
    assert!(String::from_utf8_lossy(&buffer).contains("Via: SIP/2.0/TCP 127.0.0.1:5061;"));
    edge.outlet.send(&flow, long(b'2')).unwrap();
    stream.read_exact(&mut buffer[..length]).await.unwrap();
    // The answer comes by the same way and names the branch.
    stream.write_all(&request(b"answer")).await.unwrap();
    assert_eq!(message(&mut edge).await.1.body, "answer");
    // Not answered there: from now on it goes as a datagram.
    edge.outlet.send(&flow, long(b'2')).unwrap();
    assert_eq!(device.recv(&mut buffer).await.unwrap(), length);
    assert!(buffer.starts_with(&long(b'2')));

    // A device without TCP gets the datagram at once.
    let device = UdpSocket::bind(localhost()).await.unwrap();
    let flow = Flow { remote: device.local_addr().unwrap(), ..flow };
    edge.outlet.send(&flow, long(b'3')).unwrap();
    assert_eq!(device.recv(&mut buffer).await.unwrap(), length);
}

#[tokio::test]
async fn tls_asks_for_the_certificate_of_a_client() {
    let stop = CancellationToken::new();
    let directory = tls::tests::directory();
    let config = tls::server_config(&tls::tests::files(directory.path(), true), &[]).unwrap();
    let addresses = Listen { tls: vec![localhost()], tls_config: Some(config), ..Listen::default() };
    let mut edge = listen(&addresses, limits(), &stop).unwrap();
    let fixture =
        |name: &str| tls::tests::FIXTURES.iter().find(|(file, _)| *file == name).unwrap().1.as_bytes();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(fixture("ca.pem")).unwrap()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots);
    let chain = vec![CertificateDer::from_pem_slice(fixture("client.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(fixture("client.key")).unwrap();
    let name = ServerName::try_from("localhost").unwrap();

    let stranger = TlsConnector::from(Arc::new(client.clone().with_no_client_auth()));
    let stream = TcpStream::connect(edge.bound.tls[0]).await.unwrap();
    let mut stream = stranger.connect(name.clone(), stream).await.unwrap();
    // TLS 1.3 tells the client only after its handshake.
    let _ = stream.write_all(&request(b"stranger")).await;
    assert!(stream.read_u8().await.is_err());

    let known = TlsConnector::from(Arc::new(client.with_client_auth_cert(chain, key).unwrap()));
    let stream = TcpStream::connect(edge.bound.tls[0]).await.unwrap();
    let mut stream = known.connect(name, stream).await.unwrap();
    stream.write_all(&request(b"known")).await.unwrap();
    let (flow, message) = message(&mut edge).await;
    assert_eq!((flow.transport, &message.body[..]), (Transport::Tls, &b"known"[..]));
    edge.outlet.send(&flow, Bytes::from_static(b"!")).unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'!');
}

#[tokio::test]
async fn a_stop_writes_what_waits_and_closes() {
    let stop = CancellationToken::new();
    let addresses = Listen { tcp: vec![localhost()], ..Listen::default() };
    let mut edge = listen(&addresses, limits(), &stop).unwrap();
    let address = edge.bound.tcp[0];
    let mut device = TcpStream::connect(address).await.unwrap();
    device.write_all(&request(b"x")).await.unwrap();
    let (flow, _) = message(&mut edge).await;
    edge.outlet.send(&flow, Bytes::from_static(b"BYE")).unwrap();
    stop.cancel();
    let mut all = Vec::new();
    device.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"BYE");
    assert_eq!(closed(&mut edge).await, flow.connection);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_told_and_nothing_starts() {
    let (edge, _stop) = edge(limits());
    let stop = CancellationToken::new();
    let addresses = Listen { udp: vec![localhost()], tcp: vec![edge.bound.tcp[0]], ..Listen::default() };
    let told = listen(&addresses, limits(), &stop).err().unwrap().to_string();
    assert!(told.contains("/tcp (sip.tcp): address already in use. Another gbgate or SIP server"), "{told}");
}
