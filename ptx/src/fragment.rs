//! Fragments: how many registers a thread holds of a matrix, and of which type (PTX ISA 9.4, 9.7.16 to
//! 9.7.18).
//!
//! A matrix is spread evenly over the 32 threads of a warp or the 128 of a warpgroup and packed into
//! registers of 32 bits, or of 64 for `.f64`. So a fragment has rows * columns * bits / threads / 32
//! registers, where sparse A has half its columns. Two kinds hold more: A and B of `wmma` in `.f16` are held
//! several times over, and `mma` of shape m8n8k4 in `.f16` multiplies four matrices.

use crate::modifier::{Modifier, Shape};
use crate::table::{Mma, Opcode, Tcgen05};
use crate::types::Type;

/// What a fragment is of, in D = A * B + C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The left factor.
    A,
    /// The right factor.
    B,
    /// What is added.
    C,
    /// The result.
    D,
    /// Which elements of sparse A are not zero.
    Metadata,
    /// Scales of A or B.
    Scale,
}

/// The instructions that hold a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// `wmma.load`, `wmma.mma` and `wmma.store`.
    Wmma,
    /// `mma` and `mma.sp`.
    Mma,
    /// `wgmma.mma_async` and `wgmma.mma_async.sp`.
    Wgmma,
}

/// Registers of one thread for a matrix with elements of type `ty`; `None` if the unit holds no such matrix
/// in registers.
#[must_use]
pub fn of_matrix(unit: Unit, shape: Shape, ty: Type, role: Role, sparse: bool) -> Option<(u16, Type)> {
    let Shape { m, n, k } = shape;
    let size = |rows: u16, columns: u16| u32::from(rows) * u32::from(columns);
    let elements = match (role, unit) {
        (Role::Metadata | Role::Scale, _) => return Some((1, Type::B32)),
        (Role::B | Role::C, Unit::Wgmma) => return None,
        (Role::A | Role::B, Unit::Wmma) if ty == Type::F16 => return Some((8, Type::F16x2)),
        (Role::A, _) if sparse => size(m, k / 2),
        (Role::A, _) => size(m, k),
        (Role::B, _) => size(k, n),
        (Role::C | Role::D, _) => size(m, n),
    };
    let four_matrices = unit == Unit::Mma && shape == Shape { m: 8, n: 8, k: 4 } && ty != Type::F64;
    let elements = if four_matrices { 4 * elements } else { elements };
    let threads = if unit == Unit::Wgmma { 128 } else { 32 };
    let register = match ty {
        Type::F64 | Type::F32 | Type::S32 => ty,
        Type::F16 => Type::F16x2,
        _ => Type::B32,
    };
    let bits = elements * container_bits(shape, ty, sparse);
    let count = bits / threads / register.bits();
    let fills = count > 0 && bits == count * threads * register.bits();
    fills.then(|| u16::try_from(count).ok()).flatten().map(|count| (count, register))
}

/// Bits that an element takes in its register: 6-bit elements lie in bytes, 4-bit ones too where they may be
/// mixed with them.
fn container_bits(shape: Shape, ty: Type, sparse: bool) -> u32 {
    let alone = shape.k == if sparse { 128 } else { 64 };
    match ty {
        Type::E2m1 if alone => 4,
        Type::E3m2 | Type::E2m3 | Type::E2m1 => 8,
        _ => ty.bits(),
    }
}

/// Registers of the operand that the form calls `operand`, of a load, store or multiplication of matrices.
/// Where the form gives the operand a type of its own, only the number matters.
#[must_use]
pub fn registers(opcode: Opcode, modifiers: &[Modifier], operand: &str) -> Option<(u16, Type)> {
    match opcode {
        Opcode::Mma(Mma::Ldmatrix | Mma::Stmatrix) | Opcode::Tcgen05(_) if operand == "r" => {
            let count = repetitions(modifiers)? * registers_per_repetition(opcode, modifiers)?;
            return Some((count, Type::B32));
        }
        _ => {}
    }
    let (unit, sparse) = match opcode {
        Opcode::Mma(mma) => match mma {
            Mma::WmmaLoadA | Mma::WmmaLoadB | Mma::WmmaLoadC | Mma::WmmaStoreD | Mma::WmmaMma => {
                (Unit::Wmma, false)
            }
            Mma::Mma => (Unit::Mma, false),
            Mma::MmaSp | Mma::MmaSpOrderedMetadata => (Unit::Mma, true),
            Mma::WgmmaMmaAsync => (Unit::Wgmma, false),
            Mma::WgmmaMmaAsyncSp => (Unit::Wgmma, true),
            _ => return None,
        },
        _ => return None,
    };
    let role = match operand {
        "a" => Role::A,
        "b" => Role::B,
        "c" => Role::C,
        "d" => Role::D,
        "e" | "meta" => Role::Metadata,
        "scale_a" | "scale_b" => Role::Scale,
        _ => return None,
    };
    let shape = modifiers.iter().find_map(|modifier| match modifier {
        Modifier::Shape(shape) => Some(*shape),
        _ => None,
    })?;
    of_matrix(unit, shape, element_type(modifiers, role)?, role, sparse)
}

/// The type of a matrix among the type modifiers: one, or those of D and C, of D, A and B, or of D, A, B and
/// C.
fn element_type(modifiers: &[Modifier], role: Role) -> Option<Type> {
    let types = || {
        modifiers.iter().filter_map(|modifier| match modifier {
            Modifier::Type(ty) => Some(*ty),
            _ => None,
        })
    };
    let position = match (types().count(), role) {
        (1, _) => 0,
        (2, Role::A | Role::B) => return Some(Type::F16),
        (2, Role::C) => 1,
        (_, Role::D) => 0,
        (_, Role::A) => 1,
        (_, Role::B) => 2,
        _ => 3,
    };
    // Metadata and scales have no type of their own in every form.
    types().nth(position).or_else(|| types().next())
}

/// What `.x1` to `.x128` say.
pub(crate) fn repetitions(modifiers: &[Modifier]) -> Option<u16> {
    modifiers.iter().find_map(|modifier| match modifier {
        Modifier::X1 => Some(1),
        Modifier::X2 => Some(2),
        Modifier::X4 => Some(4),
        Modifier::X8 => Some(8),
        Modifier::X16 => Some(16),
        Modifier::X32 => Some(32),
        Modifier::X64 => Some(64),
        Modifier::X128 => Some(128),
        _ => None,
    })
}

/// Registers that `.x1` of a load or store takes.
fn registers_per_repetition(opcode: Opcode, modifiers: &[Modifier]) -> Option<u16> {
    modifiers.iter().find_map(|modifier| match (opcode, modifier) {
        (Opcode::Mma(_), Modifier::Shape(Shape { m: 16, n: 16, .. })) => Some(2),
        (Opcode::Mma(_), Modifier::Shape(_)) => Some(1),
        (
            Opcode::Tcgen05(Tcgen05::Tcgen05Ld | Tcgen05::Tcgen05LdRed | Tcgen05::Tcgen05St),
            Modifier::Tile16x64b | Modifier::Tile32x32b | Modifier::Tile16x32bx2,
        ) => Some(1),
        (Opcode::Tcgen05(_), Modifier::Tile16x128b) => Some(2),
        (Opcode::Tcgen05(_), Modifier::Tile16x256b) => Some(4),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
