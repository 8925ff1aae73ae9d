//! Identifiers of what happened: unique among the shards of a node, in the order of time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::gb::time::UnixMillis;

/// Bits below the time: 6 for the shard, 16 to count within a millisecond.
const BELOW_TIME: u32 = 22;
const COUNTER: u64 = 0xffff;

/// Gives out stamps: milliseconds since 1970, the shard, and a count, in one number.
///
/// Each is larger than the one before, even where the clock is set back.
#[derive(Clone, Debug)]
pub struct Stamps {
    shard: u64,
    /// The last one without its shard: milliseconds << 16 | count.
    last: u64,
}

impl Stamps {
    /// `shard` tells apart those who give out stamps at the same time: 0 to 63.
    pub fn new(shard: u8) -> Stamps {
        Stamps { shard: u64::from(shard & 0x3f), last: 0 }
    }

    /// The next stamp, for [`AlarmId`] or [`AuditId`].
    pub fn next(&mut self, now: UnixMillis) -> u64 {
        let now = u64::try_from(now.0).unwrap_or(0) << 16;
        self.last = now.max(self.last + 1);
        (self.last >> 16) << BELOW_TIME | self.shard << 16 | self.last & COUNTER
    }
}

/// A text that is no identifier of an alarm or an audit record.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an identifier of 16 hexadecimal digits")]
pub struct BadStamp;

fn parse(text: &str) -> Result<u64, BadStamp> {
    let hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| hex).ok_or(BadStamp)
}

macro_rules! stamped {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        ///
        /// 16 hexadecimal digits as text; in the order of time as a number and as text.
        #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl $name {
            /// When it was given out.
            pub fn at(self) -> UnixMillis {
                UnixMillis(i64::try_from(self.0 >> BELOW_TIME).unwrap_or(i64::MAX))
            }

            /// The first one of a moment.
            pub fn first_at(at: UnixMillis) -> $name {
                let millis = u64::try_from(at.0).unwrap_or(0).min(u64::MAX >> BELOW_TIME);
                $name(millis << BELOW_TIME)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadStamp;

            fn from_str(text: &str) -> Result<$name, BadStamp> {
                parse(text).map($name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadStamp;

            fn try_from(text: String) -> Result<$name, BadStamp> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

stamped! {
    /// An alarm.
    AlarmId
}
stamped! {
    /// A record of the audit.
    AuditId
}
