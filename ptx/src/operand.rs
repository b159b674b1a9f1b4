//! Operands (PTX ISA chapter 6), with names already resolved to ids of the enclosing function or module.

/// A register of one function: an index into [`Function::registers`](crate::module::Function::registers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(pub u32);

/// A label of one function: an index into [`Function::labels`](crate::module::Function::labels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(pub u32);

/// What a symbol refers to: a variable or a function, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Symbol {
    /// An index into [`Module::variables`](crate::module::Module::variables).
    Module(u32),
    /// An index into [`Function::variables`](crate::module::Function::variables): formal parameters first.
    Local(u32),
    /// An index into [`Module::functions`](crate::module::Module::functions).
    Function(u32),
}

/// A literal, as written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Immediate {
    /// An integer literal, sign applied; `unsigned` if spelled with `U` or too large for an `i64`
    /// (then the bits are those of the `u64`).
    Integer {
        /// Two's complement bits.
        value: i64,
        /// Whether the literal is of type `.u64`.
        unsigned: bool,
    },
    /// `0fXXXXXXXX`: the bits of a binary32.
    F32(u32),
    /// `0dXXXXXXXXXXXXXXXX` or a decimal literal: the bits of a binary64.
    F64(u64),
}

impl Immediate {
    /// A signed integer literal.
    #[must_use]
    pub const fn int(value: i64) -> Self {
        Self::Integer { value, unsigned: false }
    }
}

macro_rules! special_registers {
    ($($(#[$doc:meta])* $variant:ident $name:literal $bits:literal;)*) => {
        /// A special register (PTX ISA chapter 10).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum SpecialRegister { $($(#[$doc])* $variant,)* }

        impl SpecialRegister {
            /// Every special register without numbered families.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The spelling, with `%`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// Width in bits.
            #[must_use]
            pub const fn bits(self) -> u32 {
                match self { $(Self::$variant => $bits,)* }
            }
            /// The register spelled `name`, with `%`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

special_registers! {
    /// Thread index in the CTA, x component.
    TidX "%tid.x" 32;
    /// Thread index in the CTA, y component.
    TidY "%tid.y" 32;
    /// Thread index in the CTA, z component.
    TidZ "%tid.z" 32;
    /// Threads of a CTA, x component.
    NtidX "%ntid.x" 32;
    /// Threads of a CTA, y component.
    NtidY "%ntid.y" 32;
    /// Threads of a CTA, z component.
    NtidZ "%ntid.z" 32;
    /// CTA index in the grid, x component.
    CtaidX "%ctaid.x" 32;
    /// CTA index in the grid, y component.
    CtaidY "%ctaid.y" 32;
    /// CTA index in the grid, z component.
    CtaidZ "%ctaid.z" 32;
    /// CTAs of the grid, x component.
    NctaidX "%nctaid.x" 32;
    /// CTAs of the grid, y component.
    NctaidY "%nctaid.y" 32;
    /// CTAs of the grid, z component.
    NctaidZ "%nctaid.z" 32;
    /// Cluster index in the grid, x component.
    ClusteridX "%clusterid.x" 32;
    /// Cluster index in the grid, y component.
    ClusteridY "%clusterid.y" 32;
    /// Cluster index in the grid, z component.
    ClusteridZ "%clusterid.z" 32;
    /// Clusters of the grid, x component.
    NclusteridX "%nclusterid.x" 32;
    /// Clusters of the grid, y component.
    NclusteridY "%nclusterid.y" 32;
    /// Clusters of the grid, z component.
    NclusteridZ "%nclusterid.z" 32;
    /// CTA index in the cluster, x component.
    ClusterCtaidX "%cluster_ctaid.x" 32;
    /// CTA index in the cluster, y component.
    ClusterCtaidY "%cluster_ctaid.y" 32;
    /// CTA index in the cluster, z component.
    ClusterCtaidZ "%cluster_ctaid.z" 32;
    /// CTAs of a cluster, x component.
    ClusterNctaidX "%cluster_nctaid.x" 32;
    /// CTAs of a cluster, y component.
    ClusterNctaidY "%cluster_nctaid.y" 32;
    /// CTAs of a cluster, z component.
    ClusterNctaidZ "%cluster_nctaid.z" 32;
    /// Lane in the warp.
    Laneid "%laneid" 32;
    /// Warp in the CTA.
    Warpid "%warpid" 32;
    /// Warp slots of the CTA.
    Nwarpid "%nwarpid" 32;
    /// Multiprocessor that runs the CTA.
    Smid "%smid" 32;
    /// Multiprocessor slots.
    Nsmid "%nsmid" 32;
    /// Grid launch number.
    Gridid "%gridid" 64;
    /// Whether the launch named a cluster.
    IsExplicitCluster "%is_explicit_cluster" 1;
    /// Flat CTA rank in the cluster.
    ClusterCtarank "%cluster_ctarank" 32;
    /// CTAs of the cluster, flat.
    ClusterNctarank "%cluster_nctarank" 32;
    /// Own lane.
    LanemaskEq "%lanemask_eq" 32;
    /// Lanes up to the own.
    LanemaskLe "%lanemask_le" 32;
    /// Lanes before the own.
    LanemaskLt "%lanemask_lt" 32;
    /// Lanes from the own.
    LanemaskGe "%lanemask_ge" 32;
    /// Lanes after the own.
    LanemaskGt "%lanemask_gt" 32;
    /// Cycle counter, low half.
    Clock "%clock" 32;
    /// Cycle counter, high half.
    ClockHi "%clock_hi" 32;
    /// Cycle counter.
    Clock64 "%clock64" 64;
    /// Nanosecond timer.
    Globaltimer "%globaltimer" 64;
    /// Nanosecond timer, low half.
    GlobaltimerLo "%globaltimer_lo" 32;
    /// Nanosecond timer, high half.
    GlobaltimerHi "%globaltimer_hi" 32;
    /// Dynamic shared memory of the launch in bytes.
    DynamicSmemSize "%dynamic_smem_size" 32;
    /// Shared memory of a CTA in bytes.
    TotalSmemSize "%total_smem_size" 32;
    /// Shared memory of a CTA and what the system reserves, in bytes.
    AggrSmemSize "%aggr_smem_size" 32;
    /// Start of the reserved shared memory.
    ReservedSmemOffsetBegin "%reserved_smem_offset_begin" 32;
    /// End of the reserved shared memory.
    ReservedSmemOffsetEnd "%reserved_smem_offset_end" 32;
    /// Capacity of the reserved shared memory.
    ReservedSmemOffsetCap "%reserved_smem_offset_cap" 32;
    /// Graph that runs.
    CurrentGraphExec "%current_graph_exec" 64;
    /// Reserved shared memory offset.
    ReservedSmemOffset0 "%reserved_smem_offset_0" 32;
    /// Reserved shared memory offset.
    ReservedSmemOffset1 "%reserved_smem_offset_1" 32;
    /// Performance counter.
    Pm0 "%pm0" 32;
    /// Performance counter.
    Pm1 "%pm1" 32;
    /// Performance counter.
    Pm2 "%pm2" 32;
    /// Performance counter.
    Pm3 "%pm3" 32;
    /// Performance counter.
    Pm4 "%pm4" 32;
    /// Performance counter.
    Pm5 "%pm5" 32;
    /// Performance counter.
    Pm6 "%pm6" 32;
    /// Performance counter.
    Pm7 "%pm7" 32;
    /// Performance counter.
    Pm0Wide "%pm0_64" 64;
    /// Performance counter.
    Pm1Wide "%pm1_64" 64;
    /// Performance counter.
    Pm2Wide "%pm2_64" 64;
    /// Performance counter.
    Pm3Wide "%pm3_64" 64;
    /// Performance counter.
    Pm4Wide "%pm4_64" 64;
    /// Performance counter.
    Pm5Wide "%pm5_64" 64;
    /// Performance counter.
    Pm6Wide "%pm6_64" 64;
    /// Performance counter.
    Pm7Wide "%pm7_64" 64;
    /// Driver-defined value.
    Envreg0 "%envreg0" 32;
    /// Driver-defined value.
    Envreg1 "%envreg1" 32;
    /// Driver-defined value.
    Envreg2 "%envreg2" 32;
    /// Driver-defined value.
    Envreg3 "%envreg3" 32;
    /// Driver-defined value.
    Envreg4 "%envreg4" 32;
    /// Driver-defined value.
    Envreg5 "%envreg5" 32;
    /// Driver-defined value.
    Envreg6 "%envreg6" 32;
    /// Driver-defined value.
    Envreg7 "%envreg7" 32;
    /// Driver-defined value.
    Envreg8 "%envreg8" 32;
    /// Driver-defined value.
    Envreg9 "%envreg9" 32;
    /// Driver-defined value.
    Envreg10 "%envreg10" 32;
    /// Driver-defined value.
    Envreg11 "%envreg11" 32;
    /// Driver-defined value.
    Envreg12 "%envreg12" 32;
    /// Driver-defined value.
    Envreg13 "%envreg13" 32;
    /// Driver-defined value.
    Envreg14 "%envreg14" 32;
    /// Driver-defined value.
    Envreg15 "%envreg15" 32;
    /// Driver-defined value.
    Envreg16 "%envreg16" 32;
    /// Driver-defined value.
    Envreg17 "%envreg17" 32;
    /// Driver-defined value.
    Envreg18 "%envreg18" 32;
    /// Driver-defined value.
    Envreg19 "%envreg19" 32;
    /// Driver-defined value.
    Envreg20 "%envreg20" 32;
    /// Driver-defined value.
    Envreg21 "%envreg21" 32;
    /// Driver-defined value.
    Envreg22 "%envreg22" 32;
    /// Driver-defined value.
    Envreg23 "%envreg23" 32;
    /// Driver-defined value.
    Envreg24 "%envreg24" 32;
    /// Driver-defined value.
    Envreg25 "%envreg25" 32;
    /// Driver-defined value.
    Envreg26 "%envreg26" 32;
    /// Driver-defined value.
    Envreg27 "%envreg27" 32;
    /// Driver-defined value.
    Envreg28 "%envreg28" 32;
    /// Driver-defined value.
    Envreg29 "%envreg29" 32;
    /// Driver-defined value.
    Envreg30 "%envreg30" 32;
    /// Driver-defined value.
    Envreg31 "%envreg31" 32;
}

/// The base of an address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Base {
    /// A register that holds the address.
    Register(Register),
    /// A variable.
    Symbol(Symbol),
    /// A constant address; the offset is 0.
    Immediate(i64),
}

/// `[base+offset]`, for tensors `[base+offset, {c0, c1}]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// What the offset counts from.
    pub base: Base,
    /// Bytes.
    pub offset: i64,
    /// Tensor coordinates, innermost first; empty for a plain address.
    pub coordinates: Vec<Operand>,
}

/// One operand of an instruction.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// `!p`
    Not(Register),
    /// `d|p`: two destinations, either of which may be a [`Sink`](Self::Sink).
    Pair(Box<[Self; 2]>),
    /// A literal.
    Immediate(Immediate),
    /// A special register.
    Special(SpecialRegister),
    /// The address of a variable or function, plus bytes.
    Symbol(Symbol, i64),
    /// A branch target, or a table of targets or prototype named by a label.
    Label(Label),
    /// `{a, b, ..}`
    Vector(Vec<Self>),
    /// `[..]`
    Address(Box<Address>),
    /// `_`
    Sink,
    /// `(a, b, ..)` of a call.
    Arguments(Vec<Self>),
}
