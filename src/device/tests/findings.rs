//! What departs from the standard.

use super::*;

const HOME: &str = "192.0.2.20:5060";

fn settled() -> Bench {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    bench
}

fn observe(bench: &mut Bench, rule: Rule, sample: &str) -> Out {
    bench.devices.observe(bench.now, &id(DEVICE), rule, sample);
    bench.out()
}

/// How often a rule was broken, as it was written.
fn count(findings: &[Finding], rule: Rule) -> u64 {
    findings.iter().find(|finding| finding.rule == rule).map_or(0, |finding| finding.count)
}

#[test]
fn the_first_sight_is_written_at_once_and_the_rest_now_and_then() {
    let mut bench = settled();
    let out = observe(&mut bench, Rule::SdpNoY, "200 without y");
    assert_eq!(out.departures, [Rule::SdpNoY]);
    assert_eq!(count(&out.findings[0], Rule::SdpNoY), 1);
    for _ in 0..99 {
        let out = observe(&mut bench, Rule::SdpNoY, "again");
        assert!(out.departures.is_empty() && out.findings.is_empty());
    }
    let out = bench.later(60.0);
    assert_eq!((out.findings.len(), count(&out.findings[0], Rule::SdpNoY)), (1, 100));
    let kept = out.findings[0].iter().find(|finding| finding.rule == Rule::SdpNoY).unwrap();
    assert_eq!(kept.sample, "again");
    assert!(kept.last >= kept.first);
    // The same every second for a day costs a few writes.
    let mut writes = 0;
    for _ in 0..86_400 / 20 {
        observe(&mut bench, Rule::SdpNoY, "again");
        writes += bench.later(20.0).findings.len();
        bench.keepalive(id(DEVICE), udp(HOME));
        bench.refresh();
    }
    assert!((20..40).contains(&writes), "{writes}");
}

impl Bench {
    fn refresh(&mut self) {
        let session = self.devices.entries[&id(DEVICE)].session.as_ref().unwrap();
        if session.expires_at < self.now.instant + Duration::from_secs(1_800) {
            self.register(id(DEVICE), udp(HOME));
        }
    }
}

#[test]
fn what_was_known_before_a_restart_is_not_new() {
    let mut bench = bench();
    let device = Device::new(id(DEVICE), AddedBy::Registration, UnixMillis(0));
    let known = Finding { count: 41, ..Finding::new(Rule::SdpNoY, UnixMillis(0), "before") };
    bench.devices.restore(bench.now, device, None, &[known]);
    assert!(observe(&mut bench, Rule::SdpNoY, "after").departures.is_empty());
    let out = bench.later(60.0);
    assert_eq!(count(&out.findings[0], Rule::SdpNoY), 42);
}

#[test]
fn strangers_leave_no_trace() {
    let mut bench = bench();
    bench.devices.observe(bench.now, &nth(1), Rule::SdpNoY, "");
    let out = bench.out();
    assert!(out.departures.is_empty() && bench.devices.known() == 0);
}

#[test]
fn a_city_of_first_sights_does_not_become_a_storm_of_writes() {
    let mut bench = bench();
    for n in 0..400 {
        bench.devices.put(bench.now, Device::new(nth(n), AddedBy::Admin, UnixMillis(0)));
        bench.devices.observe(bench.now, &nth(n), Rule::SdpNoY, "");
    }
    let out = bench.out();
    assert_eq!((out.departures.len(), out.findings.len()), (400, 200));
    assert_eq!(bench.later(60.0).findings.len(), 200);
}

#[test]
fn bodies_and_keepalives_are_judged() {
    let mut bench = settled();
    let out =
        bench.message(id(DEVICE), udp(HOME), "<Notify><CmdType>Keepalive</CmdType><Status>ERROR</Status>");
    for rule in
        [Rule::SnMissing, Rule::XmlMissingDeviceId, Rule::XmlNotWellFormed, Rule::KeepaliveStatusError]
    {
        assert!(out.departures.contains(&rule), "{rule}: {:?}", out.departures);
    }
    let out = bench.message(id(DEVICE), udp(HOME), "no xml");
    assert!(out.departures.contains(&Rule::XmlUnreadable));
    bench.later(100.0);
    assert_eq!(bench.keepalive(id(DEVICE), udp(HOME)).departures, [Rule::KeepaliveTooLate]);
    assert!(bench.later(200.0).departures.contains(&Rule::KeepaliveMissed));
}

#[test]
fn catalogs_are_judged_as_a_whole() {
    let mut bench = bench();
    bench.register(id(DEVICE), udp(HOME));
    bench.message(id(DEVICE), udp(HOME), &page(id(DEVICE), 2, &[1, 2]));
    bench.message(
        id(DEVICE),
        udp(HOME),
        &page(id(DEVICE), 2, &[2, 3]).replace("<DeviceList", "<X/><DeviceList"),
    );
    let out = bench.later(4.0);
    assert!(out.departures.contains(&Rule::CatalogSumnumWrong), "{:?}", out.departures);
    assert!(out.departures.contains(&Rule::CatalogDuplicateIds), "{:?}", out.departures);
}

#[test]
fn a_profile_may_know_a_device_by_what_it_does() {
    let text = "name: odd\nmatch:\n  - behaviour: [sdp-no-y]\nknobs:\n  - set: record_type_always\n    to: true\n    why: as seen\n";
    let odd = Profile::from_yaml("odd.yaml", text).unwrap();
    let profiles = Arc::new(Profiles::new(vec![odd]).unwrap());
    let mut bench = bench_with(Settings { profiles, ..settings() });
    bench.settled(id(DEVICE), udp(HOME));
    assert!(!bench.devices.manners(&id(DEVICE)).record_type_always);
    observe(&mut bench, Rule::SdpNoY, "");
    assert!(bench.devices.manners(&id(DEVICE)).record_type_always);
}
