//! Mistakes of a generator: each is an error with kernel, specialisation and source line, none a panic.

use rorqual_codegen::contract::Out;
use rorqual_codegen::mma::wgmma;
use rorqual_codegen::{Builder, GenerateError, Header, generate};
use rorqual_ptx::operand::Operand;

rorqual_codegen::arguments! {
    struct NoArguments, NoParameters {
        /// `[1]`
        out: Out<f32>,
    }
}

fn mistake(target: &str, threads: u32, body: impl Fn(&Builder)) -> GenerateError {
    let target = target.parse().expect("a target");
    let header = Header::new("kernel", "spec", target, threads);
    let kernel = generate::<NoArguments>(header, |builder, _| body(builder));
    kernel.expect_err("a mistake")
}

#[track_caller]
fn message(target: &str, threads: u32, body: impl Fn(&Builder)) -> String {
    let error = mistake(target, threads, body);
    assert_eq!((error.kernel.as_str(), error.file.as_str()), ("kernel", file!()));
    error.message
}

#[test]
fn the_line_is_that_of_the_generator() {
    let line = line!() + 1;
    let error = mistake("sm_80", 32, |builder| builder.emit("frobnicate.u32", vec![]));
    assert_eq!(
        error.to_string(),
        format!("kernel (\"spec\"): `frobnicate.u32` is not an instruction, at {}:{line}", file!())
    );
}

#[test]
fn the_first_mistake_counts() {
    let text = message("sm_80", 32, |builder| {
        builder.fail("first");
        builder.fail("second");
    });
    assert_eq!(text, "first");
}

#[test]
fn what_the_target_lacks_is_named() {
    let text = message("sm_80", 128, |builder| builder.fence_products());
    assert!(text.contains("wgmma.fence") && text.contains("sm_90a"), "{text}");
    let text = message("sm_80", 32, |builder| builder.sync_cluster());
    assert!(text.contains("barrier.cluster") && text.contains("sm_90"), "{text}");
}

#[test]
fn a_dependent_launch_waits_for_the_one_before() {
    let kernel = |action: Option<&'static str>| {
        let header = Header::new("kernel", "spec", "sm_90".parse().expect("a target"), 32).dependent_launch();
        generate::<NoArguments>(header, |builder, _| {
            action.into_iter().for_each(|action| builder.emit(action, vec![]));
        })
    };
    let launches = |action| kernel(Some(action)).map(|kernel| kernel.contract.dependent_launch);
    assert_eq!(launches("griddepcontrol.wait"), Ok(true));
    for action in [None, Some("griddepcontrol.launch_dependents")] {
        let error = kernel(action).expect_err("a mistake");
        assert_eq!(error.message, "a dependent launch needs `griddepcontrol.wait`, the kernel has none");
    }
}

#[test]
fn operands_of_the_wrong_type_are_caught_where_they_are_written() {
    let line = line!() + 3;
    let error = mistake("sm_80", 32, |builder| {
        let predicate = builder.thread().equals(0);
        builder.emit("bar.sync", vec![predicate.operand()]);
    });
    assert_eq!(error.line, line, "{error}");
}

#[test]
fn impossible_sizes_are_refused() {
    assert_eq!(message("sm_80", 33, |_| ()), "a CTA has a multiple of 32 threads up to 1024, not 33");
    assert_eq!(message("sm_80", 32, |builder| builder.role(0, 2, || ())), "warps 0..2 of 1");
    let text = message("sm_80", 64, |builder| builder.sync_named(16, 32));
    assert_eq!(text, "barrier 16 of 32 threads: 1 to 15, and whole warps");
    let text = message("sm_90a", 128, |builder| drop(builder.accumulator(12)));
    assert_eq!(text, "a product of 12 columns: 8 to 256 in steps of 8");
    let text = message("sm_90a", 128, |builder| builder.set_registers(300, true));
    assert_eq!(text, "300 registers of a thread: 24 to 256 in steps of 8");
    let text = message("sm_80", 32, |builder| {
        let _ = builder.shared::<f32>(1 << 20, 16);
    });
    assert_eq!(text, "4194304 bytes of shared memory, devices for sm_80 have 101376");
    let text = message("sm_80", 32, |builder| {
        let _ = builder.shared::<f32>(1, 2048);
    });
    assert_eq!(text, "shared memory is aligned to a power of two up to 1024, not 2048");
}

#[test]
fn products_of_what_no_instruction_multiplies_are_refused() {
    let text = message("sm_90a", 128, |builder| {
        let descriptor =
            builder.swizzled_descriptor(builder.shared::<u8>(1024, 1024), wgmma::Major::K).encode();
        let sum = builder.accumulator(wgmma::ROWS);
        let element = rorqual_codegen::element::ElementType::U32;
        sum.multiply_add(element, descriptor, descriptor, builder.known(true));
    });
    assert_eq!(text, "no product of a warpgroup takes u32");
    let text = message("sm_90a", 128, |builder| {
        let major = wgmma::Major::Mn { next_bytes: 8192 };
        let descriptor = builder.swizzled_descriptor(builder.shared::<u8>(1024, 1024), major).encode();
        let element = rorqual_codegen::element::ElementType::E4m3;
        builder.accumulator(8).multiply_add(element, descriptor, descriptor, builder.known(true));
    });
    assert_eq!(text, "a product of f8e4m3 takes operands with k contiguous");
    let text = message("sm_80", 32, |builder| builder.emit("add.u32", vec![Operand::int(1)]));
    assert_eq!(text, "the operands of `add.u32` fit none of its forms");
}
