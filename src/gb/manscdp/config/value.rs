//! Values of a configuration: checked, written and read by the table.

use serde_json::{Map, Number, Value};

use super::table::{Field, Shape};
use super::{BadConfig, ConfigKind};
use crate::gb::manscdp::clipped;
use crate::gb::xml::{Element, Writer};

/// The member with the elements that the standard does not know.
const OTHER: &str = "other";
/// Most of those, of one element.
const MAX_OTHER: usize = 32;
/// Longest name and text of one.
const MAX_OTHER_NAME: usize = 64;
const MAX_OTHER_TEXT: usize = 1024;
/// Most items read of a list: more than any list of the standard has.
const MAX_ITEMS: usize = 64;

/// The member that an element of the standard is in JSON: `SIPServerID` is `sip_server_id`.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let chars: Vec<char> = name.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| chars.get(before));
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                !before.is_ascii_uppercase() || chars.get(at + 1).is_some_and(char::is_ascii_lowercase)
            });
        if begins {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Whether a value of a kind may be sent. Members that only a device tells are passed over, so that what was read
/// may be changed and sent again.
pub fn check(kind: ConfigKind, value: &Value) -> Result<(), BadConfig> {
    if !kind.writable() {
        return Err(bad(kind.as_str(), "cannot be set"));
    }
    check_shape(kind.shape(), value, "").map_err(|mut bad| {
        if bad.path.is_empty() {
            bad.path = kind.as_str().to_owned();
        }
        bad
    })
}

fn bad(path: &str, why: impl Into<String>) -> BadConfig {
    BadConfig { path: path.to_owned(), why: why.into() }
}

fn check_shape(shape: Shape, value: &Value, path: &str) -> Result<(), BadConfig> {
    match shape {
        Shape::Whole(least, most) => {
            let fits = value.as_i64().is_some_and(|value| (least..=most).contains(&value));
            let upper = if most == i64::MAX { "up".to_owned() } else { most.to_string() };
            if fits {
                Ok(())
            } else {
                Err(bad(path, format!("has to be a whole number from {least} to {upper}")))
            }
        }
        Shape::Real(least, most) => {
            let fits = value.as_f64().is_some_and(|value| (least..=most).contains(&value));
            if fits { Ok(()) } else { Err(bad(path, format!("has to be a number from {least} to {most}"))) }
        }
        Shape::Text(least, most) => {
            let text = scalar(value).ok_or_else(|| bad(path, "has to be text"))?;
            if text.chars().any(char::is_control) {
                return Err(bad(path, "has a control character"));
            }
            let fits = (least..=most).contains(&text.chars().count());
            if fits { Ok(()) } else { Err(bad(path, format!("has to have {least} to {most} characters"))) }
        }
        Shape::Form(form) => {
            let fits = value.as_str().is_some_and(|text| form.fits(text));
            if fits { Ok(()) } else { Err(bad(path, form.says())) }
        }
        Shape::Group(fields) => check_group(fields, value, path),
        Shape::Items(fields, most) | Shape::Repeated(fields, most) => {
            let items = value.as_array().ok_or_else(|| bad(path, "has to be a list"))?;
            if items.len() > most {
                return Err(bad(path, format!("has more than {most} items")));
            }
            let check = |(at, item)| check_group(fields, item, &format!("{path}[{at}]"));
            items.iter().enumerate().try_for_each(check)
        }
    }
}

fn check_group(fields: &[Field], value: &Value, path: &str) -> Result<(), BadConfig> {
    let members = value.as_object().ok_or_else(|| bad(path, "has to be an object"))?;
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let mut sent = 0;
    for field in fields {
        let name = snake(field.name);
        match members.get(&name) {
            _ if field.read_only => {}
            None | Some(Value::Null) if field.required => return Err(bad(&below(&name), "is missing")),
            None | Some(Value::Null) => {}
            Some(value) => {
                check_shape(field.shape, value, &below(&name))?;
                sent += 1;
            }
        }
    }
    for (name, value) in members {
        if name == OTHER {
            check_other(fields, value, &below(OTHER))?;
            sent += 1;
        } else if !fields.iter().any(|field| snake(field.name) == *name) {
            return Err(bad(&below(name), "is not known"));
        }
    }
    if sent == 0 { Err(bad(path, "has nothing to set")) } else { Ok(()) }
}

fn check_other(fields: &[Field], value: &Value, path: &str) -> Result<(), BadConfig> {
    let members = value.as_object().ok_or_else(|| bad(path, "has to be an object"))?;
    if members.len() > MAX_OTHER {
        return Err(bad(path, format!("has more than {MAX_OTHER} members")));
    }
    for (name, value) in members {
        let below = || format!("{path}.{}", clipped(name));
        if !is_element_name(name) {
            return Err(bad(&below(), "is no name of an element"));
        }
        if is_known(fields, name) {
            return Err(bad(&below(), "is an element of the standard, which has a member of its own"));
        }
        if value.as_str().is_none_or(|text| text.len() > MAX_OTHER_TEXT) {
            return Err(bad(&below(), format!("has to be text of at most {MAX_OTHER_TEXT} bytes")));
        }
    }
    Ok(())
}

fn is_element_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    first && name.len() <= MAX_OTHER_NAME && name.bytes().all(fits)
}

/// Whether an element is one of the table's.
fn is_known(fields: &[Field], name: &str) -> bool {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    fields.iter().any(|field| is(field.name) || field.count.is_some_and(is))
}

/// The text of a number or a text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Writes an element. `set`: as a request, which leaves out what only a device tells.
pub(super) fn write(name: &str, shape: Shape, value: &Value, set: bool, w: &mut Writer) {
    match shape {
        Shape::Whole(..) | Shape::Real(..) | Shape::Text(..) | Shape::Form(_) => {
            w.optional(name, scalar(value).as_deref());
        }
        Shape::Group(fields) => w.element(name, &[], |w| write_group(fields, value, set, w)),
        Shape::Items(fields, _) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            w.element(name, &[("Num", &items.len().to_string())], |w| {
                for item in items {
                    w.element("Item", &[], |w| write_group(fields, item, set, w));
                }
            });
        }
        Shape::Repeated(fields, _) => {
            for item in value.as_array().map_or(&[][..], Vec::as_slice) {
                w.element(name, &[], |w| write_group(fields, item, set, w));
            }
        }
    }
}

fn write_group(fields: &[Field], value: &Value, set: bool, w: &mut Writer) {
    for field in fields {
        let Some(value) = value.get(snake(field.name)).filter(|value| !value.is_null()) else { continue };
        if set && field.read_only {
            continue;
        }
        let items = value.as_array().map_or(0, Vec::len);
        if let Some(count) = field.count {
            w.value(count, items);
        }
        // A list of nothing is its count alone.
        if field.count.is_none() || items > 0 {
            write(field.name, field.shape, value, set, w);
        }
    }
    for (name, value) in value.get(OTHER).and_then(Value::as_object).into_iter().flatten() {
        if is_element_name(name) {
            w.optional(name, value.as_str());
        }
    }
}

/// Reads an element; nothing where it is empty.
pub(super) fn read(shape: Shape, element: &Element) -> Option<Value> {
    match shape {
        Shape::Group(fields) => {
            let members = read_group(fields, element);
            (!members.is_empty()).then_some(Value::Object(members))
        }
        Shape::Items(fields, _) => Some(read_items(fields, element.children("Item"))),
        // Their parent reads them, who sees them all.
        Shape::Repeated(fields, _) => Some(read_items(fields, std::iter::once(element))),
        Shape::Whole(..) => scalar_of(element, |text| text.parse::<i64>().ok().map(Number::from)),
        Shape::Real(..) => scalar_of(element, |text| text.parse().ok().and_then(Number::from_f64)),
        Shape::Text(..) | Shape::Form(_) => scalar_of(element, |_| None),
    }
}

/// A number, or the text as it is.
fn scalar_of(element: &Element, number: impl Fn(&str) -> Option<Number>) -> Option<Value> {
    let text = element.text.trim();
    if text.is_empty() {
        return None;
    }
    Some(number(text).map_or_else(|| Value::String(clipped(text)), Value::Number))
}

fn read_items<'a>(fields: &[Field], items: impl Iterator<Item = &'a Element>) -> Value {
    items.take(MAX_ITEMS).map(|item| Value::Object(read_group(fields, item))).collect()
}

fn read_group(fields: &[Field], element: &Element) -> Map<String, Value> {
    let mut members = Map::new();
    for field in fields.iter().filter(|field| !field.secret) {
        let value = match field.shape {
            Shape::Repeated(fields, _) => {
                let there = element.child(field.name).or_else(|| element.child(field.count?));
                there.map(|_| read_items(fields, element.children(field.name)))
            }
            Shape::Items(fields, _) => {
                let there = element.child(field.name).or_else(|| element.child(field.count?));
                there.map(|list| read_items(fields, list.children("Item")))
            }
            shape => element.child(field.name).and_then(|child| read(shape, child)),
        };
        if let Some(value) = value {
            members.insert(snake(field.name), value);
        }
    }
    let other: Map<String, Value> = element
        .children
        .iter()
        .filter(|child| child.children.is_empty() && !child.text.trim().is_empty())
        .filter(|child| is_element_name(&child.name) && !is_known(fields, &child.name))
        .take(MAX_OTHER)
        .map(|child| (child.name.clone(), Value::String(clipped(child.text.trim()))))
        .collect();
    if !other.is_empty() {
        members.insert(OTHER.to_owned(), Value::Object(other));
    }
    members
}

/// The members of what was set that a device, asked again, does not have so, as in [`BadConfig::path`]. Items of a
/// list may be anywhere in it.
pub fn differences(kind: ConfigKind, wanted: &Value, found: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    if kind.kept() {
        compare(kind.shape(), wanted, Some(found), "", &mut paths);
    }
    for path in paths.iter_mut().filter(|path| path.is_empty()) {
        kind.as_str().clone_into(path);
    }
    paths
}

fn compare(shape: Shape, wanted: &Value, found: Option<&Value>, path: &str, paths: &mut Vec<String>) {
    match shape {
        Shape::Group(fields) => compare_group(fields, wanted, found, path, paths),
        Shape::Items(fields, _) | Shape::Repeated(fields, _) => {
            let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
            let found = list(found);
            for (at, item) in list(Some(wanted)).iter().enumerate() {
                let is_there = found.iter().any(|found| {
                    let mut paths = Vec::new();
                    compare_group(fields, item, Some(found), "", &mut paths);
                    paths.is_empty()
                });
                if !is_there {
                    paths.push(format!("{path}[{at}]"));
                }
            }
        }
        Shape::Whole(..) | Shape::Real(..) | Shape::Text(..) | Shape::Form(_) => {
            let (wanted, found) = (scalar(wanted), found.and_then(scalar));
            let number =
                |text: &Option<String>| text.as_ref().and_then(|text| text.trim().parse::<f64>().ok());
            let same_number = number(&wanted).is_some() && number(&wanted) == number(&found);
            if wanted != found && !same_number {
                paths.push(path.to_owned());
            }
        }
    }
}

fn compare_group(
    fields: &[Field],
    wanted: &Value,
    found: Option<&Value>,
    path: &str,
    paths: &mut Vec<String>,
) {
    for field in fields.iter().filter(|field| !field.read_only && !field.secret) {
        let name = snake(field.name);
        let Some(wanted) = wanted.get(&name).filter(|value| !value.is_null()) else { continue };
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        compare(field.shape, wanted, found.and_then(|found| found.get(&name)), &below, paths);
    }
}
