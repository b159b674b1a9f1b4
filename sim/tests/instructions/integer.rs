//! Integer arithmetic (PTX ISA 9.7.1, 9.7.2).

use crate::harness::{Case, Kind, check, check_on};
use Kind::{I16, I32, I64};
use rorqual_sim::Rule;

/// The kind, width and signedness of an integer type.
fn types() -> [(&'static str, Kind, bool); 6] {
    [
        ("u16", I16, false),
        ("s16", I16, true),
        ("u32", I32, false),
        ("s32", I32, true),
        ("u64", I64, false),
        ("s64", I64, true),
    ]
}

/// The number that the low bits are.
fn number(bits: u64, width: u32, signed: bool) -> i128 {
    let unused = 64 - width;
    if signed {
        i128::from((bits << unused).cast_signed() >> unused)
    } else {
        i128::from(bits << unused >> unused)
    }
}

fn cut(value: i128, width: u32) -> u64 {
    (value as u64) & (u64::MAX >> (64 - width))
}

fn clamp(value: i128, width: u32, signed: bool) -> u64 {
    let (least, most) =
        if signed { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) };
    cut(value.clamp(least, most), width)
}

/// Checks `opcode.type` for each type that `accepts` names, on exact numbers of any size.
fn check_types(opcode: &str, count: usize, accepts: &str, expected: impl Fn(&[i128]) -> i128) {
    check_widths(opcode, count, accepts, |x, _, _| expected(x));
}

/// The same where the result depends on the width and signedness of the type.
fn check_widths(opcode: &str, count: usize, accepts: &str, expected: impl Fn(&[i128], u32, bool) -> i128) {
    for (name, kind, signed) in
        types().into_iter().filter(|(name, ..)| accepts.split(' ').any(|word| word == *name))
    {
        let width = kind.bits();
        check(&format!("{opcode}.{name}"), kind, &vec![kind; count], |x| {
            let x: Vec<i128> = x.iter().map(|x| number(*x, width, signed)).collect();
            cut(expected(&x, width, signed), width)
        });
    }
}

const ALL: &str = "u16 s16 u32 s32 u64 s64";
const SIGNED: &str = "s16 s32 s64";

#[test]
fn sums_and_differences() {
    check_types("add", 2, ALL, |x| x[0] + x[1]);
    check_types("sub", 2, ALL, |x| x[0] - x[1]);
    check("add.sat.s32", I32, &[I32, I32], |x| {
        clamp(number(x[0], 32, true) + number(x[1], 32, true), 32, true)
    });
    check("sub.sat.s32", I32, &[I32, I32], |x| {
        clamp(number(x[0], 32, true) - number(x[1], 32, true), 32, true)
    });
    check_types("abs", 1, SIGNED, |x| x[0].abs());
    check_types("neg", 1, SIGNED, |x| -x[0]);
    check_types("sad", 3, ALL, |x| (x[0] - x[1]).abs() + x[2]);
    check_types("min", 2, ALL, |x| x[0].min(x[1]));
    check_types("max", 2, ALL, |x| x[0].max(x[1]));
    check_types("min.relu", 2, "s32", |x| x[0].min(x[1]).max(0));
    check_types("max.relu", 2, "s32", |x| x[0].max(x[1]).max(0));
}

#[test]
fn packed_integers() {
    let each = |x: &[u64], width: u32, signed: bool, function: fn(i128, i128) -> i128, saturates: bool| {
        (0..32 / width).fold(0, |packed, index| {
            let [a, b] = [x[0], *x.get(1).unwrap_or(&0)].map(|x| number(x >> (index * width), width, signed));
            let value = function(a, b);
            let element = if saturates { clamp(value, width, signed) } else { cut(value, width) };
            packed | element << (index * width)
        })
    };
    for (name, width, signed) in [("u16x2", 16, false), ("s16x2", 16, true)] {
        check(&format!("add.{name}"), I32, &[I32, I32], |x| each(x, width, signed, |a, b| a + b, false));
        check(&format!("min.{name}"), I32, &[I32, I32], |x| each(x, width, signed, i128::min, false));
        check(&format!("max.{name}"), I32, &[I32, I32], |x| each(x, width, signed, i128::max, false));
    }
    check("min.relu.s16x2", I32, &[I32, I32], |x| each(x, 16, true, |a, b| a.min(b).max(0), false));
    check("max.relu.s16x2", I32, &[I32, I32], |x| each(x, 16, true, |a, b| a.max(b).max(0), false));
    let newest = "sm_120f";
    for (name, width, signed) in
        [("u16x2", 16, false), ("s16x2", 16, true), ("u8x4", 8, false), ("s8x4", 8, true)]
    {
        check_on(newest, &format!("add.sat.{name}"), I32, &[I32, I32], |x| {
            each(x, width, signed, |a, b| a + b, true)
        });
    }
    for (name, signed) in [("u8x4", false), ("s8x4", true)] {
        check_on(newest, &format!("add.{name}"), I32, &[I32, I32], |x| {
            each(x, 8, signed, |a, b| a + b, false)
        });
        check_on(newest, &format!("sub.{name}"), I32, &[I32, I32], |x| {
            each(x, 8, signed, |a, b| a - b, false)
        });
        check_on(newest, &format!("sub.sat.{name}"), I32, &[I32, I32], |x| {
            each(x, 8, signed, |a, b| a - b, true)
        });
        check_on(newest, &format!("min.{name}"), I32, &[I32, I32], |x| each(x, 8, signed, i128::min, false));
        check_on(newest, &format!("max.{name}"), I32, &[I32, I32], |x| each(x, 8, signed, i128::max, false));
    }
    check_on(newest, "min.relu.s8x4", I32, &[I32, I32], |x| each(x, 8, true, |a, b| a.min(b).max(0), false));
    check_on(newest, "neg.s8x4", I32, &[I32], |x| each(x, 8, true, |a, _| -a, false));
    check_on(newest, "add.sat.u32", I32, &[I32, I32], |x| (x[0] + x[1]).min(u64::from(u32::MAX)));
}

#[test]
fn products() {
    check_types("mul.lo", 2, ALL, |x| x[0].wrapping_mul(x[1]));
    check_widths("mul.hi", 2, ALL, high);
    check_types("mad.lo", 3, ALL, |x| x[0].wrapping_mul(x[1]).wrapping_add(x[2]));
    check_widths("mad.hi", 3, ALL, |x, width, signed| high(x, width, signed) + x[2]);
    check("mad.hi.sat.s32", I32, &[I32, I32, I32], |x| {
        let [a, b, c] = [x[0], x[1], x[2]].map(|x| number(x, 32, true));
        clamp(((a * b) >> 32) + c, 32, true)
    });
    for (name, kind, wide, signed) in
        [("u16", I16, I32, false), ("s16", I16, I32, true), ("u32", I32, I64, false), ("s32", I32, I64, true)]
    {
        let width = kind.bits();
        let product = |x: &[u64]| number(x[0], width, signed) * number(x[1], width, signed);
        check(&format!("mul.wide.{name}"), wide, &[kind, kind], |x| cut(product(x), wide.bits()));
        check(&format!("mad.wide.{name}"), wide, &[kind, kind, wide], |x| {
            cut(product(x) + i128::from(x[2]), wide.bits())
        });
    }
    for (name, signed) in [("u32", false), ("s32", true)] {
        let product = |x: &[u64]| number(x[0], 24, signed) * number(x[1], 24, signed);
        check(&format!("mul24.lo.{name}"), I32, &[I32, I32], |x| cut(product(x), 32));
        check(&format!("mul24.hi.{name}"), I32, &[I32, I32], |x| cut(product(x) >> 16, 32));
        check(&format!("mad24.lo.{name}"), I32, &[I32, I32, I32], |x| cut(product(x) + i128::from(x[2]), 32));
        check(&format!("mad24.hi.{name}"), I32, &[I32, I32, I32], |x| {
            cut((product(x) >> 16) + i128::from(x[2]), 32)
        });
    }
    check("mad24.hi.sat.s32", I32, &[I32, I32, I32], |x| {
        let product = number(x[0], 24, true) * number(x[1], 24, true);
        clamp(number(cut(product >> 16, 32), 32, true) + number(x[2], 32, true), 32, true)
    });
}

/// The upper half of a product of two numbers of the width, whose 128 bits hold it but for unsigned 64-bit factors.
fn high(x: &[i128], width: u32, signed: bool) -> i128 {
    if width == 64 && !signed {
        return ((x[0].cast_unsigned() * x[1].cast_unsigned()) >> 64).cast_signed();
    }
    (x[0] * x[1]) >> width
}

#[test]
fn quotients() {
    check_types("div", 2, "u16 s16 u32 s32 u64 s64", |x| if x[1] == 0 { -1 } else { x[0] / x[1] });
    check_types("rem", 2, "u16 s16 u32 s32 u64 s64", |x| if x[1] == 0 { -1 } else { x[0] % x[1] });
    let mut case = Case::new("div.s32", I32, &[I32, I32]);
    case.options.report_division_by_zero = true;
    let mut inputs = vec![vec![7, 2]; 32];
    assert_eq!(case.run(&inputs).expect("no fault"), [3; 32]);
    inputs[5][1] = 0;
    let report = case.run(&inputs).expect_err("a division by zero");
    assert_eq!(report.rule, Rule::DivisionByZero);
    assert!(report.message.contains("lane 5"), "{report}");
}

#[test]
fn dot_products() {
    let types = [("u32", false), ("s32", true)];
    for (a_name, a_signed) in types {
        for (b_name, b_signed) in types {
            check(&format!("dp4a.{a_name}.{b_name}"), I32, &[I32, I32, I32], |x| {
                let terms = (0..4)
                    .map(|k| number(x[0] >> (8 * k), 8, a_signed) * number(x[1] >> (8 * k), 8, b_signed));
                cut(i128::from(x[2]) + terms.sum::<i128>(), 32)
            });
            for (mode, shift) in [("lo", 0), ("hi", 16)] {
                check(&format!("dp2a.{mode}.{a_name}.{b_name}"), I32, &[I32, I32, I32], |x| {
                    let terms = (0..2).map(|k| {
                        number(x[0] >> (16 * k), 16, a_signed) * number(x[1] >> (shift + 8 * k), 8, b_signed)
                    });
                    cut(i128::from(x[2]) + terms.sum::<i128>(), 32)
                });
            }
        }
    }
}

/// Video instructions: every element on its own, then clamped and packed, or added up.
#[test]
fn video_instructions() {
    type Function = fn(i128, i128) -> i128;
    let functions: [([&str; 2], Function); 6] = [
        (["vadd2.u32.u32.u32", "vadd4.u32.u32.u32"], |a, b| a + b),
        (["vsub2.u32.u32.u32", "vsub4.u32.u32.u32"], |a, b| a - b),
        (["vavrg2.u32.u32.u32", "vavrg4.u32.u32.u32"], |a, b| (a + b + i128::from(a + b >= 0)).div_euclid(2)),
        (["vabsdiff2.u32.u32.u32", "vabsdiff4.u32.u32.u32"], |a, b| (a - b).abs()),
        (["vmin2.u32.u32.u32", "vmin4.u32.u32.u32"], i128::min),
        (["vmax2.u32.u32.u32", "vmax4.u32.u32.u32"], i128::max),
    ];
    for (opcodes, function) in functions {
        for (opcode, elements) in opcodes.into_iter().zip([2, 4]) {
            for signs in 0..8 {
                check_video(opcode, elements, [0, 1, 2].map(|bit| signs >> bit & 1 != 0), function);
            }
        }
    }
}

/// A video instruction with elements that are signed or not, of result and operands.
fn check_video(opcode: &str, elements: u32, signed: [bool; 3], function: fn(i128, i128) -> i128) {
    let width = 32 / elements;
    let results = |x: &[u64]| element_results(x, elements, [signed[1], signed[2]], function);
    let name = opcode.split('.').next().expect("a name");
    let [result, a, b] = signed.map(|signed| if signed { "s32" } else { "u32" });
    let opcode = format!("{name}.{result}.{a}.{b}");
    check(&opcode, I32, &[I32, I32, I32], |x| packed(results(x), width));
    check(&format!("{opcode}.sat"), I32, &[I32, I32, I32], |x| {
        let half = 1 << (width - 1);
        let (least, most) = if signed[0] { (-half, half - 1) } else { (0, 2 * half - 1) };
        packed(results(x).into_iter().map(|result| result.clamp(least, most)).collect(), width)
    });
    check(&format!("{opcode}.add"), I32, &[I32, I32, I32], |x| added(results(x), x[2]));
}

/// Comparisons of every element: ones and zeros, or how many hold.
#[test]
fn video_comparisons() {
    let comparisons: [([&str; 2], fn(i128, i128) -> bool); 6] = [
        (["vset2.u32.u32.eq", "vset4.u32.u32.eq"], |a, b| a == b),
        (["vset2.u32.u32.ne", "vset4.u32.u32.ne"], |a, b| a != b),
        (["vset2.u32.u32.lt", "vset4.u32.u32.lt"], |a, b| a < b),
        (["vset2.u32.u32.le", "vset4.u32.u32.le"], |a, b| a <= b),
        (["vset2.u32.u32.gt", "vset4.u32.u32.gt"], |a, b| a > b),
        (["vset2.u32.u32.ge", "vset4.u32.u32.ge"], |a, b| a >= b),
    ];
    for (opcodes, holds) in comparisons {
        for (opcode, elements) in opcodes.into_iter().zip([2, 4]) {
            for signed in [[false, false], [false, true], [true, false], [true, true]] {
                let types = signed.map(|signed| if signed { "s32" } else { "u32" });
                let opcode = opcode.replace("u32.u32", &types.join("."));
                let results =
                    |x: &[u64]| element_results(x, elements, signed, |a, b| i128::from(holds(a, b)));
                check(&opcode, I32, &[I32, I32, I32], |x| packed(results(x), 32 / elements));
                check(&format!("{opcode}.add"), I32, &[I32, I32, I32], |x| added(results(x), x[2]));
            }
        }
    }
}

/// A function of every element of two registers.
fn element_results(
    x: &[u64],
    elements: u32,
    signed: [bool; 2],
    function: impl Fn(i128, i128) -> i128,
) -> Vec<i128> {
    let width = 32 / elements;
    let element = |operand: usize, k: u32| number(x[operand] >> (width * k), width, signed[operand]);
    (0..elements).map(|k| function(element(0, k), element(1, k))).collect()
}

fn packed(results: Vec<i128>, width: u32) -> u64 {
    results.into_iter().rev().fold(0, |packed, result| packed << width | cut(result, width))
}

fn added(results: Vec<i128>, c: u64) -> u64 {
    cut(i128::from(c) + results.into_iter().sum::<i128>(), 32)
}

/// Carries are lane by lane: 128-bit arithmetic of two words each, with carries in between.
#[test]
fn carry_chains() {
    for (ty, kind, width) in [("u32", I32, 32), ("s32", I32, 32), ("u64", I64, 64), ("s64", I64, 64)] {
        let wide = |low: u64, high: u64| u128::from(low) | u128::from(high) << width;
        let upper = move |value: u128| (value >> width) as u64 & (u64::MAX >> (64 - width));
        let scratch = |text: &str| format!("{{ .reg .b{width} %low; {text} }}");
        let operands = [kind; 4];
        let add = scratch(&format!("add.cc.{ty} %low, %a, %b; addc.{ty} %d, %c, %e;"));
        Case::of(&add, kind, &operands)
            .check_some(|x| Some(upper(wide(x[0], x[2]).wrapping_add(wide(x[1], x[3])))));
        let sub = scratch(&format!("sub.cc.{ty} %low, %a, %b; subc.{ty} %d, %c, %e;"));
        Case::of(&sub, kind, &operands)
            .check_some(|x| Some(upper(wide(x[0], x[2]).wrapping_sub(wide(x[1], x[3])))));
        // The carry of a carry: c + e + carry(a + b), then what that carries.
        let again =
            scratch(&format!("add.cc.{ty} %low, %a, %b; addc.cc.{ty} %low, %c, %e; addc.{ty} %d, 0, 0;"));
        Case::of(&again, kind, &operands).check_some(|x| {
            let carry = (u128::from(x[0]) + u128::from(x[1])) >> width;
            Some(((u128::from(x[2]) + u128::from(x[3]) + carry) >> width) as u64)
        });
        let borrow =
            scratch(&format!("sub.cc.{ty} %low, %a, %b; subc.cc.{ty} %low, %c, %e; subc.{ty} %d, 0, 0;"));
        Case::of(&borrow, kind, &operands).check_some(|x| {
            let borrow = u128::from(x[0] < x[1]);
            let second = u128::from(x[2]) < u128::from(x[3]) + borrow;
            Some(if second { u64::MAX >> (64 - width) } else { 0 })
        });
        // Additions and subtractions share the flag: 1 means a carry, and that nothing was borrowed.
        let mask = u64::MAX >> (64 - width);
        let after_sub = scratch(&format!("sub.cc.{ty} %low, %a, %b; addc.{ty} %d, %c, %e;"));
        Case::of(&after_sub, kind, &operands)
            .check_some(|x| Some(x[2].wrapping_add(x[3]).wrapping_add(u64::from(x[0] >= x[1])) & mask));
        let after_add = scratch(&format!("add.cc.{ty} %low, %a, %b; subc.{ty} %d, %c, %e;"));
        Case::of(&after_add, kind, &operands).check_some(|x| {
            let carry = ((u128::from(x[0]) + u128::from(x[1])) >> width) as u64;
            Some(x[2].wrapping_sub(x[3]).wrapping_sub(1 - carry) & mask)
        });
    }
    // A product of two 64-bit numbers, upper word, as compilers build it of 32-bit instructions.
    for ty in ["u32", "s32"] {
        let text = format!(
            "{{ .reg .b32 %low, %mid; mul.lo.{ty} %low, %a, %b; mad.lo.cc.{ty} %low, %a, %c, %low; \
             madc.hi.{ty} %d, %a, %c, 0; }}"
        );
        let signed = ty == "s32";
        Case::of(&text, I32, &[I32, I32, I32]).check_some(|x| {
            let low = x[0].wrapping_mul(x[1]) & 0xffff_ffff;
            let carry = ((x[0].wrapping_mul(x[2]) & 0xffff_ffff) + low) >> 32;
            let high = (number(x[0], 32, signed) * number(x[2], 32, signed)) >> 32;
            Some(cut(high + i128::from(carry), 32))
        });
    }
    let text = "{ .reg .b64 %low; mad.hi.cc.u64 %low, %a, %b, %c; madc.lo.cc.u64 %d, 0, 0, 0; }";
    Case::of(text, I64, &[I64, I64, I64]).check_some(|x| {
        let high = (u128::from(x[0]) * u128::from(x[1])) >> 64;
        Some(((high + u128::from(x[2])) >> 64) as u64)
    });
}

/// Literals take the place of any operand, and are cut to the type.
#[test]
fn literals() {
    Case::of("add.u16 %d, %a, 0xffff;", I16, &[I16]).check_some(|x| Some(x[0].wrapping_sub(1) & 0xffff));
    Case::of("sub.s32 %d, -7, %a;", I32, &[I32]).check_some(|x| Some(cut(-7 - i128::from(x[0]), 32)));
    Case::of("mad.lo.s64 %d, %a, -3, 0x100000000;", I64, &[I64])
        .check_some(|x| Some(x[0].wrapping_mul(-3_i64 as u64).wrapping_add(1 << 32)));
    Case::of("min.s16 %d, %a, -5;", I16, &[I16]).check_some(|x| Some((x[0] as i16).min(-5) as u16 as u64));
}

/// The difference of an undefined register with itself is zero; its sum is undefined.
#[test]
fn undefined_operands() {
    let defined = Case::of(
        "{ .reg .b32 %u; sub.s32 %u, %u, %u; xor.b32 %d, %d, %d; add.s32 %d, %d, %u; }",
        I32,
        &[I32],
    );
    assert_eq!(defined.run(&vec![vec![0]; 32]).expect("defined"), [0; 32]);
    let undefined = Case::of("{ .reg .b32 %u; add.s32 %d, %u, %a; }", I32, &[I32]);
    let report = undefined.run(&vec![vec![0]; 32]).expect_err("undefined");
    assert_eq!(report.rule, Rule::UninitializedOutput);
    let carry = Case::of("addc.u32 %d, %a, 0;", I32, &[I32]);
    assert_eq!(carry.run(&vec![vec![0]; 32]).expect_err("undefined").rule, Rule::UninitializedOutput);
}
