//! Labels out of small fixed sets. A label is a time series: what peers send must not make new ones.

use crate::sip::Method;

/// The label of all that is not in a set.
pub const OTHER: &str = "other";

/// The method in capitals, or `other`.
pub fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 14] = [
        "REGISTER",
        "MESSAGE",
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "INFO",
        "SUBSCRIBE",
        "NOTIFY",
        "UPDATE",
        "PRACK",
        "REFER",
        "PUBLISH",
    ];
    one_of(method.as_str(), &KNOWN)
}

/// The status codes that are met with.
const CODES: [(u16, &str); 30] = [
    (100, "100"),
    (180, "180"),
    (183, "183"),
    (200, "200"),
    (202, "202"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (407, "407"),
    (408, "408"),
    (413, "413"),
    (415, "415"),
    (423, "423"),
    (480, "480"),
    (481, "481"),
    (482, "482"),
    (483, "483"),
    (486, "486"),
    (487, "487"),
    (488, "488"),
    (489, "489"),
    (500, "500"),
    (501, "501"),
    (503, "503"),
    (504, "504"),
    (600, "600"),
    (603, "603"),
];

/// The status code if it is one that is met with, else its class, such as `4xx`.
pub fn code(code: u16) -> &'static str {
    if let Some((_, label)) = CODES.iter().find(|(known, _)| *known == code) {
        return label;
    }
    match code / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        6 => "6xx",
        _ => OTHER,
    }
}

/// `text` if it is in `known`, else `other`.
pub fn one_of(text: &str, known: &[&'static str]) -> &'static str {
    known.iter().find(|name| **name == text).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn whatever_peers_send_the_sets_stay_small() {
        let codes: BTreeSet<&str> = (0..=u16::MAX).map(code).collect();
        assert!(codes.len() < 50, "{}", codes.len());
        assert_eq!((code(401), code(499), code(200), code(7)), ("401", "4xx", "200", OTHER));
        assert_eq!(method(&Method::new("MESSAGE")), "MESSAGE");
        assert_eq!(method(&Method::new("HACK-0001")), OTHER);
        assert_eq!(one_of("udp", &["udp", "tcp"]), "udp");
        assert_eq!(one_of("sctp", &["udp", "tcp"]), OTHER);
    }
}
