//! Scopes of strong operations, and whom they include (PTX ISA 8.5).

use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;

/// The threads that an operation synchronises with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The CTA.
    Cta,
    /// The cluster.
    Cluster,
    /// The device.
    Gpu,
    /// Everything.
    Sys,
}

impl Scope {
    /// As the manual spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cta => ".cta",
            Self::Cluster => ".cluster",
            Self::Gpu => ".gpu",
            Self::Sys => ".sys",
        }
    }

    /// Whether a thread at one place includes a thread at another.
    #[must_use]
    pub fn includes(self, own: Place, other: Place) -> bool {
        match self {
            Self::Cta => own == other,
            Self::Cluster => own.device == other.device && own.cluster == other.cluster,
            Self::Gpu => own.device == other.device,
            Self::Sys => true,
        }
    }
}

/// Where a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The device.
    pub device: u32,
    /// The cluster, a number that no other cluster of the launch has.
    pub cluster: u32,
    /// The rank of the CTA in the cluster.
    pub cta: u32,
}

/// How an operation orders memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Semantics {
    /// The scope of a strong operation; `None` if it is weak.
    pub strong: Option<Scope>,
    /// Whether it acquires.
    pub acquire: bool,
    /// Whether it releases.
    pub release: bool,
}

impl Semantics {
    /// A weak access.
    pub const WEAK: Self = Self { strong: None, acquire: false, release: false };

    /// What the modifiers of an instruction say; `default` is of one without.
    #[must_use]
    pub fn of(instruction: &Instruction, default: Self) -> Self {
        let has = |modifier| instruction.has(modifier);
        let scopes = [
            (Modifier::Cta, Scope::Cta),
            (Modifier::Cluster, Scope::Cluster),
            (Modifier::Gpu, Scope::Gpu),
            (Modifier::Gl, Scope::Gpu),
            (Modifier::Sys, Scope::Sys),
        ];
        let scope = scopes.into_iter().find(|(modifier, _)| has(*modifier)).map(|(_, scope)| scope);
        if has(Modifier::Volatile) || has(Modifier::Mmio) {
            let strong = Some(scope.unwrap_or(Scope::Sys));
            return Self { strong, acquire: has(Modifier::Acquire), release: has(Modifier::Release) };
        }
        let (acquire, release) = if has(Modifier::AcqRel) || has(Modifier::Sc) {
            (true, true)
        } else if has(Modifier::Acquire) {
            (true, false)
        } else if has(Modifier::Release) {
            (false, true)
        } else if has(Modifier::Relaxed) {
            (false, false)
        } else {
            return Self { strong: default.strong.map(|default| scope.unwrap_or(default)), ..default };
        };
        Self { strong: Some(scope.or(default.strong).unwrap_or(Scope::Cta)), acquire, release }
    }
}
