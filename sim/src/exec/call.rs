//! Calls and returns (PTX ISA 9.7.14.5, 9.7.14.6): frames on the warp's stack of registers and local memory.
//!
//! A call is two micro-operations: the first enters the callee with its arguments, the second, at which the callee
//! returns, fetches the results from the frame that was left.

use super::control::{exit_lanes, split_off_rest};
use super::printf;
use crate::context::Context;
use crate::decode::{FUNCTION_BASE, Unsupported};
use crate::program::{Flow, FunctionInfo, MicroOp, Parameter, Step};
use crate::registers::{Destination, Source};
use crate::report::{Fault, Rule};
use crate::warp::Frame;

/// An argument or result of a call, in the caller's frame.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// A `.param` variable: its offset in the frame.
    Memory(u32),
    /// A register and its slots.
    Register {
        /// The first slot.
        slot: Source,
        /// 1, 2 or 4.
        slots: u8,
    },
    /// A literal, as 32 and as 64 bits.
    Literal([Source; 2]),
}

/// What a call calls.
#[derive(Debug, Clone, Copy)]
pub enum Callee {
    /// A function of the module.
    Function(usize),
    /// The function that a register points to.
    Pointer(Source),
    /// A function that the device's runtime has.
    External(External),
}

/// Functions that are not in the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum External {
    /// `vprintf(format, arguments)`
    Printf,
    /// `__assertfail(message, file, line, function, char_bytes)`
    AssertFail,
}

impl External {
    /// The function of a name.
    ///
    /// # Errors
    ///
    /// If the simulator does not have it.
    pub fn named(name: &str) -> Result<Self, Unsupported> {
        match name {
            "vprintf" => Ok(Self::Printf),
            "__assertfail" => Ok(Self::AssertFail),
            _ => Err(Unsupported::new(format!("function `{name}` is not defined in the module"))),
        }
    }
}

/// Frames that a call stack may have.
const MOST_FRAMES: usize = 4096;

/// Register slots that the frames of a warp may take.
const MOST_SLOTS: usize = 1 << 20;

/// Where the frame of a function called from the current frame starts.
///
/// Every device function has a place of its own, and another one for each time that it is already on the stack: lanes
/// that are in different functions at the same time must not share slots, since a slot's lanes are where they are only
/// for registers of one width.
fn frame_base(context: &Context<'_>, number: usize) -> usize {
    let program = context.program;
    let stack = context.fragment.callers.iter().chain([&context.fragment.frame]);
    let again = stack.filter(|frame| frame.function as usize == number).count();
    let kernel = &program.functions[context.grid.kernel.function];
    kernel.slots + program.functions[number].frame_offset + again * program.device_slots
}

/// Enters a function.
///
/// # Errors
///
/// If the pointer is no function, the signature differs, or the stack is full.
pub fn enter(
    context: &mut Context<'_>,
    callee: Callee,
    arguments: &[Argument],
    results: &[Argument],
) -> Step {
    let number = match callee {
        Callee::External(function) => return call_external(context, function, arguments, results),
        Callee::Function(number) => number,
        Callee::Pointer(pointer) => {
            context.require_defined(pointer, "the address of a call")?;
            let first = context.u64(pointer)[context.mask.trailing_zeros() as usize];
            let same = context.active().filter(|&lane| context.u64(pointer)[lane] == first);
            let same = same.fold(0, |set, lane| set | 1 << lane);
            // The others call by themselves.
            let together = context.fragment.lanes & !context.mask;
            if together != 0 {
                split_off_rest(context, 2);
            }
            context.mask = same;
            split_off_rest(context, 0);
            function_number(context, first)?
        }
    };
    split_off_rest(context, 2);
    let program = context.program;
    let function = &program.functions[number];
    check_signature(function, arguments, results)?;
    let caller = context.fragment.frame;
    let caller_function = &program.functions[caller.function as usize];
    if context.fragment.callers.len() >= MOST_FRAMES {
        return Err(Box::new(Fault::new(
            Rule::MemoryBudget,
            format!("more than {MOST_FRAMES} calls inside each other"),
        )));
    }
    let base = frame_base(context, number);
    if base + function.slots > MOST_SLOTS {
        return Err(Box::new(Fault::new(
            Rule::MemoryBudget,
            format!("the call stack needs more than {MOST_SLOTS} register slots"),
        )));
    }
    let frame = Frame {
        function: number as u32,
        base: base as u32,
        predicate_base: caller.predicate_base + caller_function.predicates as u32,
        local_base: (caller.local_base + caller_function.local_bytes + caller.allocated).next_multiple_of(16),
        return_pc: context.fragment.pc + 1,
        allocated: 0,
    };
    let lanes = context.fragment.lanes;
    // Arguments are read in the caller's frame before the callee's is selected.
    let mut words = Vec::new();
    for (argument, parameter) in arguments.iter().zip(&function.parameters[function.return_count..]) {
        words.push(read_argument(context, *argument, *parameter)?);
    }
    let stack = u64::from(frame.local_base) + u64::from(function.local_bytes);
    context.world.take_memory(context.warp.growth(base + function.slots, stack), context.grid)?;
    let registers = &mut context.warp.registers;
    registers.enter(frame.base as usize, function.slots, frame.predicate_base as usize, function.predicates);
    registers.undefine_frame(function.slots, function.predicates, lanes);
    context
        .warp
        .local
        .enter(lanes, frame.local_base, function.local_bytes)
        .map_err(|error| Fault::new(Rule::MemoryBudget, error.to_string()))?;
    context.fragment.callers.push(caller);
    context.fragment.frame = frame;
    for (value, parameter) in words.iter().zip(&function.parameters[function.return_count..]) {
        write_parameter(context, value, *parameter, frame.local_base)?;
    }
    context.fragment.pc = function.entry;
    Ok(Flow::Jumped)
}

fn function_number(context: &Context<'_>, pointer: u64) -> Result<usize, Box<Fault>> {
    let number = pointer.wrapping_sub(FUNCTION_BASE) / 16;
    let program = context.program;
    let known =
        pointer >= FUNCTION_BASE && pointer.is_multiple_of(16) && number < program.functions.len() as u64;
    let number = number as usize;
    let has_body = known && program.functions[number].end > program.functions[number].entry;
    if has_body && program.kernels.values().all(|kernel| kernel.function != number) {
        return Ok(number);
    }
    Err(Box::new(Fault::new(
        Rule::Call,
        format!("a call to {pointer:#x}, which is no device function of the module"),
    )))
}

fn check_signature(
    function: &FunctionInfo,
    arguments: &[Argument],
    results: &[Argument],
) -> Result<(), Box<Fault>> {
    let takes = function.parameters.len() - function.return_count;
    if takes == arguments.len() && function.return_count == results.len() {
        return Ok(());
    }
    Err(Box::new(Fault::new(
        Rule::Call,
        format!(
            "`{}` takes {takes} arguments and gives {} results; the call has {} and {}",
            function.name,
            function.return_count,
            arguments.len(),
            results.len()
        ),
    )))
}

/// A value on its way between frames: its bytes in every lane, each with the lanes where it is undefined. A struct may
/// have undefined padding beside defined fields.
struct Passed {
    bytes: Vec<([u8; 32], u32)>,
}

impl Passed {
    /// The value as a number of at most 8 bytes, with the lanes where any of them is undefined.
    fn word(&self, from: usize, bytes: usize) -> ([u64; 32], u32) {
        let part = &self.bytes[from.min(self.bytes.len())..(from + bytes).min(self.bytes.len())];
        let word =
            |lane: usize| part.iter().rev().fold(0, |word, (byte, _)| word << 8 | u64::from(byte[lane]));
        (std::array::from_fn(word), part.iter().fold(0, |set, (_, undefined)| set | undefined))
    }
}

fn read_argument(
    context: &Context<'_>,
    argument: Argument,
    parameter: Parameter,
) -> Result<Passed, Box<Fault>> {
    let bytes = match parameter {
        Parameter::Memory { bytes, .. } => bytes,
        Parameter::Register { slots, .. } => u32::from(slots) * 4,
    };
    match argument {
        Argument::Memory(offset) => read_memory(context, context.fragment.frame.local_base + offset, bytes),
        Argument::Register { slot, slots } => read_register(context, slot, slots, bytes),
        Argument::Literal([narrow, wide]) => {
            if bytes <= 4 {
                read_register(context, narrow, 1, bytes)
            } else {
                read_register(context, wide, 2, bytes)
            }
        }
    }
}

fn read_register(context: &Context<'_>, slot: Source, slots: u8, bytes: u32) -> Result<Passed, Box<Fault>> {
    let undefined = context.taint(slot)?;
    let byte = |index: u32| -> [u8; 32] {
        if slots == 1 {
            context.u32(slot).map(|word| (word >> (index * 8).min(31)) as u8)
        } else {
            let half = Source(slot.0 + 2 * (index / 8) as u16);
            context.u64(half).map(|word| (word >> (index % 8 * 8)) as u8)
        }
    };
    let most = u32::from(slots) * 4;
    Ok(Passed { bytes: (0..bytes.min(most)).map(|index| (byte(index), undefined)).collect() })
}

fn read_memory(context: &Context<'_>, offset: u32, bytes: u32) -> Result<Passed, Box<Fault>> {
    let lanes = context.fragment.lanes;
    let addresses = [offset; 32];
    let mut passed = Passed { bytes: Vec::with_capacity(bytes as usize) };
    for byte in 0..bytes {
        let mut value = [0u32; 32];
        let defined = context
            .warp
            .local
            .load_lanes::<1, u32>(&addresses, byte, lanes, &mut value)
            .map_err(|error| Fault::new(Rule::Bounds, error.to_string()))?;
        passed.bytes.push((value.map(|value| value as u8), lanes & !defined));
    }
    Ok(passed)
}

fn write_parameter(
    context: &mut Context<'_>,
    value: &Passed,
    parameter: Parameter,
    local_base: u32,
) -> Result<(), Box<Fault>> {
    match parameter {
        Parameter::Memory { offset, bytes } => write_memory(context, value, local_base + offset, bytes),
        Parameter::Register { slot, slots } => write_register(context, value, slot, slots),
    }
}

fn write_register(context: &mut Context<'_>, value: &Passed, slot: u16, slots: u8) -> Result<(), Box<Fault>> {
    context.mask = context.fragment.lanes;
    if slots == 1 {
        let (word, undefined) = value.word(0, 4);
        return context.write_u32(Destination(slot), &word.map(|word| word as u32), undefined);
    }
    for pair in 0..usize::from(slots / 2) {
        let (word, undefined) = value.word(8 * pair, 8);
        context.write_u64(Destination(slot + 2 * pair as u16), &word, undefined)?;
    }
    Ok(())
}

fn write_memory(
    context: &mut Context<'_>,
    value: &Passed,
    offset: u32,
    bytes: u32,
) -> Result<(), Box<Fault>> {
    let lanes = context.fragment.lanes;
    let addresses = [offset; 32];
    for (index, (byte, undefined)) in value.bytes.iter().enumerate().take(bytes as usize) {
        context
            .warp
            .local
            .store_lanes::<1, u32>(&addresses, index as u32, lanes, &byte.map(u32::from), lanes & !undefined)
            .map_err(|error| Fault::new(Rule::Bounds, error.to_string()))?;
    }
    Ok(())
}

/// `ret` of a device function: back to the second micro-operation of the call.
///
/// # Errors
///
/// None: the signature is that of every micro-operation.
pub fn run_return(context: &mut Context<'_>, _: &MicroOp) -> Step {
    split_off_rest(context, 1);
    let Some(caller) = context.fragment.callers.pop() else {
        let lanes = context.mask;
        exit_lanes(context, lanes)?;
        return Ok(Flow::Exited);
    };
    context.fragment.pc = context.fragment.frame.return_pc;
    context.fragment.frame = caller;
    context.warp.registers.select(caller.base as usize, caller.predicate_base as usize);
    Ok(Flow::Jumped)
}

/// After the return: results from the callee's frame into the caller's.
///
/// # Errors
///
/// If the callee's frame cannot be read.
pub fn leave(context: &mut Context<'_>, callee: Callee, results: &[Argument]) -> Step {
    let number = match callee {
        Callee::Function(number) => number,
        Callee::Pointer(pointer) => {
            function_number(context, context.u64(pointer)[context.mask.trailing_zeros() as usize])?
        }
        Callee::External(_) => return Ok(Flow::Next),
    };
    let program = context.program;
    let function = &program.functions[number];
    let frame = context.fragment.frame;
    let caller = &program.functions[frame.function as usize];
    let (base, predicate_base) = (frame.base as usize, frame.predicate_base as usize);
    let local_base = (frame.local_base + caller.local_bytes + frame.allocated).next_multiple_of(16);
    let mut values = Vec::new();
    context.warp.registers.select(frame_base(context, number), predicate_base + caller.predicates);
    for parameter in &function.parameters[..function.return_count] {
        values.push(match *parameter {
            Parameter::Memory { offset, bytes } => read_memory(context, local_base + offset, bytes)?,
            Parameter::Register { slot, slots } => {
                read_register(context, Source(slot), slots, u32::from(slots) * 4)?
            }
        });
    }
    context.warp.registers.select(base, predicate_base);
    context.warp.local.leave(context.fragment.lanes, local_base);
    for (value, result) in values.iter().zip(results) {
        match *result {
            Argument::Memory(offset) => {
                write_memory(context, value, frame.local_base + offset, value.bytes.len() as u32)?
            }
            Argument::Register { slot, slots } => write_register(context, value, slot.0, slots)?,
            Argument::Literal(_) => {}
        }
    }
    Ok(Flow::Next)
}

fn call_external(
    context: &mut Context<'_>,
    function: External,
    arguments: &[Argument],
    results: &[Argument],
) -> Step {
    let wide = Parameter::Memory { offset: 0, bytes: 8 };
    let mut values = Vec::new();
    let expected = match function {
        External::Printf => 2,
        External::AssertFail => 5,
    };
    if arguments.len() != expected {
        return Err(Box::new(Fault::new(
            Rule::Call,
            format!("{function:?} takes {expected} arguments, the call has {}", arguments.len()),
        )));
    }
    for (index, argument) in arguments.iter().enumerate() {
        let narrow = function == External::AssertFail && index == 2;
        let parameter = if narrow { Parameter::Memory { offset: 0, bytes: 4 } } else { wide };
        let passed = read_argument(context, *argument, parameter)?;
        let (word, undefined) = passed.word(0, 8);
        if undefined & context.mask != 0 {
            return Err(
                context.undefined_fault(undefined & context.mask, "an argument of a runtime function")
            );
        }
        values.push(word);
    }
    match function {
        External::Printf => {
            let mut taken_arguments = [0; 32];
            for lane in context.active() {
                let (text, taken) = printf::format(context, lane, values[0][lane], values[1][lane])?;
                taken_arguments[lane] = taken;
                context.cluster.output.extend_from_slice(&text);
            }
            let count = |byte: usize| taken_arguments.map(|taken: u64| (taken >> (8 * byte)) as u8);
            let counts = Passed { bytes: (0..4).map(|byte| (count(byte), 0)).collect() };
            match results.first() {
                Some(Argument::Memory(offset)) => {
                    write_memory(context, &counts, context.fragment.frame.local_base + offset, 4)?;
                }
                Some(Argument::Register { slot, slots }) => write_register(context, &counts, slot.0, *slots)?,
                _ => {}
            }
            Ok(Flow::Next)
        }
        External::AssertFail => {
            let lane = context.mask.trailing_zeros() as usize;
            let text = |context: &Context<'_>, value: &[u64; 32]| {
                printf::read_string(context, lane, value[lane])
                    .map(|text| String::from_utf8_lossy(&text).into_owned())
            };
            let message = format!(
                "assertion `{}` failed in {} ({}:{}), lane {lane} of warp {}",
                text(context, &values[0])?,
                text(context, &values[3])?,
                text(context, &values[1])?,
                values[2][lane],
                context.warp.index
            );
            Err(Box::new(Fault::new(Rule::Trap, message)))
        }
    }
}
