//! Conversion between f32 and the formats of tensors, a word of 32 bits at a time; also where the target has no
//! instruction for it.
//!
//! Rounding is to nearest even. What is too large for e4m3 becomes its largest number, 448, with the sign kept, infinity
//! included; NaN stays NaN. A target before sm_89 has no FP8 instructions: the same results come from integer
//! arithmetic.

use crate::element::{B16, B32, Bf16, E4m3, Element, F16};
use crate::value::{Repr, Value};
use rorqual_ptx::operand::{Immediate, Operand};

/// A format that f32 can be converted to and from.
pub trait Format: Element {
    /// Elements in 32 bits.
    const PER_WORD: usize;
    /// The elements of a word, from the low end.
    fn unpack(word: Value<'_, B32>) -> Vec<Value<'_, f32>>;
    /// A word of so many elements, from the low end.
    fn pack<'k>(elements: &[Value<'k, f32>]) -> Value<'k, B32>;
    /// An element as it is loaded.
    fn to_f32(loaded: Value<'_, Self::Loaded>) -> Value<'_, f32>;
    /// An element as it is stored.
    fn of_f32(value: Value<'_, f32>) -> Value<'_, Self::Loaded>;
}

impl Format for f32 {
    const PER_WORD: usize = 1;

    #[track_caller]
    fn unpack(word: Value<'_, B32>) -> Vec<Value<'_, f32>> {
        vec![word.bits()]
    }

    #[track_caller]
    fn pack<'k>(elements: &[Value<'k, f32>]) -> Value<'k, B32> {
        elements[0].bits()
    }

    fn to_f32(loaded: Value<'_, f32>) -> Value<'_, f32> {
        loaded
    }

    fn of_f32(value: Value<'_, f32>) -> Value<'_, f32> {
        value
    }
}

impl Format for Bf16 {
    const PER_WORD: usize = 2;

    #[track_caller]
    fn unpack(word: Value<'_, B32>) -> Vec<Value<'_, f32>> {
        let word = word.bits::<u32>();
        vec![(word << 16).bits(), (word & 0xffff_0000).bits()]
    }

    #[track_caller]
    fn pack<'k>(elements: &[Value<'k, f32>]) -> Value<'k, B32> {
        let [low, high] = [elements[0], elements[1]];
        low.builder().compute("cvt.rn.bf16x2.f32", &[high.operand(), low.operand()])
    }

    #[track_caller]
    fn to_f32(loaded: Value<'_, Self>) -> Value<'_, f32> {
        let builder = loaded.builder();
        let zero = Value::<B16>::new(builder, Repr::Constant(Immediate::int(0)));
        join(zero, loaded.bits()).bits()
    }

    #[track_caller]
    fn of_f32(value: Value<'_, f32>) -> Value<'_, Self> {
        value.builder().compute("cvt.rn.bf16.f32", &[value.operand()])
    }
}

impl Format for F16 {
    const PER_WORD: usize = 2;

    #[track_caller]
    fn unpack(word: Value<'_, B32>) -> Vec<Value<'_, f32>> {
        split(word).map(|half| Self::to_f32(half.bits())).to_vec()
    }

    #[track_caller]
    fn pack<'k>(elements: &[Value<'k, f32>]) -> Value<'k, B32> {
        let [low, high] = [elements[0], elements[1]];
        low.builder().compute("cvt.rn.f16x2.f32", &[high.operand(), low.operand()])
    }

    #[track_caller]
    fn to_f32(loaded: Value<'_, Self>) -> Value<'_, f32> {
        loaded.builder().compute("cvt.f32.f16", &[loaded.operand()])
    }

    #[track_caller]
    fn of_f32(value: Value<'_, f32>) -> Value<'_, Self> {
        value.builder().compute("cvt.rn.f16.f32", &[value.operand()])
    }
}

impl Format for E4m3 {
    const PER_WORD: usize = 4;

    #[track_caller]
    fn unpack(word: Value<'_, B32>) -> Vec<Value<'_, f32>> {
        let [low, high] = e4m3_to_f16x2(word);
        [F16::unpack(low), F16::unpack(high)].concat()
    }

    #[track_caller]
    fn pack<'k>(elements: &[Value<'k, f32>]) -> Value<'k, B32> {
        let builder = elements[0].builder();
        if builder.target().sm >= 89 {
            let pair = |low: Value<'k, f32>, high: Value<'k, f32>| {
                builder.compute::<B16>("cvt.rn.satfinite.e4m3x2.f32", &[high.operand(), low.operand()])
            };
            return join(pair(elements[0], elements[1]), pair(elements[2], elements[3]));
        }
        let codes = elements.iter().map(|element| e4m3_code(*element));
        let shifted = codes.enumerate().map(|(index, code)| code << (8 * index as u32));
        let word = shifted.reduce(|word, code| word | code);
        word.map_or_else(|| builder.constant(0).bits(), Value::bits)
    }

    #[track_caller]
    fn to_f32(loaded: Value<'_, u32>) -> Value<'_, f32> {
        Self::unpack(loaded.bits())[0]
    }

    #[track_caller]
    fn of_f32(value: Value<'_, f32>) -> Value<'_, u32> {
        let builder = value.builder();
        if builder.target().sm < 89 {
            return e4m3_code(value);
        }
        let zero = builder.constant(0.0_f32);
        let pair: Value<'_, B16> =
            builder.compute("cvt.rn.satfinite.e4m3x2.f32", &[zero.operand(), value.operand()]);
        builder.compute("cvt.u32.u16", &[pair.operand()])
    }
}

/// Two halves as a word, the first one low.
#[track_caller]
pub fn join<'k>(low: Value<'k, B16>, high: Value<'k, B16>) -> Value<'k, B32> {
    let halves = Operand::Vector([low, high].map(|half| Operand::Register(half.in_register())).to_vec());
    low.builder().compute("mov.b32", &[halves])
}

/// The halves of a word, the low one first.
#[track_caller]
pub fn split(word: Value<'_, B32>) -> [Value<'_, B16>; 2] {
    let builder = word.builder();
    let halves = [builder.fresh::<B16>(), builder.fresh::<B16>()];
    let operand = Operand::Vector(halves.map(Value::operand).to_vec());
    builder.emit("mov.b32", vec![operand, Operand::Register(word.in_register())]);
    halves
}

/// Four e4m3 as two words of two binary16 each, exactly; NaN stays NaN.
#[must_use]
#[track_caller]
pub fn e4m3_to_f16x2(word: Value<'_, B32>) -> [Value<'_, B32>; 2] {
    let builder = word.builder();
    if builder.target().sm >= 89 {
        return split(word).map(|pair| builder.compute("cvt.rn.f16x2.e4m3x2", &[pair.operand()]));
    }
    // The bytes go to the high ends of the halves: sign in place, exponent and mantissa one bit too high. Read as
    // binary16, whose bias is 8 larger, the number is 2^8 too small.
    [0x1404, 0x3424].map(|selector| {
        let operands = [word.operand(), Operand::int(0), Operand::int(selector)];
        let bytes: Value<'_, u32> = builder.compute("prmt.b32", &operands);
        let magnitude = (bytes & 0x7f00_7f00) >> 1;
        // The code of NaN, all ones, carries into the highest bit of the exponent: binary16 has its NaN there.
        let nan = (magnitude + 0x0080_0080) & 0x4000_4000;
        let small = (bytes & 0x8000_8000) | magnitude | nan;
        let two_to_8 = builder.constant(0x5c00_5c00_u32);
        builder.compute("mul.rn.f16x2", &[small.operand(), Operand::Register(two_to_8.in_register())])
    })
}

/// The code of the nearest e4m3, in integer arithmetic.
#[track_caller]
fn e4m3_code(value: Value<'_, f32>) -> Value<'_, u32> {
    let builder = value.builder();
    let bits = value.bits::<u32>();
    let magnitude = bits & 0x7fff_ffff;
    let sign = (bits >> 24) & 0x80;
    // Half a unit of the last of 3 mantissa bits, ties to even, then the bias goes from 127 to 7.
    let normal = ((magnitude + 0x7_ffff + ((magnitude >> 20) & 1)) >> 20) - ((127 - 7) << 3);
    // Below 2^-6 the unit is 2^-9: the sum with 2^14 has just that unit in its mantissa.
    let subnormal = (magnitude.bits::<f32>() + 16384.0).bits::<u32>() - 16384.0_f32.to_bits();
    let small = magnitude.less(2.0_f32.powi(-6).to_bits());
    let code = small.select(subnormal, normal).min(0x7e);
    let code = magnitude.greater(0x7f80_0000).select(builder.constant(0x7f), code);
    sign | code
}
