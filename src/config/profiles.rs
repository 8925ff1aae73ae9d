//! Vendor profiles out of a directory.

use std::fs;
use std::path::Path;

use crate::net::bind::plain;
use crate::registry::Profiles;

/// The built-in profiles, and those of a directory (`*.yaml`) beside them or in place of them.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn profiles(directory: Option<&Path>) -> Result<Profiles, String> {
    let Some(directory) = directory else { return Profiles::built_in().map_err(|bad| bad.to_string()) };
    let unreadable = |path: &Path, error: std::io::Error| format!("{}: {}", path.display(), plain(&error));
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
        let path = entry.map_err(|error| unreadable(directory, error))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            files.push((path.display().to_string(), text));
        }
    }
    // The first that fits a device is used, and the order of a directory is none.
    files.sort();
    Profiles::with(&files).map_err(|bad| bad.to_string())
}
