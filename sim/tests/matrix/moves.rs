//! `ldmatrix`, `stmatrix`, `movmatrix`.

use super::{bytes, module, run, run_well, words};
use rorqual_sim::Rule;
use std::fmt::Write;

/// Element `index` of shared memory in these tests.
const fn element(index: usize) -> u32 {
    (index * 7 + 1) as u32 & 0xffff
}

/// A kernel of a warp: shared memory holds 1024 elements; `%r1` is its address, `%rd11` the generic one; lane l's row
/// starts at element `24 * l` (16-byte aligned, not in order of banks).
fn kernel(body: &str) -> String {
    let mut text = String::from(
        "    .reg .b16 %h;\n    mov.u32 %r0, %tid.x;\n    mov.u32 %r1, smem;\n    mov.u32 %r2, %r0;\nfill:\n    \
         mul.lo.u32 %r3, %r2, 7;\n    add.u32 %r3, %r3, 1;\n    cvt.u16.u32 %h, %r3;\n    mul.lo.u32 %r4, %r2, 2;\n    \
         add.u32 %r4, %r4, %r1;\n    st.shared.b16 [%r4], %h;\n    add.u32 %r2, %r2, 32;\n    \
         setp.lt.u32 %p0, %r2, 1024;\n    @%p0 bra fill;\n    bar.warp.sync -1;\n    mul.lo.u32 %r5, %r0, 48;\n    \
         add.u32 %r6, %r5, %r1;\n    cvt.u64.u32 %rd10, %r6;\n    cvta.shared.u64 %rd11, %rd10;\n    \
         mul.wide.u32 %rd12, %r0, 4;\n    add.u64 %rd13, %rd0, %rd12;\n",
    );
    text += body;
    module(1, ".shared .align 16 .b8 smem[2048];", &text)
}

fn stores(registers: std::ops::Range<usize>) -> String {
    registers.enumerate().fold(String::new(), |mut text, (index, register)| {
        let _ = writeln!(text, "    st.global.b32 [%rd13+{}], %r{register};", index * 128);
        text
    })
}

/// What lane `lane` holds of a matrix whose rows start at `row(0)` to `row(7)`.
fn expected(row: impl Fn(usize) -> usize, transposed: bool, lane: usize) -> u32 {
    let (g, pair) = (lane / 4, 2 * (lane % 4));
    let at = |line: usize, place: usize| element(row(line) + place);
    if transposed { at(pair, g) | at(pair + 1, g) << 16 } else { at(g, pair) | at(g, pair + 1) << 16 }
}

#[test]
fn ldmatrix_loads_rows_and_columns() {
    for (count, name) in [(1, "x1"), (2, "x2"), (4, "x4")] {
        for transposed in [false, true] {
            for space in [".shared", ""] {
                let trans = if transposed { ".trans" } else { "" };
                let address = if space.is_empty() { "%rd11" } else { "%r6" };
                let registers: Vec<String> =
                    (20..20 + count).map(|register| format!("%r{register}")).collect();
                // The addresses of lanes that have no row do not count, be they undefined.
                let text = kernel(&format!(
                    "    setp.lt.u32 %p1, %r0, {};\n    .reg .b32 %q;\n    .reg .b64 %qd;\n    @%p1 mov.u32 %q, %r6;\n    \
                     @%p1 mov.b64 %qd, %rd11;\n    ldmatrix.sync.aligned.m8n8.{name}{trans}{space}.b16 {{{}}}, [{}];\n{}",
                    8 * count,
                    registers.join(", "),
                    if address == "%r6" { "%q" } else { "%qd" },
                    stores(20..20 + count)
                ));
                let output = words(&run_well(&text, 32, &[], 128 * count));
                for (index, word) in output.into_iter().enumerate() {
                    let (matrix, lane) = (index / 32, index % 32);
                    let row = |line: usize| 24 * (8 * matrix + line);
                    assert_eq!(
                        word,
                        expected(row, transposed, lane),
                        "{name}{trans}{space}: matrix {matrix}, lane {lane}"
                    );
                }
            }
        }
    }
}

#[test]
fn stmatrix_stores_what_ldmatrix_loads() {
    for transposed in [false, true] {
        let trans = if transposed { ".trans" } else { "" };
        // Stored to where it came from after a change, and read back element by element.
        let text = kernel(&format!(
            "    ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%r20, %r21, %r22, %r23}}, [%r6];\n    \
             not.b32 %r20, %r20;\n    not.b32 %r23, %r23;\n    \
             stmatrix.sync.aligned.m8n8.x4{trans}.b16 [%rd11], {{%r20, %r21, %r22, %r23}};\n    bar.warp.sync -1;\n    \
             ld.shared.v4.b32 {{%r30, %r31, %r32, %r33}}, [%r6];\n{}",
            stores(30..34)
        ));
        let output = words(&run_well(&text, 32, &[], 512));
        for (index, word) in output.into_iter().enumerate() {
            let (part, lane) = (index / 32, index % 32);
            let original = element(24 * lane + 2 * part) | element(24 * lane + 2 * part + 1) << 16;
            let changed = matches!(lane / 8, 0 | 3);
            assert_eq!(word, if changed { !original } else { original }, "{trans} lane {lane}, part {part}");
        }
    }
}

#[test]
fn movmatrix_transposes() {
    let text = kernel(&format!(
        "    ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r20}}, [%r6];\n    \
         movmatrix.sync.aligned.m8n8.trans.b16 %r21, %r20;\n    ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {{%r22}}, \
         [%r6];\n{}",
        stores(20..23)
    ));
    let output = words(&run_well(&text, 32, &[], 384));
    assert_eq!(output[32..64], output[64..96]);
    assert_ne!(output[..32], output[32..64]);
}

fn fault_of(body: &str) -> Rule {
    let (outcome, _) = run(&kernel(body), 32, &[], 128);
    outcome.reports.first().expect("a report").rule
}

#[test]
fn rows_must_be_aligned_and_in_shared_memory() {
    let load =
        |address: &str| format!("    ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r20}}, [{address}];\n");
    assert_eq!(fault_of(&load("%r6+8")), Rule::Alignment);
    assert_eq!(fault_of(&load("%r6+2048")), Rule::Bounds);
    assert_eq!(fault_of("    ldmatrix.sync.aligned.m8n8.x1.b16 {%r20}, [%rd0];\n"), Rule::Bounds);
    assert_eq!(
        fault_of(&format!("    setp.lt.u32 %p1, %r0, 16;\n    @%p1 bra there;\n{}there:\n", load("%r6"))),
        Rule::Convergence
    );
    let store = "    stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r6+4], {%r5};\n";
    assert_eq!(fault_of(store), Rule::Alignment);
}

#[test]
fn what_was_never_written_stays_undefined() {
    // The last row of the matrix lies behind what the kernel filled.
    let text = |stored_lanes: u32| {
        let body = format!(
            "    mov.u32 %r0, %tid.x;\n    mov.u32 %r1, smem;\n    mul.lo.u32 %r5, %r0, 16;\n    add.u32 %r6, %r5, %r1;\n    \
             setp.lt.u32 %p0, %r0, 7;\n    mov.u32 %r7, 5;\n    @%p0 st.shared.v4.b32 [%r6], {{%r7, %r7, %r7, %r7}};\n    \
             bar.warp.sync -1;\n    ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r20}}, [%r6];\n    \
             mul.wide.u32 %rd12, %r0, 4;\n    add.u64 %rd13, %rd0, %rd12;\n    setp.lt.u32 %p1, %r0, {stored_lanes};\n    \
             @!%p1 mov.b32 %r20, 9;\n    st.global.b32 [%rd13], %r20;\n"
        );
        module(1, ".shared .align 16 .b8 smem[512];", &body)
    };
    let right = run_well(&text(28), 32, &[], 128);
    assert_eq!(right, bytes(&[[5; 28].as_slice(), &[9; 4]].concat()));
    let (outcome, _) = run(&text(29), 32, &[], 128);
    assert_eq!(outcome.reports.first().expect("a report").rule, Rule::UninitializedOutput);
}
