//! Takes values out of the tree key by key, and collects all that is wrong on the way.

use std::collections::BTreeSet;

use serde_yaml::{Mapping, Value};

use super::document::{Document, variable};
use super::problem::{Problem, Warning};
use super::setting::{Bad, Setting};

/// Something to tell about a key; its place is found at the end.
struct Finding {
    key: String,
    what: String,
    advice: String,
}

/// What has been found so far.
#[derive(Default)]
pub(super) struct Report {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    /// Every key that was asked for.
    known: BTreeSet<String>,
    /// Keys that were given and that nobody asked for.
    unknown: Vec<String>,
    given: BTreeSet<String>,
}

impl Report {
    pub(super) fn error(&mut self, key: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.errors.push(Finding { key: key.to_owned(), what: what.into(), advice: advice.into() });
    }

    pub(super) fn warn(&mut self, key: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.warnings.push(Finding { key: key.to_owned(), what: what.into(), advice: advice.into() });
    }

    /// Whether the file or the environment set this key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains(key)
    }

    /// Errors and warnings with their places.
    pub(super) fn finish(mut self, document: &Document) -> (Vec<Problem>, Vec<Warning>) {
        for key in std::mem::take(&mut self.unknown) {
            let advice = self.nearest(&key);
            self.error(&key, "unknown key", advice);
        }
        for name in &document.other_variables {
            if let Some(key) = self.known.iter().find(|key| variable(key).replace("__", "_") == *name) {
                let what = format!("the variable {name} sets nothing");
                let finding = Finding { key: key.clone(), what, advice: format!("write {}", variable(key)) };
                self.warnings.push(finding);
            }
        }
        (place(self.errors, document), place(self.warnings, document))
    }

    /// Advice for an unknown key: the sibling that looks like it, else the same name in another section, else what
    /// there is.
    fn nearest(&self, key: &str) -> String {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let siblings: Vec<&str> = self
            .known
            .iter()
            .filter_map(|known| match known.rsplit_once('.') {
                Some((parent, leaf)) if parent == section => Some(leaf),
                None if section.is_empty() => Some(known.as_str()),
                _ => None,
            })
            .collect();
        if let Some(near) = nearest(name, siblings.iter().copied()) {
            let near = if section.is_empty() { near.to_owned() } else { format!("{section}.{near}") };
            return format!("did you mean `{near}`?");
        }
        let elsewhere: Vec<&str> = self
            .known
            .iter()
            .filter(|known| known.rsplit('.').next() == Some(name))
            .map(String::as_str)
            .collect();
        if !elsewhere.is_empty() {
            return format!("did you mean `{}`?", elsewhere.join("` or `"));
        }
        format!("known here: {}", siblings.join(", "))
    }
}

/// The findings with their places, in the order of the file.
fn place(findings: Vec<Finding>, document: &Document) -> Vec<Problem> {
    let mut placed: Vec<(usize, Problem)> = findings
        .into_iter()
        .map(|Finding { key, what, advice }| {
            let (order, place) = document.place(&key);
            (order, Problem { place, key, what, advice })
        })
        .collect();
    placed.sort_by_key(|(order, _)| *order);
    placed.into_iter().map(|(_, problem)| problem).collect()
}

/// The candidate that a typing mistake could have turned into `name`.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + name.chars().count() / 4;
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, candidate)| candidate)
}

/// One mapping of the tree. Keys are taken out of it; what stays is unknown.
pub(super) struct Section<'r> {
    path: String,
    entries: Mapping,
    report: &'r mut Report,
}

impl<'r> Section<'r> {
    /// The top of the tree.
    pub(super) fn root(entries: Mapping, report: &'r mut Report) -> Section<'r> {
        Section { path: String::new(), entries, report }
    }

    /// The value of `key`, or `default` if it is absent or wrong.
    pub(super) fn value<T: Setting>(&mut self, key: &str, default: T) -> T {
        let (path, value) = self.take(key);
        let Some(value) = value else { return default };
        match T::read(&value) {
            Ok(value) => value,
            Err(Bad { what, advice }) => {
                self.report.error(&path, what, advice);
                default
            }
        }
    }

    /// The section `key`, read by `read`; an absent one is empty.
    pub(super) fn section<R>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> R) -> R {
        let (path, value) = self.take(key);
        let entries = self.mapping(&path, value).unwrap_or_default();
        self.enter(path, entries, read)
    }

    /// As [`Section::section`], for a section that may be absent or `null`.
    pub(super) fn optional<R>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> R) -> Option<R> {
        let (path, value) = self.take(key);
        match self.mapping(&path, value) {
            Some(entries) => Some(self.enter(path, entries, read)),
            None => {
                // Read an empty one all the same, for its keys to be known.
                let mut report = Report::default();
                let mut section = Section { path, entries: Mapping::new(), report: &mut report };
                let _ = read(&mut section);
                self.report.known.append(&mut report.known);
                None
            }
        }
    }

    /// Ends the reading: what was not taken is unknown.
    pub(super) fn finish(self) {
        for key in self.entries.keys() {
            let name = match key {
                Value::String(name) => name.clone(),
                other => serde_yaml::to_string(other).unwrap_or_default().trim().to_owned(),
            };
            self.report.unknown.push(join(&self.path, &name));
        }
    }

    /// Tells about a key of this section.
    pub(super) fn error(&mut self, key: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.report.error(&join(&self.path, key), what, advice);
    }

    /// Takes the raw value of `key`.
    pub(super) fn take(&mut self, key: &str) -> (String, Option<Value>) {
        let path = join(&self.path, key);
        self.report.known.insert(path.clone());
        let value = self.entries.remove(key);
        if value.is_some() {
            self.report.given.insert(path.clone());
        }
        (path, value)
    }

    fn mapping(&mut self, path: &str, value: Option<Value>) -> Option<Mapping> {
        match value.map(from_text)? {
            Value::Null => None,
            Value::Mapping(mapping) => Some(mapping),
            _ => {
                self.report.error(path, "must be a section", "write keys below it, or `{}`");
                None
            }
        }
    }

    fn enter<R>(&mut self, path: String, entries: Mapping, read: impl FnOnce(&mut Section<'_>) -> R) -> R {
        let mut section = Section { path, entries, report: self.report };
        let result = read(&mut section);
        section.finish();
        result
    }
}

/// A list or mapping written as text, as in a variable of the environment, becomes what it says.
pub(super) fn from_text(value: Value) -> Value {
    match &value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) || text == "null" => {
            serde_yaml::from_str(text).unwrap_or(value)
        }
        _ => value,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
