//! Writes the records of new tokens into the paged latent cache.
//!
//! ```text
//! record[slots[t]] = latent[t] | bf16(rotate(key[t], positions[t]))           slot = page * page_size + offset
//! ```
//!
//! The latent is normalised already, the key is rotated here (pairs side by side). Formats are in
//! [`RecordFormat`]. A CTA takes a token; a thread runs of 8 elements of the latent, so that 16
//! lanes hold the 128 codes of a scale. The record of slot [`NO_SLOT`] is not written; a slot outside the pool or a
//! position behind the table raises an error and writes nothing. Tokens of a launch have different slots.
//!
//! Oracle: the reference's `rotate_pairs`, and the rounding of the record spelled out beside the cases.

use super::record::RecordFormat;
use crate::device_error::{PAGE, POSITION};
use crate::quant::next_power_of_two;
use crate::rope::{Pairing, Rotation};
use crate::rows::target_name;
use crate::rule::{Rule, at_least, multiple};
use crate::{BLOCK, Family, ScaleFormat};
use rorqual_codegen::contract::{Extent, In, InOut};
use rorqual_codegen::element::{Bf16, E4m3};
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::warp::reduce_lanes;
use rorqual_codegen::{Builder, GenerateError, Global, Header, Kernel, Pointer, Predicate, Value, generate};
use rorqual_ptx::target::Target;

/// The slot of a token that leaves no record.
pub const NO_SLOT: u32 = u32::MAX;

/// Elements that a thread holds side by side.
const RUN: u32 = 8;
const THREADS: u32 = 128;

/// What the append is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CacheAppendSpec {
    /// Elements of a latent.
    pub latent: u32,
    /// Elements of the shared key.
    pub rope: u32,
    /// Elements from one row of `latents` to the next, at least `latent`.
    pub latent_pitch: u32,
    /// Elements from one row of `keys` to the next, at least `rope`.
    pub key_pitch: u32,
    /// The format of the records.
    pub record: RecordFormat,
}

rorqual_codegen::arguments! {
    /// Arguments of [`CacheAppend`].
    pub struct CacheAppendArguments, CacheAppendParameters {
        /// Normalised latents, `[tokens, latent]`, rows `latent_pitch` apart.
        latents: In<Bf16>,
        /// Keys, not rotated, `[tokens, rope]`, rows `key_pitch` apart.
        keys: In<Bf16>,
        /// Cosine and sine, `[position_count, rope / 2, 2]`.
        table: In<f32>,
        /// `[tokens]`
        positions: In<u32>,
        /// `[tokens]`: `page * page_size + offset`, or [`NO_SLOT`].
        slots: In<u32>,
        /// The pool, `[slot_count]` records.
        pool: InOut<u8>,
        /// One word, to which [`PAGE`] and [`POSITION`] are raised.
        error: InOut<u32>,
        /// Rows.
        tokens: u32,
        /// Positions of the table.
        position_count: u32,
        /// Records of the pool.
        slot_count: u32,
    }
}

/// The append; see the [module](self).
#[derive(Debug)]
pub struct CacheAppend;

impl Family for CacheAppend {
    const NAME: &'static str = "cache_append";
    type Spec = CacheAppendSpec;
    type Arguments = CacheAppendArguments;

    const RULES: &[Rule<CacheAppendSpec>] = &[
        Rule::new("latent", |spec| multiple("latent", spec.latent, 8, 1024)),
        Rule::new("rope", |spec| multiple("rope", spec.rope, 8, 1024)),
        Rule::new("record", |spec| spec.record.check(spec.latent, spec.rope)),
        Rule::new("latent_pitch", |spec| at_least("latent_pitch", spec.latent_pitch, "latent", spec.latent)),
        Rule::new("key_pitch", |spec| at_least("key_pitch", spec.key_pitch, "rope", spec.rope)),
    ];

    fn emit(spec: &CacheAppendSpec, target: Target) -> Result<Kernel, GenerateError> {
        let header = Header::new(name(spec, target), spec, target, THREADS);
        let grid = header.grid(Extent::argument("tokens"), 1, 1);
        generate::<CacheAppendArguments>(grid, |builder, arguments| append(builder, spec, arguments))
    }
}

fn name(spec: &CacheAppendSpec, target: Target) -> String {
    let CacheAppendSpec { latent, rope, latent_pitch, key_pitch, record } = *spec;
    let (record, target) = (record.name(), target_name(target));
    format!("cache_append_{record}_l{latent}_r{rope}_p{latent_pitch}_k{key_pitch}_{target}")
}

fn append<'k>(builder: &'k Builder, spec: &CacheAppendSpec, arguments: CacheAppendParameters<'k>) {
    let CacheAppendSpec { latent, rope, latent_pitch, key_pitch, record: format } = *spec;
    let (token, thread) = (builder.cta(0), builder.thread());
    let position = arguments.positions.at(token).load();
    let slot = arguments.slots.at(token).load();
    let wanted = slot.differs(NO_SLOT);
    let (in_pool, in_table) = (slot.less(arguments.slot_count), position.less(arguments.position_count));
    let first = thread.equals(0) & wanted;
    arguments.error.atomic_or_when(first & !in_pool, PAGE);
    arguments.error.atomic_or_when(first & !in_table, POSITION);
    // The whole CTA leaves.
    builder.exit_when(!(wanted & in_pool & in_table));

    let record_bytes = u64::from(format.bytes(latent, rope));
    let record = arguments.pool.bytes(slot.to_u64() * record_bytes);
    let layout = RunLayout::of_rows::<Bf16>(RUN as usize, latent, latent_pitch);
    let latents = arguments.latents.at(token.multiply_wide(latent_pitch));
    for round in 0..(latent / RUN).div_ceil(THREADS) {
        let first = (thread + round * THREADS) * RUN;
        let inside = first.less(latent);
        let remaining = inside.select(builder.constant(RUN), builder.constant(0));
        let run = layout.load(latents.at(first), remaining);
        match format {
            RecordFormat::Bf16 => {
                let layout = RunLayout::of_rows::<Bf16>(RUN as usize, latent, latent + rope);
                layout.store(record.cast::<Bf16>().at(first), remaining, &run);
            }
            RecordFormat::Fp8(scales) => store_codes(record, first, inside, &run, scales, latent),
        }
    }

    let source = Rotation::new(rope, Pairing::Interleaved, key_pitch.is_multiple_of(8));
    let keys = arguments.keys.at(token.multiply_wide(key_pitch));
    let target = record.bytes(format.key_offset_bytes(latent)).cast::<Bf16>();
    let table = arguments.table.at(position.multiply_wide(rope));
    builder.for_each(thread, source.runs(), THREADS, |run| {
        let always = builder.known(true);
        source.store(target, run, always, &source.rotate(keys, table, run, always));
    });
}

/// Quantises the runs of all threads and stores codes and scales of those that are `inside` the latent.
fn store_codes<'k>(
    record: Pointer<'k, Global, u8>,
    first: Value<'k, u32>,
    inside: Predicate<'k>,
    run: &[Value<'k, f32>],
    scales: ScaleFormat,
    latent: u32,
) {
    let own = run.iter().skip(1).fold(run[0].abs(), |amax, value| amax.max(value.abs()));
    let amax = reduce_lanes(own, BLOCK / RUN, |a, b| a.max(b));
    // NaN is passed over also where the block has nothing else.
    let scale = (amax / 448.0).max(1e-4);
    let scale = match scales {
        ScaleFormat::F32 => scale,
        ScaleFormat::PowerOfTwo => next_power_of_two(scale),
    };
    let quotients: Vec<Value<'k, f32>> = run.iter().map(|value| *value / scale).collect();
    let builder = first.builder();
    let layout = RunLayout { elements: RUN as usize, whole: true };
    let remaining = inside.select(builder.constant(RUN), builder.constant(0));
    layout.store(record.cast::<E4m3>().at(first), remaining, &quotients);
    let leads = inside & (first & (BLOCK - 1)).equals(0);
    record.bytes(latent).cast::<f32>().at(first / BLOCK).store_when(leads, scale);
}
