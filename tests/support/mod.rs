//! What the integration tests share: the real binary on ports of the system's choice, devices, players and a browser
//! to try it with, and waits that end with a condition.
//!
//! Whatever a test starts ends with it, however it ends: see [`Leashed`].

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod browser;
pub(crate) mod facing;
pub(crate) mod film;
pub(crate) mod gateway;
pub(crate) mod happenings;
pub(crate) mod peer;
pub(crate) mod player;
pub(crate) mod probe;
pub(crate) mod sip;
pub(crate) mod tls;
pub(crate) mod wild;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

#[allow(unused_imports, reason = "each test takes what it needs")]
pub(crate) use gateway::Gateway;

/// How long a condition may take to come true. Machines that build and test at once are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of output kept, to be shown when a test fails.
const KEPT_LINES: usize = 200;

/// Runs a program in a process group of its own and ends as it ends. When standard input closes, which it does when
/// the guard is dropped but also when the test is killed, the group is told to end, and after ten seconds made to.
const LEASH: &str = r#"
exec 4<&0
trap : TERM
/bin/sh -c 'echo "leash: $$"; exec "$@"' leash "$@" </dev/null 4<&- &
child=$!
{ trap '' TERM; read _ <&4; kill -s TERM -- -$$; sleep 10; kill -s KILL -- -$$; } >/dev/null 2>&1 &
wait $child; code=$?
while kill -s 0 $child; do wait $child; code=$?; done 2>/dev/null
exit $code
"#;

/// A running program that ends when this is dropped, and everything it started with it.
pub(crate) struct Leashed {
    name: String,
    pid: u32,
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
        let mut stdout = BufReader::new(stdout);
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let pid = first.trim().strip_prefix("leash: ").and_then(|pid| pid.parse().ok());
        let pid = pid.unwrap_or_else(|| panic!("{name} does not start: {first:?}"));
        collect(stdout, Arc::clone(&log), sender.clone());
        collect(BufReader::new(stderr), Arc::clone(&log), sender);
        Leashed { name, pid, stdin: shell.stdin.take(), shell, lines, log }
    }

    /// The process itself, not its leash.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for a line of output that `read` makes something of.
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

    /// Sends a signal to the process, such as `TERM` or `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, &self.pid.to_string());
    }

    /// Whether it runs still.
    pub(crate) fn is_running(&mut self) -> bool {
        self.shell.try_wait().unwrap().is_none()
    }

    /// Waits for it to end by itself, and for all that it printed; gives its exit status. A signal that ended it shows
    /// as 128 and its number.
    pub(crate) async fn ended(&mut self) -> i32 {
        let name = self.name.clone();
        let status = until(&format!("the end of {name}"), async || {
            self.shell.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
        .await;
        let rest = async { while self.lines.recv().await.is_some() {} };
        tokio::time::timeout(PATIENCE, rest).await.unwrap_or_else(|_| panic!("{name} left its output open"));
        status.code().unwrap_or(-1)
    }

    /// The last lines of what it printed.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().unwrap();
        log.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

fn signal(name: &str, target: &str) {
    // The target may be gone, which is as well.
    let _ = Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\"", "kill", name, target])
        .stderr(Stdio::null())
        .status();
}

fn collect(
    stream: impl BufRead + Send + 'static,
    log: Arc<Mutex<VecDeque<String>>>,
    lines: mpsc::UnboundedSender<String>,
) {
    thread::spawn(move || {
        for line in stream.lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            if log.len() == KEPT_LINES {
                log.pop_front();
            }
            log.push_back(line.clone());
            drop(log);
            // The test may have stopped listening; the pipe is read on so that the program does not block.
            let _ = lines.send(line);
        }
    });
}

impl Drop for Leashed {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let group = format!("-{}", self.shell.id());
        let _ = self.shell.wait();
        // What outlived its leader, and the rest of the leash.
        signal("KILL", &group);
        if thread::panicking() {
            eprintln!("--- the last lines of {}\n{}", self.name, self.log());
        }
    }
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
