//! Recordings and the microphone as a person at the console has them: in a real browser, with simulated devices behind
//! the real binary.

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

use fantoccini::Locator;
use serde_json::{Value, json};
use support::browser::Browser;
use support::gateway::{CAMERA, CHANNEL, Fleet, Gateway};
use support::until;

/// For a whole test; each wait in it has its own, shorter limit.
const LIMIT: Duration = Duration::from_secs(150);
/// A microphone that beeps, and nobody is asked whether it may be used.
const MICROPHONE: [&str; 2] = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
/// Silence in A-law; samples whose low bits differ by more than this are loud.
const SILENCE: u8 = 0xD5;
const LOUD: u8 = 0x20;

/// Pictures that the player has shown, whether what it shows is a picture, and what it says of itself.
async fn player(browser: &Browser) -> Value {
    browser
        .run(
            "const player = document.getElementById('player');
             const video = document.getElementById('player-video');
             const canvas = new OffscreenCanvas(64, 36);
             const context = canvas.getContext('2d');
             context.drawImage(video, 0, 0, 64, 36);
             const { data } = context.getImageData(0, 0, 64, 36);
             const light = Array.from({ length: 64 * 36 }, (_, at) => data[at * 4] + data[at * 4 + 1] + data[at * 4 + 2]);
             return { state: player.dataset.state, frames: video.getVideoPlaybackQuality().totalVideoFrames,
               spread: Math.max(...light) - Math.min(...light), error: document.getElementById('player-error').innerText,
               position: document.getElementById('player-position').innerText };",
            vec![],
        )
        .await
}

/// Waits until the player shows so many pictures more.
async fn shows(browser: &Browser, more: u64) {
    let frames = |seen: &Value| seen["frames"].as_u64().unwrap();
    let before = frames(&player(browser).await);
    until("pictures in the player", async || {
        let seen = player(browser).await;
        assert_ne!(seen["state"], "failed", "{seen}");
        let shown = seen["state"] == "playing" && seen["spread"].as_u64() > Some(100);
        if shown && frames(&seen) >= before + more { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}

/// Waits until the only playback is as wanted.
async fn playback(gateway: &Gateway, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(&format!("a playback {what}"), async || {
        let list = gateway.get("/api/v1/playbacks").await;
        match list["items"].as_array().unwrap().as_slice() {
            [one] if fits(one) => Ok(one.clone()),
            _ => Err(list.to_string()),
        }
    })
    .await
}

#[tokio::test]
async fn browser_plays_a_recording_and_moves_about_in_it() {
    tokio::time::timeout(LIMIT, async {
        let gateway = Gateway::start(&[]).await;
        let fleet = Fleet::default().start(&gateway).await;
        let browser = Browser::start().await;
        let page = format!("{}#recordings/{CAMERA}/{CHANNEL}", gateway.console());
        browser.page.goto(&page).await.unwrap();
        // Yesterday is over, whatever the time: it has all of its hours.
        browser.click("#recordings-earlier").await;
        until("a day of recordings", async || {
            let rows = browser.page.find_all(Locator::Css("[data-testid=record-row]")).await.unwrap();
            let spans = browser.page.find_all(Locator::Css("[data-testid=record-span]")).await.unwrap();
            if rows.len() >= 24 && spans.len() == rows.len() {
                Ok(())
            } else {
                Err(format!("{} rows", rows.len()))
            }
        })
        .await;

        browser.click("[data-testid=record-row] [data-testid=recordings-play]").await;
        shows(&browser, 25).await;
        let first = playback(&gateway, "that runs", |one| one["state"] == "running").await;
        assert_eq!((&first["scale"], &first["paused"]), (&json!(1.0), &json!(false)), "{first}");
        assert!(first["position"].as_f64() < Some(60.0), "{first}");

        // The middle of the line is noon; it is reached in what plays.
        browser.click("[data-testid=timeline]").await;
        let moved = playback(&gateway, "at noon", |one| one["position"].as_f64() > Some(40_000.0)).await;
        assert_eq!(moved["id"], first["id"]);
        shows(&browser, 25).await;
        until("noon on the page", async || {
            let seen = player(&browser).await;
            // A pixel of the line is more than a minute.
            let position = seen["position"].as_str().unwrap();
            let noon = ["11:5", "12:0"].iter().any(|noon| position.contains(noon));
            if noon { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;

        let select = browser.page.find(Locator::Css("[data-testid=player-speed]")).await.unwrap();
        select.select_by_value("4").await.unwrap();
        playback(&gateway, "at four times the speed", |one| one["scale"] == 4.0).await;
        shows(&browser, 50).await;
        select.select_by_value("-1").await.unwrap();
        playback(&gateway, "that goes backwards", |one| one["scale"] == -1.0).await;
        shows(&browser, 25).await;
        browser.click("[data-testid=player-toggle]").await;
        playback(&gateway, "that stands still", |one| one["paused"] == true).await;
        browser.click("[data-testid=player-toggle]").await;
        playback(&gateway, "that goes on", |one| one["paused"] == false).await;
        shows(&browser, 10).await;
        browser.click("[data-testid=player-stop]").await;
        until("the end of the playback", async || {
            let streams = gateway.streams().await;
            if streams.is_empty() { Ok(()) } else { Err(format!("{streams:?}")) }
        })
        .await;
        keeps_a_piece(&gateway, &browser).await;
        drop(fleet);
    })
    .await
    .unwrap_or_else(|_| panic!("not done within {LIMIT:?}"));
}

/// Ten seconds of the first recording go into a file, which the page links to.
async fn keeps_a_piece(gateway: &Gateway, browser: &Browser) {
    let chosen = browser
        .run(
            "const [from, to] = ['download-from', 'download-to'].map((id) => document.getElementById(id));
             to.value = from.value.slice(0, 16) + ':10';
             to.dispatchEvent(new Event('change'));
             return [from.value, to.value];",
            vec![],
        )
        .await;
    browser.click("[data-testid=download-start]").await;
    let link = until(&format!("a finished download of {chosen}"), async || {
        let seen = browser
            .run(
                "const row = document.querySelector('[data-testid=download]');
                 const link = row?.querySelector('[data-testid=download-file]');
                 return { state: row?.dataset.state ?? null, text: row?.innerText ?? null, link: link?.href ?? null,
                   said: document.getElementById('player-error').innerText };",
                vec![],
            )
            .await;
        if seen["state"] == "finished" { Ok(seen["link"].as_str().unwrap().to_owned()) } else { Err(seen.to_string()) }
    })
    .await;
    let path = link.strip_prefix(gateway.console().trim_end_matches('/')).unwrap();
    let response = gateway.request(reqwest::Method::GET, path).send().await.unwrap();
    let bytes = response.bytes().await.unwrap();
    assert!(bytes.len() > 100_000 && &bytes[4..8] == b"ftyp", "{} bytes", bytes.len());
}

#[tokio::test]
async fn browser_speaks_to_a_camera() {
    tokio::time::timeout(LIMIT, async {
        let gateway = Gateway::start(&[]).await;
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("voice.alaw");
        let options = ["--keep-talk", file.to_str().unwrap()];
        let fleet = Fleet { more: &options, ..Fleet::default() }.start(&gateway).await;
        let browser = Browser::start_with(&MICROPHONE).await;
        browser.page.goto(gateway.console()).await.unwrap();
        browser.click(&format!("#tree [data-device='{CAMERA}'][data-channel='{CHANNEL}']")).await;
        let tile = "[data-testid=tile][data-number='1']";
        until("a picture", async || {
            let state =
                browser.page.find(Locator::Css(tile)).await.unwrap().attr("data-state").await.unwrap();
            if state.as_deref() == Some("playing") { Ok(()) } else { Err(format!("{state:?}")) }
        })
        .await;
        let talk = format!("{tile} [data-testid=tile-talk]");
        for turn in 1..=2 {
            let before = std::fs::metadata(&file).map_or(0, |file| file.len() as usize);
            browser.click(&talk).await;
            until("a microphone that is on", async || {
                let button = browser.page.find(Locator::Css(&talk)).await.unwrap();
                let state = button.attr("data-state").await.unwrap();
                let text = browser.page.find(Locator::Css(tile)).await.unwrap().text().await.unwrap();
                assert_ne!(state.as_deref(), Some("failed"), "{text}");
                if state.as_deref() == Some("on") { Ok(()) } else { Err(format!("{state:?}")) }
            })
            .await;
            until("beeps at the camera", async || {
                let sound = std::fs::read(&file).unwrap_or_default().split_off(before);
                let loud = sound.iter().filter(|sample| (**sample ^ SILENCE) & 0x7F > LOUD).count();
                // A beep, and more than two seconds in all.
                if sound.len() > 16_000 && loud > 200 {
                    Ok(())
                } else {
                    Err(format!("{loud} of {}", sound.len()))
                }
            })
            .await;
            let voices = async || {
                let streams = gateway.streams().await;
                streams.iter().filter(|stream| stream["kind"] == "talk").count()
            };
            assert_eq!(voices().await, 1, "turn {turn}");
            browser.click(&talk).await;
            until("the end of the voice", async || match voices().await {
                0 => Ok(()),
                some => Err(some.to_string()),
            })
            .await;
        }
        // The picture has not suffered.
        let state = browser.page.find(Locator::Css(tile)).await.unwrap().attr("data-state").await.unwrap();
        assert_eq!(state.as_deref(), Some("playing"));
        drop(fleet);
    })
    .await
    .unwrap_or_else(|_| panic!("not done within {LIMIT:?}"));
}
