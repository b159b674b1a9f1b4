//! Cases of the family `moe_gate`.
//!
//! The kernel's scores differ from the reference's: by 2^-21 relative through the exponential, 2^-22 through what
//! rounds after it, and with softmax by another 2^-21 and the order of the sum, 2^-24 for each expert in each of the
//! two; by 2^-126 where they are denormal. So a choice may differ where scores are closer than that, and only there:
//! experts with the same logit and bias keep their order, as NaN does. Weights are compared with those that the
//! reference's scores give the experts that the kernel chose.

use crate::model::config::{Scoring as ReferenceScoring, TopkMethod};
use crate::reference::gate::{GateSpec as ReferenceSpec, gate};
use crate::verify::bytes::{f32_bytes, of_f32, of_u32};
use crate::verify::compare::{Comparison, Mismatch};
use crate::verify::random::Random;
use crate::verify::{Failure, Machine, Passed};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::moe::gate::{Gate, GateArguments, GateSpec, GroupMethod, Scoring};
use rorqual_kernels::{Registered, generate};

/// The smallest normal number.
const DENORMAL: f32 = f32::MIN_POSITIVE;

fn draw_spec(random: &mut Random) -> GateSpec {
    let (scoring, method) = (
        random.pick(&[Scoring::Sigmoid, Scoring::Softmax]),
        random.pick(&[GroupMethod::Greedy, GroupMethod::Best, GroupMethod::SumOfTwo]),
    );
    let groups = random.pick(&[1, 2, 3, 8, 16]);
    let size = if random.one_in(4) { 32 } else { 1 + random.below(40) };
    let topk_groups = 1 + random.below(groups);
    let most = if random.one_in(8) { 32 } else { 10 };
    let candidates = if method == GroupMethod::Greedy { groups * size } else { topk_groups * size };
    GateSpec {
        experts: (groups * size) as u32,
        groups: groups as u32,
        topk_groups: topk_groups as u32,
        topk: (1 + random.below(candidates.min(most))) as u32,
        scoring,
        method,
        bias: random.one_in(2),
        normalize: random.one_in(2),
        scaling_factor: random.pick(&[1.0, 2.5, 16.0]),
    }
}

fn reference_spec(spec: &GateSpec) -> ReferenceSpec {
    ReferenceSpec {
        experts: spec.experts as usize,
        groups: spec.groups as usize,
        topk_groups: spec.topk_groups as usize,
        topk: spec.topk as usize,
        scoring: match spec.scoring {
            Scoring::Sigmoid => ReferenceScoring::Sigmoid,
            Scoring::Softmax => ReferenceScoring::Softmax,
        },
        method: match spec.method {
            GroupMethod::Greedy => TopkMethod::Greedy,
            GroupMethod::Best => TopkMethod::GroupLimitedGreedy,
            GroupMethod::SumOfTwo => TopkMethod::NoauxTc,
        },
        normalize: spec.normalize,
        scaling_factor: spec.scaling_factor,
    }
}

/// A thing that is ranked: its score, how far off that may be, and what the score was made of.
struct Ranked {
    index: usize,
    score: f32,
    tolerance: f32,
    made_of: Vec<(f32, f32)>,
}

impl Ranked {
    /// Whether it may come before another.
    fn may_precede(&self, other: &Self) -> bool {
        match (self.score.is_nan(), other.score.is_nan()) {
            (true, false) => false,
            (false, true) => true,
            (true, true) => self.index < other.index,
            (false, false) if self.made_of == other.made_of => self.index < other.index,
            (false, false) => self.score >= other.score - self.tolerance - other.tolerance,
        }
    }
}

/// One token's scores, logits and bias.
struct Token<'a> {
    spec: &'a GateSpec,
    scores: &'a [f32],
    logits: &'a [f32],
    bias: &'a [f32],
}

impl Token<'_> {
    fn relative_error(&self) -> f32 {
        let softmax = self.spec.experts as f32 * 2.0_f32.powi(-23) + 2.0_f32.powi(-21);
        2.0_f32.powi(-20) + if self.spec.scoring == Scoring::Softmax { softmax } else { 0.0 }
    }

    fn expert(&self, index: usize) -> Ranked {
        let score = self.scores[index] + self.bias[index];
        let tolerance =
            self.scores[index] * self.relative_error() + DENORMAL + score.abs() * 2.0_f32.powi(-23);
        Ranked { index, score, tolerance, made_of: vec![(self.logits[index], self.bias[index])] }
    }

    fn group(&self, index: usize) -> Ranked {
        let size = (self.spec.experts / self.spec.groups) as usize;
        let mut members: Vec<Ranked> =
            (index * size..(index + 1) * size).map(|index| self.expert(index)).collect();
        // NaN last, equal scores by index.
        members.sort_by(|a, b| {
            a.score
                .is_nan()
                .cmp(&b.score.is_nan())
                .then(b.score.partial_cmp(&a.score).unwrap_or(std::cmp::Ordering::Equal))
        });
        members.truncate(if self.spec.method == GroupMethod::SumOfTwo { 2 } else { 1 });
        let score: f32 = members.iter().map(|member| member.score).sum();
        let tolerance =
            members.iter().map(|member| member.tolerance).sum::<f32>() + score.abs() * 2.0_f32.powi(-23);
        Ranked {
            index,
            score,
            tolerance,
            made_of: members.into_iter().flat_map(|member| member.made_of).collect(),
        }
    }

    /// The groups that are candidates for certain, and those that may be.
    fn groups(&self) -> (Vec<bool>, Vec<bool>) {
        let count = self.spec.groups as usize;
        if self.spec.method == GroupMethod::Greedy {
            return (vec![true; count], vec![true; count]);
        }
        let groups: Vec<Ranked> = (0..count).map(|index| self.group(index)).collect();
        let keep = self.spec.topk_groups as usize;
        let others = |group: &Ranked, before: &dyn Fn(&Ranked) -> bool| {
            groups.iter().filter(|other| other.index != group.index && before(other)).count() < keep
        };
        let certain = groups.iter().map(|group| others(group, &|other| other.may_precede(group))).collect();
        let possible = groups.iter().map(|group| others(group, &|other| !group.may_precede(other))).collect();
        (certain, possible)
    }

    /// Whether a choice is one that scores within their tolerances lead to.
    fn may_choose(&self, chosen: &[u32]) -> bool {
        let experts = self.spec.experts as usize;
        let size = experts / self.spec.groups as usize;
        let (certain, possible) = self.groups();
        let exists = |expert: &u32| (*expert as usize) < experts && possible[*expert as usize / size];
        if !chosen.iter().all(exists) {
            return false;
        }
        let mut left: Vec<bool> = (0..experts).map(|expert| certain[expert / size]).collect();
        chosen.iter().for_each(|expert| left[*expert as usize] = false);
        chosen.iter().enumerate().all(|(rank, expert)| {
            let expert = self.expert(*expert as usize);
            let later = chosen[rank + 1..].iter().map(|later| *later as usize);
            let rest = (0..experts).filter(|other| left[*other]);
            later.chain(rest).all(|other| other != expert.index && expert.may_precede(&self.expert(other)))
        })
    }

    /// The weights of the chosen, and how far off they may be.
    fn weights(&self, chosen: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let factor = self.spec.scaling_factor;
        let scores: Vec<f32> = chosen.iter().map(|expert| self.scores[*expert as usize]).collect();
        let sum = scores.iter().sum::<f32>() + 1e-20;
        let divisor = if self.spec.normalize { sum } else { 1.0 };
        let relative = 2.0 * self.relative_error() + chosen.len() as f32 * 2.0_f32.powi(-23);
        let weights: Vec<f32> = scores.iter().map(|score| score / divisor * factor).collect();
        let denormal = DENORMAL * (chosen.len() + 1) as f32 / divisor * factor;
        let tolerances = weights.iter().map(|weight| weight.abs() * relative + denormal).collect();
        (weights, tolerances)
    }
}

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let spec = draw_spec(random);
    let (experts, topk) = (spec.experts as usize, spec.topk as usize);
    let (tokens, style) = (random.size(20), random.style());
    let case = format!("{spec:?}, {tokens} tokens, {style:?}");
    let kernel = generate::<Gate>(&spec, machine.target())?;
    let logits = random.f32s(tokens * experts, style);
    let style = random.style();
    let bias = random.f32s(experts, style);
    let arguments = GateArguments {
        logits: machine.upload(&f32_bytes(&logits))?,
        bias: machine.upload(&f32_bytes(&bias))?,
        topk_idx: machine.upload(&vec![0xa5; 4 * tokens * topk])?,
        topk_weight: machine.upload(&vec![0xa5; 4 * tokens * topk])?,
        tokens: tokens as u32,
    };
    machine.run(&kernel, &arguments.pack())?;

    let kernel = kernel.contract.kernel;
    let expected = gate(&logits, spec.bias.then_some(&bias[..]), &reference_spec(&spec));
    let bias = if spec.bias { bias } else { vec![0.0; experts] };
    let topk_idx = of_u32(&machine.download(arguments.topk_idx, 4 * tokens * topk)?);
    let topk_weight = of_f32(&machine.download(arguments.topk_weight, 4 * tokens * topk)?);
    let (mut weights, mut tolerances) = (Vec::new(), Vec::new());
    for (row, chosen) in topk_idx.chunks(topk).enumerate() {
        let token = Token {
            spec: &spec,
            scores: &expected.scores[row * experts..][..experts],
            logits: &logits[row * experts..][..experts],
            bias: &bias,
        };
        let reference = &expected.topk_idx[row * topk..][..topk];
        if chosen != reference && !token.may_choose(chosen) {
            let rank = (0..topk).find(|rank| chosen[*rank] != reference[*rank]).unwrap_or(0);
            let wrong = Mismatch {
                kernel,
                case,
                tensor: "topk_idx",
                coordinate: vec![row, rank],
                got: chosen[rank] as f32,
                expected: reference[rank] as f32,
                tolerance: 0.0,
                wrong: 1,
                elements: topk_idx.len(),
            };
            return Err(wrong.into());
        }
        let (row_weights, row_tolerances) = token.weights(chosen);
        weights.extend(row_weights);
        tolerances.extend(row_tolerances);
    }
    let comparison =
        Comparison { kernel: &kernel, case: &case, tensor: "topk_weight", shape: &[tokens, topk] };
    let worst = comparison.within(&topk_weight, &weights, |at| tolerances[at])?;
    Ok(Passed { kernel, specs: vec![Gate::any(&spec)], case, worst })
}
