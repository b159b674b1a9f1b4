//! Cases of the family `mla_combine` on stretches that no `mla_decode` made: any length of a stretch, maxima far apart,
//! stretches whose scores are all -inf.
//!
//! The oracle is the formula of the family in f64, in ascending order of stretches.

use super::bytes::{f32_bytes, of_bf16, of_f32, u32_bytes};
use super::compare::{Comparison, bf16_ulp};
use super::random::Random;
use super::{Failure, Machine, Passed};
use half::bf16;
use rorqual_kernels::attention::combine::{MlaCombine, MlaCombineArguments, MlaCombineSpec};
use rorqual_kernels::contract::Arguments;
use rorqual_kernels::{Kernel, Registered, generate};

/// What a decode left.
struct Partial {
    /// `[tokens, splits, heads, latent]`
    outputs: Vec<f32>,
    /// `[tokens, splits, heads]`
    maxima: Vec<f32>,
    /// `[tokens, splits, heads]`
    sums: Vec<f32>,
    /// `[tokens]`
    lengths: Vec<u32>,
    splits: usize,
}

/// A token and a head, merged.
struct Merged {
    /// `[latent]`
    output: Vec<Element>,
    lse: f32,
    lse_tolerance: f32,
}

/// An element of the output, and what a kernel may make of it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Element {
    value: f32,
    tolerance: f32,
    /// Whether an infinity has a weight that may be zero in f32, which makes NaN of it.
    may_be_nan: bool,
}

impl Element {
    /// What is right where a kernel got this.
    fn expected(&self, got: f32) -> f32 {
        if self.may_be_nan && got.is_nan() { f32::NAN } else { self.value }
    }
}

impl Partial {
    /// The stretches that a token has.
    fn stretches(&self, token: usize, chunk: u32) -> usize {
        self.splits.min(self.lengths[token].div_ceil(chunk) as usize)
    }

    /// The stretches of one token, with one more that it does not have.
    fn alone(&self, token: usize, row: usize) -> Self {
        let of_token = |values: &[f32], width: usize| -> Vec<f32> {
            let own = &values[token * self.splits * width..][..self.splits * width];
            own.iter().copied().chain(std::iter::repeat_n(f32::NAN, width)).collect()
        };
        let heads = self.maxima.len() / (self.lengths.len() * self.splits).max(1);
        Self {
            outputs: of_token(&self.outputs, row),
            maxima: of_token(&self.maxima, heads),
            sums: of_token(&self.sums, heads),
            lengths: vec![self.lengths[token]],
            splits: self.splits + 1,
        }
    }
}

/// Merges the stretches of a token and a head: places of their numbers.
///
/// The tolerance: the argument of `exp2` is rounded twice, 2^-24 each, and `exp2` is off by 2^-22, which makes of a weight
/// of `e^-d` one of `e^-d (1 + (2 + 2 d) 2^-22)`. Each addition rounds both sums, the division the quotient. A weight
/// that is no larger than its error may be zero: what is infinite in such a stretch is infinite in the sum, as `e^-d` is
/// positive, or NaN, as zero times infinity, and both are right.
fn merge(partial: &Partial, places: &[usize], latent: usize) -> Merged {
    let unit = 2.0_f64.powi(-22);
    let largest = places.iter().fold(f32::NEG_INFINITY, |largest, place| largest.max(partial.maxima[*place]));
    if largest == f32::NEG_INFINITY {
        let nothing = Element { value: 0.0, tolerance: 0.0, may_be_nan: false };
        return Merged { output: vec![nothing; latent], lse: f32::NEG_INFINITY, lse_tolerance: 0.0 };
    }
    let behind = |place: &usize| f64::from(largest) - f64::from(partial.maxima[*place]);
    let weights: Vec<f64> = places.iter().map(|place| (-behind(place)).exp()).collect();
    let additions = (2 * places.len()) as f64;
    let off = |(place, weight): (&usize, &f64)| {
        // Weights below the normal numbers may be zero.
        let tiny = f64::from(f32::MIN_POSITIVE);
        if *weight == 0.0 { 0.0 } else { weight * unit * (2.0 + 2.0 * behind(place) + additions) + tiny }
    };
    let errors: Vec<f64> = places.iter().zip(&weights).map(off).collect();
    let sum_with = |weights: &[f64], value: &dyn Fn(usize) -> f64| -> f64 {
        places.iter().zip(weights).map(|(place, weight)| weight * value(*place)).sum()
    };
    let of_sum = |place: usize| f64::from(partial.sums[place]);
    let (sum, sum_error) = (sum_with(&weights, &of_sum), sum_with(&errors, &of_sum));
    let column = |column: usize| {
        let value = |place: usize| f64::from(partial.outputs[place * latent + column]);
        let exact = sum_with(&weights, &value) / sum;
        let error = (sum_with(&errors, &|place| value(place).abs()) + exact.abs() * sum_error) / sum;
        let rounded = bf16::from_f64(exact).to_f32();
        let vanishing =
            |((place, weight), error): ((&usize, &f64), &f64)| error >= weight && value(*place).is_infinite();
        Element {
            value: rounded,
            tolerance: (error + exact.abs() * unit) as f32 + bf16_ulp(rounded),
            may_be_nan: places.iter().zip(&weights).zip(&errors).any(vanishing),
        }
    };
    let output = (0..latent).map(column).collect();
    let lse = (f64::from(largest) + sum.ln()) as f32;
    let rounded = 2.0 * unit * (1.0 + f64::from(largest.abs()) + sum.ln().abs());
    Merged { output, lse, lse_tolerance: (sum_error / sum + rounded) as f32 }
}

/// Draws a case and runs it.
///
/// # Errors
/// If the kernel is wrong.
pub fn run(random: &mut Random, machine: &mut dyn Machine) -> Result<Passed, Failure> {
    let (heads, latent) = (1 + random.below(9), 16 * (1 + random.below(64)));
    let chunk = random.pick(&[1, 7, 64, 192, 1024]);
    let spec = MlaCombineSpec { heads: heads as u32, latent: latent as u32, chunk };
    let kernel = generate::<MlaCombine>(&spec, machine.target())?;
    let (tokens, splits) = (random.below(5), random.below(6));
    // Now and then too few stretches for the longest sequence.
    let most = (splits + usize::from(random.one_in(4))) * chunk as usize;
    let lengths: Vec<u32> = (0..tokens).map(|_| random.size(most) as u32).collect();
    let (style, apart) = (random.style(), random.pick(&[0.0, 1.0, 30.0]));
    let places = tokens * splits * heads;
    let maximum = |random: &mut Random| match random.one_in(6) {
        true => f32::NEG_INFINITY,
        false => apart * random.normal(),
    };
    let partial = Partial {
        outputs: random.f32s(places * latent, style),
        maxima: (0..places).map(|_| maximum(random)).collect(),
        sums: (0..places).map(|_| 1.0 + random.below(100) as f32 / 16.0).collect(),
        lengths,
        splits,
    };
    let case = format!(
        "lengths {:?} in {splits} stretches, maxima {apart} apart, {style:?} values",
        partial.lengths
    );
    let alone = random.below(tokens);
    let worst = check(machine, &kernel, &spec, &partial, alone, &case)?;
    Ok(Passed { kernel: kernel.contract.kernel.clone(), specs: vec![MlaCombine::any(&spec)], case, worst })
}

/// Runs the kernel on all tokens, then on one of them alone. The worst error, in tolerances.
fn check(
    machine: &mut dyn Machine,
    kernel: &Kernel,
    spec: &MlaCombineSpec,
    partial: &Partial,
    alone: usize,
    case: &str,
) -> Result<f64, Failure> {
    let MlaCombineSpec { heads, latent, chunk } = *spec;
    let (heads, latent, tokens) = (heads as usize, latent as usize, partial.lengths.len());
    let (output, lse) = launch(machine, kernel, spec, partial)?;
    let compare = |tensor, shape| Comparison { kernel: &kernel.contract.kernel, case, tensor, shape };
    let merged: Vec<Merged> = (0..tokens * heads)
        .map(|row| {
            let (token, head) = (row / heads, row % heads);
            let place = |stretch: usize| (token * partial.splits + stretch) * heads + head;
            let places: Vec<usize> = (0..partial.stretches(token, chunk)).map(place).collect();
            merge(partial, &places, latent)
        })
        .collect();
    let elements: Vec<Element> = merged.iter().flat_map(|row| &row.output).copied().collect();
    let expected: Vec<f32> =
        elements.iter().zip(&output).map(|(element, got)| element.expected(*got)).collect();
    let shape = [tokens, heads, latent];
    let mut worst = compare("output", &shape).within(&output, &expected, |at| elements[at].tolerance)?;
    let expected: Vec<f32> = merged.iter().map(|row| row.lse).collect();
    let of_lse = compare("lse", &shape[..2]).within(&lse, &expected, |at| merged[at].lse_tolerance)?;
    worst = worst.max(of_lse);

    if alone < tokens && partial.stretches(alone, chunk) == partial.lengths[alone].div_ceil(chunk) as usize {
        let of_token = &output[alone * heads * latent..][..heads * latent];
        let lse_of_token = &lse[alone * heads..][..heads];
        let (output, lse) = launch(machine, kernel, spec, &partial.alone(alone, heads * latent))?;
        compare("output alone", &shape[1..]).equal(&output, of_token)?;
        compare("lse alone", &shape[1..2]).equal(&lse, lse_of_token)?;
    }
    Ok(worst)
}

/// Runs the kernel: the outputs and the logarithms.
fn launch(
    machine: &mut dyn Machine,
    kernel: &Kernel,
    spec: &MlaCombineSpec,
    partial: &Partial,
) -> Result<(Vec<f32>, Vec<f32>), Failure> {
    let rows = partial.lengths.len() * spec.heads as usize;
    let elements = rows * spec.latent as usize;
    let arguments = MlaCombineArguments {
        partial_outputs: machine.upload(&f32_bytes(&partial.outputs))?,
        partial_maxima: machine.upload(&f32_bytes(&partial.maxima))?,
        partial_sums: machine.upload(&f32_bytes(&partial.sums))?,
        lengths: machine.upload(&u32_bytes(&partial.lengths))?,
        output: machine.upload(&vec![0xa5; 2 * elements])?,
        lse: machine.upload(&vec![0xa5; 4 * rows])?,
        tokens: partial.lengths.len() as u32,
        splits: partial.splits as u32,
    };
    machine.run(kernel, &arguments.pack())?;
    let output = of_bf16(&machine.download(arguments.output, 2 * elements)?);
    Ok((output, of_f32(&machine.download(arguments.lse, 4 * rows)?)))
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::verify::simulated::{Simulated, targets};
    use rorqual_kernels::Targets;
    use rorqual_sim::Options;

    const SPEC: MlaCombineSpec = MlaCombineSpec { heads: 1, latent: 16, chunk: 1 };

    /// A token and a head of two stretches, ones but for the first elements of the second, whose maximum is `behind` less
    /// than that of the first.
    fn two_stretches(behind: f32, of_second: &[f32]) -> Partial {
        let mut outputs = vec![1.0; 2 * 16];
        outputs[16..][..of_second.len()].copy_from_slice(of_second);
        Partial { outputs, maxima: vec![0.0, -behind], sums: vec![1.0, 1.0], lengths: vec![2], splits: 2 }
    }

    #[test]
    fn a_kernel_may_make_nan_of_infinities_whose_weights_vanish() {
        let kernel = generate::<MlaCombine>(&SPEC, targets(Targets::Portable)[0]).expect("a kernel");
        for behind in [0.0, 80.0, 87.0, 87.5, 95.0, 103.0, 104.5, 200.0, f32::INFINITY] {
            for perturb_approximations in [false, true] {
                let options = Options { perturb_approximations, ..Options::default() };
                let mut machine = Simulated::new(targets(Targets::Portable)[0], options).expect("a machine");
                let partial = two_stretches(behind, &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -1e15]);
                let checked = check(&mut machine, &kernel, &SPEC, &partial, 0, "two stretches");
                assert!(checked.is_ok(), "{behind} behind: {checked:?}");
            }
        }
    }

    #[test]
    fn nothing_else_may_be_nan() {
        let element = |behind, value| merge(&two_stretches(behind, &[value]), &[0, 1], 16).output[0];
        let (infinity, nan) = (f32::INFINITY, f32::NAN);
        // `ln` of the least normal number is -87.34.
        assert_eq!(element(87.0, infinity).expected(nan), infinity);
        assert_eq!(element(200.0, 1e15).expected(nan), 1.0);
        // What may be NaN may as well be the infinity that it is, and nothing else.
        assert!(element(88.0, infinity).expected(nan).is_nan());
        assert_eq!(element(88.0, -infinity).expected(1.0), -infinity);
    }
}
