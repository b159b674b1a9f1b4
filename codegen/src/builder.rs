//! The builder: what every value points to, and where every instruction goes.
//!
//! [`generate`] runs a closure that writes a kernel. Values borrow the builder, so that they compose by operators.
//! A mistake does not panic: the first one is kept with the line that made it, and [`generate`] returns it.

use crate::contract::{Arguments, Contract, Extent, Parameter, ParameterKind};
use crate::element::{Held, Scalar};
use crate::error::GenerateError;
use crate::value::{Predicate, Repr, Value};
use rorqual_ptx::build::FunctionBuilder;
use rorqual_ptx::instruction::{Guard, Instruction};
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::module::{Directive, Linkage, Module, Pointer, Position, Statement, Version};
use rorqual_ptx::operand::{Label, Operand, Register, SpecialRegister, Symbol};
use rorqual_ptx::table::{self, Control, Opcode};
use rorqual_ptx::target::Target;
use rorqual_ptx::types::{Space, Type};
use rorqual_ptx::verify::{VERSIONS, Verified, verify};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;

/// What is settled before the first instruction.
#[derive(Debug, Clone)]
pub struct Header {
    /// The entry's name.
    pub name: String,
    /// The specialisation, for people and messages.
    pub spec: String,
    /// What is generated for.
    pub target: Target,
    /// Threads of a CTA; a multiple of 32.
    pub threads: u32,
    /// CTAs by axis.
    pub grid: [Extent; 3],
    /// CTAs of a cluster.
    pub cluster: Option<[u32; 3]>,
    /// CTAs that must fit on a multiprocessor together: bounds the registers of a thread.
    pub min_ctas_per_multiprocessor: Option<u32>,
    /// Registers of a thread at the start; roles move them with [`Builder::set_registers`], which needs this.
    pub registers: Option<u32>,
    /// Whether the kernel may start before the one before it has ended. It then executes `griddepcontrol.wait` before it
    /// touches memory that others write or read.
    pub dependent_launch: bool,
}

impl Header {
    /// A grid of one CTA without clusters.
    #[must_use]
    pub fn new(name: impl Into<String>, spec: impl fmt::Debug, target: Target, threads: u32) -> Self {
        Self {
            name: name.into(),
            spec: format!("{spec:?}"),
            target,
            threads,
            grid: [1.into(), 1.into(), 1.into()],
            cluster: None,
            min_ctas_per_multiprocessor: None,
            registers: None,
            dependent_launch: false,
        }
    }

    /// The same with so many registers of a thread at the start.
    #[must_use]
    pub fn registers(self, registers: u32) -> Self {
        Self { registers: Some(registers), ..self }
    }

    /// The same for a kernel that may start before the one before it in the stream has ended (programmatic dependent
    /// launch), and that executes `griddepcontrol.wait`.
    #[must_use]
    pub fn dependent_launch(self) -> Self {
        Self { dependent_launch: true, ..self }
    }

    /// The same with another grid.
    #[must_use]
    pub fn grid(self, x: impl Into<Extent>, y: impl Into<Extent>, z: impl Into<Extent>) -> Self {
        Self { grid: [x.into(), y.into(), z.into()], ..self }
    }
}

/// A generated kernel: its code, verified, and its contract.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// What a launch needs to know.
    pub contract: Contract,
    /// The code.
    pub module: Verified,
}

impl Kernel {
    /// The PTX text.
    #[must_use]
    pub fn text(&self) -> String {
        rorqual_ptx::print(&self.module)
    }
}

/// Writes the instructions of one kernel.
pub struct Builder {
    target: Target,
    threads: u32,
    state: RefCell<State>,
}

struct State {
    name: String,
    spec: String,
    function: FunctionBuilder,
    parameters: Vec<Parameter>,
    specials: HashMap<SpecialRegister, Register>,
    /// Whether special registers may be read once for the whole kernel: not within branches.
    depth: u32,
    dynamic_shared: Symbol,
    shared_base: Option<Register>,
    shared_bytes: u32,
    locations: Vec<&'static Location<'static>>,
    location_of: HashMap<&'static Location<'static>, u32>,
    failure: Option<GenerateError>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Builder({})", self.state.borrow().name)
    }
}

/// Generates a kernel whose arguments are `A`: `body` writes its code.
///
/// # Errors
///
/// The first mistake: in the generator, or an instruction that the target lacks.
#[track_caller]
pub fn generate<A: Arguments>(
    header: Header,
    body: impl for<'k> FnOnce(&'k Builder, A::Parameters<'k>),
) -> Result<Kernel, GenerateError> {
    let caller = Location::caller();
    let mut module = Module::new(VERSIONS.1, header.target);
    let dynamic = rorqual_ptx::module::Variable::new("dynamic_shared", Space::Shared, Type::B8);
    let dynamic = dynamic.array(None).aligned(1024);
    let dynamic_shared =
        module.add_variable(rorqual_ptx::module::Variable { linkage: Linkage::Extern, ..dynamic });
    let parameters = A::parameters();
    let formal = parameters.iter().map(formal_parameter).collect();
    let mut function = FunctionBuilder::kernel(&*header.name, formal);
    for directive in directives(&header) {
        function = function.directive(directive);
    }
    let builder = Builder {
        target: header.target,
        threads: header.threads,
        state: RefCell::new(State {
            name: header.name.clone(),
            spec: header.spec.clone(),
            function,
            parameters,
            specials: HashMap::new(),
            depth: 0,
            dynamic_shared,
            shared_base: None,
            shared_bytes: 0,
            locations: Vec::new(),
            location_of: HashMap::new(),
            failure: None,
        }),
    };
    if header.threads == 0 || !header.threads.is_multiple_of(32) || header.threads > 1024 {
        builder.fail(format!("a CTA has a multiple of 32 threads up to 1024, not {}", header.threads));
    }
    if header.target.architecture().is_none() {
        builder.fail(format!("{} is not a known target", header.target));
    }
    let values = A::load(&builder);
    body(&builder, values);
    builder.emit("ret", vec![]);
    let state = builder.state.into_inner();
    if let Some(failure) = state.failure {
        return Err(failure);
    }
    if state.shared_bytes == 0 {
        module = Module::new(VERSIONS.1, header.target);
    }
    module.add_function(state.function.define());
    let error =
        |message, location: &Location<'_>| GenerateError::new(&header.name, &header.spec, message, location);
    let limit = header.target.shared_bytes().unwrap_or(0);
    if state.shared_bytes > limit {
        let message = format!(
            "{} bytes of shared memory, devices for {} have {limit}",
            state.shared_bytes, header.target
        );
        return Err(error(message, caller));
    }
    if header.dependent_launch && !instructions(&module).any(waits_for_grids) {
        let message = "a dependent launch needs `griddepcontrol.wait`, the kernel has none".to_owned();
        return Err(error(message, caller));
    }
    let at = |position: Position| {
        let index = (position.line as usize).checked_sub(1);
        index.and_then(|index| state.locations.get(index)).copied().unwrap_or(caller)
    };
    module.version = lowest_version(&module);
    let module = verify(module).map_err(|failure| error(failure.message.clone(), at(failure.position)))?;
    let contract = Contract {
        kernel: header.name,
        spec: header.spec,
        target: header.target,
        parameters: state.parameters,
        grid: header.grid,
        threads: header.threads,
        cluster: header.cluster,
        shared_bytes: state.shared_bytes,
        dependent_launch: header.dependent_launch,
    };
    Ok(Kernel { contract, module })
}

/// The oldest PTX version that has every instruction and the target.
fn lowest_version(module: &Module) -> Version {
    let target = module.target;
    let architecture = target.architecture().and_then(|architecture| architecture.since(target.features));
    let versions = instructions(module).filter_map(|instruction| {
        instruction.form.requirements(&instruction.modifiers).map(|since| since.version).max()
    });
    versions.chain(architecture).max().unwrap_or(VERSIONS.0).max(VERSIONS.0)
}

fn instructions(module: &Module) -> impl Iterator<Item = &Instruction> {
    let body = module.functions.iter().filter_map(|function| function.body.as_ref()).flatten();
    body.filter_map(|statement| match statement {
        Statement::Instruction(instruction) => Some(instruction),
        _ => None,
    })
}

/// Whether an instruction is `griddepcontrol.wait`.
fn waits_for_grids(instruction: &Instruction) -> bool {
    let is_control = instruction.form.opcode == Opcode::Control(Control::Griddepcontrol);
    is_control && instruction.modifiers.contains(&Modifier::Wait)
}

fn formal_parameter(parameter: &Parameter) -> rorqual_ptx::module::Variable {
    let variable = |ty| rorqual_ptx::module::Variable::new(&*parameter.name, Space::Param, ty);
    match parameter.kind {
        ParameterKind::Pointer(..) => {
            let pointer = Some(Pointer { space: Space::Global, alignment: Some(1) });
            rorqual_ptx::module::Variable { pointer, ..variable(Type::U64) }
        }
        ParameterKind::U32 => variable(Type::U32),
        ParameterKind::U64 => variable(Type::U64),
        ParameterKind::F32 => variable(Type::F32),
        ParameterKind::TensorMap => variable(Type::B8).array(Some(128)).aligned(64),
    }
}

fn directives(header: &Header) -> Vec<Directive> {
    let mut directives = vec![Directive::RequiredThreads(vec![header.threads, 1, 1])];
    if let Some(cluster) = header.cluster {
        directives.push(Directive::RequiredCluster(cluster.to_vec()));
    }
    directives.extend(header.min_ctas_per_multiprocessor.map(Directive::MinCtasPerMultiprocessor));
    directives.extend(header.registers.map(Directive::MaxRegisters));
    directives
}

impl Builder {
    /// What is generated for.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// Threads of a CTA.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Warps of a CTA.
    #[must_use]
    pub fn warps(&self) -> u32 {
        self.threads / 32
    }

    /// Notes a mistake; the first one ends the generation.
    #[track_caller]
    pub fn fail(&self, message: impl Into<String>) {
        let mut state = self.state.borrow_mut();
        let error = GenerateError::new(&state.name, &state.spec, message.into(), Location::caller());
        state.failure.get_or_insert(error);
    }

    /// Notes a mistake unless the condition holds.
    #[track_caller]
    pub fn require(&self, condition: bool, message: impl FnOnce() -> String) {
        if !condition {
            self.fail(message());
        }
    }

    /// A new register.
    pub(crate) fn register(&self, ty: Type) -> Register {
        self.state.borrow_mut().function.register(ty)
    }

    /// A new register as the value of what is about to be written to it.
    pub(crate) fn fresh<T: Held>(&self) -> Value<'_, T> {
        Value::new(self, Repr::Register(self.register(T::REGISTER)))
    }

    /// Writes an instruction as the manual spells it, e.g. `add.u32`, with operands as they stand there. It is the
    /// way to what has no method.
    #[track_caller]
    pub fn emit(&self, opcode: &str, operands: Vec<Operand>) {
        self.emit_guarded(None, opcode, operands);
    }

    /// Writes an instruction that runs where a predicate holds.
    #[track_caller]
    pub fn emit_when(&self, predicate: Predicate<'_>, opcode: &str, operands: Vec<Operand>) {
        match predicate.known() {
            Some(false) => {}
            Some(true) => self.emit(opcode, operands),
            None => self.emit_guarded(predicate.guard(), opcode, operands),
        }
    }

    #[track_caller]
    fn emit_guarded(&self, guard: Option<Guard>, opcode: &str, operands: Vec<Operand>) {
        let instruction = match instruction(opcode, operands) {
            Ok(instruction) => instruction,
            Err(message) => return self.fail(message),
        };
        let location = Location::caller();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let line = *state.location_of.entry(location).or_insert_with(|| {
            state.locations.push(location);
            state.locations.len() as u32
        });
        let position = Position { line, column: 0 };
        state.function.push(Instruction { guard, position, ..instruction });
    }

    /// Writes an instruction whose first operand is a new register, and gives that.
    #[track_caller]
    pub(crate) fn compute<T: Held>(&self, opcode: &str, operands: &[Operand]) -> Value<'_, T> {
        let result = self.fresh::<T>();
        let operands = std::iter::once(result.operand()).chain(operands.iter().cloned()).collect();
        self.emit(opcode, operands);
        result
    }

    pub(crate) fn label(&self) -> Label {
        self.state.borrow_mut().function.label()
    }

    pub(crate) fn place(&self, label: Label) {
        self.state.borrow_mut().function.place(label);
    }

    pub(crate) fn enter(&self) {
        self.state.borrow_mut().depth += 1;
    }

    pub(crate) fn leave(&self) {
        self.state.borrow_mut().depth -= 1;
    }

    /// A special register. What is read outside of branches is read once.
    #[track_caller]
    pub fn special(&self, register: SpecialRegister) -> Value<'_, u32> {
        let known = self.state.borrow().specials.get(&register).copied();
        if let Some(known) = known {
            return Value::new(self, Repr::Register(known));
        }
        let value = self.compute::<u32>("mov.u32", &[Operand::Special(register)]);
        let mut state = self.state.borrow_mut();
        if let (0, Repr::Register(id)) = (state.depth, value.repr()) {
            state.specials.insert(register, id);
        }
        value
    }

    /// The thread's index in the CTA, 0 to [`threads`](Self::threads).
    #[track_caller]
    pub fn thread(&self) -> Value<'_, u32> {
        self.special(SpecialRegister::TidX)
    }

    /// The thread's index in its warp, 0 to 31.
    #[track_caller]
    pub fn lane(&self) -> Value<'_, u32> {
        self.thread() & 31
    }

    /// The warp's index in the CTA.
    #[track_caller]
    pub fn warp(&self) -> Value<'_, u32> {
        self.thread() >> 5
    }

    /// The CTA's index in the grid along an axis, 0 to 2.
    #[track_caller]
    pub fn cta(&self, axis: usize) -> Value<'_, u32> {
        let registers = [SpecialRegister::CtaidX, SpecialRegister::CtaidY, SpecialRegister::CtaidZ];
        self.special(registers[axis.min(2)])
    }

    /// CTAs of the grid along an axis, 0 to 2.
    #[track_caller]
    pub fn ctas(&self, axis: usize) -> Value<'_, u32> {
        let registers = [SpecialRegister::NctaidX, SpecialRegister::NctaidY, SpecialRegister::NctaidZ];
        self.special(registers[axis.min(2)])
    }

    /// A constant.
    pub fn constant<T: Scalar>(&self, value: T) -> Value<'_, T> {
        Value::new(self, Repr::Constant(value.immediate()))
    }

    /// A predicate that always or never holds.
    pub fn known(&self, holds: bool) -> Predicate<'_> {
        Predicate::of_bool(self, holds)
    }

    #[track_caller]
    pub(crate) fn load_parameter<T: Held>(&self, name: &str, kind: ParameterKind) -> Value<'_, T> {
        let symbol = self.parameter_symbol(name);
        let ty = match kind {
            ParameterKind::Pointer(..) | ParameterKind::U64 => "u64",
            ParameterKind::U32 => "u32",
            ParameterKind::F32 => "f32",
            ParameterKind::TensorMap => {
                self.fail(format!("tensor map `{name}` is not loaded, its address is taken"));
                "u64"
            }
        };
        let value = self.compute::<T>(&format!("ld.param.{ty}"), &[Operand::at_symbol(symbol, 0)]);
        if matches!(kind, ParameterKind::Pointer(..)) {
            return self.compute::<T>("cvta.to.global.u64", &[value.operand()]);
        }
        value
    }

    pub(crate) fn parameter_symbol(&self, name: &str) -> Symbol {
        let state = self.state.borrow();
        let index = state.parameters.iter().position(|parameter| parameter.name == name);
        state.function.parameter(index.unwrap_or(0) as u32)
    }

    /// Reserves shared memory; its offset from the start of the CTA's.
    #[track_caller]
    pub(crate) fn reserve_shared(&self, bytes: u32, alignment: u32) -> u32 {
        if !alignment.is_power_of_two() || alignment > 1024 {
            self.fail(format!("shared memory is aligned to a power of two up to 1024, not {alignment}"));
            return 0;
        }
        let mut state = self.state.borrow_mut();
        let start = state.shared_bytes.next_multiple_of(alignment);
        state.shared_bytes = start.saturating_add(bytes);
        start
    }

    /// The address where the CTA's shared memory starts; call it outside of branches first.
    #[track_caller]
    pub(crate) fn shared_base(&self) -> Value<'_, u32> {
        let known = self.state.borrow().shared_base;
        if let Some(register) = known {
            return Value::new(self, Repr::Register(register));
        }
        let symbol = self.state.borrow().dynamic_shared;
        let value = self.compute::<u32>("mov.u32", &[Operand::Symbol(symbol, 0)]);
        let mut state = self.state.borrow_mut();
        if let (0, Repr::Register(register)) = (state.depth, value.repr()) {
            state.shared_base = Some(register);
        }
        value
    }
}

fn instruction(opcode: &str, operands: Vec<Operand>) -> Result<Instruction, String> {
    let (row, rest) = table::find_row(opcode).ok_or_else(|| format!("`{opcode}` is not an instruction"))?;
    let modifiers = rest
        .split('.')
        .skip(1)
        .map(|word| Modifier::from_name(word).ok_or_else(|| format!("`.{word}` of `{opcode}` is unknown")))
        .collect::<Result<Vec<_>, _>>()?;
    Instruction::build(row.name, &modifiers, operands).map_err(|error| error.to_string())
}
