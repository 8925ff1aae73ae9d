//! What a device can do that departs from the standard, as data: each [`Rule`] has a stable code, a clause, and a
//! sentence in two languages for the one who has to mend it.
//!
//! Bodies of MANSCDP are judged by [`Message::departures`](super::manscdp::Message::departures); the rules of
//! signalling and media are observed where those are handled.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use rules::Rule;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Longest sample of a departure, in bytes.
pub const MAX_SAMPLE: usize = 200;

/// How much a departure matters.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The gateway works round it; another may not.
    Notice,
    /// Something is lost by it, or will be with many readers.
    Fault,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Notice => "notice",
            Severity::Fault => "fault",
        }
    }
}

/// No rule of that code.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("no rule of conformance has that code")]
pub struct UnknownRule;

impl Rule {
    /// From its code.
    pub fn parse(code: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.code() == code)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(code: &str) -> Result<Rule, UnknownRule> {
        Rule::parse(code).ok_or(UnknownRule)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rule, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Rule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the code of a rule, such as \"sn-missing\"")
            }

            fn visit_str<E: de::Error>(self, code: &str) -> Result<Rule, E> {
                code.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// A rule that something broke, once or more often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Departure {
    pub rule: Rule,
    pub count: u32,
    /// What was seen, the first time: at most [`MAX_SAMPLE`] bytes.
    pub sample: String,
}

/// Departures of one message, one for each rule at most.
#[derive(Clone, Debug, Default)]
pub struct Departures(BTreeMap<Rule, (u32, String)>);

impl Departures {
    /// `sample` is made for the first departure from a rule only.
    pub fn add(&mut self, rule: Rule, sample: impl FnOnce() -> String) {
        let (count, _) = self.0.entry(rule).or_insert_with(|| (0, clip(&sample())));
        *count = count.saturating_add(1);
    }

    pub fn into_vec(self) -> Vec<Departure> {
        let departure = |(rule, (count, sample))| Departure { rule, count, sample };
        self.0.into_iter().map(departure).collect()
    }
}

/// A text as a sample: on one line, without control characters, at most [`MAX_SAMPLE`] bytes.
pub fn clip(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.trim();
    line.get(..line.floor_char_boundary(MAX_SAMPLE)).unwrap_or_default().to_owned()
}
