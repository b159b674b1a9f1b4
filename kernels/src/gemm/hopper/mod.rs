//! Matrix products D = A * B on Hopper, sm_90a alone: tensor copies, products of warpgroups, and roles.
//!
//! What is computed is what [`gemm`](super) computes, to the bit wherever a product of tensor cores has the same bits: in
//! FP8 `acc = fma(scale_a * scale_b, sum over 128 of K, acc)` in ascending K, in bf16 one sum over all of K. The order of
//! a sum depends on `k` alone, not on the tile: a row has the same bits in every kernel that can serve it, whatever rows
//! surround it.
//!
//! ```text
//!                 warp 1: scheduler ───── records of tiles ─────┐
//!                                                               ▼
//! global ──► warp 0: producer ──► ring of stages ──► consumer warpgroups ──► shared ──► global
//!            tensor copies        128 bytes of K     wgmma, promotion        stmatrix   bulk copies by row
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | [`tile`] | the tile of a CTA, and what it takes of a multiprocessor |
//! | [`grouping`], [`spec`] | which weight a row meets; what a product is specialised to, and its rules |
//! | `schedule.rs` | which tile a CTA computes next |
//! | `producer.rs`, `consumer.rs`, `epilogue.rs` | the roles, in the order of the data |
//! | `warpgroup.rs` | products and promotion, which consumers of all families have |
//! | `shared_memory.rs` | what lies where, and the rings |
//! | [`product`] | the families |
//! | [`swiglu`], `gated.rs` | the family that goes on to the activation of gated experts, and how |
//! | [`weight_gradient`] | a family whose sums are over tokens, with roles of its own |
//!
//! Hazards. A stage is filled again when every warp of the consumers, in a cluster those of both CTAs, has released it. A
//! warp releases it behind the barriers of all parts that it multiplies, so that no part is a phase ahead of its readers.
//! Scales are copied through the generic proxy, as they are read, so that no proxy fence is needed for them. Staged
//! results are overwritten when the copies of the tile before have read them. A CTA of a cluster ends with its peer, which
//! may still write to it.
//!
//! Sources: DeepSeek-V3 report (arXiv 2412.19437), section 3.3; PTX ISA 9.7.17, 9.7.10.28. Oracle: as of
//! [`gemm`](super).

mod consumer;
mod epilogue;
mod gated;
pub mod grouping;
mod plan;
mod producer;
pub mod product;
mod schedule;
mod shared_memory;
pub mod spec;
pub mod swiglu;
pub mod tile;
mod warpgroup;
pub mod weight_gradient;

pub use grouping::Groups;
pub use product::{HopperBf16Gemm, HopperBf16GemmArguments, HopperFp8Gemm, HopperFp8GemmArguments};
pub use spec::HopperGemmSpec;
pub use swiglu::{HopperFp8Swiglu, HopperFp8SwigluArguments, HopperSwigluSpec};
pub use tile::{Format, Multicast, Tile};
pub use weight_gradient::{HopperWeightGradient, HopperWeightGradientArguments, HopperWeightGradientSpec};

pub(crate) use plan::SPAN;
use plan::{Arguments, Plan};
use rorqual_codegen::contract::Extent;
use rorqual_codegen::{Builder, Header};
use rorqual_ptx::target::Target;
use schedule::Scheduler;
use shared_memory::SharedMemory;
use std::fmt::Debug;

/// Registers of a thread of the producer warpgroup, and of a consumer where there are two warpgroups of them.
const REGISTERS: (u32, u32) = (24, 240);

/// What is known of a kernel whose clusters share out so many [units](Tile::unit).
fn header(name: String, spec: &impl Debug, target: Target, tile: &Tile, units: Extent) -> Header {
    let header = Header::new(name, spec, target, tile.threads());
    let cluster = tile.multicast.cluster();
    let grid = units.at_most(Extent::Clusters(cluster)).times(cluster);
    // What a thread may have at the start, when the registers are shared out evenly among three warpgroups.
    let registers = (tile.consumer_warpgroups() > 1).then_some(168);
    let cluster = (cluster > 1).then_some([cluster, 1, 1]);
    Header { registers, cluster, ..header.grid(grid, 1, 1).dependent_launch() }
}

/// Writes the kernel of a plan.
#[track_caller]
fn emit<'k>(builder: &'k Builder, plan: &Plan, arguments: &Arguments<'k>) {
    let memory = SharedMemory::reserve(builder, plan.contents());
    let roles = Roles {
        produce: || producer::produce(plan, &memory, arguments),
        schedule: || Scheduler::new(plan, &memory).run(arguments),
        consume: || consumer::consume(plan, &memory, arguments),
    };
    roles.emit(&memory);
}

/// What the warps of a CTA do.
struct Roles<P, S, C> {
    /// The first warp of the producer warpgroup.
    produce: P,
    /// Its second.
    schedule: S,
    /// The consumer warpgroups.
    consume: C,
}

impl<P: FnOnce(), S: FnOnce(), C: FnOnce()> Roles<P, S, C> {
    /// Writes a CTA from its start to its end.
    #[track_caller]
    fn emit(self, memory: &SharedMemory<'_>) {
        let SharedMemory { builder, tile, .. } = *memory;
        let (consumers, is_cluster) = (tile.consumer_warpgroups(), tile.multicast.cluster() > 1);
        builder.when(builder.thread().equals(0), || memory.initialize());
        if is_cluster {
            builder.meet_cluster();
        } else {
            builder.sync_threads();
        }
        builder.wait_for_earlier_kernels();
        builder.role(0, 4, || {
            if consumers > 1 {
                builder.set_registers(REGISTERS.0, false);
            }
            builder.role(0, 1, self.produce);
            builder.role(1, 1, || {
                (self.schedule)();
                // No tile is left to be announced: the next kernel gets the multiprocessors whose CTAs end first.
                builder.let_next_kernel_start();
            });
        });
        builder.role(4, 4 * consumers, || {
            if consumers > 1 {
                builder.set_registers(REGISTERS.1, true);
            }
            (self.consume)();
        });
        if is_cluster {
            // What the other CTA has done here comes before this one ends.
            builder.sync_cluster();
        }
    }
}
