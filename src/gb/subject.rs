//! The Subject header of an INVITE: `sender:sequence,receiver:sequence` (annex K of 2016 and its like in 2022).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::id::Id;
use super::ssrc;

/// Longest sequence of the standard; what is longer is cut.
const MAX_SEQUENCE: usize = 20;

/// Who sends which stream to whom.
///
/// A sender that is asked for a sequence it sends already stops the old stream: sequences are not used twice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// The source of the media, a channel.
    pub sender: Id,
    /// Begins with 0 for live and 1 for history. May be empty when it was read.
    pub sender_seq: String,
    /// The platform or client that asks.
    pub receiver: Id,
    pub receiver_seq: String,
}

impl Subject {
    /// The usual Subject: the SSRC as the sender's sequence, 0 as the receiver's.
    pub fn new(channel: Id, ssrc: u32, platform: Id) -> Subject {
        Subject {
            sender: channel,
            sender_seq: ssrc::to_text(ssrc),
            receiver: platform,
            receiver_seq: "0".to_owned(),
        }
    }
}

/// A Subject that names no sender and receiver.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("the Subject is not of the form sender:sequence,receiver:sequence")]
pub struct BadSubject;

impl FromStr for Subject {
    type Err = BadSubject;

    fn from_str(text: &str) -> Result<Subject, BadSubject> {
        let (sender, receiver) = text.split_once(',').ok_or(BadSubject)?;
        let (sender, sender_seq) = half(sender)?;
        let (receiver, receiver_seq) = half(receiver)?;
        Ok(Subject { sender, sender_seq, receiver, receiver_seq })
    }
}

fn half(text: &str) -> Result<(Id, String), BadSubject> {
    let (id, seq) = text.split_once(':').unwrap_or((text, ""));
    Ok((Id::parse(id).map_err(|_| BadSubject)?, sequence(seq).collect()))
}

/// What of a text may be a sequence, so that it is safe in a header.
fn sequence(text: &str) -> impl Iterator<Item = char> {
    text.trim().chars().take_while(char::is_ascii_alphanumeric).take(MAX_SEQUENCE)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sender_seq, receiver_seq): (String, String) =
            (sequence(&self.sender_seq).collect(), sequence(&self.receiver_seq).collect());
        write!(f, "{}:{sender_seq},{}:{receiver_seq}", self.sender, self.receiver)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_in_the_standard() {
        let text = "34020000001310000001:0200001234,34020000002000000001:0";
        let subject: Subject = text.parse().unwrap();
        let id = |text| Id::parse(text).unwrap();
        let same = Subject::new(id("34020000001310000001"), 200_001_234, id("34020000002000000001"));
        assert_eq!((&subject, subject.to_string().as_str()), (&same, text));
        assert_eq!(" 34020000001310000001 : 0200001234 , 34020000002000000001 : 0 ".parse(), Ok(subject));
    }

    #[test]
    fn odd_ones() {
        let subject: Subject = "a,b:1;x".parse().unwrap();
        assert_eq!((subject.sender_seq.as_str(), subject.receiver_seq.as_str()), ("", "1"));
        for text in ["", ",", "a", "a:1", "a b:1,c:2", "play"] {
            assert_eq!(text.parse::<Subject>(), Err(BadSubject), "{text}");
        }
        let long = Subject { sender_seq: "9\r\nVia: x".into(), receiver_seq: "1".repeat(99), ..subject };
        assert_eq!(long.to_string(), format!("a:9,b:{}", "1".repeat(20)));
    }

    proptest! {
        #[test]
        fn written_and_read_again(a in "[0-9]{20}", b in "[0-9A-Za-z]{1,20}", c in "[0-9]{20}", d in "[0-9]{0,20}") {
            let text = format!("{a}:{b},{c}:{d}");
            prop_assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = text.parse::<Subject>();
        }
    }
}
