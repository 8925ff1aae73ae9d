use super::*;
use crate::egress::webrtc::testing::Player;
use crate::egress::webrtc::{BadOffer, Publisher};
use crate::media::unit::{AccessUnit, Codec};
use bytes::BytesMut;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const BOTH: Tracks = Tracks { video: Some(Codec::H264), audio: Some(Codec::Pcma) };
const LIMIT: Duration = Duration::from_secs(10);

fn loopback() -> Option<SocketAddr> {
    Some((Ipv4Addr::LOCALHOST, 0).into())
}

async fn hub(max_viewers: usize) -> Hub {
    let config = Config { udp: loopback(), tcp: loopback(), max_viewers, ..Config::default() };
    Hub::bind(config).await.unwrap()
}

fn unit(codec: Codec, pts: i64, key: bool, size: usize) -> AccessUnit {
    let payload = Bytes::from(vec![0x65; size]);
    let nals = std::iter::once(0..size as u32).collect();
    AccessUnit { codec, pts, dts: pts, key, damaged: false, payload, nals }
}

/// The other end of a session, over UDP or TCP.
struct Remote {
    player: Player,
    wire: Wire,
    server: (String, String),
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, BytesMut),
}

impl Remote {
    async fn new(player: Player, hub: &Hub, answer: &Answer, tcp: bool) -> Self {
        let value = |name: &str| {
            let line = answer.sdp.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().to_owned()
        };
        let wire = if tcp {
            Wire::Tcp(TcpStream::connect(hub.tcp_addr().unwrap()).await.unwrap(), BytesMut::new())
        } else {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            socket.connect(hub.udp_addr().unwrap()).await.unwrap();
            Wire::Udp(socket)
        };
        let server = (value("a=ice-ufrag:"), value("a=ice-pwd:"));
        let mut remote = Self { player, wire, server };
        remote.knock().await;
        remote
    }

    async fn send(&mut self, data: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.send(data).await.unwrap();
            }
            Wire::Tcp(stream, _) => {
                // It may be closed by now; what is read tells.
                let frame = [&(data.len() as u16).to_be_bytes(), data].concat();
                let _ = stream.write_all(&frame).await;
            }
        }
    }

    async fn receive(&mut self) -> Option<BytesMut> {
        match &mut self.wire {
            Wire::Udp(socket) => {
                let mut buffer = BytesMut::zeroed(2048);
                let length = socket.recv(&mut buffer).await.ok()?;
                buffer.truncate(length);
                Some(buffer)
            }
            Wire::Tcp(stream, buffer) => loop {
                if let Some((length, rest)) = buffer.split_first_chunk()
                    && rest.len() >= usize::from(u16::from_be_bytes(*length))
                {
                    let length = usize::from(u16::from_be_bytes(*length));
                    return Some(buffer.split_to(2 + length).split_off(2));
                }
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            },
        }
    }

    async fn knock(&mut self) {
        let check = self.player.check((&self.server.0, &self.server.1), true);
        self.send(&check).await;
    }

    /// Carries datagrams both ways until `done`.
    async fn until(&mut self, done: impl Fn(&Player) -> bool) {
        let run = async {
            loop {
                // Before that the hub does not know the address.
                while self.player.checks_answered > 0
                    && let Some(data) = self.player.poll()
                {
                    self.send(&data).await;
                }
                if done(&self.player) {
                    return;
                }
                let Some(data) = self.receive().await else { panic!("the hub closed the connection") };
                self.player.receive(clock::now(), &data);
            }
        };
        timeout(LIMIT, run).await.unwrap();
    }
}

fn player() -> Player {
    Player::new(vec![Profile::Srtp_Aead_Aes_128_Gcm])
}

#[tokio::test]
async fn a_viewer_sees_the_last_pictures_and_those_to_come() {
    for tcp in [false, true] {
        let hub = hub(10).await;
        let mut publisher = Publisher::new();
        publisher.push(&unit(Codec::H264, 0, true, 50_000));
        publisher.push(&unit(Codec::H264, 3_600, false, 5_000));
        let player = player();
        let answer = hub.offer(&player.offer(), BOTH, publisher.feed()).unwrap();
        assert_eq!((hub.viewers(), publisher.viewers()), (1, 1));
        let mut remote = Remote::new(player, &hub, &answer, tcp).await;
        remote.until(|player| player.rtp.iter().filter(|packet| packet.marker).count() == 2).await;
        publisher.push(&unit(Codec::H264, 7_200, false, 5_000));
        publisher.push(&unit(Codec::Pcma, 7_200, true, 160));
        remote.until(|player| player.rtp.iter().any(|p| p.payload_type == 8)).await;
        let video: Vec<_> = remote.player.rtp.iter().filter(|packet| packet.payload_type == 96).collect();
        assert!(video.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
        assert!(video.iter().map(|packet| packet.payload.len()).sum::<usize>() >= 60_000);
        assert!(hub.close(&answer.id) && !hub.close(&answer.id));
        remote.until(|player| player.closed).await;
        timeout(LIMIT, hub.shutdown()).await.unwrap();
        assert_eq!((hub.viewers(), publisher.viewers()), (0, 0));
    }
}

#[tokio::test]
async fn the_end_of_the_stream_is_told_to_its_viewers() {
    let hub = hub(10).await;
    let publisher = Publisher::new();
    let player = player();
    let answer = hub.offer(&player.offer(), BOTH, publisher.feed()).unwrap();
    let mut remote = Remote::new(player, &hub, &answer, false).await;
    remote.until(Player::connected).await;
    drop(publisher);
    remote.until(|player| player.closed).await;
    timeout(LIMIT, hub.shutdown()).await.unwrap();
    assert_eq!(hub.viewers(), 0);
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_takes_no_more() {
    let hub = hub(10).await;
    let publisher = Publisher::new();
    let player = player();
    let offer = player.offer();
    let answer = hub.offer(&offer, BOTH, publisher.feed()).unwrap();
    let mut remote = Remote::new(player, &hub, &answer, true).await;
    remote.until(Player::connected).await;
    timeout(LIMIT, hub.shutdown()).await.unwrap();
    remote.until(|player| player.closed).await;
    assert_eq!((hub.viewers(), publisher.viewers()), (0, 0));
    assert!(matches!(hub.offer(&offer, BOTH, publisher.feed()), Err(OfferError::Closed)));
}

#[tokio::test]
async fn offers_are_refused_for_a_reason() {
    let hub = hub(1).await;
    let publisher = Publisher::new();
    let offer = player().offer();
    let refuse = |offer: &str, tracks| hub.offer(offer, tracks, publisher.feed()).unwrap_err();
    assert!(matches!(refuse("", BOTH), OfferError::BadOffer(BadOffer::NotSdp)));
    let hevc = Tracks { video: Some(Codec::H265), ..BOTH };
    let refused = refuse(&offer, hevc);
    assert!(matches!(refused, OfferError::NoCommonCodec), "{refused}");
    let aac = Tracks { video: None, audio: Some(Codec::Aac) };
    assert!(matches!(refuse(&offer, aac), OfferError::NoCommonCodec));
    let mute = Tracks { audio: Some(Codec::Aac), ..BOTH };
    let answer = hub.offer(&offer, mute, publisher.feed()).unwrap();
    assert!(answer.sdp.contains("m=audio 0 "), "sound that is not taken is left out");
    assert!(matches!(refuse(&offer, BOTH), OfferError::Full));
    assert_eq!(publisher.viewers(), 1, "a refused feed is dropped");
}

/// A packet of RTP with one byte of sound in it, this one.
fn spoken(player: &mut Player, sequence: u8) -> BytesMut {
    let mut plain = vec![0x80, 8, 0, sequence, 0, 0, 0, sequence, 0, 0, 0, 42];
    plain.push(sequence);
    player.outbound.as_mut().unwrap().encrypt_rtp(&plain).unwrap()
}

#[tokio::test]
async fn what_is_said_is_heard_until_either_side_leaves() {
    let hub = hub(1).await;
    for tcp in [false, true] {
        let player = player();
        let offer = player.offer().replace("a=recvonly", "a=sendonly");
        let (answer, mut sounds) = hub.ingest(&offer).unwrap();
        assert!(answer.sdp.contains("a=recvonly") && answer.sdp.contains("m=video 0 "));
        assert!(matches!(hub.ingest(&offer), Err(OfferError::Full)));
        let mut remote = Remote::new(player, &hub, &answer, tcp).await;
        remote.until(Player::connected).await;
        for sequence in 1..4 {
            let packet = spoken(&mut remote.player, sequence);
            remote.send(&packet).await;
            let sound = timeout(LIMIT, sounds.recv()).await.unwrap().unwrap();
            assert_eq!(
                (sound.codec, sound.timestamp, &sound.payload[..]),
                (Codec::Pcma, sequence.into(), &[sequence][..])
            );
        }
        if tcp {
            drop(sounds);
        } else {
            assert!(hub.close(&answer.id));
            assert_eq!(timeout(LIMIT, sounds.recv()).await.unwrap(), None);
        }
        remote.until(|player| player.closed).await;
        while hub.viewers() > 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(matches!(hub.ingest(&player().offer()), Err(OfferError::NoCommonCodec)), "it only listens");
}

#[tokio::test]
async fn fragments_are_taken_but_for_restarts() {
    let hub = hub(1).await;
    let publisher = Publisher::new();
    let answer = hub.offer(&player().offer(), BOTH, publisher.feed()).unwrap();
    let candidate =
        "a=ice-ufrag:player\r\nm=video 9 X 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n";
    assert_eq!(hub.trickle(&answer.id, Some(&answer.etag), candidate), Ok(()));
    assert_eq!(hub.trickle(&answer.id, None, ""), Ok(()));
    assert_eq!(hub.trickle(&answer.id, Some("\"other\""), candidate), Err(TrickleError::Precondition));
    assert_eq!(hub.trickle(&answer.id, Some("*"), "a=ice-ufrag:new\r\n"), Err(TrickleError::Restart));
    assert_eq!(hub.trickle("nobody", None, candidate), Err(TrickleError::NotFound));
}

#[tokio::test]
async fn strangers_get_no_answer_and_no_place() {
    let hub = hub(1).await;
    let player = player();
    let publisher = Publisher::new();
    let answer = hub.offer(&player.offer(), BOTH, publisher.feed()).unwrap();
    let mut remote = Remote::new(player, &hub, &answer, false).await;
    let forged = remote.player.check((&remote.server.0, "a guess"), true);
    let nobody = remote.player.check(("nobody", &remote.server.1), true);
    for data in [&forged[..], &nobody, b"\x16\xfe\xfd\0\0", &[0; 40], &[0x80; 40], &[]] {
        remote.send(data).await;
    }
    // The answers to true checks are all that comes.
    remote.knock().await;
    remote.until(|player| player.checks_answered == 2).await;
    assert!(!remote.player.connected());
    let mut stream = TcpStream::connect(hub.tcp_addr().unwrap()).await.unwrap();
    stream.write_all(&(nobody.len() as u16).to_be_bytes()).await.unwrap();
    stream.write_all(&nobody).await.unwrap();
    assert_eq!(timeout(LIMIT, stream.read(&mut [0; 9])).await.unwrap().unwrap(), 0, "it is closed");
    let mut stream = TcpStream::connect(hub.tcp_addr().unwrap()).await.unwrap();
    stream.write_all(&[0xFF; 9]).await.unwrap();
    // Closed with bytes unread, which some systems call a reset.
    assert!(matches!(timeout(LIMIT, stream.read(&mut [0; 9])).await.unwrap(), Ok(0) | Err(_)));
}

#[tokio::test]
async fn both_sockets_have_one_port_and_candidates_their_addresses() {
    let hub = hub(1).await;
    assert_eq!(hub.udp_addr().unwrap().port(), hub.tcp_addr().unwrap().port());
    let bound: SocketAddr = "0.0.0.0:8189".parse().unwrap();
    let advertise = ["198.51.100.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let expected: Vec<SocketAddr> =
        vec!["198.51.100.1:8189".parse().unwrap(), "[2001:db8::1]:8189".parse().unwrap()];
    assert_eq!(candidates(bound, &advertise), expected);
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    assert_eq!(candidates(loopback, &[]), [loopback]);
    assert!(candidates(bound, &[]).iter().all(|address| !address.ip().is_unspecified()));
    assert!(matches!(Hub::bind(Config::default()).await, Err(BindError::Nothing)));
    let taken = Config { tcp: hub.tcp_addr(), ..Config::default() };
    assert!(matches!(
        Hub::bind(taken).await,
        Err(BindError::Listen(net::BindError { key: "webrtc.tcp", .. }))
    ));
}

#[test]
fn session_ids_are_uuids() {
    assert_eq!(session_id(0), "00000000-0000-4000-8000-000000000000");
    assert_eq!(session_id(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}
