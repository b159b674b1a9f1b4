//! Instructions that do the same to every lane: from a function of one lane's operands to a micro-operation.
//!
//! The operands of an instruction are a tuple of Rust types, `(u32, u32)` or `(f64, f64, f64)`; what reads them, what
//! converts literals and what writes the result follows from the types:
//!
//! ```text
//! self.map(Class::Integer, instruction, |(a, b): (i32, i32)| a.add(b))
//! ```
//!
//! The loop over the 32 lanes is compiled for several instruction sets, the function inlined into each, so that it
//! becomes vector code where it is free of branches. The functions give the same bits whatever the instruction set.

use crate::context::Context;
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, Unsupported};
use crate::liveness::slots_of;
use crate::program::{Flow, Step};
use crate::registers::{Destination, LANES, Source};
use crate::report::Fault;
use crate::scalar::approximate::{self, Function};
use multiversion::multiversion;
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::operand::Operand;
use rorqual_ptx::types::Type;

/// What a register holds for a lane: 32 or 64 bits.
pub trait Word: Copy + Default + Into<u64> + Send + Sync + 'static {
    /// The low bits of a `u64`.
    fn cut(bits: u64) -> Self;

    /// The lanes of an operand.
    fn read<'c>(context: &'c Context<'_>, source: Source) -> &'c [Self; LANES];

    /// Writes a register in the active lanes.
    ///
    /// # Errors
    ///
    /// If the register belongs to a matrix product in flight.
    fn write(
        context: &mut Context<'_>,
        to: Destination,
        values: &[Self; LANES],
        undefined: u32,
    ) -> Result<(), Box<Fault>>;
}

macro_rules! word {
    ($word:ident, $write:ident) => {
        impl Word for $word {
            #[inline(always)]
            fn cut(bits: u64) -> Self {
                bits as Self
            }

            #[inline(always)]
            fn read<'c>(context: &'c Context<'_>, source: Source) -> &'c [Self; LANES] {
                context.$word(source)
            }

            // Not inlined: there is a caller for every instruction and type.
            #[inline(never)]
            fn write(
                context: &mut Context<'_>,
                to: Destination,
                values: &[Self; LANES],
                undefined: u32,
            ) -> Result<(), Box<Fault>> {
                context.$write(to, values, undefined)
            }
        }
    };
}

word!(u32, write_u32);
word!(u64, write_u64);

/// A Rust type that a register holds: narrower ones are zero-extended.
pub trait Value: Copy + Send + Sync + 'static {
    /// What holds it.
    type Word: Word;
    /// The PTX type, by which literals are converted.
    const TYPE: Type;
    /// The value in a register.
    fn from_word(word: Self::Word) -> Self;
    /// The register that holds the value.
    fn into_word(self) -> Self::Word;
}

macro_rules! value {
    ($($value:ty, $word:ident, $ty:ident, $from:expr, $into:expr;)*) => {
        $(impl Value for $value {
            type Word = $word;
            const TYPE: Type = Type::$ty;

            #[inline(always)]
            fn from_word(word: $word) -> Self {
                let from: fn($word) -> Self = $from;
                from(word)
            }

            #[inline(always)]
            fn into_word(self) -> $word {
                let into: fn(Self) -> $word = $into;
                into(self)
            }
        })*
    };
}

value! {
    u16, u32, U16, |word| word as Self, u32::from;
    i16, u32, S16, |word| word as Self, |value| u32::from(value.cast_unsigned());
    u32, u32, U32, |word| word, |value| value;
    i32, u32, S32, u32::cast_signed, Self::cast_unsigned;
    f32, u32, F32, Self::from_bits, Self::to_bits;
    u64, u64, U64, |word| word, |value| value;
    i64, u64, S64, u64::cast_signed, Self::cast_unsigned;
    f64, u64, F64, Self::from_bits, Self::to_bits;
}

/// Where up to five operands are read from.
pub type Sources = [Source; 5];

/// The operands of an instruction in one lane: a tuple of [`Value`]s.
pub trait Operands: Copy + Send + Sync + 'static {
    /// References to the lanes of each operand.
    type Lanes<'c>: Copy;

    /// Where the operands are, the first ones of `operands`.
    ///
    /// # Errors
    ///
    /// If one is missing or no value.
    fn decode(decoder: &mut Decoder<'_>, operands: &[Operand]) -> Result<Sources, Unsupported>;

    /// The active lanes in which an operand is undefined.
    ///
    /// # Errors
    ///
    /// If an operand belongs to a matrix product in flight.
    fn taint(context: &Context<'_>, sources: &Sources) -> Result<u32, Box<Fault>>;

    /// All lanes.
    fn lanes<'c>(context: &'c Context<'_>, sources: &Sources) -> Self::Lanes<'c>;

    /// One lane of them.
    fn lane(lanes: Self::Lanes<'_>, lane: usize) -> Self;

    /// The bits of the first two operands.
    fn bits(self) -> [u64; 2];
}

macro_rules! operands {
    ($($name:ident $index:tt)*) => {
        impl<$($name: Value),*> Operands for ($($name,)*) {
            type Lanes<'c> = ($(&'c [$name::Word; LANES],)*);

            fn decode(decoder: &mut Decoder<'_>, operands: &[Operand]) -> Result<Sources, Unsupported> {
                let mut sources = Sources::default();
                $(
                    let operand = operands.get($index).ok_or_else(|| Unsupported::new("too few operands"))?;
                    sources[$index] = decoder.value(operand, $name::TYPE)?;
                )*
                Ok(sources)
            }

            #[inline(always)]
            fn taint(context: &Context<'_>, sources: &Sources) -> Result<u32, Box<Fault>> {
                Ok(0 $(| context.taint(sources[$index])?)*)
            }

            #[inline(always)]
            fn lanes<'c>(context: &'c Context<'_>, sources: &Sources) -> Self::Lanes<'c> {
                ($($name::Word::read(context, sources[$index]),)*)
            }

            #[inline(always)]
            fn lane(lanes: Self::Lanes<'_>, lane: usize) -> Self {
                ($($name::from_word(lanes.$index[lane]),)*)
            }

            #[inline(always)]
            fn bits(self) -> [u64; 2] {
                let all = [$(self.$index.into_word().into()),*];
                [all[0], all.get(1).copied().unwrap_or(0)]
            }
        }
    };
}

operands!(A 0);
operands!(A 0 B 1);
operands!(A 0 B 1 C 2);
operands!(A 0 B 1 C 2 D 3);
operands!(A 0 B 1 C 2 D 3 E 4);

/// A function of the operands in one lane: a closure, or, where that would be too big for the compiler to inline it
/// into every loop, a type of its own whose method is always inlined.
pub trait LaneFunction<O: Operands, D: Value>: Sized + Send + Sync + 'static {
    /// The result.
    fn apply(&self, operands: O) -> D;

    /// The results of all lanes.
    fn apply_all(&self, operands: O::Lanes<'_>) -> [D::Word; LANES] {
        each_lane(operands, self)
    }
}

impl<O: Operands, D: Value, F: Fn(O) -> D + Send + Sync + 'static> LaneFunction<O, D> for F {
    #[inline(always)]
    fn apply(&self, operands: O) -> D {
        self(operands)
    }
}

/// A function that is not worth vector code: rarely executed, or full of branches.
struct Scalar<F>(F);

impl<O: Operands, D: Value, F: Fn(O) -> D + Send + Sync + 'static> LaneFunction<O, D> for Scalar<F> {
    fn apply(&self, operands: O) -> D {
        self.0(operands)
    }

    fn apply_all(&self, operands: O::Lanes<'_>) -> [D::Word; LANES] {
        std::array::from_fn(|lane| self.apply(O::lane(operands, lane)).into_word())
    }
}

/// Applies a function to each lane.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn each_lane<O: Operands, D: Value, F: LaneFunction<O, D>>(
    operands: O::Lanes<'_>,
    function: &F,
) -> [D::Word; LANES] {
    let mut values = [D::Word::default(); LANES];
    for (lane, value) in values.iter_mut().enumerate() {
        *value = function.apply(O::lane(operands, lane)).into_word();
    }
    values
}

/// The lanes in which a test holds; a test of packed operands has an answer for each part, lowest first.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn lanes_where<O: Operands, const PARTS: usize, F: Fn(O) -> [bool; PARTS]>(
    operands: O::Lanes<'_>,
    test: &F,
) -> [u32; PARTS] {
    let mut masks = [0; PARTS];
    for lane in 0..LANES {
        let holds = test(O::lane(operands, lane));
        for part in 0..PARTS {
            masks[part] |= u32::from(holds[part]) << lane;
        }
    }
    masks
}

/// The lanes of `a` where the mask is set, of `b` elsewhere.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn choose<W: Word>(mask: u32, a: &[W; LANES], b: &[W; LANES]) -> [W; LANES] {
    let mut values = [W::default(); LANES];
    for lane in 0..LANES {
        values[lane] = if mask & (1 << lane) == 0 { b[lane] } else { a[lane] };
    }
    values
}

/// The destination and the operands read.
///
/// # Errors
///
/// If there is no destination.
pub fn split(instruction: &Instruction) -> Result<(&Operand, &[Operand]), Unsupported> {
    instruction.operands.split_first().ok_or_else(|| Unsupported::new("no destination"))
}

impl Decoder<'_> {
    /// An operand to read as a value of `ty`, a special register included.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn value(&mut self, operand: &Operand, ty: Type) -> Result<Source, Unsupported> {
        let Operand::Special(special) = *operand else { return self.source(operand, ty) };
        let slots = slots_of(ty, 1).max(1);
        let to = self.scratch(slots)?;
        self.emit_with(Class::Move, move |context| super::special::write(context, special, to, slots == 2));
        Ok(to.into())
    }

    /// `d = function(a, b, ..)` in each lane. The result is undefined where an operand is.
    ///
    /// # Errors
    ///
    /// If an operand is none of the types.
    pub fn map<O: Operands, D: Value>(
        &mut self,
        class: Class,
        instruction: &Instruction,
        function: impl Fn(O) -> D + Send + Sync + 'static,
    ) -> Decoded {
        self.map_by(class, instruction, function)
    }

    /// [`map`](Self::map) of a function that is not worth vector code.
    ///
    /// # Errors
    ///
    /// If an operand is none of the types.
    pub fn map_scalar<O: Operands, D: Value>(
        &mut self,
        class: Class,
        instruction: &Instruction,
        function: impl Fn(O) -> D + Send + Sync + 'static,
    ) -> Decoded {
        self.map_by(class, instruction, Scalar(function))
    }

    /// [`map`](Self::map) of a function that need not be a closure.
    ///
    /// # Errors
    ///
    /// If an operand is none of the types.
    pub fn map_by<O: Operands, D: Value>(
        &mut self,
        class: Class,
        instruction: &Instruction,
        function: impl LaneFunction<O, D>,
    ) -> Decoded {
        let (to, operands) = split(instruction)?;
        let sources = O::decode(self, operands)?;
        let to = self.destination(to, D::TYPE)?;
        self.map_to(class, to, sources, function);
        Ok(())
    }

    /// [`map_by`](Self::map_by) with decoded operands.
    pub fn map_to<O: Operands, D: Value>(
        &mut self,
        class: Class,
        to: Destination,
        sources: Sources,
        function: impl LaneFunction<O, D>,
    ) {
        self.emit_with(class, move |context| {
            let undefined = O::taint(context, &sources)?;
            let values = function.apply_all(O::lanes(context, &sources));
            D::Word::write(context, to, &values, undefined)?;
            Ok(Flow::Next)
        });
    }

    /// Tests each lane; `outcome` is given the lanes where the test holds, and those where an operand is undefined.
    pub fn decide<O: Operands, const PARTS: usize>(
        &mut self,
        class: Class,
        sources: Sources,
        test: impl Fn(O) -> [bool; PARTS] + Send + Sync + 'static,
        outcome: impl Fn(&mut Context<'_>, [u32; PARTS], u32) -> Step + Send + Sync + 'static,
    ) {
        self.emit_with(class, move |context| {
            let undefined = O::taint(context, &sources)?;
            let masks = lanes_where(O::lanes(context, &sources), &test);
            outcome(context, masks, undefined)
        });
    }

    /// [`map`](Self::map) of a function whose result may be moved within its documented error, as the launch says.
    ///
    /// # Errors
    ///
    /// If an operand is none of the types.
    pub fn approximate<O: Operands, D: Value>(
        &mut self,
        function: Function,
        instruction: &Instruction,
        nearest: impl Fn(O) -> D + Send + Sync + 'static,
    ) -> Decoded {
        let (to, operands) = split(instruction)?;
        let sources = O::decode(self, operands)?;
        let to = self.destination(to, D::TYPE)?;
        let width = function.format().width();
        let mask = u64::MAX >> (64 - width);
        let packed = D::TYPE.bits() > width;
        self.emit_with(Class::Special, move |context| {
            let undefined = O::taint(context, &sources)?;
            let lanes = O::lanes(context, &sources);
            let mut values = each_lane(lanes, &nearest);
            let options = &context.grid.options;
            if options.perturb_approximations {
                for (lane, value) in values.iter_mut().enumerate() {
                    let (bits, operands): (u64, _) = ((*value).into(), O::lane(lanes, lane).bits());
                    let moved = |shift: u32| {
                        let operands = if packed { operands.map(|x| x >> shift & mask) } else { operands };
                        approximate::perturb(function, bits >> shift & mask, options.seed, operands) << shift
                    };
                    *value = D::Word::cut(if packed { moved(width) | moved(0) } else { moved(0) });
                }
            }
            D::Word::write(context, to, &values, undefined)?;
            Ok(Flow::Next)
        });
        Ok(())
    }

    /// The condition-code chain: `function` is given the carry that comes in (none unless `reads`) and gives the one
    /// that goes out (dropped unless `writes`).
    ///
    /// # Errors
    ///
    /// If an operand is none of the types.
    pub fn carry_chain<O: Operands, D: Value>(
        &mut self,
        instruction: &Instruction,
        [reads, writes]: [bool; 2],
        function: impl Fn(O, bool) -> (D, bool) + Send + Sync + 'static,
    ) -> Decoded {
        let (to, operands) = split(instruction)?;
        let sources = O::decode(self, operands)?;
        let to = self.destination(to, D::TYPE)?;
        self.emit_with(Class::Integer, move |context| {
            let mut undefined = O::taint(context, &sources)?;
            let mut carry_in = 0;
            if reads {
                undefined |= context.warp.undefined_carry & context.mask;
                carry_in = context.warp.carry;
            }
            let lanes = O::lanes(context, &sources);
            let (mut values, mut carry) = ([D::Word::default(); LANES], 0);
            for (lane, value) in values.iter_mut().enumerate() {
                let (result, carries) = function(O::lane(lanes, lane), carry_in >> lane & 1 == 1);
                *value = result.into_word();
                carry |= u32::from(carries) << lane;
            }
            if writes {
                let warp = &mut context.warp;
                warp.carry = warp.carry & !context.mask | carry & context.mask;
                warp.undefined_carry = warp.undefined_carry & !context.mask | undefined;
            }
            D::Word::write(context, to, &values, undefined)?;
            Ok(Flow::Next)
        });
        Ok(())
    }
}

/// The first type of an instruction.
///
/// # Errors
///
/// If it has none.
pub fn type_of(instruction: &Instruction) -> Result<Type, Unsupported> {
    instruction.ty().ok_or_else(|| Unsupported::new("an instruction without a type"))
}

/// The error of a type that an instruction has no code for.
#[must_use]
pub fn lacking(ty: Type) -> Unsupported {
    Unsupported::new(format!("type {ty}"))
}

/// Evaluates an expression with `$T` the Rust type of a 16-, 32- or 64-bit integer type; raw bits are unsigned.
macro_rules! with_integer {
    ($ty:expr, $T:ident => $body:expr) => {
        match $ty {
            Type::U16 | Type::B16 => {
                type $T = u16;
                $body
            }
            Type::S16 => {
                type $T = i16;
                $body
            }
            other => $crate::exec::elementwise::with_wide_integer!(other, $T => $body),
        }
    };
}

/// Like `with_integer`, of 32 and 64 bits alone.
macro_rules! with_wide_integer {
    ($ty:expr, $T:ident => $body:expr) => {
        match $ty {
            Type::U32 | Type::B32 => {
                type $T = u32;
                $body
            }
            Type::S32 => {
                type $T = i32;
                $body
            }
            Type::U64 | Type::B64 => {
                type $T = u64;
                $body
            }
            Type::S64 => {
                type $T = i64;
                $body
            }
            other => Err($crate::exec::elementwise::lacking(other)),
        }
    };
}

/// Evaluates an expression with `$T` the Rust type of the elements of a packed integer type.
macro_rules! with_packed_integer {
    ($ty:expr, $T:ident => $body:expr) => {
        match $ty {
            Type::U16x2 => {
                type $T = u16;
                $body
            }
            Type::S16x2 => {
                type $T = i16;
                $body
            }
            Type::U8x4 => {
                type $T = u8;
                $body
            }
            Type::S8x4 => {
                type $T = i8;
                $body
            }
            other => Err($crate::exec::elementwise::lacking(other)),
        }
    };
}

/// Evaluates an expression with `$W` the unsigned type of a register of 16, 32 or 64 bits.
macro_rules! with_bits {
    ($ty:expr, $W:ident => $body:expr) => {
        match $ty.bits() {
            16 => {
                type $W = u16;
                $body
            }
            32 => {
                type $W = u32;
                $body
            }
            64 => {
                type $W = u64;
                $body
            }
            _ => Err($crate::exec::elementwise::lacking($ty)),
        }
    };
}

pub(super) use {with_bits, with_integer, with_packed_integer, with_wide_integer};
