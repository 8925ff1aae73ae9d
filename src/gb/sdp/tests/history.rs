use super::*;

fn span() -> Span {
    Span { start: 1_714_521_600, end: 1_714_525_200, kind: 0 }
}

fn history(history: History, mode: MediaMode) -> Sdp {
    Sdp::history_offer(&camera(), socket("192.0.2.10:30000"), mode, 1_200_001_234, history, span())
}

#[test]
fn a_playback_as_in_the_standard() {
    let offer = history(History::Playback, MediaMode::Udp);
    let expected = OFFER
        .replace("s=Play\r\n", "s=Playback\r\nu=34020000001310000001:0\r\n")
        .replace("t=0 0", "t=1714521600 1714525200")
        .replace("y=02", "y=12");
    assert_eq!(text(&offer), expected);
    let read = read(&expected);
    assert_eq!(read, offer);
    assert_eq!((read.history(), read.recording()), (Some(History::Playback), Some((camera(), 0))));
    assert_eq!(read.time, (span().start, span().end));
}

#[test]
fn a_download_tells_its_speed_and_size() {
    let offer = history(History::Download { speed: 4 }, MediaMode::TcpPassive);
    let sent = text(&offer);
    assert!(sent.contains("s=Download\r\n"), "{sent}");
    assert!(
        sent.contains("a=setup:passive\r\na=connection:new\r\na=downloadspeed:4\r\ny=1200001234\r\n"),
        "{sent}"
    );
    assert_eq!(read(&sent).history(), Some(History::Download { speed: 4 }));
    let mut answer = Sdp::answer_to(&offer, &camera(), socket("192.0.2.20:15060")).unwrap();
    assert_eq!((answer.session.as_str(), answer.file_size()), ("Download", None));
    answer.media = answer.media.into_iter().map(|m| m.with_attribute("filesize", "7340032")).collect();
    assert_eq!(read(&text(&answer)).file_size(), Some(7_340_032));
    // Some put it before the medium.
    let early = "v=0\r\ns=Download\r\na=filesize:12\r\nm=video 1 RTP/AVP 96\r\n";
    assert_eq!(read(early).file_size(), Some(12));
}

#[test]
fn other_offers_are_no_history() {
    let live = offer(MediaMode::Udp);
    assert_eq!((live.history(), live.recording(), live.file_size()), (None, None, None));
    let file = OFFER.replace("s=Play\r\n", "s=playback\r\nu=http://storage/dir/file\r\n");
    assert_eq!((read(&file).history(), read(&file).recording()), (Some(History::Playback), None));
    let odd = OFFER.replace("s=Play", "s=Download").replace("y=", "a=downloadspeed:fast\r\ny=");
    assert_eq!(read(&odd).history(), Some(History::Download { speed: 1 }));
}
