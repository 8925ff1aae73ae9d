//! Certificates and keys from PEM files, checked so that a mistake is told at the start and in words.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// Where the PEM files of a TLS listener are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Files {
    /// The certificate chain, ours first.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
    /// Certificates that must have signed a client's; `None` asks clients for none.
    pub client_ca: Option<PathBuf>,
}

/// Which of the files is at fault.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// The certificate chain.
    Cert,
    /// The private key.
    Key,
    /// The certificates for checking clients.
    ClientCa,
}

impl Part {
    /// The key of the configuration that names the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Cert => "cert",
            Part::Key => "key",
            Part::ClientCa => "client_ca",
        }
    }
}

/// A file that cannot be used, and why.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("{what}")]
pub struct BadFile {
    /// Which file.
    pub part: Part,
    /// What is wrong with it; names the file.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// Reads and checks the files, and makes of them what a TLS listener needs. `alpn` lists the protocols offered,
/// such as `http/1.1`; empty for SIP.
///
/// # Errors
/// All that is wrong with the files: each that cannot be read, is not PEM, does not fit its partner, or cannot be
/// used for TLS.
pub fn server_config(files: &Files, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Vec<BadFile>> {
    let chain = read_certificates(&files.cert, Part::Cert);
    let key = read_key(&files.key);
    let roots = files.client_ca.as_ref().map(|path| read_certificates(path, Part::ClientCa)).transpose();
    let (chain, key, roots) = match (chain, key, roots) {
        (Ok(chain), Ok(key), Ok(roots)) => (chain, key, roots),
        (chain, key, roots) => {
            return Err([chain.err(), key.err(), roots.err()].into_iter().flatten().collect());
        }
    };
    build(files, chain, key, roots, alpn).map_err(|bad| vec![bad])
}

fn build(
    files: &Files,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Option<Vec<CertificateDer<'static>>>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, BadFile> {
    let provider = Arc::new(ring::default_provider());
    check_pair(files, &chain, key.clone_key(), &provider)?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(files, &error))?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(certificates) => {
            let bad = |what: String| BadFile {
                part: Part::ClientCa,
                what: format!("{} {what}", show(files.client_ca.as_deref())),
                advice: "give the certificates of the authority that signs the clients",
            };
            let mut store = RootCertStore::empty();
            for certificate in certificates {
                store.add(certificate).map_err(|error| bad(format!("has a bad certificate: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(store.into(), provider)
                .build()
                .map_err(|error| bad(format!("cannot check clients: {error}")))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(files, &error))?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn check_pair(
    files: &Files,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<(), BadFile> {
    let key = provider.key_provider.load_private_key(key).map_err(|error| BadFile {
        part: Part::Key,
        what: format!("{} is a key that cannot be used: {error}", files.key.display()),
        advice: "give an RSA, ECDSA (P-256, P-384) or Ed25519 key",
    })?;
    match CertifiedKey::new(chain.to_vec(), key).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(BadFile {
            part: Part::Key,
            what: format!("{} is not the key of {}", files.key.display(), files.cert.display()),
            advice: "give the key with which the first certificate of the chain was made",
        }),
        Err(error) => Err(unusable(files, &error)),
    }
}

fn unusable(files: &Files, error: &rustls::Error) -> BadFile {
    BadFile {
        part: Part::Cert,
        what: format!("{} cannot be used for TLS: {error}", files.cert.display()),
        advice: "give an X.509 v3 certificate for servers",
    }
}

fn read_certificates(path: &Path, part: Part) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let bytes = read(path, part)?;
    let advice = "give a PEM file that has a `BEGIN CERTIFICATE` line";
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| BadFile { part, what: not_pem(path, &error), advice })?;
    if certificates.is_empty() {
        let what = format!("{} has no certificate in it", path.display());
        return Err(BadFile { part, what, advice });
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, BadFile> {
    let bytes = read(path, Part::Key)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound => BadFile {
            part: Part::Key,
            what: format!("{} has no private key in it", path.display()),
            advice: "give a PEM file that has a `BEGIN PRIVATE KEY` line; one with a passphrase cannot be read",
        },
        error => BadFile {
            part: Part::Key,
            what: not_pem(path, &error),
            advice: "give a PEM file that has a `BEGIN PRIVATE KEY` line",
        },
    })
}

fn read(path: &Path, part: Part) -> Result<Vec<u8>, BadFile> {
    fs::read(path).map_err(|error| BadFile {
        part,
        what: format!("{} cannot be read: {}", path.display(), super::bind::plain(&error)),
        advice: "check the path and that this user may read the file",
    })
}

fn not_pem(path: &Path, error: &PemError) -> String {
    format!("{} is not PEM: {error}", path.display())
}

fn show(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Made for these tests alone with `openssl req -x509` and `openssl x509 -req`, good until 2126: an authority,
    /// and a server (127.0.0.1, localhost) and a client signed by it.
    pub(crate) const FIXTURES: [(&str, &str); 5] = [
        ("ca.pem", include_str!("fixtures/ca.pem")),
        ("server.pem", include_str!("fixtures/server.pem")),
        ("server.key", include_str!("fixtures/server.key")),
        ("client.pem", include_str!("fixtures/client.pem")),
        ("client.key", include_str!("fixtures/client.key")),
    ];

    /// The fixtures in a directory of their own.
    pub(crate) fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in FIXTURES {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    pub(crate) fn files(directory: &Path, client_ca: bool) -> Files {
        Files {
            cert: directory.join("server.pem"),
            key: directory.join("server.key"),
            client_ca: client_ca.then(|| directory.join("ca.pem")),
        }
    }

    #[test]
    fn good_files_make_a_listener() {
        let directory = directory();
        let config = server_config(&files(directory.path(), true), &[b"http/1.1"]).unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
    }

    #[test]
    fn a_key_of_another_certificate_is_told() {
        let directory = directory();
        let mut files = files(directory.path(), false);
        files.key = directory.path().join("client.key");
        let bad = server_config(&files, &[]).unwrap_err();
        assert_eq!(bad.len(), 1);
        assert_eq!(bad[0].part, Part::Key);
        assert!(bad[0].what.contains("is not the key of"), "{}", bad[0].what);
    }

    #[test]
    fn every_bad_file_is_told_at_once() {
        let directory = directory();
        fs::write(directory.path().join("text"), "no PEM at all").unwrap();
        let files = Files {
            cert: directory.path().join("absent.pem"),
            key: directory.path().join("server.pem"),
            client_ca: Some(directory.path().join("text")),
        };
        let bad = server_config(&files, &[]).unwrap_err();
        assert_eq!(
            bad.iter().map(|bad| bad.part).collect::<Vec<_>>(),
            [Part::Cert, Part::Key, Part::ClientCa]
        );
        assert!(bad[0].what.contains("no such file"), "{}", bad[0].what);
        assert!(bad[1].what.contains("no private key"), "{}", bad[1].what);
        assert!(bad[2].what.contains("no certificate"), "{}", bad[2].what);
    }

    #[test]
    fn broken_pem_is_told() {
        let directory = directory();
        fs::write(
            directory.path().join("server.pem"),
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        let bad = server_config(&files(directory.path(), false), &[]).unwrap_err();
        assert!(bad[0].what.contains("is not PEM"), "{}", bad[0].what);
    }
}
