//! Programs made at random: they verify, run to their end, and give the same results however they are scheduled; those
//! of a small language give what an evaluator of the test gives.
//!
//! `RORQUAL_RANDOM_PROGRAMS` is how many there are of each kind.

#[path = "random_programs/from_table.rs"]
mod from_table;
#[path = "random_programs/scalar.rs"]
mod scalar;

use from_table::{CELLS, Choices, Program, SLOT, generate};
use proptest::prelude::*;
use rorqual_ptx::{parse, print, verify::verify};
use rorqual_sim::{Argument, Device, Launch, Options, Verdict};
use scalar::State;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// CTAs of every launch.
const CTAS: u32 = 3;

fn config() -> ProptestConfig {
    let cases =
        std::env::var("RORQUAL_RANDOM_PROGRAMS").map_or(150, |count| count.parse().expect("a number"));
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes that depend on a seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let next = |state: &u64| Some((state ^ state >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1));
    std::iter::successors(Some(seed | 1), next).map(|state| (state >> 40) as u8).take(bytes).collect()
}

/// What a run left.
#[derive(Debug, PartialEq)]
struct Left {
    verdict: Verdict,
    reports: Vec<String>,
    counters: String,
    bytes: Vec<u8>,
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

#[test]
fn programs_from_the_table_run_and_give_the_same_however_they_are_scheduled() {
    let (programs, unsupported) = (AtomicU32::new(0), AtomicU32::new(0));
    proptest!(config(), |(bytes in prop::collection::vec(any::<u8>(), 0..1500))| {
        let program = generate(&mut Choices(&bytes));
        let text = print(&program.module);
        let again = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(print(&again), &text[..]);
        let verified = verify(again).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(print(&verified), &text[..], "canonical text changed by verification");

        let options = Options { threads: 1, report_division_by_zero: false, ..Options::default() };
        let first = run(&program, &text, &options);
        programs.fetch_add(1, Relaxed);
        if first.verdict == Verdict::Unsupported {
            unsupported.fetch_add(1, Relaxed);
            return Ok(());
        }
        prop_assert_eq!(first.verdict, Verdict::Ok, "{:?}\n{}", first.reports, text);
        let two_threads = run(&program, &text, &Options { threads: 2, ..options.clone() });
        prop_assert_eq!(&first, &two_threads, "threads of the host\n{}", text);
        for other in [
            Options { seed: 1, ..options.clone() },
            Options { seed: 2, never_reconverge: true, ..options.clone() },
        ] {
            let left = run(&program, &text, &other);
            prop_assert_eq!(&left.reports, &first.reports, "{:?}\n{}", other, text);
            let different = first.bytes.iter().zip(&left.bytes).position(|(a, b)| a != b);
            prop_assert_eq!(different, None, "byte, under {:?}\n{}", other, text);
        }
    });
    let (programs, unsupported) = (programs.into_inner(), unsupported.into_inner());
    assert!(
        unsupported * 5 <= programs,
        "{unsupported} of {programs} programs need what the simulator lacks"
    );
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn integer_programs_give_what_the_evaluator_gives(
        program in scalar::program(),
        seed in any::<u64>(),
        threads in 1..80_u32,
        never_reconverge in any::<bool>(),
    ) {
        let text = scalar::kernel(&program);
        let bytes = 2 * threads as usize * scalar::BYTES;
        // Small numbers are as frequent as large ones.
        let mut data = noise(seed, bytes);
        data.chunks_mut(4).step_by(3).for_each(|word| word[1..].fill(0));
        let mut device = Device::new("sm_80".parse().expect("a target")).expect("a simulated architecture");
        *device.options_mut() = Options { seed, threads: 1, never_reconverge, ..Options::default() };
        let module = device.load(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        let states = device.allocate_from("states", &data).expect("memory");
        let launch = Launch::new(&module, "main").ctas([2, 1, 1]).threads([threads, 1, 1]).argument(states);
        let outcome = device.launch(&launch).expect("a launch that suits the kernel");
        prop_assert!(outcome.reports.is_empty(), "{}\n{}", outcome.reports[0], text);
        let left = device.read(states, bytes).expect("memory");
        for (thread, (before, after)) in data.chunks(scalar::BYTES).zip(left.chunks(scalar::BYTES)).enumerate() {
            let mut state = State::from_bytes(before);
            scalar::evaluate(&program, &mut state);
            prop_assert_eq!(&state, &State::from_bytes(after), "thread {}\n{}", thread, text);
            prop_assert_eq!(&state.to_bytes()[..], after, "thread {}", thread);
        }
    }
}
