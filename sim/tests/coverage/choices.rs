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
    /// The decisions that it stands for: number of the decision, and what was decided.
    decisions: Vec<usize>,
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

fn choice(form: &Form, decisions: Vec<usize>) -> Choice {
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
        decisions,
    }
}

/// The combinations that are tried for a form at most.
const MOST: usize = 6000;

/// Ways of writing a form that `passes` accepts, so many that together they have every alternative that is possible.
pub fn cover(form: &Form, passes: impl Fn(&Choice) -> bool) -> Vec<Choice> {
    let counts = alternatives(form);
    let all = counts.iter().try_fold(1usize, |product, count| product.checked_mul(*count)).unwrap_or(usize::MAX);
    let mut open: Vec<Vec<bool>> = counts.iter().map(|count| vec![true; *count]).collect();
    let mut chosen = Vec::new();
    // An odd step goes round all combinations when there are more than are tried.
    let step = if all > MOST { (all / MOST) | 1 } else { 1 };
    for number in 0..all.min(MOST) {
        let mut rest = number.wrapping_mul(step) % all;
        let decisions: Vec<usize> = counts
            .iter()
            .map(|count| {
                let decision = rest % count;
                rest /= count;
                decision
            })
            .collect();
        let is_new = decisions.iter().zip(&open).any(|(decision, open)| open[*decision]);
        if !is_new {
            continue;
        }
        let choice = choice(form, decisions);
        if passes(&choice) {
            for (decision, open) in choice.decisions.iter().zip(&mut open) {
                open[*decision] = false;
            }
            chosen.push(choice);
        }
        if open.iter().all(|open| open.iter().all(|open| !open)) {
            break;
        }
    }
    if std::env::var_os("OPEN").is_some() {
        for (at, open) in open.iter().enumerate().skip(1) {
            for (decision, is_open) in open.iter().enumerate() {
                if *is_open {
                    let what = if at < 3 { format!("pseudo {at}={decision}") } else {
                        let slot = &form.slots[at - 3];
                        let index = if slot.optional && !slot.joined { decision as i64 - 1 } else { decision as i64 };
                        if index < 0 { format!("{} absent", slot.name) } else { slot.choices[index as usize].to_string() }
                    };
                    println!("OPEN {} | {what} | tried {}", form.text, all.min(MOST));
                }
            }
        }
    }
    chosen
}
