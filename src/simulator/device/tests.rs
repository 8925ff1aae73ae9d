use super::*;
use crate::gb::manscdp::{CatalogPage, Edition, Root};
use crate::gb::sdp;
use crate::gb::time::UnixMillis;
use crate::net::clock;
use crate::sip::{Dialog, Transport};
use std::time::Duration;

const DEVICE: &str = "34020000001180000001";
const CHANNEL: &str = "34020000001310000001";
const PLATFORM: &str = "34020000002000000001";
/// 2024-05-01T09:00:00+08:00.
const NINE: i64 = 1_714_525_200;

/// A platform beside one device, in virtual time.
struct Bench {
    device: Device,
    now: Now,
    number: u32,
    /// Requests of the device, each answered with 200.
    heard: Vec<Message>,
    /// Answers of the device.
    answers: Vec<Message>,
    /// What else it wanted.
    wants: Vec<Output>,
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.20:5060".parse().unwrap(),
        remote: "192.0.2.10:5060".parse().unwrap(),
        connection: 0,
    }
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

impl Bench {
    fn of(settings: Settings, channels: u64) -> Bench {
        let now = Now { instant: clock::now(), unix: UnixMillis(NINE * 1_000) };
        let population =
            Population { device: id(DEVICE), first: id(CHANNEL), channels, tree: false, extras: false };
        let device = Device::new(Arc::new(settings), population, flow(), [7; 32], now.instant);
        let mut bench = Bench { device, now, number: 0, heard: vec![], answers: vec![], wants: vec![] };
        bench.pass(Duration::ZERO);
        assert!(bench.device.registration.registered);
        bench.clear();
        bench
    }

    fn new(edition: Edition, quirks: &[Quirk]) -> Bench {
        Bench::of(Settings { edition, quirks: quirks.to_vec(), ..Settings::example() }, 2)
    }

    fn clear(&mut self) {
        self.heard.clear();
        self.answers.clear();
        self.wants.clear();
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        self.drain();
        while let Some(due) = self.device.next_timeout().filter(|due| *due <= end) {
            self.advance(due.max(self.now.instant));
            self.device.handle_timeout(self.now);
            self.drain();
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Instant) {
        let passed = to - self.now.instant;
        self.now = Now { instant: to, unix: UnixMillis(self.now.unix.0 + passed.as_millis() as i64) };
    }

    fn drain(&mut self) {
        while let Some(output) = self.device.poll_output() {
            match output {
                Output::Send { bytes, .. } => {
                    let Ok(message) = Message::parse(&bytes) else { continue };
                    match message.method() {
                        None => self.answers.push(message),
                        Some(Method::Ack) => self.heard.push(message),
                        Some(_) => {
                            let answer = message.response(200).with_to_tag("p");
                            self.heard.push(message);
                            self.device.receive(self.now, answer);
                        }
                    }
                }
                other => self.wants.push(other),
            }
        }
    }

    fn request(&mut self, method: Method, user: &str, call: &str) -> Message {
        self.number += 1;
        let numbered = format!("{} {method}", self.number);
        Message::request(method, &format!("sip:{user}@192.0.2.20:5060"))
            .with("Via", format!("SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bK{}", self.number))
            .with("From", format!("<sip:{PLATFORM}@3402000000>;tag=p"))
            .with("To", format!("<sip:{user}@3402000000>"))
            .with("Call-ID", call)
            .with("CSeq", numbered)
            .with("Contact", format!("<sip:{PLATFORM}@192.0.2.10:5060>"))
            .with("Max-Forwards", "70")
    }

    fn send(&mut self, message: Message) {
        self.device.receive(self.now, Message::parse(&message.to_bytes()).unwrap());
        self.drain();
    }

    /// Sends a body to a target; the bodies that came back.
    fn ask(&mut self, target: &str, root: &str, inside: &str) -> Vec<manscdp::Message> {
        self.heard.clear();
        let body = format!("<{root}>{inside}<SN>17</SN><DeviceID>{target}</DeviceID></{root}>");
        let call = format!("m{}", self.number);
        let request = self.request(Method::Message, target, &call);
        self.send(request.with_body(manscdp::CONTENT_TYPE, body.into_bytes().into()));
        self.bodies()
    }

    fn bodies(&self) -> Vec<manscdp::Message> {
        let read = |heard: &Message| manscdp::parse(&heard.body, &mut History::default()).ok();
        self.heard.iter().filter_map(read).collect()
    }

    fn query(&mut self, command: &str, more: &str) -> Vec<manscdp::Message> {
        self.ask(CHANNEL, "Query", &format!("<CmdType>{command}</CmdType>{more}"))
    }

    fn control(&mut self, command: &str) -> Vec<manscdp::Message> {
        self.ask(CHANNEL, "Control", &format!("<CmdType>DeviceControl</CmdType>{command}"))
    }

    fn configure(&mut self, section: &str) -> Vec<manscdp::Message> {
        self.ask(CHANNEL, "Control", &format!("<CmdType>DeviceConfig</CmdType>{section}"))
    }

    /// Calls a channel; the answer, once media is open.
    fn invite(&mut self, call: &str, session: &str, time: (i64, i64), more: &str) -> Message {
        let body = format!(
            "v=0\r\no={CHANNEL} 0 0 IN IP4 192.0.2.10\r\ns={session}\r\nc=IN IP4 192.0.2.10\r\nt={} {}\r\n{more}\
             y=1200001234\r\n",
            time.0, time.1
        );
        let request = self.request(Method::Invite, CHANNEL, call);
        self.send(request.clone().with_body("application/sdp", body.into_bytes().into()));
        if self.wants.iter().any(|want| matches!(want, Output::Open { call: open, .. } if open == call)) {
            let ready = Ready { local: "192.0.2.20:40000".parse().unwrap(), file_size: Some(4711) };
            self.device.media_opened(self.now, call, Some(ready));
            self.drain();
        }
        let answer = self.answers.last().cloned().unwrap_or_else(|| request.response(100));
        if let Some(dialog) = Dialog::uac(&request, &answer).filter(|_| answer.code() == Some(200)) {
            let ack = dialog.ack(self.number).with("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKack");
            self.send(ack);
        }
        answer
    }

    fn play(&mut self, call: &str) -> Message {
        self.invite(
            call,
            "Play",
            (0, 0),
            "m=video 30000 RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\na=recvonly\r\n",
        )
    }

    fn subscribe(&mut self, call: &str, command: &str, expires: u32) -> Message {
        let request = self.request(Method::Subscribe, DEVICE, call);
        let body =
            format!("<Query><CmdType>{command}</CmdType><SN>3</SN><DeviceID>{DEVICE}</DeviceID></Query>");
        let request = request.with("Event", "presence").with("Expires", expires.to_string());
        self.send(request.with_body(manscdp::CONTENT_TYPE, body.into_bytes().into()));
        self.answers.last().unwrap().clone()
    }
}

#[test]
fn a_catalog_comes_in_pages() {
    let mut bench = Bench::of(Settings::example(), 10);
    let pages = bench.query("Catalog", "");
    assert_eq!(pages.len(), 3);
    let items: Vec<Id> =
        pages.iter().flat_map(|page| CatalogPage::read(page).items).map(|item| item.id).collect();
    assert_eq!(items, (0..10).map(|n| id(CHANNEL).nth(n)).collect::<Vec<_>>());
    assert!(bench.device.pages.is_empty());
}

#[test]
fn pages_that_are_lost_or_reversed_are_a_quirk() {
    let count = |quirk| {
        let settings = Settings { quirks: vec![quirk], ..Settings::example() };
        let pages = Bench::of(settings, 10).query("Catalog", "");
        let sum = CatalogPage::read(&pages[0]).sum_num;
        (pages.len(), sum, CatalogPage::read(&pages[0]).items[0].id)
    };
    let first = id(CHANNEL);
    assert_eq!(count(Quirk::PageDrop), (2, Some(10), first));
    assert_eq!(count(Quirk::ReversedPages), (3, Some(10), first.nth(8)));
    assert_eq!(count(Quirk::WrongSumNum), (3, Some(12), first));
    assert_eq!(count(Quirk::DupChannels), (5, Some(20), first));
    assert_eq!(count(Quirk::Burst), (3, Some(10), first));
}

#[test]
fn what_is_set_is_told_again() {
    let mut bench = Bench::new(Edition::E2022, &[]);
    bench.control(
        "<PTZCmd>A50F01810005003B</PTZCmd><PTZCmdParams><PresetName>door</PresetName></PTZCmdParams>",
    );
    let presets = bench.query("PresetQuery", "");
    let item = presets[0].body.child("PresetList").unwrap().child("Item").unwrap();
    assert_eq!((item.text_of("PresetID"), item.text_of("PresetName")), (Some("5"), Some("door")));
    bench.control("<PTZPreciseCtrl><Pan>120.50</Pan><Tilt>-10.00</Tilt><Zoom>4.00</Zoom></PTZPreciseCtrl>");
    let position = &bench.query("PTZPosition", "")[0];
    assert_eq!((position.body.text_of("Pan"), position.body.text_of("Zoom")), (Some("120.50"), Some("4.00")));
    let home = "<HomePosition><Enabled>1</Enabled><ResetTime>60</ResetTime><PresetIndex>5</PresetIndex></HomePosition>";
    assert_eq!(bench.control(home)[0].result(), Some(true));
    let home = &bench.query("HomePositionQuery", "")[0];
    assert_eq!(home.body.child("HomePosition").unwrap().text_of("ResetTime"), Some("60"));
    assert_eq!(bench.control("<RecordCmd>StopRecord</RecordCmd>")[0].result(), Some(true));
    assert_eq!(bench.query("DeviceStatus", "")[0].body.text_of("Record"), Some("OFF"));
    assert!(bench.control("<FormatSDCard>1</FormatSDCard>").is_empty(), "no business answer");
    let card = &bench.query("SDCardStatus", "")[0];
    let item = card.body.child("SDCardStatusInfo").unwrap().child("Item").unwrap();
    assert_eq!(item.text_of("Status"), Some("formatting"));
}

#[test]
fn an_older_device_does_not_know_what_came_later() {
    let mut bench = Bench::new(Edition::E2016, &[]);
    assert!(bench.query("PTZPosition", "").is_empty());
    assert_eq!(bench.query("PresetQuery", "").len(), 1);
    assert!(bench.query("DeviceInfo", "").len() == 1);
    let strange = bench.ask("34020000001310009999", "Query", "<CmdType>DeviceInfo</CmdType>");
    assert!(strange.is_empty(), "a channel that there is not");
}

#[test]
fn a_configuration_is_kept_or_not() {
    let osd = "<FrameMirror>3</FrameMirror>";
    let told = |bench: &mut Bench| {
        let answer = &bench.query("ConfigDownload", "<ConfigType>FrameMirror</ConfigType>")[0];
        answer.body.text_of("FrameMirror").map(str::to_owned)
    };
    let mut bench = Bench::new(Edition::E2022, &[]);
    assert_eq!(bench.configure(osd)[0].result(), Some(true));
    assert_eq!(told(&mut bench).as_deref(), Some("3"));
    let mut bench = Bench::new(Edition::E2022, &[Quirk::ConfigIgnored]);
    assert_eq!(bench.configure(osd)[0].result(), Some(true));
    assert_eq!(told(&mut bench).as_deref(), Some("0"));
    let mut bench = Bench::new(Edition::E2022, &[]);
    assert_eq!(bench.configure("<NoSuch>1</NoSuch>")[0].result(), Some(false));
    let both = bench.query("ConfigDownload", "<ConfigType>BasicParam/OSDConfig</ConfigType>");
    assert_eq!(both.len(), 2, "one answer for each");
    bench.configure("<BasicParam><HeartBeatInterval>20</HeartBeatInterval></BasicParam>");
    assert_eq!(bench.device.registration.keepalive, Duration::from_secs(20));
}

#[test]
fn each_hour_has_a_recording() {
    let mut bench = Bench::new(Edition::E2016, &[]);
    let span = "<StartTime>2024-05-01T06:30:00</StartTime><EndTime>2024-05-01T12:00:00</EndTime>";
    let pages = bench.query("RecordInfo", span);
    let items: Vec<String> = pages
        .iter()
        .flat_map(|page| page.body.child("RecordList").unwrap().children("Item"))
        .map(|item| item.text_of("StartTime").unwrap().to_owned())
        .collect();
    // What is still to come was not recorded.
    assert_eq!(items, ["2024-05-01T06:30:00", "2024-05-01T07:00:00", "2024-05-01T08:00:00"]);
    let none = bench.query("RecordInfo", "<StartTime>2025-01-01T00:00:00</StartTime>");
    assert_eq!(none[0].body.text_of("SumNum"), Some("0"));
    assert!(none[0].body.child("RecordList").is_none());
}

#[test]
fn a_playback_is_steered_and_ends() {
    let mut bench = Bench::new(Edition::E2022, &[]);
    let video = "m=video 30000 RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\na=recvonly\r\n";
    let answer = bench.invite("p", "Playback", (NINE - 3_600, NINE), video);
    assert_eq!(answer.code(), Some(200));
    let Output::Open { plan, .. } = &bench.wants[0] else { panic!("{:?}", bench.wants) };
    assert_eq!(plan.content, Content::Playback { start: 1_714_521_600, end: 1_714_525_200 });
    assert!(matches!(&bench.wants[1], Output::Start { .. }));
    let info = bench.request(Method::Info, CHANNEL, "p");
    let play = "PLAY RTSP/1.0\r\nCSeq: 3\r\nScale: 2.0\r\n\r\n";
    bench.send(info.with_body(steering::CONTENT_TYPE, play.into()));
    let Some(Output::Steer { steering, .. }) = bench.wants.last() else { panic!("{:?}", bench.wants) };
    assert_eq!(*steering, Steering::Play { scale: Some(2.0), from: None, until: None });
    let at = Position { seconds: 10.0, scale: 2.0, sequence: 1, timestamp: 2 };
    bench.device.steered(bench.now, "p", Some(at));
    bench.drain();
    assert!(bench.answers.last().unwrap().body.starts_with(b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nScale: 2.0\r\n"));
    bench.heard.clear();
    bench.device.media_ended(bench.now, "p");
    bench.drain();
    assert_eq!(bench.heard[0].call_id(), Some("p"), "in the dialog");
    assert_eq!(bench.bodies()[0].body.text_of("NotifyType"), Some("121"));
    let future = bench.invite("f", "Playback", (NINE + 60, NINE + 120), video);
    assert_eq!(future.code(), Some(404));
}

#[test]
fn a_download_tells_its_size() {
    let mut bench = Bench::new(Edition::E2016, &[]);
    let video =
        "m=video 30000 TCP/RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\na=setup:passive\r\na=downloadspeed:4\r\n";
    let answer = bench.invite("d", "Download", (NINE - 60, NINE), video);
    let answer = sdp::parse(&answer.body).unwrap();
    assert_eq!(answer.media[0].attribute("filesize"), Some("4711"));
    let Output::Open { plan, .. } = &bench.wants[0] else { panic!("{:?}", bench.wants) };
    assert!(matches!(plan.content, Content::Download { speed: 4, .. }));
    assert!(matches!(plan.way, Way::TcpConnect { .. }));
}

#[test]
fn sub_streams_go_by_many_names() {
    for (attribute, stream) in
        [("streamnumber:1", 1), ("streamprofile:2", 2), ("streamMode:sub", 1), ("stream:main", 0)]
    {
        let mut bench = Bench::new(Edition::E2016, &[]);
        let video = format!("m=video 30000 RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\na={attribute}\r\n");
        bench.invite("s", "Play", (0, 0), &video);
        let Output::Open { plan, .. } = &bench.wants[0] else { panic!("{:?}", bench.wants) };
        assert_eq!(plan.stream, stream, "{attribute}");
    }
}

#[test]
fn a_broadcast_is_called_for() {
    let mut bench = Bench::new(Edition::E2016, &[]);
    let announce =
        format!("<CmdType>Broadcast</CmdType><SourceID>{PLATFORM}</SourceID><TargetID>{CHANNEL}</TargetID>");
    let answer = bench.ask(CHANNEL, "Notify", &announce);
    assert_eq!((answer[0].cmd.as_str(), answer[0].result()), ("Broadcast", Some(true)));
    let Some(Output::Listen { call, .. }) = bench.wants.pop() else { panic!("{:?}", bench.wants) };
    bench.heard.clear();
    bench.device.listening(bench.now, &call, Some("192.0.2.20:41000".parse().unwrap()));
    // The bench answers at once, and without a session: that is none.
    bench.drain();
    let invite = &bench.heard[0];
    let offer = sdp::parse(&invite.body).unwrap();
    assert_eq!((offer.media[0].kind.as_str(), offer.media[0].payloads[0].pt), ("audio", 8));
    assert_eq!(invite.to().unwrap().user, Some(PLATFORM));
    let methods: Vec<&str> = bench.heard.iter().filter_map(Message::method).map(Method::as_str).collect();
    assert_eq!(methods, ["INVITE", "ACK", "BYE"]);
    let mut bench = Bench::new(Edition::E2016, &[Quirk::TalkRefused]);
    assert_eq!(bench.ask(CHANNEL, "Notify", &announce)[0].result(), Some(false));
    assert!(bench.wants.is_empty());
}

#[test]
fn a_subscription_is_told_of_changes_until_it_ends() {
    let settings = Settings {
        catalog_every: Some(Duration::from_secs(10)),
        edition: Edition::E2022,
        ..Settings::example()
    };
    let mut bench = Bench::of(settings, 3);
    bench.heard.clear();
    let answer = bench.subscribe("s", "Catalog", 65);
    assert_eq!((answer.code(), answer.expires()), (Some(200), Some(65)));
    assert_eq!(bench.bodies()[0].body.text_of("SumNum"), Some("0"), "all is well");
    bench.pass(Duration::from_secs(64));
    let events: Vec<String> = bench
        .bodies()
        .iter()
        .filter(|body| body.root == Root::Notify && body.cmd == "Catalog")
        .flat_map(|body| CatalogPage::read(body).items)
        .filter_map(|item| Some(item.event?.as_str().to_owned()))
        .collect();
    assert_eq!(events, ["OFF", "ON", "VLOST", "ON", "DEFECT", "ON"]);
    bench.pass(Duration::from_secs(2));
    let last = bench.heard.iter().rfind(|heard| heard.method() == Some(&Method::Notify)).unwrap();
    assert_eq!(last.header("Subscription-State"), Some("terminated;reason=timeout"));
    assert!(bench.device.subscriptions.is_empty());
    assert_eq!(bench.subscribe("x", "NoSuch", 60).code(), Some(489));
}

#[test]
fn positions_come_as_often_as_asked_for() {
    let mut bench = Bench::new(Edition::E2016, &[]);
    bench.heard.clear();
    bench.subscribe("s", "MobilePosition", 600);
    bench.pass(Duration::from_secs(20));
    let told = bench.bodies().iter().filter(|body| body.cmd == "MobilePosition").count();
    assert_eq!(told, 5, "at once and each five seconds");
    let mut bench = Bench::new(Edition::E2016, &[Quirk::NoSubscriptions]);
    assert_eq!(bench.subscribe("s", "Alarm", 600).code(), Some(489));
}

#[test]
fn a_device_alarm_waits_for_its_reset() {
    let alarm_every = Some(Duration::from_secs(1));
    let mut bench = Bench::of(Settings { alarm_every, ..Settings::example() }, 1);
    let input = |bench: &Bench| {
        let alarms = bench.bodies().into_iter().filter(|body| body.cmd == "Alarm");
        alarms.filter(|body| body.body.text_of("AlarmMethod") == Some("2")).count()
    };
    bench.pass(Duration::from_secs(12));
    assert_eq!(input(&bench), 1);
    bench.control("<AlarmCmd>ResetAlarm</AlarmCmd>");
    bench.clear();
    bench.pass(Duration::from_secs(4));
    assert_eq!(input(&bench), 1);
    bench.ask(DEVICE, "Control", "<CmdType>DeviceControl</CmdType><GuardCmd>ResetGuard</GuardCmd>");
    bench.control("<AlarmCmd>ResetAlarm</AlarmCmd>");
    bench.clear();
    bench.pass(Duration::from_secs(8));
    assert_eq!(input(&bench), 0, "not on guard");
}

#[test]
fn snapshots_are_taken_one_after_the_other_and_reported() {
    let mut bench = Bench::new(Edition::E2022, &[]);
    let shot = "<SnapShotConfig><SnapNum>2</SnapNum><Interval>1</Interval>\
        <UploadURL>http://192.0.2.50/snap</UploadURL><SessionID>s1</SessionID></SnapShotConfig>";
    assert_eq!(bench.configure(shot)[0].result(), Some(true));
    bench.pass(Duration::from_secs(2));
    let shots: Vec<Snapshot> = bench
        .wants
        .drain(..)
        .filter_map(|want| if let Output::Upload(snapshot) = want { Some(snapshot) } else { None })
        .collect();
    assert_eq!((shots.len(), shots[0].file.len()), (2, 41));
    bench.heard.clear();
    bench.device.uploaded(bench.now, &shots[0], true);
    bench.drain();
    assert!(bench.heard.is_empty());
    bench.device.uploaded(bench.now, &shots[1], false);
    bench.drain();
    let body = &bench.bodies()[0];
    assert_eq!((body.cmd.as_str(), body.body.text_of("SessionID")), ("UploadSnapShotFinished", Some("s1")));
    assert_eq!(body.body.child("SnapShotList").unwrap().children.len(), 1);
}

#[test]
fn an_upgrade_is_reported_after_the_device_is_back() {
    let mut bench = Bench::new(Edition::E2022, &[]);
    bench.play("live");
    let upgrade = "<DeviceUpgrade><Firmware>V9</Firmware><FileURL>http://x/f</FileURL>\
        <Manufacturer>m</Manufacturer><SessionID>u1</SessionID></DeviceUpgrade>";
    let answer = bench.control(upgrade);
    assert_eq!(answer[0].result(), Some(true));
    assert!(bench.wants.iter().any(|want| matches!(want, Output::Stop { call } if call == "live")));
    assert!(!bench.device.registration.registered);
    bench.pass(Duration::from_secs(3));
    assert!(bench.device.registration.registered);
    let bodies = bench.bodies();
    let result = bodies.iter().find(|body| body.cmd == "DeviceUpgradeResult").unwrap();
    assert_eq!(
        (result.body.text_of("UpgradeResult"), result.body.text_of("Firmware")),
        (Some("OK"), Some("V9"))
    );
}

#[test]
fn a_slow_device_answers_late_and_some_hang_up() {
    let mut bench = Bench::new(Edition::E2016, &[Quirk::SlowInvite, Quirk::ByeAfter]);
    assert_eq!(bench.play("slow").code(), Some(100));
    bench.pass(Duration::from_secs(3));
    let answer = bench.answers.iter().rfind(|answer| answer.code() == Some(200)).unwrap().clone();
    let mut ack = bench.request(Method::Ack, CHANNEL, "slow");
    ack.set("To", answer.header("To").unwrap());
    ack.set("CSeq", format!("{} ACK", answer.cseq().unwrap().0));
    bench.send(ack);
    bench.heard.clear();
    bench.pass(Duration::from_secs(3));
    assert!(bench.heard.iter().any(|heard| heard.method() == Some(&Method::Bye)));
    assert!(bench.device.calls.is_empty());
}

#[test]
fn bodies_are_spoilt_as_asked() {
    let body = |quirk| {
        let mut bench = Bench::new(Edition::E2016, &[quirk]);
        bench.query("Catalog", "");
        bench.heard[0].body.clone()
    };
    let text = |quirk| String::from_utf8_lossy(&body(quirk)).into_owned();
    assert!(text(Quirk::BareAmpersand).contains(" & 2</Name>"));
    assert!(text(Quirk::NoXmlDeclaration).starts_with("<Response>"));
    assert!(text(Quirk::AttributeFields).contains("<Response CmdType=\"Catalog\" SN=\"17\">"));
    assert!(text(Quirk::Utf8).contains("encoding=\"UTF-8\"") && text(Quirk::Utf8).contains("摄像机"));
    assert!(
        text(Quirk::Utf8AsGb).contains("encoding=\"GB2312\"") && text(Quirk::Utf8AsGb).contains("摄像机")
    );
    let lying = body(Quirk::GbAsUtf8);
    assert!(lying.starts_with(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>"));
    assert!(std::str::from_utf8(&lying).is_err());
    assert!(body(Quirk::TrailingNul).ends_with(&[0, 0]));
}

#[test]
fn sessions_are_spoilt_as_asked() {
    let answer = |quirk| {
        let answer = Bench::new(Edition::E2016, &[quirk]).play("q");
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    assert!(!answer(Quirk::NoY).contains("y="));
    assert!(!answer(Quirk::SsrcAnswer).contains("y=1200001234"));
    assert!(answer(Quirk::SsrcMismatch).contains("y=1200001234"));
    assert!(!answer(Quirk::LfOnly).contains('\r'));
    let mixed = answer(Quirk::SdpLineOrder);
    assert!(mixed.find("y=").unwrap() < mixed.find("m=").unwrap());
}

#[test]
fn a_device_goes_where_it_is_sent_and_comes_back() {
    let settings = Settings { edition: Edition::E2022, ..Settings::example() };
    let mut bench = Bench::of(settings, 1);
    let register = Message::request(Method::Register, "sip:x@y")
        .response(302)
        .with("Contact", "<sip:34020000002000000002@192.0.2.31:5060>");
    bench.device.register_answered(bench.now, 0, 3_600, 302, &register);
    bench.drain();
    let to =
        bench.wants.iter().find_map(|want| if let Output::Move { to } = want { Some(*to) } else { None });
    assert_eq!(to, Some(Some("192.0.2.31:5060".parse().unwrap())));
    bench.heard.clear();
    bench.device.reconnected(bench.now, flow());
    bench.pass(Duration::ZERO);
    assert!(bench.heard[0].uri().unwrap().contains("34020000002000000002"));
    bench.wants.clear();
    bench.device.refused(bench.now, Some(403));
    bench.drain();
    assert!(bench.wants.iter().any(|want| matches!(want, Output::Move { to: None })));
}
