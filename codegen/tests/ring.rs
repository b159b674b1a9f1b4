//! A ring whose stages are filled in two parts: a consumer sees part 0 and its own part, and no other.

use rorqual_codegen::contract::{Arguments, Out};
use rorqual_codegen::pipeline::{Cursor, Ring};
use rorqual_codegen::{Builder, Header, Kernel, Value, generate};
use rorqual_sim::{Device, Launch, Options};

const STAGES: u32 = 2;
const STEPS: u32 = 7;

rorqual_codegen::arguments! {
    /// What the consumers read.
    struct ReadArguments, ReadParameters {
        /// `[2, STEPS]`: of the first consumer what part 0 holds, of the second one part 1.
        d: Out<u32>,
    }
}

/// Warp 0 fills part 0 of a stage with the number of the step, then part 1 with a hundred more. Warp 1 reads part 0, and
/// warp 2 part 1, as a consumer that `second` says.
fn kernel(second: impl for<'k> Fn(&'k Builder, Ring<'k>) -> Cursor<'k>) -> Kernel {
    let header = Header::new("parts", "two", "sm_90a".parse().expect("a target"), 96).grid(1, 1, 1);
    let kernel = generate::<ReadArguments>(header, |builder, arguments| {
        let parts = [0, 1].map(|_| builder.shared::<u32>(STAGES, 4));
        let ring = builder.ring_in_parts(STAGES, 2);
        builder.when(builder.thread().equals(0), || {
            ring.initialize(&[1, 1], 2);
            builder.fence_mbarrier_init();
        });
        builder.sync_threads();
        let is_first_lane = builder.lane().equals(0);
        builder.role(0, 1, || {
            let cursor = ring.producer();
            builder.for_each(0, STEPS, 1, |step| {
                let place = cursor.take();
                place.wait_empty();
                builder.when(is_first_lane, || {
                    for (part, words) in (0_u32..).zip(parts) {
                        words.at(place.stage()).store(step + part * 100);
                        place.full_of(builder.constant(part)).arrive();
                    }
                });
            });
        });
        for (reader, words) in (0_u32..).zip(parts) {
            builder.role(1 + reader, 1, || {
                let cursor = if reader == 0 { ring.consumer() } else { second(builder, ring) };
                builder.for_each(0, STEPS, 1, |step: Value<'_, u32>| {
                    let place = cursor.take();
                    place.wait_full();
                    let to = arguments.d.at(step + reader * STEPS);
                    to.store_when(is_first_lane, words.at(place.stage()).load());
                    builder.sync_warp();
                    builder.when(is_first_lane, || place.empty().arrive());
                });
            });
        }
    });
    kernel.unwrap_or_else(|error| panic!("{error}"))
}

/// What the consumers have read, or the first report.
fn run(kernel: &Kernel, seed: u64) -> Result<Vec<u32>, String> {
    let mut device = Device::new("sm_90a".parse().expect("a target")).expect("a device");
    *device.options_mut() = Options { seed, ..Options::default() };
    let module = device.load(&kernel.text()).expect("a module");
    let bytes = 2 * STEPS * 4;
    let d = device.allocate("d", bytes.into()).expect("memory");
    let arguments = ReadArguments { d: d.0 };
    let grid = kernel.contract.grid(&arguments.pack(), 1).expect("a grid");
    let launch = Launch::new(&module, "parts").ctas(grid).threads([96, 1, 1]);
    let launch = launch.dynamic_shared_bytes(kernel.contract.shared_bytes).argument(d);
    let outcome = device.launch(&launch).expect("a launch");
    if let Some(report) = outcome.reports.first() {
        return Err(report.to_string());
    }
    let read = device.read(d, bytes as usize).map_err(|error| error.to_string())?;
    Ok(read.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

#[test]
fn consumers_read_their_parts_under_every_schedule() {
    let kernel = kernel(|builder, ring| ring.consumer_of(builder.constant(1)));
    let expected: Vec<u32> = (0..STEPS).chain(100..100 + STEPS).collect();
    for seed in 0..8 {
        assert_eq!(run(&kernel, seed), Ok(expected.clone()), "seed {seed}");
    }
}

#[test]
fn a_part_that_is_not_waited_for_is_a_race() {
    let kernel = kernel(|_, ring| ring.consumer());
    let message = run(&kernel, 0).expect_err("a report");
    assert!(message.contains("race"), "{message}");
}
