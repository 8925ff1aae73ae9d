//! The rooms of the house: a module imports lower floors only, and the pure floors touch no I/O.

#![allow(clippy::unwrap_used)] // A test that cannot read the sources has failed.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room with its floor. ARCHITECTURE.md has the same table.
const ROOMS: [(&str, u8); 20] = [
    ("gb", 0),
    ("sip", 0),
    ("media", 0),
    ("registry", 1),
    ("stream", 1),
    ("access", 1),
    ("device", 2),
    ("call", 2),
    ("net", 4),
    ("store", 4),
    ("egress", 5),
    ("telemetry", 5),
    ("node", 6),
    ("api", 7),
    ("console", 7),
    ("app", 8),
    ("config", 8),
    ("cli", 8),
    ("inspect", 8),
    ("simulator", 8),
];

/// The highest pure floor.
const PURE: u8 = 3;

/// What a pure room may not contain: I/O, clocks, tasks, logs.
const IMPURE: [&str; 14] = [
    "tokio::",
    "async fn",
    ".await",
    "Instant::now",
    "SystemTime::now",
    "tracing::",
    "std::thread",
    "std::fs",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "metrics::",
    "println!",
    "rand::rng",
];

fn floor(room: &str) -> Option<u8> {
    ROOMS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The lines of a file that are part of the product: no comments, and nothing from its tests on.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("mod tests {"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}

/// Whether a line has a word that does not go on: `.await`, but not `.awaited`.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let next = line[at + word.len()..].chars().next();
        word.ends_with("::") || !next.is_some_and(|next| next.is_ascii_alphanumeric() || next == '_')
    })
}

fn rooms() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files
        .into_iter()
        .filter(|file| !file.components().any(|part| part.as_os_str() == "tests"))
        .filter(|file| !file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests")))
        .filter_map(|file| {
            let inside = file.strip_prefix(&root).unwrap();
            let room = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
            (inside.components().count() > 1).then_some((room, file))
        })
        .collect()
}

#[test]
fn every_module_has_a_floor() {
    for (room, file) in rooms() {
        assert!(floor(&room).is_some(), "{} belongs to no room", file.display());
    }
}

#[test]
fn imports_go_down() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (room, file) in rooms() {
        // Wiring may use its neighbours: it is where everything meets.
        if floor(&room) == Some(8) {
            continue;
        }
        for (number, line) in code(&file) {
            for (at, _) in line.match_indices("crate::") {
                let used: String =
                    line[at + 7..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                checked += 1;
                let down = match (floor(&room), floor(&used)) {
                    (Some(own), Some(other)) => other < own || used == room,
                    _ => false,
                };
                if !down {
                    wrong.push(format!("{}:{number}: {room} may not use {used}", file.display()));
                }
            }
        }
    }
    assert!(checked > 50, "the search found only {checked} imports: it is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_touch_no_io() {
    let mut wrong = Vec::new();
    for (room, file) in rooms() {
        if floor(&room).is_none_or(|floor| floor > PURE) {
            continue;
        }
        for (number, line) in code(&file) {
            for word in IMPURE.iter().filter(|word| has_word(&line, word)) {
                wrong.push(format!("{}:{number}: {room} is pure, but has {word}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
