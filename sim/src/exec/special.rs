//! Special registers (PTX ISA chapter 10).

use crate::context::Context;
use crate::memory::SHARED_DATA_OFFSET;
use crate::program::{Flow, Step};
use crate::registers::Destination;
use crate::report::{Fault, Rule};
use rorqual_ptx::operand::SpecialRegister;

/// Writes a special register to a register of 32 or 64 bits.
///
/// # Errors
///
/// If the simulator does not have it.
pub fn write(context: &mut Context<'_>, special: SpecialRegister, to: Destination, wide: bool) -> Step {
    let values = read(context, special)?;
    if wide {
        context.write_u64(to, &values, 0)?;
    } else {
        context.write_u32(to, &values.map(|value| value as u32), 0)?;
    }
    Ok(Flow::Next)
}

/// Writes a special register of one bit to a predicate.
///
/// # Errors
///
/// If the simulator does not have it.
pub fn write_predicate(context: &mut Context<'_>, special: SpecialRegister, to: u16) -> Step {
    let values = read(context, special)?;
    let value = (0..32).fold(0, |set, lane| set | ((values[lane] & 1) as u32) << lane);
    context.write_predicate(to, value, 0);
    Ok(Flow::Next)
}

/// The clock. That a loop has looked at it is remembered: what else changes nothing may wait for a time.
fn clock(context: &mut Context<'_>) -> u64 {
    let time = context.world.time;
    context.fragment.spin.clock_read.get_or_insert(time);
    time
}

fn read(context: &mut Context<'_>, special: SpecialRegister) -> Result<[u64; 32], Box<Fault>> {
    use SpecialRegister as R;
    let grid = context.grid;
    let cta = &context.cluster.ctas[context.warp.cta];
    let thread = |axis: usize| context.warp.thread[axis].map(u64::from);
    let lane_masks = |of: fn(u32) -> u32| std::array::from_fn(|lane| u64::from(of(lane as u32)));
    let cta_flat = || {
        let ([x, y, z], [width, height, _]) = (cta.index.map(u64::from), grid.ctas.map(u64::from));
        x + width * (y + height * z)
    };
    let number: u64 = match special {
        R::TidX => return Ok(thread(0)),
        R::TidY => return Ok(thread(1)),
        R::TidZ => return Ok(thread(2)),
        R::Laneid => return Ok(std::array::from_fn(|lane| lane as u64)),
        R::LanemaskEq => return Ok(lane_masks(|lane| 1 << lane)),
        R::LanemaskLe => return Ok(lane_masks(|lane| u32::MAX >> (31 - lane))),
        R::LanemaskLt => return Ok(lane_masks(|lane| (1 << lane) - 1)),
        R::LanemaskGe => return Ok(lane_masks(|lane| u32::MAX << lane)),
        R::LanemaskGt => return Ok(lane_masks(|lane| u32::MAX << lane << 1)),
        R::NtidX => grid.threads[0].into(),
        R::NtidY => grid.threads[1].into(),
        R::NtidZ => grid.threads[2].into(),
        R::CtaidX => cta.index[0].into(),
        R::CtaidY => cta.index[1].into(),
        R::CtaidZ => cta.index[2].into(),
        R::NctaidX => grid.ctas[0].into(),
        R::NctaidY => grid.ctas[1].into(),
        R::NctaidZ => grid.ctas[2].into(),
        R::ClusteridX => context.cluster.coordinates[0].into(),
        R::ClusteridY => context.cluster.coordinates[1].into(),
        R::ClusteridZ => context.cluster.coordinates[2].into(),
        R::NclusteridX => grid.clusters()[0].into(),
        R::NclusteridY => grid.clusters()[1].into(),
        R::NclusteridZ => grid.clusters()[2].into(),
        R::ClusterCtaidX => cta.cluster_index[0].into(),
        R::ClusterCtaidY => cta.cluster_index[1].into(),
        R::ClusterCtaidZ => cta.cluster_index[2].into(),
        R::ClusterNctaidX => grid.cluster[0].into(),
        R::ClusterNctaidY => grid.cluster[1].into(),
        R::ClusterNctaidZ => grid.cluster[2].into(),
        R::ClusterCtarank => context.warp.cta as u64,
        R::ClusterNctarank => grid.cluster_size().into(),
        R::IsExplicitCluster => grid.explicit_cluster.into(),
        R::Warpid => context.warp.index as u64,
        R::Nwarpid => u64::from(grid.limits.resident_threads / 32),
        R::Smid => cta_flat() % u64::from(grid.limits.multiprocessors),
        R::Nsmid => grid.limits.multiprocessors.into(),
        R::Gridid => grid.number,
        R::Clock | R::Clock64 => clock(context),
        R::ClockHi => clock(context) >> 32,
        R::Globaltimer | R::GlobaltimerLo => clock(context),
        R::GlobaltimerHi => clock(context) >> 32,
        R::DynamicSmemSize => grid.dynamic_shared_bytes.into(),
        R::TotalSmemSize => (grid.dynamic_shared_bytes + grid.kernel.static_shared_bytes).into(),
        R::AggrSmemSize => {
            (grid.dynamic_shared_bytes + grid.kernel.static_shared_bytes + SHARED_DATA_OFFSET).into()
        }
        R::ReservedSmemOffsetBegin | R::ReservedSmemOffset0 | R::ReservedSmemOffset1 => 0,
        R::ReservedSmemOffsetEnd | R::ReservedSmemOffsetCap => SHARED_DATA_OFFSET.into(),
        R::CurrentGraphExec => 0,
        R::Envreg1 => grid.grid_workspace >> 32,
        R::Envreg2 => grid.grid_workspace & 0xffff_ffff,
        other if other.name().starts_with("%envreg") || other.name().starts_with("%pm") => 0,
        other => {
            return Err(Box::new(Fault::new(
                Rule::Unsupported,
                format!("special register {}", other.name()),
            )));
        }
    };
    Ok([number; 32])
}
