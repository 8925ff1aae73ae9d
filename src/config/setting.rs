//! How a single value is read, and what is said when it cannot be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_yaml::Value;

use super::reader::{from_text, nearest};
use super::text::{Secret, parse_duration};
use super::{PortMode, RegistryUrl};
use crate::device::DateHeader;
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::gb::time::Offset;
use crate::net::ports::PortRange;
use crate::net::route::{Advertise, Cidr};

/// Why a value cannot be taken.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) what: String,
    pub(super) advice: String,
}

impl Bad {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Bad {
        Bad { what: what.into(), advice: advice.into() }
    }
}

/// A type that can be read from one value of the tree. Values from the environment are all text.
pub(super) trait Setting: Sized {
    fn read(value: &Value) -> Result<Self, Bad>;
}

/// The value as it should be shown in a message.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Null => "nothing".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a section".to_owned(),
        other => format!("`{}`", serde_yaml::to_string(other).unwrap_or_default().trim()),
    }
}

fn text<'v>(value: &'v Value, example: &str) -> Result<&'v str, Bad> {
    match value {
        Value::String(text) => Ok(text.trim()),
        Value::Number(_) | Value::Bool(_) => {
            Err(Bad::new("must be text", format!("put it in quotes, such as \"{example}\"")))
        }
        other => Err(Bad::new(
            format!("must be text, not {}", show(other)),
            format!("write such as \"{example}\""),
        )),
    }
}

impl Setting for String {
    fn read(value: &Value) -> Result<String, Bad> {
        text(value, "3402000000").map(str::to_owned)
    }
}

impl Setting for Secret {
    fn read(value: &Value) -> Result<Secret, Bad> {
        // Not trimmed: a space may be meant.
        match value {
            Value::String(secret) if secret.is_empty() => {
                Err(Bad::new("is empty", "give a password, or `null`"))
            }
            Value::String(secret) => Ok(Secret::new(secret)),
            // Its text is not shown, and not guessed from a number that YAML may have changed.
            _ => Err(Bad::new("must be text", "put it in quotes")),
        }
    }
}

impl Setting for PathBuf {
    fn read(value: &Value) -> Result<PathBuf, Bad> {
        match text(value, "/etc/gbgate/cert.pem")? {
            "" => Err(Bad::new("is empty", "give the path of a file")),
            path => Ok(PathBuf::from(path)),
        }
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(value: &Value) -> Result<Option<T>, Bad> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) if text == "null" => Ok(None),
            value => T::read(value).map(Some),
        }
    }
}

fn number(value: &Value, max: u64) -> Result<u64, Bad> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| *number <= max).ok_or_else(|| {
        Bad::new(
            format!("{} is not a whole number from 0 to {max}", show(value)),
            "write one, without a unit",
        )
    })
}

impl Setting for u8 {
    fn read(value: &Value) -> Result<u8, Bad> {
        number(value, u8::MAX.into()).map(|number| number as u8)
    }
}

impl Setting for u16 {
    fn read(value: &Value) -> Result<u16, Bad> {
        number(value, u16::MAX.into()).map(|number| number as u16)
    }
}

impl Setting for u32 {
    fn read(value: &Value) -> Result<u32, Bad> {
        number(value, u32::MAX.into()).map(|number| number as u32)
    }
}

impl Setting for Duration {
    fn read(value: &Value) -> Result<Duration, Bad> {
        let advice = "write a number with a unit (ms, s, m, h, d), such as 60s";
        let bad = || Bad::new(format!("{} is not a duration", show(value)), advice);
        match value {
            Value::String(text) => parse_duration(text).ok_or_else(bad),
            _ => Err(bad()),
        }
    }
}

impl Setting for Id {
    fn read(value: &Value) -> Result<Id, Bad> {
        let text = text(value, "34020000002000000001")?;
        Id::parse(text)
            .map_err(|error| Bad::new(format!("`{text}` is not an id: {error}"), "write 20 digits in quotes"))
    }
}

impl Setting for Offset {
    fn read(value: &Value) -> Result<Offset, Bad> {
        let text = text(value, "+08:00")?;
        text.parse().map_err(|_| Bad::new(format!("`{text}` is not a time zone"), "write it as +08:00, or Z"))
    }
}

fn items(value: &Value) -> Vec<Value> {
    match from_text(value.clone()) {
        Value::Null => Vec::new(),
        Value::Sequence(items) => items,
        // The environment may also separate by commas.
        Value::String(text) if text.contains(',') => {
            text.split(',').map(|part| Value::from(part.trim())).collect()
        }
        one => vec![one],
    }
}

impl Setting for SocketAddr {
    fn read(value: &Value) -> Result<SocketAddr, Bad> {
        let Value::String(text) = value else {
            let port = value.as_u64().filter(|port| *port <= u16::MAX.into());
            let advice = match port {
                Some(port) => format!("write an address too, such as 0.0.0.0:{port}"),
                None => "write such as 0.0.0.0:5060".to_owned(),
            };
            return Err(Bad::new(format!("{} is not an address with a port", show(value)), advice));
        };
        let text = text.trim();
        text.parse()
            .map_err(|_| Bad::new(format!("`{text}` is not an address with a port"), address_advice(text)))
    }
}

/// What the person who wrote `text` for an address most likely meant.
fn address_advice(text: &str) -> String {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return format!("add a port, such as {}", SocketAddr::new(ip, 5060));
    }
    match text.rsplit_once(':') {
        Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
            format!("write 0.0.0.0:{port} for all interfaces")
        }
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
            format!("write {}", SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().unwrap_or_default()))
        }
        _ => "write an IP address and a port, such as 0.0.0.0:5060 or [::]:5060".to_owned(),
    }
}

/// One address or a list; `null` and `[]` listen nowhere.
impl Setting for Vec<SocketAddr> {
    fn read(value: &Value) -> Result<Vec<SocketAddr>, Bad> {
        items(value).iter().map(SocketAddr::read).collect()
    }
}

impl Setting for Vec<String> {
    fn read(value: &Value) -> Result<Vec<String>, Bad> {
        items(value).iter().map(String::read).collect()
    }
}

impl Setting for PortRange {
    fn read(value: &Value) -> Result<PortRange, Bad> {
        let bad = || {
            Bad::new(format!("{} is not a range of ports", show(value)), "write such as 30000-30999, or 0")
        };
        let written = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(bad()),
        };
        written.parse().map_err(|_| bad())
    }
}

impl Setting for Vec<Advertise> {
    fn read(value: &Value) -> Result<Vec<Advertise>, Bad> {
        items(value).iter().enumerate().map(|(index, item)| advertise(item, index + 1)).collect()
    }
}

/// `{ for: 10.0.0.0/8, address: 10.1.2.3 }`, or an address alone for all peers of its family.
fn advertise(item: &Value, position: usize) -> Result<Advertise, Bad> {
    let form = "write { for: 10.0.0.0/8, address: 10.1.2.3 }, or the address alone for all peers";
    let bad = |what: String| Bad::new(format!("entry {position}: {what}"), form);
    let ip = |value: &Value| match value {
        Value::String(text) => {
            text.trim().parse::<IpAddr>().map_err(|_| bad(format!("`{text}` is not an IP address")))
        }
        other => Err(bad(format!("{} is not an IP address", show(other)))),
    };
    let Value::Mapping(mapping) = item else {
        let address = ip(item)?;
        return Ok(Advertise { peers: Cidr::all_like(address), address });
    };
    if let Some(key) = mapping.keys().find(|key| !matches!(key.as_str(), Some("for" | "address"))) {
        return Err(bad(format!("unknown key {}", show(key))));
    }
    let address = ip(mapping.get("address").unwrap_or(&Value::Null))?;
    let peers = match mapping.get("for") {
        None => Cidr::all_like(address),
        Some(Value::String(text)) => text.parse().map_err(|error| bad(format!("`{text}` is {error}")))?,
        Some(other) => return Err(bad(format!("{} is not a block of addresses", show(other)))),
    };
    Ok(Advertise { peers, address })
}

fn choice<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Result<T, Bad> {
    let names = || choices.iter().map(|(name, _)| *name);
    // YAML 1.1 habits: `off` may have been written as a bool.
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Bool(false) => "off",
        _ => "",
    };
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*choice);
    }
    let advice = match nearest(text, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(Bad::new(format!("{} is not a choice here", show(value)), advice))
}

impl Setting for DateHeader {
    fn read(value: &Value) -> Result<DateHeader, Bad> {
        choice(value, &[("gb", DateHeader::Gb), ("rfc1123", DateHeader::Rfc1123), ("off", DateHeader::Off)])
    }
}

impl Setting for PortMode {
    fn read(value: &Value) -> Result<PortMode, Bad> {
        choice(value, &[("port-per-stream", PortMode::PortPerStream), ("single-port", PortMode::SinglePort)])
    }
}

impl Setting for MediaMode {
    fn read(value: &Value) -> Result<MediaMode, Bad> {
        let modes = [MediaMode::Udp, MediaMode::TcpPassive, MediaMode::TcpActive];
        choice(value, &modes.map(|mode| (mode.as_str(), mode)))
    }
}

impl Setting for RegistryUrl {
    fn read(value: &Value) -> Result<RegistryUrl, Bad> {
        let text = text(value, "embedded:data")?;
        let advice = "write embedded: and the path of a directory, such as embedded:data";
        match text.split_once(':') {
            Some(("embedded", "")) => Err(Bad::new("has no path", advice)),
            Some(("embedded", path)) => Ok(RegistryUrl::Embedded(PathBuf::from(path))),
            Some(("redis" | "rediss" | "redis+cluster" | "redis+sentinel", _)) => {
                Err(Bad::new("a registry in Redis is not in this version", advice))
            }
            // The text may hold a password: it is not shown.
            _ => Err(Bad::new("is not a registry", advice)),
        }
    }
}
