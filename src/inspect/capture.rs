//! Captures of networks: pcap and pcapng files down to UDP datagrams and TCP segments.
//!
//! Nothing in a file is believed: lengths are checked, and what cannot be read is counted and passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use nom::bytes::complete::take;
use nom::number::complete::be_u16;
use nom::number::{Endianness, complete as number};
use nom::{IResult, Parser};

/// What was captured of one packet, with where it stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    /// Of its data in the file.
    pub(super) offset: u64,
    /// Since 1970.
    pub(super) at: Duration,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: Payload,
}

#[derive(Clone, Debug)]
pub(super) enum Payload {
    Udp(Bytes),
    Tcp { sequence: u32, syn: bool, bytes: Bytes },
}

/// A capture, read packet by packet.
pub(super) struct Capture {
    file: Bytes,
    at: usize,
    format: Format,
    /// Packets of protocols that are not looked into, or cut short by the capture.
    pub(super) passed_over: u64,
    /// IP fragments: what they carry is not put together again.
    pub(super) fragments: u64,
}

enum Format {
    Pcap {
        endian: Endianness,
        link: u32,
        nanoseconds: bool,
    },
    /// The link type and the ticks a second of each interface of the section.
    PcapNg {
        endian: Endianness,
        interfaces: Vec<(u32, u64)>,
    },
}

/// Why a file is no capture.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("neither pcap nor pcapng")]
pub(super) struct NoCapture;

/// Interfaces of one section; more are not told apart from the last.
const MAX_INTERFACES: usize = 256;
const PCAPNG_SECTION: u32 = 0x0A0D_0D0A;

impl Capture {
    pub(super) fn open(file: Bytes) -> Result<Capture, NoCapture> {
        let magic = file.get(..4).ok_or(NoCapture)?;
        let (endian, nanoseconds) = match magic {
            [0xD4, 0xC3, 0xB2, 0xA1] => (Endianness::Little, false),
            [0xA1, 0xB2, 0xC3, 0xD4] => (Endianness::Big, false),
            [0x4D, 0x3C, 0xB2, 0xA1] => (Endianness::Little, true),
            [0xA1, 0xB2, 0x3C, 0x4D] => (Endianness::Big, true),
            [0x0A, 0x0D, 0x0D, 0x0A] => {
                let format = Format::PcapNg { endian: Endianness::Little, interfaces: Vec::new() };
                return Ok(Capture { file, at: 0, format, passed_over: 0, fragments: 0 });
            }
            _ => return Err(NoCapture),
        };
        let link = file.get(20..24).ok_or(NoCapture)?;
        let (_, link) = u32_of(endian)(link).map_err(|_| NoCapture)?;
        let format = Format::Pcap { endian, link: link & 0xFFFF, nanoseconds };
        Ok(Capture { file, at: 24, format, passed_over: 0, fragments: 0 })
    }

    /// The next UDP datagram or TCP segment; `None` at the end of what can be read.
    pub(super) fn next(&mut self) -> Option<Captured> {
        loop {
            let (offset, at, link, data) = match &self.format {
                Format::Pcap { .. } => self.record()?,
                Format::PcapNg { .. } => match self.block()? {
                    Some(packet) => packet,
                    None => continue,
                },
            };
            match ip(link, &data) {
                Some(Found::Packet(from, to, payload)) => {
                    return Some(Captured { offset, at, from, to, payload });
                }
                Some(Found::Fragment) => self.fragments += 1,
                None => self.passed_over += 1,
            }
        }
    }

    fn record(&mut self) -> Option<(u64, Duration, u32, Bytes)> {
        let Format::Pcap { endian, link, nanoseconds } = &self.format else { return None };
        let (endian, link, nanoseconds) = (*endian, *link, *nanoseconds);
        let head = self.file.get(self.at..self.at.checked_add(16)?)?;
        let mut word = u32_of(endian);
        let (head, seconds) = word(head).ok()?;
        let (head, fraction) = word(head).ok()?;
        let (_, length) = word(head).ok()?;
        let data = self.at + 16;
        let end = data.checked_add(length as usize)?;
        let fraction = u64::from(fraction) * if nanoseconds { 1 } else { 1_000 };
        let at = Duration::from_secs(seconds.into()) + Duration::from_nanos(fraction);
        let bytes = self.file.get(data..end)?;
        self.at = end;
        Some((data as u64, at, link, self.file.slice_ref(bytes)))
    }

    /// The next block; the outer `None` is the end, the inner one a block without a packet.
    #[allow(clippy::option_option, reason = "the end, and nothing of interest, are two things")]
    fn block(&mut self) -> Option<Option<(u64, Duration, u32, Bytes)>> {
        let Format::PcapNg { endian, interfaces } = &mut self.format else { return None };
        let head = self.file.get(self.at..self.at.checked_add(12)?)?;
        // The type of a section's block reads the same either way; its next word tells how all others are read.
        let (_, kind) = u32_of(*endian)(head).ok()?;
        if kind == PCAPNG_SECTION {
            *endian = match head.get(8..12)? {
                [0x4D, 0x3C, 0x2B, 0x1A] => Endianness::Little,
                _ => Endianness::Big,
            };
            interfaces.clear();
        }
        let (_, length) = u32_of(*endian)(head.get(4..8)?).ok()?;
        let end = self.at.checked_add(length as usize).filter(|_| length >= 12)?;
        let body_at = self.at + 8;
        let body = self.file.get(body_at..end.checked_sub(4)?)?;
        self.at = end;
        let packet = match kind {
            1 => {
                let (options, link) = interface(*endian, body).ok()?;
                if interfaces.len() < MAX_INTERFACES {
                    interfaces.push((link, ticks(*endian, options)));
                }
                None
            }
            6 => {
                enhanced(*endian, body).ok().and_then(|(rest, (interface, ticks_high, ticks_low, length))| {
                    let (link, rate) = *interfaces.get(interface as usize)?;
                    let data = rest.get(..length as usize)?;
                    let stamp = u64::from(ticks_high) << 32 | u64::from(ticks_low);
                    let at = Duration::from_secs(stamp / rate)
                        + Duration::from_nanos(
                            (u128::from(stamp % rate) * 1_000_000_000 / u128::from(rate)) as u64,
                        );
                    Some(((body_at + 20) as u64, at, link, self.file.slice_ref(data)))
                })
            }
            _ => None,
        };
        Some(packet)
    }
}

fn u32_of(endian: Endianness) -> impl FnMut(&[u8]) -> IResult<&[u8], u32> {
    move |input| number::u32(endian).parse(input)
}

fn interface(endian: Endianness, body: &[u8]) -> IResult<&[u8], u32> {
    let (rest, (link, _reserved, _snap)) =
        (number::u16(endian), number::u16(endian), number::u32(endian)).parse(body)?;
    Ok((rest, link.into()))
}

/// Ticks a second of an interface: its option `if_tsresol`, else microseconds.
fn ticks(endian: Endianness, mut options: &[u8]) -> u64 {
    let option = |input| -> IResult<&[u8], (u16, &[u8])> {
        let (rest, (code, length)) = (number::u16(endian), number::u16(endian)).parse(input)?;
        let (rest, value) = take(length)(rest)?;
        let (rest, _) = take(usize::from((4 - length % 4) % 4))(rest)?;
        Ok((rest, (code, value)))
    };
    while let Ok((rest, (code, value))) = option(options) {
        match (code, value.first()) {
            (0, _) => break,
            (9, Some(&resolution)) if resolution & 0x80 != 0 => {
                return 1u64.checked_shl(u32::from(resolution & 0x7F)).unwrap_or(1_000_000).max(1);
            }
            (9, Some(&resolution)) => {
                return 10u64.checked_pow(u32::from(resolution)).unwrap_or(1_000_000);
            }
            _ => options = rest,
        }
    }
    1_000_000
}

fn enhanced(endian: Endianness, body: &[u8]) -> IResult<&[u8], (u32, u32, u32, u32)> {
    let word = || number::u32(endian);
    let (rest, (interface, high, low, captured, _length)) =
        (word(), word(), word(), word(), word()).parse(body)?;
    Ok((rest, (interface, high, low, captured)))
}

enum Found {
    Packet(SocketAddr, SocketAddr, Payload),
    Fragment,
}

/// What an IP packet on a link carries.
fn ip(link: u32, frame: &Bytes) -> Option<Found> {
    let start = match link {
        // BSD loopback, the address family in front.
        0 | 108 => 4,
        // Ethernet, VLAN tags between.
        1 => {
            let mut at = 12;
            while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xA8]) {
                at += 4;
            }
            at + 2
        }
        // Raw IP.
        12 | 101 | 228 | 229 => 0,
        // Linux cooked.
        113 => 16,
        276 => 20,
        _ => return None,
    };
    let packet = frame.slice(start.min(frame.len())..);
    match packet.first()? >> 4 {
        4 => ipv4(&packet),
        6 => ipv6(&packet),
        _ => None,
    }
}

fn ipv4(packet: &Bytes) -> Option<Found> {
    let header = usize::from(packet.first()? & 0x0F) * 4;
    let total = usize::from(be(packet, 2)?).clamp(header, packet.len().max(header));
    if be(packet, 6)? & 0x3FFF != 0 {
        return Some(Found::Fragment);
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    transport(
        *packet.get(9)?,
        address(12)?,
        address(16)?,
        &packet.slice(header.min(packet.len())..total.min(packet.len())),
    )
}

fn ipv6(packet: &Bytes) -> Option<Found> {
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    match *packet.get(6)? {
        44 => Some(Found::Fragment),
        protocol => transport(protocol, address(8)?, address(24)?, &packet.slice(40.min(packet.len())..)),
    }
}

fn transport(protocol: u8, from: IpAddr, to: IpAddr, segment: &Bytes) -> Option<Found> {
    let (from, to) = (SocketAddr::new(from, be(segment, 0)?), SocketAddr::new(to, be(segment, 2)?));
    let payload = match protocol {
        17 => {
            let end = usize::from(be(segment, 4)?).clamp(8, segment.len().max(8));
            Payload::Udp(segment.slice(8.min(segment.len())..end.min(segment.len())))
        }
        6 => {
            let sequence = u32::from(be(segment, 4)?) << 16 | u32::from(be(segment, 6)?);
            let header = usize::from(segment.get(12)? >> 4) * 4;
            let syn = segment.get(13)? & 0x02 != 0;
            Payload::Tcp { sequence, syn, bytes: segment.slice(header.min(segment.len())..) }
        }
        _ => return None,
    };
    Some(Found::Packet(from, to, payload))
}

fn be(bytes: &[u8], at: usize) -> Option<u16> {
    let (_, value) = be_u16::<_, nom::error::Error<&[u8]>>(bytes.get(at..)?).ok()?;
    Some(value)
}
