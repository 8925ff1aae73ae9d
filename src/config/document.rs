//! The YAML document and the environment as one tree, and where in them each value came from.
//!
//! All use of `serde_yaml` outside reading single values is here. It keeps no positions in its tree, so the line
//! of a key is found by walking its parser to that key again: slow, yet exact for every way of writing YAML, and
//! done for errors alone.

use std::collections::BTreeMap;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::problem::Problem;

/// Variables of the environment that set keys begin with this.
const PREFIX: &str = "GBGATE_";

/// What was given: the tree, and the origin of its values.
pub(super) struct Document {
    /// The name of the file as the user gave it.
    file: String,
    text: String,
    /// Keys set by the environment, with the variable's name.
    from_environment: BTreeMap<String, String>,
    /// Variables with our prefix that name no section.
    pub(super) other_variables: Vec<String>,
}

impl Document {
    /// Parses the file's text and lays the environment over it.
    ///
    /// # Errors
    /// Text that is not YAML, or not a mapping at its top.
    pub(super) fn parse(
        file: &str,
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
        sections: &[&str],
    ) -> Result<(Document, Mapping), Problem> {
        let mut tree = parse_tree(file, text)?;
        let mut document = Document {
            file: file.to_owned(),
            text: text.to_owned(),
            from_environment: BTreeMap::new(),
            other_variables: Vec::new(),
        };
        // Sorted, so that the outcome does not depend on the order of the environment.
        let variables: BTreeMap<String, String> = environment.collect();
        for (name, value) in variables {
            let Some(path) = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else { continue };
            let path: Vec<&str> = path.split("__").collect();
            if path.len() == 1 && !sections.contains(&path.concat().as_str()) {
                document.other_variables.push(name);
                continue;
            }
            // An empty variable is how a container says "not set".
            if !value.is_empty() && insert(&mut tree, &path, Value::String(value)) {
                document.from_environment.insert(path.join("."), name);
            }
        }
        Ok((document, tree))
    }

    /// Where the value of `path` was set: a variable, a line of the file, or just the file. The number orders places:
    /// the environment and what is not in the file first.
    pub(super) fn place(&self, path: &str) -> (usize, String) {
        if let Some(name) = self.from_environment.get(path) {
            return (0, name.clone());
        }
        // A key that is absent is told at its section.
        let mut segments: Vec<&str> = path.split('.').collect();
        while !segments.is_empty() {
            if let Some(line) = line_of(&self.text, &segments) {
                return (line, format!("{}:{line}", self.file));
            }
            segments.pop();
        }
        (0, self.file.clone())
    }
}

/// The variable that sets `path`.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"))
}

fn parse_tree(file: &str, text: &str) -> Result<Mapping, Problem> {
    let value = Tree.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
        let place = match error.location() {
            Some(at) => format!("{file}:{}", at.line()),
            None => file.to_owned(),
        };
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default().to_owned();
        Problem { place, key: String::new(), what, advice: "mend the YAML here".to_owned() }
    })?;
    match value {
        Value::Null => Ok(Mapping::new()),
        Value::Mapping(mapping) => Ok(mapping),
        _ => Err(Problem {
            place: format!("{file}:1"),
            key: String::new(),
            what: "the file is not a mapping of keys to values".to_owned(),
            advice: "write sections such as `sip:` with keys below them".to_owned(),
        }),
    }
}

/// Builds the tree. `serde_yaml`'s own way fails on a number of 20 digits, and an id without quotes is one.
struct Tree;

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value without tags")
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok((value as f64).into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok((value as f64).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Tree)? {
            items.push(item);
        }
        Ok(Value::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Mapping::new();
        while let Some(key) = map.next_key_seed(Tree)? {
            if entries.contains_key(&key) {
                let key = serde_yaml::to_string(&key).unwrap_or_default();
                return Err(A::Error::custom(format!("duplicate key `{}`", key.trim())));
            }
            let value = map.next_value_seed(Tree)?;
            entries.insert(key, value);
        }
        Ok(Value::Mapping(entries))
    }
}

/// Sets the value at `path`, making sections on the way. False where the file has a plain value in the way.
fn insert(tree: &mut Mapping, path: &[&str], value: Value) -> bool {
    match path {
        [] => false,
        [last] => {
            tree.insert(Value::from(*last), value);
            true
        }
        [section, rest @ ..] => {
            let entry = tree.entry(Value::from(*section)).or_insert(Value::Null);
            if entry.is_null() {
                *entry = Value::Mapping(Mapping::new());
            }
            entry.as_mapping_mut().is_some_and(|mapping| insert(mapping, rest, value))
        }
    }
}

/// The line of the last key of `path`, counted from 1.
fn line_of(text: &str, path: &[&str]) -> Option<usize> {
    let stopped = Walk { path }.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    // The document has been parsed before, yet `path` may lead through something that is no mapping.
    let at = stopped.location().filter(|_| stopped.to_string().contains(FOUND))?;
    Some(at.line())
}

/// The error that stops a walk at its goal.
const FOUND: &str = "the key is here";

/// Goes through the document to the key at `path`, and fails there: the parser then tells the position.
struct Walk<'a> {
    path: &'a [&'a str],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((wanted, rest)) = self.path.split_first() else { return Ok(()) };
        while let Some(here) = map.next_key_seed(IsKey { wanted, last: rest.is_empty() })? {
            if here {
                map.next_value_seed(Walk { path: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct IsKey<'a> {
    wanted: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        if key == self.wanted && self.last { Err(E::custom(FOUND)) } else { Ok(key == self.wanted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_keys_are_found_in_every_style() {
        let text = "# a comment\nplatform: { id: \"1\",\n  domain: \"2\" }\nsip:\n  udp:\n    - 0.0.0.0:5060\n\n  \"tcp\": x\n  keepalive:\n    interval: 60s\nhttp: {}\n";
        let cases: [(&[&str], Option<usize>); 8] = [
            (&["platform"], Some(2)),
            (&["platform", "id"], Some(2)),
            (&["platform", "domain"], Some(3)),
            (&["sip", "udp"], Some(5)),
            (&["sip", "tcp"], Some(8)),
            (&["sip", "keepalive", "interval"], Some(10)),
            (&["http"], Some(11)),
            (&["http", "listen"], None),
        ];
        for (path, line) in cases {
            assert_eq!(line_of(text, path), line, "{path:?}");
        }
    }
}
