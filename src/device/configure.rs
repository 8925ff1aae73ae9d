//! Configuration (clauses 9.3.1 and 9.5.1): checked, set, and read back, since many devices answer OK to what they do
//! not know.

use serde_json::Value;

use super::ask::{Owner, What};
use super::{Configured, Devices, Failure, Ignored, Outcome, Waiter};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::manscdp::config::{self, ConfigKind};
use crate::gb::manscdp::{Answer, Edition, Query};
use crate::gb::time::Now;
use crate::registry::profile::ConfigTarget;

/// A configuration that was set and is read back.
#[derive(Debug)]
pub(super) struct ReadBack {
    waiter: Waiter,
    wanted: Vec<(ConfigKind, Value)>,
    /// Whether the device said that it took it.
    confirmed: bool,
}

impl Devices {
    pub(super) fn configure(
        &mut self,
        now: Now,
        waiter: Waiter,
        device: Id,
        target: Id,
        values: Vec<(ConfigKind, Value)>,
    ) -> Result<(), Failure> {
        let invalid = |why: String| Err(Failure::Invalid(why));
        if values.is_empty() {
            return invalid("nothing to configure".to_owned());
        }
        if let Some((kind, _)) = values.iter().find(|(kind, _)| !kind.writable()) {
            return invalid(format!("{kind} can be read only"));
        }
        let needs = values.iter().map(|(kind, _)| kind.since()).max().unwrap_or(Edition::E2014);
        self.has_edition(&device, needs)?;
        let target = self.config_target(device, target, values.iter().map(|(kind, _)| *kind));
        // The number is not known yet: this is for the check alone.
        let style = self.style(&device);
        if let Err(bad) = config::configure(1, &target, &values, &style) {
            return invalid(bad.to_string());
        }
        let sections = values.clone();
        let what = What::Configure(values);
        self.begin_ask(now, device, target, what, Owner::Waiter(waiter), |sn, style| {
            config::configure(sn, &target, &sections, style).unwrap_or_default()
        })
    }

    /// Whom a configuration is sent to: the parameters of a whole device are refused by some for a channel.
    fn config_target(&self, device: Id, target: Id, mut kinds: impl Iterator<Item = ConfigKind>) -> Id {
        let basic = kinds.all(|kind| kind == ConfigKind::BasicParam);
        if basic && self.manners(&device).config_target == ConfigTarget::Device { device } else { target }
    }

    /// Reads back what a device was told.
    pub(super) fn verify(
        &mut self,
        now: Now,
        device: Id,
        target: Id,
        wanted: Vec<(ConfigKind, Value)>,
        waiter: Waiter,
        confirmed: bool,
    ) {
        let kinds: Vec<ConfigKind> =
            wanted.iter().map(|(kind, _)| *kind).filter(|kind| kind.kept()).collect();
        let begun = if kinds.is_empty() {
            Err(Failure::NoAnswer)
        } else {
            let owner = Owner::ReadBack(Box::new(ReadBack { waiter, wanted, confirmed }));
            self.ask_query(now, device, target, Query::Config(kinds), owner)
        };
        if let Err(failure) = begun {
            self.tell(waiter, unverified(confirmed, failure));
        }
    }

    /// What was read back.
    pub(super) fn read_back(
        &mut self,
        now: Now,
        device: Id,
        read_back: ReadBack,
        outcome: Result<Outcome, Failure>,
    ) {
        let ReadBack { waiter, wanted, confirmed } = read_back;
        let has = match outcome {
            Ok(Outcome::Answer(Answer::Config(config))) => config.sections,
            Ok(_) => return self.tell(waiter, unverified(confirmed, Failure::NoAnswer)),
            Err(failure) => return self.tell(waiter, unverified(confirmed, failure)),
        };
        let mut ignored = Vec::new();
        for (kind, wanted) in &wanted {
            let null = Value::Null;
            let has = has.get(kind).unwrap_or(&null);
            let fields = if has.is_null() && kind.kept() {
                vec![String::new()]
            } else {
                config::differences(*kind, wanted, has)
            };
            for path in fields {
                let field = path.strip_prefix(kind.as_str()).unwrap_or(&path).trim_start_matches('.');
                let (wanted, has) = (at(wanted, field), at(has, field));
                ignored.push(Ignored { kind: *kind, field: field.to_owned(), wanted, has });
            }
        }
        if confirmed && let Some(first) = ignored.first() {
            let Ignored { kind, field, wanted, has } = first;
            let sample = format!("{kind} {field}: told {wanted}, has {has}");
            self.observe(now, &device, Rule::ConfigIgnored, &sample);
        }
        self.tell(waiter, Ok(Outcome::Configured(Configured { verified: true, ignored })));
    }
}

/// The outcome where nothing could be read back.
fn unverified(confirmed: bool, failure: Failure) -> Result<Outcome, Failure> {
    match confirmed {
        true => Ok(Outcome::Configured(Configured::default())),
        false => Err(failure),
    }
}

/// The value at a path such as `region_list[0].point`; null if there is none.
fn at(value: &Value, path: &str) -> Value {
    let mut here = value;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (name, indices) = step.split_once('[').map_or((step, ""), |(name, rest)| (name, rest));
        if !name.is_empty() {
            here = here.get(name).unwrap_or(&Value::Null);
        }
        for index in indices.split('[').filter(|index| !index.is_empty()) {
            let index = index.trim_end_matches(']').parse::<usize>().ok();
            here = index.and_then(|index| here.get(index)).unwrap_or(&Value::Null);
        }
    }
    here.clone()
}
