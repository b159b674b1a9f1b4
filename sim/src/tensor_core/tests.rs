//! Arithmetic against the rules written down a second time, element by element.

use proptest::prelude::*;

use super::*;

/// A small deterministic generator of test bits.
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.next() % bound
    }
}

/// How the raw elements of a tile are drawn.
#[derive(Clone, Copy, Debug)]
enum Draw {
    /// Magnitudes around 1, both signs.
    Common,
    /// Every finite code.
    Finite,
    /// Mostly zeros and subnormals.
    Tiny,
    /// Every code, infinities and NaN included.
    Any,
}

fn raw(format: Format, draw: Draw, bits: &mut Bits) -> u32 {
    let (exponent_bits, fraction_bits) = match format {
        Format::F16 => (5, 10),
        Format::Bf16 => (8, 7),
        Format::Tf32 => (8, 23),
        Format::E4m3 => (4, 3),
        Format::E5m2 => (5, 2),
        _ => unreachable!("a float"),
    };
    let bias = (1 << (exponent_bits - 1)) - 1;
    let largest = (1 << exponent_bits) - 1;
    let sign = bits.below(2) << (exponent_bits + fraction_bits);
    let fraction = bits.next() & ((1 << fraction_bits) - 1);
    let exponent = match draw {
        Draw::Common => bias - 4 + bits.below(8),
        Draw::Finite => bits.below(largest),
        Draw::Tiny if bits.below(4) != 0 => 0,
        Draw::Tiny => bits.below(3),
        Draw::Any => bits.below(largest + 1),
    };
    match draw {
        Draw::Tiny if bits.below(2) == 0 => sign,
        _ => sign | exponent << fraction_bits | fraction,
    }
}

fn c(draw: Draw, half: bool, bits: &mut Bits) -> f32 {
    let value = match draw {
        _ if bits.below(8) == 0 => 0.0,
        Draw::Common => f32::from_bits((bits.next() & 0x87ff_ffff) + 0x3c00_0000),
        Draw::Tiny => f32::from_bits(bits.next() & 0x80ff_ffff),
        Draw::Finite => f32::from_bits(bits.next() & 0xbfff_ffff),
        Draw::Any => f32::from_bits(bits.next() << 1 | bits.below(2)),
    };
    if half {
        Format::F16.decode(u32::from(bits.next() as u16) & if let Draw::Any = draw { 0xffff } else { 0xbfff })
    } else {
        value
    }
}

/// Decoded tiles and their raw elements, `[k][lane]`.
fn panel(
    format: Format,
    lanes: usize,
    depth: usize,
    draw: Draw,
    precision: Precision,
    bits: &mut Bits,
) -> Panel {
    let raw: Vec<u32> = (0..lanes * depth).map(|_| raw(format, draw, bits)).collect();
    let mut panel = Panel::new();
    panel.fill(format, lanes, depth, precision, |lane, k| raw[k * lanes + lane]);
    panel
}

/// `value = significand * 2^exponent` with `1 <= |significand| < 2`, or less if the exponent would pass `minimum`.
fn split(value: f64, minimum: i32) -> (f64, i32) {
    if value == 0.0 {
        return (0.0, -126);
    }
    let mut exponent = value.abs().log2().floor() as i32;
    exponent += i32::from(value.abs() >= f64::powi(2.0, exponent + 1));
    exponent -= i32::from(value.abs() < f64::powi(2.0, exponent));
    let exponent = exponent.max(minimum);
    (value / f64::powi(2.0, exponent), exponent)
}

/// The published rule in floating point.
fn transcription(terms: &[(f32, f32)], minimum: (i32, i32), c: f32, rule: Accumulation) -> u32 {
    let special = terms.iter().map(|&(a, b)| f64::from(a) * f64::from(b)).sum::<f64>() + f64::from(c);
    if special.is_nan() {
        return 0x7fff_ffff;
    }
    if special.is_infinite() {
        return (special as f32).to_bits();
    }
    let half = rule.output == Output::F16;
    let mut parts = vec![split(c.into(), if half { -14 } else { -126 })];
    for &(a, b) in terms {
        let ((a, a_exponent), (b, b_exponent)) = (split(a.into(), minimum.0), split(b.into(), minimum.1));
        parts.push((a * b, if a * b == 0.0 { -126 } else { a_exponent + b_exponent }));
    }
    let top = parts.iter().map(|part| part.1).max().expect("at least C");
    let keep = f64::powi(2.0, rule.fraction_bits);
    let sum: f64 =
        parts.iter().map(|part| (part.0 * f64::powi(2.0, part.1 - top) * keep).trunc() / keep).sum();
    let value = sum * f64::powi(2.0, top);
    let (significand, exponent) = split(value, if half { -14 } else { -126 });
    let result = match rule.output {
        Output::F32 => (significand * f64::powi(2.0, 23)).trunc() * f64::powi(2.0, exponent - 23),
        Output::E8m13 => (significand * f64::powi(2.0, 13)).trunc() * f64::powi(2.0, exponent - 13),
        Output::F16 => (significand * f64::powi(2.0, 10)).round_ties_even() * f64::powi(2.0, exponent - 10),
    };
    let result = if half && result.abs() > 65504.0 { result.signum() * f64::INFINITY } else { result };
    if result == 0.0 { 0 } else { (result as f32).to_bits() }
}

fn check_hardware(a: (&Panel, Format), b: (&Panel, Format), c: &[f32], rule: Accumulation) {
    let mut d = c.to_vec();
    multiply_accumulate(a.0, b.0, &mut d, Arithmetic::Hardware(rule));
    let minimum = (a.1.minimum_exponent().into(), b.1.minimum_exponent().into());
    let (rows, columns, depth) = (a.0.lanes(), b.0.lanes(), a.0.depth());
    for row in 0..rows {
        for column in 0..columns {
            let mut expected = c[row * columns + column];
            let terms: Vec<_> = (0..depth)
                .map(|k| (a.0.values()[k * rows + row], b.0.values()[k * columns + column]))
                .collect();
            for group in terms.chunks(rule.group) {
                expected = f32::from_bits(transcription(group, minimum, expected, rule));
            }
            let result = d[row * columns + column];
            assert_eq!(result.to_bits(), expected.to_bits(), "{result} {expected} {terms:?} {rule:?}");
        }
    }
}

/// Every combination of generation, instruction, format and depth that PTX has.
fn shapes() -> Vec<(Accumulation, Format, usize)> {
    use Format::*;
    use Generation::*;
    let mut shapes = vec![];
    for generation in [Ampere, Ada, Hopper, Blackwell] {
        for (format, depths) in [
            (F16, [4, 8, 16]),
            (Bf16, [8, 8, 16]),
            (Tf32, [4, 8, 8]),
            (E4m3, [16, 32, 32]),
            (E5m2, [16, 32, 32]),
        ] {
            for depth in depths {
                for half in [false, format != Bf16 && format != Tf32] {
                    let mut push = |instruction| {
                        shapes.push((
                            Accumulation::new(generation, instruction, format, depth, half),
                            format,
                            depth,
                        ));
                    };
                    push(Instruction::Mma);
                    if generation == Hopper && depth * format.bits() as usize == 256 {
                        push(Instruction::Wgmma);
                    }
                }
            }
        }
    }
    shapes
}

#[test]
fn hardware_follows_the_published_rule() {
    let bits = &mut Bits(1);
    let (mut tiles, mut round) = (0, 0);
    let shapes = shapes();
    while tiles < 5600 {
        for &(rule, format, depth) in &shapes {
            let draw = [Draw::Common, Draw::Common, Draw::Finite, Draw::Tiny, Draw::Any][round % 5];
            let b_format = match format {
                Format::E4m3 if round % 3 == 0 => Format::E5m2,
                format => format,
            };
            let columns = [8, 8, 16, 24, 8, 40, 8][round % 7];
            let a = panel(format, 8, depth, draw, Precision::Hardware, bits);
            let b = panel(b_format, columns, depth, draw, Precision::Hardware, bits);
            let c: Vec<f32> = (0..8 * columns).map(|_| c(draw, rule.output == Output::F16, bits)).collect();
            check_hardware((&a, format), (&b, b_format), &c, rule);
            tiles += 1;
        }
        round += 1;
    }
    assert!(round > 40);
}

#[test]
fn hardware_follows_the_rule_on_a_wgmma_tile() {
    let bits = &mut Bits(2);
    for (format, columns) in [(Format::E4m3, 264), (Format::Bf16, 104)] {
        let depth = 256 / format.bits() as usize;
        let rule = Accumulation::new(Generation::Hopper, Instruction::Wgmma, format, depth, false);
        let a = panel(format, 64, depth, Draw::Common, Precision::Hardware, bits);
        let b = panel(format, columns, depth, Draw::Common, Precision::Hardware, bits);
        let c: Vec<f32> = (0..64 * columns).map(|_| c(Draw::Common, false, bits)).collect();
        check_hardware((&a, format), (&b, format), &c, rule);
    }
}

proptest! {
    #[test]
    fn hardware_follows_the_rule_on_any_bytes(
        a in prop::collection::vec(any::<u8>(), 256),
        b in prop::collection::vec(any::<u8>(), 256),
        c in prop::collection::vec(any::<u32>(), 64),
        e5m2 in any::<bool>(),
    ) {
        let format = if e5m2 { Format::E5m2 } else { Format::E4m3 };
        let rule = Accumulation::new(Generation::Hopper, Instruction::Wgmma, format, 32, false);
        let (mut a_panel, mut b_panel) = (Panel::new(), Panel::new());
        a_panel.fill(format, 8, 32, Precision::Hardware, |lane, k| a[k * 8 + lane].into());
        b_panel.fill(format, 8, 32, Precision::Hardware, |lane, k| b[k * 8 + lane].into());
        let c: Vec<f32> = c.into_iter().map(f32::from_bits).collect();
        check_hardware((&a_panel, format), (&b_panel, format), &c, rule);
    }
}

/// D of an element whose products are `products`, with `rest` for what is left of k, on Hopper's wgmma.
fn hopper(format: Format, c: f32, products: &[(f32, f32)]) -> f32 {
    let depth = 256 / format.bits() as usize;
    let encode = |value: f32| {
        (0..1 << format.bits()).find(|&raw| format.decode(raw) == value).expect("the value is representable")
    };
    let (mut a, mut b) = (Panel::new(), Panel::new());
    let product = |k: usize| products.get(k).copied().unwrap_or((0.0, 0.0));
    a.fill(format, 8, depth, Precision::Hardware, |_, k| encode(product(k).0));
    b.fill(format, 8, depth, Precision::Hardware, |_, k| encode(product(k).1));
    let mut d = [c; 64];
    let rule = Accumulation::new(Generation::Hopper, Instruction::Wgmma, format, depth, false);
    multiply_accumulate(&a, &b, &mut d, Arithmetic::Hardware(rule));
    assert!(d.iter().all(|value| value.to_bits() == d[0].to_bits()));
    d[0]
}

#[test]
fn golden_8_bit() {
    let hopper = |c, products: &[_]| hopper(Format::E4m3, c, products);
    assert_eq!(hopper(8192.0, &[(1.0, 0.5); 32]), 8192.0);
    assert_eq!(hopper(8192.0, &[(1.0, 1.0); 32]), 8224.0);
    assert_eq!(hopper(8191.75, &[]), 8191.5);
    let mut products = [(1.0, 0.5); 32];
    products[31] = (1.0, -0.5);
    assert_eq!(hopper(-8192.0, &products), -8192.0);
}

#[test]
fn golden_16_bit() {
    let power = |exponent| f32::powi(2.0, exponent);
    let hopper = |c, products: &[_]| hopper(Format::Bf16, c, products).to_bits();
    assert_eq!(hopper(1.0, &[(1.5, power(-24))]), 0x3f80_0000);
    assert_eq!(hopper(1.0, &[(1.0, power(-26)); 16]), 0x3f80_0000);
    assert_eq!(hopper(1.0, &[(1.0, power(-25)); 16]), 0x3f80_0004);
    assert_eq!(hopper(-1.0, &[(1.0, power(-25))]), 0xbf7f_ffff);
}

#[test]
fn golden_specials() {
    let infinity = f32::INFINITY;
    let hopper = |c, products: &[_]| hopper(Format::Bf16, c, products).to_bits();
    assert_eq!(hopper(infinity, &[]), 0x7f80_0000);
    assert_eq!(hopper(-infinity, &[(infinity, 1.0)]), 0x7fff_ffff);
    assert_eq!(hopper(0.0, &[(infinity, 0.0)]), 0x7fff_ffff);
    assert_eq!(hopper(f32::from_bits(0xff80_0001), &[]), 0x7fff_ffff);
    assert_eq!(hopper(-0.0, &[]), 0);
    // Finite products whose sum is beyond f32.
    assert_eq!(hopper(0.0, &[(f32::powi(2.0, 100), f32::powi(2.0, 28))]), 0x7f80_0000);
    // A product of 2^-130 keeps its exponent, and the result is a subnormal.
    assert_eq!(hopper(0.0, &[(f32::powi(2.0, -100), f32::powi(2.0, -30))]), 1 << 19);
}

#[test]
fn generations_differ_where_the_sources_say() {
    use Generation::*;
    let rule = |generation, instruction, format, depth| {
        let rule = Accumulation::new(generation, instruction, format, depth, false);
        (rule.fraction_bits, rule.group, rule.output)
    };
    assert_eq!(rule(Ampere, Instruction::Mma, Format::F16, 16), (24, 8, Output::F32));
    assert_eq!(rule(Ada, Instruction::Mma, Format::E4m3, 32), (13, 16, Output::E8m13));
    assert_eq!(rule(Ada, Instruction::Mma, Format::Tf32, 8), (24, 4, Output::F32));
    assert_eq!(rule(Hopper, Instruction::Mma, Format::E5m2, 32), (25, 16, Output::F32));
    assert_eq!(rule(Hopper, Instruction::Mma, Format::Bf16, 16), (25, 16, Output::F32));
    assert_eq!(rule(Hopper, Instruction::Wgmma, Format::E4m3, 32), (13, 32, Output::E8m13));
    assert_eq!(rule(Blackwell, Instruction::Mma, Format::E4m3, 32), (25, 32, Output::F32));
    assert_eq!(
        [70, 75, 80, 86, 89, 90, 100, 120].map(Generation::of),
        [None, None, Some(Ampere), Some(Ampere), Some(Ada), Some(Hopper), Some(Blackwell), Some(Blackwell),]
    );
}

#[test]
fn exact_is_a_chain_of_fused_multiply_adds() {
    let bits = &mut Bits(3);
    for round in 0..200 {
        let format = [Format::F16, Format::Bf16, Format::Tf32, Format::E4m3, Format::E5m2][round % 5];
        let draw = [Draw::Common, Draw::Finite, Draw::Tiny, Draw::Any][round % 4];
        let (rows, columns) = ([8, 16, 64][round % 3], [8, 16, 24, 56, 128][round % 5]);
        let half = round % 2 == 0;
        let a = panel(format, rows, 16, draw, Precision::Exact, bits);
        let b = panel(format, columns, 16, draw, Precision::Exact, bits);
        let c: Vec<f32> = (0..rows * columns).map(|_| c(draw, half, bits)).collect();
        let mut d = c.clone();
        multiply_accumulate(&a, &b, &mut d, Arithmetic::Exact { half });
        for (index, (d, c)) in d.iter().zip(&c).enumerate() {
            let (row, column) = (index / columns, index % columns);
            let terms = (0..16).map(|k| (a.values()[k * rows + row], b.values()[k * columns + column]));
            let mut expected = terms.fold(*c, |sum, (a, b)| a.mul_add(b, sum));
            if half {
                expected = nearest_f16(expected);
            }
            if expected.is_nan() {
                expected = CANONICAL_NAN;
            }
            assert_eq!(d.to_bits(), expected.to_bits(), "{expected} {d}");
        }
    }
}

/// The f16 nearest to a value, ties to even, by search.
fn nearest_f16(value: f32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    let magnitude = f64::from(value.abs());
    // 65536 stands for infinity and rounds like the next number.
    let code = |code: u32| if code == 0x7c00 { 65536.0 } else { f64::from(Format::F16.decode(code)) };
    let (mut below, mut above) = (0, 0x7c00);
    while above - below > 1 {
        let middle = (below + above) / 2;
        if code(middle) <= magnitude { below = middle } else { above = middle }
    }
    let (down, up) = (magnitude - code(below), code(above) - magnitude);
    let nearest = if down < up || (down == up && below % 2 == 0) { below } else { above };
    Format::F16.decode(nearest).copysign(value)
}

#[test]
fn f16_codes_survive_packing() {
    for code in 0..=0xffff_u16 {
        let value = Format::F16.decode(code.into());
        assert_eq!(f16_bits(value), if value.is_nan() { 0x7fff } else { code });
    }
}

#[test]
fn exchanging_the_operands_transposes_the_result() {
    let bits = &mut Bits(4);
    for precision in [Precision::Exact, Precision::Hardware] {
        let a = panel(Format::E4m3, 16, 32, Draw::Any, precision, bits);
        let b = panel(Format::E4m3, 40, 32, Draw::Common, precision, bits);
        let arithmetic =
            Arithmetic::new(precision, Generation::Hopper, Instruction::Wgmma, Format::E4m3, 32, false);
        let (mut d, mut transposed) = ([0.5; 640], [0.5; 640]);
        multiply_accumulate(&a, &b, &mut d, arithmetic);
        multiply_accumulate(&b, &a, &mut transposed, arithmetic);
        for index in 0..640 {
            assert_eq!(d[index].to_bits(), transposed[index % 40 * 16 + index / 40].to_bits());
        }
    }
}

#[test]
fn a_negated_panel_subtracts() {
    let bits = &mut Bits(5);
    let mut a = panel(Format::Bf16, 8, 16, Draw::Common, Precision::Hardware, bits);
    let b = panel(Format::Bf16, 8, 16, Draw::Common, Precision::Hardware, bits);
    let arithmetic =
        Arithmetic::new(Precision::Hardware, Generation::Hopper, Instruction::Wgmma, Format::Bf16, 16, false);
    let (mut plus, mut minus) = ([1.5; 64], [-1.5; 64]);
    multiply_accumulate(&a, &b, &mut plus, arithmetic);
    a.negate();
    multiply_accumulate(&a, &b, &mut minus, arithmetic);
    assert!(plus.iter().zip(minus).all(|(plus, minus)| *plus == -minus));
}

#[test]
fn integers_wrap_or_saturate() {
    let bits = &mut Bits(6);
    let mut sums = vec![];
    for (a_format, b_format, depth) in [
        (Format::S8, Format::S8, 32),
        (Format::U8, Format::S8, 16),
        (Format::U8, Format::U8, 32),
        (Format::S4, Format::U4, 64),
    ] {
        let mut draw = |lanes: usize| -> Vec<u32> { (0..lanes * depth).map(|_| bits.next()).collect() };
        let (a_raw, b_raw) = (draw(16), draw(8));
        let (mut a, mut b) = (Panel::new(), Panel::new());
        a.fill(a_format, 16, depth, Precision::Exact, |lane, k| a_raw[k * 16 + lane]);
        b.fill(b_format, 8, depth, Precision::Exact, |lane, k| b_raw[k * 8 + lane]);
        let integer = |format, raw: u32| match format {
            Format::S8 => i64::from(raw as i8),
            Format::U8 => i64::from(raw as u8),
            Format::S4 => i64::from((raw as i8) << 4 >> 4),
            _ => i64::from(raw & 15),
        };
        for (start, saturate) in
            [(i32::MAX - 1000, true), (i32::MIN + 1000, true), (i32::MAX - 1000, false), (7, false)]
        {
            let mut d = [start; 128];
            multiply_accumulate_integer(&a, &b, &mut d, saturate, &mut sums);
            for (index, d) in d.into_iter().enumerate() {
                let (row, column) = (index / 8, index % 8);
                let sum: i64 = (0..depth)
                    .map(|k| {
                        integer(a_format, a_raw[k * 16 + row]) * integer(b_format, b_raw[k * 8 + column])
                    })
                    .sum();
                let wide = i64::from(start) + sum;
                let expected =
                    if saturate { wide.clamp(i32::MIN.into(), i32::MAX.into()) as i32 } else { wide as i32 };
                assert_eq!(d, expected);
            }
        }
    }
}

#[test]
fn single_bits_count() {
    let (a, b) = ([0b1100, u32::MAX, 1, 0], [0b1010, u32::MAX, 3, 1 << 31]);
    let mut d = [10; 4];
    multiply_accumulate_bits(&a, &b, 2, &mut d, BitOperation::Xor);
    // 1100^1010 has 2 ones, MAX^MAX none; 1100^0011 has 4, MAX^2^31 has 31; 1^1010 has 3, 0^MAX 32; 1^3 one, 2^31 one.
    assert_eq!(d, [12, 45, 45, 12]);
    let mut d = [i32::MAX; 4];
    multiply_accumulate_bits(&a, &b, 2, &mut d, BitOperation::And);
    assert_eq!(d, [33, 1, 0, 1].map(|ones| i32::MAX.wrapping_add(ones)));
}

#[test]
fn doubles_are_a_chain() {
    let value = |index: usize| ((index * 37 % 101) as f64 - 50.0) / 7.0;
    let a: Vec<f64> = (0..16 * 8).map(value).collect();
    let b: Vec<f64> = (100..100 + 8 * 8).map(value).collect();
    let mut d = [1.0 / 3.0; 128];
    multiply_accumulate_double(&a, &b, 16, 8, &mut d);
    for (index, d) in d.into_iter().enumerate() {
        let (row, column) = (index / 8, index % 8);
        let expected = (0..8).fold(1.0 / 3.0, |sum, k| f64::mul_add(a[k * 16 + row], b[k * 8 + column], sum));
        assert_eq!(d, expected);
    }
    let mut d = [f64::NAN; 64];
    multiply_accumulate_double(&b, &b, 8, 8, &mut d);
    assert!(d.iter().all(|d| d.to_bits() == 0xfff8_0000_0000_0000));
}
