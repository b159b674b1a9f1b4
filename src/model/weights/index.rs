//! The index of a sharded checkpoint, `model.safetensors.index.json`: which tensor is in which file.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::de::MapAccess;

use super::error::WeightsError;
use super::header::{Entries, Entry, Object};

/// Reads an index: tensor name to shard file name; `path` is for messages only.
///
/// # Errors
/// [`WeightsError::Utf8`], [`WeightsError::Json`], [`WeightsError::DuplicateTensor`], and
/// [`WeightsError::ShardName`] for a shard that is not a plain file name, or has control characters in it.
pub fn parse(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| WeightsError::Utf8 { file: path.to_owned(), offset: e.valid_up_to() })?;
    let Object(index): Object<Index> = serde_json::from_str(text)
        .map_err(|e| WeightsError::Json { file: path.to_owned(), message: format!("index: {e}") })?;

    let mut shards = BTreeMap::new();
    for (tensor, shard) in index.weight_map.0 {
        let mut parts = Path::new(&shard).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        if !plain || shard.contains(['/', '\\']) || shard.contains(char::is_control) {
            return Err(WeightsError::ShardName { index: path.to_owned(), tensor, shard });
        }
        if shards.insert(tensor.clone(), shard).is_some() {
            return Err(WeightsError::DuplicateTensor {
                tensor,
                first: path.to_owned(),
                second: path.to_owned(),
            });
        }
    }
    Ok(shards)
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: Entries<String>,
}

impl Entry for String {
    fn read<'de, A: MapAccess<'de>>(_: &str, map: &mut A) -> Result<Self, A::Error> {
        map.next_value()
    }
}
