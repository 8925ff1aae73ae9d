//! What the gateway tells of over server-sent events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::gateway::Gateway;
use super::until;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// All events from now on. It stops listening when it is dropped.
pub(crate) struct Happenings {
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    task: JoinHandle<()>,
}

impl Happenings {
    pub(crate) async fn follow(gateway: &Gateway) -> Happenings {
        let response = gateway.request(Method::GET, "/api/v1/events").timeout(LONG).send().await.unwrap();
        assert!(response.status().is_success(), "{response:?}");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let (mut bytes, mut text) = (response.bytes_stream(), String::new());
            while let Some(Ok(piece)) = bytes.next().await {
                text.push_str(&String::from_utf8_lossy(&piece));
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                    if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                        let data = serde_json::from_str(data).unwrap();
                        kept.lock().unwrap().push((name.to_owned(), data));
                    }
                    text = rest.to_owned();
                }
            }
        });
        Happenings { seen, task }
    }

    /// Waits for an event of this name that fits; gives its data.
    pub(crate) async fn find(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(&format!("the event {name}"), async || {
            let seen = self.seen.lock().unwrap();
            let found = seen.iter().find(|(own, data)| own == name && fits(data));
            found.map(|(_, data)| data.clone()).ok_or_else(|| format!("{seen:?}"))
        })
        .await
    }
}

impl Drop for Happenings {
    fn drop(&mut self) {
        self.task.abort();
    }
}
