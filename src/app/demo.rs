//! The demonstration: the gateway on loopback with simulated devices, nothing to be set up beforehand.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::config::{Config, RegistryUrl, Secret};
use crate::gb::id::Id;
use crate::simulator::{self, Counts, EditionName, Options, SipTransport};

/// Single cameras, each its own device with one channel.
const CAMERAS: u64 = 4;
/// Channels of the recorder.
const RECORDER_CHANNELS: u64 = 8;
/// Channels of the lower platform, in a tree.
const PLATFORM_CHANNELS: u64 = 6;
/// Seconds between alarms of the recorder.
const ALARM_EVERY: u64 = 60;

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(mut config: Config) -> anyhow::Result<()> {
    let data = tempfile::Builder::new()
        .prefix("gbgate-demo-")
        .tempdir()
        .context("cannot make a folder for the data")?;
    on_loopback(&mut config, data.path());
    let gateway = Gateway::start(config.clone()).await?;
    let sip = gateway.sip();
    let udp = *sip.udp.first().context("the demonstration needs sip.udp")?;
    let tcp = *sip.tcp.first().context("the demonstration needs sip.tcp")?;
    let stop = CancellationToken::new();
    let cameras = Options {
        devices: CAMERAS,
        edition: EditionName::E2022,
        extras: true,
        transport: SipTransport::Udp,
        ..fleet(&config, udp, "132", 1)?
    };
    let recorder = Options {
        channels: RECORDER_CHANNELS,
        alarm_every: ALARM_EVERY,
        transport: SipTransport::Tcp,
        ..fleet(&config, tcp, "118", 101)?
    };
    let platform = Options { channels: PLATFORM_CHANNELS, tree: true, ..fleet(&config, udp, "200", 201)? };
    let fleets = [cameras, recorder, platform];
    let mut leaving = Vec::new();
    for options in fleets {
        leaving.push(simulator::start(options, stop.clone(), Arc::new(Counts::default())).await?);
    }
    announce(&gateway);
    super::signals::stop().await;
    gateway.drain().await;
    stop.cancel();
    for fleet in leaving {
        fleet.await;
    }
    gateway.shut_down().await;
    Ok(())
}

/// Whatever the configuration says, a demonstration is for this machine alone and leaves nothing behind.
fn on_loopback(config: &mut Config, data: &std::path::Path) {
    let loopback = |addresses: &mut Vec<SocketAddr>| {
        addresses.truncate(1);
        for address in addresses {
            address.set_ip([127, 0, 0, 1].into());
        }
    };
    loopback(&mut config.sip.udp);
    loopback(&mut config.sip.tcp);
    loopback(&mut config.webrtc.udp);
    loopback(&mut config.webrtc.tcp);
    loopback(&mut config.http.listen);
    config.sip.tls = None;
    config.http.tls = None;
    config.sip.password = Some(Secret::new("12345678"));
    config.registry.url = RegistryUrl::Embedded(data.join("registry"));
    config.files.directory = data.join("files");
    config.events.redis = None;
}

/// One device with one channel at the gateway's own address.
fn fleet(config: &Config, sip: SocketAddr, kind: &str, first: u64) -> anyhow::Result<Options> {
    let center = config.platform.id.as_str().get(..8).context("platform.id has 20 digits")?;
    let id = |kind: &str| Id::parse(&format!("{center}00{kind}0{first:06}"));
    Ok(Options {
        first_id: Some(id(kind)?),
        first_channel: Some(id("131")?),
        keepalive: 10,
        stagger: 20,
        ..Options::new(sip.to_string(), config.platform.id, config.platform.domain.clone())
    })
}

#[allow(clippy::print_stdout, reason = "the address of the console is what this command is asked for")]
fn announce(gateway: &Gateway) {
    println!("console: http://{}/", gateway.http());
    println!(
        "{CAMERAS} cameras, a recorder with {RECORDER_CHANNELS} channels and a lower platform with \
         {PLATFORM_CHANNELS} are being simulated; Ctrl-C ends all"
    );
}
