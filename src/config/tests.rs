use std::fs;

use serde_yaml::Value;

use super::*;

const EXAMPLE: &str = include_str!("../../conf/gbgate.yaml");
const VILLAGE: &str = include_str!("../../conf/village.yaml");

fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (String, String)> + 'a {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}

fn read(text: &str) -> Result<(Config, Vec<Warning>), Errors> {
    Config::parse("gb.yaml", text, env(&[]))
}

fn errors(text: &str) -> Vec<String> {
    read(text).unwrap_err().0.iter().map(Problem::to_string).collect()
}

/// The paths of all plain values in a tree.
fn paths(prefix: &str, value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                paths(&format!("{prefix}.{}", key.as_str().unwrap()), value, into);
            }
        }
        _ => into.push(prefix.to_owned()),
    }
}

fn addresses(texts: &[&str]) -> Vec<std::net::SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn no_file_runs_on_one_machine() {
    let (config, warnings) = Config::load(None, env(&[])).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(warnings, []);
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let (config, warnings) = Config::parse("conf/gbgate.yaml", EXAMPLE, env(&[])).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(warnings, []);
    let (mut written, mut known) = (Vec::new(), vec![".upstreams".to_owned()]);
    paths("", &serde_yaml::from_str(EXAMPLE).unwrap(), &mut written);
    paths("", &serde_yaml::to_value(Config::default()).unwrap(), &mut known);
    written.sort();
    known.sort();
    assert_eq!(written, known);
}

#[test]
fn the_village_works_as_it_is_and_opens_with_a_password() {
    let (config, warnings) = Config::parse("village.yaml", VILLAGE, env(&[])).unwrap();
    let open = VILLAGE.replace("listen: 127.0.0.1:8080", "listen: 0.0.0.0:8080");
    assert_eq!(Config::parse("village.yaml", &open, env(&[])).unwrap_err().0[0].key, "http.listen");
    let set = [("GBGATE_ACCESS__BOOTSTRAP_ADMIN_PASSWORD", "a long one")];
    assert!(Config::parse("village.yaml", &open, env(&set)).is_ok());
    assert_eq!(warnings, []);
    assert_eq!(config.media.ports.even().count(), 100);
    assert_eq!(config.platform.name, "平安村");
}

#[test]
fn values_are_read_in_each_of_their_forms() {
    let (config, _) = read(
        r#"
platform: { id: "41010500002000000001" }
sip:
  udp: ["0.0.0.0:5060", "[::]:5060"]
  tcp: null
  advertise: [{ for: 10.0.0.0/8, address: 10.1.2.3 }, 203.0.113.5]
  keepalive: { interval: 1m, misses: 5 }
  date_header: off
  password: "12345678"
media: { ports: 0, default_transport: tcp-active, play_timeout: 1500ms }
http: { cors_origins: "https://example.org" }
registry: { url: "embedded:/var/lib/gb" }
"#,
    )
    .unwrap();
    assert_eq!(config.platform.domain, "4101050000");
    assert_eq!(config.sip.udp.len(), 2);
    assert!(config.sip.tcp.is_empty());
    assert_eq!(config.sip.advertise[0].address, "10.1.2.3".parse::<std::net::IpAddr>().unwrap());
    assert!(config.sip.advertise[1].peers.contains("192.0.2.1".parse().unwrap()));
    assert_eq!(config.sip.keepalive, Keepalive { interval: Duration::from_secs(60), misses: 5 });
    assert_eq!(config.sip.date_header, DateHeader::Off);
    assert_eq!(config.sip.password.unwrap().reveal(), "12345678");
    assert_eq!(config.media.ports, PortRange::System);
    assert_eq!(config.media.play_timeout, Duration::from_millis(1500));
    assert_eq!(config.http.cors_origins, ["https://example.org"]);
    assert_eq!(config.registry.url, RegistryUrl::Embedded("/var/lib/gb".into()));
}

#[test]
fn the_environment_overrides_the_file() {
    let variables = [
        ("GBGATE_SIP__UDP", "127.0.0.1:0, [::1]:0"),
        ("GBGATE_SIP__KEEPALIVE__INTERVAL", "30s"),
        ("GBGATE_SIP__PASSWORD", "0012345678"),
        ("GBGATE_SIP__ADVERTISE", "[{for: 10.0.0.0/8, address: 10.1.2.3}]"),
        ("GBGATE_MEDIA__PORTS", "0"),
        ("GBGATE_MEDIA__DSCP", "34"),
        ("GBGATE_HTTP__TLS", "null"),
        ("GBGATE_PLATFORM__NAME", ""),
        ("GBGATE_PORT_5060_TCP_ADDR", "10.0.0.1"),
        ("HOME", "/root"),
    ];
    let text = "sip: { udp: 0.0.0.0:5060 }\nplatform: { name: here }\n";
    let (config, warnings) = Config::parse("gb.yaml", text, env(&variables)).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.sip.udp, addresses(&["127.0.0.1:0", "[::1]:0"]));
    assert_eq!(config.sip.keepalive.interval, Duration::from_secs(30));
    assert_eq!(config.sip.password.unwrap().reveal(), "0012345678");
    assert_eq!(config.sip.advertise.len(), 1);
    assert_eq!(config.media.ports, PortRange::System);
    assert_eq!(config.media.dscp, 34);
    assert_eq!(config.platform.name, "here");
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let told = |name: &str, value: &str| {
        Config::parse("gb.yaml", "sip: {}", env(&[(name, value)])).map(|(_, warnings)| warnings)
    };
    assert_eq!(
        told("GBGATE_SIP__UPD", "1").unwrap_err().to_string(),
        "GBGATE_SIP__UPD: sip.upd: unknown key; did you mean `sip.udp`?"
    );
    assert!(
        told("GBGATE_MEDIA__PLAY_TIMEOUT", "10")
            .unwrap_err()
            .to_string()
            .starts_with("GBGATE_MEDIA__PLAY_TIMEOUT: media.play_timeout: `10` is not a duration; ")
    );
    let warnings = told("GBGATE_SIP_UDP", "127.0.0.1:0").unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].advice, "write GBGATE_SIP__UDP");
}

#[test]
fn all_mistakes_are_told_at_once_with_line_key_and_advice() {
    let told = errors(
        r#"platform:
  id: 34020000002000000001
  name: 5
sip:
  udp: 5060
  tcp: localhost:5060
  keepalive:
    intervall: 60s
    misses: 3000
  passwrd: x
media:
  ports: 31000-30000
  default_transport: tcp_passive
port: 8080
listen: x
registry:
  url: redis://user:topsecret@host/0
upstreams: [{ id: "1" }]
"#,
    );
    let expected = [
        "gb.yaml:2: platform.id: must be text; put it in quotes, such as \"34020000002000000001\"",
        "gb.yaml:3: platform.name: must be text; put it in quotes, such as \"3402000000\"",
        "gb.yaml:5: sip.udp: `5060` is not an address with a port; write an address too, such as 0.0.0.0:5060",
        "gb.yaml:6: sip.tcp: `localhost:5060` is not an address with a port; write 127.0.0.1:5060",
        "gb.yaml:8: sip.keepalive.intervall: unknown key; did you mean `sip.keepalive.interval`?",
        "gb.yaml:9: sip.keepalive.misses: is not between 1 and 100; write 3",
        "gb.yaml:10: sip.passwrd: unknown key; did you mean `sip.password`?",
        "gb.yaml:12: media.ports: `31000-30000` is not a range of ports; write such as 30000-30999, or 0",
        "gb.yaml:13: media.default_transport: `tcp_passive` is not a choice here; did you mean `tcp-passive`?",
        "gb.yaml:14: port: unknown key; known here: access, cluster, events, files, http, media, platform, profiles, registry, sip, upstreams, webrtc",
        "gb.yaml:15: listen: unknown key; did you mean `http.listen` or `http.tls.listen` or `sip.tls.listen`?",
        "gb.yaml:17: registry.url: a registry in Redis is not in this version; write embedded: and the path of a directory, such as embedded:data",
        "gb.yaml:18: upstreams: upper platforms are not in this version; leave the list empty",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_is_not_yaml_is_told_with_its_line() {
    assert!(errors("sip:\n  udp: [0.0.0.0:5060\nhttp: {}\n")[0].starts_with("gb.yaml:"));
    assert!(errors("sip: {}\nsip: {}\n")[0].contains("duplicate"));
    assert_eq!(
        errors("- a\n"),
        [
            "gb.yaml:1: the file is not a mapping of keys to values; write sections such as `sip:` with keys below them"
        ]
    );
    assert_eq!(errors("sip: 5\n"), ["gb.yaml:1: sip: must be a section; write keys below it, or `{}`"]);
    assert!(errors("1: 2\n")[0].contains("unknown key"));
    assert!(read("").is_ok() && read("# nothing\n").is_ok() && read("sip:\nmedia:\n").is_ok());
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let told = Config::load(Some(Path::new("/nonexistent/gb.yaml")), env(&[])).unwrap_err().to_string();
    assert_eq!(
        told,
        "/nonexistent/gb.yaml: cannot be read: no such file or directory; check the path after --config and its \
         permissions"
    );
}

#[test]
fn ids_and_domains_are_checked() {
    assert!(errors("platform: { id: \"123\" }")[0].contains("`123` is not 20 digits"));
    assert!(
        errors("platform: { domain: \"34\" }")[0].ends_with("`34` is not 10 digits; write \"3402000000\"")
    );
    let (_, warnings) = read("platform: { id: \"34020000001320000001\", domain: \"4101050000\" }").unwrap();
    assert_eq!(
        warnings.iter().map(|warning| warning.key.as_str()).collect::<Vec<_>>(),
        ["platform.id", "platform.domain"]
    );
}

#[test]
fn http_beyond_this_machine_needs_a_password() {
    let told = errors("http:\n  listen: [127.0.0.1:8080, 0.0.0.0:8081]");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with(
        "gb.yaml:2: http.listen: 0.0.0.0:8081 can be reached from other machines, and no password is set; set \
         access.bootstrap_admin_password"
    ));
    let (_, warnings) =
        read("http: { listen: 0.0.0.0:8080 }\naccess: { bootstrap_admin_password: short }").unwrap();
    assert_eq!(warnings[0].key, "access.bootstrap_admin_password");
}

#[test]
fn two_listeners_do_not_share_a_port() {
    let told = errors("http: { listen: 127.0.0.1:5060 }\nwebrtc: { udp: 0.0.0.0:5060 }");
    assert!(
        told.iter().any(|line| line.contains("webrtc.udp: 0.0.0.0:5060 is already listened on by sip.udp"))
    );
    assert!(
        told.iter()
            .any(|line| line.contains("http.listen: 127.0.0.1:5060 is already listened on by sip.tcp"))
    );
    assert!(read("http: { listen: 127.0.0.1:0 }\nsip: { tcp: 127.0.0.1:0 }").is_ok());
    let (_, warnings) = read("media: { ports: 5000-5100 }").unwrap();
    assert!(warnings[0].what.contains("5060 of sip.udp"), "{}", warnings[0]);
}

#[test]
fn durations_and_ranges_have_bounds() {
    let told = errors(
        "sip:\n  keepalive: { interval: 500ms }\n  expires: { min: 1h, max: 10m }\nmedia:\n  dscp: 64\n  ports: 30001-30001\n  mode: single-port\n",
    );
    let keys: Vec<&str> = told.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(
        keys,
        ["sip.keepalive.interval", "sip.expires.max", "media.dscp", "media.ports", "media.mode"]
    );
}

#[test]
fn certificates_are_checked_at_the_start() {
    let directory = crate::net::tls::tests::directory();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let text = format!(
        "sip:\n  tls:\n    cert: {}\n    key: {}\nhttp:\n  tls: {{ cert: {}, key: {} }}\n",
        at("server.pem"),
        at("server.key"),
        at("server.pem"),
        at("client.key")
    );
    let told = errors(&text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("gb.yaml:6: http.tls.key: "), "{}", told[0]);
    assert!(told[0].contains("is not the key of"));
    let (config, _) =
        read(&format!("sip:\n  tls: {{ cert: {}, key: {} }}\n", at("server.pem"), at("server.key"))).unwrap();
    assert_eq!(config.sip.tls.unwrap().listen, addresses(&["0.0.0.0:5061"]));
    assert_eq!(
        errors("sip:\n  tls: { cert: a.pem }"),
        ["gb.yaml:2: sip.tls.key: is missing; give the path of a PEM file, or set tls to null"]
    );
    fs::remove_file(directory.path().join("server.pem")).unwrap();
    assert!(errors(&text)[0].contains("sip.tls.cert"));
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let (_, warnings) = read("cluster:\n  node: a\n  internal: 127.0.0.1:8090\n  secret: xyz\n").unwrap();
    let lines: Vec<String> = warnings.iter().map(Problem::to_string).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("gb.yaml:2: cluster.node: "));
}

#[test]
fn what_cannot_work_is_refused() {
    assert!(
        errors("http: { listen: null }")[0].starts_with("gb.yaml:1: http.listen: the console and the API")
    );
    assert!(
        errors("webrtc: { udp: [127.0.0.1:0, 127.0.0.2:0] }")[0]
            .contains("webrtc.udp: more than one address")
    );
    assert!(errors("sip: { udp: [], tcp: null }")[0].contains("no device can reach"));
}

#[test]
fn secrets_are_not_shown() {
    let text = "sip: { password: hunter2hunter2 }\ncluster: { secret: hunter2 }\naccess: { bootstrap_admin_password: hunter2hunter2 }";
    let (config, _) = read(text).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let shown = serde_json::to_value(&config).unwrap();
    assert!(!shown.to_string().contains("hunter2"));
    assert_eq!(shown["media"]["ports"], "30000-30999");
    assert_eq!(shown["sip"]["keepalive"]["interval"], "1m");
    assert!(!errors("sip: { password: 99887766 }")[0].contains("99887766"));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-z0-9:{}\\[\\],\"\n *&!#.-]{0,200}", value in ".{0,40}") {
        let variables = [("GBGATE_SIP__UDP", value.as_str()), ("GBGATE_MEDIA__PORTS", value.as_str())];
        let _ = Config::parse("gb.yaml", &text, env(&variables));
    }

    #[test]
    fn no_value_panics(key in 0_usize..6, value in "[a-z0-9:{}\\[\\],\" /.-]{0,30}") {
        let keys = ["platform:\n  id", "sip:\n  udp", "sip:\n  advertise", "media:\n  ports", "media:\n  quarantine", "http:\n  tls"];
        let _ = Config::parse("gb.yaml", &format!("{}: {value}\n", keys[key]), env(&[]));
    }
}
