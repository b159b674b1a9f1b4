//! Comparison and selection, logic, shifts and bit fields (PTX ISA 9.7.1.14 to 9.7.1.22, 9.7.7 to 9.7.9).

use super::arith::same_register;
use super::elementwise::{
    Operands, Word, choose, lacking, split, type_of, with_bits, with_integer, with_wide_integer,
};
use crate::context::Context;
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, PredicateSource, Unsupported, immediate_bits};
use crate::program::{Flow, Step};
use crate::registers::Destination;
use crate::scalar::bits::{self, Excess};
use crate::scalar::compare::{self, BooleanOperator, Comparison};
use crate::scalar::float32;
use crate::scalar::format::{BF16, F16, Format, widen};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::operand::Operand;
use rorqual_ptx::table::{Bits, ExecBits, Opcode};
use rorqual_ptx::types::{Kind, Type};

pub(super) fn comparison_of(instruction: &Instruction) -> Result<Comparison, Unsupported> {
    instruction
        .find(|modifier| {
            Some(match modifier {
                Modifier::Eq => Comparison::Eq,
                Modifier::Ne => Comparison::Ne,
                Modifier::Lt => Comparison::Lt,
                Modifier::Le => Comparison::Le,
                Modifier::Gt => Comparison::Gt,
                Modifier::Ge => Comparison::Ge,
                Modifier::Lo => Comparison::Lo,
                Modifier::Ls => Comparison::Ls,
                Modifier::Hi => Comparison::Hi,
                Modifier::Hs => Comparison::Hs,
                Modifier::Equ => Comparison::Equ,
                Modifier::Neu => Comparison::Neu,
                Modifier::Ltu => Comparison::Ltu,
                Modifier::Leu => Comparison::Leu,
                Modifier::Gtu => Comparison::Gtu,
                Modifier::Geu => Comparison::Geu,
                Modifier::Num => Comparison::Num,
                Modifier::IsNan => Comparison::Nan,
                _ => return None,
            })
        })
        .ok_or_else(|| Unsupported::new("a comparison without an operator"))
}

fn boolean_of(instruction: &Instruction) -> Option<BooleanOperator> {
    instruction.find(|modifier| match modifier {
        Modifier::And => Some(BooleanOperator::And),
        Modifier::Or => Some(BooleanOperator::Or),
        Modifier::Xor => Some(BooleanOperator::Xor),
        _ => None,
    })
}

fn excess_of(instruction: &Instruction) -> Excess {
    if instruction.has(Modifier::Wrap) { Excess::Wrap } else { Excess::Clamp }
}

/// What the answer of a comparison goes through and into.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// Whether it is the opposite that is asked for.
    negated: bool,
    /// What it is joined with then.
    join: Option<(BooleanOperator, PredicateSource)>,
    to: Target,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    /// `setp`: the answer, and that to the opposite; of packed numbers the answer for each half.
    Predicates([Option<u16>; 2]),
    /// `set`: `yes` of 32 bits where the answer is yes, in each half of packed numbers those of its half.
    Word { to: Destination, yes: u32 },
}

/// Joins two predicates, each with the lanes where it is undefined. A defined one may decide alone: compilers join a
/// condition with another that only holds where the first one does.
fn join(operator: BooleanOperator, (a, a_unknown): (u32, u32), (b, b_unknown): (u32, u32)) -> (u32, u32) {
    let decided = match operator {
        BooleanOperator::And => !a & !a_unknown | !b & !b_unknown,
        BooleanOperator::Or => a & !a_unknown | b & !b_unknown,
        BooleanOperator::Xor => 0,
    };
    (operator.apply(a, b), (a_unknown | b_unknown) & !decided)
}

impl Outcome {
    fn write<const PARTS: usize>(
        self,
        context: &mut Context<'_>,
        holds: [u32; PARTS],
        undefined: u32,
    ) -> Step {
        let with = self.join.map(|(operator, predicate)| (operator, predicate.read(context)));
        let joined = |mask: u32| match with {
            Some((operator, predicate)) => join(operator, (mask, undefined), predicate),
            None => (mask, undefined),
        };
        let holds = holds.map(|mask| if self.negated { !mask } else { mask });
        let first = joined(holds[0]);
        match self.to {
            Target::Predicates([p, q]) => {
                if let Some(p) = p {
                    context.write_predicate(p, first.0, first.1);
                }
                if let Some(q) = q {
                    let (value, undefined) = joined(if PARTS == 2 { holds[1] } else { !holds[0] });
                    context.write_predicate(q, value, undefined);
                }
            }
            Target::Word { to, yes } => {
                let second = if PARTS == 2 { joined(holds[1]) } else { (0, 0) };
                let [low, high] = if PARTS == 2 { [yes & 0xffff, yes & 0xffff_0000] } else { [yes, 0] };
                let word = |mask: u32, yes: u32, lane: usize| if mask & (1 << lane) == 0 { 0 } else { yes };
                let values =
                    std::array::from_fn(|lane| word(first.0, low, lane) | word(second.0, high, lane));
                context.write_u32(to, &values, first.1 | second.1)?;
            }
        }
        Ok(Flow::Next)
    }
}

/// An operator by one of few: `Eq`, `Ne`, `Lt`, `Le` or `Num`, of the operands swapped or not, the answer negated or not.
struct NormalForm {
    operator: Comparison,
    swapped: bool,
    negated: bool,
}

impl NormalForm {
    const fn of(operator: Comparison) -> Self {
        use Comparison as C;
        let (operator, swapped, negated) = match operator {
            C::Eq | C::Ne | C::Num => (operator, false, false),
            C::Lt | C::Lo => (C::Lt, false, false),
            C::Le | C::Ls => (C::Le, false, false),
            C::Gt | C::Hi => (C::Lt, true, false),
            C::Ge | C::Hs => (C::Le, true, false),
            C::Equ => (C::Ne, false, true),
            C::Neu => (C::Eq, false, true),
            C::Ltu => (C::Le, true, true),
            C::Leu => (C::Lt, true, true),
            C::Gtu => (C::Le, false, true),
            C::Geu => (C::Lt, false, true),
            C::Nan => (C::Num, false, true),
        };
        Self { operator, swapped, negated }
    }
}

/// Emits a comparison with the operator a constant of the code, for the operators that are listed.
macro_rules! compare_by {
    ($emit:expr, $operator:expr, $T:ty, $test:expr, $($name:ident)*) => {
        match $operator {
            $(Comparison::$name => {
                let test = $test;
                $emit(move |(a, b): ($T, $T)| [test(Comparison::$name, a, b)])
            })*
            other => Err(Unsupported::new(format!("the comparison {other:?}"))),
        }
    };
}

impl Decoder<'_> {
    /// `set` and `setp`: compares operands of `ty`.
    fn compare(&mut self, instruction: &Instruction, ty: Type, to: Target) -> Decoded {
        let NormalForm { operator, swapped, negated } = NormalForm::of(comparison_of(instruction)?);
        let outcome = Outcome { negated, join: self.join(instruction)?, to };
        let ftz = instruction.has(Modifier::Ftz);
        let [a, b] =
            split(instruction)?.1.first_chunk().ok_or_else(|| Unsupported::new("too few operands"))?;
        let operands = if swapped { [b, a] } else { [a, b] };
        match ty {
            Type::F32 => {
                let flush = move |x| if ftz { float32::flush(x) } else { x };
                let test = move |operator, a, b| compare::floats(operator, flush(a), flush(b));
                compare_by!(|test| self.answer(Class::Float, operands, test, outcome),
                    operator, f32, test, Eq Ne Lt Le Num)
            }
            Type::F64 => compare_by!(|test| self.answer(Class::Double, operands, test, outcome),
                operator, f64, compare::floats, Eq Ne Lt Le Num),
            Type::F16 | Type::Bf16 => {
                let format = half_format(ty);
                let test = move |(a, b): (u16, u16)| [compare_halves(operator, [a, b], format, ftz)];
                self.answer(Class::Half, operands, test, outcome)
            }
            Type::F16x2 | Type::Bf16x2 => {
                let format = half_format(ty);
                let test = move |(a, b): (u32, u32)| {
                    let half = |shift: u32| [a, b].map(|x| (x >> shift) as u16);
                    [0, 16].map(|shift| compare_halves(operator, half(shift), format, ftz))
                };
                self.answer(Class::Half, operands, test, outcome)
            }
            ty => {
                with_integer!(ty, T => compare_by!(|test| self.answer(Class::Integer, operands, test, outcome),
                operator, T, compare::integers, Eq Ne Lt Le))
            }
        }
    }

    fn answer<O: Operands, const PARTS: usize>(
        &mut self,
        class: Class,
        operands: [&Operand; 2],
        test: impl Fn(O) -> [bool; PARTS] + Send + Sync + 'static,
        outcome: Outcome,
    ) -> Decoded {
        let sources = O::decode(self, &operands.map(Clone::clone))?;
        self.decide(class, sources, test, move |context, holds, undefined| {
            outcome.write(context, holds, undefined)
        });
        Ok(())
    }

    /// The predicate that the answer of a comparison is joined with.
    fn join(
        &self,
        instruction: &Instruction,
    ) -> Result<Option<(BooleanOperator, PredicateSource)>, Unsupported> {
        let Some(operator) = boolean_of(instruction) else { return Ok(None) };
        let operand = instruction.operands.last().ok_or_else(|| Unsupported::new("no predicate"))?;
        Ok(Some((operator, self.predicate(operand)?)))
    }

    /// `and`, `or` and `xor`: of predicates by `joins`, else of words.
    fn logic(&mut self, instruction: &Instruction, operator: BooleanOperator) -> Decoded {
        let ty = type_of(instruction)?;
        let (to, operands) = split(instruction)?;
        match (ty, operator) {
            (Type::Pred, _) => {
                let [a, b] = operands else {
                    return Err(Unsupported::new("logic of other than two predicates"));
                };
                self.join_predicates(to, [a, b], operator)
            }
            (_, BooleanOperator::Xor) if same_register(operands) => self.zero(instruction, ty),
            (_, BooleanOperator::And) if let Some(literal) = self.clears_field(to, operands, ty) => {
                self.clear_field(to, &operands[0], literal, ty)
            }
            (_, BooleanOperator::And) => {
                with_bits!(ty, W => self.map(Class::Integer, instruction, |(a, b): (W, W)| a & b))
            }
            (_, BooleanOperator::Or) => {
                with_bits!(ty, W => self.map(Class::Integer, instruction, |(a, b): (W, W)| a | b))
            }
            (_, BooleanOperator::Xor) => {
                with_bits!(ty, W => self.map(Class::Integer, instruction, |(a, b): (W, W)| a ^ b))
            }
        }
    }

    /// The literal of an `and` that makes room for a bit field: it keeps the highest bit, or an `or` follows soon.
    fn clears_field(&self, to: &Operand, operands: &[Operand], ty: Type) -> Option<u64> {
        let [Operand::Register(_), Operand::Immediate(literal)] = operands else { return None };
        let bits = immediate_bits(*literal, ty) as u64;
        let fills = |next: &Instruction| {
            next.opcode() == Opcode::Bits(Bits::Or)
                && next.operands.get(1..).is_some_and(|reads| reads.contains(to))
        };
        (bits >> (ty.bits() - 1) & 1 == 1 || self.following().any(fills)).then_some(bits)
    }

    /// `and` with a literal that clears a field and keeps the rest: how compilers write a bit field. The field comes
    /// next, and the rest may never have been written, so the result counts as defined.
    fn clear_field(&mut self, to: &Operand, from: &Operand, literal: u64, ty: Type) -> Decoded {
        let (to, from) = (self.destination(to, ty)?, self.source(from, ty)?);
        let wide = ty.bits() == 64;
        self.emit_with(Class::Integer, move |context| {
            context.taint(from)?;
            if wide {
                let values = context.u64(from).map(|value| value & literal);
                context.write_u64(to, &values, 0)?;
            } else {
                let values = context.u32(from).map(|value| value & literal as u32);
                context.write_u32(to, &values, 0)?;
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn join_predicates(
        &mut self,
        to: &Operand,
        operands: [&Operand; 2],
        operator: BooleanOperator,
    ) -> Decoded {
        let to = self.predicate_destination(to)?;
        let (a, b) = (self.predicate(operands[0])?, self.predicate(operands[1])?);
        self.emit_with(Class::Integer, move |context| {
            let (value, undefined) = join(operator, a.read(context), b.read(context));
            if let Some(to) = to {
                context.write_predicate(to, value, undefined);
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn select<W: super::elementwise::Value<Word: Word>>(&mut self, instruction: &Instruction) -> Decoded {
        let (to, operands) = split(instruction)?;
        let sources = <(W, W)>::decode(self, operands)?;
        let to = self.destination(to, W::TYPE)?;
        let predicate = operands.get(2).ok_or_else(|| Unsupported::new("a selection without a predicate"))?;
        let predicate = self.predicate(predicate)?;
        self.emit_with(Class::Integer, move |context| {
            let (first, unknown) = predicate.read(context);
            let undefined =
                unknown | context.taint(sources[0])? & first | context.taint(sources[1])? & !first;
            let values = choose(
                first,
                <W::Word as Word>::read(context, sources[0]),
                <W::Word as Word>::read(context, sources[1]),
            );
            Word::write(context, to, &values, undefined)?;
            Ok(Flow::Next)
        });
        Ok(())
    }
}

const fn half_format(ty: Type) -> Format {
    if matches!(ty, Type::F16 | Type::F16x2) { F16 } else { BF16 }
}

fn compare_halves(operator: Comparison, operands: [u16; 2], format: Format, ftz: bool) -> bool {
    let [a, b] = operands.map(|code| {
        let code = if ftz { format.flush(u64::from(code)) as u32 } else { u32::from(code) };
        widen(code, format)
    });
    compare::floats(operator, a, b)
}

/// What `set` writes for "yes": one in a floating-point type, else all ones.
fn yes(to: Type, from: Type) -> Result<u32, Unsupported> {
    Ok(match to {
        Type::F32 => 1.0_f32.to_bits(),
        Type::F16 => 0x3c00,
        Type::F16x2 => 0x3c00_3c00,
        Type::Bf16 => 0x3f80,
        Type::Bf16x2 => 0x3f80_3f80,
        Type::U16 | Type::S16 => 0xffff,
        Type::U32 | Type::S32 => u32::MAX,
        other => return Err(Unsupported::new(format!("set of {other} from {from}"))),
    })
}

/// The bits of an integer literal.
fn literal(operand: Option<&Operand>) -> Result<u64, Unsupported> {
    match operand {
        Some(Operand::Immediate(immediate)) => Ok(immediate_bits(*immediate, Type::U64) as u64),
        other => Err(Unsupported::new(format!("operand {other:?} as a literal"))),
    }
}

impl ExecBits for Decoder<'_> {
    type Output = Decoded;

    fn set(&mut self, i: &Instruction) -> Decoded {
        let mut types = i.types();
        let (Some(to), Some(from)) = (types.next(), types.next()) else {
            return Err(Unsupported::new("a set without two types"));
        };
        let yes = yes(to, from)?;
        let to = self.destination(split(i)?.0, to)?;
        self.compare(i, from, Target::Word { to, yes })
    }

    fn setp(&mut self, i: &Instruction) -> Decoded {
        let predicates = match split(i)?.0 {
            Operand::Pair(pair) => {
                [self.predicate_destination(&pair[0])?, self.predicate_destination(&pair[1])?]
            }
            single => [self.predicate_destination(single)?, None],
        };
        self.compare(i, type_of(i)?, Target::Predicates(predicates))
    }

    fn selp(&mut self, i: &Instruction) -> Decoded {
        match type_of(i)? {
            Type::F32 => self.select::<f32>(i),
            Type::F64 => self.select::<f64>(i),
            ty => with_bits!(ty, W => self.select::<W>(i)),
        }
    }

    fn slct(&mut self, i: &Instruction) -> Decoded {
        let ftz = i.has(Modifier::Ftz);
        let by_float = i.types().nth(1).is_some_and(|ty| ty.kind() == Kind::Float);
        macro_rules! slct {
            ($T:ty) => {
                if by_float {
                    self.map(Class::Integer, i, move |(a, b, c): ($T, $T, f32)| {
                        compare::slct_f32(a, b, c, ftz)
                    })
                } else {
                    self.map(Class::Integer, i, |(a, b, c): ($T, $T, i32)| compare::slct_s32(a, b, c))
                }
            };
        }
        match type_of(i)? {
            Type::F32 => slct!(f32),
            Type::F64 => slct!(f64),
            ty => with_bits!(ty, W => slct!(W)),
        }
    }

    fn and(&mut self, i: &Instruction) -> Decoded {
        self.logic(i, BooleanOperator::And)
    }

    fn or(&mut self, i: &Instruction) -> Decoded {
        self.logic(i, BooleanOperator::Or)
    }

    fn xor(&mut self, i: &Instruction) -> Decoded {
        self.logic(i, BooleanOperator::Xor)
    }

    fn not(&mut self, i: &Instruction) -> Decoded {
        let ty = type_of(i)?;
        if ty != Type::Pred {
            return with_bits!(ty, W => self.map(Class::Integer, i, |(a,): (W,)| !a));
        }
        let [to, from] = &i.operands[..] else {
            return Err(Unsupported::new("a not of other than one predicate"));
        };
        let (to, from) = (self.predicate_destination(to)?, self.predicate(from)?);
        self.emit_with(Class::Integer, move |context| {
            let (value, undefined) = from.read(context);
            if let Some(to) = to {
                context.write_predicate(to, !value, undefined);
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn cnot(&mut self, i: &Instruction) -> Decoded {
        with_bits!(type_of(i)?, W => self.map(Class::Integer, i, |(a,): (W,)| bits::cnot(a)))
    }

    fn lop3(&mut self, i: &Instruction) -> Decoded {
        let (to, operands) = split(i)?;
        let table = literal(operands.get(3))? as u8;
        let sources = <(u32, u32, u32)>::decode(self, operands)?;
        let function = move |(a, b, c)| bits::lop3(a, b, c, table);
        let Operand::Pair(pair) = to else {
            let to = self.destination(to, Type::B32)?;
            self.map_to(Class::Integer, to, sources, function);
            return Ok(());
        };
        let outcome = Outcome {
            negated: false,
            join: self.join(i)?,
            to: Target::Predicates([self.predicate_destination(&pair[1])?, None]),
        };
        // Through scratch: the destination may be a source, and the predicate the guard.
        let result = self.scratch(1)?;
        self.map_to(Class::Integer, result, sources, function);
        if pair[0] != Operand::Sink {
            let to = self.destination(&pair[0], Type::B32)?;
            self.map_to(Class::Move, to, [result.into(); 5], |(a,): (u32,)| a);
        }
        self.emit_with(Class::Integer, move |context| {
            let undefined = context.taint(result.into())?;
            let nonzero =
                context.u32(result.into()).iter().rev().fold(0, |mask, x| mask << 1 | u32::from(*x != 0));
            outcome.write(context, [nonzero], undefined)
        });
        Ok(())
    }

    fn shf(&mut self, i: &Instruction) -> Decoded {
        match (i.has(Modifier::L), excess_of(i)) {
            (true, Excess::Wrap) => {
                self.map(Class::Integer, i, |(a, b, c)| bits::shf_l(a, b, c, Excess::Wrap))
            }
            (true, Excess::Clamp) => {
                self.map(Class::Integer, i, |(a, b, c)| bits::shf_l(a, b, c, Excess::Clamp))
            }
            (false, Excess::Wrap) => {
                self.map(Class::Integer, i, |(a, b, c)| bits::shf_r(a, b, c, Excess::Wrap))
            }
            (false, Excess::Clamp) => {
                self.map(Class::Integer, i, |(a, b, c)| bits::shf_r(a, b, c, Excess::Clamp))
            }
        }
    }

    fn shl(&mut self, i: &Instruction) -> Decoded {
        with_bits!(type_of(i)?, W => self.map(Class::Integer, i, |(a, b): (W, u32)| bits::shl(a, b)))
    }

    fn shr(&mut self, i: &Instruction) -> Decoded {
        with_integer!(type_of(i)?, T => self.map(Class::Integer, i, |(a, b): (T, u32)| bits::shr(a, b)))
    }

    fn popc(&mut self, i: &Instruction) -> Decoded {
        with_bits!(type_of(i)?, W => self.map(Class::Integer, i, |(a,): (W,)| bits::popc(a)))
    }

    fn clz(&mut self, i: &Instruction) -> Decoded {
        with_bits!(type_of(i)?, W => self.map(Class::Integer, i, |(a,): (W,)| bits::clz(a)))
    }

    fn bfind(&mut self, i: &Instruction) -> Decoded {
        if i.has(Modifier::Shiftamt) {
            with_wide_integer!(type_of(i)?, T =>
                self.map(Class::Integer, i, |(a,): (T,)| bits::bfind_shiftamt(a)))
        } else {
            with_wide_integer!(type_of(i)?, T => self.map(Class::Integer, i, |(a,): (T,)| bits::bfind(a)))
        }
    }

    fn fns(&mut self, i: &Instruction) -> Decoded {
        self.map_scalar(Class::Integer, i, |(mask, base, offset)| bits::fns(mask, base, offset))
    }

    fn brev(&mut self, i: &Instruction) -> Decoded {
        with_bits!(type_of(i)?, W => self.map(Class::Integer, i, |(a,): (W,)| bits::brev(a)))
    }

    fn bfe(&mut self, i: &Instruction) -> Decoded {
        with_wide_integer!(type_of(i)?, T =>
            self.map(Class::Integer, i, |(a, b, c): (T, u32, u32)| bits::bfe(a, b, c)))
    }

    fn bfi(&mut self, i: &Instruction) -> Decoded {
        with_bits!(type_of(i)?, W =>
            self.map(Class::Integer, i, |(a, b, c, d): (W, W, u32, u32)| bits::bfi(a, b, c, d)))
    }

    fn szext(&mut self, i: &Instruction) -> Decoded {
        let excess = excess_of(i);
        match type_of(i)? {
            Type::S32 => self.map(Class::Integer, i, move |(a, b): (i32, u32)| bits::szext(a, b, excess)),
            Type::U32 => self.map(Class::Integer, i, move |(a, b): (u32, u32)| bits::szext(a, b, excess)),
            other => Err(lacking(other)),
        }
    }

    fn bmsk(&mut self, i: &Instruction) -> Decoded {
        let excess = excess_of(i);
        self.map(Class::Integer, i, move |(a, b)| bits::bmsk(a, b, excess))
    }
}
