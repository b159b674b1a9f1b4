//! Which instruction may follow which: what is reached from where, the loops, and the usual way through a loop.

use crate::listing::Instruction;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// An instruction that may follow another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    to: usize,
    /// Whether a conditional branch is taken, which leads to what is rare: ptxas moves that out of line.
    is_rare: bool,
}

/// A loop: where it starts, and its instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loop {
    head: usize,
    body: BTreeSet<usize>,
}

/// The instructions of a kernel as a graph.
pub struct ControlFlow<'l> {
    instructions: &'l [Instruction],
    steps: Vec<Vec<Step>>,
    /// What the start reaches; every instruction behind those that follow it, but for steps back to the head of a loop.
    order: Vec<usize>,
    /// Steps back to the head of a loop: whence, and the head.
    backward: Vec<(usize, usize)>,
}

impl<'l> ControlFlow<'l> {
    /// # Errors
    ///
    /// If there is a branch whose targets are not in the listing.
    pub fn new(instructions: &'l [Instruction]) -> Result<Self, String> {
        let steps: Result<Vec<_>, _> = (0..instructions.len()).map(|at| steps(instructions, at)).collect();
        let mut flow = Self { instructions, steps: steps?, order: vec![], backward: vec![] };
        flow.visit();
        Ok(flow)
    }

    /// Walks depth first from the start: what is entered again while it is being walked is the head of a loop.
    fn visit(&mut self) {
        let mut entered = vec![false; self.instructions.len()];
        let mut is_under_way = entered.clone();
        let mut path = vec![(0, 0)];
        (entered[0], is_under_way[0]) = (true, true);
        while let Some((at, walked)) = path.last_mut() {
            let at = *at;
            let Some(Step { to, .. }) = self.steps[at].get(*walked).copied() else {
                self.order.push(at);
                is_under_way[at] = false;
                path.pop();
                continue;
            };
            *walked += 1;
            if is_under_way[to] {
                self.backward.push((at, to));
            } else if !entered[to] {
                (entered[to], is_under_way[to]) = (true, true);
                path.push((to, 0));
            }
        }
    }

    /// The instructions that are reached from one, functions that are called included; those that `ends` holds for are
    /// not gone past.
    pub fn reached_from(&self, start: usize, ends: impl Fn(&Instruction) -> bool) -> Vec<&'l Instruction> {
        let mut reached = BTreeSet::from([start]);
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            let called = self.instructions[at].target.filter(|_| self.instructions[at].name() == "CALL");
            for to in self.steps[at].iter().map(|step| step.to).chain(called) {
                if !ends(&self.instructions[to]) && reached.insert(to) {
                    open.push(to);
                }
            }
        }
        reached.into_iter().map(|at| &self.instructions[at]).collect()
    }

    /// The loops with products of warpgroups that have no such loop in them, in the order of the listing.
    pub fn product_loops(&self) -> Vec<Loop> {
        let multiplies =
            |body: &BTreeSet<usize>| body.iter().any(|at| self.instructions[*at].product_columns().is_some());
        let loops: Vec<Loop> = self.loops().into_iter().filter(|found| multiplies(&found.body)).collect();
        let is_inner =
            |outer: &Loop, inner: &Loop| outer.head != inner.head && outer.body.contains(&inner.head);
        let innermost = |outer: &&Loop| !loops.iter().any(|inner| is_inner(outer, inner));
        loops.iter().filter(innermost).cloned().collect()
    }

    fn loops(&self) -> Vec<Loop> {
        let mut before = vec![vec![]; self.instructions.len()];
        for from in &self.order {
            self.steps[*from].iter().for_each(|step| before[step.to].push(*from));
        }
        let mut bodies: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (from, head) in &self.backward {
            let body = bodies.entry(*head).or_insert_with(|| BTreeSet::from([*head]));
            let mut open = vec![*from];
            while let Some(at) = open.pop() {
                if body.insert(at) {
                    open.extend(&before[at]);
                }
            }
        }
        bodies.into_iter().map(|(head, body)| Loop { head, body }).collect()
    }

    /// The usual way through a loop, from its head back to it: of all ways that which multiplies most, then that which
    /// takes the fewest conditional branches, then the shortest. Loops inside, which wait, are gone through once.
    pub fn usual_way(&self, through: &Loop) -> Vec<&'l Instruction> {
        // Columns multiplied, conditional branches taken, instructions: of the best way from an instruction on.
        type Merit = (u32, Reverse<u32>, Reverse<u32>);
        let mut best: BTreeMap<usize, (Merit, Option<usize>)> = BTreeMap::new();
        for at in self.order.iter().filter(|at| through.body.contains(at)) {
            let ends = self.backward.contains(&(*at, through.head));
            let onward = self.steps[*at].iter().filter(|step| !self.backward.contains(&(*at, step.to)));
            let onward = onward.filter_map(|step| {
                let ((columns, Reverse(taken), length), _) = best.get(&step.to)?;
                Some(((*columns, Reverse(taken + u32::from(step.is_rare)), *length), Some(step.to)))
            });
            let end = ends.then_some(((0, Reverse(0), Reverse(0)), None));
            let Some(((columns, taken, Reverse(length)), next)) = onward.chain(end).max_by_key(|way| way.0)
            else {
                continue;
            };
            let own = self.instructions[*at].product_columns().unwrap_or(0);
            best.insert(*at, ((columns + own, taken, Reverse(length + 1)), next));
        }
        let follow = |at: &usize| best.get(at).and_then(|(_, next)| *next);
        std::iter::successors(Some(through.head), follow).map(|at| &self.instructions[at]).collect()
    }
}

/// What may follow an instruction.
fn steps(instructions: &[Instruction], at: usize) -> Result<Vec<Step>, String> {
    let instruction = &instructions[at];
    let onward = || (at + 1 < instructions.len()).then_some(Step { to: at + 1, is_rare: false });
    let is_predicated = instruction.predicate.is_some();
    Ok(match instruction.name() {
        "BRA" | "JMP" => {
            let target = instruction.target.ok_or("a branch without a target")?;
            let is_conditional = is_predicated
                || instruction.operands.len() > 1
                || instruction.has("DIV")
                || instruction.has("ANY");
            let taken = Step { to: target, is_rare: is_conditional };
            onward().filter(|_| is_conditional).into_iter().chain([taken]).collect()
        }
        "BRX" | "JMX" => return Err("a branch by a table, which is not read".to_owned()),
        "EXIT" | "RET" | "KILL" => onward().filter(|_| is_predicated).into_iter().collect(),
        _ => onward().into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::tests::listing;

    fn names(way: &[&Instruction]) -> Vec<String> {
        way.iter().map(|instruction| instruction.name().to_owned()).collect()
    }

    /// A loop over tiles around one over K, which leaves the line to wait and to release.
    const KERNEL: &[&str] = &[
        "1 S2R R0, SR_TID.X",
        "tile:",
        "1 LDS R2, [R0]",
        "loop:",
        "1 SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R3",
        "1 @!P0 BRA `(wait)",
        "full:",
        "1 QGMMA.64x128x32.F32.E4M3.E4M3 R24, gdesc[UR8], R24, gsb0",
        "1 @P1 BRA `(skip)",
        "1 ISETP.NE.AND P2, PT, R5, RZ, PT",
        "skip:",
        "2 WARPGROUP.DEPBAR.LE gsb0, 0x0",
        "1 @P2 BRA `(loop)",
        "1 STS [R0], R24",
        "1 @P3 BRA `(tile)",
        "1 EXIT",
        "wait:",
        "1 SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R3",
        "1 @!P0 BRA `(wait)",
        "1 BRA `(full)",
    ];

    #[test]
    fn the_loop_with_the_products_is_found_without_the_wait_beside_it() {
        let instructions = listing(KERNEL);
        let flow = ControlFlow::new(&instructions).unwrap();
        assert_eq!(flow.loops().len(), 3);
        let [found] = flow.product_loops().try_into().unwrap();
        assert_eq!((found.head, found.body.len()), (2, 10));
        let expected = ["SYNCS", "BRA", "QGMMA", "BRA", "ISETP", "WARPGROUP", "BRA"];
        assert_eq!(names(&flow.usual_way(&found)), expected);
    }

    #[test]
    fn a_way_that_multiplies_is_taken_although_it_is_rare() {
        let instructions = listing(&[
            "loop:",
            "1 @P0 BRA `(multiply)",
            "1 BRA `(end)",
            "multiply:",
            "1 HGMMA.64x8x16.F32.BF16 R24, gdesc[UR8], R24, gsb0",
            "end:",
            "1 @P1 BRA `(loop)",
            "1 EXIT",
        ]);
        let flow = ControlFlow::new(&instructions).unwrap();
        let [found] = flow.product_loops().try_into().unwrap();
        assert_eq!(names(&flow.usual_way(&found)), ["BRA", "HGMMA", "BRA"]);
    }

    #[test]
    fn what_is_reached_goes_into_functions_and_not_past_an_end() {
        let instructions = listing(&[
            "1 CALL.REL.NOINC `(function)",
            "1 USETMAXREG.TRY_ALLOC.CTAPOOL UP0, 0xf0",
            "1 EXIT",
            "function:",
            "1 MUFU.RCP R2, R2",
            "1 RET.REL.NODEC R6",
        ]);
        let flow = ControlFlow::new(&instructions).unwrap();
        let reached = flow.reached_from(0, |instruction| instruction.name() == "USETMAXREG");
        assert_eq!(names(&reached), ["CALL", "MUFU", "RET"]);
        assert_eq!(flow.reached_from(0, |_| false).len(), 5);
    }

    #[test]
    fn a_branch_by_a_table_is_refused() {
        let instructions = listing(&["1 BRX R2 -0x10", "1 EXIT"]);
        assert!(ControlFlow::new(&instructions).is_err());
    }
}
