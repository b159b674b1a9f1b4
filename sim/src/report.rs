//! What a run has to say: four verdicts that are never mixed, and reports that name the PTX lines of both parties.

use std::fmt;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Every kernel ran to its end and nothing was found.
    Ok,
    /// The program is wrong: its behaviour is undefined, or it trapped.
    Undefined,
    /// Warps wait for what cannot happen any more.
    Deadlock,
    /// The simulator lacks something that the program uses.
    Unsupported,
    /// A budget ran out.
    Limit,
}

impl Verdict {
    /// The word of the command line's JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Undefined => "undefined",
            Self::Deadlock => "deadlock",
            Self::Unsupported => "unsupported",
            Self::Limit => "limit",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident $name:literal $verdict:ident;)*) => {
        /// The rule that a report is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule { $($(#[$doc])* $variant,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The rule's name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The verdict of a run that breaks it.
            #[must_use]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict,)* }
            }
        }
    };
}

rules! {
    /// An access outside every allocation, or beyond the end of one.
    Bounds "bounds" Undefined;
    /// An address that is no multiple of what the access needs.
    Alignment "alignment" Undefined;
    /// An undefined value reached an address, a branch or an operand that must be defined.
    Uninitialized "uninitialized" Undefined;
    /// An undefined value was left in global memory.
    UninitializedOutput "uninitialized-output" Undefined;
    /// A `.sync` or `.aligned` instruction that not all its lanes execute together.
    Convergence "convergence" Undefined;
    /// A CTA or named barrier used against its rules.
    Barrier "barrier" Undefined;
    /// A cluster barrier used against its rules.
    ClusterBarrier "cluster-barrier" Undefined;
    /// An mbarrier used against its rules.
    Mbarrier "mbarrier" Undefined;
    /// A register of a matrix instruction in flight was touched.
    InFlight "in-flight" Undefined;
    /// Conflicting accesses that nothing orders.
    Race "race" Undefined;
    /// A warp ended while its asynchronous work was under way.
    ExitInFlight "exit-in-flight" Undefined;
    /// Shared memory of a CTA that has ended or is not of the cluster.
    RemoteShared "remote-shared" Undefined;
    /// A tensor map, box, coordinate or bulk copy against its rules.
    TensorMap "tensor-map" Undefined;
    /// A matrix descriptor against its rules.
    Descriptor "descriptor" Undefined;
    /// A `setmaxnreg` against its rules.
    RegisterPool "register-pool" Undefined;
    /// A bulk or asynchronous copy against its rules.
    AsyncCopy "async-copy" Undefined;
    /// An operand outside of its range at run time.
    Operand "operand" Undefined;
    /// An integer division by zero: the result is unspecified.
    DivisionByZero "division-by-zero" Undefined;
    /// The program executed `trap`, or an assertion failed.
    Trap "trap" Undefined;
    /// A call through a pointer that is no function, or of the wrong signature.
    Call "call" Undefined;
    /// The launch does not suit the kernel.
    Launch "launch" Undefined;
    /// Warps wait for each other, or for nothing.
    Deadlock "deadlock" Deadlock;
    /// The simulator lacks the instruction or the feature.
    Unsupported "unsupported" Unsupported;
    /// The instruction budget ran out.
    InstructionBudget "instruction-budget" Limit;
    /// The memory of the simulation ran out.
    MemoryBudget "memory-budget" Limit;
}

/// A warp of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of the CTA in the grid.
    pub cta: [u32; 3],
    /// Number of the warp in the CTA.
    pub warp: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.cta;
        write!(f, "warp {} of CTA ({x}, {y}, {z})", self.warp)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The rule.
    pub rule: Rule,
    /// The kernel.
    pub kernel: String,
    /// The PTX line that did it; 0 if no line did.
    pub line: u32,
    /// The PTX line of the other party, where there is one.
    pub other_line: Option<u32>,
    /// The source line, where the PTX carries `.loc`: file, line.
    pub source: Option<(String, u32)>,
    /// The warp that did it, where it was one.
    pub place: Option<Place>,
    /// The device that it ran on, where there are several and it was one.
    pub device: Option<u32>,
    /// What happened, what was expected, and where.
    pub message: String,
}

impl Report {
    /// Names the warp.
    #[must_use]
    pub const fn at(mut self, cta: [u32; 3], warp: usize) -> Self {
        self.place = Some(Place { cta, warp });
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] in {}", self.rule.verdict(), self.rule.name(), self.kernel)?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if let Some((file, line)) = &self.source {
            write!(f, " ({file}:{line})")?;
        }
        if let Some(other) = self.other_line {
            write!(f, ", with line {other}")?;
        }
        if let Some(place) = self.place {
            write!(f, ", {place}")?;
        }
        if let Some(device) = self.device {
            write!(f, " on device {device}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What stops a warp: a rule with its message, before kernel and line are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The rule.
    pub rule: Rule,
    /// What happened, what was expected, and where.
    pub message: String,
    /// The PTX line of the other party.
    pub other_line: Option<u32>,
    /// The PTX line that did it, where it is not the one that is being executed; 0 if it is.
    pub line: u32,
}

impl Fault {
    /// A fault of one party.
    #[must_use]
    pub fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self { rule, message: message.into(), other_line: None, line: 0 }
    }

    /// Names the line that did it.
    #[must_use]
    pub fn at_line(mut self, line: u32) -> Self {
        self.line = line;
        self
    }

    /// Names the line of the other party.
    #[must_use]
    pub fn with_other(mut self, line: u32) -> Self {
        self.other_line = Some(line);
        self
    }
}

/// The form of a verb for the lanes of a mask: `waits` for one, `wait` for several.
#[must_use]
pub const fn verb(lanes: u32, one: &'static str, several: &'static str) -> &'static str {
    if lanes.count_ones() == 1 { one } else { several }
}

/// Lanes of a mask in words: `lane 3`, `lanes 0-15,17`.
#[must_use]
pub fn lanes(mask: u32) -> String {
    let mut parts = Vec::new();
    let mut lane = 0;
    while lane < 32 {
        if mask >> lane & 1 == 0 {
            lane += 1;
            continue;
        }
        let start = lane;
        while lane < 32 && mask >> lane & 1 == 1 {
            lane += 1;
        }
        parts.push(if lane - start == 1 { start.to_string() } else { format!("{start}-{}", lane - 1) });
    }
    format!("{} {}", if mask.count_ones() == 1 { "lane" } else { "lanes" }, parts.join(","))
}
