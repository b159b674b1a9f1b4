//! The simulator on programs and launch files of any origin. Replayed by the test `fuzz_replay` of `rorqual-sim`.

#[path = "../../../sim/tests/random_programs/agreement.rs"]
mod agreement;
#[path = "../../../sim/tests/random_programs/from_table.rs"]
mod from_table;
pub mod mutation;

use std::fmt::Display;
use std::path::Path;

use rorqual_ptx::target::Target;
use rorqual_sim::launch_file::{self, LaunchFile};
use rorqual_sim::program::KernelInfo;
use rorqual_sim::{Argument, Device, DeviceError, DevicePointer, Launch, Module, Options, Outcome};

/// The longest message that an error or report may have, in bytes.
const LONGEST_MESSAGE: usize = 40_000;
/// Warp instructions of a launch.
const INSTRUCTIONS: u64 = 20_000;
/// Bytes of memory that a launch may take.
const MEMORY: u64 = 64 << 20;
/// Bytes of the buffer that every pointer argument points to.
const BUFFER: usize = 16 << 10;
/// Kernels of a module that are run.
const MOST_KERNELS: usize = 4;

/// The options of a run that ends soon.
pub fn options() -> Options {
    Options { threads: 1, instruction_budget: INSTRUCTIONS, memory_budget: MEMORY, ..Options::default() }
}

/// Bytes as PTX whose kernels are run: nothing hangs, and a second run gives the same reports, counters and bytes.
pub fn ptx_mutated(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(target) = rorqual_ptx::parse(text).map(|module| module.target) else { return };
    let [first, second] = [(); 2].map(|()| run_kernels(text, target));
    match (first, second) {
        (Ok(first), Ok(second)) => assert_eq!(first, second),
        (Err(first), Err(second)) => {
            assert_presentable(&first);
            assert_eq!(first, second);
        }
        _ => panic!("loaded only once"),
    }
}

/// What running a kernel left: reports, instructions, memory.
#[derive(Debug, PartialEq)]
struct Left {
    kernel: String,
    refused: Option<DeviceError>,
    reports: Vec<String>,
    counters: String,
    bytes: Vec<u8>,
}

fn run_kernels(text: &str, target: Target) -> Result<Vec<Left>, DeviceError> {
    let mut device = Device::new(target)?;
    *device.options_mut() = options();
    let module = device.load(text)?;
    let data: Vec<u8> = (0..BUFFER as u32 / 4).flat_map(|word| (word % 61).to_le_bytes()).collect();
    let buffer = device.allocate_from("buffer", &data)?;
    let kernels = module.kernels();
    kernels
        .into_iter()
        .take(MOST_KERNELS)
        .map(|kernel| run_kernel(&mut device, &module, kernel, buffer))
        .collect()
}

fn run_kernel(
    device: &mut Device,
    module: &Module,
    kernel: &str,
    buffer: DevicePointer,
) -> Result<Left, DeviceError> {
    let launch = launch(module, kernel, module.kernel(kernel)?, buffer);
    let left = |refused, Outcome { reports, counters, output }: Outcome, bytes| {
        reports.iter().for_each(|report| assert_presentable(report));
        assert!(counters.instructions() <= INSTRUCTIONS + 1000, "{} instructions", counters.instructions());
        let reports =
            reports.iter().map(|report| format!("{report}{}", String::from_utf8_lossy(&output))).collect();
        Left { kernel: kernel.to_owned(), refused, reports, counters: format!("{counters:?}"), bytes }
    };
    match device.launch(&launch) {
        Ok(outcome) => {
            let bytes = device.read(buffer, BUFFER)?;
            Ok(left(None, outcome, bytes))
        }
        Err(error) => {
            assert_presentable(&error);
            Ok(left(Some(error), Outcome::default(), Vec::new()))
        }
    }
}

/// A small launch that suits the kernel: its own extents where it names some, else two CTAs of two warps.
fn launch(module: &Module, kernel: &str, info: &KernelInfo, buffer: DevicePointer) -> Launch {
    let most = info
        .max_threads
        .map_or(u64::MAX, |most| most.map(u64::from).iter().fold(1, |a, b| a.saturating_mul(*b)));
    let threads = info.required_threads.unwrap_or([most.min(64) as u32, 1, 1]);
    let ctas = info.required_cluster.unwrap_or([2, 1, 1]);
    let launch = Launch::new(module, kernel).ctas(ctas).threads(threads).dynamic_shared_bytes(4096);
    let argument = |bytes: u32| match bytes {
        4 => Argument::from(16_u32),
        8 => Argument::from(buffer),
        _ => Argument(vec![0; bytes as usize]),
    };
    info.parameters.iter().fold(launch, |launch, parameter| launch.argument(argument(parameter.bytes)))
}

/// Bytes as the choices of a program from the table: it runs, however it is scheduled.
pub fn random_program(bytes: &[u8]) {
    agreement::check(bytes);
}

/// Changes the first `size` bytes in place, within `most` bytes; what they have become. Text gets a few changes of its
/// kind, what is no text, and sometimes text too, is left to `bytewise`.
pub fn mutate_bytes(
    data: &mut [u8],
    size: usize,
    most: usize,
    seed: u32,
    bytewise: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut chance = mutation::Chance::new(seed.into());
    let text = std::str::from_utf8(&data[..size]).ok().filter(|_| chance.below(8) > 0);
    let changes = 1 + chance.below(4);
    let changed =
        text.map(|text| mutation::mutate(text, &mut chance, changes)).filter(|changed| changed.len() <= most);
    match changed {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(changed.as_bytes());
            changed.len()
        }
        None => bytewise(data, size, most),
    }
}

/// Bytes as a launch file whose paths are relative to the PTX seeds: it runs or is refused.
pub fn launch_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(file) = LaunchFile::parse(text) else { return };
    // Both this package and the one whose test includes this file lie below the root of the repository.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/ptx");
    match launch_file::run(&file, &folder, &options()) {
        Ok(outcome) => outcome.reports.iter().for_each(|report| assert_presentable(report)),
        Err(error) => assert_presentable(&error),
    }
}

/// A message has a length that a person reads, and cannot move the cursor of a terminal.
fn assert_presentable(message: &dyn Display) {
    let message = message.to_string();
    assert!(!message.is_empty() && message.len() <= LONGEST_MESSAGE, "{} bytes", message.len());
    assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{message:?}");
}
