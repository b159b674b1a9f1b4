//! The PTX simulator as a [`Machine`]: the text that would ship, with every check of the simulator on.

use super::random::Random;
use super::{Machine, MachineError};
use crate::driver::sim::encode;
use rorqual_kernels::contract::{Argument, Contract};
use rorqual_kernels::{Kernel, Targets};
use rorqual_ptx::target::Target;
use rorqual_sim::race::RacePolicy;
use rorqual_sim::{Device, DeviceError, DevicePointer, Launch, Options, Outcome, Precision, Verdict};
use std::fmt;

/// Multiprocessors that simulated devices claim to have: few, so that a CTA of a persistent kernel computes many tiles.
const MULTIPROCESSORS: [u32; 3] = [1, 2, 4];

/// How races are looked for. By the letter of the manual an arrival at the mbarrier of another CTA would have to be a
/// release to the cluster, in machine code a fence of the whole device's memory for every stage of a ring. Kernels give
/// back with it what they have read to the end; nothing is left that a fence could wait for, and none is in published
/// kernels.
pub const RACES: RacePolicy = RacePolicy::STANDARD;

/// The targets that machines of a family are drawn from: of one of each generation whose tensor cores families or the
/// simulator tell apart, those that the family serves.
///
/// # Panics
/// Never: they are targets.
#[must_use]
pub fn targets(served: Targets) -> Vec<Target> {
    let generations = ["sm_80", "sm_89", "sm_90a", "sm_120"];
    let generations = generations.map(|name| Target::from_name(name).expect("a target"));
    generations.into_iter().filter(|target| served.serve(*target)).collect()
}

/// What simulated GPUs have in common.
fn options() -> Options {
    Options { threads: 1, race: Some(RACES), ..Options::default() }
}

/// A simulated GPU.
#[derive(Debug)]
pub struct Simulated {
    device: Device,
    target: Target,
    multiprocessors: u32,
}

impl Simulated {
    /// A GPU that runs code for `target`; the seed of its schedule also decides how many multiprocessors it has.
    ///
    /// # Errors
    /// If the architecture is not simulated.
    pub fn new(target: Target, options: Options) -> Result<Self, MachineError> {
        let multiprocessors = MULTIPROCESSORS[(options.seed % MULTIPROCESSORS.len() as u64) as usize];
        let mut device = Device::new(target)?;
        *device.options_mut() = options;
        Ok(Self { device, target, multiprocessors })
    }

    /// GPUs of every target that machines of a family are drawn from, in both precisions, each under some schedules.
    ///
    /// # Errors
    /// Never in practice: every target is simulated.
    pub fn every(schedules: u64, served: Targets) -> Result<Vec<Self>, MachineError> {
        let mut machines = Vec::new();
        for target in targets(served) {
            for precision in [Precision::Exact, Precision::Hardware] {
                for seed in 0..schedules {
                    let perturb_approximations = seed % 2 == 1;
                    let options = Options { seed, precision, perturb_approximations, ..options() };
                    machines.push(Self::new(target, options)?);
                }
            }
        }
        Ok(machines)
    }

    /// A GPU that a family serves: its target, precision, schedule and errors of approximations are drawn.
    ///
    /// # Errors
    /// Never in practice: every target that is drawn is simulated.
    pub fn draw(random: &mut Random, served: Targets) -> Result<Self, MachineError> {
        let target = random.pick(&targets(served));
        let options = Options {
            seed: random.bits(),
            precision: if random.one_in(2) { Precision::Exact } else { Precision::Hardware },
            perturb_approximations: random.one_in(2),
            ..options()
        };
        Self::new(target, options)
    }

    /// Gives it another number of multiprocessors and another schedule, by a number.
    pub fn vary(&mut self, number: u64) {
        self.multiprocessors = MULTIPROCESSORS[(number % MULTIPROCESSORS.len() as u64) as usize];
        self.device.options_mut().seed ^= Random::new(number).bits();
    }

    /// Makes it a GPU of so many multiprocessors, over which a persistent kernel spreads.
    #[must_use]
    pub const fn with_multiprocessors(mut self, multiprocessors: u32) -> Self {
        self.multiprocessors = multiprocessors;
        self
    }

    /// How it runs kernels.
    pub fn options_mut(&mut self) -> &mut Options {
        self.device.options_mut()
    }

    /// Runs a text as the kernel of a contract; `None` if the arguments ask for no CTA.
    ///
    /// # Errors
    /// If it cannot be launched. What it does wrong is in the outcome.
    pub fn launch(
        &mut self,
        text: &str,
        contract: &Contract,
        arguments: &[Argument],
    ) -> Result<Option<Outcome>, MachineError> {
        let grid = contract
            .grid(arguments, self.multiprocessors)
            .map_err(|error| MachineError::Wrong(error.to_string()))?;
        if grid.contains(&0) {
            return Ok(None);
        }
        let module = self.device.load(text)?;
        let mut launch = Launch::new(&module, &contract.kernel).ctas(grid).threads([contract.threads, 1, 1]);
        launch = launch.dynamic_shared_bytes(contract.shared_bytes);
        if let Some(cluster) = contract.cluster {
            launch = launch.cluster(cluster);
        }
        for argument in arguments {
            launch = launch.argument(match argument {
                Argument::Address(value) | Argument::U64(value) => rorqual_sim::Argument::from(*value),
                Argument::U32(value) => rorqual_sim::Argument::from(*value),
                Argument::F32(value) => rorqual_sim::Argument::from(*value),
                Argument::TensorMap(map) => {
                    let map = encode(map).map_err(|error| {
                        MachineError::Wrong(format!("argument of {}: {error}", contract.kernel))
                    })?;
                    rorqual_sim::Argument::from(&map)
                }
            });
        }
        Ok(Some(self.device.launch(&launch)?))
    }
}

/// What tells it from others, for people.
impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, precision, .. } = self.device.options();
        write!(f, "{}, {precision:?}, schedule {seed}", self.target)
    }
}

impl From<DeviceError> for MachineError {
    fn from(error: DeviceError) -> Self {
        Self::Wrong(error.to_string())
    }
}

impl Machine for Simulated {
    fn target(&self) -> Target {
        self.target
    }

    fn upload(&mut self, bytes: &[u8]) -> Result<u64, MachineError> {
        Ok(self.device.allocate_from("buffer", bytes)?.0)
    }

    fn download(&mut self, address: u64, bytes: usize) -> Result<Vec<u8>, MachineError> {
        Ok(self.device.read(DevicePointer(address), bytes)?)
    }

    fn run(&mut self, kernel: &Kernel, arguments: &[Argument]) -> Result<(), MachineError> {
        let Some(outcome) = self.launch(&kernel.text(), &kernel.contract, arguments)? else { return Ok(()) };
        match outcome.reports.first() {
            None => Ok(()),
            Some(report) => {
                let message = format!("{}: {report}", kernel.contract.kernel);
                Err(match report.rule.verdict() {
                    Verdict::Unsupported | Verdict::Limit => MachineError::Inconclusive(message),
                    _ => MachineError::Wrong(message),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_those_that_a_family_serves() {
        let hopper: Target = "sm_90a".parse().unwrap();
        assert_eq!(targets(Targets::Portable).len(), 4);
        assert_eq!(targets(Targets::Hopper), [hopper]);
        let drawn = |seed, served| Simulated::draw(&mut Random::new(seed), served).unwrap().target();
        assert!((0..20).all(|seed| drawn(seed, Targets::Hopper) == hopper));
        assert!((0..20).any(|seed| drawn(seed, Targets::Portable) != hopper));
        let every = Simulated::every(2, Targets::Hopper).unwrap();
        assert!(every.len() == 4 && every.iter().all(|machine| machine.target() == hopper));
    }
}
