//! Arguments of a launch file: the bytes of kernel parameters.

use super::error::tensor_map_message;
use crate::tensor_map::{ElementType, Interleave, L2Promotion, OobFill, Swizzle, TensorMap, TileSpec};
use serde::Deserialize;

/// One argument: exactly one of the keys, with `offset` for a buffer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an argument, an object such as {\"u32\": 1}")]
pub struct ArgumentText {
    /// The address of a buffer.
    pub buffer: Option<String>,
    /// Bytes added to the buffer's address.
    pub offset: Option<u64>,
    /// Another spelling of `offset`, the one that fields of structs have.
    pub buffer_offset: Option<u64>,
    /// A number of the type.
    pub u8: Option<u8>,
    /// A number of the type.
    pub u16: Option<u16>,
    /// A number of the type.
    pub u32: Option<u32>,
    /// A number of the type.
    pub u64: Option<u64>,
    /// A number of the type.
    pub s32: Option<i32>,
    /// A number of the type.
    pub s64: Option<i64>,
    /// A number, or its bits as a hex string.
    pub f32: Option<FloatText>,
    /// A number, or its bits as a hex string.
    pub f64: Option<FloatText>,
    /// Bytes as a hex string.
    pub bytes: Option<String>,
    /// A tensor map.
    pub tensor_map: Option<TensorMapText>,
    /// A struct by value.
    pub r#struct: Option<StructText>,
}

/// A float that JSON can hold, or the bits of one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a float is a number or a string of hex digits")]
pub enum FloatText {
    /// A number.
    Number(f64),
    /// Hex digits.
    Bits(String),
}

/// A struct by value: zeros, with fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StructText {
    /// Bytes.
    pub size: usize,
    /// Fields.
    pub fields: Vec<FieldText>,
}

/// A field of a struct; `offset` is its place in the struct, `buffer_offset` is added to a buffer's address.
pub type FieldText = ArgumentText;

/// The arguments of `cuTensorMapEncodeTiled`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorMapText {
    /// The buffer of the tensor.
    pub buffer: String,
    /// Bytes from the start of the buffer.
    #[serde(default)]
    pub offset: u64,
    /// Element type.
    pub dtype: String,
    /// Extents, innermost first.
    pub dims: Vec<u64>,
    /// Strides in bytes of dimensions 1 and up.
    #[serde(default)]
    pub strides: Vec<u64>,
    /// Extents of the box.
    #[serde(rename = "box")]
    pub box_dims: Vec<u32>,
    /// Element strides; ones if absent.
    pub element_strides: Option<Vec<u32>>,
    /// `none`, `16B` or `32B`.
    pub interleave: Option<String>,
    /// `none`, `32B`, `64B` or `128B`.
    pub swizzle: Option<String>,
    /// `none`, `64B`, `128B` or `256B`.
    pub l2_promotion: Option<String>,
    /// `zero` or `nan`.
    pub oob_fill: Option<String>,
}

/// What an argument needs to know of buffers: address and bytes by name.
pub trait Buffers {
    /// Address and bytes of a buffer.
    fn find(&self, name: &str) -> Option<(u64, u64)>;
}

impl ArgumentText {
    /// The bytes of the argument.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn encode(&self, buffers: &impl Buffers) -> Result<Vec<u8>, String> {
        if self.offset.is_some() && self.buffer.is_none() {
            return Err("`offset` without `buffer`".to_owned());
        }
        self.value(self.offset.or(self.buffer_offset).unwrap_or(0), buffers)
    }

    fn value(&self, buffer_offset: u64, buffers: &impl Buffers) -> Result<Vec<u8>, String> {
        let mut values = Vec::new();
        if let Some(name) = &self.buffer {
            let (address, bytes) =
                buffers.find(name).ok_or_else(|| format!("there is no buffer `{name}`"))?;
            if buffer_offset > bytes {
                return Err(format!("offset {buffer_offset} in buffer `{name}` of {bytes} bytes"));
            }
            values.push((address + buffer_offset).to_le_bytes().to_vec());
        } else if self.buffer_offset.is_some() {
            return Err("`buffer_offset` without `buffer`".to_owned());
        }
        values.extend(self.u8.map(|value| vec![value]));
        values.extend(self.u16.map(|value| value.to_le_bytes().to_vec()));
        values.extend(self.u32.map(|value| value.to_le_bytes().to_vec()));
        values.extend(self.u64.map(|value| value.to_le_bytes().to_vec()));
        values.extend(self.s32.map(|value| value.to_le_bytes().to_vec()));
        values.extend(self.s64.map(|value| value.to_le_bytes().to_vec()));
        if let Some(value) = &self.f32 {
            let bits = match value {
                FloatText::Number(value) if value.is_finite() && (*value as f32).is_infinite() => {
                    return Err(format!("{value:e} is beyond the range of f32"));
                }
                FloatText::Number(value) => (*value as f32).to_bits(),
                FloatText::Bits(digits) => hex_number(digits, 8)? as u32,
            };
            values.push(bits.to_le_bytes().to_vec());
        }
        if let Some(value) = &self.f64 {
            let bits = match value {
                FloatText::Number(value) => value.to_bits(),
                FloatText::Bits(digits) => hex_number(digits, 16)?,
            };
            values.push(bits.to_le_bytes().to_vec());
        }
        if let Some(digits) = &self.bytes {
            values.push(hex_bytes(digits)?);
        }
        if let Some(map) = &self.tensor_map {
            values.push(map.encode(buffers)?);
        }
        if let Some(structure) = &self.r#struct {
            values.push(structure.encode(buffers)?);
        }
        match <[Vec<u8>; 1]>::try_from(values) {
            Ok([value]) => Ok(value),
            Err(values) => Err(format!(
                "an argument has one of buffer, u8, u16, u32, u64, s32, s64, f32, f64, bytes, tensor_map, struct; \
                 this has {}",
                values.len()
            )),
        }
    }
}

impl StructText {
    fn encode(&self, buffers: &impl Buffers) -> Result<Vec<u8>, String> {
        const MOST_BYTES: usize = 1 << 16;
        if self.size > MOST_BYTES {
            return Err(format!("a struct of {} bytes, at most {MOST_BYTES}", self.size));
        }
        let mut bytes = vec![0; self.size];
        for (index, field) in self.fields.iter().enumerate() {
            let offset =
                field.offset.ok_or_else(|| format!("field {index} of the struct has no `offset`"))?;
            let value = field
                .value(field.buffer_offset.unwrap_or(0), buffers)
                .map_err(|message| format!("field {index} of the struct: {message}"))?;
            let place = usize::try_from(offset)
                .ok()
                .and_then(|start| Some(start..start.checked_add(value.len())?))
                .and_then(|range| bytes.get_mut(range));
            let place = place.ok_or_else(|| {
                format!(
                    "field {index} of {} bytes at {offset} is outside of the struct's {}",
                    value.len(),
                    self.size
                )
            })?;
            place.copy_from_slice(&value);
        }
        Ok(bytes)
    }
}

impl TensorMapText {
    fn encode(&self, buffers: &impl Buffers) -> Result<Vec<u8>, String> {
        let (address, bytes) =
            buffers.find(&self.buffer).ok_or_else(|| format!("there is no buffer `{}`", self.buffer))?;
        fn choice<T>(
            name: Option<&str>,
            what: &str,
            of: impl Fn(&str) -> Option<T>,
        ) -> Result<Option<T>, String> {
            name.map(|name| of(name).ok_or_else(|| format!("tensor map: {what} `{name}` is not known")))
                .transpose()
        }
        let element = choice(Some(&self.dtype), "dtype", element_type)?.ok_or("tensor map: no dtype")?;
        let ones = vec![1; self.dims.len()];
        let element_strides = self.element_strides.as_ref().unwrap_or(&ones);
        let mut spec = TileSpec::new(
            element,
            address.wrapping_add(self.offset),
            &self.dims,
            &self.strides,
            &self.box_dims,
            element_strides,
        )
        .map_err(|error| tensor_map_message(&error))?;
        if let Some(interleave) = choice(self.interleave.as_deref(), "interleave", Interleave::from_name)? {
            spec.interleave = interleave;
        }
        if let Some(swizzle) = choice(self.swizzle.as_deref(), "swizzle", Swizzle::from_name)? {
            spec.swizzle = swizzle;
        }
        if let Some(promotion) = choice(self.l2_promotion.as_deref(), "l2_promotion", L2Promotion::from_name)?
        {
            spec.l2_promotion = promotion;
        }
        if let Some(fill) = choice(self.oob_fill.as_deref(), "oob_fill", OobFill::from_name)? {
            spec.fill = fill;
        }
        let map = TensorMap::encode(&spec).map_err(|error| tensor_map_message(&error))?;
        let end = self.end(u64::from(element.bytes()));
        if end.is_none_or(|end| end > bytes) {
            return Err(format!(
                "the tensor map reaches to byte {} of buffer `{}`, which has {bytes} bytes",
                end.map_or("2^64".to_owned(), |end| end.to_string()),
                self.buffer
            ));
        }
        Ok(map.to_bytes().to_vec())
    }

    /// One past the last byte of the tensor, from the start of the buffer.
    fn end(&self, element_bytes: u64) -> Option<u64> {
        let inner = self.dims.first()?.checked_mul(element_bytes)?;
        let mut strides = self.dims.iter().skip(1).zip(&self.strides);
        let last = strides.try_fold(0u64, |last, (extent, stride)| {
            last.checked_add(extent.saturating_sub(1).checked_mul(*stride)?)
        });
        self.offset.checked_add(last?)?.checked_add(inner)
    }
}

/// The element type of a tensor map from the name of a buffer's: formats of 8 bits are copied as bytes.
fn element_type(name: &str) -> Option<ElementType> {
    match name {
        "s8" | "f8e4m3" | "f8e5m2" => Some(ElementType::U8),
        "s16" => Some(ElementType::U16),
        _ => ElementType::from_name(name),
    }
}

fn hex_number(digits: &str, most_digits: usize) -> Result<u64, String> {
    let plain = digits.strip_prefix("0x").unwrap_or(digits);
    let fits =
        !plain.is_empty() && plain.len() <= most_digits && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = fits.then(|| u64::from_str_radix(plain, 16).ok()).flatten();
    value.ok_or_else(|| format!("`{digits}`, expected at most {most_digits} hex digits"))
}

fn hex_bytes(digits: &str) -> Result<Vec<u8>, String> {
    let error = || "`bytes` is not an even number of hex digits".to_owned();
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return Err(error());
    }
    (0..digits.len() / 2)
        .map(|index| {
            let pair = &digits[2 * index..2 * index + 2];
            if !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(error());
            }
            u8::from_str_radix(pair, 16).map_err(|_| error())
        })
        .collect()
}
