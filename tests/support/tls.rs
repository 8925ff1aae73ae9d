//! The other side of TLS, with the certificates that the unit tests use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A file of PEM: `ca.pem`, `server.pem`, `server.key`, `client.pem` or `client.key`.
pub(crate) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/net/fixtures").join(name)
}

/// The setting of a listener: its certificate and key, and what `more` says.
pub(crate) fn setting(more: &str) -> String {
    let (cert, key) = (file("server.pem"), file("server.key"));
    format!("{{ listen: 127.0.0.1:0, cert: {}, key: {}{more} }}", cert.display(), key.display())
}

/// A connection under TLS to a server that the authority vouches for; with a certificate of our own, if wanted.
pub(crate) async fn connect(to: SocketAddr, with_certificate: bool) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if with_certificate {
        let certificate = CertificateDer::from_pem_file(file("client.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
        config.with_client_auth_cert(vec![certificate], key).unwrap()
    } else {
        config.with_no_client_auth()
    };
    let stream = TcpStream::connect(to).await?;
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
}
