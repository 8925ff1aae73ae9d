//! Listening, and what went wrong with it, for a person to read.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol as SocketProtocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// A peer that acknowledges nothing for so long, or takes nothing that we send, is gone (TCP_USER_TIMEOUT).
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// A silent connection is probed after this, and then at this pace.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// The two kinds of port.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

impl Protocol {
    /// As written behind a port: `5060/udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        }
    }
}

/// An address on which we cannot listen: says which, by what key it was set, why, and what to do.
#[derive(Debug)]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// The kind of port.
    pub protocol: Protocol,
    /// The key of the configuration that asked for it, such as `sip.udp`.
    pub key: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl BindError {
    /// What the person who starts the gateway can do about it.
    fn advice(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::AddrInUse if self.key.starts_with("sip.") => {
                "Another gbgate or SIP server runs there; stop it or choose another port."
            }
            io::ErrorKind::AddrInUse => "Another program runs there; stop it or choose another port.",
            io::ErrorKind::AddrNotAvailable => {
                "No interface of this machine has that address; choose one that it has, or 0.0.0.0 for all."
            }
            io::ErrorKind::PermissionDenied if self.address.port() < 1024 => {
                "Ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher port or grant it."
            }
            io::ErrorKind::PermissionDenied => "The system forbids it; look at the sandbox or container.",
            _ if is_too_many_files(&self.source) => "Raise the limit of open files (ulimit -n).",
            _ if self.address.is_ipv6() => "Check that IPv6 is enabled on this machine.",
            _ => "Check the address.",
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot listen on {}/{} ({}): {}. {}",
            self.address,
            self.protocol.as_str(),
            self.key,
            plain(&self.source),
            self.advice()
        )
    }
}

// Its source is in the text already.
impl std::error::Error for BindError {}

/// Listens on a TCP address; gives the address in use too, with the real port where 0 was asked for. IPv6 addresses
/// take no IPv4, so that both can be listened on. `key` names the key of the configuration for the message. Must be
/// called within a tokio runtime.
///
/// # Errors
/// Why the address cannot be had.
pub fn tcp(address: SocketAddr, key: &'static str) -> Result<(TcpListener, SocketAddr), BindError> {
    let bind = || {
        let socket = socket(address, Type::STREAM, SocketProtocol::TCP)?;
        // A port that was in use a moment ago can be listened on again; one that is listened on cannot (Linux).
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    bind().map_err(|source| BindError { address, protocol: Protocol::Tcp, key, source })
}

/// A non-blocking socket of the family of `address`, of that family alone.
pub(super) fn socket(address: SocketAddr, kind: Type, protocol: SocketProtocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Small messages leave at once, and a peer that is gone is noticed. What the system does not know is left out.
pub(super) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(DEAD_AFTER));
}

/// Whether the process or the system has no file descriptor left (EMFILE, ENFILE).
pub(crate) fn is_too_many_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// The system's words in the middle of a sentence: `address already in use`, without the number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind_error(key: &'static str, number: i32) -> String {
        let source = io::Error::from_raw_os_error(number);
        BindError { address: "0.0.0.0:5060".parse().unwrap(), protocol: Protocol::Udp, key, source }
            .to_string()
    }

    #[tokio::test]
    async fn a_port_in_use_is_told() {
        let (_taken, address) = tcp("127.0.0.1:0".parse().unwrap(), "http.listen").unwrap();
        let told = tcp(address, "http.listen").unwrap_err().to_string();
        assert!(
            told.starts_with(&format!(
                "cannot listen on {address}/tcp (http.listen): address already in use."
            ))
        );
    }

    #[test]
    fn it_reads_as_a_person_would_say_it() {
        assert_eq!(
            bind_error("sip.udp", 98),
            "cannot listen on 0.0.0.0:5060/udp (sip.udp): address already in use. \
             Another gbgate or SIP server runs there; stop it or choose another port."
        );
        assert!(
            bind_error("http.listen", 98)
                .ends_with("Another program runs there; stop it or choose another port.")
        );
        assert!(bind_error("sip.udp", 24).contains("ulimit -n"));
        assert!(bind_error("sip.udp", 99).contains("No interface of this machine"));
    }
}
