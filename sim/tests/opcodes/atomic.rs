//! Atomic operations: what was there is given back, what must be there is, and no thread of many is lost.

use crate::harness::{Case, noise};
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::{Atomic, Opcode};
use rorqual_ptx::types::{Space, Type};

/// Kernels for an atomic or a reduction: on a cell of each thread, and for sums on one cell of all.
pub fn cases(opcode: &str, row: Opcode, modifiers: &[Modifier]) -> Vec<Case> {
    let ty = modifiers.iter().find_map(|word| if let Modifier::Type(ty) = word { Some(*ty) } else { None });
    let ty = ty.expect("a type");
    let is_vector = modifiers.contains(&Modifier::V2);
    let elements = if is_vector { 2 } else { 1 };
    let class = if ty.bits() == 32 { "%r" } else { "%d" };
    let operand = |first: usize| match is_vector {
        true => format!("{{{class}{first}, {class}{}}}", first + 1),
        false => format!("{class}{first}"),
    };
    let vector = if is_vector { ".v2" } else { "" };
    let (bits, bytes) = (ty.bits(), ty.bytes() as usize * elements);
    let compares = modifiers.contains(&Modifier::Cas);
    let gives = row == Opcode::Atomic(Atomic::Atom);
    let shared = modifiers.iter().any(|word| word.space() == Some(Space::Shared));
    let (variables, cell, space) = match shared {
        true => (
            ".shared .align 16 .b8 cells[512];",
            "mov.b64 %d100, cells;\n    mad.wide.u32 %d100, %thread, 16, %d100;",
            ".shared",
        ),
        false => ("", "mov.b64 %d100, %dst;", ".global"),
    };
    let result = if gives { format!("{}, ", operand(10)) } else { String::new() };
    let third = if compares { format!(", {}", operand(4)) } else { String::new() };
    let (old, b, c, now) = (operand(0), operand(2), operand(4), operand(12));
    let keep =
        if gives { format!("st.global{vector}.b{bits} [%dst+16], {};", operand(10)) } else { String::new() };
    let body = format!(
        "{cell}
    ld.global{vector}.b{bits} {old}, [%src];
    ld.global{vector}.b{bits} {b}, [%src+16];
    ld.global{vector}.b{bits} {c}, [%src+32];
    st{space}{vector}.b{bits} [%d100], {old};
    {opcode} {result}[%d100], {b}{third};
    ld{space}{vector}.b{bits} {now}, [%d100];
    st.global{vector}.b{bits} [%dst], {now};
    {keep}"
    );
    let value = move |thread: usize, index: usize, element: usize| match (ty, index) {
        (Type::F32, _) => u64::from(((thread * 7 + index * 3 + element) as f32 / 4.0).to_bits()),
        // Every other thread finds what it compares with.
        (_, 1) if compares && thread.is_multiple_of(2) => noise(thread as u64 * 3),
        _ => noise(thread as u64 * 3 + index as u64),
    };
    let padded = |values: Vec<u64>| {
        let mut slot: Vec<u8> =
            values.iter().flat_map(|value| value.to_le_bytes()[..bytes / elements].to_vec()).collect();
        slot.resize(16, 0xee);
        slot
    };
    let operands =
        |thread: usize, index: usize| (0..elements).map(|element| value(thread, index, element)).collect();
    let combine = |thread: usize, element: usize| {
        let [old, b, c] = [0, 1, 2].map(|index| value(thread, index, element) & (u64::MAX >> (64 - bits)));
        if compares {
            return if old == b { c } else { old };
        }
        if modifiers.contains(&Modifier::Max) {
            return old.max(b);
        }
        match ty {
            Type::F32 => u64::from((f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits()),
            _ => old.wrapping_add(b),
        }
    };
    let alone = Case::new(body).variables(variables).slots(
        |thread| (0..3).flat_map(|index| padded(operands(thread, index))).collect(),
        |thread| {
            let now = padded((0..elements).map(|element| combine(thread, element)).collect());
            let old = if gives { padded(operands(thread, 0)) } else { vec![] };
            [now, old].concat()
        },
    );
    let mut cases = vec![alone];
    if modifiers.contains(&Modifier::Add) && !is_vector {
        cases.push(together(opcode, ty, gives, shared));
    }
    cases
}

/// All threads of four warps add their number to one cell: the sum must be right.
fn together(opcode: &str, ty: Type, gives: bool, shared: bool) -> Case {
    let (class, bits) = if ty.bits() == 32 { ("%r", 32) } else { ("%d", 64) };
    let (variables, address, space) = match shared {
        true => (".shared .align 16 .b64 cell;", "mov.b64 %d100, cell;", ".shared"),
        false => ("", "mov.b64 %d100, %out;", ".global"),
    };
    let result = if gives { format!("{class}1, ") } else { String::new() };
    let mut case = Case::new(format!(
        "{address}
    setp.eq.b32 %p0, %thread, 0;
    @%p0 st{space}.b{bits} [%d100], 0;
    bar.sync 0;
    cvt.u{bits}.u32 {class}0, %thread;
    {opcode} {result}[%d100], {class}0;
    bar.sync 0;
    @%p0 ld{space}.b{bits} {class}2, [%d100];
    @%p0 st.global.b{bits} [%out], {class}2;"
    ));
    case.threads = 128;
    case.variables = variables.to_owned();
    case.expected = (127 * 128 / 2u64).to_le_bytes()[..bits as usize / 8].to_vec();
    case
}
