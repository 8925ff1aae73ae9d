//! What programs that share no code with the gateway say of a file.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What ffprobe says of a file; it may not complain of anything.
pub(crate) fn probe(path: &Path) -> Value {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "warning", "-of", "json", "-show_format", "-show_streams"]).arg(path);
    serde_json::from_str(&run(&mut command)).unwrap()
}

/// The first stream of this kind in what ffprobe says.
pub(crate) fn stream<'a>(found: &'a Value, kind: &str) -> &'a Value {
    let streams = found["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["codec_type"] == kind).unwrap_or_else(|| panic!("no {kind}: {found}"))
}

/// Decodes all pictures of a file, and gives how many there are; ffmpeg may not complain of anything.
pub(crate) fn decode(path: &Path) -> u64 {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "warning", "-of", "csv=p=0", "-count_frames", "-select_streams", "v:0"]);
    command.args(["-show_entries", "stream=nb_read_frames"]).arg(path);
    let text = run(&mut command);
    text.trim().trim_end_matches(',').parse().unwrap_or_else(|_| panic!("no number of pictures: {text:?}"))
}

fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{error}: run `make deps-test`"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && errors.trim().is_empty(), "{command:?}: {errors}");
    String::from_utf8(done.stdout).unwrap()
}
