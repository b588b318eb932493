//! What templates look at.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A value. Copies share what they hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// What a missing key of a map gives: printed as `<no value>`, and its fields are missing too.
    Missing,
    /// Nothing, as JSON's `null`. Printed as `<no value>`; to ask for its fields is an error.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(Rc<str>),
    /// Values in order.
    List(Rc<[Value]>),
    /// A list that was never made: empty, and `null` in JSON.
    NoList,
    /// Values under names, which data has chosen.
    Map(Rc<Map>),
    /// A map of texts that was never made: empty, and `null` in JSON.
    NoMap,
    /// Values under names, which a program has chosen: to ask for another is an error.
    Struct(Rc<Struct>),
}

/// Values under names, in the order of the names.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// The values.
    pub entries: BTreeMap<Rc<str>, Value>,
    /// What `index` gives for a name that is not there: the zero of the values' type in Go, so an empty text for labels.
    pub zero: Value,
}

/// A record with fields of a program's choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Struct {
    /// What errors call its type.
    pub type_name: &'static str,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq)]
struct Field {
    name: &'static str,
    json_name: Option<&'static str>,
    value: Value,
}

impl Struct {
    /// Returns a record without fields.
    pub fn new(type_name: &'static str) -> Self {
        Self { type_name, fields: Vec::new() }
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push(Field { name, json_name: Some(name), value: value.into() });
        self
    }

    /// Adds a field that has another name in JSON.
    #[must_use]
    pub fn renamed(mut self, name: &'static str, json_name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push(Field { name, json_name: Some(json_name), value: value.into() });
        self
    }

    /// Adds a field that JSON never has.
    #[must_use]
    pub fn hidden(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push(Field { name, json_name: None, value: value.into() });
        self
    }

    /// Adds a field that JSON leaves out where it is empty or zero.
    #[must_use]
    pub fn optional(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.fields.push(Field { name, json_name: value.is_true().then_some(name), value });
        self
    }

    /// Returns a field's value.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.value)
    }

    /// Returns names and values of the fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.fields.iter().map(|field| (field.name, &field.value))
    }
}

impl Value {
    /// Returns the same with every text changed, but those of the names of fields and keys.
    #[must_use]
    pub fn map_texts(&self, change: &dyn Fn(&str) -> String) -> Self {
        let changed = |value: &Self| value.map_texts(change);
        match self {
            Self::Text(text) => change(text).into(),
            Self::List(items) => items.iter().map(changed).collect(),
            Self::Map(map) => {
                let entries = map.entries.iter().map(|(key, value)| (Rc::clone(key), changed(value)));
                Self::Map(Rc::new(Map { entries: entries.collect(), zero: changed(&map.zero) }))
            }
            Self::Struct(record) => {
                let fields =
                    record.fields.iter().map(|field| Field { value: changed(&field.value), ..*field });
                Self::Struct(Rc::new(Struct { type_name: record.type_name, fields: fields.collect() }))
            }
            other => other.clone(),
        }
    }

    /// Returns a JSON value as Go reads one into no type of its own.
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, Some(float)) => Self::Float(float),
                (None, None) => Self::text(number.to_string()),
            },
            serde_json::Value::String(text) => Self::text(text.as_str()),
            serde_json::Value::Array(items) => items.iter().map(Self::from_json).collect(),
            serde_json::Value::Object(object) => {
                let entries = object.iter().map(|(name, value)| (name.as_str(), Self::from_json(value)));
                Self::map(entries, Self::Nil)
            }
        }
    }

    /// Returns a list of texts; of none, one that was never made.
    pub fn texts<T: AsRef<str>>(texts: &[T]) -> Self {
        match texts {
            [] => Self::NoList,
            texts => texts.iter().map(|text| Self::text(text.as_ref())).collect(),
        }
    }

    /// Returns the items of a list.
    pub fn items(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            Self::NoList => Some(&[]),
            _ => None,
        }
    }

    /// Returns a text.
    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// Returns a map, of whose values `zero` is the empty one.
    pub fn map<N: Into<Rc<str>>>(entries: impl IntoIterator<Item = (N, Value)>, zero: Value) -> Self {
        let entries = entries.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Self::Map(Rc::new(Map { entries, zero }))
    }

    /// Whether conditions take it for true: it is neither missing, zero nor empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil | Self::NoList | Self::NoMap => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Struct(_) => true,
        }
    }

    /// Whether it is missing or nothing.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Missing | Self::Nil)
    }

    /// Returns what errors and `%T` call its type: the name of Go's.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "<nil>",
            Self::NoList => "[]string",
            Self::NoMap => "map[string]string",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(items) if items.iter().all(|item| matches!(item, Self::Text(_))) => "[]string",
            Self::List(_) => "[]interface {}",
            Self::Map(map) if matches!(map.zero, Self::Text(_)) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(record) => record.type_name,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Struct> for Value {
    fn from(record: Struct) -> Self {
        Self::Struct(Rc::new(record))
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}

/// Fields of records stay in their order.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing | Self::Nil | Self::NoList | Self::NoMap => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(map) => {
                let mut object = serializer.serialize_map(Some(map.entries.len()))?;
                map.entries.iter().try_for_each(|(name, value)| object.serialize_entry(name, value))?;
                object.end()
            }
            Self::Struct(record) => {
                let mut object = serializer.serialize_map(None)?;
                for field in &record.fields {
                    if let Some(name) = field.json_name {
                        object.serialize_entry(name, &field.value)?;
                    }
                }
                object.end()
            }
        }
    }
}
