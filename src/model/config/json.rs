//! A JSON document, and typed reads of its fields.
//!
//! `serde_json::Value` keeps the last of two equal keys and forgets the first, so a document is read into
//! [`Json`], which keeps objects as written; [`Section`] then refuses a repeated key and says which one it
//! was. A field that is `null` counts as absent.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::ConfigError;

/// The most characters of a value that an error message repeats.
const SHOWN_CHARACTERS: usize = 80;

/// One JSON value; objects keep every entry in the order of the text, repeated keys included.
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole document. Nesting beyond the limit of `serde_json` is an error.
    pub(super) fn parse(text: &str) -> Result<Json, ConfigError> {
        serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message = error.to_string();
            let position = format!(" at line {line} column {column}");
            ConfigError::Json {
                line,
                column,
                message: message.strip_suffix(&position).unwrap_or(&message).to_owned(),
            }
        })
    }

    /// What the value is, in words, for a message about a wrong type.
    fn describe(&self) -> String {
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(_) => format!("the boolean {}", self.shown()),
            Json::Number(_) => format!("the number {}", self.shown()),
            Json::String(_) => format!("the string {}", self.shown()),
            Json::Array(_) => format!("the array {}", self.shown()),
            Json::Object(_) => format!("the object {}", self.shown()),
        }
    }

    /// The value on one line, cut after [`SHOWN_CHARACTERS`].
    fn shown(&self) -> String {
        shorten(self.to_string())
    }
}

/// Cuts text that is too long for a message.
fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARACTERS) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

impl fmt::Display for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => formatter.write_str("null"),
            Json::Bool(value) => write!(formatter, "{value}"),
            Json::Number(value) => write!(formatter, "{value}"),
            // Debug escapes line breaks and control characters, so a message stays on one line.
            Json::String(value) => write!(formatter, "{value:?}"),
            Json::Array(values) => {
                formatter.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(formatter, "{separator}{value}")?;
                }
                formatter.write_str("]")
            }
            Json::Object(entries) => {
                formatter.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(formatter, "{separator}{key:?}: {value}")?;
                }
                formatter.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        // JSON has no other floats than finite ones.
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Json::Object(entries))
    }
}

/// An integer field: its name and the values it may take.
pub(super) struct Integer {
    pub(super) name: &'static str,
    pub(super) least: usize,
    pub(super) most: usize,
}

/// A field of any real value: its name, the values it may take, and the same in words.
pub(super) struct Real {
    pub(super) name: &'static str,
    pub(super) accepts: fn(f64) -> bool,
    pub(super) expected: &'static str,
}

/// A JSON object whose keys are unique, and the place it has in the document.
pub(super) struct Section<'a> {
    /// What stands before a field's name in messages: empty, or `rope_scaling.`.
    prefix: String,
    entries: BTreeMap<&'a str, &'a Json>,
}

impl<'a> Section<'a> {
    /// The whole document, which must be an object.
    pub(super) fn root(document: &'a Json) -> Result<Self, ConfigError> {
        match document {
            Json::Object(entries) => Section::new(String::new(), entries),
            other => Err(ConfigError::NotAnObject { found: other.describe() }),
        }
    }

    /// The object in field `name`.
    pub(super) fn section(&self, name: &str) -> Result<Option<Section<'a>>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Object(entries)) => Section::new(format!("{}{name}.", self.prefix), entries).map(Some),
            Some(other) => Err(self.wrong_type(name, other, "an object")),
        }
    }

    fn new(prefix: String, list: &'a [(String, Json)]) -> Result<Self, ConfigError> {
        let mut entries = BTreeMap::new();
        for (key, value) in list {
            if entries.insert(key.as_str(), value).is_some() {
                let field = format!("{prefix}{}", shorten(key.escape_debug().to_string()));
                return Err(ConfigError::Duplicate { field });
            }
        }
        Ok(Section { prefix, entries })
    }

    /// The value of field `name`, unless it is absent or `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a Json> {
        self.entries.get(name).copied().filter(|value| !matches!(value, Json::Null))
    }

    /// Refuses the absence of a field.
    pub(super) fn require<T>(&self, name: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing { field: self.path(name) })
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_type(name, other, "a boolean")),
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::String(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(name, other, "a string")),
        }
    }

    /// A string field that names one of `choices`.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
        supported: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(word) = self.string(name)? else {
            return Ok(None);
        };
        match choices.iter().find(|(choice, _)| *choice == word) {
            Some((_, value)) => Ok(Some(*value)),
            None => Err(self.unsupported(name, supported)),
        }
    }

    pub(super) fn real(&self, real: &Real) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(real.name) else {
            return Ok(None);
        };
        match value {
            Json::Number(number) => match number.as_f64() {
                Some(value) if (real.accepts)(value) => Ok(Some(value)),
                _ => Err(self.out_of_range(real.name, &value.shown(), real.expected)),
            },
            other => Err(self.wrong_type(real.name, other, "a number")),
        }
    }

    pub(super) fn required_real(&self, real: &Real) -> Result<f64, ConfigError> {
        self.require(real.name, self.real(real)?)
    }

    pub(super) fn integer(&self, integer: &Integer) -> Result<Option<usize>, ConfigError> {
        self.get(integer.name).map(|value| self.to_integer(integer, value, "an integer")).transpose()
    }

    pub(super) fn required_integer(&self, integer: &Integer) -> Result<usize, ConfigError> {
        self.require(integer.name, self.integer(integer)?)
    }

    /// A field that holds one integer or a list of them; absent means none.
    pub(super) fn integers(&self, integer: &Integer) -> Result<Vec<usize>, ConfigError> {
        let expected = "an integer or a list of integers";
        match self.get(integer.name) {
            None => Ok(Vec::new()),
            Some(Json::Array(values)) => {
                values.iter().map(|value| self.to_integer(integer, value, expected)).collect()
            }
            Some(value) => Ok(vec![self.to_integer(integer, value, expected)?]),
        }
    }

    fn to_integer(
        &self,
        integer: &Integer,
        value: &Json,
        expected: &'static str,
    ) -> Result<usize, ConfigError> {
        let Json::Number(number) = value else {
            return Err(self.wrong_type(integer.name, value, expected));
        };
        // serde_json holds integers that fit neither i64 nor u64 as floats.
        let is_integer =
            !number.is_f64() || number.as_f64().is_some_and(|value| value.abs() >= i64::MAX as f64);
        if !is_integer {
            return Err(self.wrong_type(integer.name, value, expected));
        }
        let Integer { name, least, most } = integer;
        number
            .as_u64()
            .and_then(|value| usize::try_from(value).ok())
            .filter(|value| (least..=most).contains(&value))
            .ok_or_else(|| {
                self.out_of_range(name, &value.shown(), &format!("an integer from {least} to {most}"))
            })
    }

    /// The error that a field's value is meaningful but not implemented here.
    pub(super) fn unsupported(&self, name: &str, supported: &str) -> ConfigError {
        ConfigError::Unsupported {
            field: self.path(name),
            value: self.shown(name),
            supported: supported.to_owned(),
        }
    }

    /// The error that a field disagrees with another one; `reason` completes "is 3, but ...".
    pub(super) fn contradiction(&self, name: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Contradiction { field: self.path(name), value: self.shown(name), reason: reason.into() }
    }

    /// The error that `value`, all of field `name` or an element of it, is too small or too large.
    pub(super) fn out_of_range(&self, name: &str, value: &str, expected: &str) -> ConfigError {
        ConfigError::OutOfRange {
            field: self.path(name),
            value: value.to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// The error that `value`, all of field `name` or an element of it, is of another JSON type.
    fn wrong_type(&self, name: &str, value: &Json, expected: &'static str) -> ConfigError {
        ConfigError::WrongType { field: self.path(name), found: value.describe(), expected }
    }

    /// The name of a field as messages give it: `rope_scaling.factor`.
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn shown(&self, name: &str) -> String {
        self.entries.get(name).map_or_else(|| "absent".to_owned(), |value| value.shown())
    }
}
