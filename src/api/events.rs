//! What happens, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event as Sent, KeepAlive};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::Api;

/// A comment this often keeps proxies from closing a silent stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follows everything that happens from now on. A watcher that is too slow gets a `lost` event with the number of
/// events that it missed, and should fetch the lists again.
pub(super) async fn follow(
    State(api): State<Api>,
) -> Sse<impl futures_core::Stream<Item = Result<Sent, Infallible>>> {
    let events = api.node.events();
    let (stop, offset) = (api.stop, api.info.offset);
    let stream = futures_util::stream::unfold((events, stop), move |(mut events, stop)| async move {
        let next = tokio::select! {
            next = events.recv() => next,
            () = stop.cancelled() => Err(RecvError::Closed),
        };
        let sent = match next {
            Ok(event) => Sent::default().event(event.name()).json_data(event.to_json(offset)),
            Err(RecvError::Lagged(count)) => {
                Sent::default().event("lost").json_data(json!({ "count": count }))
            }
            Err(RecvError::Closed) => return None,
        };
        // Our own events always serialise; should one not, a comment stands in its place.
        let sent = sent.unwrap_or_else(|_| Sent::default().comment("unprintable"));
        Some((Ok(sent), (events, stop)))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
