//! The operations and types of bulk reductions (PTX ISA 9.7.9.25.4, 9.7.9.25.7), and which go together.

use super::BulkError;
use crate::scalar::atomic::{Element, Operation, apply};

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// Sum.
    Add,
    /// Minimum.
    Min,
    /// Maximum.
    Max,
    /// The next number, 0 after the operand.
    Inc,
    /// The number before, the operand before 0 and above the operand.
    Dec,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
}

/// The type of the elements that are reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceType {
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    S32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    S64,
    /// 32 bits.
    B32,
    /// 64 bits.
    B64,
    /// IEEE half precision, subnormals kept.
    F16,
    /// bfloat16, subnormals kept.
    Bf16,
    /// IEEE single precision, subnormals kept.
    F32,
    /// IEEE single precision, subnormals flushed to zero of their sign.
    F32Ftz,
    /// IEEE double precision.
    F64,
}

impl ReduceOp {
    /// Every operation.
    pub const ALL: &[Self] =
        &[Self::Add, Self::Min, Self::Max, Self::Inc, Self::Dec, Self::And, Self::Or, Self::Xor];

    /// The modifier of the instruction, without its dot.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Min => "min",
            Self::Max => "max",
            Self::Inc => "inc",
            Self::Dec => "dec",
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
        }
    }

    /// The operation with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.name() == name)
    }
}

impl ReduceType {
    /// Every type.
    pub const ALL: &[Self] = &[
        Self::U32,
        Self::S32,
        Self::U64,
        Self::S64,
        Self::B32,
        Self::B64,
        Self::F16,
        Self::Bf16,
        Self::F32,
        Self::F32Ftz,
        Self::F64,
    ];

    /// The bytes of an element.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::S32 | Self::B32 | Self::F32 | Self::F32Ftz => 4,
            Self::U64 | Self::S64 | Self::B64 | Self::F64 => 8,
        }
    }

    /// The name in messages, and but for `f32_ftz` the modifier of the instruction without its dot.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U32 => "u32",
            Self::S32 => "s32",
            Self::U64 => "u64",
            Self::S64 => "s64",
            Self::B32 => "b32",
            Self::B64 => "b64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F32Ftz => "f32_ftz",
            Self::F64 => "f64",
        }
    }

    /// The type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.name() == name)
    }

    /// Whether the operation exists with shared memory as its destination.
    pub(super) const fn reduces_in_shared(self, op: ReduceOp) -> bool {
        match op {
            ReduceOp::Add => matches!(self, Self::U32 | Self::S32 | Self::U64),
            ReduceOp::Min | ReduceOp::Max => matches!(self, Self::U32 | Self::S32),
            ReduceOp::Inc | ReduceOp::Dec => matches!(self, Self::U32),
            ReduceOp::And | ReduceOp::Or | ReduceOp::Xor => matches!(self, Self::B32),
        }
    }

    /// Whether the operation exists with global memory as its destination.
    const fn reduces_in_global(self, op: ReduceOp) -> bool {
        match op {
            ReduceOp::Add => !matches!(self, Self::B32 | Self::B64),
            ReduceOp::Min | ReduceOp::Max => {
                matches!(self, Self::U32 | Self::S32 | Self::U64 | Self::S64 | Self::F16 | Self::Bf16)
            }
            ReduceOp::Inc | ReduceOp::Dec => matches!(self, Self::U32),
            ReduceOp::And | ReduceOp::Or | ReduceOp::Xor => {
                matches!(self, Self::B32 | Self::B64 | Self::U32 | Self::S32 | Self::U64 | Self::S64)
            }
        }
    }

    /// The operation on elements of this type: what it makes of the old value and the operand, both zero-extended.
    pub(super) fn combine(self, op: ReduceOp) -> Result<impl Fn(u64, u64) -> u64 + Copy, BulkError> {
        if !self.reduces_in_global(op) {
            return Err(BulkError::ReduceType { op, ty: self.name() });
        }
        let (element, flush) = match self {
            Self::U32 | Self::B32 => (Element::U32, false),
            Self::S32 => (Element::S32, false),
            Self::U64 | Self::B64 => (Element::U64, false),
            Self::S64 => (Element::S64, false),
            Self::F16 => (Element::F16, false),
            Self::Bf16 => (Element::Bf16, false),
            Self::F32 => (Element::F32, false),
            Self::F32Ftz => (Element::F32, true),
            Self::F64 => (Element::F64, false),
        };
        let operation = match op {
            ReduceOp::Add => Operation::Add,
            ReduceOp::Min => Operation::Min,
            ReduceOp::Max => Operation::Max,
            ReduceOp::Inc => Operation::Increment,
            ReduceOp::Dec => Operation::Decrement,
            ReduceOp::And => Operation::And,
            ReduceOp::Or => Operation::Or,
            ReduceOp::Xor => Operation::Xor,
        };
        // The table above is that of `apply`, less what only atomics have.
        Ok(move |old, operand| apply(operation, element, old, operand, flush).unwrap_or(old))
    }
}

/// What an operation makes of the old value of an element and the operand, both zero-extended.
///
/// # Errors
/// [`BulkError::ReduceType`]: the operation does not exist for the type.
pub fn reduce_element(op: ReduceOp, ty: ReduceType, old: u64, operand: u64) -> Result<u64, BulkError> {
    let mask = u64::MAX >> (64 - 8 * ty.bytes());
    Ok(ty.combine(op)?(old & mask, operand & mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduce(op: ReduceOp, ty: ReduceType, old: u64, operand: u64) -> u64 {
        reduce_element(op, ty, old, operand).unwrap()
    }

    #[test]
    fn integers() {
        use ReduceOp::*;
        use ReduceType::*;
        assert_eq!(reduce(Add, U32, 0xffff_ffff, 2), 1);
        assert_eq!(reduce(Add, S64, u64::MAX, 2), 1);
        assert_eq!(reduce(Min, S32, 0xffff_ffff, 2), 0xffff_ffff);
        assert_eq!(reduce(Min, U32, 0xffff_ffff, 2), 2);
        assert_eq!(reduce(Max, S64, u64::MAX, 2), 2);
        assert_eq!(reduce(Max, U64, u64::MAX, 2), u64::MAX);
        assert_eq!((reduce(Inc, U32, 4, 5), reduce(Inc, U32, 5, 5), reduce(Inc, U32, 9, 5)), (5, 0, 0));
        assert_eq!((reduce(Dec, U32, 4, 5), reduce(Dec, U32, 0, 5), reduce(Dec, U32, 9, 5)), (3, 5, 5));
        assert_eq!((reduce(And, B32, 6, 3), reduce(Or, B64, 6, 3), reduce(Xor, S32, 6, 3)), (2, 7, 5));
        assert_eq!(reduce(Add, U32, 1 << 40 | 1, 1 << 40 | 1), 2, "what lies beyond the element is ignored");
        let wrong = [(Inc, S32), (Dec, U64), (And, F32), (Min, F32), (Max, F64), (Add, B32), (Xor, F16)];
        for (op, ty) in wrong {
            let error = reduce_element(op, ty, 0, 0).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("there is no bulk reduction .{} of {}", op.name(), ty.name())
            );
        }
    }

    #[test]
    fn sums_round_to_nearest_even() {
        use ReduceType::*;
        let add = |ty, a, b| reduce(ReduceOp::Add, ty, a, b);
        assert_eq!(add(F16, 0x3c00, 0x1000), 0x3c00, "1 + 2^-11 is a tie: even");
        assert_eq!(add(F16, 0x3c01, 0x1000), 0x3c02, "a tie above an odd number");
        assert_eq!(add(F16, 0x3c00, 0x1001), 0x3c01);
        assert_eq!(add(F16, 0x7bff, 0x4bff), 0x7bff, "65504 + 15.99");
        assert_eq!(add(F16, 0x7bff, 0x4c00), 0x7c00, "65504 + 16 is infinite");
        assert_eq!(add(F16, 0x0001, 0x0001), 0x0002, "subnormals are kept");
        assert_eq!(add(F16, 0x03ff, 0x0001), 0x0400);
        assert_eq!(add(F16, 0x3c00, 0xbc00), 0x0000);
        assert_eq!(add(F16, 0x8000, 0x8000), 0x8000);
        assert_eq!(add(F16, 0x7c00, 0xfc00), 0x7fff);
        assert_eq!(add(Bf16, 0x3f80, 0x3b80), 0x3f80, "1 + 2^-8 is a tie: even");
        assert_eq!(add(Bf16, 0x3f81, 0x3b80), 0x3f82);
        assert_eq!(add(Bf16, 0x7f7f, 0x7f7f), 0x7f80);
        assert_eq!(add(Bf16, 0x3f80, 0x0001), 0x3f80);
        assert_eq!(add(Bf16, 0x0001, 0x0001), 0x0002);
        let tiny = u64::from(f32::MIN_POSITIVE.to_bits() / 2);
        assert_eq!(add(F32, tiny, tiny), 2 * tiny);
        assert_eq!(add(F32Ftz, tiny, tiny), 0);
        assert_eq!(add(F32Ftz, tiny | 1 << 31, tiny | 1 << 31), 1 << 31);
        assert_eq!(add(F32, u64::from(f32::NAN.to_bits()), 0), 0x7fff_ffff);
        assert_eq!(add(F64, 1.5f64.to_bits(), 2.0f64.to_bits()), 3.5f64.to_bits());
        assert_eq!(reduce(ReduceOp::Min, F16, 0x7e00, 0xbc00), 0xbc00, "the one that is a number");
        assert_eq!(reduce(ReduceOp::Max, Bf16, 0x8000, 0x0000), 0x0000, "-0 is below +0");
    }

    #[test]
    fn which_operations_exist() {
        for ty in ReduceType::ALL {
            for op in ReduceOp::ALL {
                assert!(ty.reduces_in_global(*op) || !ty.reduces_in_shared(*op));
                // What is allowed is computed, and not left as it was.
                if ty.reduces_in_global(*op) {
                    let changes = |old, operand| reduce(*op, *ty, old, operand) != old;
                    assert!(
                        (1..9)
                            .any(|old| (1..9).any(|operand| changes(old, operand) || changes(operand, old)))
                    );
                }
            }
        }
        let count = |op: ReduceOp| ReduceType::ALL.iter().filter(|ty| ty.reduces_in_shared(op)).count();
        assert_eq!(ReduceOp::ALL.iter().map(|op| count(*op)).collect::<Vec<_>>(), [3, 2, 2, 1, 1, 1, 1, 1]);
        for (ty, op) in ReduceType::ALL.iter().zip(ReduceOp::ALL) {
            assert_eq!(ReduceType::from_name(ty.name()), Some(*ty));
            assert_eq!(ReduceOp::from_name(op.name()), Some(*op));
        }
    }
}
