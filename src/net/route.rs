//! Which of our addresses a peer is told.
//!
//! A machine has many addresses, and behind a NAT none of them is the one that peers reach. Rules given by the
//! operator come first; without one, the address is that of the route towards the peer.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use thiserror::Error;

/// A block of addresses, such as `10.0.0.0/8` or `fd00::/8`.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

/// The text is not a block of addresses.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("not a block of addresses such as 10.0.0.0/8")]
pub struct BadCidr;

impl Cidr {
    /// All addresses of the family of `ip`.
    pub fn all_like(ip: IpAddr) -> Cidr {
        match ip {
            IpAddr::V4(_) => Cidr { network: Ipv4Addr::UNSPECIFIED.into(), bits: 0 },
            IpAddr::V6(_) => Cidr { network: Ipv6Addr::UNSPECIFIED.into(), bits: 0 },
        }
    }

    /// Whether `ip` is in this block. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.network, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                same_prefix(network.to_bits().into(), ip.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                same_prefix(network.to_bits(), ip.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, width: u32, bits: u8) -> bool {
    let host_bits = width.saturating_sub(bits.into());
    // A shift by the whole width is undefined for u128, and means that all addresses match.
    (a ^ b).checked_shr(host_bits).unwrap_or(0) == 0
}

impl FromStr for Cidr {
    type Err = BadCidr;

    /// Reads `address/bits`; an address alone is the block of that one address.
    fn from_str(text: &str) -> Result<Cidr, BadCidr> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let network: IpAddr = address.trim().parse().map_err(|_| BadCidr)?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.trim().parse().map_err(|_| BadCidr)?,
            None => width,
        };
        if bits > width { Err(BadCidr) } else { Ok(Cidr { network, bits }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

/// To peers in `peers`, say `address`.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Advertise {
    /// The peers that are told.
    pub peers: Cidr,
    /// What they are told.
    pub address: IpAddr,
}

/// The address that the first rule matching `peer` gives.
pub fn advertised(rules: &[Advertise], peer: IpAddr) -> Option<IpAddr> {
    rules.iter().find(|rule| rule.peers.contains(peer)).map(|rule| rule.address)
}

/// Our address as `peer` knows it, port unchanged: by the rules, else as it is.
pub fn as_known_to(rules: &[Advertise], local: SocketAddr, peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(advertised(rules, peer.ip()).unwrap_or(local.ip()), local.port())
}

/// The address to put where `peer` will read it (SDP `c=`, Via, Contact): by the rules, else `local` if that is
/// a real address, else by the route towards the peer. `local` comes back unchanged when there is no route.
pub fn address_for(rules: &[Advertise], local: IpAddr, peer: SocketAddr) -> IpAddr {
    if let Some(address) = advertised(rules, peer.ip()) {
        return address;
    }
    if !local.is_unspecified() {
        return local;
    }
    local_address_towards(peer).unwrap_or(local)
}

/// The address from which the kernel would send to `remote`. Nothing is sent: connecting a UDP socket only
/// looks up the route.
///
/// # Errors
/// Those of the system: mostly that there is no route.
pub fn local_address_towards(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match remote.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // The port does not matter to the route, yet some systems refuse to connect to port 0.
    let port = if remote.port() == 0 { 9 } else { remote.port() };
    socket.connect(SocketAddr::new(remote.ip(), port))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_contain_what_they_should() {
        let ten: Cidr = "10.0.0.0/8".parse().unwrap();
        assert!(ten.contains(ip("10.255.0.1")));
        assert!(!ten.contains(ip("11.0.0.1")));
        assert!(ten.contains(ip("::ffff:10.1.1.1")));
        assert!(!ten.contains(ip("fd00::1")));
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(ip("192.0.2.1")));
        let six: Cidr = "fd00::/8".parse().unwrap();
        assert!(six.contains(ip("fdff::1")));
        assert!(!six.contains(ip("fe80::1")));
        assert!("::/0".parse::<Cidr>().unwrap().contains(ip("2001:db8::1")));
        let one: Cidr = "192.0.2.7".parse().unwrap();
        assert!(one.contains(ip("192.0.2.7")) && !one.contains(ip("192.0.2.6")));
        assert_eq!(one.to_string(), "192.0.2.7/32");
    }

    #[test]
    fn bad_blocks_are_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "camera/8"] {
            assert_eq!(text.parse::<Cidr>(), Err(BadCidr), "{text}");
        }
    }

    #[test]
    fn the_first_rule_wins_then_the_local_address_then_the_route() {
        let rules = [
            Advertise { peers: "10.1.0.0/16".parse().unwrap(), address: ip("10.1.2.3") },
            Advertise { peers: "0.0.0.0/0".parse().unwrap(), address: ip("203.0.113.5") },
        ];
        let peer = |text: &str| SocketAddr::new(ip(text), 5060);
        assert_eq!(address_for(&rules, ip("0.0.0.0"), peer("10.1.9.9")), ip("10.1.2.3"));
        assert_eq!(address_for(&rules, ip("0.0.0.0"), peer("10.2.9.9")), ip("203.0.113.5"));
        assert_eq!(address_for(&[], ip("192.0.2.1"), peer("10.1.9.9")), ip("192.0.2.1"));
        assert_eq!(address_for(&[], ip("0.0.0.0"), peer("127.0.0.1")), ip("127.0.0.1"));
    }
}
