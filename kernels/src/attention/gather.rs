//! Reads the records of sequences from the paged latent cache into rows: for prefill, which expands them to keys and
//! values.
//!
//! ```text
//! latents[key_offsets[s] + i] | keys[key_offsets[s] + i] = record of key i of sequence s       bf16
//! ```
//!
//! A CTA takes 16 keys of a sequence, 8 threads a key, 16 bytes of the result at a time. Keys whose page is outside the
//! pool or the block table become zeros, and [`PAGE`] is raised; a sequence whose rows are not all within the
//! result raises [`SEQUENCE`] and is left out.
//!
//! Oracle: the records' values, spelled out beside the cases.

use super::record::{Pages, RecordFormat};
use crate::device_error::{PAGE, SEQUENCE};
use crate::rows::target_name;
use crate::rule::{Rule, multiple, positive};
use crate::{BLOCK, Family};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::element::{B32, Bf16, E4m3};
use rorqual_codegen::format::Format;
use rorqual_codegen::{Builder, GenerateError, Global, Header, Kernel, Pointer, Predicate, Value, generate};
use rorqual_ptx::target::Target;

const THREADS: u32 = 128;
const THREADS_PER_KEY: u32 = 8;
const KEYS: u32 = THREADS / THREADS_PER_KEY;

/// What the gather is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CacheGatherSpec {
    /// Elements of a latent; a multiple of 8.
    pub latent: u32,
    /// Elements of the shared key; a multiple of 8.
    pub rope: u32,
    /// Records of a page.
    pub page_size: u32,
    /// The format of the records.
    pub record: RecordFormat,
}

rorqual_codegen::arguments! {
    /// Arguments of [`CacheGather`].
    pub struct CacheGatherArguments, CacheGatherParameters {
        /// The pool, `[pages, page_size]` records.
        pool: In<u8>,
        /// Page numbers, `[sequences, max_pages]`.
        block_table: In<u32>,
        /// The first row of each sequence, and the end of the last one: `[sequences + 1]`.
        key_offsets: In<u32>,
        /// `[keys, latent]`
        latents: Out<Bf16>,
        /// `[keys, rope]`, rotated.
        shared_keys: Out<Bf16>,
        /// One word, to which [`PAGE`] and [`SEQUENCE`] are raised.
        error: InOut<u32>,
        /// Pages of the pool.
        pages: u32,
        /// Sequences, at most 65535.
        sequences: u32,
        /// Pages of a row of the block table.
        max_pages: u32,
        /// Rows of the result.
        keys: u32,
        /// Keys of the longest sequence, or more.
        longest: u32,
    }
}

/// The gather; see the [module](self).
#[derive(Debug)]
pub struct CacheGather;

impl Family for CacheGather {
    const NAME: &'static str = "cache_gather";
    type Spec = CacheGatherSpec;
    type Arguments = CacheGatherArguments;

    const RULES: &[Rule<CacheGatherSpec>] = &[
        Rule::new("latent", |spec| multiple("latent", spec.latent, 8, 1024)),
        Rule::new("rope", |spec| multiple("rope", spec.rope, 8, 1024)),
        Rule::new("record", |spec| spec.record.check(spec.latent, spec.rope)),
        Rule::new("page_size", |spec| positive("page_size", spec.page_size)),
    ];

    fn emit(spec: &CacheGatherSpec, target: Target) -> Result<Kernel, GenerateError> {
        let CacheGatherSpec { latent, rope, page_size, record } = *spec;
        let (record, short) = (record.name(), target_name(target));
        let name = format!("cache_gather_{record}_l{latent}_r{rope}_page{page_size}_{short}");
        let header = Header::new(name, spec, target, THREADS);
        let keys = Extent::argument("longest").ceil_divide(KEYS);
        generate::<CacheGatherArguments>(
            header.grid(keys, Extent::argument("sequences"), 1),
            |builder, arguments| {
                gather(builder, spec, arguments);
            },
        )
    }
}

fn gather<'k>(builder: &'k Builder, spec: &CacheGatherSpec, arguments: CacheGatherParameters<'k>) {
    let CacheGatherSpec { latent, rope, page_size, record: format } = *spec;
    let (sequence, thread) = (builder.cta(1), builder.thread());
    let start = arguments.key_offsets.at(sequence).load();
    let end = arguments.key_offsets.at(sequence).at(1).load();
    let longest = arguments.longest;
    let wrong = start.greater(end) | end.greater(arguments.keys) | (end - start).greater(longest);
    arguments.error.atomic_or_when(wrong & thread.equals(0) & builder.cta(0).equals(0), SEQUENCE);
    let key = builder.cta(0) * KEYS + thread / THREADS_PER_KEY;
    builder.exit_when(wrong | key.at_least(end - start));

    let pages = Pages {
        pool: arguments.pool,
        pages: arguments.pages,
        row: arguments.block_table.at(sequence.multiply_wide(arguments.max_pages)),
        max_pages: arguments.max_pages,
        page_size,
        record_bytes: format.bytes(latent, rope),
    };
    let located = pages.locate(key, builder.known(true));
    let member = thread % THREADS_PER_KEY;
    arguments.error.atomic_or_when(located.lost & member.equals(0), PAGE);

    let row = (start + key).to_u64();
    let latents = arguments.latents.at(row * u64::from(latent));
    builder.for_each(member, latent / 8, THREADS_PER_KEY, |chunk| {
        let words = latent_words(format, located.record, latent, chunk, located.here);
        latents.at(chunk * 8).store_words(&words);
    });
    let shared_keys = arguments.shared_keys.at(row * u64::from(rope));
    let key = located.record.bytes(format.key_offset_bytes(latent));
    builder.for_each(member, rope / 8, THREADS_PER_KEY, |chunk| {
        let words = key.bytes(chunk * 16).load_words_or_zero(located.here, 4);
        shared_keys.at(chunk * 8).store_words(&words);
    });
}

/// Elements `8 * chunk ..` of the latent of a record, 8 of them, as bf16; zeros where there is no record.
fn latent_words<'k>(
    format: RecordFormat,
    record: Pointer<'k, Global, u8>,
    latent: u32,
    chunk: Value<'k, u32>,
    here: Predicate<'k>,
) -> Vec<Value<'k, B32>> {
    match format {
        RecordFormat::Bf16 => record.bytes(chunk * 16).load_words_or_zero(here, 4),
        RecordFormat::Fp8(_) => {
            let codes = record.bytes(chunk * 8).load_words_or_zero(here, 2);
            dequantize(&codes, scale_of(record, latent, chunk * 8, here))
        }
    }
}

/// The scale of an element of an FP8 record's latent.
#[track_caller]
pub(super) fn scale_of<'k>(
    record: Pointer<'k, Global, u8>,
    latent: u32,
    element: Value<'k, u32>,
    here: Predicate<'k>,
) -> Value<'k, f32> {
    let scale = record.bytes(latent).cast::<f32>().at(element / BLOCK);
    scale.load_or(here, element.builder().constant(0.0))
}

/// Words of e4m3 codes times their scale, as words of bf16.
#[track_caller]
pub(super) fn dequantize<'k>(codes: &[Value<'k, B32>], scale: Value<'k, f32>) -> Vec<Value<'k, B32>> {
    let values: Vec<Value<'k, f32>> =
        codes.iter().flat_map(|word| E4m3::unpack(*word)).map(|code| code * scale).collect();
    values.chunks(2).map(Bf16::pack).collect()
}
