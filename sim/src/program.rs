//! A decoded module: every function as a run of micro-operations over register slots and constants.

use crate::context::Context;
use crate::counters::Class;
use crate::registers::{Destination, Slot, Source};
use crate::report::Fault;
use std::collections::HashMap;

/// What a micro-operation did to the fragment that ran it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the next one.
    Next,
    /// The fragment's program counter was set to a later micro-operation.
    Jumped,
    /// The fragment's program counter was set to an earlier micro-operation, or this one.
    Looped,
    /// The fragment waits; the same micro-operation runs again when it is woken.
    Blocked,
    /// The fragment waits; the next micro-operation runs when it is woken.
    BlockedAfter,
    /// The lanes have exited.
    Exited,
}

/// What running a micro-operation gives.
pub type Step = Result<Flow, Box<Fault>>;

/// The code of a micro-operation. `context.mask` holds the lanes that take part.
pub type Run = fn(&mut Context<'_>, &MicroOp) -> Step;

/// The code of a micro-operation that carries more than slots.
pub type Closure = Box<dyn Fn(&mut Context<'_>) -> Step + Send + Sync>;

/// The guard of a micro-operation: a predicate slot and its sense, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard(u16);

impl Guard {
    /// Always runs.
    pub const NONE: Self = Self(u16::MAX);
    const NEGATED: u16 = 0x8000;

    /// Runs where the predicate is true, or false if negated.
    #[must_use]
    pub const fn new(predicate: u16, negated: bool) -> Self {
        Self(predicate | if negated { Self::NEGATED } else { 0 })
    }

    /// The predicate slot and whether the sense is negated.
    #[inline]
    #[must_use]
    pub const fn predicate(self) -> Option<(usize, bool)> {
        if self.0 == u16::MAX {
            None
        } else {
            Some(((self.0 & !Self::NEGATED) as usize, self.0 & Self::NEGATED != 0))
        }
    }
}

/// One micro-operation.
#[derive(Clone, Copy)]
pub struct MicroOp {
    /// Its code.
    pub run: Run,
    /// Written operand; a predicate slot where the code says so.
    pub d: Destination,
    /// First operand read.
    pub a: Source,
    /// Second operand read.
    pub b: Source,
    /// Third operand read.
    pub c: Source,
    /// The guard.
    pub guard: Guard,
    /// What it counts as.
    pub class: Class,
    /// Whatever else the code needs: an immediate, a target, the number of a closure.
    pub immediate: u64,
    /// The PTX line.
    pub line: u32,
}

/// A function of the program.
#[derive(Debug, Clone)]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// First micro-operation.
    pub entry: u32,
    /// One past the last.
    pub end: u32,
    /// Register slots of a frame.
    pub slots: usize,
    /// Predicate slots of a frame.
    pub predicates: usize,
    /// For a device function: where its frame lies among those of all device functions.
    pub frame_offset: usize,
    /// Bytes of local memory of a frame: `.local` variables, and parameters of calls.
    pub local_bytes: u32,
    /// Offset in the frame's local memory and bytes of each return parameter, then of each formal parameter.
    pub parameters: Vec<Parameter>,
    /// How many of `parameters` are returned.
    pub return_count: usize,
}

/// A parameter of a device function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// Bytes of the frame's local memory.
    Memory {
        /// Offset in the frame.
        offset: u32,
        /// Size.
        bytes: u32,
    },
    /// A register: its slot and width in slots.
    Register {
        /// First slot.
        slot: u16,
        /// 1, 2 or 4.
        slots: u8,
    },
}

/// A parameter of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelParameter {
    /// Its name.
    pub name: String,
    /// Offset in the parameter space.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
    /// Alignment in bytes.
    pub alignment: u32,
}

/// What a launch must know of a kernel.
#[derive(Debug, Clone)]
pub struct KernelInfo {
    /// Number of its function.
    pub function: usize,
    /// Parameters in order.
    pub parameters: Vec<KernelParameter>,
    /// Bytes of the parameter space.
    pub parameter_bytes: u32,
    /// Bytes of static shared memory, the reserved part excluded.
    pub static_shared_bytes: u32,
    /// Alignment of the dynamic shared memory.
    pub dynamic_shared_alignment: u32,
    /// `.maxntid`, as extents.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`
    pub required_threads: Option<[u32; 3]>,
    /// `.reqnctapercluster`
    pub required_cluster: Option<[u32; 3]>,
    /// `.maxclusterrank`
    pub max_cluster_rank: Option<u32>,
    /// `.explicitcluster`
    pub explicit_cluster: bool,
    /// `.maxnreg`
    pub max_registers: Option<u32>,
    /// `.minnctapersm`
    pub min_ctas_per_multiprocessor: Option<u32>,
    /// Why CTAs must be interleaved on one thread, if they must: the PTX line that makes them depend on each other.
    pub interleave: Option<u32>,
    /// Most 32-bit registers live at once.
    pub max_live_registers: usize,
}

/// A decoded module.
pub struct Program {
    /// All functions, one after the other.
    pub code: Vec<MicroOp>,
    /// Code of micro-operations that carry more than slots.
    pub closures: Vec<Closure>,
    /// Constant operands, one slot each (64-bit ones two).
    pub constants: Vec<Slot>,
    /// Functions by number.
    pub functions: Vec<FunctionInfo>,
    /// Register slots of one frame of every device function.
    pub device_slots: usize,
    /// Kernels by name.
    pub kernels: HashMap<String, KernelInfo>,
    /// Source file and line of each PTX line that has one, sorted by PTX line.
    pub source_lines: Vec<(u32, u32, u32)>,
    /// Source files by number.
    pub source_files: HashMap<u32, String>,
    /// PTX line of every instruction that the simulator lacks, and what it lacks. Such an instruction is a fault only
    /// where it is executed.
    pub unsupported: Vec<(u32, String)>,
}

impl Program {
    /// The source file and line that a PTX line came from.
    #[must_use]
    pub fn source(&self, line: u32) -> Option<(String, u32)> {
        let at = self.source_lines.partition_point(|entry| entry.0 <= line);
        let (_, file, source_line) = *self.source_lines.get(at.checked_sub(1)?)?;
        Some((self.source_files.get(&file)?.clone(), source_line))
    }

    /// The function that a micro-operation belongs to.
    #[must_use]
    pub fn function_at(&self, pc: u32) -> &FunctionInfo {
        self.functions
            .iter()
            .find(|function| (function.entry..function.end).contains(&pc))
            .expect("every micro-operation is of a function")
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("functions", &self.functions).field("code", &self.code.len()).finish()
    }
}
