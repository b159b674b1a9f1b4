//! Multimem addresses (PTX ISA 9.7.10.15): stores to, reductions into and reducing loads of every replica of a multicast
//! object. Replicas are accessed one after the other, by ascending device.

use super::access::lane_fault;
use super::atomic::{self, Operation, elements};
use super::cached::{self, Use};
use super::{link, observe};
use crate::context::Context;
use crate::counters::{Class, LinkUse, lane_count};
use crate::decode::{AddressSource, Decoded, Decoder, Unsupported};
use crate::liveness::slots_of;
use crate::memory::{LaneError, Loaded, byte_mask, check_alignment};
use crate::program::{Flow, Step};
use crate::race::Touch;
use crate::race::scope::{Scope, Semantics};
use crate::registers::{Destination, Source};
use crate::report::Fault;
use crate::scalar::Rounding;
use crate::scalar::exact::Overflow;
use crate::scalar::format::{BF16, F16, Format};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::types::{Space, Type};

/// The lanes that reach a replica, and where.
struct Replica {
    device: u32,
    lanes: u32,
    addresses: [u64; 32],
}

/// What all `multimem` instructions of lanes have.
#[derive(Debug, Clone, Copy)]
struct Target {
    address: AddressSource,
    /// Bytes of a component: 2, 4 or 8.
    bytes: u32,
    components: u32,
    /// 32-bit slots of a register.
    slots: u32,
    semantics: Semantics,
}

impl Target {
    /// The replicas behind the addresses of the active lanes.
    fn replicas(&self, context: &mut Context<'_>) -> Result<Vec<Replica>, Box<Fault>> {
        let addresses = self.address.read(context)?;
        let whole = self.bytes * self.components;
        check_alignment(&addresses, 0, context.mask, whole).map_err(|error| lane_fault(&error))?;
        let memory = context.grid.global();
        let mut replicas: Vec<Replica> = Vec::new();
        for lane in context.active() {
            let found = memory.replicas(addresses[lane], whole.into());
            let found = found.map_err(|error| lane_fault(&LaneError { lane: lane as u32, error }))?;
            for (device, address) in found.iter() {
                let at = replicas.iter().position(|replica| replica.device == device).unwrap_or_else(|| {
                    replicas.push(Replica { device, lanes: 0, addresses: [0; 32] });
                    replicas.len() - 1
                });
                replicas[at].lanes |= 1 << lane;
                replicas[at].addresses[lane] = address;
            }
        }
        replicas.sort_by_key(|replica| replica.device);
        Ok(replicas)
    }

    /// Tells counters and race detection of an access to a replica that is about to be made.
    fn observe(
        &self,
        context: &mut Context<'_>,
        replica: &Replica,
        write: bool,
        link_use: LinkUse,
    ) -> Result<(), Box<Fault>> {
        let mask = std::mem::replace(&mut context.mask, replica.lanes);
        let whole = self.bytes * self.components;
        link::lanes(context, &replica.addresses, Space::Global, whole, link_use);
        let what = if link_use == LinkUse::Write { Use::Write } else { Use::Read };
        cached::lanes(context, &replica.addresses, Space::Global, whole, what);
        let strong = self.semantics.strong;
        let touch = Touch { write, strong, scalar_bytes: self.bytes, ..Touch::READ };
        observe::lanes(context, &replica.addresses, Space::Global, whole, touch)?;
        if write {
            let is_update = link_use == LinkUse::Atomic;
            observe::strong_writes(context, &replica.addresses, Space::Global, self.semantics, is_update);
        } else {
            observe::strong_reads(context, &replica.addresses, Space::Global, self.semantics);
        }
        context.mask = mask;
        Ok(())
    }

    /// The values of a source and the lanes where they are undefined.
    fn values(&self, context: &Context<'_>, source: Source) -> Result<([u64; 32], u32), Box<Fault>> {
        let undefined = context.taint(source)?;
        let values = match self.slots {
            1 => context.u32(source).map(u64::from),
            _ => *context.u64(source),
        };
        Ok((values.map(|value| value & u64::MAX >> (64 - 8 * self.bytes)), undefined))
    }

    /// Stores to every replica, or reduces into it.
    fn write(&self, context: &mut Context<'_>, sources: &[Source], operation: Option<Operation>) -> Step {
        let replicas = self.replicas(context)?;
        let link_use = if operation.is_some() { LinkUse::Atomic } else { LinkUse::Write };
        let (line, bytes) = (context.line, self.bytes);
        for replica in &replicas {
            self.observe(context, replica, true, link_use)?;
            let memory = context.grid.memory.device(replica.device);
            for (index, source) in sources.iter().enumerate() {
                let (values, undefined) = self.values(context, *source)?;
                for lane in (0..32).filter(|lane| replica.lanes >> lane & 1 == 1) {
                    let address = replica.addresses[lane] + u64::from(bytes) * index as u64;
                    let (value, defined) = (values[lane], undefined >> lane & 1 == 0);
                    let written = match operation {
                        None => {
                            let defined = if defined { byte_mask(bytes) } else { 0 };
                            memory.store(address, bytes, value.into(), defined, line)
                        }
                        Some(operation) => {
                            let update = |old: u64| {
                                operation.apply(old.into(), value.into(), 0, 8 * bytes, true) as u64
                            };
                            memory
                                .fetch_update(address, bytes, line, update, |old| old && defined)
                                .map(|_| ())
                        }
                    };
                    written.map_err(|error| lane_fault(&LaneError { lane: lane as u32, error }))?;
                }
            }
            let moved = lane_count(replica.lanes) * u64::from(bytes * self.components);
            match operation {
                None => context.counters.global_written_bytes += moved,
                Some(_) => context.counters.atomic_bytes += moved,
            }
        }
        context.cluster.changed();
        Ok(Flow::Next)
    }

    /// Loads every replica and reduces what it finds.
    fn load(&self, context: &mut Context<'_>, destinations: &[Option<Destination>], sum: Sum) -> Step {
        let replicas = self.replicas(context)?;
        for replica in &replicas {
            self.observe(context, replica, false, LinkUse::Read)?;
            let moved = lane_count(replica.lanes) * u64::from(self.bytes * self.components);
            context.counters.global_read_bytes += moved;
        }
        for (index, to) in destinations.iter().enumerate() {
            let Some(to) = to else { continue };
            let (mut values, mut undefined) = ([0u64; 32], 0);
            for lane in context.active() {
                let reached = replicas.iter().filter(|replica| replica.lanes >> lane & 1 == 1);
                let loaded = reached.map(|replica| {
                    let address = replica.addresses[lane] + u64::from(self.bytes) * index as u64;
                    context.grid.memory.device(replica.device).load(address, self.bytes)
                });
                let loaded = loaded.collect::<Result<Vec<Loaded>, _>>();
                let loaded = loaded.map_err(|error| lane_fault(&LaneError { lane: lane as u32, error }))?;
                values[lane] = sum.of(&loaded, 8 * self.bytes);
                let defined = loaded.iter().all(|loaded| loaded.is_defined(self.bytes));
                undefined |= u32::from(!defined) << lane;
            }
            match self.slots {
                1 => context.write_u32(*to, &values.map(|value| value as u32), undefined)?,
                _ => context.write_u64(*to, &values, undefined)?,
            }
        }
        Ok(Flow::Next)
    }
}

/// How replicas are brought together.
#[derive(Debug, Clone, Copy)]
enum Sum {
    /// Step by step, in the type of the elements.
    Stepwise(Operation),
    /// Halves of this format, added up in f32 and rounded once (`.acc::f32`).
    InFloat(Format),
}

impl Sum {
    fn of(self, replicas: &[Loaded], bits: u32) -> u64 {
        match self {
            Self::Stepwise(operation) => {
                let values = replicas.iter().map(|loaded| loaded.bits);
                values.reduce(|sum, value| operation.apply(sum, value, 0, bits, true)).unwrap_or(0) as u64
            }
            Self::InFloat(format) => (0..bits / 16).fold(0, |result, element| {
                let at = 16 * element;
                let halves = replicas.iter().map(|loaded| format.decode(loaded.low() >> at & 0xffff) as f32);
                let sum = halves.reduce(|sum, half| sum + half).unwrap_or(0.0);
                result | format.encode(sum.into(), Rounding::Nearest, Overflow::Ieee) << at
            }),
        }
    }
}

impl Decoder<'_> {
    /// The address and type of an instruction, whose vector has so many components.
    fn multimem(
        &mut self,
        instruction: &Instruction,
        components: usize,
        default: Semantics,
    ) -> Result<(Target, Type), Unsupported> {
        let ty =
            instruction.types().last().ok_or_else(|| Unsupported::new("a multimem access without a type"))?;
        if matches!(ty, Type::E4m3 | Type::E4m3x2 | Type::E4m3x4 | Type::E5m2 | Type::E5m2x2 | Type::E5m2x4) {
            return Err(Unsupported::new("FP8 behind multimem addresses"));
        }
        let target = Target {
            address: self.address(self.need(instruction, "a")?)?,
            bytes: ty.bytes(),
            components: components as u32,
            slots: slots_of(ty, 1) as u32,
            semantics: Semantics::of(instruction, default),
        };
        Ok((target, ty))
    }

    /// `multimem.ld_reduce`
    ///
    /// # Errors
    ///
    /// If the simulator lacks its type.
    pub fn reducing_load(&mut self, instruction: &Instruction) -> Decoded {
        let registers = elements(self.need(instruction, "d")?);
        let (target, ty) = self.multimem(instruction, registers.len(), Semantics::WEAK)?;
        let sum = match ty {
            Type::F16 | Type::F16x2 if instruction.has(Modifier::AccF32) => Sum::InFloat(F16),
            Type::Bf16 | Type::Bf16x2 if instruction.has(Modifier::AccF32) => Sum::InFloat(BF16),
            _ => Sum::Stepwise(atomic::operation(instruction, ty)?),
        };
        let destinations = registers.iter().map(|register| match register {
            rorqual_ptx::operand::Operand::Sink => Ok(None),
            register => self.destination(register, ty).map(Some),
        });
        let destinations = destinations.collect::<Result<Vec<_>, _>>()?;
        self.emit_with(Class::Global, move |context| target.load(context, &destinations, sum));
        Ok(())
    }

    /// `multimem.st`
    ///
    /// # Errors
    ///
    /// If the simulator lacks its type.
    pub fn multicast_store(&mut self, instruction: &Instruction) -> Decoded {
        self.multicast_write(instruction, None, Semantics::WEAK)
    }

    /// `multimem.red`
    ///
    /// # Errors
    ///
    /// If the simulator lacks its type.
    pub fn multicast_reduction(&mut self, instruction: &Instruction) -> Decoded {
        let ty = instruction.types().last().ok_or_else(|| Unsupported::new("a reduction without a type"))?;
        let operation = atomic::operation(instruction, ty)?;
        let relaxed = Semantics { strong: Some(Scope::Sys), ..Semantics::WEAK };
        self.multicast_write(instruction, Some(operation), relaxed)
    }

    fn multicast_write(
        &mut self,
        instruction: &Instruction,
        operation: Option<Operation>,
        default: Semantics,
    ) -> Decoded {
        let values = elements(self.need(instruction, "b")?);
        let (target, ty) = self.multimem(instruction, values.len(), default)?;
        let sources = values.iter().map(|value| self.source(value, ty)).collect::<Result<Vec<_>, _>>()?;
        let class = if operation.is_some() { Class::Atomic } else { Class::Global };
        self.emit_with(class, move |context| target.write(context, &sources, operation));
        Ok(())
    }
}
