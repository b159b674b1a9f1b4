//! What canonical text looks like.

use crate::{parse, print};

fn canonical(items: &str) -> String {
    let text = format!(".version 8.8\n.target sm_90a\n{items}");
    let printed = print(&parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}")));
    assert_eq!(print(&parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"))), printed);
    printed
}

#[test]
fn a_module_prints_in_full() {
    let text = "
        .extern .func (.param .b32 status) vprintf(.param .b64 format, .param .b64 arguments);
        .global .align 1 .b8 message[3] = {104, 105, 0};
        .visible .entry scale(
            .param .u64 .ptr .global .align 16 data, .param .f32 factor
        ) .maxntid 128, 1, 1
        {
            .reg .pred %p<3>; .reg .f32 %f<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>;
            .shared .align 16 .b8 tile[512];
            ld.param.u64 %rd5, [data];
            mov.u32 %r8, %tid.x;
            setp.gt.u32 %p2, %r8, 0x7F;
            @%p2 bra EXIT;
            mul.wide.u32 %rd7, %r8, 4;
            add.s64 %rd5, %rd5, %rd7;
            ld.global.f32 %f3, [%rd5];
            mul.f32 %f4, %f3, 2.0;
            st.global.f32 [%rd5+4], %f4;
        EXIT:
            ret;
        }";
    let expected = "\
.version 8.8
.target sm_90a
.address_size 64
.extern .func (.param .b32 status) vprintf(
\t.param .b64 format,
\t.param .b64 arguments
);
.global .b8 message[3] = {104, 105, 0};
.visible .entry scale(
\t.param .u64 .ptr .global .align 16 data,
\t.param .f32 factor
)
.maxntid 128, 1, 1
{
\t.reg .b32 %r<1>;
\t.reg .b64 %rd<2>;
\t.reg .f32 %f<2>;
\t.reg .pred %p<1>;
\t.shared .align 16 .b8 tile[512];
\tld.param.u64 %rd0, [data];
\tmov.u32 %r0, %tid.x;
\tsetp.gt.u32 %p0, %r0, 127;
\t@%p0 bra $L0;
\tmul.wide.u32 %rd1, %r0, 4;
\tadd.s64 %rd0, %rd0, %rd1;
\tld.global.f32 %f0, [%rd0];
\tmul.f32 %f1, %f0, 0d4000000000000000;
\tst.global.f32 [%rd0+4], %f1;
$L0:
\tret;
}
";
    assert_eq!(canonical(text), expected);
}

#[test]
fn equal_modules_print_equal() {
    let a = ".entry k() { .reg .b32 x, y, unused; { .reg .b32 z; add.s32 x, y, z; } L: bra L; }";
    let b = ".entry k() { .reg .b32 %r<100>; add.s32 %r99, %r5, %r7; OTHER: { bra OTHER; } }";
    assert_eq!(canonical(a), canonical(b));
}

#[test]
fn names_that_scopes_kept_apart_stay_apart() {
    let text = ".global .u32 x; .func f(.param .b32 param0);\n\
                .entry k(.param .b32 a) { .reg .b32 r; .shared .b32 param0_1;\n\
                { .param .b32 param0; st.param.b32 [param0], 1; call f, (param0); }\n\
                { .param .b32 param0; st.param.b32 [param0], 2; call f, (param0); }\n\
                { .param .b32 param0; st.param.b32 [param0], 3; call f, (param0); }\n\
                ld.global.b32 r, [x]; { .shared .b32 x, a, %s, $L5; ld.shared.b32 r, [x]; ld.shared.b32 r, [a]; \
                ld.shared.b32 r, [%s]; ld.shared.b32 r, [$L5]; } }";
    let printed = canonical(text);
    for line in [
        "\t.shared .b32 param0_1;\n\t.param .b32 param0;\n\t.param .b32 param0_2;\n\t.param .b32 param0_3;\n",
        "\tst.param.b32 [param0_2], 2;\n\tcall f, (param0_2);\n",
        "\tst.param.b32 [param0_3], 3;\n",
        "\tld.global.b32 %r0, [x];\n\tld.shared.b32 %r0, [x_1];\n\tld.shared.b32 %r0, [a_1];\n",
        "\tld.shared.b32 %r0, [_s];\n\tld.shared.b32 %r0, [_L5];\n",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
}

#[test]
fn labels_that_debug_sections_name_keep_their_names() {
    let printed = canonical(
        ".entry k() { start: bra $L0; middle: bra $L0; $L0: ret; other: }\n\
         .section .debug_info { .b64 middle-$L0+4 }",
    );
    assert!(printed.contains("$L1:\n\tbra $L0;\nmiddle:\n\tbra $L0;\n$L0:\n\tret;\n$L2:\n"), "{printed}");
}

#[test]
fn parameters_in_registers_are_not_in_the_range() {
    let printed = canonical(
        ".func (.reg .b32 r) f(.reg .b32 a, .reg .pred p) { .reg .b32 t; add.s32 t, a, 1; @p add.s32 r, t, a; ret; }",
    );
    let expected = ".func (.reg .b32 %param0) f(\n\t.reg .b32 %param1,\n\t.reg .pred %param2\n)\n{\n\t.reg .b32 %r<1>;\n\
                    \tadd.s32 %r0, %param1, 1;\n\t@%param2 add.s32 %param0, %r0, %param1;\n\tret;\n}\n";
    assert!(printed.contains(expected), "{printed}");
}
