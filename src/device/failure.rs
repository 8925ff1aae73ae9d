//! Why an operation on a device failed: at which step, in words, and what to check.

use crate::gb::manscdp::Edition;

/// Why an operation on a device failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No such device, or it was removed meanwhile.
    NotFound,
    /// The device cannot be reached now, or it went offline before it answered.
    Offline,
    /// The device did not even acknowledge the request: no answer of SIP came.
    NotAcknowledged,
    /// The device acknowledged the request and then did not answer it in time.
    NoAnswer,
    /// The device refused with a SIP status code.
    Refused(u16),
    /// The device answered with `Result` ERROR; its `Reason`, where it gives one.
    Failed(Option<String>),
    /// Too many wait for the same already.
    Busy,
    /// The edition that the device told of does not have it.
    Unsupported {
        /// The edition that introduced it.
        needs: Edition,
        /// The device's.
        has: Edition,
    },
    /// What was asked for is not valid: which field, and why.
    Invalid(String),
    /// The registry did not keep what was to be kept.
    NotKept,
}

impl Failure {
    /// The stable code, as in problem documents.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::NotFound => "not_found",
            Failure::Offline => "device_offline",
            Failure::NotAcknowledged => "not_acknowledged",
            Failure::NoAnswer => "no_answer",
            Failure::Refused(_) => "refused",
            Failure::Failed(_) => "failed",
            Failure::Busy => "busy",
            Failure::Unsupported { .. } => "unsupported",
            Failure::Invalid(_) => "bad_value",
            Failure::NotKept => "not_kept",
        }
    }

    /// The step at which it stopped.
    pub fn step(&self) -> &'static str {
        match self {
            Failure::NotFound => "lookup",
            Failure::Offline => "registration",
            Failure::NotAcknowledged | Failure::Refused(_) => "request",
            Failure::NoAnswer => "answer",
            Failure::Failed(_) => "device",
            Failure::Busy => "queue",
            Failure::Unsupported { .. } | Failure::Invalid(_) => "validation",
            Failure::NotKept => "registry",
        }
    }

    /// One sentence for a person.
    pub fn detail(&self) -> String {
        match self {
            Failure::NotFound => "no such device".to_owned(),
            Failure::Offline => "the device is offline".to_owned(),
            Failure::NotAcknowledged => "the device did not acknowledge the request".to_owned(),
            Failure::NoAnswer => {
                "the device acknowledged the request and did not answer it in time".to_owned()
            }
            Failure::Refused(code) => format!("the device answered the request with {code}"),
            Failure::Failed(None) => "the device answered ERROR".to_owned(),
            Failure::Failed(Some(reason)) => format!("the device answered ERROR: {reason}"),
            Failure::Busy => "too many wait for this already".to_owned(),
            Failure::Unsupported { needs, has } => {
                format!(
                    "this needs the edition of {}, and the device has that of {}",
                    needs.year(),
                    has.year()
                )
            }
            Failure::Invalid(why) => why.clone(),
            Failure::NotKept => "the registry could not keep it".to_owned(),
        }
    }

    /// What to check.
    pub fn hint(&self) -> &'static str {
        match self {
            Failure::NotFound => "Check the id; a device appears once it has registered or was added.",
            Failure::Offline => {
                "Check power and network of the device, and that its keepalives reach this gateway."
            }
            Failure::NotAcknowledged => {
                "The request or its answer is lost on the way: check NAT and firewall between here and the device, \
                 or let it register over TCP."
            }
            Failure::NoAnswer => {
                "The device acknowledges but sends no answer, or its answer is lost: try TCP for SIP, since large \
                 answers over UDP are fragmented."
            }
            Failure::Refused(_) => "Look up the status code in the device's log.",
            Failure::Failed(_) => {
                "The device understood and would not: check that it has this function and that it is idle."
            }
            Failure::Busy => "Wait for the operation that runs, then ask again.",
            Failure::Unsupported { .. } => {
                "If the device has it all the same, set its edition in the device's settings."
            }
            Failure::Invalid(_) => "Correct the value and ask again.",
            Failure::NotKept => "Check the disk or the database behind the registry; see the log.",
        }
    }
}
