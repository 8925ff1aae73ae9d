//! Every key, where it is read.

use std::net::SocketAddr;

use serde_yaml::{Mapping, Value};

use super::reader::{Report, Section};
use super::{
    Access, Cluster, Config, Events, Expires, Http, Keepalive, Media, Platform, Registry, Sip, Storage, Tls,
    WebRtc,
};
use crate::net::tls::Files;

/// The keys at the top.
pub(super) const SECTIONS: [&str; 12] = [
    "platform",
    "sip",
    "media",
    "webrtc",
    "http",
    "registry",
    "cluster",
    "access",
    "profiles",
    "files",
    "events",
    "upstreams",
];

/// Reads the whole tree; what is absent or wrong has its default.
pub(super) fn read(tree: Mapping, report: &mut Report) -> Config {
    let defaults = Config::default();
    let mut root = Section::root(tree, report);
    let config = Config {
        platform: root.section("platform", |section| platform(section, defaults.platform)),
        sip: root.section("sip", |section| sip(section, defaults.sip)),
        media: root.section("media", |section| media(section, defaults.media)),
        webrtc: root.section("webrtc", |section| webrtc(section, defaults.webrtc)),
        http: root.section("http", |section| http(section, defaults.http)),
        registry: root
            .section("registry", |section| Registry { url: section.value("url", defaults.registry.url) }),
        cluster: root.section("cluster", |section| cluster(section, defaults.cluster)),
        access: root.section("access", |section| Access {
            bootstrap_admin_password: section.value("bootstrap_admin_password", None),
        }),
        profiles: root.value("profiles", defaults.profiles),
        files: root.section("files", |section| storage(section, defaults.files)),
        events: root.section("events", |section| Events {
            redis: section.value("redis", None),
            stream: section.value("stream", defaults.events.stream),
        }),
    };
    upstreams(&mut root);
    root.finish();
    config
}

fn platform(section: &mut Section<'_>, defaults: Platform) -> Platform {
    let id = section.value("id", defaults.id);
    Platform {
        // The domain is the first ten digits of the id, unless somebody says otherwise.
        domain: section.value("domain", id.domain().to_owned()),
        id,
        name: section.value("name", defaults.name),
        time_zone: section.value("time_zone", defaults.time_zone),
    }
}

fn sip(section: &mut Section<'_>, defaults: Sip) -> Sip {
    Sip {
        udp: section.value("udp", defaults.udp),
        tcp: section.value("tcp", defaults.tcp),
        tls: tls(section, vec![SocketAddr::from(([0, 0, 0, 0], 5061))]),
        password: section.value("password", defaults.password),
        advertise: section.value("advertise", defaults.advertise),
        keepalive: section.section("keepalive", |section| Keepalive {
            interval: section.value("interval", defaults.keepalive.interval),
            misses: section.value("misses", defaults.keepalive.misses),
        }),
        expires: section.section("expires", |section| Expires {
            min: section.value("min", defaults.expires.min),
            max: section.value("max", defaults.expires.max),
        }),
        date_header: section.value("date_header", defaults.date_header),
        redirect: section.value("redirect", defaults.redirect),
    }
}

fn tls(section: &mut Section<'_>, listen: Vec<SocketAddr>) -> Option<Tls> {
    section.optional("tls", |section| {
        let listen = section.value("listen", listen);
        let mut required = |key: &str| {
            let path = section.value(key, None);
            if path.is_none() {
                section.error(key, "is missing", "give the path of a PEM file, or set tls to null");
            }
            path.unwrap_or_default()
        };
        let (cert, key) = (required("cert"), required("key"));
        Tls { listen, files: Files { cert, key, client_ca: section.value("client_ca", None) } }
    })
}

fn media(section: &mut Section<'_>, defaults: Media) -> Media {
    Media {
        mode: section.value("mode", defaults.mode),
        ports: section.value("ports", defaults.ports),
        single_port: section.value("single_port", defaults.single_port),
        quarantine: section.value("quarantine", defaults.quarantine),
        dscp: section.value("dscp", defaults.dscp),
        advertise: section.value("advertise", defaults.advertise),
        default_transport: section.value("default_transport", defaults.default_transport),
        play_timeout: section.value("play_timeout", defaults.play_timeout),
        no_reader_timeout: section.value("no_reader_timeout", defaults.no_reader_timeout),
        no_rtp_timeout: section.value("no_rtp_timeout", defaults.no_rtp_timeout),
    }
}

fn storage(section: &mut Section<'_>, defaults: Storage) -> Storage {
    Storage {
        directory: section.value("directory", defaults.directory),
        keep: section.value("keep", defaults.keep),
        max_gb: section.value("max_gb", defaults.max_gb),
    }
}

fn webrtc(section: &mut Section<'_>, defaults: WebRtc) -> WebRtc {
    WebRtc {
        udp: section.value("udp", defaults.udp),
        tcp: section.value("tcp", defaults.tcp),
        advertise: section.value("advertise", defaults.advertise),
    }
}

fn http(section: &mut Section<'_>, defaults: Http) -> Http {
    Http {
        listen: section.value("listen", defaults.listen),
        tls: tls(section, Vec::new()),
        cors_origins: section.value("cors_origins", defaults.cors_origins),
    }
}

fn cluster(section: &mut Section<'_>, defaults: Cluster) -> Cluster {
    Cluster {
        node: section.value("node", defaults.node),
        internal: section.value("internal", defaults.internal),
        advertise: section.value("advertise", defaults.advertise),
        secret: section.value("secret", defaults.secret),
    }
}

/// Upper platforms are to come; a list that would be ignored is refused instead.
fn upstreams(root: &mut Section<'_>) {
    let (_, value) = root.take("upstreams");
    let empty = match &value {
        None | Some(Value::Null) => true,
        Some(Value::Sequence(list)) => list.is_empty(),
        Some(Value::String(text)) => text == "[]" || text == "null",
        Some(_) => false,
    };
    if !empty {
        root.error("upstreams", "upper platforms are not in this version", "leave the list empty");
    }
}
