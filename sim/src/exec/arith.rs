//! Arithmetic (PTX ISA 9.7.1 to 9.7.5): integers here, floating point in [`float_arith`](super::float_arith).

use super::bits::comparison_of;
use super::elementwise::{
    Operands, Value, Word, lacking, split, type_of, with_bits, with_integer, with_packed_integer,
    with_wide_integer,
};
use super::float_arith::{
    HalfAbs, HalfAdd, HalfFma, HalfFmaOutOfBounds, HalfMax, HalfMin, HalfMul, HalfNeg, HalfSub, float_mode,
    half_mode, min_max_mode, mixed_format,
};
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, Unsupported};
use crate::program::Flow;
use crate::registers::LANES;
use crate::report::{Fault, Rule};
use crate::scalar::compare::Comparison;
use crate::scalar::half;
use crate::scalar::integer::{
    Integer, Video, Widening, dp2a, dp4a, each, mul24_hi, mul24_lo, rounded_average,
};
use crate::scalar::packed::both_f32;
use crate::scalar::{float32, float64};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::operand::Operand;
use rorqual_ptx::table::ExecArith;
use rorqual_ptx::types::Type;

impl Decoder<'_> {
    /// An integer instruction of one to three operands.
    fn integer<O: Operands, D: Value>(
        &mut self,
        instruction: &Instruction,
        function: impl Fn(O) -> D + Send + Sync + 'static,
    ) -> Decoded {
        self.map(Class::Integer, instruction, function)
    }

    /// Zero, for the difference of a register with itself: defined even where the register is not.
    pub(super) fn zero(&mut self, instruction: &Instruction, ty: Type) -> Decoded {
        let wide = ty.bits() == 64;
        let to = self.destination(split(instruction)?.0, ty)?;
        self.emit_with(Class::Integer, move |context| {
            if wide {
                context.write_u64(to, &[0; LANES], 0)?
            } else {
                context.write_u32(to, &[0; LANES], 0)?
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    /// `div` or `rem`: all ones, or a fault, where the divisor is zero.
    fn divide<T: Integer + Value>(
        &mut self,
        instruction: &Instruction,
        function: impl Fn(T, T) -> Option<T> + Send + Sync + 'static,
    ) -> Decoded {
        let (to, operands) = split(instruction)?;
        let sources = <(T, T)>::decode(self, operands)?;
        let to = self.destination(to, T::TYPE)?;
        self.emit_with(Class::Integer, move |context| {
            let undefined = <(T, T)>::taint(context, &sources)?;
            let lanes = <(T, T)>::lanes(context, &sources);
            let (mut values, mut by_zero) = ([Default::default(); LANES], 0u32);
            for (lane, value) in values.iter_mut().enumerate() {
                let (a, b) = <(T, T)>::lane(lanes, lane);
                let quotient = function(a, b);
                by_zero |= u32::from(quotient.is_none()) << lane;
                *value = quotient.unwrap_or(T::from_bits(u64::MAX)).into_word();
            }
            by_zero &= context.mask & !undefined;
            if by_zero != 0 && context.grid.options.report_division_by_zero {
                return Err(Box::new(Fault::new(
                    Rule::DivisionByZero,
                    format!("an integer divided by zero in {}", crate::report::lanes(by_zero)),
                )));
            }
            Word::write(context, to, &values, undefined)?;
            Ok(Flow::Next)
        });
        Ok(())
    }

    /// `mul.wide` and `mad.wide`.
    fn wide<T: Widening + Value>(&mut self, instruction: &Instruction) -> Decoded
    where
        T::Wide: Value,
    {
        if split(instruction)?.1.len() == 2 {
            self.integer(instruction, |(a, b): (T, T)| a.mul_wide(b))
        } else {
            self.integer(instruction, |(a, b, c): (T, T, T::Wide)| a.mad_wide(b, c))
        }
    }

    fn multiply_wide(&mut self, instruction: &Instruction) -> Decoded {
        match type_of(instruction)? {
            Type::U16 => self.wide::<u16>(instruction),
            Type::S16 => self.wide::<i16>(instruction),
            Type::U32 => self.wide::<u32>(instruction),
            Type::S32 => self.wide::<i32>(instruction),
            other => Err(lacking(other)),
        }
    }

    /// `mad.{lo,hi}.cc` and `madc.{lo,hi}{.cc}`.
    fn multiply_add_carry(&mut self, instruction: &Instruction, reads: bool) -> Decoded {
        let flow = [reads, instruction.has(Modifier::Cc)];
        let high = instruction.has(Modifier::Hi);
        with_wide_integer!(type_of(instruction)?, T => if high {
            self.carry_chain(instruction, flow, |(a, b, c): (T, T, T), carry| a.mad_hi_carry(b, c, carry))
        } else {
            self.carry_chain(instruction, flow, |(a, b, c): (T, T, T), carry| a.mad_lo_carry(b, c, carry))
        })
    }

    fn add_carry(&mut self, instruction: &Instruction, reads: bool) -> Decoded {
        let flow = [reads, instruction.has(Modifier::Cc)];
        with_bits!(type_of(instruction)?, W =>
            self.carry_chain(instruction, flow, |(a, b): (W, W), carry| a.add_carry(b, carry)))
    }

    /// `sub.cc` and `subc{.cc}`. The flag is that of `a + !b + 1`: set where nothing is borrowed. Compilers build on
    /// it where an `addc` reads what a `subc.cc` has left.
    fn sub_borrow(&mut self, instruction: &Instruction, reads: bool) -> Decoded {
        let flow = [reads, instruction.has(Modifier::Cc)];
        with_bits!(type_of(instruction)?, W =>
        self.carry_chain(instruction, flow, move |(a, b): (W, W), carry| {
            let (difference, borrow) = a.sub_borrow(b, reads && !carry);
            (difference, !borrow)
        }))
    }

    /// `min` or `max` of integers.
    fn extreme(&mut self, instruction: &Instruction, maximum: bool) -> Decoded {
        let ty = type_of(instruction)?;
        match (instruction.has(Modifier::Relu), maximum) {
            _ if is_packed(ty) => self.packed_extreme(instruction, ty, maximum),
            (true, true) => self.integer(instruction, |(a, b): (i32, i32)| a.max(b).relu()),
            (true, false) => self.integer(instruction, |(a, b): (i32, i32)| a.min(b).relu()),
            (false, true) => with_integer!(ty, T => self.integer(instruction, |(a, b): (T, T)| a.max(b))),
            (false, false) => with_integer!(ty, T => self.integer(instruction, |(a, b): (T, T)| a.min(b))),
        }
    }

    fn packed_extreme(&mut self, instruction: &Instruction, ty: Type, maximum: bool) -> Decoded {
        let relu = instruction.has(Modifier::Relu);
        with_packed_integer!(ty, T => self.integer(instruction, move |(a, b)| each::<T>(a, b, |a, b| {
            let result = if maximum { a.max(b) } else { a.min(b) };
            if relu { result.relu() } else { result }
        })))
    }
}

/// Whether the type is two or four integers in a word.
const fn is_packed(ty: Type) -> bool {
    matches!(ty, Type::U16x2 | Type::S16x2 | Type::U8x4 | Type::S8x4)
}

/// Whether both operands read are the same register.
pub(super) fn same_register(operands: &[Operand]) -> bool {
    matches!(operands, [Operand::Register(a), Operand::Register(b)] if a == b)
}

impl ExecArith for Decoder<'_> {
    type Output = Decoded;

    fn add(&mut self, i: &Instruction) -> Decoded {
        if i.has(Modifier::Cc) {
            return self.add_carry(i, false);
        }
        let (mode, half_mode, sat) = (float_mode(i), half_mode(i), i.has(Modifier::Sat));
        match type_of(i)? {
            Type::F32 => match mixed_format(i) {
                Some(format) => {
                    self.map_scalar(Class::Float, i, move |(a, c)| half::add_mixed(a, c, format, mode))
                }
                None => self.add_f32(i),
            },
            Type::F32x2 => self
                .map(Class::Float, i, move |(a, b)| both_f32([a, b], |[a, b]| float32::add_with(a, b, mode))),
            Type::F64 => self.add_f64(i),
            ty if ty.is_float() => self.halves(i, HalfAdd(half_mode)),
            ty if is_packed(ty) && sat => {
                with_packed_integer!(ty, T => self.integer(i, |(a, b)| each::<T>(a, b, Integer::add_sat)))
            }
            ty if is_packed(ty) => {
                with_packed_integer!(ty, T => self.integer(i, |(a, b)| each::<T>(a, b, Integer::add)))
            }
            Type::U32 if sat => self.integer(i, |(a, b): (u32, u32)| a.add_sat(b)),
            Type::S32 if sat => self.integer(i, |(a, b): (i32, i32)| a.add_sat(b)),
            ty => with_bits!(ty, W => self.integer(i, |(a, b): (W, W)| a.add(b))),
        }
    }

    fn addc(&mut self, i: &Instruction) -> Decoded {
        self.add_carry(i, true)
    }

    fn sub(&mut self, i: &Instruction) -> Decoded {
        if i.has(Modifier::Cc) {
            return self.sub_borrow(i, false);
        }
        let (mode, half_mode) = (float_mode(i), half_mode(i));
        match type_of(i)? {
            Type::F32 => match mixed_format(i) {
                Some(format) => {
                    self.map_scalar(Class::Float, i, move |(a, c)| half::sub_mixed(a, c, format, mode))
                }
                None => self.sub_f32(i),
            },
            Type::F32x2 => self
                .map(Class::Float, i, move |(a, b)| both_f32([a, b], |[a, b]| float32::sub_with(a, b, mode))),
            Type::F64 => self.sub_f64(i),
            ty if ty.is_float() => self.halves(i, HalfSub(half_mode)),
            ty if same_register(split(i)?.1) => self.zero(i, ty),
            ty if is_packed(ty) && i.has(Modifier::Sat) => {
                with_packed_integer!(ty, T => self.integer(i, |(a, b)| each::<T>(a, b, Integer::sub_sat)))
            }
            ty if is_packed(ty) => {
                with_packed_integer!(ty, T => self.integer(i, |(a, b)| each::<T>(a, b, Integer::sub)))
            }
            Type::S32 if i.has(Modifier::Sat) => self.integer(i, |(a, b): (i32, i32)| a.sub_sat(b)),
            ty => with_bits!(ty, W => self.integer(i, |(a, b): (W, W)| a.sub(b))),
        }
    }

    fn subc(&mut self, i: &Instruction) -> Decoded {
        self.sub_borrow(i, true)
    }

    fn mul(&mut self, i: &Instruction) -> Decoded {
        if i.has(Modifier::Wide) {
            return self.multiply_wide(i);
        }
        let (mode, half_mode) = (float_mode(i), half_mode(i));
        match type_of(i)? {
            Type::F32 => self.mul_f32(i),
            Type::F32x2 => self
                .map(Class::Float, i, move |(a, b)| both_f32([a, b], |[a, b]| float32::mul_with(a, b, mode))),
            Type::F64 => self.mul_f64(i),
            ty if ty.is_float() => self.halves(i, HalfMul(half_mode)),
            ty if i.has(Modifier::Hi) => {
                with_integer!(ty, T => self.integer(i, |(a, b): (T, T)| a.mul_hi(b)))
            }
            ty => with_bits!(ty, W => self.integer(i, |(a, b): (W, W)| a.mul_lo(b))),
        }
    }

    fn mad(&mut self, i: &Instruction) -> Decoded {
        if i.has(Modifier::Cc) {
            return self.multiply_add_carry(i, false);
        }
        if i.has(Modifier::Wide) {
            return self.multiply_wide(i);
        }
        match type_of(i)? {
            ty if ty.is_float() => self.fma(i),
            Type::S32 if i.has(Modifier::Sat) => {
                self.integer(i, |(a, b, c): (i32, i32, i32)| a.mad_hi_sat(b, c))
            }
            ty if i.has(Modifier::Hi) => {
                with_integer!(ty, T => self.integer(i, |(a, b, c): (T, T, T)| a.mad_hi(b, c)))
            }
            ty => with_bits!(ty, W => self.integer(i, |(a, b, c): (W, W, W)| a.mad_lo(b, c))),
        }
    }

    fn madc(&mut self, i: &Instruction) -> Decoded {
        self.multiply_add_carry(i, true)
    }

    fn fma(&mut self, i: &Instruction) -> Decoded {
        let (mode, half_mode) = (float_mode(i), half_mode(i));
        match type_of(i)? {
            Type::F32 => match mixed_format(i) {
                Some(format) => {
                    self.map_scalar(Class::Float, i, move |(a, b, c)| half::fma_mixed(a, b, c, format, mode))
                }
                None => self.fma_f32(i),
            },
            Type::F32x2 => self.map_scalar(Class::Float, i, move |(a, b, c)| {
                both_f32([a, b, c], |[a, b, c]| float32::fma_with(a, b, c, mode))
            }),
            Type::F64 => self.fma_f64(i),
            _ if i.has(Modifier::Oob) => self.halves(i, HalfFmaOutOfBounds(half_mode)),
            _ => self.halves(i, HalfFma(half_mode)),
        }
    }

    fn mul24(&mut self, i: &Instruction) -> Decoded {
        let signed = type_of(i)?.is_signed();
        if i.has(Modifier::Hi) {
            self.integer(i, move |(a, b)| mul24_hi(a, b, signed))
        } else {
            self.integer(i, move |(a, b)| mul24_lo(a, b, signed))
        }
    }

    fn mad24(&mut self, i: &Instruction) -> Decoded {
        let signed = type_of(i)?.is_signed();
        match (i.has(Modifier::Hi), i.has(Modifier::Sat)) {
            (true, true) => {
                self.integer(i, |(a, b, c): (u32, u32, i32)| mul24_hi(a, b, true).cast_signed().add_sat(c))
            }
            (true, false) => self.integer(i, move |(a, b, c): (u32, u32, u32)| mul24_hi(a, b, signed).add(c)),
            _ => self.integer(i, move |(a, b, c): (u32, u32, u32)| mul24_lo(a, b, signed).add(c)),
        }
    }

    fn sad(&mut self, i: &Instruction) -> Decoded {
        with_integer!(type_of(i)?, T => self.integer(i, |(a, b, c): (T, T, T)| c.sad(a, b)))
    }

    fn div(&mut self, i: &Instruction) -> Decoded {
        match type_of(i)? {
            Type::F32 => self.div_f32(i),
            Type::F64 => self.div_f64(i),
            ty => with_integer!(ty, T => self.divide::<T>(i, Integer::div)),
        }
    }

    fn rem(&mut self, i: &Instruction) -> Decoded {
        with_integer!(type_of(i)?, T => self.divide::<T>(i, Integer::rem))
    }

    fn abs(&mut self, i: &Instruction) -> Decoded {
        let ftz = i.has(Modifier::Ftz);
        match type_of(i)? {
            Type::F32 => self.map(Class::Float, i, move |(a,)| float32::abs(a, ftz)),
            Type::F64 => self.map(Class::Double, i, |(a,)| float64::abs(a)),
            ty if ty.is_float() => self.halves(i, HalfAbs(ftz)),
            ty => with_integer!(ty, T => self.integer(i, |(a,): (T,)| Integer::abs(a))),
        }
    }

    fn neg(&mut self, i: &Instruction) -> Decoded {
        let ftz = i.has(Modifier::Ftz);
        match type_of(i)? {
            Type::F32 => self.map(Class::Float, i, move |(a,)| float32::neg(a, ftz)),
            Type::F64 => self.map(Class::Double, i, |(a,)| float64::neg(a)),
            ty if ty.is_float() => self.halves(i, HalfNeg(ftz)),
            Type::S8x4 => self.integer(i, |(a,)| each::<i8>(0, a, Integer::sub)),
            ty => with_bits!(ty, W => self.integer(i, |(a,): (W,)| Integer::neg(a))),
        }
    }

    fn min(&mut self, i: &Instruction) -> Decoded {
        match type_of(i)? {
            Type::F32 => self.min_f32(i),
            Type::F64 => self.map(Class::Double, i, |(a, b)| float64::min(a, b)),
            ty if ty.is_float() => {
                let mode = min_max_mode(i);
                self.halves(i, HalfMin(mode))
            }
            _ => self.extreme(i, false),
        }
    }

    fn max(&mut self, i: &Instruction) -> Decoded {
        match type_of(i)? {
            Type::F32 => self.max_f32(i),
            Type::F64 => self.map(Class::Double, i, |(a, b)| float64::max(a, b)),
            ty if ty.is_float() => {
                let mode = min_max_mode(i);
                self.halves(i, HalfMax(mode))
            }
            _ => self.extreme(i, true),
        }
    }

    fn dp4a(&mut self, i: &Instruction) -> Decoded {
        let [a_signed, b_signed] = signedness(i)?;
        self.integer(i, move |(a, b, c)| dp4a(a, b, c, a_signed, b_signed))
    }

    fn dp2a(&mut self, i: &Instruction) -> Decoded {
        let [a_signed, b_signed] = signedness(i)?;
        let high = i.has(Modifier::Hi);
        self.integer(i, move |(a, b, c)| dp2a(a, b, c, a_signed, b_signed, high))
    }

    fn vadd2(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 2, |a, b| a + b)
    }

    fn vadd4(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 4, |a, b| a + b)
    }

    fn vsub2(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 2, |a, b| a - b)
    }

    fn vsub4(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 4, |a, b| a - b)
    }

    fn vavrg2(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 2, rounded_average)
    }

    fn vavrg4(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 4, rounded_average)
    }

    fn vabsdiff2(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 2, |a, b| (a - b).abs())
    }

    fn vabsdiff4(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 4, |a, b| (a - b).abs())
    }

    fn vmin2(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 2, std::cmp::min)
    }

    fn vmin4(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 4, std::cmp::min)
    }

    fn vmax2(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 2, std::cmp::max)
    }

    fn vmax4(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 4, std::cmp::max)
    }

    fn vset2(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 2, holds(comparison_of(i)?)?)
    }

    fn vset4(&mut self, i: &Instruction) -> Decoded {
        self.video(i, 4, holds(comparison_of(i)?)?)
    }
}

/// 1 where a comparison holds, else 0.
fn holds(operator: Comparison) -> Result<fn(i32, i32) -> i32, Unsupported> {
    Ok(match operator {
        Comparison::Eq => |a, b| i32::from(a == b),
        Comparison::Ne => |a, b| i32::from(a != b),
        Comparison::Lt => |a, b| i32::from(a < b),
        Comparison::Le => |a, b| i32::from(a <= b),
        Comparison::Gt => |a, b| i32::from(a > b),
        Comparison::Ge => |a, b| i32::from(a >= b),
        other => return Err(Unsupported::new(format!("elements compared by {other:?}"))),
    })
}

impl Decoder<'_> {
    /// A video instruction on the two halves or four bytes of a register. The elements of `c` would be those of the
    /// result that a mask leaves out, which no form here has.
    fn video(&mut self, i: &Instruction, elements: u32, function: fn(i32, i32) -> i32) -> Decoded {
        // The type of the result, which `vset` does not have, comes first.
        let signed: Vec<bool> = i.types().map(|ty| ty.is_signed()).collect();
        let [.., a, b] = signed[..] else {
            return Err(Unsupported::new("an instruction without two types"));
        };
        let saturated = i.has(Modifier::Sat).then_some(signed[0]);
        let video = Video { elements, operands: [a, b], saturated };
        if i.has(Modifier::Add) {
            self.integer(i, move |(a, b, c)| video.sum(a, b, c, function))
        } else {
            self.integer(i, move |(a, b)| video.packed(a, b, function))
        }
    }
}

/// Whether each of the two types is signed.
fn signedness(instruction: &Instruction) -> Result<[bool; 2], Unsupported> {
    let mut types = instruction.types();
    match (types.next(), types.next()) {
        (Some(a), Some(b)) => Ok([a.is_signed(), b.is_signed()]),
        _ => Err(Unsupported::new("an instruction without two types")),
    }
}
