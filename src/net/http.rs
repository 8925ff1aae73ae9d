//! An accept loop for an axum router: plain or under TLS, with bounds on what a peer may hold.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::bind;
use super::gate::Gate;

pub use super::bind::tcp as listen;

/// The largest head of a request, bytes.
const HEAD: usize = 64 << 10;
/// A pause after a failed accept: mostly no file descriptor is left, and trying at once would only burn a core.
const PAUSE: Duration = Duration::from_millis(100);

/// What a peer may hold.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// How long the head of a request, or the handshake of TLS, may take; and how long a connection may idle.
    pub head: Duration,
    /// How long requests may go on after a stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 4096, head: Duration::from_secs(10), drain: Duration::from_secs(5) }
    }
}

/// Serves `router` on `listener` (made by [`listen`]) until `stop`, then lets what is running end within `limits.drain`. Handlers find
/// the peer's address in `ConnectInfo<SocketAddr>`.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let gate = Gate::new(limits.connections, limits.connections);
    let acceptor = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(error = %bind::plain(&error), "cannot accept an HTTP connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(pass) = gate.admit(remote.ip()) else {
            warn!(%remote, limit = limits.connections, "too many HTTP connections: one more was refused");
            continue;
        };
        let connection = Connection { router: router.clone(), remote, limits, stop: stop.clone() };
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            connection.run(stream, acceptor).await;
            drop(pass);
        });
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain, all_ended).await.is_err() {
        // Live streams and feeds of events do not end by themselves.
        connections.shutdown().await;
    }
}

struct Connection {
    router: Router,
    remote: SocketAddr,
    limits: Limits,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        bind::tune(&stream);
        let remote = self.remote;
        let done = match acceptor {
            None => self.speak(stream).await,
            Some(acceptor) => match timeout(self.limits.head, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream).await,
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the TLS handshake took too long".to_owned()),
            },
        };
        if let Err(reason) = done {
            debug!(%remote, reason, "an HTTP connection ended");
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<(), String> {
        let Connection { router, remote, limits, stop } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(remote));
                let answer: Result<_, Infallible> = router.oneshot(request).await;
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let done = tokio::select! {
            done = connection.as_mut() => done,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        done.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use crate::net::tls;

    async fn who(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
        peer.to_string()
    }

    fn start(
        limits: Limits,
        tls: Option<Arc<ServerConfig>>,
    ) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let (listener, address) = listen("127.0.0.1:0".parse().unwrap(), "http.listen").unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(who));
        let task = tokio::spawn(serve(listener, tls, router, limits, stop.clone()));
        (address, stop, task)
    }

    async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn handlers_know_the_peer() {
        let (address, stop, task) = start(Limits::default(), None);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let ours = stream.local_addr().unwrap().to_string();
        let answer = ask(&mut stream, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&ours), "{answer}");
        stop.cancel();
        task.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn tls_is_spoken() {
        let directory = tls::tests::directory();
        let config = tls::server_config(&tls::tests::files(directory.path(), false), &[b"http/1.1"]).unwrap();
        let (address, _stop, _task) = start(Limits::default(), Some(config));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(tls::tests::FIXTURES[0].1.as_bytes()).unwrap()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
        let mut answer = Vec::new();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_peer_that_sends_no_request_is_cut() {
        let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
        let (address, _stop, _task) = start(limits, None);
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HT").await.unwrap();
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        // All three are closed by the server, or this never ends.
        let mut rest = Vec::new();
        let _ = half.read_to_end(&mut rest).await;
        let _ = silent.read_to_end(&mut rest).await;
        let _ = kept.read_to_end(&mut rest).await;
    }

    #[tokio::test]
    async fn one_connection_too_many_is_refused() {
        let (address, _stop, _task) = start(Limits { connections: 1, ..Limits::default() }, None);
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        first.read_u8().await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut nothing = Vec::new();
        let _ = second.read_to_end(&mut nothing).await;
        assert_eq!(nothing, b"");
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_what_never_ends() {
        let (listener, address) = listen("127.0.0.1:0".parse().unwrap(), "http.listen").unwrap();
        let (stop, (begun, mut began)) = (CancellationToken::new(), tokio::sync::mpsc::channel(1));
        let never = async move || {
            begun.send(()).await.unwrap();
            std::future::pending::<()>().await;
        };
        let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
        let task =
            tokio::spawn(serve(listener, None, Router::new().route("/", get(never)), limits, stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        began.recv().await.unwrap();
        stop.cancel();
        task.await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
    }
}
