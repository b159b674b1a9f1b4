//! Matrix instructions used against their rules: each is reported, and the right use beside it is not.

use super::{Device, module, run, run_on, words};
use rorqual_sim::{Outcome, Rule};

/// Fills shared memory with ones of f16 and multiplies: 128 threads, A and B in shared memory, D of 64 by 8.
const START: &str = "    .reg .b32 %d<4>, %e<4>, %a<4>;
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, smem;
    mul.lo.u32 %r2, %r0, 32;
    add.u32 %r3, %r1, %r2;
    mov.u32 %r4, 0x3c003c00;
    st.shared.v4.b32 [%r3], {%r4, %r4, %r4, %r4};
    st.shared.v4.b32 [%r3+16], {%r4, %r4, %r4, %r4};
    mov.b32 %d0, 0; mov.b32 %d1, 0; mov.b32 %d2, 0; mov.b32 %d3, 0;
    mov.b32 %e0, 0; mov.b32 %e1, 0; mov.b32 %e2, 0; mov.b32 %e3, 0;
    mov.b32 %a0, %r4; mov.b32 %a1, %r4; mov.b32 %a2, %r4; mov.b32 %a3, %r4;
    mov.b64 %rd11, 0x0000001000080040;
    mov.b64 %rd12, 0x0000001000080040;
    shr.u32 %r5, %r0, 5;
    mul.wide.u32 %rd13, %r0, 16;
    add.u64 %rd14, %rd0, %rd13;
    fence.proxy.async;
    bar.sync 0;
";
const FENCE: &str = "    wgmma.fence.sync.aligned;\n";
const PRODUCT: &str = "    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d0, %d1, %d2, %d3}, %rd11, %rd12, 1, 1, 1, 0, 0;\n";
const OTHER_PRODUCT: &str = "    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%e0, %e1, %e2, %e3}, %rd11, %rd12, 1, 1, 1, 0, 0;\n";
const FRAGMENT_PRODUCT: &str = "    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%d0, %d1, %d2, %d3}, {%a0, %a1, %a2, %a3}, %rd12, 1, 1, 1, 0;\n";
const COMMIT: &str = "    wgmma.commit_group.sync.aligned;\n";
const WAIT: &str = "    wgmma.wait_group.sync.aligned 0;\n";
const STORE: &str = "    st.global.v4.b32 [%rd14], {%d0, %d1, %d2, %d3};\n";

fn kernel(parts: &[&str]) -> String {
    module(1, ".shared .align 1024 .b8 smem[4096];", &[&[START], parts].concat().concat())
}

fn outcome(parts: &[&str]) -> Outcome {
    run(&kernel(parts), 128, &[], 2048).0
}

/// The rule that the kernel breaks, and the text of the two lines that the report names.
fn broken(parts: &[&str]) -> (Rule, String, String) {
    let text = kernel(parts);
    let (outcome, _) = run(&text, 128, &[], 2048);
    let report = outcome.reports.first().unwrap_or_else(|| panic!("no report:\n{text}"));
    let line =
        |number: u32| text.lines().nth((number as usize).wrapping_sub(1)).unwrap_or("").trim().to_owned();
    (report.rule, line(report.line), report.other_line.map_or_else(String::new, line))
}

fn assert_right(parts: &[&str]) {
    let outcome = outcome(parts);
    assert!(outcome.reports.is_empty(), "{}\n{}", outcome.reports[0], kernel(parts));
}

#[test]
fn the_right_kernel() {
    let output = words(&super::run_well(&kernel(&[FENCE, PRODUCT, COMMIT, WAIT, STORE]), 128, &[], 2048));
    assert_eq!(output, [16f32.to_bits(); 512]);
}

#[test]
fn accumulators_before_the_wait() {
    for touch in ["    mov.b32 %r9, %d3;\n", "    mov.b32 %d3, 0;\n", "    st.global.b32 [%rd14], %d3;\n"] {
        let (rule, line, other) = broken(&[FENCE, PRODUCT, COMMIT, touch, WAIT, STORE]);
        assert_eq!((rule, line.as_str(), other.as_str()), (Rule::InFlight, touch.trim(), PRODUCT.trim()));
    }
    // A wait for the group before does not retire this one.
    let wait_before = "    wgmma.wait_group.sync.aligned 1;\n";
    let (rule, line, _) = broken(&[FENCE, PRODUCT, COMMIT, wait_before, STORE, WAIT]);
    assert_eq!((rule, line.as_str()), (Rule::InFlight, STORE.trim()));
    // Nor does a wait retire what was not committed.
    let (rule, line, _) = broken(&[FENCE, PRODUCT, WAIT, STORE, COMMIT, WAIT]);
    assert_eq!((rule, line.as_str()), (Rule::InFlight, STORE.trim()));
}

#[test]
fn groups_retire_in_order() {
    let wait_but_one = "    wgmma.wait_group.sync.aligned 1;\n";
    assert_right(&[FENCE, PRODUCT, COMMIT, OTHER_PRODUCT, COMMIT, wait_but_one, STORE, WAIT]);
    let (rule, ..) = broken(&[FENCE, OTHER_PRODUCT, COMMIT, PRODUCT, COMMIT, wait_but_one, STORE, WAIT]);
    assert_eq!(rule, Rule::InFlight);
}

#[test]
fn products_with_the_same_accumulators_follow_each_other() {
    let text = kernel(&[FENCE, PRODUCT, PRODUCT, COMMIT, FRAGMENT_PRODUCT, COMMIT, WAIT, STORE]);
    assert_eq!(words(&super::run_well(&text, 128, &[], 2048)), [48f32.to_bits(); 512]);
    let turned = PRODUCT.replace("%d0, %d1", "%d1, %d0");
    let (rule, line, other) = broken(&[FENCE, PRODUCT, &turned, COMMIT, WAIT, STORE]);
    assert_eq!((rule, line.as_str(), other.as_str()), (Rule::InFlight, turned.trim(), PRODUCT.trim()));
}

#[test]
fn fragments_in_flight() {
    let write = "    mov.b32 %a2, 0;\n";
    let (rule, line, other) = broken(&[FENCE, FRAGMENT_PRODUCT, COMMIT, write, WAIT, STORE]);
    assert_eq!(
        (rule, line.as_str(), other.as_str()),
        (Rule::InFlight, write.trim(), FRAGMENT_PRODUCT.trim())
    );
    assert_right(&[FENCE, FRAGMENT_PRODUCT, COMMIT, "    mov.b32 %r9, %a2;\n", WAIT, write, STORE]);
    // An accumulator in flight as a fragment of the next product.
    let next = FRAGMENT_PRODUCT.replace("%a1", "%e1");
    let (rule, line, other) = broken(&[FENCE, OTHER_PRODUCT, &next, COMMIT, WAIT, STORE]);
    assert_eq!((rule, line.as_str(), other.as_str()), (Rule::InFlight, next.trim(), OTHER_PRODUCT.trim()));
}

#[test]
fn a_warp_ends_with_a_product_in_flight() {
    let (rule, _, other) = broken(&[FENCE, PRODUCT, COMMIT]);
    assert_eq!((rule, other.as_str()), (Rule::ExitInFlight, PRODUCT.trim()));
}

#[test]
fn a_product_needs_a_fence() {
    let (rule, line, _) = broken(&[PRODUCT, COMMIT, WAIT, STORE]);
    assert_eq!((rule, line.as_str()), (Rule::InFlight, PRODUCT.trim()));
}

#[test]
fn a_product_needs_whole_warps() {
    let some = format!("    setp.lt.u32 %p0, %r0, 100;\n    @%p0 bra there;\n{PRODUCT}there:\n");
    let (rule, line, _) = broken(&[FENCE, &some, COMMIT, WAIT, STORE]);
    assert_eq!((rule, line.as_str()), (Rule::Convergence, PRODUCT.trim()));
    let exited = "    and.b32 %r9, %r0, 31;\n    setp.eq.u32 %p0, %r9, 7;\n    @%p0 exit;\n";
    assert_eq!(broken(&[exited, FENCE, PRODUCT, COMMIT, WAIT, STORE]).0, Rule::Convergence);
}

#[test]
fn a_product_needs_the_whole_warpgroup() {
    let without_a_warp = format!("    setp.eq.u32 %p0, %r5, 2;\n    @%p0 bra there;\n{PRODUCT}there:\n");
    assert_eq!(broken(&[FENCE, &without_a_warp, COMMIT, WAIT, STORE]).0, Rule::Deadlock);
    let two_ways = format!(
        "    setp.eq.u32 %p0, %r5, 2;\n    @%p0 bra there;\n{PRODUCT}    bra.uni after;\nthere:\n{PRODUCT}after:\n"
    );
    assert_eq!(broken(&[FENCE, &two_ways, COMMIT, WAIT, STORE]).0, Rule::Convergence);
    let (outcome, _) = run(&kernel(&[FENCE, PRODUCT, COMMIT, WAIT, STORE]), 96, &[], 2048);
    assert_eq!(outcome.reports.first().expect("a report").rule, Rule::Convergence);
}

#[test]
fn operands_are_the_same_in_all_lanes_and_warps() {
    let by_lane = "    cvt.u64.u32 %rd20, %r0;\n    add.u64 %rd12, %rd12, %rd20;\n";
    assert_eq!(broken(&[by_lane, FENCE, PRODUCT, COMMIT, WAIT, STORE]).0, Rule::Convergence);
    let by_warp = "    cvt.u64.u32 %rd20, %r5;\n    add.u64 %rd12, %rd12, %rd20;\n";
    assert_eq!(broken(&[by_warp, FENCE, PRODUCT, COMMIT, WAIT, STORE]).0, Rule::Convergence);
    for bound in [3, 64] {
        let scale = format!("    setp.lt.u32 %p1, %r0, {bound};\n");
        let product = PRODUCT.replace(", 1, 1, 1, 0, 0;", ", %p1, 1, 1, 0, 0;");
        assert_eq!(broken(&[&scale, FENCE, &product, COMMIT, WAIT, STORE]).0, Rule::Convergence);
    }
}

#[test]
fn descriptors_are_checked() {
    let changes = [
        ("    mov.b64 %rd12, 0x0000001000080140;\n", Rule::Bounds),
        ("    mov.b64 %rd12, 0x0000001000080004;\n", Rule::Bounds),
        ("    mov.b64 %rd12, 0x0020001000080040;\n", Rule::Descriptor),
        ("    .reg .b64 %u;\n    mov.b64 %rd12, %u;\n", Rule::Uninitialized),
    ];
    for (change, rule) in changes {
        assert_eq!(broken(&[change, FENCE, PRODUCT, COMMIT, WAIT, STORE]).0, rule, "{change}");
    }
}

#[test]
fn undefined_accumulators_matter_only_if_they_are_added_to() {
    let undefined = PRODUCT.replace("%d2, %d3", "%u2, %u3");
    let declare = "    .reg .b32 %u2, %u3;\n";
    let store = STORE.replace("%d2, %d3", "%u2, %u3");
    assert_eq!(broken(&[declare, FENCE, &undefined, COMMIT, WAIT, &store]).0, Rule::UninitializedOutput);
    let fresh = undefined.replace(", 1, 1, 1, 0, 0;", ", 0, 1, 1, 0, 0;");
    assert_right(&[declare, FENCE, &fresh, &undefined, COMMIT, WAIT, &store]);
    // A product that continues one with undefined accumulators, whether that has been executed or not.
    let late = "    nanosleep.u32 1000;\n";
    assert_eq!(
        broken(&[declare, FENCE, &undefined, late, &undefined, COMMIT, WAIT, &store]).0,
        Rule::UninitializedOutput
    );
    assert_eq!(
        broken(&[declare, FENCE, &undefined, &undefined, COMMIT, WAIT, &store]).0,
        Rule::UninitializedOutput
    );
}

/// Rows of A that were never written spoil the same rows of D, columns of B the same columns, and nothing else.
#[test]
fn undefined_operands_spoil_their_rows_and_columns() {
    let spoil_row_9 = "    .reg .b32 %u;\n    add.u32 %r10, %r1, 272;\n    setp.eq.u32 %p2, %r0, 0;\n    \
                       @%p2 st.shared.b32 [%r10], %u;\n    fence.proxy.async;\n    bar.sync 0;\n";
    // B lies in the first 256 bytes, A there too; byte 272 is row 1 of the second block of 8: row 9 of A.
    let of_row_9 = "    setp.lt.u32 %p3, %r0, 4;\n    setp.gt.u32 %p4, %r0, 7;\n    or.pred %p5, %p3, %p4;\n";
    let product = PRODUCT;
    let all_but_it = "    @%p5 st.global.v4.b32 [%rd14], {%d0, %d1, %d2, %d3};\n    @!%p5 st.global.v2.b32 [%rd14], {%d0, %d1};\n";
    assert_right(&[spoil_row_9, of_row_9, FENCE, product, COMMIT, WAIT, all_but_it]);
    let it = "    st.global.b32 [%rd14+12], %d3;\n";
    assert_eq!(
        broken(&[spoil_row_9, of_row_9, FENCE, product, COMMIT, WAIT, it]).0,
        Rule::UninitializedOutput
    );

    // Row 3 of A is column 3 of B as well: the columns of registers 1 and 3 of the threads with t = 1.
    let spoil_line_3 = spoil_row_9.replace("272", "48");
    let column = "    and.b32 %r11, %r0, 3;\n    setp.eq.u32 %p3, %r11, 1;\n    @%p3 mov.b32 %d1, 0;\n    @%p3 mov.b32 %d3, 0;\n";
    let row = "    shr.u32 %r12, %r0, 2;\n    setp.eq.u32 %p4, %r12, 3;\n    @%p4 mov.b32 %d0, 0;\n    @%p4 mov.b32 %d1, 0;\n";
    assert_right(&[&spoil_line_3, FENCE, product, COMMIT, WAIT, column, row, STORE]);
    assert_eq!(
        broken(&[&spoil_line_3, FENCE, product, COMMIT, WAIT, column, STORE]).0,
        Rule::UninitializedOutput
    );
    assert_eq!(
        broken(&[&spoil_line_3, FENCE, product, COMMIT, WAIT, row, STORE]).0,
        Rule::UninitializedOutput
    );
    // A fragment with an undefined row.
    let fragment = "    .reg .b32 %u;\n    setp.eq.u32 %p2, %r0, 13;\n    @%p2 mov.b32 %a3, %u;\n";
    let row = "    shr.u32 %r12, %r0, 2;\n    setp.eq.u32 %p4, %r12, 3;\n    @%p4 mov.b32 %d2, 0;\n    @%p4 mov.b32 %d3, 0;\n";
    assert_right(&[fragment, FENCE, FRAGMENT_PRODUCT, COMMIT, WAIT, row, STORE]);
    assert_eq!(
        broken(&[fragment, FENCE, FRAGMENT_PRODUCT, COMMIT, WAIT, STORE]).0,
        Rule::UninitializedOutput
    );
}

/// A product reads shared memory somewhere between issue and wait: a kernel that reuses it too early may see either.
#[test]
fn shared_memory_is_read_between_issue_and_wait() {
    let reuse = "    nanosleep.u32 100;\n    mov.u32 %r4, 0;\n    setp.eq.u32 %p2, %r0, 0;\n    @%p2 st.shared.b32 [%r1], %r4;\n    bar.sync 0;\n";
    let text = kernel(&[FENCE, PRODUCT, COMMIT, reuse, WAIT, STORE]);
    let mut seen = [false; 2];
    for seed in 0..32 {
        let mut device = Device::new("sm_90a".parse().expect("an architecture")).expect("a device");
        // The reuse is a race too; here it is shown what comes of it.
        (device.options_mut().seed, device.options_mut().race) = (seed, None);
        let (outcome, output) = run_on(&mut device, &text, 128, &[], 2048);
        assert!(outcome.reports.is_empty(), "{}", outcome.reports[0]);
        match words(&output)[0] {
            word if word == 16f32.to_bits() => seen[0] = true,
            word if word == 14f32.to_bits() => seen[1] = true,
            other => panic!("{} is neither", f32::from_bits(other)),
        }
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn warp_products_need_the_whole_warp() {
    let product = "    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%d0, %d1, %d2, %d3}, {%a0, %a1, %a2, %a3}, {%a0, %a1}, \
                   {%e0, %e1, %e2, %e3};\n";
    assert_right(&[product, STORE]);
    let some = format!("    setp.lt.u32 %p0, %r0, 100;\n    @%p0 bra there;\n{product}there:\n");
    assert_eq!(broken(&[&some, STORE]).0, Rule::Convergence);
    let undefined = product.replace("%a1}, {%e", "%u}, {%e");
    assert_eq!(broken(&["    .reg .b32 %u;\n", &undefined, STORE]).0, Rule::UninitializedOutput);
}

#[test]
fn wmma_addresses_are_aligned_and_uniform() {
    let load = |address: &str, stride: u32| {
        format!(
            "    .reg .b32 %f<8>;\n    wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {{%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}}, [{address}], {stride};\n"
        )
    };
    assert_right(&[&load("%r1", 64)]);
    assert_eq!(broken(&[&load("%r1+16", 64)]).0, Rule::Alignment);
    assert_eq!(broken(&[&load("%r1", 20)]).0, Rule::Alignment);
    assert_eq!(broken(&[&load("%r3", 64)]).0, Rule::Convergence);
    assert_eq!(broken(&[&load("%r1+4064", 64)]).0, Rule::Bounds);
}
