use super::*;
use crate::gb::conformance::Rule;

fn rules(mode: MediaMode, answer: &str) -> Vec<Rule> {
    offer(mode).departures(answer.as_bytes()).into_iter().map(|departure| departure.rule).collect()
}

#[test]
fn right_answers_depart_from_nothing() {
    for mode in [MediaMode::Udp, MediaMode::TcpPassive, MediaMode::TcpActive] {
        let answer = Sdp::answer_to(&offer(mode), &camera(), socket("192.0.2.20:15060")).unwrap();
        assert_eq!(rules(mode, &text(&answer)), []);
    }
    let full = ANSWER.replace("s=Play", "s=IPC 2000\r\ni=x").replace("a=sendonly", "b=AS:1\r\na=sendonly");
    assert_eq!(rules(MediaMode::Udp, &format!("{full}f=v/2/6/25/1/4096a///\r\n")), []);
    assert_eq!(rules(MediaMode::Udp, &ANSWER.replace("y=", "m=audio 1 RTP/AVP 8\r\na=sendonly\r\ny=")), []);
}

#[test]
fn each_departure_is_told() {
    let tcp = |setup: &str| ANSWER.replace("RTP/AVP 96", &format!("TCP/RTP/AVP 96\r\na=setup:{setup}"));
    let moved =
        |from: &str, before: &str| ANSWER.replace(from, "").replace(before, &format!("{from}{before}"));
    for (mode, answer, expected) in [
        (MediaMode::Udp, "hello".to_owned(), vec![Rule::SdpUnreadable]),
        (MediaMode::Udp, ANSWER.replace("y=0200001234\r\n", ""), vec![Rule::SdpNoY]),
        (MediaMode::Udp, ANSWER.replace("y=02", "y=00"), vec![Rule::SdpOtherSsrc]),
        (MediaMode::Udp, moved("y=0200001234\r\n", "a=sendonly"), vec![Rule::SdpLineOrder]),
        (MediaMode::Udp, moved("t=0 0\r\n", "c="), vec![Rule::SdpLineOrder]),
        (MediaMode::Udp, tcp("active"), vec![Rule::SdpOtherTransport]),
        (MediaMode::TcpPassive, tcp("passive"), vec![Rule::SdpSetupNotReversed]),
        (MediaMode::TcpPassive, ANSWER.replace("RTP/AVP", "TCP/RTP/AVP"), vec![Rule::SdpSetupNotReversed]),
        (MediaMode::TcpActive, tcp("active"), vec![Rule::SdpSetupNotReversed]),
        (MediaMode::TcpPassive, tcp("active"), vec![]),
    ] {
        assert_eq!(rules(mode, &answer), expected, "{answer}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged(text in "([vosuctmbayf]=[ -~]{0,20}\r?\n){0,12}") {
        let _ = offer(MediaMode::TcpPassive).departures(text.as_bytes());
    }
}
