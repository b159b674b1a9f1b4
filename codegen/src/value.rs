//! Values: registers with a type, or constants that are folded while the kernel is generated.
//!
//! Operators write instructions. Arithmetic of f32 is rounded to nearest and never contracted: a fused multiply-add
//! is written as [`fma`](Value::fma).

use crate::builder::Builder;
use crate::element::{Held, Integer, Operation, Scalar};
use rorqual_ptx::instruction::Guard;
use rorqual_ptx::operand::{Immediate, Operand, Register};
use rorqual_ptx::types::Type;
use std::marker::PhantomData;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Shl, Shr, Sub};

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Repr {
    Register(Register),
    Constant(Immediate),
}

/// A value of one thread. It never changes; see [`Variable`] for what does.
#[derive(Debug)]
pub struct Value<'k, T> {
    builder: &'k Builder,
    repr: Repr,
    of: PhantomData<T>,
}

impl<T> Clone for Value<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Value<'_, T> {}

impl<'k, T> Value<'k, T> {
    pub(crate) fn new(builder: &'k Builder, repr: Repr) -> Self {
        Self { builder, repr, of: PhantomData }
    }

    /// The builder that it belongs to.
    #[must_use]
    pub fn builder(self) -> &'k Builder {
        self.builder
    }

    pub(crate) fn repr(self) -> Repr {
        self.repr
    }

    /// As an operand of [`Builder::emit`].
    #[must_use]
    pub fn operand(self) -> Operand {
        match self.repr {
            Repr::Register(register) => Operand::Register(register),
            Repr::Constant(immediate) => Operand::Immediate(immediate),
        }
    }
}

impl<'k, T: Held> Value<'k, T> {
    /// The register that holds it; a constant is moved to one.
    #[track_caller]
    pub(crate) fn in_register(self) -> Register {
        match self.repr {
            Repr::Register(register) => register,
            Repr::Constant(_) => {
                let register = self.builder.register(T::REGISTER);
                let opcode = format!("mov{}", T::REGISTER);
                self.builder.emit(&opcode, vec![Operand::Register(register), self.operand()]);
                register
            }
        }
    }

    /// The same bits as another type of the same width.
    #[must_use]
    #[track_caller]
    pub fn bits<U: Held>(self) -> Value<'k, U> {
        let (from, to) = (T::REGISTER, U::REGISTER);
        if from.bits() != to.bits() {
            self.builder.fail(format!("the bits of {from} cannot be those of {to}"));
        }
        if from == to {
            return Value::new(self.builder, self.repr);
        }
        let operand = Operand::Register(self.in_register());
        self.builder.compute(&format!("mov.b{}", to.bits()), &[operand])
    }

    /// A copy of its own register, that may be changed.
    #[must_use]
    #[track_caller]
    pub fn variable(self) -> Variable<'k, T> {
        let register = self.builder.register(T::REGISTER);
        let variable = Variable { builder: self.builder, register, of: PhantomData };
        variable.set(self);
        variable
    }
}

impl<T: Scalar> Value<'_, T> {
    /// The value, where it is known while the kernel is generated.
    #[must_use]
    pub fn known(self) -> Option<T> {
        match self.repr {
            Repr::Constant(immediate) => Some(T::of_immediate(immediate)),
            Repr::Register(_) => None,
        }
    }
}

/// An operand: a value or a literal.
#[derive(Debug, Clone, Copy)]
pub enum Input<'k, T> {
    /// A value.
    Value(Value<'k, T>),
    /// A literal.
    Literal(T),
}

impl<'k, T> From<Value<'k, T>> for Input<'k, T> {
    fn from(value: Value<'k, T>) -> Self {
        Self::Value(value)
    }
}

impl<T: Scalar> From<T> for Input<'_, T> {
    fn from(literal: T) -> Self {
        Self::Literal(literal)
    }
}

impl<'k, T: Scalar> Input<'k, T> {
    /// As a value of the builder.
    #[must_use]
    pub fn value(self, builder: &'k Builder) -> Value<'k, T> {
        match self {
            Self::Value(value) => value,
            Self::Literal(literal) => builder.constant(literal),
        }
    }
}

/// A register that may be set again: an accumulator, a state of a loop.
#[derive(Debug)]
pub struct Variable<'k, T> {
    builder: &'k Builder,
    register: Register,
    of: PhantomData<T>,
}

impl<T> Clone for Variable<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Variable<'_, T> {}

impl<'k, T: Held> Variable<'k, T> {
    /// A variable that holds nothing yet.
    #[must_use]
    pub fn unset(builder: &'k Builder) -> Self {
        Self { builder, register: builder.register(T::REGISTER), of: PhantomData }
    }

    /// As an operand of [`Builder::emit`].
    #[must_use]
    pub fn operand(self) -> Operand {
        Operand::Register(self.register)
    }

    /// The present value; what is set later does not change it.
    #[must_use]
    #[track_caller]
    pub fn get(self) -> Value<'k, T> {
        self.builder.compute(&format!("mov{}", T::REGISTER), &[self.operand()])
    }

    /// The register itself as a value, for an operand that is read at once: it changes with the variable.
    #[must_use]
    pub fn peek(self) -> Value<'k, T> {
        Value::new(self.builder, Repr::Register(self.register))
    }

    /// Sets it.
    #[track_caller]
    pub fn set(self, value: Value<'k, T>) {
        let opcode = format!("mov{}", T::REGISTER);
        self.builder.emit(&opcode, vec![self.operand(), value.operand()]);
    }

    /// Sets it where a predicate holds.
    #[track_caller]
    pub fn set_when(self, predicate: Predicate<'k>, value: Value<'k, T>) {
        let opcode = format!("mov{}", T::REGISTER);
        self.builder.emit_when(predicate, &opcode, vec![self.operand(), value.operand()]);
    }
}

impl<'k> Variable<'k, f32> {
    /// Adds `a * b`, rounded once.
    #[track_caller]
    pub fn add_product(self, a: Value<'k, f32>, b: Value<'k, f32>) {
        self.builder.emit("fma.rn.f32", vec![self.operand(), a.operand(), b.operand(), self.operand()]);
    }
}

impl<'k, T: Scalar> Variable<'k, T> {
    /// Adds.
    #[track_caller]
    pub fn add(self, value: impl Into<Input<'k, T>>) {
        let opcode = opcode_of::<T>(Operation::Add);
        let value = value.into().value(self.builder);
        self.builder.emit(&opcode, vec![self.operand(), self.operand(), value.operand()]);
    }
}

fn opcode_of<T: Scalar>(operation: Operation) -> String {
    let ty = T::ARITHMETIC;
    let float = ty == Type::F32;
    match operation {
        Operation::Add if float => "add.rn.f32".to_owned(),
        Operation::Subtract if float => "sub.rn.f32".to_owned(),
        Operation::Multiply if float => "mul.rn.f32".to_owned(),
        Operation::Divide if float => "div.rn.f32".to_owned(),
        Operation::Add => format!("add{ty}"),
        Operation::Subtract => format!("sub{ty}"),
        Operation::Multiply => format!("mul.lo{ty}"),
        Operation::Divide => format!("div{ty}"),
        Operation::Remainder => format!("rem{ty}"),
        Operation::Minimum => format!("min{ty}"),
        Operation::Maximum => format!("max{ty}"),
        Operation::And => format!("and.b{}", ty.bits()),
        Operation::Or => format!("or.b{}", ty.bits()),
        Operation::Xor => format!("xor.b{}", ty.bits()),
    }
}

impl<'k, T: Scalar> Value<'k, T> {
    #[track_caller]
    fn combine(self, operation: Operation, other: impl Into<Input<'k, T>>) -> Self {
        let builder = self.builder;
        let other = other.into().value(builder);
        if let (Some(a), Some(b)) = (self.known(), other.known())
            && let Some(folded) = T::fold(operation, a, b)
        {
            return builder.constant(folded);
        }
        builder.compute(&opcode_of::<T>(operation), &[self.operand(), other.operand()])
    }

    /// The smaller of two; of a number and NaN the number.
    #[must_use]
    #[track_caller]
    pub fn min(self, other: impl Into<Input<'k, T>>) -> Self {
        self.combine(Operation::Minimum, other)
    }

    /// The larger of two; of a number and NaN the number.
    #[must_use]
    #[track_caller]
    pub fn max(self, other: impl Into<Input<'k, T>>) -> Self {
        self.combine(Operation::Maximum, other)
    }

    #[track_caller]
    fn compare(self, relation: &str, other: impl Into<Input<'k, T>>) -> Predicate<'k> {
        let builder = self.builder;
        let other = other.into().value(builder);
        let predicate = Predicate::fresh(builder);
        let opcode = format!("setp.{relation}{}", T::ARITHMETIC);
        builder.emit(&opcode, vec![predicate.operand(), self.operand(), other.operand()]);
        predicate
    }

    /// Whether it equals; never if either is NaN.
    #[must_use]
    #[track_caller]
    pub fn equals(self, other: impl Into<Input<'k, T>>) -> Predicate<'k> {
        self.compare("eq", other)
    }

    /// Whether it differs.
    #[must_use]
    #[track_caller]
    pub fn differs(self, other: impl Into<Input<'k, T>>) -> Predicate<'k> {
        self.compare(if T::ARITHMETIC.is_float() { "neu" } else { "ne" }, other)
    }

    /// Whether it is less; never if either is NaN.
    #[must_use]
    #[track_caller]
    pub fn less(self, other: impl Into<Input<'k, T>>) -> Predicate<'k> {
        self.compare("lt", other)
    }

    /// Whether it is less or equal; never if either is NaN.
    #[must_use]
    #[track_caller]
    pub fn at_most(self, other: impl Into<Input<'k, T>>) -> Predicate<'k> {
        self.compare("le", other)
    }

    /// Whether it is greater; never if either is NaN.
    #[must_use]
    #[track_caller]
    pub fn greater(self, other: impl Into<Input<'k, T>>) -> Predicate<'k> {
        self.compare("gt", other)
    }

    /// Whether it is greater or equal; never if either is NaN.
    #[must_use]
    #[track_caller]
    pub fn at_least(self, other: impl Into<Input<'k, T>>) -> Predicate<'k> {
        self.compare("ge", other)
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident $operation:ident;)*) => {
        $(impl<'k, T: Scalar, R: Into<Input<'k, T>>> $operator<R> for Value<'k, T> {
            type Output = Self;

            #[track_caller]
            fn $method(self, other: R) -> Self {
                let other = other.into().value(self.builder);
                match simplify(Operation::$operation, self, other) {
                    Some(simple) => simple,
                    None => self.combine(Operation::$operation, other),
                }
            }
        })*
    };
}

operators! {
    Add add Add;
    Sub sub Subtract;
    Mul mul Multiply;
    Div div Divide;
    Rem rem Remainder;
    BitAnd bitand And;
    BitOr bitor Or;
    BitXor bitxor Xor;
}

/// Integer identities: nothing of an f32 is dropped.
#[track_caller]
fn simplify<'k, T: Scalar>(operation: Operation, a: Value<'k, T>, b: Value<'k, T>) -> Option<Value<'k, T>> {
    let ty = T::ARITHMETIC;
    if ty.is_float() {
        return None;
    }
    let literal = |value: Value<'k, T>| match value.repr {
        Repr::Constant(Immediate::Integer { value, .. }) => Some(value),
        _ => None,
    };
    let (known_a, known_b) = (literal(a), literal(b));
    let exponent = known_b.filter(|b| b.count_ones() == 1 && *b > 0).map(i64::trailing_zeros);
    match (operation, known_a, known_b) {
        (_, Some(_), Some(_)) => None,
        (Operation::Add | Operation::Or | Operation::Xor, Some(0), _) => Some(b),
        (Operation::Add | Operation::Subtract | Operation::Or | Operation::Xor, _, Some(0)) => Some(a),
        (Operation::Multiply, Some(1), _) => Some(b),
        (Operation::Multiply | Operation::Divide, _, Some(1)) => Some(a),
        (Operation::Multiply | Operation::And, Some(0), _) => Some(a),
        (Operation::Multiply | Operation::And, _, Some(0)) => Some(b),
        (Operation::Multiply, Some(_), None) => Some(b * a),
        (Operation::Multiply, ..) if exponent.is_some() => {
            Some(shift(a, &format!("shl.b{}", ty.bits()), exponent?))
        }
        (Operation::Divide, ..) if exponent.is_some() && !ty.is_signed() => {
            Some(shift(a, &format!("shr.u{}", ty.bits()), exponent?))
        }
        (Operation::Remainder, ..) if exponent.is_some() && !ty.is_signed() => {
            let mask = Value::new(a.builder, Repr::Constant(Immediate::int(known_b? - 1)));
            Some(a & mask)
        }
        _ => None,
    }
}

#[track_caller]
fn shift<'k, T: Held>(value: Value<'k, T>, opcode: &str, by: u32) -> Value<'k, T> {
    value.builder.compute(opcode, &[value.operand(), Operand::int(i64::from(by))])
}

impl<T: Integer> Shl<u32> for Value<'_, T> {
    type Output = Self;

    #[track_caller]
    fn shl(self, by: u32) -> Self {
        match self.known() {
            _ if by == 0 => self,
            Some(value) if by < 32 => {
                let product = T::fold(Operation::Multiply, value, T::of_u32(1 << by));
                self.builder.constant(product.unwrap_or(value))
            }
            _ => shift(self, &format!("shl.b{}", T::ARITHMETIC.bits()), by),
        }
    }
}

impl<T: Integer> Shr<u32> for Value<'_, T> {
    type Output = Self;

    /// Arithmetic if signed.
    #[track_caller]
    fn shr(self, by: u32) -> Self {
        match self.known() {
            _ if by == 0 => self,
            Some(value) if by < 32 && !T::ARITHMETIC.is_signed() => {
                let quotient = T::fold(Operation::Divide, value, T::of_u32(1 << by));
                self.builder.constant(quotient.unwrap_or(value))
            }
            _ => shift(self, &format!("shr{}", T::ARITHMETIC), by),
        }
    }
}

impl<'k, T: Integer> Value<'k, T> {
    /// `self * factor + addend` in the low bits.
    #[must_use]
    #[track_caller]
    pub fn multiply_add(self, factor: impl Into<Input<'k, T>>, addend: impl Into<Input<'k, T>>) -> Self {
        let (factor, addend) = (factor.into().value(self.builder), addend.into().value(self.builder));
        let simple = [self.known(), factor.known()].iter().flatten().any(|known| known.exponent().is_some());
        if simple || (self.known().is_some() && factor.known().is_some()) {
            return self * factor + addend;
        }
        let operands = [self.operand(), factor.operand(), addend.operand()];
        self.builder.compute(&format!("mad.lo{}", T::ARITHMETIC), &operands)
    }

    /// The quotient, rounded up.
    #[must_use]
    #[track_caller]
    pub fn ceil_divide(self, divisor: u32) -> Self {
        (self + T::of_u32(divisor.saturating_sub(1))) / T::of_u32(divisor)
    }

    /// Shifted to the left by a value; 0 from the width on.
    #[must_use]
    #[track_caller]
    pub fn shift_left(self, by: Value<'k, u32>) -> Self {
        self.builder.compute(&format!("shl.b{}", T::ARITHMETIC.bits()), &[self.operand(), by.operand()])
    }

    /// Shifted to the right by a value; arithmetic if signed.
    #[must_use]
    #[track_caller]
    pub fn shift_right(self, by: Value<'k, u32>) -> Self {
        self.builder.compute(&format!("shr{}", T::ARITHMETIC), &[self.operand(), by.operand()])
    }
}

impl<'k> Value<'k, u32> {
    /// Zero-extended.
    #[must_use]
    #[track_caller]
    pub fn to_u64(self) -> Value<'k, u64> {
        match self.known() {
            Some(value) => self.builder.constant(u64::from(value)),
            None => self.builder.compute("cvt.u64.u32", &[self.operand()]),
        }
    }

    /// The product of 64 bits.
    #[must_use]
    #[track_caller]
    pub fn multiply_wide(self, factor: impl Into<Input<'k, u32>>) -> Value<'k, u64> {
        let factor = factor.into().value(self.builder);
        match (self.known(), factor.known()) {
            (Some(a), Some(b)) => self.builder.constant(u64::from(a) * u64::from(b)),
            _ => self.builder.compute("mul.wide.u32", &[self.in_register_operand(), factor.operand()]),
        }
    }

    #[track_caller]
    fn in_register_operand(self) -> Operand {
        Operand::Register(self.in_register())
    }

    /// As a signed number of the same bits.
    #[must_use]
    pub fn to_i32(self) -> Value<'k, i32> {
        let repr = match self.known() {
            Some(value) => Repr::Constant((value as i32).immediate()),
            None => self.repr,
        };
        Value::new(self.builder, repr)
    }

    /// The nearest f32.
    #[must_use]
    #[track_caller]
    pub fn to_f32(self) -> Value<'k, f32> {
        self.builder.compute("cvt.rn.f32.u32", &[self.operand()])
    }
}

impl<'k> Value<'k, i32> {
    /// As an unsigned number of the same bits.
    #[must_use]
    pub fn to_u32(self) -> Value<'k, u32> {
        let repr = match self.known() {
            Some(value) => Repr::Constant((value as u32).immediate()),
            None => self.repr,
        };
        Value::new(self.builder, repr)
    }
}

impl<'k> Value<'k, u64> {
    /// The low 32 bits.
    #[must_use]
    #[track_caller]
    pub fn to_u32(self) -> Value<'k, u32> {
        match self.known() {
            Some(value) => self.builder.constant(value as u32),
            None => self.builder.compute("cvt.u32.u64", &[self.operand()]),
        }
    }
}

impl<'k> Value<'k, f32> {
    #[track_caller]
    fn unary(self, opcode: &str) -> Self {
        self.builder.compute(opcode, &[self.operand()])
    }

    /// `self * factor + addend`, rounded once.
    #[must_use]
    #[track_caller]
    pub fn fma(self, factor: impl Into<Input<'k, f32>>, addend: impl Into<Input<'k, f32>>) -> Self {
        let (factor, addend) = (factor.into().value(self.builder), addend.into().value(self.builder));
        self.builder.compute("fma.rn.f32", &[self.operand(), factor.operand(), addend.operand()])
    }

    /// Without its sign.
    #[must_use]
    #[track_caller]
    pub fn abs(self) -> Self {
        self.unary("abs.f32")
    }

    /// The larger of two; NaN if either is.
    #[must_use]
    #[track_caller]
    pub fn max_nan(self, other: impl Into<Input<'k, f32>>) -> Self {
        let other = other.into().value(self.builder);
        self.builder.compute("max.NaN.f32", &[self.operand(), other.operand()])
    }

    /// The smaller of two; NaN if either is.
    #[must_use]
    #[track_caller]
    pub fn min_nan(self, other: impl Into<Input<'k, f32>>) -> Self {
        let other = other.into().value(self.builder);
        self.builder.compute("min.NaN.f32", &[self.operand(), other.operand()])
    }

    /// The reciprocal, within 1 unit in the last place; denormal values count as 0 and become 0 (PTX ISA 9.7.3.13).
    #[must_use]
    #[track_caller]
    pub fn reciprocal_flushed(self) -> Self {
        self.unary("rcp.approx.ftz.f32")
    }

    /// The square root, correctly rounded.
    #[must_use]
    #[track_caller]
    pub fn sqrt(self) -> Self {
        self.unary("sqrt.rn.f32")
    }

    /// 2 to its power, within 2 units in the last place (PTX ISA 9.7.3.21).
    #[must_use]
    #[track_caller]
    pub fn exp2(self) -> Self {
        self.unary("ex2.approx.f32")
    }

    /// As [`exp2`](Self::exp2); denormal results become 0.
    #[must_use]
    #[track_caller]
    pub fn exp2_flushed(self) -> Self {
        self.unary("ex2.approx.ftz.f32")
    }

    /// The logarithm to base 2, within 2^-22 (PTX ISA 9.7.3.20).
    #[must_use]
    #[track_caller]
    pub fn log2(self) -> Self {
        self.unary("lg2.approx.f32")
    }

    /// The nearest unsigned integer towards zero; NaN becomes 0.
    #[must_use]
    #[track_caller]
    pub fn to_u32(self) -> Value<'k, u32> {
        self.builder.compute("cvt.rzi.u32.f32", &[self.operand()])
    }

    /// Whether it is NaN.
    #[must_use]
    #[track_caller]
    pub fn is_nan(self) -> Predicate<'k> {
        self.compare("nan", self)
    }
}

impl<'k> Neg for Value<'k, f32> {
    type Output = Self;

    #[track_caller]
    fn neg(self) -> Self {
        self.unary("neg.f32")
    }
}

impl<'k> Neg for Value<'k, i32> {
    type Output = Self;

    #[track_caller]
    fn neg(self) -> Self {
        self.builder.compute("neg.s32", &[self.operand()])
    }
}

/// Whether something holds in a thread.
#[derive(Debug, Clone, Copy)]
pub struct Predicate<'k> {
    builder: &'k Builder,
    repr: PredicateRepr,
}

#[derive(Debug, Clone, Copy)]
enum PredicateRepr {
    Register { register: Register, negated: bool },
    Known(bool),
}

impl<'k> Predicate<'k> {
    #[track_caller]
    pub(crate) fn fresh(builder: &'k Builder) -> Self {
        let register = builder.register(Type::Pred);
        Self { builder, repr: PredicateRepr::Register { register, negated: false } }
    }

    /// A new predicate, not set yet.
    #[must_use]
    #[track_caller]
    pub fn unset(builder: &'k Builder) -> Self {
        Self::fresh(builder)
    }

    pub(crate) fn of_bool(builder: &'k Builder, holds: bool) -> Self {
        Self { builder, repr: PredicateRepr::Known(holds) }
    }

    pub(crate) fn guard(self) -> Option<Guard> {
        match self.repr {
            PredicateRepr::Register { register, negated } => Some(Guard { register, negated }),
            PredicateRepr::Known(_) => None,
        }
    }

    /// Whether it holds, where that is known while the kernel is generated.
    #[must_use]
    pub fn known(self) -> Option<bool> {
        match self.repr {
            PredicateRepr::Known(holds) => Some(holds),
            PredicateRepr::Register { .. } => None,
        }
    }

    /// As an operand of [`Builder::emit`].
    #[must_use]
    #[track_caller]
    pub fn operand(self) -> Operand {
        match self.repr {
            PredicateRepr::Register { register, negated: false } => Operand::Register(register),
            PredicateRepr::Register { register, negated: true } => Operand::Not(register),
            PredicateRepr::Known(holds) => {
                let predicate = Self::fresh(self.builder);
                let operands = vec![predicate.operand(), Operand::int(i64::from(holds)), Operand::int(0)];
                self.builder.emit("setp.ne.u32", operands);
                predicate.operand()
            }
        }
    }

    /// One of two values.
    #[must_use]
    #[track_caller]
    pub fn select<T: Held>(self, yes: Value<'k, T>, no: Value<'k, T>) -> Value<'k, T> {
        let (yes_operand, no_operand) = (yes.operand(), no.operand());
        match self.repr {
            PredicateRepr::Known(true) => yes,
            PredicateRepr::Known(false) => no,
            PredicateRepr::Register { register, negated } => {
                let (first, second) =
                    if negated { (no_operand, yes_operand) } else { (yes_operand, no_operand) };
                let opcode = format!("selp{}", T::REGISTER);
                self.builder.compute(&opcode, &[first, second, Operand::Register(register)])
            }
        }
    }

    /// 1 where it holds, 0 elsewhere.
    #[must_use]
    #[track_caller]
    pub fn to_u32(self) -> Value<'k, u32> {
        self.select(self.builder.constant(1), self.builder.constant(0))
    }

    #[track_caller]
    fn combine(self, opcode: &str, other: Self) -> Self {
        let result = Self::fresh(self.builder);
        let operands = vec![result.operand(), self.positive(), other.positive()];
        self.builder.emit(opcode, operands);
        result
    }

    /// As a register that holds the predicate itself.
    #[track_caller]
    fn positive(self) -> Operand {
        match self.operand() {
            Operand::Not(register) => {
                let result = Self::fresh(self.builder);
                self.builder.emit("not.pred", vec![result.operand(), Operand::Register(register)]);
                result.operand()
            }
            operand => operand,
        }
    }
}

impl BitAnd for Predicate<'_> {
    type Output = Self;

    #[track_caller]
    fn bitand(self, other: Self) -> Self {
        match (self.known(), other.known()) {
            (Some(false), _) | (_, Some(true)) => self,
            (Some(true), _) | (_, Some(false)) => other,
            _ => self.combine("and.pred", other),
        }
    }
}

impl BitOr for Predicate<'_> {
    type Output = Self;

    #[track_caller]
    fn bitor(self, other: Self) -> Self {
        match (self.known(), other.known()) {
            (Some(true), _) | (_, Some(false)) => self,
            (Some(false), _) | (_, Some(true)) => other,
            _ => self.combine("or.pred", other),
        }
    }
}

impl Not for Predicate<'_> {
    type Output = Self;

    fn not(self) -> Self {
        let repr = match self.repr {
            PredicateRepr::Register { register, negated } => {
                PredicateRepr::Register { register, negated: !negated }
            }
            PredicateRepr::Known(holds) => PredicateRepr::Known(!holds),
        };
        Self { repr, ..self }
    }
}
