//! The next token from a row of logits: the most likely one, or one at random within a nucleus.
//!
//! [`Argmax`] takes the highest logit, of equal ones the lowest token. [`Sample`] does that where the temperature is 0,
//! and elsewhere, with tokens ranked by descending logit, equal ones by ascending token:
//!
//! ```text
//! w_r = exp((l_r - l_0) / temperature)        of the first top_k ranks
//! c_r = w_0 + .. + w_r,  W = the last of them
//! kept: up to the first rank with c_r >= top_p * W; all with top_p 1; C = c of the last one kept
//! token: the first rank with c_r > u * C      u = Philox 4x32-10 of seed, sequence and position, 24 bits
//! ```
//!
//! A CTA takes a row and sorts nothing. Weights are integers of 2^-45, so that sums do not depend on the order. A rank is
//! found by *descent*: a histogram of what the tokens weigh by the high 8 bits of their keys says which bin reaches the
//! target, the next 8 bits divide that bin, and so on down to one key, whose tokens weigh the same. The histogram is
//! eight-fold, so that neighbouring lanes seldom meet. Top-k is a descent in which each token weighs 1, and so is the
//! search for the n-th token of a key.
//!
//! Shared memory: histogram `[256, 8]`, sums from each bin up `[257]`, the answer `[2]`, a total.
//! Between uses the CTA meets.
//!
//! Bad logits or settings give the token `u32::MAX` and set a bit of [`device_error`].
//!
//! Oracle: `model::sampling`, from which the sums differ by `(2 n + 64) * 2^-24` of the total for `n` candidates: the
//! oracle adds and divides in f32, the exponential here is off by 2^-21, weights are rounded to 2^-45.

use crate::rows::{pitch_name, target_name};
use crate::rule::{Rule, at_least, within};
use crate::{Family, device_error};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::pointer::{Global, Shared};
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::top_k::{of_order_key, order_key};
use rorqual_codegen::warp::{reduce_cta, reduce_cta_once};
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Pointer, Predicate, Value, generate};
use rorqual_ptx::target::Target;

/// Logits that a thread loads at once.
const RUN: u32 = 4;
/// Bins of a histogram: 8 bits of a key.
const BINS: u32 = 256;
/// Copies of a histogram.
const COPIES: u32 = 8;
/// A weight of 1 as an integer: 2^18 tokens stay below 2^63.
const UNIT: f32 = (1_u64 << 45) as f32;
/// The largest vocabulary.
const LARGEST_VOCAB: u32 = 1 << 18;
/// The key of negative infinity.
const KEY_OF_NONE: u32 = 0x007f_ffff;

/// What a choice of tokens is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct SampleSpec {
    /// Logits of a row.
    pub vocab: u32,
    /// Elements from one row to the next, at least `vocab`.
    pub pitch: u32,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Argmax`].
    pub struct ArgmaxArguments, ArgmaxParameters {
        /// `[tokens, vocab]`, rows `pitch` apart.
        logits: In<f32>,
        /// `[tokens]`
        out: Out<u32>,
        /// `[1]`: bits of `device_error`.
        error: InOut<u32>,
        /// Rows.
        tokens: u32,
    }
}

rorqual_codegen::arguments! {
    /// Arguments of [`Sample`].
    pub struct SampleArguments, SampleParameters {
        /// `[tokens, vocab]`, rows `pitch` apart.
        logits: In<f32>,
        /// What the logits are divided by, `[tokens]`: finite and at least 0, where 0 takes the most likely token.
        temperature: In<f32>,
        /// How many of the most likely tokens stay candidates, `[tokens]`: at least 1; `u32::MAX` for all.
        top_k: In<u32>,
        /// The probability at which the rest is dropped, `[tokens]`: in (0, 1].
        top_p: In<f32>,
        /// The key of the random numbers, `[tokens]`.
        seed: In<u64>,
        /// The sequence that the row belongs to, `[tokens]`.
        sequence: In<u64>,
        /// The position in the sequence, `[tokens]`.
        position: In<u64>,
        /// `[tokens]`
        out: Out<u32>,
        /// `[1]`: bits of `device_error`.
        error: InOut<u32>,
        /// Rows.
        tokens: u32,
    }
}

/// The most likely token; see the [module](self).
#[derive(Debug)]
pub struct Argmax;

/// A token at random; see the [module](self).
#[derive(Debug)]
pub struct Sample;

/// The rules of both.
const RULES: &[Rule<SampleSpec>] = &[
    Rule::new("vocab", |spec| within("vocab", spec.vocab, 1..=LARGEST_VOCAB)),
    Rule::new("pitch", |spec| at_least("pitch", spec.pitch, "vocab", spec.vocab)),
];

fn header(family: &str, spec: &SampleSpec, target: Target) -> Header {
    let SampleSpec { vocab, pitch } = *spec;
    let name = format!("{family}_v{vocab}{}_{}", pitch_name(vocab, pitch), target_name(target));
    // A histogram is swept by a thread a bin.
    let threads = vocab.div_ceil(RUN).next_multiple_of(32).clamp(BINS, 1024);
    Header::new(name, spec, target, threads).grid(Extent::argument("tokens"), 1, 1)
}

impl Family for Argmax {
    const NAME: &'static str = "argmax";
    type Spec = SampleSpec;
    type Arguments = ArgmaxArguments;

    const RULES: &[Rule<SampleSpec>] = RULES;

    fn emit(spec: &SampleSpec, target: Target) -> Result<Kernel, GenerateError> {
        generate::<ArgmaxArguments>(header("argmax", spec, target), |builder, arguments| {
            let row = Row::new(builder, spec, arguments.logits);
            let best = row.best();
            let token = best.fault.equals(0).select(best.token, builder.constant(u32::MAX));
            let first_thread = builder.thread().equals(0);
            arguments.out.at(builder.cta(0)).store_when(first_thread, token);
            arguments.error.atomic_or_when(first_thread & best.fault.differs(0), best.fault);
        })
    }
}

impl Family for Sample {
    const NAME: &'static str = "sample";
    type Spec = SampleSpec;
    type Arguments = SampleArguments;

    const RULES: &[Rule<SampleSpec>] = RULES;

    fn emit(spec: &SampleSpec, target: Target) -> Result<Kernel, GenerateError> {
        generate::<SampleArguments>(header("sample", spec, target), |builder, arguments| {
            sample(builder, spec, arguments);
        })
    }
}

/// The row of the CTA.
struct Row<'k> {
    builder: &'k Builder,
    logits: Pointer<'k, Global, f32>,
    spec: SampleSpec,
    scratch: Pointer<'k, Shared, u32>,
    /// `[BINS, COPIES]`
    histogram: Pointer<'k, Shared, u64>,
    /// `[BINS + 1]`: what weighs at least as much as each bin; 0 at the end.
    sums: Pointer<'k, Shared, u64>,
    /// The bin that reaches the target, and what the bins above weigh.
    answer: Pointer<'k, Shared, u64>,
    /// What all tokens weigh: of its own, so that those who still read an answer need not be waited for.
    total: Pointer<'k, Shared, u64>,
}

/// The best token of a row, and what is wrong with the row.
struct Best<'k> {
    token: Value<'k, u32>,
    key: Value<'k, u32>,
    fault: Value<'k, u32>,
}

/// A token of a row as a thread meets it.
#[derive(Clone, Copy)]
struct Token<'k> {
    index: Value<'k, u32>,
    logit: Value<'k, f32>,
    present: Predicate<'k>,
}

/// Where a descent ends.
struct Reached<'k> {
    /// The first key, in descending order, with which the target is reached.
    key: Value<'k, u32>,
    /// What the keys above it weigh.
    above: Value<'k, u64>,
}

impl<'k> Row<'k> {
    fn new(builder: &'k Builder, spec: &SampleSpec, logits: Pointer<'k, Global, f32>) -> Self {
        Self {
            builder,
            logits: logits.at(builder.cta(0).multiply_wide(spec.pitch)),
            spec: *spec,
            histogram: builder.shared(BINS * COPIES, 8),
            sums: builder.shared(BINS + 1, 8),
            answer: builder.shared(2, 8),
            total: builder.shared(1, 8),
            scratch: builder.shared(builder.warps(), 4),
        }
    }

    /// Runs `body` for the tokens of the thread. Threads of a warp may have different numbers of them.
    fn for_each(&self, body: impl Fn(Token<'k>)) {
        let SampleSpec { vocab, pitch } = self.spec;
        let layout = RunLayout::of_rows::<f32>(RUN as usize, vocab, pitch);
        let builder = self.builder;
        builder.for_each(builder.thread() * RUN, vocab, builder.threads() * RUN, |first| {
            let values = layout.load(self.logits.at(first), builder.constant(vocab) - first);
            for (offset, logit) in (0..RUN).zip(values) {
                let index = first + offset;
                let present = if layout.whole { builder.known(true) } else { index.less(vocab) };
                body(Token { index, logit, present });
            }
        });
    }

    fn best(&self) -> Best<'k> {
        let builder = self.builder;
        let (key, token) = (builder.constant(0_u32).variable(), builder.constant(u32::MAX).variable());
        let fault = builder.constant(0_u32).variable();
        self.for_each(|next| {
            let nan = next.present & next.logit.is_nan();
            let infinite = next.present & next.logit.equals(f32::INFINITY);
            fault.set_when(nan, fault.peek() | device_error::LOGIT_NAN);
            fault.set_when(infinite, fault.peek() | device_error::LOGIT_INFINITE);
            let next_key = order_key(next.logit);
            let better = next.present & next_key.greater(key.peek());
            key.set_when(better, next_key);
            token.set_when(better, next.index);
        });
        let best = reduce_cta(builder, key.get(), self.scratch, |a, b| a.max(b));
        let own = key.get().equals(best).select(token.get(), builder.constant(u32::MAX));
        let token = reduce_cta(builder, own, self.scratch, |a, b| a.min(b));
        let fault = reduce_cta_once(builder, fault.get(), self.scratch, |a, b| a | b);
        let none = best.at_most(KEY_OF_NONE) & fault.equals(0);
        let fault = none.select(builder.constant(device_error::NO_TOKEN), fault);
        Best { token, key: best, fault }
    }

    /// Finds the first key, in descending order, with which the tokens weigh `target` or more; they do weigh that much
    /// in all, and the target is at least 1. Every thread gets the answer.
    fn descend(
        &self,
        key_of: impl Fn(Token<'k>) -> Value<'k, u32>,
        weight_of: impl Fn(Token<'k>) -> Value<'k, u64>,
        target: Value<'k, u64>,
    ) -> Reached<'k> {
        let builder = self.builder;
        let thread = builder.thread();
        let has_bin = thread.less(BINS);
        let nothing = builder.constant(0_u64);
        let (prefix, above) = (builder.constant(0_u32).variable(), nothing.variable());
        let shift = builder.constant(24_u32).variable();
        self.sums.at(BINS).store_when(thread.equals(0), nothing);
        builder.repeat_while(
            || shift.peek().at_most(24),
            || {
                builder.for_each(thread, BINS * COPIES, builder.threads(), |at| {
                    self.histogram.at(at).store(nothing)
                });
                builder.sync_threads();
                self.for_each(|token| {
                    let key = key_of(token);
                    // The bits that are decided: none at first, when the shift is by 32.
                    let decided = key.shift_right(shift.peek() + 8).equals(prefix.peek());
                    builder.when(token.present & decided, || {
                        let bin = key.shift_right(shift.peek()) & (BINS - 1);
                        let copy = thread & (COPIES - 1);
                        let weight = weight_of(token);
                        self.histogram.at(bin * COPIES + copy).atomic_add_when(weight.differs(0), weight);
                    });
                });
                builder.sync_threads();
                let (own, next) = self.sums_from_each_bin();
                let wanted = target - above.get();
                let reaches = has_bin & own.at_least(wanted) & next.less(wanted);
                builder.when(reaches, || {
                    self.answer.store(thread.to_u64());
                    self.answer.at(1).store(next);
                });
                builder.sync_threads();
                prefix.set((prefix.get() << 8) | self.answer.load().to_u32());
                above.add(self.answer.at(1).load());
                // Wraps around behind the last 8 bits.
                shift.set(shift.get() - 8);
            },
        );
        Reached { key: prefix.get(), above: above.get() }
    }

    /// What the bins from the thread's own up weigh, and those above it; of threads without a bin, nothing.
    fn sums_from_each_bin(&self) -> (Value<'k, u64>, Value<'k, u64>) {
        let builder = self.builder;
        let thread = builder.thread();
        let has_bin = thread.less(BINS);
        let nothing = builder.constant(0_u64);
        let copies =
            (0..COPIES).map(|copy| self.histogram.at(thread * COPIES + copy).load_or(has_bin, nothing));
        let own = copies.fold(nothing, |sum, copy| sum + copy).variable();
        self.sums.at(thread).store_when(has_bin, own.get());
        builder.sync_threads();
        for distance in (0..BINS.trailing_zeros()).map(|exponent| 1 << exponent) {
            let inside = thread.less(BINS - distance);
            let further = self.sums.at(thread + distance).load_or(inside, nothing);
            builder.sync_threads();
            own.add(further);
            self.sums.at(thread).store_when(has_bin, own.get());
            builder.sync_threads();
        }
        (own.get(), self.sums.at(thread + 1).load_or(has_bin, nothing))
    }

    /// The sum over all tokens, in every thread. It is used once.
    fn total(&self, weight_of: impl Fn(Token<'k>) -> Value<'k, u64>) -> Value<'k, u64> {
        let builder = self.builder;
        let nothing = builder.constant(0_u64);
        let own = nothing.variable();
        self.total.store_when(builder.thread().equals(0), nothing);
        builder.sync_threads();
        self.for_each(|token| own.add(token.present.select(weight_of(token), nothing)));
        self.total.atomic_add_when(builder.known(true), own.get());
        builder.sync_threads();
        self.total.load()
    }
}

/// The settings of the row of the CTA.
struct Settings<'k> {
    temperature: Value<'k, f32>,
    top_k: Value<'k, u32>,
    top_p: Value<'k, f32>,
}

fn sample<'k>(builder: &'k Builder, spec: &SampleSpec, arguments: SampleParameters<'k>) {
    let row = Row::new(builder, spec, arguments.logits);
    let at = builder.cta(0);
    let settings = Settings {
        temperature: arguments.temperature.at(at).load(),
        top_k: arguments.top_k.at(at).load(),
        top_p: arguments.top_p.at(at).load(),
    };
    let best = row.best();
    let Settings { temperature, top_k, top_p } = settings;
    let valid = temperature.at_least(0.0)
        & temperature.less(f32::INFINITY)
        & top_k.differs(0)
        & top_p.greater(0.0)
        & top_p.at_most(1.0);
    let fault = best.fault | valid.select(builder.constant(0), builder.constant(device_error::SETTING));
    let token = fault.equals(0).select(best.token, builder.constant(u32::MAX)).variable();
    builder.when(fault.equals(0) & temperature.greater(0.0), || {
        let uniform = uniform_24_bits(
            arguments.seed.at(at).load(),
            arguments.sequence.at(at).load(),
            arguments.position.at(at).load(),
        );
        token.set(draw(&row, &settings, &best, uniform));
    });
    let first_thread = builder.thread().equals(0);
    arguments.out.at(at).store_when(first_thread, token.get());
    arguments.error.atomic_or_when(first_thread & fault.differs(0), fault);
}

/// Draws a token by a number of 24 bits.
fn draw<'k>(
    row: &Row<'k>,
    settings: &Settings<'k>,
    best: &Best<'k>,
    uniform: Value<'k, u32>,
) -> Value<'k, u32> {
    let builder = row.builder;
    let highest = of_order_key(best.key);
    let key_of = |token: Token<'k>| order_key(token.logit);
    let weight = |logit: Value<'k, f32>| {
        // Negative infinity weighs nothing, nor does what the temperature makes so.
        (((logit - highest) / settings.temperature).exp() * UNIT).round_to_u64()
    };
    let weight_of = |token: Token<'k>| weight(token.logit);
    let weight_of_key = |key: Value<'k, u32>| weight(of_order_key(key));
    let (nothing, one) = (builder.constant(0_u64), builder.constant(1_u64));

    // The weight of the first `top_k` ranks: ties of the last key are equally heavy.
    let total = nothing.variable();
    let all = settings.top_k.at_least(row.spec.vocab);
    builder.when_else(
        all,
        || total.set(row.total(weight_of)),
        || {
            let last = row.descend(key_of, |_| one, settings.top_k.to_u64());
            let ties = settings.top_k.to_u64() - last.above;
            let heavier =
                |token: Token<'k>| key_of(token).greater(last.key).select(weight_of(token), nothing);
            total.set(row.total(heavier) + ties * weight_of_key(last.key));
        },
    );

    // The weight up to the rank at which `top_p` is reached.
    let kept = total.get().variable();
    builder.when(settings.top_p.less(1.0), || {
        let share = (settings.top_p * (1_u64 << 32) as f32).round_to_u64() << 32;
        let target = total.get().multiply_high(share).max(1_u64);
        let last = row.descend(key_of, weight_of, target);
        let weight = weight_of_key(last.key);
        kept.set(last.above + (target - last.above + weight - one) / weight * weight);
    });

    // The rank that is drawn, and which of the tokens of its key that is.
    let target = kept.get().multiply_high(uniform.to_u64() << 40) + one;
    let drawn = row.descend(key_of, weight_of, target);
    let weight = weight_of_key(drawn.key);
    let place = (target - drawn.above + weight - one) / weight;
    let of_key = |token: Token<'k>| key_of(token).equals(drawn.key).select(one, nothing);
    let inverted = row.descend(|token| token.index ^ u32::MAX, of_key, place);
    inverted.key ^ u32::MAX
}

/// The top 24 bits of the first word of Philox 4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3,
/// 2011): the key is the seed, the counter the position, then the sequence, low words first.
fn uniform_24_bits<'k>(
    seed: Value<'k, u64>,
    sequence: Value<'k, u64>,
    position: Value<'k, u64>,
) -> Value<'k, u32> {
    let words = |value: Value<'k, u64>| [value.to_u32(), (value >> 32).to_u32()];
    let ([mut key_0, mut key_1], [x_0, x_1], [x_2, x_3]) = (words(seed), words(position), words(sequence));
    let mut state = [x_0, x_1, x_2, x_3];
    for _ in 0..10 {
        let [x_0, x_1, x_2, x_3] = state;
        let (a, b) = (0xd251_1f53_u32, 0xcd9e_8d57_u32);
        state = [x_2.multiply_high(b) ^ x_1 ^ key_0, x_2 * b, x_0.multiply_high(a) ^ x_3 ^ key_1, x_0 * a];
        (key_0, key_1) = (key_0 + 0x9e37_79b9, key_1 + 0xbb67_ae85);
    }
    state[0] >> 8
}
