//! From accumulators to D: rounded, in stores as wide as the layout of D allows.

use super::Plan;
use super::product::{Accumulators, Warp};
use super::tile::saturating_difference;
use rorqual_codegen::element::{B32, Bf16};
use rorqual_codegen::format::Format;
use rorqual_codegen::mma::mma_sync::{COLUMNS, ROWS};
use rorqual_codegen::pointer::{Global, Pointer};
use rorqual_codegen::{Predicate, Value};

/// Atoms whose columns a lane exchanges for 8 neighbouring ones of one of them.
const EXCHANGED: usize = 4;

/// The first element of the CTA's tile of D.
#[derive(Clone, Copy)]
pub(super) enum Destination<'k> {
    Bf16(Pointer<'k, Global, Bf16>),
    F32(Pointer<'k, Global, f32>),
}

/// Where the warp's sums belong, and what of the tile is there.
pub(super) struct Place<'a, 'k> {
    pub(super) warp: &'a Warp<'k>,
    pub(super) rows: Value<'k, u32>,
    pub(super) columns: Value<'k, u32>,
}

#[track_caller]
pub(super) fn store<'k>(
    plan: &Plan,
    sums: &Accumulators<'k>,
    place: &Place<'_, 'k>,
    destination: Destination<'k>,
) {
    let (n, pitch) = (plan.spec.n, plan.spec.d_pitch);
    let row = place.warp.row + place.warp.group();
    let rows_left = saturating_difference(place.rows, row);
    let slices = plan.slices().map(|[.., d]| d);
    match destination {
        Destination::Bf16(tile) => {
            let alignment = plan.alignment(pitch, slices, 2);
            let tile = tile.at(row.multiply_wide(pitch));
            for HalfAtoms { half, present, pairs } in half_atoms(sums, rows_left) {
                let d = tile.at(8 * half as usize * pitch as usize);
                if alignment == 16 && n.is_multiple_of(8) {
                    exchange_and_store(d, &pairs, place, present);
                } else {
                    store_pairs(d, &pairs, place, present, alignment >= 4 && n.is_multiple_of(2));
                }
            }
        }
        Destination::F32(tile) => {
            let together = plan.alignment(pitch, slices, 4) >= 8 && n.is_multiple_of(2);
            let tile = tile.at(row.multiply_wide(pitch));
            for HalfAtoms { half, present, pairs } in half_atoms(sums, rows_left) {
                store_pairs(tile.at(8 * half as usize * pitch as usize), &pairs, place, present, together);
            }
        }
    }
}

/// A lane's share of a row of atoms.
struct HalfAtoms<'k> {
    /// The row, counted from the lane's first in units of 8.
    half: u32,
    /// Whether it is there.
    present: Predicate<'k>,
    /// Two neighbouring sums of each atom.
    pairs: Vec<[Value<'k, f32>; 2]>,
}

#[track_caller]
fn half_atoms<'k>(sums: &Accumulators<'k>, rows_left: Value<'k, u32>) -> Vec<HalfAtoms<'k>> {
    let row = |half: u32| {
        let register = 2 * (half % 2) as usize;
        let atoms = &sums[(half * 8 / ROWS) as usize];
        let pairs = atoms.iter().map(|d| [d[register].peek(), d[register + 1].peek()]).collect();
        HalfAtoms { half, present: rows_left.greater(8 * half), pairs }
    };
    (0..2 * sums.len() as u32).map(row).collect()
}

/// Four lanes that share a row exchange their pairs of columns of four atoms, so that each has all columns of one.
#[track_caller]
fn exchange_and_store<'k>(
    row: Pointer<'k, Global, Bf16>,
    pairs: &[[Value<'k, f32>; 2]],
    place: &Place<'_, 'k>,
    present: Predicate<'k>,
) {
    let member = place.warp.member();
    let columns = EXCHANGED as u32 * COLUMNS;
    let first = place.warp.column + member * COLUMNS;
    for (group, atoms) in pairs.as_chunks::<EXCHANGED>().0.iter().enumerate() {
        let mut words: [Value<'k, B32>; EXCHANGED] = atoms.map(|pair| Bf16::pack(&pair));
        for distance in [1, 2] {
            let upper = (member & distance).differs(0);
            for low in (0..EXCHANGED).filter(|index| index & distance as usize == 0) {
                let high = low + distance as usize;
                let received = upper.select(words[low], words[high]).shuffle_xor(distance);
                let kept = [words[low], words[high]];
                words[low] = upper.select(received, kept[0]);
                words[high] = upper.select(kept[1], received);
            }
        }
        let column = first + group as u32 * columns;
        let present = present & column.less(place.columns);
        row.at(column).store_words_when(present, &words);
    }
}

/// Each lane its own pairs, at once if `together`.
#[track_caller]
fn store_pairs<'k, T: Format>(
    row: Pointer<'k, Global, T>,
    pairs: &[[Value<'k, f32>; 2]],
    place: &Place<'_, 'k>,
    present: Predicate<'k>,
    together: bool,
) {
    let first = place.warp.column + place.warp.member() * 2;
    let row = row.at(first);
    let columns_left = saturating_difference(place.columns, first);
    for (atom, pair) in pairs.iter().enumerate() {
        let column = atom as u32 * COLUMNS;
        let d = row.at(column);
        if together {
            let words: Vec<Value<'k, B32>> = pair.chunks(T::PER_WORD).map(T::pack).collect();
            d.store_words_when(present & columns_left.greater(column), &words);
            continue;
        }
        for (index, value) in pair.iter().enumerate() {
            let there = present & columns_left.greater(column + index as u32);
            d.at(index).store_when(there, T::of_f32(*value));
        }
    }
}
