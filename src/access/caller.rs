//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

/// Where a request comes from, as far as it bears on what is allowed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// The peer of the connection (an IPv4 address mapped into IPv6 is told as IPv4).
    pub address: IpAddr,
    /// The request's Host names this machine.
    pub host_is_loopback: bool,
    /// A page of another site sent it: it has an Origin, which is neither its Host nor trusted.
    pub foreign_origin: bool,
}

impl Caller {
    /// From the peer's address and the headers Host and Origin. `trusted` are the configured `cors_origins`
    /// (`*` trusts all).
    pub fn new(address: IpAddr, host: Option<&str>, origin: Option<&str>, trusted: &[String]) -> Caller {
        let own = |origin: &str| host.is_some_and(|host| same_site(origin, host));
        let known =
            |origin: &str| trusted.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin));
        Caller {
            address: address.to_canonical(),
            host_is_loopback: host.is_some_and(host_is_loopback),
            foreign_origin: origin.is_some_and(|origin| !own(origin) && !known(origin)),
        }
    }

    pub fn is_loopback(&self) -> bool {
        self.address.to_canonical().is_loopback()
    }
}

/// Whether a Host header, with a port or without, names this machine itself: `localhost` or a loopback address.
pub fn host_is_loopback(host: &str) -> bool {
    let host = host.trim();
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_canonical().is_loopback();
    }
    // Without a port, or a name.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => bare.strip_suffix('.').unwrap_or(bare).eq_ignore_ascii_case("localhost"),
    }
}

/// Whether an Origin (RFC 6454 7: scheme, host and port, or `null`) is of the host that was asked.
fn same_site(origin: &str, host: &str) -> bool {
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    site.is_some_and(|site| site.eq_ignore_ascii_case(host.trim()))
}
