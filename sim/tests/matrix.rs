//! Matrix instructions in whole kernels, against sums worked out here in f64 with layouts taken from the PTX ISA.

#[path = "matrix/elements.rs"]
mod elements;
#[path = "matrix/misuse.rs"]
mod misuse;
#[path = "matrix/mma.rs"]
mod mma;
#[path = "matrix/moves.rs"]
mod moves;
#[path = "matrix/wgmma.rs"]
mod wgmma;

use rorqual_sim::{Device, Launch, Outcome};

/// Runs a kernel called `test` on `inputs`, one buffer an argument; the last argument is an output of so many bytes.
fn run_on(
    device: &mut Device,
    text: &str,
    threads: u32,
    inputs: &[Vec<u8>],
    output: usize,
) -> (Outcome, Vec<u8>) {
    let module = device.load(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut launch = Launch::new(&module, "test").threads([threads, 1, 1]);
    for (index, input) in inputs.iter().enumerate() {
        let input = device.allocate_from(&format!("input {index}"), input).expect("memory");
        launch = launch.argument(input);
    }
    let result = device.allocate_from("output", &vec![0xee; output]).expect("memory");
    let outcome = device.launch(&launch.argument(result)).expect("a launch");
    let result =
        if outcome.reports.is_empty() { device.read(result, output).expect("the output") } else { vec![] };
    (outcome, result)
}

/// The same on a fresh device of sm_90a.
fn run(text: &str, threads: u32, inputs: &[Vec<u8>], output: usize) -> (Outcome, Vec<u8>) {
    let mut device = Device::new("sm_90a".parse().expect("an architecture")).expect("a device");
    run_on(&mut device, text, threads, inputs, output)
}

/// The same, of a kernel that must be right.
fn run_well(text: &str, threads: u32, inputs: &[Vec<u8>], output: usize) -> Vec<u8> {
    let (outcome, result) = run(text, threads, inputs, output);
    assert!(outcome.reports.is_empty(), "{}\n{text}", outcome.reports[0]);
    result
}

/// A module of one kernel `test` with so many pointer parameters, `%p0` on, each in `%rd0` on.
fn module(pointers: usize, declarations: &str, body: &str) -> String {
    let parameters: Vec<String> = (0..pointers).map(|index| format!(".param .u64 p{index}")).collect();
    let loads: String =
        (0..pointers).map(|index| format!("    ld.param.u64 %rd{index}, [p{index}];\n")).collect();
    format!(
        ".version 8.4\n.target sm_90a\n.address_size 64\n{declarations}\n.visible .entry test({})\n{{\n    \
         .reg .b64 %rd<100>;\n    .reg .b32 %r<100>;\n    .reg .pred %p<10>;\n{loads}{body}    ret;\n}}\n",
        parameters.join(", ")
    )
}

/// Words as bytes.
fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Bytes as words.
fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}
