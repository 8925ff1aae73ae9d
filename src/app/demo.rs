//! The demonstration: the gateway on loopback with simulated devices, nothing to be set up beforehand.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::config::{Config, RegistryUrl, Secret};
use crate::gb::id::Id;
use crate::simulator::{self, Counts, Options, SipTransport};

/// Single cameras, each its own device with one channel.
const CAMERAS: u64 = 4;
/// Channels of the recorder.
const RECORDER_CHANNELS: u64 = 8;

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
    let fleets = [
        cameras(&config, udp, CAMERAS, 1, "132", SipTransport::Udp, 1)?,
        cameras(&config, tcp, 1, RECORDER_CHANNELS, "118", SipTransport::Tcp, 101)?,
    ];
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
    config.registry.url = RegistryUrl::Embedded(data.to_owned());
}

fn cameras(
    config: &Config,
    sip: SocketAddr,
    devices: u64,
    channels: u64,
    kind: &str,
    transport: SipTransport,
    first: u64,
) -> anyhow::Result<Options> {
    let center = config.platform.id.as_str().get(..8).context("platform.id has 20 digits")?;
    let id = |kind: &str| Id::parse(&format!("{center}00{kind}0{first:06}"));
    Ok(Options {
        server: sip.to_string(),
        server_id: config.platform.id,
        domain: config.platform.domain.clone(),
        devices,
        channels,
        transport,
        first_id: Some(id(kind)?),
        first_channel: Some(id("131")?),
        password: "12345678".to_owned(),
        clip: None,
        quirks: Vec::new(),
        keepalive: 10,
        expires: 3600,
        stagger: 20,
        duration: 0,
    })
}

#[allow(clippy::print_stdout, reason = "the address of the console is what this command is asked for")]
fn announce(gateway: &Gateway) {
    println!("console: http://{}/", gateway.http());
    println!(
        "{CAMERAS} cameras and a recorder with {RECORDER_CHANNELS} channels are being simulated; Ctrl-C ends all"
    );
}
