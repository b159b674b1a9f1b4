//! Conversion between types and between address spaces (PTX ISA 9.7.10.7, 9.7.10.22 to 9.7.10.27).

use super::elementwise::{Operands, Value, lacking, split, type_of};
use super::float_arith::{integer_rounding_of, rounding_of};
use crate::context::Context;
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, Place, Unsupported};
use crate::memory::{
    LOCAL_WINDOW_BASE, PARAM_WINDOW_BASE, SHARED_RANK_SHIFT, SHARED_WINDOW_BASE, Window, classify,
    shared_rank,
};
use crate::program::Flow;
use crate::report::{Fault, Rule};
use crate::scalar::bits::{self, Permutation};
use crate::scalar::convert::{self, Conversion, IntegerType};
use crate::scalar::format::{BF16, E2M1, E2M3, E3M2, E4M3, E5M2, F16, F32, F64, Format, widen};
use crate::scalar::{IntegerRounding, Rounding, float32, float64, half, packed};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::operand::Operand;
use rorqual_ptx::table::ExecConvert;
use rorqual_ptx::types::{Kind, Space, Type};

/// The format of a single floating-point number of 16 bits or more.
const fn format_of(ty: Type) -> Option<Format> {
    Some(match ty {
        Type::F16 => F16,
        Type::Bf16 => BF16,
        Type::F32 => F32,
        Type::F64 => F64,
        _ => return None,
    })
}

/// The format of the halves of a pair.
const fn half_format(ty: Type) -> Option<Format> {
    Some(match ty {
        Type::F16x2 => F16,
        Type::Bf16x2 => BF16,
        _ => return None,
    })
}

/// The format of the elements of two or four packed numbers of 8 bits or less.
const fn narrow_format(ty: Type) -> Option<Format> {
    Some(match ty {
        Type::E4m3x2 | Type::E4m3x4 => E4M3,
        Type::E5m2x2 | Type::E5m2x4 => E5M2,
        Type::E3m2x2 | Type::E3m2x4 => E3M2,
        Type::E2m3x2 | Type::E2m3x4 => E2M3,
        Type::E2m1x2 | Type::E2m1x4 => E2M1,
        _ => return None,
    })
}

fn integer_type(ty: Type) -> Option<IntegerType> {
    match ty.kind() {
        Kind::Signed if ty.element_bits() == ty.bits() => Some(IntegerType::signed(ty.bits())),
        Kind::Unsigned if ty.element_bits() == ty.bits() => Some(IntegerType::unsigned(ty.bits())),
        _ => None,
    }
}

fn conversion_of(instruction: &Instruction) -> Conversion {
    Conversion {
        rounding: rounding_of(instruction),
        ftz: instruction.has(Modifier::Ftz),
        sat: instruction.has(Modifier::Sat),
        relu: instruction.has(Modifier::Relu),
        satfinite: instruction.has(Modifier::Satfinite),
    }
}

impl Decoder<'_> {
    /// A conversion of values.
    fn convert<O: Operands, D: Value>(
        &mut self,
        instruction: &Instruction,
        function: impl Fn(O) -> D + Send + Sync + 'static,
    ) -> Decoded {
        self.map(Class::Conversion, instruction, function)
    }

    /// A conversion that is not worth vector code.
    fn convert_scalar<O: Operands, D: Value>(
        &mut self,
        instruction: &Instruction,
        function: impl Fn(O) -> D + Send + Sync + 'static,
    ) -> Decoded {
        self.map_scalar(Class::Conversion, instruction, function)
    }

    /// A conversion to an integer that is already extended to 64 bits: the register keeps as many as it has.
    fn convert_extended<O: Operands>(
        &mut self,
        instruction: &Instruction,
        function: impl Fn(O) -> u64 + Send + Sync + 'static,
    ) -> Decoded {
        match self.register_mask(instruction)? {
            u64::MAX => self.convert_scalar(instruction, function),
            mask => self.convert_scalar(instruction, move |operands| (function(operands) & mask) as u32),
        }
    }

    /// The bits of the destination register.
    fn register_mask(&self, instruction: &Instruction) -> Result<u64, Unsupported> {
        Ok(u64::MAX >> (64 - self.register_bits(split(instruction)?.0).unwrap_or(32)))
    }

    fn convert_integer_to_integer(&mut self, i: &Instruction, to: IntegerType, from: IntegerType) -> Decoded {
        if i.has(Modifier::Sat) {
            return if from.bits == 64 {
                self.convert_extended(i, move |(a,): (u64,)| convert::integer_to_integer(a, from, to, true))
            } else {
                self.convert_extended(i, move |(a,): (u32,)| {
                    convert::integer_to_integer(u64::from(a), from, to, true)
                })
            };
        }
        let extend = move |a: u64| convert::integer_to_integer(a, from, to, false);
        match (from, self.register_mask(i)?) {
            // The commonest, free of variable shifts.
            (IntegerType { bits: 32, signed: true }, u64::MAX) if to.bits == 64 => {
                self.convert(i, |(a,): (i32,)| i64::from(a))
            }
            (IntegerType { bits: 32, signed: false }, u64::MAX) if to.bits == 64 => {
                self.convert(i, |(a,): (u32,)| u64::from(a))
            }
            (IntegerType { bits: 64, .. }, u64::MAX) => self.convert(i, move |(a,): (u64,)| extend(a)),
            (IntegerType { bits: 64, .. }, mask) => {
                self.convert(i, move |(a,): (u64,)| (extend(a) & mask) as u32)
            }
            (_, u64::MAX) => self.convert(i, move |(a,): (u32,)| extend(u64::from(a))),
            (_, mask) => self.convert(i, move |(a,): (u32,)| (extend(u64::from(a)) & mask) as u32),
        }
    }

    fn convert_float_to_integer(&mut self, i: &Instruction, to: IntegerType, from: Type) -> Decoded {
        let rounding = integer_rounding_of(i).unwrap_or(IntegerRounding::Zero);
        let ftz = i.has(Modifier::Ftz);
        let narrow = self.register_bits(split(i)?.0).is_some_and(|bits| bits <= 32);
        macro_rules! by_rounding {
            ($function:ident, $($rounding:ident)*) => {
                match rounding {
                    $(IntegerRounding::$rounding => self.convert(i, move |(a,)| {
                        convert::$function(a, IntegerRounding::$rounding, ftz)
                    }),)*
                }
            };
        }
        match (from, to) {
            (Type::F32, IntegerType { bits: 32, signed: true }) if narrow => {
                by_rounding!(f32_to_s32, Nearest Zero Down Up)
            }
            (Type::F32, IntegerType { bits: 32, signed: false }) if narrow => {
                by_rounding!(f32_to_u32, Nearest Zero Down Up)
            }
            (Type::F32, _) => self.convert_extended(i, move |(a,): (f32,)| {
                let a = if ftz { float32::flush(a) } else { a };
                convert::float_to_integer(f64::from(a), false, rounding, to)
            }),
            (Type::F64, _) => {
                self.convert_extended(i, move |(a,): (f64,)| convert::float_to_integer(a, true, rounding, to))
            }
            (Type::F16 | Type::Bf16, _) => {
                let format = if from == Type::F16 { F16 } else { BF16 };
                self.convert_extended(i, move |(a,): (u16,)| {
                    convert::float_to_integer(f64::from(widen(u32::from(a), format)), false, rounding, to)
                })
            }
            _ => Err(lacking(from)),
        }
    }

    fn convert_integer_to_float(&mut self, i: &Instruction, to: Type, from: IntegerType) -> Decoded {
        let conversion = conversion_of(i);
        let format = format_of(to).ok_or_else(|| lacking(to))?;
        macro_rules! from_register {
            ($Register:ty, $finish:expr) => {
                self.convert_scalar(i, move |(a,): ($Register,)| {
                    $finish(convert::integer_to_float(u64::from(a), from, format, conversion))
                })
            };
        }
        match (to, from) {
            (Type::F32, IntegerType { bits: 32, signed })
                if conversion.rounding == Rounding::Nearest && !conversion.sat =>
            {
                if signed {
                    self.convert(i, |(a,): (i32,)| a as f32)
                } else {
                    self.convert(i, |(a,): (u32,)| a as f32)
                }
            }
            (Type::F64, IntegerType { bits: 64, .. }) => from_register!(u64, |code| code),
            (Type::F64, _) => from_register!(u32, |code| code),
            (Type::F32, IntegerType { bits: 64, .. }) => from_register!(u64, |code| code as u32),
            (Type::F32, _) => from_register!(u32, |code| code as u32),
            (_, IntegerType { bits: 64, .. }) => from_register!(u64, |code| code as u16),
            _ => from_register!(u32, |code| code as u16),
        }
    }

    /// Between numbers of 16 bits or more.
    fn convert_float_to_float(&mut self, i: &Instruction, to: Type, from: Type) -> Decoded {
        let conversion = conversion_of(i);
        let Conversion { ftz, sat, satfinite, .. } = conversion;
        let (Some(to_format), Some(from_format)) = (format_of(to), format_of(from)) else {
            return Err(Unsupported::new(format!("conversion of {from} to {to}")));
        };
        if let (true, Some(rounding)) = (to == from, integer_rounding_of(i)) {
            return match to {
                Type::F32 => self.convert(i, move |(a,)| float32::round_to_integer(a, rounding, ftz, sat)),
                Type::F64 => self.convert_scalar(i, move |(a,)| float64::round_to_integer(a, rounding, sat)),
                _ => {
                    self.convert_scalar(i, move |(a,)| half::round_to_integer(a, from_format, rounding, sat))
                }
            };
        }
        macro_rules! general {
            ($From:ty, $To:ty) => {
                self.convert_scalar(i, move |(a,): ($From,)| {
                    convert::float_to_float(u64::from(a), from_format, to_format, conversion) as $To
                })
            };
        }
        match (to, from) {
            // The commonest, free of branches.
            (Type::F16, Type::F32) if conversion == Conversion::default() => {
                self.convert(i, |(a,)| convert::f32_to_half(a, F16, Conversion::default()))
            }
            (Type::Bf16, Type::F32) if conversion == Conversion::default() => {
                self.convert(i, |(a,)| convert::f32_to_half(a, BF16, Conversion::default()))
            }
            (Type::F16 | Type::Bf16, Type::F32) if !ftz && !sat => {
                self.convert_scalar(i, move |(a,)| convert::f32_to_half(a, to_format, conversion))
            }
            (Type::F32, Type::F16) if !ftz && !sat => self.convert(i, |(a,)| convert::f16_to_f32(a)),
            (Type::F32, Type::Bf16) if !ftz && !sat => self.convert(i, |(a,)| convert::bf16_to_f32(a)),
            (Type::F64, Type::F32) if !sat && !satfinite => {
                self.convert(i, move |(a,)| convert::f32_to_f64(a, ftz))
            }
            (Type::F64, Type::F64) => general!(u64, u64),
            (Type::F64, Type::F32) => general!(u32, u64),
            (Type::F64, _) => general!(u16, u64),
            (Type::F32, Type::F64) => general!(u64, u32),
            (Type::F32, Type::F32) => general!(u32, u32),
            (Type::F32, _) => general!(u16, u32),
            (_, Type::F64) => general!(u64, u16),
            (_, Type::F32) => general!(u32, u16),
            _ => general!(u16, u16),
        }
    }

    /// Two numbers to a pair of halves.
    fn convert_to_halves(&mut self, i: &Instruction, format: Format) -> Decoded {
        let conversion = conversion_of(i);
        if i.has(Modifier::Rs) {
            return self.convert_scalar(i, move |(a, b, random): (f32, f32, u32)| {
                packed::f32_pair_to_halves_stochastic(a, b, random, format, conversion)
            });
        }
        match (format, conversion == Conversion::default()) {
            (F16, true) => {
                self.convert(i, |(a, b)| packed::f32_pair_to_halves(a, b, F16, Conversion::default()))
            }
            (BF16, true) => {
                self.convert(i, |(a, b)| packed::f32_pair_to_halves(a, b, BF16, Conversion::default()))
            }
            _ => self.convert_scalar(i, move |(a, b)| packed::f32_pair_to_halves(a, b, format, conversion)),
        }
    }

    /// A pair of narrow numbers to a pair of halves, perhaps scaled.
    fn convert_narrow_to_halves(&mut self, i: &Instruction, to: Format, from: Format) -> Decoded {
        let conversion = conversion_of(i);
        if i.has(Modifier::ScaledN2Ue8m0) {
            return self.convert_scalar(i, move |(a, scale): (u16, u16)| {
                packed::narrow_to_halves(a, from, to, conversion, Some(scale))
            });
        }
        // Exact in binary32, which is faster.
        macro_rules! bytes_to_halves {
            ($from:ident) => {
                self.convert(i, |(a,): (u16,)| {
                    let [low, high] = [a & 0xff, a >> 8].map(|code| widen(u32::from(code), $from));
                    packed::f32_pair_to_halves(high, low, F16, Conversion::default())
                })
            };
        }
        match (from, to) {
            (E4M3, F16) if conversion == Conversion::default() => bytes_to_halves!(E4M3),
            (E5M2, F16) if conversion == Conversion::default() => bytes_to_halves!(E5M2),
            _ => self.convert_scalar(i, move |(a,)| packed::narrow_to_halves(a, from, to, conversion, None)),
        }
    }

    /// Two or four numbers to narrow ones.
    fn convert_to_narrow(&mut self, i: &Instruction, to: Format, from: Type) -> Decoded {
        let relu = i.has(Modifier::Relu);
        match (from, half_format(from)) {
            (_, Some(from)) => {
                self.convert_scalar(i, move |(a,)| packed::halves_to_narrow(a, from, to, relu))
            }
            (Type::F32, _) if i.has(Modifier::Rs) => self.convert_four_to_narrow(i, to, relu),
            (Type::F32, _) if to == E4M3 => {
                self.convert(i, move |(a, b)| packed::f32_pair_to_narrow(a, b, E4M3, relu))
            }
            (Type::F32, _) => {
                self.convert_scalar(i, move |(a, b)| packed::f32_pair_to_narrow(a, b, to, relu))
            }
            _ => Err(lacking(from)),
        }
    }

    /// `cvt.rs.satfinite.e4m3x4.f32 d, {a, b, e, f}, rbits`
    fn convert_four_to_narrow(&mut self, i: &Instruction, to: Format, relu: bool) -> Decoded {
        let [register, Operand::Vector(values), random] = &i.operands[..] else {
            return Err(Unsupported::new("operands other than four numbers and random bits"));
        };
        let operands: Vec<_> = values.iter().chain([random]).cloned().collect();
        let sources = <(f32, f32, f32, f32, u32)>::decode(self, &operands)?;
        let register = self.destination(register, Type::B32)?;
        self.map_to(Class::Conversion, register, sources, move |(a, b, e, f, random)| {
            packed::f32_four_to_narrow_stochastic([a, b, e, f], random, to, relu)
        });
        Ok(())
    }

    /// Two numbers to 8-bit fixed point, perhaps scaled.
    fn convert_to_fixed(&mut self, i: &Instruction, from: Type) -> Decoded {
        let relu = i.has(Modifier::Relu);
        let halves = |a: u32| [a >> 16, a].map(|code| convert::bf16_to_f32(code as u16));
        match (from, i.has(Modifier::ScaledN2Ue8m0)) {
            (Type::F32, false) => {
                self.convert_scalar(i, move |(a, b)| packed::f32_pair_to_s2f6(a, b, relu, None))
            }
            (Type::F32, true) => self.convert_scalar(i, move |(a, b, scale): (f32, f32, u16)| {
                packed::f32_pair_to_s2f6(a, b, relu, Some(scale))
            }),
            (Type::Bf16x2, false) => self.convert_scalar(i, move |(a,): (u32,)| {
                let [a, b] = halves(a);
                packed::f32_pair_to_s2f6(a, b, relu, None)
            }),
            (Type::Bf16x2, true) => self.convert_scalar(i, move |(a, scale): (u32, u16)| {
                let [a, b] = halves(a);
                packed::f32_pair_to_s2f6(a, b, relu, Some(scale))
            }),
            _ => Err(lacking(from)),
        }
    }

    /// A pair of 8-bit fixed-point numbers to a pair of bfloat16, perhaps scaled.
    fn convert_from_fixed(&mut self, i: &Instruction) -> Decoded {
        let conversion = conversion_of(i);
        if i.has(Modifier::ScaledN2Ue8m0) {
            self.convert_scalar(i, move |(a, scale): (u16, u16)| {
                packed::s2f6_pair_to_bf16(a, conversion, Some(scale))
            })
        } else {
            self.convert_scalar(i, move |(a,)| packed::s2f6_pair_to_bf16(a, conversion, None))
        }
    }

    fn convert_to_ue8m0(&mut self, i: &Instruction, from: Type) -> Decoded {
        let (up, satfinite) = (i.has(Modifier::Rp), i.has(Modifier::Satfinite));
        match from {
            Type::F32 => self.convert_scalar(i, move |(a, b)| packed::f32_pair_to_ue8m0(a, b, up, satfinite)),
            Type::Bf16x2 => self.convert_scalar(i, move |(a,)| packed::bf16_pair_to_ue8m0(a, up, satfinite)),
            _ => Err(lacking(from)),
        }
    }

    /// Reads a generic address of 32 or 64 bits as 64.
    fn generic_address(&mut self, operand: &Operand) -> Result<crate::registers::Source, Unsupported> {
        self.value(operand, Type::U64)
    }

    /// `mapa` and `getctarank` with the address as 64 bits, which are generic unless the instruction says `.shared::cluster`
    /// or names a variable. Gives the operand and what to add to it to make it generic.
    fn cluster_address(
        &mut self,
        instruction: &Instruction,
        operand: &Operand,
    ) -> Result<(crate::registers::Source, u64), Unsupported> {
        let in_window = instruction.has(Modifier::SharedCluster) || matches!(operand, Operand::Symbol(..));
        let base = if in_window { SHARED_WINDOW_BASE } else { 0 };
        Ok((self.generic_address(operand)?, base))
    }
}

/// Demands that the generic addresses of the lanes are shared ones.
fn require_shared(
    context: &Context<'_>,
    addresses: &[u64; 32],
    lanes: u32,
    what: &str,
) -> Result<(), Box<Fault>> {
    for lane in context.active().filter(|lane| lanes >> lane & 1 == 1) {
        if !matches!(classify(addresses[lane]), Window::Shared(_)) {
            return Err(Box::new(Fault::new(
                Rule::RemoteShared,
                format!("{what} of {:#x} in lane {lane}, which is no shared address", addresses[lane]),
            )));
        }
    }
    Ok(())
}

impl ExecConvert for Decoder<'_> {
    type Output = Decoded;

    fn cvt(&mut self, i: &Instruction) -> Decoded {
        let mut types = i.types();
        let (Some(to), Some(from)) = (types.next(), types.next()) else {
            return Err(Unsupported::new("a conversion without two types"));
        };
        let missing = || Unsupported::new(format!("conversion of {from} to {to}"));
        match (integer_type(to), integer_type(from)) {
            (Some(to), Some(from)) => return self.convert_integer_to_integer(i, to, from),
            (Some(to), None) => return self.convert_float_to_integer(i, to, from),
            (None, Some(from)) => return self.convert_integer_to_float(i, to, from),
            (None, None) => {}
        }
        match to {
            Type::Tf32 => {
                let conversion = conversion_of(i);
                self.convert_scalar(i, move |(a,)| convert::f32_to_tf32(a, conversion))
            }
            Type::Ue8m0x2 => self.convert_to_ue8m0(i, from),
            Type::S2f6x2 => self.convert_to_fixed(i, from),
            Type::Bf16x2 if from == Type::S2f6x2 => self.convert_from_fixed(i),
            Type::Bf16x2 if from == Type::Ue8m0x2 => {
                self.convert_scalar(i, |(a,)| packed::ue8m0_pair_to_bf16(a))
            }
            Type::F16x2 | Type::Bf16x2 => {
                let to = half_format(to).ok_or_else(missing)?;
                match narrow_format(from) {
                    Some(from) => self.convert_narrow_to_halves(i, to, from),
                    None if from == Type::F32 => self.convert_to_halves(i, to),
                    None => Err(missing()),
                }
            }
            _ => match narrow_format(to) {
                Some(to) => self.convert_to_narrow(i, to, from),
                None => self.convert_float_to_float(i, to, from),
            },
        }
    }

    fn cvt_pack(&mut self, i: &Instruction) -> Decoded {
        let to = type_of(i)?;
        let ty = integer_type(to).ok_or_else(|| lacking(to))?;
        if i.operands.len() == 3 {
            self.convert_scalar(i, move |(a, b)| packed::pack_integers(a, b, 0, ty))
        } else {
            self.convert_scalar(i, move |(a, b, c)| packed::pack_integers(a, b, c, ty))
        }
    }

    fn cvta(&mut self, i: &Instruction) -> Decoded {
        let operand = &split(i)?.1[0];
        let in_frame = match operand {
            Operand::Symbol(symbol, _) => matches!(self.place(*symbol)?, Place::Frame(_)),
            _ => false,
        };
        let base = match i.space() {
            Space::Shared | Space::SharedCluster => SHARED_WINDOW_BASE,
            Space::Local => LOCAL_WINDOW_BASE,
            // Parameters of device functions lie in the frame.
            Space::Param if in_frame => LOCAL_WINDOW_BASE,
            Space::Param => PARAM_WINDOW_BASE,
            _ => 0,
        };
        if type_of(i)?.bits() == 32 {
            return Err(Unsupported::new("generic addresses of 32 bits"));
        }
        if i.has(Modifier::To) {
            self.convert(i, move |(a,): (u64,)| a.wrapping_sub(base))
        } else {
            self.convert(i, move |(a,): (u64,)| a.wrapping_add(base))
        }
    }

    fn isspacep(&mut self, i: &Instruction) -> Decoded {
        let (to, operands) = split(i)?;
        let to = self.predicate_destination(to)?;
        let address = self.generic_address(&operands[0])?;
        let (space, whole_cluster) = (i.space(), i.has(Modifier::SharedCluster));
        if space == Space::Const {
            return Err(Unsupported::new("constants have no window of their own"));
        }
        self.emit_with(Class::Conversion, move |context| {
            let undefined = context.taint(address)?;
            let (own, count) = (context.warp.cta as u32, context.cluster.ctas.len() as u32);
            let holds = |address: u64| match classify(address) {
                Window::Shared(at) if whole_cluster => shared_rank(at) < count,
                Window::Shared(at) => space == Space::Shared && shared_rank(at) == own,
                Window::Global | Window::Multicast => space == Space::Global,
                Window::Local(_) => space == Space::Local,
                Window::Param(_) => space == Space::Param,
                Window::None => false,
            };
            let addresses = context.u64(address).iter();
            let mask = addresses.rev().fold(0, |mask, &address| mask << 1 | u32::from(holds(address)));
            if let Some(to) = to {
                context.write_predicate(to, mask, undefined);
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn mapa(&mut self, i: &Instruction) -> Decoded {
        const RANK: u64 = 0xff << SHARED_RANK_SHIFT;
        let ([to, address, rank], ty) = (&i.operands[..], type_of(i)?) else {
            return Err(Unsupported::new("a mapa of other than an address and a rank"));
        };
        let symbol = matches!(address, Operand::Symbol(..));
        let (address, base) = self.cluster_address(i, address)?;
        let rank = self.value(rank, Type::U32)?;
        let to = self.destination(to, ty)?;
        // A variable is given by its place in the window; the result is generic all the same.
        let result_base = if symbol && !i.has(Modifier::SharedCluster) { SHARED_WINDOW_BASE } else { 0 };
        self.emit_with(Class::Conversion, move |context| {
            let undefined = context.taint(address)? | context.taint(rank)?;
            let defined = context.mask & !undefined;
            let (addresses, ranks) = (*context.u64(address), *context.u32(rank));
            require_shared(context, &addresses.map(|address| address.wrapping_add(base)), defined, "mapa")?;
            let count = context.cluster.ctas.len() as u32;
            if let Some(lane) =
                context.active().find(|&lane| defined >> lane & 1 == 1 && ranks[lane] >= count)
            {
                return Err(Box::new(Fault::new(
                    Rule::RemoteShared,
                    format!("mapa to CTA rank {} in lane {lane}, the cluster has {count}", ranks[lane]),
                )));
            }
            let mapped: [u64; 32] = std::array::from_fn(|lane| {
                (addresses[lane] & !RANK | u64::from(ranks[lane]) << SHARED_RANK_SHIFT)
                    .wrapping_add(result_base)
            });
            if ty.bits() == 64 {
                context.write_u64(to, &mapped, undefined)?;
            } else {
                context.write_u32(to, &mapped.map(|address| address as u32), undefined)?;
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn getctarank(&mut self, i: &Instruction) -> Decoded {
        let (to, operands) = split(i)?;
        let (address, base) = self.cluster_address(i, &operands[0])?;
        let to = self.destination(to, Type::U32)?;
        self.emit_with(Class::Conversion, move |context| {
            let undefined = context.taint(address)?;
            let addresses = context.u64(address).map(|address| address.wrapping_add(base));
            require_shared(context, &addresses, context.mask & !undefined, "getctarank")?;
            context.write_u32(to, &addresses.map(|address| shared_rank(address as u32)), undefined)?;
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn prmt(&mut self, i: &Instruction) -> Decoded {
        let mode = i.find(|modifier| match modifier {
            Modifier::F4e => Some(Permutation::Forward4),
            Modifier::B4e => Some(Permutation::Backward4),
            Modifier::Rc8 => Some(Permutation::Replicate8),
            Modifier::Ecl => Some(Permutation::EdgeClampLeft),
            Modifier::Ecr => Some(Permutation::EdgeClampRight),
            Modifier::Rc16 => Some(Permutation::Replicate16),
            _ => None,
        });
        match mode {
            None => self.map(Class::Integer, i, |(a, b, c)| bits::prmt(a, b, c, Permutation::Index)),
            Some(mode) => self.map(Class::Integer, i, move |(a, b, c)| bits::prmt(a, b, c, mode)),
        }
    }
}
