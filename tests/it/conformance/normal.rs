//! One way of writing what may be written in several: text, objects, configurations.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Returns text in which bytes that are not UTF-8 are written `\xNN`.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Returns the fields of a configuration that count, with one way of writing each.
///
/// `inner` is the runtime part and `outer` the document around it; the expectations have both in one.
pub(crate) fn normal_config(inner: &Value, outer: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    for name in [
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "User",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "Shell",
        "OnBuild",
    ] {
        fields.insert(name.to_owned(), sorted(&without_empty(&inner[name])));
    }
    for name in ["ExposedPorts", "Volumes"] {
        let names = inner[name]
            .as_object()
            .map(|entries| entries.keys().cloned().map(Value::from).collect::<Vec<_>>());
        let mut names = names.unwrap_or_else(|| inner[name].as_array().cloned().unwrap_or_default());
        names.sort_by_key(Value::to_string);
        fields.insert(name.to_owned(), names.into());
    }
    for name in ["architecture", "os", "variant", "author"] {
        fields.insert(name.to_owned(), outer[name].clone());
    }
    if fields["WorkingDir"] == "/" {
        fields.remove("WorkingDir");
    }
    fields.retain(|_, value| !is_empty(value));
    fields
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(_) => false,
    }
}

/// Takes empty fields out of `Healthcheck`; labels may be empty and stay.
fn without_empty(value: &Value) -> Value {
    match value.as_object() {
        Some(fields) if fields.contains_key("Test") => fields
            .iter()
            .filter(|(_, value)| !is_empty(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        _ => value.clone(),
    }
}

/// Returns an object with its fields in order, so that equal objects are written equally.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_escaped() {
        assert_eq!(escaped(b"latin-\xe9/gr\xc3\xbc\xc3\x9fe"), "latin-\\xe9/grüße");
    }

    #[test]
    fn empty_and_absent_fields_of_a_configuration_are_the_same() {
        let written = json!({"Env": [], "WorkingDir": "/", "Volumes": {"/b": {}, "/a": {}}, "Labels": {"a": ""}, "User": ""});
        let expected = json!({"Volumes": ["/a", "/b"], "Labels": {"a": ""}, "os": "linux"});
        assert_eq!(
            normal_config(&written, &json!({"os": "linux", "variant": ""})),
            normal_config(&expected, &expected)
        );
    }
}
