//! Logs on standard error: standard output belongs to what the commands print.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use thiserror::Error;
use tracing::warn;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged without `RUST_LOG`. The WebRTC crates tell each step of ICE at `info`,
/// and warn of each TLS extension of a browser that they do not know.
const DEFAULT_FILTER: &str = "info,rtc=warn,rtc_dtls=error,rtc_ice=error";

/// How a line of the log looks.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object on each line, for programs.
    Json,
}

/// The text names no format.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("write text or json")]
pub struct BadFormat;

impl FromStr for Format {
    type Err = BadFormat;

    fn from_str(text: &str) -> Result<Format, BadFormat> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(BadFormat),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Text => "text",
            Format::Json => "json",
        })
    }
}

/// Starts the log of this process, filtered by `RUST_LOG`. A filter that cannot be read is told and the usual one
/// taken; a log that is there already stays.
pub fn init(format: Format) {
    let (filter, mistake) = filter(std::env::var("RUST_LOG").ok());
    // A line that cannot be written is lost. To tell of that on the same standard error would be a panic.
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let started = match format {
        Format::Text => log.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        Format::Json => log.json().flatten_event(true).with_current_span(false).finish().try_init(),
    };
    if let (Ok(()), Some(mistake)) = (started, mistake) {
        warn!("{mistake}");
    }
}

/// The filter, and what is wrong with the one that was wanted.
fn filter(wanted: Option<String>) -> (EnvFilter, Option<String>) {
    let usual = || EnvFilter::new(DEFAULT_FILTER);
    match wanted.filter(|wanted| !wanted.trim().is_empty()) {
        None => (usual(), None),
        Some(wanted) => match EnvFilter::try_new(&wanted) {
            Ok(filter) => (filter, None),
            Err(error) => {
                let mistake = format!(
                    "RUST_LOG is `{wanted}`, which is no filter: {error}; write such as info or gbgate=debug"
                );
                (usual(), Some(mistake))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_and_written() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("xml".parse::<Format>(), Err(BadFormat));
    }

    #[test]
    fn filters_are_checked() {
        let read = |wanted: &str| filter(Some(wanted.to_owned()));
        let usual = filter(None).0.to_string();
        assert_eq!(read(" ").0.to_string(), usual);
        assert_eq!(read("gbgate=debug").0.to_string(), "gbgate=debug");
        let (filter, mistake) = read("gbgate=loud");
        assert_eq!(filter.to_string(), usual);
        assert!(mistake.unwrap().starts_with("RUST_LOG is `gbgate=loud`, which is no filter"));
    }
}
