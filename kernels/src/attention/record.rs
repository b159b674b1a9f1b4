//! Records of the latent cache: their formats, and where a record lies in the pool.
//!
//! ```text
//! bf16   latent bf16 [latent] | key bf16 [rope]
//! FP8    codes e4m3 [512] | scales f32 [4], one per 128 codes | key bf16 [64]            656 bytes
//! ```
//!
//! A latent element of the FP8 record is `bf16(code * scale)`, with `scale = max(amax / 448, 1e-4)`, for the published
//! format the next power of two (FlashMLA's cache of DeepSeek-V3.2). The bound is on the scale: that of activations is
//! on `amax`.

use crate::rule::require;
use crate::{BLOCK, ScaleFormat};
use rorqual_codegen::{Global, Pointer, Predicate, Value};

/// The format of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RecordFormat {
    /// bf16 throughout.
    Bf16,
    /// FP8 latent of 512 with a scale for each 128, bf16 key of 64; the format is that of the scales.
    Fp8(ScaleFormat),
}

/// Elements of the latent of an FP8 record.
const FP8_LATENT: u32 = 512;
/// Elements of the key of an FP8 record.
const FP8_ROPE: u32 = 64;

impl RecordFormat {
    /// Bytes of a record.
    #[must_use]
    pub const fn bytes(self, latent: u32, rope: u32) -> u32 {
        match self {
            Self::Bf16 => 2 * (latent + rope),
            Self::Fp8(_) => self.key_offset_bytes(latent) + 2 * rope,
        }
    }

    /// Where the key starts in a record.
    #[must_use]
    pub const fn key_offset_bytes(self, latent: u32) -> u32 {
        match self {
            Self::Bf16 => 2 * latent,
            Self::Fp8(_) => latent + latent / BLOCK * 4,
        }
    }

    /// The part of a kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp8(ScaleFormat::F32) => "fp8f32",
            Self::Fp8(ScaleFormat::PowerOfTwo) => "fp8pow2",
        }
    }

    /// The rule of the widths of an FP8 record.
    pub(super) fn check(self, latent: u32, rope: u32) -> Result<(), String> {
        require(self == Self::Bf16 || (latent, rope) == (FP8_LATENT, FP8_ROPE), || {
            format!(
                "`latent` and `rope` are {latent} and {rope}, expected {FP8_LATENT} and {FP8_ROPE} of an FP8 record"
            )
        })
    }
}

/// A record that a key of a sequence may have.
#[derive(Clone, Copy)]
pub(super) struct Located<'k> {
    /// Whether there is one.
    pub(super) here: Predicate<'k>,
    /// Whether there should be one, but its page is outside the pool or the table.
    pub(super) lost: Predicate<'k>,
    /// Its first byte; the pool's where there is none.
    pub(super) record: Pointer<'k, Global, u8>,
}

/// The paged pool and a sequence's row of the block table.
#[derive(Clone, Copy)]
pub(super) struct Pages<'k> {
    pub(super) pool: Pointer<'k, Global, u8>,
    /// Pages of the pool.
    pub(super) pages: Value<'k, u32>,
    /// The sequence's page numbers, `[max_pages]`.
    pub(super) row: Pointer<'k, Global, u32>,
    pub(super) max_pages: Value<'k, u32>,
    pub(super) page_size: u32,
    pub(super) record_bytes: u32,
}

impl<'k> Pages<'k> {
    /// The record of a key of the sequence, looked for where `wanted` holds.
    #[track_caller]
    pub(super) fn locate(&self, key: Value<'k, u32>, wanted: Predicate<'k>) -> Located<'k> {
        let builder = key.builder();
        let entry = key / self.page_size;
        let none = builder.constant(u32::MAX);
        let page = self.row.at(entry).load_or(wanted & entry.less(self.max_pages), none);
        let here = wanted & page.less(self.pages);
        let page = here.select(page, builder.constant(0));
        let slot = page.multiply_wide(self.page_size) + (key % self.page_size).to_u64();
        let record = self.pool.bytes(slot * u64::from(self.record_bytes));
        Located { here, lost: wanted & !here, record }
    }
}
