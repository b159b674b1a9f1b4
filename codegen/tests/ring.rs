//! A ring whose stages are filled in two parts: a consumer sees part 0 and its own part, and waits for no other.

use rorqual_codegen::contract::{Arguments, Out};
use rorqual_codegen::pipeline::{Cursor, Ring};
use rorqual_codegen::{GenerateError, Header, Kernel, Predicate, Value, generate};
use rorqual_sim::{Device, Launch, Options};

const STAGES: u32 = 2;
const STEPS: u32 = 7;

rorqual_codegen::arguments! {
    /// What the consumers read.
    struct ReadArguments, ReadParameters {
        /// `[2, STEPS]`: of the first consumer what part 0 holds, of the second one the sum of both parts.
        d: Out<u32>,
    }
}

/// Warp 0 fills the parts of a stage in this order: part 0 with the number of the step times 100, part 1 with the number.
/// Warps 1 and 2 go through the ring as `consumer` says; the second one reads part 1 too.
fn kernel(
    order: [u32; 2],
    arrivals: &[u32],
    looks_ahead: bool,
    consumer: impl for<'k> Fn(Ring<'k>, Value<'k, u32>) -> Cursor<'k>,
) -> Result<Kernel, GenerateError> {
    let header = Header::new("parts", "two", "sm_90a".parse().expect("a target"), 96).grid(1, 1, 1);
    generate::<ReadArguments>(header, |builder, arguments| {
        let parts = [0, 1].map(|_| builder.shared::<u32>(STAGES, 4));
        let ring = builder.ring_in_parts(STAGES, 2);
        builder.when(builder.thread().equals(0), || {
            ring.initialize(arrivals, 2);
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
                    for part in order {
                        let value = step * [100, 1][part as usize];
                        parts[part as usize].at(place.stage()).store(value);
                        place.full_of(builder.constant(part)).arrive();
                    }
                });
            });
        });
        builder.role(1, 2, || {
            let reader = builder.warp() - 1;
            let cursor = consumer(ring, reader);
            builder.for_each(0, STEPS, 1, |step| {
                let place = cursor.take();
                if looks_ahead {
                    let ready = Predicate::unset(builder);
                    place.look_full(ready);
                    place.wait_full_unless(ready);
                } else {
                    place.wait_full();
                }
                let [first, second] = parts.map(|words| words.at(place.stage()));
                let second = second.load_or(reader.equals(1), builder.constant(0));
                let to = arguments.d.at(reader * STEPS + step);
                to.store_when(is_first_lane, first.load() + second);
                builder.sync_warp();
                builder.when(is_first_lane, || place.empty().arrive());
            });
        });
    })
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
    let expected: Vec<u32> =
        (0..STEPS).map(|step| step * 100).chain((0..STEPS).map(|step| step * 101)).collect();
    for (order, looks_ahead) in [([0, 1], false), ([1, 0], false), ([0, 1], true), ([1, 0], true)] {
        let kernel =
            kernel(order, &[1, 1], looks_ahead, |ring, reader| ring.consumer_of(reader)).expect("a kernel");
        for seed in 0..8 {
            assert_eq!(
                run(&kernel, seed),
                Ok(expected.clone()),
                "seed {seed}, {order:?}, looks ahead: {looks_ahead}"
            );
        }
    }
}

#[test]
fn a_part_that_is_not_waited_for_is_a_race() {
    let kernel = kernel([0, 1], &[1, 1], false, |ring, _| ring.consumer()).expect("a kernel");
    let message = run(&kernel, 0).expect_err("a report");
    assert!(message.contains("race"), "{message}");
}

#[test]
fn arrivals_are_given_for_each_part() {
    let error = kernel([0, 1], &[1], false, |ring, reader| ring.consumer_of(reader)).expect_err("a mistake");
    assert!(error.to_string().contains("arrivals for 1 parts of a stage, expected them for 2"), "{error}");
}
