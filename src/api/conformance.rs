//! What departs from the standard in a device's messages and media: the list that an integrator hands to its vendor.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::ask;
use super::devices::page;
use super::extract::Segments;
use super::record::{Deed, Who};
use super::{Api, Result};
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::registry::Finding;

/// A rule of the standard, in both languages.
pub(super) fn rule_json(rule: Rule) -> Value {
    json!({
        "rule": rule.code(),
        "severity": rule.severity().as_str(),
        "clause": rule.clause(),
        "says": rule.says(),
        "says_zh": rule.says_zh(),
    })
}

/// The findings of a device, as JSON, or as CSV to a client that prefers it.
pub(super) async fn show(
    State(api): State<Api>,
    who: Who,
    Segments(device): Segments<Id>,
    headers: HeaderMap,
) -> Result<Response> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.starts_with("text/csv") {
        return csv(State(api), who, Segments(device)).await;
    }
    let items: Vec<Value> = findings(&api, &device)?
        .iter()
        .map(|finding| {
            let mut told = rule_json(finding.rule);
            let time = |at: crate::gb::time::UnixMillis| at.to_rfc3339(api.info.offset);
            if let Some(members) = told.as_object_mut() {
                members.insert("count".to_owned(), json!(finding.count));
                members.insert("first".to_owned(), json!(time(finding.first)));
                members.insert("last".to_owned(), json!(time(finding.last)));
                members.insert("sample".to_owned(), json!(finding.sample));
            }
            told
        })
        .collect();
    let total = items.len() as u64;
    Ok(page(items, None, total).into_response())
}

/// The same for a spreadsheet: RFC 4180 with the mark by which spreadsheets know UTF-8.
pub(super) async fn csv(
    State(api): State<Api>,
    who: Who,
    Segments(device): Segments<Id>,
) -> Result<Response> {
    let findings = findings(&api, &device)?;
    who.did(&api, Deed::new("conformance.export").on(device), "ok");
    let mut text = String::from("\u{feff}");
    line(
        &mut text,
        ["device", "rule", "severity", "clause", "what", "问题", "count", "first", "last", "sample"]
            .map(String::from),
    );
    for Finding { rule, first, last, count, sample } in findings {
        let time = |at: crate::gb::time::UnixMillis| at.to_rfc3339(api.info.offset);
        let fields = [
            device.to_string(),
            rule.code().to_owned(),
            rule.severity().as_str().to_owned(),
            rule.clause().to_owned(),
            rule.says().to_owned(),
            rule.says_zh().to_owned(),
            count.to_string(),
            time(first),
            time(last),
            sample,
        ];
        line(&mut text, fields);
    }
    let name = format!("attachment; filename=\"conformance_{device}.csv\"");
    let mut response = ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response();
    if let Ok(name) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn findings(api: &Api, device: &Id) -> Result<Vec<Finding>> {
    ask::known(api, device, device)?;
    Ok(api.node.index().findings(device).to_vec())
}

fn line<const N: usize>(text: &mut String, fields: [String; N]) {
    let fields = fields.map(|field| cell(&field));
    text.push_str(&fields.join(","));
    text.push_str("\r\n");
}

/// A field, in quotes where it needs them. What a device sent is kept from being taken for a formula; ids that are
/// numbers are kept from being rounded to fifteen digits.
fn cell(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let number = field.len() > 15 && field.bytes().all(|byte| byte.is_ascii_digit());
    let field = if formula || number { format!("'{field}") } else { field.to_owned() };
    if field.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_hold_whatever_a_device_sent() {
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("a, \"b\"\n"), "\"a, \"\"b\"\"\n\"");
        assert_eq!(cell("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(cell("34020000001320000001"), "'34020000001320000001");
        assert_eq!(cell("2026"), "2026");
    }
}
