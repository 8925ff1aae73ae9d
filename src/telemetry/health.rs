//! Whether this node can do its work: named checks, each set by the part that knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

/// What every node needs. Each fails until it is set for the first time.
const NEEDED: [&str; 3] = ["media", "registry", "sip"];

/// The checks of one node. Cheap to clone; clones share the checks. Ready when all are.
#[derive(Clone, Debug)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>,
}

/// What `/readyz` answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Whether all checks are ready.
    pub ready: bool,
    /// All checks by name.
    pub checks: Vec<Check>,
}

/// One check in a [`Report`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Check {
    /// Such as `registry`.
    pub name: &'static str,
    /// `ready` or `failing`.
    pub state: &'static str,
    /// Why it fails.
    pub message: Option<String>,
}

impl Default for Health {
    fn default() -> Health {
        let starting = |name| (name, Err("starting".to_owned()));
        Health { checks: Arc::new(Mutex::new(NEEDED.map(starting).into())) }
    }
}

impl Health {
    /// Sets the check `name`: it works, or why not.
    pub fn set(&self, name: &'static str, state: Result<(), String>) {
        self.checks.lock().insert(name, state);
    }

    /// Whether all checks are ready.
    pub fn is_ready(&self) -> bool {
        self.checks.lock().values().all(Result::is_ok)
    }

    /// How all checks stand.
    pub fn report(&self) -> Report {
        let check = |(name, state): (&&'static str, &Result<(), String>)| Check {
            name,
            state: if state.is_ok() { "ready" } else { "failing" },
            message: state.as_ref().err().cloned(),
        };
        let checks: Vec<Check> = self.checks.lock().iter().map(check).collect();
        Report { ready: checks.iter().all(|check| check.message.is_none()), checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_all_are() {
        let health = Health::default();
        assert!(!health.is_ready());
        health.set("registry", Ok(()));
        health.set("sip", Ok(()));
        assert!(!health.report().ready);
        health.set("media", Ok(()));
        assert!(health.is_ready());
        health.set("registry", Err("the disk is full".to_owned()));
        let report = serde_json::to_value(health.report()).unwrap();
        assert_eq!(report["ready"], false);
        assert_eq!(
            report["checks"][1],
            serde_json::json!({"name": "registry", "state": "failing", "message": "the disk is full"})
        );
        assert_eq!(report["checks"][0]["message"], serde_json::Value::Null);
    }
}
