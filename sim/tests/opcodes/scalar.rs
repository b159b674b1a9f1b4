//! Instructions from registers to a register: kernels made from the form of the table, results by [`evaluate`].

use crate::evaluate::evaluate;
use crate::harness::{Case, noise};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::{Access, Expect, Form, OperandSpec, Presence};
use rorqual_ptx::types::{Kind, Type};
use std::fmt::Write;

/// The kernels for one opcode: every lane has operands of its own.
pub fn cases(opcode: &str, form: &'static Form, modifiers: &[Modifier]) -> Vec<Case> {
    let specs: Vec<&OperandSpec> =
        form.operands.iter().filter(|spec| spec.presence == Presence::Always).collect();
    let types: Vec<Type> = specs.iter().map(|spec| type_of(spec, modifiers)).collect();
    let reads = || specs.iter().zip(&types).filter(|(spec, _)| spec.access == Access::Read);
    let words: Vec<String> = Instruction {
        form,
        modifiers: modifiers.into(),
        operands: vec![],
        guard: None,
        position: rorqual_ptx::module::Position::default(),
    }
    .spelling()
    .split('.')
    .map(str::to_owned)
    .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut body = String::new();
    for (index, (_, ty)) in reads().enumerate() {
        load(&mut body, index, *ty);
    }
    let operands: Vec<String> =
        reads().enumerate().map(|(index, (_, ty))| register(index + 1, *ty)).collect();
    let result = types[0];
    writeln!(body, "{opcode} {}, {};", register(0, result), operands.join(", ")).expect("memory suffices");
    store(&mut body, result);
    let argument = |lane: usize, index: usize, spec: &OperandSpec, ty: Type| {
        let bits = noise((lane * 8 + index) as u64);
        u128::from(match (words[0], spec.name, ty.kind()) {
            ("lg2" | "sqrt", ..) => u64::from((1.0 + (bits % 1000) as f32 / 8.0).to_bits()),
            ("shl" | "shr", "b", _) => bits % 70,
            ("bfe", "b" | "c", _) | ("bfi", "c" | "d", _) => bits % 40,
            ("div" | "rem", "b", Kind::Signed | Kind::Unsigned) => bits % 1000 + 1,
            (_, _, Kind::Float) => float(bits, ty),
            // Now and then the operands of a comparison are equal.
            ("setp", "b", _) if lane.is_multiple_of(4) => noise((lane * 8) as u64),
            _ => bits,
        }) & mask(ty)
    };
    let arguments = |lane: usize| -> Vec<u128> {
        reads().enumerate().map(|(index, (spec, ty))| argument(lane, index, spec, *ty)).collect()
    };
    let mut case = Case::new(body).slots(
        |lane| arguments(lane).iter().flat_map(|value| value.to_le_bytes()).collect(),
        |lane| {
            let value = evaluate(&words, &arguments(lane)) & mask(result);
            value.to_le_bytes()[..stored_bytes(result)].to_vec()
        },
    );
    case.approximate = words.iter().any(|word| matches!(*word, "approx" | "full"));
    vec![case]
}

/// The type of an operand; of predicates `Pred`.
fn type_of(spec: &OperandSpec, modifiers: &[Modifier]) -> Type {
    let types =
        || modifiers.iter().filter_map(|word| if let Modifier::Type(ty) = word { Some(*ty) } else { None });
    let ty = match spec.expect {
        Expect::Type(ty) => ty,
        Expect::Predicate => Type::Pred,
        Expect::Slot(_) if spec.access == Access::Write || types().count() == 1 => {
            types().next().expect("a type")
        }
        // Of two types the second is that of the sources; a `mov` has one for both.
        _ => types().next_back().expect("a type"),
    };
    match (spec.wide, ty) {
        (true, Type::U16) => Type::U32,
        (true, Type::S16) => Type::S32,
        (true, Type::U32) => Type::U64,
        (true, Type::S32) => Type::S64,
        _ => ty,
    }
}

fn mask(ty: Type) -> u128 {
    if ty.bits() == 128 { u128::MAX } else { (1 << ty.bits()) - 1 }
}

/// The register that holds operand number `index`, 0 for the destination.
fn register(index: usize, ty: Type) -> String {
    let class = match ty.bits() {
        1 => "%p",
        8 | 16 => "%h",
        32 => "%r",
        64 => "%d",
        _ => "%q",
    };
    format!("{class}{index}")
}

/// Loads source number `index` from its 16 bytes of the slot.
fn load(body: &mut String, index: usize, ty: Type) {
    let (to, at) = (register(index + 1, ty), 16 * index);
    let text = match ty {
        Type::Pred => {
            format!("ld.global.b32 %r{0}, [%src+{at}];\n    setp.ne.b32 {to}, %r{0}, 0;", 100 + index)
        }
        _ => format!("ld.global.b{} {to}, [%src+{at}];", ty.bits()),
    };
    writeln!(body, "{text}").expect("memory suffices");
}

/// Stores the destination.
fn store(body: &mut String, ty: Type) {
    let from = register(0, ty);
    let text = match ty {
        Type::Pred => format!("selp.b32 %r0, 1, 0, {from};\n    st.global.b32 [%dst], %r0;"),
        _ => format!("st.global.b{} [%dst], {from};", ty.bits()),
    };
    body.push_str(&text);
}

fn stored_bytes(ty: Type) -> usize {
    if ty == Type::Pred { 4 } else { ty.bytes() as usize }
}

/// A number of moderate size; of packed types one a half.
fn float(bits: u64, ty: Type) -> u64 {
    let value = |bits: u64| (bits % 4096) as f32 / 128.0 - 16.0;
    let half = |bits: u64| match ty {
        Type::F16 | Type::F16x2 => u64::from(half::f16::from_f32(value(bits)).to_bits()),
        Type::Bf16 | Type::Bf16x2 => u64::from(half::bf16::from_f32(value(bits)).to_bits()),
        // Not above 0x7e: 0x7f is NaN, which has no single encoding.
        Type::E4m3x2 => bits & 0x7e | bits & 0x80,
        _ => u64::from(value(bits).to_bits()),
    };
    if ty.element_bits() == ty.bits() {
        half(bits)
    } else {
        half(bits >> 20) << ty.element_bits() | half(bits)
    }
}

/// Moves of registers, also between a register and its halves.
pub fn moves(opcode: &str, form: &'static Form, modifiers: &[Modifier]) -> Vec<Case> {
    let mut cases = cases(opcode, form, modifiers);
    let halves = match opcode {
        "mov.b32" => ("b32 %r1", "%h1, %h2", "%h2, %h1", "%r1", 4),
        "mov.b64" => ("b64 %d1", "%r1, %r2", "%r2, %r1", "%d1", 8),
        "mov.b128" => ("b128 %q1", "%d1, %d2", "%d2, %d1", "%q1", 16),
        _ => return cases,
    };
    let (typed, parts, swapped, whole, bytes) = halves;
    let ty = &typed[..typed.len() - 4];
    let body = format!(
        "ld.global.{ty} {whole}, [%src];
    {opcode} {{{parts}}}, {whole};
    {opcode} {whole}, {{{swapped}}};
    st.global.{ty} [%dst], {whole};"
    );
    let input = |lane: usize| crate::harness::noise_bytes(lane, bytes);
    cases.push(Case::new(body).slots(input, |lane| {
        let mut value = input(lane);
        value.rotate_left(bytes / 2);
        value
    }));
    cases
}
