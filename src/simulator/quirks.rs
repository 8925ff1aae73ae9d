//! Ways in which real devices depart from the standard, each switched on by name.

use std::str::FromStr;

macro_rules! quirks {
    ($($name:literal $quirk:ident $what:literal)*) => {
        /// A departure from the standard, or a fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Quirk {
            $(#[doc = $what] $quirk,)*
        }

        /// All quirks with their names and what a device with it does.
        pub(super) const ALL: &[(&str, Quirk, &str)] = &[$(($name, Quirk::$quirk, $what),)*];
    };
}

quirks! {
    // Bodies.
    "utf8" Utf8 "speaks UTF-8"
    "utf8-as-gb" Utf8AsGb "speaks UTF-8 and declares GB2312"
    "gb-as-utf8" GbAsUtf8 "speaks GB18030 and declares UTF-8"
    "no-xml-declaration" NoXmlDeclaration "leaves the XML declaration out"
    "bare-ampersand" BareAmpersand "writes a bare & into names"
    "stray-less" StrayLess "writes a bare < into addresses"
    "trailing-nul" TrailingNul "ends bodies with NULs"
    "attribute-fields" AttributeFields "writes CmdType and SN as attributes"
    // SIP.
    "no-rport" NoRport "sends no rport"
    "lower-headers" LowerHeaders "writes header names in lower case"
    "compact-headers" CompactHeaders "writes header names in the compact form"
    "no-space" NoSpace "writes no blank after a header's colon"
    "wrong-length" WrongLength "announces a longer body than it sends, over UDP"
    "no-trying" NoTrying "sends no 100 Trying"
    "tcp-dribble" TcpDribble "sends SIP over TCP in small pieces"
    "nat-contact" NatContact "tells a private address in Contact"
    "expires-in-contact" ExpiresInContact "tells its expiry in Contact alone"
    "padding" Padding "sends CRLF and NULs to the SIP port between keepalives, over UDP"
    "no-message-reply" NoMessageReply "does not answer MESSAGE with 200"
    // Registration.
    "silent" Silent "sends no keepalives"
    "faulty-child" FaultyChild "names its first channel as faulty in keepalives"
    "old-nonce" OldNonce "refreshes its registration with an old nonce and a repeated count"
    "wrong-password" WrongPassword "registers with a wrong password, again and again"
    "md5-only" Md5Only "answers no challenge but MD5"
    "register-often" RegisterOften "registers anew at each keepalive"
    "no-reregister" NoReregister "goes on with keepalives that are refused, and never registers again"
    // Catalog and queries.
    "wrong-sumnum" WrongSumNum "announces more catalog items than it sends"
    "small-sumnum" SmallSumNum "announces fewer catalog items than it sends"
    "zero-sumnum" ZeroSumNum "announces no catalog items, and sends them"
    "reversed-pages" ReversedPages "sends the catalog's pages in reverse order"
    "page-drop" PageDrop "leaves the second page of a catalog out"
    "burst" Burst "sends all pages at once"
    "dup-channels" DupChannels "lists each channel twice"
    "last-off" LastOff "lists its last channel as off"
    "null-fields" NullFields "writes the word null into fields of the catalog that it has no value for"
    "sn-mismatch" SnMismatch "answers queries with another SN"
    "device-id-answers" DeviceIdAnswers "answers for its channels with its own id"
    "ignore-queries" IgnoreQueries "answers no queries"
    "clock-wrong" ClockWrong "has a clock that is an hour slow"
    // Configuration and controls.
    "config-ignored" ConfigIgnored "answers OK to a configuration and keeps the old one"
    "config-silent" ConfigSilent "takes a configuration without an answer, and registers anew"
    "control-error" ControlError "answers ERROR to controls"
    "upgrade-fails" UpgradeFails "reports that an upgrade failed"
    // Subscriptions and alarms.
    "no-subscriptions" NoSubscriptions "answers SUBSCRIBE with 489"
    "short-subscriptions" ShortSubscriptions "forgets subscriptions after 5 s without a word"
    "message-notify" MessageNotify "sends notifications by MESSAGE, subscribed to or not"
    "response-notify" ResponseNotify "notifies of its catalog under the root Response, as of old"
    "repeated-alarms" RepeatedAlarms "sends each alarm three times"
    // Calls.
    "invite-silent" InviteSilent "does not answer INVITE"
    "invite-busy" InviteBusy "answers INVITE with 486"
    "invite-refused" InviteRefused "answers INVITE with 403"
    "slow-invite" SlowInvite "answers INVITE after 3 s"
    "no-bye-reply" NoByeReply "does not answer BYE"
    "bye-ignored" ByeIgnored "goes on sending media after BYE"
    "bye-after" ByeAfter "hangs up 3 s after a call began"
    "no-y" NoY "answers without y="
    "ssrc-answer" SsrcAnswer "answers with an SSRC of its own, and sends it"
    "ssrc-mismatch" SsrcMismatch "sends another SSRC than the one it agreed to"
    "ssrc-zero" SsrcZero "sends SSRC 0 whatever was agreed on"
    "other-ssrc" OtherSsrc "sends an SSRC of its own, and no y="
    "setup-not-reversed" SetupNotReversed "repeats the a=setup that was offered"
    "sdp-line-order" SdpLineOrder "writes y= before m= in its answer"
    "lf-only" LfOnly "ends the lines of SDP with LF alone"
    "info-bare" InfoBare "answers playback control without a body"
    "no-speed" NoSpeed "refuses other speeds of playback than 1"
    "recorded-times" RecordedTimes "sends playback with the time stamps of the recording, at any speed"
    "no-file-end" NoFileEnd "does not tell the end of a recording"
    "end-outside" EndOutside "tells the end of a recording outside the call"
    "talk-refused" TalkRefused "answers ERROR to a broadcast"
    "talk-silent" TalkSilent "answers OK to a broadcast and does not call"
    // Media.
    "no-media" NoMedia "answers INVITE and sends no media"
    "early-media" EarlyMedia "sends media before the ACK"
    "stall" Stall "stops sending after 3 s"
    "no-key-frame" NoKeyFrame "sends no key frames"
    "loss" Loss "loses one RTP packet in a hundred, over UDP"
    "disorder" Disorder "swaps one RTP packet in twenty with the next, over UDP"
    "dup" Dup "sends one RTP packet in twenty twice, over UDP"
    "other-pt" OtherPt "sends payload type 100"
    "no-marker" NoMarker "never sets the marker"
    "packet-times" PacketTimes "gives each RTP packet a time stamp of its own"
    "dollar-framing" DollarFraming "frames RTP over TCP as RTSP does"
    "tcp-garbage" TcpGarbage "puts garbage between RTP packets over TCP"
    "no-psm" NoPsm "sends no program stream map"
    "psm-once" PsmOnce "sends the program stream map once"
    "psm-crc" PsmCrc "sends program stream maps with a wrong checksum"
    "stream-type-lies" StreamTypeLies "announces another video codec than it sends"
    "no-system-header" NoSystemHeader "sends no system header"
    "pes-len0" PesLen0 "sends video PES packets of length zero"
    "private-stream" PrivateStream "puts packets of a private stream between the pictures"
}

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
    let lines: Vec<String> = ALL.iter().map(|(name, _, what)| format!("  {name:<19} {what}")).collect();
    format!("Quirks:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quirk_is_found_by_its_name() {
        for (name, quirk, _) in ALL {
            assert_eq!(name.parse(), Ok(*quirk));
        }
        assert!("no-such".parse::<Quirk>().unwrap_err().contains("wrong-sumnum"));
    }
}
