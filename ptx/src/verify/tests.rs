//! What messages say, and what verifying changes. Verdicts are compared with those of ptxas in `tests/verdicts.rs`.

use super::*;
use crate::operand::{Operand, Register};
use crate::parse;

fn module(version: &str, target: &str, text: &str) -> Module {
    parse(&format!(".version {version}\n.target {target}\n.address_size 64\n{text}")).unwrap()
}

/// The errors of a kernel with these instructions, on the fifth line.
fn errors(body: &str) -> Vec<String> {
    let text = format!(
        ".func f(.param .b64 x) {{ ret; }} .visible .entry k(.param .u64 p) {{ .shared .b32 s; .global .b32 g; \
         .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<9>; .reg .pred %p<9>; .param .b32 a;\n{body}\nret; }}"
    );
    verify_all(&module("8.0", "sm_80", &text)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_message_names_the_place_the_rule_what_was_expected_and_what_was_found() {
    let rows = [
        (
            "add.u32 %r1, %d2, %r3;",
            "`add.u32`: operand `a`: expected a register of .u32, or a literal, found %d2 of .b64",
        ),
        (
            "add.f32 %f1, %f2, 5;",
            "`add.f32`: operand `b`: expected a register of .f32, or a literal, found the integer 5",
        ),
        ("add.u32 _, %r2, %r3;", "`add.u32`: operand `d`: expected a register of .u32, found `_`"),
        (
            "ld.global.v2.b32 {%r1, %r2, %r3}, [g];",
            "`ld.global.v2.b32`: operand `d`: expected 2 in braces, found 3",
        ),
        (
            "ld.global.v2.b32 {%r1, %d2}, [g];",
            "`ld.global.v2.b32`: operand `d`: expected registers of one size in braces, found 32 and 64 bits",
        ),
        (
            "ld.global.b32 %r1, [s];",
            "`ld.global.b32`: operand `a`: expected an address in .global, found `s` in .shared",
        ),
        (
            "ld.global.b32 %r1, [%f1];",
            "`ld.global.b32`: operand `a`: expected an address of 64 bits, found %f1 of .f32",
        ),
        ("ld.param.b32 %r1, [a];", "`ld.param.b32`: operand `a`: `a` is read, but no call writes it"),
        (
            "st.param.b64 [p], %d1;",
            "`st.param.b64`: operand `a`: `p` is an input parameter and cannot be written",
        ),
        ("@%r1 mov.b32 %r1, 0;", "`mov.b32`: the guard must be a predicate, found %r1 of .b32"),
        ("bar.sync 16;", "`bar.sync`: a CTA has the barriers 0 to 15"),
        ("pmevent 16;", "`pmevent`: operand `a`: expected an integer from 0 to 15, found the integer 16"),
        (
            "mov.b64 %d1, {%r1, %f2, %r3};",
            "`mov.b64`: expected registers of 64 bits together in braces, found 96",
        ),
        ("mov.u32 %r1, %clock64;", "`mov.u32`: `a`: expected a value of .u32, found %clock64"),
        ("mov.u32 %r1, %clusterid.x;", "`mov.u32`: %clusterid.x needs .target sm_90 or later, found sm_80"),
        (
            "griddepcontrol.wait;",
            "`griddepcontrol.wait`: needs .target sm_90 or one that includes it, found sm_80",
        ),
        ("fence.acquire.gpu;", "`fence.acquire.gpu`: needs .version 8.6, found 8.0"),
        ("call f, (a);", "`call`: argument for `x`: expected 8 bytes of .b64, found `a` of 4 bytes"),
        ("call f;", "`call`: expected 1 arguments, found 0"),
        ("call k, (%d1);", "`call`: `k` is a kernel and cannot be called"),
    ];
    for (body, message) in rows {
        let column = body
            .find(|c: char| c.is_ascii_lowercase())
            .map_or(1, |at| if body.starts_with('@') { 6 } else { at + 1 });
        assert_eq!(errors(body), [format!("line 5, column {column}: {message}")], "{body}");
    }
}

#[test]
fn every_statement_has_its_error() {
    let errors = errors("add.u32 %r1, %d1, %r2;\nadd.u32 %r1, %r2, %r3;\nbar.sync 99;");
    let places: Vec<_> = errors.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(places, ["line 5, column 1", "line 7, column 1"]);
}

#[test]
fn header_and_declarations_are_checked() {
    let rows = [
        ("9.6", "sm_80", "", ".version 9.6 is not one of 7.0 to 7.8, 8.0 to 8.8, 9.0 to 9.5"),
        ("7.9", "sm_80", "", ".version 7.9 is not one of 7.0 to 7.8, 8.0 to 8.8, 9.0 to 9.5"),
        ("7.8", "sm_90a", "", ".target sm_90a needs .version 8.0, found 7.8"),
        (
            "8.0",
            "sm_91",
            "",
            "unknown .target sm_91; known are sm_80, sm_86, sm_87, sm_88, sm_89, sm_90, sm_90a, sm_100, sm_100f, sm_100a, \
             sm_101, sm_101f, sm_101a, sm_103, sm_103f, sm_103a, sm_110, sm_110f, sm_110a, sm_120, sm_120f, sm_120a, \
             sm_121, sm_121f, sm_121a",
        ),
        (
            "8.0",
            "sm_80, foo",
            "",
            "unknown option `foo` of .target; known are texmode_unified, texmode_independent, debug",
        ),
        (
            "8.0",
            "sm_80",
            ".visible .entry k(.param .b8 a[5000]) { ret; }",
            "line 4, column 17: `k`: more than 4352 bytes of parameters needs .version 8.1, found 8.0",
        ),
        (
            "8.0",
            "sm_80",
            ".visible .entry k() .maxntid 9 .reqntid 9 { ret; }",
            "line 4, column 17: `k` has both .maxntid and .reqntid, which exclude each other",
        ),
        (
            "8.0",
            "sm_80",
            ".shared .b8 s[49153]; .visible .entry k() { .reg .b32 r; mov.b32 r, s; ret; }",
            "line 4, column 39: `k` may declare 49152 bytes of shared memory for sm_80, found 49153; more must be dynamic",
        ),
        (
            "8.0",
            "sm_80",
            ".extern .global .b32 g = 1;",
            "line 4, column 22: `g`: an .extern variable has no initialiser",
        ),
    ];
    for (version, target, text, message) in rows {
        let error = verify(module(version, target, text)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn the_form_that_passes_is_settled() {
    let text =
        ".visible .entry k() { .reg .b64 %d; tensormap.replace.tile.elemtype.b1024.b32 [%d], 13; ret; }";
    let first = |module: &Module| match &module.functions[0].body.as_ref().unwrap()[0] {
        Statement::Instruction(instruction) => instruction.clone(),
        _ => panic!("an instruction"),
    };
    let parsed = module("8.8", "sm_100f", text);
    let before = first(&parsed);
    assert_eq!(verify_all(&parsed), []);
    let verified = verify(parsed).unwrap();
    let after = first(&verified);
    assert!(after.form.index > before.form.index, "{} {}", before.form.index, after.form.index);
    assert_eq!((&*after.modifiers, &after.operands), (&*before.modifiers, &before.operands));
    assert_eq!(verify(verified.into_module()).unwrap().functions.len(), 1);
}

#[test]
fn what_was_changed_for_the_worse_is_refused() {
    let text = ".visible .entry k() { .reg .b32 %r; loop: mov.b32 %r, 1; bra loop; ret; }";
    let change = |change: fn(&mut Instruction)| {
        let mut module = module("8.0", "sm_80", text);
        for statement in module.functions[0].body.as_mut().unwrap() {
            if let Statement::Instruction(instruction) = statement {
                change(instruction);
            }
        }
        verify(module).map(|_| ()).map_err(|error| error.message)
    };
    assert_eq!(change(|_| {}), Ok(()));
    let missing = "`k` refers to a register, label, variable or function that does not exist";
    let register = change(|instruction| {
        if instruction.operands.len() == 2 {
            instruction.operands[0] = Operand::Register(Register(7));
        }
    });
    assert_eq!(register, Err(missing.to_owned()));
    let label = change(|instruction| {
        if let Some(Operand::Label(label)) = instruction.operands.first_mut() {
            label.0 = 3;
        }
    });
    assert_eq!(label, Err(missing.to_owned()));
    let count = change(|instruction| instruction.operands.clear());
    assert!(count.unwrap_err().starts_with("`mov.b32`: modifiers and operands are not of the form mov.type"));
    let modifiers = change(|instruction| instruction.modifiers = [].into());
    assert!(modifiers.unwrap_err().starts_with("`mov`: modifiers and operands are not of the form mov.type"));
    let shape = change(|instruction| {
        if instruction.operands.len() == 1 {
            instruction.operands[0] = Operand::Sink;
        }
    });
    assert_eq!(shape, Err("`bra`: operand `target`: `_` does not fit the form".to_owned()));
}
