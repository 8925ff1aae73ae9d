//! REGISTER.

use super::*;

#[test]
fn a_challenge_then_the_welcome() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    let challenge = bench.knock(id(DEVICE), flow);
    assert_eq!((challenge.realm.as_str(), challenge.stale), (DOMAIN, false));

    let request = bench.request(Method::Register, DEVICE, flow);
    let request = request.with("Contact", format!("<sip:{DEVICE}@10.1.1.1:5060>;expires=7200"));
    let request = bench.answer(&challenge, request.with("X-GB-Ver", "3.0"), DEVICE, PASSWORD);
    let out = bench.deliver(flow, request);
    assert_eq!(out.codes(), [200]);
    let welcome = &out.responses[0];
    assert_eq!(welcome.header("Date"), Some("2024-05-01T08:00:00.000"));
    assert_eq!(welcome.header("Expires"), Some("7200"));
    assert_eq!(welcome.contact().unwrap().expires, Some(7_200));
    assert_eq!(welcome.header("X-GB-Ver"), Some("3.0"));

    let device = out.device().unwrap();
    assert_eq!((device.added_by, device.edition), (AddedBy::Registration, manscdp::Edition::E2022));
    let kept = out.registration().unwrap();
    assert_eq!(kept.contact, format!("sip:{DEVICE}@10.1.1.1:5060"));
    assert_eq!(kept.expires_at.0 - kept.registered_at.0, 7_200_000);
    assert_eq!(kept.route, flow.into());

    assert_eq!(out.purposes(), [Purpose::Info, Purpose::Catalog]);
    for (_, way, message) in &out.requests {
        assert_eq!(*way, flow);
        assert_eq!(message.uri(), Some("sip:34020000001180000001@192.0.2.20:5060"));
    }
}

#[test]
fn a_stale_nonce_is_no_failed_login() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    let challenge = bench.knock(id(DEVICE), flow);
    bench.later(LIFETIME.as_secs_f64() + 1.0);
    let elsewhere = bench.knock(id(DEVICE), udp("192.0.2.21:5060"));
    let another = bench.knock(nth(1), flow);
    for challenge in [challenge, elsewhere, another] {
        let request = bench.request(Method::Register, DEVICE, flow);
        let request = bench.answer(&challenge, request, DEVICE, PASSWORD);
        let out = bench.deliver(flow, request);
        assert_eq!((out.codes(), out.refusals()), (vec![401], vec![]));
        let again = Challenge::parse(out.responses[0].header("WWW-Authenticate").unwrap()).unwrap();
        assert!(again.stale);
    }
    let out = bench.register(id(DEVICE), flow);
    assert_eq!(out.codes(), [200]);
}

#[test]
fn strangers_leave_nothing_behind() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    let challenge = bench.knock(id(DEVICE), flow);
    let request = bench.request(Method::Register, DEVICE, flow);
    let wrong = bench.answer(&challenge, request, DEVICE, "wrong");
    let out = bench.deliver(flow, wrong);
    assert_eq!((out.codes(), out.refusals(), out.writes.len()), (vec![403], vec!["wrong_password"], 0));

    let basic = bench.request(Method::Register, DEVICE, flow).with("Authorization", "Basic QWxhZGRpbg==");
    let out = bench.deliver(flow, basic);
    assert_eq!((out.codes(), out.refusals()), (vec![401], vec!["unsupported"]));

    let out = bench.keepalive(id(DEVICE), flow);
    assert_eq!((out.codes(), out.refusals()), (vec![404], vec!["unknown_device"]));
    let nameless = bench.request(Method::Register, "not an id", flow);
    assert_eq!(bench.deliver(flow, nameless).codes(), [400]);
    assert!(bench.devices.entries.is_empty() && bench.devices.pending.is_empty());
    assert_eq!(bench.devices.nonces.remembered(), 0);
}

#[test]
fn without_a_password_of_the_platform_only_those_added_before_may_register() {
    let mut bench = bench_with(Settings { password: None, ..settings() });
    let flow = udp("192.0.2.20:5060");
    let request = bench.request(Method::Register, DEVICE, flow);
    let out = bench.deliver(flow, request);
    assert_eq!((out.codes(), out.refusals()), (vec![403], vec!["unknown_device"]));
    bench.devices.put(bench.now, Device::new(id(DEVICE), AddedBy::Admin, UnixMillis(0)));
    let request = bench.request(Method::Register, DEVICE, flow);
    assert_eq!(bench.deliver(flow, request).refusals(), ["no_password"]);
}

#[test]
fn a_password_of_its_own_comes_before_that_of_the_platform() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    let mut device = Device::new(id(DEVICE), AddedBy::Admin, UnixMillis(0));
    device.password = Some(crate::registry::Secret::new("its own"));
    bench.devices.put(bench.now, device);
    for (password, codes) in [(PASSWORD, [403]), ("its own", [200])] {
        let challenge = bench.knock(id(DEVICE), flow);
        let request = bench.request(Method::Register, DEVICE, flow);
        let request = bench.answer(&challenge, request, DEVICE, password);
        let out = bench.deliver(flow, request);
        assert_eq!(out.codes(), codes);
        assert!(out.device().is_none(), "its settings are as they were");
    }
}

#[test]
fn the_lifetime_is_bounded() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    for (asked, granted) in
        [("1", "60"), ("60", "60"), ("4294967295", "86400"), ("99999999999", "86400"), ("soon", "3600")]
    {
        let request = bench.proven(id(DEVICE), flow, asked);
        let out = bench.deliver(flow, request);
        assert_eq!(out.responses[0].header("Expires"), Some(granted), "{asked}");
    }
}

#[test]
fn a_refresh_asks_for_nothing_that_is_known() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    bench.settled(id(DEVICE), flow);
    bench.later(100.0);
    let out = bench.register(id(DEVICE), flow);
    assert!(out.requests.is_empty() && out.device().is_none());
    let kept = out.registration().unwrap();
    assert!(kept.registered_at < bench.now.unix, "it is registered since then");
    assert_eq!(bench.devices.registrations(), 1);
}

#[test]
fn a_refresh_asks_again_for_what_never_came() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    bench.register(id(DEVICE), flow);
    bench.later(150.0);
    bench.keepalive(id(DEVICE), flow);
    assert_eq!(bench.register(id(DEVICE), flow).purposes(), [Purpose::Catalog]);
}

#[test]
fn a_device_that_unregisters_is_gone_at_once() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    bench.register(id(DEVICE), flow);
    let request = bench.proven(id(DEVICE), flow, "0");
    let out = bench.deliver(flow, request);
    assert_eq!((out.codes(), out.offline()), (vec![200], vec![Cause::Unregistered]));
    assert_eq!(out.responses[0].header("Expires"), Some("0"));
    assert!(out.wrote(&Write::EndRegistration { device: id(DEVICE), cause: Cause::Unregistered }));
    assert_eq!((bench.devices.registrations(), bench.devices.next_timeout()), (0, None));
    let out = bench.keepalive(id(DEVICE), flow);
    assert_eq!((out.codes(), out.refusals()), (vec![403], vec!["not_registered"]));
    // All its contacts, as some devices have it.
    let star = bench.proven(id(DEVICE), flow, "0");
    let out = bench.deliver(flow, {
        let mut star = star;
        star.set("Contact", "*");
        star
    });
    assert_eq!(out.codes(), [200]);
}

#[test]
fn a_registration_runs_out() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    let request = bench.proven(id(DEVICE), flow, "100");
    bench.deliver(flow, request);
    bench.later(60.0);
    bench.keepalive(id(DEVICE), flow);
    assert!(bench.later(39.0).offline().is_empty());
    let out = bench.later(1.0);
    assert_eq!(out.offline(), [Cause::Expired]);
    assert!(out.writes.contains(&Write::EndRegistration { device: id(DEVICE), cause: Cause::Expired }));
    bench.later(60.0);
    assert_eq!(bench.devices.next_timeout(), None);
}

#[test]
fn what_is_not_kept_is_not_promised() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    bench.disk = Some(false);
    let request = bench.proven(id(DEVICE), flow, "3600");
    let out = bench.deliver(flow, request);
    assert_eq!(out.codes(), [503]);
    assert_eq!(out.responses[0].header("Retry-After"), Some("10"));
    assert!(bench.devices.entries.is_empty() && bench.devices.pending.is_empty());

    bench.disk = Some(true);
    bench.register(id(DEVICE), flow);
    bench.disk = Some(false);
    let request = bench.proven(id(DEVICE), flow, "0");
    assert_eq!(bench.deliver(flow, request).codes(), [503]);
    assert!(bench.is_online(id(DEVICE)), "what was kept before is still in force");
}

#[test]
fn two_registrations_may_wait_for_the_registry_at_once() {
    let mut bench = bench();
    let (first, second) = (tcp(1), tcp(2));
    bench.disk = None;
    for flow in [first, second] {
        let request = bench.proven(id(DEVICE), flow, "3600");
        assert!(bench.deliver(flow, request).responses.is_empty());
    }
    let waiting = std::mem::take(&mut bench.waiting);
    let mut asked = Vec::new();
    for token in waiting {
        bench.devices.committed(bench.now, token, true);
        let out = bench.out();
        assert_eq!(out.codes(), [200]);
        asked.extend(out.purposes());
    }
    assert_eq!(asked, [Purpose::Info, Purpose::Catalog], "once");
    assert_eq!(bench.devices.reach(&id(DEVICE)).unwrap().1, second);
    bench.devices.committed(bench.now, WriteToken(77), true);
    assert!(bench.out().responses.is_empty());
}

#[test]
fn what_is_learnt_while_a_registration_waits_stays() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    bench.settled(id(DEVICE), flow);
    bench.disk = None;
    let request = bench.proven(id(DEVICE), flow, "3600").with("X-GB-Ver", "3.0");
    bench.deliver(flow, request);
    let mut device = bench.devices.device(&id(DEVICE)).unwrap().clone();
    device.name = "north gate".to_owned();
    bench.devices.put(bench.now, device);
    let token = bench.waiting.remove(0);
    bench.devices.committed(bench.now, token, true);
    assert_eq!(bench.out().codes(), [200]);
    let device = bench.devices.device(&id(DEVICE)).unwrap();
    assert_eq!((device.name.as_str(), device.edition), ("north gate", manscdp::Edition::E2022));
}

#[test]
fn a_device_that_is_removed_while_its_registration_waits_is_gone() {
    let mut bench = bench();
    let flow = tcp(1);
    bench.settled(id(DEVICE), flow);
    bench.disk = None;
    let request = bench.proven(id(DEVICE), flow, "3600");
    bench.deliver(flow, request);
    bench.devices.remove(bench.now, id(DEVICE));
    assert_eq!(bench.out().offline(), [Cause::Removed]);
    let token = bench.waiting.remove(0);
    bench.devices.committed(bench.now, token, true);
    assert_eq!(bench.out().codes(), [503]);
    let devices = &bench.devices;
    assert!(devices.entries.is_empty() && devices.by_connection.is_empty() && devices.timers.is_empty());
}

#[test]
fn an_id_is_read_with_what_firmware_puts_around_it() {
    for from in [" 34020000001180000001", "34020000001180000001 "] {
        let mut bench = bench();
        let flow = udp("192.0.2.20:5060");
        let challenge = bench.knock(id(DEVICE), flow);
        let request = bench.request(Method::Register, from, flow);
        let request = bench.answer(&challenge, request, DEVICE, PASSWORD);
        assert_eq!(bench.deliver(flow, request).codes(), [200], "{from:?}");
        assert!(bench.is_online(id(DEVICE)));
    }
}

#[test]
fn requests_that_are_for_nobody_have_their_answers() {
    let mut bench = bench();
    let flow = udp("192.0.2.20:5060");
    let methods = [
        (Method::Options, 200),
        (Method::Bye, 481),
        (Method::Info, 481),
        (Method::Notify, 481),
        (Method::Invite, 488),
        (Method::Subscribe, 405),
        (Method::new("PUBLISH"), 405),
    ];
    for (method, code) in methods {
        let request = bench.request(method, DEVICE, flow);
        let out = bench.deliver(flow, request);
        assert_eq!(out.codes(), [code]);
        assert_eq!(out.responses[0].header("Allow").is_some(), matches!(code, 200 | 405));
    }
}
