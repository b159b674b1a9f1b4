//! Branches, calls, exit, and what else steers a kernel (PTX ISA 9.7.12, 9.7.19).

use super::call::{self, Argument, Callee};
use crate::barrier::CtaWarps;
use crate::context::Context;
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, Unsupported};
use crate::program::{Flow, MicroOp, Step};
use crate::registers::{Destination, Source};
use crate::report::{Fault, Rule};
use crate::warp::{Fragment, SpinWatch, Wait};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::module::Statement;
use rorqual_ptx::operand::{Immediate, Operand, Symbol};
use rorqual_ptx::table::ExecControl;
use rorqual_ptx::types::Type;

/// Splits off the lanes of the fragment that do not take part; they go on so many micro-operations further.
pub fn split_off_rest(context: &mut Context<'_>, distance: u32) {
    let rest = context.fragment.lanes & !context.mask;
    if rest != 0 {
        let other = Fragment {
            lanes: rest,
            pc: context.fragment.pc + distance,
            wait: Wait::Ready,
            callers: context.fragment.callers.clone(),
            spin: SpinWatch::default(),
            ..context.fragment
        };
        context.warp.fragments.push(other);
        context.fragment.lanes = context.mask;
    }
}

/// Jumps to the micro-operation of the immediate.
pub fn run_jump(context: &mut Context<'_>, op: &MicroOp) -> Step {
    split_off_rest(context, 1);
    Ok(go_to(context, op.immediate as u32))
}

/// Jumps to a micro-operation.
pub fn go_to(context: &mut Context<'_>, target: u32) -> Flow {
    let backward = target <= context.fragment.pc;
    context.fragment.pc = target;
    if backward { Flow::Looped } else { Flow::Jumped }
}

/// `brx.idx`: a jump each follows for the entries of the table.
fn run_indexed_jump(context: &mut Context<'_>, op: &MicroOp) -> Step {
    context.require_defined(op.a, "the index of brx.idx")?;
    let (count, indices) = (op.immediate as u32, *context.u32(op.a));
    if let Some(lane) = context.active().find(|&lane| indices[lane] >= count) {
        return Err(Box::new(Fault::new(
            Rule::Operand,
            format!("brx.idx with index {} in lane {lane}, the table has {count} targets", indices[lane]),
        )));
    }
    split_off_rest(context, count + 1);
    let first = context.mask.trailing_zeros() as usize;
    let together =
        context.active().filter(|&lane| indices[lane] == indices[first]).fold(0, |set, lane| set | 1 << lane);
    // Lanes with another index run the jump again, by themselves.
    context.mask = together;
    split_off_rest(context, 0);
    context.fragment.pc += 1 + indices[first];
    Ok(Flow::Jumped)
}

/// Lanes exit: barriers that wait for all threads of the CTA or cluster may be complete by that.
///
/// # Errors
///
/// If the warp ends, and a `cp.async` that it has not waited for is wrong; if the CTA ends, and another one may still access
/// its shared memory.
pub fn exit_lanes(context: &mut Context<'_>, lanes: u32) -> Result<(), Box<Fault>> {
    if context.warp.alive() & !lanes == 0 {
        super::async_copy::finish_copies(context)?;
    }
    let warp = &mut *context.warp;
    warp.exited |= lanes;
    context.fragment.lanes &= !lanes;
    let threads = lanes.count_ones();
    let cta = &mut context.cluster.ctas[warp.cta];
    cta.threads_left -= threads;
    if warp.alive() == 0 {
        cta.live_warps &= !(1 << warp.index);
        let warps =
            CtaWarps { threads: context.grid.thread_count().next_multiple_of(32), live: cta.live_warps };
        for barrier in &mut cta.barriers {
            barrier.release_exited(warps);
        }
    }
    // A thread that arrived and exits without waiting has been counted; it must not count twice.
    let barrier = &mut context.cluster.barrier;
    let waited_for = |lane: &usize| {
        (warp.cluster_arrived & lanes) >> lane & 1 == 1 && warp.cluster_phases[*lane] == barrier.phase
    };
    let arrived = (0..32).filter(waited_for).count() as u32;
    barrier.arrived -= arrived.min(barrier.arrived);
    context.cluster.complete_cluster_barrier();
    context.cluster.changed();
    end_cta(context, lanes)
}

/// If these lanes were the last of their CTA, its shared memory is gone.
fn end_cta(context: &mut Context<'_>, lanes: u32) -> Result<(), Box<Fault>> {
    if context.cluster.ctas[context.warp.cta].threads_left > 0 {
        return Ok(());
    }
    let first = (context.warp_number - context.warp.index) as u32;
    let warps = first..first + context.grid.thread_count().div_ceil(32);
    match context.race(lanes) {
        Some((race, actor)) => race.end_cta(&actor, warps),
        None => Ok(()),
    }
}

/// `exit`, and `ret` from a kernel.
pub fn run_exit(context: &mut Context<'_>, _: &MicroOp) -> Step {
    let lanes = context.mask;
    exit_lanes(context, lanes)?;
    Ok(Flow::Exited)
}

/// `setmaxnreg`: the CTA's pool gives and takes registers (PTX ISA 9.7.21.5).
fn set_max_registers(context: &mut Context<'_>, registers: u32, increase: bool) -> Step {
    if let Some(flow) = context.whole_warp("setmaxnreg")? {
        return Ok(flow);
    }
    agree_on_registers(context, registers, increase)?;
    let has = context.warp.register_limit;
    let pool = &mut context.cluster.ctas[context.warp.cta].free_registers;
    if increase == (registers < has) && registers != has {
        let (name, bound) = if increase { ("inc", "at least") } else { ("dec", "at most") };
        return Err(Box::new(Fault::new(
            Rule::RegisterPool,
            format!(
                "setmaxnreg.{name} to {registers} registers by a warp that has {has}: expected {bound} that"
            ),
        )));
    }
    if increase {
        let more = (registers - has) * 32;
        if more > *pool {
            return Ok(context.wait(Wait::RegisterPool { registers }));
        }
        *pool -= more;
    } else {
        *pool += (has - registers) * 32;
    }
    context.warp.register_limit = registers;
    let group = &mut context.cluster.ctas[context.warp.cta].warpgroups[context.warp.index / 4];
    group.register_changes_made[context.warp.index % 4] += 1;
    context.cluster.changed();
    Ok(Flow::Next)
}

/// All warps of a warpgroup execute the same `setmaxnreg`.
fn agree_on_registers(context: &mut Context<'_>, registers: u32, increase: bool) -> Result<(), Box<Fault>> {
    let (warp, line) = (context.warp.index, context.line);
    let group = &mut context.cluster.ctas[context.warp.cta].warpgroups[warp / 4];
    let made = group.register_changes_made[warp % 4];
    let Some(&(others, others_increase, other_line)) = group.register_changes.get(made) else {
        group.register_changes.push((registers, increase, line));
        return Ok(());
    };
    if (registers, increase) == (others, others_increase) {
        return Ok(());
    }
    let name = |increase| if increase { "inc" } else { "dec" };
    Err(Box::new(
        Fault::new(
            Rule::RegisterPool,
            format!(
                "warp {warp} executes setmaxnreg.{} to {registers} registers where another warp of its warpgroup \
                 executed setmaxnreg.{} to {others}: all four warps must execute the same",
                name(increase),
                name(others_increase)
            ),
        )
        .with_other(other_line),
    ))
}

impl Decoder<'_> {
    fn plain(&mut self, run: crate::program::Run) {
        self.emit(Class::Control, run, Destination::default(), [Source::default(); 3], 0);
    }

    /// A return from a function, or the exit of a kernel.
    pub fn emit_return(&mut self, is_kernel: bool) {
        self.plain(if is_kernel { run_exit } else { call::run_return });
    }

    fn call_arguments(
        &mut self,
        operand: Option<&Operand>,
        results: bool,
    ) -> Result<Vec<Argument>, Unsupported> {
        let Some(Operand::Arguments(arguments)) = operand else { return Ok(Vec::new()) };
        let mut decoded = Vec::new();
        for argument in arguments {
            decoded.push(match argument {
                Operand::Symbol(symbol @ Symbol::Local(_), 0) => match self.place(*symbol)? {
                    crate::decode::Place::Frame(offset) => Argument::Memory(offset),
                    _ => return Err(Unsupported::new("a call argument that is no parameter of the call")),
                },
                Operand::Register(register) => {
                    let ty = self.function.registers[register.0 as usize].ty;
                    let slots = crate::liveness::slots_of(ty, 1) as u8;
                    Argument::Register { slot: Source(self.slot(*register)), slots }
                }
                Operand::Immediate(_) if !results => {
                    Argument::Literal([self.source(argument, Type::U32)?, self.source(argument, Type::U64)?])
                }
                other => return Err(Unsupported::new(format!("{other:?} as a call argument"))),
            });
        }
        Ok(decoded)
    }
}

impl ExecControl for Decoder<'_> {
    type Output = Decoded;

    fn bra(&mut self, instruction: &Instruction) -> Decoded {
        let Some(Operand::Label(label)) = instruction.operand("target") else {
            return Err(Unsupported::new("a branch without a label"));
        };
        self.emit_to(Class::Control, run_jump, *label);
        Ok(())
    }

    fn brx_idx(&mut self, instruction: &Instruction) -> Decoded {
        let (Some(index), Some(Operand::Label(table))) =
            (instruction.operand("index"), instruction.operand("targets"))
        else {
            return Err(Unsupported::new("brx.idx without a table"));
        };
        let index = self.source(index, Type::U32)?;
        let function = self.function;
        let targets = function.body.iter().flatten().find_map(|statement| match statement {
            Statement::BranchTargets(name, targets) if name == table => Some(targets),
            _ => None,
        });
        let targets = targets.ok_or_else(|| Unsupported::new("brx.idx without a table"))?;
        self.emit(Class::Control, run_indexed_jump, Destination::default(), [index; 3], targets.len() as u64);
        self.without_guard(|decoder| {
            targets.iter().for_each(|target| decoder.emit_to(Class::Control, run_jump, *target));
        });
        Ok(())
    }

    fn call(&mut self, instruction: &Instruction) -> Decoded {
        let results = self.call_arguments(instruction.operand("results"), true)?;
        let arguments = self.call_arguments(instruction.operand("parameters"), false)?;
        let callee = match instruction.operand("f") {
            Some(Operand::Symbol(Symbol::Function(index), _)) => {
                let function = &self.module.functions[*index as usize];
                if function.body.is_some() {
                    Callee::Function(*index as usize)
                } else {
                    Callee::External(call::External::named(&function.name)?)
                }
            }
            Some(operand @ Operand::Register(_)) => Callee::Pointer(self.source(operand, Type::U64)?),
            other => return Err(Unsupported::new(format!("a call of {other:?}"))),
        };
        let (enter_results, leave_results) = (results.clone(), results);
        self.emit_with(Class::Control, move |context| {
            call::enter(context, callee, &arguments, &enter_results)
        });
        if !matches!(callee, Callee::External(_)) {
            self.without_guard(|decoder| {
                decoder
                    .emit_with(Class::Control, move |context| call::leave(context, callee, &leave_results));
            });
        }
        Ok(())
    }

    fn ret(&mut self, _: &Instruction) -> Decoded {
        self.emit_return(self.function.is_kernel);
        Ok(())
    }

    fn exit(&mut self, _: &Instruction) -> Decoded {
        self.plain(run_exit);
        Ok(())
    }

    fn griddepcontrol(&mut self, _: &Instruction) -> Decoded {
        // Launches run in order: those before are complete and visible, those after have not started.
        self.plain(|_, _| Ok(Flow::Next));
        Ok(())
    }

    fn brkpt(&mut self, _: &Instruction) -> Decoded {
        self.plain(|_, _| Err(Box::new(Fault::new(Rule::Trap, "the kernel executed brkpt"))));
        Ok(())
    }

    fn nanosleep(&mut self, instruction: &Instruction) -> Decoded {
        let time = instruction.operand("t").ok_or_else(|| Unsupported::new("nanosleep without a time"))?;
        let time = self.source(time, Type::U32)?;
        self.emit_with(Class::Control, move |context| {
            context.require_defined(time, "the time of nanosleep")?;
            let longest = context.active().map(|lane| context.u32(time)[lane]).max().unwrap_or(0);
            const MOST_NANOSECONDS: u64 = 1_000_000;
            let sleep = context.world.scheduler.sleep(longest).min(MOST_NANOSECONDS);
            Ok(context.wait_then_next(Wait::Until { time: context.world.time.saturating_add(sleep) }))
        });
        Ok(())
    }

    fn pmevent(&mut self, _: &Instruction) -> Decoded {
        self.plain(|_, _| Ok(Flow::Next));
        Ok(())
    }

    fn trap(&mut self, _: &Instruction) -> Decoded {
        self.plain(|context, _| {
            let who = crate::report::lanes(context.mask);
            let place = &context.cluster.ctas[context.warp.cta];
            Err(Box::new(Fault::new(
                Rule::Trap,
                format!("{who} of warp {} of CTA {:?} executed trap", context.warp.index, place.index),
            )))
        });
        Ok(())
    }

    fn setmaxnreg(&mut self, instruction: &Instruction) -> Decoded {
        let Some(Operand::Immediate(Immediate::Integer { value, .. })) = instruction.operands.first() else {
            return Err(Unsupported::new("setmaxnreg without a count"));
        };
        let (registers, increase) = (*value as u32, instruction.has(Modifier::Inc));
        self.emit_with(Class::Control, move |context| set_max_registers(context, registers, increase));
        Ok(())
    }
}
