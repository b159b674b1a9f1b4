//! Which ways of writing a form are tried: every modifier in every slot at least once, every optional operand both
//! present and absent, in combinations that the verifier passes.

use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::{Form, Presence};

/// One way of writing a form.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The modifiers, in the order of the form.
    pub modifiers: Vec<Modifier>,
    /// Whether optional operands are present.
    pub with_optional: bool,
    /// Whether `d{|p}` is a pair.
    pub with_second: bool,
    /// Which literals are written.
    pub literal: Literal,
}

/// What literals are written, as far as their range allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literal {
    /// 16, which is a size, a count of columns or bytes.
    Size,
    /// 0 or 1.
    Small,
}

/// The decisions to be made for a form, each with its number of alternatives.
fn alternatives(form: &Form) -> Vec<usize> {
    let mut counts = vec![2, 1, 1];
    if form.operands.iter().any(|spec| spec.presence == Presence::Optional) {
        counts[1] = 2;
    }
    if form.operands.iter().any(|spec| spec.second.is_some()) {
        counts[2] = 2;
    }
    counts.extend(form.slots.iter().map(|slot| match (slot.joined, slot.optional) {
        (true, _) | (false, false) => slot.choices.len(),
        (false, true) => slot.choices.len() + 1,
    }));
    counts
}

fn choice(form: &Form, decisions: &[usize]) -> Choice {
    let mut modifiers = Vec::new();
    let mut present = false;
    for (slot, decision) in form.slots.iter().zip(&decisions[3..]) {
        present = match (slot.joined, slot.optional) {
            // It stands where the slot before it does.
            (true, _) => present,
            (false, false) => true,
            (false, true) => *decision > 0,
        };
        let at = if !slot.joined && slot.optional { decision.saturating_sub(1) } else { *decision };
        if present {
            modifiers.push(slot.choices[at]);
        }
    }
    Choice {
        modifiers,
        with_optional: decisions[1] == 0,
        with_second: decisions[2] == 1,
        literal: if decisions[0] == 0 { Literal::Size } else { Literal::Small },
    }
}

/// The alternatives other than the first that a combination has at most. Three are enough for a modifier that needs two
/// others.
const MOST_CHANGES: usize = 3;

/// Combinations of alternatives, those with few other than the first before those with more.
fn combinations(counts: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    fn extend(counts: &[usize], changes: usize, start: Vec<usize>, found: &mut Vec<Vec<usize>>) {
        let Some(count) = counts.get(start.len()) else {
            if changes == 0 {
                found.push(start);
            }
            return;
        };
        let most = if changes == 0 { 1 } else { *count };
        for decision in 0..most {
            let longer = start.iter().copied().chain([decision]).collect();
            extend(counts, changes - usize::from(decision > 0), longer, found);
        }
    }
    (0..=MOST_CHANGES).flat_map(move |changes| {
        let mut found = Vec::new();
        extend(counts, changes, Vec::new(), &mut found);
        found
    })
}

/// Ways of writing a form that `passes` accepts, so many that together they have every alternative that is possible.
pub fn cover(form: &Form, passes: impl Fn(&Choice) -> bool) -> Vec<Choice> {
    let counts = alternatives(form);
    let mut open: Vec<Vec<bool>> = counts.iter().map(|count| vec![true; *count]).collect();
    let mut chosen = Vec::new();
    for decisions in combinations(&counts) {
        if !decisions.iter().zip(&open).any(|(decision, open)| open[*decision]) {
            continue;
        }
        let choice = choice(form, &decisions);
        if passes(&choice) {
            for (decision, open) in decisions.iter().zip(&mut open) {
                open[*decision] = false;
            }
            chosen.push(choice);
        }
        if open.iter().flatten().all(|open| !open) {
            break;
        }
    }
    chosen
}
