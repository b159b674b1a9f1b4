//! Modules that are wrong, or not for the architecture.

use super::Row;
use super::edit::Edit::{Cut, File, Replace, Set};

pub const ROWS: &[Row] = &[
    (
        "a module that is not there",
        &[Set("/launches/0/module", r#""kernel.ptx""#)],
        "kernel.ptx: No such file or directory (os error 2)",
    ),
    ("a module that is not UTF-8", &[File("kernels.ptx", b"\xff\xfe")], "kernels.ptx: not UTF-8 text"),
    (
        "an empty module",
        &[File("kernels.ptx", b"")],
        "launch 0 (`scale`), module kernels.ptx: line 1, column 1: expected `.version`, found the end of the text",
    ),
    (
        "a module that ends in a kernel",
        &[Cut("    mul.rn.f32")],
        "launch 0 (`scale`), module kernels.ptx: line 19, column 1: expected `}`, found the end of the text",
    ),
    (
        "a module that ends in an instruction",
        &[Cut("%f2, %f1;\n    st")],
        "launch 0 (`scale`), module kernels.ptx: line 19, column 21: expected an operand, found the end of the text",
    ),
    (
        "an unknown instruction",
        &[Replace("mul.rn.f32 %f3", "mult.rn.f32 %f3")],
        "launch 0 (`scale`), module kernels.ptx: line 19, column 5: `mult.rn.f32` is not an instruction; did you mean `mul`?",
    ),
    (
        "an unknown modifier",
        &[Replace("mul.rn.f32 %f3", "mul.rx.f32 %f3")],
        r#"launch 0 (`scale`), module kernels.ptx: line 19, column 5: unknown modifier .rx of `mul`; its forms are:
    mul.mode.type d=type, a:type, b:type | mode = hi lo; type = u16 u32 u64 s16 s32 s64
    mul.wide.type d=wide(type), a:type, b:type | type = u16 u32 s16 s32
    mul{.rnd}{.ftz}{.sat}.f32 d=f32, a:f32, b:f32
    mul{.rnd}.f64 d=f64, a:f64, b:f64
    mul{.rnd}{.ftz}.f32x2 d=f32x2, a:f32x2, b:f32x2
    mul{.rn}{.ftz}{.sat}.type d=type, a:type, b:type | type = f16 f16x2
    mul{.rn}.type d=type, a:type, b:type | type = bf16 bf16x2"#,
    ),
    (
        "a register that is not declared",
        &[Replace("mul.rn.f32 %f3", "mul.rn.f32 %f9")],
        "launch 0 (`scale`), module kernels.ptx: line 19, column 16: `%f9` is not declared",
    ),
    (
        "an operand of another width",
        &[Replace("mul.rn.f32 %f3, %f2, %f1", "mul.rn.f32 %f3, %f2, %rd2")],
        "launch 0 (`scale`), module kernels.ptx: line 19, column 5: `mul.rn.f32`: operand `b`: expected a register of .f32, or a literal, found %rd2 of .b64",
    ),
    (
        "a missing operand",
        &[Replace("mul.rn.f32 %f3, %f2, %f1", "mul.rn.f32 %f3, %f2")],
        r#"launch 0 (`scale`), module kernels.ptx: line 19, column 5: `mul.rn.f32`: the operands do not fit; the form is one of:
    mul{.rnd}{.ftz}{.sat}.f32 d=f32, a:f32, b:f32"#,
    ),
    (
        "a branch to no label",
        &[Replace("    ret;\n}\n\n.visible .entry blocks", "    bra nowhere;\n}\n\n.visible .entry blocks")],
        "launch 0 (`scale`), module kernels.ptx: line 21, column 9: `nowhere` is not declared",
    ),
    (
        "a barrier number that is too large",
        &[Replace(
            "    ret;\n}\n\n.visible .entry blocks",
            "    bar.sync 16;\n    ret;\n}\n\n.visible .entry blocks",
        )],
        "launch 0 (`scale`), module kernels.ptx: line 21, column 5: `bar.sync`: a CTA has the barriers 0 to 15",
    ),
    (
        "an instruction of a later architecture",
        &[Replace(".target sm_90a", ".target sm_80")],
        "launch 0 (`scale`), module kernels.ptx: line 39, column 17: .reqnctapercluster needs .target sm_90 or later, found sm_80",
    ),
    (
        "an unknown target",
        &[Replace(".target sm_90a", ".target sm_91")],
        "launch 0 (`scale`), module kernels.ptx: unknown .target sm_91; known are sm_80, sm_86, sm_87, sm_88, sm_89, sm_90, sm_90a, sm_100, sm_100f, sm_100a, sm_101, sm_101f, sm_101a, sm_103, sm_103f, sm_103a, sm_110, sm_110f, sm_110a, sm_120, sm_120f, sm_120a, sm_121, sm_121f, sm_121a",
    ),
    (
        "an unknown version",
        &[Replace(".version 8.7", ".version 12.0")],
        "launch 0 (`scale`), module kernels.ptx: .version 12.0 is not one of 7.0 to 7.8, 8.0 to 8.8, 9.0 to 9.5",
    ),
    (
        "a version that is older than the target",
        &[Replace(".version 8.7", ".version 7.4")],
        "launch 0 (`scale`), module kernels.ptx: .target sm_90a needs .version 8.0, found 7.4",
    ),
    (
        "two functions of one name",
        &[Replace(".visible .entry blocks(", ".visible .entry scale(")],
        "launch 0 (`scale`), module kernels.ptx: line 24, column 17: `scale` is already declared at line 9, column 17",
    ),
    (
        "a variable that is larger than memory",
        &[Replace(".extern .shared", ".global .align 4 .b8 huge[4611686018427387904];\n.extern .shared")],
        "launch 0 (`scale`), module kernels.ptx: line 5, column 22: `huge` is too large",
    ),
    (
        "more static shared memory than an instruction set allows",
        &[Replace(".shared .align 16 .b8 own[1024]", ".shared .align 16 .b8 own[262144]")],
        "launch 0 (`scale`), module kernels.ptx: line 30, column 17: `bounded` may declare 232448 bytes of shared memory for sm_90a, found 262144; more must be dynamic",
    ),
    (
        "an architecture that is none",
        &[Set("/launches/0/arch", r#""hopper""#)],
        "launch 0 (`scale`): architecture `hopper`, expected one like sm_90a",
    ),
    (
        "an architecture that is too old",
        &[Set("/launches/0/arch", r#""sm_70""#)],
        "sm_70 is not simulated, expected sm_80 or later",
    ),
    (
        "an architecture that the module is not for",
        &[Set("/launches/0/arch", r#""sm_80""#)],
        "launch 0 (`scale`), module kernels.ptx: the module is for sm_90a, the device is sm_80",
    ),
    (
        "a later architecture for a module of one architecture",
        &[Set("/launches/0/arch", r#""sm_100a""#)],
        "launch 0 (`scale`), module kernels.ptx: the module is for sm_90a, the device is sm_100a",
    ),
];
