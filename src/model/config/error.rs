//! The ways a configuration can be wrong, each with a one-line message.

/// What is wrong with a `config.json` or `generation_config.json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not JSON, is nested too deeply, or holds a number beyond a 64-bit float.
    #[error("config is not valid JSON, line {line} column {column}: {message}")]
    Json {
        /// Line of the offending character, from 1.
        line: usize,
        /// Column of the offending character, from 1; 0 after a line break.
        column: usize,
        /// What the JSON parser says.
        message: String,
    },
    /// The document is a JSON value of another type.
    #[error("config is {found}; expected an object")]
    NotAnObject {
        /// The value, in words.
        found: String,
    },
    /// A field that has no safe default is absent or `null`.
    #[error("config field `{field}` is required, but missing or null")]
    Missing {
        /// Path of the field.
        field: String,
    },
    /// A field has another JSON type.
    #[error("config field `{field}` is {found}; expected {expected}")]
    WrongType {
        /// Path of the field.
        field: String,
        /// The value, in words.
        found: String,
        /// The type it should have.
        expected: &'static str,
    },
    /// A field asks for something that is not implemented here.
    #[error("config field `{field}` is {value}; supported: {supported}")]
    Unsupported {
        /// Path of the field.
        field: String,
        /// The value as JSON.
        value: String,
        /// What may stand there.
        supported: String,
    },
    /// Two fields cannot both be true.
    #[error("config field `{field}` is {value}, but {reason}")]
    Contradiction {
        /// Path of the field.
        field: String,
        /// The value as JSON.
        value: String,
        /// The other field, and what it allows.
        reason: String,
    },
    /// A number is too small or too large.
    #[error("config field `{field}` is {value}; expected {expected}")]
    OutOfRange {
        /// Path of the field.
        field: String,
        /// The value as JSON.
        value: String,
        /// The values it may take.
        expected: String,
    },
    /// A key occurs twice in one object.
    #[error("config field `{field}` appears more than once")]
    Duplicate {
        /// Path of the field.
        field: String,
    },
}
