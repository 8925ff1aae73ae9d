use super::*;
use crate::gb::id::Id;
use crate::gb::manscdp::Edition;
use crate::gb::sdp::MediaMode;
use crate::gb::time::{Offset, UnixMillis};
use crate::registry::{AddedBy, Subscribe};
use crate::sip::digest::Algorithm;

fn device(manufacturer: &str) -> Device {
    let mut device = Device::new(Id::parse("34020000001320000001").unwrap(), AddedBy::Admin, UnixMillis(0));
    device.manufacturer = Some(manufacturer.into());
    device
}

fn files(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    texts.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect()
}

fn refused(text: &str) -> String {
    Profiles::with(&files(&[("mine.yaml", text)])).unwrap_err().to_string()
}

#[test]
fn every_file_of_the_directory_is_built_in() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/profiles");
    // In a crate that only borrows this room there is no such directory.
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    let mut built_in = BUILT_IN.map(|(file, _)| file.to_owned());
    built_in.sort();
    assert_eq!(found, built_in);
    for (file, text) in BUILT_IN {
        let name = Profile::from_yaml(file, text).unwrap().name;
        assert_eq!(format!("{name}.yaml"), file);
    }
}

/// The file that documents all knobs tells the truth about what is done without it.
#[test]
fn the_standard_profile_is_what_is_done_anyway() {
    let profiles = Profiles::built_in().unwrap();
    let (_, knobs) = profiles.named(STANDARD).unwrap();
    assert_eq!(Manners::of(knobs), Manners::default());
    let json = serde_json::to_value(knobs).unwrap();
    let set: Vec<&String> = json.as_object().unwrap().keys().collect();
    let silent = ["charset", "date_header", "edition", "media_transport"];
    let expected: Vec<_> = Knobs::NAMES.iter().filter(|name| !silent.contains(name)).collect();
    assert_eq!(set.len(), expected.len());
    assert!(expected.iter().all(|name| set.iter().any(|set| set == *name)));
}

#[test]
fn a_vendor_is_known_by_what_it_says() {
    let profiles = Profiles::built_in().unwrap();
    let none = &[];
    for (maker, name) in [
        ("Zhejiang Dahua Technology", "dahua"),
        ("大华", "dahua"),
        ("HIKVISION", "hikvision"),
        ("UNIVIEW", "uniview"),
        ("TP-LINK", "tp-link"),
        ("Acme", "standard"),
        ("", "standard"),
    ] {
        assert_eq!(profiles.name_for(&device(maker), none), name, "{maker}");
    }
    let mut by_agent = device("");
    by_agent.user_agent = Some("IP Camera (hikvision)".into());
    assert_eq!(profiles.name_for(&by_agent, none), "hikvision");
    let mut platform = device("");
    platform.id = Id::parse("34020000002000000001").unwrap();
    assert_eq!(profiles.name_for(&platform, none), "lower-platform");

    let dahua = profiles.manners(&device("dahua"), none);
    assert!(dahua.record_type_always && dahua.config_target == ConfigTarget::Device);
    assert_eq!((dahua.talk, dahua.talk_start), (TalkWay::Talk, TalkStart::AfterOk));
    let unknown = profiles.manners(&device("Acme"), none);
    assert_eq!(unknown, Manners::default().for_device(&device("Acme")));
    assert!(!unknown.record_type_always);
}

#[test]
fn a_device_s_own_settings_come_first() {
    let profiles = Profiles::built_in().unwrap();
    let mut device = device("dahua");
    device.media_transport = Some(MediaMode::TcpPassive);
    device.subscribe = Some(Subscribe { position: Some(5), ..Subscribe::default() });
    device.overrides = Some(Box::new(Knobs {
        talk: Some(TalkWay::Broadcast),
        edition: Some(Edition::E2022),
        media_transport: Some(MediaMode::Udp),
        ..Knobs::default()
    }));
    let manners = profiles.manners(&device, &[]);
    assert_eq!((manners.talk, manners.record_type_always), (TalkWay::Broadcast, true));
    assert_eq!(manners.media_transport, Some(MediaMode::TcpPassive));
    assert_eq!(manners.subscribe, Subscribe { position: Some(5), ..Subscribe::default() });
    let style = manners.style(&device, Offset::BEIJING);
    assert_eq!((style.edition, style.record_type_always), (Edition::E2022, true));
    assert_eq!(manners.stream_attribute, StreamAttribute::StreamNumber);

    device.profile = Some("tp-link".into());
    assert_eq!(profiles.name_for(&device, &[]), "tp-link");
    assert!(!profiles.manners(&device, &[]).record_type_always);
    device.profile = Some("of a plugin that is gone".into());
    assert_eq!(profiles.name_for(&device, &[]), "dahua", "a name that is not known is passed over");
}

#[test]
fn streams_are_asked_for_in_the_words_of_the_vendor() {
    use StreamAttribute::{Stream, StreamMode, StreamNumber, StreamProfile};
    let by_edition = |edition| {
        let mut device = device("");
        device.edition = edition;
        Profiles::default().manners(&device, &[]).stream_attribute.attribute(1)
    };
    assert_eq!(by_edition(Edition::E2022), Some(("streamnumber", "1")));
    assert_eq!(by_edition(Edition::E2016), Some(("streamprofile", "1")));
    for (attribute, sub, third) in [
        (StreamNumber, Some(("streamnumber", "1")), Some(("streamnumber", "2"))),
        (StreamProfile, Some(("streamprofile", "1")), Some(("streamprofile", "2"))),
        (StreamMode, Some(("streamMode", "sub")), None),
        (Stream, Some(("stream", "1")), Some(("stream", "2"))),
        (StreamAttribute::None, None, None),
    ] {
        assert_eq!(attribute.attribute(0), None, "the main stream comes unasked");
        assert_eq!((attribute.attribute(1), attribute.attribute(2)), (sub, third));
    }
}

#[test]
fn behaviour_tells_a_vendor_too() {
    let rule = Rule::ALL[3];
    let text = format!(
        "name: odd\nmatch:\n  - manufacturer: [acme]\n    behaviour: [{}]\nknobs:\n  - {{set: digest, to: sm3, why: it asks}}\n",
        rule.code()
    );
    let profiles = Profiles::with(&files(&[("odd.yaml", &text)])).unwrap();
    let seen = [Finding::new(rule, UnixMillis(1), "")];
    assert_eq!(profiles.name_for(&device("ACME"), &seen), "odd");
    assert_eq!(profiles.manners(&device("ACME"), &seen).digest, Algorithm::Sm3);
    assert_eq!(profiles.name_for(&device("ACME"), &[]), STANDARD, "both have to fit");
    assert_eq!(profiles.name_for(&device(""), &seen), STANDARD);
    let other = [Finding::new(Rule::ALL[4], UnixMillis(1), "")];
    assert_eq!(profiles.name_for(&device("ACME"), &other), STANDARD);
}

#[test]
fn own_files_add_to_the_built_in_ones_and_replace_them() {
    let mine = "name: dahua\nabout: only ours\nknobs: []\n";
    let more = "name: acme\nmatch: [{model: [X100, x200]}]\nknobs: []\n";
    let profiles = Profiles::with(&files(&[("a.yaml", more), ("b.yaml", mine)])).unwrap();
    assert_eq!(profiles.names().filter(|name| *name == "dahua").count(), 1);
    assert_eq!(profiles.names().next(), Some("acme"));
    assert!(!profiles.manners(&device("dahua"), &[]).record_type_always);
    let mut model = device("dahua");
    model.model = Some("IPC-x100-S".into());
    assert_eq!(profiles.name_for(&model, &[]), "acme");
    // And what is written can be read again.
    for profile in profiles.all() {
        let text = serde_yaml::to_string(profile).unwrap();
        assert_eq!(Profile::from_yaml("again", &text).unwrap(), *profile);
    }
}

#[test]
fn what_is_wrong_is_named() {
    let knob = |knob: &str| refused(&format!("name: acme\nknobs:\n  - {knob}\n"));
    let sentence = knob("{set: tlak, to: talk, why: x}");
    assert!(sentence.starts_with("profile acme: tlak: there is no such knob"), "{sentence}");
    let sentence = knob("{set: talk, to: shout, why: x}");
    assert!(sentence.starts_with("profile acme: talk: ") && sentence.contains("shout"), "{sentence}");
    let sentence = knob("{set: digest, to: md4, why: x}");
    assert!(sentence.contains("digest: not a digest algorithm"), "{sentence}");
    let sentence = knob("{set: edition, to: 2015, why: x}");
    assert!(sentence.contains("edition: "), "{sentence}");
    let sentence = knob("{set: subscribe, to: {alarms: true}, why: x}");
    assert!(sentence.contains("subscribe: alarms is none of catalog"), "{sentence}");
    let sentence = knob("{set: talk, to: talk, why: ''}");
    assert!(sentence.ends_with("talk: it does not say why"), "{sentence}");
    let sentence = knob("{set: talk, why: x}");
    assert!(sentence.starts_with("profile mine.yaml: "), "{sentence}");
    let sentence = refused("name: acme\nmatch: [{}]\n");
    assert!(sentence.contains("fits every device"), "{sentence}");
    let sentence = refused("name: acme\nmatch: [{behaviour: [no-such-rule]}]\n");
    assert!(sentence.starts_with("profile mine.yaml: "), "{sentence}");
    assert!(refused(": : :").starts_with("profile mine.yaml: "));
    assert!(refused("name: ' '").ends_with("it has no name"));
    assert!(refused(&format!("name: {}", "a".repeat(MAX_FILE))).contains("longer than"));
    let twice = Profiles::new(vec![Profile::from_yaml("", "name: a").unwrap(); 2]).unwrap_err();
    assert_eq!(twice.to_string(), "profile a: there are two of this name");
}

#[test]
fn knobs_of_a_record_survive_those_of_a_newer_program() {
    let kept: Knobs = serde_json::from_str(r#"{"talk":"talk","of_the_future":1}"#).unwrap();
    assert_eq!(kept, Knobs { talk: Some(TalkWay::Talk), ..Knobs::default() });
    assert_eq!(serde_json::to_string(&kept).unwrap(), r#"{"talk":"talk"}"#);
    let digest = Knobs { digest: Some(DigestName(Algorithm::Sha256)), ..Knobs::default() };
    assert_eq!(serde_json::to_string(&digest).unwrap(), r#"{"digest":"sha-256"}"#);
    assert!(Knobs::read(&serde_json::json!([])).is_err());
}
