//! Redirection, the algorithm of the digest, and what a REGISTER gives away.

use super::*;
use crate::registry::profile::Knobs;
use crate::sip::digest::Algorithm;

const OTHER: &str = "sip:34020000002000000002@192.0.2.31:5060";

fn administered(change: impl FnOnce(&mut Device)) -> Device {
    let mut device = Device::new(id(DEVICE), AddedBy::Admin, UnixMillis(0));
    change(&mut device);
    device
}

/// Registers with the header X-GB-Ver, if any.
fn register(bench: &mut Bench, edition: Option<&str>) -> Out {
    let flow = udp("192.0.2.20:5060");
    let challenge = bench.knock(id(DEVICE), flow);
    let mut request = bench.request(Method::Register, DEVICE, flow).with("Expires", "3600");
    if let Some(edition) = edition {
        request = request.with("X-GB-Ver", edition);
    }
    let request = bench.answer(&challenge, request, DEVICE, PASSWORD);
    bench.deliver(flow, request)
}

#[test]
fn a_device_of_2022_is_sent_elsewhere() {
    let mut bench = bench();
    bench.devices.put(bench.now, administered(|device| device.redirect = Some(OTHER.to_owned())));
    let out = register(&mut bench, Some("3.0"));
    assert_eq!((out.codes(), out.writes.len()), (vec![302], 0));
    let answer = &out.responses[0];
    assert_eq!(answer.header("Contact"), Some(format!("<{OTHER}>").as_str()));
    assert_eq!((answer.header("Expires"), answer.header("X-GB-Ver")), (Some("3600"), Some("3.0")));
    // Others would ignore it and stay away.
    assert_eq!(register(&mut bench, Some("2.0")).codes(), [200]);
    assert_eq!(register(&mut bench, None).codes(), [200]);
}

#[test]
fn nobody_is_sent_round_in_circles() {
    let mut bench = bench();
    let here = format!("sip:{PLATFORM}@192.0.2.10:5060");
    bench.devices.put(bench.now, administered(|device| device.redirect = Some(here)));
    assert_eq!(register(&mut bench, Some("3.0")).codes(), [200]);
}

#[test]
fn a_device_may_be_asked_for_another_algorithm() {
    for (name, algorithm) in [("sha-256", Algorithm::Sha256), ("sm3", Algorithm::Sm3)] {
        let mut bench = bench();
        let knobs: Knobs = serde_json::from_value(serde_json::json!({ "digest": name })).unwrap();
        bench.devices.put(bench.now, administered(|device| device.overrides = Some(Box::new(knobs))));
        let flow = udp("192.0.2.20:5060");
        let challenge = bench.knock(id(DEVICE), flow);
        assert_eq!(challenge.algorithm, Some(algorithm));
        // What it was not asked for is not taken.
        let weaker = Challenge { algorithm: Some(Algorithm::Md5), ..challenge };
        let request = bench.request(Method::Register, DEVICE, flow);
        let request = bench.answer(&weaker, request, DEVICE, PASSWORD);
        let out = bench.deliver(flow, request);
        assert_eq!((out.codes(), out.refusals()), (vec![401], vec!["unsupported"]));
        assert_eq!(register(&mut bench, None).codes(), [200]);
    }
}
