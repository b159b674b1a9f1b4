//! Instructions by which the lanes of a mask meet: `bar.warp.sync`, shuffles, votes, matches, reductions, election,
//! and the warp's part of `barrier` (PTX ISA 9.7.10.6, 9.7.15).
//!
//! Lanes that come together compute at once. Otherwise each waits with its operands laid down, and the last to come
//! computes for all: the others find their results when they run again. They need not come to the same instruction,
//! only to the same operation with the same mask.

use crate::context::{Context, mix};
use crate::decode::PredicateSource;
use crate::program::{Flow, Step};
use crate::registers::{Destination, Source};
use crate::report::{Fault, Rule, lanes as name_lanes, verb};
use crate::warp::{Collective, Fragment, Wait};

/// How a shuffle finds its source lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shuffle {
    /// `.up`
    Up,
    /// `.down`
    Down,
    /// `.bfly`
    Butterfly,
    /// `.idx`
    Index,
}

/// How `redux` combines values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Wrapping sum.
    Add,
    /// Unsigned minimum.
    MinUnsigned,
    /// Unsigned maximum.
    MaxUnsigned,
    /// Signed minimum.
    MinSigned,
    /// Signed maximum.
    MaxSigned,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
}

impl Reduction {
    fn combine(self, a: u32, b: u32) -> u32 {
        match self {
            Self::Add => a.wrapping_add(b),
            Self::MinUnsigned => a.min(b),
            Self::MaxUnsigned => a.max(b),
            Self::MinSigned => a.cast_signed().min(b.cast_signed()).cast_unsigned(),
            Self::MaxSigned => a.cast_signed().max(b.cast_signed()).cast_unsigned(),
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

/// What the lanes compute together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Nothing: they only meet.
    Meet,
    /// A value of another lane.
    Shuffle(Shuffle),
    /// True if all predicates are.
    VoteAll,
    /// True if any predicate is.
    VoteAny,
    /// True if all predicates are equal.
    VoteUniform,
    /// The predicates as a mask.
    Ballot,
    /// The lanes with an equal value.
    MatchAny,
    /// All lanes if their values are equal.
    MatchAll,
    /// A reduction.
    Reduce(Reduction),
    /// One lane.
    Elect,
}

/// A value that each lane brings.
#[derive(Debug, Clone, Copy)]
pub enum Brought {
    /// Nothing.
    Nothing,
    /// 32 bits.
    Word(Source),
    /// 64 bits.
    Wide(Source),
    /// A predicate.
    Predicate(PredicateSource),
}

/// A collective instruction, decoded.
#[derive(Debug, Clone, Copy)]
pub struct Instruction {
    /// What is computed.
    pub operation: Operation,
    /// The first operand.
    pub value: Brought,
    /// `b` and `c` of a shuffle.
    pub steering: Option<[Source; 2]>,
    /// The membermask.
    pub mask: Source,
    /// Where the value goes.
    pub result: Option<Destination>,
    /// Where the predicate goes.
    pub predicate: Option<u16>,
}

impl Instruction {
    /// Executes it for the active lanes.
    ///
    /// # Errors
    ///
    /// If a lane is not in its own mask, or the mask is undefined.
    pub fn run(&self, context: &mut Context<'_>) -> Step {
        if context.fragment.collected {
            context.fragment.collected = false;
            return self.finish(context);
        }
        context.require_defined(self.mask, "a membermask")?;
        let masks = *context.u32(self.mask);
        let absent = context.active().fold(0, |absent, lane| absent | (!masks[lane] >> lane & 1) << lane);
        if absent != 0 {
            return Err(Box::new(Fault::new(
                Rule::Convergence,
                format!(
                    "{} {} the instruction without being in its membermask",
                    name_lanes(absent),
                    verb(absent, "executes", "execute")
                ),
            )));
        }
        self.lay_down(context)?;
        let key = mix(self.key());
        let mut left = context.mask;
        let mut waiting = 0;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            let need = masks[lane] & context.warp.alive();
            let here = context
                .active()
                .filter(|&other| masks[other] == masks[lane])
                .fold(0, |set, lane| set | 1 << lane);
            left &= !here;
            let key = key ^ u64::from(masks[lane]);
            if need & !here == 0 || meet_elsewhere(context, need & !here, key) {
                let leader = context.world.scheduler.leader(need);
                self.compute(need, &mut context.warp.collective, leader);
                // Of these instructions only bar.warp.sync orders memory.
                if self.operation == Operation::Meet
                    && let Some((race, actor)) = context.race(need)
                {
                    race.meet(&actor);
                }
            } else {
                waiting |= here;
                set_aside(context, here, need, key);
            }
        }
        if waiting == context.fragment.lanes {
            // All of them wait: the fragment that was set aside is this one.
            let fragment = context.warp.fragments.pop().expect("set aside above");
            context.fragment = fragment;
            return Ok(Flow::Blocked);
        }
        context.fragment.lanes &= !waiting;
        context.mask &= !waiting;
        self.finish(context)
    }

    fn key(&self) -> u64 {
        let operation = match self.operation {
            Operation::Meet => 0,
            Operation::Shuffle(shuffle) => 1 + shuffle as u64,
            Operation::VoteAll => 5,
            Operation::VoteAny => 6,
            Operation::VoteUniform => 7,
            Operation::Ballot => 8,
            Operation::MatchAny => 9,
            Operation::MatchAll => 10,
            Operation::Elect => 11,
            Operation::Reduce(reduction) => 16 + reduction as u64,
        };
        operation << 1 | u64::from(matches!(self.value, Brought::Wide(_)))
    }

    fn lay_down(&self, context: &mut Context<'_>) -> Result<(), Box<Fault>> {
        let mask = context.mask;
        let (values, mut undefined) = match self.value {
            Brought::Nothing => ([0; 32], 0),
            Brought::Word(source) => (context.u32(source).map(u64::from), context.taint(source)?),
            Brought::Wide(source) => (*context.u64(source), context.taint(source)?),
            Brought::Predicate(predicate) => {
                let (value, undefined) = predicate.read(context);
                (std::array::from_fn(|lane| u64::from(value >> lane & 1)), undefined)
            }
        };
        let steering = match self.steering {
            None => [[0; 32]; 2],
            Some([b, c]) => {
                undefined |= context.taint(b)? | context.taint(c)?;
                [*context.u32(b), *context.u32(c)]
            }
        };
        let collective = &mut context.warp.collective;
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            collective.operands[lane] =
                [values[lane], u64::from(steering[0][lane]), u64::from(steering[1][lane])];
        }
        collective.undefined = collective.undefined & !mask | undefined & mask;
        Ok(())
    }

    /// Results of every lane of the group; `leader` is the one that is elected.
    fn compute(&self, group: u32, collective: &mut Collective, leader: u32) {
        let members = (0..32usize).filter(move |lane| group >> lane & 1 == 1);
        let value = |lane: usize| collective.operands[lane][0];
        let any_undefined = if collective.undefined & group == 0 { 0 } else { group };
        let ballot = members.clone().filter(|&lane| value(lane) != 0).fold(0u32, |set, lane| set | 1 << lane);
        let first = group.trailing_zeros() as usize;
        let all = |result: [u64; 2]| move |_: usize| (result, any_undefined != 0);
        let mut results = [([0; 2], false); 32];
        let mut fill = |of: &dyn Fn(usize) -> ([u64; 2], bool)| {
            for lane in members.clone() {
                results[lane] = of(lane);
            }
        };
        match self.operation {
            Operation::Meet => fill(&|_| ([0; 2], false)),
            Operation::Shuffle(shuffle) => fill(&|lane| {
                let [own, b, c] = collective.operands[lane];
                let (source, in_range) = shuffle_source(shuffle, lane as u32, b as u32, c as u32);
                let from = source as usize;
                let steered = collective.undefined >> lane & 1 == 1;
                if !in_range {
                    return ([own, 0], steered);
                }
                let unknown = group >> from & 1 == 0 || collective.undefined >> from & 1 == 1;
                ([value(from), 1], steered || unknown)
            }),
            Operation::VoteAll => fill(&all([0, u64::from(ballot == group)])),
            Operation::VoteAny => fill(&all([0, u64::from(ballot != 0)])),
            Operation::VoteUniform => fill(&all([0, u64::from(ballot == 0 || ballot == group)])),
            Operation::Ballot => fill(&all([u64::from(ballot), 0])),
            Operation::MatchAny => fill(&|lane| {
                let equal = members.clone().filter(|&other| value(other) == value(lane));
                ([equal.fold(0, |set, lane| set | 1 << lane), 0], any_undefined != 0)
            }),
            Operation::MatchAll => {
                let equal = members.clone().all(|lane| value(lane) == value(first));
                fill(&all(if equal { [u64::from(group), 1] } else { [0, 0] }));
            }
            Operation::Reduce(reduction) => {
                let values = members.clone().map(|lane| value(lane) as u32);
                let result = values.reduce(|a, b| reduction.combine(a, b)).unwrap_or(0);
                fill(&all([u64::from(result), 0]));
            }
            Operation::Elect => {
                fill(&|lane| ([u64::from(leader), u64::from(lane as u32 == leader)], false));
            }
        }
        for lane in members {
            collective.results[lane] = results[lane].0;
        }
        let undefined = (0..32).filter(|&lane| results[lane].1).fold(0, |set, lane| set | 1 << lane);
        collective.undefined_results = collective.undefined_results & !group | undefined;
    }

    /// Writes the results of the active lanes.
    fn finish(&self, context: &mut Context<'_>) -> Step {
        let results = context.warp.collective.results;
        let undefined = context.warp.collective.undefined_results;
        if let Some(to) = self.result {
            context.write_u32(to, &results.map(|[value, _]| value as u32), undefined)?;
        }
        if let Some(to) = self.predicate {
            let value = (0..32).fold(0, |set, lane| set | ((results[lane][1] & 1) as u32) << lane);
            context.write_predicate(to, value, undefined);
        }
        Ok(Flow::Next)
    }
}

/// Source lane of a shuffle, and whether it is in range (PTX ISA 9.7.10.6).
fn shuffle_source(shuffle: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segments) = (b & 31, c & 31, c >> 8 & 31);
    let max = lane & segments | clamp & !segments;
    let min = lane & segments;
    let (source, in_range) = match shuffle {
        Shuffle::Up => (lane.wrapping_sub(b), lane.cast_signed() - b.cast_signed() >= max.cast_signed()),
        Shuffle::Down => (lane + b, lane + b <= max),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= max),
        Shuffle::Index => (min | b & !segments, min | b & !segments <= max),
    };
    (source & 31, in_range)
}

/// Whether the missing lanes all wait for the same operation, at whatever instruction; then they go on.
fn meet_elsewhere(context: &mut Context<'_>, missing: u32, key: u64) -> bool {
    let waits =
        |fragment: &Fragment| matches!(fragment.wait, Wait::Gather { key: other, .. } if other == key);
    let there = context.warp.fragments.iter().filter(|fragment| waits(fragment));
    if missing & !there.fold(0, |set, fragment| set | fragment.lanes) != 0 {
        return false;
    }
    for fragment in context.warp.fragments.iter_mut().filter(|fragment| waits(fragment)) {
        fragment.collected = true;
        fragment.wait = Wait::Ready;
    }
    true
}

/// Lanes of the fragment wait at this instruction for the others of their group.
fn set_aside(context: &mut Context<'_>, lanes: u32, need: u32, key: u64) {
    let waiting = Fragment {
        lanes,
        wait: Wait::Gather { need, key, aligned: false },
        callers: context.fragment.callers.clone(),
        ..context.fragment
    };
    context.warp.fragments.push(waiting);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_find_their_source() {
        assert_eq!(shuffle_source(Shuffle::Butterfly, 5, 1, 31), (4, true));
        assert_eq!(shuffle_source(Shuffle::Up, 3, 4, 0), (31, false));
        assert_eq!(shuffle_source(Shuffle::Up, 4, 4, 0), (0, true));
        assert_eq!(shuffle_source(Shuffle::Down, 30, 2, 31), (0, false));
        assert_eq!(shuffle_source(Shuffle::Index, 17, 3, 0x1000 | 31), (19, true), "segments of 16 lanes");
        assert_eq!(shuffle_source(Shuffle::Down, 7, 1, 0x1800 | 7), (8, false), "segments of 8 lanes");
    }
}
