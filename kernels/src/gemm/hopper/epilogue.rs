//! From the sums of a tile to D.
//!
//! Results in bf16 go through shared memory in pieces of 64 rows by 64 columns: `stmatrix` stores the fragments of a
//! warpgroup, each row is then a bulk copy of its own, which ends where the row does. Pieces are small because stages are
//! worth more: a ring that is one stage deeper hides another 400 ns of latency, a piece more is waited for a few hundred
//! clocks, once in a tile. The copies of the last piece run while the next tile is multiplied. Rows that are not of the
//! group are not copied: nothing outside a group is written. Results in f32 go from the registers to memory, whole
//! sectors at a time.

use super::grouping::Groups;
use super::plan::Plan;
use super::schedule::Tile;
use super::shared_memory::SharedMemory;
use super::tile::PIECE_COLUMNS;
use crate::gemm::Output;
use rorqual_codegen::element::{B32, Bf16, Element};
use rorqual_codegen::format::Format;
use rorqual_codegen::mma::wgmma;
use rorqual_codegen::pointer::{Global, Pointer};
use rorqual_codegen::{Builder, Predicate, Value, Variable};

/// The first named barrier; each consumer warpgroup has one.
const FIRST_BARRIER: u32 = 1;

/// D, in either type, and what is added to its rows.
#[derive(Clone, Copy)]
pub(super) struct Product<'k> {
    pub(super) bias: Pointer<'k, Global, f32>,
    pub(super) d: Pointer<'k, Global, Bf16>,
    pub(super) d_f32: Pointer<'k, Global, f32>,
}

/// The sums of a thread.
pub(super) struct Fragment<'k> {
    /// For each product of the warpgroup: blocks of 64 rows, or gate and up.
    pub(super) sums: Vec<Vec<Variable<'k, f32>>>,
    /// Columns of a block.
    pub(super) columns: u32,
    /// Whether rows are those of the weight, and columns tokens.
    pub(super) is_swapped: bool,
    /// The warpgroup among the consumers.
    pub(super) warpgroup: Value<'k, u32>,
    /// Row and column of the first register.
    pub(super) row: Value<'k, u32>,
    pub(super) column: Value<'k, u32>,
}

/// Rows and columns of D that a warpgroup writes.
struct Target<'k> {
    /// The first row, over all of D.
    row: Value<'k, u32>,
    /// Rows from there on that are of the group.
    rows: Value<'k, u32>,
    /// The first column.
    column: Value<'k, u32>,
    /// Columns from there on.
    columns: Value<'k, u32>,
    /// Elements from the start of D to the first row of the batch.
    slice: Option<Value<'k, u64>>,
}

/// Stores the sums of a tile.
#[track_caller]
pub(super) fn store<'k>(
    plan: &Plan,
    memory: &SharedMemory<'k>,
    results: &Product<'k>,
    tile: &Tile<'k>,
    fragment: &Fragment<'k>,
) {
    let target = Target::new(plan, tile, fragment);
    match plan.output {
        Output::Bf16 => {
            let d = target.first(results.d, plan);
            let values = finished(plan, results, &target, fragment, d);
            store_pieces(plan, memory, fragment, &target, d, &values);
        }
        Output::F32 => {
            let d = target.first(results.d_f32, plan);
            let values = finished(plan, results, &target, fragment, d);
            store_registers(plan, fragment, &target, d, &values);
        }
    }
}

impl<'k> Target<'k> {
    #[track_caller]
    fn new(plan: &Plan, tile: &Tile<'k>, fragment: &Fragment<'k>) -> Self {
        let builder = tile.row.builder();
        let blocks = fragment.sums.len() as u32;
        let skipped = fragment.warpgroup * (blocks * wgmma::ROWS);
        let (skipped_rows, skipped_columns) =
            if fragment.is_swapped { (builder.constant(0), skipped) } else { (skipped, builder.constant(0)) };
        let column = tile.column + skipped_columns;
        let slice = match plan.grouping {
            Groups::Batched { d, .. } => {
                Some(tile.group.multiply_wide(d.stride) + builder.constant(u64::from(d.first)))
            }
            _ => None,
        };
        let n = builder.constant(plan.n);
        Self {
            row: tile.row + skipped_rows,
            rows: tile.rows - skipped_rows.min(tile.rows),
            column,
            columns: n - column.min(n),
            slice,
        }
    }

    /// Its first element.
    #[track_caller]
    fn first<T: Element>(&self, d: Pointer<'k, Global, T>, plan: &Plan) -> Pointer<'k, Global, T> {
        let d = self.slice.map_or(d, |slice| d.at(slice));
        d.at(self.row.multiply_wide(plan.d_pitch)).at(self.column)
    }
}

/// Row and column of a register within a target, apart from the thread's own: `(row, column)`.
fn coordinate(fragment: &Fragment<'_>, block: usize, register: usize) -> (u32, u32) {
    let (row, column) = wgmma::d_coordinate(0, register as u32);
    let row = row + block as u32 * wgmma::ROWS;
    if fragment.is_swapped { (column, row) } else { (row, column) }
}

impl<'k> Fragment<'k> {
    /// The thread's own row and column within a target.
    fn own(&self) -> (Value<'k, u32>, Value<'k, u32>) {
        if self.is_swapped { (self.column, self.row) } else { (self.row, self.column) }
    }
}

/// The sums with bias and what D held, as asked.
#[track_caller]
fn finished<'k, T: Format>(
    plan: &Plan,
    results: &Product<'k>,
    target: &Target<'k>,
    fragment: &Fragment<'k>,
    d: Pointer<'k, Global, T>,
) -> Vec<Vec<Value<'k, f32>>> {
    let (own_row, own_column) = fragment.own();
    let builder = own_row.builder();
    let zero = builder.constant(0.0_f32);
    let (rows_left, columns_left) =
        (target.rows - own_row.min(target.rows), target.columns - own_column.min(target.columns));
    let first = d.at(own_row.multiply_wide(plan.d_pitch)).at(own_column);
    let bias = results.bias.at(target.column + own_column);
    let finish = |block: usize, register: usize, sum: &Variable<'k, f32>| {
        let (row, column) = coordinate(fragment, block, register);
        let mut value = sum.peek();
        let has_column = columns_left.greater(column);
        if plan.bias {
            value = value + bias.at(column).load_or(has_column, zero);
        }
        if plan.accumulate {
            let before = first.at(row as usize * plan.d_pitch as usize + column as usize);
            let present = has_column & rows_left.greater(row);
            value = value + T::to_f32(before.load_or(present, T::of_f32(zero)));
        }
        value
    };
    let blocks = fragment.sums.iter().enumerate();
    blocks.map(|(block, sums)| (0..).zip(sums).map(|(at, sum)| finish(block, at, sum)).collect()).collect()
}

/// Stores results piece by piece: 64 rows by up to [`PIECE_COLUMNS`] go through the warpgroup's part of shared memory.
#[track_caller]
fn store_pieces<'k>(
    plan: &Plan,
    memory: &SharedMemory<'k>,
    fragment: &Fragment<'k>,
    target: &Target<'k>,
    d: Pointer<'k, Global, Bf16>,
    values: &[Vec<Value<'k, f32>>],
) {
    // A register holds an element of 8 columns for each 2 rows of a lane's four.
    let registers = (PIECE_COLUMNS / 2) as usize;
    for (block, values) in (0_u32..).zip(values) {
        for (first, values) in (0_u32..).step_by(PIECE_COLUMNS as usize).zip(values.chunks(registers)) {
            stage(plan, memory, fragment, values);
            let piece = if fragment.is_swapped {
                Piece { row: 0, column: 0, rows: fragment.columns, columns: wgmma::ROWS }
            } else {
                let columns = values.len() as u32 * 2;
                Piece { row: block * wgmma::ROWS, column: first, rows: wgmma::ROWS, columns }
            };
            copy_rows(plan, memory, fragment, target, d, &piece);
        }
    }
}

/// Rows and columns of D within a warpgroup's target.
struct Piece {
    row: u32,
    column: u32,
    rows: u32,
    columns: u32,
}

/// Stores a piece to shared memory as rows of D.
#[track_caller]
fn stage<'k>(plan: &Plan, memory: &SharedMemory<'k>, fragment: &Fragment<'k>, values: &[Value<'k, f32>]) {
    let (builder, pitch) = (fragment.row.builder(), plan.staged_pitch());
    // The copies of the piece before have read what stands here.
    builder.wait_stores_read(0);
    meet(builder, fragment);
    let (lane, warp) = (builder.lane(), builder.warp() & 3);
    let own = staged(plan, memory, fragment);
    // A word of each 8x8 matrix: two for 8 columns, the upper and the lower 8 rows of the warp.
    let words: Vec<Value<'k, B32>> = values.chunks(2).map(Bf16::pack).collect();
    for (atoms, words) in (0_u32..).step_by(2).zip(words.chunks(4)) {
        // Lanes 0 to 15 point to the first 8 columns, the others to the next.
        let (down, right) = (lane & 15, lane >> 4);
        let place = if fragment.is_swapped {
            // Matrices are transposed: rows of the weight run along the rows of D.
            let token = (right + atoms) * 8 + (down & 7);
            token * pitch + warp * 16 + (down >> 3) * 8
        } else {
            (warp * 16 + down) * pitch + (right + atoms) * 8
        };
        builder.store_matrices(own.at(place), words, fragment.is_swapped);
    }
    builder.fence_async_shared();
    if plan.accumulate {
        // What D held was read by addresses.
        builder.fence_async_global();
    }
    meet(builder, fragment);
}

/// Copies the staged rows of a piece, a thread each.
#[track_caller]
fn copy_rows<'k>(
    plan: &Plan,
    memory: &SharedMemory<'k>,
    fragment: &Fragment<'k>,
    target: &Target<'k>,
    d: Pointer<'k, Global, Bf16>,
    piece: &Piece,
) {
    let builder = fragment.row.builder();
    let thread = builder.thread() & 127;
    let (row, column) = (thread + piece.row, builder.constant(piece.column));
    let from = staged(plan, memory, fragment).at(thread * plan.staged_pitch());
    let to = d.at(row.multiply_wide(plan.d_pitch)).at(piece.column);
    let columns = (target.columns - column.min(target.columns)).min(piece.columns);
    let present = thread.less(piece.rows) & row.less(target.rows) & columns.differs(0);
    builder.when(present, || {
        if plan.n.is_multiple_of(8) {
            builder.copy_bytes_to_global(to, from, columns * 2);
            return;
        }
        let whole = columns & 0xffff_fff8;
        builder.when(whole.differs(0), || builder.copy_bytes_to_global(to, from, whole * 2));
        // The end of a row of D that is no whole chunk.
        for index in 0..plan.n % 8 {
            builder.when((columns & 7).greater(index), || {
                to.at(whole).at(index).store(from.at(whole).at(index).load());
            });
        }
    });
    builder.commit_stores();
}

/// Stores results in f32 from the registers: neighbouring columns of a row together where they are.
#[track_caller]
fn store_registers<'k>(
    plan: &Plan,
    fragment: &Fragment<'k>,
    target: &Target<'k>,
    d: Pointer<'k, Global, f32>,
    values: &[Vec<Value<'k, f32>>],
) {
    let (own_row, own_column) = fragment.own();
    let (rows_left, columns_left) =
        (target.rows - own_row.min(target.rows), target.columns - own_column.min(target.columns));
    let first = d.at(own_row.multiply_wide(plan.d_pitch)).at(own_column);
    let place = |row: u32, column: u32| first.at(row as usize * plan.d_pitch as usize + column as usize);
    for (block, values) in values.iter().enumerate() {
        for (register, pair) in (0..).step_by(2).zip(values.as_chunks::<2>().0) {
            let (row, column) = coordinate(fragment, block, register);
            let present = |row: u32, column: u32| -> Predicate<'k> {
                rows_left.greater(row) & columns_left.greater(column)
            };
            if !fragment.is_swapped && plan.n.is_multiple_of(2) {
                place(row, column).store_words_when(present(row, column), &pair.map(Value::bits));
                continue;
            }
            for (offset, value) in (0..).zip(pair) {
                let (row, column) = coordinate(fragment, block, register + offset);
                place(row, column).store_when(present(row, column), *value);
            }
        }
    }
}

/// The warpgroup's part of the staged results.
#[track_caller]
fn staged<'k>(
    plan: &Plan,
    memory: &SharedMemory<'k>,
    fragment: &Fragment<'k>,
) -> Pointer<'k, rorqual_codegen::pointer::Shared, Bf16> {
    memory.staged.at(fragment.warpgroup * plan.staged_elements())
}

/// The threads of the warpgroup meet.
#[track_caller]
fn meet(builder: &Builder, fragment: &Fragment<'_>) {
    builder.sync_barrier(fragment.warpgroup + FIRST_BARRIER, 128);
}
