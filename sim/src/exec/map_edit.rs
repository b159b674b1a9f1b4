//! Tensor maps in memory: replaced field by field, copied, acquired (PTX ISA 9.7.10.29).

use super::bulk_copy::{fault, memory_fault, to_shared};
use crate::bulk::BulkError;
use crate::context::Context;
use crate::decode::AddressSource;
use crate::memory::{Window, classify};
use crate::program::{Flow, Step};
use crate::race::{Region, Touch};
use crate::registers::Source;
use crate::tensor_map::{Field, TENSOR_MAP_BYTES, TensorMap};
use rorqual_ptx::types::Space;

/// `tensormap.replace`
///
/// # Errors
///
/// If there is no tensor map, or the value is none of the field.
pub fn replace_field(
    context: &mut Context<'_>,
    address: AddressSource,
    space: Space,
    field: Field,
    ordinal: u32,
    (value, wide): (Source, bool),
) -> Step {
    context.require_defined(value, "the value of tensormap.replace")?;
    let addresses = address.read(context)?;
    for lane in context.active() {
        let value = if wide { context.u64(value)[lane] } else { u64::from(context.u32(value)[lane]) };
        let (address, line) = (addresses[lane], context.line);
        let shared = match (space, classify(address)) {
            (Space::Shared | Space::SharedCluster, _) => Some(address as u32),
            (_, Window::Shared(address)) => Some(address),
            _ => None,
        };
        let mut bytes = [0; TENSOR_MAP_BYTES];
        let mut flags = [0; TENSOR_MAP_BYTES];
        match shared {
            Some(address) => {
                let memory = &context.cluster.cta_of(address)?.shared;
                let (data, _) =
                    memory.range(address, TENSOR_MAP_BYTES as u32).map_err(|error| memory_fault(&error))?;
                bytes.copy_from_slice(data);
            }
            None => {
                let memory = context.grid.global();
                memory.read_range(address, &mut bytes, &mut flags).map_err(|error| memory_fault(&error))?;
            }
        }
        let tensor_map_fault = |error| fault(&BulkError::TensorMap(error));
        let mut map = TensorMap::from_bytes(&bytes).map_err(tensor_map_fault)?;
        map.replace(field, ordinal, value).map_err(tensor_map_fault)?;
        let (bytes, flags) = (map.to_bytes(), [0xff; TENSOR_MAP_BYTES]);
        match shared {
            Some(address) => context.cluster.cta_of(address)?.shared.write_range(address, &bytes, &flags),
            None => {
                context.grid.edited_maps.edit(address, line);
                context.grid.global().write_range(address, &bytes, &flags, line)
            }
        }
        .map_err(|error| memory_fault(&error))?;
        let region = shared.map_or(Region::Global, |address| context.shared_region(address));
        let span = (shared.map_or(address, u64::from), TENSOR_MAP_BYTES as u64);
        if let Some((race, actor)) = context.race(1 << lane) {
            race.access_span(&actor, region, span, Touch::WRITE)?;
        }
    }
    context.cluster.changed();
    Ok(Flow::Next)
}

/// `tensormap.cp_fenceproxy`
///
/// # Errors
///
/// If the warp is not convergent, or the addresses are wrong.
pub fn copy_map(context: &mut Context<'_>, to: AddressSource, from: AddressSource) -> Step {
    if let Some(flow) = context.gather(u32::MAX, true) {
        return Ok(flow);
    }
    let to = to.read_uniform(context, "the destination of tensormap.cp_fenceproxy")?;
    let from = to_shared(from.read_uniform(context, "the source of tensormap.cp_fenceproxy")?);
    let line = context.line;
    let memory = &context.cluster.cta_of(from)?.shared;
    let (data, flags) = memory.range(from, TENSOR_MAP_BYTES as u32).map_err(|error| memory_fault(&error))?;
    context.grid.global().write_range(to, data, flags, line).map_err(|error| memory_fault(&error))?;
    context.grid.edited_maps.edit(to, line);
    let (from_region, bytes) = (context.shared_region(from), TENSOR_MAP_BYTES as u64);
    let lane = context.mask & context.mask.wrapping_neg();
    if let Some((race, actor)) = context.race(lane) {
        race.access_span(&actor, from_region, (from.into(), bytes), Touch::READ)?;
        race.access_span(&actor, Region::Global, (to, bytes), Touch::WRITE)?;
    }
    context.cluster.changed();
    Ok(Flow::Next)
}

/// `fence.proxy.tensormap::generic.acquire`
///
/// # Errors
///
/// If the address is undefined, or nothing orders an edit of the map before.
pub fn acquire_map(context: &mut Context<'_>, address: AddressSource) -> Step {
    let addresses = address.read(context)?;
    super::observe::lanes(context, &addresses, Space::Generic, TENSOR_MAP_BYTES as u32, Touch::READ)?;
    for lane in context.active() {
        context.grid.edited_maps.acquire(addresses[lane]);
    }
    Ok(Flow::Next)
}
