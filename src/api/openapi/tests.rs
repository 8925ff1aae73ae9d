use std::collections::BTreeSet;

use super::*;

/// The functions of `routes.rs`, and where what they add is nested.
const SECTIONS: [(&str, &str); 9] = [
    ("root", ""),
    ("v1", "/api/v1"),
    ("channels", "/api/v1"),
    ("recordings", "/api/v1"),
    ("operations", "/api/v1"),
    ("whep", "/whep"),
    ("whip", "/whip"),
    ("live", "/live"),
    ("upload", "/upload/snapshots"),
];

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Method and path of every route, read from the source: a router does not tell them.
fn routes() -> BTreeSet<String> {
    let source = include_str!("../routes.rs");
    let mut found = BTreeSet::new();
    for (function, prefix) in SECTIONS {
        let start = format!("fn {function}() -> Router<Api> {{");
        let body = source.split_once(&start).unwrap_or_else(|| panic!("no {start}")).1;
        let body = body.split_once("\n}\n").unwrap().0;
        for route in body.split(".route(").skip(1) {
            let mut parts = route.splitn(3, '"');
            let (path, handlers) = (parts.nth(1).unwrap(), parts.next().unwrap());
            for method in METHODS {
                if handlers.split(&format!("{method}(")).skip(1).count() > 0 {
                    found.insert(format!("{method} {prefix}{path}"));
                }
            }
        }
    }
    found
}

#[test]
fn every_part_can_be_read() {
    for part in PARTS {
        let value: Value = serde_yaml::from_str(part).unwrap();
        assert!(value.is_object());
    }
}

#[test]
fn the_document_has_the_paths_of_the_router() {
    let document = put_together();
    let documented: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str()));
            methods.map(move |method| format!("{method} {path}"))
        })
        .collect();
    let routes = routes();
    assert!(routes.len() > 70, "{}", routes.len());
    let missing: Vec<_> = routes.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&routes).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing {missing:#?}, invented {invented:#?}");
}

#[test]
fn every_reference_leads_somewhere_and_every_path_parameter_is_told() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = put_together();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        let told: BTreeSet<String> = item["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|parameter| {
                let pointer = parameter["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
                document.pointer(pointer).unwrap()["name"].as_str().unwrap().to_owned()
            })
            .collect();
        let asked: BTreeSet<String> =
            path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
        assert_eq!(told, asked, "{path}");
        for method in METHODS.into_iter().filter(|method| item.get(method).is_some()) {
            let operation = &item[method];
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["responses"].is_object(), "{method} {path} has no responses");
        }
    }
}
