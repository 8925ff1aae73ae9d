//! Alarms, the audit, departures from the standard, positions, and the figures drawn from them.

use super::*;
use crate::gb::conformance::Rule;

#[test]
fn regions_are_counted_at_each_level() {
    let mut index = Index::new();
    index.apply(&Write::PutDevice(device(0)));
    index.apply(&Write::PutRegistration(registration(0, 1)));
    let codes = ["340200", "34020001", "34", "3403", "51", "null", "34x2"];
    let mut items: Vec<_> = (0..8).map(channel).collect();
    for (item, code) in items.iter_mut().zip(codes) {
        item.region = Id::parse(code).ok();
    }
    (items[7].region, items[1].status) = (None, false);
    items.push(Channel::new(Id::parse("340200").unwrap())); // a folder is no channel
    index.apply(&merge(0, items, true, 1));
    let level = |under, digits| -> Vec<_> {
        index.online_by_region(under, digits).into_iter().map(region_tuple).collect()
    };
    let row = |code: &str, channels, online| (Some(code.to_owned()), channels, online);
    // "34x2" begins with a number, "null" with none.
    assert_eq!(level("", 2), [row("34", 5, 4), row("51", 1, 1), (None, 2, 2)]);
    assert_eq!(
        level("", 4),
        [row("34", 1, 1), row("3402", 2, 1), row("3403", 1, 1), row("51", 1, 1), (None, 3, 3)]
    );
    assert_eq!(level("3402", 8), [row("340200", 1, 1), row("34020001", 1, 0)]);
    assert_eq!(level("99", 8), []);
}

#[test]
fn a_bad_channel_is_bad_since_it_was_first_told() {
    let mut index = with_channels(2);
    let since = |index: &Index| {
        let page = index.faults(None, 9).unwrap();
        page.items
            .iter()
            .map(|fault| match fault {
                Fault::Device { since, .. } | Fault::Channel { since, .. } => since.map(|at| at.0),
            })
            .collect::<Vec<_>>()
    };
    let bad = || Channel { status: false, ..channel(1) };
    assert!(since(&index).is_empty());
    index.apply(&merge(0, vec![bad()], false, 10));
    index.apply(&merge(0, vec![channel(0), bad()], true, 20));
    assert_eq!(since(&index), [Some(10)]);
    index.apply(&merge(0, vec![Channel { name: "renamed".into(), ..bad() }], false, 30));
    assert_eq!(since(&index), [Some(10)]);
    let set = |status, at| Write::SetChannelStatus {
        device: device_id(0),
        channel: channel_id(1),
        status,
        at: UnixMillis(at),
    };
    index.apply(&set(false, 35));
    assert_eq!(since(&index), [Some(10)], "no news");
    index.apply(&set(true, 40));
    assert!(since(&index).is_empty());
    index.apply(&set(false, 50));
    assert_eq!(since(&index), [Some(50)]);
    index.apply(&Write::Offline { device: device_id(0), cause: Cause::Silent });
    assert_eq!(
        since(&index),
        [Some(1)],
        "the device, since it was last heard of, and not each of its channels"
    );
}

#[test]
fn alarms_are_listed_from_the_newest_back() {
    let mut index = Index::new();
    for id in 0..10 {
        index.apply(&Write::PutAlarm(alarm(id << 22, id % 2, id % 3)));
    }
    let list = |filter: AlarmFilter, cursor: Option<&str>| {
        let page = index.alarms(filter, cursor, 2).unwrap();
        let ids: Vec<u64> = page.items.iter().map(|alarm| alarm.id.0 >> 22).collect();
        (ids, page.total, page.next)
    };
    let (ids, total, next) = list(AlarmFilter::default(), None);
    assert_eq!((ids, total), (vec![9, 8], 10));
    assert_eq!(list(AlarmFilter::default(), next.as_deref()).0, [7, 6]);
    let of = AlarmFilter { device: Some(device_id(1)), since: Some(UnixMillis(2)), ..Default::default() };
    let (ids, total, next) = list(of, None);
    assert_eq!((ids, total), (vec![9, 7], 4));
    let (ids, total, next) = list(of, next.as_deref());
    assert_eq!((ids, total, next), (vec![5, 3], 4, None));
    let of = AlarmFilter { channel: Some(channel_id(0)), ..Default::default() };
    assert_eq!(list(of, None).1, 4);
    for bad in ["", "x", "00", "+000000000000001", "000000000000000g"] {
        assert_eq!(index.alarms(AlarmFilter::default(), Some(bad), 2).err(), Some(BadCursor), "{bad}");
    }

    let seen = Acknowledged { by: "ann".into(), at: UnixMillis(9) };
    index.apply(&Write::PutAlarm(Alarm { acknowledged: Some(seen), ..alarm(3 << 22, 1, 0) }));
    let count = |acknowledged| {
        let filter = AlarmFilter { acknowledged: Some(acknowledged), ..Default::default() };
        let page = index.alarms(filter, None, 100).unwrap();
        assert_eq!(page.total, page.items.len() as u64);
        page.total
    };
    assert_eq!((count(true), count(false), index.open_alarms()), (1, 9, 9));
}

#[test]
fn alarms_and_audit_have_an_end() {
    let mut index = Index::new();
    for id in 1..=MAX_ALARMS as u64 + 3 {
        index.apply(&Write::PutAlarm(alarm(id, 0, 0)));
    }
    assert_eq!(index.alarms(AlarmFilter::default(), None, 1).unwrap().total, MAX_ALARMS as u64);
    assert_eq!(index.open_alarms(), MAX_ALARMS as u64);
    assert!(index.alarm(AlarmId(3)).is_none() && index.alarm(AlarmId(4)).is_some());
    for id in 1..=MAX_AUDIT as u64 + 3 {
        index.apply(&Write::PutAudit(audit(id, "ann", "ptz", 0)));
    }
    let page = index.audit(AuditFilter::default(), None, 1).unwrap();
    assert_eq!((page.total, page.items[0].id), (MAX_AUDIT as u64, AuditId(MAX_AUDIT as u64 + 3)));
}

#[test]
fn the_audit_is_searched_by_person_thing_and_action() {
    let mut index = Index::new();
    let actions = ["control.reboot", "control.guard", "controls", "ptz"];
    for id in 0..8 {
        let user = if id < 4 { "ann" } else { "bob" };
        index.apply(&Write::PutAudit(audit(id, user, actions[id as usize % 4], id)));
    }
    let find = |filter| {
        let page = index.audit(filter, None, 100).unwrap();
        page.items.into_iter().map(|record| record.id.0).collect::<Vec<_>>()
    };
    assert_eq!(find(AuditFilter::default()), [7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(find(AuditFilter { user: Some("ann"), ..Default::default() }), [3, 2, 1, 0]);
    assert_eq!(find(AuditFilter { action: Some("control"), ..Default::default() }), [5, 4, 1, 0]);
    assert_eq!(find(AuditFilter { action: Some("control.guard"), ..Default::default() }), [5, 1]);
    assert_eq!(find(AuditFilter { device: Some(device_id(6)), ..Default::default() }), [6]);
    assert_eq!(find(AuditFilter { channel: Some(channel_id(2)), ..Default::default() }), [2]);
    let page = index.audit(AuditFilter { user: Some("bob"), ..Default::default() }, None, 3).unwrap();
    assert_eq!((page.items.len(), page.total), (3, 4));
    let filter = AuditFilter { user: Some("bob"), ..Default::default() };
    let rest = index.audit(filter, page.next.as_deref(), 3).unwrap();
    assert_eq!((rest.items, rest.total, rest.next), (vec![audit(4, "bob", "control.reboot", 4)], 4, None));
}

#[test]
fn conformance_is_summed_by_rule_and_manufacturer() {
    let mut index = Index::new();
    for (n, maker) in [(0, Some("Acme")), (1, Some(" Acme")), (2, None), (3, Some("Best"))] {
        index.apply(&Write::PutDevice(Device { manufacturer: maker.map(Into::into), ..device(n) }));
    }
    let seen = |rule: usize, count, last| Finding {
        count,
        last: UnixMillis(last),
        ..Finding::new(Rule::ALL[rule], UnixMillis(1), &"\u{4e1c}".repeat(100))
    };
    let put = |n, findings| Write::PutFindings { device: device_id(n), findings };
    index.apply(&put(0, vec![seen(5, 1, 1), seen(2, 10, 5)]));
    index.apply(&put(1, vec![seen(2, 1, 1), seen(2, 20, 7)]));
    index.apply(&put(2, vec![seen(9, 1, 3)]));
    let kept = index.findings(&device_id(1));
    assert_eq!(
        (kept.len(), kept[0].count, kept[0].sample.len()),
        (1, 20, 198),
        "one a rule, cut at a character"
    );
    assert_eq!(index.findings(&device_id(9)), []);

    let all = index.conformance();
    assert_eq!((all.total.devices, all.total.departing, all.total.rules.len()), (4, 3, 3));
    let makers: Vec<_> = all
        .manufacturers
        .iter()
        .map(|maker| (maker.manufacturer.as_deref(), maker.devices, maker.departing, maker.rules.len()))
        .collect();
    assert_eq!(makers, [(Some("Acme"), 2, 2, 2), (Some("Best"), 1, 0, 0), (None, 1, 1, 1)]);
    let worst = RuleTotals { rule: Rule::ALL[2], devices: 2, count: 30, last: UnixMillis(7) };
    assert_eq!(all.manufacturers[0].rules[0], worst);
    index.apply(&put(2, vec![]));
    assert_eq!(index.conformance().total.departing, 2);
}

#[test]
fn a_position_hangs_on_what_is_listed_or_on_the_device() {
    let mut index = with_channels(2);
    let set = |channel, longitude| Write::SetPosition {
        device: device_id(0),
        channel,
        longitude,
        latitude: 31.0,
        at: UnixMillis(5),
    };
    let at =
        |index: &Index, channel| index.position(&device_id(0), &channel).map(|position| position.longitude);
    for (channel, longitude) in [(channel_id(0), 117.5), (device_id(0), 118.5), (channel_id(9), 119.5)] {
        index.apply(&set(channel, longitude));
    }
    index.apply(&set(channel_id(0), 180.5));
    assert_eq!(at(&index, channel_id(0)), Some(117.5));
    assert_eq!(at(&index, channel_id(9)), None, "not listed");
    assert_eq!(index.device(&device_id(0)).unwrap().position.unwrap().longitude, 118.5);
    // A catalog says where a camera was mounted, not where it is.
    index.apply(&merge(0, vec![channel(0), channel(1)], true, 9));
    let state = index.channel(&device_id(0), &channel_id(0)).unwrap();
    assert_eq!((state.position.unwrap().longitude, state.channel.longitude), (117.5, Some(117.0)));
    index.apply(&Write::RemoveChannels { device: device_id(0), channels: vec![channel_id(0)] });
    assert_eq!(at(&index, channel_id(0)), None);
}

#[test]
fn stamps_grow_whatever_the_clock_does() {
    let (mut one, mut other) = (Stamps::new(1), Stamps::new(2));
    let (mut last, mut last_other) = (0, 0);
    for at in [5, 5, 9, 3, 3, 10] {
        let (stamp, stamp_other) = (one.next(UnixMillis(at)), other.next(UnixMillis(at)));
        assert!(last < stamp && last_other < stamp_other && stamp != stamp_other, "{at}");
        (last, last_other) = (stamp, stamp_other);
    }
    let id = AlarmId(one.next(UnixMillis(1_700_000_000_000)));
    assert_eq!((id.at().0, AlarmId::first_at(id.at()) <= id), (1_700_000_000_000, true));
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.to_string(), "62f3f95a00010000");
    assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
    assert_eq!("62F45CFA".parse::<AuditId>(), Err(BadStamp));
    // More than a millisecond can count run into the next one, and stay apart.
    let mut busy = Stamps::new(63);
    let mut seen = std::collections::BTreeSet::new();
    assert!((0..200_000).all(|_| seen.insert(busy.next(UnixMillis(7)))));
    assert_eq!(AlarmId(*seen.last().unwrap()).at(), UnixMillis(10));
}
