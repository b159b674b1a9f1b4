//! Every construct of the language once, and every error with its message.

use super::*;
use crate::module::{Directive, Initializer, Pointer, Statement};
use crate::operand::Immediate;
use crate::types::{Space, Type};

const HEADER: &str = ".version 8.8\n.target sm_90a\n.address_size 64\n";

fn module(items: &str) -> Module {
    let text = format!("{HEADER}{items}");
    let module = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let printed = crate::print(&module);
    let again = parse(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(crate::print(&again), printed, "not a fixed point");
    module
}

/// The canonical statements of a kernel body, without declarations of registers.
fn body(text: &str) -> Vec<String> {
    let module = module(&format!(".global .u32 g[4];\n.entry k(.param .u64 arg)\n{{\n{text}\n}}"));
    let printed = crate::print(&module);
    let body = printed.split_once("{\n").expect("a body").1;
    let lines = body.lines().map(str::trim);
    lines.filter(|line| !line.starts_with(".reg") && *line != "}").map(str::to_owned).collect()
}

fn message(items: &str) -> String {
    parse(&format!("{HEADER}{items}")).expect_err("an error").to_string()
}

/// The error in the first line of a kernel body, which is line 5 of the text.
fn body_error(text: &str) -> String {
    let items =
        format!(".entry k(.param .u64 p) {{ .reg .b32 %r<4>; .reg .f32 %f<4>; .reg .pred %p<4>;\n{text}\n}}");
    message(&items)
}

#[test]
fn the_header_names_version_and_target() {
    let module = parse(".version 9.5\r\n.target sm_100a, debug, texmode_independent\r\n").unwrap();
    assert_eq!(module.version, Version { major: 9, minor: 5 });
    assert_eq!(module.target.to_string(), "sm_100a");
    assert_eq!(module.target_options, ["debug", "texmode_independent"]);
    assert_eq!(module.address_size, 64);
    for (text, error) in [
        ("", "line 1, column 1: expected `.version`, found the end of the text"),
        (".target sm_90", "line 1, column 1: expected `.version`, found `.target`"),
        (".version 8", "line 1, column 10: `8` is not a PTX version, or not the one given before"),
        (".version 8.0\n.target gfx90a", "line 2, column 9: `gfx90a` is not a target"),
        (
            ".version 8.0 .target sm_90 .address_size 32",
            "line 1, column 42: address size 32 is not supported, only 64 is",
        ),
        (
            ".version 8.0 .target sm_90 .version 8.1",
            "line 1, column 37: `8.1` is not a PTX version, or not the one given before",
        ),
        (
            ".version 8.0 .target sm_90 .target sm_80",
            "line 1, column 36: expected the same target as before, found `sm_80`",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), error);
    }
}

#[test]
fn braces_keep_names_apart() {
    let spin = "{ .reg .pred P1; .reg .b32 state;\n LAB_WAIT: setp.eq.s32 P1, state, 0;\n @P1 bra DONE;\n \
                bra LAB_WAIT;\n DONE: }\n";
    assert_eq!(
        body(&format!("{spin}{spin}")),
        [
            "$L0:",
            "setp.eq.s32 %p0, %r0, 0;",
            "@%p0 bra $L1;",
            "bra $L0;",
            "$L1:",
            "$L2:",
            "setp.eq.s32 %p1, %r1, 0;",
            "@%p1 bra $L3;",
            "bra $L2;",
            "$L3:",
        ]
    );
}

#[test]
fn a_label_may_be_declared_later_inside_or_outside() {
    let labels = body("bra B; { bra A; { bra A; A: bra A; } bra B; { bra B; } A: } B: ret;");
    assert_eq!(
        labels,
        [
            "bra $L0;", "bra $L1;", "bra $L2;", "$L2:", "bra $L2;", "bra $L0;", "bra $L0;", "$L1:", "$L0:",
            "ret;"
        ]
    );
    assert!(body_error("bra X; { X: ret; }").contains("line 5, column 5: `X` is not declared"));
    assert_eq!(body_error("X: X: ret;"), "line 5, column 4: `X` is already declared at line 5, column 1");
    assert_eq!(body_error("p: bra p;"), "line 5, column 1: `p` is already declared at line 4, column 22");
}

#[test]
fn a_range_declares_registers_where_it_stands() {
    let lines = body(
        ".reg .b32 %r<4>, x; { add.s32 %r1, %r1, x; } add.s32 %r1, %r1, 1; \
         { .reg .f32 %r<2>; mov.f32 %r1, 0f00000000; mov.b32 %r3, 1; } { .reg .b32 %r3; mov.b32 %r3, 2; }",
    );
    assert_eq!(
        lines,
        [
            "add.s32 %r0, %r0, %r1;",
            "add.s32 %r0, %r0, 1;",
            "mov.f32 %f0, 0f00000000;",
            "mov.b32 %r2, 1;",
            "mov.b32 %r3, 2;"
        ]
    );
    assert_eq!(body_error("mov.b32 %r1, %r4;"), "line 5, column 14: `%r4` is not declared");
    for twice in
        [".reg .b32 %r<2>;", ".reg .b32 %r3;", ".reg .b32 a; .reg .b32 a<1>, a;", ".reg .b32 b1, b<2>;"]
    {
        assert!(body_error(twice).contains("is already declared at line"), "{twice}");
    }
    // The count may be any number: only what is used exists.
    assert_eq!(body(".reg .b32 %x<4000000000>; mov.b32 %x3999999999, 0;"), ["mov.b32 %r0, 0;"]);
}

#[test]
fn a_vector_register_is_its_components() {
    let lines = body(
        ".reg .v4 .f32 v; .reg .v2 .b32 w<3>; .reg .b64 a; ld.global.v4.f32 v, [a]; add.f32 v.x, v.y, v.w; \
         mov.b32 w2.y, w2.x; st.global.v2.b32 [a], w2;",
    );
    assert_eq!(
        lines,
        [
            "ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd0];",
            "add.f32 %f0, %f1, %f3;",
            "mov.b32 %r0, %r1;",
            "st.global.v2.b32 [%rd0], {%r1, %r0};",
        ]
    );
    assert_eq!(
        body_error(".reg .v2 .f32 v; add.f32 v.x, v.y, v.z;"),
        "line 5, column 36: `v.z` is not a component of a vector register"
    );
}

#[test]
fn modifiers_are_a_set_and_blanks_may_precede_dots() {
    let lines = body(
        ".reg .b32 r; .reg .b64 a; ld.volatile .global /* here */ .u32 r, [a]; fma.ftz.rn.f32 r, r, r, r;\
         atom.add.release.gpu.global.s32 r, [a], 1; atom.global.gpu.release.add.s32 r, [a], 1;",
    );
    assert_eq!(lines[0], "ld.volatile.global.u32 %r0, [%rd0];");
    assert_eq!(lines[1], "fma.rn.ftz.f32 %r0, %r0, %r0, %r0;");
    assert_eq!(lines[2], lines[3]);
}

#[test]
fn literals_keep_their_values() {
    let moves = |literal: &str| {
        let lines = body(&format!(".reg .b64 a; mov.b64 a, {literal};"));
        lines[0].strip_prefix("mov.b64 %rd0, ").unwrap().trim_end_matches(';').to_owned()
    };
    for (literal, canonical) in [
        ("0", "0"),
        ("017", "15"),
        ("0x1F", "31"),
        ("0XffU", "255U"),
        ("0b101", "5"),
        ("0B11U", "3U"),
        ("-1", "-1"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775808U"),
        ("0xFFFFFFFFFFFFFFFF", "18446744073709551615U"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("WARP_SZ", "32"),
        ("WARP_SZ-1", "31"),
        ("0f3F800000", "0f3F800000"),
        ("0F7fc00001", "0f7FC00001"),
        ("0d3FF0000000000000", "0d3FF0000000000000"),
        ("1.0", "0d3FF0000000000000"),
        ("-1.5", "0dBFF8000000000000"),
        (".5", "0d3FE0000000000000"),
        ("1.", "0d3FF0000000000000"),
        ("1e-3", "0d3F50624DD2F1A9FC"),
    ] {
        assert_eq!(moves(literal), canonical, "{literal}");
    }
    for (literal, what) in [
        ("18446744073709551616", "`18446744073709551616` is out of range"),
        ("0x10u", "`0x10u` is not a number"),
        ("08", "`08` is not a number"),
        ("0x", "`0x` is not a number"),
        ("0f3F8", "`0f3F8` is not a number"),
        ("1e999", "`1e999` is out of range"),
        ("1.5U", "`1.5U` is not a number"),
        ("-0f3F800000", "expected a decimal constant after a sign, found `0f3F800000`"),
        ("$", "`$` is not declared"),
        ("#", "expected an operand, found `#`"),
        ("é", "expected an operand, found `é`"),
    ] {
        let error = body_error(&format!("mov.b32 %r1, {literal};"));
        assert!(error.contains(what), "{literal}: {error}");
    }
}

#[test]
fn constant_expressions_are_evaluated() {
    let value = |expression: &str| {
        let lines = body(&format!(".reg .b64 a; mov.b64 a, {expression};"));
        lines[0].strip_prefix("mov.b64 %rd0, ").unwrap().trim_end_matches(';').to_owned()
    };
    for (expression, result) in [
        ("4*8", "32"),
        ("1+2*3-4/2", "5"),
        ("(1+2)*3", "9"),
        ("-(3)", "-3"),
        ("-7/2", "-3"),
        ("-7 % 2", "-1"),
        ("~5", "-6"),
        ("!5", "0"),
        ("1 << 4 | 3 & 2 ^ 1", "19"),
        ("-8 >> 1", "-4"),
        ("0xFFFFFFFFFFFFFFFF >> 60", "15U"),
        ("-1 < 0", "1"),
        ("-1 < 0U", "0"),
        ("2 >= 2 && 3 != 4 || 0", "1"),
        ("3 > 2 ? 10 : 20", "10"),
        ("0 ? 1 : 0 ? 2 : 3", "3"),
        ("(.u64)-1", "18446744073709551615U"),
        ("(.s64)1.9", "1"),
        ("1.5 * 2", "0d4008000000000000"),
        ("1.5 > 1", "1"),
    ] {
        assert_eq!(value(expression), result, "{expression}");
    }
    for (expression, error) in [
        ("1/0", "line 5, column 15: division by zero in a constant expression"),
        ("1%(2-2)", "line 5, column 15: division by zero in a constant expression"),
        ("1.0<<2", "line 5, column 17: `<` is not an operator of floating-point constants"),
        ("~1.0", "line 5, column 14: `~` is not an operator of floating-point constants"),
        ("(1", "line 5, column 16: expected `)`, found `;`"),
        ("(.f32)1", "line 5, column 19: expected a cast to .s64 or .u64, found `)`"),
        ("1 ? 2", "line 5, column 19: expected `:`, found `;`"),
        ("1 + x", "line 5, column 18: expected a constant, found `x`"),
    ] {
        assert_eq!(body_error(&format!("mov.b32 %r1, {expression};")), error, "{expression}");
    }
    for deep in ["(", "-", "1?", "~("] {
        let error = body_error(&format!("mov.b32 %r1, {};", deep.repeat(100_000)));
        assert!(error.ends_with("nested too deeply"), "{error}");
    }
}

#[test]
fn addresses_have_bases_offsets_and_coordinates() {
    let lines = body(
        ".reg .b64 a; .reg .b32 r, c; .shared .align 8 .b8 bar[8];\n\
         ld.global.b32 r, [a+-4]; ld.global.b32 { r }, [ a + 0 ]; ld.global.b32 r, [g+4*2]; ld.b32 r, [0x10]; \
         ld.param.b32 r, [arg]; ld.param.b32 r, [arg+4]; ld.shared.b32 r, [bar]; \
         cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [r], [a, {c, 0}], [bar];",
    );
    assert_eq!(
        lines[1..],
        [
            "ld.global.b32 %r0, [%rd0+-4];",
            "ld.global.b32 {%r0}, [%rd0];",
            "ld.global.b32 %r0, [g+8];",
            "ld.b32 %r0, [16];",
            "ld.param.b32 %r0, [arg];",
            "ld.param.b32 %r0, [arg+4];",
            "ld.shared.b32 %r0, [bar];",
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%rd0, {%r1, 0}], \
             [bar];",
        ]
    );
    for (address, error) in [
        ("%r1-4", "line 5, column 21: expected `]`, found `-`"),
        ("%tid.x", "line 5, column 18: expected a register, a variable or an address, found `%tid.x`"),
        ("%r1, %r2", "line 5, column 23: expected coordinates in braces, found `%r2`"),
        ("%r1", ""),
    ] {
        let text = format!("ld.b32 %r1, [    {address}");
        let error = if error.is_empty() { "line 6, column 1: expected `]`, found `}`" } else { error };
        assert_eq!(body_error(&text), error);
    }
}

#[test]
fn pairs_sinks_negations_and_special_registers() {
    let lines = body(
        ".reg .b32 r, s; .reg .pred p, q; .reg .b64 d;\n\
         shfl.sync.idx.b32 r|p, s, 0, 31, -1; setp.lt.and.s32 p|q, r, s, !p; elect.sync _|p, -1; \
         mov.u32 r, %tid.x; mov.b64 d, {r, 0}; mov.b64 {r, _}, d; @ ! p mov.b32 r, s; mov.pred p, -1; \
         mov.u64 d, g; mov.u64 d, g+4; mov.u32 r, %envreg2;",
    );
    assert_eq!(
        lines,
        [
            "shfl.sync.idx.b32 %r0|%p0, %r1, 0, 31, -1;",
            "setp.lt.and.s32 %p0|%p1, %r0, %r1, !%p0;",
            "elect.sync _|%p0, -1;",
            "mov.u32 %r0, %tid.x;",
            "mov.b64 %rd0, {%r0, 0};",
            "mov.b64 {%r0, _}, %rd0;",
            "@!%p0 mov.b32 %r0, %r1;",
            "mov.pred %p0, -1;",
            "mov.u64 %rd0, g;",
            "mov.u64 %rd0, g+4;",
            "mov.u32 %r0, %envreg2;",
        ]
    );
}

#[test]
fn calls_take_every_form() {
    let functions = ".func n; .func f(.reg .b32 a, .param .b32 b) { ret; }\n\
                     .func (.param .b32 r) h(.param .b32 a) .noreturn; .extern .func (.reg .f32 x) e();\n\
                     .global .u64 table[2] = {f, h};\n";
    let text = format!(
        "{functions}.entry k() {{ .reg .b32 r; .reg .f32 x; .reg .b64 d; .param .b32 a, b;\n\
         call n; call.uni n; call (x), e; call (x), e, (); call.uni f, (r, a); call f, (5, a); \
         mov.u64 d, f; mov.u64 d, h;\n\
         proto: .callprototype (.param .b32 _) _ (.param .b32 _) .noreturn .abi_preserve 4;\n\
         plain: .callprototype ()_ (.reg .b32 _, .param .align 8 .b8 x[16]); none: .callprototype _;\n\
         list: .calltargets f, h; call (b), d, (a), proto; call d, (r, a), list; call d, none; call d, (r, a), table; }}"
    );
    let printed = crate::print(&module(&text));
    let calls: Vec<_> = printed.lines().skip_while(|line| *line != ".entry k()").map(str::trim).collect();
    assert_eq!(
        calls,
        [
            ".entry k()",
            "{",
            ".reg .b32 %r<1>;",
            ".reg .b64 %rd<1>;",
            ".reg .f32 %f<1>;",
            ".param .b32 a;",
            ".param .b32 b;",
            "call n;",
            "call.uni n;",
            "call (%f0), e;",
            "call (%f0), e, ();",
            "call.uni f, (%r0, a);",
            "call f, (5, a);",
            "mov.u64 %rd0, f;",
            "mov.u64 %rd0, h;",
            "$L0: .callprototype (.param .b32 _) _ (.param .b32 _) .noreturn .abi_preserve 4;",
            "$L1: .callprototype () _ (.reg .b32 _, .param .align 8 .b8 _[16]);",
            "$L2: .callprototype () _ ();",
            "$L3: .calltargets f, h;",
            "call (b), %rd0, (a), $L0;",
            "call %rd0, (%r0, a), $L3;",
            "call %rd0, $L2;",
            "call %rd0, (%r0, a), table;",
            "}",
        ]
    );
    assert!(printed.contains(".func (.reg .f32 %param0) e("), "{printed}");
    assert_eq!(body_error("call nothing;"), "line 5, column 6: `nothing` is not declared");
    assert_eq!(body_error("call k, (%r1), later;"), "line 5, column 16: `later` is not declared");
}

#[test]
fn branches_by_index_name_their_targets() {
    assert_eq!(
        body(".reg .b32 i; table: .branchtargets A, B, A; brx.idx i, table; A: ret; B: trap;"),
        ["$L0: .branchtargets $L1, $L2, $L1;", "brx.idx %r0, $L0;", "$L1:", "ret;", "$L2:", "trap;"]
    );
}

#[test]
fn variables_have_types_extents_and_initialisers() {
    let module = module(
        ".global .align 16 .b8 name[5] = {104, 105, 0};\n\
         .const .f32 x = 0f3F800000, y[2] = {1.0, 2};\n\
         .visible .global .s32 rows[][2] = {{-1, 0}, {1}};\n\
         .global .s32 ragged[2][3] = {{1}, {2, 3}};\n\
         .global .v2 .u32 pairs[2] = {{1, 2}, {3, 4}};\n\
         .global .u64 addresses[4] = {name, generic(name)+4, rows+8, 0};\n\
         .global .u8 bytes[3] = {0xFF(name), 0xFF00(name+4), 0xFF0000(generic(name))};\n\
         .extern .shared .align 1024 .b8 dynamic[];\n.common .global .u32 c;\n.weak .const .u32 w = 2*3;\n\
         .global .attribute(.managed) .s32 managed;\n.global .u64 self = self;\n\
         .shared .b8 exact[4294967296];",
    );
    let value = |value| Initializer::Value(Immediate::int(value));
    let find = |name: &str| module.variables.iter().find(|variable| variable.name == name).unwrap();
    assert_eq!((find("name").alignment, find("x").alignment), (16, 4));
    assert_eq!(find("rows").dimensions, [Some(2), Some(2)]);
    assert_eq!(find("rows").initializer, Some([-1, 0, 1].map(value).to_vec()));
    assert_eq!(find("ragged").initializer, Some([1, 0, 0, 2, 3].map(value).to_vec()));
    assert_eq!(find("pairs").initializer, Some([1, 2, 3, 4].map(value).to_vec()));
    assert_eq!((find("pairs").vector, find("pairs").alignment), (2, 8));
    let name = Symbol::Module(0);
    let address = |symbol, offset, generic| Initializer::Address { symbol, offset, generic };
    let rows = Symbol::Module(3);
    let expected = vec![address(name, 0, false), address(name, 4, true), address(rows, 8, false), value(0)];
    assert_eq!(find("addresses").initializer, Some(expected));
    let masked = |mask, offset, generic| Initializer::MaskedAddress { mask, symbol: name, offset, generic };
    let expected = vec![masked(0xff, 0, false), masked(0xff00, 4, false), masked(0xff_0000, 0, true)];
    assert_eq!(find("bytes").initializer, Some(expected));
    assert_eq!(find("dynamic").dimensions, [None]);
    assert_eq!(find("dynamic").linkage, Linkage::Extern);
    assert_eq!(find("managed").attribute.as_deref(), Some(".managed"));
    assert_eq!(find("w").initializer, Some(vec![value(6)]));
    let printed = crate::print(&module);
    assert!(printed.contains(".global .s32 ragged[2][3] = {{1, 0, 0}, {2, 3}};"), "{printed}");
    assert!(printed.contains(".global .v2 .u32 pairs[2] = {{1, 2}, {3, 4}};"), "{printed}");
    assert!(printed.contains("{0xFF(name), 0xFF00(name+4), 0xFF0000(generic(name))}"), "{printed}");
}

#[test]
fn an_extern_declaration_may_precede_the_definition() {
    let module = module(
        ".extern .global .u32 a[2]; .extern .global .u32 a[2]; .func f() { .reg .u64 x; mov.u64 x, a; ret; } \
         .global .u32 b; .visible .global .u32 a[2] = {1, 2};",
    );
    assert_eq!(module.variables.len(), 2);
    assert_eq!(module.variables[0].linkage, Linkage::Visible);
    assert_eq!(module.items.iter().filter(|item| **item == Item::Variable(0)).count(), 3);
    assert!(
        message(".global .u32 a; .global .u32 a;").contains("`a` is already declared at line 4, column 14")
    );
    assert!(message(".extern .global .u32 a; .global .s32 a;").contains("is already declared"));
}

#[test]
fn parameters_keep_what_they_promise() {
    let module = module(
        ".visible .entry k(.param .u64 .ptr .global .align 16 a, .param .u64 .ptr b, .param .align 64 .b8 c[128], \
         .param .u64 .ptr .align 1 d, .param .f32 e) { ret; }\n\
         .func (.param .b32 r) f(.reg .b32 x, .param .b64 _, .param .b64 _) { st.param.b32 [r], x; ret; }",
    );
    let kernel = &module.functions[0];
    assert_eq!((kernel.return_count, kernel.parameter_count), (0, 5));
    let pointers: Vec<_> = kernel.variables.iter().map(|variable| variable.pointer).collect();
    let pointer = |space, alignment| Some(Pointer { space, alignment });
    let expected = [
        pointer(Space::Global, Some(16)),
        pointer(Space::Generic, None),
        None,
        pointer(Space::Generic, Some(1)),
        None,
    ];
    assert_eq!(pointers, expected);
    assert_eq!((kernel.variables[2].alignment, &kernel.variables[2].dimensions[..]), (64, &[Some(128)][..]));
    let function = &module.functions[1];
    assert_eq!((function.return_count, function.parameter_count), (1, 3));
    assert_eq!(function.variables[1].register, Some(crate::operand::Register(0)));
    let printed = crate::print(&module);
    assert!(printed.contains("st.param.b32 [r], %param1;"), "{printed}");
}

#[test]
fn directives_are_kept_in_order() {
    let module = module(
        ".weak .entry k() .maxntid 256, 1, 1 .reqntid 128 .minnctapersm 1 .maxnctapersm 2 .maxnreg 32 \
         .explicitcluster .reqnctapercluster 2,1,1 .maxclusterrank 8 .blocksareclusters .pragma \"nounroll\"; \
         { .pragma \"a\", \"b\"; ret; }\n\
         .func .attribute(.unified(19, 95)) f() .noreturn .abi_preserve 3;\n.pragma \"module\";",
    );
    assert_eq!(
        module.functions[0].directives,
        [
            Directive::MaxThreads(vec![256, 1, 1]),
            Directive::RequiredThreads(vec![128]),
            Directive::MinCtasPerMultiprocessor(1),
            Directive::MaxCtasPerMultiprocessor(2),
            Directive::MaxRegisters(32),
            Directive::ExplicitCluster,
            Directive::RequiredCluster(vec![2, 1, 1]),
            Directive::MaxClusterRank(8),
            Directive::BlocksAreClusters,
            Directive::Pragma("nounroll".to_owned()),
        ]
    );
    assert_eq!(
        module.functions[1].directives,
        [
            Directive::Other(".attribute(.unified(19, 95))".to_owned()),
            Directive::NoReturn,
            Directive::Other(".abi_preserve 3".to_owned()),
        ]
    );
    assert_eq!(module.items.last(), Some(&Item::Pragma("module".to_owned())));
    let pragmas = module.functions[0].body.as_deref().unwrap();
    assert_eq!(pragmas[..2], ["a", "b"].map(|text| Statement::Pragma(text.to_owned())));
}

#[test]
fn declarations_and_definition_are_one_function() {
    let module = module(
        ".weak .func f(.param .b32 a) .noreturn;\n.func (.param .b32 r) g();\n\
         .weak .func f(.param .b32 b) { call f, (b); ret; }\n.visible .func h(.param .b32 x) { ret; } .alias h, h;",
    );
    assert_eq!(module.functions.len(), 3);
    assert_eq!(
        module.items,
        [
            Item::Declaration(0),
            Item::Declaration(1),
            Item::Definition(0),
            Item::Definition(2),
            Item::Alias(2, 2)
        ]
    );
    assert_eq!(module.functions[0].variables[0].name, "b");
    assert_eq!(module.functions[0].directives, [Directive::NoReturn]);
    for (text, error) in [
        (".func f() {} .func f() {}", "line 4, column 20: `f` is already declared at line 4, column 7"),
        (
            ".func f(); .entry f() {}",
            "line 4, column 19: `f` does not match its declaration at line 4, column 7",
        ),
        (
            ".func f(.param .b32 a); .func f(.param .b64 a) {}",
            "line 4, column 31: `f` does not match its declaration at line 4, column 7",
        ),
        (
            ".extern .func f(); .func f() {}",
            "line 4, column 26: `f` does not match its declaration at line 4, column 15",
        ),
        (".global .u32 f; .func f() {}", "line 4, column 23: `f` is already declared at line 4, column 14"),
        (".alias f, f;", "line 4, column 8: `f` is not declared"),
        (".global .u32 x; .alias x, x;", "line 4, column 24: expected a function, found `x`"),
    ] {
        assert_eq!(message(text), error);
    }
}

#[test]
fn debug_information_is_kept() {
    let text = ".entry k() { $L__tmp0: .loc 1 2 3\n ret;\n\
                .loc 1 4 5, function_name $L__info_string0+8, inlined_at 1 6 7 $L__tmp1: ret; }\n\
                .file 1 \"a \\\" b.cu\"\n.file\t2 \"c.cu\", 1700000000, 42\n\
                .section .debug_str\n{ // text\n$L__info_string0:\n.b8 95,  90,0 // name\n\n}\n\
                .section .debug_info { .b64 $L__tmp1\n .b32 .debug_str }";
    let module = module(text);
    assert_eq!(
        module.items[1..],
        [
            Item::File { index: 1, name: "a \\\" b.cu".to_owned(), stamp: None },
            Item::File { index: 2, name: "c.cu".to_owned(), stamp: Some((1_700_000_000, 42)) },
            Item::Section {
                name: ".debug_str".to_owned(),
                lines: vec!["$L__info_string0:".to_owned(), ".b8 95, 90,0".to_owned()]
            },
            Item::Section {
                name: ".debug_info".to_owned(),
                lines: vec![".b64 $L__tmp1".to_owned(), ".b32 .debug_str".to_owned()]
            },
        ]
    );
    let printed = crate::print(&module);
    assert!(printed.contains("$L0:\n\t.loc 1 2 3\n"), "{printed}");
    let inlined = ".loc 1 4 5, function_name $L__info_string0+8, inlined_at 1 6 7\n$L__tmp1:\n";
    assert!(printed.contains(inlined), "{printed}");
}

#[test]
fn comments_and_line_ends_are_blanks() {
    let text = format!(
        "// first\r\n/* .version 1.0 */{HEADER}.entry k() {{\r\n\tret; // the end\r\n/* {{ \n */ }} // no newline"
    );
    let module = parse(&text).unwrap();
    let Some([Statement::Instruction(ret)]) = module.functions[0].body.as_deref() else {
        panic!("one statement")
    };
    assert_eq!((ret.position.line, ret.position.column), (6, 2));
}

#[test]
fn registers_of_every_type_have_their_own_names() {
    let types: Vec<_> = Type::ALL.iter().filter(|ty| parse(&declare(**ty)).is_ok()).collect();
    assert_eq!(types.len(), 18);
    fn declare(ty: Type) -> String {
        format!("{HEADER}.func f(.reg {ty} a) {{ .reg {ty} b, c<3>; ret; }}")
    }
    assert_eq!(message(".global .pred p;"), "line 4, column 9: `.pred` is not a type that can be declared");
    assert_eq!(message(".global .bf16 p;"), "line 4, column 9: `.bf16` is not a type that can be declared");
}

#[test]
fn errors_name_the_token_and_what_should_be_there() {
    for (text, error) in [
        ("frobnicate", "line 4, column 1: expected a directive, found `frobnicate`"),
        (".frob", "line 4, column 1: `.frob` is not a directive that may stand here"),
        (".reg .b32 r;", "line 4, column 1: `.reg` is not a directive that may stand here"),
        (".visible x", "line 4, column 10: expected `.entry`, `.func` or a state space, found `x`"),
        (".entry k(", "line 4, column 10: expected `.param` or `.reg`, found the end of the text"),
        (".entry k(.param .u32 a", "line 4, column 23: expected `,` or `)`, found the end of the text"),
        (".entry k() ret;", "line 4, column 12: expected `{` or `;`, found `ret`"),
        (".entry k() .fast {", "line 4, column 12: `.fast` is not a directive that may stand here"),
        (".entry k() { ret", "line 4, column 17: expected an operand, found the end of the text"),
        (".entry k() { {", "line 4, column 15: expected `}`, found the end of the text"),
        (".entry k() { } }", "line 4, column 16: expected a directive, found `}`"),
        (".entry k() { ; }", "line 4, column 14: expected an instruction, found `;`"),
        (".entry k() { @p }", "line 4, column 15: `p` is not declared"),
        (".entry k() { .frob }", "line 4, column 14: `.frob` is not a directive that may stand here"),
        (".entry k() { .loc 1 2; }", "line 4, column 22: expected a number, found `;`"),
        (".entry k() { .reg .b32 a b; }", "line 4, column 26: expected `,` or `;`, found `b`"),
        (".entry k() { .reg a; }", "line 4, column 19: expected a type, found `a`"),
        (".entry k() .maxntid x { }", "line 4, column 21: expected a number, found `x`"),
        (".entry k() .maxnreg 4294967296 { }", "line 4, column 21: `4294967296` is out of range"),
        (
            ".global .u32 %g;",
            "line 4, column 14: expected a name without `%`, which is for registers, found `%g`",
        ),
        (".global .align 3 .u32 g;", "line 4, column 16: expected a power of two, found `3`"),
        (".global .u32 g[-1];", "line 4, column 16: `-` is out of range"),
        (".global .u32 g[1.5];", "line 4, column 16: expected an integer, found `1.5`"),
        (".global .u32 g[2][];", "line 4, column 19: expected a number, found `]`"),
        (".global .u32 g[1073741825];", "line 4, column 14: `g` is too large"),
        (".global .u32 g[65536][65536];", "line 4, column 14: `g` is too large"),
        (
            ".global .u32 g[2] = {1, 2, 3};",
            "line 4, column 28: the initialiser has more elements than the variable",
        ),
        (".global .u32 g[2][2] = {1, 2};", "line 4, column 25: expected `{`, found `1`"),
        (".global .b8 g[4][1000000000] = {{1}, {2}};", "line 4, column 38: `{` is too large"),
        (".global .u32 g = h;", "line 4, column 18: `h` is not declared"),
        (".file 1 x", "line 4, column 9: expected a string, found `x`"),
        (".file 1 \"x", "line 4, column 9: unterminated string"),
        (".pragma \"x\n\";", "line 4, column 9: unterminated string"),
        (".section .debug_str { ", "line 4, column 10: unbalanced `{`"),
        (".func .attribute(.managed f();", "line 4, column 17: unbalanced `(`"),
        ("/* ", "line 4, column 1: unterminated comment"),
        (".entry k() { ret; /* }", "line 4, column 19: unterminated comment"),
        ("\u{0}", "line 4, column 1: expected a directive, found `\\u{0}`"),
    ] {
        assert_eq!(message(text), error, "{text}");
    }
}

#[test]
fn what_the_table_leaves_out_is_told_from_what_is_no_ptx() {
    let module = |text: &str| format!(".version 8.7\n.target sm_90a\n.address_size 64\n{text}");
    for (text, error) in [
        (
            ".entry k() { .reg .f32 %f<6>;\ntex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f5, %f5}]; }",
            "line 5, column 1: `tex.2d.v4.f32.f32` is not supported",
        ),
        (
            ".entry k() { vset.u32.u32.eq %r1, %r2, %r3; }",
            "line 4, column 14: `vset.u32.u32.eq` is not supported",
        ),
        (".global .texref image;", "line 4, column 9: `.texref` is not supported as a type"),
    ] {
        let wrong = parse(&module(text)).expect_err("text that is not supported");
        assert_eq!(wrong.to_string(), error);
        assert!(wrong.kind.is_unsupported());
    }
    assert!(!parse(&module(".entry k() { texture; }")).expect_err("no PTX").kind.is_unsupported());
}

#[test]
fn errors_list_the_forms_of_an_instruction() {
    assert_eq!(
        body_error("addd.s32 %r1, %r1, 1;"),
        "line 5, column 1: `addd.s32` is not an instruction; did you mean `add`?"
    );
    let unknown = body_error("bra.foo L;");
    assert_eq!(
        unknown,
        "line 5, column 1: unknown modifier .foo of `bra`; its forms are:\n    bra{.uni} target:label"
    );
    let combination = body_error("bra.uni.uni L;");
    assert!(
        combination.contains("no form of `bra` takes exactly these modifiers; its forms are:\n    bra{.uni}")
    );
    let operands = body_error("fma.rn.f32 %f1, %f1;");
    assert!(operands.starts_with(
        "line 5, column 1: `fma.rn.f32`: the operands do not fit; the form is one of:\n    fma"
    ));
    assert!(body_error("bra [%r1];").contains("the operands do not fit"));
}

#[test]
fn deep_nesting_is_refused() {
    let scopes = |deep| format!(".entry k() {{ {} ret; {} }}", "{".repeat(deep), "}".repeat(deep));
    assert_eq!(module(&scopes(500)).functions.len(), 1);
    let deep = 100_000;
    assert!(message(&scopes(deep)).ends_with("nested too deeply"));
    let braces = message(&format!(".global .u32 g{} = {};", "[1]".repeat(16), "{".repeat(deep)));
    assert!(braces.contains("expected"), "{braces}");
    assert!(message(&format!(".global .u32 g{};", "[1]".repeat(deep))).ends_with("nested too deeply"));
    assert!(
        body_error(&format!("mov.b64 %r1, {}", "{".repeat(deep))).contains("expected an operand, found `{`")
    );
}

#[test]
fn every_name_of_the_table_is_found() {
    for row in crate::table::rows() {
        assert_eq!(
            crate::table::find_row(row.name).map(|(found, rest)| (found.name, rest)),
            Some((row.name, ""))
        );
    }
}
