//! Loads a verified module: places its variables, decodes its functions.

use crate::decode::{Constants, Decoder, FUNCTION_BASE, Place, Surroundings, immediate_bits};
use crate::liveness::{Allocation, allocate};
use crate::memory::{GlobalMemory, MemoryError, SHARED_DATA_OFFSET, SHARED_RANK_SHIFT};
use crate::program::{FunctionInfo, KernelInfo, KernelParameter, Parameter, Program};
use crate::unfenced;
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::module::{Directive, Function, Initializer, Item, Linkage, Module, Statement, Variable};
use rorqual_ptx::operand::{Address, Base, Operand, Symbol};
use rorqual_ptx::types::Space;
use std::collections::HashMap;
use thiserror::Error;

/// Why a module cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    /// A variable does not fit memory.
    #[error("variable `{name}` of line {line}: {source}")]
    Variable {
        /// Its name.
        name: String,
        /// Its line.
        line: u32,
        /// What memory says.
        source: MemoryError,
    },
    /// A variable without a known size outside of `.extern .shared`.
    #[error("variable `{name}` of line {line} has no size")]
    NoSize {
        /// Its name.
        name: String,
        /// Its line.
        line: u32,
    },
    /// The shared variables of a function do not fit the window of a CTA.
    #[error("with variable `{name}` of line {line}, shared memory has more than {MOST_SHARED_BYTES} bytes")]
    Shared {
        /// The variable that is too much.
        name: String,
        /// Its line.
        line: u32,
    },
    /// An initialiser refers to what is not in the module.
    #[error("the initialiser of `{name}` refers to `{symbol}`, which the module does not define")]
    Initializer {
        /// The variable.
        name: String,
        /// The symbol.
        symbol: String,
    },
    /// A function has too many registers alive at once.
    #[error("function `{function}` has more than 32767 registers alive at once")]
    Registers {
        /// The function.
        function: String,
    },
}

/// The bytes of the window that a CTA has among the shared addresses of its cluster.
const MOST_SHARED_BYTES: u64 = 1 << SHARED_RANK_SHIFT;

/// A loaded module: its program, and the addresses of its global variables.
#[derive(Debug)]
pub struct Loaded {
    /// The program.
    pub program: Program,
    /// Unified address and size of each defined global or constant variable, by name.
    pub globals: HashMap<String, (u64, u64)>,
}

/// Bytes of a variable; `None` for an array without a size.
#[must_use]
pub fn variable_bytes(variable: &Variable) -> Option<u64> {
    let element = u64::from(variable.ty.bytes()) * u64::from(variable.vector);
    variable.dimensions.iter().try_fold(element, |bytes, dimension| bytes.checked_mul((*dimension)?))
}

/// Places a module in the memory of a device.
///
/// # Errors
///
/// If it does not fit, or refers to what is not there.
pub fn load(module: &Module, memory: &mut GlobalMemory, device: u32) -> Result<Loaded, LoadError> {
    let globals = place_globals(module, memory, device)?;
    let mut code = Vec::new();
    let mut closures = Vec::new();
    let mut constants = Constants::default();
    let mut unsupported = Vec::new();
    let mut functions = Vec::new();
    let mut kernels = HashMap::new();
    let mut source_lines = Vec::new();
    let mut device_slots = 0;
    for (number, function) in module.functions.iter().enumerate() {
        let entry = code.len() as u32;
        let allocation =
            allocate(function).map_err(|_| LoadError::Registers { function: function.name.clone() })?;
        let shared = place_shared(module, number)?;
        let places: Vec<Option<Place>> = (0..module.variables.len())
            .map(|variable| globals.places[variable].or(shared.module[variable]))
            .collect();
        let frame = place_frame(function, &shared.local, &allocation)?;
        let surroundings = Surroundings {
            module,
            code: &mut code,
            closures: &mut closures,
            constants: &mut constants,
            unsupported: &mut unsupported,
            module_places: &places,
        };
        let mut decoder = Decoder::new(surroundings, function, &allocation, frame.places);
        let watched = unfenced::watched(function);
        let mut location = None;
        let body = function.body.as_deref().unwrap_or(&[]);
        for (at, statement) in body.iter().enumerate() {
            match statement {
                Statement::Label(label) => decoder.label(*label),
                Statement::Location(at) => location = Some((at.file, at.line)),
                Statement::Instruction(instruction) => {
                    if let Some((file, line)) = location {
                        source_lines.push((instruction.position.line, file, line));
                    }
                    decoder.set_following(&body[at + 1..]);
                    if let Some(watched) = watched.get(&at) {
                        decoder.watch(at, instruction, watched);
                    }
                    decoder.instruction(instruction);
                }
                _ => {}
            }
        }
        if function.body.is_some() {
            decoder.end(function);
        }
        let scratch = decoder.finish();
        functions.push(FunctionInfo {
            name: function.name.clone(),
            entry,
            end: code.len() as u32,
            slots: allocation.slots + scratch,
            predicates: allocation.predicates,
            frame_offset: device_slots,
            local_bytes: frame.bytes,
            parameters: frame.parameters,
            return_count: function.return_count as usize,
        });
        if !function.is_kernel {
            device_slots += allocation.slots + scratch;
        }
        if function.is_kernel && function.body.is_some() {
            let info =
                kernel_info(module, function, number, &shared, frame.kernel_parameters, allocation.max_live);
            kernels.insert(function.name.clone(), info);
        }
    }
    source_lines.sort_unstable();
    source_lines.dedup_by_key(|entry| entry.0);
    let source_files = module
        .items
        .iter()
        .filter_map(|item| match item {
            Item::File { index, name, .. } => Some((*index, name.clone())),
            _ => None,
        })
        .collect();
    let program = Program {
        code,
        closures,
        constants: constants.slots,
        functions,
        device_slots,
        kernels,
        source_lines,
        source_files,
        unsupported,
    };
    Ok(Loaded { program, globals: globals.by_name })
}

struct Globals {
    places: Vec<Option<Place>>,
    by_name: HashMap<String, (u64, u64)>,
}

fn place_globals(module: &Module, memory: &mut GlobalMemory, device: u32) -> Result<Globals, LoadError> {
    let mut places = vec![None; module.variables.len()];
    let mut by_name = HashMap::new();
    let defined = |variable: &Variable| {
        matches!(variable.space, Space::Global | Space::Const) && variable.linkage != Linkage::Extern
    };
    for (index, variable) in module.variables.iter().enumerate().filter(|(_, variable)| defined(variable)) {
        let bytes = variable_bytes(variable).or_else(|| {
            variable
                .initializer
                .as_ref()
                .map(|elements| elements.len() as u64 * u64::from(variable.ty.bytes()))
        });
        let bytes = bytes
            .ok_or_else(|| LoadError::NoSize { name: variable.name.clone(), line: variable.position.line })?;
        let address = memory
            .allocate_zeroed(device, &variable.name, bytes.max(1))
            .map_err(|source| variable_error(variable, source))?;
        places[index] = Some(Place::Global(address));
        by_name.insert(variable.name.clone(), (address, bytes));
    }
    for (index, variable) in module.variables.iter().enumerate() {
        let Some(Place::Global(address)) = places[index] else { continue };
        if let Some(elements) = &variable.initializer {
            let bytes = initial_bytes(module, variable, elements, &places)?;
            memory.write(address, &bytes).map_err(|source| variable_error(variable, source))?;
        }
        if variable.space == Space::Const {
            memory.set_read_only(address, true).map_err(|source| variable_error(variable, source))?;
        }
    }
    Ok(Globals { places, by_name })
}

fn variable_error(variable: &Variable, source: MemoryError) -> LoadError {
    LoadError::Variable { name: variable.name.clone(), line: variable.position.line, source }
}

fn initial_bytes(
    module: &Module,
    variable: &Variable,
    elements: &[Initializer],
    places: &[Option<Place>],
) -> Result<Vec<u8>, LoadError> {
    let width = variable.ty.bytes() as usize;
    let mut bytes = Vec::with_capacity(elements.len() * width);
    let address_of = |symbol: Symbol| match symbol {
        Symbol::Function(index) => Ok(FUNCTION_BASE + u64::from(index) * 16),
        Symbol::Module(index) => match places[index as usize] {
            Some(Place::Global(address)) => Ok(address),
            _ => Err(LoadError::Initializer {
                name: variable.name.clone(),
                symbol: module.variables[index as usize].name.clone(),
            }),
        },
        Symbol::Local(_) => {
            Err(LoadError::Initializer { name: variable.name.clone(), symbol: "a local".to_owned() })
        }
    };
    for element in elements {
        let value = match element {
            Initializer::Value(value) => immediate_bits(*value, variable.ty),
            Initializer::Address { symbol, offset, .. } => {
                u128::from(address_of(*symbol)?.wrapping_add(offset.cast_unsigned()))
            }
            Initializer::MaskedAddress { mask, symbol, offset, .. } => {
                let address = address_of(*symbol)?.wrapping_add(offset.cast_unsigned());
                u128::from((address & mask) >> mask.trailing_zeros().min(63))
            }
        };
        bytes.extend_from_slice(&value.to_le_bytes()[..width]);
    }
    Ok(bytes)
}

/// Where the shared variables of a function lie, and what a kernel's launch must know of them.
struct SharedPlaces {
    /// By module variable.
    module: Vec<Option<Place>>,
    /// By variable of the function.
    local: Vec<Option<u32>>,
    static_bytes: u32,
    dynamic_alignment: u32,
}

/// Lays out shared memory: first what device functions use, at the same place for every kernel, then what the kernel
/// uses itself, then the dynamic part.
fn place_shared(module: &Module, number: usize) -> Result<SharedPlaces, LoadError> {
    let mut layout =
        SharedLayout { end: SHARED_DATA_OFFSET.into(), module: vec![None; module.variables.len()] };
    let mut places =
        SharedPlaces { module: Vec::new(), local: Vec::new(), static_bytes: 0, dynamic_alignment: 16 };
    let reached = reachable(module, number);
    let is_kernel = |&member: &usize| module.functions[member].is_kernel;
    if reached.iter().any(|member| !is_kernel(member)) {
        for member in (0..module.functions.len()).filter(|member| !is_kernel(member)) {
            let local = layout.add(module, member)?;
            if member == number {
                places.local = local;
            }
        }
    }
    if is_kernel(&number) {
        places.local = layout.add(module, number)?;
    }
    for &member in &reached {
        for index in used_variables(module, member) {
            let variable = &module.variables[index];
            if variable.space == Space::Shared && variable.linkage == Linkage::Extern {
                places.dynamic_alignment = places.dynamic_alignment.max(variable.alignment);
                layout.module[index] = Some(Place::DynamicShared);
            }
        }
    }
    // Without dynamic shared memory nothing follows, and what lies behind the last variable is outside.
    let is_dynamic = layout.module.contains(&Some(Place::DynamicShared));
    let end =
        if is_dynamic { layout.end.next_multiple_of(places.dynamic_alignment.into()) } else { layout.end };
    places.static_bytes = u32::try_from(end).unwrap_or(u32::MAX) - SHARED_DATA_OFFSET;
    places.module = layout.module;
    Ok(places)
}

struct SharedLayout {
    end: u64,
    module: Vec<Option<Place>>,
}

impl SharedLayout {
    /// Places the static shared variables that one function uses; gives the offsets of its own.
    fn add(&mut self, module: &Module, number: usize) -> Result<Vec<Option<u32>>, LoadError> {
        for index in used_variables(module, number) {
            let variable = &module.variables[index];
            let is_static = variable.space == Space::Shared && variable.linkage != Linkage::Extern;
            if is_static && self.module[index].is_none() {
                self.module[index] = Some(Place::Shared(self.reserve(variable)?));
            }
        }
        let own = module.functions[number].variables.iter();
        own.map(|variable| (variable.space == Space::Shared).then(|| self.reserve(variable)).transpose())
            .collect()
    }

    fn reserve(&mut self, variable: &Variable) -> Result<u32, LoadError> {
        let error = || LoadError::NoSize { name: variable.name.clone(), line: variable.position.line };
        let bytes = variable_bytes(variable).ok_or_else(error)?;
        let at = self.end.next_multiple_of(variable.alignment.max(1).into());
        self.end = at.saturating_add(bytes);
        if self.end > MOST_SHARED_BYTES {
            return Err(LoadError::Shared { name: variable.name.clone(), line: variable.position.line });
        }
        Ok(at as u32)
    }
}

/// Module variables that a function names, in order of declaration.
fn used_variables(module: &Module, number: usize) -> std::collections::BTreeSet<usize> {
    let mut used = std::collections::BTreeSet::new();
    for instruction in instructions(&module.functions[number]) {
        symbols(&instruction.operands, &mut |symbol| {
            if let Symbol::Module(index) = symbol {
                used.insert(index as usize);
            }
        });
    }
    used
}

/// Functions that a function may call, itself included; with an indirect call, all of them.
fn reachable(module: &Module, number: usize) -> Vec<usize> {
    let mut reached = vec![number];
    let mut at = 0;
    while at < reached.len() {
        for instruction in instructions(&module.functions[reached[at]]) {
            symbols(&instruction.operands, &mut |symbol| {
                if let Symbol::Function(callee) = symbol {
                    let callee = callee as usize;
                    if !reached.contains(&callee) {
                        reached.push(callee);
                    }
                }
            });
        }
        at += 1;
    }
    reached
}

fn instructions(function: &Function) -> impl Iterator<Item = &Instruction> {
    function.body.iter().flatten().filter_map(|statement| match statement {
        Statement::Instruction(instruction) => Some(instruction),
        _ => None,
    })
}

/// Calls `visit` for every symbol among operands.
fn symbols(operands: &[Operand], visit: &mut impl FnMut(Symbol)) {
    for operand in operands {
        match operand {
            Operand::Symbol(symbol, _) => visit(*symbol),
            Operand::Address(address) => {
                let Address { base, coordinates, .. } = &**address;
                if let Base::Symbol(symbol) = base {
                    visit(*symbol);
                }
                symbols(coordinates, visit);
            }
            Operand::Vector(elements) | Operand::Arguments(elements) => symbols(elements, visit),
            Operand::Pair(pair) => symbols(&pair[..], visit),
            _ => {}
        }
    }
}

/// Where a function's own variables lie.
struct FramePlaces {
    places: Vec<Place>,
    bytes: u32,
    parameters: Vec<Parameter>,
    kernel_parameters: Vec<KernelParameter>,
}

fn place_frame(
    function: &Function,
    shared: &[Option<u32>],
    allocation: &Allocation,
) -> Result<FramePlaces, LoadError> {
    let formal = (function.return_count + function.parameter_count) as usize;
    let mut frame =
        FramePlaces { places: Vec::new(), bytes: 0, parameters: Vec::new(), kernel_parameters: Vec::new() };
    let mut parameter_end = 0u32;
    for (index, variable) in function.variables.iter().enumerate() {
        let error = || LoadError::NoSize { name: variable.name.clone(), line: variable.position.line };
        let place = if let Some(register) = variable.register {
            let slots = crate::liveness::slots_of(variable.ty, variable.vector) as u8;
            frame
                .parameters
                .push(Parameter::Register { slot: allocation.slot_of[register.0 as usize], slots });
            Place::Register(register)
        } else if let Some(offset) = shared[index] {
            Place::Shared(offset)
        } else {
            let bytes =
                variable_bytes(variable).and_then(|bytes| u32::try_from(bytes).ok()).ok_or_else(error)?;
            let alignment = variable.alignment.max(1);
            if function.is_kernel && index < formal {
                let offset = parameter_end.checked_next_multiple_of(alignment).ok_or_else(error)?;
                parameter_end = offset.checked_add(bytes).ok_or_else(error)?;
                frame.kernel_parameters.push(KernelParameter {
                    name: variable.name.clone(),
                    offset,
                    bytes,
                    alignment,
                });
                Place::Parameter(offset)
            } else {
                let offset = frame.bytes.checked_next_multiple_of(alignment.max(8)).ok_or_else(error)?;
                frame.bytes = offset.checked_add(bytes).ok_or_else(error)?;
                if index < formal {
                    frame.parameters.push(Parameter::Memory { offset, bytes });
                }
                Place::Frame(offset)
            }
        };
        frame.places.push(place);
    }
    frame.bytes = frame.bytes.checked_next_multiple_of(16).unwrap_or(u32::MAX);
    Ok(frame)
}

fn kernel_info(
    module: &Module,
    function: &Function,
    number: usize,
    shared: &SharedPlaces,
    parameters: Vec<KernelParameter>,
    max_live_registers: usize,
) -> KernelInfo {
    let extents =
        |values: &[u32]| -> [u32; 3] { std::array::from_fn(|axis| values.get(axis).copied().unwrap_or(1)) };
    let mut info = KernelInfo {
        function: number,
        parameter_bytes: parameters.last().map_or(0, |last| last.offset + last.bytes),
        parameters,
        static_shared_bytes: shared.static_bytes,
        dynamic_shared_alignment: shared.dynamic_alignment,
        max_threads: None,
        required_threads: None,
        required_cluster: None,
        max_cluster_rank: None,
        explicit_cluster: false,
        max_registers: None,
        min_ctas_per_multiprocessor: None,
        interleave: reachable(module, number)
            .iter()
            .flat_map(|&member| instructions(&module.functions[member]))
            .find(|instruction| crate::dependence::may_wait_for_others(instruction))
            .map(|instruction| instruction.position.line),
        max_live_registers,
    };
    for directive in &function.directives {
        match directive {
            Directive::MaxThreads(values) => info.max_threads = Some(extents(values)),
            Directive::RequiredThreads(values) => info.required_threads = Some(extents(values)),
            Directive::RequiredCluster(values) => info.required_cluster = Some(extents(values)),
            Directive::MaxClusterRank(rank) => info.max_cluster_rank = Some(*rank),
            Directive::ExplicitCluster => info.explicit_cluster = true,
            Directive::MaxRegisters(registers) => info.max_registers = Some(*registers),
            Directive::MinCtasPerMultiprocessor(ctas) => info.min_ctas_per_multiprocessor = Some(*ctas),
            _ => {}
        }
    }
    info
}
