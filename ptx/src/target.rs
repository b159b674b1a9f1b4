//! Architectures: how `.target` names them, which code runs where (PTX ISA 11.1.2), what they offer.

use crate::module::Version;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The letter after the number of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Features {
    /// Plain `sm_90`: runs on every later architecture.
    Baseline,
    /// `sm_100f`: runs on the later members of its family.
    Family,
    /// `sm_90a`: runs on this architecture alone.
    Specific,
}

/// A target architecture, e.g. `sm_90a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Ten times the major plus the minor compute capability: 90 for `sm_90a`.
    pub sm: u16,
    /// The letter.
    pub features: Features,
}

/// A name that is no target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a target such as `sm_90a`")]
pub struct TargetError(pub String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(name: &str) -> Result<Self, TargetError> {
        Self::from_name(name).ok_or_else(|| TargetError(name.to_owned()))
    }
}

impl Target {
    /// The target spelled `name`, e.g. `sm_90a`; whether it exists is another matter.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("sm_")?;
        let digits = rest.trim_end_matches(['a', 'f']);
        let features = match &rest[digits.len()..] {
            "" => Features::Baseline,
            "f" => Features::Family,
            "a" => Features::Specific,
            _ => return None,
        };
        let plain = (2..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        (plain && !digits.starts_with('0')).then(|| digits.parse().ok().map(|sm| Self { sm, features }))?
    }

    /// The architecture under its present name: sm_101 was renamed sm_110 in PTX 9.0.
    const fn present(self) -> u16 {
        if self.sm == 101 { 110 } else { self.sm }
    }

    /// Whether code for this target runs on a device, whose own letter counts for nothing: `sm_90` and `sm_90a`
    /// name the same one. Plain code runs on every later device, code of a family on the later members of the
    /// family, code for one architecture on that one.
    #[must_use]
    pub fn runs_on(self, device: Self) -> bool {
        let (this, device) = (self.present(), device.present());
        match self.features {
            Features::Baseline => device >= this,
            Features::Family => device >= this && device / 10 == this / 10,
            Features::Specific => device == this,
        }
    }

    /// Whether machine code that was assembled for this target runs on a device: for a plain target on devices with the
    /// same major and no smaller minor compute capability, where neither is a system on a chip unless both are the same
    /// (CUDA programming guide, binary compatibility); with a letter where PTX of it does.
    #[must_use]
    pub fn machine_code_runs_on(self, device: Self) -> bool {
        /// Architectures of systems on a chip whose major compute capability others have too.
        const ON_A_CHIP: [u16; 2] = [87, 88];
        let (this, other) = (self.present(), device.present());
        let alike = this / 10 == other / 10 && !ON_A_CHIP.contains(&this) && !ON_A_CHIP.contains(&other);
        self.runs_on(device) && (self.features != Features::Baseline || alike || this == other)
    }

    /// Whether code for `other` may use what came with this target: later ones may use what is plain, those with a
    /// letter what is of their family, and `sm_90a` what is of `sm_90a`.
    #[must_use]
    pub fn is_offered_by(self, other: Self) -> bool {
        match self.features {
            Features::Baseline => other.sm >= self.sm,
            Features::Family => self.runs_on(other) && other.features != Features::Baseline,
            Features::Specific => self.runs_on(other) && other.features == Features::Specific,
        }
    }

    /// What the target offers; `None` if it is not one of [`Architecture::ALL`] with this letter.
    #[must_use]
    pub fn architecture(self) -> Option<&'static Architecture> {
        let architecture = Architecture::ALL.iter().find(|architecture| architecture.sm == self.sm);
        architecture.filter(|architecture| architecture.since(self.features).is_some())
    }

    /// Shared memory in bytes that a CTA may opt in to on every device that runs code for this target: plain `sm_80` runs
    /// on sm_86 too, which has less. `None` if the target is not known.
    #[must_use]
    pub fn shared_bytes(self) -> Option<u32> {
        self.architecture()?;
        let device = |architecture: &Architecture| Self { sm: architecture.sm, ..self };
        let runs = Architecture::ALL.iter().filter(|architecture| self.runs_on(device(architecture)));
        runs.map(|architecture| architecture.shared_bytes).min()
    }

    /// Of several builds of the same code, the one that a device gets: that for exactly its architecture, else that of
    /// its family, else the plain one, each time the newest that runs on it.
    #[must_use]
    pub fn best_for(device: Self, builds: &[Self]) -> Option<Self> {
        let runs = builds.iter().copied().filter(|build| build.runs_on(device));
        runs.max_by_key(|build| (build.features, build.sm))
    }

    /// Names of all known targets, oldest first.
    pub fn known() -> impl Iterator<Item = Self> {
        let letters = [Features::Baseline, Features::Family, Features::Specific];
        Architecture::ALL.iter().flat_map(move |architecture| {
            let exists = move |features: &Features| architecture.since(*features).is_some();
            let target = |features| Self { sm: architecture.sm, features };
            letters.into_iter().filter(exists).map(target)
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.features {
            Features::Baseline => "",
            Features::Family => "f",
            Features::Specific => "a",
        };
        write!(f, "sm_{}{letter}", self.sm)
    }
}

/// What an architecture offers to code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Ten times the major plus the minor compute capability.
    pub sm: u16,
    /// The oldest PTX version with the plain target, the family target and the specific one (PTX ISA 13, release
    /// notes).
    since: [Option<Version>; 3],
    /// Shared memory that a CTA may opt in to, in bytes (CUDA programming guide, technical specifications by compute
    /// capability; it does not list 8.8, whose row repeats 8.6).
    pub shared_bytes: u32,
    /// Registers of 32 bits that a thread may have.
    pub thread_registers: u32,
    /// Registers of 32 bits that a CTA may have.
    pub cta_registers: u32,
    /// Barriers of a CTA (PTX ISA 9.7.15.1).
    pub barriers: u32,
}

/// Shared memory that a CTA has without opting in, in bytes: what a kernel may declare statically.
pub const DEFAULT_SHARED_BYTES: u32 = 48 << 10;

impl Architecture {
    /// Every architecture that code may be for, oldest first.
    pub const ALL: &[Self] = &[
        Self::new(80, 163, [Some((7, 0)), None, None]),
        Self::new(86, 99, [Some((7, 1)), None, None]),
        Self::new(87, 163, [Some((7, 4)), None, None]),
        Self::new(88, 99, [Some((9, 0)), None, None]),
        Self::new(89, 99, [Some((7, 8)), None, None]),
        Self::new(90, 227, [Some((7, 8)), None, Some((8, 0))]),
        Self::new(100, 227, [Some((8, 6)), Some((8, 8)), Some((8, 6))]),
        Self::new(101, 227, [Some((8, 6)), Some((8, 8)), Some((8, 6))]),
        Self::new(103, 227, [Some((8, 8)), Some((8, 8)), Some((8, 8))]),
        Self::new(110, 227, [Some((9, 0)), Some((9, 0)), Some((9, 0))]),
        Self::new(120, 99, [Some((8, 7)), Some((8, 8)), Some((8, 7))]),
        Self::new(121, 99, [Some((8, 8)), Some((8, 8)), Some((8, 8))]),
    ];

    const fn new(sm: u16, shared_kib: u32, since: [Option<(u8, u8)>; 3]) -> Self {
        const fn version(since: Option<(u8, u8)>) -> Option<Version> {
            match since {
                Some((major, minor)) => Some(Version { major, minor }),
                None => None,
            }
        }
        Self {
            sm,
            since: [version(since[0]), version(since[1]), version(since[2])],
            shared_bytes: shared_kib << 10,
            thread_registers: 255,
            cta_registers: 65536,
            barriers: 16,
        }
    }

    /// The oldest PTX version that has the target with this letter; `None` if there is no such target.
    #[must_use]
    pub const fn since(&self, features: Features) -> Option<Version> {
        self.since[match features {
            Features::Baseline => 0,
            Features::Family => 1,
            Features::Specific => 2,
        }]
    }

    /// The most bytes of shared memory that a kernel for a target of this architecture may declare statically: all
    /// that there is where the code is for just this architecture, else what every CTA has.
    #[must_use]
    pub const fn static_shared_bytes(&self, features: Features) -> u32 {
        match features {
            Features::Specific => self.shared_bytes,
            Features::Baseline | Features::Family => DEFAULT_SHARED_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_code_has_the_shared_memory_of_the_least_device_that_runs_it() {
        let bytes = |name| Target::from_name(name).and_then(Target::shared_bytes);
        assert_eq!(bytes("sm_80"), bytes("sm_89"), "sm_86 runs the one, sm_89 the other");
        assert_eq!(bytes("sm_80"), Some(101_376));
        assert_eq!(bytes("sm_90a"), Some(232_448));
        assert_eq!(bytes("sm_81"), None);
    }

    fn target(name: &str) -> Target {
        name.parse().unwrap()
    }

    #[test]
    fn names_read_back_and_other_names_are_refused() {
        for target in Target::known() {
            assert_eq!(Target::from_name(&target.to_string()), Some(target));
            assert!(target.architecture().is_some());
        }
        for wrong in ["", "sm_", "sm_9", "sm_090", "sm_90x", "sm_90af", "sm_1000", "compute_90", "sm_90A"] {
            assert_eq!(wrong.parse::<Target>(), Err(TargetError(wrong.to_owned())));
        }
        for unknown in ["sm_91", "sm_95a", "sm_80a", "sm_89f", "sm_90f", "sm_75"] {
            assert_eq!(target(unknown).architecture(), None, "{unknown}");
        }
    }

    #[test]
    fn code_runs_where_ptxas_lets_it_run() {
        let devices = ["sm_80", "sm_89", "sm_90", "sm_100", "sm_103", "sm_110", "sm_120", "sm_121"];
        let rows = [
            ("sm_80", "sm_80 sm_89 sm_90 sm_100 sm_103 sm_110 sm_120 sm_121"),
            ("sm_90", "sm_90 sm_100 sm_103 sm_110 sm_120 sm_121"),
            ("sm_90a", "sm_90"),
            ("sm_100", "sm_100 sm_103 sm_110 sm_120 sm_121"),
            ("sm_100f", "sm_100 sm_103"),
            ("sm_100a", "sm_100"),
            ("sm_101", "sm_110 sm_120 sm_121"),
            ("sm_101f", "sm_110"),
            ("sm_101a", "sm_110"),
            ("sm_103f", "sm_103"),
            ("sm_110f", "sm_110"),
            ("sm_120f", "sm_120 sm_121"),
            ("sm_121f", "sm_121"),
            ("sm_120a", "sm_120"),
        ];
        for (code, expected) in rows {
            let runs: Vec<_> =
                devices.into_iter().filter(|device| target(code).runs_on(target(device))).collect();
            assert_eq!(runs.join(" "), expected, "{code}");
        }
        assert!(target("sm_90a").runs_on(target("sm_90a")));
    }

    #[test]
    fn machine_code_runs_on_its_own_generation() {
        let devices =
            ["sm_80", "sm_86", "sm_87", "sm_89", "sm_90a", "sm_100a", "sm_103a", "sm_110a", "sm_120a"];
        let rows = [
            ("sm_80", "sm_80 sm_86 sm_89"),
            ("sm_86", "sm_86 sm_89"),
            ("sm_87", "sm_87"),
            ("sm_89", "sm_89"),
            ("sm_90", "sm_90a"),
            ("sm_90a", "sm_90a"),
            ("sm_100", "sm_100a sm_103a"),
            ("sm_100f", "sm_100a sm_103a"),
            ("sm_100a", "sm_100a"),
            ("sm_101", "sm_110a"),
            ("sm_120", "sm_120a"),
        ];
        for (code, expected) in rows {
            let runs = devices.into_iter().filter(|device| target(code).machine_code_runs_on(target(device)));
            assert_eq!(runs.collect::<Vec<_>>().join(" "), expected, "{code}");
        }
    }

    #[test]
    fn what_came_with_a_target_is_offered_by_those_after_it() {
        let offers = |since: &str, code: &str| target(since).is_offered_by(target(code));
        assert!(offers("sm_90a", "sm_90a") && !offers("sm_90a", "sm_90") && !offers("sm_90a", "sm_100a"));
        assert!(offers("sm_100f", "sm_103a") && offers("sm_100f", "sm_100f") && !offers("sm_100f", "sm_103"));
        assert!(
            !offers("sm_100f", "sm_101f") && offers("sm_110f", "sm_101f") && offers("sm_101a", "sm_110a")
        );
        assert!(offers("sm_80", "sm_120") && !offers("sm_100", "sm_90a"));
    }

    #[test]
    fn every_device_gets_the_build_that_fits_it_best() {
        let builds: Vec<_> = "sm_80 sm_89 sm_90a sm_100f sm_100a sm_120f".split(' ').map(target).collect();
        let rows = [
            ("sm_80", "sm_80"),
            ("sm_86", "sm_80"),
            ("sm_87", "sm_80"),
            ("sm_88", "sm_80"),
            ("sm_89", "sm_89"),
            ("sm_90", "sm_90a"),
            ("sm_100", "sm_100a"),
            ("sm_103", "sm_100f"),
            ("sm_110", "sm_89"),
            ("sm_120", "sm_120f"),
            ("sm_121", "sm_120f"),
        ];
        for (device, build) in rows {
            assert_eq!(Target::best_for(target(device), &builds), Some(target(build)), "{device}");
        }
        assert_eq!(Target::best_for(target("sm_75"), &builds), None);
        assert_eq!(Target::best_for(target("sm_90"), &[]), None);
    }
}
