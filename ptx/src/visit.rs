//! Walks the operands of an instruction. What is read and what is written comes from the table.

use crate::instruction::Instruction;
use crate::operand::{Base, Operand, Register};
use crate::table::Access;

/// Calls `visit` for every register of the instruction as it is written in the text: the guard first, then the
/// operands. Guards, address bases and tensor coordinates are read whatever is done with the memory they select.
pub fn for_each_register(instruction: &Instruction, mut visit: impl FnMut(Register, Access)) {
    if let Some(guard) = instruction.guard {
        visit(guard.register, Access::Read);
    }
    for (spec, operand) in instruction.operands_with_specs() {
        walk(operand, spec.access, &mut visit);
    }
}

fn walk(operand: &Operand, access: Access, visit: &mut impl FnMut(Register, Access)) {
    match operand {
        Operand::Register(register) | Operand::Not(register) => visit(*register, access),
        Operand::Pair(pair) => pair.iter().for_each(|operand| walk(operand, access, visit)),
        Operand::Vector(operands) | Operand::Arguments(operands) => {
            operands.iter().for_each(|operand| walk(operand, access, visit));
        }
        Operand::Address(address) => {
            if let Base::Register(register) = address.base {
                visit(register, Access::Read);
            }
            address.coordinates.iter().for_each(|operand| walk(operand, Access::Read, visit));
        }
        Operand::Immediate(_)
        | Operand::Special(_)
        | Operand::Symbol(..)
        | Operand::Label(_)
        | Operand::Sink => {}
    }
}

/// Like [`for_each_register`], for renaming.
pub fn for_each_register_mut(instruction: &mut Instruction, mut visit: impl FnMut(&mut Register, Access)) {
    if let Some(guard) = &mut instruction.guard {
        visit(&mut guard.register, Access::Read);
    }
    let specs = instruction.form.layout(&instruction.modifiers, instruction.operands.len());
    for (spec, operand) in specs.into_iter().flatten().zip(&mut instruction.operands) {
        walk_mut(operand, spec.access, &mut visit);
    }
}

fn walk_mut(operand: &mut Operand, access: Access, visit: &mut impl FnMut(&mut Register, Access)) {
    match operand {
        Operand::Register(register) | Operand::Not(register) => visit(register, access),
        Operand::Pair(pair) => pair.iter_mut().for_each(|operand| walk_mut(operand, access, visit)),
        Operand::Vector(operands) | Operand::Arguments(operands) => {
            operands.iter_mut().for_each(|operand| walk_mut(operand, access, visit));
        }
        Operand::Address(address) => {
            if let Base::Register(register) = &mut address.base {
                visit(register, Access::Read);
            }
            address.coordinates.iter_mut().for_each(|operand| walk_mut(operand, Access::Read, visit));
        }
        Operand::Immediate(_)
        | Operand::Special(_)
        | Operand::Symbol(..)
        | Operand::Label(_)
        | Operand::Sink => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::Statement;
    use crate::{parse, print};

    const DECLARATIONS: &str =
        ".reg .b32 a, b, c, d; .reg .b64 x, y; .reg .pred p, q; .reg .f32 f<4>; .shared .b64 s;";

    fn instruction(text: &str) -> (crate::module::Function, Instruction) {
        let text = format!(
            ".version 8.8 .target sm_90a .func (.reg .b32 o) g(.reg .b32 i) {{ ret; }} .entry k() {{ {DECLARATIONS} {text} }}"
        );
        let mut module = parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let mut function = module.functions.remove(1);
        match function.body.as_mut().and_then(Vec::pop) {
            Some(Statement::Instruction(instruction)) => (function, instruction),
            _ => panic!("no instruction"),
        }
    }

    /// Names with `<` for read, `>` for written, in the order of the visit.
    fn accesses(text: &str) -> String {
        let (function, instruction) = instruction(text);
        let mut words = Vec::new();
        for_each_register(&instruction, |register, access| {
            let mark = match access {
                Access::Read => "<",
                Access::Write => ">",
                Access::ReadWrite => "<>",
            };
            words.push(format!("{mark}{}", function.registers[register.0 as usize].name));
        });
        words.join(" ")
    }

    #[test]
    fn reads_and_writes_come_from_the_table() {
        for (text, expected) in [
            ("add.s32 a, b, 1;", ">a <b"),
            ("@!p add.s32 a, a, c;", "<p >a <a <c"),
            ("ld.global.v4.f32 {f0, f1, _, f3}, [x+8];", ">f0 >f1 >f3 <x"),
            ("st.global.v2.b32 [x], {a, b};", "<x <a <b"),
            ("shfl.sync.idx.b32 a|p, b, c, 31, d;", ">a >p <b <c <d"),
            ("setp.lt.and.s32 p|q, a, b, !p;", ">p >q <a <b <p"),
            ("atom.global.add.u32 a, [x], b;", ">a <x <b"),
            ("mov.b64 x, {a, b};", ">x <a <b"),
            ("mov.b64 {a, b}, x;", ">a >b <x"),
            ("call (a), g, (b);", ">a <b"),
            (
                "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [a], [x, {b, c}], [s];",
                "<a <x <b <c",
            ),
            ("ret;", ""),
        ] {
            assert_eq!(accesses(text), expected, "{text}");
        }
    }

    #[test]
    fn renaming_reaches_every_register() {
        let texts = [
            "@p setp.lt.and.s32 p|q, a, b, !p;",
            "st.global.v2.b32 [x+8], {a, b};",
            "call (a), g, (b);",
            "mov.b64 {a, b}, x;",
        ];
        for text in texts {
            let (_, before) = instruction(text);
            let mut after = before.clone();
            for_each_register_mut(&mut after, |register, _| register.0 += 100);
            let mut registers = Vec::new();
            for_each_register(&before, |register, access| registers.push((register.0 + 100, access)));
            let mut renamed = Vec::new();
            for_each_register(&after, |register, access| renamed.push((register.0, access)));
            assert_eq!(renamed, registers, "{text}");
            assert!(!renamed.is_empty());
        }
    }

    #[test]
    fn the_printed_order_is_the_visited_order() {
        let text = ".version 8.8 .target sm_90a .entry k() { .reg .b32 %r<9>; .reg .pred p; \
                    @p mad.lo.s32 %r5, %r3, %r8, %r1; }";
        assert!(print(&parse(text).unwrap()).contains("@%p0 mad.lo.s32 %r0, %r1, %r2, %r3;"));
    }
}
