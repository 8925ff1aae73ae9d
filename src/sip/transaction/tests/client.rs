//! Requests that we send.

use super::*;

#[test]
fn a_request_is_signed() {
    let mut bench = Bench::new(Transport::Udp);
    let (_, sent) = bench.request(Method::Message);
    let via = sent.via().unwrap();
    assert_eq!((via.transport, via.sent_by, via.rport), ("UDP", "192.0.2.10:5060", Some(None)));
    assert_eq!(via.branch.and_then(shard_of), Some(SHARD));
    assert!(via.branch.unwrap().starts_with("z9hG4bK"));
    assert_eq!(sent.max_forwards(), Some(70));
}

#[test]
fn a_request_over_udp_is_repeated_until_timer_f() {
    let mut bench = Bench::new(Transport::Udp);
    bench.request(Method::Message);
    let happened = bench.pass(HOUR);
    assert_eq!(times(&happened), [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500, 32000]);
    let (last, sent) = happened.split_last().unwrap();
    assert!(sent.iter().all(|(_, word)| word == "send MESSAGE"));
    assert_eq!(last.1, "failed Timeout");
    assert!(bench.is_empty());
}

#[test]
fn an_answer_ends_the_repetition_and_its_own_repetitions_are_absorbed() {
    let mut bench = Bench::new(Transport::Udp);
    let (_, sent) = bench.request(Method::Message);
    assert_eq!(bench.pass(SECOND).len(), 1);
    assert_eq!(bench.answer(&sent, 200), ["response 200"]);
    assert_eq!(bench.answer(&sent, 200), [""; 0]);
    assert_eq!(bench.transactions.stats().stray, 0);
    assert_eq!(bench.pass(Duration::from_secs(4)), []);
    assert_eq!(bench.transactions.counts(), (1, 0), "timer K has not fired");
    bench.pass(SECOND);
    assert!(bench.is_empty());
    assert_eq!(bench.answer(&sent, 200), [""; 0]);
    assert_eq!(bench.transactions.stats().stray, 1);
}

#[test]
fn a_provisional_answer_slows_the_repetition_down() {
    let mut bench = Bench::new(Transport::Udp);
    let (_, sent) = bench.request(Method::Subscribe);
    assert_eq!(bench.answer(&sent, 100), ["response 100"]);
    assert_eq!(times(&bench.pass(HOUR)), [500, 4500, 8500, 12500, 16500, 20500, 24500, 28500, 32000]);
}

#[test]
fn nothing_is_repeated_on_a_stream() {
    let mut bench = Bench::new(Transport::Tcp);
    let (_, sent) = bench.request(Method::Message);
    assert_eq!(sent.via().unwrap().transport, "TCP");
    assert_eq!(bench.answer(&sent, 404), ["response 404"]);
    assert!(bench.is_empty(), "timer K is zero");
    bench.request(Method::Invite);
    bench.request(Method::Info);
    let failed = "failed Timeout".to_owned();
    assert_eq!(bench.pass(HOUR), [(32_000, failed.clone()), (32_000, failed)]);
    assert!(bench.is_empty());
}

#[test]
fn an_invite_over_udp_is_repeated_until_timer_b() {
    let mut bench = Bench::new(Transport::Udp);
    bench.request(Method::Invite);
    let happened = bench.pass(HOUR);
    assert_eq!(times(&happened), [500, 1500, 3500, 7500, 15500, 31500, 32000]);
    assert_eq!(happened.last().unwrap().1, "failed Timeout");
    assert!(bench.is_empty());
}

#[test]
fn a_refused_invite_is_acknowledged_as_often_as_it_is_refused() {
    for (transport, kept) in [(Transport::Udp, true), (Transport::Tcp, false)] {
        let mut bench = Bench::new(transport);
        let (_, invite) = bench.request(Method::Invite);
        assert_eq!(bench.answer(&invite, 100), ["response 100"]);
        assert_eq!(bench.pass(SECOND), [], "timer A stops");
        let bytes = invite.response(486).with_to_tag("peer").to_bytes();
        bench.transactions.receive(bench.now, bench.flow, Message::parse(&bytes).unwrap());
        let out = bench.drain();
        let [Output::Send { bytes, .. }, Output::Response { .. }] = out.as_slice() else { panic!("{out:?}") };
        let ack = Message::parse(bytes).unwrap();
        assert_eq!((ack.method(), ack.uri()), (Some(&Method::Ack), invite.uri()));
        assert_eq!(ack.cseq(), Some((1, Method::Ack)));
        assert_eq!(ack.header("Via"), invite.header("Via"));
        assert_eq!(
            (ack.header("From"), ack.header("Route")),
            (invite.header("From"), invite.header("Route"))
        );
        assert_eq!(ack.to().unwrap().tag, Some("peer"));
        if kept {
            assert_eq!(bench.answer(&invite, 486), ["send ACK"]);
            assert_eq!(bench.pass(Duration::from_secs(31)), []);
            assert_eq!(bench.transactions.counts(), (1, 0), "timer D has not fired");
            bench.pass(SECOND);
        }
        assert!(bench.is_empty());
    }
}

#[test]
fn each_2xx_of_an_invite_comes_up_to_be_acknowledged() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut bench = Bench::new(transport);
        let (_, invite) = bench.request(Method::Invite);
        assert_eq!(bench.answer(&invite, 180), ["response 180"]);
        assert_eq!(bench.answer(&invite, 200), ["response 200"]);
        bench.pass(SECOND);
        assert_eq!(bench.answer(&invite, 200), ["response 200"]);
        assert_eq!(bench.answer(&invite, 486), [""; 0]);
        assert_eq!(bench.answer(&invite, 180), [""; 0]);
        assert_eq!(bench.pass(Duration::from_secs(30)), []);
        assert_eq!(bench.transactions.counts(), (1, 0), "timer M has not fired");
        bench.pass(SECOND);
        assert!(bench.is_empty());
    }
}

#[test]
fn the_ack_of_a_2xx_has_a_branch_of_its_own() {
    let mut bench = Bench::new(Transport::Udp);
    let (_, invite) = bench.request(Method::Invite);
    let answer = invite.response(200).with_to_tag("peer");
    let dialog = crate::sip::Dialog::uac(&invite, &answer).unwrap();
    bench.transactions.acknowledge(bench.flow, dialog.ack(1));
    let out = bench.drain();
    let [Output::Send { bytes, .. }] = out.as_slice() else { panic!("{out:?}") };
    let ack = Message::parse(bytes).unwrap();
    assert_eq!(ack.method(), Some(&Method::Ack));
    assert_ne!(ack.via().unwrap().branch, invite.via().unwrap().branch);
    assert_eq!(bench.transactions.counts(), (1, 0), "an ACK is no transaction");
}

#[test]
fn an_invite_that_only_rings_ends() {
    let mut bench = Bench::new(Transport::Udp);
    let (_, invite) = bench.request(Method::Invite);
    bench.answer(&invite, 180);
    bench.pass(Duration::from_secs(150));
    bench.answer(&invite, 180);
    let happened = bench.pass(HOUR);
    assert_eq!(happened, [(350_000, "failed Timeout".to_owned())]);
    assert!(bench.is_empty());
}

#[test]
fn a_cancel_waits_for_a_provisional_answer() {
    let mut bench = Bench::new(Transport::Udp);
    let (key, invite) = bench.request(Method::Invite);
    bench.transactions.cancel(bench.now, key);
    assert_eq!(bench.words(), [""; 0]);
    let bytes = invite.response(100).to_bytes();
    bench.transactions.receive(bench.now, bench.flow, Message::parse(&bytes).unwrap());
    let out = bench.drain();
    let [Output::Response { .. }, Output::Send { bytes, .. }] = out.as_slice() else { panic!("{out:?}") };
    let cancel = Message::parse(bytes).unwrap();
    assert_eq!((cancel.method(), cancel.uri()), (Some(&Method::Cancel), invite.uri()));
    assert_eq!(cancel.cseq(), Some((1, Method::Cancel)));
    for name in ["Via", "From", "To", "Call-ID", "Route"] {
        assert_eq!(cancel.header(name), invite.header(name), "{name}");
    }
    bench.transactions.cancel(bench.now, key);
    assert_eq!(bench.words(), [""; 0], "one CANCEL is enough");
    assert_eq!(bench.pass(SECOND), [(500, "send CANCEL".to_owned())]);
    assert_eq!(bench.answer(&cancel, 200), [""; 0], "the answer to the CANCEL interests nobody");
    assert_eq!(bench.answer(&invite, 487), ["send ACK", "response 487"]);
    bench.pass(HOUR);
    assert!(bench.is_empty());
}

#[test]
fn a_cancel_that_nobody_hears_ends_too() {
    let mut bench = Bench::new(Transport::Tcp);
    let (key, invite) = bench.request(Method::Invite);
    bench.answer(&invite, 180);
    bench.transactions.cancel(bench.now, key);
    assert_eq!(bench.words(), ["send CANCEL"]);
    assert_eq!(bench.answer(&invite, 180), ["response 180"], "which prolongs nothing");
    assert_eq!(bench.pass(HOUR), [(32_000, "failed Timeout".to_owned())]);
    assert!(bench.is_empty());
    bench.transactions.cancel(bench.now, key);
    assert_eq!(bench.words(), [""; 0]);
}

#[test]
fn an_answer_must_be_of_the_method_that_was_asked() {
    let mut bench = Bench::new(Transport::Udp);
    let (_, mut sent) = bench.request(Method::Message);
    sent.set("CSeq", "1 INFO");
    sent.start = Message::request(Method::Info, "sip:a").start;
    assert_eq!(bench.answer(&sent, 200), [""; 0]);
    assert_eq!(bench.transactions.stats().stray, 1);
}
