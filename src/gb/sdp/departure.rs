//! What in the answer to an offer breaks the standard.

use super::{Sdp, Setup, parse};
use crate::gb::conformance::{Departure, Departures, Rule};
use crate::gb::ssrc;

/// The order of lines before the first medium, then of those of a medium, and what ends the description: RFC 4566
/// with the two lines of the standard.
const SESSION: &str = "vosiuepcbtrzka";
const MEDIUM: &str = "micbka";
const END: &str = "yf";

impl Sdp {
    /// The departures of the answer to this offer, as it came.
    pub fn departures(&self, answer: &[u8]) -> Vec<Departure> {
        let mut found = Departures::default();
        match parse(answer) {
            Err(bad) => found.add(Rule::SdpUnreadable, || bad.to_string()),
            Ok(read) => {
                if let Some(line) = disorder(&String::from_utf8_lossy(answer)) {
                    found.add(Rule::SdpLineOrder, || line.to_owned());
                }
                self.compare(&read, &mut found);
            }
        }
        found.into_vec()
    }

    fn compare(&self, answer: &Sdp, found: &mut Departures) {
        let text = |ssrc: Option<u32>| ssrc.map_or_else(|| "none".to_owned(), ssrc::to_text);
        match answer.ssrc {
            None => found.add(Rule::SdpNoY, || answer.session.clone()),
            Some(ssrc) if Some(ssrc) != self.ssrc => {
                found.add(Rule::SdpOtherSsrc, || format!("y={} to y={}", text(answer.ssrc), text(self.ssrc)))
            }
            Some(_) => {}
        }
        let Some(offered) = self.media.first() else { return };
        // A medium that is refused has nothing to say.
        let kept = |media: &&super::Media| media.kind == offered.kind && media.port != 0;
        let Some(answered) = answer.media.iter().find(kept) else { return };
        if answered.transport != offered.transport {
            found.add(Rule::SdpOtherTransport, || {
                format!("{:?} to {:?}", answered.transport, offered.transport)
            });
        } else if let Some(setup) = offered.part()
            && answered.setup != Some(setup.reversed())
        {
            let said = answered.setup.map_or("none", Setup::as_str);
            found.add(Rule::SdpSetupNotReversed, || format!("setup:{said} to setup:{}", setup.as_str()));
        }
    }
}

/// The first line that stands behind one that it should precede.
fn disorder(text: &str) -> Option<&str> {
    let mut place = (0, 0);
    for line in text.split(['\r', '\n']) {
        let Some(key) = line.split_once('=').map(|(key, _)| key).filter(|key| key.len() == 1) else {
            continue;
        };
        let next = match (key, place.0) {
            // The next medium.
            ("m", 0 | 1) => (1, 0),
            (key, 0) if SESSION.contains(key) => (0, SESSION.find(key)?),
            (key, 1) if MEDIUM.contains(key) => (1, MEDIUM.find(key)?),
            (key, _) if END.contains(key) => (2, END.find(key)?),
            (key, _) if SESSION.contains(key) || MEDIUM.contains(key) => return Some(line),
            _ => continue,
        };
        if next < place && key != "m" {
            return Some(line);
        }
        place = next;
    }
    None
}
