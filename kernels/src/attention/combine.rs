//! Merges what [`decode`](super::decode) made of the stretches of a sequence.
//!
//! ```text
//! m   = max m_i                                        i over the stretches of the token
//! sum = sum_i exp(m_i - m) * sum_i
//! out = bf16(sum_i exp(m_i - m) * out_i / sum)         lse = m + ln(sum)
//! ```
//!
//! A CTA takes a token and a head, a thread 4 elements of the latent at a time; stretches are added in ascending order.
//! A token without keys gets zeros and -inf.
//!
//! Oracle: with `mla_decode`, the reference's `latent_attention`.

use super::{LN_2, LOG2_E};
use crate::Family;
use crate::rows::target_name;
use crate::rule::{Rule, multiple, positive, within};
use rorqual_codegen::contract::{Extent, In, Out};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Value, generate};
use rorqual_ptx::target::Target;

/// Elements that a thread holds side by side.
const RUN: u32 = 4;

/// What a merge is specialised to: as the [`MlaDecodeSpec`](super::decode::MlaDecodeSpec).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MlaCombineSpec {
    /// Heads.
    pub heads: u32,
    /// Elements of a latent; a multiple of 16.
    pub latent: u32,
    /// Keys of a stretch.
    pub chunk: u32,
}

rorqual_codegen::arguments! {
    /// Arguments of [`MlaCombine`].
    pub struct MlaCombineArguments, MlaCombineParameters {
        /// Weighted sums, `[tokens, splits, heads, latent]`.
        partial_outputs: In<f32>,
        /// Largest scores, `[tokens, splits, heads]`.
        partial_maxima: In<f32>,
        /// Sums of the weights, `[tokens, splits, heads]`.
        partial_sums: In<f32>,
        /// How many keys each token sees, `[tokens]`.
        lengths: In<u32>,
        /// `[tokens, heads, latent]`
        output: Out<Bf16>,
        /// Natural logarithms of the sums of `exp(score)`, `[tokens, heads]`.
        lse: Out<f32>,
        /// Query tokens.
        tokens: u32,
        /// Stretches, as of the decode.
        splits: u32,
    }
}

/// The merge; see the [module](self).
#[derive(Debug)]
pub struct MlaCombine;

impl Family for MlaCombine {
    const NAME: &'static str = "mla_combine";
    type Spec = MlaCombineSpec;
    type Arguments = MlaCombineArguments;

    const RULES: &[Rule<MlaCombineSpec>] = &[
        Rule::new("heads", |spec| within("heads", spec.heads, 1..=65535)),
        Rule::new("latent", |spec| multiple("latent", spec.latent, 16, 1024)),
        Rule::new("chunk", |spec| positive("chunk", spec.chunk)),
    ];

    fn emit(spec: &MlaCombineSpec, target: Target) -> Result<Kernel, GenerateError> {
        let MlaCombineSpec { heads, latent, chunk } = *spec;
        let short = target_name(target);
        let name = format!("mla_combine_h{heads}_l{latent}_c{chunk}_{short}");
        let threads = (latent / RUN).next_multiple_of(32).min(256);
        let header = Header::new(name, spec, target, threads).grid(Extent::argument("tokens"), heads, 1);
        generate::<MlaCombineArguments>(header, |builder, arguments| combine(builder, spec, arguments))
    }
}

fn combine<'k>(builder: &'k Builder, spec: &MlaCombineSpec, arguments: MlaCombineParameters<'k>) {
    let MlaCombineSpec { heads, latent, chunk } = *spec;
    let (token, head) = (builder.cta(0), builder.cta(1));
    let length = arguments.lengths.at(token).load();
    let whole = length / chunk;
    let stretches = (whole + (length % chunk).greater(0).to_u32()).min(arguments.splits);
    let first = token.multiply_wide(arguments.splits) * u64::from(heads) + head.to_u64();
    let place = |stretch: Value<'k, u32>| first + stretch.multiply_wide(heads);

    let none = builder.constant(f32::NEG_INFINITY);
    let largest = none.variable();
    builder.for_each(0, stretches, 1, |stretch| {
        largest.set(largest.peek().max(arguments.partial_maxima.at(place(stretch)).load()));
    });
    let largest = largest.get();
    let empty = largest.equals(f32::NEG_INFINITY);

    let layout = RunLayout { elements: RUN as usize, whole: true };
    let result = token.multiply_wide(heads) + head.to_u64();
    let output = arguments.output.at(result * u64::from(latent));
    for round in 0..latent.div_ceil(RUN * builder.threads()) {
        let column = (builder.thread() + round * builder.threads()) * RUN;
        let remaining = column.less(latent).select(builder.constant(RUN), builder.constant(0));
        let sum = builder.constant(0.0).variable();
        let values = [(); RUN as usize].map(|()| builder.constant(0.0).variable());
        builder.for_each(0, stretches, 1, |stretch| {
            let place = place(stretch);
            let factor = ((arguments.partial_maxima.at(place).load() - largest) * LOG2_E).exp2();
            sum.add_product(factor, arguments.partial_sums.at(place).load());
            let partial = arguments.partial_outputs.at(place * u64::from(latent)).at(column);
            for (value, partial) in values.iter().zip(layout.load(partial, remaining)) {
                value.add_product(factor, partial);
            }
        });
        let sum = sum.peek();
        let zero = builder.constant(0.0);
        let values: Vec<_> = values.iter().map(|value| empty.select(zero, value.peek() / sum)).collect();
        layout.store(output.at(column), remaining, &values);
        if round == 0 {
            let leads = builder.thread().equals(0);
            arguments.lse.at(result).store_when(leads, logarithm(largest, sum));
        }
    }
}

/// What sums of weights relative to the maximum `old` are multiplied with, to be relative to `new`: exactly one where it
/// did not grow, so that keys that a query does not see leave its sums as they are.
pub(super) fn growth<'k>(old: Value<'k, f32>, new: Value<'k, f32>) -> Value<'k, f32> {
    new.equals(old).select(new.builder().constant(1.0), ((old - new) * LOG2_E).exp2())
}

/// `largest + ln(sum)`: -inf where no key was seen, NaN where all scores were -inf.
pub(super) fn logarithm<'k>(largest: Value<'k, f32>, sum: Value<'k, f32>) -> Value<'k, f32> {
    let builder = sum.builder();
    let value = largest + sum.log2() * LN_2;
    let seen = sum.equals(0.0).select(builder.constant(f32::NAN), value);
    largest.equals(f32::NEG_INFINITY).select(builder.constant(f32::NEG_INFINITY), seen)
}
