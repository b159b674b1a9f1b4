//! Why a mutant may be right: rules that are checked on the text.

use super::edit::moved_past;
use super::flow::{instruction, successors, unit};
use super::memory::{Memory, instructions};
use super::table::{Kind, Mutation, kind};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::module::{Directive, Function, Statement};
use rorqual_ptx::operand::Operand;
use rorqual_ptx::table::Access;
use rorqual_ptx::visit::for_each_register;
use std::fmt;

/// Why a mutant cannot differ from what it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Every way on from a barrier comes to another one of all the same threads, or to the end, before anything that
    /// other threads may see is accessed.
    NothingBehind,
    /// Every way to a barrier comes from another one of all the same threads, or from the start, and accesses nothing
    /// on the way that other threads may see.
    NothingBefore,
    /// A proxy fence of a function without asynchronous accesses.
    NoAsyncProxy,
    /// A fence that publishes new mbarriers to a cluster, in a function that names no cluster.
    NoCluster,
    /// Every way to a `wgmma.fence` comes from another one, or from the start, and touches no register of a product.
    FencedAlready,
    /// A meeting of the warp that is moved past the end or the wait of a group of its products, which all its lanes do
    /// together: they do not access memory, and what a lane learns of them all lanes do.
    NothingCrossed,
    /// A wait for an mbarrier that is moved past another one, each in a loop of its own: behind the second both are over,
    /// whichever came first.
    EitherFirst,
    /// A look at an mbarrier whose answer nobody reads. It may always be that the phase is not over, and then nothing
    /// is acquired either.
    AnswerUnread,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingBehind => "no access behind the barrier before the next one",
            Self::NothingBefore => "no access before the barrier since the last one",
            Self::NoCluster => "mbarriers are published to a cluster where none is named",
            Self::NoAsyncProxy => "a proxy fence where nothing is asynchronous",
            Self::NothingCrossed => "the warp meets on either side of what all its lanes do together",
            Self::EitherFirst => "of two waits behind each other either may be the first",
            Self::AnswerUnread => "a look at an mbarrier whose answer nobody reads",
            Self::FencedAlready => "no register of a product is touched since the last fence",
        })
    }
}

/// Barriers that wait for the same threads, and order their memory.
fn is_same_barrier(one: &Instruction, other: &Instruction) -> bool {
    one.form.name == other.form.name && one.operands == other.operands && other.guard.is_none()
}

/// The rule that makes a mutation of an instruction equivalent.
pub fn rule(function: &Function, at: usize, mutation: Mutation, memory: &Memory) -> Option<Rule> {
    let body = function.body.as_deref()?;
    let here = instruction(body, at)?;
    if is_unread_look(body, at) {
        return Some(Rule::AnswerUnread);
    }
    if !matches!(mutation, Mutation::Deleted | Mutation::Earlier | Mutation::Later) {
        return None;
    }
    match here.form.name {
        // A barrier that is not needed does no harm elsewhere in its basic block either.
        "bar.sync" | "barrier.sync" | "bar.warp.sync" if here.guard.is_none() => {
            let again = |at: usize| instruction(body, at).is_some_and(|other| is_same_barrier(here, other));
            let accesses = |at: usize| instruction(body, at).is_some_and(|other| is_seen(other, memory));
            if search(at, body.len(), |at| successors(body, at), &again, &accesses) {
                Some(Rule::NothingBehind)
            } else if search(at, body.len(), |at| predecessors(body, at), &again, &accesses) {
                Some(Rule::NothingBefore)
            } else if here.form.name == "bar.warp.sync" && passes_group(body, at, mutation, memory) {
                Some(Rule::NothingCrossed)
            } else {
                None
            }
        }
        "mbarrier.try_wait" | "mbarrier.test_wait" => {
            (is_wait(body, at) && passes_wait(body, at, mutation, memory)).then_some(Rule::EitherFirst)
        }
        "fence.mbarrier_init" => (!names_cluster(function)).then_some(Rule::NoCluster),
        name if name.starts_with("fence.proxy.async") => {
            (!memory.is_asynchronous()).then_some(Rule::NoAsyncProxy)
        }
        "wgmma.fence" => {
            let again =
                |at: usize| instruction(body, at).is_some_and(|other| other.form.name == "wgmma.fence");
            let touches =
                |at: usize| instruction(body, at).is_some_and(|other| memory.touches_product(other));
            search(at, body.len(), |at| predecessors(body, at), &again, &touches)
                .then_some(Rule::FencedAlready)
        }
        _ => None,
    }
}

/// Whether an instruction is a look at an mbarrier, not in a loop that waits, whose answer is not read on any way on.
fn is_unread_look(body: &[Statement], at: usize) -> bool {
    let Some(look) = instruction(body, at) else { return false };
    let is_look = matches!(look.form.name, "mbarrier.try_wait" | "mbarrier.test_wait");
    let (true, Some(Operand::Register(answer))) =
        (is_look && unit(body, at).len() == 1, look.operands.first())
    else {
        return false;
    };
    let does = |at: usize, what: fn(Access) -> bool| {
        let mut found = false;
        if let Some(other) = instruction(body, at) {
            for_each_register(other, |register, access| found |= register == *answer && what(access));
        }
        found
    };
    let is_guarded = |at: usize| instruction(body, at).is_some_and(|other| other.guard.is_some());
    let overwrites = |at: usize| does(at, |access| access == Access::Write) && !is_guarded(at);
    let reads = |at: usize| does(at, |access| access != Access::Write);
    search(at, body.len(), |at| successors(body, at), &overwrites, &reads)
}

/// Whether a mutation moves an instruction past the end of a group of products of a warpgroup, or the wait for one.
fn passes_group(body: &[Statement], at: usize, mutation: Mutation, memory: &Memory) -> bool {
    let Some(passed) = moved_past(body, memory, at, mutation) else { return false };
    instructions(&body[passed])
        .all(|other| matches!(other.form.name, "wgmma.commit_group" | "wgmma.wait_group"))
}

/// Whether an instruction waits for an mbarrier, in a loop.
fn is_wait(body: &[Statement], at: usize) -> bool {
    let is_look = instruction(body, at)
        .is_some_and(|look| matches!(look.form.name, "mbarrier.try_wait" | "mbarrier.test_wait"));
    is_look && unit(body, at).len() > 1
}

/// Whether a mutation moves an instruction past a wait for an mbarrier.
fn passes_wait(body: &[Statement], at: usize, mutation: Mutation, memory: &Memory) -> bool {
    moved_past(body, memory, at, mutation)
        .is_some_and(|passed| passed.into_iter().any(|at| is_wait(body, at)))
}

/// Whether a function can tell that it runs in a cluster of several CTAs.
fn names_cluster(function: &Function) -> bool {
    let directs = |directive: &Directive| {
        matches!(
            directive,
            Directive::ExplicitCluster
                | Directive::RequiredCluster(_)
                | Directive::MaxClusterRank(_)
                | Directive::BlocksAreClusters
        )
    };
    let body = function.body.as_deref().unwrap_or(&[]);
    let mut reaches = instructions(body).map(|instruction| {
        let name = instruction.form.name;
        name.starts_with("barrier.cluster") || name == "mapa" || name == "getctarank" || {
            instruction.operands.iter().any(
                |operand| matches!(operand, Operand::Special(register) if register.name().contains("cluster")),
            )
        }
    });
    function.directives.iter().any(directs) || reaches.any(|reaches| reaches)
}

/// Whether an instruction does anything that a barrier orders: accesses, and asynchronous operations and their waits.
fn is_seen(instruction: &Instruction, memory: &Memory) -> bool {
    memory.is_shared_access(instruction)
        || (kind(instruction).is_some_and(Kind::orders_memory) && !instruction.form.name.starts_with("bar"))
}

/// Whether every way from a place comes to where `ends` holds, or leaves the body, before it comes to where `breaks` does.
fn search(
    from: usize,
    length: usize,
    next: impl Fn(usize) -> Option<Vec<usize>>,
    ends: &impl Fn(usize) -> bool,
    breaks: &impl Fn(usize) -> bool,
) -> bool {
    let mut seen = vec![false; length];
    let Some(mut ahead) = next(from) else { return false };
    while let Some(at) = ahead.pop() {
        if at >= length || seen[at] {
            continue;
        }
        seen[at] = true;
        if breaks(at) {
            return false;
        }
        if !ends(at) {
            let Some(further) = next(at) else { return false };
            ahead.extend(further);
        }
    }
    true
}

/// Places that may have been executed before a statement.
fn predecessors(body: &[Statement], at: usize) -> Option<Vec<usize>> {
    let mut before = Vec::new();
    for from in 0..body.len() {
        // Only branches go elsewhere than to the next place.
        let goes_on = from + 1 == at;
        let is_branch = instruction(body, from).is_some_and(|here| here.form.name.starts_with("br"));
        if (goes_on || is_branch) && successors(body, from)?.contains(&at) {
            before.push(from);
        }
    }
    Some(before)
}
