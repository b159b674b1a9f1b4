//! The header of a safetensors file: names, element types, shapes and byte ranges.
//!
//! A file is eight bytes of little-endian header length, a JSON object, and the tensors' bytes, row-major and
//! little-endian. The tensors must cover the bytes after the header without holes or overlaps. The JSON goes
//! through `serde_json`; the rest is checked here, so that each defect is reported with its tensor and numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::error::WeightsError;

/// Headers above this are refused, as the reference implementation of the format does.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $bits:literal;)*) => {
        /// Element types of the format. All can stand in a header; which of them a weight may have is said where
        /// it is used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Dtype { $($(#[$doc])* $variant,)* }

        impl Dtype {
            fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// The type's name in a header.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Bits of one element.
            pub fn bits(self) -> u64 {
                match self { $(Self::$variant => $bits,)* }
            }
        }
    };
}

dtypes! {
    /// Boolean, one byte.
    Bool = "BOOL", 8;
    /// 4-bit float, two in a byte.
    F4 = "F4", 4;
    /// 6-bit float e2m3.
    F6E2M3 = "F6_E2M3", 6;
    /// 6-bit float e3m2.
    F6E3M2 = "F6_E3M2", 6;
    /// Unsigned byte.
    U8 = "U8", 8;
    /// Signed byte.
    I8 = "I8", 8;
    /// 8-bit float e5m2.
    F8E5M2 = "F8_E5M2", 8;
    /// 8-bit float e4m3 (finite, one NaN).
    F8E4M3 = "F8_E4M3", 8;
    /// 8-bit float e5m2 without negative zero.
    F8E5M2Fnuz = "F8_E5M2FNUZ", 8;
    /// 8-bit float e4m3 without negative zero.
    F8E4M3Fnuz = "F8_E4M3FNUZ", 8;
    /// 8-bit exponent, a power of two.
    F8E8M0 = "F8_E8M0", 8;
    /// Signed 16-bit integer.
    I16 = "I16", 16;
    /// Unsigned 16-bit integer.
    U16 = "U16", 16;
    /// IEEE half precision.
    F16 = "F16", 16;
    /// bfloat16.
    Bf16 = "BF16", 16;
    /// Signed 32-bit integer.
    I32 = "I32", 32;
    /// Unsigned 32-bit integer.
    U32 = "U32", 32;
    /// IEEE single precision.
    F32 = "F32", 32;
    /// Single-precision complex number.
    C64 = "C64", 64;
    /// IEEE double precision.
    F64 = "F64", 64;
    /// Signed 64-bit integer.
    I64 = "I64", 64;
    /// Unsigned 64-bit integer.
    U64 = "U64", 64;
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a tensor lies in its file, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of the file, counted from its start.
    pub bytes: Range<usize>,
}

/// Reads the header at the start of `file`, all of a safetensors file's bytes; `path` is for messages only.
///
/// # Errors
/// Any departure from the format: see the variants of [`WeightsError`].
pub fn parse(file: &[u8], path: &Path) -> Result<BTreeMap<String, TensorInfo>, WeightsError> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(WeightsError::TooShort { file: path.to_owned(), found_bytes: file.len() });
    };
    let header_bytes = u64::from_le_bytes(*length);
    let present = rest.len() as u64;
    let (limit_bytes, reason) = if present < MAX_HEADER_BYTES {
        (present, "the rest of the file")
    } else {
        (MAX_HEADER_BYTES, "the format's limit")
    };
    if header_bytes > limit_bytes {
        return Err(WeightsError::HeaderLength { file: path.to_owned(), header_bytes, limit_bytes, reason });
    }
    let (header, data) = rest.split_at(header_bytes as usize);
    let text = std::str::from_utf8(header)
        .map_err(|e| WeightsError::Utf8 { file: path.to_owned(), offset: 8 + e.valid_up_to() })?;
    let Entries(entries): Entries<RawEntry> = serde_json::from_str(text)
        .map_err(|e| WeightsError::Json { file: path.to_owned(), message: format!("header: {e}") })?;

    let data_start = 8 + header.len();
    let mut tensors = BTreeMap::new();
    for (name, entry) in entries {
        let RawEntry::Tensor(entry) = entry else { continue };
        let info = entry.check(&name, path, data_start)?;
        if tensors.insert(name.clone(), info).is_some() {
            return Err(WeightsError::DuplicateTensor {
                tensor: name,
                first: path.to_owned(),
                second: path.to_owned(),
            });
        }
    }
    check_layout(&tensors, path, data_start, data.len())?;
    Ok(tensors)
}

/// Every byte after the header belongs to exactly one tensor.
fn check_layout(
    tensors: &BTreeMap<String, TensorInfo>,
    path: &Path,
    data_start: usize,
    data_bytes: usize,
) -> Result<(), WeightsError> {
    let mut by_offset: Vec<_> = tensors.iter().collect();
    by_offset.sort_by_key(|(_, info)| (info.bytes.start, info.bytes.end));
    let mut end = data_start;
    for (name, info) in by_offset {
        if info.bytes.start != end {
            return Err(WeightsError::Layout {
                file: path.to_owned(),
                tensor: name.clone(),
                found: (info.bytes.start - data_start) as u64,
                expected: (end - data_start) as u64,
            });
        }
        end = info.bytes.end;
    }
    let expected_bytes = (end - data_start) as u64;
    let found_bytes = data_bytes as u64;
    if expected_bytes != found_bytes {
        return Err(WeightsError::DataLength { file: path.to_owned(), found_bytes, expected_bytes });
    }
    Ok(())
}

/// A tensor's entry as it stands in the header.
#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl RawTensor {
    fn check(self, tensor: &str, path: &Path, data_start: usize) -> Result<TensorInfo, WeightsError> {
        let Some(dtype) = Dtype::from_name(&self.dtype) else {
            let (file, tensor, found) = (path.to_owned(), tensor.to_owned(), self.dtype);
            return Err(WeightsError::UnknownDtype { file, tensor, found });
        };
        let overflow = || WeightsError::ShapeOverflow {
            file: path.to_owned(),
            tensor: tensor.to_owned(),
            shape: self.shape.clone(),
        };
        let elements =
            self.shape.iter().try_fold(1_u64, |n, &extent| n.checked_mul(extent)).ok_or_else(overflow)?;
        let bits = elements.checked_mul(dtype.bits()).ok_or_else(overflow)?;
        let [start, end] = self.data_offsets;
        let expected_bytes = bits / 8;
        let offsets = WeightsError::Offsets {
            file: path.to_owned(),
            tensor: tensor.to_owned(),
            start,
            end,
            expected_bytes,
        };
        if bits % 8 != 0 || end.checked_sub(start) != Some(expected_bytes) {
            return Err(offsets);
        }
        let place =
            |offset: u64| usize::try_from(offset).ok().and_then(|offset| data_start.checked_add(offset));
        let (Some(start), Some(end)) = (place(start), place(end)) else {
            return Err(offsets);
        };
        let shape = self
            .shape
            .iter()
            .map(|&n| usize::try_from(n))
            .collect::<Result<_, _>>()
            .map_err(|_| overflow())?;
        Ok(TensorInfo { dtype, shape, bytes: start..end })
    }
}

/// An entry of the header: free-form metadata, which nothing here depends on, or a tensor.
enum RawEntry {
    Metadata,
    Tensor(RawTensor),
}

impl Entry for RawEntry {
    fn read<'de, A: MapAccess<'de>>(name: &str, map: &mut A) -> Result<Self, A::Error> {
        if name == "__metadata__" {
            map.next_value::<IgnoredAny>().map(|_| Self::Metadata)
        } else {
            map.next_value().map(|Object(tensor)| Self::Tensor(tensor))
        }
    }
}

/// A value of a JSON object whose name is known when it is read.
pub(super) trait Entry: Sized {
    /// Reads the value that belongs to `name`.
    fn read<'de, A: MapAccess<'de>>(name: &str, map: &mut A) -> Result<Self, A::Error>;
}

/// A JSON object read as a struct, whose derived reader alone would take an array of its fields too.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// A JSON object's entries in order, repeated names kept so that they can be reported.
pub(super) struct Entries<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Entry> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Entry> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let entry = T::read(&name, &mut map)
                        .map_err(|e| de::Error::custom(format_args!("tensor `{name}`: {e}")))?;
                    entries.push((name, entry));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}
