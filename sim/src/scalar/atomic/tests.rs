//! Each operation on each type of element that PTX has, and none on the others.

use super::*;

fn run(operation: Operation, element: Element, old: u64, operand: u64) -> u64 {
    apply(operation, element, old, operand, false).expect("PTX has it")
}

#[test]
fn counters_wrap_at_the_operand() {
    let increment = |old, limit| run(Operation::Increment, Element::U32, old, limit);
    assert_eq!(
        [increment(0, 3), increment(2, 3), increment(3, 3), increment(9, 3), increment(0, 0)],
        [1, 3, 0, 0, 0]
    );
    let decrement = |old, limit| run(Operation::Decrement, Element::U32, old, limit);
    assert_eq!([decrement(0, 3), decrement(1, 3), decrement(3, 3), decrement(9, 3)], [3, 0, 2, 3]);
}

#[test]
fn integers() {
    let minus_one = u64::from(u32::MAX);
    assert_eq!(run(Operation::Add, Element::U32, minus_one, 2), 1);
    assert_eq!(run(Operation::Add, Element::U64, u64::MAX, 2), 1);
    assert_eq!(
        (run(Operation::Min, Element::U32, minus_one, 5), run(Operation::Max, Element::U32, minus_one, 5)),
        (5, minus_one)
    );
    assert_eq!(
        (run(Operation::Min, Element::S32, minus_one, 5), run(Operation::Max, Element::S32, minus_one, 5)),
        (minus_one, 5)
    );
    assert_eq!(
        (run(Operation::Min, Element::U64, u64::MAX, 5), run(Operation::Max, Element::U64, u64::MAX, 5)),
        (5, u64::MAX)
    );
    assert_eq!(
        (run(Operation::Min, Element::S64, u64::MAX, 5), run(Operation::Max, Element::S64, u64::MAX, 5)),
        (u64::MAX, 5)
    );
    assert_eq!(run(Operation::And, Element::U32, 0b1100, 0b1010), 0b1000);
    assert_eq!(run(Operation::Or, Element::S64, 0b1100, 0b1010), 0b1110);
    assert_eq!(run(Operation::Xor, Element::U64, 0b1100, 0b1010), 0b0110);
    assert_eq!(run(Operation::Exchange, Element::F16x2, 1, 2), 2);
    assert_eq!((compare_and_swap(5_u128, 5, 9), compare_and_swap(4_u128, 5, 9)), (9, 4));
}

#[test]
fn floating_point() {
    let f32_add = |a: f32, b: f32, flush| {
        let sum = apply(Operation::Add, Element::F32, a.to_bits().into(), b.to_bits().into(), flush);
        f32::from_bits(sum.expect("PTX has it") as u32)
    };
    let subnormal = f32::from_bits(3);
    assert_eq!(f32_add(subnormal, subnormal, false).to_bits(), 6);
    assert_eq!(f32_add(subnormal, subnormal, true).to_bits(), 0);
    assert_eq!(f32_add(1.5, 2.0, true), 3.5);
    assert_eq!(run(Operation::Add, Element::F64, 1.5_f64.to_bits(), 2.0_f64.to_bits()), 3.5_f64.to_bits());
    assert_eq!(run(Operation::Max, Element::F64, 1.5_f64.to_bits(), 2.0_f64.to_bits()), 2.0_f64.to_bits());
    assert_eq!(run(Operation::Min, Element::F32, 0x8000_0000, 0), 0x8000_0000);
    assert_eq!(run(Operation::Add, Element::F16x2, 0x3c00_0001, 0x3c00_0001), 0x4000_0002);
    assert_eq!(run(Operation::Add, Element::Bf16x2, 0x3f80_3f80, 0x3f80_bf80), 0x4000_0000);
    assert_eq!(run(Operation::Max, Element::F16x2, 0x3c00_bc00, 0x4000_4000), 0x4000_4000);
    assert_eq!(run(Operation::Min, Element::Bf16, 0xbf80, 0x4000), 0xbf80);
    assert_eq!(run(Operation::Add, Element::F16, 0x3c00, 0x4000), 0x4200);
}

#[test]
fn what_ptx_has_not_is_refused() {
    assert_eq!(apply(Operation::Increment, Element::F32, 0, 0, false), None);
    assert_eq!(apply(Operation::Decrement, Element::U64, 0, 0, false), None);
    assert_eq!(apply(Operation::And, Element::F16x2, 0, 0, false), None);
}
