//! Barriers, mbarriers, fences and collective instructions (PTX ISA 9.7.15, 9.7.10.6): decoding.
//!
//! Fences order memory between agents. A run on the CPU is sequentially consistent as it is; what fences establish is
//! for an observer that checks for races to see.

use super::barrier::{self, CtaBarrierInstruction, Reduce};
use super::collective::{self, Brought, Operation, Reduction, Shuffle};
use super::map_edit;
use super::mbarrier::{self, Arrive, Test};
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, Unsupported};
use crate::program::Flow;
use crate::race::scope::{Scope, Semantics};
use crate::race::{Actor, RaceDetector};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::operand::Operand;
use rorqual_ptx::table::ExecSync;
use rorqual_ptx::types::{Space, Type};

impl Decoder<'_> {
    fn operand<'i>(instruction: &'i Instruction, name: &str) -> Result<&'i Operand, Unsupported> {
        instruction.operand(name).ok_or_else(|| Unsupported::new(format!("operand `{name}` is missing")))
    }

    fn cta_barrier(&mut self, instruction: &Instruction, waits: bool, aligned: bool) -> Decoded {
        let id = self.source(Self::operand(instruction, "a")?, Type::U32)?;
        let threads = instruction.operand("b").map(|operand| self.source(operand, Type::U32)).transpose()?;
        let vote = instruction.operand("c").map(|operand| self.predicate(operand)).transpose()?;
        let decoded = CtaBarrierInstruction { id, threads, waits, aligned, vote };
        self.emit_with(Class::Barrier, move |context| decoded.run(context));
        if vote.is_some() {
            let to = Self::operand(instruction, "d")?;
            let reduce = if instruction.has(Modifier::Popc) {
                Reduce::Count(self.destination(to, Type::U32)?)
            } else {
                let index =
                    self.predicate_destination(to)?.ok_or_else(|| Unsupported::new("a discarded result"))?;
                if instruction.has(Modifier::And) { Reduce::And(index) } else { Reduce::Or(index) }
            };
            self.emit_with(Class::Barrier, move |context| barrier::write_reduction(context, reduce));
        }
        Ok(())
    }

    fn mbarrier_operand(&mut self, instruction: &Instruction) -> Result<mbarrier::Operand, Unsupported> {
        let address = self.address(Self::operand(instruction, "addr")?)?;
        // A 32-bit base can only be a window address, whatever the instruction says.
        let generic = instruction.space() == Space::Generic
            && address.wide
            && address.relative == crate::decode::Relative::Absolute;
        Ok(mbarrier::Operand { address, generic })
    }

    fn arrive(&mut self, instruction: &Instruction, drop: bool) -> Decoded {
        let operand = self.mbarrier_operand(instruction)?;
        let mut word =
            |name| instruction.operand(name).map(|operand| self.source(operand, Type::U32)).transpose();
        let (count, expect) = (word("count")?, word("bytes")?);
        let state = match Self::operand(instruction, "state")? {
            Operand::Sink => None,
            register => Some(self.destination(register, Type::B64)?),
        };
        let no_complete = instruction.has(Modifier::NoComplete);
        let semantics = Semantics::of(instruction, RELEASE_CTA);
        let arrive = Arrive { operand, count, expect, drop, no_complete, state, semantics };
        self.emit_with(Class::Barrier, move |context| arrive.run(context));
        Ok(())
    }

    fn mbarrier_wait(&mut self, instruction: &Instruction, may_wait: bool) -> Decoded {
        if matches!(instruction.operand("done"), Some(Operand::Pair(_)))
            || instruction.operand("value").is_some()
        {
            return Err(Unsupported::new("mbarrier reports"));
        }
        let operand = self.mbarrier_operand(instruction)?;
        let parity = instruction.has(Modifier::Parity);
        let phase = if parity {
            self.source(Self::operand(instruction, "parity")?, Type::U32)?
        } else {
            self.source(Self::operand(instruction, "state")?, Type::B64)?
        };
        let done = self.predicate_destination(Self::operand(instruction, "done")?)?;
        let done = done.ok_or_else(|| Unsupported::new("a discarded answer"))?;
        let semantics = Semantics::of(instruction, ACQUIRE_CTA);
        let test = Test { operand, phase, parity, may_wait, done, semantics };
        self.emit_with(Class::Barrier, move |context| test.run(context));
        Ok(())
    }

    /// A collective instruction; `d` and `p` name the destinations.
    fn collective(
        &mut self,
        instruction: &Instruction,
        operation: Operation,
        value: Brought,
        d: Option<&Operand>,
    ) -> Decoded {
        let mask = self.source(Self::operand(instruction, "mask")?, Type::B32)?;
        let steering = match operation {
            Operation::Shuffle(_) => {
                let b = self.source(Self::operand(instruction, "b")?, Type::B32)?;
                Some([b, self.source(Self::operand(instruction, "c")?, Type::B32)?])
            }
            _ => None,
        };
        let predicate_only =
            matches!(operation, Operation::VoteAll | Operation::VoteAny | Operation::VoteUniform);
        let (result, predicate) = match d {
            None | Some(Operand::Sink) => (None, None),
            Some(operand) if predicate_only => (None, self.predicate_destination(operand)?),
            Some(Operand::Pair(pair)) => {
                let result = match &pair[0] {
                    Operand::Sink => None,
                    register => Some(self.destination(register, Type::B32)?),
                };
                (result, self.predicate_destination(&pair[1])?)
            }
            Some(operand) => (Some(self.destination(operand, Type::B32)?), None),
        };
        let decoded = collective::Instruction { operation, value, steering, mask, result, predicate };
        self.emit_with(Class::Warp, move |context| decoded.run(context));
        Ok(())
    }

    /// An instruction that only race detection is told of.
    fn fence_like(&mut self, tell: impl Fn(&mut RaceDetector, &Actor) + Send + Sync + 'static) -> Decoded {
        self.emit_with(Class::Barrier, move |context| {
            if let Some((race, actor)) = context.race(context.mask) {
                tell(race, &actor);
            }
            Ok(Flow::Next)
        });
        Ok(())
    }

    /// `fence`, and `membar`, which is `fence.sc` (PTX ISA 9.7.14.5).
    fn memory_fence(&mut self, instruction: &Instruction, is_sequential: bool) -> Decoded {
        let default = Semantics { strong: Some(Scope::Cta), acquire: true, release: true };
        let semantics = Semantics::of(instruction, default);
        self.emit_with(Class::Barrier, move |context| {
            if let Some((race, actor)) = context.race(context.mask) {
                race.fence(&actor, semantics);
                if is_sequential && let Some(history) = &mut context.world.history {
                    history.fence(&actor);
                }
            }
            Ok(Flow::Next)
        });
        Ok(())
    }
}

/// An arrival at an mbarrier that says nothing else.
const RELEASE_CTA: Semantics = Semantics { strong: Some(Scope::Cta), acquire: false, release: true };
/// A wait at an mbarrier that says nothing else.
const ACQUIRE_CTA: Semantics = Semantics { strong: Some(Scope::Cta), acquire: true, release: false };

impl ExecSync for Decoder<'_> {
    type Output = Decoded;

    fn bar_sync(&mut self, instruction: &Instruction) -> Decoded {
        self.cta_barrier(instruction, true, true)
    }

    fn bar_arrive(&mut self, instruction: &Instruction) -> Decoded {
        self.cta_barrier(instruction, false, true)
    }

    fn bar_red(&mut self, instruction: &Instruction) -> Decoded {
        self.cta_barrier(instruction, true, true)
    }

    fn barrier_sync(&mut self, instruction: &Instruction) -> Decoded {
        self.cta_barrier(instruction, true, instruction.has(Modifier::Aligned))
    }

    fn barrier_arrive(&mut self, instruction: &Instruction) -> Decoded {
        self.cta_barrier(instruction, false, instruction.has(Modifier::Aligned))
    }

    fn barrier_red(&mut self, instruction: &Instruction) -> Decoded {
        self.cta_barrier(instruction, true, instruction.has(Modifier::Aligned))
    }

    fn bar_warp_sync(&mut self, instruction: &Instruction) -> Decoded {
        self.collective(instruction, Operation::Meet, Brought::Nothing, None)
    }

    fn barrier_cluster_arrive(&mut self, instruction: &Instruction) -> Decoded {
        let (aligned, releases) = (instruction.has(Modifier::Aligned), !instruction.has(Modifier::Relaxed));
        self.emit_with(Class::Barrier, move |context| barrier::cluster_arrive(context, aligned, releases));
        Ok(())
    }

    fn barrier_cluster_wait(&mut self, instruction: &Instruction) -> Decoded {
        let aligned = instruction.has(Modifier::Aligned);
        self.emit_with(Class::Barrier, move |context| barrier::cluster_wait(context, aligned));
        Ok(())
    }

    fn membar(&mut self, instruction: &Instruction) -> Decoded {
        self.memory_fence(instruction, true)
    }

    fn fence(&mut self, instruction: &Instruction) -> Decoded {
        self.memory_fence(instruction, instruction.has(Modifier::Sc))
    }

    fn fence_mbarrier_init(&mut self, _: &Instruction) -> Decoded {
        self.fence_like(RaceDetector::fence_inits)
    }

    fn fence_proxy_alias(&mut self, _: &Instruction) -> Decoded {
        // Every allocation has one address here.
        self.fence_like(|_, _| {})
    }

    fn fence_proxy_async(&mut self, instruction: &Instruction) -> Decoded {
        let global = instruction.has(Modifier::Global);
        let shared = instruction.has(Modifier::SharedCta) || instruction.has(Modifier::SharedCluster);
        let spaces = if global || shared { [shared, global] } else { [true; 2] };
        self.fence_like(move |race, actor| race.fence_proxy(actor, spaces))
    }

    fn fence_proxy_async_generic(&mut self, _: &Instruction) -> Decoded {
        self.fence_like(|race, actor| race.fence_proxy(actor, [true, false]))
    }

    fn fence_proxy_tensormap(&mut self, instruction: &Instruction) -> Decoded {
        if !instruction.has(Modifier::Acquire) {
            let semantics = Semantics::of(instruction, Semantics::WEAK);
            return self.fence_like(move |race, actor| race.fence(actor, semantics));
        }
        let address = self.named_address(instruction, "addr")?;
        self.emit_with(Class::Barrier, move |context| map_edit::acquire_map(context, address));
        Ok(())
    }

    fn vote_sync(&mut self, instruction: &Instruction) -> Decoded {
        let operation = if instruction.has(Modifier::Ballot) {
            Operation::Ballot
        } else if instruction.has(Modifier::All) {
            Operation::VoteAll
        } else if instruction.has(Modifier::Any) {
            Operation::VoteAny
        } else {
            Operation::VoteUniform
        };
        let value = Brought::Predicate(self.predicate(Self::operand(instruction, "a")?)?);
        self.collective(instruction, operation, value, instruction.operand("d"))
    }

    fn match_sync(&mut self, instruction: &Instruction) -> Decoded {
        let operation =
            if instruction.has(Modifier::All) { Operation::MatchAll } else { Operation::MatchAny };
        let operand = Self::operand(instruction, "a")?;
        let value = if instruction.types().any(|ty| ty == Type::B64) {
            Brought::Wide(self.source(operand, Type::B64)?)
        } else {
            Brought::Word(self.source(operand, Type::B32)?)
        };
        self.collective(instruction, operation, value, instruction.operand("d"))
    }

    fn activemask(&mut self, instruction: &Instruction) -> Decoded {
        let to = self.destination(Self::operand(instruction, "d")?, Type::B32)?;
        self.emit_with(Class::Warp, move |context| {
            let mask = context.mask;
            context.write_u32(to, &[mask; 32], 0)?;
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn redux_sync(&mut self, instruction: &Instruction) -> Decoded {
        let ty = instruction.ty().unwrap_or(Type::B32);
        let chosen = [
            (Modifier::Add, Type::U32, Reduction::Add),
            (Modifier::Add, Type::S32, Reduction::Add),
            (Modifier::Min, Type::U32, Reduction::MinUnsigned),
            (Modifier::Max, Type::U32, Reduction::MaxUnsigned),
            (Modifier::Min, Type::S32, Reduction::MinSigned),
            (Modifier::Max, Type::S32, Reduction::MaxSigned),
            (Modifier::And, Type::B32, Reduction::And),
            (Modifier::Or, Type::B32, Reduction::Or),
            (Modifier::Xor, Type::B32, Reduction::Xor),
        ];
        let found = chosen.into_iter().find(|(op, of, _)| instruction.has(*op) && ty == *of);
        let (_, _, reduction) = found.ok_or_else(|| Unsupported::new(format!("a reduction of {ty}")))?;
        let value = Brought::Word(self.source(Self::operand(instruction, "a")?, ty)?);
        self.collective(instruction, Operation::Reduce(reduction), value, instruction.operand("d"))
    }

    fn shfl_sync(&mut self, instruction: &Instruction) -> Decoded {
        let shuffle = if instruction.has(Modifier::Up) {
            Shuffle::Up
        } else if instruction.has(Modifier::Down) {
            Shuffle::Down
        } else if instruction.has(Modifier::Bfly) {
            Shuffle::Butterfly
        } else {
            Shuffle::Index
        };
        let value = Brought::Word(self.source(Self::operand(instruction, "a")?, Type::B32)?);
        self.collective(instruction, Operation::Shuffle(shuffle), value, instruction.operand("d"))
    }

    fn elect_sync(&mut self, instruction: &Instruction) -> Decoded {
        self.collective(instruction, Operation::Elect, Brought::Nothing, instruction.operand("d"))
    }

    fn mbarrier_init(&mut self, instruction: &Instruction) -> Decoded {
        let operand = self.mbarrier_operand(instruction)?;
        let count = self.source(Self::operand(instruction, "count")?, Type::U32)?;
        self.emit_with(Class::Barrier, move |context| mbarrier::init(context, operand, count));
        Ok(())
    }

    fn mbarrier_inval(&mut self, instruction: &Instruction) -> Decoded {
        let operand = self.mbarrier_operand(instruction)?;
        self.emit_with(Class::Barrier, move |context| mbarrier::inval(context, operand));
        Ok(())
    }

    fn mbarrier_expect_tx(&mut self, instruction: &Instruction) -> Decoded {
        let operand = self.mbarrier_operand(instruction)?;
        let bytes = self.source(Self::operand(instruction, "bytes")?, Type::U32)?;
        self.emit_with(Class::Barrier, move |context| mbarrier::transactions(context, operand, bytes, false));
        Ok(())
    }

    fn mbarrier_complete_tx(&mut self, instruction: &Instruction) -> Decoded {
        let operand = self.mbarrier_operand(instruction)?;
        let bytes = self.source(Self::operand(instruction, "bytes")?, Type::U32)?;
        self.emit_with(Class::Barrier, move |context| mbarrier::transactions(context, operand, bytes, true));
        Ok(())
    }

    fn mbarrier_arrive(&mut self, instruction: &Instruction) -> Decoded {
        self.arrive(instruction, false)
    }

    fn mbarrier_arrive_drop(&mut self, instruction: &Instruction) -> Decoded {
        self.arrive(instruction, true)
    }

    fn cp_async_mbarrier_arrive(&mut self, instruction: &Instruction) -> Decoded {
        let operand = self.mbarrier_operand(instruction)?;
        let counts_itself = !instruction.has(Modifier::Noinc);
        self.emit_with(Class::AsyncCopy, move |context| {
            super::async_copy::arrive_after_copies(context, operand, counts_itself)
        });
        Ok(())
    }

    fn mbarrier_test_wait(&mut self, instruction: &Instruction) -> Decoded {
        self.mbarrier_wait(instruction, false)
    }

    fn mbarrier_try_wait(&mut self, instruction: &Instruction) -> Decoded {
        self.mbarrier_wait(instruction, true)
    }

    fn mbarrier_pending_count(&mut self, instruction: &Instruction) -> Decoded {
        let to = self.destination(Self::operand(instruction, "count")?, Type::U32)?;
        let state = self.source(Self::operand(instruction, "state")?, Type::B64)?;
        self.emit_with(Class::Barrier, move |context| mbarrier::pending_count(context, to, state));
        Ok(())
    }

    fn mbarrier_check_layout(&mut self, _: &Instruction) -> Decoded {
        Err(Unsupported::new("mbarrier layouts"))
    }

    fn clusterlaunchcontrol_try_cancel(&mut self, _: &Instruction) -> Decoded {
        Err(Unsupported::new("cluster launch control"))
    }

    fn clusterlaunchcontrol_query_cancel(&mut self, _: &Instruction) -> Decoded {
        Err(Unsupported::new("cluster launch control"))
    }
}
