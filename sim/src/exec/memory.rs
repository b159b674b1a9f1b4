//! Moves, loads, stores and cache control (PTX ISA 9.7.10): decoding, and the code of moves.

use super::access::{self, Access, lane_fault};
use super::cached::{self, Use};
use super::older::{self, OlderValues};
use super::{link, observe};
use crate::cluster::{Asynchronous, ClusterState, Progress};
use crate::context::Context;
use crate::counters::{Class, Counters, LinkUse};
use crate::decode::{AddressSource, Decoded, Decoder, Unsupported};
use crate::grid::Grid;
use crate::liveness::slots_of;
use crate::memory::check_alignment;
use crate::program::{Flow, MicroOp, Step};
use crate::race::Touch;
use crate::race::scope::Semantics;
use crate::registers::{Destination, Source};
use crate::report::{Fault, Rule};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::operand::{Immediate, Operand};
use rorqual_ptx::table::ExecMemory;
use rorqual_ptx::types::{Space, Type};

/// The counting class of accesses to a space.
#[must_use]
pub const fn class_of(space: Space) -> Class {
    match space {
        Space::Shared | Space::SharedCluster => Class::Shared,
        Space::Local => Class::Local,
        Space::Param | Space::Const => Class::Parameter,
        _ => Class::Global,
    }
}

fn run_mov_32(context: &mut Context<'_>, op: &MicroOp) -> Step {
    let undefined = context.taint(op.a)?;
    let values = *context.u32(op.a);
    context.write_u32(op.d, &values, undefined)?;
    Ok(Flow::Next)
}

fn run_mov_64(context: &mut Context<'_>, op: &MicroOp) -> Step {
    let undefined = context.taint(op.a)?;
    let values = *context.u64(op.a);
    context.write_u64(op.d, &values, undefined)?;
    Ok(Flow::Next)
}

/// A register or literal of a load or store, with the width of its register.
#[derive(Debug, Clone, Copy)]
struct Component<O> {
    operand: O,
    slots: u8,
}

/// `ld`, decoded.
struct Load {
    address: AddressSource,
    space: Space,
    bytes: u32,
    /// Bits of the value to extend the sign from; 0 if it is unsigned.
    signed: bool,
    /// Bits of a 16-bit register are kept in 32: the extension is cut to them.
    register_bits: u32,
    semantics: Semantics,
    /// Whether it goes through the non-coherent path.
    constant: bool,
    components: Vec<Component<Option<Destination>>>,
}

impl Load {
    fn run(&self, context: &mut Context<'_>) -> Step {
        if let [component] = *self.components.as_slice()
            && self.own_shared(context, component)?
        {
            return Ok(Flow::Next);
        }
        let addresses = self.address.read(context)?;
        let whole = self.bytes * self.components.len() as u32;
        let touch = Touch {
            strong: self.semantics.strong,
            constant: self.constant,
            scalar_bytes: self.bytes,
            ..Touch::READ
        };
        if self.space != Space::Param && self.components.len() > 1 {
            check_alignment(&addresses, 0, context.mask, whole).map_err(|error| lane_fault(&error))?;
        }
        access::count(context, &addresses, self.space, whole);
        link::lanes(context, &addresses, self.space, whole, LinkUse::Read);
        cached::lanes(context, &addresses, self.space, whole, Use::Read);
        let may_be_older = self.semantics.strong.is_some() && self.components.len() == 1;
        let older = if may_be_older { older::values(context, &addresses, self.space, whole) } else { None };
        for (index, component) in self.components.iter().enumerate() {
            let access = Access { space: self.space, bytes: self.bytes, offset: index as u32 * self.bytes };
            let Some(to) = component.operand else { continue };
            if component.slots == 1 {
                let mut values = [0u32; 32];
                let defined = access::load(context, &addresses, access, &mut values)?;
                if let Some(older) = &older {
                    older.replace(&mut values, |bits| bits as u32);
                }
                if self.signed && self.bytes < 4 {
                    self.extend_narrow(&mut values);
                }
                context.write_u32(to, &values, !defined)?;
            } else {
                let mut values = [0u64; 32];
                let defined = access::load(context, &addresses, access, &mut values)?;
                if let Some(older) = &older {
                    older.replace(&mut values, |bits| bits as u64);
                }
                if self.signed && self.bytes < 8 {
                    let shift = 64 - self.bytes * 8;
                    values = values.map(|value| ((value << shift).cast_signed() >> shift).cast_unsigned());
                }
                context.write_u64(to, &values, !defined)?;
            }
        }
        observe::lanes(context, &addresses, self.space, whole, touch)?;
        let mask = context.mask;
        context.mask &= !older.as_ref().map_or(0, OlderValues::lanes);
        observe::strong_reads(context, &addresses, self.space, self.semantics);
        context.mask = mask;
        if let Some(older) = older {
            older.observe(context, self.semantics);
        }
        Ok(Flow::Next)
    }

    /// Loads a register from the executing CTA's shared memory, the most frequent load, without a list of addresses.
    /// False if it is something else, or wrong: that is for the general way.
    #[inline]
    fn own_shared(
        &self,
        context: &mut Context<'_>,
        component: Component<Option<Destination>>,
    ) -> Result<bool, Box<Fault>> {
        let narrow = self.signed && self.bytes < 4 * u32::from(component.slots);
        let Some(to) = component.operand else { return Ok(false) };
        if !access::is_plain_shared(context, self.space, &self.address)
            || narrow
            || self.semantics != Semantics::WEAK
        {
            return Ok(false);
        }
        context.require_defined(self.address.base, "an address")?;
        if component.slots == 1 {
            let mut values = [0u32; 32];
            let loaded = access::load_own_shared(context, &self.address, self.bytes, &mut values);
            let Some(defined) = loaded else { return Ok(false) };
            access::observe_own_shared(context, &self.address, self.bytes)?;
            context.write_u32(to, &values, !defined)?;
        } else {
            let mut values = [0u64; 32];
            let loaded = access::load_own_shared(context, &self.address, self.bytes, &mut values);
            let Some(defined) = loaded else { return Ok(false) };
            access::observe_own_shared(context, &self.address, self.bytes)?;
            context.write_u64(to, &values, !defined)?;
        }
        Ok(true)
    }

    fn extend_narrow(&self, values: &mut [u32; 32]) {
        let shift = 32 - self.bytes * 8;
        let keep = if self.register_bits < 32 { (1 << self.register_bits) - 1 } else { u32::MAX };
        *values = values.map(|value| ((value << shift).cast_signed() >> shift).cast_unsigned() & keep);
    }
}

/// `st`, decoded.
struct Store {
    address: AddressSource,
    space: Space,
    bytes: u32,
    semantics: Semantics,
    components: Vec<Component<Source>>,
}

impl Store {
    fn run(&self, context: &mut Context<'_>) -> Step {
        let addresses = self.address.read(context)?;
        let whole = self.bytes * self.components.len() as u32;
        if self.components.len() > 1 {
            check_alignment(&addresses, 0, context.mask, whole).map_err(|error| lane_fault(&error))?;
        }
        access::count(context, &addresses, self.space, whole);
        link::lanes(context, &addresses, self.space, whole, LinkUse::Write);
        cached::lanes(context, &addresses, self.space, whole, Use::Write);
        let byte = |context: &Context<'_>, lane: usize, byte: u32| {
            let component = &self.components[(byte / self.bytes) as usize];
            let word = match component.slots {
                1 => u64::from(context.u32(component.operand)[lane]),
                _ => context.u64(component.operand)[lane],
            };
            (word >> (8 * (byte % self.bytes))) as u8
        };
        let touch = Touch { strong: self.semantics.strong, scalar_bytes: self.bytes, ..Touch::WRITE };
        observe::store(context, &addresses, self.space, whole, touch, &byte)?;
        older::before_write(context, &addresses, self.space, whole, self.semantics.strong.is_some());
        for (index, component) in self.components.iter().enumerate() {
            let access = Access { space: self.space, bytes: self.bytes, offset: index as u32 * self.bytes };
            let undefined = context.taint(component.operand)?;
            if component.slots == 1 {
                let values = *context.u32(component.operand);
                access::store(context, &addresses, access, &values, !undefined)?;
            } else {
                let values = *context.u64(component.operand);
                access::store(context, &addresses, access, &values, !undefined)?;
            }
        }
        observe::strong_writes(context, &addresses, self.space, self.semantics, false);
        older::after_write(context, &addresses, self.space, whole, self.semantics.strong.is_some());
        Ok(Flow::Next)
    }
}

/// `st.async`: a store that another CTA's mbarrier counts.
#[derive(Debug)]
struct AsyncStore {
    address: u32,
    data: Vec<u8>,
    flags: Vec<u8>,
    mbarrier: u32,
}

impl Asynchronous for AsyncStore {
    fn advance(
        &mut self,
        cluster: &mut ClusterState,
        _: &Grid<'_>,
        counters: &mut Counters,
    ) -> Result<Progress, Box<Fault>> {
        counters.shared_written_bytes += self.data.len() as u64;
        let shared = &mut cluster.cta_of(self.address)?.shared;
        shared
            .write_range(self.address, &self.data, &self.flags)
            .map_err(|error| Fault::new(super::bulk_copy::memory_rule(&error), error.to_string()))?;
        let barrier = cluster.mbarrier(self.mbarrier)?;
        barrier.in_flight -= 1;
        barrier.complete_transactions(self.data.len() as u32)?;
        Ok(Progress::Done)
    }
}

impl Decoder<'_> {
    /// The operands of a vector access; a plain operand is a vector of one.
    fn elements(operand: &Operand) -> &[Operand] {
        match operand {
            Operand::Vector(elements) => elements,
            single => std::slice::from_ref(single),
        }
    }

    /// The operand that the form calls `name`.
    ///
    /// # Errors
    ///
    /// If it is absent.
    pub fn need<'i>(&self, instruction: &'i Instruction, name: &str) -> Result<&'i Operand, Unsupported> {
        instruction.operand(name).ok_or_else(|| Unsupported::new(format!("operand `{name}` is missing")))
    }

    fn load(&mut self, instruction: &Instruction) -> Decoded {
        let ty = instruction.types().last().ok_or_else(|| Unsupported::new("a load without a type"))?;
        let operand = self.need(instruction, "a")?;
        let space = self.space(instruction, operand);
        let address = self.address(operand)?;
        let (mut components, mut register_bits) = (Vec::new(), 32);
        for element in Self::elements(self.need(instruction, "d")?) {
            let component = if let Operand::Register(register) = element {
                let info = &self.function.registers[register.0 as usize];
                register_bits = info.ty.bits();
                let slots = slots_of(info.ty, 1) as u8;
                Component { operand: Some(Destination(self.slot(*register))), slots }
            } else {
                Component { operand: None, slots: 1 }
            };
            if component.slots == 4 {
                // A 128-bit register is two components of eight bytes.
                let high = component.operand.map(|low| Destination(low.0 + 2));
                components.push(Component { slots: 2, ..component });
                components.push(Component { operand: high, slots: 2 });
            } else {
                components.push(component);
            }
        }
        let load = Load {
            address,
            space,
            bytes: ty.bytes().min(8),
            signed: ty.is_signed(),
            register_bits,
            semantics: Semantics::of(instruction, Semantics::WEAK),
            constant: instruction.has(Modifier::Nc),
            components,
        };
        self.emit_with(class_of(space), move |context| load.run(context));
        Ok(())
    }

    fn store(&mut self, instruction: &Instruction) -> Decoded {
        let ty = instruction.types().last().ok_or_else(|| Unsupported::new("a store without a type"))?;
        let operand = self.need(instruction, "a")?;
        let space = self.space(instruction, operand);
        let address = self.address(operand)?;
        let mut components = Vec::new();
        for element in Self::elements(self.need(instruction, "b")?) {
            let slots = match element {
                Operand::Register(register) => {
                    slots_of(self.function.registers[register.0 as usize].ty, 1) as u8
                }
                _ => slots_of(ty, 1) as u8,
            };
            // A wider register is stored by its low bits.
            let slots = if ty.bits() <= 64 { slots.min(2) } else { slots };
            match (element, slots) {
                (Operand::Register(register), 1 | 2) => {
                    components.push(Component { operand: Source(self.slot(*register)), slots });
                }
                (_, 4) => {
                    let low = self.source(element, Type::B128)?;
                    components.push(Component { operand: low, slots: 2 });
                    components.push(Component { operand: Source(low.0 + 2), slots: 2 });
                }
                _ => components.push(Component { operand: self.source(element, ty)?, slots }),
            }
        }
        let semantics = Semantics::of(instruction, Semantics::WEAK);
        let store = Store { address, space, bytes: ty.bytes().min(8), semantics, components };
        self.emit_with(class_of(space), move |context| store.run(context));
        Ok(())
    }

    fn nothing(&mut self) -> Decoded {
        self.emit_with(Class::Control, |_| Ok(Flow::Next));
        Ok(())
    }

    /// `mov d, {a, b, ..}`
    fn pack(&mut self, to: &Operand, elements: &[Operand], ty: Type) -> Decoded {
        let each = ty.bits() / elements.len() as u32;
        let element_type = bits_type(each)?;
        let to = self.destination(to, ty)?;
        let sources = elements
            .iter()
            .map(|element| self.source(element, element_type))
            .collect::<Result<Vec<_>, _>>()?;
        self.emit_with(Class::Move, move |context| {
            let mut words = [[0u64; 32]; 2];
            let mut undefined = 0;
            for (index, source) in sources.iter().enumerate() {
                undefined |= context.taint(*source)?;
                let at = index as u32 * each;
                let word = &mut words[(at / 64) as usize];
                if each == 64 {
                    *word = *context.u64(*source);
                } else {
                    let values = context.u32(*source);
                    let keep = (1u64 << each) - 1;
                    (0..32).for_each(|lane| word[lane] |= (u64::from(values[lane]) & keep) << (at % 64));
                }
            }
            write_wide(context, to, ty.bits(), &words, undefined)?;
            Ok(Flow::Next)
        });
        Ok(())
    }

    /// `mov {a, b, ..}, d`
    fn unpack(&mut self, elements: &[Operand], from: &Operand, ty: Type) -> Decoded {
        let each = ty.bits() / elements.len() as u32;
        let element_type = bits_type(each)?;
        let source = self.source(from, ty)?;
        let mut targets = Vec::new();
        for element in elements {
            targets.push(match element {
                Operand::Sink => None,
                register => Some(self.destination(register, element_type)?),
            });
        }
        self.emit_with(Class::Move, move |context| {
            let undefined = context.taint(source)?;
            let words = match ty.bits() {
                0..=32 => [context.u32(source).map(u64::from), [0; 32]],
                33..=64 => [*context.u64(source), [0; 32]],
                _ => {
                    let [low, high] = context.u128(source);
                    [*low, *high]
                }
            };
            for (index, target) in targets.iter().enumerate() {
                let Some(target) = target else { continue };
                let at = index as u32 * each;
                let word = &words[(at / 64) as usize];
                if each == 64 {
                    context.write_u64(*target, word, undefined)?;
                } else {
                    let keep = (1u64 << each) - 1;
                    context.write_u32(
                        *target,
                        &word.map(|word| (word >> (at % 64) & keep) as u32),
                        undefined,
                    )?;
                }
            }
            Ok(Flow::Next)
        });
        Ok(())
    }
}

fn write_wide(
    context: &mut Context<'_>,
    to: Destination,
    bits: u32,
    words: &[[u64; 32]; 2],
    undefined: u32,
) -> Result<(), Box<Fault>> {
    match bits {
        0..=32 => context.write_u32(to, &words[0].map(|word| word as u32), undefined),
        33..=64 => context.write_u64(to, &words[0], undefined),
        _ => {
            context.write_u64(to, &words[0], undefined)?;
            context.write_u64(Destination(to.0 + 2), &words[1], undefined)
        }
    }
}

fn bits_type(bits: u32) -> Result<Type, Unsupported> {
    Ok(match bits {
        8 => Type::B8,
        16 => Type::B16,
        32 => Type::B32,
        64 => Type::B64,
        _ => return Err(Unsupported::new(format!("a vector of {bits}-bit elements in a register"))),
    })
}

impl ExecMemory for Decoder<'_> {
    type Output = Decoded;

    fn mov(&mut self, instruction: &Instruction) -> Decoded {
        let (to, from) = (self.need(instruction, "d")?, self.need(instruction, "a")?);
        let ty = instruction.ty().ok_or_else(|| Unsupported::new("a mov without a type"))?;
        match (to, from) {
            (_, Operand::Special(special)) if ty == Type::Pred => {
                let (to, special) = (self.predicate_destination(to)?, *special);
                let Some(to) = to else { return self.nothing() };
                self.emit_with(Class::Move, move |context| {
                    super::special::write_predicate(context, special, to)
                });
                Ok(())
            }
            (_, Operand::Special(special)) => {
                let (to, special) = (self.destination(to, ty)?, *special);
                let wide = slots_of(ty, 1) == 2;
                self.emit_with(Class::Move, move |context| super::special::write(context, special, to, wide));
                Ok(())
            }
            (_, Operand::Vector(elements)) if elements.len() > 1 => self.pack(to, elements, ty),
            (Operand::Vector(elements), _) if elements.len() > 1 => self.unpack(elements, from, ty),
            _ if ty == Type::Pred => {
                let from = self.predicate(from)?;
                let Some(to) = self.predicate_destination(to)? else { return self.nothing() };
                self.emit_with(Class::Move, move |context| {
                    let (value, undefined) = from.read(context);
                    context.write_predicate(to, value, undefined);
                    Ok(Flow::Next)
                });
                Ok(())
            }
            _ if ty.bits() == 128 => {
                let (to, from) = (self.destination(to, ty)?, self.source(from, ty)?);
                for half in [0, 2] {
                    let source = Source(from.0 + half);
                    self.emit(Class::Move, run_mov_64, Destination(to.0 + half), [source; 3], 0);
                }
                Ok(())
            }
            _ => {
                let (to, from) = (self.destination(to, ty)?, self.source(from, ty)?);
                let run = if slots_of(ty, 1) == 2 { run_mov_64 } else { run_mov_32 };
                self.emit(Class::Move, run, to, [from; 3], 0);
                Ok(())
            }
        }
    }

    fn ld(&mut self, instruction: &Instruction) -> Decoded {
        self.load(instruction)
    }

    fn ldu(&mut self, instruction: &Instruction) -> Decoded {
        self.load(instruction)
    }

    fn st(&mut self, instruction: &Instruction) -> Decoded {
        self.store(instruction)
    }

    fn st_async(&mut self, instruction: &Instruction) -> Decoded {
        if instruction.operand("mbar").is_none() {
            return self.store(instruction);
        }
        let ty = instruction.ty().ok_or_else(|| Unsupported::new("a store without a type"))?;
        let address = self.address(self.need(instruction, "a")?)?;
        let mbarrier = self.address(self.need(instruction, "mbar")?)?;
        let elements = Self::elements(self.need(instruction, "b")?);
        let sources =
            elements.iter().map(|element| self.source(element, ty)).collect::<Result<Vec<_>, _>>()?;
        let wide = slots_of(ty, 1) == 2;
        self.emit_with(Class::AsyncCopy, move |context| {
            let (addresses, mbarriers) = (address.read_u32(context)?, mbarrier.read_u32(context)?);
            for lane in context.active() {
                let (mut data, mut flags) = (Vec::new(), Vec::new());
                for source in &sources {
                    let defined = context.taint(*source)? >> lane & 1 == 0;
                    if wide {
                        data.extend(context.u64(*source)[lane].to_le_bytes());
                    } else {
                        data.extend(context.u32(*source)[lane].to_le_bytes());
                    }
                    flags.resize(data.len(), if defined { 0xff } else { 0 });
                }
                if !(addresses[lane] as usize).is_multiple_of(data.len()) {
                    return Err(Box::new(Fault::new(
                        Rule::Alignment,
                        format!(
                            "st.async of {0} bytes at shared address {1:#x} in lane {lane}, expected a multiple of {0}",
                            data.len(),
                            addresses[lane]
                        ),
                    )));
                }
                let span = (addresses[lane], data.len() as u32);
                super::bulk_copy::announce_remote(context, span, mbarriers[lane])?;
                super::observe_copies::observe_remote(context, lane, span, mbarriers[lane], false)?;
                let work = AsyncStore { address: addresses[lane], data, flags, mbarrier: mbarriers[lane] };
                context.cluster.submit(context.warp_number, context.line, Box::new(work));
            }
            context.cluster.changed();
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn st_bulk(&mut self, instruction: &Instruction) -> Decoded {
        let address = self.address(self.need(instruction, "a")?)?;
        let size = self.source(self.need(instruction, "size")?, Type::U32)?;
        self.emit_with(Class::Shared, move |context| {
            context.require_defined(size, "the size of st.bulk")?;
            let addresses = address.read_u32(context)?;
            for lane in context.active() {
                let (at, bytes) = (addresses[lane], context.u32(size)[lane]);
                let shared = &mut context.cluster.cta_of(at)?.shared;
                shared
                    .fill_defined(at, bytes, 0)
                    .map_err(|error| Fault::new(super::bulk_copy::memory_rule(&error), error.to_string()))?;
                let region = context.shared_region(at);
                if let Some((race, actor)) = context.race(1 << lane) {
                    race.access_span(&actor, region, (at.into(), bytes.into()), Touch::WRITE)?;
                }
            }
            context.cluster.changed();
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn prefetch(&mut self, _: &Instruction) -> Decoded {
        self.nothing()
    }

    fn prefetchu(&mut self, _: &Instruction) -> Decoded {
        self.nothing()
    }

    fn applypriority(&mut self, _: &Instruction) -> Decoded {
        self.nothing()
    }

    fn discard(&mut self, instruction: &Instruction) -> Decoded {
        let address = self.address(self.need(instruction, "a")?)?;
        self.emit_with(Class::Global, move |context| {
            let addresses = address.read(context)?;
            for lane in context.active() {
                context
                    .grid
                    .global()
                    .write_range(addresses[lane], &[0; 128], &[0; 128], context.line)
                    .map_err(|error| Fault::new(super::bulk_copy::memory_rule(&error), error.to_string()))?;
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn createpolicy(&mut self, instruction: &Instruction) -> Decoded {
        // Policies have no effect on results: any defined value does.
        let to = self.destination(self.need(instruction, "cache-policy")?, Type::B64)?;
        let policy = self.constant(0x1000_0000_0000_0000, true)?;
        self.emit(Class::Control, run_mov_64, to, [policy; 3], 0);
        Ok(())
    }

    fn stacksave(&mut self, instruction: &Instruction) -> Decoded {
        let ty = instruction.ty().unwrap_or(Type::U64);
        let to = self.destination(self.need(instruction, "d")?, ty)?;
        let wide = slots_of(ty, 1) == 2;
        self.emit_with(Class::Control, move |context| {
            let top = stack_top(context);
            if wide {
                context.write_u64(to, &[u64::from(top); 32], 0)?
            } else {
                context.write_u32(to, &[top; 32], 0)?
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn stackrestore(&mut self, instruction: &Instruction) -> Decoded {
        let ty = instruction.ty().unwrap_or(Type::U64);
        let from = self.source(self.need(instruction, "a")?, ty)?;
        let wide = slots_of(ty, 1) == 2;
        self.emit_with(Class::Control, move |context| {
            let saved = context.uniform_u64(from, wide, "the stack pointer")? as u32;
            let start = stack_top(context) - context.fragment.frame.allocated;
            let Some(allocated) =
                saved.checked_sub(start).filter(|allocated| *allocated <= context.fragment.frame.allocated)
            else {
                return Err(Box::new(Fault::new(
                    Rule::Operand,
                    format!("stackrestore to {saved:#x}, which is not of this frame"),
                )));
            };
            context.warp.local.leave(context.fragment.lanes, start + allocated);
            context.fragment.frame.allocated = allocated;
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn alloca(&mut self, instruction: &Instruction) -> Decoded {
        let ty = instruction.ty().unwrap_or(Type::U64);
        let to = self.destination(self.need(instruction, "ptr")?, ty)?;
        let size = self.source(self.need(instruction, "size")?, ty)?;
        let align = match instruction.operand("immAlign") {
            Some(Operand::Immediate(Immediate::Integer { value, .. })) => *value as u32,
            _ => 8,
        };
        let wide = slots_of(ty, 1) == 2;
        self.emit_with(Class::Control, move |context| {
            super::control::split_off_rest(context, 1);
            let sizes: [u64; 32] = if wide { *context.u64(size) } else { context.u32(size).map(u64::from) };
            context.require_defined(size, "the size of alloca")?;
            let most = context.active().map(|lane| sizes[lane]).max().unwrap_or(0);
            let start = stack_top(context).next_multiple_of(align.max(8));
            let bytes = u32::try_from(most).unwrap_or(u32::MAX);
            let growth = context.warp.growth(0, u64::from(start) + u64::from(bytes));
            context.world.take_memory(growth, context.grid)?;
            context
                .warp
                .local
                .enter(context.fragment.lanes, start, bytes)
                .map_err(|error| Fault::new(Rule::MemoryBudget, error.to_string()))?;
            context.fragment.frame.allocated += start + bytes - stack_top(context);
            if wide {
                context.write_u64(to, &[u64::from(start); 32], 0)?
            } else {
                context.write_u32(to, &[start; 32], 0)?
            }
            Ok(Flow::Next)
        });
        Ok(())
    }
}

/// The end of the fragment's local memory.
fn stack_top(context: &Context<'_>) -> u32 {
    let frame = context.fragment.frame;
    frame.local_base
        + context.program.functions[frame.function as usize].local_bytes
        + context.fragment.frame.allocated
}
