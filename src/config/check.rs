//! What no single key can tell: whether the values make sense together, in this version, on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::Report;
use super::{Config, PortMode, Secret, Tls};
use crate::net::ports::PortRange;
use crate::net::tls;

/// A password shorter than this draws a warning.
const SHORT_PASSWORD: usize = 8;
/// Fewer streams than this at once draw a warning.
const FEW_STREAMS: usize = 8;
/// The type code of a signalling server (annex D).
const SERVER_TYPE: u16 = 200;

pub(super) fn check(config: &Config, report: &mut Report) {
    platform(config, report);
    sip(config, report);
    media(config, report);
    http(config, report);
    files_and_events(config, report);
    listeners(config, report);
    later(config, report);
}

fn platform(config: &Config, report: &mut Report) {
    let id = config.platform.id;
    let domain = config.platform.domain.as_str();
    if !id.is_standard() {
        let what = format!("`{id}` is not 20 digits");
        report.error(
            "platform.id",
            what,
            "write the code that your upper platform or plan of numbers gives you",
        );
        return;
    }
    if id.type_code() != Some(SERVER_TYPE) {
        let what = format!("digits 11 to 13 of `{id}` are not 200, the type of a signalling server");
        report.warn("platform.id", what, "some devices refuse such a platform; change them if you can");
    }
    if domain.len() != 10 || !domain.bytes().all(|byte| byte.is_ascii_digit()) {
        let what = format!("`{domain}` is not 10 digits");
        report.error("platform.domain", what, format!("write \"{}\"", id.domain()));
    } else if domain != id.domain() {
        let what = format!("`{domain}` is not the first ten digits of platform.id");
        report.warn("platform.domain", what, format!("most devices expect \"{}\"", id.domain()));
    }
}

fn sip(config: &Config, report: &mut Report) {
    let sip = &config.sip;
    if sip.udp.is_empty() && sip.tcp.is_empty() && sip.tls.is_none() {
        report.error("sip.udp", "no device can reach a gateway without SIP", "set sip.udp or sip.tcp");
    }
    let seconds = Duration::from_secs;
    within(report, "sip.keepalive.interval", sip.keepalive.interval, seconds(1), seconds(3600));
    if !(1..=100).contains(&sip.keepalive.misses) {
        report.error("sip.keepalive.misses", "is not between 1 and 100", "write 3");
    }
    within(report, "sip.expires.min", sip.expires.min, seconds(1), seconds(86_400));
    if sip.expires.max < sip.expires.min {
        report.error("sip.expires.max", "is shorter than sip.expires.min", "write such as 7d");
    }
    within(report, "sip.expires.max", sip.expires.max, seconds(1), seconds(365 * 86_400));
    password(report, "sip.password", sip.password.as_ref());
    if sip.redirect.as_ref().is_some_and(|uri| !is_sip_uri(uri)) {
        let advice = "write such as sip:34020000002000000002@192.0.2.31:5060";
        report.error("sip.redirect", "is not the address of a platform", advice);
    }
    if let Some(tls) = &sip.tls {
        check_tls(report, "sip.tls", tls);
    }
}

fn media(config: &Config, report: &mut Report) {
    let media = &config.media;
    let seconds = Duration::from_secs;
    if media.mode == PortMode::SinglePort {
        report.error("media.mode", "`single-port` is not in this version", "write `port-per-stream`");
    }
    if media.ports != PortRange::System {
        match media.ports.even().count() {
            0 => report.error("media.ports", "has no even port, and RTP wants one", "widen the range"),
            count @ 1..FEW_STREAMS => report.warn(
                "media.ports",
                format!("has room for only {count} streams at once (one for each even port)"),
                "widen the range",
            ),
            _ => {}
        }
    }
    if media.dscp > 63 {
        report.error("media.dscp", format!("{} is not between 0 and 63", media.dscp), "write such as 34");
    }
    within(report, "media.quarantine", media.quarantine, Duration::ZERO, seconds(600));
    within(report, "media.play_timeout", media.play_timeout, seconds(1), seconds(120));
    within(report, "media.no_reader_timeout", media.no_reader_timeout, Duration::ZERO, seconds(86_400));
    within(report, "media.no_rtp_timeout", media.no_rtp_timeout, seconds(1), seconds(600));
}

/// `sip:ID@HOST:PORT`, without anything that could end a header.
fn is_sip_uri(uri: &str) -> bool {
    let plain = uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte));
    plain
        && uri
            .strip_prefix("sip:")
            .and_then(|rest| rest.split_once('@'))
            .is_some_and(|(id, host)| crate::gb::id::Id::parse(id).is_ok() && !host.is_empty())
}

fn files_and_events(config: &Config, report: &mut Report) {
    if let Some(Err(what)) = config.profiles.as_deref().map(|directory| super::profiles(Some(directory))) {
        report.error("profiles", what, "mend the file, or see conf/profiles/ for how one is written");
    }
    let minutes = |count: u64| Duration::from_secs(60 * count);
    within(report, "files.keep", config.files.keep, minutes(1), minutes(366 * 24 * 60));
    if config.files.max_gb == 0 {
        report.error("files.max_gb", "leaves no room for any file", "write such as 20");
    }
    if let Some(url) = &config.events.redis {
        let scheme = url.reveal().split_once("://").map(|(scheme, _)| scheme);
        if scheme != Some("redis") {
            report.error("events.redis", "is not a Redis", "write such as redis://127.0.0.1:6379/0");
        }
    }
    if config.events.stream.is_empty() {
        report.error("events.stream", "is empty", "write gbgate:events");
    }
}

fn http(config: &Config, report: &mut Report) {
    let secret = config.access.bootstrap_admin_password.as_ref();
    password(report, "access.bootstrap_admin_password", secret);
    let tls_listen =
        config.http.tls.iter().flat_map(|tls| &tls.listen).map(|address| ("http.tls.listen", address));
    let listen = config.http.listen.iter().map(|address| ("http.listen", address)).chain(tls_listen);
    for (key, address) in listen.filter(|(_, address)| secret.is_none() && !address.ip().is_loopback()) {
        report.error(
            key,
            format!("{address} can be reached from other machines, and no password is set"),
            "set access.bootstrap_admin_password (or GBGATE_ACCESS__BOOTSTRAP_ADMIN_PASSWORD), or listen on \
             127.0.0.1, where no sign-in is needed",
        );
    }
    if config.http.listen.is_empty() {
        report.error(
            "http.listen",
            "the console and the API need an address",
            "write such as 127.0.0.1:8080",
        );
    }
    if let Some(tls) = &config.http.tls {
        check_tls(report, "http.tls", tls);
    }
    for origin in &config.http.cors_origins {
        if !is_origin(origin) {
            let what = format!("`{origin}` is not an origin");
            report.error(
                "http.cors_origins",
                what,
                "write https://host or http://host:port without a path, or *",
            );
        }
    }
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text == "*"
        || host.is_some_and(|host| {
            !host.is_empty()
                && !host.contains(['/', '?', '#', '@', '*'])
                && !host.contains(char::is_whitespace)
        })
}

/// Two listeners cannot have one port, and RTP shall not take a port that is listened on.
fn listeners(config: &Config, report: &mut Report) {
    let sip_tls = config.sip.tls.as_ref().map(|tls| tls.listen.as_slice()).unwrap_or_default();
    let http_tls = config.http.tls.as_ref().map(|tls| tls.listen.as_slice()).unwrap_or_default();
    let udp: [(&str, &[SocketAddr]); 2] = [("sip.udp", &config.sip.udp), ("webrtc.udp", &config.webrtc.udp)];
    let tcp: [(&str, &[SocketAddr]); 5] = [
        ("sip.tcp", &config.sip.tcp),
        ("sip.tls.listen", sip_tls),
        ("webrtc.tcp", &config.webrtc.tcp),
        ("http.listen", &config.http.listen),
        ("http.tls.listen", http_tls),
    ];
    for group in [udp.as_slice(), tcp.as_slice()] {
        let all: Vec<(&str, SocketAddr)> =
            group.iter().flat_map(|(key, list)| list.iter().map(|address| (*key, *address))).collect();
        for (index, (key, address)) in all.iter().enumerate() {
            if let Some((other, _)) = all.iter().take(index).find(|(_, earlier)| collide(*earlier, *address))
            {
                let what = format!("{address} is already listened on by {other}");
                report.error(key, what, "choose another port");
            }
            if config.media.ports.contains(address.port()) {
                let what = format!("the range {} holds port {} of {key}", config.media.ports, address.port());
                report.warn("media.ports", what, "move one of them; the port is left out for RTP");
            }
        }
    }
}

/// IPv6 listeners take no IPv4, so the families do not meet.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0
        && a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// What the contract has and this version cannot do yet: refused, or told to have no effect.
fn later(config: &Config, report: &mut Report) {
    for (key, list) in [("webrtc.udp", &config.webrtc.udp), ("webrtc.tcp", &config.webrtc.tcp)] {
        if list.len() > 1 {
            let advice = "write one; [::] is for IPv6 alone";
            report.error(key, "more than one address is not in this version", advice);
        }
    }
    for key in ["cluster.node", "cluster.internal", "cluster.advertise", "cluster.secret"] {
        let is_default = match key {
            "cluster.node" => config.cluster.node.is_none(),
            "cluster.advertise" => config.cluster.advertise.is_none(),
            "cluster.secret" => config.cluster.secret.is_none(),
            _ => config.cluster.internal == Config::default().cluster.internal,
        };
        if report.is_given(key) && !is_default {
            report.warn(key, "this version runs as one node: the key has no effect", "remove it");
        }
    }
}

fn within(report: &mut Report, key: &str, value: Duration, min: Duration, max: Duration) {
    if value < min || value > max {
        let show = super::text::write_duration;
        let what = format!("{} is not between {} and {}", show(value), show(min), show(max));
        report.error(key, what, "write a duration between them");
    }
}

fn password(report: &mut Report, key: &str, secret: Option<&Secret>) {
    if secret.is_some_and(|secret| secret.reveal().chars().count() < SHORT_PASSWORD) {
        report.warn(key, "is short and soon guessed", format!("give {SHORT_PASSWORD} characters or more"));
    }
}

fn check_tls(report: &mut Report, section: &str, tls: &Tls) {
    // A missing path has been told already.
    if tls.files.cert.as_os_str().is_empty() || tls.files.key.as_os_str().is_empty() {
        return;
    }
    for bad in tls::server_config(&tls.files, &[]).err().unwrap_or_default() {
        report.error(&format!("{section}.{}", bad.part.as_str()), bad.what, bad.advice);
    }
}
