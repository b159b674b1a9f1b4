//! Bit counting, fields, permutations, logic and shifts (PTX ISA 9.7.1, 9.7.8, 9.7.9.7).

use super::integer::Integer;

/// `popc`.
#[must_use]
#[inline(always)]
pub fn popc<T: Integer>(a: T) -> u32 {
    a.to_bits().count_ones()
}

/// `clz`: the width where `a` is zero.
#[must_use]
#[inline(always)]
pub fn clz<T: Integer>(a: T) -> u32 {
    a.to_bits().leading_zeros() - (64 - T::BITS)
}

/// `brev`.
#[must_use]
#[inline(always)]
pub fn brev<T: Integer>(a: T) -> T {
    T::from_bits(a.to_bits().reverse_bits() >> (64 - T::BITS))
}

/// `bfind`: position of the highest bit that differs from the sign (for unsigned types, the highest set bit);
/// 0xffffffff where there is none.
#[must_use]
#[inline(always)]
pub fn bfind<T: Integer>(a: T) -> u32 {
    let negative = T::SIGNED && a < T::default();
    let bits = if negative { !a.to_bits() << (64 - T::BITS) >> (64 - T::BITS) } else { a.to_bits() };
    63_u32.wrapping_sub(bits.leading_zeros())
}

/// `bfind.shiftamt`: how far to shift left to bring that bit to the top; 0xffffffff where there is none.
#[must_use]
#[inline(always)]
pub fn bfind_shiftamt<T: Integer>(a: T) -> u32 {
    let position = bfind(a);
    if position == u32::MAX { u32::MAX } else { T::BITS - 1 - position }
}

/// `fns.b32`: position of the `offset`-th set bit of `mask`, counted from bit `base` up (positive offsets) or down
/// (negative), `base` itself included; offset 0 asks whether bit `base` is set. 0xffffffff where there is none.
#[must_use]
pub fn fns(mask: u32, base: u32, offset: i32) -> u32 {
    let base = base & 31;
    let wanted = offset.unsigned_abs().saturating_sub(1) as usize;
    let is_set = |&position: &u32| mask >> position & 1 == 1;
    let found = match offset {
        0 => Some(base).filter(is_set),
        1.. => (base..32).filter(is_set).nth(wanted),
        _ => (0..=base).rev().filter(is_set).nth(wanted),
    };
    found.unwrap_or(u32::MAX)
}

/// `bfe`: the `length` bits of `a` from `position` up, both taken modulo 256; the rest is filled with the field's top
/// bit (of `a` itself where the field reaches beyond it) for signed types, else with zeros.
#[must_use]
#[inline(always)]
pub fn bfe<T: Integer>(a: T, position: u32, length: u32) -> T {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 {
        return T::default();
    }
    let bits = a.to_bits();
    let top = (position + length - 1).min(T::BITS - 1);
    let fill = T::SIGNED && bits >> top & 1 == 1;
    let field = bits.checked_shr(position).unwrap_or(0);
    let available = T::BITS.saturating_sub(position).min(length);
    let mask = u64::MAX.checked_shl(available).unwrap_or(0);
    T::from_bits(if fill { field | mask } else { field & !mask })
}

/// `bfi`: `b` with its `length` bits from `position` up replaced by the low bits of `a`, both taken modulo 256.
#[must_use]
#[inline(always)]
pub fn bfi<T: Integer>(a: T, b: T, position: u32, length: u32) -> T {
    let (position, length) = (position & 0xff, length & 0xff);
    let ones = !u64::MAX.checked_shl(length).unwrap_or(0);
    let mask = ones.checked_shl(position).unwrap_or(0);
    let field = a.to_bits().checked_shl(position).unwrap_or(0);
    T::from_bits(b.to_bits() & !mask | field & mask)
}

/// What a shift or a field width beyond 32 bits means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Excess {
    /// `.clamp`: as much as 32.
    Clamp,
    /// `.wrap`: modulo 32.
    Wrap,
}

impl Excess {
    #[inline(always)]
    const fn limit(self, count: u32) -> u32 {
        match self {
            Self::Clamp => {
                if count > 32 {
                    32
                } else {
                    count
                }
            }
            Self::Wrap => count & 31,
        }
    }
}

/// `bmsk.{clamp,wrap}.b32`: `length` ones from bit `position` up.
#[must_use]
#[inline(always)]
pub fn bmsk(position: u32, length: u32, excess: Excess) -> u32 {
    let (position, length) = (excess.limit(position), excess.limit(length));
    ((((1_u64 << length) - 1) as u32 as u64) << position) as u32
}

/// `szext.{clamp,wrap}`: the low `length` bits of `a`, sign- or zero-extended; zero where `length` is zero.
#[must_use]
#[inline(always)]
pub fn szext<T: Integer>(a: T, length: u32, excess: Excess) -> T {
    bfe(a, 0, excess.limit(length))
}

/// `lop3.b32`: bit i of the result is bit (a_i b_i c_i) of `table`.
#[must_use]
#[inline(always)]
pub const fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let mut result = 0;
    let mut row = 0;
    while row < 8 {
        let selected = (table >> row & 1) as u32;
        let a = if row & 4 != 0 { a } else { !a };
        let b = if row & 2 != 0 { b } else { !b };
        let c = if row & 1 != 0 { c } else { !c };
        result |= a & b & c & selected.wrapping_neg();
        row += 1;
    }
    result
}

/// `cnot`: one for zero, zero for everything else.
#[must_use]
#[inline(always)]
pub fn cnot<T: Integer>(a: T) -> T {
    T::from_bits(u64::from(a == T::default()))
}

/// `shl`: zero where the count reaches the width.
#[must_use]
#[inline(always)]
pub fn shl<T: Integer>(a: T, count: u32) -> T {
    T::from_bits(if count >= T::BITS { 0 } else { a.to_bits() << (count & 63) })
}

/// `shr`: filled with the sign for signed types; a count beyond the width counts as the width.
#[must_use]
#[inline(always)]
pub fn shr<T: Integer>(a: T, count: u32) -> T {
    let unused = 64 - T::BITS;
    if T::SIGNED {
        let extended = (a.to_bits() << unused) as i64 >> unused;
        T::from_bits((extended >> count.min(63)) as u64)
    } else {
        T::from_bits(if count >= T::BITS { 0 } else { a.to_bits() >> (count & 63) })
    }
}

/// `shf.l.{clamp,wrap}.b32`: the upper word of the 64 bits `high`:`low` shifted left.
#[must_use]
#[inline(always)]
pub fn shf_l(low: u32, high: u32, count: u32, excess: Excess) -> u32 {
    ((u64::from(high) << 32 | u64::from(low)) << excess.limit(count) >> 32) as u32
}

/// `shf.r.{clamp,wrap}.b32`: the lower word of the 64 bits `high`:`low` shifted right.
#[must_use]
#[inline(always)]
pub fn shf_r(low: u32, high: u32, count: u32, excess: Excess) -> u32 {
    ((u64::from(high) << 32 | u64::from(low)) >> excess.limit(count)) as u32
}

/// Modes of `prmt` (PTX ISA 9.7.9.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permutation {
    /// No mode: each nibble of the selector names a byte, its high bit asks for the byte's sign instead.
    Index,
    /// `.f4e`: four bytes forward from the selected one.
    Forward4,
    /// `.b4e`: four bytes backward.
    Backward4,
    /// `.rc8`: one byte, four times.
    Replicate8,
    /// `.ecl`: no byte below the selected one.
    EdgeClampLeft,
    /// `.ecr`: no byte above the selected one.
    EdgeClampRight,
    /// `.rc16`: one half, twice.
    Replicate16,
}

impl Permutation {
    /// The four selector nibbles of the mode, each a byte of `b`:`a` numbered from the low end of `a`.
    #[inline(always)]
    const fn nibbles(self, selector: u32) -> u32 {
        let place = selector & 3;
        match self {
            Self::Index => selector,
            Self::Forward4 => [0x3210, 0x4321, 0x5432, 0x6543][place as usize],
            Self::Backward4 => [0x5670, 0x6701, 0x7012, 0x0123][place as usize],
            Self::Replicate8 => 0x1111 * place,
            Self::EdgeClampLeft => [0x3210, 0x3211, 0x3222, 0x3333][place as usize],
            Self::EdgeClampRight => [0x0000, 0x1110, 0x2210, 0x3210][place as usize],
            Self::Replicate16 => [0x1010, 0x3232, 0x1010, 0x3232][place as usize],
        }
    }
}

/// `prmt.b32{.mode} d, a, b, c`.
#[must_use]
#[inline(always)]
pub fn prmt(a: u32, b: u32, selector: u32, mode: Permutation) -> u32 {
    let source = u64::from(b) << 32 | u64::from(a);
    let nibbles = mode.nibbles(selector);
    let byte = |index: u32| {
        let nibble = nibbles >> (4 * index);
        let byte = (source >> (8 * (nibble & 7))) as u8;
        let sign = (byte as i8 >> 7) as u8;
        u32::from(if nibble & 8 == 0 { byte } else { sign }) << (8 * index)
    };
    byte(0) | byte(1) | byte(2) | byte(3)
}

#[cfg(test)]
mod tests;
