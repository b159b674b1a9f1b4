//! Comparison and selection (PTX ISA 9.7.6, 9.7.7): `set`, `setp`, `slct`, `testp`.

use super::float32;
use super::integer::Integer;

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `.eq`
    Eq,
    /// `.ne`
    Ne,
    /// `.lt`
    Lt,
    /// `.le`
    Le,
    /// `.gt`
    Gt,
    /// `.ge`
    Ge,
    /// `.lo`: less, of unsigned numbers.
    Lo,
    /// `.ls`: less or the same, of unsigned numbers.
    Ls,
    /// `.hi`: greater, of unsigned numbers.
    Hi,
    /// `.hs`: greater or the same, of unsigned numbers.
    Hs,
    /// `.equ`: equal or unordered.
    Equ,
    /// `.neu`: not equal or unordered.
    Neu,
    /// `.ltu`: less or unordered.
    Ltu,
    /// `.leu`: less, equal or unordered.
    Leu,
    /// `.gtu`: greater or unordered.
    Gtu,
    /// `.geu`: greater, equal or unordered.
    Geu,
    /// `.num`: neither operand is NaN.
    Num,
    /// `.nan`: an operand is NaN.
    Nan,
}

/// Compares two integers; operators that only floating-point numbers have take every pair as ordered.
#[must_use]
#[inline(always)]
pub fn integers<T: Integer>(operator: Comparison, a: T, b: T) -> bool {
    match operator {
        Comparison::Lo => a.to_bits() < b.to_bits(),
        Comparison::Ls => a.to_bits() <= b.to_bits(),
        Comparison::Hi => a.to_bits() > b.to_bits(),
        Comparison::Hs => a.to_bits() >= b.to_bits(),
        Comparison::Eq | Comparison::Equ => a == b,
        Comparison::Ne | Comparison::Neu => a != b,
        Comparison::Lt | Comparison::Ltu => a < b,
        Comparison::Le | Comparison::Leu => a <= b,
        Comparison::Gt | Comparison::Gtu => a > b,
        Comparison::Ge | Comparison::Geu => a >= b,
        Comparison::Num => true,
        Comparison::Nan => false,
    }
}

/// Compares two floating-point numbers; -0 equals +0. Narrower formats are compared as the `f32` they widen to, and the
/// operators of unsigned numbers as the ordered ones.
#[must_use]
#[inline(always)]
pub fn floats<T: PartialOrd>(operator: Comparison, a: T, b: T) -> bool {
    #[expect(clippy::eq_op, reason = "a number that differs from itself is NaN")]
    let unordered = a != a || b != b;
    match operator {
        Comparison::Eq => a == b,
        // `ne` is an ordered comparison in PTX: false where an operand is NaN.
        Comparison::Ne => a != b && !unordered,
        Comparison::Lt | Comparison::Lo => a < b,
        Comparison::Le | Comparison::Ls => a <= b,
        Comparison::Gt | Comparison::Hi => a > b,
        Comparison::Ge | Comparison::Hs => a >= b,
        Comparison::Equ => a == b || unordered,
        Comparison::Neu => a != b,
        Comparison::Ltu => a < b || unordered,
        Comparison::Leu => a <= b || unordered,
        Comparison::Gtu => a > b || unordered,
        Comparison::Geu => a >= b || unordered,
        Comparison::Num => !unordered,
        Comparison::Nan => unordered,
    }
}

/// How the result of a comparison is combined with a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BooleanOperator {
    /// `.and`
    And,
    /// `.or`
    Or,
    /// `.xor`
    Xor,
}

impl BooleanOperator {
    /// Combines two predicates, or 32 pairs of them as bit masks of lanes.
    #[must_use]
    #[inline(always)]
    pub const fn apply(self, a: u32, b: u32) -> u32 {
        match self {
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

/// The class that `testp` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `.finite`: neither infinite nor NaN.
    Finite,
    /// `.infinite`
    Infinite,
    /// `.number`: not NaN.
    Number,
    /// `.notanumber`
    NotANumber,
    /// `.normal`: neither subnormal, infinite nor NaN; zero counts as normal.
    Normal,
    /// `.subnormal`
    Subnormal,
}

/// `testp.f64`; an `f32` is tested with [`testp_f32`], for its subnormal numbers are normal here.
#[must_use]
#[inline(always)]
pub fn testp_f64(class: Class, a: f64) -> bool {
    match class {
        Class::Finite => a.is_finite(),
        Class::Infinite => a.is_infinite(),
        Class::Number => !a.is_nan(),
        Class::NotANumber => a.is_nan(),
        Class::Normal => a.is_normal() || a == 0.0,
        Class::Subnormal => a.is_subnormal(),
    }
}

/// `testp.f32`.
#[must_use]
#[inline(always)]
pub fn testp_f32(class: Class, a: f32) -> bool {
    match class {
        Class::Normal => a.is_normal() || a == 0.0,
        Class::Subnormal => a.is_subnormal(),
        _ => testp_f64(class, f64::from(a)),
    }
}

/// `slct.TYPE.s32`: `a` where `c` is not negative.
#[must_use]
#[inline(always)]
pub const fn slct_s32<T: Copy>(a: T, b: T, c: i32) -> T {
    if c >= 0 { a } else { b }
}

/// `slct{.ftz}.TYPE.f32`: `a` where `c` is not negative (-0 counts as zero), `b` for NaN.
#[must_use]
#[inline(always)]
pub fn slct_f32<T: Copy>(a: T, b: T, c: f32, ftz: bool) -> T {
    let c = if ftz { float32::flush(c) } else { c };
    if c >= 0.0 { a } else { b }
}

#[cfg(test)]
mod tests;
