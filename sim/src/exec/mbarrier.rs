//! mbarriers (PTX ISA 9.7.15.16): the state machine is in [`barrier`](crate::barrier), here is how threads reach it.
//!
//! An mbarrier's eight bytes hold a mark and are undefined for loads; a mark that has changed tells that something
//! else was written over the object.

use crate::barrier::{MBARRIER_MAX, Mbarrier};
use crate::context::{Context, mix};
use crate::decode::AddressSource;
use crate::memory::{Window, classify};
use crate::program::{Flow, Step};
use crate::race::scope::Semantics;
use crate::registers::{Destination, Source};
use crate::report::{Fault, Rule};
use crate::warp::Wait;

/// An address operand of an mbarrier instruction: in a shared window, or generic.
#[derive(Debug, Clone, Copy)]
pub struct Operand {
    /// The address.
    pub address: AddressSource,
    /// Whether it is generic.
    pub generic: bool,
}

impl Operand {
    /// Shared address of each active lane.
    ///
    /// # Errors
    ///
    /// If it is undefined or not in shared memory.
    pub fn read(&self, context: &Context<'_>) -> Result<[u32; 32], Box<Fault>> {
        if !self.generic {
            return self.address.read_u32(context);
        }
        let addresses = self.address.read(context)?;
        let mut shared = [0; 32];
        for lane in context.active() {
            match classify(addresses[lane]) {
                Window::Shared(address) => shared[lane] = address,
                _ => {
                    return Err(Box::new(Fault::new(
                        Rule::Mbarrier,
                        format!(
                            "mbarrier at generic address {:#x}, which is not in shared memory",
                            addresses[lane]
                        ),
                    )));
                }
            }
        }
        Ok(shared)
    }
}

/// The mark in the bytes of an mbarrier.
fn mark(address: u32) -> u64 {
    mix(u64::from(address) ^ 0x6d62_6172_7269_6572)
}

fn is_marked(context: &Context<'_>, address: u32) -> bool {
    let cta = &context.cluster.ctas[crate::cluster::rank_of(address)];
    cta.shared.load(address, 8).is_ok_and(|loaded| loaded.low() == mark(address))
}

/// The mbarrier, after a check that nothing was written over it.
fn intact<'a>(context: &'a mut Context<'_>, address: u32) -> Result<&'a mut Mbarrier, Box<Fault>> {
    let line = context.cluster.mbarrier(address)?.line;
    if !is_marked(context, address) {
        return Err(Box::new(
            Fault::new(
                Rule::Mbarrier,
                format!(
                    "the mbarrier at {} was overwritten by something else",
                    crate::cluster::shared_name(address)
                ),
            )
            .with_other(line),
        ));
    }
    context.cluster.mbarrier(address)
}

fn own_cta(context: &Context<'_>, address: u32, what: &str) -> Result<(), Box<Fault>> {
    let rank = crate::cluster::rank_of(address);
    if rank == context.warp.cta {
        return Ok(());
    }
    Err(Box::new(Fault::new(
        Rule::Mbarrier,
        format!(
            "{what} on an mbarrier of CTA rank {rank} by a thread of rank {}: only its own CTA may",
            context.warp.cta
        ),
    )))
}

/// `mbarrier.init`
///
/// # Errors
///
/// If the count or address is wrong, or an mbarrier that was not invalidated is there.
pub fn init(context: &mut Context<'_>, operand: Operand, count: Source) -> Step {
    context.require_defined(count, "the count of mbarrier.init")?;
    let (addresses, counts, line) = (operand.read(context)?, *context.u32(count), context.line);
    for lane in context.active() {
        let address = addresses[lane];
        own_cta(context, address, "mbarrier.init")?;
        let taken = context.cluster.cta_of(address)?.mbarriers.get(&address);
        let taken = taken.map(|barrier| (barrier.line, barrier.in_flight > 0));
        if let Some((other, _)) = taken.filter(|(_, in_flight)| *in_flight || is_marked(context, address)) {
            return Err(Box::new(
                Fault::new(
                    Rule::Mbarrier,
                    format!(
                        "mbarrier.init over the mbarrier at {}, which was not invalidated",
                        crate::cluster::shared_name(address)
                    ),
                )
                .with_other(other),
            ));
        }
        let barrier = Mbarrier::new(counts[lane], line)?;
        if address % 8 != 0 {
            return Err(Box::new(Fault::new(
                Rule::Alignment,
                format!("mbarrier.init at shared address {address:#x}, expected a multiple of 8"),
            )));
        }
        let cta = context.cluster.cta_of(address)?;
        cta.shared
            .store(address, 8, u128::from(mark(address)), 0)
            .map_err(|error| Fault::new(Rule::Bounds, error.to_string()))?;
        cta.mbarriers.insert(address, barrier);
        if let Some((race, actor)) = context.race(1 << lane) {
            race.init_mbarrier(&actor, address);
        }
        if let Some(mut trace) = context.trace() {
            trace.init_mbarrier(address);
        }
    }
    context.cluster.changed();
    Ok(Flow::Next)
}

/// `mbarrier.inval`
///
/// # Errors
///
/// If there is no mbarrier, or asynchronous operations are about to signal it.
pub fn inval(context: &mut Context<'_>, operand: Operand) -> Step {
    let addresses = operand.read(context)?;
    for lane in context.active() {
        let address = addresses[lane];
        own_cta(context, address, "mbarrier.inval")?;
        let barrier = intact(context, address)?;
        if barrier.in_flight > 0 || barrier.transactions != 0 {
            let (state, count) = (barrier.deficit(), barrier.in_flight);
            return Err(Box::new(Fault::new(
                Rule::Mbarrier,
                format!("mbarrier.inval with {count} asynchronous operations under way: {state}"),
            )));
        }
        context.cluster.cta_of(address)?.mbarriers.remove(&address);
    }
    context.cluster.changed();
    Ok(Flow::Next)
}

/// What an arrival does besides arriving.
#[derive(Debug, Clone, Copy)]
pub struct Arrive {
    /// The mbarrier.
    pub operand: Operand,
    /// Arrivals; one without.
    pub count: Option<Source>,
    /// Bytes of `.expect_tx`.
    pub expect: Option<Source>,
    /// `arrive_drop`
    pub drop: bool,
    /// `.noComplete`
    pub no_complete: bool,
    /// Where the state goes.
    pub state: Option<Destination>,
    /// Whether it releases, and to whom.
    pub semantics: Semantics,
}

impl Arrive {
    /// Arrives for each active lane.
    ///
    /// # Errors
    ///
    /// If the mbarrier is used against its rules.
    pub fn run(&self, context: &mut Context<'_>) -> Step {
        for source in self.count.iter().chain(&self.expect) {
            context.require_defined(*source, "the operand of an arrival")?;
        }
        let addresses = self.operand.read(context)?;
        let counts = self.count.map_or([1; 32], |count| *context.u32(count));
        let bytes = self.expect.map(|expect| *context.u32(expect));
        let line = context.line;
        let mut states = [0; 32];
        for lane in context.active() {
            let phase = intact(context, addresses[lane])?.phase;
            if let Some((race, actor)) = context.race(1 << lane) {
                race.use_mbarrier(&actor, addresses[lane])?;
                race.arrive_at_mbarrier(&actor, addresses[lane], phase, self.semantics);
            }
            if let Some(mut trace) = context.trace() {
                trace.arrive_at_mbarrier(addresses[lane], phase);
            }
            let barrier = context.cluster.mbarrier(addresses[lane])?;
            states[lane] = barrier.token();
            if let Some(bytes) = &bytes {
                barrier.expect_transactions(bytes[lane])?;
            }
            let completed = if self.drop {
                barrier.arrive_drop(counts[lane], line)?
            } else {
                barrier.arrive(counts[lane], line)?
            };
            if completed && self.no_complete {
                return Err(Box::new(Fault::new(
                    Rule::Mbarrier,
                    "an arrival with .noComplete completes the phase of the mbarrier",
                )));
            }
        }
        context.cluster.changed();
        if let Some(to) = self.state {
            context.write_u64(to, &states, 0)?;
        }
        Ok(Flow::Next)
    }
}

/// `mbarrier.expect_tx`, or `mbarrier.complete_tx` if `complete`.
///
/// # Errors
///
/// If there is no mbarrier or its count leaves the range.
pub fn transactions(context: &mut Context<'_>, operand: Operand, bytes: Source, complete: bool) -> Step {
    context.require_defined(bytes, "the byte count of an mbarrier")?;
    let (addresses, bytes) = (operand.read(context)?, *context.u32(bytes));
    for lane in context.active() {
        let phase = intact(context, addresses[lane])?.phase;
        if let Some((race, actor)) = context.race(1 << lane) {
            race.use_mbarrier(&actor, addresses[lane])?;
            race.count_bytes(&actor, addresses[lane], phase);
        }
        if complete && let Some(mut trace) = context.trace() {
            trace.arrive_at_mbarrier(addresses[lane], phase);
        }
        let barrier = context.cluster.mbarrier(addresses[lane])?;
        if complete {
            barrier.complete_transactions(bytes[lane])?;
        } else {
            barrier.expect_transactions(bytes[lane])?;
        }
    }
    context.cluster.changed();
    Ok(Flow::Next)
}

/// `mbarrier.test_wait` and `mbarrier.try_wait`, decoded.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// The mbarrier.
    pub operand: Operand,
    /// The state, or the parity if `parity`.
    pub phase: Source,
    /// Whether `phase` is a parity (32 bits) and not a state (64 bits).
    pub parity: bool,
    /// Whether it may wait.
    pub may_wait: bool,
    /// Where the answer goes.
    pub done: u16,
    /// Whether it acquires, and from whom.
    pub semantics: Semantics,
}

impl Test {
    /// Asks, and waits if it may and no lane's phase is complete.
    ///
    /// # Errors
    ///
    /// If the mbarrier is used against its rules.
    pub fn run(&self, context: &mut Context<'_>) -> Step {
        context.require_defined(self.phase, "the phase of an mbarrier wait")?;
        let addresses = self.operand.read(context)?;
        let mut done = 0;
        let mut awaited = None;
        for lane in context.active() {
            let address = addresses[lane];
            own_cta(context, address, "a wait")?;
            let (parity, token) = if self.parity {
                (context.u32(self.phase)[lane], 0)
            } else {
                (0, context.u64(self.phase)[lane])
            };
            intact(context, address)?;
            if let Some((race, actor)) = context.race(1 << lane) {
                race.use_mbarrier(&actor, address)?;
            }
            let barrier = context.cluster.mbarrier(address)?;
            let complete = if self.parity {
                // Only the low bit counts; compilers flip the others along with it.
                barrier.test_parity(parity & 1)
            } else {
                barrier.test_token(token)?
            };
            done |= u32::from(complete) << lane;
            let (phase, overtaken) = (barrier.phase, barrier.overtaken);
            awaited.get_or_insert((address, phase));
            if complete && let Some((race, actor)) = context.race(1 << lane) {
                race.pass_mbarrier(&actor, address, (phase, overtaken.unwrap_or(phase)), self.semantics);
            }
        }
        // The answer may come before the phase is complete: by the clock, and now and then by chance.
        let gives_up = std::mem::take(&mut context.fragment.timed_out)
            || self.may_wait && done == 0 && context.world.scheduler.gives_up();
        if done == 0 && self.may_wait && !gives_up {
            context.counters.mbarrier_waits_blocked += 1;
            let (address, phase) = awaited.expect("at least one lane is active");
            return Ok(context.wait(Wait::Mbarrier { address, phase }));
        }
        let pc = context.fragment.pc;
        if let Some((address, phase)) = awaited
            && let Some(mut trace) = context.trace()
        {
            trace.test_mbarrier(pc, address, (done != 0).then_some(phase));
        }
        if done == context.mask {
            context.counters.mbarrier_waits_met += 1;
        }
        context.write_predicate(self.done, done, 0);
        Ok(Flow::Next)
    }
}

/// `mbarrier.pending_count`
///
/// # Errors
///
/// If the destination belongs to a matrix product in flight.
pub fn pending_count(context: &mut Context<'_>, to: Destination, state: Source) -> Step {
    let undefined = context.taint(state)?;
    let counts = context.u64(state).map(|state| Mbarrier::pending_of(state).min(MBARRIER_MAX));
    context.write_u32(to, &counts, undefined)?;
    Ok(Flow::Next)
}
