//! The demo as a newcomer sees it: a real browser opens the console, clicks a channel, and has a picture.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, prints what it measured, and lives in real time"
)]

mod support;

use std::time::Duration;

use fantoccini::Locator;
use serde_json::{Value, json};
use support::browser::Browser;
use support::{Gateway, until};

/// For the whole test; each wait in it has its own, shorter limit.
const LIMIT: Duration = Duration::from_secs(180);
/// How many channels the times to the first picture are taken from.
const MEASURED: usize = 3;

#[tokio::test]
async fn browser_shows_the_picture_on_a_click() {
    tokio::time::timeout(LIMIT, async {
        let gateway = Gateway::demo().await;
        let browser = Browser::start().await;
        browser.page.goto(gateway.console()).await.unwrap();
        let channels = demo_channels(&browser).await;
        click(&browser, "[data-testid=layout-9]").await;

        let mut cold = Vec::new();
        let mut warm = Vec::new();
        for (index, channel) in channels.iter().take(MEASURED).enumerate() {
            cold.push(play(&browser, channel, index * 2 + 1).await);
            warm.push(play(&browser, channel, index * 2 + 2).await);
            if index == 0 {
                frames_are_decoded(&browser, 1).await;
                pixels_change(&browser, 1).await;
                frames_are_decoded(&browser, 2).await;
                one_stream(&gateway, channel, 2).await;
                click(&browser, "[data-number='1'] [data-testid=tile-close]").await;
                one_stream(&gateway, channel, 1).await;
                // Tile 1 takes the next channel, so the numbers go on from there.
                play(&browser, channel, 1).await;
                one_stream(&gateway, channel, 2).await;
            }
        }
        println!("first picture, cold: {cold:?} ms");
        println!("first picture, warm: {warm:?} ms");

        words_follow_the_language(&browser).await;
        browser.page.goto("about:blank").await.unwrap();
        nobody_watches(&gateway).await;
    })
    .await
    .unwrap_or_else(|_| panic!("not done within {LIMIT:?}"));
}

/// Device and channel.
type Channel = (String, String);

/// Waits until four cameras and a recorder with eight channels are there, all online; gives their channels. The
/// loudspeakers and alarm inputs beside them, and the lower platform with its tree, are not looked at.
async fn demo_channels(browser: &Browser) -> Vec<Channel> {
    until("four cameras and a recorder with eight channels, online", async || {
        let seen = browser
            .run(
                "return [...document.querySelectorAll('#tree [data-testid=device-item]')].map((device) =>
                   [...device.querySelectorAll('[data-testid=channel-item][data-online=true]')]
                     .map((channel) => [channel.dataset.device, channel.dataset.channel])
                     .filter(([, channel]) => channel.slice(10, 13) === '131'));",
                vec![],
            )
            .await;
        let devices: Vec<Vec<Channel>> = serde_json::from_value(seen).unwrap();
        let with = |count: usize| devices.iter().filter(|channels| channels.len() == count).count();
        if with(1) >= 4 && with(8) >= 1 {
            Ok(devices.into_iter().filter(|channels| [1, 8].contains(&channels.len())).flatten().collect())
        } else {
            Err(format!(
                "devices with {:?} channels online",
                devices.iter().map(Vec::len).collect::<Vec<_>>()
            ))
        }
    })
    .await
}

async fn click(browser: &Browser, selector: &str) {
    let element = browser.page.find(Locator::Css(selector)).await.unwrap();
    element.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
}

/// Clicks the channel, waits for the picture in the tile, and gives the milliseconds between the two.
async fn play(browser: &Browser, (device, channel): &Channel, tile: usize) -> u64 {
    click(browser, &format!("[data-number='{tile}']")).await;
    click(browser, &format!("#tree [data-device='{device}'][data-channel='{channel}']")).await;
    until("the first picture", async || {
        let seen = browser
            .run(
                "const tile = document.querySelector(`[data-testid=tile][data-number='${arguments[0]}']`);
                 return { ...tile.dataset, text: tile.innerText };",
                vec![json!(tile)],
            )
            .await;
        assert_ne!(seen["state"], "failed", "tile {tile}: {seen}");
        match seen["firstPictureMs"].as_str() {
            Some(ms) if seen["state"] == "playing" => Ok(ms.parse().unwrap()),
            _ => Err(seen.to_string()),
        }
    })
    .await
}

/// Asserts from the connection's own statistics that picture after picture is decoded.
async fn frames_are_decoded(browser: &Browser, tile: usize) {
    let decoded = async || {
        let frames = browser
            .run(
                "const tile = document.querySelector(`[data-testid=tile][data-number='${arguments[0]}']`);
                 const report = await tile.viewer.peer.getStats();
                 const video = [...report.values()].find((entry) => entry.type === 'inbound-rtp' && entry.kind === 'video');
                 return video?.framesDecoded ?? 0;",
                vec![json!(tile)],
            )
            .await;
        frames.as_u64().unwrap()
    };
    let first = decoded().await;
    until("25 more decoded frames", async || match decoded().await {
        now if now >= first + 25 => Ok(()),
        now => Err(format!("{first}, then {now}")),
    })
    .await;
}

/// Asserts from a canvas that the picture shows something, and something else later.
async fn pixels_change(browser: &Browser, tile: usize) {
    let grab = async || {
        let pixels = browser
            .run(
                "const tile = document.querySelector(`[data-testid=tile][data-number='${arguments[0]}']`);
                 const video = tile.querySelector('[data-testid=tile-video]');
                 await new Promise((frame) => video.requestVideoFrameCallback(frame));
                 const canvas = new OffscreenCanvas(64, 36);
                 const context = canvas.getContext('2d');
                 context.drawImage(video, 0, 0, 64, 36);
                 const { data } = context.getImageData(0, 0, 64, 36);
                 return Array.from({ length: 64 * 36 }, (_, at) => data[at * 4] + data[at * 4 + 1] + data[at * 4 + 2]);",
                vec![json!(tile)],
            )
            .await;
        serde_json::from_value::<Vec<u32>>(pixels).unwrap()
    };
    let first = grab().await;
    let spread = first.iter().max().unwrap() - first.iter().min().unwrap();
    assert!(spread > 100, "the picture is uniform: its brightness differs by {spread} of 765");
    until("a picture that differs", async || {
        let changed = grab().await.iter().zip(&first).filter(|(now, then)| now.abs_diff(**then) > 30).count();
        if changed >= 20 { Ok(()) } else { Err(format!("{changed} of {} points changed", first.len())) }
    })
    .await;
}

/// However many watch, the camera sends one stream.
async fn one_stream(gateway: &Gateway, (device, channel): &Channel, readers: u64) {
    until(&format!("one stream with {readers} readers"), async || {
        let streams = gateway.get("/api/v1/streams").await;
        let items = streams["items"].as_array().unwrap();
        let fits = |stream: &Value| {
            stream["device"] == **device && stream["channel"] == **channel && stream["readers"] == readers
        };
        if items.len() == 1 && fits(&items[0]) { Ok(()) } else { Err(streams.to_string()) }
    })
    .await;
}

/// A page that is left takes its viewers along; the streams themselves may linger for a while.
async fn nobody_watches(gateway: &Gateway) {
    until("no readers", async || {
        let streams = gateway.get("/api/v1/streams").await;
        let idle = streams["items"].as_array().unwrap().iter().all(|stream| stream["readers"] == 0);
        if idle { Ok(()) } else { Err(streams.to_string()) }
    })
    .await;
}

async fn words_follow_the_language(browser: &Browser) {
    let wall = async || {
        let seen = browser.run("return document.getElementById('nav-wall').innerText;", vec![]).await;
        seen.as_str().unwrap().to_owned()
    };
    let before = wall().await;
    click(browser, "[data-testid=language]").await;
    let after = wall().await;
    let mut both = [before.as_str(), after.as_str()];
    both.sort_unstable();
    assert_eq!(both, ["Video wall", "视频墙"]);
}
