//! Classification and elementary functions of floating-point numbers (PTX ISA 9.7.3, 9.7.4).

use super::elementwise::{Operands, lacking, split, type_of};
use super::float_arith::{float_mode, rounding_of};
use crate::context::Context;
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, Unsupported};
use crate::program::Flow;
use crate::scalar::approximate::{self, Function};
use crate::scalar::compare::{self, testp_f32, testp_f64};
use crate::scalar::format::{BF16, F16, Format};
use crate::scalar::packed::both_halves;
use crate::scalar::{float32, float64};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::ExecFloat;
use rorqual_ptx::types::Type;

impl Decoder<'_> {
    /// An approximation `.f32`.
    fn approximate_f32(
        &mut self,
        function: Function,
        instruction: &Instruction,
        nearest: impl Fn(f32, bool) -> f32 + Send + Sync + 'static,
    ) -> Decoded {
        let ftz = instruction.has(Modifier::Ftz);
        self.approximate(function, instruction, move |(a,)| nearest(a, ftz))
    }

    /// An approximation of 16-bit numbers or pairs of them.
    fn approximate_halves(
        &mut self,
        [of_f16, of_bf16]: [Function; 2],
        instruction: &Instruction,
        nearest: impl Fn(u16, Format) -> u16 + Copy + Send + Sync + 'static,
    ) -> Decoded {
        match type_of(instruction)? {
            Type::F16 => self.approximate(of_f16, instruction, move |(a,)| nearest(a, F16)),
            Type::Bf16 => self.approximate(of_bf16, instruction, move |(a,)| nearest(a, BF16)),
            Type::F16x2 => {
                self.approximate(of_f16, instruction, move |(a,)| both_halves([a], |[a]| nearest(a, F16)))
            }
            Type::Bf16x2 => {
                self.approximate(of_bf16, instruction, move |(a,)| both_halves([a], |[a]| nearest(a, BF16)))
            }
            other => Err(lacking(other)),
        }
    }
}

impl ExecFloat for Decoder<'_> {
    type Output = Decoded;

    fn testp(&mut self, i: &Instruction) -> Decoded {
        let class = i
            .find(|modifier| match modifier {
                Modifier::Finite => Some(compare::Class::Finite),
                Modifier::Infinite => Some(compare::Class::Infinite),
                Modifier::Number => Some(compare::Class::Number),
                Modifier::Notanumber => Some(compare::Class::NotANumber),
                Modifier::Normal => Some(compare::Class::Normal),
                Modifier::Subnormal => Some(compare::Class::Subnormal),
                _ => None,
            })
            .ok_or_else(|| Unsupported::new("a testp without a class"))?;
        let (to, operands) = split(i)?;
        let to = self.predicate_destination(to)?;
        let outcome = move |context: &mut Context<'_>, [holds]: [u32; 1], undefined| {
            if let Some(to) = to {
                context.write_predicate(to, holds, undefined);
            }
            Ok(Flow::Next)
        };
        if type_of(i)? == Type::F64 {
            let sources = <(f64,)>::decode(self, operands)?;
            self.decide(Class::Double, sources, move |(a,)| [testp_f64(class, a)], outcome);
        } else {
            let sources = <(f32,)>::decode(self, operands)?;
            self.decide(Class::Float, sources, move |(a,)| [testp_f32(class, a)], outcome);
        }
        Ok(())
    }

    fn copysign(&mut self, i: &Instruction) -> Decoded {
        match type_of(i)? {
            Type::F64 => self.map(Class::Double, i, |(a, b)| float64::copysign(a, b)),
            _ => self.map(Class::Float, i, |(a, b)| float32::copysign(a, b)),
        }
    }

    fn rcp(&mut self, i: &Instruction) -> Decoded {
        let (mode, rounding) = (float_mode(i), rounding_of(i));
        match (type_of(i)?, i.has(Modifier::Approx)) {
            (Type::F64, true) => self.map_scalar(Class::Special, i, |(a,)| approximate::rcp_f64(a)),
            (Type::F64, false) => self.map_scalar(Class::Double, i, move |(a,)| float64::rcp(a, rounding)),
            (_, true) => self.approximate_f32(Function::Rcp, i, approximate::rcp),
            (_, false) => self.map_scalar(Class::Float, i, move |(a,)| float32::rcp_with(a, mode)),
        }
    }

    fn sqrt(&mut self, i: &Instruction) -> Decoded {
        let (mode, rounding) = (float_mode(i), rounding_of(i));
        match (type_of(i)?, i.has(Modifier::Approx)) {
            (Type::F64, _) => self.map_scalar(Class::Double, i, move |(a,)| float64::sqrt(a, rounding)),
            (_, true) => self.approximate_f32(Function::Sqrt, i, approximate::sqrt),
            (_, false) => self.map_scalar(Class::Float, i, move |(a,)| float32::sqrt_with(a, mode)),
        }
    }

    fn rsqrt(&mut self, i: &Instruction) -> Decoded {
        match (type_of(i)?, i.has(Modifier::Ftz)) {
            (Type::F64, true) => self.map_scalar(Class::Special, i, |(a,)| approximate::rsqrt_ftz_f64(a)),
            (Type::F64, false) => self.map_scalar(Class::Special, i, |(a,)| approximate::rsqrt_f64(a)),
            _ => self.approximate_f32(Function::Rsqrt, i, approximate::rsqrt),
        }
    }

    fn sin(&mut self, i: &Instruction) -> Decoded {
        self.approximate_f32(Function::Sin, i, approximate::sin)
    }

    fn cos(&mut self, i: &Instruction) -> Decoded {
        self.approximate_f32(Function::Cos, i, approximate::cos)
    }

    fn lg2(&mut self, i: &Instruction) -> Decoded {
        self.approximate_f32(Function::Lg2, i, approximate::lg2)
    }

    fn ex2(&mut self, i: &Instruction) -> Decoded {
        match type_of(i)? {
            Type::F32 => self.approximate_f32(Function::Ex2, i, approximate::ex2),
            _ => self.approximate_halves([Function::Ex2F16, Function::Ex2Bf16], i, approximate::ex2_half),
        }
    }

    fn tanh(&mut self, i: &Instruction) -> Decoded {
        match type_of(i)? {
            Type::F32 => self.approximate_f32(Function::Tanh, i, |a, _| approximate::tanh(a)),
            _ => self.approximate_halves([Function::TanhF16, Function::TanhBf16], i, approximate::tanh_half),
        }
    }
}
