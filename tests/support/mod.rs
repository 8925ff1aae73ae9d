//! What the integration tests share: the real binary on ports of the system's choice, a browser to look
//! at it with, and waits that end with a condition.
//!
//! Whatever a test starts ends with it, however it ends: see [`Leashed`].

pub(crate) mod browser;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// How long a condition may take to come true. Machines that build and test at once are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of output kept, to be shown when a test fails.
const KEPT_LINES: usize = 200;

/// Runs a program as the leader's child in a process group of its own and waits for the end of standard
/// input: that comes when the guard is dropped, but also when the test is killed. Then the group is told
/// to end, and after ten seconds made to.
const LEASH: &str = r#"
trap : TERM
"$@" </dev/null &
child=$!
exec >/dev/null 2>&1
read _
kill -s TERM -- -$$
(sleep 10; kill -s KILL -- -$$) &
wait $child
kill -s KILL -- -$$
"#;

/// A running program that ends when this is dropped, and everything it started with it.
pub(crate) struct Leashed {
    name: String,
    shell: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Leashed {
    pub(crate) fn start(command: &Command) -> Leashed {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut leash = Command::new("/bin/sh");
        leash.args(["-c", LEASH, "leash"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => leash.env(key, value),
                None => leash.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            leash.current_dir(dir);
        }
        leash.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut shell = leash.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, lines) = mpsc::unbounded_channel();
        let (stdout, stderr) = (shell.stdout.take().unwrap(), shell.stderr.take().unwrap());
        collect(stdout, Arc::clone(&log), Some(sender));
        collect(stderr, Arc::clone(&log), None);
        Leashed { name, stdin: shell.stdin.take(), shell, lines, log }
    }

    /// Waits for a line of standard output that `read` makes something of.
    pub(crate) async fn line<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.lines.recv().await {
                if let Some(found) = read(&line) {
                    return Some(found);
                }
            }
            None
        });
        match found.await {
            Ok(Some(found)) => found,
            Ok(None) => panic!("{} ended before it printed {what}", self.name),
            Err(_) => panic!("{} printed no {what} within {PATIENCE:?}", self.name),
        }
    }
}

fn collect(
    stream: impl std::io::Read + Send + 'static,
    log: Arc<Mutex<VecDeque<String>>>,
    lines: Option<mpsc::UnboundedSender<String>>,
) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            if log.len() == KEPT_LINES {
                log.pop_front();
            }
            log.push_back(line.clone());
            drop(log);
            // The test may have stopped listening; the pipe is read on so that the program does not block.
            if let Some(lines) = &lines {
                let _ = lines.send(line);
            }
        }
    });
}

impl Drop for Leashed {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.shell.wait();
        if thread::panicking()
            && let Ok(log) = self.log.lock()
        {
            eprintln!("--- the last lines of {}", self.name);
            for line in log.iter() {
                eprintln!("{line}");
            }
        }
    }
}

/// The gateway, started from the binary that was just built.
pub(crate) struct Gateway {
    console: String,
    http: reqwest::Client,
    _process: Leashed,
    _data: TempDir,
}

impl Gateway {
    /// `gbgate demo`: simulated devices and all, on ports that the system picks, in a directory that goes.
    pub(crate) async fn demo() -> Gateway {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gbgate"));
        command.arg("demo").current_dir(data.path());
        for key in ["HTTP__LISTEN", "SIP__UDP", "SIP__TCP", "WEBRTC__UDP", "WEBRTC__TCP"] {
            command.env(format!("GBGATE_{key}"), "127.0.0.1:0");
        }
        command.env("GBGATE_MEDIA__PORTS", "0");
        command.env("GBGATE_REGISTRY__URL", format!("embedded:{}", data.path().join("registry").display()));
        let mut process = Leashed::start(&command);
        let console = process.line("address of the console", console_address).await;
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Gateway { console, http, _process: process, _data: data }
    }

    /// The address of the console, ending in a slash.
    pub(crate) fn console(&self) -> &str {
        &self.console
    }

    /// `GET` of a JSON document; `path` begins with a slash.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.console.trim_end_matches('/'));
        let response = self.http.get(&url).send().await.unwrap_or_else(|error| panic!("GET {path}: {error}"));
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "GET {path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {error}: {text}"))
    }
}

/// The address in a line `console: http://127.0.0.1:8080/`, wherever in the line it stands.
fn console_address(line: &str) -> Option<String> {
    let address = line.split_once("console: ")?.1.split_whitespace().next()?;
    address.starts_with("http://").then(|| address.to_owned())
}

/// Asks again and again until the answer is Ok; the last Err says what was seen instead.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {PATIENCE:?} for {what}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
