//! The addresses of this machine's interfaces, for candidates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The addresses of all interfaces: IPv4, and IPv6 for sockets that have both. Loopback only where there is no
/// other; without link-local ones. On systems without `/proc` the address of the default route.
pub(super) fn of_interfaces(with_ipv6: bool) -> Vec<IpAddr> {
    let mut found = std::fs::read_to_string("/proc/net/fib_trie").map_or_else(|_| Vec::new(), |t| ipv4(&t));
    if with_ipv6 && let Ok(table) = std::fs::read_to_string("/proc/net/if_inet6") {
        found.extend(ipv6(&table));
    }
    if found.is_empty() {
        found.extend(of_default_route());
    }
    if found.iter().any(|address| !address.is_loopback()) {
        found.retain(|address| !address.is_loopback());
    }
    if found.is_empty() {
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found
}

/// The local addresses in the kernel's routing trie: a line with the address, then one with its kind.
fn ipv4(trie: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = last.map(IpAddr::from)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// Lines of address, interface, prefix length, scope, flags and name, in hexadecimal. Scope 00 is global.
fn ipv6(table: &str) -> Vec<IpAddr> {
    let global = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        (words.nth(2)? == "00").then(|| IpAddr::V6(Ipv6Addr::from(address)))
    };
    table.lines().filter_map(global).collect()
}

/// Connecting sends nothing, but the system chooses the address it would send from.
fn of_default_route() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_from_the_trie() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.1.2.0\n        \
                    /24 link UNICAST\n        |-- 10.1.2.3\n           /32 host LOCAL\n        |-- 10.1.2.255\n           \
                    /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n        |-- 10.1.2.3\n           \
                    /32 host LOCAL\n";
        let expected: Vec<IpAddr> = vec!["10.1.2.3".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        assert_eq!(ipv4(trie), expected);
    }

    #[test]
    fn link_local_addresses_are_left_out() {
        let table = "20010db8000000000000000000000001 02 40 00 80 eth0\n\
                     fe80000000000000021122fffe334455 02 40 20 80 eth0\nnonsense\n";
        assert_eq!(ipv6(table), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn there_is_always_an_address() {
        assert!(!of_interfaces(true).is_empty());
    }
}
