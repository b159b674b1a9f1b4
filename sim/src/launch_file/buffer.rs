//! Buffers of a launch file: what they are made of, and their bytes.

use super::LaunchFileError;
use crate::context::{Random, mix};
use crate::scalar::Rounding;
use crate::scalar::exact::Overflow;
use crate::scalar::format::{BF16, E4M3, E5M2, F16, Format};
use rorqual_ptx::types::Type;
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

/// A buffer as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferText {
    /// Element type; `u64` for pointers.
    pub dtype: Option<String>,
    /// Extents.
    pub shape: Option<Vec<u64>>,
    /// A file with the bytes.
    pub file: Option<String>,
    /// What to fill it with.
    pub fill: Option<Fill>,
    /// Number of the device.
    #[serde(default)]
    pub device: u32,
    /// Where to write the bytes after the launches.
    pub save: Option<String>,
    /// Addresses of other buffers, instead of elements.
    pub pointers: Option<Vec<PointerText>>,
    /// Other devices that may access it.
    #[serde(default)]
    pub peers: Vec<u32>,
    /// Buffers of several devices, of the same size: the name stands for a multicast object of them, for `multimem`
    /// instructions, instead of memory of its own.
    pub multicast: Option<Vec<String>>,
}

/// What to fill a buffer with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a fill is a number, \"poison\" or {\"random\": seed}")]
pub enum Fill {
    /// A number in every element.
    Number(f64),
    /// `"poison"`: nothing, reading it is a fault.
    Word(String),
    /// Random elements of a seed.
    Random(RandomFill),
}

/// `{"random": seed}`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomFill {
    /// The seed.
    pub random: u64,
}

/// The address of a buffer plus bytes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointerText {
    /// The buffer's name.
    pub buffer: String,
    /// Bytes added.
    #[serde(default)]
    pub offset: u64,
}

/// An element type of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementType(pub Type);

impl ElementType {
    /// The type of a name as launch files spell it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(Self(match name {
            "u8" => Type::U8,
            "s8" => Type::S8,
            "u16" => Type::U16,
            "s16" => Type::S16,
            "u32" => Type::U32,
            "s32" => Type::S32,
            "u64" => Type::U64,
            "s64" => Type::S64,
            "f16" => Type::F16,
            "bf16" => Type::Bf16,
            "f32" => Type::F32,
            "f64" => Type::F64,
            "f8e4m3" => Type::E4m3,
            "f8e5m2" => Type::E5m2,
            _ => return None,
        }))
    }

    /// The bits of a number, rounded to the nearest.
    fn encode(self, value: f64) -> Option<u64> {
        let format = |format: Format| Some(format.encode(value, Rounding::Nearest, Overflow::Ieee));
        match self.0 {
            Type::F16 => format(F16),
            Type::Bf16 => format(BF16),
            Type::E4m3 => format(E4M3),
            Type::E5m2 => format(E5M2),
            Type::F32 => Some(u64::from((value as f32).to_bits())),
            Type::F64 => Some(value.to_bits()),
            ty => {
                let bits = ty.bits();
                let (low, high) = if ty.is_signed() {
                    (-(2f64.powi(bits as i32 - 1)), 2f64.powi(bits as i32 - 1))
                } else {
                    (0.0, 2f64.powi(bits as i32))
                };
                let whole = value.fract() == 0.0 && value >= low && value < high;
                whole.then(|| if value < 0.0 { (value as i64).cast_unsigned() } else { value as u64 })
            }
        }
    }
}

/// The bytes of a buffer, or how many of them are undefined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes without a value.
    Undefined(u64),
}

impl Contents {
    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Undefined(bytes) => *bytes,
        }
    }
}

impl BufferText {
    /// Whether no key but `multicast` says what it is.
    #[must_use]
    pub const fn is_only_multicast(&self) -> bool {
        self.dtype.is_none()
            && self.shape.is_none()
            && self.file.is_none()
            && self.fill.is_none()
            && self.save.is_none()
            && self.pointers.is_none()
            && self.peers.is_empty()
    }

    /// What the buffer starts with; pointers are filled in later.
    ///
    /// # Errors
    ///
    /// If keys are missing or contradict each other, the file is not of the right size, or it is too much.
    pub fn contents(&self, name: &str, folder: &Path, most_bytes: u64) -> Result<Contents, LaunchFileError> {
        let error = |message: String| LaunchFileError::buffer(name, message);
        if let Some(pointers) = &self.pointers {
            if self.file.is_some() || self.fill.is_some() || self.shape.is_some() || self.dtype.is_some() {
                return Err(error("`pointers` excludes `dtype`, `shape`, `file` and `fill`".to_owned()));
            }
            return Ok(Contents::Bytes(vec![0; pointers.len() * 8]));
        }
        let dtype = self.dtype.as_deref().ok_or_else(|| error("`dtype` is missing".to_owned()))?;
        let element = ElementType::from_name(dtype).ok_or_else(|| {
            error(format!(
                "dtype `{dtype}`, expected one of u8 s8 u16 s16 u32 s32 u64 s64 f16 bf16 f32 f64 f8e4m3 f8e5m2"
            ))
        })?;
        let shape = self.shape.as_ref().ok_or_else(|| error("`shape` is missing".to_owned()))?;
        let width = u64::from(element.0.bytes());
        let bytes = shape.iter().try_fold(width, |bytes, extent| bytes.checked_mul(*extent));
        let bytes = bytes
            .filter(|bytes| *bytes <= most_bytes)
            .ok_or_else(|| error(format!("shape {shape:?} of {dtype} is more than {most_bytes} bytes")))?;
        match (&self.file, &self.fill) {
            (Some(_), Some(_)) => Err(error("`file` and `fill` exclude each other".to_owned())),
            (Some(file), None) => {
                let path = folder.join(file);
                let data = read_file(&path, bytes)?;
                if data.len() as u64 == bytes {
                    return Ok(Contents::Bytes(data));
                }
                let more = if data.len() as u64 > bytes { "more than " } else { "" };
                Err(error(format!(
                    "{} has {more}{} bytes, shape {shape:?} of {dtype} is {bytes}",
                    path.display(),
                    (data.len() as u64).min(bytes)
                )))
            }
            (None, Some(Fill::Number(value))) => {
                let bits =
                    element.encode(*value).ok_or_else(|| error(format!("fill {value} is no {dtype}")))?;
                let count = usize::try_from(bytes / width).map_err(|_| error("too large".to_owned()))?;
                Ok(Contents::Bytes(bits.to_le_bytes()[..width as usize].repeat(count)))
            }
            (None, Some(Fill::Random(fill))) => Ok(Contents::Bytes(random(element, fill.random, bytes))),
            (None, Some(Fill::Word(word))) if word != "poison" => {
                Err(error(format!("fill `{word}`, expected a number, \"poison\" or {{\"random\": seed}}")))
            }
            (None, _) => Ok(Contents::Undefined(bytes)),
        }
    }
}

/// The bytes of a file, one more than expected if it is longer. What is no regular file may have no end.
///
/// # Errors
///
/// If it is no regular file, or cannot be read.
pub(super) fn read_file(path: &Path, expected: u64) -> Result<Vec<u8>, LaunchFileError> {
    let read = || {
        let mut data = Vec::new();
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        std::fs::File::open(path)?.take(expected.saturating_add(1)).read_to_end(&mut data)?;
        Ok(data)
    };
    read().map_err(|error| LaunchFileError::read(path, &error))
}

/// Random elements: floats in [-1, 1), integers over their whole range.
fn random(element: ElementType, seed: u64, bytes: u64) -> Vec<u8> {
    let width = element.0.bytes() as usize;
    let mut random = Random::new(mix(seed));
    let mut data = Vec::with_capacity(bytes as usize);
    for _ in 0..bytes as usize / width {
        let word = random.word();
        let bits = if element.0.is_float() {
            let unit = (word >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
            element.encode(unit).unwrap_or(0)
        } else {
            word
        };
        data.extend_from_slice(&bits.to_le_bytes()[..width]);
    }
    data
}
