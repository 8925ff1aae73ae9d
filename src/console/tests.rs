use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use tower::ServiceExt;

use super::*;

async fn answer(method: &str, uri: &str, if_none_match: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(tag) = if_none_match {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    router::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

fn field<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_page_is_served_with_its_guards() {
    let response = answer("GET", "/", None).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(field(&response, "content-type"), "text/html; charset=utf-8");
    assert_eq!(field(&response, "x-content-type-options"), "nosniff");
    assert_eq!(field(&response, "cache-control"), "no-cache");
    let policy = field(&response, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(text(response).await.contains("/assets/app.js"));
}

#[tokio::test]
async fn a_known_tag_is_not_sent_again() {
    let first = answer("GET", "/assets/app.js", None).await;
    let tag = field(&first, "etag").to_owned();
    assert_eq!(field(&first, "content-type"), "text/javascript; charset=utf-8");
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = answer("GET", "/assets/app.js", Some(&known)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(field(&again, "etag"), tag);
        assert_eq!(text(again).await, "");
    }
    assert_eq!(answer("GET", "/assets/app.js", Some("\"other\"")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn head_tells_the_length_without_the_body() {
    let full = text(answer("GET", "/assets/style.css", None).await).await;
    let head = answer("HEAD", "/assets/style.css", None).await;
    assert_eq!(field(&head, "content-length"), full.len().to_string());
    assert_eq!(text(head).await, "");
}

#[tokio::test]
async fn only_files_of_the_console_are_served() {
    for uri in [
        "/assets/none.js",
        "/assets/../mod.rs",
        "/assets/..%2fmod.rs",
        "/assets/%2e%2e/mod.rs",
        "/assets/%2Fetc%2Fpasswd",
        "/assets/app.js%00",
        "/assets/a/b.js",
    ] {
        assert_eq!(answer("GET", uri, None).await.status(), StatusCode::NOT_FOUND, "{uri}");
    }
}

/// Every file is of a type that is served, is asked for by something, and asks only for what is there.
#[test]
fn the_files_fit_together() {
    let files: Vec<String> = Web::iter().map(|name| name.into_owned()).collect();
    let source = |name: &str| String::from_utf8(Web::get(name).unwrap().data.into_owned()).unwrap();
    for name in &files {
        assert!(content_type(name).is_some(), "{name} has no content type");
        let wanted = name == "index.html"
            || files.iter().any(|other| {
                let text = source(other);
                text.contains(&format!("\"./{name}\"")) || text.contains(&format!("\"/assets/{name}\""))
            });
        assert!(wanted, "nothing asks for {name}");
        for line in source(name).lines().filter(|line| line.contains(" from \"")) {
            let module = line.split(" from \"./").nth(1).and_then(|rest| rest.split('"').next());
            let module = module.unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(files.iter().any(|file| file == module), "{name} imports {module}, which is not there");
        }
    }
}

/// The policy forbids markup and style from strings; a use of them would fail only in the browser.
#[test]
fn nothing_is_made_from_strings() {
    for name in Web::iter() {
        let text = String::from_utf8(Web::get(&name).unwrap().data.into_owned()).unwrap();
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("]
        {
            assert!(!text.contains(forbidden), "{name} uses {forbidden}");
        }
        if name.ends_with(".html") {
            for forbidden in
                [" style=", "<style", " onclick=", " onload=", "javascript:", "http://", "https://"]
            {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
            assert!(!text.contains("<script>"), "{name} has an inline script");
        }
    }
}

/// Every key that the page names has words in both languages, and so has every failure of a play.
#[test]
fn nothing_is_left_unsaid() {
    let source = |name: &str| String::from_utf8(Web::get(name).unwrap().data.into_owned()).unwrap();
    let entries: String = source("words.js").lines().filter(|line| line.starts_with("  \"")).collect();
    let words: BTreeMap<String, [String; 2]> =
        serde_json::from_str(&format!("{{{}}}", entries.trim_end_matches(','))).unwrap();
    for (key, both) in &words {
        assert!(both.iter().all(|text| !text.is_empty()), "{key}");
        let places = |text: &str| text.matches('{').count();
        assert_eq!(places(&both[0]), places(&both[1]), "{key} takes other values in the other language");
    }
    let page = source("index.html");
    for attribute in ["data-say=\"", "data-name=\"", "data-placeholder=\""] {
        for rest in page.split(attribute).skip(1) {
            let key = rest.split('"').next().unwrap();
            assert!(words.contains_key(key), "{attribute}{key}\"");
        }
    }
    for code in [
        "not_found",
        "device_offline",
        "no_common_codec",
        "invite_refused",
        "invite_timeout",
        "no_rtp",
        "no_key_frame",
    ] {
        for part in ["", ".step", ".hint"] {
            assert!(words.contains_key(&format!("error.{code}{part}")), "{code}{part}");
        }
    }
}
