//! Keepalives, ways back, restarts, and what devices say of themselves.

use super::*;
use crate::gb::charset::{self, Charset};
use crate::gb::manscdp::DeviceInfo;

const HOME: &str = "192.0.2.20:5060";

#[test]
fn a_sign_of_life_moves_the_way_back() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let out = bench.keepalive(id(DEVICE), udp(HOME));
    assert_eq!((out.codes(), out.seen, out.writes.len()), (vec![200], 1, 0));
    // A NAT gave it another port; that is kept, for a restart.
    let moved = udp("192.0.2.20:6001");
    let out = bench.keepalive(id(DEVICE), moved);
    assert_eq!(out.registration().unwrap().route, moved.into());
    assert_eq!(bench.devices.reach(&id(DEVICE)).unwrap().1, moved);
    // Another address could be anybody's.
    let out = bench.keepalive(id(DEVICE), udp("192.0.2.21:5060"));
    assert_eq!((out.codes(), out.refusals(), out.seen), (vec![403], vec!["other_address"], 0));
    assert_eq!(bench.devices.reach(&id(DEVICE)).unwrap().1, moved);
}

#[test]
fn a_long_answer_over_tcp_is_no_way_back_to_a_device_on_udp() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    assert_eq!(bench.keepalive(id(DEVICE), tcp(7)).seen, 1);
    assert_eq!(bench.devices.reach(&id(DEVICE)).unwrap().1, udp(HOME));
    bench.devices.connection_closed(bench.now, 7);
    assert!(bench.out().offline().is_empty());
    // Unless there is no other.
    bench.later(1_000.0);
    assert!(!bench.is_online(id(DEVICE)));
    bench.keepalive(id(DEVICE), tcp(8));
    assert_eq!(bench.devices.reach(&id(DEVICE)).unwrap().1, tcp(8));
}

#[test]
fn three_missed_keepalives_by_one_lazy_timer() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let mut fired = 0;
    for _ in 0..100 {
        assert_eq!(bench.devices.timers.len(), 1);
        let until = bench.now.instant + Duration::from_secs(60);
        fired += usize::from(bench.devices.next_timeout().unwrap() <= until);
        assert!(bench.later(60.0).events.is_empty());
        bench.keepalive(id(DEVICE), udp(HOME));
        if fired > 0 && bench.devices.registrations() == 0 {
            unreachable!("it is refreshed before it runs out");
        }
        bench.register_quietly();
    }
    assert!(fired < 60, "keepalives do not move the timer: {fired}");
    assert!(bench.later(179.0).offline().is_empty());
    let out = bench.later(1.0);
    assert_eq!(out.offline(), [Cause::Silent]);
    assert!(out.wrote(&Write::Offline { device: id(DEVICE), cause: Cause::Silent }));
    assert_eq!(bench.devices.reach(&id(DEVICE)).unwrap_err(), Failure::Offline);
    assert_eq!(bench.devices.registrations(), 1, "the registration goes on");

    let out = bench.keepalive(id(DEVICE), udp("192.0.2.20:6001"));
    assert!(out.registration().is_some() && out.requests.is_empty());
    assert!(bench.is_online(id(DEVICE)));
    assert!(bench.later(179.0).offline().is_empty());
    assert_eq!(bench.later(1.0).offline(), [Cause::Silent]);
}

impl Bench {
    /// A refresh when half of the lifetime is over.
    fn register_quietly(&mut self) {
        let session = self.devices.entries[&id(DEVICE)].session.as_ref().unwrap();
        if session.expires_at < self.now.instant + Duration::from_secs(1_800) {
            assert!(self.register(id(DEVICE), udp(HOME)).requests.is_empty());
        }
    }
}

#[test]
fn a_device_that_comes_back_is_asked_for_what_never_came() {
    let mut bench = bench();
    bench.register(id(DEVICE), udp(HOME));
    bench.later(600.0);
    assert!(!bench.is_online(id(DEVICE)));
    assert_eq!(bench.keepalive(id(DEVICE), udp(HOME)).purposes(), [Purpose::Catalog]);
}

#[test]
fn a_connection_that_ends_takes_its_device_offline() {
    let mut bench = bench();
    bench.settled(id(DEVICE), tcp(1));
    bench.devices.connection_closed(bench.now, 1);
    let out = bench.out();
    assert_eq!(out.offline(), [Cause::Disconnected]);
    assert!(out.wrote(&Write::Offline { device: id(DEVICE), cause: Cause::Disconnected }));
    let out = bench.keepalive(id(DEVICE), tcp(2));
    assert_eq!((out.codes(), out.registration().is_some()), (vec![200], true));
    assert_eq!(bench.devices.reach(&id(DEVICE)).unwrap().1, tcp(2));
    bench.devices.connection_closed(bench.now, 1);
    assert!(bench.out().offline().is_empty());
}

#[test]
fn an_old_connection_ends_unnoticed() {
    let mut bench = bench();
    bench.settled(id(DEVICE), tcp(1));
    bench.register(id(DEVICE), tcp(2));
    bench.devices.connection_closed(bench.now, 1);
    assert!(bench.out().events.is_empty() && bench.is_online(id(DEVICE)));
    bench.devices.connection_closed(bench.now, 2);
    assert_eq!(bench.out().offline(), [Cause::Disconnected]);
    assert!(bench.devices.by_connection.is_empty());
}

#[test]
fn a_connection_that_ends_while_the_registration_waits_is_noticed() {
    let mut bench = bench();
    bench.disk = None;
    let request = bench.proven(id(DEVICE), tcp(1), "3600");
    bench.deliver(tcp(1), request);
    bench.devices.connection_closed(bench.now, 1);
    let token = bench.waiting.remove(0);
    bench.devices.committed(bench.now, token, true);
    let out = bench.out();
    assert_eq!((out.offline(), out.requests.len()), (vec![Cause::Disconnected], 0));
    assert!(!bench.is_online(id(DEVICE)) && bench.devices.by_connection.is_empty());
}

#[test]
fn a_platform_and_its_devices_share_a_connection() {
    let mut bench = bench();
    for n in 0..3 {
        bench.register(nth(n), tcp(1));
    }
    bench.devices.connection_closed(bench.now, 1);
    assert_eq!(bench.out().offline(), [Cause::Disconnected; 3]);
}

/// As the registry had it before the restart.
fn record(transport: Transport, expires_at: i64) -> Registration {
    Registration {
        device: id(DEVICE),
        route: flow(transport, HOME, 0).into(),
        contact: String::new(),
        registered_at: UnixMillis(0),
        expires_at: UnixMillis(expires_at),
        keepalive: None,
    }
}

#[test]
fn after_a_restart_udp_is_served_at_once_and_tcp_when_it_connects() {
    let mut bench = bench();
    let later = bench.now.unix.0 + 1_000_000;
    let device = Device::new(id(DEVICE), AddedBy::Registration, UnixMillis(0));
    bench.devices.restore(bench.now, device.clone(), Some(record(Transport::Udp, later)), &[]);
    assert!(bench.out().writes.is_empty() && bench.is_online(id(DEVICE)));
    assert_eq!(bench.keepalive(id(DEVICE), udp("192.0.2.20:7000")).codes(), [200]);
    bench.later(170.0);
    bench.keepalive(id(DEVICE), udp(HOME));
    for _ in 0..5 {
        bench.later(160.0);
        bench.keepalive(id(DEVICE), udp(HOME));
    }
    assert_eq!(bench.later(1_000.0).offline(), [Cause::Expired], "as it was granted before");

    let mut bench = self::bench();
    bench.devices.restore(bench.now, device, Some(record(Transport::Tcp, later)), &[]);
    let out = bench.out();
    assert!(out.wrote(&Write::Offline { device: id(DEVICE), cause: Cause::Disconnected }));
    assert!(out.events.is_empty() && !bench.is_online(id(DEVICE)));
    assert_eq!(bench.keepalive(id(DEVICE), tcp(1)).codes(), [200]);
    assert_eq!(bench.devices.reach(&id(DEVICE)).unwrap().1, tcp(1));
}

#[test]
fn a_restart_ends_what_ran_out_meanwhile() {
    let mut bench = bench();
    let now = bench.now.unix.0;
    let device = Device::new(id(DEVICE), AddedBy::Registration, UnixMillis(0));
    bench.devices.restore(bench.now, device.clone(), Some(record(Transport::Udp, now)), &[]);
    let out = bench.out();
    assert!(out.wrote(&Write::EndRegistration { device: id(DEVICE), cause: Cause::Expired }));
    assert_eq!(bench.keepalive(id(DEVICE), udp(HOME)).codes(), [403]);

    // One that is not registered costs nothing; a clock that was wrong makes nothing last for ever.
    let mut bench = self::bench();
    bench.devices.restore(bench.now, device.clone(), None, &[]);
    assert!(bench.out().writes.is_empty() && bench.devices.timers.is_empty());
    bench.devices.restore(bench.now, device, Some(record(Transport::Udp, i64::MAX)), &[]);
    bench.later(86_400.0);
    assert_eq!(bench.devices.registrations(), 0);
}

#[test]
fn the_first_refresh_after_a_restart_asks_for_the_catalog() {
    let mut bench = bench();
    let later = bench.now.unix.0 + 1_000_000;
    let device = Device::new(id(DEVICE), AddedBy::Registration, UnixMillis(0));
    bench.devices.restore(bench.now, device, Some(record(Transport::Udp, later)), &[]);
    assert!(bench.keepalive(id(DEVICE), udp(HOME)).requests.is_empty());
    assert_eq!(bench.register(id(DEVICE), udp(HOME)).purposes(), [Purpose::Catalog]);
}

fn info(name: Option<&str>, model: Option<&str>) -> String {
    let text = |text: &str| Some(text.to_owned());
    let info = DeviceInfo { name: name.and_then(text), model: model.and_then(text), ..DeviceInfo::default() };
    write::response_device_info(1, &id(DEVICE), &info)
}

#[test]
fn a_device_tells_of_itself() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let out = bench.message(id(DEVICE), udp(HOME), &info(Some("gate"), Some("DS-1")));
    let device = out.device().unwrap();
    assert_eq!((device.name.as_str(), device.model.as_deref()), ("gate", Some("DS-1")));
    assert!(bench.message(id(DEVICE), udp(HOME), &info(Some("gate"), None)).writes.is_empty());
    let out = bench.message(id(DEVICE), udp(HOME), &info(Some("east gate"), None));
    assert_eq!(out.device().unwrap().name, "east gate");
    assert_eq!(out.device().unwrap().model.as_deref(), Some("DS-1"), "what it leaves out stays");

    let mut named = out.device().unwrap().clone();
    named.name = "an administrator's".to_owned();
    bench.devices.put(bench.now, named);
    for told in ["east gate", "west gate"] {
        assert!(bench.message(id(DEVICE), udp(HOME), &info(Some(told), None)).writes.is_empty());
    }
    assert_eq!(bench.devices.device(&id(DEVICE)).unwrap().name, "an administrator's");
}

#[test]
fn a_device_is_spoken_to_in_its_charset() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let body = info(Some("大厅"), None);
    let out = bench.bytes(id(DEVICE), udp(HOME), charset::encode(&body, Charset::Utf8));
    assert_eq!(out.writes.len(), 2);
    assert_eq!(out.device().unwrap().charset, Charset::Utf8);
    let out = bench.bytes(id(DEVICE), udp(HOME), charset::encode(&body, Charset::Gb18030));
    assert_eq!(out.device().unwrap().charset, Charset::Gb18030);
    bench.devices.key_frame(&id(DEVICE), &id(DEVICE));
    let out = bench.out();
    assert!(out.requests[0].2.body.starts_with(b"<?xml version=\"1.0\" encoding=\"GB2312\"?>"));

    // What it is known to speak decides where bytes leave it open, also after a restart.
    let lie = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    let school = charset::encode(&format!("{lie}{}", info(Some("学校"), None)), Charset::Gb18030);
    let device = bench.devices.device(&id(DEVICE)).unwrap().clone();
    let mut bench = self::bench();
    let later = bench.now.unix.0 + 1_000_000;
    let device = Device { name: String::new(), ..device };
    bench.devices.restore(bench.now, device, Some(record(Transport::Udp, later)), &[]);
    assert_eq!(bench.bytes(id(DEVICE), udp(HOME), school).device().unwrap().name, "学校");
}

#[test]
fn declarations_that_differ_cost_one_write() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    let mut writes = 0;
    for _ in 0..10 {
        for name in ["UTF-8", "GB2312"] {
            let body = write::keepalive(1, &id(DEVICE), &[]);
            let body = format!("<?xml version=\"1.0\" encoding=\"{name}\"?>\r\n{body}");
            writes += bench.message(id(DEVICE), udp(HOME), &body).writes.len();
        }
    }
    assert_eq!(writes, 1);
}

#[test]
fn a_body_that_cannot_be_read_is_a_sign_of_life_all_the_same() {
    let mut bench = bench();
    bench.settled(id(DEVICE), udp(HOME));
    for (body, reason) in
        [("", "xml"), ("no xml", "xml"), ("<Odd/>", "unknown-root"), ("<Notify/>", "no-command")]
    {
        let out = bench.message(id(DEVICE), udp(HOME), body);
        assert_eq!((out.codes(), out.seen), (vec![400], 1));
        assert_eq!(out.events, [Event::BadBody { device: id(DEVICE), reason }], "{body}");
    }
    let unknown = "<Notify><CmdType>Weather</CmdType><SN>1</SN></Notify>";
    let out = bench.message(id(DEVICE), udp(HOME), unknown);
    assert_eq!((out.codes(), out.events.len()), (vec![200], 0));
}

#[test]
fn nothing_is_sent_to_a_device_that_is_offline() {
    let mut bench = bench();
    bench.devices.key_frame(&id(DEVICE), &id(DEVICE));
    bench.settled(id(DEVICE), udp(HOME));
    bench.later(1_000.0);
    bench.devices.key_frame(&id(DEVICE), &id(DEVICE));
    assert!(bench.out().requests.is_empty());
}
