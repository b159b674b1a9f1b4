//! Comparison and selection (PTX ISA 9.7.7, 9.7.8).

use crate::harness::{Case, Kind, check, f32, f64};
use crate::oracle::{flush32, widen};
use Kind::{Bf16, Bf16x2, F16, F16x2, F32, F64, I16, I32, I64, Pair, Pred};
use rorqual_sim::Rule;
use std::cmp::Ordering;

/// Whether an operator holds of two numbers in this order; none if one is NaN.
fn holds(operator: &str, order: Option<Ordering>) -> bool {
    use Ordering::{Equal, Greater, Less};
    match operator {
        "eq" => order == Some(Equal),
        "ne" => matches!(order, Some(Less | Greater)),
        "lt" | "lo" => order == Some(Less),
        "le" | "ls" => matches!(order, Some(Less | Equal)),
        "gt" | "hi" => order == Some(Greater),
        "ge" | "hs" => matches!(order, Some(Greater | Equal)),
        "num" => order.is_some(),
        "nan" => order.is_none(),
        unordered => order.is_none() || holds(&unordered[..2], order),
    }
}

const FLOATS: [&str; 14] =
    ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];
const SIGNED: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];
const UNSIGNED: [&str; 10] = ["eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs"];
const BITS: [&str; 2] = ["eq", "ne"];

type Order = fn(&[u64]) -> Option<Ordering>;

fn signed(x: u64, width: u32) -> i64 {
    (x << (64 - width)).cast_signed() >> (64 - width)
}

/// Every type that is compared: its kind, operators and order.
fn types() -> Vec<(&'static str, Kind, &'static [&'static str], Order)> {
    let unsigned: Order = |x| Some(x[0].cmp(&x[1]));
    vec![
        ("b16", I16, &BITS, unsigned),
        ("b32", I32, &BITS, unsigned),
        ("b64", I64, &BITS, unsigned),
        ("u16", I16, &UNSIGNED, unsigned),
        ("u32", I32, &UNSIGNED, unsigned),
        ("u64", I64, &UNSIGNED, unsigned),
        ("s16", I16, &SIGNED, |x| Some(signed(x[0], 16).cmp(&signed(x[1], 16)))),
        ("s32", I32, &SIGNED, |x| Some(signed(x[0], 32).cmp(&signed(x[1], 32)))),
        ("s64", I64, &SIGNED, |x| Some(signed(x[0], 64).cmp(&signed(x[1], 64)))),
        ("f32", F32, &FLOATS, |x| f32(x[0]).partial_cmp(&f32(x[1]))),
        ("f64", F64, &FLOATS, |x| f64(x[0]).partial_cmp(&f64(x[1]))),
        ("f16", F16, &FLOATS, |x| widen(x[0], false).partial_cmp(&widen(x[1], false))),
        ("bf16", Bf16, &FLOATS, |x| widen(x[0], true).partial_cmp(&widen(x[1], true))),
    ]
}

#[test]
fn every_operator_of_every_type() {
    for (name, kind, operators, order) in types() {
        for operator in operators {
            check(&format!("setp.{operator}.{name}"), Pred, &[kind, kind], |x| {
                holds(operator, order(x)).into()
            });
        }
        // Halves have one destination.
        if kind != F16 && kind != Bf16 {
            check(&format!("setp.lt.{name}").replace("lt.b", "ne.b"), Pair, &[kind, kind], |x| {
                let operator = if name.starts_with('b') { "ne" } else { "lt" };
                if holds(operator, order(x)) { 1 } else { 2 }
            });
        }
    }
    for operator in FLOATS {
        check(&format!("setp.{operator}.ftz.f32"), Pred, &[F32, F32], |x| {
            holds(operator, f32(flush32(x[0])).partial_cmp(&f32(flush32(x[1])))).into()
        });
    }
    let flush = |x: u64| if x & 0x7c00 == 0 { 0.0 } else { widen(x, false) };
    check("setp.le.ftz.f16", Pred, &[F16, F16], |x| {
        holds("le", flush(x[0]).partial_cmp(&flush(x[1]))).into()
    });
}

#[test]
fn joined_with_a_predicate() {
    let joins: [(&str, fn(bool, bool) -> bool); 3] =
        [("and", |a, b| a & b), ("or", |a, b| a | b), ("xor", |a, b| a ^ b)];
    for (name, join) in joins {
        for (negation, flip) in [("", false), ("!", true)] {
            let text = format!("setp.gt.{name}.s32 %d|%q, %a, %b, {negation}%c;");
            Case::of(&text, Pair, &[I32, I32, Pred]).check_some(|x| {
                let (greater, c) = (signed(x[0], 32) > signed(x[1], 32), (x[2] == 1) != flip);
                Some(u64::from(join(greater, c)) | u64::from(join(!greater, c)) << 1)
            });
        }
        let text = format!("setp.ltu.{name}.f32 %d|_, %a, %b, %c;");
        Case::of(&text, Pred, &[F32, F32, Pred])
            .check_some(|x| Some(join(holds("ltu", f32(x[0]).partial_cmp(&f32(x[1]))), x[2] == 1).into()));
        Case::of(&format!("{name}.pred %d, %a, %b;"), Pred, &[Pred, Pred])
            .check_some(|x| Some(join(x[0] == 1, x[1] == 1).into()));
        let text = format!("set.ge.{name}.u32.s32 %d, %a, %b, !%c;");
        Case::of(&text, I32, &[I32, I32, Pred]).check_some(|x| {
            let holds = join(signed(x[0], 32) >= signed(x[1], 32), x[2] == 0);
            Some(if holds { 0xffff_ffff } else { 0 })
        });
    }
    Case::of("not.pred %d, %a;", Pred, &[Pred]).check_some(|x| Some(1 - x[0]));
    Case::of("setp.eq.b32 _|%d, %a, %b;", Pred, &[I32, I32]).check_some(|x| Some((x[0] != x[1]).into()));
    Case::of("setp.lt.u32 %d, %a, 100;", Pred, &[I32]).check_some(|x| Some((x[0] < 100).into()));
    Case::of("setp.ne.s16 %d, %a, -1;", Pred, &[I16]).check_some(|x| Some((x[0] != 0xffff).into()));
}

#[test]
fn pairs_of_halves() {
    for (name, kind, bfloat) in [("f16x2", F16x2, false), ("bf16x2", Bf16x2, true)] {
        let order = |x: &[u64], shift: u32| {
            let value = |x: u64| widen(x >> shift & 0xffff, bfloat);
            value(x[0]).partial_cmp(&value(x[1]))
        };
        for operator in FLOATS {
            check(&format!("setp.{operator}.{name}"), Pair, &[kind, kind], |x| {
                u64::from(holds(operator, order(x, 0))) | u64::from(holds(operator, order(x, 16))) << 1
            });
        }
        let one = if bfloat { 0x3f80 } else { 0x3c00 };
        check(&format!("set.gt.{name}.{name}"), kind, &[kind, kind], |x| {
            [0, 16].map(|shift| (u64::from(holds("gt", order(x, shift))) * one) << shift).iter().sum()
        });
        check(&format!("set.leu.u32.{name}"), I32, &[kind, kind], |x| {
            [0, 16].map(|shift| (u64::from(holds("leu", order(x, shift))) * 0xffff) << shift).iter().sum()
        });
    }
}

#[test]
fn set_writes_ones() {
    for (name, kind, _, order) in types().into_iter().filter(|(name, ..)| name.len() == 3) {
        for (to, result, yes) in [
            ("u32", I32, 0xffff_ffff),
            ("s32", I32, 0xffff_ffff),
            ("f32", F32, 0x3f80_0000),
            ("f16", F16, 0x3c00),
            ("bf16", Bf16, 0x3f80),
        ] {
            // Of binary16 numbers integers and the own format only, of floats not everything.
            if name == "f16" && to == "f32" {
                continue;
            }
            let operator = if name.starts_with('b') { "ne" } else { "ge" };
            check(&format!("set.{operator}.{to}.{name}"), result, &[kind, kind], |x| {
                if holds(operator, order(x)) { yes } else { 0 }
            });
        }
    }
    check("set.lt.u16.f16", I16, &[F16, F16], |x| {
        if widen(x[0], false) < widen(x[1], false) { 0xffff } else { 0 }
    });
    check("set.nan.s16.bf16", I16, &[Bf16, Bf16], |x| {
        if widen(x[0], true).is_nan() || widen(x[1], true).is_nan() { 0xffff } else { 0 }
    });
    check("set.eq.ftz.u32.f32", I32, &[F32, F32], |x| {
        if f32(flush32(x[0])) == f32(flush32(x[1])) { 0xffff_ffff } else { 0 }
    });
}

#[test]
fn selection() {
    for (name, kind) in [
        ("b16", I16),
        ("u16", I16),
        ("s16", I16),
        ("b32", I32),
        ("u32", I32),
        ("s32", I32),
        ("f32", F32),
        ("b64", I64),
        ("u64", I64),
        ("s64", I64),
        ("f64", F64),
    ] {
        check(&format!("selp.{name}"), kind, &[kind, kind, Pred], |x| if x[2] == 1 { x[0] } else { x[1] });
        check(&format!("slct.{name}.s32"), kind, &[kind, kind, I32], |x| {
            if signed(x[2], 32) >= 0 { x[0] } else { x[1] }
        });
        check(&format!("slct.{name}.f32"), kind, &[kind, kind, F32], |x| {
            if f32(x[2]) >= 0.0 { x[0] } else { x[1] }
        });
        check(&format!("slct.ftz.{name}.f32"), kind, &[kind, kind, F32], |x| {
            if f32(flush32(x[2])) >= 0.0 { x[0] } else { x[1] }
        });
    }
    Case::of("selp.b32 %d, %a, -1, !%b;", I32, &[I32, Pred])
        .check_some(|x| Some(if x[1] == 0 { x[0] } else { 0xffff_ffff }));
}

/// Only the selected operand has to be defined; a defined predicate may decide a conjunction alone.
#[test]
fn undefined_operands() {
    let zeros = vec![vec![0]; 32];
    let unselected =
        Case::of("{ .reg .b32 %u; setp.eq.b32 %q, %a, 0; selp.b32 %d, %a, %u, %q; }", I32, &[I32]);
    assert_eq!(unselected.run(&zeros).expect("defined"), [0; 32]);
    let selected = Case::of("{ .reg .b32 %u; setp.eq.b32 %q, %a, 0; selp.b32 %d, %u, %a, %q; }", I32, &[I32]);
    assert_eq!(selected.run(&zeros).expect_err("undefined").rule, Rule::UninitializedOutput);
    let decided = "{ .reg .pred %u; setp.ne.b32 %q, %a, 0; and.pred %q, %q, %u; selp.b32 %d, 1, 2, %q; }";
    assert_eq!(Case::of(decided, I32, &[I32]).run(&zeros).expect("defined"), [2; 32]);
    let open = "{ .reg .pred %u; setp.eq.b32 %q, %a, 0; and.pred %q, %q, %u; selp.b32 %d, 1, 2, %q; }";
    assert_eq!(
        Case::of(open, I32, &[I32]).run(&zeros).expect_err("undefined").rule,
        Rule::UninitializedOutput
    );
}
