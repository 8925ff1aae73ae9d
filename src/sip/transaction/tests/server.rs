//! Requests that we receive.

use super::*;

#[test]
fn the_way_back_is_written_into_the_via() {
    let mut bench = Bench::new(Transport::Udp);
    let (key, arrived) = bench.arrive(&request("MESSAGE", "z9hG4bK1", 1));
    let via = arrived.via().unwrap();
    assert_eq!((via.received, via.rport), (Some("192.0.2.20"), Some(Some(40000))));
    assert!(bench.transactions.respond(bench.now, key, arrived.response(200)));
    let out = bench.drain();
    let [Output::Send { flow, bytes }] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(flow.remote, bench.flow.remote);
    let answer = Message::parse(bytes).unwrap();
    assert_eq!(answer.header("Via"), arrived.header("Via"));
    assert_eq!(answer.to().unwrap().tag.and_then(shard_of), Some(SHARD));
}

#[test]
fn a_request_that_comes_again_is_answered_from_memory() {
    let mut bench = Bench::new(Transport::Udp);
    let text = request("REGISTER", "z9hG4bK1", 1);
    let (key, arrived) = bench.arrive(&text);
    assert!(bench.receive(&text).is_empty(), "there is no answer yet");
    assert_eq!(bench.respond(key, &arrived, 401), ["send 401"]);
    assert!(!bench.transactions.respond(bench.now, key, arrived.response(200)), "one final answer");
    bench.flow.remote.set_port(40001);
    bench.pass(SECOND);
    let out = bench.receive(&text);
    let [Output::Send { flow, .. }] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(flow.remote.port(), 40001, "the NAT gave another port");
    assert_eq!(bench.transactions.stats().repeated, 2);
    assert_eq!(bench.pass(Duration::from_secs(30)), []);
    assert_eq!(bench.transactions.counts(), (0, 1), "timer J has not fired");
    bench.pass(SECOND + SECOND / 2);
    assert!(bench.is_empty());
}

#[test]
fn the_memory_of_a_flood_is_given_back() {
    let mut bench = Bench::new(Transport::Udp);
    for n in 0..10_000 {
        let (key, arrived) = bench.arrive(&request("REGISTER", &format!("z9hG4bK{n}"), 1));
        bench.respond(key, &arrived, 401);
    }
    assert!(bench.transactions.servers.capacity() >= 10_000);
    bench.pass(Duration::from_secs(40));
    assert!(bench.is_empty());
    let (servers, marks) = (&bench.transactions.servers, &bench.transactions.marks);
    assert!(servers.capacity() < 2_048 && marks.capacity() < 2_048, "{}", servers.capacity());
}

#[test]
fn on_a_stream_an_answer_ends_the_transaction() {
    let mut bench = Bench::new(Transport::Tcp);
    let (key, arrived) = bench.arrive(&request("MESSAGE", "z9hG4bK1", 1));
    assert_eq!(bench.respond(key, &arrived, 200), ["send 200"]);
    assert!(bench.is_empty());
    assert!(!bench.transactions.respond(bench.now, key, arrived.response(200)));
}

#[test]
fn firmware_that_repeats_its_branch_is_still_understood() {
    let mut bench = Bench::new(Transport::Udp);
    let first = request("REGISTER", "z9hG4bKsame", 1);
    bench.arrive(&first);
    let others = [
        request("REGISTER", "z9hG4bKsame", 2),
        first.replace("Call-ID: c1", "Call-ID: c2"),
        first.replace("tag=dev", "tag=other"),
        first.replace("CSeq", "Authorization: Digest username=\"1\"\r\nCSeq"),
        request("MESSAGE", "z9hG4bKsame", 1),
        request("MESSAGE", "z9hG4bKsame", 1).replace("Length: 5", "Length: 7").replace("v=0", "v=007"),
        request("REGISTER", "", 1),
    ];
    others.iter().for_each(|other| drop(bench.arrive(other)));
    bench.flow.remote = "192.0.2.21:40000".parse().unwrap();
    bench.arrive(&first);
    assert!(bench.receive(&first).is_empty());
}

#[test]
fn an_invite_is_told_to_wait_after_200_ms() {
    let mut bench = Bench::new(Transport::Udp);
    let text = request("INVITE", "z9hG4bK1", 1);
    let (key, arrived) = bench.arrive(&text);
    assert_eq!(bench.pass(SECOND), [(200, "send 100".to_owned())]);
    assert_eq!(bench.receive(&text).iter().map(word).collect::<Vec<_>>(), ["send 100"]);
    assert_eq!(bench.respond(key, &arrived, 180), ["send 180"]);
    assert_eq!(bench.receive(&text).iter().map(word).collect::<Vec<_>>(), ["send 180"]);
    assert_eq!(bench.pass(Duration::from_secs(100)), []);
    let (key, arrived) = bench.arrive(&request("INVITE", "z9hG4bK2", 1));
    assert_eq!(bench.respond(key, &arrived, 180), ["send 180"]);
    assert_eq!(bench.pass(HOUR), [], "no 100 after an answer");
    assert!(bench.is_empty(), "nobody waits for ever");
}

#[test]
fn a_refusal_is_repeated_until_its_ack() {
    let mut bench = Bench::new(Transport::Udp);
    let text = request("INVITE", "z9hG4bK1", 1);
    let (key, arrived) = bench.arrive(&text);
    assert_eq!(bench.respond(key, &arrived, 486), ["send 486"]);
    assert_eq!(times(&bench.pass(Duration::from_secs(8))), [500, 1500, 3500, 7500]);
    assert_eq!(bench.receive(&text).iter().map(word).collect::<Vec<_>>(), ["send 486"]);
    assert!(bench.receive(&request("ACK", "z9hG4bK1", 1)).is_empty(), "that ACK is ours to absorb");
    assert!(bench.receive(&request("ACK", "z9hG4bK1", 1)).is_empty());
    assert!(bench.receive(&text).is_empty());
    assert_eq!(bench.pass(Duration::from_secs(4)), []);
    assert_eq!(bench.transactions.counts(), (0, 1), "timer I has not fired");
    bench.pass(SECOND);
    assert!(bench.is_empty());
}

#[test]
fn a_refusal_without_ack_ends_with_timer_h() {
    let mut bench = Bench::new(Transport::Udp);
    let (key, arrived) = bench.arrive(&request("INVITE", "z9hG4bK1", 1));
    bench.respond(key, &arrived, 486);
    assert_eq!(times(&bench.pass(HOUR)), [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert!(bench.is_empty());

    let mut bench = Bench::new(Transport::Tcp);
    let (key, arrived) = bench.arrive(&request("INVITE", "z9hG4bK1", 1));
    bench.respond(key, &arrived, 486);
    assert_eq!(bench.pass(SECOND), []);
    assert!(bench.receive(&request("ACK", "z9hG4bK1", 1)).is_empty());
    assert!(bench.is_empty(), "timer I is zero");
}

#[test]
fn a_2xx_is_repeated_until_its_ack_which_goes_to_the_user() {
    for branch in ["z9hG4bK2", "z9hG4bK1"] {
        let mut bench = Bench::new(Transport::Udp);
        let text = request("INVITE", "z9hG4bK1", 1);
        let (key, arrived) = bench.arrive(&text);
        assert_eq!(bench.respond(key, &arrived, 200), ["send 200"]);
        assert_eq!(times(&bench.pass(Duration::from_secs(2))), [500, 1500]);
        assert!(bench.receive(&text).is_empty(), "RFC 6026: a repeated INVITE is absorbed");
        // Some firmware gives the ACK the branch of its INVITE.
        let ack = request("ACK", branch, 1);
        assert_eq!(bench.receive(&ack).iter().map(word).collect::<Vec<_>>(), ["bare ACK"]);
        assert_eq!(bench.pass(Duration::from_secs(20)), []);
        assert_eq!(bench.receive(&ack).iter().map(word).collect::<Vec<_>>(), ["bare ACK"]);
        assert_eq!(bench.pass(HOUR), []);
        assert!(bench.is_empty());
    }
}

#[test]
fn a_2xx_that_nobody_acknowledges_is_told() {
    let mut bench = Bench::new(Transport::Tcp);
    let (key, arrived) = bench.arrive(&request("INVITE", "z9hG4bK1", 1));
    bench.respond(key, &arrived, 200);
    let other = request("ACK", "z9hG4bK2", 2);
    assert_eq!(bench.receive(&other).iter().map(word).collect::<Vec<_>>(), ["bare ACK"], "of another INVITE");
    assert_eq!(bench.pass(HOUR), [(32_000, "unacknowledged".to_owned())]);
    assert!(bench.is_empty());
}

#[test]
fn a_cancel_is_answered_and_told_once() {
    let mut bench = Bench::new(Transport::Udp);
    let (key, arrived) = bench.arrive(&request("INVITE", "z9hG4bK1", 1));
    let cancel = request("CANCEL", "z9hG4bK1", 1);
    let out = bench.receive(&cancel);
    let [Output::Cancelled { key: cancelled }, Output::Send { bytes, .. }] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!(*cancelled, key);
    let answer = Message::parse(bytes).unwrap();
    assert_eq!((answer.code(), answer.cseq()), (Some(200), Some((1, Method::Cancel))));
    assert_eq!(bench.receive(&cancel).iter().map(word).collect::<Vec<_>>(), ["send 200"]);
    assert!(bench.transactions.respond(bench.now, key, arrived.response(487)));
    let out = bench.drain();
    let [Output::Send { bytes, .. }] = out.as_slice() else { panic!("{out:?}") };
    let refusal = Message::parse(bytes).unwrap();
    assert_eq!(refusal.code(), Some(487));
    assert_eq!(refusal.to().unwrap().tag, answer.to().unwrap().tag, "both answers carry one tag");
    assert!(bench.receive(&request("ACK", "z9hG4bK1", 1)).is_empty());
    bench.pass(HOUR);
    assert!(bench.is_empty());
}

#[test]
fn a_cancel_that_is_late_or_lost_changes_nothing() {
    let mut bench = Bench::new(Transport::Udp);
    let words = |out: Vec<Output>| out.iter().map(word).collect::<Vec<_>>();
    assert_eq!(words(bench.receive(&request("CANCEL", "z9hG4bK9", 1))), ["send 481"]);
    let (key, arrived) = bench.arrive(&request("INVITE", "z9hG4bK1", 1));
    bench.respond(key, &arrived, 200);
    assert_eq!(words(bench.receive(&request("CANCEL", "z9hG4bK1", 1))), ["send 200"]);
}
