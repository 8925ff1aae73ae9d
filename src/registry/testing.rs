//! What the tests of this room and of the stores share: random writes, and an index laid open for comparison.

use proptest::prelude::*;

use super::*;
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::gb::time::UnixMillis;
use crate::sip::{Dialog, Transport};

pub(crate) fn device_id(n: u64) -> Id {
    Id::parse(&format!("340200000011{n:08}")).unwrap()
}

pub(crate) fn channel_id(n: u64) -> Id {
    Id::parse(&format!("340200000013{n:08}")).unwrap()
}

pub(crate) fn device(n: u64) -> Device {
    let mut device = Device::new(device_id(n), AddedBy::Admin, UnixMillis(1_700_000_000_000));
    device.name = format!("Recorder {n}");
    device
}

pub(crate) fn registration(n: u64, at: i64) -> Registration {
    Registration {
        device: device_id(n),
        route: Route {
            transport: Transport::Udp,
            local: "127.0.0.1:5060".parse().unwrap(),
            remote: "192.0.2.7:5060".parse().unwrap(),
        },
        contact: format!("sip:{}@192.0.2.7:5060", device_id(n)),
        registered_at: UnixMillis(at),
        expires_at: UnixMillis(at + 3_600_000),
        keepalive: None,
    }
}

/// A channel as real catalogs have them.
pub(crate) fn channel(n: u64) -> Channel {
    let mut channel = Channel::new(channel_id(n));
    channel.name = format!("\u{4e1c}\u{95e8}\u{8def}\u{53e3} {n:06} IPC");
    channel.manufacturer = Some("Hikvision".into());
    channel.model = Some("DS-2CD3T46".into());
    channel.owner = Some("Owner".into());
    channel.region = Id::parse("340200").ok();
    channel.address = Some(format!("\u{7ea2}\u{65d7}\u{8857} {n:06}"));
    channel.parents = vec![device_id(n / 64)];
    channel.ptz_type = Some(1);
    channel.longitude = Some(117.0 + n as f64 / 1e6);
    channel.latitude = Some(31.0 + n as f64 / 1e6);
    channel.ip_address = Some(format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255));
    channel.port = Some(5060);
    channel
}

fn any_channel() -> impl Strategy<Value = Channel> {
    let gone = prop_oneof![9 => Just(None), 1 => (1..5_i64).prop_map(|at| Some(UnixMillis(at)))];
    (0..9_u64, "[ab]{0,2}", any::<bool>(), gone, 0..3_usize).prop_map(|(n, name, status, gone, parents)| {
        let mut channel = channel(n);
        if n == 8 {
            channel.id = Id::parse("34020000002150000008").unwrap(); // a folder
        }
        channel.name = name;
        channel.status = status;
        channel.gone = gone;
        channel.region = [None, Id::parse("3402").ok(), Id::parse("340211").ok()][parents];
        channel.parents = (0..parents as u64).map(channel_id).collect();
        channel
    })
}

/// A call of a device's channel.
pub(crate) fn call(device: u64, channel: u64, n: u64) -> Call {
    Call {
        device: device_id(device),
        channel: channel_id(channel),
        call_id: format!("call-{n}"),
        kind: StreamKind::Live,
        stream: "main".into(),
        dialog: dialog(),
        route: registration(0, 0).route,
        ssrc: Some(200_000_001),
        media_transport: MediaMode::TcpPassive,
        started_at: UnixMillis(5),
    }
}

fn any_call() -> impl Strategy<Value = Call> {
    (0..4_u64, 0..2_u64, 0..2_u64, any::<u32>())
        .prop_map(|(device, channel, n, ssrc)| Call { ssrc: Some(ssrc), ..call(device, channel, n) })
}

/// An alarm of a device's channel.
pub(crate) fn alarm(id: u64, device: u64, channel: u64) -> Alarm {
    let at = UnixMillis(1_700_000_000_000);
    let mut alarm = Alarm::new(AlarmId(id), device_id(device), channel_id(channel), at, at);
    (alarm.priority, alarm.method, alarm.kind) = (1, 5, Some(6));
    alarm.description = Some("somebody at the fence".into());
    alarm
}

/// A record of the audit.
pub(crate) fn audit(id: u64, user: &str, action: &str, device: u64) -> Audit {
    Audit {
        id: AuditId(id),
        at: UnixMillis(1_700_000_000_000 + id as i64),
        user: user.into(),
        role: "operator".into(),
        from: "192.0.2.9".into(),
        action: action.into(),
        device: Some(device_id(device)),
        channel: Some(channel_id(device)),
        detail: format!("the {id}th time"),
        outcome: "ok".into(),
    }
}

fn any_history() -> impl Strategy<Value = Write> {
    let by = proptest::option::of(Just(Acknowledged { by: "ann".into(), at: UnixMillis(9) }));
    let finding = (0..4_usize, 0..9_i64, 1..9_u64).prop_map(|(rule, at, count)| Finding {
        count,
        ..Finding::new(Rule::ALL[rule], UnixMillis(at), "what was seen")
    });
    prop_oneof![
        2 => (0..9_u64, 0..4_u64, 0..8_u64, 1..4_u32, by).prop_map(|(id, device, channel, count, acknowledged)| {
            Write::PutAlarm(Alarm { count, acknowledged, ..alarm(id, device, channel) })
        }),
        2 => (0..9_u64, "[ab]", prop_oneof![Just("ptz"), Just("control.reboot"), Just("controls")], 0..4_u64)
            .prop_map(|(id, user, action, device)| Write::PutAudit(audit(id, &user, action, device))),
        2 => (0..5_u64, proptest::collection::vec(finding, 0..6))
            .prop_map(|(n, findings)| Write::PutFindings { device: device_id(n), findings }),
        3 => (0..5_u64, 0..9_u64, -9..9_i32).prop_map(|(n, channel, at)| Write::SetPosition {
            device: device_id(n),
            // The last one is the device itself.
            channel: if channel == 8 { device_id(n) } else { channel_id(channel) },
            longitude: f64::from(at) * 25.0, // some of them nowhere
            latitude: 0.1,
            at: UnixMillis(at.into()),
        }),
    ]
}

pub(crate) fn any_write() -> impl Strategy<Value = Write> {
    let cause = prop_oneof![Just(Cause::Unregistered), Just(Cause::Expired)];
    let touch = (0..5_u64, 0..100_i64).prop_map(|(n, at)| Touch { device: device_id(n), at: UnixMillis(at) });
    prop_oneof![
        3 => (0..4_u64).prop_map(|n| Write::PutDevice(device(n))),
        1 => (0..4_u64).prop_map(|n| Write::DeleteDevice { device: device_id(n) }),
        4 => (0..5_u64, 0..100_i64).prop_map(|(n, at)| Write::PutRegistration(registration(n, at))),
        1 => (0..4_u64, cause).prop_map(|(n, cause)| Write::EndRegistration { device: device_id(n), cause }),
        2 => proptest::collection::vec(touch, 0..4).prop_map(|touches| Write::Touch { touches }),
        1 => (0..4_u64).prop_map(|n| Write::Offline { device: device_id(n), cause: Cause::Silent }),
        6 => (0..5_u64, proptest::collection::vec(any_channel(), 0..8), any::<bool>(), 1..50_i64).prop_map(
            |(n, channels, complete, at)| {
                Write::MergeCatalog { device: device_id(n), channels, complete, at: UnixMillis(at) }
            }
        ),
        1 => (0..4_u64, 0..8_u64).prop_map(|(n, channel)| {
            Write::RemoveChannels { device: device_id(n), channels: vec![channel_id(channel)] }
        }),
        2 => (0..4_u64, 0..8_u64, any::<bool>(), 1..50_i64).prop_map(|(n, channel, status, at)| {
            Write::SetChannelStatus {
                device: device_id(n),
                channel: channel_id(channel),
                status,
                at: UnixMillis(at),
            }
        }),
        6 => any_history(),
        2 => any_call().prop_map(Write::PutCall),
        1 => any_call().prop_map(|call| Write::DeleteCall {
            device: call.device,
            channel: call.channel,
            call_id: call.call_id
        }),
    ]
}

/// All that an index holds, one line a record.
pub(crate) fn lines(index: &Index) -> Vec<String> {
    let mut lines = vec![format!("{:?} {} {}", index.totals(), index.faults, index.open_alarms())];
    for (id, entry) in &index.devices {
        lines.push(format!("{:?} {:?} {:?}", entry.device, entry.last_seen, entry.silent));
        lines.push(format!("{:?}", entry.registration));
        lines.extend(index.catalog(id).map(|channel| format!("{channel:?}")));
        lines.extend(entry.positions.iter().map(|position| format!("{position:?}")));
        lines.extend(entry.findings.iter().map(|finding| format!("{finding:?}")));
        lines.extend(entry.calls.values().map(|call| serde_json::to_string(call).unwrap()));
    }
    let (alarms, audit) = index.histories();
    lines.extend(alarms.map(|alarm| format!("{alarm:?}")));
    lines.extend(audit.map(|record| format!("{record:?}")));
    lines
}

fn dialog() -> Dialog {
    Dialog {
        call_id: "call-0".into(),
        local_tag: "ours".into(),
        remote_tag: "theirs".into(),
        local_uri: "sip:34020000002000000001@3402000000".into(),
        remote_uri: "sip:34020000001310000001@3402000000".into(),
        remote_target: "sip:34020000001310000001@192.0.2.7:5060".into(),
        route_set: Vec::new(),
        local_seq: 1,
        remote_seq: None,
    }
}
