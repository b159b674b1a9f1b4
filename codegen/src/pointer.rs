//! Typed pointers: addresses of elements in a state space, with offsets folded into the instruction.

use crate::builder::Builder;
use crate::element::{B32, Element, ElementType, Held};
use crate::value::{Input, Predicate, Repr, Value, Variable};
use rorqual_ptx::operand::{Immediate, Operand};
use std::fmt;
use std::marker::PhantomData;

/// A state space that a pointer points into.
pub trait StateSpace: Copy + fmt::Debug + 'static {
    /// The modifier with its dot.
    const MODIFIER: &'static str;
    /// The type of its addresses.
    type Address: crate::element::Integer;
}

/// Global memory.
#[derive(Debug, Clone, Copy)]
pub struct Global;

/// Shared memory of the CTA.
#[derive(Debug, Clone, Copy)]
pub struct Shared;

/// Shared memory of the CTAs of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct SharedCluster;

impl StateSpace for Global {
    const MODIFIER: &'static str = ".global";
    type Address = u64;
}

impl StateSpace for Shared {
    const MODIFIER: &'static str = ".shared";
    type Address = u32;
}

impl StateSpace for SharedCluster {
    const MODIFIER: &'static str = ".shared::cluster";
    type Address = u32;
}

/// The address of an element of type `T` in the space `S`.
#[derive(Debug)]
pub struct Pointer<'k, S: StateSpace, T> {
    base: Value<'k, S::Address>,
    offset_bytes: i64,
    of: PhantomData<T>,
}

impl<S: StateSpace, T> Clone for Pointer<'_, S, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: StateSpace, T> Copy for Pointer<'_, S, T> {}

/// An index of elements: 32 bits, 64 bits, or a literal.
#[derive(Debug, Clone, Copy)]
pub enum Index<'k> {
    /// Zero-extended.
    U32(Value<'k, u32>),
    /// 64 bits.
    U64(Value<'k, u64>),
    /// A literal.
    Literal(i64),
}

impl<'k> From<Value<'k, u32>> for Index<'k> {
    fn from(value: Value<'k, u32>) -> Self {
        Self::U32(value)
    }
}

impl<'k> From<Value<'k, u64>> for Index<'k> {
    fn from(value: Value<'k, u64>) -> Self {
        Self::U64(value)
    }
}

impl From<u32> for Index<'_> {
    fn from(value: u32) -> Self {
        Self::Literal(i64::from(value))
    }
}

impl From<i32> for Index<'_> {
    fn from(value: i32) -> Self {
        Self::Literal(i64::from(value))
    }
}

impl From<usize> for Index<'_> {
    fn from(value: usize) -> Self {
        Self::Literal(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl<'k, S: StateSpace, T> Pointer<'k, S, T> {
    /// A pointer to an address.
    #[must_use]
    pub fn new(address: Value<'k, S::Address>) -> Self {
        Self { base: address, offset_bytes: 0, of: PhantomData }
    }

    /// The builder that it belongs to.
    #[must_use]
    pub fn builder(self) -> &'k Builder {
        self.base.builder()
    }

    /// The address.
    #[must_use]
    #[track_caller]
    pub fn address(self) -> Value<'k, S::Address> {
        self.base + Value::new(self.builder(), Repr::Constant(Immediate::int(self.offset_bytes)))
    }

    /// The same address as of another type.
    #[must_use]
    pub fn cast<U>(self) -> Pointer<'k, S, U> {
        Pointer { base: self.base, offset_bytes: self.offset_bytes, of: PhantomData }
    }

    /// So many bytes further.
    #[must_use]
    #[track_caller]
    pub fn bytes(self, index: impl Into<Index<'k>>) -> Self {
        self.advance(index.into(), 1)
    }

    #[track_caller]
    fn advance(self, index: Index<'k>, element_bytes: u32) -> Self {
        let literal = match index {
            Index::Literal(index) => Some(index),
            Index::U32(value) => value.known().map(i64::from),
            Index::U64(value) => value.known().map(|value| value as i64),
        };
        if let Some(index) = literal {
            return Self { offset_bytes: self.offset_bytes + index * i64::from(element_bytes), ..self };
        }
        let builder = self.builder();
        let base = self.base.operand();
        let size = Operand::int(i64::from(element_bytes));
        let wide = S::Address::REGISTER.bits() == 64;
        let base = match index {
            Index::U32(value) if wide => builder.compute("mad.wide.u32", &[value.operand(), size, base]),
            Index::U32(value) if element_bytes == 1 => builder.compute("add.u32", &[base, value.operand()]),
            Index::U32(value) => builder.compute("mad.lo.u32", &[value.operand(), size, base]),
            Index::U64(value) if wide && element_bytes == 1 => {
                builder.compute("add.u64", &[base, value.operand()])
            }
            Index::U64(value) if wide => builder.compute("mad.lo.u64", &[value.operand(), size, base]),
            _ => {
                builder.fail("an index of 64 bits into shared memory");
                return self;
            }
        };
        Self { base, ..self }
    }

    /// The address operand of an instruction.
    #[must_use]
    #[track_caller]
    pub fn operand(self) -> Operand {
        let displacement = i32::try_from(self.offset_bytes);
        match (self.base.repr(), displacement) {
            (Repr::Register(register), Ok(offset)) => Operand::at(register, i64::from(offset)),
            _ => Operand::at(self.address().in_register(), 0),
        }
    }
}

/// Hints of the cache behaviour of a load (PTX ISA 9.7.10.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caching {
    /// As usual.
    #[default]
    Default,
    /// Nobody writes this memory while the kernel runs: the non-coherent path.
    ReadOnly,
    /// Read once: do not keep it.
    Streaming,
}

impl Caching {
    fn modifier(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::ReadOnly => ".nc",
            Self::Streaming => ".cs",
        }
    }
}

/// The type in the modifiers of a load or store of one element, and the conversion around it.
fn access_type(element: ElementType) -> &'static str {
    match element {
        ElementType::Bf16 | ElementType::F16 => "b16",
        ElementType::F32 => "f32",
        ElementType::E4m3 | ElementType::E5m2 | ElementType::U8 => "u8",
        ElementType::U32 => "u32",
        ElementType::I32 => "s32",
        ElementType::U64 => "u64",
    }
}

impl<'k, S: StateSpace, T: Element> Pointer<'k, S, T> {
    /// The element so many elements further.
    #[must_use]
    #[track_caller]
    pub fn at(self, index: impl Into<Index<'k>>) -> Self {
        self.advance(index.into(), T::ELEMENT.bytes())
    }

    /// Loads an element.
    #[must_use]
    #[track_caller]
    pub fn load(self) -> Value<'k, T::Loaded> {
        self.load_cached(Caching::Default)
    }

    /// Loads an element with a caching hint.
    #[must_use]
    #[track_caller]
    pub fn load_cached(self, caching: Caching) -> Value<'k, T::Loaded> {
        let opcode = format!("ld{}{}.{}", S::MODIFIER, caching.modifier(), access_type(T::ELEMENT));
        self.builder().compute(&opcode, &[self.operand()])
    }

    /// Loads an element where a predicate holds; elsewhere the value is `other`.
    #[must_use]
    #[track_caller]
    pub fn load_or(self, when: Predicate<'k>, other: Value<'k, T::Loaded>) -> Value<'k, T::Loaded> {
        let loaded = other.variable();
        let opcode = format!("ld{}.{}", S::MODIFIER, access_type(T::ELEMENT));
        self.builder().emit_when(when, &opcode, vec![loaded.operand(), self.operand()]);
        loaded.peek()
    }

    /// Stores an element.
    #[track_caller]
    pub fn store(self, value: Value<'k, T::Loaded>) {
        let opcode = format!("st{}.{}", S::MODIFIER, access_type(T::ELEMENT));
        self.builder().emit(&opcode, vec![self.operand(), value.operand()]);
    }

    /// Stores an element where a predicate holds.
    #[track_caller]
    pub fn store_when(self, when: Predicate<'k>, value: Value<'k, T::Loaded>) {
        let opcode = format!("st{}.{}", S::MODIFIER, access_type(T::ELEMENT));
        self.builder().emit_when(when, &opcode, vec![self.operand(), value.operand()]);
    }

    /// Loads `words` registers of 32 bits, 1, 2 or 4, at once; the address is aligned to them.
    #[must_use]
    #[track_caller]
    pub fn load_words(self, words: usize) -> Vec<Value<'k, B32>> {
        self.load_words_cached(words, Caching::Default)
    }

    /// As [`load_words`](Self::load_words) with a caching hint.
    #[must_use]
    #[track_caller]
    pub fn load_words_cached(self, words: usize, caching: Caching) -> Vec<Value<'k, B32>> {
        let builder = self.builder();
        let values: Vec<Value<'k, B32>> = (0..words).map(|_| builder.fresh()).collect();
        let opcode = format!("ld{}{}{}.b32", S::MODIFIER, caching.modifier(), vector_modifier(words));
        builder.emit(&opcode, vec![vector(&values), self.operand()]);
        values
    }

    /// As [`load_words`](Self::load_words) where a predicate holds; elsewhere the words are zero.
    #[must_use]
    #[track_caller]
    pub fn load_words_or_zero(self, when: Predicate<'k>, words: usize) -> Vec<Value<'k, B32>> {
        let builder = self.builder();
        let zero = Value::new(builder, Repr::Constant(Immediate::int(0)));
        let values: Vec<Variable<'k, B32>> = (0..words).map(|_| zero.variable()).collect();
        let values: Vec<Value<'k, B32>> = values.iter().map(|variable| variable.peek()).collect();
        let opcode = format!("ld{}{}.b32", S::MODIFIER, vector_modifier(words));
        builder.emit_when(when, &opcode, vec![vector(&values), self.operand()]);
        values
    }

    /// Stores registers of 32 bits, 1, 2 or 4, at once; the address is aligned to them.
    #[track_caller]
    pub fn store_words(self, words: &[Value<'k, B32>]) {
        self.store_words_when(self.builder().known(true), words);
    }

    /// As [`store_words`](Self::store_words) where a predicate holds.
    #[track_caller]
    pub fn store_words_when(self, when: Predicate<'k>, words: &[Value<'k, B32>]) {
        let opcode = format!("st{}{}.b32", S::MODIFIER, vector_modifier(words.len()));
        self.builder().emit_when(when, &opcode, vec![self.operand(), vector(words)]);
    }
}

fn vector_modifier(words: usize) -> String {
    if words == 1 { String::new() } else { format!(".v{words}") }
}

/// Registers in braces; one alone without.
#[track_caller]
pub(crate) fn vector<T: Held>(values: &[Value<'_, T>]) -> Operand {
    match values {
        [value] => value.operand(),
        _ => Operand::Vector(values.iter().map(|value| Operand::Register(value.in_register())).collect()),
    }
}

impl<'k, S: StateSpace, T: Element> Pointer<'k, S, T>
where
    T::Loaded: crate::element::Scalar,
{
    /// Stores a literal or a value.
    #[track_caller]
    pub fn write(self, value: impl Into<Input<'k, T::Loaded>>) {
        self.store(value.into().value(self.builder()));
    }
}
