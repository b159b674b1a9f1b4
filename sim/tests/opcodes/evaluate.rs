//! What scalar instructions compute, written down once more from the PTX ISA, on the host's numbers.

use half::{bf16, f16};

/// The result of an opcode, in canonical order and split at its dots, on the bits of its sources.
///
/// # Panics
///
/// If there is no rule for the opcode.
pub fn evaluate(words: &[&str], arguments: &[u128]) -> u128 {
    let ty = words[words.len() - 1];
    match (words[0], ty) {
        ("setp", _) => u128::from(compares(words[1], ty, arguments[0], arguments[1])),
        ("selp", _) => arguments[usize::from(arguments[2] == 0)],
        ("mov", _) => arguments[0],
        ("cvt", _) => convert(words, arguments),
        (_, "f32") => {
            let [a, b, c] =
                std::array::from_fn(|index| arguments.get(index).map_or(0.0, |bits| f32_of(*bits)));
            u128::from(single(words[0], a, b, c).to_bits())
        }
        (_, "bf16" | "bf16x2") => each_half(arguments, |values| {
            let [a, b, c] = std::array::from_fn(|index| values.get(index).map_or(0.0, |bits| bf16_of(*bits)));
            // Exact in 64 bits for numbers of moderate size, so rounded once.
            bf16::from_f64(double(words[0], a, b, c)).to_bits()
        }),
        _ => integer(words, ty, arguments),
    }
}

fn f32_of(bits: u128) -> f32 {
    f32::from_bits(bits as u32)
}

fn bf16_of(bits: u16) -> f64 {
    bf16::from_bits(bits).to_f64()
}

/// Applies a function to the low halves of the sources, and to the next 16 bits.
fn each_half(arguments: &[u128], function: impl Fn(&[u16]) -> u16) -> u128 {
    let half = |shift: u32| {
        let values: Vec<u16> = arguments.iter().map(|bits| (bits >> shift) as u16).collect();
        u128::from(function(&values)) << shift
    };
    half(0) | half(16)
}

fn single(name: &str, a: f32, b: f32, c: f32) -> f32 {
    match name {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" => a / b,
        "fma" => a.mul_add(b, c),
        "neg" => -a,
        "abs" => a.abs(),
        "max" => a.max(b),
        "rcp" => 1.0 / a,
        "sqrt" => a.sqrt(),
        "ex2" => a.exp2(),
        "lg2" => a.log2(),
        other => panic!("no rule for {other} of f32"),
    }
}

fn double(name: &str, a: f64, b: f64, c: f64) -> f64 {
    match name {
        "add" => a + b,
        "mul" => a * b,
        "fma" => a.mul_add(b, c),
        other => panic!("no rule for {other} of bf16"),
    }
}

fn bits_of(ty: &str) -> u32 {
    ty[1..].parse().unwrap_or_else(|_| panic!("no integer type {ty}"))
}

/// An integer of a type, by its bits.
fn value_of(ty: &str, bits: u128) -> i128 {
    let unused = 128 - bits_of(ty);
    let shifted = bits << unused;
    if ty.starts_with('s') { shifted.cast_signed() >> unused } else { (shifted >> unused).cast_signed() }
}

fn integer(words: &[&str], ty: &str, arguments: &[u128]) -> u128 {
    if ty == "pred" {
        let [a, b] = [0, 1].map(|index| arguments.get(index).is_some_and(|bits| *bits != 0));
        return u128::from(match words[0] {
            "and" => a && b,
            "or" => a || b,
            "xor" => a != b,
            "not" => !a,
            other => panic!("no rule for {other} of predicates"),
        });
    }
    let bits = bits_of(ty);
    let [a, b, c] = std::array::from_fn(|index| arguments.get(index).map_or(0, |bits| value_of(ty, *bits)));
    let [raw_a, raw_b, raw_c, raw_d] =
        std::array::from_fn(|index| arguments.get(index).copied().unwrap_or(0));
    let wide = || a.wrapping_mul(b).cast_unsigned();
    let field = |length: u128| if length >= 128 { u128::MAX } else { (1u128 << length) - 1 };
    match (words[0], words[1]) {
        ("add", _) => (a + b).cast_unsigned(),
        ("sub", _) => (a - b).cast_unsigned(),
        ("mul", "hi") if ty.starts_with('s') => (a * b).cast_unsigned() >> bits,
        ("mul", "hi") => raw_a.wrapping_mul(raw_b) >> bits,
        ("mul", _) => wide(),
        ("mad", "wide") => wide().wrapping_add(raw_c),
        ("mad", _) => wide().wrapping_add(c.cast_unsigned()),
        ("div", _) => (a / b).cast_unsigned(),
        ("rem", _) => (a % b).cast_unsigned(),
        ("neg", _) => (-a).cast_unsigned(),
        ("min", _) => a.min(b).cast_unsigned(),
        ("max", _) => a.max(b).cast_unsigned(),
        ("and", _) => raw_a & raw_b,
        ("or", _) => raw_a | raw_b,
        ("xor", _) => raw_a ^ raw_b,
        ("not", _) => !raw_a,
        ("shl", _) => raw_a << raw_b.min(127) & field(u128::from(bits)),
        ("shr", _) => (a >> raw_b.min(127)).cast_unsigned(),
        ("popc", _) => u128::from(raw_a.count_ones()),
        ("brev", _) => raw_a.reverse_bits() >> (128 - bits),
        ("bfind", mode) => match 127u32.checked_sub(raw_a.leading_zeros()) {
            None => u128::from(u32::MAX),
            Some(position) => u128::from(if mode == "shiftamt" { bits - 1 - position } else { position }),
        },
        ("bfe", _) => extract(ty, raw_a, raw_b as u32, raw_c as u32),
        ("bfi", _) => {
            let mask = field(raw_d) << raw_c & field(u128::from(bits));
            raw_b & !mask | raw_a << raw_c & mask
        }
        ("prmt", _) => {
            let bytes = (raw_b << 32 | raw_a) as u64;
            (0..4).fold(0, |word, at| {
                let selector = raw_c >> (4 * at) & 0xf;
                let byte = (bytes >> (8 * (selector & 7))) as u8;
                let byte = if selector & 8 != 0 { (byte.cast_signed() >> 7).cast_unsigned() } else { byte };
                word | u128::from(byte) << (8 * at)
            })
        }
        (other, _) => panic!("no rule for {other} of {ty}"),
    }
}

/// The field of so many bits from a position on; beyond the number, and above the field, is its sign.
fn extract(ty: &str, a: u128, position: u32, length: u32) -> u128 {
    let bits = bits_of(ty);
    let bit = |at: u32| a >> at & 1;
    let sign =
        if ty.starts_with('u') || length == 0 { 0 } else { bit((position + length - 1).min(bits - 1)) };
    (0..bits).fold(0, |field, at| {
        let inside = at < length && position + at < bits;
        field | if inside { bit(position + at) } else { sign } << at
    })
}

fn compares(relation: &str, ty: &str, a: u128, b: u128) -> bool {
    let order = if ty == "f32" {
        f32_of(a).partial_cmp(&f32_of(b))
    } else {
        Some(value_of(ty, a).cmp(&value_of(ty, b)))
    };
    match relation {
        "eq" => order.is_some_and(std::cmp::Ordering::is_eq),
        "ne" => order.is_some_and(std::cmp::Ordering::is_ne),
        "lt" => order.is_some_and(std::cmp::Ordering::is_lt),
        "le" => order.is_some_and(std::cmp::Ordering::is_le),
        "gt" => order.is_some_and(std::cmp::Ordering::is_gt),
        "ge" => order.is_some_and(std::cmp::Ordering::is_ge),
        "equ" => order.is_none_or(std::cmp::Ordering::is_eq),
        "neu" => order.is_none_or(std::cmp::Ordering::is_ne),
        other => panic!("no relation {other}"),
    }
}

fn convert(words: &[&str], arguments: &[u128]) -> u128 {
    let (to, from) = (words[words.len() - 2], words[words.len() - 1]);
    let a = arguments[0];
    let pair = |encode: fn(f32) -> u32, bits: u32| {
        u128::from(encode(f32_of(a))) << bits | u128::from(encode(f32_of(arguments[1])))
    };
    match (to, from) {
        ("f32", "bf16") => u128::from(bf16::from_bits(a as u16).to_f32().to_bits()),
        ("f32", "f16") => u128::from(f16::from_bits(a as u16).to_f32().to_bits()),
        ("f32", "s32") => {
            u128::from((a as u32).cast_signed().to_string().parse::<f32>().expect("a number").to_bits())
        }
        ("bf16", "f32") => u128::from(bf16::from_f32(f32_of(a)).to_bits()),
        ("f16", "f32") => u128::from(f16::from_f32(f32_of(a)).to_bits()),
        ("bf16x2", "f32") => pair(|value| bf16::from_f32(value).to_bits().into(), 16),
        ("e4m3x2", "f32") => pair(|value| encode_e4m3(value).into(), 8),
        ("f16x2", "e4m3x2") => {
            let half = |byte: u8| u128::from(f16::from_f32(decode_e4m3(byte)).to_bits());
            half((a >> 8) as u8) << 16 | half(a as u8)
        }
        _ => value_of(from, a).cast_unsigned(),
    }
}

/// The number that an 8-bit code with 4 bits of exponent stands for.
pub fn decode_e4m3(code: u8) -> f32 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-9),
        15 if code & 7 == 7 => f32::NAN,
        _ => (8.0 + fraction) * 2f32.powi(exponent - 10),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The code nearest to a number, of two the even one; beyond the range the largest.
pub fn encode_e4m3(value: f32) -> u8 {
    let distance = |code: &u8| (decode_e4m3(*code) - value.abs()).abs();
    let nearest = (0..0x7f).min_by(|a, b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))));
    nearest.expect("there are codes") | u8::from(value.is_sign_negative()) << 7
}
