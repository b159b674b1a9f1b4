//! From a verified module to a program: registers to slots, symbols to addresses, instructions to micro-operations.
//!
//! What an instruction means is not here: [`Decoder`] implements the table's trait in [`exec`](crate::exec), one
//! method an instruction, with the operand access that this file gives it.

use crate::context::Context;
use crate::counters::Class;
use crate::liveness::{Allocation, slots_of};
use crate::memory::{SHARED_DATA_OFFSET, SHARED_RANK_SHIFT};
use crate::program::{Closure, Guard, MicroOp, Run, Step};
use crate::registers::{Destination, LANES, Slot, Source};
use crate::report::{Fault, Rule};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::module::{Function, Module, Statement};
use rorqual_ptx::operand::{Base, Immediate, Label, Operand, Register, Symbol};
use rorqual_ptx::types::{Space, Type};
use rustc_hash::FxHashMap;

/// The simulator lacks something: what. The instruction becomes one that says so when it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl Unsupported {
    /// What is lacking.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// What decoding an instruction gives.
pub type Decoded = Result<(), Unsupported>;

/// A predicate operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredicateSource {
    /// A predicate slot, perhaps negated.
    Slot {
        /// The slot.
        index: u16,
        /// Whether it is negated.
        negated: bool,
    },
    /// The same for all lanes.
    Constant(bool),
}

impl PredicateSource {
    /// The active lanes where it is true, and those where it is undefined.
    #[inline]
    #[must_use]
    pub fn read(self, context: &Context<'_>) -> (u32, u32) {
        match self {
            Self::Slot { index, negated } => {
                let value = context.predicate(index);
                (if negated { !value & context.mask } else { value }, context.predicate_taint(index))
            }
            Self::Constant(value) => (if value { context.mask } else { 0 }, 0),
        }
    }
}

/// What an address counts from besides its register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relative {
    /// Nothing: the register and offset are the address.
    Absolute,
    /// The shared window of the executing CTA (a shared variable).
    SharedWindow,
    /// The dynamic shared memory of the executing CTA.
    DynamicShared,
    /// The local memory of the frame (a local variable or call parameter).
    Frame,
}

/// An address operand: `register + offset`, or an offset alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressSource {
    /// The base register; a constant zero where there is none.
    pub base: Source,
    /// Whether the base is 64 bits wide.
    pub wide: bool,
    /// Bytes added.
    pub offset: i64,
    /// What it counts from.
    pub relative: Relative,
}

impl AddressSource {
    /// The address of every active lane as 64 bits; 32-bit bases are zero-extended, other lanes are 0.
    ///
    /// # Errors
    ///
    /// If the base is undefined in an active lane.
    #[inline]
    pub fn read(&self, context: &Context<'_>) -> Result<[u64; LANES], Box<Fault>> {
        context.require_defined(self.base, "an address")?;
        let start = self.start(context);
        let mut addresses = [0; LANES];
        if self.wide {
            let base = context.u64(self.base);
            for lane in 0..LANES {
                addresses[lane] = base[lane].wrapping_add(start);
            }
        } else {
            let base = context.u32(self.base);
            for lane in 0..LANES {
                addresses[lane] = u64::from(base[lane]).wrapping_add(start);
            }
        }
        Ok(addresses)
    }

    /// The address of every active lane in a 32-bit window.
    ///
    /// # Errors
    ///
    /// If the base is undefined in an active lane.
    #[inline]
    pub fn read_u32(&self, context: &Context<'_>) -> Result<[u32; LANES], Box<Fault>> {
        if self.wide {
            return Ok(self.read(context)?.map(|address| address as u32));
        }
        context.require_defined(self.base, "an address")?;
        let start = self.start(context) as u32;
        let base = context.u32(self.base);
        let mut addresses = [0; LANES];
        for lane in 0..LANES {
            addresses[lane] = base[lane].wrapping_add(start);
        }
        Ok(addresses)
    }

    /// The address that all active lanes must agree on.
    ///
    /// # Errors
    ///
    /// If they do not, or it is undefined.
    pub fn read_uniform(&self, context: &Context<'_>, what: &str) -> Result<u64, Box<Fault>> {
        Ok(context.uniform_u64(self.base, self.wide, what)?.wrapping_add(self.start(context)))
    }

    /// What the register is added to: the offset, and where what it counts from lies.
    #[inline]
    pub fn start(&self, context: &Context<'_>) -> u64 {
        let offset = self.offset.cast_unsigned();
        match self.relative {
            Relative::Absolute => offset,
            Relative::SharedWindow => offset.wrapping_add(shared_window(context)),
            Relative::DynamicShared => offset.wrapping_add(dynamic_shared(context)),
            Relative::Frame => offset.wrapping_add(u64::from(context.fragment.frame.local_base)),
        }
    }
}

/// Where the window of the executing CTA starts among the shared addresses of the cluster.
fn shared_window(context: &Context<'_>) -> u64 {
    u64::from(context.cluster.ctas[context.warp.cta].shared.rank()) << SHARED_RANK_SHIFT
}

/// The shared address of the executing CTA's dynamic shared memory.
fn dynamic_shared(context: &Context<'_>) -> u64 {
    shared_window(context) + u64::from(SHARED_DATA_OFFSET + context.grid.kernel.static_shared_bytes)
}

/// Where a symbol lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A global or constant variable: its unified address.
    Global(u64),
    /// A shared variable: its offset in the CTA's window, the reserved part included.
    Shared(u32),
    /// The dynamic shared memory.
    DynamicShared,
    /// A local variable or parameter of a device function: its offset in the frame.
    Frame(u32),
    /// A kernel parameter: its offset in the parameter space.
    Parameter(u32),
    /// A function: its address.
    Function(u64),
    /// A formal parameter that is a register.
    Register(Register),
}

/// Slots of a row of scratch registers: one each of 1, 2 and 4 slots, in this order.
const SCRATCH_ROW_SLOTS: usize = 7;

/// Function pointers: number of the function times 16 plus this.
pub const FUNCTION_BASE: u64 = 0x0000_5000_0000_0000;

/// Decodes one function.
pub struct Decoder<'m> {
    /// The module.
    pub module: &'m Module,
    /// The function.
    pub function: &'m Function,
    /// Micro-operations of the whole module so far.
    pub code: &'m mut Vec<MicroOp>,
    closures: &'m mut Vec<Closure>,
    constants: &'m mut Constants,
    unsupported: &'m mut Vec<(u32, String)>,
    allocation: &'m Allocation,
    local_places: Vec<Place>,
    module_places: &'m [Option<Place>],
    label_at: Vec<Option<u32>>,
    fixups: Vec<(usize, Label)>,
    /// Scratch registers of the current instruction that have 1, 2 and 4 slots.
    scratch_registers: [usize; 3],
    /// Rows of scratch registers that an instruction has needed so far.
    scratch_rows: usize,
    guard: Guard,
    line: u32,
    /// The statements behind the current instruction.
    following: &'m [Statement],
}

/// Constant operands, each once.
#[derive(Debug, Default)]
pub struct Constants {
    /// The slots.
    pub slots: Vec<Slot>,
    index: FxHashMap<(u128, u32), u16>,
}

impl Constants {
    fn get(&mut self, bits: u128, width: u32) -> Result<Source, Unsupported> {
        if let Some(&index) = self.index.get(&(bits, width)) {
            return Ok(Source::constant(index));
        }
        let index = u16::try_from(self.slots.len())
            .ok()
            .filter(|index| *index < 0x7ff0)
            .ok_or_else(|| Unsupported::new("more than 32752 different constants in a module"))?;
        let pair = |half: u128| {
            let words = [half as u64; LANES];
            let slots: [Slot; 2] = bytemuck::cast(words);
            slots
        };
        match width {
            32 => self.slots.push(Slot([bits as u32; LANES])),
            64 => self.slots.extend(pair(bits)),
            _ => {
                self.slots.extend(pair(bits));
                self.slots.extend(pair(bits >> 64));
            }
        }
        self.index.insert((bits, width), index);
        Ok(Source::constant(index))
    }
}

/// What decoding a function needs besides the function.
pub struct Surroundings<'m> {
    /// The module.
    pub module: &'m Module,
    /// Micro-operations of the whole module so far.
    pub code: &'m mut Vec<MicroOp>,
    /// Closures of the whole module so far.
    pub closures: &'m mut Vec<Closure>,
    /// Constants of the whole module so far.
    pub constants: &'m mut Constants,
    /// Line of every instruction of the whole module so far that the simulator lacks, and what it lacks.
    pub unsupported: &'m mut Vec<(u32, String)>,
    /// Where module variables lie, `None` if the function does not use them.
    pub module_places: &'m [Option<Place>],
}

impl<'m> Decoder<'m> {
    /// Starts a function. `local_places` are the places of its variables.
    pub fn new(
        surroundings: Surroundings<'m>,
        function: &'m Function,
        allocation: &'m Allocation,
        local_places: Vec<Place>,
    ) -> Self {
        let Surroundings { module, code, closures, constants, unsupported, module_places } = surroundings;
        Self {
            module,
            function,
            code,
            closures,
            constants,
            unsupported,
            allocation,
            local_places,
            module_places,
            label_at: vec![None; function.labels.len()],
            fixups: Vec::new(),
            scratch_registers: [0; 3],
            scratch_rows: 0,
            guard: Guard::NONE,
            line: 0,
            following: &[],
        }
    }

    /// Marks where a label stands.
    pub fn label(&mut self, label: Label) {
        self.label_at[label.0 as usize] = Some(self.position());
    }

    /// The next micro-operation's number.
    #[must_use]
    pub fn position(&self) -> u32 {
        u32::try_from(self.code.len()).expect("fewer than 2^32 micro-operations")
    }

    /// What is added from here on stands for an instruction.
    pub fn begin(&mut self, instruction: &Instruction) {
        self.line = instruction.position.line;
        self.scratch_registers = [0; 3];
        self.guard = instruction.guard.map_or(Guard::NONE, |guard| {
            Guard::new(self.allocation.slot_of[guard.register.0 as usize], guard.negated)
        });
    }

    /// Decodes one instruction. What the simulator lacks becomes a micro-operation that says so.
    pub fn instruction(&mut self, instruction: &Instruction) {
        use rorqual_ptx::table::Exec;
        self.begin(instruction);
        let start = self.code.len();
        if let Err(Unsupported(what)) = self.dispatch(instruction) {
            self.code.truncate(start);
            let message = format!("`{}`: {what}", instruction.spelling());
            self.unsupported.push((self.line, message.clone()));
            self.emit_with(Class::Control, move |_| {
                Err(Box::new(Fault::new(Rule::Unsupported, message.clone())))
            });
        }
        // A guard that the instruction overwrites must be read before: only the last micro-operation may write it.
        self.guard = Guard::NONE;
    }

    /// Ends the function: a kernel or function whose code runs out returns.
    pub fn end(&mut self, function: &Function) {
        self.guard = Guard::NONE;
        self.emit_return(function.is_kernel);
    }

    /// Resolves branches; gives the scratch slots that the frame needs beyond the allocation.
    pub fn finish(self) -> usize {
        for (at, label) in self.fixups {
            let target = self.label_at[label.0 as usize].expect("the parser resolves labels");
            self.code[at].immediate = u64::from(target);
        }
        self.scratch_rows * SCRATCH_ROW_SLOTS
    }

    /// Adds a micro-operation.
    pub fn emit(&mut self, class: Class, run: Run, d: Destination, [a, b, c]: [Source; 3], immediate: u64) {
        self.code.push(MicroOp { run, d, a, b, c, guard: self.guard, class, immediate, line: self.line });
    }

    /// Adds a micro-operation that carries its operands itself.
    pub fn emit_with(
        &mut self,
        class: Class,
        run: impl Fn(&mut Context<'_>) -> Step + Send + Sync + 'static,
    ) {
        let index = self.closures.len() as u64;
        self.closures.push(Box::new(run));
        self.emit(class, run_closure, Destination::default(), [Source::default(); 3], index);
    }

    /// Adds a micro-operation whose immediate is the position of a label.
    pub fn emit_to(&mut self, class: Class, run: Run, label: Label) {
        self.fixups.push((self.code.len(), label));
        self.emit(class, run, Destination::default(), [Source::default(); 3], 0);
    }

    /// Adds micro-operations that run whatever the guard says.
    pub fn without_guard(&mut self, add: impl FnOnce(&mut Self)) {
        let guard = std::mem::replace(&mut self.guard, Guard::NONE);
        add(self);
        self.guard = guard;
    }

    /// Says which statements stand behind the instruction that is decoded next.
    pub fn set_following(&mut self, following: &'m [Statement]) {
        self.following = following;
    }

    /// The instructions behind the current one, a few at most.
    pub fn following(&self) -> impl Iterator<Item = &'m Instruction> + use<'m> {
        const AHEAD: usize = 6;
        self.following.iter().take(AHEAD).filter_map(|statement| match statement {
            Statement::Instruction(instruction) => Some(instruction),
            _ => None,
        })
    }

    /// The width of a register operand in bits; `None` if it is no register.
    #[must_use]
    pub fn register_bits(&self, operand: &Operand) -> Option<u32> {
        match operand {
            Operand::Register(register) => Some(self.function.registers[register.0 as usize].ty.bits()),
            _ => None,
        }
    }

    /// A scratch register of so many slots, for use within one instruction.
    ///
    /// # Errors
    ///
    /// If the frame is full.
    pub fn scratch(&mut self, slots: usize) -> Result<Destination, Unsupported> {
        // A slot is always of one width: lanes of a wider register lie over other lanes of a narrower one, and lanes that
        // run apart may be in the middle of different instructions.
        let width = slots.trailing_zeros() as usize;
        let row = self.scratch_registers[width];
        self.scratch_registers[width] += 1;
        self.scratch_rows = self.scratch_rows.max(row + 1);
        let at = self.allocation.slots + row * SCRATCH_ROW_SLOTS + slots - 1;
        u16::try_from(at)
            .ok()
            .filter(|at| *at < 0x7fe0)
            .map(Destination)
            .ok_or_else(|| Unsupported::new("more registers than the simulator has slots"))
    }

    /// An operand to read as a value of `ty`: a register, a literal or the address of a symbol. The slots are those of
    /// the type's width: 1, 2 or 4. A register of another width is converted: cut, or zero-extended.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn source(&mut self, operand: &Operand, ty: Type) -> Result<Source, Unsupported> {
        let wanted = slots_of(ty, 1).max(1);
        match operand {
            Operand::Register(register) => {
                let info = &self.function.registers[register.0 as usize];
                let have = slots_of(info.ty, 1);
                let source = Source(self.allocation.slot_of[register.0 as usize]);
                if have == 0 {
                    return Err(Unsupported::new("a predicate register as a value"));
                }
                if have == wanted { Ok(source) } else { self.resize(source, have, wanted) }
            }
            Operand::Immediate(immediate) => {
                let bits = immediate_bits(*immediate, ty);
                self.constants.get(
                    bits,
                    if wanted == 1 {
                        32
                    } else if wanted == 2 {
                        64
                    } else {
                        128
                    },
                )
            }
            Operand::Symbol(symbol, offset) => self.symbol_address(*symbol, *offset, wanted),
            Operand::Vector(elements) if elements.len() == 1 => self.source(&elements[0], ty),
            other => Err(Unsupported::new(format!("operand {other:?} as a value"))),
        }
    }

    /// A constant of 32 or 64 bits.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub fn constant(&mut self, value: u64, wide: bool) -> Result<Source, Unsupported> {
        self.constants.get(u128::from(value), if wide { 64 } else { 32 })
    }

    fn resize(&mut self, source: Source, have: usize, wanted: usize) -> Result<Source, Unsupported> {
        let to = self.scratch(wanted)?;
        let run: Run = match (have, wanted) {
            (2 | 4, 1) => |context, op| {
                let undefined = context.taint(op.a)?;
                let values = context.u64(op.a).map(|value| value as u32);
                context.write_u32(op.d, &values, undefined)?;
                Ok(crate::program::Flow::Next)
            },
            (1, 2) => |context, op| {
                let undefined = context.taint(op.a)?;
                let values = context.u32(op.a).map(u64::from);
                context.write_u64(op.d, &values, undefined)?;
                Ok(crate::program::Flow::Next)
            },
            (4, 2) => |context, op| {
                let undefined = context.taint(op.a)?;
                let values = *context.u64(op.a);
                context.write_u64(op.d, &values, undefined)?;
                Ok(crate::program::Flow::Next)
            },
            _ => return Err(Unsupported::new("a register narrower than a 128-bit operand")),
        };
        self.emit(Class::Move, run, to, [source; 3], 0);
        Ok(to.into())
    }

    /// The register that an operand writes, of the slots that `ty` takes; a sink writes to scratch.
    ///
    /// # Errors
    ///
    /// If it is no register, or of another width.
    pub fn destination(&mut self, operand: &Operand, ty: Type) -> Result<Destination, Unsupported> {
        let wanted = slots_of(ty, 1).max(1);
        match operand {
            Operand::Register(register) => {
                let info = &self.function.registers[register.0 as usize];
                if slots_of(info.ty, 1) != wanted {
                    return Err(Unsupported::new(format!("a {} register as a {ty} destination", info.ty)));
                }
                Ok(Destination(self.allocation.slot_of[register.0 as usize]))
            }
            Operand::Vector(elements) if elements.len() == 1 => self.destination(&elements[0], ty),
            Operand::Pair(pair) => self.destination(&pair[0], ty),
            Operand::Sink => self.scratch(wanted),
            other => Err(Unsupported::new(format!("operand {other:?} as a destination"))),
        }
    }

    /// The predicate that an operand is.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn predicate(&self, operand: &Operand) -> Result<PredicateSource, Unsupported> {
        match operand {
            Operand::Register(register) => {
                Ok(PredicateSource::Slot { index: self.predicate_slot(*register)?, negated: false })
            }
            Operand::Not(register) => {
                Ok(PredicateSource::Slot { index: self.predicate_slot(*register)?, negated: true })
            }
            Operand::Immediate(immediate) => {
                Ok(PredicateSource::Constant(immediate_bits(*immediate, Type::U64) != 0))
            }
            other => Err(Unsupported::new(format!("operand {other:?} as a predicate"))),
        }
    }

    /// The predicate slot that an operand writes; `None` for a sink.
    ///
    /// # Errors
    ///
    /// If it is no predicate.
    pub fn predicate_destination(&self, operand: &Operand) -> Result<Option<u16>, Unsupported> {
        match operand {
            Operand::Register(register) => self.predicate_slot(*register).map(Some),
            Operand::Sink => Ok(None),
            other => Err(Unsupported::new(format!("operand {other:?} as a predicate destination"))),
        }
    }

    fn predicate_slot(&self, register: Register) -> Result<u16, Unsupported> {
        let info = &self.function.registers[register.0 as usize];
        if info.ty == Type::Pred {
            Ok(self.allocation.slot_of[register.0 as usize])
        } else {
            Err(Unsupported::new(format!("a {} register as a predicate", info.ty)))
        }
    }

    /// The slot of a register.
    #[must_use]
    pub fn slot(&self, register: Register) -> u16 {
        self.allocation.slot_of[register.0 as usize]
    }

    /// Where a symbol lies.
    ///
    /// # Errors
    ///
    /// If it is external.
    pub fn place(&self, symbol: Symbol) -> Result<Place, Unsupported> {
        match symbol {
            Symbol::Local(index) => Ok(self.local_places[index as usize]),
            Symbol::Module(index) => self.module_places[index as usize].ok_or_else(|| {
                Unsupported::new(format!(
                    "`{}` is not defined in the module",
                    self.module.variables[index as usize].name
                ))
            }),
            Symbol::Function(index) => Ok(Place::Function(FUNCTION_BASE + u64::from(index) * 16)),
        }
    }

    /// The address of a symbol in its space, as a value.
    fn symbol_address(&mut self, symbol: Symbol, offset: i64, slots: usize) -> Result<Source, Unsupported> {
        let offset = offset.cast_unsigned();
        let fixed = |base: u64| base.wrapping_add(offset);
        let value = match self.place(symbol)? {
            Place::Global(address) | Place::Function(address) => fixed(address),
            Place::Parameter(at) => fixed(u64::from(at)),
            Place::Register(register) => return Ok(Source(self.slot(register))),
            Place::Shared(at) => return self.runtime_address(fixed(u64::from(at)), slots, shared_window),
            Place::DynamicShared => return self.runtime_address(offset, slots, dynamic_shared),
            Place::Frame(at) => {
                return self.runtime_address(fixed(u64::from(at)), slots, |context| {
                    u64::from(context.fragment.frame.local_base)
                });
            }
        };
        self.constants.get(u128::from(value), if slots == 1 { 32 } else { 64 })
    }

    fn runtime_address(
        &mut self,
        offset: u64,
        slots: usize,
        base: fn(&Context<'_>) -> u64,
    ) -> Result<Source, Unsupported> {
        let to = self.scratch(slots)?;
        self.emit_with(Class::Move, move |context| {
            let value = base(context).wrapping_add(offset);
            if slots == 1 {
                context.write_u32(to, &[value as u32; LANES], 0)?;
            } else {
                context.write_u64(to, &[value; LANES], 0)?;
            }
            Ok(crate::program::Flow::Next)
        });
        Ok(to.into())
    }

    /// An address operand.
    ///
    /// # Errors
    ///
    /// If it is none, or of an external symbol.
    pub fn address(&mut self, operand: &Operand) -> Result<AddressSource, Unsupported> {
        let Operand::Address(address) = operand else {
            return Err(Unsupported::new(format!("operand {operand:?} as an address")));
        };
        let offset = address.offset;
        match address.base {
            Base::Register(register) => {
                let bits = self.function.registers[register.0 as usize].ty.bits();
                let base = Source(self.slot(register));
                Ok(AddressSource { base, wide: bits == 64, offset, relative: Relative::Absolute })
            }
            Base::Immediate(value) => self.absolute(value.wrapping_add(offset)),
            Base::Symbol(symbol) => match self.place(symbol)? {
                Place::Global(at) | Place::Function(at) => {
                    self.absolute(at.cast_signed().wrapping_add(offset))
                }
                Place::Parameter(at) => self.absolute(i64::from(at).wrapping_add(offset)),
                Place::Shared(at) => Ok(AddressSource {
                    relative: Relative::SharedWindow,
                    ..self.absolute(i64::from(at).wrapping_add(offset))?
                }),
                Place::DynamicShared => {
                    Ok(AddressSource { relative: Relative::DynamicShared, ..self.absolute(offset)? })
                }
                Place::Frame(at) => Ok(AddressSource {
                    relative: Relative::Frame,
                    ..self.absolute(i64::from(at).wrapping_add(offset))?
                }),
                Place::Register(_) => Err(Unsupported::new("the address of a register parameter")),
            },
        }
    }

    fn absolute(&mut self, offset: i64) -> Result<AddressSource, Unsupported> {
        let base = self.constant(0, true)?;
        Ok(AddressSource { base, wide: true, offset, relative: Relative::Absolute })
    }

    /// Whether an address operand names a parameter of the kernel, a frame variable, or neither: the place of its base.
    #[must_use]
    pub fn base_place(&self, operand: &Operand) -> Option<Place> {
        match operand {
            Operand::Address(address) => match address.base {
                Base::Symbol(symbol) => self.place(symbol).ok(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The space that an instruction accesses, with `.param` of device functions told apart: those are local.
    #[must_use]
    pub fn space(&self, instruction: &Instruction, address: &Operand) -> Space {
        match (instruction.space(), self.base_place(address)) {
            (Space::Param, Some(Place::Frame(_))) => Space::Local,
            (Space::Param, None) if !self.function.is_kernel => Space::Local,
            (space, _) => space,
        }
    }
}

fn run_closure(context: &mut Context<'_>, op: &MicroOp) -> Step {
    let program = context.program;
    (program.closures[op.immediate as usize])(context)
}

/// The bits of a literal as a value of a type: integers are cut, floats converted.
#[must_use]
pub fn immediate_bits(immediate: Immediate, ty: Type) -> u128 {
    match (immediate, ty) {
        (Immediate::Integer { value, .. }, Type::F32) => u128::from((value as f32).to_bits()),
        (Immediate::Integer { value, .. }, Type::F64) => u128::from((value as f64).to_bits()),
        (Immediate::Integer { value, unsigned }, _) => {
            let wide =
                if unsigned { u128::from(value.cast_unsigned()) } else { i128::from(value).cast_unsigned() };
            cut(wide, ty.bits())
        }
        (Immediate::F32(bits), Type::F64) => u128::from(f64::from(f32::from_bits(bits)).to_bits()),
        (Immediate::F32(bits), _) => u128::from(bits),
        (Immediate::F64(bits), ty) if ty.bits() == 32 => u128::from((f64::from_bits(bits) as f32).to_bits()),
        (Immediate::F64(bits), _) => u128::from(bits),
    }
}

const fn cut(value: u128, bits: u32) -> u128 {
    if bits >= 128 { value } else { value & ((1 << bits) - 1) }
}
