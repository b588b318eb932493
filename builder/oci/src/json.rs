//! The one place where kiln writes JSON that has an identity, and how it reads what Go programs write.
//!
//! | Rule | Why |
//! |---|---|
//! | keys sorted bytewise, at every depth | the order of fields in our source never decides a digest |
//! | no white space, no final newline | one text for one value |
//! | only the escapes JSON demands, UTF-8 otherwise | as other tools write it; `<` and `&` stay readable |
//! | integers only where the documents have integers | no float formatting in identities |

use serde::de::{Deserialize, Deserializer};
use serde::ser::Serialize;
use serde_json::Value;

/// Returns the canonical text of `value`.
///
/// # Panics
/// Never for the types of this crate: their keys are strings and none of their fields can fail to serialize.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let value = serde_json::to_value(value).expect("documents have string keys and infallible fields");
    let mut text = Vec::with_capacity(1024);
    write_value(&value, &mut text);
    text
}

fn write_value(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            // Sorted here, and not left to the map type, which a feature of serde_json can change.
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_bytes());
            write_sequence(text, (b'{', b'}'), fields, |(key, value), text| {
                write_scalar(&Value::String(key.clone()), text);
                text.push(b':');
                write_value(value, text);
            });
        }
        Value::Array(items) => write_sequence(text, (b'[', b']'), items, write_value),
        scalar => write_scalar(scalar, text),
    }
}

fn write_sequence<I: IntoIterator>(
    text: &mut Vec<u8>,
    (open, close): (u8, u8),
    items: I,
    mut write: impl FnMut(I::Item, &mut Vec<u8>),
) {
    text.push(open);
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            text.push(b',');
        }
        write(item, text);
    }
    text.push(close);
}

fn write_scalar(scalar: &Value, text: &mut Vec<u8>) {
    serde_json::to_writer(text, scalar).expect("a scalar can be written to memory");
}

/// Reads `null` as the default value: Go programs write `null` for empty lists and maps.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth_and_nothing_is_padded() {
        let value: Value =
            serde_json::from_str(r#"{ "b": [ {"z": 1, "a": "<&>\n"} ], "a": null, "ä": true }"#).unwrap();
        assert_eq!(
            String::from_utf8(to_bytes(&value)).unwrap(),
            r#"{"a":null,"b":[{"a":"<&>\n","z":1}],"ä":true}"#
        );
    }
}
