use std::collections::BTreeSet;

use super::*;

#[test]
fn every_rule_is_told_apart() {
    let mut seen = BTreeSet::new();
    for rule in Rule::ALL {
        let code = rule.code();
        assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{code}");
        assert!(seen.insert(code) && seen.insert(rule.says()) && seen.insert(rule.says_zh()), "{code}");
        assert!(rule.says().ends_with('.') && rule.says_zh().ends_with('。'), "{code}");
        assert!(!rule.clause().is_empty(), "{code}");
        assert_eq!(code.parse(), Ok(*rule));
        let json = serde_json::to_string(rule).unwrap();
        assert_eq!(
            (json.as_str(), serde_json::from_str(&json).ok()),
            (format!("\"{code}\"").as_str(), Some(*rule))
        );
    }
    assert_eq!("no-such-rule".parse::<Rule>(), Err(UnknownRule));
    assert!(serde_json::from_str::<Rule>("\"no-such-rule\"").is_err());
}

#[test]
fn codes_are_the_names() {
    for rule in Rule::ALL {
        let name: String = rule.code().split('-').collect();
        assert_eq!(name, format!("{rule:?}").to_lowercase());
    }
}

#[test]
fn samples_are_short_lines() {
    let mut found = Departures::default();
    found.add(Rule::SnMissing, || format!(" a\r\nb\0{} ", "学".repeat(100)));
    found.add(Rule::SnMissing, || "never made".to_owned());
    found.add(Rule::NoRport, || "Via".to_owned());
    let found = found.into_vec();
    assert_eq!(found.len(), 2);
    let first = found.first().unwrap();
    assert_eq!((first.rule, first.count), (Rule::SnMissing, 2));
    assert!(first.sample.starts_with("a  b 学") && first.sample.len() <= MAX_SAMPLE, "{}", first.sample);
}
