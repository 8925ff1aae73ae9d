//! A small HTTP client that uploads one picture.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an upload may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the answer that are looked at.
const MAX_ANSWER: usize = 256;

/// Posts a JPEG to `url`, with its name behind the path.
pub(super) async fn post(url: &str, file: &str, picture: &[u8]) -> io::Result<()> {
    let (authority, path) = target(url, file).ok_or(io::ErrorKind::InvalidInput)?;
    let upload = async {
        let address = if authority.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: gbgate-simulator\r\nContent-Type: image/jpeg\r\n\
             Content-Disposition: attachment; filename=\"{file}.jpg\"\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            picture.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(picture).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER as u64).read_to_end(&mut answer).await?;
        status(&answer).ok_or_else(|| io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
    };
    tokio::time::timeout(TIMEOUT, upload).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// The host, and the path with the file's name.
fn target<'a>(url: &'a str, file: &str) -> Option<(&'a str, String)> {
    let rest = url.strip_prefix("http://")?;
    if rest.is_empty() || rest.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    Some((authority, format!("{}/{file}.jpg{query}", path.trim_end_matches('/'))))
}

fn status(answer: &[u8]) -> Option<()> {
    let text = String::from_utf8_lossy(answer);
    let code = text.strip_prefix("HTTP/1.")?.split_whitespace().nth(1)?;
    code.starts_with('2').then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_named_behind_the_path() {
        let of = |url| target(url, "f");
        assert_eq!(of("http://192.0.2.1:8080/snap"), Some(("192.0.2.1:8080", "/snap/f.jpg".to_owned())));
        assert_eq!(of("http://host/a/?t=1"), Some(("host", "/a/f.jpg?t=1".to_owned())));
        assert_eq!(of("http://[::1]:80"), Some(("[::1]:80", "/f.jpg".to_owned())));
        assert_eq!(of("https://host/"), None);
        assert_eq!(of("http://host/a b\r\nX: y"), None);
    }

    #[test]
    fn only_success_counts() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(()));
        assert_eq!(status(b"HTTP/1.1 404 Not Found\r\n"), None);
        assert_eq!(status(b""), None);
    }
}
