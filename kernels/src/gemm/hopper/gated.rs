//! From the sums of gate and up to codes and scales.
//!
//! A warpgroup has 64 rows with 128 columns of gate and the 128 of up that go with them, which are the 128 that share a
//! scale. A thread holds the same 32 columns of both, of two rows each, and the four threads of a row are neighbouring
//! lanes: neither the activation nor the scale needs another warp.
//!
//! A warp stages the codes of its 16 rows in shared memory, each row is then a bulk copy of 128 bytes, which runs while the
//! next tile is multiplied. Rows that are not of the group are not copied.

use super::epilogue::Fragment;
use super::plan::Plan;
use super::schedule::Tile;
use super::warpgroup::Warpgroup;
use crate::moe::activation::{Activation, Shape};
use crate::quant::{ScaleLayout, quantize_run};
use crate::{BLOCK, ScaleFormat};
use rorqual_codegen::element::{Bf16, E4m3, Element};
use rorqual_codegen::format::Format;
use rorqual_codegen::mma::wgmma;
use rorqual_codegen::pointer::{Global, Pointer, Shared};
use rorqual_codegen::{Value, Variable};

/// Rows of a warp.
const WARP_ROWS: u32 = 16;

/// What is made of gate and up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gated {
    /// Whether they are bounded.
    pub(super) clamp: bool,
    /// Whether the activation has a shape of its own.
    pub(super) shape: bool,
    /// Whether each row has a weight.
    pub(super) row_weights: bool,
    /// The scales of the codes.
    pub(super) format: ScaleFormat,
    pub(super) layout: ScaleLayout,
}

/// Where the results go, and the values that they follow from beside the sums.
#[derive(Clone, Copy)]
pub(super) struct Activated<'k> {
    pub(super) gated: Gated,
    /// Rows `d_pitch` of the plan apart.
    pub(super) codes: Pointer<'k, Global, E4m3>,
    pub(super) scales: Pointer<'k, Global, f32>,
    /// Column-major scales from a block to the next.
    pub(super) scale_pitch: Value<'k, u32>,
    pub(super) row_weights: Pointer<'k, Global, f32>,
    pub(super) limit: Value<'k, f32>,
    pub(super) alpha: Value<'k, f32>,
    pub(super) beta: Value<'k, f32>,
}

/// The rows of a thread: the first one over all rows, and how many there are from there on that are of the group. The
/// second row of the thread is 8 further.
struct Rows<'k> {
    first: Value<'k, u32>,
    left: Value<'k, u32>,
}

impl<'k> Fragment<'_, 'k> {
    /// Activates and quantises the sums of a tile, and stores codes and scales.
    #[track_caller]
    pub(super) fn activate(&self, results: &Activated<'k>, tile: &Tile<'k>) {
        let gated = results.gated;
        let skipped = self.warpgroup.number * wgmma::ROWS + self.warpgroup.row;
        let rows = Rows { first: tile.row + skipped, left: tile.rows - skipped.min(tile.rows) };
        let block = tile.column / (2 * BLOCK);

        let activation = Activation {
            limit: gated.clamp.then_some(results.limit),
            shape: gated.shape.then_some(Shape { alpha: results.alpha, beta: results.beta }),
        };
        let (gate, up) = (rounded(&self.sums[0]), rounded(&self.sums[1]));
        let mut values: Vec<_> = gate.into_iter().zip(up).map(|(gate, up)| activation.of(gate, up)).collect();
        if gated.row_weights {
            let weights = row_weights(results, &rows);
            for (register, value) in (0..).zip(&mut values) {
                *value = *value * weights[row_of(register)];
            }
        }
        let (quotients, scales) = quantize_rows(&values, gated.format);
        store_scales(self.plan, results, &rows, block, scales);
        self.stage_codes(&quotients);
        self.copy_codes(results, tile, block);
    }

    /// Stages the codes of the warp's rows.
    ///
    /// A register pair is two codes of a row, in 8 columns that the four lanes of the row share. Of two such octets, an even
    /// lane gets its neighbour's codes in the first one and gives its own in the second: then each lane has words of 4 codes.
    /// The words of a warp are in 32 banks.
    #[track_caller]
    fn stage_codes(&self, quotients: &[Value<'k, f32>]) {
        let builder = self.warpgroup.builder;
        let lane = builder.lane();
        self.stage(
            || builder.sync_warp(),
            || {
                // Two codes of each of the thread's two rows.
                let octets: Vec<Value<'k, u32>> =
                    quotients.chunks(4).map(|codes| E4m3::pack(codes).bits()).collect();
                let is_even = (lane & 1).equals(0);
                // Bytes of own and given codes: in even lanes the own ones come first.
                let orders = [(0x5410_u32, 0x1054_u32), (0x7632, 0x3276)]
                    .map(|(even, odd)| is_even.select(builder.constant(even), builder.constant(odd)));
                let own_row = self.staged_row(self.warpgroup.row);
                let own = own_row.bytes((lane & 1) * 8 + (lane & 2) * 2);
                for (pair, octets) in (0_u32..).zip(octets.as_chunks::<2>().0) {
                    let [first, second] = *octets;
                    let kept = is_even.select(first, second);
                    let given = is_even.select(second, first).shuffle_xor(1);
                    for (down, order) in [0, 8].into_iter().zip(orders) {
                        let word = kept.select_bytes(given, order);
                        own.bytes(down * staged_pitch_bytes(self.plan) + pair * 16)
                            .store_words(&[word.bits()]);
                    }
                }
            },
        );
    }

    /// Copies the staged rows of the warp, a lane each.
    #[track_caller]
    fn copy_codes(&self, results: &Activated<'k>, tile: &Tile<'k>, block: Value<'k, u32>) {
        let Warpgroup { builder, number, .. } = self.warpgroup;
        let lane = builder.lane();
        let row = (builder.warp() & 3) * WARP_ROWS + lane;
        let row_of_tile = number * wgmma::ROWS + row;
        let to = results
            .codes
            .at((tile.row + row_of_tile).multiply_wide(self.plan.spec.d_pitch))
            .at(block * BLOCK);
        builder.when(lane.less(WARP_ROWS) & row_of_tile.less(tile.rows), || {
            builder.copy_bytes_to_global(to, self.staged_row(row), builder.constant(BLOCK));
        });
        builder.commit_stores();
    }

    /// The staged codes of a row of the warpgroup.
    #[track_caller]
    fn staged_row(&self, row: Value<'k, u32>) -> Pointer<'k, Shared, E4m3> {
        let row = self.warpgroup.number * wgmma::ROWS + row;
        self.warpgroup.memory.staged.cast().bytes(row * staged_pitch_bytes(self.plan))
    }
}

/// Which of the thread's two rows a register is of.
const fn row_of(register: u32) -> usize {
    (wgmma::d_coordinate(0, register).0 / 8) as usize
}

/// Sums as the unfused product stores them: in bf16.
#[track_caller]
fn rounded<'k>(sums: &[Variable<'k, f32>]) -> Vec<Value<'k, f32>> {
    let pairs = sums.as_chunks::<2>().0;
    pairs.iter().flat_map(|pair| Bf16::unpack(Bf16::pack(&pair.map(Variable::peek)))).collect()
}

/// The weights of the thread's rows.
#[track_caller]
fn row_weights<'k>(results: &Activated<'k>, rows: &Rows<'k>) -> [Value<'k, f32>; 2] {
    let zero = rows.first.builder().constant(0.0_f32);
    [0, 8].map(|down| results.row_weights.at(rows.first).at(down).load_or(rows.left.greater(down), zero))
}

/// Quantises the thread's part of its two rows: quotients in the order of registers, and the scales of the rows.
#[track_caller]
fn quantize_rows<'k>(
    values: &[Value<'k, f32>],
    format: ScaleFormat,
) -> (Vec<Value<'k, f32>>, [Value<'k, f32>; 2]) {
    let quantized = [0, 1].map(|row| {
        let own = (0..).zip(values).filter(|(register, _)| row_of(*register) == row);
        quantize_run(&own.map(|(_, value)| *value).collect::<Vec<_>>(), format)
    });
    let [mut upper, mut lower] =
        [&quantized[0].0, &quantized[1].0].map(|quotients| quotients.iter().copied());
    let next = |register| if row_of(register) == 0 { upper.next() } else { lower.next() };
    let quotients = (0..values.len() as u32).filter_map(next).collect();
    (quotients, [quantized[0].1, quantized[1].1])
}

/// Stores the scales of the thread's rows, from the first lane of each row.
#[track_caller]
fn store_scales<'k>(
    plan: &Plan,
    results: &Activated<'k>,
    rows: &Rows<'k>,
    block: Value<'k, u32>,
    scales: [Value<'k, f32>; 2],
) {
    let builder = block.builder();
    let blocks = plan.spec.n / (2 * BLOCK);
    let leads = (builder.lane() & 3).equals(0);
    let (first, step) = match results.gated.layout {
        ScaleLayout::RowMajor => (results.scales.at(rows.first.multiply_wide(blocks)).at(block), blocks),
        ScaleLayout::ColumnMajor => {
            (results.scales.at(block.multiply_wide(results.scale_pitch)).at(rows.first), 1)
        }
    };
    for (down, scale) in [0_u32, 8].into_iter().zip(scales) {
        first.at(down * step).store_when(leads & rows.left.greater(down), scale);
    }
}

/// Bytes from a row of staged codes to the next: 128 codes take the place of the 64 bf16 of a row of a staged piece, whose
/// rows begin in different banks.
const fn staged_pitch_bytes(plan: &Plan) -> u32 {
    plan.staged_pitch() * Bf16::ELEMENT.bytes()
}
