//! Programs made at random: they verify, run to their end, and give the same results however they are scheduled; those
//! of a small language give what an evaluator of the test gives.
//!
//! `RORQUAL_RANDOM_PROGRAMS` is how many there are of each kind.

#[path = "random_programs/agreement.rs"]
mod agreement;
#[path = "random_programs/from_table.rs"]
mod from_table;
#[path = "random_programs/scalar.rs"]
mod scalar;

use agreement::{check, noise};
use proptest::prelude::*;
use rorqual_sim::{Device, Launch, Options, Verdict};
use scalar::State;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

fn config() -> ProptestConfig {
    let cases =
        std::env::var("RORQUAL_RANDOM_PROGRAMS").map_or(150, |count| count.parse().expect("a number"));
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn programs_from_the_table_run_and_give_the_same_however_they_are_scheduled() {
    let (programs, unsupported) = (AtomicU32::new(0), AtomicU32::new(0));
    proptest!(config(), |(bytes in prop::collection::vec(any::<u8>(), 0..1500))| {
        programs.fetch_add(1, Relaxed);
        unsupported.fetch_add(u32::from(check(&bytes) == Verdict::Unsupported), Relaxed);
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
        schedule in prop::sample::select(rorqual_sim::Schedule::stress()),
    ) {
        let text = scalar::kernel(&program);
        let bytes = 2 * threads as usize * scalar::BYTES;
        // Small numbers are as frequent as large ones.
        let mut data = noise(seed, bytes);
        data.chunks_mut(4).step_by(3).for_each(|word| word[1..].fill(0));
        let mut device = Device::new("sm_80".parse().expect("a target")).expect("a simulated architecture");
        *device.options_mut() = Options { seed, threads: 1, schedule, ..Options::default() };
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
