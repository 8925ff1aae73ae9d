//! What a simulated device speaks SIP over: a socket or a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::options::SipTransport;
use crate::sip::framer::Limits;
use crate::sip::{Flow, Frame, Framer, Message, Transport};

/// Bytes that those with [`Quirk::TcpDribble`](super::Quirk::TcpDribble) send at once.
const DRIBBLE: usize = 23;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A socket or a connection.
pub(super) enum Line {
    Udp(UdpSocket),
    Stream { stream: Box<dyn Stream>, framer: Box<Framer> },
}

impl Line {
    /// Opens one. `connection` numbers it.
    pub(super) async fn open(
        transport: SipTransport,
        server: SocketAddr,
        connection: u64,
    ) -> std::io::Result<(Line, Flow)> {
        if transport == SipTransport::Udp {
            let any: SocketAddr = if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }
                .parse()
                .map_err(std::io::Error::other)?;
            let socket = UdpSocket::bind(any).await?;
            socket.connect(server).await?;
            let local = socket.local_addr()?;
            let flow = Flow { transport: Transport::Udp, local, remote: server, connection: 0 };
            return Ok((Line::Udp(socket), flow));
        }
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let (transport, stream): (_, Box<dyn Stream>) = if transport == SipTransport::Tls {
            let name = ServerName::from(server.ip());
            let encrypted = TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await?;
            (Transport::Tls, Box::new(encrypted))
        } else {
            (Transport::Tcp, Box::new(stream))
        };
        let flow = Flow { transport, local, remote: server, connection };
        Ok((Line::Stream { stream, framer: Box::new(Framer::new(Limits::default())) }, flow))
    }

    /// Sends, over a stream in small pieces where it is to dribble.
    pub(super) async fn send(&mut self, bytes: &Bytes, dribble: bool) -> std::io::Result<()> {
        match self {
            // A platform that does not listen yet answers with ICMP; the transaction sends again.
            Line::Udp(socket) => socket.send(bytes).await.map(|_| ()).or(Ok(())),
            Line::Stream { stream, .. } => {
                for piece in bytes.chunks(if dribble { DRIBBLE } else { usize::MAX }) {
                    stream.write_all(piece).await?;
                    stream.flush().await?;
                    if dribble {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(())
            }
        }
    }

    /// Waits for a message. An error means that the connection is gone.
    pub(super) async fn receive(&mut self, buffer: &mut BytesMut) -> std::io::Result<Option<Message>> {
        match self {
            Line::Udp(socket) => {
                buffer.clear();
                buffer.reserve(65_536);
                match socket.recv_buf(buffer).await {
                    Ok(_) => Ok(Message::parse(&buffer.split().freeze()).ok()),
                    Err(_) => Ok(None),
                }
            }
            Line::Stream { stream, framer } => loop {
                match framer.next() {
                    Some(Ok(Frame::Message(message))) => return Ok(Some(message)),
                    Some(_) => {}
                    None => {
                        buffer.clear();
                        buffer.reserve(16_384);
                        if stream.read_buf(buffer).await? == 0 {
                            return Err(std::io::ErrorKind::UnexpectedEof.into());
                        }
                        framer.push(buffer).map_err(|_| std::io::ErrorKind::InvalidData)?;
                    }
                }
            },
        }
    }
}

/// TLS that takes any certificate: what is simulated is a device, and most check nothing.
fn tls() -> std::io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    Ok(config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
        .with_no_client_auth())
}

#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
