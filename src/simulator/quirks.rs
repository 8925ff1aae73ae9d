//! Ways in which real devices depart from the standard, each switched on by name.

use std::str::FromStr;

/// A departure from the standard, or a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// Speaks UTF-8 and says so.
    Utf8,
    /// Speaks UTF-8 and says GB2312.
    Utf8AsGb,
    /// Announces more catalog items than it sends.
    WrongSumNum,
    /// Sends the pages of its catalog in reverse order.
    ReversedPages,
    /// Sends no keepalives.
    Silent,
    /// Does not answer INVITE.
    InviteSilent,
    /// Answers INVITE with 486.
    InviteBusy,
    /// Answers INVITE and sends no media.
    NoMedia,
    /// Sends pictures that can't be decoded: no key frame among them.
    NoKeyFrame,
    /// Loses one RTP packet in a hundred.
    Loss,
    /// Swaps one RTP packet in twenty with the next.
    Disorder,
    /// Sends another SSRC than the one agreed on, and no `y=` line.
    OtherSsrc,
}

/// All quirks with their names and what they do.
pub(super) const ALL: [(&str, Quirk, &str); 12] = [
    ("utf8", Quirk::Utf8, "speaks UTF-8"),
    ("utf8-as-gb", Quirk::Utf8AsGb, "speaks UTF-8 and declares GB2312"),
    ("wrong-sumnum", Quirk::WrongSumNum, "announces more catalog items than it sends"),
    ("reversed-pages", Quirk::ReversedPages, "sends the catalog's pages in reverse order"),
    ("silent", Quirk::Silent, "sends no keepalives"),
    ("invite-silent", Quirk::InviteSilent, "does not answer INVITE"),
    ("invite-busy", Quirk::InviteBusy, "answers INVITE with 486"),
    ("no-media", Quirk::NoMedia, "answers INVITE and sends no media"),
    ("no-key-frame", Quirk::NoKeyFrame, "sends no key frames"),
    ("loss", Quirk::Loss, "loses one RTP packet in a hundred"),
    ("disorder", Quirk::Disorder, "swaps one RTP packet in twenty with the next"),
    ("other-ssrc", Quirk::OtherSsrc, "sends an SSRC of its own"),
];

impl FromStr for Quirk {
    type Err = String;

    fn from_str(name: &str) -> Result<Quirk, String> {
        ALL.iter().find(|(known, ..)| *known == name).map(|(_, quirk, _)| *quirk).ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
            format!("no quirk {name:?}; there are: {}", names.join(", "))
        })
    }
}

/// The list of quirks with what they do, for `--help`.
pub(super) fn help() -> String {
    let lines: Vec<String> = ALL.iter().map(|(name, _, what)| format!("  {name:<15} {what}")).collect();
    format!("Quirks:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quirk_is_found_by_its_name() {
        for (name, quirk, _) in ALL {
            assert_eq!(name.parse(), Ok(quirk));
        }
        assert!("no-such".parse::<Quirk>().unwrap_err().contains("wrong-sumnum"));
    }
}
