//! The table as JSON Schema, for the documentation of the API.

use serde_json::{Map, Value, json};

use super::ConfigKind;
use super::table::{Field, Shape};
use super::value::snake;

/// The JSON Schema of a kind's value.
pub fn schema(kind: ConfigKind) -> Value {
    let mut schema = of(kind.shape());
    if let Some(members) = schema.as_object_mut() {
        members.insert("title".to_owned(), json!(kind.as_str()));
        members.insert("readOnly".to_owned(), json!(!kind.writable()));
        members.insert("x-since".to_owned(), json!(kind.since().year()));
    }
    schema
}

fn of(shape: Shape) -> Value {
    match shape {
        Shape::Whole(least, i64::MAX) => json!({ "type": "integer", "minimum": least }),
        Shape::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Shape::Real(least, most) => json!({ "type": "number", "minimum": least, "maximum": most }),
        Shape::Text(least, most) => json!({ "type": "string", "minLength": least, "maxLength": most }),
        Shape::Form(form) => json!({ "type": "string", "description": form.says() }),
        Shape::Group(fields) => group(fields),
        Shape::Items(fields, most) | Shape::Repeated(fields, most) => {
            json!({ "type": "array", "maxItems": most, "items": group(fields) })
        }
    }
}

fn group(fields: &[Field]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = of(field.shape);
        if let Some(members) = schema.as_object_mut() {
            members.insert("description".to_owned(), json!(field.about));
            if field.read_only {
                members.insert("readOnly".to_owned(), json!(true));
            }
            if field.secret {
                members.insert("writeOnly".to_owned(), json!(true));
            }
        }
        properties.insert(snake(field.name), schema);
    }
    let about = "What the device sends beyond the standard, by the name of its element";
    let other = json!({
        "type": "object", "description": about, "additionalProperties": { "type": "string" },
    });
    properties.insert("other".to_owned(), other);
    let required: Vec<String> =
        fields.iter().filter(|field| field.required).map(|field| snake(field.name)).collect();
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}
