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
use super::tile::PIECE_COLUMNS;
use super::warpgroup::Warpgroup;
use crate::gemm::Output;
use rorqual_codegen::element::{B32, Bf16, Element};
use rorqual_codegen::format::Format;
use rorqual_codegen::mma::wgmma;
use rorqual_codegen::pointer::{Global, Pointer, Shared};
use rorqual_codegen::{Value, Variable};

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
pub(super) struct Fragment<'a, 'k> {
    pub(super) plan: &'a Plan,
    pub(super) warpgroup: Warpgroup<'a, 'k>,
    /// For each product of the warpgroup: blocks of 64 rows, or gate and up.
    pub(super) sums: Vec<Vec<Variable<'k, f32>>>,
    /// Columns of a block.
    pub(super) columns: u32,
    /// Whether rows are those of the weight, and columns tokens.
    pub(super) is_swapped: bool,
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

/// What a thread writes of a target: its first element, and the rows and columns from there on.
struct Own<'k, T> {
    first: Pointer<'k, Global, T>,
    rows: Value<'k, u32>,
    columns: Value<'k, u32>,
}

/// Rows and columns of D within a target.
struct Piece {
    row: u32,
    column: u32,
    rows: u32,
    columns: u32,
}

impl<'k> Target<'k> {
    #[track_caller]
    fn new(tile: &Tile<'k>, fragment: &Fragment<'_, 'k>) -> Self {
        let Warpgroup { builder, number, .. } = fragment.warpgroup;
        let blocks = fragment.sums.len() as u32;
        let skipped = number * (blocks * wgmma::ROWS);
        let (skipped_rows, skipped_columns) =
            if fragment.is_swapped { (builder.constant(0), skipped) } else { (skipped, builder.constant(0)) };
        let column = tile.column + skipped_columns;
        let slice = match fragment.plan.spec.grouping {
            Groups::Batched { d, .. } => {
                Some(tile.group.multiply_wide(d.stride) + builder.constant(u64::from(d.first)))
            }
            _ => None,
        };
        let n = builder.constant(fragment.plan.spec.n);
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
        d.at(self.row.multiply_wide(plan.spec.d_pitch)).at(self.column)
    }
}

impl<'k> Fragment<'_, 'k> {
    /// Stores the sums of a tile.
    #[track_caller]
    pub(super) fn store(&self, results: &Product<'k>, tile: &Tile<'k>) {
        let target = Target::new(tile, self);
        match self.plan.spec.output {
            Output::Bf16 => {
                let d = target.first(results.d, self.plan);
                self.store_pieces(&target, d, &self.finished(results, &target, d));
            }
            Output::F32 => {
                let d = target.first(results.d_f32, self.plan);
                self.store_registers(&target, d, &self.finished(results, &target, d));
            }
        }
    }

    /// What the thread writes of a target at `d`.
    #[track_caller]
    fn own<T: Element>(&self, target: &Target<'k>, d: Pointer<'k, Global, T>) -> Own<'k, T> {
        let Warpgroup { row, column, .. } = self.warpgroup;
        let (row, column) = if self.is_swapped { (column, row) } else { (row, column) };
        Own {
            rows: target.rows - row.min(target.rows),
            columns: target.columns - column.min(target.columns),
            first: d.at(row.multiply_wide(self.plan.spec.d_pitch)).at(column),
        }
    }

    /// Row and column of a register within a target, apart from the thread's own.
    fn coordinate(&self, block: usize, register: usize) -> (u32, u32) {
        let (row, column) = wgmma::d_coordinate(0, register as u32);
        let row = row + block as u32 * wgmma::ROWS;
        if self.is_swapped { (column, row) } else { (row, column) }
    }

    /// The sums with bias and what D held, as asked.
    #[track_caller]
    fn finished<T: Format>(
        &self,
        results: &Product<'k>,
        target: &Target<'k>,
        d: Pointer<'k, Global, T>,
    ) -> Vec<Vec<Value<'k, f32>>> {
        let (plan, zero) = (self.plan, self.warpgroup.builder.constant(0.0_f32));
        let own = self.own(target, d);
        let own_column = if self.is_swapped { self.warpgroup.row } else { self.warpgroup.column };
        let bias = results.bias.at(target.column + own_column);
        let finish = |block: usize, register: usize, sum: &Variable<'k, f32>| {
            let (row, column) = self.coordinate(block, register);
            let mut value = sum.peek();
            let has_column = own.columns.greater(column);
            if plan.spec.bias {
                value = value + bias.at(column).load_or(has_column, zero);
            }
            if plan.spec.accumulate {
                let before = own.first.at(row as usize * plan.spec.d_pitch as usize + column as usize);
                let present = has_column & own.rows.greater(row);
                value = value + T::to_f32(before.load_or(present, T::of_f32(zero)));
            }
            value
        };
        let blocks = self.sums.iter().enumerate();
        blocks
            .map(|(block, sums)| (0..).zip(sums).map(|(at, sum)| finish(block, at, sum)).collect())
            .collect()
    }

    /// Stores results piece by piece: 64 rows by up to [`PIECE_COLUMNS`] go through the warpgroup's part of shared memory.
    #[track_caller]
    fn store_pieces(
        &self,
        target: &Target<'k>,
        d: Pointer<'k, Global, Bf16>,
        values: &[Vec<Value<'k, f32>>],
    ) {
        if self.plan.spec.accumulate {
            // What D held was read by addresses.
            self.warpgroup.builder.fence_async_global();
        }
        // A register holds an element of 8 columns for each 2 rows of a lane's four.
        let registers = (PIECE_COLUMNS / 2) as usize;
        for (block, values) in (0_u32..).zip(values) {
            // A tile may be wider than D.
            let firsts = (0..self.plan.spec.n).step_by(PIECE_COLUMNS as usize);
            for (first, values) in firsts.zip(values.chunks(registers)) {
                self.stage_piece(values);
                let piece = if self.is_swapped {
                    Piece { row: 0, column: 0, rows: self.columns, columns: wgmma::ROWS }
                } else {
                    let columns = values.len() as u32 * 2;
                    Piece { row: block * wgmma::ROWS, column: first, rows: wgmma::ROWS, columns }
                };
                self.copy_piece(target, d, &piece);
            }
        }
    }

    /// Stores a piece to shared memory as rows of D.
    #[track_caller]
    fn stage_piece(&self, values: &[Value<'k, f32>]) {
        let (builder, pitch) = (self.warpgroup.builder, self.plan.staged_pitch());
        let meet = || builder.sync_barrier(self.warpgroup.number + FIRST_BARRIER, 128);
        self.stage(meet, || {
            let (lane, warp) = (builder.lane(), builder.warp() & 3);
            let own = self.staged();
            // A word of each 8x8 matrix: two for 8 columns, the upper and the lower 8 rows of the warp.
            let words: Vec<Value<'k, B32>> = values.chunks(2).map(Bf16::pack).collect();
            for (atoms, words) in (0_u32..).step_by(2).zip(words.chunks(4)) {
                // Lanes 0 to 15 point to the first 8 columns, the others to the next.
                let (down, right) = (lane & 15, lane >> 4);
                let place = if self.is_swapped {
                    // Matrices are transposed: rows of the weight run along the rows of D.
                    let token = (right + atoms) * 8 + (down & 7);
                    token * pitch + warp * 16 + (down >> 3) * 8
                } else {
                    (warp * 16 + down) * pitch + (right + atoms) * 8
                };
                builder.store_matrices(own.at(place), words, self.is_swapped);
            }
        });
    }

    /// Writes what is staged, from where it can be copied then; threads that stage together `meet`.
    #[track_caller]
    pub(super) fn stage(&self, meet: impl Fn(), write: impl FnOnce()) {
        let builder = self.warpgroup.builder;
        // The copies before have read what stands here.
        builder.wait_stores_read(0);
        meet();
        write();
        builder.fence_async_shared();
        meet();
    }

    /// Copies the staged rows of a piece, a thread each.
    #[track_caller]
    fn copy_piece(&self, target: &Target<'k>, d: Pointer<'k, Global, Bf16>, piece: &Piece) {
        let (builder, plan) = (self.warpgroup.builder, self.plan);
        let thread = builder.thread() & 127;
        let (row, column) = (thread + piece.row, builder.constant(piece.column));
        let from = self.staged().at(thread * plan.staged_pitch());
        let to = d.at(row.multiply_wide(plan.spec.d_pitch)).at(piece.column);
        let columns = (target.columns - column.min(target.columns)).min(piece.columns);
        let present = thread.less(piece.rows) & row.less(target.rows) & columns.differs(0);
        builder.when(present, || {
            if plan.spec.n.is_multiple_of(8) {
                builder.copy_bytes_to_global(to, from, columns * 2);
                return;
            }
            let whole = columns & 0xffff_fff8;
            builder.when(whole.differs(0), || builder.copy_bytes_to_global(to, from, whole * 2));
            // The end of a row of D that is no whole chunk.
            for index in 0..plan.spec.n % 8 {
                builder.when((columns & 7).greater(index), || {
                    to.at(whole).at(index).store(from.at(whole).at(index).load());
                });
            }
        });
        builder.commit_stores();
    }

    /// Stores results in f32 from the registers: neighbouring columns of a row together where they are.
    #[track_caller]
    fn store_registers(
        &self,
        target: &Target<'k>,
        d: Pointer<'k, Global, f32>,
        values: &[Vec<Value<'k, f32>>],
    ) {
        let (plan, own) = (self.plan, self.own(target, d));
        let place =
            |row: u32, column: u32| own.first.at(row as usize * plan.spec.d_pitch as usize + column as usize);
        let present = |row: u32, column: u32| own.rows.greater(row) & own.columns.greater(column);
        for (block, values) in values.iter().enumerate() {
            for (register, pair) in (0..).step_by(2).zip(values.as_chunks::<2>().0) {
                let (row, column) = self.coordinate(block, register);
                if !self.is_swapped && plan.spec.n.is_multiple_of(2) {
                    place(row, column).store_words_when(present(row, column), &pair.map(Value::bits));
                    continue;
                }
                for (offset, value) in (0..).zip(pair) {
                    let (row, column) = self.coordinate(block, register + offset);
                    place(row, column).store_when(present(row, column), *value);
                }
            }
        }
    }

    /// The warpgroup's part of the staged results.
    #[track_caller]
    fn staged(&self) -> Pointer<'k, Shared, Bf16> {
        self.warpgroup.memory.staged.at(self.warpgroup.number * self.plan.staged_elements())
    }
}
