//! Recordings on their way to a file, and the files.

use std::io::SeekFrom;

use axum::Json;
use axum::body::Body as Content;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::ask;
use super::devices::page;
use super::extract::{Body, Segments};
use super::playback::{Asked, Wanted};
use super::problem::Problem;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::node::DownloadReport;

/// What is read of a file at once.
const PIECE: usize = 64 * 1024;

fn download_json(api: &Api, report: &DownloadReport) -> Value {
    let time = |at: crate::gb::time::UnixMillis| at.to_rfc3339(api.info.offset);
    json!({
        "id": report.id,
        "device": report.device,
        "channel": report.channel,
        "name": api.node.index().channel(&report.device, &report.channel).map(|state| state.channel.name),
        "start": time(report.start),
        "end": time(report.end),
        "state": report.state,
        "progress": report.progress,
        "bytes": report.bytes,
        "bytes_per_second": report.bytes_per_second,
        "error": report.error.as_ref().map(|(code, detail)| json!({ "code": code, "detail": detail })),
        "file_name": report.file_name,
        "file": format!("/api/v1/downloads/{}/file", report.id),
    })
}

pub(super) async fn start(
    State(api): State<Api>,
    who: Who,
    Body(wanted): Body<Wanted>,
) -> Result<impl IntoResponse> {
    let (Asked { start, end, speed }, deed) = wanted.check(&api, "download")?;
    let Wanted { device, channel, .. } = wanted;
    let report = who
        .does(&api, deed, async {
            ask::known(&api, &device, &channel)?;
            Ok(api.node.download(device, channel, start, end, speed).await?)
        })
        .await?;
    let location = format!("/api/v1/downloads/{}", report.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(download_json(&api, &report))))
}

pub(super) async fn list(State(api): State<Api>) -> Json<Value> {
    let reports = api.node.downloads();
    let items: Vec<Value> = reports.iter().map(|report| download_json(&api, report)).collect();
    let total = items.len() as u64;
    page(items, None, total)
}

pub(super) async fn show(State(api): State<Api>, Segments(id): Segments<String>) -> Result<Json<Value>> {
    Ok(Json(download_json(&api, &find(&api, &id)?)))
}

pub(super) async fn remove(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
) -> Result<StatusCode> {
    let report = find(&api, &id)?;
    let deed = Deed::new("download.remove").at(report.device, report.channel);
    who.does(&api, deed, async {
        if api.node.remove_download(&id).await { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&id)) }
    })
    .await
}

/// The file, or a range of it, once it is finished.
pub(super) async fn file(
    State(api): State<Api>,
    who: Who,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let report = find(&api, &id)?;
    let path = api.node.download_file(&id).ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "not_finished",
            "download",
            "the download has not finished",
            "Ask for the file once `state` is `finished`.",
        )
    })?;
    let deed = Deed::new("download.file").at(report.device, report.channel).saying(report.file_name.clone());
    who.does(&api, deed, async {
        let gone = |_| Problem::not_found("the file of this download is gone");
        let mut file = File::open(path).await.map_err(gone)?;
        let size = file.metadata().await.map_err(gone)?.len();
        let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        let (status, from, to) = match wanted.and_then(|text| range(text, size)) {
            None => (StatusCode::OK, 0, size),
            Some(Some((from, to))) => (StatusCode::PARTIAL_CONTENT, from, to),
            Some(None) => return Err(no_such_range(size)),
        };
        file.seek(SeekFrom::Start(from)).await.map_err(gone)?;
        let mut response = (status, Content::from_stream(pieces(file, to - from))).into_response();
        let headers = response.headers_mut();
        let text = |text: String| HeaderValue::from_str(&text).ok();
        let name: String =
            report.file_name.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).collect();
        for (name, value) in [
            (header::CONTENT_TYPE, Some(HeaderValue::from_static("video/mp4"))),
            (header::ACCEPT_RANGES, Some(HeaderValue::from_static("bytes"))),
            (header::CONTENT_LENGTH, text((to - from).to_string())),
            (header::CONTENT_DISPOSITION, text(format!("attachment; filename=\"{name}\""))),
        ] {
            value.and_then(|value| headers.insert(name, value));
        }
        if let (StatusCode::PARTIAL_CONTENT, Some(value)) =
            (status, text(format!("bytes {from}-{}/{size}", to - 1)))
        {
            headers.insert(header::CONTENT_RANGE, value);
        }
        Ok(response)
    })
    .await
}

/// The first range of a Range header (RFC 9110 14.2), from and up to; the whole file where it has another unit or
/// cannot be read, `Some(None)` where it lies beyond the file.
#[allow(clippy::option_option, reason = "no range, one that cannot be, and one that can")]
fn range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let ranges = text.trim().strip_prefix("bytes=")?;
    // Several ranges would be answered in parts; the whole file is as right an answer.
    if ranges.contains(',') {
        return None;
    }
    let (first, last) = ranges.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (from, to) = if first.trim().is_empty() {
        (size.saturating_sub(number(last)?), size)
    } else if last.trim().is_empty() {
        (number(first)?, size)
    } else {
        (number(first)?, number(last)?.saturating_add(1).min(size))
    };
    Some(Some((from, to)).filter(|_| from < to))
}

fn no_such_range(size: u64) -> Problem {
    Problem::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "bad_range",
        "request",
        format!("the file has {size} bytes"),
        "Ask for a range within the file.",
    )
    .with_header(header::CONTENT_RANGE, format!("bytes */{size}"))
}

fn pieces(file: File, size: u64) -> impl stream::Stream<Item = std::io::Result<Vec<u8>>> {
    stream::try_unfold((file, size), |(mut file, left)| async move {
        let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        if wanted == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; wanted];
        file.read_exact(&mut piece).await?;
        Ok(Some((piece, (file, left - wanted as u64))))
    })
}

fn find(api: &Api, id: &str) -> Result<DownloadReport> {
    api.node.download_report(id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("no download {id}"))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_of_a_file() {
        assert_eq!(range("bytes=0-9", 100), Some(Some((0, 10))));
        assert_eq!(range("bytes=90-", 100), Some(Some((90, 100))));
        assert_eq!(range("bytes=-10", 100), Some(Some((90, 100))));
        assert_eq!(range("bytes=-1000", 100), Some(Some((0, 100))));
        assert_eq!(range("bytes=50-1000", 100), Some(Some((50, 100))));
        assert_eq!(range("bytes=100-", 100), Some(None));
        assert_eq!(range("bytes=9-8", 100), Some(None));
        assert_eq!(range("bytes=-0", 100), Some(None));
        assert_eq!(range("bytes=0-1,5-6", 100), None);
        assert_eq!(range("lines=0-1", 100), None);
        assert_eq!(range("bytes=a-b", 100), None);
    }
}
