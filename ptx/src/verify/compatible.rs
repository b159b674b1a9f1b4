//! Which registers and literals an operand of a type takes (PTX ISA 6.4, 9.4, tables 26 to 28), as ptxas has it.

use crate::operand::Immediate;
use crate::types::{Kind, Type};

/// Whether a register may hold what an operand of type `ty` reads or writes; `wider`: whether it may be a larger one,
/// of which the low bits count.
pub(super) fn register_fits(ty: Type, register: Type, wider: bool) -> bool {
    let size_fits = if wider { register.bits() >= ty.bits() } else { register.bits() == ty.bits() };
    let untyped = register.kind() == Kind::Bits;
    match (ty.kind(), register.kind()) {
        (Kind::Predicate, kind) | (kind, Kind::Predicate) => kind == Kind::Predicate && ty == register,
        (Kind::Bits, _) => size_fits,
        _ if register == Type::F16x2 && ty.kind() != Kind::Float => size_fits,
        (Kind::Unsigned | Kind::Signed, _) if is_packed(ty) => size_fits && untyped,
        (Kind::Unsigned | Kind::Signed, kind) => size_fits && kind != Kind::Float,
        (Kind::Float, _) => register == ty || (size_fits && untyped),
    }
}

/// Whether a literal is a value of a type. Integers of any size are: the bits that do not fit are dropped. Of the bit
/// types those of 32 and 64 bits also take a floating-point literal of their size. Types of 16-bit floating point and
/// packed ones have no literals.
pub(super) fn literal_fits(ty: Type, literal: Immediate) -> bool {
    match literal {
        Immediate::Integer { .. } => match ty.kind() {
            Kind::Bits | Kind::Predicate => true,
            Kind::Unsigned | Kind::Signed => !is_packed(ty),
            Kind::Float => false,
        },
        Immediate::F32(_) => matches!(ty, Type::F32 | Type::F64 | Type::B32),
        Immediate::F64(_) => matches!(ty, Type::F32 | Type::F64 | Type::B64),
    }
}

fn is_packed(ty: Type) -> bool {
    ty.element_bits() != ty.bits()
}

/// The type with twice the bits: what `mul.wide` writes.
pub(super) fn twice(ty: Type) -> Type {
    match ty {
        Type::U8 => Type::U16,
        Type::S8 => Type::S16,
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        Type::B16 => Type::B32,
        Type::B32 => Type::B64,
        Type::B64 => Type::B128,
        Type::F16 => Type::F32,
        Type::F32 => Type::F64,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERS: &str = "b8 b16 b32 b64 b128 u8 u16 u32 u64 s8 s16 s32 s64 f16 f16x2 f32 f64 pred";

    fn fitting(ty: &str, wider: bool) -> String {
        let ty = Type::from_name(ty).unwrap();
        let fits = |name: &&str| register_fits(ty, Type::from_name(name).unwrap(), wider);
        REGISTERS.split(' ').filter(fits).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_arithmetic_operand_takes_the_registers_that_ptxas_takes() {
        let rows = [
            ("u16", "b16 u16 s16"),
            ("s32", "b32 u32 s32 f16x2"),
            ("u64", "b64 u64 s64"),
            ("f16", "b16 f16"),
            ("f16x2", "b32 f16x2"),
            ("bf16", "b16"),
            ("bf16x2", "b32"),
            ("u16x2", "b32 f16x2"),
            ("f32x2", "b64"),
            ("tf32", "b32"),
            ("e4m3x2", "b16"),
            ("f32", "b32 f32"),
            ("f64", "b64 f64"),
            ("b16", "b16 u16 s16 f16"),
            ("b32", "b32 u32 s32 f16x2 f32"),
            ("b128", "b128"),
            ("pred", "pred"),
        ];
        for (ty, expected) in rows {
            assert_eq!(fitting(ty, false), expected, "{ty}");
        }
    }

    #[test]
    fn a_load_takes_wider_registers_but_no_other_float() {
        let rows = [
            ("b8", "b8 b16 b32 b64 b128 u8 u16 u32 u64 s8 s16 s32 s64 f16 f16x2 f32 f64"),
            ("s8", "b8 b16 b32 b64 b128 u8 u16 u32 u64 s8 s16 s32 s64 f16x2"),
            ("u32", "b32 b64 b128 u32 u64 s32 s64 f16x2"),
            ("f32", "b32 b64 b128 f32"),
            ("f64", "b64 b128 f64"),
        ];
        for (ty, expected) in rows {
            assert_eq!(fitting(ty, true), expected, "{ty}");
        }
    }

    #[test]
    fn literals_fit_the_kind_of_the_type() {
        let kinds = [Immediate::int(1 << 40), Immediate::F32(0), Immediate::F64(0)];
        let rows = [
            ("u16", [true, false, false]),
            ("b32", [true, true, false]),
            ("b64", [true, false, true]),
            ("f32", [false, true, true]),
            ("f64", [false, true, true]),
            ("f16", [false, false, false]),
            ("u16x2", [false, false, false]),
            ("pred", [true, false, false]),
        ];
        for (ty, expected) in rows {
            assert_eq!(kinds.map(|kind| literal_fits(Type::from_name(ty).unwrap(), kind)), expected, "{ty}");
        }
    }
}
