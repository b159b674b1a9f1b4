//! Integer arithmetic (PTX ISA 9.7.1, 9.7.2), over Rust's integer types: `s32` is `i32` and so on.
//!
//! Everything wraps unless it says that it saturates.

/// An integer type of the arithmetic instructions: 8 bits (in fours), 16 (also in pairs), 32 or 64.
pub trait Integer: Copy + Ord + Default {
    /// Width.
    const BITS: u32;
    /// Whether the type is two's complement.
    const SIGNED: bool;

    /// `add`.
    #[must_use]
    fn add(self, other: Self) -> Self;
    /// `sub`.
    #[must_use]
    fn sub(self, other: Self) -> Self;
    /// `add.sat`: clamped to the type.
    #[must_use]
    fn add_sat(self, other: Self) -> Self;
    /// `sub.sat`: clamped to the type.
    #[must_use]
    fn sub_sat(self, other: Self) -> Self;
    /// `mul.lo`.
    #[must_use]
    fn mul_lo(self, other: Self) -> Self;
    /// `mul.hi`: the upper half of the double-width product.
    #[must_use]
    fn mul_hi(self, other: Self) -> Self;
    /// `div`, truncating; none where the divisor is zero. The smallest number divided by -1 wraps.
    #[must_use]
    fn div(self, other: Self) -> Option<Self>;
    /// `rem`, with the dividend's sign; none where the divisor is zero.
    #[must_use]
    fn rem(self, other: Self) -> Option<Self>;
    /// `abs`: the smallest number stays.
    #[must_use]
    fn abs(self) -> Self;
    /// `neg`: the smallest number stays.
    #[must_use]
    fn neg(self) -> Self;
    /// `sad`: `self + |a - b|`.
    #[must_use]
    fn sad(self, a: Self, b: Self) -> Self;
    /// `add.cc`, `addc` and `addc.cc`: the sum with a carry in, and the carry out. `add.cc` has none coming in.
    #[must_use]
    fn add_carry(self, other: Self, carry: bool) -> (Self, bool);
    /// `sub.cc`, `subc` and `subc.cc`: the difference with a borrow in, and the borrow out.
    #[must_use]
    fn sub_borrow(self, other: Self, borrow: bool) -> (Self, bool);
    /// The type's bits in the low end of a `u64`, zero above.
    #[must_use]
    fn to_bits(self) -> u64;
    /// The low bits of a `u64`.
    #[must_use]
    fn from_bits(bits: u64) -> Self;
    /// The number as `f32`, to nearest (`cvt.rn.f32`).
    #[must_use]
    fn to_f32(self) -> f32;

    /// `mad.lo`: `self * other + addend`.
    #[must_use]
    #[inline(always)]
    fn mad_lo(self, other: Self, addend: Self) -> Self {
        self.mul_lo(other).add(addend)
    }

    /// `mad.hi`: upper half of `self * other`, plus `addend`.
    #[must_use]
    #[inline(always)]
    fn mad_hi(self, other: Self, addend: Self) -> Self {
        self.mul_hi(other).add(addend)
    }

    /// `mad.hi.sat`, for `s32`.
    #[must_use]
    #[inline(always)]
    fn mad_hi_sat(self, other: Self, addend: Self) -> Self {
        self.mul_hi(other).add_sat(addend)
    }

    /// `mad.lo.cc`, `madc.lo` and `madc.lo.cc`.
    #[must_use]
    #[inline(always)]
    fn mad_lo_carry(self, other: Self, addend: Self, carry: bool) -> (Self, bool) {
        self.mul_lo(other).add_carry(addend, carry)
    }

    /// `mad.hi.cc`, `madc.hi` and `madc.hi.cc`.
    #[must_use]
    #[inline(always)]
    fn mad_hi_carry(self, other: Self, addend: Self, carry: bool) -> (Self, bool) {
        self.mul_hi(other).add_carry(addend, carry)
    }

    /// `.relu`: a negative number becomes zero.
    #[must_use]
    #[inline(always)]
    fn relu(self) -> Self {
        self.max(Self::default())
    }
}

macro_rules! integer {
    ($type:ty, $unsigned:ty, $wide:ty, $signed:literal, $abs:expr) => {
        impl Integer for $type {
            const BITS: u32 = <$type>::BITS;
            const SIGNED: bool = $signed;

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn add_sat(self, other: Self) -> Self {
                self.saturating_add(other)
            }
            #[inline(always)]
            fn sub_sat(self, other: Self) -> Self {
                self.saturating_sub(other)
            }
            #[inline(always)]
            fn mul_lo(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn mul_hi(self, other: Self) -> Self {
                (<$wide>::from(self) * <$wide>::from(other) >> <$type>::BITS) as Self
            }
            #[inline(always)]
            fn div(self, other: Self) -> Option<Self> {
                if other == 0 { None } else { Some(self.wrapping_div(other)) }
            }
            #[inline(always)]
            fn rem(self, other: Self) -> Option<Self> {
                if other == 0 { None } else { Some(self.wrapping_rem(other)) }
            }
            #[inline(always)]
            fn abs(self) -> Self {
                let abs: fn(Self) -> Self = $abs;
                abs(self)
            }
            #[inline(always)]
            fn neg(self) -> Self {
                self.wrapping_neg()
            }
            #[inline(always)]
            fn sad(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.abs_diff(b) as Self)
            }
            #[inline(always)]
            fn add_carry(self, other: Self, carry: bool) -> (Self, bool) {
                let (sum, first) = (self as $unsigned).overflowing_add(other as $unsigned);
                let (sum, second) = sum.overflowing_add(<$unsigned>::from(carry));
                (sum as Self, first | second)
            }
            #[inline(always)]
            fn sub_borrow(self, other: Self, borrow: bool) -> (Self, bool) {
                let (difference, first) = (self as $unsigned).overflowing_sub(other as $unsigned);
                let (difference, second) = difference.overflowing_sub(<$unsigned>::from(borrow));
                (difference as Self, first | second)
            }
            #[inline(always)]
            fn to_bits(self) -> u64 {
                self as $unsigned as u64
            }
            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                bits as Self
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
        }
    };
}

integer!(u8, u8, u16, false, |x| x);
integer!(i8, u8, i16, true, i8::wrapping_abs);
integer!(u16, u16, u32, false, |x| x);
integer!(i16, u16, i32, true, i16::wrapping_abs);
integer!(u32, u32, u64, false, |x| x);
integer!(i32, u32, i64, true, i32::wrapping_abs);
integer!(u64, u64, u128, false, |x| x);
integer!(i64, u64, i128, true, i64::wrapping_abs);

/// An integer type with a product of twice the width: 16 and 32 bits.
pub trait Widening: Integer {
    /// The type of the product.
    type Wide: Integer;

    /// `mul.wide`.
    #[must_use]
    fn mul_wide(self, other: Self) -> Self::Wide;

    /// `mad.wide`: `self * other + addend`, in the wide type.
    #[must_use]
    #[inline(always)]
    fn mad_wide(self, other: Self, addend: Self::Wide) -> Self::Wide {
        self.mul_wide(other).add(addend)
    }
}

macro_rules! widening {
    ($($type:ty => $wide:ty),*) => {
        $(impl Widening for $type {
            type Wide = $wide;
            #[inline(always)]
            fn mul_wide(self, other: Self) -> $wide {
                <$wide>::from(self) * <$wide>::from(other)
            }
        })*
    };
}

widening!(u16 => u32, i16 => i32, u32 => u64, i32 => i64);

/// The 48-bit product of the low 24 bits of two operands, in the low 48 bits.
#[inline(always)]
const fn product_24(a: u32, b: u32, signed: bool) -> u64 {
    if signed {
        ((((a << 8) as i32 >> 8) as i64) * (((b << 8) as i32 >> 8) as i64)) as u64
    } else {
        (a & 0xff_ffff) as u64 * (b & 0xff_ffff) as u64
    }
}

/// `mul24.lo`: bits 31..0 of the 48-bit product.
#[must_use]
#[inline(always)]
pub const fn mul24_lo(a: u32, b: u32, signed: bool) -> u32 {
    product_24(a, b, signed) as u32
}

/// `mul24.hi`: bits 47..16 of the 48-bit product.
#[must_use]
#[inline(always)]
pub const fn mul24_hi(a: u32, b: u32, signed: bool) -> u32 {
    (product_24(a, b, signed) >> 16) as u32
}

/// `dp4a`: `c` plus the products of the four bytes of `a` and `b`, each operand's bytes signed or not.
#[must_use]
#[inline(always)]
pub fn dp4a(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let byte = |x: u32, index: u32, signed: bool| {
        let byte = (x >> (8 * index)) as u8;
        if signed { i32::from(byte as i8) } else { i32::from(byte) }
    };
    (0..4)
        .fold(c, |sum, index| sum.wrapping_add((byte(a, index, a_signed) * byte(b, index, b_signed)) as u32))
}

/// `dp2a.lo` and `dp2a.hi`: `c` plus the products of the two halves of `a` with two bytes of `b`, the low or the high.
#[must_use]
#[inline(always)]
pub fn dp2a(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool, high: bool) -> u32 {
    let bytes = if high { b >> 16 } else { b };
    (0..2).fold(c, |sum, index| {
        let half = (a >> (16 * index)) as u16;
        let byte = (bytes >> (8 * index)) as u8;
        let half = if a_signed { i32::from(half as i16) } else { i32::from(half) };
        let byte = if b_signed { i32::from(byte as i8) } else { i32::from(byte) };
        sum.wrapping_add((half * byte) as u32)
    })
}

/// Applies a function to every element of two packed operands: `u16x2`, `s16x2`, `u8x4`, `s8x4`.
#[must_use]
#[inline(always)]
pub fn each<T: Integer>(a: u32, b: u32, function: impl Fn(T, T) -> T) -> u32 {
    (0..32 / T::BITS).fold(0, |packed, index| {
        let element = |x: u32| T::from_bits(u64::from(x >> (index * T::BITS)));
        packed | (function(element(a), element(b)).to_bits() as u32) << (index * T::BITS)
    })
}

/// How the elements of a video instruction are taken out of registers and put back.
#[derive(Debug, Clone, Copy)]
pub struct Video {
    /// Elements of a register: two halves or four bytes.
    pub elements: u32,
    /// Whether the elements of each operand are signed.
    pub operands: [bool; 2],
    /// Whether results are clamped to an element's range, and whether that is the range of signed ones.
    pub saturated: Option<bool>,
}

impl Video {
    /// The results for the elements of `a` and `b`, packed; what does not fit an element is cut off.
    #[must_use]
    #[inline(always)]
    pub fn packed(self, a: u32, b: u32, function: fn(i32, i32) -> i32) -> u32 {
        let bits = 32 / self.elements;
        self.results(a, b, function).zip(0..).fold(0, |packed, (result, index)| {
            packed | ((result as u32) & (u32::MAX >> (32 - bits))) << (index * bits)
        })
    }

    /// `c` plus the results for all elements of `a` and `b`.
    #[must_use]
    #[inline(always)]
    pub fn sum(self, a: u32, b: u32, c: u32, function: fn(i32, i32) -> i32) -> u32 {
        self.results(a, b, function).fold(c, |sum, result| sum.wrapping_add(result as u32))
    }

    fn results(self, a: u32, b: u32, function: fn(i32, i32) -> i32) -> impl Iterator<Item = i32> {
        let bits = 32 / self.elements;
        let element = move |x: u32, index: u32, signed: bool| {
            let top = x << (32 - bits * (index + 1));
            if signed { top.cast_signed() >> (32 - bits) } else { (top >> (32 - bits)).cast_signed() }
        };
        let clamp = move |result: i32| match self.saturated {
            Some(true) => result.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            Some(false) => result.clamp(0, (1 << bits) - 1),
            None => result,
        };
        let [a_signed, b_signed] = self.operands;
        (0..self.elements)
            .map(move |index| clamp(function(element(a, index, a_signed), element(b, index, b_signed))))
    }
}

/// `vavrg`: half of `a + b`, rounded up if the sum is not negative, else down.
#[must_use]
#[inline(always)]
pub const fn rounded_average(a: i32, b: i32) -> i32 {
    let sum = a + b;
    (sum + (sum >= 0) as i32) >> 1
}

#[cfg(test)]
mod tests;
