mod journal;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::gb::id::Id;
use crate::gb::sdp::MediaMode;
use crate::gb::time::UnixMillis;

fn merge(n: u64, channels: Vec<Channel>, complete: bool, at: i64) -> Write {
    Write::MergeCatalog { device: device_id(n), channels, complete, at: UnixMillis(at) }
}

/// Device 0, registered, with channels 0..n.
fn with_channels(n: u64) -> Index {
    let mut index = Index::new();
    index.apply(&Write::PutDevice(device(0)));
    index.apply(&Write::PutRegistration(registration(0, 1)));
    index.apply(&merge(0, (0..n).map(channel).collect(), true, 1));
    index
}

fn ids(page: &Page<ChannelState>) -> Vec<Id> {
    page.items.iter().map(|item| item.channel.id).collect()
}

#[test]
fn a_device_comes_and_goes() {
    let id = device_id(0);
    let mut index = Index::new();
    assert_eq!(index.apply(&Write::PutRegistration(registration(0, 1))), [], "not known yet");
    assert!(index.device(&id).is_none());

    assert_eq!(index.apply(&Write::PutDevice(device(0))), []);
    assert!(!index.device(&id).unwrap().online);
    assert_eq!(index.device(&id).unwrap().last_seen, None);

    let online = [Change::DeviceOnline { device: id }];
    assert_eq!(index.apply(&Write::PutRegistration(registration(0, 1))), online);
    assert_eq!(index.apply(&Write::PutRegistration(registration(0, 2))), [], "refreshed");

    let silent = [Change::DeviceOffline { device: id, cause: Cause::Silent }];
    assert_eq!(index.apply(&Write::Offline { device: id, cause: Cause::Silent }), silent);
    assert_eq!(index.apply(&Write::Offline { device: id, cause: Cause::Silent }), []);
    let state = index.device(&id).unwrap();
    assert!(!state.online && state.registration.is_some(), "it may come back by a keepalive alone");

    let touch = Write::Touch { touches: vec![Touch { device: id, at: UnixMillis(9) }] };
    assert_eq!(index.apply(&touch), online);
    assert_eq!(index.device(&id).unwrap().last_seen, Some(UnixMillis(9)));

    let end = Write::EndRegistration { device: id, cause: Cause::Expired };
    assert_eq!(index.apply(&end), [Change::DeviceOffline { device: id, cause: Cause::Expired }]);
    assert_eq!(index.apply(&end), []);
    assert_eq!(index.apply(&touch), [], "without a registration a keepalive does not bring it online");
    assert_eq!(index.device(&id).unwrap().last_seen, Some(UnixMillis(9)));
}

#[test]
fn channels_follow_their_device() {
    let mut index = with_channels(3);
    index.apply(&Write::SetChannelStatus {
        device: device_id(0),
        channel: channel_id(1),
        status: false,
        at: UnixMillis(9),
    });
    let totals = Totals { devices: 1, devices_online: 1, channels: 3, channels_online: 2 };
    assert_eq!(index.totals(), totals);
    assert!(index.channel(&device_id(0), &channel_id(0)).unwrap().online);
    assert!(!index.channel(&device_id(0), &channel_id(1)).unwrap().online);

    index.apply(&Write::Offline { device: device_id(0), cause: Cause::Silent });
    assert_eq!(index.totals(), Totals { devices_online: 0, channels_online: 0, ..totals });
    assert!(!index.channel(&device_id(0), &channel_id(0)).unwrap().online);

    let changes = index.apply(&Write::DeleteDevice { device: device_id(0) });
    let removed = Change::CatalogChanged { device: device_id(0), added: 0, changed: 0, removed: 3 };
    assert_eq!(changes, [removed]);
    assert_eq!(index.totals(), Totals::default());
}

#[test]
fn only_a_complete_catalog_removes() {
    let mut index = with_channels(3);
    assert_eq!(index.apply(&merge(0, vec![channel(1)], false, 2)), [], "partial, nothing new");
    assert_eq!(index.totals().channels, 3);

    let changes = index.apply(&merge(0, vec![channel(1), channel(7)], true, 3));
    assert_eq!(changes, [Change::CatalogChanged { device: device_id(0), added: 1, changed: 0, removed: 2 }]);
    assert_eq!(index.totals().channels, 2);
    assert!(index.channel(&device_id(0), &channel_id(0)).is_none());
    let gone: Vec<_> = index.catalog(&device_id(0)).filter(|channel| channel.gone.is_some()).collect();
    assert_eq!(gone.len(), 2);
    assert_eq!(gone[0].gone, Some(UnixMillis(3)));

    let changes = index.apply(&merge(0, vec![channel(0)], false, 4));
    assert_eq!(changes, [Change::CatalogChanged { device: device_id(0), added: 1, changed: 0, removed: 0 }]);
    assert_eq!(index.channel(&device_id(0), &channel_id(0)).unwrap().channel, channel(0));
}

#[test]
fn the_same_channel_id_lives_under_two_devices() {
    let mut index = with_channels(1);
    index.apply(&Write::PutDevice(device(1)));
    index.apply(&merge(1, vec![channel(0)], true, 1));
    index.apply(&merge(0, vec![], true, 2));
    assert!(index.channel(&device_id(0), &channel_id(0)).is_none());
    assert!(index.channel(&device_id(1), &channel_id(0)).is_some());
}

#[test]
fn tombstones_are_bounded_and_the_oldest_go_first() {
    let cap = MAX_GONE_PER_DEVICE as u64;
    let mut index = with_channels(cap + 2);
    index.apply(&merge(0, (1..cap + 2).map(channel).collect(), true, 10));
    assert_eq!(index.catalog(&device_id(0)).filter(|channel| channel.gone.is_some()).count(), 1);
    index.apply(&merge(0, vec![], true, 20));
    let kept: Vec<_> = index.catalog(&device_id(0)).collect();
    assert_eq!(kept.len(), MAX_GONE_PER_DEVICE);
    assert!(kept.iter().all(|channel| channel.id != channel_id(0)), "the older tombstone is forgotten");
    assert_eq!(index.totals().channels, 0);
}

#[test]
fn there_is_an_end_to_what_is_admitted() {
    let mut index = with_channels(2);
    let call = |n: usize| {
        let mut call = call(0, 0, 0);
        call.call_id = n.to_string();
        Write::PutCall(call)
    };
    for n in 0..MAX_CALLS_PER_DEVICE {
        assert_eq!(index.admit(&call(n)), Ok(()));
        index.apply(&call(n));
    }
    assert_eq!(index.admit(&call(MAX_CALLS_PER_DEVICE)), Err(Full::CallsOfDevice));
    assert_eq!(index.admit(&call(0)), Ok(()), "it is there already");
    assert_eq!(index.calls().count(), MAX_CALLS_PER_DEVICE);
}

#[test]
fn texts_and_positions_are_kept_within_bounds() {
    let mut wild = channel(0);
    wild.name = "\u{8def}".repeat(10_000);
    wild.model = Some(String::new());
    wild.longitude = Some(f64::INFINITY);
    wild.parents = (0..100).map(channel_id).collect();
    let mut index = with_channels(0);
    index.apply(&merge(0, vec![wild.clone()], false, 1));
    let kept = index.channel(&device_id(0), &channel_id(0)).unwrap().channel;
    assert_eq!(kept, wild.clipped());
    assert_eq!(kept.name.len(), 255);
    assert_eq!((kept.model, kept.longitude, kept.parents.len()), (None, None, MAX_PARENTS));
    assert_eq!(kept.parents.last(), Some(&channel_id(99)));
}

#[test]
fn lists_filter_and_search() {
    let mut index = with_channels(20);
    index.apply(&Write::SetChannelStatus {
        device: device_id(0),
        channel: channel_id(3),
        status: false,
        at: UnixMillis(2),
    });
    let mut outside = channel(30);
    outside.region = Id::parse("340305").ok();
    outside.name = "Gate NORTH".into();
    index.apply(&merge(0, vec![outside], false, 2));

    let list = |filter| index.channels(filter, None, 100).unwrap();
    assert_eq!(list(ChannelFilter::default()).total, 21);
    assert_eq!(ids(&list(ChannelFilter { online: Some(false), ..Default::default() })), [channel_id(3)]);
    assert_eq!(ids(&list(ChannelFilter { region: Some("3403"), ..Default::default() })), [channel_id(30)]);
    assert_eq!(ids(&list(ChannelFilter { q: Some(" gate n"), ..Default::default() })), [channel_id(30)]);
    assert_eq!(ids(&list(ChannelFilter { q: Some("1300000019"), ..Default::default() })), [channel_id(19)]);
    assert_eq!(list(ChannelFilter { q: Some("\u{4e1c}\u{95e8}"), ..Default::default() }).total, 20);
    assert_eq!(list(ChannelFilter { device: Some(device_id(9)), ..Default::default() }).total, 0);

    index.apply(&Write::PutDevice(device(5)));
    let devices = index.devices(DeviceFilter { q: Some("RECORDER"), online: Some(false) }, None, 9).unwrap();
    assert_eq!((devices.total, devices.items[0].device.id), (1, device_id(5)));
}

#[test]
fn a_page_goes_on_where_the_last_ended_whatever_happened_between() {
    let mut index = with_channels(10);
    let first = index.channels(ChannelFilter::default(), None, 4).unwrap();
    let next = first.next.as_deref().unwrap().to_owned();
    let gone = [3, 4, 0].map(channel_id).to_vec();
    index.apply(&Write::RemoveChannels { device: device_id(0), channels: gone });
    let second = index.channels(ChannelFilter::default(), Some(&next), 100).unwrap();
    assert_eq!(ids(&second), [5, 6, 7, 8, 9].map(channel_id));
    assert_eq!((second.next, second.total), (None, 7));

    for cursor in ["", "!", "AAAA", "gICA", "MzQvLw", "_w"] {
        assert_eq!(
            index.channels(ChannelFilter::default(), Some(cursor), 4).err(),
            Some(BadCursor),
            "{cursor}"
        );
        assert_eq!(index.devices(DeviceFilter::default(), Some(cursor), 4).err(), Some(BadCursor));
    }
}

#[test]
fn the_tree_has_a_place_for_everything() {
    let region = Id::parse("340200").unwrap();
    let group = Id::parse("34020000002160000001").unwrap();
    let mut items = vec![Channel::new(region), Channel::new(group)];
    items[1].region = Some(region);
    let mut put = |n, parents: Vec<Id>, region: Option<&str>| {
        let mut item = Channel::new(channel_id(n));
        item.parents = parents;
        item.region = region.and_then(|region| Id::parse(region).ok());
        items.push(item);
    };
    put(0, vec![device_id(0), group], None);
    put(1, vec![], Some("340200"));
    put(2, vec![channel_id(77)], Some("99")); // neither is listed
    put(3, vec![channel_id(3)], None); // its own parent
    put(4, vec![device_id(0)], None);
    let mut index = with_channels(0);
    index.apply(&merge(0, items, true, 1));

    let level = |parent: Option<&Id>| -> Vec<(Id, u32)> {
        let page = index.level(&device_id(0), parent, None, 100).unwrap();
        page.items.iter().map(|leaf| (leaf.state.channel.id, leaf.children)).collect()
    };
    let mut top = level(None);
    top.sort();
    let mut expected = vec![(channel_id(2), 0), (channel_id(3), 0), (channel_id(4), 0), (region, 2)];
    expected.sort();
    assert_eq!(top, expected);
    let mut below = level(Some(&region));
    below.sort();
    let mut expected = vec![(channel_id(1), 0), (group, 1)];
    expected.sort();
    assert_eq!(below, expected);
    assert_eq!(level(Some(&group)), [(channel_id(0), 0)]);

    let first = index.level(&device_id(0), None, None, 3).unwrap();
    let rest = index.level(&device_id(0), None, first.next.as_deref(), 3).unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.total, rest.next), (3, 1, 4, None));
}

#[test]
fn records_survive_json_and_secrets_stay_out_of_debug() {
    let mut device = device(0);
    device.password = Some(Secret::new("hunter2"));
    device.media_transport = Some(MediaMode::TcpActive);
    assert!(!format!("{device:?}").contains("hunter2"));
    let json = serde_json::to_string(&device).unwrap();
    assert!(
        json.contains(r#""edition":2016"#) && json.contains(r#""media_transport":"tcp-active""#),
        "{json}"
    );
    assert_eq!(serde_json::from_str::<Device>(&json).unwrap(), device);

    let least: Device =
        serde_json::from_str(r#"{"id":"34020000001110000001","added_at":5,"new":1}"#).unwrap();
    assert_eq!(least, Device::new(least.id, AddedBy::Registration, UnixMillis(5)));
    assert!(serde_json::from_str::<Device>(r#"{"id":"1","added_at":5,"charset":"latin-1"}"#).is_err());
}

/// All pages of a list, put together.
fn all_pages(index: &Index, filter: ChannelFilter<'_>, limit: usize) -> (Vec<ChannelState>, u64) {
    let (mut items, mut cursor, mut total) = (Vec::new(), None::<String>, 0);
    loop {
        let page = index.channels(filter, cursor.as_deref(), limit).unwrap();
        assert!(page.items.len() <= limit);
        items.extend(page.items);
        total = total.max(page.total);
        cursor = page.next;
        if cursor.is_none() {
            return (items, total);
        }
    }
}

/// Faults and regions, each against a plain recount.
fn check_figures(index: &Index, all: &[ChannelState], limit: usize) -> Result<(), TestCaseError> {
    let mut expected = Vec::new();
    for state in index.all_devices() {
        let id = state.device.id;
        if !state.online {
            expected.push((id, None));
        } else {
            let bad = all.iter().filter(|item| item.device == id && !item.channel.status);
            expected.extend(bad.map(|item| (id, Some(item.channel.id))));
        }
    }
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = index.faults(cursor.as_deref(), limit).unwrap();
        prop_assert_eq!(page.total, expected.len() as u64);
        prop_assert!(page.items.len() <= limit);
        found.extend(page.items.iter().map(|fault| match fault {
            Fault::Device { device, since } => {
                assert_eq!(*since, device.last_seen);
                (device.device.id, None)
            }
            Fault::Channel { channel, since } => {
                assert_eq!(*since, channel.channel.bad_since);
                (channel.device, Some(channel.channel.id))
            }
        }));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    prop_assert_eq!(found, expected);

    let mut regions: BTreeMap<(bool, String), (u64, u64)> = BTreeMap::new();
    for item in all {
        let code = item.channel.region.map(|region| region.as_str().chars().take(6).collect::<String>());
        let counts = regions.entry((code.is_none(), code.unwrap_or_default())).or_default();
        counts.0 += 1;
        counts.1 += u64::from(item.online);
    }
    let found: Vec<_> = index.online_by_region("", 6).into_iter().map(region_tuple).collect();
    let expected: Vec<_> = regions
        .into_iter()
        .map(|((none, code), (channels, online))| ((!none).then_some(code), channels, online))
        .collect();
    prop_assert_eq!(found, expected);
    Ok(())
}

fn region_tuple(totals: RegionTotals) -> (Option<String>, u64, u64) {
    (totals.region, totals.channels, totals.channels_online)
}

proptest! {
    /// Totals, lists and events, each against a plain recount of all that is there.
    #[test]
    fn counters_pages_and_changes_agree_with_a_recount(
        writes in proptest::collection::vec(any_write(), 0..40),
        limit in 1..6_usize,
        online in any::<Option<bool>>(),
        region in proptest::option::of(prop_oneof![Just("3402"), Just("340211")]),
        q in proptest::option::of("[aAb]{1,2}"),
        one in proptest::option::of(0..5_u64),
    ) {
        let mut index = Index::new();
        let mut seen_online = BTreeMap::new();
        let mut seen_channels = 0_i64;
        for write in &writes {
            let json = serde_json::to_string(write).unwrap();
            let read: Write = serde_json::from_str(&json).unwrap();
            for change in index.apply(&read) {
                match change {
                    Change::DeviceOnline { device } => prop_assert_eq!(seen_online.insert(device, ()), None),
                    Change::DeviceOffline { device, .. } => prop_assert!(seen_online.remove(&device).is_some()),
                    Change::CatalogChanged { added, removed, .. } => {
                        seen_channels += i64::from(added) - i64::from(removed);
                    }
                }
            }
        }

        let mut recount = Totals::default();
        let (mut all, mut folders) = (Vec::new(), 0);
        for n in 0..5 {
            let Some(state) = index.device(&device_id(n)) else { continue };
            recount.devices += 1;
            recount.devices_online += u64::from(state.online);
            prop_assert_eq!(state.online, seen_online.contains_key(&device_id(n)));
            for channel in index.catalog(&device_id(n)).filter(|channel| channel.gone.is_none()) {
                if channel.id.kind().is_folder() {
                    folders += 1;
                    continue;
                }
                recount.channels += 1;
                let online = state.online && channel.status;
                recount.channels_online += u64::from(online);
                let position = index.position(&device_id(n), &channel.id);
                all.push(ChannelState { device: device_id(n), channel, online, position });
            }
        }
        prop_assert_eq!(index.totals(), recount);
        check_figures(&index, &all, limit)?;
        prop_assert_eq!(seen_channels, all.len() as i64 + folders);

        let filter = ChannelFilter { device: one.map(device_id), region, q: q.as_deref(), online };
        let expected: Vec<_> = all
            .into_iter()
            .filter(|item| one.is_none_or(|one| item.device == device_id(one)))
            .filter(|item| online.is_none_or(|online| item.online == online))
            .filter(|item| region.is_none_or(|region| {
                item.channel.region.is_some_and(|own| own.as_str().starts_with(region))
            }))
            .filter(|item| q.as_deref().is_none_or(|q| {
                item.channel.name.to_lowercase().contains(&q.to_lowercase())
            }))
            .collect();
        let (found, total) = all_pages(&index, filter, limit);
        prop_assert_eq!(total, expected.len() as u64);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_cursor_makes_it_panic(cursor in ".{0,40}") {
        let index = with_channels(2);
        let _ = index.channels(ChannelFilter::default(), Some(&cursor), 2);
        let _ = index.level(&device_id(0), None, Some(&cursor), 2);
    }
}

/// Resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A channel costs at most 300 bytes, its name, address and place in the tree included, whether catalogs come
/// whole or page by page.
///
/// Measured in a process of its own: here, other tests come and go meanwhile.
#[cfg(target_os = "linux")]
#[test]
fn a_channel_is_small() {
    const ALONE: &str = "GBGATE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return measure_channels();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "registry::tests::a_channel_is_small", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| line.contains("bytes per channel")).for_each(|line| println!("{line}"));
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches("bytes per channel").count(), 2, "{text}");
}

#[cfg(target_os = "linux")]
fn measure_channels() {
    const CHANNELS: u64 = 200_000;
    const PER_DEVICE: u64 = 5_000;
    let mut kept = Vec::new();
    for (way, chunk) in [("whole catalogs", PER_DEVICE), ("in pages of 50", 50)] {
        let before = resident();
        let mut index = Index::new();
        for n in 0..CHANNELS / PER_DEVICE {
            index.apply(&Write::PutDevice(device(n)));
            for first in (n * PER_DEVICE..(n + 1) * PER_DEVICE).step_by(chunk as usize) {
                let channels = (first..first + chunk).map(channel).collect();
                index.apply(&merge(n, channels, false, 1));
            }
        }
        assert_eq!(index.totals().channels, CHANNELS);
        let bytes = resident().saturating_sub(before) / CHANNELS as usize;
        println!("{bytes} bytes per channel, {way}");
        assert!(bytes <= 300, "{bytes} bytes per channel, {way}");
        kept.push(index); // so that the second measure does not reuse the memory of the first
    }
}
