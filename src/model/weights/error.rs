//! What can be wrong with the weights of a checkpoint.

use std::fmt::{self, Write};
use std::io;
use std::path::PathBuf;

use super::header::Dtype;

/// A defect of a checkpoint's weights, with the file and the tensor that show it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system could not open, read or map a file.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory holds no weights in a layout that is read here.
    #[error(
        "{directory}: not a checkpoint: expected model.safetensors or model.safetensors.index.json in it",
        directory = directory.display()
    )]
    NotACheckpoint {
        /// The directory.
        directory: PathBuf,
    },
    /// The file is too short for the eight bytes that give the header's length.
    #[error("{file}: {found_bytes} bytes, expected at least 8 for the header length", file = file.display())]
    TooShort {
        /// The file.
        file: PathBuf,
        /// How long it is.
        found_bytes: usize,
    },
    /// The header does not fit in the file, or is larger than any real one.
    #[error(
        "{file}: header length {header_bytes} bytes, expected at most {limit_bytes} ({reason})",
        file = file.display()
    )]
    HeaderLength {
        /// The file.
        file: PathBuf,
        /// The length that the file states.
        header_bytes: u64,
        /// The largest length that would do.
        limit_bytes: u64,
        /// Where the limit comes from.
        reason: &'static str,
    },
    /// The header or the index is not UTF-8.
    #[error("{file}: invalid UTF-8 at byte {offset}", file = file.display())]
    Utf8 {
        /// The file.
        file: PathBuf,
        /// The first byte that is no UTF-8, counted from the start of the text.
        offset: usize,
    },
    /// The header or the index is not the JSON that the format asks for.
    #[error("{file}: {message}", file = file.display(), message = Shown(message))]
    Json {
        /// The file.
        file: PathBuf,
        /// What the JSON reader said, with line and column.
        message: String,
    },
    /// A header names an element type that the format does not have or that is not read here.
    #[error(
        "{file}: tensor `{tensor}`: unknown dtype \"{found}\"",
        file = file.display(), tensor = Shown(tensor), found = Shown(found)
    )]
    UnknownDtype {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The dtype's name as it stands in the header.
        found: String,
    },
    /// A tensor's shape describes more elements than can be addressed.
    #[error(
        "{file}: tensor `{tensor}`: shape {shape} overflows",
        file = file.display(), tensor = Shown(tensor), shape = Extents(shape)
    )]
    ShapeOverflow {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A tensor's byte range does not agree with its shape and dtype.
    #[error(
        "{file}: tensor `{tensor}`: data offsets {start}..{end}, expected {expected_bytes} bytes for its shape and dtype",
        file = file.display(), tensor = Shown(tensor)
    )]
    Offsets {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// First byte, counted from the end of the header.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Length that shape and dtype ask for.
        expected_bytes: u64,
    },
    /// The tensors of a file do not lie one after the other without holes or overlaps.
    #[error(
        "{file}: tensor `{tensor}`: data starts at {found}, expected {expected} (no holes, no overlaps)",
        file = file.display(), tensor = Shown(tensor)
    )]
    Layout {
        /// The file.
        file: PathBuf,
        /// The tensor that is out of place.
        tensor: String,
        /// Where it starts, counted from the end of the header.
        found: u64,
        /// Where the tensor before it ends.
        expected: u64,
    },
    /// The file ends before or after the last tensor's data.
    #[error(
        "{file}: {found_bytes} bytes of tensor data, expected {expected_bytes}: the file is {state}",
        file = file.display(), state = if found_bytes < expected_bytes { "truncated" } else { "too long" }
    )]
    DataLength {
        /// The file.
        file: PathBuf,
        /// Bytes after the header.
        found_bytes: u64,
        /// Bytes that the header describes.
        expected_bytes: u64,
    },
    /// A tensor is described twice.
    #[error(
        "tensor `{tensor}` is in {first} and again in {second}",
        first = first.display(), second = second.display(), tensor = Shown(tensor)
    )]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// The file that describes it first.
        first: PathBuf,
        /// The file that describes it again (may be the same).
        second: PathBuf,
    },
    /// The index names a shard that is not a plain file name.
    #[error(
        "{index}: tensor `{tensor}`: shard \"{shard}\", expected the name of a file beside the index",
        index = index.display(), tensor = Shown(tensor), shard = Shown(shard)
    )]
    ShardName {
        /// The index.
        index: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard's name.
        shard: String,
    },
    /// The index names a shard that does not exist.
    #[error("{index}: shard {shard} is missing", index = index.display(), shard = shard.display())]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The missing file.
        shard: PathBuf,
    },
    /// The index says that a tensor is in a shard which does not have it.
    #[error(
        "{index}: tensor `{tensor}` should be in {shard}, which does not have it",
        index = index.display(), shard = shard.display(), tensor = Shown(tensor)
    )]
    IndexedTensorAbsent {
        /// The index.
        index: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: PathBuf,
    },
    /// A tensor that the configuration asks for is not there.
    #[error(
        "{checkpoint}: tensor `{tensor}` is missing, expected shape {expected:?}",
        checkpoint = checkpoint.display(), tensor = Shown(tensor)
    )]
    MissingTensor {
        /// The checkpoint's file or index.
        checkpoint: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A layer has a weight that nothing in the configuration asks for: it describes another network.
    #[error(
        "{checkpoint}: tensor `{tensor}` has no place in the network of {layers} layers that config.json describes",
        checkpoint = checkpoint.display(), tensor = Shown(tensor)
    )]
    UnexpectedTensor {
        /// The checkpoint's file or index.
        checkpoint: PathBuf,
        /// The tensor.
        tensor: String,
        /// `num_hidden_layers` of the configuration.
        layers: usize,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error(
        "{file}: tensor `{tensor}`: shape {found}, expected {expected:?}",
        file = file.display(), tensor = Shown(tensor), found = Extents(found)
    )]
    Shape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor has an element type that cannot be used in its place.
    #[error(
        "{file}: tensor `{tensor}`: dtype {found}, expected {expected}",
        file = file.display(), tensor = Shown(tensor)
    )]
    WrongDtype {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype.
        found: Dtype,
        /// The dtypes that would do.
        expected: &'static str,
    },
    /// A block scale is not a number that can scale anything.
    #[error(
        "{file}: tensor `{tensor}`: scale [{row}, {column}] is {found}, expected a finite number not below zero",
        file = file.display(), tensor = Shown(tensor)
    )]
    Scale {
        /// The file.
        file: PathBuf,
        /// The tensor of scales.
        tensor: String,
        /// Row of the 128x128 block.
        row: usize,
        /// Column of the 128x128 block.
        column: usize,
        /// The value.
        found: f32,
    },
}

/// The most characters of a text from a file that a message repeats, and the most extents of a shape.
const SHOWN_CHARACTERS: usize = 200;
const SHOWN_EXTENTS: usize = 8;

/// Text from a file as a message shows it: on one line, without control characters, not too long.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(SHOWN_CHARACTERS) {
            match character {
                '"' | '\'' | '\\' => f.write_char(character)?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        f.write_str(if characters.next().is_some() { "..." } else { "" })
    }
}

/// A shape from a file as a message shows it, cut where it has too many extents.
struct Extents<'a, T>(&'a [T]);

impl<T: fmt::Debug> fmt::Display for Extents<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN_EXTENTS) {
            Some(first) if self.0.len() > SHOWN_EXTENTS => {
                write!(f, "{first:?} (the first of {} extents)", self.0.len())
            }
            _ => write!(f, "{:?}", self.0),
        }
    }
}
