//! The metrics: their names, what they mean, and their rendering for Prometheus.
//!
//! Rooms record with the macros of the `metrics` crate and the names here. All labels come out of small fixed sets
//! (see [`labels`]).

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::time::interval;

use super::labels;
use super::process::Process;
use crate::sip::{Summary, Transport};

/// SIP messages; `direction` (in, out), `method`, `code` (empty for requests), `transport`.
pub const SIP_MESSAGES: &str = "gbgate_sip_messages_total";
/// What was dropped at the edge of SIP; `reason`.
pub const SIP_DROPPED: &str = crate::net::sip::DROPPED;
/// Devices that are registered now.
pub const REGISTRATIONS: &str = "gbgate_registrations";
/// Devices; `state` (online, offline).
pub const DEVICES: &str = "gbgate_devices";
/// Channels; `state` (online, offline).
pub const CHANNELS: &str = "gbgate_channels";
/// How long it took to fetch a catalog.
pub const CATALOG_SYNC: &str = "gbgate_catalog_sync_seconds";
/// Media sessions now; `kind` (live, playback, download, relay), `state` (inviting, waiting, running, closing).
pub const CALLS: &str = "gbgate_calls";
/// Media sessions that failed; `step`.
pub const INVITE_FAILURES: &str = "gbgate_invite_failures_total";
/// From the request for a picture to its first access unit going out.
pub const FIRST_FRAME: &str = "gbgate_first_frame_seconds";
/// Streams now.
pub const STREAMS: &str = "gbgate_streams";
/// RTP packets received.
pub const RTP_PACKETS: &str = "gbgate_rtp_packets_total";
/// `{reason}`: packets that were no RTP, or came from where nobody was invited.
pub const RTP_DROPPED: &str = "gbgate_rtp_dropped_total";
/// RTP packets missing.
pub const RTP_LOST: &str = "gbgate_rtp_lost_total";
/// Faults in program streams; `kind`.
pub const PS_ERRORS: &str = "gbgate_ps_errors_total";
/// Media bytes; `direction` (in, out).
pub const MEDIA_BYTES: &str = "gbgate_media_bytes_total";
/// Viewers now; `protocol` (webrtc, flv, mp4, hls).
pub const VIEWERS: &str = "gbgate_viewers";
/// How long media stays in this node.
pub const RELAY_DELAY: &str = "gbgate_relay_delay_seconds";
/// 1 where an upper platform has us registered; `upstream`.
pub const UPSTREAM_STATE: &str = "gbgate_upstream_state";
/// How long the registry took; `op`.
pub const REGISTRY: &str = "gbgate_registry_seconds";
/// Operations of the registry that failed.
pub const REGISTRY_ERRORS: &str = "gbgate_registry_errors_total";
/// Sign-ins and registrations refused; `reason`.
pub const AUTH_FAILURES: &str = "gbgate_auth_failures_total";
/// Alarms received.
pub const ALARMS: &str = "gbgate_alarms_total";

/// How often samples are sorted into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Bounds of the buckets of each histogram, in seconds: dense around what is aimed for.
const BUCKETS: [(&str, &[f64]); 4] = [
    // Warm under 0.5, cold under 1.5, given up at 10.
    (FIRST_FRAME, &[0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0]),
    (RELAY_DELAY, &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
    (CATALOG_SYNC, &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]),
    (REGISTRY, &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0]),
];

/// The metrics of this process, to be rendered. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    prometheus: PrometheusHandle,
}

/// Something else records the metrics of this process.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("another recorder of metrics is installed in this process")]
pub struct NotInstalled;

impl Metrics {
    /// Makes the metrics of this process recorded; calls after the first give the same ones. Within a tokio runtime,
    /// they are also kept small for as long as that runs; elsewhere call [`Metrics::upkeep`].
    ///
    /// # Errors
    /// Something else records them.
    pub fn install() -> Result<Metrics, NotInstalled> {
        static METRICS: OnceLock<Result<Metrics, NotInstalled>> = OnceLock::new();
        let install = || {
            let (recorder, metrics) = recorder();
            metrics::set_global_recorder(recorder).map_err(|_| NotInstalled)?;
            describe();
            Ok(metrics)
        };
        let metrics = METRICS.get_or_init(install).clone()?;
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(keep(metrics.clone()));
        }
        Ok(metrics)
    }

    /// All metrics in the text format of Prometheus, those of the process included.
    pub fn render(&self) -> String {
        let mut text = self.prometheus.render();
        Process::read().render(&mut text);
        text
    }

    /// Sorts the samples of histograms into their buckets. Until then they take memory.
    pub fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }
}

async fn keep(metrics: Metrics) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.upkeep();
    }
}

fn recorder() -> (PrometheusRecorder, Metrics) {
    let builder = BUCKETS.iter().fold(PrometheusBuilder::new(), |builder, (name, bounds)| {
        // It fails for an empty list alone, and the tests look at each.
        builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds).unwrap_or_default()
    });
    let recorder = builder.build_recorder();
    let prometheus = recorder.handle();
    (recorder, Metrics { prometheus })
}

/// Gives every metric its help, and those whose labels are known a first value, so that a rate can be told from the
/// start.
fn describe() {
    describe_counter!(SIP_MESSAGES, "SIP messages, by direction, method, status code and transport.");
    describe_counter!(SIP_DROPPED, "SIP messages and connections dropped, by reason.");
    describe_gauge!(REGISTRATIONS, "Devices registered now.");
    describe_gauge!(DEVICES, "Devices known, by state.");
    describe_gauge!(CHANNELS, "Channels known, by state.");
    describe_histogram!(CATALOG_SYNC, Unit::Seconds, "Time to fetch the catalog of a device.");
    describe_gauge!(CALLS, "Media sessions now, by kind and state.");
    describe_counter!(INVITE_FAILURES, "Media sessions that failed, by the step that failed.");
    describe_histogram!(
        FIRST_FRAME,
        Unit::Seconds,
        "Time from the request for a picture to its first frame going out."
    );
    describe_gauge!(STREAMS, "Streams now.");
    describe_counter!(RTP_PACKETS, "RTP packets received.");
    describe_counter!(RTP_LOST, "RTP packets that did not arrive.");
    describe_counter!(RTP_DROPPED, "Packets dropped at media ports, by reason.");
    describe_counter!(PS_ERRORS, "Faults found in program streams, by kind.");
    describe_counter!(MEDIA_BYTES, Unit::Bytes, "Media bytes, by direction.");
    describe_gauge!(VIEWERS, "Viewers now, by protocol.");
    describe_histogram!(RELAY_DELAY, Unit::Seconds, "Time from media coming in to going out.");
    describe_gauge!(UPSTREAM_STATE, "1 where the upper platform has us registered, else 0.");
    describe_histogram!(REGISTRY, Unit::Seconds, "Time that operations of the registry took.");
    describe_counter!(REGISTRY_ERRORS, "Operations of the registry that failed.");
    describe_counter!(AUTH_FAILURES, "Sign-ins and registrations refused, by reason.");
    describe_counter!(ALARMS, "Alarms received.");

    for name in [RTP_PACKETS, RTP_LOST, REGISTRY_ERRORS, ALARMS] {
        counter!(name).absolute(0);
    }
    for direction in ["in", "out"] {
        counter!(MEDIA_BYTES, "direction" => direction).absolute(0);
    }
    for name in [REGISTRATIONS, STREAMS] {
        gauge!(name).set(0.0);
    }
    for state in ["online", "offline"] {
        gauge!(DEVICES, "state" => state).set(0.0);
        gauge!(CHANNELS, "state" => state).set(0.0);
    }
    for protocol in ["webrtc", "mp4", "flv", "hls"] {
        gauge!(VIEWERS, "protocol" => protocol).set(0.0);
    }
    for name in [CATALOG_SYNC, FIRST_FRAME, RELAY_DELAY] {
        drop(histogram!(name));
    }
}

/// Which way something goes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Direction {
    /// To us.
    In,
    /// From us.
    Out,
}

impl Direction {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// Counts a SIP message. Responses are counted under the method that they answer.
pub fn sip_message(direction: Direction, transport: Transport, message: &Summary) {
    let (method, code) = (labels::method(&message.method), message.code.map_or("", labels::code));
    counter!(
        SIP_MESSAGES,
        "direction" => direction.as_str(),
        "method" => method,
        "code" => code,
        "transport" => transport.as_str()
    )
    .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Message;
    use bytes::Bytes;

    /// The part of the text that is about one metric.
    fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
        text.lines().filter(|line| line.starts_with(name)).collect()
    }

    #[test]
    fn every_metric_is_rendered_with_help_and_buckets() {
        let (recorder, metrics) = recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            counter!(SIP_DROPPED, "reason" => "x").increment(1);
            gauge!(CALLS, "kind" => "live", "state" => "running").set(1.0);
            counter!(INVITE_FAILURES, "step" => "rtp").increment(1);
            counter!(PS_ERRORS, "kind" => "x").increment(1);
            gauge!(UPSTREAM_STATE, "upstream" => "x").set(1.0);
            histogram!(REGISTRY, "op" => "commit").record(0.003);
            counter!(AUTH_FAILURES, "reason" => "x").increment(1);
            histogram!(FIRST_FRAME).record(0.4);
            let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                            To: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\r\n";
            let response = Message::parse(&Bytes::from(response)).unwrap();
            sip_message(Direction::In, Transport::Udp, &response.summary().unwrap());
        });
        metrics.upkeep();
        let text = metrics.render();
        let all = [
            (SIP_MESSAGES, "counter"),
            (SIP_DROPPED, "counter"),
            (REGISTRATIONS, "gauge"),
            (DEVICES, "gauge"),
            (CHANNELS, "gauge"),
            (CATALOG_SYNC, "histogram"),
            (CALLS, "gauge"),
            (INVITE_FAILURES, "counter"),
            (FIRST_FRAME, "histogram"),
            (STREAMS, "gauge"),
            (RTP_PACKETS, "counter"),
            (RTP_LOST, "counter"),
            (PS_ERRORS, "counter"),
            (MEDIA_BYTES, "counter"),
            (VIEWERS, "gauge"),
            (RELAY_DELAY, "histogram"),
            (UPSTREAM_STATE, "gauge"),
            (REGISTRY, "histogram"),
            (REGISTRY_ERRORS, "counter"),
            (AUTH_FAILURES, "counter"),
            (ALARMS, "counter"),
        ];
        for (name, kind) in all {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help:\n{text}");
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}:\n{text}");
        }
        let frames = lines(&text, "gbgate_first_frame_seconds");
        assert!(frames.contains(&"gbgate_first_frame_seconds_bucket{le=\"0.5\"} 1"), "{frames:?}");
        assert!(frames.contains(&"gbgate_first_frame_seconds_bucket{le=\"0.3\"} 0"), "{frames:?}");
        assert_eq!(
            lines(&text, SIP_MESSAGES),
            [r#"gbgate_sip_messages_total{direction="in",method="REGISTER",code="200",transport="udp"} 1"#]
        );
        assert!(text.contains("process_start_time_seconds"));
    }

    #[test]
    fn installing_again_gives_the_same() {
        let first = Metrics::install().unwrap();
        counter!(ALARMS).increment(2);
        let second = Metrics::install().unwrap();
        assert_eq!(lines(&first.render(), ALARMS), ["gbgate_alarms_total 2"]);
        assert_eq!(lines(&second.render(), ALARMS), ["gbgate_alarms_total 2"]);
    }
}
