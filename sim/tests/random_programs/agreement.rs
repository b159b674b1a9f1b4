//! What must hold of a program from the table: its text is canonical, the verifier accepts it, it runs to its end, and
//! neither the host's threads nor the order of warps nor how lanes meet again makes a difference.

use super::from_table::{CELLS, Choices, Program, SLOT, generate};
use rorqual_ptx::{parse, print, verify::verify};
use rorqual_sim::{Argument, Device, Launch, Options, Verdict};

/// CTAs of every launch.
const CTAS: u32 = 3;

/// What a run left.
#[derive(Debug, PartialEq)]
struct Left {
    verdict: Verdict,
    reports: Vec<String>,
    counters: String,
    bytes: Vec<u8>,
}

/// Bytes that depend on a seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let next = |state: &u64| Some((state ^ state >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1));
    std::iter::successors(Some(seed | 1), next).map(|state| (state >> 40) as u8).take(bytes).collect()
}

fn run(program: &Program, text: &str, options: &Options) -> Left {
    let mut device = Device::new(program.module.target).expect("a simulated architecture");
    *device.options_mut() = options.clone();
    let module = device.load(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let bytes = CTAS as usize * program.threads as usize * SLOT as usize;
    let data = device.allocate_from("data", &noise(bytes as u64, bytes)).expect("memory");
    let cells = device.allocate_from("cells", &[0; 8 * CELLS]).expect("memory");
    let launch = Launch::new(&module, "main").ctas([CTAS, 1, 1]).threads([program.threads, 1, 1]);
    let launch = launch.argument(Argument::from(data)).argument(Argument::from(cells));
    let outcome = device.launch(&launch).expect("a launch that suits the kernel");
    let verdict = outcome.reports.first().map_or(Verdict::Ok, |report| report.rule.verdict());
    let read = |pointer, bytes| device.read(pointer, bytes).expect("memory");
    Left {
        verdict,
        reports: outcome.reports.iter().map(ToString::to_string).collect(),
        counters: format!("{:?}", outcome.counters),
        bytes: [read(data, bytes), read(cells, 8 * CELLS)].concat(),
    }
}

/// Checks the program that the bytes choose. Its verdict: it ran, or needs what the simulator lacks.
pub fn check(bytes: &[u8]) -> Verdict {
    let program = generate(&mut Choices(bytes));
    let text = print(&program.module);
    let again = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(print(&again) == text, "not canonical:\n{text}");
    let verified = verify(again).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(print(&verified) == text, "changed by verification:\n{text}");

    let options = Options { threads: 1, report_division_by_zero: false, ..Options::default() };
    let first = run(&program, &text, &options);
    if first.verdict == Verdict::Unsupported {
        return Verdict::Unsupported;
    }
    assert!(first.verdict == Verdict::Ok, "{:?}\n{text}", first.reports);
    let two_threads = run(&program, &text, &Options { threads: 2, ..options.clone() });
    assert!(first == two_threads, "depends on the host's threads:\n{text}");
    for other in [
        Options { seed: 1, ..options.clone() },
        Options { seed: 2, schedule: "random,apart".parse().expect("a schedule"), ..options.clone() },
    ] {
        let left = run(&program, &text, &other);
        assert!(left.reports.is_empty(), "{:?} under {other:?}\n{text}", left.reports);
        let different = first.bytes.iter().zip(&left.bytes).position(|(a, b)| a != b);
        assert!(different.is_none(), "byte {different:?} differs under {other:?}\n{text}");
    }
    Verdict::Ok
}
