//! Everything put together: start in the right order, shutdown in the reverse one.

pub mod demo;
mod limits;
pub mod signals;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::access::Guard;
use crate::api::{self, Api};
use crate::config::{self, Config, Secret};
use crate::console;
use crate::egress::webrtc;
use crate::gb::time::Offset;
use crate::net::ports::Ports;
use crate::net::{bind, http, sip, tls};
use crate::node::{DownloadSettings, Event, Node, Parts, StreamSettings, shard};
use crate::registry::{Index, Profiles};
use crate::store::events::EventSink;
use crate::telemetry::{Health, Metrics};
use crate::{call, device, store};

/// Signalling shards: more than one for each two cores brings nothing, media needs the rest.
const CORES_PER_SHARD: usize = 2;

/// How long events may take to reach Redis after a stop.
const EVENTS_DRAIN: Duration = Duration::from_secs(1);
/// How long requests may go on after a stop. With the time for BYE it stays below ten seconds.
const HTTP_DRAIN: Duration = Duration::from_secs(3);

/// Runs the gateway until SIGINT or SIGTERM, then drains it.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let gateway = Gateway::start(config).await?;
    info!(console = %format!("{}://{}/", gateway.scheme(), gateway.http()), "gbgate {} is ready", env!("CARGO_PKG_VERSION"));
    signals::stop().await;
    info!("shutting down");
    gateway.shut_down().await;
    Ok(())
}

/// A running gateway.
pub struct Gateway {
    node: Node,
    bound: sip::Bound,
    http: SocketAddr,
    tls: bool,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    /// What carries events to Redis.
    events: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Opens the registry, binds all listeners, and starts. If anything fails nothing is left running.
    pub async fn start(config: Config) -> anyhow::Result<Gateway> {
        limits::raise_open_files();
        let metrics = Metrics::install()?;
        let health = Health::default();
        let stop = CancellationToken::new();

        let store = store::open(&config.registry.url.to_string())?;
        let mut index = Index::new();
        let loaded = store.load(&mut |write| {
            index.apply(&write);
        })?;
        health.set("registry", Ok(()));
        if loaded.records > 0 {
            let totals = index.totals();
            info!(devices = totals.devices, channels = totals.channels, "registry loaded");
        }

        let tls_config = match &config.sip.tls {
            Some(tls) => Some(tls::server_config(&tls.files, &[]).map_err(first_bad_file)?),
            None => None,
        };
        let listen = sip::Listen {
            udp: config.sip.udp.clone(),
            tcp: config.sip.tcp.clone(),
            tls: config.sip.tls.iter().flat_map(|tls| tls.listen.clone()).collect(),
            tls_config,
            advertise: config.sip.advertise.clone().into(),
        };
        let sip::Edge { inbox, outlet, bound } = sip::listen(&listen, sip::Limits::default(), &stop)?;
        health.set("sip", Ok(()));
        let hub = webrtc::Hub::bind(webrtc_config(&config)).await?;
        health.set("media", Ok(()));

        let http_tls = match &config.http.tls {
            Some(tls) => Some(tls::server_config(&tls.files, &[b"http/1.1"]).map_err(first_bad_file)?),
            None => None,
        };
        // With addresses of its own TLS has those, and `http.listen` stays plain.
        let own_tls = config.http.tls.iter().flat_map(|tls| tls.listen.iter());
        let plain =
            http_tls.clone().filter(|_| config.http.tls.as_ref().is_some_and(|tls| tls.listen.is_empty()));
        let wanted = config.http.listen.iter().map(|address| (address, "http.listen", plain.clone()));
        let wanted = wanted.chain(own_tls.map(|address| (address, "http.tls.listen", http_tls.clone())));
        let mut listeners = Vec::new();
        for (address, key, tls) in wanted {
            listeners.push((bind::tcp(*address, key)?, tls));
        }
        let http = listeners.first().map(|((_, address), _)| *address).context("http.listen is empty")?;
        let (webrtc_udp, webrtc_tcp) = (hub.udp_addr(), hub.tcp_addr());
        let web: Vec<String> =
            listeners.iter().map(|((_, at), tls)| format!("{}://{at}", scheme(tls.is_some()))).collect();
        info!(sip_udp = ?bound.udp, sip_tcp = ?bound.tcp, sip_tls = ?bound.tls, ?webrtc_udp, ?webrtc_tcp, http = ?web, "listening");

        let profiles = config::profiles(config.profiles.as_deref()).map_err(anyhow::Error::msg)?;
        let profiles = Arc::new(profiles);
        let shards =
            std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(CORES_PER_SHARD));
        let node = Node::start(Parts {
            shard: shard_settings(&config, Arc::clone(&profiles)),
            stream: StreamSettings {
                no_rtp_timeout: config.media.no_rtp_timeout,
                advertise: config.media.advertise.clone(),
                dscp: config.media.dscp,
            },
            downloads: DownloadSettings {
                directory: config.files.directory.clone(),
                keep: config.files.keep,
                max_bytes: u64::from(config.files.max_gb) << 30,
                offset: config.platform.time_zone,
            },
            shards: shards.min(usize::from(MAX_SHARDS)) as u16,
            store,
            index,
            inbound: inbox,
            outlet,
            ports: Ports::new(config.media.ports, config.media.quarantine),
            hub,
        });
        let first_tls = listeners.first().is_some_and(|(_, tls)| tls.is_some());
        let api = Api {
            node: node.clone(),
            profiles,
            kept: Arc::default(),
            info: Arc::new(api::Info {
                node: config.cluster.node.clone().unwrap_or_else(|| config.platform.name.clone()),
                platform: (config.platform.id.to_string(), config.platform.domain.clone()),
                offset: config.platform.time_zone,
                media_transport: config.media.default_transport,
                sip_udp: bound.udp.clone(),
                sip_tcp: bound.tcp.clone(),
                sip_tls: bound.tls.clone(),
                http,
                http_tls: first_tls,
                cors_origins: config.http.cors_origins.clone(),
            }),
            guard: Arc::new(Mutex::new(Guard::new(
                config.access.bootstrap_admin_password.as_ref().map(Secret::reveal),
            ))),
            metrics,
            health,
            stop: stop.clone(),
        };
        let events = match &config.events.redis {
            Some(url) => {
                let sink = EventSink::start(url.reveal(), &config.events.stream)?;
                let events = publish(node.events(), sink, config.platform.time_zone, stop.clone());
                Some(tokio::spawn(events))
            }
            None => None,
        };
        let router = api::router(api, console::router());
        let servers = listeners
            .into_iter()
            .map(|((listener, _), tls)| {
                let limits = http::Limits { drain: HTTP_DRAIN, ..http::Limits::default() };
                tokio::spawn(http::serve(listener, tls, router.clone(), limits, stop.clone()))
            })
            .collect();
        Ok(Gateway { node, bound, http, tls: first_tls, stop, servers, events })
    }

    /// Where SIP is listened for.
    pub fn sip(&self) -> &sip::Bound {
        &self.bound
    }

    /// The first address of the console and the API.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    fn scheme(&self) -> &'static str {
        scheme(self.tls)
    }

    /// Ends all calls with BYE. Devices can still take their leave afterwards.
    pub async fn drain(&self) {
        self.node.drain().await;
    }

    /// Ends all calls, keeps what is to be kept, closes all sockets. Takes some seconds at most.
    pub async fn shut_down(self) {
        self.drain().await;
        self.node.close().await;
        self.stop.cancel();
        for server in self.servers {
            // It ends by itself within its own limit.
            let _ = server.await;
        }
        if let Some(events) = self.events {
            let _ = events.await;
        }
        info!("ended");
    }
}

/// Carries events to Redis until `stop`, and then those that are left.
async fn publish(
    mut events: broadcast::Receiver<Event>,
    sink: EventSink,
    offset: Offset,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            () = stop.cancelled() => Err(RecvError::Closed),
        };
        match event {
            Ok(event) => sink.send(event.name(), event.to_json(offset).to_string()),
            Err(RecvError::Lagged(count)) => sink.send("lost", format!("{{\"count\":{count}}}")),
            Err(RecvError::Closed) => break,
        }
    }
    sink.close(EVENTS_DRAIN).await;
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// Shards are numbered by 16 bits, and share 9,999 SSRC serials.
const MAX_SHARDS: u16 = 64;

fn first_bad_file(files: Vec<tls::BadFile>) -> anyhow::Error {
    files.into_iter().next().map_or_else(|| anyhow::anyhow!("TLS cannot be set up"), anyhow::Error::from)
}

fn shard_settings(config: &Config, profiles: Arc<Profiles>) -> shard::Settings {
    let (platform, domain) = (config.platform.id, config.platform.domain.clone());
    shard::Settings {
        device: device::Settings {
            platform,
            domain: domain.clone(),
            password: config.sip.password.as_ref().map(|secret| secret.reveal().to_owned()),
            keepalive: config.sip.keepalive.interval,
            misses: config.sip.keepalive.misses,
            expires_min: config.sip.expires.min,
            expires_max: config.sip.expires.max,
            date_header: config.sip.date_header,
            offset: config.platform.time_zone,
            profiles,
            redirect: config.sip.redirect.clone(),
        },
        call: call::Settings {
            platform,
            domain,
            play_timeout: config.media.play_timeout,
            no_reader_timeout: config.media.no_reader_timeout,
        },
        media_transport: config.media.default_transport,
    }
}

fn webrtc_config(config: &Config) -> webrtc::Config {
    let advertise: Vec<IpAddr> = config.webrtc.advertise.iter().map(|rule| rule.address).collect();
    webrtc::Config {
        udp: config.webrtc.udp.first().copied(),
        tcp: config.webrtc.tcp.first().copied(),
        advertise,
        ..webrtc::Config::default()
    }
}
