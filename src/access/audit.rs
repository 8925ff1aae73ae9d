//! The record of what was done.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::gb::time::UnixMillis;

/// How an action ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "code")]
pub enum Outcome {
    Done,
    /// Not allowed; the code of the [`super::Reason`].
    Denied(String),
    /// Allowed, but it failed; the stable code of the failure.
    Failed(String),
}

/// An action of a person or a program, for the record. It holds no secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When.
    pub at: UnixMillis,
    /// Who: the user, or nothing if it was not known.
    pub who: Option<String>,
    /// From where.
    pub from: IpAddr,
    /// What: `login`, `device.put`, `ptz.move`, ...
    pub what: String,
    /// On what: a device, `device/channel`, a user, ...
    pub target: String,
    pub outcome: Outcome,
}
