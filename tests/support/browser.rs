//! A headless Chromium, driven by chromedriver.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Leashed, until};

/// No sandbox, since tests run as root in containers; nothing that calls home; media on loopback, with
/// real addresses in place of mDNS names.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--window-size=1280,800",
];

/// A browser with a profile of its own. It ends when this is dropped.
pub(crate) struct Browser {
    pub(crate) page: Client,
    // Chromium stays in chromedriver's process group, so it ends with it; only then does its profile go.
    _driver: Leashed,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Browser {
        Browser::start_with(&[]).await
    }

    /// With more flags of the command line.
    pub(crate) async fn start_with(more: &[&str]) -> Browser {
        let mut driver = Leashed::start(Command::new(program(&["chromedriver"])).arg("--port=0"));
        let port = driver.line("port of chromedriver", started_on_port).await;
        let profile = tempfile::tempdir().unwrap();
        let mut flags: Vec<String> = FLAGS.iter().chain(more).map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"]);
        let options = json!({ "args": flags, "binary": chromium });
        let page = ClientBuilder::new(HttpConnector::new())
            .capabilities([("goog:chromeOptions".to_owned(), options)].into_iter().collect())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("Chromium does not start: {error}"));
        Browser { page, _driver: driver, _profile: profile }
    }

    /// Clicks what a selector finds, as soon as it is there and can be clicked.
    pub(crate) async fn click(&self, selector: &str) {
        until(&format!("a click on {selector}"), async || {
            let element = self.page.find(Locator::Css(selector)).await.map_err(|error| error.to_string())?;
            element.click().await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// The value of a script's body, which may await.
    pub(crate) async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        let body = format!(
            "const done = arguments[arguments.length - 1];
             (async () => {{ {script} }})().then(done, (error) => done({{ failed: String(error) }}));"
        );
        let value = self.page.execute_async(&body, arguments).await.unwrap();
        assert!(value.get("failed").is_none(), "in the page: {value}");
        value
    }
}

/// chromedriver says "ChromeDriver was started successfully on port 39127."
fn started_on_port(line: &str) -> Option<u16> {
    line.rsplit_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
}

fn program(names: &[&str]) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).chain([PathBuf::from("/usr/bin")]).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{} is not installed: run `make deps-test`", names[0]))
}
