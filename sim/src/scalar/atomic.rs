//! What an atomic or a bulk reduction leaves in memory (PTX ISA 9.7.13.6, 9.7.13.7, 9.7.9.25.4).

use super::format::{BF16, F16};
use super::half::{self, HalfMode};
use super::packed::both_halves;
use super::{MinMaxMode, Rounding, float32, float64};

/// The operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `.add`
    Add,
    /// `.inc`: up to the operand, then zero.
    Increment,
    /// `.dec`: down to zero, then the operand.
    Decrement,
    /// `.min`
    Min,
    /// `.max`
    Max,
    /// `.and`
    And,
    /// `.or`
    Or,
    /// `.xor`
    Xor,
    /// `.exch`
    Exchange,
}

/// The type of one element in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// `.u32`, `.b32`
    U32,
    /// `.s32`
    S32,
    /// `.u64`, `.b64`
    U64,
    /// `.s64`
    S64,
    /// `.f16`
    F16,
    /// `.bf16`
    Bf16,
    /// `.f16x2`
    F16x2,
    /// `.bf16x2`
    Bf16x2,
    /// `.f32`
    F32,
    /// `.f64`
    F64,
}

/// What memory holds after the operation, as raw bits; none where PTX has no such operation on such elements.
///
/// Only a sum of `f32` heeds `flush`: on global memory subnormal numbers count as zero, on shared memory they do not
/// (the CUDA programming guide, floating-point standard).
#[must_use]
#[inline]
pub fn apply(operation: Operation, element: Element, old: u64, operand: u64, flush: bool) -> Option<u64> {
    Some(match (operation, element) {
        (Operation::Exchange, _) => operand,
        (Operation::And, Element::U32 | Element::S32 | Element::U64 | Element::S64) => old & operand,
        (Operation::Or, Element::U32 | Element::S32 | Element::U64 | Element::S64) => old | operand,
        (Operation::Xor, Element::U32 | Element::S32 | Element::U64 | Element::S64) => old ^ operand,
        (Operation::Increment, Element::U32) => {
            let (old, limit) = (old as u32, operand as u32);
            u64::from(if old >= limit { 0 } else { old + 1 })
        }
        (Operation::Decrement, Element::U32) => {
            let (old, limit) = (old as u32, operand as u32);
            u64::from(if old == 0 || old > limit { limit } else { old - 1 })
        }
        (Operation::Add, Element::U32 | Element::S32) => u64::from((old as u32).wrapping_add(operand as u32)),
        (Operation::Add, Element::U64 | Element::S64) => old.wrapping_add(operand),
        (Operation::Min, Element::U32) => u64::from((old as u32).min(operand as u32)),
        (Operation::Max, Element::U32) => u64::from((old as u32).max(operand as u32)),
        (Operation::Min, Element::S32) => u64::from((old as i32).min(operand as i32) as u32),
        (Operation::Max, Element::S32) => u64::from((old as i32).max(operand as i32) as u32),
        (Operation::Min, Element::U64) => old.min(operand),
        (Operation::Max, Element::U64) => old.max(operand),
        (Operation::Min, Element::S64) => (old as i64).min(operand as i64) as u64,
        (Operation::Max, Element::S64) => (old as i64).max(operand as i64) as u64,
        (Operation::Add | Operation::Min | Operation::Max, Element::F32) => {
            let (old, operand) = (f32::from_bits(old as u32), f32::from_bits(operand as u32));
            let new = match operation {
                Operation::Add if flush => float32::add::<true>(old, operand),
                Operation::Add => float32::add::<false>(old, operand),
                Operation::Min => float32::min::<false, false>(old, operand),
                _ => float32::max::<false, false>(old, operand),
            };
            u64::from(new.to_bits())
        }
        (Operation::Add | Operation::Min | Operation::Max, Element::F64) => {
            let (old, operand) = (f64::from_bits(old), f64::from_bits(operand));
            let new = match operation {
                Operation::Add => float64::add(old, operand, Rounding::Nearest),
                Operation::Min => float64::min(old, operand),
                _ => float64::max(old, operand),
            };
            new.to_bits()
        }
        (Operation::Add | Operation::Min | Operation::Max, Element::F16) => {
            u64::from(half_operation(operation, old as u16, operand as u16, true))
        }
        (Operation::Add | Operation::Min | Operation::Max, Element::Bf16) => {
            u64::from(half_operation(operation, old as u16, operand as u16, false))
        }
        (Operation::Add | Operation::Min | Operation::Max, Element::F16x2 | Element::Bf16x2) => {
            let binary16 = element == Element::F16x2;
            let both = both_halves([old as u32, operand as u32], |[old, operand]| {
                half_operation(operation, old, operand, binary16)
            });
            u64::from(both)
        }
        _ => return None,
    })
}

fn half_operation(operation: Operation, old: u16, operand: u16, binary16: bool) -> u16 {
    let format = if binary16 { F16 } else { BF16 };
    match operation {
        Operation::Min => half::min(old, operand, format, MinMaxMode::default()),
        Operation::Max => half::max(old, operand, format, MinMaxMode::default()),
        _ => half::add(old, operand, format, HalfMode::default()),
    }
}

/// `.cas`: `new` where memory holds `expected`, bit for bit.
#[must_use]
#[inline(always)]
pub fn compare_and_swap<T: PartialEq>(old: T, expected: T, new: T) -> T {
    if old == expected { new } else { old }
}

#[cfg(test)]
mod tests;
