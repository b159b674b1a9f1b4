//! The truth tables of the operators, the classes, and selection.

use super::*;

const FLOAT_OPERATORS: [Comparison; 14] = [
    Comparison::Eq,
    Comparison::Ne,
    Comparison::Lt,
    Comparison::Le,
    Comparison::Gt,
    Comparison::Ge,
    Comparison::Equ,
    Comparison::Neu,
    Comparison::Ltu,
    Comparison::Leu,
    Comparison::Gtu,
    Comparison::Geu,
    Comparison::Num,
    Comparison::Nan,
];

#[test]
fn floating_point_operators() {
    let row = |a: f32, b: f32| FLOAT_OPERATORS.map(|operator| u8::from(floats(operator, a, b)));
    let less = [0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0];
    let equal = [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0];
    let greater = [0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0];
    let unordered = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1];
    assert_eq!(row(1.0, 2.0), less);
    assert_eq!(row(f32::NEG_INFINITY, f32::MIN), less);
    assert_eq!(row(-0.0, 0.0), equal);
    assert_eq!(row(f32::INFINITY, f32::INFINITY), equal);
    assert_eq!(row(f32::from_bits(1), 0.0), greater);
    assert_eq!([row(f32::NAN, 1.0), row(1.0, f32::NAN), row(f32::NAN, f32::NAN)], [unordered; 3]);
    assert!(floats(Comparison::Hi, 2.0_f64, 1.0) && floats(Comparison::Ls, 1.0_f64, 1.0));
}

#[test]
fn integer_operators() {
    let row = |operators: [Comparison; 6], a: i32, b: i32| operators.map(|operator| integers(operator, a, b));
    let signed =
        [Comparison::Eq, Comparison::Ne, Comparison::Lt, Comparison::Le, Comparison::Gt, Comparison::Ge];
    let unsigned =
        [Comparison::Eq, Comparison::Ne, Comparison::Lo, Comparison::Ls, Comparison::Hi, Comparison::Hs];
    let (less, equal, greater) = (
        [false, true, true, true, false, false],
        [true, false, false, true, false, true],
        [false, true, false, false, true, true],
    );
    assert_eq!([row(signed, -1, 1), row(signed, 5, 5), row(signed, 1, -1)], [less, equal, greater]);
    assert_eq!([row(unsigned, 1, -1), row(unsigned, 5, 5), row(unsigned, -1, 1)], [less, equal, greater]);
    assert!(integers(Comparison::Lt, 1_u64, u64::MAX) && integers(Comparison::Gt, 1_i64, -1));
}

#[test]
fn boolean_operators() {
    assert_eq!(BooleanOperator::And.apply(0b1100, 0b1010), 0b1000);
    assert_eq!(BooleanOperator::Or.apply(0b1100, 0b1010), 0b1110);
    assert_eq!(BooleanOperator::Xor.apply(0b1100, 0b1010), 0b0110);
}

#[test]
fn classes() {
    let classes =
        [Class::Finite, Class::Infinite, Class::Number, Class::NotANumber, Class::Normal, Class::Subnormal];
    let row = |a: f32| classes.map(|class| u8::from(testp_f32(class, a)));
    assert_eq!(row(1.0), [1, 0, 1, 0, 1, 0]);
    assert_eq!(row(-0.0), [1, 0, 1, 0, 1, 0]);
    assert_eq!(row(f32::from_bits(1)), [1, 0, 1, 0, 0, 1]);
    assert_eq!(row(f32::NEG_INFINITY), [0, 1, 1, 0, 0, 0]);
    assert_eq!(row(f32::NAN), [0, 0, 0, 1, 0, 0]);
    assert_eq!(classes.map(|class| u8::from(testp_f64(class, 1e-310))), [1, 0, 1, 0, 0, 1]);
    assert_eq!(classes.map(|class| u8::from(testp_f64(class, 1e-40))), [1, 0, 1, 0, 1, 0]);
}

#[test]
fn selection() {
    assert_eq!([0, 5, -1, i32::MIN].map(|c| slct_s32('a', 'b', c)), ['a', 'a', 'b', 'b']);
    let tiny = f32::from_bits(0x8000_0001);
    assert_eq!(
        [0.0, -0.0, 1.0, -1.0, f32::NAN, tiny].map(|c| slct_f32('a', 'b', c, false)),
        ['a', 'a', 'a', 'b', 'b', 'b']
    );
    assert_eq!(slct_f32('a', 'b', tiny, true), 'a');
}
