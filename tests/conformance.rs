//! What departs from the standard is seen and told: each quirk of the simulator by the rule that it breaks, bodies as they
//! are met, the lists for people, the self-test, and the vendor profiles that work round it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and lives in real time"
)]

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use support::facing::{
    Events, Subscription, camera, camera_of, channel_path, device_path, exchange, names_field, notify, reply,
    settle,
};
use support::gateway::{CAMERA, CHANNEL, Gateway, answer};
use support::sip::{Device, page};
use support::until;
use support::wild::{finding, simulate};

/// What is done with a simulated device so that its quirk shows.
#[derive(Clone, Copy)]
enum Deed {
    /// Nothing: it shows by itself.
    Nothing,
    /// It is asked for its status.
    Ask,
    Configure,
    SelfTest,
    Watch,
    /// A minute of a recording is played to its end, fast.
    Play,
}

use Deed::{Ask, Configure, Nothing, Play, SelfTest, Watch};

/// Options of the simulator, what is done, and the rule that is broken then.
const QUIRKS: &[(&[&str], Deed, &str)] = &[
    (&["--quirks", "utf8-as-gb"], Nothing, "charset-declared-wrong"),
    (&["--quirks", "gb-as-utf8"], Nothing, "charset-declared-wrong"),
    (&["--quirks", "bare-ampersand"], Nothing, "xml-not-well-formed"),
    (&["--quirks", "stray-less"], Nothing, "xml-not-well-formed"),
    (&["--quirks", "no-rport"], Nothing, "no-rport"),
    (&["--quirks", "wrong-length"], Nothing, "sip-content-length-wrong"),
    (&["--expires", "60"], Nothing, "register-expires-too-short"),
    (&["--quirks", "old-nonce", "--expires", "4"], Nothing, "nonce-reused"),
    (&["--quirks", "wrong-sumnum"], Nothing, "catalog-sumnum-wrong"),
    (&["--quirks", "small-sumnum"], Nothing, "catalog-sumnum-wrong"),
    (&["--quirks", "zero-sumnum"], Nothing, "catalog-sumnum-wrong"),
    (&["--quirks", "dup-channels"], Nothing, "catalog-duplicate-ids"),
    (&["--quirks", "no-subscriptions"], Nothing, "subscribe-refused"),
    (&["--quirks", "sn-mismatch"], Ask, "answer-sn-wrong"),
    (&["--quirks", "ignore-queries"], Ask, "answer-missing"),
    (&["--quirks", "clock-wrong"], SelfTest, "clock-wrong"),
    (&["--quirks", "config-ignored"], Configure, "config-ignored"),
    (&["--quirks", "slow-invite,no-trying"], Watch, "invite-no-trying"),
    (&["--quirks", "no-y"], Watch, "sdp-no-y"),
    (&["--quirks", "ssrc-answer"], Watch, "sdp-other-ssrc"),
    (&["--quirks", "sdp-line-order"], Watch, "sdp-line-order"),
    (&["--quirks", "ssrc-mismatch"], Watch, "rtp-ssrc-not-agreed"),
    (&["--quirks", "other-pt"], Watch, "rtp-payload-type"),
    (&["--quirks", "loss"], Watch, "rtp-loss"),
    (&["--quirks", "no-psm"], Watch, "ps-no-psm"),
    (&["--quirks", "psm-crc"], Watch, "ps-psm-crc"),
    (&["--quirks", "stream-type-lies"], Watch, "ps-stream-type-lies"),
    (&["--quirks", "no-system-header"], Watch, "ps-no-system-header"),
    (&["--quirks", "pes-len0"], Watch, "ps-pes-length-zero"),
    (&["--quirks", "no-media"], Watch, "media-missing"),
    (&["--quirks", "no-file-end"], Play, "file-end-missing"),
    // None of these is the device's fault, or any fault at all.
    (&["--quirks", "lower-headers,compact-headers,no-space"], SelfTest, ""),
    (&["--quirks", "reversed-pages,burst,nat-contact"], Watch, ""),
    (&["--edition", "2022"], SelfTest, ""),
    (&["--tree"], Nothing, ""),
];

/// Reads a live stream for as long as there is one; nobody minds its end.
async fn read(gateway: &Gateway, path: &str) {
    let request = gateway.request(Method::GET, path).timeout(Duration::from_secs(60));
    if let Ok(mut response) = request.send().await {
        while let Ok(Some(_)) = response.chunk().await {}
    }
}

async fn act(gateway: &Gateway, deed: Deed, id: &str, channel: &str) {
    let own = |what: &str| format!("/api/v1/devices/{id}/{what}");
    match deed {
        Nothing => {}
        Ask => drop(gateway.ask(Method::GET, &own("status")).await),
        Configure => {
            let value = json!({ "heart_beat_count": 99 });
            let told = gateway.tell(Method::PUT, &own("config/BasicParam"), &value).await;
            assert_eq!(told.json()["ignored"][0]["field"], "heart_beat_count", "{}", told.text);
        }
        SelfTest => {
            let request = gateway.request(Method::POST, &own("selftest")).timeout(Duration::from_secs(120));
            assert_eq!(answer(request).await.status, 200);
        }
        Watch => read(gateway, &format!("/live/{id}/{channel}.mp4")).await,
        Play => {
            let body = json!({ "device": id, "channel": channel, "start": "2026-05-01T08:00:00+08:00",
                               "end": "2026-05-01T08:00:04+08:00" });
            let begun = gateway.tell(Method::POST, "/api/v1/playbacks", &body).await;
            assert_eq!(begun.status, 201, "{}", begun.text);
            let session = begun.json()["id"].as_str().unwrap().to_owned();
            read(gateway, &format!("/live/playbacks/{session}.mp4")).await;
        }
    }
}

/// The rules that a device has broken.
async fn broken(gateway: &Gateway, id: &str) -> Vec<String> {
    let page = gateway.get(&format!("/api/v1/devices/{id}/conformance")).await;
    let items = page["items"].as_array().unwrap();
    assert_eq!(page["total"], items.len());
    items.iter().map(|item| item["rule"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a device has broken a rule; `false` if it does not come to that.
async fn breaks(gateway: &Gateway, id: &str, rule: &str) -> bool {
    let seen = async {
        while !broken(gateway, id).await.iter().any(|seen| seen == rule) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, seen).await.is_ok()
}

/// Plays a device with these options and has it do something; gives what it broke in the end, for `rule` or without.
async fn tried(gateway: &Gateway, index: usize, (options, deed, rule): (&[&str], Deed, &str)) -> Vec<String> {
    let (id, channel) = (format!("3402000000132000{index:04}"), format!("3402000000131000{index:04}"));
    let fleet = [&["--first-id", &id, "--first-channel", &channel][..], options].concat();
    let _fleet = simulate(gateway, "udp", &fleet);
    gateway.device_online(&id, true).await;
    if !options.contains(&"ignore-queries") {
        gateway.device(&id, "with its catalog", |state| state["channel_count"] != 0).await;
    }
    let acting = act(gateway, deed, &id, &channel);
    if rule.is_empty() {
        // Live video is watched for a while.
        let _ = tokio::time::timeout(Duration::from_secs(3), acting).await;
    } else {
        // It goes on until the rule is seen to be broken.
        let acting = async {
            acting.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = breaks(gateway, &id, rule) => {}
            () = acting => {}
        }
    }
    broken(gateway, &id).await
}

#[tokio::test]
async fn each_quirk_breaks_its_rule() {
    let gateway = &Gateway::start(&[("sip.expires.min", "1s")]).await;
    let tries = QUIRKS.iter().enumerate().map(async |(index, case)| (case, tried(gateway, index, *case).await));
    let all: Vec<_> = futures_util::stream::iter(tries).buffer_unordered(6).collect().await;
    let wrong: Vec<_> = all
        .iter()
        .filter(|((_, _, rule), seen)| !(seen.is_empty() && rule.is_empty() || seen.iter().any(|seen| seen == rule)))
        .map(|((options, _, rule), seen)| format!("{options:?}: {seen:?} in place of {rule:?}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The totals agree with the lists.
    let totals = gateway.get("/api/v1/stats/conformance").await;
    for rule in totals["total"]["rules"].as_array().unwrap() {
        let devices = all.iter().filter(|(_, seen)| seen.iter().any(|seen| rule["rule"] == **seen)).count();
        assert!(devices > 0 && rule["devices"].as_u64() >= Some(devices as u64), "{rule}");
    }
    assert_eq!(totals["total"]["devices"], QUIRKS.len(), "{totals}");
}
