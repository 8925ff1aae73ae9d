//! What is wrong with a configuration, in words a person can act on.

use std::fmt;

/// One thing that is wrong, or (as a [`Warning`]) that may not be meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// `file:line`, the file, or the variable of the environment.
    pub place: String,
    /// The key with its sections, such as `sip.udp`; empty if it is about the whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// Something that does not keep the gateway from starting.
pub type Warning = Problem;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.advice)
    }
}

/// All that is wrong with a configuration, a line each. Never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Errors(pub Vec<Problem>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
