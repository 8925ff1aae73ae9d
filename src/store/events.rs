//! Events as a Redis stream, for programs that want to read on where they left off.
//!
//! Each event is an entry of one stream with two fields: `event`, its name as in `GET /api/v1/events`, and `data`,
//! the same JSON. The stream keeps about [`KEPT`] entries.
//!
//! Nothing waits for Redis. While it is away up to [`QUEUE`] events are kept for it, and sent when it is back;
//! what comes beyond that is dropped and counted. After a broken connection the last batch is sent again, since
//! nobody knows how much of it arrived: a reader may see an event twice, never out of order.
//!
//! Metrics: `gbgate_event_stream_up` (1 while connected), `gbgate_event_stream_dropped_total`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError, pipe};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Events kept while Redis is away: some 5 MB.
pub const QUEUE: usize = 10_000;
/// Entries that the stream keeps, about.
pub const KEPT: usize = 100_000;

/// Events sent at once.
const BATCH: usize = 128;
/// How long Redis may take to accept a connection, or to answer a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to connect: the first, and the longest after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A URL that names no Redis. The URL itself is not repeated, since it may hold a password.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("events.redis: not the URL of a Redis without TLS; use redis://:PASSWORD@HOST:PORT/DATABASE")]
pub struct BadUrl;

/// The way into the stream. Dropped, it sends nothing more; see [`EventSink::close`].
#[derive(Debug)]
pub struct EventSink {
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Event {
    name: &'static str,
    json: String,
}

impl EventSink {
    /// Begins to send to the stream of that name, inside a tokio runtime. Whether Redis is there shows later.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn start(url: &str, stream: &str) -> Result<EventSink, BadUrl> {
        let client = Client::open(url).map_err(|_| BadUrl)?;
        let (queue, inbox) = mpsc::channel(QUEUE);
        let publisher = Publisher { client, stream: stream.to_owned(), connection: None };
        let task = tokio::spawn(publisher.run(inbox));
        Ok(EventSink { queue, dropped: Arc::default(), task })
    }

    /// Queues an event, or drops and counts it when the queue is full. Never waits.
    pub fn send(&self, name: &'static str, json: String) {
        if self.queue.try_send(Event { name, json }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("gbgate_event_stream_dropped_total").increment(1);
        }
    }

    /// How many events were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends what is queued, for as long as `patience`, and ends.
    pub async fn close(self, patience: Duration) {
        let EventSink { queue, mut task, .. } = self;
        drop(queue);
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            task.abort();
        }
    }
}

struct Publisher {
    client: Client,
    stream: String,
    connection: Option<MultiplexedConnection>,
}

impl Publisher {
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut batch = Vec::with_capacity(BATCH);
        while inbox.recv_many(&mut batch, BATCH).await > 0 {
            let pipeline = self.pipeline(&batch);
            batch.clear();
            self.deliver(pipeline).await;
        }
        metrics::gauge!("gbgate_event_stream_up").set(0.0);
    }

    fn pipeline(&self, batch: &[Event]) -> Pipeline {
        let mut pipeline = pipe();
        for Event { name, json } in batch {
            pipeline.cmd("XADD").arg(&self.stream).arg("MAXLEN").arg("~").arg(KEPT).arg("*");
            pipeline.arg("event").arg(name).arg("data").arg(json).ignore();
        }
        pipeline
    }

    /// Tries until Redis has it.
    async fn deliver(&mut self, pipeline: Pipeline) {
        let mut wait = RETRY.0;
        loop {
            match self.attempt(&pipeline).await {
                Ok(()) => return,
                // Redis understood it and refused (the key is of another type, it is out of memory, ...): to
                // send it again on this connection is as good as on another, so that only the wait is longer.
                Err(error) => {
                    if self.connection.take().is_some() || wait == RETRY.0 {
                        tracing::warn!(error = %error, "the event stream does not reach Redis");
                    }
                    metrics::gauge!("gbgate_event_stream_up").set(0.0);
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    async fn attempt(&mut self, pipeline: &Pipeline) -> Result<(), RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(Some(PATIENCE));
                let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
                tracing::info!(stream = self.stream, "the event stream is connected to Redis");
                connection
            }
        };
        let sent = pipeline.exec_async(&mut connection).await;
        if sent.is_ok() {
            metrics::gauge!("gbgate_event_stream_up").set(1.0);
            self.connection = Some(connection);
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use redis::streams::{StreamReadOptions, StreamReadReply};

    use super::*;

    /// A Redis of this machine's own, on a port of its own.
    struct Server {
        port: u16,
        child: Child,
    }

    impl Server {
        fn start(port: u16) -> Server {
            let child = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"])
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is missing: make deps-test installs it");
            Server { port, child }
        }

        fn url(port: u16) -> String {
            format!("redis://127.0.0.1:{port}/")
        }

        /// The next entries after `last`, at least `count` of them: (id, name, data).
        async fn read(&self, mut last: String, count: usize) -> Vec<(String, String, String)> {
            let client = Client::open(Server::url(self.port)).unwrap();
            let mut connection = loop {
                match client.get_multiplexed_async_connection().await {
                    Ok(connection) => break connection,
                    Err(_) => tokio::task::yield_now().await, // it is starting
                }
            };
            let mut found = Vec::new();
            while found.len() < count {
                let mut read = redis::cmd("XREAD");
                read.arg(StreamReadOptions::default().block(400)).arg("STREAMS").arg("events").arg(&last);
                let reply: Option<StreamReadReply> = read.query_async(&mut connection).await.unwrap();
                for entry in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
                    last.clone_from(&entry.id);
                    found.push((entry.id.clone(), entry.get("event").unwrap(), entry.get("data").unwrap()));
                }
            }
            found
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_reach_redis_and_outlive_its_restart() {
        let port = free_port();
        let server = Server::start(port);
        let sink = EventSink::start(&Server::url(port), "events").unwrap();
        sink.send("alarm", r#"{"n":1}"#.into());
        sink.send("device.online", r#"{"n":2}"#.into());
        let found = server.read("0".into(), 2).await;
        let found: Vec<_> = found.iter().map(|(_, name, data)| (name.as_str(), data.as_str())).collect();
        assert_eq!(found, [("alarm", r#"{"n":1}"#), ("device.online", r#"{"n":2}"#)]);

        drop(server); // killed
        for n in 0..QUEUE + BATCH + 50 {
            sink.send("alarm", n.to_string());
        }
        assert!((50..=50 + BATCH as u64).contains(&sink.dropped()), "{}", sink.dropped());
        let server = Server::start(port);
        let found = server.read("0".into(), QUEUE).await;
        let numbers: Vec<usize> = found.iter().map(|(_, _, data)| data.parse().unwrap()).collect();
        assert!(numbers.iter().enumerate().all(|(at, n)| at == *n), "in order, none lost of those queued");

        let dropped = sink.dropped();
        sink.send("alarm", "the last".into());
        sink.close(Duration::from_secs(30)).await;
        let found = server.read("0".into(), numbers.len() + 1).await;
        assert_eq!((found.last().unwrap().2.as_str(), dropped > 0), ("the last", true));
    }

    #[tokio::test]
    async fn nothing_waits_for_a_redis_that_is_not_there() {
        let sink = EventSink::start(&Server::url(free_port()), "events").unwrap();
        for _ in 0..QUEUE + BATCH + 1 {
            sink.send("alarm", String::new());
        }
        assert!(sink.dropped() > 0);
        sink.close(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_url_is_refused_without_its_password() {
        for url in
            ["http://u:hunter2@host/", "redis://u:hunter2@host:port/", "hunter2", "rediss://:hunter2@host/"]
        {
            let refused = EventSink::start(url, "events").unwrap_err().to_string();
            assert!(refused.starts_with("events.redis: ") && !refused.contains("hunter2"), "{refused}");
        }
    }
}
