//! The mathematics and data layouts of matrix instructions, apart from any machine.
//!
//! A matrix instruction is: gather A and B into [`Panel`]s (from registers by a [`fragment`] layout or from shared
//! memory by a [`descriptor`]), bring C into a row-major array, [`multiply_accumulate`], bring D back. A panel can
//! serve several instructions.
//!
//! ```
//! use rorqual_sim::tensor_core::{Arithmetic, Format, Panel, Precision, multiply_accumulate};
//!
//! let (mut a, mut b) = (Panel::new(), Panel::new());
//! a.fill(Format::Bf16, 8, 16, Precision::Exact, |row, _k| 0x3f80 + row as u32);
//! b.fill(Format::Bf16, 8, 16, Precision::Exact, |_column, _k| 0x4000);
//! let mut d = [1.0; 64];
//! multiply_accumulate(&a, &b, &mut d, Arithmetic::Exact { half: false });
//! assert_eq!(d[0], 33.0);
//! ```

mod accumulation;
pub mod descriptor;
mod double;
mod exact;
mod format;
pub mod fragment;
mod hardware;
mod integer;
mod panel;
mod round;

pub use accumulation::{
    Accumulation, Arithmetic, CANONICAL_NAN, Generation, Instruction, Output, Precision, fused_dot_add,
};
pub use double::multiply_accumulate_double;
pub use format::Format;
pub use integer::{BitOperation, multiply_accumulate_bits, multiply_accumulate_integer};
pub use panel::Panel;
pub use round::f16_bits;

/// Adds the product of two panels to `accumulators`, row-major with a row for each lane of `a` and a column for each
/// lane of `b`; both are multiples of 8. f16 accumulators are held as f32 and stay representable.
///
/// The operation is symmetric: exchanging the panels computes the transpose, bit for bit. The panel with more lanes
/// is faster as `b`.
///
/// # Panics
/// If the shapes disagree.
pub fn multiply_accumulate(a: &Panel, b: &Panel, accumulators: &mut [f32], arithmetic: Arithmetic) {
    assert_eq!(a.depth(), b.depth(), "A and B share k");
    assert_eq!(accumulators.len(), a.lanes() * b.lanes(), "an accumulator for each row and column");
    assert!(a.lanes().is_multiple_of(8) && b.lanes().is_multiple_of(8), "rows and columns come in eights");
    match arithmetic {
        Arithmetic::Exact { half } => exact::multiply_accumulate(a, b, accumulators, half),
        Arithmetic::Hardware(accumulation) => hardware::multiply_accumulate(a, b, accumulators, accumulation),
    }
}

#[cfg(test)]
mod tests;
