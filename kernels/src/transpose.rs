//! FP8 block scaling of a transpose: rows of tokens become rows of columns, with a scale per 128 tokens. A product that
//! sums over tokens, as the gradient of a weight does, reads both of its operands like this.
//!
//! `codes[column, token] = e4m3(x[token, column] / scale)`, with scales as in [`quant`](crate::quant) over the tokens of
//! a block. Tokens are padded with zeros, so that rows of codes can start at multiples of 16 bytes.
//!
//! With groups, the tokens of experts, each group starts at a block of its own, and its last block is filled up with
//! zeros: then no scale is of two groups, and sums over the tokens of a group are sums over whole blocks. Which blocks are
//! a group's follows from offsets on the device.
//!
//! A CTA takes 128 tokens of 64 columns. A thread holds 8 neighbouring columns of 4 neighbouring tokens: it reads the
//! columns at once, and writes the 4 codes of a column as a word to a tile of shared memory, from where 8 lanes write the
//! 128 codes of a column. Column `8c + j` is row `8j + c` of the tile, whose swizzle goes by `c`: thus the words of a
//! warp, 8 columns `c` of one `j`, are in different banks, as are the chunks that are read.
//!
//! Oracle: the reference's `quantize_1x128` of the transpose, of which every bit is met.

use crate::device_error::GROUPS;
use crate::quant::{ScaleLayout, block_scale};
use crate::rows::{self, RUN, ValueFormat, pitch_name, target_name};
use crate::rule::{Rule, at_least, within};
use crate::{BLOCK, Family, ScaleFormat};
use rorqual_codegen::contract::{Extent, In, InOut, Out, SwizzleMode};
use rorqual_codegen::element::{B32, Bf16, E4m3};
use rorqual_codegen::format::Format;
use rorqual_codegen::pointer::Shared;
use rorqual_codegen::tile::Tile;
use rorqual_codegen::warp::inclusive_sum;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Pointer, Value, generate};
use rorqual_ptx::target::Target;

/// Columns of a CTA.
const COLUMNS: u32 = 64;
/// Tokens of a thread: the codes of a word.
const TOKENS: u32 = 4;
/// Lanes that hold the columns of a CTA.
const OCTETS: u32 = COLUMNS / RUN;
/// Codes that a thread writes to global memory at once.
const CHUNK: u32 = 16;

/// What a transposing quantisation is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct QuantizeTransposeSpec {
    /// Elements of a row of the input.
    pub columns: u32,
    /// Elements from one row of the input to the next, at least `columns`.
    pub x_pitch: u32,
    /// The format of the input.
    pub input: ValueFormat,
    /// The format of the scales.
    pub scale: ScaleFormat,
    /// How the scales lie.
    pub scale_layout: ScaleLayout,
    /// Groups of tokens, each of which starts at a block of its own; `None` for one of all tokens.
    pub groups: Option<u32>,
}

rorqual_codegen::arguments! {
    /// Arguments of [`QuantizeTranspose`].
    pub struct QuantizeTransposeArguments, QuantizeTransposeParameters {
        /// `[tokens, columns]`, rows `x_pitch` apart; read where the input is bf16.
        x: In<Bf16>,
        /// `[tokens, columns]`, rows `x_pitch` apart; read where the input is f32.
        x_f32: In<f32>,
        /// `[columns, padded_tokens]`; 0 behind the tokens.
        codes: Out<E4m3>,
        /// `[columns, ceil(padded_tokens / 128)]`, or column-major: `[ceil(padded_tokens / 128), columns]`.
        scales: Out<f32>,
        /// Rows of the input; those from `padded_tokens` on are left out.
        tokens: u32,
        /// The first token of each group, and behind the last one the end, `[groups + 1]`; not touched without groups.
        offsets: In<u32>,
        /// The first block of each group, and behind the last one the end, `[groups + 1]`; not touched without groups.
        block_offsets: Out<u32>,
        /// Gains [`GROUPS`] if an offset is below the one before or above `tokens`: groups from the first bad offset on
        /// are empty. Not touched without groups. `[1]`
        error: InOut<u32>,
        /// Codes of a column. Slow unless a multiple of 16. With groups not 0; blocks that do not fit are left
        /// out, and all fit if there are 128 more for each group than tokens.
        padded_tokens: u32,
    }
}

/// Quantisation of a transpose; see the [module](self).
#[derive(Debug)]
pub struct QuantizeTranspose;

impl Family for QuantizeTranspose {
    const NAME: &'static str = "quantize_transpose";
    type Spec = QuantizeTransposeSpec;
    type Arguments = QuantizeTransposeArguments;

    const RULES: &[Rule<QuantizeTransposeSpec>] = &[
        Rule::new("columns", |spec| within("columns", spec.columns, 1..=rows::LONGEST_ROW)),
        Rule::new("x_pitch", |spec| at_least("x_pitch", spec.x_pitch, "columns", spec.columns)),
        Rule::new("groups", |spec| within("groups", spec.groups.unwrap_or(1), 1..=65535)),
    ];

    fn emit(spec: &QuantizeTransposeSpec, target: Target) -> Result<Kernel, GenerateError> {
        let QuantizeTransposeSpec { columns, x_pitch, input, scale, scale_layout, .. } = *spec;
        let layout = if scale_layout == ScaleLayout::ColumnMajor { "_col" } else { "" };
        let (input, scale, pitch) = (input.name(), scale.name(), pitch_name(columns, x_pitch));
        let groups = spec.groups.map_or(String::new(), |groups| format!("_groups{groups}"));
        let target_name = target_name(target);
        let name =
            format!("quantize_transpose_{input}_c{columns}{pitch}_{scale}{layout}{groups}_{target_name}");
        let blocks = Extent::argument("padded_tokens").ceil_divide(BLOCK);
        let header = Header::new(name, spec, target, rows::THREADS);
        let header = header.grid(blocks.times(columns.div_ceil(COLUMNS)), 1, 1);
        generate::<QuantizeTransposeArguments>(header, |builder, arguments| {
            transpose(builder, spec, arguments);
        })
    }
}

fn transpose<'k>(
    builder: &'k Builder,
    spec: &QuantizeTransposeSpec,
    arguments: QuantizeTransposeParameters<'k>,
) {
    let tile = Tile::swizzled::<E4m3>(COLUMNS, SwizzleMode::B128);
    let codes = builder.shared::<E4m3>(tile.bytes(), tile.alignment_bytes());
    let maxima = builder.shared::<f32>(builder.warps() * COLUMNS, 16);
    let scales = builder.shared::<f32>(COLUMNS, 16);
    let tiles = spec.columns.div_ceil(COLUMNS);
    let block = builder.cta(0) / tiles;
    let (first, end) = match spec.groups {
        None => (block * BLOCK, arguments.tokens),
        Some(groups) => tokens_of(builder, groups, &arguments, block),
    };
    let end = end.min(first + (arguments.padded_tokens - block * BLOCK));
    let part = Part { block, column: (builder.cta(0) - block * tiles) * COLUMNS, first, end };
    let (octet, group) = (builder.thread() % OCTETS, builder.thread() / OCTETS);

    let values = load(spec, &arguments, part, (octet, group));
    // Lanes of the same columns are 8 and 16 apart.
    let largest = |column: usize| {
        let own = values.iter().map(|token| token[column].abs()).reduce(|a, b| a.max(b));
        let own = own.unwrap_or_else(|| builder.constant(0.0));
        [OCTETS, 2 * OCTETS].iter().fold(own, |amax, lanes| amax.max(amax.shuffle_xor(*lanes)))
    };
    let largest: Vec<Value<'k, B32>> = (0..RUN as usize).map(|column| largest(column).bits()).collect();
    let own_maxima = slots_of(maxima.at(builder.warp() * COLUMNS), octet);
    for (slots, largest) in own_maxima.into_iter().zip(largest.chunks(4)) {
        slots.store_words_when(builder.lane().less(OCTETS), largest);
    }
    builder.sync_threads();
    builder.when(builder.thread().less(COLUMNS), || {
        let slot = builder.thread();
        let of_warp = |warp: u32| maxima.at(slot).at(warp * COLUMNS).load();
        let amax = (0..builder.warps()).map(of_warp).reduce(|a, b| a.max(b));
        let scale = block_scale(amax.unwrap_or_else(|| builder.constant(0.0)), spec.scale);
        scales.at(slot).store(scale);
        let column = part.column + column_of_slot(slot);
        let at = match spec.scale_layout {
            ScaleLayout::RowMajor => {
                column.multiply_wide(arguments.padded_tokens.ceil_divide(BLOCK)) + block.to_u64()
            }
            ScaleLayout::ColumnMajor => block.multiply_wide(spec.columns) + column.to_u64(),
        };
        arguments.scales.at(at).store_when(column.less(spec.columns), scale);
    });
    builder.sync_threads();

    let own_scales = slots_of(scales, octet).map(|slots| slots.load_words(4)).concat();
    let words = tile.at(codes, octet, group * TOKENS);
    for (column, scale) in own_scales.into_iter().enumerate() {
        let scale = scale.bits::<f32>();
        let quotients: Vec<Value<'k, f32>> = values.iter().map(|token| token[column] / scale).collect();
        words.bytes(column as u32 * OCTETS * tile.row_bytes()).store_words(&[E4m3::pack(&quotients)]);
    }
    builder.sync_threads();
    store(builder, spec, &arguments, part, (tile, codes));
}

/// What a CTA takes.
#[derive(Clone, Copy)]
struct Part<'k> {
    /// The block of 128 tokens.
    block: Value<'k, u32>,
    /// The first column.
    column: Value<'k, u32>,
    /// The first token of the block.
    first: Value<'k, u32>,
    /// The end of the tokens that are there.
    end: Value<'k, u32>,
}

/// The first token of a block, and the end of the tokens of its group; behind all groups both are 0. Every warp goes
/// through the groups, 32 at a time, a lane each; the first one of the grid writes down where their blocks start.
fn tokens_of<'k>(
    builder: &'k Builder,
    groups: u32,
    arguments: &QuantizeTransposeParameters<'k>,
    block: Value<'k, u32>,
) -> (Value<'k, u32>, Value<'k, u32>) {
    let (lane, last_lane, zero) = (builder.lane(), builder.constant(31), builder.constant(0));
    let (first_token, end_token) = (zero.variable(), zero.variable());
    let (blocks_before, broken) = (zero.variable(), zero.variable());
    let is_writer = builder.cta(0).equals(0) & builder.warp().equals(0);
    let starts = arguments.block_offsets;
    starts.store_when(is_writer & lane.equals(0), zero);
    builder.for_each(0, groups, 32, |round| {
        let group = round + lane;
        let (exists, offset) = (group.less(groups), arguments.offsets.at(group));
        let (first, end) = (offset.load_or(exists, zero), offset.at(1).load_or(exists, zero));
        let bad = first.greater(end) | end.greater(arguments.tokens);
        let up_to_lane = builder.constant(2_u32).shift_left(lane) - 1;
        let bad_lanes = bad.ballot();
        let is_good = (broken.peek() | (bad_lanes & up_to_lane)).equals(0);
        let count = is_good.select(end - first, zero);
        broken.set(broken.peek() | bad_lanes);
        let blocks = count.ceil_divide(BLOCK);
        let after = inclusive_sum(blocks) + blocks_before.peek();
        let before = after - blocks;
        starts.at(group).at(1).store_when(is_writer & exists, after);
        let owners = (before.at_most(block) & block.less(after)).ballot();
        let owner = ((owners ^ u32::MAX) & (owners - 1)).count_ones();
        let own_first = first + (block - before) * BLOCK;
        let is_found = owners.differs(0);
        first_token.set(is_found.select(own_first.shuffle_index(owner), first_token.peek()));
        end_token.set(is_found.select(end.shuffle_index(owner), end_token.peek()));
        blocks_before.set(after.shuffle_index(last_lane));
    });
    let bit = builder.constant(GROUPS);
    let is_bad = is_writer & lane.equals(0) & broken.peek().differs(0);
    builder.emit_when(is_bad, "red.global.or.b32", vec![arguments.error.operand(), bit.operand()]);
    (first_token.get(), end_token.get())
}

/// The values of the thread, tokens of columns; 0 behind the last token and the last column.
fn load<'k>(
    spec: &QuantizeTransposeSpec,
    arguments: &QuantizeTransposeParameters<'k>,
    part: Part<'k>,
    (octet, group): (Value<'k, u32>, Value<'k, u32>),
) -> Vec<Vec<Value<'k, f32>>> {
    let QuantizeTransposeSpec { columns, x_pitch, input, .. } = *spec;
    let builder = octet.builder();
    let zero = builder.constant(0);
    let first = part.first + group * TOKENS;
    let column = part.column + octet * RUN;
    let in_row = column.less(columns).select(builder.constant(columns) - column, zero);
    let start = first.multiply_wide(x_pitch);
    let (x, x_f32) = (arguments.x.at(start).at(column), arguments.x_f32.at(start).at(column));
    let token = |token: u32| {
        let remaining = (first + token).less(part.end).select(in_row, zero);
        let skipped = token as usize * x_pitch as usize;
        rows::load(input, x.at(skipped), x_f32.at(skipped), (columns, x_pitch), remaining)
    };
    (0..TOKENS).map(token).collect()
}

/// Where the 8 columns of an octet have their numbers among those of the CTA, in two fours: the fours of all octets lie
/// side by side, so that lanes reach different banks.
fn slots_of<'k>(numbers: Pointer<'k, Shared, f32>, octet: Value<'k, u32>) -> [Pointer<'k, Shared, f32>; 2] {
    let first = numbers.at(octet * 4);
    [first, first.at(COLUMNS / 2)]
}

/// The column, in the CTA, whose number is in a slot.
fn column_of_slot(slot: Value<'_, u32>) -> Value<'_, u32> {
    let (half, octet) = (slot / (COLUMNS / 2), slot / 4 % OCTETS);
    octet * RUN + half * 4 + slot % 4
}

/// Writes the tile to global memory.
fn store<'k>(
    builder: &'k Builder,
    spec: &QuantizeTransposeSpec,
    arguments: &QuantizeTransposeParameters<'k>,
    part: Part<'k>,
    (tile, codes): (Tile, Pointer<'k, Shared, E4m3>),
) {
    let padded = arguments.padded_tokens;
    let chunks = BLOCK / CHUNK;
    let rows_at_once = builder.threads() / chunks;
    let (row, chunk) = (builder.thread() / chunks, builder.thread() % chunks);
    let from = tile.at(codes, row, chunk * CHUNK);
    let token = part.block * BLOCK + chunk * CHUNK;
    let round = |round: u32| {
        let words = from.bytes(round * rows_at_once * tile.row_bytes()).load_words(4);
        let column = part.column + row % OCTETS * RUN + row / OCTETS + round * (rows_at_once / OCTETS);
        let to = arguments.codes.at(column.multiply_wide(padded)).at(token);
        (words, column.less(spec.columns), to)
    };
    let rounds: Vec<_> = (0..COLUMNS / rows_at_once).map(round).collect();
    builder.when_else(
        (padded % CHUNK).equals(0),
        || {
            for (words, present, to) in &rounds {
                to.store_words_when(*present & token.less(padded), words);
            }
        },
        || {
            for (words, present, to) in &rounds {
                for at in 0..CHUNK {
                    let code = words[at as usize / 4].bits::<u32>() >> (8 * (at % 4));
                    to.at(at).store_when(*present & (token + at).less(padded), code);
                }
            }
        },
    );
}
